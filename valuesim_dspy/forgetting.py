"""Handing over what is kept of a person, and deleting it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, select

from valuesim_dspy.errors import ConfigError, MissingDataError, ProgramStateError
from valuesim_dspy.free_text import plain_text
from valuesim_dspy.people_tables import (
    ANSWERS,
    GUESSES,
    PEOPLE,
    QUESTIONS,
    REVISIONS,
    SETTLED,
    WRITTEN_FROM,
)
from valuesim_dspy.survey.codebook import Codebook
from valuesim_dspy.survey.exporting import select_questions

ALL = "all"
"""What everything is called where ids of questions could stand."""


@dataclass(frozen=True)
class Forgotten:
    """What was deleted: how many answers, guesses and backstories."""

    answers: int
    guesses: int
    stories: int

    def __str__(self) -> str:
        counts = ((self.answers, "answer"), (self.guesses, "guess"), (self.stories, "backstory"))
        plural = {"answer": "answers", "guess": "guesses", "backstory": "backstories"}
        return ", ".join(f"{n} {name if n == 1 else plural[name]}" for n, name in counts)


def person_row(db: Connection, key: str) -> dict[str, Any] | None:
    """Return a person's row of `PEOPLE`; None where nobody is kept under the key."""
    row = db.execute(select(PEOPLE).where(PEOPLE.c.key == key)).mappings().one_or_none()
    return dict(row) if row is not None else None


def forget(db: Connection, key: str, codebook: Codebook, what: str) -> Forgotten:
    """Delete a person, or what is kept of some questions; see `Person.forget`.

    Raises:
        MissingDataError: Nobody is kept under the key, or nothing of what is named.
        UnknownQuestionError: Neither person nor codebook has such a question.
        ConfigError: A range runs backwards, or nothing is named.
    """
    row = person_row(db, key)
    if row is None:
        raise MissingDataError("this person was forgotten", "there is nothing to delete")
    if what != ALL:
        return _forget_questions(db, key, _kept_among(db, key, codebook, what))
    mine = select(REVISIONS.c.number).where(REVISIONS.c.person == key)
    db.execute(delete(WRITTEN_FROM).where(WRITTEN_FROM.c.revision.in_(mine)))
    # Table by table: not every database follows foreign keys by itself.
    guesses, stories, answers, _ = (
        _deleted(db, table, table.c.person == key)
        for table in (GUESSES, REVISIONS, ANSWERS, QUESTIONS)
    )
    db.execute(delete(PEOPLE).where(PEOPLE.c.key == key))
    return Forgotten(answers, guesses, stories + (row["story"] is not None))


def _forget_questions(db: Connection, key: str, ids: Sequence[str]) -> Forgotten:
    """Delete the answers to questions, the guesses at them, and every story that may tell them."""
    mine = (ANSWERS.c.person == key) & ANSWERS.c.question.in_(ids)
    numbers = select(ANSWERS.c.number).where(mine)
    told = select(WRITTEN_FROM.c.revision).where(WRITTEN_FROM.c.answer.in_(numbers))
    stories = list(db.execute(told.distinct()).scalars())
    db.execute(delete(WRITTEN_FROM).where(WRITTEN_FROM.c.revision.in_(stories)))
    _deleted(db, REVISIONS, REVISIONS.c.number.in_(stories))
    guesses = _deleted(db, GUESSES, (GUESSES.c.person == key) & GUESSES.c.question.in_(ids))
    answers = _deleted(db, ANSWERS, mine)
    _deleted(db, QUESTIONS, (QUESTIONS.c.person == key) & QUESTIONS.c.id.in_(ids))
    return Forgotten(answers, guesses, len(stories))


def _deleted(db: Connection, table: Table, those: ColumnElement[bool]) -> int:
    return int(db.execute(delete(table).where(those)).rowcount)


def _kept_among(db: Connection, key: str, codebook: Codebook, text: str) -> list[str]:
    """Return the ids that are named and of which something is kept; see `forget`."""
    kept: set[str] = set()
    for column in (ANSWERS.c.question, GUESSES.c.question, QUESTIONS.c.id):
        kept.update(db.execute(select(column).where(column.table.c.person == key)).scalars())
    # A person's own questions may have any id: one with a comma or a dash is no list and no range.
    parts = [text] if text in kept else list(filter(None, map(str.strip, text.split(","))))
    if not parts:
        raise ConfigError(f"name questions, such as Q1,Q57-Q63, or {ALL}", key="forget")
    found: dict[str, None] = {}
    for part in parts:
        is_own = part in kept or part.startswith("own-")
        named = kept.intersection([part] if is_own else select_questions(codebook, part))
        if not named:
            raise MissingDataError(
                f"nothing is kept of {plain_text(part)}, so nothing was deleted",
                "name what is kept: an export shows it",
            )
        found |= dict.fromkeys(sorted(named))
    return list(found)


def export_person(db: Connection, key: str) -> str | None:
    """Return every row of a person as JSON; None where nobody is kept under the key.

    Raises:
        ProgramStateError: What is kept is nothing that this code writes.
    """
    try:
        return _exported(db, key)
    except (ValueError, TypeError, RecursionError) as error:
        raise ProgramStateError(
            f"what is kept of {key} is damaged ({type(error).__name__}); forget the person, or "
            "bring back a copy of the store"
        ) from None


def _exported(db: Connection, key: str) -> str | None:
    found = person_row(db, key)
    if found is None:
        return None
    found["statements"] = json.loads(found["statements"])
    for table in (ANSWERS, QUESTIONS, REVISIONS, GUESSES):
        rows = db.execute(select(table).where(table.c.person == key)).mappings()
        found[table.name] = [{k: v for k, v in row.items() if k != "person"} for row in rows]
    for row in found["questions"]:
        row["definition"] = json.loads(row["definition"])
    for row in found["guesses"]:
        row["codes"] = json.loads(row["codes"])
    _seal(found["guesses"])
    links = select(WRITTEN_FROM).join(REVISIONS).where(REVISIONS.c.person == key)
    found["written_from"] = [dict(link) for link in db.execute(links).mappings()]
    return json.dumps(found, indent=1, ensure_ascii=False)


def _seal(guesses: Iterable[dict[str, Any]]) -> None:
    """Leave out what guesses are whose questions may still be asked; their digests stay."""
    rows = list(guesses)
    done = {(row["program"], row["question"]) for row in rows if row["outcome"] in SETTLED}
    for row in rows:
        if (row["program"], row["question"]) not in done:
            # With the nonce, the few codes that there are could be tried.
            row |= {"codes": None, "nonce": None}
