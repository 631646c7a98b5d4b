"""Looking into archives of strangers (.zip, .tar, .tar.gz, .tgz) without writing anything to disk.

A member is read only when it is asked for, and only as far as it is allowed to be large. What would
lead out of the archive, links, devices, what is encrypted or damaged: never read, each with a
sentence that says so.
"""

from __future__ import annotations

import gzip
import io
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO

KIBIBYTE, MEBIBYTE = 1024, 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """What an archive may ask of the machine."""

    members: int = 50_000  # files and folders in it
    listing: int = 8 * MEBIBYTE  # bytes of a zip's own table of contents
    inner: int = 16 * MEBIBYTE  # bytes of an archive inside an archive
    tar: int = 64 * MEBIBYTE  # bytes that a .tar.gz unpacks to: it must be unpacked to be listed
    ratio: int = 200  # unpacked over packed size; C sources come to 3 to 15
    levels: int = 2  # an archive inside an archive, and no deeper
    open: int = 2  # archives that are open at a time


LIMITS = Limits()
HARMLESS = 64 * KIBIBYTE  # bytes: what unpacks to less is no bomb, whatever the ratio

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
UNKNOWN_SUFFIXES = (".7z", ".rar", ".tar.bz2", ".tar.xz", ".tbz2", ".txz", ".egg", ".alz", ".gz")

# All that the two libraries raise for what isn't as it should be.
DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error, EOFError, OSError),
    *(RuntimeError, NotImplementedError, ValueError, LookupError, OverflowError, AssertionError),
)


class Unreadable(Exception):
    """Why something can't be read, as a sentence for people (without its subject's name)."""


def is_archive(name: str) -> bool:
    """Whether a file of that name is one that can be looked into."""
    return name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """The name of an archive without its ending: "kim" for "kim.tar.gz"."""
    ending = next((one for one in (".tar.gz", *SUFFIXES) if name.lower().endswith(one)), "")
    return name[: len(name) - len(ending)]


def clean(name: str) -> str:
    """A name that can be shown and compared: NFC, no control characters, nothing undecodable.

    macOS makes NFD names, others NFC: the same student must not become two.
    """
    if name.isascii() and name.isprintable():
        return " ".join(name.split())  # as nearly all are
    with suppress(UnicodeEncodeError):
        name = _decoded(name.encode("utf-8", "surrogateescape"))
    name = "".join(" " if _unshowable(character) else character for character in name)
    return unicodedata.normalize("NFC", " ".join(name.split()))


def _unshowable(character: str) -> bool:
    direction = "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    return direction or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _decoded(name: bytes, otherwise: str = "utf-8") -> str:
    """A name in UTF-8 or, as Korean Windows writes it, in CP949."""
    for encoding in ("utf-8", "cp949"):
        with suppress(UnicodeDecodeError):
            return name.decode(encoding)
    return name.decode(otherwise, "replace")


@dataclass(frozen=True)
class Member:
    """A file in an archive, a folder (nothing to read), or what is neither (``problem``)."""

    parts: tuple[str, ...]
    read: Callable[[int], bytes] | None = None  # read(n): up to n bytes. Raises Unreadable
    when: datetime | None = None  # as the archive says: the clock of whoever packed it
    problem: str = ""  # a sentence


@dataclass(frozen=True)
class Listing:
    """What is in an archive."""

    members: list[Member]
    escapes: list[str]  # names of members that lead out of it; they are not read


@dataclass(frozen=True)
class Archive:
    """An archive: where its bytes come from, and its kind."""

    name: str
    source: Callable[[], BinaryIO]  # opens it. Raises Unreadable or OSError


@dataclass
class Shelf:
    """Keeps the archives read last open, and no more than a few."""

    limits: Limits = LIMITS
    _open: dict[Archive, zipfile.ZipFile | tarfile.TarFile] = field(default_factory=dict)

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._close(next(iter(self._open)))

    def look_into(self, archive: Archive) -> Listing:
        """What is in it. Raises Unreadable."""
        try:
            opened = self._get(archive)
            listing = _zip if isinstance(opened, zipfile.ZipFile) else _tar
            return listing(self, archive)
        except DAMAGE as problem:
            raise Unreadable(_damage(problem)) from problem

    def _get(self, archive: Archive) -> zipfile.ZipFile | tarfile.TarFile:
        opened = self._open.pop(archive, None) or _opened(archive, self.limits)
        self._open[archive] = opened  # at the end: the one used last
        while len(self._open) > self.limits.open:
            self._close(next(iter(self._open)))
        return opened

    def _close(self, archive: Archive) -> None:
        opened = self._open.pop(archive)
        below = opened.fp if isinstance(opened, zipfile.ZipFile) else opened.fileobj
        opened.close()
        if below is not None:
            below.close()


def _damage(problem: BaseException) -> str:
    if isinstance(problem, OSError) and problem.strerror:
        return f"it cannot be read: {problem.strerror}"
    return f"it is damaged, or not the archive that its name says ({problem})"


def _opened(archive: Archive, limits: Limits) -> zipfile.ZipFile | tarfile.TarFile:
    file = archive.source()
    try:
        name = archive.name.lower()
        if name.endswith(".zip"):
            if _listing_size(file) > limits.listing:
                raise Unreadable("it lists far more files than a class hands in: not opened")
            return zipfile.ZipFile(file)
        if name.endswith((".gz", ".tgz")):
            file = _gunzipped(file, limits)
        return tarfile.open(fileobj=file, mode="r:")
    except BaseException:
        file.close()
        raise


def _listing_size(file: BinaryIO) -> int:
    """Bytes of a zip's central directory (APPNOTE.TXT, 4.3.14 and 4.3.16). 0 when there is none."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 65_557))
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or end + 22 > len(tail):
        return 0
    (listed,) = struct.unpack_from("<L", tail, end + 12)
    large = end - 20 - 56  # zip64: its own record, and a locator, come before
    if listed == 0xFFFFFFFF and large >= 0:
        (listed,) = struct.unpack_from("<Q", tail, large + 40)
    return int(listed)


def _gunzipped(file: BinaryIO, limits: Limits) -> BinaryIO:
    packed = file.seek(0, io.SEEK_END)
    file.seek(0)
    unpacked = io.BytesIO()
    with file, gzip.GzipFile(fileobj=file) as stream:
        while chunk := stream.read(MEBIBYTE):
            unpacked.write(chunk)
            if unpacked.tell() > limits.tar:
                raise Unreadable(
                    f"it unpacks to more than {limits.tar // MEBIBYTE} MiB: "
                    "unpack it yourself if it is what it should be"
                )
            _refuse_a_bomb(unpacked.tell(), packed, limits)
    unpacked.seek(0)
    return unpacked


def _refuse_a_bomb(size: int, packed: int, limits: Limits) -> None:
    if size > HARMLESS and size > limits.ratio * packed:
        raise Unreadable(f"it unpacks to more than {limits.ratio} times its size: not opened")


NO_FILE = "a link or a device instead of a file: not followed"


# The two kinds -------------------------------------------------------------------------------


def _zip(shelf: Shelf, archive: Archive) -> Listing:
    opened = shelf._get(archive)
    assert isinstance(opened, zipfile.ZipFile)
    found = opened.infolist()
    _refuse_a_crowd(len(found), shelf.limits)
    listing = Listing([], [])
    for info in found:
        parts = _parts(_zip_name(info))
        kind = stat.S_IFMT(info.external_attr >> 16)  # where Unix packed it
        if parts == ():  # "./"
            continue
        if parts is None:
            listing.escapes.append(info.filename)
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            listing.members.append(Member(parts, problem=NO_FILE))
        elif info.is_dir() or kind == stat.S_IFDIR:
            listing.members.append(Member(parts))
        else:
            read = partial(_read_zip, shelf, archive, info)
            listing.members.append(Member(parts, read, _zip_time(info)))
    return listing


def _zip_name(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename.partition("\0")[0]
    if info.flag_bits & 0x800 or name.isascii():
        return name
    # Without the UTF-8 flag zipfile takes names for CP437. macOS omits the flag.
    return _decoded(name.encode("cp437"), otherwise="cp437")


def _zip_time(info: zipfile.ZipInfo) -> datetime | None:
    try:
        return datetime(*info.date_time).astimezone() if info.date_time[0] > 1980 else None
    except (ValueError, OverflowError, OSError):
        return None


def _read_zip(shelf: Shelf, archive: Archive, info: zipfile.ZipInfo, most: int) -> bytes:
    if info.flag_bits & 0x1:
        raise Unreadable("it is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unreadable("it is packed in an unusual way: pack it again as an ordinary zip")
    _refuse_a_bomb(info.file_size, info.compress_size, shelf.limits)
    try:
        opened = shelf._get(archive)
        assert isinstance(opened, zipfile.ZipFile)
        with opened.open(info) as file:
            return file.read(most)
    except DAMAGE as problem:
        raise Unreadable(_damage(problem)) from problem


def _tar(shelf: Shelf, archive: Archive) -> Listing:
    opened = shelf._get(archive)
    assert isinstance(opened, tarfile.TarFile)
    listing = Listing([], [])
    for number, info in enumerate(opened):
        _refuse_a_crowd(number, shelf.limits)
        parts = _parts(info.name)
        if parts == ():  # "./"
            continue
        if parts is None:
            listing.escapes.append(info.name)
        elif info.isdir():
            listing.members.append(Member(parts))
        elif not info.isreg() or info.size < 0:
            listing.members.append(Member(parts, problem=NO_FILE))
        else:
            read = partial(_read_tar, shelf, archive, info)
            listing.members.append(Member(parts, read, _tar_time(info)))
    return listing


def _tar_time(info: tarfile.TarInfo) -> datetime | None:
    try:
        return datetime.fromtimestamp(info.mtime, UTC) if info.mtime > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def _read_tar(shelf: Shelf, archive: Archive, info: tarfile.TarInfo, most: int) -> bytes:
    try:
        opened = shelf._get(archive)
        assert isinstance(opened, tarfile.TarFile)
        file = opened.extractfile(info)
        assert file is not None
        with file:
            data = file.read(most)
    except DAMAGE as problem:
        raise Unreadable(_damage(problem)) from problem
    if len(data) < min(most, info.size):
        raise Unreadable("it is damaged: the archive ends in the middle of it")
    return data


def _refuse_a_crowd(members: int, limits: Limits) -> None:
    if members > limits.members:
        raise Unreadable(f"it holds more than {limits.members} files: not opened")


def _parts(name: str) -> tuple[str, ...] | None:
    """The path of a member. None if it would lead out of the archive."""
    name = name.replace("\\", "/")  # as some programs on Windows write it
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if ".." in parts else tuple(clean(part) or "?" for part in parts)


def shortened(text: str, most: int = 160) -> str:
    """The text, its middle left out where it is longer than ``most`` characters."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 + 1 :]}"
