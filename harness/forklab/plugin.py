"""The pytest side: options, fixtures, gates, and collecting what the checks found.

``pytest harness/checks/test_lab3.py --submission PATH`` works by itself; ``forklab grade`` starts
the same run and shows it in its own way. With ``--extra-checks DIR``, an instructor's own checks
take part (forklab.own).
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from forklab import __version__, contain, evidence, limits, paths, tiers
from forklab.build import Submission, find_source
from forklab.clients import Clients
from forklab.errors import GraderError, UsageError
from forklab.launch import Habits, Launcher
from forklab.result import (
    ERROR,
    FAILED,
    PASSED,
    SKIPPED,
    CheckResult,
    Evidence,
    LimitReached,
    Result,
    write_atomically,
)
from forklab.rubric import Check, CheckFailed, CheckSkipped, diagnoses
from forklab.server import Server, slowness

if TYPE_CHECKING:
    from forklab.own import OwnChecks


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("forklab", "grading a lab")
    group.addoption(
        "--submission",
        metavar="PATH",
        help="the program to grade: a C file, or a folder with a server.c "
        "(default: what the student edits, labs/labN-*/server.c)",
    )
    group.addoption("--result", metavar="FILE", help="write the record of the grading to FILE")
    group.addoption(
        "--extra-checks", metavar="DIR", help="own checks beside the kit's: a folder of test_*.py"
    )
    group.addoption("--weights", metavar="FILE", help="other points than the rubric's: a TOML file")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "check(check): a line of the rubric (forklab.rubric.check)")
    plugins = config.pluginmanager.get_plugins()
    grading = next((one for one in plugins if isinstance(one, Grading)), None)
    if grading is None:
        try:
            own, weights = instructors(
                config.getoption("--extra-checks"), config.getoption("--weights")
            )
        except UsageError as problem:
            pytest.exit(str(problem), returncode=2)
        grading = Grading(config.getoption("--result"), own=own, weights=weights)
        config.pluginmanager.register(grading)
    config.stash[GRADING] = grading
    config.args += [file for file in map(str, grading.own_files) if file not in config.args]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With xdist, a lab stays in one worker, where its gates are known. Own checks: all do."""
    from xdist.scheduler import LoadScopeScheduling

    alone = bool(config.stash[GRADING].own_files)

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "" if alone else nodeid.partition("::")[0]

    return Scheduling(config, log)


GRADING = pytest.StashKey["Grading"]()


def instructors(
    extra_checks: str | None, weights: str | None
) -> tuple[OwnChecks | None, dict[str, int]]:
    """What an instructor adds: own checks, and points by number.

    Raises UsageError where something is wrong with the folder or the file.
    """
    own, points = None, {}
    if extra_checks is not None:
        from forklab.own import load

        own = load(extra_checks)
    if weights is not None:
        from forklab import weights as files

        points = files.load(weights, own.checks if own else ())
    return own, points


class Grading:
    """One run of checks: what they found so far, and the record at the end."""

    def __init__(
        self,
        result_file: str | None = None,
        submission: Submission | None = None,
        on_check: Callable[[CheckResult], None] | None = None,
        own: OwnChecks | None = None,
        weights: Mapping[str, int] | None = None,
    ) -> None:
        self.submission = submission  # None: the fixture makes one
        self.found: dict[str, CheckResult] = {}
        self.limits: dict[str, str] = {}  # that the submission came to, each with a sentence
        self.habits: dict[str, Habits] = defaultdict(Habits)  # by lab
        self.own_files = dict(own.modules) if own else {}
        self._own_order = [one.id for one in own.checks] if own else []
        self._weights = weights or {}
        self._result_file = result_file
        self._on_check = on_check or (lambda found: None)
        self._rubric: dict[str, Check] = {}
        self._open_gates: set[str] = set()  # gates that failed, but let the rest be judged
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()

    # Order and gates

    def pytest_pycollect_makemodule(
        self, module_path: Path, parent: pytest.Collector
    ) -> pytest.Module | None:
        if module_path not in self.own_files:
            return None
        module = pytest.Module.from_parent(parent, path=module_path)
        module.obj = self.own_files[module_path]  # imported already, and looked at
        return module

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.own_files:
            items[:] = self._in_order(items)
        for item in items:
            if check := check_of(item):
                self._rubric[check.id] = check
                item.extra_keyword_matches.add(check.id)  # -k 4.7

    def _in_order(self, items: list[pytest.Item]) -> list[pytest.Item]:
        """The kit's checks, then own ones of the same labs by number (or own ones alone)."""
        own = {
            check.id: item
            for item in items
            if item.path in self.own_files and (check := check_of(item))
        }
        kit = [item for item in items if item.path not in self.own_files]
        labs = {check.lab for item in kit or items if (check := check_of(item))}
        ids = [one for one in self._own_order if f"lab{one.partition('.')[0]}" in labs]
        return kit + [own[one] for one in ids if one in own]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if (check := check_of(item)) and (blocker := self._blocker(check)):
            raise CheckSkipped(blocker)
        if check and time.monotonic() - self._clock > limits.usual().wall * slowness():
            self.limits["wall"] = limits.usual().reached("wall")
            raise GraderError(self.limits["wall"])

    def _blocker(self, check: Check) -> str | None:
        """The failed check without which this one can't be judged, or None."""
        for other in self._rubric.values():
            found = self.found.get(other.id)
            if found is None or other.lab != check.lab or found.status == PASSED:
                continue
            if other.id not in self._open_gates and (other.gate or other.id == check.needs):
                return found.needs or other.id
        return None

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        outcome: Any = yield
        # Its last words, while its files are still there.
        launch: Launcher | None = getattr(item, "funcargs", {}).get("launch")
        if launch and launch.servers and outcome.excinfo:
            item.stash[LAST_WORDS] = evidence.last_words(launch.servers[-1])

    # What was found

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:
        outcome: Any = yield
        report: pytest.TestReport = outcome.get_result()
        check = check_of(item)
        problem = call.excinfo.value if call.excinfo else None
        seconds = item.stash[SECONDS] = item.stash.get(SECONDS, 0.0) + call.duration
        if check is None or (call.when != "call" and problem is None):
            return
        if isinstance(problem, (KeyboardInterrupt, SystemExit, pytest.exit.Exception)):
            return
        found = self._judge(item, check, problem)
        found.duration = round(seconds, 4)
        self.found[check.id] = found
        report.forklab = asdict(found)  # type: ignore[attr-defined]
        # To the item: JUnit's properties are taken from its last report.
        item.user_properties += [
            ("check", found.id),
            ("points", found.points),
            ("max_points", found.max_points),
        ]
        if found.status == SKIPPED:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), 0, f"skipped: first fix {found.needs}")
        elif found.status == FAILED:
            report.longrepr = _in_words(found)  # a traceback says nothing about the submission

    def _judge(self, item: pytest.Item, check: Check, problem: BaseException | None) -> CheckResult:
        points = self._weights.get(check.id, check.points)
        found = CheckResult(
            check.id,
            check.name,
            PASSED,
            points,
            points,
            did=_docstring(item),
            read=check.read or str(paths.handout_of(check.lab).relative_to(paths.KIT)),
            evidence=item.stash.get(SHOWN, []),
        )
        if problem is None:
            return found
        found.points = 0
        if isinstance(problem, CheckSkipped):
            found.status, found.needs = SKIPPED, problem.needs
        elif isinstance(problem, CheckFailed):
            found.status = FAILED
            found.expected, found.seen = problem.expected, problem.seen
            found.diagnosis = problem.diagnosis
            found.evidence = problem.evidence
            if not any(one.title.startswith(evidence.LAST_WORDS) for one in found.evidence):
                found.evidence = found.evidence + item.stash.get(LAST_WORDS, [])
            if problem.goes_on:
                self._open_gates.add(check.id)
        else:
            found.status = ERROR
            what = str(problem) if isinstance(problem, GraderError) else repr(problem)
            found.seen = f"the grader could not judge this: {what}"
        return found

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (fields := getattr(report, "forklab", None)) is None:
            return
        shown = [Evidence(**one) for one in fields["evidence"]]
        found = CheckResult(**{**fields, "evidence": shown})
        self.found[found.id] = found  # here also what an xdist worker sent
        self._on_check(found)

    def result(self, lab: str, submission: str, sha256: str) -> Result:
        """The record of this run."""
        checks = [one for one in self.found.values() if f"lab{one.id.partition('.')[0]}" == lab]
        result = Result(
            lab=lab,
            submission=submission,
            sha256=sha256,
            kit=__version__,
            tier=tiers.tier(),
            started=self._started.isoformat(timespec="seconds").replace("+00:00", "Z"),
            duration=round(time.monotonic() - self._clock, 3),
            checks=checks,
            limits=[LimitReached(*one) for one in sorted(self.limits.items())],
        )
        result.conclude()
        return result

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._result_file and self.found and not hasattr(session.config, "workerinput"):
            lab = f"lab{next(iter(self.found)).partition('.')[0]}"
            path = session.config.getoption("--submission") or paths.work_of(lab)
            source = find_source(path)
            record = self.result(lab, str(path), hashlib.sha256(source.read_bytes()).hexdigest())
            write_atomically(Path(self._result_file), record.to_json())


def check_of(item: pytest.Item) -> Check | None:
    """The line of the rubric that a test is, or None for an ordinary test."""
    marker = item.get_closest_marker("check")
    return marker.args[0] if marker else None


def _check_for(request: pytest.FixtureRequest) -> Check:
    """The check that a fixture is made for."""
    check = check_of(request.node)
    assert check is not None, "the fixtures are for checks: functions with @check"
    return check


def _docstring(item: pytest.Item) -> str:
    assert isinstance(item, pytest.Function)
    return " ".join((item.obj.__doc__ or "").split())


def _in_words(found: CheckResult) -> str:
    lines = [f"{found.id} {found.name}", f"  expected: {found.expected}", f"  seen: {found.seen}"]
    if found.diagnosis:
        one = diagnoses()[found.diagnosis]
        lines += [f"  diagnosis: {one.code}: {one.title}. {one.explanation}"]
    for shown in found.evidence:
        lines += [f"  {shown.title}:", *(f"    {line}" for line in shown.text.splitlines())]
    return "\n".join(lines)


# Fixtures ------------------------------------------------------------------------------------

SHOWN = pytest.StashKey[list[Evidence]]()
LAST_WORDS = pytest.StashKey[list[Evidence]]()
SECONDS = pytest.StashKey[float]()


@pytest.fixture(scope="session")
def _submissions(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Submission]]:
    """``_submissions("lab3")`` is what is graded as that lab's."""
    grading = request.config.stash[GRADING]
    with ExitStack() as stack:

        @cache
        def submission_of(lab: str) -> Submission:
            if grading.submission is not None:
                return grading.submission
            path = request.config.getoption("--submission") or paths.work_of(lab)
            folder = stack.enter_context(contain.run_folder())
            try:
                return stack.enter_context(Submission(lab, path, folder))
            except UsageError as problem:
                pytest.exit(str(problem), returncode=2)

        yield submission_of


@pytest.fixture
def submission(
    request: pytest.FixtureRequest, _submissions: Callable[[str], Submission]
) -> Submission:
    """The program that is graded, and its two builds (forklab.build.Submission)."""
    return _submissions(_check_for(request).lab)


@pytest.fixture
def habits(request: pytest.FixtureRequest) -> Habits:
    """What the first checks learned about a strange program (forklab.launch.Habits)."""
    return request.config.stash[GRADING].habits[_check_for(request).lab]


@pytest.fixture
def launch(
    request: pytest.FixtureRequest, submission: Submission, habits: Habits
) -> Iterator[Launcher]:
    """Starts servers: ``launch.listening()``, ``launch.start(*arguments, port=...)``."""
    folder = submission.folder / _check_for(request).id
    with ExitStack() as stack:
        launcher = Launcher(submission, habits, folder, stack)
        yield launcher
    grading = request.config.stash[GRADING]
    grading.limits |= submission.limits_reached
    for one in launcher.servers:
        grading.limits |= one.limits_reached
    habits.restless |= any(one.restless for one in launcher.servers)
    habits.fidgets |= any(one.fidgets for one in launcher.servers)


@pytest.fixture
def server(launch: Launcher) -> Server:
    """A fresh server that listens (forklab.server.Server), gone after the check."""
    return launch.listening()


@pytest.fixture
def clients(server: Server, habits: Habits) -> Iterator[Clients]:
    """Connects clients to ``server`` (forklab.clients.Clients)."""
    with Clients(server, habits.greeting) as clients:
        yield clients


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Callable[[Evidence], None]:
    """``show(evidence)`` puts something into the report although the check passes."""
    shown: list[Evidence] = request.node.stash.setdefault(SHOWN, [])
    return shown.append
