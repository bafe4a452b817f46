"""What a row of a simulation says: calls, tokens, fidelity, reasons, the table."""

import threading
from collections.abc import Callable
from typing import Any

import dspy
import pandas as pd
import pytest
from loopback import LoopbackServer, Reply
from people import case, example, reply
from simulating import QUESTIONS, Scripted, examples, local, other, plain, remote

from valuesim_dspy import loop as loop_module
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case, Profile
from valuesim_dspy.errors import (
    InvalidAnswerError,
)
from valuesim_dspy.lm import make_lm
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.outcomes import Outcome, outcomes_frame
from valuesim_dspy.own import own_profile
from valuesim_dspy.program import ValueSim
from valuesim_dspy.roles import LMRole
from valuesim_dspy.survey.codebook import load_codebook

STORY = {"backstory": "You live in Japan. Family is very important in your life."}
KEY = "sk-canary-0123456789abcdef"


def test_every_row_counts_its_own_calls() -> None:
    """Calls needed include the backstory, calls paid do not pay for it twice."""
    with ResponseCache().installed():
        lm = local([STORY, reply(1), reply(1), reply(1), reply(1), reply(2), reply(3), reply(4)])
        first, second = answer_cases(ValueSim(), examples(("Q69", "Q70")), lm=lm)
    assert (first.calls, first.paid, first.decision) == (4, 4, "agreement")
    assert (second.calls, second.paid, second.decision) == (5, 4, "coordinator")
    assert first.views == {"cognitive": 1, "affective": 1, "behavioral": 1}
    assert second.views == {"cognitive": 1, "affective": 2, "behavioral": 3}
    assert second.answer == 4 and lm.meter.paid.calls == first.paid + second.paid
    assert second.tokens > first.tokens > 0 and first.seconds > 0


def test_tokens_are_those_of_the_calls_a_row_needed() -> None:
    """Prompt and completion tokens as the server reports them."""
    with remote() as (lm, _):
        (outcome,) = answer_cases(ValueSim("single"), examples(("Q69",)), lm=lm)
        assert outcome.tokens == lm.meter.needed.tokens > 0


def test_paid_tokens_are_those_that_no_cache_spared() -> None:
    """The first of a person's rows pays for the backstory; asked again, none pays anything."""
    with remote() as (lm, _):
        cold = answer_cases(ValueSim(), examples(), lm=lm, threads=4)
        assert sum(outcome.paid_tokens for outcome in cold) == lm.meter.paid.tokens
        needed = sum(outcome.tokens for outcome in cold)
        assert 0 < lm.meter.paid.tokens == lm.meter.needed.tokens < needed
        warm = answer_cases(ValueSim(), examples(), lm=lm, threads=4)
        assert {outcome.paid_tokens for outcome in warm} == {0}
        assert sum(outcome.tokens for outcome in warm) == needed


@pytest.mark.parametrize("threads", [1, 4])
def test_a_warm_cache_changes_what_is_paid_and_nothing_else(threads: int) -> None:
    """The second run needs what the first needed, pays nothing and says the same."""
    with remote() as (lm, server):
        cold = answer_cases(ValueSim(), examples(), lm=lm, threads=threads)
        asked = len(server.requests)
        warm = answer_cases(ValueSim(), examples(), lm=lm, threads=threads)
        assert len(server.requests) == asked == sum(outcome.paid for outcome in cold)
    assert [plain(outcome) for outcome in warm] == [plain(outcome) for outcome in cold]
    assert [outcome.paid for outcome in warm] == [0] * len(QUESTIONS)


@pytest.mark.parametrize("threads", [1, 4])
def test_fidelity_is_measured_once_a_person(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One backstory serves all questions of a person, and so does its measure."""
    measured: list[int] = []
    real = loop_module.backstory_fidelity

    def count(facts: Any, backstory: str) -> float:
        measured.append(len(facts))
        return real(facts, backstory)

    monkeypatch.setattr(loop_module, "backstory_fidelity", count)
    both = [*examples(), *(dspy.Example(case=Case(other(), e.case.question)) for e in examples())]
    with remote() as (lm, _):
        found = answer_cases(ValueSim("vote"), both, lm=lm, threads=threads)
    assert sorted(measured) == sorted([len(case().profile.facts), len(other().facts)])
    assert all(outcome.fidelity is not None for outcome in found)


def test_two_threads_do_not_measure_one_story_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A case that comes while its person's story is being measured waits for the figure."""
    faithful = loop_module._Fidelities()
    story = dspy.Prediction(backstory="You live in Japan.")
    found: list[float | None] = []
    second = threading.Thread(target=lambda: found.append(faithful(case().profile, story)))
    measured: list[str] = []

    def slow(facts: Any, backstory: str) -> float:
        measured.append(backstory)
        if not second.ident:
            second.start()
            second.join(timeout=0.2)
        return 0.5

    monkeypatch.setattr(loop_module, "backstory_fidelity", slow)
    assert faithful(case().profile, story) == 0.5
    second.join(timeout=30)
    assert found == [0.5] and len(measured) == 1


def test_fidelity_is_none_where_there_is_no_story() -> None:
    """No backstory, no facts: nothing to measure, which is not the same as 0."""
    with ResponseCache().installed():
        (single,) = answer_cases(ValueSim("single"), examples(("Q69",)), lm=local([reply(1)]))
        nobody = dspy.Example(case=Case(own_profile({}), load_codebook()["Q69"]))
        (blank,) = answer_cases(ValueSim("vote"), [nobody], lm=local([reply(1)] * 3))
        (kept,) = answer_cases(
            ValueSim("vote"), examples(("Q69",)), lm=local([STORY] + [reply(1)] * 3)
        )
    assert single.fidelity is None and blank.fidelity is None
    assert kept.fidelity == 2 / len(case().profile.facts)


def test_the_lm_in_force_is_the_one_given_and_only_meanwhile() -> None:
    """A run sets nothing globally."""
    before = dspy.settings.lm
    with ResponseCache().installed():
        answer_cases(ValueSim("single"), examples(("Q69",)), lm=local([reply(1)]))
    assert dspy.settings.lm is before


def echo(messages: Any) -> Reply:
    """Refuse a request as some servers do: with all of it in the message."""
    return Reply(422, "invalid input: " + messages[-1]["content"].replace("\n", " "))


@pytest.mark.parametrize(
    "error",
    [
        lambda c: ValueError(f"cannot use {c.profile.facts[1].text!r}"),
        lambda c: KeyError(c.profile.facts_text),
        lambda c: RuntimeError(f"prompt: {c.profile.facts_text.upper()}"),
        lambda c: InvalidAnswerError("Q69", c.profile.facts_text, (1, 2)),
    ],
)
def test_a_reason_tells_nothing_of_a_person(error: Callable[[Case], Exception]) -> None:
    """Whatever an error quotes, its reason is one line without a fact."""

    def act(asked: Case) -> int:
        raise error(asked)

    (outcome,) = answer_cases(Scripted(act), examples(("Q69",)))
    assert outcome.reason and "\n" not in outcome.reason
    for fact in case().profile.facts:
        for part in (fact.text, fact.text[:24], fact.text[-24:]):
            assert part.casefold() not in outcome.reason.casefold()


def test_a_server_that_echoes_the_prompt_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its message is left out, its kind and status stay, and no key shows."""
    monkeypatch.setenv("MY_KEY", KEY)
    with LoopbackServer(echo) as server, ResponseCache().installed():
        role = LMRole(model="openai/x", api_base=server.url, api_key_env="MY_KEY", num_retries=0)
        lm = make_lm(role, name="task_lm")
        (outcome,) = answer_cases(ValueSim("single"), examples(("Q69",)), lm=lm)
        assert server.keys == [KEY]
    assert outcome.status == "failed" and "important in your life" not in outcome.reason
    assert outcome.reason.endswith("its text repeats the prompt")
    assert KEY not in outcome.reason and "\n" not in outcome.reason


def test_a_program_whose_facts_cannot_be_made_fails_that_case() -> None:
    """An answer that the codebook does not know fails its case, and describing it fails not."""
    broken = Profile("k", {"Q9999": 1}, load_codebook())
    bad = dspy.Example(case=Case(broken, load_codebook()["Q69"]), answer=1)
    with ResponseCache().installed():
        found = answer_cases(ValueSim("single"), [bad, example("Q69")], lm=local([reply(1)]))
    assert [outcome.status for outcome in found] == ["failed", "answered"]


ROWS = (
    Outcome(
        "a",
        "Q1",
        1,
        2,
        "answered",
        "",
        "agreement",
        {"cognitive": 2},
        0.5,
        4,
        3,
        100,
        0.1,
        paid_tokens=80,
    ),
    Outcome("a", "Q2", None, None, "failed", "no answer"),
    Outcome("b", "Q1", 3, 3, "answered", "", "vote", {"cognitive": 1, "affective": 3}),
)
TYPES = {
    "truth": "Int64",
    "answer": "Int64",
    "view_cognitive": "Int64",
    "view_affective": "Int64",
    "fidelity": "float64",
    "seconds": "float64",
    "calls": "int64",
    "paid": "int64",
    "tokens": "int64",
    "paid_tokens": "int64",
}


def test_the_table_has_one_row_each_and_typed_columns() -> None:
    """Codes are integers that may be missing; nothing turns into a float or an object."""
    frame = outcomes_frame(ROWS)
    assert len(frame) == 3 and "views" not in frame
    assert {name: str(frame[name].dtype) for name in TYPES} == TYPES
    for name in ("respondent", "question", "status", "reason", "decision"):
        assert pd.api.types.is_string_dtype(frame[name]), name
    assert frame["answer"].isna().tolist() == [False, True, False]
    assert frame["view_affective"].tolist()[2] == 3
    assert frame["fidelity"].isna().tolist() == [False, True, True]
    assert frame["reason"].tolist() == ["", "no answer", ""]
    assert frame["paid_tokens"].tolist() == [80, 0, 0]


@pytest.mark.parametrize("rows", [(), ROWS[1:2]])
def test_the_table_has_its_columns_whatever_the_rows(rows: tuple[Outcome, ...]) -> None:
    """No rows, or failed ones alone, give the same columns and types, without views."""
    frame = outcomes_frame(rows)
    assert len(frame) == len(rows)
    types = {name: kind for name, kind in TYPES.items() if not name.startswith("view_")}
    assert {name: str(frame[name].dtype) for name in types} == types
    assert frame.columns.tolist()[:5] == ["respondent", "question", "truth", "answer", "status"]
