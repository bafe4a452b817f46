"""One run of `valuesim interview`: who is asked what, by which program, once they agreed."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dspy

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Profile
from valuesim_dspy.commitments import Commitments
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.free_text import plain_text
from valuesim_dspy.interview import HOW, OURS, Interview
from valuesim_dspy.lm import make_lm, preflight
from valuesim_dspy.loading import load_program
from valuesim_dspy.observing import moment
from valuesim_dspy.people import People, Person
from valuesim_dspy.people_store import database_file, place_name, store_url
from valuesim_dspy.program import VARIANTS, ValueSim
from valuesim_dspy.roles import LMRole
from valuesim_dspy.state import program_digest
from valuesim_dspy.survey.codebook import Codebook, Question
from valuesim_dspy.survey.exporting import select_questions
from valuesim_dspy.survey.folds import PROTOCOL_KINDS
from valuesim_dspy.survey.informative import Informative
from valuesim_dspy.survey.respondents import Respondent, Respondents

CONSENT = """\
Before the first question, please read this.

What is kept: your answers with their times, the guesses made before you answered, and stories
about you that are written from your answers. Your name or number is not kept: a salted hash of it
stands in its place.
Where: {place}.{leaves}
How to see it: valuesim interview --person ID{there} --export FILE
How to delete it: valuesim interview --person ID{there} --forget all (or ids, as Q57,Q60-Q63).
{deleted}
You may skip any question, and stop at any time."""

IN_A_FILE = "What is deleted is overwritten in that file; copies of it, such as backups, are not."
ELSEWHERE = "What is deleted is deleted by that database, in its own way and time."

Rival = Callable[[Codebook, LMRole], dspy.Module | None]
"""Makes the program to compare with, and None where it is not installed."""


@dataclass(frozen=True)
class Session:
    """What an interview is made of, from the command line."""

    args: argparse.Namespace
    codebook: Codebook
    role: LMRole
    survey: Respondents | None
    row: Respondent | None
    say: Callable[[str], object]
    listen: Callable[[], str]

    def questions(self) -> list[Question]:
        """Return what may be asked, in codebook order."""
        if self.args.questions:
            chosen = [self.codebook[id] for id in select_questions(*self._named("questions"))]
        else:
            chosen = [question for question in self.codebook if question.kind in PROTOCOL_KINDS]
        told = set(select_questions(*self._named("known"))) if self.args.known else set()
        asked = [q for q in chosen if q.scorable and not q.private and q.id not in told]
        if self.row is not None:
            asked = [question for question in asked if self.row.answer(question.id) is not None]
        if not asked:
            raise ConfigError("none of these can be asked of this person", key="--questions")
        return asked

    def _named(self, option: str) -> tuple[Codebook, str]:
        return self.codebook, getattr(self.args, option)

    def person(self) -> Person | None:
        """Return the person once they have agreed; None, with nothing written, if they do not."""

        people = open_people(self.args, self.codebook, create=False)
        known = people is not None and self.args.person in people
        person = people.person(self.args.person) if people is not None and known else None
        if person is not None and person.kept.consent:
            return person
        if not self._agreed():
            return None
        if person is not None:
            person.agree()
            return person
        people = open_people(self.args, self.codebook, create=True)
        assert people is not None, "a store is made where there is none"
        profile = self._profile(people.store.key(self.args.person))
        return people.add(self.args.person, profile, source="survey", consent=moment())

    def _agreed(self) -> bool:

        url, role = store_url(self.args.people), self.role
        mine = database_file(url) is not None
        leaves = "" if role.local else f"\nTo make a guess, what is kept is sent to {role.host}."
        where = "the file {}, which only your account can read" if mine else "the database {}"
        place, deleted = where.format(place_name(url)), IN_A_FILE if mine else ELSEWHERE
        # Without the same place, the commands would look for the person elsewhere.
        given = shlex.quote(place_name(url)) if mine else "URL"
        there = f" --people {given}" if self.args.people else ""
        told = {"place": place, "leaves": leaves, "deleted": deleted, "there": there}
        self.say(CONSENT.format(**told))
        if self.args.yes:
            return True
        self.say("\nDo you agree? Type yes to begin.")
        return self.listen().strip().casefold() == "yes"

    def _profile(self, key: str) -> Profile | None:

        if self.row is None:
            return None
        told = frozenset(select_questions(*self._named("known"))) if self.args.known else ()
        answers = dict(self.row.masked(frozenset(told)))
        return Profile(key, answers, self.codebook, self.row.country or None)

    def interview(self, person: Person, questions: list[Question], rival: Rival | None) -> None:
        """Ask, and say how it went."""

        program = self._program()
        other = rival(self.codebook, self.role) if rival is not None else None
        if other is None:
            self.say("RAG does not guess along: baselines come with a clone of the project.")
        guessers = {OURS: program} | ({"RAG": other} if other is not None else {})
        lm = make_lm(self.role, name="task_lm")
        # In memory: whoever is forgotten must not live on in the cache of responses.
        with ResponseCache().installed(), dspy.context(lm=lm, disable_history=True):
            preflight(lm)
            if self.row is None:
                self.say(HOW)
            interview = Interview(
                person=person,
                guessers=guessers,
                commitments=Commitments(person, _counted_as(self.args.program, program, self.role)),
                ask=self._ask,
                say=self.say,
                informative=self._informative(questions),
                source="survey" if self.row is not None else "interview",
            )
            answered = interview.run(questions, most=self.args.most)
            self.say(f"\n{answered} answered; {interview.scores_line()}")
            if self.args.revise:
                self._revise(person, program)
        if self.role.offline:
            self.say("The embedded model guessed: it shows that the machinery works, no more.")

    def _program(self) -> dspy.Module:

        if self.args.program in VARIANTS:
            return ValueSim(self.args.program)
        return load_program(self.args.program, codebook=self.codebook)

    def _ask(self, question: Question) -> str:
        if self.row is not None:
            return str(self.row.answer(question.id))
        self.say("your answer:")
        return self.listen() or "quit"

    def _informative(self, questions: list[Question]) -> Informative | None:

        if not self.args.informative or self.survey is None:
            return None
        people = (place for place, other in enumerate(self.survey) if other.id != self.args.person)
        ids = [question.id for question in self.codebook if question.scorable]
        return Informative.of(self.survey, list(people), ids, [each.id for each in questions])

    def _revise(self, person: Person, program: dspy.Module) -> None:
        revision = person.revise(program)
        kept = (
            "" if revision.fidelity is None else f"; it keeps {revision.fidelity:.0%} of the facts"
        )
        stale = "" if revision.stale is None else f" and {revision.stale:.0%} of those overturned"
        self.say(f"the backstory is up to date{kept}{stale}")


def _counted_as(named: str, program: dspy.Module, role: LMRole) -> str:
    """Return what guesses are counted under.

    A folder's own name says nothing of whose it is. Nor does it say what is in the folder, so the
    digest of what is tells one from another of that name, and from itself before it was compiled.
    """
    if named in VARIANTS:
        return f"{named} {role.model}"
    name = Path(named).resolve().name if Path(named).is_dir() else named
    return f"{plain_text(name)} {program_digest(program)} {role.model}"


def open_people(args: argparse.Namespace, codebook: Codebook, *, create: bool) -> People | None:
    """Open the store; without `create`, a file that is not there stays so."""

    file = database_file(store_url(args.people))
    if not create and file is not None and not file.exists():
        return None
    return People(args.people, codebook=codebook)
