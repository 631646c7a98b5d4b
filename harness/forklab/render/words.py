"""What every report says of a check, as plain text: one sentence, or all of it.

What a submission printed is in it, so nothing leaves here but printable characters and line ends.
"""

from __future__ import annotations

from forklab.evidence import plain
from forklab.result import ERROR, FAILED, SKIPPED, CheckResult, LimitReached, Result
from forklab.rubric import Diagnosis, diagnoses

MOST = 20_000  # characters of one text; the rest of a flood proves nothing more


def shown(text: str) -> str:
    """The text, safe for every format: what is invisible is escaped, a flood is cut.

    Escaped are control characters, overrides of the writing direction, halves of surrogate pairs
    and all else that XML 1.0 or a reader's eye has no place for.
    """
    left = len(text) - MOST
    return plain(text[:MOST]) + (f"\n... ({left} more characters)" if left > 0 else "")


def line(text: str) -> str:
    """The same on one line."""
    return " ".join(shown(text).split())


def sentence(check: CheckResult) -> str:
    """Why the check gave no points; empty if it passed."""
    if check.status == FAILED:
        return line(f"expected {check.expected}; seen: {check.seen}")
    if check.status == SKIPPED:
        return f"not judged: first fix {check.needs}"
    if check.status == ERROR:
        return line(f"the grader could not judge: {check.seen}")
    return ""


def outcome(result: Result) -> str:
    """The score as a sentence."""
    if result.score is None:
        return "No score: the grader itself could not judge."
    compiled = " (it does not compile)" if result.verdict == "does-not-build" else ""
    return f"Score: {result.score} of {result.max_score}{compiled}"


def limit(one: LimitReached) -> str:
    """The limit that a submission came to."""
    return line(f"{one.limit}: {one.text}")


def diagnosis(check: CheckResult) -> Diagnosis | None:
    """The bug's entry in the catalogue. None: no bug named, or one that this kit doesn't know."""
    return diagnoses().get(check.diagnosis or "")


def think(one: Diagnosis, lab: str) -> str:
    """What to try, to see the bug with one's own eyes."""
    number = lab.removeprefix("lab")
    return one.think.replace("labN", lab).replace("LAB=N", f"LAB={number}")


def reading(check: CheckResult) -> list[str]:
    """Where to read about it: the handout, and the place that the bug is about."""
    places = [check.read] if check.read else []
    if one := diagnosis(check):
        name, section, heading = one.place()
        if section:
            places.append(f"man {section} {name}" + (f" ({heading})" if heading else ""))
        else:
            places = [one.read]
    return places


def report(check: CheckResult, lab: str) -> str:
    """All that there is to say of a check, as text of many lines."""
    parts = [sentence(check)] if sentence(check) else []
    parts += [f"{shown(one.title)}\n{_indented(shown(one.text))}" for one in check.evidence]
    if check.did:
        parts.append(f"what the check did\n{_indented(shown(check.did))}")
    if one := diagnosis(check):
        parts.append(f"{one.title} ({one.code})\n{_indented(one.explanation)}")
        parts.append(f"to see it yourself\n{_indented(think(one, lab))}")
    if check.status == FAILED and reading(check):
        parts.append("read\n" + _indented("\n".join(map(shown, reading(check)))))
    return "\n\n".join(parts)


def _indented(text: str) -> str:
    return "\n".join(f"    {one}".rstrip() for one in text.splitlines())
