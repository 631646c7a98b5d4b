"""Many gradings side by side: who does them, and what comes of each as soon as it is done.

They run on any ``concurrent.futures.Executor`` (:class:`Graders`): threads of this process, each
with a worker process of its own (:func:`here`), or a cluster's (forklab.cluster).
"""

from __future__ import annotations

import concurrent.futures
import os
import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TypeVar

from forklab import contain, worker
from forklab.errors import GraderError
from forklab.interrupts import Inbox
from forklab.result import Result
from forklab.worker import Task

Key = TypeVar("Key")  # whose task it is, as whoever asks for it says


@dataclass(frozen=True)
class Graders:
    """Who grades: an executor, which ``grade`` is submitted to."""

    executor: Executor
    in_flight: int  # tasks that it has at a time: enough to keep it busy, and no more in memory
    in_words: str  # "2 at a time"
    interrupt: Callable[[], None] = lambda: None  # makes what is under way end soon
    grade: Callable[[Task], str] = worker.grade  # what it does
    # Why there is no result, from what the executor raised. Raises GraderError or UsageError where
    # there would be none of the others either.
    explain: Callable[[Exception], str] = lambda problem: (
        f"the grading was lost: {str(problem) or type(problem).__name__}"
    )


def usual_jobs() -> int:
    """How many gradings side by side keep this machine busy: one for each processor."""
    return len(os.sched_getaffinity(0))


@contextmanager
def here(jobs: int | None = None, pinned: bool = False) -> Iterator[Graders]:
    """Threads of this process, with a worker process each; none is left afterwards.

    ``pinned``: each keeps to one processor with all that it starts, and no two to the same while
    there are others. Many gradings are done sooner so: server and clients are in turn anyway, and
    waking somebody on another processor takes longer.
    """
    jobs = jobs or usual_jobs()
    processors = sorted(os.sched_getaffinity(0))
    first = random.randrange(len(processors))  # another batch may run on this machine
    turns = cycle(processors[first:] + processors[:first])

    def take_processor() -> None:
        if pinned:  # this thread, and what it starts (sched_setaffinity(2))
            with suppress(OSError):  # it is only for speed
                os.sched_setaffinity(0, [next(turns)])

    try:
        with ThreadPoolExecutor(jobs, "grader", initializer=take_processor) as pool:
            yield Graders(pool, 2 * jobs, f"{jobs} at a time", worker.interrupt_all)
    finally:
        worker.end_all()


def grade_all(
    tasks: Iterable[tuple[Key, Task]],
    graders: Graders,
    inbox: Inbox[tuple[Key, Future[str] | Exception]],
) -> Generator[tuple[Key, Result | str], None, None]:
    """Each with its result, or why there is none, in the order in which they are done.

    Raises KeyboardInterrupt when ``inbox`` tells so. At its end nothing is under way any more; to
    be closed, if not taken to its end.
    """
    waiting = iter(tasks)
    running: set[Future[str]] = set()

    def submit(key: Key, task: Task) -> None:
        try:
            future = graders.executor.submit(graders.grade, task)
        except Exception as problem:  # the executor is broken
            broken = problem
            inbox.put(lambda: (key, broken))
        else:
            running.add(future)
            future.add_done_callback(lambda done: inbox.put(lambda: (key, done)))

    def submit_next(how_many: int) -> int:
        """Returns how many there were."""
        some = list(islice(waiting, how_many))
        for key, task in some:
            submit(key, task)
        return len(some)

    under_way = submit_next(graders.in_flight)
    try:
        while under_way:
            key, done = inbox.take()
            under_way -= 1
            if isinstance(done, Future):
                running.discard(done)
            under_way += submit_next(1)
            yield key, _judged(done, graders)
    finally:
        _abandon(running, graders)


def _judged(done: Future[str] | Exception, graders: Graders) -> Result | str:
    """The result of one grading, or why there is none."""
    try:
        if isinstance(done, Exception):
            raise done
        return Result.from_json(done.result())
    except GraderError as problem:
        return str(problem)
    except Exception as problem:  # of the executor: a machine is gone, a task can't be sent
        return graders.explain(problem)


def _abandon(running: Iterable[Future[str]], graders: Graders) -> None:
    """Waits until those are over, and makes it soon."""
    left = [one for one in running if not one.cancel()]
    deadline = time.monotonic() + contain.SETTLE_SECONDS
    while left and time.monotonic() < deadline:
        graders.interrupt()
        left = list(concurrent.futures.wait(left, timeout=0.1).not_done)
