"""The record as Classroom 50's result.json (foundation50/classroom50: Advanced Autograding)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from forklab.errors import GraderError
from forklab.render import words
from forklab.result import PASSED, CheckResult, Result

SCHEMA = "classroom50/result/v1"

# What the runner tells an autograder of the submission: field of result.json, variable.
VARIABLES = {
    "classroom": "CLASSROOM",
    "assignment": "ASSIGNMENT",
    "submission": "SUBMISSION_TAG",
    "commit": "COMMIT_URL",
    "release": "RELEASE_URL",
    "review": "REVIEW_URL",
}


def of_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What :func:`of_result` takes as ``submission``, from the runner's environment.

    Raises GraderError where a variable is missing: then the runner isn't Classroom 50's.
    """
    found = {field: environment.get(name, "") for field, name in VARIABLES.items()}
    found["review"] = found["review"] or found["commit"]  # a first submission has no review
    missing = [VARIABLES[field] for field, value in found.items() if not value]
    if missing:
        raise GraderError(f"Classroom 50's runner sets {', '.join(missing)}, and nobody did")
    return found


def of_result(result: Result, submission: Mapping[str, str]) -> str:
    """The file's text; ``submission`` has the fields of ``VARIABLES``.

    The runner adds who owns the submission. Raises GraderError for a record without a score: there
    is no result.json then, and an autograder that ends with a status other than 0 is what the
    runner reports as an error, with 0 of 0 points.
    """
    if result.score is None:
        raise GraderError("the grader could not judge, so there is no result.json")
    fields = {
        "schema": SCHEMA,
        **{name: submission[name] for name in VARIABLES},
        # The time of the submission is the runner's to say: it writes its own over this one.
        "datetime": submission.get("datetime") or _utc(result.started),
        "graded_at": _utc(result.started),
        "score": result.score,
        "max-score": result.max_score,
        "tests": [_test(check) for check in result.checks],
    }
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


def _utc(started: str) -> str:
    """ISO 8601 in UTC as Classroom 50 writes it: seconds, and a Z."""
    return started[:19] + "Z"


def _test(check: CheckResult) -> dict[str, str | bool | int]:
    return {
        "test-name": words.line(f"{check.id} {check.name}"),
        "passed": check.status == PASSED,
        "score": check.points,
        "max-score": check.max_points,
        # Fields beyond the schema's are kept as they are.
        "status": check.status,
        "message": words.sentence(check),
    }
