"""Two interviews of one person, at once or with two programs of one name: what counts where."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from people import reply
from test_interviewing import ROOT, TRUST, interview, person, scripted

from valuesim_dspy.__main__ import build_parser
from valuesim_dspy.commitments import Commitments, Score
from valuesim_dspy.interviewing import run
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.people import People
from valuesim_dspy.survey.codebook import load_codebook

DEMO = ROOT / "valuesim_dspy" / "programs" / "demo"
COUNTED = "single offline/lexical-1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A store that is not there yet."""
    return tmp_path / "people.db"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """A model that always gives the first option."""
    return scripted(monkeypatch, lambda _: reply(1))


def beside(
    file: Path, between: Callable[[], object], *says: str, words: tuple[str, ...] = ()
) -> str:
    """Run an interview in which something else is done before the first answer is typed."""
    given = ["interview", "--person", "me", "--people", str(file), "--yes", *TRUST, *words]
    lines: list[str] = []
    typed: Iterator[str] = iter(says)
    waiting = [between]

    def listen() -> str:
        if waiting:
            waiting.pop()()
        return f"{next(typed, 'quit')}\n"

    assert run(build_parser().parse_args(given), say=lines.append, listen=listen) == 0
    return "\n".join(lines)


def test_what_is_answered_meanwhile_counts_once(file: Path, engine: ScriptedEngine) -> None:
    """The other interview says so and goes on; it shows the same seal and adds nothing."""
    found: list[str] = []
    text = beside(file, lambda: found.append(interview(file, *TRUST, says="2|quit")[1]), "1", "1")
    assert "Q57 was answered meanwhile in another interview" in text
    assert text.count("[1 of 4] Q57") == found[0].count("[1 of 4] Q57") == 1
    assert "[1 of 3] Q58" in text and "1 answered; so far: program 1 of 2 right" in text
    kept = [(answer.question, answer.code) for answer in person(file).kept.answers]
    assert kept == [("Q57", 2), ("Q58", 1)]
    assert Commitments(person(file), COUNTED).scores() == {"program": Score(1, 2)}
    sealed = [line for line in text.splitlines() if "sealed at" in line]
    assert sealed[0] in found[0]


def test_what_is_settled_ahead_is_not_asked(file: Path, engine: ScriptedEngine) -> None:
    """Nor guessed: the calls of one interview pay for all."""
    text = beside(file, lambda: interview(file, *TRUST, says="1|1|?|1"), "1")
    for id, how in (("Q57", "answered"), ("Q58", "answered"), ("Q59", "given up")):
        assert f"{id} was {how} meanwhile in another interview" in text
    assert "Q58:" not in text and "0 answered; so far: program 3 of 3 right" in text
    assert len(engine.requests) == 4


def test_what_is_settled_while_it_is_guessed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guess that comes too late is not kept, and nobody is asked."""
    People(file).add("me", consent="2026-01-01")
    mine = Commitments(person(file), COUNTED)

    def answer(request: object) -> dict[str, object]:
        if "Q57" not in mine.settled():
            guess = mine.commit("Q57", {"program": 2})
            mine.settle(guess, load_codebook()["Q57"], 2, "elsewhere")
        return reply(1)

    scripted(monkeypatch, answer)
    _, text = interview(file, *TRUST, says="quit")
    assert "Q57 was answered meanwhile" in text and "Q57:" not in text and "[1 of 3] Q58" in text
    assert len(json.loads(person(file).export())["guesses"]) == 2


@pytest.mark.parametrize(("says", "how"), [("skip", "skipped"), ("?", "given up")])
def test_what_is_skipped_meanwhile(file: Path, engine: ScriptedEngine, says: str, how: str) -> None:
    """The guess that was withdrawn takes no answer any more; the interview goes on."""
    text = beside(file, lambda: interview(file, *TRUST, says=f"{says}|quit"), "1", "1", "quit")
    assert f"Q57 was {how} meanwhile in another interview" in text
    assert [answer.question for answer in person(file).kept.answers] == ["Q58"]


def test_questions_answered_elsewhere_use_up_no_turn(file: Path, engine: ScriptedEngine) -> None:
    """`--most` counts what was put to the person here."""
    text = beside(
        file,
        lambda: interview(file, *TRUST, says="1|1|quit"),
        *("1", "1", "1"),
        words=("--most", "2"),
    )
    assert "[1 of 2] Q57" in text and "[1 of 2] Q59" in text and "[2 of 2] Q60" in text
    assert "2 answered" in text


@pytest.mark.parametrize("most", ["0", "-1"])
def test_no_turn_is_no_question(file: Path, engine: ScriptedEngine, most: str) -> None:
    """A number below one asks nothing."""
    _, text = interview(file, *TRUST, "--most", most, says="yes|1")
    assert "0 answered" in text and "Q57:" not in text


def folder(place: Path, *, told: str = "") -> Path:
    """Copy the packaged program; with a word, as one that was compiled to say it."""
    shutil.copytree(DEMO, place)
    if told:
        file = place / "program.json"
        state = json.loads(file.read_text())
        for predictor in state["predictors"].values():
            predictor["signature"]["instructions"] += told
        file.write_text(json.dumps(state))
    return place


def test_folders_of_one_name_are_counted_apart(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is in them: guesses, questions asked and score are each program's own."""
    scripted(monkeypatch, lambda _: {**reply(1), "backstory": "You are."})
    first, second = folder(tmp_path / "a" / "p"), folder(tmp_path / "b" / "p", told=" Be brief.")
    words = ("--questions", "Q57-Q60", "--program")
    _, text = interview(file, *words, first, says="yes|1|2|quit")
    assert "so far: program 1 of 2 right" in text
    _, text = interview(file, *words, second, says="2|quit")
    assert "[1 of 4] Q57" in text and "1 answered; so far: program 0 of 1 right" in text
    seals = [guess["digest"] for guess in json.loads(person(file).export())["guesses"]]
    assert len(seals) == len(set(seals)) == 5
    names = {guess["program"] for guess in json.loads(person(file).export())["guesses"]}
    assert len(names) == 2 and all(name.startswith("p ") for name in names)
    assert not [name for name in names if str(tmp_path) in name]


def test_a_program_goes_on_wherever_it_lies(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same folder, by any path to it; compiled anew, it is another program."""
    scripted(monkeypatch, lambda _: {**reply(1), "backstory": "You are."})
    place = folder(tmp_path / "p")
    words = ("--questions", "Q57-Q60", "--program")
    interview(file, *words, place, says="yes|1|quit")
    monkeypatch.chdir(place)
    assert "[1 of 3] Q58" in interview(file, *words, ".", says="quit")[1]
    shutil.rmtree(place)
    folder(place, told=" Be brief.")
    assert "[1 of 4] Q57" in interview(file, *words, place, says="quit")[1]


def test_the_consent_names_the_place(file: Path, engine: ScriptedEngine) -> None:
    """The commands that it tells of find the person: they work as they stand."""
    _, text = interview(file, *TRUST, says="no")
    assert f"--person ID --people {file} --forget all" in text
    assert f"--person ID --people {file} --export FILE" in text
