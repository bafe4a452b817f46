"""What is kept of one person, and what of it may be shown when a question is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select

from valuesim_dspy.case import HistoryItem, Profile, plain_text
from valuesim_dspy.errors import MissingDataError, ProgramStateError, SurveyDataError
from valuesim_dspy.people_tables import (
    ANSWERS,
    PEOPLE,
    QUESTIONS,
    REVISIONS,
    WRITTEN_FROM,
    found_among,
    question_from,
)
from valuesim_dspy.survey.codebook import Codebook, Question
from valuesim_dspy.survey.facts import Fact, make_fact


@dataclass(frozen=True, repr=False)
class KeptAnswer:
    """An answer: to what, which code, when (ISO 8601, UTC), from where.

    `in_profile` tells answers that were known when the person was added from those observed.
    """

    number: int
    question: str
    code: int
    time: str
    source: str
    in_profile: bool

    @property
    def age(self) -> tuple[str, int]:
        """What answers are ordered by: the newest is the greatest."""
        return (self.time, self.number)


@dataclass(frozen=True, repr=False)
class Revision:
    """A backstory, and what it was written from.

    Args:
        number: Greater for later ones.
        time: When it was written, ISO 8601.
        story: The text.
        fidelity: The share of all facts of the time that it keeps, in [0, 1], higher is better;
            None without facts. See `valuesim_dspy.fidelity`.
        stale: The share of overturned facts that it still tells, in [0, 1], lower is better;
            None where there were none.
        answers: Numbers of all answers that went into it or into a story it was made from.
    """

    number: int
    time: str
    story: str
    fidelity: float | None
    stale: float | None
    answers: frozenset[int]


@dataclass(frozen=True, repr=False)
class Kept:
    """All that is kept of a person but the guesses; answers and revisions oldest first."""

    key: str
    codebook: Codebook
    country: str | None
    statements: tuple[str, ...]
    story: str | None
    consent: str | None
    answers: tuple[KeptAnswer, ...]
    questions: Mapping[str, Question]
    revisions: tuple[Revision, ...]

    def question(self, id: str) -> Question | None:
        """Return a question of the codebook, or one of the person's own; None if unknown."""
        if id in self.codebook.questions:
            return self.codebook[id]
        return self.questions.get(id)

    def asked(self, question: str | Question) -> Question:
        """Return the question that is meant; a codebook's own wins over one of the same id.

        Raises:
            UnknownQuestionError: Neither codebook nor person has it.
            ConfigError: The person answered another question under this id.
        """
        id = question.id if isinstance(question, Question) else question
        if id in self.codebook.questions:
            return self.codebook[id]
        kept = found_among(self.questions, question)
        if kept is None:
            return question if isinstance(question, Question) else self.codebook[question]
        return kept

    def facts(self, answers: Iterable[KeptAnswer]) -> list[Fact]:
        """Return the facts of answers, in order; those that are none are left out."""
        return [fact for fact in map(self.fact, answers) if fact is not None]

    def fact(self, answer: KeptAnswer) -> Fact | None:
        """Return the fact of an answer; None where it is none (any more).

        A codebook may have changed since; answers to private questions are never facts.
        """
        question = self.question(answer.question)
        if question is None or question.private:
            return None
        try:
            fact = make_fact(question, answer.code, self.country)
        except SurveyDataError:
            return None
        return replace(fact, text=plain_text(fact.text))

    @property
    def folded(self) -> frozenset[int]:
        """Numbers of the answers that are profile: those given, and those worked in since."""
        given = {answer.number for answer in self.answers if answer.in_profile}
        return frozenset(given | (self.revisions[-1].answers if self.revisions else set()))


@dataclass(frozen=True, repr=False)
class Memory:
    """What may be shown of a person.

    Args:
        known: The newest folded answer to each question, where no later one overturns it.
        later: Answers after those, oldest first; before one that overturns a known answer
            stands the answer overturned.
        story: The backstory to use; None where it has to be written anew.
    """

    kept: Kept
    known: tuple[KeptAnswer, ...]
    later: tuple[KeptAnswer, ...]
    story: str | None

    def profile(self, answers: Iterable[KeptAnswer] | None = None) -> Profile:
        """Return a profile of the known answers, or of those given."""
        kept, own = self.kept, list(self.kept.statements)
        codes: dict[str, int] = {}
        for answer in self.known if answers is None else answers:
            fact = kept.fact(answer)
            if fact is not None and answer.question in kept.codebook.questions:
                codes[answer.question] = answer.code
            elif fact is not None:
                own.append(fact.text)
        told = [sorted(codes.items()), kept.country, own, self.story]
        known = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
        return Profile(kept.key, codes, kept.codebook, kept.country, known, tuple(own), self.story)

    def history(self) -> tuple[HistoryItem, ...]:
        """Return the later answers with the day of each."""
        return tuple(
            HistoryItem(question, answer.code, answer.time[:10])
            for answer in self.later
            if self.kept.fact(answer) and (question := self.kept.question(answer.question))
        )


def recall(kept: Kept, hidden: Collection[str] = ()) -> Memory:
    """Return what may be shown while some questions are hidden.

    A story that was written from an answer to a hidden question is not shown: the writer then
    writes one from the facts that are left.

    Args:
        kept: All that is kept.
        hidden: Ids of questions; see `hidden_by`.
    """
    shown, folded = [each for each in kept.answers if each.question not in hidden], kept.folded
    newest = {answer.question: answer for answer in shown if answer.number in folded}
    after = [
        answer
        for answer in shown
        if answer.number not in folded
        and (answer.question not in newest or answer.age > newest[answer.question].age)
    ]
    last = {answer.question: answer.code for answer in after}
    overturned = {
        answer.number for id, answer in newest.items() if last.get(id, answer.code) != answer.code
    }
    later = [*after, *(answer for answer in newest.values() if answer.number in overturned)]
    return Memory(
        kept,
        tuple(answer for answer in newest.values() if answer.number not in overturned),
        tuple(sorted(later, key=lambda answer: answer.age)),
        _story(kept, hidden),
    )


def hidden_by(question: Question, codebook: Codebook) -> frozenset[str]:
    """Return the ids that must not be shown while a question is asked: it and its twins."""
    mirrored = {other.id for other in codebook if question.id in other.twins}
    return frozenset({question.id, *question.twins} | mirrored)


def _story(kept: Kept, hidden: Collection[str]) -> str | None:
    if not kept.revisions:
        return kept.story
    banned = {answer.number for answer in kept.answers if answer.question in hidden}
    latest = kept.revisions[-1]
    # What the person wrote themselves was not made from answers, and stands where ours may not.
    return kept.story if banned & latest.answers else latest.story


def read_kept(db: Connection, key: str, codebook: Codebook) -> Kept:
    """Read all that is kept of a person.

    Raises:
        MissingDataError: Nobody is kept under this key.
        ProgramStateError: What is kept is nothing that this code writes.
    """
    try:
        return _read_kept(db, key, codebook)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ProgramStateError(
            f"what is kept of {key} is damaged ({type(error).__name__}); forget the person, or "
            "bring back a copy of the store"
        ) from None


def _read_kept(db: Connection, key: str, codebook: Codebook) -> Kept:
    row = db.execute(select(PEOPLE).where(PEOPLE.c.key == key)).mappings().one_or_none()
    if row is None:
        raise MissingDataError(f"nobody is remembered as {key}", "add the person first")
    answers = [
        KeptAnswer(**{name: value for name, value in found.items() if name != "person"})
        for found in db.execute(select(ANSWERS).where(ANSWERS.c.person == key)).mappings()
    ]
    return Kept(
        key=key,
        codebook=codebook,
        country=row["country"],
        statements=tuple(_text(text) for text in _list(json.loads(row["statements"]))),
        story=None if row["story"] is None else _text(row["story"]),
        consent=row["consent"],
        answers=tuple(sorted(answers, key=lambda answer: answer.age)),
        questions=_own_questions(db, key),
        revisions=_revisions(db, key),
    )


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _text(value: object) -> str:
    # SQLite keeps what it is given, whatever the column's type.
    if not isinstance(value, str):
        raise TypeError
    return value


def _own_questions(db: Connection, key: str) -> dict[str, Question]:
    rows = db.execute(select(QUESTIONS).where(QUESTIONS.c.person == key)).mappings()
    return {row["id"]: question_from(row["id"], json.loads(row["definition"])) for row in rows}


def _revisions(db: Connection, key: str) -> tuple[Revision, ...]:
    links = select(WRITTEN_FROM).join(REVISIONS).where(REVISIONS.c.person == key)
    sources: dict[int, set[int]] = {}
    for link in db.execute(links):
        sources.setdefault(link.revision, set()).add(link.answer)
    rows = db.execute(
        select(REVISIONS).where(REVISIONS.c.person == key).order_by(REVISIONS.c.number)
    )
    return tuple(
        Revision(
            row.number,
            row.time,
            row.story,
            row.fidelity,
            row.stale,
            frozenset(sources.get(row.number, ())),
        )
        for row in rows
    )
