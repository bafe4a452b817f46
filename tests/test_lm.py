from __future__ import annotations

import asyncio
import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import Message, Request, Response
from loopback import LoopbackServer
from models import Echo, remote, scripted

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.config import LMRole
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.lm import Meter, MeteredLM, Usage, make_lm

CANARY = "canary-0123456789"


def test_a_call_is_counted_and_a_hit_is_only_needed(cache: ResponseCache) -> None:
    """The second equal call is served from the cache: needed once, paid once."""
    with LoopbackServer("hello") as server:
        lm = remote(server)
        assert lm("hi there") == ["hello"]
        assert lm("hi there") == ["hello"]
    assert len(server.requests) == 1
    assert (lm.meter.needed.calls, lm.meter.paid.calls) == (1, 1)
    assert lm.meter.paid.prompt_tokens == 3
    assert lm.meter.needed.completion_tokens == lm.meter.paid.completion_tokens == 2


def test_another_process_pays_nothing_for_what_is_in_the_file(tmp_path: Path) -> None:
    """What a hit needed is known from the record alone."""
    with LoopbackServer("hello") as server:
        meters = []
        for _ in range(2):
            cache = ResponseCache(tmp_path / "r.db")
            with cache.installed():
                lm = remote(server, usd_per_million_input=1, usd_per_million_output=2)
                lm("hi")
                meters.append(lm.meter)
            cache.close()
    first, second = meters
    assert first.paid == first.needed == second.needed
    assert second.paid == Usage()
    assert second.needed.usd == pytest.approx((1 * 1 + 2 * 2) / 1e6)


@pytest.mark.parametrize("settings", [{"n": 3}, {"logprobs": True}])
def test_samples_and_logprobs_come_back_from_the_cache(
    cache: ResponseCache, settings: dict[str, Any]
) -> None:
    """A hit has the same outputs as the call, with several samples or log-probabilities."""
    with LoopbackServer("hello") as server:
        lm = remote(server)
        first, second = lm("hi", **settings), lm("hi", **settings)
    assert first == second
    calls = settings.get("n", 1)
    assert len(first) == calls
    assert (lm.meter.needed.calls, lm.meter.paid.calls) == (calls, calls)
    assert len(server.requests) == calls


def test_dspys_own_cache_is_never_used() -> None:
    """Without our cache installed nothing is cached, in memory or on disk."""
    with LoopbackServer() as server:
        lm = remote(server)
        lm("hi")
        lm("hi")
    assert len(server.requests) == 2
    assert lm.meter.paid.calls == 2
    assert "cache" not in vars(dspy)
    assert not list(Path(os.environ["DSPY_CACHEDIR"]).iterdir())


def test_the_offline_model_costs_nothing_and_is_metered(offline: MeteredLM) -> None:
    """The embedded model runs in the process, is counted, and its price is a known zero."""
    first, second = offline("Say something."), offline("Say something.")
    assert first == second
    assert offline.in_process
    assert (offline.meter.needed.calls, offline.meter.paid.calls) == (1, 1)
    assert (offline.meter.needed.usd, offline.meter.needed.unpriced_calls) == (0.0, 0)


def test_the_offline_model_can_be_awaited(offline: MeteredLM) -> None:
    """The asynchronous call gives what the other one gives."""
    assert asyncio.run(offline.acall("Say something.")) == offline("Say something.")


def test_the_engine_is_told_rollout_and_samples() -> None:
    """Each call sets what tells it apart, and nothing is left set afterwards."""
    from valuesim_dspy.lexical.engine import ROLLOUT

    seen: list[tuple[Any, ...]] = []

    class Looking(Echo):
        def complete(self, request: Request) -> Response:
            seen.append(ROLLOUT.get())
            return super().complete(request)

    lm = scripted(Looking())
    lm("hi")
    lm("hi", rollout_id=7, temperature=1.0, n=2)
    lm.copy(rollout_id=8, temperature=1.0)("hi")
    assert seen == [(None, 1), (7, 2), (7, 2), (8, 1)]
    assert seen[1] is seen[2]
    assert ROLLOUT.get() == ()


def test_explicit_requests_are_metered_and_told_apart_by_endpoint(cache: ResponseCache) -> None:
    """DSPy's own Request objects, whose key names no endpoint, get one from the call."""
    request = Request(model="openai/test", messages=(Message.user("hi"),))
    with LoopbackServer("one") as one, LoopbackServer("two") as two:
        first, second = remote(one), remote(two)
        assert first(request).text == "one"
        assert first(request).text == "one"
        assert second(request).text == "two"
    assert (first.meter.needed.calls, first.meter.paid.calls) == (1, 1)


class Program(dspy.Module):
    """Two predictors, one of them inside of a part."""

    def __init__(self) -> None:
        super().__init__()
        self.backstory = dspy.Predict("facts -> backstory")
        self.part = dspy.ChainOfThought("backstory -> answer")

    def forward(self, facts: str) -> dspy.Prediction:
        """Ask both."""
        return self.part(backstory=self.backstory(facts=facts).backstory)


def test_needs_are_kept_by_the_names_of_predictors(offline: MeteredLM) -> None:
    """Through a real program, each predictor's tokens are found under its saved name."""
    Program()(facts="- You live in Japan.")
    Program()(facts="- You live in Japan.")
    by_name = offline.meter.by_predictor
    assert {name: usage.calls for name, usage in by_name.items()} == {
        "backstory": 1,
        "part.predict": 1,
    }
    assert sum(usage.tokens for usage in by_name.values()) == offline.meter.needed.tokens
    assert offline.meter.paid.calls == 2


def test_copies_share_the_meter(cache: ResponseCache) -> None:
    """copy, deepcopy and a program's deepcopy count on the same meter; with_meter does not."""
    lm = scripted(Echo())
    program = Program()
    program.set_lm(lm)
    copies = [lm.copy(temperature=0.5), copy.deepcopy(lm), program.deepcopy().part.predict.lm]
    for number, each in enumerate(copies):
        each(f"question {number}")
        assert each.role == lm.role
    assert lm.meter.paid.calls == 3
    own = Meter("arm")
    lm.with_meter(own)("other")
    assert (own.paid.calls, lm.meter.paid.calls) == (1, 3)


def test_a_child_meter_counts_for_the_run() -> None:
    """An arm measured on a child of the run's meter is counted by the run too."""
    run = Meter("run")
    lm = make_lm(LMRole(model="offline/scripted"), name="task_lm", meter=run, engine=Echo())
    assert lm.meter is run
    arm = run.child("rag")
    lm.with_meter(arm)("hi")
    assert arm.needed == run.needed == Usage(1, 10, 2, 0.0)


def test_an_lm_survives_pickling_with_an_empty_meter() -> None:
    """Another process counts for itself."""
    lm = scripted(Echo())
    lm("hi")
    sent = pickle.loads(pickle.dumps(lm))
    assert (sent.role, sent.name, sent.meter.paid) == (lm.role, lm.name, Usage())


def test_a_saved_program_holds_neither_address_nor_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even an LM that was set on a saved program leaves its name and its sampling only."""
    monkeypatch.setenv("CANARY_API_KEY", CANARY)
    extra = {"extra_headers": {"X-Team": "canary-team"}}
    with LoopbackServer() as server:
        lm = remote(server, api_key_env="CANARY_API_KEY", extra=extra, temperature=0.5)
        program = Program()
        program.set_lm(lm)
        program.save(tmp_path / "p.json")
    text = (tmp_path / "p.json").read_text()
    assert json.loads(text)["backstory"]["lm"]["temperature"] == 0.5
    assert "127.0.0.1" not in text
    assert "canary" not in text.lower()


def test_roles_become_settings_of_the_request(cache: ResponseCache) -> None:
    """Temperature, length and extra settings reach the server; a role is what the LM shows."""
    with LoopbackServer() as server:
        lm = remote(server, temperature=0.3, max_tokens=7, extra={"top_p": 0.5})
        lm("hi")
    sent = server.requests[0]
    assert (sent["temperature"], sent["top_p"], sent["model"]) == (0.3, 0.5, "test")
    assert 7 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))
    assert repr(lm) == f"MeteredLM(task_lm: openai/test at {server.host})"
    assert not lm.enforce_choices
    assert not lm.in_process


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ({"model": "offline/scripted"}, r"task_lm\.model: offline/scripted .*offline/lexical-1"),
        ({"model": "offline/other"}, r"task_lm\.model: offline/other"),
        ({"model": "openai/o3", "max_tokens": 100}, "task_lm: .*max_tokens >= 16000"),
        ({"model": "nonsense"}, r"task_lm\.model: nonsense .*give provider/model, for example"),
    ],
)
def test_roles_without_a_model_are_told(role: dict[str, Any], message: str) -> None:
    """A model that does not exist or cannot be set up so is a ConfigError."""
    with pytest.raises(ConfigError, match=message):
        make_lm(LMRole(**role), name="task_lm")


@pytest.mark.parametrize(
    "role",
    [
        {"model": "gpt-4o-mini"},
        {"model": "gpt-4o-mini", "extra": {"extra_headers": {"X-Team": "a"}}},
        {"model": "nonsense", "api_base": "http://127.0.0.1:9/v1"},
        {"model": "nonsense", "engine": "litellm"},
    ],
)
def test_bare_names_that_make_sense_are_taken(role: dict[str, Any]) -> None:
    """A name that DSPy knows, or whose address or client is told."""
    assert make_lm(LMRole(**role), name="task_lm").model == role["model"]


def test_an_unset_key_variable_is_told_by_name() -> None:
    """The message names the variable and the host."""
    role = LMRole(model="openai/m", api_key_env="ABSENT_API_KEY")
    with pytest.raises(MissingDataError, match=r"ABSENT_API_KEY is not set; .*openai"):
        make_lm(role, name="task_lm")


def test_making_an_lm_keeps_litellm_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The price list is taken from the package and no .env file is read; a choice is kept."""
    monkeypatch.delenv("LITELLM_LOCAL_MODEL_COST_MAP")
    monkeypatch.setenv("LITELLM_MODE", "DEV")
    make_lm(LMRole(), name="task_lm")
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert os.environ["LITELLM_MODE"] == "DEV"


def test_caches_may_be_taken_out_in_any_order() -> None:
    """Where the block of one thread ends inside that of another, nothing stays behind."""
    first, second = ResponseCache(), ResponseCache()
    one, two = first.installed(), second.installed()
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    assert vars(dspy)["cache"] is second
    two.__exit__(None, None, None)
    assert "cache" not in vars(dspy)
