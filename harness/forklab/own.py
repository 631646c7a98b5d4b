"""An instructor's own checks: a folder of pytest files beside the kit's (docs/own-checks.md).

What is wrong with the folder is told before anything is graded, as a UsageError that names the file
and the line: an instructor's mistake must never look like the student's.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import io
import re
import sys
import tomllib
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from forklab import paths, rubric
from forklab.errors import UsageError
from forklab.rubric import Check, Diagnosis


@dataclass(frozen=True)
class OwnChecks:
    """What a folder adds to the rubric."""

    modules: Mapping[Path, ModuleType]  # its files, imported
    checks: tuple[Check, ...]  # by number

    def of_lab(self, lab: str) -> list[Check]:
        """Those of one lab, in order."""
        return [one for one in self.checks if one.lab == lab]


def load(folder: str | Path) -> OwnChecks:
    """Imports the folder's ``test_*.py`` and adds its diagnoses to the catalogue.

    Raises UsageError where something is wrong with it.
    """
    folder = Path(folder).resolve()
    files = sorted(folder.glob("test_*.py"))
    if not files:
        what = "no test_*.py in it" if folder.is_dir() else "no such folder"
        raise UsageError(f"--extra-checks {folder}: {what}")
    if (conftest := folder / "conftest.py").exists():
        raise UsageError(f"{conftest}: fixtures belong into the file that uses them, or a helper")
    codes = _diagnoses(folder / rubric.CATALOGUE.name)
    rubric.diagnoses().update(codes)
    modules = _import_all(folder, files)
    places: dict[str, str] = {}  # number -> where it is
    found = [
        _checked(function, f"{path}:{function.__code__.co_firstlineno}", places)
        for path, module in modules.items()
        for function in _tests(path, module)
    ]
    if not found:
        raise UsageError(f"--extra-checks {folder}: there is no check in it")
    own = OwnChecks(modules, tuple(sorted(found, key=by_number)))
    for one in own.checks:
        known = [check.id for check in (*rubric.of_lab(one.lab), *own.of_lab(one.lab))]
        if one.needs is not None and one.needs not in known[: known.index(one.id)]:
            raise UsageError(f"{places[one.id]}: {one.id} needs {one.needs!r}, no check before it")
    for path, module in modules.items():
        _look_through(path, module)
    return own


def by_number(check: Check) -> tuple[int, int]:
    """What puts checks in order: 3.9 before 3.10."""
    lab, _, number = check.id.partition(".")
    return int(lab), int(number)


def _import_all(folder: Path, files: list[Path]) -> dict[Path, ModuleType]:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last: a helper of theirs, but never instead of ours
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # nothing beside them
    try:
        return {path: _import(path) for path in files}
    finally:
        sys.dont_write_bytecode = writes_bytecode


def _import(path: Path) -> ModuleType:
    # By a name of its own: theirs may be called test_lab3.py, too.
    spec = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except SyntaxError as problem:
        where = f"{problem.filename or path}:{problem.lineno or 1}"
        raise UsageError(f"{where}: {problem.msg}") from problem
    except BaseException as problem:  # sys.exit and pytest.skip are no Exceptions
        frames = traceback.extract_tb(problem.__traceback__)
        line = next((one.lineno for one in reversed(frames) if one.filename == str(path)), 1)
        said = f"{type(problem).__name__}: {problem}"
        raise UsageError(f"{path}:{line}: it can't be imported: {said}") from problem
    return module


def _tests(path: Path, module: ModuleType) -> Iterator[Callable[..., object]]:
    """The functions of a file that are checks, after a look whether pytest will run just these."""
    for name, value in vars(module).items():
        if inspect.isclass(value) and name.startswith("Test"):
            raise UsageError(f"{path}: {name} is a class: a check is a function")
        if not inspect.isfunction(value):
            continue
        where = f"{path}:{value.__code__.co_firstlineno}: {name}"
        marks = [mark.name for mark in getattr(value, "pytestmark", [])]
        if name.startswith("test") and "check" not in marks:
            raise UsageError(f"{where} is no check: it needs @check(...)")
        if "check" in marks and not name.startswith("test"):
            raise UsageError(f"{where} would not be run: its name must begin with test_")
        if len(marks) > 1:
            raise UsageError(f"{where}: @check is the only mark that a check can have")
        if marks and (inspect.isgeneratorfunction(value) or inspect.iscoroutinefunction(value)):
            raise UsageError(f"{where}: a check is a plain function: no yield, no async")
        if marks:
            yield value


def _checked(function: Callable[..., object], where: str, places: dict[str, str]) -> Check:
    """The check that a function is. Notes its place; raises UsageError where it can't be one."""
    (mark,) = function.pytestmark  # type: ignore[attr-defined]
    check: Check = mark.args[0]
    for word in (check.id, check.name, *check.hints, check.read, check.needs or ""):
        if not isinstance(word, str):
            raise UsageError(f"{where}: {word!r} needs quotes: it is no text")
    if not re.fullmatch(r"[1-9]\d*\.[1-9]\d*", check.id) or check.lab not in paths.LAB_FOLDERS:
        raise UsageError(f"{where}: {check.id!r} is no number of a check, such as 3.20 in lab 3")
    kit = rubric.of_lab(check.lab)
    if namesake := next((one for one in kit if one.id == check.id), None):
        raise UsageError(f"{where}: the kit has a {check.id} already, {namesake.name!r}")
    if check.id in places:
        raise UsageError(f"{where}: {check.id} is there twice, also at {places[check.id]}")
    if type(check.points) is not int or check.points < 1:
        raise UsageError(
            f"{where}: {check.id} has points={check.points!r}, not a whole number from 1 on "
            "(a weights file can make it 0)"
        )
    if not (function.__doc__ or "").strip():
        raise UsageError(f"{where}: {check.id} has no docstring, which says what the check did")
    places[check.id] = where
    return check


# Diagnoses


def _diagnoses(path: Path) -> dict[str, Diagnosis]:
    """Those of the folder's catalogue, if it has one."""
    if not path.exists():
        return {}
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except (ValueError, OSError) as problem:
        raise UsageError(f"{path}: it can't be read: {problem}") from problem
    kit = rubric.read_diagnoses()
    for code, entry in table.items():
        if code in kit:
            raise UsageError(f"{place_in(path, code)}: [{code}] is the kit's already")
        for key in ("title", "why", "think", "read"):
            if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
                raise UsageError(f'{place_in(path, code)}: [{code}] needs {key} = "..."')
    return rubric.read_diagnoses(path)


def place_in(file: str | Path, table: str, key: str = "") -> str:
    """Where a TOML file has a table, or a key in it, as "file:line": tomllib doesn't say."""
    inside = ""
    for number, line in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), 1):
        word = re.split(r"[\]=]", line.strip().lstrip("["))[0].strip(" \"'")
        if line.lstrip().startswith("["):
            inside = word
        if (inside == table and word == key) if key else word == table:
            return f"{file}:{number}"
    return str(file)


# What can be said of a file without running its checks

# Those of pytest's own that are of use to a check.
PYTEST_FIXTURES = {
    *("request", "tmp_path", "tmp_path_factory", "monkeypatch", "pytestconfig", "recwarn"),
}


def _look_through(path: Path, module: ModuleType) -> None:
    """Raises UsageError where a file's checks ask for what isn't there, or hide each other."""
    tree = ast.parse(path.read_bytes())
    _expect_codes(path, tree)
    fixtures = _fixtures(ast.parse(KIT_FIXTURES.read_bytes()))
    known = {*PYTEST_FIXTURES, *fixtures, *_fixtures(tree), *vars(module)}
    lines: dict[str, int] = {}
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        where = f"{path}:{node.lineno}: {node.name}"
        is_check = node.name.startswith("test")
        if is_check and node.name in lines:
            hidden = f"the one in line {lines[node.name]}"
            raise UsageError(f"{where} hides {hidden}: give it another name")
        lines[node.name] = node.lineno
        if is_check or _is_fixture(node):
            for name in _needed(node.args):
                if name not in known:
                    names = ", ".join(sorted(fixtures))
                    raise UsageError(f"{where}: there is no fixture {name!r}; there are {names}")


def _needed(arguments: ast.arguments) -> Iterator[str]:
    """The parameters without a value of their own."""
    yield from (one.arg for one in arguments.args[: -len(arguments.defaults) or None])
    for one, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if value is None:
            yield one.arg


KIT_FIXTURES = Path(__file__).with_name("plugin.py")


def _is_fixture(node: ast.FunctionDef) -> bool:
    return any("fixture" in ast.unparse(maker) for maker in node.decorator_list)


def _fixtures(tree: ast.Module) -> set[str]:
    """The fixtures that a file makes, by the names that checks know them by."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and _is_fixture(node):
            words = [word for maker in node.decorator_list for word in ast.walk(maker)]
            named = [one for one in words if isinstance(one, ast.keyword) and one.arg == "name"]
            found.add(ast.unparse(named[0].value).strip("'") if named else node.name)
    return {one for one in found if not one.startswith("_")}


def _expect_codes(path: Path, tree: ast.Module) -> None:
    """Raises UsageError where the file names, in so many letters, a diagnosis that isn't there."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.keyword) or node.arg != "diagnosis":
            continue
        value = node.value
        for one in (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,):
            code = one.value if isinstance(one, ast.Constant) else None
            if isinstance(code, str) and code not in rubric.diagnoses():
                raise UsageError(
                    f"{path}:{one.lineno}: there is no diagnosis {code!r}, neither in the kit's "
                    f"diagnoses.toml nor in one beside this file"
                )


# To another machine


def pack(folder: str | Path) -> bytes:
    """The folder's files as a zip: for the same files, the same bytes."""
    folder = Path(folder)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            hidden = any(part.startswith((".", "__pycache__")) for part in name.parts)
            if path.is_file() and not hidden:
                archive.writestr(zipfile.ZipInfo(name.as_posix()), path.read_bytes())
    return packed.getvalue()


def unpack(packed: bytes, folder: Path) -> Path:
    """Puts what :func:`pack` made into ``folder``, which is made if need be, and returns it."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(folder)
    return folder
