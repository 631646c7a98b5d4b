"""What ends of children bring: zombies, SIGCHLDs that merge, an accept that is interrupted."""

from __future__ import annotations

from forklab.draw.svg import PAPER_EDGE, Drawing

# child-life ----------------------------------------------------------------------------------


def child_life() -> str:
    """The picture: forked, runs, zombie, gone; and an orphan."""
    drawing = Drawing(
        "child-life",
        "Life of a child, and the time that it is a zombie",
        "Life-lines of a parent and its child; time goes down. fork makes the child, which runs "
        "and serves its client. At _exit its memory and its descriptors are given back, and the "
        "parent is sent SIGCHLD. From then on the child is a zombie (hatched): its process number "
        "and its exit status are all that is left of it. When the parent calls waitpid, it learns "
        "the status, and the zombie is gone. In a second picture the parent ends first: its child "
        "goes on as an orphan, process 1 becomes its parent, and waits for it when it has ended.",
    )
    parent, child, right = 64.0, 214.0, 240.0
    drawing.text(PAPER_EDGE, 34, "1  The parent waits for its child", "head")
    drawing.lane(parent, 80, 396, "parent")
    drawing.text(child, 120, "child", "bold", "middle")
    drawing.interval(parent, 80, 396, "run")
    drawing.interval(child, 130, 220, "run")
    drawing.interval(child, 220, 340, "zombie")
    drawing.arrow((parent + 8, 130), (child - 8, 130))
    drawing.text(parent + 22, 122, "`fork()`", "small")
    drawing.text(right, 162, "runs", "bold")
    drawing.text(right, 181, "and serves its client", "small")
    drawing.text(right, 225, "`_exit(0)`", "small")
    drawing.arrow((child - 8, 220), (parent + 8, 220), kind="dashed")
    drawing.text(parent + 22, 212, "SIGCHLD", "small")
    drawing.text(right, 264, "zombie 좀비", "bold warn")
    drawing.text(right, 283, "all that is left of it: its pid", "small")
    drawing.text(right, 301, "and its exit status", "small")
    drawing.arrow((parent + 8, 340), (child - 8, 340))
    drawing.text(parent + 22, 332, "`waitpid()`", "small")
    drawing.text(right, 345, "gone", "bold")
    drawing.text(right, 364, "the parent knows its status", "small")
    y = drawing.note(
        PAPER_EDGE,
        428,
        "A parent that never waits, as in lab 2, keeps its zombies for as long as it lives.",
        448,
    )

    y += 32
    drawing.text(PAPER_EDGE, y, "2  An orphan 고아: its parent ends first", "head")
    init = 314.0
    top = y + 46
    for x, words in ((parent, "parent"), (child, "child"), (init, "process 1")):
        drawing.text(x, top - 10, words, "bold", "middle")
    drawing.interval(parent, top, top + 60, "run")
    drawing.interval(child, top, top + 130, "run")
    drawing.interval(child, top + 130, top + 170, "zombie")
    drawing.interval(init, top, top + 196, "run")
    right = init + 22
    drawing.text(parent, top + 82, "ends", "small bold", "middle")
    drawing.arrow((init - 8, top + 78), (child + 8, top + 78), kind="dashed")
    drawing.text(right, top + 75, "is its parent", "small")
    drawing.text(right, top + 93, "from now on", "small")
    drawing.text(child - 20, top + 135, "`_exit(0)`", "small", "end")
    drawing.text(child - 20, top + 158, "zombie 좀비", "small bold warn", "end")
    drawing.arrow((child + 8, top + 130), (init - 8, top + 130), kind="dashed")
    drawing.text(right, top + 135, "SIGCHLD", "small")
    drawing.arrow((init - 8, top + 170), (child + 8, top + 170))
    drawing.text(right, top + 175, "`wait()`: its work", "small")
    drawing.text(child, top + 194, "gone", "small bold", "middle")
    y = drawing.note(
        PAPER_EDGE,
        top + 228,
        "Process 1 is init, whose work it is to wait; in a container it may be a program that "
        "doesn't. A subreaper (`prctl(2)`), as many desktops have, comes before it.",
        448,
        "small soft",
    )
    return drawing.svg(y)


# sigchld-merged ------------------------------------------------------------------------------


def sigchld_merged() -> str:
    """The picture: two exits, one pending bit, one delivery; one waitpid, or a loop."""
    drawing = Drawing(
        "sigchld-merged",
        "Two children end, one SIGCHLD arrives",
        "Time goes down. The parent is frozen with SIGSTOP. Child C1 exits: SIGCHLD becomes "
        "pending, its bit goes from 0 to 1; C1 is a zombie. Child C2 exits: the bit is 1 already "
        "and stays 1; C2 is a zombie too. The parent goes on: the bit goes back to 0 and the "
        "handler runs, once. Below, two handlers. With if and one waitpid, the call reaps C1, and "
        "C2 stays a zombie. With a while loop, the first call reaps C1, the second C2, and the "
        "third returns -1 with ECHILD: no zombie is left.",
    )
    parent, bit, first, second = 242.0, 324.0, 396.0, 446.0
    drawing.text(PAPER_EDGE, 34, "1  While the parent can't listen", "head")
    for x, words in ((parent, "parent"), (first, "C1"), (second, "C2")):
        drawing.text(x, 70, words, "small bold", "middle")
    drawing.text(bit, 70, "pending", "small bold", "middle")
    drawing.interval(parent, 80, 112, "run")
    drawing.interval(parent, 112, 276, "asleep")
    drawing.interval(parent, 276, 318, "run")
    drawing.interval(first, 80, 166, "run")
    drawing.interval(first, 166, 318, "zombie")
    drawing.interval(second, 80, 220, "run")
    drawing.interval(second, 220, 318, "zombie")
    for row, value in ((112, "0"), (166, "1"), (220, "1"), (276, "0")):
        drawing.box(bit - 14, row - 14, 28, 28, "new" if value == "1" else "sheet")
        drawing.text(bit, row + 5, value, "code bold" if value == "1" else "code", "middle")
    drawing.arrow((first - 8, 166), (bit + 15, 166))
    # Over C1's life-line: the signal goes from C2 to the parent's bit.
    drawing.line((second - 8, 220), (first + 8, 220))
    drawing.arrow((first - 8, 220), (bit + 15, 220))
    drawing.arrow((bit - 14, 276), (parent + 8, 276))
    for row, words, more in (
        (112, "the parent is frozen", "SIGSTOP, or only slow"),
        (166, "C1 exits: SIGCHLD", "the bit is set"),
        (220, "C2 exits: SIGCHLD", "the bit is set already"),
        (276, "the parent goes on", "SIGCHLD arrives: once"),
    ):
        drawing.text(PAPER_EDGE, row - 1, words, "small bold")
        drawing.text(PAPER_EDGE, row + 17, more, "small soft")

    drawing.text((first + second) / 2, 339, "zombies 좀비", "small bold warn", "middle")
    top = 380.0
    drawing.text(PAPER_EDGE, top, "2  What the handler makes of it", "head")
    _handler(
        drawing,
        16,
        top + 16,
        "`if (waitpid(...) > 0)`",
        ["1st call: C1", "(no more calls)"],
        ["C2 stays a zombie", "좀비"],
    )
    _handler(
        drawing,
        248,
        top + 16,
        "`while (waitpid(...) > 0)`",
        ["1st call: C1", "2nd call: C2", "3rd: -1, ECHILD"],
        ["nobody is left", "behind"],
    )
    y = drawing.note(
        PAPER_EDGE,
        top + 254,
        "A bit can't count: SIGCHLD says that a child has ended, not how many have. So the handler "
        "asks until nobody is left, and with `WNOHANG`: it must not wait for those that live.",
        448,
    )
    return drawing.svg(y)


def _handler(
    drawing: Drawing, x: float, y: float, code: str, calls: list[str], outcome: list[str]
) -> None:
    """One handler's calls from top to bottom, and what becomes of C1 and C2."""
    drawing.box(x, y, 216, 212, "frame")
    drawing.text(x + 12, y + 24, code, "small bold")
    reaped = sum(": C" in one for one in calls)
    for number, name in enumerate(("C1", "C2")):
        lane = x + 160 + number * 34
        drawing.text(lane, y + 50, name, "small bold", "middle")
        end = y + 80 + number * 32 if number < reaped else y + 200
        drawing.interval(lane, y + 58, end, "zombie")
    for number, words in enumerate(calls):
        called = y + 80 + number * 32
        drawing.text(x + 12, called + 5, words, "small")
        if ": C" in words and number == 0:
            drawing.arrow((x + 118, called), (x + 151, called))
        elif ": C" in words:
            drawing.arrow((x + 118, called), (x + 185, called))
    for number, words in enumerate(outcome):
        kind = "small bold " + ("warn" if reaped < 2 else "good")
        drawing.text(x + 12, y + 180 + number * 18, words, kind)


# accept-eintr --------------------------------------------------------------------------------


def accept_eintr() -> str:
    """The picture: what accept does when a signal is handled, without SA_RESTART and with it."""
    drawing = Drawing(
        "accept-eintr",
        "What accept does when a signal comes",
        "Two columns, the same story. The server is asleep in accept on descriptor 3; SIGCHLD "
        "comes; the handler runs, reaps, and returns. Left, installed with sa_flags 0: accept "
        "returns -1 with errno EINTR, and the program must ask again: if errno is EINTR, "
        "continue. A program that takes it for a failure ends here. Right, with SA_RESTART: the "
        "kernel starts the same accept again, the program notices nothing, and when the next "
        "client comes accept returns 4.",
    )
    columns = ((16.0, "`sa_flags = 0`"), (248.0, "`sa_flags = SA_RESTART`"))
    for x, flags in columns:
        middle = x + 108
        drawing.text(middle, 34, flags, "bold", "middle")
        _step(drawing, x, 52, "asleep", ["`accept(3, ...)`", "asleep: no client yet"])
        drawing.arrow((middle, 108), (middle, 148), kind="warn")
        drawing.text(middle + 10, 133, "SIGCHLD", "small bold")
        _step(drawing, x, 150, "box", ["the handler", "runs, reaps, returns"])
        drawing.arrow((middle, 206), (middle, 246))
    left, right = columns[0][0], columns[1][0]
    _step(drawing, left, 248, "new", ["`accept` returns -1", "`errno` is EINTR"])
    drawing.arrow((left + 108, 304), (left + 108, 344))
    drawing.text(left + 118, 329, "your code", "small soft")
    _step(drawing, left, 346, "sheet", ["`if (errno == EINTR)`", "`    continue;`"], "start")
    drawing.arrow((left + 108, 402), (left + 108, 442))
    _step(drawing, left, 444, "asleep", ["`accept(3, ...)`", "asked again, by you"])
    _step(drawing, right, 248, "asleep", ["`accept(3, ...)`", "begun again, by the kernel"])
    drawing.arrow((right + 108, 304), (right + 108, 442))
    drawing.text(right + 118, 378, "the next client", "small soft")
    _step(drawing, right, 444, "new", ["`accept` returns 4", "your code saw nothing of it"])
    y = drawing.note(
        PAPER_EDGE,
        530,
        "On the left, a server that takes every -1 for a disaster stops when its first child "
        "ends. Lab 4 wants both: SA_RESTART for SIGCHLD, 0 for SIGTERM, which must wake accept.",
        448,
    )
    y = drawing.note(
        PAPER_EDGE, y + 4, "See it: `strace -e trace=accept -p PID`", 448, "small soft"
    )
    return drawing.svg(y)


def _step(
    drawing: Drawing, x: float, y: float, kind: str, lines: list[str], anchor: str = "middle"
) -> None:
    drawing.box(x, y, 216, 54, kind)
    at = x + (108 if anchor == "middle" else 28)
    for number, words in enumerate(lines):
        drawing.text(at, y + 22 + 19 * number, words, "small", anchor)
