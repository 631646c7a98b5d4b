"""Signals: their names, and what became of each that was sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from forklab.trace import model, strace
from forklab.trace.model import Event, Process, Signals

_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP "
    "TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
ALL_SIGNALS = {f"SIG{name}" for name in _NAMES.split()}

Interval = tuple[int, int, str, str]  # from event, until event, process, signal


def mask(text: str) -> frozenset[str]:
    """A set of signals as strace shows it: ``[INT CHLD]``, ``~[KILL STOP]``, ``NULL``."""
    named = {one if one.startswith("SIG") else f"SIG{one}" for one in strace.items_of(text)}
    if text.startswith("~"):
        return frozenset(ALL_SIGNALS - named)
    return frozenset(named) if text.startswith("[") else frozenset()


def default_of(signal: str) -> str:
    """What a signal does that is at its default (signal(7)), in words."""
    if signal in ("SIGCHLD", "SIGURG", "SIGWINCH", "SIGCONT"):
        return "nothing happens by default"
    if signal in ("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"):
        return "stops it"
    return "ends it"


def outcomes(
    events: Sequence[Event], processes: Sequence[Process], senders: Mapping[int, int]
) -> list[Interval]:
    """Says of each SENT what became of it. From when to when which signal was pending comes back.

    ``senders`` are the pids that delivered signals name (si_pid), by event: that is the sender of
    the first; those who sent the same signal meanwhile are lost in it.
    """
    named = {one.name: one for one in processes}
    arrivals = _arrivals(events, named, senders)
    pending: list[Interval] = []
    until: dict[tuple[str, str], int] = {}  # by process and signal: to what event it is pending
    for number, event in enumerate(events):
        if event.kind != model.SENT:
            continue
        key = event.process, event.signal
        if not event.outcome:
            pid = named[event.other].pid if event.other else 0
            coming = arrivals.get((*key, pid), deque())
            while coming and coming[0] < number:
                coming.popleft()
            end = coming.popleft() if coming else None
            event.outcome = _outcome(number, event, named, end, until.get(key, -1))
            if event.outcome == model.PENDING:
                end = len(events)
            if end is not None:
                pending.append((number, end, *key))
                until[key] = max(end, until.get(key, -1))
        event.text = event.text or _sent_text(event)
    return pending


def _arrivals(
    events: Sequence[Event], named: Mapping[str, Process], senders: Mapping[int, int]
) -> dict[tuple[str, str, int], deque[int]]:
    """The deliveries of each signal from each pid to each process, or a thread of it."""
    found: dict[tuple[str, str, int], deque[int]] = {}
    for number, event in enumerate(events):
        if event.kind in (model.SIGNAL, model.CONTINUE):
            one = named[event.process]
            whole = one.parent if one.is_thread else one.name
            key = whole, event.signal, senders.get(number, 0)
            found.setdefault(key, deque()).append(number)
    return found


def _outcome(
    number: int, event: Event, named: Mapping[str, Process], arrival: int | None, until: int
) -> str:
    target = named[event.process]
    if arrival is not None or (target.signal == event.signal and target.signal):
        return model.DELIVERED
    if number < until:
        return model.MERGED
    return model.LOST if target.exited is not None else model.PENDING


def _sent_text(event: Event) -> str:
    whose = f"{event.signal} for {event.process}: {event.other} has ended"
    return {
        model.MERGED: f"{whose}. One is pending already: they become one",
        model.IGNORED: f"{event.other} has ended; {event.process} ignores {event.signal}",
        model.LOST: f"{whose}, but {event.process} ends too",
    }.get(event.outcome, whose)


def add_pending(events: Sequence[Event], intervals: Sequence[Interval]) -> None:
    """Adds what is pending to the signals of each process, at each event that changes it."""
    now: dict[str, Signals] = {}
    waiting: dict[str, list[str]] = {}
    begins: dict[int, list[tuple[str, str]]] = {}
    ends: dict[int, list[tuple[str, str]]] = {}
    for start, end, process, signal in intervals:
        begins.setdefault(start, []).append((process, signal))
        ends.setdefault(end, []).append((process, signal))
    for number, event in enumerate(events):
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
