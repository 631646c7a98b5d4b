"""The process tree as facts, among processes that are odd, dead or just ending."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from forklab import procfs
from forklab.procfs import Family, SignalMasks, Sleep
from tests.support import wait_until


def state(pid: int) -> str:
    one = procfs.process(pid)
    return one.state if one else "gone"


@pytest.fixture
def gone():
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


@pytest.mark.parametrize("name", ["x) Z 1 (", "(", ")", "a b c", "\x1b[2J", "1 (S) 2"])
def test_a_name_may_hold_anything(play, name):
    contained = play("rename", name)
    wait_until(lambda: getattr(procfs.process(contained.pid), "name", "") == name, "the new name")
    one = procfs.process(contained.pid)
    assert one
    assert (one.pid, one.parent) == (contained.pid, contained.keeper_pid)
    assert one.state in "SR"
    assert not one.is_zombie


def test_ourselves():
    one = procfs.process(os.getpid())
    assert one
    assert (one.pid, one.parent, one.state) == (os.getpid(), os.getppid(), "R")
    assert one.threads >= 1


def test_threads_are_counted(play):
    contained = play("thread")
    wait_until(lambda: getattr(procfs.process(contained.pid), "threads", 0) == 2, "a thread")
    assert len(procfs.rests(contained.pid)) == 2


def test_states(play):
    contained = play("pause")
    wait_until(lambda: state(contained.pid) == "S", "sleep")
    os.kill(contained.pid, signal.SIGSTOP)
    wait_until(lambda: state(contained.pid) == "T", "a stop")
    os.kill(contained.pid, signal.SIGCONT)
    wait_until(lambda: state(contained.pid) == "S", "sleep")


def test_a_zombie_is_one_until_it_is_reaped(play):
    contained = play("zombie")
    family = Family(contained.keeper_pid)
    zombie = wait_until(lambda: [p for p in family.members() if p.is_zombie], "a zombie")[0]
    assert zombie.parent == contained.pid
    assert zombie.state == "Z"
    assert procfs.descriptors(zombie.pid) == {}
    assert all(rest.is_asleep for rest in procfs.rests(zombie.pid).values())


def test_who_is_gone_is_no_error(gone):
    assert procfs.process(gone) is None
    assert procfs.signal_masks(gone) is None
    assert procfs.descriptors(gone) == {}
    assert procfs.socket_inodes(gone) == set()
    assert procfs.descriptor_limit(gone) == 0
    assert procfs.cpu_seconds(gone) == 0
    assert procfs.rests(gone) == {}
    assert procfs.sleep_of(gone, gone) == Sleep.TIMED
    assert Family(gone).members() == []


LIBRARYS_OWN = 0b11 << 31  # signals 32 and 33, which the C library lets nobody touch


def masks_with(pid: int, field: str) -> SignalMasks:
    """The masks, once SIGCHLD is in that one."""

    def look() -> list[SignalMasks]:
        masks = procfs.signal_masks(pid)
        return [masks] if masks and masks.has(getattr(masks, field), signal.SIGCHLD) else []

    return wait_until(look, f"SIGCHLD to be {field}")[0]


def test_ignored_signals(play):
    masks = masks_with(play("ignore").pid, "ignored")
    assert masks.ignored & ~LIBRARYS_OWN == 1 << 16
    assert (masks.caught, masks.blocked) == (0, 0)


def test_caught_and_blocked_signals(play):
    contained = play("catch")
    masks_with(contained.pid, "caught")
    wait_until(lambda: getattr(procfs.signal_masks(contained.pid), "blocked", 0), "a block")
    after = procfs.signal_masks(contained.pid)
    assert after is not None
    assert (after.ignored & ~LIBRARYS_OWN, after.caught, after.blocked) == (0, 1 << 16, 1 << 11)


def test_family_keeps_a_daemonised_grandchild(play):
    contained = play("with-daemon")
    family = Family(contained.keeper_pid)

    def daemon() -> list[procfs.Process]:
        """It has closed everything and sleeps; those on the way to it have not, or end."""
        found = [one for one in family.members() if one.parent == contained.keeper_pid]
        return [one for one in found if one.state == "S" and not procfs.descriptors(one.pid)]

    (one,) = wait_until(daemon, "the daemon")
    assert os.getsid(one.pid) != os.getsid(contained.pid)
    ours = [other.pid for other in family.members()]
    assert ours == [other.pid for other in Family(contained.keeper_pid).members()]
    assert {contained.pid, one.pid} <= set(ours)


def test_family_grows_and_has_no_strangers(play):
    first, second = play("many", "5"), play("many", "7")
    ours = Family(first.keeper_pid)
    wait_until(lambda: len(ours.members()) == 6, "five children")
    others = Family(second.keeper_pid)
    wait_until(lambda: len(others.members()) == 8, "seven children")
    pids = [one.pid for one in ours.members()]
    assert pids == sorted(pids)
    assert not {*pids} & {one.pid for one in others.members()}
    assert os.getpid() not in pids
    assert first.keeper_pid not in pids
    os.kill(pids[-1], signal.SIGKILL)
    wait_until(lambda: len([p for p in ours.members() if not p.is_zombie]) == 5, "one fewer")


def test_family_takes_in_who_came_while_the_names_were_read(play, monkeypatch):
    """Its parent's name was not there yet when the child's already was."""
    contained = play("many", "2")
    wait_until(lambda: len(Family(contained.keeper_pid).pids()) == 3, "two children")
    names = os.listdir
    torn = iter([[name for name in names("/proc") if name != str(contained.pid)]])
    monkeypatch.setattr(os, "listdir", lambda folder: next(torn, None) or names(folder))
    assert len(Family(contained.keeper_pid).pids()) == 3


def test_family_is_without_those_whom_we_may_not_look_at(play, monkeypatch):
    """Where /proc has the names of other users' processes, and no more (hidepid=1, proc(5))."""
    contained, hidden = play("many", "2"), play("pause")
    wait_until(lambda: len(Family(contained.keeper_pid).pids()) == 3, "two children")
    may_look = procfs.process

    def look(pid: int) -> procfs.Process | None:
        if pid == hidden.pid:
            raise PermissionError
        return may_look(pid)

    monkeypatch.setattr(procfs, "process", look)
    assert len(Family(contained.keeper_pid).pids()) == 3


ALWAYS = [("accept", "0"), ("read",), ("pause",), ("poll", "-1"), ("select",), ("epoll", "-1")]
NOT_ALWAYS = [("nap",), ("poll", "600000"), ("select", "timeout"), ("epoll", "600000")]


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        *((role, Sleep.FOR_EVER) for role in ALWAYS),
        *((role, Sleep.TIMED) for role in NOT_ALWAYS),
        (("burn",), Sleep.NONE),
    ],
    ids=str,
)
def test_how_it_sleeps(play, role, expected):
    pid = play(*role).pid
    call = {"accept": "43", "read": "0", "nap": "230", "burn": "running"}.get(role[0])

    def is_there() -> bool:
        with open(f"/proc/{pid}/syscall") as file:
            words = file.read().split()
        if call and os.uname().machine == "x86_64":
            return words[0] == call
        return words[0] != "running" and procfs.sleep_of(pid, pid) == expected

    wait_until(is_there, "the system call")
    # However often one looks: what has no time-out has none a moment later, either.
    assert {procfs.sleep_of(pid, pid) for _ in range(50)} == {expected}


WAITS = """
import os, socket, struct, sys

made = socket.create_server(("127.0.0.1", 0))
made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(sys.argv[2]), 0))
os.write(1, b".")
os.read(0, 1) if sys.argv[1] == "read" else made.accept()
"""


@pytest.mark.parametrize(
    ("call", "seconds", "expected"),
    [("accept", 600, True), ("accept", 0, False), ("read", 9, False)],
)
def test_whether_a_socket_has_a_time_out(call, seconds, expected):
    command = [sys.executable, "-c", WAITS, call, str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout
            assert child.stdout.read(1) == b"."
            wait_until(lambda: procfs.sleep_of(child.pid, child.pid) == Sleep.FOR_EVER, "the call")
            assert procfs.has_time_out(child.pid, child.pid) is expected
        finally:
            child.kill()


def test_who_is_gone_has_no_time_out(gone):
    assert not procfs.has_time_out(gone, gone)


def test_a_zombie_s_sleep_is_told_by_nobody(play):
    contained = play("zombie")
    family = Family(contained.keeper_pid)
    zombie = wait_until(lambda: [p for p in family.members() if p.is_zombie], "a zombie")[0]
    assert procfs.sleep_of(zombie.pid, zombie.pid) == Sleep.TIMED


def at_rest(pid: int) -> procfs.Rest:
    """How its only thread rests, once it does."""
    found = wait_until(
        lambda: [one for one in procfs.rests(pid).values() if one.is_asleep], "a first look"
    )
    return found[0]


@pytest.mark.parametrize(
    ("role", "expected"), [("accept", Sleep.FOR_EVER), ("pause", Sleep.FOR_EVER)]
)
def test_who_slept_since_a_first_look(play, role, expected):
    pid = play(role, "0").pid
    wait_until(lambda: procfs.sleep_of(pid, pid) == expected, "the system call")
    first = at_rest(pid)
    assert {procfs.sleep_since(pid, pid, first) for _ in range(20)} == {expected}


def test_who_naps_since_a_first_look(play):
    pid = play("nap", "1000").pid
    wait_until(lambda: procfs.sleep_of(pid, pid) == Sleep.TIMED, "a nap")

    def told() -> Sleep:  # between two looks it may have woken: then the next two
        return procfs.sleep_since(pid, pid, at_rest(pid))

    wait_until(lambda: told() == Sleep.TIMED, "two looks at one nap")


def test_who_has_run_since_a_first_look(play):
    """It sleeps again in the same call, but it has stopped and gone on in between."""
    pid = play("pause").pid
    wait_until(lambda: procfs.sleep_of(pid, pid) == Sleep.FOR_EVER, "sleep")
    first = at_rest(pid)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state(pid) == "T", "a stop")
    assert procfs.sleep_since(pid, pid, first) == Sleep.NONE
    stopped = at_rest(pid)
    assert procfs.sleep_since(pid, pid, stopped) == Sleep.FOR_EVER
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: state(pid) == "S", "sleep")
    assert procfs.sleep_since(pid, pid, stopped) == Sleep.NONE
    assert procfs.sleep_since(pid, pid, first) == Sleep.NONE


def test_who_runs_since_a_first_look(play, gone):
    pid = play("burn").pid
    wait_until(lambda: procfs.sleep_of(pid, pid) == Sleep.NONE, "a loop")
    seen = procfs.Rest("S", next(iter(procfs.rests(pid).values())).has_run)
    assert procfs.sleep_since(pid, pid, seen) == Sleep.NONE
    assert procfs.sleep_since(gone, gone, seen) == Sleep.NONE


def test_a_zombie_sleeps_for_ever(play):
    contained = play("zombie")
    family = Family(contained.keeper_pid)
    zombie = wait_until(lambda: [p for p in family.members() if p.is_zombie], "a zombie")[0]
    first = at_rest(zombie.pid)
    assert first == procfs.Rest("Z", "")
    assert procfs.sleep_since(zombie.pid, zombie.pid, first) == Sleep.FOR_EVER


def test_who_makes_threads_meanwhile_is_not_at_rest(play, monkeypatch):
    """Those that were not there yet when the threads were listed are not overlooked."""
    pid = play("thread").pid
    wait_until(lambda: getattr(procfs.process(pid), "threads", 0) == 2, "a thread")
    wait_until(lambda: all(one.is_asleep for one in procfs.rests(pid).values()), "rest")
    lists = iter([[str(pid)], os.listdir(f"/proc/{pid}/task")])
    monkeypatch.setattr(os, "listdir", lambda path: next(lists))
    assert [one.is_asleep for one in procfs.rests(pid).values()] == [False]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of its calls")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["58", "0x0"], True),  # vfork
        (["56", "0x4111"], True),  # clone with CLONE_VFORK, as posix_spawn calls it
        (["56", "0x1200011"], False),  # clone as fork calls it: it waits for a lock
        (["435", "0x7ffc"], True),  # clone3
        (["1", "0x4001"], False),  # write
        (["running"], False),
        ([], False),
    ],
)
def test_only_vfork_waits_for_its_child(monkeypatch, words, expected):
    monkeypatch.setattr(procfs, "_syscall_words", lambda pid, tid: words)
    assert procfs._awaits_its_child(1, 1) is expected


def test_where_the_kernel_does_not_tell_the_call(play, monkeypatch):
    """Its state then has to do, and that it may wake by itself is not to be ruled out."""
    pid = play("pause").pid
    wait_until(lambda: procfs.sleep_of(pid, pid) == Sleep.FOR_EVER, "sleep")
    first = at_rest(pid)
    monkeypatch.setattr(procfs, "_syscall_words", lambda pid, tid: [])
    assert procfs.sleep_since(pid, pid, first) == Sleep.TIMED
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state(pid) == "T", "a stop")
    assert procfs.sleep_since(pid, pid, first) == Sleep.NONE


def test_cpu_time_is_of_those_who_burn_it(play):
    burner, sleeper = play("burn"), play("pause")
    wait_until(lambda: procfs.cpu_seconds(burner.pid) > 0.05, "some CPU time")
    assert procfs.cpu_seconds(sleeper.pid) < 0.05
    resting = wait_until(
        lambda: [r for r in procfs.rests(sleeper.pid).values() if r.is_asleep], "rest"
    )
    assert list(procfs.rests(sleeper.pid).values()) == resting


def test_descriptors_and_their_limit(play):
    contained = play("listen", "0")
    wait_until(lambda: procfs.socket_inodes(contained.pid), "a socket")
    table = procfs.descriptors(contained.pid)
    assert list(table) == [0, 1, 2, 3]
    assert table[0] == "/dev/null"
    assert table[3] == f"socket:[{procfs.socket_inodes(contained.pid).pop()}]"
    contained.limit_descriptors(contained.pid, 17)
    assert procfs.descriptor_limit(contained.pid) == 17


def test_a_file_of_a_process_that_has_ended_is_not_read_for_another(monkeypatch):
    monkeypatch.setattr(procfs._of_thread, "kept_open", procfs._KeptOpen())
    child = subprocess.Popen(["sleep", "600"])
    ours = f"/proc/{os.getpid()}/stat"
    # As if our pid had been that child's before.
    procfs._of_thread.kept_open[ours] = os.open(f"/proc/{child.pid}/stat", os.O_RDONLY)
    child.kill()
    child.wait()
    one = procfs.process(os.getpid())
    assert one
    assert one.parent == os.getppid()


def still_open(files: dict[str, int]) -> dict[str, int]:
    """Those of them that are. To count our descriptors would be to count other threads' as well."""
    ours = {}
    for path, file in files.items():
        with suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{file}") == path:
                ours[path] = file
    return ours


def test_not_many_files_are_kept_open_and_none_when_a_thread_ends(monkeypatch):
    monkeypatch.setattr(procfs, "MOST_KEPT_OPEN", 2)
    opened: dict[str, int] = {}

    def read_many() -> None:
        for look in (procfs.process, procfs.rests, procfs.resident_bytes):
            look(os.getpid())
            opened.update(procfs._of_thread.kept_open)
            assert 1 <= len(still_open(opened)) <= 2

    with ThreadPoolExecutor(1) as pool:
        pool.submit(read_many).result()
    assert len(opened) > 2
    assert still_open(opened) == {}


def test_with_another_proc_nothing_of_the_old_one_is_read():
    procfs.process(os.getpid())
    kept = dict(procfs._of_thread.kept_open)
    assert kept
    assert still_open(kept) == kept
    procfs.forget()
    assert not procfs._of_thread.kept_open
    assert still_open(kept) == {}
