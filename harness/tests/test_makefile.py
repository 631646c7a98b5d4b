"""The Makefile's own part: its help, its sentences when something is not given, its C rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# MAKEFLAGS and the like come from `make test` itself: they are not what a student has.
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


def make(*words: str, cwd: Path = ROOT, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *words], cwd=cwd, env=ENV, input=stdin, capture_output=True, text=True, check=False
    )


def test_help_lists_every_target():
    text = make().stdout
    targets = set(re.findall(r"^\.PHONY: ([a-z].*)$", (ROOT / "Makefile").read_text(), re.M))
    listed = {word for line in text.splitlines() if line.startswith("  ") for word in line.split()}
    assert {name for line in targets for name in line.split()} <= listed
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("hint", "make hint needs CHECK. For example: make hint CHECK=4.7."),
        ("watch", "make watch needs LAB. For example: make watch LAB=3."),
        ("reset", "make reset needs LAB. For example: make reset LAB=3."),
        ("play", "make play needs LAB. For example: make play LAB=3."),
        ("trace", "make trace needs LAB. For example: make trace LAB=3."),
        ("play LAB=9", "There is no lab 9. The labs are: LAB=1 LAB=2 LAB=3 LAB=4"),
        ("run LAB=3", "make run needs PORT. For example: make run LAB=3 PORT=9190."),
        ("client", "make client needs PORT. For example: make client PORT=9190."),
        ("run LAB=9 PORT=9190", "There is no lab 9. The labs are: LAB=1 LAB=2 LAB=3 LAB=4"),
        ("run LAB=3 PORT=9190 SUBMISSION=/no/such", "There is no file or folder /no/such."),
    ],
)
def test_says_what_is_missing(words, sentence):
    ran = make(*words.split())
    assert ran.returncode == 2
    assert sentence in ran.stderr


@pytest.fixture
def kit(tmp_path):
    root = tmp_path / "a kit"
    shutil.copytree(ROOT / "labs", root / "labs")
    shutil.copy(ROOT / "Makefile", root)
    return root


@pytest.mark.parametrize("given", ["it's mine", "it's mine/server.c"])
def test_runs_a_submission_with_helpers_of_its_own(kit, given):
    """write_all and parse_port are in labs/common as well; the program's own are used."""
    server = kit / "it's mine" / "server.c"
    server.parent.mkdir()
    server.write_text(
        '#include "net.h"\n#include <stdio.h>\n'
        'int parse_port(const char *text) { return printf("own %s\\n", text); }\n'
        "int main(int argc, char **argv) { return argc != 2 || parse_port(argv[1]) < 0; }\n"
    )
    ran = make("run", "LAB=2", "PORT=9190", f"SUBMISSION={given}", cwd=kit)
    assert (ran.returncode, ran.stdout) == (0, "own 9190\n")
    assert not list(server.parent.glob("*.o"))


def test_builds_and_runs_the_client(kit):
    ran = make("client", "PORT=1", cwd=kit, stdin="exit\n")  # nobody listens on port 1
    assert ran.returncode == 2
    assert "warning" not in ran.stderr
    assert (kit / "build" / "client").exists()
    assert "Nobody listens" in ran.stderr
