"""What is known of a job, an arm and a setting without a look at the store."""

import math

import pytest
from reported import arm, frame, setting

from evals.report_arms import Job


def test_an_arm_tells_what_it_is() -> None:
    """Compiled or not, and the folds that it was measured on."""
    plain, compiled = arm("full", frame(0.5)), arm("full compiled", frame(0.5))
    assert not plain.is_compiled
    assert compiled.is_compiled
    two = arm("rag", None, folds=("battery-1of5", "battery-2of5"))
    assert two.folds == ("battery-1of5", "battery-2of5")
    assert two.strategy == "battery"
    assert two.params["fold"] == "battery-1of5"


@pytest.mark.parametrize(("lost", "is_valid"), [(7, True), (8, False)])
def test_coverage_is_that_of_the_predictions(lost: int, is_valid: bool) -> None:
    """7 of 144 failed are 95.1 % answered, 8 are 94.4 %."""
    known = arm("full", frame(0.5, failed=dict.fromkeys(range(lost), "x")))
    assert known.coverage == pytest.approx(1 - lost / 144)
    assert known.is_valid is is_valid


def test_without_predictions_coverage_is_the_runs() -> None:
    """Where nothing is known of it, the arm is not called invalid."""
    assert not arm("full", None, metrics={"coverage": 0.9}).is_valid
    unknown = arm("full", None, metrics={})
    assert math.isnan(unknown.coverage)
    assert unknown.is_valid


def test_totals_are_over_all_folds() -> None:
    """One that lacks the number leaves none."""
    folds = ("battery-1of5", "battery-2of5")
    known = arm("full", None, folds=folds, metrics={"calls_needed": 5.0})
    assert known.total("calls_needed") == 10
    assert math.isnan(known.total("usd_needed"))


def test_a_setting_gives_its_arms_by_strategy_and_kind() -> None:
    """Strategies in the order of their strength, whatever the order of the arms."""
    topic = arm("rag", frame(0.5), folds=("topic-1of5",))
    warm = arm("mode", frame(0.5), folds=("topic-1of5",), knows="warm")
    question = arm("rag", frame(0.5), folds=("question-1of5",))
    known = setting(topic, warm, question)
    assert known.strategies == ["question", "topic"]
    assert known.of("topic") == [topic, warm]
    assert known.of("topic", "cold") == [topic]
    assert known.of("topic", "warm") == [warm]
    assert known.of("battery") == []


def test_a_job_without_details_has_an_empty_manifest() -> None:
    """And was not read on the testset as far as is known."""
    bare = Job("f" * 32, "bare")
    assert bare.manifest == {}
    assert bare.test_reads == []
    assert Job("f" * 32, "x", table="reading 2 of this testset").test_reads == [2]
