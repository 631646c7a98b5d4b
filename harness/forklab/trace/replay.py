"""From a recording to a trace: what each line of the log did to processes, tables and signals.

Kernel facts that it stands on: fork copies the table and the mask (fork(2)); execve closes what is
close-on-exec and forgets handlers (execve(2)); a child's end sends one SIGCHLD, which is lost while
another is pending (signal(7)); whoever ignores SIGCHLD, or has SA_NOCLDWAIT, leaves no zombies
(sigaction(2), wait(2)). Under strace a process is reaped by strace first, so its line "exited"
comes before its parent can know.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from forklab.trace import model, signals, strace
from forklab.trace.account import AT_DEFAULT, Action, File, Places, ProcessState, Slot, brief
from forklab.trace.descriptors import CALLS_ON_DESCRIPTORS, MAKERS, PORT, READS, WRITES, Descriptors
from forklab.trace.model import Event, Trace
from forklab.trace.recording import Look, Recording, Step
from forklab.trace.strace import Record

MOST_EVENTS = 5000  # in a trace; a server that spins makes more, all alike
FORKS = ("fork", "vfork", "clone", "clone3")
WAITS = ("wait4", "waitid", "waitpid")
NAPS = (
    *("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2"),
    *("nanosleep", "clock_nanosleep", "pause", "rt_sigsuspend", "rt_sigtimedwait", "futex"),
)
MAY_WAIT = {"accept", "accept4", *READS, *WRITES, *WAITS, *NAPS}
ENDS = ("exit", "exit_group")
_STATUS = re.compile(r"WEXITSTATUS\(s\) == (\d+)|WTERMSIG\(s\) == (\w+)|si_status=(\w+)")


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


class _Replay(Descriptors):
    def __init__(self, trace: Trace, recording: Recording, log: strace.Log, places: Places) -> None:
        super().__init__(trace, log, places)
        self.recording = recording
        self.log = log
        self.lines = recording.log.split("\n")
        self.births = self._births()
        self.counts = {"C": 0, "T": 0}
        self.ended_at: float | None = None
        self.steps = deque(sorted(recording.steps, key=lambda one: one.time))
        self.looks = deque(sorted(recording.looks, key=lambda one: one.time))

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
            port = PORT.search(" ".join(record.arguments))
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

    def _process_of(self, record: Record) -> ProcessState:
        """The process of a record; it is made at its first one, or when fork returned."""
        if record.pid in self.living:
            return self.living[record.pid]
        if not self.known:
            return self._first(record)
        born = self.births.get(record.pid)
        if born:
            began = record.began if record.kind == strace.CALL else record.time
            birth = born.popleft()
            return self._fork(self._process_of(birth), birth, record.pid, began)
        # Whose fork is not in the log to its end: of those that had not returned.
        forking = [one for one in self.log.unfinished.values() if one.name in FORKS]
        if len(forking) != 1:
            self.trace.notes.append(f"Whose child process {record.pid} is can't be told.")
        parent = forking[0] if forking else replace(record, pid=next(iter(self.known)))
        # Who may have been killed in the midst of it, or has done nothing else.
        caller = self.known.get(parent.pid) or next(iter(self.known.values()))
        birth = replace(parent, time=record.time, name="fork")
        return self._fork(caller, birth, record.pid, record.time)

    def _first(self, record: Record) -> ProcessState:
        shown = model.Process("P", record.pid, "", 0.0)
        table = {
            0: Slot(File("file", "/dev/null")),
            1: Slot(File("file", "stdout")),
            2: Slot(File("file", "stderr")),
        }
        made = ProcessState(shown, None, None, table, {})
        self._enter(record.pid, made)
        return made

    def _enter(self, pid: int, process: ProcessState) -> None:
        self.living[pid] = self.known[pid] = process
        self.trace.processes.append(process.shown)

    def _fork(self, caller: ProcessState, record: Record, pid: int, time: float) -> ProcessState:
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
        child = ProcessState(
            shown,
            leader=parent if is_thread else None,
            parent=parent,
            table=caller.table
            if shares_files
            else {k: replace(s) for k, s in caller.table.items()},
            actions=caller.actions if "CLONE_SIGHAND" in flags else dict(caller.actions),
            blocked=caller.blocked,
            handling=[] if is_thread else list(caller.handling),
        )
        self._enter(pid, child)
        word = "clone (a thread)" if is_thread else record.name.replace("clone3", "fork")
        event = self._event(
            record, caller, model.FORK, f"{word.replace('clone', 'fork')} = {name}", other=name
        )
        shown.began = event.time
        if not is_thread:
            self._table_of(event, child)
            event.signals[name] = self._signals(child)
        if "CLONE_PIDFD" in flags and (got := re.search(r"(?:parent_tid|pidfd)=\[(\d+)\]", flags)):
            self._open(event, caller, int(got[1]), File("other", f"pidfd of {name}"), True)
        return child

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

    def _call(self, record: Record, process: ProcessState) -> None:
        name = record.name
        if name == "futex":
            return  # how threads wait for each other: asked for only to know who sleeps where
        if name in ENDS:
            self._exit(record, process)
        elif name in FORKS and not record.failed:
            pending = self.births.get(record.value or 0)
            if pending and pending[0] is record:  # else its child was heard of before
                pending.popleft()
                self._fork(process, record, record.value or 0, record.time)
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
            self._opened(record, process, File(what, text))
        else:
            self._event(record, process, model.CALL, brief(record))

    def _failed(self, record: Record, process: ProcessState) -> None:
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

    # The beginning and the end of processes

    def _exec(self, record: Record, process: ProcessState) -> None:
        for fd in [fd for fd, slot in process.table.items() if slot.cloexec]:
            del process.table[fd]
        kept = {s: a for s, a in process.actions.items() if a.kind == model.IGNORE}
        process.actions = kept
        process.handling.clear()
        program = record.arguments[0].strip('"').rpartition("/")[2] if record.arguments else ""
        event = self._event(record, process, model.EXEC, f"execve {program}")
        self._retable(event, process)
        event.signals[process.name] = self._signals(process)

    def _exit(self, record: Record, process: ProcessState) -> None:
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

    def _ended(self, record: Record, process: ProcessState) -> None:
        shown = process.shown
        killed = record.kind == strace.KILLED
        shown.signal = record.name if killed else ""
        shown.status = None if killed else record.status
        how = f"killed by {record.name}" if killed else f"exited with status {record.status}"
        shown.exited = len(self.trace.events)
        self._place_of_exit(record, process)
        event = self._event(record, process, model.EXITED, how)
        event.status, event.signal = shown.status, shown.signal
        first = shown.exit.earliest if shown.exit else event.time
        if killed and shown.exit is None:
            first = self._time_of_kill(process.whole.name, record.name)
        shown.exit = model.Bracket(first, event.time)
        process.ended = True
        if self.living.get(record.pid) is process:
            del self.living[record.pid]
        if process.leader is None:
            process.table = {}
            self._retable(event, process)
            event.tables.pop(process.name, None)
            self._after_end(record, process)

    def _time_of_kill(self, name: str, signal: str) -> float:
        """When the signal came that killed it; of SIGKILL only the sending can be seen."""
        *before, last = self.trace.events
        for event in reversed(before):
            if event.process == name and event.signal == signal:
                return event.time
        return last.time

    def _place_of_exit(self, record: Record, process: ProcessState) -> None:
        """strace -k writes the stack of an exit_group below the line of the end."""
        found = self.places(record.stack) if record.stack else []
        for event in reversed(self.trace.events[-200:]):
            if found and event.kind == model.EXIT and event.process == process.name:
                event.place, event.calls = found[0], found[1:]
                return

    def _after_end(self, record: Record, process: ProcessState) -> None:
        parent = process.parent
        if parent is None or process.adopted or parent.ended:
            process.shown.reap = model.Reap(model.BY_INIT)
            self._adopt(record, process)
        else:
            action = parent.actions.get("SIGCHLD", AT_DEFAULT)
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

    def _adopt(self, record: Record, child: ProcessState) -> None:
        text = "reaped by init" if child.ended else f"{child.shown.parent} is gone: init adopts it"
        if child.parent is None:
            text = "reaped by who started it"
        self._add(Event(self._since(record.time), child.name, model.ADOPTED, text))

    def _wait(self, record: Record, process: ProcessState) -> None:
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

    def _signal(self, record: Record, process: ProcessState) -> None:
        name = record.name
        action = process.actions.get(name, AT_DEFAULT)
        sender = int(record.fields.get("si_pid", "0") or 0)
        other = self._named(sender)
        from_whom = f" from {other}" if other else ""
        doing = {
            model.HANDLER: f"{action.text} runs",
            model.IGNORE: "ignored",
            model.DEFAULT: signals.default_of(name),
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

    def _sigreturn(self, record: Record, process: ProcessState) -> None:
        signal = process.handling.pop() if process.handling else ""
        if (mask := re.search(r"mask=(~?\[[^]]*\])", " ".join(record.arguments))) is not None:
            process.blocked = signals.mask(mask[1])
        what = f"the handler of {signal} returns" if signal else "a handler returns"
        event = self._event(record, process, model.HANDLED, what, signal=signal)
        event.signals[process.name] = self._signals(process)

    def _sigaction(self, record: Record, process: ProcessState) -> None:
        signal, new = record.arguments[0], strace.fields_of(record.arguments[1])
        if not new:
            self._event(record, process, model.CALL, f"sigaction({signal}): asks only")
            return
        handler = new.get("sa_handler") or new.get("sa_sigaction") or "SIG_DFL"
        flags = new.get("sa_flags", "")
        if handler == "SIG_DFL":
            process.actions.pop(signal, None)
            action = Action(model.DEFAULT, "default", flags=flags)
            if "SA_NOCLDWAIT" in flags:
                process.actions[signal] = action
        elif handler == "SIG_IGN":
            action = process.actions[signal] = Action(model.IGNORE, "ignore", flags=flags)
        else:
            mask = signals.mask(new.get("sa_mask", "[]"))
            text = self._function(handler)
            action = process.actions[signal] = Action(model.HANDLER, text, mask, flags)
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

    def _sigprocmask(self, record: Record, process: ProcessState) -> None:
        how, new = record.arguments[0], record.arguments[1]
        if new == "NULL":
            self._event(record, process, model.CALL, "sigprocmask: asks only")
            return
        mask = signals.mask(new)
        if how == "SIG_BLOCK":
            process.blocked |= mask
        elif how == "SIG_UNBLOCK":
            process.blocked -= mask
        else:
            process.blocked = mask
        names = ", ".join(sorted(process.blocked)) or "none"
        event = self._event(record, process, model.MASK, f"blocked: {names}")
        event.signals[process.name] = self._signals(process)

    def _kill(self, record: Record, process: ProcessState) -> None:
        numbers = strace.numbers_of(record.arguments)
        signal = next((one for one in record.arguments if one.startswith("SIG")), "")
        target = self.living.get(numbers[-1]) if numbers else None
        if not signal or target is None:
            self._event(record, process, model.CALL, brief(record))
            return
        text = f"kill({target.name}, {signal})"
        event = self._event(record, process, model.SENT, text, signal=signal, other=process.name)
        event.process = target.whole.name

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
        pending = signals.outcomes(trace.events, trace.processes, self.senders)
        signals.add_pending(trace.events, pending)
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


_Handler = Callable[[_Replay, Record, ProcessState], None]
_HANDLERS: dict[str, _Handler] = {
    "execve": _Replay._exec,
    "execveat": _Replay._exec,
    "rt_sigreturn": _Replay._sigreturn,
    "rt_sigaction": _Replay._sigaction,
    "rt_sigprocmask": _Replay._sigprocmask,
    **dict.fromkeys(("kill", "tkill", "tgkill", "rt_sigqueueinfo"), _Replay._kill),
    **CALLS_ON_DESCRIPTORS,
}
