"""Results by group: sizes, small groups kept quiet, weights within and across countries."""

import numpy as np
import pandas as pd
import pytest

from evals.metrics import METRICS
from evals.subgroups import GROUPS, PEOPLE, accuracy_weighted, results_by, with_people
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.synthetic import synthesize


def table(rights: list[int], **columns: object) -> pd.DataFrame:
    """Return one case a person, right or wrong."""
    size = len(rights)
    return pd.DataFrame(
        {
            "respondent": [f"p{n}" for n in range(size)],
            "question": ["Q1"] * size,
            "correct": np.array(rights, float),
            "error": [0.25] * size,
            **columns,
        }
    )


def test_groups_have_their_sizes_and_their_own_accuracy() -> None:
    """Twelve of whom nine are right beside ten of whom five are; the larger group first."""
    rights = [1] * 5 + [0] * 5 + [1] * 9 + [0] * 3
    frame = table(rights, section=["b"] * 10 + ["a"] * 12)
    found = results_by(frame, "section")
    assert found["group"].tolist() == ["a", "b"]
    assert found["people"].tolist() == [12, 10] and found["cases"].tolist() == [12, 10]
    assert found["accuracy"].tolist() == pytest.approx([0.75, 0.5])
    assert (found["low"] < found["accuracy"]).all() and (found["high"] > found["accuracy"]).all()
    assert found["nmae"].tolist() == pytest.approx([0.25, 0.25])


def test_small_groups_show_their_size_alone() -> None:
    """Nine people have no number: it would say something of single persons."""
    frame = table([1] * 29, country=["JPN"] * 20 + [""] * 9)
    found = results_by(frame, "country").set_index("group")
    assert found.loc["unknown", "people"] == 9 and np.isnan(found.loc["unknown", "accuracy"])
    assert found.loc["JPN", "accuracy"] == 1


def test_an_unknown_column_is_named() -> None:
    """The error says by what results can be broken down."""
    with pytest.raises(ConfigError, match="education"):
        results_by(table([1]), "shoe size")


def test_weights_count_within_countries_and_countries_alike() -> None:
    """JPN: 3 of 4 parts right. MEX: all right. The mean, however many people each has."""
    frame = table(
        [1, 0, 1, 1, 1], country=["JPN", "JPN", "MEX", "MEX", "MEX"], weight=[3.0, 1.0, 1, 1, 1]
    )
    assert accuracy_weighted(frame) == pytest.approx((0.75 + 1) / 2)
    assert np.isnan(accuracy_weighted(frame.drop(columns="weight")))
    assert METRICS["accuracy_weighted"].compute(frame) == accuracy_weighted(frame)


def test_people_bring_their_groups() -> None:
    """Sex, band of age and schooling come from the survey, by salted key."""
    people = synthesize(60, seed=3)
    frame = table([1] * 60).assign(respondent=[p.key(people.digest) for p in people])
    found = with_people(frame, people, range(60))
    assert set(PEOPLE) <= set(found) and set(PEOPLE) <= set(GROUPS)
    first = people[0]
    assert found["sex"].iloc[0] == (first.sex or "") and found["weight"].iloc[0] == first.weight
    ages = [(person.age, band) for person, band in zip(people, found["age"], strict=True)]
    assert all(band == "under 30" for age, band in ages if age is not None and age < 30)
    assert all(band == "60 and over" for age, band in ages if age is not None and age >= 60)
    assert len(results_by(found, "sex")) >= 2


def test_strangers_are_not_passed_over() -> None:
    """Somebody who is none of the respondents would silently have no group."""
    people = synthesize(5, seed=3)
    with pytest.raises(ConfigError, match="1 people"):
        with_people(table([1]), people, range(5))
