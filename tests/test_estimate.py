from collections.abc import Iterator
from typing import Any

import pytest
from jobs import Stopping, answered_by, small_job

from evals.baselines import BASELINES
from evals.benchmark import run_benchmark
from evals.estimate import Cost, benchmark_cost, check_context, cost_lines, prices, prompt_tokens
from evals.study import Study, build_arm, open_study
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.program import VARIANTS
from valuesim_dspy.roles import LMRole
from valuesim_dspy.usage import Usage

pytestmark = pytest.mark.slow

# The embedded model, which answers here, tells nothing of its tokens.
ARMS = [name for name in (*VARIANTS, *BASELINES) if name != "single-logprobs"]
ASKING = [name for name in ARMS if name in VARIANTS or BASELINES[name].uses_lm]
PROTOCOL = {"dev": 16, "targets": 2}


@pytest.fixture(scope="module")
def study() -> Iterator[Study]:
    """A study with people enough for two of them to be asked the same."""
    with open_study(small_job(protocol=PROTOCOL), cache=ResponseCache()) as opened:
        yield opened


@pytest.fixture(scope="module")
def needed(study: Study) -> dict[str, Usage]:
    """What every arm took, counted by the meter."""
    return {arm: run_benchmark(study, arm, build_arm(study, arm), "dev").needed for arm in ARMS}


def reach(name: str, study: Study, context: int, **role: Any) -> bool:
    """Say whether a check lets an arm pass with a context."""
    lm = LMRole(context=context, max_tokens=200, **role)
    try:
        check_context(build_arm(study, name), study.examples("dev"), lm)
    except ConfigError:
        return False
    return True


def smallest_context(name: str, study: Study) -> int:
    """Return the smallest context that the check lets pass."""
    low, high = 201, 65536
    assert reach(name, study, high)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reach(name, study, middle) else (middle + 1, high)
    return low


# --- calls and tokens ---------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ARMS)
def test_calls_needed_lie_within_the_estimate(
    study: Study, needed: dict[str, Usage], arm: str
) -> None:
    """At least and at most hold for every arm, whatever is equal between people."""
    low, high = benchmark_cost(build_arm(study, arm), study.examples("dev")).calls
    assert low <= needed[arm].calls <= high
    assert (high > 0) == (arm in VARIANTS or BASELINES[arm].uses_lm)


@pytest.mark.parametrize("arm", ASKING)
def test_tokens_are_estimated_within_a_factor_of_one_and_a_half(
    study: Study, needed: dict[str, Usage], arm: str
) -> None:
    """Over the whole set, and for the tokens of one call."""
    cost, used = benchmark_cost(build_arm(study, arm), study.examples("dev")), needed[arm]
    ends = [cost.prompt[end] + cost.completion[end] for end in (0, 1)]
    assert ends[0] / 1.5 <= used.tokens <= ends[1] * 1.5
    each = [tokens / calls for tokens, calls in zip(ends, cost.calls, strict=True)]
    assert min(each) / 1.5 <= used.tokens / used.calls <= max(each) * 1.5


def test_the_ends_are_the_same_where_nothing_is_left_to_chance(study: Study) -> None:
    """A vote spends what it spends: three readings a case and one backstory a person."""
    examples = study.examples("dev")
    cost = benchmark_cost(build_arm(study, "vote"), examples)
    assert cost.calls == (3 * len(examples) + 16,) * 2
    full = benchmark_cost(build_arm(study, "full"), examples)
    assert full.calls == (cost.calls[0], cost.calls[0] + len(examples))


def test_blank_asks_each_question_once(study: Study) -> None:
    """Knowing nobody, it asks the same of everybody; equal requests are needed once."""
    examples = study.examples("dev")
    questions = len({example.case.question.id for example in examples})
    assert benchmark_cost(build_arm(study, "blank"), examples).calls == (questions, questions)
    assert questions < len(examples)


def test_rag_may_find_the_same_for_two_people(study: Study) -> None:
    """With one fact retrieved many requests are equal, and the estimate still holds."""
    config = small_job(protocol=PROTOCOL, embedder={"k": 1})
    with open_study(config, cache=ResponseCache()) as other:
        program = build_arm(other, "rag")
        cost = benchmark_cost(program, other.examples("dev"))
        needed = run_benchmark(other, "rag", program, "dev").needed
    assert needed.calls < len(study.examples("dev"))
    assert cost.calls[0] <= needed.calls <= cost.calls[1]


def test_an_estimate_asks_nothing() -> None:
    """No call is made for it."""
    with (
        answered_by(Stopping(at=1, error=RuntimeError("asked"))) as engine,
        open_study(small_job(), cache=ResponseCache()) as study,
    ):
        for arm in ARMS:
            benchmark_cost(build_arm(study, arm), study.examples("dev"))
            check_context(build_arm(study, arm), study.examples("dev"), LMRole())
    assert engine.asked == 0


def test_an_empty_set_and_an_arm_without_a_model_cost_nothing(study: Study) -> None:
    """There is nothing to ask."""
    assert benchmark_cost(build_arm(study, "full"), []) == Cost()
    assert benchmark_cost(build_arm(study, "mode"), study.examples("dev")) == Cost()


def test_demos_and_instructions_are_counted(study: Study) -> None:
    """A compiled program's prompts are longer by its demos."""
    program, case = build_arm(study, "single"), study.examples("dev")[0].case
    before = prompt_tokens(program, program.direct.answer, case)
    demo = {**case.inputs(), "analysis": "So.", "answer": 1}
    program.direct.answer.demos = [demo]
    after = prompt_tokens(program, program.direct.answer, case)
    assert after - before >= len(case.profile.facts_text) // 4


# --- money --------------------------------------------------------------------------------------


def test_costs_add_up_and_scale() -> None:
    """Ends add to ends; a scaled upper end is rounded up, never below what it stands for."""
    one, two = Cost((1, 2), (10, 20), (3, 4)), Cost((5, 5), (7, 7), (0, 1))
    assert one + two == Cost((6, 7), (17, 27), (3, 5))
    assert one.scaled(0, 3) == Cost((0, 6), (0, 60), (0, 12))
    assert Cost((3, 3)).scaled(0.5, 0.5).calls == (1, 2)
    assert sum([one, two], Cost()) == one + two


def test_money_follows_tokens_in_each_direction() -> None:
    """Prices are per million tokens, prompts and replies apart; unknown is not zero."""
    cost = Cost((1, 2), (1_000_000, 2_000_000), (100_000, 300_000))
    assert cost.usd((0.5, 2.0)) == pytest.approx((0.7, 1.6))
    assert cost.usd((0.0, 0.0)) == (0.0, 0.0)
    assert cost.usd(None) is None


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ({}, (0.0, 0.0)),
        ({"model": "openai/none-such"}, None),
        ({"model": "openai/gpt-4o-mini", "api_base": "http://127.0.0.1:9/v1"}, None),
        (
            {
                "model": "openai/none-such",
                "usd_per_million_input": 0.25,
                "usd_per_million_output": 1.0,
            },
            (0.25, 1.0),
        ),
        (
            {
                "model": "openai/gpt-4o-mini",
                "usd_per_million_input": 0.0,
                "usd_per_million_output": 0.0,
            },
            (0.0, 0.0),
        ),
    ],
    ids=["offline", "unknown", "own server", "given", "given as free"],
)
def test_prices_are_given_known_or_unknown(
    role: dict[str, Any], expected: tuple[float, float] | None
) -> None:
    """The embedded model is free, a role's prices win, and a server of one's own has no price."""
    assert prices(LMRole(**role)) == expected


def test_a_known_model_has_a_price() -> None:
    """It comes with the library; output costs more than input."""
    found = prices(LMRole(model="openai/gpt-4o-mini"))
    assert found is not None
    assert 0 < found[0] < found[1] < 100


def test_the_lines_show_each_phase_and_the_sum() -> None:
    """Calls, tokens and money as ranges; an unknown price is called that."""
    phases = {
        "rag": Cost((13, 1266), (1000, 2000), (500, 500)),
        "full": Cost((80, 104), (627_864, 834_360), (41_008, 43_888)),
    }
    priced = cost_lines(phases, (1.0, 2.0))
    assert [line.split()[0] for line in priced] == ["rag", "full", "all"]
    assert "13 to 1,266 calls" in priced[0]
    assert "668,872 to 878,248 tokens" in priced[1]
    assert priced[2].endswith("$0.71 to $0.93")
    assert "93 to 1,370 calls" in priced[2]
    assert priced[0].endswith("$0.00")
    assert all(line.endswith("price unknown") for line in cost_lines(phases, None))


# --- what must fit ------------------------------------------------------------------------------


def test_a_context_too_small_is_refused_before_the_first_call() -> None:
    """The message has the predictor, what it needs, what there is, and the key to change."""
    config = small_job(task_lm={"context": 4096, "max_tokens": 512})
    with (
        answered_by(Stopping(at=1, error=RuntimeError("asked"))) as engine,
        open_study(config, cache=ResponseCache()) as study,
        pytest.raises(ConfigError) as caught,
    ):
        check_context(build_arm(study, "full"), study.examples("dev"), config.task_lm)
    said = str(caught.value)
    assert said.startswith("task_lm.context: the predictor writer.backstory needs about ")
    assert "task_lm takes 4096" in said
    assert int(said.split("needs about ")[1].split()[0]) > 4096
    assert caught.value.key == "task_lm.context"
    assert engine.asked == 0


def test_another_role_is_named_by_its_key(study: Study) -> None:
    """What does not fit a teacher is said of the teacher."""
    small = LMRole(context=2048, max_tokens=256)
    with pytest.raises(ConfigError, match=r"^teacher_lm\.context: .*teacher_lm takes 2048"):
        check_context(build_arm(study, "single"), study.examples("dev"), small, key="teacher_lm")


def test_what_reads_less_needs_less(study: Study) -> None:
    """RAG fits where the whole person does not; without a model or a case everything fits."""
    assert not reach("single", study, 2048)
    assert reach("rag", study, 2048)
    assert reach("mode", study, 201)
    check_context(build_arm(study, "full"), [], LMRole(context=201, max_tokens=200))


@pytest.mark.parametrize("arm", ASKING)
def test_what_the_check_lets_pass_runs_through(study: Study, arm: str) -> None:
    """With the smallest context that passes, no call is refused half-way through the set."""
    least = smallest_context(arm, study)
    assert not reach(arm, study, least - 1)
    lm = {"context": least, "max_tokens": 200}
    with open_study(small_job(protocol=PROTOCOL, task_lm=lm), cache=ResponseCache()) as tight:
        result = run_benchmark(tight, arm, build_arm(tight, arm), "dev")
    assert result.metrics["coverage"] == 1
