"""What a server does with SIGCHLD, and with the children behind it."""

from __future__ import annotations

import errno
import re
import signal
from functools import partial

from forklab import procfs
from forklab.clients import Clients
from forklab.contain import Exit
from forklab.echoes import compare
from forklab.evidence import (
    last_words,
    plain,
    process_table,
    signal_table,
)
from forklab.launch import Launcher
from forklab.lessons.survival import expect_alive, expect_service, newest_child
from forklab.lessons.traffic import HELLO, long_text
from forklab.probe import Probe
from forklab.procfs import Process
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
    probe = launch.new_probe()
    server = launch.listening(probe=probe)
    with Clients(server, launch.habits.greeting) as clients:
        clients.connect().ask(HELLO)
    expect(
        probe.ignored_at_first_fork,
        expected="SIGCHLD ignored before the first fork",
        seen="when the server forks for its first client, SIGCHLD is still at its default",
        diagnosis="ignores-too-late",
    )


def never_a_zombie(server: Server, clients: Clients) -> None:
    """Not one Z in three bursts of sixteen, the parent frozen in the first."""
    for burst in (1, 2, 3):
        crowd = clients.crowd(16)
        crowd.greet()
        most: list[Process] = []

        def all_gone(most: list[Process] = most) -> bool:
            family = server.family()
            zombies = [one for one in family if one.is_zombie]
            if len(zombies) > len(most):
                most[:] = family
            return all(one.is_zombie or one.pid == server.pid for one in family)

        if burst == 1:
            with server.frozen():
                crowd.close()
                server.wait_for(all_gone)
                all_gone()
        else:
            crowd.close()
            server.wait_for(all_gone)
        zombies = [one for one in most if one.is_zombie]
        if zombies:
            server.wait_for(lambda: not server.zombies())
        expect(
            not zombies,
            expected="no zombie at any time: nobody is to ask for the children's status",
            seen=f"{len(zombies)} of {len(crowd)} children were zombies"
            + (" while the parent was frozen" if burst == 1 else ""),
            evidence=process_table(server, most),
            diagnosis="leaves-zombies" if server.zombies() else "zombies-until-reaped",
        )
        if server.living():
            first_fix("3.5")  # who does not end can't become a zombie


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
    probe = launch.new_probe()
    server = launch.listening(probe=probe)
    with Clients(server, launch.habits.greeting) as clients:
        clients.connect().ask(HELLO)
    expect(
        probe.caught_at_first_fork,
        expected="a handler for SIGCHLD before the first fork",
        seen="when the server forks for its first client, SIGCHLD is still at its default",
        diagnosis="handler-comes-late",
    )


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


def why_never(server: Server) -> str:
    """A name for a server that reaps nobody: whether its own mask keeps SIGCHLD away."""
    masks = server.signal_masks()
    return "sigchld-stays-blocked" if masks.has(masks.blocked, signal.SIGCHLD) else "never-reaps"


def must_reap_itself(launch: Launcher, server: Server) -> None:
    """Skips the check where the kernel reaps: then nothing can be seen."""
    if reaped_by_the_kernel(launch, server):
        first_fix("4.5")


def reaps_a_burst(server: Server, clients: Clients, size: int, too_few: str) -> None:
    """So many children end while the server is frozen: their exits meet one pending SIGCHLD."""
    crowd = clients.crowd(size)
    crowd.greet()
    server.settle()
    with server.frozen():
        crowd.close()
        server.wait_for(lambda: len(server.zombies()) == len(crowd))
    server.wait_for(lambda: not server.zombies())
    left = server.zombies()
    evidence = [process_table(server), signal_table(server.signal_masks())]
    diagnosis = too_few
    if len(left) == len(crowd):
        diagnosis = why_never(server)
        clients.connect().ask(HELLO)
        if server.wait_for(lambda: not server.zombies()):
            diagnosis = "reaps-on-next-accept"
    expect(
        not left,
        expected="0 zombies after the burst",
        seen=f"{len(left)} of {len(crowd)} children are zombies",
        evidence=evidence,
        diagnosis=diagnosis,
    )


def survives_a_signal_storm(server: Server, clients: Clients) -> None:
    """Signals that meet a child in the middle of a write cost no byte."""
    client = clients.connect(receive_buffer=1 << 16)
    expect_service(server, client, "for a first message", "does-not-echo")
    child = newest_child(server)
    if child is None:
        first_fix("4.4")
    before = len(client.received)

    stalls = 0

    def interrupt() -> None:
        # We don't read, so the child fills its buffer and then sleeps in its write. The first
        # signal may cut a write short; one that comes before the next byte is taken is EINTR.
        nonlocal stalls
        stalls += 1
        for _ in range(5 if stalls <= 10 else 1):
            server.wait_for(lambda: server.sleeps(child))
            server.kill(signal.SIGCHLD, child)

    data = long_text(8 << 20)
    client.exchange(data, slow=True, meanwhile=interrupt)
    compare(client, data, bytes(client.received[before:]), "loses-bytes-to-signals")


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
        for how in ENDS:
            child = _end_a_child(server, clients, how)
            server.wait_for(partial(_is_gone, child))
            if how == signal.SIGTERM and not _is_gone(child):
                continue  # it does not obey SIGTERM: a matter of the orderly shutdown
            server.settle()
            _expect_told(server, child, how)
        _tells_a_burst_apart(server, clients)
        _tells_a_status(server, clients)
        _says_nothing_of_the_stopped(server, clients)


def _end_a_child(server: Server, clients: Clients, how: signal.Signals | None) -> int | None:
    """A new client's child, which is made to end."""
    client = clients.connect()
    client.ask(HELLO)
    child = newest_child(server)
    if how is None:
        client.close()
    elif child is not None:
        server.kill(how, child)
    return child


def _tells_a_burst_apart(server: Server, clients: Clients) -> None:
    """Ends that come as one signal are told apart. Who is not reaped is a matter of 4.7."""
    ends = {}
    leaving = []
    for how in ENDS:
        client = clients.connect()
        client.ask(HELLO)
        ends[newest_child(server)] = how
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
        if _is_gone(child) and _lines_about(server, child):
            _expect_told(server, child, how, " (all three ended at once, while it was frozen)")


def _tells_a_status(server: Server, clients: Clients) -> None:
    """A client that resets: whatever its child's status, it is one from 0 to 255."""
    client = clients.connect()
    client.ask(HELLO)
    child = newest_child(server)
    client.reset()
    server.wait_for(partial(_is_gone, child))
    server.settle()
    too_large = [
        line
        for line in _lines_about(server, child)
        if "exit" in line.lower()
        and any(int(n) > 255 for n in re.findall(r"\d+", _without_pid(line, child)))
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
    clients.connect().ask(HELLO)
    child = newest_child(server)
    if child is None:
        return
    before = _lines_about(server, child)
    with server.frozen(child):
        server.settle()
        told = [
            line
            for line in _lines_about(server, child)[len(before) :]
            if re.search("exit|kill|term", line, re.IGNORECASE)
        ]
    expect(
        not told,
        expected="no word of an end while a child is only stopped (SIGSTOP)",
        seen=lambda: f'"{plain(told[0])}"',
        evidence=lambda: [process_table(server), *last_words(server)],
        diagnosis="takes-stopped-for-ended",
    )


def _expect_told(
    server: Server, child: int | None, how: signal.Signals | None, when: str = ""
) -> None:
    """Fails the check unless just one line tells how that child ended."""
    word, number = ("signal|kill|term", int(how)) if how else ("exit", 0)
    wanted = rf"({word}).*{_number(number)}|{_number(number)}.*({word})"
    if how:
        wanted += rf"|{how.name}"
    lines = _lines_about(server, child)
    told = [x for x in lines if re.search(wanted, _without_pid(x, child), re.IGNORECASE)]
    shown = f"killed by signal {number}" if how else f"exited with status {number}"
    expect(
        len(told) == 1,
        expected=f'one line like "child {child} {shown}"{when}',
        seen=f"{len(told)} lines that tell it" if told or not lines else f'"{plain(lines[-1])}"',
        evidence=lambda: last_words(server) or [Evidence("what it said", "nothing")],
        diagnosis="does-not-tell",
    )


def _lines_about(server: Server, pid: int | None) -> list[str]:
    said = (server.stdout + server.stderr).decode(errors="replace")
    return [line for line in said.splitlines() if re.search(_number(pid or 0), line)]


def _without_pid(line: str, pid: int | None) -> str:
    return re.sub(_number(pid or 0), "", line)


def _number(number: int) -> str:
    """A regular expression for a number that stands by itself."""
    return rf"(?<!\d){number}(?!\d)"


def _is_gone(pid: int | None) -> bool:
    return pid is None or procfs.process(pid) is None


def waits_for_slow_children(launch: Launcher) -> None:
    """SIGINT is SIGTERM's equal; and a stopped child, which can't end yet, has to be waited for.

    Some clients have left by then, so that a table of children has holes.
    """
    probe = launch.new_probe()
    server = launch.listening(probe=probe)
    with Clients(server, launch.habits.greeting) as clients:
        crowd = clients.crowd(3)
        crowd.greet()
        crowd[1].close()
        server.settle()
        another = clients.connect()
        if another.ask(HELLO) == HELLO:
            another.close()
            _ends_with_its_last_child(server, probe)
    # It waits in its handler, which is a matter of 4.8: once more, and nobody leaves.
    server = launch.listening(probe=probe)
    with Clients(server, launch.habits.greeting) as clients:
        clients.connect().ask(HELLO)
        _ends_with_its_last_child(server, probe)


def _ends_with_its_last_child(server: Server, probe: Probe) -> None:
    child = newest_child(server)
    with server.frozen(child):
        server.kill(signal.SIGINT)
        server.settle()
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
        seen="all children have ended, and the server goes on",
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
