"""The command `python -m optimize`: its output, exit statuses, and death at any moment."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs import (
    BOOTSTRAP,
    Stopping,
    answered_by,
    job_file,
    lexical_server,
    living_in,
    tracker_of,
)

from evals.past_runs import run_summary
from evals.tracked_runs import LEVEL
from optimize.__main__ import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
TINY: dict[str, Any] = {"variant": "single", "baselines": []}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """A store, ready, that the command finds in its environment."""
    with living_in(tmp_path) as found:
        yield found


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that stderr holds."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_job_prints_estimate_table_programs_and_run(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this order; the folders are there, and the way to the UI is told."""
    assert main(["compile", str(job_file(tmp_path / "tiny.toml", **TINY))]) == 0
    said = capsys.readouterr()
    (run_id,) = tracker_of(store).find({LEVEL: "job"})
    marks = ["estimate,", "compiling rag", "compiling single", "## small", "single compiled: "]
    places = [said.out.index(mark) for mark in [*marks, f"MLflow run {run_id}"]]
    assert places == sorted(places)
    assert "make ui" in said.out and said.err == ""
    for line in said.out.splitlines():
        if " compiled: " in line:
            assert (Path(line.split(": ")[1]) / "program.json").is_file()
    assert tracker_of(store).read_text(run_id, "table.md") in said.out


def test_the_estimate_comes_before_the_first_call(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When the model is asked for the first time, the estimate is on the screen already."""
    with answered_by(Stopping(1)) as engine:
        assert main(["compile", str(job_file(tmp_path / "tiny.toml", **TINY))]) == 130
    said = capsys.readouterr()
    assert engine.answered == 0
    assert "calls" in said.out and "estimate" in said.out and "compiling rag with" not in said.out
    assert said.err == "interrupted; what was done is kept\n"
    (run_id,) = tracker_of(store).find({LEVEL: "job"})
    assert run_summary(tracker_of(store), run_id)["status"] == "KILLED"


def test_keys_are_replaced_in_order(tmp_path: Path, store: Path) -> None:
    """--set wins over the file, a later one over an earlier; the run holds the resolved job."""
    job = job_file(tmp_path / "tiny.toml", **TINY)
    sets = ["--set", "protocol.dev=3", "--set", "protocol.dev=2", "--set", "compile.arms=[]"]
    with answered_by(Stopping(1)):
        main(["compile", str(job), *sets, "--set", "seed=7"])
    tracker = tracker_of(store)
    config = json.loads(tracker.read_text(tracker.find({LEVEL: "job"})[0], "config.json"))
    assert config["protocol"]["dev"] == 2 and config["compile"]["arms"] == []
    assert config["seed"] == config["data"]["seed"] == config["protocol"]["seed"] == 7


def test_a_spent_budget_has_its_own_status(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 3 and one line; with a larger budget only the rest is paid, in the same run."""
    job = str(job_file(tmp_path / "tiny.toml", **TINY))
    with answered_by(Stopping()) as first:
        assert main(["compile", job, "--set", "budget.calls=15"]) == 3
    assert first.answered == 15
    line = one_line(capsys)
    assert "budget of 15 calls" in line and "larger budget" in line
    with answered_by(Stopping()) as second:
        assert main(["compile", job, "--set", "budget.calls=1000"]) == 0
    (run_id,) = tracker_of(store).find({LEVEL: "job"})
    usage = json.loads(tracker_of(store).read_text(run_id, "usage.json"))
    assert second.answered == usage["paid"]["calls"] == usage["needed"]["calls"] - 15


REMOTE = ["--set", "task_lm.model=openai/test", "--set", "task_lm.api_base=http://127.0.0.1:9/v1"]
ELSEWHERE = [*REMOTE[:2], "--set", "task_lm.api_base=http://api.example.org/v1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "variant=nosuch"], ["variant", "nosuch", "backstory-only"]),
        (["--set", "compile.teleprompter=mipro"], ["labeled-few-shot", "mipro"]),
        (["--set", "compile.options.kk=3"], ["compile.options.kk", "training cases that become"]),
        (["--set", "compile.options.k=many"], ["compile.options.k", "labeled-few-shot"]),
        (["--set", "protocl.dev=3"], ["protocl", "protocol"]),
        (["--set", "protocol.dev=some"], ["protocol.dev"]),
        (["--set", "protocol.dev"], ["key=value"]),
        (["--set", "task_lm.api_key=sk-12345678"], ["api_key_env"]),
        (["--set", "data.survey=nosuch.csv"], ["nosuch.csv", "no such file"]),
        (["--set", "task_lm.model=offline/nosuch"], ["offline/lexical-1"]),
        ([*REMOTE, "--set", "task_lm.api_key_env=NOSUCH_KEY"], ["NOSUCH_KEY is not set"]),
        ([*REMOTE, "--set", "confirm_calls=10"], ["confirm_calls", "--yes"]),
        ([*REMOTE], ["127.0.0.1:9 cannot be reached", "api_base"]),
        ([*REMOTE, "--set", "confirm_calls=10", "--yes"], ["cannot be reached"]),
    ],
)
def test_what_cannot_work_gets_one_line_and_status_2(
    tmp_path: Path,
    store: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: list[str],
) -> None:
    """What is wrong, where, and what would be right; no run is begun and no secret repeated."""
    assert main(["compile", str(job_file(tmp_path / "tiny.toml", **TINY)), *arguments]) == 2
    line = one_line(capsys)
    assert line.startswith("error: ") and not [text for text in said if text not in line]
    assert "unexpected" not in line and "sk-12345678" not in line
    assert tracker_of(store).find({LEVEL: "job"}) == []


@pytest.mark.parametrize("text", [None, "not toml", "\x00", 'name = "a/b"'])
def test_a_job_file_that_is_none_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    """Missing, no TOML, or with a name that is none."""
    path = tmp_path / "job.toml"
    if text is not None:
        path.write_text(text)
    assert main(["compile", str(path)]) == 2
    assert ("job.toml" if text != 'name = "a/b"' else "name") in one_line(capsys)


def test_answers_of_people_go_only_where_it_was_agreed(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many people's answers, and to which host; made-up people need no consent."""
    from valuesim_dspy.survey.synthetic import write_synthetic

    survey = write_synthetic(tmp_path / "survey.csv", 60, seed=1)
    survey.write_text(
        survey.read_text().replace("SYNTHETIC-1", "6.0").replace("synthetic, not survey data", "x")
    )
    job = job_file(tmp_path / "tiny.toml", **TINY, data={"survey": str(survey)})
    for agreed in ([], ["--send-to", "example.org"], ["--send-to", "http://api.example.org"]):
        assert main(["compile", str(job), *ELSEWHERE, *agreed, "--yes"]) == 2
        line = one_line(capsys)
        assert "answers of 60 respondents will be sent to api.example.org" in line
        assert "--send-to api.example.org" in line
    # Agreed to, it goes on to what is asked next: consent to the size, before any connection.
    agreed = ["--send-to", "api.example.org", "--set", "confirm_calls=0"]
    assert main(["compile", str(job), *ELSEWHERE, *agreed]) == 2
    assert "confirm_calls" in one_line(capsys)
    made_up = job_file(tmp_path / "made_up.toml", **TINY)
    assert main(["compile", str(made_up), *ELSEWHERE, "--set", "confirm_calls=0"]) == 2
    assert "confirm_calls" in one_line(capsys)


def test_usage_errors_and_help_need_nothing_heavy(capsys: pytest.CaptureFixture[str]) -> None:
    """Help comes without the libraries that take seconds to import."""
    script = (
        "import sys\nfrom optimize.__main__ import main\n"
        "try:\n    main(['compile', '--help'])\nexcept SystemExit as end:\n    status = end.code\n"
        "heavy = {'dspy', 'litellm', 'mlflow', 'pandas', 'numpy', 'pydantic', 'optuna'}\n"
        "print(status, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "--set" in done.stdout and "--send-to" in done.stdout and "--yes" in done.stdout
    for arguments in ([], ["nosuch"], ["compile"], ["seeds", "job.toml", "--seeds", "one"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2


def test_seeds_are_asked_for_once_each(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A seed given twice is refused before anything is paid."""
    job = str(job_file(tmp_path / "tiny.toml", **TINY))
    with answered_by(Stopping()) as engine:
        assert main(["seeds", job, "--seeds", "1", "2", "1"]) == 2
    assert "--seeds: give each seed once" in one_line(capsys)
    assert engine.asked == 0


@pytest.mark.slow
def test_seeds_print_one_table(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row a seed and one for all."""
    job = str(job_file(tmp_path / "tiny.toml", **TINY))
    assert main(["seeds", job, "--seeds", "3", "4", "--set", "protocol.dev=3"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows] == ["seed", "---", "3", "4", "all"]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("variables", "sets"),
    [
        ([], []),
        (["MODEL=openai/gpt-4o-mini"], ["task_lm.model=openai/gpt-4o-mini"]),
        (
            ["MODEL=x", "SURVEY=y.csv", "API_BASE=http://localhost:8000/v1"],
            ["task_lm.model=x", "task_lm.api_base=http://localhost:8000/v1", "data.survey=y.csv"],
        ),
    ],
)
def test_make_demo_hands_its_variables_on(variables: list[str], sets: list[str]) -> None:
    """MODEL, API_BASE and SURVEY become --set of the same job; SET is added as it is."""
    extra = "--send-to api.example.org --yes"
    environment = {"PATH": os.environ["PATH"]}
    for more, tail in (([], []), ([f"SET={extra}"], extra.split())):
        done = subprocess.run(
            ["make", "-n", "demo", *variables, *more],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
            env=environment,
        )
        command = done.stdout.splitlines()[-1].split()
        job = ["-m", "optimize", "compile", "optimize/jobs/demo.toml"]
        given = [word for name in sets for word in ("--set", name)]
        assert command[1:] == [*job, *given, *tail] and command[0].endswith("bin/python")


def test_what_make_demo_runs_is_a_job() -> None:
    """The packaged job file is valid, its arms and teleprompter exist, and it is offline."""
    from optimize.planning import arms_to_compile, find_teleprompter
    from valuesim_dspy.config import load_job

    config = load_job(ROOT / "optimize" / "jobs" / "demo.toml")
    teleprompter = find_teleprompter(config)
    assert teleprompter.parse(config.compile.options)
    assert {"rag", "full"} <= set(arms_to_compile(config))
    assert config.task_lm.offline and config.data.survey == "synthetic"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code: a job whose code changes meanwhile would be another job."""
    folder = tmp_path_factory.mktemp("code")
    for package in ("valuesim_dspy", "evals", "optimize"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    return folder


@pytest.mark.slow
def test_ctrl_c_ends_a_job_in_one_line_and_it_goes_on(tmp_path: Path, code: Path) -> None:
    """With many requests under way: status 130, no traceback; then the rest is paid for."""
    with lexical_server() as calm:
        process = _start(code, tmp_path / "calm", calm.url)
        assert process.wait(timeout=120) == 0
        whole = len(calm.requests)
    home = tmp_path / "home"
    with lexical_server() as server:
        process = _start(code, home, server.url)
        assert server.wait_for(whole // 2, timeout=120)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 130
        *slow, last = err.splitlines()
        assert last == "interrupted; what was done is kept"
        # Said where the machine is so busy that a phase takes 15 s, or calls under way two.
        assert all(re.search(r"^waiting for what is |: \d+ of \d+$", line) for line in slow)
        (run_id,) = tracker_of(home / "mlruns").find({LEVEL: "job"})
        assert run_summary(tracker_of(home / "mlruns"), run_id)["status"] == "KILLED"
        assert _start(code, home, server.url).wait(timeout=120) == 0
        assert tracker_of(home / "mlruns").find({LEVEL: "job"}) == [run_id]
        # One trial call more, and what was under way in four threads.
        assert whole < len(server.requests) <= whole + 1 + 4


def _start(code: Path, home: Path, url: str) -> subprocess.Popen[str]:
    lm = {"model": "openai/test", "api_base": url, "num_retries": 0}
    with living_in(home):
        job = job_file(
            home / "job.toml",
            **TINY,
            task_lm=lm,
            embedder={"model": "lexical"},
            threads=4,
            compile=BOOTSTRAP,
        )
        return subprocess.Popen(
            [sys.executable, "-m", "optimize", "compile", str(job)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(code)},
        )
