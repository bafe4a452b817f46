"""The wrapper: a program is shown another case, and its answers come back in the case's codes."""

from typing import Any

import dspy
import pytest
from people import case, reply, scripted, scripted_lm
from simulating import Scripted

from evals.perturbed import ROLLOUT, Perturbed, asked_again, mapped_back
from evals.perturbing import PERTURBATIONS, REPEAT, Asking, shown_codes
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case
from valuesim_dspy.errors import ConfigError, InvalidAnswerError
from valuesim_dspy.lexical.engine import ROLLOUT as IN_FORCE
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.program import ValueSim

QUESTIONS = ("Q69", "Q49", "Q57", "Q122")


def first_shown(asked: Case) -> int:
    """Answer with the option that stands first."""
    return int(asked.options_text.split(":")[0])


def labelled(label: str) -> Scripted:
    """Return a program that looks for a label and answers with the code before it."""

    def act(asked: Case) -> int:
        lines = dict(line.split(": ", 1)[::-1] for line in asked.options_text.splitlines())
        return int(lines[label])

    return Scripted(act)


@pytest.mark.parametrize("question", QUESTIONS)
def test_whoever_takes_the_first_option_flips_when_options_are_reversed(question: str) -> None:
    """Shown last to first, the first shown is the last."""
    asked = case(question)
    as_is = Scripted(first_shown)(case=asked).answer
    turned = Perturbed(Scripted(first_shown), "options-reversed").predict(asked).answer
    assert (as_is, turned) == (asked.question.codes[0], asked.question.codes[-1])


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_whoever_goes_by_the_label_never_flips(name: str) -> None:
    """Answers map back exactly, whatever was done to order and codes."""
    for option in case().question.options:
        for seed in range(5):
            program = Perturbed(labelled(option.label), name, Asking(seed))
            assert program.predict(case()).answer == option.code


@pytest.mark.parametrize("question", QUESTIONS)
def test_whoever_goes_by_the_number_is_led_by_the_codes(question: str) -> None:
    """A constant code stands for other options once codes are dealt out anew."""
    asked, constant = case(question), case(question).question.codes[0]
    answers = {
        Perturbed(Scripted(lambda _: constant), "labels-for-numbers", Asking(seed))
        .predict(asked)
        .answer
        for seed in range(30)
    }
    assert answers <= set(asked.question.codes)
    assert answers - {constant}


def test_views_and_probabilities_come_back_in_the_original_codes() -> None:
    """Everything that names a code is mapped; the rest of a prediction stays."""
    codes = {1: 3, 2: 1, 3: 2}
    told = dspy.Prediction(
        answer=1,
        analysis="Why.",
        views={"cognitive": {"answer": 2, "analysis": "So."}},
        probabilities={1: 0.5, 2: 0.3, 3: 0.2},
        decision="vote",
    )
    back = mapped_back(told, codes)
    assert (back.answer, back.analysis, back.decision) == (3, "Why.", "vote")
    assert back.views == {"cognitive": {"answer": 1, "analysis": "So."}}
    assert back.probabilities == {3: 0.5, 1: 0.3, 2: 0.2}
    assert mapped_back(told, {}) is told


def test_a_prediction_without_views_and_probabilities_maps_back_too() -> None:
    """Programs need give no more than an answer."""
    back = mapped_back(dspy.Prediction(answer=2), {2: 1, 1: 2})
    assert back.answer == 1
    assert "probabilities" not in back


def test_the_program_reads_new_codes_throughout() -> None:
    """Prompts, views for the coordinator and the final answer speak of one and the same coding."""
    asked = case("Q69")
    shown = PERTURBATIONS["labels-for-numbers"].change(asked, Asking())
    best, other = shown.question.codes[:2]
    answers: list[Any] = [reply(best), reply(other), reply(best), reply(best)]
    with scripted([{"backstory": "You are somebody."}, *answers]) as engine:
        prediction = Perturbed(ValueSim("full"), "labels-for-numbers").predict(asked)
    read = str(engine.requests[-1])
    assert f"answers {best} ({shown.question.label(best)})" in read
    back = dict(zip((o.code for o in shown.question.options), shown_codes(shown), strict=True))
    assert prediction.answer == back[best]
    assert [view["answer"] for view in prediction.views.values()] == [
        back[best],
        back[other],
        back[best],
    ]


def test_an_answer_that_is_no_option_fails_as_ever() -> None:
    """A perturbation makes no answer out of none."""
    with scripted([reply(99)] * 3), pytest.raises(InvalidAnswerError):
        Perturbed(ValueSim("single"), "labels-for-numbers").predict(case())


def test_a_repetition_is_asked_anew_and_then_remembered() -> None:
    """The first reply is not taken from the cache; a job that goes on takes the second from it."""
    asked, program = case(), ValueSim("single")
    with scripted([reply(1), reply(3)]) as engine:
        as_is = program.predict(asked).answer
        again = [Perturbed(program, REPEAT).predict(asked).answer for _ in range(2)]
        assert program.predict(asked).answer == as_is
    assert (as_is, again) == (1, [3, 3])
    assert len(engine.requests) == 2


def test_a_repetition_repeats_no_retry_of_the_first_asking() -> None:
    """What is asked for with a rollout of its own gets another one."""
    asked, program = case(), ValueSim("single")
    with scripted([reply(99), reply(1), reply(99), reply(4)]) as engine:
        assert program.predict(asked).answer == 1
        assert Perturbed(program, REPEAT).predict(asked).answer == 4
    assert len(engine.requests) == 4


def test_a_repetition_counts_on_the_same_meter_at_the_same_temperature() -> None:
    """Nothing but the rollout is another."""
    rollouts = []

    def answer(request: Any) -> str:
        rollouts.append((IN_FORCE.get()[0], request.config.temperature))
        return "yes"

    lm = scripted_lm(ScriptedEngine(answer))
    with ResponseCache().installed():
        lm("Well?")
        asked_again(lm)("Well?")
        asked_again(lm)("Well?", rollout_id=2, temperature=1.0)
    temperature = rollouts[0][1]
    assert rollouts == [(None, temperature), (ROLLOUT, temperature), (ROLLOUT + 2, 1.0)]
    assert lm.meter.needed.calls == 3
    assert lm.kwargs.get("rollout_id") is None


def test_a_program_without_a_language_model_is_repeated_as_it_is() -> None:
    """There is nothing to ask anew."""
    assert Perturbed(Scripted(first_shown), REPEAT).predict(case()).answer == 1


def test_where_nothing_changes_nothing_is_measured() -> None:
    """`applies` says which cases a perturbation is about; a repetition is about all."""
    program = Scripted(first_shown)
    assert Perturbed(program, REPEAT).applies(case())
    assert Perturbed(program, "options-reversed").applies(case())
    assert not Perturbed(program, "official-wording").applies(case())


def test_a_wrapper_knows_what_its_program_knows() -> None:
    """Warm arms stay warm."""
    assert Perturbed(ValueSim("peers"), REPEAT).knows == "warm"
    assert Perturbed(ValueSim("single"), REPEAT).knows == "cold"


def test_an_unknown_perturbation_is_refused() -> None:
    """The error names those there are."""
    with pytest.raises(ConfigError, match="options-reversed"):
        Perturbed(Scripted(first_shown), "options-upside-down")
