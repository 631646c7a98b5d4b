"""What a submission may use, in one table; and the sentences for one that came to a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

from forklab.errors import UsageError

MEBIBYTE = 1024 * 1024
SIZES = ("memory", "address_space", "output", "disk")  # in bytes; told in MiB


@dataclass(frozen=True)
class Limits:
    """What a contained process and its descendants may use."""

    processes: int = field(
        default=64,
        metadata={
            "reached": "It had {} processes (or threads) at once, all that it may: the next failed."
        },
    )
    memory: int = field(
        default=512 * MEBIBYTE,  # bytes in use, by all of them together
        metadata={"reached": "It had more than {} MiB of memory in use; the grader killed it."},
    )
    cpu: int = field(
        default=120,  # seconds, each process
        metadata={"reached": "It used {} s of CPU time, all that a process may use (SIGXCPU)."},
    )
    output: int = field(
        default=64 * MEBIBYTE,  # bytes, each file that it writes
        metadata={
            "reached": "It printed {} MiB, or wrote as much to one file: all that it may (SIGXFSZ)."
        },
    )
    disk: int = field(
        default=128 * MEBIBYTE,  # bytes, all of its files together
        metadata={"reached": "Its files came to {} MiB, all the room that it has."},
    )
    wall: int = field(
        default=600,  # seconds, a whole grading; more on a slow machine
        metadata={"reached": "The grading was stopped after {} s."},
    )
    address_space: int = 4096 * MEBIBYTE  # bytes, each process; 0: no limit. malloc fails.
    descriptors: int = 1024  # each process, as in most shells: "Too many open files" comes after
    fixed_addresses: bool = False  # no random layout, which some sanitizers' runtimes trip over

    def reached(self, limit: str) -> str:
        """The sentence for a submission that came to that limit."""
        value = getattr(self, limit)
        metadata = next(one.metadata for one in fields(self) if one.name == limit)
        text: str = metadata["reached"]
        return text.format(value // MEBIBYTE if limit in SIZES else value)


# What the command line can change.
NAMES = tuple(one.name for one in fields(Limits) if "reached" in one.metadata)

_usual = Limits()


def usual() -> Limits:
    """The limits of this grading."""
    return _usual


def set_usual(limits: Limits) -> None:
    """Changes the limits of all that is started from now on."""
    global _usual
    _usual = limits


def parse(words: Sequence[str]) -> Limits:
    """The usual limits with some changed: ``processes=128``, ``memory=256`` (MiB), ``cpu=10`` (s).

    Raises UsageError.
    """
    limits = Limits()
    for word in words:
        name, _, value = word.partition("=")
        if name not in NAMES or not value.isdecimal() or not 1 <= int(value) <= 1_000_000:
            raise UsageError(
                f"not a limit: {word!r}. The limits are {', '.join(NAMES)}, each with a number "
                "from 1 on (MiB, seconds or processes), as in processes=128"
            )
        factor = MEBIBYTE if name in SIZES else 1
        limits = replace(limits, **{name: int(value) * factor})  # type: ignore[arg-type]
    return limits
