"""The site in a real browser: a phone and a desktop, light and dark, on paper.

Needs Debian's chromium-headless-shell (or chromium) and the Python packages of `make lint`; it is
skipped where they are missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser import PATIENCE, axe, launched, unfold
from tests.docs_support import DOCS, Site, build
from tests.support import contrast

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page

pytest.importorskip("furo", reason="no Sphinx and Furo: `make docs` installs them")

PHONE, DESKTOP = 390, 1280
PAGES = sorted(
    str(path.relative_to(DOCS).with_suffix(""))
    for path in DOCS.rglob("*.md")
    if "examples" not in path.parts
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return build(tmp_path_factory.mktemp("site"))


class Tab:
    """A page of the browser, and what went wrong in it."""

    def __init__(self, page: Page, site: Site) -> None:
        self.page = page
        self.site = site
        self.troubles: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("request", lambda one: self._asked(one.url))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(message.text)

    def _asked(self, url: str) -> None:
        if not url.startswith(("data:", self.site.root.as_uri())):
            self.troubles.append(url)

    def open(self, name: str) -> Page:
        self.page.goto((self.site.root / f"{name}.html").as_uri())
        unfold(self.page)
        return self.page

    def look(self, width: int, scheme: str) -> None:
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def browser_tab(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with launched(tmp_path_factory.mktemp("home")) as browser:
        context = browser.new_context(reduced_motion="reduce")
        context.set_default_timeout(PATIENCE)
        yield Tab(context.new_page(), site)


@pytest.fixture
def tab(browser_tab: Tab) -> Iterator[Tab]:
    """What the page complains of or asks others for is an error: the end of the test tells."""
    browser_tab.troubles.clear()
    yield browser_tab
    assert browser_tab.troubles == []


def findings(page: Page, rules: str = "") -> list[str]:
    """What axe-core finds that is serious or critical: each with the element."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe.AXE_SCRIPT)
    options = {"resultTypes": ["violations"], "preload": False}  # preload would fetch style sheets
    if rules:
        options["runOnly"] = rules.split()
    found = page.evaluate("options => axe.run(options)", options)["violations"]
    return [
        f"{one['id']}: {node['html']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


SHORTEN = """const more = "tr:nth-child(n + 9), section section:nth-of-type(n + 20)";
    for (const one of document.querySelectorAll(more)) one.remove();
    for (const code of document.querySelectorAll("pre"))
        [...code.children].slice(60).forEach(one => one.remove());"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page(tab: Tab, name: str) -> None:
    page = tab.open(name)
    for scheme in ("light", "dark"):
        for width in (PHONE, DESKTOP):
            tab.look(width, scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(SHORTEN)  # more of the same takes axe-core seconds
    assert findings(page, "color-contrast") == []
    tab.look(DESKTOP, "light")
    assert findings(page) == []


def test_a_file_of_the_kit(tab: Tab, site: Site) -> None:
    files = [path for path in site.pages if path.suffixes[:1] == [".c"]]
    page = tab.open(str(files[0].relative_to(site.root)).removesuffix(".html"))
    tab.look(PHONE, "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
    assert page.locator("h1").inner_text().endswith(".c")
    assert findings(page) == []


def test_axe_would_find_something(tab: Tab) -> None:
    page = tab.open("rubric")
    page.evaluate("document.querySelector('h1').style.color = '#eee'")
    tab.look(DESKTOP, "light")
    assert [one for one in findings(page) if one.startswith("color-contrast")]


def colour(page: Page, name: str) -> tuple[int, ...]:
    """The red, green and blue of a picture's variable, and of the page, "body"."""
    script = """name => {
        const one = document.createElement("i");
        one.style.color = name === "body" ? getComputedStyle(document.body).backgroundColor
            : `var(${name})`;
        document.body.append(one);
        const seen = getComputedStyle(one).color;
        one.remove();
        return seen;
    }"""
    return tuple(int(number) for number in re.findall(r"\d+", page.evaluate(script, name))[:3])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_of_pictures_can_be_told(tab: Tab, scheme: str) -> None:
    page = tab.open("index")
    tab.look(DESKTOP, scheme)
    assert contrast(colour(page, "body"), colour(page, "--fig-paper")) < 1.2
    for ground in ("--fig-paper", "--fig-box"):
        for name in ("--fig-ink", "--fig-soft", "--fig-accent", "--fig-warn", "--fig-good"):
            assert contrast(colour(page, name), colour(page, ground)) >= 4.5, (name, ground)


def test_the_toggle_beats_the_system(tab: Tab) -> None:
    page = tab.open("index")
    tab.look(DESKTOP, "light")
    system = colour(page, "--fig-paper")
    toggle = page.locator("button.theme-toggle:visible").first
    seen = []
    for _ in range(3):
        toggle.click()
        seen.append((page.locator("body").get_attribute("data-theme"), colour(page, "--fig-paper")))
    papers = dict(seen)
    assert papers.keys() == {"auto", "light", "dark"}
    assert papers["auto"] == papers["light"] == system != papers["dark"]


def test_nothing_is_cut_on_paper(tab: Tab) -> None:
    page = tab.open("rubric")
    tab.look(DESKTOP, "dark")
    page.emulate_media(media="print")
    assert contrast(colour(page, "body"), (255, 255, 255)) < 1.2
    assert not page.locator(".sidebar-drawer").is_visible()
    clipped = "one => one.scrollWidth > one.clientWidth"
    assert not any(page.eval_on_selector_all("pre, .table-wrapper", f"all => all.map({clipped})"))
    page.emulate_media(media="screen")
