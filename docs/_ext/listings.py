"""Pieces of the kit's C programs for the pages: a step, a function, what differs between two."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from forklab import gallery, paths
from forklab.gallery import Exhibit

_MARK = re.compile(r"[ \t]*/\* (?:step \d\w?: .*|end \d\w?) \*/\n")


class NothingThere(Exception):
    """What a page asks for is not in the kit. The message is a sentence."""


@dataclass(frozen=True)
class Listing:
    """Code to show, without the marks of steps."""

    text: str
    caption: str
    language: str = "c"


def relative(path: Path) -> str:
    """The path as it is written at the top of the kit."""
    return path.relative_to(paths.KIT).as_posix()


def file_of_kit(name: str) -> Path:
    """The file of that name, such as "labs/common/net.c". Raises NothingThere."""
    path = (paths.KIT / name).resolve()
    if not (path.is_file() and path.is_relative_to(paths.KIT)):
        raise NothingThere(f"the kit has no file {name!r}")
    return path


def without_marks(text: str) -> str:
    """The program without the lines that mark its steps."""
    return _MARK.sub("", text)


def solution(number: str) -> Path:
    """The solution of lab ``number``, "4". Raises NothingThere."""
    if f"lab{number}" not in paths.LAB_FOLDERS:
        raise NothingThere(f"there is no lab {number!r}")
    return paths.solution_of(f"lab{number}")


def step(name: str) -> Listing:
    """The code between ``/* step 4a: ... */`` and ``/* end 4a */``. Raises NothingThere."""
    path = solution(name[:1])
    opened = rf"[ \t]*/\* step {re.escape(name)}: (?P<title>[^\n]*) \*/\n"
    closed = rf"[ \t]*/\* end {re.escape(name)} \*/\n"
    found = re.search(
        opened + f"(?P<code>.*?){closed}", path.read_text(encoding="utf-8"), re.DOTALL
    )
    if not found:
        raise NothingThere(f"{relative(path)} has no step {name!r}")
    return Listing(_tidy(found["code"]), f"{relative(path)}, step {name}: {found['title']}")


def function(name: str, file: str) -> Listing:
    """A whole C function of a file, with the comment above it. Raises NothingThere."""
    path = file_of_kit(file)
    comment = r"(?:^/\*(?:(?!\*/).)*\*/\n)?"
    found = re.search(
        rf"{comment}^[a-z_][^\n;=]*\b{re.escape(name)}\([^;{{]*\)\n{{\n.*?^}}\n",
        without_marks(path.read_text(encoding="utf-8")),
        re.MULTILINE | re.DOTALL,
    )
    if not found:
        raise NothingThere(f"{file} has no function {name!r}")
    return Listing(_tidy(found[0]), f"{file}, {name}")


def _tidy(code: str) -> str:
    """The code as far to the left as it goes; where goto leads to stands there anyway."""
    lines = without_marks(code).strip("\n").splitlines()
    while all(one.startswith("\t") for one in lines if one and not re.fullmatch(r"\w+:", one)):
        lines = [one.removeprefix("\t") for one in lines]
    return "\n".join(lines)


def _diff(old: str, new: str, names: tuple[str, str], context: int) -> str:
    before, after = (without_marks(text).splitlines() for text in (old, new))
    lines = difflib.unified_diff(before, after, *names, lineterm="", n=context)
    return "\n".join(lines)


def lab_diff(old: str, new: str) -> Listing:
    """What changes from one lab's solution to another's. Raises NothingThere."""
    before, after = solution(old), solution(new)
    names = (relative(before), relative(after))
    texts = [path.read_text(encoding="utf-8") for path in (before, after)]
    changes = _diff(texts[0], texts[1], names, 3)
    return Listing(changes, f"from {names[0]} to {names[1]}", "diff")


def mutant(lab: str, name: str) -> Exhibit:
    """A wrong server of the gallery. Raises NothingThere."""
    if lab not in paths.LAB_FOLDERS:
        raise NothingThere(f"there is no {lab!r}: write lab1 to lab4")
    for one in gallery.mutants(lab):
        if one.name == name:
            return one
    raise NothingThere(f"harness/mutants/{lab}.toml has no wrong server {name!r}")


def mutant_diff(one: Exhibit) -> Listing:
    """What differs between the solution and a wrong server."""
    right = gallery.reference(one.lab).source
    names = (relative(paths.solution_of(one.lab)), one.name)
    lines = _diff(right, one.source, names, 2).splitlines()[2:]  # the caption says the names
    return Listing("\n".join(lines), f"{one.name}, a wrong server of {one.lab}", "diff")
