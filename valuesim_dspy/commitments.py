"""Guesses that are committed before the answer is known, and how many of them were right."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.forgetting import person_row
from valuesim_dspy.observing import moment, new_number
from valuesim_dspy.people import Person
from valuesim_dspy.people_tables import (
    ANSWERED,
    ANSWERS,
    GUESSES,
    OPEN,
    SETTLED,
    UNKNOWN,
    WITHDRAWN,
)
from valuesim_dspy.survey.codebook import Question

_HOW = {ANSWERED: "answered", UNKNOWN: "given up", WITHDRAWN: "skipped"}


class SettledError(ConfigError):
    """A question was answered, given up or skipped meanwhile: another interview came first.

    Args:
        question: The question's id.
        outcome: How its guess ended.
    """

    def __init__(self, question: str, outcome: str) -> None:
        self.how = _HOW.get(outcome, "settled")
        super().__init__(f"{question} was {self.how} meanwhile: the guess is settled", key="guess")


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
        self._mine = (GUESSES.c.person == person.key) & (GUESSES.c.program == program)
        self._all = select(GUESSES).where(self._mine).order_by(GUESSES.c.number)

    def waiting(self, question: str) -> Commitment | None:
        """Return the guess that waits for the answer to a question; None where none does.

        Raises:
            SettledError: The question was answered or given up.
        """
        with self.person.store.changing() as db:
            return self._waiting(db, question)

    def _waiting(self, db: Connection, question: str) -> Commitment | None:
        mine = db.execute(self._all.where(GUESSES.c.question == question)).mappings().all()
        for row in mine:
            if row["outcome"] in SETTLED:
                raise SettledError(question, row["outcome"])
        return next((_commitment(dict(row)) for row in mine if row["outcome"] == OPEN), None)

    def commit(self, question: str, codes: Mapping[str, int | None]) -> Commitment:
        """Keep a guess before its answer is known.

        Args:
            question: The question's id.
            codes: Guesser's name to its code, or None.

        Returns:
            The guess that counts: where another interview sealed one meanwhile, that one.

        Raises:
            MissingDataError: The person was forgotten.
            SettledError: The question was answered or given up meanwhile.
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
            if (first := self._waiting(db, question)) is not None:
                return first
            number = new_number(db.execute(GUESSES.insert(), row))
        return Commitment(number, question, time, dict(codes), nonce, row["digest"])

    def settle(self, guess: Commitment, question: Question, answer: int | str, source: str) -> None:
        """Add the true answer to the person's history and to the guess, both or neither.

        Raises:
            SettledError: The guess, or another one at the question, was settled meanwhile.
            ConfigError: The answer is none, or the guess is not what was sealed.
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
        done = GUESSES.c.outcome.in_(SETTLED)
        with self.person.store.changing() as db:
            rows = db.execute(self._all.where(done)).mappings().all()
        return frozenset(str(row["question"]) for row in rows)

    def scores(self) -> dict[str, Score]:
        """Return how each guesser did on the questions that were answered, each counted once."""
        truths = select(GUESSES.c.question, GUESSES.c.codes, ANSWERS.c.code).join(
            ANSWERS, ANSWERS.c.number == GUESSES.c.answer
        )
        answered = self._mine & (GUESSES.c.outcome == ANSWERED)
        with self.person.store.changing() as db:
            rows = db.execute(truths.where(answered).order_by(GUESSES.c.number)).all()
        counted: set[str] = set()
        found: dict[str, Score] = {}
        for question, codes, truth in rows:
            if question in counted:
                continue  # of a store in which two interviews at once could settle one question
            counted.add(question)
            for name, code in json.loads(codes).items():
                before = found.get(name, Score(0, 0))
                found[name] = Score(before.right + (code == truth), before.asked + 1)
        return found

    def _require_open(self, db: Connection, guess: Commitment) -> None:
        wanted = self._all.where(GUESSES.c.number == guess.number)
        row = db.execute(wanted).mappings().one_or_none()
        if row is not None and row["outcome"] != OPEN:
            raise SettledError(guess.question, row["outcome"])
        if row is None or not _commitment(dict(row)).is_sound:
            raise ConfigError(
                "the guess was forgotten, or is not the one that was sealed", key="guess"
            )
        self._waiting(db, guess.question)


def sealed_text(nonce: str, question: str, time: str, codes: Mapping[str, int | None]) -> str:
    """Return what is hashed: JSON of nonce, question, time and codes, names in order."""
    return json.dumps([nonce, question, time, dict(codes)], sort_keys=True)


def _digest(nonce: str, question: str, time: str, codes: Mapping[str, int | None]) -> str:
    return hashlib.sha256(sealed_text(nonce, question, time, codes).encode()).hexdigest()


def _commitment(row: Mapping[str, Any]) -> Commitment:
    kept = {name: row[name] for name in ("number", "question", "time", "nonce", "digest")}
    return Commitment(codes=json.loads(row["codes"]), **kept)
