"""Comparing what was sent with what came back, and finding words for the difference."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forklab.clients import Client
from forklab.evidence import transcript, visible
from forklab.result import Evidence
from forklab.rubric import CheckFailed


def difference(sent: bytes, got: bytes) -> str:
    """What is different about ``got``, in words. "" if nothing is."""
    if got == sent:
        return ""
    if not got:
        return "nothing came back"
    if sent.startswith(got):
        left = len(sent) - len(got)
        if got == sent.rstrip(b"\n"):
            return "the newline at the end did not come back"
        return f"only the first {len(got)} of {len(sent)} bytes came back; {left} are missing"
    if got.startswith(sent):
        more = got[len(sent) :]
        if not more.strip(b"\0"):
            return f"the echo was followed by {len(more)} NUL bytes"
        return f"the echo was followed by {visible(more)}"
    if got.endswith(sent):
        return f"the echo began with {visible(got[: -len(sent)])}, which was not sent"
    if sent.rstrip(b"\n") in got:
        return f"the text came back with something around it: {visible(got)}"
    if got == sent.upper() or got == sent.lower():
        return "it came back in another case"
    if got == sent.replace(b"\n", b"\r\n"):
        return "each newline came back as a carriage return and a newline"
    if got == sent.replace(b"\0", b""):
        return "every NUL byte was left out"
    at = next(i for i, (a, b) in enumerate(zip(sent, got, strict=False)) if a != b)
    if len(got) < len(sent):
        return f"only {len(got)} of {len(sent)} bytes came back; from byte {at} on they differ"
    return f"byte {at} was {sent[at]:#04x} and came back as {got[at]:#04x}"


def stops_at_nul(sent: bytes, got: bytes) -> bool:
    """Whether just what came before a NUL of what was sent came back: strlen was asked."""
    without = sent.replace(b"\0", b"")
    before_first = sent.partition(b"\0")[0]
    # What it read at once is its own affair: after any NUL a piece may be missing.
    pieces = [re.escape(piece) for piece in sent.split(b"\0")[:50]]
    return (
        b"\0" in sent
        and got != sent
        and (
            got == without
            or got.rstrip(b"\n") == before_first.rstrip(b"\n")
            or (
                bool(re.fullmatch(b".*?".join(pieces[:2]) + b".*", got, re.DOTALL))
                and b"\0" not in got
            )
        )
    )


def around_difference(sent: bytes, got: bytes) -> Evidence:
    """Both sides of the first difference, as hex and as text."""
    shorter = min(len(sent), len(got))
    at = next((i for i in range(shorter) if sent[i] != got[i]), shorter)
    start = max(0, at - 8)
    lines = [f"first difference at byte {at} of {len(sent)}"]
    for name, data in (("sent", sent), ("came back", got)):
        part = data[start : at + 8]
        lines.append(f"{name:<9}  {part.hex(' ') or '(nothing more)'}")
        lines.append(f"{'':<9}  {visible(part)}")
    return Evidence("the bytes around it", "\n".join(lines))


def expect_echo(
    client: Client, data: bytes, diagnosis: str | None = None, others: Sequence[Client] = ()
) -> None:
    """Sends ``data`` and fails the check unless exactly that comes back."""
    compare(client, data, client.ask(data), diagnosis, others)


def compare(
    client: Client,
    sent: bytes,
    got: bytes,
    diagnosis: str | None = None,
    others: Sequence[Client] = (),
) -> None:
    """Fails the check unless ``got`` is ``sent``; the words of the failure say what differs."""
    if got == sent:
        return
    if diagnosis is None:
        diagnosis = "treats-bytes-as-text" if stops_at_nul(sent, got) else "does-not-echo"
    evidence = transcript(client, *others)
    if len(sent) > 40:
        evidence.append(around_difference(sent, got))
    what = difference(sent, got)
    if client.ended and not got:
        what += f", and the connection is over ({client.ended})"
    raise CheckFailed(
        f"{visible(sent, 40)} back, byte for byte"
        if len(sent) <= 40
        else f"the same {len(sent)} bytes back",
        what,
        evidence,
        diagnosis,
    )
