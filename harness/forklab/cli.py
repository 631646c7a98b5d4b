"""The command line: ``forklab grade lab3 PATH --json FILE`` and its friends.

Exit statuses: 0 all passed, 1 some check failed, 2 usage, 3 does not build, 4 the grader itself
could not judge, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from forklab import paths
from forklab.errors import GraderError, UsageError

if TYPE_CHECKING:
    from forklab.build import Submission
    from forklab.result import Result

ALL_PASSED, SOME_FAILED, USAGE, NO_BUILD, NO_JUDGEMENT, INTERRUPTED = 0, 1, 2, 3, 4, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        return int(options.run(options))
    except UsageError as problem:
        print(f"forklab: {problem}", file=sys.stderr)
        return USAGE
    except GraderError as problem:
        print(f"forklab: {problem}", file=sys.stderr)
        return NO_JUDGEMENT
    except KeyboardInterrupt:
        _end_all()
        print("\nforklab: stopped before the end; no server is left running.", file=sys.stderr)
        return INTERRUPTED
    except OSError as problem:
        where = f" {problem.filename}" if problem.filename else ""
        print(f"forklab: cannot go on:{where}: {problem.strerror}", file=sys.stderr)
        return NO_JUDGEMENT


def _end_all() -> None:
    from forklab import contain

    contain.end_all()


def _interrupt(signal_number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="forklab", description="Labs on multi-process servers.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    grade = commands.add_parser("grade", help="build a program and grade it")
    grade.add_argument("lab", type=_lab)
    grade.add_argument("path", nargs="?", help="a C file, or a folder with a server.c")
    grade.add_argument("--json", metavar="FILE", help="write the record there (- for stdout)")
    grade.add_argument("--brief", action="store_true", help="only one line with the score")
    grade.set_defaults(run=_grade)

    solutions = commands.add_parser("solutions", help="grade the reference servers")
    solutions.set_defaults(run=_solutions)

    hint = commands.add_parser("hint", help="the next hint for a check")
    hint.add_argument("check", help="its number, such as 4.7")
    hint.set_defaults(run=_hint)

    status = commands.add_parser("status", help="your best score of each lab")
    status.set_defaults(run=_status)

    watch = commands.add_parser("watch", help="grade again each time the file is saved")
    watch.add_argument("lab", type=_lab)
    watch.add_argument("path", nargs="?")
    watch.set_defaults(run=_watch)

    reset = commands.add_parser("reset", help="start a lab anew; keeps a backup")
    reset.add_argument("lab", type=_lab)
    reset.add_argument("--yes", action="store_true", help="don't ask")
    reset.set_defaults(run=_reset)

    mutants = commands.add_parser("mutants", help="grade the gallery of wrong and right servers")
    mutants.add_argument("lab", type=_lab, nargs="*", help="only of these labs")
    mutants.add_argument("--only", metavar="TEXT", default="", help="whose name contains TEXT")
    mutants.add_argument("--jobs", type=_count, help="gradings side by side (default: the cores)")
    mutants.set_defaults(run=_mutants)

    soak = commands.add_parser("soak", help="look for a wrong verdict on a machine under load")
    soak.add_argument("--runs", type=_count, default=200, help="rounds (default: 200)")
    soak.add_argument("--jobs", type=_count, help="gradings side by side (default: the cores)")
    soak.set_defaults(run=_soak)

    bench = commands.add_parser("bench", help="how long grading takes")
    bench.add_argument("--runs", type=_count, default=9)
    bench.add_argument("--profile", action="store_true", help="show where the time goes instead")
    bench.set_defaults(run=_bench)
    return parser


def _lab(text: str) -> str:
    name = text if text.startswith("lab") else f"lab{text}"
    if name not in paths.LAB_FOLDERS:
        labs = ", ".join(paths.LAB_FOLDERS)
        raise argparse.ArgumentTypeError(f"there is no lab {text!r}; the labs are {labs}")
    return name


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"not a number from 1 on: {text!r}")
    return int(text)


# Grading -------------------------------------------------------------------------------------


def _grade(options: argparse.Namespace) -> int:
    import gc

    from forklab import contain
    from forklab.build import Submission

    work = paths.work_of(options.lab)
    # realpath: it goes through symbolic links, and does not mind a loop of them.
    own = options.path is None or os.path.realpath(options.path) in (str(work), str(work.parent))
    path = options.path or _shown(work)
    if options.json and options.json != "-" and not Path(options.json).parent.is_dir():
        raise UsageError(f"there is no folder for {options.json}")
    gc.disable()  # there is no half second's worth of garbage
    # Both builds run while pytest and the rest are imported.
    with contain.run_folder() as folder, Submission(options.lab, path, folder) as submission:
        result = _run_checks(options, submission, own)
    _write_record(result, options.json)
    return _exit_status(result)


def _shown(path: Path) -> str:
    """A path as the user would write it: from here if it is below here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


# Parts of pytest that a grading does without: each costs time at every start.
NO_USE_FOR = (
    *("terminal", "cacheprovider", "faulthandler", "unraisableexception", "threadexception"),
    *("doctest", "junitxml", "logging", "debugging", "pastebin", "legacypath"),
)


def _run_checks(options: argparse.Namespace, submission: Submission, own: bool) -> Result:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = (
        "1"  # what else is installed is no matter of ours
    )
    os.environ.pop("PYTEST_ADDOPTS", None)
    import pytest

    from forklab import progress
    from forklab.plugin import Grading
    from forklab.render.terminal import Report, make_console

    console = make_console()
    console.quiet = options.json == "-" or options.brief
    report = Report(console, options.lab, submission.path, submission.is_untouched)
    grading = Grading(submission=submission, on_check=report.check)
    arguments = [
        *(word for name in NO_USE_FOR for word in ("-p", f"no:{name}")),
        "--assert=plain",  # a check expects; it doesn't assert
        "--capture=no",
        *("--rootdir", str(paths.HARNESS), "-c", str(paths.HARNESS / "pyproject.toml")),
        str(paths.CHECKS / f"test_{options.lab}.py"),
    ]
    ended = pytest.main(arguments, plugins=[grading])
    if ended == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if ended not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise GraderError(f"pytest ended with status {int(ended)}: the harness is broken")
    result = grading.result(options.lab, submission.path, submission.sha256)
    result.untouched = submission.is_untouched
    best = None
    if own:
        progress.remember(result)
        best = progress.best(options.lab)
    if options.brief and options.json != "-":
        console.quiet = False
        console.print(_one_line(result), soft_wrap=True)
    else:
        report.finish(result, best)
    return result


def _one_line(result: Result) -> str:
    score = "no score" if result.score is None else f"{result.score:>3} of {result.max_score}"
    return f"{result.lab}  {score}  {result.duration:5.2f} s  {result.submission}"


def _write_record(result: Result, file: str | None) -> None:
    from forklab.result import write_atomically

    if file == "-":
        sys.stdout.write(result.to_json())
    elif file:
        write_atomically(Path(file), result.to_json())


def _exit_status(result: Result) -> int:
    from forklab.result import DOES_NOT_BUILD, GRADER_ERROR

    if result.verdict == GRADER_ERROR:
        return NO_JUDGEMENT
    if result.verdict == DOES_NOT_BUILD:
        return NO_BUILD
    return ALL_PASSED if result.all_passed else SOME_FAILED


def _solutions(options: argparse.Namespace) -> int:
    worst = ALL_PASSED
    for lab in paths.LAB_FOLDERS:
        if not paths.solution_of(lab).exists():
            raise UsageError("this copy of the kit has no solutions/")
        status = main(["grade", lab, _shown(paths.solution_of(lab).parent), "--brief"])
        worst = max(worst, status)
    return worst


# For the student -----------------------------------------------------------------------------


def _hint(options: argparse.Namespace) -> int:
    from rich.text import Text

    from forklab import progress
    from forklab.render.terminal import make_console
    from forklab.rubric import find

    check = find(options.check)
    handout = paths.handout_of(check.lab)
    number = progress.next_hint(check.id, len(check.hints))
    console = make_console()
    console.print(f"{check.id} {check.name}: hint {number} of {len(check.hints)}\n")
    for line in Text(check.hints[number - 1]).wrap(console, console.width):
        line.rstrip()
        console.print(line)
    if number < len(check.hints):
        console.print(f"\nFor the next one: make hint CHECK={check.id}")
    else:
        console.print(f"\nThat was the last one. There is more in {_shown(handout)}.")
    return ALL_PASSED


def _status(options: argparse.Namespace) -> int:
    from forklab import progress
    from forklab.render.terminal import TITLES, make_console

    console = make_console()
    for lab, title in TITLES.items():
        best = progress.best(lab)
        score = "not yet graded" if best is None else f"{best:>3} of 100"
        console.print(f"{title:<36} {score:<15} make {lab}")
    return ALL_PASSED


def _watch(options: argparse.Namespace) -> int:
    from forklab.watch import watch

    return watch(options.lab, options.path or _shown(paths.work_of(options.lab)))


def _reset(options: argparse.Namespace) -> int:
    import shutil
    import time

    work, starter = paths.work_of(options.lab), paths.starter_of(options.lab)
    if work.exists() and work.read_bytes() == starter.read_bytes():
        print(f"{_shown(work)} is the starter already.")
        return ALL_PASSED
    if work.exists():
        backup = work.with_name(f"server.c.{time.strftime('%Y%m%d-%H%M%S')}.backup")
        while backup.exists():  # from earlier in this second
            backup = backup.with_name(backup.name.replace(".backup", "+.backup"))
        question = f"Start {options.lab} anew? Your server.c is kept as {backup.name}. [y/N] "
        try:
            yes = options.yes or input(question).strip().lower() in ("y", "yes")
        except EOFError:
            print()
            yes = False
        if not yes:
            print("Nothing was changed.")
            return ALL_PASSED
        shutil.copy2(work, backup)
    shutil.copyfile(starter, work)
    print(f"{_shown(work)} is the starter again.")
    return ALL_PASSED


def _mutants(options: argparse.Namespace) -> int:
    from forklab.mutants import mutants

    whole = not options.lab and not options.only
    return mutants(options.lab or list(paths.LAB_FOLDERS), options.only, options.jobs, write=whole)


def _soak(options: argparse.Namespace) -> int:
    from forklab.soak import soak

    return soak(options.runs, options.jobs)


def _bench(options: argparse.Namespace) -> int:
    from forklab import bench

    return bench.profile() if options.profile else bench.bench(options.runs)
