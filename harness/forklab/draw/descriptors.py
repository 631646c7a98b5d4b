"""fork-descriptors: two descriptor tables, and what they share, in lab 2."""

from __future__ import annotations

from forklab.draw.svg import PAPER_EDGE, ROW, Drawing, Row

TITLE = "What fork copies, and what it shares"
DESCRIPTION = (
    "Three moments of the lab 2 server, each with the descriptor tables of its processes and the "
    "two sockets in the kernel. 1, before fork: the parent has descriptor 3, the listener, and 4, "
    "the connection to the client. 2, after fork: parent and child each have a 3 and a 4, and both "
    "tables point to the same two sockets: each socket is open twice. 3, after each has closed "
    "what it doesn't need: the parent has only 3, the listener, and the child only 4, the "
    "connection. When the child ends, nobody has the connection open any more, and the client "
    "sees its end."
)
SIDE = 136  # width of a table
CHILD_X = 480 - PAPER_EDGE - SIDE
KERNEL_X, KERNEL_WIDTH = 186, 108
OPEN = [Row("3", "listener"), Row("4", "conn")]


def fork_descriptors() -> str:
    """The picture: before fork, after it, after both closes."""
    drawing = Drawing("fork-descriptors", TITLE, DESCRIPTION)
    y = _moment(drawing, 34, "1  after `accept()`, before `fork()`", OPEN, [], ("once", "once"))
    y = _moment(drawing, y, "2  after `fork()`", OPEN, OPEN, ("twice", "twice"))
    parent = [Row("3", "listener"), Row("4", "conn", closed=True)]
    child = [Row("3", "listener", closed=True), Row("4", "conn")]
    top = y + 18
    y = _moment(drawing, y, "3  after each has closed one", parent, child, ("once", "once"))
    drawing.text(PAPER_EDGE + 12, top + ROW * 3 + 20, "`close(conn)`", "small")
    drawing.text(CHILD_X + 12, top + ROW * 3 + 20, "`close(listener)`", "small")
    y = drawing.note(
        PAPER_EDGE,
        y - 12,
        "The table of file descriptors (파일 디스크립터) is copied; what it points to is shared. "
        "The client sees the end of its connection only when nobody has it open any more: here, "
        "when the child ends.",
        448,
    )
    y = drawing.note(
        PAPER_EDGE,
        y + 4,
        "0, 1 and 2, the terminal, are copied too; not shown here.",
        448,
        "small soft",
    )
    return drawing.svg(y)


def _moment(
    drawing: Drawing,
    y: float,
    words: str,
    parent: list[Row],
    child: list[Row],
    open_times: tuple[str, str],
) -> float:
    drawing.text(PAPER_EDGE, y, words, "head")
    top = y + 18
    left = drawing.table(PAPER_EDGE, top, SIDE, "parent", parent)
    right = drawing.table(CHILD_X, top, SIDE, "child", child) if child else {}
    if not child:
        drawing.box(CHILD_X, top, SIDE, ROW * 3, "frame dashed")
        drawing.text(CHILD_X + SIDE / 2, top + ROW * 1.5 + 5, "no child yet", "soft", "middle")
    for number, (name, times) in enumerate(
        zip(("listener", "connection"), open_times, strict=True)
    ):
        middle = top + 26 + number * 64
        drawing.box(KERNEL_X, middle - 24, KERNEL_WIDTH, 48, "box", 24)
        drawing.text(240, middle - 2, name, "small bold", "middle")
        drawing.text(240, middle + 14, f"open {times}", "tiny soft", "middle")
        for rows, middles, start, end in (
            (parent, left, PAPER_EDGE + SIDE, KERNEL_X),
            (child, right, CHILD_X, KERNEL_X + KERNEL_WIDTH),
        ):
            for place, row in enumerate(rows):
                if place == number and not row.closed:
                    drawing.arrow((start, middles[row.number]), (end, middle))
    drawing.text(240, top + 26 + 64 + 44, "sockets in the kernel", "tiny soft", "middle")
    return top + 186
