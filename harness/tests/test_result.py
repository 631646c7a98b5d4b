"""The record: what it adds up to, and that it is written whole or not at all."""

from __future__ import annotations

import json
import os

import pytest

from forklab.result import (
    DOES_NOT_BUILD,
    ERROR,
    FAILED,
    GRADED,
    GRADER_ERROR,
    PASSED,
    SCHEMA,
    SKIPPED,
    CheckResult,
    Evidence,
    Result,
    write_atomically,
)


def record(*checks: CheckResult) -> Result:
    result = Result("lab3", "a path", "0" * 64, "0.1", "process", "2026-01-01T00:00:00Z")
    result.checks.extend(checks)
    result.conclude()
    return result


def found(id: str, status: str, points: int, most: int, **more: object) -> CheckResult:
    return CheckResult(id, f"name of {id}", status, points, most, **more)  # type: ignore[arg-type]


def test_score():
    result = record(
        found("3.1", PASSED, 5, 5),
        found("3.2", FAILED, 0, 15),
        found("3.3", SKIPPED, 0, 10, needs="3.2"),
    )
    assert (result.verdict, result.score, result.max_score) == (GRADED, 5, 30)
    assert not result.all_passed


def test_all_passed():
    result = record(found("3.1", PASSED, 5, 5), found("3.2", PASSED, 15, 15))
    assert (result.verdict, result.score) == (GRADED, 20)
    assert result.all_passed


def test_an_error_is_never_a_zero():
    result = record(found("3.1", PASSED, 5, 5), found("3.2", ERROR, 0, 15))
    assert (result.verdict, result.score, result.max_score) == (GRADER_ERROR, None, 20)
    assert json.loads(result.to_json())["score"] is None


def test_an_error_counts_more_than_a_build_that_fails():
    broken = found("3.1", FAILED, 0, 5, diagnosis=DOES_NOT_BUILD)
    assert record(broken, found("3.2", ERROR, 0, 15)).verdict == GRADER_ERROR


def test_nothing_judged_is_no_zero():
    result = record()
    assert (result.verdict, result.score) == (GRADER_ERROR, None)


def test_does_not_build():
    result = record(
        found("3.1", FAILED, 0, 5, diagnosis=DOES_NOT_BUILD),
        found("3.2", SKIPPED, 0, 15, needs="3.1"),
    )
    assert (result.verdict, result.score) == (DOES_NOT_BUILD, 0)


def test_round_trip():
    result = record(
        found("3.1", PASSED, 5, 5, duration=0.25, did="something", read="a page"),
        found(
            "3.2",
            FAILED,
            0,
            15,
            expected="좀비 0",
            seen='7 "zombies"\n\\x1b',
            evidence=[Evidence("a title", "two\nlines"), Evidence("", "")],
            diagnosis="one-wait-per-signal",
        ),
        found("3.3", SKIPPED, 0, 10, needs="3.2"),
    )
    result.duration = 1.5
    result.untouched = True
    assert Result.from_json(result.to_json()) == result


def test_fields_of_the_schema():
    fields = json.loads(record(found("3.1", PASSED, 5, 5)).to_json())
    assert next(iter(fields)) == "schema"
    assert fields["schema"] == SCHEMA == "forklab/result/1"
    assert {
        *("schema", "kit", "lab", "submission", "sha256", "tier", "started", "duration"),
        *("verdict", "score", "max_score", "checks"),
    } <= set(fields)
    assert {
        *("id", "name", "status", "points", "max_points", "expected", "seen", "evidence"),
        *("diagnosis", "needs", "read", "duration"),
    } <= set(fields["checks"][0])


@pytest.mark.parametrize("text", ["", "{", '{"schema": "forklab/result/2"}', '{"lab": "lab3"}'])
def test_no_record(text):
    with pytest.raises(ValueError, match=r".*"):
        Result.from_json(text)


# Writing


def test_writes_and_replaces(tmp_path):
    file = tmp_path / "record.json"
    write_atomically(file, "one")
    write_atomically(file, "좀비")
    assert file.read_text(encoding="utf-8") == "좀비"
    assert [one.name for one in tmp_path.iterdir()] == ["record.json"]
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("broken", ["fsync", "replace", "chmod"])
def test_the_old_file_stays_when_it_fails(tmp_path, monkeypatch, broken):
    file = tmp_path / "record.json"
    write_atomically(file, "old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["record.json"]


def test_the_old_file_stays_when_it_is_interrupted(tmp_path, monkeypatch):
    file = tmp_path / "record.json"
    write_atomically(file, "old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["record.json"]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        write_atomically(tmp_path / "no" / "record.json", "text")
