"""Every server of the gallery gets exactly the verdict that it must get."""

from __future__ import annotations

import pytest

from forklab import gallery
from forklab.gallery import Exhibit


@pytest.mark.parametrize("one", gallery.whole(), ids=lambda one: f"{one.lab}-{one.name}")
def test_gets_its_verdict(one: Exhibit, tmp_path):
    assert one.wrong_about(gallery.grade(one, tmp_path)) == []
