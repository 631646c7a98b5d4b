"""What a batch prints at its end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from forklab.marks import ClassMarks, Mark
from forklab.render import summary
from forklab.render.terminal import make_console
from tests.records import INVISIBLE, a_class, check, mixed, result


def said(marks: ClassMarks, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    summary.show(make_console(file), marks, Path("grades"))
    file.seek(0)
    return file.read()


def test_what_is_told() -> None:
    text = said(a_class())
    for line in (
        "lab3  1      25",
        "lab4  3      0 ",
        "4.2     1 of 3: name of 4.2",
        "1  never-reaps: It never reaps",
        "The grader could not judge: 3",
        "  Dan lab4, dan/server.c: the worker was killed twice",
        "Late: 2",
        "Missing: 3",
        "  Ghost: lab3 lab4",
        "The same program: 1",
        "  notes.txt: it is no C file",
        "4 marks; 3 that the grader could not judge: the same command tries them again",
        "grades/index.html",
    ):
        assert line in text
    assert not set(INVISIBLE) & set(text)


def test_scores_are_per_cent_and_bars_show_where_they_lie() -> None:
    marks = [
        Mark(str(n), "lab1", "a.c", result=result(check("1.1", points=50), lab="lab1", score=score))
        for n, score in enumerate((0, 25, 50, 50, 50))
    ]
    line = next(one for one in said(ClassMarks(marks)).splitlines() if one.startswith("lab1"))
    assert line.split(maxsplit=7)[:7] == "lab1 5 0 50 100 100 100".split()
    assert line.endswith("[▃    ▃   █]")


def test_long_lists_are_cut() -> None:
    text = said(ClassMarks([], missing=[(f"s{n}", "lab1") for n in range(25)]))
    assert "Missing: 25" in text
    assert "  s9: lab1\n  ... and 15 more\n" in text
    assert "0 marks." in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_old_terminals(encoding: str) -> None:
    long = check("1.1", "failed", name="a name of many words " * 9)
    marks = [
        Mark("Kim", "lab1", "a.c", result=result(long, lab="lab1")),
        Mark("Lee", "lab4", "b.c", result=mixed()),
    ]
    text = said(ClassMarks(marks), encoding)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "1 of 1: a name of many words" in text
