"""Which predictors are compiled: all, the answering ones, or those that are named."""

import pytest
from compiling import Compiling, compiled, instructions, state

from evals.baselines import RAG
from optimize.teleprompters.choosing import chosen_predictors, freeze_others, release
from optimize.watching import Watch, watched
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.program import ValueSim

PANEL = [f"panel.{name}.answer" for name in ("cognitive", "affective", "behavioral")]


def test_what_a_choice_means() -> None:
    """The default leaves the backstory writer alone; modules stand for their predictors."""
    program = ValueSim("full")
    assert chosen_predictors(program, "all") == ["writer.backstory", *PANEL, "coordinator.answer"]
    assert chosen_predictors(program, "answerers") == [*PANEL, "coordinator.answer"]
    assert chosen_predictors(program, ["panel"]) == PANEL
    assert chosen_predictors(program, ["coordinator", "panel.affective"]) == [
        "panel.affective.answer",
        "coordinator.answer",
    ]
    assert chosen_predictors(RAG(), "answerers") == ["direct.answer"]


@pytest.mark.parametrize("choice", [["panel", "pan"], ["writer.backstory.x"], []])
def test_a_name_that_is_none_is_refused(choice: list[str]) -> None:
    """The names that there are, and the way out for arms, are told."""
    with pytest.raises(ConfigError, match=r"compile\.options\.predictors") as caught:
        chosen_predictors(ValueSim("full"), choice)
    assert set(PANEL) <= set(caught.value.allowed or ())


def test_frozen_predictors_are_hidden_and_come_back() -> None:
    """DSPy's own mark, also on a watched student and on its copies."""
    student = watched(ValueSim("full"), Watch())
    freeze_others(student, PANEL[:1])
    assert [name for name, _ in student.deepcopy().named_predictors()] == PANEL[:1]
    assert [name for name, _ in student.reset_copy().named_predictors()] == PANEL[:1]
    student.writer.traced = True
    release(student)
    assert len(student.predictors()) == 5 and student.writer.traced is False


def test_others_keep_their_state() -> None:
    """Their demos and instructions are those the student had."""
    first = compiled("labeled-few-shot", {"k": 2}).program
    made = compiled("labeled-few-shot", {"k": 3, "predictors": ["panel.affective"]}, student=first)
    assert made.demos == {PANEL[0]: 2, PANEL[1]: 3, PANEL[2]: 2}
    assert state(made.program.panel.cognitive) == state(first.panel.cognitive)
    assert all(not module._compiled for _, module in made.program.named_sub_modules())


def test_only_the_chosen_instruction_is_written() -> None:
    """An instruction writer touches no other predictor, nor asks for its prompts."""
    job = Compiling("copro", {"breadth": 2, "depth": 1, "predictors": ["panel.behavioral"]})
    made = job.run()
    before = instructions(job.given.student)
    changed = {name for name, text in instructions(made.program).items() if text != before[name]}
    assert changed <= {PANEL[2]} and len(job.prompt.prompts) == 1


def test_backstories_are_written_once_unless_the_writer_is_compiled() -> None:
    """No candidate rewrites them: as many requests as people, whatever is tried."""
    job = Compiling(
        "copro", {"breadth": 2, "depth": 1, "predictors": ["coordinator"]}, variant="full"
    )
    job.run()
    people = {example.case.profile for example in job.given.trainset}
    stories = [
        prompt for prompt in job.task.prompts if "[[ ## backstory ## ]]\n{backstory}" in prompt
    ]
    written = [prompt for prompt in stories if "Keep every fact" in prompt]
    assert len(written) == len(people)
