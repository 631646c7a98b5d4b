"""What the labs teach, as judgements that the checks of several labs share.

Each function looks at one thing, and fails the check through ``expect`` with what it saw.
"""

from __future__ import annotations

import errno
import random
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from forklab import procfs, tcp
from forklab.clients import Client, Clients, Crowd
from forklab.contain import Limits
from forklab.echoes import compare, difference, expect_echo
from forklab.errors import GraderError
from forklab.evidence import (
    LAST_WORDS,
    descriptor_table,
    last_words,
    plain,
    process_table,
    signal_table,
    table,
    transcript,
    visible,
)
from forklab.launch import Launcher, swapped
from forklab.procfs import Process
from forklab.result import DOES_NOT_BUILD, Evidence
from forklab.rubric import CheckFailed, expect, first_fix
from forklab.server import Server


def count(number: int, one: str, many: str = "") -> str:
    """``1 child``, ``2 children``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


# Traffic. Every message ends with a newline, for servers that echo line by line, and none begins
# like a command (`exit`, `quit`, `q`, `C`) that some servers obey.
HELLO = b"hello\n"
MESSAGES = (b"red fish, blue fish\n", b"one fish\n", b"two fish\n")
ALL_BYTES = bytes(range(256))


def random_bytes(size: int) -> bytes:
    """The same bytes every time, of all values, a newline at the end."""
    return random.Random(1).randbytes(size - 1) + b"\n"


def long_text(size: int) -> bytes:
    """Lines of text, all different."""
    lines = b"".join(b"line %d of a long text\n" % i for i in range(size // 20))
    return lines[: size - 1] + b"\n"


def ask_number(client: Client, number: int) -> bytes:
    """A message that nobody else sends, and its answer."""
    return client.ask(b"message %d\n" % number)


# Building and starting -----------------------------------------------------------------------


def builds_without_warnings(launch: Launcher) -> None:
    """The compiler accepts the program, and has nothing to say about it."""
    built = launch.submission.plain
    words = Evidence("the compiler's words", plain(_first_lines(built.output, 24)))
    expect(
        built.ok,
        expected="a program that compiles (cc -std=gnu17 -Wall -Wextra)",
        seen="it does not compile",
        evidence=words,
        diagnosis=DOES_NOT_BUILD,
    )
    warnings = built.output.count("warning:")
    expect(
        warnings == 0,
        expected="no warnings from -Wall -Wextra",
        seen=count(warnings, "warning"),
        evidence=words,
        diagnosis="warnings",
        goes_on=True,
    )


def _first_lines(text: str, most: int) -> str:
    lines = [line if len(line) < 400 else line[:400] + " ..." for line in text.splitlines()]
    return "\n".join(lines[:most] + ([f"... {len(lines) - most} more lines"] * (len(lines) > most)))


def refuses_bad_arguments(launch: Launcher) -> None:
    """Whatever is not one port, 1 to 65535, gets words, a non-zero exit and no socket."""
    good = first_meeting(launch)
    if not good.listeners():
        first_fix(_listening_check(launch))
    good.end()

    port = launch.habits.fixed_port or launch.new_port()
    bad = ["0", "abc", "", "-1", f"{port}x", "65536", "70000"]
    wrong = []
    last: Server | None = None
    for arguments in [[], [str(port), "extra"], *([one] for one in bad)]:
        server = launch.start(*arguments, port=port)
        if problem := _not_refused(server):
            shown = " ".join(one or '""' for one in arguments) or "(no argument)"
            wrong.append((shown, problem))
            last = server
        server.end()
    expect(
        not wrong,
        expected="a message and a non-zero exit status for whatever is not one port, 1-65535",
        seen=lambda: "; ".join(f"{shown}: {problem}" for shown, problem in wrong),
        evidence=lambda: [
            Evidence("what got through", table(("ARGUMENTS", "WHAT HAPPENED"), wrong)),
            *(last_words(last) if last else []),
        ],
        diagnosis=_argument_diagnosis(wrong, launch.habits.fixed_port),
    )


_AS_IF_WELL = "exit status 0, as if all were well"
_NO_WORDS = "it ends without a word"


def _not_refused(server: Server) -> str:
    server.wait_for(lambda: server.exit is not None or bool(server.listeners()))
    listeners = server.listeners()
    if listeners:
        return f"it listens on port {listeners[0].port}"
    ended = server.exit
    if ended is None:
        return "it goes on running"
    if ended.signal is not None:
        return str(ended)
    if ended.ok:
        return _AS_IF_WELL
    if not server.stderr.strip() and not server.stdout.strip():
        return _NO_WORDS
    return ""


def _argument_diagnosis(wrong: Sequence[tuple[str, str]], fixed_port: int | None) -> str | None:
    problems = {problem for _, problem in wrong}
    if not problems:
        return None
    if any("SIG" in problem for problem in problems):
        return "crashes-without-argument"
    if problems == {_AS_IF_WELL}:
        return "ends-as-if-well"
    if problems == {_NO_WORDS}:
        return "hides-the-reason"
    if problems == {f"it listens on port {fixed_port}"}:
        return "ignores-its-port"
    return "accepts-bad-ports"


def first_meeting(launch: Launcher) -> Server:
    """A server that had time to listen, on the port that it was told or on one of its own.

    One of its own is remembered. Raises GraderError if that one is used by a program that is not
    ours, because then nobody can tell what this one would do.
    """
    port = launch.free_port()
    server = _started(launch, port)
    listeners = server.listeners()
    if listeners and port not in [one.port for one in listeners]:
        server.port = listeners[0].port
        if server.port == swapped(port):
            launch.habits.swaps_bytes = True
        else:
            launch.habits.fixed_port = server.port
            launch.new_port()  # from here on, no other grader uses it
    elif not listeners and server.exit is not None:
        probe = launch.new_probe()
        launch.start(str(port), port=port, probe=probe).settle()
        wanted, error = probe.failed_bind
        if error == errno.EADDRINUSE and wanted != launch.habits.fixed_port:
            launch.habits.fixed_port = wanted
            server = _started(launch, launch.new_port(), argument=port)
            if not server.listeners():
                raise GraderError(
                    f"the program insists on port {wanted}, which another program on this machine "
                    "uses. Stop that one (ss -tlnp shows it) and grade again."
                )
    return server


def _started(launch: Launcher, port: int, argument: int | None = None) -> Server:
    server = launch.start(str(argument or port), port=port)
    # Anywhere, and be it a child: the server itself may have ended, to leave the foreground.
    server.wait_for(lambda: bool(server.listeners()))
    return server


def _listening_check(launch: Launcher) -> str:
    return {"lab1": "1.3", "lab2": "2.3", "lab3": "3.2", "lab4": "4.2"}[launch.submission.lab]


def listens_on_its_port(launch: Launcher) -> None:
    """The server listens where it was told to, for everybody, and stays in the foreground.

    What it does instead is remembered, where the rest can be judged all the same.
    """
    server = first_meeting(launch)
    (port,) = server.arguments
    expected = f"a server that listens on port {port} and stays in the foreground"
    found = next(iter(server.listeners()), None)
    if found is not None:
        expect(
            found.port == int(port),
            expected=expected,
            seen=f"told to use port {port}, it listens on port {found.port}",
            diagnosis="forgets-htons" if launch.habits.swaps_bytes else "ignores-its-port",
            goes_on=True,
        )
    else:
        ended = server.exit
        family = server.family()
        if ended:
            seen, diagnosis = f"it ended at once: {ended}", _ended_early(server)
        elif len(family) >= Limits.processes:
            seen = f"it listens nowhere, and forks without end: {len(family)} processes"
            diagnosis = "forks-without-end"
        elif server.is_asleep():
            seen, diagnosis = "it runs, but listens nowhere", "never-listens"
        else:
            seen, diagnosis = "it listens nowhere, and keeps a processor busy", "never-listens"
        expect(
            False,
            expected=expected,
            seen=seen,
            evidence=[*last_words(server), process_table(server, family)],
            diagnosis=diagnosis,
        )
    assert found is not None
    expect(
        server.is_running(),
        expected=expected,
        seen=f"the process that was started has ended ({server.exit}); its child listens",
        evidence=process_table(server),
        diagnosis="leaves-the-foreground",
    )
    expect(
        found.serves_everyone,
        expected="a socket that listens on all addresses (INADDR_ANY)",
        seen=f"it listens on port {port}, but only at one address",
        diagnosis="listens-on-one-address",
        goes_on=True,
    )


def _ended_early(server: Server) -> str:
    ended = server.exit
    if ended and ended.signal == signal.SIGXFSZ:  # complaints in a loop are something else
        return "never-listens" if server.stderr > server.stdout else "prints-without-end"
    if ended and ended.signal:
        return "crashes-at-start"
    return "ends-at-once"


def says_when_the_port_is_taken(launch: Launcher) -> None:
    """A second copy on the same port says why it can't have it, and ends."""
    first = launch.listening()
    # As the same user: SO_REUSEPORT shares a port only then.
    second = launch.start(*first.arguments, port=first.port, beside=first)
    second.wait_for(lambda: second.exit is not None or bool(second.listeners()))
    words = (second.stderr + second.stdout).decode(errors="replace")
    listeners = second.listeners()
    if listeners:
        seen = f"the second copy listens on port {listeners[0].port}"
        diagnosis = "shares-the-port" if listeners[0].port == first.port else "ignores-failed-bind"
    elif second.exit is None:
        seen, diagnosis = "the second copy goes on running", "ignores-failed-bind"
    elif second.exit.ok:
        seen, diagnosis = "the second copy ended with exit status 0", "ends-as-if-well"
    elif second.exit.signal:
        seen, diagnosis = f"the second copy was {second.exit}", "ignores-failed-bind"
    else:
        seen, diagnosis = "the second copy ended, but did not say why", "hides-the-reason"
    taken = second.exit is not None and bool(second.exit.status) and not listeners
    expect(
        taken and "already in use" in words.lower(),
        expected='a second copy that says "Address already in use" and ends, not with status 0',
        seen=seen,
        evidence=lambda: last_words(second) or [Evidence("what it said", "nothing")],
        diagnosis=diagnosis,
    )


# Echoing -------------------------------------------------------------------------------------


def echoes_one_client(launch: Launcher, server: Server, clients: Clients) -> Client:
    """Three messages on one connection come back as they were sent, and nothing else does.

    Returns the client. What the server says before it is asked is remembered: later clients
    expect it.
    """
    client = clients.connect()
    server.settle()
    client.pump()
    launch.habits.greeting = greeting = bytes(client.received)
    client.received.clear()
    for i, message in enumerate(MESSAGES):
        got = client.ask(message)
        answered_once = i > 0 and not got
        compare(client, message, got, "answers-once" if answered_once else None)
    expect(
        not greeting,
        expected="an echo and nothing else",
        seen=f"the server says {visible(greeting)} before it is asked anything",
        evidence=lambda: transcript(client),
        diagnosis="greets-first",
        goes_on=True,
    )
    return client


def echoes_every_byte(client: Client) -> None:
    """All 256 byte values, NULs among them, and 100 KB of everything come back."""
    expect_echo(client, b"before\0after\n")
    expect_echo(client, ALL_BYTES + b"\0" * 100 + b"\n")
    expect_echo(client, random_bytes(100_000))


def echoes_lines(client: Client) -> None:
    """Lines long and short, with every byte in them, and an unfinished last one."""
    for line in (HELLO, b"\n", b"carriage return\r\n", b"before\0after\n", b"x" * 10_000 + b"\n"):
        expect_echo(client, line)
    expect_echo(client, ALL_BYTES + b"\0" * 100 + b"\n")
    expect_echo(client, random_bytes(20_000))
    before = len(client.received)
    client.send(b"unfinished")
    client.half_close()
    got = client.receive(before + len(b"unfinished"))[before:]
    compare(client, b"unfinished", got, None if got else "loses-last-line")


def echoes_a_long_stream(clients: Clients) -> None:
    """8 MiB in odd-sized pieces to a client that is slow to read."""
    client = clients.connect(receive_buffer=1 << 16)
    data = long_text(8 << 20)
    client.exchange(data, slow=True)
    compare(client, data, bytes(client.received), "loses-part-of-a-stream")
    client.half_close()
    ends_in_good_order(client)


def ends_in_good_order(client: Client) -> None:
    """A client that half-closed sees the end of the stream, and no reset."""
    client.await_end()
    expect(
        client.ended != "connection reset",
        expected="the end of the stream after the last byte",
        seen="a reset: the server throws the connection away instead of closing it",
        evidence=lambda: transcript(client),
        diagnosis="resets-its-clients",
    )


def survives_short_writes(launch: Launcher, diagnosis: str = "ignores-short-writes") -> None:
    """The same with every write cut short, as a full socket buffer does."""
    probe = launch.new_probe()
    probe.shorten_writes(7)
    server = launch.listening(probe=probe)
    with Clients(server, launch.habits.greeting) as clients:
        client = clients.connect()
        data = b"".join(b"line %d of a stream\n" % i for i in range(500))
        client.exchange(data)
        compare(client, data, bytes(client.received), diagnosis)


@contextmanager
def gate_stays_open() -> Iterator[None]:
    """What fails in here costs the points of a gate, but the checks after it can be judged."""
    try:
        yield
    except CheckFailed as failed:
        failed.goes_on = True
        raise


def echoes_on_and_on(launch: Launcher, server: Server) -> None:
    """What lab 1 taught about bytes and streams, in one go."""
    with Clients(server) as clients:
        client = echoes_one_client(launch, server, clients)
        with gate_stays_open():
            echoes_every_byte(client)
        client.close()
    with gate_stays_open():
        survives_short_writes(launch)


def echoes_on_and_on_in_lines(
    launch: Launcher, server: Server, and_then: Callable[[Server, Clients], None] | None = None
) -> None:
    """The same for a server that reads lines; ``and_then`` something more with it."""
    masks = server.signal_masks()
    with Clients(server) as clients:
        client = echoes_one_client(launch, server, clients)
        with gate_stays_open():
            echoes_lines(client)
            client.close()
            server.settle()
    # Its first child has ended, and SIGCHLD has come.
    by_signal = masks.has(masks.caught, signal.SIGCHLD)
    expect_alive(
        server,
        "after its first client has left",
        diagnosis="dies-on-eintr" if by_signal else "stops-after-n-clients",
    )
    with Clients(server, launch.habits.greeting) as clients:
        second = clients.connect()
        expect_service(server, second, "for a second client", "stops-after-n-clients")
        second.close()
        with gate_stays_open():
            if and_then:
                and_then(server, clients)
    with gate_stays_open():
        survives_short_writes(launch)


def listens_then_refuses(launch: Launcher) -> None:
    """Listens on its port; if it does, even on another one, it must also refuse bad arguments."""
    listens_on_its_port(launch)
    with gate_stays_open():
        refuses_bad_arguments(launch)


# Several clients -----------------------------------------------------------------------------


def expect_all_connect(crowd: Crowd) -> None:
    """Fails the check if nobody listens any more for one of them."""
    turned_away = [client for client in crowd if client.ended]
    expect(
        not turned_away,
        expected=f"a server that goes on listening for {len(crowd)} more clients",
        seen=f"{count(len(turned_away), 'client')} could not even connect",
        evidence=lambda: transcript(turned_away[0]),
        diagnosis="stops-after-n-clients",
    )


def serves_at_once(server: Server, clients: Clients, others: int = 8) -> None:
    """A silent client first, then eight, asked in reverse order of connecting.

    A connection alone proves nothing: the kernel accepts for a server that doesn't.
    """
    before = server.living()
    silent = clients.connect()
    crowd = clients.crowd(others)
    expect_all_connect(crowd)
    for number, client in reversed(list(enumerate(crowd, 1))):
        got = ask_number(client, number)
        expect(
            got or number < others,
            expected=f"an answer for each of {others} clients while a ninth is silent",
            seen=f"the client that came last hears nothing while {others} others are connected",
            evidence=lambda: [*transcript(silent, crowd[-1]), process_table(server)],
            diagnosis="forks-ahead" if before else "one-at-a-time",
        )
        compare(client, b"message %d\n" % number, got, "one-at-a-time" if not got else None)
    silent.close()
    crowd.close()
    server.wait_for(lambda: not server.living())


def one_child_each(server: Server, clients: Clients) -> None:
    """As many children of the server as there are clients; one thread each."""
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
    expect_all_connect(crowd)
    unanswered = [c for number, c in enumerate(crowd) if not ask_number(c, number)]
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
    )
    crowd.close()


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


# Descriptors ---------------------------------------------------------------------------------


def parent_lets_go(server: Server, clients: Clients) -> None:
    """The parent has the same descriptors before, with and after eight clients; half-close ends."""
    server.wait_for(lambda: not server.living())
    server.settle()
    before = server.descriptors()
    crowd = clients.crowd(8)
    for number, client in enumerate(crowd):
        ask_number(client, number)
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
    server.wait_for(lambda: not server.living())
    server.settle()
    _expect_same_descriptors(before, server.descriptors(), "after they left")


def _expect_same_descriptors(before: dict[int, str], now: dict[int, str], when: str) -> None:
    more = {fd: target for fd, target in now.items() if before.get(fd) != target}
    expect(
        len(now) <= len(before) + 1,  # one for good, at the first client, is its own affair
        expected=f"the parent holds what it held before the clients: {len(before)} descriptors",
        seen=f"{len(now)} descriptors {when}: it kept {len(more)} of the clients' connections",
        evidence=descriptor_table("descriptors of the parent", now),
        diagnosis="parent-keeps-connection",
    )


def child_lets_go(server: Server, clients: Clients) -> None:
    """No child has the listening socket open."""
    listeners = server.listeners()
    crowd = clients.crowd(3)
    for number, client in enumerate(crowd):
        ask_number(client, number)
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
    server.wait_for(lambda: not server.living())
    crowd = clients.crowd(8)
    for number, client in enumerate(crowd):
        ask_number(client, number)
    crowd.close()
    server.wait_for(lambda: not server.living())
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
    now = server.descriptors()
    expect(
        len(now) <= len(before),
        expected=f"{len(before)} descriptors after twenty clients, as before them",
        seen=f"{len(now)} descriptors: {len(now) - len(before)} connections were never closed",
        evidence=descriptor_table("descriptors of the server", now),
        diagnosis="keeps-descriptors",
    )


def right_descriptors(server: Server, clients: Clients) -> None:
    """The parent without connections, the child without the listener, and an end for both."""
    parent_lets_go(server, clients)
    child_ends_with_its_client(server, clients)
    child_lets_go(server, clients)


# Clients and faults that a server survives ----------------------------------------------------


def expect_alive(
    server: Server,
    after: str,
    evidence: Sequence[Evidence] = (),
    diagnosis: str = "ends-with-its-client",
) -> None:
    """Fails the check if the server ended."""
    running = server.is_running()
    ended = server.exit
    by_sigpipe = ended is not None and ended.signal == signal.SIGPIPE
    expect(
        running,
        expected=f"the server goes on {after}",
        seen=f"the server ended: {ended}",
        evidence=[*evidence],
        diagnosis="killed-by-sigpipe" if by_sigpipe else diagnosis,
    )


def expect_service(server: Server, client: Client, after: str, diagnosis: str) -> None:
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

    vanishing = clients.connect()
    vanishing.ask(HELLO)
    vanishing.reset()
    expect_rest(server, "after a client's connection was reset")
    expect_alive(server, "when a client's connection is reset", transcript(vanishing))

    leaving = clients.connect(receive_buffer=1 << 12)
    leaving.ask(HELLO)
    if others:
        # A child that sleeps in its write when the client goes. It is not frozen: to stop it would
        # send its parent a SIGCHLD.
        child = newest_child(server)()
        while leaving.send(long_text(100_000)) and child:
            server.wait_for(partial(server.sleeps, child))
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


def why_it_spins(server: Server, otherwise: str) -> str:
    """spins-at-eof, if a process holds a connection whose client has gone; else ``otherwise``."""
    listening = {one.inode for one in server.listeners()}
    holds_more = any(procfs.socket_inodes(one.pid) - listening for one in server.family())
    return "spins-at-eof" if holds_more else otherwise


def expect_rest(server: Server, when: str) -> None:
    """Fails the check if the server burns CPU time when there is nothing to do."""
    expect(
        server.settle(),
        expected=f"a server that sleeps {when}",
        seen="it keeps a processor busy: it goes on and on without an end",
        evidence=lambda: [process_table(server)],
        diagnosis=why_it_spins(server, "spins-while-idle"),
    )


def unless_spinning(server: Server, answer: bytes, diagnosis: str) -> str:
    """That diagnosis; but if there is no answer because the server spins, spins-at-eof."""
    return diagnosis if answer or server.settle() else "spins-at-eof"


def newest_child(server: Server) -> Callable[[], int | None]:
    """Names the child that serves the newest client (the newest process of the family)."""

    def pid() -> int | None:
        server.settle()
        living = server.living()
        return max((one.pid for one in living), default=None)

    return pid


def survives_failed_fork(launch: Launcher) -> None:
    """The second fork fails (EAGAIN): that client is let go, the others are served."""
    probe = launch.new_probe()
    server = launch.listening(probe=probe)
    with Clients(server, launch.habits.greeting) as clients:
        first = clients.connect()
        expect_service(server, first, "for the first client", "does-not-echo")
        server.settle()
        before = server.descriptors()
        probe.fail_fork(errno.EAGAIN)
        second = clients.connect()
        second.send(HELLO)
        let_go = second.await_end()
        expect_alive_after_fork(server, transcript(second))
        if not probe.forks_failed:
            return  # it makes its children by a call of its own (clone): nothing to judge
        expect(
            let_go,
            expected="the client whose fork failed sees the connection close",
            seen="its connection stays open, and nobody will ever answer"
            if not second.received
            else "the parent serves it itself",
            evidence=lambda: [
                *transcript(second),
                descriptor_table("descriptors of the parent", server.descriptors()),
            ],
            diagnosis="keeps-client-of-failed-fork"
            if not second.received
            else "takes-failed-fork-for-child",
        )
        server.settle()
        expect(
            len(server.descriptors()) <= len(before),
            expected="no descriptor more than before the failed fork",
            seen=f"{len(server.descriptors())} instead of {len(before)}",
            evidence=descriptor_table("descriptors of the parent", server.descriptors()),
            diagnosis="keeps-client-of-failed-fork",
        )
        expect_service(server, first, "for the client that came before", "dies-on-failed-fork")
        expect_service(server, clients.connect(), "for the next client", "dies-on-failed-fork")


def expect_alive_after_fork(server: Server, evidence: Sequence[Evidence]) -> None:
    """Fails the check if a failed fork ended the server."""
    expect(
        server.is_running(),
        expected="a server that goes on when fork fails (EAGAIN: too many processes, for now)",
        seen=f"the server ended: {server.exit}",
        evidence=evidence,
        diagnosis="dies-on-failed-fork",
    )


def says_each_thing_once(launch: Launcher) -> None:
    """Five clients with stdout on a file, and five with stdout line-buffered: the same lines."""
    shown = []
    for line_buffered in (True, False):
        probe = launch.new_probe()
        if line_buffered:
            probe.buffer_lines()
        server = launch.listening(probe=probe)
        shown.append(_log_of_five_clients(launch, server))
        server.end()
    once, copied = (Counter(_without_numbers(line) for line in lines) for lines in shown)
    repeated = copied - once
    expect(
        not repeated,
        expected="each line once, also when stdout is a file",
        seen=lambda: _most_repeated(repeated, once, shown[1]),
        evidence=lambda: [Evidence("stdout, in a file", plain("\n".join(shown[1][:16])))],
        diagnosis="copies-stdio-buffer",
    )


def _log_of_five_clients(launch: Launcher, server: Server) -> list[str]:
    with Clients(server, launch.habits.greeting) as clients:
        for _ in range(5):
            client = clients.connect()
            client.ask(HELLO)
            client.close()
            server.settle()
    return server.stdout.decode(errors="replace").splitlines()


def _most_repeated(repeated: Counter[str], once: Counter[str], log: list[str]) -> str:
    masked, more = repeated.most_common(1)[0]
    line = next(line for line in log if _without_numbers(line) == masked)
    return f'"{plain(line)}" and its like {once[masked] + more} times instead of {once[masked]}'


def _without_numbers(line: str) -> str:
    return re.sub(r"\d+", "#", line)


# SIGCHLD -------------------------------------------------------------------------------------


def ignores_sigchld(launch: Launcher, server: Server, clients: Clients) -> None:
    """SIGCHLD is ignored; or its children are reaped by the kernel all the same (SA_NOCLDWAIT)."""
    client = clients.connect()
    client.ask(HELLO)  # some ask for it only in the accept loop
    server.settle()
    masks = server.signal_masks()
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


def never_a_zombie(server: Server, clients: Clients) -> None:
    """Not one Z in three bursts of sixteen, the parent frozen in the second."""
    for burst in (1, 2, 3):
        crowd = clients.crowd(16)
        for number, client in enumerate(crowd):
            ask_number(client, number)
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
        diagnosis="sigchld-at-default",
    )
    for _ in range(3):
        server.kill(signal.SIGCHLD)
        server.settle()
    after = server.signal_masks()
    expect_goes_on(server, "after three SIGCHLDs", "dies-on-eintr")
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
        with fresh.frozen():
            client.close()
            return fresh.wait_for(lambda: not fresh.children())


def must_reap_itself(launch: Launcher, server: Server) -> None:
    """Skips the check where the kernel reaps: then nothing can be seen."""
    if reaped_by_the_kernel(launch, server):
        first_fix("4.5")


def survives_a_signal_storm(server: Server, clients: Clients) -> None:
    """Signals that meet a child in the middle of a write cost no byte."""
    client = clients.connect(receive_buffer=1 << 16)
    expect_service(server, client, "for a first message", "does-not-echo")
    child = newest_child(server)()
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


def tells_how_children_ended(launch: Launcher) -> None:
    """One line for each child: its pid, and the status or the signal."""
    probe = launch.new_probe()
    probe.buffer_lines()
    server = launch.listening(probe=probe)
    with Clients(server, launch.habits.greeting) as clients:
        must_reap_itself(launch, server)
        for how, word, number in (
            (None, "exit", 0),
            (signal.SIGKILL, "signal|kill|term", 9),
            (signal.SIGTERM, "signal|kill|term", 15),
        ):
            client = clients.connect()
            client.ask(HELLO)
            child = newest_child(server)()
            if how is None:
                client.close()
            elif child is not None:
                server.kill(how, child)
            server.wait_for(partial(_is_gone, child))
            if how == signal.SIGTERM and not _is_gone(child):
                continue  # it does not obey SIGTERM: a matter of the orderly shutdown
            server.settle()
            lines = [
                line
                for line in (server.stdout + server.stderr).decode(errors="replace").splitlines()
                if re.search(rf"(?<!\d){child}(?!\d)", line)
            ]
            name = "" if how is None else how.name
            wanted = (
                rf"({word}).*(?<!\d){number}(?!\d)|{name or '(?!)'}|(?<!\d){number}(?!\d).*({word})"
            )
            text = [line.replace(str(child), "") for line in lines]
            shown = f"exited with status {number}" if how is None else f"killed by signal {number}"
            expect(
                len(lines) == 1 and re.search(wanted, text[0], re.IGNORECASE),
                expected=f'one line like "child {child} {shown}"',
                seen=f"{len(lines)} lines with the pid {child}"
                if len(lines) != 1
                else f'"{plain(lines[0])}"',
                evidence=lambda: last_words(server) or [Evidence("what it said", "nothing")],
                diagnosis="does-not-tell",
            )


def _is_gone(pid: int | None) -> bool:
    return pid is None or procfs.process(pid) is None


def waits_for_slow_children(launch: Launcher) -> None:
    """A stopped child ends only when it goes on: until then the server must wait for it."""
    server = launch.listening()
    with Clients(server, launch.habits.greeting) as clients:
        clients.connect().ask(HELLO)
        child = newest_child(server)()
        with server.frozen(child):
            server.kill(signal.SIGTERM)
            server.settle()
            left = server.living()
            expect(
                server.is_running() or not left,
                expected="a server that waits until its last child has ended",
                seen="the server has ended, and a child that was slow to obey has not",
                evidence=process_table(server),
                diagnosis="leaves-orphans",
            )
        expect(
            server.wait_for(lambda: server.exit),
            expected="a server that ends with its last child",
            seen="all children have ended, and the server goes on",
            evidence=lambda: [process_table(server)],
            diagnosis="ignores-sigterm",
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


def expect_goes_on(server: Server, after: str, diagnosis: str) -> None:
    """Fails the check if the server ended, with that diagnosis."""
    expect(
        server.is_running(),
        expected=f"a server that goes on {after}",
        seen=f"it ended: {server.exit}",
        diagnosis=diagnosis,
    )


def survives_failed_accept(launch: Launcher, error: int, diagnosis: str) -> None:
    """One call of accept fails with ``error``; the clients after it are served."""
    probe = launch.new_probe()
    server = launch.listening(probe=probe)
    server.settle()
    probe.fail_accept(error)
    with Clients(server, launch.habits.greeting) as clients:
        clients.connect().ask(HELLO)  # for the call that waits already; the next one fails
        server.wait_for(lambda: probe.accepts_failed or not server.is_running())
        server.settle()
        name = errno.errorcode[error]
        expect_goes_on(server, f"when accept fails with {name}", diagnosis)
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
            at_rest = server.settle()
            if not server.prints_without_end:  # its complaints can kill it: that is spinning, too
                expect_goes_on(
                    server, "when no descriptor is free (EMFILE)", "dies-on-failed-accept"
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
        expect(
            got == HELLO,
            expected="the waiting client is served once descriptors are free again",
            seen=difference(HELLO, got),
            evidence=lambda: [*transcript(third), process_table(server)],
            diagnosis="gives-up-after-emfile",
        )


# The command `exit` --------------------------------------------------------------------------


def exit_ends_the_session(server: Server, clients: Clients, others: bool = True) -> None:
    """End of stream for that client, nothing echoed, its child gone, others untouched."""
    other = clients.connect() if others else None
    if other:
        expect_echo(other, b"I stay\n")
    for command in (b"exit\n", b"exit\r\n"):
        client = clients.connect()
        expect_echo(client, b"I go\n")
        children = len(server.living())
        before = len(client.received)
        client.send(command)
        ended = client.await_end()
        echoed = bytes(client.received[before:])
        child_ended = ended or len(server.living()) < children
        expect(
            ended or not child_ended,
            expected=f"the end of the stream after {visible(command)}",
            seen="the child has ended, but somebody else still holds the connection open",
            evidence=lambda: [process_table(server)],
            diagnosis="no-end-of-stream",
        )
        expect(
            ended,
            expected=f"the end of the stream after {visible(command)}",
            seen=f"the session goes on; {visible(echoed)} came back"
            if echoed
            else "the session goes on, and nothing came back",
            evidence=partial(transcript, client),
            diagnosis=None if ended else _why_exit_is_not_seen(server, clients, client, command),
            goes_on=command != b"exit\n",  # a line, all the same
        )
        expect(
            not echoed,
            expected=f"nothing after {visible(command)}",
            seen=f"{visible(echoed)} came back before the end",
            evidence=partial(transcript, client),
            diagnosis="echoes-the-command" if echoed == command else "does-not-echo",
        )
        server.settle()
        expect_alive(
            server, f"after {visible(command)} from one client", diagnosis="exit-ends-too-much"
        )
        expect(
            not children or server.wait_for(partial(_fewer_living, server, children)),
            expected="the session's child ends with it",
            seen="the child still runs",
            evidence=lambda: [process_table(server)],
            diagnosis="child-keeps-running",
        )
    if other:
        expect_service(server, other, "for the client that stayed", "exit-ends-too-much")


def _fewer_living(server: Server, children: int) -> bool:
    return len(server.living()) < children


def obeys_exit(server: Server, clients: Clients) -> None:
    """Both of what lab 3 taught about the command."""
    exit_ends_the_session(server, clients, others=False)
    exit_is_a_line(server, clients)


def _why_exit_is_not_seen(server: Server, clients: Clients, client: Client, command: bytes) -> str:
    """Is the session over all the same? Are the four bytes known without their newline?"""
    if not client.ask(HELLO):
        return "child-keeps-running"
    client = clients.connect()
    client.ask(HELLO)
    children = len(server.living())
    client.send(b"exit")
    if client.await_end() or len(server.living()) < children:
        return "message-per-read"
    return "ignores-exit" if command == b"exit\n" else "ignores-carriage-return"


def _expect_line_back(client: Client, line: bytes) -> None:
    got = client.ask(line)
    compare(client, line, got, "matches-inside-a-line" if client.ended else None)


def exit_is_a_line(server: Server, clients: Clients) -> None:
    """Only a line that is exactly `exit` ends the session, however TCP cuts it up."""
    client = clients.connect()
    for line in (b"exits\n", b" exit\n", b"no exit here\n", b"exi\n", b"EXIT\n"):
        _expect_line_back(client, line)

    client.send(b"ex")
    server.settle()  # the server has read these two bytes before the rest comes
    client.send(b"it\n")
    expect(
        client.await_end(),
        expected='the end of the session after "ex" and "it\\n" in two segments',
        seen="the session goes on",
        evidence=lambda: transcript(client),
        diagnosis="message-per-read",
    )

    client = clients.connect()
    client.ask(HELLO)
    before = len(client.received)
    with server.frozen(newest_child(server)()):
        client.send(b"a\nexit\nb\n")
    client.await_end()
    got = bytes(client.received[before:])
    expect(
        client.ended and got == b"a\n",
        expected='"a\\n" back and then the end, for "a\\nexit\\nb\\n" in one segment',
        seen=f"{visible(got)} came back, and " + ("then the end" if client.ended else "no end"),
        evidence=lambda: transcript(client),
        diagnosis="message-per-read",
    )

    # A piece of a longer line can look like the command when it fills a buffer.
    client = clients.connect()
    for size in (4096, 1024):
        line = b"x" * size + b"exit\n"
        _expect_line_back(client, line)


# Memory --------------------------------------------------------------------------------------

REPORTS = ("ERROR: AddressSanitizer", "runtime error:", "AddressSanitizer:DEADLYSIGNAL")


def no_memory_errors(launch: Launcher, traffic: Callable[[Server, Clients], None]) -> None:
    """The build with AddressSanitizer and UndefinedBehaviorSanitizer under the same traffic."""
    server = launch.usual(sanitized=True)
    has_listened = server.is_listening()
    with Clients(server, launch.habits.greeting) as clients:
        traffic(server, clients)
    server.settle()
    words = (server.stderr + server.stdout).decode(errors="replace")
    lines = words.splitlines()
    found = next((i for i, line in enumerate(lines) if any(r in line for r in REPORTS)), None)
    report = "" if found is None else "\n".join(lines[found : found + 12])
    report = report.replace(f"{launch.submission.folder}/sanitized/", "")
    expect(
        found is None,
        expected="no report from AddressSanitizer or UndefinedBehaviorSanitizer",
        seen=lambda: plain(report.splitlines()[0]),
        evidence=lambda: [Evidence(f"{LAST_WORDS}stderr, by the sanitizer", plain(report))],
        diagnosis="memory-error",
    )
    if not has_listened:
        launch.expect_listening(server)


def memory_traffic(server: Server, clients: Clients) -> None:
    """What the other checks send, all of it once."""
    for data in (
        *(*MESSAGES, b"before\0after\n", ALL_BYTES + b"\n"),
        *(b"x" * 10_000 + b"\n", long_text(20_000), random_bytes(100_000)),
    ):
        client = clients.connect()
        answer = client.ask(data)
        client.close()
        server.settle()
        if not answer:  # it serves nobody any more
            return
    vanishing = clients.connect()
    vanishing.ask(HELLO)
    vanishing.reset()
    server.settle()
    leaving = clients.connect()
    leaving.ask(HELLO)
    leaving.send(random_bytes(100_000))
    leaving.close()
    server.settle()
