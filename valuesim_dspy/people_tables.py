"""The tables in which remembered people are kept; their names and columns are file format."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.free_text import plain_text
from valuesim_dspy.survey.codebook import Question

SCHEMA = MetaData()


def _person() -> Column[str]:
    return Column("person", ForeignKey("people.key", ondelete="CASCADE"), index=True)


MARKS = Table(
    "marks", SCHEMA, Column("name", String(16), primary_key=True), Column("value", String(64))
)
"""The format of the store, the salt of its keys, and whether deleted bytes may be left."""
PEOPLE = Table(
    "people",
    SCHEMA,
    Column("key", String(12), primary_key=True),
    Column("codebook", String(64), nullable=False),
    Column("country", String(3)),
    Column("statements", Text, nullable=False),
    Column("story", Text),
    Column("consent", String(32)),
    Column("time", String(32), nullable=False),
)
"""One row a person: what they told of themselves in words, and when they agreed to be kept."""
QUESTIONS = Table(
    "questions",
    SCHEMA,
    Column("person", ForeignKey("people.key", ondelete="CASCADE"), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("definition", Text, nullable=False),
)
"""Questions that are none of the codebook's, as JSON; see `definition_of`."""
ANSWERS = Table(
    "answers",
    SCHEMA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    _person(),
    Column("question", String(64), nullable=False),
    Column("code", Integer, nullable=False),
    Column("time", String(32), nullable=False),
    Column("source", Text, nullable=False),
    Column("in_profile", Boolean, nullable=False),
    sqlite_autoincrement=True,
)
"""Every answer, with its time (ISO 8601, UTC) and where it comes from; none is overwritten."""
REVISIONS = Table(
    "revisions",
    SCHEMA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    _person(),
    Column("time", String(32), nullable=False),
    Column("story", Text, nullable=False),
    Column("fidelity", Float),
    Column("stale", Float),
    sqlite_autoincrement=True,
)
"""Backstories; `fidelity` and `stale` are shares in [0, 1]."""
WRITTEN_FROM = Table(
    "written_from",
    SCHEMA,
    Column("revision", ForeignKey("revisions.number", ondelete="CASCADE"), primary_key=True),
    Column("answer", ForeignKey("answers.number", ondelete="CASCADE"), primary_key=True),
)
"""Every answer that ever went into a story, overturned ones too."""
GUESSES = Table(
    "guesses",
    SCHEMA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    _person(),
    Column("question", String(64), nullable=False),
    Column("program", Text, nullable=False),
    Column("time", String(32), nullable=False),
    Column("codes", Text, nullable=False),
    Column("nonce", String(32), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("answer", ForeignKey("answers.number", ondelete="CASCADE")),
    sqlite_autoincrement=True,
)
"""Guesses committed before the answer was known; `codes` is JSON, `answer` the truth."""
OPEN, ANSWERED, UNKNOWN, WITHDRAWN = "open", "answered", "unknown", "withdrawn"
"""A guess waits for the answer; the answer came; the person does not know; was not to be asked."""
SETTLED = (ANSWERED, UNKNOWN)
"""Outcomes after which a question is not asked again."""


def definition_of(question: Question) -> dict[str, object]:
    """Return what is kept of a question that is none of the codebook's; its text made plain."""
    return {
        "text": plain_text(question.text),
        "options": {str(option.code): plain_text(option.label) for option in question.options},
        "scale_kind": question.scale_kind,
        "order": list(question.order),
    }


def question_from(id: str, definition: Mapping[str, object]) -> Question:
    """Return a person's own question; see `definition_of`."""
    options = dict(definition["options"])  # type: ignore[call-overload]
    return Question(
        str(definition["text"]),
        {int(code): str(label) for code, label in options.items()},
        id=id,
        scale_kind=str(definition["scale_kind"]),
        order=tuple(definition["order"]),  # type: ignore[arg-type]
    )


def found_among(questions: Mapping[str, Question], wanted: str | Question) -> Question | None:
    """Return which of a person's own questions is meant, by their ids; None where none is.

    Stores of before options were part of a default id know a question by its `former_id`.

    Raises:
        ConfigError: The id stands for a question of another text or other options.
    """
    if isinstance(wanted, str):
        olds = (old for old in questions.values() if old.id == old.former_id)
        return questions.get(wanted) or next((o for o in olds if o.default_id == wanted), None)
    definition = definition_of(wanted)
    by_default = (wanted.former_id,) if wanted.id == wanted.default_id else ()
    for kept in (questions.get(id) for id in (wanted.id, *by_default)):
        if kept is not None and definition_of(kept) == definition:
            return kept
    if wanted.id in questions:
        raise ConfigError(
            "another question was answered under this id: give this one an id of its own, or "
            "forget that one",
            key=plain_text(wanted.id),
        )
    return None
