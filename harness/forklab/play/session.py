"""What the keys do: one server, its clients, and what is chosen and typed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from socket import socket
from typing import TypeVar

from forklab.clients import Client
from forklab.play.model import CAN_ACT, Picture, Watcher, state_of
from forklab.server import Server

T = TypeVar("T")
MOST_CLIENTS = 200


class Impatience:
    """Waits for nothing (forklab.clients.Patience): the screen must go on."""

    napped = 0.0
    room = 0

    def __init__(self, port: int) -> None:
        self.port = port

    def wait_for(
        self, condition: Callable[[], T], readable: Sequence[socket] = (), *, sure: float = 0
    ) -> T:
        return condition()


class Session:
    """One server being played with; use it as a context, and nothing is left of it afterwards."""

    def __init__(self, lab: str, path: str, binary: Path, port: int, folder: Path) -> None:
        self._lab, self._path, self._binary, self._port = lab, path, binary, port
        self._folder = folder
        self._starts = 0
        self._start()
        self.message = ""
        self.prompt: str | None = None  # the line being typed
        self.is_helping = False
        self.is_over = False

    def _start(self) -> None:
        self._starts += 1
        folder = self._folder / f"server{self._starts}"
        self._server = Server(self._binary, [str(self._port)], self._port, folder)
        self._watcher = Watcher(self._server)
        self._clients: list[Client] = []
        self._chosen: Client | None = None
        self._looked_at = self._server.pid
        self._zombies_at_thaw = 0
        self._picture = Picture(self._lab, self._path, self._port)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        for client in self._clients:  # first: then nothing is left in TIME_WAIT at its port
            client.reset()
        self._server.end()

    def look(self) -> Picture:
        """What is to be seen now."""
        for client in self._clients:
            client.pump()
        members, peers = self._watcher.look(self._clients)
        ending = self._server.exit
        pids = [one.pid for one in members]
        if self._looked_at not in pids:
            self._looked_at = pids[0] if pids else 0
        self._picture = Picture(
            self._lab,
            self._path,
            self._watcher.port,
            self._watcher.is_listening,
            "" if ending is None else str(ending),
            members,
            peers,
            self._watcher.tail.lines(),
            self._chosen.name if self._chosen else "",
            self._looked_at,
            self._zombies_at_thaw,
            self.message,
            self.prompt,
            self.is_helping,
        )
        return self._picture

    def begin(self) -> None:
        """Something new is about to be done: what was said of the last is over."""
        self.message = ""
        self._zombies_at_thaw = 0

    # Clients

    def connect(self, key: str) -> None:
        if len(self._clients) == MOST_CLIENTS:
            self.message = f"{MOST_CLIENTS} clients are enough; r starts anew."
            return
        name = str(len(self._clients) + 1)
        client = Client(Impatience(self._watcher.port), name)
        self._clients.append(client)
        self._chosen = client
        self.message = f"Client {name}: {client.events[0].what}."

    def ask_line(self, key: str) -> None:
        if self._actor():
            self.prompt = ""

    def type(self, key: str) -> None:
        """One key while a line is being typed."""
        assert self.prompt is not None
        if key == "escape":
            self.prompt = None
        elif key == "enter":
            self._send(self.prompt)
            self.prompt = None
        elif key == "backspace":
            self.prompt = self.prompt[:-1]
        elif len(key) == 1 and key.isprintable():
            self.prompt += key

    def send_exit(self, key: str) -> None:
        self._send("exit")

    def _send(self, line: str) -> None:
        if client := self._actor():
            data = line.encode() + b"\n"
            sent = client.send(data)
            self.message = f"Client {client.name} sent {sent} bytes."
            if sent < len(data):
                self.message = f"Client {client.name} could send {sent} of {len(data)} bytes only."

    def half_close(self, key: str) -> None:
        if client := self._actor():
            client.half_close()
            self.message = f"Client {client.name} sends no more, and still listens."

    def close(self, key: str) -> None:
        if client := self._actor():
            client.pump()  # closing with bytes unread would be a reset
            client.close()
            self.message = f"Client {client.name} closed its connection."
            self._choose_another()

    def close_all(self, key: str) -> None:
        there = [one for one in self._clients if one.is_connected and _can_act(one)]
        for client in there:
            client.pump()
            client.close()
        self.message = f"Closed: {len(there)}." if there else "There is no client to close."

    def vanish(self, key: str) -> None:
        if client := self._actor():
            client.reset()
            self.message = f"Client {client.name} vanished: its connection was reset."
            self._choose_another()

    def _actor(self) -> Client | None:
        """The chosen client, if it can do anything; else the message says what is missing."""
        if self._chosen is None:
            self.message = "There is no client yet: c connects one."
        elif not _can_act(self._chosen):
            self.message = f"Client {self._chosen.name} is done: choose another, or c connects one."
        else:
            return self._chosen
        return None

    def _choose_another(self) -> None:
        """The next client with which there is something to do, or one before."""
        assert self._chosen is not None
        here = self._clients.index(self._chosen)
        order = [*self._clients[here:], *reversed(self._clients[:here])]
        self._chosen = next((one for one in order if _can_act(one)), self._chosen)

    def choose_next(self, key: str) -> None:
        if self._chosen is not None:
            here = self._clients.index(self._chosen) + (1 if key == "down" else -1)
            self._chosen = self._clients[here % len(self._clients)]

    def choose(self, key: str) -> None:
        if int(key) <= len(self._clients):
            self._chosen = self._clients[int(key) - 1]
        else:
            self.message = f"There is no client {key}."

    # The server

    def freeze(self, key: str) -> None:
        if self._picture.is_frozen:
            self._zombies_at_thaw = len(self._picture.zombies)
            self._signal(signal.SIGCONT)
        else:
            self._signal(signal.SIGSTOP)

    def send_sigchld(self, key: str) -> None:
        self._signal(signal.SIGCHLD)

    def send_sigterm(self, key: str) -> None:
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self._server.exit is not None:
            self.message = "The server has ended: r starts it again."
            return
        self._server.kill(number)
        self.message = f"{number.name} sent to {self._server.pid}."

    def restart(self, key: str) -> None:
        self._end()
        self._start()
        self.message = "The server was killed, with all that came of it, and started again."

    # The view

    def look_at_next(self, key: str) -> None:
        pids = [one.pid for one in self._picture.members]
        if pids:
            here = pids.index(self._looked_at) if self._looked_at in pids else -1
            self._looked_at = pids[(here + 1) % len(pids)]

    def show_help(self, key: str) -> None:
        self.is_helping = True

    def quit(self, key: str) -> None:
        self.is_over = True


def _can_act(client: Client) -> bool:
    return state_of(client) in CAN_ACT
