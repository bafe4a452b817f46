"""The three estimators: what they ask, in which orders, and what they make of the replies."""

import json
from math import log
from typing import Any

import dspy
import pytest
from loopback import LoopbackServer, Reply
from people import case, prompt_of, reply, scripted

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.distributions import (
    SampledDistribution,
    TokenDistribution,
    VerbalisedDistribution,
    in_orders,
    mean_shares,
)
from valuesim_dspy.errors import ConfigError, InvalidAnswerError
from valuesim_dspy.lm import make_lm
from valuesim_dspy.roles import LMRole
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.usage import Meter
from valuesim_dspy.voting import most_probable, vote_shares

FOUR = load_codebook()["Q69"]


def chances(*numbers: float, analysis: str = "They differ.") -> dict[str, Any]:
    """Return the fields of a verbalised distribution over codes 1, 2, ..."""
    told = {str(code): number for code, number in enumerate(numbers, 1)}
    return {"analysis": analysis, "probabilities": told}


def asked(engine: Any) -> list[str]:
    """Return the options of every request, as the first code offered."""
    tails = [
        prompt_of(request).rsplit("[[ ## options ## ]]\n", 1)[1] for request in engine.requests
    ]
    return [tail[0] for tail in tails]


def run(module: Any, question: str = "Q69") -> dspy.Prediction:
    """Put a case to an estimator."""
    given = case(question)
    return module(case=given, inputs=given.inputs())


# --- both orders --------------------------------------------------------------------------------


def test_options_are_asked_in_order_and_reversed() -> None:
    """The second request differs in the order of the options and in nothing else."""
    inputs = case().inputs()
    first, second = in_orders(inputs, both=True)
    assert first == inputs and in_orders(inputs, both=False) == [inputs]
    assert second["options"].splitlines() == inputs["options"].splitlines()[::-1]
    assert {**second, "options": ""} == {**inputs, "options": ""}


def test_the_mean_of_distributions_is_one() -> None:
    """Code by code; it sums to 1."""
    found = mean_shares([{1: 0.2, 2: 0.8}, {1: 0.6, 2: 0.4}])
    assert found == pytest.approx({1: 0.4, 2: 0.6})


@pytest.mark.parametrize(
    ("shares", "code"),
    [
        ({1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}, 4),
        ({1: 0.4, 2: 0.1, 3: 0.1, 4: 0.4}, 4),  # 4 stands first on this scale
        ({1: 0.3, 2: 0.3, 3: 0.3, 4: 0.1}, 2),
        ({1: 0.25, 2: 0.25, 3: 0.25, 4: 0.25}, 3),
        ({1: 0.1 + 0.2, 2: 0.3, 3: 0.2, 4: 0.2}, 2),  # the same but for rounding
    ],
)
def test_the_answer_is_the_most_probable_code(shares: dict[int, float], code: int) -> None:
    """Ties go to the middle of ordered options, as the vote's do."""
    assert most_probable(FOUR, shares) == code


# --- samples ------------------------------------------------------------------------------------


def test_samples_are_shared_out_and_smoothed_in_each_order() -> None:
    """Two samples in order, two reversed: the mean of the two smoothed shares."""
    given = [reply(2, "First."), reply(3, "Second."), reply(3, "Third."), reply(3)]
    with scripted(given) as engine:
        found = run(SampledDistribution(samples=2))
    assert asked(engine) == ["1", "1", "4", "4"]
    assert [request.config.temperature for request in engine.requests] == [1.0] * 4
    halves = [vote_shares(FOUR, [2, 3]), vote_shares(FOUR, [3, 3])]
    assert found.probabilities == pytest.approx(mean_shares(halves))
    assert found.probabilities[3] == pytest.approx(((1 + 0.25) / 3 + (2 + 0.25) / 3) / 2)
    assert (found.answer, found.analysis) == (3, "Second.")


def test_samples_in_one_order_are_half_the_calls() -> None:
    """Five by default, each with a rollout of its own: equal ones are not answered by the cache."""
    meter = Meter("test")
    with scripted([reply(1)] * 5, meter=meter) as engine:
        found = run(SampledDistribution(both_orders=False))
    assert len(engine.requests) == meter.paid.calls == 5
    assert found.probabilities[1] == pytest.approx(5.25 / 6)


def test_the_sample_that_speaks_is_the_one_traced() -> None:
    """A demo shows one call, and the options as that call had them."""
    module, trace = SampledDistribution(samples=1), []  # type: ignore[var-annotated]
    with scripted([reply(1, "In order."), reply(4, "Reversed.")]), dspy.context(trace=trace):
        found = run(module)
    [(predictor, inputs, said)] = trace
    assert predictor is module.answer and found.answer == said.answer == 4
    assert said.analysis == found.analysis == "Reversed." and inputs["options"].startswith("4: ")


def test_a_sample_that_never_names_an_option_fails_the_case() -> None:
    """After all retries of one sample there is no distribution."""
    with scripted([reply(77)] * 3) as engine, pytest.raises(InvalidAnswerError):
        run(SampledDistribution())
    assert len(engine.requests) == 3


# --- verbalised ---------------------------------------------------------------------------------


def test_chances_in_words_are_averaged_over_both_orders() -> None:
    """Codes keep their meaning whichever way round they stand; the first reply speaks."""
    with scripted([chances(10, 20, 30, 40, analysis="First."), chances(50, 20, 30, 0)]) as engine:
        found = run(VerbalisedDistribution())
    assert asked(engine) == ["1", "4"]
    assert found.probabilities == pytest.approx({1: 0.3, 2: 0.2, 3: 0.3, 4: 0.2})
    assert (found.answer, found.analysis) == (3, "First.")


def test_one_order_is_one_call() -> None:
    """Switched off, the estimate is that of the options in order."""
    with scripted([chances(0, 0, 1, 3)]) as engine:
        found = run(VerbalisedDistribution(both_orders=False))
    assert len(engine.requests) == 1 and found.answer == 4
    assert found.probabilities == pytest.approx({1: 0, 2: 0, 3: 0.25, 4: 0.75})


def test_what_cannot_be_read_is_asked_again_and_then_fails() -> None:
    """Another code and no table at all are asked for again, at temperature 1, within bounds."""
    bad = ["I cannot say.", chances(10, 20, 30, 20, 20)]
    with scripted([*bad, chances(1, 0, 0, 0)]) as engine:
        found = run(VerbalisedDistribution(both_orders=False))
    assert found.answer == 1
    assert [request.config.temperature for request in engine.requests][1:] == [1.0, 1.0]
    with scripted([*bad, "No."]) as engine, pytest.raises(InvalidAnswerError):
        run(VerbalisedDistribution(both_orders=False))
    assert len(engine.requests) == 3


def test_a_demo_of_chances_is_text_and_works_as_one() -> None:
    """The trace of a call holds strings only, and the next request shows them."""
    module, trace = VerbalisedDistribution(), []  # type: ignore[var-annotated]
    with scripted([chances(10, 20, 30, 40), chances(40, 30, 20, 10)]), dspy.context(trace=trace):
        run(module)
    [(predictor, inputs, said)] = trace
    assert predictor is module.probabilities and inputs["options"].startswith("1: ")
    assert said.probabilities == '{"1": 10, "2": 20, "3": 30, "4": 40}'
    module.probabilities.demos = [dspy.Example(**inputs, **said)]
    with scripted([chances(1, 0, 0, 0)] * 2) as engine:
        run(module, "Q70")
    assert said.probabilities in prompt_of(engine.requests[0])


# --- tokens -------------------------------------------------------------------------------------


def completion(code: int, *, told: bool = True, **others: float) -> Reply:
    """Return an answer over the wire, with the alternatives to its code as n1, n2, ..."""
    texts = ["[[ ## answer ## ]]\n", str(code), "\n\n[[ ## completed ## ]]"]
    tops = [{name[1:]: p for name, p in others.items()} if text == str(code) else {text: 1.0}
            for text in texts]  # fmt: skip
    content = [
        {
            "token": text,
            "logprob": log(top[text]),
            "bytes": None,
            "top_logprobs": [
                {"token": t, "logprob": log(p), "bytes": None} for t, p in top.items()
            ],
        }
        for text, top in zip(texts, tops, strict=True)
    ]
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(texts)},
        "finish_reason": "stop",
        "logprobs": {"content": content} if told else None,
    }
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "test"}
    return Reply(
        body=json.dumps({**body, "choices": [choice]}).encode(),
        headers={"Content-Type": "application/json"},
    )


def over_http(module: Any, *replies: Any, engine: str = "auto", times: int = 1) -> Any:
    """Put a case to an estimator whose model is a loopback server; return answer and requests."""
    with LoopbackServer(script=replies) as server:
        role = LMRole(model="openai/test", api_base=server.url, engine=engine, num_retries=0)
        with ResponseCache().installed(), dspy.context(lm=make_lm(role)):
            found = [run(module) for _ in range(times)]
        return found, server.requests


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["auto", "litellm"])
def test_tokens_give_the_distribution_and_the_cache_keeps_them(engine: str) -> None:
    """Asked in both orders; asked again, what was kept gives the same without a request."""
    replies = [completion(2, n2=0.5, n3=0.5), completion(3, n3=0.75, n1=0.25)]
    found, requests = over_http(TokenDistribution(), *replies, engine=engine, times=2)
    for each in found:
        assert each.probabilities == pytest.approx({1: 0.125, 2: 0.25, 3: 0.625, 4: 0})
        assert each.answer == 3 and each.analysis
    assert len(requests) == 2
    assert all(body["logprobs"] is True and body["top_logprobs"] == 20 for body in requests)
    assert "[[ ## analysis ## ]]" not in str(requests[0]["messages"])


def test_a_trace_of_tokens_is_a_plain_answer() -> None:
    """Log-probabilities never become part of a demo."""
    trace: list[Any] = []
    with dspy.context(trace=trace):
        over_http(TokenDistribution(), *[completion(2, n2=0.9, n3=0.1)] * 2)
    [(_, inputs, said)] = trace
    assert dict(said) == {"answer": 2} and set(map(type, inputs.values())) == {str}


def test_an_unreadable_reply_is_asked_again() -> None:
    """A code that is no option, and a reply that only salvage reads, give no tokens to weigh."""
    salvaged = "[[ ## answer ## ]]\nOption 2\n"
    replies = [completion(9, n9=0.9, n2=0.1), salvaged, completion(2, n2=0.9, n3=0.1)]
    found, requests = over_http(TokenDistribution(both_orders=False), *replies)
    assert found[0].probabilities[2] == pytest.approx(0.9) and len(requests) == 3
    with pytest.raises(InvalidAnswerError):
        over_http(TokenDistribution(both_orders=False), *[completion(9, n9=1.0)] * 3)


@pytest.mark.parametrize("engine", ["auto", "litellm"])
def test_a_server_that_tells_none_stops_the_run(engine: str) -> None:
    """It is a matter of the config, which ends a run at its first call, and no failed case."""
    with pytest.raises(ConfigError, match="no log-probabilities"):
        over_http(TokenDistribution(), completion(2, told=False, n2=1.0), engine=engine)


def test_a_server_that_refuses_to_tell_stops_the_run() -> None:
    """Some models answer 400 when asked for log-probabilities; other refusals are what they are."""
    refusal = Reply(400, "logprobs are not supported with this model")
    with pytest.raises(ConfigError, match="no log-probabilities"):
        over_http(TokenDistribution(), refusal)
    with pytest.raises(dspy.LMError):
        over_http(TokenDistribution(), Reply(400, "too long"))


def test_the_embedded_model_tells_none() -> None:
    """A model that runs in the process has no tokens to tell of."""
    with scripted([{"answer": 2}]), pytest.raises(ConfigError, match="no log-probabilities"):
        run(TokenDistribution())
