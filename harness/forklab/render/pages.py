"""Pages of docs/ that the gallery proves: every diagnosis, and every server with its verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forklab import paths
from forklab.draw import runs
from forklab.gallery import Exhibit
from forklab.result import FAILED, PASSED, CheckResult, Result
from forklab.rubric import Diagnosis, diagnoses, of_lab

DIAGNOSES = paths.KIT / "docs" / "diagnoses.md"
GALLERY = paths.KIT / "docs" / "gallery.md"

WRITTEN = "<!-- Written by `make mutants`: change what it is made from, not this page. -->"


@dataclass(frozen=True)
class Sighting:
    """A diagnosis as the grader came to it."""

    expected: str
    seen: str  # with pids, ports and counts of bytes left out: they differ from run to run

    @classmethod
    def of(cls, found: CheckResult) -> Sighting:
        return cls(_steady(found.expected), _steady(found.seen))


def _steady(text: str) -> str:
    return " ".join(re.sub(r"0x[0-9a-f]{3,}|\d(?:,?\d){3,}", "…", text).split())


def of_gallery(graded: Sequence[tuple[Exhibit, Result]]) -> dict[Path, str]:
    """The pages, by their paths."""
    exhibits = [one for one, _ in graded]
    return {
        DIAGNOSES: diagnoses_page(exhibits, sightings(graded)),
        GALLERY: gallery_page(exhibits),
    }


def sightings(graded: Iterable[tuple[Exhibit, Result]]) -> dict[str, Sighting]:
    """For each code, how it was seen on the server that shows it."""
    graded = list(graded)
    shown_by = {code: found[0] for code, found in by_code([one for one, _ in graded]).items()}
    return {
        check.diagnosis: Sighting.of(check)
        for one, result in graded
        for check in reversed(result.checks)  # the first check that says so comes last
        if check.status == FAILED and check.diagnosis and shown_by.get(check.diagnosis) == one
    }


def by_code(exhibits: Iterable[Exhibit]) -> dict[str, list[Exhibit]]:
    """The wrong servers that show each diagnosis; first the one that shows nothing else."""
    found: dict[str, list[Exhibit]] = {code: [] for code in diagnoses()}
    for one in exhibits:
        for code in dict.fromkeys(one.fails.values()):
            if code:
                found[code].append(one)
    for servers in found.values():
        servers.sort(key=lambda one: len(one.fails))
    return {code: servers for code, servers in found.items() if servers}


# docs/diagnoses.md ---------------------------------------------------------------------------


def diagnoses_page(exhibits: Sequence[Exhibit], seen: Mapping[str, Sighting]) -> str:
    """Every diagnosis: what it means, how it was seen, how to think about it, who shows it."""
    servers = by_code(exhibits)
    parts = [
        WRITTEN,
        "# The diagnoses",
        "Where what the grader saw names the bug, its report says so by a code. Each code is here: "
        "what it means, what the grader saw when a server of the gallery had that bug, and how to "
        "find it in your own.",
        "\n".join(f"- [`{code}`](#{code}): {one.title}" for code, one in diagnoses().items()),
    ]
    for code, one in diagnoses().items():
        parts += _diagnosis(one, servers.get(code, []), seen.get(code))
    return "\n\n".join(parts) + "\n"


def _diagnosis(one: Diagnosis, servers: Sequence[Exhibit], seen: Sighting | None) -> list[str]:
    # The code is the heading, so that it is the link, too.
    parts = [f"## {one.code}", f"**{one.title}.** {one.explanation}"]
    if seen:
        check = next(k for k, code in servers[0].fails.items() if code == one.code)
        name = next(c.name for c in of_lab(servers[0].lab) if c.id == check)
        parts.append(
            f"What the grader saw, in {check} ({name}):\n\n"
            f"- expected: {_escaped(seen.expected)}\n- seen: {_escaped(seen.seen)}"
        )
    if run := runs.OF_DIAGNOSIS.get(one.code):
        parts.append(
            f"![A run of a server with this bug: {one.title}](figures/{run.name}.svg)\n\n"
            f"To see what your own server does: `make trace LAB={run.lab[-1]} "
            f"SCENARIO={run.scenario}`."
        )
    parts.append(f"How to think about it: {one.think}")
    parts.append(f"Read: {_link(one)}")
    if servers:
        more = f", and {len(servers) - 1} more in [the gallery](gallery.md)"
        parts.append(
            f"Shown by `{servers[0].name}` of {servers[0].lab}{more if servers[1:] else ''}: "
            f"{servers[0].why[0].lower()}{servers[0].why[1:]}"
        )
    return parts


def _link(one: Diagnosis) -> str:
    name, section, heading = one.place()
    if section:
        page = f"https://man7.org/linux/man-pages/man{section}/{name}.{section}.html"
        return f"[{name}({section})]({page})" + (f", {heading}" if heading else "")
    words = heading.replace("-", " ")
    return f"[{Path(name).parent.name}{f', {words}' if words else ''}](../{one.read})"


def sightings_on(page: str) -> dict[str, Sighting]:
    """What a page that :func:`diagnoses_page` wrote says was seen, by code."""
    pattern = r"^## ([\w-]+)$(?:(?!^## ).)*?^- expected: (.*?)$\n- seen: (.*?)$"
    return {
        code: Sighting(_plain(expected), _plain(seen))
        for code, expected, seen in re.findall(pattern, page, re.MULTILINE | re.DOTALL)
    }


_SPECIAL = r"([\\`*_\[\]<>|])"


def _escaped(text: str) -> str:
    return re.sub(_SPECIAL, r"\\\1", text)


def _plain(text: str) -> str:
    return re.sub(r"\\" + _SPECIAL, r"\1", text)


# docs/gallery.md -----------------------------------------------------------------------------


def gallery_page(exhibits: Sequence[Exhibit]) -> str:
    """Every server of the gallery, lab by lab, and which checks it must fail."""
    wrong = [one for one in exhibits if not one.is_right]
    parts = [
        WRITTEN,
        "# The gallery",
        f"{len(wrong)} servers that are wrong, each in one way that people get wrong, and "
        f"{len(exhibits) - len(wrong)} that are right in another form than the solution's. "
        "`make mutants` grades them all; each must get exactly this verdict. (They are in "
        "`harness/mutants` and `harness/accepted`.)",
    ]
    for lab, folder in paths.LAB_FOLDERS.items():
        here = [one for one in exhibits if one.lab == lab]
        parts.append(f"## Lab {lab.removeprefix('lab')} ({folder})")
        parts.append(_wrong_ones([one for one in here if not one.is_right]))
        parts.append(_matrix(lab, [one for one in here if not one.is_right]))
        parts.append("Right ones, 100 points each:")
        parts.append("\n".join(f"- `{o.name}`: {_escaped(o.why)}" for o in here if o.is_right))
    return "\n\n".join(parts) + "\n"


def _wrong_ones(exhibits: Sequence[Exhibit]) -> str:
    lines = ["| server | the misconception | fails |", "| --- | --- | --- |"]
    for one in exhibits:
        fails = ", ".join(
            f"{check} [`{code}`](diagnoses.md#{code})" if code else check
            for check, code in one.fails.items()
        )
        lines.append(f"| `{one.name}` | {_escaped(one.why)} | {fails} |")
    return "\n".join(lines)


_CELLS = {PASSED: "", FAILED: "✗", "skipped": "-"}


def _matrix(lab: str, exhibits: Sequence[Exhibit]) -> str:
    checks = [check.id for check in of_lab(lab)]
    lines = [f"| server | {' | '.join(checks)} |", f"| --- |{' :-: |' * len(checks)}"]
    for one in exhibits:
        cells = [_CELLS[one.must_get(check).partition(" ")[0]] for check in checks]
        lines.append(f"| `{one.name}` | {' | '.join(cells)} |")
    return "\n".join(lines)
