"""The table for spreadsheets: a row a student, and no cell that does anything."""

from __future__ import annotations

import csv
import io

import pytest

from forklab.marks import ClassMarks, Mark
from forklab.render import csv as table
from tests.records import HOSTILE, INVISIBLE, a_class, mixed, result


def rows_of(marks: ClassMarks) -> dict[str, dict[str, str]]:
    text = table.of_class(marks).removeprefix("\ufeff")
    return {row["student"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}


def test_columns_and_encoding() -> None:
    text = table.of_class(a_class())
    assert text.startswith("\ufeffstudent,lab3,lab4,3.1,3.2,3.3,")
    assert text.splitlines()[0].endswith(",late,note")
    assert text.count("\r\n") == text.count("\n")  # RFC 4180
    assert "김민지" in text.encode().decode("utf-8-sig")


def test_scores_and_points() -> None:
    kim = rows_of(a_class())["김민지"]
    assert [kim[column] for column in ("lab3", "lab4", "3.1", "3.2", "3.3")] == "5 5 5 0 0".split()
    assert kim["note"] == "lab3 came to the limit of processes"
    assert kim["late"] == ""


def test_missing_is_empty_and_an_error_is_no_zero() -> None:
    rows = rows_of(a_class())
    ghost = rows["Ghost"]
    assert {ghost[one] for one in ("lab3", "lab4", "3.1", "4.1")} == {""}
    assert ghost["note"] == "lab3: nothing was handed in; lab4: nothing was handed in"
    ana = rows["Ana de Vries"]
    assert (ana["lab3"], ana["lab4"], ana["late"]) == ("", "0", "lab4")
    assert "lab4 does not compile" in ana["note"]
    dan = rows["Dan"]
    assert {dan[one] for one in ("lab3", "lab4", "3.1", "4.1", "4.2")} == {"error"}
    assert "the worker was killed twice" in dan["note"]
    assert "no ports left" in dan["note"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", " =", "＝", "\r@", "\n+"])
def test_no_cell_is_a_formula(start: str) -> None:
    for name in (f"{start}1+1", f"kim;{start}1+1", f"kim,{start}1+1"):
        mark = Mark(name, "lab4", "a.c", problem=name)
        _, row = csv.reader(io.StringIO(table.of_class(ClassMarks([mark])), newline=""))
        for cell in (row[0], row[-1]):
            for part in cell.replace(",", ";").split(";"):
                assert not part.strip().startswith(tuple("=+-@＝＋－＠"))
        assert "1+1" in row[0]


def test_hostile_names_stay_in_their_cell() -> None:
    rows = rows_of(a_class())
    assert len(rows) == 5 + 1
    assert not set(INVISIBLE) & {letter for name in rows for letter in name}
    assert "'=cmd|' /C calc'!A0" in rows
    assert HOSTILE not in rows


def test_two_marks_for_one_lab_are_told() -> None:
    marks = [
        Mark("Kim", "lab4", "kim/old.c", result=mixed()),
        Mark("Kim", "lab4", "kim/new.c", result=result()),
    ]
    assert (
        "lab4 twice: this is kim/new.c, not kim/old.c" in rows_of(ClassMarks(marks))["Kim"]["note"]
    )


def test_nobody() -> None:
    assert table.of_class(ClassMarks([])) == "\ufeffstudent,late,note\r\n"
