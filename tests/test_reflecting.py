"""GEPA, SIMBA and COPRO: seeds, costs, what the prompt LM sees, what ends them."""

from typing import Any

import pytest
from compiling import Compiling, compiled, instructions, names_nobody, state
from people import prompt_of, reply, scripted_lm

from valuesim_dspy.errors import BudgetExceededError, PredictionError
from valuesim_dspy.lexical.advice import ADVICE
from valuesim_dspy.lexical.engine import LexicalEngine, ScriptedEngine
from valuesim_dspy.lexical.parsing import read_request
from valuesim_dspy.program import ValueSim

pytestmark = pytest.mark.slow

OPTIONS: dict[str, dict[str, Any]] = {
    "gepa": {"auto": "explicit", "runs": 60},
    "simba": {"batch": 6, "candidates": 3, "steps": 2},
    "copro": {"breadth": 2, "depth": 2},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(("variant", "predictors"), [("single", 1), ("facts-only", 4)])
def test_runs_and_prompts_are_as_estimated(name: str, variant: str, predictors: int) -> None:
    """Between the least and the most, both counted."""
    job = Compiling(name, OPTIONS[name], variant=variant)
    made = job.run()
    low, high = job.runs(predictors)
    assert low <= made.runs <= high
    low, high = job.prompts(predictors)
    assert low <= len(job.prompt.prompts) <= high


@pytest.mark.parametrize("name", OPTIONS)
def test_the_prompt_lm_sees_nobody_whole(name: str) -> None:
    """No case, key or whole profile in any request; SIMBA would serialise the case."""
    options = {**OPTIONS[name], **({"max_demos": 0} if name == "simba" else {})}
    job = Compiling(name, options, variant="full", log=None)
    job.run()
    assert job.prompt.prompts
    assert names_nobody(job.prompt.prompts, [*job.given.trainset, *job.given.valset])


@pytest.mark.parametrize("name", OPTIONS)
def test_the_same_seed_gives_the_same_program(name: str) -> None:
    """State, notes and number of runs."""
    one, same = (compiled(name, OPTIONS[name], seed=4) for _ in range(2))
    assert state(one.program) == state(same.program)
    assert (one.runs, one.notes, one.candidates) == (same.runs, same.notes, same.candidates)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["copro", "simba"])
def test_other_seeds_give_other_programs(name: str) -> None:
    """COPRO has no seed in DSPy: here it moves the prompt LM's rollouts."""
    states = {state(compiled(name, OPTIONS[name], seed=n).program) for n in (1, 2, 3)}
    assert len(states) > 1


def test_other_seeds_make_gepa_look_at_other_cases() -> None:
    """The requests to the LM that reflects differ."""
    asked = []
    for seed in (1, 1, 2):
        job = Compiling("gepa", OPTIONS["gepa"], variant="single", seed=seed)
        job.run()
        asked.append(job.prompt.prompts)
    assert asked[0] == asked[1] != asked[2]


def heeds(request: Any) -> Any:
    """Answer right only where an instruction says one more thing than the product's."""
    if "answer" not in {field.name for field in read_request(request).task.outputs}:
        return str(LexicalEngine().complete(request).message.parts[0].text)
    return reply(2 if any(item in prompt_of(request) for item in ADVICE) else 1)


def test_gepa_keeps_an_instruction_that_helps() -> None:
    """The valset's scores are the candidates'; the best is the program, and said to be written."""
    job = Compiling("gepa", OPTIONS["gepa"], variant="single")
    given = [ex.copy(answer=2) for ex in job.given.trainset if 2 in ex.case.question.codes]
    valset = [ex.copy(answer=2) for ex in job.given.valset if 2 in ex.case.question.codes]
    engine = ScriptedEngine(heeds)
    made = compiled(
        "gepa",
        OPTIONS["gepa"],
        variant="single",
        trainset=given,
        valset=valset,
        task_lm=scripted_lm(engine, context=10**6),
    )
    assert made.candidates[0].score == 0.0 and made.candidates[0].name == "uncompiled"
    assert max(made.candidates, key=lambda c: c.score).name == made.chosen
    assert made.instructions_written and made.chosen.startswith("reflection-")


def test_gepa_tells_what_was_answered_and_true() -> None:
    """The feedback reaches the LM that reflects."""
    job = Compiling("gepa", OPTIONS["gepa"], variant="facts-only")
    job.run()
    text = "\n".join(job.prompt.prompts)
    assert all(part in text for part in ("Scale: ", "True: ", "Votes of the perspectives: "))
    assert "Facts that bear on it: " in text


def test_gepa_reflects_on_the_writer_where_it_is_compiled() -> None:
    """Its stories leave a trace, cut short; no demo ever comes of it."""
    options = {**OPTIONS["gepa"], "predictors": ["writer"], "metric": "fidelity", "runs": 40}
    job = Compiling("gepa", options, variant="full", score=lambda *given: 0.5)
    made = job.run()
    assert made.demos == {} and made.program.writer.traced is False
    assert made.candidates[0].score > 0.9, "the embedded model keeps facts, so nothing is to learn"
    assert names_nobody(job.prompt.prompts, job.given.trainset)


def test_without_demos_simba_learns_rules_only() -> None:
    """Where the job wants none, or demos of synthetic people, who are no training cases."""
    made = compiled("simba", OPTIONS["simba"], demos="none")
    assert made.demos == {}


def test_copro_changes_instructions_only() -> None:
    """Its prefixes, which no adapter shows, are left out of the program."""
    job = Compiling("copro", OPTIONS["copro"], variant="single")
    made = job.run()
    assert made.instructions_written and made.candidates == ()
    before, after = job.given.student.direct.answer, made.program.direct.answer
    assert before.signature.fields.keys() == after.signature.fields.keys()
    for name, field in before.signature.fields.items():
        assert after.signature.fields[name].json_schema_extra == field.json_schema_extra
    assert instructions(ValueSim("single")) == instructions(job.given.student)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("calls", [1, 30])
def test_a_spent_budget_ends_it(name: str, calls: int) -> None:
    """DSPy would count it as a failed case, or go on without an instruction."""
    options = {**OPTIONS[name], **({"batch": 12} if name == "simba" else {})}
    with pytest.raises(BudgetExceededError):
        compiled(name, options, budget=calls)


@pytest.mark.parametrize("name", ["gepa", "copro"])
def test_a_prompt_lm_that_cannot_be_read_is_an_error(name: str) -> None:
    """In one line, and without what it said."""
    broken = scripted_lm(ScriptedEngine(lambda request: "secret row"), context=10**6)
    with pytest.raises(PredictionError, match="could not be read") as caught:
        compiled(name, OPTIONS[name], variant="single", prompt_lm=broken)
    assert "secret" not in str(caught.value)
