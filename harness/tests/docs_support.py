"""The site, built for the tests that look at it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from forklab import paths
from tests.support import environment

DOCS = paths.KIT / "docs"
EXTENSION = DOCS / "_ext"


def sphinx(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Builds the pages of a folder as `make docs` does those of docs/: warnings are errors."""
    options = ["-q", "-E", "-a", "-W", "--keep-going", "-n", "-b", "html", "-c", str(DOCS)]
    return subprocess.run(
        [sys.executable, "-P", "-m", "sphinx", *options, "-d", out / ".cache", source, out],
        env=environment(HOME=str(out.parent)),
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass
class Page:
    """A page as it was built."""

    path: Path
    ids: list[str]
    links: list[tuple[str, str]]  # element, address
    rows: list[list[str]]  # of its tables: the text of the cells


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page
        self.in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.page.ids.append(value)
            elif name in ("href", "src", "data", "poster", "srcset", "action", "xlink:href"):
                self.page.links.append((tag, unquote(value or "")))
        if tag == "tr":
            self.page.rows.append([])
        elif tag in ("td", "th"):
            self.in_cell = True
            self.page.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.page.rows[-1][-1] += data


def read(path: Path) -> Page:
    """A built page."""
    page = Page(path, [], [], [])
    _Reader(page).feed(path.read_text(encoding="utf-8"))
    return page


@dataclass
class Site:
    """The site as it was built."""

    root: Path
    said: str  # by Sphinx
    status: int
    pages: dict[Path, Page]


@cache
def build(root: Path) -> Site:
    """The whole site, built into a folder."""
    ran = sphinx(DOCS, root)
    pages = {path: read(path) for path in sorted(root.rglob("*.html"))}
    return Site(root, ran.stderr + ran.stdout, ran.returncode, pages)
