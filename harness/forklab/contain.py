"""Starting a process so that every descendant of it can be found, and killed.

Each process is started by a keeper (``harness/keeper/keeper.c``), a subreaper (prctl(2)): whatever
the process forks stays below its keeper, and when the grader lets go of the keeper, or dies, the
keeper kills all of it. This module knows nothing of labs, servers or points.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from forklab import paths
from forklab.errors import GraderError

UIDS = range(0x7000_0000, 0x7400_0000)  # users that only we use, for tier "uid"
MEBIBYTE = 1024 * 1024
SETTLE_SECONDS = 30.0  # for what the kit itself must get done, on however slow a machine


@dataclass(frozen=True)
class Limits:
    """What a contained process and its descendants may use."""

    processes: int = 64
    file_size: int = 64 * MEBIBYTE  # bytes, each file
    memory: int = 4096 * MEBIBYTE  # bytes of address space, each process; 0: no limit
    fixed_addresses: bool = False  # no random layout, which some sanitizers' runtimes trip over
    cpu: int = 120  # seconds, each process


@dataclass(frozen=True)
class Exit:
    """How a process ended: by ``exit`` with a status, or by a signal."""

    status: int | None
    signal: int | None

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit status {self.status}"
        return f"killed by {signal_name(self.signal)}"

    @property
    def ok(self) -> bool:
        return self.status == 0


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11; ``signal 64`` for one without a name of its own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


_compiling = threading.Lock()


def keeper() -> Path:
    """The keeper, compiled when it is missing or older than its source."""
    return compile_tool(paths.HARNESS / "keeper" / "keeper.c", paths.BUILD / "tools" / "keeper")


def compile_tool(source: Path, target: Path, *flags: str) -> Path:
    """Compiles one of the kit's own C programs into ``target`` if that is not up to date.

    Raises GraderError when there is no compiler, no room, or no leave to write.
    """
    try:
        with _compiling:
            return _compile_tool(source, target, flags)
    except OSError as problem:
        raise GraderError(f"cannot build {target}: {problem.strerror}") from problem


def _compile_tool(source: Path, target: Path, flags: Sequence[str]) -> Path:
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Under another name first: another grader may be doing the same.
        new = target.with_name(f"{target.name}.{os.getpid()}")
        command = [compiler(), "-std=gnu17", "-O1", "-g", *flags, str(source), "-o", str(new)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            raise GraderError(f"the kit's own {source.name} does not build:\n{done.stderr}")
        new.replace(target)
    return target


def compiler() -> str:
    """The path of the C compiler: $CC, or cc. Raises GraderError when there is none."""
    name = os.environ.get("CC") or "cc"
    path = shutil.which(name)
    if path is None:
        raise GraderError(f"no C compiler: '{name}' is not on the PATH. Install gcc.")
    return path


# Tiers ---------------------------------------------------------------------------------------


@functools.cache
def tier() -> str:
    """How well submissions are kept apart here, found out by trying.

    ``uid``: we are root, and every process gets a user of its own. ``process``: the student's own
    account; a session of its own, a subreaper, limits. Both bound the number of processes.
    """
    return "uid" if os.geteuid() == 0 and _has_uids() else "process"


def _has_uids() -> bool:
    """Whether our user namespace has the user ids that we hand out (user_namespaces(7))."""
    try:
        ranges = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    firsts_and_sizes = [(int(line.split()[0]), int(line.split()[2])) for line in ranges]
    return any(first <= UIDS.start and UIDS.stop <= first + n for first, n in firsts_and_sizes)


@functools.cache
def _has_user_namespaces() -> bool:
    """Whether a process may make a user namespace of its own (user_namespaces(7))."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [str(keeper()), "-U", "-c", str(theirs.fileno()), "--", "/bin/true"]
        keeping = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        said = b""
        while b"\nexited" not in b"\n" + said and b"failed" not in said:
            data = ours.recv(4096)
            if not data:
                break
            said += data
    keeping.wait()
    return b"exited 0" in said


def _user_tasks() -> int:
    """Tasks (threads) of our user now: what RLIMIT_NPROC counts outside a namespace."""
    tasks = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                if os.stat(f"/proc/{entry}").st_uid == os.geteuid():
                    tasks += len(os.listdir(f"/proc/{entry}/task"))
    return tasks


_uids = itertools.count()


@contextmanager
def _private_uid() -> Iterator[int]:
    """A user id that nobody else on this machine has, held until the context ends.

    A lock of the kernel's (a bound abstract socket, unix(7)) keeps graders apart that run at the
    same time; it goes away with its process.
    """
    first = UIDS.start + (os.getpid() % 0x4000) * 0x1000
    for _ in range(1000):
        uid = first + next(_uids) % 0x1000
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(f"\0forklab-uid-{uid}")
            pwd.getpwuid(uid)
        except OSError:
            lock.close()
        except KeyError:  # no account has it
            with lock:
                yield uid
            return
        else:
            lock.close()
    raise GraderError("no free user id to run a submission as")


def _limit_options(limits: Limits) -> list[str]:
    processes = limits.processes
    options = []
    if tier() == "process":
        if _has_user_namespaces():
            options += ["-U"]
        else:  # the limit then counts all that the user runs
            processes += _user_tasks()
    options += ["-n", str(processes), "-f", str(limits.file_size), "-t", str(limits.cpu)]
    if limits.fixed_addresses:
        options += ["-r"]
    if limits.memory:
        options += ["-m", str(limits.memory)]
    return options


# One contained process -----------------------------------------------------------------------


class Contained:
    """A running process and all its descendants. Make one with :func:`start`."""

    def __init__(
        self,
        keeping: subprocess.Popen[bytes],
        control: socket.socket,
        holds: ExitStack,
        uid: int,
    ) -> None:
        self._keeping = keeping
        self._control = control
        self._holds = holds  # what is given back at the end
        self.uid = uid  # the user it runs as; 0: our own
        self._said = ""
        self.exit: Exit | None = None  # see poll()
        self.pid = self._await_start()

    @property
    def keeper_pid(self) -> int:
        """The process below which everything is."""
        return self._keeping.pid

    def _await_start(self) -> int:
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            self._listen(1.0)
            for line in self._said.splitlines():
                if line.startswith("started "):
                    return int(line.split()[1])
        self.end()
        raise GraderError(f"a process did not start within {SETTLE_SECONDS:.0f} s")

    def _listen(self, seconds: float) -> None:
        """Takes in what the keeper says, waiting for it up to that long."""
        self._control.settimeout(seconds)
        with suppress(BlockingIOError, TimeoutError):
            data = self._control.recv(4096)
            if not data and "failed " in self._said:
                return
            if not data:
                raise GraderError("a keeper was killed: something on this machine kills processes")
            self._said += data.decode(errors="replace")

    def poll(self) -> Exit | None:
        """How the process ended, or None while it runs. Raises GraderError if it never ran."""
        if self.exit is None:
            self._listen(0)
            for line in self._said.splitlines():
                word, _, rest = line.partition(" ")
                if word == "exited":
                    self.exit = Exit(int(rest), None)
                elif word == "killed":
                    self.exit = Exit(None, int(rest))
                elif word == "failed":
                    raise GraderError(f"the grader could not start a program: {rest}")
        return self.exit

    def limit_descriptors(self, pid: int, count: int) -> None:
        """Lets a process of this family open no descriptor numbered ``count`` or more.

        Nothing, if the program has ended meanwhile. Raises GraderError where the kernel does not
        allow it.
        """
        answers = self._said.count("limited ")
        self._control.settimeout(SETTLE_SECONDS)
        self._control.sendall(f"nofile {pid} {count}".encode())
        while self._said.count("limited ") == answers:
            self._listen(SETTLE_SECONDS)
        failed = not self._said.rstrip().endswith("limited 0") and "limited -1" in self._said
        if failed and self.poll() is None:  # not because it has just ended
            raise GraderError("RLIMIT_NOFILE of a server could not be set")

    def wait(self, seconds: float) -> Exit | None:
        """Waits up to that many seconds for the process to end; None if it still runs."""
        deadline = time.monotonic() + seconds
        while self.poll() is None and (left := deadline - time.monotonic()) > 0:
            self._listen(min(left, 1.0))
        return self.exit

    def end(self) -> None:
        """Kills the process and every descendant. When it returns, none is left."""
        if self._control.fileno() < 0:
            return  # for the second time
        try:
            with self._control, suppress(ConnectionError):
                self._control.shutdown(socket.SHUT_WR)
                self._control.settimeout(SETTLE_SECONDS)
                while self._control.recv(4096):
                    pass  # until the keeper has ended, which closes its end of the socket
            self._keeping.wait(SETTLE_SECONDS)
        except (TimeoutError, subprocess.TimeoutExpired):
            raise GraderError(f"processes below {self._keeping.pid} don't die") from None
        finally:
            _controls.discard(self._control)
            self._holds.close()

    def __enter__(self) -> Contained:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def start(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdout: int,
    stderr: int,
    stdin: int = subprocess.DEVNULL,
    limits: Limits | None = None,
    owns: Path | None = None,
    beside: Contained | None = None,
) -> Contained:
    """Starts ``command`` under a keeper; its signals are all at their default.

    ``owns`` is a folder that the process may write to. ``beside`` is another one whose user it
    shares, and whose end goes with its own. Raises GraderError if it can't be started.
    """
    limits = limits or Limits()
    ours, theirs = socket.socketpair()
    _controls.add(ours)
    options = _limit_options(limits)
    holds = ExitStack()
    uid = 0
    if tier() == "uid":
        uid = beside.uid if beside else holds.enter_context(_private_uid())
        options += ["-u", str(uid)]
    options += [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
    argv = [str(keeper()), *options, "-c", str(theirs.fileno()), "--", *map(str, command)]
    try:
        if owns is not None and uid:
            os.chown(owns, uid, uid)
        keeping = subprocess.Popen(
            argv,
            cwd=cwd,
            env={},  # the program's is not the keeper's: it may hold an LD_PRELOAD
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for the grader, which then lets go of the keeper
        )
    except OSError as problem:
        ours.close()
        _controls.discard(ours)
        holds.close()
        raise GraderError(f"cannot start a process: {problem.strerror}") from problem
    finally:
        theirs.close()
    return Contained(keeping, ours, holds, uid)


# Our ends of the sockets of all keepers that may be running.
_controls: set[socket.socket] = set()


def end_all() -> None:
    """Ends what an interrupt left, also between the start of a process and the code that owns it.

    When it returns, no child of this process is left, unless one takes half a minute to die.
    """
    for control in list(_controls):
        control.close()
    deadline = time.monotonic() + SETTLE_SECONDS
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.001)


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder for one grading's files, gone afterwards.

    It lies in build/; but when we are root, and the users that submissions run as could not reach
    it there (a kit below /root), in the system's folder for temporary files.
    """
    parent = paths.BUILD / "runs"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        if tier() == "uid" and not all(_searchable(p) for p in [parent, *parent.parents]):
            parent = Path(tempfile.gettempdir())
        else:
            _remove_abandoned(parent)
        new = Path(tempfile.mkdtemp(prefix=f"new-{os.getpid()}-", dir=parent))
        new.chmod(0o755)
        lock = os.open(new, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = new.rename(new.with_name(new.name.replace("new-", "run-", 1)))
    except OSError as problem:
        raise GraderError(f"cannot write to {parent}: {problem.strerror}") from problem
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _searchable(folder: Path) -> bool:
    return folder.stat().st_mode & 0o001 != 0


def _remove_abandoned(parent: Path) -> None:
    """Removes what graders left that were killed: each holds a lock on its folder (flock(2))."""
    for folder in parent.glob("run-*"):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
