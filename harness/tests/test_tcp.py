"""The TCP sockets of this machine as facts, asked of the kernel in both ways."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from forklab import tcp
from tests.support import wait_until

TCP_REPAIR = 19  # linux/tcp.h: the socket can be closed without a word to the other side


@pytest.fixture(params=["sock_diag", "/proc"])
def way(request, monkeypatch):
    """Asks both ways: where netlink is not to be had, /proc must say the same."""
    if request.param == "/proc":
        without_netlink(monkeypatch)
    return request.param


def without_netlink(monkeypatch) -> None:
    monkeypatch.setattr(tcp, "_netlink", tcp._Netlink())
    monkeypatch.setattr(socket, "AF_NETLINK", 0x7FFF)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listener(stack: ExitStack, address: str = "127.0.0.1", backlog: int = 8) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = stack.enter_context(socket.socket(family))
    try:
        made.bind((address, 0))
    except OSError:
        pytest.skip(f"this machine has no {address}")
    made.listen(backlog)
    return made


def pair(stack: ExitStack) -> tuple[socket.socket, socket.socket, int]:
    """A client, the server's end of its connection, and the server's port."""
    made = listener(stack)
    port = made.getsockname()[1]
    client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    conn, _ = made.accept()
    return client, stack.enter_context(conn), port


def find(port: int) -> list[tcp.TcpSocket]:
    return [one for one in tcp.listeners() if one.port == port]


@pytest.mark.parametrize(
    ("address", "everyone", "loopback"),
    [
        ("0.0.0.0", True, False),
        ("127.0.0.1", False, True),
        ("127.3.2.1", False, True),
        ("::", True, False),
    ],
)
def test_a_listener(way, stack, address, everyone, loopback):
    made = listener(stack, address)
    (one,) = find(made.getsockname()[1])
    assert one.state == tcp.LISTEN
    assert str(one.address) == address
    assert (one.serves_everyone, one.is_on_loopback) == (everyone, loopback)
    assert one.peer_port == 0
    assert f"socket:[{one.inode}]" == _link(made)


def _link(made: socket.socket) -> str:
    return os.readlink(f"/proc/self/fd/{made.fileno()}")


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "127.3.2.1", "::", "::1"])
def test_listeners_on_a_port(way, stack, address):
    """Found at once or in the list of all: the same."""
    made = listener(stack, address)
    port = made.getsockname()[1]
    assert tcp.listeners_on(port) == find(port)
    assert [f"socket:[{one.inode}]" for one in tcp.listeners_on(port)] == [_link(made)]
    assert tcp.room(port) == (9 if way == "sock_diag" else 1)
    made.close()
    assert tcp.listeners_on(port) == []
    assert tcp.room(port) == 0


@pytest.mark.parametrize(("only_ipv6", "is_reached"), [(1, False), (0, True)])
def test_who_comes_by_ipv4_may_not_reach_ipv6(stack, only_ipv6, is_reached):
    try:
        made = stack.enter_context(socket.socket(socket.AF_INET6))
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_ipv6)
        made.bind(("::", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    made.listen()
    assert tcp.is_reached(made.getsockname()[1]) is is_reached


def test_who_is_reached_by_ipv4(stack, monkeypatch):
    made = listener(stack)
    port = made.getsockname()[1]
    assert tcp.is_reached(port)
    made.close()
    assert not tcp.is_reached(port)
    monkeypatch.setattr(tcp, "_NETLINK_SOCK_DIAG", 99)  # a kernel that can't say
    tcp.forget()
    assert tcp.is_reached(port)


def test_both_ways_agree(stack, monkeypatch):
    ports = {listener(stack, address).getsockname()[1] for address in ("0.0.0.0", "127.0.0.1")}
    with suppress(OSError):
        six = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
        ports.add(six.getsockname()[1])

    def ours() -> set[tuple[object, ...]]:
        return {
            (one.state, one.address, one.port, one.peer_port, one.unacknowledged, one.inode)
            for one in tcp.listeners()
            if one.port in ports
        }

    by_netlink = ours()
    without_netlink(monkeypatch)
    assert ours() == by_netlink
    assert {one[2] for one in by_netlink} == ports


def test_the_backlog_is_not_unacknowledged(way, stack):
    made = listener(stack)
    port = made.getsockname()[1]
    for _ in range(3):
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    (one,) = find(port)
    assert one.unacknowledged == 0


def test_a_closed_listener_is_none(way, stack):
    made = listener(stack)
    port = made.getsockname()[1]
    assert find(port)
    made.close()
    assert find(port) == []


def test_quiet_with_an_idle_connection(way, stack):
    client, conn, port = pair(stack)
    assert tcp.is_quiet(port)
    client.send(b"unread, but there")
    wait_until(lambda: tcp.is_quiet(port), "the kernel's acknowledgement")
    assert conn.recv(100) == b"unread, but there"


def test_quiet_before_accept(way, stack):
    made = listener(stack)
    port = made.getsockname()[1]
    client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    client.send(b"first words")
    wait_until(lambda: tcp.is_quiet(port), "the kernel's acknowledgement")


def test_quiet_after_half_close_and_close(way, stack):
    client, conn, port = pair(stack)
    client.shutdown(socket.SHUT_WR)
    assert conn.recv(1) == b""
    wait_until(lambda: tcp.is_quiet(port), "FIN_WAIT2 and CLOSE_WAIT")
    conn.close()
    assert client.recv(1) == b""
    wait_until(lambda: tcp.is_quiet(port), "TIME_WAIT")


def test_quiet_after_a_reset(way, stack):
    client, conn, port = pair(stack)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    wait_until(lambda: tcp.is_quiet(port), "the reset to arrive")
    with pytest.raises(ConnectionResetError):
        conn.recv(1)


def test_not_quiet_with_bytes_that_are_not_acknowledged(way, stack):
    client, conn, port = pair(stack)
    client.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            client.send(b"x" * 65536)
    # The kernel tells by sock_diag that the peer has no room: then only the peer can go on.
    if way == "sock_diag":
        wait_until(lambda: tcp.is_quiet(port), "the peer's buffer to be full")
    else:
        assert not tcp.is_quiet(port)
    conn.setblocking(False)

    def drained() -> bool:
        with suppress(BlockingIOError):
            while conn.recv(1 << 20):
                pass
        return tcp.is_quiet(port)

    wait_until(drained, "all of it to be taken")


def test_quiet_when_a_full_queue_keeps_clients_out(stack):
    """They wait for the server to accept, not for a packet."""
    made = listener(stack, backlog=0)
    port = made.getsockname()[1]
    for _ in range(4):  # more than the queue holds: the last ones get no answer
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        with suppress(BlockingIOError):
            client.connect(("127.0.0.1", port))
    wait_until(lambda: tcp.is_quiet(port), "the first handshakes")


def test_not_quiet_when_one_end_does_not_know_of_the_other_s_end(way, stack):
    client, conn, port = pair(stack)
    try:
        client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except OSError:
        pytest.skip("closing without a word needs CAP_NET_ADMIN")
    client.close()
    assert not tcp.is_quiet(port)
    conn.close()


def test_other_ports_don_t_matter(way, stack):
    made = listener(stack)
    client, _, busy = pair(stack)
    client.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            client.send(b"x" * 65536)
    if way != "sock_diag":
        assert not tcp.is_quiet(busy)
    assert tcp.is_quiet(made.getsockname()[1])


def test_connections_are_the_ends_at_that_port(way, stack):
    client, conn, port = pair(stack)
    client_port = client.getsockname()[1]
    (one,) = tcp.connections(port)
    assert (one.state, one.port, one.peer_port) == (tcp.ESTABLISHED, port, client_port)
    assert _link(conn) == f"socket:[{one.inode}]"
    (other,) = tcp.connections(client_port)
    assert _link(client) == f"socket:[{other.inode}]"


def test_connections_at_their_end(way, stack):
    client, conn, port = pair(stack)
    client.shutdown(socket.SHUT_WR)
    assert conn.recv(1) == b""
    assert [one.state for one in tcp.connections(port)] == [tcp.CLOSE_WAIT]
    conn.close()
    assert client.recv(1) == b""
    assert tcp.connections(port) == []


def test_who_only_listens_has_no_connections(way, stack):
    assert tcp.connections(listener(stack).getsockname()[1]) == []


def test_a_connection_that_nobody_accepted_is_no_process_s(way, stack):
    made = listener(stack)
    port = made.getsockname()[1]
    stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    assert [one.inode for one in tcp.connections(port)] == [0]


def test_answers_that_nobody_waited_for_are_no_answers(stack, monkeypatch):
    ports = {listener(stack).getsockname()[1] for _ in range(2)}

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tcp, "_answers", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tcp.listeners()
    assert ports <= {one.port for one in tcp.listeners()}
    for port in ports:
        assert [one.port for one in tcp.listeners_on(port)] == [port]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # threads of others
def test_a_fork_asks_for_itself(stack):
    port = listener(stack).getsockname()[1]
    assert find(port)
    ours = tcp._netlink.socket
    assert ours
    child = os.fork()
    if child == 0:
        found = find(port)
        os._exit(0 if found and tcp._netlink.socket is not ours else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert find(port)


def test_another_network_is_asked_through_another_socket(stack):
    port = listener(stack).getsockname()[1]
    assert find(port)
    assert tcp._netlink.socket
    tcp.forget()
    assert tcp._netlink.socket is None
    assert find(port)
