"""Simulating people: every question to every respondent, kept as it comes, as one table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import dspy
from dspy.utils import DummyLM
from pydantic import ValidationError

from valuesim_dspy.answers_file import write_answers
from valuesim_dspy.asked import Asked, Listed, Row, same_question
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case, Profile
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.estimating import Fitting
from valuesim_dspy.hiding import Hide, views_of
from valuesim_dspy.journal import Journal
from valuesim_dspy.lm import MeteredLM, require_consent
from valuesim_dspy.loop import stream_cases, threads_for
from valuesim_dspy.outcomes import Outcome, outcomes_frame
from valuesim_dspy.plan import bind_peers, choose_questions, program_named
from valuesim_dspy.roles import Endpoint, without_user
from valuesim_dspy.state import ADDRESSES, model_of, own_arguments
from valuesim_dspy.store import cache_location
from valuesim_dspy.survey.codebook import Codebook, Question, load_codebook
from valuesim_dspy.survey.respondents import Respondents

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["run_rows", "simulate", "write_answers"]


class Rows(Protocol):
    """What can be simulated: a program and numbered rows, as of `valuesim_dspy.asked.Asked`."""

    program: Any

    @property
    def total(self) -> int:
        """How many rows there are."""
        ...

    def rows(
        self,
        positions_at: Iterable[int] | None = None,
        done: Callable[[int], bool] = ...,
        *,
        threads: int = 1,
    ) -> Iterator[Row]:
        """Yield rows that are not done."""
        ...

    def arguments(self) -> dict[str, Any]:
        """Return what decides the rows."""
        ...


class Kept(Protocol):
    """Where finished rows are kept: a `valuesim_dspy.journal.Journal`, or memory."""

    def add(self, number: int, outcome: Outcome) -> None:
        """Keep a row."""
        ...

    def is_done(self, number: int) -> bool:
        """Whether a row is kept."""
        ...


def run_rows(
    opened: Rows,
    journal: Kept,
    *,
    lm: MeteredLM | None,
    threads: int | None = None,
    at: Iterable[int] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> None:
    """Ask everything that is not done yet; keep each outcome as soon as it is there.

    Args:
        opened: What is asked of whom.
        journal: Where outcomes are kept.
        lm: Answers the calls; it is put in force. None leaves what is in force.
        threads: Cases in flight; by default as many as keep the LM busy.
        at: Places in `positions` of the people to ask; all by default.
        on_outcome: Called with each outcome, in the order in which they end.

    Raises:
        BudgetExceededError: The budget is spent; what was answered is in the journal.
        ConfigError: The run as a whole cannot work.
        MissingDataError: Something it needs is absent, such as a key that is taken.
    """
    threads = threads or threads_for(lm)

    def keep(number: int, outcome: Outcome) -> None:
        journal.add(number, outcome)
        if on_outcome is not None:
            on_outcome(outcome)

    def examples() -> Iterator[tuple[int, dspy.Example]]:
        for number, row in opened.rows(at, journal.is_done, threads=threads):
            if isinstance(row, Outcome):
                keep(number, row)
            else:
                yield number, row

    settings = {"lm": lm} if lm is not None else {}
    with dspy.context(**settings, disable_history=True):
        stream = stream_cases(opened.program, examples(), lm=lm, threads=threads)
        # Closed at once, also at Ctrl-C: else its threads would go on asking.
        with closing(stream):
            for number, outcome in stream:
                keep(number, outcome)


def simulate(
    program: dspy.Module | str,
    cases: Iterable[Case | dspy.Example] | None = None,
    *,
    respondents: Respondents | Sequence[Profile] | None = None,
    questions: str | Sequence[str | Question] | None = None,
    hide: Hide = "question",
    parts: int = 1,
    lm: dspy.LM | None = None,
    threads: int | None = None,
    journal: Path | str | None = None,
    send_to: Collection[str] = (),
    on_outcome: Callable[[Outcome], None] | None = None,
) -> pd.DataFrame:
    """Answer cases, or every question as every respondent; one row each, also where one fails.

    Responses are kept in the `ResponseCache` that is installed, else in the project's.

    Args:
        program: A module of the call shape; or a variant's name, or a saved program.
        cases: Cases, or examples with `case` and, where known, `answer`.
        respondents: In place of cases: people of a survey, or profiles.
        questions: What each is asked: ids and `Question`s of one's own, or text such as
            "Q27,battery:trust-in-groups" (see `valuesim_dspy.plan.choose_questions`).
        hide: What is hidden of a person with a question, see `valuesim_dspy.hiding.views_of`.
        parts: Parts that the questions are dealt into, see there.
        lm: By default that of `dspy.settings`. One of `valuesim_dspy.lm.make_lm` is asked in
            parallel and counted; with others, one case at a time, `calls` and `tokens` are 0.
        threads: Cases in flight; by default as many as keep the LM busy.
        journal: A file of finished rows: called again, only what is not there is asked.
        send_to: Hosts that answers of people may be sent to: of all but those of a synthetic
            survey and your own (`own_profile`).
        on_outcome: Called with each outcome as it comes.

    Returns:
        As `valuesim_dspy.outcomes.outcomes_frame`: respondents outside, questions inside.

    Raises:
        BudgetExceededError: The budget of the LM's meter is spent.
        ConfigError: It is not clear who is asked what, no LM answers, answers of people would go
            where nobody agreed to, or the journal is of another run.
        MissingDataError: Something the run needs is absent.
    """
    lm = dspy.settings.lm if lm is None else lm
    rows = _rows(program, cases, respondents, questions, hide, parts)
    people = _real_people(rows)
    for endpoint in _endpoints(rows.program, lm):
        require_consent(endpoint, people, not people, send_to)
    with ExitStack() as stack:
        if journal is None:
            kept: _Memory | Journal = _Memory()
        else:
            arguments = {**rows.arguments(), **model_of(lm), **own_arguments(rows.program)}
            kept = stack.enter_context(Journal.open(journal, arguments, rows.total))
        if not isinstance(vars(dspy).get("cache"), ResponseCache):
            stack.enter_context(ResponseCache(cache_location()).installed())
        stack.enter_context(dspy.context(lm=lm))
        metered = lm if isinstance(lm, MeteredLM) else None
        run_rows(Fitting(rows), kept, lm=metered, threads=threads, on_outcome=on_outcome)
        return outcomes_frame([outcome for _, outcome in kept.outcomes()])


class _Memory:
    """Finished rows, for as long as the call lasts."""

    def __init__(self) -> None:
        self._rows: dict[int, Outcome] = {}

    def add(self, number: int, outcome: Outcome) -> None:
        self._rows[number] = outcome

    def is_done(self, number: int) -> bool:
        return number in self._rows

    def outcomes(self) -> list[tuple[int, Outcome]]:
        return sorted(self._rows.items())


def _rows(
    program: dspy.Module | str,
    cases: Iterable[Case | dspy.Example] | None,
    respondents: Respondents | Sequence[Profile] | None,
    questions: str | Sequence[str | Question] | None,
    hide: Hide,
    parts: int,
) -> Asked | Listed:
    if (cases is None) == (respondents is None) or (respondents is None) != (questions is None):
        raise ConfigError("give cases, or respondents and questions", key="simulate")
    if respondents is None or questions is None:
        found = list(cases or ())
        return Listed(_program(program, _codebook(found)), found)
    if isinstance(respondents, Respondents):
        codebook = respondents.codebook
        answering = _program(program, codebook)
        if isinstance(program, str):
            bind_peers(answering, respondents.everyone)
        everyone = range(len(respondents))
        asked = _questions(questions, codebook)
        return Asked(answering, respondents, everyone, asked, hide=hide, parts=parts)
    profiles = list(respondents) if isinstance(respondents, list | tuple) else []
    if not profiles or not all(isinstance(profile, Profile) for profile in profiles):
        raise ConfigError("give people of a survey or a list of profiles", key="respondents")
    codebook = profiles[0].codebook
    asked = _questions(questions, codebook)
    views = views_of(asked, codebook, hide=hide, parts=parts)
    pairs = [
        dspy.Example(
            case=Case(_seen(profile, view.known, view.name), question),
            answer=profile.answers.get(question.id) if same_question(question, codebook) else None,
        )
        for profile in profiles
        for question, view in zip(asked, views, strict=True)
    ]
    return Listed(_program(program, codebook), pairs)


def _seen(profile: Profile, known: Collection[str], name: str) -> Profile:
    kept = {qid: code for qid, code in profile.answers.items() if qid in known}
    return replace(profile, answers=kept, known=f"{profile.known}; {name}")


def _questions(asked: str | Sequence[str | Question], codebook: Codebook) -> list[Question]:
    found: list[Question] = []
    for item in [asked] if isinstance(asked, str) else asked:
        named = [item] if isinstance(item, Question) else choose_questions(codebook, item)
        found += [one if isinstance(one, Question) else codebook[one] for one in named]
    return list(dict.fromkeys(found))


def _program(program: dspy.Module | str, codebook: Codebook) -> dspy.Module:
    found: Any = program_named(program, codebook) if isinstance(program, str) else program
    return found


def _codebook(cases: Sequence[Case | dspy.Example]) -> Codebook:
    first = next(iter(cases), None)
    case = first.case if isinstance(first, dspy.Example) else first
    return case.profile.codebook if case is not None else load_codebook()


def _endpoints(program: dspy.Module, lm: Any) -> list[Endpoint]:
    """Return where the LMs are that answer; each predictor needs one."""
    own = [predictor.lm for _, predictor in program.named_predictors()]
    if lm is None and None in own:
        raise ConfigError("no language model answers: give one, or dspy.configure one", key="lm")
    answering = [each for each in [lm, *own] if each is not None]
    return [_endpoint(each) for each in answering if not isinstance(each, DummyLM)]


def _endpoint(lm: Any) -> Endpoint:
    if isinstance(lm, MeteredLM):
        return lm.role
    given = getattr(lm, "kwargs", {})
    address = next((given[name] for name in ADDRESSES if given.get(name)), None)
    try:
        return Endpoint(model=str(lm.model), api_base=address and without_user(str(address)))
    except ValidationError:
        raise ConfigError("expected an address such as http://host:8000/v1", key="lm") from None


def _real_people(rows: Asked | Listed) -> int:
    """Return how many may exist of those who are asked, the user's own left out."""
    if isinstance(rows, Asked):
        return 0 if rows.respondents.synthetic else len(rows.respondents)
    real = [who for who in rows.profiles if not (who.synthetic or who.known.startswith("own"))]
    return len({who.key for who in real})
