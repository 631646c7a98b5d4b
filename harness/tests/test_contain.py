"""Whatever a contained process does, nothing of it is left; and how it ended is told.

As root these run in tier `uid`; test_as_an_ordinary_user runs them once more, in tier `process`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forklab import contain, procfs, tiers
from forklab.contain import Contained, Exit
from forklab.errors import GraderError, UsageError
from forklab.limits import MEBIBYTE, Limits
from tests.support import COMMAND, copy_kit, environment, run_folders, running, wait_until


@pytest.fixture(params=tiers.available())
def tier(request) -> Iterator[str]:
    """Each that this machine has."""
    usual = tiers.tier()
    yield tiers.choose(request.param)
    tiers.choose(usual)


@pytest.fixture
def play(tier, play):
    """On each tier."""
    return play


def test_the_usual_tier(monkeypatch):
    monkeypatch.setattr(tiers, "_chosen", None)
    assert tiers.tier() == ("uid" if os.geteuid() == 0 else "process")


def test_a_tier_that_is_not_to_be_had(monkeypatch):
    monkeypatch.setitem(tiers._AVAILABLE, "bwrap", lambda: False)
    with pytest.raises(UsageError, match="bubblewrap"):
        tiers.choose("bwrap")
    try:
        assert tiers.choose("best") == tiers.tier() != "bwrap"
    finally:
        tiers._chosen = None


# How it ended


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_exit_status(play, status):
    contained = play("exit", str(status))
    assert contained.wait(30) == Exit(status, None)
    assert contained.exit is not None
    assert contained.exit.ok is (status == 0)
    assert str(contained.exit) == f"exit status {status}"


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (11, "SIGSEGV"), (15, "SIGTERM")])
def test_signal(play, number, name):
    ended = play("raise", str(number)).wait(30)
    assert ended == Exit(None, number)
    assert str(ended) == f"killed by {name}"
    assert not ended.ok


def test_still_running(play):
    contained = play("pause")
    assert contained.poll() is None
    assert contained.wait(0.01) is None
    os.kill(contained.pid, 0)


def test_end_can_be_called_before_the_end_and_after(play):
    contained = play("exit", "3")
    contained.wait(30)
    contained.end()
    assert contained.exit == Exit(3, None)


def test_a_program_that_is_not_there(shared_folder):
    with (
        pytest.raises(GraderError, match="no-such"),
        contain.start(
            [shared_folder / "no-such"], cwd=shared_folder, env={}, stdout=1, stderr=2
        ) as contained,
    ):
        contained.wait(30)


def test_a_folder_that_is_not_there(shared_folder, actor):
    with pytest.raises(GraderError):
        contain.start([actor], cwd=shared_folder / "no", env={}, stdout=1, stderr=2)


LIBRARYS_OWN = 0b11 << 31  # signals 32 and 33, which the C library lets nobody touch


def test_signals_are_at_their_default(play, out):
    """Python ignores SIGPIPE, and whoever started us may ignore more: none of it is handed on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        contained = play("masks")
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    assert contained.wait(30) == Exit(0, None)
    fields = dict(line.split(":\t") for line in out.read_text().splitlines())
    masks = {int(fields[name], 16) for name in ("SigIgn", "SigBlk", "SigCgt")}
    assert {mask & ~LIBRARYS_OWN for mask in masks} == {0}


def test_each_has_a_session_and_no_rights_of_ours(play):
    contained = play("pause")
    assert os.getsid(contained.pid) != os.getsid(0)

    def uid() -> int:
        return os.stat(f"/proc/{contained.pid}").st_uid

    if os.geteuid() == 0 and tiers.tier() != "process":
        wait_until(lambda: uid() != 0, "a user of its own")
        other = play("pause")
        wait_until(lambda: os.stat(f"/proc/{other.pid}").st_uid not in (0, uid()), "another one")
    else:
        assert uid() == os.geteuid()


def test_only_its_own_folder_is_writable(shared_folder, actor):
    """The file of a submission's output is opened by us; it can't make others."""
    folder = Path(tempfile.mkdtemp(dir=shared_folder))
    with contain.start(
        ["/bin/sh", "-c", "touch own && ! touch ../theirs"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        writes=[folder],
    ) as contained:
        ended = contained.wait(30)
    assert (folder / "own").exists()
    if tiers.tier() == "uid":
        assert ended == Exit(0, None)


# What is left


@pytest.mark.parametrize(
    ("role", "argument", "count"),
    [
        ("pause", "", 1),
        ("daemonise", "", 1),
        ("with-daemon", "", 2),
        ("deaf", "", 1),
        ("stopped", "", 2),
        ("many", "50", 51),
        ("zombie", "", 1),
        ("burn", "", 1),
    ],
)
def test_nothing_is_left(play, mark, role, argument, count):
    contained = play(role, argument)

    def there() -> bool:
        # A keeper may have the mark in its command line, too; and we know when a daemon is one.
        ours = set(running(mark)) - {contained.keeper_pid}
        return len(ours) == count and (role != "daemonise" or contained.poll() is not None)

    wait_until(there, f"{count} processes")
    contained.end()
    assert running(mark) == {}


@pytest.mark.parametrize("role", ["bomb", "hydra"])
def test_a_fork_bomb_is_bounded_and_ended(play, mark, role):
    contained = play(role)
    most = 0
    for _ in range(60 if role == "bomb" else 5):
        most = max(most, len(running(mark)))
    assert most <= 64 + 3  # the sandbox, the keeper, and its child that is not the program yet
    if role == "bomb":
        wait_until(lambda: len(running(mark)) > 32, "the bomb to grow")
    contained.end()
    assert running(mark) == {}


def test_the_others_live_on(play):
    first, second = play("many", "3"), play("many", "3")
    first.end()
    assert second.poll() is None
    os.kill(second.pid, 0)


def test_a_stopped_process_is_killed_too(play, mark):
    contained = play("many", "4")
    wait_until(lambda: len(set(running(mark)) - {contained.keeper_pid}) == 5, "four children")
    for pid in set(running(mark)) - {contained.keeper_pid}:
        os.kill(pid, signal.SIGSTOP)
    contained.end()
    assert running(mark) == {}


def test_a_keeper_that_is_killed_is_the_grader_s_error(play, mark, out):
    contained = play("say")
    wait_until(lambda: out.read_text(), "the program to run")
    os.kill(contained.keeper_pid, signal.SIGKILL)
    with pytest.raises(GraderError):
        contained.wait(30)
    contained.end()
    wait_until(lambda: not running(mark), "the program to follow its keeper")


GRADER = """
import subprocess, sys
from collections.abc import Iterator
from pathlib import Path
from forklab import contain
kept = [
    contain.start([sys.argv[1], *words, sys.argv[3]], cwd=Path(sys.argv[2]), env={},
                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for words in (["many", "5"], ["daemonise"], ["with-daemon"], ["deaf"], ["stopped"], ["bomb"])
]
print("started", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None])
def test_nothing_outlives_the_grader(actor, shared_folder, mark, how):
    """None: it just ends, without letting go of anything."""
    grader = subprocess.Popen(
        [sys.executable, "-P", "-c", GRADER, actor, shared_folder, mark],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert grader.stdin
    assert grader.stdout
    assert grader.stdout.readline() == b"started\n"
    wait_until(lambda: len(running(mark)) > 20, "its processes")
    if how is None:
        grader.stdin.close()
    else:
        grader.send_signal(how)
    grader.wait(30)
    wait_until(lambda: not running(mark), "the keepers to kill the rest")
    grader.stdin.close()
    grader.stdout.close()


def test_a_killed_command_leaves_nothing(tmp_path):
    """The same with the command that everybody uses; the next grading removes its files."""
    source = tmp_path / "server.c"
    source.write_text("#include <unistd.h>\nint main(void) { for (;;) usleep(1000); }\n")
    grader = subprocess.Popen(
        [*COMMAND, "grade", "lab1", source], env=environment(), stdout=subprocess.DEVNULL
    )
    word = f"/run-{grader.pid}-"
    wait_until(lambda: any("/out/server" in text for text in running(word).values()), "a server")
    grader.kill()
    grader.wait()
    wait_until(lambda: not running(word), "the keepers to kill the rest")
    (folder,) = run_folders(grader.pid)
    if folder.parent != Path(tempfile.gettempdir()):
        with contain.run_folder():  # or another grader that starts just now removes it
            wait_until(lambda: not folder.exists(), "what it left to be removed")
    else:
        shutil.rmtree(folder)


# Sandboxes


@pytest.fixture
def sandbox(actor, shared_folder) -> Iterator[contain.Sandbox]:
    if "bwrap" not in tiers.available():
        pytest.skip("no bubblewrap here")
    tiers.choose("bwrap")
    with contain.Sandbox(reads=[actor], scratch=shared_folder / "home") as sandbox:
        yield sandbox


def start_in(sandbox: contain.Sandbox, out: Path, *command: object) -> Contained:
    with out.open("ab") as file:
        assert sandbox.scratch
        return contain.start(
            [str(word) for word in command],
            cwd=sandbox.scratch,
            env={"PATH": "/usr/bin:/bin"},
            stdout=file.fileno(),
            stderr=file.fileno(),
            scratch=sandbox.scratch,
            sandbox=sandbox,
        )


def test_programs_in_one_sandbox_share_nothing_but_the_user(sandbox, out, actor, mark):
    tried = "touch mine; ls; ps ax | wc -l; kill -s KILL -1 2>/dev/null"
    with start_in(sandbox, out, actor, "pause", mark) as first:
        for _ in range(2):
            with start_in(sandbox, out, "/bin/sh", "-c", f"ps ax >/dev/null && {tried}") as other:
                other.wait(30)
        assert first.poll() is None
    words = out.read_text().split()
    assert words[0::2] == ["mine", "mine"]
    assert words[1] == words[3]
    assert int(words[1]) <= 6  # ps's own line, the keeper, the shell, ps and wc


def test_the_rights_that_its_namespaces_gave_are_gone(sandbox, out):
    show = "grep -e ^Cap -e ^NoNewPrivs /proc/self/status"
    with start_in(sandbox, out, "/bin/sh", "-c", show) as contained:
        contained.wait(30)
    sets = dict(line.split(":\t") for line in out.read_text().splitlines())
    assert sets.pop("NoNewPrivs") == "1"  # so what an exec could still grant is of no use
    assert sets.pop("CapBnd")
    assert len(sets) == 4
    assert {int(value, 16) for value in sets.values()} == {0}


def test_no_descriptor_of_ours_gets_in(sandbox, out):
    with start_in(sandbox, out, "/bin/ls", "/proc/self/fd") as contained:
        contained.wait(30)
    assert out.read_text().split() == ["0", "1", "2", "3"]  # the last one is the folder's


def test_too_long_a_command_line_is_said_and_ends_nobody(sandbox, out, actor, mark):
    with start_in(sandbox, out, actor, "pause", mark) as first:
        with pytest.raises(GraderError, match="too long"):
            start_in(sandbox, out, "/bin/true", "x" * 70_000)
        with pytest.raises(GraderError, match="too long"):
            start_in(sandbox, out, "/bin/true", *["x"] * 300)
        with start_in(sandbox, out, "/bin/true") as second:
            assert second.wait(30) == Exit(0, None)
        assert first.poll() is None


def test_a_sandbox_that_is_killed_is_the_grader_s_error(sandbox, out, actor, mark):
    first = start_in(sandbox, out, actor, "many", "3", mark)
    (its_first,) = (
        one.pid
        for one in procfs.Family(sandbox._bwrap.pid).members()
        if one.parent == sandbox._bwrap.pid
    )
    os.kill(its_first, signal.SIGKILL)
    wait_until(lambda: sandbox.has_ended, "its end")
    with pytest.raises(GraderError):
        start_in(sandbox, out, "/bin/true")
    first.end()
    wait_until(lambda: not running(mark), "what was in there to follow")


def test_it_ends_with_all_that_is_in_there(sandbox, out, actor, mark):
    start_in(sandbox, out, actor, "many", "3", mark)
    wait_until(lambda: len(running(mark)) == 4, "four processes")
    sandbox.end()
    wait_until(lambda: not running(mark), "their end")


def test_tools_that_several_compile_at_once_are_whole(tmp_path):
    source, target = tmp_path / "tool.c", tmp_path / "tool"
    source.write_text("int main(void) { return 7; }\n")
    code = "import sys; from pathlib import Path; from forklab import contain;" + (
        "import os; os.getpid = lambda: 1; contain.compile_tool(*map(Path, sys.argv[1:]))"
    )
    command = [sys.executable, "-P", "-c", code, source, target]
    several = [subprocess.Popen(command, env=environment()) for _ in range(6)]
    assert [one.wait() for one in several] == [0] * 6
    assert subprocess.run([target]).returncode == 7
    assert sorted(os.listdir(tmp_path)) == ["tool", "tool.c"]


# Limits


def test_limit_of_processes(play, out):
    contained = play("count", limits=Limits(processes=20))
    contained.wait(30)
    assert int(out.read_text()) == 20


def test_the_limit_counts_each_family_for_itself(play, out):
    for _ in range(3):
        play("many", "30", limits=Limits(processes=40))
    contained = play("count", limits=Limits(processes=40))
    contained.wait(30)
    assert int(out.read_text()) == 40


def test_limit_of_file_size(play, out):
    contained = play("flood", limits=Limits(output=MEBIBYTE))
    ended = contained.wait(30)
    assert ended == Exit(None, signal.SIGXFSZ)
    assert "printed 1 MiB" in str(ended)
    assert out.stat().st_size == MEBIBYTE


def test_limit_of_memory(play, out):
    limits = Limits(address_space=256 * MEBIBYTE)
    play("allocate", str(64 * MEBIBYTE), limits=limits)
    wait_until(lambda: out.read_text() == "got it\n", "an answer")
    play("allocate", str(512 * MEBIBYTE), limits=limits)
    wait_until(lambda: out.read_text() == "got it\nrefused\n", "another answer")


def test_limit_of_cpu_time(play):
    ended = play("burn", limits=Limits(cpu=1)).wait(60)
    assert ended
    assert ended.signal == signal.SIGXCPU
    assert "used 1 s of CPU time" in str(ended)


def test_limit_of_descriptors_of_a_process_that_is_gone(play):
    contained = play("exit", "0")
    contained.wait(30)
    contained.limit_descriptors(contained.pid, 10)  # nobody is left to limit
    assert contained.exit == Exit(0, None)


# Folders


def test_run_folder_is_gone_afterwards():
    with contain.run_folder() as folder:
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "deep" / "er" / "file").touch()
        assert str(os.getpid()) in folder.name
    assert not folder.exists()


# Once more, as somebody else


@pytest.mark.skipif(os.geteuid() != 0, reason="these tests have just run as an ordinary user")
def test_as_an_ordinary_user():
    nobody = 65534
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        os.chmod(scratch, 0o755)
        kit = copy_kit(Path(scratch), "conftest.py", "support.py", "actor.c", "test_contain.py")
        for path in [kit, *kit.rglob("*")]:
            os.chown(path, nobody, nobody)
        run: dict[str, Any] = {
            "user": nobody,
            "group": nobody,
            "extra_groups": [],
            "cwd": kit,
            "env": environment(kit),
            "capture_output": True,
            "text": True,
        }
        python = next((one for one in (sys.executable, "/usr/bin/python3") if _works(one, run)), "")
        if not python:
            pytest.skip("another user can't reach this Python")
        tests = [python, "-P", "-m", "pytest", "harness/tests", "-q"]
        ran = subprocess.run([*tests, "--basetemp", str(kit / "tmp")], **run)
        assert ran.returncode == 0, ran.stdout
        assert "skipped" in ran.stdout
        record = [python, *COMMAND[1:], "grade", "lab4", "solutions/lab4-sigaction", "--json", "-"]
        graded = subprocess.run(record, **run)
        assert graded.returncode == 0, graded.stderr
        assert '"tier": "process"' in graded.stdout
        assert not list((kit / "build" / "runs").iterdir())


def _works(python: str, run: dict[str, Any]) -> bool:
    try:
        command = [python, "-P", "-c", "import forklab.cli, forklab.render.terminal, pytest"]
        subprocess.run(command, check=True, **run)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def test_a_keeper_without_a_static_c_library(monkeypatch, tmp_path):
    """It is built all the same; where nothing can be built, that is said."""
    asked = []

    def compile_tool(source: Path, target: Path, *flags: str) -> Path:
        asked.append(flags)
        if len(asked) < tries:
            raise GraderError("does not build")
        return target

    monkeypatch.setattr(contain, "compile_tool", compile_tool)
    tries = 2
    assert contain.keeper().name == "keeper"
    assert asked == [("-static", "-s"), ()]
    tries = 9
    with pytest.raises(GraderError, match="does not build"):
        contain.keeper()


OF_NETWORKS = """
import os, socket
from forklab import tcp, tiers

TIME_WAIT = 6
tiers.choose(tiers.BWRAP)
tiers.leave_network()
networks = [os.readlink("/proc/self/ns/net")]
for _ in range(2):
    with socket.create_server(("127.0.0.1", 12345)) as listener:
        client = socket.create_connection(("127.0.0.1", 12345))
        conn, _ = listener.accept()
        client.close()
        conn.close()
    print(len(tcp._sockets([TIME_WAIT])))
    print(open("/proc/sys/net/ipv4/tcp_ehash_entries").read().strip())
    print(open("/proc/sys/net/ipv4/tcp_max_tw_buckets").read().strip())
    tiers.renew_network()
    networks.append(os.readlink("/proc/self/ns/net"))
    print(len(tcp._sockets([TIME_WAIT])))
print(len(set(networks)))
"""


@pytest.mark.skipif(tiers.BWRAP not in tiers.available(), reason="takes tier bwrap")
@pytest.mark.skipif(
    not Path("/proc/sys/net/ipv4/tcp_child_ehash_entries").exists(), reason="takes Linux 6.1"
)
def test_nothing_is_left_of_connections_in_the_next_network():
    """Each has a small table of connections, and room for as many in TIME_WAIT as usual."""
    done = subprocess.run(
        [sys.executable, "-c", OF_NETWORKS], env=environment(), capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["1", "128", "131072", "0"] * 2 + ["3"]


def test_no_network_of_one_s_own_on_the_other_tiers():
    tiers.choose(tiers.available()[-1])
    before = os.readlink("/proc/self/ns/net")
    if tiers.tier() != tiers.BWRAP:
        tiers.renew_network()
        assert os.readlink("/proc/self/ns/net") == before


def test_a_kit_below_a_place_that_is_mounted(sandbox, shared_folder, out):
    """Such as /usr/src: the keeper has its place elsewhere."""
    reads = [contain.keeper().parent]
    with (
        contain.Sandbox(reads=reads, scratch=shared_folder / "other") as other,
        start_in(other, out, "/bin/echo", "here") as contained,
    ):
        assert contained.wait(30) == Exit(0, None)
    assert out.read_text() == "here\n"
