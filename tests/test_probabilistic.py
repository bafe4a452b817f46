"""Scores of distributions: by hand, and against scikit-learn and SciPy."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wasserstein_distance
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as reference_log_loss

from evals.metrics import METRICS, score_frame
from evals.probabilistic import (
    FLOOR,
    PROBABILISTIC,
    brier,
    distributions,
    ece,
    log_loss,
    read_places,
    reliability_table,
    wasserstein_individual,
    with_probabilities,
)
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.survey.codebook import load_codebook

CODEBOOK = load_codebook()
CODES = (1, 2, 3, 4)


def scored(*rows: tuple[str, int, dict[int, float] | None]) -> pd.DataFrame:
    """Score cases of (question, truth, distribution); None is a case that failed."""
    outcomes = [
        Outcome(
            f"p{number}",
            question,
            truth,
            max(told, key=lambda code: told[code]) if told else None,
            "answered" if told else "failed",
            probabilities=told or {},
        )
        for number, (question, truth, told) in enumerate(rows)
    ]
    return score_frame(outcomes, CODEBOOK)


def drawn(cases: int = 400, *, seed: int = 1, heat: float = 1.0) -> pd.DataFrame:
    """Return cases of one question whose truths follow distributions, told at some heat."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet([1.0] * 4, size=cases) * 0.95 + 0.0125
    told = shares**heat / (shares**heat).sum(axis=1, keepdims=True)
    truths = [int(rng.choice(CODES, p=row)) for row in shares]
    return scored(
        *(
            ("Q69", truth, dict(zip(CODES, map(float, row), strict=True)))
            for truth, row in zip(truths, told, strict=True)
        )
    )


def matrix(frame: pd.DataFrame) -> np.ndarray:
    """Return cases by options."""
    return np.array([list(told.values()) for told in distributions(frame)])


# Q69: codes 1 to 4, 4 is least. Truth 1 with 0.5 and truth 4 with 0.1.
TWO = (
    ("Q69", 1, {1: 0.5, 2: 0.5, 3: 0.0, 4: 0.0}),
    ("Q69", 4, {1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1}),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("log_loss", -(math.log(0.5) + math.log(0.1)) / 2),
        ("brier", ((0.25 + 0.25) + (0.16 + 0.09 + 0.04 + 0.81)) / 2),
        ("wasserstein_individual", (0.5 / 3 + (0.4 * 1 + 0.3 * 2 / 3 + 0.2 / 3)) / 2),
        # one answer of confidence 0.5, right; one of 0.4, wrong: two bins of one case
        ("ece", (abs(1 - 0.5) + abs(0 - 0.4)) / 2),
    ],
)
def test_two_cases_score_as_worked_out_by_hand(name: str, expected: float) -> None:
    """Each metric gives the number that the two cases above give on paper."""
    assert METRICS[name].compute(scored(*TWO)) == pytest.approx(expected)


@pytest.mark.parametrize("metric", PROBABILISTIC, ids=lambda metric: metric.name)
def test_arms_without_probabilities_have_none_of_these(metric: Any) -> None:
    """NaN, never 0: also for tables of before there were any, and where all cases failed."""
    without = score_frame([Outcome("a", "Q69", 1, 1, "answered")], CODEBOOK)
    assert math.isnan(metric.compute(without))
    assert math.isnan(metric.compute(without.drop(columns=["probabilities", "places"])))
    assert math.isnan(metric.compute(scored(("Q69", 1, None))))
    assert metric.higher_is_better is False and metric.what.endswith(".")


@pytest.mark.parametrize("metric", PROBABILISTIC, ids=lambda metric: metric.name)
def test_failures_are_left_to_coverage(metric: Any) -> None:
    """A case without a distribution changes none of the scores."""
    assert metric.compute(scored(*TWO, ("Q70", 1, None))) == metric.compute(scored(*TWO))


@pytest.mark.parametrize("metric", PROBABILISTIC, ids=lambda metric: metric.name)
def test_certainty_of_the_truth_is_best(metric: Any) -> None:
    """All on the truth scores 0, all on the far end the most."""
    sure, wrong = {1: 1.0, 2: 0.0, 3: 0.0, 4: 0.0}, {1: 0.0, 2: 0.0, 3: 0.0, 4: 1.0}
    assert metric.compute(scored(("Q69", 1, sure))) == pytest.approx(0, abs=1e-12)
    most = {"log_loss": -math.log(FLOOR), "brier": 2, "wasserstein_individual": 1, "ece": 1}
    assert metric.compute(scored(("Q69", 1, wrong))) == pytest.approx(most[metric.name])


def test_log_loss_and_brier_are_scikit_learn_s() -> None:
    """On 400 cases none of which is below the floor."""
    frame = drawn()
    truths, shares = frame["truth"].astype(int).to_numpy(), matrix(frame)
    assert log_loss(frame) == pytest.approx(reference_log_loss(truths, shares, labels=CODES))
    squares = ((shares - (truths[:, None] == np.array(CODES))) ** 2).sum(axis=1).mean()
    assert brier(frame) == pytest.approx(squares)
    two = scored(*(("Q7", 1 + n % 2, {1: 0.1 + n / 10, 2: 0.9 - n / 10}) for n in range(8)))
    is_first = (two["truth"].astype(int) == 1).to_numpy()
    reference = brier_score_loss(is_first, matrix(two)[:, 0])
    assert brier(two) == pytest.approx(2 * reference)


def test_uniform_guesses_have_known_scores() -> None:
    """Log K in log-loss, 1 - 1/K in Brier score."""
    frame = scored(*(("Q69", code, dict.fromkeys(CODES, 0.25)) for code in CODES))
    assert log_loss(frame) == pytest.approx(math.log(4))
    assert brier(frame) == pytest.approx(0.75)


def test_the_individual_distance_is_scipy_s() -> None:
    """Of a weighted distribution from one point, case by case, in lengths of the scale."""
    frame = drawn(50)
    places = read_places(frame["places"].iloc[0])
    assert places == {4: 0, 3: pytest.approx(1 / 3), 2: pytest.approx(2 / 3), 1: 1}
    reference = [
        wasserstein_distance([places[code] for code in told], [place], list(told.values()))
        for told, place in zip(distributions(frame), frame["truth_place"], strict=True)
    ]
    assert wasserstein_individual(frame) == pytest.approx(np.mean(reference))


def test_a_point_answer_s_distance_is_its_error() -> None:
    """All on one code: the mean distance is the nMAE."""
    answers = (1, 2, 4, 3)
    frame = scored(
        *(
            ("Q69", truth, {code: float(code == answer) for code in CODES})
            for truth, answer in zip((1, 4, 2, 3), answers, strict=True)
        )
    )
    assert wasserstein_individual(frame) == pytest.approx(METRICS["nmae"].compute(frame))


def test_what_is_off_the_scale_has_no_distance() -> None:
    """Q119's 0 is off the scale: as a truth it is left out, as a part the rest counts alone."""
    part = scored(("Q119", 1, {0: 0.5, 1: 0.25, 2: 0.0, 3: 0.0, 4: 0.25}))
    assert wasserstein_individual(part) == pytest.approx(0.5)
    for question, truth, told in (
        ("Q119", 0, {0: 0.5, 1: 0.5, 2: 0.0, 3: 0.0, 4: 0.0}),
        ("Q119", 1, {0: 1.0, 1: 0.0, 2: 0.0, 3: 0.0, 4: 0.0}),
        ("Q111", 1, {1: 0.5, 2: 0.5, 3: 0.0}),
    ):
        assert math.isnan(wasserstein_individual(scored((question, truth, told))))


def test_calibration_error_is_the_gap_of_scikit_learn_s_curve() -> None:
    """Bin by bin the same means; their gaps, weighted by cases, are the error."""
    frame = drawn(heat=2.0)
    confidence = matrix(frame).max(axis=1)
    accuracy, told = calibration_curve(frame["correct"], confidence, n_bins=10)
    table = reliability_table(frame)
    assert table["confidence"].tolist() == pytest.approx(told.tolist())
    assert table["accuracy"].tolist() == pytest.approx(accuracy.tolist())
    assert table["cases"].sum() == len(frame)
    weights = table["cases"].to_numpy() / len(frame)
    assert ece(frame) == pytest.approx(float((np.abs(accuracy - told) * weights).sum()))


def test_honest_probabilities_have_a_small_error() -> None:
    """Truths drawn from the probabilities told; sharpened ones have a larger error."""
    honest, bold = drawn(3000), drawn(3000, heat=3.0)
    assert ece(honest) < 0.03 < 0.15 < ece(bold)
    assert log_loss(honest) < log_loss(bold) and brier(honest) < brier(bold)


def test_the_bins_are_of_equal_width_and_hold_every_case() -> None:
    """A confidence of 0.5 stands in the bin up to 0.5, one of 1 in the last."""
    table = reliability_table(scored(*TWO, ("Q69", 1, {1: 1.0, 2: 0.0, 3: 0.0, 4: 0.0})))
    assert table[["low", "high"]].to_numpy().ravel() == pytest.approx([0.3, 0.4, 0.4, 0.5, 0.9, 1])
    assert table["cases"].tolist() == [1, 1, 1]
    assert reliability_table(scored(("Q69", 1, None))).empty


def test_a_table_s_cells_are_json_and_places_only_where_there_is_an_order() -> None:
    """Nominal and binary questions have no places; codes off the scale have none either."""
    frame = scored(
        *TWO,
        ("Q111", 1, {1: 1.0}),
        ("Q7", 1, {1: 1.0}),
        ("Q119", 1, {1: 1.0}),
        ("Q56", 2, {2: 1.0}),
    )
    assert json.loads(frame["probabilities"].iloc[0]) == {"1": 0.5, "2": 0.5, "3": 0.0, "4": 0.0}
    assert frame["places"].tolist()[2:4] == ["", ""] and read_places("") == {}
    assert set(read_places(frame["places"].iloc[4])) == {1, 2, 3, 4}
    assert read_places(frame["places"].iloc[5]) == {2: 0.0, 3: 0.5, 1: 1.0}
    assert len(with_probabilities(frame)) == len(frame)
