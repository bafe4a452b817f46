"""Agreement of answers: computed by hand, beyond chance, and the same however it is packed."""

import numpy as np
import pytest

from valuesim_dspy.survey.agreement import BLOCK, ROOM, PackedAnswers, _tenths
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.survey.synthetic import synthesize


def people(**answers: list[int]) -> Respondents:
    """Return people with these answers; -1 is no answer."""
    return Respondents.from_columns(questions={q: np.array(a) for q, a in answers.items()})


def agreement(packed: PackedAnswers, answers: dict[str, int], count: int) -> list[float]:
    """Return what the first people agree."""
    found = packed.agreement(packed.known(answers), slice(0, count))
    return [round(float(value), 4) for value in found]


def test_ordered_answers_agree_by_their_distance() -> None:
    """Q1 has four options: a step is a third; anybody's answer agrees with 1 by a half."""
    packed = PackedAnswers(people(Q1=[1, 2, 3, 4]))
    # Agreement with 1 is 1, 2/3, 1/3, 0 and 1/2 by chance; (x - 1/2) / (1 - 1/2).
    assert agreement(packed, {"Q1": 1}, 4) == [1.0, 0.3333, -0.3333, -1.0]


def test_distance_follows_the_order_and_not_the_codes() -> None:
    """Q56 has the middle at code 3: 1, 3, 2 from least to most or the other way round."""
    assert set(load_codebook()["Q56"].order[1:2]) == {3}
    packed = PackedAnswers(people(Q56=[1, 2, 3]))
    # Agreement with 1 is 1, 0, 1/2 and by chance 1/2.
    assert agreement(packed, {"Q56": 1}, 3) == [1.0, -1.0, 0.0]


def test_unordered_answers_agree_or_do_not() -> None:
    """A choice among three: half of the people agree by chance."""
    question = next(q for q in load_codebook() if q.scale_kind == "nominal" and len(q.codes) > 2)
    first, second, third = question.codes[:3]
    packed = PackedAnswers(people(**{question.id: [first, second, third, second]}))
    # Agreement with the second is 0, 1, 0, 1 and by chance 1/2.
    assert agreement(packed, {question.id: second}, 4) == [-1.0, 1.0, -1.0, 1.0]


def test_an_answer_off_the_scale_agrees_with_itself_only() -> None:
    """Q241 has 0 (against democracy) beside 1..10: it is not one step below 1."""
    packed = PackedAnswers(people(Q241=[0, 1, 10, 0]))
    # Agreement with 0 is 1, 0, 0, 1 and by chance 1/2; with 1 it is 0, 1, 0, 0, and 1/4.
    assert agreement(packed, {"Q241": 0}, 4) == [1.0, -1.0, -1.0, 1.0]
    assert agreement(packed, {"Q241": 1}, 4) == [-0.3333, 1.0, -0.3333, -0.3333]


def test_numbers_agree_by_their_tenths() -> None:
    """Ages are compared by their rank among the people counted."""
    ages = list(range(20, 70))
    packed = PackedAnswers(people(Q262=ages))
    found = agreement(packed, {"Q262": 20}, 50)
    assert found[0] == found[1] == 1.0 and found == sorted(found, reverse=True)
    assert len(set(found)) == 10
    assert packed.items["Q262"].place(15) == 0 and packed.items["Q262"].place(99) == 9


@pytest.mark.parametrize("ages", [[], [-1, -1], [7, 7, 7], [1, 2]])
def test_few_numbers_have_few_tenths(ages: list[int]) -> None:
    """Without numbers, or with one number, there is one place and nothing to agree on."""
    cuts = _tenths(np.array(ages, dtype=np.int64))
    assert len(cuts) == (1 if ages == [1, 2] else 0)


def test_a_missing_answer_adds_what_chance_would() -> None:
    """Nobody is nearer for having answered little, nor further than an average person."""
    packed = PackedAnswers(people(Q1=[1, 1, 4, 4], Q2=[1, -1, -2, 4]))
    # Q1: chance 1/2 for 1, so +-1/2. Q2: with 1 and 4 given, +-1/2 and 0. Most is 1/2 + 1/2.
    assert agreement(packed, {"Q1": 1, "Q2": 1}, 4) == [1.0, 0.5, -0.5, -1.0]


def test_what_everybody_answers_counts_for_nothing() -> None:
    """Agreement that chance alone gives is none."""
    packed = PackedAnswers(people(Q1=[1, 1, 1], Q2=[1, 2, 4]))
    assert agreement(packed, {"Q1": 1}, 3) == [0.0, 0.0, 0.0]
    alone = agreement(packed, {"Q2": 1}, 3)
    assert agreement(packed, {"Q1": 1, "Q2": 1}, 3) == alone


def test_what_cannot_be_compared_is_passed_over() -> None:
    """Codes that are no options, other questions, private answers and the one left out."""
    packed = PackedAnswers(people(Q1=[1, 4], Q2=[1, 4]))
    assert packed.known({"Q1": 9, "Q2": 2, "Q999": 1, "own-1": 2}) == (("Q2", 1),)
    assert packed.known({"Q1": 1, "Q2": 1}, but="Q2") == (("Q1", 0),)
    private = [question.id for question in load_codebook() if question.private]
    assert private and packed.known(dict.fromkeys(private, 1)) == ()
    assert agreement(packed, {}, 2) == [0.0, 0.0]


def test_packing_loses_nothing() -> None:
    """Every answer of every question comes back out, whoever is asked for."""
    made = synthesize(300, seed=4)
    packed = PackedAnswers(made)
    for question in made.codebook:
        if question.options:
            item, values = packed.items[question.id], made.column(question.id)
            places = packed.places(question.id, slice(100, 200))
            codes = np.append(item.codes, -1)[places]
            assert np.array_equal(codes, np.maximum(values[100:200], -1)), question.id
            chosen = packed.places(question.id, np.array([7, 3]))
            assert np.array_equal(np.append(item.codes, -1)[chosen], np.maximum(values[[7, 3]], -1))
    widths = {item.group: 0 for item in packed.items.values()}
    for item in packed.items.values():
        widths[item.group] = max(widths[item.group], item.stride * (item.places + 1))
    assert max(widths.values()) <= ROOM and len(widths) < len(packed.items) / 3


def test_packed_sums_are_those_of_a_plain_loop() -> None:
    """Every question's agreement, added up one by one in double precision."""
    made = synthesize(120, seed=5)
    packed, person = PackedAnswers(made), made[11]
    known = packed.known(dict(person.answers))
    expected = np.zeros(len(made))
    for at, other in enumerate(made):
        for name, place in known:
            item, code = packed.items[name], other.answer(name)
            expected[at] += item.gain[place, item.places if code is None else item.place(code)]
    expected /= sum(packed.items[name].most[place] for name, place in known)
    found = packed.agreement(known, slice(0, len(made)))
    assert np.allclose(found, expected, atol=2e-6) and found[11] == found.max() > 0.9
    assert np.array_equal(packed.agreement(known, slice(40, 90)), found[40:90])


def test_blocks_do_not_show() -> None:
    """More people than a block holds agree as they would alone."""
    answers = np.random.default_rng(1).integers(1, 5, BLOCK + 50)
    packed = PackedAnswers(people(Q1=answers.tolist(), Q2=answers[::-1].tolist()))
    known = packed.known({"Q1": 1, "Q2": 4})
    whole = packed.agreement(known, slice(0, len(answers)))
    by_answers: dict[tuple[int, int], set[float]] = {}
    for pair, value in zip(zip(answers, answers[::-1], strict=True), whole, strict=True):
        by_answers.setdefault((int(pair[0]), int(pair[1])), set()).add(float(value))
    assert len(by_answers) == 16 and all(len(values) == 1 for values in by_answers.values())
