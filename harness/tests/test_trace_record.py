"""Runs that are recorded here and now: the model and /proc must agree at every quiet moment.

FORKLAB_TRACES=all: every scenario with every reference and the four chosen mutants, and
FORKLAB_TRACES=N: all of that N times.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from forklab import gallery, seccomp
from forklab.build import DEBUGGED, compile_program
from forklab.errors import GraderError
from forklab.trace import model
from forklab.trace.against_proc import disagreements
from forklab.trace.model import Trace
from forklab.trace.places import Program, steps_of
from forklab.trace.record import find_strace, how_to_allow, record
from forklab.trace.scenarios import SCENARIOS
from tests.support import running
from tests.trace_support import of_kind

pytestmark = pytest.mark.skipif(find_strace() is None, reason="there is no strace here")

LABS = ("lab1", "lab2", "lab3", "lab4")
CHOSEN = (
    ("lab2", "parent-keeps-connection"),
    ("lab2", "double-fork"),
    ("lab4", "one-waitpid-per-signal"),
    ("lab4", "blocked-for-ever"),
)
SERVERS = [*((lab, "reference") for lab in LABS), *CHOSEN]
# Every server, and every scenario, at least once.
FEW = [
    ("lab1", "reference", "together"),
    ("lab2", "reference", "burst"),
    ("lab3", "reference", "exit"),
    ("lab4", "reference", "shutdown"),
    ("lab2", "parent-keeps-connection", "together"),
    ("lab2", "double-fork", "vanish"),
    ("lab4", "one-waitpid-per-signal", "burst"),
    ("lab4", "blocked-for-ever", "turns"),
]
ALL = [(lab, name, scenario) for lab, name in SERVERS for scenario in SCENARIOS]
TIMES = os.environ.get("FORKLAB_TRACES", "")
RUNS = ALL * (int(TIMES) if TIMES.isdigit() else 1) if TIMES else FEW

Runs = Callable[..., Trace]


@pytest.fixture(scope="session")
def programs(shared_folder: Path) -> Callable[[str, str], Program]:
    """``programs(lab, source)`` compiles a program, once."""
    known: dict[str, Program] = {}

    def compiled(lab: str, source: str) -> Program:
        if source not in known:
            folder = shared_folder / f"traced-{len(known)}"
            folder.mkdir()
            file = folder / "server.c"
            file.write_text(source)
            built = compile_program(file, folder / "build", DEBUGGED)
            assert built.binary is not None, built.output
            known[source] = Program(built.binary, file.name, source.encode())
        return known[source]

    return compiled


@pytest.fixture
def traced(programs: Callable[[str, str], Program], shared_folder: Path, request) -> Runs:
    """``traced(lab, source, scenario)``: the trace of a run, of which nothing is left."""
    numbers = iter(range(100))

    def run(lab: str, source: str, scenario: str, clients: int = 3, **how: bool) -> Trace:
        tool = find_strace()
        assert tool is not None
        trace = Trace(lab, "server.c", scenario, clients)
        folder = shared_folder / f"trace-{request.node.name}-{next(numbers)}".replace("/", "-")
        shutil.rmtree(folder, ignore_errors=True)
        program = programs(lab, source)
        record(trace, program, folder, tool, **how)
        assert running(str(folder)) == {}  # strace
        assert running(str(program.binary)) == {}
        return trace

    return run


def exhibit(lab: str, name: str) -> str:
    known = [gallery.reference(lab), *gallery.mutants(lab), *gallery.accepted(lab)]
    return next(one.source for one in known if one.name == name)


@pytest.mark.parametrize(("lab", "name", "scenario"), RUNS)
def test_the_model_agrees_with_proc(traced, lab, name, scenario):
    trace = traced(lab, exhibit(lab, name), scenario)
    assert disagreements(trace) == []
    assert trace.unread == []
    assert [note for note in trace.notes if "option -k" not in note] == []
    assert len(trace.snapshots) >= 3
    assert [one.client for one in trace.connections] == [1, 2, 3]
    assert all(one.left is not None for one in trace.connections)


def test_source_lines_and_steps(traced):
    """By strace's stack traces and the debug information: what the student wrote, and its step."""
    tool = find_strace()
    assert tool is not None
    trace = traced("lab4", exhibit("lab4", "reference"), "turns", 1)
    if not tool.walks_stacks:
        assert "without its option -k" in trace.notes[0]
        return
    reap = of_kind(trace, model.REAP)[0]
    lines = trace.sources["server.c"].splitlines()
    assert reap.place is not None
    assert reap.place.file == "server.c"
    assert "waitpid(" in lines[reap.place.line - 1]
    assert (reap.place.function, reap.place.step) == ("reap_children", "4a")
    listen = of_kind(trace, model.LISTEN)[0]
    assert listen.place is not None
    assert "tcp_listen(port)" in lines[listen.place.line - 1]
    assert listen.calls[0].file == "net.c"
    assert "listen(" in trace.sources["net.c"].splitlines()[listen.calls[0].line - 1]


def test_lines_are_not_looked_for_in_a_crowd(traced):
    trace = traced("lab2", exhibit("lab2", "reference"), "turns", 25)
    assert not trace.lines_known
    assert "No source lines" in trace.notes[0]
    assert len([one for one in trace.processes if one.reap and one.reap.how == "never"]) == 25


def test_steps_of_a_source():
    text = "a\n/* step 4c: x */\nb\n/* step 4d: y */\nc\n/* end 4d */\nd\n/* end 4c */\ne"
    assert steps_of(text.splitlines()) == {
        2: "4c",
        3: "4c",
        4: "4d",
        5: "4d",
        6: "4c",
        7: "4c",
    }


# Odd programs

HEAD = """
#include "net.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char *argv[]) {
	int listener = argc > 1 ? tcp_listen(atoi(argv[1])) : -1;
"""
SERVE = "\tfor (;;) { int c = accept(listener, 0, 0); char b[9]; %s }\n}\n"
ECHO = "int n; while ((n = read(c, b, 9)) > 0) write(c, b, n); close(c);"


def test_a_server_that_crashes_at_once(traced):
    trace = traced("lab1", HEAD + "\tabort();\n}\n", "turns")
    assert trace.process("P").signal == "SIGABRT"
    assert trace.notes[-1] == "The clients never came: it ended (killed by SIGABRT)."


def test_a_server_that_crashes_at_its_second_client(traced):
    crash = "static int count; if (++count == 2) raise(SIGSEGV); " + ECHO
    trace = traced("lab1", HEAD + SERVE % crash, "turns")
    assert trace.process("P").signal == "SIGSEGV"
    assert disagreements(trace) == []
    assert [one.accepted is not None for one in trace.connections] == [True, True, False]


def test_a_server_that_goes_to_the_background(traced):
    trace = traced("lab1", HEAD + "\tif (fork()) _exit(0);\n\tsetsid();\n" + SERVE % ECHO, "turns")
    assert trace.process("C1").clients == [1, 2, 3]
    assert "another one serves" in trace.notes[-1]
    assert disagreements(trace) == []


def test_a_server_with_hundreds_of_children(traced):
    """As many as its limit lets it have; the picture shows the first fifty."""
    forks = "\tfor (int i = 0; i < 500; i++) if (fork() == 0) { close(listener); pause(); }\n"
    trace = traced("lab1", HEAD + forks + SERVE % ECHO, "turns", 1)
    assert len(trace.processes) > model.MOST_SHOWN
    assert any("the picture shows the first 50" in note for note in trace.notes)
    assert disagreements(trace) == []


def test_a_server_that_spins(traced, monkeypatch):
    monkeypatch.setattr("forklab.trace.record.MOST_LOG", 100_000)
    spins = SERVE % "for (;;) read(c, b, 0);"
    trace = traced("lab1", HEAD + spins, "turns", lines=False)
    assert any("without end" in note for note in trace.notes)
    assert len(trace.events) <= 5000


def test_a_server_that_never_listens(traced):
    trace = traced(
        "lab1", HEAD.replace("tcp_listen(atoi(argv[1]))", "0") + "\tpause();\n}\n", "turns"
    )
    assert trace.notes[-1] == "The clients never came: it does not listen."
    assert trace.waiting == {"P": "pause"}


def test_a_port_of_its_own(traced):
    trace = traced("lab2", exhibit("lab2", "fixed-port"), "turns")
    assert "whatever its argument says" in trace.notes[-1]
    assert trace.process("C1").clients == [1]


def test_what_is_left_of_it(traced):
    """Nothing, though it runs for ever and its children ignore what can be ignored."""
    stubborn = "\tsignal(SIGTERM, SIG_IGN);\n\tif (fork() == 0) for (;;) pause();\n"
    trace = traced("lab1", HEAD + stubborn + SERVE % ECHO, "shutdown", 1)
    assert trace.process("C1").exit is None


# Tracing that is forbidden


def test_strace_that_may_not(traced, monkeypatch):
    """As where a container's filter of system calls forbids ptrace: with strace's own words."""
    usual = seccomp.filter_file(False)
    if usual is None:
        pytest.skip("no filter of system calls can be made here")
    monkeypatch.setattr("forklab.contain._filter", lambda traced: os.open(usual, os.O_RDONLY))
    with pytest.raises(GraderError, match=r"SYS_PTRACE.*Its words: .*strace: .*not permitted"):
        traced("lab1", exhibit("lab1", "reference"), "turns")


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("0", "--cap-add=SYS_PTRACE"),
        ("1", "--cap-add=SYS_PTRACE"),
        ("2", "sysctl kernel.yama.ptrace_scope=1"),
        ("3", "/etc/sysctl.d"),
    ],
)
def test_what_to_allow(tmp_path, value, advice):
    scope = tmp_path / "ptrace_scope"
    scope.write_text(f"{value}\n")
    assert advice in how_to_allow(scope, "strace: no")
    assert "strace: no" in how_to_allow(scope, "strace: no")


def test_what_to_allow_without_yama(tmp_path):
    assert "--cap-add=SYS_PTRACE" in how_to_allow(tmp_path / "none", "strace: no")
