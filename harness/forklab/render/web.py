"""What all web pages of the kit have in common: templates, escaping, a script that is known."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from forklab.evidence import plain


def environment(templates: Path) -> Environment:
    """The templates of a folder. What is put in is escaped twice: made visible, and for HTML."""
    return Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _finalize(value: object) -> object:
    """Whatever a template puts in: nothing invisible gets through."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return plain(value)
    return value


def digest(script: str) -> str:
    """The hash by which a page's Content-Security-Policy knows its own script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
