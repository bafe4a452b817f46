"""Records and weights, against numbers computed by hand."""

import json
import math
from typing import Any

import pytest

from optimize.trust_fitting import (
    RULES,
    Answered,
    cell_members,
    fit_cells,
    fit_trust,
    fit_weights,
    people,
)
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.trust import check_learned, weighted_vote

BOOK = load_codebook()
TRUST, CLOSE, BINARY, NOMINAL = BOOK["Q69"], BOOK["Q46"], BOOK["Q57"], BOOK["Q154"]


def answered(
    person: int, truth: int, *answers: int, question: str = "Q69", names: str = "abc"
) -> Answered:
    """Return what readers a, b, c answered for one person."""
    given = dict(zip(names, answers, strict=False))
    return Answered(f"p{person:03}", BOOK[question], truth, given)


def crowd(people_: int, truth: int, *answers: int, start: int = 0, question: str = "Q69") -> Any:
    """Return the same answers for several people."""
    return [answered(start + n, truth, *answers, question=question) for n in range(people_)]


def halves(cases: Any, count: int = 2) -> tuple[frozenset[str], ...]:
    """Deal the people of cases into groups."""
    keys = sorted({case.respondent for case in cases})
    return tuple(frozenset(keys[start::count]) for start in range(count))


def test_accuracy_is_shrunk_towards_the_mean_of_the_readers() -> None:
    """20 cases: a right in all, b in none, prior 20 at one half: 30/40 and 10/40."""
    cells = fit_cells(cell_members(crowd(20, 2, 2, 3)))
    assert {name: cells[name]["ordinal"]["accuracy"] for name in "ab"} == {"a": 0.75, "b": 0.25}
    assert cells["a"]["ordinal"]["n"] == cells["a"]["ordinal"]["people"] == 20


def test_a_topic_is_shrunk_towards_the_readers_own_margin() -> None:
    """The topic's mean counts n times, the reader's shrunk margin of the kind 20 times.

    a is right in 20 of 40 ordinal cases, b in all: centre 0.75; margins (40 x 0.5 + 20 x 0.75) /
    60 = 0.5833 and (40 + 15) / 60 = 0.9167. In the topic a is right in 20 of 20: (20 + 20 x
    0.5833) / 40 = 0.7917.
    """
    cases = crowd(20, 2, 2, 2) + crowd(20, 2, 3, 2, question="Q46")
    cells = fit_cells(cell_members(cases))
    assert cells["a"]["ordinal"]["accuracy"] == 0.5833
    assert cells["b"]["ordinal"]["accuracy"] == 0.9167
    assert cells["a"]["ordinal/social-capital"]["accuracy"] == pytest.approx(0.7917, abs=1e-4)
    assert cells["a"]["ordinal/wellbeing"]["accuracy"] == pytest.approx(0.2917, abs=1e-4)


def test_errors_are_shares_of_the_scale() -> None:
    """Truth 2 of 1..4, all readers answer 4: off by 2/3, too high by 2/3, nearer the ends by 2/3.

    All readers alike, so that the centre is their own mean.
    """
    cell = fit_cells(cell_members(crowd(12, 2, 4, 4)))["a"]["ordinal"]
    assert cell["nmae"] == cell["bias"] == cell["extremity"] == 0.6667


def test_bias_follows_the_codes_whatever_the_scale_means() -> None:
    """Q69 runs from 4 to 1, Q164 from 1 to 10: too low a code is negative on both."""
    assert (TRUST.direction, BOOK["Q164"].direction) == (-1, 1)
    for question, step in (("Q69", 1 / 3), ("Q164", 1 / 9)):
        cell = fit_cells(cell_members(crowd(12, 3, 2, question=question)))["a"]["ordinal"]
        assert cell["bias"] == pytest.approx(-step, abs=1e-4)
        assert cell["nmae"] == pytest.approx(step, abs=1e-4)


def test_codes_that_do_not_follow_the_scale_have_no_bias() -> None:
    """Q56 is coded 2, 3, 1 from least to most: distances, but no code too high."""
    cell = fit_cells(cell_members(crowd(12, 2, 1, question="Q56")))["a"]["ordinal"]
    assert cell["nmae"] == 1.0
    assert "bias" not in cell


def test_other_kinds_of_scale_have_no_distances() -> None:
    """Binary and nominal questions have accuracy only."""
    for question in ("Q57", "Q154"):
        cells = fit_cells(cell_members(crowd(12, 1, 2, 1, question=question)))["a"]
        assert {part for cell in cells.values() for part in cell} == {"n", "people", "accuracy"}


def test_answering_near_the_middle_is_a_negative_extremity() -> None:
    """Truth at an end, answers one step inside: a third of the scale is two thirds of the way."""
    cell = fit_cells(cell_members(crowd(12, 1, 2)))["a"]["ordinal"]
    assert cell["extremity"] == -0.6667


def test_no_cell_has_fewer_than_ten_people() -> None:
    """Nine people are no cell, whatever their cases; ten are."""
    nine = crowd(9, 2, 2) * 5
    assert cell_members(nine) == {}
    assert set(cell_members(crowd(10, 2, 2))) == {"all", "ordinal", "ordinal/social-capital"}


def test_a_small_rest_cannot_be_had_by_subtraction() -> None:
    """What is left out of the cells is left out of their margin too, unless it is ten people."""
    large = crowd(12, 2, 2)
    small = crowd(4, 2, 2, start=50, question="Q46")
    members = cell_members(large + small)
    assert {key: len(cases) for key, cases in members.items()} == {
        "all": 12,
        "ordinal": 12,
        "ordinal/social-capital": 12,
    }
    several = small + crowd(6, 5, 5, start=60, question="Q164")  # another topic: ten people
    members = cell_members(large + several)
    assert (len(members["ordinal"]), len(members["all"])) == (22, 22)
    assert set(members) == {"all", "ordinal", "ordinal/social-capital"}


def test_small_kinds_of_scale_make_up_all_together() -> None:
    """Six binary and six nominal cases of twelve people count among all questions only."""
    cases = crowd(12, 2, 2) + crowd(6, 1, 1, start=20, question="Q57")
    assert len(cell_members(cases)["all"]) == 12
    cases += crowd(6, 1, 1, start=30, question="Q154")
    members = cell_members(cases)
    assert len(members["all"]) == 24
    assert "binary" not in members
    assert "nominal" not in members


def test_every_margin_minus_its_cells_is_nobody_or_ten() -> None:
    """Over many sizes of topics and kinds nothing under ten people can be worked out."""
    for sizes in [(3, 12, 4, 2), (9, 9, 9, 9), (10, 1, 0, 15), (30, 5, 5, 1), (0, 11, 8, 3)]:
        cases, start = [], 0
        for size, question in zip(sizes, ("Q69", "Q46", "Q57", "Q154"), strict=True):
            cases += crowd(size, 1, 1, start=start, question=question)
            start += size
        members = cell_members(cases)
        assert all(people(found) >= 10 for found in members.values())
        for margin, found in members.items():
            inner = [k for k in members if k.startswith(f"{margin}/")]
            if margin == "all":
                inner = [k for k in members if k != "all" and "/" not in k]
            taken = {id(case) for key in inner for case in members[key]}
            rest = [case for case in found if inner and id(case) not in taken]
            assert not rest or people(rest) >= 10


def test_weights_of_each_rule() -> None:
    """Ones; the best reader alone, the first of equals; log-odds of the shrunk accuracy."""
    cases = crowd(20, 2, 2, 3, 2)
    assert fit_weights("vote", cases) == {"a": 1.0, "b": 1.0, "c": 1.0}
    assert fit_weights("single", cases) == {"a": 1.0, "b": 0.0, "c": 0.0}
    odds = fit_weights("log-odds", cases)
    # centre 2/3: (20 + 13.33) / 40 = 5/6 and 13.33 / 40 = 1/3
    assert odds == {"a": 1.6094, "b": -0.6931, "c": 1.6094}
    assert math.isclose(odds["a"], math.log(5), abs_tol=1e-4)


def test_readers_that_are_never_wrong_have_finite_weights() -> None:
    """Odds end at 99 to 1."""
    assert fit_weights("log-odds", crowd(30, 2, 2, 2)) == {"a": 4.5951, "b": 4.5951}
    assert fit_weights("log-odds", crowd(30, 2, 3, 3)) == {"a": -4.5951, "b": -4.5951}


def test_a_reader_that_is_always_right_is_followed() -> None:
    """Two readers agree on the wrong code; the third, always right, decides after learning."""
    cases = crowd(20, 2, 3, 3, 2)
    learned = fit_trust(cases, halves(cases), lm="offline/a")
    rule = learned["weights"]["by"]["ordinal"]
    assert rule["rule"] == "single"
    assert rule["accuracy"] == {"vote": 0.0, "single": 1.0, "log-odds": 1.0}
    assert weighted_vote(learned, TRUST, {"a": 4, "b": 4, "c": 1}) == 1
    assert weighted_vote(learned, TRUST, {"a": 4, "b": 4}) == 4


def test_a_tie_keeps_the_plain_vote() -> None:
    """Where no rule is right more often, votes are not weighed."""
    cases = crowd(20, 2, 2, 2, 2)
    by = fit_trust(cases, halves(cases), lm="offline/a")["weights"]["by"]
    assert {rule["rule"] for rule in by.values()} == {"vote"}


def test_log_odds_win_where_no_single_reader_is_best() -> None:
    """Four readers: two good ones that err apart, two bad ones that agree on a wrong code.

    The plain vote ties and takes the middle, a single reader misses what the other knows.
    """
    cases = []
    for n in range(40):
        wrong = 4 if n % 2 else 3
        good = (1, 1) if n % 4 < 2 else ((1, 2) if n % 4 == 2 else (2, 1))
        bad = wrong if n % 4 else 1
        cases.append(answered(n, 1, *good, bad, bad, names="abcd"))
    by = fit_trust(cases, halves(cases), lm="offline/a")["weights"]["by"]["ordinal"]
    scores = by["accuracy"]
    assert scores["log-odds"] == max(scores.values())
    assert scores["vote"] < scores["log-odds"]


def test_a_rule_is_judged_on_people_it_was_not_fitted_on() -> None:
    """In each half another reader is right: the best of the other half is always the wrong one."""
    cases = crowd(20, 2, 2, 3, 4) + crowd(20, 2, 3, 2, 4, start=20)
    groups = (
        frozenset(c.respondent for c in cases[:20]),
        frozenset(c.respondent for c in cases[20:]),
    )
    rule = fit_trust(cases, groups, lm="offline/a")["weights"]["by"]["ordinal"]
    assert rule["accuracy"]["single"] == 0.0
    assert rule["rule"] != "single"


def test_what_is_learned_is_a_table_that_loads_and_names_nobody() -> None:
    """It passes the check after JSON, holds the model's name, and no key of a person."""
    cases = crowd(20, 2, 3, 2, 2) + crowd(15, 1, 2, 1, 1, question="Q57")
    learned = fit_trust(cases, halves(cases, 5), lm="offline/a")
    text = json.dumps(learned)
    assert check_learned(json.loads(text)) == learned
    assert learned["records"]["lm"] == learned["weights"]["lm"] == "offline/a"
    assert not any(case.respondent in text for case in cases)
    assert set(learned["weights"]["by"]) == {"all", "ordinal", "binary"}
    assert set(learned["weights"]["by"]["all"]["accuracy"]) == set(RULES)


def test_the_order_of_people_does_not_matter() -> None:
    """The same cases in another order teach the same."""
    cases = [answered(n, 1 + n % 4, 1 + n % 3, 1 + n % 2, 2) for n in range(40)]
    groups = halves(cases, 5)
    assert fit_trust(cases, groups, lm="a") == fit_trust(cases[::-1], groups, lm="a")


def test_too_few_people_teach_nothing() -> None:
    """Fewer than ten people leave an empty table."""
    cases = crowd(9, 2, 2, 2, 2)
    assert fit_trust(cases, halves(cases), lm="a") == {}
    assert fit_trust([], (), lm="a") == {}


def test_one_group_of_people_leaves_the_plain_vote() -> None:
    """Without anybody to judge on, no rule is preferred."""
    cases = crowd(12, 2, 3, 3, 2)
    rule = fit_trust(cases, halves(cases, 1), lm="a")["weights"]["by"]["ordinal"]
    assert (rule["rule"], rule["accuracy"]) == ("vote", {})
