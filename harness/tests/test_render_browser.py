"""The pages in a real browser: every width, light and dark, by keyboard, on paper, without script.

Needs Debian's chromium-headless-shell (or chromium) and the Python packages of `make lint`; it is
skipped where they are missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forklab.marks import ClassMarks, Mark
from forklab.render import html
from forklab.result import Evidence, Result
from tests.browser import Look, findings, launched, looking, size, unfold
from tests.records import HOSTILE, a_class, check, mixed, result, unbuilt

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS = (360, 600, 768, 1024, 1440)


def wide() -> Result:
    """Every text too long for a phone, or for anything."""
    long = [Evidence("w" * 90, "\n".join(["x" * 400] * 80)), Evidence("two words", "a b")]
    return result(
        check("4.1", "failed", expected="e" * 300, seen="s" * 300, evidence=long),
        *(check(f"4.{n}", name="a name of many words " * 3) for n in range(2, 15)),
        check("4.15", evidence=long, did="d" * 200, name="n" * 200),
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with launched(tmp_path_factory.mktemp("home")) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the pages of a class, index.html and others."""
    out = tmp_path_factory.mktemp("class")
    marks = a_class()
    more = [
        Mark("Wide" * 30, "lab4", "w/" * 100, result=wide()),
        Mark("Late", "lab4", "late/server.c", late=True, result=unbuilt()),
    ]
    html.write_class(ClassMarks([*marks.marks, *more], marks.missing, marks.duplicates), out)
    (out / "wide.html").write_text(html.student_page(more[0]))
    (out / "failed.html").write_text(html.student_page(Mark("Kim", "lab4", "a.c", result=mixed())))
    (out / "fault.html").write_text(html.student_page(marks.marks[-2]))
    (out / "nobody.html").write_text(html.class_page(ClassMarks([])))
    return out


@pytest.fixture
def look(browser: Browser, pages: Path) -> Iterator[Look]:
    with looking(browser, pages) as look:
        yield look


@pytest.mark.parametrize("name", ["index", "wide", "failed", "fault", "nobody"])
def test_no_page_scrolls_sideways(look: Look, name: str) -> None:
    page = look(f"{name}.html")
    unfold(page)
    for width in WIDTHS:
        page.set_viewport_size(size(width))  # type: ignore[arg-type]
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["index", "wide", "failed", "fault"])
def test_axe_finds_nothing(look: Look, name: str) -> None:
    page = look(f"{name}.html", color_scheme="light", viewport=size(1440))
    unfold(page)
    assert findings(page) == []
    page.set_viewport_size(size(360))  # type: ignore[arg-type]
    page.emulate_media(color_scheme="dark")
    assert findings(page) == []


def test_axe_would_find_something(look: Look) -> None:
    page = look("failed.html", color_scheme="light")
    page.evaluate("document.querySelector('h1').style.color = '#eee'")
    assert [one for one in findings(page) if one.startswith("color-contrast")]


def test_dark_is_dark(look: Look) -> None:
    def paper(scheme: str) -> int:
        page = look("failed.html", color_scheme=scheme)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(one) for one in re.findall(r"\d+", colour))

    assert paper("dark") < 3 * 64 < 3 * 192 < paper("light")


def column(page: Page, number: int) -> list[str]:
    """What is to be read in that column (from 1) of the table."""
    shown = page.locator(f"#marks tbody tr:not([hidden]) td:nth-child({number})")
    return [one.strip() for one in shown.all_inner_texts()]


def test_the_table_sorts_by_keyboard(look: Look) -> None:
    page = look()
    heading = page.get_by_role("columnheader", name="score")
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    scores = column(page, 3)
    assert scores[:3] == ["! no mark"] * 3
    numbers = [int(one) for one in scores[3:]]
    assert numbers == sorted(numbers)
    assert len(numbers) == 6
    page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") == "descending"
    assert column(page, 3) == scores[::-1]
    page.get_by_role("button", name="student").press("Enter")
    assert heading.get_attribute("aria-sort") is None
    assert column(page, 1)[-1] == "김민지"


def test_the_table_filters(look: Look) -> None:
    page = look()
    told = page.get_by_role("status")
    assert told.inner_text() == "9 of 9 shown"
    page.get_by_role("searchbox").fill(" DAN")
    assert told.inner_text() == "2 of 9 shown"
    assert column(page, 1) == ["Dan", "Dan"]
    page.get_by_role("combobox", name="Lab").select_option("lab3")
    assert told.inner_text() == "1 of 9 shown"
    page.get_by_role("searchbox").fill("")
    page.get_by_role("combobox", name="Lab").select_option("")
    page.get_by_role("combobox", name="Fails").select_option("4.2")
    assert column(page, 1) == ["=cmd|' /C calc'!A0"]
    page.keyboard.press("Enter")  # submits nothing
    assert told.inner_text() == "1 of 9 shown"


def test_the_class_without_script(look: Look) -> None:
    page = look(java_script_enabled=False)
    assert not page.locator("form").is_visible()
    assert page.locator("#marks th button").count() == 0
    assert page.locator("#marks tbody tr").count() == 9
    page.get_by_text("As numbers").first.click()
    assert page.get_by_role("cell", name="90–99").first.is_visible()


def test_links_lead_to_the_students(look: Look) -> None:
    page = look()
    for place in range(9):
        link = page.locator("#marks a").nth(place)
        name = link.inner_text()
        link.click()
        assert page.locator("h1").inner_text() == name
        page.go_back()


def test_a_student_page_by_keyboard(look: Look) -> None:
    """Tab comes to everything that does something, and shows where it is."""
    page = look("failed.html")
    seen = []
    for _ in range(20):
        page.keyboard.press("Tab")
        tag = page.evaluate("document.activeElement.tagName")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if tag == "BODY":
            break
        assert outline == "solid"
        seen.append(tag)
    assert seen == ["A", "A", "A", "PRE", "SUMMARY", "A"]
    summary = page.locator("summary")
    did = page.get_by_text("Did this.").last
    assert not did.is_visible()
    summary.press("Enter")
    assert did.is_visible()


def test_nothing_is_cut_on_paper(look: Look) -> None:
    page = look("wide.html", viewport=size(700))
    unfold(page)
    clipped = """[...document.querySelectorAll("pre, .scroll")].filter(one =>
        one.scrollWidth > one.clientWidth || one.scrollHeight > one.clientHeight).length"""
    assert page.evaluate(clipped) > 0
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(clipped) == 0
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.pdf().startswith(b"%PDF")


def test_hostile_output_does_nothing(look: Look, pages: Path) -> None:
    name = html.page_names(ClassMarks([Mark(HOSTILE, "lab4", HOSTILE)]))[0]
    for where in (f"students/{name}", "index.html"):
        page = look(where)
        unfold(page)
        assert page.title() != "owned"
        assert page.locator("img").count() == 0
        assert "onerror=alert(1)" in page.locator("main").inner_text()
