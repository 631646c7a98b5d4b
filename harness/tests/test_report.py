"""The terminal report, made of a record alone: its width, its colours, and what it never prints."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from forklab import paths
from forklab.render.terminal import TITLES, Report, make_console
from forklab.result import FAILED, PASSED, SKIPPED, CheckResult, Evidence, Result
from forklab.rubric import Diagnosis, diagnoses
from tests.support import forklab, grade, graded

LABS = list(paths.LAB_FOLDERS)
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(*checks: CheckResult, lab: str = "lab4", submission: str = "a.c") -> Result:
    result = Result(lab, submission, "0" * 64, "0.1", "process", "2026-01-01T00:00:00Z")
    result.checks.extend(checks)
    result.conclude()
    return result


def shown(result: Result, file: io.StringIO | None = None, best: int | None = None) -> str:
    file = file or io.StringIO()
    report = Report(make_console(file), result.lab, result.submission, result.untouched)
    for one in result.checks:
        report.check(one)
    report.finish(result, best)
    return file.getvalue()


def passed(id: str = "4.1", points: int = 100) -> CheckResult:
    return CheckResult(id, "a name", PASSED, points, points)


def failed(id: str = "4.7", **more: object) -> CheckResult:
    fields: dict[str, object] = {
        "name": "reaps every child of a burst",
        "expected": "0 zombies",
        "seen": "7 of 8",
    }
    fields = {**fields, "did": "what was done", "read": "docs/lab4.html", **more}
    return CheckResult(id, status=FAILED, points=0, max_points=15, **fields)  # type: ignore[arg-type]


LONG = "좀비 프로세스 and an_unbroken_word_" + "x" * 200 + " and many more words " * 20
HARD = record(
    passed("4.1"),
    failed(
        "4.7",
        name="a name that is by far too long for any line of any terminal that there is, or was",
        expected=LONG,
        seen=LONG,
        did=LONG,
        diagnosis="one-wait-per-signal",
        evidence=[Evidence("a title " * 20, LONG + "\n" + LONG), Evidence("", "")],
    ),
    failed("4.10", seen=LONG),
    CheckResult("4.15", LONG, SKIPPED, 0, 5, needs="4.10"),
    submission="/a/very/long/path" * 12 + "/server.c",
)


@pytest.mark.parametrize("width", [60, 80, 132])
def test_width(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = shown(HARD).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) > 30


@pytest.mark.parametrize("lab", LABS)
@pytest.mark.parametrize(
    "which", [paths.starter_of, paths.solution_of], ids=["starter", "reference"]
)
def test_real_reports_fit_80_columns(lab, which):
    _, ran = graded(lab, which(lab))
    assert max(map(cell_len, ran.stdout.splitlines())) <= 80
    assert ran.stderr == ""


def test_a_real_report_fits_60_columns(tmp_path):
    _, ran = grade("lab1", paths.starter_of("lab1"), tmp_path, COLUMNS="60")
    assert max(map(cell_len, ran.stdout.splitlines())) <= 60


# Colour: NO_COLOR, then CLICOLOR_FORCE, then whether it is a terminal


@pytest.mark.parametrize(
    ("file", "env", "coloured"),
    [
        (io.StringIO, {}, False),
        (Tty, {}, True),
        (Tty, {"NO_COLOR": "1"}, False),
        (Tty, {"TERM": "dumb"}, False),
        (io.StringIO, {"CLICOLOR_FORCE": "1"}, True),
        (io.StringIO, {"CLICOLOR_FORCE": "0"}, False),
        (Tty, {"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, False),
        (Tty, {"NO_COLOR": ""}, True),
    ],
)
def test_colour(monkeypatch, file, env, coloured):
    for name in ("NO_COLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    text = shown(HARD, file())
    assert bool(ESCAPE.search(text)) is coloured
    assert "\x1b" not in ESCAPE.sub("", text)


def test_nothing_is_said_by_colour_alone(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    coloured = ESCAPE.sub("", shown(HARD))
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(HARD) == coloured


def test_marks_without_utf_8():
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    report = Report(make_console(file), "lab4", "a.c", False)
    for one in (passed(), failed()):
        report.check(one)
    file.flush()
    lines = raw.getvalue().decode("ascii").splitlines()
    assert "+ 4.1" in lines[-2]
    assert "x 4.7" in lines[-1]


# What it says


def test_a_failure_in_full_and_the_others_in_a_line():
    text = shown(
        record(
            passed(),
            failed(diagnosis="one-wait-per-signal", evidence=[Evidence("processes", "PID 7")]),
            failed("4.9", name="another", seen="it ended"),
        )
    )
    for part in (
        "0 zombies",
        "7 of 8",
        "processes",
        "PID 7",
        "what was done",
        "one-wait-per-signal",
    ):
        assert part in text
    hint, by_hand, picture = "make hint CHECK=4.7", "make run LAB=4", "make trace LAB=4 CHECK=4.7"
    for command in (hint, "docs/lab4.html", by_hand, picture):
        assert command in text
    assert "make hint CHECK=4.9" not in text
    assert "4.9 another: it ended" in text
    assert "Score: 100 of 130" in text


def after(text: str, label: str) -> str:
    """What stands below that label, as one line, up to the next empty one."""
    _, _, rest = text.partition(f"\n  {label}\n")
    return " ".join(rest.partition("\n\n")[0].split())


@pytest.mark.parametrize("lab", ["lab1", "lab4"])
@pytest.mark.parametrize("code", ["accepts-bad-ports", "never-listens", "one-wait-per-signal"])
def test_how_to_see_it_yourself(lab, code):
    """With the lab's number where the catalogue has N."""
    shown_think = after(shown(record(failed(diagnosis=code), lab=lab)), "to see it yourself")
    think = diagnoses()[code].think
    assert shown_think == think.replace("labN", lab).replace("LAB=N", f"LAB={lab[3:]}")
    assert "labN" not in shown_think
    assert "LAB=N" not in shown_think


def test_there_is_something_to_put_the_number_in():
    assert "LAB=N" in diagnoses()["accepts-bad-ports"].think
    assert "labN" in diagnoses()["never-listens"].think


@pytest.mark.parametrize(
    ("read", "lines"),
    [
        ("signal(7)", ["less a.md", "man 7 signal"]),
        ("listen(2), NOTES", ["less a.md", "man 2 listen (NOTES)"]),
        ("labs/lab2-fork/README.md", ["less labs/lab2-fork/README.md"]),
        (
            "labs/lab2-fork/README.md#three-questions",
            ["less labs/lab2-fork/README.md (three questions)"],
        ),
        ("a.md", ["less a.md"]),
    ],
)
def test_where_to_read(monkeypatch, read, lines):
    one = Diagnosis("a-code", "title", "why", "think", read)
    monkeypatch.setattr("forklab.render.terminal.diagnoses", lambda: {"a-code": one})
    text = shown(record(failed(diagnosis="a-code", read="a.md")))
    after_next = text.partition("\n  next\n")[2].splitlines()
    assert [
        line.strip() for line in after_next if line.strip().startswith(("less", "man"))
    ] == lines


def test_without_a_diagnosis_the_handout_is_there_to_read():
    text = shown(record(failed(read="a.md")))
    assert "    less a.md\n" in text
    assert "man " not in text
    assert "to see it yourself" not in text


@pytest.mark.parametrize("lab", LABS)
def test_all_passed_says_where_to_go_next(lab):
    number = int(lab[3:])
    text = shown(record(passed(f"{number}.1"), lab=lab))
    assert "Score: 100 of 100" in text
    assert f"make lab{number + 1}" in text or number == 4
    assert "make hint" not in text


def test_the_best_score_so_far():
    result = record(failed(), passed(points=20))
    assert "40" in shown(result, best=40).splitlines()[-1]
    assert "best" not in shown(result, best=20)
    assert "best" not in shown(result)


def test_an_error_is_not_the_student_s():
    wrong = CheckResult("4.7", "name", "error", 0, 15, seen="a keeper was killed")
    text = shown(record(passed(), wrong, failed("4.9")))
    assert "a keeper was killed" in text
    assert "grader" in text
    assert "Score" not in text
    assert "No score" in text


@pytest.mark.parametrize("lab", LABS)
def test_an_untouched_starter_is_greeted(lab):
    result, ran = graded(lab, paths.starter_of(lab))
    assert result.untouched
    assert "Welcome" in ran.stdout.split(f" {lab[3:]}.1 ")[0]
    result, ran = graded(lab, paths.solution_of(lab))
    assert not result.untouched
    assert "Welcome" not in ran.stdout


def test_a_starter_that_was_touched_is_not_greeted(tmp_path):
    source = tmp_path / "server.c"
    source.write_bytes(paths.starter_of("lab1").read_bytes() + b"\n/* mine */\n")
    result, ran = grade("lab1", source, tmp_path)
    assert not result.untouched
    assert "Welcome" not in ran.stdout


def test_titles():
    assert list(TITLES) == LABS


NASTY = r"""
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
#define EVIL "\x1b[2J\x1b]0;title\a\r\b\x9b" "31m\xc2\x9b" "32m 100/100 <failure/>\n"
int main(void)
{
	prctl(PR_SET_NAME, "\x1b[31mred");
	printf(EVIL);
	fprintf(stderr, EVIL);
	fflush(stdout);
	for (;;)
		pause();
}
"""


def test_control_characters_of_a_submission_never_reach_the_terminal(tmp_path):
    """Not from its output, its name, nor from the compiler, which quotes its source."""
    source = tmp_path / "server.c"
    source.write_bytes(NASTY.encode() + b"/* \x1b[31m */ int \x07unused\x1b[2J(;\n")
    texts = [forklab("grade", "lab1", source).stdout]
    source.write_text(NASTY)
    texts.append(forklab("grade", "lab1", source).stdout)
    for text in texts:
        assert [one for one in text if not (one.isprintable() or one == "\n")] == []
    assert "\\x1b[2J" in texts[1]
    assert "title" in texts[1]


def test_a_name_with_control_characters(tmp_path: Path):
    """The path is the student's, too, where submissions are collected by a machine."""
    folder = tmp_path / "a\x1b[31mred\x07"
    folder.mkdir()
    (folder / "server.c").write_text("int main(void) { return 0; }\n")
    ran = forklab("grade", "lab1", folder)
    assert ran.returncode == 1
    assert [one for one in ran.stdout if not (one.isprintable() or one == "\n")] == []
