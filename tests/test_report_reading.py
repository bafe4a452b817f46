"""What a report reads back: arms of one setting together, everything else apart."""

from pathlib import Path

import pandas as pd
import pytest
from reported import CONFIG, QUESTIONS, SURVEY, frame, full_job, log_arm, start, store

from evals.report_arms import Evidence
from evals.report_reading import read_evidence
from evals.tracking import Tracker
from valuesim_dspy.errors import MissingDataError

pytestmark = pytest.mark.slow


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    """A new store."""
    return store(tmp_path / "mlruns")


def labels(evidence: Evidence) -> list[list[str]]:
    """Return the labels of each setting's arms."""
    return [[arm.label for arm in setting.arms] for setting in evidence.settings]


def test_a_job_stands_for_its_arms(tracker: Tracker) -> None:
    """They come in the order in which they ran, with their predictions and their job."""
    run = full_job(tracker)
    evidence = read_evidence(tracker, [run])
    arms = ["rag", "rag compiled", "single", "full", "full compiled", "country-mode"]
    assert labels(evidence) == [arms]
    (setting,) = evidence.settings
    assert setting.strategies == ["battery"]
    assert [arm.label for arm in setting.of("battery", "warm")] == ["country-mode"]
    assert len(setting.of("battery", "cold")) == 5
    assert setting.arms[0].job.run_id == run
    assert setting.arms[0].job.config == CONFIG
    pd.testing.assert_series_equal(
        setting.arms[0].frame["correct"], frame(0.45, seed=1)["correct"], check_names=False
    )
    assert setting.arms[0].frame["truth_place"].dtype == float


def test_an_arm_can_be_given_alone(tracker: Tracker) -> None:
    """Its job's config is known all the same, and no other arm of the job comes along."""
    with start(tracker) as job:
        log_arm(job, "rag", frame(0.4))
        one = log_arm(job, "full", frame(0.5))
    evidence = read_evidence(tracker, [one, one])
    assert labels(evidence) == [["full"]]
    assert evidence.settings[0].arms[0].job.config == CONFIG


def test_folds_of_one_kind_are_pooled(tracker: Tracker) -> None:
    """The predictions of five folds are one table; the names of an ablation's parts are gone."""
    with start(tracker, subject="ablation") as job:
        for fold, questions in ((1, QUESTIONS[:3]), (2, QUESTIONS[3:])):
            table = frame(0.5, questions=questions)
            log_arm(job, f"battery {fold}: full", table, fold=f"battery-{fold}of5")
        log_arm(job, "question 1: full", frame(0.5), fold="question-1of5")
    (setting,) = read_evidence(tracker, [job.run_id]).settings
    assert [(arm.strategy, arm.label) for arm in setting.arms] == [
        ("question", "full"),
        ("battery", "full"),
    ]
    assert setting.arms[1].folds == ("battery-1of5", "battery-2of5")
    assert set(setting.arms[1].frame["question"]) == set(QUESTIONS)
    assert len(setting.arms[1].frame) == len(setting.arms[0].frame)


def test_an_arm_without_predictions_is_known_by_its_run(tracker: Tracker) -> None:
    """Where one fold of several has none, none are taken: half an arm is no arm."""
    with start(tracker) as job:
        log_arm(job, "rag", None, metrics={"accuracy": 0.4, "coverage": 1.0})
        log_arm(job, "full", frame(0.5))
        log_arm(job, "full ", None, fold="battery-2of5", metrics={"coverage": 0.5})
    rag, full, other = read_evidence(tracker, [job.run_id]).settings[0].arms
    assert rag.frame is None
    assert rag.is_valid
    assert full.frame is not None
    assert other.frame is None
    assert not other.is_valid


def test_two_arms_of_one_name_are_told_apart(tracker: Tracker) -> None:
    """By what differs, such as the embedder of RAG; else by their runs."""
    runs = []
    for embedder in ("lexical", "semantic", "semantic"):
        with start(tracker, identity=f"{embedder}{len(runs)}") as job:
            table = frame(0.4, seed=len(runs))
            runs.append(log_arm(job, "rag", table, embedder=embedder))
    (found,) = labels(read_evidence(tracker, runs))
    assert found == [
        "rag (lexical)",
        f"rag (semantic, run {runs[1][:8]})",
        f"rag (semantic, run {runs[2][:8]})",
    ]


@pytest.mark.parametrize(
    "changed", [{"split": "dev ffffffff"}, {"task_lm": "openai/other"}, {"split": "test 0123abcd"}]
)
def test_what_was_not_measured_alike_stands_apart(
    tracker: Tracker, changed: dict[str, str]
) -> None:
    """Other people, another model, another set: settings of their own, the testset first."""
    with start(tracker) as job:
        log_arm(job, "rag", frame(0.4))
    with start(tracker, identity="other") as other:
        log_arm(other, "rag", frame(0.4), **changed)
    settings = read_evidence(tracker, [job.run_id, other.run_id]).settings
    assert [len(setting.arms) for setting in settings] == [1, 1]
    assert len({setting.title for setting in settings}) == 2
    if "test" in changed.get("split", ""):
        assert [setting.role for setting in settings] == ["test", "dev"]


def test_another_protocol_is_another_setting(tracker: Tracker) -> None:
    """Another number of targets is other cases; another fold of the same protocol is not."""
    drawn = dict(CONFIG["protocol"])
    jobs = []
    for place, changes in enumerate(({}, {"fold": 2}, {"targets": 2})):
        config = {**CONFIG, "protocol": drawn | changes}
        with start(tracker, identity=str(place), config=config) as job:
            fold = f"battery-{changes.get('fold', 1)}of5"
            log_arm(job, "rag", frame(0.4), fold=fold)
            jobs.append(job.run_id)
    settings = read_evidence(tracker, jobs).settings
    assert [setting.arms[0].folds for setting in settings] == [
        ("battery-1of5", "battery-2of5"),
        ("battery-1of5",),
    ]
    assert "at most 2 targets" in settings[1].title


def test_arms_of_other_kinds_of_jobs_are_no_arms_of_the_first_table(tracker: Tracker) -> None:
    """A learning curve's points and perturbed questions are kept as what they are."""
    runs = []
    for subject in ("history", "robustness", "contamination"):
        with start(tracker, subject=subject) as job:
            log_arm(job, "rag", frame(0.4))
            job.log_text(f"the table of {subject}", "table.md")
            job.log_json({"points": [], "differences": []}, "curve.json")
            runs.append(job.run_id)
    evidence = read_evidence(tracker, runs)
    assert evidence.settings == ()
    assert [job.subject for job in evidence.jobs] == ["history", "robustness", "contamination"]
    assert [bool(job.curve) for job in evidence.jobs] == [True, False, False]
    assert evidence.jobs[1].table == "the table of robustness"


def test_a_compile_job_is_not_taken_for_a_history(tracker: Tracker) -> None:
    """The tag that tells the subject of `evals` is the variant's name in `optimize`."""
    tags = {**SURVEY, "variant": "history"}
    with start(tracker, command="optimize", tags=tags) as job:
        log_arm(job, "rag", frame(0.4))
    assert labels(read_evidence(tracker, [job.run_id])) == [["rag"]]


def test_readings_of_the_testset_are_found_where_they_were_printed(tracker: Tracker) -> None:
    """Each table says how often it had been read; lines may be wrapped."""
    with start(tracker) as job:
        log_arm(job, "rag", frame(0.4), split="test 0123abcd")
        job.log_text("- reading 3 of this testset\n\n- reading 12 of this\n  testset\n", "table.md")
    assert read_evidence(tracker, [job.run_id]).jobs[0].test_reads == [3, 12]


def test_a_job_that_wrote_little_is_read_all_the_same(tracker: Tracker) -> None:
    """Neither table nor details nor protocol are needed."""
    with start(tracker, config={"name": "bare"}, details={}) as job:
        log_arm(job, "rag", frame(0.4))
    (setting,) = read_evidence(tracker, [job.run_id]).settings
    assert setting.arms[0].job.table == ""
    assert setting.arms[0].job.manifest == {}
    assert "all targets" in setting.title


def test_an_unknown_run_is_said(tracker: Tracker) -> None:
    """One clear line, and no report of nothing."""
    with pytest.raises(MissingDataError, match="there is no run"):
        read_evidence(tracker, ["0" * 32])
    with start(tracker) as job:
        pass
    with pytest.raises(MissingDataError, match="no arms"):
        read_evidence(tracker, [job.run_id])


def test_a_baseline_measured_again_is_one_arm(tracker: Tracker) -> None:
    """Two compile seeds: the same RAG as is, and two programs, which are told apart."""
    runs = []
    for seed in (1, 2):
        with start(tracker, identity=str(seed)) as job:
            log_arm(job, "rag", frame(0.4))
            log_arm(job, "rag compiled", frame(0.5, seed=seed))
            runs.append(job.run_id)
    (found,) = labels(read_evidence(tracker, runs))
    assert found[0] == "rag"
    assert len(found) == 3
    assert all(label.startswith("rag compiled (run ") for label in found[1:])
    assert found[1] != found[2]
