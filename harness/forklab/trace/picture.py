"""A run as a picture: life-lines of processes and connections, from left to right in time.

What stands above each other happened at the same time; how far it is from one thing to the next
says nothing, since most of a run is waiting. Zombies are hatched and named, not told by colour
alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate

from forklab.draw import svg
from forklab.evidence import plain
from forklab.trace import model
from forklab.trace.model import Connection, Event, Process, Trace
from forklab.trace.words import WORDS, mark_words, phrase

COLUMN = 26  # from one event that is drawn to the next, in pixels
LANE = 40  # from one life-line to the next
BAR = 18  # a life-line's thickness
HELD = 14  # from one holder of a connection to the next
HOLDERS = 4  # a connection shows so many
LEFT, RIGHT = 86, 160
MARK_ROW = 16  # the scenario's words stand in rows above the life-lines
MARK_ROWS = 5
LABEL_ROW = 13  # what happens to a process stands above its line
LABEL_ROWS = 6  # at most above the server's; above the others' one

# What gets a column. What else happened (reads, writes, descriptors) is told in words only.
DRAWN = {
    *(model.MARK, model.FORK, model.EXITED, model.REAP, model.AUTO_REAP, model.ADOPTED),
    *(model.SIGNAL, model.STOP, model.ACCEPT, model.EOF),
}

STOPPING = {"SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"}

STYLE = """
.run text{fill:var(--ink);font:12px SANS;paint-order:stroke;stroke:var(--paper);stroke-width:4px;
stroke-linejoin:round}.run .end{text-anchor:end}
.run .soft{fill:var(--soft)}.run .ko{display:none}
.run .warn{fill:var(--warn);font-weight:600}.run .good{fill:var(--good)}
.run .life{fill:var(--box);stroke:var(--soft)}.run .zombie{stroke:var(--warn);stroke-dasharray:4 2}
.run .hatch{stroke:var(--warn);stroke-width:2}
.run .frozen{fill:none;stroke:var(--accent);stroke-width:2;stroke-dasharray:2 3}
.run .link{stroke:var(--soft);fill:none}.run .reap{stroke:var(--good);stroke-width:1.5;fill:none}
.run .sent{stroke:var(--accent);fill:none;stroke-dasharray:3 3}.run .arrow{fill:var(--accent)}
.run .lost{fill:var(--paper);stroke:var(--accent)}
.run .held{fill:var(--accent);fill-opacity:.22;stroke:var(--accent)}
.run .queued{fill:none;stroke:var(--soft);stroke-dasharray:2 3}.run .dot{fill:var(--ink)}
.run .mark{stroke:var(--soft);stroke-dasharray:1 4}
.run .cursor{stroke:var(--ink);stroke-width:2}
"""


def style() -> str:
    """The style sheet of a run's picture: the page's colours, or those of the kit's figures."""
    return (
        f".run{{{svg.colours(svg.LIGHT)}}}"
        f"@media (prefers-color-scheme:dark){{.run{{{svg.colours(svg.DARK)}}}}}"
        + STYLE.replace("SANS", svg.SANS).replace("\n", "")
    )


@dataclass
class Layout:
    """Where things stand, in pixels."""

    times: list[float]  # of each event, in seconds
    drawn: list[bool]  # of each event: whether it has a column of its own
    columns: list[int]  # of each event: the column that it stands in, or stood last
    lanes: Mapping[str, float]  # the middle of each process's line
    clients: Mapping[int, float]  # and of each connection's first
    heading: float  # of the connections
    width: float
    height: float

    def x(self, event: int) -> float:
        """The column of that event."""
        return _column(self.columns[event] if self.columns else 0)

    def x_at(self, time: float) -> float:
        """The column of the first event at that time, or of the last before it."""
        found = bisect_left(self.times, time)
        at_that_time = found < len(self.times) and self.times[found] == time
        return self.x(found if at_that_time else max(found - 1, 0))

    @property
    def end(self) -> float:
        """Of what lasts to the end of the trace."""
        return _column(self.columns[-1] + 1 if self.columns else 1)


def _column(number: int) -> float:
    return LEFT + COLUMN * number


def layout(trace: Trace) -> Layout:
    """Where everything of a trace stands."""
    drawn = _drawn(trace)
    columns = list(accumulate(map(int, drawn)))
    labels = [
        row for number, row, *_ in _placed_labels(trace, columns) if _is_servers(trace, number)
    ]
    marks = list(_placed_marks(trace, drawn, columns))
    top = (
        28
        + MARK_ROW * (1 + max((row for _, row, _ in marks), default=0))
        + LABEL_ROW * max(labels, default=0)
    )
    lanes = {one.name: top + LANE * row for row, one in enumerate(trace.shown())}
    heading = top + LANE * len(lanes) - 4
    clients = {}
    bottom = heading + 18
    for connection in trace.connections[: model.MOST_SHOWN]:
        clients[connection.client] = bottom
        bottom += HELD * max(len(_shares(connection)), 1) + 8
    # A step of the scenario comes before what it brings about, also where their times are the same.
    times = [event.time - 1e-9 * (event.kind == model.MARK) for event in trace.events]
    ends = [_column(columns[number]) + _widest(words) for number, _, words in marks]
    width = max([_column(columns[-1] + 1 if columns else 1) + RIGHT, *ends])
    return Layout(
        times,
        drawn,
        columns,
        lanes,
        clients,
        heading,
        width,
        bottom,
    )


def _drawn(trace: Trace) -> list[bool]:
    """For each event, whether it has a column of its own."""
    names = {one.name for one in trace.shown()}

    def is_drawn(event: Event) -> bool:
        if event.kind == model.MARK or event.client > model.MOST_SHOWN:
            return event.client <= model.MOST_SHOWN
        if event.process not in names or (event.other and event.other not in names):
            return False
        if event.kind == model.SENT:  # the SIGCHLD of an end stands with that
            return event.signal != "SIGCHLD"
        if event.signal == "SIGCHLD" and event.action == model.DEFAULT:
            return False  # nothing comes of it
        if event.kind == model.ADOPTED and event.process == trace.processes[0].name:
            return False
        return event.kind in DRAWN and not event.error

    return list(map(is_drawn, trace.events))


def picture(trace: Trace, name: str, description: str) -> str:
    """The run as one SVG element. ``name``: unique among the pictures of a page.

    ``description`` is its text alternative.
    """
    at = layout(trace)
    title = f"{trace.lab}, {trace.scenario}: {trace.clients} clients"
    parts = [
        *_marks(trace, at),
        *_lives(trace, at, name),
        *_links(trace, at),
        *_labels(trace, at),
        *_connections(trace, at),
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="run" role="img" width="{at.width:.0f}" '
        f'viewBox="0 0 {at.width:.0f} {at.height:.0f}" '
        f'aria-labelledby="{name}-title" aria-describedby="{name}-desc">',
        f'<title id="{name}-title">{escape(title)}</title>',
        f'<desc id="{name}-desc">{escape(description)}</desc><style>{style()}</style>',
        f'<defs><pattern id="{name}-hatch" width="7" height="7" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><path d="M0 0V7" class="hatch"/></pattern></defs>',
    )
    parts.sort(key=lambda part: part.startswith("<text"))  # words stand before lines
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


# Words ---------------------------------------------------------------------------------------


def _wide(text: str) -> float:
    """How wide a label is, on the safe side."""
    return svg.text_width(text, "tiny")


def _widest(words: Sequence[str]) -> float:
    return max(map(_wide, words))


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return _label_at(x, y, _escaped(words), kind)


def _both(x: float, y: float, words: Sequence[str], kind: str = "") -> str:
    """A label in both languages, of which the page shows one."""
    english, korean = map(_escaped, words)
    if english == korean:
        return _label_at(x, y, english, kind)
    spans = f'<tspan class="en">{english}</tspan><tspan class="ko">{korean}</tspan>'
    return _label_at(x, y, spans, kind)


def _label_at(x: float, y: float, inside: str, kind: str) -> str:
    its = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{its}>{inside}</text>'


def _escaped(words: str) -> str:
    return escape(plain(words), quote=False)


def _fit(rows: Sequence[list[tuple[float, float]]], start: float, end: float) -> int | None:
    """The first row that is empty from start to end, and is taken now; None: there is no room."""
    for number, taken in enumerate(rows):
        if all(end <= its_start or its_end <= start for its_start, its_end in taken):
            taken.append((start, end))
            return number
    return None


def _title(words: str) -> str:
    """What a browser shows beside the pointer."""
    return f"<title>{_escaped(words)}</title>"


# Marks ---------------------------------------------------------------------------------------


def _placed_marks(
    trace: Trace, drawn: Sequence[bool], columns: Sequence[int]
) -> Iterator[tuple[int, int, tuple[str, str]]]:
    """Event, row and text of each step of the scenario; those that find no room are left out."""
    rows: list[list[tuple[float, float]]] = [[] for _ in range(MARK_ROWS)]
    for number, event in enumerate(trace.events):
        if event.kind != model.MARK or not drawn[number]:
            continue
        words = mark_words(event.text)
        x = _column(columns[number])
        row = _fit(rows, x, x + _widest(words) + 10)
        if row is not None:
            yield number, row, words


def _marks(trace: Trace, at: Layout) -> Iterator[str]:
    for number, row, words in _placed_marks(trace, at.drawn, at.columns):
        x, y = at.x(number), 12 + MARK_ROW * row
        yield f'<path class="mark" d="M{x:.0f} {y + 4:.0f}V{at.height:.0f}"/>'
        yield _both(x, y, words, "soft")


# Life-lines ----------------------------------------------------------------------------------


def _lives(trace: Trace, at: Layout, name: str) -> Iterator[str]:
    hatched = trace.zombies()
    for one in trace.shown():
        y = at.lanes[one.name]
        began = at.x(one.forked) if one.forked is not None else LEFT
        end = at.x(one.exited) if one.exited is not None else at.end
        yield _bar(began, end, y, "life", title=_life(one))
        yield _both(began - 5, y + 4, phrase(one.name, _kin(one)), "end")
        yield from _frozen(trace, one, at, end)
        if one.name not in hatched:
            yield from _end(one, end, y)
            continue
        until = hatched[one.name]
        gone = at.end if until is None else at.x(until)
        yield _bar(end, gone, y, "zombie", f'fill="url(#{name}-hatch)"')
        if gone - end > _wide(WORDS["zombie"][0]) + 8:
            yield _both(end + 6, y + 4, WORDS["zombie"], "warn")
            yield from _end(one, gone, y)
        else:
            yield _both(gone + 6, y + 4, WORDS["zombie"], "warn")
            yield from _end(one, gone + _widest(WORDS["zombie"]) + 8, y)


def _kin(one: Process) -> str:
    if not one.parent:
        return "server"
    return "thread" if one.is_thread else "child"


def _life(one: Process) -> str:
    """A process in one sentence, with its times."""
    until = "" if one.exit is None else f" to {1000 * one.exit.latest:.1f}"
    return f"{_fate(one)} Alive from {1000 * one.began:.1f}{until} ms."


def _end(one: Process, x: float, y: float) -> Iterator[str]:
    """What became of it, after its line."""
    if one.exit is None:
        yield _both(x + 6, y + 4, WORDS["alive"], "soft")
    elif one.parent and one.reap is not None:
        kind = {model.BY_WAIT: "good", model.NEVER: "warn"}.get(one.reap.how, "soft")
        tick = "✓" if one.reap.how == model.BY_WAIT else ""
        yield _both(x + 6, y + 4, phrase(tick, one.reap.how), kind)


def _frozen(trace: Trace, one: Process, at: Layout, end: float) -> Iterator[str]:
    since: float | None = None
    for number, event in enumerate(trace.events):
        if event.process != one.name:
            continue
        if event.kind == model.STOP and since is None:
            since = at.x(number)
        elif event.kind == model.CONTINUE and since is not None:
            yield _bar(since, at.x(number), at.lanes[one.name], "frozen")
            since = None
    if since is not None:
        yield _bar(since, end, at.lanes[one.name], "frozen")


def _bar(
    x: float,
    end: float,
    y: float,
    kind: str,
    fill: str = "",
    *,
    thick: float = BAR,
    title: str = "",
) -> str:
    attributes = f'class="{kind}" {fill}'.rstrip()
    shape = (
        f'<rect {attributes} x="{x:.0f}" y="{y - thick / 2:.0f}" width="{max(end - x, 2):.0f}" '
        f'height="{thick}" rx="2"'
    )
    return f"{shape}>{_title(title)}</rect>" if title else f"{shape}/>"


# What goes from one to the other -------------------------------------------------------------


def _links(trace: Trace, at: Layout) -> Iterator[str]:
    for number, event in enumerate(trace.events):
        x, y = at.x(number), at.lanes.get(event.process)
        if y is None:
            continue
        other = at.lanes.get(event.other)
        if event.kind == model.FORK and other is not None:
            yield _line(
                "link", x, y + BAR / 2 * _sign(other - y), other - BAR / 2 * _sign(other - y)
            )
        elif event.kind == model.REAP and other is not None:
            yield _line("reap", x, y, other)
        elif event.kind == model.SENT:
            yield _sent(event, x, y, other)
        elif event.kind == model.SIGNAL and at.drawn[number]:
            yield _triangle(x, y, _said(event))
        elif event.kind == model.ACCEPT and not event.error:
            yield _circle("dot", x, y, 3, _said(event))


def _said(event: Event) -> str:
    return f"{event.process}: {event.text}"


def _sent(event: Event, x: float, y: float, sender: float | None) -> str:
    drawn = ""
    if sender is not None:
        drawn = _line("sent", x, sender, y + BAR / 2 * _sign(sender - y))
    matters = event.outcome in (model.DELIVERED, model.PENDING)
    return drawn + _circle("arrow" if matters else "lost", x, y, 4, _said(event))


def _placed_labels(
    trace: Trace, columns: Sequence[int]
) -> Iterator[tuple[int, int, tuple[str, str], str]]:
    """Event, row above its line, text and kind of what happens to a process.

    What finds no room is left out; what warns comes first.
    """
    numbers = range(len(trace.events))
    labels = [(number, *label) for number in numbers if (label := _label(trace, number))]
    rows: dict[str, list[list[tuple[float, float]]]] = {}
    for number, words, kind in sorted(labels, key=lambda label: label[2] != "warn"):
        name = trace.events[number].process
        count = LABEL_ROWS if _is_servers(trace, number) else 1
        its = rows.setdefault(name, [[] for _ in range(count)])
        x = _column(columns[number])
        row = _fit(its, x, x + _widest(words) + 8)
        if row is not None:
            yield number, row, words, kind


def _is_servers(trace: Trace, event: int) -> bool:
    return trace.events[event].process == trace.processes[0].name


def _labels(trace: Trace, at: Layout) -> Iterator[str]:
    """What happens to a process, above its line, where there is room for it."""
    for number, row, words, kind in _placed_labels(trace, at.columns):
        y = at.lanes.get(trace.events[number].process)
        if y is not None:
            yield _both(at.x(number) - 5, y - 13 - LABEL_ROW * row, words, kind)


def _label(trace: Trace, number: int) -> tuple[tuple[str, str], str] | None:
    """The words in both languages, and their kind."""
    event = trace.events[number]
    signal = event.signal
    if event.kind == model.ADOPTED:
        exited = trace.process(event.process).exited
        return (WORDS["adopted"], "soft") if exited is None or exited > number else None
    if event.kind == model.SENT and event.outcome == model.MERGED:
        return WORDS["merged"], "warn"
    if event.kind == model.SENT and event.outcome == model.PENDING:
        return phrase(signal, "pending"), "warn"
    if event.kind == model.SENT:
        key = {model.IGNORED: "nothing", model.LOST: "lost"}.get(event.outcome, "")
        return phrase(signal, key), "soft"
    if event.kind == model.STOP:
        return phrase(signal, "frozen"), "soft"
    if event.kind == model.SIGNAL and signal not in STOPPING:
        if signal == "SIGCHLD":
            return None if event.action == model.DEFAULT else (WORDS[event.action], "soft")
        return phrase(signal, event.action), "soft"
    if event.kind == model.EXITED and signal:
        return phrase("", "killed", signal), "warn"
    if event.kind == model.EXITED and event.status:
        return (f"status {event.status}",) * 2, "warn"
    return None


def _sign(number: float) -> int:
    return 1 if number > 0 else -1


def _line(kind: str, x: float, y: float, to: float) -> str:
    return f'<path class="{kind}" d="M{x:.0f} {y:.0f}V{to:.0f}"/>'


def _circle(kind: str, x: float, y: float, radius: int, title: str) -> str:
    where = f'cx="{x:.0f}" cy="{y:.0f}" r="{radius}"'
    return f'<circle class="{kind}" {where}>{_title(title)}</circle>'


def _triangle(x: float, y: float, title: str) -> str:
    shape = f"M{x - 5:.0f} {y + 5:.0f}h10l-5 -9z"
    return f'<path class="arrow" d="{shape}">{_title(title)}</path>'


# Connections ---------------------------------------------------------------------------------


def _shares(one: Connection) -> list[tuple[str, float, float | None]]:
    """Who has it open, from when to when (None: to the end); one entry a process."""
    found: dict[str, tuple[str, float, float | None]] = {}
    for its in one.holdings:
        _, since, until = found.get(its.process, ("", its.since, 0.0))
        last = None if until is None or its.until is None else max(until, its.until)
        found[its.process] = its.process, min(since, its.since), last
    shares = list(found.values())
    if len(shares) <= HOLDERS:
        return shares
    rest = shares[HOLDERS - 1 :]
    ends = [until for _, _, until in rest if until is not None]
    last = max(ends) if len(ends) == len(rest) else None
    summed = (f"+ {len(rest)}", min(since for _, since, _ in rest), last)
    return [*shares[: HOLDERS - 1], summed]


def _connections(trace: Trace, at: Layout) -> Iterator[str]:
    if at.clients:
        yield f'<path class="mark" d="M{LEFT} {at.heading:.0f}H{at.end:.0f}"/>'
        yield _both(LEFT - 5, at.heading + 4, WORDS["connections"], "soft end")
    for one in trace.connections:
        y = at.clients.get(one.client)
        if y is None:
            continue
        connected = at.x_at(one.connected)
        taken = one.accepted if one.accepted is not None else one.closed
        yield _both(connected - 5, y + 4, phrase("", "client", str(one.client)), "end")
        queued = at.end if taken is None else at.x_at(taken)
        yield _bar(connected, queued, y, "queued", thick=HELD - 4)
        shares = _shares(one)
        for row, (who, since, until) in enumerate(shares):
            here = y + HELD * row
            end = max(at.end if until is None else at.x_at(until), at.x_at(since) + 2)
            yield _bar(at.x_at(since), end, here, "held", thick=HELD - 4)
            yield _text(end + 6, here + 4, who)
        if one.eof is not None and shares:
            names = [who for who, _, _ in shares]
            # A thread reads from its process's table: the last that has the connection.
            row = names.index(one.eof_by) if one.eof_by in names else len(names) - 1
            title = f"{one.eof_by}: end of file of client {one.client}"
            yield _square(at.x_at(one.eof), y + HELD * row, title)


def _square(x: float, y: float, title: str) -> str:
    return f'<path class="dot" d="M{x - 3:.0f} {y - 3:.0f}h6v6h-6z">{_title(title)}</path>'


def described(trace: Trace) -> str:
    """The picture in words: who was forked for whom, how each ended, who reaped it and when."""
    lines = [_fate(one) for one in trace.shown()]
    lines += [_fate_of_connection(one) for one in trace.connections[: model.MOST_SHOWN]]
    return " ".join(lines)


def _fate(one: Process) -> str:
    who = f"{one.name} (pid {one.pid})" if one.pid else one.name
    serves = f" for client {', '.join(map(str, one.clients))}" if one.clients else ""
    begins = f"is forked by {one.parent}{serves}" if one.parent else "is the server"
    if one.is_thread:
        begins = f"is a thread of {one.parent}{serves}"
    return f"{who} {begins}; {_ending(one)}."


def _ending(one: Process) -> str:
    if one.exit is None:
        return "it lives to the end"
    ended = f"killed by {one.signal}" if one.signal else f"it ends with status {one.status or 0}"
    if one.reap is None or one.is_thread or not one.parent:
        return ended
    reaped = {
        model.BY_WAIT: f"a zombie until {one.reap.by} waits for it",
        model.AUTOMATIC: "reaped by the kernel at once, no zombie",
        model.BY_INIT: "reaped by init",
        model.NEVER: "a zombie to the end",
    }
    return f"{ended}, {reaped[one.reap.how]}"


def _fate_of_connection(one: Connection) -> str:
    if one.accepted is None:
        return f"Client {one.client} waits in the queue and is never accepted."
    holders = " and ".join(dict.fromkeys(holding.process for holding in one.holdings))
    end = "is closed" if one.closed is not None else "is never closed by all of them"
    return (
        f"Client {one.client} is accepted by {one.accepted_by}; its connection, open in {holders}, "
        f"{end}."
    )
