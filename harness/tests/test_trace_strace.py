"""Reading strace's log: every line is a record, a part of one, or told as unread."""

from __future__ import annotations

import pytest

from forklab.trace import strace
from tests.trace_support import RECORDED, TRACES, log


def read_one(line: str) -> strace.Record:
    found = strace.read(log(line))
    assert found.unread == []
    (record,) = found.records
    return record


@pytest.mark.parametrize("name", RECORDED)
def test_nothing_of_a_recorded_log_is_unread(name):
    found = strace.read((TRACES / f"{name}.log").read_text(encoding="utf-8"))
    assert found.unread == []
    assert not found.cut
    assert len(found.records) > 20


def test_a_call():
    record = read_one('7 read(4, "a, b) = 1\\n", 4096)     = 9 <0.000150>')
    assert (record.pid, record.name, record.value, record.error) == (7, "read", 9, "")
    assert record.arguments == ["4", '"a, b) = 1\\n"', "4096"]
    assert record.time - record.began == pytest.approx(0.00015, abs=1e-6)


def test_a_call_that_failed():
    record = read_one("7 wait4(-1, 0x7ff, WNOHANG, NULL) = -1 ECHILD (No child processes) <0.1>")
    assert record.failed
    assert record.error == "ECHILD"


def test_structures_and_lists_are_one_argument():
    record = read_one(
        "7 rt_sigaction(SIGCHLD, {sa_handler=0x55, sa_mask=[INT TERM], sa_flags=SA_RESTART}, "
        "NULL, 8) = 0 <0.1>"
    )
    assert strace.fields_of(record.arguments[1]) == {
        "sa_handler": "0x55",
        "sa_mask": "[INT TERM]",
        "sa_flags": "SA_RESTART",
    }
    assert strace.items_of("[INT TERM]") == ["INT", "TERM"]
    assert strace.items_of("~[KILL]") == ["KILL"]


def test_an_interrupted_line_is_put_together():
    found = strace.read(
        log(
            "7 wait4(-1,  <unfinished ...>",
            '8 write(1, "x", 1) = 1 <0.1>',
            "7 <... wait4 resumed>[{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL) = 8 <0.1>",
        )
    )
    assert [one.name for one in found.records] == ["write", "wait4"]
    wait = found.records[1]
    assert wait.arguments[1] == "[{WIFEXITED(s) && WEXITSTATUS(s) == 3}]"
    assert wait.value == 8
    assert wait.time - wait.began == pytest.approx(0.002, abs=1e-6)


def test_a_call_that_its_process_s_end_cut_off():
    found = strace.read(
        log(
            "7 read(4,  <unfinished ...>",
            "7 <... read resumed> <unfinished ...>) = ?",
            "7 +++ killed by SIGKILL +++",
        )
    )
    assert found.unread == []
    assert [one.kind for one in found.records] == [strace.CALL, strace.KILLED]
    assert found.records[0].failed


@pytest.mark.parametrize(
    ("text", "kind", "name", "status"),
    [
        ("+++ exited with 3 +++", strace.EXITED, "", 3),
        ("+++ killed by SIGSEGV (core dumped) +++", strace.KILLED, "SIGSEGV", 0),
        ("--- stopped by SIGSTOP ---", strace.STOPPED, "SIGSTOP", 0),
    ],
)
def test_ends_and_stops(text, kind, name, status):
    record = read_one(f"7 {text}")
    assert (record.kind, record.name, record.status) == (kind, name, status)


def test_a_signal():
    record = read_one("7 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=9} ---")
    assert record.name == "SIGCHLD"
    assert record.fields["si_pid"] == "9"


def test_stack_traces_belong_to_the_line_above():
    text = log("7 close(4) = 0 <0.1>") + " > /kit/server(main+0x2c) [0x14f1]\n"
    text += " > unexpected_backtracing_error [0x7f00]\n"
    found = strace.read(text)
    assert found.unread == []
    assert found.records[0].stack[0] == strace.Frame("/kit/server", "main+0x2c", 0x14F1)


def test_what_waits_when_the_log_ends():
    found = strace.read(log("7 close(4) = 0 <0.1>") + "7 1700000001.000000000 accept(3, ")
    assert found.unread == []
    assert found.unfinished[7].name == "accept"


@pytest.mark.parametrize(
    "line",
    [
        "strange words",
        "7 1700000000.000000000 something else",
        "7 1700000000.000000000 read(4, {) = 3",
        "7 1700000000.000000000 <... read resumed>) = 3",
        "7 1700000000.000000000 close(4) = 0 <0.1> and more(",
        " > /kit/server(main+0x2c) [0x14f1]",
    ],
)
def test_what_is_not_understood_is_told(line):
    found = strace.read(line + "\n" + log("7 close(4) = 0 <0.1>"))
    assert found.unread == [line]
    assert len(found.records) == 1


def test_strace_s_own_words_are_no_event():
    found = strace.read("strace: Process 9 attached\n" + log("7 close(4) = 0 <0.1>"))
    assert found.unread == []
    assert len(found.records) == 1


@pytest.mark.parametrize("name", ["lab1-reference-turns", "lab4-reference-burst"])
def test_a_log_that_was_cut_anywhere(name):
    """All before the cut is read as ever; the rest is a call that has not returned, or told."""
    text = (TRACES / f"{name}.log").read_text(encoding="utf-8")
    whole = strace.read(text).records
    for size in range(0, len(text), 53):
        found = strace.read(text[:size])
        assert len(found.unread) <= 1
        assert found.cut == bool(found.unread)
        known = [(one.pid, one.name, one.result) for one in found.records]
        assert known == [(one.pid, one.name, one.result) for one in whole[: len(known)]]
        lines = text[:size].count("\n")
        read = {one.line for one in found.records} | {one.first_line for one in found.records}
        assert not read or max(read) < lines
