"""The program: one module that answers one survey question as one person; its variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dspy

from valuesim_dspy.case import Case
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.modules import (
    DEMO_FACTS,
    Answerer,
    BackstoryWriter,
    Coordinator,
    PerspectivePanel,
    views_text,
    vote,
)
from valuesim_dspy.signatures import PERSPECTIVES, AnswerDirectly

ALL = tuple(PERSPECTIVES)


@dataclass(frozen=True)
class Variant:
    """One ablation of the program, as data.

    Args:
        name: The key in `VARIANTS`.
        what: One line for tables and help.
        facts: Whether perspectives and coordinator read the facts.
        backstory: Whether a backstory is written and read.
        perspectives: Who reads, in canonical order; none means one direct answer.
        decide: How views become an answer: `coordinator` (asked only where they differ), `vote`.
    """

    name: str
    what: str
    facts: bool = True
    backstory: bool = True
    perspectives: tuple[str, ...] = ALL
    decide: str = "coordinator"

    @property
    def fields(self) -> frozenset[str]:
        """Which of `facts` and `backstory` are read."""
        chosen = {"facts": self.facts, "backstory": self.backstory}
        return frozenset(name for name, is_read in chosen.items() if is_read)


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("full", "backstory and facts, three perspectives, coordinator"),
        Variant("backstory-only", "as published: perspectives read no facts", facts=False),
        Variant("facts-only", "three perspectives on the facts, no backstory", backstory=False),
        Variant("vote", "as full, a vote in place of the coordinator", decide="vote"),
        Variant("single", "one direct answer from all facts", backstory=False, perspectives=()),
    )
}
"""Name of a variant, as typed, saved and logged, to what it switches on."""


class ValueSim(dspy.Module):
    """Answer one survey question as one person.

    Called with a `Case`, returns a `dspy.Prediction` with `answer` (a code of the question),
    `analysis`, `backstory` ("" where none is written), `views` (perspective to its `answer` and
    `analysis`), `decision` (`direct`, `agreement`, `coordinator` or `vote`) and `status`
    (`answered`).

    Args:
        variant: A key of `VARIANTS`.
        demo_facts: How many facts a demo keeps.

    Raises:
        ConfigError: There is no such variant.
    """

    kind = "valuesim"

    def __init__(self, variant: str = "full", *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ConfigError("no such variant", key="variant", value=variant, allowed=VARIANTS)
        self.variant = variant
        spec = VARIANTS[variant]
        if spec.backstory:
            self.writer = BackstoryWriter()
        if not spec.perspectives:
            self.direct = Answerer(AnswerDirectly, demo_facts=demo_facts)
            return
        self.panel = PerspectivePanel(spec.perspectives, fields=spec.fields, demo_facts=demo_facts)
        if spec.decide == "coordinator":
            self.coordinator = Coordinator(fields=spec.fields, demo_facts=demo_facts)

    def predict(self, case: Case) -> dspy.Prediction:
        """Answer a case; the same as calling the program.

        Raises:
            PredictionError: A step gave no usable reply within its retries.
        """
        return self(case=case)

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class."""
        spec = VARIANTS[self.variant]
        inputs = case.inputs()
        if not spec.perspectives:
            reply = self.direct(case=case, inputs=inputs)
            return _result(reply, decision="direct")
        backstory = self.writer(profile=case.profile) if spec.backstory else ""
        inputs["backstory"] = backstory
        views = self.panel(case=case, inputs=inputs)
        answers = {name: int(view.answer) for name, view in views.items()}
        decision = "agreement"
        reply = next(iter(views.values()))
        if len(set(answers.values())) > 1:
            decision = spec.decide
            if spec.decide == "coordinator":
                inputs["views"] = views_text(case.question, views)
                reply = self.coordinator(case=case, inputs=inputs)
            else:
                chosen = vote(case.question, answers)
                reply = next(view for view in views.values() if view.answer == chosen)
        return _result(reply, decision=decision, backstory=backstory, views=views)


def _result(
    reply: dspy.Prediction,
    *,
    decision: str,
    backstory: str = "",
    views: dict[str, dspy.Prediction] | None = None,
) -> dspy.Prediction:
    seen: dict[str, dict[str, Any]] = {
        name: {"answer": int(view.answer), "analysis": str(view.analysis)}
        for name, view in (views or {}).items()
    }
    return dspy.Prediction(
        answer=int(reply.answer),
        analysis=str(reply.analysis),
        backstory=backstory,
        views=seen,
        decision=decision,
        status="answered",
    )
