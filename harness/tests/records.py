"""Records for the tests of renderers: of every status and verdict, and as nasty as can be."""

from __future__ import annotations

from xml.etree import ElementTree

from forklab.marks import ClassMarks, Mark
from forklab.result import (
    DOES_NOT_BUILD,
    ERROR,
    FAILED,
    PASSED,
    SKIPPED,
    CheckResult,
    Evidence,
    LimitReached,
    Result,
)

# Ends every element it may stand in, and has what XML 1.0 forbids, what a terminal obeys, what
# turns the direction of writing, what templates expand, and half of a surrogate pair.
HOSTILE = (
    "</pre></script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
    "\"'>]]>&lt;\x00\x1b[31m100/100\x1b[0m\r\ufffe\u202egnp.c\u202c\u200b\ud800{{7*7}}{% raw %}"
)

# What no report may contain as it is, whatever its format.
INVISIBLE = "\x00\x1b\x9b\r\ufffe\u202e\u202c\u200b\ud800"


def check(id: str, status: str = PASSED, points: int = 5, **more: object) -> CheckResult:
    """A check of that many points, with what a status needs."""
    reached = points if status == PASSED else 0
    made = CheckResult(id, f"name of {id}", status, reached, points, did="Did this.", duration=0.25)
    if status == FAILED:
        made.expected, made.seen = "0 zombies", "7 of 8 children are zombies"
        made.evidence = [Evidence("processes", "PID  STATE\n11   Z zombie <- look")]
        made.diagnosis, made.read = "never-reaps", "labs/lab4-sigaction/README.md"
    elif status == SKIPPED:
        made.needs = "4.2"
    elif status == ERROR:
        made.seen = "no ports left"
    for name, value in more.items():
        setattr(made, name, value)
    return made


def result(*checks: CheckResult, lab: str = "lab4", **more: object) -> Result:
    """A record of these checks, added up."""
    made = Result(lab, f"kim/{lab}/server.c", "5f" * 32, "0.1.0", "bwrap", "2026-03-01T09:00:00Z")
    made.checks, made.duration = list(checks), 1.5
    made.conclude()
    for name, value in more.items():
        setattr(made, name, value)
    return made


def mixed(lab: str = "lab4") -> Result:
    """Passed, failed and skipped."""
    number = lab[3:]
    return result(
        check(f"{number}.1", evidence=[Evidence("what it saw", "a zombie")]),
        check(f"{number}.2", FAILED, 10),
        check(f"{number}.3", SKIPPED),
        lab=lab,
        limits=[LimitReached("processes", "It came to 64 processes.")],
    )


def unbuilt() -> Result:
    """Of a program that does not compile."""
    return result(
        check("4.1", FAILED, diagnosis=DOES_NOT_BUILD), check("4.2", SKIPPED, needs="4.1")
    )


def unjudged(lab: str = "lab4") -> Result:
    """Of a grading in which the grader failed after it had found something."""
    number = lab[3:]
    return result(
        check(f"{number}.1"), check(f"{number}.2", FAILED), check(f"{number}.3", ERROR), lab=lab
    )


def hostile() -> Result:
    """Every text that may come from a submission is one that shouldn't."""
    return result(
        check(
            "4.1",
            FAILED,
            expected=HOSTILE,
            seen=HOSTILE,
            evidence=[Evidence(HOSTILE, HOSTILE * 3), Evidence("flood", "A" * 10_000_000)],
            did=HOSTILE,
            diagnosis="no-such-code",
        ),
        check("4.2", ERROR, seen=HOSTILE),
        check("4.3", name=HOSTILE, evidence=[Evidence(HOSTILE, HOSTILE)]),
        submission=HOSTILE,
        limits=[LimitReached("output", HOSTILE)],
    )


def a_class() -> ClassMarks:
    """Five students: one fine, one late, one whose names are formulas, one hostile, one missing."""
    return ClassMarks(
        [
            Mark("김민지", "lab3", "김민지/lab3/server.c", result=mixed("lab3")),
            Mark("김민지", "lab4", "김민지/lab4/server.c", result=result(check("4.1"))),
            Mark("Ana de Vries", "lab4", "ana/server.c", late=True, result=unbuilt()),
            Mark("=cmd|' /C calc'!A0", "lab4", "eve/server.c", result=mixed()),
            Mark("Dan", "lab4", "dan/server.c", problem="the worker was killed twice"),
            Mark("Dan", "lab3", "dan/lab3/server.c", result=unjudged("lab3")),
            Mark(HOSTILE, "lab4", HOSTILE, late=True, result=hostile()),
        ],
        missing=[("Ghost", "lab3"), ("Ghost", "lab4"), ("Ana de Vries", "lab3")],
        duplicates=[("Dan: dan/server.c", f"{HOSTILE}: x.c")],
        unplaced=[("notes.txt", "it is no C file"), (HOSTILE, HOSTILE)],
    )


def texts(xml: str) -> str:
    """All that an XML document says, in its elements and attributes."""
    root = ElementTree.fromstring(xml)
    found = [*root.itertext()]
    for element in root.iter():
        found += element.attrib.values()
    return "\n".join(found)
