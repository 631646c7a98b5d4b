"""A trace as one web page: the picture, every event with what was open then, and the source.

The page is one file: no server, no other files, nothing from the network (its Content-Security-
Policy forbids it too). Without JavaScript and in print it is the picture and two tables; with it
one steps through the events.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from forklab.evidence import plain
from forklab.trace import model, picture
from forklab.trace.model import Descriptor, Event, Moment, Signals, Trace

TEMPLATES = Path(__file__).with_name("templates")

# What the page says, in English and Korean; the picture's own words are picture.WORDS.
WORDS = {
    **picture.WORDS,
    "language": ("Language", "언어"),
    "honest": (
        "Recorded with strace, which slows a server down and keeps zombies longer than they would "
        "live alone. A picture to think with: no mark comes of it.",
        "strace로 기록했습니다. strace는 서버를 느리게 하고 좀비를 실제보다 오래 남깁니다. "
        "생각을 돕는 그림일 뿐, 점수와는 관계가 없습니다.",
    ),
    "legend": ("How to read it", "그림 읽는 법"),
    "step": ("Step through it", "한 단계씩 보기"),
    "event": ("event", "사건"),
    "first": ("first", "처음"),
    "back": ("back", "뒤로"),
    "on": ("on", "앞으로"),
    "last": ("last", "마지막"),
    "milestones": ("only what is drawn", "그림에 나온 것만"),
    "predict": ("predict: ask me before zombies come or go", "예측: 좀비 수가 바뀌기 전에 묻기"),
    "how_many": ("How many zombies are there after this?", "이 다음에 좀비는 몇 개일까요?"),
    "show": ("show", "보기"),
    "yes": ("Yes.", "맞습니다."),
    "no": ("No: there are", "아니요. 지금 좀비 수:"),
    "at_this_moment": ("At this moment", "이 순간"),
    "process": ("process", "프로세스"),
    "state": ("state", "상태"),
    "open": ("open descriptors", "열린 파일 디스크립터"),
    "signals": ("signals", "시그널"),
    "everything": ("Everything that happened", "일어난 모든 일"),
    "time": ("ms", "ms"),
    "who": ("who", "누가"),
    "what": ("what", "무엇을"),
    "zombies": ("zombies", "좀비 수"),
    "line": ("source", "소스"),
    "processes_at_end": ("Every process, from fork to reap", "모든 프로세스: fork에서 회수까지"),
    "ended": ("ended", "끝"),
    "unread": ("Lines of the log that were not understood", "이해하지 못한 기록"),
    model.NOT_YET: ("not yet", "아직 없음"),
    model.RUNNING: ("alive", "살아 있음"),
    model.STOPPED: ("frozen", "멈춤"),
    model.ENDING: ("ending", "끝나는 중"),
    model.GONE: ("gone", "사라짐"),
}

# The signs of the picture: what stands in a small drawing of its own, and what it means.
LEGEND = (
    ("life", "a process, from its fork to its end", "프로세스: fork부터 끝까지"),
    ("zombie", "a zombie: ended, and not waited for", "좀비: 끝났지만 아직 wait하지 않음"),
    ("frozen", "frozen by SIGSTOP", "SIGSTOP으로 멈춤"),
    ("reap", "reaped: its parent waited for it", "회수: 부모가 wait함"),
    ("arrow", "a signal is sent, and stays pending", "시그널이 보내져 대기 중"),
    (
        "merged",
        "a signal that made no difference: merged or ignored",
        "차이가 없는 시그널: 합쳐짐 또는 무시",
    ),
    ("taken", "a signal is delivered", "시그널이 전달됨"),
    ("queued", "a connection in the queue, not accepted yet", "대기 큐의 연결, 아직 accept 전"),
    ("held", "a connection that somebody has open", "누군가 열고 있는 연결"),
)


def page(trace: Trace) -> str:
    """The page's HTML."""
    at = picture.layout(trace)
    data = _script_data(trace, at)
    script = Markup(_template_text("page.js"))
    return (
        _environment()
        .get_template("page.html")
        .render(
            trace=trace,
            at=at,
            rows=list(_rows(trace)),
            picture=Markup(picture.picture(trace, "run", picture.described(trace))),
            data=data,
            script=script,
            script_digest=_digest(script),
            legend=LEGEND,
            model=model,
            more=len(trace.processes) - len(trace.shown()),
            fates=[(one, _fate(one)) for one in trace.shown()],
        )
    )


def _rows(trace: Trace) -> Iterator[tuple[int, Event, str, str]]:
    """Number, event, zombies where their number changes, and where it is in the source."""
    before = ""
    for moment, event in zip(trace.moments(), trace.events, strict=True):
        zombies = str(len(moment.zombies))
        place = f"{event.place.file}:{event.place.line}" if event.place else ""
        if event.place and event.place.step:
            place += f" ({event.place.step})"
        yield moment.number, event, zombies if zombies != before else "", place
        before = zombies


def _fate(one: model.Process) -> tuple[str, str]:
    """How it ended, and who reaped it; keys of WORDS or text."""
    ended = one.signal or ("" if one.exit is None else f"{one.status or 0}")
    if one.reap is None:
        return ended, ""
    if one.reap.how == model.BY_WAIT:
        return ended, f"waitpid: {one.reap.by}"
    return ended, {
        model.AUTOMATIC: "automatic",
        model.BY_INIT: "init",
        model.NEVER: "never",
    }[one.reap.how]


# What the script knows -----------------------------------------------------------------------


def _script_data(trace: Trace, at: picture.Layout) -> Markup:
    """For each event what it changed, as JSON that may stand in HTML."""
    steps = []
    files = list(trace.sources)
    before: dict[str, str] = {}
    for moment, event in zip(trace.moments(), trace.events, strict=True):
        step: dict[str, Any] = {"x": at.x(moment.number), "d": int(picture.is_drawn(event))}
        changed = _changed(moment, before)
        if changed:
            step["s"] = changed
        if event.tables:
            step["t"] = {name: [_row(one) for one in its] for name, its in event.tables.items()}
        if event.signals:
            step["g"] = {name: _signals(its) for name, its in event.signals.items()}
        if event.place and event.place.file in files:
            step["p"] = [files.index(event.place.file), event.place.line]
        before = moment.states
        steps.append(step)
    told = {
        "steps": steps,
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
        return Markup("{}").format(key)
    english, korean = WORDS[key]
    return _both(english, korean)


def _both(english: str, korean: str) -> Markup:
    return Markup('<span class="en">{}</span><span class="ko" lang="ko">{}</span>').format(
        english, korean
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words=_words, both=_both, style=lambda: Markup(picture.style()))
    environment.filters["plain"] = lambda text: escape(plain(text))
    return environment


def _template_text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
