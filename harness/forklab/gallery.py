"""The gallery: wrong servers with the verdict each must get, and right ones that must get 100.

``harness/mutants/lab4.toml`` holds the wrong ones of lab 4, ``harness/accepted/lab4.toml`` right
ones in another form. Each entry has ``why`` (the misconception, or what is unusual), then ``find``
and ``replace`` (text that must occur exactly once in the reference), or ``change``, a list of such
pairs, or ``file``, a whole program below the list's folder. A wrong one also has ``fails``, a table
from the checks that fail to their diagnosis ("" for none), and, where a failure keeps other checks
from being judged, ``skips``. All other checks pass.
"""

from __future__ import annotations

import tomllib
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from forklab import interrupts, paths
from forklab.errors import GraderError
from forklab.graders import Graders, grade_all
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


def grade(
    exhibits: Sequence[Exhibit], graders: Graders, tier: str = ""
) -> Generator[Graded, None, None]:
    """Each with its record, in the order in which they are done. To be closed, if not taken whole.

    ``tier``: as in worker.Options, by default that of everybody's own program.
    Raises GraderError where there is no record, and KeyboardInterrupt.
    """
    inbox: Inbox[tuple[Exhibit, Future[str] | Exception]] = Inbox()
    tasks = [(one, _task(one, tier)) for one in exhibits]
    with interrupts.told_to(inbox), closing(grade_all(tasks, graders, inbox)) as gradings:
        for one, judged in gradings:
            if isinstance(judged, str):
                raise GraderError(f"{one.lab} {one.name}: no record: {judged}")
            yield one, judged


def _task(exhibit: Exhibit, tier: str) -> Task:
    files = {"server.c": exhibit.source.encode()}
    options = Options(tier=tier, trusted=True)  # they are the kit's own
    return Task(exhibit.lab, files, exhibit.name, options)
