"""The records of many gradings on disk: each is written as soon as it is there, and never lost.

``OUT/records/lab3/0.1.0-1a2b3c4d5e6f-<sha256 of the submission>.json`` is one record. Before the
submission's hash stand the kit's version and a hash of all that a verdict hangs on: the kit's code
and the options. So what is there for this name need not be graded again, and what was graded by
another kit is not taken for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from forklab import __version__, paths
from forklab.errors import UsageError
from forklab.limits import parse
from forklab.result import DOES_NOT_BUILD, GRADED, Result, write_atomically
from forklab.worker import Options

CLASS = "forklab/class/1"  # the schema of OUT/class.json: whose record is which

# What of forklab/ no verdict hangs on. A file that is not named here counts.
NO_MATTER = {
    *("batch.py", "bench.py", "bundles", "cli.py", "cluster.py", "compare.py", "draw"),
    *("gallery.py", "graders.py", "interrupts.py", "marks.py", "mutants.py", "play"),
    *("progress.py", "render", "soak.py", "store.py", "submissions.py", "trace", "unpack.py"),
    *("watch.py", "__main__.py", "__pycache__"),
}


# A file that a batch was just writing when it was killed (forklab.result.write_atomically).
RANDOM = "?" * 8
LEFT_BEHIND = [
    *(f".{name}.{RANDOM}" for name in ("class.json", "marks.csv", "junit.xml", "index.html")),
    *(f"records/lab*/.*.json.{RANDOM}", f"students/.*.html.{RANDOM}"),
]


def kit_of(options: Options) -> str:
    """What a record's name begins with: the kit's version, and a hash of what decides verdicts."""
    whole = hashlib.sha256()
    for file in _deciding_files():
        data = file.read_bytes()
        name = str(file.relative_to(paths.KIT)).encode()
        whole.update(b"%s %d " % (name, len(data)) + data)
    extra = hashlib.sha256(options.extra_checks).hexdigest()
    limits = asdict(replace(parse(options.limits), wall=0))  # that one decides no mark
    whole.update(json.dumps([limits, dict(options.weights), extra], sort_keys=True).encode())
    return f"{__version__}-{whole.hexdigest()[:12]}"


def _deciding_files() -> list[Path]:
    """The kit's files that verdicts hang on, sorted."""
    package = paths.HARNESS / "forklab"
    code = [
        file
        for top in package.iterdir()
        if top.name not in NO_MATTER
        for file in ([top] if top.is_file() else top.rglob("*"))
    ]
    tools = [*(paths.HARNESS / "keeper").iterdir(), *(paths.HARNESS / "probe").iterdir()]
    common = [*(paths.LABS / "common").iterdir(), *paths.STARTERS.iterdir()]
    files = [*code, *tools, *common, *paths.CHECKS.iterdir()]
    return sorted(file for file in files if file.suffix in (".py", ".toml", ".c", ".h"))


class Store:
    """The folder of a batch's outputs, held by this process alone. Made by :func:`opened`."""

    def __init__(self, out: Path, kit: str) -> None:
        self.out = out
        self.kit = kit

    @property
    def records(self) -> Path:
        return self.out / "records"

    def path_of(self, lab: str, key: str) -> Path:
        """Where the record of that submission is, or will be."""
        return self.records / lab / f"{self.kit}-{key}.json"

    def find(self, lab: str, key: str, source: bytes) -> Result | None:
        """The record of a submission, or None if it has to be graded.

        ``source`` is its server.c: a file that is broken, or about another one, is no record of it.
        """
        try:
            result = read_record(self.path_of(lab, key))
        except (OSError, ValueError):
            return None
        is_its_own = (result.lab, result.sha256) == (lab, hashlib.sha256(source).hexdigest())
        return result if is_its_own else None

    def put(self, lab: str, key: str, result: Result) -> None:
        """Writes a record: whole or not at all. Raises OSError."""
        path = self.path_of(lab, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, result.to_json())

    def set_aside(self, lab: str | None) -> Path | None:
        """Moves the records of that lab (None: of all) to a folder of their own.

        Returns that folder, OUT/records-before-<n>, or None if there were none.
        """
        labs = [self.records / lab] if lab else sorted(self.records.glob("lab*"))
        labs = [one for one in labs if one.is_dir() and any(one.iterdir())]
        if not labs:
            return None
        taken = [one.name.rpartition("-")[2] for one in self.out.glob("records-before-*")]
        number = 1 + max((int(one) for one in taken if one.isdecimal()), default=0)
        aside = self.out / f"records-before-{number}"
        aside.mkdir()
        for one in labs:
            one.rename(aside / one.name)
        return aside


def read_record(path: Path) -> Result:
    """A record that holds a mark. Raises OSError, and ValueError if it is something else."""
    try:
        result = Result.from_json(path.read_text(encoding="utf-8"))
        points = sum(check.points for check in result.checks)
        whole = sum(check.max_points for check in result.checks)
    except (TypeError, KeyError, AttributeError) as problem:
        raise ValueError(f"{path} is no record of a grading") from problem
    if result.verdict not in (GRADED, DOES_NOT_BUILD) or not result.checks:
        raise ValueError(f"{path} holds no mark")
    if (result.score, result.max_score) != (points, whole):
        raise ValueError(f"{path} does not add up")
    return result


@contextmanager
def opened(out: Path, kit: str) -> Iterator[Store]:
    """The store in ``out``, made if it isn't there, held until the context ends.

    Raises UsageError when another batch has it, or it can't be written to.
    """
    try:
        # Marks are nobody's business but the instructor's.
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        (out / "records").mkdir(exist_ok=True)
        lock = os.open(out / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise UsageError(f"cannot write to {out}/: {problem.strerror}") from problem
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UsageError(
            f"another batch is writing to {out}/. Wait for its end, or give another --out."
        ) from None
    try:
        for pattern in LEFT_BEHIND:
            for left in out.glob(pattern):
                with suppress(OSError):
                    left.unlink()
        yield Store(out, kit)
    finally:
        os.close(lock)
