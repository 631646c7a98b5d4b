"""The same traffic to a build with sanitizers."""

from __future__ import annotations

from collections.abc import Callable

from forklab.clients import Clients
from forklab.evidence import (
    LAST_WORDS,
    plain,
)
from forklab.launch import Launcher
from forklab.lessons.traffic import (
    ALL_BYTES,
    HELLO,
    MANY_BYTES,
    MESSAGES,
    long_text,
    random_bytes,
)
from forklab.result import Evidence
from forklab.rubric import expect
from forklab.server import Server

REPORTS = ("ERROR: AddressSanitizer", "runtime error:", "AddressSanitizer:DEADLYSIGNAL")


def no_memory_errors(launch: Launcher, traffic: Callable[[Server, Clients], None]) -> None:
    """The build with AddressSanitizer and UndefinedBehaviorSanitizer under the same traffic."""
    server, listens = launch.usual(sanitized=True)
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
    launch.expect_listening(server, listens or server.is_listening())


def memory_traffic(server: Server, clients: Clients) -> None:
    """What the other checks send, all of it once."""
    client = clients.connect()
    for data in (*MESSAGES, b"before\0after\n", ALL_BYTES + b"\n"):
        got = client.ask(data)
        if not got and client.ended:  # it may be one that answers once
            client = clients.connect()
            got = client.ask(data)
        if not got and data in MESSAGES:  # it serves nobody any more
            return
    for data in (b"x" * 10_000 + b"\n", long_text(20_000), random_bytes(MANY_BYTES)):
        client = clients.connect() if client.ended else client
        client.ask(data)
    client.close()
    for command in (b"exit\n", b"exit\r\n"):
        client = clients.connect()
        client.ask(HELLO)
        client.send(command)
        server.settle()
        client.close()
    vanishing = clients.crowd(8)  # with the others, more than a table of ten has room for
    vanishing[0].ask(HELLO)
    vanishing.reset()
    server.settle()
    leaving = clients.connect()
    leaving.ask(HELLO)
    leaving.send(random_bytes(MANY_BYTES))
    leaving.close()
    server.settle()
