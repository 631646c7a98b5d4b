"""Who does many gradings side by side, and on which processors."""

from __future__ import annotations

import os
import threading

import pytest

from forklab import graders


def processors_of(jobs: int, pinned: bool) -> list[set[int]]:
    """Where each of the threads may run that do the gradings."""
    all_there = threading.Barrier(jobs)

    def grade(_: int) -> set[int]:
        all_there.wait(30)  # no thread takes two
        return os.sched_getaffinity(0)

    with graders.here(jobs, pinned) as those:
        return list(those.executor.map(grade, range(jobs)))


@pytest.mark.parametrize("times", [1, 2])
def test_each_keeps_to_a_processor_of_its_own(times):
    """As long as there are others; then they share, evenly."""
    processors = sorted(os.sched_getaffinity(0))
    found = processors_of(times * len(processors), pinned=True)
    assert sorted(map(sorted, found)) == [[one] for one in sorted(processors * times)]
    assert os.sched_getaffinity(0) == set(processors)


def test_where_they_may_run_is_left_open(monkeypatch):
    processors = os.sched_getaffinity(0)
    assert processors_of(2, pinned=False) == [processors, processors]


def test_as_many_as_there_are_processors(monkeypatch):
    assert graders.usual_jobs() == len(os.sched_getaffinity(0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5})
    assert graders.usual_jobs() == 3
