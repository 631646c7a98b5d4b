"""A batch on many machines, by Dask distributed (the extra ``cluster``).

Each machine has a clone of the kit and runs a Dask worker from its .venv. Submissions travel to
them as bytes, records come back as text, so no folder is shared. On a machine, each thread of the
Dask worker has a worker process of its own (forklab.worker), as the threads of a local batch have;
when the Dask worker ends, in whatever way, those end in good order.

What happens to a grading when its machine is lost is Dask's business: it goes elsewhere. What can't
be mended so ends the batch with a sentence: no scheduler, no worker, a worker with another kit.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from forklab import contain, store, tiers, worker
from forklab.errors import GraderError, UsageError
from forklab.graders import Graders
from forklab.worker import Options, Task

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_SECONDS = 15.0
LOOK_SECONDS = 1.0  # between two looks at what has become of the cluster
NO_WORKER_SECONDS = 60.0  # a worker that its nanny starts again is there long before
GO_ON = "What is graded is kept: the same command goes on from there."
INSTALL = {
    True: ".venv/bin/python -m pip install --require-hashes -r harness/requirements-cluster.lock",
    False: "sudo apt-get install python3-distributed",  # .venv has the distribution's packages
}


# On the machines of the cluster --------------------------------------------------------------


def grade(kit: str, task: Task) -> str:
    """As forklab.worker.grade. Raises UsageError if this machine can't grade for that kit."""
    reason = unfit(kit, task.options)
    if reason:
        raise UsageError(f"A worker on {socket.gethostname()} {reason}. {GO_ON}")
    return worker.grade(task)


def unfit(kit: str, options: Options) -> str:
    """Why this machine can't grade for a batch with that kit; "" if it can."""
    if kit_here() != kit:
        return f"has another version of the kit ({kit_here()}, and here it is {kit})"
    if store.kit_of(Options()) != kit:
        return "was started before its kit was changed: start it again"
    tier = options.tier
    if tier == "best":
        tier = next(iter(tiers.available()), tiers.PROCESS)
    if tier not in tiers.available():
        return f"can't have tier {tier}"
    if tier == tiers.PROCESS and not options.trusted:
        return "would let a submission do what its user can (tier process): install bubblewrap"
    try:
        contain.compiler()
    except GraderError as problem:
        return f"can't compile: {problem}"
    return ""


@functools.cache
def kit_here() -> str:
    """The kit of this process: what was on disk when it first asked, which is what it runs."""
    return store.kit_of(Options())


# On the instructor's -------------------------------------------------------------------------


@contextmanager
def graders(url: str, options: Options, tls: Mapping[str, Path] | None = None) -> Iterator[Graders]:
    """Those of the cluster whose scheduler is at ``url``: tcp://host:port, or tls://host:port.

    ``tls``: the files "ca", "cert" and "key"; without them, what Dask's own configuration says.
    Raises UsageError where a worker can't grade for us, GraderError where there is no cluster.
    """
    security = _security(url, tls or {})
    logging.disable()  # what goes wrong is told in a sentence of ours, not in Dask's tracebacks
    client = None
    try:
        client = _connected(url, security)
        try:
            threads = _expect_workers(client, url, options)
        except OSError as problem:
            raise GraderError(f"the connection to the scheduler at {url} broke") from problem
        with _Cluster(client, url) as executor:
            workers = "1 worker" if len(threads) == 1 else f"{len(threads)} workers"
            side_by_side = sum(threads.values())
            yield Graders(
                executor,
                2 * side_by_side,
                f"{side_by_side} at a time on {workers} of {url}",
                grade=partial(grade, kit_here()),
                explain=executor.explain,
            )
    finally:
        if client is not None:
            with suppress(Exception):  # it may be closed already, or its scheduler gone
                client.close(timeout=CONNECT_SECONDS)
        logging.disable(logging.NOTSET)


def _connected(url: str, security: Any) -> Any:
    """A distributed.Client. Raises GraderError."""
    from distributed import Client

    try:
        return Client(url, security=security, timeout=CONNECT_SECONDS, set_as_default=False)
    except Exception as problem:  # OSError, ssl's, what another version's protocol leads to
        certified = ", and are all certificates of one authority" * url.startswith("tls")
        raise GraderError(
            f"no scheduler can be reached at {url}: {problem}. Is it running, and with the same "
            f"version of Dask distributed{certified}?"
        ) from problem


def _security(url: str, tls: Mapping[str, Path]) -> Any:
    """A distributed.Security. Raises UsageError, and GraderError where Dask isn't installed."""
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in ("tcp", "tls"):
        raise UsageError(f"not tcp://host:port or tls://host:port: {url}")
    if tls and (scheme == "tcp" or set(tls) != {"ca", "cert", "key"}):
        raise UsageError(
            "--tls-ca-file, --tls-cert and --tls-key go together, with --cluster tls://"
        )
    for file in tls.values():
        if not file.is_file():
            raise UsageError(f"there is no file {file}")
    try:
        from distributed import Security
    except ModuleNotFoundError:
        install = INSTALL[importlib.util.find_spec("pip") is not None]
        raise GraderError(
            f"--cluster needs Dask distributed, here and on each machine. Type: {install}"
        ) from None
    if scheme == "tls" and not tls and not Security().tls_ca_file:
        raise UsageError("--cluster tls:// needs --tls-ca-file, --tls-cert and --tls-key")
    if not tls:
        return None
    return Security(
        require_encryption=True,
        tls_ca_file=str(tls["ca"]),
        tls_client_cert=str(tls["cert"]),
        tls_client_key=str(tls["key"]),
    )


def _expect_workers(client: Any, url: str, options: Options) -> dict[str, int]:
    """The threads of each worker. Raises GraderError if there is none, UsageError if one can't."""
    try:
        client.run_on_scheduler(kit_here)  # what it passes on, it must be able to read
    except (ImportError, AttributeError) as problem:
        raise UsageError(f"the scheduler at {url} has no such kit: {problem}") from problem
    threads: dict[str, int] = client.nthreads()
    if not threads:
        raise GraderError(f"the cluster at {url} has no worker: start one, then the same command.")
    said = client.run(unfit, kit_here(), options, on_error="return")
    reasons = {
        address: f"has no such kit: {reason}" if isinstance(reason, Exception) else reason
        for address, reason in said.items()
    }
    lines = [f"The worker {address} {reason}." for address, reason in reasons.items() if reason]
    if lines:
        raise UsageError("\n".join(["not every worker can grade for this batch.", *lines]))
    return threads


class _Cluster(Executor):
    """Dask's executor, which never tells when nobody is left that could do the work: this one does.

    Then every grading that is under way is cancelled, and :meth:`explain` says why.
    """

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url
        self._executor = client.get_executor(pure=False)
        # Another one means that the scheduler has forgotten what it had of us.
        self._connection = client.scheduler_comm
        self._last_worker = time.monotonic()
        self._over = threading.Event()
        self._lock = threading.Lock()  # after _problem is set, nothing is submitted
        self._problem = ""
        self._watch = threading.Thread(target=self._look, name="cluster", daemon=True)

    def __enter__(self) -> _Cluster:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        with self._lock:
            if self._problem:
                raise RuntimeError("shut down")  # see explain
            future: Future[T] = self._executor.submit(fn, *args, **kwargs)
            return future

    def explain(self, problem: Exception) -> str:
        """Why a grading was lost. Raises GraderError or UsageError if all others will be, too."""
        from distributed import KilledWorker

        if isinstance(problem, UsageError):
            raise problem
        if self._problem:
            raise GraderError(self._problem)
        if isinstance(problem, KilledWorker):
            last = problem.last_worker.address
            return f"each worker of the cluster that graded it was lost; the last was {last}"
        return f"the grading was lost: {str(problem) or type(problem).__name__}"

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            problem = self._what_is_wrong()
            if problem:
                with self._lock:
                    self._problem = f"{problem}. {GO_ON}"
                with suppress(Exception):
                    self._client.close(timeout=CONNECT_SECONDS)  # cancels all that is under way
                return

    def _what_is_wrong(self) -> str:
        if self._client.status != "running" or self._client.scheduler_comm is not self._connection:
            return f"the connection to the scheduler at {self._url} broke"
        with suppress(Exception):  # it broke just now: seen at the next look
            if self._client.nthreads():
                self._last_worker = time.monotonic()
        if time.monotonic() - self._last_worker > NO_WORKER_SECONDS:
            return f"the cluster at {self._url} has had no worker for {NO_WORKER_SECONDS:.0f} s"
        return ""
