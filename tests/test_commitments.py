"""Guesses of interviews that run at once: one of them counts a question."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from valuesim_dspy.commitments import Commitment, Commitments, Score, SettledError
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.people import People, Person
from valuesim_dspy.people_tables import ANSWERED, GUESSES, OPEN
from valuesim_dspy.survey.codebook import load_codebook

BOOK = load_codebook()


@pytest.fixture
def me(tmp_path: Path) -> Person:
    """Somebody of whom nothing is kept."""
    return People(tmp_path / "people.db").add("me")


def added(me: Person, guess: Commitment, outcome: str = OPEN, answer: int | None = None) -> None:
    """Keep a second guess at a question, as an earlier version of the code could."""
    row = {"person": me.key, "question": guess.question, "program": "p", "time": guess.time}
    row |= {"codes": '{"program": 1}', "nonce": guess.nonce, "digest": guess.digest}
    with me.store.changing() as db:
        db.execute(GUESSES.insert(), row | {"outcome": outcome, "answer": answer})


def test_the_first_guess_is_the_one_that_waits(me: Person) -> None:
    """Who guesses second is given it: there are never two."""
    first, second = Commitments(me, "p"), Commitments(me, "p")
    guess = first.commit("Q57", {"program": 1})
    assert second.commit("Q57", {"program": 2}) == guess == second.waiting("Q57")
    assert Commitments(me, "q").commit("Q57", {"program": 2}) != guess
    second.withdraw(guess)
    assert first.commit("Q57", {"program": 2}) != guess


def test_a_settled_question_takes_no_guess(me: Person) -> None:
    """Answered or given up: whoever comes later is told which."""
    mine = Commitments(me, "p")
    mine.settle(mine.commit("Q57", {"program": 1}), BOOK["Q57"], 1, "test")
    mine.give_up(mine.commit("Q58", {"program": 1}))
    for id, how in (("Q57", "answered"), ("Q58", "given up")):
        with pytest.raises(SettledError, match=f"{id} was {how} meanwhile") as found:
            mine.commit(id, {"program": 1})
        assert found.value.how == how and isinstance(found.value, ConfigError)
        with pytest.raises(SettledError, match=f"{id} was {how} meanwhile"):
            mine.waiting(id)
    assert mine.scores() == {"program": Score(1, 1)}


def test_one_answer_is_counted(me: Person) -> None:
    """Of many that come at the same moment; the others add nothing."""
    mine = Commitments(me, "p")

    def answer(code: int) -> bool:
        guess = mine.commit("Q57", {"program": 1})
        try:
            mine.settle(guess, BOOK["Q57"], code, "test")
        except SettledError:
            return False
        return True

    def interview(code: int) -> bool:
        try:
            return answer(code)
        except SettledError:
            return False

    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(interview, [1, 2] * 8))
    assert counted.count(True) == 1 and len(me.kept.answers) == 1
    assert mine.scores()["program"].asked == 1


def test_a_second_guess_of_an_older_store_takes_no_answer(me: Person) -> None:
    """Two were open there: the one that is answered first counts, the other is refused."""
    mine = Commitments(me, "p")
    guess = mine.commit("Q57", {"program": 1})
    added(me, guess)
    mine.settle(guess, BOOK["Q57"], 1, "test")
    with me.store.changing() as db:
        rows = db.execute(mine._all).mappings().all()
    other = Commitment(rows[1]["number"], "Q57", guess.time, guess.codes, guess.nonce, guess.digest)
    with pytest.raises(SettledError, match="Q57 was answered meanwhile"):
        mine.settle(other, BOOK["Q57"], 2, "x")
    with pytest.raises(SettledError, match="Q57 was answered meanwhile"):
        mine.give_up(other)
    assert mine.scores() == {"program": Score(1, 1)} and len(me.kept.answers) == 1


def test_what_an_older_store_counted_twice_is_counted_once(me: Person) -> None:
    """The first answer is the one that counts."""
    mine = Commitments(me, "p")
    guess = mine.commit("Q57", {"program": 1})
    mine.settle(guess, BOOK["Q57"], 1, "test")
    me.observe("Q57", 2)
    added(me, guess, ANSWERED, me.kept.answers[-1].number)
    assert mine.scores() == {"program": Score(1, 1)} and mine.settled() == {"Q57"}
