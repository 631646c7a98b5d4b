"""``make soak RUNS=200``: is a verdict ever wrong on a machine that is busy, full, or small?

A round grades the reference of every lab, one of its right servers in another form and one of its
wrong ones, the next ones each time. The rounds are run with every core kept busy; a tenth as many
again with the memory full, and once more with everything on one core. The first wrong verdict stops
it, with all that the grader saw, and the program and its record stay in out/soak.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rich.console import Console

from forklab import gallery, paths
from forklab.errors import GraderError
from forklab.evidence import table
from forklab.gallery import Exhibit, Graded
from forklab.limits import MEBIBYTE
from forklab.mutants import grade_all
from forklab.render.terminal import Report, make_console
from forklab.result import Result, write_atomically

KEPT = paths.KIT / "out" / "soak"
SPARED = 1024 * MEBIBYTE  # of the free memory, what the eater leaves

# What comes after it runs until our end of its standard input is closed: also if we are killed.
UNTIL_WE_END = """
import mmap, os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
"""
BUSY = """
while True:
    pass
"""
# Touches each page of what it holds, over and over: memory that lies idle would be swapped out. If
# the kernel has to kill somebody for memory, then this one (proc(5), oom_score_adj).
EATER = """
open("/proc/self/oom_score_adj", "w").write("1000")
held = mmap.mmap(-1, int(sys.argv[1]))
while True:
    for page in range(0, len(held), mmap.PAGESIZE):
        held[page] = 1
"""


@dataclass
class Tally:
    """What came of the gradings under one condition."""

    condition: str
    rounds: int
    gradings: int = 0
    wrong: int = 0
    slowest: float = 0.0  # seconds


def soak(runs: int, jobs: int | None) -> int:
    """So many rounds, and what came of them; 1 if there was a wrong verdict, else 0."""
    cores = sorted(os.sched_getaffinity(0))
    jobs = jobs or len(cores)
    few = max(1, runs // 10)
    conditions: list[tuple[str, int, Callable[[], AbstractContextManager[None]]]] = [
        ("every core busy", runs, lambda: _busy(len(cores))),
        ("memory full", few, _memory_full),
        ("all on one core, busy", few, lambda: _on_one_core(cores)),
    ]
    console = make_console()
    began = time.monotonic()
    tallies = []
    try:
        for name, rounds, condition in conditions:
            tally = Tally(name, rounds)
            tallies.append(tally)
            with condition():
                wrong = _grade_rounds(console, tally, jobs)
            if wrong is not None:
                _keep(console, *wrong)
                break
    finally:  # also of one that was interrupted
        rows = [
            (one.condition, one.rounds, one.gradings, one.wrong, f"{one.slowest:.1f} s")
            for one in tallies
        ]
        console.print(table(("CONDITION", "ROUNDS", "GRADINGS", "WRONG", "SLOWEST"), rows))
        seconds = time.monotonic() - began
        console.print(f"{len(cores)} cores, {jobs} gradings at once, {seconds:.0f} s")
    return int(any(one.wrong for one in tallies))


def _rounds() -> Iterator[list[Exhibit]]:
    """The servers of each round, without end."""
    labs = list(paths.LAB_FOLDERS)
    shelves = {lab: (gallery.accepted(lab), gallery.mutants(lab)) for lab in labs}
    number = 0
    while True:
        yield [
            one
            for lab, (right, wrong) in shelves.items()
            for one in (
                gallery.reference(lab),
                right[number % len(right)],
                wrong[number % len(wrong)],
            )
        ]
        number += 1


def _grade_rounds(console: Console, tally: Tally, jobs: int) -> Graded | None:
    """Grades them; returns the first wrong verdict, or None.

    Raises GraderError where a grading left no record.
    """
    exhibits = [one for exhibits in islice(_rounds(), tally.rounds) for one in exhibits]
    with closing(grade_all(exhibits, jobs, console, tally.condition)) as gradings:
        for exhibit, result in gradings:
            tally.gradings += 1
            tally.slowest = max(tally.slowest, result.duration)
            if exhibit.wrong_about(result):
                tally.wrong += 1
                return exhibit, result
    return None


def _keep(console: Console, exhibit: Exhibit, result: Result) -> None:
    """Shows a wrong verdict with all that the grader saw, and keeps what is needed to try again."""
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    (KEPT / "server.c").write_text(exhibit.source, encoding="utf-8")
    write_atomically(KEPT / "record.json", result.to_json())
    report = Report(console, exhibit.lab, f"{exhibit.name} ({exhibit.why})", untouched=False)
    for check in result.checks:
        report.check(check)
    report.finish(result, None)
    console.print(f"\nA wrong verdict, on {exhibit.lab} {exhibit.name}:")
    for line in exhibit.wrong_about(result):
        console.print(f"  {line}", soft_wrap=True)
    console.print(f"The program and its record are in {KEPT.relative_to(paths.KIT)}.\n")


# Conditions ----------------------------------------------------------------------------------


@contextmanager
def _running(programs: Sequence[Sequence[str]]) -> Iterator[None]:
    """Python programs that go on beside. Raises GraderError if one of them did not."""
    with ExitStack() as stack:
        running = []
        for text, *arguments in programs:
            command = [sys.executable, "-I", "-c", UNTIL_WE_END + text, *arguments]
            process = subprocess.Popen(command, stdin=subprocess.PIPE)
            running.append(stack.enter_context(process))
            stack.callback(process.kill)
        yield
        if any(process.poll() is not None for process in running):
            raise GraderError("what was to keep the machine busy has ended: nothing is proven")


def _busy(cores: int) -> AbstractContextManager[None]:
    return _running([[BUSY]] * cores)


def _memory_full() -> AbstractContextManager[None]:
    size = _free_memory() - SPARED
    return _running([[EATER, str(size)]]) if size > 0 else nullcontext()


def _free_memory() -> int:
    """Bytes that could be had now, within the limits of our control group (cgroups(7))."""
    with open("/proc/meminfo", encoding="ascii") as file:
        lines = dict(line.split(":") for line in file)
    free = int(lines["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        free = min(free, int(text) - int(used.read_text()))
    return free


@contextmanager
def _on_one_core(cores: Sequence[int]) -> Iterator[None]:
    os.sched_setaffinity(0, cores[:1])
    try:
        with _running([[BUSY]]):
            yield
    finally:
        os.sched_setaffinity(0, cores)
