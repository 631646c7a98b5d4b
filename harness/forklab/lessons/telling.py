"""What a server says of how its children ended."""

from __future__ import annotations

import re
import signal
from functools import partial

from forklab import procfs
from forklab.clients import Clients
from forklab.evidence import (
    last_words,
    plain,
    process_table,
)
from forklab.launch import Launcher
from forklab.lessons.reaping import must_reap_itself
from forklab.lessons.survival import child_of
from forklab.lessons.traffic import HELLO
from forklab.result import Evidence
from forklab.rubric import expect
from forklab.server import Server

ENDS = (None, signal.SIGKILL, signal.SIGTERM)  # by itself, with its client; or killed


def tells_how_children_ended(launch: Launcher) -> None:
    """One line for each child: its pid, and the status or the signal.

    One after the other; all at once, in a burst; after a reset; and none for a child that stopped.
    """
    probe = launch.new_probe()
    probe.buffer_lines()
    server = launch.listening(probe=probe)
    with Clients(server, launch.habits.greeting) as clients:
        must_reap_itself(launch, server)
        for wanted in ENDS:
            child, how = _end_a_child(server, clients, wanted)
            server.wait_for(partial(_is_gone, child))
            server.settle()
            _expect_told(server, child, how)
        _tells_a_burst_apart(server, clients)
        _tells_a_status(server, clients)
        _says_nothing_of_the_stopped(server, clients)
    _says_nothing_of_nobody(server)


def _end_a_child(
    server: Server, clients: Clients, how: signal.Signals | None
) -> tuple[int | None, signal.Signals | None]:
    """A new client's child, which is made to end; and what that came to be by."""
    client = clients.connect()
    client.ask(HELLO)
    child = child_of(server, client)
    how = _certain(child, how)
    if how is None:
        client.close()
    elif child is not None:
        server.kill(how, child)
    return child, how


def _certain(child: int | None, how: signal.Signals | None) -> signal.Signals | None:
    """SIGKILL in place of SIGTERM, where the child has an answer of its own to that one."""
    masks = procfs.signal_masks(child) if child and how == signal.SIGTERM else None
    its_own = masks and masks.has(masks.caught | masks.ignored | masks.blocked, signal.SIGTERM)
    return signal.SIGKILL if its_own else how


def _tells_a_burst_apart(server: Server, clients: Clients) -> None:
    """Ends that come as one signal are told apart. Who is not reaped is a matter of 4.7."""
    ends = {}
    leaving = []
    for how in ENDS:
        client = clients.connect()
        client.ask(HELLO)
        child = child_of(server, client)
        ends[child] = _certain(child, how)
        leaving += [client] if how is None else []
    with server.frozen():
        for child, how in ends.items():
            if how is not None and child is not None:
                server.kill(how, child)
        for client in leaving:
            client.close()
        server.wait_for(lambda: len(server.zombies()) >= len(ends))
    server.settle()
    for child, how in ends.items():
        if _is_gone(child) and lines_about(server, child):
            _expect_told(server, child, how, " (all three ended at once, while it was frozen)")


def _tells_a_status(server: Server, clients: Clients) -> None:
    """A client that resets: whatever its child's status, it is one from 0 to 255."""
    client = clients.connect()
    client.ask(HELLO)
    child = child_of(server, client)
    client.reset()
    server.wait_for(partial(_is_gone, child))
    server.settle()
    too_large = [
        line
        for line in lines_about(server, child)
        if any(int(n) > 255 for n in re.findall(r"(?:status|code|with)\D{0,3}(\d+)", line))
    ]
    expect(
        not too_large,
        expected="an exit status from 0 to 255, as the child gave it to _exit",
        seen=lambda: f'"{plain(too_large[0])}"',
        evidence=lambda: last_words(server),
        diagnosis="tells-raw-status",
    )


def _says_nothing_of_the_stopped(server: Server, clients: Clients) -> None:
    """A child that is stopped (SIGSTOP) has not ended."""
    client = clients.connect()
    client.ask(HELLO)
    child = child_of(server, client)
    if child is None:
        return
    before = lines_about(server, child)
    with server.frozen(child):
        server.settle()
        told = [
            line
            for line in lines_about(server, child)[len(before) :]
            if re.search("exit|kill|term", line, re.IGNORECASE)
            and not re.search("stop", line, re.IGNORECASE)
        ]
    expect(
        not told,
        expected="no word of an end while a child is only stopped (SIGSTOP)",
        seen=lambda: f'"{plain(told[0])}"',
        evidence=lambda: [process_table(server), *last_words(server)],
        diagnosis="takes-stopped-for-ended",
    )


def _says_nothing_of_nobody(server: Server) -> None:
    """waitpid's 0 and -1 are no children."""
    said = (server.stdout + server.stderr).decode(errors="replace")
    wrong = re.findall(r"(?m)^.*child (?:-1|0) (?:exited with|killed by).*$", said)
    expect(
        not wrong,
        expected="a line for each child that has ended, and no other",
        seen=lambda: f'"{plain(wrong[0])}"',
        evidence=lambda: last_words(server),
        diagnosis="tells-of-nobody",
    )


def _expect_told(
    server: Server, child: int | None, how: signal.Signals | None, when: str = ""
) -> None:
    """Fails the check unless just one line tells how that child ended."""
    server.wait_for(lambda: bool(lines_about(server, child)))
    pid = server.pid_inside(child or 0)
    word, number = ("signal|kill|term", int(how)) if how else ("exit", 0)
    wanted = rf"({word}).*{_number(number)}|{_number(number)}.*({word})"
    if how:
        wanted += rf"|{how.name}"
    lines = lines_about(server, child)
    told = [x for x in lines if re.search(wanted, _without_pid(x, pid), re.IGNORECASE)]
    shown = f"killed by signal {number}" if how else f"exited with status {number}"
    expect(
        len(told) == 1,
        expected=f'one line like "child {pid} {shown}"{when}',
        seen=f"{len(told)} lines that tell it" if told or not lines else f'"{plain(lines[-1])}"',
        evidence=lambda: last_words(server) or [Evidence("what it said", "nothing")],
        diagnosis="does-not-tell",
    )


def lines_about(server: Server, pid: int | None) -> list[str]:
    """What it has said of a descendant, whose pid inside was asked for while it lived."""
    said = (server.stdout + server.stderr).decode(errors="replace")
    number = _number(server.pid_inside(pid or 0))
    return [line for line in said.splitlines() if re.search(number, line)]


def _without_pid(line: str, pid: int) -> str:
    return re.sub(_number(pid), "", line)


def _number(number: int) -> str:
    """A regular expression for a number that stands by itself."""
    return rf"(?<!\d){number}(?!\d)"


def _is_gone(pid: int | None) -> bool:
    return pid is None or procfs.process(pid) is None
