"""Records a run: the server under strace, scripted clients, and /proc at quiet moments.

strace runs inside what contains the server (forklab.contain), as a grandchild (its option -D): so
the server is the keeper's own child, as it is when it is graded, and nothing of either is left.
strace must see a process's end before its parent does, so zombies live longer than they would
without it: a trace is to look at, and never a mark.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from forklab import procfs, tcp
from forklab.clients import Client, Clients
from forklab.errors import GraderError
from forklab.limits import usual
from forklab.procfs import Process
from forklab.server import SURE_SECONDS, Server, reserve_port
from forklab.trace import model
from forklab.trace.places import Program
from forklab.trace.recording import Look, Recording, Step
from forklab.trace.replay import replay
from forklab.trace.scenarios import SCENARIOS
from forklab.trace.signals import ALL_SIGNALS

T = TypeVar("T")

# Walking the stack at each call tells its source line, and takes ten times as long (measured: 100
# clients in 0.85 s, in 0.07 s without, in 0.04 s without strace). Not for crowds.
MOST_WITH_LINES = 24
MOST_LOG = 4 << 20  # bytes of log, of a server that spins; then the scenario ends
CALLS = (
    *("%process", "%network", "read", "write", "readv", "writev", "pread64", "pwrite64"),
    *("close", "?close_range", "?dup", "?dup2", "dup3", "fcntl", "?pipe", "pipe2"),
    *("?open", "openat", "?openat2", "?creat", "?memfd_create", "?eventfd", "eventfd2"),
    *("?signalfd", "signalfd4", "timerfd_create", "?inotify_init", "inotify_init1"),
    *("?epoll_create", "epoll_create1", "?pidfd_open", "?userfaultfd"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait"),
    *("?poll", "ppoll", "?select", "pselect6", "?epoll_wait", "epoll_pwait", "?epoll_pwait2"),
    *("nanosleep", "clock_nanosleep", "?pause", "futex"),
    *("kill", "tkill", "tgkill", "rt_sigqueueinfo", "?pidfd_send_signal"),
)
STRACES = 4  # processes that strace needs, at its beginning


@dataclass(frozen=True)
class Strace:
    """The strace of this machine."""

    path: str
    version: str  # "6.1"
    walks_stacks: bool  # whether it has -k

    def command(self, log: Path, lines: bool) -> list[str]:
        """What is put before the server's own command line."""
        return [
            *(self.path, "-D", "-f", "-T", "--absolute-timestamps=format:unix,precision:ns"),
            *("-s", "32", "-e", f"trace={','.join(CALLS)}", "-e", "signal=all"),
            *(["-k"] if lines else []),
            *("-o", str(log), "--"),
        ]


@functools.cache
def find_strace() -> Strace | None:
    """The strace of this machine, if it has one."""
    path = shutil.which("strace", path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/local/bin")
    if path is None:
        return None
    said = subprocess.run([path, "-V"], capture_output=True, text=True, errors="replace").stdout
    version = re.search(r"version (\S+)", said)
    return Strace(path, version[1] if version else "?", "stack-trace=" in said)


class Endless(Exception):
    """The server makes calls without end."""


class TracedServer(Server):
    """A server under strace. The tracer is below the same keeper, but not one of the family.

    Its waits raise Endless when the log comes to MOST_LOG bytes.
    """

    log: Path

    def wait_for(
        self,
        condition: Callable[[], T],
        readable: Sequence[socket.socket] = (),
        cpu: float | None = None,
        sure: float = SURE_SECONDS,
    ) -> T:
        """As Server does."""

        def checked() -> T:
            if self.log.stat().st_size > MOST_LOG:
                raise Endless
            return condition()

        return super().wait_for(checked, readable, cpu, sure)

    def family(self) -> list[Process]:
        """The server and all its descendants, without strace."""
        return [one for one in super().family() if not self._is_tracer(one)]

    def _is_tracer(self, one: Process) -> bool:
        return one.name == "strace" and one.parent == self._contained.keeper_pid

    def await_keeper(self) -> None:
        """Waits until the keeper has reaped the zombies that it has become the parent of.

        It is not one of the family, which may all be asleep before the keeper gets a processor.
        """
        keeper = self._contained.keeper_pid
        self._poll_until(
            lambda: not any(one.is_zombie and one.parent == keeper for one in self.family()),
            "a keeper to reap",
        )

    def cpu_seconds(self) -> float:
        """Seconds of CPU time that they and strace have used: what a server that spins costs."""
        return sum(procfs.cpu_seconds(one.pid) for one in super().family())


class Recorder:
    """Plays one scenario to one server, and notes what it does and what /proc shows."""

    def __init__(self, lab: str, server: TracedServer, clients: Clients) -> None:
        self.lab = lab
        self.server = server
        self.steps: list[Step] = []
        self.looks: list[Look] = []
        self.notes: list[str] = []
        self._clients = clients
        self._numbers: dict[Client, int] = {}

    # What scenarios do (forklab.trace.scenarios.Stage)

    def note(self, text: str, action: str = "", client: Client | None = None) -> Step:
        """Notes a step, just before it is taken."""
        number = self._numbers[client] if client else 0
        step = Step(time.time(), text, action, number)
        self.steps.append(step)
        return step

    def number(self, client: Client) -> int:
        """1 for the first client, and so on."""
        return self._numbers[client]

    def connect(self) -> Client:
        """One more client."""
        step = self.note(f"client {len(self._numbers) + 1} connects", "connect")
        client = self._clients.connect()
        step.client = self._numbers[client] = len(self._numbers) + 1
        step.port = client.port
        if not client.is_connected:
            step.text += f": {client.events[0].what}"
        return client

    def quiet(self) -> None:
        """Waits until every process is asleep, and looks at /proc."""
        if self.server.settle():
            self._look()

    def freeze(self) -> None:
        """Stops the server itself; its children go on."""
        self.note("the server is frozen (SIGSTOP)")
        self.server.kill(signal.SIGSTOP)
        self.server.wait_for(lambda: self._state() in ("T", "t", "Z", ""))

    def thaw(self) -> None:
        """It goes on."""
        self._look()
        self.note("the server goes on (SIGCONT)")
        self.server.kill(signal.SIGCONT)

    def all_have_ended(self) -> None:
        """Waits until no child of the server lives, or nothing more happens."""
        self.server.wait_for(lambda: not self.server.living())
        self.server.settle()

    def kill(self, signal_number: int) -> None:
        """Sends the server itself a signal."""
        name = signal.Signals(signal_number).name
        self.note(f"the server gets {name}")
        self.server.kill(signal_number)

    def _state(self) -> str:
        one = procfs.process(self.server.pid)
        return one.state if one else ""

    # Looking

    def _look(self) -> None:
        """/proc now, if nothing changed while we looked."""
        self.server.await_keeper()
        before = self.server.family()
        seen = {str(one.pid): self._seen(one) for one in before}
        sockets = self._sockets()
        if self.server.is_asleep() and self.server.family() == before:
            self.looks.append(Look(time.time(), seen, sockets))

    def _seen(self, one: Process) -> model.Seen:
        if one.is_zombie:
            return model.Seen("Z", str(one.parent))
        masks = procfs.signal_masks(one.pid) or procfs.SignalMasks(0, 0, 0)
        table = {str(fd): target for fd, target in procfs.descriptors(one.pid).items()}
        sets = [_names(mask) for mask in (masks.ignored, masks.caught, masks.blocked)]
        return model.Seen(one.state, str(one.parent), table, *sets)

    def _sockets(self) -> dict[str, str]:
        numbers = {client.port: number for client, number in self._numbers.items()}
        found = {f"socket:[{one.inode}]": "listener" for one in self.server.listeners()}
        for one in tcp.connections(self.server.port):
            if one.inode and one.peer_port in numbers:
                found[f"socket:[{one.inode}]"] = f"client {numbers[one.peer_port]}"
        return found


def _names(mask: int) -> list[str]:
    """The signals of a mask that have names."""
    named = [one for one in signal.Signals if mask >> (one - 1) & 1 and one.name in ALL_SIGNALS]
    return [one.name for one in named]


# A whole run --------------------------------------------------------------------------------


def record(
    trace: model.Trace, program: Program, folder: Path, tool: Strace, *, lines: bool = True
) -> Recording:
    """Plays the scenario that ``trace`` names to the program, and fills in the trace.

    What it was made from comes back. Raises GraderError where nothing can be traced. Nothing is
    left running. ``lines``: whether to look for the lines of the source, where that can be had.
    """
    if lines and not tool.walks_stacks:
        lines = False
        trace.notes.append("No source lines: this strace was built without its option -k.")
    elif lines and trace.clients > MOST_WITH_LINES:
        lines = False
        trace.notes.append(
            f"No source lines: with over {MOST_WITH_LINES} clients they take too long to find."
        )
    trace.recorded = datetime.now(UTC).isoformat(timespec="seconds")
    trace.tool = f"strace {tool.version}"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "strace.log"
    log.touch()
    with _started(program.binary, folder, tool, log, lines) as server:
        recorder = _play(trace, server)
        size = log.stat().st_size
    text = log.read_bytes()[:size].decode(errors="replace")  # not what came of ending it
    trace.notes += recorder.notes
    recording = Recording(text, recorder.steps, recorder.looks, program.functions())
    replay(trace, recording, program.places(text) if lines else None)
    trace.sources = program.sources(trace)
    return recording


@contextmanager
def _started(
    binary: Path, folder: Path, tool: Strace, log: Path, lines: bool
) -> Iterator[TracedServer]:
    limits = replace(usual(), processes=usual().processes + STRACES)
    with reserve_port() as port:
        server = TracedServer(
            binary,
            [str(port)],
            port,
            folder / "server",
            limits=limits,
            tracer=tool.command(log, lines),
            log=log,
        )
        server.log = log
        with server:
            yield server


def _expect_traced(server: TracedServer) -> None:
    """Raises GraderError, with strace's own words, if it could not trace."""
    lines = server.stderr.decode(errors="replace").splitlines()
    said = [line for line in lines if "strace: " in line]
    if said and not server.log.stat().st_size:
        why = how_to_allow(SCOPE, said[-1])
        raise GraderError(f"strace may not look into a process here. {why}")


SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")


def how_to_allow(scope: Path, said: str) -> str:
    """What to do where tracing is forbidden, given what strace said; see ptrace(2) on Yama."""
    try:
        value = scope.read_text(encoding="ascii").strip()
    except OSError:
        value = ""
    advice = {
        "3": f"{scope} is 3: nobody may, until the machine starts with a lower value "
        "(kernel.yama.ptrace_scope in /etc/sysctl.d).",
        "2": f"{scope} is 2: only root may. As root: sysctl kernel.yama.ptrace_scope=1",
    }
    usual = "If this is a container, start it with --cap-add=SYS_PTRACE (docker and podman)."
    return f"{advice.get(value, usual)} Its words: {said}"


def _play(trace: model.Trace, server: TracedServer) -> Recorder:
    with Clients(server) as clients:
        recorder = Recorder(trace.lab, server, clients)
        recorder.note("the server starts").time = 0.0  # before all
        try:
            server.wait_for(lambda: server.is_listening() or server.exit is not None)
            _expect_traced(server)
            recorder.quiet()
            if _is_ready(recorder):
                SCENARIOS[trace.scenario](recorder, trace.clients)
        except Endless:
            recorder.notes.append(
                "The server makes calls without end: the scenario was stopped before its own end."
            )
        if server.restless:
            recorder.notes.append(
                "The server never came to rest, so /proc could not be compared with the log."
            )
        for name, sentence in server.limits_reached.items():
            recorder.notes.append(f"A limit ({name}): {sentence}")
        recorder.note("the trace ends", "end")
        return recorder


def _is_ready(recorder: Recorder) -> bool:
    """Whether it listens somewhere; notes what is odd about it."""
    server = recorder.server
    if not server.is_listening():
        ports = [one.port for one in server.listeners()]
        if not ports:
            how = f"it ended ({server.exit})" if server.exit else "it does not listen"
            recorder.notes.append(f"The clients never came: {how}.")
            return False
        recorder.notes.append(f"It listens on port {ports[0]}, whatever its argument says.")
        server.port = ports[0]
    if not server.is_running():
        recorder.notes.append(
            f"The process that was started ended ({server.exit}), and another one serves."
        )
    return True
