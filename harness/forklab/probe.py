"""The page that the grader shares with a server under the probe (``harness/probe/probe.c``)."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import weakref
from functools import cache
from pathlib import Path

from forklab import contain, paths

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class _Page(ctypes.Structure):
    """The same fields in the same order as in probe.c."""

    _fields_ = [
        ("fork_errno", ctypes.c_int),
        ("fork_failures", ctypes.c_int),
        ("forks_failed", ctypes.c_int),
        ("forks", ctypes.c_int),
        ("caught_at_first_fork", ctypes.c_int),
        ("ignored_at_first_fork", ctypes.c_int),
        ("accept_errno", ctypes.c_int),
        ("accept_failures", ctypes.c_int),
        ("accepts_failed", ctypes.c_int),
        ("stops", ctypes.c_int),
        ("stopped", ctypes.c_int),
        ("bind_errno", ctypes.c_int),
        ("bind_port", ctypes.c_int),
        ("last_bind_port", ctypes.c_int),
        ("write_limit", ctypes.c_int),
        ("hurry", ctypes.c_int),
        ("time_outs", ctypes.c_int),
        ("timed_out", ctypes.c_int),
        ("linger", ctypes.c_int),
        ("groups_killed", ctypes.c_int),
        ("kills_missed", ctypes.c_int),
        ("line_buffered", ctypes.c_int),
        ("watch_handler", ctypes.c_int),
        ("handler_runs", ctypes.c_int),
        ("errno_changed", ctypes.c_int),
        ("errno_seen", ctypes.c_int),
        ("unsafe_call", ctypes.c_char * 32),
    ]


@cache
def _library() -> Path:
    return contain.compile_tool(
        paths.HARNESS / "probe" / "probe.c", paths.BUILD / "tools" / "probe.so", "-shared", "-fPIC"
    )


class Probe:
    """Faults on cue for one server. Start the server with ``env``.

    ``folder`` is where the library lies, for every user to reach; the first one puts it there.
    """

    def __init__(self, folder: Path) -> None:
        self.library = folder / "probe.so"
        if not self.library.exists():
            folder.mkdir(parents=True, exist_ok=True)
            whole = folder / "new"
            whole.write_bytes(_library().read_bytes())
            whole.chmod(0o755)
            whole.replace(self.library)
        # Sealed, or a server could cut the page off under our feet (SIGBUS, mmap(2)).
        self.descriptor = os.memfd_create("probe", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, ctypes.sizeof(_Page))
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, SEALS)
        self._memory = mmap.mmap(self.descriptor, ctypes.sizeof(_Page))
        self._page = _Page.from_buffer(self._memory)
        self.env = {"LD_PRELOAD": str(self.library), "FORKLAB_PROBE": str(self.descriptor)}
        weakref.finalize(self, os.close, self.descriptor)

    def fail_fork(self, error: int, times: int = 1) -> None:
        """The next fork fails with that errno."""
        self._page.fork_errno = error
        self._page.fork_failures = times

    def linger_in_fork(self) -> None:
        """From now on fork comes back in the parent only when the child has ended."""
        self._page.linger = 1

    @property
    def forks(self) -> int:
        """How often fork was called."""
        return int(self._page.forks)

    @property
    def forks_failed(self) -> int:
        """How many did."""
        return int(self._page.forks_failed)

    @property
    def caught_at_first_fork(self) -> bool:
        """Whether SIGCHLD had a handler when the first child was made."""
        return bool(self._page.caught_at_first_fork)

    @property
    def ignored_at_first_fork(self) -> bool:
        """Whether SIGCHLD was ignored, or had SA_NOCLDWAIT, when the first child was made."""
        return bool(self._page.ignored_at_first_fork)

    def fail_accept(self, error: int, times: int = 1) -> None:
        """The next call of accept fails with that errno; one that waits already does not."""
        self._page.accept_errno = error
        self._page.accept_failures = times

    @property
    def accepts_failed(self) -> int:
        """How many did."""
        return int(self._page.accepts_failed)

    def stop_before_accept(self) -> None:
        """SIGTERM comes right before the next call of accept after a fork."""
        self._page.stops = 1

    @property
    def stopped(self) -> bool:
        """Whether it has come."""
        return bool(self._page.stopped)

    @property
    def last_bind_port(self) -> int:
        """The port of the last call of bind, whatever came of it; 0 if there was none."""
        return int(self._page.last_bind_port)

    @property
    def failed_bind(self) -> tuple[int, int]:
        """The port and the errno of the last bind that failed; zeros if none did."""
        return self._page.bind_port, self._page.bind_errno

    def shorten_writes(self, limit: int) -> None:
        """Every write to a socket takes at most that many bytes."""
        self._page.write_limit = limit

    def hurry(self) -> None:
        """Where the program asks for a time-out for receiving, it is 1 ms: SO_RCVTIMEO, or one of
        poll or select for what is to be read.
        """
        self._page.hurry = 1

    @property
    def time_outs(self) -> int:
        """How often the program asked for one."""
        return int(self._page.time_outs)

    @property
    def timed_out(self) -> int:
        """How often it has run out."""
        return int(self._page.timed_out)

    @property
    def groups_killed(self) -> int:
        """How often it sent a signal to everybody, or to a process group that it did not make."""
        return int(self._page.groups_killed)

    @property
    def kills_missed(self) -> int:
        """How often it sent a signal to a process that was no more: ended, and reaped (kill(2))."""
        return int(self._page.kills_missed)

    def buffer_lines(self) -> None:
        """Standard output is line-buffered, as on a terminal. Before the server starts."""
        self._page.line_buffered = 1

    def watch_handler(self) -> None:
        """Watch the handler of SIGCHLD. Before the server starts."""
        self._page.watch_handler = 1

    @property
    def handler_runs(self) -> int:
        """How often the handler ran to its end."""
        return int(self._page.handler_runs)

    @property
    def errno_seen(self) -> int | None:
        """What the handler left in errno, if it changed it."""
        return self._page.errno_seen if self._page.errno_changed else None

    @property
    def unsafe_call(self) -> str | None:
        """The first function the handler called that signal-safety(7) does not list."""
        return self._page.unsafe_call.decode(errors="replace") or None
