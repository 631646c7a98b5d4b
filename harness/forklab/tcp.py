"""The TCP sockets of this machine as facts: who listens where, what is still under way.

Asked of the kernel by sock_diag(7), as ss(8) does; where that is not to be had, read from
/proc/net/tcp and tcp6 (proc(5)), which takes ten times as long.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

# States, from include/net/tcp_states.h.
ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2 = 1, 2, 3, 4, 5
CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING = 8, 9, 10, 11
_HANDSHAKES = (SYN_SENT, SYN_RECV, FIN_WAIT1, LAST_ACK, CLOSING)
_CONNECTED = (ESTABLISHED, FIN_WAIT2, CLOSE_WAIT)


class TcpSocket(NamedTuple):
    """One TCP socket, be it open in a process or only in the kernel."""

    state: int
    raw_address: bytes  # 4 or 16, in network order
    port: int
    peer_port: int
    unacknowledged: int  # bytes sent that the other side's kernel has not confirmed
    inode: int  # 0: not accepted yet, or no process has it any more
    unread: int = 0  # bytes that have come and no process has read
    sent: int = 0  # bytes ever sent; 0 if the kernel doesn't say
    received: int = 0  # bytes ever received
    not_sent: int = 0  # bytes that wait for the peer to have room
    room: int = 0  # LISTEN: how many more connections its queue takes (a backlog of 5 takes 6)

    @property
    def address(self) -> IPv4Address | IPv6Address:
        """The address that it is bound to."""
        return ip_address(self.raw_address)

    @property
    def serves_everyone(self) -> bool:
        """Whether it is bound to all addresses of the machine."""
        return not any(self.raw_address)

    @property
    def is_on_loopback(self) -> bool:
        """Whether it is bound to 127.x.y.z, also when written as an IPv6 address."""
        return self.raw_address[-4] == 127 and not any(self.raw_address[:-6])


def listeners() -> list[TcpSocket]:
    """The listening sockets of this network namespace, IPv4 and IPv6."""
    return _sockets([LISTEN])


def listeners_on(port: int) -> list[TcpSocket]:
    """Those on that port; where one gets what comes to 127.0.0.1, it alone.

    That one is found at once. To find them all, the kernel walks through a table that is much
    larger than a processor's cache.
    """
    with suppress(OSError):
        return [_who_gets(port)]
    return [one for one in listeners() if one.port == port]


def is_reached(port: int) -> bool:
    """Whether somebody gets what comes to 127.0.0.1 and that port. True if the kernel can't say."""
    try:
        _who_gets(port)
    except OSError as problem:
        if problem.errno == errno.ENOENT:  # nobody, or no such question
            with suppress(OSError):
                _by_netlink([LISTEN])
                return False
    return True


def connections(port: int) -> list[TcpSocket]:
    """The ends at that port of established connections."""
    return [one for one in _sockets(list(_CONNECTED)) if one.port == port]


def is_quiet(port: int) -> bool:
    """Whether no packet from or to that port is under way between sockets of this machine.

    A packet may still wait in the kernel while both sides are asleep. It shows: bytes are not
    acknowledged, a handshake is half done, or one end of a connection is gone (reset) and the
    other does not know it yet.
    """
    found = _sockets([*_HANDSHAKES, *_CONNECTED])
    ends = [s for s in found if port in (s.port, s.peer_port) and s.is_on_loopback]
    peers = {(s.peer_port, s.port): s for s in ends}
    in_motion = [s for s in ends if _in_motion(s, peers.get((s.port, s.peer_port)))]
    # A client whom a full queue keeps out waits for the server, not for a packet.
    return not in_motion or (all(s.state == SYN_SENT for s in in_motion) and _is_full(port))


def _in_motion(end: TcpSocket, peer: TcpSocket | None) -> bool:
    """Whether something that this end sent has not reached its peer yet."""
    if end.state in (LAST_ACK, CLOSING):  # the peer knows it, once it is in TIME_WAIT or gone
        return peer is not None
    if end.state in (SYN_SENT, SYN_RECV) or peer is None:
        return True
    has_come = 0 < end.sent <= peer.received
    if has_come and end.not_sent and peer.unread:  # the peer reads nothing: no room for more
        return False
    # Acknowledging may take 40 ms; what counts is whether it has come.
    if end.state == FIN_WAIT1:
        return peer.state not in (CLOSE_WAIT, LAST_ACK, CLOSING)
    return end.unacknowledged > 0 and not (has_come and not end.not_sent)


def _is_full(port: int) -> bool:
    """Whether the queue of who listens there is."""
    return any(s.port == port and s.room <= 0 for s in listeners())


def room(port: int) -> int:
    """How many more connections the kernel accepts on that port for its server; 0 if none."""
    return max((s.room for s in listeners_on(port)), default=0)


def _sockets(states: list[int]) -> list[TcpSocket]:
    try:
        return _by_netlink(states)
    except OSError:
        return [one for one in _by_proc() if one.state in states]


# struct inet_diag_req and inet_diag_msg, from linux/inet_diag.h, and tcp_info, from linux/tcp.h.
# The older request brings IPv4 and IPv6 in one walk through the kernel's table, the newer in two.
_TCPDIAG_GETSOCK, _SOCK_DIAG_BY_FAMILY, _NLMSG_ERROR, _NLMSG_DONE = 18, 20, 2, 3
_NLM_F_REQUEST, _NLM_F_REQUEST_DUMP = 0x1, 0x301
_NETLINK_SOCK_DIAG = 4
_INET_DIAG_INFO = 2
_BYTES_RECEIVED, _NOTSENT_BYTES, _BYTES_SENT = 128, 144, 200  # where they stand in tcp_info


def _by_netlink(states: list[int]) -> list[TcpSocket]:
    mask = sum(1 << state for state in states)
    request = struct.pack("=BBBB48xII", socket.AF_INET, 0, 0, 1 << (_INET_DIAG_INFO - 1), mask, 0)
    return _netlink.ask(_TCPDIAG_GETSOCK, _NLM_F_REQUEST_DUMP, request)


def _who_gets(port: int) -> TcpSocket:
    """Who listens for connections to 127.0.0.1 and that port. Raises OSError if nobody does."""
    end = struct.pack("!HH4s28xI8s", port, 0, b"\x7f\0\0\1", 0, b"\xff" * 8)
    request = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0) + end
    (one,) = _netlink.ask(_SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, request)
    return one


class _Netlink(threading.local):
    """A thread's socket for questions to the kernel, made for the first of them."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.pid = 0  # whose it is: a fork makes another one
        self.questions = 0

    def ask(self, kind: int, flags: int, request: bytes) -> list[TcpSocket]:
        """What the kernel answers. Raises OSError, also where there is no such socket."""
        try:
            if self.socket is None or self.pid != os.getpid():
                self.forget()
                self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
                self.pid = os.getpid()
            self.questions += 1
            header = struct.pack("=IHHII", 16 + len(request), kind, flags, self.questions, 0)
            self.socket.send(header + request)
            return _answers(self.socket, self.questions, flags)
        except BaseException:  # what is still to come is no answer to the next question
            self.forget()
            raise

    def forget(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


_netlink = _Netlink()


def forget() -> None:
    """From here on our network is another one: this thread asks about the old one no more."""
    _netlink.forget()


def _answers(netlink: socket.socket, question: int, flags: int) -> list[TcpSocket]:
    found: list[TcpSocket] = []
    while True:
        data = netlink.recv(1 << 16)
        while data:
            size, kind, _, number = struct.unpack_from("=IHHI", data)
            if kind == _NLMSG_DONE:
                return found
            if kind == _NLMSG_ERROR:
                (code,) = struct.unpack_from("=i", data, 16)
                raise OSError(-code, os.strerror(-code))
            if number != question:
                raise OSError("sock_diag answers another question")
            family, state, port, peer_port = struct.unpack_from("!BBxxHH", data, 16)
            raw = data[24 : 24 + (4 if family == socket.AF_INET else 16)]
            unread, unacknowledged, _uid, inode = struct.unpack_from("=IIII", data, 72)
            room = 0
            if state == LISTEN:  # here they are the queue's length and the backlog
                room, unacknowledged, unread = unacknowledged + 1 - unread, 0, 0
            one = TcpSocket(
                state,
                raw,
                port,
                peer_port,
                unacknowledged,
                inode,
                unread,
                *_counts(data[88:size]),
                room=room,
            )
            found.append(one)
            data = data[(size + 3) & ~3 :]
        if flags == _NLM_F_REQUEST:  # for one socket
            return found


def _counts(attributes: bytes) -> tuple[int, int, int]:
    """Bytes sent, received, and waiting to be sent, from struct tcp_info."""
    while len(attributes) >= 4:
        size, kind = struct.unpack_from("=HH", attributes)
        if kind == _INET_DIAG_INFO and size >= 4 + _BYTES_SENT + 16:
            info = attributes[4:size]
            (received,) = struct.unpack_from("=Q", info, _BYTES_RECEIVED)
            (not_sent,) = struct.unpack_from("=I", info, _NOTSENT_BYTES)
            sent, again = struct.unpack_from("=QQ", info, _BYTES_SENT)
            return sent - again, received, not_sent
        attributes = attributes[max(4, (size + 3) & ~3) :]
    return 0, 0, 0


def _by_proc() -> Iterator[TcpSocket]:
    for name in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):  # a kernel without IPv6
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
            sockets = [line.split()[1:] for line in lines]
            # While others come and go, it may tell of one twice.
            once = {(words[0], words[1], words[8]): words for words in sockets}
            for words in once.values():
                address, _, port = words[0].partition(":")
                raw = bytes.fromhex(address)  # 32-bit words in the machine's (little-endian) order
                raw = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
                yield TcpSocket(
                    int(words[2], 16),
                    raw,
                    int(port, 16),
                    int(words[1].partition(":")[2], 16),
                    int(words[3].partition(":")[0], 16),
                    int(words[8]),
                    room=1,  # the queue's length is there, but not the backlog
                )
