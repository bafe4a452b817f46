import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jobs import Stopping, answered_by, job_file, living_in

from evals.__main__ import agreed, build_parser, main
from evals.past_runs import arms_of, run_summary
from evals.tracking import Tracker
from valuesim_dspy.survey.synthetic import SYNTHETIC_DOI, SYNTHETIC_VERSION, write_synthetic

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
Printed = tuple[int, str, str]
Command = Callable[..., Printed]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds store, cache and a job file for the whole module."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def store(home: Path) -> Iterator[Path]:
    """Keep everything a test runs in that folder."""
    with living_in(home) as folder:
        yield folder


@pytest.fixture
def job(home: Path) -> str:
    """A small job as a file."""
    return str(job_file(home / "small.toml"))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return what runs the command and gives exit status, stdout and stderr."""

    def run(*arguments: str) -> Printed:
        capsys.readouterr()
        status = main(arguments)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def refused(printed: Printed) -> str:
    """Assert that a command ended as on bad input, with one line and nothing else; return it."""
    status, out, err = printed
    assert status == 2
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in err
    return line


def run_id_of(out: str) -> str:
    """Return the id of the run that a command tells of."""
    found = re.search(r"^MLflow run ([0-9a-f]{32});", out, re.M)
    assert found is not None
    return found[1]


# --- what works ---------------------------------------------------------------------------------


def test_run_prints_the_table_and_the_run(command: Command, job: str) -> None:
    """Status 0, the table on stdout, and how to see more; nothing on stderr."""
    status, out, err = command("run", "single", "country-mode", "--config", job)
    assert (status, err) == (0, "")
    assert out.startswith("## small: devset\n")
    assert re.search(r"^\| single +\|", out, re.M)
    assert "make ui" in out
    arms = arms_of(Tracker(), run_id_of(out))
    assert [run_summary(Tracker(), arm)["name"] for arm in arms] == [
        "rag",
        "single",
        "country-mode",
    ]


def test_run_reads_the_set_it_is_told_to(command: Command, job: str) -> None:
    """The testset is read on request alone, and the reading is told."""
    status, out, _ = command("run", "mode", "--config", job, "--split", "test")
    assert status == 0
    assert "## small: testset" in out
    assert "reading 1 of this testset" in out


def test_keys_of_the_file_can_be_replaced(command: Command, job: str) -> None:
    """`--set` comes after the file; values are TOML."""
    status, out, _ = command(
        *("run", "mode", "--config", job, "--set", "protocol.fold=2", "--set", "name=other")
    )
    assert status == 0
    assert out.startswith("## other: devset\n")
    assert "fold: battery 2 of 5" in out


def test_compare_prints_the_table_of_runs(command: Command, job: str) -> None:
    """The rows are those of the run's own table; any arm is the reference."""
    _, out, _ = command("run", "single", "--config", job)
    run_id = run_id_of(out)
    status, table, err = command("compare", run_id)
    assert (status, err) == (0, "")

    def cells(text: str) -> list[list[str]]:
        # All but the last column: how long it took is not what was found.
        return [line.split("|")[1:-2] for line in text.splitlines() if line.startswith("| ")]

    assert [[c.strip() for c in row] for row in cells(table)] == [
        [c.strip() for c in row] for row in cells(out)
    ]
    status, table, _ = command("compare", run_id, "--reference", "single")
    assert status == 0
    assert "minus single" in table


def test_compare_takes_a_store(
    command: Command, job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are looked for where `--store` says."""
    with living_in(tmp_path):
        _, out, _ = command("run", "mode", "--config", job)
    run_id = run_id_of(out)
    assert "there is no run" in refused(command("compare", run_id))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert command("compare", run_id, "--store", str(tmp_path / "mlruns"))[0] == 0


def test_help_needs_nothing_heavy(capsys: pytest.CaptureFixture[str]) -> None:
    """Both subcommands and their options are described; help ends with status 0."""
    for arguments, word in ((["--help"], "compare"), (["run", "--help"], "--send-to")):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        assert word in capsys.readouterr().out
    script = (
        "import sys, evals.__main__ as m; m.build_parser();"
        "print([n for n in ('dspy','mlflow','litellm','pandas') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "line",
    [
        "ablate j.toml vote rag --split test --set a=1 --set b=2",
        "ablate j.toml --split test vote --set a=1 --set b=2 rag",
        "ablate --set a=1 --split test --set b=2 j.toml vote rag",
        "run vote rag --config j.toml --split test --set a=1 --set b=2",
        "run --config j.toml vote --split test --set a=1 rag --set b=2",
        "robustness j.toml --split test --set a=1 vote --set b=2 rag",
    ],
)
def test_arms_and_options_come_in_any_order(line: str) -> None:
    """Argparse alone refuses arms that come after an option."""
    args = build_parser().parse_args(line.split())
    assert (args.arms, args.split, args.set) == (["vote", "rag"], "test", ["a=1", "b=2"])
    assert getattr(args, "job", None) in (Path("j.toml"), None)


def test_arms_may_be_left_out_where_there_is_a_default() -> None:
    """And what is missing or unknown is still refused."""
    assert build_parser().parse_args(["ablate", "j.toml", "--yes"]).arms == []
    for line in ("ablate --yes", "run --config j.toml", "ablate j.toml --no-such-option vote"):
        with pytest.raises(SystemExit) as ended:
            build_parser().parse_args(line.split())
        assert ended.value.code == 2


def test_rows_are_shared_only_when_told_to() -> None:
    """The flag that the warnings name is a key of the job."""
    line = ["run", "full", "--config", "job.toml"]
    assert agreed(build_parser().parse_args(line)) == []
    told = build_parser().parse_args([*line, "--share-rows", "--send-to", "h.example"])
    assert agreed(told) == ['send_to=["h.example"]', "share_rows=true"]


def test_the_devset_is_the_default() -> None:
    """The testset is never read by accident."""
    args = build_parser().parse_args(["run", "full", "--config", "job.toml"])
    assert (args.split, args.arms, args.yes) == ("dev", ["full"], False)


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nope", "--config", "{job}"], "arm: 'nope' is no variant.*country-mode"),
        (["run", "full", "--config", "{job}", "--set", "task_lm.modle=x"], "did you mean model"),
        (["run", "full", "--config", "{job}", "--set", "threads"], "not of the form key=value"),
        (["run", "full", "--config", "{job}", "--set", "protocol.fold=9"], "protocol.fold: 9 does"),
        (["run", "full", "--config", "none.toml"], "no job file none.toml"),
        (["run", "{home}", "--config", "{job}"], "there is no program at"),
        (["run", "full", "--config", "{job}", "--set", "protocol.train=999"], "250 people"),
        (["run", "full", "--config", "{job}", "--set", "protocol.dev=0"], "the devset is empty"),
        (["run", "full", "--config", "{job}", "--set", "data.survey=no.csv"], r"no\.csv"),
        (["run", "full", "--config", "{job}", "--set", "task_lm.context=1100"], "needs about"),
        (["run", "runs:/0123/program", "--config", "{job}"], "no program at runs:/0123/program"),
        (["compare", "0123456789abcdef0123456789abcdef"], "there is no run 0123456789abcdef"),
        (["compare", "not a run"], "there is no run not a run"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_status_2(
    command: Command, job: str, home: Path, arguments: list[str], said: str
) -> None:
    """The line says what is wrong; nothing is printed but it, and there is no traceback."""
    given = [argument.format(job=job, home=home) for argument in arguments]
    assert re.search(said, refused(command(*given)))


def test_a_broken_job_file_is_one_line(command: Command, tmp_path: Path) -> None:
    """TOML's own message, with the file."""
    path = tmp_path / "broken.toml"
    path.write_text("name = \n")
    assert "broken.toml is not valid TOML" in refused(command("run", "full", "--config", str(path)))


def test_runs_on_other_cases_are_not_compared(command: Command, job: str) -> None:
    """Two folds have no case in common."""
    runs = [
        run_id_of(command("run", "mode", "--config", job, "--set", f"protocol.fold={fold}")[1])
        for fold in (1, 2)
    ]
    assert "not on the same cases" in refused(command("compare", *runs))


def test_send_to_is_the_word_of_consent(command: Command, tmp_path: Path) -> None:
    """Without it real answers stay; with it the job goes on to ask the host, which is not there."""
    people = write_synthetic(tmp_path / "people.csv", 250, seed=3)
    text = people.read_text().replace(SYNTHETIC_VERSION, "6-0-0").replace(SYNTHETIC_DOI, "none")
    people.write_text(text)
    lm = {"model": "openai/some", "api_base": "http://models.invalid/v1", "num_retries": 0}
    job = job_file(tmp_path / "real.toml", data={"survey": str(people)}, task_lm=lm)
    line = refused(command("run", "single", "--config", str(job)))
    assert "answers of 250 respondents will be sent to models.invalid" in line
    agreed = ("--send-to", "models.invalid")
    status, out, err = command("run", "single", "--config", str(job), *agreed)
    assert status == 2
    assert "estimate, nothing of it cached" in out
    assert re.fullmatch(r"error: task_lm: models\.invalid does not answer .*\n", err)


# --- a spent budget -----------------------------------------------------------------------------


def test_a_spent_budget_is_status_3_and_goes_on(command: Command, job: str, tmp_path: Path) -> None:
    """The run says so; with a larger budget the command pays only the rest."""
    run = ("run", "full", "--config", job)
    with living_in(tmp_path):
        with answered_by(Stopping()) as first:
            status, out, err = command(*run, "--set", "budget.calls=15")
        assert (status, out) == (3, "")
        (line,) = err.splitlines()
        assert line.startswith("the budget of 15 calls is spent (15); what was done is kept")
        tracker = Tracker()
        (spent,) = tracker.find({"valuesim.level": "job"})
        assert run_summary(tracker, spent)["status"] == "KILLED"
        with answered_by(Stopping()) as second:
            status, out, _ = command(*run, "--set", "budget.calls=5000")
        assert status == 0
        assert run_id_of(out) == spent
        assert run_summary(tracker, spent)["status"] == "FINISHED"
    with living_in(tmp_path / "undisturbed"), answered_by(Stopping()) as whole:
        assert command(*run)[0] == 0
    assert first.answered == 15
    assert second.answered == whole.answered - 15


def test_ctrl_c_ends_in_one_line(command: Command, job: str, tmp_path: Path) -> None:
    """Status 130, and the run can be continued."""
    with living_in(tmp_path), answered_by(Stopping(at=5)):
        status, _, err = command("run", "full", "--config", job)
        (killed,) = Tracker().find({"valuesim.level": "job"})
        assert run_summary(Tracker(), killed)["status"] == "KILLED"
    assert status == 130
    assert err.splitlines() == ["interrupted; what was done is kept"]


# --- as a process of its own --------------------------------------------------------------------


def as_process(folder: Path, *arguments: str) -> Printed:
    """Run the command as a user does, in a folder without a store."""
    unset = ("MLFLOW_TRACKING_URI", "PYTHONWARNINGS")
    env = {name: value for name, value in os.environ.items() if name not in unset}
    env |= {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "evals", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=env,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_the_process_says_one_line_even_on_its_first_day(tmp_path: Path) -> None:
    """Where a store has to be made first, nothing of that shows."""
    line = refused(as_process(tmp_path, "compare", "0123", "--store", str(tmp_path / "new")))
    assert "there is no run 0123" in line


@pytest.mark.slow
def test_the_process_runs_and_stops_as_it_says(tmp_path: Path) -> None:
    """Exit statuses 0, 2 and 3, with stderr empty or one line."""
    job = str(job_file(tmp_path / "small.toml", store=str(tmp_path / "runs"), name="small"))
    status, out, err = as_process(tmp_path, "run", "single", "--config", job)
    assert (status, err) == (0, "")
    assert "| single" in out
    run = ("run", "full", "--config", job)
    status, _, err = as_process(tmp_path, *run, "--set", "budget.calls=3")
    assert (status, len(err.splitlines())) == (3, 1)
    assert "unknown key" in refused(as_process(tmp_path, *run, "--set", "budget.coals=3"))
