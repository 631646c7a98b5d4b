"""Starters and references: one text outside of the steps, and the scores they are to get."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from forklab import paths
from forklab.build import WARNINGS
from forklab.result import FAILED, PASSED, SKIPPED
from tests.support import graded

COMPILERS = [one for one in ("cc", "clang") if shutil.which(one)]
LABS = list(paths.LAB_FOLDERS)
MARKER = re.compile(r"/\* (?:step (?P<step>\d[a-z]): .*|end (?P<end>\d[a-z])) \*/")

# What each starter gets as it is handed out: its score, and the first check to work on.
SCORES = {"lab1": (5, "1.3"), "lab2": (25, "2.5"), "lab3": (50, "3.6"), "lab4": (25, "4.5")}


def outside(text: str) -> list[str]:
    """The lines that belong to no step, and the markers, without their indentation."""
    kept, depth = [], 0
    for line in text.splitlines():
        marker = MARKER.fullmatch(line.strip())
        if marker and marker["end"]:
            depth -= 1
        if marker or depth == 0:
            kept.append(line.strip())
        if marker and marker["step"]:
            depth += 1
    assert depth == 0
    return kept


def steps(text: str) -> list[str]:
    markers = (MARKER.fullmatch(line.strip()) for line in text.splitlines())
    return [marker["step"] for marker in markers if marker and marker["step"]]


@pytest.mark.parametrize("lab", LABS)
def test_starter_and_reference_differ_in_the_steps_only(lab):
    starter, reference = (
        path.read_text(encoding="utf-8") for path in (paths.starter_of(lab), paths.solution_of(lab))
    )
    assert outside(starter) == outside(reference)
    assert starter != reference


@pytest.mark.parametrize("lab", LABS)
@pytest.mark.parametrize("of", [paths.starter_of, paths.solution_of], ids=["starter", "reference"])
def test_each_step_begins_and_ends_once(lab, of):
    opened: list[str] = []
    seen = []
    for line in of(lab).read_text(encoding="utf-8").splitlines():
        if "/* step " in line or "/* end " in line:
            marker = MARKER.fullmatch(line.strip())
            assert marker, f"not a marker on a line of its own: {line}"
            if marker["step"]:
                assert marker["step"][0] == lab[3]
                opened.append(marker["step"])
                seen.append(marker["step"])
            else:
                assert marker["end"] == opened.pop()
    assert opened == []
    letters = sorted(step[1] for step in seen)
    assert letters == [chr(ord("a") + i) for i in range(len(letters))]


@pytest.mark.parametrize("lab", LABS)
def test_each_step_has_a_task_and_a_place_in_the_handout(lab):
    starter = paths.starter_of(lab).read_text(encoding="utf-8")
    handout = paths.handout_of(lab).read_text(encoding="utf-8")
    for step in steps(starter):
        assert f"TODO {step}." in starter
        assert re.search(rf"\b{step}\b", handout), step
    assert "TODO" not in paths.solution_of(lab).read_text(encoding="utf-8")


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("lab", LABS)
@pytest.mark.parametrize("of", [paths.starter_of, paths.solution_of], ids=["starter", "reference"])
def test_compiles_without_warnings(lab, of, compiler, tmp_path):
    command = [compiler, *WARNINGS, "-O1", f"-I{paths.LABS / 'common'}", "-c", str(of(lab))]
    done = subprocess.run([*command, "-o", tmp_path / "o"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("lab", LABS)
def test_what_is_handed_out_is_the_starter(lab):
    """Unless somebody works on it here."""
    work = paths.work_of(lab)
    known = subprocess.run(
        ["git", "diff", "--quiet", "HEAD", "--", str(work)], cwd=paths.KIT, capture_output=True
    )
    if known.returncode != 0:
        pytest.skip("it has been changed here, or this is no repository")
    assert work.read_bytes() == paths.starter_of(lab).read_bytes()


@pytest.mark.parametrize("lab", LABS)
def test_the_reference_gets_a_hundred(lab):
    result, ran = graded(lab, paths.solution_of(lab))
    assert [(one.id, one.seen) for one in result.checks if one.status != PASSED] == []
    assert (result.score, result.max_score, ran.returncode) == (100, 100, 0)


@pytest.mark.parametrize("lab", LABS)
def test_the_starter_gets_its_score(lab):
    result, ran = graded(lab, paths.starter_of(lab))
    score, first = SCORES[lab]
    failed = [one for one in result.checks if one.status == FAILED]
    assert (result.score, failed[0].id, ran.returncode) == (score, first, 1)
    assert {one.status for one in result.checks} <= {PASSED, FAILED, SKIPPED}
    assert all(one.diagnosis for one in failed)


def test_folders():
    for lab, folder in paths.LAB_FOLDERS.items():
        assert paths.starter_of(lab) == Path(paths.STARTERS, f"{folder}.c")
        assert paths.work_of(lab).is_file()
        assert paths.handout_of(lab).is_file()
