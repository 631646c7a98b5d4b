"""`forklab mutants`: the matrix, what it says of a wrong verdict, what it writes, how it stops."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from forklab import gallery, paths, tiers
from forklab.cli import ALL_PASSED, INTERRUPTED, SOME_FAILED, USAGE
from forklab.errors import GraderError
from forklab.gallery import Exhibit, Graded
from forklab.mutants import mutants
from forklab.render import pages
from tests.support import (
    COMMAND,
    DEADLINE,
    at_work,
    environment,
    forklab,
    mark_of,
    run_folders,
    running,
    wait_until,
)

ENDS = "int main(void) { return 0; }\n"
LINGERS = "#include <unistd.h>\nint main(void) { sleep(1); for (;;) pause(); }\n"


def columns(lines: list[str], name: str) -> dict[str, str]:
    """What the matrix says of one server, by the number over it."""
    head = next(line for line in lines if line.startswith("lab1 "))
    row = next(line for line in lines if line.startswith(f"{name} "))
    first = head.index(" 1  2 ")
    cells = range(first, max(len(head), len(row)), 3)
    return {head[at : at + 3].strip(): row[at : at + 3].strip() for at in cells}


def test_a_server_that_is_caught():
    ran = forklab("mutants", "lab1", "--only", "loopback")
    assert (ran.returncode, ran.stderr) == (ALL_PASSED, "")
    marks = columns(ran.stdout.splitlines(), "loopback-only")
    assert marks.pop("3") == "✗"
    assert [*marks] == [str(number) for number in range(1, 15) if number != 3]
    assert {*marks.values()} == {"·"}
    assert "1 wrong server" in ran.stdout
    assert "0 right" in ran.stdout
    assert "every verdict is what it must be" in ran.stdout


def test_a_wrong_expectation_is_told(monkeypatch, capsys):
    verdict = {"1.2": "accepts-bad-ports", "1.3": "never-listens"}
    wrong = Exhibit("lab1", "ends", "Is no server.", ENDS, verdict, frozenset())
    monkeypatch.setattr(gallery, "whole", lambda labs: [wrong, gallery.reference("lab1")])
    assert mutants(["lab1"]) == 1
    out = capsys.readouterr().out
    marks = columns(out.splitlines(), "ends")
    assert (marks["1"], marks["2"], marks["3"]) == ("·", "[-]", "[✗]")
    assert {marks[str(number)] for number in range(4, 15)} == {"[-]"}
    assert {*columns(out.splitlines(), "reference").values()} == {"·"}
    assert "lab1 ends: Is no server." in out
    assert "  1.3: expected failed (never-listens), was failed (ends-at-once): " in out
    assert "  1.4: expected passed, was skipped" in out
    assert "lab1 reference:" not in out
    assert "1 verdict" in out


def test_a_mark_that_should_not_be_missing(monkeypatch, capsys):
    source = gallery.reference("lab1").source
    wrong = Exhibit("lab1", "right", "w", source, {"1.3": "never-listens"}, frozenset(["1.4"]))
    monkeypatch.setattr(gallery, "whole", lambda labs: [wrong])
    assert mutants(["lab1"]) == 1
    marks = columns(capsys.readouterr().out.splitlines(), "right")
    assert (marks["2"], marks["3"], marks["4"], marks["5"]) == ("·", "[·]", "[·]", "·")


def test_the_walls_are_the_strongest_or_those_that_are_named(monkeypatch):
    monkeypatch.setattr(gallery, "whole", lambda labs: [gallery.reference("lab1")])
    graded: list[Graded] = []

    def keep(those: list[Graded]) -> dict[Path, str]:
        graded.extend(those)
        return {}

    monkeypatch.setattr(pages, "of_gallery", keep)
    assert mutants(["lab1"], write=True) == 0
    strongest, *_, weakest = tiers.available() * 2
    assert mutants(["lab1"], tier=weakest, write=True) == 0
    assert [result.tier for _, result in graded] == [strongest, weakest]


def test_a_grading_without_a_record_stops_it(monkeypatch):
    lost = Exhibit("lab9", "lost", "w", ENDS, {}, frozenset())
    monkeypatch.setattr(gallery, "whole", lambda labs: [lost, lost])
    with pytest.raises(GraderError, match="lab9 lost"):
        mutants(["lab1"])


@pytest.mark.parametrize(
    "words",
    [("--jobs", "0"), ("--jobs", "two"), ("lab9",), ("lab1", "lab0"), ("--tier", "paper")],
    ids=" ".join,
)
def test_usage(words):
    ran = forklab("mutants", *words)
    assert (ran.returncode, ran.stdout) == (USAGE, "")
    assert words[-1] in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_name_that_nobody_has():
    """It must not look like a proof."""
    ran = forklab("mutants", "--only", "no-such-server")
    assert ran.returncode == USAGE
    assert "no-such-server" in ran.stderr


# In a copy of the kit with a gallery of its own

ENTRY = """
[{name}]
why = "Is no server."
file = "lab1/{name}.c"
fails = {{ "1.3" = "{code}" }}
skips = {skips}
"""


@pytest.fixture
def kit(kit: Path) -> Path:
    """Its gallery is empty."""
    for name in ("mutants", "accepted"):
        (kit / "harness" / name / "lab1").mkdir(parents=True)
        for lab in paths.LAB_FOLDERS:
            (kit / "harness" / name / f"{lab}.toml").touch()
    (kit / "docs").mkdir()
    return kit


def show(kit: Path, name: str, source: str, code: str) -> None:
    """Puts one more server into the kit's gallery."""
    folder = kit / "harness" / "mutants"
    (folder / "lab1" / f"{name}.c").write_text(source)
    skips = [f"1.{number}" for number in range(1, 15) if number not in (1, 3)]
    with (folder / "lab1.toml").open("a") as file:
        file.write(ENTRY.format(name=name, code=code, skips=skips))


def written(kit: Path) -> list[str]:
    return sorted(page.name for page in (kit / "docs").iterdir())


def test_the_pages_are_written_when_all_is_right(kit):
    show(kit, "ends", ENDS, "ends-at-once")
    some = forklab("mutants", "--only", "ends", kit=kit)
    assert (some.returncode, written(kit)) == (ALL_PASSED, [])
    one_lab = forklab("mutants", "lab1", kit=kit)
    assert (one_lab.returncode, written(kit)) == (ALL_PASSED, [])
    whole = forklab("mutants", kit=kit)
    assert (whole.returncode, written(kit)) == (ALL_PASSED, ["diagnoses.md", "gallery.md"])
    assert "docs/diagnoses.md is up to date" in whole.stdout
    assert "## ends-at-once" in (kit / "docs" / "diagnoses.md").read_text()
    assert "| `ends` | Is no server. |" in (kit / "docs" / "gallery.md").read_text()


def test_no_page_is_written_of_what_is_wrong(kit):
    show(kit, "ends", ENDS, "ends-at-once")
    show(kit, "another", ENDS, "never-listens")
    ran = forklab("mutants", kit=kit)
    assert (ran.returncode, written(kit)) == (SOME_FAILED, [])
    assert "up to date" not in ran.stdout


def to_all_of_a_terminal(pid: int) -> None:
    os.killpg(pid, signal.SIGINT)


def to_itself(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize("interrupt", [to_itself, to_all_of_a_terminal])
def test_interrupted(kit, interrupt):
    for name in ("one", "two", "three"):
        show(kit, name, LINGERS, "never-listens")
    process = subprocess.Popen(
        [*COMMAND, "mutants", "--jobs", "2"],
        cwd=kit,
        env=environment(kit),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )

    def two() -> list[int]:
        return pids if len(pids := at_work(process.pid)) == 2 else []

    workers = wait_until(two, "two servers")
    interrupt(process.pid)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == INTERRUPTED
    assert b"stopped before the end" in err
    assert b"Traceback" not in err
    for pid in workers:
        assert not Path(f"/proc/{pid}").exists()
        assert running(mark_of(pid)) == {}
        assert run_folders(pid, kit) == []
    assert running(str(kit)) == {}
    assert written(kit) == []
