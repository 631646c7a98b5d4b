"""A trace as one web page: the picture, every event with what was open then, and the source.

The page is one file: no server, no other files, nothing from the network (its Content-Security-
Policy forbids it too). Without JavaScript and in print it is the picture and tables; with it
one steps through the events.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from forklab.evidence import plain
from forklab.render import web
from forklab.trace import model, picture
from forklab.trace.model import Descriptor, Event, Moment, Signals, Trace
from forklab.trace.words import LEGEND, WORDS, mark_words

TEMPLATES = Path(__file__).with_name("templates")
# After these, the number of zombies is worth a question, also where it stays as it was.
ASKED = {model.EXITED, model.REAP, model.ADOPTED, model.SIGNAL}


def page(trace: Trace) -> str:
    """The page's HTML."""
    at = picture.layout(trace)
    script = Markup(_template_text("page.js"))
    return (
        _environment()
        .get_template("page.html")
        .render(
            trace=trace,
            rows=list(_rows(trace)),
            file=" ".join(_files(trace)) if len(_files(trace)) == 1 else "",
            picture=Markup(picture.picture(trace, "run", _summary(trace))),
            data=_script_data(trace, at),
            script=script,
            script_digest=web.digest(script),
            legend=LEGEND,
            model=model,
            more=_not_drawn(trace),
            fates=[(one, *_fate(one)) for one in trace.shown()],
            connections=trace.connections[: model.MOST_SHOWN],
        )
    )


def _summary(trace: Trace) -> str:
    """The text alternative of the picture, which leads to those of its parts."""
    zombies = len(trace.zombies())
    return (
        f"Life-lines of {len(trace.processes)} processes, {zombies} of which became zombies, and "
        f"of {len(trace.connections)} connections. The tables on this page say the same in words."
    )


def _not_drawn(trace: Trace) -> tuple[str, str] | None:
    """What the picture has no room for, in both languages."""
    processes, connections = (
        max(len(all_of_them) - model.MOST_SHOWN, 0)
        for all_of_them in (trace.processes, trace.connections)
    )
    if not processes and not connections:
        return None
    return (
        f"Not drawn: {processes} more processes, {connections} more connections.",
        f"그리지 않은 것: 프로세스 {processes}개, 연결 {connections}개.",
    )


def _rows(trace: Trace) -> Iterator[tuple[int, Event, str, str]]:
    """Number, event, zombies where their number changes, and where it is in the source."""
    before = ""
    several = len(_files(trace)) > 1
    for moment, event in zip(trace.moments(), trace.events, strict=True):
        zombies = str(len(moment.zombies))
        place = ""
        if event.place:
            place = f"{event.place.file}:" * several + str(event.place.line)
            place += f" ({event.place.step})" if event.place.step else ""
        yield moment.number, event, zombies if zombies != before else "", place
        before = zombies


def _files(trace: Trace) -> set[str]:
    """The files of source that events belong to."""
    return {event.place.file for event in trace.events if event.place}


def _fate(one: model.Process) -> tuple[str, str, str]:
    """How it ended; the key of what became of it, or ""; and when and by whom that was."""
    ended = one.signal or ("" if one.exit is None else f"{one.status or 0}")
    if one.reap is None or not one.parent:
        return ended, "", ""
    when = "" if one.reap.time is None else milliseconds(one.reap.time)
    return ended, one.reap.how, f"{one.reap.by} {when}".strip()


def milliseconds(time: float | None) -> str:
    """A time in seconds, as the page shows it; "" for one that never came."""
    return "" if time is None else f"{1000 * time:.2f}"


# What the script knows -----------------------------------------------------------------------


def _script_data(trace: Trace, at: picture.Layout) -> Markup:
    """For each event what it changed, as JSON that may stand in HTML."""
    steps = []
    files = list(trace.sources)
    # Most lines of a table are there many times: steps name their number.
    lines: dict[str, int] = {}

    def known(some: Iterable[str]) -> list[int]:
        return [lines.setdefault(one, len(lines)) for one in some]

    before: dict[str, str] = {}
    for moment, event in zip(trace.moments(), trace.events, strict=True):
        # Where it stands is told of those that are drawn: the others stand where the last one does.
        step: dict[str, Any] = {"x": round(at.x(moment.number))} if at.drawn[moment.number] else {}
        if event.kind in ASKED and at.drawn[moment.number]:
            step["q"] = 1
        changed = _changed(moment, before)
        if changed:
            step["s"] = changed
        if event.tables:
            step["t"] = {name: known(map(_row, its)) for name, its in event.tables.items()}
        if event.signals:
            step["g"] = {name: known(_signals(its)) for name, its in event.signals.items()}
        if event.place and event.place.file in files:
            step["p"] = [files.index(event.place.file), event.place.line]
        before = moment.states
        steps.append(step)
    told = {
        "steps": steps,
        "left": round(at.x(0)),
        "lines": list(lines),
        "processes": [[one.name, one.pid] for one in trace.shown()],
        "files": [[name, trace.sources[name]] for name in files],
        "words": WORDS,
    }
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028"))


def _changed(moment: Moment, before: Mapping[str, str]) -> dict[str, str]:
    return {
        name: state
        for name, state in moment.states.items()
        if before.get(name, model.NOT_YET) != state
    }


def _row(one: Descriptor) -> str:
    return f"{one.fd} {plain(one.text)}"


def _signals(its: Signals) -> list[str]:
    said = [f"{name}: {what}" for name, what in its.dispositions.items()]
    said += [f"blocked: {', '.join(its.blocked)}"] * bool(its.blocked)
    said += [f"pending: {', '.join(its.pending)}"] * bool(its.pending)
    return said


# Templates -----------------------------------------------------------------------------------


def _words(key: str) -> Markup:
    """A text in both languages, of which the page shows one."""
    if key not in WORDS:
        return Markup("{}").format(plain(key))
    english, korean = WORDS[key]
    return _both(english, korean)


def _both(english: str, korean: str) -> Markup:
    return Markup('<span class="en">{}</span><span class="ko" lang="ko">{}</span>').format(
        plain(english), plain(korean)
    )


@cache
def _environment() -> Environment:
    environment = web.environment(TEMPLATES)
    environment.globals.update(words=_words, both=_both, style=lambda: Markup(picture.style()))
    environment.globals.update(milliseconds=milliseconds, mark_words=mark_words)
    return environment


def _template_text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
