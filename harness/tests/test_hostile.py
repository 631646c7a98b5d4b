"""Hostile programs (harness/hostile) get a clear verdict, harm nobody, and leave nothing.

They are graded several at a time, with the reference solution beside them again and again, in an
arena (hostile_support.py), once in each tier that this machine can offer. "refused" stands for a
container like Gradescope's, a user namespace in which no other may be made: the grader must fall
back to a weaker tier by itself.

The strongest tier gets all but the slowest, the others the worst of them. FORKLAB_HOSTILE=all runs
every program in every tier. FORKLAB_HOSTILE=uid,fork-bomb,hydra runs these two in that tier.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import pytest

from forklab import tiers
from forklab.result import Result
from tests.hostile_support import (
    HOSTILE,
    OUTSIDE,
    REFUSED,
    Exhibit,
    Fight,
    Grading,
    arena,
    exhibits,
)

EXHIBITS = exhibits()
TIERS = ("bwrap", "uid", "process", REFUSED)
# What the weaker tiers must withstand at least.
WORST = (
    *("hydra", "daemon-holds-pipes", "kill-everybody", "memory-hogs-twenty", "disk-many-files"),
    *("fake-report", "reads-others", "writes-elsewhere"),
)
SLOW = (  # more than ten seconds of CPU time, or half a minute of the clock
    *("dawdles", "squats-ports", "constant-bomb", "assembler-bomb", "warnings-flood"),
    *("fork-bomb", "cpu-spin-forty", "stderr-flood"),
)
ASKED = [one for one in os.environ.get("FORKLAB_HOSTILE", "").split(",") if one]
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
MOST_CHARACTERS = 200_000  # of a record


def _tiers() -> list[str]:
    return [one for one in TIERS if one in ASKED] or list(TIERS)


def _names(tier: str) -> list[str]:
    """What is run in that tier."""
    fallback = "uid" if os.geteuid() == 0 else "process"
    like = fallback if tier == REFUSED else tier
    names = [
        name for name, one in EXHIBITS.items() if like not in one.not_run or one.is_prevented(like)
    ]
    if ASKED:
        return [name for name in names if name in ASKED] or names
    strongest = tiers.available()[0]
    return [name for name in names if name not in SLOW and (tier == strongest or name in WORST)]


@pytest.mark.parametrize("tier", _tiers())
def test_hostile_programs(tier):
    fight = arena(tier, _names(tier))
    if fight.problem.startswith("no "):  # such tier, or arena, here
        pytest.skip(fight.problem)
    assert not fight.problem
    wrong = {name: _wrong_with(fight, one, tier) for name, one in fight.gradings.items()}
    assert {name: lines for name, lines in wrong.items() if lines} == {}
    # No process, listener, mount, IPC object or file is left, and no file has changed.
    assert fight.appeared[:20] == []
    assert len(fight.witnesses) > 0
    assert [one.left for one in fight.witnesses if one.left] == []
    if tier == "bwrap":
        assert fight.guests == 0, f"somebody came to {OUTSIDE}"


def _wrong_with(fight: Fight, grading: Grading, tier: str) -> list[str]:
    """What is not as it should be, a line each."""
    wrong = [f"left {one}" for one in grading.left]
    if grading.stderr:
        wrong.append(f"complains {grading.stderr[-300:]!r}")
    try:
        record = Result.from_json(grading.stdout)
    except ValueError:
        return [*wrong, f"no record, status {grading.status}"]
    if tier not in (record.tier, REFUSED):
        wrong.append(f"tier {record.tier}")
    statuses = {"graded": int(not record.all_passed), "does-not-build": 3, "grader-error": 4}
    if grading.status != statuses[record.verdict]:
        wrong.append(f"status {grading.status} for verdict {record.verdict}")
    if len(grading.stdout) > MOST_CHARACTERS:
        wrong.append(f"a record of {len(grading.stdout)} characters")
    if CONTROLS.search("".join(_texts(record))):
        wrong.append("control characters")
    exhibit = EXHIBITS[grading.name]
    if record.tier in exhibit.weaker and not exhibit.is_prevented(record.tier):
        return wrong
    wrong += _unexpected(record, exhibit)
    wrong += [f"a reference beside it: {one}" for one in _beside(fight, grading) if one != 100]
    return wrong


def _unexpected(record: Result, exhibit: Exhibit) -> list[str]:
    """Where the record is not what hostile.toml says, a line each."""
    wrong = []
    if record.verdict != exhibit.verdict:
        wrong.append(f"verdict {record.verdict}")
    if exhibit.score is not None and record.score != exhibit.score:
        wrong.append(f"score {record.score}, not {exhibit.score}")
    if record.score is None or record.score > exhibit.score_at_most:
        wrong.append(f"score {record.score}, more than {exhibit.score_at_most}")
    failed = {one.id: one.diagnosis or "" for one in record.checks if one.status == "failed"}
    wrong += [
        f"{check}: {failed.get(check)}, not {diagnosis!r}"
        for check, diagnosis in exhibit.fails.items()
        if failed.get(check) != diagnosis
    ]
    limits = [one.limit for one in record.limits]
    if exhibit.limit and not set(limits) & set(exhibit.limit):
        wrong.append(f"limits {limits}, none of {exhibit.limit}")
    text = "\n".join(_texts(record))
    wrong += re.findall("managed: .*", text)
    wrong += [f"shows {line!r}" for line in _secrets() if line in text]
    return wrong


def _texts(record: Result) -> list[str]:
    """All that a record tells people."""
    texts = [one.text for one in record.limits]
    for check in record.checks:
        texts += [check.seen, check.expected, *(one.text for one in check.evidence)]
    return texts


@cache
def _secrets() -> list[str]:
    """Lines that no compiler may quote: of the machine's passwords, and of the solution."""
    shadow = Path("/etc/shadow")
    secret = shadow.read_text().splitlines() if os.access(shadow, os.R_OK) else []
    solution = (HOSTILE.parents[1] / "solutions" / "lab2-fork" / "server.c").read_text()
    return secret + [line for line in solution.splitlines()[38:45] if len(line) > 20]


def _beside(fight: Fight, grading: Grading) -> list[int | str | None]:
    """The scores of the references that were graded at the same time."""
    return [
        _score(one)
        for one in fight.witnesses
        if one.began < grading.ended and one.ended > grading.began
    ]


def _score(grading: Grading) -> int | str | None:
    try:
        return Result.from_json(grading.stdout).score
    except ValueError:
        return f"no record: {grading.stderr[-300:]}"


def test_each_program_is_listed_and_says_what_it_does():
    files = {file.name for file in HOSTILE.glob("*.c")}
    assert files == {one.file for one in EXHIBITS.values()}
    assert len(EXHIBITS) >= 35
    for name, one in EXHIBITS.items():
        text = (HOSTILE / one.file).read_text(errors="replace")
        assert text.startswith(f"/*\n * {name}: "), name
        assert one.why
        assert one.verdict in ("graded", "does-not-build")
        assert one.score is not None or one.score_at_most < 100 or one.verdict == "graded"
        assert {*one.weaker, *one.not_run} <= set(TIERS)
