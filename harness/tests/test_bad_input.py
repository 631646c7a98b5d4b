"""Programs that are no servers at all: a clear verdict, in bounded time, and nothing is left."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from forklab.result import DOES_NOT_BUILD, FAILED, GRADED, PASSED, SKIPPED, Result
from tests.support import forklab, mark_of, run_folders, running

INCLUDES = "".join(
    f"#include <{name}.h>\n"
    for name in (
        *("arpa/inet", "fcntl", "signal", "stdio", "stdlib", "string", "sys/prctl"),
        *("sys/socket", "sys/stat", "unistd"),
    )
)
SECONDS = 100.0  # far from what several waits that come to their last resort would take


def main(body: str) -> str:
    return f"{INCLUDES}int main(int argc, char *argv[]) {{ (void)argc; (void)argv; {body} }}\n"


@dataclass
class Bad:
    name: str
    text: str
    check: str  # the first one that fails
    diagnosis: str
    word: str = ""  # what the report says


LISTEN = """
int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1] ?: "0")) };
setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
if (bind(fd, (void *)&at, sizeof(at)) < 0 || listen(fd, 9) < 0) { perror("bind"); return 1; }
"""
BAD = [
    Bad("exits-at-once", main("return 0;"), "1.3", "ends-at-once", "exit status 0"),
    Bad("listens-nowhere", main("pause(); return 0;"), "1.3", "never-listens"),
    Bad("never-ends", main("for (;;) ;"), "1.3", "never-listens"),
    Bad("segfaults", main("raise(SIGSEGV); return 0;"), "1.3", "crashes-at-start", "SIGSEGV"),
    Bad(
        "prints-100-MB",
        main(
            "static char s[1 << 20]; memset(s, 'x', sizeof(s) - 1);"
            "for (int i = 0; i < 100; i++) write(1, s, sizeof(s)); pause(); return 0;"
        ),
        "1.3",
        "prints-without-end",
    ),
    Bad(
        "forks-and-hides",
        main(
            "for (int i = 1; i < 65; i++) signal(i, SIG_IGN);"
            'for (;;) if (fork() == 0) { setsid(); chdir("/"); if (fork()) _exit(0); }'
        ),
        "1.3",
        "forks-without-end",
    ),
    Bad("forks-without-end", main("for (;;) fork();"), "1.3", "forks-without-end"),
    Bad("naps", main("for (;;) usleep(1000);"), "1.3", "never-listens"),
    Bad("stops-itself", main("raise(SIGSTOP); pause(); return 0;"), "1.3", "never-listens"),
    Bad("daemonises", main(LISTEN + "daemon(0, 0); pause();"), "1.3", "leaves-the-foreground"),
    Bad(
        "kills-whom-it-can",
        main("kill(0, 9); kill(-1, 9); kill(getppid(), 9); return 0;"),
        "1.3",
        "crashes-at-start",
    ),
    Bad("does-not-compile", "int main(void) { return }\n", "1.1", DOES_NOT_BUILD, "server.c:1"),
    Bad("empty", "", "1.1", DOES_NOT_BUILD, "main"),
    Bad("shadow", '#include "/etc/shadow"\nint main(void) {}\n', "1.1", DOES_NOT_BUILD, "shadow"),
]


def nothing_left(grader: int) -> None:
    assert running(mark_of(grader)) == {}
    assert run_folders(grader) == []


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_verdict(bad: Bad, tmp_path: Path) -> None:
    source = tmp_path / "server.c"
    source.write_text(bad.text)
    record = tmp_path / "record.json"
    began = time.monotonic()
    ran = forklab("grade", "lab1", source, "--json", record)
    assert time.monotonic() - began < SECONDS
    nothing_left(ran.pid)
    result = Result.from_json(record.read_text())
    builds = bad.diagnosis != DOES_NOT_BUILD
    assert ran.returncode == (1 if builds else 3), ran.stdout
    assert result.verdict == (GRADED if builds else DOES_NOT_BUILD)
    found = {one.id: one for one in result.checks}
    assert len(found) == 14
    assert (found[bad.check].status, found[bad.check].diagnosis) == (FAILED, bad.diagnosis)
    assert {one.needs for one in result.checks if one.status == SKIPPED} == {bad.check}
    assert [one.id for one in result.checks if one.status == PASSED] == ["1.1"] * builds
    assert result.score == 5 * builds
    assert bad.word in ran.stdout
    assert len(ran.stdout) < 20_000
    assert "Traceback" not in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "no server.c"),
        (lambda path: (path / "server.c").mkdir(parents=True), "no server.c"),
        (lambda path: path.symlink_to(path), ""),
    ],
    ids=["nothing", "empty-folder", "folder-called-server.c", "loop"],
)
def test_there_is_nothing_to_grade(make, sentence, tmp_path):
    path = tmp_path / "a submission"
    make(path)
    ran = forklab("grade", "lab1", path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("forklab: ")
    assert sentence in ran.stderr
    assert "a submission" in ran.stderr
    assert "Traceback" not in ran.stderr
    nothing_left(ran.pid)


def test_a_binary_called_server_c(tmp_path):
    (tmp_path / "server.c").write_bytes(Path("/bin/true").read_bytes())
    ran = forklab("grade", "lab2", tmp_path)
    assert ran.returncode == 3
    assert "does not compile" in ran.stdout
    assert all(one.isprintable() or one == "\n" for one in ran.stdout)
    nothing_left(ran.pid)
