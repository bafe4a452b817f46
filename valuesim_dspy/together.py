"""The program that asks a given list of questions several at a time: a battery, or n of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal

import dspy

from valuesim_dspy.case import Case
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.modules import DEMO_FACTS
from valuesim_dspy.several import MOST, SeveralAnswerer, dealt, questions_text
from valuesim_dspy.survey.codebook import Question

AT_MOST = 40
"""Questions in a call at most: of more, a model loses count, and a reply cut short loses more."""


class Together(dspy.Module):
    """Answer from all facts, questions of a list that a person is asked anyway sharing calls.

    Called with one case, as every program is, it asks for the whole group that the case's
    question is in and gives the case's own answer; the response cache answers the others of the
    group. Groups are made of what the profile and the history do not know, so that they are the
    same for everyone of whom the same is known. Nothing is asked that is not on the list.

    It is not compiled by demos: it leaves no trace (see `SeveralAnswerer`). Its instructions can
    be: the predictor is `direct.answer`, as in the baseline `single-battery`.

    Args:
        by: "battery": questions of one battery share a call, at most 12; a question that the
            codebook does not have is asked alone. A number: so many share a call, 1 to 40, in
            the order of the list.
        questions: The list: all that is to be asked.
        parts: Question's id to its part of a plan; only questions of one part share a call.
            By default there is one part.
        demo_facts: See `Answerer`.

    Raises:
        ConfigError: `by` is neither.
    """

    kind: ClassVar[str] = "together"

    def __init__(
        self,
        by: Literal["battery"] | int,
        questions: Sequence[Question],
        *,
        parts: Mapping[str, int] | None = None,
        demo_facts: int = DEMO_FACTS,
    ) -> None:
        super().__init__()
        self.by = checked(by)
        # Part of what a program is: another number is another program.
        self.variant = f"together-{self.by}"
        self.most = MOST if isinstance(self.by, str) else self.by
        self.direct = SeveralAnswerer(demo_facts=demo_facts)
        self.parts = dict(parts or {})
        self.questions = tuple(questions)
        self._listed: dict[object, list[Question]] = {}
        for question in dict.fromkeys(self.questions):
            self._listed.setdefault(self._shelf(question), []).append(question)

    def _shelf(self, question: Question) -> object:
        """Return what questions that may share a call have in common."""
        return self.parts.get(question.id, 0), question.battery if self.by == "battery" else ""

    def group(self, case: Case) -> tuple[Question, ...]:
        """Return the questions of the call that answers a case, its own among them."""
        if self.by == "battery" and case.question.id not in case.profile.codebook:
            return (case.question,)
        return dealt(case, self._listed.get(self._shelf(case.question), ()), self.most)

    def leads(self, case: Case) -> bool:
        """Whether a case is the first of its group: put earlier, it pays and nobody waits."""
        return self.group(case)[0].id == case.question.id

    def requests(self, cases: Iterable[Case]) -> int:
        """Return how many different requests cases make where no reply has to be asked again."""
        return len({(case.profile, case.history_text, self._shown(case)) for case in cases})

    def inputs(self, case: Case) -> dict[str, str]:
        """What the predictor reads of a case, the questions asked with it included."""
        return case.inputs() | {"questions": self._shown(case)}

    def predict(self, case: Case) -> dspy.Prediction:
        """Answer a case; the same as calling the program.

        Raises:
            PredictionError: There is no answer to give.
        """
        return self(case=case)

    def forward(self, case: Case) -> dspy.Prediction:
        """Return a prediction as the program does, with the `analysis` of the whole group.

        Raises:
            InvalidAnswerError: No attempt gave an option for the case's question.
        """
        inputs = {"facts": case.profile.facts_text, "history": case.history_text}
        reply = self.direct(case=case, inputs=inputs, together=self.group(case))
        return dspy.Prediction(
            answer=int(reply.answer),
            analysis=str(reply.analysis),
            backstory="",
            views={},
            decision="direct",
            status="answered",
        )

    def _shown(self, case: Case) -> str:
        return questions_text(self.group(case), case.profile.country)


def checked(by: str | int) -> Literal["battery"] | int:
    """Return how questions are put together, as `Together` takes it; "10" is 10.

    Raises:
        ConfigError: It is neither "battery" nor a number from 1 to 40.
    """
    if by == "battery":
        return "battery"
    text = str(by)
    if isinstance(by, bool) or not (
        text.isascii() and text.isdigit() and 1 <= int(text) <= AT_MOST
    ):
        raise ConfigError(
            f"give battery, or how many questions share a call, from 1 to {AT_MOST}",
            key="together",
            value=text,
        )
    return int(text)
