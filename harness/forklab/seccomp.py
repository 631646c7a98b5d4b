"""A filter for what no namespace and no limit bounds: calls that a server has no use for.

Memory that belongs to no process (memfd, System V and POSIX IPC) is counted by no limit of a
process; ptrace and the like reach into others; new namespaces bring rights back that were taken
away. The filter is made by libseccomp (seccomp_rule_add(3)); without it there is none.
"""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from forklab import paths

DENIED = (
    *("memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "msgget", "semget", "mq_open"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp"),
    *("unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "fsopen", "open_tree"),
    *("bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key"),
    *("sched_setscheduler", "sched_setattr", "setpriority", "ioprio_set"),
)
# What strace needs, to draw a picture of one's own server.
TRACING = ("ptrace", "process_vm_readv")
# Of these a filter can't see the arguments: libraries then fall back to older calls (clone3 to
# clone), for which it can.
UNKNOWN = ("clone3", "io_uring_setup")
NEW_NAMESPACES = 0x7E02_0000  # CLONE_NEWUSER and its kind (clone(2)), as flags of clone

_ALLOW, _ERRNO, _MASKED_EQUAL, _OPTIMIZE = 0x7FFF_0000, 0x0005_0000, 7, 8


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp (seccomp.h)."""

    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    ]


@cache
def filter_file(traced: bool = False) -> Path | None:
    """The filter as instructions for the kernel, in a file; None where it can't be had.

    ``traced``: one that lets strace do its work.
    """
    name = f"filter-{'traced-' if traced else ''}{os.uname().machine}.bpf"
    file = paths.BUILD / "tools" / name
    try:
        if not file.exists() or file.stat().st_mtime < Path(__file__).stat().st_mtime:
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(file, [one for one in DENIED if not (traced and one in TRACING)])
    except OSError:
        return None
    return file


def _write(file: Path, denied: Sequence[str]) -> None:
    """Raises OSError without libseccomp."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(_ALLOW))
    # A tree, since the kernel tries every call of them all at each start (libseccomp 2.5).
    library.seccomp_attr_set(context, _OPTIMIZE, 2)
    rules: list[tuple[str, int, list[_Comparison]]] = [
        *((name, errno.EPERM, []) for name in denied),
        *((name, errno.ENOSYS, []) for name in UNKNOWN),
    ]
    for bit in range(32):
        if NEW_NAMESPACES >> bit & 1:
            flag = 1 << bit
            rules.append(("clone", errno.EPERM, [_Comparison(0, _MASKED_EQUAL, flag, flag)]))
    for name, error, comparisons in rules:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            continue  # it does not exist here
        array = (_Comparison * len(comparisons))(*comparisons)
        code = library.seccomp_rule_add_array(
            context, ctypes.c_uint32(_ERRNO | error), number, len(comparisons), array
        )
        if code < 0:
            raise OSError(-code, os.strerror(-code))
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as new:
        if library.seccomp_export_bpf(context, new.fileno()) < 0:
            raise OSError(errno.EINVAL, "seccomp_export_bpf")
    library.seccomp_release(context)
    Path(new.name).chmod(0o644)
    Path(new.name).replace(file)
