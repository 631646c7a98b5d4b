"""JUnit XML: what Jenkins and GitLab read, and what they must never choke on."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from forklab.render import junit
from forklab.render.words import MOST
from tests.records import INVISIBLE, a_class, hostile, mixed, result, texts, unjudged

# What Jenkins' schema (xUnit plugin, junit-10.xsd) allows: parent, its children and attributes.
ALLOWED = {
    "testsuites": ({"testsuite"}, {"name", "tests", "failures", "errors", "time"}),
    "testsuite": (
        {"properties", "testcase"},
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    ),
    "properties": ({"property"}, set()),
    "property": (set(), {"name", "value"}),
    "testcase": (
        {"failure", "error", "skipped", "system-out"},
        {"classname", "name", "time"},
    ),
    "failure": (set(), {"message", "type"}),
    "error": (set(), {"message", "type"}),
    "skipped": (set(), {"message", "type"}),
    "system-out": (set(), set()),
}


def properties(suite: ElementTree.Element) -> dict[str, str]:
    return {one.attrib["name"]: one.attrib["value"] for one in suite.iter("property")}


def test_nothing_but_what_the_schema_allows() -> None:
    for text in (junit.of_class(a_class()), junit.of_result(mixed(), "kim")):
        root = ElementTree.fromstring(text)
        assert root.tag == "testsuites"
        for element in root.iter():
            children, attributes = ALLOWED[element.tag]
            assert {child.tag for child in element} <= children
            assert set(element.attrib) <= attributes
        for suite in root:
            assert {"name", "tests", "failures", "errors"} <= set(suite.attrib)


def test_times_are_plain_seconds() -> None:
    root = ElementTree.fromstring(junit.of_result(result(*mixed().checks, duration=1e-7), "kim"))
    times = [element.attrib["time"] for element in root.iter() if "time" in element.attrib]
    assert times[0] == "0.000"
    assert all(re.fullmatch(r"\d+\.\d{3}", one) for one in times)


def test_a_check_is_a_testcase() -> None:
    suite = ElementTree.fromstring(junit.of_result(mixed(), "kim.minji"))[0]
    passed, failed, skipped = suite.iter("testcase")
    assert suite.attrib["name"] == "lab4.kim_minji"
    assert {one.attrib["classname"] for one in (passed, failed, skipped)} == {"lab4.kim_minji"}
    assert [passed.attrib["name"], passed.attrib["time"]] == ["4.1 name of 4.1", "0.250"]
    assert [child.tag for child in passed] == ["system-out"]
    failure = failed[0]
    assert failure.attrib["message"] == "expected 0 zombies; seen: 7 of 8 children are zombies"
    assert failure.attrib["type"] == "never-reaps"
    for said in ("11   Z zombie <- look", "It never reaps", "Did this.", "man 2 wait"):
        assert said in (failure.text or "")
    assert skipped[0].tag == "skipped"
    assert skipped[0].attrib["message"] == "not judged: first fix 4.2"


def test_points_are_properties() -> None:
    told = properties(ElementTree.fromstring(junit.of_result(mixed(), "kim"))[0])
    assert told["score"] == "5"
    assert told["max_score"] == "20"
    assert told["points.4.1"] == "5/5"
    assert told["points.4.2"] == "0/10"
    assert told["limit.processes"] == "It came to 64 processes."
    assert told["tier"] == "bwrap"


def test_a_fault_of_the_grader_is_an_error_and_no_score() -> None:
    suite = ElementTree.fromstring(junit.of_result(unjudged(), "kim"))[0]
    assert [suite.attrib[one] for one in ("tests", "failures", "errors")] == ["3", "1", "1"]
    error = suite.find("testcase/error")
    assert error is not None
    assert "no ports left" in error.attrib["message"]
    assert "score" not in properties(suite)
    empty = ElementTree.fromstring(junit.of_result(result(), "kim"))
    assert empty.find("testsuite/testcase/error") is not None


def test_a_class() -> None:
    marks = a_class()
    root = ElementTree.fromstring(junit.of_class(marks))
    assert len(root) == len(marks.marks) + len(marks.missing)
    by_name = {suite.attrib["name"]: suite for suite in root}
    assert len(by_name) == len(root)
    assert by_name["lab4.Dan"].attrib["errors"] == "1"
    assert "killed twice" in texts(ElementTree.tostring(by_name["lab4.Dan"]).decode())
    assert by_name["lab4.Ghost"].attrib["skipped"] == "1"
    assert properties(by_name["lab4.Ana de Vries"])["late"] == "yes"
    assert "late" not in properties(by_name["lab4.김민지"])
    for count in ("tests", "failures", "errors"):
        assert int(root.attrib[count]) == sum(int(suite.attrib[count]) for suite in root)


def test_hostile_output() -> None:
    text = junit.of_result(hostile(), "kim")
    text.encode()
    said = texts(text)
    assert not set(INVISIBLE) & set(said)
    assert "\\x1b[31m100/100" in said
    assert "\\u202egnp.c" in said
    assert f"({10_000_000 - MOST} more characters)" in said
    assert len(text) < 300_000
