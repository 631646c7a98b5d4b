"""Where things are in the kit."""

from pathlib import Path

KIT = Path(__file__).resolve().parents[2]
HARNESS = KIT / "harness"
LABS = KIT / "labs"
SOLUTIONS = KIT / "solutions"
STARTERS = HARNESS / "starters"
CHECKS = HARNESS / "checks"
BUILD = KIT / "build"
PROGRESS = KIT / ".forklab" / "progress.json"

# A copy that was handed out may hold some of the labs only.
LAB_FOLDERS = {
    lab: folder
    for lab, folder in {
        "lab1": "lab1-iterative",
        "lab2": "lab2-fork",
        "lab3": "lab3-sigign",
        "lab4": "lab4-sigaction",
    }.items()
    if (LABS / folder).is_dir()
}


def starter_of(lab: str) -> Path:
    """The pristine starter of a lab, as `make reset` restores it."""
    return STARTERS / f"{LAB_FOLDERS[lab]}.c"


def work_of(lab: str) -> Path:
    """The file that the student edits."""
    return LABS / LAB_FOLDERS[lab] / "server.c"


def solution_of(lab: str) -> Path:
    """The reference solution (absent from a student's copy of the kit)."""
    return SOLUTIONS / LAB_FOLDERS[lab] / "server.c"


def handout_of(lab: str) -> Path:
    """The lab's handout."""
    return LABS / LAB_FOLDERS[lab] / "README.md"
