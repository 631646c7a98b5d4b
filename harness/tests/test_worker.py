"""Worker processes: the record that comes back, what is left of one that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from forklab import gallery, paths, tiers, worker
from forklab.errors import GraderError, UsageError
from forklab.result import ERROR, Result
from forklab.worker import Options, Task
from tests.support import environment, graded, run_folders, running, wait_until

FORKS = b"""
#include <unistd.h>
int main(void) { for (int i = 0; i < 20; i++) if (fork() == 0) pause(); pause(); }
"""
LINGERS = b"#include <unistd.h>\nint main(void) { for (;;) sleep(1); }\n"


@pytest.fixture(scope="module", autouse=True)
def _workers_end() -> Iterator[None]:
    yield
    worker.end_all()


def task(source: str | bytes, lab: str = "lab1", **options) -> Task:
    text = source.encode() if isinstance(source, str) else source
    return Task(lab, {"server.c": text}, "kim/server.c", Options(trusted=True, **options))


def grade(source: str | bytes, lab: str = "lab1", **options) -> Result:
    return Result.from_json(worker.grade(task(source, lab, **options)))


def of_this_thread() -> int:
    """The pid of this thread's worker."""
    found: int = worker._of_thread.worker.pid
    return found


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def in_the_middle(act: Callable[[], object]) -> threading.Thread:
    """Does something when this thread's worker is grading: when its child has servers or builds."""
    pid = of_this_thread()

    def wait_and_act() -> None:
        wait_until(lambda: any(children(child) for child in children(pid)), "a grading")
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def test_the_record_is_the_commands():
    solution = paths.solution_of("lab1")
    found = grade(solution.read_bytes())
    expected, _ = graded("lab1", solution.parent)
    assert found.submission == "kim/server.c"
    assert (found.score, found.max_score) == (100, 100)
    assert (found.sha256, found.tier, found.kit) == (expected.sha256, expected.tier, expected.kit)
    assert [one.id for one in found.checks] == [one.id for one in expected.checks]
    assert [one.did for one in found.checks] == [one.did for one in expected.checks]


def test_no_submission_touches_the_next():
    """One that fails at once and one of another lab, in the worker that then grades a right one."""
    exhibit = gallery.reference("lab1")
    first = grade(exhibit.source)
    pid = of_this_thread()
    wrong = grade("int main(void) { return 0; }\n")
    assert {one.status for one in wrong.checks} >= {"failed", "skipped"}
    assert {one.id[0] for one in grade("int x;\n", "lab3").checks} == {"3"}
    again = grade(exhibit.source)
    assert exhibit.wrong_about(first) == exhibit.wrong_about(again) == []
    assert of_this_thread() == pid
    assert run_folders(pid) == [one for one in run_folders(pid) if one.is_dir()][:1]  # its own


def test_headers_travel_with_it():
    source = b'#include "mine.h"\nint main(void) { return MINE; }\n'
    files = {"server.c": source, "mine.h": b"#define MINE 0\n"}
    with_header = Task("lab1", files, "kim", Options(trusted=True))
    built = Result.from_json(worker.grade(with_header)).checks[0]
    assert (built.id, built.status) == ("1.1", "passed")
    assert grade(source).checks[0].status == "failed"


def test_a_worker_that_is_killed_is_replaced():
    grade("int x;\n")
    pid = of_this_thread()
    killing = in_the_middle(lambda: os.kill(pid, signal.SIGKILL))
    with pytest.raises(GraderError, match="a worker of the grader ended: killed by SIGKILL"):
        grade(LINGERS)
    killing.join()
    assert grade("int x;\n").verdict == "does-not-build"
    assert of_this_thread() != pid


def test_a_grading_that_is_killed():
    grade("int x;\n")
    pid = of_this_thread()
    killing = in_the_middle(lambda: os.kill(children(pid)[0], signal.SIGKILL))
    with pytest.raises(GraderError, match="the process that graded it ended: killed by SIGKILL"):
        grade(LINGERS)
    killing.join()
    assert grade("int x;\n").verdict == "does-not-build"
    assert of_this_thread() == pid
    assert children(pid) == []


def test_a_grading_that_hangs_is_stopped():
    grade("int x;\n", limits=("wall=2",))
    pid = of_this_thread()
    stopping = in_the_middle(lambda: os.kill(children(pid)[0], signal.SIGSTOP))
    with pytest.raises(GraderError, match=r"grading took longer than .* and was stopped"):
        grade(LINGERS, limits=("wall=2",))
    stopping.join()
    assert running(f"/run-{pid}-") == {}
    assert run_folders(pid) == []


def test_signals_leave_it_alone():
    """A batch system sends them to all there is; the worker ends when its batch does."""
    grade("int x;\n")
    pid = of_this_thread()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    assert grade("int x;\n").verdict == "does-not-build"
    assert of_this_thread() == pid


@pytest.mark.parametrize("tier", ["", "best"])
def test_when_the_batch_is_killed_nothing_is_left(tmp_path, tier):
    script = tmp_path / "batch.py"
    script.write_text(
        textwrap.dedent(f"""
        from forklab import worker
        options = worker.Options(tier={tier!r}, trusted=True)
        for source in (b"int x;", {LINGERS!r}):
            worker.grade(worker.Task("lab1", {{"server.c": source}}, "kim", options))
            print(worker._of_thread.worker.pid, flush=True)
        """)
    )
    command = [sys.executable, script]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as batch:
        assert batch.stdout
        pid = int(batch.stdout.readline())
        wait_until(
            lambda: any("/out/server " in one for one in running(f"/run-{pid}-").values()), "it"
        )
        batch.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the worker's end")
    assert running(f"/run-{pid}-") == {}
    assert run_folders(pid) == []


@pytest.mark.parametrize("name", ["../server.h", "", "a/b.h", "..", "a\0.h"])
def test_names_that_are_none(name):
    files = {"server.c": b"", name: b""}
    with pytest.raises(GraderError, match="not the name of a file"):
        worker.grade(Task("lab1", files, "kim", Options(trusted=True)))


def test_a_task_without_a_server():
    with pytest.raises(GraderError, match=r"without a server\.c"):
        worker.grade(Task("lab1", {"other.h": b""}, "kim", Options(trusted=True)))


def test_each_tier():
    """The worker and all that it starts are on the tier that was asked for."""
    for tier in tiers.available():
        assert grade("int x;\n", tier=tier).tier == tier
    assert grade("int x;\n", tier="best").tier == tiers.available()[0]
    for tier in set(tiers.NAMES) - {*tiers.available()}:
        with pytest.raises(GraderError, match=f"tier {tier} is not to be had here"):
            grade("int x;\n", tier=tier)


def test_where_nothing_keeps_programs_apart(monkeypatch):
    monkeypatch.setattr(tiers, "choose", lambda name: name)
    assert worker.choose_tier("process", trusted=True) == "process"
    with pytest.raises(UsageError, match="--trust-submissions"):
        worker.choose_tier("process", trusted=False)
    assert worker.choose_tier("uid", trusted=False) == "uid"


def test_limits_hold():
    found = grade(FORKS, limits=("processes=5",))
    assert "processes" in {one.limit for one in found.limits}
    assert any("It had 5 processes" in one.text for one in found.limits)


OWN = '''
from forklab.rubric import check, expect

@check("1.90", "is never enough", points=7, hints=["a", "b", "c"])
def test_never_enough(submission):
    """It looked."""
    expect(False, expected="more", seen=submission.source.name)

@check("1.91", "breaks", points=1, hints=["a", "b", "c"])
def test_breaks():
    """It broke."""
    raise RuntimeError("mine")
'''


def test_own_checks_and_weights(tmp_path):
    from forklab import own

    (tmp_path / "test_own.py").write_text(OWN)
    extra = own.pack(tmp_path)
    found = grade("int x;\n", extra_checks=extra, weights={"1.90": 3, "1.1": 50})
    checks = {one.id: one for one in found.checks}
    assert (checks["1.90"].max_points, checks["1.1"].max_points) == (3, 50)
    assert "1.90" not in {one.id for one in grade("int x;\n").checks}
    right = grade(gallery.reference("lab1").source, extra_checks=extra)
    checks = {one.id: one for one in right.checks}
    assert (checks["1.90"].status, checks["1.90"].seen) == ("failed", "server.c")
    assert checks["1.91"].status == ERROR
    assert right.score is None
