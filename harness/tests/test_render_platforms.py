"""What Gradescope and Classroom 50 are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from forklab.errors import GraderError
from forklab.render import classroom50, gradescope
from forklab.result import Result
from tests.records import INVISIBLE, check, hostile, mixed, result, unbuilt, unjudged

ENVIRONMENT = {
    "CLASSROOM": "networks",
    "ASSIGNMENT": "lab4",
    "SUBMISSION_TAG": "submit/2026-03-01T09-00-00Z-a1b2c3d",
    "COMMIT_URL": "https://example.org/commit",
    "RELEASE_URL": "https://example.org/release",
    "REVIEW_URL": "https://example.org/review",
}
SUBMISSION = classroom50.of_environment(ENVIRONMENT)

TOP = "score execution_time output output_format visibility stdout_visibility tests extra_data"
TEST = (
    "score max_score status name name_format number output output_format tags visibility extra_data"
)
VISIBILITIES = {"hidden", "after_due_date", "after_published", "visible"}
RECORDS = [mixed(), unbuilt(), unjudged(), hostile(), result(check("4.1"))]


def read(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gradescope.of_result(result))
    return found


@pytest.mark.parametrize("record", RECORDS, ids=range(len(RECORDS)))
def test_gradescope_gets_the_fields_that_it_knows(record: Result) -> None:
    told = read(record)
    assert set(told) <= set(TOP.split())
    assert told["output_format"] == "text"
    assert told["stdout_visibility"] == "hidden"
    assert len(told["tests"]) == len(record.checks)
    for one in told["tests"]:
        assert set(one) <= set(TEST.split())
        assert one["output_format"] == "text"
        assert one["visibility"] in VISIBILITIES
        assert one.get("status", "failed") in ("passed", "failed")
        assert isinstance(one["number"], str)


def test_gradescope_scores() -> None:
    told = read(mixed())
    assert told["score"] == 5
    assert told["execution_time"] == 1.5
    assert "Limit reached: processes: It came to 64 processes." in told["output"]
    passed, failed, skipped = told["tests"]
    assert (passed["score"], passed["max_score"], passed["status"]) == (5, 5, "passed")
    assert (failed["score"], failed["max_score"], failed["status"]) == (0, 10, "failed")
    assert failed["output"].startswith("expected 0 zombies; seen: 7 of 8 children are zombies\n")
    assert "11   Z zombie <- look" in failed["output"]
    assert failed["tags"] == ["failed", "never-reaps"]
    assert skipped["output"].startswith("not judged: first fix 4.2")
    assert skipped["status"] == "failed"


def test_gradescope_shows_what_the_compiler_said() -> None:
    told = read(unbuilt())
    assert told["score"] == 0
    assert "does not compile" in told["output"]
    assert "It does not compile (does-not-build)" in told["tests"][0]["output"]


def test_gradescope_gives_no_zero_where_the_grader_failed() -> None:
    """With no score on top, it would add up those of the tests: there are none either."""
    told = read(unjudged())
    assert "score" not in told
    assert all("score" not in one and "max_score" not in one for one in told["tests"])
    assert "status" not in told["tests"][2]
    assert "no fault of your program's" in told["output"]
    assert "no ports left" in told["tests"][2]["output"]


def test_classroom50_gets_its_fields() -> None:
    told = json.loads(classroom50.of_result(mixed(), SUBMISSION))
    assert told["schema"] == "classroom50/result/v1"
    for field, variable in classroom50.VARIABLES.items():
        assert told[field] == ENVIRONMENT[variable]
    assert told["datetime"] == told["graded_at"] == "2026-03-01T09:00:00Z"
    assert (told["score"], told["max-score"]) == (5, 20)
    assert type(told["score"]) is type(told["max-score"]) is int
    assert [one["passed"] for one in told["tests"]] == [True, False, False]
    assert sum(one["score"] for one in told["tests"]) == told["score"]
    assert sum(one["max-score"] for one in told["tests"]) == told["max-score"]
    assert told["tests"][1]["test-name"] == "4.2 name of 4.2"
    assert told["tests"][1]["message"].startswith("expected 0 zombies")


def test_classroom50_gets_nothing_where_the_grader_failed() -> None:
    with pytest.raises(GraderError, match="could not judge"):
        classroom50.of_result(unjudged(), SUBMISSION)


def test_the_environment_of_classroom50() -> None:
    first = {**ENVIRONMENT, "REVIEW_URL": ""}
    assert classroom50.of_environment(first)["review"] == ENVIRONMENT["COMMIT_URL"]
    with pytest.raises(GraderError, match="ASSIGNMENT"):
        classroom50.of_environment({**ENVIRONMENT, "ASSIGNMENT": ""})


def test_hostile_output() -> None:
    record = hostile()
    texts = [gradescope.of_result(record)]
    record.score = 5
    texts.append(classroom50.of_result(record, SUBMISSION))
    for text in texts:
        text.encode()
        assert len(text) < 300_000
        assert not set(INVISIBLE) & set(text)
        assert "\\u0000" not in text  # which PostgreSQL, behind many a platform, can't store
        assert "\\\\x1b[31m100/100" in text
