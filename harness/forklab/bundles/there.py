"""Runs on a platform that grades, in the copy of the kit that a bundle holds.

``python -P -m forklab.bundles.there gradescope lab3 SUBMISSION results.json``, and the same with
``classroom50``, where SUBMISSION is the student's checkout. Exit status 0: the file is written.
2: nothing there to grade. 4: the grader could not judge. Then no mark comes of it: for Gradescope a
file without a score is written, for Classroom 50 none, and a sentence says why.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from forklab import paths
from forklab.errors import GraderError, UsageError
from forklab.result import Result, write_atomically

WRITTEN, NOTHING_TO_GRADE, NO_JUDGEMENT = 0, 2, 4
SECONDS = 480.0  # for one grading, which takes about 10 there; platforms end it after 600
MOST_FILES = 2000  # that are looked at in a submission


def main(arguments: list[str]) -> int:
    """Grades one submission and writes the platform's file. Returns the exit status."""
    platform, lab, submission, target = arguments
    try:
        result, report = grade(lab, find(Path(submission), lab))
        print(report)
        _know_own_diagnoses()
        if platform == "gradescope":
            from forklab.render import gradescope

            write_atomically(Path(target), gradescope.of_result(result))
        else:
            from forklab.render import classroom50

            told = classroom50.of_environment(os.environ)
            write_atomically(Path(target), classroom50.of_result(result, told))
            # The page that the student sees. Indented: nothing in it counts as Markdown.
            page = "".join(f"    {line}\n" for line in report.splitlines())
            write_atomically(Path(target).with_name("release-body.md"), page)
    except (UsageError, GraderError) as problem:
        print(problem, file=sys.stderr)
        if platform == "gradescope":
            write_atomically(Path(target), without_a_score(str(problem)))
        return NOTHING_TO_GRADE if isinstance(problem, UsageError) else NO_JUDGEMENT
    return NO_JUDGEMENT if result.score is None else WRITTEN


def without_a_score(sentence: str) -> str:
    """Gradescope's file for what was not graded: no score, and so no zero."""
    import json

    fields = {"output": sentence, "output_format": "text", "stdout_visibility": "hidden"}
    return json.dumps(fields, indent=2) + "\n"


def find(folder: Path, lab: str) -> Path:
    """The source file to grade, wherever in the submission it lies.

    First where the kit has it, then any other file of that name, then any other C file, as long as
    there is just one. Raises UsageError with a sentence for the student.
    """
    name = paths.LAB_FOLDERS[lab]
    sources = [file for file in _regular_files(folder) if file.suffix == ".c"]
    for place in ("", name, lab, f"labs/{name}"):
        if (file := folder / place / "server.c") in sources:
            return file
    for found in ([file for file in sources if file.name == "server.c"], sources):
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(str(file.relative_to(folder)) for file in found[:5])
            raise UsageError(
                f"Which file is the server of {lab}? There are {listed}"
                f"{' and others' if found[5:] else ''}. Submit one server.c. Nothing was graded."
            )
    raise UsageError(
        f"There is no server.c in what was submitted, nor any other C file. Submit the server.c of "
        f"{lab}. Nothing was graded."
    )


def _regular_files(folder: Path) -> list[Path]:
    """The files of a submission, by name; links are not followed: they may lead out of it."""
    return sorted(file for file, _ in zip(_walk(folder), range(MOST_FILES), strict=False))


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith((".", "__MACOSX")))
        for name in sorted(files):
            file = Path(place, name)
            if not name.startswith(".") and file.is_file() and not file.is_symlink():
                yield file


def grade(lab: str, source: Path) -> tuple[Result, str]:
    """The record, and the report as text. Raises GraderError when there is no record."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "record.json")
        as_root = _as_root()
        command = [*(as_root or ()), sys.executable, "-P", "-m", "forklab", "grade", lab]
        command += [str(source), "--json", str(record), *_own_checks()]
        # Root's programs as users of their own or not at all: as root they could write the marks.
        command += ["--tier", "best" if as_root is None else "uid"]
        try:
            ran = subprocess.run(
                command,
                cwd=paths.KIT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise GraderError(f"The grading took more than {SECONDS:.0f} seconds.") from None
        report = ran.stdout.decode(errors="replace")
        try:
            return Result.from_json(record.read_text(encoding="utf-8")), report
        except (OSError, ValueError):
            last = report.strip().splitlines()[-1:] or ["it said nothing"]
            raise GraderError(
                f"The grader could not judge (exit status {ran.returncode}): {last[0]}"
            ) from None


def _as_root() -> list[str] | None:
    """What to put before a command that root is to run; None: we can't have that."""
    if os.geteuid() == 0:
        return []
    asked = ["sudo", "-n", "true"]
    try:
        may = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
    except OSError:
        return None
    return ["sudo", "-n"] if may else None


def _own_checks() -> list[str]:
    """The options for what an instructor put into the bundle."""
    given = {"--extra-checks": paths.KIT / "extra-checks", "--weights": paths.KIT / "weights.toml"}
    return [word for option, path in given.items() if path.exists() for word in (option, str(path))]


def _know_own_diagnoses() -> None:
    """Adds the instructor's to the catalogue, which the platform's file is written with."""
    from forklab import rubric

    own = paths.KIT / "extra-checks" / rubric.CATALOGUE.name
    if own.exists():
        rubric.diagnoses().update(rubric.read_diagnoses(own))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
