"""`make trace`: what it asks for, says and writes, and where it can't."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from forklab import cli, paths, rubric
from forklab.errors import UsageError
from forklab.trace import command, model, record
from forklab.trace.command import summary, traffic_of
from forklab.trace.model import Trace
from forklab.trace.perfetto import perfetto
from forklab.trace.scenarios import SCENARIOS
from forklab.trace.traffic import OF_CHECK, Traffic
from tests.support import forklab, run_folders
from tests.test_bootstrap import Kit
from tests.trace_support import RECORDED, replayed, trace_of

needs_strace = pytest.mark.skipif(record.find_strace() is None, reason="there is no strace here")
LAB2 = str(paths.solution_of("lab2").parent)


# What is asked for


@pytest.mark.parametrize("lab", list(paths.LAB_FOLDERS))
def test_every_check_has_traffic_or_says_that_it_has_none(lab):
    ids = {check.id for check in rubric.of_lab(lab)}
    assert {one for one in OF_CHECK if f"lab{one.partition('.')[0]}" == lab} == ids


@pytest.mark.parametrize("traffic", [one for one in OF_CHECK.values() if one])
def test_traffic_is_of_a_scenario_that_there_is(traffic):
    assert traffic.scenario in SCENARIOS
    assert 1 <= traffic.clients <= 26


@pytest.mark.parametrize(
    ("asked", "traffic"),
    [
        (("", None, None), Traffic("burst", 3)),
        (("4.7", None, None), Traffic("burst", 8)),
        (("4.7", None, 2), Traffic("burst", 2)),
        (("4.7", "turns", None), Traffic("turns", 8)),
        (("4.1", "turns", None), Traffic("turns", 3)),
        (("", "exit", 5), Traffic("exit", 5)),
    ],
)
def test_what_was_asked_for(asked, traffic):
    assert traffic_of(*asked) == traffic


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("4.99", None, None), "4.99"),
        (("4.1", None, None), "SCENARIO=turns"),
        (("", "rush", None), "turns, together, burst, vanish, exit, shutdown"),
        (("", None, 201), "1 to 200"),
    ],
)
def test_what_there_is_not(asked, words):
    with pytest.raises(UsageError, match=words):
        traffic_of(*asked)


def test_a_check_of_another_lab(capsys):
    assert cli.main(["trace", "lab2", "--check", "4.7"]) == cli.USAGE
    assert "4.7 is no check of lab2" in capsys.readouterr().err


# What is said


def test_five_lines():
    """The words that the issue is about: children, zombies, reaped."""
    lines = summary(replayed("lab2-reference-burst"))
    assert len(lines) == 5
    assert "3 children, 3 became zombies, 0 reaped" in lines[1]
    assert "3 sent: 3 without effect" in lines[2]
    assert "3 of 3 clients accepted" in lines[3]
    assert "3 zombies (C1, C2, C3); alive: P" in lines[4]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lab4-reference-burst", "3 sent: 1 delivered, 2 merged"),
        ("lab4-one-waitpid-per-signal-burst", "3 became zombies, 1 reaped"),
        ("lab4-blocked-for-ever-burst", "1 still pending"),
        ("lab3-reference-exit", "0 became zombies, 0 reaped, 2 reaped by the kernel"),
        ("lab1-reference-turns", "no child"),
        ("lab2-double-fork-turns", "left to init"),
        ("lab4-reaper-thread-turns", "1 thread"),
    ],
)
def test_what_happened_in_words(name, words):
    assert any(words in line for line in summary(replayed(name)))


def test_who_is_a_zombie_until_its_parent_is_gone():
    """In the summary, and as a slice for Perfetto that ends when the parent does."""
    trace = trace_of(
        "10 clone(child_stack=NULL, flags=SIGCHLD) = 11 <0.0001>",
        "11 +++ exited with 0 +++",
        "10 pause( <unfinished ...>",
        "10 +++ killed by SIGKILL +++",
    )
    assert any("1 child, 1 became zombies, 0 reaped, 1 left to init" in o for o in summary(trace))
    slices = json.loads(perfetto(trace))["traceEvents"]
    (zombie,) = [one for one in slices if one["name"] == "zombie"]
    since, until = (zombie["ts"], zombie["ts"] + zombie["dur"])
    ends = [event.time * 1e6 for event in trace.events if event.kind == model.EXITED]
    assert [since, until] == pytest.approx(ends, abs=1)


def test_what_is_odd_is_said():
    trace = replayed("lab1-reference-turns")
    trace.notes.append("Something.")
    trace.unread.append("a line")
    *_, note, unread = summary(trace)
    assert "Something." in note
    assert "1 line of strace's log could not be read" in unread


def test_an_empty_trace_in_words():
    assert len(summary(Trace("lab1", "server.c", "turns", 1))) == 5


# For Perfetto


@pytest.mark.parametrize("name", RECORDED)
def test_perfetto(name):
    """Trace Event JSON: a track for each process, and slices that nest."""
    trace = replayed(name)
    events = json.loads(perfetto(trace))["traceEvents"]
    tracks = {one["tid"]: one["args"]["name"] for one in events if one["ph"] == "M"}
    assert len(tracks) == 1 + len(trace.processes)
    for one in events:
        assert one["ph"] in "MXi"
        assert one["tid"] in tracks
        if one["ph"] == "X":
            assert one["ts"] >= 0
            assert one["dur"] > 0
    for track in tracks:
        open_until: list[float] = []
        slices = [one for one in events if one["ph"] == "X" and one["tid"] == track]
        for one in sorted(slices, key=lambda one: (one["ts"], -one["dur"])):
            while open_until and open_until[-1] <= one["ts"]:
                open_until.pop()
            end = one["ts"] + one["dur"]
            assert not open_until or end <= open_until[-1] + 1.0, one
            open_until.append(end)


def test_perfetto_has_zombies():
    events = json.loads(perfetto(replayed("lab2-reference-burst")))["traceEvents"]
    assert [one["name"] for one in events].count("zombie") == 3


# The whole


@needs_strace
def test_files_are_written(tmp_path, capsys):
    out = tmp_path / "new" / "out"
    more = tmp_path / "p.json"
    words = ["trace", "lab2", LAB2, "--scenario", "turns", "--clients", "2"]
    assert cli.main([*words, "--out", str(out), "--perfetto", str(more)]) == 0
    said = capsys.readouterr().out
    assert "2 children, 2 became zombies, 0 reaped" in said
    assert "no marks come of it" in said
    trace = Trace.from_json((out / "lab2-trace.json").read_text())
    assert (trace.scenario, trace.clients, len(trace.processes)) == ("turns", 2, 3)
    assert "<svg" in (out / "lab2-trace.html").read_text()
    assert json.loads(more.read_text())["traceEvents"]
    for file in (out / "lab2-trace.json", out / "lab2-trace.html", more):
        assert str(file) in said
    assert {file.name for file in out.iterdir()} == {"lab2-trace.html", "lab2-trace.json"}


@needs_strace
def test_nothing_is_left(tmp_path):
    ran = forklab("trace", "lab4", paths.solution_of("lab4"), "--out", tmp_path, "--check", "4.6")
    assert ran.returncode == 0, ran.stderr
    assert run_folders(ran.pid) == []


@needs_strace
def test_what_does_not_build(tmp_path, capsys):
    file = tmp_path / "server.c"
    file.write_text("int main(void) { return oops; }\n")
    assert cli.main(["trace", "lab1", str(file), "--out", str(tmp_path / "out")]) == cli.NO_BUILD
    assert "oops" in capsys.readouterr().out
    assert list((tmp_path / "out").iterdir()) == []


def test_without_strace(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "find_strace", lambda: None)
    assert cli.main(["trace", "lab2", LAB2, "--out", str(tmp_path)]) == cli.NO_JUDGEMENT
    said = capsys.readouterr().err
    assert "sudo apt-get install strace" in said
    assert len(said.splitlines()) == 1


def test_strace_is_found_by_its_words(monkeypatch, tmp_path):
    """-k is used where strace says that it was built with it."""
    for version, stacks in (("6.1", True), ("5.16", False)):
        fake = tmp_path / version / "strace"
        fake.parent.mkdir()
        features = "Optional features enabled: stack-trace=libunwind" if stacks else ""
        fake.write_text(f"#!/bin/sh\necho 'strace -- version {version}'\necho '{features}'\n")
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", str(fake.parent))
        found = record.find_strace.__wrapped__()
        assert found == record.Strace(str(fake), version, stacks)
        assert ("-k" in found.command(Path("log"), lines=True)) is True
        assert ("-k" in found.command(Path("log"), lines=False)) is False


def test_a_folder_that_cannot_be_written_to(tmp_path, capsys):
    """A file is in the way; and as somebody who may not, a folder."""
    (tmp_path / "file").write_text("")
    assert cli.main(["trace", "lab2", LAB2, "--out", str(tmp_path / "file" / "out")]) == cli.USAGE
    assert "cannot write to" in capsys.readouterr().err


def test_no_folder_for_perfetto(tmp_path, capsys):
    words = [
        "trace",
        "lab2",
        LAB2,
        "--out",
        str(tmp_path),
        "--perfetto",
        str(tmp_path / "no" / "p"),
    ]
    assert cli.main(words) == cli.USAGE
    assert "there is no folder for" in capsys.readouterr().err


def test_no_such_program(tmp_path, capsys):
    assert cli.main(["trace", "lab2", str(tmp_path / "none"), "--out", str(tmp_path)]) == cli.USAGE
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "command_line"),
    [
        (["CHECK=4.7"], "forklab trace lab4 --check '4.7'"),
        (["LAB=2", "SCENARIO=turns", "CLIENTS=2"], "trace lab2 --scenario 'turns' --clients '2'"),
        (["CHECK=4.7", "SUBMISSION=a b.c"], "forklab trace lab4 'a b.c' --check '4.7'"),
        (["LAB=lab3", "PERFETTO=p", "OUT=o"], "forklab trace lab3 --perfetto 'p' --out 'o'"),
    ],
)
def test_make_trace(words, command_line):
    env = {"PATH": "/usr/bin:/bin"}
    made = ["make", "-n", "-s", "trace", *words]
    said = subprocess.run(made, cwd=paths.KIT, env=env, capture_output=True, text=True).stdout
    assert command_line in " ".join(said.replace("\\\n", " ").split())


# The set-up, when strace is first needed


def set_up(kit: Kit) -> subprocess.CompletedProcess[str]:
    kit.fake("id", "echo 0")
    script = [str(kit.root / "harness" / "bootstrap.sh"), "strace"]
    env = {"PATH": str(kit.bin), "LC_ALL": "C"}
    return subprocess.run(script, env=env, capture_output=True, text=True)


def test_strace_is_installed_where_that_can_be(tmp_path):
    kit = Kit(tmp_path)
    made = kit.bin / "strace"
    kit.fake("apt-get", f"echo \"$@\" >>'{tmp_path}/calls'; echo >'{made}'; chmod +x '{made}'")
    ran = set_up(kit)
    assert ran.returncode == 0, ran.stderr
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.endswith("install strace")
    assert not (kit.root / ".venv").exists()
    set_up(kit)  # it is there now
    assert len((tmp_path / "calls").read_text().splitlines()) == 1


def test_what_to_type_for_strace(tmp_path):
    kit = Kit(tmp_path)
    kit.fake("apt-get", "exit 100")
    ran = set_up(kit)
    assert ran.returncode == 4
    assert ran.stderr.splitlines()[-1].endswith("then try again: sudo apt-get install strace")
