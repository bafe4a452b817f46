"""The modes: counted on the trainset, ties and gaps."""

import copy

import numpy as np
import pytest
from people import case, example

from evals.baselines import CountryMode, Mode, Modes
from valuesim_dspy.case import Case
from valuesim_dspy.errors import PredictionError
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.own import own_profile
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.respondents import Respondents


@pytest.fixture
def people() -> Respondents:
    """Five people: three in Japan, two in Brazil; Q57 is a tie of 1 and 2 over all."""
    return Respondents.from_columns(
        questions={
            "Q57": np.array([2, 2, 1, 1, -2]),
            "Q1": np.array([4, 4, -1, 1, 1]),
            "Q2": np.array([-1, -2, -4, -5, -1]),
        },
        attributes={
            "D_INTERVIEW": np.array(["1", "2", "3", "4", "5"]),
            "B_COUNTRY_ALPHA": np.array(["JPN", "JPN", "JPN", "BRA", "BRA"]),
        },
    )


def test_mode_is_the_commonest_answer_ties_to_the_lowest(people: Respondents) -> None:
    """Kinds of missing are no answers; 1 and 2 twice each give 1."""
    modes = Modes.of(people)
    assert modes.overall["Q57"] == 1
    assert modes.overall["Q1"] == 1
    assert "Q2" not in modes.overall
    assert Mode(modes)(case=case("Q57")).answer == 1


def test_country_mode_goes_by_country_and_falls_back(people: Respondents) -> None:
    """Japan answers 2; a country without answers, and no country, get the mode of all."""
    country_mode = CountryMode(Modes.of(people))
    assert country_mode(case=case("Q57")).answer == 2
    assert country_mode(case=case("Q1")).answer == 4
    for home in ("DEU", None):
        asked = Case(own_profile({}, country=home), load_codebook()["Q57"])
        assert country_mode(case=asked).answer == 1


def test_modes_equal_a_count_by_hand() -> None:
    """Over drawn answers of several countries every mode is what a plain count gives."""
    rng = np.random.default_rng(3)
    codes, homes = rng.integers(-2, 5, 400), rng.choice(["JPN", "BRA", "DEU", ""], 400)
    drawn = Respondents.from_columns(
        questions={"Q57": np.where(codes > 2, -1, codes), "Q1": codes},
        attributes={"B_COUNTRY_ALPHA": homes},
    )
    modes = Modes.of(drawn)
    for home in ("JPN", "BRA", "DEU"):
        for question in ("Q57", "Q1"):
            given = [r.answer(question) for r in drawn if r.country == home]
            counts = {code: given.count(code) for code in sorted({*given} - {None})}
            assert modes.by_country[question, home] == max(counts, key=counts.__getitem__)


def test_no_answer_to_count_is_a_failed_prediction(people: Respondents) -> None:
    """A question that nobody answered fails its case and no other."""
    mode = Mode(Modes.of(people))
    with pytest.raises(PredictionError, match="Q2"):
        mode(case=case("Q2"))
    with pytest.raises(PredictionError):
        CountryMode(mode.modes)(case=case("Q2"))
    outcomes = answer_cases(mode, [example("Q2", 1), example("Q57", 1)])
    assert [outcome.status for outcome in outcomes] == ["failed", "answered"]


def test_modes_say_where_the_answer_comes_from_and_are_shared(people: Respondents) -> None:
    """The analysis is a sentence, and a copy holds the very same counts."""
    mode = CountryMode(Modes.of(people))
    assert mode(case=case("Q57")).analysis == Mode.why
    assert copy.deepcopy(mode).modes is mode.modes
