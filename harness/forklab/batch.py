"""Grading many submissions: what is missing is graded, and the class's outputs are written anew.

Every result is on disk as soon as it is there (forklab.store). So a batch that was stopped, in
whatever way, goes on with the same command; what it writes in the end is made from the records
alone, in the order of students and labs, and does not depend on when they were graded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from rich.console import Console

from forklab import contain, interrupts, store, submissions, worker
from forklab.errors import GraderError, UsageError
from forklab.evidence import plain
from forklab.graders import Graders, grade_all, here
from forklab.interrupts import Inbox
from forklab.marks import ClassMarks, Mark
from forklab.render.bar import make_bar
from forklab.result import ERROR, GRADER_ERROR, Result, write_atomically
from forklab.store import Store
from forklab.submissions import Submitted, Survey
from forklab.worker import Options, Task

ALL_JUDGED, NOT_ALL_JUDGED = 0, 4  # exit statuses: whether students pass is no matter of these

Key = tuple[str, str]  # a program: its lab, and the hash of its files


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    folder: Path
    out: Path
    lab: str | None = None  # of this lab only
    roster: Path | None = None
    due: datetime | None = None
    jobs: int | None = None  # None: forklab.graders.usual_jobs
    regrade: str | None = None  # a lab, or "all"
    options: Options = field(default_factory=Options)


def batch(
    request: Request, console: Console, graders: AbstractContextManager[Graders] | None = None
) -> int:
    """Grades what is not graded yet, writes all outputs, and says what came of it.

    Returns 4 if the grader could not judge some, else 0. Raises UsageError, KeyboardInterrupt (all
    that is graded is kept), and GraderError where nothing can be graded or written.
    """
    _expect_apart(request)
    found = submissions.survey(request.folder, request.lab, request.roster, request.due)
    for line in submissions.in_words(found):
        console.print(plain(line), soft_wrap=True)
    if graders is None:
        request = replace(request, options=_contained(request.options, console))
        graders = here(request.jobs, pinned=True)
    with store.opened(request.out, store.kit_of(request.options)) as records:
        _set_aside(request, records, console)
        faults = _grade_missing(found, records, request, graders, console)
        marks = _class_marks(found, records, faults)
        try:
            _write_outputs(marks, found, records)
        except OSError as problem:
            raise _no_writing(request, problem) from problem
    from forklab.render import summary

    summary.show(console, marks, request.out)
    return NOT_ALL_JUDGED if marks.errors else ALL_JUDGED


def _expect_apart(request: Request) -> None:
    out, folder = request.out.resolve(), request.folder.resolve()
    if out == folder or folder in out.parents:
        raise UsageError(
            f"{request.out}/ lies in {request.folder}/, and would be taken for submissions. "
            "Give a folder elsewhere: --out grades"
        )


def _contained(options: Options, console: Console) -> Options:
    """Says the tier, which is the same for all from then on.

    Raises UsageError where strangers' programs should not be run.
    """
    tier = worker.choose_tier(options.tier, options.trusted)
    console.print(f"Submissions are contained by tier {tier}.", soft_wrap=True)
    contain.compiler()  # better one sentence now than a fault for each submission
    return replace(options, tier=tier)


def _set_aside(request: Request, records: Store, console: Console) -> None:
    if request.regrade is None:
        return
    lab = None if request.regrade == "all" else request.regrade
    try:
        aside = records.set_aside(lab)
    except OSError as problem:
        raise _no_writing(request, problem) from problem
    if aside:
        console.print(f"The records so far are kept in {plain(str(aside))}/.", soft_wrap=True)


def _no_writing(request: Request, problem: OSError) -> GraderError:
    return GraderError(
        f"cannot write to {request.out}/: {problem.strerror}. Nothing that was graded is lost: "
        "the same command goes on from here."
    )


# Grading -------------------------------------------------------------------------------------


def _grade_missing(
    found: Survey,
    records: Store,
    request: Request,
    graders: AbstractContextManager[Graders],
    console: Console,
) -> dict[Key, Result | str]:
    """Grades each program that has no record yet, once. Returns those that have none still."""
    missing: dict[Key, Submitted] = {}
    programs: set[Key] = set()
    for one in found.submitted:
        key = (one.lab, one.key)
        if key not in programs and records.find(*key, one.files["server.c"]) is None:
            missing[key] = one
        programs.add(key)
    kept = len(programs) - len(missing)
    if not missing:
        console.print(f"All {kept} programs are graded already.")
        return {}
    tasks = {
        key: Task(one.lab, one.files, one.where, request.options) for key, one in missing.items()
    }
    faults: dict[Key, Result | str] = {}
    inbox: Inbox[tuple[Key, Future[str] | Exception]] = Inbox()
    bar = make_bar(console)

    def run(keys: Sequence[Key], those: Graders) -> None:
        """Grades these. What comes of them is in the records or in ``faults``."""
        some = [(key, tasks[key]) for key in keys]
        with closing(grade_all(some, those, inbox)) as gradings:
            for key, judged in gradings:
                if isinstance(judged, str) or judged.verdict == GRADER_ERROR:
                    faults[key] = judged
                else:
                    records.put(*key, judged)
                    missing.pop(key)
                    faults.pop(key, None)
                    bar.advance(shown)

    try:
        with interrupts.told_to(inbox), graders as those:
            before = f" ({kept} more are graded already)" if kept else ""
            what = "1 program" if len(tasks) == 1 else f"{len(tasks)} programs"
            console.print(f"Grading {what}{before}, {those.in_words}.", soft_wrap=True)
            with bar:
                shown = bar.add_task("grading", total=len(tasks))
                run(list(tasks), those)
                for key in list(faults):  # once more, alone: was it the load?
                    run([key], those)
    except OSError as problem:
        raise _no_writing(request, problem) from problem
    except KeyboardInterrupt:
        again = "the same command without --regrade" if request.regrade else "the same command"
        console.print(
            f"\nStopped. {len(programs) - len(missing)} of {len(programs)} programs are graded, "
            f"and kept in {plain(str(request.out))}/: {again} goes on from here.",
            soft_wrap=True,
        )
        raise
    return faults


# What comes of it ----------------------------------------------------------------------------


def _class_marks(found: Survey, records: Store, faults: Mapping[Key, Result | str]) -> ClassMarks:
    marks = [_mark(one, records, faults.get((one.lab, one.key))) for one in found.submitted]
    return ClassMarks(marks, found.missing, found.duplicates, found.unplaced)


def _mark(one: Submitted, records: Store, fault: Result | str | None) -> Mark:
    mark = Mark(one.student, one.lab, one.where, one.late)
    result = records.find(one.lab, one.key, one.files["server.c"])
    if result is None and isinstance(fault, Result):
        result = fault
    if result is None:
        return replace(mark, problem=str(fault or "its record can't be read any more"))
    # Equal programs share a record, which names the first of them.
    mark = replace(mark, result=replace(result, submission=one.where))
    return replace(mark, problem=_problem(result)) if result.score is None else mark


def _problem(result: Result) -> str:
    """Why the grader could not judge it: what the first check says that it couldn't."""
    return next((one.seen for one in result.checks if one.status == ERROR), "no check was judged")


def _write_outputs(marks: ClassMarks, found: Survey, records: Store) -> None:
    """Writes all that is made from the records. Raises OSError."""
    from forklab.render import csv, html, junit

    write_atomically(records.out / "class.json", _class_json(marks.marks, found, records))
    write_atomically(records.out / "marks.csv", csv.of_class(marks))
    write_atomically(records.out / "junit.xml", junit.of_class(marks))
    html.write_class(marks, records.out)


def _class_json(marks: Sequence[Mark], found: Survey, records: Store) -> str:
    """Whose record is which: what ``--diff`` goes by."""
    entries = [
        {
            "student": mark.student,
            "lab": mark.lab,
            "where": mark.where,
            "late": mark.late,
            "key": one.key,
            "record": None
            if mark.result is None or mark.result.score is None
            else str(records.path_of(one.lab, one.key).relative_to(records.out)),
            "problem": mark.problem,
        }
        for mark, one in zip(marks, found.submitted, strict=True)
    ]
    return (
        json.dumps({"schema": store.CLASS, "marks": entries}, indent=2, ensure_ascii=False) + "\n"
    )
