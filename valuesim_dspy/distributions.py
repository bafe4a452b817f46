"""Answers as distributions: three ways to ask a model for a probability of each option."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import dspy
from dspy.utils.exceptions import AdapterParseError

from valuesim_dspy.case import Case
from valuesim_dspy.chances import ForeseeDistribution, chances_text, read_chances
from valuesim_dspy.errors import InvalidAnswerError, PredictionError
from valuesim_dspy.modules import (
    DEMO_FACTS,
    RETRIES,
    Answerer,
    Inputs,
    chat_adapter,
    condense,
    varied,
)
from valuesim_dspy.signatures import AnswerDirectly, answering_alone
from valuesim_dspy.survey.codebook import Question
from valuesim_dspy.token_chances import TOP, no_logprobs, read_tokens, token_shares
from valuesim_dspy.voting import most_probable, vote_shares

SAMPLES = 5

Shares = dict[int, float]


class RepeatedAnswerer(Answerer):
    """Draw several answers to one case, each at temperature 1 with a rollout of its own.

    Args:
        signature: See `Answerer`.
        samples: How many.
        retries: Further attempts at each.
        demo_facts: See `Answerer`.
    """

    def __init__(
        self,
        signature: type[dspy.Signature],
        *,
        samples: int = SAMPLES,
        retries: int = RETRIES,
        demo_facts: int = DEMO_FACTS,
    ) -> None:
        super().__init__(signature, retries=retries, demo_facts=demo_facts)
        self.samples = samples

    def draw(self, case: Case, inputs: Inputs) -> list[dspy.Prediction]:
        """Return the samples, each with a valid answer; none is traced.

        A sample that names no option is drawn again, at most `retries` times.

        Raises:
            InvalidAnswerError: No attempt at one of the samples gave an option.
        """
        return [self._sample(case, inputs, number) for number in range(1, self.samples + 1)]

    def _sample(self, case: Case, inputs: Inputs, number: int) -> dspy.Prediction:
        reply: object = ""
        # Rollouts of retries lie beyond those of all samples, or one would repeat the other.
        for attempt in range(self.retries + 1):
            rollout = number + attempt * self.samples
            prediction, reply = self._attempt(case.question, dict(inputs), rollout)
            if prediction is not None:
                return prediction
        raise InvalidAnswerError(case.question.id, reply, case.question.codes)


class SampledDistribution(RepeatedAnswerer):
    """Estimate probabilities by the shares of several answers, smoothed; see `vote_shares`.

    Five samples that agree give their option (5 + 1/K) / 6 of K options, and each other 1 / 6K.

    Args:
        signature: See `Answerer`.
        samples: How many, in each order of the options.
        both_orders: Whether the estimate is the mean over the options in order and reversed.
        demo_facts: See `Answerer`.
    """

    def __init__(
        self,
        signature: type[dspy.Signature] = AnswerDirectly,
        *,
        samples: int = SAMPLES,
        both_orders: bool = True,
        demo_facts: int = DEMO_FACTS,
    ) -> None:
        super().__init__(signature, samples=samples, demo_facts=demo_facts)
        self.both_orders = both_orders

    def forward(self, case: Case, inputs: Inputs) -> dspy.Prediction:
        """Return `answer`, `analysis` and `probabilities`, code to probability.

        The first sample that gives the answer speaks, and is the one traced.

        Raises:
            InvalidAnswerError: No attempt at one of the samples gave an option.
        """
        asked = in_orders(_wanted(self.answer, inputs), both=self.both_orders)
        drawn = [self.draw(case, wanted) for wanted in asked]
        votes = [[int(sample.answer) for sample in samples] for samples in drawn]
        shares = mean_shares([vote_shares(case.question, given) for given in votes])
        chosen = most_probable(case.question, shares)
        spoken, read = next(
            (sample, wanted)
            for wanted, samples in zip(asked, drawn, strict=True)
            for sample in samples
            if int(sample.answer) == chosen
        )
        self._record(read, spoken)
        analysis = str(spoken.get("analysis", ""))
        return dspy.Prediction(answer=chosen, analysis=analysis, probabilities=shares)


class TokenDistribution(Answerer):
    """Estimate probabilities from the log-probabilities of the tokens that spell the answer.

    The signature has no analysis: after one, the tokens tell how likely an answer is given what
    was just argued. What the server gives is taken as it is, at whatever temperature it states
    log-probabilities for. See `valuesim_dspy.token_chances.token_shares` for how tokens are read.

    Args:
        signature: One whose only output is `answer: int`.
        both_orders: See `SampledDistribution`.
        demo_facts: See `Answerer`.
    """

    def __init__(
        self,
        signature: type[dspy.Signature] | None = None,
        *,
        both_orders: bool = True,
        demo_facts: int = DEMO_FACTS,
    ) -> None:
        signature = signature or answering_alone(AnswerDirectly)
        super().__init__(signature, demo_facts=demo_facts)
        self.answer.config |= {"logprobs": True, "top_logprobs": TOP}
        self.both_orders = both_orders

    def forward(self, case: Case, inputs: Inputs) -> dspy.Prediction:
        """Return `answer`, `analysis` and `probabilities`, code to probability.

        Raises:
            ConfigError: The server or the model gives no log-probabilities.
            InvalidAnswerError: No attempt gave an option whose tokens could be read.
        """
        asked = in_orders(_wanted(self.answer, inputs), both=self.both_orders)
        shares = mean_shares([self._estimate(case, wanted) for wanted in asked])
        chosen = most_probable(case.question, shares)
        self._record(asked[0], dspy.Prediction(answer=chosen))
        analysis = "As the tokens of the answer are likely."
        return dspy.Prediction(answer=chosen, analysis=analysis, probabilities=shares)

    def _estimate(self, case: Case, wanted: Inputs) -> Shares:
        reply: object = ""
        for attempt in range(self.retries + 1):
            try:
                prediction, reply = self._attempt(case.question, dict(wanted), attempt)
            except dspy.LMError as error:
                if "logprobs" in str(error):
                    raise no_logprobs() from error
                raise
            # Without completions it was read from a reply that does not parse.
            if prediction is None or prediction.completions is None:
                continue
            tokens = read_tokens(prediction.get("logprobs"))
            try:
                return token_shares(case.question, int(prediction.answer), tokens)
            except PredictionError:
                continue
        raise InvalidAnswerError(case.question.id, reply, case.question.codes)


class VerbalisedDistribution(dspy.Module):
    """Ask the model for the chances of each option, in words; parse, retry within bounds.

    No `Answerer`: demos of it come from traces, never from the one answer that a person gave,
    which is no distribution.

    Args:
        signature: One with the output `probabilities: dict[str, float]`.
        retries: Further attempts after the first, at each order of the options.
        both_orders: See `SampledDistribution`.
        demo_facts: See `Answerer`.
    """

    def __init__(
        self,
        signature: type[dspy.Signature] = ForeseeDistribution,
        *,
        retries: int = RETRIES,
        both_orders: bool = True,
        demo_facts: int = DEMO_FACTS,
    ) -> None:
        super().__init__()
        self.probabilities = dspy.Predict(signature)
        self.retries = retries
        self.both_orders = both_orders
        self.demo_facts = demo_facts

    def forward(self, case: Case, inputs: Inputs) -> dspy.Prediction:
        """Return `answer`, `analysis` and `probabilities`, code to probability.

        The reply to the options in order speaks, and is the one traced.

        Raises:
            InvalidAnswerError: No attempt gave chances that could be read.
        """
        asked = in_orders(_wanted(self.probabilities, inputs), both=self.both_orders)
        told = [self._estimate(case.question, wanted) for wanted in asked]
        shares = mean_shares([estimate for estimate, _ in told])
        analysis = told[0][1]
        self._record(asked[0], told[0])
        chosen = most_probable(case.question, shares)
        return dspy.Prediction(answer=chosen, analysis=analysis, probabilities=shares)

    def _estimate(self, question: Question, wanted: Inputs) -> tuple[Shares, str]:
        reply: object = ""
        for attempt in range(self.retries + 1):
            again = varied(attempt, self.retries)
            adapter = dspy.settings.adapter or chat_adapter()
            try:
                with dspy.context(trace=None, adapter=adapter):
                    said = self.probabilities(**wanted, config=again)
                reply = said.probabilities
                return read_chances(question, reply), str(said.get("analysis", ""))
            except AdapterParseError as error:
                reply = error.lm_response
            except InvalidAnswerError:
                continue
        raise InvalidAnswerError(question.id, reply, question.codes)

    def _record(self, wanted: Inputs, told: tuple[Shares, str]) -> None:
        """Append the call to the trace as text: demos hold nothing else."""
        trace = dspy.settings.trace
        if trace is not None:
            said = dspy.Prediction(analysis=told[1], probabilities=chances_text(told[0]))
            trace.append((self.probabilities, condense(wanted, self.demo_facts), said))


def in_orders(inputs: Mapping[str, str], *, both: bool) -> list[dict[str, str]]:
    """Return a predictor's inputs with the options in order and, where both count, reversed.

    Models favour an option for its place, often the last: the mean over both orders takes what
    is linear in the place out.
    """
    turned = "\n".join(reversed(inputs["options"].split("\n")))
    return [dict(inputs), {**inputs, "options": turned}] if both else [dict(inputs)]


def mean_shares(estimates: Sequence[Mapping[int, float]]) -> Shares:
    """Return the mean of distributions over the same codes; it sums to 1 as they do."""
    means = {code: math.fsum(e[code] for e in estimates) / len(estimates) for code in estimates[0]}
    total = math.fsum(means.values())
    return {code: share / total for code, share in means.items()}


def _wanted(predictor: dspy.Predict, inputs: Inputs) -> dict[str, str]:
    return {name: inputs[name] for name in predictor.signature.input_fields}
