"""How long grading takes: the figures behind the targets, printed, never asserted."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from forklab import contain, paths
from forklab.build import compile_program
from forklab.evidence import table
from forklab.server import Server, reserve_port

Seconds = float


def bench(runs: int) -> int:
    """Prints the median, and the fastest and slowest, of that many runs of each measurement."""
    print(f"{os.cpu_count()} cores, {os.uname().release}, tier {contain.tier()}, {runs} runs each")
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
    print(table(("WHAT", "MEDIAN", "FASTEST", "SLOWEST"), rows))
    return 0


def _shown(seconds: Seconds) -> str:
    return f"{seconds * 1000:8.1f} ms"


def _grade(lab: str, path: Path) -> tuple[Seconds, Seconds, Seconds]:
    """The whole time of one grading, to its first check's line, and to its first failure's."""
    command = [sys.executable, "-P", "-m", "forklab", "grade", lab, str(path)]
    environment = {**os.environ, "NO_COLOR": "1"}
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
