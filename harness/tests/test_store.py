"""The records on disk: what is one and what isn't, what they are named after, who may write."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forklab import paths, store
from forklab.errors import UsageError
from forklab.result import Result
from forklab.store import Store
from forklab.worker import Options
from tests import records
from tests.support import environment

SOURCE = b"int main(void) { return 0; }\n"
KEY = "5f" * 32


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Store]:
    with store.opened(tmp_path / "grades", "0.1.0-abc") as opened:
        yield opened


def record(**more: Any) -> Result:
    return records.result(records.check("4.1"), sha256=hashlib.sha256(SOURCE).hexdigest(), **more)


def test_what_was_put_is_found(kept):
    kept.put("lab4", KEY, record())
    assert kept.find("lab4", KEY, SOURCE) == record()
    assert kept.path_of("lab4", KEY) == kept.out / "records" / "lab4" / f"0.1.0-abc-{KEY}.json"
    assert [one.name for one in kept.path_of("lab4", KEY).parent.iterdir()] == [
        kept.path_of("lab4", KEY).name
    ]


def test_what_is_of_another_is_not(kept):
    kept.put("lab4", KEY, record())
    assert kept.find("lab3", KEY, SOURCE) is None
    assert kept.find("lab4", "77" * 32, SOURCE) is None
    assert kept.find("lab4", KEY, SOURCE + b"\n") is None  # a record under a name not its own
    assert Store(kept.out, "0.1.0-def").find("lab4", KEY, SOURCE) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"schema": "forklab/result/1"}',
        '{"schema": "forklab/result/2"}',
        record().to_json()[:-20],
        record().to_json().replace('"checks"', '"cheques"'),
        record(score=100, max_score=100).to_json(),  # not the sum of its points
        record(lab="lab3").to_json(),
        records.unjudged().to_json(),
        replace(record(), checks=[], score=0, max_score=0).to_json(),
        "\udcff",
    ],
)
def test_what_is_no_record_of_a_mark_is_graded_anew(kept, text):
    path = kept.path_of("lab4", KEY)
    path.parent.mkdir(parents=True)
    path.write_text(text, errors="surrogateescape")
    assert kept.find("lab4", KEY, SOURCE) is None


def test_the_kit_and_what_changes_marks_are_in_the_name():
    usual = store.kit_of(Options())
    assert usual == store.kit_of(Options(limits=("processes=64", "wall=10"), tier="uid"))
    others = [
        Options(weights={"4.1": 7}),
        Options(weights={"4.1": 8}),
        Options(limits=("processes=65",)),
        Options(extra_checks=b"zip"),
    ]
    assert len({usual, *map(store.kit_of, others)}) == 5


def test_what_decides_verdicts():
    files = {str(one.relative_to(paths.HARNESS.parent)) for one in store._deciding_files()}
    assert files >= {
        "harness/checks/test_lab1.py",
        "harness/forklab/diagnoses.toml",
        "harness/forklab/lessons/survival.py",
        "harness/forklab/limits.py",
        "harness/forklab/worker.py",
        "harness/keeper/keeper.c",
        "harness/probe/probe.c",
        "labs/common/net.c",
    }
    assert not files & {"harness/forklab/batch.py", "harness/forklab/render/html.py"}
    assert not [one for one in files if "__pycache__" in one]
    there = {one.name for one in (paths.HARNESS / "forklab").iterdir()}
    assert store.NO_MATTER - {"__pycache__"} <= there


def test_one_batch_at_a_time(kept):
    other = store.opened(kept.out, "0.1.0-abc")
    with pytest.raises(UsageError, match="another batch is writing to"), other:
        pytest.fail("two have it")


def test_a_killed_batch_holds_it_no_longer(tmp_path):
    text = "from pathlib import Path; from forklab import store\n"
    text += f"with store.opened(Path({str(tmp_path)!r}), 'kit'): print('has it'); input()"
    command = [sys.executable, "-u", "-c", text]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(), stdin=pipe, stdout=pipe) as other:
        assert other.stdout
        assert other.stdout.readline() == b"has it\n"
        with pytest.raises(UsageError, match="another batch"), store.opened(tmp_path, "kit"):
            pytest.fail("two have it")
        other.send_signal(signal.SIGKILL)
    with store.opened(tmp_path, "kit") as opened:
        assert opened.records.is_dir()


def test_marks_are_for_their_owner_only(kept):
    assert os.stat(kept.out).st_mode & 0o777 == 0o700


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    nowhere = store.opened(tmp_path / "file", "kit")
    with pytest.raises(UsageError, match=r"cannot write to .*file"), nowhere:
        pytest.fail("it is a file")


def test_half_written_files_of_a_killed_batch_go(tmp_path):
    left = [
        ".marks.csv.ab_12345",
        "records/lab4/.kit.json.12345678",
        "students/.k.html.zzzzzzzz",
    ]
    stays = [".marks.csv.bak", "notes.txt", "records/lab4/mine.json", ".index.html"]
    for name in left + stays:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    with store.opened(tmp_path, "kit"):
        assert [name for name in left + stays if (tmp_path / name).exists()] == stays


def test_records_are_set_aside(kept):
    assert kept.set_aside(None) is None
    for lab in ("lab3", "lab4"):
        kept.put(lab, KEY, record(lab=lab))
    assert kept.set_aside("lab4") == kept.out / "records-before-1"
    assert kept.find("lab4", KEY, SOURCE) is None
    assert kept.find("lab3", KEY, SOURCE) is not None
    assert kept.set_aside("lab4") is None
    kept.put("lab4", KEY, record())
    assert kept.set_aside(None) == kept.out / "records-before-2"
    aside = sorted(str(one.relative_to(kept.out)) for one in kept.out.glob("records-*/lab*/*"))
    name = f"0.1.0-abc-{KEY}.json"
    assert aside == [
        f"records-before-1/lab4/{name}",
        f"records-before-2/lab3/{name}",
        f"records-before-2/lab4/{name}",
    ]
