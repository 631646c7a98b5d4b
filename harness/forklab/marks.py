"""What became of many submissions: all that the pages and tables for instructors are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forklab.result import Result


@dataclass(frozen=True)
class Mark:
    """One submission of one student, and what became of it."""

    student: str  # as the folder, file or archive names them
    lab: str  # "lab3"
    where: str  # where it lay, as people would say it: "kim/lab3-sigign/server.c"
    late: bool = False
    result: Result | None = None  # None: not graded, and that is never a zero
    problem: str = ""  # without a result: why the grader could not judge it


@dataclass(frozen=True)
class ClassMarks:
    """All of one batch, in the order of students and labs."""

    marks: Sequence[Mark]
    missing: Sequence[tuple[str, str]] = ()  # (student, lab) that nothing was found of
    duplicates: Sequence[tuple[str, ...]] = ()  # each: "student: where" of equal programs
    unplaced: Sequence[tuple[str, str]] = ()  # (where, why) of what was found and is not graded

    @property
    def errors(self) -> list[Mark]:
        """Those that the grader could not judge: no mark, to be looked at by a person."""
        return [one for one in self.marks if one.result is None or one.result.score is None]
