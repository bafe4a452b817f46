"""The program: one module that answers one survey question as one person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import dspy

from valuesim_dspy.case import Case
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.modules import DEMO_FACTS, Answerer, BackstoryWriter
from valuesim_dspy.panel import Coordinator, PerspectivePanel, views_text
from valuesim_dspy.trust import records_text, require_lm, weighted_vote
from valuesim_dspy.variants import DECISIONS, VARIANTS, Variant

if TYPE_CHECKING:
    from valuesim_dspy.peers import PeerIndex

__all__ = ["VARIANTS", "Learned", "ValueSim", "Variant"]

Views = dict[str, dspy.Prediction]


class Learned(Protocol):
    """What compiling learned, for one case: it leaves out whoever the case is about."""

    def of(self, case: Case) -> Mapping[str, Any]:
        """Return a table such as `ValueSim.learned`."""
        ...


class ValueSim(dspy.Module):
    """Answer one survey question as one person.

    Called with a `Case`, returns a `dspy.Prediction` with `answer` (a code of the question),
    `analysis`, `backstory` ("" where none is written), `views` (perspective to its `answer` and
    `analysis`), `decision` (`direct`, `agreement`, or what decided: `coordinator`, `vote`,
    `mean`, `weighted-vote`) and `status` (`answered`).

    Args:
        variant: A key of `VARIANTS`.
        demo_facts: How many facts a demo keeps.

    Attributes:
        learned: What compiling learned of the perspectives, as plain JSON values; {} before.

    Raises:
        ConfigError: There is no such variant.
    """

    kind = "valuesim"

    def __init__(self, variant: str = "full", *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ConfigError("no such variant", key="variant", value=variant, allowed=VARIANTS)
        self.variant = variant
        self.demo_facts = demo_facts
        self.learned: dict[str, Any] = {}
        self._peers: PeerIndex | None = None
        self._learned: Learned | None = None
        spec = self.spec
        if spec.backstory:
            self.writer = BackstoryWriter()
        if not spec.perspectives:
            self.direct = Answerer(spec.direct, demo_facts=demo_facts)
            return
        self.panel = PerspectivePanel(spec.readers, demo_facts=demo_facts)
        if spec.interaction:
            self.interaction = PerspectivePanel(spec.second_readers, demo_facts=demo_facts)
        if spec.decide == "coordinator" and len(spec.perspectives) > 1:
            self.coordinator = Coordinator(spec.coordinator, demo_facts=demo_facts)

    @property
    def spec(self) -> Variant:
        """What the variant switches on."""
        return VARIANTS[self.variant]

    @property
    def knows(self) -> str:
        """`cold`, or `warm` where other people's answers to the target question are read."""
        return self.spec.knows

    @property
    def bindings(self) -> dict[str, dict[str, str | int]]:
        """What the program is bound to, for manifests: name to digest, people and seed."""
        return {"peers": self._peers.describe()} if self._peers is not None else {}

    def bind(self, *, peers: PeerIndex | None = None, learned: Learned | None = None) -> ValueSim:
        """Bind what copies of the program share and no saved state holds.

        Args:
            peers: Finds similar training respondents; needed by variants that read them.
            learned: Stands in for `learned` while training cases are answered; see
                `optimize.learning_trust`.

        Returns:
            The program itself. What is None is left as it was bound.
        """
        self._peers = peers if peers is not None else self._peers
        self._learned = learned if learned is not None else self._learned
        return self

    def unbind_learned(self) -> None:
        """Go back to `learned`, which is what a saved program has."""
        self._learned = None

    def require_model(self, model: str) -> None:
        """Refuse a model that another one's records were learned for.

        Raises:
            ProgramStateError: What was learned is of another model.
        """
        if self.spec.learns:
            require_lm(self.learned, model)

    def predict(self, case: Case) -> dspy.Prediction:
        """Answer a case; the same as calling the program.

        Raises:
            MissingDataError: The variant reads peers, and none are bound.
            PredictionError: A step gave no usable reply within its retries.
        """
        return self(case=case)

    def inputs(self, case: Case) -> dict[str, str]:
        """Return what predictors may read of a case, backstory, views and records left out.

        Raises:
            MissingDataError: The variant reads peers, and none are bound.
        """
        inputs = self.spec.inputs(case)
        if self.spec.peers:
            if self._peers is None:
                raise MissingDataError(
                    f"the variant {self.variant} is not bound to similar respondents",
                    "call program.bind(peers=PeerIndex.of(...)) before it answers",
                )
            inputs["peers"] = self._peers.text(case)
        return inputs

    def read(self, case: Case) -> tuple[dict[str, str], Views]:
        """Return what is read of a case, backstory included, and what each perspective says."""
        inputs = self.inputs(case)
        inputs["backstory"] = self.writer(profile=case.profile) if self.spec.backstory else ""
        views = self.panel(case=case, inputs=inputs)
        if self.spec.interaction:
            first = {**inputs, "views": views_text(case.question, views)}
            views = self.interaction(case=case, inputs=first)
        return inputs, views

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class."""
        if self._learned is None:
            # While compiling, a teacher may answer; what is saved is bound to who answers then.
            self.require_model(str(getattr(dspy.settings.lm, "model", "")))
        if not self.spec.perspectives:
            reply = self.direct(case=case, inputs=self.inputs(case))
            return as_prediction(reply, decision="direct")
        inputs, views = self.read(case)
        decision, reply = "agreement", next(iter(views.values()))
        if len({int(view.answer) for view in views.values()}) > 1:
            decision = self.spec.decide
            reply = self._decide(case, inputs, views)
        return as_prediction(reply, decision=decision, backstory=inputs["backstory"], views=views)

    def _decide(self, case: Case, inputs: dict[str, str], views: Views) -> dspy.Prediction:
        """Return the reply of who decides where perspectives disagree."""
        question = case.question
        answers = {name: int(view.answer) for name, view in views.items()}
        if self.spec.decide in DECISIONS:
            return _told(DECISIONS[self.spec.decide](question, answers), views)
        learned = self._learned.of(case) if self._learned is not None else self.learned
        if self.spec.decide == "weighted-vote":
            return _told(weighted_vote(learned, question, answers), views)
        inputs = {**inputs, "views": views_text(question, views)}
        if self.spec.records:
            inputs["records"] = records_text(learned, question, tuple(views))
        return self.coordinator(case=case, inputs=inputs)


def _told(answer: int, views: Views) -> dspy.Prediction:
    """Return the first view that gives an answer; one of its own where none does, as a mean."""
    found = (view for view in views.values() if int(view.answer) == answer)
    return next(found, dspy.Prediction(answer=answer, analysis="The mean of the perspectives."))


def as_prediction(
    reply: dspy.Prediction, *, decision: str, backstory: str = "", views: Views | None = None
) -> dspy.Prediction:
    """Return a reply in the shape that every program answers in; see `ValueSim`."""
    seen = {
        name: {"answer": int(view.answer), "analysis": str(view.get("analysis", ""))}
        for name, view in (views or {}).items()
    }
    return dspy.Prediction(
        answer=int(reply.answer),
        analysis=str(reply.get("analysis", "")),
        backstory=backstory,
        views=seen,
        decision=decision,
        status="answered",
    )
