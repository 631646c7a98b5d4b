"""What the grader looked at, as text for the report: tables, transcripts, last words.

Whatever a submission printed is shown with every invisible byte escaped.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping

from forklab import procfs
from forklab.clients import Client, Event
from forklab.procfs import Process
from forklab.result import Evidence
from forklab.server import Server

MOST_ROWS = 24  # of a table

STATES = {
    "R": "running",
    "S": "asleep",
    "D": "waiting in the kernel",  # for the disk, or in vfork for a child
    "T": "stopped",
    "t": "stopped",
    "Z": "zombie",
    "X": "gone",
    "I": "idle",
}


def visible(data: bytes, limit: int = 56) -> str:
    """Bytes as C would write them in a string, cut after ``limit`` of them: ``"one\\n"``."""
    shown = "".join(_escape(byte) for byte in data[:limit])
    more = f" ... ({len(data)} bytes)" if len(data) > limit else ""
    return f'"{shown}"{more}'


def _escape(byte: int) -> str:
    special = {0: "\\0", 9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 92: "\\\\"}
    if byte in special:
        return special[byte]
    return chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}"


def plain(text: str | bytes) -> str:
    """Text of many lines, safe for a terminal: control characters escaped, lines kept."""
    if isinstance(text, bytes):
        text = text.decode(errors="backslashreplace")
    if text.isprintable():  # as most is
        return text
    return "".join(
        c if c == "\n" or (c.isprintable() and c != "\x1b") else c.encode("unicode_escape").decode()
        for c in text.expandtabs()
    )


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Rows in columns of equal width."""
    lines = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def process_table(server: Server, family: Iterable[Process] | None = None) -> Evidence:
    """The server and its descendants, each with its state."""
    members = list(family if family is not None else server.family())
    rows: list[tuple[object, ...]] = [
        (
            server.pid_inside(one.pid),
            server.pid_inside(one.parent),
            f"{one.state} {STATES.get(one.state, '')}",
            plain(one.name) + (" <- the server" if one.pid == server.pid else ""),
        )
        for one in members
    ]
    if not rows:
        return Evidence("processes", f"none: the server has ended ({server.exit})")
    if len(rows) > MOST_ROWS:
        rows = [*rows[:MOST_ROWS], ("...", "", f"{len(rows) - MOST_ROWS} more", "")]
    return Evidence("processes", table(("PID", "PPID", "STATE", "NAME"), rows))


def descriptor_table(title: str, descriptors: Mapping[int, str], listening: int = 0) -> Evidence:
    """Open descriptors; ``listening`` is the inode of the listening socket."""
    rows = [
        (fd, _short(fd, target) + (" <- listens" if target == f"socket:[{listening}]" else ""))
        for fd, target in descriptors.items()
    ]
    return Evidence(title, table(("FD", "STANDS FOR"), rows) if rows else "none")


def _short(fd: int, target: str) -> str:
    """A descriptor's target; of the files without a name that the grader gave it, what they are."""
    if re.search(r"/#\d+ \(deleted\)$", target):
        return {1: "stdout", 2: "stderr"}.get(fd, "a copy of stdout or stderr")
    return plain(target)


def transcript(*clients: Client, last: int = 12) -> list[Evidence]:
    """What each client did and saw, the last of it."""
    return [_transcript(client, last) for client in clients]


def _transcript(client: Client, last: int) -> Evidence:
    lines: list[str] = []
    for what, group in itertools.groupby(client.events, lambda event: event.what):
        events = list(group)
        if what == "sent" and len(events) > 4:
            size = sum(event.size for event in events)
            lines.append(f"sent      {len(events)} pieces, {size} bytes in all")
        else:
            lines += [_line(event) for event in events]
    if len(lines) > last:
        lines = [f"... ({len(lines) - last} more)", *lines[-last:]]
    if client.ended is None and client.events[-1].what == "sent":
        lines.append("(nothing came back)")
    return Evidence(f"client {client.name}", "\n".join(lines))


def _line(event: Event) -> str:
    if event.what in ("sent", "received"):
        shown = visible(event.data) if event.size <= len(event.data) else _cut(event)
        return f"{event.what:<9} {shown}"
    return event.what


def _cut(event: Event) -> str:
    return visible(event.data[:40]).removesuffix('"') + f'" ... ({event.size} bytes)'


def signal_table(masks: procfs.SignalMasks) -> Evidence:
    """What the server does with SIGCHLD, from /proc/PID/status."""
    rows = [
        (name, f"{mask:016x}", "SIGCHLD is set" if masks.has(mask, 17) else "SIGCHLD is not set")
        for name, mask in (
            ("SigBlk", masks.blocked),
            ("SigIgn", masks.ignored),
            ("SigCgt", masks.caught),
        )
    ]
    return Evidence(
        "signals of the server (SIGCHLD is bit 16, 0x10000)",
        "\n".join("  ".join(row) for row in rows),
    )


LAST_WORDS = "last on the server's "  # how the titles of last_words begin


def last_words(server: Server, lines: int = 6) -> list[Evidence]:
    """The last lines that the server wrote, if it wrote any."""
    return [
        Evidence(
            LAST_WORDS + name,
            "\n".join(line[:160] for line in plain(text[-4096:]).splitlines()[-lines:]),
        )
        for name, text in (("stdout", server.stdout), ("stderr", server.stderr))
        if text.strip()
    ]
