"""Several questions in one call: a battery, or what of it is not known yet, is asked at once."""

from __future__ import annotations

import re
from collections.abc import Sequence

import dspy
from dspy.utils.exceptions import AdapterParseError

from valuesim_dspy.case import Case, plain_text
from valuesim_dspy.errors import InvalidAnswerError
from valuesim_dspy.modules import (
    DEMO_FACTS,
    RETRIES,
    RETRY_TEMPERATURE,
    Answerer,
    Inputs,
    chat_adapter,
)
from valuesim_dspy.signatures import FACTS, HISTORY
from valuesim_dspy.survey.codebook import Question

MOST = 12
"""Questions in a call: more of them are asked in several calls, in the codebook's order."""

_LINE = re.compile(r"^\W*(\d+)\W*[:.=)\]-]\s*\W*(-?\d+)(?![\w.,]*\d)", re.MULTILINE)


class AnswerSeveral(dspy.Signature):
    """Foresee how this person answers several questions, from what is known of them.

    Take the questions one by one and each for itself: find the facts that bear on it, weigh
    them, and choose the option that this person gives: not the correct, the polite or the usual
    one. Do not give one answer to all: where a person's answers differ, so do yours.
    """

    facts: str = dspy.InputField(desc=FACTS)
    history: str = dspy.InputField(desc=HISTORY)
    questions: str = dspy.InputField(
        desc="the questions that are now put to the person, each behind its number in brackets, "
        "and below it its options, each behind its code"
    )
    analysis: str = dspy.OutputField(
        desc="for each question in a sentence: the evidence that counts, and where it points"
    )
    answers: str = dspy.OutputField(
        desc="one line a question and nothing else: its number, a colon, the code of the option "
        "this person chooses"
    )


def asked_together(case: Case, most: int = MOST) -> tuple[Question, ...]:
    """Return the questions that share a call with a case's: of its battery, and not yet known.

    It is the same for all of them, so that one reply, which the response cache keeps, serves
    all. No question is among them whose answer the profile or the history holds.

    Args:
        case: The case.
        most: Questions in a call.
    """
    codebook, battery = case.profile.codebook, case.question.battery
    if not battery or case.question.id not in codebook:
        return (case.question,)
    known = {*case.profile.answers, *(item.question.id for item in case.history)}
    open_ones = [
        question
        for question in codebook
        if question.battery == battery
        and (question.id == case.question.id or (question.scorable and question.id not in known))
    ]
    place = next(i for i, question in enumerate(open_ones) if question.id == case.question.id)
    first = place - place % most
    together = open_ones[first : first + most]
    # The case's own as the case puts it: it may be worded or ordered otherwise.
    return tuple(case.question if one.id == case.question.id else one for one in together)


def questions_text(questions: Sequence[Question], country: str | None) -> str:
    """Render questions for one prompt, each behind its number, its options below it."""
    blocks = []
    for number, question in enumerate(questions, 1):
        options = [f"{option.code}: {plain_text(option.label)}" for option in question.options]
        blocks.append("\n".join([f"[{number}] {plain_text(question.text_for(country))}", *options]))
    return "\n\n".join(blocks)


def read_answers(text: str) -> dict[int, int]:
    """Read lines of a number, a colon and a code; of a number given twice, the last counts."""
    return {int(number): int(code) for number, code in _LINE.findall(text)}


class SeveralAnswerer(Answerer):
    """Ask for the answers to a case's battery in one call, and give the case's own.

    As in `Answerer`, a reply that does not say an option of the case's question is asked for
    again at most `retries` times, with a fresh rollout. What it says of other questions is left
    to their own cases. It leaves no trace: a demo would show answers that nobody has scored.

    Args:
        retries: Further attempts after the first.
        demo_facts: See `Answerer`.
    """

    def __init__(self, *, retries: int = RETRIES, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__(AnswerSeveral, retries=retries, demo_facts=demo_facts)

    def forward(self, case: Case, inputs: Inputs) -> dspy.Prediction:
        """Return a prediction with `analysis` and a valid `answer`.

        Raises:
            InvalidAnswerError: No attempt gave an option for the case's question.
        """
        together = asked_together(case)
        number = [question.id for question in together].index(case.question.id) + 1
        wanted = {
            "facts": inputs["facts"],
            "history": inputs["history"],
            "questions": questions_text(together, case.profile.country),
        }
        said = ""
        for attempt in range(self.retries + 1):
            again = {"rollout_id": attempt, "temperature": RETRY_TEMPERATURE} if attempt else {}
            try:
                with dspy.context(trace=None, adapter=dspy.settings.adapter or chat_adapter()):
                    reply = self.answer(**wanted, config=again)
            except AdapterParseError as error:
                said = error.lm_response or ""
                continue
            said = str(reply.answers)
            code = read_answers(said).get(number)
            if code in case.question.codes:
                return dspy.Prediction(answer=code, analysis=reply.analysis)
        raise InvalidAnswerError(case.question.id, said, case.question.codes)
