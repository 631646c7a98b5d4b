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
from forklab.lessons.survival import child_of, expect_alive, expect_service
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
        server.settle()  # whoever inherited the connection without a use for it has closed it
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
    with server.frozen(child_of(server, client)):
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

    # A piece of a longer line can look like the command when it fills a buffer, of whatever size.
    client = clients.connect()
    for sizes in (range(1, 1101), (2047, 2048, 4095, 4096, 8191, 8192, 65535, 65536)):
        lines = b"".join(b"x" * size + b"exit\n" for size in sizes)
        _expect_line_back(client, lines)
    client.close()
    _unfinished_exit_is_text(clients)
    client = clients.connect()
    with_nul = b"exit\0and more\n"
    got = client.ask(with_nul)
    if client.ended:  # that bytes after a NUL come back is another check's affair
        compare(client, with_nul, got, "matches-inside-a-line")
    _exit_follows_a_line_of_any_length(clients)


def _unfinished_exit_is_text(clients: Clients) -> None:
    """The stream ends before a newline comes. Whether such a line comes back: another's affair."""
    for unfinished in (b"a\nexis", b"a\nexit"):
        client = clients.connect()
        client.send_last(unfinished)
        got = client.receive(len(unfinished))
        if unfinished.endswith(b"exit"):
            compare(client, unfinished, got, "matches-inside-a-line")
        elif got != unfinished:
            return


def _exit_follows_a_line_of_any_length(clients: Clients) -> None:
    """Also after one that just fits a buffer, or just doesn't."""
    sizes = [size for n in range(7, 14) for size in (2**n - 1, 2**n, 2**n + 1)]
    sizes += [999, 1000, 1001, 100_000]
    lines = [b"x" * (size - 1) + b"\n" for size in sizes]
    lines = [b"x" * (size - 1) + b"\n" for size in sizes]
    # Side by side, it takes less time; what fails then may be for want of a child.
    crowd = [clients.connect() for _ in lines]
    for client, line in zip(crowd, lines, strict=True):
        client.send(line + b"exit\n")
    right = 0
    while right < len(lines) and _came_back(crowd[right], lines[right]):
        right += 1
    clients.leave()
    for line in lines[right:]:
        client = clients.connect()
        client.send(line + b"exit\n")
        expect(
            _came_back(client, line),
            expected=f"a line of {len(line)} bytes back, and then, for `exit`, the end",
            seen=partial(_what_came, client, line),
            evidence=partial(transcript, client),
            diagnosis=partial(_why_no_line, clients, client),
        )


def _why_no_line(clients: Clients, client: Client) -> str:
    """Whether it is the line's length, or nobody is served any more."""
    is_served = client.received or clients.connect().ask(HELLO)
    return "loses-track-of-lines" if is_served else "stops-after-n-clients"


def _came_back(client: Client, line: bytes) -> bool:
    """Whether the line came back, and then the end. What a reset threw away doesn't count."""
    ended = client.await_end()
    got = bytes(client.received)
    return ended and (got == line or (client.ended == "connection reset" and line.startswith(got)))


def _what_came(client: Client, line: bytes) -> str:
    what = difference(line, bytes(client.received)) or "the line came back"
    return what + (", and then the end" if client.ended else ", and the session goes on")
