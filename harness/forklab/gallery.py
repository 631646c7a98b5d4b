"""The gallery: wrong servers with the verdict each must get, and right ones that must get 100.

``harness/mutants/lab4.toml`` holds the wrong ones of lab 4, ``harness/accepted/lab4.toml`` right
ones in another form. Each entry has ``why`` (the misconception, or what is unusual), then ``find``
and ``replace`` (text that must occur exactly once in the reference), or ``change``, a list of such
pairs, or ``file``, a whole program below the list's folder. A wrong one also has ``fails``, a table
from the checks that fail to their diagnosis ("" for none), and, where a failure keeps other checks
from being judged, ``skips``. All other checks pass.
"""

from __future__ import annotations

import concurrent.futures
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from forklab import interrupts, paths, worker
from forklab.errors import GraderError
from forklab.interrupts import Inbox
from forklab.result import FAILED, CheckResult, Result
from forklab.worker import Options, Task

MUTANTS = paths.HARNESS / "mutants"
ACCEPTED = paths.HARNESS / "accepted"


@dataclass(frozen=True)
class Exhibit:
    """One server of the gallery."""

    lab: str
    name: str
    why: str
    source: str
    fails: Mapping[str, str]  # check -> diagnosis, "" for none
    skips: frozenset[str]

    @property
    def is_right(self) -> bool:
        """Whether it must get all points."""
        return not self.fails

    def must_get(self, check_id: str) -> str:
        """The verdict on that check: "passed", "skipped", "failed (never-reaps)"."""
        if check_id in self.fails:
            return _failed(self.fails[check_id])
        return "skipped" if check_id in self.skips else "passed"

    def agrees(self, found: CheckResult) -> bool:
        """Whether one check's verdict is what it must be."""
        return _verdict(found) == self.must_get(found.id)

    def wrong_about(self, result: Result) -> list[str]:
        """Where a record has another verdict than it must, a line each; [] if it is right."""
        wrong = [
            f"{check.id}: expected {self.must_get(check.id)}, was {_verdict(check)}: {check.seen}"
            for check in result.checks
            if not self.agrees(check)
        ]
        known = {check.id for check in result.checks}
        wrong += ["no check was judged"] * (not known)
        wrong += [f"{one}: there is no such check" for one in {*self.fails, *self.skips} - known]
        return wrong


def _verdict(check: CheckResult) -> str:
    return _failed(check.diagnosis or "") if check.status == FAILED else check.status


def _failed(diagnosis: str) -> str:
    return f"failed ({diagnosis})" if diagnosis else "failed"


def mutants(lab: str) -> list[Exhibit]:
    """The wrong servers of one lab.

    Raises ValueError, with the entry's name, where a text to find does not occur exactly once.
    """
    return _exhibits(MUTANTS, lab)


def accepted(lab: str) -> list[Exhibit]:
    """The right servers in another form of one lab. Raises ValueError as :func:`mutants` does."""
    return _exhibits(ACCEPTED, lab)


def reference(lab: str) -> Exhibit:
    """The solution of one lab."""
    source = paths.solution_of(lab).read_text(encoding="utf-8")
    return Exhibit(lab, "reference", "The solution.", source, {}, frozenset())


def whole(labs: Sequence[str] = tuple(paths.LAB_FOLDERS)) -> list[Exhibit]:
    """All of the gallery, lab by lab, the wrong ones first."""
    return [one for lab in labs for one in (*mutants(lab), *accepted(lab))]


def _exhibits(folder: Path, lab: str) -> list[Exhibit]:
    with (folder / f"{lab}.toml").open("rb") as file:
        entries = tomllib.load(file)
    return [_exhibit(folder, lab, name, entry) for name, entry in entries.items()]


def _exhibit(folder: Path, lab: str, name: str, entry: Mapping[str, object]) -> Exhibit:
    changes = entry.get("change") or ([entry] if "find" in entry else [])
    path = folder / str(entry["file"]) if "file" in entry else paths.solution_of(lab)
    source = path.read_text(encoding="utf-8")
    assert isinstance(changes, list)
    for change in changes:
        if (count := source.count(change["find"])) != 1:
            raise ValueError(f"{lab} {name}: {change['find']!r} occurs {count} times, not once")
        source = source.replace(change["find"], change["replace"])
    fails, skips = entry.get("fails", {}), entry.get("skips", [])
    assert isinstance(fails, dict)
    assert isinstance(skips, list)
    if bool(fails) == (folder == ACCEPTED):
        raise ValueError(f"{lab} {name}: wrong ones belong in mutants/, right ones in accepted/")
    return Exhibit(lab, name, str(entry["why"]), source, fails, frozenset(skips))


Graded = tuple[Exhibit, Result]


class Graders:
    """Grades servers side by side, as a batch does (forklab.worker); use it as a context.

    At the context's end those that still run are stopped, and nothing is left of them.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._pool = ThreadPoolExecutor(jobs)
        self._running: set[Future[Result]] = set()

    def __enter__(self) -> Graders:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        while concurrent.futures.wait(list(self._running), timeout=0.1).not_done:
            worker.interrupt_all()
        self._pool.shutdown()
        worker.end_all()

    def grade_all(self, exhibits: Sequence[Exhibit]) -> Iterator[Graded]:
        """Each with its record, in the order in which they are done.

        Raises GraderError where there is no record, and KeyboardInterrupt.
        """
        done: Inbox[Graded] = Inbox()

        def tell(exhibit: Exhibit, grading: Future[Result]) -> None:
            done.put(lambda: (exhibit, grading.result()))

        with interrupts.told_to(done):
            for one in exhibits:
                self.grade(one).add_done_callback(partial(tell, one))
            for _ in exhibits:
                yield done.take()

    def grade(self, exhibit: Exhibit) -> Future[Result]:
        """The record of one grading, once it is there.

        The future raises GraderError if there is no record.
        """
        grading = self._pool.submit(_grade, exhibit)
        self._running.add(grading)
        grading.add_done_callback(self._running.discard)
        return grading


def _grade(exhibit: Exhibit) -> Result:
    files = {"server.c": exhibit.source.encode()}
    task = Task(exhibit.lab, files, exhibit.name, Options(trusted=True))  # they are the kit's own
    try:
        return Result.from_json(worker.grade(task))
    except GraderError as problem:
        raise GraderError(f"{exhibit.lab} {exhibit.name}: no record: {problem}") from problem
