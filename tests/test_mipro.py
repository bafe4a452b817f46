"""MIPROv2: what it tries and costs, what its prompt LM sees, and what it leaves."""

from pathlib import Path
from typing import Any

import pytest
from compiling import (
    Compiling,
    compiled,
    instructions,
    likes_change,
    names_nobody,
    read,
    small_study,
    state,
)

from optimize.teleprompters import TELEPROMPTERS
from optimize.teleprompters.mipro import MiproOptions, _full_runs, dataset_summary
from valuesim_dspy.errors import BudgetExceededError, ConfigError

pytestmark = pytest.mark.slow

SMALL = {"auto": "explicit", "candidates": 3, "trials": 4}


def test_the_summary_counts_and_names_nobody() -> None:
    """How many cases, people, questions and facts; no fact, key or answer."""
    examples = small_study()["train"]
    text = dataset_summary(examples)
    assert f"{len(examples)} cases" in text and "8 survey respondents" in text
    assert names_nobody([text], examples) and "You " not in text


@pytest.mark.parametrize(("variant", "predictors"), [("single", 1), ("full", 4)])
def test_runs_and_prompts_are_as_estimated(variant: str, predictors: int) -> None:
    """Between the least and the most, both counted."""
    job = Compiling("mipro-v2", SMALL, variant=variant)
    made = job.run()
    low, high = job.runs(predictors)
    assert low <= made.runs <= high and made.failed_runs == 0
    low, high = job.prompts(predictors)
    assert low <= len(job.prompt.prompts) == high
    assert [candidate.step for candidate in made.candidates] == list(range(5))
    assert made.candidates[0].name == "uncompiled"


def test_the_prompt_lm_sees_no_row(tmp_path: Path) -> None:
    """DSPy would send it repr(trainset); it gets our summary, the source and condensed demos."""
    job = Compiling("mipro-v2", SMALL, variant="full", log=tmp_path / "log")
    job.run()
    assert names_nobody(job.prompt.prompts, [*job.given.trainset, *job.given.valset])
    shown = dataset_summary(job.given.trainset)
    assert any(shown in prompt for prompt in job.prompt.prompts)
    assert any("class ValueSim(" in prompt for prompt in job.prompt.prompts), "program aware"
    assert "Error getting" not in read(tmp_path / "log")


def test_the_seed_decides() -> None:
    """The same seed twice gives one state; of others one tries or finds something else.

    Which candidate wins hangs on the program's source, which is shown to the prompt LM.
    """
    one, same, *others = (
        compiled("mipro-v2", SMALL, variant="full", seed=n, score=likes_change)
        for n in (1, 1, 2, 3)
    )
    assert state(one.program) == state(same.program) and one.candidates == same.candidates
    found = [(made.candidates, state(made.program)) for made in (one, *others)]
    assert any(other != found[0] for other in found[1:])
    assert all(len(made.candidates) > 1 for made in (one, *others))


@pytest.mark.parametrize("known", [{"demos": "none"}, {}])
def test_zero_shot_leaves_no_demos(known: dict[str, Any]) -> None:
    """By its option, or where the job wants no demos."""
    options = SMALL if known else {**SMALL, "max_demos": 0}
    assert compiled("mipro-v2", options, variant="full", **known).demos == {}


def test_more_trials_than_combinations_end_in_order() -> None:
    """DSPy fails where minibatches leave no combination without a full run."""
    options = {"auto": "explicit", "candidates": 2, "trials": 16, "max_demos": 0, "minibatch": 4}
    job = Compiling("mipro-v2", options, variant="single")
    made = job.run()
    assert 16 * 4 + 12 <= made.runs <= job.runs(1)[1] and len(made.candidates) >= 2


@pytest.mark.parametrize("trials", [1, 4, 5, 6, 10, 11, 23])
def test_full_runs_are_counted_as_dspy_makes_them(trials: int) -> None:
    """Every fifth trial or so and at the end."""
    assert trials // 6 <= _full_runs(trials) <= trials // 5 + 2


@pytest.mark.parametrize(
    "options", [{"auto": "explicit"}, {"candidates": 3}, {"auto": "light", "trials": 3}]
)
def test_explicit_is_explicit(options: dict[str, Any]) -> None:
    """Numbers without the word, or the word without numbers, are refused."""
    with pytest.raises(ConfigError, match="candidates and trials"):
        TELEPROMPTERS["mipro-v2"].parse(options)
    assert MiproOptions().auto == "light"


@pytest.mark.slow
@pytest.mark.parametrize("auto", ["light", "medium"])
def test_auto_is_as_estimated(auto: str) -> None:
    """On one predictor, with the number of trials that DSPy derives."""
    job = Compiling("mipro-v2", {"auto": auto}, variant="single")
    made = job.run()
    assert job.runs(1)[0] <= made.runs <= job.runs(1)[1]
    assert len(job.prompt.prompts) == job.prompts(1)[1]


@pytest.mark.parametrize("calls", [20, 75])
def test_a_spent_budget_ends_it(calls: int) -> None:
    """While demos are made, and while instructions are proposed or tried."""
    with pytest.raises(BudgetExceededError):
        compiled("mipro-v2", SMALL, variant="facts-only", budget=calls)


def test_the_default_instruction_is_a_candidate() -> None:
    """Where the valset prefers it nothing was written, and that is said."""
    made = compiled("mipro-v2", {**SMALL, "trials": 1}, variant="single")
    before = instructions(Compiling("mipro-v2", SMALL, variant="single").given.student)
    assert made.instructions_written == (instructions(made.program) != before)
