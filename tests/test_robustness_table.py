"""Robustness in words and tables: what is said of results made by hand."""

from dataclasses import replace

import pytest
from test_shifts import SHOWN, result

from evals.intervals import Interval
from evals.perturbing import PERTURBATIONS
from evals.robustness_table import (
    AS_IS,
    Robustness,
    arm_block,
    ends_of,
    gap,
    in_words,
    is_apart,
    legend,
    markdown,
    points,
    wrapped,
)
from evals.shifts import Shift, last_option, shift

PEOPLE = "abcdef"
NAN = float("nan")


def interval(estimate: float, low: float, high: float) -> Interval:
    """Return an interval of six people."""
    return Interval(estimate, low, high, 6, 6)


def moved(name: str, after: int | None, floor: int = 1) -> Shift:
    """Return the shift of an arm that always answers 1, and 1 is right, to another answer."""
    before, repeated = (result(dict.fromkeys(PEOPLE, code)) for code in (1, floor))
    return shift(name, before, result(dict.fromkeys(PEOPLE, after)), repeated)


def robustness(*shifts: Shift, effect: Interval | None = None) -> Robustness:
    """Return what was found of that arm."""
    before = result(dict.fromkeys(PEOPLE, 1))
    ends = (last_option(AS_IS, before.frame, SHOWN),)
    return Robustness("rag", before, shifts, ends, effect, {"official-wording": "there is none"})


def test_a_block_holds_every_number() -> None:
    """A line for each perturbation and each order, and why one is missing."""
    block = arm_block(robustness(moved("repeat", 1), moved("paraphrased", 2)))
    assert block.startswith("### rag (cold)\n")
    assert "6 cases, accuracy % 100.0 [100.0, 100.0], 0.0 % failed" in block
    assert (
        "| paraphrased | 6 | 100.0 [100.0, 100.0] | +100.0 [+100.0, +100.0] "
        "| -100.0 [-100.0, -100.0] | +0.333 [+0.333, +0.333] | 0.0 % then 0.0 % |"
    ) in block
    assert "| as is | 0.0 | 0.0 | +0.0 [+0.0, +0.0] |" in block
    assert "- official-wording: not made; there is none." in block


def test_an_arm_that_fails_under_a_perturbation_has_no_score_there() -> None:
    """Failures are shown; a difference of what was not answered is not."""
    block = arm_block(robustness(moved("paraphrased", None)))
    assert "| invalid | invalid | 0.0 % then 100.0 % |" in block
    assert "nothing was perturbed" in block


def test_the_greatest_change_is_said_beside_the_floor() -> None:
    """What flips on repetition too is not said to be the perturbation's doing."""
    more = in_words(robustness(moved("repeat", 1), moved("paraphrased", 2)))
    assert "at most 100.0 % of its answers (paraphrased" in more
    assert "0.0 % when it is merely asked again." in more
    same = in_words(robustness(moved("repeat", 2), moved("paraphrased", 2, floor=3)))
    assert "100.0 % when it is merely asked again; that it changes more" in same
    alone = in_words(robustness(moved("paraphrased", 2)))
    assert "asked again" not in alone


def test_only_changes_of_accuracy_that_are_shown_are_named() -> None:
    """An interval that holds 0 shows none."""
    changed = moved("paraphrased", 2)
    assert "Its accuracy changes under paraphrased (-100.0 points)." in in_words(
        robustness(changed)
    )
    unclear = replace(changed, accuracy=interval(-0.1, -0.3, 0.1))
    assert "No perturbation is shown to change its accuracy." in in_words(robustness(unclear))


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        (interval(0.2, 0.1, 0.3), "favours the option that stands last: 20.0 points"),
        (interval(-0.2, -0.3, -0.1), "favours the option that stands first: 20.0 points"),
        (interval(0.1, -0.1, 0.3), "not shown to favour the option that stands last"),
    ],
)
def test_the_place_that_is_favoured_is_named(effect: Interval, said: str) -> None:
    """Recency or primacy, or neither."""
    assert said in in_words(robustness(moved("paraphrased", 2), effect=effect))


def test_without_a_measured_place_nothing_is_said_of_it() -> None:
    """Neither where options were not reversed nor where nothing was answered both times."""
    assert "favour" not in in_words(robustness(moved("paraphrased", 2)))
    nothing = in_words(robustness(moved("paraphrased", 2), effect=interval(NAN, NAN, NAN)))
    assert "favour" not in nothing


def test_of_an_arm_that_hardly_answers_nothing_is_said() -> None:
    """A score of the few cases left would mislead."""
    silent = replace(robustness(), before=result(dict.fromkeys(PEOPLE, None)))
    assert "answered too few cases" in in_words(silent)
    assert "accuracy % invalid" in arm_block(silent)


def test_the_legend_says_what_each_perturbation_does() -> None:
    """Once for all arms."""
    for name, perturbation in PERTURBATIONS.items():
        assert f"- {name}: {perturbation.what}." in legend()


def test_numbers_are_shown_as_points() -> None:
    """With a sign where they are differences, and never as minus nothing."""
    assert points(0.1234) == "12.3"
    assert points(-0.00001, "+") == "+0.0"
    assert points(NAN) == "-"
    assert gap(interval(0.1, -0.05, 0.25)) == "+10.0 [-5.0, +25.0]"
    assert gap(interval(NAN, NAN, NAN)) == "-"
    assert ends_of(interval(0.1, NAN, NAN)) == "[no interval]"


def test_an_interval_is_apart_where_it_leaves_out_nothing_but_zero() -> None:
    """An end at 0 is not apart; an interval that is not there is not either."""
    assert is_apart(interval(0.2, 0.1, 0.3))
    assert is_apart(interval(-0.2, -0.3, -0.1))
    assert not is_apart(interval(0.1, 0.0, 0.2))
    assert not is_apart(interval(0.1, NAN, NAN))


def test_tables_are_markdown_and_paragraphs_fit_a_terminal() -> None:
    """The first column is text, the others are numbers."""
    table = markdown(("arm", "n"), [("rag", "1")])
    assert table.splitlines() == ["| arm | n |", "| --- | ---: |", "| rag | 1 |"]
    assert max(map(len, wrapped("so many words " * 40).splitlines())) <= 118
