"""The program: what each variant asks for, when the coordinator is asked, what comes back."""

import copy

import dspy
import pytest
from people import case, example, prompt_of, reply, scripted, scripted_lm

from valuesim_dspy.errors import (
    ConfigError,
    InvalidAnswerError,
    MissingDataError,
    ProgramStateError,
)
from valuesim_dspy.modules import BackstoryWriter
from valuesim_dspy.program import ValueSim
from valuesim_dspy.variants import CAPS

STORY = {"backstory": "You live in Japan, by the sea."}


@pytest.mark.parametrize(
    ("variant", "predictors"),
    [
        (
            "full",
            [
                "writer.backstory",
                "panel.cognitive.answer",
                "panel.affective.answer",
                "panel.behavioral.answer",
                "coordinator.answer",
            ],
        ),
        (
            "vote",
            [
                "writer.backstory",
                "panel.cognitive.answer",
                "panel.affective.answer",
                "panel.behavioral.answer",
            ],
        ),
        (
            "facts-only",
            [
                "panel.cognitive.answer",
                "panel.affective.answer",
                "panel.behavioral.answer",
                "coordinator.answer",
            ],
        ),
        ("single", ["direct.answer"]),
        ("behavioral", ["writer.backstory", "panel.behavioral.answer"]),
        (
            "interaction",
            [
                "writer.backstory",
                *(f"panel.{name}.answer" for name in CAPS),
                *(f"interaction.{name}.answer" for name in CAPS),
                "coordinator.answer",
            ],
        ),
    ],
)
def test_predictor_names_are_frozen(variant: str, predictors: list[str]) -> None:
    """Predictor names are file format."""
    assert [name for name, _ in ValueSim(variant).named_predictors()] == predictors


def test_where_perspectives_agree_no_coordinator_is_asked() -> None:
    """Backstory and three perspectives: four calls, decided by agreement."""
    with scripted([STORY, reply(2), reply(2), reply(2)]) as engine:
        found = ValueSim()(case=case())
    assert (found.answer, found.decision, found.status) == (2, "agreement", "answered")
    assert found.backstory == STORY["backstory"] and len(engine.requests) == 4
    assert found.views["affective"] == {"answer": 2, "analysis": "Because the facts say so."}


def test_where_they_differ_the_coordinator_reads_person_and_views() -> None:
    """The fifth call sees facts, backstory and all three views, and decides."""
    with scripted([STORY, reply(1), reply(2), reply(3, "habit"), reply(4, "weighed")]) as engine:
        found = ValueSim()(case=case())
    assert (found.answer, found.decision, found.analysis) == (4, "coordinator", "weighed")
    shown = prompt_of(engine.requests[-1])
    assert "You live in Japan." in shown and STORY["backstory"] in shown
    assert "The behavioral reader answers 3 (Not very much): habit" in shown


def test_a_vote_spends_no_fifth_call() -> None:
    """The variant `vote` decides by plurality; the analysis is that of a winning perspective."""
    with scripted([STORY, reply(1), reply(3, "first of two"), reply(3)]) as engine:
        found = ValueSim("vote")(case=case())
    assert (found.answer, found.decision, found.analysis) == (3, "vote", "first of two")
    assert len(engine.requests) == 4


def test_backstory_only_leaves_the_facts_out() -> None:
    """As published: perspectives and coordinator see the story, no fact and no count of facts."""
    with scripted([STORY, reply(1), reply(2), reply(3), reply(1)]) as engine:
        ValueSim("backstory-only")(case=case())
    for request in engine.requests[1:]:
        assert "Family is very important" not in prompt_of(request)
        assert "same options, you answered" not in prompt_of(request)


def test_facts_only_writes_no_story() -> None:
    """Without a backstory there are three calls and an empty story."""
    with scripted([reply(1)] * 3) as engine:
        found = ValueSim("facts-only")(case=case())
    assert len(engine.requests) == 3 and found.backstory == ""


def test_single_is_one_call_on_all_facts() -> None:
    """The variant `single` asks once, directly."""
    with scripted([reply(2)]) as engine:
        found = ValueSim("single")(case=case())
    assert (found.answer, found.decision, found.views) == (2, "direct", {})
    assert "Family is very important" in prompt_of(engine.requests[0])


def test_predict_is_the_call() -> None:
    """`predict(case)` and `program(case=case)` are the same."""
    with scripted([reply(2), reply(2)]):
        assert ValueSim("single").predict(case()).answer == 2


def test_the_target_is_in_no_prompt() -> None:
    """What the person answered to the question itself is never shown."""
    asked = example("Q65", 3)
    hidden = copy.copy(asked.case.profile)
    assert "Q65" in hidden.answers  # the profile of this test knows it: a fold would hide it
    with scripted([reply(2)]) as engine:
        ValueSim("single")(case=case("Q69"))
    assert "answer: 3" not in prompt_of(engine.requests[0])


def test_a_failing_coordinator_fails_the_case() -> None:
    """There is no fallback to a vote: the case fails and says so."""
    with (
        scripted([STORY, reply(1), reply(2), reply(3), *([reply(9)] * 3)]),
        pytest.raises(InvalidAnswerError),
    ):
        ValueSim()(case=case())


def test_an_unknown_variant_is_a_config_error() -> None:
    """The error names what there is."""
    with pytest.raises(ConfigError, match="full, backstory-only, facts-only, vote, single"):
        ValueSim("fulll")


def test_copies_are_independent_and_equal_in_shape() -> None:
    """Teleprompters copy programs: demos of a copy do not show in the original."""
    program = ValueSim()
    copied = program.deepcopy()
    copied.panel.cognitive.answer.demos = [{"question": "q", "answer": 1}]
    assert program.panel.cognitive.answer.demos == []
    assert copied.variant == program.variant
    assert [n for n, _ in copied.named_predictors()] == [n for n, _ in program.named_predictors()]


def test_the_trace_holds_answers_in_canonical_order_and_no_story() -> None:
    """A teleprompter sees the perspectives, then the coordinator; the writer is not a demo."""
    program = ValueSim()
    with (
        scripted([STORY, reply(1), reply(2), reply(3), reply(4)]),
        dspy.context(trace=[]),
    ):
        program(case=case())
        steps = [step[0] for step in dspy.settings.trace]
    named = {id(p): name for name, p in program.named_predictors()}
    assert [named[id(step)] for step in steps] == [
        "panel.cognitive.answer",
        "panel.affective.answer",
        "panel.behavioral.answer",
        "coordinator.answer",
    ]


def test_the_story_has_room_but_never_more_than_half_the_context() -> None:
    """The backstory may be long; a small model is asked for what it can hold."""
    from people import scripted_lm

    from valuesim_dspy.lexical.engine import ScriptedEngine

    with dspy.context(lm=scripted_lm(ScriptedEngine([]), context=8192)):
        assert BackstoryWriter().room() == 4096
    with dspy.context(lm=scripted_lm(ScriptedEngine([]), context=128_000)):
        assert BackstoryWriter().room() == 8192


def test_readers_that_interact_read_each_other_once() -> None:
    """Six readings: the second three see all first views, and their answers count."""
    first, second = [reply(1, "alpha"), reply(2), reply(3)], [reply(4)] * 3
    with scripted([STORY, *first, *second]) as engine:
        found = ValueSim("interaction")(case=case())
    assert (found.answer, found.decision, len(engine.requests)) == (4, "agreement", 7)
    assert all("alpha" in prompt_of(request) for request in engine.requests[4:])
    assert not any("alpha" in prompt_of(request) for request in engine.requests[:4])
    assert {view["answer"] for view in found.views.values()} == {4}


def test_the_mean_may_be_nobodys_answer() -> None:
    """The published ablation: the mean rounded up, with an analysis that says what it is."""
    with scripted([STORY, reply(1), reply(1), reply(4)]):
        found = ValueSim("mean")(case=case())
    assert (found.answer, found.decision) == (2, "mean")
    assert found.analysis == "The mean of the perspectives."


def test_a_variant_that_reads_peers_must_be_bound() -> None:
    """Unbound it says what is missing; bound it shows their answers to all readers."""

    class Told:
        def text(self, asked: object) -> str:
            return "Of 20 people most like you, 13 answered so."

    with scripted([STORY, *[reply(2)] * 3]) as engine:
        with pytest.raises(MissingDataError, match="similar respondents"):
            ValueSim("peers")(case=case())
        bound = ValueSim("peers").bind(peers=Told())  # type: ignore[arg-type]
        assert bound.deepcopy()(case=case()).answer == 2
    assert all("13 answered so" in prompt_of(request) for request in engine.requests[1:])


def test_while_compiling_another_table_may_stand_in_for_what_was_learned() -> None:
    """A training case is decided by what was learned of others, until that is unbound."""

    class Others:
        def of(self, asked: object) -> dict[str, object]:
            raise LookupError("asked for this case")

    program = ValueSim("weighted-vote").bind(learned=Others())
    with scripted([STORY, *[reply(1), reply(2), reply(2)] * 2]):
        with pytest.raises(LookupError):
            program(case=case())
        program.unbind_learned()
        assert program(case=case()).answer == 2


def test_one_perspective_decides_alone() -> None:
    """With one reader there is nobody to coordinate."""
    with scripted([STORY, reply(3)]) as engine:
        found = ValueSim("behavioral")(case=case())
    assert (found.answer, found.decision, len(engine.requests)) == (3, "agreement", 2)


def test_records_of_another_model_end_a_run_before_it_is_paid_for() -> None:
    """Not case by case, where readers happen to differ."""
    from valuesim_dspy.loop import answer_cases

    program = ValueSim("weighted-vote")
    program.learned = {"weights": {"lm": "openai/other", "margins": {}}}
    with scripted([]) as engine:
        lm = scripted_lm(engine)
        with pytest.raises(ProgramStateError, match="openai/other"):
            answer_cases(program, [example("Q69")], lm=lm)
    assert engine.requests == []
