"""The provided client, piped and at a terminal, with servers that behave and others."""

from __future__ import annotations

import os
import pty
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from forklab import paths
from tests.support import DEADLINE

Serve = Callable[[socket.socket], None]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("client") / "client"
    sources = [paths.LABS / "client" / "client.c", *(paths.LABS / "common").glob("*.c")]
    flags = ["-std=gnu17", "-Wall", "-Wextra", "-Werror", f"-I{paths.LABS / 'common'}"]
    subprocess.run(["cc", *flags, "-o", target, *sources], check=True)
    return target


@pytest.fixture
def serving() -> Iterator[Callable[[Serve], str]]:
    """``serving(function)`` serves each connection with it, and says at which port."""
    listeners = []

    def start(serve: Serve) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    conn, _ = listener.accept()
                    threading.Thread(target=talk, args=(conn,), daemon=True).start()

        def talk(conn: socket.socket) -> None:
            with conn, suppress(OSError):
                serve(conn)

        threading.Thread(target=accept, daemon=True).start()
        return str(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def echo(conn: socket.socket) -> None:
    while data := conn.recv(65536):
        conn.sendall(data)


def lines(conn: socket.socket) -> None:
    """Echoes lines; `exit` ends the session, as in labs 3 and 4."""
    for line in conn.makefile("rb"):
        if line in (b"exit\n", b"exit\r\n"):
            return
        conn.sendall(line)


def bytewise(conn: socket.socket) -> None:
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := conn.recv(65536):
        for byte in data:
            conn.sendall(bytes([byte]))


def ask(client: Path, port: str, text: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [str(client), "127.0.0.1", port]
    return subprocess.run(command, input=text, capture_output=True, timeout=DEADLINE)


@pytest.mark.parametrize("serve", [echo, lines, bytewise])
@pytest.mark.parametrize(
    "text", [b"", b"one\n", b"one\ntwo\n", b"no newline", b"\n\n", b"a\r\n", "좀비\n".encode()]
)
def test_piped_shows_the_echo_and_nothing_else(client, serving, serve, text):
    ran = ask(client, serving(serve), text)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, text, b"")


def test_every_byte(client, serving):
    text = bytes(range(256)) * 20
    ran = ask(client, serving(echo), text)
    assert (ran.returncode, ran.stdout) == (0, text)


def test_a_long_stream(client, serving):
    text = b"".join(b"line %d\n" % i for i in range(300_000))
    ran = ask(client, serving(echo), text)
    assert (ran.returncode, ran.stdout) == (0, text)


def test_a_line_longer_than_any_buffer(client, serving):
    text = b"x" * 1_000_000 + b"\n"
    ran = ask(client, serving(echo), text)
    assert (ran.returncode, ran.stdout) == (0, text)


@pytest.mark.parametrize("word", [b"END\n", b"END\r\n", b"END"])
def test_end_ends_our_side(client, serving, word):
    got: list[bytes] = []

    def note(conn: socket.socket) -> None:
        while data := conn.recv(100):
            got.append(data)
            conn.sendall(data)

    ran = ask(client, serving(note), b"one\n" + word)
    assert (ran.returncode, ran.stdout) == (0, b"one\n")
    assert b"".join(got) == b"one\n"


def test_nothing_is_sent_after_end(client, serving):
    ran = ask(client, serving(echo), b"one\nEND\ntwo\n")
    assert (ran.returncode, ran.stdout) == (0, b"one\n")


@pytest.mark.parametrize("word", [b"exit\n", b"exit\r\n"])
def test_exit_is_obeyed(client, serving, word):
    ran = ask(client, serving(lines), b"one\n" + word + b"never sent\n")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"one\n", b"")


def test_exit_to_a_server_that_does_not_know_it(client, serving):
    ran = ask(client, serving(echo), b"one\nexit\n")
    assert (ran.returncode, ran.stdout) == (0, b"one\nexit\n")


def test_words_inside_a_line_are_text(client, serving):
    text = b"exits\n exit\nEND.\nthe END\n" + b"x" * 70_000 + b"END\n"
    ran = ask(client, serving(lines), text)
    assert (ran.returncode, ran.stdout) == (0, text)


def test_a_server_that_closes_first(client, serving):
    port = serving(lambda conn: conn.sendall(conn.recv(4)))
    with subprocess.Popen(
        [client, "127.0.0.1", port],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.wait(DEADLINE) == 1
        assert process.stdout.read() == b"one\n"
        assert b"closed the connection" in process.stderr.read()
        process.stdin.close()


def test_bytes_that_don_t_come_back(client, serving):
    def half(conn: socket.socket) -> None:
        data = b""
        while more := conn.recv(100):
            data += more
        conn.sendall(data[:2])

    ran = ask(client, serving(half), b"four\n")
    assert ran.stdout == b"fo"
    assert ran.returncode in (0, 1)


def test_nobody_listens(client):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    ran = ask(client, port, b"one\n")
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert b"Nobody listens there" in ran.stderr


def test_no_such_host(client):
    ran = subprocess.run([client, "no such host", "80"], capture_output=True, timeout=DEADLINE)
    assert ran.returncode == 1
    assert b"no such host" in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["host"],
        ["host", "80", "x"],
        *(["::1", p] for p in ("0", "65536", "-1", "", "8x", "http")),
    ],
    ids=str,
)
def test_usage(client, arguments):
    ran = subprocess.run([client, *arguments], capture_output=True, timeout=DEADLINE)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert b"usage:" in ran.stderr


class Terminal:
    """The client at a terminal."""

    def __init__(self, client: Path, port: str) -> None:
        self.screen = b""
        self._ours, theirs = pty.openpty()
        command = [str(client), "127.0.0.1", port]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)

    def type(self, text: bytes) -> None:
        os.write(self._ours, text)

    def shows(self, text: bytes) -> None:
        """Waits until the screen has that text, from after the last text that was waited for."""
        end = time.monotonic() + DEADLINE
        while text not in self.screen:
            assert time.monotonic() < end, self.screen
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    self.screen += os.read(self._ours, 4096)
                except OSError:  # the client has ended
                    assert text in self.screen, self.screen
        self.screen = self.screen.partition(text)[2]

    def ends(self) -> int:
        status = self.process.wait(DEADLINE)
        os.close(self._ours)
        return status


def test_at_a_terminal(client, serving):
    terminal = Terminal(client, serving(lines))
    terminal.shows(b"Connected")
    terminal.shows(b"> ")
    terminal.type(b"hello\n")
    terminal.shows(b"hello\r\n")  # what is typed
    terminal.shows(b"hello\r\n")  # what comes back
    terminal.shows(b"> ")
    terminal.type(b"exit\n")
    assert terminal.ends() == 0


def test_control_characters_are_shown_at_a_terminal(client, serving):
    terminal = Terminal(client, serving(lambda conn: conn.sendall(b"\x1b[2J\a\rx\n")))
    terminal.shows(b"\\x1b[2J\\x07\\rx\r\n")
    assert terminal.ends() == 1


def test_says_that_nothing_comes_back(client, serving):
    terminal = Terminal(client, serving(lambda conn: [conn.recv(100), conn.recv(100)]))
    terminal.shows(b"> ")
    terminal.type(b"anybody?\n")
    terminal.shows(b"(nothing back yet)")
    terminal.type(b"\x04")
    assert terminal.ends() in (0, 1)
