"""The table of limits, and what changes it."""

import re

import pytest

from forklab import limits, paths
from forklab.errors import UsageError
from forklab.limits import MEBIBYTE, Limits


def test_the_docs_have_the_table():
    text = (paths.KIT / "docs" / "grading.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) ", text, re.MULTILINE))
    values = {name: getattr(Limits(), name) for name in limits.NAMES}
    shown = {
        name: value // MEBIBYTE if name in limits.SIZES else value for name, value in values.items()
    }
    assert {name: int(value) for name, value in rows.items()} == shown


def test_some_are_changed():
    changed = limits.parse(["processes=10", "memory=3", "cpu=1"])
    assert changed == Limits(processes=10, memory=3 * MEBIBYTE, cpu=1)


@pytest.mark.parametrize(
    "word", ["", "processes", "processes=", "processes=0", "processes=-1", "memory=1.5", "ram=3"]
)
def test_what_is_no_limit(word):
    with pytest.raises(UsageError, match="processes, memory, cpu, output, disk, wall"):
        limits.parse([word])


@pytest.mark.parametrize("name", limits.NAMES)
def test_each_has_a_sentence_with_its_value(name):
    sentence = limits.parse([f"{name}=7"]).reached(name)
    assert " 7 " in sentence
    assert sentence.endswith(".")
