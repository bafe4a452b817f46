"""What is deleted of a person, what is said of it, and what an export keeps sealed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from people import person as profile_of
from people import scripted

from valuesim_dspy.__main__ import main
from valuesim_dspy.commitments import Commitments
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.forgetting import Forgotten
from valuesim_dspy.people import People, Person
from valuesim_dspy.survey.codebook import Question, UnknownQuestionError, load_codebook

BOOK = load_codebook()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where people are kept."""
    return tmp_path / "people.db"


@pytest.fixture
def me(file: Path) -> Person:
    """Somebody who answered Q57 to Q60 and one question of their own, each guessed before."""
    me = People(file).add("me")
    guesses = Commitments(me, "p")
    for id in ("Q57", "Q58", "Q59", "Q60"):
        guesses.settle(guesses.commit(id, {"program": 1}), BOOK[id], 2, "test")
    me.observe(Question("Tea, or coffee?", ["Tea", "Coffee"], id="own-tea,x"), 1)
    return me


def asked(me: Person) -> list[str]:
    """Return the ids of what was answered."""
    return [answer.question for answer in me.kept.answers]


def command(file: Path, *words: str) -> int:
    """Run the command; return its status."""
    return main(["interview", "--person", "me", "--people", str(file), *words])


@pytest.mark.parametrize(
    ("what", "left"),
    [
        ("Q57", ["Q58", "Q59", "Q60"]),
        ("Q57,Q58", ["Q59", "Q60"]),
        (" Q58 , Q57,", ["Q59", "Q60"]),
        ("Q58-Q60", ["Q57"]),
        ("Q59-75,Q57", ["Q58"]),
        ("Q57,Q57", ["Q58", "Q59", "Q60"]),
    ],
)
def test_questions_are_named_as_elsewhere(me: Person, what: str, left: list[str]) -> None:
    """By ids and ranges; of a range what is kept goes, and the guesses go along."""
    gone = me.forget(what)
    assert asked(me) == [*left, "own-tea,x"]
    assert (gone.answers, gone.guesses, gone.stories) == (4 - len(left), 4 - len(left), 0)
    assert [guess["question"] for guess in json.loads(me.export())["guesses"]] == left


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("Q999", UnknownQuestionError, "no question Q999"),
        ("q57", UnknownQuestionError, "no question q57.*Q57"),
        ("Q61", MissingDataError, "nothing is kept of Q61, so nothing was deleted"),
        ("Q57,Q61", MissingDataError, "nothing is kept of Q61"),
        ("Q61-Q75", MissingDataError, "nothing is kept of Q61-Q75"),
        ("own-12345678", MissingDataError, "nothing is kept of own-12345678"),
        ("Q60-Q57", ConfigError, "backwards"),
        ("", ConfigError, "forget: name questions"),
        (" , ", ConfigError, "forget: name questions"),
        ("All", UnknownQuestionError, "All"),
        ("own-\ud83d", MissingDataError, "nothing is kept"),
    ],
)
def test_what_is_not_kept_is_refused(
    me: Person, file: Path, what: str, error: type[Exception], said: str
) -> None:
    """Nothing is deleted then, and nothing is said to be."""
    before = me.export()
    with pytest.raises(error, match=said):
        me.forget(what)
    assert me.export() == before


def test_the_command_refuses_in_one_line(
    me: Person, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2; an empty list begins no interview."""
    for what in ("q57", "Q999", "Q61", ""):
        assert command(file, "--forget", what) == 2
        shown = capsys.readouterr()
        assert "forgotten" not in shown.out and shown.err.count("\n") == 1
    assert len(asked(me)) == 5


def test_the_command_says_how_much_went(
    me: Person, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers, guesses and backstories."""
    assert command(file, "--forget", "Q57,Q58") == 0
    assert capsys.readouterr().out == ("forgotten: Q57,Q58 (2 answers, 2 guesses, 0 backstories)\n")
    assert command(file, "--forget", "all") == 0
    assert "forgotten: all (3 answers, 2 guesses, 0 backstories)" in capsys.readouterr().out
    assert "me" not in People(file)
    assert str(Forgotten(1, 1, 1)) == "1 answer, 1 guess, 1 backstory"


def test_a_question_of_ones_own_is_forgotten_by_its_id(me: Person) -> None:
    """Whatever its id looks like, and whatever of it is kept."""
    assert me.forget("own-tea,x") == Forgotten(1, 0, 0)
    assert "own-tea,x" not in me.export()
    Commitments(me, "p").commit("Q71", {"program": 1})
    assert me.forget("Q71") == Forgotten(0, 1, 0)


def test_stories_that_may_tell_it_go_too(file: Path) -> None:
    """Those written from the answer, and no others; with everything, the person's own as well."""
    me = People(file).add("me", profile_of({"Q57": 2, "Q58": 1}, story="You keep bees."))
    with scripted(lambda _: {"backstory": "You trust.", "revised": "You still trust."}):
        me.revise()
        me.observe("Q59", 1)
        me.revise()
    assert me.forget("Q59") == Forgotten(1, 0, 1)
    assert me.forget("Q58") == Forgotten(1, 0, 1)
    assert me.backstory == "You keep bees."
    assert me.forget() == Forgotten(1, 0, 1)
    with pytest.raises(MissingDataError, match="forgotten"):
        me.forget()


def test_others_keep_what_they_answered(me: Person, file: Path) -> None:
    """Only the person who is named forgets."""
    other = People(file).add("other")
    other.observe("Q57", 1)
    me.forget("Q57")
    me.forget()
    assert asked(other) == ["Q57"]


def guesses(me: Person) -> dict[str, tuple[str, bool, bool]]:
    """Return by question of the last guess: its outcome, and whether codes and nonce are shown."""
    rows = json.loads(me.export())["guesses"]
    return {r["question"]: (r["outcome"], bool(r["codes"]), bool(r["nonce"])) for r in rows}


def test_an_export_does_not_open_a_seal(me: Person) -> None:
    """Of a guess at what may still be answered it says that it is there; its digest stands."""
    mine = Commitments(me, "p")
    opened = mine.commit("Q61", {"program": 3})
    mine.withdraw(mine.commit("Q62", {"program": 3}))
    mine.give_up(mine.commit("Q63", {"program": 3}))
    found = guesses(me)
    assert found["Q57"] == ("answered", True, True) and found["Q63"] == ("unknown", True, True)
    assert found["Q61"] == ("open", False, False) and found["Q62"] == ("withdrawn", False, False)
    assert opened.digest in me.export() and opened.nonce not in me.export()


def test_an_answer_opens_the_seal(me: Person) -> None:
    """Those of this program at this question, the skipped ones too; those of others stay shut."""
    mine, others = Commitments(me, "p"), Commitments(me, "q")
    mine.withdraw(mine.commit("Q61", {"program": 3}))
    others.commit("Q61", {"program": 1})
    mine.settle(mine.commit("Q61", {"program": 2}), BOOK["Q61"], 1, "test")
    shown = [g["codes"] for g in json.loads(me.export())["guesses"] if g["question"] == "Q61"]
    assert shown == [{"program": 3}, None, {"program": 2}]


def leave(place: Path) -> Path:
    """Put a file there that everybody may read."""
    place.write_text("old")
    place.chmod(0o644)
    return place


def test_an_export_is_private_whatever_was_there(
    me: Person, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that others may read is replaced, not written into; no draft is left."""
    place = leave(file.with_name("me.json"))
    with place.open() as reader:
        assert command(file, "--export", str(place)) == 0
        assert reader.read() == "old"
    assert place.stat().st_mode & 0o777 == 0o600 and json.loads(place.read_text())["answers"]
    assert "readable by you only" in capsys.readouterr().out
    assert not [path.name for path in file.parent.iterdir() if "draft" in path.name]


@pytest.mark.parametrize(
    "make",
    [
        lambda place: place.symlink_to(leave(place.with_name("other.json"))),
        lambda place: place.symlink_to("/dev/null"),
        lambda place: place.symlink_to(place.with_name("nowhere.json")),
        lambda place: place.mkdir(),
    ],
    ids=["link", "device", "dangling", "folder"],
)
def test_an_export_follows_no_link(
    me: Person, file: Path, make: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, status 2; what the link leads to stays as it is."""
    place = file.with_name("me.json")
    make(place)
    other, nowhere = file.with_name("other.json"), file.with_name("nowhere.json")
    before = other.read_text() if other.exists() else ""
    assert command(file, "--export", str(place)) == 2
    error = capsys.readouterr().err
    assert "--export" in error and "is a link or no file" in error and error.count("\n") == 1
    assert (other.read_text() if other.exists() else "") == before
    assert place.is_symlink() or place.is_dir()
    assert not nowhere.exists()


def test_an_export_that_cannot_be_written_is_told_in_one_line(
    me: Person, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, where the folder is not there or no file is named."""
    for place in (str(file.parent / "none" / "me.json"), "", "."):
        assert command(file, "--export", place) == 2
        assert capsys.readouterr().err.count("\n") == 1
