"""Shared prefixes: what a person's questions repeat of each other's prompts."""

import pytest
from simulating import examples, remote

from benchmarks.prefix_share import (
    OVERALL,
    Share,
    measure,
    one_person,
    predictor_of,
    prompt_text,
    repeated_lengths,
    shared_length,
    shares,
)
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.program import ValueSim

pytestmark = pytest.mark.slow

FULL = tuple(name for name, _ in ValueSim().named_predictors())


@pytest.fixture(scope="module")
def full_shares() -> dict[str, Share]:
    """Return what 50 questions to one person shared, for the variant `full`."""
    cases = one_person()
    assert len(cases) == 50 and len({each.case.profile for each in cases}) == 1
    return measure(ValueSim("full"), cases)


def test_a_persons_questions_share_nine_tenths_of_their_prompts(
    full_shares: dict[str, Share],
) -> None:
    """At least 0.9 of all prompt characters repeat the beginning of an earlier prompt."""
    assert full_shares[OVERALL].share >= 0.9
    for name in FULL[1:4]:
        assert full_shares[name].requests == 50
        assert full_shares[name].share >= 0.95, name


def test_one_backstory_is_requested_for_fifty_questions(full_shares: dict[str, Share]) -> None:
    """The cache answers from the second question on, and no other request goes uncounted."""
    assert full_shares[FULL[0]].requests == 1 and "unknown" not in full_shares
    parts = [part for name, part in full_shares.items() if name != OVERALL]
    assert sum(part.requests for part in parts) == full_shares[OVERALL].requests
    assert sum(part.repeated for part in parts) == full_shares[OVERALL].repeated


@pytest.mark.parametrize("name", FULL[1:4])
def test_two_questions_differ_only_at_their_end(name: str) -> None:
    """What the prompts of a perspective share reaches beyond facts, backstory and history."""
    with remote() as (lm, server):
        answer_cases(ValueSim(), examples(("Q69", "Q8")), lm=lm)
        texts = [
            prompt_text(body["messages"])
            for body in server.requests
            if predictor_of(body["messages"], ValueSim()) == name
        ]
    shared = texts[0][: shared_length(*texts)]
    for heading in ("facts", "backstory", "history"):
        assert f"[[ ## {heading} ## ]]" in shared
    last_shared = shared.rsplit("[[ ## ", 1)[1]
    assert last_shared.startswith(("question", "habits"))


def test_lengths_of_prefixes_are_those_of_the_definition() -> None:
    """The sorted search gives what comparing every pair gives."""
    texts = ["abc", "abd", "x", "abcde", "", "abd", "xy", "ab"]
    naive = [
        max((shared_length(text, other) for other in texts[:index]), default=0)
        for index, text in enumerate(texts)
    ]
    assert repeated_lengths(texts) == naive == [0, 2, 0, 3, 0, 3, 1, 2]
    assert shared_length("same", "same") == 4 and shared_length("", "a") == 0


def test_a_share_counts_what_repeats() -> None:
    """Half of the second text repeats the first: a quarter of both."""
    program = ValueSim("single")
    told = program.direct.answer.signature.instructions
    bodies = [{"messages": [{"role": "system", "content": told + end}]} for end in ("", "x")]
    found = shares(bodies, program)
    assert found["direct.answer"] == found[OVERALL] == Share(2, 2 * len(told) + 1, len(told))
    assert found[OVERALL].share == len(told) / (2 * len(told) + 1)
    assert found[OVERALL].fresh_tokens == (len(told) + 1) / 4 / 2
    assert Share().share == Share().fresh_tokens == 0
