import json
from pathlib import Path
from typing import Any

import pytest
from stores import ARM, job_facts, new_tracker, predictions

from evals import tracking
from evals.tracking import Tracker
from valuesim_dspy.errors import BudgetExceededError, ConfigError, ValueSimError
from valuesim_dspy.loading import load_program, save_program
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.program import ValueSim


@pytest.fixture(autouse=True)
def _no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    """A tracker on a store of its own."""
    return new_tracker(tmp_path / "store")


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """A store taken for one that leaves the machine."""
    monkeypatch.setattr(tracking, "is_remote", lambda uri: True)
    return new_tracker(tmp_path / "store")


def status(tracker: Tracker, run_id: str) -> str:
    """The status of a run as the store has it."""
    return str(tracker.run(run_id).info.status)


def files(tracker: Tracker, run_id: str) -> set[str]:
    """The files and folders of a run."""
    return {file.path for file in tracker.client.list_artifacts(run_id)}


def saved(folder: Path, **known: Any) -> Path:
    """Save an uncompiled program whose manifest says what is given."""
    manifest = Manifest(kind="valuesim", variant="full", **known)
    return save_program(ValueSim("full"), folder, manifest)


def test_what_a_job_is_told_is_kept_before_anything_else(tracker: Tracker) -> None:
    """Config, digests, versions and tags are there while the job is still under way."""
    with tracker.job(job_facts(params={"budget": 100})) as job:
        run = tracker.run(job.run_id)
        assert run.info.status == "RUNNING"
        assert json.loads(tracker.read_text(job.run_id, "config.json"))["seed"] == 42
        assert "dspy" in tracker.read_text(job.run_id, "details.json")
        assert run.data.params == {"budget": "100"}
        expected = {
            "evidence": "synthetic-machinery",
            "job": "demo",
            "mlflow.source.name": "optimize",
        }
        assert expected.items() <= run.data.tags.items()


def test_every_arm_has_the_same_params_and_its_jobs_tags(tracker: Tracker) -> None:
    """Arms line up in the compare view, and group by what their job is tagged with."""
    other = {**ARM, "variant": "full", "knows": "warm"}
    with (
        tracker.job(job_facts()) as job,
        job.arm("rag", ARM) as rag,
        job.arm("full", other) as full,
    ):
        pass
    first, second = (tracker.run(arm.run_id).data for arm in (rag, full))
    assert first.params.keys() == second.params.keys() == {"arm", *ARM}
    assert second.tags["mlflow.parentRunId"] == job.run_id
    assert (second.tags["knows"], second.tags["variant"]) == ("warm", "full")
    assert second.tags["fold"] == "battery-1of5"


@pytest.mark.parametrize(
    "params", [{k: v for k, v in ARM.items() if k != "fold"}, {**ARM, "temperature": 1}]
)
def test_an_arm_with_other_params_is_refused(tracker: Tracker, params: dict[str, Any]) -> None:
    """A param too few or too many would make columns with holes: the error names it."""
    with tracker.job(job_facts()) as job, pytest.raises(ConfigError, match=r"fold|temperature"):
        job.arm("rag", params)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), "KILLED"),
        (BudgetExceededError("calls", 10, 10), "KILLED"),
        (RuntimeError("boom"), "FAILED"),
    ],
)
def test_a_job_that_is_stopped_says_so_and_goes_on(
    tracker: Tracker, error: BaseException, expected: str
) -> None:
    """Interrupted runs are killed, failed ones failed; under way again once continued."""
    with pytest.raises(type(error)), tracker.job(job_facts()) as job, job.arm("rag", ARM) as arm:
        raise error
    assert {status(tracker, job.run_id), status(tracker, arm.run_id)} == {expected}
    spent = isinstance(error, BudgetExceededError)
    for run_id in (job.run_id, arm.run_id):
        assert tracker.run(run_id).data.tags["stopped"] == ("budget" if spent else "no")
    with tracker.job(job_facts()) as again:
        assert (again.run_id, again.continued) == (job.run_id, True)
        assert status(tracker, job.run_id) == "RUNNING"
        assert tracker.run(job.run_id).data.tags["stopped"] == "no"
    assert status(tracker, job.run_id) == "FINISHED"


def test_an_arm_that_fails_leaves_the_others_as_they_are(tracker: Tracker) -> None:
    """One failed arm is failed; its job and the arm before it are finished."""
    with tracker.job(job_facts()) as job:
        with job.arm("rag", ARM) as rag:
            pass
        with pytest.raises(RuntimeError), job.arm("full", ARM) as full:
            raise RuntimeError("boom")
    states = [status(tracker, run.run_id) for run in (job, rag, full)]
    assert states == ["FINISHED", "FINISHED", "FAILED"]


def test_the_error_that_ended_a_job_is_not_hidden_by_the_store(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the store fails as well, the first error is raised and the second logged."""

    def fail(run_id: str, state: str) -> None:
        raise ValueSimError("the store has gone")

    monkeypatch.setattr(tracker, "end", fail)
    with pytest.raises(RuntimeError, match="boom"), tracker.job(job_facts()):
        raise RuntimeError("boom")
    assert "the store has gone" in caplog.text
    with pytest.raises(ValueSimError, match="gone"), tracker.job(job_facts()):
        pass


def test_metrics_are_short_and_leave_out_what_does_not_apply(tracker: Tracker) -> None:
    """Columns show 5 digits, whole numbers in full; NaN has no column; sets have a prefix."""
    with tracker.job(job_facts()) as job:
        metrics = {"accuracy": 1 / 3, "tokens_needed": 8123456.0, "fidelity": float("nan")}
        job.log_metrics(metrics)
        job.log_metrics({"accuracy": 0.4}, prefix="val")
    assert tracker.run(job.run_id).data.metrics == {
        "accuracy": 0.33333,
        "tokens_needed": 8123456.0,
        "val.accuracy": 0.4,
    }


def test_a_curve_logged_twice_has_each_step_once(tracker: Tracker) -> None:
    """Candidates' scores are a series with steps from 1; a continued job adds the missing ones."""
    with tracker.job(job_facts()) as job:
        job.log_curve("candidate_val_accuracy", [0.4, 0.5])
        job.log_curve("candidate_val_accuracy", [0.4, 0.5, 0.45])
    history = tracker.client.get_metric_history(job.run_id, "candidate_val_accuracy")
    points = sorted((point.step, point.value) for point in history)
    assert points == [(1, 0.4), (2, 0.5), (3, 0.45)]


def test_predictions_are_a_table_of_the_ui_and_are_replaced(tracker: Tracker) -> None:
    """A continued job replaces the rows; the case and the answer come first."""
    with tracker.job(job_facts()) as job, job.arm("rag", ARM) as arm:
        assert arm.log_predictions(predictions())
        assert arm.log_predictions(predictions((1, 1, 1, 1)))
    table = json.loads(tracker.read_text(arm.run_id, "predictions.json"))
    assert table["columns"][:3] == ["case", "answer", "truth"]
    assert table["data"][0][:2] == ["000000000012 Q1", 1]
    assert len(table["data"]) == 4
    logged = json.loads(tracker.run(arm.run_id).data.tags["mlflow.loggedArtifacts"])
    assert logged == [{"path": "predictions.json", "type": "table"}]


def test_a_program_comes_back_by_its_run(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`runs:/<id>/program` loads what was logged, and a second logging replaces it."""
    with tracker.job(job_facts()) as job:
        for seed in (1, 2):
            assert job.log_program(saved(tmp_path / "program", seed=seed))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
    program = load_program(f"runs:/{job.run_id}/program")
    assert (program.variant, program.manifest.seed) == ("full", 2)


def test_rows_of_people_stay_off_a_remote_server(remote: Tracker, tmp_path: Path) -> None:
    """No predictions and no program that may hold answers of real people; the run says so."""
    with remote.job(job_facts()) as job:
        assert not job.log_predictions(predictions())
        assert not job.log_program(saved(tmp_path / "a", demos_hold_survey_data=True))
        assert not job.log_program(saved(tmp_path / "b", instructions_saw_survey_data=True))
    assert files(remote, job.run_id) == {"config.json", "details.json"}
    tags = remote.run(job.run_id).data.tags
    assert {"kept_back.predictions", "kept_back.program"} <= tags.keys()


def test_a_program_without_rows_goes_to_a_remote_server(remote: Tracker, tmp_path: Path) -> None:
    """Synthetic demos and instructions that saw no survey are nobody's answers."""
    with remote.job(job_facts()) as job:
        assert job.log_program(saved(tmp_path / "a"))
    assert "program" in files(remote, job.run_id)


def test_rows_go_to_a_remote_server_when_allowed(remote: Tracker, tmp_path: Path) -> None:
    """`share_rows` lets both go."""
    allowed = new_tracker(tmp_path / "store", share_rows=True)
    with allowed.job(job_facts()) as job:
        assert job.log_predictions(predictions())
        assert job.log_program(saved(tmp_path / "a", demos_hold_survey_data=True))
    assert {"predictions.json", "program"} <= files(allowed, job.run_id)


def test_a_run_that_kept_rows_back_says_when_they_came(remote: Tracker, tmp_path: Path) -> None:
    """The same job again, with rows shared, adds them to its run and corrects what it says."""
    with remote.job(job_facts()) as job:
        job.log_predictions(predictions())
    allowed = new_tracker(tmp_path / "store", share_rows=True)
    assert allowed.remote
    with allowed.job(job_facts()) as again:
        assert again.log_predictions(predictions())
    assert again.run_id == job.run_id
    assert allowed.run(job.run_id).data.tags["kept_back.predictions"] == "no"


def test_a_note_is_the_description_of_the_run(tracker: Tracker) -> None:
    """The table of a job can be read on the run's page; a long one is cut."""
    with tracker.job(job_facts()) as job:
        job.note("| arm |\n" + "x" * 9000)
    note = tracker.run(job.run_id).data.tags["mlflow.note.content"]
    assert note.startswith("| arm |") and len(note) == 5000
