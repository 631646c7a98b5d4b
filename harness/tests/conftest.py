"""Fixtures of several test files."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from forklab import contain, rubric, server, tiers
from forklab.contain import Contained
from forklab.limits import Limits
from tests.support import compile_c, copy_kit, running

ACTOR = Path(__file__).with_name("actor.c")


# What is set up once for many tests: these stay in one process of pytest-xdist's.
TOGETHER = (
    *("test_docs.py::TestTheSite", "test_docs_browser.py", "test_hostile.py::test_hostile_pr"),
    *("test_rehearsal.py", "test_render_browser.py", "test_trace_browser.py"),
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each test goes wherever there is time for it, but for those that stay together."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return next((one for one in TOGETHER if one in nodeid), nodeid)

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def shared_folder() -> Iterator[Path]:
    """A folder whose files contained processes can run, whoever they run as."""
    with contain.run_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def actor(shared_folder: Path) -> Path:
    """The compiled actor.c."""
    return compile_c(ACTOR.read_text(), shared_folder / "actor", "-pthread")


@pytest.fixture
def mark() -> Iterator[str]:
    """A word for the command lines of what a test starts. None of it may be left at the end."""
    word = f"mark-{uuid.uuid4()}"
    yield word
    left = running(word)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert left == {}


Play = Callable[..., Contained]


@pytest.fixture(autouse=True)
def its_tier_is_forgotten() -> Iterator[None]:
    """The tier that a test chose is not the next one's."""
    usual = tiers._chosen
    yield
    tiers._chosen = usual


@pytest.fixture(autouse=True)
def own_diagnoses_are_forgotten() -> Iterator[None]:
    """What a test adds to the catalogue (forklab.own) is not the next one's."""
    known = set(rubric.diagnoses())
    yield
    if set(rubric.diagnoses()) != known:
        rubric.diagnoses.cache_clear()


@pytest.fixture
def out(shared_folder: Path, tmp_path: Path) -> Path:
    """The file that the actors of ``play`` write to."""
    return tmp_path / "out"


@pytest.fixture
def play(actor: Path, shared_folder: Path, mark: str, out: Path) -> Iterator[Play]:
    """``play(role, argument, ...)`` starts a contained actor."""
    with ExitStack() as stack:

        def start(*words: str, limits: Limits | None = None) -> Contained:
            with out.open("ab") as file:
                contained = contain.start(
                    [actor, *words, mark],
                    cwd=shared_folder,
                    env={},
                    stdout=file.fileno(),
                    stderr=file.fileno(),
                    limits=limits,
                )
            return stack.enter_context(contained)

        yield start


@pytest.fixture
def serve(actor: Path, shared_folder: Path, mark: str) -> Iterator[Callable[..., server.Server]]:
    """``serve(role, argument, ...)`` is a Server that plays it; "PORT" stands for its port."""
    with ExitStack() as stack:

        def start(*words: str) -> server.Server:
            port = stack.enter_context(server.reserve_port())
            arguments = [word.replace("PORT", str(port)) for word in words]
            folder = shared_folder / f"server-{next(_numbers)}"
            made = server.Server(actor, [*arguments, mark], port, folder)
            return stack.enter_context(made)

        yield start


_numbers = itertools.count()


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Path]:
    """A copy of the kit to write into."""
    kit = copy_kit(tmp_path)
    yield kit
    shutil.rmtree(kit)
