"""Starting a submission's servers for a check, as this submission needs to be started."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from forklab.build import Submission
from forklab.errors import GraderError
from forklab.limits import Limits, usual
from forklab.probe import Probe
from forklab.rubric import expect
from forklab.server import WALL_SECONDS, Server, reserve_port

MANY_PORTS = 1000  # no server has a use for so many
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0",  # a server that runs for ever need not free what it holds
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


def swapped(port: int) -> int:
    """A port with its two bytes in the other order."""
    return (port & 0xFF) << 8 | port >> 8


@dataclass
class Habits:
    """What the first checks learned about a strange but honest program, so the rest can go on."""

    fixed_port: int | None = None  # it listens there whatever its argument says
    greeting: bytes = b""  # it says this to every client first
    restless: bool = False  # it never sleeps
    fidgets: bool = False  # it naps and wakes without end
    swaps_bytes: bool = False  # it forgets htons: 9190 becomes 58915

    def heard_at(self, port: int) -> int:
        """Where it listens when it is told to use that port."""
        return swapped(port) if self.swaps_bytes else port


class Launcher:
    """Starts servers of one submission; all are gone, and their ports free, after the check."""

    def __init__(
        self, submission: Submission, habits: Habits, folder: Path, stack: ExitStack
    ) -> None:
        self.submission = submission
        self.habits = habits
        self.servers: list[Server] = []
        self._folder = folder
        self._stack = stack
        self._numbers = itertools.count(1)
        self._holds_fixed_port = False

    def new_port(self) -> int:
        """The port for the next server: a free one, or the one that this program insists on."""
        fixed = self.habits.fixed_port
        if fixed is None:
            return self.free_port()
        if not self._holds_fixed_port:
            self._stack.enter_context(_hold_port(fixed))
            self._holds_fixed_port = True
        return fixed

    def free_port(self) -> int:
        """A port that nobody uses, whatever the program insists on."""
        try:
            return self._stack.enter_context(reserve_port())
        except GraderError:
            taken = max((len(one.listeners()) for one in self.servers), default=0)
            expect(
                taken < MANY_PORTS,
                expected="a server that listens on its own port and leaves the others alone",
                seen=f"it listens on {taken} ports, and no other server can be started",
            )
            raise

    def new_probe(self) -> Probe:
        """Faults on cue, for one server."""
        if self.submission.sandbox:  # where nobody can change it
            return Probe(self.submission.probe_folder)
        return Probe(self._folder / f"probe{next(self._numbers)}")

    def start(
        self,
        *arguments: str,
        port: int,
        probe: Probe | None = None,
        sanitized: bool = False,
        beside: Server | None = None,
    ) -> Server:
        """Starts the program with just these arguments; doesn't wait for anything.

        ``beside``: as the same user as that server.
        """
        built = self.submission.sanitized if sanitized else self.submission.plain
        if built.binary is None:
            raise GraderError(f"the build with sanitizers fails:\n{built.output[:400]}")
        server = Server(
            built.binary,
            arguments,
            port,
            self._folder / f"server{next(self._numbers)}",
            env=SANITIZER_OPTIONS if sanitized else {},
            probe=probe,
            limits=_sanitized_limits() if sanitized else None,
            beside=beside,
            sandbox=self.submission.sandbox,
        )
        server.restless, server.fidgets = self.habits.restless, self.habits.fidgets
        self.servers.append(server)
        return self._stack.enter_context(server)

    def usual(
        self, *, port: int | None = None, probe: Probe | None = None, sanitized: bool = False
    ) -> tuple[Server, bool]:
        """Starts the program as a user would, and gives it the time to listen.

        Returns the server, and whether it listens.
        """
        port = port or self.new_port()
        if self.habits.fixed_port:  # there is room for one of them
            for earlier in self.servers:
                earlier.end()
        server = self.start(
            str(port), port=self.habits.heard_at(port), probe=probe, sanitized=sanitized
        )
        came = server.wait_for(lambda: server.is_listening() or server.exit)
        return server, came is True or server.is_listening()

    def listening(
        self, *, port: int | None = None, probe: Probe | None = None, sanitized: bool = False
    ) -> Server:
        """Starts the program as a user would, and waits until it listens.

        Fails the check if it never does.
        """
        server, listens = self.usual(port=port, probe=probe, sanitized=sanitized)
        self.expect_listening(server, listens)
        return server

    def under_a_probe(self) -> tuple[Server, Probe]:
        """One that listens, with faults on cue. Fails the check if it never does."""
        probe = self.new_probe()
        return self.listening(probe=probe), probe

    def expect_listening(self, server: Server, listens: bool) -> None:
        """Fails the check if that server never listened."""
        expect(
            listens,
            expected=f"a server that listens on port {server.port} once more",
            seen=lambda: f"it ended ({server.exit})" if server.exit else "it does not listen",
            diagnosis="not-again",
        )


def _sanitized_limits() -> Limits:
    """A sanitized program maps terabytes of address space for its bookkeeping."""
    return replace(usual(), address_space=0, fixed_addresses=True)


@contextmanager
def _hold_port(port: int) -> Iterator[int]:
    """The one port that a program insists on, once no other grader on this machine uses it."""
    deadline = time.monotonic() + WALL_SECONDS
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        while True:
            with contextlib.suppress(OSError):
                lock.bind(f"\0forklab-port-{port}")
                break
            if time.monotonic() > deadline:
                raise GraderError(f"port {port}, which this program insists on, is not free")
            time.sleep(0.01)
        yield port
