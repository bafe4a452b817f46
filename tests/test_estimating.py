"""What a simulation will take: calls from the program's shape, tokens from real prompts."""

from __future__ import annotations

import dspy
import pytest
from people import case
from planned import PEOPLE, First, asked, questions

from valuesim_dspy.case import Case
from valuesim_dspy.ensemble import Ensemble
from valuesim_dspy.errors import ConfigError, PredictionError
from valuesim_dspy.estimating import (
    LONGEST,
    Cost,
    Fitting,
    check_context,
    estimate,
    longest_cases,
    money,
    prices,
    program_cost,
    prompt_tokens,
    span,
)
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.program import ValueSim
from valuesim_dspy.roles import LMRole
from valuesim_dspy.together import Together

CASES = [case("Q69"), case("Q70"), case("Q71")]


@pytest.mark.parametrize(
    ("variant", "calls"),
    [
        ("full", (10, 13)),  # one backstory, three perspectives a case, perhaps a coordinator
        ("vote", (10, 10)),
        ("facts-only", (9, 12)),
        ("single", (3, 3)),
    ],
)
def test_calls_follow_from_the_variant(variant: str, calls: tuple[int, int]) -> None:
    """For three questions to one person."""
    assert program_cost(ValueSim(variant), CASES).calls == calls


def test_tokens_are_those_of_the_prompts() -> None:
    """Rendered as they will be sent."""
    program = ValueSim("single")
    cost = program_cost(program, CASES)
    tokens = [prompt_tokens(program, program.direct.answer, each) for each in CASES]
    assert cost.prompt == (3 * (sum(tokens) // 3),) * 2
    assert min(tokens) > len(CASES[0].profile.facts_text) // 4
    assert cost.tokens[0] > cost.prompt[0]


def test_several_questions_in_a_call_cost_a_call() -> None:
    """And one reply that is as long as several."""
    listed = questions("Q69", "Q70", "Q71")
    alone, together = (program_cost(Together(by, listed), CASES) for by in (1, 3))
    assert (alone.calls, together.calls) == ((3, 3), (1, 1))
    assert together.completion == alone.completion
    assert together.prompt[1] < alone.prompt[1]


def test_an_ensemble_costs_what_its_members_cost() -> None:
    """Together at most; they may make equal requests, which are paid once."""
    one = program_cost(ValueSim("single"), CASES)
    both = program_cost(Ensemble([ValueSim("single"), ValueSim("single")]), CASES)
    assert both == one + one.scaled(0, 1) and both.calls == (3, 6)


def test_nothing_costs_nothing() -> None:
    """Where all rows are skipped."""
    assert program_cost(ValueSim("full"), []) == Cost()


def test_a_few_people_stand_for_all() -> None:
    """Two parts, two backstories a person; scaled to the rows that are left."""
    sheet = asked(ValueSim("vote"), positions=range(PEOPLE), parts=2)
    everyone = estimate(sheet, range(PEOPLE), 4 * PEOPLE)
    assert everyone.calls == ((2 + 12) * PEOPLE,) * 2
    one = estimate(sheet, [3], 4)
    assert one.calls == (14, 14)


def test_a_backstory_is_counted_however_few_rows_are_left() -> None:
    """One row of four left of everybody: a story and three perspectives each, no quarter of it."""
    sheet = asked(ValueSim("vote"), positions=range(PEOPLE))
    last = estimate(sheet, range(PEOPLE), PEOPLE, lambda number: number % 4 != 3)
    assert last.calls == (4 * PEOPLE,) * 2
    # Of one person all rows are left, of the others one: the truth, 105, is between the ends.
    uneven = estimate(
        sheet, range(PEOPLE), PEOPLE + 3, lambda number: number >= 4 and number % 4 != 3
    )
    low, high = uneven.calls
    assert low < 4 * PEOPLE + 9 <= high


def test_who_is_longest_is_measured() -> None:
    """Of many people those who answered most, whatever their place; only rows that are left."""
    sheet = asked(ValueSim("single"), positions=range(PEOPLE))
    cases = longest_cases(sheet, range(PEOPLE), lambda number: number % 4 != 1)
    every = [row.case for _, row in sheet.rows() if not isinstance(row, Outcome)]
    most = max(len(each.profile.facts_text) for each in every)
    assert len(cases) == LONGEST < PEOPLE and {each.question.id for each in cases} == {"Q57"}
    assert max(len(each.profile.facts_text) for each in cases) == most


def test_what_does_not_fit_is_refused_with_what_helps() -> None:
    """Prompt, reply and a margin are over the context."""
    program = ValueSim("single")
    needed = prompt_tokens(program, program.direct.answer, CASES[0])
    check_context(program, CASES, LMRole(context=2 * needed + 100, max_tokens=100))
    with pytest.raises(ConfigError, match=r"^task_lm\.context: .*direct\.answer.*or ask less$"):
        check_context(program, CASES, LMRole(context=needed, max_tokens=100), fewer="ask less")
    check_context(program, [], LMRole(context=needed, max_tokens=100))


def test_one_who_is_too_long_fails_alone() -> None:
    """Other errors that concern the whole run still end it."""

    class Refusing(First):
        def forward(self, case: Case) -> dspy.Prediction:
            raise ConfigError("too long", key="task_lm.context" if self.fails else "task_lm.model")

    fitting = Fitting(asked(Refusing(fails=("Q57",))))
    with pytest.raises(PredictionError, match="too long"):
        fitting.program(case=CASES[0])
    with pytest.raises(ConfigError):
        Fitting(asked(Refusing())).program(case=CASES[0])
    whole = asked()
    assert Fitting(whole).total == whole.total and Fitting(whole).arguments() == whole.arguments()
    assert Fitting(whole).program(case=CASES[0]).answer == 1


def test_skipped_rows_cost_nothing() -> None:
    """Age cannot be chosen from a list: of two questions one is asked."""
    sheet = asked(ValueSim("single"), questions=questions("Q57", "Q262"))
    assert estimate(sheet, range(3), 6).calls == (3, 3)


def test_prices_are_the_roles_or_known_or_unknown() -> None:
    """The embedded model is free; a server of one's own has no known price."""
    assert prices(LMRole()) == (0.0, 0.0)
    told = LMRole(model="openai/x", usd_per_million_input=1.0, usd_per_million_output=2.0)
    assert prices(told) == (1.0, 2.0)
    assert prices(LMRole(model="openai/x", api_base="http://127.0.0.1:1/v1")) is None


def test_a_price_is_looked_up_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate comes before consent: DSPy's own list has to do."""
    from dspy.clients import model_metadata

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a request was made")

    monkeypatch.delenv("LITELLM_LOCAL_MODEL_COST_MAP", raising=False)
    monkeypatch.setattr(model_metadata, "_data", None)
    monkeypatch.setattr("urllib.request.urlopen", refused)
    found = prices(LMRole(model="openai/gpt-4o-mini"))
    assert found is not None and 0 < found[0] < found[1]
    assert model_metadata.source_info()["fallback_reason"] is None


def test_money_follows_from_tokens_in_both_directions() -> None:
    """Per million; unknown is never zero."""
    cost = Cost((1, 2), (1_000_000, 2_000_000), (0, 500_000))
    assert cost.usd((1.0, 10.0)) == (1.0, 7.0)
    assert cost.usd(None) is None
    assert (money(cost.usd((1.0, 10.0))), money(None)) == ("$1.00 to $7.00", "price unknown")
    assert money((2.0, 2.001)) == "$2.00"


def test_ends_are_told_once_where_they_are_equal() -> None:
    """With thousands apart."""
    assert (span((40, 1200)), span((7, 7))) == ("40 to 1,200", "7")


def test_costs_add_up_and_scale() -> None:
    """At least and at most each for itself; the most is rounded up."""
    cost = Cost((1, 2), (10, 20), (3, 3))
    assert (cost + cost).calls == (2, 4)
    assert cost.scaled(1.5, 1.5) == Cost((1, 3), (15, 30), (4, 5))
