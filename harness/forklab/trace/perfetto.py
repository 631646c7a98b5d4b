"""A trace as Trace Event JSON, for ui.perfetto.dev or chrome://tracing: one track a process.

The format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import json
from typing import Any

from forklab.trace import model
from forklab.trace.model import Event, Process, Trace

SCENARIO = 0  # the track of the scenario; process N of the trace has track N + 1
LEAST = 1.0  # microseconds that a call is drawn as, so that it can be seen


def perfetto(trace: Trace) -> str:
    """The trace in that format: lives, zombies and waits are slices, all else instants."""
    began = {one.name: one.began for one in trace.processes}
    zombies = trace.zombies()
    numbers = {one.name: number for number, one in enumerate(trace.processes, SCENARIO + 1)}
    events = [_name_of_track(SCENARIO, f"{trace.lab}: {trace.scenario}")]
    for one in trace.processes:
        events.append(_name_of_track(numbers[one.name], f"{one.name} (pid {one.pid})"))
        events.append(_life(trace, one, numbers[one.name]))
        if one.name in zombies:
            events.append(_zombie(trace, one, numbers[one.name], zombies[one.name]))
    for event in trace.events:
        if event.kind != model.EXITED:
            number = numbers.get(event.process, SCENARIO)
            events.append(_event(event, number, began.get(event.process, 0.0)))
    whole = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"made by": "forklab"}}
    return json.dumps(whole, ensure_ascii=False) + "\n"


def _micro(seconds: float) -> float:
    return round(seconds * 1e6, 1)


def _name_of_track(number: int, name: str) -> dict[str, Any]:
    about = {"ph": "M", "pid": 1, "tid": number}
    return {**about, "name": "thread_name", "args": {"name": name}}


def _slice(number: int, name: str, start: float, end: float, **more: Any) -> dict[str, Any]:
    duration = max(_micro(end - start), LEAST)
    times = {"ts": _micro(start), "dur": duration}
    return {"ph": "X", "pid": 1, "tid": number, "name": name, **times, **more}


def _life(trace: Trace, one: Process, number: int) -> dict[str, Any]:
    end = one.exit.earliest if one.exit else trace.duration
    return _slice(number, f"{one.name} lives", one.began, end)


def _zombie(trace: Trace, one: Process, number: int, until: int | None) -> dict[str, Any]:
    since = one.exit.latest if one.exit else trace.duration
    end = trace.duration if until is None else min(trace.events[until].time, trace.duration)
    return _slice(number, "zombie", since, end)


def _event(event: Event, number: int, born: float) -> dict[str, Any]:
    details = {"kind": event.kind}
    if event.place:
        details["line"] = f"{event.place.file}:{event.place.line} {event.place.function}"
    if event.began is not None and event.kind != model.SENT:  # that call is another process's
        return _slice(number, event.text, max(born, event.began), event.time, args=details)
    instant = {"ph": "i", "s": "t", "ts": _micro(event.time), "args": details}
    return {**instant, "pid": 1, "tid": number, "name": event.text}
