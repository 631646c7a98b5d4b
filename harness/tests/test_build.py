"""Compiling what a student hands in, whatever it is."""

from __future__ import annotations

import itertools
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from forklab import build as building
from forklab import contain, paths, tiers
from forklab.build import (
    COMPILE_LIMITS,
    MAX_OUTPUT,
    SANITIZERS,
    Built,
    Submission,
    _linker,
    compile_program,
    find_source,
)
from forklab.errors import GraderError, UsageError

MAIN = "int main(void) { return 0; }\n"
_numbers = itertools.count()


@pytest.fixture
def build(tmp_path, shared_folder):
    """``build(text)`` compiles it."""

    def compile(text: str | bytes, name: str = "server.c", **kept: str) -> Built:
        for header, content in kept.items():
            (tmp_path / f"{header}.h").write_text(content)
        source = tmp_path / name
        source.write_bytes(text if isinstance(text, bytes) else text.encode())
        return compile_program(source, shared_folder / f"build-{next(_numbers)}")

    return compile


def test_builds(build):
    built = build(MAIN)
    assert built.ok
    assert built.binary.is_file()
    assert built.output.strip() == ""
    assert built.seconds > 0


def test_an_empty_file(build):
    built = build("")
    assert not built.ok
    assert "main" in built.output


@pytest.mark.parametrize("text", [b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 50, b"\0" * 5000])
def test_a_binary(build, text):
    built = build(text)
    assert not built.ok
    assert built.output


def test_the_compiler_s_words_are_kept(build):
    built = build("int main(void) { return undeclared; }\n")
    assert not built.ok
    assert "server.c:1:" in built.output
    assert "undeclared" in built.output


def test_warnings_don_t_stop_it(build):
    built = build("int main(void) { int unused; return 0; }\n")
    assert built.ok
    assert "warning: unused variable" in built.output


@pytest.mark.parametrize(
    "text",
    [
        MAIN.replace(" ", "\r\n").encode(),
        b"\xef\xbb\xbf" + MAIN.encode(),
        "/* 回声服务器 */\n".encode("gbk") + MAIN.encode(),
        "// 좀비\n".encode("cp949") + MAIN.encode(),
        MAIN.rstrip().encode(),
        b"/* \xff\xfe */" + MAIN.encode(),
    ],
    ids=["crlf", "bom", "gbk", "cp949", "no-newline", "no-encoding"],
)
def test_encodings(build, text):
    assert build(text).ok


@pytest.mark.parametrize(("encoding", "text"), [("gbk", "汉字"), ("cp949", "좀비")])
def test_words_about_a_source_in_another_encoding(build, encoding, text):
    built = build(f'int main(void) {{ char *s = "{text}"; }}\n'.encode(encoding))
    assert built.ok
    assert "unused variable" in built.output


# Foreign input


@pytest.mark.parametrize(
    "text",
    [
        '#include "/etc/shadow"\n',
        "#include </etc/shadow>\n",
        '__asm__(".incbin \\"/etc/shadow\\"");\n',
        '#include "../../../../../../../../../../etc/shadow"\n',
    ],
)
def test_reveals_nothing_that_only_root_may_read(build, text):
    secrets = []
    with suppress(PermissionError):  # then the compiler can't read it either
        secrets = [
            line.split(":")[1]
            for line in Path("/etc/shadow").read_text().splitlines()
            if len(line.split(":")[1]) > 4
        ]
    built = build(text + MAIN)
    assert not built.ok
    assert "root:" not in built.output
    assert not any(secret in built.output for secret in secrets)


def test_does_not_see_a_secret_of_ours(build, tmp_path):
    """The same with a file that surely is there."""
    secret = tmp_path / "secret"
    secret.write_text("the_secret\n")
    secret.chmod(0o600)
    if tiers.tier() == "process":
        pytest.skip("in tier `process` it runs as the same user")
    built = build(f'#include "{secret}"\n' + MAIN)
    assert not built.ok
    assert "the_secret" not in built.output


ENDLESS = '#include "server.c"\n#include "server.c"\n'
NESTED = "\n".join(
    ["#define M0 x x x x x x x x x x"]
    + [f"#define M{i} {' '.join([f'M{i - 1}'] * 10)}" for i in range(1, 12)]
    + ["M11"]
)


@pytest.mark.parametrize(
    "text",
    [ENDLESS, NESTED, "static char huge[1L << 36] = { 1 };\n" + MAIN, '#include "/dev/zero"\n'],
    ids=["endless-include", "macro-bomb", "huge-array", "endless-file"],
)
def test_compiler_bombs_are_bounded(build, text, monkeypatch):
    monkeypatch.setattr("forklab.build.COMPILE_LIMITS", replace(COMPILE_LIMITS, cpu=1))
    began = time.monotonic()
    built = build(text)
    assert not built.ok
    assert built.output
    assert len(built.output) < MAX_OUTPUT + 1000
    assert time.monotonic() - began < 60


def test_a_flood_of_warnings_is_cut(build):
    """Of a hundred thousand as of these, which take less time to make."""
    built = build("".join(f"int f{i}(void) {{ int u; }}\n" for i in range(1000)) + MAIN)
    assert built.ok
    assert MAX_OUTPUT <= len(built.output) < MAX_OUTPUT + 1000
    assert "more" in built.output.splitlines()[-1]


def test_it_can_t_write_beside_itself(build, tmp_path):
    built = build('__asm__(".file \\"x\\"");\n' + MAIN)
    assert built.ok
    assert sorted(one.name for one in tmp_path.iterdir()) == ["server.c"]


# What belongs to it


def test_a_helper_by_the_name_of_one_of_ours(build):
    built = build(
        '#include "net.h"\n'
        "int write_all(int fd, const void *data, size_t size)\n"
        "{ (void)fd; (void)data; return (int)size; }\n"
        'int main(void) { return parse_port("80") + write_all(1, "", 0) != 80; }\n'
    )
    assert built.ok, built.output
    assert built.output.strip() == ""


def test_a_header_beside_the_source(build):
    assert build('#include "mine.h"\nint main(void) { return MINE; }\n', mine="#define MINE 0\n").ok


def test_a_header_of_its_own_by_the_name_of_one_of_ours(build):
    assert build('#include "net.h"\nint main(void) { return OWN; }\n', net="#define OWN 0\n").ok


def test_another_name_for_the_source(build):
    assert build(MAIN, name="my echo server.c").ok


@pytest.mark.parametrize("name", ["-o.c", "@x.c", "a;b.c", "$(x).c", "서버.c"])
def test_odd_names(build, name):
    assert build(MAIN, name=name).ok


# Finding it


def test_find_source(tmp_path):
    source = tmp_path / "server.c"
    source.write_text(MAIN)
    assert find_source(source) == source
    assert find_source(tmp_path) == source
    assert find_source(str(tmp_path)) == source


def test_find_source_says_what_is_wrong(tmp_path):
    (tmp_path / "folder" / "server.c").mkdir(parents=True)
    for path in (tmp_path / "no-such", tmp_path, tmp_path / "folder", Path("/dev/null")):
        with pytest.raises(UsageError, match=str(path)):
            find_source(path)


def test_find_source_of_a_loop_of_links(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(UsageError):
        find_source(loop)


def test_a_submission_is_built_twice(tmp_path, shared_folder):
    (tmp_path / "server.c").write_text(MAIN)
    made = Submission("lab1", tmp_path, shared_folder / f"build-{next(_numbers)}")
    assert made.plain.ok
    assert made.sanitized.ok
    plain, sanitized = made.plain.binary, made.sanitized.binary
    assert plain
    assert sanitized
    assert b"__asan_init" in sanitized.read_bytes()
    assert b"__asan_init" not in plain.read_bytes()
    assert len(made.sha256) == 64
    assert not made.is_untouched


def test_an_untouched_starter_is_known(shared_folder):
    folder = shared_folder / f"build-{next(_numbers)}"
    made = Submission("lab2", paths.starter_of("lab2"), folder)
    assert made.is_untouched
    assert made.plain.ok
    assert made.sanitized.ok


def test_no_compiler_is_the_grader_s_error(tmp_path, shared_folder, monkeypatch):
    (tmp_path / "server.c").write_text(MAIN)
    monkeypatch.setenv("CC", "no-such-compiler")
    made = Submission("lab1", tmp_path, shared_folder / f"build-{next(_numbers)}")
    with pytest.raises(GraderError, match="no-such-compiler"):
        _ = made.plain
    with pytest.raises(GraderError, match="no-such-compiler"):
        _ = made.sanitized


@pytest.mark.skipif(tiers.BWRAP not in tiers.available(), reason="takes tier bwrap")
def test_both_builds_go_on_in_one_sandbox(tmp_path, shared_folder, monkeypatch):
    sandboxes = []

    class Counted(contain.Sandbox):
        def __init__(self, **kept) -> None:
            sandboxes.append(kept)
            super().__init__(**kept)

    monkeypatch.setattr(contain, "Sandbox", Counted)
    tiers.choose(tiers.BWRAP)
    source = tmp_path / "server.c"
    source.write_text(MAIN)
    with Submission("lab1", source, shared_folder / f"build-{next(_numbers)}") as submission:
        assert submission.plain.ok
        assert submission.sanitized.ok
        assert len(sandboxes) == 1
        assert not list(submission.folder.rglob("*.s"))  # what the compiler keeps for itself


@pytest.mark.parametrize("place", [None, "/opt/of/somebody/ld.gold"])
def test_without_a_faster_linker(monkeypatch, place):
    monkeypatch.setattr(shutil, "which", lambda name: place)
    _linker.cache_clear()
    assert _linker(SANITIZERS) == ()
    _linker.cache_clear()


def test_a_faster_linker_is_for_the_sanitizers(monkeypatch):
    """The usual one tells a student more shortly what is missing."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    _linker.cache_clear()
    assert _linker(SANITIZERS) == ("-fuse-ld=gold",)
    assert _linker(()) == ()
    _linker.cache_clear()


def test_where_the_faster_linker_does_not_work(tmp_path, shared_folder, monkeypatch):
    """The usual one gets its try."""
    monkeypatch.setattr(building, "_linker", lambda flags: ("-fuse-ld=nothing-of-the-kind",) * 2)
    monkeypatch.setattr(building, "LINKERS_WORDS", ("unrecognized", "collect2: "))
    source = tmp_path / "server.c"
    source.write_text(MAIN)
    assert compile_program(source, shared_folder / f"build-{next(_numbers)}", SANITIZERS).ok


@pytest.mark.skipif(tiers.BWRAP not in tiers.available(), reason="takes tier bwrap")
def test_a_sandbox_that_can_t_be_had_is_the_grader_s_error(tmp_path, shared_folder, monkeypatch):
    """Of each build, so that there is a record of it."""

    def refused(**_: object) -> None:
        raise GraderError("cannot start a sandbox: no room")

    monkeypatch.setattr(contain, "Sandbox", refused)
    tiers.choose(tiers.BWRAP)
    source = tmp_path / "server.c"
    source.write_text(MAIN)
    with Submission("lab1", source, shared_folder / f"build-{next(_numbers)}") as submission:
        for kind in ("plain", "sanitized"):
            with pytest.raises(GraderError, match="no room"):
                getattr(submission, kind)


@pytest.mark.parametrize(
    ("name", "is_gcc"),
    [("x86_64-linux-gnu-gcc-12", True), ("gcc", True), ("clang-14", False), ("tcc", False)],
)
def test_only_gcc_is_asked_to_take_headers_as_they_are_named(tmp_path, name, is_gcc):
    (tmp_path / name).touch()
    (tmp_path / "cc").symlink_to(tmp_path / name)
    assert bool(building._headers_as_named(str(tmp_path / "cc"))) == is_gcc
