"""``make mutants``: the whole gallery graded, as a matrix, and the pages that it proves.

A wrong server is *caught* when exactly the checks that must fail do, each with its diagnosis.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import closing

from rich.console import Console
from rich.text import Text

from forklab import gallery, paths
from forklab.errors import UsageError
from forklab.gallery import Exhibit, Graded
from forklab.graders import here
from forklab.render import pages
from forklab.render.bar import make_bar
from forklab.render.terminal import MARKS, STYLES, make_console
from forklab.result import CheckResult, write_atomically
from forklab.rubric import of_lab


def mutants(
    labs: Sequence[str],
    name: str = "",
    jobs: int | None = None,
    tier: str = "best",
    write: bool = False,
) -> int:
    """Grades the gallery, or those whose name contains ``name``.

    Returns 1 if a verdict is not what it must be, else 0.
    ``tier``: as in worker.Options. On the strongest, where each grading has a network of its own,
    buffers are of one size everywhere, and so the pages come to tell the same of every machine.
    ``write``: writes the pages in docs/ that come of it, if all verdicts are right.
    Raises GraderError if one could not be graded.
    """
    console = make_console()
    exhibits = [one for one in gallery.whole(labs) if name in one.name]
    if not exhibits:
        raise UsageError(f"no server of the gallery has {name!r} in its name")
    gradings = grade_all(exhibits, jobs or os.cpu_count() or 1, console, tier=tier)
    graded = sorted(gradings, key=lambda one: exhibits.index(one[0]))
    wrong = 0
    for lab in labs:
        of_this = [(one, result) for one, result in graded if one.lab == lab]
        if of_this:
            _matrix(console, lab, of_this)
    for one, result in graded:
        differences = one.wrong_about(result)
        wrong += bool(differences)
        if differences:
            console.print(Text(f"\n{one.lab} {one.name}: {one.why}", "bold"))
            console.print("\n".join(f"  {line}" for line in differences), soft_wrap=True)
    _summary(console, graded, wrong)
    if write and not wrong:
        for path, text in pages.of_gallery(graded).items():
            write_atomically(path, text)
            console.print(f"{path.relative_to(paths.KIT)} is up to date.")
    return int(wrong > 0)


def grade_all(
    exhibits: Sequence[Exhibit],
    jobs: int,
    console: Console,
    what: str = "grading",
    tier: str = "",
) -> Generator[Graded, None, None]:
    """Grades them, ``jobs`` at a time, with a progress bar on a terminal; as they are done.

    ``tier``: as in worker.Options, by default that of everybody's own program.
    Raises GraderError where a grading left no record. To be closed, if not taken to its end.
    """
    with (
        here(jobs) as graders,
        closing(gallery.grade(exhibits, graders, tier)) as gradings,
        make_bar(console) as bar,
    ):
        task = bar.add_task(what, total=len(exhibits))
        for graded in gradings:
            bar.advance(task)
            yield graded


def _matrix(console: Console, lab: str, graded: Sequence[Graded]) -> None:
    """A line a server, a column a check; what differs from what must be stands in brackets."""
    checks = of_lab(lab)
    width = max(len(one.name) for one, _ in graded)
    if console.is_terminal:  # three places a check; what is left is for the name
        width = min(width, console.width - 3 * len(checks) - 1)
    numbers = "".join(f"{check.id.partition('.')[2]:^3}" for check in checks)
    console.print(Text(f"\n{lab:<{width}} {numbers}", "bold"), soft_wrap=True)
    for one, result in graded:
        name = one.name if len(one.name) <= width else one.name[: width - 2] + ".."
        line = Text(f"{name:<{width}} ")
        found = {check.id: check for check in result.checks}
        for check in checks:
            line.append(*_cell(one, found.get(check.id)))
        console.print(line, soft_wrap=True)


def _cell(one: Exhibit, found: CheckResult | None) -> tuple[str, str]:
    if found is None:
        return "[?]", STYLES["error"]
    mark = "·" if found.status == "passed" else MARKS[found.status]
    return (f" {mark} " if one.agrees(found) else f"[{mark}]"), STYLES[found.status]


def _summary(console: Console, graded: Sequence[Graded], wrong: int) -> None:
    slowest = sorted(graded, key=lambda one: one[1].duration, reverse=True)[:5]
    shown = ", ".join(f"{one.lab} {one.name} {result.duration:.1f} s" for one, result in slowest)
    console.print(f"\nThe slowest: {shown}")
    right = sum(one.is_right for one, _ in graded)
    console.print(
        f"{len(graded) - right} wrong servers and {right} right ones: "
        + ("every verdict is what it must be." if not wrong else f"{wrong} verdicts are not right.")
    )
