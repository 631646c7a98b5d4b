"""The picture of a run and the page around it: what they say, and that they are whole and safe."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from forklab.draw import runs
from forklab.draw.runs import Run
from forklab.trace import model, page, picture, words
from forklab.trace.model import Descriptor, Event, Place, Trace

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m"
SVG = "{http://www.w3.org/2000/svg}"


def kept(name: str) -> Trace:
    """The trace of one of the docs' runs."""
    run = next(one for one in runs.RUNS if one.name == name)
    return Trace.from_json(run.path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def burst() -> Trace:
    return kept("run-lab4-one-waitpid-per-signal-burst")


def drawing(trace: Trace) -> ET.Element:
    """Well-formed, or this raises."""
    return ET.fromstring(picture.picture(trace, "x", picture.described(trace)))


def kinds(svg: ET.Element) -> Counter[str]:
    return Counter(one.get("class", "") for one in svg.iter())


def extent(text: ET.Element) -> tuple[float, float]:
    """From where to where a label goes, in the language that needs more room."""
    x = float(text.get("x", "0"))
    width = max(map(picture._wide, [text.text or "", *(one.text or "" for one in text)]))
    return (x - width, x) if "end" in text.get("class", "").split() else (x, x + width)


def texts(svg: ET.Element) -> list[str]:
    """The labels in English."""
    return [next((part.text for part in one), one.text) or "" for one in svg.iter(f"{SVG}text")]


# The picture


@pytest.mark.parametrize("run", runs.RUNS, ids=lambda run: run.name)
def test_each_process_and_zombie_is_drawn(run: Run):
    trace = kept(run.name)
    svg = drawing(trace)
    zombies = trace.zombies()
    assert kinds(svg)["life"] == len(trace.processes)
    assert kinds(svg)["zombie"] == len(zombies)
    assert kinds(svg)["reap"] == sum(
        one.reap is not None and one.reap.how == model.BY_WAIT for one in trace.processes
    )
    never = sum(until is None for until in zombies.values())
    assert texts(svg).count("never reaped") == never
    assert texts(svg).count("zombie") == len(zombies)  # not told by the hatching alone
    assert kinds(svg)["held"] == sum(len(picture._shares(one)) for one in trace.connections)
    assert kinds(svg)["dot"] == sum(
        event.kind in (model.ACCEPT, model.EOF) and not event.error for event in trace.events
    )


@pytest.mark.parametrize("run", runs.RUNS, ids=lambda run: run.name)
def test_the_hatched_bars_are_the_zombies_of_each_moment(run: Run):
    trace = kept(run.name)
    at = picture.layout(trace)
    bars = [
        tuple(float(one.get(key, "0")) for key in ("x", "y", "width"))
        for one in drawing(trace).iter()
        if one.get("class") == "zombie"
    ]
    moments = list(trace.moments())
    for number, moment in enumerate(moments):
        if number + 1 == len(moments) or at.drawn[number + 1]:  # the last of its column
            here = [y for x, y, width in bars if x <= at.x(number) < x + width]
            assert sorted(here) == sorted(at.lanes[one] - picture.BAR / 2 for one in moment.zombies)


def test_what_became_one_is_said(burst):
    svg = drawing(burst)
    assert texts(svg).count("merged") == 2
    assert texts(svg).count("frozen") == 1
    assert kinds(svg)["zombie"] == 3


def test_who_waits_in_the_queue():
    svg = drawing(kept("run-lab1-reference-together"))
    widths = [float(one.get("width", "0")) for one in svg.iter() if one.get("class") == "queued"]
    assert len(widths) == 3
    assert min(widths[1:]) > 2 * widths[0]  # the first is accepted at once, the others wait


def test_in_words(burst):
    said = picture.described(burst)
    assert "C1 is forked by P for client 1; it ends with status 0, a zombie until P waits" in said
    assert said.count("a zombie to the end") == 2


@pytest.mark.parametrize("run", runs.RUNS, ids=lambda run: run.name)
def test_everything_stands_within_the_picture(run: Run):
    svg = drawing(kept(run.name))
    width, height = (float(one) for one in svg.get("viewBox", "").split()[2:])
    for one in svg.iter(f"{SVG}text"):
        start, end = extent(one)
        assert start >= 0, one.text
        assert end <= width, one.text
        assert 0 < float(one.get("y", "0")) <= height


@pytest.mark.parametrize("run", runs.RUNS, ids=lambda run: run.name)
def test_no_label_covers_another(run: Run):
    """Of those that stand in the same row."""
    places: dict[str, list[tuple[float, float]]] = {}
    for one in drawing(kept(run.name)).iter(f"{SVG}text"):
        places.setdefault(one.get("y", ""), []).append(extent(one))
    for row in places.values():
        row.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(row))


def test_a_call_that_failed_is_not_drawn(burst):
    failed = Event(burst.duration, "P", model.ACCEPT, "accept: interrupted", error="EINTR")
    more = replace(burst, events=[*burst.events, failed])
    assert drawing(more).get("width") == drawing(burst).get("width")
    assert kinds(drawing(more)) == kinds(drawing(burst))


def test_who_holds_a_connection_and_how_long():
    """The parent that forgot to close has a bar to the end, beside its child's."""
    trace = kept("run-lab2-parent-keeps-connection-turns")
    end = picture.layout(trace).end
    bars = [one for one in drawing(trace).iter() if one.get("class") == "held"]
    ends = [float(one.get("x", "0")) + float(one.get("width", "0")) for one in bars]
    assert ends.count(end) == len(trace.connections)  # P's
    assert len(ends) > 2 * len(trace.connections) - 1


def test_of_many_holders_it_shows_some():
    holdings = [model.Holding(f"C{number}", 4, 0.0) for number in range(30)]
    one = model.Connection(1, 40000, 0.0, 0.0, "P", holdings=holdings)
    assert [who for who, _, _ in picture._shares(one)] == ["C0", "C1", "C2", "+ 27"]


def test_a_zombie_until_its_parent_is_gone():
    """init takes it then: the picture shows it as a zombie up to there."""
    trace = crowd(1)
    trace.processes[1].reap = model.Reap(model.BY_INIT)
    trace.processes[0].exited = len(trace.events)
    trace.events.append(Event(0.5, "P", model.EXITED, "exited with status 0"))
    trace.events.append(Event(0.5, "C1", model.ADOPTED, "reaped by init"))
    assert kinds(drawing(trace))["zombie"] == 1
    trace.events.append(Event(0.6, "C1", model.EXITED, "exited with status 0"))
    trace.processes[1].exited = len(trace.events) - 1  # after init has adopted it
    assert kinds(drawing(trace))["zombie"] == 0


def test_whom_the_kernel_reaps_at_once_is_no_zombie():
    steps = told(page.page(kept("run-lab3-reference-turns")))["steps"]
    assert not any("zombie" in step.get("s", {}).values() for step in steps)


def test_no_more_than_fifty_processes():
    trace = crowd(80)
    svg = drawing(trace)
    assert float(svg.get("width", "0")) == picture.layout(crowd(51)).width
    assert kinds(svg)["life"] == model.MOST_SHOWN
    said = "Not drawn: 31 more processes, 30 more connections."  # with the server there are 81
    assert said in page.page(trace)
    assert "Not drawn" not in page.page(crowd(49))


@pytest.mark.parametrize("run", runs.RUNS, ids=lambda run: run.name)
def test_it_is_small_and_alone(run: Run):
    text = runs.drawn(run)
    assert len(text.encode()) <= 12_000
    assert not re.search(r"<script|\bon\w+=|<image|<use|<foreignObject|@import|@font-face", text)
    assert re.findall(r"(?:href|src)\s*=|url\((?!#)|https?:", text) == ["http:"]  # SVG's own name
    svg = ET.fromstring(text)
    ids = [str(one.get("id")) for one in svg.iter() if one.get("id")]
    assert all(one.startswith(f"{run.name}-") for one in ids)
    title, desc = svg.find(f"{SVG}title"), svg.find(f"{SVG}desc")
    assert title is not None
    assert desc is not None
    assert svg.get("aria-labelledby") == title.get("id")
    assert svg.get("aria-describedby") == desc.get("id")
    assert len(desc.text or "") > 100


# The page


def crowd(children: int) -> Trace:
    """A server with so many children, each of which serves a client, ends and stays a zombie."""
    table = [Descriptor(0, "file", "/dev/null"), Descriptor(3, "listener", "listener")]
    trace = Trace("lab2", "server.c", "together", children, lines_known=True)
    trace.sources = {"server.c": "int main(void)\n{\n}\n" * 80}
    trace.processes.append(model.Process("P", 100, "", 0.0))
    place = Place("server.c", 100, "main", "2a")
    events = trace.events
    events.append(Event(0.0, "P", model.EXEC, "execve server", tables={"P": table}))
    for number in range(1, children + 1):
        name, time = f"C{number}", number / 100
        connection = Descriptor(4, "client", f"client {number}", client=number)
        own = {name: [*table, connection]}
        trace.connections.append(model.Connection(number, 40000 + number, time, time, "P"))
        events.append(Event(time, "", model.MARK, f"client {number} connects", client=number))
        text = f"accept = 4 (client {number})"
        events.append(Event(time, "P", model.ACCEPT, text, client=number, place=place))
        forked = len(events)
        events.append(
            Event(time, "P", model.FORK, f"fork = {name}", other=name, tables=own, place=place)
        )
        for what in ("read", "write") * 4:
            events.append(
                Event(time, name, what, f"{what}(4) = 3 (client {number})", fd=4, place=place)
            )
        gone = len(events)
        events.append(Event(time, name, model.EXITED, "exited with status 0", tables={name: []}))
        events.append(
            Event(time, "P", model.SENT, "SIGCHLD", other=name, signal="SIGCHLD", outcome="merged")
        )
        trace.processes.append(
            model.Process(
                *(name, 100 + number, "P", time),
                forked=forked,
                exit=model.Bracket(time, time),
                exited=gone,
                status=0,
                reap=model.Reap(model.NEVER),
                clients=[number],
            )
        )
    return trace


def told(html: str) -> dict[str, Any]:
    """What the page tells its script."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    data = json.loads(found[1])
    assert isinstance(data, dict)
    return data


def test_every_event_is_a_row(burst):
    html = page.page(burst)
    assert html.count('<tr id="e') == len(burst.events)
    assert len(told(html)["steps"]) == len(burst.events)


def test_the_script_learns_each_state_and_table():
    trace = crowd(2)
    data = told(page.page(trace))
    states: dict[str, str] = {}
    tables: dict[str, list[int]] = {}
    for step, moment in zip(data["steps"], trace.moments(), strict=True):
        states.update(step.get("s", {}))
        tables.update(step.get("t", {}))
        assert states == {n: s for n, s in moment.states.items() if s != model.NOT_YET}
        for name, table in moment.tables.items():
            lines = [data["lines"][number] for number in tables[name]]
            assert lines == [f"{one.fd} {one.text}" for one in table]


def test_fifty_processes_are_less_than_300_kb():
    assert len(page.page(crowd(49)).encode()) <= 300_000


def test_nothing_comes_from_elsewhere(burst):
    html = page.page(burst)
    assert not re.search(r'(?:src|href)="(?!#)', html)
    assert "@import" not in html
    assert re.findall(r"https?://[^\"\s<)]+", html).count("http://www.w3.org/2000/svg") == len(
        re.findall(r"https?://[^\"\s<)]+", html)
    )
    script = html.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


def test_what_a_program_says_is_only_text(burst):
    odd = replace(
        burst,
        submission=HOSTILE,
        notes=[HOSTILE],
        unread=[HOSTILE],
        sources={HOSTILE: HOSTILE},
        events=[replace(one, text=HOSTILE) for one in burst.events],
    )
    html = page.page(odd)
    assert "<script>alert" not in html
    assert "<img" not in html
    assert "\x1b" not in html
    assert html.count("</script>") == 2


def test_every_word_has_both_languages():
    for key, (english, korean) in words.WORDS.items():
        assert english, key
        assert key in ("time", "accepted", "end_of_file") or re.search("[가-힣]", korean), key


def test_every_step_of_a_scenario_is_said_in_korean():
    events = [event for run in runs.RUNS for event in kept(run.name).events]
    marks = {event.text for event in events if event.kind == model.MARK}
    assert len(marks) > 10
    assert [one for one in marks if words.mark_words(one)[1] == one] == []


def test_every_word_and_style_is_used():
    """Keys of WORDS that are constants of the model are those of a Moment, a Reap or an action."""
    modules = (page, picture, words)
    sources = [Path(module.__file__ or "").read_text("utf-8") for module in modules]
    templates = [one.read_text("utf-8") for one in sorted(page.TEMPLATES.iterdir())]
    text = "".join(
        re.sub(r'^    "\w+": \($|^    "\w+": \(.*\),$', "", one, flags=re.M) for one in sources
    )
    text += "".join(templates)
    values = {one for one in vars(model).values() if isinstance(one, str)}
    assert [key for key in words.WORDS if f'"{key}"' not in text and key not in values] == []
    drawn = "".join([*sources, *templates])
    classes = set(re.findall(r"\.([a-z]\w*)(?=[ .,:{>])", picture.STYLE + templates[0]))
    unused = [one for one in classes if not re.search(rf"[\"' ]{one}[\"' ]", drawn)]
    assert unused == []


def test_an_empty_trace_is_a_page():
    assert "<svg" in page.page(Trace("lab1", "server.c", "turns", 1))


# The runs of the docs


@pytest.mark.parametrize("run", runs.RUNS, ids=lambda run: run.name)
def test_runs_are_what_these_programs_still_do(run: Run):
    pytest.importorskip("forklab.trace.record")
    from forklab.trace.record import find_strace

    if find_strace() is None:
        pytest.skip("no strace: apt-get install strace")
    assert runs.facts(runs.record(run)) == runs.facts(kept(run.name))
