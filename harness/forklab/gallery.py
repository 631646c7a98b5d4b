"""The gallery of wrong servers: each a small named change to a reference, with its exact verdict.

``harness/mutants/lab4.toml`` holds those of lab 4. Each entry has ``why`` (the misconception), then
``find`` and ``replace`` (text that must occur exactly once in the reference), or ``change``, a list
of such pairs, or ``file``, a whole program beside the list; and ``fails``, a table from the checks
that fail to their diagnosis ("" for none). All other checks pass, but for those in ``skips``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from forklab import paths
from forklab.result import FAILED, Result

MUTANTS = paths.HARNESS / "mutants"


@dataclass(frozen=True)
class Mutant:
    """One wrong server."""

    lab: str
    name: str
    why: str
    source: str
    fails: Mapping[str, str]  # check -> diagnosis, "" for none
    skips: frozenset[str]

    def wrong_about(self, result: Result) -> list[str]:
        """Where the verdict is not the one it must get, a line each; [] if it is right."""
        wrong = []
        for check in result.checks:
            if check.id in self.fails:
                expected = f"failed ({self.fails[check.id]})"
            else:
                expected = "skipped" if check.id in self.skips else "passed"
            seen = check.status
            if check.status == FAILED:
                seen += f" ({check.diagnosis or ''})"
            if seen != expected:
                wrong.append(f"{check.id}: expected {expected}, was {seen}: {check.seen}")
        known = {check.id for check in result.checks}
        wrong += [f"{one}: there is no such check" for one in {*self.fails, *self.skips} - known]
        return wrong


def mutants_of(lab: str) -> list[Mutant]:
    """The gallery of one lab.

    Raises ValueError, with the mutant's name, where a text to find does not occur exactly once.
    """
    with (MUTANTS / f"{lab}.toml").open("rb") as file:
        entries = tomllib.load(file)
    reference = paths.solution_of(lab).read_text(encoding="utf-8")
    return [_mutant(lab, name, entry, reference) for name, entry in entries.items()]


def _mutant(lab: str, name: str, entry: Mapping[str, object], reference: str) -> Mutant:
    changes = entry.get("change") or ([entry] if "find" in entry else [])
    source = reference
    if "file" in entry:
        source = (MUTANTS / str(entry["file"])).read_text(encoding="utf-8")
    assert isinstance(changes, list)
    for change in changes:
        if (count := source.count(change["find"])) != 1:
            raise ValueError(f"{lab} {name}: {change['find']!r} occurs {count} times, not once")
        source = source.replace(change["find"], change["replace"])
    fails, skips = entry.get("fails", {}), entry.get("skips", [])
    assert isinstance(fails, dict)
    assert isinstance(skips, list)
    return Mutant(lab, name, str(entry["why"]), source, fails, frozenset(skips))
