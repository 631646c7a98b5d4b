"""exit-split: `exit` comes in three segments, and the session's buffer after each read."""

from __future__ import annotations

from forklab.draw.svg import PAPER_EDGE, Drawing

CELL = 44
LETTERS = ("e", "x", "i", "t", "\\r", "\\n")
# What came, and what read was asked and said: strace of solutions/lab3-sigign.
READS = (
    ("ex", 0, 2, "`read(4, buffer, 4096)` = 2"),
    ("it\\r", 2, 5, "`read(4, buffer + 2, 4094)` = 3"),
    ("\\n", 5, 6, "`read(4, buffer + 5, 4091)` = 1"),
)
THINKS = (
    "no newline in 2 bytes: read on",
    "no newline in the 3 new ones: read on",
    "a newline: the line is whole, 6 bytes",
)


def exit_split() -> str:
    """The picture: three reads, one line."""
    drawing = Drawing(
        "exit-split",
        "One line in three pieces: exit",
        "The client types exit; the line arrives in three segments. After the first read, which "
        "returns 2, the buffer holds e x: no newline, so read_line reads on. The second read "
        "returns 3 and puts i t carriage-return behind them: no newline yet. The third returns 1, "
        "the newline: now the line is whole, exit carriage-return newline, 6 bytes. is_exit "
        "compares it as a whole, and the session ends without an echo.",
    )
    y = 34.0
    for number, ((sent, start, end, call), thinks) in enumerate(zip(READS, THINKS, strict=True), 1):
        drawing.text(PAPER_EDGE, y, f"{number}  `{sent}` arrives", "head")
        drawing.text(PAPER_EDGE, y + 28, call, "small")
        for place, letter in enumerate(LETTERS):
            x = PAPER_EDGE + 2 + place * (CELL + 4)
            if place >= end:
                drawing.box(x, y + 42, CELL, CELL, "frame dashed")
                continue
            drawing.box(x, y + 42, CELL, CELL, "new" if place >= start else "box")
            drawing.text(x + CELL / 2, y + 42 + 28, letter, "code", "middle")
        drawing.text(PAPER_EDGE + 306, y + 69, f"`end` = {end}", "small")
        drawing.text(PAPER_EDGE, y + 112, thinks, "small bold" if end == 6 else "small")
        y += 152
    drawing.box(PAPER_EDGE, y - 24, 448, 56, "box")
    drawing.text(
        PAPER_EDGE + 14, y - 1, "`is_exit(line, 6)`: equal to `exit\\r\\n`, all of it", "small"
    )
    drawing.text(PAPER_EDGE + 14, y + 19, "The session ends. Nothing is echoed.", "small bold")
    y = drawing.note(
        PAPER_EDGE,
        y + 58,
        "Thick frames: what this read brought. A read is not a line: look at all of the buffer, "
        "not at what one read gave.",
        448,
        "small soft",
    )
    return drawing.svg(y)
