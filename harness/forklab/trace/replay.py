"""From a recording to a trace: what each line of the log did to processes, tables and signals.

Kernel facts that it stands on: fork copies the table and the mask (fork(2)); execve closes what is
close-on-exec and forgets handlers (execve(2)); a child's end sends one SIGCHLD, which is lost while
another is pending (signal(7)); whoever ignores SIGCHLD, or has SA_NOCLDWAIT, leaves no zombies
(sigaction(2), wait(2)). Under strace a process is reaped by strace first, so its line "exited" comes
before its parent can know.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

from forklab.trace import model, strace
from forklab.trace.model import Descriptor, Event, Place, Signals, Trace
from forklab.trace.strace import Frame, Record

MOST_EVENTS = 5000  # in a trace; a server that spins makes more, all alike
FORKS = ("fork", "vfork", "clone", "clone3")
READS = ("read", "readv", "recv", "recvfrom", "recvmsg", "pread64")
WRITES = ("write", "writev", "send", "sendto", "sendmsg", "pwrite64")
WAITS = ("wait4", "waitid", "waitpid")
NAPS = (
    *("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2"),
    *("nanosleep", "clock_nanosleep", "pause", "rt_sigsuspend", "rt_sigtimedwait", "futex"),
)
WITH_A_MASK = ("pselect", "ppoll", "epoll_pwait", "rt_sigsuspend", "rt_sigtimedwait")
MAY_WAIT = {"accept", "accept4", *READS, *WRITES, *WAITS, *NAPS}
ENDS = ("exit", "exit_group")
# What makes one descriptor, and what that stands for.
MAKERS = {
    "socket": ("socket", "socket"),
    **dict.fromkeys(("eventfd", "eventfd2"), ("other", "eventfd")),
    **dict.fromkeys(("epoll_create", "epoll_create1"), ("other", "epoll")),
    **dict.fromkeys(("inotify_init", "inotify_init1"), ("other", "inotify")),
    **dict.fromkeys(("signalfd", "signalfd4"), ("other", "signalfd")),
    "timerfd_create": ("other", "timerfd"),
    "pidfd_open": ("other", "pidfd"),
    "memfd_create": ("other", "memfd"),
}
_PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
_RIGHTS = re.compile(r"SCM_RIGHTS, cmsg_data=\[([\d, ]+)\]")
_STATUS = re.compile(r"WEXITSTATUS\(s\) == (\d+)|WTERMSIG\(s\) == (\w+)|si_status=(\w+)")
_LOADER = re.compile(r"/etc/ld\.so|.*\.so(\.\d+)*$")


# What was recorded --------------------------------------------------------------------------


@dataclass
class Step:
    """What the scenario, or the recorder, did; ``time`` is from just before it."""

    time: float  # unix seconds
    text: str
    action: str = ""  # "connect", "close", "reset", "end": these have a meaning for the replay
    client: int = 0
    port: int = 0  # of a connect: the client's own


@dataclass
class Look:
    """/proc while every process was asleep."""

    time: float  # unix seconds
    processes: dict[str, model.Seen]  # by pid; parents are pids, too
    sockets: dict[str, str]  # "socket:[4711]": "client 2" or "listener"


@dataclass
class Recording:
    """All that a trace is made from."""

    log: str  # strace's
    steps: list[Step] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    # The program's functions by their addresses in it, and who calls from where.
    symbols: dict[int, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The steps and looks; the log is a file of its own."""
        parts = {"steps": self.steps, "looks": self.looks, "symbols": self.symbols}
        return json.dumps(parts, default=asdict) + "\n"

    @classmethod
    def from_json(cls, log: str, text: str) -> Recording:
        """Reads what to_json wrote, with its log."""
        data = json.loads(text)
        looks = [
            Look(one["time"], {p: model.Seen(**s) for p, s in one["processes"].items()}, one["sockets"])
            for one in data["looks"]
        ]
        symbols = {int(address): name for address, name in data["symbols"].items()}
        return cls(log, [Step(**one) for one in data["steps"]], looks, symbols)


# Finding a call's place in the source. What comes back begins with the one to show, and then has
# all of the stack, innermost first.
Places = Callable[[Sequence[Frame]], list[Place]]


def replay(trace: Trace, recording: Recording, places: Places | None = None) -> Trace:
    """Fills in ``trace`` (which says what was asked for) from the recording, and returns it."""
    log = strace.read(recording.log)
    trace.unread = list(log.unread)
    if log.cut:
        trace.notes.append("The log ends in the middle of a line: the end of the run is missing.")
    if not log.records:
        trace.notes.append("strace's log is empty.")
        return trace
    _Replay(trace, recording, log, places or (lambda frames: [])).run()
    return trace


def _next_starts(records: Sequence[Record]) -> list[float | None]:
    """For each record, when the same process was next heard of; None if never."""
    later: dict[int, float] = {}
    found: list[float | None] = []
    for record in reversed(records):
        found.append(later.get(record.pid))
        later[record.pid] = record.began if record.kind == strace.CALL else record.time
    return found[::-1]


# Descriptor tables --------------------------------------------------------------------------


@dataclass(eq=False)
class _File:
    """An open file description: what descriptors of several processes may stand for."""

    what: str
    text: str
    client: int = 0
    hidden: bool = False  # the dynamic loader's


@dataclass
class _Slot:
    file: _File
    cloexec: bool = False


_Table = dict[int, _Slot]


@dataclass
class _Action:
    """What sigaction said."""

    kind: str
    text: str
    mask: frozenset[str] = frozenset()
    flags: str = ""


@dataclass
class _Process:
    """A process (or thread) in the midst of the replay."""

    shown: model.Process
    leader: _Process | None  # of a thread: its process
    parent: _Process | None
    table: _Table
    actions: dict[str, _Action]
    blocked: frozenset[str] = frozenset()
    handling: list[str] = field(default_factory=list)
    adopted: bool = False
    ended: bool = False

    @property
    def name(self) -> str:
        return self.shown.name

    @property
    def whole(self) -> _Process:
        """The process that it is a thread of, or itself."""
        return self.leader or self


class _Replay:
    def __init__(
        self, trace: Trace, recording: Recording, log: strace.Log, places: Places
    ) -> None:
        self.trace = trace
        self.recording = recording
        self.log = log
        self.lines = recording.log.split("\n")
        self.places = places
        self.start = log.records[0].time
        self.living: dict[int, _Process] = {}  # by pid
        self.known: dict[int, _Process] = {}  # by pid, the ended ones too
        self.senders: dict[int, int] = {}  # by event (a SIGNAL): si_pid
        self.in_flight: deque[_File] = deque()  # descriptors that are sent over a socket
        self.births = self._births()
        self.counts = {"C": 0, "T": 0}
        self.open_holdings: dict[tuple[int, int, int], model.Holding] = {}
        self.ended_at: float | None = None
        self.steps = deque(sorted(recording.steps, key=lambda one: one.time))
        self.looks = deque(sorted(recording.looks, key=lambda one: one.time))

    # The frame

    def run(self) -> None:
        following = _next_starts(self.log.records)
        for record, next_start in zip(self.log.records, following, strict=True):
            self._catch_up(record, next_start)
            if self.ended_at is not None:
                break
            if len(self.trace.events) >= MOST_EVENTS:
                self._stop_at(record)
                break
            self._take(record)
        while self.looks and self.ended_at is None:
            self._look(self.looks.popleft())
        self._steps_until(float("inf"))
        self._conclude()

    def _catch_up(self, record: Record, next_start: float | None) -> None:
        """Plays the steps and looks that were before that record.

        When a call returned is known from below only (strace measures its duration from a little
        after its beginning), and from above by what its process did next. But who was asleep at a
        quiet moment was still in that call; and nobody is accepted before he connects.
        """
        latest = record.time if next_start is None else next_start
        waits = record.kind == strace.CALL and record.name in MAY_WAIT
        while self.looks and (
            self.looks[0].time < record.time
            or (waits and record.began < self.looks[0].time < latest)
        ):
            self._look(self.looks.popleft())
        self._steps_until(record.time)
        if waits and not record.failed and record.name in ("accept", "accept4"):
            port = _PORT.search(" ".join(record.arguments))
            self._steps_of(latest, lambda one: not port or one.port == int(port[1]))
        elif waits and record.name in READS and record.pid in self.living:
            _, client = self._fd_of(record, self.living[record.pid])
            self._steps_of(latest, lambda one: 0 < one.client == client)

    def _steps_of(self, latest: float, caused_it: Callable[[Step], bool]) -> None:
        if any(one.time < latest and caused_it(one) for one in self.steps):
            cause = next(one for one in self.steps if caused_it(one))
            self._steps_until(cause.time)

    def _stop_at(self, record: Record) -> None:
        self.ended_at = self._since(record.time)
        self.trace.notes.append(
            f"More than {MOST_EVENTS} events: the trace ends there, before the scenario did."
        )

    def _since(self, time: float) -> float:
        return round(max(0.0, time - self.start), 6)

    def _steps_until(self, time: float) -> None:
        while self.steps and self.steps[0].time <= time and self.ended_at is None:
            self._step(self.steps.popleft())

    def _step(self, step: Step) -> None:
        now = self._since(step.time)
        if step.action == "end":
            self.ended_at = now
        self._add(Event(now, "", model.MARK, step.text, client=step.client))
        if step.action == "connect":
            self.trace.connections.append(model.Connection(step.client, step.port, now))
        elif step.action in ("close", "reset"):
            for one in self.trace.connections:
                if one.client == step.client and one.left is None:
                    one.left = now
                    one.how_left = "closed" if step.action == "close" else "vanished"

    def _add(self, event: Event) -> Event:
        if self.trace.events:  # the order of the log is sure, times of returns are not quite
            event.time = max(event.time, self.trace.events[-1].time)
        self.trace.events.append(event)
        return event

    def _look(self, look: Look) -> None:
        self._steps_until(look.time)
        names = {str(pid): one.name for pid, one in self.living.items()}
        names |= {str(p): o.name for p, o in self.known.items() if str(p) not in names}
        seen = {
            names.get(pid, pid): replace(one, parent=names.get(one.parent, ""))
            for pid, one in look.processes.items()
        }
        number = len(self.trace.events) - 1
        self.trace.snapshots.append(model.Snapshot(number, seen, dict(look.sockets)))

    # Who is who

    def _births(self) -> dict[int, deque[Record]]:
        """The forks that made each pid, in order."""
        births: dict[int, deque[Record]] = {}
        for record in self.log.records:
            if record.kind == strace.CALL and record.name in FORKS and (record.value or 0) > 0:
                births.setdefault(record.value or 0, deque()).append(record)
        return births

    def _process_of(self, record: Record) -> _Process:
        """The process of a record; it is made at its first one, or when fork returned."""
        if record.pid in self.living:
            return self.living[record.pid]
        if not self.known:
            return self._first(record)
        born = self.births.get(record.pid)
        if born:
            return self._fork(born.popleft(), record.pid, record.time)
        # Whose fork is not in the log to its end: of those that had not returned.
        forking = [one for one in self.log.unfinished.values() if one.name in FORKS]
        if len(forking) != 1:
            self.trace.notes.append(f"Whose child process {record.pid} is can't be told.")
        parent = forking[0] if forking else replace(record, pid=next(iter(self.known)))
        return self._fork(replace(parent, time=record.time, name="fork"), record.pid, record.time)

    def _first(self, record: Record) -> _Process:
        shown = model.Process("P", record.pid, "", 0.0)
        table = {
            0: _Slot(_File("file", "/dev/null")),
            1: _Slot(_File("file", "stdout")),
            2: _Slot(_File("file", "stderr")),
        }
        made = _Process(shown, None, None, table, {})
        self._enter(record.pid, made)
        return made

    def _enter(self, pid: int, process: _Process) -> None:
        self.living[pid] = self.known[pid] = process
        self.trace.processes.append(process.shown)

    def _fork(self, record: Record, pid: int, time: float) -> _Process:
        caller = self._process_of(record)
        flags = " ".join(record.arguments)
        is_thread = "CLONE_THREAD" in flags
        letter = "T" if is_thread else "C"
        self.counts[letter] += 1
        parent = caller.whole
        name = f"{letter}{self.counts[letter]}"
        now = self._since(min(time, record.time))
        shown = model.Process(
            name, pid, parent.name, now, forked=len(self.trace.events), is_thread=is_thread
        )
        shares_files = "CLONE_FILES" in flags
        child = _Process(
            shown,
            leader=parent if is_thread else None,
            parent=parent,
            table=caller.table if shares_files else {k: replace(s) for k, s in caller.table.items()},
            actions=caller.actions if "CLONE_SIGHAND" in flags else dict(caller.actions),
            blocked=caller.blocked,
            handling=[] if is_thread else list(caller.handling),
        )
        self._enter(pid, child)
        word = "clone (a thread)" if is_thread else record.name.replace("clone3", "fork")
        event = self._event(
            record, caller, model.FORK, f"{word.replace('clone', 'fork')} = {name}", other=name
        )
        if not is_thread:
            self._table_of(event, child)
            event.signals[name] = self._signals(child)
        if "CLONE_PIDFD" in flags and (got := re.search(r"(?:parent_tid|pidfd)=\[(\d+)\]", flags)):
            self._open(event, caller, int(got[1]), _File("other", f"pidfd of {name}"), True)
        return child

    def _named(self, pid: int) -> str:
        found = self.living.get(pid) or self.known.get(pid)
        return found.name if found else ""

    # Events

    def _event(
        self, record: Record, process: _Process, kind: str, text: str, **more: object
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

    def _take(self, record: Record) -> None:
        """One record; if it has not the form that its call has elsewhere, it is told as unread."""
        try:
            self._record(record)
        except (IndexError, ValueError) as problem:
            line = self.lines[record.line]
            self.trace.unread.append(line)
            process = self._process_of(record)
            self._event(record, process, model.UNKNOWN, f"{record.name}: {problem}")

    def _record(self, record: Record) -> None:
        process = self._process_of(record)
        if record.kind == strace.CALL:
            self._call(record, process)
        elif record.kind == strace.SIGNAL:
            self._signal(record, process)
        elif record.kind == strace.STOPPED:
            if process.leader is None:
                self._event(record, process, model.STOP, f"stands still ({record.name})")
        else:
            self._ended(record, process)

    def _call(self, record: Record, process: _Process) -> None:
        name = record.name
        if name == "futex":
            return  # how threads wait for each other: asked for only to know who sleeps where
        if name in ENDS:
            self._exit(record, process)
        elif name in FORKS and not record.failed:
            pending = self.births.get(record.value or 0)
            if pending and pending[0] is record:  # else its child was heard of before
                pending.popleft()
                self._fork(record, record.value or 0, record.time)
        elif name in WAITS:
            self._wait(record, process)
        elif record.failed and name != "rt_sigreturn":  # whose result is the interrupted call's
            self._failed(record, process)
        elif name in READS or name in WRITES:
            self._transfer(record, process)
        elif name in _HANDLERS:
            _HANDLERS[name](self, record, process)
        elif name in MAKERS:
            what, text = MAKERS[name]
            self._opened(record, process, _File(what, text))
        else:
            self._event(record, process, model.CALL, _brief(record))

    def _failed(self, record: Record, process: _Process) -> None:
        kind = model.ACCEPT if record.name.startswith("accept") else model.CALL
        error = record.error or "not finished"
        words = {
            "ERESTARTSYS": "interrupted by a signal",
            "ERESTARTNOHAND": "interrupted by a signal",
            "ERESTART_RESTARTBLOCK": "interrupted by a signal",
            "ERESTARTNOINTR": "interrupted by a signal",
        }
        text = f"{record.name}: {words.get(error, error)}"
        fd, client = self._fd_of(record, process)
        last = self.trace.events[-1] if self.trace.events else None
        if last and (last.process, last.text, last.fd) == (process.name, text, fd):
            last.times += 1
            return
        self._event(record, process, kind, text, error=error, fd=fd, client=client)

    def _fd_of(self, record: Record, process: _Process) -> tuple[int, int]:
        """The descriptor that is a call's first argument, and the client that it stands for."""
        word = record.arguments[0] if record.arguments else ""
        fd = int(word) if word.isdigit() else -1
        slot = process.table.get(fd)
        return fd, slot.file.client if slot else 0

    # The beginning and the end of processes

    def _exec(self, record: Record, process: _Process) -> None:
        for fd in [fd for fd, slot in process.table.items() if slot.cloexec]:
            del process.table[fd]
        kept = {s: a for s, a in process.actions.items() if a.kind == model.IGNORE}
        process.actions = kept
        process.handling.clear()
        program = record.arguments[0].strip('"').rpartition("/")[2] if record.arguments else ""
        event = self._event(record, process, model.EXEC, f"execve {program}")
        self._retable(event, process)
        event.signals[process.name] = self._signals(process)

    def _exit(self, record: Record, process: _Process) -> None:
        word = record.arguments[0] if record.arguments else ""
        status = int(word) if word.lstrip("-").isdigit() else None
        if record.name == "exit" and process.leader:
            self._event(record, process, model.EXIT, "the thread ends", status=status)
            return
        whole = process.whole.shown
        if whole.exit is None:
            now = self._since(record.time)
            whole.exit = model.Bracket(now, now)
            event = self._event(record, process, model.EXIT, f"exit({word})", status=status)
            event.process = whole.name

    def _ended(self, record: Record, process: _Process) -> None:
        now = self._since(record.time)
        shown = process.shown
        killed = record.kind == strace.KILLED
        first = shown.exit.earliest if shown.exit else now
        shown.exit = model.Bracket(first, now)
        shown.signal = record.name if killed else ""
        shown.status = None if killed else record.status
        how = f"killed by {record.name}" if killed else f"exited with status {record.status}"
        shown.exited = len(self.trace.events)
        self._place_of_exit(record, process)
        event = self._event(record, process, model.EXITED, how)
        event.status, event.signal = shown.status, shown.signal
        process.ended = True
        if self.living.get(record.pid) is process:
            del self.living[record.pid]
        if process.leader is None:
            process.table = {}
            self._retable(event, process)
            event.tables.pop(process.name, None)
            self._after_end(record, process)

    def _place_of_exit(self, record: Record, process: _Process) -> None:
        """strace -k writes the stack of an exit_group below the line of the end."""
        found = self.places(record.stack) if record.stack else []
        for event in reversed(self.trace.events[-200:]):
            if found and event.kind == model.EXIT and event.process == process.name:
                event.place, event.calls = found[0], found[1:]
                return

    def _after_end(self, record: Record, process: _Process) -> None:
        parent = process.parent
        if parent is None or process.adopted or parent.ended:
            process.shown.reap = model.Reap(model.BY_INIT)
            self._adopt(record, process)
        else:
            action = parent.actions.get("SIGCHLD", _DEFAULT)
            event = Event(self._since(record.time), parent.name, model.SENT, "", other=process.name)
            event.signal = "SIGCHLD"
            if action.kind == model.IGNORE:
                event.outcome = model.IGNORED
            elif action.kind == model.DEFAULT and "SIGCHLD" not in parent.blocked:
                # Without strace it would not even become pending (sig_ignored in the kernel).
                event.outcome = model.IGNORED
                event.text = f"{process.name} has ended; the default of SIGCHLD is to do nothing"
            self._add(event)
            if action.kind == model.IGNORE or "SA_NOCLDWAIT" in action.flags:
                number = len(self.trace.events)
                why = "ignores SIGCHLD" if action.kind == model.IGNORE else "has SA_NOCLDWAIT"
                text = f"reaped by the kernel: {parent.name} {why}"
                now = self._since(record.time)
                self._add(Event(now, process.name, model.AUTO_REAP, text, other=parent.name))
                process.shown.reap = model.Reap(model.AUTOMATIC, time=now, event=number)
        for child in self.known.values():
            if child.parent is process and child.leader is None and not child.adopted:
                child.adopted = True
                if child.shown.reap is None:
                    self._adopt(record, child)
                    if child.ended:
                        child.shown.reap = model.Reap(model.BY_INIT)

    def _adopt(self, record: Record, child: _Process) -> None:
        text = "reaped by init" if child.ended else f"{child.shown.parent} is gone: init adopts it"
        if child.parent is None:
            text = "reaped by who started it"
        self._add(Event(self._since(record.time), child.name, model.ADOPTED, text))

    def _wait(self, record: Record, process: _Process) -> None:
        call = "waitid" if record.name == "waitid" else "waitpid"
        words = " ".join(record.arguments)
        pid = record.value
        if record.name == "waitid" and not record.failed:
            found = re.search(r"si_pid=(\d+)", words)
            pid = int(found[1]) if found else 0
        if record.failed:
            self._failed(replace(record, name=call), process)
            if record.error == "ECHILD":
                last = self.trace.events[-1]
                last.kind, last.text = model.WAIT, f"{call}: no children left (ECHILD)"
            return
        if not pid:
            self._event(record, process, model.WAIT, f"{call} = 0: nobody has ended")
            return
        child = self.known.get(pid)
        name = child.name if child else str(pid)
        if any(word in words for word in ("WIFSTOPPED", "WIFCONTINUED", "WNOWAIT", "CLD_STOPPED")):
            self._event(record, process, model.CALL, f"{call} = {name}, which is not reaped by it")
            return
        status, signal = None, ""
        if (match := _STATUS.search(words)) is not None:
            value = match[1] or match[2] or match[3]
            status, signal = (int(value), "") if value.isdigit() else (None, value)
        how = f", killed by {signal}" if signal else "" if status is None else f", status {status}"
        event = self._event(record, process, model.REAP, f"{call} = {name}{how}", other=name)
        event.status, event.signal = status, signal
        if child is not None:
            child.shown.reap = model.Reap(
                model.BY_WAIT, process.whole.name, event.time, len(self.trace.events) - 1
            )

    # Signals

    def _signal(self, record: Record, process: _Process) -> None:
        name = record.name
        action = process.actions.get(name, _DEFAULT)
        sender = int(record.fields.get("si_pid", "0") or 0)
        other = self._named(sender)
        from_whom = f" from {other}" if other else ""
        doing = {
            model.HANDLER: f"{action.text} runs",
            model.IGNORE: "ignored",
            model.DEFAULT: _default_of(name),
        }[action.kind]
        if name == "SIGCONT":
            kind, text = model.CONTINUE, "goes on (SIGCONT)"
        else:
            kind, text = model.SIGNAL, f"{name}{from_whom}: {doing}"
        self.senders[len(self.trace.events)] = sender
        event = self._event(record, process, kind, text, signal=name, action=action.kind)
        event.other = other
        if kind == model.CONTINUE:
            event.process = process.whole.name
        if action.kind == model.HANDLER:
            process.handling.append(name)
            itself = frozenset() if "SA_NODEFER" in action.flags else frozenset({name})
            process.blocked |= action.mask | itself
            if "SA_RESETHAND" in action.flags:
                process.actions.pop(name, None)
            event.signals[process.name] = self._signals(process)

    def _sigreturn(self, record: Record, process: _Process) -> None:
        signal = process.handling.pop() if process.handling else ""
        if (mask := re.search(r"mask=(~?\[[^]]*\])", " ".join(record.arguments))) is not None:
            process.blocked = _mask(mask[1])
        what = f"the handler of {signal} returns" if signal else "a handler returns"
        event = self._event(record, process, model.HANDLED, what, signal=signal)
        event.signals[process.name] = self._signals(process)

    def _sigaction(self, record: Record, process: _Process) -> None:
        signal, new = record.arguments[0], strace.fields_of(record.arguments[1])
        if not new:
            self._event(record, process, model.CALL, f"sigaction({signal}): asks only")
            return
        handler = new.get("sa_handler") or new.get("sa_sigaction") or "SIG_DFL"
        flags = new.get("sa_flags", "")
        if handler == "SIG_DFL":
            process.actions.pop(signal, None)
            action = _Action(model.DEFAULT, "default", flags=flags)
            if "SA_NOCLDWAIT" in flags:
                process.actions[signal] = action
        elif handler == "SIG_IGN":
            action = process.actions[signal] = _Action(model.IGNORE, "ignore", flags=flags)
        else:
            mask = _mask(new.get("sa_mask", "[]"))
            text = self._function(handler)
            action = process.actions[signal] = _Action(model.HANDLER, text, mask, flags)
        event = self._event(record, process, model.DISPOSITION, f"{signal}: {action.text}")
        event.signal, event.action = signal, action.kind
        event.signals[process.name] = self._signals(process)

    def _function(self, address: str) -> str:
        """The name of a handler: programs are loaded at a multiple of a page, so the end tells."""
        try:
            low = int(address, 16) & 0xFFF
        except ValueError:
            return "handler"
        names = {name for at, name in self.recording.symbols.items() if at & 0xFFF == low}
        return f"handler {names.pop()}" if len(names) == 1 else "handler"

    def _sigprocmask(self, record: Record, process: _Process) -> None:
        how, new = record.arguments[0], record.arguments[1]
        if new == "NULL":
            self._event(record, process, model.CALL, "sigprocmask: asks only")
            return
        mask = _mask(new)
        if how == "SIG_BLOCK":
            process.blocked |= mask
        elif how == "SIG_UNBLOCK":
            process.blocked -= mask
        else:
            process.blocked = mask
        names = ", ".join(sorted(process.blocked)) or "none"
        event = self._event(record, process, model.MASK, f"blocked: {names}")
        event.signals[process.name] = self._signals(process)

    def _kill(self, record: Record, process: _Process) -> None:
        numbers = strace.numbers_of(record.arguments)
        signal = next((one for one in record.arguments if one.startswith("SIG")), "")
        target = self.living.get(numbers[-1]) if numbers else None
        if not signal or target is None:
            self._event(record, process, model.CALL, _brief(record))
            return
        text = f"kill({target.name}, {signal})"
        event = self._event(record, process, model.SENT, text, signal=signal, other=process.name)
        event.process = target.whole.name

    def _signals(self, process: _Process) -> Signals:
        dispositions = {}
        for name, one in sorted(process.actions.items()):
            flags = [flag for flag in SHOWN_FLAGS[one.kind] if flag in one.flags]
            dispositions[name] = " ".join([one.text, *flags])
        return Signals(dispositions, sorted(process.blocked))

    # Descriptors

    def _open(
        self, event: Event, process: _Process, fd: int, file: _File, cloexec: bool = False
    ) -> None:
        process.table[fd] = _Slot(file, cloexec)
        self._retable(event, process)

    def _opened(self, record: Record, process: _Process, file: _File) -> None:
        fd = record.value
        if fd is None:
            return
        cloexec = "CLOEXEC" in " ".join(record.arguments)
        if file.hidden:
            process.table[fd] = _Slot(file, cloexec)
            return
        if record.name.startswith("signalfd") and record.arguments[0] == str(fd):
            self._event(record, process, model.CALL, "signalfd: another set of signals", fd=fd)
            return
        event = self._event(record, process, model.OPEN, f"{record.name} = {fd}", fd=fd)
        self._open(event, process, fd, file, cloexec)

    def _openat(self, record: Record, process: _Process) -> None:
        path = next((one.strip('"') for one in record.arguments if one.startswith('"')), "file")
        self._opened(record, process, _File("file", path, hidden=bool(_LOADER.match(path))))

    def _pair(self, record: Record, process: _Process) -> None:
        words = next((one for one in record.arguments if one.startswith("[")), "[]")
        fds = strace.numbers_of(strace.items_of(words))
        kind = "pipe" if record.name.startswith("pipe") else "socket"
        text = "pipe" if kind == "pipe" else "socketpair"
        shown = ", ".join(map(str, fds))
        event = self._event(record, process, model.OPEN, f"{text}: {shown}")
        cloexec = "CLOEXEC" in " ".join(record.arguments)
        for number, fd in enumerate(fds):
            ends = (" (read end)", " (write end)") if kind == "pipe" else ("", "")
            process.table[fd] = _Slot(_File(kind, text + ends[number % 2]), cloexec)
            event.fd = fd
        self._retable(event, process)

    def _dup(self, record: Record, process: _Process) -> None:
        old, _ = self._fd_of(record, process)
        new = record.value
        slot = process.table.get(old)
        if new is None or slot is None or new == old:
            self._event(record, process, model.CALL, _brief(record), fd=old)
            return
        text = f"{record.name}({old}) = {new}"
        event = self._event(record, process, model.OPEN, text, fd=new, client=slot.file.client)
        self._open(event, process, new, slot.file, "CLOEXEC" in " ".join(record.arguments))

    def _fcntl(self, record: Record, process: _Process) -> None:
        what = record.arguments[1] if len(record.arguments) > 1 else ""
        fd, _ = self._fd_of(record, process)
        if what.startswith("F_DUPFD"):
            self._dup(record, process)
            return
        event = self._event(record, process, model.CALL, _brief(record), fd=fd)
        if what == "F_SETFD" and fd in process.table:
            process.table[fd].cloexec = "FD_CLOEXEC" in record.arguments[-1]
            self._table_of(event, process)

    def _listen(self, record: Record, process: _Process) -> None:
        fd, _ = self._fd_of(record, process)
        if fd in process.table:
            process.table[fd].file.what = process.table[fd].file.text = "listener"
        event = self._event(record, process, model.LISTEN, f"listen({fd})", fd=fd)
        self._retable(event, process)

    def _accept(self, record: Record, process: _Process) -> None:
        fd = record.value or 0
        client = self._client_of(record)
        whose = f"client {client}" if client else "a stranger"
        event = self._event(
            record, process, model.ACCEPT, f"accept = {fd} ({whose})", fd=fd, client=client
        )
        file = _File("client", whose, client)
        self._open(event, process, fd, file, "CLOEXEC" in " ".join(record.arguments))
        for one in self.trace.connections:
            if one.client == client:
                one.accepted, one.accepted_by = event.time, process.name

    def _client_of(self, record: Record) -> int:
        """By the port of the peer; where accept was not asked for it, they come in order."""
        waiting = [one for one in self.trace.connections if one.accepted is None]
        if (port := _PORT.search(" ".join(record.arguments))) is not None:
            waiting = [one for one in waiting if one.port == int(port[1])]
        return waiting[0].client if waiting else 0

    def _close(self, record: Record, process: _Process) -> None:
        fd, client = self._fd_of(record, process)
        slot = process.table.pop(fd, None)
        if slot is None or slot.file.hidden:
            return
        text = f"close({fd})" + (f" ({slot.file.text})" if slot.file.what != "file" else "")
        event = self._event(record, process, model.CLOSE, text, fd=fd, client=client)
        self._retable(event, process)

    def _close_range(self, record: Record, process: _Process) -> None:
        first = int(record.arguments[0])
        last = int(record.arguments[1]) if record.arguments[1].isdigit() else 1 << 31
        fds = [fd for fd in process.table if first <= fd <= last]
        event = self._event(record, process, model.CLOSE, f"close_range({first}, {last})")
        for fd in fds:
            if "CLOSE_RANGE_CLOEXEC" in record.arguments[-1]:
                process.table[fd].cloexec = True
            else:
                del process.table[fd]
        self._retable(event, process)

    def _shutdown(self, record: Record, process: _Process) -> None:
        fd, client = self._fd_of(record, process)
        self._event(record, process, model.SHUTDOWN, _brief(record), fd=fd, client=client)

    def _transfer(self, record: Record, process: _Process) -> None:
        fd, client = self._fd_of(record, process)
        slot = process.table.get(fd)
        if slot and slot.file.hidden:
            return
        size = record.value or 0
        words = " ".join(record.arguments)
        data = record.arguments[1] if len(record.arguments) > 1 else ""
        data = data if data.startswith('"') else ""
        reads = record.name in READS
        whose = f" ({slot.file.text})" if slot and slot.file.what != "file" else ""
        kind = model.EOF if reads and not size else model.READ if reads else model.WRITE
        text = f"{record.name}({fd}) = {size}{whose}"
        event = self._event(
            record, process, kind, text, fd=fd, client=client, size=size, data=data
        )
        if client:
            self._count(event, process, client, reads)
        if (rights := _RIGHTS.search(words)) is not None:
            self._pass(event, process, strace.numbers_of(rights[1].split(", ")), reads)

    def _count(self, event: Event, process: _Process, client: int, reads: bool) -> None:
        if client not in process.whole.shown.clients:
            process.whole.shown.clients.append(client)
        for one in self.trace.connections:
            if one.client != client:
                continue
            if event.kind == model.EOF and one.eof is None:
                one.eof, one.eof_by = event.time, process.name
            elif reads:
                one.received += event.size
            else:
                one.sent += event.size

    def _pass(self, event: Event, process: _Process, fds: list[int], reads: bool) -> None:
        """Descriptors that go from one process to another in a message (unix(7), SCM_RIGHTS)."""
        for fd in fds:
            if reads:
                unknown = _File("other", "from another process")
                file = self.in_flight.popleft() if self.in_flight else unknown
                self._open(event, process, fd, file)
            elif fd in process.table:
                self.in_flight.append(process.table[fd].file)

    def _table_of(self, event: Event, process: _Process) -> None:
        rows = [
            Descriptor(fd, slot.file.what, slot.file.text, slot.file.client, slot.cloexec)
            for fd, slot in sorted(process.table.items())
            if not slot.file.hidden
        ]
        event.tables[process.whole.name] = rows
        self._hold(event, process.whole)

    def _retable(self, event: Event, process: _Process) -> None:
        """Notes the table after a change; also of other processes that share it."""
        sharing = [one for one in self.living.values() if one.table is process.table]
        for one in sharing or [process]:
            if one.leader is None or one.leader.ended:
                self._table_of(event, one)
        if process.whole.name not in event.tables and process.leader is not None:
            self._table_of(event, process)

    def _hold(self, event: Event, process: _Process) -> None:
        """Keeps account of who holds which client's connection."""
        now = {
            (process.shown.pid, fd, slot.file.client)
            for fd, slot in process.table.items()
            if slot.file.client
        }
        mine = {key for key in self.open_holdings if key[0] == process.shown.pid}
        for key in sorted(now - mine):
            holding = model.Holding(process.name, key[1], event.time)
            self.open_holdings[key] = holding
            self._connection(key[2]).holdings.append(holding)
        for key in sorted(mine - now):
            self.open_holdings.pop(key).until = event.time
            if not any(client == key[2] for _, _, client in self.open_holdings):
                event.client_ends, event.client = True, key[2]
                self._connection(key[2]).closed = event.time

    def _connection(self, client: int) -> model.Connection:
        return next(one for one in self.trace.connections if one.client == client)

    # The end

    def _conclude(self) -> None:
        trace = self.trace
        last = trace.events[-1].time if trace.events else 0.0
        trace.duration = self.ended_at if self.ended_at is not None else last
        for one in trace.processes:
            if one.exit and one.exited is None:  # it had begun to end
                one.exit = None
            if one.exit and one.reap is None and not one.is_thread:
                one.reap = model.Reap(model.NEVER)
        self._outcomes()
        self._pending()
        if len(trace.processes) > model.MOST_SHOWN:
            trace.notes.append(
                f"{len(trace.processes)} processes: the picture shows the first {model.MOST_SHOWN}."
            )
        trace.waiting = {
            self.living[pid].name: record.name
            for pid, record in self.log.unfinished.items()
            if pid in self.living
        }
        trace.lines_known = any(one.place for one in trace.events)

    def _outcomes(self) -> None:
        """What became of each signal that was sent, and how long it was pending.

        The one that is delivered names its sender (si_pid): those sent meanwhile are lost in it.
        """
        self.pending: list[tuple[int, int, str, str]] = []  # from, until (events), process, signal
        events = self.trace.events
        used: set[int] = set()
        ended = {one.name: one.exited for one in self.trace.processes}
        for number, event in enumerate(events):
            if event.kind != model.SENT or event.outcome:
                continue
            arrival = self._arrival(number, event, used)
            if arrival is not None:
                used.add(arrival)
                event.outcome = model.DELIVERED
                self.pending.append((number, arrival, event.process, event.signal))
            elif any(
                start < number < end and (process, signal) == (event.process, event.signal)
                for start, end, process, signal in self.pending
            ):
                event.outcome = model.MERGED
            elif ended.get(event.process) is not None:
                killed = self.trace.process(event.process).signal == event.signal
                event.outcome = model.DELIVERED if killed else model.LOST
            else:
                event.outcome = model.PENDING
                self.pending.append((number, len(events), event.process, event.signal))
            if not event.text:
                event.text = self._sent_text(event)
        for event in events:
            if event.kind == model.SENT and not event.text:
                event.text = self._sent_text(event)

    def _arrival(self, number: int, event: Event, used: set[int]) -> int | None:
        pid = self.trace.process(event.other).pid if event.other else 0
        group = {event.process} | {
            one.name for one in self.trace.processes if one.is_thread and one.parent == event.process
        }
        for later in range(number + 1, len(self.trace.events)):
            one = self.trace.events[later]
            if one.kind in (model.SIGNAL, model.CONTINUE) and one.signal == event.signal:
                mine = one.process in group and later not in used
                if mine and self.senders.get(later) == pid:
                    return later
        return None

    @staticmethod
    def _sent_text(event: Event) -> str:
        whose = f"{event.signal} for {event.process}: {event.other} has ended"
        merged = f"{whose}. One is pending already: they become one"
        return {
            model.MERGED: merged,
            model.IGNORED: f"{event.other} has ended; {event.process} ignores {event.signal}",
            model.LOST: f"{whose}, but {event.process} ends too",
        }.get(event.outcome, whose)

    def _pending(self) -> None:
        """Adds what is pending to the signals of each process, where that changes."""
        now: dict[str, Signals] = {}
        waiting: dict[str, list[str]] = {}
        begins: dict[int, list[tuple[str, str]]] = {}
        ends: dict[int, list[tuple[str, str]]] = {}
        for start, end, process, signal in self.pending:
            begins.setdefault(start, []).append((process, signal))
            ends.setdefault(end, []).append((process, signal))
        for number, event in enumerate(self.trace.events):
            changed = set(event.signals)
            for process, signal in begins.get(number, []):
                waiting.setdefault(process, []).append(signal)
                changed.add(process)
            for process, signal in ends.get(number, []):
                waiting[process].remove(signal)
                changed.add(process)
            for name in changed:
                basis = event.signals.get(name) or now.get(name) or Signals()
                now[name] = replace(basis, pending=sorted(set(waiting.get(name, []))))
                event.signals[name] = now[name]


_DEFAULT = _Action(model.DEFAULT, "default")
SHOWN_FLAGS = {
    model.DEFAULT: ("SA_NOCLDWAIT",),
    model.IGNORE: (),
    model.HANDLER: ("SA_NOCLDWAIT", "SA_RESTART"),
}

_Handler = Callable[[_Replay, Record, _Process], None]
_HANDLERS: dict[str, _Handler] = {
    "execve": _Replay._exec,
    "execveat": _Replay._exec,
    "rt_sigreturn": _Replay._sigreturn,
    "rt_sigaction": _Replay._sigaction,
    "rt_sigprocmask": _Replay._sigprocmask,
    **dict.fromkeys(("kill", "tkill", "tgkill", "rt_sigqueueinfo"), _Replay._kill),
    **dict.fromkeys(("open", "openat", "openat2", "creat"), _Replay._openat),
    **dict.fromkeys(("pipe", "pipe2", "socketpair"), _Replay._pair),
    **dict.fromkeys(("dup", "dup2", "dup3"), _Replay._dup),
    "fcntl": _Replay._fcntl,
    "listen": _Replay._listen,
    **dict.fromkeys(("accept", "accept4"), _Replay._accept),
    "close": _Replay._close,
    "close_range": _Replay._close_range,
    "shutdown": _Replay._shutdown,
}


def _brief(record: Record) -> str:
    """A call in one short line."""
    text = f"{record.name}({', '.join(record.arguments)})"
    result = f" = {record.result}" if record.result not in ("", "0") else ""
    return (text if len(text) <= 60 else text[:57] + "...") + result


def _mask(text: str) -> frozenset[str]:
    """A set of signals as strace shows it: ``[INT CHLD]``, ``~[KILL STOP]``, ``NULL``."""
    named = {one if one.startswith("SIG") else f"SIG{one}" for one in strace.items_of(text)}
    if text.startswith("~"):
        return frozenset(ALL_SIGNALS - named)
    return frozenset(named) if text.startswith("[") else frozenset()


_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP "
    "TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
ALL_SIGNALS = {f"SIG{name}" for name in _NAMES.split()}


def _default_of(signal: str) -> str:
    if signal in ("SIGCHLD", "SIGURG", "SIGWINCH", "SIGCONT"):
        return "nothing happens by default"
    if signal in ("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"):
        return "stops it"
    return "ends it"


# Against /proc ------------------------------------------------------------------------------


def disagreements(trace: Trace) -> list[str]:
    """Where the model and /proc differ at the quiet moments; [] if they agree.

    Compared are who there is, who is a zombie or stopped, every descriptor table with the owners of
    its sockets, and what each process does with signals.
    """
    found = []
    at = {one.event: one for one in trace.snapshots}
    for moment in trace.moments():
        if (snapshot := at.get(moment.number)) is not None:
            where = f"after event {moment.number}"
            found += [f"{where}: {text}" for text in _differences(trace, moment, snapshot)]
    return found


def _differences(trace: Trace, moment: model.Moment, snapshot: model.Snapshot) -> Iterator[str]:
    threads = {one.name for one in trace.processes if one.is_thread}
    present = {
        name
        for name, state in moment.states.items()
        if state not in (model.NOT_YET, model.GONE) and name not in threads
    }
    for name in sorted(present ^ set(snapshot.processes)):
        here = "the model" if name in present else "/proc"
        yield f"{name} is only in {here}"
    for name in sorted(present & set(snapshot.processes)):
        seen = snapshot.processes[name]
        state = moment.states[name]
        states = {"Z": model.ZOMBIE, "T": model.STOPPED, "t": model.STOPPED}
        expected = states.get(seen.state, model.RUNNING)
        if state != expected:
            yield f"{name} is {state} in the model, {seen.state} in /proc"
        if seen.state == "Z":
            continue
        yield from _table_differences(name, moment, seen, snapshot)
        yield from _signal_differences(name, moment, seen)
        if not _has_a_mask_for_now(trace, moment, name):
            blocked = moment.signals.get(name, Signals()).blocked
            if sorted(ALL_SIGNALS.intersection(blocked)) != sorted(seen.blocked):
                yield f"{name} has blocked {blocked} in the model, {seen.blocked} in /proc"


def _table_differences(
    name: str, moment: model.Moment, seen: model.Seen, snapshot: model.Snapshot
) -> Iterator[str]:
    table = {str(one.fd): one for one in moment.tables.get(name, [])}
    if set(table) != set(seen.descriptors):
        yield f"{name} has {sorted(table)} in the model, {sorted(seen.descriptors)} in /proc"
    for fd, target in seen.descriptors.items():
        owner = snapshot.sockets.get(target)
        if owner and fd in table and table[fd].text != owner:
            yield f"{name}'s {fd} is {table[fd].text} in the model, {owner} in /proc"


def _signal_differences(name: str, moment: model.Moment, seen: model.Seen) -> Iterator[str]:
    signals = moment.signals.get(name, Signals())
    kinds = {"ignored": "ignore", "caught": "handler"}
    for what, word in kinds.items():
        mine = [s for s, text in signals.dispositions.items() if text.startswith(word)]
        ours = sorted(ALL_SIGNALS.intersection(mine))  # not what a C library keeps for itself
        theirs = sorted(getattr(seen, what))
        if ours != theirs:
            yield f"{name} has {what} {ours} in the model, {theirs} in /proc"


def _has_a_mask_for_now(trace: Trace, moment: model.Moment, name: str) -> bool:
    """Whether it waits in a call that has a signal mask of its own for as long as it waits.

    Who is stopped may still be in such a call.
    """
    if moment.states.get(name) == model.STOPPED:
        return True
    for event in trace.events[moment.number + 1 :]:
        if event.process == name and event.kind not in (model.SENT, model.ADOPTED):
            return event.text.startswith(WITH_A_MASK)
    return trace.waiting.get(name, "").startswith(WITH_A_MASK)
