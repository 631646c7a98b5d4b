"""Finds the submissions that an instructor has, and says what it found and what it couldn't place.

Takes a folder (or one archive) in the shapes people have them: a folder, a C file or an archive for
each student, one archive for the class, folders by lab, and the downloads of Moodle, Gradescope,
Canvas and GitHub Classroom. Never guesses: where two programs could be meant, neither is graded and
a sentence says so. Never follows a link and writes nothing.

Whether something is late is known from the download's naming (Canvas), from the time of handing in
that comes with it (Gradescope), or from the time that an archive gives for the file. That time is
the clock of whoever packed it: late by it is worth a question, in time by it is no proof. A file's
own mtime proves nothing (copying changes it) and is never looked at.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO

from forklab import paths
from forklab.errors import UsageError
from forklab.unpack import (
    LIMITS,
    MEBIBYTE,
    UNKNOWN_SUFFIXES,
    Archive,
    Shelf,
    Unreadable,
    clean,
    is_archive,
    shortened,
    stem,
)

MAX_SOURCE = MEBIBYTE  # bytes of a source or a header
MAX_HEADERS = 64  # beside a source: as many as forklab.build copies
MAX_METADATA = 64 * MEBIBYTE  # bytes of Gradescope's file: it holds what its autograder said
MAX_DEPTH = 20  # folders below each other
MAX_LINES = 20  # of what could not be placed, in the terminal
MANY_FILES = 5  # C files in a folder that hint at a class: a student's program has fewer

METADATA = "submission_metadata.yml"
KIT_SOURCES = ("net.c", "safe_log.c", "client.c")  # handed out with the kit: no one's submission
KIT_FOLDERS = ("harness", "solutions", "docs", "build")  # beside labs/, in a clone of the kit
PASSED_OVER = ("__MACOSX", "__pycache__", "node_modules", "Thumbs.db", "desktop.ini")
NO_STUDENTS = (
    *("labs", "src", "source", "sources", "include", "code", *KIT_FOLDERS),
    *("all", "class", "students", "submissions", "submission", "downloads", "download"),
)
ABOUT_THE_CLASS = tuple(".csv .tsv .xlsx .xls .yml .yaml .json .md .txt .html .htm".split())


@dataclass(frozen=True)
class Submitted:
    """A program that a student handed in."""

    student: str  # NFC, as found (control characters are blanks)
    lab: str  # "lab3"
    where: str  # for people: "kim/lab3-sigign/server.c", "all.zip: kim/server.c"
    files: Mapping[str, bytes]  # "server.c" (always this name) and the headers beside it
    late: bool = False

    @cached_property
    def key(self) -> str:
        """SHA-256 of the files, names and bytes: the same for the same program, whoever's it is."""
        digest = hashlib.sha256()
        for name, text in sorted(self.files.items()):
            encoded = name.encode()
            digest.update(b"%d %d " % (len(encoded), len(text)) + encoded + text)
        return digest.hexdigest()


@dataclass(frozen=True)
class Survey:
    """What there is to grade, and what else was found."""

    submitted: Sequence[Submitted]  # by student and lab, student2 before student10
    unplaced: Sequence[tuple[str, str]] = ()  # (where, a sentence that says why)
    missing: Sequence[tuple[str, str]] = ()  # (student, lab) without a program that can be graded
    duplicates: Sequence[tuple[str, ...]] = ()  # each: "student: where" of equal programs
    notes: Sequence[str] = ()  # sentences about all of it


def survey(
    folder: Path, lab: str | None = None, roster: Path | None = None, due: datetime | None = None
) -> Survey:
    """What there is to grade in ``folder`` (which may be one archive), of ``lab`` only if given.

    ``roster``: a CSV file with a header, or a plain list with a name on each line: who of them has
    nothing is missing. Without it, those are missing who have one lab but not another that others
    have. ``due``: later is late, as far as times are known; a time without a zone is local.
    Two submissions of one student for one lab: the later one counts if the download says when they
    were handed in; otherwise neither.

    Raises UsageError when the folder can't be read or holds nothing to grade at all.
    """
    listed = _read_roster(roster) if roster else []
    due = due.astimezone() if due else None
    with Shelf() as shelf:
        everything = list(_everything(folder, shelf))
        pieces = _pieces(everything, 0, None, roster.name if roster else "")
        programs, unplaced = _programs(pieces, lab)
        submitted, undated = _submitted(programs, unplaced, due)
    unplaced.sort(key=lambda one: _natural(one[0]))
    if not submitted:
        raise UsageError(
            "\n".join([f"there is nothing to grade in {folder}", *_lines(unplaced, 5)])
        )
    students = {student: aliases for piece in pieces for student, aliases in piece.students}
    expected = _expected(students, listed)
    labs = sorted({lab} if lab else {one.lab for one in submitted}, key=_natural)
    notes = _unlisted(submitted, students, listed)
    if alike := [name for name, times in Counter(expected).items() if times > 1]:
        notes.append(f"more than one on the roster may be {_some(alike)}: who is missing is unsure")
    if due and undated:
        notes += [f"when it was handed in is not known for {_count(undated, 'program')}"]
    return Survey(
        sorted(submitted, key=lambda one: (_natural(one.student), _natural(one.lab))),
        unplaced,
        _missing(submitted, expected, labs),
        _duplicates(submitted),
        notes,
    )


def in_words(survey: Survey) -> list[str]:
    """What was found, for the terminal: counts by lab, then what could not be placed."""
    lines = []
    for lab in sorted({one.lab for one in survey.submitted}, key=_natural):
        here = [one for one in survey.submitted if one.lab == lab]
        late = sum(one.late for one in here)
        missing = sum(one == lab for _, one in survey.missing)
        more = [f"{late} late"] * bool(late) + [f"{missing} missing"] * bool(missing)
        lines.append(", ".join([f"{lab}: {_count(len(here), 'program')}", *more]))
    lines += _at_most([f"Equal programs: {_some(alike)}" for alike in survey.duplicates], MAX_LINES)
    lines += [f"{note[0].upper()}{note[1:]}." for note in survey.notes]
    if survey.unplaced:
        lines.append(f"Could not be placed ({len(survey.unplaced)}), and is not graded:")
        lines += _lines(survey.unplaced, MAX_LINES)
    return lines


def _lines(unplaced: Sequence[tuple[str, str]], most: int) -> list[str]:
    """A line for each reason: half a class may have the same."""
    places: dict[str, list[str]] = defaultdict(list)
    for where, why in unplaced:
        places[why].append(where)
    return _at_most([f"  {_some(where)}: {why}" for why, where in places.items()], most)


def _at_most(lines: list[str], most: int) -> list[str]:
    return lines[:most] + [f"  and {len(lines) - most} more"] * (len(lines) > most)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which student2 comes before student10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    numbers = [part.lstrip("0") if part[0] in "0123456789" else None for part in parts]
    return [
        (len(number), number) if number is not None else (1 << 20, part.casefold())
        for part, number in zip(parts, numbers, strict=True)
    ] + [(0, text)]


# Everything that is there --------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A file, a folder, or something that can't be read."""

    parts: tuple[str, ...]  # its path: NFC, without control characters
    archives: int = 0  # a bit for each part that is an archive
    read: Callable[[int], bytes] | None = None  # a file: read(n) is up to n bytes, or Unreadable
    when: datetime | None = None  # as an archive says
    problem: str = ""  # why it can't be read

    @property
    def where(self) -> str:
        """The path for people: "all.zip: kim/server.c"."""
        signs = [": " if self.archives >> i & 1 else "/" for i in range(len(self.parts))]
        text = "".join(part + sign for part, sign in zip(self.parts, signs, strict=True))
        return shortened(text.rstrip("/: ")) or "."

    @property
    def name(self) -> str:
        """The last part of the path, or "" of no path."""
        return self.parts[-1] if self.parts else ""


def _everything(folder: Path, shelf: Shelf) -> Iterator[Entry]:
    """All that is in a folder and in the archives there. Raises UsageError."""
    try:
        if is_archive(folder.name) and folder.is_file():
            yield from _in_archive(_named(folder.name), 0, partial(_open, str(folder)), shelf)
            return
        with os.scandir(folder):
            pass
    except OSError as problem:
        raise UsageError(f"cannot read {folder}: {problem.strerror}") from problem
    yield from _in_folder(os.fspath(folder), (), shelf)


def _named(name: str) -> tuple[str, ...]:
    return (clean(name) or "?",)


def _in_folder(folder: str, parts: tuple[str, ...], shelf: Shelf) -> Iterator[Entry]:
    yield Entry(parts)
    if len(parts) >= MAX_DEPTH:
        yield Entry(parts, problem=f"it is more than {MAX_DEPTH} folders deep: not looked into")
        return
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda one: one.name)
    except OSError as problem:
        yield Entry(parts, problem=f"it cannot be read: {problem.strerror}")
        return
    for entry in entries:
        here = parts + _named(entry.name)
        if _passed_over(entry.name):
            continue
        if entry.is_symlink():
            why = "a symbolic link, which is not followed: put the file itself there"
            yield Entry(here, problem=why)
        elif entry.is_dir(follow_symlinks=False):
            yield from _in_folder(entry.path, here, shelf)
        elif not entry.is_file(follow_symlinks=False):
            yield Entry(here, problem="neither a file nor a folder")
        elif is_archive(entry.name):
            yield from _in_archive(here, 0, partial(_open, entry.path), shelf)
        elif entry.name.lower().endswith(UNKNOWN_SUFFIXES):
            yield Entry(here, problem=UNKNOWN)
        else:
            yield Entry(here, read=partial(_read, entry.path))


UNKNOWN = "an archive of a kind that is not opened here: unpack it yourself"


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name in PASSED_OVER or name.endswith("~")


def _open(path: str) -> BinaryIO:
    """Opens a file, and nothing else that may lie there by now. Raises Unreadable."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            raise Unreadable("a symbolic link, which is not followed") from problem
        raise Unreadable(f"it cannot be read: {problem.strerror}") from problem
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise Unreadable("not a file")
    return file


def _read(path: str, most: int) -> bytes:
    with _open(path) as file:
        try:
            return file.read(most)
        except OSError as problem:
            raise Unreadable(f"it cannot be read: {problem.strerror}") from problem


def _in_archive(
    parts: tuple[str, ...],
    archives: int,
    source: Callable[[], BinaryIO],
    shelf: Shelf,
) -> Iterator[Entry]:
    archives |= 1 << len(parts) - 1
    yield Entry(parts, archives)
    try:
        listing = shelf.look_into(Archive(parts[-1], source))
    except Unreadable as problem:
        yield Entry(parts, archives, problem=str(problem))
        return
    if listing.escapes:
        why = f"a path that leads out of the archive, not read: {_some(listing.escapes)}"
        yield Entry(parts, archives, problem=shortened(clean(why)))
    for member in listing.members:
        here = parts + member.parts
        name = here[-1]
        if any(map(_passed_over, member.parts)):
            continue
        if len(here) > MAX_DEPTH:
            why = f"it is more than {MAX_DEPTH} folders deep: not looked at"
            yield Entry(here[:MAX_DEPTH], archives, problem=why)
        elif member.read is None:
            yield Entry(here, archives, problem=member.problem)
        elif is_archive(name) and archives.bit_count() < LIMITS.levels:
            yield from _in_archive(here, archives, partial(_inner, member.read), shelf)
        elif is_archive(name):
            why = "an archive in an archive in an archive: not opened"
            yield Entry(here, archives, problem=why)
        elif name.lower().endswith(UNKNOWN_SUFFIXES):
            yield Entry(here, archives, problem=UNKNOWN)
        else:
            yield Entry(here, archives, member.read, member.when)


def _inner(read: Callable[[int], bytes]) -> BinaryIO:
    packed = read(LIMITS.inner + 1)
    if len(packed) > LIMITS.inner:
        size = f"{LIMITS.inner // MEBIBYTE} MiB"
        raise Unreadable(f"an archive in an archive, and larger than {size}: not opened")
    return io.BytesIO(packed)


# Whose it is ---------------------------------------------------------------------------------

LAB = re.compile(r"(?<![^\W\d_])lab[\s_-]*0*([1-9][0-9]{0,2})(?![0-9])", re.IGNORECASE)
SLUGS = "|".join(folder.partition("-")[2] for folder in paths.LAB_FOLDERS.values())
SLUG = re.compile(rf"[\s_-]+({SLUGS})(?![^\W_])", re.IGNORECASE)
# mod/assign/classes/downloader.php of Moodle: with and without folders; older ones end in "_".
MOODLE = re.compile(r"(.+?)(?:_(\d+))?_assignsubmission_[a-z]+(?:_(.*))?", re.DOTALL)
# lib/content_zipper.rb of Canvas: name, LATE, the user's number or anon_x, the file's number.
CANVAS = re.compile(r"(?:(\w+?)_)??(?:(LATE)_)?(\d+|anon_\w+?)_(\d+)_(.+)", re.DOTALL)


@dataclass
class Piece:
    """What one student (or a group of them) handed in at one place."""

    students: list[tuple[str, frozenset[str]]]  # the name, and all that a roster may call them
    where: str
    lab: str | None = None
    late: bool = False
    when: datetime | None = None  # when it was handed in, as the download says
    entries: list[tuple[tuple[str, ...], Entry]] = field(default_factory=list)  # (path in it, …)


def _pieces(entries: Sequence[Entry], base: int, lab: str | None, roster: str) -> list[Piece]:
    """Sorts everything at and below a folder by students; ``base`` is how deep the folder is."""
    tops: dict[str, list[Entry]] = defaultdict(list)
    strays = []
    for entry in entries:
        if len(entry.parts) > base:
            tops[entry.parts[base]].append(entry)
        elif entry.problem:
            strays.append(Piece([], entry.where, lab, entries=[((), entry)]))
    told = _gradescope(tops.pop(METADATA, []), base + 1)
    folders = [top for top, group in tops.items() if _holds_something(group, base + 1)]
    alone = len(folders) == 1 and not any(top.lower().endswith(".c") for top in tops)
    pieces: dict[tuple[str, str], Piece] = {}
    for top, group in tops.items():
        person = _person(top, flat=top not in folders)
        its_lab = person.lab or lab
        if top in folders and not person.downloaded and top not in told:
            if not person.name or _is_class(group, base + 1, alone):
                strays += _pieces(group, base + 1, its_lab, roster)
                continue
        elif top not in folders and not person.downloaded and _is_about_the_class(top, roster):
            continue
        key = (person.name, person.id) if person.downloaded else (top, "")
        piece = pieces.setdefault(key, Piece([], shortened(group[0].where), its_lab))
        piece.late |= person.late
        if top in told:
            piece.students, piece.when = told[top]
        elif person.name and (person.downloaded or top in folders or _may_be_c(group[0])):
            piece.students = [(person.name, _aliases(person.name, person.id))]
        for entry in group:
            inside = entry.parts[base + 1 :]
            if not inside or person.file:
                inside = (person.file or top, *inside)
            if not any(map(_passed_over, inside)):
                piece.entries.append((inside, entry))
    numbers: dict[str, set[str]] = defaultdict(set)
    for name, number in pieces:
        numbers[name].add(number)
    for (name, number), piece in pieces.items():
        if number and len(numbers[name]) > 1:  # people of the same name
            piece.students = [(f"{name} ({number})", aliases) for _, aliases in piece.students]
    return [*pieces.values(), *strays]


def _may_be_c(entry: Entry) -> bool:
    return bool(entry.problem) or entry.name.lower().endswith(".c")


def _holds_something(group: Sequence[Entry], base: int) -> bool:
    """Whether it is a folder or an archive rather than a file."""
    return any(len(one.parts) > base or (one.read is None and not one.problem) for one in group)


def _is_about_the_class(name: str, roster: str) -> bool:
    return name == clean(roster) or name.lower().endswith(ABOUT_THE_CLASS)


def _is_class(group: Sequence[Entry], base: int, alone: bool) -> bool:
    """Whether a folder or an archive holds all of the class, rather than one student's files.

    It does if the names in it are a download's; and, if it is the only one (``alone``), if there
    are several folders, or many files, in it that are named like students.
    """
    below: dict[str, list[Entry]] = defaultdict(list)
    for entry in group:
        if len(entry.parts) > base:
            below[entry.parts[base]].append(entry)
    folders = {top for top, one in below.items() if _holds_something(one, base + 1)}
    files = [top for top in below if top not in folders and not _is_about_the_class(top, "")]
    if METADATA in below or any(MOODLE.fullmatch(top) for top in below):
        return True
    if files and all(CANVAS.fullmatch(top) for top in files):
        return True
    if not alone or any(top.lower().endswith((".h", "server.c", "makefile")) for top in below):
        return False
    if len(folders) == 1 and not any(top.lower().endswith(".c") for top in below):
        (only,) = folders
        return _is_class(below[only], base + 1, alone=True)
    sources = [top for top in files if top.lower().endswith(".c")]
    named = [*folders, *(sources if len(sources) >= MANY_FILES else ())]
    by_lab = [top for top in named if not _person(top, flat=False).name]
    if by_lab:
        return all(_is_class(below[top], base + 1, alone=True) for top in by_lab)
    return len(named) > 1


@dataclass(frozen=True)
class Person:
    """What the name of a folder, an archive or a file says."""

    name: str  # "" if it names no student
    id: str = ""  # that the download gives
    lab: str | None = None
    late: bool = False
    file: str = ""  # what the student called it, in a download without folders
    downloaded: bool = False  # named by Moodle or Canvas


def _person(top: str, flat: bool) -> Person:
    if moodle := MOODLE.fullmatch(top):
        name, number, file = moodle.groups()
        return Person(name, number or "", None, False, file or "", True)
    if (flat or is_archive(top)) and (canvas := CANVAS.fullmatch(top)):
        name, late, number, _, file = canvas.groups()
        return Person(name or number, number, None, bool(late), file, True)
    name = stem(top)
    if flat:
        name = re.sub(r"\.[A-Za-z]{1,5}$", "", name)
    student = _without_lab(name)
    if student.lower() in NO_STUDENTS or (flat and student.lower() in ("server", "main")):
        student = ""
    return Person(student, lab=_lab_in(name))


def _without_lab(name: str) -> str:
    """ "kim" of "lab3-kim", "lab3-sigign-kim" and "kim_lab3"; "" of "lab3"."""
    found = LAB.search(name)
    if not found:
        return name
    start, end = found.span()
    if slug := SLUG.match(name, end):
        end = slug.end()
    before, after = name[:start].strip(" _-"), name[end:].strip(" _-")
    return name if before and after else before or after


def _lab_in(name: str) -> str | None:
    found = LAB.search(name)
    return f"lab{found[1]}" if found else None


def _aliases(*names: str) -> frozenset[str]:
    """What may stand for a person, made comparable: letters and digits only, in either order."""
    plain = set()
    for name in filter(None, names):
        last, comma, first = name.partition(",")
        for one in (name, first + last if comma else "", name.partition("@")[0]):
            plain.add("".join(letter for letter in clean(one).casefold() if letter.isalnum()))
    return frozenset(plain - {""})


Told = dict[str, tuple[list[tuple[str, frozenset[str]]], datetime | None]]


def _gradescope(group: Sequence[Entry], base: int) -> Told:
    """Who handed in what and when, from the file that Gradescope's export carries.

    It is YAML as Ruby writes it. Only the lines needed are read, by their indentation: what a
    student's program printed is always deeper.
    """
    entry = next((one for one in group if one.read and len(one.parts) == base), None)
    try:
        data = entry.read(MAX_METADATA) if entry and entry.read else b""
    except Unreadable:
        return {}
    handed_in: dict[str, tuple[list[dict[str, str]], datetime | None]] = {}
    people: dict[str, set[str]] = defaultdict(set)  # by name: what tells them apart
    for block in re.split(r"^(?=[^\s#-])", data.decode("utf-8", "replace"), flags=re.MULTILINE):
        key = re.match(r"(.+?):\s*$", block, re.MULTILINE)
        found = re.search(r"^  :submitters:\s*\n((?:  (?:- |  ).*\n?)+)", block, re.MULTILINE)
        when = re.search(r"^  :created_at: (.+)$", block, re.MULTILINE)
        if key and found:
            each = map(_yaml_fields, re.split(r"^  - ", found[1], flags=re.MULTILINE))
            named = [one for one in each if one]
            for one in named:
                people[_called(one)].add(_distinction(one))
            moment = _moment(_yaml_text(when[1])) if when else None
            handed_in[clean(_yaml_text(key[1]))] = named, moment
    return {
        key: ([(_called(one, people), _aliases(*one.values())) for one in named], when)
        for key, (named, when) in handed_in.items()
        if named
    }


def _distinction(fields: Mapping[str, str]) -> str:
    return fields.get("email") or fields.get("sid") or ""


def _called(fields: Mapping[str, str], people: Mapping[str, set[str]] | None = None) -> str:
    """The name; with the e-mail address or number if there are ``people`` of the same name."""
    name = fields.get("name") or _distinction(fields)
    return f"{name} ({_distinction(fields)})" if people and len(people[name]) > 1 else name


def _yaml_fields(text: str) -> dict[str, str]:
    fields = re.findall(r"^\s*:(name|email|sid): +(.+)$", text, re.MULTILINE)
    return {name: text for name, value in fields if (text := clean(_yaml_text(value)))}


def _yaml_text(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) > 1 and text[0] == text[-1] == '"':
        with suppress(ValueError):
            return str(json.loads(text))
    return text


def _moment(text: str) -> datetime | None:
    """A time as YAML writes it: "2026-11-20 17:03:12.123456000 Z"."""
    text = re.sub(r"(\.\d{1,6})\d*", r"\1", text.strip())
    text = re.sub(r" (?=Z|[+-]\d)", "", text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# Which program it is -------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """A program of a piece, not yet read."""

    piece: Piece
    lab: str
    entry: Entry
    headers: tuple[tuple[str, Entry], ...]


Unplaced = list[tuple[str, str]]
SERVER = re.compile(r"server(?:-\d+| ?\(\d+\))?\.c", re.IGNORECASE)  # as browsers number copies


def _programs(pieces: Iterable[Piece], lab: str | None) -> tuple[list[Program], Unplaced]:
    """The programs of all pieces (of ``lab`` only, if given), and what couldn't be placed."""
    programs: list[Program] = []
    unplaced: Unplaced = []
    for piece in pieces:
        labs = {_lab_of(inside) or piece.lab for inside, _ in piece.entries}
        if lab and not labs & {None, lab}:
            continue
        problems: dict[str, list[str]] = defaultdict(list)
        for inside, entry in piece.entries:
            if entry.problem and (not lab or (_lab_of(inside) or lab) == lab):
                problems[entry.problem].append(entry.where)
        unplaced += [(_some(where, 1), why) for why, where in problems.items()]
        if not piece.students:
            _without_a_student(piece, unplaced)
        else:
            programs += _programs_of(piece, lab, unplaced)
    return programs, unplaced


def _without_a_student(piece: Piece, unplaced: Unplaced) -> None:
    for _, entry in piece.entries:
        if entry.read and entry.name.lower().endswith(".c"):
            why = "nothing in its path names a student: name the folder above the students' own"
            unplaced.append((entry.where, why))
        elif entry.read:
            unplaced.append((entry.where, "not a C file"))


def _programs_of(piece: Piece, lab: str | None, unplaced: Unplaced) -> Iterator[Program]:
    files = [(inside, entry) for inside, entry in piece.entries if entry.read]
    kits = {inside[:i] for inside, _ in files for i, part in enumerate(inside) if part == "labs"}
    sources = [
        (inside, entry)
        for inside, entry in files
        if inside[-1].lower().endswith(".c")
        and inside[-1] not in KIT_SOURCES
        and not _of_the_kit(inside, kits)
    ]
    if not sources:
        if not any(entry.problem for _, entry in piece.entries):
            names = sorted({inside[-1] for inside, _ in files})
            why = f"no C file in it, only {_some(names)}" if names else "there is nothing in it"
            unplaced.append((piece.where, why))
        return
    by_lab: dict[str | None, list[tuple[tuple[str, ...], Entry]]] = defaultdict(list)
    for inside, entry in sources:
        by_lab[_lab_of(inside) or piece.lab].append((inside, entry))
    nameless = by_lab.pop(None, [])
    if lab and lab not in by_lab:
        by_lab[lab], nameless = nameless, []
    if nameless and (not by_lab or any(SERVER.fullmatch(inside[-1]) for inside, _ in nameless)):
        where = _some([entry.where for _, entry in nameless])
        unplaced.append((where, "nothing in its path names a lab: say which one it is (LAB=3)"))
    for number, group in by_lab.items():
        if lab in (None, number) and group:
            one = _the_one(piece, number, group, unplaced)
            if one is not None:
                yield Program(piece, number or "", one[1], _headers(one[0], files))


def _lab_of(inside: Sequence[str]) -> str | None:
    """The lab that a path names: the deepest name counts."""
    return next(filter(None, (_lab_in(part) for part in reversed(inside))), None)


def _of_the_kit(inside: tuple[str, ...], kits: set[tuple[str, ...]]) -> bool:
    return any(part in KIT_FOLDERS and inside[:i] in kits for i, part in enumerate(inside))


def _the_one(
    piece: Piece,
    lab: str | None,
    group: Sequence[tuple[tuple[str, ...], Entry]],
    unplaced: Unplaced,
) -> tuple[tuple[str, ...], Entry] | None:
    """The program: server.c, the nearest if there are more; or else the only C file."""
    if lab not in paths.LAB_FOLDERS:
        unplaced.append((group[0][1].where, f"the kit has no {lab}"))
        return None
    servers = [one for one in group if SERVER.fullmatch(one[0][-1])] or list(group)
    named = len(servers) < len(group) or SERVER.fullmatch(servers[0][0][-1])
    nearest = min(len(inside) for inside, _ in servers)
    near = [one for one in servers if len(one[0]) == nearest] if named else servers
    near = [one for one in near if one[0][-1] == "server.c"] or near
    if len(near) == 1 or (named and _all_equal([entry for _, entry in near])):
        return near[0]
    where = [entry.where for _, entry in near]
    if named:
        why = (
            f"there are {len(near)} for {lab}, equally near ({_some(where)}): leave one, "
            "or grade this folder by itself if they are of several students"
        )
    else:
        why = (
            f"there is no server.c for {lab}, but {len(near)} C files ({_some(where)}): name the "
            "program server.c, or grade this folder by itself if they are of several students"
        )
    unplaced.append((piece.where, why))
    return None


def _all_equal(entries: Sequence[Entry]) -> bool:
    try:
        return len({entry.read(MAX_SOURCE + 1) for entry in entries if entry.read}) == 1
    except Unreadable:
        return False


def _headers(
    source: tuple[str, ...], files: Sequence[tuple[tuple[str, ...], Entry]]
) -> tuple[tuple[str, Entry], ...]:
    beside = [
        (inside[-1], entry)
        for inside, entry in files
        if inside[:-1] == source[:-1] and inside[-1].endswith(".h")
    ]
    return tuple(sorted(beside, key=lambda one: one[0])[:MAX_HEADERS])


# What is graded ------------------------------------------------------------------------------


def _submitted(
    programs: Iterable[Program], unplaced: Unplaced, due: datetime | None
) -> tuple[list[Submitted], int]:
    """The programs, read; and of how many of them it isn't known when they were handed in."""
    of_whom: dict[tuple[str, str], list[tuple[Program, Submitted]]] = defaultdict(list)
    for program in programs:
        try:
            files = _files(program)
        except Unreadable as problem:
            unplaced.append((program.entry.where, str(problem)))
            continue
        when = _when(program)
        late = program.piece.late or bool(due and when and when > due)
        for student, _ in program.piece.students:
            one = Submitted(student, program.lab, program.entry.where, files, late)
            of_whom[student, program.lab].append((program, one))
    chosen = [pair for group in of_whom.values() if (pair := _one_of(group, unplaced))]
    return [one for _, one in chosen], sum(_when(program) is None for program, _ in chosen)


def _when(program: Program) -> datetime | None:
    return program.piece.when or program.entry.when


def _one_of(
    group: Sequence[tuple[Program, Submitted]], unplaced: Unplaced
) -> tuple[Program, Submitted] | None:
    """What counts of the submissions of one student for one lab: the latest."""
    if len(group) == 1:
        return group[0]
    times = [program.piece.when for program, _ in group]
    first = group[0][1]
    if None not in times and len(set(times)) == len(times):
        latest = max(group, key=lambda one: one[0].piece.when or datetime.min.replace(tzinfo=UTC))
        why = f"an earlier one of {first.student} for {first.lab}: {latest[1].where} counts"
        unplaced += [(one.where, why) for _, one in group if one is not latest[1]]
        return latest
    if len({one.key for _, one in group}) == 1:
        return group[0]
    others = _some([one.where for _, one in group[1:]])
    why = f"{first.student} has another for {first.lab} ({others}), and no telling which is later"
    unplaced.append((first.where, f"{why}: leave one"))
    return None


def _files(program: Program) -> dict[str, bytes]:
    """The source and its headers. Raises Unreadable, also when it is not text."""
    files = {"server.c": _text(program.entry)}
    for name, entry in program.headers:
        try:
            files[name] = _text(entry)
        except Unreadable as problem:
            raise Unreadable(f"{name} beside it: {problem}") from problem
    return files


KINDS = {
    b"PK\3\4": "a zip archive or an office document",
    b"\x7fELF": "a compiled program",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an office document",
    b"{\\rtf": "a word processor's document",
    b"\xff\xfe": "text in UTF-16: save it as UTF-8",
    b"\xfe\xff": "text in UTF-16: save it as UTF-8",
}


def _text(entry: Entry) -> bytes:
    assert entry.read is not None
    text = entry.read(MAX_SOURCE + 1)
    if len(text) > MAX_SOURCE:
        raise Unreadable(f"larger than {MAX_SOURCE // MEBIBYTE} MiB: no program of a lab is")
    for magic, kind in KINDS.items():
        if text.startswith(magic):
            raise Unreadable(f"not C: it is {kind}")
    if b"\0" in text[:1024]:
        raise Unreadable("not C: it is not text")
    return text


def _duplicates(submitted: Sequence[Submitted]) -> list[tuple[str, ...]]:
    """Equal programs of different students. The starter as it was handed out is no one's copy."""
    starters = set()
    for lab in paths.LAB_FOLDERS:
        with suppress(OSError):
            starters.add(_normal(paths.starter_of(lab).read_bytes()))
    alike: dict[bytes, list[Submitted]] = defaultdict(list)
    for one in submitted:
        text = _normal(one.files["server.c"])
        if text and text not in starters:
            alike[hashlib.sha256(text).digest()].append(one)
    groups = [
        sorted(group, key=lambda one: _natural(one.student))
        for group in alike.values()
        if len({one.student for one in group}) > 1 and len({one.where for one in group}) > 1
    ]
    return sorted(tuple(f"{one.student}: {one.where}" for one in group) for group in groups)


def _normal(text: bytes) -> bytes:
    """A program without what editors change by themselves."""
    return b"\n".join(line.rstrip() for line in text.splitlines()).strip()


# Who is missing ------------------------------------------------------------------------------

Listed = list[tuple[str, frozenset[str]]]
COLUMNS = {
    *("student", "name", "full name", "fullname", "display name", "이름", "성명", "姓名"),
    *("login", "username", "user name", "user", "sis login id", "github", "github username"),
    *("email", "e-mail", "email address", "id", "sid", "student id", "id number", "학번", "学号"),
    *("first name", "last name", "surname", "given name"),
}
FIRST, LAST = ("first name", "given name"), ("last name", "surname")


def _read_roster(file: Path) -> Listed:
    """The students of a roster: what to call them, and all that may stand for them.

    Raises UsageError.
    """
    try:
        data = file.read_bytes()
    except OSError as problem:
        raise UsageError(f"cannot read the roster {file}: {problem.strerror}") from problem
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp949", "replace")
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    if delimiter not in head:
        rows = [[line.strip()] for line in text.splitlines()]
    else:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    known = [i for i, cell in enumerate(header) if cell in COLUMNS]
    people = [_listed(row, header, known) for row in (rows[1:] if known else rows)]
    if not (people := [one for one in people if one[0] and one[1]]):
        raise UsageError(f"the roster {file} names no one")
    return people


def _listed(
    row: Sequence[str], header: Sequence[str], known: Sequence[int]
) -> tuple[str, frozenset[str]]:
    cells = [clean(row[i]) for i in (known or range(len(row))) if i < len(row)]
    named = dict(zip((header[i] for i in known), cells, strict=False))
    first = next((named[one] for one in FIRST if one in named), "")
    last = next((named[one] for one in LAST if one in named), "")
    if first and last:
        parts = [cell for cell in cells if cell not in (first, last)]
        return f"{first} {last}", _aliases(*parts, f"{last}, {first}")
    return next(filter(None, cells), ""), _aliases(*cells)


def _expected(students: Mapping[str, frozenset[str]], listed: Listed) -> list[str]:
    """Who should have handed in, under the name found, if one was found."""
    if not listed:
        return list(students)
    by_alias = {alias: student for student, all in students.items() for alias in all}
    return [
        next((by_alias[alias] for alias in sorted(all) if alias in by_alias), name)
        for name, all in listed
    ]


def _missing(
    submitted: Sequence[Submitted], expected: Iterable[str], labs: Sequence[str]
) -> list[tuple[str, str]]:
    """Who has no program that can be graded for a lab."""
    there = {(one.student, one.lab) for one in submitted}
    missing = {(name, lab) for name in expected for lab in labs} - there
    return sorted(missing, key=lambda one: (_natural(one[0]), _natural(one[1])))


def _unlisted(
    submitted: Sequence[Submitted], students: Mapping[str, frozenset[str]], listed: Listed
) -> list[str]:
    known = frozenset().union(*(aliases for _, aliases in listed)) if listed else None
    if known is None:
        return []
    names = sorted({one.student for one in submitted}, key=_natural)
    strange = [name for name in names if not students[name] & known]
    return [f"not on the roster: {_some(strange, 10)}"] if strange else []
