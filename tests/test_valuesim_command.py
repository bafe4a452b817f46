"""The command `valuesim`: what it prints, its exit statuses, and that it starts light."""

from __future__ import annotations

import csv
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from valuesim_dspy import __main__, __version__
from valuesim_dspy.__main__ import build_parser, main, run_command
from valuesim_dspy.errors import BudgetExceededError, ConfigError, MissingDataError

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("dspy", "litellm", "mlflow", "pandas", "numpy", "pyarrow", "pydantic", "optuna", "yaml")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of synthetic people, as the command writes it."""
    path = tmp_path_factory.mktemp("people") / "people.csv"
    assert main(["data", "synth", "--respondents", "120", "--seed", "3", "--out", str(path)]) == 0
    return path


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a Python process in the checkout, its output buffered as it is by default."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, *arguments], text=True, cwd=ROOT, env=environment, **options
    )


def run_with(error: BaseException | None) -> int:
    """Run a command that raises."""

    def act(_: object) -> None:
        if error is not None:
            raise error

    parser = build_parser()
    parser.set_defaults(run=act)
    # A command of its own, whose `run` stands: the subparsers set theirs.
    commands = type(parser)()
    commands.set_defaults(run=act)
    return run_command(commands, [])


@pytest.mark.parametrize("arguments", [["--help"], ["data", "check", "--help"], ["ask", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    """Help is there at once: none of the libraries that take long is loaded."""
    script = (
        "import sys\nfrom valuesim_dspy.__main__ import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    status = end.code\n"
        f"print(status, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = process("-c", script, capture_output=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "usage: valuesim" in done.stdout and done.stderr == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The package's name and version."""
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"valuesim-dspy {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["nosuch"], ["data"], ["data", "synth"], ["ask", "-x"]])
def test_usage_errors_have_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The usage is shown on stderr, nothing on stdout."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    said = capsys.readouterr()
    assert end.value.code == 2 and said.out == "" and "usage: valuesim" in said.err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (None, 0, ""),
        (ConfigError("must be larger", key="fold"), 2, "error: fold: must be larger\n"),
        (MissingDataError("no file x", "give one"), 2, "error: no file x; give one\n"),
        (BudgetExceededError("calls", 5, 5), 3, "the budget of 5 calls is spent (5)"),
        (KeyboardInterrupt(), 130, "interrupted; what was done is kept\n"),
        (ValueError("two\nlines"), 2, "error: unexpected ValueError: two lines\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "Permission denied: '/x'\n"),
    ],
)
def test_what_is_raised_ends_in_one_line_and_a_status(
    error: BaseException | None, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never a traceback: errors are told in one line on stderr."""
    assert run_with(error) == status
    told = capsys.readouterr()
    assert told.out == "" and said in told.err
    assert told.err.count("\n") == (error is not None)


def test_an_unexpected_error_tells_no_key_and_not_everything(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values of variables that hold secrets are blanked, and the line has an end."""
    monkeypatch.setenv("MY_API_KEY", "canary-in-a-key")
    assert run_with(RuntimeError("canary-in-a-key refused, " + "long " * 1000)) == 2
    told = capsys.readouterr().err
    assert "canary" not in told and "[blanked] refused" in told and len(told) < 400


def test_an_unexpected_error_can_be_traced(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever asks for the debug log finds the traceback there."""
    with caplog.at_level(logging.DEBUG):
        run_with(RuntimeError("odd"))
    assert any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("arguments", [["data", "describe"], ["data", "check", "--json"]])
def test_a_reader_that_goes_away_is_no_error(people: Path, arguments: list[str]) -> None:
    """As in `valuesim data check people.csv | head -1`: silent, and with status 0."""
    read, write = os.pipe()
    os.close(read)
    done = process(
        *("-m", "valuesim_dspy", *arguments, str(people)), stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_synth_writes_an_official_file(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many people as asked for, marked as synthetic, the same for the same seed."""
    with people.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120
    assert {row["doi"] for row in rows} == {"synthetic, not survey data"}
    for seed, same in ((3, True), (4, False)):
        path = people.with_name(f"again-{seed}.csv")
        arguments = ["--respondents", "120", "--seed", str(seed), "--out", str(path)]
        assert main(["data", "synth", *arguments]) == 0
        said = capsys.readouterr().out
        assert f"120 synthetic respondents, seed {seed}; not survey data" in said
        assert (path.read_bytes() == people.read_bytes()) is same


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--respondents", "0"], "--respondents: must be at least 1"),
        (["--respondents", "5", "--seed", "-1"], "seed"),
        (["--out", "nowhere/people.csv"], "no such folder"),
        (["--out", "."], "is a folder"),
    ],
)
def test_synth_refuses_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    """Nothing is written, no half file beside it either."""
    monkeypatch.chdir(tmp_path)
    assert main(["data", "synth", "--out", "people.csv", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and said in told and told.count("\n") == 1
    assert "unexpected" not in told
    assert list(tmp_path.parent.glob("*.part")) == [] and list(tmp_path.iterdir()) == []


def test_check_says_what_is_in_a_file(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows, countries, missing answers and stamp, by name; no row of anybody."""
    assert main(["data", "check", str(people)]) == 0
    said = capsys.readouterr().out
    for word in ("rows        120", "synthetic people", "countries   ", "missing     ", "JPN 24"):
        assert word in said
    with people.open(newline="") as file:
        assert not [row for row in csv.DictReader(file) if row["D_INTERVIEW"] in said]


def test_check_prints_one_json_object(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs: the same counts, strict JSON."""
    assert main(["data", "check", "--json", str(people)]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["rows"] == 120 and found["unknown_codes"] == {} and found["duplicates"] == 0
    assert sum(found["by_country"].values()) == 120
    assert found["answers"] + sum(found["missing"].values()) == 120 * 290


def test_describe_counts_a_question(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts by option for everyone and for one country."""
    assert main(["data", "describe", str(people), "--question", "Q46"]) == 0
    everyone = capsys.readouterr().out
    assert main(["data", "describe", str(people), "--question", "Q46", "--country", "JPN"]) == 0
    japan = capsys.readouterr().out
    assert "Very happy" in everyone and everyone.startswith("Q46: ")
    totals = [int(text.splitlines()[-1].split()[0]) for text in (everyone, japan)]
    assert totals[0] > totals[1] > 0 and totals[1] <= 24


def test_ask_answers_a_respondent_of_a_file(
    people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The prediction stands beside the answer given; the machinery says what it is."""
    with people.open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if int(row["Q46"]) > 0)
    who = ["--survey", str(people), "--respondent", row["D_INTERVIEW"]]
    assert main(["ask", *who, "--question", "Q46"]) == 0
    said = capsys.readouterr()
    assert "predicted: " in said.out and f"answered:  {row['Q46']} (" in said.out
    assert "embedded model answered" in said.out and said.err == ""
    assert row["D_INTERVIEW"] not in said.out


def test_ask_is_a_command_of_its_own_process(tmp_path: Path) -> None:
    """From the shell: one's own person and question, the reasons, nothing on stderr."""
    me = tmp_path / "me.toml"
    me.write_text('country = "JPN"\nfacts = ["You keep bees."]\n[answers]\nQ46 = "Very happy"\n')
    question = ["--text", "May robots teach?", "--option", "Yes", "--option", "No", "--why"]
    done = process(
        *("-m", "valuesim_dspy", "ask", "--person", str(me), *question), capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("1: Yes", "2: No", "You keep bees", "cognitive: ", "decision by "):
        assert word in done.stdout


def test_the_ui_is_started_with_the_port_and_host_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback unless told otherwise."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr("valuesim_dspy.ui.run_ui", lambda **known: asked.append(known))
    assert main(["ui"]) == 0
    assert main(["ui", "--port", "5005", "--host", "localhost"]) == 0
    assert asked[0]["host"] == "127.0.0.1"
    assert asked[1] == {"port": 5005, "host": "localhost"}


def test_consent_becomes_an_override() -> None:
    """Hosts with any character are quoted; no host, no override."""
    parsed = build_parser().parse_args
    args = parsed(["ask", "--send-to", 'a"b', "--send-to", "c:80"])
    assert __main__.consent(args) == ['send_to=["a\\"b", "c:80"]']
    assert __main__.consent(parsed(["ask"])) == []


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (
            [],
            " pairs of questions across batteries have V of at least 0.35 and beyond chance",
        ),
        (
            ["--folds", "topic", "--dependence", "none", "--seed", "1"],
            "topic fold 1 of 5, seed 1: ",
        ),
        (["--folds", "paper"], "paper fold 1 of 5, seed 42: "),
    ],
)
def test_folds_tells_all_folds_and_what_leaks(
    people: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], first: str
) -> None:
    """Five folds, in each the nearest profile question of every set; aggregates only."""
    assert main(["data", "folds", str(people), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert first in lines[0]
    assert sum(" of 5, seed " in line for line in lines) == 5
    told = [line for line in lines if ": the nearest profile question has V 0." in line]
    assert len(told) == 20 and all(" by chance)" in line for line in told)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dependence", "high"], "'high' is no number, and not none"),
        (["--folds", "person"], "invalid choice: 'person'"),
    ],
)
def test_folds_takes_a_strategy_and_a_threshold(
    people: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """A mistyped one is a usage error."""
    with pytest.raises(SystemExit) as end:
        main(["data", "folds", str(people), *arguments])
    assert end.value.code == 2 and said in capsys.readouterr().err


def test_folds_refuses_an_impossible_threshold(
    people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A V of 0 is no threshold."""
    assert main(["data", "folds", str(people), "--dependence", "0"]) == 2
    assert "dependence: V is in [0, 1]" in capsys.readouterr().err
