"""How much prompts repeat of each other, and what providers are asked to keep."""

import copy
import json
import pickle
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from dspy.lm15 import CacheConfig, Config, Message, Request
from hypothesis import given
from hypothesis import strategies as st
from loopback import LoopbackServer, Reply
from models import Echo, remote, scripted
from people import example

from benchmarks.prefix_share import lexical_reply
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.lm import MeteredLM, make_lm
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.prefixes import KEPT, Prefixes, cached_tokens, marked, shared_length
from valuesim_dspy.program import ValueSim
from valuesim_dspy.roles import LMRole

FACTS = "[[ ## facts ## ]]\nYou live here.\n\n"
ABOUT = f"{FACTS}[[ ## question ## ]]\nHow important is work?\n\n[[ ## options ## ]]\n1, 2"


@given(st.lists(st.text("ab", max_size=6), max_size=90))
def test_what_repeats_is_what_comparing_every_pair_gives(texts: list[str]) -> None:
    """Each text counts what it shares with the one of the last 64 that it shares most with."""
    prefixes, repeated = Prefixes(), 0
    for at, text in enumerate(texts):
        before = texts[max(0, at - KEPT) : at]
        repeated += max((shared_length(text, each) for each in before), default=0)
        prefixes.sent(text)
    assert (prefixes.repeated, prefixes.characters) == (repeated, sum(map(len, texts)))
    assert 0 <= prefixes.share <= 1
    assert len(prefixes._sorted) == len(prefixes._last) <= KEPT


@given(st.text("ab", max_size=9), st.text("ab", max_size=9))
def test_the_search_by_halves_finds_where_texts_part(text: str, other: str) -> None:
    """It gives what counting letter by letter gives."""
    naive = next(
        (at for at, (one, two) in enumerate(zip(text, other, strict=False)) if one != two),
        min(len(text), len(other)),
    )
    assert shared_length(text, other) == naive


def test_the_share_is_that_of_characters() -> None:
    """Nothing at first; half of the second of two equally long texts is a quarter."""
    prefixes = Prefixes()
    assert prefixes.share == 0.0
    prefixes.sent("abcd")
    prefixes.sent("abxy")
    assert prefixes.share == 2 / 8


def test_a_long_prompt_costs_well_under_a_tenth_of_a_millisecond() -> None:
    """24 KB of facts, beside 64 prompts of the same person, ten rounds: the quickest counts."""
    rng = random.Random(4)
    start = "".join(rng.choices("abcdefgh ", k=24_000))
    prefixes = Prefixes()
    prompts = [f"{start}{number:06d}" for number in range(1000)]
    quickest = 1.0
    for part in range(10):
        begun = time.thread_time()
        for prompt in prompts[part * 100 : part * 100 + 100]:
            prefixes.sent(prompt)
        quickest = min(quickest, (time.thread_time() - begun) / 100)
    assert quickest < 1e-4
    assert prefixes.share > 0.99


def test_threads_count_together() -> None:
    """Whatever the order, all characters are counted and the memory stays bounded."""
    prefixes = Prefixes()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(prefixes.sent, [f"same {number % 10}" for number in range(800)]))
    assert prefixes.characters == 800 * 6 and prefixes.repeated >= 790 * 5
    assert len(prefixes._sorted) == KEPT


def test_only_paid_prompts_count(cache: ResponseCache) -> None:
    """A hit of the response cache sends nothing; a failure is not paid."""
    with LoopbackServer(script=["one", 400]) as server:
        lm = remote(server)
        lm("abcd"), lm("abcd")
        with pytest.raises(Exception, match="scripted"):
            lm("abxx")
        lm("abyy")
    assert lm.prefixes is not None
    assert (lm.prefixes.characters, lm.prefixes.repeated) == (8, 2)


def test_copies_count_together_and_a_model_in_the_process_not_at_all() -> None:
    """The share is the run's; other processes start from nothing."""
    with LoopbackServer() as server:
        lm = remote(server)
    assert lm.copy(temperature=1.0).prefixes is copy.deepcopy(lm).prefixes is lm.prefixes
    assert lm.prefixes is not None
    lm.prefixes.sent("abc")
    assert pickle.loads(pickle.dumps(lm)).prefixes.characters == 0
    assert scripted(Echo()).prefixes is None


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({}, 0),
        ({"prompt_tokens_details": None}, 0),
        ({"prompt_tokens_details": {"cached_tokens": None}}, 0),
        ({"prompt_tokens_details": {"cached_tokens": 7}}, 7),
    ],
)
def test_cached_tokens_are_those_reported(usage: dict[str, Any], tokens: int) -> None:
    """What is not said is nothing."""
    assert cached_tokens(usage) == tokens


def request(*texts: str, **config: Any) -> Request:
    """Return a request with these messages of the user."""
    messages = tuple(Message.user(text) for text in texts)
    return Request(model="m", system="rules", messages=messages, config=Config(**config))


def test_the_mark_stands_where_the_question_begins() -> None:
    """The last message is parted there; earlier ones are below the mark; nothing is lost."""
    found = marked(request("a demo", ABOUT))
    assert [message.parts[0].text for message in found.messages] == [
        "a demo",
        FACTS,
        ABOUT.removeprefix(FACTS),
    ]
    assert found.config.cache == CacheConfig(prefix_until_index=1)
    for name in ("habits", "peers", "questions"):
        other = ABOUT.replace("[[ ## question", f"[[ ## {name} ## ]]\nx\n\n[[ ## question")
        assert marked(request(other)).messages[0].parts[0].text == FACTS
    longer = ABOUT.replace("[[ ## question", "[[ ## history ## ]]\nx\n\n[[ ## question", 1)
    assert marked(request(longer)).messages[0].parts[0].text.endswith("history ## ]]\nx\n\n")


def test_the_real_prompts_of_a_person_share_what_stands_above_the_mark(
    cache: ResponseCache,
) -> None:
    """Two questions to one person: the same beginning for each predictor, behind the rules."""
    with LoopbackServer(lexical_reply) as server:
        cases = [example("Q69"), example("Q8")]
        answer_cases(ValueSim("full"), cases, lm=remote(server, temperature=0.0))
    starts = Counter()
    for body in server.requests:
        system, user = (message["content"] for message in body["messages"])
        found = marked(request(user))
        if len(found.messages) == 2:
            starts[system, found.messages[0].parts[0].text] += 1
    assert len(starts) >= 3 and set(starts.values()) == {2}


def test_without_a_question_the_rules_alone_are_marked() -> None:
    """A backstory's prompt is one of its kind; so is one that begins with the question."""
    for text in (FACTS, "[[ ## question ## ]]\nx"):
        found = marked(request(text))
        assert found.messages == request(text).messages
        assert found.config.cache == CacheConfig(prefix="stable")


def test_a_request_that_says_itself_what_is_kept_is_left_alone() -> None:
    """A user's own choice wins, also when it is off."""
    own = request(ABOUT, cache=CacheConfig(mode="off"))
    assert marked(own) is own


class AnthropicServer(LoopbackServer):
    """Answers as the Messages API does."""

    def _reply(self, path: str, body: dict[str, Any], key: str) -> Reply:
        usage = {"input_tokens": 10, "output_tokens": 3}
        cached = {"cache_read_input_tokens": 2000, "cache_creation_input_tokens": 5}
        message = {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [{"type": "text", "text": "hello"}],
            "stop_reason": "end_turn",
            "usage": {**usage, **cached},
        }
        return Reply(200, json.dumps(message).encode(), {"Content-Type": "application/json"})


def anthropic(server: LoopbackServer, **known: Any) -> MeteredLM:
    """Make an LM of a provider that takes marks."""
    return make_lm(LMRole(model="anthropic/claude-sonnet-4-5", api_base=server.url, **known))


MESSAGES = [{"role": "system", "content": "rules"}, {"role": "user", "content": ABOUT}]


def test_a_provider_that_takes_marks_gets_them(cache: ResponseCache) -> None:
    """System and shared beginning are marked on the wire, and the answer is cached and priced."""
    with AnthropicServer() as server:
        lm = anthropic(server)
        assert lm(messages=MESSAGES) == lm(messages=MESSAGES) == ["hello"]
    (body,) = server.requests
    mark = {"type": "ephemeral"}
    assert body["system"] == [{"type": "text", "text": "rules", "cache_control": mark}]
    assert [message["content"] for message in body["messages"]] == [
        [{"type": "text", "text": FACTS, "cache_control": mark}],
        [{"type": "text", "text": ABOUT.removeprefix(FACTS)}],
    ]
    assert lm.prefixes is not None and lm.prefixes.cached_tokens == 2000
    assert lm.meter.paid.prompt_tokens == 2015 and lm.meter.paid.usd is not None
    # Read at a tenth of the price of 3 dollars a million, written at one and a quarter of it.
    priced = (10 * 3 + 2000 * 0.3 + 5 * 3.75 + 3 * 15) / 1e6
    assert lm.meter.paid.usd == lm.meter.needed.usd == pytest.approx(priced)
    assert lm.history[-1]["cost"] == pytest.approx(priced)


def test_marks_are_not_sent_where_they_are_switched_off_or_unknown(cache: ResponseCache) -> None:
    """`prompt_cache = false`, and providers that keep prefixes by themselves."""
    with AnthropicServer() as server, LoopbackServer() as other:
        anthropic(server, prompt_cache=False)(messages=MESSAGES)
        remote(other)(messages=MESSAGES)
    for body in (*server.requests, *other.requests):
        assert "cache_control" not in json.dumps(body) and "prompt_cache" not in json.dumps(body)
        assert len(body["messages"]) == (1 if "system" in body else 2)


def test_marks_are_no_part_of_the_cache_key(cache: ResponseCache) -> None:
    """An answer is found again whether the prefix was marked or not."""
    with AnthropicServer() as server:
        anthropic(server)(messages=MESSAGES)
        anthropic(server, prompt_cache=False)(messages=MESSAGES)
    assert len(server.requests) == 1
    base = {"model": "m", "messages": MESSAGES}
    assert cache.key(base) == cache.key({**base, "prompt_cache": CacheConfig()})
