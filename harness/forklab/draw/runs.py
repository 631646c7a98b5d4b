"""Pictures of real runs: recorded once with strace, kept as small traces, drawn as any trace is.

`make figures RECORD=1` records them anew; that they are still what these programs do, a test holds.
Pids and ports are left out, since they differ from run to run.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from forklab import gallery
from forklab.errors import GraderError
from forklab.gallery import Exhibit
from forklab.result import write_atomically
from forklab.trace import model, picture
from forklab.trace.model import Event, Process, Trace

FOLDER = Path(__file__).with_name("runs")
# What a picture is drawn from.
KEPT = picture.DRAWN | {model.CONTINUE, model.SENT, model.CLOSE}


@dataclass(frozen=True)
class Run:
    """One program, with the clients of one scenario."""

    lab: str
    exhibit: str  # of the gallery, or "reference"
    scenario: str
    clients: int = 3
    diagnosis: str = ""  # the code that this run shows

    @property
    def name(self) -> str:
        """Of its picture, and of its trace's file."""
        return f"run-{self.lab}-{self.exhibit}-{self.scenario}"

    @property
    def path(self) -> Path:
        """Where its trace is kept."""
        return FOLDER / f"{self.name}.json"


RUNS = (
    Run("lab1", "reference", "together"),
    Run("lab2", "reference", "turns"),
    Run("lab3", "reference", "turns"),
    Run("lab4", "reference", "burst"),
    Run("lab4", "reference", "shutdown", 2),
    Run("lab2", "waits-for-each-child", "together", diagnosis="one-at-a-time"),
    Run("lab2", "parent-keeps-connection", "turns", 2, diagnosis="parent-keeps-connection"),
    Run("lab2", "double-fork", "turns", 2, diagnosis="grandchildren"),
    Run("lab4", "one-waitpid-per-signal", "burst", diagnosis="one-wait-per-signal"),
    Run("lab4", "no-handler", "turns", diagnosis="never-reaps"),
    Run("lab4", "blocked-for-ever", "burst", diagnosis="sigchld-stays-blocked"),
    Run("lab4", "leaves-its-children", "shutdown", 2, diagnosis="leaves-orphans"),
)
OF_DIAGNOSIS = {one.diagnosis: one for one in RUNS if one.diagnosis}


def record(run: Run) -> Trace:
    """Runs the program under strace. Raises GraderError where that can't be done."""
    from forklab.trace.command import traced

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "server.c"
        source.write_text(exhibit(run).source, encoding="utf-8")
        trace = traced(Trace(run.lab, run.exhibit, run.scenario, run.clients), source)
    if trace is None:
        raise GraderError(f"{run.name}: the program does not build")
    return trace


def record_all() -> None:
    """Records each run anew. Raises GraderError where that can't be done, and OSError."""
    FOLDER.mkdir(exist_ok=True)
    for run in RUNS:
        keep(run, record(run))


def exhibit(run: Run) -> Exhibit:
    """The program that it runs."""
    if run.exhibit == "reference":
        return gallery.reference(run.lab)
    return next(one for one in gallery.mutants(run.lab) if one.name == run.exhibit)


def keep(run: Run, trace: Trace) -> None:
    """Writes what its picture is drawn from, and no more. Raises OSError."""
    write_atomically(run.path, _bare(trace).to_json())


def _bare(trace: Trace) -> Trace:
    kept = [number for number, event in enumerate(trace.events) if event.kind in KEPT]
    now = {number: place for place, number in enumerate(kept)}  # events are known by their place

    def moved(one: Process) -> Process:
        reap = one.reap
        if reap is not None and reap.event is not None:
            reap = replace(reap, event=now[reap.event])
        forked = None if one.forked is None else now[one.forked]
        exited = None if one.exited is None else now[one.exited]
        return replace(one, pid=0, forked=forked, exited=exited, reap=reap)

    return replace(
        trace,
        recorded="",
        tool="",
        lines_known=False,
        processes=[moved(one) for one in trace.processes],
        connections=[replace(one, port=0) for one in trace.connections],
        events=[_bare_event(trace.events[number]) for number in kept],
        snapshots=[],
        sources={},
    )


def _bare_event(event: Event) -> Event:
    return replace(event, place=None, calls=[], tables={}, signals={}, data="")


def drawn(run: Run) -> str:
    """Its picture, as SVG. Raises OSError if its trace is not there."""
    trace = Trace.from_json(run.path.read_text(encoding="utf-8"))
    return picture.picture(trace, run.name, picture.described(trace))


def facts(trace: Trace) -> Counter[str]:
    """What is the same whenever that program runs: how processes and connections fared."""
    told = Counter(
        f"{'server' if not one.parent else 'child of ' + one.parent[0]}, ended by "
        f"{one.signal or one.status}, {one.reap.how if one.reap else 'not reaped'}"
        for one in trace.processes
    )
    told.update(
        f"connection {'accepted' if one.accepted is not None else 'never accepted'}, "
        f"{'closed' if one.closed is not None else 'open'}"
        for one in trace.connections
    )
    return told
