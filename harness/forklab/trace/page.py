"""A trace as one web page: the picture, every event with what was open then, and the source.

The page is one file: no server, no other files, nothing from the network (its Content-Security-
Policy forbids it too). Without JavaScript and in print it is the picture and tables; with it
one steps through the events.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from forklab.evidence import plain
from forklab.trace import model, picture
from forklab.trace.model import Descriptor, Event, Moment, Signals, Trace

TEMPLATES = Path(__file__).with_name("templates")
# After these, the number of zombies is worth a question, also where it stays as it was.
ASKED = {model.EXITED, model.REAP, model.ADOPTED, model.SIGNAL}

# What the page says, in English and Korean; the picture's own words are picture.WORDS.
WORDS = {
    **picture.WORDS,
    "language": ("Language", "언어"),
    "honest": (
        "Recorded with strace, which slows a server down and keeps zombies longer than they would "
        "live alone: how far it is from one thing to the next says nothing. A picture to think "
        "with; no mark comes of it.",
        "strace로 기록했습니다. strace를 쓰면 서버가 느려지고 좀비가 실제보다 오래 남습니다. "
        "그림에서 간격의 길이는 의미가 없습니다. 생각을 돕는 그림일 뿐, 점수와는 관계가 없습니다.",
    ),
    "picture": ("The picture of the run", "실행 그림"),
    "legend": ("How to read it", "그림 읽는 법"),
    "step": ("Step through it", "한 단계씩 보기"),
    "event": ("event", "이벤트"),
    "first": ("first", "처음"),
    "back": ("back", "이전"),
    "on": ("on", "다음"),
    "last": ("last", "마지막"),
    "milestones": ("only what is drawn", "그림에 나온 것만"),
    "predict": ("predict: ask me how many zombies there are", "예측: 좀비가 몇 개일지 먼저 묻기"),
    "how_many": ("How many zombies are there after this?", "그다음 좀비는 몇 개일까요?"),
    "next": ("Next:", "다음 이벤트:"),
    "show": ("show", "확인"),
    "yes": ("Yes. Zombies:", "맞습니다. 좀비:"),
    "no": ("No. Zombies:", "아니요. 좀비:"),
    "at_this_moment": ("At this moment", "이 순간"),
    "process": ("process", "프로세스"),
    "state": ("state", "상태"),
    "open": ("open descriptors", "열린 파일 디스크립터"),
    "signals": ("signals", "시그널"),
    "open_in": ("open in", "열고 있는 프로세스"),
    "everything": ("Everything that happened", "일어난 모든 일"),
    "time": ("ms", "ms"),
    "who": ("who", "누가"),
    "what": ("what", "무엇을"),
    "zombies": ("zombies", "좀비 수"),
    "line": ("source", "소스"),
    "processes_at_end": ("Every process, from fork to reap", "모든 프로세스: fork에서 회수까지"),
    "parent": ("parent", "부모"),
    "forked": ("forked", "생성"),
    "ended": ("ended", "종료"),
    "became": ("reaped", "회수"),
    "every_connection": ("Every connection", "모든 연결"),
    "connected": ("connected", "연결됨"),
    "accepted": ("accepted", "accept"),
    "end_of_file": ("end of file", "EOF"),
    "closed": ("closed by all", "모두 닫음"),
    "unread": ("Lines of the log that were not understood", "해석하지 못한 기록"),
    model.NOT_YET: ("not yet", "아직 없음"),
    model.RUNNING: ("alive", "살아 있음"),
    model.STOPPED: ("frozen", "멈춤"),
    model.ENDING: ("ending", "종료 중"),
    model.GONE: ("gone", "사라짐"),
}

# The signs of the picture: what stands in a small drawing of its own, and what it means.
LEGEND = (
    ("life", "a process, from its fork to its end", "프로세스: fork부터 종료까지"),
    ("zombie", "a zombie: ended, and not waited for", "좀비: 종료했지만 아직 wait되지 않음"),
    ("frozen", "frozen by SIGSTOP", "SIGSTOP으로 멈춤"),
    ("link", "fork", "fork"),
    ("reap", "its parent waits for it: reaped", "부모가 wait함: 회수"),
    ("sent", "a signal is sent", "시그널을 보냄"),
    ("arrow", "it stays pending until it is delivered", "전달될 때까지 대기(pending)"),
    (
        "lost",
        "it makes no difference: merged, ignored, or never delivered",
        "아무 효과 없음: 합쳐졌거나, 무시되었거나, 끝내 전달되지 않음",
    ),
    ("taken", "a signal is delivered", "시그널이 전달됨"),
    ("accept", "accept", "accept"),
    ("queued", "a connection in the queue, not accepted yet", "대기 큐의 연결: 아직 accept 전"),
    (
        "held",
        "a connection, a bar for each process that has it open",
        "연결: 열고 있는 프로세스마다 막대 하나",
    ),
    ("eof", "this process reads the end of file: its client has left", "이 프로세스가 EOF를 읽음"),
)


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
            script_digest=_digest(script),
            legend=LEGEND,
            model=model,
            more=_not_drawn(trace),
            fates=[(one, *_fate(one)) for one in trace.shown()],
            connections=trace.connections[: model.MOST_SHOWN],
        )
    )


def _summary(trace: Trace) -> str:
    """The text alternative of the picture, which leads to those of its parts."""
    zombies = len(picture.zombies(trace))
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


def _moments(trace: Trace) -> Iterator[Moment]:
    """How everything stands after each event, where nobody who is reaped at once is a zombie."""
    zombies = picture.zombies(trace)
    for moment in trace.moments():
        for name in moment.zombies:
            if name not in zombies:
                moment.states[name] = model.GONE
        yield moment


def _rows(trace: Trace) -> Iterator[tuple[int, Event, str, str]]:
    """Number, event, zombies where their number changes, and where it is in the source."""
    before = ""
    several = len(_files(trace)) > 1
    for moment, event in zip(_moments(trace), trace.events, strict=True):
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
    lines: dict[
        str, int
    ] = {}  # most lines of a table are there many times: steps name their number

    def known(some: Iterable[str]) -> list[int]:
        return [lines.setdefault(one, len(lines)) for one in some]

    before: dict[str, str] = {}
    for moment, event in zip(_moments(trace), trace.events, strict=True):
        step: dict[str, Any] = {"x": at.x(moment.number), "d": int(at.drawn[moment.number])}
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
    environment.globals.update(milliseconds=milliseconds, mark_words=picture.mark_words)
    environment.filters["plain"] = lambda text: escape(plain(text))
    return environment


def _template_text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
