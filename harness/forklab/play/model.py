"""What is looked at: one running server and its clients as plain data, read anew each time."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forklab import procfs, tcp
from forklab.clients import Client, Event
from forklab.evidence import plain
from forklab.procfs import Process
from forklab.server import Server

MASKS = ("SigIgn", "SigCgt", "SigBlk", "SigPnd", "ShdPnd")  # of /proc/PID/status, proc(5)
MOST_LINES = 200  # of the log that are kept
MOST_NEW = 1 << 16  # bytes of a log that are read at once; of more, only the last

CAN_ACT = ("open", "half-closed", "connecting")  # the states of clients that can still do something
LISTENER, LOG = "listener", "log"  # what a descriptor may stand for; or "client 3", "/dev/null"


@dataclass(frozen=True)
class Member:
    """One process of the server's family."""

    pid: int
    depth: int  # 0: the server, or one whose parent has ended
    role: str  # "server", "child", "orphan"
    state: str  # as in procfs.Process
    descriptors: tuple[tuple[int, str], ...]
    masks: tuple[tuple[str, int], ...]  # those of MASKS; none if it is gone
    seconds: int = 0  # that it has been a zombie

    @property
    def is_zombie(self) -> bool:
        return self.state == "Z"

    @property
    def is_stopped(self) -> bool:
        return self.state in "Tt"

    def has(self, mask: str, signal_number: int) -> bool:
        """Whether a signal is in one of its masks."""
        return procfs.SignalMasks.has(dict(self.masks).get(mask, 0), signal_number)


@dataclass(frozen=True)
class Peer:
    """One client: ours, or one from outside, of which only the server's side can be seen."""

    name: str  # "3"; of one from outside its port: ":40112"
    state: str  # "open", "half-closed", "closed", "vanished", ..., "outside"
    is_queued: bool = False  # the kernel has accepted it, the server has not
    pids: tuple[int, ...] = ()  # who has the connection open at the server's side
    unread: int = 0  # bytes that have come to the server and were not read
    events: tuple[Event, ...] = ()  # what it did and saw
    sent: int = 0  # bytes, of one from outside
    got: int = 0

    @property
    def can_act(self) -> bool:
        """Whether there is still something to do with it."""
        return self.state in CAN_ACT


@dataclass(frozen=True)
class Picture:
    """All that one screen shows."""

    lab: str
    path: str
    port: int  # where it was told to listen, or listens
    is_listening: bool = True
    ending: str = ""  # how the server ended; "" while it runs
    members: tuple[Member, ...] = ()  # parents before their children
    peers: tuple[Peer, ...] = ()
    log: tuple[str, ...] = ()
    chosen: str = ""  # the name of the client that keys are for
    looked_at: int = 0  # the pid whose signals are shown
    zombies_at_thaw: int = 0  # so many were there when the server was last thawed
    message: str = ""  # what the last key did
    prompt: str | None = None  # the line being typed
    is_helping: bool = False

    @property
    def zombies(self) -> list[Member]:
        return [one for one in self.members if one.is_zombie]

    @property
    def server(self) -> Member | None:
        """The process that was started; None once it has ended."""
        return next((one for one in self.members if one.role == "server"), None)

    @property
    def is_frozen(self) -> bool:
        return self.server is not None and self.server.is_stopped


class Tail:
    """The last lines of files that grow, in the order in which they were seen."""

    def __init__(self, *files: Path) -> None:
        self._read = dict.fromkeys(files, 0)  # bytes of each
        self._begun = dict.fromkeys(files, b"")  # lines without an end yet
        self._lines: list[str] = []

    def lines(self) -> tuple[str, ...]:
        """All lines that are kept, the last one perhaps unfinished."""
        for file in self._read:
            *whole, self._begun[file] = (self._begun[file] + self._new(file)).split(b"\n")
            self._lines += [plain(line[:400]) for line in whole]
        del self._lines[:-MOST_LINES]
        return *self._lines, *(plain(text[:400]) for text in self._begun.values() if text)

    def _new(self, file: Path) -> bytes:
        size = file.stat().st_size
        if size == self._read[file]:
            return b""
        with file.open("rb") as stream:
            stream.seek(max(self._read[file], size - MOST_NEW))
            data = stream.read(MOST_NEW)
            self._read[file] = stream.tell()
        return data


class Watcher:
    """Looks at one server again and again, and remembers what one look can't tell."""

    def __init__(self, server: Server) -> None:
        self.port = server.port  # where it listens, once it does
        self.is_listening = False
        self.tail = Tail(*server.output_files)
        self._server = server
        self._logs = set(map(os.readlink, server.output_files))
        self._names: dict[int, str] = {}  # by inode: connections that were seen
        self._ended: dict[int, float] = {}  # by pid: when it was first seen as a zombie

    def look(self, clients: Sequence[Client]) -> tuple[tuple[Member, ...], tuple[Peer, ...]]:
        """Who is there now: the server's family, and its clients."""
        family = self._server.family()
        tables = {one.pid: procfs.descriptors(one.pid) for one in family if not one.is_zombie}
        inodes = {target for table in tables.values() for target in table.values()}
        listeners = [one for one in tcp.listeners() if _link(one) in inodes]
        self.is_listening = bool(listeners)
        if listeners and self.port not in (ports := [one.port for one in listeners]):
            self.port = ports[0]  # a program may have its own idea of the port
        ends = tcp.connections(self.port)
        names = {one.port: one.name for one in clients}
        for end in ends:
            if end.inode:
                name = names.get(end.peer_port)
                self._names[end.inode] = f"client {name}" if name else f"outside :{end.peer_port}"
        targets = {_link(one): LISTENER for one in listeners}
        targets |= {f"socket:[{inode}]": name for inode, name in self._names.items()}
        targets |= {file: LOG for file in self._logs}
        members = self._members(family, tables, targets)
        return members, _peers(clients, ends, tables)

    def _members(
        self,
        family: Sequence[Process],
        tables: dict[int, dict[int, str]],
        targets: dict[str, str],
    ) -> tuple[Member, ...]:
        now = time.monotonic()
        zombies = [one.pid for one in family if one.is_zombie]
        self._ended = {pid: self._ended.get(pid, now) for pid in zombies}
        return tuple(
            Member(
                one.pid,
                depth,
                "server" if one.pid == self._server.pid else "child" if depth else "orphan",
                one.state,
                tuple(
                    (fd, targets.get(target, _short(target)))
                    for fd, target in tables.get(one.pid, {}).items()
                ),
                masks_of(one.pid),
                int(now - self._ended.get(one.pid, now)),
            )
            for one, depth in _in_tree_order(family, self._server.pid)
        )


def masks_of(pid: int) -> tuple[tuple[str, int], ...]:
    """The five signal masks of a process by name; none if it is gone."""
    found = []
    with suppress(*procfs.GONE):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name in MASKS:
                found.append((name, int(value, 16)))
    return tuple(sorted(found, key=lambda pair: MASKS.index(pair[0])))


def _in_tree_order(family: Sequence[Process], server: int) -> list[tuple[Process, int]]:
    """Each process with its depth: the server first, then who has no parent left."""
    pids = {one.pid for one in family}
    roots = [one for one in family if one.parent not in pids or one.pid == server]
    todo = [(one, 0) for one in sorted(roots, key=lambda one: (one.pid != server, one.pid))]
    ordered = []
    while todo:
        one, depth = todo.pop(0)
        ordered.append((one, depth))
        todo[:0] = [(child, depth + 1) for child in family if child.parent == one.pid]
    return ordered


def _link(end: tcp.TcpSocket) -> str:
    """What /proc/PID/fd says of a socket."""
    return f"socket:[{end.inode}]"


def _short(target: str) -> str:
    if target.startswith(("socket:", "pipe:", "anon_inode:")):
        return target.partition(":")[0]
    return plain(Path(target).name if len(target) > 12 else target)


# Clients -------------------------------------------------------------------------------------


def _peers(
    clients: Sequence[Client], ends: Sequence[tcp.TcpSocket], tables: dict[int, dict[int, str]]
) -> tuple[Peer, ...]:
    by_port = {one.peer_port: one for one in ends}
    holders = {
        one.peer_port: tuple(pid for pid, table in tables.items() if _link(one) in table.values())
        for one in ends
        if one.inode
    }
    owners = {one.port: one for one in clients}  # the last one that had that port
    peers = []
    for client in clients:
        end = by_port.pop(client.port, None) if owners[client.port] is client else None
        peers.append(
            Peer(
                client.name,
                state_of(client),
                is_queued=end is not None and _is_queued(end),
                pids=holders.get(client.port, ()),
                unread=_unread(end) if end else 0,
                events=tuple(Event(one.what, one.data, one.size) for one in client.events),
            )
        )
    for end in by_port.values():
        if _is_queued(end) or holders.get(end.peer_port):
            peers.append(
                Peer(
                    f":{end.peer_port}",
                    "outside",
                    is_queued=_is_queued(end),
                    pids=holders.get(end.peer_port, ()),
                    unread=_unread(end),
                    sent=end.received,
                    got=end.sent,
                )
            )
    return tuple(peers)


def _is_queued(end: tcp.TcpSocket) -> bool:
    """Whether no process has accepted that connection yet."""
    return end.inode == 0 and end.state in (tcp.ESTABLISHED, tcp.CLOSE_WAIT)


def _unread(end: tcp.TcpSocket) -> int:
    """Bytes that no process has read: the kernel counts the end of the stream as one more."""
    return max(0, end.unread - (end.state == tcp.CLOSE_WAIT))


def state_of(client: Client) -> str:
    """How it is with one of our own clients, in a word or two."""
    seen = {event.what for event in client.events}
    if "closed" in seen:
        return "closed"
    if "reset" in seen:
        return "vanished"
    if client.ended == "no connection":
        return "refused"
    if client.ended == "connection reset":
        return "was reset"
    if client.ended:
        return "ended"
    if not client.is_connected:
        return "connecting"
    return "half-closed" if "half-closed" in seen else "open"
