"""One running server, seen from outside: its processes, descriptors, signals and words.

The heart of it is :meth:`Server.wait_for`, which waits for a condition and also finds out, without
guessing a time, that the condition will never come true. Knows nothing of clients or points.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import stat
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from forklab import contain, procfs, tcp
from forklab.contain import Exit
from forklab.errors import GraderError
from forklab.limits import Limits, usual
from forklab.probe import Probe
from forklab.procfs import Process, Sleep
from forklab.tcp import TcpSocket

T = TypeVar("T")

# A wait ends when nothing more can happen. These bound it where that can't be seen.
TIMER_SECONDS = 1.5  # asleep, but in a call with a time-out: it may wake by itself
NAPS_SECONDS = 3.0  # several such naps together
LONGEST_LOOK = 0.02  # of the time between two looks, what counts as napped
RESTLESS_NAPS = 1.2  # the same, for a program that was seen to nap and wake without end
CPU_SECONDS = 1.0  # of CPU time burnt without getting there
RESTLESS_SECONDS = 0.05  # of CPU time, for a program that was seen never to sleep
WALL_SECONDS = 60.0  # whatever happens
UNASKED_SECONDS = 0.01  # a wait that is over sooner does not ask for the CPU time
SURE_SECONDS = 0.02  # how long "nothing will happen" has to hold

USUAL_SECONDS = 0.002  # of CPU time, for what slowness() computes
PROCESSORS = os.cpu_count() or 1  # nobody burns more seconds of CPU time in a second

# Below the ephemeral ports (32768), or a client might take the server's; and above 1024. The same
# with the two bytes swapped, as a program has it that forgets htons; and that is another one.
PORTS = [
    port for port in range(10_000, 30_000) if port >> 8 != port & 0xFF and 4 <= port & 0xFF < 128
]


@cache
def slowness() -> float:
    """How many times as long as usual a computation takes here, 1 to 10 (measured once)."""
    taken = []
    for _ in range(3):
        began = time.thread_time()
        sum(range(50_000))
        taken.append(time.thread_time() - began)
    return min(max(1.0, min(taken) / USUAL_SECONDS), 10.0)


@contextmanager
def reserve_port() -> Iterator[int]:
    """A TCP port that nobody uses, kept from other graders on this machine until the end.

    The lock is an abstract socket (unix(7)): it vanishes with its process.
    """
    for _ in range(1000):
        port = random.choice(PORTS)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
            try:
                lock.bind(f"\0forklab-port-{port}")
                # Without SO_REUSEADDR: old connections in TIME_WAIT make it unfit too.
                with socket.socket() as probe:
                    probe.bind(("", port))
            except OSError:
                continue
            yield port
            return
    raise GraderError("no free TCP port between 10000 and 30000")


@dataclass(frozen=True)
class Listener:
    """Where a server listens."""

    port: int
    inode: int
    serves_everyone: bool
    pids: tuple[int, ...]  # who has it open


_spare_files: list[BinaryIO] = []


def spare_files(folder: Path, count: int) -> None:
    """Makes files for what servers print before there are any, for all that this process forks."""
    _spare_files.extend(_new_file(folder) for _ in range(count))


def _new_file(folder: Path) -> BinaryIO:
    made = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
    return cast(BinaryIO, made)


class _Words:
    """A file without a name, for what a server prints.

    It is used again for a later server: some file systems take as long to make a file as a server
    takes to start.
    """

    def __init__(self, folder: Path) -> None:
        self._is_given_back = False
        if _spare_files:
            self._file = _spare_files.pop()
            _make_empty(self._file)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = _new_file(folder)

    @property
    def path(self) -> Path:
        """By which this process can open it once more: for each who writes, with flags of his own.

        (fcntl(2): F_SETFL changes them for all who share an open file description.)
        """
        return Path(_path(self._file))

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor for who writes to it."""
        descriptor = os.open(_path(self._file), os.O_WRONLY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def read(self) -> bytes:
        return os.pread(self._file.fileno(), self.size, 0)

    @property
    def size(self) -> int:
        """How many bytes were printed."""
        return os.fstat(self._file.fileno()).st_size

    def give_back(self) -> None:
        """Nobody writes to it any more. Once nobody will read it either, it is spare."""
        if not self._is_given_back:
            self._is_given_back = True
            weakref.finalize(self, _make_spare, self._file)


def _path(file: BinaryIO) -> str:
    return f"/proc/self/fd/{file.fileno()}"


def empty_spare_files() -> None:
    """Gives the room back that they take, when all that wrote to them is gone."""
    for file in _spare_files:
        _make_empty(file)


def _make_empty(file: BinaryIO) -> None:
    """Not by ftruncate(2): ext4 would take it for a file that is being replaced, and write what a
    server prints to the disk when it ends (ext4(5), auto_da_alloc). A close is the end of that.
    """
    status = os.fstat(file.fileno())
    if stat.S_IMODE(status.st_mode) != 0o600:  # who prints to it may be its owner
        os.fchmod(file.fileno(), 0o600)
    if status.st_size or status.st_blocks:
        os.close(os.open(_path(file), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC))


def _make_spare(file: BinaryIO) -> None:
    _make_empty(file)
    _spare_files.append(file)


@dataclass(frozen=True)
class _AtRest:
    """A family of which every thread sleeps."""

    threads: dict[tuple[int, int], procfs.Rest]
    for_ever: bool  # none of them in a call with a time-out: only we can wake it

    def has_time_out(self) -> bool:
        """Whether one wakes by itself although its call does not say so."""
        return any(procfs.has_time_out(*ids) for ids in self.threads)


class Server:
    """A started program and all its descendants; use it as a context, and it is gone afterwards.

    ``arguments`` are its command line; ``port`` is where it is expected to listen; it runs under
    ``probe``, if there is one; ``beside`` is a server whose user it is to share; ``sandbox`` as for
    contain.start. ``tracer`` is the command line of strace, to which the server's own is added; it
    writes to ``log``.
    """

    def __init__(
        self,
        binary: Path,
        arguments: Sequence[str],
        port: int,
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        probe: Probe | None = None,
        beside: Server | None = None,
        sandbox: contain.Sandbox | None = None,
        tracer: Sequence[str] = (),
        log: Path | None = None,
    ) -> None:
        self.port = port
        self.arguments = tuple(arguments)
        self._limits = limits or usual()
        self._stdout, self._stderr = _Words(folder.parent), _Words(folder.parent)
        if sandbox and sandbox.scratch:
            home = sandbox.scratch
        else:
            home = folder / "home"
            folder.mkdir(parents=True)
            folder.chmod(0o755)
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", **(env or {})}
        env |= probe.env if probe else {}
        with self._stdout.opened() as out, self._stderr.opened() as err:
            self._contained: contain.Contained = contain.start(
                [*tracer, binary, *arguments],
                cwd=home,
                env=env,
                stdout=out,
                stderr=err,
                limits=self._limits,
                reads=[*([probe.library] if probe else []), *([binary] if tracer else [])],
                writes=[log] if log else [],
                hands_over=[probe.descriptor] if probe else [],
                scratch=home,
                beside=beside._contained if beside else None,
                sandbox=sandbox,
                traced=bool(tracer),
            )
        self.pid = self._contained.pid
        self._pids_inside: dict[int, int] = {}
        self._seen = [self.pid]  # the family, when it was last looked for
        self.most_processes = 0  # the largest family that was seen
        self.restless = False  # it was waited for to sleep, and didn't
        self.fidgets = False  # it was waited for while it napped, in vain
        self.napped = 0.0  # seconds that it was waited for while it slept, to wake by itself
        self.room = 0  # in its queue, as far as was looked: see Client

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Kills the server and all that came of it."""
        self._contained.end()
        if self._contained.left_nobody:
            self._stdout.give_back()
            self._stderr.give_back()

    # What it says

    @property
    def stdout(self) -> bytes:
        """All that was written to standard output so far."""
        return self._stdout.read()

    @property
    def output_files(self) -> tuple[Path, Path]:
        """Standard output and standard error, as links to files without names (proc(5))."""
        return self._stdout.path, self._stderr.path

    @property
    def prints_without_end(self) -> bool:
        """Whether it came to the limit for what it may write."""
        return max(self._stdout.size, self._stderr.size) >= self._limits.output

    @property
    def limits_reached(self) -> dict[str, str]:
        """The limits that it came to so far, each with a sentence."""
        names = self._contained.reached | ({"output"} if self.prints_without_end else set())
        return {name: self._limits.reached(name) for name in sorted(names)}

    @property
    def stderr(self) -> bytes:
        """All that was written to standard error so far."""
        return self._stderr.read()

    # Who is there

    @property
    def exit(self) -> Exit | None:
        """How the started process ended, or None while it runs."""
        return self._contained.poll()

    def family(self) -> list[Process]:
        """The server and all its descendants, zombies too, those that daemonised too."""
        return [one for pid in self._pids() if (one := procfs.process(pid)) is not None]

    def _pids(self) -> list[int]:
        self._seen = self._contained.family.pids()
        self.most_processes = max(self.most_processes, len(self._seen))
        return self._seen

    def children(self) -> list[Process]:
        """The server's own children, zombies too."""
        return [one for one in self.family() if one.parent == self.pid]

    def zombies(self) -> list[Process]:
        """Those children of the server that ended and were not reaped."""
        return [child for child in self.children() if child.is_zombie]

    def living(self) -> list[Process]:
        """The server's descendants that have not ended."""
        return [one for one in self.family() if one.pid != self.pid and not one.is_zombie]

    def is_running(self) -> bool:
        """Whether the server process itself has not ended. If it has, ``exit`` says how."""
        one = procfs.process(self.pid)
        # It closes its connections before it is a zombie; but other threads may go on.
        if one is None or ((one.is_zombie or one.is_ending) and one.threads <= 1):
            self._contained.wait(WALL_SECONDS)
        return self.exit is None

    # What it has

    def signal_masks(self) -> procfs.SignalMasks:
        """What the server does with signals. All clear once it is gone."""
        return procfs.signal_masks(self.pid) or procfs.SignalMasks(0, 0, 0)

    def descriptors(self) -> dict[int, str]:
        """The server's open descriptors."""
        return procfs.descriptors(self.pid)

    def listeners(self) -> list[Listener]:
        """The sockets on which the server or a descendant listens."""
        return self._ours(tcp.listeners())

    def _ours(self, sockets: Sequence[TcpSocket]) -> list[Listener]:
        if not sockets:
            return []
        holders: dict[int, list[int]] = {}
        for pid in self._pids():
            for inode in procfs.socket_inodes(pid):
                holders.setdefault(inode, []).append(pid)
        return [
            Listener(one.port, one.inode, one.serves_everyone, tuple(holders[one.inode]))
            for one in sockets
            if one.inode in holders
        ]

    def holders(self, peer_port: int) -> list[int]:
        """The descendants that have the connection from that port open, by pid."""
        inodes = {one.inode for one in tcp.connections(self.port) if one.peer_port == peer_port}
        return [one.pid for one in self.living() if procfs.socket_inodes(one.pid) & inodes]

    def pid_inside(self, pid: int) -> int:
        """The pid by which the server knows a descendant that was asked for while it lived."""
        if pid not in self._pids_inside:
            self._pids_inside[pid] = procfs.pid_inside(pid)
        return self._pids_inside[pid]

    def is_listening(self) -> bool:
        """Whether it, or a descendant, listens on its port."""
        found = tcp.listeners_on(self.port)
        if not found:
            return False
        is_own = not procfs.socket_inodes(self.pid).isdisjoint(one.inode for one in found)
        return is_own or bool(self._ours(found))

    def cpu_seconds(self) -> float:
        """Seconds of CPU time that the server and its living descendants have used."""
        return sum(procfs.cpu_seconds(one.pid) for one in self.family())

    # Signals

    def kill(self, signal_number: int, pid: int | None = None) -> None:
        """Sends a signal to the server, or to one of its descendants. Nothing if it is gone."""
        pid = pid or self.pid
        if pid == self.pid and self.exit is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_number)

    @contextmanager
    def frozen(self, pid: int | None = None) -> Iterator[None]:
        """Stops the server, or one of its descendants, with SIGSTOP; at the end it goes on.

        What happens meanwhile meets it all at once, which makes races certain.
        """
        pid = pid or self.pid

        def is_stopped() -> bool:
            one = procfs.process(pid)
            return one is None or one.state in "TtZ"

        self.kill(signal.SIGSTOP, pid)
        try:
            self._poll_until(is_stopped, "a process to stop")
            yield
        finally:
            self.kill(signal.SIGCONT, pid)

    @contextmanager
    def without_descriptors(self) -> Iterator[None]:
        """Leaves the server no free descriptor (RLIMIT_NOFILE), and gives them back at the end."""
        taken = self.descriptors()
        lowest_free = next(fd for fd in range(len(taken) + 1) if fd not in taken)
        usual = procfs.descriptor_limit(self.pid)
        self._contained.limit_descriptors(self.pid, lowest_free)
        try:
            yield
        finally:
            if self.is_running():
                self._contained.limit_descriptors(self.pid, usual)

    # Waiting

    def wait_for(
        self,
        condition: Callable[[], T],
        readable: Sequence[socket.socket] = (),
        cpu: float | None = None,
        sure: float = SURE_SECONDS,
    ) -> T:
        """Waits until ``condition()`` is true and returns its value; false if it will never be.

        It will never be when every process of the family is asleep in a call without a time-out
        and no packet is under way: then only we could wake them. A family that sleeps with a
        time-out gets 1.5 s to wake, and 3 s for several such naps; one that burns 1 s of CPU time
        meanwhile (more on a slow machine), or is gone, has failed. So a wrong program is found out
        in milliseconds, and a right one has all the time that a loaded machine may take: 60 s, not
        counting those in which we got no processor ourselves.

        ``readable`` are sockets of ours: their data ends a pause early. ``cpu``: another limit for
        the CPU time, in seconds. ``sure``: how many seconds it must hold that only we could wake
        them; 0 where no verdict hangs on it, and time-outs of sockets don't count.
        """
        if value := condition():
            return value
        began = time.monotonic()
        cpu_before: float | None = None  # seconds, when it was first asked for
        most_cpu = (cpu or CPU_SECONDS) * slowness()
        nap: _AtRest | None = None
        nap_began = looked = began
        waited = 0.0  # seconds, without those in which we did not get to look
        napped = 0.0  # seconds in all, in this nap and others
        pause = 0.0002
        while True:
            if readable:
                select.select(readable, [], [], pause)
            else:
                time.sleep(pause)
            pause = min(pause * 1.5, 0.005)
            if value := condition():
                return value
            # Who waits for that has just looked, in vain.
            rest = None if condition == self.is_asleep else self._rest()
            now = time.monotonic()
            if rest is None:
                may_have_burnt = (now - began) * PROCESSORS
                if cpu_before is None:
                    if now - began > UNASKED_SECONDS:
                        cpu_before = self.cpu_seconds()
                elif may_have_burnt > most_cpu and self.cpu_seconds() - cpu_before > most_cpu:
                    return self._at_last(condition)
            else:
                # A long pause may be the machine's fault, and does not count as its nap.
                napped += min(now - looked, LONGEST_LOOK)
                if not rest.for_ever:
                    self.napped += min(now - looked, LONGEST_LOOK)
                if nap is None or rest.threads != nap.threads:  # it was awake in between
                    nap, nap_began = rest, now
                slept = now - nap_began
                only_we_can = rest.for_ever and slept >= sure and not (sure and rest.has_time_out())
                if only_we_can or slept >= TIMER_SECONDS:
                    return self._at_last(condition)
                if napped >= (RESTLESS_NAPS if self.fidgets else NAPS_SECONDS):
                    self.fidgets = True
                    return self._at_last(condition)
            # Where we get to look ten times as seldom, there is ten times as long to wait.
            waited += min(now - looked, LONGEST_LOOK)
            if waited > WALL_SECONDS:
                return self._at_last(condition)
            looked = now

    def _at_last(self, condition: Callable[[], T]) -> T:
        """What it comes to when nothing more will happen, but that we may have to hear of an end.

        A server that has ended is a zombie at rest until its keeper, which may get no processor,
        has waited for it and told us.
        """
        self.is_running()
        return condition()

    def settle(self) -> bool:
        """Waits until the family is asleep. False if it burns CPU time instead.

        If the server has ended, ``exit`` says how from then on. Of a program that is known to be
        restless, not much is waited for.
        """
        at_rest = self.wait_for(self.is_asleep, cpu=RESTLESS_SECONDS if self.restless else None)
        self.restless |= not at_rest
        self.is_running()
        return at_rest

    def is_asleep(self) -> bool:
        """Whether, at one instant, every thread was asleep and no packet was under way."""
        return self._rest() is not None

    def sleeps(self, pid: int) -> bool:
        """Whether that one process of the family is asleep and does not run meanwhile."""
        first = procfs.rests(pid)
        return all(rest.is_asleep for rest in first.values()) and not any(
            procfs.sleep_since(*ids, rest) == Sleep.NONE for ids, rest in first.items()
        )

    def _rest(self) -> _AtRest | None:
        """None while something runs, or a packet is under way.

        Each thread is looked at twice. Who slept at the first look, sleeps at the second, and has
        not run in between, slept all the time; so at the moment between the two looks all slept at
        once. Who is there, and the sockets, are looked at in that moment.
        """
        first: dict[tuple[int, int], procfs.Rest] = {}
        looked_at: set[int] = set()
        pids = self._seen  # most often nobody has come since
        while True:
            for pid in pids:
                if pid not in looked_at:
                    rests = procfs.rests(pid)
                    if not all(rest.is_asleep for rest in rests.values()):
                        return None
                    if rests:  # or it is gone
                        first |= rests
                        looked_at.add(pid)
            pids = self._pids()
            if looked_at.issuperset(pids):
                break
        if not tcp.is_quiet(self.port):
            return None
        sleeps = {procfs.sleep_since(*ids, rest) for ids, rest in first.items()}
        if Sleep.NONE in sleeps:
            return None
        return _AtRest(first, for_ever=Sleep.TIMED not in sleeps)

    @staticmethod
    def _poll_until(condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WALL_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise GraderError(f"waited {WALL_SECONDS:.0f} s in vain for {what}")
            time.sleep(0.0002)
