"""What a check is: its number, name, points and hints; how it fails; what it shows.

A check is a pytest test function that carries :func:`check`. It fails through :func:`expect`, which
takes what was expected, what was seen, and the evidence. Knows nothing of how that is shown.
"""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

from forklab import paths
from forklab.errors import GraderError, UsageError
from forklab.result import Evidence

Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True)
class Check:
    """One line of the rubric."""

    id: str  # "4.7"
    name: str  # what a right program does: "reaps every child of a burst"
    points: int
    hints: tuple[str, str, str]  # from a question to nearly the answer
    needs: str | None = None  # a check without which this one can't be judged
    gate: bool = False  # when it fails, nothing after it in its lab can be judged
    read: str = ""  # where to read about it; "" means the lab's handout

    @property
    def lab(self) -> str:
        """ "lab4" for "4.7"."""
        return f"lab{self.id.partition('.')[0]}"


def check(
    id: str,
    name: str,
    *,
    points: int,
    hints: Sequence[str],
    needs: str | None = None,
    gate: bool = False,
    read: str = "",
) -> Callable[[Function], Function]:
    """Makes a pytest test a check of the rubric. Its docstring says what the check does.

    Raises ValueError unless there are three hints.
    """
    if isinstance(hints, str) or len(hints) != 3:
        raise ValueError(f"check {id} needs a list of three hints")
    first, second, third = hints
    one = Check(id, name, points, (first, second, third), needs, gate, read)

    def mark(function: Function) -> Function:
        marked: Function = pytest.mark.check(one)(function)
        return marked

    return mark


def of_lab(lab: str) -> list[Check]:
    """The rubric of a lab, in order: read from its file in harness/checks."""
    path = paths.CHECKS / f"test_{lab}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    marks = [
        mark
        for function in vars(module).values()
        for mark in getattr(function, "pytestmark", [])
        if mark.name == "check"
    ]
    return [mark.args[0] for mark in marks]


def find(check_id: str, own: Sequence[Check] = ()) -> Check:
    """The check with that number, the kit's or one of ``own``. Raises UsageError if none is."""
    lab = f"lab{check_id.partition('.')[0]}"
    checks = of_lab(lab) if lab in paths.LAB_FOLDERS else []
    for one in (*checks, *own):
        if one.id == check_id:
            return one
    known = f"{checks[0].id} to {checks[-1].id}" if checks else "1.1 to 4.15"
    known += "".join(f", {one.id}" for one in own)
    raise UsageError(f"there is no check {check_id!r}; there are {known}")


# How a check ends ----------------------------------------------------------------------------


@dataclass(eq=False)
class CheckFailed(Exception):
    """What was seen is not what a right program shows. Raised by :func:`expect`."""

    expected: str
    seen: str
    evidence: list[Evidence] = field(default_factory=list)
    diagnosis: str | None = None
    goes_on: bool = False  # a gate that fails like this stays open all the same

    def __str__(self) -> str:
        return f"expected {self.expected}; seen: {self.seen}"


@dataclass(eq=False)
class CheckSkipped(Exception):
    """The check can't be judged before another one is passed. Raised by :func:`first_fix`."""

    needs: str


def expect(
    condition: object,
    *,
    expected: str,
    seen: str | Callable[[], str],
    evidence: Evidence | Sequence[Evidence] | Callable[[], Sequence[Evidence]] = (),
    diagnosis: str | Callable[[], str] | None = None,
    goes_on: bool = False,
) -> None:
    """Fails the check unless ``condition`` is true.

    ``expected`` and ``seen`` are said to the student; ``evidence`` is what the grader looked at (a
    function, where it is dear to make); ``diagnosis`` is a code of the catalogue, where what was
    seen names the bug (or a function that finds it out). ``goes_on``: what was seen costs the
    points, but the checks after this gate can still be judged.
    """
    if condition:
        return
    if callable(evidence):
        evidence = evidence()
    if isinstance(evidence, Evidence):
        evidence = [evidence]
    if callable(diagnosis):
        diagnosis = diagnosis()
    if diagnosis is not None and diagnosis not in diagnoses():
        raise GraderError(f"a check names a diagnosis that is in no catalogue: {diagnosis!r}")
    raise CheckFailed(
        expected, seen() if callable(seen) else seen, list(evidence), diagnosis, goes_on
    )


def first_fix(check_id: str) -> NoReturn:
    """Skips the check: it can't be judged before ``check_id`` is passed."""
    raise CheckSkipped(check_id)


# The catalogue of diagnoses ------------------------------------------------------------------

CATALOGUE = Path(__file__).with_name("diagnoses.toml")


@dataclass(frozen=True)
class Diagnosis:
    """A bug with a name."""

    code: str
    title: str
    explanation: str  # two or three sentences for the student
    think: str  # how to find it: a question, or something to try
    read: str  # "signal(7)", "signal(7), Signal dispositions" or "labs/.../README.md#steps"

    def place(self) -> tuple[str, str, str]:
        """``read`` in its parts: what to open, its section or "", and the heading there or ""."""
        if page := re.fullmatch(r"([\w-]+)\((\d)\)(?:, (.+))?", self.read):
            return page[1], page[2], page[3] or ""
        path, _, anchor = self.read.partition("#")
        return path, "", anchor


@cache
def diagnoses() -> dict[str, Diagnosis]:
    """The catalogue by code: the kit's, and what own checks have added to it (forklab.own)."""
    return read_diagnoses()


def read_diagnoses(path: Path = CATALOGUE) -> dict[str, Diagnosis]:
    """The diagnoses of a file, by code."""
    with path.open("rb") as file:
        table = tomllib.load(file)
    return {
        code: Diagnosis(code, entry["title"], entry["why"], entry["think"], entry["read"])
        for code, entry in table.items()
    }
