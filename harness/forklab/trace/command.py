"""``make trace``: runs a server under strace, and writes a picture of what happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forklab import contain, paths
from forklab.build import DEBUGGED, compile_program, find_source
from forklab.errors import GraderError, UsageError
from forklab.result import write_atomically
from forklab.trace import model
from forklab.trace.model import Trace
from forklab.trace.places import Program
from forklab.trace.record import find_strace, record
from forklab.trace.scenarios import MOST_CLIENTS, SCENARIOS, USUAL
from forklab.trace.traffic import OF_CHECK, Traffic

OUT = paths.KIT / "out"
NO_STRACE = (
    "a trace is made with strace, and there is none here. On Debian or Ubuntu type: "
    "sudo apt-get install strace"
)
HONESTLY = (
    "Under strace a server is slower, and its zombies live longer, than without it.",
    "So this is to look at: no marks come of it.",
)


@dataclass(frozen=True)
class Request:
    """What to trace, and where to write it."""

    lab: str
    path: str  # as the user named it
    traffic: Traffic
    check: str = ""  # whose traffic it is
    out: Path = OUT
    perfetto: Path | None = None


def traffic_of(check: str, scenario: str | None, clients: int | None) -> Traffic:
    """The scenario and how many clients: what was asked for, else the check's, else the usual.

    Raises UsageError for what there is not.
    """
    usual = Traffic(USUAL)
    if check:
        usual = _of_check(check) or usual
        if scenario is None and OF_CHECK[check] is None:
            raise UsageError(
                f"check {check} has no clients to draw, or what it does to a server can't be "
                "traced. Name a scenario instead, as in SCENARIO=turns"
            )
    name = scenario or usual.scenario
    if name not in SCENARIOS:
        raise UsageError(f"there is no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    count = clients if clients is not None else usual.clients
    if not 1 <= count <= MOST_CLIENTS:
        raise UsageError(f"not a number of clients from 1 to {MOST_CLIENTS}: {count}")
    return Traffic(name, count)


def _of_check(check: str) -> Traffic | None:
    if check not in OF_CHECK:
        raise UsageError(f"there is no check {check!r} whose traffic is known")
    return OF_CHECK[check]


def run(request: Request, say: Callable[[str], None] = print) -> bool:
    """Traces, writes the files and says in a few lines what happened.

    False if the program does not build. Raises UsageError and GraderError.
    """
    source = find_source(request.path)
    _prepare(request)
    trace = Trace(
        request.lab,
        request.path,
        request.traffic.scenario,
        request.traffic.clients,
        request.check,
    )
    if traced(trace, source) is None:
        return False
    written = _write(trace, request)
    for line in (*summary(trace), *HONESTLY, ""):
        say(line)
    for file, what in written:
        say(f"{_shown(file)}    {what}")
    return True


def traced(trace: Trace, source: Path) -> Trace | None:
    """Builds the program and plays the scenario that ``trace`` names to it; fills in the trace.

    None if it does not build. Raises GraderError where nothing can be traced.
    """
    tool = find_strace()
    if tool is None:
        raise GraderError(NO_STRACE)
    with contain.run_folder() as folder:
        built = compile_program(source, folder / "plain", DEBUGGED)
        if built.binary is None:
            return None
        program = Program(built.binary, source.name, source.read_bytes())
        record(trace, program, folder / "trace", tool)
    return trace


def _prepare(request: Request) -> None:
    """Makes the folder for the files. Raises UsageError where that is not to be."""
    try:
        request.out.mkdir(parents=True, exist_ok=True)
        probe = request.out / ".forklab-trace"
        probe.touch()
        probe.unlink()
    except OSError as problem:
        raise UsageError(f"cannot write to {request.out}: {problem.strerror}") from problem
    if request.perfetto and not request.perfetto.parent.is_dir():
        raise UsageError(f"there is no folder for {request.perfetto}")


def _write(trace: Trace, request: Request) -> list[tuple[Path, str]]:
    from forklab.trace.page import page

    name = f"{request.lab}-trace"
    files = [
        (request.out / f"{name}.html", page(trace), "open it in a browser"),
        (request.out / f"{name}.json", trace.to_json(), "the same as data"),
    ]
    if request.perfetto:
        from forklab.trace.perfetto import perfetto

        files.append((request.perfetto, perfetto(trace), "open it at ui.perfetto.dev"))
    for file, text, _ in files:
        try:
            write_atomically(file, text)
        except OSError as problem:
            raise UsageError(f"cannot write {file}: {problem.strerror}") from problem
    return [(file, what) for file, _, what in files]


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


# In words -----------------------------------------------------------------------------------


def summary(trace: Trace) -> list[str]:
    """What happened, in five lines; and a line for each thing that went otherwise than asked."""
    lines = [
        f"{trace.scenario}: {_count(trace.clients, 'client')} of {trace.submission}",
        _row("processes", _processes(trace)),
        _row("SIGCHLD", _signals(trace)),
        _row("connections", _connections(trace)),
        _row("at the end", _at_the_end(trace)),
    ]
    lines += [_row("note", note) for note in trace.notes]
    if trace.unread:
        unread = f"{_count(len(trace.unread), 'line')} of strace's log could not be read"
        lines.append(_row("note", f"{unread} (in the JSON: unread)."))
    return lines


def _row(label: str, text: str) -> str:
    return f"  {label:<12} {text}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _processes(trace: Trace) -> str:
    children = [one for one in trace.processes if one.name != "P" and not one.is_thread]
    threads = sum(one.is_thread for one in trace.processes)
    if not children:
        return "no child" + (f", {_count(threads, 'thread')}" if threads else "")
    reaps = [one.reap.how for one in children if one.reap]
    zombies = len(trace.zombies())
    text = f"{_count(len(children), 'child', 'children')}, {zombies} became zombies, "
    text += f"{reaps.count(model.BY_WAIT)} reaped"
    if automatic := reaps.count(model.AUTOMATIC):
        text += f", {automatic} reaped by the kernel"
    if adopted := reaps.count(model.BY_INIT):
        text += f", {adopted} left to init"
    return text + (f"; {_count(threads, 'thread')}" if threads else "")


def _signals(trace: Trace) -> str:
    sent = [one for one in trace.events if one.kind == model.SENT and one.signal == "SIGCHLD"]
    outcomes = [one.outcome for one in sent]
    if not sent:
        return "none"
    words = {
        model.DELIVERED: "delivered",
        model.MERGED: "merged with one that was pending",
        model.PENDING: "still pending",
        model.IGNORED: "without effect",
        model.LOST: "lost",
    }
    shown = [f"{outcomes.count(kind)} {text}" for kind, text in words.items() if kind in outcomes]
    return f"{len(sent)} sent: {', '.join(shown)}"


def _connections(trace: Trace) -> str:
    accepted = [one for one in trace.connections if one.accepted is not None]
    text = f"{len(accepted)} of {_count(len(trace.connections), 'client')} accepted"
    held = [one for one in accepted if one.closed is None]
    if held:
        text += f", {len(held)} never closed by the server"
    return text


def _at_the_end(trace: Trace) -> str:
    if not trace.events:
        return "nothing is known"
    *_, last = trace.moments()
    zombies = last.zombies
    alive = [n for n, state in last.states.items() if state in (model.RUNNING, model.STOPPED)]
    text = _count(len(zombies), "zombie")
    text += f" ({_some(zombies)})" if zombies else ""
    return f"{text}; alive: {_some(alive) or 'nobody'}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
