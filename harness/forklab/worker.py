"""Grading one submission after another, each in a process of its own that starts in no time.

A worker process (the hidden command ``forklab worker``) imports pytest and the checks once. For
each task it forks a child, which grades one submission and ends: no submission touches the next.
:func:`grade` is the other side. It runs on any thread of any machine, and each thread has a worker
process, started when first needed.

The two talk over a socket, a JSON object a line. The first line to the worker is the options, which
it answers when it is ready; then follow tasks, one at a time. When the other side closes the socket
or dies, the worker ends at once: it kills the child, and waits until all that came of it is gone.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from forklab import contain, limits, paths, tiers
from forklab.contain import Exit
from forklab.errors import GraderError, UsageError
from forklab.server import empty_spare_files, slowness, spare_files

if TYPE_CHECKING:
    import pytest

    from forklab.plugin import Grading

# A grading that comes to the limit of wall time says so itself, with its next check: one that is
# still there so many times later hangs.
PATIENCE = 1.25
START_SECONDS = 120.0  # until a worker is ready, on a machine of usual speed
SPARE_FILES = 32  # what a check's servers print to, two each
MOST_DESCRIPTORS = 500  # as a rule
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


@dataclass(frozen=True)
class Options:
    """How to grade: the same for all submissions of a batch. Small, and can be pickled."""

    limits: Sequence[str] = ()  # those that differ: "processes=128", see forklab.limits.parse
    weights: Mapping[str, int] = field(default_factory=dict)  # points that differ, by check
    extra_checks: bytes = b""  # an instructor's own checks: forklab.own.pack
    tier: str = ""  # or "best": the strongest there is; "": what everybody's own program gets
    trusted: bool = False  # also on tier "process", where nothing keeps submissions apart


@dataclass(frozen=True)
class Task:
    """One submission to grade. It travels as bytes, so no folder need be shared."""

    lab: str  # "lab3"
    files: Mapping[str, bytes]  # "server.c" and headers
    shown_as: str  # what the record's field "submission" says
    options: Options = field(default_factory=Options)


def grade(task: Task) -> str:
    """The record of one grading, as JSON.

    Raises GraderError where there is none: the grader could not do its part, the worker was killed,
    or the grading hung (and was ended long after its wall limit, with all that it had started).
    """
    worker: _Worker | None = getattr(_of_thread, "worker", None)
    if worker is None or worker.options != task.options or worker.has_ended:
        if worker is not None:
            worker.end()
        worker = _of_thread.worker = _Worker(task.options)
    seconds = PATIENCE * limits.parse(task.options.limits).wall * slowness()
    answer = worker.ask(_in_json(task), seconds, f"grading took longer than {seconds:.0f} s")
    if "problem" in answer:
        raise GraderError(answer["problem"])
    return str(answer["record"])


def choose_tier(name: str, trusted: bool) -> str:
    """Takes a tier for all that this process starts from now on; returns its name.

    ``name``, ``trusted``: as in Options. Raises UsageError where it can't, or shouldn't, be had.
    """
    chosen = tiers.choose(name) if name else tiers.tier()
    if chosen == tiers.PROCESS and not trusted:
        raise UsageError(
            "on this machine a submission could read, change and kill whatever you can (tier "
            "process). Install bubblewrap or grade as root; or give --trust-submissions (make: "
            "TRUST=1) if you know the programs."
        )
    return chosen


def interrupt_all() -> None:
    """Makes every worker of this process end: whoever waits for one gets a GraderError."""
    for worker in list(_workers):
        worker.let_go()


def end_all() -> None:
    """Ends every worker of this process. No thread may be using one."""
    for worker in list(_workers):
        worker.end()


_of_thread = threading.local()
_workers: set[_Worker] = set()


class _Worker:
    """A worker process, seen from the thread that it works for."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    _command(options.tier, options.trusted),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._complaints,
                    start_new_session=True,  # Ctrl-C is for us, who then let go of it
                )
        except OSError as problem:
            self._socket.close()
            self._complaints.close()
            raise GraderError(f"cannot start a worker: {problem.strerror}") from problem
        _workers.add(self)
        ready = self.ask(
            {**asdict(options), "extra_checks": _text(options.extra_checks)},
            START_SECONDS * slowness(),
            "a worker did not get ready",
        )
        if "problem" in ready:
            self.end()
            raise GraderError(ready["problem"])
        self.pid = int(ready["pid"])  # not _process's: see serve

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def ask(self, message: Mapping[str, Any], seconds: float, too_long: str) -> dict[str, Any]:
        """The answer to a message. Raises GraderError, and ends the worker, if there is none."""
        deadline = time.monotonic() + seconds
        data = bytearray()
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(json.dumps(message).encode() + b"\n")
            while not data.endswith(b"\n"):
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                more = self._socket.recv(1 << 20)
                if not more:
                    raise ConnectionError
                data += more
            answer: dict[str, Any] = json.loads(data)
        except TimeoutError:
            self.end()
            raise GraderError(f"{too_long} and was stopped") from None
        except OSError:
            self.let_go()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(contain.SETTLE_SECONDS)
            raise GraderError(f"a worker of the grader ended: {self._last_words()}") from None
        finally:
            if not data.endswith(b"\n"):
                self.end()
        return answer

    def _last_words(self) -> str:
        """How it ended and the last line of its complaints."""
        status = self._process.poll()
        if status is None:
            return "it hangs"
        if status <= 0 or self._complaints.closed:
            return str(_exit(status))
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").splitlines() or [""]
        return f"{_exit(status)}. {said[-1]}".rstrip()

    def let_go(self) -> None:
        """Makes it end. May be called from any thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def end(self) -> None:
        """Ends it and waits until it has: then all that it had started is gone as well."""
        self.let_go()
        try:
            self._process.wait(contain.SETTLE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._socket.close()
        self._complaints.close()
        _workers.discard(self)


def _exit(code: int) -> Exit:
    """How a process ended, from what Python makes of its status."""
    return Exit(None, -code) if code < 0 else Exit(code, None)


def _in_json(task: Task) -> dict[str, Any]:
    files = {name: _text(data) for name, data in task.files.items()}
    return {"lab": task.lab, "shown_as": task.shown_as, "files": files}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _command(tier: str, trusted: bool) -> list[str]:
    command = [sys.executable, "-P", "-m", "forklab", "worker", "--tier", tier]
    return command + ["--trusted"] * trusted


# The worker process --------------------------------------------------------------------------


def serve(tier: str, trusted: bool) -> int:
    """What ``forklab worker`` does: grades what it is told to, until stdin's other side is closed.

    Returns an exit status.
    """
    # A signal to the whole group, such as a batch system's, must not stop the cleaning up.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # what is between us and our client keeps it so
    problem, pid = "", os.getpid()
    try:
        if choose_tier(tier, trusted) == tiers.BWRAP:
            tiers.leave_network()
            pid = tiers.leave_processes()
    except (GraderError, UsageError) as refusal:
        problem = str(refusal)
    # Keepers of a killed child become ours to wait for.
    tiers.system_call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    client = _Client(pid)
    # Nothing else may read from the socket, or write to it.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    options = client.next_request()
    if options is None:
        return 0
    try:
        if problem:
            raise UsageError(problem)
        limits.set_usual(limits.parse(options["limits"]))
        with contain.run_folder(pid) as folder:
            _get_ready(folder)
            _serve(client, options, folder)
    except (GraderError, UsageError) as refusal:
        client.answer({"problem": str(refusal)})
        return 4
    return 0


def _get_ready(folder: Path) -> None:
    """Does what every grading would have to do first, here where it is done once."""
    slowness()
    with open(os.devnull, "wb") as file:
        nothing = file.fileno()  # compiles the keeper, and finds out what the machine has:
        contain.start(["/bin/true"], cwd=folder, env={}, stdout=nothing, stderr=nothing).end()
    spare_files(folder, SPARE_FILES)


def _serve(client: _Client, options: Mapping[str, Any], folder: Path) -> None:
    from forklab import checking, own
    from forklab.plugin import Grading

    extra = None
    if options["extra_checks"]:
        extra = own.load(own.unpack(base64.b64decode(options["extra_checks"]), folder / "own"))
    new_grading = partial(Grading, own=extra, weights=options["weights"])
    checks = [paths.CHECKS / f"test_{lab}.py" for lab in paths.LAB_FOLDERS]
    checking.run(checks, [Serving(client, new_grading), new_grading()])


class _Client:
    """The other side of our socket, which is our stdin as well as our stdout."""

    def __init__(self, our_pid: int) -> None:
        self.our_pid = our_pid  # as it knows us
        self._socket = socket.socket(fileno=os.dup(0))
        self._lines = self._socket.makefile("rb")

    def fileno(self) -> int:
        """For select: readable, while a task is under way, means that the other side is gone."""
        return self._socket.fileno()

    def next_request(self) -> dict[str, Any] | None:
        """Waits for it. None: the other side is gone."""
        with suppress(OSError):
            line = self._lines.readline()
            if line.endswith(b"\n"):
                request: dict[str, Any] = json.loads(line)
                return request
        return None

    def answer(self, answer: Mapping[str, Any]) -> None:
        with suppress(OSError):  # gone: the next request will not come
            self._socket.sendall(json.dumps(answer).encode() + b"\n")

    def close(self) -> None:
        """In a forked child, whose business it isn't."""
        self._lines.close()
        self._socket.close()


class Serving:
    """A pytest plugin: when the checks are collected, it has children run them for each task."""

    def __init__(self, client: _Client, new_grading: Callable[..., Grading]) -> None:
        self._client = client
        self._new_grading = new_grading

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of pytest's own loop. True: done, by a hook's rules."""
        from forklab import rubric
        from forklab.lessons import traffic

        # What is made or looked up once, then remembered.
        rubric.diagnoses()
        size = traffic.long_stream_size()
        traffic.long_text(size)
        traffic.long_text(size, traffic.LONG_LINE)
        traffic.random_bytes(traffic.MANY_BYTES)
        for item in session.items:
            item.location  # noqa: B018
        gc.collect()
        gc.freeze()  # children then don't copy what they only look at
        self._client.answer({"pid": self._client.our_pid})
        while (request := self._client.next_request()) is not None:
            answer = self._grade_in_child(request, session)
            if answer is None:
                break
            self._client.answer(answer)
        return True

    def _grade_in_child(
        self, request: Mapping[str, Any], session: pytest.Session
    ) -> dict[str, Any] | None:
        """The answer to one request; None if nobody waits for it any more."""
        try:
            with contain.run_folder(self._client.our_pid) as folder:
                ours, theirs = os.pipe()
                worker = os.getpid()
                child = os.fork()
                if child == 0:
                    self._be_the_child(request, session, folder, theirs, worker)
                with suppress(OSError):  # it does the same: who comes first
                    os.setpgid(child, child)
                os.close(theirs)
                try:
                    said = _listen(ours, self._client.fileno())
                    if said is None:
                        return None
                    _, status = os.waitpid(child, 0)
                finally:
                    os.close(ours)
                    with suppress(ProcessLookupError):
                        os.killpg(child, signal.SIGKILL)
                    contain.end_all()  # waits until what it had started is gone: see the keeper
                    empty_spare_files()
        except GraderError as problem:
            return {"problem": str(problem)}
        except OSError as problem:
            return {"problem": f"the grader could not start a grading: {problem.strerror}"}
        try:
            answer: dict[str, Any] = json.loads(said)
        except ValueError:
            how = _exit(os.waitstatus_to_exitcode(status))
            return {"problem": f"the process that graded it ended: {how}"}
        return answer

    def _be_the_child(
        self,
        request: Mapping[str, Any],
        session: pytest.Session,
        folder: Path,
        pipe: int,
        worker: int,
    ) -> NoReturn:
        """Grades, writes the answer, and ends this process."""
        try:
            tiers.system_call("prctl", tiers.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != worker:  # it died just before
                os._exit(1)
            os.setpgid(0, 0)
            self._client.close()
            gc.disable()  # there is no half second's worth of garbage
            try:
                tiers.renew_network()
                _make_room_for_descriptors()
                answer = {"record": self._graded(request, session, folder)}
            except GraderError as problem:
                answer = {"problem": str(problem)}
            except BaseException as problem:
                answer = {"problem": f"the grader went wrong: {problem!r}"}
            with open(pipe, "wb", closefd=False) as file:
                file.write(json.dumps(answer).encode())
        finally:
            os._exit(0)

    def _graded(self, request: Mapping[str, Any], session: pytest.Session, folder: Path) -> str:
        """The record of a submission, graded here and now."""
        from forklab import checking
        from forklab.build import Submission
        from forklab.plugin import GRADING, check_of

        lab, place = request["lab"], folder / "submitted"
        if lab not in paths.LAB_FOLDERS:
            raise GraderError(f"this copy of the kit has no lab {lab!r}")
        place.mkdir(mode=0o700)
        for name, data in _files(request["files"]):
            (place / name).write_bytes(data)
        with Submission(lab, place / "server.c", folder) as submission:
            grading = self._new_grading(submission=submission)
            plugins = session.config.pluginmanager
            plugins.unregister(session.config.stash[GRADING])
            plugins.register(grading)
            session.config.stash[GRADING] = grading
            checks = ((item, check_of(item)) for item in session.items)
            items = [item for item, check in checks if check and check.lab == lab]
            grading.pytest_collection_modifyitems(items)
            for item, following in zip(items, [*items[1:], None], strict=True):
                item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            return checking.record(grading, request["shown_as"]).to_json()


def _make_room_for_descriptors() -> None:
    """Has the kernel make the table of descriptors as large as it will be.

    While there is one thread: with several, it takes milliseconds each time that it grows.
    """
    with suppress(OSError):  # fewer are allowed
        os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, MOST_DESCRIPTORS))


def _listen(pipe: int, client: int) -> bytes | None:
    """All that a child writes, until its end; None if the client is gone before."""
    said = bytearray()
    while True:
        readable, _, _ = select.select([pipe, client], [], [])
        if pipe not in readable:
            return None
        data = os.read(pipe, 1 << 20)
        if not data:
            return bytes(said)
        said += data


def _files(coded: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """The files of a task. Raises GraderError if they can't be such."""
    if "server.c" not in coded:
        raise GraderError("a task without a server.c")
    for name, text in coded.items():
        if name != Path(name).name or name in ("", ".", "..") or "\0" in name:
            raise GraderError(f"not the name of a file: {name!r}")
        try:
            yield name, base64.b64decode(text, validate=True)
        except binascii.Error as problem:
            raise GraderError(f"{name} came broken to a worker: {problem}") from problem
