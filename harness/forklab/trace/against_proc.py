"""Whether a trace and /proc agree, at the moments when every process was asleep."""

from __future__ import annotations

from collections.abc import Iterator

from forklab.trace import model
from forklab.trace.model import Signals, Trace
from forklab.trace.signals import ALL_SIGNALS

# Calls that have a signal mask of their own for as long as they wait.
WITH_A_MASK = ("pselect", "ppoll", "epoll_pwait", "rt_sigsuspend", "rt_sigtimedwait")


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
