"""Handing over what is kept of a person, and deleting it."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, delete, select

from valuesim_dspy.errors import ProgramStateError
from valuesim_dspy.people_tables import (
    ANSWERS,
    GUESSES,
    PEOPLE,
    QUESTIONS,
    REVISIONS,
    WRITTEN_FROM,
)


def person_row(db: Connection, key: str) -> dict[str, Any] | None:
    """Return a person's row of `PEOPLE`; None where nobody is kept under the key."""
    row = db.execute(select(PEOPLE).where(PEOPLE.c.key == key)).mappings().one_or_none()
    return dict(row) if row is not None else None


def forget_person(db: Connection, key: str) -> None:
    """Delete every row of a person."""
    mine = select(REVISIONS.c.number).where(REVISIONS.c.person == key)
    db.execute(delete(WRITTEN_FROM).where(WRITTEN_FROM.c.revision.in_(mine)))
    # Table by table: not every database follows foreign keys by itself.
    for table in (GUESSES, REVISIONS, ANSWERS, QUESTIONS):
        db.execute(delete(table).where(table.c.person == key))
    db.execute(delete(PEOPLE).where(PEOPLE.c.key == key))


def forget_question(db: Connection, key: str, id: str) -> None:
    """Delete a person's answers to a question, guesses at it, and every story that may tell it."""
    mine = (ANSWERS.c.person == key) & (ANSWERS.c.question == id)
    numbers = select(ANSWERS.c.number).where(mine)
    told = select(WRITTEN_FROM.c.revision).where(WRITTEN_FROM.c.answer.in_(numbers))
    stories = list(db.execute(told.distinct()).scalars())
    db.execute(delete(WRITTEN_FROM).where(WRITTEN_FROM.c.revision.in_(stories)))
    db.execute(delete(REVISIONS).where(REVISIONS.c.number.in_(stories)))
    for table in (GUESSES, ANSWERS):
        db.execute(delete(table).where((table.c.person == key) & (table.c.question == id)))
    own = (QUESTIONS.c.person == key) & (QUESTIONS.c.id == id)
    db.execute(delete(QUESTIONS).where(own))


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
    links = select(WRITTEN_FROM).join(REVISIONS).where(REVISIONS.c.person == key)
    found["written_from"] = [dict(link) for link in db.execute(links).mappings()]
    return json.dumps(found, indent=1, ensure_ascii=False)
