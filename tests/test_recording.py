from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from jobs import small_job
from stores import new_tracker

from evals.benchmark import Result, run_benchmark
from evals.intervals import paired_difference
from evals.job_facts import ARM_PARAMS, describe_job
from evals.metrics import METRICS
from evals.past_runs import load_predictions, run_summary
from evals.recording import arm_run, measure, result_metrics
from evals.study import Study, build_arm, open_study
from evals.tracking import Tracker
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.usage import Usage

COSTS = {f"{what}_{kind}" for what in ("calls", "tokens", "usd") for kind in ("needed", "paid")}
GAP = {"accuracy_minus_rag", "accuracy_minus_rag_low", "accuracy_minus_rag_high"}


@pytest.fixture(scope="module")
def study() -> Iterator[Study]:
    """A small study of synthetic people, its cache in memory."""
    with open_study(small_job(), cache=ResponseCache()) as opened:
        yield opened


@pytest.fixture(scope="module")
def full(study: Study) -> Result:
    """What `full` did on the devset."""
    return run_benchmark(study, "full", build_arm(study, "full"), "dev")


@pytest.fixture(scope="module")
def rag(study: Study) -> Result:
    """What RAG did on the devset."""
    return run_benchmark(study, "rag", build_arm(study, "rag"), "dev")


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """A tracker on a store of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return new_tracker(tmp_path / "store")


def unanswered(result: Result, count: int) -> Result:
    """Return the result as if the first cases had failed."""
    frame = result.frame.copy()
    rows = frame.index[:count]
    frame.loc[rows, ["status", "answered", "correct"]] = ["failed", False, 0.0]
    frame.loc[rows, "answer"] = pd.NA
    return replace(result, frame=frame)


# --- numbers ------------------------------------------------------------------------------------


def test_a_results_numbers_are_its_metrics_interval_and_costs(full: Result) -> None:
    """Every registered metric, the ends of the interval, and what was needed and paid."""
    numbers = result_metrics(full)
    ends = {"accuracy_low", "accuracy_high"}
    assert set(numbers) == {*METRICS, *ends, *COSTS, "seconds", "failed_calls"}
    assert numbers["accuracy"] == full.metrics["accuracy"]
    assert numbers["accuracy_low"] == full.accuracy.low <= numbers["accuracy"]
    assert numbers["calls_needed"] == full.needed.calls > 0
    assert numbers["tokens_paid"] == full.paid.tokens
    assert numbers["failed_calls"] == 0


def test_the_difference_to_the_reference_is_paired(full: Result, rag: Result) -> None:
    """It is the one that tables show, with its interval; the reference itself has none."""
    numbers = result_metrics(full, reference=rag)
    gap = paired_difference(full.frame, rag.frame, seed=0)
    assert numbers["accuracy_minus_rag"] == pytest.approx(gap.estimate)
    assert numbers["accuracy_minus_rag"] == pytest.approx(
        full.metrics["accuracy"] - rag.metrics["accuracy"]
    )
    ends = (numbers["accuracy_minus_rag_low"], numbers["accuracy_minus_rag_high"])
    assert ends == (gap.low, gap.high)
    assert GAP.isdisjoint(result_metrics(rag))


def test_too_few_answers_leave_no_score(full: Result, rag: Result) -> None:
    """Below the limit of coverage there is no accuracy and no difference, but there are costs."""
    invalid = unanswered(full, 2)
    assert not invalid.is_valid
    numbers = result_metrics(invalid, reference=rag)
    kept = {"coverage", "invalid_rate", "failed_rate", "failed_calls", "seconds"}
    assert set(numbers) == {*kept, *COSTS}
    assert numbers["coverage"] == pytest.approx(1 - 2 / len(full.frame))
    assert GAP.isdisjoint(result_metrics(full, reference=unanswered(rag, 2)))


def test_unknown_prices_are_left_out_and_never_zero(full: Result) -> None:
    """Dollars appear where every price is known."""
    unknown = Usage(calls=3, prompt_tokens=10, usd=None, unpriced_calls=3)
    numbers = result_metrics(replace(full, needed=unknown, paid=Usage()))
    assert "usd_needed" not in numbers
    assert numbers["usd_paid"] == 0


def test_estimated_tokens_are_told_from_reported_ones(full: Result) -> None:
    """Calls whose endpoint reported no tokens are counted, where there are any."""
    guessed = Usage(calls=3, prompt_tokens=10, estimated_calls=2)
    assert result_metrics(replace(full, needed=guessed))["calls_estimated"] == 2
    assert "calls_estimated" not in result_metrics(full)


# --- runs ---------------------------------------------------------------------------------------


def test_an_arms_run_keeps_params_and_predictions(
    study: Study, full: Result, rag: Result, tracker: Tracker
) -> None:
    """The same few params as every arm's, and the table of predictions as it was scored."""
    with tracker.job(describe_job(study, command="evals", subject="full")) as job:
        with arm_run(job, study, full, build_arm(study, "full")) as child:
            child.log_metrics(result_metrics(full, reference=rag))
        mode = run_benchmark(study, "mode", build_arm(study, "mode"), "dev")
        with arm_run(job, study, mode, build_arm(study, "mode")) as other:
            pass
    summary = run_summary(tracker, child.run_id)
    params = summary["params"]
    assert set(params) == set(ARM_PARAMS)
    assert (params["arm"], params["kind"], params["variant"]) == ("full", "valuesim", "full")
    assert (params["knows"], params["teleprompter"], params["people"]) == ("cold", "none", "6")
    assert summary["metrics"]["accuracy_minus_rag"] == pytest.approx(
        full.metrics["accuracy"] - rag.metrics["accuracy"], abs=1e-4
    )
    kept = load_predictions(tracker, child.run_id)
    pd.testing.assert_frame_equal(kept[list(full.frame)], full.frame, check_dtype=False)
    params = run_summary(tracker, other.run_id)["params"]
    assert (params["kind"], params["variant"], params["knows"]) == ("mode", "mode", "warm")


def test_a_compiled_arm_is_told_by_label_and_teleprompter(
    study: Study, full: Result, tracker: Tracker
) -> None:
    """Its run bears the label, its params the teleprompter."""
    compiled = replace(full, label="full compiled")
    with tracker.job(describe_job(study, command="optimize", subject="full")) as job:
        program = build_arm(study, "full")
        with arm_run(job, study, compiled, program, teleprompter="bootstrap") as child:
            pass
    summary = run_summary(tracker, child.run_id)
    assert summary["name"] == summary["params"]["arm"] == "full compiled"
    assert summary["params"]["teleprompter"] == summary["tags"]["teleprompter"] == "bootstrap"


def test_measuring_shows_progress_and_gives_the_benchmarks_result(
    study: Study, full: Result, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is `run_benchmark` with a line now and then on stderr, which names arm and set."""
    monkeypatch.setattr("valuesim_dspy.progress.PLAIN_SECONDS", 0.0)
    result = measure(study, "full", build_arm(study, "full"), "dev", label="full again")
    assert result.label == "full again"
    assert result.metrics == pytest.approx(full.metrics, nan_ok=True)
    printed = capsys.readouterr()
    total = len(full.frame)
    assert printed.out == ""
    assert printed.err.splitlines()[-1] == f"full again, devset: {total} of {total}"
