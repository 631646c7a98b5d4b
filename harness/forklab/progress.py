"""The student's own progress: best scores and hints asked for, in a file that git ignores."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from forklab import paths
from forklab.result import Result, write_atomically


def _load() -> dict[str, Any]:
    with suppress(OSError, ValueError):
        loaded = json.loads(paths.PROGRESS.read_text(encoding="utf-8"))
        if isinstance(loaded, dict):
            return loaded
    return {}


def _save(progress: dict[str, Any]) -> None:
    with suppress(OSError):  # a mark is not worth failing for: it is only remembered
        paths.PROGRESS.parent.mkdir(exist_ok=True)
        write_atomically(paths.PROGRESS, json.dumps(progress, indent=2) + "\n")


def best(lab: str) -> int | None:
    """The best score so far of a lab, or None if it was never graded."""
    score = _load().get("best", {}).get(lab)
    return score if isinstance(score, int) else None


def remember(result: Result) -> None:
    """Keeps the score if it is the best one of its lab."""
    if result.score is None:
        return
    progress = _load()
    scores = progress.setdefault("best", {})
    scores[result.lab] = max(result.score, scores.get(result.lab, 0))
    _save(progress)


def next_hint(check_id: str, hints: int) -> int:
    """The number of the next hint for a check, from 1; the last one again at the end."""
    progress = _load()
    shown = progress.setdefault("hints", {})
    shown[check_id] = min(shown.get(check_id, 0) + 1, hints)
    _save(progress)
    return int(shown[check_id])
