"""The marks of a class as a table for spreadsheets: a row a student.

UTF-8 with a byte order mark: without one, Excel takes the file for the system's old code page and
shows Korean names as noise. Everything else reads it as well (in Python: encoding="utf-8-sig").
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

from forklab.marks import ClassMarks, Mark
from forklab.render import words

BYTE_ORDER_MARK = "\ufeff"
NO_MARK = "error"  # never a zero, and not empty either: empty says that nothing was handed in

# What a spreadsheet may take for the beginning of a formula: also after a semicolon, for that is
# what separates cells where the decimal point is a comma. Wide forms count in East Asian versions.
_FORMULA = re.compile(r"(^|[;,|])(?=\s*[=+\-@＝＋－＠])")


def of_class(marks: ClassMarks) -> str:
    """Columns: student, a score for each lab, points for each check, late labs, a note.

    A cell is empty where nothing was handed in, and ``error`` where the grader could not judge.
    """
    labs = sorted({one.lab for one in marks.marks} | {lab for _, lab in marks.missing})
    checks = {
        lab: list(
            dict.fromkeys(
                check.id
                for one in marks.marks
                if one.lab == lab and one.result
                for check in one.result.checks
            )
        )
        for lab in labs
    }
    ids = [id for lab in labs for id in checks[lab]]
    students = [one.student for one in marks.marks] + [student for student, _ in marks.missing]
    file = io.StringIO()
    rows = csv.writer(file)
    rows.writerow(["student", *labs, *ids, "late", "note"])
    for student in dict.fromkeys(students):
        own = [one for one in marks.marks if one.student == student]
        missing = [lab for of, lab in marks.missing if of == student]
        cells: dict[str, str] = {}
        for one in own:
            cells.update(_cells(one, checks[one.lab]))
        late = " ".join(one.lab for one in own if one.late)
        columns = [cells.get(name, "") for name in (*labs, *ids)]
        rows.writerow([_text(student), *columns, late, _text("; ".join(_notes(own, missing)))])
    return BYTE_ORDER_MARK + file.getvalue()


def _cells(mark: Mark, checks: Iterable[str]) -> dict[str, str]:
    """The cells that one mark fills, by their columns."""
    result = mark.result
    if result is None or result.score is None:
        return dict.fromkeys((mark.lab, *checks), NO_MARK)
    points = {check.id: str(check.points) for check in result.checks}
    return {mark.lab: str(result.score), **points}


def _notes(own: Iterable[Mark], missing: Iterable[str]) -> Iterable[str]:
    seen: dict[str, Mark] = {}
    for one in own:
        if one.lab in seen:
            yield f"{one.lab} twice: this is {one.where}, not {seen[one.lab].where}"
        seen[one.lab] = one
        if one.result is None:
            yield f"{one.lab}: {one.problem or 'the grader could not judge'}"
            continue
        if one.result.score is None:
            whys = [words.sentence(check) for check in one.result.checks if check.status == "error"]
            yield f"{one.lab}: {(whys or [words.outcome(one.result)])[0]}"
        if one.result.verdict == "does-not-build":
            yield f"{one.lab} does not compile"
        if one.result.untouched:
            yield f"{one.lab} is the starter as it was handed out"
        if one.result.limits:
            yield f"{one.lab} came to the limit of {', '.join(x.limit for x in one.result.limits)}"
    for lab in missing:
        yield f"{lab}: nothing was handed in"


def _text(text: str) -> str:
    """A cell of words: one line, and no formula whatever it begins with."""
    return _FORMULA.sub(r"\1'", words.line(text))
