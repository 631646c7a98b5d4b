"""The record as Gradescope's results.json.

Its documentation: https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

from __future__ import annotations

import json
from typing import Any

from forklab.render import words
from forklab.render.terminal import TITLES
from forklab.result import ERROR, PASSED, SKIPPED, CheckResult, Result


def of_result(result: Result) -> str:
    """The file's text.

    A program that does not compile gets its 0 points, with the compiler's words. Where the grader
    could not judge, there is no score in the file at all, neither on top nor of a check: Gradescope
    then reports that the autograder failed, which can be run again, and nobody is given a zero.
    """
    judged = result.score is not None
    fields: dict[str, Any] = {"score": result.score} if judged else {}
    fields |= {
        "execution_time": round(result.duration, 2),
        "output": _summary(result),
        # Text, not HTML or Markdown: what a submission printed is in it.
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": [_test(check, result.lab, judged) for check in result.checks],
        "extra_data": {
            "lab": result.lab,
            "kit": result.kit,
            "tier": result.tier,
            "sha256": result.sha256,
            "verdict": result.verdict,
            "limits": [one.limit for one in result.limits],
        },
    }
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


def _summary(result: Result) -> str:
    lines = [TITLES.get(result.lab, result.lab), words.outcome(result)]
    if result.score is None:
        lines.append("That is no fault of your program's. Your teacher can run the grader again.")
    if result.untouched:
        lines.append("This is the starter, just as it was handed out.")
    lines += [f"Limit reached: {words.limit(one)}" for one in result.limits]
    return "\n".join(lines)


def _test(check: CheckResult, lab: str, judged: bool) -> dict[str, Any]:
    points = {"score": check.points, "max_score": check.max_points} if judged else {}
    # Gradescope knows only passed and failed; an error of the grader's is neither.
    status = {} if check.status == ERROR else {"status": _status(check)}
    return {
        **points,
        **status,
        "name": words.line(check.name),
        "number": check.id,
        "output": words.report(check, lab) or "passed",
        "output_format": "text",
        "visibility": "visible",
        "tags": [one for one in (check.status, check.diagnosis) if one],
        "extra_data": {"status": check.status, "seconds": round(check.duration, 3)},
    }


def _status(check: CheckResult) -> str:
    if check.status == SKIPPED:
        return "failed"  # the first line of its output says what to fix first
    return "passed" if check.status == PASSED else "failed"
