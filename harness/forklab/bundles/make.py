"""Making the copies: a zip for Gradescope, a folder for Classroom 50, a tarball for students.

What goes into them is named here; what isn't named stays at home. The same tree gives the same
bytes: names are sorted, and every file has the same owner and time.
"""

from __future__ import annotations

import gzip
import io
import re
import shutil
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from forklab import paths
from forklab.errors import UsageError

if TYPE_CHECKING:
    from forklab.own import OwnChecks

TEMPLATES = Path(__file__).parent / "templates"
TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
SECONDS = 315_532_800  # the same, since 1970, UTC

# The labs come on top of these: see kit().
KIT = (
    *("LICENSE", "harness/bootstrap.sh", "harness/requirements.lock", "harness/pyproject.toml"),
    *("harness/conftest.py", "harness/keeper/*.c", "harness/probe/*.c", "harness/forklab/**/*"),
    *("labs/common/*.[ch]", "labs/client/*.c"),
)
# Of the package: what is for those who work on the kit itself.
OWN = (
    *("bench.py", "soak.py", "gallery.py", "mutants.py", "render/pages.py", "bundles/make.py"),
    # Of the pictures, what draws a student's own run stays: draw/svg.py.
    *("draw/architecture.py", "draw/descriptors.py", "draw/figures.py"),
    *("draw/one-wait-per-signal.json", "draw/queue.py", "draw/report.py", "draw/runs"),
    *("draw/session.py", "draw/signals.py"),
)
JUNK = re.compile(r"(^|/)(\.|__pycache__/)|~$|\.(pyc|orig|rej|backup)$")


@dataclass(frozen=True)
class File:
    """A file to put into a bundle."""

    content: bytes
    executable: bool = False


Files = dict[str, File]  # by path, with slashes


# What goes in ----------------------------------------------------------------------------------


def kit(labs: Sequence[str]) -> Files:
    """What grading these labs takes. Of each lab the starter, never anybody's work or solution.

    Raises UsageError where this copy of the kit can't be given on.
    """
    package = paths.HARNESS / "forklab"
    if not all((package / name).exists() for name in OWN):
        raise UsageError("this is a copy that was handed out; make others from the whole kit")
    names = [
        name
        for pattern in KIT
        for file in paths.KIT.glob(pattern)
        if file.is_file() and not JUNK.search(name := str(file.relative_to(paths.KIT)))
    ]
    left_out = tuple(f"harness/forklab/{name}" for name in (*OWN, "bundles/templates/"))
    files = {name: _read(paths.KIT / name) for name in names if not name.startswith(left_out)}
    for lab in labs:
        folder = f"labs/{paths.LAB_FOLDERS[lab]}"
        files[f"{folder}/README.md"] = _read(paths.handout_of(lab))
        files[f"{folder}/server.c"] = _read(paths.starter_of(lab))
        for file in paths.starter_of(lab), paths.CHECKS / f"test_{lab}.py":
            files[str(file.relative_to(paths.KIT))] = _read(file)
    return files


def _read(file: Path) -> File:
    return File(file.read_bytes(), executable=bool(file.stat().st_mode & 0o100))


def _template(name: str, executable: bool = False, **values: str) -> File:
    """One of the templates, with ``@NAME@`` replaced by the value of that name."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    for word, value in values.items():
        text = text.replace(f"@{word}@", value)
    return File(text.encode(), executable)


def _below(folder: str, files: Files) -> Files:
    return {f"{folder}/{name}": file for name, file in files.items()}


@dataclass(frozen=True)
class Hidden:
    """What an instructor adds to the kit's checks: a folder of own ones, and points.

    Raises UsageError where something is wrong with them.
    """

    extra_checks: Path | None = None
    weights: Path | None = None

    def __post_init__(self) -> None:
        if self.extra_checks or self.weights:
            self._load()

    def __bool__(self) -> bool:
        return self.extra_checks is not None or self.weights is not None

    def of_lab(self, lab: str) -> Files:
        """Those of one lab, where the platforms' scripts look for them.

        Raises UsageError for a file with checks of this lab and of another, whose rubric a bundle
        doesn't have.
        """
        if not self:
            return {}
        own, points = self._load()
        files: Files = {}
        if self.extra_checks is not None and own is not None:
            absent = {path for path, module in own.modules.items() if not _is_of(lab, path, module)}
            for file in self.extra_checks.resolve().rglob("*"):
                name = f"extra-checks/{file.relative_to(self.extra_checks.resolve())}"
                if file.is_file() and file not in absent and not JUNK.search(name):
                    files[name] = _read(file)
            if absent == own.modules.keys():
                files = {}
        lines = [
            f'"{number}" = {value}\n' for number, value in points.items() if _lab(number) == lab
        ]
        if lines:
            files["weights.toml"] = File("".join([f"[{lab}]\n", *lines]).encode())
        return files

    def _load(self) -> tuple[OwnChecks | None, dict[str, int]]:
        from forklab.plugin import instructors

        given = self.extra_checks, self.weights
        checks, weights = (None if path is None else str(path) for path in given)
        return instructors(checks, weights)


def _lab(number: str) -> str:
    return f"lab{number.partition('.')[0]}"


def _is_of(lab: str, path: Path, module: ModuleType) -> bool:
    """Whether a file of own checks has some of that lab."""
    marks = [mark for value in vars(module).values() for mark in getattr(value, "pytestmark", [])]
    labs = {mark.args[0].lab for mark in marks if mark.name == "check"}
    if lab in labs and len(labs) > 1:
        others = " and ".join(sorted(labs - {lab}))
        raise UsageError(
            f"{path}: a bundle has one lab: move the checks of {others} to another file"
        )
    return lab in labs


# Writing it ------------------------------------------------------------------------------------


def _zip(files: Mapping[str, File]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in sorted(files.items()):
            entry = zipfile.ZipInfo(name, TIME)
            entry.create_system = 3  # Unix: the upper half is st_mode
            entry.external_attr = (0o100755 if file.executable else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.content)
    return packed.getvalue()


def _tarball(files: Mapping[str, File]) -> bytes:
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=SECONDS) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, file in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(file.content), SECONDS
            entry.mode = 0o755 if file.executable else 0o644
            archive.addfile(entry, io.BytesIO(file.content))
    return packed.getvalue()


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.new")
    try:
        new.write_bytes(content)
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)


# The three bundles -----------------------------------------------------------------------------


def bundle(
    kind: str,
    labs: str,
    target: Path | None = None,
    extra_checks: Path | None = None,
    weights: Path | None = None,
) -> str:
    """Makes one: "gradescope", "classroom50" or "handout". Returns a sentence that says where.

    ``labs`` is as for :func:`labs_in`; "" means all. Raises UsageError.
    """
    chosen = labs_in(labs) if labs else list(paths.LAB_FOLDERS)
    own = Hidden(extra_checks, weights)
    if kind == "gradescope" and len(chosen) != 1:
        raise UsageError("an assignment on Gradescope has one lab. For example: LAB=3")
    if kind == "handout" and own:
        raise UsageError("a handout carries no checks of your own: they would not be hidden")
    usual = {
        "gradescope": f"gradescope-{chosen[0]}.zip",
        "classroom50": "classroom50",
        "handout": "forklab-handout.tar.gz",
    }
    target = target or paths.KIT / "out" / usual[kind]
    try:
        if kind == "gradescope":
            gradescope(chosen[0], target, own)
        elif kind == "classroom50":
            classroom50(chosen, target, own)
        else:
            handout(chosen, target)
    except OSError as problem:
        raise UsageError(f"cannot write {target}: {problem.strerror}") from problem
    return f"{target}: {', '.join(chosen)}. What to do with it: docs/autograders.md"


def gradescope(lab: str, target: Path, own: Hidden) -> None:
    """Writes the zip to upload as a programming assignment's autograder."""
    files = {
        "setup.sh": _template("gradescope/setup.sh", executable=True, LAB=lab),
        "run_autograder": _template("gradescope/run_autograder", executable=True, LAB=lab),
        **_below("kit", kit([lab]) | own.of_lab(lab)),
    }
    _write(target, _zip(files))


def classroom50(labs: Sequence[str], target: Path, own: Hidden) -> None:
    """Writes the folder: autograders to publish, and a template repository for each lab.

    Raises UsageError when there is something else at ``target``.
    """
    files = {"README.md": _template("classroom50/README.md")}
    for lab in labs:
        grader = {
            "autograder.py": _template("classroom50/autograder.py", LAB=lab),
            "kit.tar.gz": File(_tarball(kit([lab]) | own.of_lab(lab))),
        }
        files |= _below(f"autograders/{lab}", grader)
        files[f"runtime/{lab}.json"] = _template("classroom50/runtime.json")
        files |= _below(f"templates/{lab}", student_kit([lab]))
        workflow = _template("classroom50/report.yaml", LAB=lab)
        files[f"templates/{lab}/.github/workflows/report.yaml"] = workflow
    _replace_folder(target, files)


def _replace_folder(target: Path, files: Files) -> None:
    """Writes the folder anew, where there is none yet or one that we made."""
    known, title = target / "README.md", files["README.md"].content.splitlines()[0]
    ours = known.is_file() and known.read_bytes().startswith(title)
    if target.exists() and not ours and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is there already and holds something else: remove it first")
    if target.exists():
        shutil.rmtree(target)
    for name, file in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(0o755 if file.executable else 0o644)


def handout(labs: Sequence[str], target: Path) -> None:
    """Writes the tarball for students, with one folder in it."""
    _write(target, _tarball(_below("forklab", student_kit(labs))))


def student_kit(labs: Sequence[str]) -> Files:
    """The kit with a Makefile and a README that speak of these labs alone."""
    files = {
        name: file
        for name, file in kit(labs).items()
        if not name.startswith("harness/forklab/bundles/")
    }
    makefile = (paths.KIT / "Makefile").read_text(encoding="utf-8")
    files["Makefile"] = File(_students_makefile(makefile, labs).encode())
    files["README.md"] = _students_readme(labs)
    files[".gitignore"] = _read(paths.KIT / ".gitignore")
    return files


def _students_makefile(text: str, labs: Sequence[str]) -> str:
    """The Makefile without the sections that are not for students."""
    start, students, rest = text.partition("##@ For students\n")
    mine, _, others = rest.partition("\n##@ ")
    others, ruler, machinery = others.partition("\n# ---- set-up")
    cleaning = re.search(r"^## clean \|.*", others, re.M | re.S)
    assert ruler
    assert cleaning
    absent = _targets(others) - _targets(cleaning[0]) | set(paths.LAB_FOLDERS) - set(labs)
    refusal = (
        f".PHONY: {' '.join(sorted(absent))}\n{' '.join(sorted(absent))}:\n"
        '\t@echo "make $@ is not in this copy of the kit, which is a student\'s." >&2; exit 2\n'
    )
    kept = "".join([start, students, mine, f"\n{cleaning[0]}\n\n"])
    # What an absent target needs is not to be asked for.
    kept = re.sub(rf"^\$\(call need,({'|'.join(absent)}),.*\n", "", kept, flags=re.M)
    kept = re.sub(r"^# What the targets that make a bundle.*?\n\n", "", kept, flags=re.M | re.S)
    return "".join([_speak_of(kept, labs), refusal, ruler, machinery])


def _targets(makefile: str) -> set[str]:
    return {
        name for names in re.findall(r"^\.PHONY: (.*)$", makefile, re.M) for name in names.split()
    }


def _speak_of(makefile: str, labs: Sequence[str]) -> str:
    """The same with these labs for all labs, and the last of them in the examples."""
    last = labs[-1].removeprefix("lab")
    makefile = makefile.replace("lab1 lab2 lab3 lab4", " ".join(labs))
    makefile = makefile.replace("CHECK=4.7", f"CHECK={last}.3").replace("LAB=3", f"LAB={last}")
    return makefile.replace("make lab1", f"make {labs[0]}")


def _students_readme(labs: Sequence[str]) -> File:
    numbers = [lab.removeprefix("lab") for lab in labs]
    table = re.findall(r"^\| \d \|.*$", (paths.KIT / "README.md").read_text("utf-8"), re.M)
    rows = [row for row in table if row[2] in numbers]
    return _template(
        "handout/README.md",
        ROWS="\n".join(rows),
        FIRST=labs[0],
        FOLDER=paths.LAB_FOLDERS[labs[0]],
        NUMBER=numbers[0],
    )


def labs_in(text: str) -> list[str]:
    """The labs that "3", "lab3", "1-3" or "1,3" names. Raises UsageError for anything else."""
    found: set[str] = set()
    for part in text.split(","):
        span = re.fullmatch(r"\s*(?:lab)?(\d)(?:\s*-\s*(?:lab)?(\d))?\s*", part)
        labs = [f"lab{n}" for n in range(int(span[1]), int(span[2] or span[1]) + 1)] if span else []
        if not labs or not set(labs) <= set(paths.LAB_FOLDERS):
            known = ", ".join(name.removeprefix("lab") for name in paths.LAB_FOLDERS)
            raise UsageError(f"{text!r} names no labs; the labs are {known}, and 1-3 means three")
        found.update(labs)
    return [lab for lab in paths.LAB_FOLDERS if lab in found]
