"""The next question: gains against formulas written out, the greedy order, what it never uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.survey.codebook import UnknownQuestionError
from valuesim_dspy.survey.informative import (
    MIN_CODE,
    MIN_PEOPLE,
    MIN_SHRINKAGE,
    Informative,
)
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.survey.synthetic import synthesize

ASKED = ["Q1", "Q2", "Q3", "Q4", "Q46", "Q57", "Q111"]
AIMS = ["Q5", "Q6", "Q173"]  # the last is nominal


def people(count: int = 300, **columns: Sequence[int]) -> Respondents:
    """Return people of one country who answered some questions, at random where not given."""
    rng = np.random.default_rng(3)
    made = {name: rng.integers(1, 3 if name == "Q57" else 4, count) for name in (*ASKED, *AIMS)}
    made |= {name: np.asarray(codes) for name, codes in columns.items()}
    return Respondents.from_columns(
        questions=made, attributes={"B_COUNTRY_ALPHA": np.array(["JPN"] * count)}
    )


def learned(there: Respondents, **known: Sequence[str]) -> Informative:
    """Learn from everybody."""
    wanted = {"questions": ASKED, "aims": AIMS} | known
    return Informative.of(there, range(len(there)), wanted["questions"], wanted["aims"])


def left(found: Informative, columns: list[int], asked: list[int]) -> np.ndarray:
    """Return the covariance of columns given others, by inverting the whole at once."""
    both = [*columns, *asked]
    precision = np.linalg.inv(found.correlation[np.ix_(both, both)])
    return np.linalg.inv(precision[: len(columns), : len(columns)])


def columns_of(found: Informative, *names: str) -> list[int]:
    """Return the columns of questions."""
    return [at for n in names for at in range(found.spans[n].start, found.spans[n].stop)]


def brute_gain(found: Informative, asked: list[str], name: str) -> float:
    """Write the formula out: the mean over aims, and over an aim's columns, of half a log ratio."""
    before, own = columns_of(found, *asked), columns_of(found, name)
    by_chance = len(own) * (1 - found.shrinkage) ** 2 / (found.people - 1)
    gains = []
    for aim in found.aims:
        logs = []
        for column in columns_of(found, aim):
            least = left(found, [column], before)[0, 0]
            after = left(found, [column], [*before, *own])[0, 0]
            logs.append(-0.5 * np.log(after / least + by_chance))
        gains.append(np.mean(logs))
    return max(0.0, float(np.mean(gains)))


@pytest.mark.parametrize("asked", [[], ["Q3"], ["Q1", "Q111", "Q57"]])
def test_gains_are_those_of_the_formula(asked: list[str]) -> None:
    """Each, whatever was asked before, also of questions with several columns."""
    found = learned(synthesize(400, seed=5))
    assert len(columns_of(found, "Q111")) > 1
    gains = found.gains(asked, ASKED)
    assert list(gains) == [name for name in ASKED if name not in asked]
    for name, gain in gains.items():
        assert gain == pytest.approx(brute_gain(found, asked, name), abs=1e-8), name


def test_the_order_is_the_greedy_one_of_brute_force() -> None:
    """Each next question has the greatest gain of all that are left."""
    found = learned(synthesize(400, seed=5))
    order, before = found.order(ASKED), []
    assert sorted(order) == sorted(ASKED)
    for name in order:
        rest = {q: brute_gain(found, before, q) for q in ASKED if q not in before}
        assert name == max(rest, key=lambda q: round(rest[q], 8))
        assert name == found.next_question(before, ASKED)
        before.append(name)


def test_what_tells_most_comes_first_and_its_copy_last() -> None:
    """A copy of an aim is asked first; once it is known, another copy tells nothing more."""
    rng = np.random.default_rng(1)
    aim = rng.integers(1, 5, 300)
    there = people(Q5=aim, Q3=aim, Q4=aim, Q6=rng.integers(1, 5, 300))
    found = learned(there, aims=["Q5"])
    assert found.order(ASKED)[0] == "Q3"
    gains = found.gains(["Q3"], ASKED)
    assert gains["Q4"] < 0.2 * found.gains([], ASKED)["Q4"]


def test_a_second_source_is_asked_before_a_repetition() -> None:
    """With two independent halves of an aim, the other half comes before a copy of the first."""
    rng = np.random.default_rng(2)
    one, other = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    there = people(400, Q5=1 + one + other, Q1=1 + one, Q2=1 + one, Q46=1 + other)
    assert set(learned(there, aims=["Q5"]).order(ASKED)[:2]) == {"Q1", "Q46"}


def test_many_options_do_not_win_by_chance() -> None:
    """A nominal question that has nothing to do with any aim gains about nothing."""
    gains = [
        learned(people(200, Q111=np.random.default_rng(seed).integers(1, 4, 200))).gains(
            [], ["Q111"]
        )["Q111"]
        for seed in range(30)
    ]
    assert abs(np.mean(gains)) < 0.0015


def test_a_country_is_known_without_asking() -> None:
    """What differs between countries alone tells nothing; what differs within them does."""
    rng = np.random.default_rng(4)
    home = np.repeat([0, 1], 400)
    within = rng.integers(0, 2, 800)
    there = Respondents.from_columns(
        questions={"Q1": 1 + home, "Q2": 1 + within, "Q5": 1 + home + within},
        attributes={"B_COUNTRY_ALPHA": np.array(["JPN", "DEU"])[home]},
    )
    gains = Informative.of(there, range(800), ["Q1", "Q2"], ["Q5"]).gains([], ["Q1", "Q2"])
    assert gains["Q2"] > 0.5
    assert gains["Q1"] < 0.01


def test_only_the_people_named_are_looked_at() -> None:
    """Answers of others, whatever they are, change nothing."""
    there = synthesize(200, seed=7)
    columns = {name: there.column(name).copy() for name in (*ASKED, *AIMS)}
    for column in columns.values():
        column[100:] = column[100:][::-1]
    attributes = {"B_COUNTRY_ALPHA": np.array(there.alphas)}
    moved = Respondents.from_columns(questions=columns, attributes=attributes)
    one, other = (Informative.of(who, range(100), ASKED, AIMS) for who in (there, moved))
    np.testing.assert_array_equal(one.correlation, other.correlation)
    assert one.people == 100


def test_a_question_is_no_aim_of_its_own() -> None:
    """Where everything is an aim, a question that is alone in what it says is worth nothing."""
    found = learned(people(), aims=ASKED)
    assert max(found.gains([], ASKED).values()) < 0.05


def test_a_tie_goes_to_the_first_of_the_codebook() -> None:
    """Where nothing depends on anything known, the order is the codebook's."""
    there = people(Q5=np.ones(300, dtype=int))
    assert learned(there, aims=["Q5"]).order(reversed(ASKED)) == tuple(ASKED)


def test_what_is_not_known_here_comes_last() -> None:
    """A question nobody was asked about tells nothing, and nothing fails."""
    order = learned(synthesize(100, seed=2)).order([*ASKED, "Q250", "own-1"])
    assert order[-2:] == ("Q250", "own-1")


def test_private_questions_are_never_looked_at() -> None:
    """They have no columns."""
    there = synthesize(100, seed=2)
    private = [question.id for question in there.codebook if question.private]
    assert private
    found = Informative.of(there, range(100), [*ASKED, *private], AIMS)
    assert not set(private) & set(found.spans)


def test_the_order_goes_on_from_what_was_asked() -> None:
    """The rest of an order is the order of the rest."""
    found = learned(synthesize(300, seed=5))
    whole = found.order(ASKED)
    assert found.order(ASKED, asked=whole[:3]) == whole[3:]
    assert found.order(ASKED, asked=whole[:3], most=2) == whole[3:5]


def test_missing_answers_shrink_and_rare_options_have_no_column() -> None:
    """People who answered little say little; the matrix stays positive definite."""
    rng = np.random.default_rng(5)
    rare = np.array([3] * (MIN_CODE - 1) + [1] * 200 + [2] * (101 - MIN_CODE))
    aim = rng.integers(1, 5, 300)
    some = np.where(rng.random(300) < 0.7, -1, aim)
    there = people(Q111=rare, Q5=aim, Q3=some, Q4=aim)
    found = learned(there, aims=["Q5"])
    assert len(columns_of(found, "Q111")) == 1
    gains = found.gains([], ASKED)
    assert gains["Q4"] > gains["Q3"] > gains["Q1"]
    assert np.linalg.eigvalsh(found.correlation).min() > 0


def test_few_people_are_shrunk_more_than_many() -> None:
    """With many people what they say is believed, with few hardly."""
    there = synthesize(2000, seed=5)
    few, many = (Informative.of(there, range(n), ASKED, AIMS) for n in (20, 2000))
    assert MIN_SHRINKAGE <= many.shrinkage < few.shrinkage <= 1


def test_bad_input_is_named() -> None:
    """Too few people, no aim, unknown questions, nothing left to ask."""
    there = synthesize(50, seed=2)
    with pytest.raises(MissingDataError, match="too few"):
        Informative.of(there, range(MIN_PEOPLE - 1), ASKED, AIMS)
    with pytest.raises(ConfigError, match="aims"):
        Informative.of(there, range(50), ASKED, [])
    with pytest.raises(UnknownQuestionError):
        Informative.of(there, range(50), ["Q999"], AIMS)
    with pytest.raises(MissingDataError, match="every question was asked"):
        learned(there).next_question(ASKED, ASKED)
