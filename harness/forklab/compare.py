"""Whose marks changed from one batch to another, and why: ``forklab batch --diff OLD NEW``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forklab.errors import UsageError
from forklab.result import FAILED, SKIPPED, CheckResult, Result
from forklab.store import CLASS, read_record

Who = tuple[str, str]  # student, or what was graded where nobody knows whose it is; and lab


@dataclass(frozen=True)
class Marks:
    """The records of one folder."""

    marks: dict[Who, Result | None]  # None: the grader could not judge
    labs: frozenset[str]


def diff(old: Path, new: Path) -> list[str]:
    """A line for each mark that is not the same in both folders, sorted by student and lab.

    Each is what a batch wrote (OUT), or a folder of records (OUT/records-before-1). Where one of
    them has no record of a lab at all, that lab is not compared. Raises UsageError if a folder
    holds no records.
    """
    before, after = load(old), load(new)
    lines = []
    for who in sorted({*before.marks, *after.marks}):
        if who[1] not in before.labs & after.labs:
            continue
        if change := _change(who, before.marks, after.marks):
            lines.append(f"{who[0]} {who[1]}: {change}")
    return lines


def _change(who: Who, before: dict[Who, Result | None], after: dict[Who, Result | None]) -> str:
    """What changed for one mark, "" if nothing did."""
    if who not in before:
        return f"new, {_score(after[who])}"
    if who not in after:
        return f"{_score(before[who])} -> gone"
    old, new = before[who], after[who]
    if old is None or new is None:
        return "" if old is new else f"{_score(old)} -> {_score(new)}"
    checks = list(_changed_checks(old, new))
    if _score(old) == _score(new) and not checks:
        return ""
    other = ["another program"] if old.sha256 != new.sha256 else []
    return f"{_score(old)} -> {_score(new)}: {', '.join(other + checks)}"


def _score(result: Result | None) -> str:
    if result is None or result.score is None:
        return "no mark"
    return f"{result.score} of {result.max_score}"


def _changed_checks(old: Result, new: Result) -> Iterator[str]:
    """Those that have another status, or give other points."""
    before = {one.id: one for one in old.checks}
    after = {one.id: one for one in new.checks}
    for id in dict.fromkeys([*before, *after]):
        was, now = before.get(id), after.get(id)
        if was is None or now is None or _weight(was) != _weight(now):
            yield f"{id} {_verdict(was)} -> {_verdict(now)}"


def _weight(check: CheckResult) -> tuple[str, int, int]:
    return check.status, check.points, check.max_points


def _verdict(check: CheckResult | None) -> str:
    """ "passed (15)", "failed (0 of 15, never-reaps)"."""
    if check is None:
        return "not there"
    points = str(check.points) if check.points else f"0 of {check.max_points}"
    if check.status == FAILED and check.diagnosis:
        points += f", {check.diagnosis}"
    elif check.status == SKIPPED and check.needs:
        points += f", first fix {check.needs}"
    return f"{check.status} ({points})"


# Reading what a batch wrote


def load(folder: Path) -> Marks:
    """The marks in a folder, by student and lab. Raises UsageError if it holds no records."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    listed = _listed(folder)
    if listed is not None:
        marks = {_who(entry): _of_entry(folder, entry) for entry in listed}
        return Marks(marks, frozenset(lab for _, lab in marks))
    records = _records(folder / "records" if (folder / "records").is_dir() else folder)
    if not records:
        raise UsageError(f"there are no records in {folder}")
    labs = frozenset(lab for lab, _ in records)
    listed = _listed(folder.parent)
    if listed is None:
        return Marks({(one.submission, one.lab): one for one in records.values()}, labs)
    by_key = ((_who(entry), records.get((entry["lab"], entry["key"]))) for entry in listed)
    return Marks({who: result for who, result in by_key if result is not None}, labs)


def _listed(out: Path) -> list[dict[str, Any]] | None:
    """What class.json says of each mark; None if there is none."""
    try:
        listed = json.loads((out / "class.json").read_text(encoding="utf-8"))
        if listed["schema"] != CLASS:
            return None
        return list(listed["marks"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _who(entry: dict[str, Any]) -> Who:
    return entry["student"], entry["lab"]


def _of_entry(out: Path, entry: dict[str, Any]) -> Result | None:
    try:
        return read_record(out / entry["record"]) if entry["record"] else None
    except OSError as problem:
        raise UsageError(f"cannot read {out / entry['record']}: {problem.strerror}") from problem
    except ValueError as problem:
        raise UsageError(str(problem)) from problem


def _records(folder: Path) -> dict[tuple[str, str], Result]:
    """The records below a folder by lab and hash; where several kits graded one, the newest."""
    found: dict[tuple[str, str], Result] = {}
    for file in sorted(folder.glob("lab*/*.json")):
        try:
            result = read_record(file)
        except (OSError, ValueError):
            continue
        key = (result.lab, file.stem.rpartition("-")[2])
        if key not in found or found[key].started < result.started:
            found[key] = result
    return found
