"""The rubric itself: points, numbers, hints, diagnoses, and the handouts that tell of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from forklab import paths, rubric
from forklab.errors import GraderError, UsageError
from forklab.result import Evidence
from forklab.rubric import CheckFailed, CheckSkipped, check, expect, first_fix
from tests.support import anchors

LABS = list(paths.LAB_FOLDERS)
CHECKS = {one.id: one for lab in LABS for one in rubric.of_lab(lab)}
SOURCES = [
    path
    for path in [*(paths.HARNESS / "forklab").rglob("*.py"), *paths.CHECKS.glob("*.py")]
    if path.name != "gallery.py"
]

# What tells C from prose: a statement, a block, an assignment, a call.
CODE = re.compile(r"[;{}=]|->|\w\([^)]*[,*&\"][^)]*\)")


@pytest.mark.parametrize("lab", LABS)
def test_points_are_a_hundred(lab):
    assert sum(one.points for one in rubric.of_lab(lab)) == 100
    assert all(one.points > 0 for one in rubric.of_lab(lab))


@pytest.mark.parametrize("lab", LABS)
def test_numbers_are_in_order(lab):
    checks = rubric.of_lab(lab)
    number = lab.removeprefix("lab")
    assert [one.id for one in checks] == [f"{number}.{i}" for i in range(1, len(checks) + 1)]
    assert {one.lab for one in checks} == {lab}


@pytest.mark.parametrize("lab", LABS)
def test_needs_name_an_earlier_check(lab):
    before: set[str] = set()
    for one in rubric.of_lab(lab):
        assert one.needs is None or one.needs in before
        before.add(one.id)


@pytest.mark.parametrize("one", CHECKS.values(), ids=CHECKS)
def test_hints(one):
    assert len(one.hints) == 3
    assert len(set(one.hints)) == 3
    assert all(hint.strip() == hint and len(hint) > 20 for hint in one.hints)
    assert not CODE.search(one.hints[0])


@pytest.mark.parametrize("lab", LABS)
def test_each_check_says_what_it_does(lab):
    path = paths.CHECKS / f"test_{lab}.py"
    tests = [
        one
        for one in ast.parse(path.read_text()).body
        if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")
    ]
    assert len(tests) == len(rubric.of_lab(lab))
    for test in tests:
        assert ast.get_docstring(test), test.name
        assert test.decorator_list, test.name


@pytest.mark.parametrize("lab", LABS)
def test_the_handout_tells_the_same(lab):
    text = paths.handout_of(lab).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\.\d+) \| (.+?) \| (\d+) \| (.*?) ?\|$", text, re.M)
    checks = rubric.of_lab(lab)
    assert [row[:3] for row in rows] == [(one.id, one.name, str(one.points)) for one in checks]
    assert [row[3].startswith("gate") for row in rows] == [one.gate for one in checks]


def test_reading_matter_is_there():
    for one in CHECKS.values():
        if one.read and "/" in one.read:
            assert (paths.KIT / one.read.partition("#")[0]).exists(), one.id


def test_find():
    assert rubric.find("4.7").lab == "lab4"
    for wrong in ("4.99", "9.1", "", "x", "4"):
        with pytest.raises(UsageError, match=r"4\.15|there are"):
            rubric.find(wrong)


def test_a_check_needs_three_hints():
    for hints in (["one", "two"], "abc"):
        with pytest.raises(ValueError, match=r"9\.1 needs a list of three hints"):
            check("9.1", "name", points=1, hints=hints)


# The catalogue of diagnoses


def kebabs(path: Path) -> set[str]:
    """The strings of a source that look like codes of diagnoses."""
    return {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"[a-z]+(-[a-z]+)*", node.value)
    }


def test_every_diagnosis_is_used():
    used = set().union(*(kebabs(path) for path in SOURCES))
    assert set(rubric.diagnoses()) <= used


def test_every_diagnosis_used_is_there():
    """A code with a hyphen in a judgement, or any string that is given as a diagnosis."""
    used: set[str] = set()
    for path in SOURCES:
        if path.parent == paths.CHECKS or path.parent.name == "lessons" or path.name == "echoes.py":
            used |= {word for word in kebabs(path) if "-" in word}
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "diagnosis":
                values = [node.value]
                if isinstance(node.value, ast.IfExp):
                    values = [node.value.body, node.value.orelse]
                constants = [one.value for one in values if isinstance(one, ast.Constant)]
                used |= {one for one in constants if isinstance(one, str)}
    assert len(used) > 20
    assert used <= set(rubric.diagnoses())


def test_every_diagnosis_has_words():
    for code, one in rubric.diagnoses().items():
        assert one.code == code
        assert 5 < len(one.title) < 75
        assert not one.title.endswith(".")
        assert one.explanation.endswith((".", ".)", '."', '".', "?"))
        assert 1 <= len(re.findall(r"[.?!](?=\s|$)", one.explanation)) <= 5
        assert "\n" not in one.explanation.strip()


CODES = list(rubric.diagnoses())
SENTENCE_END = re.compile(r"[.?!](?=\s|$)")


@pytest.mark.parametrize("code", CODES)
def test_every_diagnosis_makes_one_think(code):
    one = rubric.diagnoses()[code]
    assert 1 <= len(SENTENCE_END.findall(one.think)) <= 3
    assert one.think.endswith((".", "?", ")"))
    assert "?" in one.think
    assert one.think == " ".join(one.think.split())
    assert len(one.think) < 400


@pytest.mark.parametrize("code", CODES)
def test_every_diagnosis_says_where_to_read(code):
    name, section, heading = rubric.diagnoses()[code].place()
    if section:
        assert section in "12378"
        return
    page = paths.KIT / name
    assert page.is_file()
    assert heading == "" or heading in anchors(page)


@pytest.mark.parametrize(
    ("read", "place"),
    [
        ("signal(7)", ("signal", "7", "")),
        ("signal-safety(7), errno", ("signal-safety", "7", "errno")),
        ("wait(2), A B, C", ("wait", "2", "A B, C")),
        ("labs/lab1/README.md#three-questions", ("labs/lab1/README.md", "", "three-questions")),
        ("labs/lab1/README.md", ("labs/lab1/README.md", "", "")),
    ],
)
def test_a_place_to_read(read, place):
    assert rubric.Diagnosis("code", "title", "why", "think", read).place() == place


def test_anchors(tmp_path):
    """That the test above can fail: as GitHub makes them of headings."""
    page = tmp_path / "page.md"
    page.write_text("# One: `two_2`, 3?\n\n```sh\n# no heading\n```\n\n## A - b\n\ntext # none\n")
    assert anchors(page) == {"one-two_2-3", "a---b"}


# How a check ends


def test_expect_passes():
    expect(1, expected="e", seen="s", diagnosis="no such code: never looked at")


def test_expect_fails():
    with pytest.raises(CheckFailed) as failed:
        expect(
            [],
            expected="e",
            seen=lambda: "s",
            evidence=lambda: [Evidence("a", "b")],
            diagnosis="never-reaps",
        )
    problem = failed.value
    assert (problem.expected, problem.seen, problem.diagnosis) == ("e", "s", "never-reaps")
    assert problem.evidence == [Evidence("a", "b")]


def test_expect_looks_at_nothing_that_it_does_not_need():
    def never() -> str:
        raise AssertionError

    expect(True, expected="e", seen=never)


def test_expect_takes_one_piece_of_evidence():
    with pytest.raises(CheckFailed) as failed:
        expect(False, expected="e", seen="s", evidence=Evidence("a", "b"))
    assert failed.value.evidence == [Evidence("a", "b")]


def test_a_diagnosis_must_be_in_the_catalogue():
    with pytest.raises(GraderError, match="no-such-bug"):
        expect(False, expected="e", seen="s", diagnosis="no-such-bug")


def test_first_fix():
    with pytest.raises(CheckSkipped) as skipped:
        first_fix("3.2")
    assert skipped.value.needs == "3.2"
