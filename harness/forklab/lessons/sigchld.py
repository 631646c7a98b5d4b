"""What a server does with SIGCHLD: its disposition, its handler, and what it interrupts."""

from __future__ import annotations

import errno
import signal

from forklab import tcp
from forklab.clients import Clients
from forklab.echoes import compare
from forklab.evidence import (
    signal_table,
)
from forklab.launch import Launcher
from forklab.lessons.reaping import must_reap_itself, reaped_by_the_kernel
from forklab.lessons.survival import child_of, expect_alive, expect_service
from forklab.lessons.traffic import HELLO, LONG_LINE, long_stream_size, long_text
from forklab.result import Evidence
from forklab.rubric import expect, first_fix
from forklab.server import Server


def ignores_sigchld(launch: Launcher, server: Server, clients: Clients) -> None:
    """SIGCHLD is ignored; or its children are reaped by the kernel all the same (SA_NOCLDWAIT)."""
    server.settle()
    masks = server.signal_masks()
    if masks.has(masks.ignored, signal.SIGCHLD):
        return
    client = clients.connect()
    client.ask(HELLO)  # some ask for it only in the accept loop
    server.settle()
    masks = server.signal_masks()
    if masks.has(masks.ignored, signal.SIGCHLD):
        _expect_ignored_before_fork(launch)
    caught = masks.has(masks.caught, signal.SIGCHLD)
    if not caught and reaped_by_the_kernel(launch, server):
        return  # also with SA_NOCLDWAIT, which no mask shows
    expect(
        masks.has(masks.ignored, signal.SIGCHLD),
        expected="a server that ignores SIGCHLD",
        seen="SIGCHLD has a handler" if caught else "SIGCHLD is at its default",
        evidence=signal_table(masks),
        diagnosis="catches-instead" if caught else "sigchld-at-default",
    )


def _expect_ignored_before_fork(launch: Launcher) -> None:
    """It is ignored since the first client: was it so when the first child was made?"""
    server, probe = launch.under_a_probe()
    with Clients(server, launch.habits.greeting) as clients:
        clients.connect().ask(HELLO)
    expect(
        probe.ignored_at_first_fork or not probe.forks,  # it may use clone: nothing to judge
        expected="SIGCHLD ignored before the first fork",
        seen="when the server forks for its first client, SIGCHLD is still at its default",
        diagnosis="ignores-too-late",
    )


def takes_sigchld(launch: Launcher, server: Server, clients: Clients) -> None:
    """SIGCHLD has a handler, and still has it after three deliveries.

    Or it is blocked, and taken by signalfd, sigwaitinfo and the like; then a child must be reaped.
    """
    server.settle()
    first = server.signal_masks()
    expect(
        not reaped_by_the_kernel(launch, server),
        expected="a server that catches SIGCHLD",
        seen="it ignores SIGCHLD, as in lab 3"
        if first.has(first.ignored, signal.SIGCHLD)
        else "the kernel reaps its children for it (SA_NOCLDWAIT)",
        evidence=signal_table(first),
        diagnosis="still-ignores-sigchld",
    )
    if not first.has(first.caught, signal.SIGCHLD):
        client = clients.connect()
        client.ask(HELLO)
        client.close()
        reaped = server.wait_for(lambda: not server.children())
        # While a thread sleeps in sigwaitinfo, what it waits for does not count as blocked.
        with server.frozen():
            first = server.signal_masks()
        if reaped and first.has(first.blocked, signal.SIGCHLD):
            return
        if first.has(first.caught, signal.SIGCHLD):
            _expect_handler_before_fork(launch)
    expect(
        first.has(first.caught, signal.SIGCHLD),
        expected="a server that catches SIGCHLD",
        seen="SIGCHLD is blocked, and no child is reaped"
        if first.has(first.blocked, signal.SIGCHLD)
        else "SIGCHLD is at its default",
        evidence=signal_table(first),
        diagnosis="sigchld-stays-blocked"
        if first.has(first.blocked, signal.SIGCHLD)
        else "sigchld-at-default",
    )
    for _ in range(3):
        server.kill(signal.SIGCHLD)
        server.settle()
    after = server.signal_masks()
    expect_alive(server, "after three SIGCHLDs", diagnosis="dies-on-eintr")
    expect(
        after.has(after.caught, signal.SIGCHLD),
        expected="a handler that is still there after three SIGCHLDs",
        seen="it is gone: SIGCHLD is "
        + ("ignored now" if after.has(after.ignored, signal.SIGCHLD) else "back at its default"),
        evidence=[signal_table(after)],
        diagnosis="handler-gone",
    )


def _expect_handler_before_fork(launch: Launcher) -> None:
    """The handler came with the first client: was it there when the first child was made?"""
    server, probe = launch.under_a_probe()
    with Clients(server, launch.habits.greeting) as clients:
        clients.connect().ask(HELLO)
    expect(
        probe.caught_at_first_fork or not probe.forks,
        expected="a handler for SIGCHLD before the first fork",
        seen="when the server forks for its first client, SIGCHLD is still at its default",
        diagnosis="handler-comes-late",
    )


def survives_a_signal_storm(server: Server, clients: Clients) -> None:
    """Signals that meet a child in the middle of a write cost no byte."""
    client = clients.connect(receive_buffer=1 << 16)
    expect_service(server, client, "for a first message", "does-not-echo")
    child = child_of(server, client)
    if child is None:
        first_fix("4.4")
    before = len(client.received)

    stalls = 0

    def sleeps_for_good() -> bool:
        # Nothing is under way: it sleeps in its write, and not yet in a read.
        return server.sleeps(child) and (stalls > 3 or tcp.is_quiet(server.port))

    def interrupt() -> None:
        # We don't read, so the child fills its buffer and then sleeps in its write. The first
        # signal may cut a write short; one that comes before the next byte is taken is EINTR.
        nonlocal stalls
        stalls += 1
        for _ in range(5 if stalls <= 3 else 1):
            # Byte by byte, to fill the buffers takes a good deal of CPU time.
            if not server.wait_for(sleeps_for_good, cpu=10):
                return
            server.kill(signal.SIGCHLD, child)

    data = long_text(long_stream_size(), LONG_LINE)
    client.exchange(data, slow=True, meanwhile=interrupt)
    compare(client, data, bytes(memoryview(client.received)[before:]), "loses-bytes-to-signals")


def handler_is_safe(launch: Launcher) -> None:
    """The probe saw no unsafe call in the handler, and errno as it was."""
    probe = launch.new_probe()
    probe.watch_handler()
    server = launch.listening(probe=probe)
    with Clients(server, launch.habits.greeting) as clients:
        must_reap_itself(launch, server)
        client = clients.connect()
        client.ask(HELLO)
        client.close()
        server.wait_for(lambda: not server.children())
        server.kill(signal.SIGCHLD)  # one for nothing: waitpid says ECHILD
        server.settle()
    expect(
        probe.unsafe_call is None,
        expected="a handler that calls only what signal-safety(7) lists",
        seen=f"it calls {probe.unsafe_call}",
        evidence=Evidence("the handler", f"ran {probe.handler_runs} times; {probe.unsafe_call}()"),
        diagnosis="unsafe-call-in-handler",
    )
    expect(
        probe.errno_seen is None,
        expected="errno as it was before the handler ran",
        seen=f"the handler leaves {errno.errorcode.get(probe.errno_seen or 0, '?')} in errno",
        evidence=Evidence("the handler", f"ran {probe.handler_runs} times"),
        diagnosis="handler-changes-errno",
    )
