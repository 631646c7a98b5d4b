"""The copies of the kit to give away: what is in them, what isn't, and that they work.

How the zip for Gradescope fares in a container like the platform's is another matter, of minutes:
harness/tests/gradescope-dry-run.sh.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from forklab import paths
from forklab.bundles import make, there
from forklab.errors import GraderError, UsageError
from tests.support import PACKAGES, copy_kit, forklab
from tests.test_makefile import ENV

ALL_LABS = list(paths.LAB_FOLDERS)
OWN_CHECKS = paths.KIT / "docs" / "examples" / "own-checks"
# Folders of the kit that nobody but the instructor has.
AT_HOME = ("solutions", "mutants", "accepted", "hostile", "tests", "docs", "out", ".git", ".venv")


def contents(archive: bytes) -> dict[str, bytes]:
    """The files of a zip or a tarball."""
    if zipfile.is_zipfile(io.BytesIO(archive)):
        with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
            return {name: zipped.read(name) for name in zipped.namelist()}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {entry.name: tar.extractfile(entry) for entry in tar if entry.isfile()}
        return {name: file.read() for name, file in files.items() if file}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``bundle(kind, labs)`` is what was made, once for all tests."""

    @cache
    def made(kind: str, labs: str) -> Path:
        target = tmp_path_factory.mktemp("bundles") / kind
        make.bundle(kind, labs, target)
        return target

    return made


# What is in them ----------------------------------------------------------------------------------


@cache
def wrong_and_right() -> dict[bytes, str]:
    """The solutions and the programs of the galleries, by content; starters are none of these."""
    folders = [
        paths.SOLUTIONS,
        *(paths.HARNESS / one for one in ("mutants", "accepted", "hostile")),
    ]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return {file.read_bytes(): str(file) for file in files if file.stat().st_size}


def solved_steps(lab: str) -> list[bytes]:
    """What the reference solution has between the marks of each step."""
    text = paths.solution_of(lab).read_bytes()
    marks = r"/\* step (\d\w):.*?\*/\n(.*?)\n[ \t]*/\* end \1 \*/"
    return [step[2] for step in re.finditer(marks.encode(), text, re.S)]


def look_through(files: dict[str, bytes], labs: list[str]) -> None:
    """Fails when something is in there that should have stayed at home."""
    for name, content in files.items():
        assert not set(Path(name).parts) & set(AT_HOME), name
        assert content not in wrong_and_right(), (name, wrong_and_right()[content])
    found = {one for name in files if (one := re.search(r"labs/(lab\d)-\w+/server\.c$", name))}
    assert sorted(one[1] for one in found) == labs
    checks = {one[1] for name in files if (one := re.search(r"checks/test_(lab\d)\.py$", name))}
    assert sorted(checks) == labs
    for lab in ALL_LABS:
        steps = solved_steps(lab)
        assert steps
        # Later labs start from this lab's solution. labs/common is what lab 1 is about.
        later = "|".join(one for one in ALL_LABS if one > lab) or "none"
        given = re.compile(rf"/({later})-\w+(\.c|/server\.c)$|labs/common/")
        searched = {name: one for name, one in files.items() if not given.search(name)}
        for step in steps:
            assert [name for name, content in searched.items() if step in content] == [], lab


@pytest.mark.parametrize(
    ("labs", "holds"), [("", ALL_LABS), ("1-3", ALL_LABS[:3]), ("2", ["lab2"]), ("4,1", None)]
)
def test_a_handout_holds_nothing_but_its_labs(bundle, labs, holds):
    files = contents(bundle("handout", labs).read_bytes())
    assert {name.split("/")[0] for name in files} == {"forklab"}
    look_through(files, holds or ["lab1", "lab4"])
    assert {"forklab/Makefile", "forklab/README.md", "forklab/LICENSE"} <= files.keys()


@pytest.mark.parametrize("lab", ALL_LABS)
def test_autograders_hold_nothing_but_their_lab(bundle, lab):
    files = contents(bundle("gradescope", lab).read_bytes())
    assert {"setup.sh", "run_autograder"} <= files.keys()
    look_through(files, [lab])
    folder = bundle("classroom50", "")
    look_through(contents((folder / "autograders" / lab / "kit.tar.gz").read_bytes()), [lab])
    template = folder / "templates" / lab
    files = {
        str(f.relative_to(template)): f.read_bytes() for f in template.rglob("*") if f.is_file()
    }
    look_through(files, [lab])
    assert f"run: make {lab}\n".encode() in files[".github/workflows/report.yaml"]
    assert (folder / "runtime" / f"{lab}.json").is_file()


def test_the_same_kit_gives_the_same_bytes(bundle, tmp_path):
    """In another folder, with other times, an editor's files, and somebody's work in labs/."""
    kit = copy_kit(tmp_path)
    for name in "Makefile", "README.md", "LICENSE", ".gitignore":
        shutil.copy(paths.KIT / name, kit)
    for file in kit.rglob("*"):
        os.utime(file, (1e9, 1e9))
    (kit / "labs" / "lab3-sigign" / "server.c").write_bytes(paths.solution_of("lab3").read_bytes())
    for junk in "forklab/.swap", "forklab/cli.py~", "forklab/cli.py.orig", "keeper/keeper":
        (kit / "harness" / junk).write_text("junk")
    for kind in "handout", "gradescope":
        ran = forklab("bundle", kind, "lab3", "--out", tmp_path / kind, kit=kit)
        assert ran.stdout.startswith(f"{tmp_path / kind}: lab3. "), ran.stderr
        assert (tmp_path / kind).read_bytes() == bundle(kind, "lab3").read_bytes()


def test_own_checks_are_in_an_autograder_and_not_in_a_handout(tmp_path):
    weights = tmp_path / "points.toml"
    weights.write_text('[lab3]\n"3.7" = 20\n[lab4]\n"4.7" = 30\n')
    for lab in "lab3", "lab4":
        make.bundle("gradescope", lab, tmp_path / lab, OWN_CHECKS, weights)
        files = contents((tmp_path / lab).read_bytes())
        own = {name for name in files if name.startswith("kit/extra-checks/")}
        assert bool(own) == (lab == "lab3")  # it has checks of lab 3 alone
        assert f"[{lab}]" in files["kit/weights.toml"].decode()
        assert files["kit/weights.toml"].count(b"[") == 1
    with pytest.raises(UsageError, match="would not be hidden"):
        make.bundle("handout", "3", tmp_path / "handout", OWN_CHECKS)
    assert not (tmp_path / "handout").exists()


def test_own_checks_that_no_bundle_can_hold(tmp_path):
    text = (OWN_CHECKS / "test_log.py").read_text()
    text += (
        text.partition("\n\n\n")[2]
        .replace("3.20", "4.20")
        .replace('"3.3"', '"4.3"')
        .replace("def test_", "def test_also_")
    )
    (tmp_path / "test_log.py").write_text(text)
    shutil.copy(OWN_CHECKS / "diagnoses.toml", tmp_path)
    with pytest.raises(UsageError, match="move the checks of lab4 to another file"):
        make.bundle("gradescope", "3", tmp_path / "zip", tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        make.bundle("gradescope", "3", tmp_path / "zip", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "labs"),
    [("3", ["lab3"]), ("lab3", ["lab3"]), ("1-3", ALL_LABS[:3]), ("4, 2", ["lab2", "lab4"])],
)
def test_labs(text, labs):
    assert make.labs_in(text) == labs


@pytest.mark.parametrize("text", ["0", "5", "1-5", "3-1", "one", "1;2", "-", ","])
def test_no_labs(text):
    with pytest.raises(UsageError, match="names no labs; the labs are 1, 2, 3, 4"):
        make.labs_in(text)


def test_says_why_it_makes_none(tmp_path):
    with pytest.raises(UsageError, match="one lab"):
        make.bundle("gradescope", "1-2", tmp_path / "zip")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="holds something else"):
        make.bundle("classroom50", "3", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()
    with pytest.raises(UsageError, match=r"cannot write .*: Is a directory"):
        make.bundle("handout", "3", tmp_path / "mine")
    assert len(list(tmp_path.iterdir())) == 1
    make.bundle("classroom50", "1-2", tmp_path / "c50")
    make.bundle("classroom50", "3", tmp_path / "c50")  # over its own
    assert [one.name for one in (tmp_path / "c50" / "templates").iterdir()] == ["lab3"]


# A student's copy ---------------------------------------------------------------------------------


def set_up(kit: Path) -> None:
    """Makes .venv as harness/bootstrap.sh would, with the packages that this test has."""
    python = kit / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    base = getattr(sys, "_base_executable", sys.executable)
    path = f"{kit / 'harness'}:{PACKAGES}"
    python.write_text(f"#!/bin/sh\nPYTHONPATH='{path}' exec '{base}' \"$@\"\n")
    python.chmod(0o755)
    (kit / ".venv" / ".forklab-stamp").write_text(f"{kit}\n")


@pytest.fixture(scope="module")
def students(bundle, tmp_path_factory) -> Callable[[str], Path]:
    """``students(labs)`` is the unpacked handout, set up."""

    @cache
    def unpacked(labs: str) -> Path:
        folder: Path = tmp_path_factory.mktemp("my labs")
        subprocess.run(["tar", "-xzf", bundle("handout", labs)], cwd=folder, check=True)
        set_up(folder / "forklab")
        return folder / "forklab"

    return unpacked


def run_make(kit: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=kit, env=ENV, capture_output=True, text=True)


def test_help_of_a_handout_speaks_of_what_is_there(students):
    ran = run_make(students("1-3"))
    assert ran.returncode == 0
    assert "Start with: make lab1" in ran.stdout
    assert "lab1 lab2 lab3 " in ran.stdout
    assert not re.search(r"lab4|LAB=4|CHECK=4|instructor|maintainer", ran.stdout)
    listed = set(re.findall(r"^  ([a-z]\w*)", ran.stdout, re.M))
    assert {"lab1", "hint", "status", "watch", "reset", "run", "client", "clean"} <= listed
    assert not listed & {"solutions", "mutants", "test", "grade", "handout", "gradescope", "lint"}
    assert "Start with: make lab2" in run_make(students("2")).stdout


def test_a_handout_grades_at_once(students):
    kit = students("1-3")
    ran = run_make(kit, "lab1")
    assert ran.returncode == 2, ran.stderr  # make's status for a recipe that failed
    assert "make hint CHECK=1." in ran.stdout
    assert re.search(r"^Score: \d+ of 100", ran.stdout, re.M), ran.stdout
    ran = run_make(kit, "lab3", f"SUBMISSION={paths.solution_of('lab3')}")
    assert ran.returncode == 0, ran.stdout
    assert "100 of 100" in ran.stdout
    assert "make lab4" not in ran.stdout  # there is none in this copy


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("status", 0, r"^(.*make lab[123]\n){3}\Z"),
        ("hint CHECK=3.3", 0, "3.3 .*hint 1 of 3"),
        ("hint CHECK=4.7", 2, "there is no check '4.7'"),
        ("reset LAB=2", 0, "is the starter already"),
        ("run LAB=4 PORT=9190", 2, "There is no lab 4"),
        ("grade SUBMISSIONS=x", 2, "make grade is not in this copy of the kit"),
        ("lab4", 2, "make lab4 is not in this copy of the kit"),
        ("handout", 2, "make handout is not in this copy of the kit"),
        ("gradescope", 2, "make gradescope is not in this copy of the kit"),
        ("test", 2, "make test is not in this copy of the kit"),
    ],
)
def test_other_commands_of_a_handout(students, words, status, said):
    ran = run_make(students("1-3"), *words.split())
    assert ran.returncode == status, ran.stderr
    assert re.search(said, ran.stdout + ran.stderr), ran.stdout + ran.stderr


def test_what_a_readme_of_a_handout_names_is_there(students):
    for labs in "1-3", "2":
        kit = students(labs)
        for page in kit.glob("**/*.md"):
            text = page.read_text()
            for link in re.findall(r"\]\(([^)#:]+)", text):
                assert (page.parent / link).exists(), (page, link)
            for path in re.findall(r"\blabs/[\w./-]*\w", text):
                assert (kit / path).exists(), (page, path)
        targets = set(re.findall(r"`make (\w+)[^`]*`", (kit / "README.md").read_text()))
        assert len(targets) >= 5
        assert targets <= set(re.findall(r"^  (\w+)", run_make(kit).stdout, re.M))


def test_forklab_in_a_handout_says_what_it_lacks(students):
    kit = students("1-3")
    for words in ["bundle", "handout"], ["mutants"], ["bench"], ["solutions"]:
        command = [kit / ".venv" / "bin" / "python", "-P", "-m", "forklab", *words]
        ran = subprocess.run(command, cwd=kit, env=ENV, capture_output=True, text=True)
        assert ran.returncode == 2, ran.stderr
        assert "this copy of the kit" in ran.stderr


# On a platform ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ("server.c", "server.c"),
        ("lab3-sigign/server.c lab2-fork/server.c", "lab3-sigign/server.c"),
        ("labs/lab3-sigign/server.c harness/starters/lab3-sigign.c", "labs/lab3-sigign/server.c"),
        ("my/work/server.c my/client.c", "my/work/server.c"),
        ("echo server.c", "echo"),
        ("homework.c notes.txt", "homework.c"),
        (".git/server.c __MACOSX/server.c mine.c", "mine.c"),
    ],
)
def test_finds_the_server(tmp_path, files, found):
    names = files.split() if found != "echo" else ["a b/server.c"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert there.find(tmp_path, "lab3") == tmp_path / (names[0] if found == "echo" else found)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ("", "There is no server.c in what was submitted"),
        ("notes.txt .server.c", "There is no server.c in what was submitted"),
        ("a/server.c b/server.c", r"There are a/server\.c, b/server\.c\. Submit one"),
        ("a.c b.c", r"There are a\.c, b\.c\. Submit one"),
    ],
)
def test_finds_no_server(tmp_path, files, sentence):
    for name in files.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link.c").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match=sentence):
        there.find(tmp_path, "lab3")


def autograder(bundle: Callable[..., Path], folder: Path) -> Path:
    """Gradescope's /autograder, with nothing submitted yet."""
    (folder / "submission").mkdir(parents=True)
    with zipfile.ZipFile(bundle("gradescope", "3")) as zipped:
        zipped.extractall(folder / "source")
    set_up(folder / "source" / "kit")
    return folder


def run_autograder(folder: Path, **env: str) -> dict[str, object]:
    """What is in results.json afterwards."""
    ran = subprocess.run(
        ["sh", folder / "source" / "run_autograder"],
        env={**ENV, "AUTOGRADER": str(folder), **env},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [one.name for one in (folder / "results").iterdir()] == ["results.json"]
    results: dict[str, object] = json.loads((folder / "results" / "results.json").read_text())
    return results


def test_run_autograder(bundle, tmp_path):
    folder = autograder(bundle, tmp_path / "auto grader")
    results = run_autograder(folder)
    assert "There is no server.c" in str(results["output"])
    assert not {"score", "tests"} & results.keys()

    work = folder / "submission" / "my work" / "server.c"
    work.parent.mkdir()
    text = paths.solution_of("lab3").read_text()
    work.write_text(text.replace('log_client(&peer, "connected");', ""))
    shutil.copytree(OWN_CHECKS, folder / "source" / "kit" / "extra-checks")
    (folder / "source" / "kit" / "extra-checks" / "weights.toml").rename(
        folder / "source" / "kit" / "weights.toml"
    )
    results = run_autograder(folder)
    assert results["score"] == 100, results
    assert "Its log doesn't say who connected" in json.dumps(results)

    work.write_text("int main(void) { return undeclared; }\n")
    results = run_autograder(folder)
    assert results["score"] == 0
    assert "undeclared" in json.dumps(results)

    (folder / "source" / "kit" / "harness" / "keeper" / "keeper.c").write_text("no C\n")
    shutil.rmtree(folder / "source" / "kit" / "build")
    results = run_autograder(folder)
    assert "score" not in results
    assert "could not judge" in str(results["output"])

    (folder / "source" / "kit" / ".venv" / "bin" / "python").unlink()
    results = run_autograder(folder)
    assert "score" not in results
    assert "before it could judge" in str(results["output"])


def test_a_grading_that_never_ends_is_no_zero(tmp_path, monkeypatch):
    (tmp_path / "server.c").touch()

    def hangs(command: list[str], **more: object) -> None:
        raise subprocess.TimeoutExpired(command, 480)

    monkeypatch.setattr(there, "_as_root", lambda: None)
    monkeypatch.setattr(subprocess, "run", hangs)
    assert there.main(["gradescope", "lab3", str(tmp_path), str(tmp_path / "results.json")]) == 4
    results = json.loads((tmp_path / "results.json").read_text())
    assert "more than 480 seconds" in results["output"]
    assert "score" not in results


def test_no_result_without_classroom50(tmp_path, monkeypatch):
    """A fault leaves no result.json: Classroom 50 makes one that says so."""

    def broken(lab: str, source: Path) -> None:
        raise GraderError("The grader could not judge.")

    monkeypatch.setattr(there, "grade", broken)
    (tmp_path / "server.c").touch()
    assert there.main(["classroom50", "lab3", str(tmp_path), str(tmp_path / "result.json")]) == 4
    assert not (tmp_path / "result.json").exists()


def test_root_never_runs_a_program_as_root(tmp_path, monkeypatch):
    """Whoever may become root grades on tier uid, or not at all."""
    asked: list[list[str]] = []

    def run(command: list[str], **more: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, b"said this\n")

    monkeypatch.setattr(subprocess, "run", run)
    for user, words in (0, "--tier uid"), (1000, "--tier uid"):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        with pytest.raises(GraderError, match="said this"):
            there.grade("lab3", tmp_path)
        assert words in " ".join(map(str, asked[-1]))
    assert asked[-1][:2] == ["sudo", "-n"]
    monkeypatch.setattr(there, "_as_root", lambda: None)
    with pytest.raises(GraderError):
        there.grade("lab3", tmp_path)
    assert "--tier best" in " ".join(map(str, asked[-1]))


def test_setup_on_an_old_image(bundle, tmp_path):
    """Ubuntu 20.04 has no Python 3.11, and no package of that name."""
    with zipfile.ZipFile(bundle("gradescope", "3")) as zipped:
        zipped.extractall(tmp_path / "source")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, script in {
        "apt-get": 'case "$*" in *python3.11*) exit 100 ;; esac',
        "python3": '[ "$1" != --version ] || { echo Python 3.8.10; exit 0; }; exit 1',
        "python3.11": "exit 127",
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    ran = subprocess.run(
        ["/bin/sh", tmp_path / "source" / "setup.sh"],
        env={"PATH": f"{tools}:/usr/bin:/bin", "AUTOGRADER": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert "This image has Python 3.8.10" in ran.stderr
    assert "choose Ubuntu 24.04 as base image" in ran.stderr


def test_classroom50s_autograder_passes_a_fault_on(bundle, tmp_path):
    """The kit can't be set up: no result.json, and a status that says so."""
    shutil.copy(bundle("classroom50", "") / "autograders" / "lab3" / "autograder.py", tmp_path)
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "bootstrap.sh").write_text("echo no index >&2; exit 4\n")
    with tarfile.open(tmp_path / "kit.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "harness", "harness")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    command = [sys.executable, tmp_path / "autograder.py"]
    ran = subprocess.run(command, cwd=checkout, env=ENV, capture_output=True, text=True)
    assert ran.returncode == 4
    assert "::error::no mark" in ran.stderr
    assert not list(checkout.iterdir())
