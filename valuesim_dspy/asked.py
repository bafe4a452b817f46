"""Who is asked what, and what is known of them meanwhile: rows of a simulation, made lazily."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import Any

import dspy

from valuesim_dspy.case import Case, Profile
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.hiding import Hide, digest_of, views_of
from valuesim_dspy.loop import staggered
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.state import program_digest
from valuesim_dspy.survey.codebook import Codebook, Question
from valuesim_dspy.survey.facts import COUNTRY
from valuesim_dspy.survey.respondents import Respondents

Row = tuple[int, "dspy.Example | Outcome"]

AHEAD = 4
"""People whose backstories are written early, at most."""
NO_OPTIONS = "the question has no options to choose from"
NOTHING_KNOWN = "no answer of this person is known but those that are hidden"


class Asked:
    """Respondents and the questions put to each: numbered rows, made when they are asked for.

    A row's number is the place of its person in `positions` times the number of questions, plus
    the place of its question in `questions`.

    Args:
        program: Who answers: any module of the call shape.
        respondents: The survey.
        positions: Who of it is asked.
        questions: What each is asked: questions of the codebook, or one's own.
        hide: See `views_of`.
        parts: See `views_of`.

    Raises:
        ConfigError: Nothing is asked, or nothing would be known of anybody.
    """

    def __init__(
        self,
        program: dspy.Module,
        respondents: Respondents,
        positions: Sequence[int],
        questions: Sequence[Question],
        *,
        hide: Hide = "question",
        parts: int = 1,
    ) -> None:
        self.program, self.respondents = program, respondents
        self.positions, self.questions = list(positions), tuple(questions)
        self.hide, self.parts = hide, parts
        if not self.positions or not self.questions:
            raise ConfigError("there is nobody to ask, or nothing")
        if twice := [id for id, n in Counter(q.id for q in self.questions).items() if n > 1]:
            raise ConfigError(f"two questions have the id {twice[0]}; give one another", key="id")
        self.views = views_of(self.questions, respondents.codebook, hide=hide, parts=parts)
        self._check_known()
        self._places: dict[int, list[int]] = {}
        for place, view in enumerate(self.views):
            self._places.setdefault(view.part, []).append(place)

    @property
    def total(self) -> int:
        """How many rows there are."""
        return len(self.positions) * len(self.questions)

    @property
    def peer_digest(self) -> str:
        """Which similar people are bound to the program; "" for none."""
        bound = getattr(self.program, "bindings", {}).get("peers", {})
        return str(bound.get("digest", ""))

    def rows(
        self,
        positions_at: Iterable[int] | None = None,
        done: Callable[[int], bool] = lambda number: False,
        *,
        threads: int = 1,
    ) -> Iterator[Row]:
        """Yield numbered rows: respondents outside, what is known of them next, questions inside.

        Where several cases are in flight, the rows that others would wait for come early: the
        first of each person, for which the backstory is written, and those that ask for several
        questions together.

        Args:
            positions_at: Places in `positions`; all by default.
            done: Whether a row is to be left out.
            threads: How many cases will be in flight.

        Yields:
            A row's number with an example; with an outcome where the row is skipped.
        """
        everyone = range(len(self.positions)) if positions_at is None else positions_at
        blocks = (block for at in everyone for block in self._blocks(at, done))
        begin = threads // 2 if threads > 1 else 0
        for batch in staggered(blocks, self._ahead(threads), begin):
            yield from batch

    def _blocks(self, at: int, done: Callable[[int], bool]) -> Iterator[tuple[list[Row], ...]]:
        """Yield what is asked of a person on each view: the rows to be put early, and the rest."""
        first = at * len(self.questions)
        profiles: dict[int, Profile] = {}
        for places in self._places.values():
            rows = [
                (first + place, self._row(at, place, profiles))
                for place in places
                if not done(first + place)
            ]
            early = [row for row in rows if self._leads(row)] or rows[:1]
            numbers = {number for number, _ in early}
            yield early, [row for row in rows if row[0] not in numbers]

    def _leads(self, row: Row) -> bool:
        leads = getattr(self.program, "leads", None)
        return leads is not None and isinstance(row[1], dspy.Example) and bool(leads(row[1].case))

    def _ahead(self, threads: int) -> int:
        """Return how many blocks must be begun early so that nobody waits for who leads them."""
        if threads <= 1:
            return 0
        width = len(self.questions) / len(self._places)
        per_call = getattr(self.program, "most", 1) if hasattr(self.program, "leads") else 1
        blocks = ceil(threads * per_call / width) + 1
        # More people at once would push each other out of a server's prefix cache.
        return blocks if per_call > 1 else min(blocks, AHEAD)

    def left(
        self, positions_at: Iterable[int], done: Callable[[int], bool]
    ) -> tuple[list[int], int]:
        """Return the places of the people who have rows that are not done, and how many rows."""
        width = len(self.questions)
        places, rows = [], 0
        for at in positions_at:
            count = sum(not done(number) for number in range(at * width, (at + 1) * width))
            rows += count
            if count:
                places.append(at)
        return places, rows

    def arguments(self) -> dict[str, Any]:
        """Return everything that decides the rows, as plain values without secrets or paths."""
        own = [q for q in self.questions if not same_question(q, self.respondents.codebook)]
        rows = self.respondents.rows[self.positions].tolist()
        return {
            "program_digest": program_digest(self.program),
            "peers": self.peer_digest,
            "survey": self.respondents.digest,
            "codebook": f"{self.respondents.codebook.id} {self.respondents.codebook.digest}",
            "people": f"{len(rows)} {digest_of(rows)}",
            "questions": ",".join(question.id for question in self.questions),
            "own": own_text(own),
            "own_content": digest_of([question.content() for question in own]) if own else "",
            "hide": self.hide,
            "parts": self.parts,
        }

    def _row(self, at: int, place: int, profiles: dict[int, Profile]) -> dspy.Example | Outcome:
        question, view = self.questions[place], self.views[place]
        respondent = self.respondents[self.positions[at]]
        codebook = self.respondents.codebook
        profile = profiles.get(view.part)
        if profile is None:
            profile = profiles[view.part] = Profile(
                key=respondent.key(self.respondents.digest),
                answers=respondent.masked(view.known),
                codebook=codebook,
                country=respondent.country or None,
                known=view.name,
                synthetic=respondent.synthetic,
            )
        truth = respondent.answer(question.id) if same_question(question, codebook) else None
        return row_of(Case(profile, question), truth)

    def _check_known(self) -> None:
        absent = set(self.respondents.report.columns_missing)
        codebook = self.respondents.codebook
        telling = {q.id for q in codebook if q.gives_facts and not q.private} - absent
        for question, view in zip(self.questions, self.views, strict=True):
            if not telling & view.known:
                raise ConfigError(
                    f"where {question.id} is asked nothing is known of anybody but the country; "
                    "ask fewer questions, deal them into more parts (--parts), or hide less "
                    "(--hide question)",
                    key="hide",
                )


class Listed:
    """Cases that were given one by one, as rows.

    Args:
        program: Who answers.
        cases: Cases, or examples with `case` and, where known, `answer`.
    """

    def __init__(self, program: dspy.Module, cases: Iterable[Case | dspy.Example]) -> None:
        self.program = program
        self._examples = [
            case if isinstance(case, dspy.Example) else dspy.Example(case=case) for case in cases
        ]

    @property
    def total(self) -> int:
        """How many rows there are."""
        return len(self._examples)

    @property
    def profiles(self) -> list[Profile]:
        """Whose cases they are, a person as often as they are asked."""
        return [example.case.profile for example in self._examples]

    def rows(
        self,
        positions_at: Iterable[int] | None = None,
        done: Callable[[int], bool] = lambda number: False,
        *,
        threads: int = 1,
    ) -> Iterator[Row]:
        """Yield numbered rows in the order given; see `Asked.rows`."""
        for number in range(self.total) if positions_at is None else positions_at:
            if not done(number):
                example = self._examples[number]
                yield number, row_of(example.case, example.get("answer"))

    def arguments(self) -> dict[str, Any]:
        """Return everything that decides the rows, as digests."""
        cases = [[_content(each.case), each.get("answer")] for each in self._examples]
        return {
            "program_digest": program_digest(self.program),
            "cases": f"{self.total} {digest_of(cases)}",
        }


def _content(case: Case) -> list[Any]:
    known = case.profile
    past = [[_named(item.question, known.codebook), item.code, item.time] for item in case.history]
    told = [known.key, known.known, known.codebook.digest, dict(known.answers), known.country]
    return [*told, known.statements, known.story, case.question.content(), past]


def _named(question: Question, codebook: Codebook) -> Any:
    """Return the id of a codebook's question, and all of one's own: its id may be another's."""
    return question.id if same_question(question, codebook) else question.content()


def row_of(case: Case, truth: int | None = None) -> dspy.Example | Outcome:
    """Return a case as an example, or as an outcome that says why it is skipped.

    Args:
        case: The person and the question.
        truth: What the person answered themselves, where that is known.
    """
    profile, reason = case.profile, ""
    if not case.question.options:
        reason = NO_OPTIONS
    elif not (profile.story or case.history) and all(
        fact.question == COUNTRY for fact in profile.facts
    ):
        reason = NOTHING_KNOWN
    if reason:
        return Outcome(
            respondent=profile.key,
            question=case.question.id,
            truth=truth,
            answer=None,
            status="skipped",
            reason=reason,
            country=profile.country or "",
        )
    known = {} if truth is None else {"answer": truth}
    return dspy.Example(case=case, **known).with_inputs("case")


def same_question(question: Question, codebook: Codebook) -> bool:
    """Whether a question is the codebook's, in its words: only then answers can be compared."""
    return question.id in codebook and (
        question is codebook[question.id] or question == codebook[question.id]
    )


def own_text(questions: Iterable[Question]) -> str:
    """Return one's own questions as JSON: id to text and labels by code; "" for none."""
    told: Mapping[str, Any] = {
        q.id: {"text": q.text, "options": {str(o.code): o.label for o in q.options}}
        for q in questions
    }
    return json.dumps(told, ensure_ascii=False) if told else ""
