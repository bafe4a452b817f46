"""Rows of a simulation: their numbers, their order, what is known in them, which are skipped."""

from __future__ import annotations

from typing import Any

import dspy
import numpy as np
import pytest
from people import case
from planned import MOVE, First, asked, few, people, questions

from valuesim_dspy.asked import (
    NO_OPTIONS,
    NOTHING_KNOWN,
    Listed,
    own_text,
    row_of,
    same_question,
)
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.own import own_profile
from valuesim_dspy.peers import PeerIndex
from valuesim_dspy.program import ValueSim
from valuesim_dspy.state import program_digest
from valuesim_dspy.survey.codebook import Question, load_codebook
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.together import Together


def numbers(rows: Any) -> list[int]:
    """Return the numbers of rows."""
    return [number for number, _ in rows]


def test_rows_are_numbered_by_person_and_question() -> None:
    """Respondents outside, questions inside; salted keys, the person's own answer."""
    sheet = asked(positions=[4, 7])
    found = list(sheet.rows())
    assert numbers(found) == list(range(8)) and sheet.total == 8
    for number, row in found:
        who, what = people()[[4, 7][number // 4]], sheet.questions[number % 4].id
        assert isinstance(row, dspy.Example)
        assert row.case.profile.key == who.key(people().digest)
        assert row.case.profile.country == who.country
        assert row.case.question.id == what
        assert row.get("answer") == who.answer(what)
        assert list(row.inputs()) == ["case"]


def test_what_is_asked_is_not_known() -> None:
    """Neither in the answers nor in the facts; everything else that was answered is."""
    sheet = asked(positions=[0])
    profile = next(sheet.rows())[1].case.profile
    asked_ids = {question.id for question in sheet.questions}
    assert not asked_ids & set(profile.answers)
    assert not asked_ids & {fact.question for fact in profile.facts}
    hidden = sheet.views[0].hidden
    assert set(profile.answers) == set(people()[0].answers) - hidden


def test_a_person_has_one_profile_for_each_part() -> None:
    """So that a backstory is written once for it."""
    sheet = asked(positions=[0], questions=[*questions("Q27", "Q28", "Q57"), MOVE], parts=2)
    profiles = [row.case.profile for _, row in sheet.rows()]
    assert profiles[0] is profiles[1] and len(set(map(id, profiles))) == 3
    by_question = {row.case.question.id: row.case.profile for _, row in sheet.rows()}
    assert "Q57" in by_question["Q27"].answers and "Q27" not in by_question["Q27"].answers
    assert "Q27" in by_question["Q57"].answers and "Q57" not in by_question["Q57"].answers
    assert {"Q27", "Q57"} <= set(by_question["own-1"].answers)
    assert len({profile.known for profile in by_question.values()}) == 3


def test_rows_that_are_done_are_left_out() -> None:
    """And people who are not asked for."""
    sheet = asked()
    assert numbers(sheet.rows(done=lambda number: number % 2 == 0)) == [1, 3, 5, 7, 9, 11]
    assert numbers(sheet.rows([2])) == [8, 9, 10, 11]
    assert numbers(sheet.rows([2, 0], {0, 9}.__contains__)) == [8, 10, 11, 1, 2, 3]
    assert sheet.left([0, 1, 2], {0, 4, 5, 6, 7}.__contains__) == ([0, 2], 7)


def test_rows_are_made_lazily() -> None:
    """Of a hundred thousand people only those who are reached."""
    sheet = asked(positions=list(range(24)) * 50)
    rows = sheet.rows()
    assert [next(rows)[0] for _ in range(3)] == [0, 1, 2]
    assert sheet.total == 4800


def test_first_questions_come_early_where_cases_run_at_once() -> None:
    """Each person's backstory is there when the others come; numbers stay as they are."""
    sheet = asked(positions=range(6))
    found = numbers(sheet.rows(threads=4))
    assert sorted(found) == list(range(24))
    assert found[:6] == [0, 4, 8, 1, 2, 3]
    assert numbers(sheet.rows(threads=1)) == list(range(24))
    one = asked(positions=range(3), questions=questions("Q57"))
    assert numbers(one.rows(threads=64)) == [0, 1, 2]


def test_whoever_leads_a_group_comes_early() -> None:
    """Where questions share a request the one that asks comes first."""
    program = Together(2, questions())
    sheet = asked(program, positions=range(3))
    found = numbers(sheet.rows(threads=2))
    assert sorted(found) == list(range(12))
    leaders = [n for n, row in sheet.rows() if program.leads(row.case)]
    places = [found.index(number) for number in leaders]
    assert places == sorted(places) and places[:2] == [0, 1]
    assert len(leaders) == 6


def test_a_question_without_options_is_skipped() -> None:
    """With the reason; age cannot be chosen from a list."""
    rows = list(asked(positions=[0], questions=questions("Q57", "Q262")).rows())
    assert isinstance(rows[0][1], dspy.Example)
    skipped = rows[1][1]
    assert isinstance(skipped, Outcome)
    assert (skipped.status, skipped.reason, skipped.answer) == ("skipped", NO_OPTIONS, None)
    assert skipped.truth == people()[0].answer("Q262") is not None


def test_a_person_of_whom_nothing_is_known_is_skipped() -> None:
    """What is hidden does not count, nor do private answers."""
    survey = few(Q57=[1, 2, 1], Q58=[2, -1, -2], Q223=[1, 1, 1])
    sheet = asked(survey=survey, questions=questions("Q57"))
    kinds = [row.status if isinstance(row, Outcome) else "asked" for _, row in sheet.rows()]
    assert kinds == ["asked", "skipped", "skipped"]
    row = list(sheet.rows())[1][1]
    assert isinstance(row, Outcome)
    assert (row.reason, row.truth, row.question) == (NOTHING_KNOWN, 2, "Q57")


def test_hiding_everything_is_refused() -> None:
    """The message says what to do."""
    with pytest.raises(ConfigError, match=r"where Q57 is asked nothing is known.*--parts"):
        asked(survey=few(Q57=[1, 2, 1], Q223=[1, 1, 1]), questions=questions("Q57"))
    with pytest.raises(ConfigError, match="--hide question"):
        asked(survey=few(Q58=[1, 2, 1], Q59=[1, 1, 1]), questions=questions("Q58"), hide="battery")


@pytest.mark.parametrize("known", [{"positions": []}, {"questions": []}])
def test_nobody_and_nothing_cannot_be_asked(known: dict[str, Any]) -> None:
    """Said at once."""
    with pytest.raises(ConfigError, match="nobody to ask"):
        asked(**known)


def test_two_questions_of_one_id_are_refused() -> None:
    """Rows could not be told apart."""
    other = Question("Would you move?", ["Never", "Now"], id="own-1")
    with pytest.raises(ConfigError, match="two questions have the id own-1"):
        asked(questions=[MOVE, other])


def test_arguments_change_with_what_decides_the_rows() -> None:
    """And with nothing else; they are plain values."""
    sheet = asked()
    same = sheet.arguments()
    assert asked(First()).arguments() == same
    assert all(isinstance(value, str | int) for value in same.values())
    changed = {
        "people": asked(positions=[0, 1, 3]),
        "questions": asked(questions=questions("Q27")),
        "own": asked(questions=[*questions(), MOVE]),
        "hide": asked(hide="battery"),
        "parts": asked(parts=2),
        "program_digest": asked(First(fails=("Q1",))),
    }
    for name, other in changed.items():
        assert other.arguments()[name] != same[name], name
    told = str(same)
    assert people()[0].id not in told and people().digest in told


def test_a_program_is_known_by_its_variant_state_and_settings() -> None:
    """Other instructions, demos or demo facts are another program."""
    first = program_digest(ValueSim("single"))
    assert first == program_digest(ValueSim("single"))
    assert first != program_digest(ValueSim("facts-only"))
    assert first != program_digest(ValueSim("single", demo_facts=3))
    told = ValueSim("single")
    predictor = told.direct.answer
    predictor.signature = predictor.signature.with_instructions("Answer.")
    assert first != program_digest(told)


def test_ones_own_questions_are_told_with_their_options() -> None:
    """As JSON; nothing where there are none."""
    assert own_text([MOVE]) == (
        '{"own-1": {"text": "Would you move to a bigger city?", '
        '"options": {"1": "Yes", "2": "No"}}}'
    )
    assert own_text([]) == ""


def test_a_case_with_a_story_is_asked_though_nothing_else_is_known() -> None:
    """One's own backstory says enough."""
    blank = own_profile({}, country="JPN")
    question = load_codebook()["Q57"]
    skipped = row_of(type(case())(blank, question))
    assert isinstance(skipped, Outcome) and skipped.country == "JPN"
    told = own_profile({}, story="You live by the sea.")
    assert isinstance(row_of(type(case())(told, question)), dspy.Example)


def test_listed_cases_are_rows_in_their_order() -> None:
    """Examples keep their answer; cases have none."""
    listed = Listed(First(), [case("Q69"), dspy.Example(case=case("Q70"), answer=2)])
    found = dict(listed.rows())
    assert listed.total == 2
    assert [row.get("answer") for row in found.values()] == [None, 2]
    assert list(dict(listed.rows(done=lambda number: number == 0))) == [1]
    assert listed.arguments() != Listed(First(), [case("Q69"), case("Q70")]).arguments()
    again = Listed(First(), [case("Q69"), dspy.Example(case=case("Q70"), answer=2)])
    assert listed.arguments() == again.arguments()


def test_people_of_one_interview_number_stay_two_people() -> None:
    """Each is told their own country and answers, and has rows of their own."""
    twice = Respondents.from_columns(
        questions={"Q57": np.array([1, 2, 1]), "Q58": np.array([1, 4, 2])},
        attributes={
            "D_INTERVIEW": np.array(["1", "1", "2"]),
            "B_COUNTRY_ALPHA": np.array(["JPN", "USA", "FRA"]),
        },
    )
    rows = [row for _, row in asked(survey=twice, questions=questions("Q57")).rows()]
    told = [row.case.profile.facts_text.splitlines() for row in rows]
    assert [lines[0] for lines in told] == [
        "- You live in Japan.",
        "- You live in the United States.",
        "- You live in France.",
    ]
    assert told[0][1:] != told[1][1:]
    assert len({row.case.profile for row in rows}) == 3


def test_an_id_of_the_codebook_in_other_words_is_another_question() -> None:
    """Arguments tell, nothing is compared with it, and the person's answer stays hidden."""
    other = Question("Would you say they can be trusted?", ["Yes", "No"], id="Q57")
    renamed = Question("Would you say they can be trusted?", ["Yes", "Maybe"], id="Q57")
    sheets = [asked(questions=[each]) for each in (*questions("Q57"), other, renamed)]
    told = [sheet.arguments() for sheet in sheets]
    assert told[0]["own"] == "" == told[0]["own_content"]
    assert len({each["own_content"] for each in told}) == 3
    assert {each["questions"] for each in told} == {"Q57"}
    rows = [next(sheet.rows())[1] for sheet in sheets]
    assert [row.get("answer") is None for row in rows] == [False, True, True]
    assert not any("Q57" in row.case.profile.answers for row in rows)
    own = Question("Why?", ["So", "Thus"], id="own-9", topic="why")
    same = [asked(questions=[q]).arguments() for q in (own, Question("Why?", ["So", "Thus"]))]
    assert same[0] != same[1] and same_question(questions("Q57")[0], load_codebook())
    asked(questions=[other], hide="battery")


class Counting(dspy.Module):
    """A program with settings of every kind."""

    def __init__(self, k: Any = 3, **config: Any) -> None:
        super().__init__()
        self.k, self.seen, self.what = k, [object()], object()
        self.inner = dspy.Predict("question -> answer", **config)


def test_a_programs_settings_and_bindings_are_part_of_it() -> None:
    """Numbers and texts of it and its modules; nothing that differs from process to process."""
    first = program_digest(Counting())
    assert first == program_digest(Counting())
    others = [Counting(30), Counting("3"), Counting((1, 2)), Counting(n=2)]
    assert len({first, *map(program_digest, others)}) == 5
    inside = Counting()
    inside.inner = Counting(4)
    again = Counting()
    again.inner = Counting(5)
    assert program_digest(inside) != program_digest(again)
    bound = ValueSim("single-peers").bind(peers=PeerIndex.of(people(), range(9), salt="a"))
    more = ValueSim("single-peers").bind(peers=PeerIndex.of(people(), range(8), salt="a"))
    cases = [case("Q69")]
    told = [Listed(program, cases).arguments() for program in (bound, more)]
    assert told[0] != told[1]
    assert told[0] == Listed(bound, cases).arguments()
