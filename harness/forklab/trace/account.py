"""What is kept account of while a log is replayed: who there is, what each has, what happened."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from forklab.trace import model, strace
from forklab.trace.model import Event, Place, Signals, Trace
from forklab.trace.strace import Frame, Record

SHOWN_FLAGS = {
    model.DEFAULT: ("SA_NOCLDWAIT",),
    model.IGNORE: (),
    model.HANDLER: ("SA_NOCLDWAIT", "SA_RESTART"),
}

# Finding a call's place in the source. What comes back begins with the one to show, and then has
# all of the stack, innermost first.
Places = Callable[[Sequence[Frame]], list[Place]]


@dataclass(eq=False)
class File:
    """An open file description: what descriptors of several processes may stand for."""

    what: str
    text: str
    client: int = 0
    hidden: bool = False  # the dynamic loader's


@dataclass
class Slot:
    file: File
    cloexec: bool = False


Table = dict[int, Slot]


@dataclass
class Action:
    """What sigaction said."""

    kind: str
    text: str
    mask: frozenset[str] = frozenset()
    flags: str = ""


@dataclass
class ProcessState:
    """A process (or thread) in the midst of the replay."""

    shown: model.Process
    leader: ProcessState | None  # of a thread: its process
    parent: ProcessState | None
    table: Table
    actions: dict[str, Action]
    blocked: frozenset[str] = frozenset()
    handling: list[str] = field(default_factory=list)
    adopted: bool = False
    ended: bool = False

    @property
    def name(self) -> str:
        return self.shown.name

    @property
    def whole(self) -> ProcessState:
        """The process that it is a thread of, or itself."""
        return self.leader or self


AT_DEFAULT = Action(model.DEFAULT, "default")


class Account:
    """The trace so far, and the processes in the midst of it."""

    def __init__(self, trace: Trace, log: strace.Log, places: Places) -> None:
        self.trace = trace
        self.places = places
        self.start = log.records[0].time
        self.living: dict[int, ProcessState] = {}  # by pid
        self.known: dict[int, ProcessState] = {}  # by pid, the ended ones too
        self.senders: dict[int, int] = {}  # by event (a SIGNAL): si_pid
        self.in_flight: deque[File] = deque()  # descriptors that are sent over a socket
        self.open_holdings: dict[tuple[int, int, int], model.Holding] = {}

    def _since(self, time: float) -> float:
        return round(max(0.0, time - self.start), 6)

    def _add(self, event: Event) -> Event:
        if self.trace.events:  # the order of the log is sure, times of returns are not quite
            event.time = max(event.time, self.trace.events[-1].time)
        self.trace.events.append(event)
        return event

    def _named(self, pid: int) -> str:
        found = self.living.get(pid) or self.known.get(pid)
        return found.name if found else ""

    def _event(
        self, record: Record, process: ProcessState, kind: str, text: str, **more: object
    ) -> Event:
        event = Event(self._since(record.time), process.name, kind, text)
        if record.kind == strace.CALL and record.time - record.began > 0.0005:
            event.began = self._since(record.began)
        for name, value in more.items():
            setattr(event, name, value)
        found = self.places(record.stack) if record.stack else []
        if found:
            event.place, event.calls = found[0], found[1:]
        return self._add(event)

    def _fd_of(self, record: Record, process: ProcessState) -> tuple[int, int]:
        """The descriptor that is a call's first argument, and the client that it stands for."""
        word = record.arguments[0] if record.arguments else ""
        fd = int(word) if word.isdigit() else -1
        slot = process.table.get(fd)
        return fd, slot.file.client if slot else 0

    def _signals(self, process: ProcessState) -> Signals:
        dispositions = {}
        for name, one in sorted(process.actions.items()):
            flags = [flag for flag in SHOWN_FLAGS[one.kind] if flag in one.flags]
            dispositions[name] = " ".join([one.text, *flags])
        return Signals(dispositions, sorted(process.blocked))


def brief(record: Record) -> str:
    """A call in one short line."""
    text = f"{record.name}({', '.join(record.arguments)})"
    result = f" = {record.result}" if record.result not in ("", "0") else ""
    return (text if len(text) <= 60 else text[:57] + "...") + result
