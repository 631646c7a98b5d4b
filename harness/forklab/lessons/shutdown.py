"""An orderly end: SIGTERM and SIGINT."""

from __future__ import annotations

import signal

from forklab.clients import Client, Clients
from forklab.contain import Exit
from forklab.evidence import (
    last_words,
    process_table,
    transcript,
)
from forklab.launch import Launcher
from forklab.lessons.survival import child_of
from forklab.lessons.telling import lines_about
from forklab.lessons.traffic import HELLO, count
from forklab.probe import Probe
from forklab.rubric import expect
from forklab.server import Server


def shuts_down(server: Server, clients: Clients) -> None:
    """On SIGTERM: every child ended and reaped, connections and port closed, exit status 0."""
    crowd = clients.crowd(20)
    crowd.greet()
    server.settle()
    server.kill(signal.SIGTERM)
    server.wait_for(lambda: server.exit)
    left = process_table(server)
    expect(
        server.exit,
        expected="a server that ends on SIGTERM",
        seen="it still runs",
        evidence=left,
        diagnosis="ignores-sigterm",
    )
    ended = server.exit
    expect(
        ended and ended.signal != signal.SIGTERM,
        expected="a server that ends its children and then itself, with status 0",
        seen="SIGTERM killed it: it has no handler for it",
        evidence=left,
        diagnosis="dies-of-sigterm",
    )
    orphans = server.living()
    expect(
        not orphans,
        expected="no child left when the server has ended",
        seen=f"{count(len(orphans), 'child', 'children')} left without a parent",
        evidence=left,
        diagnosis="leaves-orphans",
    )
    expect(
        ended and ended.ok,
        expected="exit status 0 after SIGTERM",
        seen=str(ended),
        evidence=left,
        diagnosis="dies-of-sigterm",
    )
    expect(
        all(client.await_end() for client in crowd) and not server.is_listening(),
        expected="every connection and the port closed",
        seen="a connection or the port is still open",
        evidence=lambda: transcript(*crowd),
    )


def waits_for_slow_children(launch: Launcher) -> None:
    """SIGINT is SIGTERM's equal; and a stopped child, which can't end yet, has to be waited for.

    Some clients have left by then, so that a table of children has holes.
    """
    server, probe = launch.under_a_probe()
    with Clients(server, launch.habits.greeting) as clients:
        crowd = clients.crowd(3)
        crowd.greet()
        children = _living(server)
        crowd[1].close()
        server.settle()
        left = _living(server)
        masks = server.signal_masks()
        another = clients.connect()
        if another.ask(HELLO) == HELLO:
            another.close()
            _ends_with_its_last_child(server, crowd[-1], probe)
            if not masks.has(masks.ignored, signal.SIGCHLD):  # a matter of 4.5
                _tells_of_the_last_children(server, children - left, left)
            return
    # It waits in its handler, which is a matter of 4.8: once more, and nobody leaves.
    server = launch.listening(probe=probe)
    with Clients(server, launch.habits.greeting) as clients:
        client = clients.connect()
        client.ask(HELLO)
        _ends_with_its_last_child(server, client, probe)


def _living(server: Server) -> set[int]:
    """Its children, by the pids that :func:`lines_about` knows them by from here on."""
    pids = {one.pid for one in server.children() if not one.is_zombie}
    for pid in pids:
        server.pid_inside(pid)
    return pids


def _tells_of_the_last_children(server: Server, before: set[int], at_the_end: set[int]) -> None:
    """One that tells how a child ended before tells it of those that it ends itself, too."""
    told_before = any("exit" in line for pid in before for line in lines_about(server, pid))
    untold = [pid for pid in at_the_end if not lines_about(server, pid)]
    expect(
        not (untold and told_before),
        expected="a line for each child that ends at the shutdown, as for one that ends before it",
        seen=f"{len(untold)} of {count(len(at_the_end), 'child', 'children')} ended without a line",
        evidence=lambda: last_words(server),
        diagnosis="does-not-tell",
    )


def forgets_who_has_ended(launch: Launcher) -> None:
    """SIGTERM, when the only child has been reaped: its pid is nobody's, or somebody else's.

    The child ends before fork has returned in its parent, the earliest that it can: a SIGCHLD
    which is not blocked then is handled before the parent has noted whom it stands for. And the
    signal comes right before accept, when whoever only looks at a flag has looked already.
    """
    server, probe = launch.under_a_probe()
    probe.linger_in_fork()
    probe.stop_before_accept()
    with Clients(server, launch.habits.greeting) as clients:
        clients.connect().close()
        server.wait_for(lambda: probe.forks and not server.living())
        server.settle()
        stopped = not probe.stopped or server.wait_for(lambda: server.exit)
        is_missed = not stopped and server.is_listening()
        left = process_table(server)
        server.kill(signal.SIGTERM)  # for one that was not in accept at all, the first
        server.wait_for(lambda: server.exit)
        expect(
            not (is_missed and server.exit),
            expected="a server that ends also when SIGTERM comes right before its call of accept",
            seen="it sleeps in accept until the next client comes, or the next signal",
            evidence=[left],
            diagnosis="misses-the-signal",
        )
    if probe.ignored_at_first_fork:
        return  # no handler could tell it, which is another check's matter
    expect(
        not probe.kills_missed,
        expected="signals for children that are still there",
        seen="it signals a process that it has already reaped",
        evidence=lambda: last_words(server),
        diagnosis="signals-the-reaped",
    )


def _ends_with_its_last_child(server: Server, client: Client, probe: Probe) -> None:
    child = child_of(server, client)
    with server.frozen(child):
        server.kill(signal.SIGINT)
        server.wait_for(lambda: server.exit or not server.listeners())
        server.settle()  # whether it waits now or ends
        expect(
            not probe.groups_killed,
            expected="signals for its own children, and for nobody else",
            seen="it signals its whole process group: also a script or a make that started it",
            evidence=process_table(server),
            diagnosis="kills-its-group",
        )
        expect(
            server.is_running() or server.exit != Exit(None, signal.SIGINT),
            expected="the same orderly end on SIGINT (Ctrl-C) as on SIGTERM",
            seen="SIGINT killed it: it has no handler for it",
            diagnosis="dies-of-sigterm",
        )
        left = server.living()
        expect(
            server.is_running() or not left,
            expected="a server that waits until its last child has ended",
            seen="the server has ended, and a child that was slow to obey has not",
            evidence=process_table(server),
            diagnosis="leaves-orphans",
        )
        expect(
            not server.listeners(),
            expected="no listening socket once it was told to stop",
            seen="it still listens while it waits for its children: clients come, for nothing",
            evidence=lambda: [process_table(server)],
            diagnosis="listens-to-the-end",
        )
    expect(
        server.wait_for(lambda: server.exit),
        expected="a server that ends with its last child",
        seen=lambda: (
            "it waits for a child that it did not end"
            if server.living()
            else "all children have ended, and the server goes on"
        ),
        evidence=lambda: [process_table(server)],
        diagnosis="ignores-sigterm",
    )
    ended = server.exit
    expect(
        ended and ended.ok,
        expected="exit status 0 after SIGINT (Ctrl-C), as after SIGTERM",
        seen=str(ended),
        evidence=lambda: last_words(server),
        diagnosis="dies-of-sigterm",
    )
