"""What a worker is sent, what it checks before it asks, and what it tells."""

from __future__ import annotations

import os
import pickle
import re
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_ray import cache_as_before  # noqa: F401
from loopback import LoopbackServer, Messages
from saving import compiled, manifest
from simulated import journal_of, rows_of, run_here, small_plan, write_people

from benchmarks.prefix_share import lexical_reply
from valuesim_dspy.errors import (
    ConfigError,
    MissingDataError,
    ProgramStateError,
    SurveyDataError,
    ValueSimError,
)
from valuesim_dspy.limits import Limits
from valuesim_dspy.loading import save_program
from valuesim_dspy.loop import STOPS
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.plan import Opened, Plan, open_plan
from valuesim_dspy.ray_engine import Parcel, Traffic, Worker, pack
from valuesim_dspy.ray_engine.worker import error_of, stop_of
from valuesim_dspy.usage import Usage

Told = dict[str, Any]


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic survey."""
    return write_people(tmp_path_factory.mktemp("survey"), 20)


@pytest.fixture(scope="module")
def plan(survey: Path) -> Plan:
    """A plan of two questions to four people."""
    return small_plan(survey, program="single", sample=4)


@pytest.fixture(scope="module")
def opened(plan: Plan) -> Opened:
    """That plan, opened."""
    return open_plan(plan)


@pytest.fixture(scope="module")
def parcel(plan: Plan, opened: Opened) -> Parcel:
    """What its workers are sent."""
    return pack(plan, opened)


def refused(parcel: Parcel) -> ValueSimError:
    """Return the error with which a worker ends the run."""
    return error_of(Worker(parcel, Limits()).open())


def test_it_answers_what_the_local_engine_answers(
    parcel: Parcel, opened: Opened, tmp_path: Path
) -> None:
    """Row for row, as plain values; what it took adds up."""
    worker = Worker(parcel, Limits())
    assert worker.open()["pid"] == os.getpid()
    told = list(worker.answer((0, 2, 3), (1, 7)))
    assert all(plain_values(message) for message in told)
    with journal_of(opened, tmp_path / "worker") as journal:
        for message in told:
            for number, outcome in message["rows"]:
                journal.add(number, Outcome(**outcome))
        rows = rows_of(journal)
    with journal_of(opened, tmp_path / "local") as journal:
        run_here(opened, journal)
        assert rows == [row for row in rows_of(journal) if row[0] in {0, 4, 5, 6}]
    paid = sum((Usage(**message["paid"]) for message in told), Usage())
    cached = sum((Usage(**message["cached"]) for message in told), Usage())
    assert (paid.calls, cached.calls, paid.usd) == (sum(row["calls"] for _, row in rows), 0, 0.0)


def plain_values(value: Any) -> bool:
    """Whether a value holds nothing but what JSON holds, and pairs."""
    if isinstance(value, dict):
        return all(isinstance(k, str | int) and plain_values(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(plain_values, value))
    return value is None or type(value) in (str, int, float, bool)


def test_what_its_cache_knows_is_not_paid_again(parcel: Parcel) -> None:
    """A second worker of the machine finds what the first one, which died, had answered."""
    for expected in (True, False):
        worker = Worker(parcel, Limits())
        worker.open()
        told = list(worker.answer((0,), ()))
        assert any(message["paid"]["calls"] for message in told) is expected
        assert any(message["cached"]["calls"] for message in told) is not expected


def test_skipped_rows_are_told_too(survey: Path) -> None:
    """They are rows of the journal."""
    plan = small_plan(survey, program="single", questions=("Q69", "Q266"), sample=2)
    opened = open_plan(plan)
    assert not opened.questions[1].options
    worker = Worker(pack(plan, opened), Limits())
    worker.open()
    told = [row for message in worker.answer((0, 1), (0,)) for row in message["rows"]]
    statuses = {number: outcome["status"] for number, outcome in told}
    assert statuses == {1: "skipped", 2: "answered", 3: "skipped"}


def test_a_program_is_sent_as_its_files(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker needs no path to it, and keeps no copy."""
    folder = save_program(compiled("single"), tmp_path / "program", manifest("single"))
    plan = small_plan(survey, program=str(folder))
    opened = open_plan(plan)
    parcel = pack(plan, opened)
    assert set(parcel.program) == {"program.json", "manifest.json"}
    folder.rename(tmp_path / "elsewhere")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    made, mkdir = list[str](), os.mkdir

    def make(path: Any, *given: Any, **known: Any) -> None:
        made.append(str(path))
        mkdir(path, *given, **known)

    # Not even for a while: a worker that is killed removes nothing.
    monkeypatch.setattr(os, "mkdir", make)
    assert "stop" not in Worker(parcel, Limits()).open()
    assert made and not [path for path in made if path.startswith(str(temporary))]


def test_a_program_that_is_not_the_drivers_is_refused(survey: Path, tmp_path: Path) -> None:
    """Two files that were changed on the way would answer something else."""
    folder = save_program(compiled("single"), tmp_path / "program", manifest("single"))
    plan = small_plan(survey, program=str(folder))
    parcel = pack(plan, open_plan(plan))
    text = parcel.program["program.json"].replace("Say it the way", "Say it as")
    error = refused(replace(parcel, program={**parcel.program, "program.json": text}))
    assert isinstance(error, ConfigError) and "program_digest is" in str(error)


def test_a_variant_needs_no_files(parcel: Parcel) -> None:
    """It is part of the code, whose version is compared."""
    assert parcel.program == {}


def test_files_are_named_by_absolute_paths(
    plan: Plan, survey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers have another working folder; a packaged codebook keeps its name."""
    monkeypatch.chdir(survey.parent)
    (survey.parent / "wvs7").mkdir()
    given = plan.model_copy(update={"survey": survey.name})
    sent = Plan.model_validate_json(pack(given, open_plan(given)).plan)
    assert Path(sent.survey) == survey
    assert (sent.codebook, sent.wording) == ("wvs7", None)


def test_a_parcel_holds_no_key(survey: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable's name goes over the wire, its value never."""
    monkeypatch.setenv("SERVER_KEY", "sk-canary-0123456789")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    role = {
        "model": "openai/test",
        "api_base": "http://127.0.0.1:9/v1",
        "api_key_env": "SERVER_KEY",
    }
    plan = small_plan(survey, lm=role)
    sent = pickle.dumps((pack(plan, open_plan(plan)), Limits()))
    assert b"SERVER_KEY" in sent and b"canary" not in sent


def test_a_key_that_is_absent_here_is_named(survey: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere else, and with the machine."""
    role = {"model": "openai/test", "api_base": "http://127.0.0.1:9/v1", "api_key_env": "MY_KEY"}
    plan = small_plan(survey, lm=role)
    error = refused(pack(plan, open_plan(plan)))
    assert isinstance(error, MissingDataError)
    assert re.search(r"MY_KEY is not set; .* \(on the Ray worker .+\)$", str(error))


def test_another_survey_is_refused(parcel: Parcel, survey: Path, tmp_path: Path) -> None:
    """Its rows would be other people's."""
    other = write_people(tmp_path, 21)
    plan = Plan.model_validate_json(parcel.plan).model_copy(update={"survey": str(other)})
    error = refused(replace(parcel, plan=plan.model_dump_json()))
    assert isinstance(error, ConfigError)
    for word in ("survey is", "people is", "must be the same files on every machine"):
        assert word in str(error)
    assert "codebook is" not in str(error)


def test_a_survey_that_cannot_be_read_here_is_told(parcel: Parcel, tmp_path: Path) -> None:
    """The path must lead to it on every machine."""
    gone = tmp_path / "gone.csv"
    plan = Plan.model_validate_json(parcel.plan).model_copy(update={"survey": str(gone)})
    error = refused(replace(parcel, plan=plan.model_dump_json()))
    assert "gone.csv" in str(error) and "on the Ray worker" in str(error)


def test_an_environment_that_sends_elsewhere_is_refused(
    survey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the user agreed to send goes to the address agreed to, on every machine."""
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:9/v1")
    plan = small_plan(survey, lm={"model": "openai/test"})
    parcel = pack(plan, open_plan(plan))
    monkeypatch.setenv("OPENAI_API_BASE", "http://collector.example/v1")
    error = refused(parcel)
    assert isinstance(error, ConfigError)
    assert "endpoint is 'http://collector.example:80/v1'" in str(error)


def test_other_packages_are_refused(parcel: Parcel) -> None:
    """Another version may ask in other words; it is found before the survey is read."""
    error = refused(replace(parcel, plan="{}", versions={**parcel.versions, "dspy": "0.1"}))
    assert isinstance(error, ConfigError)
    assert re.search(r"other packages .*dspy is '3\..*' and not '0\.1'", str(error))


@pytest.mark.parametrize(
    "error",
    [
        MissingDataError("the key is absent", "set it"),
        ConfigError("does not fit", key="task_lm", value=3, allowed=[1, 2]),
        ProgramStateError("does not fit", path="program", expected=1, found=2),
    ],
)
def test_errors_cross_as_text(error: ValueSimError) -> None:
    """Kind and text are kept, and the machine is added at the end."""
    back = error_of(stop_of(error))
    assert type(back) is type(error)
    assert str(back).startswith(str(error)) and str(back).endswith(")")


@pytest.mark.parametrize(
    "error", [ValueSimError("anything"), SurveyDataError("malformed", path="people.csv", row=3)]
)
def test_an_error_of_another_kind_is_the_runs(error: ValueSimError) -> None:
    """It is one of those before which a command says what is kept."""
    back = error_of(stop_of(error))
    assert type(back) is ConfigError and isinstance(back, STOPS)
    assert str(back).startswith(str(error))


def test_a_worker_that_is_to_finish_starts_nothing(parcel: Parcel) -> None:
    """The row under way is told; what its last case had paid, too."""
    worker = Worker(parcel, Limits())
    worker.open()
    said = worker.answer((0, 1, 2, 3), ())
    first = next(said)
    worker.finish()
    rest = list(said)
    assert len(first["rows"]) == 1 and not any(message["rows"] for message in rest)
    assert not any(message["paid"]["calls"] for message in rest)


def test_a_worker_told_to_finish_before_it_opened_pays_nothing(
    parcel: Parcel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even its trial call."""
    monkeypatch.setattr("valuesim_dspy.ray_engine.worker.preflight", lambda lm: pytest.fail())
    worker = Worker(parcel, Limits())
    worker.finish()
    assert worker.open()["paid"]["calls"] == 0


def test_calls_under_way_end_when_it_is_to_finish(survey: Path) -> None:
    """They are answered, told and counted; what waits for its turn never starts."""
    begun, told = threading.Semaphore(0), threading.Event()

    def answer(messages: Messages) -> str:
        if len(messages) > 1:
            begun.release()
            told.wait(60)
        return lexical_reply(messages) if len(messages) > 1 else "ready"

    with LoopbackServer(answer) as server:
        role = {"model": "openai/test", "api_base": server.url, "num_retries": 0}
        plan = small_plan(survey, program="single", sample=4, lm=role)
        worker = Worker(pack(plan, open_plan(plan)), Limits(in_flight=2))
        opened = worker.open()

        def finish() -> None:
            assert begun.acquire(timeout=60) and begun.acquire(timeout=60)
            worker.finish()
            told.set()

        other = threading.Thread(target=finish)
        other.start()
        messages = list(worker.answer((0, 1, 2, 3), ()))
        other.join()
        sent = len(server.requests)
    rows = [row for message in messages for row in message["rows"]]
    assert (len(rows), sent) == (2, 1 + 2)
    assert {outcome["status"] for _, outcome in rows} == {"answered"}
    assert sum(message["paid"]["calls"] for message in (opened, *messages)) == sent


def test_what_its_model_saw_is_told_once(survey: Path) -> None:
    """How prompts began, and what was tried again, since the last message."""

    def answer(messages: Messages) -> str:
        return lexical_reply(messages) if len(messages) > 1 else "ready"

    with LoopbackServer(answer) as server:
        role = {"model": "openai/test", "api_base": server.url, "num_retries": 0}
        plan = small_plan(survey, program="single", sample=4, lm=role)
        worker = Worker(pack(plan, open_plan(plan)), Limits(in_flight=2))
        traffic = Traffic()
        for message in (worker.open(), *worker.answer((0, 1, 2, 3), ())):
            traffic.add(message["counted"])
    lm: Any = worker._lm
    assert vars(traffic.prefixes)["characters"] == lm.prefixes.characters > 1000
    assert 0 < traffic.prefixes.share == lm.prefixes.share < 1
    assert traffic.throttle.retries == lm.throttle.retries == 0
