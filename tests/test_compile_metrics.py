"""Metrics for compiling, by name: a score without a trace, a bool with one."""

import math
from typing import Any

import dspy
import pytest
from people import example

from optimize.compile_metrics import COMPILE_METRICS, LEAST
from optimize.teleprompters import CommonOptions
from valuesim_dspy.ensemble import vote_shares
from valuesim_dspy.errors import ConfigError, PredictionError


@pytest.mark.parametrize("name", COMPILE_METRICS)
def test_a_metric_scores_without_and_decides_with_a_trace(name: str) -> None:
    """A float in [0, 1], and True or False where demos are made of it."""
    right = example("Q164", 5)
    story = right.case.profile.facts_text.replace("- ", "")
    told = dspy.Prediction(answer=5, backstory=story, probabilities={5: 1.0})
    assert COMPILE_METRICS[name](right, told) == 1.0
    assert COMPILE_METRICS[name](right, told, []) is True
    shares = {5: 0.25, 6: 0.75}
    off = dspy.Prediction(answer=6, backstory="You live somewhere.", probabilities=shares)
    value = COMPILE_METRICS[name](right, off)
    assert isinstance(value, float) and 0 <= value < 1
    assert COMPILE_METRICS[name](right, off, []) is False


def test_fidelity_needs_a_backstory() -> None:
    """A program without one cannot be compiled by it, and is told by what it can."""
    with pytest.raises(ConfigError, match=r"compile\.options\.metric.*exact"):
        COMPILE_METRICS["fidelity"](example(), dspy.Prediction(answer=1))


def scored(probabilities: Any, truth: int = 5) -> Any:
    """Return the log score of a distribution over a scale of ten."""
    told = dspy.Prediction(answer=1, probabilities=probabilities)
    return COMPILE_METRICS["log-score"](example("Q164", truth), told)


@pytest.mark.parametrize(
    ("p", "value"), [(1.0, 1.0), (0.1, 0.5), (0.5, 1 - math.log10(2) / 2), (LEAST, 0.0), (0, 0.0)]
)
def test_the_log_score_is_the_logarithm_between_a_floor_and_one(p: float, value: float) -> None:
    """Half of the way for one in ten, nothing for one in a hundred or less, all for certainty."""
    assert scored({5: p, 6: 1 - p}) == pytest.approx(value, abs=1e-12)
    assert 0.0 <= scored({5: p, 6: 1 - p}) <= 1.0


def test_the_log_score_prefers_the_honest_distribution() -> None:
    """Strictly proper above the floor: what is believed scores best on average, said as it is."""
    for believed in (0.2, 0.5, 0.7, 0.9):
        expected = {
            said: believed * scored({5: said, 6: 1 - said})
            + (1 - believed) * scored({5: said, 6: 1 - said}, truth=6)
            for said in (0.05, 0.2, 0.35, 0.5, 0.7, 0.8, 0.9, 0.95)
        }
        assert max(expected, key=lambda said: expected[said]) == believed


@pytest.mark.parametrize(
    ("probabilities", "makes_demo"),
    [
        ({5: 0.4, 6: 0.3, 7: 0.3}, True),
        ({5: 0.4, 6: 0.6}, False),
        ({5: 0.5, 6: 0.5}, False),
        ({6: 1.0}, False),
    ],
)
def test_a_demo_has_the_truth_as_its_single_best_guess(
    probabilities: dict[int, float], makes_demo: bool
) -> None:
    """With a trace; what is undecided is no example to follow."""
    told = dspy.Prediction(answer=5, probabilities=probabilities)
    assert COMPILE_METRICS["log-score"](example("Q164", 5), told, []) is makes_demo


def test_the_log_score_needs_probabilities() -> None:
    """A program without them is told which metrics it can be compiled by."""
    with pytest.raises(ConfigError, match=r"compile\.options\.metric.*no probabilities") as caught:
        COMPILE_METRICS["log-score"](example(), dspy.Prediction(answer=1))
    assert list(caught.value.allowed or ()) == ["exact", "closeness", "fidelity"]


@pytest.mark.parametrize(
    "probabilities",
    [{}, {5: 0.5}, {5: 1.5, 6: -0.5}, {5: float("nan")}, {5: "1"}, [1.0], "x", {5: 0.9, 6: 0.2}],
)
def test_what_is_no_distribution_fails_the_case(probabilities: Any) -> None:
    """It is not scored as if it were one, and ends no job."""
    with pytest.raises(PredictionError, match="no distribution"):
        scored(probabilities)


def test_an_ensemble_is_scored_by_its_votes() -> None:
    """More votes for the truth are a higher score, whatever the answer is."""
    question = example("Q164", 5).case.question
    votes: tuple[list[int], ...] = ([], [5], [5, 6], [5, 5], [5, 5, 5], [6, 6, 6])
    score = {tuple(given): scored(vote_shares(question, given)) for given in votes}
    ranked = [(6, 6, 6), (), (5, 6), (5,), (5, 5), (5, 5, 5)]
    assert sorted(score, key=lambda given: score[given]) == ranked


def test_the_option_takes_these_names() -> None:
    """Every metric can be named in a job, beside the job's own."""
    assert CommonOptions().metric == "job"
    for name in COMPILE_METRICS:
        assert CommonOptions.model_validate({"metric": name}).metric == name
