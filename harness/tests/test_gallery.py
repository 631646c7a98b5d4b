"""Every server of the gallery gets exactly the verdict that it must get."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forklab import gallery
from forklab.gallery import Exhibit, Graders


@pytest.fixture(scope="module")
def graders() -> Iterator[Graders]:
    with Graders(jobs=1) as graders:
        yield graders


@pytest.mark.parametrize("one", gallery.whole(), ids=lambda one: f"{one.lab}-{one.name}")
def test_gets_its_verdict(one: Exhibit, graders):
    assert one.wrong_about(graders.grade(one).result()) == []
