"""The pages that `make mutants` writes are current and whole, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forklab import gallery
from forklab.gallery import Exhibit
from forklab.render import pages
from forklab.render.pages import Sighting
from forklab.result import FAILED, PASSED, CheckResult, Result
from forklab.rubric import diagnoses
from tests.support import anchors

WRITTEN = [pages.DIAGNOSES, pages.GALLERY]


def text_of(page: Path) -> str:
    assert page.exists(), f"{page.name} is not there: run make mutants"
    return page.read_text(encoding="utf-8")


# The pages that are there


def test_the_gallery_is_current():
    is_current = text_of(pages.GALLERY) == pages.gallery_page(gallery.whole())
    assert is_current, "the gallery is not what the page says: run make mutants"


def test_the_diagnoses_are_current():
    text = text_of(pages.DIAGNOSES)
    is_current = text == pages.diagnoses_page(gallery.whole(), pages.sightings_on(text))
    assert is_current, "the diagnoses are not what the page says: run make mutants"


def test_every_diagnosis_has_a_sighting():
    told = pages.sightings_on(text_of(pages.DIAGNOSES))
    assert set(diagnoses()) - set(told) == set(), "run make mutants"
    assert all(one.expected and one.seen for one in told.values())


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"(?<!\\)\]\(([^)\s]+)\)", text_of(page))
    assert len(links) > 20
    lost = []
    for link in links:
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if link.startswith("https://man7.org/"):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


def test_tables_have_as_many_cells_as_heads():
    rows = [line for line in text_of(pages.GALLERY).splitlines() if line.startswith("|")]
    assert len(rows) > 100
    heads = 0
    for line, after in zip(rows, [*rows[1:], ""], strict=True):
        cells = len(re.findall(r"(?<!\\)\|", line))
        if after.startswith("| ---"):
            heads = cells
        assert cells == heads, line


# How they are made


def exhibit(name: str, fails: dict[str, str], why: str = "Believes so.") -> Exhibit:
    return Exhibit("lab1", name, why, "", fails, frozenset(["1.9"] if fails else []))


BOTH = exhibit("both", {"1.3": "never-listens", "1.4": "does-not-answer"})
ONE = exhibit("one", {"1.3": "never-listens"})
RIGHT = exhibit("another-form", {})


def seen(id: str, diagnosis: str, what: str = "this") -> CheckResult:
    return CheckResult(id, "n", FAILED, 0, 5, "that", what, diagnosis=diagnosis)


def record(*checks: CheckResult) -> Result:
    return Result("lab1", "a.c", "", "", "", "", checks=list(checks))


def test_who_shows_nothing_else_comes_first():
    assert pages.by_code([BOTH, RIGHT, ONE]) == {
        "never-listens": [ONE, BOTH],
        "does-not-answer": [BOTH],
    }


def test_a_sighting_is_of_the_server_that_shows_it():
    of_both = record(
        seen("1.3", "never-listens", "by both"), seen("1.4", "does-not-answer", "by both")
    )
    of_one = record(seen("1.3", "never-listens", "by one"))
    assert pages.sightings([(BOTH, of_both), (ONE, of_one), (RIGHT, record())]) == {
        "never-listens": Sighting("that", "by one"),
        "does-not-answer": Sighting("that", "by both"),
    }


def test_a_sighting_is_of_the_first_check_that_says_so():
    twice = exhibit("twice", {"1.3": "never-listens", "1.4": "never-listens"})
    result = record(seen("1.3", "never-listens", "first"), seen("1.4", "never-listens", "then"))
    assert pages.sightings([(twice, result)]) == {"never-listens": Sighting("that", "first")}


def test_a_check_that_passed_is_no_sighting():
    passed = CheckResult("1.3", "n", PASSED, 5, 5, diagnosis="never-listens")
    assert pages.sightings([(ONE, record(passed))]) == {}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("child 31337 of 4242 is a zombie", "child … of … is a zombie"),
        ("it listens on port 58915", "it listens on port …"),
        ("1,048,576 bytes came back", "… bytes came back"),
        ("7 of 8 children, after 100 clients", "7 of 8 children, after 100 clients"),
        ("0x741f: it listens on port 29727", "…: it listens on port …"),
        ("byte 7 was 0x61 and came back as 0x0a", "byte 7 was 0x61 and came back as 0x0a"),
        ("two\nlines,  and\tmore", "two lines, and more"),
    ],
)
def test_what_differs_from_run_to_run_is_left_out(said, shown):
    assert Sighting.of(seen("1.3", "never-listens", said)).seen == shown
    assert Sighting.of(CheckResult("1.3", "n", FAILED, 0, 5, said, "")).expected == shown


NASTY = ["\\", "\\\\n", "*a* _b_ `c`", "[x](y) <b> | |", "\\*", "a\\", '"\\x1b[31m\\0"', "plain"]


@pytest.mark.parametrize("text", NASTY)
def test_a_sighting_is_on_the_page_as_it_was(text):
    """Whatever a server printed: escaped for Markdown, it is read back as it was."""
    told = {"never-listens": Sighting(text, f"seen {text}"), "does-not-answer": Sighting("a", "b")}
    page = pages.diagnoses_page([ONE, BOTH], told)
    assert pages.sightings_on(page) == told


def test_what_a_server_printed_is_no_markdown():
    page = pages.diagnoses_page([ONE], {"never-listens": Sighting("a", "*x* <b> `y` [z](w)")})
    assert r"- seen: \*x\* \<b\> \`y\` \[z\](w)" in page


def test_a_diagnosis_on_its_page():
    page = pages.diagnoses_page([ONE, BOTH], {"never-listens": Sighting("one thing", "another")})
    _, _, part = page.partition("\n## never-listens\n")
    part, _, _ = part.partition("\n## ")
    one = diagnoses()["never-listens"]
    for words in (one.title, one.explanation, one.think):
        assert words in part
    for words in ("in 1.3 (", "expected: one thing", "seen: another", "`one` of lab1, and 1 more"):
        assert words in part
    assert "[listen(2)](https://man7.org/linux/man-pages/man2/listen.2.html), NOTES" in part
    assert page.count("\n## ") == len(diagnoses())


def test_the_gallery_on_its_page():
    odd = exhibit("odd", {"1.2": "accepts-bad-ports"}, why="Believes in a | b.")
    page = pages.gallery_page([ONE, odd, RIGHT])
    lines = page.splitlines()
    assert "2 servers that are wrong" in page
    assert "1 that are right" in page
    assert "| `odd` | Believes in a \\| b. | 1.2 [`accepts-bad-ports`]" in page
    head = next(line for line in lines if line.startswith("| server | 1.1 |"))
    row = next(line for line in lines if line.startswith("| `one` |") and "✗" in line)
    verdict = dict(zip(cells(head), cells(row), strict=True))
    assert [id for id, mark in verdict.items() if mark == "✗"] == ["1.3"]
    assert [id for id, mark in verdict.items() if mark == "-"] == ["1.9"]
    assert "- `another-form`: Believes so." in lines


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_a_failure_without_a_diagnosis_links_nowhere():
    page = pages.gallery_page([exhibit("odd", {"1.2": ""})])
    assert "(diagnoses.md#)" not in page
    assert re.search(r"^\| `odd` \| .* \| 1\.2 *\|$", page, re.MULTILINE)
