"""The tables in which remembered people are kept; their names and columns are file format."""

from __future__ import annotations

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
"""Questions that are none of the codebook's, as JSON."""
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
