"""Stages: the writer by fidelity, perspectives by their vote, the coordinator where they differ."""

import dspy
import pytest
from compiling import Compiling, compiled, instructions, small_study, state
from people import case, reply, scripted

from optimize.teleprompters import TELEPROMPTERS
from optimize.teleprompters.staging import story_only, vote_only
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.program import ValueSim

pytestmark = pytest.mark.slow

STAGED = {"auto": "explicit", "candidates": 2, "trials": 2, "staged": True}


def test_the_writer_alone_is_one_call() -> None:
    """No perspective is asked while stories are compiled."""
    with scripted([{"backstory": "You live by the sea."}]) as engine:
        told = story_only(ValueSim("full"), case())
    assert told.backstory == "You live by the sea." and len(engine.requests) == 1


@pytest.mark.parametrize(("answers", "decision"), [((2, 2, 2), "agreement"), ((1, 2, 2), "vote")])
def test_perspectives_alone_vote(answers: tuple[int, ...], decision: str) -> None:
    """The coordinator is not asked."""
    with scripted([reply(answer) for answer in answers]) as engine:
        told = vote_only(ValueSim("facts-only"), case())
    assert told.answer == 2 and told.decision == decision and len(engine.requests) == 3


def test_stages_come_in_order_and_leave_a_whole_program() -> None:
    """Each with its candidates and its choice; nothing of the staging stays on the program."""
    job = Compiling("mipro-v2", STAGED, variant="full")
    made = job.run()
    stages = list(dict.fromkeys(c.name.split()[0] for c in made.candidates))
    assert stages == ["writer", "panel", "coordinator"]
    assert [c.step for c in made.candidates] == list(range(len(made.candidates)))
    assert made.chosen.startswith("writer ") and ", panel " in made.chosen
    assert type(made.program) is ValueSim and "_stage" not in vars(made.program)
    assert not made.program.writer.backstory.demos and made.program.writer.traced is False
    low, high = job.runs(5)
    assert low <= made.runs <= high
    assert len(job.prompt.prompts) <= job.prompts(5)[1]


def test_a_teleprompter_of_demos_leaves_the_writer_out() -> None:
    """And says so; the perspectives get theirs."""
    made = compiled("bootstrap", {"staged": True}, variant="full")
    assert any("the stage writer was left out" in note for note in made.notes)
    assert any(name.startswith("panel.") for name in made.demos)
    assert "writer.backstory" not in made.demos


def test_where_nobody_differs_the_coordinator_stays() -> None:
    """A note says why, and the program is whole."""
    voting = ValueSim("facts-only")
    same = compiled("labeled-few-shot", {"staged": True, "k": 2}, student=voting, trainset=alike())
    assert any("the stage coordinator was left out" in note for note in same.notes)
    assert "coordinator.answer" not in same.demos and len(same.demos) == 3


def alike() -> list[dspy.Example]:
    """Return training cases on which the embedded model's perspectives agree."""
    from compiling import Recording
    from people import scripted_lm

    with dspy.context(lm=scripted_lm(Recording(), context=10**6)):
        program = ValueSim("facts-only")
        return [
            example
            for example in small_study()["train"]
            if len({view["answer"] for view in program(case=example.case).views.values()}) == 1
        ]


def test_a_program_without_stages_is_compiled_at_once() -> None:
    """The same program as without the word, so that other arms can share a job."""
    at_once = compiled("bootstrap", {}, variant="single")
    assert state(compiled("bootstrap", {"staged": True}, variant="single").program) == state(
        at_once.program
    )


def test_a_choice_of_predictors_holds_in_stages() -> None:
    """Only the stages of what is chosen are taken."""
    made = compiled("mipro-v2", {**STAGED, "predictors": ["coordinator"]}, variant="full")
    assert all(c.name.startswith("coordinator ") for c in made.candidates)
    before, after = instructions(ValueSim("full")), instructions(made.program)
    assert {n for n in before if before[n] != after[n]} <= {"coordinator.answer"}


@pytest.mark.parametrize("name", TELEPROMPTERS)
def test_demos_none_is_for_those_who_write(name: str) -> None:
    """The others would have nothing to do."""
    teleprompter = TELEPROMPTERS[name]
    if not teleprompter.can_write({}):
        with pytest.raises(ConfigError, match="compiles by demos"):
            compiled(name, demos="none")
    else:
        assert teleprompter.prompts(teleprompter.parse({}), 10, 10, 1)[1] > 0


def test_synthetic_demos_are_scored_on_real_cases() -> None:
    """Demo cases come from elsewhere; the trainset's questions stand in no demo."""
    sets = small_study()
    trainset, others = sets["train"][:8], sets["train"][8:]
    made = compiled(
        "bootstrap-random-search",
        {"candidates": 1, "max_demos": 2},
        trainset=trainset,
        demos="synthetic",
        demo_cases=others,
    )
    shown = {demo.question for p in made.program.predictors() for demo in p.demos}
    assert shown <= {example.case.question_text for example in others}
    with pytest.raises(ConfigError, match="no synthetic cases"):
        compiled("bootstrap", trainset=trainset, demos="synthetic")
