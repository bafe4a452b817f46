"""`valuesim interview`: consent, sealed guesses, true answers, learning, stopping and going on."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from people import prompt_of, reply

from evals.rival import build_rag
from valuesim_dspy import interview_session
from valuesim_dspy.__main__ import build_parser, main
from valuesim_dspy.commitments import Commitments, Score, sealed_text
from valuesim_dspy.errors import ConfigError, MissingDataError, PredictionError
from valuesim_dspy.interviewing import REFUSED, run
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.lm import make_lm
from valuesim_dspy.people import People, Person
from valuesim_dspy.people_tables import GUESSES
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.respondents import Respondent, read_respondents
from valuesim_dspy.survey.synthetic import write_synthetic

ROOT = Path(__file__).resolve().parent.parent
TRUST = ("--questions", "Q57-Q60", "--program", "single")


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of synthetic people."""
    return write_synthetic(tmp_path_factory.mktemp("survey") / "people.csv", 40, seed=5)


@pytest.fixture(scope="module")
def row(survey: Path) -> Respondent:
    """One of them, who answered the questions on trust."""
    people = read_respondents(survey)
    asked = ("Q57", "Q58", "Q59", "Q60")
    return next(p for p in people if all(p.answer(id) is not None for id in asked))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A store that is not there yet."""
    return tmp_path / "people.db"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """A model that records what it is asked and always gives the first option."""
    return scripted(monkeypatch, lambda _: {**reply(1), "backstory": "You are.", "revised": "You."})


def scripted(monkeypatch: pytest.MonkeyPatch, answers: Any) -> ScriptedEngine:
    """Let a scripted model answer."""
    engine = ScriptedEngine(answers)
    monkeypatch.setattr(
        interview_session, "make_lm", lambda role, **known: make_lm(role, engine=engine, **known)
    )
    return engine


def interview(
    file: Path, *words: object, says: str = "", name: str = "me", rival: Any = None
) -> tuple[int, str]:
    """Run the command with what the person types; return its status and what it showed."""
    given = ["interview", "--person", name, "--people", str(file), *map(str, words)]
    args = build_parser().parse_args(given)
    lines: list[str] = []
    typed: Iterator[str] = iter(f"{line}\n" for line in says.split("|") if line)
    status = run(args, rival=rival, say=lines.append, listen=lambda: next(typed, ""))
    return status, "\n".join(lines)


def person(file: Path, name: str = "me") -> Person:
    """Return the person who was kept."""
    return People(file).person(name)


def test_refusing_writes_nothing(file: Path, engine: ScriptedEngine) -> None:
    """Neither a file nor a call: anything but yes is a no, the end of input too."""
    for says in ("no", "y", "perhaps", ""):
        status, text = interview(file, *TRUST, says=says)
        assert status == REFUSED and text.endswith("nothing was written.")
    assert not file.exists() and not list(file.parent.iterdir())
    assert engine.requests == []


def test_refusing_adds_nobody_to_a_store(file: Path, engine: ScriptedEngine) -> None:
    """Where others are kept already."""
    People(file).add("other")
    assert interview(file, *TRUST, says="no")[0] == REFUSED
    assert len(People(file)) == 1 and "me" not in People(file)


def test_the_consent_says_what_where_and_how_to_delete(file: Path, engine: ScriptedEngine) -> None:
    """It comes first, and once; the time of the yes is kept."""
    _, text = interview(file, *TRUST, says="yes|quit")
    head = text.partition("Do you agree?")[0]
    assert str(file) in head and "--forget all" in head and "--export" in head
    assert "What is kept" in head and "sent to" not in head
    assert "[1 of 4]" not in head
    assert person(file).kept.consent
    assert "What is kept" not in interview(file, *TRUST, says="quit")[1]


def test_a_person_from_elsewhere_is_asked_to_agree(file: Path, engine: ScriptedEngine) -> None:
    """Being in the store is no consent to an interview."""
    People(file).add("me")
    assert interview(file, *TRUST, says="no")[0] == REFUSED
    assert person(file).kept.consent is None
    assert interview(file, *TRUST, says="yes|quit")[0] == 0
    assert person(file).kept.consent


def test_a_model_elsewhere_needs_consent_of_its_own(file: Path) -> None:
    """Nothing is shown or written before its host was agreed to; then the text names it."""
    remote = ("--model", "openai/x", "--api-base", "https://models.example/v1")
    with pytest.raises(ConfigError, match=r"--send-to models\.example"):
        interview(file, *remote, says="yes")
    status, text = interview(file, *remote, "--send-to", "models.example", says="no")
    assert status == REFUSED and "is sent to models.example" in text
    assert not file.exists()


def test_an_answer_is_guessed_revealed_and_learned(file: Path, engine: ScriptedEngine) -> None:
    """The question, its options, the seal; after the answer the guess; then the count."""
    _, text = interview(file, *TRUST, "--most", 2, says="yes|1|Trust somewhat")
    question = load_codebook()["Q57"]
    assert f"[1 of 2] Q57: {question.text}" in text
    assert "1: Most people can be trusted" in text
    first, second = text.split("[2 of 2]")
    assert "answer 1 (Most people can be trusted)" in first
    assert "program guessed 1 (Most people can be trusted): right" in first
    assert "so far: program 1 of 1 right (100%)" in first
    assert "program guessed 1 (Trust completely): wrong" in second
    assert "so far: program 1 of 2 right (50%)" in second
    kept = [(answer.question, answer.code, answer.source) for answer in person(file).kept.answers]
    assert kept == [("Q57", 1, "interview"), ("Q58", 2, "interview")]
    assert question.fact_text(1) in prompt_of(engine.requests[1])


def test_the_guess_is_sealed_before_the_answer(file: Path, engine: ScriptedEngine) -> None:
    """When a person is asked, the guess is in the store; what is shown opens the seal."""
    found: list[Any] = []

    def listen() -> str:
        if file.exists():
            found.extend(json.loads(person(file).export())["guesses"])
            return "2\n" if len(found) == 1 else "quit\n"
        return "yes\n"

    given = ["interview", "--person", "me", "--people", str(file), *TRUST]
    lines: list[str] = []
    run(build_parser().parse_args(given), say=lines.append, listen=listen)
    assert found[0]["outcome"] == "open" and found[0]["answer"] is None
    assert found[0]["codes"] is None and found[0]["nonce"] is None
    guess = json.loads(person(file).export())["guesses"][0]
    assert guess["digest"] == found[0]["digest"] and guess["time"] == found[0]["time"]
    text = sealed_text(guess["nonce"], guess["question"], guess["time"], guess["codes"])
    shown = "\n".join(lines)
    assert shown.index(f"sha256 {guess['digest']}") < shown.index("your answer:")
    assert shown.index("your answer:") < shown.index(f"the seal is of: {text}")
    assert hashlib.sha256(text.encode()).hexdigest() == guess["digest"]


def test_an_answered_question_is_not_in_its_own_prompt(file: Path, engine: ScriptedEngine) -> None:
    """Asked again by another program, it is hidden, and the answers to others are not."""
    interview(file, *TRUST, says="yes|2|3|quit")
    engine.requests.clear()
    interview(file, "--questions", "Q57", "--program", "facts-only", says="1|quit")
    book = load_codebook()
    for request in engine.requests:
        assert book["Q57"].fact_text(2) not in prompt_of(request)
        assert book["Q58"].fact_text(3) in prompt_of(request)
    codes = [a.code for a in person(file).kept.answers if a.question == "Q57"]
    assert codes == [2, 1]


def test_an_interview_goes_on_where_it_stopped(file: Path, engine: ScriptedEngine) -> None:
    """No question twice, no guess paid for twice: the one that was open is the one that counts."""
    _, text = interview(file, *TRUST, says="yes|1|quit")
    assert "Stopped" in text and "[2 of 4] Q58" in text
    before = json.loads(person(file).export())["guesses"]
    calls = len(engine.requests)
    _, text = interview(file, *TRUST, says="2|quit")
    assert "[1 of 3] Q58" in text and "Q57:" not in text
    after = json.loads(person(file).export())["guesses"]
    assert after[1]["digest"] == before[1]["digest"] and after[1]["outcome"] == "answered"
    assert len(engine.requests) == calls + 1  # for Q59
    assert "program 1 of 2 right" in text


def test_skipping_and_not_knowing(file: Path, engine: ScriptedEngine) -> None:
    """What was skipped is asked another time; what is not known is not; neither is counted."""
    status, text = interview(file, *TRUST, says="yes|skip|?|Don't know|2|")
    assert status == 0 and "1 answered; so far: program 0 of 1" in text
    assert text.count("the guess is withdrawn unopened") == 1
    assert text.count("noted as not known; the guess counts neither way") == 2
    _, text = interview(file, *TRUST, says="quit")
    assert "[1 of 1] Q57" in text
    assert [answer.question for answer in person(file).kept.answers] == ["Q60"]


def test_what_was_skipped_is_guessed_anew(file: Path, engine: ScriptedEngine) -> None:
    """By what is known then; the first guess stays on record, sealed and withdrawn."""
    interview(file, *TRUST, "--most", 1, says="yes|skip|")
    interview(file, *TRUST, "--most", 1, says="1|")
    first, second = json.loads(person(file).export())["guesses"]
    assert (first["outcome"], second["outcome"]) == ("withdrawn", "answered")
    assert first["question"] == second["question"] and first["digest"] != second["digest"]
    _, text = interview(file, *TRUST, says="quit")
    assert "of 1 right" in text


def test_what_is_no_option_is_asked_for_again(file: Path, engine: ScriptedEngine) -> None:
    """With a word on how to answer; an empty line too."""
    _, text = interview(file, *TRUST, "--most", 1, says="yes|7|-2| |most people can be TRUSTED")
    assert text.count("Answer with a code") == 4
    assert [answer.code for answer in person(file).kept.answers] == [1]


def test_the_survey_answers_by_itself(
    file: Path, survey: Path, row: Respondent, engine: ScriptedEngine
) -> None:
    """With --auto nobody types; what is told beforehand is profile and is not asked."""
    words = ("--survey", survey, "--auto", "--yes", "--questions", "Q57-Q60", "--known", "Q1,Q57")
    _, text = interview(file, *words, "--program", "single", name=row.id)
    assert "[3 of 3] Q60" in text and "Q57:" not in text and "your answer:" not in text
    kept = person(file, row.id).kept
    assert {answer.question for answer in kept.answers if answer.in_profile} <= {"Q1", "Q57"}
    later = {answer.question: answer.code for answer in kept.answers if not answer.in_profile}
    assert later == {id: row.answer(id) for id in ("Q58", "Q59", "Q60")}
    assert kept.country == row.country
    told = load_codebook()["Q57"].fact_text(row.answer("Q57") or 0)
    assert all(told in prompt_of(request) for request in engine.requests)
    assert row.id.encode() not in file.read_bytes()


def test_rag_guesses_too(file: Path, survey: Path, row: Respondent) -> None:
    """Beside the program, from the same case, and is counted beside it."""
    words = ("--survey", survey, "--auto", "--yes", *TRUST, "--known", "Q1-Q20")
    _, text = interview(file, *words, name=row.id, rival=build_rag)
    scores = Commitments(person(file, row.id), "single offline/lexical-1").scores()
    assert list(scores) == ["program", "RAG"] and {s.asked for s in scores.values()} == {4}
    mine, other = scores["program"], scores["RAG"]
    line = f"so far: program {mine.right} of 4 right ({mine.right / 4:.0%}), RAG {other.right} of 4"
    assert line in text and "The embedded model guessed" in text


def test_without_baselines_the_program_guesses_alone(file: Path, engine: ScriptedEngine) -> None:
    """An installed package has none, and says so."""
    _, text = interview(file, *TRUST, "--most", 1, says="yes|1", rival=lambda *_: None)
    assert "RAG does not guess along" in text and "so far: program 1 of 1 right" in text


def test_the_command_brings_rag(
    file: Path, survey: Path, row: Respondent, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is installed from a clone, on the full program."""
    words = ["interview", "--person", row.id, "--survey", str(survey), "--auto", "--yes"]
    assert main([*words, "--people", str(file), "--questions", "Q57", "--revise"]) == 0
    text = capsys.readouterr().out
    assert "RAG guessed" in text and "program guessed" in text
    assert "the backstory is up to date; it keeps 100% of the facts" in text
    assert (person(file, row.id).backstory or "").startswith("You live in")


def test_a_guess_that_is_no_option_is_wrong(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told and counted, and the person is asked all the same."""
    scripted(monkeypatch, lambda _: reply(99))
    _, text = interview(file, *TRUST, "--most", 1, says="yes|1")
    assert "program guessed none: wrong" in text and "program 0 of 1 right" in text
    assert [answer.code for answer in person(file).kept.answers] == [1]


def test_a_server_that_fails_loses_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interview ends in one line; the answers given are there."""
    answers = [reply(1), *[dspy.LMAuthError("out of order")] * 9]
    scripted(monkeypatch, answers)
    with pytest.raises(PredictionError, match="out of order"):
        interview(file, *TRUST, says="yes|2|2")
    assert [answer.question for answer in person(file).kept.answers] == ["Q57"]


def test_the_most_informative_question_comes_next(
    file: Path, survey: Path, row: Respondent, engine: ScriptedEngine
) -> None:
    """In another order than the codebook's, learned from the others alone."""
    words = ("--survey", survey, "--auto", "--yes", "--questions", "Q57-Q75", "--program", "single")
    _, text = interview(file, *words, "--informative", name=row.id)
    order = [line.split()[3].rstrip(":") for line in text.splitlines() if " of " in line[:12]]
    plain = [id for id in load_codebook().questions if id in order]
    assert sorted(order) == sorted(plain) and order != plain and len(order) > 10
    again = interview(file.with_name("again.db"), *words, "--informative", name=row.id)[1]
    assert order == [
        line.split()[3].rstrip(":") for line in again.splitlines() if " of " in line[:12]
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--auto"], "--auto: needs --survey"),
        (["--informative"], "--informative: needs --survey"),
        (["--known", "Q1"], "--known: needs --survey FILE --auto"),
        (["--questions", "Q261"], "none of these can be asked"),
        (["--forget", "all"], "not remembered"),
        (["--export", "x.json"], "not remembered"),
        (["--program", "nothing-of-the-kind", "--yes"], "nothing-of-the-kind"),
    ],
)
def test_bad_input_is_told_in_one_line(
    file: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2; no store is made for it where nobody is asked."""
    assert main(["interview", "--person", "me", "--people", str(file), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert file.exists() == ("--yes" in words)


def test_a_person_can_be_exported_and_forgotten(file: Path, engine: ScriptedEngine) -> None:
    """One question or all of it; the file of the export is private."""
    interview(file, *TRUST, says="yes|1|2|quit")
    place = file.with_name("me.json")
    assert "everything that is kept" in interview(file, "--export", place)[1]
    found = json.loads(place.read_text())
    assert [answer["question"] for answer in found["answers"]] == ["Q57", "Q58"]
    assert len(found["guesses"]) == 3 and place.stat().st_mode & 0o777 == 0o600
    interview(file, "--forget", "Q57")
    assert [answer.question for answer in person(file).kept.answers] == ["Q58"]
    assert "Q57" not in person(file).export()
    interview(file, "--forget", "all")
    assert "me" not in People(file)
    with pytest.raises(MissingDataError):
        interview(file, "--forget", "all")


def test_nothing_is_left_in_the_cache_of_responses(
    file: Path, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is forgotten must not live on in it: the store alone is written to."""
    interview(file, *TRUST, "--revise", says="yes|1|2|quit")
    cache = Path(os.environ["XDG_CACHE_HOME"])
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_settling_takes_the_sealed_guess_once(file: Path) -> None:
    """A guess that was changed, settled or forgotten takes no answer."""
    mine = People(file).add("me")
    book, guesses = load_codebook(), Commitments(mine, "p")
    guess = guesses.commit("Q57", {"program": 1, "RAG": None})
    assert guesses.waiting("Q57") is not None and guess.is_sound
    guesses.settle(guess, book["Q57"], 2, "test")
    assert guesses.scores() == {"program": Score(0, 1), "RAG": Score(0, 1)}
    other = guesses.commit("Q58", {"program": 1})
    with mine.store.changing() as db:
        db.execute(
            GUESSES.update().where(GUESSES.c.question == "Q58").values(codes='{"program": 2}')
        )
    for each, id in ((guess, "Q57"), (other, "Q58")):
        with pytest.raises(ConfigError, match="guess"):
            guesses.settle(each, book[id], 2, "test")
    assert len(mine.kept.answers) == 1
    guesses.give_up(guesses.commit("Q59", {"program": 1}))
    skipped = guesses.commit("Q60", {"program": 1})
    guesses.withdraw(skipped)
    assert guesses.waiting("Q60") is None and guesses.settled() == {"Q57", "Q59"}
    with pytest.raises(ConfigError, match="guess"):
        guesses.settle(skipped, book["Q60"], 2, "test")
    mine.forget()
    with pytest.raises(MissingDataError):
        guesses.commit("Q60", {"program": 1})


def test_programs_are_counted_apart(file: Path) -> None:
    """What another one guessed says nothing of this one."""
    mine = People(file).add("me")
    first, second = Commitments(mine, "p"), Commitments(mine, "q")
    first.settle(first.commit("Q57", {"program": 1}), load_codebook()["Q57"], 1, "test")
    assert second.scores() == {} and second.settled() == frozenset()
    assert first.scores()["program"].accuracy == 1.0 and Score(0, 0).accuracy == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2])
def test_a_killed_interview_goes_on(file: Path, after: int) -> None:
    """Killed while a question waits: the answers are there, and so is the sealed guess."""
    command = [sys.executable, "-u", "-m", "valuesim_dspy", "interview", "--person", "me"]
    command += ["--people", str(file), "--yes", *TRUST]
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=known,
        text=True,
        cwd=file.parent,
    )
    assert started.stdin is not None and started.stdout is not None
    asked = 0
    for line in started.stdout:
        asked += line.startswith("your answer")
        if line.startswith("your answer") and asked <= after:
            started.stdin.write("1\n")
            started.stdin.flush()
        elif line.startswith("your answer"):
            break
    started.send_signal(signal.SIGKILL)
    started.communicate()
    found = json.loads(person(file).export())
    assert [answer["code"] for answer in found["answers"]] == [1] * after
    assert [guess["outcome"] for guess in found["guesses"]] == ["answered"] * after + ["open"]
    done = subprocess.run(
        command, input="1\n" * 9, stdout=subprocess.PIPE, env=known, text=True, cwd=file.parent
    )
    assert done.returncode == 0 and f"[1 of {4 - after}]" in done.stdout
    after_all = json.loads(person(file).export())
    assert [guess["digest"] for guess in after_all["guesses"]][: after + 1] == [
        guess["digest"] for guess in found["guesses"]
    ]
    assert len(after_all["answers"]) == 4


def test_the_command_needs_nothing_heavy_to_be_listed() -> None:
    """`interview` is an argparse command like the others: its module is light."""
    script = (
        "import sys, valuesim_dspy.interviewing;"
        "print([n for n in ('dspy', 'sqlalchemy', 'pandas') if n in sys.modules])"
    )
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=known, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_parser_requires_a_person() -> None:
    """There is no person by default."""
    with pytest.raises(SystemExit):
        build_parser().parse_args(["interview"])
    parsed: argparse.Namespace = build_parser().parse_args(["interview", "--person", "x"])
    assert isinstance(parsed.run, Callable) and not parsed.yes  # type: ignore[arg-type]
