"""Running the checks: how pytest is started for a grading, and what comes of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from forklab import paths
from forklab.errors import GraderError
from forklab.plugin import Grading
from forklab.result import Result

# Parts of pytest that a grading does without: each costs time at every start.
NO_USE_FOR = (
    *("terminal", "cacheprovider", "faulthandler", "unraisableexception", "threadexception"),
    *("doctest", "junitxml", "logging", "debugging", "pastebin", "legacypath"),
)


def run(files: Iterable[Path], plugins: Sequence[object]) -> None:
    """Runs the checks of these files, with nothing printed.

    Raises KeyboardInterrupt, and GraderError where pytest itself came to grief.
    """
    # What else is installed, or set for other tests, is no matter of ours.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.pop("PYTEST_ADDOPTS", None)
    arguments = [
        *(word for name in NO_USE_FOR for word in ("-p", f"no:{name}")),
        "--assert=plain",  # a check expects; it doesn't assert
        "--capture=no",
        *("--rootdir", str(paths.HARNESS), "-c", str(paths.HARNESS / "pyproject.toml")),
        *map(str, files),
    ]
    interrupts = _Interrupts()
    ended = pytest.main(arguments, plugins=[*plugins, interrupts])
    if interrupts.why:
        raise GraderError(f"the checks can't be run: {interrupts.why}")
    if ended == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if ended not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise GraderError(f"pytest ended with status {int(ended)}: the harness is broken")


class _Interrupts:
    """A pytest plugin that knows why a run came to no end, if not by Ctrl-C."""

    why = ""

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.why:
            self.why = report.longreprtext.strip().rpartition("\n")[2] or report.nodeid


def record(grading: Grading, shown_as: str) -> Result:
    """The record of a grading whose checks have run; ``shown_as``: its field "submission"."""
    submission = grading.submission
    assert submission is not None
    result = grading.result(submission.lab, shown_as, submission.sha256)
    result.untouched = submission.is_untouched
    return result
