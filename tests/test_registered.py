"""A registered program: a table in, a table out, and what no prompt may hold."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from champions import program
from people import scripted_lm
from registering import (  # noqa: F401
    CODEBOOK,
    ROW,
    fact,
    loaded_model,
    recorded_prompts,
    table,
)

from valuesim_dspy import registered
from valuesim_dspy.errors import (
    ConfigError,
    MissingDataError,
    ProgramStateError,
    SurveyDataError,
)
from valuesim_dspy.loading import load_program, save_program
from valuesim_dspy.registered import RegisteredProgram
from valuesim_dspy.survey.synthetic import write_synthetic


def test_each_row_is_answered_in_order_and_keeps_its_index(model: RegisteredProgram) -> None:
    """One row a person and question; codes of that question, the row's own answer as truth."""
    asked = table({"question": "Q57"}, {"question": "Q64"}, {"question": "Q69"})
    asked.index = pd.Index([30, 10, 20])
    told = model.predict(asked)
    assert list(told.index) == [30, 10, 20]
    assert list(told["question"]) == ["Q57", "Q64", "Q69"]
    assert list(told["truth"]) == [2, 4, 2]
    assert list(told["status"]) == ["answered"] * 3
    for question, answer in zip(told["question"], told["answer"], strict=True):
        assert answer in CODEBOOK[question].codes
    assert {"decision", "view_cognitive", "calls", "paid", "reason"} <= set(told)
    assert list(told["calls"]) == [3, 3, 3]


def test_the_answer_asked_for_never_reaches_the_program(
    model: RegisteredProgram, prompts: list[str]
) -> None:
    """The same prompts whatever the row's own answer is; the other answers are there."""
    for code in (1, 2, 4):
        model.predict(table({"Q69": code}))
    assert len(prompts) == 3
    assert not any(fact("Q69", code) in prompt for prompt in prompts for code in (1, 2, 3, 4))
    assert all(fact("Q57", 2) in prompt and fact("Q64", 4) in prompt for prompt in prompts)


def test_twins_of_the_question_are_hidden_too(model: RegisteredProgram, prompts: list[str]) -> None:
    """What gives the answer away is left out with it."""
    question = next(q for q in CODEBOOK if q.twins and q.options and q.wording.facts)
    twin = next(CODEBOOK[name] for name in question.twins if CODEBOOK[name].wording.facts)
    code = next(iter(twin.wording.facts))
    model.predict(table({"question": question.id, twin.id: code}))
    assert prompts and not any(fact(twin.id, code) in prompt for prompt in prompts)
    prompts.clear()
    model.predict(table({"question": "Q69", twin.id: code}))
    assert all(fact(twin.id, code) in prompt for prompt in prompts)


def test_rows_of_one_person_do_not_tell_each_other_the_answer(
    model: RegisteredProgram, prompts: list[str]
) -> None:
    """Facts are kept by person: two rows of one id that hide different things stay apart."""
    first = {**ROW, "question": "Q57", "Q57": None, "D_INTERVIEW": 7}
    second = {**ROW, "question": "Q69", "Q69": None, "D_INTERVIEW": 7}
    told = model.predict(pd.DataFrame([first, second]))
    assert list(told["status"]) == ["answered"] * 2
    for question, code in (("Q57", 2), ("Q69", 2)):
        asking = [p for p in prompts if CODEBOOK[question].text_for(None) in p]
        assert asking
        assert not any(CODEBOOK[question].fact_text(code) in prompt for prompt in asking)


def test_a_row_is_the_same_person_in_every_table(model: RegisteredProgram) -> None:
    """Key and answer depend on the row alone, and the key is no id of the survey."""
    both = model.predict(table({"D_INTERVIEW": 1234}, {"D_INTERVIEW": 99, "Q57": 1}))
    alone = model.predict(table({"D_INTERVIEW": 1234}))
    assert both["respondent"][0] == alone["respondent"][0] != both["respondent"][1]
    assert both["answer"][0] == alone["answer"][0]
    assert "1234" not in alone["respondent"][0]


def test_what_a_file_may_hold_is_read_as_from_a_file(
    model: RegisteredProgram, prompts: list[str]
) -> None:
    """Kinds of missing, unknown codes, texts, fractions and blanks are no answers."""
    odd = {"Q57": -1, "Q58": 77, "Q64": "often", "Q1": 1.5, "Q6": None, "Q182": "9", "N_TOWN": 5}
    told = model.predict(table(odd, {"Q57": np.nan, "extra": "x"}))
    assert list(told["status"]) == ["answered"] * 2
    facts = [line for line in prompts[0].splitlines() if line.startswith("- ")]
    assert facts == ["- You live in Japan.", f"- {fact('Q182', 9)}"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "Q999"}, "Q999: the codebook wvs7 has no such question"),
        ({"question": "Q262"}, "Q262: has no list of options"),
        ({"question": None}, "names no question and has no text"),
        ({"question": None, "text": "Tea?", "options": "yes"}, "give at least two"),
        ({"question": None, "text": "Tea?"}, "give at least two"),
        ({"question": "Q\x1b[31m9"}, "has no such question"),
    ],
)
def test_a_row_that_cannot_be_asked_fails_alone(
    model: RegisteredProgram, row: dict[str, Any], reason: str
) -> None:
    """It is a row with status and reason; the others are answered."""
    told = model.predict(table({}, row, {}))
    assert list(told["status"]) == ["answered", "failed", "answered"]
    assert reason in told["reason"][1]
    assert "\x1b" not in f"{told['reason'][1]}{told['question'][1]}"
    assert pd.isna(told["answer"][1])


@pytest.mark.parametrize("options", ["yes|no|now and then", ["yes", "no", "now and then"]])
def test_a_question_of_ones_own_is_asked(
    model: RegisteredProgram, prompts: list[str], options: Any
) -> None:
    """Text and options stand in the row; codes count from 1."""
    row = {"question": None, "text": "Do you drink tea?", "options": options}
    told = model.predict(table(row))
    assert told["status"][0] == "answered" and told["answer"][0] in (1, 2, 3)
    assert pd.isna(told["truth"][0])
    assert all("Do you drink tea?" in p and "3: now and then" in p for p in prompts)


def test_a_survey_question_in_ones_own_words_hides_its_answer(
    model: RegisteredProgram, prompts: list[str]
) -> None:
    """The survey's text, given as text, is the survey's question."""
    row = {"question": None, "text": CODEBOOK["Q57"].text, "options": "trust|care"}
    model.predict(table(row))
    assert prompts and not any(fact("Q57", 2) in prompt for prompt in prompts)


def test_a_whole_survey_file_can_be_asked(model: RegisteredProgram, tmp_path: Path) -> None:
    """A file's columns are the columns."""
    write_synthetic(tmp_path / "survey.csv", 5, seed=3)
    people = pd.read_csv(tmp_path / "survey.csv", low_memory=False).copy()
    people["question"] = "Q57"
    told = model.predict(people)
    assert set(told["status"]) == {"answered"}
    assert told["truth"].notna().any()


def test_an_invalid_answer_is_a_row(
    model: RegisteredProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that never gives an option fails its rows and raises nothing."""
    from valuesim_dspy.lexical.engine import ScriptedEngine

    answers = [{"analysis": "none fits", "answer": 97}] * 40
    lm = scripted_lm(ScriptedEngine(answers))
    monkeypatch.setattr(registered, "make_lm", lambda role, name: lm)
    told = model.predict(table({}, {"question": "Q57"}))
    assert list(told["status"]) == ["invalid", "invalid"]
    assert told["answer"].isna().all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (pd.DataFrame({"Q57": [1]}), "needs a column `question`"),
        (pd.DataFrame({"question": ["Q57"], "x": [1]}), "no column holds a question"),
        (pd.DataFrame([["Q57", 1, 2]], columns=["question", "Q1", "Q1"]), "the same name"),
    ],
)
def test_a_table_that_is_none_is_one_line(
    model: RegisteredProgram, given: pd.DataFrame, said: str
) -> None:
    """What no row can mend is raised."""
    with pytest.raises((ConfigError, SurveyDataError), match=said):
        model.predict(given)


def test_an_empty_table_gives_an_empty_one(model: RegisteredProgram) -> None:
    """No rows, no calls, the same columns."""
    told = model.predict(table({})[:0])
    assert len(told) == 0 and {"answer", "status", "decision"} <= set(told)


def test_rows_may_come_as_dictionaries(model: RegisteredProgram) -> None:
    """A server that is sent JSON hands lists of dictionaries on."""
    told = model.predict([dict(ROW), {**ROW, "question": "Q57"}])
    assert list(told["question"]) == ["Q69", "Q57"]


def test_a_variant_that_reads_similar_people_says_so(tmp_path: Path) -> None:
    """A table brings no training people along: nothing is asked, the message says what works."""
    model = RegisteredProgram(program(tmp_path / "program", "peers"))
    with pytest.raises(MissingDataError, match=r"reads similar people.*bind\(peers"):
        model.predict(table({}))


def test_what_was_learned_of_another_model_is_not_used(tmp_path: Path) -> None:
    """Records are those of one model's perspectives."""
    folder = program(tmp_path / "program", "full-records")
    compiled = load_program(folder)
    cell = {"n": 20, "people": 10, "accuracy": 0.5}
    compiled.learned = {"records": {"lm": "openai/other", "cells": {"cognitive": {"all": cell}}}}
    save_program(compiled, folder, compiled.manifest)
    with pytest.raises(ProgramStateError, match="openai/other"):
        RegisteredProgram(folder).predict(table({}))


def test_two_tables_at_once_are_answered(model: RegisteredProgram) -> None:
    """A server's threads share one program."""
    from concurrent.futures import ThreadPoolExecutor

    asked = [table({"question": name}) for name in ("Q57", "Q64", "Q58", "Q69")]
    alone = [int(model.predict(one)["answer"][0]) for one in asked]
    predict: Callable[[pd.DataFrame], pd.DataFrame] = model.predict
    with ThreadPoolExecutor(4) as pool:
        assert [int(told["answer"][0]) for told in pool.map(predict, asked)] == alone
