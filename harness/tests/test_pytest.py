"""The checks are pytest tests: they run by themselves, with pytest's own options."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from forklab import paths
from forklab.result import FAILED, PASSED, Result
from tests.support import environment, mark_of, run_folders, running

REFERENCE = paths.solution_of("lab3")
STARTER = paths.starter_of("lab3")
EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


def run(*words: str | Path, lab: str = "lab3") -> subprocess.CompletedProcess[str]:
    """`pytest harness/checks/test_lab3.py ...`, nothing left of it afterwards."""
    command = [sys.executable, "-P", "-m", "pytest", f"harness/checks/test_{lab}.py", *words]
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=paths.KIT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate()
    assert running(mark_of(process.pid)) == {}
    assert run_folders(process.pid) == []
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_by_itself(tmp_path):
    file = tmp_path / "record.json"
    xml = tmp_path / "junit.xml"
    ran = run("--submission", REFERENCE, "-v", "--result", file, "--junitxml", xml)
    assert ran.returncode == EXIT_OK, ran.stdout
    assert "12 passed" in ran.stdout
    assert ran.stdout.index("test_builds_without_warnings PASSED") < ran.stdout.index(
        "test_no_memory_errors PASSED"
    )

    result = Result.from_json(file.read_text())
    assert (result.lab, result.score, result.submission) == ("lab3", 100, str(REFERENCE))
    assert [one.status for one in result.checks] == [PASSED] * 12

    cases = list(ElementTree.parse(xml).getroot().iter("testcase"))
    assert len(cases) == 12
    properties = [
        {one.get("name"): one.get("value") for one in case.iter("property")} for case in cases
    ]
    assert [one["check"] for one in properties] == [one.id for one in result.checks]
    assert sum(int(str(one["points"])) for one in properties) == 100


def test_one_check_by_its_number():
    ran = run("--submission", REFERENCE, "-k", "3.7")
    assert (ran.returncode, "1 passed, 11 deselected" in ran.stdout) == (EXIT_OK, True)


def test_one_check_by_its_name():
    ran = run("--submission", REFERENCE.parent, "-k", "never_a_zombie")
    assert (ran.returncode, "1 passed, 11 deselected" in ran.stdout) == (EXIT_OK, True)


def test_stops_at_the_first_failure(tmp_path):
    file = tmp_path / "record.json"
    ran = run("--submission", STARTER, "-x", "--result", file)
    assert ran.returncode == EXIT_FAILED
    assert "1 failed, 5 passed" in ran.stdout
    last = Result.from_json(file.read_text()).checks[-1]
    assert (last.id, last.status) == ("3.6", FAILED)


def test_a_failure_is_told_in_words_and_without_a_traceback():
    ran = run("--submission", STARTER, "-k", "3.6")
    assert ran.returncode == EXIT_FAILED
    assert "3.6 ignores SIGCHLD" in ran.stdout
    for word in ("expected:", "seen:", "sigchld-at-default"):
        assert word in ran.stdout
    for word in ("Traceback", "rubric.py", "CheckFailed("):
        assert word not in ran.stdout


def test_gates_skip(tmp_path):
    (tmp_path / "server.c").write_text("int main(void) { return 0; }\n")
    ran = run("--submission", tmp_path, "-rs", lab="lab1")
    assert ran.returncode == EXIT_FAILED
    assert "1 failed, 1 passed, 12 skipped" in ran.stdout
    assert "skipped: first fix 1.3" in ran.stdout


def test_a_submission_that_is_not_there():
    ran = run("--submission", "no/such/file")
    assert ran.returncode == EXIT_USAGE
    assert "no/such/file does not exist" in ran.stdout + ran.stderr


def test_a_program_that_does_not_build(tmp_path):
    (tmp_path / "server.c").write_text("int main(void) {\n")
    file = tmp_path / "record.json"
    ran = run("--submission", tmp_path, "--result", file)
    assert ran.returncode == EXIT_FAILED
    assert "1 failed, 11 skipped" in ran.stdout
    assert Result.from_json(file.read_text()).verdict == "does-not-build"


@pytest.mark.skipif(not importlib.util.find_spec("xdist"), reason="pytest-xdist is not installed")
def test_with_xdist(tmp_path):
    file = tmp_path / "record.json"
    ran = run("--submission", STARTER, "-n", "2", "--result", file)
    assert ran.returncode == EXIT_FAILED
    result = Result.from_json(file.read_text())
    assert (result.score, len(result.checks)) == (50, 12)


def test_markers_and_fixtures_are_documented():
    markers, fixtures = run("--markers").stdout, run("--fixtures").stdout
    assert "@pytest.mark.check(check): a line of the rubric" in markers
    for name in ("submission", "launch", "server", "clients", "habits", "show"):
        assert f"\n{name} " in fixtures or f"\n{name}\n" in fixtures
    assert "no docstring available" not in fixtures.partition("forklab")[2]


def test_options_are_documented():
    text = run("--help").stdout
    assert "--submission=PATH" in text
    assert "--result=FILE" in text
