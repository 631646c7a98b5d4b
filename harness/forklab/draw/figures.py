"""All pictures of the docs, and writing them: `make figures`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from forklab import paths
from forklab.draw import architecture, descriptors, queue, report, runs, session, signals
from forklab.result import write_atomically

FOLDER = paths.KIT / "docs" / "figures"
FIGURES: dict[str, Callable[[], str]] = {
    "accept-eintr": signals.accept_eintr,
    "accept-queue": queue.accept_queue,
    "architecture": architecture.architecture,
    "child-life": signals.child_life,
    "exit-split": session.exit_split,
    "fork-descriptors": descriptors.fork_descriptors,
    "report": report.report,
    "sigchld-merged": signals.sigchld_merged,
    **{run.name: partial(runs.drawn, run) for run in runs.RUNS},
}


def write(folder: Path | None = None) -> list[str]:
    """Writes every picture that is not there as it should be. Returns a line for each of them.

    Raises OSError.
    """
    folder = folder or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    told = []
    for name, draw in FIGURES.items():
        path, text = folder / f"{name}.svg", draw()
        was = path.read_text(encoding="utf-8") if path.exists() else None
        if was != text:
            write_atomically(path, text)
            told.append(f"{'new' if was is None else 'changed'}: {path.name}")
    return told or [f"All {len(FIGURES)} pictures are as they should be."]
