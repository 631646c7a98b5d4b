"""The picture as text: a pure function of what was seen and of the room there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.cells import cell_len
from rich.text import Text

from forklab.clients import Event
from forklab.contain import signal_name
from forklab.evidence import STATES, plain, visible
from forklab.play.keys import KEYS, Key
from forklab.play.model import LISTENER, MASKS, Member, Peer, Picture

LEAST_COLUMNS, LEAST_LINES = 64, 18
TALL = 30  # lines from which on there is room for more about signals
SIGCHLD = 17
C_LIBRARYS = (32, 33)  # signals that glibc keeps for itself (nptl(7)), and no program handles
ZOMBIE, STOPPED, CHOSEN, DIM = "bold red", "yellow", "bold", "dim"

# Letters that only some terminals have, and what stands for them elsewhere.
IN_ASCII = str.maketrans("─├└…▸✗↑↓", "-|`~>x^v")

MEANINGS = {
    "SigIgn": "ignored",
    "SigCgt": "caught",
    "SigBlk": "blocked",
    "SigPnd": "pending for one thread",
    "ShdPnd": "pending",
}


def draw(picture: Picture, columns: int, lines: int, only_ascii: bool = False) -> list[Text]:
    """A screen of exactly so many lines, none of them wider than so many columns."""
    if columns < LEAST_COLUMNS or lines < LEAST_LINES:
        rows = _too_small(columns, lines)
    elif picture.is_helping:
        rows = _help(lines)
    else:
        rows = _panes(picture, columns, lines)
    rows = [*rows[:lines], *(Text() for _ in range(lines - len(rows)))]
    for row in rows:
        row.truncate(columns, overflow="ellipsis")
        row.no_wrap = True
    return [_in_ascii(row) for row in rows] if only_ascii else rows


def _in_ascii(row: Text) -> Text:
    # Each character stands for one, so that the spans still fit.
    text = row.plain.translate(IN_ASCII).encode("ascii", "replace").decode()
    return Text(text, row.style, no_wrap=True, spans=row.spans)


def _too_small(columns: int, lines: int) -> list[Text]:
    room = f"{columns}x{lines}"
    words = (
        f"This window is {room}. A server takes {LEAST_COLUMNS}x{LEAST_LINES}: make it larger, "
        "and it goes on. q quits."
    )
    rows = [""]
    for word in words.split():
        if len(rows[-1]) + len(word) < columns:
            rows[-1] = f"{rows[-1]} {word}".lstrip()
        else:
            rows.append(word)
    return [Text(row) for row in rows]


def _panes(picture: Picture, columns: int, lines: int) -> list[Text]:
    processes, clients = _processes(picture, columns), _clients(picture, columns)
    signals = _signals(picture, columns, is_tall=lines >= TALL)
    detail = _transcript(picture) if lines >= TALL else []
    log = [Text(f" {line}") for line in picture.log] or [Text(f" {_no_log(picture)}", DIM)]
    foot = [*_asked(picture, columns), *_key_lines(columns)]
    # Title lines of four panes, and the two at the top.
    room = lines - 6 - len(signals) - len(foot)
    some = _share(room, [len(processes), len(clients), len(log)])
    detail = detail[-max(room - sum(some), 0) :] if room > sum(some) else []
    here = next((n for n, one in enumerate(picture.peers) if one.name == picture.chosen), 0)
    at = next((n for n, one in enumerate(picture.members) if one.pid == picture.looked_at), 0)
    shown = _window(clients, some[1], here)
    if detail:
        place = next(n for n, row in enumerate(shown) if row.plain.startswith("▸")) + 1
        shown[place:place] = detail
    rows = [
        _head(picture, columns),
        Text(f" {remark(picture)}", "bold"),
        _title("processes", _count(picture), columns),
        *_window(processes, some[0], at),
        _title(_whose_signals(picture), "", columns),
        *signals,
        _title("clients", _client_count(picture), columns),
        *shown,
        _title("what the server printed", "", columns),
        *log[-some[2] :],
    ]
    return [*rows, *[Text()] * (lines - len(rows) - len(foot)), *foot]


def _share(room: int, wanted: Sequence[int]) -> list[int]:
    """How many lines each pane gets: two in turn for the first, one for the others."""
    given = [0] * len(wanted)
    while any(few < want for few, want in zip(given, wanted, strict=True)):
        for n in (0, *range(len(wanted))):
            if sum(given) == room:
                return given
            given[n] += given[n] < wanted[n]
    return given


def _window(rows: list[Text], size: int, keep: int) -> list[Text]:
    """So many of the rows, that one among them; and how many are left out, above and below."""
    if len(rows) <= size:
        return rows
    first = min(max(keep - size // 2, 0), len(rows) - size)
    shown = rows[first : first + size]
    last = first + size
    if first and size > 2:
        shown[0] = _left_out(rows[: first + 1], "above")
    if last < len(rows) and size > 2:
        shown[-1] = _left_out(rows[last - 1 :], "below")
    return shown


def _left_out(rows: Sequence[Text], where: str) -> Text:
    zombies = sum("✗" in row.plain for row in rows)
    more = f", {zombies} of them zombies" if zombies else ""
    return Text(f"     … {len(rows)} more {where}{more}", DIM)


def _title(name: str, more: str, columns: int) -> Text:
    title = Text(f"── {name} ", DIM)
    title.stylize("bold not dim", 3, 3 + len(name))
    if more:
        title.append(f"─ {more} ", "not dim")
    return title.append("─" * (columns - len(title)), DIM)


# The top -------------------------------------------------------------------------------------


def _head(picture: Picture, columns: int) -> Text:
    number = picture.lab.removeprefix("lab")
    elsewhere = f"   from elsewhere: make client PORT={picture.port} "
    path = _last(plain(picture.path), columns - len(elsewhere) - 8)
    head = Text(f" Lab {number}  ", "bold").append(path, "not bold")
    return head.append(elsewhere, "not bold dim")


def _last(text: str, room: int) -> str:
    """The end of a text, as much as there is room for."""
    if cell_len(text) <= room:
        return text
    while cell_len(text) > room - 1:
        text = text[1:]
    return f"…{text}"


def remark(picture: Picture) -> str:
    """One sentence on what is most worth looking at now; at most 78 characters."""
    members, zombies, server = picture.members, len(picture.zombies), picture.server
    if picture.ending or server is None:
        how = picture.ending.partition(". ")[0]
        return f"The server has ended: {how or 'just now'}. r starts it again."
    if server.is_stopped:
        if zombies > 1 and server.has("ShdPnd", SIGCHLD):
            return f"{zombies} zombies, but SIGCHLD is pending once. After f, how many will stay?"
        if zombies:
            return f"{zombies} {_zombies(zombies)}. After f, will the server wait for them?"
        return "Frozen: it runs nothing until f. The kernel still takes clients for it."
    if not picture.is_listening:
        return "It runs, but does not listen: nobody can connect."
    if picture.zombies_at_thaw:
        before = picture.zombies_at_thaw
        return f"{before} {_zombies(before)} at the thaw, {zombies} now."
    if zombies:
        whose = "its" if zombies == 1 else "their"
        return f"{zombies} {_zombies(zombies)}: ended, and {whose} parent has not called wait(2)."
    if leaked := _leaked(picture):
        return f"The server and a child have {leaked} open: no end for it until both close."
    if any(one.role == "child" and LISTENER in dict(one.descriptors).values() for one in members):
        return "A child has the listener open as well: the port stays taken after the server."
    if any(one.role == "orphan" for one in members):
        return "An orphan: its parent has ended, and somebody else waits for it."
    if not picture.peers:
        return "c connects a client, s sends a line, x closes. Watch what becomes of it."
    if server.has("SigIgn", SIGCHLD):
        return "SIGCHLD is ignored here: a child that ends is gone at once. No zombies."
    return ""


def _zombies(count: int) -> str:
    return "zombie" if count == 1 else "zombies"


def _leaked(picture: Picture) -> str:
    """A connection that the server kept though a child serves it; or ""."""
    server = picture.server
    assert server is not None
    own = {what for _, what in server.descriptors if what.startswith(("client", "outside"))}
    for one in picture.members:
        if one.role == "child":
            for _, what in one.descriptors:
                if what in own:
                    return what
    return ""


# Processes -----------------------------------------------------------------------------------


def _count(picture: Picture) -> str:
    if not picture.members:
        return "none"
    zombies = len(picture.zombies)
    living = sum(one.role == "child" for one in picture.members) - zombies
    orphans = sum(one.role == "orphan" for one in picture.members)
    words = [f"{living} {'child' if living == 1 else 'children'}"]
    words += [f"{orphans} orphaned"] * bool(orphans)
    words += [f"{zombies} {_zombies(zombies)}"]
    return ", ".join(words)


def _processes(picture: Picture, columns: int) -> list[Text]:
    if not picture.members:
        because = picture.ending.partition(". ")[2]  # a limit that it came to
        return [Text(f"   {because or 'none any more'}", DIM)]
    digits = max(len(str(one.pid)) for one in picture.members)
    deepest = max(one.depth for one in picture.members)
    rows = []
    for number, one in enumerate(picture.members):
        later = [other.depth for other in picture.members[number + 1 :]]
        goes_on = (
            one.depth in later[: next((n for n, d in enumerate(later) if d < one.depth), None)]
        )
        rows.append(_process(one, picture, digits, deepest, goes_on))
    return rows


def _process(one: Member, picture: Picture, digits: int, deepest: int, goes_on: bool) -> Text:
    style = ZOMBIE if one.is_zombie else STOPPED if one.is_stopped else ""
    branch = "  " * (one.depth - 1) + ("├ " if goes_on else "└ ") if one.depth else ""
    row = _marked(one.pid == picture.looked_at)
    row.append(branch, DIM)
    row.append(f"{one.pid:<{digits}} {one.role:<6}".ljust(digits + 8 + 2 * (deepest - one.depth)))
    row.append("✗ " if one.is_zombie else "  ", style)
    state = f"{one.state} {STATES.get(one.state, '')}"
    if one.is_zombie:
        state += f" {one.seconds} s"
    row.append(f"{state:<14} ", style)
    if one.is_zombie:
        return row.append("nothing open: only a pid and an exit status", DIM)
    return row.append(_descriptors(one))


def _marked(is_chosen: bool) -> Text:
    return Text("▸ ", CHOSEN) if is_chosen else Text("  ")


def _descriptors(one: Member) -> Text:
    """``1,2 log  3 listener  4,5 clients 1,2``: those alike together."""
    text = Text()
    for kind, group in groupby(one.descriptors, lambda pair: pair[1].partition(" ")[0]):
        pairs = list(group)
        numbers = ",".join(str(fd) for fd, _ in pairs)
        names = [what.partition(" ")[2] for _, what in pairs]
        same = len({what for _, what in pairs}) == 1
        if same:
            what = pairs[0][1]
        elif kind == "client":
            what = f"clients {','.join(names)}"
        else:
            what = ",".join(dict.fromkeys(what for _, what in pairs))
        text.append("  " * bool(text.plain)).append(f"{numbers} ", DIM)
        text.append(what, "bold" if what == LISTENER else "")
    return text if text.plain else Text("nothing open", DIM)


# Signals -------------------------------------------------------------------------------------


def _whose_signals(picture: Picture) -> str:
    one = next((one for one in picture.members if one.pid == picture.looked_at), None)
    return f"signals of {one.pid}, {_the(one.role)}" if one else "signals"


def _the(role: str) -> str:
    return "the server" if role == "server" else f"{'an' if role == 'orphan' else 'a'} {role}"


def _signals(picture: Picture, columns: int, is_tall: bool) -> list[Text]:
    one = next((one for one in picture.members if one.pid == picture.looked_at), None)
    if one is None:
        return [Text("   nobody is there to get one", DIM)]
    masks = dict(one.masks)
    if is_tall:
        return [
            Text(f"   {name}  ")
            .append(f"{masks.get(name, 0):016x}  ", DIM)
            .append(f"{MEANINGS[name]:<23} {_names(masks.get(name, 0))}")
            for name in MASKS
        ]
    pending = f"{_names(masks.get('SigPnd', 0))} / {_names(masks.get('ShdPnd', 0))}"
    half = (columns - 3) // 2
    ignored, caught, blocked = (
        f"{name} {MEANINGS[name]} {_names(masks.get(name, 0))}" for name in MASKS[:3]
    )
    return [
        Text("   ").append(_fit(ignored, half)).append(blocked),
        Text("   ").append(_fit(caught, half)).append(f"SigPnd / ShdPnd {pending}"),
    ]


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) < width else f"{text[: width - 2]}… "


def _names(mask: int) -> str:
    """``SIGINT SIGCHLD``: signal N is bit N - 1 (signal(7))."""
    numbers = [n for n in range(1, 65) if mask >> (n - 1) & 1 and n not in C_LIBRARYS]
    return " ".join(map(signal_name, numbers)) or "none"


# Clients -------------------------------------------------------------------------------------


def _client_count(picture: Picture) -> str:
    there = sum(one.can_act for one in picture.peers)
    outside = sum(one.state == "outside" for one in picture.peers)
    return f"{there} connected" + (f", {outside} from outside" if outside else "")


def _clients(picture: Picture, columns: int) -> list[Text]:
    if not picture.peers:
        return [Text("   nobody yet", DIM)]
    wide = max(len(one.name) for one in picture.peers)
    return [_client(one, picture, wide, columns) for one in picture.peers]


def _client(one: Peer, picture: Picture, wide: int, columns: int) -> Text:
    row = _marked(one.name == picture.chosen)
    row.append(f"{one.name:<{wide}}  ", CHOSEN if one.can_act else "")
    where = ""
    if one.is_queued:
        where = "in the queue"
    elif one.pids:
        where = f"in {','.join(map(str, one.pids))}"
    if where:
        where = f" {where}" if one.can_act or one.state == "outside" else f", still {where}"
    row.append(f"{one.state + where:<24} ", "" if one.can_act or where else DIM)
    if one.unread:
        row.append(f"{one.unread} unread  ", STOPPED)
    return row.append(_tail(_said(one), columns - len(row)))


def _said(one: Peer) -> list[str]:
    """What it did and saw, but for what its state says already."""
    if one.state == "outside":
        # None at all: this kernel does not say (forklab.tcp), or there were none.
        return [f"sent {one.sent} bytes", f"got {one.got} bytes"] if one.sent or one.got else []
    known = ("connected", "closed", "reset", "half-closed")
    return [_word(event, 24) for event in one.events if event.what not in known]


def _tail(words: Iterable[str], room: int) -> str:
    """The last of these words that there is room for, at least one."""
    taken: list[str] = []
    words = list(words)
    for word in reversed(words):
        if taken and len("  ".join([word, *taken])) > room - 2:
            return "  ".join(["…", *taken])
        taken.insert(0, word)
    return "  ".join(taken)


def _word(event: Event, limit: int) -> str:
    if event.what in ("sent", "received"):
        data = event.data[:limit]
        more = f" … {event.size} bytes" if event.size > limit else ""
        return f"{'sent' if event.what == 'sent' else 'got'} {visible(data, limit)}{more}"
    return {
        "half-closed": "sent EOF",
        "end of stream": "got EOF",
        "connection reset": "got RST",
        "reset": "sent RST",
    }.get(event.what, event.what)


def _transcript(picture: Picture) -> list[Text]:
    """All that the chosen client did and saw, a line each."""
    one = next((one for one in picture.peers if one.name == picture.chosen), None)
    return [Text(f"       {_word(event, 300)}", DIM) for event in one.events] if one else []


# The log, and the keys -----------------------------------------------------------------------


def _no_log(picture: Picture) -> str:
    if picture.ending:
        return "nothing"
    return "nothing yet (into a file, as here, printf writes only when it is flushed: stdio(3))"


def _asked(picture: Picture, columns: int) -> list[Text]:
    if picture.prompt is not None:
        asked = Text(f" client {picture.chosen} sends (Enter; Escape: not): ", "bold")
        asked.append(_last(picture.prompt, columns - len(asked) - 1), "not bold")
        return [asked.append(" ", "reverse")]
    return [Text(f" {plain(picture.message)}")]


def _key_lines(columns: int) -> list[Text]:
    """Every key with its name, in as few lines as they take."""
    rows = [Text()]
    for key in KEYS:
        if not key.name:
            continue
        entry = Text(f" {key.label}", "bold").append(f" {key.name}", "not bold")
        if rows[-1].plain and len(rows[-1]) + len(entry) + 1 > columns:
            rows.append(Text())
        rows[-1].append(entry if not rows[-1].plain else Text(" ") + entry)
    return rows


def _help(lines: int) -> list[Text]:
    rows = [Text(" What the keys do", "bold")]
    rows += [_help_line(key) for key in KEYS if key.help]
    rows.append(Text(" What is on the screen", "bold"))
    for text in (
        "R running, S asleep, T stopped; ✗ Z zombie: it ended, nobody has waited for it",
        "in the queue: the kernel shook hands, and the server has not accepted yet",
        "unread: bytes that have come to the server's side, and nobody has read them",
        "SigPnd, ShdPnd: signals pending for one thread, for the whole process",
    ):
        rows.append(Text(f"  {text}"))
    return [*rows[: lines - 1], Text(" Any key goes back.", "bold")]


def _help_line(key: Key) -> Text:
    return Text(f"  {key.label:<4}", "bold").append(f" {key.name:<12} {key.help}", "not bold")
