"""The record of one grading: schema ``forklab/result/1``.

It is all that reports are made from. ``docs/result-format.md`` says the same as a table. Adding a
field keeps the schema's number; changing one raises it.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = "forklab/result/1"

PASSED, FAILED, SKIPPED, ERROR = "passed", "failed", "skipped", "error"
GRADED, DOES_NOT_BUILD, GRADER_ERROR = "graded", "does-not-build", "grader-error"


@dataclass(frozen=True)
class Evidence:
    """Something that the grader looked at, as text: a table, a transcript, a compiler's words."""

    title: str
    text: str


@dataclass(frozen=True)
class LimitReached:
    """A limit that the submission came to."""

    limit: str  # "processes", "memory", "cpu", "output", "disk" or "wall"
    text: str  # a sentence for people


@dataclass
class CheckResult:
    """What one check found."""

    id: str  # "4.7"
    name: str
    status: str  # "passed", "failed", "skipped" or "error"
    points: int
    max_points: int
    expected: str = ""
    seen: str = ""
    evidence: list[Evidence] = field(default_factory=list)
    did: str = ""  # what the check did, in a sentence or two
    diagnosis: str | None = None  # a code of the catalogue
    needs: str | None = None  # skipped: the check to pass first
    read: str = ""  # where to read about it
    duration: float = 0.0  # seconds


@dataclass
class Result:
    """What one grading found."""

    lab: str  # "lab4"
    submission: str  # the path as it was given
    sha256: str  # of the source that was compiled
    kit: str  # version of the kit
    tier: str  # how submissions were contained: "bwrap", "uid" or "process"
    started: str  # ISO 8601, UTC
    duration: float = 0.0  # seconds
    verdict: str = GRADED  # "graded", "does-not-build" or "grader-error"
    score: int | None = 0  # None: no mark (verdict "grader-error")
    max_score: int = 0
    checks: list[CheckResult] = field(default_factory=list)
    untouched: bool = False  # the starter as it was handed out
    limits: list[LimitReached] = field(default_factory=list)
    schema: str = SCHEMA

    def conclude(self) -> None:
        """Adds up the points. An error of the grader's leaves no mark: it is never a zero."""
        self.max_score = sum(check.max_points for check in self.checks)
        self.score = sum(check.points for check in self.checks)
        if any(check.status == ERROR for check in self.checks) or not self.checks:
            self.verdict, self.score = GRADER_ERROR, None
        elif any(check.diagnosis == DOES_NOT_BUILD for check in self.checks):
            self.verdict = DOES_NOT_BUILD

    @property
    def all_passed(self) -> bool:
        """Whether every check passed."""
        return all(check.status == PASSED for check in self.checks)

    def to_json(self) -> str:
        """The record as JSON text, one object, fields in the order of the table."""
        fields = asdict(self)
        return json.dumps({"schema": fields.pop("schema"), **fields}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Result:
        """The record that :meth:`to_json` wrote.

        Raises ValueError when it is no such record.
        """
        fields: dict[str, Any] = json.loads(text)
        if fields.get("schema") != SCHEMA:
            raise ValueError(f"not a {SCHEMA} record")
        checks = [
            CheckResult(**{**one, "evidence": [Evidence(**shown) for shown in one["evidence"]]})
            for one in fields.pop("checks")
        ]
        limits = [LimitReached(**one) for one in fields.pop("limits", [])]
        return cls(checks=checks, limits=limits, **fields)


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that it is there whole or not at all, whenever the machine stops.

    Raises OSError, with the file as it was.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
