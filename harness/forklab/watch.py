"""Grading again whenever a file is saved, and showing only what changed.

The file's time and size are polled: inotify sees nothing on WSL, NFS and in some containers.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from forklab.build import find_source
from forklab.render.terminal import make_console
from forklab.result import FAILED, PASSED, SKIPPED, CheckResult, Result

POLL_SECONDS = 0.25


def watch(lab: str, path: str) -> int:
    """Watches until it is interrupted. Raises UsageError if there is nothing to watch."""
    source = find_source(path)
    console = make_console()
    console.print(f"Watching {path}. Each time you save, it is graded. Ctrl-C ends.\n")
    before: Result | None = None
    seen: tuple[int, int] | None = None
    while True:
        now = _stamp(source)
        if now is None or now == seen:
            time.sleep(POLL_SECONDS)
            continue
        seen = now
        result = _grade(lab, path)
        if isinstance(result, str):
            console.print(result)
            continue
        console.print(f"{time.strftime('%H:%M:%S')}  {_score(result, before)}")
        for line in changes(before, result):
            console.print(f"  {line}")
        before = result


def _stamp(source: Path) -> tuple[int, int] | None:
    try:
        status = source.stat()
    except OSError:  # an editor may be just replacing it
        return None
    return status.st_mtime_ns, status.st_size


def _grade(lab: str, path: str) -> Result | str:
    command = [sys.executable, "-P", "-m", "forklab", "grade", lab, path, "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return Result.from_json(done.stdout)
    except ValueError:
        return done.stderr.strip() or "It could not be graded."


def _score(result: Result, before: Result | None) -> str:
    if result.score is None:
        return "no score: the grader could not judge"
    text = f"{result.score} of {result.max_score}"
    if before is not None and before.score is not None and before.score != result.score:
        text += f" ({result.score - before.score:+})"
    return text


def changes(before: Result | None, now: Result) -> list[str]:
    """What is different from the grading before, a line each; of a first one, what fails."""
    old = {check.id: check for check in before.checks} if before else {}
    lines = []
    for check in now.checks:
        was = old.get(check.id)
        if was is None:
            if check.status == FAILED:
                lines.append(_line(check))
        elif (was.status, was.seen) != (check.status, check.seen):
            lines.append(_line(check))
    if before and not lines:
        lines.append("nothing changed")
    return lines


def _line(check: CheckResult) -> str:
    if check.status == PASSED:
        return f"{check.id} {check.name}: now passed"
    if check.status == SKIPPED:
        return f"{check.id} {check.name}: first fix {check.needs}"
    return f"{check.id} {check.name}: {check.seen}"
