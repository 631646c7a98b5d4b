"""`forklab soak`: whom it grades, what it does at a wrong verdict, and that its load goes away."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from forklab import gallery, paths, procfs, soak
from forklab.errors import GraderError
from forklab.gallery import Exhibit
from forklab.limits import MEBIBYTE
from forklab.result import Result
from tests.support import (
    COMMAND,
    at_work,
    environment,
    forklab,
    mark_of,
    run_folders,
    running,
    wait_until,
)

LABS = list(paths.LAB_FOLDERS)
CORES = sorted(os.sched_getaffinity(0))
ENDS = "int main(void) { return 0; }\n"
RIGHT = gallery.reference("lab1")
WRONG = Exhibit("lab1", "ends", "Is no server.", ENDS, {}, frozenset())


# Rounds


def test_every_round_has_every_reference_and_a_right_and_a_wrong_one():
    for exhibits in itertools.islice(soak._rounds(), 30):
        assert len(exhibits) == 3 * len(LABS)
        for lab in LABS:
            here = [one for one in exhibits if one.lab == lab]
            assert [one.name == "reference" for one in here] == [True, False, False]
            assert [one.is_right for one in here] == [True, True, False]


def test_in_time_everybody_s_turn_comes():
    rounds = max(len(gallery.mutants(lab)) for lab in LABS)
    graded = {
        (one.lab, one.is_right, one.name)
        for exhibits in itertools.islice(soak._rounds(), rounds)
        for one in exhibits
    }
    assert {(one.lab, one.is_right, one.name) for one in gallery.whole()} <= graded


# What comes of them


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, mark: str) -> str:
    """A word for the load programs' command lines. The memory stays free: others need it."""
    monkeypatch.setattr(soak, "BUSY", f"{soak.BUSY}  # {mark}")
    monkeypatch.setattr(soak, "EATER", f"{soak.EATER}  # {mark}")
    monkeypatch.setattr(soak, "_free_memory", lambda: soak.SPARED + MEBIBYTE)
    return mark


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the evidence goes."""
    monkeypatch.setattr(soak, "paths", SimpleNamespace(KIT=tmp_path, LAB_FOLDERS=LABS))
    monkeypatch.setattr(soak, "KEPT", tmp_path / "out" / "soak")
    return tmp_path / "out" / "soak"


def rounds_of(monkeypatch: pytest.MonkeyPatch, *exhibits: Exhibit) -> None:
    monkeypatch.setattr(soak, "_rounds", lambda: itertools.repeat(list(exhibits)))


def test_a_clean_run(load, kept, monkeypatch, capsys):
    rounds_of(monkeypatch, RIGHT)
    assert soak.soak(1, jobs=1) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.rstrip().endswith(" s")]
    assert [row[-5:-2] for row in rows[:3]] == [["1", "1", "0"]] * 3  # rounds, gradings, wrong
    assert [row[0] for row in rows[:3]] == ["every", "memory", "all"]
    assert f"{len(CORES)} cores, 1 gradings at once" in out
    assert running(load) == {}
    assert not kept.exists()


def test_a_tenth_of_the_rounds_on_one_core_and_with_the_memory_full(kept, monkeypatch, capsys):
    asked: list[tuple[int, int]] = []

    def count(console: object, tally: soak.Tally, jobs: int) -> None:
        asked.append((tally.rounds, jobs))

    monkeypatch.setattr(soak, "_running", lambda *_: nullcontext())
    monkeypatch.setattr(soak, "_grade_rounds", count)
    assert soak.soak(200, jobs=None) == 0
    assert asked == [(200, len(CORES)), (20, len(CORES)), (20, len(CORES))]


def test_a_wrong_verdict_stops_it_and_is_kept(load, kept, monkeypatch, capsys):
    kept.mkdir(parents=True)
    (kept / "of-another-run").touch()
    rounds_of(monkeypatch, WRONG)
    assert soak.soak(1000, jobs=2) == 1
    assert {one.name for one in kept.iterdir()} == {"server.c", "record.json"}
    assert (kept / "server.c").read_text() == ENDS
    record = Result.from_json((kept / "record.json").read_text())
    assert WRONG.wrong_about(record)
    out = capsys.readouterr().out
    for words in (
        "ends (Is no server.)",
        "it ended at once: exit status 0",
        "A wrong verdict, on lab1 ends:",
        "  1.3: expected passed, was failed (ends-at-once)",
        "out/soak",
    ):
        assert words in out
    assert "memory full" not in out  # that it was not tried
    (row,) = [line.split() for line in out.splitlines() if line.startswith("every core busy")]
    assert row[3:6] == ["1000", "1", "1"]
    assert running(load) == {}


def test_one_that_passes_but_must_not_is_wrong_too(load, kept, monkeypatch, capsys):
    rounds_of(monkeypatch, Exhibit("lab1", "x", "w", RIGHT.source, {"1.3": ""}, frozenset()))
    assert soak.soak(1, jobs=1) == 1
    assert "  1.3: expected failed, was passed" in capsys.readouterr().out


# Load


def programs(mark: str) -> list[int]:
    """The load programs with that mark, by pid."""
    return list(running(mark))


def condition(name: str) -> AbstractContextManager[object]:
    if name == "memory":
        return soak._memory_full()
    if name == "one core":
        return soak._on_one_core(CORES)
    return soak._busy(len(CORES))


@pytest.mark.parametrize("name", ["busy", "memory", "one core"])
def test_the_load_works_and_is_gone_when_a_grading_fails(load, name):
    how_many = len(CORES) if name == "busy" else 1

    def at_work() -> list[int]:
        return [pid for pid in programs(load) if procfs.cpu_seconds(pid) > 0.05]

    def grade() -> None:
        pids = wait_until(lambda: at_work() if len(at_work()) == how_many else [], "load")
        cores = {CORES[0]} if name == "one core" else set(CORES)
        assert all(os.sched_getaffinity(pid) == cores for pid in [0, *pids])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), condition(name):
        grade()
    assert running(load) == {}
    assert os.sched_getaffinity(0) == set(CORES)


def test_the_memory_is_taken_and_the_eater_goes_first(load, monkeypatch):
    monkeypatch.setattr(soak, "_free_memory", lambda: soak.SPARED + 32 * MEBIBYTE)

    def resident(pid: int) -> int:
        """Bytes (proc(5), statm)."""
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    with soak._memory_full():
        (pid,) = wait_until(lambda: programs(load), "the eater")
        wait_until(lambda: resident(pid) > 32 * MEBIBYTE, "it to have eaten")
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"


def test_load_that_ended_by_itself_is_told():
    has_ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    with pytest.raises(GraderError, match="nothing is proven"), soak._running([["sys.exit()"]]):
        wait_until(lambda: os.waitid(os.P_ALL, 0, has_ended), "its end")


def test_with_little_memory_none_is_taken(monkeypatch):
    monkeypatch.setattr(soak, "_free_memory", lambda: soak.SPARED)
    monkeypatch.setattr(soak, "_running", lambda *_: pytest.fail("it took some"))
    with soak._memory_full():
        pass


def test_the_free_memory_is_some():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert MEBIBYTE < soak._free_memory() < total


# Interrupting


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted(number):
    process = subprocess.Popen(
        [*COMMAND, "soak", "--runs", "1000"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    below = procfs.Family(process.pid)

    def under_way() -> set[int]:
        """All below it, once there are load programs and gradings."""
        members = {one.pid for one in below.members()}
        load = members & set(programs(soak.BUSY))
        return members if load and at_work(process.pid) else set()

    try:
        members = wait_until(under_way, "load and gradings")
        gradings = at_work(process.pid)
    finally:
        process.send_signal(number)
        _, err = process.communicate()
    if number == signal.SIGKILL:  # all goes by itself
        wait_until(lambda: not any(map(procfs.process, members)), "nothing to be left")
        return
    assert (process.returncode, b"Traceback" in err) == (130, False)
    assert [pid for pid in members if procfs.process(pid)] == []
    for pid in gradings:
        assert running(mark_of(pid)) == {}
        assert run_folders(pid) == []


@pytest.mark.parametrize(
    "words", [("--runs", "0"), ("--jobs", "0"), ("--runs", "-1")], ids=" ".join
)
def test_usage(words):
    ran = forklab("soak", *words)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert words[1] in ran.stderr
