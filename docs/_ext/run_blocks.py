"""Runs the {run} blocks of a page, and says where they print something else than the page.

    .venv/bin/python docs/_ext/run_blocks.py docs/lab1.md            what each block prints
    .venv/bin/python docs/_ext/run_blocks.py --quiet docs/lab1.md    only what differs
    .venv/bin/python docs/_ext/run_blocks.py --update docs/lab1.md   ... and writes it to the page

A block is a fence ```{run}. In it, a line that begins with "$ " is a command, and what follows, up
to the next one, is what it prints. A command goes on in the next line if it ends with a backslash,
or until the END of its <<END (there "> " may stand first). All blocks of a page are run in order by
one bash, on a terminal of its own (80 columns, no colour), in a scratch copy of the kit, so that
variables and background jobs last from block to block. What a page starts, it must end. What bash
says of its jobs is left out. As root, bash sees no processes and sockets but its own, where the
kernel lets us arrange that.

Port 9190 (and 9191 to 9199) becomes a free port. What is compared: any run of three or more digits
matches any number, a time such as 0.52 s any time, a line of the Makefile any line, blanks any
blanks; a line "..." matches any lines, a line that ends in " ..." any end of a line. But "status"
and its number, 0x and four digits (what wait(2) tells), and the 16 digits of a set of signals
match only themselves.

Exit status: 0 all is as printed, 1 something differs, 2 usage, 4 bash did not get to its end.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

KIT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(KIT / "harness"))

from forklab import paths, procfs, server  # noqa: E402

SECONDS = 300.0  # for a page
SETTLE_SECONDS = 3.0  # for what was told to end, to end
HOME = "/home/you"  # stands in a page for the folder that the scratch copy is in
LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".forklab",
    "build",
    "out",
    ".*_cache",
    "__pycache__",
    "*.backup",
    "mutants.out",
)
PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Command:
    """A command of a page, with what it prints."""

    line: int  # of the page, from 1: where it begins
    text: str  # what is typed, without the prompt
    printed: list[str] = field(default_factory=list)  # as the page says
    after: int = 0  # the line behind the last one of these
    got: list[str] | None = None  # as it was; None: it was not run
    status: int = 0


# The page ------------------------------------------------------------------------------------

HERE = re.compile(r"(?<!<)<<['\"]?([A-Z]+)\b")  # bash(1), Here Documents; not <<<, not 1 << n
_FENCE = re.compile(r"^(`{3,})\{run\}\s*$")


def commands_of(page: str) -> list[Command]:
    """The commands in the {run} blocks of a page. Raises ValueError where a block has none."""
    found: list[Command] = []
    fence = ""
    for number, line in enumerate(page.splitlines(), 1):
        if not fence:
            opened = _FENCE.match(line)
            fence, first = (opened[1], len(found)) if opened else ("", 0)
        elif line.rstrip() == fence:
            fence = ""
        elif len(found) > first and goes_on(found[-1].text):
            found[-1].text += "\n" + line.removeprefix("> ")
            found[-1].after = number + 1
        elif line.startswith("$ "):
            found.append(Command(number, line[2:], after=number + 1))
        elif len(found) == first:
            raise ValueError(f"line {number}: a block begins with a command: '$ ' and what to type")
        else:
            found[-1].printed.append(line)
            found[-1].after = number + 1
    return found


def goes_on(command: str) -> bool:
    """Whether what is typed next belongs to that command."""
    opened = HERE.search(command)
    if opened:
        return opened[1] not in command.splitlines()[1:]
    return command.endswith("\\")


def updated(page: str, commands: list[Command]) -> str:
    """The page with what was printed, where that differs from what it says."""
    lines = page.splitlines()
    for one in reversed(commands):
        if one.got is not None and not agrees(one.printed, one.got):
            lines[one.after - 1 - len(one.printed) : one.after - 1] = one.got
    return "\n".join(lines) + "\n"


# Comparing -----------------------------------------------------------------------------------

_TOKENS = re.compile(
    r"(?P<itself>\bstatus \d+|\b0x[0-9a-f]{4}\b|\b[0-9a-f]{16}\b)"
    r"|(?P<time>\b\d+(?:\.\d+)? s\b)|(?P<rule>\bMakefile:\d+)"
    r"|(?P<number>\d{3,})|(?P<blank>\s+)"
)
_ANY = {
    "time": r"\d+(?:\.\d+)? s",
    "rule": r"Makefile:\d+",
    "number": r"\d+",
    "blank": r"[^\S\n]+",
}


def pattern(line: str) -> str:
    """What matches a line of a page, as a regular expression."""
    open_end = line.endswith(" ...")
    text = line.removesuffix(" ...").strip()
    parts, last = [r"[^\S\n]*"], 0
    for found in _TOKENS.finditer(text):
        parts += [re.escape(text[last : found.start()]), _ANY.get(str(found.lastgroup), found[0])]
        last = found.end()
    parts += [re.escape(text[last:]), r"[^\n]*" if open_end else r"[^\S\n]*", r"\n"]
    return "".join(parts)


# Signals 32 and 33 are the C library's own (signal(7)). Who starts us may have them ignored, and we
# can't change that.
_OWN_SIGNALS = 3 << 31


def _without_own_signals(line: str) -> str:
    def cleared(found: re.Match[str]) -> str:
        return f"{int(found[0], 16) & ~_OWN_SIGNALS:016x}"

    return re.sub(r"(?<=\t)[0-9a-f]{16}$", cleared, line)


def agrees(printed: list[str], got: list[str]) -> bool:
    """Whether what was printed is what the page says."""
    got = [_without_own_signals(one) for one in got]
    whole = "".join(r"(?:[^\n]*\n)*?" if one == "..." else pattern(one) for one in printed)
    return re.fullmatch(whole, "".join(f"{one}\n" for one in got)) is not None


# The scratch copy ----------------------------------------------------------------------------


@contextlib.contextmanager
def scratch_kit() -> Iterator[Path]:
    """A copy of the kit with the pristine starters and nothing built; gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="forklab-docs-")).resolve()
    try:
        folder.chmod(0o755)
        kit = folder / "forklab"
        shutil.copytree(KIT, kit, ignore=LEFT_OUT, symlinks=True)
        for lab, name in paths.LAB_FOLDERS.items():
            shutil.copy(paths.starter_of(lab), kit / "labs" / name / "server.c")
        borrow_venv(kit)
        yield kit
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def borrow_venv(kit: Path) -> None:
    """A .venv with this one's packages, so that make finds nothing to set up.

    It is not a link to this one: bootstrap.sh would clear what the link leads to.
    """
    ours, theirs = KIT / ".venv", kit / ".venv"
    (theirs / "bin").mkdir(parents=True)
    shutil.copy(ours / "pyvenv.cfg", theirs)
    (theirs / "lib").symlink_to(ours / "lib")
    (theirs / "bin" / "python").symlink_to((ours / "bin" / "python").resolve())
    shutil.copy(ours / "bin" / "forklab", theirs / "bin")
    made_from = [kit / "harness" / name for name in ("bootstrap.sh", "requirements.lock")]
    (theirs / ".forklab-made-from").write_bytes(b"".join(one.read_bytes() for one in made_from))
    (theirs / ".forklab-stamp").write_text(f"{kit}\n")


# Running -------------------------------------------------------------------------------------


# What bash tells of jobs: "[1]+  Terminated     sleep 9", "bash:  4208 Killed        sleep 9".
_OF_JOBS = re.compile(
    r"(\[\d+\][+-]?|bash: +\d+) +(Done|Exit \d+|Terminated|Killed|Interrupt|Hangup)\b"
)


class Stuck(Exception):
    """bash did not get to the end of the page. The message is a sentence."""


def run(commands: list[Command], seconds: float = SECONDS) -> list[str]:
    """Runs the commands, and notes what each prints. What is left of them at the end, a line each.

    Nothing is left when it returns, or raises. Raises Stuck.
    """
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # who loses its parent becomes our child
    with contextlib.ExitStack() as stack:
        kit = stack.enter_context(scratch_kit())
        numbers = {one for c in commands for one in re.findall(r"\b919\d\b", c.text)}
        ports = {one: str(stack.enter_context(server.reserve_port())) for one in sorted(numbers)}
        script = kit.parent / "script"
        script.write_text(script_of(commands, ports))
        stack.callback(kill_all)
        said = talk(script, kit, seconds)
        names = {port: name for name, port in ports.items()}
        take_in(commands, said, names, kit.parent)
        return left_over()


def script_of(commands: list[Command], ports: dict[str, str]) -> str:
    """The commands for bash, a mark behind each: its number and its exit status."""
    lines = []
    for number, one in enumerate(commands):
        text = re.sub(r"\b919\d\b", lambda found: ports[found[0]], one.text)
        lines += [text, f"printf '\\036%s %s\\036' {number} $?"]
    return "\n".join(lines) + "\n"


def talk(script: Path, kit: Path, seconds: float) -> str:
    """What bash prints on its terminal while it runs the script."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    said = b""
    ended: set[int] = set()
    old = signal.signal(signal.SIGCHLD, lambda *_: ended.update(reap()))
    try:
        bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-m", script],  # with jobs, as at a prompt
            cwd=kit,
            env=environment(kit.parent),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=begin,
        )
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            over = bash.pid in ended  # first this, then what it wrote
            if select.select([ours], [], [], 0 if over else 0.05)[0]:
                said += os.read(ours, 65536)
            elif over:
                bash.returncode = 0  # it was reaped here; subprocess need not look for it
                break
    finally:
        signal.signal(signal.SIGCHLD, old)
        os.close(theirs)
        os.close(ours)
    return said.decode(errors="replace").replace("\r\n", "\n")


def begin() -> None:
    """What bash starts with: its terminal, no signal ignored or blocked by us, and not nice."""
    fcntl.ioctl(1, termios.TIOCSCTTY, 0)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    with contextlib.suppress(OSError):  # not ours to lower: ps then shows an N behind each state
        os.setpriority(os.PRIO_PROCESS, 0, 0)


def reap() -> Iterator[int]:
    """The children of this process that have ended, among them those who lost their parent."""
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            yield pid


def environment(home: Path) -> dict[str, str]:
    """What the shell of a reader has."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        "HOME": str(home),
        "USER": "you",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "PAGER": "cat",
    }


def take_in(commands: list[Command], said: str, names: dict[str, str], folder: Path) -> None:
    """Notes with each command what it printed. Raises Stuck if one was not run to its end."""
    *parts, rest = re.split(r"\x1e([^\x1e]*)\x1e", said)
    for text, mark in zip(parts[::2], parts[1::2], strict=True):
        number, status = map(int, mark.split())
        for port, name in names.items():
            text = re.sub(rf"\b{port}\b", name, text)
        text = re.sub(rf"{folder}/script: line \d+: ", "bash: ", text)
        lines = text.replace(str(folder), HOME).splitlines()
        commands[number].got = [line for line in lines if not _OF_JOBS.match(line)]
        commands[number].status = status
    for one in commands:
        if one.got is None:
            raise Stuck(f"line {one.line}: bash did not get past this: {one.text}\n{rest.strip()}")


def left_over() -> list[str]:
    """The processes below this one that do not end by themselves, a line each."""
    family = procfs.Family(os.getpid())
    deadline = time.monotonic() + SETTLE_SECONDS
    while living := [one for one in family.members() if not one.is_zombie]:
        list(reap())
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return [f"{one.name}, pid {one.pid}" for one in living]


def kill_all() -> None:
    """Ends every process below this one, and waits for it."""
    family = procfs.Family(os.getpid())
    while members := family.members():
        for one in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one.pid, signal.SIGKILL)
        list(reap())
        time.sleep(0.01)


# Telling -------------------------------------------------------------------------------------


def tell(one: Command, page: Path, quiet: bool) -> bool:
    """Prints what a command printed, and what the page says if that differs. Whether it agrees."""
    got = one.got or []
    if agrees(one.printed, got):
        if not quiet:
            print(f"$ {one.text}", *got, sep="\n")
        return True
    print(f"\n{page}:{one.line}: this prints something else (exit status {one.status}):")
    print(f"$ {one.text}", *got, sep="\n")
    print("---- the page says:", *one.printed, "----\n", sep="\n")
    return False


def main() -> int:
    """The command's exit status."""
    parser = argparse.ArgumentParser(description="runs the {run} blocks of a page")
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--quiet", action="store_true", help="print only what differs")
    parser.add_argument("--update", action="store_true", help="write what was printed to the page")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that a page may take")
    options = parser.parse_args()
    return apart(lambda: max(check(page, options) for page in options.pages))


def check(page: Path, options: argparse.Namespace) -> int:
    """Runs the blocks of one page. The exit status for it."""
    try:
        text = page.read_text(encoding="utf-8")
        commands = commands_of(text)
    except (OSError, ValueError) as problem:
        print(f"{page}: {problem}", file=sys.stderr)
        return 2
    try:
        left = run(commands, options.seconds) if commands else []
    except Stuck as problem:
        for before in commands:
            if before.got is not None:  # what differed there is often the cause
                tell(before, page, quiet=True)
        print(f"{page}: {problem}", file=sys.stderr)
        return 4
    differs = [one for one in commands if not tell(one, page, options.quiet)]
    for one in left:
        print(f"{page}: still running at the end of the page, and now ended: {one}")
    if options.update and differs:
        page.write_text(updated(text, commands), encoding="utf-8")
        print(f"{page}: {len(differs)} commands have what they print now.")
    elif not differs and not left:
        print(f"{page}: {len(commands)} commands print what the page says.")
    return 1 if left or (differs and not options.update) else 0


# On a machine with others ---------------------------------------------------------------------

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = (
    0x20000,
    0x20000000,
    0x40000000,
)  # linux/sched.h
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = (
    2,
    4,
    8,
    0x4000,
    0x40000,
)  # linux/mount.h
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # netdevice(7)
PR_SET_PDEATHSIG = 1
CANNOT = 99  # the exit status of one that could not go apart
FIRST_PID = 4200  # as on a machine that has been up for a while

libc = ctypes.CDLL(None, use_errno=True)


def apart(work: Callable[[], int]) -> int:
    """What ``work()`` returns, run in namespaces of its own for pids and the network if we may.

    `ps -C server` shows the page's own servers then, whoever else runs some.
    """
    if os.geteuid() != 0:
        return work()
    status = in_child(lambda: in_namespaces(work))
    return work() if status == CANNOT else status


def in_namespaces(work: Callable[[], int]) -> int:
    """What ``work()`` returns, run as the first process of new namespaces; CANNOT if we may not."""
    if libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET) < 0:
        return CANNOT

    def first() -> int:
        flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
        if (
            libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) < 0
            or libc.mount(b"proc", b"/proc", b"proc", flags, None) < 0
        ):
            return CANNOT
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
        with contextlib.suppress(OSError):
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(FIRST_PID))
        return work()

    return in_child(first)


def in_child(work: Callable[[], int]) -> int:
    """What ``work()`` returns, run in a child. Who tells us to end tells the child."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        status = 4
        try:
            status = work()
        except KeyboardInterrupt:
            status = 130
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    while True:
        try:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except KeyboardInterrupt:
            os.kill(pid, signal.SIGTERM)


def end(_signal: int, _frame: object) -> None:
    """What was started is to be ended, once."""
    for one in ENDS:
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

if __name__ == "__main__":
    for one in ENDS:
        signal.signal(one, end)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
