"""The docs' pictures: current, sound, readable in themselves, and true."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations, pairwise

import pytest

from forklab import paths, procfs
from forklab.draw import architecture, figures, report, svg
from forklab.draw.svg import Drawing, Row, size_of, text_width
from forklab.server import reserve_port
from tests.support import contrast, environment, wait_until

ALL = sorted(figures.FIGURES)
# Those of runs are drawn otherwise: see test_trace_page.py.
NAMES = [name for name in ALL if not name.startswith("run-")]
NAMESPACE = "{http://www.w3.org/2000/svg}"
MOST_BYTES = 12_000
SMALLEST = 11  # pixels


@dataclass(frozen=True)
class Area:
    """A part of a picture; a line is an area without width or height."""

    left: float
    top: float
    right: float
    bottom: float
    what: str

    def meets(self, other: Area) -> bool:
        """Whether they have a point in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def holds(self, other: Area) -> bool:
        """Whether all of the other is within this one."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.top <= other.top and other.bottom <= self.bottom


def number(node: ET.Element, name: str) -> float:
    return float(node.get(name, "0"))


def texts(root: ET.Element) -> Iterator[Area]:
    """Each text, as wide as it may become in any of the usual fonts."""
    for node in root.iter(f"{NAMESPACE}text"):
        kind = node.get("class", "")
        words = (node.text or "") + "".join(
            f"`{one.text}`{one.tail or ''}" for one in node.iter(f"{NAMESPACE}tspan")
        )
        width, size, x, y = (
            text_width(words, kind),
            size_of(kind),
            number(node, "x"),
            number(node, "y"),
        )
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[node.get("text-anchor", "start")]
        yield Area(left, y - 0.8 * size, left + width, y + 0.24 * size, words)


def boxes(root: ET.Element) -> Iterator[Area]:
    for node in root.iter(f"{NAMESPACE}rect"):
        x, y = number(node, "x"), number(node, "y")
        kind = node.get("class", "")
        if kind != "paper":
            yield Area(x, y, x + number(node, "width"), y + number(node, "height"), kind)


def lines(root: ET.Element) -> Iterator[Area]:
    """The straight parts of lines; slanting ones as a row of short pieces."""
    for node in root.iter(f"{NAMESPACE}polyline"):
        numbers = [float(one) for one in re.split("[ ,]", node.get("points", ""))]
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        for (x1, y1), (x2, y2) in pairwise(points):
            pieces = 1 if x1 == x2 or y1 == y2 else 40
            for piece in range(pieces):
                at = [
                    (x1 + (x2 - x1) * part / pieces, y1 + (y2 - y1) * part / pieces)
                    for part in (piece, piece + 1)
                ]
                (xs, ys) = zip(*at, strict=True)
                yield Area(min(xs), min(ys), max(xs), max(ys), "line")


def complaints(picture: str) -> list[str]:
    """What is hard to read in a picture: text upon text, on a border, on a line, outside."""
    root = ET.fromstring(picture)
    width, height = (float(one) for one in root.get("viewBox", "").split()[2:])
    whole = Area(0, 0, width, height, "picture")
    words = list(texts(root))
    found = [f"{one.what!r} leaves the picture" for one in words if not whole.holds(one)]
    found += [
        f"{one.what!r} overlaps {other.what!r}"
        for one, other in combinations(words, 2)
        if one.meets(other)
    ]
    found += [
        f"{one.what!r} crosses the border of a {box.what}"
        for one in words
        for box in boxes(root)
        if one.meets(box) and not box.holds(one)
    ]
    found += [
        f"{one.what!r} is crossed by a line"
        for one in words
        for line in lines(root)
        if one.meets(line)
    ]
    return found


@pytest.fixture(params=NAMES)
def picture(request) -> str:
    """The text of one file of docs/figures."""
    return (figures.FOLDER / f"{request.param}.svg").read_text(encoding="utf-8")


def test_the_files_are_current(tmp_path):
    figures.write(tmp_path)
    for name in ALL:
        committed = figures.FOLDER / f"{name}.svg"
        assert committed.exists(), "run make figures"
        assert committed.read_bytes() == (tmp_path / committed.name).read_bytes(), (
            "run make figures"
        )


def test_writing_says_what_changed(tmp_path):
    assert figures.write(tmp_path) == [f"new: {name}.svg" for name in figures.FIGURES]
    (tmp_path / f"{NAMES[0]}.svg").write_text("other")
    assert figures.write(tmp_path) == [f"changed: {NAMES[0]}.svg"]
    (told,) = figures.write(tmp_path)
    assert told.endswith("are as they should be.")


def test_a_picture_is_the_same_in_any_surroundings():
    """Another locale, width, terminal and wish for colour, and another hash of strings."""
    code = "import sys; from forklab.draw import report; sys.stdout.write(report.report())"
    odd = {"COLUMNS": "40", "TERM": "dumb", "NO_COLOR": "1", "PYTHONHASHSEED": "7", "LC_ALL": "C"}
    command = [str(paths.KIT / ".venv/bin/python"), "-P", "-X", "utf8", "-c", code]
    drawn = subprocess.run(
        command, env=environment(paths.KIT, **odd), capture_output=True, check=True
    ).stdout
    assert drawn.decode() == report.report()


def test_it_is_small_and_alone(picture):
    assert len(picture.encode()) <= MOST_BYTES
    assert not re.search(r"<script|\bon\w+=|<image|<use|<foreignObject|@import|@font-face", picture)
    outside = re.findall(r"(?:href|src)\s*=|url\((?!#)|https?:", picture)
    assert outside == ["http:"]  # the name of SVG itself, which nobody loads


def test_it_has_a_title_and_a_description(picture):
    root = ET.fromstring(picture)
    title, desc = (root.find(f"{NAMESPACE}{tag}") for tag in ("title", "desc"))
    assert title is not None
    assert desc is not None
    assert (root.get("role"), root.get("aria-labelledby")) == ("img", title.get("id"))
    assert root.get("aria-describedby") == desc.get("id")
    assert 10 < len(title.text or "") < 80
    assert len(desc.text or "") > 200


@pytest.mark.parametrize("name", NAMES)
def test_ids_and_rules_are_its_own(name):
    """Several pictures may stand in one page."""
    text = figures.FIGURES[name]()
    root = ET.fromstring(text)
    ids = [str(node.get("id")) for node in root.iter() if node.get("id")]
    assert len(set(ids)) == len(ids)
    assert all(one.startswith(f"{name}-") for one in ids)
    assert set(re.findall(r"url\(#(.*?)\)", text)) <= set(ids)
    selectors = re.findall(r"^(?:@media[^{]*\{)?([^{}@]+)\{", svg.style(), re.M)
    assert len(selectors) > 20
    assert all(one.startswith(f".{svg.KIT_CLASS}") for one in selectors)


def test_it_fits_any_width(picture):
    root = ET.fromstring(picture)
    left, top, width, _ = (float(one) for one in root.get("viewBox", "").split())
    assert (left, top) == (0, 0)
    assert width <= 640
    # Its own width where there is room (as an image in a README), less where there isn't.
    assert root.get("width") == f"{width:g}"
    assert root.get("height") is None
    assert f".{svg.KIT_CLASS}{{max-width:100%;height:auto" in picture


def test_no_text_is_small(picture):
    sizes = re.findall(r"font(?:-size)?:(?:\d+ )?([\d.]+)px", picture)
    assert len(sizes) >= 5
    assert min(map(float, sizes)) >= SMALLEST


def test_text_is_clear_of_everything_else(picture):
    assert complaints(picture) == []


def test_colours_come_from_the_page_or_the_theme(picture):
    drawn = re.sub(r"var\(--fig-\w+,#[0-9a-f]{6}\)", "", picture)
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b(?!-)|rgb\(", re.sub(r"url\(#.*?\)", "", drawn))
    for theme in (svg.LIGHT, svg.DARK):
        for name, value in theme.items():
            assert f"--{name}:var(--fig-{name},{value})" in picture


@pytest.mark.parametrize("theme", [svg.LIGHT, svg.DARK], ids=["light", "dark"])
def test_text_stands_out(theme):
    for ink in ("ink", "soft", "accent", "warn", "good"):
        for paper in ("paper", "box"):
            one, other = (bytes.fromhex(theme[name].removeprefix("#")) for name in (ink, paper))
            assert contrast(one, other) >= 4.5, f"{ink} on {paper}"


# The rulers themselves -----------------------------------------------------------------------


def drawing(width: int = 300) -> Drawing:
    return Drawing("some", "A title", "A description", width)


@pytest.mark.parametrize(
    ("second", "complaint"),
    [
        ((40, 50, "world"), "overlaps"),
        ((280, 80, "world"), "leaves the picture"),
        ((280, 80, "세계"), "leaves the picture"),
        ((90, 95, "world"), "crosses the border"),
        ((20, 135, "world"), "is crossed by a line"),
        ((20, 80, "world"), None),
    ],
)
def test_the_rulers_find_what_is_hard_to_read(second, complaint):
    some = drawing()
    some.text(20, 50, "hello, `world`")
    some.box(100, 70, 60, 50)
    some.arrow((10, 130), (200, 130))
    some.text(*second)
    found = complaints(some.svg(160))
    assert [complaint in one for one in found] == ([] if complaint is None else [True])


def test_hangul_is_as_wide_as_high():
    assert text_width("좀비") == 2 * size_of("")
    assert text_width("좀비", "small") == 2 * size_of("small")


def test_a_table_marks_what_is_closed():
    some = drawing()
    middles = some.table(
        10, 10, 120, "parent", [Row("3", "listener"), Row("4", "conn", closed=True)]
    )
    assert middles == {"3": 10 + 1.5 * svg.ROW, "4": 10 + 2.5 * svg.ROW}
    words = [one.what for one in texts(ET.fromstring(some.svg(120)))]
    assert words == ["parent", "3", "listener", "4", "closed"]


def test_a_zombie_is_hatched():
    some = drawing()
    assert "pattern" not in some.svg(50)
    some.interval(50, 10, 40, "zombie")
    assert "url(#some-hatch)" in some.svg(50)
    assert 'id="some-hatch"' in some.svg(50)


def test_markup_in_words_stays_words():
    some = drawing()
    some.text(10, 20, "`a < b` & <script>")
    assert [one.what for one in texts(ET.fromstring(some.svg(50)))] == ["`a < b` & <script>"]


def test_no_text_is_wider_than_we_think(tmp_path):
    """In a browser, with the fonts that this machine has."""
    from tests.browser import launched  # which skips this test where there is none

    drawn = {name: draw() for name, draw in figures.FIGURES.items()}
    measure = "[...document.querySelectorAll('text')].map(one => one.getComputedTextLength())"
    with launched(tmp_path) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_content("".join(drawn.values()))
        widths = page.evaluate(measure)
    thought = [one for text in drawn.values() for one in texts(ET.fromstring(text))]
    assert len(widths) == len(thought) > 100
    wider = zip(widths, thought, strict=True)
    assert [one.what for width, one in wider if width > one.right - one.left + 0.1] == []


# What they say is so -------------------------------------------------------------------------


def test_the_report_is_what_the_terminal_shows():
    """Every line of the picture stands in the report, in this order; the dots are its own."""
    left = iter([one.plain for one in report.rendered()])
    shown = [one.plain for one in report.shown()]
    assert [one for one in shown if one.strip() != "..." and one not in left] == []
    assert len(shown) > 25
    for words in ("7 of 8 children are zombies", "(one-wait-per-signal)", "Score: 85 of 100"):
        assert any(words in one for one in shown)
    drawn = [one.what for one in texts(ET.fromstring(report.report()))]
    assert " ".join(" ".join(drawn).split()) == " ".join(" ".join(["$ make lab4", *shown]).split())


def test_the_report_keeps_its_colours():
    kinds = {words: kind for line in report.shown() for _, words, kind in report.runs(line)}
    assert kinds["✓"] == "term good"
    assert kinds["✗"] == "term bold warn"


def test_architecture_calls_as_the_source_does():
    for caller, callee, _ in architecture.CALLS:
        source = paths.HARNESS / "forklab" / f"{caller.replace('.', '/')}.py"
        name = re.escape(callee)
        by_name = rf"from forklab import [^\n]*\b{name}\b"
        assert re.search(rf"from forklab\.{name} import|{by_name}", source.read_text()), (
            f"{caller} does not import {callee}"
        )


def test_splits_as_net_c_reads():
    """The numbers of exit-split, from the buffer's size in net.h and what came before."""
    from forklab.draw import session

    header = (paths.LABS / "common" / "net.h").read_text()
    found = re.search(r"char buffer\[(\d+)\]", header)
    assert found
    size = int(found[1])
    for sent, start, end, call in session.READS:
        where = f"buffer + {start}" if start else "buffer"
        assert call == f"`read(4, {where}, {size - start})` = {end - start}"
        assert len(sent.replace("\\r", "r").replace("\\n", "n")) == end - start
    assert session.READS[-1][2] == len(session.LETTERS)


def test_descriptors_are_those_of_lab_2(tmp_path):
    """fork-descriptors: 3 is the listener, 4 the connection; each process keeps one of them."""
    program = tmp_path / "server"
    sources = [paths.solution_of("lab2"), *sorted((paths.LABS / "common").glob("*.c"))]
    compiler = ["cc", "-std=gnu17", f"-I{paths.LABS / 'common'}", "-o", str(program)]
    subprocess.run([*compiler, *map(str, sources)], check=True)
    with ExitStack() as stack:
        port = stack.enter_context(reserve_port())
        server = stack.enter_context(subprocess.Popen([program, str(port)], stdout=subprocess.PIPE))
        stack.callback(server.kill)
        assert server.stdout is not None
        assert server.stdout.readline() == f"listening on port {port}\n".encode()
        before = procfs.descriptors(server.pid)
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        (child,) = procfs.Family(server.pid).members()
        wait_until(lambda: 4 not in procfs.descriptors(server.pid), "the parent's close")
        assert sorted(before) == sorted(procfs.descriptors(server.pid)) == [0, 1, 2, 3]
        of_child = procfs.descriptors(child.pid)
        assert sorted(of_child) == [0, 1, 2, 4]
        assert of_child[4] != before[3]


def test_figures_is_a_command(tmp_path, monkeypatch, capsys):
    from forklab.cli import main

    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    assert os.listdir(tmp_path) == []
    assert main(["figures"]) == 0
    assert "new: report.svg" in capsys.readouterr().out
    (tmp_path / "report.svg").unlink()
    (tmp_path / "report.svg").mkdir()
    assert main(["figures"]) == 4
    assert "cannot go on" in capsys.readouterr().err
