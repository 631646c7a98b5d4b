"""report: what the terminal says of a lab 4 server whose handler waits once a signal.

The record beside this file is of a real grading of such a server (``one-waitpid-per-signal`` of
the gallery); the terminal's own renderer makes the text from it.
"""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

from rich.text import Text

from forklab.draw.svg import MONO_WIDTH, PAPER_EDGE, SIZES, Drawing
from forklab.render.terminal import Report, ReportConsole
from forklab.result import Result

RECORD = Path(__file__).with_name("one-wait-per-signal.json")
COLUMNS = 72
LINE = 18
# What the picture leaves out: from a line with the first text to before one with the second.
LEFT_OUT = (
    ("4.1 ", "4.6 "),
    ("4.9 ", "✗ 4.7 "),
    ("23643  ", "what the check did"),
    ("to see it yourself", "Score"),
)
COLOURS = {"color(1)": "warn", "color(2)": "good"}


def report() -> str:
    """The picture."""
    drawing = Drawing(
        "report",
        "What make lab4 says of a handler that waits once a signal",
        "A terminal. " + " ".join(" ".join(one.plain.split()) for one in shown() if one.plain),
        width=2 * PAPER_EDGE + round(COLUMNS * MONO_WIDTH * SIZES["term"]),
    )
    lines = [Text("$ make lab4", "bold"), *shown()]
    height = len(lines) * LINE + 30
    drawing.box(1, 1, drawing.width - 2, height - 2, "frame", 10)
    for number, line in enumerate(lines):
        _line(drawing, 30 + number * LINE, line)
    return drawing.svg(height)


def _line(drawing: Drawing, y: float, line: Text) -> None:
    for start, words, kind in runs(line):
        drawing.text(PAPER_EDGE + start * MONO_WIDTH * SIZES["term"], y, words, kind)


def runs(line: Text) -> list[tuple[int, str, str]]:
    """The words of a line that look alike: the column of the first, the words, their kind."""
    found: list[tuple[int, str, str]] = []
    edges = sorted(
        {0, len(line), *(edge for span in line.spans for edge in (span.start, span.end))}
    )
    for start, end in pairwise(edges):
        words = line.plain[start:end]
        blanks = len(words) - len(words.lstrip())
        if words.strip():
            found.append((start + blanks, words.strip(), _kind_at(line, start)))
    return found


def _kind_at(line: Text, place: int) -> str:
    kinds = ["term"]
    styles = [str(line.style)]
    styles += [str(span.style) for span in line.spans if span.start <= place < span.end]
    for style in " ".join(styles).split():
        kinds += {"bold": ["bold"], "dim": ["soft"]}.get(style, [COLOURS.get(style, "")])
    return " ".join(one for one in dict.fromkeys(kinds) if one)


def shown() -> list[Text]:
    """The lines of the report that the picture shows.

    Raises ValueError where what it leaves out is not to be found.
    """
    lines = rendered()
    for first, last in LEFT_OUT:
        start = _find(lines, first, 0)
        end = _find(lines, last, start)
        while not lines[end - 1].plain.strip():
            end -= 1
        indent = len(lines[start].plain) - len(lines[start].plain.lstrip())
        lines[start:end] = [Text(" " * indent + "...", "dim")]
    return lines


def _find(lines: list[Text], words: str, after: int) -> int:
    for number, line in enumerate(lines[after:], after):
        if words in line.plain:
            return number
    raise ValueError(f"the report has no line with {words!r}")


def rendered() -> list[Text]:
    """All lines of the report, in the terminal's colours."""
    result = Result.from_json(RECORD.read_text(encoding="utf-8"))
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    console = ReportConsole(
        file=file,
        force_terminal=True,
        color_system="standard",
        no_color=False,
        width=COLUMNS,
        height=100,
        highlight=False,
        markup=False,
        emoji=False,
    )
    told = Report(console, result.lab, result.submission, untouched=False)
    for check in result.checks:
        told.check(check)
    told.finish(result, None)
    file.seek(0)
    return [Text.from_ansi(line) for line in file.read().splitlines()]
