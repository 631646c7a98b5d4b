#!/bin/sh
# Makes .venv at the repository root, so that `.venv/bin/python -P -m forklab` works. make runs this by itself.
# Where the packages come from: the package index (pinned, hashes checked), or else the distribution's own.
# Nothing to do: silent. Can't be done: what is missing and what to type, on stderr, exit status 4.
#
# Usage: harness/bootstrap.sh [dev|docs|strace] (dev, or BOOTSTRAP_DEV=1: the tools of `make lint` as well;
#                                               docs: what builds the site; strace: what `make trace` needs)
set -u

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 4
venv=$root/.venv
state=$root/.forklab
lock=$root/harness/requirements.lock
dev_lock=$root/harness/requirements-dev.lock
stamp=$venv/.forklab-stamp         # written last: a .venv without it is half-made
made_from=$venv/.forklab-made-from # this script and the lock file, as they were then
docs_lock=$root/harness/requirements-docs.lock
dev_stamp=$venv/.forklab-dev-stamp
docs_stamp=$venv/.forklab-docs-stamp
log=$state/setup.log
distribution_python=${FORKLAB_SYSTEM_PYTHON:-/usr/bin/python3} # the tests put another one here
apt_packages="python3-venv python3-pytest python3-rich python3-jinja2"
dnf_packages="python3-pytest python3-rich python3-jinja2"
these="Python's pytest, rich and jinja2 for $distribution_python"

# One-liners for Python: each ends with a status other than 0 where what it asks for isn't so.
modern='import sys; assert sys.version_info >= (3, 11)'
packages='import pytest, rich, jinja2'
kit='import importlib.util; assert importlib.util.find_spec("forklab")'

# Another Python's settings would leak into ours, and pip's may send the packages elsewhere than .venv.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_ROOT
export PIP_USER=0

say() { printf 'forklab: %s\n' "$*" >&2; }
die() {
	say "$@"
	exit 4
}

# Without these, Ctrl-C would end pip only, and the next way would be tried.
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- what the machine must have ---------------------------------------------------------------

check_machine() {
	{ [ "$(uname -s)" = Linux ] && [ -r /proc/self/stat ]; } ||
		die "The grader reads Linux's /proc, and there is none here. Use Linux, WSL2 or a container."
	command -v cc >/dev/null ||
		die "There is no C compiler (cc). On Debian or Ubuntu type: sudo apt-get install gcc libc6-dev"
	echo '#include <sys/socket.h>' | cc -x c -fsyntax-only - 2>/dev/null ||
		die "The C compiler (cc) is there, but it can't compile a program that includes <sys/socket.h>." \
			"On Debian or Ubuntu type: sudo apt-get install libc6-dev"
	find_python "$modern" >/dev/null ||
		die "Python 3.11 or newer is needed, and none was found." \
			"On Debian 12 or Ubuntu 24.04 (or newer) type: sudo apt-get install python3 python3-venv"
}

# Prints the first Python that the given one-liner succeeds on. Each is run, not just looked for:
# version managers put names on PATH that only say "not installed".
find_python() {
	for candidate in python3 python3.14 python3.13 python3.12 python3.11 "$distribution_python"; do
		if "$candidate" -I -c "$1" 2>/dev/null; then
			echo "$candidate"
			return 0
		fi
	done
	return 1
}

# ---- is it done already? ----------------------------------------------------------------------

# The stamp names the folder: a moved or copied checkout is made anew, since a venv's scripts know their path.
whole() {
	[ "$(cat "$stamp" 2>/dev/null)" = "$root" ] &&
		cat "$0" "$lock" | cmp -s - "$made_from" &&
		"$venv/bin/python" -P -c "$packages; $kit" 2>/dev/null
}

dev_whole() { cmp -s "$dev_lock" "$dev_stamp"; }

# ---- the two ways -----------------------------------------------------------------------------

pip_install() {
	# One retry and a short time-out: an index that can't be reached is found out in seconds.
	# Wheels only: building from source would fetch build tools that no hash pins.
	"$venv/bin/python" -P -m pip install --no-input --disable-pip-version-check --retries 1 --timeout 5 \
		--only-binary :all: --require-hashes -r "$1" >>"$log" 2>&1
}

from_index() {
	# Debian's python3 without python3-venv has no ensurepip, and so can't make a venv with pip.
	python=$(find_python "$modern; import ensurepip, venv") || {
		why="No Python here can make a venv with pip (package python3-venv)"
		return 1
	}
	why="The package index can't be reached, or lacks a package (pip's words: .forklab/setup.log)"
	"$python" -I -m venv --clear "$venv" >>"$log" 2>&1 || {
		why="$python could not make a venv (its words: .forklab/setup.log)"
		return 1
	}
	pip_install "$lock" && return 0
	if grep -q 'DO NOT MATCH THE HASHES' "$log"; then
		die "The package index served a file that is not the one this kit was made with. Nothing was" \
			"installed; .forklab/setup.log says which file."
	fi
	return 1
}

# Not whichever python3 is first on PATH: only this one sees the distribution's packages.
from_distribution() {
	distribution_has_packages || apt_install
	distribution_has_packages || return 1
	say "using this system's own packages"
	"$distribution_python" -I -m venv --clear --system-site-packages --without-pip "$venv" >>"$log" 2>&1
}

distribution_has_packages() { "$distribution_python" -I -c "$modern; import venv; $packages" 2>/dev/null; }

apt_install() {
	command -v apt-get >/dev/null || return 1
	if [ "$(id -u)" = 0 ]; then
		as_root=
	elif sudo -n true 2>/dev/null; then
		as_root="sudo -n"
	else
		return 1
	fi
	say "installing $apt_packages with apt-get"
	# shellcheck disable=SC2086 # one word a package
	apt_get install $apt_packages || { apt_get update && apt_get install $apt_packages; }
}

# 9 is the lock: a service that a package starts must not hold it.
apt_get() {
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
		-o Acquire::Retries=1 -o Acquire::http::Timeout=10 -o DPkg::Lock::Timeout=60 "$@" \
		>>"$log" 2>&1 </dev/null 9>&-
}

what_to_type() {
	if command -v apt-get >/dev/null; then
		echo "sudo apt-get install $apt_packages"
	elif command -v dnf >/dev/null; then
		echo "sudo dnf install $dnf_packages"
	else
		echo "(your system's way to install $these)"
	fi
}

# A picture can't be drawn without it. Who may not install it is told what to type.
add_strace() {
	apt_packages=strace dnf_packages=strace these=strace
	command -v strace >/dev/null || apt_install
	command -v strace >/dev/null ||
		die "A trace is made with strace, and there is none here. Type this, then try again: $(what_to_type)"
}

# ---- what goes into the venv besides packages -------------------------------------------------

link_the_kit() {
	site=$("$venv/bin/python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))') &&
		# From .venv/lib/python3.X/site-packages. Relative, so that no letter in the path matters.
		echo ../../../../harness >"$site/forklab.pth" &&
		cat >"$venv/bin/forklab" <<-'EOF' &&
			#!/bin/sh
			# Runs the Python beside this file, also when called through a symlink.
			unset PYTHONPATH PYTHONHOME
			self=$(readlink -f -- "$0") && exec "${self%/*}/python" -P -m forklab "$@"
		EOF
		chmod +x "$venv/bin/forklab"
}

make_venv() {
	rm -f "$stamp"
	: >"$log"
	say "setting up .venv (only this once, a few seconds)"
	from_index || {
		say "$why."
		from_distribution || {
			say "This system's own packages aren't there either. Type this, then try again:"
			die "    $(what_to_type)"
		}
	}
	{ link_the_kit && cat "$0" "$lock" >"$made_from"; } ||
		die ".venv could not be written. Is the disk full?"
	echo "$root" >"$stamp"
	whole || {
		rm -f "$stamp"
		die ".venv was made, but its Python can't import pytest, rich, jinja2 and forklab. See .forklab/setup.log."
	}
}

add_dev_tools() {
	if ! "$venv/bin/python" -I -c 'import pip' 2>/dev/null; then
		say "no pytest-xdist, ruff and mypy: .venv uses this system's packages. 'make distclean' tries the index anew."
	elif say "adding the tools of 'make lint' to .venv" && pip_install "$dev_lock"; then
		cp "$dev_lock" "$dev_stamp"
	else
		say "no pytest-xdist, ruff and mypy: pip could not install them (see .forklab/setup.log)."
	fi
}

# The site can't be built without these: what is missing is a failure.
add_docs_tools() {
	"$venv/bin/python" -I -c 'import pip' 2>/dev/null ||
		die "The site is built with Sphinx from the package index, and .venv uses this system's packages." \
			"'make distclean' tries the index anew. The pages can be read as they are, in docs/."
	say "adding what builds the site to .venv"
	pip_install "$docs_lock" ||
		die "pip could not install what builds the site (its words: .forklab/setup.log)." \
			"The pages can be read as they are, in docs/."
	cp "$docs_lock" "$docs_stamp"
}

# ---- main -------------------------------------------------------------------------------------

check_machine
{ mkdir -p "$state" && : >>"$state/setup.lock"; } 2>/dev/null ||
	die "This folder can't be written to: $root. Copy or clone the kit to a place of your own."
[ ! -e "$venv" ] || [ -w "$venv" ] ||
	die "$venv belongs to another user (made with sudo, perhaps). Remove it, then try again."

# Two `make lab1` at once: the second waits, then finds nothing to do.
exec 9>>"$state/setup.lock"
if command -v flock >/dev/null && ! flock -n 9; then
	say "waiting for another set-up of this folder"
	flock 9
fi

if [ "${1:-}" = strace ]; then
	: >>"$log"
	add_strace
	exit 0
fi

if whole; then
	touch "$stamp" # newer than the lock file and this script: make need not ask again
else
	make_venv
fi

# Testing and grading work without these, so what is missing here is told, and no failure.
if [ "${1:-}" = dev ] || [ -n "${BOOTSTRAP_DEV:-}" ]; then
	if dev_whole; then touch "$dev_stamp"; else add_dev_tools; fi
fi
if [ "${1:-}" = docs ]; then
	if cmp -s "$docs_lock" "$docs_stamp"; then touch "$docs_stamp"; else add_docs_tools; fi
fi
