"""Points other than the rubric's, from a TOML file: ``[lab3]``, then ``"3.7" = 20`` and so on."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from forklab import paths, rubric
from forklab.errors import UsageError
from forklab.own import place_in
from forklab.rubric import Check


def load(file: str | Path, own: Sequence[Check] = ()) -> dict[str, int]:
    """The points by the checks' numbers, for those that the file names.

    ``own``: checks that are not the kit's. Raises UsageError where the file makes no sense.
    """
    try:
        table = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as problem:
        raise UsageError(f"--weights {file}: {problem.strerror}") from problem
    except ValueError as problem:
        raise UsageError(f"--weights {file}: not TOML: {problem}") from problem
    points = {}
    for lab, entries in table.items():
        if lab not in paths.LAB_FOLDERS or not isinstance(entries, dict):
            labs = ", ".join(f"[{one}]" for one in paths.LAB_FOLDERS)
            where = f"--weights {place_in(file, lab)}"
            raise UsageError(f"{where}: {lab} is no lab; the tables are {labs}")
        checks = {one.id: one.points for one in rubric.of_lab(lab)}
        checks |= {one.id: one.points for one in own if one.lab == lab}
        for number, value in entries.items():
            written = f"{number}.{next(iter(value), '')}" if isinstance(value, dict) else number
            where = f"--weights {place_in(file, lab, written)}: [{lab}] {written}"
            if isinstance(value, dict):
                raise UsageError(f'{where}: a number needs quotes, as in "3.7" = 20')
            if number not in checks:
                raise UsageError(f"{where}: {lab} has no such check")
            if type(value) is not int or value < 0:
                raise UsageError(f"{where} = {value!r}: not a whole number from 0 on")
        if not sum({**checks, **entries}.values()):
            where = f"--weights {place_in(file, lab)}"
            raise UsageError(f"{where}: [{lab}]: its points come to 0")
        points.update(entries)
    return points
