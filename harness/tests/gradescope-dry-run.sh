#!/bin/bash
# Tries the zip of `make gradescope` as the platform would: a bare root, setup.sh with network, then
# run_autograder for each submission without network, with half a CPU, 768 MB, at most 512 processes, and
# what a container's user root may do: no new namespaces, no mounts. As root, where control groups are
# (v1 or v2). It takes minutes, so `make test` leaves it out. Prints a line a submission.
#
#   debootstrap --variant=minbase --components=main,universe noble /tmp/root \
#     http://archive.ubuntu.com/ubuntu
#   harness/tests/gradescope-dry-run.sh /tmp/root out/gradescope-lab3.zip SUBMISSION-FOLDER...
#
# What setup.sh does goes into a layer above the root, which stays as it is. PIP_CERT is passed on.
set -eu
root=$1 zip=$2
shift 2
work=$(mktemp -d) # what the layer and the groups are called after
name=forklab-dry-run-${work##*.}
groups=()
cleanup() {
	for group in "${groups[@]}"; do rmdir "$group" || true; done
	rm -rf "$work"
}
trap cleanup EXIT

# Docker's default capabilities.
caps=-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service
caps+=,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap

mkdir "$work/upper" "$work/scratch" "$work/merged"
group() { # DIRECTORY FILE VALUE: a control group there, with this limit
	[ -d "$1/$name" ] || {
		mkdir "$1/$name"
		groups+=("$1/$name")
	}
	echo "$3" >"$1/$name/$2"
}
if [ -d /sys/fs/cgroup/memory ]; then
	group /sys/fs/cgroup/cpu cpu.cfs_quota_us 50000
	group /sys/fs/cgroup/memory memory.limit_in_bytes $((768 << 20))
	group /sys/fs/cgroup/pids pids.max 512
else
	group /sys/fs/cgroup cpu.max "50000 100000"
	group /sys/fs/cgroup memory.max $((768 << 20))
	group /sys/fs/cgroup pids.max 512
fi

# Without network, and in a user namespace with all users that allows no other below it: a container's
# filter of system calls refuses them, and a capability that is missing doesn't.
closed='
import ctypes, os, sys
libc, (told, tell), (ready, go) = ctypes.CDLL(None, use_errno=True), os.pipe(), os.pipe()
if (child := os.fork()) == 0:
    if libc.unshare(0x10000000 | 0x40000000) != 0:  # CLONE_NEWUSER, CLONE_NEWNET
        sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
    os.write(tell, b"x")
    os.read(ready, 1)
    open("/proc/sys/user/max_user_namespaces", "w").write("0")
    os.execvp(sys.argv[1], sys.argv[1:])
os.read(told, 1)
for kind in "uid", "gid":
    open(f"/proc/{child}/{kind}_map", "w").write("0 0 4294967295")
os.write(go, b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
'

# inside GROUP... -- COMMAND...: in the root, as its first process. CLOSED=1: closed, as above.
inside() {
	# shellcheck disable=SC2016 # the inner shell's
	unshare -m -p -f --kill-child --mount-proc bash -ec '
		work=$1 root=$2 caps=$3 closed=$4
		shift 4
		while [ "$1" != -- ]; do
			echo 0 >"$1/cgroup.procs"
			shift
		done
		shift
		mount -t overlay overlay "$work/merged" -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/scratch"
		mount -t proc proc "$work/merged/proc"
		mount --rbind /dev "$work/merged/dev"
		[ -z "${PIP_CERT:-}" ] || {
			cp "$PIP_CERT" "$work/merged/tmp/certificate"
			export PIP_CERT=/tmp/certificate
		}
		in_root=(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
			${PIP_CERT:+"PIP_CERT=$PIP_CERT"}
			setpriv --bounding-set "$caps" chroot "$work/merged" "$@")
		[ -n "${CLOSED:-}" ] || exec "${in_root[@]}"
		exec python3 -c "$closed" sh -c "ip link set lo up; exec \"\$@\"" - "${in_root[@]}"
	' - "$work" "$root" "$caps" "$closed" "$@"
}

mkdir -p "$work/upper/autograder/source" "$work/upper/autograder/results"
chmod 755 "$work" "$work/upper"
python3 -m zipfile -e "$zip" "$work/upper/autograder/source"
cp "$work/upper/autograder/source/run_autograder" "$work/upper/autograder"
chmod +x "$work/upper/autograder/source/setup.sh" "$work/upper/autograder/run_autograder"
inside -- sh -c 'cd /autograder && source/setup.sh' >"$work/setup.log" 2>&1 ||
	{ tail -n 30 "$work/setup.log"; exit 1; }
echo "setup.sh: $(grep . "$work/setup.log" | tail -n 1)"

for submission; do
	rm -rf "$work/upper/autograder/submission"
	cp -a "$submission" "$work/upper/autograder/submission"
	began=$(date +%s%N)
	CLOSED=1 inside "${groups[@]}" -- sh -c 'cd /autograder && ./run_autograder' >"$work/stdout" 2>&1 ||
		echo "run_autograder: status $?"
	python3 - "$submission" $((($(date +%s%N) - began) / 100000000)) "$work/upper/autograder/results/results.json" <<-END
		import json, sys
		name, tenths, file = sys.argv[1:]
		results = json.load(open(file))
		tier = results.get("extra_data", {}).get("tier", "-")
		print(f"{name}: score {results.get('score', 'none')}, tier {tier}, {int(tenths) / 10} s: "
		      + " / ".join(results["output"].splitlines()[1:] or [results["output"]]))
		for test in results.get("tests", []):
		    if test.get("status") == "failed":
		        print(f"    {test['number']} {test['output'].splitlines()[0]}")
	END
done
# That the limits were in force: how often the processor was taken away, the most memory, refused forks.
for group in "${groups[@]}"; do
	for file in cpu.stat memory.max_usage_in_bytes memory.failcnt memory.peak pids.events; do
		[ ! -e "$group/$file" ] || sed "s/^/$file: /" "$group/$file"
	done
done
