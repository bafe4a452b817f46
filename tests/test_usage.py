from __future__ import annotations

import copy
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuesim_dspy.errors import BudgetExceededError, ConfigError
from valuesim_dspy.usage import Budget, Meter, Usage, estimate_tokens, text_of

ONE = Usage(calls=1, prompt_tokens=10, completion_tokens=2, usd=0.5)
PLAN = Usage(calls=1, prompt_tokens=10)


def test_usage_adds_up() -> None:
    """Sums are taken field by field and nothing is needed to start from."""
    total = Usage() + ONE + ONE
    assert total == Usage(2, 20, 4, 1.0)
    assert total.tokens == 24
    assert total.as_dict()["prompt_tokens"] == 20


def test_an_unknown_price_makes_the_sum_unknown_and_is_counted() -> None:
    """A sum with an unknown price is None, never the rest and never zero."""
    unknown = Usage(calls=1, usd=None, unpriced_calls=1)
    total = ONE + unknown + ONE
    assert (total.usd, total.unpriced_calls, total.calls) == (None, 1, 3)


usages = st.builds(
    Usage,
    calls=st.integers(0, 9),
    prompt_tokens=st.integers(0, 99),
    completion_tokens=st.integers(0, 99),
    usd=st.none() | st.integers(0, 9).map(float),
    unpriced_calls=st.integers(0, 9),
    estimated_calls=st.integers(0, 9),
)


@given(usages, usages, usages)
def test_sums_do_not_depend_on_order(a: Usage, b: Usage, c: Usage) -> None:
    """Whatever the order in which threads report, the total is the same."""
    assert (a + b) + c == (c + a) + b


def test_hits_are_needed_and_not_paid() -> None:
    """What the cache answered counts as needed only."""
    meter = Meter("task_lm")
    meter.record(ONE, paid=True)
    meter.record(ONE, paid=False)
    meter.fail()
    assert (meter.needed, meter.paid, meter.failed) == (ONE + ONE, ONE, 1)


def test_a_request_that_comes_again_is_needed_once() -> None:
    """One backstory serves all of a person's questions: a cold cache would pay for it once."""
    job = Meter("job")
    for _ in range(2):
        row = job.child("a case")
        row.record(ONE, paid=False, key="the same request")
        row.record(ONE, paid=False, key="the same request")
        assert row.needed == ONE
    job.record(ONE, paid=True, key="another request")
    assert (job.needed, job.paid) == (ONE + ONE, ONE)


def test_children_count_for_their_parents_and_not_for_each_other() -> None:
    """A record flows up the line; two children of one name are two meters."""
    run = Meter("run")
    arm = run.child("rag")
    first, second = arm.child("Q1"), arm.child("Q1")
    first.record(ONE, paid=True, predictor="answer")
    second.record(ONE, paid=False)
    second.fail()
    assert (first.needed, second.paid) == (ONE, Usage())
    assert (run.needed, arm.needed, run.paid) == (ONE + ONE, ONE + ONE, ONE)
    assert (first.failed, run.failed) == (0, 1)
    assert run.by_predictor == {"answer": ONE}


def test_a_meter_may_forget_requests_of_long_ago() -> None:
    """With a limit the request used longest ago is forgotten; children take the limit over."""
    job = Meter("job", recent=2)
    row = job.child("row")
    for key in ("story", "a", "story", "b", "story", "a"):
        row.record(ONE, paid=False, key=key)
    assert row.needed == job.needed == ONE + ONE + ONE + ONE
    assert row.recent == job.child("x").child("y").recent == 2
    assert len(row._seen) == len(job._seen) == 2


def test_a_meter_remembers_all_requests_unless_told() -> None:
    """The first request is not needed again, however many came since."""
    job = Meter("job")
    for key in [*map(str, range(2_000)), "0"]:
        job.record(ONE, paid=False, key=key)
    assert job.needed.calls == 2_000 and job.recent is None


def test_tokens_are_kept_by_predictor() -> None:
    """Each predictor's needs are added up under its name."""
    meter = Meter()
    for name in ("backstory", "views.cognitive", "backstory"):
        meter.record(ONE, paid=True, predictor=name)
    meter.record(ONE, paid=True)
    assert meter.by_predictor == {"backstory": ONE + ONE, "views.cognitive": ONE}
    assert meter.as_dict()["by_predictor"]["views.cognitive"]["calls"] == 1
    assert meter.as_dict()["needed"]["calls"] == 4


@pytest.mark.parametrize(
    ("budget", "what"),
    [(Budget(calls=2), "calls"), (Budget(tokens=24), "tokens"), (Budget(usd=1.0), "usd")],
)
def test_a_met_limit_stops_the_next_call(budget: Budget, what: str) -> None:
    """Once what was paid reaches a limit no further call is started, and the error says so."""
    meter = Meter(budget=budget)
    for _ in range(2):
        meter.reserve(PLAN)
        meter.record(ONE, paid=True, planned=PLAN)
    with pytest.raises(BudgetExceededError, match="is spent") as caught:
        meter.reserve(PLAN)
    assert caught.value.what == what


@pytest.mark.parametrize("samples", [2, 9])
def test_a_call_for_more_samples_than_are_left_is_refused(samples: int) -> None:
    """A budget of calls is never exceeded, also not by one call for several answers."""
    job = Meter(budget=Budget(calls=3))
    row = job.child("row")
    row.reserve(PLAN)
    row.record(ONE, paid=True, planned=PLAN)
    row.reserve(PLAN)
    with pytest.raises(BudgetExceededError, match=rf"\(2\); {samples} samples") as caught:
        row.reserve(Usage(calls=samples))
    assert (caught.value.what, caught.value.limit, caught.value.spent) == ("calls", 3, 2)
    row.reserve(PLAN)
    with pytest.raises(BudgetExceededError, match="3 calls is spent"):
        row.reserve(PLAN)


def test_no_call_without_a_price_begins_under_a_limit_in_dollars() -> None:
    """What is planned says so itself; the first call is refused and holds no place."""
    job = Meter(budget=Budget(usd=1.0))
    row, free = job.child("row"), Meter()
    planned = Usage(calls=1, usd=None, unpriced_calls=1)
    assert (job.in_dollars, row.in_dollars, free.in_dollars) == (True, True, False)
    assert not Meter(budget=Budget(calls=1)).in_dollars
    with pytest.raises(ConfigError, match="usd_per_million_input"):
        row.reserve(planned)
    assert job._under_way == Usage()
    free.reserve(planned)
    job.reserve(PLAN)


def test_all_meters_have_counted_when_they_tell_of_it() -> None:
    """A listener that fails, such as a file that is full, loses no count."""

    def full(usage: Usage) -> None:
        raise OSError("no room")

    job = Meter()
    row = job.child("row", on_paid=full)
    row.reserve(PLAN)
    with pytest.raises(OSError, match="no room"):
        row.record(ONE, paid=True, planned=PLAN)
    assert job.paid == row.paid == job.needed == ONE
    assert job._under_way.calls == 0


def test_hits_do_not_use_up_a_budget() -> None:
    """A budget is about what is paid; what is only needed leaves it as it was."""
    meter = Meter(budget=Budget(calls=1))
    for _ in range(5):
        meter.record(ONE, paid=False)
    meter.reserve(PLAN)
    assert meter.paid.calls == 0


def test_a_budget_of_zero_allows_hits_only() -> None:
    """Zero is a limit, not the absence of one."""
    with pytest.raises(BudgetExceededError):
        Meter(budget=Budget(calls=0)).reserve(PLAN)


def test_a_parents_budget_binds_its_children() -> None:
    """A child without a budget is stopped by its parent's."""
    run = Meter(budget=Budget(calls=1))
    first, second = run.child("a"), run.child("b")
    first.reserve(PLAN)
    with pytest.raises(BudgetExceededError):
        second.reserve(PLAN)


def test_a_childs_budget_does_not_bind_its_parent() -> None:
    """A limit for one arm leaves the others free."""
    run = Meter()
    arm = run.child("rag", budget=Budget(calls=0))
    with pytest.raises(BudgetExceededError):
        arm.reserve(PLAN)
    run.reserve(PLAN)


def test_calls_under_way_count_until_they_end() -> None:
    """A call under way holds its place; when it failed, the place is free again."""
    meter = Meter(budget=Budget(calls=1))
    meter.reserve(PLAN)
    with pytest.raises(BudgetExceededError):
        meter.reserve(PLAN)
    meter.release(PLAN)
    meter.reserve(PLAN)
    assert meter.paid == Usage()


def test_a_call_that_is_refused_holds_no_place() -> None:
    """A refusal by the parent leaves nothing reserved in the child."""
    run = Meter(budget=Budget(calls=1))
    child = run.child("a", budget=Budget(calls=1))
    run.reserve(PLAN)
    with pytest.raises(BudgetExceededError):
        child.reserve(PLAN)
    run.release(PLAN)
    child.reserve(PLAN)


def test_a_limit_in_dollars_needs_known_prices() -> None:
    """A budget in dollars over unpriced calls is refused, with what to do about it."""
    meter = Meter(budget=Budget(usd=1.0))
    meter.record(Usage(calls=1, usd=None, unpriced_calls=1), paid=True)
    with pytest.raises(ConfigError, match="usd_per_million_input"):
        meter.reserve(PLAN)


def test_threads_never_pay_more_calls_than_allowed() -> None:
    """Sixteen threads on a budget of fifty pay fifty calls, exactly."""
    meter = Meter(budget=Budget(calls=50))

    def work() -> None:
        child = meter.child("case")
        for _ in range(10):
            try:
                child.reserve(PLAN)
            except BudgetExceededError:
                continue
            child.record(ONE, paid=True, planned=PLAN)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.paid.calls == 50


def test_copies_count_on_the_same_meter() -> None:
    """A copied or deep-copied meter is the meter; another process gets an empty one."""
    meter = Meter("m", budget=Budget(calls=3), recent=5)
    meter.record(ONE, paid=True)
    assert copy.copy(meter) is meter
    assert copy.deepcopy({"lm": meter})["lm"] is meter
    sent = pickle.loads(pickle.dumps(meter))
    assert (sent.name, sent.budget, sent.recent) == ("m", Budget(calls=3), 5)
    assert sent.paid == Usage()


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("日本語", 3)]
)
def test_tokens_are_estimated_and_rounded_up(text: str, tokens: int) -> None:
    """Four bytes a token: four English letters, or one and a third characters of Japanese."""
    assert estimate_tokens(text) == tokens


def test_the_text_of_messages_is_found_wherever_it_is() -> None:
    """Messages, parts of messages and outputs all give their text."""
    parts = [{"type": "text", "text": "two"}, {"type": "other", "value": 3}]
    messages = [{"role": "system", "content": "one"}, {"role": "user", "content": parts}]
    assert text_of(messages).splitlines()[:2] == ["one", "two"]
    assert text_of(["a", {"text": "b"}]) == "a\nb"
    assert text_of(None) == "None"
