"""The record as JUnit XML, as Jenkins (xUnit plugin, junit-10.xsd) and GitLab read it.

A testsuite is one student's program for one lab, a testcase one check. The schema allows a
testcase no properties, so the points of all checks are properties of the testsuite.
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from forklab.marks import ClassMarks, Mark
from forklab.render import words
from forklab.result import ERROR, FAILED, SKIPPED, CheckResult, Result


def of_class(marks: ClassMarks) -> str:
    """All of a batch; who handed in nothing is there as skipped, who has no mark as an error."""
    suites = [_of_mark(one) for one in marks.marks]
    suites += [_of_missing(student, lab) for student, lab in marks.missing]
    return _document(suites)


def of_result(result: Result, name: str) -> str:
    """One grading, under a name of the caller's, such as the student's."""
    return _document([_of_result(result, name)])


def _of_mark(mark: Mark) -> Element:
    if mark.result is None:
        error = Element("error", message=words.line(mark.problem), type="grader-error")
        return _alone(mark.student, mark.lab, error)
    suite = _of_result(mark.result, mark.student)
    if mark.late:
        _property(suite, "late", "yes")
    return suite


def _of_missing(student: str, lab: str) -> Element:
    return _alone(student, lab, Element("skipped", message="nothing was handed in"))


def _of_result(result: Result, name: str) -> Element:
    suite = _suite(name, result.lab)
    suite.set("time", f"{result.duration:.3f}")
    suite.set("timestamp", words.line(result.started))
    for key, value in _facts(result):
        _property(suite, key, value)
    for check in result.checks:
        suite.append(_testcase(suite, check, result.lab))
    if not result.checks:  # so that nobody takes it for a program without a fault
        case = SubElement(suite, "testcase", classname=suite.get("name", ""), name="grading")
        SubElement(case, "error", message=words.outcome(result), type="grader-error")
    return suite


def _facts(result: Result) -> list[tuple[str, str]]:
    score = [] if result.score is None else [("score", str(result.score))]
    return [
        *score,
        ("max_score", str(result.max_score)),
        *((f"points.{one.id}", f"{one.points}/{one.max_points}") for one in result.checks),
        ("verdict", result.verdict),
        *((f"limit.{one.limit}", one.text) for one in result.limits),
        ("submission", result.submission),
        ("sha256", result.sha256),
        ("tier", result.tier),
        ("kit", result.kit),
    ]


def _testcase(suite: Element, check: CheckResult, lab: str) -> Element:
    case = Element(
        "testcase",
        classname=suite.get("name", ""),
        name=words.line(f"{check.id} {check.name}"),
        time=f"{check.duration:.3f}",
    )
    why = words.sentence(check)
    if check.status == FAILED:
        failure = SubElement(case, "failure", message=why, type=check.diagnosis or "failed")
        failure.text = words.report(check, lab)
    elif check.status == SKIPPED:
        SubElement(case, "skipped", message=why)
    elif check.status == ERROR:
        SubElement(case, "error", message=why, type="grader-error").text = words.report(check, lab)
    elif check.evidence:
        SubElement(case, "system-out").text = words.report(check, lab)
    return case


def _alone(student: str, lab: str, said: Element) -> Element:
    suite = _suite(student, lab)
    case = SubElement(suite, "testcase", classname=suite.get("name", ""), name="grading")
    case.append(said)
    return suite


def _suite(student: str, lab: str) -> Element:
    """Its name is also the classname of its testcases: GitLab tells them apart by that."""
    student = words.line(student).replace(".", "_")  # Jenkins takes dots for packages
    suite = Element("testsuite", name=f"{lab}.{student}")
    SubElement(suite, "properties")
    return suite


def _property(suite: Element, name: str, value: str) -> None:
    SubElement(suite[0], "property", name=words.line(name), value=words.line(value))


def _document(suites: list[Element]) -> str:
    root = Element("testsuites", name="forklab")
    for suite in suites:
        _count(suite, [suite])
        root.append(suite)
    _count(root, suites)
    root.attrib.pop("skipped")  # the schema has it for a testsuite only
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text.decode() + "\n"


def _count(element: Element, suites: list[Element]) -> None:
    of = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    for attribute, tag in of.items():
        element.set(attribute, str(sum(1 for suite in suites for _ in suite.iter(tag))))
