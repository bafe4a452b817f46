"""People who are remembered: what they answered, when, from where, and their backstories."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy
from sqlalchemy import Connection, func, select, update

from valuesim_dspy.case import Case, Profile, plain_text
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.fidelity import backstory_fidelity
from valuesim_dspy.forgetting import ALL, Forgotten, export_person, forget, person_row
from valuesim_dspy.modules import BackstoryWriter
from valuesim_dspy.observing import add_answer, add_observed, moment, new_number
from valuesim_dspy.people_store import PeopleStore
from valuesim_dspy.people_tables import ANSWERS, PEOPLE, REVISIONS, WRITTEN_FROM
from valuesim_dspy.remembering import Kept, Revision, hidden_by, read_kept, recall
from valuesim_dspy.revising import BackstoryReviser
from valuesim_dspy.survey.codebook import Codebook, Question, load_codebook
from valuesim_dspy.survey.facts import Fact


class People:
    """A store of people; see `valuesim_dspy.people_store.PeopleStore`.

    Args:
        place: A file, a folder or an SQLAlchemy address; by default a private SQLite file in the
            project's store.
        codebook: What question ids and codes mean; wave 7 by default.
    """

    def __init__(
        self, place: str | Path | None = None, *, codebook: Codebook | None = None
    ) -> None:
        self.store = PeopleStore(place)
        self.codebook = codebook if codebook is not None else load_codebook()

    def __repr__(self) -> str:
        return f"People({self.store.name})"

    def __contains__(self, id: str) -> bool:
        with self.store.changing() as db:
            return person_row(db, self.store.key(id)) is not None

    def __len__(self) -> int:
        with self.store.changing() as db:
            return int(db.execute(select(func.count()).select_from(PEOPLE)).scalar_one())

    def add(
        self,
        id: str,
        profile: Profile | None = None,
        *,
        source: str = "profile",
        consent: str | None = None,
        time: str | None = None,
    ) -> Person:
        """Add a person.

        Args:
            id: Any name; a salted hash of it is kept.
            profile: What is known already: answers, country, statements, a story of their own.
            source: Where that comes from.
            consent: When the person agreed to be kept, ISO 8601.
            time: When the answers were given, ISO 8601; now by default.

        Raises:
            ConfigError: The person is there already, or the profile is of another codebook.
        """
        key, when = self.store.key(id), moment(time)
        if profile is not None and profile.codebook.id != self.codebook.id:
            raise ConfigError(
                "the profile is of another codebook",
                key="profile",
                value=profile.codebook.id,
                allowed=[self.codebook.id],
            )
        row: dict[str, Any] = {"key": key, "codebook": self.codebook.id, "time": moment()}
        row |= {"country": None, "statements": "[]", "story": None}
        if profile is not None:
            told = [plain_text(text) for text in profile.statements]
            story = plain_text(profile.story) if profile.story is not None else None
            row |= {"country": profile.country, "statements": json.dumps(told), "story": story}
        with self.store.changing() as db:
            if person_row(db, key) is not None:
                raise ConfigError("is remembered already: use it, or forget it", key="person")
            db.execute(PEOPLE.insert(), row | {"consent": moment(consent) if consent else None})
            for asked, code in profile.answers.items() if profile is not None else ():
                add_answer(db, key, asked, code, when, source, in_profile=True)
        return Person(self, key)

    def person(self, id: str) -> Person:
        """Return a person who was added.

        Raises:
            MissingDataError: They were not.
            ConfigError: Their answers are to another codebook.
        """
        key = self.store.key(id)
        with self.store.changing() as db:
            row = person_row(db, key)
        if row is None:
            raise MissingDataError("this person is not remembered", "add the person first")
        if row["codebook"] != self.codebook.id:
            raise ConfigError(
                "this person's answers are to another codebook",
                key="codebook",
                value=self.codebook.id,
                allowed=[row["codebook"]],
            )
        return Person(self, key)


class Person:
    """One remembered person; made by `People`. Every method reads what is kept now.

    Attributes:
        key: The salted hash they are kept under.
        store: Where.
    """

    def __init__(self, people: People, key: str) -> None:
        self._people, self.store, self.key = people, people.store, key

    def __repr__(self) -> str:
        return f"Person({self.key})"

    @property
    def kept(self) -> Kept:
        """All that is kept but the guesses.

        Raises:
            MissingDataError: The person was forgotten.
        """
        with self.store.changing() as db:
            return read_kept(db, self.key, self._people.codebook)

    @property
    def backstory(self) -> str | None:
        """The newest backstory; the person's own, or None, where none was written."""
        return recall(self.kept).story

    def observe(
        self,
        question: str | Question,
        answer: int | str,
        *,
        source: str = "observed",
        time: str | None = None,
    ) -> None:
        """Add an answer to the history; earlier ones to the same question stay, the newest rules.

        Args:
            question: A question of the codebook, or one's own.
            answer: A code, or an option's label.
            source: Where it comes from.
            time: When it was given, ISO 8601; now by default, and never before the last answer
                to the question, whatever the clock says.

        Raises:
            ConfigError: The answer is none of the options, the time is none, or another question
                was answered under the id.
            UnknownQuestionError: The codebook has no such question.
            MissingDataError: The person was forgotten.
        """
        with self.store.changing() as db:
            self.observe_in(db, question, answer, source=source, time=time)

    def observe_in(
        self,
        db: Connection,
        question: str | Question,
        answer: int | str,
        *,
        source: str,
        time: str | None = None,
    ) -> int:
        """As `observe`, as part of a transaction; return the number of what was added."""
        kept = read_kept(db, self.key, self._people.codebook)
        return add_observed(db, kept, question, answer, source=source, time=time)

    def agree(self) -> None:
        """Note that the person agreed, now."""
        with self.store.changing() as db:
            db.execute(update(PEOPLE).where(PEOPLE.c.key == self.key).values(consent=moment()))

    def case(self, question: str | Question) -> Case:
        """Return the question put to this person, by all that is known but it and its twins.

        Their own words (statements, a story that they wrote) are shown as they are.

        Raises:
            UnknownQuestionError: The codebook has no such question.
            ConfigError: Another question was answered under its id.
            MissingDataError: The person was forgotten.
        """
        kept = self.kept
        asked = kept.asked(question)
        memory = recall(kept, hidden_by(asked, kept.codebook))
        return Case(memory.profile(), asked, memory.history())

    def revise(self, by: dspy.Module | None = None) -> Revision:
        """Fold the history into the backstory, and keep the result as a revision.

        Needs a language model in force. Where there is no story yet, one is written.

        Args:
            by: A `BackstoryReviser`, or a program whose writer is used.

        Raises:
            PredictionError: The model gave no story.
            MissingDataError: Nothing is known of the person, or they were forgotten.
            ConfigError: Something was forgotten meanwhile, and nothing is kept.
        """
        reviser = by if isinstance(by, BackstoryReviser) else BackstoryReviser(_writer(by))
        kept = self.kept
        memory = recall(kept)
        newest = {a.question: a for a in (*memory.known, *memory.later) if kept.fact(a)}
        told = kept.revisions[-1].answers if kept.revisions else frozenset()
        new = [answer for answer in newest.values() if answer.number not in told]
        if kept.revisions and not new:
            return kept.revisions[-1]
        outdated = [answer for answer in memory.later if answer.number in told]
        profile = memory.profile(newest.values())
        if not profile.facts and profile.story is None:
            raise MissingDataError("nothing is known of this person", "let them answer something")
        story = reviser(profile=profile, new=kept.facts(new), outdated=kept.facts(outdated))
        gone = [a for a in kept.answers if newest.get(a.question, a).code != a.code]
        measured = {
            "fidelity": _share(profile.facts, story),
            "stale": _share(kept.facts(gone), story),
        }
        return self._keep(story, measured, kept)

    def _keep(self, story: str, measured: Mapping[str, float | None], kept: Kept) -> Revision:
        numbers = {answer.number for answer in kept.answers}
        with self.store.changing() as db:
            there = select(ANSWERS.c.number).where(ANSWERS.c.person == self.key)
            if person_row(db, self.key) is None or numbers - {n for (n,) in db.execute(there)}:
                # The story may tell it.
                raise ConfigError("something was forgotten meanwhile: revise again", key="person")
            row = {"person": self.key, "time": moment(), "story": story, **measured}
            number = new_number(db.execute(REVISIONS.insert(), row))
            if numbers:
                links = [{"revision": number, "answer": each} for each in sorted(numbers)]
                db.execute(WRITTEN_FROM.insert(), links)
            return read_kept(db, self.key, self._people.codebook).revisions[-1]

    def forget(self, what: str = ALL) -> Forgotten:
        """Delete answers and guesses of questions, and stories made from them; or everything.

        In an SQLite file the bytes are overwritten and the file is written anew. Another
        database deletes the rows; when it gives up their bytes is its own affair.

        Args:
            what: "all", or ids of questions, and ranges of the codebook's: "Q57,Q60-Q63".

        Returns:
            How much was deleted.

        Raises:
            MissingDataError: Nothing is kept of a question or a range that is named, or of the
                person; then nothing is deleted.
            UnknownQuestionError: Neither person nor codebook has such a question.
            ValueSimError: Another process holds the file, so that old bytes are still in it.
        """
        with self.store.deleting() as db:
            return forget(db, self.key, self._people.codebook, what)

    def export(self) -> str:
        """Return everything that is kept of the person, as JSON.

        Of a guess at what was not answered yet it is said that it is there, and not what it is.
        """
        with self.store.changing() as db:
            found = export_person(db, self.key)
        if found is None:
            raise MissingDataError("this person was forgotten", "there is nothing to export")
        return found


def _share(facts: Sequence[Fact], story: str) -> float | None:
    return backstory_fidelity(facts, story) if facts else None


def _writer(program: dspy.Module | None) -> BackstoryWriter | None:
    found = getattr(program, "writer", None)
    return found if isinstance(found, BackstoryWriter) else None
