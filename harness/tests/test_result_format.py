"""docs/result-format.md says what the dataclasses say."""

import re
from dataclasses import fields

from forklab import paths
from forklab.result import SCHEMA, CheckResult, LimitReached, Result


def test_the_tables_list_the_fields_of_the_record() -> None:
    text = (paths.KIT / "docs" / "result-format.md").read_text(encoding="utf-8")
    record, _, rest = text.partition("Each of `checks`:")
    check, _, rest = rest.partition("Each of `limits`:")
    limit = rest.partition("\n## ")[0]
    assert _first_column(record) == {field.name for field in fields(Result)}
    assert _first_column(check) == {field.name for field in fields(CheckResult)}
    assert _first_column(limit) == {field.name for field in fields(LimitReached)}
    assert SCHEMA in text


def _first_column(text: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
