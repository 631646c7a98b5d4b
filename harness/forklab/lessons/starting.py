"""Building a program, starting it, and what it does with its command line."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from forklab import tcp
from forklab.build import CUT
from forklab.clients import Clients
from forklab.errors import GraderError
from forklab.evidence import (
    last_words,
    plain,
    process_table,
    table,
)
from forklab.launch import Launcher, swapped
from forklab.lessons.traffic import HELLO, count
from forklab.limits import usual
from forklab.result import DOES_NOT_BUILD, Evidence
from forklab.rubric import CheckFailed, expect, first_fix
from forklab.server import Server


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
    more = "more than " * built.output.endswith(CUT)
    expect(
        warnings == 0,
        expected="no warnings from -Wall -Wextra",
        seen=more + count(warnings, "warning"),
        evidence=words,
        diagnosis="not-used-yet" if _only_unused(built.output) else "warnings",
        goes_on=True,
    )


def _only_unused(output: str) -> bool:
    """Whether all warnings are about what nothing uses yet, as between two steps of a lab."""
    warnings = [line for line in output.splitlines() if "warning:" in line]
    unused = ("-Wunused-function]", "-Wunused-variable]", "-Wunused-const-variable")
    return all(any(one in line for one in unused) for line in warnings)


def _first_lines(text: str, most: int) -> str:
    lines = [line if len(line) < 400 else line[:400] + " ..." for line in text.splitlines()]
    return "\n".join(lines[:most] + ([f"... {len(lines) - most} more lines"] * (len(lines) > most)))


def refuses_bad_arguments(launch: Launcher, good: Server | None = None) -> None:
    """Whatever is not one port, 1 to 65535, gets words, a non-zero exit and no socket.

    ``good``: one that was started with a port, if there is one already.
    """
    good = good or first_meeting(launch)
    if not good.listeners():
        first_fix(_listening_check(launch))
    if launch.habits.fixed_port:
        good.end()  # there is room for one of them

    wrong = []
    last: Server | None = None
    for arguments, server in _started_with_bad_arguments(launch):
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
    _takes_every_port(launch)


def _takes_every_port(launch: Launcher) -> None:
    """The lowest and the highest port are ports: it tries to bind them, whatever comes of that."""
    if launch.habits.fixed_port or launch.habits.swaps_bytes:
        return
    for port in (1, 65535):
        tried, server = _port_tried(launch, port)
        if tried == port or not 0 <= tried <= 65535:  # no port: it scribbles where the probe tells
            continue
        usual = launch.new_port()
        if _port_tried(launch, usual)[0] != usual:
            return  # it does not say to a preloaded library what it does
        expect(
            False,
            expected=f"a server that tries to use port {port}",
            seen=f"it tries {tried}" if tried else "it does not even try",
            evidence=last_words(server),
            diagnosis="refuses-good-ports",
        )


def _port_tried(launch: Launcher, port: int) -> tuple[int, Server]:
    """The port that it gives to bind when it is told to use that one; 0 if none."""
    probe = launch.new_probe()
    server = launch.start(str(port), port=port, probe=probe)
    server.wait_for(lambda: probe.last_bind_port)  # it may be a child that binds
    tried = probe.last_bind_port
    server.end()
    return tried, server


def _started_with_bad_arguments(launch: Launcher) -> Iterator[tuple[list[str], Server]]:
    """What is not one port, 1 to 65535, each with a server that was started with it."""
    fixed = launch.habits.fixed_port
    # A port for each that holds one: whoever takes it must not find it in use.
    ports = [fixed or launch.new_port() for _ in range(4)]
    texts = ["0", "abc", "", "-1", "65536", "70000"]
    # Half a number, another base, and what is a port in the lowest 32 bits.
    texts += [f"{ports[0]}x", f"{ports[1]:#x}", f"{2**32 + ports[2]}"]
    bad = [[], [str(ports[3]), "extra"], *([one] for one in texts)]
    servers = (launch.start(*arguments, port=ports[0]) for arguments in bad)
    # Side by side, it takes less time. But there is room for only one that insists on its port.
    return zip(bad, servers if fixed else list(servers), strict=True)


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
    server.settle()  # some end at once when they have got so far
    return server


def _listening_check(launch: Launcher) -> str:
    return {"lab1": "1.3", "lab2": "2.3", "lab3": "3.2", "lab4": "4.2"}[launch.submission.lab]


def listens_on_its_port(launch: Launcher) -> Server:
    """The server listens where it was told to, for everybody, and stays in the foreground.

    What it does instead is remembered, where the rest can be judged all the same. Returns it.
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
        elif server.most_processes > usual().processes // 2:
            seen = f"it listens nowhere, and forks without end: {server.most_processes} processes"
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
        tcp.is_reached(found.port),
        expected="a socket that listens on all IPv4 addresses (INADDR_ANY)",
        seen=f"it listens on port {port}, but nobody can connect to 127.0.0.1 there",
        diagnosis="listens-on-one-address",
    )
    expect(
        found.serves_everyone,
        expected="a socket that listens on all addresses (INADDR_ANY)",
        seen=f"it listens on port {port}, but only at one address",
        diagnosis="listens-on-one-address",
        goes_on=True,
    )
    return server


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


def restarts_at_once(launch: Launcher, first: Server | None = None) -> None:
    """Killed while a client is connected, it can be started again on the same port.

    ``first``: one that was started, if there is one already.
    """
    if first is None or not first.is_listening():
        first = launch.listening()
    with Clients(first, launch.habits.greeting) as clients:
        client = clients.connect()
        client.ask(HELLO)
        first.end()
        client.await_end()
        # As the same user: SO_REUSEPORT lets nobody else have the port.
        second = launch.start(*first.arguments, port=first.port, beside=first)
        second.wait_for(lambda: second.is_listening() or second.exit is not None)
        expect(
            second.is_listening(),
            expected=f"a new copy that listens on port {first.port} at once",
            seen=f"it ended: {second.exit}" if second.exit else "it does not listen there",
            evidence=lambda: last_words(second),
            diagnosis="no-reuseaddr",
        )


@contextmanager
def gate_stays_open() -> Iterator[None]:
    """What fails in here costs the points of a gate, but the checks after it can be judged."""
    try:
        yield
    except CheckFailed as failed:
        failed.goes_on = True
        raise


def listens_then_refuses(launch: Launcher) -> None:
    """Listens on its port; if it does, even on another one, it must also refuse bad arguments."""
    good = listens_on_its_port(launch)
    with gate_stays_open():
        refuses_bad_arguments(launch, good)
        restarts_at_once(launch, good)
