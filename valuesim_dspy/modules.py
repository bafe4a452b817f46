"""Who answers and who writes: the modules that hold predictors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Literal

import dspy
from dspy.utils.exceptions import AdapterParseError

from valuesim_dspy.case import NOTHING_KNOWN, Case, Profile, facts_text, plain_text, story_text
from valuesim_dspy.errors import InvalidAnswerError, PredictionError
from valuesim_dspy.free_text import plain_lines
from valuesim_dspy.replies import chat_adapter as chat_adapter
from valuesim_dspy.replies import salvaged
from valuesim_dspy.retrieval import nearest_lines
from valuesim_dspy.signatures import WriteBackstory
from valuesim_dspy.survey.codebook import Question

RETRIES = 2
RETRY_TEMPERATURE = 1.0
DEMO_FACTS = 12
BACKSTORY_TOKENS = 8192

Inputs = Mapping[str, str]
_ROUND: ContextVar[int] = ContextVar("valuesim_round", default=0)


@contextmanager
def asked_again(times: int) -> Iterator[None]:
    """Let what a model failed at before be asked anew inside, and in contexts copied from there.

    First attempts stay the same requests, so that good replies come from the response cache and
    bad ones cost nothing; further attempts are others than those of earlier times.

    Args:
        times: How often that was done before, this time included; 0 changes nothing.
    """
    token = _ROUND.set(times)
    try:
        yield
    finally:
        _ROUND.reset(token)


def varied(attempt: int, retries: int) -> dict[str, Any]:
    """Return the settings of an attempt: the first as configured, others with a fresh rollout.

    Args:
        attempt: Counted from 0.
        retries: How many there are after the first.
    """
    if not attempt:
        return {}
    rollout = _ROUND.get() * retries + attempt
    return {"rollout_id": rollout, "temperature": RETRY_TEMPERATURE}


class Answerer(dspy.Module):
    """Ask one predictor for an answer to a case; parse, validate, retry within bounds.

    The one place where an answer is read, for the program and for every baseline. The code is
    checked against the question's options after parsing; a reply that cannot be read, or that
    names no option, is asked for again at most `retries` times with a fresh rollout.

    Args:
        signature: A signature with the output `answer: int` and, before it, where the answer is
            to be reasoned, `analysis: str`.
        retries: Further attempts after the first.
        demo_facts: How many facts a demo made from a trace keeps, those nearest to its question.
    """

    def __init__(
        self,
        signature: type[dspy.Signature],
        *,
        retries: int = RETRIES,
        demo_facts: int = DEMO_FACTS,
    ) -> None:
        super().__init__()
        self.answer = dspy.Predict(signature)
        self.retries = retries
        self.demo_facts = demo_facts

    def forward(self, case: Case, inputs: Inputs) -> dspy.Prediction:
        """Return a prediction with a valid `answer`, and `analysis` where the signature has it.

        Args:
            case: The case; its question validates the answer.
            inputs: Field name to text; fields that the signature lacks are left out.

        Raises:
            InvalidAnswerError: No attempt gave an option.
        """
        wanted = {name: inputs[name] for name in self.answer.signature.input_fields}
        if "backstory" in wanted:
            wanted["backstory"] = story_text(case.profile, wanted["backstory"])
        reply: object = ""
        for attempt in range(self.retries + 1):
            prediction, reply = self._attempt(case.question, wanted, attempt)
            if prediction is not None:
                self._record(wanted, prediction)
                return prediction
        raise InvalidAnswerError(case.question.id, reply, case.question.codes)

    def _attempt(
        self, question: Question, inputs: Inputs, attempt: int
    ) -> tuple[dspy.Prediction | None, object]:
        """Return the prediction, or None, and what was replied."""
        arguments: dict[str, Any] = {**inputs, "config": varied(attempt, self.retries)}
        if getattr(dspy.settings.lm, "enforce_choices", False):
            arguments["signature"] = _with_choices(self.answer.signature, question.codes)
        try:
            with dspy.context(trace=None, adapter=dspy.settings.adapter or chat_adapter()):
                prediction = self.answer(**arguments)
        except AdapterParseError as error:
            said = error.lm_response or ""
            return salvaged(said, question.codes, self.answer.signature), error.lm_response
        if prediction.answer in question.codes:
            return prediction, prediction.answer
        return None, prediction.answer

    def _record(self, inputs: Inputs, prediction: dspy.Prediction) -> None:
        """Append the call that counted to the trace, condensed to what a demo may hold."""
        trace = dspy.settings.trace
        if trace is not None:
            # A demo stands in other people's prompts, with what the model quoted in it.
            said = {n: plain_lines(v) if isinstance(v, str) else v for n, v in prediction.items()}
            shown = dspy.Prediction(**said)
            trace.append((self.answer, condense(inputs, self.demo_facts), shown))


def condense(inputs: Inputs, demo_facts: int) -> dict[str, str]:
    """Shorten a predictor's inputs to those of a demo.

    A demo keeps the facts nearest to its question, in their order, and no backstory: in full
    it would be as long as the case it is to illustrate.
    """
    short = {name: text for name, text in inputs.items() if name != "backstory"}
    if "facts" in short:
        query = f"{inputs['question']} {inputs['options']}"
        short["facts"] = "\n".join(nearest_lines(short["facts"].splitlines(), query, demo_facts))
    return short


@lru_cache(maxsize=512)
def _with_choices(signature: type[dspy.Signature], codes: tuple[int, ...]) -> type[dspy.Signature]:
    return signature.with_updated_fields("answer", type_=Literal[codes])


class BackstoryWriter(dspy.Module):
    """Write the backstory of a profile, once for each person and fold.

    The request is the same for all of a person's questions, so the response cache answers it
    from the second time on. A reply without a story is asked for again as an answer is.
    With `traced` set it leaves a trace, cut short, for teleprompters that reflect on stories.
    """

    def __init__(self, *, max_tokens: int = BACKSTORY_TOKENS, retries: int = RETRIES) -> None:
        super().__init__()
        self.backstory = dspy.Predict(WriteBackstory)
        self.max_tokens, self.retries = max_tokens, retries
        self.traced = False

    def forward(self, profile: Profile) -> str:
        """Return the backstory; a person's own story stands as it is.

        Raises:
            PredictionError: No attempt gave a story.
        """
        if profile.story is not None:
            return plain_text(profile.story)
        if not profile.facts:
            return NOTHING_KNOWN
        story = ""
        for attempt in range(self.retries + 1):
            story = self._attempt(profile, attempt)
            if story.strip():
                break
        else:
            raise PredictionError("no reply to the request for a backstory holds one")
        if self.traced and (trace := dspy.settings.trace) is not None:
            trace.append((self.backstory, *_shortened(profile, story)))
        return story

    def _attempt(self, profile: Profile, attempt: int) -> str:
        """Return the story, or "" where the reply holds none."""
        config = {"max_tokens": self.room(), **varied(attempt, self.retries)}
        try:
            with dspy.context(trace=None, adapter=dspy.settings.adapter or chat_adapter()):
                return str(self.backstory(facts=profile.facts_text, config=config).backstory)
        except AdapterParseError:
            return ""

    def room(self) -> int:
        """Return the tokens asked for the story: at most half of the model's context."""
        role = getattr(dspy.settings.lm, "role", None)
        return min(self.max_tokens, role.context // 2) if role else self.max_tokens


def _shortened(profile: Profile, story: str) -> tuple[dict[str, str], dspy.Prediction]:
    """Return some of the facts, spread over all of them, and how the story begins."""
    shown = profile.facts[:: -(-len(profile.facts) // DEMO_FACTS)]
    return {"facts": facts_text(shown)}, dspy.Prediction(backstory=story[:BACKSTORY_TOKENS])
