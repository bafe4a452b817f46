"""The numbers of a report are those of the metrics and intervals, and of nothing else."""

import math
from dataclasses import replace

import pandas as pd
import pytest
from reported import BOOK, PEOPLE, QUESTIONS, arm, frame, setting, usual

from evals.intervals import clustered_interval, paired_difference
from evals.metrics import METRICS
from evals.report_numbers import (
    arm_numbers,
    best_compiled_call,
    by_group,
    claim,
    failure_reasons,
    featured,
    headline,
    matching,
    question_variances,
    reference_of,
    setting_numbers,
    valuesim_name,
)

pytestmark = pytest.mark.slow


def row(numbers: pd.DataFrame, label: str) -> pd.Series:
    """Return the row of an arm."""
    (found,) = (line for _, line in numbers.iterrows() if line["arm"] == label)
    return found


def test_scores_are_those_of_the_metrics_with_their_intervals() -> None:
    """Accuracy over all cases, nMAE over those with an error, both drawn by respondent."""
    table = frame(0.6, failed={3: "no answer"})
    found = arm_numbers(arm("full", table), None)
    assert found["accuracy"] == pytest.approx(METRICS["accuracy"].compute(table))
    assert found["nmae"] == pytest.approx(METRICS["nmae"].compute(table))
    assert found["nmae_cases"] == METRICS["nmae_cases"].compute(table)
    assert found["failed_rate"] == pytest.approx(1 / len(table))
    middle = clustered_interval(table["correct"], table["respondent"], seed=0)
    assert (found["accuracy_low"], found["accuracy_high"]) == (middle.low, middle.high)
    error = clustered_interval(table["error"], table["respondent"], seed=0)
    assert (found["nmae_low"], found["nmae_high"]) == (error.low, error.high)
    assert (found["people"], found["questions"], found["cases"]) == (PEOPLE, 6, PEOPLE * 6)


def test_costs_are_a_case() -> None:
    """Tokens and calls that were needed, over the cases; dollars that are unknown stay so."""
    found = arm_numbers(arm("full", frame(0.6)), None)
    assert found["tokens_per_case"] == 900
    assert found["calls_per_case"] == 3
    assert math.isnan(found["usd"])


def test_differences_are_paired_and_to_rag() -> None:
    """As `paired_difference` gives them, in accuracy, in nMAE and crossed; to RAG as is."""
    known = usual()
    numbers = setting_numbers(known)
    rag, full = known.arms[0], known.arms[4]
    found = row(numbers, "full compiled")
    assert found["minus"] == "rag"
    for name, column in (("accuracy_minus", "correct"), ("nmae_minus", "error")):
        gap = paired_difference(full.frame, rag.frame, column=column, seed=0)
        ends = tuple(found[[name, f"{name}_low", f"{name}_high"]])
        assert ends == (gap.estimate, gap.low, gap.high)
    wide = paired_difference(full.frame, rag.frame, seed=0, crossed=True)
    assert found["accuracy_minus_crossed_low"] == wide.low
    assert found["accuracy_minus_crossed_high"] == wide.high
    assert math.isnan(row(numbers, "rag")["accuracy_minus"])


def test_warm_arms_are_compared_with_a_warm_one() -> None:
    """Never with RAG, which saw nobody's answers to the targets."""
    known = usual()
    numbers = setting_numbers(known)
    mode = row(numbers, "mode")
    assert mode["minus"] == "country-mode"
    gap = paired_difference(known.arms[6].frame, known.arms[5].frame, seed=0)
    assert mode["accuracy_minus"] == gap.estimate


def test_the_reference_is_rag_as_it_is() -> None:
    """Not a compiled one, and not one of another number of facts."""
    compiled, more = arm("rag compiled", frame(0.4)), arm("rag-10", frame(0.4))
    assert reference_of([compiled, more]) is None
    rag = arm("rag", frame(0.4))
    assert reference_of([compiled, more, rag]) is rag


def test_other_cases_are_not_compared() -> None:
    """Both scores stand, without a difference."""
    rag, full = arm("rag", frame(0.4)), arm("full", frame(0.5, questions=QUESTIONS[:4]))
    found = row(setting_numbers(setting(rag, full)), "full")
    assert found["accuracy"] > 0
    assert math.isnan(found["accuracy_minus"])
    assert "not told" in claim(full, rag)


def test_too_few_answers_are_no_score() -> None:
    """Below the least coverage there is neither a score nor a difference, also to the arm."""
    lost = frame(0.5, failed=dict.fromkeys(range(10), "no answer"))
    known = setting(arm("rag", lost), arm("full", frame(0.5)))
    numbers = setting_numbers(known)
    assert row(numbers, "rag")["state"].startswith("invalid: coverage 0.93")
    assert math.isnan(row(numbers, "rag")["accuracy"])
    assert math.isnan(row(numbers, "full")["accuracy_minus"])
    assert row(numbers, "full")["accuracy"] > 0


def test_coverage_just_below_the_limit_is_not_rounded_up_to_it() -> None:
    """0.9496 is not 0.95."""
    known = arm("rag", None, metrics={"coverage": 0.9496})
    assert arm_numbers(known, None)["state"] == "invalid: coverage 0.94"


def test_without_predictions_the_run_speaks() -> None:
    """Its own accuracy, interval and difference to RAG; of several folds nothing is pooled."""
    metrics = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "coverage": 1.0}
    metrics |= {"nmae": 0.2, "accuracy_minus_rag": 0.1, "accuracy_minus_rag_low": 0.05}
    rag = arm("rag", frame(0.4))
    found = arm_numbers(arm("full", None, metrics=metrics), rag)
    assert found["state"] == "no predictions"
    assert (found["accuracy"], found["accuracy_low"], found["nmae"]) == (0.5, 0.4, 0.2)
    assert (found["accuracy_minus"], found["accuracy_minus_low"]) == (0.1, 0.05)
    assert math.isnan(found["cases"])
    two = arm("full", None, metrics=metrics, folds=("battery-1of5", "battery-2of5"))
    assert math.isnan(arm_numbers(two, rag)["accuracy"])
    assert arm_numbers(two, rag)["questions"] == 2 * len(QUESTIONS)


def test_a_logged_difference_is_to_rag_alone() -> None:
    """A warm arm's run holds none to the country mode."""
    metrics = {"accuracy": 0.5, "coverage": 1.0, "accuracy_minus_rag": 0.1}
    mode = arm("country-mode", frame(0.4), knows="warm")
    found = arm_numbers(arm("mode", None, metrics=metrics, knows="warm"), mode)
    assert math.isnan(found["accuracy_minus"])


def test_the_variant_that_stands_for_valuesim_is_the_jobs() -> None:
    """The config's, where it was measured; else `full`."""
    known = usual()
    assert valuesim_name(known) == "full"
    job = known.arms[0].job
    other = replace(job, config={**job.config, "variant": "vote"})
    assert valuesim_name(setting(arm("vote", frame(0.5), job=other))) == "vote"
    assert valuesim_name(setting(arm("rag", frame(0.5), job=other))) == "full"
    assert headline(known)["ValueSim (full), compiled"] == ("full", True)


def test_few_arms_are_looked_at_closely() -> None:
    """Those of the first table, without compiled RAG where they are many; else the first."""
    chosen = [found.label for found in featured(usual(), "battery")]
    assert chosen == ["rag", "single", "full", "full compiled"]
    lone = setting(arm("placebo", frame(0.5)))
    assert [found.label for found in featured(lone, "battery")] == ["placebo"]
    warm = setting(arm("mode", frame(0.5), knows="warm"))
    assert [found.label for found in featured(warm, "battery")] == ["mode"]


def test_groups_come_with_their_sizes() -> None:
    """By country: two, the larger first, for each arm that is looked at."""
    groups = by_group(setting(arm("rag", frame(0.4)), arm("full", frame(0.5))), "country")
    assert list(groups["arm"]) == ["rag", "rag", "full", "full"]
    assert list(groups["group"]) == ["JPN", "BRA", "JPN", "BRA"]
    assert list(groups["people"]) == [16, 8, 16, 8]
    assert math.isnan(groups["accuracy"].iloc[1])
    japan = frame(0.4).query("country == 'JPN'")
    assert groups["accuracy"].iloc[0] == pytest.approx(japan["correct"].mean())


def test_a_variance_ratio_is_that_of_a_question() -> None:
    """Answers over truths, by their places on the scale; nominal questions have none."""
    table = frame(0.3)
    found = question_variances(setting(arm("full", table))).set_index("question")
    assert "Q152" not in found.index
    assert BOOK["Q152"].scale_kind == "nominal"
    own = table[table["question"] == "Q69"]
    ratio = own["answer_place"].var(ddof=0) / own["truth_place"].var(ddof=0)
    assert found.loc["Q69", "ratio"] == pytest.approx(ratio)
    assert found.loc["Q69", "people"] == PEOPLE
    few = question_variances(setting(arm("full", frame(0.3, people=9))))
    assert few["ratio"].isna().all()
    assert len(few) > 0


def test_reasons_of_failures_hold_nothing_of_a_case() -> None:
    """Questions, codes, keys and what is quoted are taken out; like reasons are counted."""
    failed = {
        0: "Q69: the answer '7' of 0003deadbeef is not one of 1, 2",
        7: "Q106: the answer '11' of 0007deadbeef is not one of 1, 2",
        9: "timeout " + "x" * 200,
    }
    known = setting(arm("rag", frame(0.4, failed=failed)), arm("full", frame(0.4)))
    found = failure_reasons(known)
    assert list(found["arm"]) == ["rag", "rag"]
    assert list(found["cases"]) == [2, 1]
    assert found["reason"].iloc[0] == "#: the answer ... of # is not one of #, #"
    assert len(found["reason"].iloc[1]) == 100


def test_a_claim_says_both_intervals_and_whether_one_leaves_out_zero() -> None:
    """A difference that is shown and one that is not; never more than that."""
    rag, good = arm("rag", frame(0.2, seed=1)), arm("full compiled", frame(0.9, seed=2))
    told = claim(good, rag)
    gap = paired_difference(good.frame, rag.frame, seed=0)
    assert f"{100 * gap.estimate:+.1f} points" in told
    assert f"[{100 * gap.low:.1f}, {100 * gap.high:.1f}] by respondent" in told
    assert "leaves out 0" in told
    assert "questions are drawn too" in told
    same = arm("full", rag.frame)
    assert "no difference is shown" in claim(same, rag)


def test_the_best_compiled_single_call_is_found() -> None:
    """Of those compiled, valid and of one call a case, the one that was right most often."""
    good, bad = arm("single compiled", frame(0.8)), arm("rag compiled", frame(0.3))
    panel, plain = arm("full compiled", frame(0.9)), arm("single", frame(0.9))
    assert best_compiled_call([bad, good, panel, plain]) == [good]
    assert best_compiled_call([panel, plain]) == []
    assert matching([bad, good, panel], "rag", True) == [bad]
