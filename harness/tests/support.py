"""What several test files need: running the kit's command, and seeing what is left of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

from forklab import paths, procfs
from forklab.result import Result

T = TypeVar("T")
DEADLINE = 60.0  # seconds; only a broken kit lets it pass
PACKAGES = Path(pytest.__file__).parents[1]  # for a Python outside of .venv
COMMAND = [sys.executable, "-P", "-m", "forklab"]


def wait_until(condition: Callable[[], T], what: str, seconds: float = DEADLINE) -> T:
    """The value of ``condition()`` once it is true. Fails the test after that many seconds."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.005)
    return value


def running(mark: str) -> dict[int, str]:
    """The processes with ``mark`` in their command line, except this one."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                text = Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if mark in text:
                found[int(entry)] = text.replace("\0", " ")
    return found


def mark_of(grader: int) -> str:
    """What is in the command line of each server that the grader with that pid started."""
    return f"/run-{grader}-"


def at_work(pid: int) -> list[int]:
    """The workers below a process (forklab.worker) that have started a server."""
    below = procfs.Family(pid).members()
    return [one.pid for one in below if "/out/server" in str(running(mark_of(one.pid)))]


def run_folders(grader: int, kit: Path = paths.KIT) -> list[Path]:
    """The folders that the grader with that pid has made and not removed."""
    parents = [kit / "build" / "runs", Path(tempfile.gettempdir())]
    return [folder for parent in parents for folder in parent.glob(f"run-{grader}-*")]


def environment(kit: Path = paths.KIT, **more: str) -> dict[str, str]:
    """What a student's shell has, and no more."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": f"{kit / 'harness'}:{PACKAGES}",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


class Ran(subprocess.CompletedProcess[str]):
    """How the command ended; ``pid`` is what it had."""

    pid = 0


def forklab(
    *words: str | Path,
    kit: Path = paths.KIT,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    user: int | None = None,
) -> Ran:
    """Runs the command to its end."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)],
        cwd=cwd or kit,
        env=environment(kit, **(env or {})),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    out, err = process.communicate(stdin.encode(), timeout=5 * DEADLINE)
    ran = Ran(process.args, process.returncode, out.decode(), err.decode())
    ran.pid = process.pid
    return ran


def grade(lab: str, path: Path, folder: Path, **env: str) -> tuple[Result, Ran]:
    """Grades a program: the record, and what was shown."""
    file = folder / "record.json"
    ran = forklab("grade", lab, path, "--json", file, env=env)
    assert file.exists(), ran.stderr
    return Result.from_json(file.read_text()), ran


@cache
def graded(lab: str, path: Path) -> tuple[Result, Ran]:
    """The same, once for all tests that look at it."""
    with tempfile.TemporaryDirectory() as folder:
        return grade(lab, path, Path(folder))


def copy_kit(folder: Path, *tests: str) -> Path:
    """A copy of the kit, with as much of it as grading needs and those of its tests."""
    kit = folder / "kit"
    for name in ("labs", "solutions"):
        shutil.copytree(paths.KIT / name, kit / name)
    for lab in paths.LAB_FOLDERS:  # as it is handed out, whatever is in labs/ here
        shutil.copy(paths.starter_of(lab), kit / "labs" / paths.LAB_FOLDERS[lab] / "server.c")
    unneeded = shutil.ignore_patterns("__pycache__", "tests", "mutants", "accepted", ".*_cache")
    shutil.copytree(paths.HARNESS, kit / "harness", ignore=unneeded)
    (kit / "harness" / "tests").mkdir()
    for test in tests:
        shutil.copy(paths.HARNESS / "tests" / test, kit / "harness" / "tests")
    return kit


def compile_c(text: str, target: Path, *flags: str) -> Path:
    """Compiles a program of the test's own."""
    source = target.with_suffix(".c")
    source.write_text(text)
    subprocess.run(["cc", "-w", "-o", target, source, *flags], check=True)
    target.chmod(0o755)
    return target


@cache
def anchors(page: Path) -> set[str]:
    """What links to the headings of a Markdown page end with, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", one).lower().replace(" ", "-") for one in headings}


def contrast(one: Sequence[int], other: Sequence[int]) -> float:
    """The ratio of WCAG 2.1, from 1 to 21, of two colours: red, green and blue from 0 to 255."""

    def luminance(rgb: Sequence[int]) -> float:
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
            for part in (number / 255 for number in rgb)
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
