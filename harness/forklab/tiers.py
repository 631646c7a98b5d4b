"""How well submissions are kept apart on this machine, found out by trying.

``bwrap``: each program has users, processes and files of its own, and no IPC with others
(bwrap(1)); it sees nothing but the system's libraries and itself. ``uid``: we are root, and every
program gets a user of its own. ``process``: the student's own account; a session of its own, a
subreaper, limits. On every tier a filter of system calls and landlock(7) add what this kernel has
of them.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from forklab import procfs, tcp
from forklab.errors import GraderError, UsageError

BWRAP, UID, PROCESS = "bwrap", "uid", "process"
NAMES = (BWRAP, UID, PROCESS)  # the strongest first
UIDS = range(0x7000_0000, 0x7400_0000)  # users that only we use

_chosen: str | None = None


def tier() -> str:
    """The tier in use: what :func:`choose` said, else ``uid`` for root and ``process`` for others.

    Everybody's own program is graded so: it needs no walls against its author.
    """
    if _chosen is None:
        choose(UID if _has_uids() else PROCESS)
    assert _chosen is not None
    return _chosen


def choose(name: str) -> str:
    """Uses that tier from now on, or with ``best`` the strongest there is; returns its name.

    Raises UsageError where it can't be had.
    """
    global _chosen
    name = next(iter(available()), PROCESS) if name == "best" else name
    if not _AVAILABLE[name]():
        raise UsageError(f"tier {name} is not to be had here: {_WHY[name]}")
    if name == BWRAP:  # it waits for its child by this signal, which our parent may have ignored
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _chosen = name
    return name


def available() -> list[str]:
    """The tiers that this machine has for us, the strongest first."""
    return [name for name in NAMES if _AVAILABLE[name]()]


@functools.cache
def _has_uids() -> bool:
    """Whether we are root, and our user namespace has the user ids that we hand out."""
    if os.geteuid() != 0:
        return False
    try:
        ranges = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    firsts_and_sizes = [(int(line.split()[0]), int(line.split()[2])) for line in ranges]
    return any(first <= UIDS.start and UIDS.stop <= first + n for first, n in firsts_and_sizes)


@functools.cache
def _has_bwrap() -> bool:
    """Whether bwrap is there, and may make the namespaces that it needs."""
    # In there each program gets namespaces of its own: see the keeper's -k.
    own = ["unshare", "--map-root-user", "--pid", "--fork", "--ipc", "--mount-proc"]
    number = "echo 4711 > /proc/sys/kernel/ns_last_pid"
    tried = [*own, "/bin/sh", "-c", number + " && (exec sh -c 'test $$ -gt 4711')"]
    mounts = ["--ro-bind", "/", "/", "--proc", "/proc"]
    uid = UIDS.start if _has_uids() else None
    with suppress(OSError):
        return not subprocess.run(
            [*_bwrap(mounts), "--", *tried],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        ).returncode
    return False


@functools.cache
def _is_bounded() -> bool:
    """Whether a limit of processes holds for us: it doesn't for root (RLIMIT_NPROC, getrlimit(2)).

    Also not for one who is root in a user namespace, and root outside as well.
    """
    if os.geteuid() != 0:
        return True
    tried = ["prlimit", "--nproc=1", "/bin/sh", "-c", "(exec /bin/true)"]
    with suppress(OSError):
        return subprocess.run(tried, capture_output=True).returncode != 0
    return False


_AVAILABLE: dict[str, Callable[[], bool]] = {
    BWRAP: _has_bwrap,
    UID: _has_uids,
    PROCESS: _is_bounded,
}
_WHY = {
    BWRAP: "it takes the package bubblewrap and leave to make user namespaces (docs/setup.md)",
    UID: "it takes root, and the user ids from 0x70000000 on",
    PROCESS: "nothing bounds how many processes root may start; be somebody else",
}


def _bwrap(mounts: Sequence[str]) -> list[str]:
    return [
        *(shutil.which("bwrap") or "bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc"),
        *("--new-session", "--as-pid-1"),
        *mounts,
    ]


# What a program may read on every tier: what it takes to run, and to be compiled.
SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"),
    *("/etc/alternatives", "/etc/ld.so.cache", "/etc/localtime"),
    *("/etc/hosts", "/etc/nsswitch.conf", "/etc/protocols", "/etc/services"),
)


@functools.cache
def is_of_the_system(path: str | Path) -> bool:
    """Whether every program can read that file anyway."""
    return os.path.realpath(path).startswith(tuple(f"{folder}/" for folder in SYSTEM))


KEEPER = "/keeper"  # in a sandbox: a place below which nothing is mounted
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
CLONE_NEWNS, CLONE_NEWUSER = 0x0002_0000, 0x1000_0000  # unshare(2)
CLONE_NEWPID, CLONE_NEWNET = 0x2000_0000, 0x4000_0000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 1 << 18  # mount(2)
PR_SET_PDEATHSIG = 1  # prctl(2)
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1  # netdevice(7)


def leave_network() -> None:
    """Takes this process to a network of its own, on tier bwrap; on the others nothing.

    Every server that it starts may then have any port, and there is nobody to connect to. The
    process must not have threads yet. Raises GraderError.
    """
    if tier() != BWRAP:
        return
    uid, gid = os.geteuid(), os.getegid()
    try:
        if uid:  # there we are who we were (user_namespaces(7))
            system_call("unshare", CLONE_NEWUSER)
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        system_call("unshare", CLONE_NEWNET)
    except OSError as problem:
        raise GraderError(f"no network of our own: {problem.strerror}") from problem
    renew_network()


def renew_network() -> None:
    """From a network of our own to the next one, in which nothing is left of old connections.

    On the other tiers nothing. The process must not have threads. Raises GraderError.
    """
    if tier() != BWRAP:
        return
    try:
        # A look at the sockets walks through the whole table of connections, and this machine's may
        # be for 262144 of them. A kernel before 6.1 has one table for all networks.
        with suppress(OSError):
            _write_settings(tcp_child_ehash_entries="128")
        with suppress(OSError):  # so many at once are not allowed (namespaces(7)): the one we have
            system_call("unshare", CLONE_NEWNET)
        tcp.forget()
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    except OSError as problem:
        raise GraderError(f"no network of our own: {problem.strerror}") from problem
    with suppress(OSError):
        # These the kernel makes as small as the table. And a stream that no buffer holds need be
        # no longer than the buffers.
        _write_settings(
            tcp_max_tw_buckets="131072",
            tcp_max_syn_backlog="4096",
            tcp_wmem=f"4096 16384 {1 << 19}",
        )


def _write_settings(**settings: str) -> None:
    """Settings of our network (tcp(7))."""
    for name, value in settings.items():
        Path("/proc/sys/net/ipv4", name).write_text(value, encoding="ascii")


def leave_processes() -> int:
    """Goes on in a child, in a pid namespace with a /proc of its own, after :func:`leave_network`.

    Every look at /proc is then at our own processes alone, and what is left at our end the kernel
    kills. Only the child returns, with its pid outside; this process waits for its end, and ends as
    it did. Raises GraderError.
    """
    try:
        system_call("unshare", CLONE_NEWPID | CLONE_NEWNS)
        child = os.fork()
        if child:
            _end_like(child)
        system_call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        outside = int(os.readlink("/proc/self"))
        system_call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
        system_call("mount", b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
        procfs.forget()
    except OSError as problem:
        raise GraderError(f"no processes of our own: {problem.strerror}") from problem
    return outside


def _end_like(child: int) -> NoReturn:
    """Waits for a child's end, and ends in the same way."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def system_call(name: str, *arguments: int | bytes | None) -> None:
    """A system call, by the C library. Raises OSError."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@functools.cache
def _system_mounts() -> list[str]:
    mounts = []
    for path in SYSTEM:
        if os.path.islink(path) and path not in system_files():  # /bin -> usr/bin
            mounts += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path) and path not in system_files():
            mounts += ["--ro-bind", path, path]
    return mounts


@functools.cache
def system_files() -> list[str]:
    """Those of the system's places that are files for all to read: a sandbox has copies of them."""
    return [path for path in SYSTEM if os.path.isfile(path) and os.stat(path).st_mode & 0o004]


def sandbox(
    keeper: str,
    *,
    uid: int,
    reads: Sequence[Path],
    writes: Sequence[Path],
    scratch: Path | None,
    copies: Mapping[str, int],
    requests: int,
) -> list[str]:
    """The command line of a sandbox, in which the keeper waits for requests.

    ``scratch`` is a folder that is there, and where each program gets room to write of its own.
    ``copies`` are the files that it has copies of, the keeper among them, each open for reading: a
    mount for each would be copied for each program. ``requests`` is the socket for the keeper's -k.
    """
    # Not --dev: for devpts it makes a second user namespace.
    mounts = [*_system_mounts(), "--proc", "/proc", "--tmpfs", "/dev"]
    for device in DEVICES:
        mounts += ["--dev-bind-try", device, device]
    mounts += ["--symlink", "/proc/self/fd", "/dev/fd"]
    mounts += ["--dir", "/dev/shm", "--dir", "/tmp"]  # there, and read-only like the rest
    if scratch:
        mounts += ["--dir", str(scratch)]
    for path in reads:
        mounts += ["--ro-bind", str(path), str(path)]
    for path in writes:
        mounts += ["--bind", str(path), str(path)]
    for place, file in copies.items():
        mounts += ["--perms", "0555", "--file", str(file), place]
    mounts += ["--remount-ro", "/dev", "--remount-ro", "/"]
    # As root: first become somebody else. Within a namespace root's files are root's files.
    as_user = [keeper, "-u", str(uid), "-x", "--"] if uid else []
    return [*as_user, *_bwrap(mounts), "--", KEEPER, "-k", str(requests)]


def _has_account(uid: int) -> bool:
    """Whether somebody has that user id.

    Not by Python's pwd, which lets other threads run meanwhile: getpwuid(3) may read the
    environment, and pytest changes it (getenv(3), attributes(7)).
    """
    library = ctypes.PyDLL(None)
    library.getpwuid.restype = ctypes.c_void_p
    return library.getpwuid(uid) is not None


@contextmanager
def private_uid() -> Iterator[int]:
    """A user id that nobody else on this machine has, held until the context ends.

    A lock of the kernel's (a bound abstract socket, unix(7)) keeps graders apart that run at the
    same time; it goes away with its process.
    """
    for _ in range(1000):
        uid = random.choice(UIDS)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
            try:
                lock.bind(f"\0forklab-uid-{uid}")
            except OSError:
                continue
            if not _has_account(uid):
                yield uid
                return
    raise GraderError("no free user id to run a submission as")
