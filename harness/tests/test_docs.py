"""The site: it builds, its links lead somewhere, and what it prints is what is printed."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from forklab import gallery, paths
from forklab.rubric import of_lab
from tests.docs_support import DOCS, EXTENSION, Page, Site, build, sphinx
from tests.support import environment, running, wait_until

NEEDS_SPHINX = pytest.mark.skipif(
    importlib.util.find_spec("furo") is None, reason="no Sphinx and Furo: `make docs` installs them"
)
NEEDS_VENV = pytest.mark.skipif(
    not (paths.KIT / ".venv" / "bin" / "forklab").exists(), reason="no .venv: make has set up none"
)


def extension(name: str) -> ModuleType:
    """A module of docs/_ext."""
    if str(EXTENSION) not in sys.path:
        sys.path.append(str(EXTENSION))
    return importlib.import_module(name)


listings = extension("listings")
run_blocks = extension("run_blocks")
tables = extension("tables")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return build(tmp_path_factory.mktemp("site"))


# What is built -------------------------------------------------------------------------------


@NEEDS_SPHINX
class TestTheSite:
    def test_builds_without_a_warning(self, site: Site) -> None:
        assert (site.said, site.status) == ("", 0)
        assert site.root / "index.html" in site.pages

    def test_links_inside_lead_somewhere(self, site: Site) -> None:
        dead = [
            f"{page.path.relative_to(site.root)}: {address}"
            for page in site.pages.values()
            for _, address in page.links
            if not re.match(r"https?:|data:", address) and not leads_somewhere(site, page, address)
        ]
        assert dead == []

    def test_links_outside_are_those_of_the_list(self, site: Site) -> None:
        kit = extension("kit")
        listed = {one["url"] for one in kit.links()["link"].values()}
        listed |= {kit.man_url(page) for page in kit.manual()}
        used = {
            address: page.path.name
            for page in site.pages.values()
            for tag, address in page.links
            if tag == "a" and address.startswith("http")
        }
        assert {address: page for address, page in used.items() if address not in listed} == {}
        assert listed - used.keys() == set()

    def test_nothing_is_fetched_from_elsewhere(self, site: Site) -> None:
        fetched = {
            address
            for page in site.pages.values()
            for tag, address in page.links
            if tag != "a" and re.match(r"(https?:)?//", address)
        }
        assert fetched == set()
        for sheet in site.root.rglob("*.css"):
            assert not re.search(r"url\([\"']?(https?:)?//|@import", sheet.read_text()), sheet

    def test_no_id_is_there_twice(self, site: Site) -> None:
        for page in site.pages.values():
            assert len(page.ids) == len(set(page.ids)), page.path

    def test_the_rubric_has_every_check(self, site: Site) -> None:
        page = site.pages[site.root / "rubric.html"]
        for lab in paths.LAB_FOLDERS:
            checks = of_lab(lab)
            assert {tables.check_anchor(one.id) for one in checks} <= set(page.ids)
            shown = {row[0]: int(row[-1]) for row in page.rows if row[0] in {c.id for c in checks}}
            assert shown == {one.id: one.points for one in checks}

    def test_commands_are_what_make_prints(self, site: Site) -> None:
        env = environment()
        said = subprocess.run(
            ["make", "help"], cwd=paths.KIT, env=env, capture_output=True, text=True, check=True
        ).stdout
        printed = [line.split() for line in said.splitlines() if line.startswith("  ")]
        rows = site.pages[site.root / "commands.html"].rows
        shown = [with_option_first(*plain(row)) for row in rows if len(row) == 2]
        assert len(printed) > 20
        assert [line for line in printed if line not in shown] == []


def plain(row: list[str]) -> list[str]:
    """Cells without the typography."""
    return [cell.replace("’", "'").replace("…", "...") for cell in row]


def with_option_first(command: str, does: str) -> list[str]:
    """The words of a row as `make help` prints them: "SUBMISSION=path ... this file"."""
    dots = ["..."] if command.startswith("... ") else []
    return [*command.removeprefix("... ").split(), *dots, *does.split()]


def leads_somewhere(site: Site, page: Page, address: str) -> bool:
    path, _, anchor = re.sub(r"\?v=\w+", "", address).partition("#")
    target = (page.path.parent / path).resolve() if path else page.path
    if not target.is_file():
        return False
    return not anchor or target not in site.pages or anchor in site.pages[target].ids


@NEEDS_SPHINX
def test_what_the_kit_does_not_have_is_told(tmp_path: Path) -> None:
    source = tmp_path / "pages"
    source.mkdir()
    wrong = {
        "```{step} 4z\n```": "step: solutions/lab4-sigaction/server.c has no step '4z'",
        "```{step} 9a\n```": "step: there is no lab '9'",
        "```{function} labs/common/net.c nope\n```": "labs/common/net.c has no function 'nope'",
        "```{function} labs/none.c nope\n```": "function: the kit has no file 'labs/none.c'",
        "```{lab-diff} 1 7\n```": "lab-diff: there is no lab '7'",
        "```{mutant} lab2 nope\n```": "harness/mutants/lab2.toml has no wrong server 'nope'",
        "```{rubric} lab7\n```": "rubric: there is no 'lab7': write lab1 to lab4",
        "```{picture} nope\n```": "picture: docs/figures has no picture nope.svg",
        "```{run}\nhello\n```": "run: the first line must be a command: '$ ' and what to type",
        "{check}`4.77`": "check: there is no check '4.77'",
        "{diagnosis}`nope`": "diagnosis: there is no diagnosis 'nope'",
        "{man}`nope(9)`": "man: docs/links.toml lists no manual page 'nope(9)'",
        "{file}`nope.c`": "file: the kit has no file 'nope.c'",
        "{file}`../outside`": "file: the kit has no file '../outside'",
        "{link}`nope`": "link: docs/links.toml has no link 'nope'",
    }
    (source / "index.md").write_text("# Wrong\n\n" + "\n\n".join(wrong) + "\n")
    ran = sphinx(source, tmp_path / "out")
    assert ran.returncode == 1
    assert [sentence for sentence in wrong.values() if sentence not in ran.stderr] == []
    assert ran.stderr.count("WARNING") == len(wrong)
    assert "Traceback" not in ran.stderr


# Listings ------------------------------------------------------------------------------------


def test_a_step_is_the_code_between_its_marks() -> None:
    for lab in paths.LAB_FOLDERS:
        text = paths.solution_of(lab).read_text()
        names = re.findall(r"/\* step (\d\w): ", text)
        assert names
        for name in names:
            made = listings.step(name)
            assert made.text
            assert not re.search(r"/\* (step|end) \d", made.text)
            assert not made.text.startswith(("\t", "\n"))
            assert f"step {name}: " in made.caption
    assert "while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {" in listings.step("4a").text


def test_a_function_comes_whole_with_its_comment() -> None:
    made = listings.function("write_all", "labs/common/net.c").text
    assert made.startswith("int write_all(int fd, const void *data, size_t size)\n{\n")
    assert made.endswith("\treturn 0;\n}")
    made = listings.function("reap_children", "solutions/lab4-sigaction/server.c").text
    assert made.startswith("/*\n * Handles SIGCHLD.")
    assert "log_child(pid, status);" in made
    assert "static void log_child" not in made
    main = listings.function("main", "solutions/lab4-sigaction/server.c").text
    assert main.count("\n}") == 1
    assert "step 4" not in main


def test_a_diff_shows_what_changes_and_no_marks() -> None:
    made = listings.lab_diff("2", "3")
    assert "+\tsignal(SIGCHLD, SIG_IGN);" in made.text.splitlines()
    assert "/* step" not in made.text
    for lab in paths.LAB_FOLDERS:
        for one in gallery.mutants(lab):
            text = listings.mutant_diff(one).text
            assert re.search(r"^[+-]", text, re.MULTILINE), one.name


@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="no Sphinx")
def test_the_ids_of_a_picture_are_its_own() -> None:
    inline = extension("kit").inline_svg
    svg = (
        '<?xml version="1.0"?>\n<svg viewBox="0 0 500 9" aria-labelledby="t d">'
        '<title id="t">T</title><desc id="d">D</desc>'
        '<path id="p"/><use href="#p"/><g fill="url(#p)"/></svg>'
    )
    made = inline(svg, "one")
    assert re.findall(r'id="(.*?)"', made) == ["one-t", "one-d", "one-p"]
    assert 'aria-labelledby="one-t one-d"' in made
    assert 'href="#one-p"' in made
    assert "url(#one-p)" in made
    assert made.startswith('<svg style="min-width: 365px"')
    with pytest.raises(listings.NothingThere, match="needs a <title> and a <desc>"):
        inline("<svg/>", "one")


@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="no Sphinx")
def test_only_prompts_are_prompts() -> None:
    """They can't be selected, so that what is copied can be typed."""
    text = (
        "$ cat <<'END' \\\n> | cat\n#include <a.h>\n$ x\nEND\n# printed\n$ ls \\\n> -l\n> printed\n"
    )
    pieces = list(extension("kit").Session().get_tokens(text))
    assert "".join(piece for _, piece in pieces) == text
    prompts = [piece for kind, piece in pieces if str(kind) == "Token.Generic.Prompt"]
    assert prompts == ["$ ", "> ", "$ ", "> "]
    printed = [piece for kind, piece in pieces if str(kind) == "Token.Generic.Output"]
    assert printed == ["# printed\n", "> printed\n"]


# Runnable blocks -----------------------------------------------------------------------------

PAGES = sorted(page for page in DOCS.rglob("*.md") if "```{run}" in page.read_text("utf-8"))
TOOLS = {"ss": "iproute2", "strace": "strace", "ps": "procps", "pstree": "psmisc", "lsof": "lsof"}


def run_page(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXTENSION / "run_blocks.py", *words],
        env=environment(HOME="/nowhere"),
        capture_output=True,
        text=True,
        check=False,
    )


@NEEDS_VENV
@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(DOCS)) for page in PAGES])
def test_commands_print_what_the_page_says(page: Path) -> None:
    typed = " ".join(one.text for one in run_blocks.commands_of(page.read_text("utf-8")))
    for tool, package in TOOLS.items():
        if re.search(rf"\b{tool} ", typed) and not shutil.which(tool):
            pytest.skip(f"no {tool}: apt-get install {package}")
    ran = run_page("--quiet", page)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def a_page(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(f"# A page\n\n```{{run}}\n{text}\n```\n")
    return page


@NEEDS_VENV
def test_a_page_that_says_something_else_is_told_and_updated(tmp_path: Path) -> None:
    page = a_page(
        tmp_path, "$ a=4242; echo $a 9190 | \\\n> cat\n1 22 333\n$ echo $(( a + 1 ))\n123"
    )
    ran = run_page("--quiet", page)
    assert ran.returncode == 1
    assert f"{page}:4: this prints something else (exit status 0)" in ran.stdout
    assert "\n4242 9190\n" in ran.stdout
    assert f"{page}:7:" not in ran.stdout
    assert run_page("--update", page).returncode == 0
    assert page.read_text().splitlines()[3:8] == [
        "$ a=4242; echo $a 9190 | \\",
        "> cat",
        "4242 9190",
        "$ echo $(( a + 1 ))",
        "123",
    ]
    assert run_page(page).returncode == 0


@NEEDS_VENV
def test_the_copy_is_a_kit_of_its_own(tmp_path: Path) -> None:
    """make sets nothing up there, and builds nothing here."""
    commands = "$ pwd; make status > /dev/null; ls -d build out .forklab\n$ echo mark > docs/mark"
    ran = run_page(a_page(tmp_path, commands))
    assert "/home/you/forklab\n" in ran.stdout
    assert "setting up" not in ran.stdout + ran.stderr
    assert not (DOCS / "mark").exists()


@NEEDS_VENV
def test_nothing_of_a_page_stays(tmp_path: Path, mark: str) -> None:
    """What the page left running is a failure, and is ended; what does not end, too."""
    actor = f"bash -c 'while :; do sleep 1; done' {mark}"
    page = a_page(tmp_path, f"$ (setsid {actor} &)\n$ {actor} &")
    ran = run_page(page)
    assert ran.returncode == 1
    assert ran.stdout.count("still running at the end of the page") >= 2
    assert running(mark) == {}
    page = a_page(tmp_path, f"$ echo a\nb\n$ sleep 1000; : {mark}")
    ran = run_page("--seconds", "0.5", page)
    assert ran.returncode == 4
    assert f"{page}:4: this prints something else" in ran.stdout
    assert "line 6: bash did not get past this: sleep 1000" in ran.stderr


@NEEDS_VENV
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_ends_what_it_runs(tmp_path: Path, mark: str, number: signal.Signals) -> None:
    page = a_page(tmp_path, f"$ bash -c 'while :; do sleep 1; done' {mark}")
    process = subprocess.Popen(
        [sys.executable, EXTENSION / "run_blocks.py", page],
        env=environment(TMPDIR=str(tmp_path)),
        start_new_session=True,
    )
    wait_until(lambda: running(mark), "the page's command")
    os.kill(process.pid, number)
    assert process.wait(30) == 130
    assert running(mark) == {}
    assert list(tmp_path.glob("forklab-docs-*")) == []


def test_where_a_command_ends() -> None:
    lines = ["$ cat <<END", "> a", "$ b", "END", "c", "$ cat <<< A $((1 << 2))", "d", "$ a \\", "b"]
    commands = run_blocks.commands_of(
        "\n".join(["text", "$ no", "```{run}", *lines, "```", "$ no"])
    )
    assert [(one.line, one.text, one.printed) for one in commands] == [
        (4, "cat <<END\na\n$ b\nEND", ["c"]),
        (9, "cat <<< A $((1 << 2))", ["d"]),
        (11, "a \\\nb", []),
    ]


def test_a_block_without_a_command_is_told(tmp_path: Path) -> None:
    ran = run_page(a_page(tmp_path, "hello"))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "line 4: a block begins with a command" in ran.stderr


@pytest.mark.parametrize(
    ("printed", "got"),
    [
        ("pid 4242 has 3", "pid 7 has 3"),
        ("    PID   PPID", "  PID PPID"),
        ("  ✓ 2.1  builds   5/5   0.11 s", "  ✓ 2.1  builds   5/5   12 s"),
        ("make: *** [Makefile:97: run] Terminated", "make: *** [Makefile:5: run] Terminated"),
        ("a\n...\nz", "a\nz"),
        ("a\n...\nz", "a\nb\nc\nz"),
        ("child ...", "child 3 killed"),
        ("child ...", "child"),
        ("", ""),
    ],
)
def test_what_may_differ(printed: str, got: str) -> None:
    assert run_blocks.agrees(printed.splitlines(), got.splitlines())


@pytest.mark.parametrize(
    ("printed", "got"),
    [
        ("pid 4242 has 3", "pid 4242 has 4"),
        ("pid 4242", "pid x"),
        ("ab", "a b"),
        ("a b", "ab"),
        ("a", "a\nb"),
        ("a", ""),
        ("a\n...\nz", "a\nz\ny"),
        ("2.1 s", "2.1 ms"),
        ("a.c", "abc"),
        ("status 137", "status 143"),
        ("0x0300: exited with 3", "0x0100: exited with 3"),
        ("SigIgn:\t0000000000001000", "SigIgn:\t0000000000011000"),
    ],
)
def test_what_may_not_differ(printed: str, got: str) -> None:
    assert not run_blocks.agrees(printed.splitlines(), got.splitlines())


# Serving -------------------------------------------------------------------------------------


def test_the_site_is_served_until_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, EXTENSION / "serve.py"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    address = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/ .*\n", address)
    process.stdout.close()


@pytest.mark.parametrize("word", ["x", "-1", "65536", "٣"])
def test_what_is_no_port_is_told(word: str) -> None:
    ran = subprocess.run(
        [sys.executable, EXTENSION / "serve.py", word], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert "is no port" in ran.stderr


def test_signals_of_the_c_library_do_not_count():
    """Whoever starts the runner may have them ignored, and nobody can change that."""
    assert run_blocks.agrees(["SigIgn:\t0000000000011000"], ["SigIgn:\t0000000080011000"])
    assert not run_blocks.agrees(["SigIgn:\t0000000000011000"], ["SigIgn:\t0000000080001000"])
