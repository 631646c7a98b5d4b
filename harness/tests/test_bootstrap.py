"""harness/bootstrap.sh in small copies of the kit: no network, nothing outside the copy changes.

The packages are three empty wheels made here, with a lock file of their own; venv and pip are real.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HARNESS = Path(__file__).resolve().parents[1]
# A venv's own Python can't stand for the system's.
PYTHON = getattr(sys, "_base_executable", sys.executable)
TOOLS = "cat cmp chmod cp dirname env flock grep id mkdir readlink rm sh touch uname".split()
NO_INDEX = {"PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": "http://127.0.0.1:9/"}
UNREACHABLE = "The package index can't be reached"

can_make_venvs = pytest.mark.skipif(
    not importlib.util.find_spec("ensurepip"),
    reason="this Python has no ensurepip (Debian: python3-venv), so it can't make a venv with pip",
)


def executable(path: Path, script: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


class Kit:
    """A checkout, and a PATH of its own with a C compiler, a Python and little else."""

    def __init__(self, folder: Path) -> None:
        # A space and a letter beyond ASCII: paths that real checkouts have.
        self.root = folder / "포크 lab"
        self.bin = folder / "bin"
        self.wheels = folder / "wheels"
        for made in self.root / "harness" / "forklab", self.bin, self.wheels:
            made.mkdir(parents=True)
        shutil.copy(HARNESS / "bootstrap.sh", self.root / "harness")
        (self.root / "harness" / "forklab" / "__init__.py").touch()
        (self.root / "harness" / "forklab" / "__main__.py").write_text(
            "import sys; print(*sys.argv[1:])"
        )
        self.lock.write_text("".join(self._wheel(name) for name in ("pytest", "rich", "jinja2")))
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or f"/usr/bin/{tool}")
        executable(self.bin / "cc", "cat >/dev/null")
        executable(self.bin / "python3", f"exec '{PYTHON}' \"$@\"")

    @property
    def lock(self) -> Path:
        return self.root / "harness" / "requirements.lock"

    def _wheel(self, name: str) -> str:
        """Makes an empty package of that name; its line for the lock file comes back."""
        file = self.wheels / f"{name}-1.0-py3-none-any.whl"
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(file, "w") as wheel:
            wheel.writestr(f"{name}.py", "")
            wheel.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            )
            wheel.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{info}/RECORD", "")
        return f"{name}==1.0 --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n"

    def fake(self, tool: str, script: str) -> None:
        executable(self.bin / tool, script)

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        clean = {
            "PATH": str(self.bin),
            "HOME": str(self.root.parent),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "FORKLAB_SYSTEM_PYTHON": "/nonexistent",
        }
        return subprocess.Popen(
            [self.root / "harness" / "bootstrap.sh", *words],
            env=clean | env,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def bootstrap(self, *words: str, **env: str) -> tuple[int, str]:
        """Runs it to its end. Exit status and what was said."""
        process = self.start(*words, **env)
        said = process.communicate()[1]
        return process.returncode, said

    def works(self) -> bool:
        python = self.root / ".venv" / "bin" / "python"
        ran = subprocess.run(
            [python, "-P", "-m", "forklab", "grade"],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={},
        )
        return ran.stdout == "grade\n"

    @property
    def stamped(self) -> bool:
        return (self.root / ".venv" / ".forklab-stamp").exists()


@pytest.fixture
def kit(tmp_path):
    return Kit(tmp_path)


# ---- what the machine must have ------------------------------------------------------------------


def test_not_linux(kit):
    kit.fake("uname", "echo Darwin")
    status, said = kit.bootstrap()
    assert (status, said.count("\n")) == (4, 1)
    assert "Use Linux, WSL2 or a container" in said


def test_no_compiler(kit):
    (kit.bin / "cc").unlink()
    status, said = kit.bootstrap()
    assert status == 4
    assert "no C compiler" in said


def test_compiler_without_the_c_library(kit):
    kit.fake("cc", "cat >/dev/null; exit 1")
    status, said = kit.bootstrap()
    assert status == 4
    assert "libc6-dev" in said


def test_old_python(kit):
    pretend = "import sys; sys.version_info = (3, 10); exec(sys.argv[1])"
    kit.fake("python3", f"exec '{PYTHON}' -I -c '{pretend}' \"$3\"")
    status, said = kit.bootstrap()
    assert status == 4
    assert "Python 3.11 or newer is needed" in said


def test_name_on_path_that_is_no_python(kit):
    """As version managers do: the command is there, and says that it isn't installed."""
    (kit.bin / "python3").rename(kit.bin / "python3.12")
    kit.fake("python3", "echo 'not installed' >&2; exit 127")
    (kit.root / ".forklab").touch()  # stop before the slow part
    status, said = kit.bootstrap()
    assert status == 4
    assert "Python 3.11" not in said


def test_folder_that_cannot_be_written(kit):
    (kit.root / ".forklab").touch()  # no folder can be made there, not even by root
    status, said = kit.bootstrap()
    assert status == 4
    assert f"can't be written to: {kit.root}" in said
    assert not (kit.root / ".venv").exists()


# ---- from the index ------------------------------------------------------------------------------


@can_make_venvs
def test_life_of_a_venv(kit):
    """Killed midway; made by two at once; nothing to do; Python upgraded away; folder moved."""
    killed = kit.start()
    while not (kit.root / ".venv" / "pyvenv.cfg").exists() and killed.poll() is None:
        os.sched_yield()
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert (kit.root / ".venv").exists()
    assert not kit.stamped

    both = [kit.start(), kit.start()]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("setting up .venv" in words for words in said) == 1
    assert kit.works()

    assert kit.bootstrap() == (0, "")

    link = kit.root.parent / "link"
    link.symlink_to(kit.root / ".venv" / "bin" / "forklab")
    ran = subprocess.run([link, "a b", "c"], capture_output=True, text=True, check=True)
    assert ran.stdout == "a b c\n"

    (kit.root / ".venv" / "bin" / "python").unlink()
    assert kit.bootstrap()[0] == 0
    assert kit.works()

    kit.root = kit.root.rename(kit.root.parent / "moved")
    assert kit.bootstrap()[0] == 0
    assert str(kit.root) in (kit.root / ".venv" / "bin" / "activate").read_text()
    assert kit.works()


@can_make_venvs
def test_package_with_another_hash(kit):
    kit.lock.write_text(re.sub(r"sha256:\w+", "sha256:" + "0" * 64, kit.lock.read_text()))
    kit.fake("apt-get", "echo apt-get was called >&2")
    status, said = kit.bootstrap()
    assert status == 4
    assert "not the one this kit was made with" in said
    assert "apt-get" not in said
    assert not kit.stamped


@can_make_venvs
def test_what_builds_the_site(kit):
    """Added when it is asked for, once; what can't be had is a failure, and .venv stays."""
    lock = kit.root / "harness" / "requirements-docs.lock"
    lock.write_text(kit.lock.read_text())
    status, said = kit.bootstrap("docs")
    assert (status, said.count("adding what builds the site")) == (0, 1)
    assert kit.bootstrap("docs") == (0, "")
    lock.write_text(f"sphinx==99 --hash=sha256:{'0' * 64}\n")
    status, said = kit.bootstrap("docs")
    assert status == 4
    assert "pip could not install what builds the site" in said
    assert kit.works()
    shutil.rmtree(next((kit.root / ".venv" / "lib").glob("*/site-packages/pip")))
    status, said = kit.bootstrap("docs")
    assert status == 4
    assert "built with Sphinx from the package index" in said


# ---- from the distribution -----------------------------------------------------------------------


@can_make_venvs
def test_neither_index_nor_packages(kit):
    kit.fake("apt-get", "exit 100")
    kit.fake("id", "echo 1000")
    status, said = kit.bootstrap(**NO_INDEX)
    assert status == 4
    assert UNREACHABLE in said
    assert said.splitlines()[-1].endswith(
        "sudo apt-get install python3-venv python3-pytest python3-rich python3-jinja2"
    )
    assert not kit.stamped


def without_ensurepip(kit: Kit, name: str = "python3", real: str = PYTHON) -> None:
    """As Debian's python3 without python3-venv: no pip in a venv, so the index is not tried."""
    kit.fake(name, f'case "$*" in *ensurepip*) exit 1 ;; esac\nexec \'{real}\' "$@"')


@pytest.mark.parametrize(
    ("user", "sudo", "installs"),
    [("0", None, True), ("1000", 'shift; exec "$@"', True), ("1000", "exit 1", False)],
    ids=["root", "sudo without a password", "sudo that asks"],
)
def test_who_may_install(kit, user, sudo, installs):
    without_ensurepip(kit)
    calls = kit.root.parent / "calls"
    kit.fake("apt-get", f"echo \"$*\" >>'{calls}'; exit 100")
    kit.fake("id", f"echo {user}")
    (kit.bin / "true").symlink_to("/bin/true")
    if sudo:
        kit.fake("sudo", sudo)
    status, said = kit.bootstrap()
    assert status == 4
    assert "python3-venv" in said
    assert calls.exists() == installs
    if installs:
        assert "install python3-venv python3-pytest" in calls.read_text()


def test_venv_that_lacks_a_package_gets_no_stamp(kit):
    """The system's Python has the packages, and yet the venv made from it can't import them."""
    without_ensurepip(kit)
    kit.fake(
        "system-python",
        "case \"$*\" in *ensurepip*) exit 1 ;; *'import pytest'*) exit 0 ;; esac\n"
        f"exec '{PYTHON}' \"$@\"",
    )
    shutil.rmtree(kit.root / "harness" / "forklab")  # for a Python that has them by itself
    status, said = kit.bootstrap(FORKLAB_SYSTEM_PYTHON=str(kit.bin / "system-python"))
    assert status == 4
    assert "can't import" in said
    assert not kit.stamped


def system_python_has_packages() -> bool:
    code = "import pytest, rich, jinja2, venv, sys; assert sys.version_info >= (3, 11)"
    ran = subprocess.run(
        ["sh", "-c", 'exec /usr/bin/python3 -I -c "$0"', code], capture_output=True, check=False
    )
    return ran.returncode == 0


@pytest.mark.skipif(
    not system_python_has_packages(),
    reason="/usr/bin/python3 has no pytest, rich and jinja2 (packages python3-pytest, ...)",
)
def test_distributions_packages(kit):
    without_ensurepip(kit)
    without_ensurepip(kit, "system-python", "/usr/bin/python3")
    status, said = kit.bootstrap(FORKLAB_SYSTEM_PYTHON=str(kit.bin / "system-python"))
    assert status == 0
    assert "this system's own packages" in said
    assert kit.works()
    assert kit.bootstrap() == (0, "")


def test_script_can_be_run():
    assert (HARNESS / "bootstrap.sh").stat().st_mode & stat.S_IXUSR
