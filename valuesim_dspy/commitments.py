"""Guesses that are committed before the answer is known, and how many of them were right."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.forgetting import person_row
from valuesim_dspy.observing import moment, new_number
from valuesim_dspy.people import Person
from valuesim_dspy.people_tables import ANSWERS, GUESSES
from valuesim_dspy.survey.codebook import Question

OPEN, ANSWERED, UNKNOWN, WITHDRAWN = "open", "answered", "unknown", "withdrawn"
"""A guess waits for the answer; the answer came; the person does not know; was not to be asked."""


@dataclass(frozen=True, repr=False)
class Commitment:
    """A guess, sealed.

    Args:
        number: Greater for later ones.
        question: The question's id.
        time: When it was committed, ISO 8601, UTC.
        codes: Guesser's name to its code; None where it gave none, which is wrong.
        nonce: Keeps the few possible guesses from being read out of the digest.
        digest: SHA-256 of `sealed_text`, in hex: shown before the answer is asked for.
    """

    number: int
    question: str
    time: str
    codes: Mapping[str, int | None]
    nonce: str
    digest: str

    @property
    def is_sound(self) -> bool:
        """Whether the guess is still the one that was sealed."""
        return _digest(self.nonce, self.question, self.time, self.codes) == self.digest


@dataclass(frozen=True)
class Score:
    """How often a guesser was right."""

    right: int
    asked: int

    @property
    def accuracy(self) -> float:
        """The share that was right, in [0, 1]; 0 where nothing was asked."""
        return self.right / self.asked if self.asked else 0.0


class Commitments:
    """The guesses of one program at one person's answers.

    Args:
        person: Whose answers are guessed.
        program: A name; guesses of another one are another count.
    """

    def __init__(self, person: Person, program: str) -> None:
        self.person, self.program = person, program
        mine = (GUESSES.c.person == person.key) & (GUESSES.c.program == program)
        self._all = select(GUESSES).where(mine).order_by(GUESSES.c.number)

    def waiting(self, question: str) -> Commitment | None:
        """Return the guess that waits for the answer to a question; None where none does."""
        wanted = (GUESSES.c.question == question) & (GUESSES.c.outcome == OPEN)
        with self.person.store.changing() as db:
            rows = db.execute(self._all.where(wanted)).mappings().all()
        return _commitment(dict(rows[0])) if rows else None

    def commit(self, question: str, codes: Mapping[str, int | None]) -> Commitment:
        """Keep a guess before its answer is known.

        Args:
            question: The question's id.
            codes: Guesser's name to its code, or None.

        Raises:
            MissingDataError: The person was forgotten.
        """
        time, nonce = moment(), secrets.token_hex(16)
        row: dict[str, Any] = {
            "person": self.person.key,
            "question": question,
            "program": self.program,
            "time": time,
            "codes": json.dumps(dict(codes)),
            "nonce": nonce,
            "digest": _digest(nonce, question, time, codes),
            "outcome": OPEN,
        }
        with self.person.store.changing() as db:
            if person_row(db, self.person.key) is None:
                raise MissingDataError("this person was forgotten", "add the person first")
            number = new_number(db.execute(GUESSES.insert(), row))
        return Commitment(number, question, time, dict(codes), nonce, row["digest"])

    def settle(self, guess: Commitment, question: Question, answer: int | str, source: str) -> None:
        """Add the true answer to the person's history and to the guess, both or neither.

        Raises:
            ConfigError: The answer is none, or the guess is settled or is not what was sealed.
        """
        with self.person.store.changing() as db:
            self._require_open(db, guess)
            number = self.person.observe_in(db, question, answer, source=source)
            change = {"outcome": ANSWERED, "answer": number}
            db.execute(update(GUESSES).where(GUESSES.c.number == guess.number).values(**change))

    def give_up(self, guess: Commitment) -> None:
        """Note that the person does not know: the guess counts neither way."""
        self._end(guess, UNKNOWN)

    def withdraw(self, guess: Commitment) -> None:
        """Note that the question was skipped: the guess counts neither way and is not opened.

        Asked another time, it is guessed anew, by what is known then.
        """
        self._end(guess, WITHDRAWN)

    def _end(self, guess: Commitment, outcome: str) -> None:
        with self.person.store.changing() as db:
            self._require_open(db, guess)
            mine = GUESSES.c.number == guess.number
            db.execute(update(GUESSES).where(mine).values(outcome=outcome))

    def settled(self) -> frozenset[str]:
        """Return the ids of the questions that were answered, or given up."""
        done = GUESSES.c.outcome.in_((ANSWERED, UNKNOWN))
        with self.person.store.changing() as db:
            rows = db.execute(self._all.where(done)).mappings().all()
        return frozenset(str(row["question"]) for row in rows)

    def scores(self) -> dict[str, Score]:
        """Return how each guesser did on the questions that were answered."""
        truths = select(GUESSES.c.codes, ANSWERS.c.code).join(
            ANSWERS, ANSWERS.c.number == GUESSES.c.answer
        )
        mine = (GUESSES.c.person == self.person.key) & (GUESSES.c.program == self.program)
        found: dict[str, Score] = {}
        with self.person.store.changing() as db:
            rows = db.execute(truths.where(mine & (GUESSES.c.outcome == ANSWERED))).all()
        for codes, truth in rows:
            for name, code in json.loads(codes).items():
                before = found.get(name, Score(0, 0))
                found[name] = Score(before.right + (code == truth), before.asked + 1)
        return found

    def _require_open(self, db: Any, guess: Commitment) -> None:
        wanted = self._all.where(GUESSES.c.number == guess.number)
        row = db.execute(wanted).mappings().one_or_none()
        if row is None or row["outcome"] != OPEN or not _commitment(dict(row)).is_sound:
            raise ConfigError(
                "the guess is settled, forgotten or not the one that was sealed", key="guess"
            )


def sealed_text(nonce: str, question: str, time: str, codes: Mapping[str, int | None]) -> str:
    """Return what is hashed: JSON of nonce, question, time and codes, names in order."""
    return json.dumps([nonce, question, time, dict(codes)], sort_keys=True)


def _digest(nonce: str, question: str, time: str, codes: Mapping[str, int | None]) -> str:
    return hashlib.sha256(sealed_text(nonce, question, time, codes).encode()).hexdigest()


def _commitment(row: Mapping[str, Any]) -> Commitment:
    kept = {name: row[name] for name in ("number", "question", "time", "nonce", "digest")}
    return Commitment(codes=json.loads(row["codes"]), **kept)
