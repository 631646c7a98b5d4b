"""Where in the source a call was made: from strace's stack traces, by the debug information."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forklab import paths
from forklab.trace.model import Place, Trace
from forklab.trace.strace import Frame

_STEP = re.compile(r"/\* (step|end) (\d+[a-z]+)\b")


@dataclass
class Program:
    """A compiled program: its binary, and its source."""

    binary: Path
    source: str  # name of the source file
    text: bytes
    _found: dict[int, tuple[str, int, str]] = field(default_factory=dict)  # by offset

    def functions(self) -> dict[int, str]:
        """The program's functions by their addresses; {} without nm(1)."""
        found = {}
        for line in _run(["nm", "--defined-only", str(self.binary)]).splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in "tT":
                found[int(words[0], 16)] = words[2]
        return found

    def places(self, log: str) -> Program:
        """Itself, once it has looked up all the addresses of that log; to be called with frames."""
        ending = re.escape(str(self.binary))
        offsets = {int(one, 16) for one in re.findall(rf"^ > {ending}\(.*\[(0x\w+)\]$", log, re.M)}
        self._look_up(sorted(offsets))
        return self

    def _look_up(self, offsets: Sequence[int]) -> None:
        if not offsets:
            return
        # The address on the stack is that of the instruction after the call.
        asked = "".join(f"{offset - 1:#x}\n" for offset in offsets)
        answers = _run(["addr2line", "-f", "-e", str(self.binary)], asked).splitlines()
        for offset, function, place in zip(offsets, answers[::2], answers[1::2], strict=False):
            file, _, line = place.partition(":")
            number = line.split(" ")[0]
            if number.isdigit():
                self._found[offset] = (Path(file).name, int(number), function)

    def __call__(self, frames: Sequence[Frame]) -> list[Place]:
        """The place of a call in the student's file, and then all of the program, innermost first.

        Without one in the student's own file the innermost stands first.
        """
        mine = [
            self._place(*self._found[one.offset])
            for one in frames
            if one.binary == str(self.binary) and one.offset in self._found
        ]
        own = next((one for one in mine if one.file == self.source), None)
        return [own or mine[0], *mine] if mine else []

    def _place(self, file: str, line: int, function: str) -> Place:
        step = self._steps.get(line, "") if file == self.source else ""
        return Place(file, line, function, step)

    @functools.cached_property
    def _steps(self) -> dict[int, str]:
        return steps_of(self.text.decode(errors="replace").splitlines())

    def sources(self, trace: Trace) -> dict[str, str]:
        """The text of each file that a place of the trace names."""
        named = {self.source} | {
            one.file for event in trace.events for one in (event.place, *event.calls) if one
        }
        texts = {}
        for name in sorted(named):
            common = paths.LABS / "common" / name
            if name == self.source:
                texts[name] = self.text.decode(errors="replace")
            elif common.is_file():
                texts[name] = common.read_text(encoding="utf-8", errors="replace")
        return texts


def steps_of(lines: Iterable[str]) -> dict[int, str]:
    """The step that each line is in, by the numbers of lines (from 1): the innermost region."""
    inside: list[str] = []
    found = {}
    for number, line in enumerate(lines, 1):
        for word, step in _STEP.findall(line):
            if word == "step":
                inside.append(step)
            elif step in inside:
                inside.remove(step)
        if inside:
            found[number] = inside[-1]
    return found


def _run(command: list[str], given: str = "") -> str:
    """What a tool of binutils says; "" where it is not there, or does not know the file."""
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, errors="replace"
        )
    except OSError:
        return ""
    return done.stdout
