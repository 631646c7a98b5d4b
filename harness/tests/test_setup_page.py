"""docs/setup.md says what each sentence of harness/bootstrap.sh means."""

import re

from forklab import paths

SCRIPT = re.sub(r"(?m)^\s*#.*$", "", (paths.HARNESS / "bootstrap.sh").read_text(encoding="utf-8"))
PAGE = (paths.KIT / "docs" / "setup.md").read_text(encoding="utf-8")


def first_words(sentence: str) -> str:
    """What a sentence has before its first variable or its first full stop."""
    return re.split(r"\$|\. | \((?!cc|made|package)|:", sentence.strip())[0].strip(" .")


def test_every_sentence_is_on_the_page():
    said = re.findall(r'(?:\bsay|\bdie|why=)\s*(?:\\?\n\s*)?"([^"]+)"', SCRIPT)
    sentences = {words for one in said if len(words := first_words(one)) > 10}
    assert len(sentences) > 12
    assert {one for one in sentences if one not in PAGE} == set()
