"""Metrics for compiling, by name: a score without a trace, a bool with one."""

import dspy
import pytest
from people import example

from optimize.compile_metrics import COMPILE_METRICS
from optimize.teleprompters import CommonOptions
from valuesim_dspy.errors import ConfigError


@pytest.mark.parametrize("name", COMPILE_METRICS)
def test_a_metric_scores_without_and_decides_with_a_trace(name: str) -> None:
    """A float in [0, 1], and True or False where demos are made of it."""
    right = example("Q164", 5)
    story = right.case.profile.facts_text.replace("- ", "")
    told = dspy.Prediction(answer=5, backstory=story)
    assert COMPILE_METRICS[name](right, told) == 1.0
    assert COMPILE_METRICS[name](right, told, []) is True
    off = dspy.Prediction(answer=6, backstory="You live somewhere.")
    value = COMPILE_METRICS[name](right, off)
    assert isinstance(value, float) and 0 <= value < 1
    assert COMPILE_METRICS[name](right, off, []) is False


def test_fidelity_needs_a_backstory() -> None:
    """A program without one cannot be compiled by it, and is told by what it can."""
    with pytest.raises(ConfigError, match=r"compile\.options\.metric.*exact"):
        COMPILE_METRICS["fidelity"](example(), dspy.Prediction(answer=1))


def test_the_option_takes_these_names() -> None:
    """Every metric can be named in a job, beside the job's own."""
    assert CommonOptions().metric == "job"
    for name in COMPILE_METRICS:
        assert CommonOptions.model_validate({"metric": name}).metric == name
