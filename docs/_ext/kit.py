"""The site's own directives and roles: code, tables and pictures made from the kit itself.

What a page names and the kit doesn't have is a warning that says so; `make docs` takes warnings
for errors.
"""

from __future__ import annotations

import html
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from pygments.lexer import Lexer
from pygments.lexers.shell import BashLexer
from pygments.token import Generic, Text
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.directives.code import container_wrapper
from sphinx.util import logging
from sphinx.util.docutils import ReferenceRole, SphinxDirective, SphinxRole

import listings
import run_blocks
import tables
from forklab import paths
from forklab.rubric import diagnoses
from listings import Listing, NothingThere

DOCS = Path(__file__).resolve().parents[1]
LINKS = DOCS / "links.toml"
FIGURES = DOCS / "figures"
MAN = "https://man7.org/linux/man-pages/man{section}/{name}.{section}.html"
READABLE = 0.73  # of its natural size, a picture is still legible
HANDOUT = re.compile(r"\]\((?:\.\./)+labs/(lab\d)-[a-z]+/README\.md")

log = logging.getLogger(__name__)


@cache
def links() -> dict[str, Any]:
    """The table of links.toml."""
    with LINKS.open("rb") as file:
        return tomllib.load(file)


@cache
def manual() -> frozenset[str]:
    """The manual pages that may be linked to, such as "signal(7)"."""
    return frozenset(page for group in links()["man"].values() for page in group)


def man_url(page: str) -> str:
    """Where "signal(7)" is. Raises NothingThere."""
    found = re.fullmatch(r"([\w.+-]+)\((\d)\)", page)
    if not found or page not in manual():
        raise NothingThere(
            f"docs/links.toml lists no manual page {page!r}; if man7.org has it, add it there"
        )
    return MAN.format(name=found[1], section=found[2])


def address(page: str, other: str) -> str:
    """How a page of the site refers to another."""
    return f"{'../' * page.count('/')}{other}.html"


# Directives ----------------------------------------------------------------------------------


class KitDirective(SphinxDirective):
    """A directive that may ask for what is not in the kit."""

    def run(self) -> list[nodes.Node]:
        try:
            return self.make()
        except NothingThere as problem:
            log.warning("%s: %s", self.name, problem, location=self.get_location())
            return []

    def make(self) -> list[nodes.Node]:
        """The nodes. Raises NothingThere."""
        raise NotImplementedError

    def listing(self, one: Listing) -> nodes.Node:
        """Highlighted code with its caption."""
        block = nodes.literal_block(one.text, one.text, language=one.language)
        self.set_source_info(block)
        return container_wrapper(self, block, one.caption)

    def markdown(self, text: str) -> list[nodes.Node]:
        """The nodes of a text in Markdown."""
        parent = nodes.Element()
        source, _ = self.get_source_info()
        self.state.nested_parse(StringList(text.splitlines(), source), 0, parent)
        return list(parent.children)


class Step(KitDirective):
    """``{step} 4a``: the code of that step in the solution."""

    required_arguments = 1

    def make(self) -> list[nodes.Node]:
        return [self.listing(listings.step(self.arguments[0]))]


class Function(KitDirective):
    """``{function} labs/common/net.c write_all``: a function, with the comment above it."""

    required_arguments = 2

    def make(self) -> list[nodes.Node]:
        return [self.listing(listings.function(self.arguments[1], self.arguments[0]))]


class LabDiff(KitDirective):
    """``{lab-diff} 2 3``: what changes from lab 2's solution to lab 3's."""

    required_arguments = 2

    def make(self) -> list[nodes.Node]:
        return [self.listing(listings.lab_diff(self.arguments[0], self.arguments[1]))]


class Mutant(KitDirective):
    """``{mutant} lab2 NAME``: a wrong server of the gallery, and what catches it."""

    required_arguments = 2

    def make(self) -> list[nodes.Node]:
        one = listings.mutant(self.arguments[0], self.arguments[1])
        fails = ", ".join(
            f"{{check}}`{check}`" + (f" as {{diagnosis}}`{code}`" if code else "")
            for check, code in one.fails.items()
        )
        words = f"**The misconception:** {tables.escaped(one.why)}\n\n**What catches it:** {fails}."
        code = self.listing(listings.mutant_diff(one))
        return [nodes.container("", *self.markdown(words), code, classes=["kit-mutant"])]


class Rubric(KitDirective):
    """``{rubric} lab4``: the lab's checks; on the page of the rubric, what {check} links to."""

    required_arguments = 1

    def make(self) -> list[nodes.Node]:
        lab = self.arguments[0]
        if lab not in paths.LAB_FOLDERS:
            raise NothingThere(f"there is no {lab!r}: write lab1 to lab4")
        made = self.markdown(tables.rubric(lab))
        for table in made:
            for row in table.findall(nodes.row):
                number = row[0].astext()
                if number in tables.checks():
                    row["ids"].append(tables.check_anchor(number))
        return made


class Commands(KitDirective):
    """``{commands}``: what plain `make` prints, as tables."""

    def make(self) -> list[nodes.Node]:
        return self.markdown(tables.commands())


class Run(KitDirective):
    """``{run}``: commands and what they print; run_blocks.py holds that it is so."""

    has_content = True

    def make(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        if not text.startswith("$ "):
            raise NothingThere("the first line must be a command: '$ ' and what to type")
        block = nodes.literal_block(text, text, language="session", classes=["kit-run"])
        self.set_source_info(block)
        return [block]


class Session(Lexer):  # type: ignore[misc]
    """What is typed, and what is printed: a "#" is no prompt here, but may begin a line of C."""

    name = "Session"
    aliases: ClassVar = ["session"]

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, Any, str]]:
        """The pieces of a text with where they begin and what they are."""
        bash, position, command = BashLexer(), 0, ""
        for line in text.splitlines(keepends=True):
            more = bool(command) and run_blocks.goes_on(command)
            prompt = line[:2] if line.startswith("> " if more else "$ ") else ""
            words = line.removeprefix(prompt)
            if prompt:
                yield position, Generic.Prompt, prompt
            if more and run_blocks.HERE.search(command):  # what it is to read is no command
                yield position + len(prompt), Text, words
            elif more or prompt:
                for at, kind, piece in bash.get_tokens_unprocessed(words):
                    yield position + len(prompt) + at, kind, piece
            else:
                yield position, Generic.Output, words
            if more:
                command += f"\n{words.rstrip()}"
            elif prompt:
                command = words.rstrip()
            position += len(line)


class Picture(KitDirective):
    """``{picture} NAME``: docs/figures/NAME.svg in the page; the body, if any, is its caption."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {"class": directives.class_option}

    def make(self) -> list[nodes.Node]:
        name = self.arguments[0]
        path = FIGURES / f"{name}.svg"
        if not path.is_file():
            raise NothingThere(f"docs/figures has no picture {name}.svg")
        self.env.note_dependency(str(path))
        svg = inline_svg(path.read_text(encoding="utf-8"), name)
        # To be scrolled by keyboard where it is too wide, it must take the focus.
        start = f'<div class="kit-scroll" tabindex="0" role="group" aria-label="{title_of(svg)}">'
        drawn = nodes.raw("", f"{start}{svg}</div>", format="html")
        figure = nodes.figure("", drawn, classes=["kit-picture", *self.options.get("class", [])])
        if self.content:
            words = self.markdown("\n".join(self.content))
            figure += nodes.caption("", "", *(words[0].children if words else []))
            figure += nodes.legend("", *words[1:]) if words[1:] else []
        return [figure]


def inline_svg(text: str, name: str) -> str:
    """An SVG file as part of a page: its ids begin with its name, since a page may hold several.

    Raises NothingThere if it has no title or no description to be read out.
    """
    svg = text[text.index("<svg") :].strip()
    if not ("<title" in svg and "<desc" in svg):
        raise NothingThere(f"docs/figures/{name}.svg needs a <title> and a <desc>")
    own = {found for found in re.findall(r'\bid="([^"]+)"', svg) if not found.startswith(name)}
    for found in own:
        one = re.escape(found)
        svg = re.sub(rf'(\bid=")({one}")', rf"\1{name}-\2", svg)
        svg = re.sub(rf'((?:href="|url\()#)({one}[")])', rf"\1{name}-\2", svg)
        svg = re.sub(rf'(aria-\w+="(?:[^"]* )?)({one}[ "])', rf"\1{name}-\2", svg)
    # Smaller than that, its words could not be read: then it scrolls in its box.
    least = round(READABLE * width_of(svg))
    return svg.replace("<svg", f'<svg style="min-width: {least}px"', 1)


def width_of(svg: str) -> float:
    """The width of a picture at its natural size, in pixels; 0 if it has none."""
    found = re.search(r'viewBox="[\d.-]+ [\d.-]+ ([\d.]+) ', svg)
    return float(found[1]) if found else 0.0


def title_of(svg: str) -> str:
    """The title of a picture, as the value of an attribute."""
    found = re.search(r"<title[^>]*>(.*?)</title>", svg, re.DOTALL)
    return html.escape(html.unescape(" ".join(found[1].split()))) if found else ""


# Roles ---------------------------------------------------------------------------------------


class KitRole(SphinxRole):
    """A role that may ask for what is not in the kit."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            return [self.make()], []
        except NothingThere as problem:
            log.warning("%s: %s", self.name, problem, location=self.get_location())
            return [nodes.literal(self.text, self.text)], []

    def make(self) -> nodes.Node:
        """The node. Raises NothingThere."""
        raise NotImplementedError


class CheckRole(KitRole):
    """``{check}`4.7` ``: a link to the rubric."""

    def make(self) -> nodes.Node:
        if self.text not in tables.checks():
            raise NothingThere(f"there is no check {self.text!r}")
        uri = f"{address(self.env.docname, 'rubric')}#{tables.check_anchor(self.text)}"
        name = tables.checks()[self.text].name
        return nodes.reference(self.text, self.text, refuri=uri, internal=True, reftitle=name)


class DiagnosisRole(KitRole):
    """``{diagnosis}`never-reaps` ``: a link to the diagnoses."""

    def make(self) -> nodes.Node:
        if self.text not in diagnoses():
            raise NothingThere(f"there is no diagnosis {self.text!r}")
        code = nodes.literal(self.text, self.text)
        uri = f"{address(self.env.docname, 'diagnoses')}#{self.text}"
        title = diagnoses()[self.text].title
        return nodes.reference("", "", code, refuri=uri, internal=True, reftitle=title)


class ManRole(KitRole):
    """``{man}`signal(7)` ``: a link to the manual page at man7.org."""

    def make(self) -> nodes.Node:
        return nodes.reference(self.text, self.text, refuri=man_url(self.text), classes=["kit-man"])


class FileRole(KitRole):
    """``{file}`labs/common/net.c` ``: a link to that file as a page of the site."""

    def make(self) -> nodes.Node:
        name = nodes.literal(self.text, self.text)
        path = paths.KIT / self.text.rstrip("/")
        if path.is_dir() and path.is_relative_to(paths.KIT):
            return name
        return reference_to_file(self.env, listings.file_of_kit(self.text), name)


class LinkRole(ReferenceRole):
    """``{link}`beej` `` or ``{link}`words <beej>` ``: a link that is listed in links.toml."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        entry = links()["link"].get(self.target)
        if entry is None:
            problem = f"link: docs/links.toml has no link {self.target!r}"
            log.warning(problem, location=self.get_location())
            return [nodes.Text(self.title)], []
        words = self.title if self.has_explicit_title else entry["title"]
        return [nodes.reference(words, words, refuri=entry["url"])], []


# Files of the kit as pages --------------------------------------------------------------------

LANGUAGES = {
    ".c": "c",
    ".h": "c",
    ".py": "python",
    ".sh": "bash",
    ".toml": "toml",
    ".md": "text",
}


def reference_to_file(env: Any, path: Path, inner: nodes.Node) -> nodes.Node:
    """A link to the page that shows a file of the kit; that page is then made."""
    name = listings.relative(path)
    if not hasattr(env, "kit_files"):
        env.kit_files = {}
    env.kit_files.setdefault(env.docname, set()).add(name)
    uri = address(env.docname, f"files/{name}")
    return nodes.reference("", "", inner, refuri=uri, internal=True)


def link_handouts(_app: Sphinx, docname: str, content: list[str]) -> None:
    """A link to a handout in labs/ leads to its page here."""
    up = "../" * docname.count("/")
    content[0] = HANDOUT.sub(rf"]({up}handouts/\1.md", content[0])


def link_files(app: Sphinx, document: nodes.document) -> None:
    """A link to another file of the kit leads to the page that shows it."""
    for link in list(document.findall(addnodes.download_reference)):
        _, path = app.env.relfn2path(link["reftarget"], app.env.docname)
        inner = nodes.inline("", "", *link.children)
        if Path(path).is_relative_to(paths.KIT):
            link.replace_self(reference_to_file(app.env, Path(path), inner))
        else:
            log.warning("link to %s, which is not in the kit", path, location=link)
            link.replace_self(inner)


def file_pages(app: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The pages of the files that are linked to."""
    every = getattr(app.env, "kit_files", {}).values()
    for name in sorted(set().union(*every)):
        path = paths.KIT / name
        language = LANGUAGES.get(path.suffix, "make" if path.name == "Makefile" else "text")
        text = path.read_text(encoding="utf-8")
        code = app.builder.highlighter.highlight_block(text, language, location=name)
        body = f"<h1><code>{html.escape(name)}</code></h1>{code}"
        yield f"files/{name}", {"title": name, "body": body}, "page.html"


def make_accessible(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: object
) -> None:
    """What Sphinx and Furo leave out: what scrolls takes the focus, captions have a level."""
    for old, new in (
        ("<pre>", '<pre tabindex="0">'),
        ('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper'),
    ):
        context["body"] = context.get("body", "").replace(old, new)
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )


def forget_files(_app: Sphinx, env: Any, docname: str) -> None:
    """Before a page is read anew."""
    getattr(env, "kit_files", {}).pop(docname, None)


def setup(app: Sphinx) -> dict[str, Any]:
    """For Sphinx: what this module adds."""
    for name, directive in {
        "step": Step,
        "function": Function,
        "lab-diff": LabDiff,
        "mutant": Mutant,
        "rubric": Rubric,
        "commands": Commands,
        "run": Run,
        "picture": Picture,
    }.items():
        app.add_directive(name, directive, override=True)  # docutils has a rubric of its own
    for name, role in {
        "check": CheckRole,
        "diagnosis": DiagnosisRole,
        "man": ManRole,
        "file": FileRole,
        "link": LinkRole,
    }.items():
        app.add_role(name, role(), override=True)
    app.add_lexer("session", Session)
    app.connect("source-read", link_handouts)
    app.connect("doctree-read", link_files, priority=100)
    app.connect("html-collect-pages", file_pages)
    app.connect("html-page-context", make_accessible, priority=900)  # after Furo
    app.connect("env-purge-doc", forget_files)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
