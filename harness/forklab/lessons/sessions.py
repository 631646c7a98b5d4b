"""The command `exit` in a stream of bytes."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from forklab.clients import Client, Clients
from forklab.echoes import compare, difference, expect_echo
from forklab.evidence import (
    process_table,
    transcript,
    visible,
)
from forklab.lessons.survival import expect_alive, expect_service, newest_child
from forklab.lessons.traffic import HELLO
from forklab.rubric import expect
from forklab.server import Server


def exit_ends_the_session(server: Server, clients: Clients, others: bool = True) -> None:
    """End of stream for that client, nothing echoed, its child gone, others untouched."""
    other = clients.connect() if others else None
    if other:
        expect_echo(other, b"I stay\n")
    for command in (b"exit\n", b"exit\r\n"):
        client = clients.connect()
        expect_echo(client, b"I go\n")
        servers = server.holders(client.port)
        before = len(client.received)
        client.send(command)
        ended = client.await_end()
        echoed = bytes(client.received[before:])
        child_ended = ended or bool(servers and _have_ended(server, servers))
        expect(
            ended or not child_ended,
            expected=f"the end of the stream after {visible(command)}",
            seen="the child has ended, but somebody else still holds the connection open",
            evidence=lambda: [process_table(server)],
            diagnosis="no-end-of-stream",
        )
        expect(
            ended,
            expected=f"the end of the stream after {visible(command)}",
            seen=f"the session goes on; {visible(echoed)} came back"
            if echoed
            else "the session goes on, and nothing came back",
            evidence=partial(transcript, client),
            diagnosis=None if ended else _why_exit_is_not_seen(server, clients, client, command),
            goes_on=command != b"exit\n",  # a line, all the same
        )
        expect(
            not echoed,
            expected=f"nothing after {visible(command)}",
            seen=f"{visible(echoed)} came back before the end",
            evidence=partial(transcript, client),
            diagnosis="echoes-the-command" if echoed == command else "does-not-echo",
        )
        server.settle()
        expect_alive(
            server, f"after {visible(command)} from one client", diagnosis="exit-ends-too-much"
        )
        expect(
            server.wait_for(partial(_have_ended, server, servers)),
            expected="the session's child ends with it",
            seen="the child still runs",
            evidence=lambda: [process_table(server)],
            diagnosis="child-keeps-running",
        )
    if other:
        expect_service(server, other, "for the client that stayed", "exit-ends-too-much")


def _have_ended(server: Server, pids: Collection[int]) -> bool:
    return not any(one.pid in pids for one in server.living())


def obeys_exit(server: Server, clients: Clients) -> None:
    """Both of what lab 3 taught about the command."""
    exit_ends_the_session(server, clients, others=False)
    exit_is_a_line(server, clients)


def _why_exit_is_not_seen(server: Server, clients: Clients, client: Client, command: bytes) -> str:
    """Is the session over all the same? Are the four bytes known without their newline?"""
    if not client.ask(HELLO):
        return "child-keeps-running"
    client = clients.connect()
    client.ask(HELLO)
    servers = server.holders(client.port)
    client.send(b"exit")
    if client.await_end() or bool(servers and _have_ended(server, servers)):
        return "message-per-read"
    return "ignores-exit" if command == b"exit\n" else "ignores-carriage-return"


def _expect_line_back(client: Client, line: bytes) -> None:
    got = client.ask(line)
    compare(client, line, got, "matches-inside-a-line" if client.ended else None)


def exit_is_a_line(server: Server, clients: Clients) -> None:
    """Only a line that is exactly `exit` ends the session, however TCP cuts it up."""
    client = clients.connect()
    for line in (b"exits\n", b" exit\n", b"no exit here\n", b"exi\n", b"EXIT\n"):
        _expect_line_back(client, line)
    for line in (b"exit \n", b"not a line\rexit\n"):
        _expect_line_back(client, line)

    client.send(b"ex")
    server.settle()  # the server has read these two bytes before the rest comes
    client.send(b"it\n")
    expect(
        client.await_end(),
        expected='the end of the session after "ex" and "it\\n" in two segments',
        seen="the session goes on",
        evidence=lambda: transcript(client),
        diagnosis="message-per-read",
    )

    client = clients.connect()
    client.ask(HELLO)
    before = len(client.received)
    with server.frozen(newest_child(server)):
        client.send(b"a\nexit\nb\n")
    client.await_end()
    got = bytes(client.received[before:])
    expect(
        client.ended and got == b"a\n",
        expected='"a\\n" back and then the end, for "a\\nexit\\nb\\n" in one segment',
        seen=f"{visible(got)} came back, and " + ("then the end" if client.ended else "no end"),
        evidence=lambda: transcript(client),
        diagnosis="message-per-read",
    )

    # A piece of a longer line can look like the command when it fills a buffer.
    client = clients.connect()
    for size in (4096, 4095, 2048, 2047, 1024, 1023, 512, 511, 256, 255, 100, 99):
        line = b"x" * size + b"exit\n"
        _expect_line_back(client, line)
    client = clients.connect()
    with_nul = b"exit\0and more\n"
    got = client.ask(with_nul)
    if client.ended:  # that bytes after a NUL come back is another check's affair
        compare(client, with_nul, got, "matches-inside-a-line")
    _exit_follows_a_line_of_any_length(clients)


def _exit_follows_a_line_of_any_length(clients: Clients) -> None:
    """Also after one that just fits a buffer, or just doesn't."""
    sizes = [size for n in range(7, 14) for size in (2**n - 1, 2**n, 2**n + 1)] + [100_000]
    # Side by side, it takes less time; what fails then may be for want of a child.
    sessions = [_Session(clients, size) for size in sizes]
    for session in sessions:
        if not session.is_right():
            clients.leave()
            again = _Session(clients, session.size)
            expect(
                again.is_right(),
                expected=f"a line of {again.size} bytes back, and then, for `exit`, the end",
                seen=again.seen,
                evidence=partial(transcript, again.client),
                diagnosis="loses-track-of-lines",
            )


class _Session:
    """A line of that size and then `exit`."""

    def __init__(self, clients: Clients, size: int) -> None:
        self.size = size
        self.client = clients.connect()
        self._line = b"x" * (size - 1) + b"\n"
        self.client.send(self._line + b"exit\n")

    def is_right(self) -> bool:
        """Whether the line came back, and then the end. What a reset threw away doesn't count."""
        ended = self.client.await_end()
        got = bytes(self.client.received)
        by_reset = self.client.ended == "connection reset" and self._line.startswith(got)
        return ended and (got == self._line or by_reset)

    def seen(self) -> str:
        """What happened instead."""
        what = difference(self._line, bytes(self.client.received)) or "the line came back"
        return what + (", and then the end" if self.client.ended else ", and the session goes on")
