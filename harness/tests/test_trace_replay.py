"""From a log to a trace: each kind of event, the tables, the signals, and recorded runs."""

from __future__ import annotations

import json

import pytest

from forklab.trace import model
from forklab.trace.against_proc import disagreements
from forklab.trace.model import Trace
from forklab.trace.recording import Recording, Step
from forklab.trace.replay import replay
from tests.trace_support import (
    RECORDED,
    end_of,
    of_kind,
    reap_of,
    recording,
    replayed,
    table,
    trace_of,
)

FORK = (
    "10 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = 11 <0.0001>"
)
EXIT = ("11 exit_group(3) = ?", "11 +++ exited with 3 +++")
IGNORES = (
    "10 rt_sigaction(SIGCHLD, {sa_handler=SIG_IGN, sa_mask=[], sa_flags=0}, NULL, 8) = 0 <0.0001>"
)
CATCHES = (
    "10 rt_sigaction(SIGCHLD, {sa_handler=0x5581, sa_mask=[TERM], sa_flags=SA_RESTART}, NULL, 8) "
    "= 0 <0.0001>"
)


def sigchld(pid: int) -> str:
    return f"10 --- SIGCHLD {{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid={pid}, si_status=0}} ---"


def waited(pid: int, how: str = "WIFEXITED(s) && WEXITSTATUS(s) == 3") -> str:
    return f"10 wait4(-1, [{{{how}}}], WNOHANG, NULL) = {pid} <0.0001>"


# Recorded runs


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_run_agrees_with_proc(name):
    trace = replayed(name)
    assert len(trace.snapshots) > 2
    assert disagreements(trace) == []
    assert trace.unread == []
    assert trace.notes == []
    assert all(a.time <= b.time for a, b in zip(trace.events, trace.events[1:], strict=False))


@pytest.mark.parametrize("name", RECORDED)
def test_json_there_and_back(name):
    trace = replayed(name)
    assert Trace.from_json(trace.to_json()) == trace


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": "forklab/trace/2"}'])
def test_json_of_something_else(text):
    with pytest.raises(ValueError, match="forklab/trace/1"):
        Trace.from_json(text)


def test_json_of_a_newer_kit():
    data = json.loads(replayed("lab1-reference-turns").to_json())
    data["processes"][0]["since_then"] = 1
    assert Trace.from_json(json.dumps(data)).process("P").name == "P"


def ends(name: str) -> tuple[list[str], list[str]]:
    """How the children of a run were reaped, and what became of each SIGCHLD."""
    trace = replayed(name)
    reaps = [one.reap.how for one in trace.processes[1:] if one.reap]
    return reaps, [one.outcome for one in of_kind(trace, model.SENT)]


def test_a_burst_without_reaping():
    assert ends("lab2-reference-burst") == (["never"] * 3, ["ignored"] * 3)


def test_a_burst_that_is_reaped():
    assert ends("lab4-reference-burst") == (["wait"] * 3, ["delivered", "merged", "merged"])


def test_one_waitpid_for_three():
    reaps, outcomes = ends("lab4-one-waitpid-per-signal-burst")
    assert sorted(reaps) == ["never", "never", "wait"]
    assert outcomes == ["delivered", "merged", "merged"]


def test_a_signal_that_stays_blocked():
    reaps, outcomes = ends("lab4-blocked-for-ever-burst")
    assert reaps == ["never"] * 3
    assert outcomes == ["pending", "merged", "merged"]
    *_, last = replayed("lab4-blocked-for-ever-burst").moments()
    assert last.signals["P"].pending == ["SIGCHLD"]
    assert "SIGCHLD" in last.signals["P"].blocked
    assert last.zombies == ["C1", "C2", "C3"]


def test_the_kernel_reaps():
    assert ends("lab3-reference-exit")[0] == ["automatic"] * 2


def test_grandchildren_are_init_s():
    trace = replayed("lab2-double-fork-turns")
    parents = {one.name: one.parent for one in trace.processes}
    assert parents["C2"] == "C1"
    assert trace.process("C2").reap == model.Reap(model.BY_INIT)


def test_threads():
    trace = replayed("lab4-reaper-thread-turns")
    assert trace.process("T1").is_thread
    assert reap_of(trace, "C1").how == model.BY_WAIT  # by the thread, for its process
    assert reap_of(trace, "C1").by == "P"


def test_connections():
    trace = replayed("lab4-reference-burst")
    assert [one.client for one in trace.connections] == [1, 2, 3]
    for one in trace.connections:
        assert one.accepted_by == "P"
        assert {held.process for held in one.holdings} == {"P", f"C{one.client}"}
        assert one.eof_by == f"C{one.client}"
        assert (one.received, one.sent) == (3, 3)
        times = [one.connected, one.accepted, one.left, one.eof, one.closed]
        assert times == sorted(time for time in times if time is not None)
        assert trace.process(f"C{one.client}").clients == [one.client]


def test_who_was_accepted_without_being_asked_for():
    """accept4(fd, NULL, NULL, flags): they come in the order of connecting."""
    trace = replayed("lab4-pidfd-turns")
    assert [one.client for one in of_kind(trace, model.ACCEPT) if not one.error] == [1]


def test_every_moment_has_each_process():
    trace = replayed("lab2-reference-burst")
    moments = list(trace.moments())
    assert len(moments) == len(trace.events)
    assert set(moments[0].states) == {"P", "C1", "C2", "C3"}
    assert moments[0].states["C1"] == model.NOT_YET
    counts = [len(one.zombies) for one in moments]
    assert counts == sorted(counts)
    assert counts[-1] == 3
    assert any(one.states["P"] == model.STOPPED for one in moments)
    accepted = of_kind(trace, model.FORK)[0]
    assert moments[trace.events.index(accepted)].holders(1) == ["P", "C1"]


def test_what_waits_at_the_end():
    assert replayed("lab4-reference-burst").waiting == {"P": "accept"}


def test_handlers_have_names():
    trace = replayed("lab4-reference-burst")
    *_, last = trace.moments()
    assert last.signals["P"].dispositions["SIGCHLD"] == "handler reap_children SA_RESTART"


@pytest.mark.parametrize("name", ["lab2-reference-burst", "lab4-reference-burst"])
def test_a_difference_from_proc_would_be_found(name):
    """The comparison is no formality: each change of what /proc said is told."""
    for spoil in (_no_zombie, _another_descriptor, _another_owner, _another_mask, _nobody):
        spoilt = recording(name)
        spoil(spoilt)
        assert disagreements(replay(Trace("lab2", "", "burst", 3), spoilt)), spoil.__name__


def _no_zombie(one: Recording) -> None:
    for look in one.looks:
        for pid, seen in look.processes.items():
            if seen.state == "Z":
                look.processes[pid] = model.Seen("S", seen.parent)
    for pid in list(one.looks[-1].processes)[1:]:
        del one.looks[-1].processes[pid]
    one.looks[-1].processes["4711"] = model.Seen("Z", "1")


def _another_descriptor(one: Recording) -> None:
    next(iter(one.looks[1].processes.values())).descriptors["9"] = "/dev/null"


def _another_owner(one: Recording) -> None:
    sockets = one.looks[1].sockets
    sockets.update({inode: "client 9" for inode in sockets})


def _another_mask(one: Recording) -> None:
    next(iter(one.looks[1].processes.values())).blocked.append("SIGHUP")


def _nobody(one: Recording) -> None:
    one.looks[1].processes.clear()


# Processes


def test_a_child_that_is_heard_of_before_fork_returns():
    """Its table is its parent's at that moment."""
    trace = trace_of(
        "10 socket(AF_INET, SOCK_STREAM, 0) = 3 <0.0001>",
        "10 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>",
        "11 close(3) = 0 <0.0001>",
        "10 <... clone resumed>) = 11 <0.0001>",
        "10 close(3) = 0 <0.0001>",
    )
    fork = of_kind(trace, model.FORK)[0]
    assert fork.other == "C1"
    assert [one.fd for one in fork.tables["C1"]] == [0, 1, 2, 3]
    assert trace.events.index(fork) < trace.events.index(of_kind(trace, model.CLOSE)[0])
    assert list(table(trace, "P")) == list(table(trace, "C1")) == [0, 1, 2]
    assert len(of_kind(trace, model.FORK)) == 1


@pytest.mark.parametrize(
    "call",
    [
        "vfork() = 11 <0.0001>",
        "fork() = 11 <0.0001>",
        "clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD, stack=0x7f}, 88) = 11 <0.0001>",
    ],
)
def test_other_ways_to_fork(call):
    trace = trace_of(f"10 {call}", *EXIT)
    assert of_kind(trace, model.FORK)[0].other == "C1"
    assert trace.process("C1").parent == "P"


def test_a_fork_that_failed():
    trace = trace_of(
        "10 clone(flags=SIGCHLD) = -1 EAGAIN (Resource temporarily unavailable) <0.0001>"
    )
    assert len(trace.processes) == 1
    assert trace.events[-1].error == "EAGAIN"


def test_a_thread_shares_the_table():
    trace = trace_of(
        "10 clone(flags=CLONE_VM|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD, tls=0x7f) = 11 <0.0001>",
        '11 openat(AT_FDCWD, "/dev/zero", O_RDONLY) = 3 <0.0001>',
        "11 exit(0) = ?",
        "11 +++ exited with 0 +++",
    )
    assert trace.process("T1").is_thread
    assert table(trace, "P")[3] == "/dev/zero"
    assert trace.process("T1").reap is None
    assert of_kind(trace, model.SENT) == []


def test_the_end_is_a_bracket_of_two_times():
    end = end_of(trace_of(FORK, *EXIT), "C1")
    assert end.earliest == pytest.approx(0.002, abs=2e-4)
    assert end.latest == pytest.approx(0.003, abs=2e-4)


def test_killed():
    trace = trace_of(
        FORK, "11 +++ killed by SIGKILL +++", waited(11, "WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL")
    )
    child = trace.process("C1")
    assert (child.signal, child.status) == ("SIGKILL", None)
    assert of_kind(trace, model.REAP)[0].signal == "SIGKILL"


def test_a_kill_is_a_bracket_too():
    """From when it was sent, or delivered, to when strace saw the end."""
    trace = trace_of(FORK, "10 kill(11, SIGKILL) = 0 <0.0001>", "11 +++ killed by SIGKILL +++")
    end = end_of(trace, "C1")
    assert end.earliest == of_kind(trace, model.SENT)[0].time < end.latest


def zombie_after(trace: Trace) -> list[str]:
    """The kinds of the events after which C1 is a zombie."""
    moments = zip(trace.moments(), trace.events, strict=True)
    return [event.kind for moment, event in moments if "C1" in moment.zombies]


def test_reaped_by_wait():
    trace = trace_of(FORK, *EXIT, waited(11))
    reap = of_kind(trace, model.REAP)[0]
    assert (reap.process, reap.other, reap.status) == ("P", "C1", 3)
    child = trace.process("C1")
    assert child.reap == model.Reap("wait", "P", reap.time, trace.events.index(reap))
    assert trace.zombies() == {"C1": trace.events.index(reap)}
    assert zombie_after(trace) == [model.EXITED, model.SENT]


def test_waitid_and_what_only_looks():
    info = "{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=11, si_uid=0, si_status=3}"
    looks = f"10 waitid(P_ALL, 0, {info}, WEXITED|WNOWAIT, NULL) = 0 <0.0001>"
    trace = trace_of(FORK, *EXIT, looks)
    assert reap_of(trace, "C1").how == model.NEVER
    trace = trace_of(FORK, *EXIT, looks.replace("|WNOWAIT", ""))
    assert reap_of(trace, "C1").how == model.BY_WAIT


def test_a_wait_that_finds_nobody():
    trace = trace_of(
        "10 wait4(-1, 0x7f, WNOHANG, NULL) = 0 <0.0001>",
        "10 wait4(-1, 0x7f, WNOHANG, NULL) = -1 ECHILD (No child processes) <0.0001>",
    )
    assert [one.error for one in of_kind(trace, model.WAIT)] == ["", "ECHILD"]


@pytest.mark.parametrize(
    "disposition",
    [IGNORES, CATCHES.replace("SA_RESTART", "SA_RESTART|SA_NOCLDWAIT")],
)
def test_reaped_by_the_kernel(disposition):
    trace = trace_of(disposition, FORK, *EXIT)
    assert reap_of(trace, "C1").how == model.AUTOMATIC
    assert trace.zombies() == {}
    assert zombie_after(trace) == []  # not for one event either
    *_, last = trace.moments()
    assert last.states["C1"] == model.GONE


def test_ignored_after_the_end_is_too_late():
    trace = trace_of(FORK, *EXIT, IGNORES)
    assert reap_of(trace, "C1").how == model.NEVER
    assert trace.zombies() == {"C1": None}


def test_an_orphan_is_init_s():
    trace = trace_of(FORK, "10 exit_group(0) = ?", "10 +++ exited with 0 +++", *EXIT)
    assert [one.process for one in of_kind(trace, model.ADOPTED)] == ["P", "C1", "C1"]
    assert reap_of(trace, "C1").how == model.BY_INIT
    assert trace.zombies() == {}
    assert zombie_after(trace) == []
    *_, last = trace.moments()
    assert last.states == {"P": model.GONE, "C1": model.GONE}


def test_a_zombie_until_its_parent_is_gone():
    trace = trace_of(FORK, *EXIT, "10 exit_group(0) = ?", "10 +++ exited with 0 +++")
    assert reap_of(trace, "C1").how == model.BY_INIT
    *_, last = of_kind(trace, model.ADOPTED)
    assert (last.process, last.text) == ("C1", "reaped by init")
    assert trace.zombies() == {"C1": trace.events.index(last)}
    ends = [model.EXITED, model.SENT]
    assert zombie_after(trace) == [*ends, model.EXIT, model.EXITED, model.ADOPTED]  # P's are last
    assert [one.zombies for one in trace.moments()][-1] == []


def test_execve_forgets_handlers_and_closes():
    trace = trace_of(
        CATCHES,
        '10 openat(AT_FDCWD, "/dev/zero", O_RDONLY|O_CLOEXEC) = 3 <0.0001>',
        '10 openat(AT_FDCWD, "/dev/full", O_RDONLY) = 4 <0.0001>',
        '10 execve("/bin/sh", ["sh"], 0x7f /* 2 vars */) = 0 <0.0001>',
    )
    assert list(table(trace, "P")) == [0, 1, 2, 4]
    *_, last = trace.moments()
    assert last.signals["P"].dispositions == {}


# Signals


def test_two_ends_one_signal():
    """The one that is delivered names the first; the second was lost in it."""
    trace = trace_of(
        CATCHES,
        FORK,
        FORK.replace("= 11", "= 12"),
        *EXIT,
        "12 +++ exited with 0 +++",
        sigchld(11),
    )
    assert [one.outcome for one in of_kind(trace, model.SENT)] == ["delivered", "merged"]


def test_an_end_while_the_signal_of_another_is_being_delivered():
    """The log has both ends first, but each was delivered."""
    trace = trace_of(
        CATCHES,
        FORK,
        FORK.replace("= 11", "= 12"),
        *EXIT,
        "12 +++ exited with 0 +++",
        sigchld(11),
        "10 rt_sigreturn({mask=[]}) = 0 <0.0001>",
        sigchld(12),
    )
    assert [one.outcome for one in of_kind(trace, model.SENT)] == ["delivered", "delivered"]


def test_a_handler_blocks_its_signal_and_its_mask():
    trace = trace_of(CATCHES, FORK, *EXIT, sigchld(11), "10 rt_sigreturn({mask=[]}) = 0 <0.0001>")
    delivered = of_kind(trace, model.SIGNAL)[0]
    assert delivered.signals["P"].blocked == ["SIGCHLD", "SIGTERM"]
    assert delivered.action == model.HANDLER
    assert of_kind(trace, model.HANDLED)[0].signals["P"].blocked == []


def test_rt_sigreturn_returns_what_was_interrupted():
    trace = trace_of(
        CATCHES,
        FORK,
        *EXIT,
        sigchld(11),
        "10 rt_sigreturn({mask=[]}) = -1 EINTR (Interrupted) <0.0001>",
    )
    assert len(of_kind(trace, model.HANDLED)) == 1


@pytest.mark.parametrize(
    ("calls", "blocked"),
    [
        (["SIG_BLOCK, [CHLD]"], ["SIGCHLD"]),
        (["SIG_BLOCK, [CHLD INT]", "SIG_UNBLOCK, [INT]"], ["SIGCHLD"]),
        (["SIG_BLOCK, [CHLD]", "SIG_SETMASK, []"], []),
    ],
)
def test_masks(calls, blocked):
    lines = [f"10 rt_sigprocmask({call}, NULL, 8) = 0 <0.0001>" for call in calls]
    assert trace_of(*lines).events[-1].signals["P"].blocked == blocked


def test_all_but_some():
    trace = trace_of("10 rt_sigprocmask(SIG_BLOCK, ~[INT RTMIN], NULL, 8) = 0 <0.0001>")
    blocked = trace.events[-1].signals["P"].blocked
    assert "SIGCHLD" in blocked
    assert "SIGINT" not in blocked


def test_asking_for_a_mask_changes_nothing():
    trace = trace_of("10 rt_sigprocmask(SIG_BLOCK, NULL, [CHLD], 8) = 0 <0.0001>")
    assert of_kind(trace, model.MASK) == []


def test_kill():
    trace = trace_of(
        FORK,
        "10 kill(11, SIGTERM) = 0 <0.0001>",
        "11 --- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=10, si_uid=0} ---",
        "11 +++ killed by SIGTERM +++",
    )
    sent = of_kind(trace, model.SENT)[0]
    assert (sent.process, sent.other, sent.outcome) == ("C1", "P", "delivered")


def test_frozen_and_thawed():
    stop = "10 --- SIGSTOP {si_signo=SIGSTOP, si_code=SI_USER, si_pid=1, si_uid=0} ---"
    go_on = stop.replace("SIGSTOP", "SIGCONT")
    trace = trace_of(stop, "10 --- stopped by SIGSTOP ---", go_on, "10 pause( <unfinished ...>")
    states = [one.states["P"] for one in trace.moments()]
    assert states[-2:] == [model.STOPPED, model.RUNNING]
    assert trace.waiting == {"P": "pause"}


# Descriptors


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["dup(1) = 3"], {3: "stdout"}),
        (["dup2(1, 0) = 0"], {0: "stdout"}),
        (["dup3(1, 7, O_CLOEXEC) = 7"], {7: "stdout"}),
        (["fcntl(1, F_DUPFD_CLOEXEC, 10) = 10"], {10: "stdout"}),
        (["pipe([3, 4]) = 0"], {3: "pipe (read end)", 4: "pipe (write end)"}),
        (["pipe2([3, 4], O_CLOEXEC) = 0"], {3: "pipe (read end)", 4: "pipe (write end)"}),
        (["socketpair(AF_UNIX, SOCK_STREAM, 0, [3, 4]) = 0"], {3: "socketpair", 4: "socketpair"}),
        (["signalfd4(-1, [CHLD], 8, 0) = 3"], {3: "signalfd"}),
        (["signalfd4(-1, [CHLD], 8, 0) = 3", "signalfd4(3, [INT], 8, 0) = 3"], {3: "signalfd"}),
        (["pidfd_open(11, 0) = 3"], {3: "pidfd"}),
        (["epoll_create1(0) = 3", "eventfd2(0, 0) = 4"], {3: "epoll", 4: "eventfd"}),
        (["pipe([3, 4]) = 0", "close_range(3, 4294967295, 0) = 0"], {}),
        (["pipe([3, 4]) = 0", "close_range(4, 4, 0) = 0"], {3: "pipe (read end)"}),
        (["socket(AF_INET, SOCK_STREAM, 0) = 3", "listen(3, 5) = 0"], {3: "listener"}),
        (["close(9) = -1 EBADF (Bad file descriptor)"], {}),
        (['openat(AT_FDCWD, "/etc/ld.so.cache", O_RDONLY) = 3', "close(3) = 0"], {}),
    ],
)
def test_what_makes_and_closes_descriptors(lines, found):
    trace = trace_of(*(f"10 {line} <0.0001>" for line in lines))
    expected = {0: "/dev/null", 1: "stdout", 2: "stderr"} | found
    assert table(trace, "P") == expected
    assert trace.unread == []


def test_close_on_exec():
    trace = trace_of(
        "10 dup3(1, 7, O_CLOEXEC) = 7 <0.0001>", "10 fcntl(2, F_SETFD, FD_CLOEXEC) = 0"
    )
    rows = {one.fd: one.cloexec for one in trace.events[-1].tables["P"]}
    assert rows == {0: False, 1: False, 2: True, 7: True}


ADDRESS = '{sa_family=AF_INET, sin_port=htons(40112), sin_addr=inet_addr("127.0.0.1")}, [16]'
CONNECTS = Step(1_700_000_000.0005, "client 1 connects", "connect", 1, 40112)


def test_the_last_one_to_close_ends_the_connection():
    trace = trace_of(
        f"10 accept(3, {ADDRESS}) = 4 <0.0001>",
        FORK.replace("0.1", "0.0001"),
        '11 read(4, "hi\\n", 4096) = 3 <0.0001>',
        '11 write(4, "hi\\n", 3) = 3 <0.0001>',
        '11 read(4, "", 4096) = 0 <0.0001>',
        "11 close(4) = 0 <0.0001>",
        "10 close(4) = 0 <0.0001>",
        steps=[CONNECTS],
    )
    assert [one.client_ends for one in of_kind(trace, model.CLOSE)] == [False, True]
    (connection,) = trace.connections
    assert connection.closed == of_kind(trace, model.CLOSE)[1].time
    assert connection.eof_by == "C1"
    assert [(one.process, one.fd) for one in connection.holdings] == [("P", 4), ("C1", 4)]


def test_an_end_closes_too():
    trace = trace_of(
        f"10 accept(3, {ADDRESS}) = 4 <0.0001>",
        "10 exit_group(0) = ?",
        "10 +++ exited with 0 +++",
        steps=[CONNECTS],
    )
    assert of_kind(trace, model.EXITED)[0].client_ends


def test_a_descriptor_in_a_message():
    """unix(7), SCM_RIGHTS: what one process sends is what the other gets."""
    rights = (
        "msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[%s]}]"
    )
    trace = trace_of(
        "10 socketpair(AF_UNIX, SOCK_STREAM, 0, [5, 6]) = 0 <0.0001>",
        FORK,
        f"10 accept(3, {ADDRESS}) = 4 <0.0001>",
        f"10 sendmsg(5, {{{rights % 4}}}, 0) = 1 <0.0001>",
        f"11 recvmsg(6, {{{rights % 7}}}, 0) = 1 <0.0001>",
        steps=[CONNECTS],
    )
    assert table(trace, "C1")[7] == "client 1"


# What is odd


def test_unknown_calls_are_shown_as_they_are():
    trace = trace_of("10 frobnicate(1, 2) = 7 <0.0001>")
    assert (trace.events[-1].kind, trace.events[-1].text) == (model.CALL, "frobnicate(1, 2) = 7")


def test_what_has_another_form_is_told():
    trace = trace_of("10 rt_sigaction(SIGCHLD) = 0 <0.0001>", "10 close(1) = 0 <0.0001>")
    assert len(trace.unread) == 1
    assert "rt_sigaction(SIGCHLD)" in trace.unread[0]
    assert 1 not in table(trace, "P")


def test_calls_that_fail_again_and_again_are_one_event():
    busy = "10 accept4(3, NULL, NULL, 0) = -1 EAGAIN (Resource temporarily unavailable) <0.0001>"
    trace = trace_of(*[busy] * 7)
    assert len(trace.events) == 2
    assert trace.events[-1].times == 7


def test_a_server_that_spins_is_cut(monkeypatch):
    monkeypatch.setattr("forklab.trace.replay.MOST_EVENTS", 20)
    trace = trace_of(*['10 read(0, "", 1) = 0 <0.0001>'] * 30)
    assert len(trace.events) == 20
    assert "More than 20 events" in trace.notes[0]


def test_more_processes_than_a_picture_has_room_for():
    forks = [FORK.replace("= 11", f"= {pid}") for pid in range(11, 511)]
    trace = trace_of(*forks)
    assert len(trace.processes) == 501
    assert len(trace.shown()) == model.MOST_SHOWN
    assert any("501 processes: the picture shows the first 50" in note for note in trace.notes)


def test_a_log_that_was_cut():
    text = recording("lab4-reference-burst").log
    cut = text[: text.index('write(1, "child') + 12]
    trace = replay(Trace("lab4", "", "burst", 3), Recording(cut))
    assert "middle of a line" in trace.notes[0]
    assert len(trace.unread) == 1
    assert len(trace.events) > 20


def test_an_empty_log():
    assert replay(Trace("lab4", "", "burst", 3), Recording("")).notes == ["strace's log is empty."]


def test_a_child_of_whom_nobody_knows_whose():
    trace = trace_of("77 close(1) = 0 <0.0001>")
    assert trace.process("C1").parent == "P"
    assert "Whose child process 77 is" in trace.notes[0]


def test_a_parent_killed_within_fork():
    trace = trace_of(
        "10 clone(flags=SIGCHLD <unfinished ...>",
        "10 +++ killed by SIGKILL +++",
        "11 close(1) = 0 <0.1>",
    )
    assert [(one.name, one.parent) for one in trace.processes] == [("P", ""), ("C1", "P")]
    assert trace.process("P").signal == "SIGKILL"


def test_a_parent_that_did_nothing_but_fork():
    trace = trace_of("12 clone(flags=SIGCHLD <unfinished ...>", "11 close(1) = 0 <0.1>")
    assert [(one.name, one.parent) for one in trace.processes] == [("P", ""), ("C1", "P")]
