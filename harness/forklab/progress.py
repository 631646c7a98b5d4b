"""The student's own progress: best scores and hints asked for, in a file that git ignores."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, NamedTuple

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


class Best(NamedTuple):
    """The best score of a lab, and how much it could have been."""

    score: int
    max_score: int


def best(lab: str) -> Best | None:
    """The best score so far of a lab, or None if it was never graded."""
    progress = _load()
    score = progress.get("best", {}).get(lab)
    return Best(score, _max_score(progress, lab)) if isinstance(score, int) else None


def _max_score(progress: dict[str, Any], lab: str) -> int:
    return int(progress.get("of", {}).get(lab, 100))


def remember(result: Result) -> None:
    """Keeps the score if it is the best one of its lab, or the first out of so many points."""
    if result.score is None:
        return
    progress = _load()
    scores = progress.setdefault("best", {})
    comparable = _max_score(progress, result.lab) == result.max_score
    scores[result.lab] = max(result.score, scores.get(result.lab, 0) if comparable else 0)
    progress.setdefault("of", {})[result.lab] = result.max_score
    _save(progress)


def next_hint(check_id: str, hints: int) -> int:
    """The number of the next hint for a check, from 1; the last one again at the end."""
    progress = _load()
    shown = progress.setdefault("hints", {})
    shown[check_id] = min(shown.get(check_id, 0) + 1, hints)
    _save(progress)
    return int(shown[check_id])
