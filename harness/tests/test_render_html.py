"""The pages, without a browser: what they say, that they are valid, and that nothing gets out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from forklab.marks import ClassMarks, Mark
from forklab.render import html
from forklab.render.words import MOST
from forklab.result import FAILED
from tests.records import (
    HOSTILE,
    INVISIBLE,
    a_class,
    check,
    hostile,
    mixed,
    result,
    unbuilt,
    unjudged,
)
from tests.support import environment, forklab

KIM = Mark("김민지", "lab4", "kim/server.c", result=mixed())
PAGES = {
    "mixed": KIM,
    "unbuilt": replace(KIM, result=unbuilt(), late=True),
    "unjudged": replace(KIM, result=unjudged()),
    "no record": replace(KIM, result=None, problem="the worker was killed twice"),
    "all passed": replace(KIM, result=result(check("4.1"), untouched=True)),
    "hostile": Mark(HOSTILE, "lab4", HOSTILE, result=hostile()),
}


class Outline(HTMLParser):
    """The tags of a page with their attributes, and its words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._skipping = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._skipping += tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._skipping -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        self.words += "" if self._skipping else f" {data}"

    def count(self, name: str) -> int:
        return sum(tag == name for tag, _ in self.tags)


def every_page() -> dict[str, str]:
    pages = {name: html.student_page(mark) for name, mark in PAGES.items()}
    return {
        **pages,
        "class": html.class_page(a_class()),
        "nobody": html.class_page(ClassMarks([])),
    }


@pytest.mark.skipif(not shutil.which("tidy"), reason="install tidy to check the pages' HTML")
def test_the_html_is_valid() -> None:
    for name, page in every_page().items():
        ran = subprocess.run(
            ["tidy", "-q", "-e", "-utf8", "--drop-empty-elements", "no"],
            input=page.encode(),
            capture_output=True,
            env=environment(),
        )
        assert (ran.returncode, ran.stderr.decode()) == (0, ""), name


def test_a_failure_in_full() -> None:
    page = Outline(html.student_page(KIM))
    said = " ".join(page.words.split())
    for text in (
        "5 of 20 points",
        "What went wrong: 1 of 3 checks",
        "expected 0 zombies",
        "seen 7 of 8 children are zombies",
        "processes PID STATE 11 Z zombie <- look",
        "what the check did Did this.",
        "It never reaps (never-reaps) Not one child was taken out",
        "to see it yourself",
        "start it as strace build/run/lab4/server",
        "next make hint CHECK=4.2 labs/lab4-sigaction/README.md man 2 wait",
        "To try it by hand: make run LAB=4 PORT=9190 , and",
        "4.3 name of 4.3: first fix 4.2",
        "Limit reached: processes: It came to 64 processes.",
        "5f" * 32,
        "2026-03-01T09:00:00Z, in 1.5 seconds",
        "0.1.0, bwrap",
        "kim/server.c",
        "김민지",
    ):
        assert text in said
    assert page.count("details") == 1  # what passed is folded
    assert page.count("article") == 1
    assert page.count("script") == 0


def test_what_else_a_student_page_tells() -> None:
    pages = {name: Outline(html.student_page(mark)).words for name, mark in PAGES.items()}
    assert "0 of 10 points" in " ".join(pages["unbuilt"].split())
    assert "it does not compile" in pages["unbuilt"]
    assert "late" in pages["unbuilt"]
    assert "late" not in pages["mixed"].replace("isolation", "")
    assert "the starter, as it was handed out" in pages["all passed"]
    assert "All checks passed" in pages["all passed"]
    for name in ("unjudged", "no record"):
        assert "No score" in pages[name]
        assert " of 15 points" not in pages[name]
        assert "no fault of the program's" in pages[name]
    assert "no ports left" in pages["unjudged"]
    assert "the worker was killed twice" in pages["no record"]


def test_links_within_a_page_lead_somewhere() -> None:
    for page in every_page().values():
        ids = re.findall(r'\bid="([^"]*)"', page)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)
        assert set(re.findall(r'aria-labelledby="([^"]*)"', page)) <= set(ids)


def test_nothing_comes_from_elsewhere() -> None:
    for page in every_page().values():
        tags = Outline(page).tags
        assert {"link", "img", "iframe", "object", "base"}.isdisjoint(tag for tag, _ in tags)
        for _, attributes in tags:
            assert "src" not in attributes
            assert (attributes.get("href") or "#").startswith(("#", "students/"))
        assert "url(" not in page
        assert "@import" not in page
        assert "default-src 'none'" in page


def test_hostile_output_stays_text() -> None:
    for name in ("hostile", "class"):
        page = every_page()[name]
        outline = Outline(page)
        page.encode()
        assert outline.count("img") == 0
        assert outline.count("script") == (name == "class")
        assert outline.count("pre") == page.count("</pre>")
        assert not [key for _, attributes in outline.tags for key in attributes if key[:2] == "on"]
        assert not set(INVISIBLE) & set(page)
        for text in (r"\x1b[31m100/100", r"\u202egnp.c", r"\ud800{{7*7}}{% raw %}", r"\x00"):
            assert text in outline.words


def test_a_flood_is_cut_and_a_page_is_small() -> None:
    page = html.student_page(PAGES["hostile"])
    assert f"({10_000_000 - MOST} more characters)" in page
    assert "A" * MOST in page
    assert "A" * (MOST + 1) not in page
    assert len(page.encode()) < 100_000
    assert len(html.student_page(KIM).encode()) < 20_000


def test_the_class_page() -> None:
    said = " ".join(Outline(html.class_page(a_class())).words.split())
    for text in (
        "6 students, 7 submissions.",
        "3 submissions without a mark : the grader could not judge",
        "2 late",
        "3 missing",
        "1 group of equal programs",
        "2 files or folders not graded",
        "3 scores of 20 points: median 5, mean 3.3, from 0 to 5",
        "4.2 name of 4.2 1 × It never reaps (never-reaps) 1 × not judged,",
        "4.1 name of 4.1 1 × It does not compile (does-not-build) 1 of 3",
        "does not compile",
        "Dan , lab4 : the worker was killed twice",
        "Dan , lab3 : the grader could not judge: no ports left",
        "Ana de Vries , lab4",
        "Ghost , lab3",
        "notes.txt : it is no C file",
    ):
        assert text in said


def test_no_mark_counts_nowhere() -> None:
    """An error is in no histogram, no median and no count of failed checks."""
    marks = ClassMarks([replace(KIM, result=unjudged()), replace(KIM, student="Lee")])
    said = " ".join(Outline(html.class_page(marks)).words.split())
    assert "1 score of 20 points: median 5, mean 5.0" in said
    assert "! no mark" in said
    assert "1 of 1" in said
    assert " 1 of 2 " not in said


def test_the_histogram_has_its_numbers_as_text() -> None:
    scores = (0, 9, 10, 95, 99, 100, 100)
    marks = [
        Mark(str(n), "lab4", "a.c", result=result(check("4.1", points=100), score=score))
        for n, score in enumerate(scores)
    ]
    page = html.class_page(ClassMarks(marks))
    label = re.search(r'<svg [^>]*role="img" aria-label="([^"]*)"', page)
    assert label
    assert label[1].endswith("in per cent: 0–9: 2; 10–19: 1; 90–99: 2; 100: 2")
    rows = re.findall(r'<tr><td>([\d–]+)</td><td class="num">(\d+)</td></tr>', page)
    assert len(rows) == 11
    assert sum(int(count) for _, count in rows) == len(scores)


def names_of(*students: str, where: str = "a.c") -> list[str]:
    return html.page_names(ClassMarks([Mark(one, "lab4", where) for one in students]))


def test_names_of_pages_are_safe_and_their_own() -> None:
    students = [
        "Kim", "kim", "Kim ", "K/im", "K:im", "../../etc/passwd", "", ".", "CON", "-rf", "a\0b",
        "김민지", unicodedata.normalize("NFD", "김민지"), "x" * 300, "김" * 300,
        "%41", "\udcff", HOSTILE,
    ]  # fmt: skip
    names = names_of(*students)
    assert len({name.casefold() for name in names}) == len(students)
    for name in names:
        assert re.fullmatch(r"\w[\w-]*-lab4\.html", name)
        assert len(name.encode()) < 200
        assert unicodedata.is_normalized("NFC", name)


def test_names_of_pages_do_not_depend_on_the_others() -> None:
    assert names_of("Kim", "Lee") == names_of("Lee", "Kim")[::-1]
    assert names_of("Kim") == names_of("Kim", where="elsewhere.c")
    twice = names_of("Kim", "Kim", "Kim")
    assert len(set(twice)) == 3
    assert twice[:1] == names_of("Kim")


def test_the_whole_class_is_written(tmp_path: Path) -> None:
    marks = a_class()
    html.write_class(marks, tmp_path)
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    pages = sorted(os.listdir(tmp_path / "students"))
    assert pages == sorted(html.page_names(marks))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.html")}
    html.write_class(marks, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    linked = {unquote(one) for one in re.findall(r'href="students/([^"]+)"', index)}
    assert linked == set(pages)


def test_index_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a batch that is killed leaves no link into the void."""
    written: list[str] = []
    monkeypatch.setattr(html, "write_atomically", lambda path, text: written.append(path.name))
    html.write_class(a_class(), tmp_path)
    assert written[-1] == "index.html"
    assert len(written) == len(a_class().marks) + 1


def test_words_in_backquotes_are_code() -> None:
    named = check("4.1", FAILED, name="obeys `exit`, <b>`x", diagnosis=None)
    page = html.student_page(replace(KIM, result=result(named)))
    assert "obeys <code>exit</code>, &lt;b&gt;`x" in page


def test_grade_writes_what_it_is_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text("int main(void) { return missing; }")
    files = {kind: tmp_path / f"out.{kind}" for kind in ("html", "junit", "gradescope")}
    options = [word for kind, file in files.items() for word in (f"--{kind}", file)]
    ran = forklab("grade", "lab1", source, "--brief", *options)
    assert ran.returncode == 3, ran.stderr
    for file in files.values():
        assert "missing" in file.read_text()  # the compiler's words
    ran = forklab("grade", "lab1", source, "--html", tmp_path / "no" / "a.html")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "no/a.html" in ran.stderr


def test_unknown_diagnosis_of_another_kit() -> None:
    page = html.student_page(
        replace(KIM, result=result(check("4.1", FAILED, diagnosis="from-the-future")))
    )
    assert "0 zombies" in page
