"""One running server seen from outside; above all, waiting that ends when waiting is in vain."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from forklab import launch, procfs, server
from forklab.contain import Exit
from forklab.errors import GraderError
from forklab.server import PORTS, WALL_SECONDS, reserve_port
from tests.support import compile_c, environment, wait_until

BOUND = WALL_SECONDS / 2  # far from the wait's own last resort, and from a loaded machine's delays


@pytest.fixture
def clock():
    began = time.monotonic()
    return lambda: time.monotonic() - began


# Waiting


def test_true_at_once_and_asked_once(serve):
    server = serve("pause")
    asked = itertools.count(1)
    assert server.wait_for(lambda: next(asked)) == 1
    assert next(asked) == 2


def test_true_after_a_while(serve):
    server = serve("late", "200")
    assert server.wait_for(lambda: b"late" in server.stdout) is True


@pytest.mark.parametrize("role", ["pause", "read", "accept", "stopped", "zombie", "with-daemon"])
def test_never_is_found_out(serve, clock, role):
    server = serve(role, "PORT")
    assert not server.wait_for(lambda: False)
    assert clock() < BOUND
    assert server.is_asleep()


def test_never_of_a_server_that_is_gone(serve, clock):
    server = serve("exit", "3")
    assert not server.wait_for(lambda: False)
    assert clock() < BOUND
    assert server.exit == Exit(3, None)


def test_one_that_burns_cpu_time_is_bounded(serve, clock):
    server = serve("burn")
    assert not server.settle()
    assert not server.wait_for(lambda: False)
    assert clock() < BOUND
    assert server.cpu_seconds() > 1
    assert server.is_running()


@pytest.mark.parametrize("role", ["nap", "poll"])
def test_one_that_may_wake_by_itself_gets_its_time(serve, clock, role):
    server = serve(role, "600000")
    assert server.settle()
    before = clock()
    assert not server.wait_for(lambda: False)
    assert 1 < clock() - before < BOUND


def test_a_client_s_data_ends_a_pause(serve):
    server = serve("pause")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        assert server.wait_for(lambda: ours.recv(1), [ours]) == b"x"


def test_not_asleep_while_it_runs(serve):
    server = serve("burn")
    wait_until(lambda: server.cpu_seconds() > 0, "a start")
    assert not server.is_asleep()
    server.kill(signal.SIGSTOP)
    assert server.settle()
    assert server.is_asleep()


# Freezing and signals


def state(pid: int) -> str:
    return getattr(procfs.process(pid), "state", "")


def test_frozen_and_thawed(serve):
    server = serve("burn")
    with server.frozen():
        assert state(server.pid) == "T"
        used = server.cpu_seconds()
        assert server.is_asleep()
        assert server.cpu_seconds() == used
    wait_until(lambda: server.cpu_seconds() > used, "it to go on")


def test_thawed_when_the_check_fails_inside(serve):
    server = serve("pause")
    with pytest.raises(ZeroDivisionError), server.frozen():
        raise ZeroDivisionError
    wait_until(lambda: state(server.pid) == "S", "it to go on")


def test_freezing_a_child_leaves_the_server_alone(serve):
    server = serve("many", "2")
    wait_until(lambda: len(server.children()) == 2, "children")
    first, second = server.children()
    with server.frozen(first.pid):
        assert state(first.pid) == "T"
        assert state(server.pid) != "T"
        assert state(second.pid) != "T"


def test_freezing_one_that_is_gone(serve):
    server = serve("exit", "0")
    server.wait_for(lambda: server.exit)
    with server.frozen():
        assert not server.is_running()


def test_a_signal_to_one_that_is_gone(serve):
    server = serve("exit", "0")
    server.wait_for(lambda: server.exit)
    server.kill(signal.SIGTERM)
    assert server.exit == Exit(0, None)


def test_a_signal_ends_it(serve):
    server = serve("pause")
    server.kill(signal.SIGTERM)
    assert server.wait_for(lambda: server.exit) == Exit(None, signal.SIGTERM)
    assert not server.is_running()


# Words


def test_log_files(serve):
    server = serve("say")
    server.settle()
    assert (server.stdout, server.stderr) == (b"out\n", b"err\n")


def test_silence(serve):
    server = serve("exit", "0")
    server.wait_for(lambda: server.exit)
    assert (server.stdout, server.stderr) == (b"", b"")


# Family


def test_family_children_and_the_living(serve):
    server = serve("many", "3")
    wait_until(lambda: len(server.children()) == 3, "children")
    victim = server.children()[0]
    server.kill(signal.SIGKILL, victim.pid)
    server.wait_for(lambda: server.zombies())
    assert [one.pid for one in server.zombies()] == [victim.pid]
    assert len(server.children()) == 3
    assert len(server.living()) == 2
    assert len(server.family()) == 4


def test_a_daemon_is_family_but_no_child(serve):
    server = serve("with-daemon")
    wait_until(lambda: any(one.parent != server.pid for one in server.living()), "a daemon")
    server.settle()
    assert len(server.living()) == 1
    assert server.living()[0] not in server.children()


def test_all_gone_at_the_end(serve):
    server = serve("many", "3")
    wait_until(lambda: len(server.family()) == 4, "children")
    server.end()
    assert server.family() == []


# Sockets and descriptors


@pytest.mark.parametrize(("role", "everyone"), [("listen", True), ("listen-loopback", False)])
def test_listener(serve, role, everyone):
    server = serve(role, "PORT")
    assert server.wait_for(server.is_listening)
    (one,) = server.listeners()
    assert (one.port, one.serves_everyone, one.pids) == (server.port, everyone, (server.pid,))
    assert one.inode in procfs.socket_inodes(server.pid)


def test_listener_of_a_child(serve):
    server = serve("listen-child", "PORT")
    server.wait_for(lambda: server.is_listening() and server.children())
    server.settle()
    (one,) = server.listeners()
    assert one.pids == (server.children()[0].pid,)


def test_another_s_listener_is_not_its_own(serve):
    server, other = serve("pause"), serve("listen", "PORT")
    other.wait_for(other.is_listening)
    assert server.listeners() == []


def test_holders_of_a_connection(serve):
    server = serve("accept-and-fork", "PORT")
    assert server.wait_for(server.is_listening)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        port = client.getsockname()[1]
        (child,) = wait_until(lambda: server.holders(port), "a child with the connection")
        assert [one.pid for one in server.children()] == [child]
        assert server.holders(port + 1) == []
        assert server.holders(server.port) == []
    wait_until(lambda: not server.holders(port), "the child to end")


def test_signal_masks(serve):
    server = serve("ignore")

    def ignores_sigchld() -> bool:
        masks = server.signal_masks()
        return bool(masks.has(masks.ignored, signal.SIGCHLD))

    assert server.wait_for(ignores_sigchld)
    server.end()
    assert server.signal_masks() == procfs.SignalMasks(0, 0, 0)


def test_without_descriptors(serve):
    server = serve("opener")
    assert server.wait_for(lambda: b"ready" in server.stdout)

    def try_to_open() -> bytes:
        before = len(server.stdout)
        server.kill(signal.SIGUSR1)
        server.wait_for(lambda: len(server.stdout) > before)
        said: bytes = server.stdout[before:]
        return said

    usual = procfs.descriptor_limit(server.pid)
    assert try_to_open() == b"opened\n"
    with server.without_descriptors():
        assert try_to_open() == b"EMFILE\n"
    assert try_to_open() == b"opened\n"
    assert procfs.descriptor_limit(server.pid) == usual


def test_without_descriptors_a_server_may_end(serve):
    server = serve("opener")
    server.wait_for(lambda: b"ready" in server.stdout)
    with server.without_descriptors():
        server.kill(signal.SIGKILL)
        server.wait_for(lambda: server.exit)
    assert server.exit == Exit(None, signal.SIGKILL)


# How slow the machine is


@pytest.fixture
def computed(monkeypatch):
    """``computed(seconds, ...)``: how slow a machine is whose computing took so much CPU time."""

    def slowness(*seconds: float) -> float:
        times = iter([time for taken in seconds for time in (5.0, 5.0 + taken)])
        monkeypatch.setattr("forklab.server.time.thread_time", lambda: next(times))
        measured: float = server.slowness.__wrapped__()
        return measured

    return slowness


def test_slowness_is_of_this_machine_and_measured_once():
    assert server.slowness() >= 1
    assert server.slowness() == server.slowness()


@pytest.mark.parametrize(("times", "slow"), [(0, 1), (0.5, 1), (1, 1), (7, 7), (50, 10)])
def test_slowness_is_from_1_to_10(computed, times, slow):
    assert computed(*[times * server.USUAL_SECONDS] * 3) == pytest.approx(slow)


def test_slowness_is_not_of_a_bad_moment(computed):
    usual = server.USUAL_SECONDS
    assert computed(9 * usual, 3 * usual, 8 * usual) == pytest.approx(3)


def test_a_slow_machine_has_more_time(serve, monkeypatch):
    """Twice as slow: twice the CPU time before one that burns it is given up."""
    monkeypatch.setattr(server, "slowness", lambda: 2.0)
    burner = serve("burn")
    assert not burner.wait_for(lambda: False, cpu=0.2)
    assert burner.cpu_seconds() > 0.4


# Ports


def test_ports_are_reserved_and_given_back():
    first, second = reserve_port(), reserve_port()
    with first as one, second as two:
        assert one != two
        assert {one, two} <= set(range(1024, 32768))
        with socket.socket() as probe:  # free, but for other graders
            probe.bind(("", one))
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with lock, pytest.raises(OSError, match="in use"):
            lock.bind(f"\0forklab-port-{one}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        lock.bind(f"\0forklab-port-{one}")


def test_a_taken_port_is_not_reserved(monkeypatch):
    with socket.socket() as taken, reserve_port() as free:
        taken.bind(("", 0))
        tried = [taken.getsockname()[1], free, free - 1 if free - 1 in PORTS else free + 1]
        monkeypatch.setattr("random.choice", lambda _: tried.pop(0))
        with suppress(GraderError), reserve_port() as got:
            assert got not in (taken.getsockname()[1], free)
        assert len(tried) == 0


def test_a_port_without_htons_is_another_one():
    swapped = {port: launch.swapped(port) for port in PORTS}
    assert len(PORTS) > 9000
    assert all(1024 <= other < 32768 and other != port for port, other in swapped.items())


def test_what_a_server_does_to_its_output_meets_nobody_else(shared_folder, mark):
    """Flags belong to an open file description, which fork and dup share (fcntl(2))."""
    source = """
    #define _GNU_SOURCE
    #include <fcntl.h>
    #include <string.h>
    #include <unistd.h>
    int main(int argc, char *argv[])
    {
        char byte;
        write(1, argv[1], strlen(argv[1]));
        if (read(1, &byte, 1) == 1)
            write(2, "readable", 8);
        fcntl(1, F_SETFL, O_DIRECT | O_APPEND);
        return argc - 2;
    }
    """
    program = compile_c(source, shared_folder / mark)
    for number, words in enumerate((b"first and longer", b"second")):
        folder = shared_folder / f"{mark}-{number}"
        with server.Server(program, [words.decode()], 0, folder) as one:
            one._contained.wait(30)
            assert (one.exit, one.stdout, one.stderr) == (Exit(0, None), words, b"")
        del one


def test_what_others_printed_is_gone(actor, shared_folder, mark, monkeypatch):
    """A file is used again, also one that a grading left as it was, or that nobody may open."""
    monkeypatch.setattr(server, "_spare_files", [])
    server.spare_files(shared_folder, 2)
    for file in server._spare_files:
        file.write(b"what another server said")
        os.fchmod(file.fileno(), 0)
    numbers = {file.fileno() for file in server._spare_files}
    for number in range(2):
        folder = shared_folder / f"{mark}-{number}"
        with server.Server(actor, ["exit", "0", mark], 0, folder) as one:
            one._contained.wait(30)
            assert {one._stdout._file.fileno(), one._stderr._file.fileno()} == numbers
            assert (one.stdout, one.stderr) == (b"", b"")
        del one


def test_spare_files_take_no_room(shared_folder, monkeypatch):
    """Not even where their size is 0: fallocate(2)."""
    monkeypatch.setattr(server, "_spare_files", [])
    server.spare_files(shared_folder, 3)
    written, reserved, untouched = server._spare_files
    written.write(b"x" * 100_000)
    subprocess.run(
        ["fallocate", "--keep-size", "--length", "1MiB", f"/proc/self/fd/{reserved.fileno()}"],
        pass_fds=[reserved.fileno()],
        check=True,
    )
    assert os.fstat(reserved.fileno()).st_blocks > 0
    server.empty_spare_files()
    for file in (written, reserved, untouched):
        status = os.fstat(file.fileno())
        assert (status.st_size, status.st_blocks) == (0, 0)


# In a process of its own: other threads of this one open and close files too.
MANY_SERVERS = """
import os, sys
from pathlib import Path
from forklab import procfs, server

actor, folder = map(Path, sys.argv[1:])

def left_open(number):
    with server.Server(actor, ["pause"], 0, folder / str(number)):
        pass
    procfs.forget()
    return os.listdir("/proc/self/fd")

before = left_open(0)  # among them two files for what the next one will print
for number in range(1, 6):
    assert left_open(number) == before
"""


def test_many_servers_don_t_leave_descriptors_behind(actor, shared_folder, mark):
    folder = shared_folder / mark
    command = [sys.executable, "-c", MANY_SERVERS, actor, folder]
    subprocess.run(command, check=True, env=environment())
