"""The plan of a simulation: plain values that say what is asked of whom, and their opening."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planned import PEOPLE, QUESTIONS, people, plan, survey_file
from pydantic import ValidationError
from saving import manifest

from valuesim_dspy.errors import ConfigError, MissingDataError, SurveyDataError
from valuesim_dspy.loading import save_program
from valuesim_dspy.plan import (
    OwnQuestion,
    Plan,
    bind_peers,
    choose_questions,
    compiled_on,
    draw,
    model_arguments,
    open_plan,
    own_questions,
    program_named,
)
from valuesim_dspy.program import ValueSim
from valuesim_dspy.roles import LMRole
from valuesim_dspy.survey.codebook import UnknownQuestionError, load_codebook
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.together import Together

BOOK = load_codebook()
MOVE = OwnQuestion(text="Would you move?", options=("Yes", "No"))


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of synthetic people."""
    return survey_file(tmp_path_factory.mktemp("survey"))


def test_a_plan_is_json_and_back(survey: Path) -> None:
    """Nothing is lost; lists become tuples."""
    whole = plan(
        survey,
        own=(MOVE,),
        hide="topic",
        parts=3,
        countries=("JPN",),
        together=5,
        lm=LMRole(model="openai/test", api_base="http://127.0.0.1:1/v1", temperature=0.5),
    )
    text = whole.model_dump_json()
    assert Plan.model_validate_json(text) == whole
    assert json.loads(text)["questions"] == list(QUESTIONS)


@pytest.mark.parametrize(
    "known",
    [
        {"nosuch": 1},
        {"parts": 0},
        {"sample": 0},
        {"seed": -1},
        {"hide": "everything"},
        {"own": ({"text": "Why?", "options": ("So",)},)},
        {"program": "single", "together": "battery"},
        {"program": "together"},
    ],
)
def test_a_plan_that_does_not_fit_is_refused(known: dict[str, Any]) -> None:
    """Unknown keys, numbers below one, a question with one option, two programs at once."""
    with pytest.raises(ValidationError):
        Plan(survey="people.csv", **known)


@pytest.mark.parametrize(
    "known", [{"text": "a\udcff", "options": ("a", "b")}, {"text": "a", "options": ["b", "\ud800"]}]
)
def test_bytes_that_are_no_text_are_refused(known: dict[str, Any]) -> None:
    """As a terminal hands them on; in one line that can be printed."""
    with pytest.raises(ConfigError, match="write it in UTF-8") as refused:
        OwnQuestion(**known)
    str(refused.value).encode()


def test_plans_of_the_same_rows_are_equal() -> None:
    """Whatever the order of countries, and however a number is written."""
    one, other = (
        Plan(survey="x", countries=countries, together=together)
        for countries, together in ((("USA", "JPN", "USA"), "010"), (("JPN", "USA"), 10))
    )
    assert one == other and one.together == 10
    assert Plan(survey="x", together="battery").together == "battery"


def test_a_plan_holds_no_secret() -> None:
    """A key among the settings of a model is refused, and not repeated."""
    with pytest.raises(ConfigError) as refused:
        Plan.model_validate({"survey": "x", "lm": {"extra": {"api_key": "sk-verysecret123"}}})
    assert "sk-very" not in str(refused.value)


def test_questions_are_named_once() -> None:
    """What is named twice is asked once."""
    assert Plan(survey="x", questions=("Q1", "Q2", "Q1")).questions == ("Q1", "Q2")


def test_opening_reads_the_survey_and_draws_people(survey: Path) -> None:
    """As many as wanted; everyone where no number is given."""
    opened = open_plan(plan(survey))
    assert len(opened.positions) == 4 == len(set(opened.positions))
    assert [question.id for question in opened.questions] == list(QUESTIONS)
    assert opened.total == 16 == len(list(opened.rows()))
    assert opened.respondents.digest == open_plan(plan(survey, sample=None)).respondents.digest
    assert open_plan(plan(survey, sample=None)).positions == list(range(PEOPLE))


def test_own_questions_come_after_the_codebooks(survey: Path) -> None:
    """Named in their order; options are coded from one."""
    other = OwnQuestion(text="Would you move?", options=("Never", "Later", "Now"))
    opened = open_plan(plan(survey, questions=("Q57",), own=(MOVE, other)))
    assert [question.id for question in opened.questions] == ["Q57", "own-1", "own-2"]
    assert [question.codes for question in own_questions((MOVE, other))] == [(1, 2), (1, 2, 3)]
    assert open_plan(plan(survey, questions=(), own=(MOVE,))).total == 4


def test_drawing_depends_on_the_seed_alone() -> None:
    """Ascending; every place may be drawn."""
    survey = people()
    drawn = [draw(survey, sample=5, seed=seed) for seed in range(40)]
    assert draw(survey, sample=5, seed=7) == drawn[7]
    assert all(places == sorted(set(places)) and len(places) == 5 for places in drawn)
    assert {place for places in drawn for place in places} == set(range(PEOPLE))


def test_people_of_some_countries_can_be_asked() -> None:
    """Those who live there, and nobody else."""
    survey = people()
    homes = sorted(set(survey.alphas))[:2]
    found = draw(survey, sample=None, seed=1, countries=homes)
    assert found == [at for at, alpha in enumerate(survey.alphas) if alpha in homes]
    assert len(draw(survey, sample=1, seed=1, countries=homes[:1])) == 1


def test_too_few_people_are_refused() -> None:
    """The message says how many there are."""
    with pytest.raises(ConfigError, match=f"the survey has {PEOPLE} respondents, and 99"):
        draw(people(), sample=99, seed=1)
    absent = next(alpha for alpha in BOOK.countries if alpha not in people().alphas)
    with pytest.raises(ConfigError, match=f"0 respondents in {absent}"):
        draw(people(), sample=None, seed=1, countries=[absent])
    with pytest.raises(SurveyDataError, match="no country 'ATLANTIS'"):
        draw(people(), sample=None, seed=1, countries=["ATLANTIS"])


def test_questions_are_chosen_by_id_range_battery_and_topic() -> None:
    """Mixed, in the codebook's order, each once."""
    assert choose_questions(BOOK, "Q59, Q57-Q58,Q27,Q58") == ["Q27", "Q57", "Q58", "Q59"]
    assert choose_questions(BOOK, "battery:happiness,Q1") == ["Q1", "Q46"]
    battery = choose_questions(BOOK, "battery:trust-in-groups")
    assert battery == list(BOOK.batteries["trust-in-groups"])
    assert choose_questions(BOOK, "topic:wellbeing") == list(BOOK.sections["wellbeing"])


def test_all_is_everything_with_options_but_the_background() -> None:
    """Sex, age and the like stay known; private questions are not asked unasked."""
    chosen = [BOOK[id] for id in choose_questions(BOOK, "all")]
    assert len(chosen) > 250
    assert all(q.options and q.kind != "demographic" and not q.private for q in chosen)
    left = [q.id for q in BOOK if q.scorable and q.kind != "demographic" and q not in chosen]
    assert left == []
    assert choose_questions(BOOK, "all,Q260") == [
        q.id for q in BOOK if q in chosen or q.id == "Q260"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("battery:trust", "did you mean general-trust, trust-in-groups"),
        ("battery:hapiness", "did you mean happiness"),
        ("topic:wellbein", "did you mean wellbeing"),
        ("topic:xyzzy", "no topic 'xyzzy'"),
        ("scale:4", "allowed: battery:NAME, topic:NAME"),
        (" , ", "name questions"),
        ("Q63-Q57", "backwards"),
    ],
)
def test_what_names_no_questions_is_refused(text: str, told: str) -> None:
    """With what is near."""
    with pytest.raises(ConfigError, match=told):
        choose_questions(BOOK, text)
    with pytest.raises(UnknownQuestionError, match="no question Q999"):
        choose_questions(BOOK, "Q1,Q999")


def test_a_range_may_leave_the_letter_out() -> None:
    """As people write it."""
    assert choose_questions(BOOK, "Q57-59") == ["Q57", "Q58", "Q59"]


def test_arguments_say_what_decides_the_answers(survey: Path) -> None:
    """Model, sampling, people; no path, no address, no credentials."""
    role = LMRole(model="openai/test", api_base="http://127.0.0.1:1/v1/?x=1", max_tokens=99)
    opened = open_plan(plan(survey, lm=role, countries=(), seed=3))
    told = opened.arguments()
    assert told["model"] == "openai/test"
    assert (told["max_tokens"], told["seed"], told["program"]) == (99, 3, "full")
    assert told["questions"] == "Q27,Q57,Q58,Q59"
    assert json.loads(json.dumps(told)) == told
    assert str(survey) not in str(told) and "127.0.0.1" not in str(told)


def test_arguments_change_with_the_plan(survey: Path) -> None:
    """Each thing that decides answers is in them."""
    same = open_plan(plan(survey)).arguments()
    for known in (
        {"seed": 1},
        {"sample": 5},
        {"program": "single"},
        {"together": 2},
        {"hide": "battery"},
        {"lm": LMRole(temperature=0.3)},
        {"lm": LMRole(extra={"top_p": 0.5})},
    ):
        assert open_plan(plan(survey, **known)).arguments() != same, known
    assert open_plan(plan(survey)).arguments() == same


def test_a_models_arguments_do_not_repeat_its_settings() -> None:
    """Only their digest: they may be long."""
    told = model_arguments(LMRole(extra={"user": "somebody"}))
    assert "somebody" not in str(told) and told["extra"]
    assert model_arguments(LMRole())["extra"] == ""


def test_a_larger_context_is_no_other_run() -> None:
    """Whoever gave one that was too small goes on with another."""
    assert model_arguments(LMRole(context=9000)) == model_arguments(LMRole(context=32000))
    assert model_arguments(LMRole(max_tokens=9)) != model_arguments(LMRole())


def test_programs_are_found_by_name_and_folder(survey: Path, tmp_path: Path) -> None:
    """A variant, or a saved program; what is neither is said."""
    assert program_named("facts-only", BOOK).variant == "facts-only"
    folder = save_program(ValueSim("single"), tmp_path / "mine", manifest(variant="single"))
    opened = open_plan(plan(survey, program=str(folder)))
    assert opened.program.variant == "single" == opened.arguments()["program"]
    assert str(folder) not in str(opened.arguments())
    with pytest.raises(MissingDataError, match=r"no program at fulll.* or a variant: full"):
        open_plan(plan(survey, program="fulll"))


def test_the_survey_must_be_there(tmp_path: Path) -> None:
    """And something must be asked."""
    with pytest.raises(MissingDataError):
        open_plan(plan(tmp_path / "nosuch.csv"))
    with pytest.raises(ConfigError, match="name questions"):
        open_plan(Plan(survey=str(tmp_path / "nosuch.csv")))


def test_variants_with_peers_read_everyone_of_the_survey(survey: Path) -> None:
    """Whoever is asked is never a peer of their own; which people stand behind is an argument."""
    opened = open_plan(plan(survey, program="single-peers"))
    assert opened.program.bindings["peers"]["people"] == PEOPLE
    assert opened.arguments()["peers"] == opened.program.bindings["peers"]["digest"]
    case = next(opened.rows())[1].case
    assert "interviewed" in opened.program.inputs(case)["peers"]
    assert open_plan(plan(survey)).arguments()["peers"] == ""


def test_rows_that_may_be_one_person_are_nobodys_peers() -> None:
    """Else somebody's own answer to the question could be among their peers'."""
    survey = Respondents.from_columns(
        questions={"Q57": np.array([1, 2, 1, 2]), "Q58": np.array([1, 4, 1, 2])},
        attributes={"D_INTERVIEW": np.array(["1", "2", "1", "3"])},
    )
    program = ValueSim("single-peers")
    bind_peers(program, survey)
    assert program.bindings["peers"]["people"] == 2


def test_a_saved_program_with_other_peers_says_so(
    survey: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Training people stood behind it."""
    told = manifest(
        variant="single-peers", bindings={"peers": {"digest": "ab", "people": 9, "seed": 1}}
    )
    folder = save_program(ValueSim("single-peers"), tmp_path / "mine", told)
    with caplog.at_level(logging.WARNING):
        open_plan(plan(survey, program=str(folder)))
    assert "saved with other similar people" in caplog.text


def test_a_program_compiled_on_the_same_file_is_known(survey: Path, tmp_path: Path) -> None:
    """By the file's digest; an uncompiled program has seen nobody."""
    digest = open_plan(plan(survey)).respondents.digest
    for name, known, found in (
        ("seen", {"teleprompter": "bootstrap", "data": {"digest": digest}}, True),
        ("other", {"teleprompter": "bootstrap", "data": {"digest": "0" * 64}}, False),
        ("none", {"data": {"digest": digest}}, False),
    ):
        told = manifest(variant="single", **known)
        folder = save_program(ValueSim("single"), tmp_path / name, told)
        assert compiled_on(open_plan(plan(survey, program=str(folder)))) is found
    assert compiled_on(open_plan(plan(survey))) is False


def test_questions_can_be_asked_together(survey: Path) -> None:
    """By a program of its own, which knows the parts."""
    opened = open_plan(plan(survey, together="battery", own=(MOVE,), parts=2))
    assert isinstance(opened.program, Together)
    assert opened.program.by == "battery"
    assert opened.program.parts == {
        q.id: view.part for q, view in zip(opened.questions, opened.views, strict=True)
    }
    assert opened.arguments()["program"] == "together-battery"
    assert open_plan(plan(survey, together="3")).program.by == 3
    with pytest.raises(ConfigError, match="together"):
        open_plan(plan(survey, together="everything"))


def test_the_seed_is_told_where_something_is_drawn_by_it(survey: Path) -> None:
    """Else any seed makes the same rows: people are drawn, or those who are similar."""

    def told(**known: Any) -> Any:
        return open_plan(plan(survey, program="single", **known)).arguments()

    assert told(sample=None, seed=7) == told(sample=None, seed=8)
    assert told(sample=2, seed=7)["seed"] == 7
    peers = open_plan(plan(survey, program="peers", sample=None, seed=7)).arguments()
    assert peers["seed"] == 7 and peers["peers"]
