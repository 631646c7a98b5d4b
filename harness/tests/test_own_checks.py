"""An instructor's own checks and points: they take part in all, and their mistakes are told."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forklab import own, paths, progress, rubric, weights
from forklab.cli import ALL_PASSED, NO_BUILD, NO_JUDGEMENT, SOME_FAILED, USAGE
from forklab.errors import UsageError
from forklab.result import ERROR, FAILED, PASSED, SKIPPED, Result
from tests.support import environment, forklab

EXAMPLE = paths.KIT / "docs" / "examples" / "own-checks"
PAGE = paths.KIT / "docs" / "own-checks.md"
REFERENCE = paths.solution_of("lab3")
ENDS = "int main(void) { return 0; }\n"
Folder = Callable[..., Path]

HEAD = "import pytest\nfrom forklab.rubric import check, expect\nTHREE = ['one', 'two', 'three']\n"


def one_check(number: str, body: str = "pass", more: str = "", points: object = 5) -> str:
    name = f"test_{number.replace('.', '_')}"
    return (
        f"@check({number!r}, 'name', points={points}, hints=THREE{more})\n"
        f"def {name}(submission):\n    '''Did it.'''\n    {body}\n\n"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """``folder(text, name=...)``: own checks with that text after the imports."""

    def make(text: str, name: str = "test_own.py", head: str = HEAD) -> Path:
        made = tmp_path / "own"
        made.mkdir(exist_ok=True)
        (made / name).write_text(head + text)
        return made

    return make


@pytest.fixture
def catalogue(monkeypatch):
    """The catalogue, which is afterwards as it was."""
    codes = rubric.read_diagnoses()
    monkeypatch.setattr(rubric, "diagnoses", lambda: codes)


# The example takes part in everything


def graded(tmp_path: Path, program: Path, *words: str | Path) -> tuple[Result, str, int]:
    record = tmp_path / "record.json"
    ran = forklab("grade", "lab3", program, "--json", record, *words)
    assert record.exists(), ran.stderr
    return Result.from_json(record.read_text()), ran.stdout, ran.returncode


def test_the_reference_passes_with_other_points(tmp_path):
    points = EXAMPLE / "weights.toml"
    result, shown, status = graded(
        tmp_path, REFERENCE, "--extra-checks", EXAMPLE, "--weights", points
    )
    kit = [one.id for one in rubric.of_lab("lab3")]
    assert [one.id for one in result.checks] == [*kit, "3.20"]
    assert (result.score, result.max_score, status) == (110, 110, ALL_PASSED)
    by_id = {one.id: (one.points, one.max_points) for one in result.checks}
    assert (by_id["3.2"], by_id["3.7"], by_id["3.20"]) == ((0, 0), (20, 20), (10, 10))
    assert "Score: 110 of 110" in shown


def quiet(tmp_path: Path) -> Path:
    """The wrong server of the page: the sed command there."""
    command = re.search(r"^    (sed .*) > quiet\.c$", PAGE.read_text(), re.M)
    assert command
    made = subprocess.run(["sh", "-c", command[1]], cwd=paths.KIT, capture_output=True, check=True)
    file = tmp_path / "quiet.c"
    file.write_bytes(made.stdout)
    assert made.stdout != REFERENCE.read_bytes()
    return file


def test_a_wrong_server_fails_the_example_alone(tmp_path):
    result, shown, status = graded(tmp_path, quiet(tmp_path), "--extra-checks", EXAMPLE)
    assert [one.id for one in result.checks if one.status != PASSED] == ["3.20"]
    last = result.checks[-1]
    assert (last.status, last.diagnosis) == (FAILED, "does-not-log-clients")
    assert (result.score, result.max_score, status) == (100, 110, SOME_FAILED)
    text = " ".join(shown.split())
    for words in (
        "Its log doesn't say who connected",
        f"make hint CHECK=3.20 EXTRA_CHECKS={EXAMPLE}",
        "Score: 100 of 110",
    ):
        assert words in text


def test_an_earlier_gate_skips_it(tmp_path):
    program = tmp_path / "server.c"
    program.write_text("int main(void) {\n")
    result, _, status = graded(tmp_path, program, "--extra-checks", EXAMPLE)
    last = result.checks[-1]
    assert (last.id, last.status, last.needs, status) == ("3.20", SKIPPED, "3.1", NO_BUILD)
    assert (result.score, result.max_score) == (0, 110)


def run_pytest(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "pytest", *map(str, words)]
    return subprocess.run(
        command, cwd=paths.KIT, env=environment(), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        (("harness/checks/test_lab3.py", "-k", "3.20"), "1 passed, 12 deselected"),
        (("-p", "forklab.plugin", EXAMPLE), "1 passed"),
    ],
)
def test_with_pytest(words, outcome):
    ran = run_pytest(*words, "--extra-checks", EXAMPLE, "--submission", REFERENCE)
    assert (ran.returncode, outcome in ran.stdout) == (0, True), ran.stdout


def test_pytest_tells_a_mistake():
    ran = run_pytest("harness/checks/test_lab3.py", "--extra-checks", "no/such")
    assert (ran.returncode, "no such folder" in ran.stdout + ran.stderr) == (USAGE, True)


def test_hints_of_its_own(kit):
    hints = own.load(EXAMPLE).checks[0].hints
    for hint in hints[:2]:
        ran = forklab("hint", "3.20", "--extra-checks", EXAMPLE, kit=kit)
        assert (ran.returncode, hint in " ".join(ran.stdout.split())) == (ALL_PASSED, True)
    ran = forklab("hint", "3.21", "--extra-checks", EXAMPLE, kit=kit)
    assert (ran.returncode, "3.1 to 3.12, 3.20" in ran.stderr) == (USAGE, True)


def test_files_of_several_labs_in_order_and_an_instructor_s_mistake(folder, tmp_path):
    """Even in a file called as the kit's; `assert` is a mistake of the check, no verdict."""
    made = folder(
        one_check("3.100", more=", needs='3.21'")
        + one_check("1.90", "assert False")
        + one_check("3.21", "assert submission.lab == 'lab2'"),
        name="test_lab3.py",
    )
    folder(one_check("3.20", "import helper; assert helper.HERE"))
    folder("HERE = True\n", name="helper.py", head="")
    result, _, status = graded(tmp_path, REFERENCE, "--extra-checks", made)
    mine = [(one.id, one.status, one.needs) for one in result.checks[12:]]
    assert mine == [("3.20", PASSED, None), ("3.21", ERROR, None), ("3.100", SKIPPED, "3.21")]
    assert (result.score, status) == (None, NO_JUDGEMENT)
    assert not list(made.rglob("__pycache__"))


def test_make_hands_them_on():
    words = ["lab3", "EXTRA_CHECKS=it's", "WEIGHTS=a b"]
    ran = subprocess.run(
        ["make", "-n", *words], cwd=paths.KIT, capture_output=True, text=True, check=True
    )
    assert "--extra-checks 'it'\\''s' --weights 'a b'" in ran.stdout
    plain = subprocess.run(["make", "-n", "lab3"], cwd=paths.KIT, capture_output=True, text=True)
    assert "--extra" not in plain.stdout
    assert "--weights" not in plain.stdout


def test_nothing_of_it_is_loaded_without_the_options():
    program = "import sys, forklab.cli, forklab.plugin; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", program], env=environment(), capture_output=True, text=True
    )
    assert "forklab.plugin" in ran.stdout.split()
    assert not {"forklab.own", "forklab.weights"} & set(ran.stdout.split())


# Mistakes, each with file and line


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("def test_x(:\n", 4, "invalid syntax"),
        ("from forklab import no_such\n", 4, "ImportError"),
        ("import sys\nsys.exit(0)\n", 5, "SystemExit"),
        ("pytest.skip('x', allow_module_level=True)\n", 4, "Skipped"),
        (one_check("3.7"), 4, "the kit has a 3.7 already, 'never a zombie'"),
        (one_check("9.1"), 4, "'9.1' is no number of a check"),
        (one_check("3.x"), 4, "'3.x' is no number of a check"),
        (one_check("3.20") + one_check("3.20").replace("test_", "test_again_"), 9, "there twice"),
        (one_check("3.20", points=0), 4, "points=0"),
        (one_check("3.20", points="'5'"), 4, "points='5'"),
        (one_check("3.20", points="True"), 4, "points=True"),
        ("\n" + one_check("3.20").replace("points=5, ", ""), 5, "'points'"),
        (one_check("3.20").replace("THREE", "THREE[1:]"), 4, "three hints"),
        (one_check("3.20", more=", needs='3.99'"), 4, "3.20 needs '3.99'"),
        (one_check("3.20", more=", needs='1.1'"), 4, "3.20 needs '1.1'"),
        (one_check("3.20", more=", needs='3.21'") + one_check("3.21"), 4, "needs '3.21'"),
        (one_check("3.20").replace("'''Did it.'''", "''"), 4, "docstring"),
        ("def test_x(server):\n    '''Did it.'''\n", 4, "test_x is no check"),
        (one_check("3.20").replace("def test_", "def tst_"), 4, "must begin with test_"),
        ("@pytest.mark.skip\n" + one_check("3.20"), 4, "the only mark"),
        (one_check("3.20").replace("'3.20'", "3.20"), 4, "3.2 needs quotes"),
        (one_check("3.20").replace("'name'", "5"), 4, "5 needs quotes"),
        (one_check("3.20").replace("THREE", "[1, '', '']"), 4, "1 needs quotes"),
        (one_check("3.20", more=", needs=3.3"), 4, "3.3 needs quotes"),
        (one_check("3.20").replace("(submission)", "(servr)"), 5, "there is no fixture 'servr'"),
        (one_check("3.20").replace("(submission)", "(*, servr)"), 5, "there is no fixture 'servr'"),
        (one_check("3.20") + "@pytest.fixture\ndef mine(servr): pass\n", 10, "no fixture 'servr'"),
        (one_check("3.20") + one_check("3.21").replace("3_21", "3_20"), 10, "the one in line 5"),
        (one_check("3.20", "yield"), 4, "a plain function"),
        (one_check("3.20").replace("def", "async def"), 4, "a plain function"),
        (one_check("3.20", "expect(0, expected='', seen='', diagnosis='no-such')"), 7, "'no-such'"),
        (one_check("3.20", "expect(0, diagnosis='warnings' if 1 else 'no-such')"), 7, "'no-such'"),
    ],
)
def test_a_mistake(folder, catalogue, text, line, said):
    made = folder(text)
    with pytest.raises(UsageError) as problem:
        own.load(made)
    assert str(problem.value).startswith(f"{made}/test_own.py:{line}: ")
    assert said in str(problem.value)


def test_fixtures_of_its_own(folder):
    made = folder(
        "from helper import theirs\n"
        "@pytest.fixture\ndef mine():\n    return 1\n\n"
        "@pytest.fixture(name='named')\ndef _():\n    return 3\n\n"
        + one_check(
            "3.20", "assert (mine, theirs, named, more) == (1, 2, 3, 4) and tmp_path"
        ).replace("(submission)", "(mine, theirs, named, tmp_path, more=4)")
    )
    folder("@pytest.fixture\ndef theirs():\n    return 2\n", name="helper.py")
    ran = run_pytest("-p", "forklab.plugin", made, "--extra-checks", made)
    assert (ran.returncode, "1 passed" in ran.stdout) == (0, True), ran.stdout
    folder("", name="conftest.py")
    with pytest.raises(UsageError, match=r"/own/conftest\.py: fixtures belong into"):
        own.load(made)


def test_checks_that_cannot_be_collected_are_no_ctrl_c(folder):
    made = folder("import no_such\n")
    program = (
        "import sys, pathlib; from forklab import checking\n"
        "checking.run([pathlib.Path(sys.argv[1])], [])"
    )
    command = [sys.executable, "-P", "-c", program, str(made / "test_own.py")]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert "GraderError: the checks can't be run: " in ran.stderr
    assert "No module named 'no_such'" in ran.stderr


def test_a_class(folder):
    with pytest.raises(UsageError, match=r"test_own\.py: TestX is a class"):
        own.load(folder("class TestX:\n    pass\n"))


def test_no_checks(folder, tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        own.load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"no test_\*\.py in it"):
        own.load(tmp_path)
    with pytest.raises(UsageError, match="there is no check in it"):
        own.load(folder(""))


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[x\n", "", "line 1"),
        ("\n[warnings]\n", ":2", "[warnings] is the kit's already"),
        ("[mine]\ntitle = 'x'\nwhy = 'x'\nthink = 'x'\n", ":1", "[mine] needs read"),
        ("mine = 1\n", ":1", "[mine] needs title"),
    ],
)
def test_a_mistake_in_the_diagnoses(folder, catalogue, text, line, said):
    made = folder(one_check("3.20"))
    (made / "diagnoses.toml").write_text(text)
    with pytest.raises(UsageError) as problem:
        own.load(made)
    assert str(problem.value).startswith(f"{made}/diagnoses.toml{line}: ")
    assert said in str(problem.value)


def test_a_mistake_comes_before_any_grading(folder):
    ran = forklab("grade", "lab3", REFERENCE, "--extra-checks", folder("import no_such\n"))
    assert (ran.returncode, ran.stdout) == (USAGE, "")
    assert "test_own.py:4: " in ran.stderr
    assert "no_such" in ran.stderr


# Points


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[lab3\n", "", "not TOML"),
        ("[lab9]\n", ":1", "lab9 is no lab"),
        ("lab3 = 1\n", ":1", "lab3 is no lab"),
        ('[lab4]\n[lab3]\n"3.99" = 1\n', ":3", "[lab3] 3.99: lab3 has no such check"),
        ('[lab3]\n"4.7" = 1\n', ":2", "[lab3] 4.7: lab3 has no such check"),
        ("[lab3]\n3.7 = 1\n", ":2", "[lab3] 3.7: a number needs quotes"),
        ('[lab3]\n"3.1" = 3\n"3.7" = -1\n', ":3", "[lab3] 3.7 = -1: not a whole number"),
        ('[lab3]\n"3.7" = 1.5\n', ":2", "3.7 = 1.5: not a whole number"),
        ('[lab3]\n"3.7" = true\n', ":2", "3.7 = True: not a whole number"),
        ('[lab3]\n"3.7" = "20"\n', ":2", "3.7 = '20': not a whole number"),
        ('lab3 = {"3.99" = 1}\n', "", "[lab3] 3.99: lab3 has no such check"),
        (
            "\n[lab3]\n" + "".join(f'"{one.id}" = 0\n' for one in rubric.of_lab("lab3")),
            ":2",
            "[lab3]: its points come to 0",
        ),
    ],
)
def test_a_mistake_in_the_weights(tmp_path, text, line, said):
    file = tmp_path / "weights.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as problem:
        weights.load(file)
    assert str(problem.value).startswith(f"--weights {file}{line}: ")
    assert said in str(problem.value)


def test_weights(tmp_path):
    file = tmp_path / "weights.toml"
    with pytest.raises(UsageError, match="No such file"):
        weights.load(file)
    file.write_text('[lab3]\n"3.7" = 20\n"3.20" = 0\n[lab4]\n')
    checks = own.load(EXAMPLE).checks
    assert weights.load(file, checks) == {"3.7": 20, "3.20": 0}
    ran = forklab("grade", "lab3", REFERENCE, "--weights", file)
    assert (ran.returncode, ran.stdout) == (USAGE, "")
    assert "3.20: lab3 has no such check" in ran.stderr


def test_the_best_score_is_out_of_its_own_points(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PROGRESS", tmp_path / "kit" / "progress.json")

    def best_after(score: int, most: int) -> tuple[int, int] | None:
        progress.remember(Result("lab3", "", "", "", "", "", score=score, max_score=most))
        return progress.best("lab3")

    assert best_after(85, 100) == (85, 100)
    assert best_after(60, 100) == (85, 100)
    assert best_after(70, 120) == (70, 120)
    assert best_after(90, 120) == (90, 120)
    assert best_after(50, 100) == (50, 100)
    paths.PROGRESS.write_text(json.dumps({"best": {"lab3": 40}}))  # as an older kit wrote it
    assert progress.best("lab3") == (40, 100)


# To another machine


def test_they_travel(folder, tmp_path):
    made = folder(one_check("3.20"))
    (made / "data").mkdir()
    (made / "data" / "bytes").write_bytes(b"\0\xff")
    before = own.pack(made)
    (made / ".git").mkdir()
    (made / ".git" / "x").touch()
    (made / "__pycache__").mkdir()
    (made / "__pycache__" / "x").touch()
    assert own.pack(str(made)) == before
    there = own.unpack(before, tmp_path / "there")
    assert sorted(str(one.relative_to(there)) for one in there.rglob("*") if one.is_file()) == [
        "data/bytes",
        "test_own.py",
    ]
    assert [one.id for one in own.load(there).checks] == ["3.20"]
    assert own.pack(there) == before


# The page


def test_the_page_shows_the_example():
    blocks = re.findall(r"^```(?:python|toml)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    files = [EXAMPLE / name for name in ("test_log.py", "diagnoses.toml", "weights.toml")]
    assert blocks == [one.read_text() for one in files]


def test_the_page_lists_every_fixture():
    source = ast.parse((paths.HARNESS / "forklab" / "plugin.py").read_text())
    fixtures = {
        one.name
        for one in source.body
        if isinstance(one, ast.FunctionDef)
        and any("pytest.fixture" in ast.unparse(decorator) for decorator in one.decorator_list)
        and not one.name.startswith("_")
    }
    listed = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.M)
    assert len(fixtures) > 5
    assert sorted(listed) == sorted(fixtures)


def test_what_the_page_names_is_there():
    """`server.wait_for(...)` and the like, in the table of fixtures and below it."""
    from forklab import clients, launch, server
    from forklab.build import Submission

    owners = {
        "server": server.Server,
        "client": clients.Client,
        "clients": clients.Clients,
        "launch": launch.Launcher,
        "crowd": clients.Crowd,
        "submission": Submission,
        "habits": launch.Habits,
    }
    named = re.findall(r"`(\w+)\.(\w+)\b(?!\.)", PAGE.read_text())
    seen = [(owner, name) for owner, name in named if owner in owners and name not in ("c", "py")]
    assert len(seen) > 8
    for owner, name in seen:
        fields = getattr(owners[owner], "__dataclass_fields__", {})
        assert hasattr(owners[owner], name) or name in fields, f"{owner}.{name}"
