"""Numbers as text: signs, intervals, and a dash where there is none."""

import pytest

from evals.report_cells import ARMS, FIRST, group_accuracy, interval_text, lines, str_keys

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "form", "text"),
    [
        ((0.521, 0.48, 0.562), ".1f", "52.1 [48.0, 56.2]"),
        ((0.03, -0.021, 0.081), "+.1f", "+3.0 [-2.1, 8.1]"),
        ((-0.03, -0.081, 0.0), "+.1f", "-3.0 [-8.1, 0.0]"),
        ((-0.00001, -0.00002, 0.1), "+.1f", "+0.0 [0.0, 10.0]"),
        ((0.5, NAN, NAN), ".1f", "50.0"),
        ((NAN, NAN, NAN), ".1f", "-"),
    ],
)
def test_an_interval_is_written_out(
    values: tuple[float, float, float], form: str, text: str
) -> None:
    """A sign is for the estimate alone; nothing is -0.0; without ends the middle stands alone."""
    row = dict(zip(("x", "x_low", "x_high"), values, strict=True))
    assert interval_text(row, "x", form=form) == text


def test_a_scale_of_one_keeps_shares() -> None:
    """For nMAE, which is told in lengths of the scale."""
    row = {"x": 0.25, "x_low": 0.2, "x_high": 0.3}
    assert interval_text(row, "x", scale=1.0, form=".3f") == "0.250 [0.200, 0.300]"


def test_a_group_has_its_own_names_of_ends() -> None:
    """As `results_by` calls them."""
    assert group_accuracy({"accuracy": 0.5, "low": 0.4, "high": 0.6}) == "50.0 [40.0, 60.0]"
    assert group_accuracy({"accuracy": NAN, "low": NAN, "high": NAN}) == "-"


def test_states_stand_in_the_place_of_scores() -> None:
    """Missing, invalid, and from the run; the reference is named as such."""
    missing = {"strategy": "topic", "arm": "rag", "state": "missing"}
    invalid = missing | {"state": "invalid: coverage 0.90", "accuracy": NAN}
    known = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "minus": "rag"}
    kept = missing | known | {"state": "no predictions", "cases": NAN}
    told = lines([missing, invalid, kept], FIRST, "arm")
    assert [line[2] for line in told] == [
        "missing",
        "invalid: coverage 0.90",
        "50.0 [40.0, 60.0] (from the run)",
    ]
    assert told[2][3] == "reference"
    assert told[0][3:] == ("-",) * 4


def test_costs_and_failures_are_plain_numbers() -> None:
    """Failed is invalid and failed together, in %; tokens whole."""
    row = {
        **{"strategy": "topic", "arm": "full", "state": "measured", "minus": "rag"},
        **{"accuracy": 0.5, "nmae": 0.25, "invalid_rate": 0.01, "failed_rate": 0.02},
        **{"calls_per_case": 3.25, "tokens_per_case": 12345.6},
        **{"accuracy_minus_crossed_low": -0.1, "accuracy_minus_crossed_high": 0.2},
    }
    (line,) = lines([row], ARMS, "arm")
    told = ("50.0", "-", "[-10.0, 20.0]", "0.250", "3.0", "3.25", "12,346")
    assert line == ("topic", "full", *told)


def test_names_are_text() -> None:
    """A record of a frame may have any hashable as a name."""
    assert str_keys({1: 2, "a": 3}) == {"1": 2, "a": 3}
