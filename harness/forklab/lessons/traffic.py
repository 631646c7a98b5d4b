"""What clients send, and small words for the reports."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

from forklab.clients import Client


def count(number: int, one: str, many: str = "") -> str:
    """``1 child``, ``2 children``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


# Traffic. Every message ends with a newline, for servers that echo line by line, and none begins
# like a command (`exit`, `quit`, `q`, `C`) that some servers obey.
HELLO = b"hello\n"


MESSAGES = (b"red fish, blue fish\n", b"one fish\n", b"two fish\n")


ALL_BYTES = bytes(range(256))


MANY_BYTES = 100_000  # random ones, in one message


LONG_LINE = 4000  # bytes: a part of it may fit into a buffer where the whole doesn't


@cache
def random_bytes(size: int) -> bytes:
    """The same bytes every time, of all values, a newline at the end."""
    return random.Random(1).randbytes(size - 1) + b"\n"


def long_stream_size() -> int:
    """Bytes of a stream that no server can echo without waiting for its client: 8 MiB as a rule.

    It is twice what the kernel keeps for a sender that waits (tcp(7), tcp_wmem); in a batch, whose
    workers have a network with smaller buffers, 1 MiB.
    """
    largest = Path("/proc/sys/net/ipv4/tcp_wmem").read_text(encoding="ascii").split()[2]
    return 2 * int(largest)


@cache
def long_text(size: int, line_size: int = 160) -> bytes:
    """Lines of text, all different, each of about so many bytes."""
    words = b"what comes back must be just this, whole and in its place, however it was cut up; "
    end = (words * (line_size // len(words) + 1))[: line_size - 12] + b"\n"
    lines = b"".join([b"line %d: " % i + end for i in range(size // line_size + 1)])
    return lines[: size - 1] + b"\n"


def ask_number(client: Client, number: int) -> bytes:
    """A message that nobody else sends, and its answer."""
    return client.ask(b"message %d\n" % number)
