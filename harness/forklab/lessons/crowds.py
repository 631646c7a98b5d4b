"""Several clients, and the processes that serve them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import partial

from forklab.clients import Client, Clients, Crowd
from forklab.echoes import compare
from forklab.evidence import (
    last_words,
    plain,
    process_table,
    transcript,
)
from forklab.launch import Launcher
from forklab.lessons.survival import has_crashed
from forklab.lessons.traffic import HELLO, ask_number, count
from forklab.procfs import Process
from forklab.result import Evidence
from forklab.rubric import expect
from forklab.server import Server

MANY = 26  # clients at once: with those before, more than 32, and two tasks each within 64
AFTERWARDS = 8  # more: with the nine of serves_at_once, in lab 4, it is more than 50


def at_rest_without_clients(server: Server) -> None:
    """Waits until the clients before are done with, also in a handler of SIGCHLD."""
    server.wait_for(lambda: not server.living())
    server.settle()


def _why_one_at_a_time(server: Server, unanswered: Client, forks_ahead: bool) -> str:
    if has_crashed(server):
        return "crashes"
    if not any(server.pid in one.pids for one in server.listeners()):
        return "parent-closes-listener"
    if unanswered.ended:
        return "stops-after-n-clients"
    if forks_ahead:
        return "forks-ahead"
    # Where some are served side by side, it is not the first of them that is in the way.
    return "stops-after-n-clients" if len(server.living()) > 1 else "one-at-a-time"


def _why_no_more(server: Server) -> str:
    """Some clients were served, and others are not."""
    return "crashes" if has_crashed(server) else "stops-after-n-clients"


def expect_all_connect(server: Server, crowd: Crowd) -> None:
    """Fails the check if nobody listens any more for one of them."""
    turned_away = [client for client in crowd if client.ended]
    expect(
        not turned_away,
        expected=f"a server that goes on listening for {len(crowd)} more clients",
        seen=f"{count(len(turned_away), 'client')} could not even connect",
        evidence=lambda: [*transcript(turned_away[0]), process_table(server)],
        diagnosis=lambda: _why_one_at_a_time(server, turned_away[0], False),
    )


def serves_at_once(server: Server, clients: Clients, others: int = 8) -> None:
    """A silent client first, then eight, asked in reverse order of connecting.

    A connection alone proves nothing: the kernel accepts for a server that doesn't.
    """
    at_rest_without_clients(server)
    before = server.living()
    silent = clients.connect()
    crowd = clients.crowd(others)
    expect_all_connect(server, crowd)
    for number, client in reversed(list(enumerate(crowd, 1))):
        got = ask_number(client, number)
        expect(
            got or number < others,
            expected=f"an answer for each of {others} clients while a ninth is silent",
            seen=f"the client that came last hears nothing while {others} others are connected",
            evidence=lambda: [*transcript(silent, crowd[-1]), process_table(server)],
            diagnosis=partial(_why_one_at_a_time, server, client, bool(before)),
        )
        compare(client, b"message %d\n" % number, got, "one-at-a-time" if not got else None)
    silent.close()
    crowd.close()
    server.wait_for(lambda: not server.living())


def one_child_each(server: Server, clients: Clients) -> Crowd:
    """As many children of the server as there are clients; one thread each. Returns the clients."""
    server.settle()
    before = _alive(server.children())
    expect(
        not before,
        expected="no child before the first client",
        seen=f"{count(len(before), 'child', 'children')} before anybody connected",
        evidence=process_table(server, before),
        diagnosis="forks-ahead",
    )
    crowd = clients.crowd(8)
    expect_all_connect(server, crowd)
    unanswered = crowd.greet()
    server.wait_for(lambda: len(_alive(server.children())) == len(crowd))
    server.settle()
    family = server.family()
    children = [one for one in family if one.parent == server.pid]
    alive = _alive(children)
    # A parent may have a thread of its own to reap; who serves should not.
    threads = max((one.threads for one in children or family), default=0)
    below = [one for one in family if one.pid != server.pid and one.parent != server.pid]
    if threads > 1:
        seen, diagnosis = f"a process with {threads} threads", "threads-not-processes"
    elif _alive(below):
        seen = (
            f"{count(len(alive), 'living child', 'living children')} of the server, and "
            f"{len(_alive(below))} that are not its own"
        )
        diagnosis = "grandchildren"
    elif not alive:
        seen, diagnosis = "no child: the server itself answers", "no-child"
    elif unanswered:
        seen = f"{len(unanswered)} of {len(crowd)} clients hear nothing while the others are there"
        diagnosis = "one-at-a-time"
    else:
        seen = f"{count(len(alive), 'child', 'children')} for {len(crowd)} clients"
        diagnosis = "wrong-number"
    expect(
        len(alive) == len(crowd) and threads <= 1 and not _alive(below),
        expected=f"{len(crowd)} clients, {len(crowd)} children of the server, one thread each",
        seen=seen,
        evidence=process_table(server, family),
        diagnosis=diagnosis,
        # A child for each client is there, whatever else it has.
        goes_on=threads > 1 and len(alive) == len(crowd) and not unanswered,
    )
    return crowd


def _alive(processes: Sequence[Process]) -> list[Process]:
    return [one for one in processes if not one.is_zombie]


def stays_one_process(server: Server, clients: Clients) -> None:
    """No child and no second thread, with a client and after it."""
    for moment in ("with a client", "after the client left"):
        client = clients.connect()
        client.ask(HELLO)
        if moment != "with a client":
            client.close()
        server.settle()
        if not server.is_running():
            return  # why it ended is another check's question
        family = server.family()
        threads = max((one.threads for one in family), default=0)
        expect(
            len(family) == 1 and threads == 1,
            expected="one process with one thread",
            seen=f"{count(len(family), 'process', 'processes')} with at most "
            f"{count(threads, 'thread')} each, {moment}",
            evidence=process_table(server, family),
            diagnosis="more-than-one-process",
        )
        client.close()


def serves_many(server: Server, clients: Clients) -> None:
    """So many clients at once as fill a small table; and none of them for the first time.

    Then some that come and leave: a table of which each place is used once may be larger.
    """
    crowd = clients.crowd(MANY)
    expect_all_connect(server, crowd)
    unanswered = crowd.greet()
    expect(
        not unanswered,
        expected=f"an echo for each of {len(crowd)} more clients",
        seen=lambda: f"{len(unanswered)} of them get none",
        evidence=lambda: [*transcript(unanswered[0]), process_table(server), *last_words(server)],
        diagnosis=lambda: _why_no_more(server),
    )
    crowd.close()
    clients.crowd(AFTERWARDS).close()


def says_each_thing_once(launch: Launcher) -> None:
    """Five clients with stdout on a file, and five with stdout line-buffered: the same lines.

    And no line that names a client's port comes twice.
    """
    shown = []
    for line_buffered in (True, False):
        probe = launch.new_probe()
        if line_buffered:
            probe.buffer_lines()
        server = launch.listening(probe=probe)
        lines, ports = _log_of_five_clients(launch, server)
        server.end()
        shown.append(lines)
        if line_buffered:
            _expect_no_echo_in_the_log(lines, ports)
    once, copied = (Counter(_without_numbers(line) for line in lines) for lines in shown)
    # A copy is one letter for letter. Other lines may hold what differs from run to run.
    copies = {_without_numbers(line) for line, times in Counter(shown[1]).items() if times > 1}
    repeated = Counter({line: more for line, more in (copied - once).items() if line in copies})
    expect(
        not repeated,
        expected="each line once, also when stdout is a file",
        seen=lambda: _most_repeated(repeated, once, shown[1]),
        evidence=lambda: [Evidence("stdout, in a file", plain("\n".join(shown[1][:16])))],
        diagnosis="copies-stdio-buffer",
    )


def _expect_no_echo_in_the_log(lines: Sequence[str], ports: Sequence[int]) -> None:
    """A client's port names one connection: what is said of it twice was said by two processes."""
    twice = [
        line
        for line, times in Counter(lines).items()
        if times > 1 and any(re.search(rf"(?<!\d){port}(?!\d)", line) for port in ports)
    ]
    expect(
        not twice,
        expected="one line for each thing that happens to a client",
        seen=lambda: f'"{plain(twice[0])}", twice',
        evidence=lambda: [Evidence("stdout", plain("\n".join(lines[:16])))],
        diagnosis="tells-twice",
    )


def _log_of_five_clients(launch: Launcher, server: Server) -> tuple[list[str], list[int]]:
    """What it wrote to stdout, and the clients' ports."""
    ports = []
    with Clients(server, launch.habits.greeting) as clients:
        for _ in range(5):
            client = clients.connect()
            ports.append(client.port)
            client.ask(HELLO)
            client.close()
            server.settle()
    return server.stdout.decode(errors="replace").splitlines(), ports


def _most_repeated(repeated: Counter[str], once: Counter[str], log: list[str]) -> str:
    masked, more = repeated.most_common(1)[0]
    line = next(line for line in log if _without_numbers(line) == masked)
    return f'"{plain(line)}" and its like {once[masked] + more} times instead of {once[masked]}'


def _without_numbers(line: str) -> str:
    return re.sub(r"\d+", "#", line)
