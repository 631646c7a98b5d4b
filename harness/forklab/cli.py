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
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from forklab import paths
from forklab.errors import GraderError, UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from forklab.build import Submission
    from forklab.graders import Graders
    from forklab.result import Result
    from forklab.worker import Options

TIERS = ("best", "bwrap", "uid", "process")  # as in forklab.tiers
ALL_PASSED, SOME_FAILED, USAGE, NO_BUILD, NO_JUDGEMENT, INTERRUPTED = 0, 1, 2, 3, 4, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    options = _parse(argv)
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
    except ModuleNotFoundError as problem:
        if not (problem.name or "").startswith("forklab."):
            raise
        print("forklab: this copy of the kit was handed out without that", file=sys.stderr)
        return USAGE
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


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    # argparse takes "grade lab2" as without a path, and then has no use for one after an option.
    if len(rest) == 1 and not rest[0].startswith("-") and vars(options).get("path", "") is None:
        options.path = rest.pop()
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="forklab", description="Labs on multi-process servers.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    grade = commands.add_parser("grade", help="build a program and grade it")
    grade.add_argument("lab", type=_lab)
    grade.add_argument("path", nargs="?", help="a C file, or a folder with a server.c")
    grade.add_argument("--json", metavar="FILE", help="write the record there (- for stdout)")
    grade.add_argument("--html", metavar="FILE", help="write a page for the browser")
    grade.add_argument("--junit", metavar="FILE", help="write JUnit XML, for Jenkins or GitLab")
    grade.add_argument("--gradescope", metavar="FILE", help="write Gradescope's results.json")
    grade.add_argument("--brief", action="store_true", help="only one line with the score")
    _own_checks(grade)
    grade.add_argument("--weights", metavar="FILE", help="other points than the rubric's: TOML")
    _walls(grade)
    grade.set_defaults(run=_grade)

    solutions = commands.add_parser("solutions", help="grade the reference servers")
    solutions.set_defaults(run=_solutions)

    hint = commands.add_parser("hint", help="the next hint for a check")
    hint.add_argument("check", help="its number, such as 4.7")
    _own_checks(hint)
    hint.set_defaults(run=_hint)

    status = commands.add_parser("status", help="your best score of each lab")
    status.set_defaults(run=_status)

    watch = commands.add_parser("watch", help="grade again each time the file is saved")
    watch.add_argument("lab", type=_lab)
    watch.add_argument("path", nargs="?")
    watch.set_defaults(run=_watch)

    play = commands.add_parser("play", help="see one server live, and play its clients")
    play.add_argument("lab", type=_lab)
    play.add_argument("path", nargs="?", help="a C file, or a folder with a server.c")
    play.set_defaults(run=_play)

    trace = commands.add_parser("trace", help="draw what a server and its children did")
    trace.add_argument("lab", type=_lab)
    trace.add_argument("path", nargs="?", help="a C file, or a folder with a server.c")
    trace.add_argument("--scenario", metavar="NAME", help="what the clients do, such as burst")
    trace.add_argument("--clients", metavar="N", type=_count, help="how many there are")
    trace.add_argument("--check", metavar="4.7", help="the traffic of that check")
    trace.add_argument("--perfetto", metavar="FILE", type=Path, help="write Trace Event JSON too")
    trace.add_argument("--out", metavar="DIR", type=Path, help="where to write (out/)")
    trace.set_defaults(run=_trace)

    reset = commands.add_parser("reset", help="start a lab anew; keeps a backup")
    reset.add_argument("lab", type=_lab)
    reset.add_argument("--yes", action="store_true", help="don't ask")
    reset.set_defaults(run=_reset)

    mutants = commands.add_parser("mutants", help="grade the gallery of wrong and right servers")
    mutants.add_argument("lab", type=_lab, nargs="*", help="only of these labs")
    mutants.add_argument("--only", metavar="TEXT", default="", help="whose name contains TEXT")
    mutants.add_argument("--jobs", type=_count, help="how many side by side (default: one a core)")
    mutants.add_argument("--tier", choices=TIERS, default="best", help="how strong the walls are")
    mutants.set_defaults(run=_mutants)

    figures = commands.add_parser("figures", help="draw the pictures of the docs anew")
    figures.add_argument("--record", action="store_true", help="record the runs anew, with strace")
    figures.set_defaults(run=_figures)

    soak = commands.add_parser("soak", help="look for a wrong verdict on a machine under load")
    soak.add_argument("--runs", type=_count, default=200, help="rounds (default: 200)")
    soak.add_argument("--jobs", type=_count, help="how many side by side (default: one a core)")
    soak.set_defaults(run=_soak)

    bundle = commands.add_parser("bundle", help="make a copy of the kit to give away")
    bundle.add_argument("kind", choices=["gradescope", "classroom50", "handout"])
    bundle.add_argument("labs", nargs="?", help="such as 3, 1-3 or 1,3 (default: all of them)")
    bundle.add_argument("--out", metavar="PATH", type=Path, help="where (default: in out/)")
    bundle.add_argument("--extra-checks", metavar="DIR", type=Path, help="your own checks as well")
    bundle.add_argument("--weights", metavar="FILE", type=Path, help="your own points")
    bundle.set_defaults(run=_bundle)

    bench = commands.add_parser("bench", help="how long grading takes")
    bench.add_argument("--runs", type=_count, default=9)
    bench.add_argument("--profile", action="store_true", help="show where the time goes instead")
    bench.set_defaults(run=_bench)

    batch = commands.add_parser("batch", help="grade many submissions, as instructors do")
    batch.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="with the submissions")
    batch.add_argument("--lab", type=_lab, help="of this lab only (or: all there is, is of it)")
    batch.add_argument("--out", metavar="DIR", type=Path, default=Path("grades"))
    batch.add_argument("--jobs", type=_count, help="how many side by side (default: one a core)")
    batch.add_argument("--roster", metavar="FILE", type=Path, help="who should have handed in")
    batch.add_argument("--due", metavar="TIME", type=_time, help="2026-11-30T23:59, or with +09:00")
    batch.add_argument(
        "--trust-submissions", action="store_true", help="grade where nothing keeps them apart"
    )
    batch.add_argument(
        "--regrade",
        nargs="?",
        const="all",
        metavar="LAB",
        type=lambda text: text if text == "all" else _lab(text),
        help="grade anew (that lab); the old records are kept",
    )
    batch.add_argument("--weights", metavar="FILE", help="other points than the rubric's")
    batch.add_argument("--extra-checks", metavar="DIR", help="own checks beside the kit's")
    _walls(batch)
    batch.add_argument("--cluster", metavar="URL", help="of Dask's scheduler: docs/cluster.md")
    for file, what in (("ca-file", "authority"), ("cert", "certificate"), ("key", "private key")):
        text = f"the {what} for --cluster tls://"
        batch.add_argument(f"--tls-{file}", metavar="FILE", type=Path, help=text)
    batch.add_argument(
        "--diff",
        nargs=2,
        metavar=("OLD", "NEW"),
        type=Path,
        help="show whose marks differ in two folders that batches wrote",
    )
    batch.set_defaults(run=_batch)

    worker = commands.add_parser("worker")  # not for people: see forklab.worker
    worker.add_argument("--tier", choices=("", *TIERS), default="")
    worker.add_argument("--trusted", action="store_true")
    worker.set_defaults(run=_worker)
    return parser


def _own_checks(command: argparse.ArgumentParser) -> None:
    what = "own checks beside the kit's: a folder of test_*.py"
    command.add_argument("--extra-checks", metavar="DIR", help=what)


def _lab(text: str) -> str:
    name = text if text.startswith("lab") else f"lab{text}"
    if name not in paths.LAB_FOLDERS:
        labs = ", ".join(paths.LAB_FOLDERS)
        raise argparse.ArgumentTypeError(f"there is no lab {text!r}; the labs are {labs}")
    return name


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a time like 2026-11-30T23:59: {text!r}") from None


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"not a number from 1 on: {text!r}")
    return int(text)


# Grading -------------------------------------------------------------------------------------


def _grade(options: argparse.Namespace) -> int:
    import gc

    from forklab import contain
    from forklab.build import Submission

    _set_walls(options)
    work = paths.work_of(options.lab)
    # realpath: it goes through symbolic links, and does not mind a loop of them.
    own = options.path is None or os.path.realpath(options.path) in (str(work), str(work.parent))
    path = options.path or _shown(work)
    for file in (options.json, options.html, options.junit, options.gradescope):
        if file and not Path(file).parent.is_dir():
            raise UsageError(f"there is no folder for {file}")
    extra: dict[str, Any] = {}
    if options.extra_checks is not None or options.weights is not None:
        from forklab.plugin import instructors

        own_checks, weights = instructors(options.extra_checks, options.weights)
        extra = {"own": own_checks, "weights": weights}
    gc.disable()  # there is no half second's worth of garbage
    # Both builds run while pytest and the rest are imported.
    with contain.run_folder() as folder, Submission(options.lab, path, folder) as submission:
        result = _run_checks(options, submission, own, extra)
    _write_record(result, options.json)
    _write_reports(result, options)
    return _exit_status(result)


def _walls(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tier", choices=TIERS, help="how strong the walls around a program are")
    command.add_argument(
        "--limit", metavar="NAME=VALUE", action="append", default=[], help="such as processes=128"
    )


def _set_walls(options: argparse.Namespace) -> None:
    """The tier and the limits that the command line asks for. Raises UsageError."""
    if options.tier:
        from forklab import tiers

        tiers.choose(options.tier)
        tiers.leave_network()
    if options.limit:
        from forklab import limits

        limits.set_usual(limits.parse(options.limit))


def _shown(path: Path) -> str:
    """A path as the user would write it: from here if it is below here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _run_checks(
    options: argparse.Namespace, submission: Submission, own: bool, extra: dict[str, Any]
) -> Result:
    from forklab import checking, progress
    from forklab.plugin import Grading
    from forklab.render.terminal import Report, make_console

    console = make_console()
    console.quiet = options.json == "-" or options.brief
    report = Report(
        console, options.lab, submission.path, submission.is_untouched, _extra_word(options)
    )
    grading = Grading(submission=submission, on_check=report.check, **extra)
    checking.run([paths.CHECKS / f"test_{options.lab}.py"], [grading])
    result = checking.record(grading, submission.path)
    best = None
    if own:
        progress.remember(result)
        best = progress.best(options.lab)
    if options.brief and options.json != "-":
        console.quiet = False
        console.print(_one_line(result), soft_wrap=True)
    else:
        report.finish(result, best and best.score)
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


def _write_reports(result: Result, options: argparse.Namespace) -> None:
    from forklab.result import write_atomically

    if options.html:
        from forklab.marks import Mark
        from forklab.render import html

        mark = Mark("Your server", result.lab, result.submission, result=result)
        write_atomically(Path(options.html), html.student_page(mark))
    if options.junit:
        from forklab.render import junit

        write_atomically(Path(options.junit), junit.of_result(result, "server"))
    if options.gradescope:
        from forklab.render import gradescope

        write_atomically(Path(options.gradescope), gradescope.of_result(result))


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


def _extra_word(options: argparse.Namespace) -> str:
    """What `make` needs, after other words, to know the same own checks."""
    import shlex

    folder = options.extra_checks
    return f" EXTRA_CHECKS={shlex.quote(folder)}" if folder else ""


def _hint(options: argparse.Namespace) -> int:
    from rich.text import Text

    from forklab import progress
    from forklab.plugin import instructors
    from forklab.render.terminal import make_console
    from forklab.rubric import find

    own = instructors(options.extra_checks, None)[0] if options.extra_checks is not None else None
    check = find(options.check, own.checks if own else ())
    handout = paths.handout_of(check.lab)
    number = progress.next_hint(check.id, len(check.hints))
    console = make_console()
    console.print(f"{check.id} {check.name}: hint {number} of {len(check.hints)}\n")
    for line in Text(check.hints[number - 1]).wrap(console, console.width):
        line.rstrip()
        console.print(line)
    if number < len(check.hints):
        console.print(f"\nFor the next one: make hint CHECK={check.id}{_extra_word(options)}")
    else:
        console.print(f"\nThat was the last one. There is more in {_shown(handout)}.")
    return ALL_PASSED


def _status(options: argparse.Namespace) -> int:
    from forklab import progress
    from forklab.render.terminal import TITLES, make_console

    console = make_console()
    for lab in paths.LAB_FOLDERS:
        title, best = TITLES[lab], progress.best(lab)
        score = "not yet graded" if best is None else f"{best.score:>3} of {best.max_score}"
        console.print(f"{title:<36} {score:<15} make {lab}")
    return ALL_PASSED


def _watch(options: argparse.Namespace) -> int:
    from forklab.watch import watch

    return watch(options.lab, options.path or _shown(paths.work_of(options.lab)))


def _play(options: argparse.Namespace) -> int:
    from forklab.play import play

    path = options.path or _shown(paths.work_of(options.lab))
    # What does not build gets the report that it gets from make labN.
    return ALL_PASSED if play(options.lab, path) else main(["grade", options.lab, path])


def _trace(options: argparse.Namespace) -> int:
    from forklab.trace import command

    lab, check = options.lab, options.check or ""
    if check and f"lab{check.partition('.')[0]}" != lab:
        raise UsageError(f"{check} is no check of {lab}")
    path = options.path or _shown(paths.work_of(lab))
    traffic = command.traffic_of(check, options.scenario, options.clients)
    out = options.out or command.OUT
    request = command.Request(lab, path, traffic, check, out, options.perfetto)
    # What does not build gets the report that it gets from make labN.
    return ALL_PASSED if command.run(request) else main(["grade", lab, path])


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

    labs = options.lab or list(paths.LAB_FOLDERS)
    whole = not options.lab and not options.only and options.tier == "best"
    return mutants(labs, options.only, options.jobs, options.tier, write=whole)


def _figures(options: argparse.Namespace) -> int:
    from forklab.draw import figures, runs

    if options.record:
        runs.record_all()
    for line in figures.write():
        print(line)
    return ALL_PASSED


def _soak(options: argparse.Namespace) -> int:
    from forklab.soak import soak

    return soak(options.runs, options.jobs)


def _bundle(options: argparse.Namespace) -> int:
    from forklab.bundles import make

    made = make.bundle(
        options.kind, options.labs or "", options.out, options.extra_checks, options.weights
    )
    print(made)
    return ALL_PASSED


def _bench(options: argparse.Namespace) -> int:
    from forklab.bench import bench, profile

    return profile() if options.profile else bench(options.runs)


def _worker(options: argparse.Namespace) -> int:
    from forklab.worker import serve

    return serve(options.tier, options.trusted)


def _batch(options: argparse.Namespace) -> int:
    from forklab.batch import Request, batch
    from forklab.render.terminal import make_console

    console = make_console()
    if options.diff:
        return _diff(*options.diff)
    if options.folder is None:
        raise UsageError("batch needs the folder of submissions. For example: forklab batch dir")
    request = Request(
        options.folder,
        options.out,
        lab=options.lab,
        roster=options.roster,
        due=options.due,
        jobs=options.jobs,
        regrade=options.regrade,
        options=_batch_options(options),
    )
    return batch(request, console, _cluster(options, request.options))


def _cluster(options: argparse.Namespace, how: Options) -> AbstractContextManager[Graders] | None:
    """Who grades in place of this machine, if the command line says so."""
    files = {"ca": options.tls_ca_file, "cert": options.tls_cert, "key": options.tls_key}
    tls = {name: file for name, file in files.items() if file}
    if options.cluster is None:
        if tls:
            raise UsageError("--tls-ca-file, --tls-cert and --tls-key are for --cluster tls://")
        return None
    if options.jobs:
        raise UsageError("--jobs is for this machine: a cluster's workers have --nthreads")
    from forklab import cluster

    return cluster.graders(options.cluster, how, tls)


def _batch_options(options: argparse.Namespace) -> Options:
    from forklab.worker import Options

    extra, weights = b"", dict[str, int]()
    if options.extra_checks is not None or options.weights is not None:
        from forklab import own
        from forklab.plugin import instructors

        # Also here: what is wrong with them is said before anything is graded.
        _, weights = instructors(options.extra_checks, options.weights)
        if options.extra_checks is not None:
            extra = own.pack(options.extra_checks)
    return Options(
        limits=tuple(options.limit),
        weights=weights,
        extra_checks=extra,
        tier=options.tier or "best",
        trusted=options.trust_submissions,
    )


def _diff(old: Path, new: Path) -> int:
    from forklab.compare import diff
    from forklab.evidence import plain

    lines = diff(old, new)
    for line in lines:
        print(plain(line))
    if not lines:
        print("No mark changed.")
    return ALL_PASSED
