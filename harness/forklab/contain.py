"""Starting a process so that every descendant of it can be found, and killed.

Each process is started by a keeper (``harness/keeper/keeper.c``), a subreaper (prctl(2)): whatever
the process forks stays below its keeper, and when the grader lets go of the keeper, or dies, the
keeper kills all of it. How strong the walls around it are is the tier's affair (forklab.tiers).
This module knows nothing of labs, servers or points.
"""

from __future__ import annotations

import fcntl
import functools
import os
import random
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from forklab import limits as limit_table
from forklab import paths, procfs, seccomp, tiers
from forklab.errors import GraderError
from forklab.limits import Limits

SETTLE_SECONDS = 30.0  # for what the kit itself must get done, on however slow a machine
MOST_BYTES, MOST_WORDS = 60_000, 250  # of a command line in a sandbox: see the keeper's -k
WATCH_SECONDS = 0.1  # between two looks at how much memory is in use


@dataclass(frozen=True)
class Exit:
    """How a process ended: by ``exit`` with a status, or by a signal."""

    status: int | None
    signal: int | None
    because: str = field(default="", compare=False)  # a limit that it came to

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit status {self.status}"
        return f"killed by {signal_name(self.signal)}" + (f". {self.because}" * bool(self.because))

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
    source, target = paths.HARNESS / "keeper" / "keeper.c", paths.BUILD / "tools" / "keeper"
    try:
        return compile_tool(source, target, "-static", "-s")  # it forks faster
    except GraderError:  # where there is no static C library
        return compile_tool(source, target)


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
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            new = Path(folder, target.name)
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


# One contained process -----------------------------------------------------------------------


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


def _limit_options(limits: Limits) -> list[str]:
    processes = limits.processes
    options = []
    if tiers.tier() == tiers.BWRAP:
        processes += 1  # the keeper is in there, too
    if tiers.tier() == tiers.PROCESS:
        if _has_user_namespaces():
            options += ["-U"]
        else:  # the limit then counts all that the user runs
            processes += _user_tasks()
    options += ["-n", str(processes), "-f", str(limits.output), "-t", str(limits.cpu)]
    _, most_descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    options += ["-o", str(min(limits.descriptors, most_descriptors))]
    if limits.fixed_addresses:
        options += ["-r"]
    if limits.address_space:
        options += ["-m", str(limits.address_space)]
    return options


def _place_options(reads: Sequence[Path], writes: Sequence[Path]) -> list[str]:
    """What the program may use where no mount namespace hides the rest."""
    readable = [*tiers.SYSTEM, "/proc", "/sys/devices/system/cpu", *map(str, reads)]
    writable = [*tiers.DEVICES, *map(str, writes)]
    options = [word for place in readable for word in ("-R", place)]
    return options + [word for place in writable for word in ("-W", place)]


class Contained:
    """A running process and all its descendants. Make one with :func:`start`."""

    def __init__(
        self,
        keeping: subprocess.Popen[bytes] | None,
        control: socket.socket,
        holds: ExitStack,
        limits: Limits,
        scratch: Path | None,
        uid: int,
        strangers: Sequence[str],
    ) -> None:
        self._keeping = keeping  # the keeper, if it is our child
        self._control = control
        self._holds = holds  # what is given back at the end
        self._limits = limits
        self._scratch = scratch
        self.uid = uid  # the user it runs as; 0: our own
        self.reached: set[str] = set()  # the limits that it came to, by name
        self._said = ""
        self._pids: dict[str, int] = {}  # who said the last line that began with that word
        self.exit: Exit | None = None  # see poll()
        self.left_nobody = False  # it has ended, and the keeper says that all else has
        self._await_start()
        self.family = procfs.Family(self.keeper_pid, strangers)  # all that came of it
        _watched.add(self)
        _watch_all()

    @property
    def keeper_pid(self) -> int:
        """The process below which everything is."""
        return self._pids["started"]

    @property
    def pid(self) -> int:
        """The process that was started, as it is numbered here."""
        return self._pids["here"]

    def _await_start(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while "started" not in self._pids:
            if time.monotonic() > deadline:
                self._discard()
                raise GraderError(f"a process did not start within {SETTLE_SECONDS:.0f} s")
            self._listen(1.0)

    def _listen(self, seconds: float) -> None:
        """Takes in what the keeper says, waiting for it up to that long."""
        self._control.settimeout(seconds)
        with suppress(BlockingIOError, TimeoutError):
            data, ancillary, _, _ = self._control.recvmsg(4096, socket.CMSG_SPACE(12))
            if not data:
                try:
                    self._take_in()  # raises what failed, if that is known
                finally:
                    self._discard()
                raise GraderError(
                    "a keeper was killed: something on this machine kills processes"
                    if self._pids
                    else f"no process can be started on tier {tiers.tier()}"
                )
            said = data.decode(errors="replace")
            self._said += said
            pid, _, _ = struct.unpack("3i", ancillary[0][2])
            self._pids |= {line.partition(" ")[0]: pid for line in said.splitlines()}

    def poll(self) -> Exit | None:
        """How the process ended, or None while it runs. Raises GraderError if it never ran."""
        if self.exit is None:
            self._listen(0)
            self._take_in()
        return self.exit

    def _take_in(self) -> None:
        for line in self._said.splitlines():
            word, _, rest = line.partition(" ")
            if word == "exited":
                self.exit = Exit(int(rest), None)
            elif word == "killed":
                self.exit = self._killed(int(rest))
            elif word == "failed":
                raise GraderError(f"the grader could not start a program: {rest}")

    def _killed(self, number: int) -> Exit:
        limit = {int(signal.SIGXCPU): "cpu", int(signal.SIGXFSZ): "output"}.get(number)
        if number == signal.SIGKILL:
            limit = next((one for one in ("memory", "disk") if one in self.reached), None)
        if limit is None:
            return Exit(None, number)
        self.reached.add(limit)
        return Exit(None, number, self._limits.reached(limit))

    def limit_descriptors(self, pid: int, count: int) -> None:
        """Lets a process of this family open no descriptor numbered ``count`` or more.

        Nothing, if the program has ended meanwhile. Raises GraderError where the kernel does not
        allow it.
        """
        answers = self._said.count("limited ")
        self._control.settimeout(SETTLE_SECONDS)
        self._control.sendall(f"nofile {procfs.pid_inside(pid)} {count}".encode())
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

    def watch(self) -> None:
        """Kills the processes if they hold more than they may; called every now and then."""
        members = self.family.members()
        if sum(max(1, one.threads) for one in members) >= self._limits.processes:
            self.reached.add("processes")
        if self._is_over_memory([one.pid for one in members]):
            self.reached.add("memory")
            self._control.sendall(b"kill")
        if self._scratch and _size_of(self._scratch) > self._limits.disk:
            self.reached.add("disk")
            self._control.sendall(b"kill")

    def _is_over_memory(self, pids: Sequence[int]) -> bool:
        if sum(map(procfs.resident_bytes, pids)) <= self._limits.memory:
            return False
        # That counted what they share once for each. Exactly takes longer.
        return sum(map(procfs.proportional_bytes, pids)) > self._limits.memory

    def end(self) -> None:
        """Kills the process and every descendant. When it returns, none is left."""
        _watched.discard(self)
        if self._control.fileno() < 0:
            return  # for the second time
        last = b""
        if "here" in self._pids and "started" in self._pids:
            with suppress(OSError):
                self.watch()  # the keeper counts no threads
        with suppress(ProcessLookupError, PermissionError, KeyError):
            os.kill(self.keeper_pid, signal.SIGCONT)  # should the program have stopped it
        try:
            with self._control, suppress(ConnectionError), _awaiting(self._pids.get("started")):
                self._control.shutdown(socket.SHUT_WR)
                self._control.settimeout(SETTLE_SECONDS)
                while data := self._control.recv(4096):
                    last += data  # until the keeper has ended, which closes its end of the socket
            if self._keeping:
                self._keeping.wait(SETTLE_SECONDS)
        except (TimeoutError, subprocess.TimeoutExpired):
            raise GraderError(f"processes below {self._pids.get('started')} don't die") from None
        finally:
            self._discard()
        for line in last.decode(errors="replace").splitlines():
            word, _, rest = line.partition(" ")
            if word == "left":
                self.left_nobody = True
                if int(rest) >= self._limits.processes:
                    self.reached.add("processes")
            elif word == "full":
                self.reached.add("disk")

    def _discard(self) -> None:
        self._control.close()
        self._holds.close()

    def __enter__(self) -> Contained:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


@contextmanager
def _awaiting(pid: int | None) -> Iterator[None]:
    """Waits, at the end, for the end of that process, which is near. Raises TimeoutError."""
    try:
        pidfd = os.pidfd_open(pid) if pid else None
    except OSError:  # it is gone; or a kernel before 5.3
        pidfd = None
    try:
        yield
        if pidfd is not None:
            ended = select.poll()
            ended.register(pidfd)
            if not ended.poll(SETTLE_SECONDS * 1000):
                raise TimeoutError
    finally:
        if pidfd is not None:
            os.close(pidfd)


class Sandbox:
    """Walls of bwrap(1), made once for any number of programs. Use it as a context.

    Each program that is started in it has users, processes and mounts of its own, no IPC, and a
    ``scratch`` of its own; they share a user id. ``reads`` and ``writes`` are what they may use
    besides the system. Raises GraderError if it can't be started.
    """

    def __init__(
        self, *, reads: Sequence[Path], writes: Sequence[Path] = (), scratch: Path | None = None
    ) -> None:
        self.scratch = scratch
        try:
            with ExitStack() as holds, ExitStack() as opened:
                self.uid = holds.enter_context(tiers.private_uid()) if os.geteuid() == 0 else 0
                _give(writes, self.uid)
                self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                _hold(self._requests, holds)
                files = {tiers.KEEPER: str(keeper())} | {one: one for one in tiers.system_files()}
                copies = {
                    place: opened.enter_context(open(file, "rb")).fileno()
                    for place, file in files.items()
                }
                with theirs:
                    command = tiers.sandbox(
                        str(keeper()),
                        uid=self.uid,
                        reads=reads,
                        writes=writes,
                        scratch=scratch,
                        copies=copies,
                        requests=theirs.fileno(),
                    )
                    descriptors = [theirs.fileno(), *copies.values()]
                    self._bwrap = _popen(command, cwd="/", pass_fds=descriptors)
                self._holds = holds.pop_all()  # what is given back at the end
        except OSError as problem:
            raise GraderError(f"cannot start a sandbox: {problem.strerror}") from problem

    @property
    def has_ended(self) -> bool:
        """Whether somebody has killed it."""
        return self._bwrap.poll() is not None

    def start(self, words: Sequence[str], descriptors: Sequence[int]) -> None:
        """Has a keeper made in there, with that command line and those descriptors.

        They keep their numbers, but for the first three, which become 0, 1 and 2. Raises
        GraderError where the command line is too long.
        """
        numbers = " ".join(map(str, [0, 1, 2, *descriptors[3:]]))
        message = "".join(f"{word}\0" for word in [numbers, *words])
        if len(os.fsencode(message)) > MOST_BYTES or len(words) > MOST_WORDS:
            raise GraderError("a command line is too long for a sandbox")
        with suppress(ConnectionError):  # it has ended: nobody will answer
            socket.send_fds(self._requests, [os.fsencode(message)], list(descriptors))

    def end(self) -> None:
        """Ends it, and with it all that is in there."""
        self._requests.close()
        try:
            self._bwrap.wait(SETTLE_SECONDS)
        except subprocess.TimeoutExpired:
            raise GraderError(f"the sandbox {self._bwrap.pid} doesn't end") from None
        finally:
            self._holds.close()

    def __enter__(self) -> Sandbox:
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
    limits: Limits | None = None,
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
    scratch: Path | None = None,
    hands_over: Sequence[int] = (),
    beside: Contained | None = None,
    sandbox: Sandbox | None = None,
    traced: bool = False,
) -> Contained:
    """Starts ``command`` under a keeper; its signals are all at their default.

    Of the files that are not the system's it sees itself, ``cwd``, and what is below ``reads`` and
    ``writes``; what it writes to ``scratch``, a folder, is of no interest afterwards. (In a sandbox
    it is never on the disk; else it is made, if it is not there.)
    ``hands_over`` are descriptors that it has open as well. ``beside`` is another one whose user it
    shares, and whose end goes with its own, on tier uid. ``sandbox``: on tier bwrap, start it in
    there, with those who share its user; ``reads`` and ``writes`` are then the sandbox's.
    ``traced``: the command is strace, which may do its work. Raises GraderError if it can't be
    started.
    """
    limits = limits or limit_table.usual()
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)  # who says it: see _listen
    filtered = _filter(traced)
    options = [
        *_limit_options(limits),
        *(word for name, value in env.items() for word in ("-e", f"{name}={value}")),
        *(["-s", str(filtered)] if filtered is not None else []),
    ]
    arguments = ["-c", str(theirs.fileno()), "--", *map(str, command)]
    descriptors = [theirs.fileno(), *hands_over, *([filtered] if filtered is not None else [])]
    program = [] if tiers.is_of_the_system(command[0]) else [Path(command[0])]
    reads = [*program, *([cwd] if cwd != scratch else []), *reads]
    strangers = os.listdir("/proc")  # who was there before
    keeping = on_disk = None
    try:
        with theirs, ExitStack() as holding:
            _hold(ours, holding)
            if tiers.tier() == tiers.BWRAP:
                if sandbox is None:
                    sandbox = holding.enter_context(
                        Sandbox(reads=reads, writes=writes, scratch=scratch)
                    )
                uid = sandbox.uid
                options += ["-C", str(cwd), "-p", str(random.randrange(2_000, 30_000))]
                options += ["-d", str(scratch), "-z", str(limits.disk)] if scratch else []
                with open(os.devnull, "rb") as nothing:
                    files = [nothing.fileno(), stdout, stderr]
                    sandbox.start([*options, *arguments], [*files, *descriptors])
            else:
                uid = _user(beside, holding)
                if scratch:
                    on_disk = scratch
                    on_disk.mkdir(exist_ok=True)
                    writes = [*writes, on_disk]
                _give(writes, uid)
                options += ["-u", str(uid)] if uid else []
                options += _place_options(reads, writes)
                keeping = _popen(
                    [str(keeper()), *options, *arguments],
                    cwd=cwd,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=descriptors,
                )
            holds = holding.pop_all()
    except OSError as problem:
        raise GraderError(f"cannot start a process: {problem.strerror}") from problem
    return Contained(keeping, ours, holds, limits, on_disk, uid, strangers)


def _give(paths: Iterable[Path], uid: int) -> None:
    """Makes them that user's; 0: as they are."""
    for path in paths if uid else []:
        os.chown(path, uid, uid)


def _user(beside: Contained | None, holds: ExitStack) -> int:
    """The user that a program runs as; 0: as whoever we are."""
    if os.geteuid() != 0 or tiers.tier() == tiers.PROCESS:
        return 0
    return beside.uid if beside else holds.enter_context(tiers.private_uid())


def _popen(
    command: Sequence[str],
    *,
    cwd: str | Path,
    pass_fds: Sequence[int],
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=cwd,
        env={},  # the program's is not the keeper's: it may hold an LD_PRELOAD
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=True,  # Ctrl-C is for the grader, which lets go of the keeper
    )


@functools.cache
def _filter(traced: bool) -> int | None:
    """The filter of system calls, open for reading for as long as we run."""
    file = seccomp.filter_file(traced)
    return None if file is None else os.open(file, os.O_RDONLY | os.O_CLOEXEC)


# The watch -----------------------------------------------------------------------------------

_watched: set[Contained] = set()
_watching: int | None = None  # the process (a fork has no threads) that has a watching thread


def _watch_all() -> None:
    """Starts the thread that looks at how much memory and disk all of them use."""
    global _watching
    if _watching == os.getpid():
        return
    _watching = os.getpid()

    def watch() -> None:
        while True:
            time.sleep(WATCH_SECONDS)
            for one in list(_watched):
                with suppress(OSError):  # it has just ended
                    one.watch()

    threading.Thread(target=watch, name="watch", daemon=True).start()


def _size_of(folder: Path) -> int:
    """Bytes that the files below a folder take on the disk."""
    size = 0
    with suppress(OSError):
        for entry in os.scandir(folder):
            with suppress(OSError):
                size += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    size += _size_of(Path(entry))
    return size


# Our ends of the sockets of all keepers and sandboxes that may be running.
_sockets: set[socket.socket] = set()


def _hold(ours: socket.socket, holds: ExitStack) -> None:
    """Such an end, until those holds are closed."""
    holds.enter_context(ours)
    _sockets.add(ours)
    holds.callback(_sockets.discard, ours)


def end_all() -> None:
    """Ends what an interrupt left, also between the start of a process and the code that owns it.

    When it returns, no child of this process is left, unless one takes half a minute to die.
    """
    for one in list(_sockets):
        one.close()
    deadline = time.monotonic() + SETTLE_SECONDS
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.001)


@contextmanager
def run_folder(owner: int | None = None) -> Iterator[Path]:
    """A folder for one grading's files, gone afterwards. Its name tells the pid of its owner: us.

    It lies in build/; but when we are root, and the users that submissions run as could not reach
    it there (a kit below /root), in the system's folder for temporary files.
    """
    parent = paths.BUILD / "runs"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        parent.chmod(0o711)  # who is graded beside whom is not to be listed
        as_others = os.geteuid() == 0 and tiers.tier() != tiers.PROCESS
        if as_others and not all(_searchable(p) for p in [parent, *parent.parents]):
            parent = Path(tempfile.gettempdir())
        else:
            _remove_abandoned(parent)
        new = Path(tempfile.mkdtemp(prefix=f"new-{owner or os.getpid()}-", dir=parent))
        new.chmod(0o755)
        lock = os.open(new, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = new.rename(new.with_name(new.name.replace("new-", "run-", 1)))
    except OSError as problem:
        raise GraderError(f"cannot write to {parent}: {problem.strerror}") from problem
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def _remove(folder: Path) -> None:
    """Removes a folder with all that a submission may have put there."""
    with suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # thousands of levels, or folders that nobody may enter
        command = 'chmod -R u+rwx -- "$1"; rm -rf -- "$1"'
        subprocess.run(["/bin/sh", "-c", command, "sh", str(folder)], stderr=subprocess.DEVNULL)


def _searchable(folder: Path) -> bool:
    return folder.stat().st_mode & 0o001 != 0


def _remove_abandoned(parent: Path) -> None:
    """Removes what graders left that were killed: each holds a lock on its folder (flock(2))."""
    for folder in parent.glob("run-*"):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)
            finally:
                os.close(lock)
