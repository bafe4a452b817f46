"""Distributions from tokens: where the answer stands, and how its tokens are weighed."""

from math import log
from types import SimpleNamespace
from typing import Any

import pytest

from valuesim_dspy.errors import ConfigError, PredictionError
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.token_chances import Token, read_tokens, token_shares

FOUR = load_codebook()["Q69"]
TEN = load_codebook()["Q164"]
HEAD, TAIL = ("[[ ##", " answer", " ##", " ]]\n"), ("\n\n", "[[ ##", " completed", " ## ]]")


def sure(*texts: str) -> tuple[Token, ...]:
    """Return tokens without alternatives that matter."""
    return tuple(Token(text, {text: 1.0}) for text in texts)


def spelling(*tokens: Token) -> tuple[Token, ...]:
    """Return a whole reply around the tokens of its answer."""
    return (*sure(*HEAD), *tokens, *sure(*TAIL))


def nonzero(shares: dict[int, float]) -> dict[int, float]:
    """Return the codes that have a share."""
    return {code: share for code, share in shares.items() if share}


def test_the_alternatives_at_the_answer_are_its_distribution() -> None:
    """What spells no code is left out and the rest brought to 1; all codes are keys."""
    token = Token("2", {"2": 0.5, "3": 0.3, "\n": 0.1, "None": 0.1})
    shares = token_shares(FOUR, 2, spelling(token))
    assert tuple(shares) == FOUR.codes
    assert list(shares.values()) == pytest.approx([0, 0.625, 0.375, 0])


@pytest.mark.parametrize(
    "chances",
    [
        {"2": 0.4, " 2": 0.1, "3": 0.25, " 3": 0.25},
        {"2": 0.5, "3\n": 0.3, "3": 0.2},
        {"2": 0.5, "3 (Not": 0.5},
    ],
)
def test_spellings_of_one_code_are_added(chances: dict[str, float]) -> None:
    """With a space before, or more text behind, it is the same code."""
    assert nonzero(token_shares(FOUR, 2, spelling(Token("2", chances)))) == pytest.approx(
        {2: 0.5, 3: 0.5}
    )


def test_a_code_in_the_middle_of_a_token_is_found() -> None:
    """A token that ends the heading and begins the answer is read from the answer on."""
    joined = Token(" ]]\n2", {" ]]\n2": 0.75, " ]]\n4": 0.25})
    tokens = (*sure("[[ ##", " answer", " ##"), joined, *sure(*TAIL))
    assert nonzero(token_shares(FOUR, 2, tokens)) == pytest.approx({2: 0.75, 4: 0.25})


def test_a_code_of_one_token_is_not_the_one_it_begins_with() -> None:
    """Where 10 is a token of its own, 1 is 1."""
    token = Token("10", {"10": 0.6, "1": 0.4})
    assert nonzero(token_shares(TEN, 10, spelling(token))) == pytest.approx({10: 0.6, 1: 0.4})


def test_a_token_that_may_go_on_is_split_as_the_next_one_says() -> None:
    """Of the mass on the digit 1, what goes on with 0 is 10, what ends is 1, 15 is neither."""
    first = Token("1", {"1": 0.8, "7": 0.2})
    second = Token("0", {"0": 0.5, "\n\n": 0.4, "5": 0.1})
    shares = token_shares(TEN, 10, spelling(first, second))
    assert nonzero(shares) == pytest.approx({1: 0.32 / 0.92, 7: 0.2 / 0.92, 10: 0.4 / 0.92})
    ended = (
        *sure(*HEAD),
        Token("1", first.chances),
        Token("\n\n", second.chances),
        *sure("[[ ##", " completed", " ## ]]"),
    )
    assert token_shares(TEN, 1, ended) == pytest.approx(shares)


def test_a_start_that_was_not_taken_counts_as_the_code_it_spells() -> None:
    """Of an alternative nothing further is known: 1 is 1, though it might have become 10."""
    token = Token("7", {"7": 0.9, "1": 0.1})
    assert nonzero(token_shares(TEN, 7, spelling(token))) == pytest.approx({7: 0.9, 1: 0.1})


def test_a_start_that_is_no_code_counts_for_all_it_may_begin() -> None:
    """A minus or a digit that no code is by itself is spread evenly over what it begins."""
    question = SimpleNamespace(codes=(10, 11, 20))
    tokens = spelling(Token("2", {"2": 0.5, "1": 0.5}), Token("0", {"0": 1.0}))
    found = token_shares(question, 20, tokens)  # type: ignore[arg-type]
    assert found == pytest.approx({10: 0.25, 11: 0.25, 20: 0.5})


@pytest.mark.parametrize(
    "reply",
    [
        ('{"', "answer", '":', " ", "3", "}"),
        ("<answer>", "3", "</answer>"),
        ("The answer 2 is near. ", "[[ ## answer ## ]]\n", "3", "\n"),
        ("[[ ## answer ## ]]\n", "Option ", "3", "\n"),
    ],
)
def test_the_place_is_found_in_every_form(reply: tuple[str, ...]) -> None:
    """After the last word "answer" behind which the code stands that was read."""
    tokens = [
        Token(text, {text: 0.7, "1": 0.3}) if text == "3" else Token(text, {text: 1.0})
        for text in reply
    ]
    assert nonzero(token_shares(FOUR, 3, tokens)) == pytest.approx({1: 0.3, 3: 0.7})


def test_a_reply_that_does_not_spell_its_answer_is_refused() -> None:
    """Nothing is guessed where the place is not found."""
    with pytest.raises(PredictionError, match="do not spell the answer"):
        token_shares(FOUR, 3, spelling(Token("2", {"2": 1.0})))
    with pytest.raises(PredictionError, match="do not spell the answer"):
        token_shares(FOUR, 3, sure("3"))


def entry(token: str, chance: float, **others: float) -> dict[str, Any]:
    """Return a token as it goes over the wire."""
    top = [{"token": text, "logprob": log(p), "bytes": None} for text, p in others.items()]
    return {"token": token, "logprob": log(chance), "bytes": None, "top_logprobs": top}


def test_tokens_are_read_as_they_come_over_the_wire() -> None:
    """Log-probabilities become probabilities; the token itself is one of its alternatives."""
    first, second = read_tokens(
        {"content": [entry("a", 0.5, a=0.5, b=0.25), entry("c", 0.1, d=0.9)]}
    )
    assert first.text == "a" and first.chances == pytest.approx({"a": 0.5, "b": 0.25})
    assert second.chances == pytest.approx({"c": 0.1, "d": 0.9})


def test_alternatives_of_one_text_are_added() -> None:
    """Tokens of other bytes may show as one text."""
    told = entry("2", 0.5)
    told["top_logprobs"] = [{"token": "2", "logprob": log(p)} for p in (0.5, 0.25)]
    told["top_logprobs"].append({"token": "3", "logprob": log(0.25)})
    [token] = read_tokens({"content": [told]})
    assert token.chances == pytest.approx({"2": 0.75, "3": 0.25})


def test_litellm_s_form_is_read_alike() -> None:
    """Its first answers come as objects that dump the same table."""
    table = {"content": [entry("2", 0.5, **{"2": 0.5, "3": 0.5})]}
    assert read_tokens(SimpleNamespace(model_dump=lambda: table)) == read_tokens(table)


@pytest.mark.parametrize(
    "logprobs", [None, {}, {"content": None}, {"content": []}, {"content": [entry("2", 0.5)]}]
)
def test_a_model_that_tells_nothing_is_a_matter_of_the_config(logprobs: object) -> None:
    """Neither tokens without alternatives nor none at all make a distribution."""
    with pytest.raises(ConfigError, match="no log-probabilities") as caught:
        read_tokens(logprobs)
    assert "task_lm" in str(caught.value) and "top_logprobs=20" in str(caught.value)
