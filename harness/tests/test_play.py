"""The live view: what it draws of made data, and driven in a real terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from forklab import gallery, paths, procfs
from forklab.cli import ALL_PASSED, INTERRUPTED, NO_BUILD, USAGE
from forklab.clients import Event
from forklab.play.keys import BY_KEY, KEYS, Decoder
from forklab.play.model import MOST_LINES, Member, Peer, Picture, Tail
from forklab.play.view import LEAST_COLUMNS, LEAST_LINES, draw, remark
from tests.support import (
    COMMAND,
    environment,
    forklab,
    mark_of,
    run_folders,
    running,
    wait_until,
)

SIZES = [(LEAST_COLUMNS, LEAST_LINES), (80, 23), (80, 24), (120, 40), (250, 70)]
CHLD, PIPE = 1 << 16, 1 << 12  # their bits in a mask
SERVER = Member(
    4242, 0, "server", "S", ((1, "log"), (2, "log"), (3, "listener")), (("SigIgn", PIPE),)
)
CHILD = Member(4243, 1, "child", "S", ((1, "log"), (2, "log"), (4, "client 1")), ())
ZOMBIE = Member(4244, 1, "child", "Z", (), (), seconds=12)
SAID = (Event("connected"), Event("sent", b"hello\n", 6), Event("received", b"hello\n", 6))
PEERS = (
    Peer("1", "open", pids=(4243,), events=SAID),
    Peer("2", "closed", events=(*SAID, Event("closed"))),
    Peer("3", "open", is_queued=True, unread=17, events=SAID[:2]),
    Peer(":40112", "outside", pids=(4243,), sent=15, got=14),
)
PICTURE = Picture(
    "lab2",
    "solutions/lab2-fork",
    12345,
    members=(SERVER, CHILD, ZOMBIE),
    peers=PEERS,
    log=("listening on port 12345", "client 127.0.0.1:40110 connected", "말 \\x1b[31m"),
    chosen="1",
    looked_at=4242,
)
CROWD = replace(
    PICTURE,
    members=(SERVER, *(replace(ZOMBIE, pid=n) for n in range(4_194_200, 4_194_263))),
    peers=tuple(replace(PEERS[0], name=str(n)) for n in range(1, 100)),
    chosen="70",
)
FROZEN = replace(
    SERVER, state="T", masks=(("SigCgt", CHLD | 1 << 14), ("SigBlk", 2**64 - 1), ("ShdPnd", CHLD))
)
PICTURES = {
    "usual": PICTURE,
    "empty": Picture("lab1", "labs/" + "deep/" * 60 + "server.c", 1),
    "crowd": CROWD,
    "frozen": replace(CROWD, members=(FROZEN, *CROWD.members[1:]), prompt="a line", chosen="99"),
    "ended": replace(PICTURE, members=(), ending="killed by SIGXCPU. " + "It used it all. " * 9),
    "long": replace(
        PICTURE,
        log=("x" * 400,) * 3,
        peers=(replace(PEERS[0], events=(Event("sent", b"\0" * 400, 10**9),) * 50),),
    ),
    "help": replace(PICTURE, is_helping=True),
}


def text_of(picture: Picture, columns: int, lines: int, only_ascii: bool = False) -> str:
    return "\n".join(row.plain for row in draw(picture, columns, lines, only_ascii))


# What it draws -------------------------------------------------------------------------------


@pytest.mark.parametrize("only_ascii", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_as_large_as_the_terminal(name, size, only_ascii):
    columns, lines = size
    rows = draw(PICTURES[name], columns, lines, only_ascii)
    assert len(rows) == lines
    assert max(cell_len(row.plain) for row in rows) <= columns
    assert all(row.plain.isprintable() and row.no_wrap for row in rows)
    if name != "help":  # never lost, however much there is to show
        assert rows[0].plain.startswith(" Lab ")
        assert f"make client PORT={PICTURES[name].port}" in rows[0].plain
        assert rows[-1].plain.endswith("? help  q quit")
    if only_ascii:
        assert all(row.plain.isascii() for row in rows)


def test_what_is_usual_is_there_in_full_at_80_columns():
    rows = [row.plain.rstrip() for row in draw(PICTURE, 80, 24)]
    for words in (
        "make client PORT=12345",
        "4242 server    S asleep           1,2 log  3 listener",
        "├ 4243 child   S asleep           1,2 log  4 client 1",
        "└ 4244 child ✗ Z zombie 12 s",
        "1 child, 1 zombie",
        "SigIgn ignored SIGPIPE ",
        'open in 4243             sent "hello\\n"  got "hello\\n"',
        "open in the queue",
        '17 unread  sent "hello\\n"',
        "outside in 4243          sent 15 bytes  got 14 bytes",
        "client 127.0.0.1:40110 connected",
    ):
        assert any(" ".join(words.split()) in " ".join(row.split()) for row in rows), words
    assert not any("…" in row for row in rows)


@pytest.mark.parametrize("only_ascii", [False, True])
def test_zombies_are_told_by_word_and_sign(only_ascii):
    text = text_of(PICTURE, 80, 24, only_ascii)
    (row,) = (line for line in text.splitlines() if "4244" in line)
    assert f"{'x' if only_ascii else '✗'} Z zombie" in row
    assert text.count("✗") == (0 if only_ascii else 1)


def test_zombies_without_room_are_counted():
    text = text_of(CROWD, 80, 24)
    shown = text.count("Z zombie")
    assert f"… {63 - shown} more below, {63 - shown} of them zombies" in text
    assert "0 children, 63 zombies" in text
    assert "▸ 70 " in text


def test_more_room_shows_more():
    small, large = text_of(CROWD, 80, 24), text_of(CROWD, 120, 60)
    assert large.count("Z zombie") > small.count("Z zombie")
    assert "0000000000001000  ignored" in large


def test_all_of_a_transcript_is_shown_where_there_is_room():
    text = text_of(replace(PICTURE, chosen="2"), 80, 40)
    assert text.splitlines()[-1].endswith("q quit")
    wanted = ["connected", 'sent "hello\\n"', 'got "hello\\n"', "closed"]
    lines = [line.strip() for line in text.splitlines()]
    start = next(n for n, line in enumerate(lines) if line.startswith("▸ 2"))
    assert lines[start + 1 : start + 5] == wanted


def test_a_window_that_is_too_small_says_so():
    text = " ".join(text_of(PICTURE, 30, 8).split())
    assert f"This window is 30x8. A server takes {LEAST_COLUMNS}x{LEAST_LINES}" in text


WITH_CLIENT = replace(SERVER, descriptors=((3, "listener"), (4, "client 1")))
MANY = tuple(replace(ZOMBIE, pid=n) for n in range(100))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"members": (), "ending": "exit status 1"}, "has ended: exit status 1. r starts"),
        ({"members": (), "ending": "killed. " + 99 * "because "}, "has ended: killed. r starts"),
        ({"members": (FROZEN, *MANY)}, "100 zombies, but SIGCHLD is pending once"),
        ({"members": (FROZEN, ZOMBIE)}, "1 zombie. After f, will"),
        ({"members": (FROZEN,)}, "Frozen"),
        ({"is_listening": False}, "does not listen"),
        ({"members": (SERVER, *MANY), "zombies_at_thaw": 101}, "101 zombies at the thaw, 100 now."),
        ({"members": (SERVER, *MANY)}, "100 zombies: ended, and their parent"),
        ({"members": (WITH_CLIENT, CHILD)}, "The server and a child have client 1 open"),
        (
            {"members": (SERVER, replace(CHILD, descriptors=SERVER.descriptors))},
            "A child has the listener open as well",
        ),
        ({"members": (SERVER, replace(CHILD, depth=0, role="orphan"))}, "An orphan"),
        ({"members": (SERVER,), "peers": ()}, "c connects a client"),
        ({"members": (replace(SERVER, masks=(("SigIgn", CHLD),)),)}, "SIGCHLD is ignored"),
    ],
)
def test_the_remark_is_about_what_matters_most(change, words):
    said = remark(replace(PICTURE, **change))
    assert words in said
    assert len(said) <= 78


# Keys ----------------------------------------------------------------------------------------


def test_no_key_is_there_twice():
    assert len(BY_KEY) == sum(len(key.pressed or (key.label,)) for key in KEYS)


@pytest.mark.parametrize("only_ascii", [False, True])
def test_every_key_is_in_the_help_and_at_the_bottom(only_ascii):
    arrows = "^v" if only_ascii else "↑↓"
    page = text_of(PICTURES["help"], 80, 22, only_ascii).splitlines()
    bottom = " ".join(text_of(PICTURE, 80, 23, only_ascii).splitlines()[-2:])
    assert page[-1].strip() == "Any key goes back."
    assert not any("…" in line or "~" in line for line in page)
    for key in KEYS:
        label = key.label.replace("↑↓", arrows)
        if key.name:
            assert f"{label} {key.name}" in bottom
            (line,) = (line for line in page if line.split()[:1] == [label])
            assert line.endswith(key.help)
        else:  # told with another one
            assert any(one.help for one in KEYS if key.label[0] in one.help)


@pytest.mark.parametrize(
    ("pieces", "keys"),
    [
        ([b"cs"], ["c", "s"]),
        ([b"\x1b[A\x1bOB\t\r\n\x7f"], ["up", "down", "tab", "enter", "enter", "backspace"]),
        ([b"\x1b", b"[", b"A"], ["up"]),
        ([b"\x1b", b""], ["escape"]),
        ([b"x\x1b", b"", b"y"], ["x", "escape", "y"]),
        ([b"\x1bh"], ["escape", "h"]),
        ([b"\x1b[5~\x1b[1;5Cq"], ["q"]),  # page up, control-right: nothing of ours
        ([b"\x1b[1;", b"5Aq"], ["q"]),
        ([b"\xed\x95", b"\x9c"], ["한"]),
        ([b"\xffq"], ["\ufffd", "q"]),
    ],
)
def test_bytes_become_keys(pieces, keys):
    decoder = Decoder()
    assert [key for piece in pieces for key in decoder.keys(piece)] == keys
    assert not decoder.is_waiting


# The log -------------------------------------------------------------------------------------


def test_the_log_is_read_as_it_grows(tmp_path):
    out, err = tmp_path / "stdout", tmp_path / "stderr"
    out.touch()
    err.touch()
    tail = Tail(out, err)
    assert tail.lines() == ()
    with out.open("ab", 0) as file:
        file.write(b"one\ntw")
        assert tail.lines() == ("one", "tw")
        err.write_bytes(b"problem\n\x1b[2J")
        assert tail.lines() == ("one", "problem", "tw", "\\x1b[2J")
        file.write(b"o\n")
        assert tail.lines()[:3] == ("one", "problem", "two")
        file.write(b"".join(b"line %d\n" % n for n in range(100_000)))
    lines = tail.lines()
    assert len(lines) == MOST_LINES + 1
    assert lines[-2] == "line 99999"


# In a terminal -------------------------------------------------------------------------------

tmux_needed = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")


class Screen:
    """A command in a terminal of tmux's own, with what it shows and the keys for it."""

    def __init__(self, folder: Path, *command: str, size: tuple[int, int] = (80, 24), **env: str):
        self._folder, self._env = folder, environment(paths.KIT, TERM="xterm-256color", **env)
        # trap: Ctrl-C is for all that is in the terminal, but the shell has something left to do.
        script = (
            f"trap : INT TERM; stty -g > {folder}/before; {shlex.join(command)}; "
            f"echo $? > {folder}/ended; stty -g > {folder}/after; echo The end.; exec sleep 600"
        )
        x, y = map(str, size)
        self.tmux("new-session", "-d", "-s", "it", "-x", x, "-y", y, "sh", "-c", script)
        self.tmux("set", "-g", "status", "off")
        self.tmux("resize-window", "-t", "it", "-x", x, "-y", y)
        self.shell = int(self.tmux("display", "-p", "-t", "it", "#{pane_pid}"))
        self.pid = 0

    def tmux(self, *words: str) -> str:
        """Says something to its tmux, and returns the answer."""
        command = ["tmux", "-S", f"{self._folder}/tmux", "-f", "/dev/null", *words]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip("\n")

    @property
    def text(self) -> str:
        return self.tmux("capture-pane", "-p", "-t", "it")

    def shows(self, *words: str) -> str:
        """Waits until all these words are on the screen; returns it."""
        seen = [""]

        def is_there() -> bool:
            seen[0] = self.text
            return all(word in seen[0] for word in words)

        try:
            wait_until(is_there, "it")
        except AssertionError:
            pytest.fail(f"waited in vain for {words} on this screen:\n{seen[0]}")
        return seen[0]

    def started(self) -> Screen:
        """Waits until the view is open and its server listens."""
        self.shows("listening on port", "c connects a client")
        (self.pid,) = (
            one.pid for one in procfs.Family(self.shell).members() if one.parent == self.shell
        )
        assert running(mark_of(self.pid))
        return self

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", "-t", "it", *keys)

    @property
    def port(self) -> int:
        return int(self.text.partition("PORT=")[2].split()[0])

    def status(self) -> int:
        """Waits for its end: how it ended. All must then be as it was."""
        self.shows("The end.")
        assert self.tmux("display", "-p", "-t", "it", "#{alternate_on} #{cursor_flag}") == "0 1"
        assert (self._folder / "before").read_text() == (self._folder / "after").read_text()
        if self.pid:
            assert_nothing_is_left(self.pid)
        return int((self._folder / "ended").read_text())


def assert_nothing_is_left(pid: int) -> None:
    wait_until(lambda: not running(mark_of(pid)), "its servers to end")
    assert run_folders(pid) == []


@contextmanager
def _screens() -> Iterator[Callable[..., Screen]]:
    folders: list[Path] = []

    def open_one(*words: str, command: list[str] = COMMAND, **options: object) -> Screen:
        folders.append(Path(tempfile.mkdtemp()))
        return Screen(folders[-1], *command, *words, **options)  # type: ignore[arg-type]

    try:
        yield open_one
    finally:
        for folder in folders:
            with suppress(subprocess.CalledProcessError):
                subprocess.run(["tmux", "-S", f"{folder}/tmux", "kill-server"], stderr=-3)
            shutil.rmtree(folder)


@pytest.fixture
def screen():
    with _screens() as open_one:
        yield open_one


def solution(lab: str) -> str:
    return str(paths.solution_of(lab))


@tmux_needed
def test_a_reader_sees_zombies_appear(screen, tmp_path):
    """The bug that hides best: one waitpid for each SIGCHLD."""
    (mutant,) = (one for one in gallery.whole(["lab4"]) if one.name == "one-waitpid-per-signal")
    (tmp_path / "server.c").write_text(mutant.source)
    view = screen("play", "lab4", str(tmp_path)).started()
    view.press("c", "c", "c")
    view.shows("3 children, 0 zombies", "3 connected", "4 client 3")
    view.press("s", "h", "i", "?", "BSpace")
    view.shows("client 3 sends (Enter; Escape: not): hi")
    view.press("Enter")
    view.shows('sent "hi\\n"  got "hi\\n"')
    view.press("f")
    view.shows("T stopped", "Frozen")
    view.press("X")
    text = view.shows(
        "0 children, 3 zombies", "3 zombies, but SIGCHLD is pending once", "none / SIGCHLD"
    )
    assert text.count("✗ Z zombie") == 3
    view.press("c")
    view.shows("open in the queue")
    view.press("s", "y", "Enter", "h")
    view.shows("half-closed in the queue 2 unread")
    view.press("f")
    view.shows("3 zombies at the thaw, 2 now.", "exited with status 0", "▸ 4  ended ")
    view.press("d")
    view.shows("0 children, 1 zombie", "SIGCHLD sent")
    view.press("1", "e")
    view.shows("Client 1 is done")
    view.press("q")
    assert view.status() == ALL_PASSED


@tmux_needed
def test_the_other_keys(screen):
    view = screen("play", "lab3", solution("lab3"), size=(100, 35)).started()
    view.press("c", "e")
    view.shows('sent "exit\\n"  got EOF', "SIGCHLD is ignored")
    view.press("c", "s", "a", "Escape", "h")
    view.shows("2  ended", "0 children, 0 zombies")
    view.press("c", "c", "Up", "v")
    view.shows("3  vanished", "▸ 4  open in", "1 child, 0 zombies")
    view.press("x", "Tab", "?")
    view.shows("What the keys do")
    view.press("q")  # any key goes back
    view.shows("4  closed", "0 children, 0 zombies")
    with socket.create_connection(("127.0.0.1", view.port)) as outside:
        outside.sendall(b"hello\n")
        view.shows("1 from outside", f":{outside.getsockname()[1]}", "sent 6 bytes  got 6 bytes")
        view.press("Tab")
        view.shows(", a child")
    view.press("t")
    view.shows("The server has ended: killed by SIGTERM", "none")
    view.press("c", "f")
    view.shows("Connection refused", "The server has ended: r starts it again.")
    view.press("r")
    view.shows("c connects a client", "nobody yet", "listening on port")
    view.press("c")
    view.shows("1 child", "▸ 1  open in")
    view.press("r")  # also while it runs, with the same port
    view.shows("c connects a client", "nobody yet", "listening on port", "0 children")
    view.tmux("resize-window", "-t", "it", "-x", "40", "-y", "10")
    view.shows("This window is 40x10")
    view.tmux("resize-window", "-t", "it", "-x", "80", "-y", "24")
    view.shows("q quit", "0 children")
    view.press("q")
    assert view.status() == ALL_PASSED


@tmux_needed
@pytest.mark.parametrize("how", ["C-c", signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(screen, how):
    view = screen("play", "lab2", solution("lab2"), NO_COLOR="1").started()
    view.press("c", "f")
    view.shows("T stopped")
    coloured = view.tmux("capture-pane", "-p", "-e", "-t", "it")
    assert "\x1b[33m" not in coloured
    if how == "C-c":
        view.press(how)
    else:
        os.kill(view.pid, how)
    assert view.status() == INTERRUPTED
    assert "no server is left running" in view.text


@tmux_needed
def test_with_its_terminal_gone_it_ends(screen):
    view = screen("play", "lab2", solution("lab2")).started()
    view.press("c")
    view.shows("1 child")
    view.tmux("kill-server")
    wait_until(lambda: (one := procfs.process(view.pid)) is None or one.is_zombie, "its end")
    assert_nothing_is_left(view.pid)


@tmux_needed
def test_a_crash_of_ours_leaves_a_terminal_that_can_be_used(screen):
    program = (
        "import sys; from forklab import cli; from forklab.play import session\n"
        "def crash(*_): raise ZeroDivisionError('ours')\n"
        "session.Session.type = crash\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-P", "-c", program]
    view = screen("play", "lab2", solution("lab2"), command=command).started()
    view.press("c", "s", "a")
    assert view.status() == 1
    assert "ZeroDivisionError: ours" in view.text


@tmux_needed
def test_a_server_that_ends_at_once_is_shown(screen, tmp_path):
    (tmp_path / "server.c").write_text(
        '#include <stdio.h>\nint main(void) { puts("last words"); return 3; }\n'
    )
    view = screen("play", "lab1", str(tmp_path), PYTHONIOENCODING="ascii")
    view.shows("The server has ended: exit status 3", "last words", "^v client")
    view.press("r")
    view.shows("started again", "last words")
    view.press("q")
    assert view.status() == ALL_PASSED


@tmux_needed
def test_what_does_not_build_is_reported_as_in_make_lab(screen, tmp_path):
    (tmp_path / "server.c").write_text("int main(void) { return x; }\n")
    view = screen("play", "lab1", str(tmp_path))
    assert view.status() == NO_BUILD
    assert "0 of 100 (it does not compile)" in view.text


def test_without_a_terminal_it_says_so():
    ran = forklab("play", "lab1", solution("lab1"))
    assert ran.returncode == USAGE
    assert ran.stderr.startswith("forklab: play draws on a terminal")
    assert ran.stderr.count("\n") == 1
