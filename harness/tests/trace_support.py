"""Recorded runs, and short logs written by hand, for the tests of `make trace`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forklab.trace.model import Bracket, Event, Reap, Trace
from forklab.trace.recording import Recording, Step
from forklab.trace.replay import replay

TRACES = Path(__file__).with_name("traces")
RECORDED = sorted(file.stem for file in TRACES.glob("*.log"))


def recording(name: str) -> Recording:
    """A recording in tests/traces."""
    log = (TRACES / f"{name}.log").read_text(encoding="utf-8")
    return Recording.from_json(log, (TRACES / f"{name}.json").read_text(encoding="utf-8"))


def replayed(name: str) -> Trace:
    """Its trace."""
    lab, _, rest = name.partition("-")
    one = Trace(lab, "server.c", rest.rpartition("-")[2], 3)
    return replay(one, recording(name))


def log(*lines: str) -> str:
    """A log of ``PID TEXT`` lines, a millisecond apart, as strace would write it."""
    return "".join(
        f"{line.split(' ', 1)[0]} {1_700_000_000 + number / 1000:.9f} {line.split(' ', 1)[1]}\n"
        for number, line in enumerate(lines)
    )


def trace_of(*lines: str, steps: Sequence[Step] = ()) -> Trace:
    """The trace of such a log. Process 10 is the first."""
    begin = '10 execve("/kit/server", ["server", "9190"], 0x7ffd /* 2 vars */) = 0 <0.000100>'
    return replay(Trace("lab4", "server.c", "turns", 1), Recording(log(begin, *lines), list(steps)))


def of_kind(trace: Trace, kind: str) -> list[Event]:
    return [one for one in trace.events if one.kind == kind]


def table(trace: Trace, name: str) -> dict[int, str]:
    """A process's last descriptor table."""
    tables = [event.tables[name] for event in trace.events if name in event.tables]
    return {one.fd: one.text for one in tables[-1]}


def reap_of(trace: Trace, name: str) -> Reap:
    """How that process was reaped. Fails the test if it lives."""
    reap = trace.process(name).reap
    assert reap is not None
    return reap


def end_of(trace: Trace, name: str) -> Bracket:
    """When that process ended. Fails the test if it lives."""
    end = trace.process(name).exit
    assert end is not None
    return end
