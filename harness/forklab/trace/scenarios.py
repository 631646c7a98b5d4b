"""What the scripted clients do while a server is traced.

A scenario waits for conditions, never for a time: after each step it lets the family come to rest,
and looks at /proc. So what it shows is the same every time, as far as the server's own program is.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Protocol

from forklab.clients import Client
from forklab.trace.recording import Step

MOST_CLIENTS = 200
HELLO = b"hi\n"


class Stage(Protocol):
    """What a scenario can do; see forklab.trace.record.Recorder."""

    lab: str

    def connect(self) -> Client: ...

    def note(self, text: str, action: str = "", client: Client | None = None) -> Step: ...

    def quiet(self) -> None: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def all_have_ended(self) -> None: ...

    def kill(self, signal_number: int) -> None: ...

    def number(self, client: Client) -> int: ...


def turns(stage: Stage, count: int) -> None:
    """One client after another: each speaks, is answered, and leaves before the next comes."""
    for _ in range(count):
        client = stage.connect()
        _say(stage, client, HELLO)
        stage.quiet()
        _leave(stage, client)
        stage.quiet()


def together(stage: Stage, count: int) -> None:
    """All are connected at once, and leave one by one."""
    for client in _crowd(stage, count):
        _leave(stage, client)
        stage.quiet()


def burst(stage: Stage, count: int) -> None:
    """All leave while the server is frozen: it meets the ends of all its children at once."""
    crowd = _crowd(stage, count)
    stage.freeze()
    for client in crowd:
        _leave(stage, client)
    stage.all_have_ended()
    stage.thaw()
    stage.quiet()


def vanish(stage: Stage, count: int) -> None:
    """All but the first vanish without a word (a reset); the first speaks again."""
    crowd = _crowd(stage, max(count, 2))
    for client in crowd[1:]:
        stage.note(f"client {stage.number(client)} vanishes (reset)", "reset", client)
        client.reset()
        stage.quiet()
    _say(stage, crowd[0], b"still there?\n")
    stage.quiet()
    _leave(stage, crowd[0])
    stage.quiet()


def leave_by_exit(stage: Stage, count: int) -> None:
    """Each says ``exit``: in labs 3 and 4 in two pieces, and the server is to end the session."""
    for client in _crowd(stage, count):
        pieces = [b"exit\n"] if stage.lab in ("lab1", "lab2") else [b"ex", b"it\n"]
        for piece in pieces:
            _send(stage, client, piece)
            stage.quiet()
        client.pump()
        _leave(stage, client)
        stage.quiet()


def shutdown(stage: Stage, count: int) -> None:
    """The server gets SIGTERM while all are connected."""
    crowd = _crowd(stage, count)
    stage.kill(signal.SIGTERM)
    stage.quiet()
    for client in crowd:
        _leave(stage, client)
    stage.quiet()


def _crowd(stage: Stage, count: int) -> list[Client]:
    crowd = []
    for _ in range(count):
        crowd.append(stage.connect())
        _say(stage, crowd[-1], HELLO)
    stage.quiet()
    return crowd


def _shown(data: bytes) -> str:
    return '"' + data.decode("ascii").replace("\n", "\\n") + '"'


def _send(stage: Stage, client: Client, data: bytes) -> None:
    stage.note(f"client {stage.number(client)} sends {_shown(data)}", client=client)
    client.send(data)


def _say(stage: Stage, client: Client, data: bytes) -> None:
    """Sends a line and waits for the answer, or until it is plain that none will come."""
    wanted = len(client.received) + len(data)
    _send(stage, client, data)
    client.receive(wanted)


def _leave(stage: Stage, client: Client) -> None:
    stage.note(f"client {stage.number(client)} leaves", "close", client)
    client.close()


Scenario = Callable[[Stage, int], None]
SCENARIOS: dict[str, Scenario] = {
    "turns": turns,
    "together": together,
    "burst": burst,
    "vanish": vanish,
    "exit": leave_by_exit,
    "shutdown": shutdown,
}
USUAL = "burst"
