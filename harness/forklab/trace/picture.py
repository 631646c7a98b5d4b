"""A run as a picture: life-lines of processes and connections, from left to right in time.

What stands above each other happened at the same time; how far it is from one thing to the next
says nothing, since most of a run is waiting. Zombies are hatched and named, not told by colour
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from forklab.draw import svg
from forklab.evidence import plain
from forklab.trace import model
from forklab.trace.model import Connection, Event, Process, Trace

COLUMN = 26  # from one event that is drawn to the next, in pixels
LANE = 40  # from one life-line to the next
BAR = 18  # a life-line's thickness
LEFT, RIGHT = 14, 120
MARK_ROW = 16  # the scenario's words stand in rows above the life-lines
MARK_ROWS = 5
LABEL_ROW = 13  # what happens to a process stands above its line
LABEL_ROWS = 3  # above the first one's; above the others' one
LONG_QUEUE = 90  # from here on a client's name stands in its queue

# What gets a column. What else happened (reads, writes, descriptors) is told in words only.
DRAWN = {
    *(model.MARK, model.FORK, model.EXITED, model.REAP, model.AUTO_REAP, model.ADOPTED),
    *(model.SIGNAL, model.STOP, model.LISTEN, model.ACCEPT, model.EOF),
}

# Labels in the picture and on the page: English, Korean.
WORDS = {
    "server": ("the server", "서버"),
    "child": ("child", "자식"),
    "thread": ("thread", "스레드"),
    "client": ("client", "클라이언트"),
    "zombie": ("zombie", "좀비"),
    "frozen": ("frozen", "멈춤"),
    "merged": ("merged", "합쳐짐"),
    "handler": ("handler", "핸들러"),
    "default": ("default", "기본 동작"),
    "ignore": ("ignored", "무시"),
    "nothing": ("no effect", "효과 없음"),
    "reaped": ("reaped", "거둠"),
    "queue": ("in the queue", "대기 큐"),
    "never": ("never reaped", "거두지 않음"),
    "init": ("reaped by init", "init이 거둠"),
    "automatic": ("no zombie: the kernel reaps", "좀비 없음: 커널이 거둠"),
    "processes": ("processes", "프로세스"),
    "connections": ("connections", "연결"),
    "more": ("more processes, not drawn", "개 프로세스는 그리지 않음"),
}

STYLE = """
.run text{fill:var(--ink);font:12px SANS}.run .soft{fill:var(--soft)}.run .ko{display:none}
.run .warn{fill:var(--warn);font-weight:600}.run .good{fill:var(--good)}
.run .life{fill:var(--box);stroke:var(--soft)}.run .zombie{stroke:var(--warn);stroke-dasharray:4 2}
.run .hatch{stroke:var(--warn);stroke-width:2}
.run .frozen{fill:none;stroke:var(--accent);stroke-width:2;stroke-dasharray:2 3}
.run .link{stroke:var(--soft);fill:none}.run .reap{stroke:var(--good);stroke-width:1.5;fill:none}
.run .sent{stroke:var(--accent);fill:none;stroke-dasharray:3 3}.run .arrow{fill:var(--accent)}
.run .lost{fill:var(--paper);stroke:var(--accent)}
.run .held{fill:var(--accent);fill-opacity:.22;stroke:var(--accent)}
.run .queued{fill:none;stroke:var(--soft);stroke-dasharray:2 3}.run .dot{fill:var(--ink)}
.run .mark{stroke:var(--soft);stroke-dasharray:1 4}.run .back{fill:var(--paper)}
.run .cursor{stroke:var(--ink);stroke-width:2}
"""


def style() -> str:
    """The style sheet of a run's picture: the page's colours, or those of the kit's figures."""

    def colours(theme: dict[str, str]) -> str:
        return ";".join(f"--{name}:var(--fig-{name},{value})" for name, value in theme.items())

    return (
        f".run{{{colours(svg.LIGHT)}}}"
        f"@media (prefers-color-scheme:dark){{.run{{{colours(svg.DARK)}}}}}"
        + STYLE.replace("SANS", svg.SANS).replace("\n", "")
    )


def is_drawn(event: Event) -> bool:
    """Whether it has a column of its own."""
    nothing_comes_of_it = event.signal == "SIGCHLD" and event.action == model.DEFAULT
    return event.kind in DRAWN and not nothing_comes_of_it


@dataclass
class Layout:
    """Where things stand, in pixels."""

    columns: list[int]  # of each event: the column that it stands in, or stood last
    lanes: Mapping[str, float]  # the middle of each process's line
    clients: Mapping[int, float]  # and of each connection's
    heading: float  # of the connections
    width: float
    height: float

    def x(self, event: int) -> float:
        """The column of that event."""
        return LEFT + COLUMN * (self.columns[event] if self.columns else 0)


def layout(trace: Trace) -> Layout:
    """Where everything of a trace stands."""
    column, columns = 0, []
    for event in trace.events:
        column += is_drawn(event)
        columns.append(column)
    top = 24 + MARK_ROW * _mark_rows(trace, columns) + LABEL_ROW * (LABEL_ROWS - 1)
    lanes = {one.name: top + LANE * row for row, one in enumerate(trace.shown(), 0)}
    heading = top + LANE * len(lanes) - 4
    clients = {
        one.client: heading + 26 + 26 * row
        for row, one in enumerate(trace.connections[: model.MOST_SHOWN])
    }
    bottom = heading + 26 + 26 * len(clients) if clients else heading
    width = LEFT + COLUMN * (column + 1) + RIGHT
    for number, _, text in _placed_marks(trace, columns):
        width = max(width, LEFT + COLUMN * columns[number] + round(_wide(text)) + LEFT)
    return Layout(columns, lanes, clients, heading, width, bottom)


def picture(trace: Trace, name: str, description: str) -> str:
    """The run as one SVG element. ``name``: unique among the pictures of a page.

    ``description`` is its text alternative.
    """
    at = layout(trace)
    title = f"{trace.lab}, {trace.scenario}: {trace.clients} clients"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="run" role="img" width="{at.width:.0f}" '
        f'viewBox="0 0 {at.width:.0f} {at.height:.0f}" '
        f'aria-labelledby="{name}-title" aria-describedby="{name}-desc">',
        f'<title id="{name}-title">{escape(title)}</title>',
        f'<desc id="{name}-desc">{escape(description)}</desc><style>{style()}</style>',
        f'<defs><pattern id="{name}-hatch" width="7" height="7" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><path d="M0 0V7" class="hatch"/></pattern></defs>',
        *_marks(trace, at),
        *_lives(trace, at, name),
        *_links(trace, at),
        *_labels(trace, at),
        *_connections(trace, at),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


# Words ---------------------------------------------------------------------------------------


def _wide(text: str) -> float:
    """How wide a label is, on the safe side."""
    return svg.text_width(text, "tiny")


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "") -> str:
    where = f'x="{x:.0f}" y="{y:.0f}"' + (f' text-anchor="{anchor}"' if anchor else "")
    return f"<text {where}{_class(kind)}>{escape(plain(words))}</text>"


def _words(x: float, y: float, key: str, kind: str = "", before: str = "", after: str = "") -> str:
    """A label in both languages, of which the page shows one."""
    english, korean = WORDS[key]
    return _text(x, y, before + english + after, f"{kind} en".strip()) + _text(
        x, y, before + korean + after, f"{kind} ko".strip()
    )


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


# Marks ---------------------------------------------------------------------------------------


def _placed_marks(trace: Trace, columns: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    """Event, row and text of each step of the scenario; those that find no room are left out."""
    free = [0.0] * MARK_ROWS  # from where on each row is empty
    for number, event in enumerate(trace.events):
        if event.kind != model.MARK:
            continue
        x = LEFT + COLUMN * columns[number]
        row = next((row for row, since in enumerate(free) if since <= x), None)
        if row is not None:
            free[row] = x + _wide(event.text) + 10
            yield number, row, event.text


def _mark_rows(trace: Trace, columns: Sequence[int]) -> int:
    return 1 + max((row for _, row, _ in _placed_marks(trace, columns)), default=0)


def _marks(trace: Trace, at: Layout) -> Iterator[str]:
    for number, row, text in _placed_marks(trace, at.columns):
        x, y = at.x(number), 12 + MARK_ROW * row
        yield f'<path class="mark" d="M{x:.0f} {y + 4:.0f}V{at.height:.0f}"/>'
        yield _text(x, y, text, "soft")


# Life-lines ----------------------------------------------------------------------------------


def _lives(trace: Trace, at: Layout, name: str) -> Iterator[str]:
    last = len(trace.events) - 1
    for one in trace.shown():
        y = at.lanes[one.name]
        began = at.x(one.forked) if one.forked is not None else LEFT
        end = at.x(one.exited if one.exited is not None else last)
        if one.exited is None:
            end += COLUMN
        yield _bar(began, end, y, "life")
        yield from _frozen(trace, one, at)
        if one.zombie is not None and one.reap is not None and one.exited is not None:
            gone = at.x(one.reap.event) if one.reap.event is not None else at.x(last) + COLUMN
            yield _bar(end, gone, y, "zombie", f"url(#{name}-hatch)")
            key = "never" if one.reap.how == model.NEVER else "zombie"
            if gone - end > _wide(WORDS["zombie"][0]) + 8:
                yield _plate(end + 4, y, "zombie")
            if key == "never":
                yield _words(gone + 4, y + 4, "never", "warn")
        yield _words(
            began + 4, y + 4, "server" if not one.parent else _kin(one), before=f"{one.name} "
        )
        yield from _end(one, end, y)


def _kin(one: Process) -> str:
    return "thread" if one.is_thread else "child"


def _end(one: Process, x: float, y: float) -> Iterator[str]:
    """What became of one that left no zombie, beside its line."""
    if one.parent and one.reap is not None and one.reap.how in (model.AUTOMATIC, model.BY_INIT):
        yield _words(x + 6, y + 4, one.reap.how, "soft")


def _frozen(trace: Trace, one: Process, at: Layout) -> Iterator[str]:
    since: float | None = None
    for number, event in enumerate(trace.events):
        if event.process != one.name:
            continue
        if event.kind == model.STOP and since is None:
            since = at.x(number)
        elif event.kind == model.CONTINUE and since is not None:
            y = at.lanes[one.name]
            yield _bar(since, at.x(number), y, "frozen")
            if at.x(number) - since > _wide(WORDS["frozen"][0]) + 8:
                yield _plate(since + 4, y, "frozen")
            since = None


def _bar(x: float, end: float, y: float, kind: str, fill: str = "") -> str:
    style = f' fill="{fill}"' if fill else ""
    width = max(end - x, 2)
    return (
        f'<rect class="{kind}"{style} x="{x:.0f}" y="{y - BAR / 2:.0f}" width="{width:.0f}" '
        f'height="{BAR}" rx="2"/>'
    )


def _plate(x: float, y: float, key: str) -> str:
    """A word on a background of its own, where it would be lost in a hatching."""
    width = max(_wide(word) for word in WORDS[key]) + 6
    kind = "warn" if key == "zombie" else ""
    back = (
        f'<rect class="back" x="{x:.0f}" y="{y - 7:.0f}" width="{width:.0f}" height="14" rx="2"/>'
    )
    return back + _words(x + 3, y + 4, key, kind)


# What goes from one to the other -------------------------------------------------------------


def _links(trace: Trace, at: Layout) -> Iterator[str]:
    for number, event in enumerate(trace.events):
        x, y = at.x(number), at.lanes.get(event.process)
        if y is None:
            continue
        other = at.lanes.get(event.other)
        if event.kind == model.FORK and other is not None:
            yield _line("link", x, y, other - BAR / 2 * _sign(other - y), dot=True)
        elif event.kind == model.REAP and other is not None:
            yield _line("reap", x, y, other)
            yield _text(x - 4, other + 4, "✓", "good")
        elif event.kind == model.SENT:
            yield _sent(event, x, y, other)
        elif event.kind == model.SIGNAL and is_drawn(event):
            yield _triangle("arrow", x, y)
        elif event.kind in (model.ACCEPT, model.EOF):
            yield f'<circle class="dot" cx="{x:.0f}" cy="{y:.0f}" r="3"/>'


def _sent(event: Event, x: float, y: float, sender: float | None) -> str:
    drawn = ""
    if sender is not None:
        drawn = _line("sent", x, sender, y + BAR / 2 * _sign(sender - y))
    if event.outcome in (model.MERGED, model.LOST, model.IGNORED):
        return drawn + f'<circle class="lost" cx="{x:.0f}" cy="{y:.0f}" r="4"/>'
    return drawn + f'<circle class="arrow" cx="{x:.0f}" cy="{y:.0f}" r="4"/>'


def _labels(trace: Trace, at: Layout) -> Iterator[str]:
    """What happens to a process, above its line, where there is room for it."""
    free: dict[str, list[float]] = {}  # for each line, from where on its rows are empty
    for number, event in enumerate(trace.events):
        label = _label(event)
        if label is None or event.process not in at.lanes:
            continue
        before, key, kind = label
        words = WORDS.get(key, ("", ""))
        first = event.process == trace.processes[0].name
        rows = free.setdefault(event.process, [0.0] * (LABEL_ROWS if first else 1))
        x = at.x(number) - 5
        row = next((row for row, since in enumerate(rows) if since <= x), None)
        if row is not None:
            rows[row] = x + max(_wide(before + " " + one) for one in words) + 8
            y = at.lanes[event.process] - 13 - LABEL_ROW * row
            if key:
                yield _words(x, y, key, kind, before=f"{before} ".lstrip())
            else:
                yield _text(x, y, before, kind)


def _label(event: Event) -> tuple[str, str, str] | None:
    """What stands in front, the key of the word in WORDS, and its kind."""
    if event.kind == model.SENT and event.outcome == model.MERGED:
        return "", "merged", "warn"
    if event.kind == model.SENT:
        return event.signal, "nothing" if event.outcome == model.IGNORED else "", "soft"
    if event.kind == model.SIGNAL and is_drawn(event):
        return ("" if event.signal == "SIGCHLD" else event.signal), event.action, "soft"
    if event.kind == model.EXITED and event.signal:
        return event.signal, "", "warn"
    if event.kind == model.EXITED and event.status:
        return f"status {event.status}", "", "warn"
    return None


def _sign(number: float) -> int:
    return 1 if number > 0 else -1


def _line(kind: str, x: float, y: float, to: float, dot: bool = False) -> str:
    drawn = f'<path class="{kind}" d="M{x:.0f} {y:.0f}V{to:.0f}"/>'
    return drawn + f'<circle class="dot" cx="{x:.0f}" cy="{y:.0f}" r="3"/>' * dot


def _triangle(kind: str, x: float, y: float) -> str:
    return f'<path class="{kind}" d="M{x - 5:.0f} {y + 5:.0f}h10l-5 -9z"/>'


# Connections ---------------------------------------------------------------------------------


def _connections(trace: Trace, at: Layout) -> Iterator[str]:
    if at.clients:
        yield f'<path class="mark" d="M{LEFT} {at.heading:.0f}H{at.width - RIGHT:.0f}"/>'
    for one in trace.connections:
        y = at.clients.get(one.client)
        if y is None:
            continue
        connected = _x_at(trace, at, one.connected)
        accepted = None if one.accepted is None else _x_at(trace, at, one.accepted)
        closed = None if one.closed is None else _x_at(trace, at, one.closed)
        end = at.width - RIGHT
        yield _bar(connected, accepted if accepted is not None else closed or end, y, "queued")
        if accepted is not None:
            yield _bar(accepted, closed or end, y, "held")
        held = " + ".join(dict.fromkeys(one.process for one in one.holdings))
        text = f" {one.client}" + (f" · {held}" if held else "")
        long_queue = accepted is None or accepted - connected > LONG_QUEUE
        x = connected if long_queue or accepted is None else accepted
        yield _words(x + 4, y + 4, "client", after=text)


def _x_at(trace: Trace, at: Layout, time: float) -> float:
    """The column of the last event that is not after that time."""
    found = 0
    for number, event in enumerate(trace.events):
        if event.time <= time:
            found = number
    return at.x(found)


def described(trace: Trace) -> str:
    """The picture in words: who was forked for whom, how each ended, who reaped it and when."""
    lines = []
    for one in trace.shown():
        who = f"{one.name} (pid {one.pid})" if one.pid else one.name
        if not one.parent:
            lines.append(f"{who} is the server.")
            continue
        serves = f" for client {', '.join(map(str, one.clients))}" if one.clients else ""
        lines.append(f"{who} is forked by {one.parent}{serves}; {_fate(one)}.")
    lines += [_fate_of_connection(one) for one in trace.connections[: model.MOST_SHOWN]]
    return " ".join(line for line in lines if line)


def _fate(one: Process) -> str:
    if one.exit is None:
        return "it lives to the end"
    ended = f"killed by {one.signal}" if one.signal else f"it ends with status {one.status or 0}"
    if one.reap is None or one.is_thread:
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
