"""Which scenario (forklab.trace.scenarios) is nearest to each check's own traffic."""

from __future__ import annotations

from dataclasses import dataclass

USUAL_CLIENTS = 3


@dataclass(frozen=True)
class Traffic:
    """A scenario with so many clients."""

    scenario: str
    clients: int = USUAL_CLIENTS


# What is nearest to each check's own traffic. None: it needs no client (it looks at how the server
# is built or started), or what it does can't be traced: memory errors, faults that a library makes.
OF_CHECK: dict[str, Traffic | None] = {
    "1.1": None,
    "1.2": None,
    "1.3": Traffic("turns", 1),
    "1.4": None,
    "1.5": Traffic("turns", 1),
    "1.6": Traffic("turns", 1),
    "1.7": Traffic("turns", 1),
    "1.8": Traffic("turns", 3),
    "1.9": Traffic("together", 2),
    "1.10": Traffic("vanish", 3),
    "1.11": Traffic("turns", 8),
    "1.12": Traffic("shutdown", 1),
    "1.13": Traffic("turns", 2),
    "1.14": None,
    "2.1": None,
    "2.2": None,
    "2.3": Traffic("turns", 1),
    "2.4": Traffic("turns", 1),
    "2.5": Traffic("together", 8),
    "2.6": Traffic("together", 8),
    "2.7": Traffic("together", 2),
    "2.8": Traffic("together", 2),
    "2.9": Traffic("turns", 2),
    "2.10": Traffic("turns", 5),
    "2.11": Traffic("together", 3),
    "2.12": Traffic("vanish", 8),
    "2.13": Traffic("together", 3),
    "2.14": None,
    "3.1": None,
    "3.2": Traffic("turns", 1),
    "3.3": Traffic("turns", 1),
    "3.4": Traffic("together", 8),
    "3.5": Traffic("together", 2),
    "3.6": Traffic("turns", 1),
    "3.7": Traffic("burst", 16),
    "3.8": Traffic("exit", 2),
    "3.9": Traffic("exit", 2),
    "3.10": Traffic("vanish", 8),
    "3.11": Traffic("together", 3),
    "3.12": None,
    "4.1": None,
    "4.2": Traffic("turns", 1),
    "4.3": Traffic("exit", 2),
    "4.4": Traffic("together", 8),
    "4.5": Traffic("turns", 3),
    "4.6": Traffic("turns", 1),
    "4.7": Traffic("burst", 8),
    "4.8": Traffic("together", 3),
    "4.9": Traffic("turns", 8),
    "4.10": Traffic("together", 2),
    "4.11": Traffic("turns", 3),
    "4.12": Traffic("turns", 2),
    "4.13": Traffic("together", 3),
    "4.14": Traffic("shutdown", 20),
    "4.15": Traffic("vanish", 8),
}
