"""Several questions in one call: which share it, how they read, and what is taken from a reply."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import dspy
from dspy.utils.exceptions import AdapterParseError

from valuesim_dspy.case import Case, plain_text
from valuesim_dspy.errors import InvalidAnswerError
from valuesim_dspy.modules import (
    DEMO_FACTS,
    RETRIES,
    Answerer,
    Inputs,
    chat_adapter,
    varied,
)
from valuesim_dspy.replies import field_of
from valuesim_dspy.signatures import FACTS, HISTORY
from valuesim_dspy.survey.codebook import Question
from valuesim_dspy.usage import estimate_tokens, text_of

MOST = 12
"""Questions of a battery in a call: more of them are asked in several, in the codebook's order."""

REPLY_TOKENS = 100
"""Room for what is written about a question: a sentence, and the line with its answer."""

INSTRUCTIONS_TOKENS = 1500
"""What a prompt holds beside its inputs, at most."""

_BETWEEN = re.compile(r"[\n;{}]|,(?=\W*\d+\W*[:=])")
_PAIR = re.compile(r"\W*(\d+)\W*?(?:[:=)\]-]|\.(?=\s))([^\d]*)(\d+)(?![\w.,]*\d)(?!\w)")
_MINUS = re.compile(r"[-\u2010-\u2015\u2212]\W*$")


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

    Args:
        case: The case; a question that the codebook does not have is asked alone.
        most: Questions in a call.
    """
    codebook = case.profile.codebook
    if case.question.id not in codebook:
        return (case.question,)
    battery = codebook.batteries.get(case.question.battery, ())
    return dealt(case, (codebook[name] for name in battery), most)


def dealt(case: Case, questions: Iterable[Question], most: int) -> tuple[Question, ...]:
    """Return those of a list that share a call with a case's question, `most` at a time.

    What can be scored and is not known is dealt in the order of the list. So all of a call see
    the same of it, for everyone of whom the same is known, and one reply, which the response
    cache keeps, serves all. A question that is not among these is asked alone.

    Args:
        case: The case.
        questions: The list.
        most: Questions in a call.
    """
    later = {item.question.id for item in case.history}
    answers = case.profile.answers
    asked = [
        one for one in questions if one.scorable and not (one.id in later or one.id in answers)
    ]
    place = next((i for i, one in enumerate(asked) if one.id == case.question.id), None)
    if place is None:
        return (case.question,)
    first = place - place % most
    # The case's own as the case puts it: it may be worded or ordered otherwise.
    return tuple(
        case.question if one.id == case.question.id else one for one in asked[first : first + most]
    )


def questions_text(questions: Sequence[Question], country: str | None) -> str:
    """Render questions for one prompt, each behind its number, its options below it."""
    blocks = []
    for number, question in enumerate(questions, 1):
        options = [f"{option.code}: {plain_text(option.label)}" for option in question.options]
        blocks.append("\n".join([f"[{number}] {plain_text(question.text_for(country))}", *options]))
    return "\n\n".join(blocks)


def read_answers(text: str) -> dict[int, int]:
    """Read pairs of a number and a code, a line or a comma apart; of a number's, the last.

    A line with more than the two numbers, such as `1: 4 or 5`, names no code, and a code behind a
    minus is none of an option's.
    """
    found: dict[int, int] = {}
    for line in _BETWEEN.split(text):
        pair = _PAIR.match(line)
        if pair is None or re.search(r"\w", pair[2]):
            continue
        if set(re.findall(r"\d+", line[pair.end() :])) <= {pair[3]}:
            sign = -1 if _MINUS.search(pair[2]) else 1
            found[int(pair[1])] = sign * int(pair[3])
    return found


class SeveralAnswerer(Answerer):
    """Ask for the answers to several questions in one call, and give the case's own.

    What a reply lacks is asked for again, all of it in one call with a fresh rollout, and at the
    last attempt the case's question alone: a reply cut short loses nobody. With two retries, n
    questions take at most 2 + n calls. What a reply says of other questions is left to their own
    cases. It leaves no trace: a demo would show answers that nobody has scored.

    Args:
        retries: Further attempts after the first.
        demo_facts: See `Answerer`.
    """

    def __init__(self, *, retries: int = RETRIES, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__(AnswerSeveral, retries=retries, demo_facts=demo_facts)

    def forward(
        self, case: Case, inputs: Inputs, together: Sequence[Question] | None = None
    ) -> dspy.Prediction:
        """Return a prediction with `analysis` and a valid `answer`.

        Args:
            case: The case.
            inputs: Field name to text; facts and history are read.
            together: The questions of the call, the case's own among them; by default what is
                unknown of its battery.

        Raises:
            InvalidAnswerError: No attempt gave an option for the case's question.
        """
        asked = tuple(together or asked_together(case))
        said = ""
        for attempt in range(self.retries + 1):
            if attempt and attempt == self.retries:
                asked = (case.question,)
            analysis, said = self._ask(case, inputs, asked, attempt)
            codes = _valid(asked, said)
            if case.question.id in codes:
                return dspy.Prediction(answer=codes[case.question.id], analysis=analysis)
            # The same for all that the reply lacks, so that they share the next call too.
            asked = tuple(question for question in asked if question.id not in codes)
        raise InvalidAnswerError(case.question.id, said, case.question.codes)

    def _ask(
        self, case: Case, inputs: Inputs, asked: Sequence[Question], attempt: int
    ) -> tuple[str, str]:
        """Return the analysis and the text of the answers; "" and the reply if it has neither."""
        shown = questions_text(asked, case.profile.country)
        wanted = {"facts": inputs["facts"], "history": inputs["history"], "questions": shown}
        config = {**_room(len(asked), wanted), **varied(attempt, self.retries)}
        try:
            with dspy.context(trace=None, adapter=dspy.settings.adapter or chat_adapter()):
                reply = self.answer(**wanted, config=config)
        except AdapterParseError as error:
            return "", field_of(error.lm_response or "", "answers")
        return str(reply.analysis), str(reply.answers)


def _valid(asked: Sequence[Question], said: str) -> Mapping[str, int]:
    """Return the ids of the questions that a reply answers with one of their codes, and these."""
    codes = read_answers(said)
    return {
        question.id: codes[number]
        for number, question in enumerate(asked, 1)
        if codes.get(number) in question.codes
    }


def _room(questions: int, inputs: Inputs) -> dict[str, int]:
    """Return `max_tokens` for a reply on so many questions; empty where the role's are enough."""
    role = getattr(dspy.settings.lm, "role", None)
    if role is None:
        return {}
    left = role.context - estimate_tokens(text_of(list(inputs.values()))) - INSTRUCTIONS_TOKENS
    wanted = min(REPLY_TOKENS * questions, left)
    return {"max_tokens": wanted} if wanted > role.max_tokens else {}
