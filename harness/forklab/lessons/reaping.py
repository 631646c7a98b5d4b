"""Children that have ended, and who takes them out of the process table."""

from __future__ import annotations

import signal
from contextlib import nullcontext

from forklab.clients import Clients
from forklab.evidence import (
    process_table,
    signal_table,
)
from forklab.launch import Launcher
from forklab.lessons.traffic import HELLO
from forklab.result import Evidence
from forklab.rubric import expect, first_fix
from forklab.server import Server

MANY, FEW = 24, 8  # children that end at once


def reaped_by_the_kernel(launch: Launcher, server: Server) -> bool:
    """Whether a child that ends leaves no zombie, although its parent can do nothing about it.

    So it is where SIGCHLD is ignored, or has SA_NOCLDWAIT (sigaction(2)).
    """
    masks = server.signal_masks()
    if masks.has(masks.ignored, signal.SIGCHLD):
        return True
    if masks.has(masks.caught | masks.blocked, signal.SIGCHLD):
        return False
    fresh = launch.listening()
    with Clients(fresh, launch.habits.greeting) as clients:
        client = clients.connect()
        client.ask(HELLO)
        fresh.settle()
        if not fresh.children():
            return False  # nobody whose end could tell
        with fresh.frozen():
            client.close()
            return fresh.wait_for(lambda: not fresh.children())


def must_reap_itself(launch: Launcher, server: Server) -> None:
    """Skips the check where the kernel reaps: then nothing can be seen."""
    if reaped_by_the_kernel(launch, server):
        first_fix("4.5")


def never_a_zombie(server: Server, clients: Clients) -> None:
    """Not one Z in three bursts of sixteen, the parent frozen in the first."""
    for burst in (1, 2, 3):
        crowd = clients.crowd(16)
        crowd.greet()
        with server.frozen() if burst == 1 else nullcontext():
            crowd.close()
            server.wait_for(lambda: not server.living())
            # Also where nobody waits for it, a process is Z for an instant on its way out.
            server.wait_for(lambda: not server.zombies())
            family = server.family()
        zombies = [one for one in family if one.is_zombie]
        if zombies:
            server.wait_for(lambda: not server.zombies())
        expect(
            not zombies,
            expected="no zombie at any time: nobody is to ask for the children's status",
            seen=f"{len(zombies)} of {len(crowd)} children were zombies"
            + (" while the parent was frozen" if burst == 1 else ""),
            evidence=process_table(server, family),
            diagnosis="leaves-zombies" if server.zombies() else "zombies-until-reaped",
        )
        if server.living():
            first_fix("3.5")  # who does not end can't become a zombie


def reaps_a_burst(launch: Launcher, server: Server, clients: Clients) -> None:
    """Children end while the server is frozen: their exits meet one pending SIGCHLD.

    They are many. Of a server that leaves some of them, another copy shows what it does with few.
    """
    size, diagnosis = MANY, "reaps-only-some"
    left, evidence = _left_by_a_burst(server, clients, size)
    if left:
        clients.leave()
        server = launch.listening()
        with Clients(server, launch.habits.greeting) as others:
            left_of_few, evidence_of_few = _left_by_a_burst(server, others, FEW)
            if left_of_few:
                size, left, evidence = FEW, left_of_few, evidence_of_few
                diagnosis = "one-wait-per-signal"
            if left_of_few == FEW:
                diagnosis = why_never(server)
                others.connect().ask(HELLO)
                if server.wait_for(lambda: not server.zombies()):
                    diagnosis = "reaps-on-next-accept"
    expect(
        not left,
        expected="0 zombies after the burst",
        seen=f"{left} of {size} children are zombies",
        evidence=evidence,
        diagnosis=diagnosis,
    )


def _left_by_a_burst(server: Server, clients: Clients, size: int) -> tuple[int, list[Evidence]]:
    """How many of so many children stay zombies, and what shows it."""
    crowd = clients.crowd(size)
    crowd.greet()
    server.settle()
    with server.frozen():
        crowd.close()
        server.wait_for(lambda: len(server.zombies()) == len(crowd))
    if server.wait_for(lambda: not server.zombies()):
        return 0, []
    left = len(server.zombies())
    return left, [process_table(server), signal_table(server.signal_masks())]


def why_never(server: Server) -> str:
    """A name for a server that reaps nobody: whether its own mask keeps SIGCHLD away."""
    masks = server.signal_masks()
    return "sigchld-stays-blocked" if masks.has(masks.blocked, signal.SIGCHLD) else "never-reaps"
