"""Every wrong server of the gallery gets exactly the verdict that it must get."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from forklab import paths
from forklab.gallery import Mutant, mutants_of
from forklab.result import Result


def grade(lab: str, path: Path) -> Result:
    """The record of one grading, by the command that everybody uses."""
    command = [sys.executable, "-P", "-m", "forklab", "grade", lab, str(path), "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout, done.stderr
    return Result.from_json(done.stdout)


GALLERY = [
    mutant
    for lab in paths.LAB_FOLDERS
    if (paths.HARNESS / "mutants" / f"{lab}.toml").exists()
    for mutant in mutants_of(lab)
]


@pytest.mark.parametrize("mutant", GALLERY, ids=lambda mutant: f"{mutant.lab}-{mutant.name}")
def test_mutant_gets_its_verdict(mutant: Mutant, tmp_path: Path) -> None:
    source = tmp_path / "server.c"
    source.write_text(mutant.source)
    assert mutant.wrong_about(grade(mutant.lab, source)) == []
