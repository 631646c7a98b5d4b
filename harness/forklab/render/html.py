"""The marks as web pages: one for each student and lab, one for the class.

Each page is one file: no server, no other files, nothing from the network (a Content-Security-
Policy in the page forbids it too). Student pages have no script. The class page has a little, to
sort and to filter, and is whole without it. Whatever a submission printed is escaped twice: by
:func:`forklab.evidence.plain`, which makes the invisible visible, and for HTML.
"""

from __future__ import annotations

import hashlib
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment
from markupsafe import Markup, escape

from forklab.evidence import plain
from forklab.marks import ClassMarks, Mark
from forklab.render import web, words
from forklab.render.terminal import MARKS, TITLES
from forklab.result import ERROR, FAILED, PASSED, SKIPPED, CheckResult, write_atomically
from forklab.rubric import diagnoses

TEMPLATES = Path(__file__).with_name("templates")
STUDENTS = "students"  # the folder of their pages, beside index.html
STATUS = {PASSED: "passed", FAILED: "failed", SKIPPED: "not judged", ERROR: "grader's fault"}


def student_page(mark: Mark) -> str:
    """All about one submission: the score, every failed check in full, the others folded."""
    return _render("student.html", mark=mark, result=mark.result)


def class_page(marks: ClassMarks) -> str:
    """The class: scores, the checks that fail most, a table of all, what a person must look at."""
    pages = page_names(marks)
    rows = [_Row(mark, name) for mark, name in zip(marks.marks, pages, strict=True)]
    labs = list(dict.fromkeys(one.lab for one in marks.marks))
    return _render(
        "class.html",
        marks=marks,
        students={one.student for one in marks.marks} | {student for student, _ in marks.missing},
        rows=sorted(rows, key=lambda row: (row.mark.student, row.mark.lab)),
        labs=[_Lab.of(lab, marks.marks) for lab in sorted(labs)],
        late=[row for row in rows if row.mark.late],
        errors=[row for row in rows if row.score is None],
    )


def write_class(marks: ClassMarks, out: Path) -> None:
    """Writes index.html and students/*.html below ``out``, each whole or not at all.

    index.html comes last: whatever it links to is there. Raises OSError.
    """
    folder = out / STUDENTS
    folder.mkdir(parents=True, exist_ok=True)
    for mark, name in zip(marks.marks, page_names(marks), strict=True):
        write_atomically(folder / name, student_page(mark))
    write_atomically(out / "index.html", class_page(marks))


def page_names(marks: ClassMarks) -> list[str]:
    """A file name for each mark, in order: ``kim-minji-5f0c2a91-lab4.html``.

    It depends on the student's name and the lab, and only where somebody has two marks for one lab
    also on where the second one lay.
    """
    names: dict[str, None] = {}
    for mark in marks.marks:
        name = _page_name(mark.student, mark.lab)
        if name in names:
            name = _page_name(mark.student, mark.lab, mark.where)
        for again in range(2, len(names) + 3):
            if name not in names:
                break
            name = _page_name(mark.student, mark.lab, f"{mark.where}\0{again}")
        names[name] = None
    return list(names)


def _page_name(student: str, lab: str, where: str = "") -> str:
    """The digest keeps apart what differs in case, spaces or signs alone."""
    name = re.sub(r"\W+", "-", unicodedata.normalize("NFC", student)).strip("-_")[:40]
    digest = hashlib.sha256(f"{student}\0{where}".encode(errors="surrogatepass")).hexdigest()[:8]
    return "-".join(part for part in (name, digest, lab) if part) + ".html"


# What the class page says --------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """One mark in the table."""

    mark: Mark
    page: str  # its file name

    @property
    def href(self) -> str:
        return f"{STUDENTS}/{quote(self.page)}"

    @property
    def score(self) -> int | None:
        return self.mark.result.score if self.mark.result else None

    @property
    def failed(self) -> list[CheckResult]:
        return [one for one in _checks(self.mark) if one.status == FAILED]

    @property
    def problem(self) -> str:
        """Why there is no score."""
        wrong = [words.sentence(one) for one in _checks(self.mark) if one.status == ERROR]
        return self.mark.problem or (wrong or ["the grader could not judge"])[0]


@dataclass(frozen=True)
class _Bar:
    """Of a histogram: how many scores lie in ``label`` (per cent of the points)."""

    label: str
    count: int
    height: float  # 0 to 1, of the highest


@dataclass(frozen=True)
class _Failing:
    """A check that some failed, and why."""

    check: CheckResult  # of one of them
    failed: int
    skipped: int
    of: int  # gradings
    bugs: Sequence[tuple[str, str, int]]  # code, title, how many


@dataclass(frozen=True)
class _Lab:
    """One lab of a class."""

    lab: str
    title: str
    scores: Sequence[int]
    max_score: int
    bars: Sequence[_Bar]
    failing: Sequence[_Failing]

    @classmethod
    def of(cls, lab: str, marks: Sequence[Mark]) -> _Lab:
        results = [one.result for one in marks if one.lab == lab and one.result]
        judged = [one for one in results if one.score is not None]
        return cls(
            lab,
            TITLES.get(lab, lab),
            [one.score for one in judged if one.score is not None],
            max((one.max_score for one in judged), default=0),
            _bars([100 * (one.score or 0) / (one.max_score or 1) for one in judged]),
            _failing([one.checks for one in judged]),
        )

    @property
    def median(self) -> float:
        return statistics.median(self.scores)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)


def _bars(percents: Sequence[float]) -> list[_Bar]:
    """Ten bars of ten per cent, and full marks by themselves."""
    counts = Counter(min(int(one // 10), 10) for one in percents)
    highest = max(counts.values(), default=1)
    labels = [f"{10 * n}–{10 * n + 9}" for n in range(10)] + ["100"]
    return [_Bar(label, counts[n], counts[n] / highest) for n, label in enumerate(labels)]


def _failing(gradings: Sequence[Sequence[CheckResult]]) -> list[_Failing]:
    by_id: dict[str, list[CheckResult]] = {}
    for checks in gradings:
        for one in checks:
            by_id.setdefault(one.id, []).append(one)
    found = []
    for checks in by_id.values():
        failed = [one for one in checks if one.status == FAILED]
        if failed:
            skipped = sum(one.status == SKIPPED for one in checks)
            codes = Counter(one.diagnosis or "" for one in failed).most_common()
            bugs = [(code, _title(code), count) for code, count in codes]
            found.append(_Failing(failed[0], len(failed), skipped, len(checks), bugs))
    return sorted(found, key=lambda one: -one.failed)


def _title(code: str) -> str:
    known = diagnoses().get(code)
    return known.title if known else ""


def _checks(mark: Mark) -> list[CheckResult]:
    return mark.result.checks if mark.result else []


# Templates -----------------------------------------------------------------------------------


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = web.environment(TEMPLATES)
    script = (TEMPLATES / "class.js").read_text(encoding="utf-8")
    helpers: list[Callable[..., object]] = [
        in_code, words.diagnosis, words.limit, words.reading, words.shown, words.think,
    ]  # fmt: skip
    environment.globals.update({one.__name__: one for one in helpers})
    environment.globals.update(MARKS=MARKS, STATUS=STATUS, TITLES=TITLES)
    environment.globals.update(script=Markup(script), script_digest=web.digest(script))
    return environment


def in_code(text: str) -> Markup:
    """The text with its `quoted words` set as code."""
    safe = str(escape(plain(text)))
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", safe))
