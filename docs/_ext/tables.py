"""Tables of the site as Markdown, made from what they describe: the checks, and the Makefile."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from forklab import gallery, paths
from forklab.rubric import Check, of_lab


@cache
def checks() -> dict[str, Check]:
    """All checks of the kit, by number."""
    return {one.id: one for lab in paths.LAB_FOLDERS for one in of_lab(lab)}


def check_anchor(check_id: str) -> str:
    """The anchor of a check on the page of the rubric: "check-4-7" for "4.7"."""
    return f"check-{check_id.replace('.', '-')}"


def escaped(text: str) -> str:
    """Text as it stands, for Markdown."""
    return re.sub(r"([\\`*_\[\]<>|{}$])", r"\\\1", text)


def rubric(lab: str) -> str:
    """The table of a lab's checks."""
    did = _what_checks_do(lab)
    lines = [
        "| check | a right server …; what the check did | points |",
        "| --- | --- | ---: |",
    ]
    for one in of_lab(lab):
        cell = f"**{escaped(one.name)}.** {escaped(did[one.id])}"
        if one.gate:
            cell += " What comes after it in this lab is judged only when it passes."
        if one.needs:
            cell += f" Judged only when {one.needs} passes."
        if codes := _diagnoses_of(one):
            cell += " It can name: " + ", ".join(f"{{diagnosis}}`{code}`" for code in codes) + "."
        lines.append(f"| {one.id} | {cell} | {one.points} |")
    return "\n".join(lines)


def _what_checks_do(lab: str) -> dict[str, str]:
    """The first paragraph of each check's docstring, by its number."""
    module = ast.parse((paths.CHECKS / f"test_{lab}.py").read_text(encoding="utf-8"))
    return {
        str(one.args[0].value): " ".join(
            (ast.get_docstring(node) or "").partition("\n\n")[0].split()
        )
        for node in module.body
        if isinstance(node, ast.FunctionDef)
        for one in node.decorator_list
        if isinstance(one, ast.Call) and isinstance(one.args[0], ast.Constant)
    }


def _diagnoses_of(one: Check) -> list[str]:
    """The codes with which wrong servers of the gallery fail that check."""
    found = {exhibit.fails.get(one.id, "") for exhibit in _wrong_ones(one.lab)}
    return sorted(found - {""})


@cache
def _wrong_ones(lab: str) -> list[gallery.Exhibit]:
    return gallery.mutants(lab)


def commands() -> str:
    """What plain `make` prints, as a table for each group."""
    lines: list[str] = []
    for command, does in help_lines():
        if not does:
            lines += ["", f"**{command}**", "", "| `make` … | does |", "| --- | --- |"]
        else:
            option = does.startswith("...")
            lines.append(f"| {'… ' * option}`{command}` | {escaped(does.removeprefix('... '))} |")
    return "\n".join(lines)


def help_lines() -> Iterator[tuple[str, str]]:
    """The commands of the Makefile and what each does; a group's name, and ""."""
    text = (paths.KIT / "Makefile").read_text(encoding="utf-8")
    for group, command, does in re.findall(r"^##@ (.*)$|^## (.*?) \| (.*)$", text, re.MULTILINE):
        yield (group, "") if group else (command.strip(), does)
