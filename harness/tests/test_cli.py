"""The command: exit statuses, the record, how it is interrupted, and the student's own files."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from forklab import bench, cli, paths
from forklab.cli import ALL_PASSED, INTERRUPTED, NO_BUILD, NO_JUDGEMENT, SOME_FAILED, USAGE
from forklab.result import SCHEMA, Result
from forklab.rubric import find, of_lab
from tests.support import (
    COMMAND,
    DEADLINE,
    environment,
    forklab,
    graded,
    mark_of,
    run_folders,
    running,
    wait_until,
)

BROKEN = "int main(void) {\n"
ENDS = "int main(void) { return 0; }\n"
LINGERS = "#include <unistd.h>\nint main(void) { sleep(1); for (;;) pause(); }\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "server.c"


# Exit statuses


def test_statuses_are_those_of_the_manual():
    assert (
        *(0, 1, 2, 3, 4),
        130,
    ) == (ALL_PASSED, SOME_FAILED, USAGE, NO_BUILD, NO_JUDGEMENT, INTERRUPTED)


def test_all_passed():
    assert graded("lab2", paths.solution_of("lab2"))[1].returncode == ALL_PASSED


def test_some_failed(source):
    source.write_text(ENDS)
    assert forklab("grade", "lab1", source).returncode == SOME_FAILED


def test_does_not_build(source):
    source.write_text(BROKEN)
    ran = forklab("grade", "lab1", source)
    assert ran.returncode == NO_BUILD
    assert "server.c:1" in ran.stdout


def test_options_may_come_before_the_path(source):
    source.write_text(BROKEN)
    assert forklab("grade", "lab1", "--tier", "best", source).returncode == NO_BUILD


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("grade",),
        ("grade", "lab9"),
        ("grade", "lab1", "no/such/file"),
        ("grade", "lab1", "--brief", "one.c", "two.c"),
        ("hint", "9.9"),
        ("frobnicate",),
        ("reset", "lab0"),
        ("watch", "lab1", "no/such/file"),
        ("bench", "--runs", "0"),
        ("bench", "--runs", "many"),
    ],
    ids=" ".join,
)
def test_usage(words):
    ran = forklab(*words)
    assert (ran.returncode, ran.stdout) == (USAGE, "")
    assert ran.stderr
    assert "Traceback" not in ran.stderr


def test_no_judgement_without_a_compiler(source, tmp_path):
    source.write_text(ENDS)
    record = tmp_path / "record.json"
    ran = forklab("grade", "lab1", source, "--json", record, env={"CC": "no-such-compiler"})
    assert ran.returncode == NO_JUDGEMENT
    assert "no-such-compiler" in ran.stdout + ran.stderr
    if record.exists():
        assert json.loads(record.read_text())["score"] is None


def test_a_lab_by_its_number(source):
    source.write_text(BROKEN)
    assert forklab("grade", "1", source).returncode == NO_BUILD


# The record


def test_json_on_stdout_and_nothing_else(source):
    source.write_text(ENDS)
    ran = forklab("grade", "lab1", source, "--json", "-")
    assert (ran.returncode, ran.stderr) == (SOME_FAILED, "")
    assert json.loads(ran.stdout)["schema"] == SCHEMA
    result = Result.from_json(ran.stdout)
    assert (result.lab, result.submission, result.score) == ("lab1", str(source), 5)


def test_json_on_stdout_of_what_does_not_build(source):
    source.write_text(BROKEN)
    ran = forklab("grade", "lab1", source, "--json", "-")
    assert ran.returncode == NO_BUILD
    assert Result.from_json(ran.stdout).verdict == "does-not-build"


def test_json_in_a_file_beside_the_report(source, tmp_path):
    source.write_text(BROKEN)
    ran = forklab("grade", "lab1", source, "--json", "here.json", cwd=tmp_path)
    assert "Score: 0 of 100" in ran.stdout
    assert Result.from_json((tmp_path / "here.json").read_text()).score == 0


def test_json_for_a_folder_that_is_not_there(source, tmp_path):
    source.write_text(BROKEN)
    ran = forklab("grade", "lab1", source, "--json", tmp_path / "no" / "record.json")
    assert (ran.returncode, ran.stdout) == (USAGE, "")
    assert "no/record.json" in ran.stderr


def test_json_where_nobody_can_write(source):
    source.write_text(BROKEN)
    ran = forklab("grade", "lab1", source, "--json", "/proc/record.json")
    assert ran.returncode in (USAGE, NO_JUDGEMENT)
    assert "/proc" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_brief(source):
    source.write_text(ENDS)
    ran = forklab("grade", "lab1", source, "--brief")
    assert len(ran.stdout.splitlines()) == 1
    assert "5 of 100" in ran.stdout


def test_a_reader_that_leaves(source):
    source.write_text(ENDS)
    process = subprocess.Popen(
        [*COMMAND, "grade", "lab1", source],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    process.stdout.close()
    _, err = process.communicate()
    assert b"Traceback" not in err
    assert running(mark_of(process.pid)) == {}
    assert run_folders(process.pid) == []


# Interrupting


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(source, number):
    source.write_text(LINGERS)
    process = subprocess.Popen(
        [*COMMAND, "grade", "lab1", source],
        cwd=paths.KIT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    mark = mark_of(process.pid)
    wait_until(lambda: any("/out/server" in text for text in running(mark).values()), "a server")
    process.send_signal(number)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == INTERRUPTED
    assert b"stopped before the end" in err
    assert b"Traceback" not in err
    assert running(mark) == {}
    assert run_folders(process.pid) == []


# The student's own files, in a copy of the kit


def progress(kit: Path) -> dict[str, dict[str, int]]:
    loaded = json.loads((kit / ".forklab" / "progress.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_hints_come_one_at_a_time(kit):
    hints = find("4.7").hints
    for number in (1, 2, 3, 3):
        ran = forklab("hint", "4.7", kit=kit)
        text = " ".join(ran.stdout.split())
        assert ran.returncode == ALL_PASSED
        shown = [" ".join(hint.split()) in text for hint in hints]
        assert shown == [number == 1, number == 2, number == 3]
    assert " ".join(find("1.1").hints[0].split()) in " ".join(
        forklab("hint", "1.1", kit=kit).stdout.split()
    )
    assert progress(kit)["hints"] == {"4.7": 3, "1.1": 1}


def test_status_and_the_best_score(kit):
    before = forklab("status", kit=kit)
    assert before.returncode == ALL_PASSED
    assert len(before.stdout.splitlines()) == 4
    assert "of 100" not in before.stdout
    work = kit / "labs" / "lab1-iterative" / "server.c"
    work.write_text(ENDS)
    assert forklab("grade", "lab1", kit=kit).returncode == SOME_FAILED
    work.write_text(BROKEN)
    assert forklab("grade", "lab1", "labs/lab1-iterative", kit=kit).returncode == NO_BUILD
    assert progress(kit)["best"] == {"lab1": 5}
    assert "5 of 100" in forklab("status", kit=kit).stdout.splitlines()[0]


def test_another_s_program_is_no_progress(kit, source):
    source.write_text(ENDS)
    forklab("grade", "lab1", source, kit=kit)
    assert not (kit / ".forklab").exists()


def test_a_broken_progress_file_is_no_obstacle(kit):
    (kit / ".forklab").mkdir()
    (kit / ".forklab" / "progress.json").write_text("{ not JSON")
    assert forklab("status", kit=kit).returncode == ALL_PASSED
    assert forklab("hint", "1.1", kit=kit).returncode == ALL_PASSED
    assert progress(kit)["hints"] == {"1.1": 1}


@pytest.fixture
def work(kit: Path) -> Path:
    file = kit / "labs" / "lab3-sigign" / "server.c"
    file.write_text("/* mine */\n")
    return file


def backups(work: Path) -> list[Path]:
    return [one for one in work.parent.iterdir() if one.name not in ("server.c", "README.md")]


@pytest.mark.parametrize("answer", ["y\n", "Yes\n"])
def test_reset_asks_and_keeps_a_backup(kit, work, answer):
    ran = forklab("reset", "lab3", kit=kit, stdin=answer)
    assert ran.returncode == ALL_PASSED
    assert work.read_bytes() == paths.starter_of("lab3").read_bytes()
    (backup,) = backups(work)
    assert backup.name in ran.stdout
    assert backup.read_text() == "/* mine */\n"


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "what?\n"])
def test_reset_without_a_yes_changes_nothing(kit, work, answer):
    ran = forklab("reset", "lab3", kit=kit, stdin=answer)
    assert ran.returncode == ALL_PASSED
    assert work.read_text() == "/* mine */\n"
    assert backups(work) == []
    assert "Nothing was changed" in ran.stdout


def test_reset_with_yes(kit, work):
    assert forklab("reset", "3", "--yes", kit=kit).returncode == ALL_PASSED
    assert work.read_bytes() == paths.starter_of("lab3").read_bytes()
    assert len(backups(work)) == 1
    assert forklab("reset", "3", kit=kit).returncode == ALL_PASSED  # nothing to ask any more
    assert len(backups(work)) == 1


def test_two_resets_in_a_row_keep_two_backups(kit, work):
    forklab("reset", "3", "--yes", kit=kit)
    work.write_text("/* mine, too */\n")
    forklab("reset", "3", "--yes", kit=kit)
    assert {one.read_text() for one in backups(work)} == {"/* mine */\n", "/* mine, too */\n"}


def test_reset_of_a_file_that_is_gone(kit, work):
    work.unlink()
    assert forklab("reset", "3", kit=kit).returncode == ALL_PASSED
    assert work.read_bytes() == paths.starter_of("lab3").read_bytes()
    assert backups(work) == []


def test_no_solutions(kit):
    shutil.rmtree(kit / "solutions")
    ran = forklab("solutions", kit=kit)
    assert ran.returncode == USAGE
    assert "no solutions" in ran.stderr


class Watching:
    """`forklab watch` and what it says."""

    def __init__(self, *words: str | Path) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "watch", *words],
            cwd=paths.KIT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.said = b""

    def says(self, text: bytes) -> bytes:
        """Waits for that text. All that was said up to it, since the last one."""
        assert self.process.stdout
        end = time.monotonic() + DEADLINE
        while text not in self.said:
            assert time.monotonic() < end, self.said
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                data = os.read(self.process.stdout.fileno(), 4096)
                assert data, (self.said, self.process.communicate())
                self.said += data
        before, _, self.said = self.said.partition(text)
        return before + text


def test_watch_grades_on_save_and_shows_what_changed(source):
    source.write_text(ENDS)
    watching = Watching("lab1", source)
    try:
        watching.says(b"5 of 100")
        watching.says(b"1.3 listens on its port:")
        source.write_text(BROKEN)
        watching.says(b"0 of 100 (-5)")
        watching.says(b"1.1 builds without warnings:")
        new = source.with_suffix(".new")  # as editors save: another file takes its place
        new.write_bytes(paths.solution_of("lab1").read_bytes())
        new.replace(source)
        watching.says(b"100 of 100 (+100)")
        watching.says(b"1.3 listens on its port: now passed")
        watching.says(b"1.14 no memory errors: now passed\n")
        os.utime(source)
        watching.says(b"nothing changed")
    finally:
        watching.process.send_signal(signal.SIGINT)
        _, err = watching.process.communicate(timeout=DEADLINE)
    assert watching.process.returncode in (ALL_PASSED, INTERRUPTED)
    assert b"Traceback" not in err


def test_bench_shows_where_the_time_goes(monkeypatch, capfd):
    monkeypatch.setattr(paths, "LAB_FOLDERS", {"lab1": paths.LAB_FOLDERS["lab1"]})
    assert bench.profile() == 0
    out, err = capfd.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].startswith("lab1: ")
    assert lines[0].endswith(" ms in all")
    parts = {line.rpartition("  ")[0].rstrip(" 0123456789.") for line in lines}
    for check in of_lab("lab1"):
        assert f"{check.id} {check.name}" in parts
    assert sum(line.startswith(("before the first", "between checks")) for line in lines) == 2
    functions = out.partition("FUNCTION, WITH WHAT IT CALLS")[2].splitlines()[1:]
    assert len([line for line in functions if line]) == 20
    assert any(line.startswith("server.Server") or "server.wait_for" in line for line in functions)


def test_main_returns_its_status(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    assert "grade" in capsys.readouterr().out
