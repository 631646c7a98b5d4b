"""The record as terminal text: a line a check, the first failure in full, the score.

Fits any width from 60 columns on. No meaning by colour alone: every mark is a character.
"""

from __future__ import annotations

import io
import os
import sys
from typing import IO

from rich.console import Console
from rich.text import Text

from forklab import paths
from forklab.evidence import plain
from forklab.result import (
    DOES_NOT_BUILD,
    ERROR,
    FAILED,
    GRADER_ERROR,
    PASSED,
    SKIPPED,
    CheckResult,
    Result,
)
from forklab.rubric import diagnoses
from forklab.trace.traffic import OF_CHECK

MARKS = {PASSED: "✓", FAILED: "✗", SKIPPED: "-", ERROR: "!"}
ASCII_MARKS = {PASSED: "+", FAILED: "x", SKIPPED: "-", ERROR: "!"}
STYLES = {PASSED: "green", FAILED: "bold red", SKIPPED: "dim", ERROR: "bold magenta"}
TITLES = {
    "lab1": "Lab 1: one client at a time",
    "lab2": "Lab 2: a child for every client",
    "lab3": "Lab 3: SIGCHLD ignored",
    "lab4": "Lab 4: sigaction and waitpid",
}


class ReportConsole(Console):
    """A console that falls silent when its reader has left, as in ``... | head``."""

    def on_broken_pipe(self) -> None:
        """The grading goes on, and its record is still written."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_console(file: IO[str] | None = None) -> Console:
    """A console with colour if NO_COLOR is not set, and CLICOLOR_FORCE is or it is a terminal."""
    file = file or sys.stdout
    if isinstance(file, io.TextIOWrapper):  # where only ASCII can be written, names may need more
        file.reconfigure(errors="backslashreplace")
    if os.environ.get("NO_COLOR"):
        colour = False
    elif os.environ.get("CLICOLOR_FORCE", "0") != "0":
        colour = True
    else:
        colour = file.isatty() and os.environ.get("TERM") != "dumb"
    return ReportConsole(
        file=file,
        force_terminal=colour,
        color_system="standard" if colour else None,
        width=None if file.isatty() or "COLUMNS" in os.environ else 80,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
    )


class Report:
    """Prints one grading as it goes on."""

    def __init__(
        self, console: Console, lab: str, submission: str, untouched: bool, hint_words: str = ""
    ) -> None:
        """``hint_words``: what `make hint` needs after its CHECK=."""
        self._console = console
        self._hint_words = hint_words
        self._lab = lab
        self._submission = submission
        encoding = (getattr(console.file, "encoding", None) or "ascii").lower()
        self._marks = MARKS if "utf" in encoding else ASCII_MARKS
        self._print(Text(TITLES[lab], "bold"))
        self._print(Text(plain(submission), "dim"))
        if untouched:
            handout = paths.handout_of(lab).relative_to(paths.KIT)
            self._print()
            self._print(
                Text(
                    "Welcome! This is the starter, just as it came: nothing is expected of it yet. "
                    f"{handout} tells the story and the steps: begin with the first of them. The "
                    "first check below that fails says what is missing."
                )
            )
        self._print()

    def _print(self, text: Text | str = "", indent: int = 0) -> None:
        text = Text(text) if isinstance(text, str) else text
        for line in text.wrap(self._console, self._console.width - indent) or [Text()]:
            line.rstrip()
            self._console.print(Text(" " * indent) + line)

    def check(self, found: CheckResult) -> None:
        """The line of one check, as it finishes."""
        points = f"{found.points}/{found.max_points}"
        took = f"{found.duration:.2f} s"
        if found.status == SKIPPED:
            took = f"first fix {found.needs}"
        elif found.status == ERROR:
            points, took = "?", "grader's fault"
        width = self._console.width
        figures = f"{points:>5}  {took:>7}"
        if found.status == SKIPPED:
            figures = took
        room = width - len("  m 4.15  ") - len(figures)
        name = found.name if len(found.name) <= room else found.name[: room - 3] + "..."
        line = Text("  ")
        line.append(self._marks[found.status], STYLES[found.status])
        line.append(f" {found.id:<4} ", "bold")
        line.append(f"{name:<{room}} ")
        line.append(figures, "dim" if found.status == SKIPPED else STYLES[found.status])
        self._print(line)

    def finish(self, result: Result, best: int | None) -> None:
        """The first failure in full, the others in a line each, the score, where to go next."""
        errors = [one for one in result.checks if one.status == ERROR]
        failed = [one for one in result.checks if one.status == FAILED]
        for one in result.checks:
            if one.status == PASSED and one.evidence:
                self._shown(one)
        if errors:
            self._error(errors[0])
        elif failed:
            # Between two steps, what nothing calls yet is not what matters most.
            failed.sort(key=lambda one: one.diagnosis == "not-used-yet")
            self._failure(failed[0])
            if failed[1:]:
                self._print()
                self._print(Text("Also", "bold"))
                for one in failed[1:]:
                    self._print(f"{one.id} {one.name}: {one.seen}", indent=2)
        if result.limits:
            self._print()
            self._print(Text("Limits that it came to", "bold"))
            for limit in result.limits:
                self._print(f"{limit.limit}: {limit.text}", indent=2)
        self._print()
        self._score(result, best)

    def _shown(self, found: CheckResult) -> None:
        self._print()
        self._print(Text(f"What {found.id} saw", "bold"))
        for shown in found.evidence:
            self._print(Text(shown.text), indent=4)
        if found.id == "2.11":
            self._print("Zombies: ended, and nobody asked how. Lab 3 cures this.", indent=2)

    def _failure(self, found: CheckResult) -> None:
        self._print()
        self._print(Text(f"{self._marks[FAILED]} {found.id} {found.name}", "bold"))
        self._print()
        self._labelled("expected", found.expected)
        self._labelled("seen", found.seen)
        for shown in found.evidence:
            self._print()
            self._print(Text(shown.title, "bold"), indent=2)
            self._evidence(shown.text)
        self._print()
        number = self._lab.removeprefix("lab")
        self._print(Text("what the check did", "bold"), indent=2)
        self._print(found.did, indent=4)
        if found.diagnosis:
            one = diagnoses()[found.diagnosis]
            self._print()
            self._print(Text(one.title, "bold").append(f"  ({one.code})", "dim"), indent=2)
            self._print(one.explanation, indent=4)
            self._print()
            self._print(Text("to see it yourself", "bold"), indent=2)
            self._print(one.think.replace("labN", self._lab).replace("LAB=N", f"LAB={number}"), 4)
        self._print()
        self._print(Text("next", "bold"), indent=2)
        self._print(f"make hint CHECK={found.id}{self._hint_words}", indent=4)
        for line in dict.fromkeys(_reading(found)):
            self._print(line, indent=4)
        own = self._submission == str(paths.work_of(self._lab).relative_to(paths.KIT))
        which = "" if own else f" SUBMISSION={plain(self._submission)}"
        self._print(f"make run LAB={number} PORT=9190{which}", indent=4)
        self._print("make client PORT=9190          (in another terminal)", indent=4)
        if OF_CHECK.get(found.id):
            self._print(f"make trace LAB={number} CHECK={found.id}{which}", indent=4)

    def _evidence(self, text: str) -> None:
        """Lines as they are: code and carets stay in place, so what is too long is cut."""
        room = self._console.width - 4
        for line in text.splitlines():
            cut = line if len(line) <= room else line[: room - 3] + "..."
            self._console.print(Text("    " + cut.rstrip()))

    def _labelled(self, label: str, text: str) -> None:
        line = Text(f"{label:<10}", "bold")
        for part in Text(text).wrap(self._console, self._console.width - 12):
            part.rstrip()
            self._console.print(Text("  ") + line + part)
            line = Text(" " * 10)

    def _error(self, found: CheckResult) -> None:
        self._print()
        self._print(Text(f"! {found.id} could not be judged", "bold magenta"))
        self._print(found.seen, indent=2)
        self._print("That is no fault of your program's, and so there is no mark.", indent=2)

    def _score(self, result: Result, best: int | None) -> None:
        if result.verdict == GRADER_ERROR:
            self._print(Text("No score: the grader itself could not judge.", "bold"))
            return
        if result.verdict == DOES_NOT_BUILD:
            self._print(Text(f"Score: 0 of {result.max_score} (it does not compile)", "bold"))
            return
        score = f"Score: {result.score} of {result.max_score}"
        if best is not None and best > (result.score or 0):
            score += f" (your best so far: {best})"
        self._print(Text(score, "bold"))
        if result.all_passed:
            number = int(result.lab.removeprefix("lab"))
            after = f"lab{number + 1}"
            if after in paths.LAB_FOLDERS:
                self._print(f"All of it. Next: make {after} ({TITLES[after].partition(': ')[2]})")
            else:
                self._print("All of it. You have a server that many textbooks would be proud of.")


def _reading(found: CheckResult) -> list[str]:
    """What to type to read about a failure: the handout, and the page that the bug is about."""
    handout = f"less {found.read}"
    if not found.diagnosis:
        return [handout]
    name, section, heading = diagnoses()[found.diagnosis].place()
    if section:
        return [handout, f"man {section} {name}" + (f" ({heading})" if heading else "")]
    if not (paths.KIT / name).exists():  # a copy with some of the labs only
        return [handout]
    words = heading.replace("-", " ")
    return [f"less {name}" + (f" ({words})" if words else "")]
