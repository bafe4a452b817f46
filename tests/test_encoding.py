"""Answers as numbers: places on scales, gaps, and what a target may be predicted from."""

import copy

import numpy as np
from crowds import case_of, crowd, fold, known, target, training

from evals.baselines import Training
from valuesim_dspy.case import Case, HistoryItem
from valuesim_dspy.own import own_profile
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.folds import make_fold
from valuesim_dspy.survey.respondents import Respondents

BOOK = load_codebook()


def people() -> Respondents:
    """Three people: Q1 falls from most to least, Q119 has a code off its order, Q150 is a pair."""
    return Respondents.from_columns(
        questions={
            "Q1": np.array([1, 4, -1]),
            "Q149": np.array([2, 1, -2]),
            "Q57": np.array([1, 2, 2]),
        },
        attributes={"B_COUNTRY_ALPHA": np.array(["JPN", "", "BRA"])},
    )


def test_ordered_answers_are_places_on_the_scale_and_others_places_among_codes() -> None:
    """Q1 runs from code 4 (least) to 1 (most); the country comes last, by the alphabet."""
    made = Training(people(), fold()).matrix([BOOK["Q1"], BOOK["Q149"]])
    assert BOOK["Q1"].order == (4, 3, 2, 1) and not BOOK["Q149"].order
    expected = [[3, 1, 1], [0, 0, np.nan], [np.nan, np.nan, 0]]
    np.testing.assert_array_equal(made, np.array(expected))


def test_a_row_is_what_the_matrix_says_of_the_same_person() -> None:
    """The numbers of a case equal those of the respondent it was made of."""
    crowded = crowd(30)
    made, questions = training(crowded), known()
    matrix = made.matrix(questions)
    for at in (0, 7, 29):
        row = made.row(case_of(crowded, at, target()), questions)
        np.testing.assert_array_equal(row, matrix[at])


def test_later_answers_count_in_a_row() -> None:
    """The newest answer rules; a country that nobody of the training people has is a gap."""
    made = Training(people(), fold())
    later = (HistoryItem(BOOK["Q1"], 2), HistoryItem(BOOK["Q149"], 1))
    asked = Case(own_profile({"Q1": 4}, country="DEU"), BOOK["Q57"], later)
    np.testing.assert_array_equal(made.row(asked, [BOOK["Q1"], BOOK["Q149"]]), [2, 0, np.nan])


def test_a_target_is_predicted_from_the_profile_only() -> None:
    """No target of any set is among the features, nor private and open questions."""
    made = training()
    for role in ("train", "val", "dev", "test"):
        ids = {question.id for question in made.features(fold().targets(role)[0])}
        assert ids and ids <= {*fold().profile}
        assert not any(BOOK[id].private or not BOOK[id].options for id in ids)
    first = fold().profile[0]
    assert first not in {question.id for question in made.features(first)}


def test_on_a_paper_fold_features_are_what_people_of_the_set_are_known_by() -> None:
    """Test people are known by train, val and dev targets too, dev people are not."""
    paper = make_fold(BOOK, strategy="paper", index=1, seed=42)
    made = Training(people(), paper)
    val = BOOK[paper.targets("val")[0]]
    assert val in made.features(paper.targets("test")[0])
    assert val not in made.features(paper.targets("dev")[0])
    assert val not in made.features(val.id)


def test_answers_are_valid_codes_and_whose() -> None:
    """Gaps are no answers; an unknown question has none."""
    places, codes = Training(people(), fold()).answers("Q1")
    assert places.tolist() == [0, 1] and codes.tolist() == [1, 4]
    assert Training(people(), fold()).answers("own-1")[0].size == 0


def test_copies_share_the_people() -> None:
    """A deep copy is the same object."""
    made = training()
    assert copy.deepcopy(made) is made
