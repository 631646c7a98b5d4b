"""Who holds which descriptor, and who ends when."""

from __future__ import annotations

from forklab import procfs
from forklab.clients import Clients
from forklab.evidence import (
    descriptor_table,
    last_words,
    process_table,
    transcript,
)
from forklab.launch import Launcher
from forklab.lessons.crowds import at_rest_without_clients, serves_many
from forklab.lessons.echoing import ends_in_good_order
from forklab.lessons.starting import restarts_at_once
from forklab.lessons.survival import unless_spinning, why_it_spins
from forklab.lessons.traffic import HELLO, count
from forklab.rubric import expect, first_fix
from forklab.server import Server


def parent_lets_go(server: Server, clients: Clients) -> None:
    """The parent has the same descriptors before, with and after eight clients; half-close ends."""
    at_rest_without_clients(server)
    before = server.descriptors()
    crowd = clients.crowd(8)
    crowd.greet()
    server.settle()
    during = server.descriptors()
    _expect_same_descriptors(before, during, "while eight clients are connected")
    last = crowd[-1]
    last.half_close()
    expect(
        last.await_end(),
        expected="the end of the stream for a client that half-closed",
        seen="its connection stays open: somebody still holds it",
        evidence=lambda: [*transcript(last), process_table(server)],
        diagnosis=unless_spinning(server, b"", "no-end-of-stream") if not last.ended else None,
    )
    ends_in_good_order(last)
    crowd.close()
    at_rest_without_clients(server)
    _expect_same_descriptors(before, server.descriptors(), "after they left")


def _expect_same_descriptors(before: dict[int, str], now: dict[int, str], when: str) -> None:
    held, holds = _count_sockets(before), _count_sockets(now)
    expect(
        holds <= held + 1,  # one for good, such as syslog's, is its own affair
        expected=f"the parent holds what it held before the clients: {count(held, 'socket')}",
        seen=f"{count(holds, 'socket')} {when}: it kept {holds - held} of the clients' connections",
        evidence=descriptor_table("descriptors of the parent", now),
        diagnosis="parent-keeps-connection",
    )


def _count_sockets(descriptors: dict[int, str]) -> int:
    return sum(target.startswith("socket:") for target in descriptors.values())


def child_lets_go(server: Server, clients: Clients) -> None:
    """No child has the listening socket open."""
    at_rest_without_clients(server)
    listeners = server.listeners()
    crowd = clients.crowd(3)
    crowd.greet()
    server.settle()
    holders = [
        child
        for child in server.living()
        if procfs.socket_inodes(child.pid) & {one.inode for one in listeners}
    ]
    expect(
        not holders,
        expected="only the parent has the listening socket open",
        seen=f"{len(holders)} of {len(crowd)} children have it open as well",
        evidence=lambda: [
            descriptor_table(
                f"descriptors of child {holders[0].pid}",
                procfs.descriptors(holders[0].pid),
                listeners[0].inode,
            )
        ],
        diagnosis="child-keeps-listener",
    )
    crowd.close()


def child_ends_with_its_client(server: Server, clients: Clients) -> None:
    """When a client leaves, its child ends."""
    at_rest_without_clients(server)
    crowd = clients.crowd(8)
    crowd.greet()
    crowd.close()
    server.wait_for(lambda: not server.living())
    expect(
        server.is_running(),
        expected="a server that goes on when its clients leave",
        seen=lambda: f"the server ended: {server.exit}",
        diagnosis="child-ends-the-server",
    )
    left = server.living()
    at_rest = server.settle()
    expect(
        not left,
        expected="no child left when all clients are gone",
        seen=f"{len(left)} of {len(crowd)} children still run"
        + ("" if at_rest else ", and keep a processor busy"),
        evidence=process_table(server),
        diagnosis="child-keeps-running" if at_rest else why_it_spins(server, "child-keeps-running"),
    )
    expect(
        not server.prints_without_end,
        expected="a child that ends quietly when its client has gone",
        seen="it went on, and printed until the limit of 64 MiB stopped it",
        evidence=lambda: last_words(server),
        diagnosis="prints-without-end",
    )
    serves_many(server, clients)


def gives_descriptors_back(server: Server, clients: Clients) -> None:
    """The same descriptors before and after twenty clients."""

    def visit(vanishes: bool) -> None:
        visitor = clients.connect()
        visitor.ask(HELLO)
        if vanishes:
            visitor.reset()
        else:
            visitor.close()
        server.settle()

    visit(False)  # whatever is opened at the first client
    before = server.descriptors()
    for number in range(20):
        visit(number % 2 == 1)
    if not server.is_running():
        first_fix("1.10")  # it has none, because it has ended
    now = server.descriptors()
    expect(
        len(now) <= len(before),
        expected=f"{len(before)} descriptors after twenty clients, as before them",
        seen=f"{len(now)} descriptors: {len(now) - len(before)} connections were never closed",
        evidence=descriptor_table("descriptors of the server", now),
        diagnosis="keeps-descriptors",
    )


def right_descriptors(launch: Launcher, server: Server, clients: Clients) -> None:
    """The parent without connections, the child without the listener, and an end for both."""
    parent_lets_go(server, clients)
    child_ends_with_its_client(server, clients)
    child_lets_go(server, clients)
    clients.leave()
    restarts_at_once(launch)
