"""InferRules: rules from condensed demos, signatures left alone, the best of several kept."""

import pytest
from compiling import Compiling, compiled, instructions, likes_change, names_nobody, state

from valuesim_dspy.errors import BudgetExceededError
from valuesim_dspy.program import ValueSim
from valuesim_dspy.signatures import PERSPECTIVES

pytestmark = pytest.mark.slow

SMALL = {"candidates": 2}


@pytest.mark.parametrize(("variant", "predictors"), [("single", 1), ("facts-only", 4)])
def test_runs_and_prompts_are_as_estimated(variant: str, predictors: int) -> None:
    """Between the least and the most, both counted; predictors without demos ask for no rules."""
    job = Compiling("infer-rules", SMALL, variant=variant)
    made = job.run()
    assert job.runs(predictors)[0] <= made.runs <= job.runs(predictors)[1]
    assert 0 < len(job.prompt.prompts) <= job.prompts(predictors)[1]
    names = [candidate.name for candidate in made.candidates]
    assert names == ["uncompiled", "rules-1", "rules-2"] and made.chosen in names
    assert names_nobody(job.prompt.prompts, job.given.trainset)


def test_signature_classes_are_left_as_they_are() -> None:
    """DSPy writes rules into the class, and so into every program of the process."""
    before = {name: signature.instructions for name, signature in PERSPECTIVES.items()}
    fresh = instructions(ValueSim("full"))
    made = compiled("infer-rules", SMALL, variant="full", score=likes_change)
    assert made.instructions_written
    assert {name: s.instructions for name, s in PERSPECTIVES.items()} == before
    assert instructions(ValueSim("full")) == fresh


def test_the_program_has_the_rules_that_were_scored() -> None:
    """Each candidate its own; in DSPy all end up with those of the last."""
    made = compiled("infer-rules", {"candidates": 3}, variant="full", score=likes_change)
    best = max(made.candidates, key=lambda c: (c.score, -c.step))
    assert made.chosen == best.name
    texts = [t for t in instructions(made.program).values() if "adhere to the following rules" in t]
    assert texts and all(text.count("adhere to the following rules") == 1 for text in texts)


def test_the_seed_decides() -> None:
    """The same twice; of other seeds one differs."""
    one, same, *others = (
        compiled("infer-rules", SMALL, variant="full", seed=n, score=likes_change)
        for n in (1, 1, 2, 3)
    )
    assert state(one.program) == state(same.program)
    assert any(state(other.program) != state(one.program) for other in others)


def test_without_demos_only_rules_are_kept() -> None:
    """Scored as they will be used: without the demos they were read from."""
    assert compiled("infer-rules", SMALL, variant="full", demos="none").demos == {}


@pytest.mark.parametrize("calls", [5, 60])
def test_a_spent_budget_ends_it(calls: int) -> None:
    """Also where it is the rules that cost the last call."""
    with pytest.raises(BudgetExceededError):
        compiled("infer-rules", SMALL, variant="facts-only", budget=calls)
