"""Bytes come back, all of them, however TCP and write cut them up."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

from forklab.clients import Client, Clients
from forklab.echoes import compare, expect_echo
from forklab.evidence import (
    transcript,
    visible,
)
from forklab.launch import Launcher
from forklab.lessons.starting import gate_stays_open
from forklab.lessons.survival import KILLS, expect_alive, expect_service, has_crashed
from forklab.lessons.traffic import (
    ALL_BYTES,
    HELLO,
    MANY_BYTES,
    MESSAGES,
    long_stream_size,
    long_text,
    random_bytes,
)
from forklab.rubric import expect
from forklab.server import Server


def echoes_one_client(launch: Launcher, server: Server, clients: Clients) -> Client:
    """Three messages on one connection come back as they were sent, and nothing else does.

    Returns the client. What the server says before it is asked is remembered: later clients
    expect it.
    """
    client = clients.connect()
    server.settle()
    client.pump()
    launch.habits.greeting = greeting = bytes(client.received)
    client.received.clear()
    for i, message in enumerate(MESSAGES):
        got = client.ask(message)
        silent = "answers-once" if i > 0 else "does-not-answer"
        expect(
            got or i > 0 or not greeting,
            expected=f"{visible(message)} back",
            seen=f"no echo; only {visible(greeting)}, before anything was asked",
            evidence=partial(transcript, client),
            diagnosis="does-not-answer",
        )
        compare(client, message, got, None if got else silent)
    expect(
        not greeting,
        expected="an echo and nothing else",
        seen=f"the server says {visible(greeting)} before it is asked anything",
        evidence=lambda: transcript(client),
        diagnosis="greets-first",
        goes_on=True,
    )
    return client


def echoes_every_byte(client: Client) -> None:
    """All 256 byte values, NULs among them, and 100 KB of everything come back.

    So do bytes without a newline, words that are commands elsewhere, and what came with the end.
    """
    expect_echo(client, b"before\0after\n")
    expect_echo(client, b"carriage return\r\n")
    expect_echo(client, ALL_BYTES + b"\0" * 100 + b"\n")
    expect_echo(client, random_bytes(MANY_BYTES))
    got = client.ask(b"no newline")
    compare(client, b"no newline", got, None if got else "waits-for-a-newline")
    for word in (b"exit\n", b"END\n", b"quit\n", b"q\n", b"Q\n"):
        got = client.ask(word)
        compare(client, word, got, None if got else "obeys-a-command")
    ends_with_its_last_words(client, b"these are my last words\n")


def ends_with_its_last_words(client: Client, data: bytes) -> None:
    """Data and end are both there when the server comes to read: all of it back, and no more."""
    before = len(client.received)
    client.send_last(data)
    client.receive(before + len(data))
    client.await_end()
    got = bytes(client.received[before:])
    if got and client.ended == "connection reset" and data.startswith(got):
        return  # what a reset throws away is a matter of how it closes
    finished, _, unfinished = data.rpartition(b"\n")
    diagnosis = None
    if unfinished and got == finished + b"\n":
        diagnosis = "loses-last-line"
    elif data.startswith(got):
        diagnosis = "drops-what-came-last"
    compare(client, data, got, diagnosis)


def echoes_lines(client: Client) -> None:
    """Lines long and short, with every byte in them, and an unfinished last one."""
    for line in (HELLO, b"\n", b"carriage return\r\n", b"before\0after\n", b"x" * 10_000 + b"\n"):
        expect_echo(client, line)
    expect_echo(client, ALL_BYTES + b"\0" * 100 + b"\n")
    expect_echo(client, random_bytes(20_000))
    _needs_one_buffer(client)
    ends_with_its_last_words(client, b"a line\nan unfinished one")


def _needs_one_buffer(client: Client) -> None:
    """A line without an end is echoed in pieces: nobody has memory for all of it."""
    before = len(client.received)
    size = 0
    for more in (1 << 16, 1 << 20, 1 << 24):  # what a buffer may hold, but in the end nobody's does
        client.exchange(b"x" * more, enough=1)
        size += more
        if client.ended or len(client.received) > before:
            break
    expect(
        len(client.received) > before,
        expected=f"pieces of a line of {size >> 20} MiB come back before its newline is sent",
        seen="nothing came back: the server keeps the whole line in memory, however long it gets",
        evidence=partial(transcript, client),
        diagnosis="keeps-the-whole-line",
    )
    line = b"x" * size + b"\n"
    client.exchange(b"\n", enough=before + len(line) - len(client.received))
    compare(client, line, bytes(client.received[before:]))


def echoes_a_long_stream(clients: Clients) -> None:
    """More than all buffers hold, in odd-sized pieces, to a client that is slow to read."""
    client = clients.connect(receive_buffer=1 << 16)
    data = long_text(long_stream_size())
    client.exchange(data, slow=True)
    compare(client, data, bytes(client.received), "loses-part-of-a-stream")
    client.half_close()
    ends_in_good_order(client)


def ends_in_good_order(client: Client) -> None:
    """A client that half-closed sees the end of the stream, and no reset."""
    client.await_end()
    expect(
        client.ended != "connection reset",
        expected="the end of the stream after the last byte",
        seen="a reset: the server throws the connection away instead of closing it",
        evidence=lambda: transcript(client),
        diagnosis="resets-its-clients",
    )


def survives_short_writes(launch: Launcher, diagnosis: str = "ignores-short-writes") -> None:
    """The same with every write cut short, as a full socket buffer does."""
    probe = launch.new_probe()
    probe.shorten_writes(7)
    server = launch.listening(probe=probe)
    with Clients(server, launch.habits.greeting) as clients:
        client = clients.connect()
        data = b"".join(b"line %d of a stream\n" % i for i in range(500))
        client.exchange(data)
        compare(client, data, bytes(client.received), diagnosis)


def echoes_on_and_on(launch: Launcher, server: Server) -> None:
    """What lab 1 taught about bytes and streams, in one go."""
    with Clients(server) as clients:
        client = echoes_one_client(launch, server, clients)
        with gate_stays_open():
            echoes_every_byte(client)
    with gate_stays_open():
        survives_short_writes(launch)


def echoes_on_and_on_in_lines(
    launch: Launcher, server: Server, and_then: Callable[[Server, Clients], None] | None = None
) -> None:
    """The same for a server that reads lines; ``and_then`` something more with it."""
    masks = server.signal_masks()
    with Clients(server) as clients:
        client = echoes_one_client(launch, server, clients)
        with gate_stays_open():
            echoes_lines(client)
            client.close()
            server.settle()
    # Its first child has ended, and SIGCHLD has come.
    by_signal = masks.has(masks.caught, signal.SIGCHLD)
    expect_alive(
        server,
        "after its first client has left",
        diagnosis=partial(_why_it_ended, launch, server, by_signal),
    )
    with Clients(server, launch.habits.greeting) as clients:
        second = clients.connect()
        expect_service(
            server,
            second,
            "for a second client",
            lambda: (
                "handler-never-ends"
                if by_signal and server.is_listening() and not server.settle()
                else "stops-after-n-clients"
            ),
        )
        second.close()
        with gate_stays_open():
            if and_then:
                and_then(server, clients)
    with gate_stays_open():
        survives_short_writes(launch)


def _why_it_ended(launch: Launcher, server: Server, by_signal: bool) -> str:
    """Its first client left, and with it the server: by a SIGCHLD, or did its child take it along?

    A SIGCHLD by hand, to another copy, can tell.
    """
    ended_by = server.exit.signal if server.exit else None
    if has_crashed(server):
        return "crashes"
    if server.prints_without_end:
        return "prints-without-end"
    if not by_signal:
        return "child-ends-the-server" if ended_by in KILLS else "stops-after-n-clients"
    fresh = launch.listening()
    fresh.settle()
    fresh.kill(signal.SIGCHLD)
    fresh.settle()
    return "child-ends-the-server" if fresh.is_running() else "dies-on-eintr"
