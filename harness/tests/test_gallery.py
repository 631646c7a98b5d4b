"""Every server of the gallery gets exactly the verdict that it must get, and it holds enough."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forklab import gallery, paths
from forklab.errors import GraderError
from forklab.gallery import Exhibit
from forklab.graders import Graders, here
from forklab.render import pages
from forklab.render.pages import Sighting
from forklab.result import CheckResult, Result
from forklab.rubric import diagnoses, of_lab
from tests.support import at_work, mark_of, run_folders, running, wait_until

LABS = list(paths.LAB_FOLDERS)
WHOLE = gallery.whole()
SHOWN_BY = {code: servers[0] for code, servers in pages.by_code(WHOLE).items()}


@pytest.fixture(scope="module")
def graders() -> Iterator[Graders]:
    with here(jobs=1) as graders:
        yield graders


@pytest.fixture(scope="module")
def told() -> dict[str, Sighting]:
    """What docs/diagnoses.md says was seen; that it says it of every code, test_pages.py proves."""
    if not pages.DIAGNOSES.exists():
        return {}
    return pages.sightings_on(pages.DIAGNOSES.read_text(encoding="utf-8"))


# Always caught, but not always at the same point: how far it came is the machine's affair.
UNSTEADY = {
    "loses-part-of-a-stream",
    "loses-bytes-to-signals",
    "parent-closes-listener",
    "crashes",
}


@pytest.mark.parametrize("one", WHOLE, ids=lambda one: f"{one.lab}-{one.name}")
def test_gets_its_verdict(one: Exhibit, graders, told):
    # As in a batch and in `make mutants`, on the strongest tier; `make soak` takes the usual one.
    [(_, result)] = gallery.grade([one], graders, tier="best")
    assert one.wrong_about(result) == []
    seen = pages.sightings([(one, result)])
    on_the_page = {code for code in seen if SHOWN_BY[code] == one and code in told} - UNSTEADY
    assert {code: seen[code] for code in on_the_page} == {code: told[code] for code in on_the_page}


# What it holds


@pytest.mark.parametrize("lab", LABS)
def test_many_are_wrong_in_each_lab(lab):
    assert len(gallery.mutants(lab)) >= 15
    assert gallery.accepted(lab)


def test_many_in_all():
    assert sum(not one.is_right for one in WHOLE) >= 70
    assert sum(one.is_right for one in WHOLE) >= 12


def test_every_diagnosis_is_shown():
    shown = {code for one in WHOLE for code in one.fails.values()} - {""}
    assert set(diagnoses()) - shown == set()
    assert shown - set(diagnoses()) == set()


@pytest.mark.parametrize("lab", LABS)
def test_a_name_is_one_server_s(lab):
    names = [one.name for one in WHOLE if one.lab == lab]
    assert [name for name in names if names.count(name) > 1] == []


@pytest.mark.parametrize("lab", LABS)
def test_no_two_are_the_same_program(lab):
    sources = [gallery.reference(lab).source, *(one.source for one in WHOLE if one.lab == lab)]
    assert len(set(sources)) == len(sources)


@pytest.mark.parametrize("lab", LABS)
def test_verdicts_are_on_checks_that_there_are(lab):
    checks = {check.id for check in of_lab(lab)}
    for one in WHOLE:
        if one.lab == lab:
            assert {*one.fails, *one.skips} <= checks, one.name
            assert not set(one.fails) & one.skips, one.name


@pytest.mark.parametrize("folder", [gallery.MUTANTS, gallery.ACCEPTED], ids=lambda one: one.name)
def test_no_program_is_forgotten(folder):
    used = set()
    for lab in LABS:
        entries = tomllib.loads((folder / f"{lab}.toml").read_text(encoding="utf-8"))
        used |= {folder / entry["file"] for entry in entries.values() if "file" in entry}
    assert set(folder.rglob("*.c")) == used


# What an entry says

SHELVES = {"mutants": "MUTANTS", "accepted": "ACCEPTED"}
Shelve = Callable[[str, str], Path]


@pytest.fixture
def shelve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelve:
    """``shelve("mutants", toml)`` makes that text lab 1's list; the folder that it is in."""
    for name, variable in SHELVES.items():
        (tmp_path / name).mkdir()
        monkeypatch.setattr(gallery, variable, tmp_path / name)

    def write(name: str, text: str) -> Path:
        (tmp_path / name / "lab1.toml").write_text(text)
        return tmp_path / name

    return write


def test_an_entry_is_the_reference_with_a_change(shelve):
    change = 'find = "int main("\nreplace = "long main("\nfails = { "1.1" = "warnings" }'
    shelve("mutants", f'[one]\nwhy = "A reason."\n{change}\nskips = ["1.2"]')
    (one,) = gallery.mutants("lab1")
    assert (one.lab, one.name, one.why) == ("lab1", "one", "A reason.")
    assert one.source == gallery.reference("lab1").source.replace("int main(", "long main(")
    assert (dict(one.fails), set(one.skips)) == ({"1.1": "warnings"}, {"1.2"})
    assert not one.is_right


def test_changes_are_made_one_after_the_other_to_a_file(shelve):
    changes = "change = [{find = 'a', replace = 'b'}, {find = 'b', replace = 'cc'}]"
    folder = shelve("accepted", f'[two]\nwhy = "w"\nfile = "lab1/two.c"\n{changes}')
    (folder / "lab1").mkdir()
    (folder / "lab1" / "two.c").write_text("-a-")
    (one,) = gallery.accepted("lab1")
    assert one.source == "-cc-"
    assert one.is_right


@pytest.mark.parametrize("text", ["no such text", "return"])
def test_a_text_must_occur_once(shelve, text):
    shelve(
        "mutants", f'[the-one]\nwhy = "w"\nfind = "{text}"\nreplace = ""\nfails = {{"1.1" = ""}}'
    )
    times = gallery.reference("lab1").source.count(text)
    assert times != 1
    with pytest.raises(ValueError, match=f"lab1 the-one: '{text}' occurs {times} times"):
        gallery.mutants("lab1")


@pytest.mark.parametrize(("name", "fails"), [("mutants", ""), ("accepted", 'fails = {"1.1" = ""}')])
def test_each_belongs_on_its_shelf(shelve, name, fails):
    shelve(name, f'[the-one]\nwhy = "w"\nfind = "int main("\nreplace = "long main("\n{fails}')
    with pytest.raises(ValueError, match="lab1 the-one: wrong ones belong in mutants/"):
        getattr(gallery, name)("lab1")


# Verdicts

WRONG = Exhibit("lab1", "x", "w", "", {"1.1": "", "1.2": "never-listens"}, skips=frozenset(["1.3"]))
VERDICTS = {"1.1": "failed", "1.2": "failed (never-listens)", "1.3": "skipped", "1.4": "passed"}


def found(id: str, status: str, diagnosis: str | None = None) -> CheckResult:
    return CheckResult(id, "name", status, 0, 5, seen="what was seen", diagnosis=diagnosis)


def record(*checks: CheckResult) -> Result:
    return Result("lab1", "a.c", "", "", "", "", checks=list(checks))


AS_IT_MUST = (
    found("1.1", "failed"),
    found("1.2", "failed", "never-listens"),
    found("1.3", "skipped"),
    found("1.4", "passed"),
)


def test_must_get():
    assert {id: WRONG.must_get(id) for id in VERDICTS} == VERDICTS


def test_agrees():
    assert all(WRONG.agrees(one) for one in AS_IT_MUST)
    for wrong in (
        found("1.1", "passed"),
        found("1.1", "failed", "warnings"),
        found("1.2", "failed"),
        found("1.2", "failed", "ends-at-once"),
        found("1.3", "passed"),
        found("1.4", "skipped"),
        found("1.4", "error"),
    ):
        assert not WRONG.agrees(wrong), wrong


def test_wrong_about():
    assert WRONG.wrong_about(record(*AS_IT_MUST)) == []
    crashes = found("1.2", "failed", "ends-at-once")
    (line,) = WRONG.wrong_about(record(AS_IT_MUST[0], crashes, *AS_IT_MUST[2:]))
    assert line == "1.2: expected failed (never-listens), was failed (ends-at-once): what was seen"


def test_wrong_about_a_check_that_is_not_there():
    assert WRONG.wrong_about(record(*AS_IT_MUST[1:])) == ["1.1: there is no such check"]
    right = Exhibit("lab1", "x", "w", "", {}, frozenset())
    assert right.wrong_about(record(AS_IT_MUST[3])) == []
    assert len(right.wrong_about(record(*AS_IT_MUST))) == 3


# Gradings


def test_without_a_record_it_is_told_why(graders):
    nowhere = Exhibit("lab9", "lost", "w", "int main(void) { return 0; }", {}, frozenset())
    with pytest.raises(GraderError, match=r"lab9 lost: no record: .* has no lab 'lab9'"):
        list(gallery.grade([nowhere], graders))


LINGERS = "#include <unistd.h>\nint main(void) { sleep(1); for (;;) pause(); }\n"


def test_nothing_is_left_of_gradings_that_are_not_waited_for():
    quick = Exhibit("lab1", "quick", "w", "no C", {}, frozenset())
    slow = Exhibit("lab1", "slow", "w", LINGERS, {}, frozenset())
    with here(jobs=2) as graders:
        gradings = gallery.grade([quick, slow, slow, slow], graders)
        assert next(gradings)[0] == quick

        def two() -> list[int]:
            return pids if len(pids := at_work(os.getpid())) == 2 else []

        workers = wait_until(two, "two servers")
        gradings.close()
    for pid in workers:
        assert running(mark_of(pid)) == {}
        assert run_folders(pid) == []
        assert not Path(f"/proc/{pid}").exists()
