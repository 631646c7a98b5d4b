"""A class as an instructor has it: killed twice on the way, and every mark right at the end.

References, right servers in other forms, wrong ones and hostile ones, all with known verdicts. As
many as FORKLAB_CLASS says (the closing of a term: 300), a few if it doesn't.
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest

from forklab import gallery, paths, tiers
from forklab.gallery import Exhibit
from forklab.result import Result
from tests import hostile_support
from tests.support import COMMAND, DEADLINE, copy_kit, environment, running, wait_until

SIZE = int(os.environ.get("FORKLAB_CLASS", "12"))
HOSTILE_ONES = max(2, SIZE // 10)
SECONDS = 60 + 10 * SIZE  # for one batch; only a broken kit lets it pass

T = TypeVar("T")
Judge = Callable[[Result], list[str]]  # what is wrong about a record


@dataclass(frozen=True)
class Student:
    """One submission, and what becomes of it."""

    name: str
    lab: str
    source: str
    wrong_about: Judge


def students() -> Iterator[Student]:
    numbers = count(1)

    def student(kind: str, lab: str, source: str, judge: Judge) -> Student:
        return Student(f"{next(numbers):03} {kind}", lab, source, judge)

    references = [gallery.reference(lab) for lab in paths.LAB_FOLDERS]
    hostile = _spread(_hostile_ones(), HOSTILE_ONES)
    for one in [*references, *_spread(gallery.whole(), SIZE - len(references) - len(hostile))]:
        yield student(one.name, one.lab, one.source, _of_gallery(one))
    for other in hostile:
        source = hostile_support.one_file(other)
        yield student(other.name, other.lab, source, _of_hostile(other))


def _hostile_ones() -> list[hostile_support.Exhibit]:
    best = tiers.available()[0]
    everybody = hostile_support.exhibits().values()
    return [one for one in everybody if best not in {*one.not_run, *one.weaker}]


def _spread(items: list[T], size: int) -> list[T]:
    """So many of them, from all over the list."""
    return [items[number * len(items) // size] for number in range(min(size, len(items)))]


def _of_gallery(exhibit: Exhibit) -> Judge:
    return exhibit.wrong_about


def _of_hostile(exhibit: hostile_support.Exhibit) -> Judge:
    def wrong_about(result: Result) -> list[str]:
        wrong = []
        if result.verdict != exhibit.verdict:
            wrong.append(f"expected {exhibit.verdict}, was {result.verdict}")
        most = exhibit.score_at_most if exhibit.score is None else exhibit.score
        if (result.score or 0) > most:
            wrong.append(f"{result.score} points, {most} at most")
        return wrong

    return wrong_about


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """A kit of our own: what runs below it was started here."""
    kit = copy_kit(tmp_path_factory.mktemp("kit"))
    yield kit
    assert running(str(kit)) == {}


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("class")
    for one in students():
        path = folder / one.name / one.lab / "server.c"
        path.parent.mkdir(parents=True)
        path.write_text(one.source, encoding="utf-8", errors="surrogateescape")
    return folder


def start(kit: Path, handed_in: Path, out: Path) -> subprocess.Popen[bytes]:
    words = ["batch", str(handed_in), "--out", str(out), "--trust-submissions"]
    return subprocess.Popen(
        [*COMMAND, *words],
        cwd=kit,
        env=environment(kit),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def records(out: Path) -> list[Path]:
    return list(out.glob("records/*/*.json"))


@pytest.fixture(scope="module")
def out(kit, handed_in, tmp_path_factory):
    """What is written by a batch that was killed twice, and then came to its end."""
    out: Path = tmp_path_factory.mktemp("graded") / "out"
    for part, number in ((1, signal.SIGTERM), (2, signal.SIGKILL)):
        batch = start(kit, handed_in, out)
        wait_until(lambda: len(records(out)) >= part * SIZE // 3, "some records", SECONDS)  # noqa: B023
        batch.send_signal(number)
        batch.communicate(timeout=DEADLINE)
        assert batch.returncode in (130, -signal.SIGKILL)
        assert len(records(out)) < SIZE
        wait_until(lambda: not running(str(kit)), "nothing to be left")
    graded_before = {path: path.read_bytes() for path in records(out)}
    batch = start(kit, handed_in, out)
    said, _ = batch.communicate(timeout=SECONDS)
    assert batch.returncode == 0, said.decode()
    assert {path: path.read_bytes() for path in graded_before} == graded_before
    return out


@pytest.fixture(scope="module")
def marks(out: Path) -> dict[str, Result]:
    """Everybody's record, by student."""
    found = [Result.from_json(path.read_text()) for path in records(out)]
    return {result.submission.partition("/")[0]: result for result in found}


@pytest.mark.parametrize("student", list(students()), ids=lambda student: student.name)
def test_everybody_gets_the_right_mark(marks, student):
    assert student.wrong_about(marks[student.name]) == []


def test_all_are_in_the_table(out, marks):
    with (out / "marks.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + SIZE
    assert "error" not in {cell for row in rows for cell in row}
    assert len(list((out / "students").glob("*.html"))) == SIZE


def test_an_uninterrupted_batch_gives_the_same(out, kit, handed_in, tmp_path):
    batch = start(kit, handed_in, tmp_path / "again")
    said, _ = batch.communicate(timeout=SECONDS)
    assert batch.returncode == 0, said.decode()
    for name in ("marks.csv", "class.json"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
