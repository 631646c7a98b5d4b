"""accept-queue: the second client of lab 1 waits in the kernel, and its data with it."""

from __future__ import annotations

from forklab.draw.svg import PAPER_EDGE, Drawing

TITLE = "Lab 1: the second client waits in the accept queue"
DESCRIPTION = (
    "Two moments of the lab 1 server. 1: the server, one process, is asleep in read on descriptor "
    "4, the connection to client A, whose receive buffer is empty. Client B is connected as well, "
    "but its connection stands in the accept queue of the listener, descriptor 3. The six bytes "
    "hello newline that B sent are in that connection's receive buffer already, and nobody reads "
    "them. ss shows Recv-Q 1 at the listener and Recv-Q 6 at B's connection. 2: A has left. accept "
    "took B's connection out of the queue, again as descriptor 4, and read returns its six bytes "
    "at once."
)
LEFT, RIGHT = 16, 244  # columns: what is being served, who waits
LEFT_MIDDLE, RIGHT_MIDDLE = LEFT + 106, RIGHT + 106


def accept_queue() -> str:
    """The picture: while A is served, and after it has left."""
    drawing = Drawing("accept-queue", TITLE, DESCRIPTION)

    y = 34.0
    drawing.text(PAPER_EDGE, y, "1  A is being served", "head")
    _client(drawing, LEFT, y + 18, 212, "client A", "says nothing")
    _client(drawing, RIGHT, y + 18, 220, "client B", "sent `hello`, hears nothing")
    kernel = _kernel(drawing, y + 102)
    _connection(drawing, LEFT + 16, kernel + 30, 180, "connection to A", "nothing to read")
    _queue(drawing, kernel + 30)
    _connection(
        drawing, RIGHT + 16, kernel + 42, 180, "connection to B", "6 bytes: `hello\\n`", "new"
    )
    drawing.arrow((LEFT_MIDDLE, y + 66), (LEFT_MIDDLE, kernel + 30), kind="soft")
    drawing.arrow((RIGHT_MIDDLE, y + 66), (RIGHT_MIDDLE, kernel + 41), kind="soft")
    y = _server(drawing, kernel, "asleep in `read(4, ...)` until A speaks or leaves")
    y = drawing.note(
        PAPER_EDGE,
        y,
        "`ss -tan` shows it: Recv-Q 1 at the listener, a connection that nobody has accepted; "
        "Recv-Q 6 at B's connection, bytes that nobody has read.",
        448,
    )

    y += 30
    drawing.text(PAPER_EDGE, y, "2  A has left", "head")
    drawing.box(LEFT, y + 18, 212, 48, "frame dashed")
    drawing.text(LEFT_MIDDLE, y + 47, "A is gone", "soft", "middle")
    _client(drawing, RIGHT, y + 18, 220, "client B", "gets its echo")
    kernel = _kernel(drawing, y + 102)
    _connection(
        drawing, LEFT + 16, kernel + 30, 180, "connection to B", "6 bytes: `hello\\n`", "new"
    )
    _queue(drawing, kernel + 30)
    drawing.text(RIGHT_MIDDLE, kernel + 72, "nobody waits", "small soft", "middle")
    drawing.arrow((RIGHT_MIDDLE, y + 66), (LEFT_MIDDLE + 40, kernel + 30), kind="soft")
    y = _server(drawing, kernel, "`accept(3)` gives 4, `read(4)` gives 6, at once")
    return drawing.svg(y - 6)


def _client(drawing: Drawing, x: float, y: float, width: float, name: str, does: str) -> None:
    drawing.box(x, y, width, 48, "sheet")
    drawing.text(x + width / 2, y + 20, name, "bold", "middle")
    drawing.text(x + width / 2, y + 38, does, "small soft", "middle")


def _kernel(drawing: Drawing, y: float) -> float:
    """The frame that is the kernel. Returns its upper edge."""
    drawing.box(LEFT, y, 448, 146, "box")
    drawing.text(LEFT + 12, y + 20, "kernel", "small soft")
    return y


def _queue(drawing: Drawing, y: float) -> None:
    drawing.box(RIGHT + 4, y, 204, 98, "frame dashed")
    drawing.text(RIGHT_MIDDLE, y + 86, "listener: accept queue", "small bold", "middle")


def _connection(
    drawing: Drawing, x: float, y: float, width: float, name: str, holds: str, kind: str = "sheet"
) -> None:
    drawing.box(x, y, width, 52, kind)
    drawing.text(x + width / 2, y + 21, name, "small bold", "middle")
    drawing.text(x + width / 2, y + 40, holds, "small", "middle")


def _server(drawing: Drawing, kernel: float, does: str) -> float:
    """The server below the kernel. Returns where one can go on."""
    y = kernel + 172
    drawing.box(LEFT, y, 448, 80, "sheet")
    for number, x, end in (("4", LEFT_MIDDLE, kernel + 82), ("3", RIGHT_MIDDLE, kernel + 128)):
        drawing.box(x - 14, y + 8, 28, 28, "sheet")
        drawing.text(x, y + 27, number, "code bold", "middle")
        drawing.arrow((x, y + 8), (x, end))
    drawing.text((LEFT_MIDDLE + RIGHT_MIDDLE) / 2, y + 27, "server", "bold", "middle")
    drawing.text(240, y + 64, does, "small", "middle")
    return y + 106
