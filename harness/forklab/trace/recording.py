"""What is recorded of a run: strace's log, what the scenario did, and /proc at quiet moments."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from forklab.trace import model


@dataclass
class Step:
    """What the scenario, or the recorder, did; ``time`` is from just before it."""

    time: float  # unix seconds
    text: str
    action: str = ""  # "connect", "close", "reset", "end": these have a meaning for the replay
    client: int = 0
    port: int = 0  # of a connect: the client's own


@dataclass
class Look:
    """/proc while every process was asleep."""

    time: float  # unix seconds
    processes: dict[str, model.Seen]  # by pid; parents are pids, too
    sockets: dict[str, str]  # "socket:[4711]": "client 2" or "listener"


@dataclass
class Recording:
    """All that a trace is made from."""

    log: str  # strace's
    steps: list[Step] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    # The program's functions by their addresses in it, and who calls from where.
    symbols: dict[int, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The steps and looks; the log is a file of its own."""
        parts = {"steps": self.steps, "looks": self.looks, "symbols": self.symbols}
        return json.dumps(parts, default=asdict) + "\n"

    @classmethod
    def from_json(cls, log: str, text: str) -> Recording:
        """Reads what to_json wrote, with its log."""
        data = json.loads(text)
        looks = [
            Look(
                one["time"],
                {p: model.Seen(**s) for p, s in one["processes"].items()},
                one["sockets"],
            )
            for one in data["looks"]
        ]
        symbols = {int(address): name for address, name in data["symbols"].items()}
        return cls(log, [Step(**one) for one in data["steps"]], looks, symbols)
