"""A real browser for the tests of pages; whoever imports this is skipped where there is none.

Needs Debian's chromium-headless-shell (or chromium) and the Python packages of `make lint`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import environment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page, Request

playwright = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: `make lint` installs it"
)
axe = pytest.importorskip(
    "axe_playwright_python.base", reason="no axe-core: `make lint` installs it"
)
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
if not CHROMIUM:
    pytest.skip("no browser: apt-get install chromium-headless-shell", allow_module_level=True)

PATIENCE = 120_000  # milliseconds, on a machine with a lot to do


@contextmanager
def launched(home: Path) -> Iterator[Browser]:
    """A browser whose home is that folder."""
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=CHROMIUM,
            env=environment(HOME=str(home), TMPDIR=str(home)),
            timeout=PATIENCE,
        )
        yield started
        started.close()


def findings(page: Page) -> list[str]:
    """What axe-core finds: each with the element."""
    page.evaluate(axe.AXE_SCRIPT)
    found = page.evaluate("axe.run()")["violations"]
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]


Look = Callable[..., "Page"]


@contextmanager
def looking(browser: Browser, folder: Path) -> Iterator[Look]:
    """``look(name, ...)`` opens a page of that folder; options as of a browser's context.

    Whatever a page complains of, asks for or pops up is an error: the end of the context tells.
    """
    contexts = []
    troubles: list[str] = []

    def refuse(box: Dialog) -> None:
        troubles.append(box.message)
        box.dismiss()

    def asked(one: Request) -> None:
        if not one.is_navigation_request():
            troubles.append(one.url)

    def open_page(name: str = "index.html", **options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: troubles.append(said.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", refuse)
        page.on("request", asked)
        page.goto((folder / name).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def unfold(page: Page) -> None:
    """Opens all that is folded."""
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


def size(width: int) -> dict[str, int]:
    """A window of that width."""
    return {"width": width, "height": 800}
