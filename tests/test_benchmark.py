from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jobs import Stopping, answered_by, lexical_server, small_job

from evals.baselines import BASELINES
from evals.benchmark import Result, run_benchmark
from evals.metrics import METRICS
from evals.study import Study, build_arm, open_study
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import BudgetExceededError
from valuesim_dspy.lexical.engine import LexicalEngine, ScriptedEngine
from valuesim_dspy.lexical.parsing import request_text
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.program import VARIANTS
from valuesim_dspy.usage import Usage

pytestmark = pytest.mark.slow

# The embedded model, which answers here, tells nothing of its tokens.
ARMS = [name for name in (*VARIANTS, *BASELINES) if name != "single-logprobs"]
WARM = {
    *("mode", "country-mode", "weighted-median", "nearest-respondents", "low-rank"),
    *("gradient-boosting", "peers", "single-peers", "rag-peers", "peers-mode"),
}
RUNNING = ["seconds", "paid", "paid_tokens"]  # columns that tell of this run and not of the arm


@pytest.fixture(scope="module")
def study() -> Iterator[Study]:
    """A small study of synthetic people, its cache in memory."""
    with open_study(small_job(), cache=ResponseCache()) as opened:
        yield opened


def measured(study: Study, arm: str, role: str = "dev", **known: Any) -> Result:
    """Put a set to an arm."""
    return run_benchmark(study, arm, build_arm(study, arm), role, **known)


def failing(*questions: str) -> LexicalEngine:
    """Return the embedded model, out of order for some questions."""

    class Failing(LexicalEngine):
        def complete(self, request: Any) -> Any:
            asked = request_text(request)
            if any(question in asked for question in questions):
                raise RuntimeError("the endpoint is out of order")
            return super().complete(request)

    return Failing()


def broken(study_size: int, shares: int, arm: str = "single") -> Result:
    """Measure an arm whose calls fail for the first `shares` of the questions asked."""
    config = small_job(protocol={"dev": study_size})
    with open_study(config, cache=ResponseCache()) as before:
        asked = list(dict.fromkeys(e.case.question_text for e in before.examples("dev")))
    with (
        answered_by(failing(*asked[:shares])),
        open_study(config, cache=ResponseCache()) as study,
    ):
        return measured(study, arm)


# --- what comes back ----------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_answers_every_case_of_a_set_in_order(study: Study, arm: str) -> None:
    """One row a case, in the order of the examples, with the respondent's own answer beside."""
    result = measured(study, arm)
    examples = study.examples("dev")
    rows = result.frame[["respondent", "question", "truth"]].itertuples(index=False, name=None)
    assert list(rows) == [(e.case.profile.key, e.case.question.id, e.answer) for e in examples]
    assert (result.frame["status"] == "answered").all()
    for example, answer in zip(examples, result.frame["answer"], strict=True):
        assert answer in example.case.question.codes


def test_a_result_says_what_it_is_of(study: Study) -> None:
    """Arm, label, set and evidence; the label is the arm's name unless another is given."""
    plain = measured(study, "rag")
    assert (plain.arm, plain.label, plain.role) == ("rag", "rag", "dev")
    assert plain.evidence == "synthetic-machinery"
    named = measured(study, "rag", role="val", label="rag compiled")
    assert (named.arm, named.label, named.role) == ("rag", "rag compiled", "val")
    assert len(named.frame) == len(study.examples("val"))


def test_accuracy_is_the_share_of_answers_the_respondents_gave(study: Study) -> None:
    """The interval surrounds the share, and both are over all cases by respondent."""
    result = measured(study, "country-mode")
    share = np.mean([a == t for a, t in zip(result.frame["answer"], result.frame["truth"])])  # noqa: B905
    assert result.metrics["accuracy"] == pytest.approx(share)
    assert result.accuracy.estimate == pytest.approx(share)
    assert result.accuracy.low <= share <= result.accuracy.high
    assert (result.accuracy.n, result.accuracy.clusters) == (len(result.frame), 6)
    assert set(result.metrics) == set(METRICS)


def test_only_some_arms_have_views_and_a_backstory(study: Study) -> None:
    """Disagreement and fidelity are NaN where an arm has no perspectives and no backstory."""
    full, single = measured(study, "full"), measured(study, "single")
    assert 0 <= full.metrics["disagreement"] <= 1
    assert 0.9 < full.metrics["fidelity"] <= 1
    assert np.isnan(single.metrics["disagreement"])
    assert np.isnan(single.metrics["fidelity"])


def test_a_measurement_repeats(study: Study) -> None:
    """The same study gives the same table, from the cache or from a cold one."""
    before = measured(study, "full").frame.drop(columns=RUNNING)
    pd.testing.assert_frame_equal(measured(study, "full").frame.drop(columns=RUNNING), before)
    with open_study(small_job(), cache=ResponseCache()) as cold:
        again = measured(cold, "full").frame.drop(columns=RUNNING)
    pd.testing.assert_frame_equal(again, before)


def test_a_part_of_a_set_can_be_measured(study: Study) -> None:
    """`examples` replaces the set, whatever it is called."""
    some = study.examples("dev")[2:5]
    result = measured(study, "single", examples=some)
    assert list(result.frame["question"]) == [e.case.question.id for e in some]


def test_progress_is_told_case_by_case(study: Study) -> None:
    """The callback gets every outcome once, in order."""
    seen: list[Outcome] = []
    result = measured(study, "full", on_outcome=seen.append)
    assert [o.question for o in seen] == list(result.frame["question"])
    assert [o.answer for o in seen] == list(result.frame["answer"])


# --- cold and warm ------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_is_cold_unless_it_saw_others_answer_the_question(study: Study, arm: str) -> None:
    """Only these have seen other people's answers to the target questions."""
    assert measured(study, arm).knows == ("warm" if arm in WARM else "cold")


@pytest.mark.parametrize("arm", ["mode", "country-mode"])
def test_a_baseline_without_a_model_asks_none(arm: str) -> None:
    """It needs no call, pays nothing and works where no model answers."""
    with (
        answered_by(Stopping(at=1, error=RuntimeError("asked"))) as engine,
        open_study(small_job(), cache=ResponseCache()) as study,
    ):
        result = measured(study, arm)
    assert engine.asked == 0
    assert (result.needed, result.paid) == (Usage(), Usage())
    assert result.metrics["coverage"] == 1


def test_the_program_never_sees_who_answered_what(study: Study) -> None:
    """The mode is fitted on train people alone: the devset's own answers do not count."""
    modes = build_arm(study, "mode").modes
    people = [study.respondents[place] for place in study.split.train]
    for qid, code in modes.overall.items():
        given = [person.answer(qid) for person in people]
        counts = [given.count(option) for option in study.codebook[qid].codes]
        assert given.count(code) == max(counts)


# --- what it took -------------------------------------------------------------------------------


def test_needed_is_what_a_cold_cache_pays_and_paid_what_this_run_did() -> None:
    """Measured again, an arm needs the same and pays nothing."""
    with (
        answered_by(Stopping()) as engine,
        open_study(small_job(), cache=ResponseCache()) as study,
    ):
        cold, asked = measured(study, "full"), engine.asked
        warm = measured(study, "full")
    assert cold.needed.calls == cold.paid.calls == asked == engine.asked
    assert cold.needed == warm.needed
    assert cold.needed.tokens > 10_000 and cold.needed.usd == 0
    assert warm.paid == Usage()


def test_a_call_shared_by_arms_is_needed_by_each_and_paid_once() -> None:
    """`full` and `backstory-only` need the same backstories; the second finds them."""
    with open_study(small_job(), cache=ResponseCache()) as study:
        full = measured(study, "full")
        other = measured(study, "backstory-only")
        alone = study.meter.paid.calls
    assert other.needed.calls - other.paid.calls == 6
    assert alone == full.paid.calls + other.paid.calls


def test_an_arm_with_several_predictors_says_where_its_tokens_go(study: Study) -> None:
    """The parts are per case and add up to the whole; one predictor needs no such note."""
    full = measured(study, "full")
    (note,) = full.notes
    assert note.startswith("tokens a case by predictor: writer.backstory ")
    parts = [float(part.rpartition(" ")[2].replace(",", "")) for part in note.split(", panel")]
    assert parts[0] < full.needed.tokens / len(full.frame)
    assert measured(study, "single").notes == ()


def test_threads_change_nothing_but_time() -> None:
    """A server asked by many threads at once gives the table of one that is asked in turn."""
    with open_study(small_job(), cache=ResponseCache()) as study:
        alone = measured(study, "facts-only")
    with lexical_server() as server:
        lm = {"model": "openai/test", "api_base": server.url}
        with open_study(small_job(task_lm=lm, threads=6), cache=ResponseCache()) as study:
            many = measured(study, "facts-only")
    left = [*RUNNING, "tokens"]  # which a server counts its own way
    pd.testing.assert_frame_equal(many.frame.drop(columns=left), alone.frame.drop(columns=left))
    assert many.needed.calls == alone.needed.calls == len(server.requests)


# --- what goes wrong ----------------------------------------------------------------------------


def test_failures_are_counted_and_count_as_wrong() -> None:
    """An error of the endpoint fails its case and no other; the rest is scored."""
    result = broken(12, 1)
    frame = result.frame
    failed = frame["status"] == "failed"
    assert 0 < failed.sum() < len(frame)
    assert frame["answer"].isna().equals(failed)
    assert (frame.loc[failed, "correct"] == 0).all()
    assert frame.loc[failed, "reason"].str.contains("out of order").all()
    assert result.failed_calls >= failed.sum()
    assert result.metrics["failed_rate"] == pytest.approx(failed.mean())
    assert result.metrics["coverage"] == pytest.approx(1 - failed.mean())
    assert result.metrics["accuracy"] == pytest.approx(frame["correct"].sum() / len(frame))


def test_too_few_answers_make_a_result_invalid() -> None:
    """Below 95 % coverage a result is no score; at full coverage it is."""
    assert broken(6, 0).is_valid
    result = broken(6, 3)
    assert result.metrics["coverage"] < 0.95
    assert not result.is_valid


def test_an_answer_that_is_no_option_is_invalid_after_its_retries() -> None:
    """It is asked for three times in all, and counted apart from failures."""
    with (
        answered_by(ScriptedEngine(lambda request: {"analysis": "So.", "answer": 99})) as engine,
        open_study(small_job(), cache=ResponseCache()) as study,
    ):
        result = measured(study, "single")
    cases = len(study.examples("dev"))
    assert result.metrics["invalid_rate"] == 1
    assert result.metrics["failed_rate"] == result.metrics["accuracy"] == 0
    assert result.needed.calls == len(engine.requests) == 3 * cases
    assert not result.is_valid


def test_a_spent_budget_ends_the_measurement_and_keeps_what_was_answered() -> None:
    """The limit is never exceeded, and the same measurement then pays the rest alone."""
    cache = ResponseCache()
    with (
        open_study(small_job(budget={"calls": 10}), cache=cache) as study,
        pytest.raises(BudgetExceededError, match="budget of 10 calls is spent"),
    ):
        measured(study, "full")
    assert study.meter.paid.calls == cache.count == 10
    with open_study(small_job(), cache=cache) as study:
        rest = measured(study, "full")
    assert rest.paid.calls == rest.needed.calls - 10
    with open_study(small_job(), cache=ResponseCache()) as study:
        whole = measured(study, "full")
    pd.testing.assert_frame_equal(
        rest.frame.drop(columns=RUNNING), whole.frame.drop(columns=RUNNING)
    )
