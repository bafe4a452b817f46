"""Asking one person one question: who is asked, what is hidden, and what is printed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import dspy
import pytest
from people import reply

from valuesim_dspy import asking
from valuesim_dspy.__main__ import build_parser
from valuesim_dspy.asking import ask
from valuesim_dspy.errors import (
    ConfigError,
    InvalidAnswerError,
    MissingDataError,
    PredictionError,
    SurveyDataError,
)
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.lexical.parsing import request_text
from valuesim_dspy.lm import make_lm
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.respondents import Respondents, read_respondents
from valuesim_dspy.survey.synthetic import write_synthetic

ME = 'country = "JPN"\nfacts = ["You keep bees."]\n[answers]\nQ46 = 1\nQ57 = 2\nQ58 = 1\n'


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of synthetic people."""
    return write_synthetic(tmp_path_factory.mktemp("survey") / "people.csv", 30, seed=5)


@pytest.fixture(scope="module")
def respondents(survey: Path) -> Respondents:
    """The people of the file."""
    return read_respondents(survey)


@pytest.fixture
def me(tmp_path: Path) -> Path:
    """One's own person."""
    path = tmp_path / "me.toml"
    path.write_text(ME)
    return path


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """A model that records what it is asked and always gives the second option."""

    def answer(_: Any) -> dict[str, Any]:
        return {**reply(2, "It follows."), "backstory": "You are somebody from Japan."}

    return scripted(monkeypatch, answer)


def scripted(monkeypatch: pytest.MonkeyPatch, answers: Any) -> ScriptedEngine:
    """Let a scripted model answer."""
    engine = ScriptedEngine(answers)
    monkeypatch.setattr(
        asking, "make_lm", lambda role, **known: make_lm(role, engine=engine, **known)
    )
    return engine


def args(*words: object) -> argparse.Namespace:
    """Return what the command line says."""
    return build_parser().parse_args(["ask", *map(str, words)])


def test_ones_own_person_is_asked_a_question_of_the_codebook(me: Path) -> None:
    """The question, its options with the prediction marked, the prediction in words."""
    lines = ask(args("--person", me, "--question", "Q69"))
    assert lines[0] == f"Q69: {load_codebook()['Q69'].text_for('JPN')}"
    marked = [line for line in lines if line.startswith("  > ")]
    assert len(marked) == 1
    code = marked[0].removeprefix("  > ").split(":")[0]
    assert f"predicted: {code} ({load_codebook()['Q69'].label(int(code))})" in lines
    assert not [line for line in lines if line.startswith("answered")]
    assert lines[-1].startswith("The embedded model answered")


def test_ones_own_question_has_its_options_in_order(me: Path, engine: ScriptedEngine) -> None:
    """Coded 1, 2, .. as given."""
    options = ["--option", "Never", "--option", "Now", "--option", "Later"]
    lines = ask(args("--person", me, "--text", "When will you move?", *options))
    assert lines[0].endswith(": When will you move?")
    assert lines[1:4] == ["    1: Never", "  > 2: Now", "    3: Later"]
    assert "predicted: 2 (Now)" in lines


def test_why_tells_backstory_analyses_and_decision(me: Path, engine: ScriptedEngine) -> None:
    """Each perspective by name; how much of the facts the story keeps."""
    lines = ask(args("--person", me, "--question", "Q69", "--why"))
    text = "\n".join(lines)
    assert "You are somebody from Japan." in lines
    assert [line for line in lines if line.startswith("backstory (keeps ")]
    for name in ("cognitive", "affective", "behavioral"):
        assert f"{name}: 2\nIt follows." in text
    assert text.endswith("decision by agreement:\nIt follows.")
    short = "\n".join(ask(args("--person", me, "--question", "Q69")))
    assert "It follows." not in short and "backstory" not in short


def test_a_variant_without_a_backstory_tells_none(me: Path, engine: ScriptedEngine) -> None:
    """One direct answer: one call, no views."""
    lines = ask(args("--person", me, "--question", "Q69", "--program", "single", "--why"))
    assert len(engine.requests) == 1
    assert "backstory" not in "\n".join(lines) and "decision by direct:" in lines


def test_ones_own_story_is_told_as_it_is(me: Path, engine: ScriptedEngine) -> None:
    """No call is spent on it."""
    me.write_text('story = "You live by the sea."\n' + ME)
    lines = ask(args("--person", me, "--question", "Q69", "--why"))
    assert "You live by the sea." in lines and len(engine.requests) == 3


def test_nothing_of_the_answer_reaches_the_model(
    survey: Path, respondents: Respondents, engine: ScriptedEngine
) -> None:
    """Neither the question nor its twins are facts; the answer given is printed afterwards."""
    codebook = load_codebook()
    question = next(q for q in codebook if q.twins and respondents[0].answer(q.id) is not None)
    who = ["--survey", survey, "--respondent", respondents[0].id]
    lines = ask(args(*who, "--question", question.id, "--why"))
    truth = respondents[0].answer(question.id)
    assert truth is not None
    assert f"answered:  {truth} ({question.label(truth)})" in lines
    profile, found, synthetic = asking._person(args(*who, "--question", question.id), question)
    assert (found, synthetic) == (truth, True)
    assert not {question.id, *question.twins} & set(profile.answers)
    assert len(profile.answers) > 200
    asked = "\n".join(request_text(request) for request in engine.requests)
    assert respondents[0].id not in asked and profile.key not in asked


def test_a_survey_that_was_read_before_is_not_read_again(
    survey: Path, respondents: Respondents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One person's row comes out of the cache, with the key that the whole survey gives them."""
    read_respondents(survey)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the whole file was read")

    monkeypatch.setattr("valuesim_dspy.survey.respondents.read_respondents", refuse)
    monkeypatch.setattr("valuesim_dspy.survey.respondents.read_table", refuse)
    who = args("--survey", survey, "--respondent", respondents[5].id, "--question", "Q57")
    profile, truth, synthetic = asking._person(who, load_codebook()["Q57"])
    assert (truth, synthetic) == (respondents[5].answer("Q57"), True)
    assert profile.key == respondents[5].key(respondents.digest)


def test_ones_own_answer_to_the_question_is_left_out(me: Path, engine: ScriptedEngine) -> None:
    """What is asked is not among the facts told."""
    ask(args("--person", me, "--question", "Q57"))
    asked = "\n".join(request_text(request) for request in engine.requests)
    facts = [line for line in asked.splitlines() if line.startswith("- ")]
    assert any("very happy" in line for line in facts)
    assert not any("trusted" in line or "careful" in line for line in facts)


def test_a_respondent_is_asked_ones_own_question(
    survey: Path, respondents: Respondents, engine: ScriptedEngine
) -> None:
    """There is no answer to hold it against."""
    who = ["--survey", survey, "--respondent", respondents[3].id]
    lines = ask(args(*who, "--text", "Tea?", "--option", "Yes", "--option", "No"))
    assert "predicted: 2 (No)" in lines
    assert not [line for line in lines if line.startswith("answered")]


def test_a_question_a_respondent_did_not_answer_shows_no_answer(
    survey: Path, respondents: Respondents, engine: ScriptedEngine
) -> None:
    """A missing answer is none."""
    place, qid = next(
        (place, question.id)
        for place, person in enumerate(respondents)
        for question in load_codebook()
        if question.options and person.answer(question.id) is None
    )
    who = ["--survey", survey, "--respondent", respondents[place].id]
    lines = ask(args(*who, "--question", qid))
    assert not [line for line in lines if line.startswith("answered")]


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ([], ConfigError, "--question or --text"),
        (["--question", "Q1", "--text", "Tea?"], ConfigError, "--question or --text"),
        (["--text", "Tea?"], ConfigError, "at least two"),
        (["--text", "Tea?", "--option", "Yes"], ConfigError, "at least two"),
        (["--text", "Tea?", "--option", "Yes", "--option", "Yes"], SurveyDataError, "different"),
        (["--text", " ", "--option", "Yes", "--option", "No"], SurveyDataError, "needs a text"),
        (["--question", "Q999"], SurveyDataError, "no question Q999"),
        (["--question", "Q262"], ConfigError, "no list of options"),
        (["--question", "Q1", "--program", "nosuch"], MissingDataError, "no program at nosuch"),
        (["--question", "Q1", "--model", "offline/nosuch"], ConfigError, "offline/lexical-1"),
        (["--question", "Q1", "--model", ""], ConfigError, "task_lm.model"),
        (["--question", "Q1", "--model", "openai/"], ConfigError, "provider/model"),
        (
            ["--question", "Q1", "--model", "openai/x", "--api-base", "localhost:8000"],
            ConfigError,
            "task_lm.api_base",
        ),
        (
            ["--question", "Q1", "--model", "openai/x", "--api-base", "http://u:p@localhost/v1"],
            ConfigError,
            "credentials",
        ),
        (
            ["--question", "Q1", "--model", "openai/x", "--api-key-env", "sk-123456789"],
            ConfigError,
            "api_key_env",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(
    me: Path, words: list[str], error: type[Exception], said: str
) -> None:
    """Before any call, in one line that names the flag or the key."""
    with pytest.raises(error) as caught:
        ask(args("--person", me, *words))
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert "sk-123456789" not in str(caught.value) and "u:p" not in str(caught.value)


def test_one_person_is_to_be_given(me: Path, survey: Path) -> None:
    """Neither none nor two."""
    for who in (
        [],
        ["--survey", survey],
        ["--respondent", "1"],
        ["--person", me, "--survey", survey],
        ["--person", me, "--survey", survey, "--respondent", "1"],
    ):
        with pytest.raises(ConfigError, match="--person"):
            ask(args(*who, "--question", "Q46"))
    with pytest.raises(MissingDataError, match="among 30 respondents"):
        ask(args("--survey", survey, "--respondent", "1", "--question", "Q46"))


def test_a_persons_answers_leave_the_machine_only_by_consent(me: Path, survey: Path) -> None:
    """One's own person counts as a real one, synthetic people do not; nobody is contacted."""
    there = ["--model", "openai/x", "--api-base", "http://api.example.org/v1"]
    with pytest.raises(ConfigError, match=r"answers of 1 respondents .* api\.example\.org"):
        ask(args("--person", me, "--question", "Q46", *there))
    sent = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "preflight", lambda lm: sent.append(lm) or _stop())
        with pytest.raises(InterruptedError):
            agreed = ["--send-to", "api.example.org"]
            ask(args("--person", me, "--question", "Q46", *there, *agreed))
        first = read_respondents(survey)[0].id
        with pytest.raises(InterruptedError):
            ask(args("--survey", survey, "--respondent", first, "--question", "Q46", *there))
    assert len(sent) == 2


def _stop() -> None:
    raise InterruptedError


def test_an_endpoint_that_fails_is_a_failed_prediction(
    me: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told with its status and without a hint of being unexpected."""
    scripted(monkeypatch, [dspy.LMRateLimitError("slow down", status=429)] * 9)
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(PredictionError, match=r"LMRateLimitError \(429\): slow down") as caught:
        ask(args("--person", me, "--question", "Q69", "--program", "single"))
    assert isinstance(caught.value.__cause__, dspy.LMError)


def test_no_option_in_any_reply_is_an_invalid_answer(
    me: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked again within bounds, then told with the codes that were offered."""
    engine = scripted(monkeypatch, lambda _: reply(77))
    with pytest.raises(InvalidAnswerError, match=r"'77' is not one of the codes offered \(1, 2"):
        ask(args("--person", me, "--question", "Q69", "--program", "single"))
    assert len(engine.requests) == 3


def test_what_was_answered_is_not_paid_twice(me: Path, engine: ScriptedEngine) -> None:
    """The second time the response cache answers."""
    first = ask(args("--person", me, "--question", "Q69", "--why"))
    calls = len(engine.requests)
    assert ask(args("--person", me, "--question", "Q69", "--why")) == first
    assert len(engine.requests) == calls == 4
