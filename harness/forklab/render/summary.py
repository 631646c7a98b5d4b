"""What came of a batch, as terminal text: scores, what fails most, what a person must look at."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from forklab.evidence import plain, table
from forklab.marks import ClassMarks, Mark
from forklab.result import FAILED, Result
from forklab.rubric import diagnoses

BARS = " ▁▂▃▄▅▆▇█"
ASCII_BARS = " .:-=+*%@"
MOST = 5  # checks that are shown
MOST_NAMES = 10  # entries of a list that are shown
MOST_EQUAL = 3  # names of one program that are shown


def show(console: Console, marks: ClassMarks, out: Path) -> None:
    """Prints it, in 80 columns where names allow."""
    by_lab: dict[str, list[Result]] = defaultdict(list)
    for one in marks.marks:
        if one.result is not None and one.result.score is not None:
            by_lab[one.lab].append(one.result)
    if by_lab:
        console.print()
        encoding = (getattr(console.file, "encoding", None) or "ascii").lower()
        console.print(_scores(by_lab, BARS if "utf" in encoding else ASCII_BARS), soft_wrap=True)
    failing = _failing(by_lab)
    if failing:
        console.print(Text("\nWhat fails most", "bold"))
        for line in failing:
            cut = line if len(line) <= console.width else line[: console.width - 3] + "..."
            console.print(cut, soft_wrap=True)
    _list(console, "The grader could not judge", [_fault(one) for one in marks.errors])
    late = [(one.student, one.lab) for one in marks.marks if one.late]
    _list(console, "Late", _by_student(late), len(late))
    _list(console, "Missing", _by_student(marks.missing), len(marks.missing))
    _list(console, "The same program", [_equal(names) for names in marks.duplicates])
    _list(console, "Not graded", [f"{where}: {why}" for where, why in marks.unplaced])
    graded, errors = sum(map(len, by_lab.values())), len(marks.errors)
    ended = f"\n{graded} marks"
    if errors:
        ended += f"; {errors} that the grader could not judge: the same command tries them again"
    console.print(f"{ended}. All of it: {plain(str(out / 'index.html'))}", soft_wrap=True)
    console.print(
        f"{plain(str(out))}/ has marks.csv, junit.xml, students/ and records/ as well.",
        soft_wrap=True,
    )


def _scores(by_lab: dict[str, list[Result]], bars: str) -> str:
    """A line a lab: how many, quartiles, and how many of each tenth of the points."""
    rows = []
    for lab, results in sorted(by_lab.items()):
        scores = sorted(100 * (one.score or 0) / max(1, one.max_score) for one in results)
        if len(scores) == 1:
            scores *= 2
        quartiles = statistics.quantiles(scores, n=4, method="inclusive")
        figures = [scores[0], *quartiles, scores[-1]]
        rows.append((lab, len(results), *(f"{one:.0f}" for one in figures), _bars(scores, bars)))
    return table(("LAB", "MARKS", "LOWEST", "25 %", "MEDIAN", "75 %", "HIGHEST", "0 TO 100"), rows)


def _bars(scores: Sequence[float], bars: str) -> str:
    tenths = Counter(min(int(one // 10), 9) for one in scores)
    most = max(tenths.values())
    heights = (-(-tenths[tenth] * (len(bars) - 1) // most) for tenth in range(10))
    return f"[{''.join(bars[height] for height in heights)}]"


def _failing(by_lab: dict[str, list[Result]]) -> list[str]:
    """The checks that fail most, with the diagnoses behind them."""
    failed: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for results in by_lab.values():
        for one in (check for result in results for check in result.checks):
            if one.status == FAILED:
                failed[one.id, one.name][one.diagnosis or ""] += 1
    lines = []
    first = sorted(failed.items(), key=lambda entry: (-entry[1].total(), entry[0]))[:MOST]
    for (check, name), codes in first:
        lab = f"lab{check.partition('.')[0]}"
        lines.append(plain(f"{check:<5}{codes.total():>4} of {len(by_lab[lab])}: {name}"))
        lines += [
            plain(f"{count:>9}  {code}: {diagnoses()[code].title}")
            for code, count in sorted(codes.items(), key=lambda entry: (-entry[1], entry[0]))
            if code in diagnoses()
        ][:3]
    return lines


def _fault(mark: Mark) -> str:
    return f"{mark.student} {mark.lab}, {mark.where}: {mark.problem}"


def _by_student(missing: Iterable[tuple[str, str]]) -> list[str]:
    labs: dict[str, list[str]] = defaultdict(list)
    for student, lab in missing:
        labs[student].append(lab)
    return [f"{student}: {' '.join(of)}" for student, of in labs.items()]


def _equal(names: Sequence[str]) -> str:
    more = [f"{len(names) - MOST_EQUAL} more"] * (len(names) > MOST_EQUAL)
    return " = ".join([*names[:MOST_EQUAL], *more])


def _list(console: Console, title: str, entries: Sequence[str], count: int = 0) -> None:
    """``count``: how many there are, where that isn't the number of lines."""
    if not entries:
        return
    console.print(Text(f"\n{title}: {count or len(entries)}", "bold"))
    for one in entries[:MOST_NAMES]:
        console.print(f"  {plain(one)}", soft_wrap=True)
    if len(entries) > MOST_NAMES:
        console.print(f"  ... and {len(entries) - MOST_NAMES} more")
