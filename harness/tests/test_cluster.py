"""A batch on a cluster: a real scheduler and real workers, some of which die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from forklab import cluster, gallery, paths, tiers
from forklab.cluster import grade, graders, kit_here
from forklab.errors import GraderError, UsageError
from forklab.worker import Options, Task
from tests.support import COMMAND, DEADLINE, environment, forklab, running, wait_until

OPTIONS = Options(tier="best", trusted=True)
TASK = Task("lab1", {"server.c": b""}, "kim", OPTIONS)
TRUST = "--trust-submissions"  # whatever tier this machine has
LONG = 5 * DEADLINE
EXHIBITS = [gallery.reference("lab1"), *gallery.mutants("lab1")[:7]]


class Machines:
    """A scheduler and its workers, as processes of this machine."""

    def __init__(self, folder: Path, tls: Sequence[str | Path] = ()) -> None:
        self._folder = folder
        self._tls = tls
        self._stack = ExitStack()
        scheme, file = "tls" if tls else "tcp", folder / "scheduler.json"
        host = f"{scheme}://127.0.0.1"
        self.scheduler, _ = self._start(
            "scheduler", "--host", host, "--port", "0", "--scheduler-file", file
        )
        wait_until(lambda: file.exists() and file.read_text(), "the scheduler")
        self.url = str(json.loads(file.read_text())["address"])
        self._host = host
        self.workers: list[subprocess.Popen[bytes]] = []

    def have_workers(self, count: int) -> None:
        """Starts as many as are missing."""
        started = []
        for _ in range(count - len(self.workers)):
            words = [self.url, "--host", self._host, "--nthreads", "1", "--no-nanny"]
            scratch = self._folder / f"scratch-{os.urandom(4).hex()}"
            started.append(self._start("worker", *words, "--local-directory", scratch))
        for process, log in started:
            wait_until(partial(_has_registered, log), "a worker")
            self.workers.append(process)

    def _start(self, what: str, *words: str | Path) -> tuple[subprocess.Popen[bytes], Path]:
        log = self._folder / f"{what}-{os.urandom(4).hex()}.log"
        more = (*words, "--dashboard-address", "127.0.0.1:0", *self._tls)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"distributed.cli.dask_{what}", *map(str, more)],
                env=environment(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1"),
                cwd=self._folder,
                stdout=file,
                stderr=file,
            )
        self._stack.callback(_kill, process)  # the last first: workers before their scheduler
        return process, log

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _has_registered(log: Path) -> bool:
    return b"Registered to" in log.read_bytes()


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> list[str | Path]:
    """The options of a scheduler, a worker and a batch: its certificates are the page's."""
    pytest.importorskip("distributed", reason=SKIPPED)
    folder = tmp_path_factory.mktemp("tls")
    page = (paths.KIT / "docs" / "cluster.md").read_text(encoding="utf-8")
    commands = [line.strip() for line in page.splitlines() if line.startswith("    openssl ")]
    assert len(commands) == 3
    subprocess.run(["sh", "-ec", "\n".join(commands)], cwd=folder, check=True, capture_output=True)
    files = ["--tls-ca-file", folder / "ca.pem", "--tls-cert", folder / "cert.pem"]
    return [*files, "--tls-key", folder / "key.pem"]


SKIPPED = "Dask distributed is not installed: pip install distributed, or apt python3-distributed"


@pytest.fixture(scope="module")
def machines(tmp_path_factory, tls) -> Iterator[Machines]:
    with Machines(tmp_path_factory.mktemp("machines"), tls) as some:
        yield some


@pytest.fixture(scope="module")
def submissions(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("submissions")
    for number, exhibit in enumerate(EXHIBITS):
        (folder / f"student{number}.c").write_text(exhibit.source, encoding="utf-8")
    return folder


def batch(submissions: Path, out: Path, *words: str | Path) -> list[str]:
    """The command."""
    more = [submissions, "--lab", "lab1", "--out", out, TRUST, *words]
    return [*COMMAND, "batch", *map(str, more)]


def records(out: Path) -> dict[str, object]:
    """What each record says, times aside."""
    found: dict[str, object] = {}
    for file in sorted(out.glob("records/lab1/*.json")):
        record = json.loads(file.read_text())
        del record["started"], record["duration"]
        checks = [(one["id"], one["status"], one["diagnosis"]) for one in record["checks"]]
        found[file.name] = {**record, "checks": checks}
    return found


def test_a_worker_dies_half_way_and_the_marks_are_those_of_a_local_batch(
    machines, tls, submissions, tmp_path
):
    machines.have_workers(2)
    log = tmp_path / "log"
    with log.open("wb") as file:
        over = subprocess.Popen(
            batch(submissions, tmp_path / "over", "--cluster", machines.url, *tls),
            env=environment(),
            stdout=file,
            stderr=file,
        )
    wait_until(lambda: len(records(tmp_path / "over")) >= 2 or over.poll(), "two records", LONG)
    assert over.poll() is None, log.read_text()
    victim = machines.workers[0]
    left = [pid for pid, words in running("forklab\0worker").items() if _parent(pid) == victim.pid]
    _kill(machines.workers.pop(0))
    assert over.wait() == 0, log.read_text()
    assert "2 at a time on 2 workers" in log.read_text()
    assert left
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), "their end")

    local = forklab(*batch(submissions, tmp_path / "local")[len(COMMAND) :])
    assert local.returncode == 0, local.stderr
    assert len(records(tmp_path / "local")) == len(EXHIBITS)
    assert records(tmp_path / "over") == records(tmp_path / "local")
    csv = "marks.csv"
    assert (tmp_path / "over" / csv).read_bytes() == (tmp_path / "local" / csv).read_bytes()


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def files(tls: Sequence[str | Path]) -> dict[str, Path]:
    return dict(zip(("ca", "cert", "key"), map(Path, tls[1::2]), strict=True))


def test_a_worker_with_another_kit_is_refused_by_name(machines, tls, monkeypatch):
    machines.have_workers(1)
    ours = kit_here()
    monkeypatch.setattr(cluster, "kit_here", lambda: "0.0.9-feedfacecafe")
    with (
        pytest.raises(UsageError) as refusal,
        graders(machines.url, OPTIONS, files(tls)),
    ):
        pass
    assert ours in str(refusal.value)
    assert str(refusal.value).count(f"The worker {machines.url.rpartition(':')[0]}") == len(
        machines.workers
    )


def test_also_one_that_comes_later():
    with pytest.raises(UsageError, match="has another version of the kit"):
        grade("0.0.9-feedfacecafe", TASK)


def test_a_machine_without_walls_or_compiler_is_unfit(monkeypatch):
    assert cluster.unfit(kit_here(), OPTIONS) == ""
    monkeypatch.setattr(tiers, "available", lambda: ["process"])
    assert "tier process" in cluster.unfit(kit_here(), Options(tier="best"))
    assert "can't have tier uid" in cluster.unfit(kit_here(), Options(tier="uid"))
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "no-such-compiler" in cluster.unfit(kit_here(), OPTIONS)


def test_what_kills_its_workers_is_a_grader_error_and_without_workers_it_ends(
    machines, tls, monkeypatch
):
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(cluster, "NO_WORKER_SECONDS", 1.0)
    machines.have_workers(2)
    with graders(machines.url, OPTIONS, files(tls)) as those:
        killed = those.executor.submit(signal.raise_signal, signal.SIGKILL).exception(60)
        assert isinstance(killed, Exception)
        assert "each worker of the cluster that graded it was lost" in those.explain(killed)
        lost = those.executor.submit(those.grade, TASK)
        wait_until(lost.cancelled, "the end of the batch")
        with pytest.raises(GraderError, match=r"no worker for 1 s.* the same command goes on"):
            those.explain(_exception(lost))
    for one in machines.workers:
        one.wait()
    machines.workers.clear()
    with (
        pytest.raises(GraderError, match="has no worker: start one"),
        graders(machines.url, OPTIONS, files(tls)),
    ):
        pass


def _exception(future) -> Exception:
    try:
        future.result()
    except Exception as problem:
        return problem
    raise AssertionError


def test_the_scheduler_dies_and_the_same_command_goes_on(tmp_path, submissions, tls):
    out = tmp_path / "out"
    with Machines(tmp_path) as machines:
        machines.have_workers(1)
        command = batch(submissions, out, "--cluster", machines.url)
        over = subprocess.Popen(
            command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        wait_until(lambda: records(out) or over.poll(), "a record", LONG)
        _kill(machines.scheduler)
        _, said = over.communicate()
        assert over.returncode == 4, said.decode()
        line = f"forklab: the connection to the scheduler at {machines.url} broke. {cluster.GO_ON}"
        assert said.decode().splitlines() == [line]
        kept = records(out)
        assert 0 < len(kept) < len(EXHIBITS)
    again = forklab(*batch(submissions, out)[len(COMMAND) :])
    assert again.returncode == 0
    assert f"({len(kept)} more are graded already)" in again.stdout
    assert len(records(out)) == len(EXHIBITS)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--cluster", "head:8786"], "not tcp://host:port or tls://host:port"),
        (["--cluster", "tls://head:8786", "--tls-cert", "c.pem"], "go together"),
        (["--tls-cert", "c.pem"], "are for --cluster"),
        (["--cluster", "tcp://head:8786", "--jobs", "3"], "--jobs is for this machine"),
    ],
)
def test_what_makes_no_sense_is_refused(words, what, submissions, tmp_path):
    ran = forklab(*batch(submissions, tmp_path / "out", *words)[len(COMMAND) :])
    assert (ran.returncode, what in ran.stderr) == (2, True), ran.stderr


def test_no_scheduler(monkeypatch):
    pytest.importorskip("distributed", reason=SKIPPED)
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.2)
    with (
        pytest.raises(GraderError, match=r"no scheduler can be reached at tcp://127.0.0.1:1\b"),
        graders("tcp://127.0.0.1:1", OPTIONS),
    ):
        pass


def test_nobody_gets_in_without_a_certificate_of_the_authority(
    machines, tls, tmp_path, monkeypatch
):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1.0)
    with pytest.raises(UsageError, match="needs --tls-ca-file"), graders(machines.url, OPTIONS):
        pass
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = (
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=mallory -out cert.pem -keyout key.pem"
    )
    subprocess.run(words.split(), cwd=tmp_path, check=True, capture_output=True)
    others = {"ca": files(tls)["ca"], "cert": cert, "key": key}  # mallory knows whom to trust
    with (
        pytest.raises(GraderError, match="are all certificates of one authority"),
        graders(machines.url, OPTIONS, others),
    ):
        pass


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(GraderError, match=r"needs Dask distributed.* Type: "),
        graders("tcp://127.0.0.1:1", OPTIONS),
    ):
        pass
