"""The variants of the program: ablations as data, one line each."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import dspy

from valuesim_dspy.case import Case, facts_text
from valuesim_dspy.retrieval import ranked_lines
from valuesim_dspy.signatures import (
    PERSPECTIVES,
    AnswerDirectly,
    DecideAmongViews,
    DecideAnswer,
    answering_alone,
    reconsidering,
    with_habits,
    with_peers,
    with_records,
)
from valuesim_dspy.survey.codebook import Question
from valuesim_dspy.voting import mean_answer, vote

CAPS = ("cognitive", "affective", "behavioral")
UNITS = ("encodings", "expectancies", "affects", "goals", "competencies")
PLACEBO = ("spatial", "temporal", "material")

Signature = type[dspy.Signature]

DECISIONS: dict[str, Callable[[Question, Mapping[str, int]], int]] = {
    "vote": vote,
    "mean": mean_answer,
}
"""Name of a way to decide without a call, to what does it."""


@dataclass(frozen=True)
class Variant:
    """One ablation of the program, as data.

    Args:
        name: The key in `VARIANTS`.
        what: One line for tables and help.
        facts: Whether perspectives and coordinator read the facts.
        backstory: Whether a backstory is written and read.
        perspectives: Who reads, in canonical order; none means one direct answer.
        decide: How views become an answer: `coordinator` (asked only where they differ),
            `weighted-vote` (by what compiling learned), or a key of `DECISIONS`.
        peers: Whether all read what similar training respondents answered to the question.
        records: Whether the coordinator reads how each perspective did on training people.
        interaction: Whether perspectives read each other once before they answer.
        person: Whether the coordinator reads the person, or the views alone.
        analysis: Whether an analysis is written before each answer.
        habits: Whether a direct answer reads how the person answered on the same options.
        history: Whether answers learned later are read.
        order: Of the facts, where they are read: as in the codebook, the other way round,
            shuffled (for each person alike, so that the prefix is shared), or those nearest to
            the question last.
    """

    name: str
    what: str
    facts: bool = True
    backstory: bool = True
    perspectives: tuple[str, ...] = CAPS
    decide: str = "coordinator"
    peers: bool = False
    records: bool = False
    interaction: bool = False
    person: bool = True
    analysis: bool = True
    habits: bool = False
    history: bool = True
    order: Literal["codebook", "reversed", "shuffled", "nearest-last"] = "codebook"

    @property
    def knows(self) -> Literal["cold", "warm"]:
        """`warm` where other people's answers to the target question are read."""
        return "warm" if self.peers else "cold"

    @property
    def learns(self) -> bool:
        """Whether compiling learns whom to believe."""
        return self.records or self.decide == "weighted-vote"

    def reading(self, signature: Signature) -> Signature:
        """Return a signature as this variant reads: its inputs left out or added."""
        # Habits are counted facts and go with them.
        needed = {"facts": self.facts, "habits": self.facts, "backstory": self.backstory}
        for name, is_read in needed.items():
            if not is_read and name in signature.input_fields:
                signature = signature.delete(name)
        signature = with_peers(signature) if self.peers else signature
        return signature if self.analysis else answering_alone(signature)

    @property
    def direct(self) -> Signature:
        """The signature of the one direct answer."""
        return self.reading(with_habits(AnswerDirectly) if self.habits else AnswerDirectly)

    @property
    def readers(self) -> dict[str, Signature]:
        """Perspective to the signature by which it reads."""
        return {name: self.reading(PERSPECTIVES[name]) for name in self.perspectives}

    @property
    def second_readers(self) -> dict[str, Signature]:
        """Perspective to the signature by which it reads again, knowing all first views."""
        return {name: reconsidering(signature, name) for name, signature in self.readers.items()}

    @property
    def coordinator(self) -> Signature:
        """The signature by which the coordinator decides."""
        if not self.person:
            signature: Signature = DecideAmongViews
            signature = signature if self.analysis else answering_alone(signature)
        else:
            signature = self.reading(DecideAnswer)
        return with_records(signature) if self.records else signature

    def inputs(self, case: Case) -> dict[str, str]:
        """Return what may be read of a case, as strings: facts in this variant's order."""
        if case.history and not self.history:
            case = replace(case, history=())
        return case.inputs() | {"facts": ordered_facts(case, self.order)}


def ordered_facts(case: Case, order: str) -> str:
    """Return a case's facts as text, in one of the orders of `Variant.order`."""
    facts = list(case.profile.facts)
    if order == "reversed":
        facts.reverse()
    elif order == "shuffled":
        random.Random(f"facts of {case.profile.key}").shuffle(facts)
    elif order == "nearest-last":
        query = f"{case.question_text} {case.options_text}"
        ranked = ranked_lines([fact.text for fact in facts], query)
        facts = [facts[index] for index in reversed(ranked)]
    return facts_text(facts)


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("full", "backstory and facts, three perspectives, coordinator"),
        Variant("backstory-only", "as published: perspectives read no facts", facts=False),
        Variant("facts-only", "three perspectives on the facts, no backstory", backstory=False),
        Variant("vote", "as full, a vote in place of the coordinator", decide="vote"),
        Variant("single", "one direct answer from all facts", backstory=False, perspectives=()),
        # Who reads.
        Variant("cognitive", "the cognitive perspective alone", perspectives=("cognitive",)),
        Variant("affective", "the affective perspective alone", perspectives=("affective",)),
        Variant("behavioral", "the behavioral perspective alone", perspectives=("behavioral",)),
        Variant(
            "cognitive-behavioral",
            "two perspectives: without the affective",
            perspectives=("cognitive", "behavioral"),
        ),
        Variant(
            "behavioral-facts",
            "the behavioral perspective alone, on the facts",
            backstory=False,
            perspectives=("behavioral",),
        ),
        Variant("units", "the five units of CAPS as a panel", perspectives=UNITS),
        Variant("placebo", "three arbitrary lenses: where, when, what", perspectives=PLACEBO),
        Variant("interaction", "perspectives read each other once", interaction=True),
        # Who decides.
        Variant("mean", "the mean of the perspectives, rounded up", decide="mean"),
        Variant("weighted-vote", "a vote by fitted weights", decide="weighted-vote"),
        Variant("full-records", "the coordinator reads the perspectives' records", records=True),
        Variant("coordinator-blind", "the coordinator reads the views alone", person=False),
        # What is read, and how.
        Variant("answer-only", "no analysis before the answers", analysis=False),
        Variant("no-history", "answers learned later are not read", history=False),
        Variant("facts-reversed", "facts the other way round", order="reversed"),
        Variant("facts-shuffled", "facts shuffled", order="shuffled"),
        Variant("facts-nearest-last", "the nearest facts last", order="nearest-last"),
        Variant(
            "single-habits",
            "one direct answer from all facts and response style",
            backstory=False,
            perspectives=(),
            habits=True,
        ),
        Variant("peers", "as full, with what similar people answered", peers=True),
        Variant(
            "single-peers",
            "one direct answer from all facts and what similar people answered",
            backstory=False,
            perspectives=(),
            peers=True,
        ),
    )
}
"""Name of a variant, as typed, saved and logged, to what it switches on."""
