"""Echo clients and crowds of them: connect, send, receive, half-close, reset, and a transcript.

Knows nothing of processes: how long to wait is asked of a :class:`Patience`, which a server is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from forklab import tcp

T = TypeVar("T")

CHUNK = 1 << 16  # bytes taken from a socket at once
KEPT = 400  # bytes of each event that a transcript keeps
MOST_NAPS = 15.0  # seconds of naps in one exchange: a server that dawdles on would never be done


class Patience(Protocol):
    """Who knows when waiting is in vain."""

    port: int
    napped: float  # seconds so far that were waited while the server slept, to wake by itself
    room: int  # for so many more clients there is room in its queue, as far as was looked

    def wait_for(
        self,
        condition: Callable[[], T],
        readable: Sequence[socket.socket] = (),
        *,
        sure: float = ...,
    ) -> T: ...


@dataclass
class Event:
    """One thing that a client did or saw."""

    what: str  # "sent", "received", "connected", "end of stream", "connection reset", ...
    data: bytes = b""  # its first bytes, at most KEPT
    size: int = 0  # of all of it


def _new_socket(receive_buffer: int) -> socket.socket:
    """Not connected yet; 0 bytes: with a buffer of the usual size."""
    made = socket.socket()
    made.setblocking(False)
    if receive_buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    # What one send call takes is one segment for the server, as far as TCP allows.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class Client:
    """One connection to the server. Make it with :meth:`Clients.connect`."""

    def __init__(
        self, patience: Patience, name: str, greeting: bytes = b"", receive_buffer: int = 0
    ) -> None:
        self.name = name
        self.received = bytearray()  # all that came so far, without the server's greeting
        self.events: list[Event] = []
        self.ended: str | None = None  # "end of stream" or "connection reset", once it is so
        self._patience = patience
        self._greeting = greeting  # how much of it is still to come
        self._open = True
        self._socket = _new_socket(receive_buffer)
        looks = patience.room <= 1
        problem = self._connect(looks)
        if problem == errno.ECONNREFUSED and not looks:  # it listens no more, or not again yet
            self._socket.close()
            self._socket = _new_socket(receive_buffer)
            problem = self._connect(looks=True)
        self.port = self._socket.getsockname()[1]  # its own
        if problem in (0, errno.EISCONN):
            self._note("connected")
        elif problem == errno.EINPROGRESS:
            self._note("not connected: the server's queue is full, and it accepts nobody")
        else:
            self._note(f"not connected: {os.strerror(problem)}")
            self.ended = "no connection"
            self._open = False
            self._socket.close()

    @property
    def is_connected(self) -> bool:
        """Whether the handshake was done: by the kernel, whose queue need not be the server's."""
        return self.events[0].what == "connected"

    def _acknowledge_at_once(self) -> None:
        """Otherwise the kernel may wait 40 ms with it, and all that time a packet seems under way.

        The option has to be set again and again (tcp(7), TCP_QUICKACK).
        """
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _connect(self, looks: bool) -> int:
        """0 or EISCONN, or why not: EINPROGRESS where a full queue keeps it out.

        ``looks``: first waits until there is room in the queue.
        """
        if looks:
            self._patience.room = self._patience.wait_for(self._room)  # it may be about to accept
        self._patience.room -= 1
        problem = self._socket.connect_ex(("127.0.0.1", self._patience.port))
        if problem == errno.EINPROGRESS:
            problem = self._wait_for(self._progress) or errno.EINPROGRESS
        return problem

    def _room(self) -> int:
        """How many clients the server's queue takes, if there is room for more than one."""
        room = tcp.room(self._patience.port)
        return room if room > 1 else 0

    def _progress(self) -> int:
        """How connecting goes: EISCONN when it is done, another error, or 0 while it takes."""
        try:
            self._socket.getpeername()
        except OSError:
            return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.EISCONN

    def _note(self, what: str, data: bytes | memoryview = b"") -> None:
        first = bytes(data[:KEPT])
        last = self.events[-1] if self.events else None
        if last and last.what == what == "received":  # how TCP cut it up is nobody's doing
            last.data = (last.data + first)[:KEPT]
            last.size += len(data)
        else:
            self.events.append(Event(what, first, len(data)))

    # Sending

    def send(self, data: bytes | memoryview) -> int:
        """Sends as much of ``data`` as the kernel takes at once. Returns how many bytes."""
        if not self._open or not data:
            return 0
        try:
            sent = self._socket.send(data)
        except BlockingIOError:  # its buffer is full, or it is not connected yet
            return 0
        except (BrokenPipeError, ConnectionResetError):
            self.pump()  # what came before the end still counts
            self._end("connection reset")
            return 0
        self._acknowledge_at_once()
        self._note("sent", data[:sent])
        return sent

    def send_last(self, data: bytes) -> None:
        """Sends ``data`` and the end of the stream in one segment: both are there at once."""
        if self._open:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # tcp(7)
            self.send(data)
            self.half_close()

    def half_close(self) -> None:
        """Sends no more, but still listens (shutdown(2), SHUT_WR)."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            self._note("half-closed")

    def close(self) -> None:
        """Leaves in good order."""
        if self._open:
            self._note("closed")
            self._open = False
            self._socket.close()

    def reset(self) -> None:
        """Vanishes: what TCP does when a client's machine forgets the connection (RST)."""
        if self._open:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            self._note("reset")
            self._open = False
            self._socket.close()

    # Receiving

    def pump(self) -> bool:
        """Takes in what has come. Whether anything has."""
        if not self._open or self.ended:
            return False
        came = False
        while True:
            try:
                data = self._socket.recv(CHUNK)
            except BlockingIOError:
                self._acknowledge_at_once()
                return came
            except OSError:
                self._end("connection reset")
                return True
            if not data:
                self._end("end of stream")
                return True
            came = True
            self._note("received", data)
            self.received += self._without_greeting(data)

    def _end(self, how: str) -> None:
        if self.ended is None:
            self.ended = how
            self._note(how)

    def _without_greeting(self, data: bytes) -> bytes:
        expected, self._greeting = self._greeting[: len(data)], self._greeting[len(data) :]
        if data.startswith(expected):
            return data[len(expected) :]
        self._greeting = b""
        return data

    def _wait_for(self, condition: Callable[[], T]) -> T:
        return self._patience.wait_for(condition, [self._socket] if self._open else [])

    def receive(self, size: int) -> bytes:
        """Waits until ``size`` bytes have come since the connection began, or no more will.

        Returns all that came (also more than that, if more is there).
        """
        self._wait_for(lambda: (self.pump(), self.ended or len(self.received) >= size)[1])
        return bytes(self.received)

    def await_end(self) -> bool:
        """Waits until the server ends the connection, by EOF or reset. False if it doesn't."""
        return bool(self._wait_for(lambda: (self.pump(), self.ended)[1]))

    def ask(self, data: bytes) -> bytes:
        """Sends ``data`` and returns what came back for it: as many bytes, if all is well."""
        before = len(self.received)
        self.exchange(data)
        return bytes(self.received[before:])

    def exchange(
        self,
        data: bytes,
        slow: bool = False,
        meanwhile: Callable[[], None] | None = None,
        enough: int | None = None,
    ) -> None:
        """Sends all of ``data`` while it takes in the answer, until as much came back.

        ``slow``: reads nothing before every buffer on the way is full and the server stuck, and
        then only when it can't send. ``meanwhile`` is called again and again. ``enough``: how many
        bytes back will do. Gives up when the server makes no headway, or naps too much meanwhile.
        """
        rest = memoryview(data)
        wanted = len(self.received) + (len(data) if enough is None else enough)
        is_stuck = not slow
        patience_ends = self._patience.napped + MOST_NAPS
        while not self.ended and self._open and self._patience.napped < patience_ends:
            sent = self._send_odd_sized(rest) if slow else self.send(rest)
            rest = rest[sent:]
            if sent and slow:
                continue
            # Not that its data end the pause: they are there already, and not to be read yet.
            if not is_stuck and self._patience.wait_for(partial(self._has_room, rest), sure=0):
                continue
            is_stuck = True
            if meanwhile:
                meanwhile()
            if not self.pump() and not sent and not self._wait_for(partial(self._can_go_on, rest)):
                return
            if len(self.received) >= wanted and not rest:
                return

    def _send_odd_sized(self, data: memoryview) -> int:
        sizes = (1, 4093, 17, 65521, 1021, 262139, 3)
        return self.send(data[: sizes[len(data) % len(sizes)]])

    def _has_room(self, rest: memoryview) -> bool:
        return bool(rest) and bool(select.select([], [self._socket], [], 0)[1])

    def _can_go_on(self, rest: memoryview) -> bool:
        return self._has_room(rest) or self.pump() or self.ended is not None


class Crowd(list[Client]):
    """Several clients, in the order in which they connected."""

    def close(self) -> None:
        """Every one leaves in good order."""
        for client in self:
            client.close()

    def reset(self) -> None:
        """Every one vanishes."""
        for client in self:
            client.reset()

    def greet(self) -> list[Client]:
        """Each says its number and gets its echo, side by side. Returns who got none."""
        wanted = {}
        for number, client in enumerate(self):
            message = b"message %d\n" % number
            wanted[client] = bytes(client.received) + message
            client.send(message)
        return [
            one for one, whole in wanted.items() if not one.receive(len(whole)).startswith(whole)
        ]


class Clients:
    """Makes clients of one server. At the end, those that are still there vanish."""

    def __init__(self, patience: Patience, greeting: bytes = b"") -> None:
        self._patience = patience
        self._greeting = greeting
        self._all = Crowd()

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        # A reset leaves nothing in TIME_WAIT at the server's port, which would be in the way of
        # the next server there that doesn't set SO_REUSEADDR.
        self._all.reset()

    def leave(self) -> None:
        """Every one vanishes."""
        self._all.reset()

    def __iter__(self) -> Iterator[Client]:
        return iter(self._all)

    def connect(self, receive_buffer: int = 0) -> Client:
        """One more client; a small receive buffer (bytes) makes the server wait for it."""
        name = chr(ord("A") + len(self._all)) if len(self._all) < 26 else str(len(self._all) + 1)
        client = Client(self._patience, name, self._greeting, receive_buffer)
        self._all.append(client)
        return client

    def crowd(self, size: int) -> Crowd:
        """So many more clients."""
        return Crowd(self.connect() for _ in range(size))
