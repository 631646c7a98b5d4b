"""The page of a trace in a real browser: stepping, predicting, and without a script."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forklab.draw import runs
from forklab.trace import page as trace_page
from forklab.trace.model import Trace
from tests.browser import Look, findings, launched, looking, size, unfold
from tests.test_trace_page import HOSTILE, crowd

if TYPE_CHECKING:
    from playwright.sync_api import Browser

RUN = next(one for one in runs.RUNS if one.diagnosis == "one-wait-per-signal")
ZOMBIES = "document.querySelectorAll('#moment td.zombie').length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with launched(tmp_path_factory.mktemp("home")) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traces")
    burst = Trace.from_json(RUN.path.read_text(encoding="utf-8"))
    odd = replace(burst, submission=HOSTILE, notes=[HOSTILE * 5], unread=[HOSTILE * 9])
    traces = {"burst": burst, "crowd": crowd(49), "few": crowd(3), "odd": odd}
    traces["empty"] = Trace("lab1", "server.c", "turns", 1)
    for name, trace in traces.items():
        (folder / f"{name}.html").write_text(trace_page.page(trace), encoding="utf-8")
    return folder


@pytest.fixture
def look(browser: Browser, pages: Path) -> Iterator[Look]:
    with looking(browser, pages) as look:
        yield look


@pytest.mark.parametrize("name", ["burst", "crowd", "odd"])
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_the_page_does_not_scroll_sideways(look: Look, name: str, width: int) -> None:
    page = look(f"{name}.html", viewport=size(width))
    unfold(page)
    page.evaluate("go(steps.length - 1)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_axe_finds_nothing(look: Look, scheme: str, language: str) -> None:
    page = look("few.html", color_scheme=scheme, viewport=size(390))
    unfold(page)
    page.check(f"#{language}")
    page.evaluate("go(steps.findLastIndex((step) => step.p))")  # with its line of the source
    assert page.is_visible("#source")
    assert findings(page) == []


def test_stepping_by_keyboard(look: Look) -> None:
    page = look("burst.html")
    page.keyboard.press("End")
    assert page.evaluate(ZOMBIES) == 2
    while "waitpid" not in page.inner_text("#now"):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(ZOMBIES) == 3
    page.keyboard.press("Home")
    assert page.evaluate(ZOMBIES) == 0
    assert page.get_attribute("#number", "value") == "0"


def test_an_event_has_an_address(look: Look, pages: Path) -> None:
    page = look("few.html")
    page.click("#e5")
    assert page.url.endswith("#e5")
    said = page.inner_text("#now")
    page.goto("about:blank")
    page.goto((pages / "few.html").as_uri() + "#e5")
    assert page.inner_text("#now") == said


def test_the_slider_and_the_picture_lead_to_events(look: Look) -> None:
    page = look("few.html", viewport=size(1280))
    page.focus("#number")
    page.keyboard.press("ArrowRight")
    first = page.inner_text("#now")
    page.locator("#picture svg").click(position={"x": 300, "y": 60})
    assert page.inner_text("#now") != first
    x = float(page.get_attribute(".cursor", "x1") or 0)
    assert abs(x - 300) < 30
    page.keyboard.press("ArrowRight")  # steps on from there, and does not scroll the picture
    assert float(page.get_attribute(".cursor", "x1") or 0) > x


def test_tables_and_the_source_stand_beside(look: Look) -> None:
    page = look("few.html")
    page.uncheck("#milestones")
    while "fork = C1" not in page.inner_text("#now"):
        page.keyboard.press("ArrowRight")
    assert "4 client 1" in page.inner_text("#moment")
    assert page.inner_text("#owners tbody tr >> nth=0").split() == ["1", "C1"]
    assert page.inner_text("#file") == "server.c:100"
    assert page.inner_text("#source mark").strip().startswith("100")


def test_predicting(look: Look) -> None:
    page = look("few.html")
    page.check("#predict")
    while not page.is_visible("#question"):
        page.evaluate("ways.on()")
    assert page.evaluate(ZOMBIES) == 0  # not given away
    assert "exited with status 0" in page.inner_text("#next")
    page.fill("#guess", "7")
    page.keyboard.press("Enter")
    assert page.inner_text("#answer") == "No. Zombies: 1"
    assert page.evaluate(ZOMBIES) == 1
    while not page.is_visible("#question"):
        page.evaluate("ways.on()")
    page.fill("#guess", "2")
    page.keyboard.press("Enter")
    assert page.inner_text("#answer") == "Yes. Zombies: 2"


def test_names_stay_in_sight(look: Look) -> None:
    page = look("crowd.html", viewport=size(390))
    page.evaluate("byId('picture').scrollLeft = 2000")
    page.wait_for_function(
        "() => document.querySelector('#picture text.end').getAttribute('x') > 2000"
    )


def test_an_empty_trace_is_no_trouble(look: Look) -> None:
    assert look("empty.html").is_visible("#picture svg")


def test_korean(look: Look) -> None:
    page = look("burst.html")
    assert page.is_hidden("#picture .ko >> nth=0")
    page.check("#ko")
    assert page.is_visible("#picture .ko >> nth=0")
    assert "좀비" in page.inner_text("#picture")
    assert "zombie" not in page.inner_text("#moment")


def test_a_korean_browser_begins_in_korean(look: Look) -> None:
    assert look("burst.html", locale="ko-KR").is_checked("#ko")


def test_without_a_script(look: Look) -> None:
    page = look("burst.html", java_script_enabled=False)
    assert page.is_hidden("#stepper")
    assert page.is_visible("#picture svg")
    assert page.locator("#events tbody tr").count() > 30
    assert "never reaped" in page.inner_text("main")


def test_on_paper(look: Look) -> None:
    page = look("crowd.html", viewport=size(1000))
    page.emulate_media(media="print")
    assert page.is_hidden("#stepper")
    clipped = """[...document.querySelectorAll(".scroll")].filter(one =>
        getComputedStyle(one).overflowX !== "visible").length"""
    assert page.evaluate(clipped) == 0


def test_hostile_text_does_nothing(look: Look) -> None:
    page = look("odd.html")
    unfold(page)
    assert page.locator("main img, main script").count() == 0
