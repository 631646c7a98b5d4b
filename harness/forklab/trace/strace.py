"""Reads strace's log: lines become records, in the order of the log. Knows nothing of servers.

What it is made for: ``strace -f -T --absolute-timestamps=format:unix,precision:ns -o FILE``, with
or without ``-k``. A line that it cannot read is kept, and told: none is passed over in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

CALL, SIGNAL, EXITED, KILLED, STOPPED = "call", "signal", "exited", "killed", "stopped"

_LINE = re.compile(r"(?:\[pid +)?(\d+)?\]? *(\d{6,}\.\d+) (.*)", re.DOTALL)
_NAME = re.compile(r"(\w+)\(")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
_SIGNAL = re.compile(r"--- (SIG\w+|RT_\d+|SIGRT_\d+) \{(.*)\} ---")
_STOPPED = re.compile(r"--- stopped by (\w+) ---")
_EXITED = re.compile(r"\+\+\+ exited with (\d+) \+\+\+")
_KILLED = re.compile(r"\+\+\+ killed by (\w+)( \(core dumped\))? \+\+\+")
_FRAME = re.compile(r" > (.*?)(?:\((.*)\))? \[(0x[0-9a-f]+)\]")
# "4", "-1 ECHILD (No child processes)", "1 ([{fd=3, revents=POLLIN}])", and how long it took.
_RESULT = re.compile(
    r"\s*= ((?:\?|-?\d+|0x[0-9a-f]+)(?: [A-Z]\w+)?(?: \(.*\))?)(?: <(\d+\.\d+)>)?\s*"
)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|/\*.*?\*/|[][(){},]', re.DOTALL)
_UNFINISHED = "<unfinished ...>"
# Said by strace itself, or of no consequence.
_ITS_OWN_WORDS = re.compile(r"strace: Process \d+ (attached|detached)|.*<detached \.\.\.>")


@dataclass(frozen=True)
class Frame:
    """One line of a stack trace: where a call was made from."""

    binary: str
    function: str  # "main+0x88"; may be empty
    offset: int  # in the binary, of the instruction after the call


@dataclass
class Record:
    """Something that one process did, or that happened to it."""

    pid: int
    time: float  # unix seconds; of a call, when it returned
    kind: str
    name: str = ""  # of the call, or of the signal
    arguments: list[str] = field(default_factory=list)  # of a call, as strace shows them
    result: str = ""  # "4", "-1 ECHILD (No child processes)", "?"; "" if it has not returned
    began: float = 0.0  # of a call: when it was made
    fields: dict[str, str] = field(default_factory=dict)  # of a signal: si_pid and the like
    status: int = 0  # of an end by exit
    stack: list[Frame] = field(default_factory=list)
    first_line: int = 0  # numbers of lines, from 0
    line: int = 0

    @property
    def value(self) -> int | None:
        """The number that a call returned; None if it returned none, or an address."""
        word = self.result.split(" ", 1)[0]
        try:
            return int(word, 0)
        except ValueError:
            return None

    @property
    def error(self) -> str:
        """``ECHILD``, if the call failed so; ``ERESTARTSYS`` if a signal interrupted it."""
        words = self.result.split(" ", 2)
        return words[1] if len(words) > 1 and words[0] in ("-1", "?") else ""

    @property
    def failed(self) -> bool:
        return self.result.startswith(("-1", "?")) or not self.result


@dataclass
class Log:
    """What was read of a log."""

    records: list[Record] = field(default_factory=list)
    # Calls that had not returned when the log ended, such as an accept that waits; by pid.
    unfinished: dict[int, Record] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    cut: bool = False  # whether the log ends in the middle of a line


def read(text: str) -> Log:
    """Reads a whole log.

    A last line without its end is a call that has not returned; or else it was cut off, and is
    among the ``unread``.
    """
    reader = _Reader()
    *lines, last = text.split("\n")
    for number, line in enumerate(lines):
        reader.take(number, line)
    if last:
        reader.take_last(len(lines), last)
    return reader.log


class _Reader:
    def __init__(self) -> None:
        self.log = Log()
        self._begun: dict[int, tuple[str, Record]] = {}
        self._last: Record | None = None  # whose stack trace may follow

    def take(self, number: int, line: str) -> None:
        if line.startswith(" > "):
            self._take_frame(line)
            return
        self._last = None
        match = _LINE.fullmatch(line)
        if match is None:
            if line.strip() and not _ITS_OWN_WORDS.fullmatch(line):
                self.log.unread.append(line)
            return
        pid, time, text = int(match[1] or 0), float(match[2]), match[3]
        if not self._take_text(pid, time, text, number):
            self._last = None
            self.log.unread.append(line)

    def take_last(self, number: int, line: str) -> None:
        """strace writes the beginning of a call at once, and the rest when it has returned."""
        match = _LINE.fullmatch(line)
        is_call = match is not None and _NAME.match(match[3]) is not None
        if is_call and line.count('"') % 2 == 0:
            self.take(number, line + _UNFINISHED)
        else:
            self.log.cut = True
            self.log.unread.append(line)

    def _take_frame(self, line: str) -> None:
        match = _FRAME.fullmatch(line)
        if self._last is None:
            self.log.unread.append(line)
        elif match is not None:
            self._last.stack.append(Frame(match[1], match[2] or "", int(match[3], 16)))
        # Else it says that the stack could not be walked, or not to its end.

    def _add(self, record: Record, number: int) -> bool:
        record.line = number
        self._last = record
        self.log.records.append(record)
        return True

    def _take_text(self, pid: int, time: float, text: str, number: int) -> bool:
        if (match := _SIGNAL.fullmatch(text)) is not None:
            fields = dict(_pair(word) for word in split(match[2]))
            return self._add(Record(pid, time, SIGNAL, match[1], fields=fields), number)
        if (match := _STOPPED.fullmatch(text)) is not None:
            return self._add(Record(pid, time, STOPPED, match[1]), number)
        if (match := _EXITED.fullmatch(text)) is not None:
            self._forget(pid)
            return self._add(Record(pid, time, EXITED, status=int(match[1])), number)
        if (match := _KILLED.fullmatch(text)) is not None:
            self._forget(pid)
            return self._add(Record(pid, time, KILLED, match[1]), number)
        if (match := _RESUMED.fullmatch(text)) is not None:
            return self._resume(pid, time, match[1], match[2], number)
        if _ITS_OWN_WORDS.fullmatch(text):
            return True
        return self._begin(pid, time, text, number)

    def _begin(self, pid: int, time: float, text: str, number: int) -> bool:
        match = _NAME.match(text)
        if match is None:
            return False
        record = Record(pid, time, CALL, match[1], began=time, first_line=number)
        if text.endswith(_UNFINISHED):
            begun = text.removesuffix(_UNFINISHED)
            record.arguments = split(begun[match.end() :])
            self._begun[pid] = (begun, record)
            self.log.unfinished[pid] = record
            # A process that ends makes its last call so; it never returns.
            if match[1] in ("exit", "exit_group"):
                self._add(record, number)
            return True
        return self._complete(record, text, time, number)

    def _resume(self, pid: int, time: float, name: str, rest: str, number: int) -> bool:
        begun = self._begun.get(pid)
        if begun is None or begun[1].name != name:
            return False
        text, record = begun
        if rest.strip() == _UNFINISHED:  # again
            return True
        self._forget(pid)
        if name in ("exit", "exit_group"):
            self._last = record
            return True
        return self._complete(record, text + rest, time, number)

    def _forget(self, pid: int) -> None:
        self._begun.pop(pid, None)
        self.log.unfinished.pop(pid, None)

    def _complete(self, record: Record, text: str, time: float, number: int) -> bool:
        """Takes in a whole call. ``time`` is what its last line begins with."""
        text = text.replace(_UNFINISHED + ")", ")")  # a call that the end of its process cut off
        start = text.index("(") + 1
        end = _closing(text, start)
        if end is None:
            return False
        result = _RESULT.fullmatch(text, end + 1)
        if result is None:
            return False
        record.arguments = split(text[start:end])
        record.result = result[1]
        # A line in one piece is written at the end, but its time is that of the beginning.
        record.time = time if number != record.first_line else time + float(result[2] or 0)
        return self._add(record, number)


def _closing(text: str, start: int) -> int | None:
    """Where the bracket is closed that was opened before ``start``."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if token[0] in "([{":
            depth += 1
        elif token[0] in ")]}":
            if depth == 0:
                return token.start() if token[0] == ")" else None
            depth -= 1
    return None


def split(text: str) -> list[str]:
    """The parts of a list of arguments, or of the fields of a structure."""
    parts, depth, start = [], 0, 0
    for token in _TOKEN.finditer(text):
        if token[0] in "([{":
            depth += 1
        elif token[0] in ")]}":
            depth -= 1
        elif token[0] == "," and depth == 0:
            parts.append(text[start : token.start()].strip())
            start = token.end()
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def fields_of(text: str) -> dict[str, str]:
    """The fields of a structure: ``{sa_handler=SIG_IGN, sa_flags=0}``; {} if it is none."""
    if not text.startswith("{"):
        return {}
    return dict(_pair(word) for word in split(text.strip().removeprefix("{").removesuffix("}")))


def items_of(text: str) -> list[str]:
    """The items of a list: ``[INT TERM CHLD]`` or ``[3, 4]``; [] if it is none."""
    inside = text.strip().removeprefix("~").removeprefix("[").removesuffix("]")
    return [word.strip() for word in re.split(r"[ ,]+", inside) if word.strip()]


def numbers_of(lines: Iterable[str]) -> list[int]:
    """Those of the words that are decimal numbers, as numbers."""
    return [int(word) for word in lines if word.lstrip("-").isdigit()]
