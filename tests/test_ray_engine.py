"""A Ray of two workers on this machine: the local engine's rows, also when a worker is killed."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import TESTS
from fake_ray import cache_as_before  # noqa: F401
from loopback import LoopbackServer, Messages
from saving import compiled, manifest
from simulated import journal_of, rows_of, run_here, small_plan, write_people

from benchmarks.prefix_share import lexical_reply
from valuesim_dspy.__main__ import main
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import BudgetExceededError, ConfigError, MissingDataError
from valuesim_dspy.journal import Journal
from valuesim_dspy.limits import Limits
from valuesim_dspy.lm import make_lm
from valuesim_dspy.loading import save_program
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.panel import spare_threads
from valuesim_dspy.plan import Opened, Plan, open_plan
from valuesim_dspy.ray_engine import run_on_ray
from valuesim_dspy.ray_engine.session import ray_session
from valuesim_dspy.sharding import journal_path
from valuesim_dspy.simulate import run_rows
from valuesim_dspy.usage import Budget, Meter

pytestmark = [
    pytest.mark.slow,
    # Found and not imported: what Ray reads from the environment, the engine sets before.
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]

CANARY = "sk-canary-0123456789abcdef"
PEOPLE = 12


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What driver and workers can both read."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def survey(shared: Path) -> Path:
    """A synthetic survey there."""
    return write_people(shared)


@pytest.fixture(scope="module")
def ray(shared: Path) -> Iterator[Any]:
    """A Ray of two workers, with a home of its own and a key in its environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{TESTS.parent}{os.pathsep}{TESTS}")
        patch.setenv("HOME", str(shared))
        patch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
        patch.setenv("SERVER_KEY", CANARY)
        patch.delenv("RAY_ADDRESS", raising=False)
        with ray_session(2) as connected:
            yield connected


def answer(messages: Messages) -> str:
    """Answer as the embedded model does; the trial call shows it nothing to read."""
    return lexical_reply(messages) if len(messages) > 1 else "ready"


def asked_here(opened: Opened, path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of the local engine."""
    with journal_of(opened, path) as journal, ResponseCache().installed():
        run_rows(opened, journal, lm=make_lm(opened.plan.lm))
        return rows_of(journal)


def served(survey: Path, server: LoopbackServer, **known: Any) -> Plan:
    """Return a plan whose model is behind a server."""
    role = {"model": "openai/test", "api_base": server.url, "num_retries": 0}
    role |= known.pop("role", {})
    return small_plan(survey, program="behavioral", sample=PEOPLE, lm=role, **known)


def test_rows_are_those_of_the_local_engine(ray: Any, survey: Path, tmp_path: Path) -> None:
    """Two workers share the requests; none is sent twice."""
    with LoopbackServer(answer) as server:
        plan = served(survey, server)
        opened = open_plan(plan)
        told: list[Outcome] = []
        with journal_of(opened, tmp_path / "ray") as journal:
            run_on_ray(plan, opened, journal, workers=2, on_outcome=told.append)
            rows = rows_of(journal)
        sent = len(server.requests)
        assert rows == asked_here(opened, tmp_path / "local")
        here = len(server.requests) - sent
    assert len(told) == len(rows) == 2 * PEOPLE
    assert {row["status"] for _, row in rows} == {"answered"}
    trials = 2
    assert sent == here + trials


def test_the_command_goes_on_with_ray_where_it_was_ended(
    ray: Any, survey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was begun here, workers finish: the embedded model, a saved program sent as files."""
    folder = save_program(compiled("behavioral"), tmp_path / "program", manifest("behavioral"))
    opened = open_plan(small_plan(survey, program=str(folder)))
    out = tmp_path / "answers.csv"
    with journal_of(opened, journal_path(out)) as journal:
        run_here(opened, journal, at=[1, 4])
        begun = rows_of(journal)
    asked = f"simulate --survey {survey} --sample 8 --questions Q69,Q70 --program {folder}"
    assert main([*asked.split(), "--out", str(out), "--engine", "ray", "--workers", "2"]) == 0
    assert "12 rows of 6 people to ask" in capsys.readouterr().out
    with Journal(journal_path(out)) as journal:
        rows = rows_of(journal)
    assert [row for row in rows if row in begun] == begun
    assert rows == asked_here(opened, tmp_path / "local")
    assert len(out.read_text().splitlines()) == 17


def test_a_killed_worker_costs_nothing_but_what_was_under_way(
    ray: Any, survey: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SIGKILL in the middle: every row once, few requests more."""
    in_flight = 4
    with LoopbackServer(answer) as server:
        plan = served(survey, server)
        opened = open_plan(plan)
        told: list[Outcome] = []
        caplog.set_level("DEBUG", "valuesim_dspy.ray_engine")

        def kill_one(outcome: Outcome) -> None:
            told.append(outcome)
            if len(told) == 5:
                (found, *_) = re.findall(r"is process (\d+) on", caplog.text)
                os.kill(int(found), signal.SIGKILL)

        with journal_of(opened, tmp_path / "ray") as journal:
            limits = Limits(in_flight=2 * in_flight)
            run_on_ray(plan, opened, journal, workers=2, limits=limits, on_outcome=kill_one)
            rows = rows_of(journal)
        sent = len(server.requests)
        assert rows == asked_here(opened, tmp_path / "local")
        here = len(server.requests) - sent
    assert len(told) == 2 * PEOPLE
    assert max(Counter((o.respondent, o.question) for o in told).values()) == 1
    assert "its people are given to others" in caplog.text
    trials, unkept = 3, spare_threads(in_flight)
    assert here + trials - 1 <= sent <= here + trials + unkept


def test_keys_come_from_the_workers_environment_and_budgets_from_the_driver(
    ray: Any, survey: Path, shared: Path, tmp_path: Path
) -> None:
    """The driver has no key to give; what workers pay ends the run, which can go on."""
    assert "SERVER_KEY" not in os.environ
    with LoopbackServer(answer, key=CANARY) as server:
        plan = served(survey, server, role={"api_key_env": "SERVER_KEY"})
        opened = open_plan(plan)
        in_flight, calls = 2, 14
        limits = Limits(in_flight=in_flight)
        with journal_of(opened, tmp_path / "ray") as journal:
            meter = Meter("task_lm", budget=Budget(calls=calls))
            with pytest.raises(BudgetExceededError, match=f"of {calls} calls"):
                run_on_ray(plan, opened, journal, workers=2, limits=limits, meter=meter)
            assert 0 < journal.count < 2 * PEOPLE
        paid = len(server.requests)
        # Calls that were under way at the end are waited for, kept and counted.
        assert meter.paid.calls == paid >= calls
        # A row needs its answer, and a person a backstory; the trial calls come on top.
        assert paid < 3 * PEOPLE
        with journal_of(opened, tmp_path / "ray") as journal:
            run_on_ray(plan, opened, journal, workers=1, limits=limits)
            assert journal.counts() == {"answered": 2 * PEOPLE}
        assert set(server.keys) == {CANARY}
    logs = Path(ray._private.worker._global_node.get_session_dir_path())
    written = [tmp_path / "ray", *(f for f in logs.rglob("*") if f.is_file())]
    assert len(written) > 5
    assert not [file for file in written if CANARY.encode() in file.read_bytes()]


def test_a_key_that_a_worker_lacks_ends_the_run_in_one_line(
    ray: Any, survey: Path, tmp_path: Path
) -> None:
    """It says which variable, and on which machine."""
    with LoopbackServer(answer) as server:
        plan = served(survey, server, role={"api_key_env": "OTHER_KEY"})
        opened = open_plan(plan)
        with (
            journal_of(opened, tmp_path / "ray") as journal,
            pytest.raises(
                MissingDataError, match=r"OTHER_KEY is not set.*on the Ray worker"
            ) as stop,
        ):
            run_on_ray(plan, opened, journal, workers=1)
    assert "\n" not in str(stop.value)
    assert server.requests == []


def test_workers_with_another_survey_are_not_asked(ray: Any, shared: Path, tmp_path: Path) -> None:
    """The file was changed, or is another one on that machine."""
    survey = write_people(tmp_path)
    plan = small_plan(survey)
    opened = open_plan(plan)
    lines = survey.read_text().splitlines(keepends=True)
    survey.write_text("".join(lines[:-1]))
    with (
        journal_of(opened, tmp_path / "ray") as journal,
        pytest.raises(ConfigError, match=r"survey is '.*must be the same files on every machine"),
    ):
        run_on_ray(plan, opened, journal, workers=1)


def test_a_private_ray_listens_to_this_machine_alone(ray: Any) -> None:
    """Nobody else on the network can hand it code."""
    address = ray.get_runtime_context().gcs_address
    assert address.startswith("127.0.0.1:")
    table = Path("/proc/net/tcp6")
    if table.exists():
        port = f"{int(address.rpartition(':')[2]):04X}"
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
        listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port}")]
        assert listening == [f"0000000000000000FFFF00000100007F:{port}"]


def test_a_private_ray_leaves_nothing_behind(shared: Path) -> None:
    """Neither its folder, nor a token in the home folder, nor a word on the output."""
    script = (
        "import os, sys, pathlib\n"
        "from valuesim_dspy.ray_engine.session import ray_session\n"
        "with ray_session(1) as ray:\n"
        "    folder = pathlib.Path(ray._private.worker._global_node.get_temp_dir_path())\n"
        "    assert folder.parent.stat().st_mode & 0o777 == 0o700, folder\n"
        "assert not folder.parent.exists() and not ray.is_initialized()\n"
        "assert os.listdir(os.environ['HOME']) == []\n"
    )
    home = shared / "empty"
    home.mkdir()
    known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**known, "HOME": str(home), "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
