"""How long grading takes: the figures behind the targets, printed, never asserted."""

from __future__ import annotations

import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from forklab import contain, paths, tiers
from forklab.build import compile_program
from forklab.evidence import table
from forklab.graders import usual_jobs
from forklab.limits import MEBIBYTE
from forklab.procfs import peak_bytes
from forklab.result import Result
from forklab.server import Server, reserve_port

Seconds = float


def bench(runs: int) -> int:
    """Prints the median, and the fastest and slowest, of that many runs of each measurement."""
    print(f"{os.cpu_count()} cores, {os.uname().release}, tier {tiers.tier()}, {runs} runs each")
    rows: list[tuple[str, ...]] = []

    def add(what: str, measure: Callable[[], Seconds]) -> None:
        measure()  # warm up
        taken = sorted(measure() for _ in range(runs))
        rows.append((what, *map(_shown, (statistics.median(taken), taken[0], taken[-1]))))

    for lab in paths.LAB_FOLDERS:
        solution = paths.solution_of(lab)
        add(f"{lab}: the whole grading", partial(_whole_grading, lab, solution))
    lab4 = paths.solution_of("lab4")
    add("lab4: to the first check's line", lambda: _grade("lab4", lab4)[1])
    add("lab1: to the first failure's line", lambda: _grade("lab1", paths.starter_of("lab1"))[2])
    with contain.run_folder() as folder:
        add("one build, plain", lambda: _build(lab4, folder))
        built = compile_program(lab4, folder / "server")
        assert built.binary is not None
        binary = built.binary
        add("a server, from start to listening", lambda: _start(binary, folder)[0])
        add("a server, from its end to nothing left", lambda: _start(binary, folder)[1])
        if tiers.BWRAP in tiers.available():
            usual = tiers.tier()
            tiers.choose(tiers.BWRAP)
            add("... the first, on tier bwrap", lambda: _start(binary, folder)[0])
            add("... the second, on tier bwrap", lambda: _start(binary, folder)[1])
            tiers.choose(usual)
    print(table(("WHAT", "MEDIAN", "FASTEST", "SLOWEST"), rows))
    _print_batches()
    _print_trace(lab4)
    return 0


def _print_trace(solution: Path) -> None:
    """What recording a run costs, and how large its page is."""
    from forklab.trace.cost import CONNECTIONS, PROCESSES, costs

    with contain.run_folder() as folder:
        found = costs(solution, folder)
    if found is None:
        print("\nThere is no strace here: a trace's cost was not measured.")
        return
    untraced, recorded, size = found
    rows = [
        (f"{CONNECTIONS} connections", _shown(untraced)),
        ("... recorded", f"{_shown(recorded)}   {recorded / untraced:.1f} times as long"),
        (f"the page of {PROCESSES} processes", f"{size / 1000:8.0f} kB"),
    ]
    print()
    print(table(("A TRACE OF LAB 4", "COST"), rows))


def _print_batches() -> None:
    """How many submissions of lab 4 are graded in a minute, and what that takes of memory."""
    most = usual_jobs()
    counts = {1: 100, most: 300}
    rates = {jobs: _batch(count, jobs) for jobs, count in counts.items()}
    rows = [
        (f"{jobs} at a time", f"{rate:.0f}", f"{memory / MEBIBYTE:.0f} MiB")
        for jobs, (rate, memory) in rates.items()
    ]
    print()
    print(table(("LAB 4, IN A BATCH", "GRADINGS A MINUTE", "THE BATCH ITSELF"), rows))
    print(f"{most} at a time over one: {rates[most][0] / rates[1][0]:.2f}")


def _batch(count: int, jobs: int) -> tuple[float, int]:
    """Gradings a minute in a batch of so many, and the most memory its process had, in bytes."""
    source = paths.solution_of("lab4").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        submissions = Path(folder, "submissions")
        submissions.mkdir()
        for number in range(count):  # equal ones would be graded once
            program = f"{source}/* {number} */\n"
            (submissions / f"student{number}.c").write_text(program, encoding="utf-8")
        words = ["batch", str(submissions), "--lab", "4", "--out", f"{folder}/out"]
        command = [sys.executable, "-P", "-m", "forklab", *words, "--jobs", str(jobs)]
        memory = 0
        began = time.monotonic()
        with subprocess.Popen(command, env=_ENVIRONMENT, stdout=subprocess.DEVNULL) as batch:
            while batch.poll() is None:
                memory = max(memory, peak_bytes(batch.pid))
                time.sleep(0.1)
        return 60 * count / (time.monotonic() - began), memory


def profile() -> int:
    """Prints, for each lab, where the time of one grading goes: by check, and by function."""
    with contain.run_folder() as folder:
        for lab in paths.LAB_FOLDERS:
            _profile(lab, paths.solution_of(lab), folder)
    return 0


def _profile(lab: str, path: Path, folder: Path) -> None:
    command = ["-m", "forklab", "grade", lab, str(path), "--brief"]
    record, stats = folder / f"{lab}.json", folder / f"{lab}.stats"
    began = time.monotonic()
    _run([*command, "--json", str(record)])
    whole = time.monotonic() - began
    profiled_main = (
        "import cProfile, sys; from forklab.cli import main; profile = cProfile.Profile();"
        f"profile.runcall(main, sys.argv[1:]); profile.dump_stats({str(stats)!r})"
    )
    _run(["-c", profiled_main, *command[2:]])

    result = Result.from_json(record.read_text(encoding="utf-8"))
    rows = [("before the first check: Python, modules, builds", whole - result.duration)]
    rows += [(f"{one.id} {one.name}", one.duration) for one in result.checks]
    rows.append(("between checks and after them", whole - sum(seconds for _, seconds in rows)))
    print(f"{lab}: {_shown(whole).strip()} in all")
    print(table(("PART", "WALL"), [(what, _shown(seconds)) for what, seconds in rows]))

    # {(file, line, function): (calls, calls, own seconds, seconds with all that it calls, callers)}
    profiled: dict[tuple[str, int, str], tuple[int, int, Seconds, Seconds, object]]
    profiled = pstats.Stats(str(stats)).stats  # type: ignore[attr-defined]
    ours = {
        _name(key): value
        for key, value in profiled.items()
        if "/forklab/" in key[0] and not key[0].endswith("/cli.py")
    }
    most = sorted(ours.items(), key=lambda item: item[1][3], reverse=True)
    waiting = sum(value[2] for key, value in profiled.items() if key[2] in _WAITS)
    print(f"\n{lab} with the profiler, which slows Python down; asleep {_shown(waiting).strip()}:")
    rows_by_function = [(name, value[0], _shown(value[3])) for name, value in most[:20]]
    print(table(("FUNCTION, WITH WHAT IT CALLS", "CALLS", "SECONDS"), rows_by_function), end="\n\n")


_WAITS = (
    "<built-in method time.sleep>",
    "<built-in method select.select>",
    "<method 'acquire' of '_thread.lock' objects>",
    "<method 'poll' of 'select.poll' objects>",
)


def _name(key: tuple[str, int, str]) -> str:
    return f"{Path(key[0]).stem}.{key[2]}"


def _run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, "-P", *arguments], env=_ENVIRONMENT, stdout=subprocess.DEVNULL)


# As on a user's machine: with Python's cache of compiled modules.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def _shown(seconds: Seconds) -> str:
    return f"{seconds * 1000:8.1f} ms"


def _grade(lab: str, path: Path) -> tuple[Seconds, Seconds, Seconds]:
    """The whole time of one grading, to its first check's line, and to its first failure's."""
    command = [sys.executable, "-P", "-m", "forklab", "grade", lab, str(path)]
    environment = {**_ENVIRONMENT, "NO_COLOR": "1"}
    first_check = first_failure = 0.0
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as grading:
        assert grading.stdout
        for line in grading.stdout:
            mark = line.strip()[:3]
            if not first_check and mark in ("✓".encode(), "✗".encode()):
                first_check = time.monotonic() - began
            if not first_failure and mark == "✗".encode():
                first_failure = time.monotonic() - began
    return time.monotonic() - began, first_check, first_failure


def _whole_grading(lab: str, path: Path) -> Seconds:
    return _grade(lab, path)[0]


_counter = iter(range(1_000_000))


def _build(source: Path, folder: Path) -> Seconds:
    return compile_program(source, folder / f"build{next(_counter)}").seconds


def _start(binary: Path, folder: Path) -> tuple[Seconds, Seconds]:
    with reserve_port() as port:
        began = time.monotonic()
        server = Server(binary, [str(port)], port, folder / f"run{next(_counter)}")
        server.wait_for(server.is_listening)
        listening = time.monotonic()
        server.end()
        return listening - began, time.monotonic() - listening
