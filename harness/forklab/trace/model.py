"""What happened while a server ran: its processes, signals, connections and descriptor tables.

A :class:`Trace` is made by forklab.trace.replay from a log of strace's, and is all that a picture
is drawn from. Times are seconds since the server's program began (``execve``), rounded to
microseconds; the order of events is that of the list, not that of their times. Processes have
pseudonyms: ``P`` is the server that was started, ``C1``, ``C2``, ... are what was forked, in that
order (also by a child), ``T1``, ... are threads.

JSON: ``trace.to_json()`` writes the schema ``forklab/trace/1``, ``from_json`` reads it. Adding a
field that has a default keeps the number; changing one raises it.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any

SCHEMA = "forklab/trace/1"
MOST_SHOWN = 50  # processes in a picture

# Event.kind. The fields of an Event that have a meaning for it are in brackets.
MARK = "mark"  # a step of the scenario: of a client [client], or of the recorder. process is ""
EXEC = "exec"  # a program begins [text]
FORK = "fork"  # a process is made [other: the child]
EXIT = "exit"  # it calls exit: from here on it runs no more code [status]
EXITED = "exited"  # it is seen to be gone: a zombie, unless reaped at once [status or signal]
REAP = "reap"  # a wait took a child out of the process table [other, status or signal]
WAIT = "wait"  # a wait that brought nobody: none had ended, or there is none [error]
AUTO_REAP = "auto-reap"  # the kernel did it, as the parent ignores SIGCHLD. process is the child
# Its parent is gone. process is the child: alive, or a zombie, which is reaped by that. Of P
# itself, whom the recorder started: it has ended and is reaped.
ADOPTED = "adopted"
SENT = "sent"  # a signal for process [signal, other: who sent it, or ""; outcome]
SIGNAL = "signal"  # a signal is delivered [signal, other: the sender it names, action]
HANDLED = "handled"  # a handler has returned [signal]
DISPOSITION = "disposition"  # sigaction [signal, action]
MASK = "mask"  # sigprocmask [text]
STOP = "stop"  # it stands still: SIGSTOP and the like [signal]
CONTINUE = "continue"  # it goes on [signal]
LISTEN = "listen"  # [fd]
ACCEPT = "accept"  # [fd: the new one, client; or error]
READ = "read"  # [fd, size; client if from one]
EOF = "eof"  # a read that brought 0 bytes [fd, client]
WRITE = "write"  # [fd, size; client if to one; data]
SHUTDOWN = "shutdown"  # shutdown(2) [fd, client]
OPEN = "open"  # a new descriptor: socket, open, pipe, dup, ... [fd]
CLOSE = "close"  # [fd, client, client_ends]
CALL = "call"  # another call, or one of the above that failed [error]
UNKNOWN = "unknown"  # a line that was not understood [text]; all of them are in Trace.unread

# Event.outcome of a SENT. Ignored: or at its default, where that is to do nothing.
DELIVERED, MERGED, PENDING, IGNORED, LOST = "delivered", "merged", "pending", "ignored", "lost"

# Event.action of a SIGNAL or a DISPOSITION.
DEFAULT, IGNORE, HANDLER = "default", "ignore", "handler"

# Reap.how
BY_WAIT, AUTOMATIC, BY_INIT, NEVER = "wait", "automatic", "init", "never"

# Moment.states
NOT_YET, RUNNING, STOPPED, ENDING, ZOMBIE, GONE = (
    *("not yet", "running", "stopped", "ending", "zombie"),
    "gone",
)


@dataclass(frozen=True)
class Place:
    """A line of source that an event belongs to, by the debug information of the program."""

    file: str  # "server.c"; a key of Trace.sources, if that file's text is known
    line: int  # from 1
    function: str
    step: str = ""  # "4a", if the line is in a region between "/* step 4a" and "/* end 4a"


@dataclass(frozen=True)
class Descriptor:
    """One row of a descriptor table."""

    fd: int
    what: str  # "listener", "client", "socket", "pipe", "file", "other"
    text: str  # for people: "client 2", "/dev/null", "socketpair"
    client: int = 0  # whose connection; 0: none
    cloexec: bool = False


@dataclass(frozen=True)
class Signals:
    """What a process does with signals at one moment. Names: "SIGCHLD"."""

    # Signals that are not at their default: "ignore", or "handler" and, if known, its function:
    # {"SIGCHLD": "handler reap_children"}. Flags that matter follow: "... SA_NOCLDWAIT".
    dispositions: dict[str, str] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)  # sent, and not delivered yet


@dataclass
class Event:
    """Something that happened, at ``time``; see the kinds above for what is set."""

    time: float
    process: str  # whom it happened to, or who did it; "" for a MARK
    kind: str
    text: str  # a short line for people: "accept = 4 (client 1)"
    began: float | None = None  # when a call that waited began; None: at once
    other: str = ""
    client: int = 0
    fd: int = -1
    size: int = 0
    data: str = ""  # the beginning of what was read or written, as C would write it
    signal: str = ""
    status: int | None = None
    action: str = ""
    outcome: str = ""
    error: str = ""  # "ECHILD"; of a call that failed
    times: int = 1  # so many calls like this one after another, of which this is the first
    client_ends: bool = False  # nobody holds the connection any more: now its client sees the end
    place: Place | None = None  # in the student's file, if the stack comes through it
    calls: list[Place] = field(default_factory=list)  # the whole stack, innermost first
    # What this event changed, by process: the whole table, and the signals, after it.
    tables: dict[str, list[Descriptor]] = field(default_factory=dict)
    signals: dict[str, Signals] = field(default_factory=dict)


@dataclass(frozen=True)
class Bracket:
    """Something that happened between two times: strace can't see just when."""

    earliest: float
    latest: float


@dataclass
class Reap:
    """How a process left the process table after its end."""

    how: str  # "wait", "automatic", "init" or "never"
    by: str = ""  # the process that waited
    time: float | None = None  # None: never, or not seen (init)
    event: int | None = None  # index in Trace.events


@dataclass
class Process:
    """A process, from fork to reap. Event numbers are indexes in Trace.events."""

    name: str
    pid: int
    parent: str  # "" for P
    began: float
    forked: int | None = None  # the event; None for P
    is_thread: bool = False
    exit: Bracket | None = None  # None: it lived to the end of the trace
    exited: int | None = None  # the event EXITED
    status: int | None = None  # as passed to exit
    signal: str = ""  # that killed it
    reap: Reap | None = None  # None while it lives, and for threads
    clients: list[int] = field(default_factory=list)  # of whom it read or to whom it wrote


@dataclass
class Holding:
    """A connection in one process's descriptor table, from when to when."""

    process: str
    fd: int
    since: float
    until: float | None = None  # None: to the end of the trace


@dataclass
class Connection:
    """One client of the scenario, and its connection in the server."""

    client: int  # from 1, in the order of connecting
    port: int  # the client's own
    connected: float
    accepted: float | None = None
    accepted_by: str = ""
    holdings: list[Holding] = field(default_factory=list)
    eof: float | None = None  # when the server read the client's end
    eof_by: str = ""
    received: int = 0  # bytes that the server read
    sent: int = 0  # bytes that the server wrote
    left: float | None = None  # when the client closed or vanished
    how_left: str = ""  # "closed", "vanished"; "" if it stayed
    closed: float | None = None  # when the last holder let go


@dataclass(frozen=True)
class Seen:
    """One process as /proc showed it at a quiet moment."""

    state: str  # of proc(5): S asleep, T or t stopped, Z zombie
    parent: str  # pseudonym; "" if not of the family
    descriptors: dict[str, str] = field(default_factory=dict)  # "4": "socket:[4711]"
    ignored: list[str] = field(default_factory=list)  # signals, as in Signals
    caught: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)


@dataclass
class Snapshot:
    """The family as /proc showed it while every process was asleep."""

    event: int  # the last event before it
    processes: dict[str, Seen] = field(default_factory=dict)
    sockets: dict[str, str] = field(default_factory=dict)  # "socket:[4711]": "client 2", "listener"


@dataclass
class Trace:
    """One run of one program."""

    lab: str
    submission: str  # the path as the user named it
    scenario: str
    clients: int
    check: str = ""  # the check whose traffic it is like
    recorded: str = ""  # ISO 8601, UTC
    tool: str = ""  # "strace 6.1"
    duration: float = 0.0  # seconds, to the last event of the scenario
    lines_known: bool = False  # whether events have places
    processes: list[Process] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)  # name of a file: its text
    waiting: dict[str, str] = field(default_factory=dict)  # by process: its call at the very end
    notes: list[str] = field(default_factory=list)  # sentences on what went otherwise than asked
    unread: list[str] = field(default_factory=list)  # lines of the log that were not understood
    schema: str = SCHEMA

    def process(self, name: str) -> Process:
        """The process of that pseudonym. Raises KeyError if there is none."""
        for one in self.processes:
            if one.name == name:
                return one
        raise KeyError(name)

    def shown(self) -> list[Process]:
        """The processes that a picture has room for: the first MOST_SHOWN."""
        return self.processes[:MOST_SHOWN]

    def zombies(self) -> dict[str, int | None]:
        """Who became a zombie at his end, and the event with which that ended; None: it lasts.

        Whom the kernel reaps at once was none, nor who is init's child already (wait(2)); whose
        parent ends later is one until then.
        """
        ended = {one.name: one.exited for one in self.processes}
        adopted = {event.process: n for n, event in enumerate(self.events) if event.kind == ADOPTED}
        found: dict[str, int | None] = {}
        for one in self.processes:
            if one.exited is None or one.reap is None:
                continue
            if one.reap.how in (BY_WAIT, NEVER):
                found[one.name] = one.reap.event
            elif one.reap.how == BY_INIT and (ended.get(one.parent) or 0) > one.exited:
                found[one.name] = adopted[one.name]
        return found

    def moments(self) -> Iterator[Moment]:
        """How everything stands after each event, in order."""
        zombies = self.zombies()
        moment = Moment(-1, dict.fromkeys((one.name for one in self.processes), NOT_YET), {}, {})
        for number, event in enumerate(self.events):
            moment = moment.after(number, event, zombies)
            yield moment

    def to_json(self) -> str:
        """The trace as JSON, schema forklab/trace/1."""
        return json.dumps(_without_defaults(self), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Trace:
        """Reads what to_json wrote. Raises ValueError for anything else."""
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise ValueError(f"not a trace of the schema {SCHEMA}")
        try:
            made: Trace = _made(cls, data)
        except (TypeError, KeyError, AttributeError) as problem:
            raise ValueError(f"not a trace of the schema {SCHEMA}: {problem}") from problem
        return made


@dataclass(frozen=True)
class Moment:
    """How everything stands after one event."""

    number: int  # of the event, in Trace.events
    states: dict[str, str]  # by process: "not yet", "running", "stopped", "ending", "zombie", ...
    tables: dict[str, list[Descriptor]]  # by process; who has ended has none
    signals: dict[str, Signals]

    @property
    def zombies(self) -> list[str]:
        """Who is a zombie now."""
        return [name for name, state in self.states.items() if state == ZOMBIE]

    def holders(self, client: int) -> list[str]:
        """Who has that client's connection open."""
        return [
            name
            for name, table in self.tables.items()
            if any(one.client == client for one in table)
        ]

    def after(self, number: int, event: Event, zombies: Container[str]) -> Moment:
        """How it stands after one more event. ``zombies``: who becomes one at his end."""
        states, name = dict(self.states), event.process
        if event.kind == EXEC and states.get(name) == NOT_YET:
            states[name] = RUNNING
        elif event.kind == FORK and event.other:
            states[event.other] = RUNNING
        elif event.kind == EXIT:
            states[name] = ENDING
        elif event.kind == EXITED:
            states[name] = ZOMBIE if name in zombies else GONE
        elif event.kind == REAP:
            states[event.other] = GONE
        elif event.kind == ADOPTED and states.get(name) == ZOMBIE:
            states[name] = GONE
        elif event.kind == STOP:
            states[name] = STOPPED
        elif event.kind not in (SENT, MARK) and states.get(name) == STOPPED:
            states[name] = RUNNING  # a signal may be delivered before the one that let it go on
        tables = {**self.tables, **event.tables}
        if event.kind == EXITED:
            tables.pop(name, None)
        return Moment(number, states, tables, {**self.signals, **event.signals})


# JSON ----------------------------------------------------------------------------------------


def _without_defaults(value: Any) -> Any:
    """A dataclass as a dict, without the fields that are at their default (but for the schema)."""
    if isinstance(value, list):
        return [_without_defaults(one) for one in value]
    if isinstance(value, dict):
        return {key: _without_defaults(one) for key, one in value.items()}
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    found = {}
    for one in dataclasses.fields(value):
        its = getattr(value, one.name)
        usual = one.default
        if one.default_factory is not dataclasses.MISSING:
            usual = one.default_factory()
        if one.name == "schema" or usual is dataclasses.MISSING or its != usual:
            found[one.name] = _without_defaults(its)
    return found


def _made(kind: Any, data: Any) -> Any:
    """The value of that type (a dataclass, a list, a dict, an optional one) that ``data`` tells."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None if data is None else _made(arguments[0], data)
    if origin is list:
        return [_made(arguments[0], one) for one in data]
    if origin is dict:
        return {key: _made(arguments[1], one) for key, one in data.items()}
    make: Any = kind
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        known = {one.name for one in dataclasses.fields(kind)}
        # What a newer kit added is left out.
        kept = {name: its for name, its in data.items() if name in known}
        return make(**{name: _made(hints[name], its) for name, its in kept.items()})
    return data
