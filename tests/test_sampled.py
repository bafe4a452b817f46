"""Self-consistency: three samples of one request, retried apart, voted, one of them traced."""

from typing import Any

import dspy
import pytest
from people import case, prompt_of, reply, scripted

from evals.baselines import SelfConsistency
from evals.estimate import benchmark_cost
from valuesim_dspy.case import Case
from valuesim_dspy.errors import InvalidAnswerError
from valuesim_dspy.program import ValueSim
from valuesim_dspy.usage import Meter


@pytest.mark.parametrize(
    ("given", "voted"), [((2, 2, 3), 2), ((1, 3, 3), 3), ((4, 1, 2), 2), ((3, 3, 3), 3)]
)
def test_three_samples_are_voted_on(given: tuple[int, ...], voted: int) -> None:
    """The plurality; where all differ the middle of the scale."""
    with scripted([reply(code, f"Sample of {code}.") for code in given]) as engine:
        found = SelfConsistency()(case=case())
    assert found.answer == voted and found.analysis == f"Sample of {voted}."
    assert len(engine.requests) == 3
    assert len({prompt_of(request) for request in engine.requests}) == 1
    assert [request.config.temperature for request in engine.requests] == [1.0] * 3


def test_the_same_case_again_costs_nothing() -> None:
    """Each sample has a rollout of its own, which the cache knows again."""
    meter = Meter("test")
    with scripted([reply(1), reply(2), reply(2)], meter=meter) as engine:
        arm = SelfConsistency()
        assert arm(case=case()).answer == arm(case=case()).answer == 2
    assert len(engine.requests) == meter.needed.calls == meter.paid.calls == 3


def test_a_retry_is_no_sample_of_another() -> None:
    """An invalid code is asked for again with a rollout that no other sample has."""
    with scripted([reply(77), reply(1), reply(2), reply(2)]) as engine:
        found = SelfConsistency()(case=case())
    assert found.answer == 2 and len(engine.requests) == 4


def test_a_sample_that_never_names_an_option_fails_the_case() -> None:
    """After all retries of one sample the case is invalid, as in every arm."""
    with (
        scripted([reply(1)] + [reply(77)] * 3) as engine,
        pytest.raises(InvalidAnswerError),
    ):
        SelfConsistency()(case=case())
    assert len(engine.requests) == 4


def test_the_sample_that_counted_is_the_one_traced() -> None:
    """A demo made from the trace shows one call: the first that gave the voted answer."""
    arm, trace = SelfConsistency(), []  # type: ignore[var-annotated]
    given = [reply(1, "One."), reply(3, "Three."), reply(3, "Also.")]
    with scripted(given), dspy.context(trace=trace):
        arm(case=case())
    [(predictor, inputs, prediction)] = trace
    assert predictor is arm.direct.answer and prediction.analysis == "Three."
    assert inputs["question"] == case().question_text
    assert len(inputs["facts"].splitlines()) <= arm.direct.demo_facts


def test_the_signature_is_the_single_answer_s_and_the_estimate_counts_three() -> None:
    """What is drawn three times is what `single` asks once; the estimate says so."""
    single: Any = ValueSim("single")
    assert SelfConsistency().direct.answer.signature.equals(single.direct.answer.signature)
    examples = [dspy.Example(case=Case(case().profile, case(q).question)) for q in ("Q69", "Q70")]
    low, high = benchmark_cost(SelfConsistency(), examples).calls
    assert low == high == 6
    tokens = [benchmark_cost(arm, examples).prompt[1] for arm in (SelfConsistency(), single)]
    assert tokens[0] == 3 * tokens[1]
