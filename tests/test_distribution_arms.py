"""Arms that answer with distributions: what they ask, what a run makes of them, saving, refusal."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.teleprompt import BootstrapFewShot
from jobs import Stopping, answered_by, living_in, small_job
from people import case, prompt_of, reply, scripted

from evals.baselines import BASELINES, SAVED, build_baseline
from evals.baselines.distributional import SingleLogprobs, SingleSamples, SingleVerbalised
from evals.estimate import benchmark_cost
from evals.past_runs import arms_of, load_predictions, run_summary
from evals.probabilistic import log_loss
from evals.running import run_arms
from evals.study import Study, build_arm, open_study
from evals.tracking import Tracker
from optimize.compile_metrics import log_score
from optimize.demo_rendering import add_labeled_demos, check_demos, demo_counts
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.loading import load_program, save_program
from valuesim_dspy.program import ValueSim

ARMS = {
    "single-samples": SingleSamples,
    "single-verbalised": SingleVerbalised,
    "single-logprobs": SingleLogprobs,
}


@pytest.fixture(scope="module")
def study() -> Iterator[Study]:
    """A small study of synthetic people, its cache in memory."""
    with open_study(small_job(), cache=ResponseCache()) as opened:
        yield opened


@pytest.mark.parametrize("name", ARMS)
def test_they_are_cold_arms_that_ask_a_model_and_can_be_saved(name: str) -> None:
    """One line in the registry, one among what is saved; their predictions carry probabilities."""
    line = BASELINES[name]
    assert (line.knows, line.uses_lm) == ("cold", True)
    assert SAVED[name] is ARMS[name] and ARMS[name].kind == name
    assert ARMS[name].gives_probabilities


@pytest.mark.parametrize("name", ["single-samples", "single-verbalised"])
def test_the_embedded_model_gives_a_distribution_over_all_codes(study: Study, name: str) -> None:
    """Over the question's codes in their order, with a sum of 1 and the answer on top."""
    arm = build_arm(study, name)
    for example in study.examples("dev")[:4]:
        found = arm(case=example.case)
        shares = found.probabilities
        assert tuple(shares) == example.case.question.codes
        assert sum(shares.values()) == pytest.approx(1)
        assert shares[found.answer] == pytest.approx(max(shares.values()))
        assert found.decision == "direct" and found.status == "answered" and found.analysis


def test_the_embedded_model_s_tokens_are_refused_before_the_first_call(study: Study) -> None:
    """It has none: the arm is not built, and nothing was asked."""
    engine = Stopping()
    with (
        answered_by(engine),
        pytest.raises(ConfigError, match="no log-probabilities"),
    ):
        build_arm(study, "single-logprobs")
    assert engine.asked == 0


def test_they_read_what_the_full_information_arm_reads() -> None:
    """The same facts, history, question and options; only what is asked for differs."""
    with scripted([reply(1)]) as engine:
        ValueSim("single")(case=case())
    told = prompt_of(engine.requests[0]).split("[[ ## facts ## ]]\n")[-1].split("\n\nRespond")[0]
    chances = {"analysis": "So.", "probabilities": {"1": 1}}
    for arm, given in ((SingleSamples(), [reply(1)] * 10), (SingleVerbalised(), [chances] * 2)):
        with scripted(given) as engine:
            arm(case=case())
        assert told in prompt_of(engine.requests[0])


def test_the_estimate_counts_both_orders(study: Study) -> None:
    """Ten calls a case for samples, two for words and for tokens."""
    examples = study.examples("dev")[:3]
    for kind, calls in ((SingleSamples, 10), (SingleVerbalised, 2), (SingleLogprobs, 2)):
        assert benchmark_cost(kind(), examples).calls[1] == calls * 3


def test_a_saved_verbalised_arm_answers_as_before(study: Study, tmp_path: Path) -> None:
    """Demos are text; instructions come back; the arm is bound to nothing."""
    arm: Any = build_arm(study, "single-verbalised")
    fields = ("facts", "history", "question", "options", "analysis")
    arm.direct.probabilities.demos = [dict.fromkeys(fields, "x") | {"probabilities": '{"1": 100}'}]
    folder = save_program(arm, tmp_path / "arm", study.manifest(arm.kind, arm.kind))
    loaded = load_program(folder, build=build_baseline)
    assert loaded.direct.probabilities.demos == arm.direct.probabilities.demos
    asked = study.examples("dev")[0].case
    assert loaded(case=asked).probabilities == arm(case=asked).probabilities


@pytest.mark.parametrize("name", ["single-samples", "single-verbalised"])
def test_they_are_compiled_from_traces_and_scored_by_log_score(
    study: Study, name: str, tmp_path: Path
) -> None:
    """Demos are texts and codes of one call each; they are sent, saved and loaded again."""
    arm: Any = build_arm(study, name)
    compiler = BootstrapFewShot(
        metric=lambda *_: True, max_bootstrapped_demos=2, max_labeled_demos=0
    )
    with dspy.context(lm=study.task_lm), contextlib.redirect_stdout(io.StringIO()):
        compiled = compiler.compile(arm, trainset=study.examples("train"))
        check_demos(compiled)
        example = study.examples("dev")[0]
        found = compiled(case=example.case)
    assert 0 < log_score(example, found) <= 1
    [predictor] = compiled.predictors()
    assert len(predictor.demos) == 2
    folder = save_program(compiled, tmp_path / name, study.manifest(name, name))
    assert len(load_program(folder, build=build_baseline).predictors()[0].demos) == 2


def test_no_demo_of_chances_is_rendered_from_an_answer_alone(study: Study) -> None:
    """One answer is no distribution: all chances on it would teach the model to be certain."""
    verbalised, samples = (build_arm(study, f"single-{name}") for name in ("verbalised", "samples"))
    examples = study.examples("train")[:2]
    assert add_labeled_demos(verbalised, examples) == 0 and demo_counts(verbalised) == {}
    assert add_labeled_demos(samples, examples) == 1


@pytest.mark.slow
def test_a_run_calibrates_on_the_valset_and_prints_both(tmp_path: Path) -> None:
    """The table of distributions follows the main one; the arm's run has its calibrated scores.

    Only the arm that gives probabilities is measured on the valset.
    """
    with living_in(tmp_path):
        engine = Stopping()
        with answered_by(engine):
            config = small_job(protocol={"dev": 4, "val": 3})
            run_id, table = run_arms(config, ["single-verbalised", "single"], "dev")
        main, spread = table.split("## Answers as distributions: cold arms, devset")
        assert "| single " in main and "| single " not in spread
        assert "one draw a person" in spread and "temperature" in spread
        tracker = Tracker()
        assert tracker.read_text(run_id, "table.md") == table
        found = {run_summary(tracker, arm)["name"]: arm for arm in arms_of(tracker, run_id)}
        metrics = run_summary(tracker, found["single-verbalised"])["metrics"]
        frame = load_predictions(tracker, found["single-verbalised"])
        assert metrics["log_loss"] == pytest.approx(log_loss(frame), abs=1e-4)
        assert metrics["temperature"] > 0 and "log_loss_calibrated" in metrics
        assert sum(json.loads(frame["probabilities"].iloc[0]).values()) == pytest.approx(1)
        plain = run_summary(tracker, found["single"])["metrics"]
        assert "temperature" not in plain and "log_loss" not in plain
        with open_study(config, cache=ResponseCache()) as study:
            cases = {role: len(study.examples(role)) for role in ("dev", "val")}
        asked = metrics["calls_needed"] + plain["calls_needed"]
        asked += run_summary(tracker, found["rag"])["metrics"]["calls_needed"]
        assert engine.asked <= asked + 2 * cases["val"]
        assert engine.asked > asked
