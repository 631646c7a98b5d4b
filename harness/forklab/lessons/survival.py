"""What a client, or a shortage, must not do to a server."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Sequence

from forklab import procfs, tcp
from forklab.clients import Client, Clients
from forklab.echoes import difference
from forklab.evidence import (
    descriptor_table,
    last_words,
    process_table,
    signal_table,
    transcript,
)
from forklab.launch import Launcher
from forklab.lessons.traffic import HELLO, long_text
from forklab.result import Evidence
from forklab.rubric import expect
from forklab.server import Server

KILLS = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP)
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)


def has_crashed(server: Server) -> bool:
    """Whether the kernel ended it for what no program may do (signal(7))."""
    ended = None if server.is_running() else server.exit
    return ended is not None and ended.signal in CRASHES


def expect_alive(
    server: Server,
    after: str,
    evidence: Sequence[Evidence] = (),
    diagnosis: str | Callable[[], str] = "ends-with-its-client",
) -> None:
    """Fails the check if the server ended."""
    running = server.is_running()
    ended = server.exit
    by_sigpipe = ended is not None and ended.signal == signal.SIGPIPE
    if has_crashed(server) and diagnosis == "ends-with-its-client":
        diagnosis = "crashes"
    expect(
        running,
        expected=f"a server that goes on {after}",
        seen=f"it ended: {ended}",
        evidence=[*evidence],
        diagnosis="killed-by-sigpipe" if by_sigpipe else diagnosis,
    )


def expect_service(
    server: Server, client: Client, after: str, diagnosis: str | Callable[[], str]
) -> None:
    """Fails the check unless this client gets its echo."""
    got = client.ask(HELLO)
    expect(
        got == HELLO,
        expected=f"an echo {after}",
        seen=difference(HELLO, got),
        evidence=lambda: [*transcript(client), process_table(server)],
        diagnosis=diagnosis,
    )


def survives_vanishing_clients(server: Server, clients: Clients, others: bool = True) -> None:
    """A reset in mid-session; a client that closes while its answers are on the way.

    ``others``: another client is there all the time, and must not notice.
    """
    stays = clients.connect() if others else None
    if stays:
        expect_service(server, stays, "for the first client", "does-not-echo")
    silent = clients.connect()
    expect(
        server.settle(),
        expected="a server that sleeps while its client says nothing",
        seen="it keeps a processor busy",
        evidence=lambda: [process_table(server)],
        diagnosis="spins-while-idle",
    )
    silent.ask(HELLO)
    if others:
        silent.reset()
    else:
        silent.close()
        expect_rest(server, "after a client has left")

    for _ in range(8):
        vanishing = clients.connect()
        vanishing.ask(HELLO)
        vanishing.reset()
    expect_rest(server, "after a client's connection was reset")
    expect_alive(server, "when a client's connection is reset", transcript(vanishing))
    with server.frozen():  # accept may succeed all the same, and what follows fails
        early = clients.connect()
        early.reset()
    server.settle()
    expect_alive(server, "when a client is gone before it was accepted", transcript(early))

    leaving = clients.connect(receive_buffer=1 << 12)
    leaving.ask(HELLO)
    if others:
        # A child that sleeps in its write when the client goes. It is not frozen: to stop it would
        # send its parent a SIGCHLD. It may also sleep in its read, while what was sent is still
        # under way.
        child = child_of(server, leaving)
        while leaving.send(long_text(100_000)) and child:
            server.settle()
        leaving.close()
    else:
        # Frozen, the server finds the client gone only when it writes: once for the first piece
        # (answered by a reset), and again for the next (SIGPIPE). Not more than its buffer takes,
        # or the end would come after the reset.
        with server.frozen():
            leaving.send(long_text(60_000))
            leaving.close()
            server.wait_for(lambda: tcp.is_quiet(server.port))
    at_rest = server.settle()
    expect_alive(server, "when a client leaves without reading its answers", transcript(leaving))
    expect(
        at_rest,
        expected="a server that sleeps when nobody says anything",
        seen="it keeps a processor busy after a client has left",
        evidence=process_table(server),
        diagnosis="spins-at-eof",
    )
    if stays:
        expect_service(server, stays, "for the client that stayed", "ends-with-its-client")
    expect_service(server, clients.connect(), "for the next client", "ends-with-its-client")


def keeps_silent_clients(launch: Launcher) -> None:
    """Who says nothing for a while is still served, also when time-outs are short."""
    probe = launch.new_probe()
    probe.hurry()
    server, listens = launch.usual(probe=probe)
    if not listens:
        return  # not under a preloaded library
    with Clients(server, launch.habits.greeting) as clients:
        silent = clients.connect()
        silent.ask(HELLO)
        if not probe.time_outs:
            return  # it asks for none, and waits until the client speaks
        server.wait_for(lambda: (silent.pump(), silent.ended or probe.timed_out >= 20)[1])
        answered = silent.ask(HELLO) == HELLO
        # That it naps now is our doing.
        server.fidgets, server.restless = launch.habits.fidgets, launch.habits.restless
        expect(
            answered,
            expected="an echo for a client that was silent for a while",
            seen="its connection was ended when the server had waited for some time "
            "(a time-out of SO_RCVTIMEO, poll or select)",
            evidence=lambda: transcript(silent),
            diagnosis="drops-silent-clients",
        )


def why_it_spins(server: Server, otherwise: str) -> str:
    """Of a busy process: does it hold a connection whose client has gone, or is it a child?"""
    listening = {one.inode for one in server.listeners()}
    busy = [one.pid for one in server.family() if not server.sleeps(one.pid)]
    holds_more = any(procfs.socket_inodes(pid) - listening for pid in busy)
    if holds_more:
        return "spins-at-eof"
    # A child without a connection has left its loop, and not ended.
    return "child-keeps-running" if any(pid != server.pid for pid in busy) else otherwise


def expect_rest(server: Server, when: str) -> None:
    """Fails the check if the server burns CPU time when there is nothing to do."""
    expect(
        server.settle(),
        expected=f"a server that sleeps {when}",
        seen="it keeps a processor busy: it goes on and on without an end",
        evidence=lambda: [process_table(server)],
        diagnosis=lambda: why_it_spins(server, "spins-while-idle"),
    )


def unless_spinning(server: Server, answer: bytes, diagnosis: str) -> str:
    """That diagnosis; but if there is no answer because the server spins, spins-at-eof.

    One that listens no more has another trouble, and may well spin over that.
    """
    spins = not answer and server.is_listening() and not server.settle()
    return "spins-at-eof" if spins else diagnosis


def child_of(server: Server, client: Client) -> int | None:
    """The child that serves a client, or None if the server does so itself."""
    server.settle()
    child = max(server.holders(client.port), default=None)
    if child is not None:
        server.pid_inside(child)  # the name by which the server will tell of its end
    return child


def survives_failed_fork(launch: Launcher, then_reaps: bool = False) -> None:
    """The second fork fails (EAGAIN): that client is let go, the others are served.

    ``then_reaps``: and children that end later are reaped, as before.
    """
    server, probe = launch.under_a_probe()
    with Clients(server, launch.habits.greeting) as clients:
        first = clients.connect()
        expect_service(server, first, "for the first client", "does-not-echo")
        server.settle()
        before = server.descriptors()
        blocked_before = _blocks_sigchld(server)
        probe.fail_fork(errno.EAGAIN)
        second = clients.connect()
        second.send(HELLO)
        let_go = second.await_end()
        expect_alive(
            server,
            "when fork fails (EAGAIN: too many processes, for now)",
            transcript(second),
            "dies-on-failed-fork",
        )
        if not probe.forks_failed:
            return  # it makes its children by a call of its own (clone): nothing to judge
        if not second.received:
            seen = "its connection stays open, and nobody will ever answer"
            diagnosis = "keeps-client-of-failed-fork"
        elif server.holders(second.port):
            seen, diagnosis = "a child serves it: fork was called again until it worked", None
        else:
            seen, diagnosis = "the parent serves it itself", "takes-failed-fork-for-child"
        expect(
            let_go,
            expected="the client whose fork failed sees the connection close",
            seen=seen,
            evidence=lambda: [
                *transcript(second),
                descriptor_table("descriptors of the parent", server.descriptors()),
            ],
            diagnosis=diagnosis,
        )
        expect(
            server.wait_for(lambda: len(server.descriptors()) <= len(before)),
            expected="no descriptor more than before the failed fork",
            seen=f"{len(server.descriptors())} instead of {len(before)}",
            evidence=descriptor_table("descriptors of the parent", server.descriptors()),
            diagnosis="keeps-client-of-failed-fork",
        )
        expect_service(server, first, "for the client that came before", "dies-on-failed-fork")
        expect_service(server, clients.connect(), "for the next client", "dies-on-failed-fork")
        clients.leave()
        if not then_reaps or blocked_before:
            return
        server.wait_for(lambda: not server.living())
        server.wait_for(lambda: not server.zombies())
        expect(
            not (_blocks_sigchld(server) and server.zombies()),
            expected="children that are reaped also after a fork that failed",
            seen=lambda: f"{len(server.zombies())} zombies, and SIGCHLD blocked since then",
            evidence=lambda: [process_table(server), signal_table(server.signal_masks())],
            diagnosis="sigchld-stays-blocked",
        )


def _blocks_sigchld(server: Server) -> bool:
    masks = server.signal_masks()
    return masks.has(masks.blocked, signal.SIGCHLD)


def survives_failed_accept(launch: Launcher, error: int, diagnosis: str) -> None:
    """One call of accept fails with ``error``; the clients after it are served."""
    server, probe = launch.under_a_probe()
    server.settle()
    probe.fail_accept(error)
    with Clients(server, launch.habits.greeting) as clients:
        clients.connect().ask(HELLO)  # for the call that waits already; the next one fails
        server.wait_for(lambda: probe.accepts_failed or not server.is_running())
        server.settle()
        name = errno.errorcode[error]
        expect_alive(server, f"when accept fails with {name}", diagnosis=diagnosis)
        expect_service(server, clients.connect(), f"after accept failed with {name}", diagnosis)


def survives_without_descriptors(launch: Launcher) -> None:
    """No descriptor is free: the server neither ends nor spins, and serves when one is again."""
    server = launch.listening()
    server.settle()
    with Clients(server, launch.habits.greeting) as clients:
        # An accept that waits has its descriptor already: it goes to the first client.
        first = clients.connect()
        first.ask(HELLO)
        server.settle()
        with server.without_descriptors():
            # This one takes the place that the waiting accept has reserved.
            second = clients.connect()
            second.send(HELLO)
            server.settle()
            third = clients.connect()
            third.send(HELLO)
            # Of its children, what they do is not this check's affair.
            at_rest = server.wait_for(
                lambda: server.sleeps(server.pid) and tcp.is_quiet(server.port)
            )
            if not server.prints_without_end:  # its complaints can kill it: that is spinning, too
                expect_alive(
                    server,
                    "when no descriptor is free (EMFILE)",
                    diagnosis="dies-on-failed-accept",
                )
            expect(
                at_rest and not server.prints_without_end,
                expected="a server that sleeps while no descriptor is free (EMFILE)",
                seen="it keeps a processor busy: 1 s of CPU time, and no end",
                evidence=[process_table(server), *last_words(server)],
                diagnosis="spins-on-emfile",
            )
        first.close()  # its child's end wakes a server that naps
        second.receive(len(HELLO))
        second.close()
        got = third.receive(len(HELLO))
        for _ in range(2):  # to turn clients away ends the shortage as well, some time later
            if third.ended and not got:
                third = clients.connect()
                got = third.ask(HELLO)
        expect(
            got == HELLO,
            expected="the waiting client is served once descriptors are free again",
            seen=difference(HELLO, got),
            evidence=lambda: [*transcript(third), process_table(server)],
            diagnosis="gives-up-after-emfile",
        )
