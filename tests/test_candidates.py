from pathlib import Path

import pytest
from champions import COMPILED, DRAWN, RIGHT, compiled, frame, half
from saving import edit
from stores import ARM, job_facts, new_tracker

from evals import tracking
from evals.baselines import RAG
from evals.past_runs import run_summary
from evals.tracking import Tracker
from optimize.candidates import Candidate, arm_run, read_candidate, rows_shared
from valuesim_dspy.errors import ConfigError, MissingDataError, ProgramStateError
from valuesim_dspy.loading import save_program
from valuesim_dspy.manifest import Manifest

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    """A tracker on a store of its own."""
    return new_tracker(tmp_path / "store")


def candidate(tracker: Tracker, run_id: str) -> Candidate:
    """Read a run as a candidate."""
    return read_candidate(tracker, arm_run(tracker, run_id, None))


def test_the_run_of_an_arm_is_that_arm(tracker: Tracker, tmp_path: Path) -> None:
    """An arm's run needs no name; RAG of the same job is another arm."""
    _, arm = compiled(tracker, tmp_path, RIGHT, rag=half())
    assert arm_run(tracker, arm, None)["run_id"] == arm


@pytest.mark.parametrize("named", [None, "facts-only", "facts-only compiled"])
def test_the_arm_of_a_job_can_be_named(tracker: Tracker, tmp_path: Path, named: str | None) -> None:
    """By default it is the variant that was compiled; with and without the word compiled."""
    job, arm = compiled(tracker, tmp_path, RIGHT, rag=half())
    assert arm_run(tracker, job, named)["run_id"] == arm


def test_a_wrong_name_is_told_the_right_ones(tracker: Tracker, tmp_path: Path) -> None:
    """Uncompiled arms are no candidates; a job that compiled nothing has none."""
    job, _ = compiled(tracker, tmp_path, RIGHT, rag=half())
    for name in ("full", "rag"):
        with pytest.raises(ConfigError, match=r"--arm.*allowed: facts-only compiled$"):
            arm_run(tracker, job, name)
    with tracker.job(job_facts("8" * 16)) as bare, bare.arm("rag", ARM):
        pass
    with pytest.raises(ConfigError, match="none: the job compiled nothing"):
        arm_run(tracker, bare.run_id, None)


def test_the_only_compiled_arm_needs_no_name(tracker: Tracker) -> None:
    """A job may have compiled a baseline alone."""
    params = ARM | {"teleprompter": "bootstrap"}
    with tracker.job(job_facts()) as job, job.arm("rag compiled", params) as arm:
        pass
    assert arm_run(tracker, job.run_id, None)["run_id"] == arm.run_id


def test_a_candidate_is_program_and_predictions(tracker: Tracker, tmp_path: Path) -> None:
    """Devset, program and what is told of it come from the run and the manifest."""
    job, arm = compiled(tracker, tmp_path, half(), rag=RIGHT)
    found = candidate(tracker, job)
    assert (found.run_id, found.job_id, found.name) == (arm, job, "facts-only compiled")
    assert found.devset == f"{'d' * 16}-{'f' * 16}-{'5' * 16}"
    assert found.frame["correct"].sum() == sum(half())
    assert found.about["accuracy"] == "0.5000"
    expected = {"variant": "facts-only", "knows": "cold", "evidence": "synthetic-machinery"}
    assert expected.items() <= found.about.items()
    assert set(found.about) >= {"devset", "program", "task_lm", "fold", "split", "teleprompter"}


def test_programs_are_told_apart_by_their_files(tracker: Tracker, tmp_path: Path) -> None:
    """The same files are the same program in another run; other files are another."""
    first = candidate(tracker, compiled(tracker, tmp_path, RIGHT, seed=1)[0])
    again = candidate(tracker, first.run_id)
    assert again.program == first.program and again.folder != first.folder
    other = candidate(tracker, compiled(tracker, tmp_path, RIGHT, seed=2)[0])
    assert other.program != first.program
    edit(again.folder, "program.json", lambda content: content.update(learned={"more": 1}))
    assert again.program != first.program


def test_devsets_differ_with_data_fold_and_split(tracker: Tracker, tmp_path: Path) -> None:
    """Each of the three draws another devset."""
    found = [candidate(tracker, compiled(tracker, tmp_path, RIGHT)[0]).devset]
    for seed, name in enumerate(("data", "fold", "split"), start=2):
        changed = {name: DRAWN[name] | {"digest": "0" * 16}}
        job, _ = compiled(tracker, tmp_path, RIGHT, seed=seed, **changed)
        found.append(candidate(tracker, job).devset)
    assert len(set(found)) == 4


def test_a_testset_run_is_refused(tracker: Tracker, tmp_path: Path) -> None:
    """The testset reports; before anything of it is read the run is refused."""
    job, _ = compiled(tracker, tmp_path, RIGHT, params={"split": "test 0123abcd"})
    with pytest.raises(ConfigError, match="testset, which reports and never selects"):
        candidate(tracker, job)


def test_a_baseline_is_no_candidate(tracker: Tracker, tmp_path: Path) -> None:
    """Compiled RAG is what champions are compared with."""
    known = Manifest(kind="rag", variant="rag", teleprompter="bootstrap")
    folder = save_program(RAG(), tmp_path / "rag", known)
    params = ARM | {"teleprompter": "bootstrap"}
    with tracker.job(job_facts()) as job, job.arm("rag compiled", params) as arm:
        arm.log_predictions(frame(RIGHT))
        arm.log_program(folder)
    with pytest.raises(ConfigError, match="this is a baseline"):
        candidate(tracker, arm.run_id)


def test_what_is_not_whole_is_missing_data(tracker: Tracker, tmp_path: Path) -> None:
    """No such run; no program; no predictions; still under way."""
    with pytest.raises(MissingDataError, match="there is no run"):
        arm_run(tracker, "0" * 32, None)
    bare, _ = compiled(tracker, tmp_path, RIGHT, seed=2, keeps_program=False)
    with pytest.raises(MissingDataError, match="MLflow has no program at runs:/"):
        candidate(tracker, bare)
    with (
        tracker.job(job_facts("9" * 16)) as job,
        job.arm("full compiled", COMPILED) as arm,
        pytest.raises(MissingDataError, match="has not ended well"),
    ):
        candidate(tracker, arm.run_id)


def test_a_run_that_is_no_arm_is_refused(tracker: Tracker) -> None:
    """A run that somebody else logged has no devset."""
    run_id = tracker.begin("foreign", {"valuesim.level": "other"})
    with pytest.raises(ConfigError, match="no arm of a job"):
        read_candidate(tracker, run_summary(tracker, run_id))


def test_a_program_kept_back_from_a_server_is_told(tracker: Tracker, tmp_path: Path) -> None:
    """The run says why it has none."""
    _, arm = compiled(tracker, tmp_path, RIGHT, keeps_program=False)
    tracker.set_tags(arm, {"kept_back.program": "yes"})
    with pytest.raises(MissingDataError, match="--share-rows"):
        candidate(tracker, arm)


def test_a_program_that_does_not_fit_this_code_is_no_candidate(
    tracker: Tracker, tmp_path: Path
) -> None:
    """What nobody could load is not registered."""
    _, arm = compiled(tracker, tmp_path, RIGHT)
    folder = tmp_path / "program-1"
    edit(folder, "manifest.json", lambda content: content.update(variant="of-tomorrow"))
    tracker.log_folder(arm, folder, "program")
    with pytest.raises(ProgramStateError, match="of-tomorrow"):
        candidate(tracker, arm)


@pytest.mark.parametrize("shared", [True, False])
def test_rows_are_shared_where_the_job_shared_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    """What a job was allowed to send to its server its promotion may send too; no job, nothing."""
    monkeypatch.setattr(tracking, "is_remote", lambda uri: True)
    tracker = new_tracker(tmp_path / "store")
    with tracker.job(job_facts(config={"share_rows": shared})) as job:
        pass
    assert rows_shared(tracker, job.run_id) is shared
    assert rows_shared(tracker, "") is False
