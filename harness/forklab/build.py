"""Compiling a submission, twice: plain, and with the sanitizers. Knows nothing of servers.

Compiling is running foreign input too (``#include "/etc/shadow"``, macro bombs), so the compiler is
contained like the program itself, and its output is cut.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from forklab import contain, paths, tiers
from forklab.errors import GraderError, UsageError
from forklab.limits import MEBIBYTE, Limits

# Messages are broken at 72 columns, so that source lines and carets still fit when indented.
WARNINGS = ("-std=gnu17", "-Wall", "-Wextra", "-fmessage-length=72")
SANITIZERS = ("-g1", "-fsanitize=address,undefined")  # lines, and nothing that takes longer
DEBUGGED = ("-g",)  # where lines are to be told of a program that runs as it is
# The wall clock gets more than CPU time does, for a loaded machine.
COMPILE_LIMITS = Limits(memory=1024 * MEBIBYTE, address_space=2048 * MEBIBYTE, cpu=10, wall=40)
# What gcc says of a part of it that came to a limit (strsignal(3), strerror(3), and its own words).
DRIVERS_WORDS = {
    "cpu": ("CPU time limit exceeded",),
    "output": ("File size limit exceeded", "File too large"),
    "memory": ("Cannot allocate memory", "memory exhausted", "out of memory allocating"),
}
LINKERS_WORDS = ("collect2: ", "linker command failed")  # gcc's and clang's, when it failed
MAX_OUTPUT = 20_000  # characters of the compiler's words that are kept
CUT = "\n[... the compiler said more]"
MAX_HEADERS = 64  # headers beside the source that are copied with it


@dataclass(frozen=True)
class Built:
    """What came of one compilation."""

    binary: Path | None  # None: it does not build
    output: str  # the compiler's words, cut at MAX_OUTPUT characters
    seconds: float
    limits: Mapping[str, str] = field(default_factory=dict)  # that the compiler came to

    @property
    def ok(self) -> bool:
        return self.binary is not None


def find_source(path: str | Path) -> Path:
    """The file to compile for what the user named: a C file, or a folder with a server.c.

    Raises UsageError with a sentence that says what is wrong.
    """
    path = Path(path)
    try:
        if path.is_dir():
            if not (path / "server.c").is_file():
                raise UsageError(f"there is no server.c in {path}/")
            path = path / "server.c"
        elif not path.exists():
            raise UsageError(f"{path} does not exist")
        elif not path.is_file():
            raise UsageError(f"{path} is not a file")
        with path.open("rb"):
            pass
    except OSError as problem:
        raise UsageError(f"cannot read {path}: {problem.strerror}") from problem
    return path


class Submission:
    """One student's program and its two builds, which go on beside what else happens.

    Raises UsageError when there is no such program. ``folder`` is where the builds go.
    """

    def __init__(self, lab: str, path: str | Path, folder: Path) -> None:
        self.lab = lab
        self.path = str(path)
        self.source = find_source(path)
        self.folder = folder
        self.text = self.source.read_bytes()
        self.probe_folder = folder / "probe"
        self._holds = ExitStack()
        self._sandbox: contain.Sandbox | None = None
        self._builds: dict[str, Built | GraderError] = {}
        self._compiling: contain.Sandbox | None = None
        self._compiling_lock = threading.Lock()
        self._threads = {
            kind: threading.Thread(target=self._build, args=(kind, flags), daemon=True)
            for kind, flags in (("plain", ()), ("sanitized", SANITIZERS))
        }
        for thread in self._threads.values():
            thread.start()

    @cached_property
    def sha256(self) -> str:
        """Of the source text that was compiled."""
        return hashlib.sha256(self.text).hexdigest()

    @cached_property
    def is_untouched(self) -> bool:
        """Whether it is still the starter as the kit hands it out."""
        try:
            return paths.starter_of(self.lab).read_bytes() == self.text
        except OSError:
            return False

    def __enter__(self) -> Submission:
        return self

    def __exit__(self, *_: object) -> None:
        """Waits until no build writes to the folder any more, and ends the sandbox."""
        for thread in self._threads.values():
            thread.join()
        self._holds.close()

    @property
    def sandbox(self) -> contain.Sandbox | None:
        """What all of its servers are started in, on tier bwrap. Raises GraderError."""
        if tiers.tier() == tiers.BWRAP and (self._sandbox is None or self._sandbox.has_ended):
            self._sandbox = self._new_sandbox()
        return self._sandbox

    def _sandbox_of_compilers(self) -> contain.Sandbox | None:
        """What both builds go on in, on tier bwrap; any thread may ask. Raises GraderError."""
        with self._compiling_lock:
            if tiers.tier() == tiers.BWRAP and self._compiling is None:
                folders = [self.folder / kind for kind in self._threads]
                for folder in folders:
                    _out(folder).mkdir(parents=True, exist_ok=True)
                self._compiling = self._holds.enter_context(
                    contain.Sandbox(
                        reads=[*folders, *_outside_the_system(contain.compiler())],
                        writes=[_out(folder) for folder in folders],
                        scratch=self.folder / "scratch",
                    )
                )
            return self._compiling

    def _new_sandbox(self) -> contain.Sandbox:
        reads = [self.probe_folder, *(_out(self.folder / kind) for kind in self._threads)]
        for folder in reads:
            folder.mkdir(parents=True, exist_ok=True)
        return self._holds.enter_context(contain.Sandbox(reads=reads, scratch=self.folder / "home"))

    @property
    def plain(self) -> Built:
        """The build that is graded. Waits for it. Raises GraderError if it could not be tried."""
        return self._await("plain")

    @property
    def sanitized(self) -> Built:
        """The build with AddressSanitizer and UndefinedBehaviorSanitizer, likewise."""
        return self._await("sanitized")

    @property
    def limits_reached(self) -> Mapping[str, str]:
        """The limits that the compiler came to so far, each with a sentence."""
        built = [one for one in self._builds.values() if isinstance(one, Built)]
        return {name: text for one in built for name, text in one.limits.items()}

    def _await(self, kind: str) -> Built:
        self._threads[kind].join()
        built = self._builds[kind]
        if isinstance(built, GraderError):
            raise built
        return built

    def _build(self, kind: str, flags: tuple[str, ...]) -> None:
        try:
            sandbox = self._sandbox_of_compilers()
            self._builds[kind] = compile_program(self.source, self.folder / kind, flags, sandbox)
        except GraderError as problem:
            self._builds[kind] = problem
        except Exception as problem:
            self._builds[kind] = GraderError(f"compiling went wrong in the grader: {problem!r}")


def compile_program(
    source: Path,
    folder: Path,
    flags: tuple[str, ...] = (),
    sandbox: contain.Sandbox | None = None,
) -> Built:
    """Compiles ``source``, with what it uses of labs/common, into a folder below ``folder``.

    ``sandbox``: one in which ``folder`` can be read, and that folder below it written to.
    """
    _out(folder).mkdir(parents=True, exist_ok=True)
    _copy_sources(source, folder)
    library = _common_library(flags)
    shutil.copy(library, folder / library.name)
    command = [
        *(contain.compiler(), *WARNINGS, *flags, *_headers_as_named(contain.compiler())),
        *(f"./{source.name}", library.name),
        # A program may have a write_all of its own beside what it uses of ours: its own counts.
        # And whether the system's libraries are complete is not to be looked into each time.
        # Nor is each child to look up the names again that its parent has not used yet.
        *("-Wl,--allow-multiple-definition,--allow-shlib-undefined,-z,now", "-o", "out/server"),
    ]
    started = time.monotonic()
    linker = _linker(flags)
    ended, output, limits = _run([*command, *linker], folder, sandbox)
    if linker and any(word in output for word in LINKERS_WORDS):  # is it the linker's own fault?
        ended, output, limits = _run(command, folder, sandbox)
    seconds = time.monotonic() - started
    binary = _out(folder) / "server"
    if ended is not None and ended.ok and binary.is_file():
        binary.chmod(0o755)
        return Built(binary, output, seconds)
    if ended is None:
        output += f"\n{limits['wall']}"
    elif ended.signal is not None:
        name = contain.signal_name(ended.signal)
        output += f"\nThe compiler was killed by {name}.\n{ended.because}"
    return Built(None, output.strip() or f"The compiler said nothing ({ended}).", seconds, limits)


def _out(folder: Path) -> Path:
    """Where the compiler writes to."""
    return folder / "out"


def _copy_sources(source: Path, folder: Path) -> None:
    """Copies the source, the headers beside it and those of labs/common."""
    try:
        shutil.copy(source, folder / source.name)
        beside = sorted(source.parent.glob("*.h"))[:MAX_HEADERS]
        for header in [*(paths.LABS / "common").glob("*.h"), *beside]:
            if header.is_file() and header.stat().st_size <= MEBIBYTE:
                shutil.copy(header, folder / header.name)
        for copy in folder.iterdir():
            copy.chmod(0o755 if copy.is_dir() else 0o644)
    except OSError as problem:
        raise GraderError(f"cannot copy {source} to {folder}: {problem.strerror}") from problem


def _run(
    command: list[str], folder: Path, sandbox: contain.Sandbox | None
) -> tuple[contain.Exit | None, str, dict[str, str]]:
    """Runs the compiler contained.

    How it ended (None: it was stopped), what it said, and the limits that it came to.
    """
    # Not on the disk, in a sandbox: some file systems would write there all that is put into it.
    scratch = sandbox.scratch if sandbox else folder.with_name(f"{folder.name}-scratch")
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "TMPDIR": str(scratch),
        "LC_ALL": "C",
    }
    said = folder / "compiler-output"
    with (
        said.open("wb") as output,
        contain.start(
            command,
            cwd=folder,
            env=environment,
            stdout=output.fileno(),
            stderr=output.fileno(),
            limits=COMPILE_LIMITS,
            reads=_outside_the_system(command[0]),
            writes=[_out(folder)],
            scratch=scratch,
            sandbox=sandbox,
        ) as compiling,
    ):
        ended = compiling.wait(COMPILE_LIMITS.wall)
    with said.open("rb") as file:
        text = file.read(MAX_OUTPUT + 1).decode(errors="replace")
    if len(text) > MAX_OUTPUT:
        text = text[:MAX_OUTPUT] + CUT
    own_words = "\n".join(line for line in text.splitlines() if " | " not in line)
    reached = compiling.reached | {
        name for name, words in DRIVERS_WORDS.items() if any(one in own_words for one in words)
    }
    limits = {name: f"The compiler: {COMPILE_LIMITS.reached(name)}" for name in sorted(reached)}
    if ended is None:
        limits["wall"] = f"The compiler was stopped after {COMPILE_LIMITS.wall} s: it did not end."
    return ended, text, limits


@cache
def _linker(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Gold, which takes half as long with the sanitizers' libraries, where there is one.

    Not for the plain build: that one's words are the student's, and gold's lines are long.
    """
    gold = shutil.which("ld.gold")
    fit = flags == SANITIZERS and gold and tiers.is_of_the_system(gold)
    return ("-fuse-ld=gold",) if fit else ()


@cache
def _headers_as_named(compiler: str) -> tuple[str, ...]:
    """What spares gcc a readlink(2) for each part of each system header's path.

    It would do that only to say the path in fewer letters. Other compilers don't know the option.
    """
    is_gcc = "gcc" in Path(compiler).resolve().name  # cc is a link to x86_64-linux-gnu-gcc-12
    return ("-fno-canonical-system-headers",) if is_gcc else ()


def _outside_the_system(compiler: str) -> list[Path]:
    """The folder of a compiler that does not come with the system: /opt/gcc/bin/gcc."""
    path = Path(compiler).resolve()
    return [] if path.is_relative_to("/usr") else [path.parent.parent]


_library_lock = threading.Lock()


def _common_library(flags: tuple[str, ...]) -> Path:
    """labs/common as a static library, compiled when it is missing or out of date."""
    sources = sorted((paths.LABS / "common").glob("*.c"))
    newest = max(file.stat().st_mtime for file in (paths.LABS / "common").iterdir())
    folder = paths.BUILD / "common" / ("sanitized" if flags == SANITIZERS else "plain")
    library = folder / "libcommon.a"
    with _library_lock:
        if library.exists() and library.stat().st_mtime >= newest:
            return library
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                command = [contain.compiler(), *WARNINGS, "-g", *flags, "-c", *map(str, sources)]
                done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
                if done.returncode == 0:
                    objects = [source.with_suffix(".o").name for source in sources]
                    command = ["ar", "rcs", library.name, *objects]
                    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
                if done.returncode != 0:
                    raise GraderError(f"labs/common does not build:\n{done.stderr}")
                Path(scratch, library.name).replace(library)
        except OSError as problem:
            raise GraderError(f"cannot build labs/common: {problem.strerror}") from problem
    return library
