"""One answer of a remembered person: checked, given its time, and added."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, CursorResult, delete

from valuesim_dspy.case import plain_text
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.people_tables import ANSWERS, QUESTIONS
from valuesim_dspy.remembering import definition_of
from valuesim_dspy.survey.codebook import Question

MOST_OPEN = 2**31 - 1
LONGEST_ID = 64


def moment(time: str | None = None) -> str:
    """Return a time as it is kept: ISO 8601, UTC, microseconds; now by default.

    Args:
        time: ISO 8601; one that names no offset is taken for UTC.

    Raises:
        ConfigError: It is no time.
    """
    if time is None:
        return datetime.now(UTC).isoformat(timespec="microseconds")
    try:
        given = datetime.fromisoformat(time)
    except ValueError:
        raise ConfigError(
            "is no time; write 2026-03-01 or 2026-03-01T12:00+01:00", key="time"
        ) from None
    given = given if given.tzinfo is not None else given.replace(tzinfo=UTC)
    return given.astimezone(UTC).isoformat(timespec="microseconds")


def code_of(question: Question, answer: int | str) -> int:
    """Return the code that an answer means.

    Args:
        question: What was asked.
        answer: A code, as a number or in digits, or an option's label in any case.

    Raises:
        ConfigError: It is no option; for a question without options, no number from 0 up.
    """
    text = " ".join(str(answer).split()).casefold()
    if text.removeprefix("-").isdecimal() and text.isascii():
        code = int(text)
        if question.has_code(code) or (not question.options and 0 <= code <= MOST_OPEN):
            return code
    named = [option.code for option in question.options if option.label.casefold() == text]
    if len(named) == 1:
        return named[0]
    raise ConfigError(
        "the answer is not one of the options",
        key=plain_text(question.id),
        allowed=[f"{option.code} ({plain_text(option.label)})" for option in question.options]
        or ["a number"],
    )


def add_answer(
    db: Connection,
    person: str,
    question: str,
    code: int,
    time: str,
    source: str,
    *,
    in_profile: bool,
) -> int:
    """Add an answer as part of a transaction; return its number."""
    row = {"person": person, "question": question, "code": int(code), "time": time}
    row |= {"source": plain_text(source), "in_profile": in_profile}
    return new_number(db.execute(ANSWERS.insert(), row))


def add_question(db: Connection, person: str, question: Question) -> None:
    """Keep a question that is none of the codebook's; its newest form stands.

    Raises:
        ConfigError: Its id is too long.
    """
    if len(question.id) > LONGEST_ID:
        raise ConfigError(f"an id has at most {LONGEST_ID} characters", key="question")
    same = (QUESTIONS.c.person == person) & (QUESTIONS.c.id == question.id)
    db.execute(delete(QUESTIONS).where(same))
    definition = json.dumps(definition_of(question), ensure_ascii=False)
    db.execute(QUESTIONS.insert(), {"person": person, "id": question.id, "definition": definition})


def new_number(result: CursorResult[Any]) -> int:
    """Return the number that the database gave a row just added."""
    keys = result.inserted_primary_key
    assert keys is not None, "a table of numbered rows gives each row its number"
    return int(keys[0])
