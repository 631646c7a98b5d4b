"""Clients against a small echo server in a thread, with nobody who knows when to give up."""

from __future__ import annotations

import itertools
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import TypeVar

import pytest

from forklab import tcp
from forklab.clients import Client, Clients, Crowd
from forklab.echoes import around_difference, compare, difference, expect_echo, stops_at_nul
from forklab.evidence import plain, transcript, visible
from forklab.rubric import CheckFailed
from tests.support import DEADLINE

T = TypeVar("T")
Serve = Callable[[socket.socket], None]


def echo(conn: socket.socket) -> None:
    while data := conn.recv(65536):
        conn.sendall(data)


class Peer:
    """Serves each connection with a function in a thread of its own. Is a Patience as well."""

    def __init__(self, serve: Serve, stack: ExitStack, seconds: float = 10.0) -> None:
        self._serve = serve
        self._seconds = seconds
        self.gave_up = False
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        stack.callback(self._listener.shutdown, socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                conn, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(conn,), daemon=True).start()

    def _talk(self, conn: socket.socket) -> None:
        with conn, suppress(OSError):
            self._serve(conn)

    napped = 0.0
    room = 0

    def wait_for(
        self, condition: Callable[[], T], readable: Sequence[socket.socket] = (), *, sure: float = 0
    ) -> T:
        end = time.monotonic() + self._seconds
        while not (value := condition()) and time.monotonic() < end:
            select.select(readable, [], [], 0.01)
        self.gave_up |= not value
        return value


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def visit(stack: ExitStack) -> Callable[..., Client]:
    """``visit(serve)`` is a client of a server that serves like that."""

    def connect(serve: Serve = echo, greeting: bytes = b"", seconds: float = 10.0) -> Client:
        peer = Peer(serve, stack, seconds)
        return stack.enter_context(Clients(peer, greeting)).connect()

    return connect


def test_the_queue_is_looked_at_when_it_may_be_full(stack, monkeypatch):
    """A client takes one place; who has seen that there are many need not look each time."""
    peer = Peer(echo, stack, 10.0)
    looks: list[int] = []

    def room(port: int) -> int:
        looks.append(port)
        return 4

    monkeypatch.setattr(tcp, "room", room)
    clients = stack.enter_context(Clients(peer))
    for _ in range(7):
        assert clients.connect().is_connected
    assert looks == [peer.port] * 3  # before the first, the fourth and the seventh


def test_who_listens_again_is_waited_for(stack, monkeypatch):
    """Room that was seen before is no room any more when the listener is another one."""
    looks: list[int] = []
    peer = Peer(echo, stack, 10.0)
    listening = peer.port
    peer.port, peer.room = 1, 5  # there was room, and now nobody listens

    def room(port: int) -> int:
        looks.append(port)
        peer.port = listening  # it has come back
        return 4

    monkeypatch.setattr(tcp, "room", room)
    client = stack.enter_context(Clients(peer)).connect()
    assert client.is_connected
    assert looks == [1]


def words(client: Client) -> list[str]:
    return [event.what for event in client.events]


# Talking


def test_ask(visit):
    client = visit()
    assert [client.ask(b"one\n"), client.ask(b"two\0\xff")] == [b"one\n", b"two\0\xff"]
    assert client.received == b"one\ntwo\0\xff"
    assert words(client) == ["connected", "sent", "received", "sent", "received"]


@pytest.mark.parametrize("slow", [True, False])
def test_a_long_exchange(visit, slow):
    data = bytes(i * 7 % 251 for i in range(3_000_000))
    client = visit()
    client.exchange(data, slow=slow)
    assert client.received == data


def test_meanwhile_is_called(visit):
    calls = []
    client = visit()
    client.exchange(b"x" * 1_000_000, slow=True, meanwhile=lambda: calls.append(1))
    assert len(client.received) == 1_000_000
    assert calls


def test_how_tcp_cut_it_up_is_not_in_the_transcript(visit):
    def bytewise(conn: socket.socket) -> None:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in conn.recv(100):
            conn.sendall(bytes([byte]))
            time.sleep(0.001)
        echo(conn)

    client = visit(bytewise)
    assert client.ask(b"twelve bytes") == b"twelve bytes"
    assert words(client) == ["connected", "sent", "received"]
    assert (client.events[-1].data, client.events[-1].size) == (b"twelve bytes", 12)


def test_a_short_answer_is_given_up_on(visit):
    client = visit(lambda conn: (conn.sendall(conn.recv(100)[:3]), conn.recv(1)), seconds=0.2)
    assert client.ask(b"message\n") == b"mes"
    assert client.ended is None


def test_more_than_was_asked_for_is_kept(visit):
    def twice(conn: socket.socket) -> None:
        while data := conn.recv(100):
            conn.sendall(data * 2)

    client = visit(twice)
    assert client.ask(b"ab") == b"abab"


def test_enough(stack):
    """Of an answer that never comes whole, as much as will do."""

    def half(conn: socket.socket) -> None:
        while data := conn.recv(65536):
            conn.sendall(data[: len(data) // 2])

    peer, hasty = Peer(half, stack), Peer(half, stack, seconds=0.1)
    client = stack.enter_context(Clients(peer)).connect()
    client.exchange(b"12345678", enough=4)
    assert client.received == b"1234"
    client.exchange(b"abcdef", enough=3)  # back for this, not since the beginning
    assert client.received == b"1234abc"
    assert not peer.gave_up
    stack.enter_context(Clients(hasty)).connect().exchange(b"12345678", enough=5)
    assert hasty.gave_up


def test_enough_has_come_but_all_is_sent(visit):
    client = visit()
    client.exchange(b"x" * 3_000_000, enough=1)
    client.half_close()
    assert client.await_end()
    assert len(client.received) == 3_000_000


def test_its_port_and_whether_it_is_connected(stack):
    seen: list[int] = []
    came = threading.Event()

    def look(conn: socket.socket) -> None:
        seen.append(conn.getpeername()[1])
        came.set()
        echo(conn)

    client = stack.enter_context(Clients(Peer(look, stack))).connect()
    assert came.wait(DEADLINE)
    assert seen == [client.port]
    assert client.is_connected
    client.close()
    assert client.is_connected  # it was
    assert seen == [client.port]


# Ends


def test_half_close(visit):
    client = visit()
    client.send(b"last words")
    client.half_close()
    assert client.await_end()
    assert (client.ended, client.received) == ("end of stream", b"last words")
    assert words(client)[-1] == "end of stream"


def test_reset_is_a_reset(visit):
    seen: list[object] = []

    def watch(conn: socket.socket) -> None:
        try:
            seen.append(conn.recv(1))
        except ConnectionResetError:
            seen.append("reset")

    client = visit(watch)
    client.reset()
    end = time.monotonic() + 10
    while not seen and time.monotonic() < end:
        time.sleep(0.001)
    assert seen == ["reset"]
    assert words(client) == ["connected", "reset"]


def test_a_server_that_resets(visit):
    def vanish(conn: socket.socket) -> None:
        conn.recv(1)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    client = visit(vanish)
    client.send(b"x")
    assert client.await_end()
    assert client.ended == "connection reset"
    assert client.send(b"more") == 0
    assert client.ask(b"more") == b""


def test_what_came_before_the_end_counts(visit):
    client = visit(lambda conn: conn.sendall(conn.recv(10) + b"bye"))
    assert client.ask(b"hello") == b"hellobye"
    assert client.await_end()


def test_a_server_that_keeps_silent(visit):
    client = visit(lambda conn: conn.recv(1), seconds=0.2)
    assert client.await_end() is False
    assert client.receive(1) == b""


def test_nobody_listens(stack):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    peer = Peer(echo, stack, seconds=0.2)
    peer.port = port
    client = Clients(peer).connect()
    assert client.ended == "no connection"
    assert not client.is_connected
    assert len(client.events) == 1
    assert "refused" in words(client)[0]
    assert client.ask(b"x") == b""
    client.half_close()
    client.reset()
    client.close()


def test_closing_twice(visit):
    client = visit()
    client.close()
    client.close()
    client.reset()
    assert client.send(b"x") == 0
    assert words(client) == ["connected", "closed"]


# Greetings


def greeter(conn: socket.socket) -> None:
    conn.sendall(b"Welcome!\n")
    echo(conn)


def test_a_greeting_is_expected(visit):
    client = visit(greeter, greeting=b"Welcome!\n")
    assert client.ask(b"hi\n") == b"hi\n"


def test_a_greeting_in_pieces(visit):
    def in_pieces(conn: socket.socket) -> None:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"Welcome!\n":
            conn.sendall(bytes([byte]))
        echo(conn)

    assert visit(in_pieces, greeting=b"Welcome!\n").ask(b"hi\n") == b"hi\n"


def test_no_greeting_where_one_was_expected(visit):
    assert visit(greeting=b"Welcome!\n").ask(b"hi there, you\n") == b"hi there, you\n"


# Crowds


def test_a_crowd_is_greeted(stack):
    crowd = stack.enter_context(Clients(Peer(echo, stack))).crowd(3)
    assert crowd.greet() == []
    assert crowd.greet() == []


def test_who_gets_other_words_gets_no_echo(stack):
    def refuse(conn: socket.socket) -> None:
        conn.recv(100)
        conn.sendall(b"go away, ok\n")  # no shorter than what it was sent

    crowd = stack.enter_context(Clients(Peer(refuse, stack))).crowd(3)
    assert crowd.greet() == crowd


def test_a_crowd(stack):
    clients = stack.enter_context(Clients(Peer(echo, stack)))
    crowd = clients.crowd(30)
    assert isinstance(crowd, Crowd)
    assert [one.name for one in crowd[:3]] + [crowd[-1].name] == ["A", "B", "C", "30"]
    for number, client in reversed(list(enumerate(crowd))):
        assert client.ask(b"%d\n" % number) == b"%d\n" % number
    crowd.close()
    assert {words(one)[-1] for one in crowd} == {"closed"}


def test_greet(stack):
    crowd = stack.enter_context(Clients(Peer(echo, stack))).crowd(3)
    assert crowd.greet() == []
    assert [bytes(one.received) for one in crowd] == [b"message %d\n" % i for i in range(3)]
    assert crowd.greet() == []
    assert crowd[2].received == b"message 2\n" * 2


def test_greet_tells_who_got_no_answer(stack):
    served = itertools.count()

    def every_other(conn: socket.socket) -> None:
        if next(served) % 2:
            conn.recv(100)
        else:
            echo(conn)

    crowd = Crowd()
    clients = stack.enter_context(Clients(Peer(every_other, stack)))
    for _ in range(4):
        crowd.append(clients.connect())
    assert len(crowd.greet()) == 2
    assert Crowd().greet() == []


def test_all_vanish_at_the_end(stack):
    with Clients(Peer(echo, stack)) as clients:
        crowd = clients.crowd(3)
    assert {words(one)[-1] for one in crowd} == {"reset"}
    assert list(clients) == crowd


# In words


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", '""'),
        (b"one\n", '"one\\n"'),
        (b'\0\t\r\\"\x1b[31m\x7f\xec\xa2\x80', '"\\0\\t\\r\\\\\\"\\x1b[31m\\x7f\\xec\\xa2\\x80"'),
        (b"x" * 56, f'"{"x" * 56}"'),
        (b"x" * 57, f'"{"x" * 56}" ... (57 bytes)'),
    ],
)
def test_visible(data, shown):
    assert visible(data) == shown


@pytest.mark.parametrize(
    "text", ["\x1b[31mred\x1b[0m", "\x07", "a\rb", "\x9b31m", "\u202e", "\x00"]
)
def test_plain_has_no_control_characters(text):
    for shown in (plain(text), plain(text.encode())):
        assert all(one.isprintable() or one == "\n" for one in shown)
    assert plain("좀비 é\nline") == "좀비 é\nline"
    assert plain(b"\xff\xfe") == "\\xff\\xfe"


def test_transcript(visit):
    client = visit()
    client.ask(b"one\r\n\x1b[2J")
    client.ask(b"x" * 1000)
    (shown,) = transcript(client)
    assert shown.title == "client A"
    lines = shown.text.splitlines()
    assert lines[:3] == [
        "connected",
        'sent      "one\\r\\n\\x1b[2J"',
        'received  "one\\r\\n\\x1b[2J"',
    ]
    assert all("(1000 bytes)" in line and len(line) < 80 for line in lines[3:])


def test_transcript_of_silence(visit):
    client = visit(lambda conn: conn.recv(100) and conn.recv(1), seconds=0.1)
    client.ask(b"anybody?\n")
    assert transcript(client)[0].text.endswith("(nothing came back)")


def test_transcript_is_cut_at_its_beginning(visit):
    client = visit()
    for number in range(20):
        client.ask(b"%d\n" % number)
    lines = transcript(client, last=4)[0].text.splitlines()
    assert len(lines) == 5
    assert "37" in lines[0]
    assert lines[-1] == 'received  "19\\n"'


@pytest.mark.parametrize(
    ("sent", "got", "word"),
    [
        (b"abc\n", b"", "nothing"),
        (b"abc\n", b"abc", "newline"),
        (b"abcdef\n", b"abc", "3 of 7"),
        (b"abc\n", b"abc\n\0\0\0", "3 NUL"),
        (b"abc\n", b"abc\n> ", '"> "'),
        (b"abc\n", b"echo: abc\n", '"echo: "'),
        (b"abc\n", b"<abc>", "around"),
        (b"abc\n", b"ABC\n", "case"),
        (b"a\nb\n", b"a\r\nb\r\n", "carriage return"),
        (b"a\0b\n", b"ab\n", "NUL"),
        (b"abc\n", b"abd\n", "0x64"),
    ],
)
def test_difference_in_words(sent, got, word):
    assert word in difference(sent, got)
    assert difference(sent, sent) == ""


def test_stops_at_nul():
    assert stops_at_nul(b"a\0b\n", b"a")
    assert stops_at_nul(b"a\0b\n", b"ab\n")
    assert not stops_at_nul(b"a\0b\n", b"a\0b\n")
    assert not stops_at_nul(b"ab\n", b"a")


def test_around_difference():
    shown = around_difference(b"x" * 100 + b"A" + b"x" * 50, b"x" * 100 + b"B" + b"x" * 50).text
    assert "byte 100 of 151" in shown
    assert "41" in shown
    assert "42" in shown
    assert "(nothing more)" in around_difference(b"abc", b"abc"[:0]).text


def test_expect_echo(visit):
    expect_echo(visit(), b"same\n")
    client = visit(lambda conn: conn.sendall(conn.recv(100).upper()))
    with pytest.raises(CheckFailed) as failed:
        expect_echo(client, b"other\n")
    assert failed.value.diagnosis == "does-not-echo"
    assert "OTHER" in failed.value.evidence[0].text


def test_compare_knows_bytes_taken_for_text(visit):
    with pytest.raises(CheckFailed) as failed:
        compare(visit(), b"before\0after\n", b"before")
    assert failed.value.diagnosis == "treats-bytes-as-text"
