"""Temperature scaling: found again, never worse, and the order of options kept."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from test_probabilistic import TWO, drawn, matrix, scored

from evals.calibration import COLDEST, HOTTEST, Calibration, apply, calibrate, scaled
from evals.probabilistic import FLOOR, brier, distributions, ece, log_loss
from valuesim_dspy.errors import MissingDataError


@pytest.mark.parametrize("heat", [0.5, 1.0, 2.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(heat: float) -> None:
    """Truths follow p, p**heat is told: the temperature is about heat."""
    found = calibrate(drawn(3000, heat=heat))
    assert found.temperature == pytest.approx(heat, rel=0.12)
    assert found.cases == 3000
    assert found.log_loss_after <= found.log_loss_before


def test_it_is_the_least_log_loss() -> None:
    """The same temperature as a search over a plain formula gives, written another way."""
    frame = drawn(300, heat=2.0)
    logs = np.log(np.maximum(matrix(frame), FLOOR))
    truths = frame["truth"].astype(int).to_numpy() - 1

    def loss(temperature: float) -> float:
        told = log_softmax(logs / temperature, axis=1)
        return -float(told[np.arange(len(truths)), truths].mean())

    reference = minimize_scalar(loss, bounds=(0.2, 10), method="bounded")
    found = calibrate(frame)
    assert found.temperature == pytest.approx(reference.x, rel=1e-3)
    assert found.log_loss_after == pytest.approx(reference.fun, abs=1e-6)
    assert found.log_loss_before == pytest.approx(loss(1.0), abs=1e-9)
    assert found.log_loss_before == pytest.approx(log_loss(frame), abs=0.01)


def test_another_set_gets_better_and_its_answers_stay() -> None:
    """Fitted on one set and applied to another: honest again, the same code on top."""
    val, dev = drawn(2000, seed=1, heat=3.0), drawn(2000, seed=2, heat=3.0)
    found = calibrate(val)
    after = apply(dev, found)
    assert log_loss(after) < log_loss(dev) - 0.1
    assert brier(after) < brier(dev) and ece(after) < ece(dev) / 2
    assert after["answer"].tolist() == dev["answer"].tolist()
    for told, answer in zip(distributions(after), dev["answer"], strict=True):
        assert max(told, key=lambda code: told[code]) == answer
    assert log_loss(dev) == log_loss(
        drawn(2000, seed=2, heat=3.0)
    )  # the table given is not changed


def test_by_hand_a_temperature_of_two_takes_roots() -> None:
    """0.8 and 0.2 become 2/3 and 1/3; a temperature of 1/2 squares them."""
    assert scaled({1: 0.8, 2: 0.2}, 2.0) == pytest.approx({1: 2 / 3, 2: 1 / 3})
    assert scaled({1: 0.8, 2: 0.2}, 0.5) == pytest.approx({1: 16 / 17, 2: 1 / 17})


@given(
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=10).filter(lambda told: sum(told) > 0.1),
    temperature=st.floats(COLDEST, HOTTEST),
)
def test_scaled_probabilities_are_a_distribution_in_the_same_order(
    shares: list[float], temperature: float
) -> None:
    """They sum to 1, none is 0 unless it is too small for a number, and none overtakes another."""
    total = sum(shares)
    told = {code: share / total for code, share in enumerate(shares)}
    found = scaled(told, temperature)
    assert math.fsum(found.values()) == pytest.approx(1)
    for one in told:
        for other in told:
            if told[one] > told[other]:
                assert found[one] >= found[other]


def test_no_certainty_is_beyond_repair() -> None:
    """What was given no chance counts as the floor, so that a temperature can raise it."""
    frame = scored(*(("Q69", 1 + (n == 0), {1: 1.0, 2: 0.0, 3: 0.0, 4: 0.0}) for n in range(10)))
    found = calibrate(frame)
    assert found.temperature > 1.5
    raised = distributions(apply(frame, found))[0]
    # nine in ten were right: the best single temperature says so
    assert raised[1] == pytest.approx(0.9, abs=0.1) and raised[2] > FLOOR


def test_few_cases_keep_within_the_bounds() -> None:
    """Cases that are all right would have no end: the temperature stops at its bound."""
    sure = scored(*(("Q69", 1, {1: 0.6, 2: 0.4, 3: 0.0, 4: 0.0}) for _ in range(5)))
    found = calibrate(sure)
    assert COLDEST <= found.temperature < 0.1 and found.log_loss_after < found.log_loss_before


def test_cases_without_probabilities_are_left_as_they_are() -> None:
    """A failed case has nothing to scale; a set of such cases nothing to fit."""
    frame = scored(*TWO, ("Q70", 2, None))
    after = apply(frame, Calibration(2.0, 1.0, 0.9, 10))
    assert after["probabilities"].tolist()[2] == "" and calibrate(frame).cases == 2
    with pytest.raises(MissingDataError, match="no case of the valset"):
        calibrate(scored(("Q70", 2, None)))
