"""`forklab batch`: what it grades and what it doesn't, faults, stops, and what it writes."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from forklab import batch, cli, gallery, tiers, worker
from forklab.batch import ALL_JUDGED, NOT_ALL_JUDGED, Request
from forklab.cli import USAGE
from forklab.compare import diff
from forklab.errors import GraderError, UsageError
from forklab.graders import Graders
from forklab.render.terminal import make_console
from forklab.result import ERROR, FAILED, PASSED, SKIPPED, Result
from forklab.worker import Options, Task
from tests import records
from tests.support import (
    COMMAND,
    DEADLINE,
    environment,
    forklab,
    run_folders,
    running,
    wait_until,
)

JOBS = 2


class Pretender:
    """Grades in no time: what a task's source says, {"4.1": "failed"}, is what is found."""

    def __init__(self) -> None:
        self.graded: list[str] = []
        self.act: Callable[[Task], None] = lambda task: None  # is called first
        self.seconds = 0.0  # what the next records say that they took

    def grade(self, task: Task) -> str:
        self.graded.append(task.shown_as)
        self.act(task)
        text = task.files["server.c"]
        self.seconds += 1
        found = records.result(
            *(records.check(id, status) for id, status in json.loads(text).items()),
            lab=task.lab,
            submission=task.shown_as,
            sha256=hashlib.sha256(text).hexdigest(),
        )
        return found.to_json()


@pytest.fixture
def pretender(monkeypatch: pytest.MonkeyPatch) -> Pretender:
    made = Pretender()
    monkeypatch.setattr(worker, "grade", made.grade)
    return made


def program(**status: str) -> str:
    return json.dumps({f"4.{name[1:]}": one for name, one in status.items()})


CLASS = {
    "ann": program(c1=PASSED, c2=PASSED),
    "bob": program(c1=FAILED, c2=PASSED),
    "cho": program(c1=PASSED, c2=PASSED),  # ann's
    "dan": program(c1=PASSED, c2=FAILED),
    "eve": program(c1=PASSED),
    "김민지": program(c1=FAILED),
}
PROGRAMS = 5


@pytest.fixture
def handed_in(tmp_path: Path) -> Path:
    folder = tmp_path / "handed in"
    for student, source in CLASS.items():
        write(folder, student, source)
    return folder


def write(folder: Path, student: str, source: str, lab: str = "lab4") -> None:
    place = folder / student / lab
    place.mkdir(parents=True, exist_ok=True)
    (place / "server.c").write_text(source)


@contextmanager
def threads(executor: Executor | None = None) -> Iterator[Graders]:
    with ThreadPoolExecutor(JOBS) as pool:
        yield Graders(executor or pool, 2 * JOBS, "two at a time", grade=worker.grade)


def grade(folder: Path, out: Path, executor: Executor | None = None, **more) -> int:
    """The batch's exit status."""
    return batch.batch(Request(folder, out, **more), make_console(), threads(executor))


def outputs(out: Path) -> dict[str, str]:
    """All files that a batch wrote, by name."""
    files = [one for one in out.rglob("*") if one.is_file()]
    return {str(one.relative_to(out)): one.read_text() for one in files}


def rows(out: Path) -> dict[str, dict[str, str]]:
    """marks.csv by student."""
    with (out / "marks.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


# What is graded ------------------------------------------------------------------------------


def test_a_class(handed_in, tmp_path, pretender, capsys):
    out = tmp_path / "grades"
    assert grade(handed_in, out) == ALL_JUDGED
    said = capsys.readouterr().out
    assert sorted(pretender.graded) == [
        f"{one}/lab4/server.c" for one in CLASS if one != "cho"
    ]  # once for equal programs
    assert "lab4: 6 programs" in said
    assert "Grading 5 programs, two at a time." in said
    assert "6 marks" in said
    assert max(map(len, said.replace(str(out), "grades").splitlines())) <= 80
    assert {name: row["lab4"] for name, row in rows(out).items()} == {
        **dict.fromkeys(("ann", "cho"), "10"),
        **dict.fromkeys(("bob", "dan", "eve"), "5"),
        "김민지": "0",
    }
    assert rows(out)["cho"]["4.2"] == "5"
    written = outputs(out)
    assert sum(name.startswith("students/") for name in written) == 6
    assert sum(name.startswith("records/lab4/") for name in written) == PROGRAMS
    assert "cho/lab4/server.c" in next(text for name, text in written.items() if "/cho-" in name)
    assert {"junit.xml", "index.html", "class.json"} <= set(written)


def test_what_is_graded_is_not_graded_again(handed_in, tmp_path, pretender, capsys):
    out = tmp_path / "grades"
    grade(handed_in, out)
    before = outputs(out)
    assert grade(handed_in, out) == ALL_JUDGED
    assert "All 5 programs are graded already." in capsys.readouterr().out
    assert len(pretender.graded) == PROGRAMS
    assert outputs(out) == before
    write(handed_in, "bob", CLASS["eve"])
    write(handed_in, "dan", program(c1=FAILED, c2=FAILED))
    grade(handed_in, out)
    assert pretender.graded[PROGRAMS:] == ["dan/lab4/server.c"]
    assert rows(out)["dan"]["lab4"] == "0"
    write(handed_in, "bob", CLASS["bob"])
    grade(handed_in, out, options=Options(weights={"4.1": 9}))
    assert len(pretender.graded) == 2 * PROGRAMS + 1


def test_a_broken_record_is_graded_anew(handed_in, tmp_path, pretender):
    out = tmp_path / "grades"
    grade(handed_in, out)
    before = outputs(out)
    first, second = sorted(out.glob("records/lab4/*.json"))[:2]
    first.write_text(first.read_text()[:100])
    second.write_text(first.read_text().replace('"lab4"', '"lab3"'))
    assert grade(handed_in, out) == ALL_JUDGED
    assert len(pretender.graded) == PROGRAMS + 2
    assert outputs(out) == before


def test_missing_late_and_unplaced_are_told(handed_in, tmp_path, pretender, capsys):
    (tmp_path / "roster").write_text("ann\nbob\nzoe\n")
    (handed_in / "ann" / "lab4.7z").write_text("")
    grade(handed_in, tmp_path / "grades", roster=tmp_path / "roster")
    said = capsys.readouterr().out
    assert "Missing: 1\n  zoe: lab4" in said
    assert "Not graded: 1\n  ann/lab4.7z: an archive" in said
    assert "The same program: 1\n  ann: ann/lab4/server.c = cho: cho/lab4/server.c" in said


# The grader's faults -------------------------------------------------------------------------


def test_a_fault_is_tried_again_alone(handed_in, tmp_path, pretender):
    under_way = 0
    lock = threading.Lock()
    beside: dict[str, list[int]] = {}
    both = threading.Barrier(JOBS)

    def act(task: Task) -> None:
        nonlocal under_way
        with lock:
            under_way += 1
            beside.setdefault(task.shown_as, []).append(under_way)
        try:
            if len(pretender.graded) <= JOBS:
                both.wait(DEADLINE)  # so that two are under way
            if task.shown_as.startswith(("bob", "dan")) and len(beside[task.shown_as]) == 1:
                raise GraderError("no ports left")
        finally:
            with lock:
                under_way -= 1

    pretender.act = act
    assert grade(handed_in, tmp_path / "grades") == ALL_JUDGED
    assert pretender.graded[PROGRAMS:] == ["bob/lab4/server.c", "dan/lab4/server.c"]
    assert [times[1] for times in beside.values() if len(times) == 2] == [1, 1]
    assert rows(tmp_path / "grades")["bob"]["lab4"] == "5"


def test_a_fault_that_stays_is_no_zero(handed_in, tmp_path, pretender, capsys):
    out = tmp_path / "grades"
    write(handed_in, "dan", program(c1=PASSED, c2=ERROR))

    def act(task: Task) -> None:
        if task.shown_as.startswith("bob"):
            raise GraderError("no ports left")

    pretender.act = act
    assert grade(handed_in, out) == NOT_ALL_JUDGED
    said = capsys.readouterr().out
    assert "The grader could not judge: 2" in said
    assert "  bob lab4, bob/lab4/server.c: no ports left" in said
    assert "4 marks; 2 that the grader could not judge" in said
    assert {rows(out)[name]["lab4"] for name in ("bob", "dan")} == {"error"}
    assert len(list(out.glob("records/lab4/*.json"))) == PROGRAMS - 2
    before = len(pretender.graded)
    pretender.act = lambda task: None
    assert grade(handed_in, out) == NOT_ALL_JUDGED
    assert sorted(pretender.graded[before:]) == ["bob/lab4/server.c"] + 2 * ["dan/lab4/server.c"]
    assert rows(out)["bob"]["lab4"] == "5"


class Broken(Executor):
    """Takes nothing, or loses what it took."""

    def __init__(self, loses: bool) -> None:
        self.loses = loses

    def submit(self, *_: object, **__: object) -> Future[str]:  # type: ignore[override]
        if not self.loses:
            raise RuntimeError("no scheduler")
        future: Future[str] = Future()
        future.set_exception(ConnectionError("KilledWorker"))
        return future


@pytest.mark.parametrize("loses", [True, False])
def test_an_executor_that_is_broken(loses, handed_in, tmp_path, pretender, capsys):
    assert grade(handed_in, tmp_path / "grades", Broken(loses)) == NOT_ALL_JUDGED
    said = capsys.readouterr().out
    why = "KilledWorker" if loses else "no scheduler"
    assert f"bob lab4, bob/lab4/server.c: the grading was lost: {why}" in said


class Counting(ThreadPoolExecutor):
    """Knows how many tasks it had at most."""

    def __init__(self) -> None:
        super().__init__(JOBS)
        self.has = self.most = 0
        self.lock = threading.Lock()

    def submit(self, *arguments, **more) -> Future[str]:  # type: ignore[override]
        with self.lock:
            self.has += 1
            self.most = max(self.most, self.has)
        future: Future[str] = super().submit(*arguments, **more)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: object) -> None:
        with self.lock:
            self.has -= 1


def test_few_tasks_are_in_flight(tmp_path, pretender, capsys):
    for number in range(30):
        write(tmp_path / "class", f"s{number}", program(c1=PASSED) + " " * number)
    with Counting() as executor:
        assert grade(tmp_path / "class", tmp_path / "grades", executor) == ALL_JUDGED
    assert len(pretender.graded) == 30
    said = capsys.readouterr().out.splitlines()
    assert "  s0: s0/lab4/server.c = s1: s1/lab4/server.c = s2: s2/lab4/server.c = 27 more" in said
    assert executor.most <= 2 * JOBS


# Stopped, and gone on with -------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_nothing_is_lost(
    number, handed_in, tmp_path, pretender, monkeypatch, capsys
):
    grade(handed_in, tmp_path / "whole")
    pretender.graded.clear()
    stopped = threading.Event()

    def act(task: Task) -> None:
        if len(pretender.graded) == 3:
            os.kill(os.getpid(), number)
            stopped.set()
        elif len(pretender.graded) > 3:
            stopped.wait(DEADLINE)

    pretender.act = act
    out = tmp_path / "grades"
    with pytest.raises(KeyboardInterrupt):
        grade(handed_in, out)
    kept = len(list(out.glob("records/lab4/*.json")))
    assert f"Stopped. {kept} of 5 programs are graded, and kept in" in capsys.readouterr().out
    assert kept < PROGRAMS
    assert not (out / "marks.csv").exists()
    pretender.graded.clear()
    pretender.act = lambda task: None
    assert grade(handed_in, out) == ALL_JUDGED
    assert len(pretender.graded) == PROGRAMS - kept
    assert outputs(out) == outputs(tmp_path / "whole")


def test_killed_and_gone_on_with(tmp_path):
    """With real workers: nothing is left of the killed one, and the marks are the same."""
    shown = {
        "ann": gallery.reference("lab1").source,
        "bob": "int main(void) { return 0; }\n",
        "cho": "int x;\n",
    }
    for student, source in shown.items():
        write(tmp_path / "class", student, source, "lab1")
    words = ["batch", str(tmp_path / "class"), "--trust-submissions", "--jobs", "1", "--out"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    one = subprocess.Popen(
        [*COMMAND, *words, str(killed)], env=environment(), stdout=subprocess.DEVNULL
    )
    wait_until(lambda: list(killed.glob("records/lab1/*.json")), "a record")
    workers = below(one.pid)
    one.kill()
    one.wait()
    kept = {one: one.stat().st_mtime_ns for one in killed.glob("records/lab1/*.json")}
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "their end")
    assert [found for pid in workers for found in running(f"/run-{pid}-")] == []
    assert [folder for pid in workers for folder in run_folders(pid)] == []
    for out in (killed, whole):
        ran = forklab(*words, out)
        assert (ran.returncode, ran.stderr) == (ALL_JUDGED, "")
    assert {one: one.stat().st_mtime_ns for one in kept} == kept
    assert diff(killed, whole) == []
    for name in ("class.json", "marks.csv"):
        assert (killed / name).read_text() == (whole / name).read_text()
    assert rows(whole)["ann"]["lab1"] == "100"
    assert set(outputs(killed)) == set(outputs(whole))


def below(pid: int) -> list[int]:
    """All descendants of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *below(child)]
    return found


# Again, and what changed ---------------------------------------------------------------------


def test_regrading_one_lab_and_what_changed(handed_in, tmp_path, pretender, capsys):
    out = tmp_path / "grades"
    write(handed_in, "ann", program(c1=PASSED), "lab3")
    grade(handed_in, out)
    pretender.graded.clear()
    assert grade(handed_in, out, regrade="lab4") == ALL_JUDGED
    assert len(pretender.graded) == PROGRAMS
    assert f"The records so far are kept in {out}/records-before-1/." in capsys.readouterr().out
    assert len(list((out / "records-before-1" / "lab4").iterdir())) == PROGRAMS
    assert diff(out / "records-before-1", out) == []
    for path in (out / "records-before-1" / "lab4").iterdir():  # as if the rubric had been wrong
        found = Result.from_json(path.read_text())
        if found.submission.startswith("ann"):
            found.checks[0].status, found.checks[0].points = SKIPPED, 0
            found.checks[0].needs = "4.2"
            found.conclude()
            path.write_text(found.to_json())
    change = "lab4: 5 of 10 -> 10 of 10: 4.1 skipped (0 of 5, first fix 4.2) -> passed (5)"
    assert diff(out / "records-before-1", out) == [f"ann {change}", f"cho {change}"]


def test_regrading_all_of_it(handed_in, tmp_path, pretender):
    out = tmp_path / "grades"
    grade(handed_in, out)
    before = outputs(out)
    grade(handed_in, out, regrade="all")
    assert len(pretender.graded) == 2 * PROGRAMS
    after = outputs(out)
    assert {name: text for name, text in after.items() if "before" not in name} == before


def test_diff_of_two_classes(handed_in, tmp_path, pretender):
    old, new = tmp_path / "old", tmp_path / "new"
    grade(handed_in, old)
    write(handed_in, "ann", program(c1=PASSED, c2=FAILED) + " ")
    (handed_in / "bob" / "lab4" / "server.c").unlink()
    write(handed_in, "zoe", program(c1=PASSED))
    grade(handed_in, new)
    assert diff(old, new) == [
        "ann lab4: 10 of 10 -> 5 of 10: another program, 4.2 passed (5) -> failed (0 of 5, "
        "never-reaps)",
        "bob lab4: 5 of 10 -> gone",
        "zoe lab4: new, 5 of 5",
    ]
    ran = forklab("batch", "--diff", old, new)
    assert (ran.returncode, ran.stdout.splitlines()) == (ALL_JUDGED, diff(old, new))
    assert forklab("batch", "--diff", old, old).stdout == "No mark changed.\n"
    assert forklab("batch", "--diff", old, tmp_path).returncode == USAGE


# What it refuses -----------------------------------------------------------------------------


@pytest.fixture
def _handlers() -> Iterator[None]:
    """``cli.main`` sets its own."""
    usual = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in usual.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
def test_what_cannot_be_done(handed_in, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words, sentence in (
        ([], "batch needs the folder of submissions"),
        ([tmp_path / "nowhere"], "cannot read"),
        ([handed_in, "--out", handed_in / "grades"], "would be taken for submissions"),
        ([handed_in, "--limit", "moons=3"], "not a limit: 'moons=3'"),
        ([handed_in, "--weights", "none.toml"], "none.toml: No such file"),
        ([handed_in, "--extra-checks", tmp_path], "no test_*.py in it"),
        ([handed_in, "--lab", "3"], "there is nothing to grade"),
    ):
        assert cli.main(["batch", *map(str, words)]) == USAGE
        assert sentence in capsys.readouterr().err
    for words in (["--due", "soon"], ["--tier", "moon"], ["--jobs", "0"], ["--regrade", "lab9"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["batch", str(handed_in), *words])
    assert not (tmp_path / "grades").exists()


def test_it_refuses_where_nothing_keeps_programs_apart(
    handed_in, tmp_path, pretender, monkeypatch, capsys
):
    monkeypatch.setattr(tiers, "choose", lambda name: "process")
    request = Request(handed_in, tmp_path / "grades", options=Options(tier="best"))
    with pytest.raises(UsageError, match="--trust-submissions"):
        batch.batch(request, make_console())
    assert "lab4: 6 programs" in capsys.readouterr().out  # what it found is said before
    assert not (tmp_path / "grades").exists()
