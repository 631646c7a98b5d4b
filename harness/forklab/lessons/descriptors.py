"""Who holds which descriptor, and who ends when."""

from __future__ import annotations

from collections.abc import Sequence

from forklab import procfs, tcp
from forklab.clients import Clients, Crowd
from forklab.evidence import (
    descriptor_table,
    last_words,
    process_table,
    transcript,
)
from forklab.launch import Launcher
from forklab.lessons.crowds import at_rest_without_clients, serves_many
from forklab.lessons.echoing import ends_in_good_order
from forklab.lessons.survival import unless_spinning, why_it_spins
from forklab.lessons.traffic import HELLO
from forklab.result import Evidence
from forklab.rubric import expect
from forklab.server import Server


def served_crowd(server: Server, clients: Clients) -> Crowd:
    """Eight clients, each with its answer; nobody else is there any more."""
    at_rest_without_clients(server)
    crowd = clients.crowd(8)
    crowd.greet()
    return crowd


def parent_lets_go(server: Server, crowd: Crowd) -> None:
    """The parent has no connection open, with these clients and after them; half-close ends one."""
    _expect_no_connection(server, "while eight clients are connected")
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
    _expect_no_connection(server, "after they left")


def _expect_no_connection(server: Server, when: str) -> None:
    def kept() -> set[int]:
        connections = {one.inode for one in tcp.connections(server.port)}
        return procfs.socket_inodes(server.pid) & connections

    server.wait_for(lambda: not kept())
    left = kept()
    expect(
        not left,
        expected="a parent that has none of the clients' connections open",
        seen=f"it has {len(left)} of them open {when}",
        evidence=lambda: [descriptor_table("descriptors of the parent", server.descriptors())],
        diagnosis="parent-keeps-connection",
    )


def children_with_the_listener(server: Server) -> list[Evidence]:
    """The descriptors of each child that has the listening socket open."""
    listeners = server.listeners()
    inodes = {one.inode for one in listeners}

    def holders() -> list[procfs.Process]:
        return [one for one in server.living() if procfs.socket_inodes(one.pid) & inodes]

    server.wait_for(lambda: not holders())
    return [
        descriptor_table(
            f"descriptors of child {one.pid}", procfs.descriptors(one.pid), listeners[0].inode
        )
        for one in holders()
    ]


def children_let_go(with_listener: Sequence[Evidence], crowd: Crowd) -> None:
    """No child of these clients has the listening socket open."""
    expect(
        not with_listener,
        expected="only the parent has the listening socket open",
        seen=f"{len(with_listener)} of {len(crowd)} children have it open as well",
        evidence=with_listener[:1],
        diagnosis="child-keeps-listener",
    )


def children_end(server: Server, crowd: Crowd) -> None:
    """When these clients leave, their children end, and the server goes on."""
    crowd.close()
    server.wait_for(lambda: not server.living())
    at_rest = server.settle()  # what its child did to it has struck by now
    expect(
        server.is_running(),
        expected="a server that goes on when its clients leave",
        seen=lambda: f"the server ended: {server.exit}",
        diagnosis="child-ends-the-server",
    )
    left = server.living()
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
        diagnosis="child-keeps-running",
    )


def gives_descriptors_back(launch: Launcher) -> None:
    """The same descriptors before and after twenty clients, every second of which resets.

    Of a server that a reset ends, after twenty that leave in good order.
    """
    if not _gives_back_after(launch, resets=True):
        server_left = _gives_back_after(launch, resets=False)
        expect(
            server_left,
            expected="a server that is still there after twenty clients",
            seen="it ended",
            diagnosis="stops-after-n-clients",
        )


def _gives_back_after(launch: Launcher, resets: bool) -> bool:
    """Fails the check if descriptors are lost. False if the server ended before that."""
    server = launch.listening()
    with Clients(server, launch.habits.greeting) as clients:

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
            visit(resets and number % 2 == 1)
        # Not only asleep: it may be in a nap, with the last connection still to close.
        server.wait_for(lambda: len(server.descriptors()) <= len(before))
        if not server.is_running():
            return False
        now = server.descriptors()
    expect(
        len(now) <= len(before),
        expected=f"{len(before)} descriptors after twenty clients, as before them",
        seen=f"{len(now)} descriptors: {len(now) - len(before)} connections were never closed",
        evidence=descriptor_table("descriptors of the server", now),
        diagnosis="keeps-descriptors",
    )
    return True


def right_descriptors(server: Server, clients: Clients, crowd: Crowd) -> None:
    """The parent without connections, the child without the listener, and an end for both."""
    with_listener = children_with_the_listener(server)
    parent_lets_go(server, crowd)
    children_end(server, crowd)
    serves_many(server, clients)
    children_let_go(with_listener, crowd)
