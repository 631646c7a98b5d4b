"""The arena in which the hostile gallery (``harness/hostile``) is graded.

It is a machine of its own as far as Linux can make one (unshare(1)): its processes, network, System
V IPC and folders for temporary files hold nothing but these gradings. So what is left afterwards
can be seen in full, and a program that nothing else bounds can't harm the rest of the machine.

``arena(tier)`` runs this file as the first process of an arena; ``main`` is what happens inside.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from forklab import paths

HOSTILE = paths.HARNESS / "hostile"
FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # for temporary files, where everybody may write
JOBS = 3  # hostile programs at a time, and a reference beside them
NOBODY = 65534
MOST_PROCESSES = 3000  # in an arena
SECONDS = 450.0  # for one grading: only a broken kit lets it pass
ARENA_SECONDS = 1800.0
OUTSIDE = "192.0.2.1"  # stands for the rest of the world (RFC 5737)
REFUSED = "refused"  # the tier of an arena that stands for a container: no namespaces, no uids


@dataclass(frozen=True)
class Exhibit:
    """One hostile program and what it must get: see hostile.toml."""

    name: str
    lab: str
    file: str
    why: str
    verdict: str
    score: int | None = None
    score_at_most: int = 100
    fails: Mapping[str, str] = field(default_factory=dict)
    limit: Sequence[str] = ()
    weaker: Mapping[str, str] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)
    landlock: Mapping[str, int] = field(default_factory=dict)

    def is_prevented(self, tier: str) -> bool:
        """Whether this machine's landlock prevents there what the tier itself doesn't."""
        return tier in self.landlock and self.landlock[tier] <= landlock_version()


@cache
def landlock_version() -> int:
    """Of this machine's kernel, 0 or less: it has none (landlock_create_ruleset(2))."""
    return int(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1))


def exhibits() -> dict[str, Exhibit]:
    """All of the hostile gallery."""
    with (HOSTILE / "hostile.toml").open("rb") as file:
        return {name: Exhibit(name, **entry) for name, entry in tomllib.load(file).items()}


def one_file(exhibit: Exhibit) -> str:
    """The program without a header of its own, as a student hands one in."""
    text = (HOSTILE / exhibit.file).read_text(encoding="utf-8", errors="surrogateescape")
    return text.replace('#include "hostile.h"\n', (HOSTILE / "hostile.h").read_text())


@dataclass
class Grading:
    """One grading in the arena, and what it left."""

    name: str
    status: int  # of the command; negative: killed by that signal; -1000: it never ended
    stdout: str
    stderr: str
    left: list[str]  # processes that were there after its end
    began: float
    ended: float

    @property
    def record(self) -> dict[str, Any]:
        """The record that it wrote. Raises ValueError when it is none."""
        record: dict[str, Any] = json.loads(self.stdout)
        return record


@dataclass
class Fight:
    """What happened in one arena."""

    problem: str  # why there was none; "" if there was
    gradings: dict[str, Grading] = field(default_factory=dict)
    witnesses: list[Grading] = field(default_factory=list)  # references, graded all the while
    appeared: list[str] = field(default_factory=list)  # what is there that was not before
    guests: int = 0  # who came to the outside


def arena(tier: str, names: Sequence[str]) -> Fight:
    """Has those programs graded in tier ``bwrap``, ``uid``, ``process`` or ``REFUSED``."""
    spaces = ["--mount", "--net", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        spaces += ["--user", "--map-root-user"]
    command = ["unshare", *spaces, sys.executable, "-P", __file__, tier, *names]
    mapped = os.geteuid() == 0 and tier == REFUSED
    if mapped:  # it waits until it has its users: see below
        command = ["unshare", "--user", "sh", "-c", 'read -r go && exec "$@"', "sh", *command]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(one for one in sys.path if one),
        "FORKLAB_USER": str(os.geteuid()),
    }
    try:
        started = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError:
        return Fight("no unshare(1) here")
    with started:
        try:
            if mapped:
                _map_all_users(started.pid)
            told, said = started.communicate("go\n", timeout=ARENA_SECONDS)
        except (subprocess.TimeoutExpired, OSError) as problem:
            started.kill()
            return Fight(f"no arena here: {problem}")
    if not told and said.startswith("unshare: "):
        return Fight(f"no arena here: {said.strip()}")
    assert told, f"the arena broke down:\n{said}"
    fields = json.loads(told)
    for one in ("gradings", "witnesses"):
        made = [Grading(**grading) for grading in fields[one]]
        fields[one] = {grading.name: grading for grading in made} if one == "gradings" else made
    return Fight(**fields)


def _map_all_users(pid: int) -> None:
    """Gives a process' new user namespace all users, as a container has them.

    With root alone, RLIMIT_NPROC would not hold: it is not for the machine's root (setrlimit(2)).
    """
    namespaces = [Path(f"/proc/{one}/ns/user") for one in ("self", pid)]
    end = time.monotonic() + 30
    while namespaces[0].readlink() == namespaces[1].readlink() and time.monotonic() < end:
        time.sleep(0.001)
    for kind in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{kind}").write_text("0 0 4294967295")


# Inside --------------------------------------------------------------------------------------

# The first process of each grading: what its processes leave becomes its child (prctl(2)).
SUPERVISOR = """
import ctypes, os, signal, sys, time
out, uid, limit = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
os.setsid()
grader = os.fork()
if grader == 0:
    os.setsid()
    if uid:
        os.setgroups([]); os.setgid(uid); os.setuid(uid)
    os.execvp(sys.argv[4], sys.argv[4:])
def below():
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = open(f"/proc/{entry}/stat", errors="replace").read()
                if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
                    line = open(f"/proc/{entry}/cmdline", errors="replace").read()
                    found.append((int(entry), stat[:60] + " " + line.replace(chr(0), " ")))
            except OSError:
                pass
    return found
def reap():
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return True
    return False
end, status = time.monotonic() + limit, -1000
while time.monotonic() < end:
    pid, how = os.waitpid(-1, os.WNOHANG)
    if pid == grader:
        status = os.waitstatus_to_exitcode(how)
        break
    if pid == 0:
        time.sleep(0.003)
# Who is killed takes its keepers with it, in a moment. Who ended by itself has waited for them.
grace = time.monotonic() + (10 if status < 0 else 0.05)
while not reap() and time.monotonic() < grace:
    time.sleep(0.003)
left = [] if status == -1000 else [line for _, line in below()]
while not reap():
    for pid, _ in below():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.001)
with open(out, "w") as file:
    file.write("\\n".join([str(status), *left]))
"""


class Driver:
    """What happens inside an arena."""

    def __init__(self, tier: str) -> None:
        self.tier = tier
        bound_processes()
        mount("--bind", str(paths.KIT), "/mnt")  # in case that the kit itself is in /tmp
        # A file system of its own for all files: so it can be compared, and can't fill another.
        for folder in FOLDERS:
            mount("-t", "tmpfs", "-o", "size=3g,mode=1777", "arena", folder)
        if not paths.KIT.exists():
            paths.KIT.mkdir(parents=True)
            mount("--bind", "/mnt", str(paths.KIT))
            mount("-o", "remount,bind,ro", str(paths.KIT))
        subprocess.run(["umount", "/mnt"])
        if Path("/dev/mqueue").is_dir():
            mount("-t", "mqueue", "arena", "/dev/mqueue")
        if tier == REFUSED:
            Path("/proc/sys/user/max_user_namespaces").write_text("0")
        self.folder = Path("/tmp/arena")
        self.notes = self.folder / "notes"  # of ours: nobody else may read them
        self.notes.mkdir(parents=True, mode=0o700)
        # As a cautious teacher has them: for nobody else.
        self.submissions = self.folder / "submissions"
        self.submissions.mkdir(mode=0o700)
        grades = self.folder / "grades"
        grades.mkdir(mode=0o700)
        (grades / "secret.json").write_text("marks of others")
        self.kit = copy_kit(self.folder)
        users = Path("/proc/self/uid_map").read_text().split()
        self.uid = NOBODY if tier == "process" and int(users[2]) > NOBODY else 0
        if self.uid:
            for path in [self.folder, *self.folder.rglob("*")]:
                os.chown(path, self.uid, self.uid)
        self.python = sys.executable
        self.options = ["--tier", "best" if tier == REFUSED else tier]
        # As an ordinary user, we are root in here and nowhere else. The grader is to be that user.
        self.become: list[str] = []
        if (user := os.environ["FORKLAB_USER"]) != "0" and tier != REFUSED:
            self.become = ["unshare", "--user", f"--map-user={user}", f"--map-group={user}"]

    def prepare(self) -> str:
        """Finds out how to grade here, and builds the kit's tools. Says why it can't."""
        for self.python in (sys.executable, "/usr/bin/python3"):
            first = self.grade("warm-up", "lab2", self.kit / "solutions" / "lab2-fork")
            if first.status == 0:
                break
        else:
            if "is not to be had here" in first.stderr:
                return f"no tier {self.tier} here: {first.stderr.strip()}"
            return f"nothing can be graded here: {first.status} {first.stderr[-1500:]}"
        tier = first.record["tier"]
        if tier != self.tier and (self.tier != REFUSED or tier == "bwrap"):
            return f"submissions are graded in tier {tier}, not {self.tier}"
        return ""

    def grade(self, name: str, lab: str, path: Path) -> Grading:
        """Runs the command to its end, and sees who is left of it."""
        began = time.monotonic()
        number = f"{name}-{began}"
        files = [self.notes / f"{number}.{kind}" for kind in ("stdout", "stderr", "left")]
        words = [str(path), "--json", "-", *self.options]
        command = [*self.become, self.python, "-P", "-m", "forklab", "grade", lab, *words]
        supervisor = [sys.executable, "-I", "-S", "-c", SUPERVISOR]
        with files[0].open("wb") as out, files[1].open("wb") as err:
            subprocess.run(
                [*supervisor, str(files[2]), str(self.uid), str(SECONDS), *command],
                cwd=self.kit,
                env={
                    "PATH": "/usr/local/bin:/usr/bin:/bin",
                    "LC_ALL": "C.UTF-8",
                    "PYTHONPATH": f"{self.kit / 'harness'}:{os.environ['FORKLAB_PACKAGES']}",
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        if not files[2].exists():
            files[2].write_text("-1000\nthe supervisor itself was killed")
        status, *left = files[2].read_text(errors="replace").split("\n")
        out_text, err_text = (one.read_text(errors="replace") for one in files[:2])
        for one in files:
            one.unlink()
        return Grading(name, int(status), out_text, err_text, left, began, time.monotonic())

    def hand_in(self, exhibit: Exhibit) -> Path:
        """The program as a student hands it in."""
        file = self.submissions / exhibit.name / exhibit.file
        file.parent.mkdir()
        file.write_text(one_file(exhibit), encoding="utf-8", errors="surrogateescape")
        if self.uid:
            os.chown(file.parent, self.uid, self.uid)
            os.chown(file, self.uid, self.uid)
        return file

    def fight(self, chosen: Sequence[Exhibit]) -> Fight:
        """Grades the programs, several at a time, and the reference again and again beside them."""
        guests = Outside()
        if problem := self.prepare():
            return Fight(problem)
        files = [self.hand_in(one) for one in chosen]
        witnesses: list[Grading] = []
        over = threading.Event()

        def watch() -> None:
            while not over.is_set():
                name = f"reference-{len(witnesses)}"
                one = self.grade(name, "lab2", self.kit / "solutions" / "lab2-fork")
                witnesses.append(one)
                over.wait(one.ended - one.began)  # half of the time will do

        before = self.look()
        watcher = threading.Thread(target=watch)
        watcher.start()
        with ThreadPoolExecutor(JOBS) as pool:
            made = pool.map(lambda one, file: self.grade(one.name, one.lab, file), chosen, files)
            gradings = list(made)
        over.set()
        watcher.join()
        after = self.look()
        appeared = sorted(
            f"{what}: {now}" for what, now in after.items() if before.get(what) != now
        )
        appeared += sorted(f"gone: {what}" for what in before if what not in after)
        by_name = {one.name: one for one in gradings}
        return Fight("", by_name, witnesses, appeared, guests.count)

    def look(self) -> dict[str, str]:
        """All that could be left: processes, sockets, mounts, IPC objects and files."""
        found = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid():
                try:
                    command = Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace")
                    found[f"process {entry}"] = command.replace("\0", " ")
                except OSError:
                    continue
        for table in ("net/tcp", "net/tcp6", "sysvipc/shm", "sysvipc/sem", "sysvipc/msg"):
            for line in Path("/proc", table).read_text().splitlines()[1:]:
                if "net" not in table or line.split()[3] == "0A":  # tcp: only listeners
                    found[f"{table} {' '.join(line.split()[:4])}"] = ""
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            found[f"mount {line.split(' - ')[0]}"] = ""
        for folder in (*FOLDERS, "/dev/mqueue", "/run/lock"):
            for path in everything_in(folder):
                if not {self.notes, paths.KIT} & {path, *path.parents}:
                    found[f"file {os.fsencode(path)[:200]!r}"] = content(path)
        return found


def everything_in(folder: str) -> Iterator[Path]:
    """All files and folders below that one; nothing below what is too deep for a path."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(parent, name)


def mount(*words: str) -> None:
    """mount(8), in this arena's own mount namespace. Raises CalledProcessError."""
    subprocess.run(["mount", *words], check=True)


def bound_processes() -> None:
    """Whatever escapes the kit's own limits does not fill the machine with processes."""
    resource.setrlimit(resource.RLIMIT_NPROC, (MOST_PROCESSES, MOST_PROCESSES))  # not for uid 0
    release = tuple(int(one) for one in os.uname().release.split("-")[0].split(".")[:2])
    if release >= (6, 14):  # before that it is one number for the whole machine
        with suppress(OSError):
            Path("/proc/sys/kernel/pid_max").write_text(str(MOST_PROCESSES))


def content(path: Path) -> str:
    """What tells a file's content from another."""
    try:
        if path.is_symlink() or not path.is_file():
            return oct(path.lstat().st_mode)
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as problem:
        return str(problem.strerror)


class Outside:
    """A server on another machine, and how many came to it."""

    def __init__(self) -> None:
        self.count = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(OUTSIDE))
            up = struct.pack("16sh14x", b"lo", 0x41)  # IFF_UP | IFF_RUNNING
            fcntl.ioctl(one, 0x8914, up)  # SIOCSIFFLAGS, netdevice(7)
            fcntl.ioctl(one, 0x8916, struct.pack("16s16s8x", b"lo:1", address))  # SIOCSIFADDR
        self.socket = socket.create_server((OUTSIDE, 80))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            self.socket.accept()[0].close()
            self.count += 1


def copy_kit(folder: Path) -> Path:
    """A copy of the kit where everybody can reach it."""
    kit = folder / "kit"
    for name in ("labs", "solutions"):
        shutil.copytree(paths.KIT / name, kit / name)
    unneeded = shutil.ignore_patterns("__pycache__", "tests", "hostile", "accepted", ".*_cache")
    shutil.copytree(paths.HARNESS, kit / "harness", ignore=unneeded)
    for made in ("build", "out"):
        (kit / made).mkdir()
    return kit


def main(tier: str, *names: str) -> None:
    """Runs the fight, and writes what came of it to standard output."""
    import pytest

    os.environ["FORKLAB_PACKAGES"] = str(Path(pytest.__file__).parents[1])
    known = exhibits()
    fight = Driver(tier).fight([known[name] for name in names])
    fields = {**asdict(fight), "gradings": [asdict(one) for one in fight.gradings.values()]}
    print(json.dumps(fields))


if __name__ == "__main__":
    main(*sys.argv[1:])
