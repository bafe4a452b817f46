"""One answer of a remembered person: checked, given its time, and added."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, CursorResult

from valuesim_dspy.case import plain_text
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.people_tables import ANSWERS, QUESTIONS, definition_of, question_from
from valuesim_dspy.remembering import Kept
from valuesim_dspy.survey.codebook import Question

MOST_OPEN = 2**31 - 1
MOST_DIGITS = 20
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
        given = given if given.tzinfo is not None else given.replace(tzinfo=UTC)
        return given.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        raise ConfigError(
            "is no time; write 2026-03-01 or 2026-03-01T12:00+01:00", key="time"
        ) from None


def code_of(question: Question, answer: int | str) -> int:
    """Return the code that an answer means.

    Args:
        question: What was asked.
        answer: A code, as a number or in digits, or an option's label in any case.

    Raises:
        ConfigError: It is no option; for a question without options, no number from 0 up.
    """
    # Python itself refuses to turn thousands of digits into a number, or a number into them.
    is_long = isinstance(answer, int) and abs(answer) >= 10**MOST_DIGITS
    text = "" if is_long else " ".join(str(answer).split()).casefold()
    digits = text.removeprefix("-")
    if digits.isdecimal() and digits.isascii() and len(digits) <= MOST_DIGITS:
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


def add_observed(
    db: Connection,
    kept: Kept,
    question: str | Question,
    answer: int | str,
    *,
    source: str,
    time: str | None = None,
) -> int:
    """Add an answer to a person's history as part of a transaction; return its number.

    Args:
        db: The transaction, in which `kept` was read.
        kept: What is kept of the person.
        question: A question of the codebook, or one's own.
        answer: A code, or an option's label.
        source: Where it comes from.
        time: When it was given, ISO 8601. By default now; where the clock was set back, the time
            of the last answer to this question, so that the newest stays the newest.

    Raises:
        ConfigError: The answer is none of the options, the time is none, or the id stands for
            another question.
        UnknownQuestionError: Neither codebook nor person has such a question.
    """
    asked = kept.asked(question)
    code, when = code_of(asked, answer), moment(time)
    if time is None:
        when = max([when, *(each.time for each in kept.answers if each.question == asked.id)])
    if asked.id not in kept.codebook.questions and asked.id not in kept.questions:
        _add_question(db, kept.key, asked)
    return add_answer(db, kept.key, asked.id, code, when, source, in_profile=False)


def _add_question(db: Connection, person: str, question: Question) -> None:
    """Keep a question that is none of the codebook's."""
    if len(question.id) > LONGEST_ID or not _is_text(question.id):
        message = f"an id is a text of at most {LONGEST_ID} characters"
        raise ConfigError(message, key="question")
    definition = definition_of(question)
    # Made plain, two labels may have become one: what cannot be read again is not written.
    question_from(question.id, definition)
    row = {"person": person, "id": question.id}
    row["definition"] = json.dumps(definition, ensure_ascii=False)
    db.execute(QUESTIONS.insert(), row)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def new_number(result: CursorResult[Any]) -> int:
    """Return the number that the database gave a row just added."""
    keys = result.inserted_primary_key
    assert keys is not None, "a table of numbered rows gives each row its number"
    return int(keys[0])
