"""The plan of a simulation: what is asked of whom, by which program, in plain values."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import dspy
import numpy as np
from pydantic import Field, field_validator, model_validator

from valuesim_dspy.asked import Asked
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.hiding import Hide, views_of
from valuesim_dspy.loading import load_program, program_of
from valuesim_dspy.peers import PeerIndex
from valuesim_dspy.program import VARIANTS, ValueSim
from valuesim_dspy.roles import LMRole, Settings
from valuesim_dspy.state import model_arguments as model_arguments
from valuesim_dspy.state import parts_of
from valuesim_dspy.survey.codebook import Codebook, Question
from valuesim_dspy.survey.exporting import select_questions
from valuesim_dspy.survey.own_wording import open_codebook
from valuesim_dspy.survey.respondents import Respondents, read_respondents

log = logging.getLogger(__name__)

ALL_PARTS = 5
"""Parts where everything is asked, so that much stays known."""
TOGETHER = "together"


class OwnQuestion(Settings):
    """A question of one's own: its text, and the labels of its options, coded 1, 2, ..."""

    text: str = Field(min_length=1)
    options: tuple[str, ...] = Field(min_length=2)

    @model_validator(mode="before")
    @classmethod
    def _written(cls, data: Any) -> Any:
        # A terminal hands bytes that are no UTF-8 on as halves of characters.
        for key in ("text", "options") if isinstance(data, Mapping) else ():
            given = data.get(key)
            texts = given if isinstance(given, list | tuple) else [given]
            if any(_is_broken(text) for text in texts):
                raise ConfigError("holds bytes that are no text: write it in UTF-8", key=key)
        return data


def _is_broken(text: object) -> bool:
    return isinstance(text, str) and any("\ud800" <= character <= "\udfff" for character in text)


class Plan(Settings):
    """Everything that decides a simulation, as JSON may hold it; it holds no secrets.

    ``program`` is a variant, a folder, ``runs:/...`` or ``models:/...``; ``survey`` a file;
    ``questions`` ids in the codebook's order. ``hide`` and ``parts`` say what is known of a
    person (`valuesim_dspy.hiding.views_of`); ``sample`` people are drawn with ``seed`` from those
    of ``countries`` (alpha-3; none for all). With ``together`` several questions share a request:
    those of a battery, or so many at a time.
    """

    program: str = "full"
    survey: str
    codebook: str = "wvs7"
    wording: str | None = None
    questions: tuple[str, ...] = ()
    own: tuple[OwnQuestion, ...] = ()
    hide: Hide = "question"
    parts: int = Field(default=1, ge=1)
    sample: int | None = Field(default=None, ge=1)
    seed: int = Field(default=42, ge=0)
    countries: tuple[str, ...] = ()
    together: str | int | None = None
    lm: LMRole = Field(default_factory=LMRole)

    @field_validator("questions")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("countries")
    @classmethod
    def _sorted(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(value)))

    @field_validator("together")
    @classmethod
    def _number(cls, value: str | int | None) -> str | int | None:
        is_number = isinstance(value, str) and value.isdecimal() and len(value) < 9
        return int(value or 0) if is_number else value

    @model_validator(mode="after")
    def _fits(self) -> Plan:
        if self.together is not None and self.program not in ("full", TOGETHER):
            raise ValueError("questions are asked together by a program of its own: give no other")
        if self.together is None and self.program == TOGETHER:
            raise ValueError('the program "together" needs `together`: "battery" or a number')
        return self


class Opened(Asked):
    """A plan with its survey read and its program loaded: `rows` are what it asks.

    Args:
        plan: What was planned.
        program: Who answers.
        respondents: The survey.
        positions: Who of it is asked.
        questions: What each is asked.
    """

    def __init__(
        self,
        plan: Plan,
        program: dspy.Module,
        respondents: Respondents,
        positions: Sequence[int],
        questions: Sequence[Question],
    ) -> None:
        super().__init__(
            program, respondents, positions, questions, hide=plan.hide, parts=plan.parts
        )
        self.plan = plan

    def arguments(self) -> dict[str, Any]:
        """Return everything that decides the answers, as plain values without secrets or paths.

        The seed is there where something was drawn by it: people, or those who are similar.
        """
        plan = self.plan
        is_drawn = plan.sample is not None or self.peer_digest
        return {
            **super().arguments(),
            "program": str(getattr(self.program, "variant", type(self.program).__name__)),
            **model_arguments(plan.lm),
            "sample": plan.sample,
            **({"seed": plan.seed} if is_drawn else {}),
            "countries": ",".join(plan.countries),
            "together": plan.together,
        }


def open_plan(plan: Plan, files: Mapping[str, str] | None = None) -> Opened:
    """Read the survey, load the program, draw the people.

    Args:
        plan: What is planned.
        files: What the files of the program hold, by name, where they were read already.

    Raises:
        ConfigError: Nothing is asked, nobody is there, or nothing would be known of anybody.
        MissingDataError: A file or the program is absent.
        ProgramStateError: The program does not fit this code.
        SurveyDataError: The survey is malformed, or does not have a question or country.
    """
    codebook = open_codebook(plan.codebook, Path(plan.wording) if plan.wording else None)
    questions = [codebook[id] for id in plan.questions]
    questions += own_questions(plan.own)
    if not questions:
        raise ConfigError("name questions of the codebook, or give your own", key="questions")
    respondents = read_respondents(plan.survey, codebook=codebook)
    positions = draw(respondents, sample=plan.sample, seed=plan.seed, countries=plan.countries)
    program: Any
    if files:
        program = program_of(files, Path(plan.program), codebook=codebook)
    else:
        program = _program(plan, codebook, questions)
    bind_peers(program, respondents, plan.seed)
    return Opened(plan, program, respondents, positions, questions)


def own_questions(own: Sequence[OwnQuestion]) -> list[Question]:
    """Return one's own questions, with the ids own-1, own-2, ..."""
    return [
        Question(text=each.text, options=each.options, id=f"own-{number}")
        for number, each in enumerate(own, start=1)
    ]


def draw(
    respondents: Respondents, *, sample: int | None, seed: int, countries: Sequence[str] = ()
) -> list[int]:
    """Return positions of respondents, ascending.

    Args:
        respondents: The survey.
        sample: How many are drawn, each as likely as any other; None takes all.
        seed: Of that draw.
        countries: Alpha-3 codes of where they live; none for everywhere.

    Raises:
        ConfigError: Too few of them live there.
        SurveyDataError: The codebook has no such country.
    """
    wanted = {respondents.codebook.country(alpha).alpha for alpha in countries}
    found = [at for at, alpha in enumerate(respondents.alphas) if not wanted or alpha in wanted]
    if not found or (sample is not None and sample > len(found)):
        where = f" in {', '.join(countries)}" if countries else ""
        raise ConfigError(
            f"the survey has {len(found)} respondents{where}, and {sample or 'some'} are wanted",
            key="sample",
        )
    if sample is None:
        return found
    drawn = np.random.default_rng(seed).choice(len(found), sample, replace=False)
    return [found[at] for at in sorted(drawn.tolist())]


def choose_questions(codebook: Codebook, text: str) -> list[str]:
    """Return the ids that "Q27,Q57-Q63,battery:trust-in-groups" means, in the codebook's order.

    Args:
        codebook: Where the questions stand.
        text: Ids, ranges of ids, `battery:NAME`, `topic:NAME` and `all`, separated by commas;
            `all` is everything with options but what people are by background.

    Raises:
        ConfigError: A battery or topic is unknown, or nothing is named.
        UnknownQuestionError: The codebook has no such question.
    """
    chosen: set[str] = set()
    groups = {"battery": codebook.batteries, "topic": codebook.sections}
    for part in filter(None, (part.strip() for part in text.split(","))):
        kind, colon, name = part.partition(":")
        if part == "all":
            chosen |= {q.id for q in codebook if q.scorable and q.kind != "demographic"}
        elif colon and part not in codebook:
            chosen |= set(_group(kind, name, groups))
        else:
            chosen |= set(select_questions(codebook, part))
    if not chosen:
        raise ConfigError("name questions, such as Q1,Q57-Q63", key="--questions", value=text)
    return [id for id in codebook.questions if id in chosen]


def _group(
    kind: str, name: str, groups: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> tuple[str, ...]:
    if kind not in groups:
        named = [f"{known}:NAME" for known in groups]
        raise ConfigError(f"{kind}:{name} names no group", key="--questions", allowed=named)
    if name not in groups[kind]:
        alike = [known for known in groups[kind] if name and name in known]
        alike = alike or get_close_matches(name, groups[kind])
        told, end = ("did you mean", "?") if alike else ("it has", "")
        told = f"{told} {', '.join(alike[:5] or groups[kind])}{end}"
        raise ConfigError(f"the codebook has no {kind} {name!r}; {told}", key="--questions")
    return groups[kind][name]


def compiled_on(opened: Asked) -> bool:
    """Whether the program was compiled on the very file whose people are asked."""
    manifest: Any = getattr(opened.program, "manifest", None)
    is_compiled = manifest is not None and manifest.teleprompter != "none"
    return is_compiled and bool(manifest.data.get("digest") == opened.respondents.digest)


def bind_peers(program: Any, respondents: Respondents, seed: int = 42) -> None:
    """Bind a program that reads similar people's answers to everyone of the survey.

    Nobody is ever a peer of their own. A saved program was compiled with training people as
    peers; that others stand in for them is said.
    """
    if not any(isinstance(part, ValueSim) and part.spec.peers for part in parts_of(program)):
        return
    everyone = range(len(respondents))
    peers = PeerIndex.of(respondents, everyone, salt=respondents.digest, seed=seed)
    program.bind(peers=peers)
    before = getattr(getattr(program, "manifest", None), "bindings", {}).get("peers")
    if before and before != peers.describe():
        log.warning("the program was saved with other similar people than those of this survey")


def program_named(name: str, codebook: Codebook) -> Any:
    """Return a variant, or a saved program: a folder, `runs:/...`, `models:/...`."""
    if name in VARIANTS:
        return ValueSim(name)
    try:
        return load_program(name, codebook=codebook)
    except MissingDataError as error:
        near = f"or a variant: {', '.join(get_close_matches(name, VARIANTS) or VARIANTS)}"
        raise MissingDataError(error.what, f"{error.how}; {near}") from None


def _program(plan: Plan, codebook: Codebook, questions: Sequence[Question]) -> Any:
    if plan.together is not None:
        from valuesim_dspy.together import Together, checked

        views = views_of(questions, codebook, hide=plan.hide, parts=plan.parts)
        part = {q.id: view.part for q, view in zip(questions, views, strict=True)}
        return Together(checked(plan.together), questions, parts=part)
    return program_named(plan.program, codebook)
