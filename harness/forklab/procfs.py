"""The process tree as facts, read from /proc (proc(5)). Knows nothing of who asks.

Everything in /proc races with processes that end: a process that is gone is left out, never an
error.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

T = TypeVar("T")

_libc = ctypes.CDLL(None)
GONE = (FileNotFoundError, ProcessLookupError)  # what reading the /proc of an ended process raises


PAGE = os.sysconf("SC_PAGE_SIZE")
MOST_KEPT_OPEN = 128  # files, for each thread: those of a crowd
_PF_EXITING = 0x4  # a process's flag, from linux/sched.h


def _as_owner(pid: int, look: Callable[[], T]) -> T:
    """What ``look()`` finds in a process's files, if need be as its owner.

    Root without CAP_SYS_PTRACE, as in a container, may look into a process only so (ptrace(2),
    PTRACE_MODE_READ_FSCREDS; setfsuid(2) changes the calling thread alone).
    """
    try:
        return look()
    except PermissionError:
        uid = os.stat(f"/proc/{pid}").st_uid if os.geteuid() == 0 else 0
        if not uid:
            raise
    _libc.setfsgid(uid)
    _libc.setfsuid(uid)
    try:
        return look()
    finally:
        _libc.setfsuid(0)
        _libc.setfsgid(0)


class _KeptOpen(dict[str, int]):
    """The files of /proc that a thread opened last: to read one again takes half as long."""

    def close(self, path: str) -> None:
        os.close(self.pop(path))

    def __del__(self) -> None:
        for path in list(self):
            self.close(path)


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.kept_open = _KeptOpen()


_of_thread = _OfThread()


def forget() -> None:
    """From here on /proc is another one: this thread reads nothing of the old one any more."""
    _of_thread.kept_open = _KeptOpen()


def _read(path: str) -> str:
    files = _of_thread.kept_open
    if path in files:
        with suppress(ProcessLookupError):
            return _contents(files[path])
        files.close(path)  # its process has ended, and the pid may be somebody else's by now
    files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if len(files) > MOST_KEPT_OPEN:
        files.close(next(iter(files)))  # the oldest
    return _contents(files[path])


def _read_once(path: str) -> str:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _contents(file)
    finally:
        os.close(file)


def _contents(file: int) -> str:
    return os.pread(file, 1 << 14, 0).decode(errors="replace")  # proc(5) gives all at once


# Processes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """One line of /proc/PID/stat."""

    pid: int
    parent: int
    state: str  # R running or runnable, S asleep, D in I/O, T stopped, Z zombie
    threads: int
    name: str
    is_ending: bool = False  # it has begun to exit, and has no memory any more

    @property
    def is_zombie(self) -> bool:
        return self.state == "Z"


def process(pid: int) -> Process | None:
    """The process with that pid, or None if there is none."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except GONE:
        return None
    # "PID (NAME) STATE PPID ...": the name may hold anything, ')' and spaces too.
    name_end = text.rindex(")")
    fields = text[name_end + 2 :].split(maxsplit=18)
    if fields[0] in "Xx":  # the kernel is about to remove it
        return None
    name = text[text.index("(") + 1 : name_end]
    is_ending = bool(int(fields[6]) & _PF_EXITING)
    return Process(pid, int(fields[1]), fields[0], int(fields[17]), name, is_ending)


def _is_hidden(pid: int) -> bool:
    """Whether we may not look at it: it is another user's (hidepid, proc(5)); or it is gone."""
    try:
        return process(pid) is None
    except PermissionError:
        return True


class Family:
    """The processes below one process, looked up again and again at little cost.

    It asks only once where in the tree a process is: who was seen elsewhere cannot come below
    ``root`` later, and who was seen below it stays there. (/proc/PID/task/TID/children would be
    faster still, but may leave children out while one of them ends.) Threads may share one: what
    either has learned of a process is true for the other.

    ``strangers`` are names in /proc of which that is known, such as all that were there before
    ``root`` was.
    """

    def __init__(self, root: int, strangers: Iterable[str] = ()) -> None:
        self.root = root
        self._strangers = set(strangers)
        self._kin: set[str] = set()  # names in /proc too, the root's among them

    def members(self) -> list[Process]:
        """All processes below the root now, zombies too, in order of pid."""
        return [one for pid in self.pids() if (one := process(pid)) is not None]

    def pids(self) -> list[int]:
        """Their pids. One or another may be gone meanwhile."""
        while True:
            names = set(os.listdir("/proc"))
            # Of our own from here on: another thread may be learning, too.
            strangers, kin = self._strangers & names, self._kin & names
            found = {}
            has_missed = False
            for name in names - strangers - kin:
                if not name.isdigit():
                    strangers.add(name)
                    continue
                try:
                    one = process(int(name))
                except PermissionError:  # it is another user's (hidepid=1, proc(5))
                    strangers.add(name)
                    continue
                if one is not None:
                    found[one.pid] = one
                else:  # gone meanwhile, and what it has forked may be here by now
                    has_missed = True
            is_kin = {pid: self._is_kin(pid, found, kin, strangers) for pid in found}
            strangers |= {str(pid) for pid in found if is_kin[pid] is False}
            kin |= {str(pid) for pid in found if is_kin[pid]}
            self._strangers, self._kin = strangers, kin
            # None: its parent ended, or came, while we looked. Look again: now it is there, or it
            # is another one.
            if None not in is_kin.values() and not has_missed:
                return sorted({int(name) for name in kin} - {self.root})

    def _is_kin(
        self, pid: int, found: dict[int, Process], kin: set[str], strangers: set[str]
    ) -> bool | None:
        child = pid
        while pid != self.root and str(pid) not in kin:
            if pid == 0 or str(pid) in strangers:
                return False
            if pid not in found:
                # Gone while we looked, or come while the names were read; or hidden from us
                # (hidepid, proc(5)), and then not ours.
                is_hidden = _is_hidden(pid)
                now = process(child)  # who is gone is nobody's parent by now
                return False if is_hidden and now is not None and now.parent == pid else None
            child, pid = pid, found[pid].parent
        return True


def pid_inside(pid: int) -> int:
    """The pid by which a process knows itself, within its pid namespace; ``pid`` if it is gone."""
    with suppress(*GONE, ValueError):
        (pids,) = _status_fields(f"/proc/{pid}/status", "NSpid")
        return int(pids.split()[-1])
    return pid


# What a process has ---------------------------------------------------------------------------


@dataclass(frozen=True)
class SignalMasks:
    """SigIgn, SigCgt and SigBlk of /proc/PID/status."""

    ignored: int
    caught: int
    blocked: int

    @staticmethod
    def has(mask: int, signal_number: int) -> bool:
        """Whether a mask has that signal: signal N is bit N - 1."""
        return bool(mask >> (signal_number - 1) & 1)


def _status_fields(path: str, *names: str) -> tuple[str, ...]:
    """Those lines of a /proc/PID/status. Raises ValueError if one isn't there."""
    text = _read(path)
    starts = [text.index(f"\n{name}:\t") + len(name) + 3 for name in names]
    return tuple(text[start : text.index("\n", start)] for start in starts)


def signal_masks(pid: int) -> SignalMasks | None:
    """What a process does with signals, or None if it is gone."""
    try:
        masks = _status_fields(f"/proc/{pid}/status", "SigIgn", "SigCgt", "SigBlk")
        return SignalMasks(*(int(mask, 16) for mask in masks))
    except (*GONE, ValueError):
        return None


def descriptors(pid: int) -> dict[int, str]:
    """A process's open descriptors and what each stands for ("socket:[4711]"); {} if it is gone."""
    try:
        return _as_owner(pid, lambda: _descriptors(pid))
    except GONE:
        return {}
    except PermissionError:  # the /proc of a process that ends belongs to root from then on
        one = process(pid)
        if one is None or one.is_ending:
            return {}
        raise


def _descriptors(pid: int) -> dict[int, str]:
    table = {}
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with suppress(*GONE):
            table[int(entry)] = os.readlink(f"/proc/{pid}/fd/{entry}")
    return dict(sorted(table.items()))


def socket_inodes(pid: int) -> set[int]:
    """The inodes of the sockets that a process has open."""
    return {
        int(target[len("socket:[") : -1])
        for target in descriptors(pid).values()
        if target.startswith("socket:[")
    }


def descriptor_limit(pid: int) -> int:
    """The soft RLIMIT_NOFILE of a process, from /proc/PID/limits; 0 if it is gone."""
    with suppress(*GONE):
        for line in _read(f"/proc/{pid}/limits").splitlines():
            if line.startswith("Max open files"):
                return int(line.split()[3])
    return 0


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU time a process has used, all its threads together; 0 if it is gone."""
    seconds = 0.0
    with suppress(*GONE):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(*GONE):
                seconds += int(_read(f"/proc/{pid}/task/{task}/schedstat").split()[0]) / 1e9
    return seconds


def resident_bytes(pid: int) -> int:
    """Bytes of memory in use, with those that it shares with others; 0 if it is gone."""
    with suppress(*GONE):
        return int(_read(f"/proc/{pid}/statm").split()[1]) * PAGE
    return 0


def peak_bytes(pid: int) -> int:
    """The most memory a process had in use so far (VmHWM, proc(5)); 0 if it is gone."""
    with suppress(*GONE, ValueError):
        (size,) = _status_fields(f"/proc/{pid}/status", "VmHWM")
        return int(size.split()[0]) * 1024
    return 0


def proportional_bytes(pid: int) -> int:
    """The same, with its part of what it shares with others (Pss, proc(5)). Takes longer."""
    with suppress(*GONE, PermissionError, StopIteration):
        # Not kept open: it would go on telling of a program that was there before an exec.
        lines = _as_owner(pid, lambda: _read_once(f"/proc/{pid}/smaps_rollup")).splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024
    return resident_bytes(pid)


# Rest ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rest:
    """What one thread was doing when we looked. Two equal ones: it did not run in between."""

    state: str
    has_run: str  # how long and how often, ever; "" if it has ended

    @property
    def is_asleep(self) -> bool:
        return self.state in "STtZXI"


def rests(pid: int) -> dict[tuple[int, int], Rest]:
    """What each thread of a process does, by (pid, tid); {} if it is gone."""
    found: dict[tuple[int, int], Rest] = {}
    with suppress(*GONE):
        # First how often it has run: when that is the same later on, then what is read after it has
        # not changed either, neither its state nor whether it is alone.
        has_run = _has_run(pid, pid)
        one = process(pid)
        if one is not None and one.threads == 1:
            found[pid, pid] = _rest(pid, pid, one.state, has_run)
        elif one is not None:
            tasks = os.listdir(f"/proc/{pid}/task")
            for tid in map(int, tasks):
                with suppress(*GONE):
                    has_run = _has_run(pid, tid)
                    found[pid, tid] = _rest(pid, tid, _state_of(pid, tid), has_run)
            if os.listdir(f"/proc/{pid}/task") != tasks:  # one of them runs, and makes others
                found[pid, pid] = Rest("R", "")
    return found


def _rest(pid: int, tid: int, state: str, has_run: str) -> Rest:
    if state == "D" and _awaits_its_child(pid, tid):
        state = "S"  # in this state it does so
    return Rest(state, "" if state in "ZX" else has_run)


def _state_of(pid: int, tid: int) -> str:
    text = _read(f"/proc/{pid}/task/{tid}/stat")
    return text[text.rindex(")") + 2]


def _has_run(pid: int, tid: int) -> str:
    """Time on a processor, time of waiting for one, and how often it got one."""
    counts = _read(f"/proc/{pid}/task/{tid}/schedstat")
    if counts.startswith("0 0 0"):  # a kernel that doesn't count them: its context switches
        names = "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"
        counts = " ".join(_status_fields(f"/proc/{pid}/task/{tid}/status", *names))
    return counts


_CLONE_VFORK = 0x4000  # clone(2)


def _awaits_its_child(pid: int, tid: int) -> bool:
    """Whether a thread is in vfork(2), or in a clone that is one; clone3 doesn't tell its flags.

    A fork waits, too, for a lock of the kernel's; but not for long.
    """
    number, flags, *_ = [*_syscall_words(pid, tid), "", ""]
    vfork, clone = {"x86_64": ("58", "56"), "aarch64": (None, "220")}.get(
        platform.machine(), (None, None)
    )
    if number == clone and flags:
        return bool(int(flags, 16) & _CLONE_VFORK)
    return number in (vfork, "435")


class Sleep(Enum):
    """Who can end a thread's sleep."""

    # It only looks asleep: a call that may have to wait marks its thread as asleep before it knows,
    # and another thread may get the processor just then.
    NONE = "none"
    TIMED = "timed"  # it may wake by itself, or nobody knows
    FOR_EVER = "for ever"  # only another process, a signal or a packet


# System calls that never return by themselves: only another process, a signal or a packet ends
# them. Numbers by architecture, from the kernel's syscall tables; each with the index of the
# argument that must be a null pointer (no time-out), or -1 (a time-out in ms that must be < 0).
_FOREVER: dict[str, dict[int, tuple[int, str] | None]] = {
    "x86_64": {
        **dict.fromkeys((0, 19, 45, 47, 1, 20, 44, 46, 43, 288, 61, 247, 34, 130, 72, 56, 58, 435)),
        7: (2, "ms"),  # poll
        23: (4, "null"),  # select
        270: (4, "null"),  # pselect6
        271: (2, "null"),  # ppoll
        232: (3, "ms"),  # epoll_wait
        281: (3, "ms"),  # epoll_pwait
        202: (3, "null"),  # futex
        128: (2, "null"),  # rt_sigtimedwait
    },
    "aarch64": {
        **dict.fromkeys((63, 65, 207, 212, 64, 66, 206, 211, 202, 242, 260, 95, 133, 25, 220, 435)),
        72: (4, "null"),  # pselect6
        73: (2, "null"),  # ppoll
        22: (3, "ms"),  # epoll_pwait
        98: (3, "null"),  # futex
        137: (2, "null"),  # rt_sigtimedwait
    },
}


def _syscall_words(pid: int, tid: int) -> list[str]:
    """The system call that a thread sleeps in: its number and arguments; [] if it's not told."""
    try:
        return _as_owner(pid, lambda: _read(f"/proc/{pid}/task/{tid}/syscall")).split()
    except OSError:
        return []


def sleep_of(pid: int, tid: int) -> Sleep:
    """How a thread that was seen asleep sleeps, by /proc/PID/task/TID/syscall."""
    words = _syscall_words(pid, tid)
    if words == ["running"]:
        return Sleep.NONE
    try:
        number, arguments = int(words[0]), [int(word, 16) for word in words[1:7]]
    except (ValueError, IndexError):
        return Sleep.TIMED  # the kernel doesn't say
    calls = _FOREVER.get(platform.machine(), {})
    if number not in calls:
        return Sleep.TIMED
    if (timeout := calls[number]) is None:
        return Sleep.FOR_EVER
    index, kind = timeout
    value = arguments[index]
    has_none = value == 0 if kind == "null" else bool(value & 0x8000_0000)
    return Sleep.FOR_EVER if has_none else Sleep.TIMED


# Calls that wait for a socket, and the option by which they end all the same (socket(7)).
_OPTIONS = {
    "x86_64": {
        **dict.fromkeys((0, 19, 45, 47, 43, 288), socket.SO_RCVTIMEO),
        **dict.fromkeys((1, 20, 44, 46), socket.SO_SNDTIMEO),
    },
    "aarch64": {
        **dict.fromkeys((63, 65, 207, 212, 202, 242), socket.SO_RCVTIMEO),
        **dict.fromkeys((64, 66, 206, 211), socket.SO_SNDTIMEO),
    },
}
_SYS_PIDFD_GETFD = 438


def has_time_out(pid: int, tid: int) -> bool:
    """Whether the socket that a thread sleeps for has a time-out, which its call does not show.

    False also where that is not to be known: the kernel lends us no descriptor of a process that
    we may not trace, and none before Linux 5.6 (pidfd_getfd(2)).
    """
    words = _syscall_words(pid, tid)
    option = _OPTIONS.get(platform.machine(), {}).get(int(words[0])) if words[1:] else None
    if option is None:
        return False
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    file = _libc.syscall(_SYS_PIDFD_GETFD, pidfd, int(words[1], 16), 0)
    os.close(pidfd)
    if file < 0:
        return False
    time_out, size = ctypes.create_string_buffer(16), ctypes.c_uint(16)
    failed = _libc.getsockopt(file, socket.SOL_SOCKET, option, time_out, ctypes.byref(size))
    os.close(file)
    return not failed and any(time_out.raw)  # it may be no socket


def sleep_since(pid: int, tid: int, first: Rest) -> Sleep:
    """How a thread sleeps that slept when it was first looked at; NONE if it has run since."""
    if first.state in "ZX":
        return Sleep.FOR_EVER
    is_stopped = first.state in "Tt"
    sleep = Sleep.FOR_EVER if is_stopped else sleep_of(pid, tid)
    with suppress(*GONE):
        # Only where the kernel told the call, it has seen that the thread is asleep.
        is_sure = sleep == Sleep.FOR_EVER and not is_stopped
        if is_sure or _state_of(pid, tid) == first.state:
            return sleep if _has_run(pid, tid) == first.has_run else Sleep.NONE
    return Sleep.NONE
