"""Finding submissions: every shape that people have them in, and what hostile ones come to."""

from __future__ import annotations

import errno
import io
import os
import struct
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forklab import paths, submissions, unpack
from forklab.errors import UsageError
from forklab.submissions import MAX_SOURCE, Submitted, Survey, in_words, survey

Files = Mapping[str, bytes | str]


def program(text: object = "") -> bytes:
    return f"int main(void) {{ return 0; }} /* {text} */\n".encode()


def tree(folder: Path, files: Files | Iterable[str]) -> Path:
    """Writes files; from names alone, each with a program of its own."""
    named = files if isinstance(files, Mapping) else {name: program(name) for name in files}
    for name, text in named.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def zipped(files: Files | Iterable[str], **more: int) -> bytes:
    named = files if isinstance(files, Mapping) else {name: program(name) for name in files}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in named.items():
            info = zipfile.ZipInfo(name, (2026, 11, 20, 12, 0, 0))
            info.external_attr = more.get("mode", 0o100644) << 16
            archive.writestr(info, text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def tarred(files: Files, mode: str = "w:gz", **fields: object) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(text), 1_795_000_000
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(text if isinstance(text, bytes) else text.encode()))
    return packed.getvalue()


def found(one: Survey) -> list[tuple[str, str]]:
    return [(each.student, each.lab) for each in one.submitted]


def why(one: Survey) -> str:
    return "\n".join(f"{where}: {sentence}" for where, sentence in one.unplaced)


# Shapes --------------------------------------------------------------------------------------

KIM3, LEE3 = ("kim", "lab3"), ("lee", "lab3")


@pytest.mark.parametrize(
    "name", ["lab3-sigign", "lab3", "Lab 3", "lab_3", "LAB3", "lab03", "my-repo/labs/lab3-sigign"]
)
def test_a_folder_of_a_student_names_the_lab(tmp_path, name):
    one = survey(tree(tmp_path, [f"kim/{name}/server.c", "lee/lab3/server.c"]))
    assert found(one) == [KIM3, LEE3]
    assert one.submitted[0].where == f"kim/{name}/server.c"
    assert one.submitted[0].files == {"server.c": program(f"kim/{name}/server.c")}
    assert not one.unplaced
    assert not one.missing


@pytest.mark.parametrize(
    "files",
    [
        ["kim/server.c", "lee/server.c"],
        ["kim.c", "lee.c"],
        ["kim.c", "lee/server.c"],
        ["kim/echo.c", "lee/src/server.c"],  # the only C file
        ["lab3/kim/server.c", "lab3/lee.c", "lab4/kim/server.c"],
        ["lab3-kim/server.c", "lab3-sigign-lee/labs/lab3-sigign/server.c"],
        ["kim_lab3.c", "lee-LAB3/server.c"],
        ["submissions/kim/server.c", "submissions/lee/server.c"],
        ["kim/server.c", "kim/lab4/server.c", "kim/net.c", "lee/server (1).c"],
    ],
)
def test_with_the_lab_given(tmp_path, files):
    one = survey(tree(tmp_path, files), lab="lab3")
    assert found(one) == [KIM3, LEE3]
    assert not one.unplaced


def test_only_the_lab_given_of_several(tmp_path):
    tree(tmp_path, [f"kim/lab{number}/server.c" for number in (1, 2, 3)])
    assert found(survey(tmp_path)) == [("kim", "lab1"), ("kim", "lab2"), KIM3]
    assert found(survey(tmp_path, lab="lab3")) == [KIM3]
    with pytest.raises(UsageError, match="nothing to grade"):
        survey(tmp_path, lab="lab4")


def test_a_program_without_a_lab_is_not_guessed_at(tmp_path):
    tree(tmp_path, ["kim/server.c", "lee/lab3/server.c", "lee/server.c", "choi/lab9/server.c"])
    one = survey(tmp_path)
    assert found(one) == [LEE3]
    assert [where for where, _ in one.unplaced] == [
        *("choi/lab9/server.c", "kim/server.c", "lee/server.c"),
    ]
    assert "the kit has no lab9" in why(one)
    assert "names a lab" in why(one)
    assert one.missing == [("choi", "lab3"), ("kim", "lab3")]


def test_a_program_without_a_student_is_not_guessed_at(tmp_path):
    tree(tmp_path, ["lab3/server.c", "lab4/kim/server.c", "server.c"])
    one = survey(tmp_path)
    assert found(one) == [("kim", "lab4")]
    assert [where for where, _ in one.unplaced] == ["lab3/server.c", "server.c"]
    assert "names a student" in why(one)


def test_the_nearest_program_counts_and_equally_near_ones_do_not(tmp_path):
    tree(tmp_path, ["kim/lab3/server.c", "kim/old/lab3/server.c"])
    tree(tmp_path, ["lee/a/lab3/server.c", "lee/b/lab3/server.c", "choi/lab3/a.c", "choi/lab3/b.c"])
    one = survey(tmp_path)
    assert [each.where for each in one.submitted] == ["kim/lab3/server.c"]
    assert "lee: there are 2 for lab3, equally near" in why(one)
    assert "choi: there is no server.c for lab3, but 2 C files" in why(one)
    assert one.missing == [("choi", "lab3"), LEE3]


def test_equal_copies_are_no_question(tmp_path):
    tree(tmp_path, {"kim/a/lab3/server.c": program(), "kim/b/lab3/server.c": program()})
    tree(tmp_path, {"lee/lab3/server.c": program(2), "lee.zip": zipped({"lab3.c": program(2)})})
    one = survey(tmp_path)
    assert found(one) == [KIM3, LEE3]
    assert not one.unplaced
    assert not one.duplicates


def test_a_clone_of_the_whole_kit(tmp_path):
    kit = ["labs/lab3-sigign/server.c", "solutions/lab3-sigign/server.c", "labs/common/net.c"]
    more = ["harness/starters/lab4-sigaction.c", "harness/mutants/lab2.c", ".git/lab1/server.c"]
    tree(tmp_path, [f"kim/clone/{name}" for name in kit + more])
    assert [each.where for each in survey(tmp_path).submitted] == [
        "kim/clone/labs/lab3-sigign/server.c"
    ]


def test_headers_beside_the_source_go_with_it(tmp_path):
    tree(tmp_path, {"kim/lab3/server.c": program(), "kim/lab3/util.h": "1", "kim/other.h": "2"})
    tree(tmp_path, {f"lee/lab3/{number}.h": "" for number in range(100)})
    tree(tmp_path, {"lee/lab3/server.c": program(1)})
    kim, lee = survey(tmp_path).submitted
    assert kim.files == {"server.c": program(), "util.h": b"1"}
    assert len(lee.files) == 1 + submissions.MAX_HEADERS


def test_students_are_sorted_as_people_count(tmp_path):
    names = ["student10", "student2", "Student1", "9" * 50]
    one = survey(tree(tmp_path, [f"{name}/lab3/server.c" for name in names]))
    assert [each.student for each in one.submitted] == [
        "9" * 50,
        "Student1",
        "student2",
        "student10",
    ]


# Archives ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tgz"])
def test_an_archive_for_each_student(tmp_path, kind):
    pack = {"zip": zipped, "tar": lambda files: tarred(files, "w")}.get(kind, tarred)
    for name in ("kim", "lee"):
        files = {"lab3/server.c": program(name), "lab3/a.h": "x", "__MACOSX/lab3/._server.c": "x"}
        tree(tmp_path, {f"{name}.{kind}": pack(files)})
    one = survey(tmp_path)
    assert found(one) == [KIM3, LEE3]
    assert one.submitted[0].where == f"kim.{kind}: lab3/server.c"
    assert one.submitted[0].files == {"server.c": program("kim"), "a.h": b"x"}
    assert not one.unplaced


@pytest.mark.parametrize(
    "files",
    [
        ["kim/lab3/server.c", "lee/lab3/server.c"],
        ["class/kim/lab3.c", "class/lee/lab3/server.c"],
        ["lab3/kim/server.c", "lab3/lee/server.c"],
        ["kim_lab3.c", "lee_lab3.c"],
    ],
)
def test_one_archive_for_the_class(tmp_path, files):
    archive = tree(tmp_path, {"all.zip": zipped(files)}) / "all.zip"
    for place in (tmp_path, archive):
        one = survey(place)
        assert found(one) == [KIM3, LEE3]
        assert one.submitted[0].where == f"all.zip: {files[0]}"


@pytest.mark.parametrize(
    "files",
    [
        ["lab3/server.c", "lab4/server.c"],
        ["repo/labs/lab3-sigign/server.c", "repo/labs/lab4-sigaction/server.c"],
        ["labs/lab3/server.c", "lab4.zip"],
    ],
)
def test_the_only_archive_may_be_one_student(tmp_path, files):
    inner = {name: program(name) for name in files}
    if "lab4.zip" in inner:
        inner["lab4.zip"] = zipped(["server.c"])
    assert found(survey(tree(tmp_path, {"kim.zip": zipped(inner)}))) == [KIM3, ("kim", "lab4")]


@pytest.mark.parametrize(
    "files",
    [
        ["lab3/main.c", "lab3/util.c"],
        ["lab3/hw/util.c", "lab3/main.c"],
        ["lab3/a.c", "lab3/b.c", "lab3/c.c", "lab3/d.c"],
    ],
)
def test_the_files_of_the_only_student_are_no_students(tmp_path, files):
    with pytest.raises(UsageError, match=r"kim: there is no server\.c for lab3, but \d C files"):
        survey(tree(tmp_path, [f"kim/{file}" for file in files]))


def test_many_files_in_the_only_folder_are_a_class(tmp_path):
    names = ["choi", "kim", "lee", "oh", "park"]
    tree(tmp_path, [f"hand-in/lab3/{name}.c" for name in names])
    assert found(survey(tmp_path)) == [(name, "lab3") for name in names]


def test_an_archive_for_each_lab(tmp_path):
    for number in (3, 4):
        tree(tmp_path, {f"lab{number}.zip": zipped([f"kim/{number}/server.c"])})
    assert found(survey(tmp_path)) == [KIM3, ("kim", "lab4")]


def test_an_archive_in_an_archive_is_opened_and_no_deeper(tmp_path):
    once = zipped(["server.c"])
    tree(tmp_path, {"lab3.zip": zipped({"kim.zip": once, "lee.zip": zipped({"deep.zip": once})})})
    one = survey(tmp_path)
    assert found(one) == [KIM3]
    assert one.submitted[0].where == "lab3.zip: kim.zip: server.c"
    assert one.unplaced == [
        ("lab3.zip: lee.zip: deep.zip", "an archive in an archive in an archive: not opened")
    ]
    assert one.missing == [LEE3]


ESCAPES = ["../server.c", "a/../../server.c", "/etc/server.c", "C:/server.c", "C:server.c"]
ESCAPES += ["..\\server.c", "\\\\host\\share\\server.c", "c:\\server.c"]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_no_path_leads_out_of_an_archive(tmp_path, name, pack):
    ending = "zip" if pack is zipped else "tgz"
    tree(tmp_path, {f"kim.{ending}": pack({name: program()}), "lee/lab3/server.c": program(1)})
    one = survey(tmp_path, lab="lab3")
    assert found(one) == [LEE3]
    assert one.missing == [KIM3]
    assert f"kim.{ending}: a path that leads out of the archive" in why(one)


def test_backslashes_of_windows_programs_are_folders(tmp_path):
    tree(tmp_path, {"kim.zip": zipped({"x": ""}).replace(b"x", b"\\")})
    tree(tmp_path, {"lee.zip": zipped(["lab3\\server.c"])})
    assert found(survey(tmp_path)) == [LEE3]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_no_link_or_device_in_a_tar(tmp_path, kind):
    hostile = tarred({"lab3/server.c": ""}, type=kind, linkname="/etc/passwd")
    tree(tmp_path, {"kim.tar.gz": hostile, "lee/lab3/server.c": program()})
    one = survey(tmp_path)
    assert found(one) == [LEE3]
    assert "kim.tar.gz: lab3/server.c: a link or a device" in why(one)


def test_no_link_in_a_zip(tmp_path):
    hostile = zipped({"lab3/server.c": "/etc/passwd"}, mode=0o120777)
    one = survey(tree(tmp_path, {"kim.zip": hostile, "lee/lab3/server.c": program()}))
    assert found(one) == [LEE3]
    assert "kim.zip: lab3/server.c: a link or a device" in why(one)


BOMB = b"\0" * (8 << 20)


@pytest.mark.parametrize(
    ("name", "packed", "sentence"),
    [
        ("kim.zip", zipped({"lab3/server.c": BOMB}), "more than 200 times its size"),
        ("kim.zip", zipped({"lab3/server.c": os.urandom(2 << 20)}), "larger than 1 MiB"),
        ("kim.zip", zipped({"lab3.zip": BOMB}), "more than 200 times its size"),
        ("kim.tgz", tarred({"lab3/big": BOMB}), "more than 200 times its size"),
        ("kim.zip", zipped({f"{number}": "" for number in range(60)}), "more than 50 files"),
        ("kim.tar", tarred({f"{number}": "" for number in range(60)}, "w"), "more than 50 files"),
        ("kim.tgz", tarred({"lab3/big": os.urandom(1 << 20)}), "unpacks to more than 0 MiB"),
        ("kim.zip", zipped({"lab3.zip": os.urandom(200_000)}), "an archive in an archive, and lar"),
        ("kim.zip", zipped({"lab3/" * 30 + "server.c": "x"}), "folders deep"),
        ("kim.zip", zipped({"x" * 65_000: ""}), "lists far more files"),
    ],
)
def test_bombs(tmp_path, monkeypatch, name, packed, sentence):
    small = unpack.Limits(members=50, inner=100_000, tar=900_000, listing=60_000)
    monkeypatch.setattr(submissions, "LIMITS", small)
    monkeypatch.setattr(submissions, "Shelf", lambda: unpack.Shelf(small))
    if name == "kim.tgz" and "times" in sentence:
        monkeypatch.setattr(submissions, "Shelf", unpack.Shelf)
    one = survey(tree(tmp_path, {name: packed, "lee/lab3/server.c": program()}))
    assert found(one) == [LEE3]
    assert sentence in why(one)
    assert KIM3 in one.missing


def test_a_size_that_a_zip_lies_about(tmp_path):
    packed = zipped({"lab3/server.c": BOMB})
    packed = packed.replace(struct.pack("<L", len(BOMB)), struct.pack("<L", 10))
    one = survey(tree(tmp_path, {"kim.zip": packed, "lee/lab3/server.c": program()}))
    assert found(one) == [LEE3]
    assert "kim.zip: lab3/server.c: it is damaged" in why(one)


def _encrypted() -> bytes:
    packed = bytearray(zipped({"lab3/server.c": program()}))
    packed[6] |= 1
    packed[packed.index(b"PK\1\2") + 8] |= 1
    return bytes(packed)


@pytest.mark.parametrize(
    ("name", "packed", "sentence"),
    [
        ("kim.zip", _encrypted(), "it is encrypted"),
        ("kim.zip", b"", "damaged"),
        ("kim.zip", b"PK\5\6", "damaged"),
        ("kim.zip", zipped({"lab3/server.c": program()})[:-40], "damaged"),
        (
            "kim.zip",
            zipped({"lab3/server.c": program()}).replace(b"\x4b\x03\x04", b"???"),
            "damage",
        ),
        ("kim.tar", b"not a tar" * 100, "damaged"),
        ("kim.tgz", b"not a gzip", "cannot be read|damaged"),
        ("kim.tgz", tarred({"lab3/server.c": program()})[:-20], "damaged"),
        ("kim.tar", tarred({"lab3/server.c": program()}, "w")[:520], "damaged"),
        ("kim.rar", b"Rar!", "a kind that is not opened here"),
        ("kim.zip", zipped({}), "nothing in it"),
    ],
)
def test_archives_that_cannot_be_read(tmp_path, name, packed, sentence):
    one = survey(tree(tmp_path, {name: packed, "lee/lab3/server.c": program()}))
    assert found(one) == [LEE3]
    assert len(one.unplaced) == 1
    assert one.unplaced[0][0].startswith(name)
    assert any(each in why(one) for each in sentence.split("|")), why(one)


def test_a_strange_compression_is_not_tried(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("lab3/server.c", program())
    one = survey(tree(tmp_path, {"kim.zip": packed.getvalue(), "lee/lab3/server.c": program(1)}))
    assert "packed in an unusual way" in why(one)


def test_noise_does_not_crash_it(tmp_path):
    good = {"zip": zipped(["lab3/server.c"]), "tgz": tarred({"lab3/server.c": program()})}
    good["tar"] = tarred({"lab3/server.c": program()}, "w")
    for kind, packed in good.items():
        for number in range(60):
            noisy = bytearray(packed)
            for place in range(number, len(noisy), 61):
                noisy[place] ^= 1 << number % 8
            tree(tmp_path, {f"s{number}.{kind}": bytes(noisy)})
    tree(tmp_path, {"lee/lab3/server.c": program()})
    assert LEE3 in found(survey(tmp_path))


# Downloads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["file_/", "file/", "file_", "file_/lab3.zip: "])
@pytest.mark.parametrize("packed", [False, True])
def test_moodle(tmp_path, end, packed):
    names = {
        "Kim Minsu_123456": "a",
        "Ann O'Neil-Ng_7": "b",
        "Kim Minsu_99": "c",
        "Participant_5": "",
    }
    files: dict[str, bytes] = {}
    for name, text in names.items():
        path, archive, _ = f"{name}_assignsubmission_{end}".partition(": ")
        data = program(text)
        files[path + ("" if archive else "server.c")] = (
            zipped({"server.c": data}) if archive else data
        )
    files["Lee_8_assignsubmission_onlinetext/onlinetext.html"] = b"<p>"
    files["Kim Minsu_99_assignsubmission_onlinetext/onlinetext.html"] = b"<p>"
    one = survey(tree(tmp_path, {"CS-lab.zip": zipped(files)} if packed else files), lab="lab3")
    assert [each.student for each in one.submitted] == [
        *("Ann O'Neil-Ng", "Kim Minsu (99)", "Kim Minsu (123456)", "Participant"),
    ]
    assert one.missing == [("Lee", "lab3")]
    assert "no C file in it, only onlinetext.html" in why(one)


def test_moodle_of_two_labs_knows_a_student_by_name(tmp_path):
    for number in (3, 4):  # Moodle's numbers are others in each assignment
        file = f"Kim Minsu_{number}77_assignsubmission_file/server.c"
        tree(tmp_path, {f"Lab {number} hand-in.zip": zipped([file])})
    assert found(survey(tmp_path)) == [("Kim Minsu", "lab3"), ("Kim Minsu", "lab4")]


GRADESCOPE = """---
submission_11:
  :submitters:
  - :name: Kim Minsu
    :sid: '2026001'
    :email: kim@example.edu
  - :name: "Zo\\u00eb O'Neil"
    :email: zoe@example.edu
  :created_at: 2026-11-20 17:59:59.123456789 Z
  :score: 0.0
  :results:
    output: |
      :submitters:
      - :name: Nobody
  :created_at: 2026-11-20 17:59:59.123456789 Z
  :history:
  - :id: 4
    :created_at: 2026-11-29 05:00:00.000000000 Z
submission_12:
  :created_at: 2026-11-20 12:00:00.000000000 -08:00
  :submitters:
  - :sid: '2026002'
    :email: kim2@example.edu
    :name: 'Lee D''Arc'
submission_13:
  :submitters:
  - :name: Lee D'Arc
    :sid: '2026002'
    :email: kim2@example.edu
  :created_at: 2026-11-20 10:00:00.000000000 Z
submission_14:
  :submitters:
  - :name: Kim Minsu
    :email: other@example.edu
  :created_at: not a time
"""


@pytest.mark.parametrize("packed", [False, True])
def test_gradescope(tmp_path, packed):
    files: dict[str, bytes] = {f"export/submission_{n}/server.c": program(n) for n in range(11, 16)}
    files["export/submission_metadata.yml"] = GRADESCOPE.encode()
    tree(tmp_path, {"export.zip": zipped(files)} if packed else files)
    one = survey(tmp_path, lab="lab3", due=datetime(2026, 11, 20, 18, tzinfo=UTC))
    assert {each.student: each.late for each in one.submitted} == {
        "Kim Minsu (kim@example.edu)": False,
        "Kim Minsu (other@example.edu)": False,
        "Lee D'Arc": True,
        "submission_15": False,
        "Zoë O'Neil": False,
    }
    assert not one.duplicates  # a group's one program
    assert "submission_13/server.c" in one.unplaced[0][0]
    assert "submission_12/server.c counts" in one.unplaced[0][1]


def test_canvas(tmp_path):
    tree(tmp_path, ["kimminsu_LATE_12345_67890_server-1.c", "leeann_12346_67891_echo.c"])
    tree(tmp_path, ["LATE_anon_Ab1Cd_67892_server.c", "leeann_12346_67895_util.h"])
    tree(tmp_path, {"ohnara_77_78_lab.zip": zipped(["lab/server.c"]), "roster.csv": "x"})
    tree(tmp_path, {"choi_79_80_report.docx": b"PK"})
    one = survey(tmp_path, lab="lab3")
    assert {each.student: each.late for each in one.submitted} == {
        **{"anon_Ab1Cd": True, "kimminsu": True, "leeann": False, "ohnara": False},
    }
    assert set(one.submitted[2].files) == {"server.c", "util.h"}
    assert one.missing == [("choi", "lab3")]


def test_github_classroom(tmp_path):
    tree(tmp_path, ["lab3-kim/labs/lab3-sigign/server.c", "lab3-lee-2/src/server.c"])
    assert found(survey(tmp_path)) == [KIM3, ("lee-2", "lab3")]


# Files and names -----------------------------------------------------------------------------


def test_sources_of_all_kinds(tmp_path):
    tree(
        tmp_path, {"gbk/lab3/server.c": "/* 服务器 */\r\n".encode("gbk"), "empty/lab3/server.c": ""}
    )
    tree(
        tmp_path,
        {"huge/lab3/server.c": b" " * (MAX_SOURCE + 1), "zip/lab3/server.c": zipped(["x"])},
    )
    tree(tmp_path, {"binary/lab3/server.c": b"a\0b", "wide/lab3/server.c": "int".encode("utf-16")})
    tree(tmp_path, {"word/lab3/server.docx": b"PK\3\4", "most/lab3/server.c": b" " * MAX_SOURCE})
    tree(tmp_path, {"head/lab3/server.c": b"", "head/lab3/a.h": b"\x7fELF"})
    one = survey(tmp_path)
    assert [each.student for each in one.submitted] == ["empty", "gbk", "most"]
    assert one.submitted[1].files["server.c"] == "/* 服务器 */\r\n".encode("gbk")
    for sentence in (
        *("binary/lab3/server.c: not C: it is not text", "larger than 1 MiB", "UTF-16"),
        *("zip/lab3/server.c: not C: it is a zip archive", "word: no C file in it"),
        "head/lab3/server.c: a.h beside it: not C: it is a compiled program",
    ):
        assert sentence in why(one)
    assert len(one.missing) == 6


NAMES = ["Kim Min Su", "김철수", 'O\'Neil "x"', "-rf", "$(id)", "100%", "é", "<b>", "한글_이름"]


@pytest.mark.parametrize("packed", [False, True])
def test_names_of_all_kinds(tmp_path, packed):
    files = [f"{name}/lab3/server.c" for name in NAMES]
    tree(tmp_path, {"all.zip": zipped(files)} if packed else files)
    assert {each.student for each in survey(tmp_path).submitted} == set(NAMES)


def test_names_that_would_garble_a_terminal(tmp_path):
    tree(tmp_path, ["a\nb\x1b[31m/lab3/server.c", "\u202ecba/lab3/server.c", "lee/lab3/server.c"])
    os.mkdir(os.fsencode(tmp_path) + b"/\xb1\xe8")  # 김 in CP949
    os.mkdir(os.fsencode(tmp_path) + b"/\xff\xfe")
    one = survey(tmp_path)
    assert [each.student for each in one.submitted] == ["a b [31m", "cba", "lee"]
    text = "\n".join(in_words(one)) + why(one)
    assert "\x1b" not in text
    text.encode()
    assert ("김", "lab3") in one.missing


def test_nfd_and_nfc_are_one_student(tmp_path):
    nfd = unicodedata.normalize("NFD", "김철수")
    tree(
        tmp_path, {f"{nfd}.zip": zipped(["lab3/server.c"]), "김철수.zip": zipped(["lab4/server.c"])}
    )
    assert found(survey(tmp_path)) == [("김철수", "lab3"), ("김철수", "lab4")]


def test_names_in_zips_without_the_utf8_flag(tmp_path):
    packed = zipped(["aaaaaa/lab3/server.c", "bbbb/lab3/server.c", "cccccc/lab3/server.c"])
    packed = packed.replace(b"aaaaaa", "김철".encode()).replace(b"bbbb", "이순".encode("cp949"))
    one = survey(tree(tmp_path, {"all.zip": packed}))
    assert [each.student for each in one.submitted] == ["cccccc", "김철", "이순"]


def test_what_is_passed_over_silently(tmp_path):
    tree(tmp_path, ["kim/lab3/server.c", "kim/lab3/._server.c", "kim/lab3/.#server.c"])
    tree(tmp_path, ["kim/lab3/server.c~", "kim/.git/lab4/server.c", "__MACOSX/lab3/server.c"])
    tree(tmp_path, [".DS_Store", "kim/lab3/server.c.bak", "kim/node_modules/lab4/server.c"])
    tree(tmp_path, ["kim/lab3/#server.c#", ".hidden/lab3/server.c", "roster.csv", "Thumbs.db"])
    one = survey(tmp_path)
    assert found(one) == [KIM3]
    assert not one.unplaced
    assert not one.missing


def test_links_fifos_and_loops(tmp_path):
    outside = tree(tmp_path / "outside", ["lab3/server.c"])
    folder = tree(tmp_path / "in", ["lee/lab3/server.c"])
    for name in ("out", "broken", "loop", "fifo", "peer"):
        (folder / name / "lab3").mkdir(parents=True)
    (folder / "out/lab3/server.c").symlink_to(outside / "lab3/server.c")
    (folder / "peer/lab3/server.c").symlink_to("../../lee/lab3/server.c")
    (folder / "broken/lab3/server.c").symlink_to("nowhere")
    (folder / "loop/lab3/again").symlink_to("..")
    (folder / "whole").symlink_to(outside)
    os.mkfifo(folder / "fifo/lab3/server.c")
    (folder / "here").mkdir()
    (tmp_path / "link").symlink_to(folder)
    for place in (folder, tmp_path / "link"):
        one = survey(place)
        assert found(one) == [LEE3]
        assert [where for where, _ in one.unplaced] == [
            *("broken/lab3/server.c", "fifo/lab3/server.c", "here", "loop/lab3/again"),
            *("out/lab3/server.c", "peer/lab3/server.c", "whole"),
        ]
        assert why(one).count("a symbolic link, which is not followed") == 5
        assert "fifo/lab3/server.c: neither a file nor a folder" in why(one)
        assert len(one.missing) == 7


def test_a_file_that_becomes_a_link_or_a_fifo_is_not_opened(tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "fifo")
    for name, sentence in (("link", "symbolic link"), ("fifo", "not a file"), ("gone", "No such")):
        with pytest.raises(unpack.Unreadable, match=sentence):
            submissions._read(str(tmp_path / name), 10)


@contextmanager
def as_a_user() -> Iterator[None]:
    """Root may read everything: be someone else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_cannot_be_read():
    with tempfile.TemporaryDirectory() as name:
        folder = tree(Path(name), ["kim/lab3/server.c", "lee/lab3/server.c", "oh/lab3/server.c"])
        tree(folder, {"choi.zip": zipped(["lab3/server.c"])})
        folder.chmod(0o755)
        for path in ("kim/lab3/server.c", "lee/lab3", "choi.zip"):
            (folder / path).chmod(0)
        with as_a_user():
            one = survey(folder)
        assert found(one) == [("oh", "lab3")]
        assert [where for where, _ in one.unplaced] == ["choi.zip", "kim/lab3/server.c", "lee/lab3"]
        assert why(one).count("it cannot be read: Permission denied") == 3
        (folder / "lee/lab3").chmod(0o755)
        folder.chmod(0)
        with as_a_user(), pytest.raises(UsageError, match=r"cannot read .*Permission denied"):
            survey(folder)
        folder.chmod(0o755)


def test_what_is_nothing_to_grade(tmp_path):
    with pytest.raises(UsageError, match=rf"cannot read .*{os.strerror(errno.ENOENT)}"):
        survey(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"cannot read .*Not a directory"):
        survey(tree(tmp_path, ["kim.c"]) / "kim.c")
    with pytest.raises(UsageError, match="nothing to grade") as caught:
        survey(tmp_path)
    assert "kim.c: nothing in its path names a lab: say which one it is (LAB=3)" in str(
        caught.value
    )
    tree(tmp_path, [f"student{number}/server.c" for number in range(20)])
    with pytest.raises(UsageError, match=r"student1/server\.c and 18 more: nothing in"):
        survey(tmp_path)


# Late, missing, duplicate --------------------------------------------------------------------


def test_late_by_the_times_in_archives_but_never_by_mtime(tmp_path):
    tree(tmp_path, {"kim.zip": zipped(["lab3/server.c"]), "lee/lab3/server.c": program()})
    os.utime(tmp_path / "lee/lab3/server.c", (2e9, 2e9))
    late = survey(tmp_path, due=datetime(2026, 11, 20, 11, 59))
    assert [each.late for each in late.submitted] == [True, False]
    assert late.notes == ["when it was handed in is not known for 1 program"]
    on_time = survey(tmp_path, due=datetime(2026, 11, 20, 12, 1))
    assert [each.late for each in on_time.submitted] == [False, False]
    assert not survey(tmp_path).notes
    assert "lab3: 2 programs, 1 late" in in_words(late)


@pytest.mark.parametrize(
    "text",
    [
        "kim\nlee\nchoi\n",
        "\ufeffName;Section\r\nKIM;1\r\nlee;1\r\n\r\nchoi;2\r\n",
        'section,login,name\n1,kim,"Kim, Minsu"\n1,lee,Lee Ann\n2,choi,Choi\n',
        "Student,Email\nMinsu K.,kim@example.edu\nA. L.,lee@example.edu\nchoi,c@example.edu\n",
        "First name\tSurname\tID number\nMinsu\tKim\tkim\nAnn\tLee\tlee\nchoi\t\tchoi",
    ],
)
def test_missing_by_the_roster(tmp_path, text):
    roster = tmp_path / "roster.csv"
    roster.write_text(text, encoding="utf-8", newline="")
    folder = tree(
        tmp_path / "in", ["kim/lab3/server.c", "lee/lab3/a/server.c", "guest/lab3/server.c"]
    )
    one = survey(folder, roster=roster)
    assert len(one.missing) == 1
    assert one.missing[0][0] in ("choi", "Choi")
    assert one.notes == ["not on the roster: guest"]
    assert "lab3: 3 programs, 1 missing" in in_words(one)


def test_canvas_names_against_a_gradebook(tmp_path):
    roster = tmp_path / "grades.csv"
    roster.write_text('Student,ID,Section\n"Kim, Minsu",12,a\n"Lee, Ann",13,a\n"Oh, Nara",14,a\n')
    folder = tree(tmp_path / "in", ["kimminsu_12_1_server.c", "leeann_LATE_99_2_server.c"])
    one = survey(folder, lab="lab3", roster=roster)
    assert one.missing == [("Oh, Nara", "lab3")]
    assert not one.notes


def test_two_of_a_name_on_the_roster(tmp_path):
    roster = tmp_path / "roster.csv"
    roster.write_text("name,id\nKim Minsu,1\nKim Minsu,2\nLee Ann,3\n")
    folder = tree(tmp_path / "in", ["Kim Minsu/lab3/server.c"])
    one = survey(folder, roster=roster)
    assert one.missing == [("Lee Ann", "lab3")]
    assert one.notes == ["more than one on the roster may be Kim Minsu: who is missing is unsure"]


@pytest.mark.parametrize("data", [None, b"", b"\n\n", b"name\n"])
def test_a_roster_of_no_use(tmp_path, data):
    folder = tree(tmp_path / "in", ["kim/lab3/server.c"])
    if data is not None:
        (tmp_path / "roster").write_bytes(data)
    with pytest.raises(UsageError, match="roster"):
        survey(folder, roster=tmp_path / "roster")


def test_missing_without_a_roster(tmp_path):
    tree(tmp_path, ["kim/lab3/server.c", "kim/lab4/server.c", "lee/lab4/server.c"])
    (tmp_path / "choi").mkdir()
    one = survey(tmp_path)
    assert one.missing == [("choi", "lab3"), ("choi", "lab4"), LEE3]
    assert one.unplaced == [("choi", "there is nothing in it")]


def test_duplicates(tmp_path):
    text = "int main(void)\n{\n\treturn 0;\n}\n"
    tree(tmp_path, {"kim/lab3/server.c": text, "lee/lab3/server.c": text.replace("\n", " \r\n")})
    tree(tmp_path, {"oh/lab3/server.c": text.replace("0", "1"), "kim/lab4/server.c": text + "\n\n"})
    starter = paths.starter_of("lab3").read_bytes()
    tree(tmp_path, {"a/lab3/server.c": starter, "b/lab3/server.c": starter})
    tree(tmp_path, {"c/lab3/server.c": "", "d/lab3/server.c": "\n"})
    one = survey(tmp_path)
    assert one.duplicates == [
        ("kim: kim/lab3/server.c", "kim: kim/lab4/server.c", "lee: lee/lab3/server.c")
    ]
    assert any(line.startswith("Equal programs: kim: kim/lab3") for line in in_words(one))


def test_two_submissions_of_one_student(tmp_path):
    tree(tmp_path, {"kim/lab3/server.c": program(1), "kim.zip": zipped({"lab3.c": program(2)})})
    one = survey(tree(tmp_path, ["lee/lab3/server.c"]))
    assert found(one) == [LEE3]
    assert one.unplaced == [
        (
            "kim/lab3/server.c",
            "kim has another for lab3 (kim.zip: lab3.c), and no telling which is later: leave one",
        )
    ]


# What comes back -----------------------------------------------------------------------------


def test_the_key_is_of_the_content_alone():
    one = Submitted("kim", "lab3", "x", {"server.c": b"a", "b.h": b"c"})
    assert one.key == Submitted("lee", "lab4", "y", {"b.h": b"c", "server.c": b"a"}, True).key
    others = [{"server.c": b"a"}, {"server.c": b"a", "b.hc": b""}, {"server.c": b"ab.h", "c": b""}]
    assert len({one.key, *(Submitted("kim", "lab3", "x", each).key for each in others)}) == 4
    assert len(one.key) == 64


def test_in_words_counts_and_cuts(tmp_path):
    tree(tmp_path, [f"student{number}/server.c" for number in range(34)])
    tree(tmp_path, [f"lab{number}/lab{number}x{number}/server.c" for number in range(50, 75)])
    lines = in_words(survey(tree(tmp_path, ["kim/lab1/server.c"])))
    assert lines[:2] == [
        "lab1: 1 program, 59 missing",
        "Could not be placed (59), and is not graded:",
    ]
    assert lines[2].startswith("  lab50/lab50x50/server.c: the kit has no lab50")
    assert lines[-1] == "  and 6 more"
    assert len(lines) == 2 + submissions.MAX_LINES + 1


def test_in_words_tells_a_reason_once(tmp_path):
    tree(tmp_path, [f"student{number}/server.c" for number in range(34)])
    lines = in_words(survey(tree(tmp_path, ["kim/lab1/server.c"])))
    assert lines[2:] == [
        "  student0/server.c, student1/server.c, student2/server.c and 31 more: "
        "nothing in its path names a lab: say which one it is (LAB=3)"
    ]


def test_nothing_is_written_and_nothing_left_open(tmp_path):
    tree(tmp_path, {f"s{number}.zip": zipped(["lab3/server.c"]) for number in range(50)})
    tree(tmp_path, {f"t{number}.tgz": tarred({"lab3/server.c": b"x"}) for number in range(20)})
    before = sorted(os.walk(tmp_path))
    assert len(survey(tmp_path).submitted) == 70
    assert sorted(os.walk(tmp_path)) == before
    open_files = [os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()]
    assert [name for name in open_files if name.startswith(str(tmp_path))] == []
