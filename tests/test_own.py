"""One's own person: from a dictionary, from a TOML file, and what is refused."""

import os
from pathlib import Path

import pytest

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.own import own_profile, read_person


def write(folder: Path, text: str) -> Path:
    """Write a person's file."""
    path = folder / "me.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_answers_may_be_codes_or_labels() -> None:
    """A label is as good as its code, whatever its case."""
    by_label = own_profile({"Q46": "very happy"})
    assert by_label.answers["Q46"] == own_profile({"Q46": 1}).answers["Q46"] == 1


def test_a_file_gives_the_same_person_as_the_dictionary(tmp_path: Path) -> None:
    """Answers, country, further facts and a story come from the file."""
    path = write(
        tmp_path,
        'country = "JPN"\nfacts = ["You keep bees."]\nstory = "You live by the sea."\n'
        '[answers]\nQ46 = "Very happy"\nQ57 = 1\n',
    )
    found = read_person(path)
    assert dict(found.answers) == {"Q46": 1, "Q57": 1}
    assert found.facts[-1].text == "You keep bees."
    assert found.story == "You live by the sea."
    assert found == own_profile(
        {"Q46": 1, "Q57": 1},
        country="JPN",
        statements=["You keep bees."],
        story="You live by the sea.",
    )


def test_the_asked_question_is_left_out(tmp_path: Path) -> None:
    """What is asked is not among the facts."""
    path = write(tmp_path, "[answers]\nQ46 = 1\nQ57 = 1\n")
    assert dict(read_person(path, without="Q57").answers) == {"Q46": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[answers]\nQ999 = 1\n", "Q999"),
        ("[answers]\nQ46 = 9\n", "Very happy"),
        ('[answers]\nQ46 = "blissful"\n', "blissful"),
        ('country = "Japan"\n', "country"),
        ("agee = 3\n", "allowed: country, answers, facts, story"),
        ("answers = 3\n", "table"),
        ("facts = [3]\n", "list of texts"),
        ("not toml", "TOML"),
        ('facts = "You keep bees."\n', "list of texts"),
        ("story = 3\n", "story: must be a text"),
        ("country = [1]\n", "country"),
        ("[answers]\nQ46 = [1]\n", "Q46"),
        ("[answers]\nQ262 = inf\n", "Q262"),
        ("[answers]\nQ46 = 1.0\n", "Q46"),
        ("a = " + "[" * 100_000, "TOML"),
        (f'story = "{"x" * 20_001}"\n', "story: has 20001 characters; at most 20000"),
        (f'facts = ["{"x" * 20_001}"]\n', "facts: has 20001 characters"),
        (f"# {'x' * 5_000_000}\n", "bytes"),
        (f'"{"k" * 999}\\u001b" = 1\n', "unknown key"),
    ],
)
def test_a_wrong_file_gets_one_line(tmp_path: Path, text: str, said: str) -> None:
    """What is wrong is named, with what would be right."""
    with pytest.raises(ConfigError) as caught:
        read_person(write(tmp_path, text))
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 900 and str(caught.value).isprintable()


def test_what_would_be_waited_for_is_no_file(tmp_path: Path) -> None:
    """A pipe, a device and a folder are refused at once; statements are a list."""
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path / "pipe.toml", Path("/dev/zero"), tmp_path):
        with pytest.raises(MissingDataError, match="there is no file"):
            read_person(path)
    with pytest.raises(ConfigError, match="list of texts"):
        own_profile({}, statements="You keep bees.")


def test_a_missing_file_is_missing_data(tmp_path: Path) -> None:
    """The absent file is named."""
    with pytest.raises(MissingDataError, match=r"nobody\.toml"):
        read_person(tmp_path / "nobody.toml")
