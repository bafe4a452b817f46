"""Reading YAML strictly: types, duplicates, broken files."""

from __future__ import annotations

from pathlib import Path

import pytest

from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.survey.codebook_yaml import Node, codebook_files, near, read_documents


def read(tmp_path: Path, text: str) -> Node:
    """The first document of a file with this text."""
    path = tmp_path / "file.yaml"
    path.write_text(text)
    return next(read_documents(path))


@pytest.mark.parametrize(
    "word", ["Yes", "No", "on", "off", "y", "1.5", "12:30", "2020-01-01", "0x1F"]
)
def test_words_stay_words(tmp_path: Path, word: str) -> None:
    """Of YAML's guesses only whole numbers, true, false and null are made."""
    assert read(tmp_path, f"key: {word}").content == {"key": word}


def test_numbers_flags_and_null_are_read(tmp_path: Path) -> None:
    """Whole numbers, true, false and null keep their meaning."""
    node = read(tmp_path, "a: -5\nb: true\nc: false\nd: null\ne: ~\nf: '5'")
    assert node.content == {"a": -5, "b": True, "c": False, "d": None, "e": None, "f": "5"}


def test_a_key_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    """A repeated key would silently hide the first value."""
    with pytest.raises(SurveyDataError, match=r"file\.yaml, line 3: .*b is given twice"):
        read(tmp_path, "a: 1\nb: 2\nb: 3")


@pytest.mark.parametrize(
    "text", ["a: [1, 2", "a: b: c", "\tx: 1", "a: !!python/object:os.system x"]
)
def test_what_is_no_yaml_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    """Syntax errors and tags that would build objects are errors of the file."""
    with pytest.raises(SurveyDataError, match=r"file\.yaml, line \d+: not readable as YAML"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["- 1\n- 2", "only words", "5"])
def test_a_document_is_a_mapping(tmp_path: Path, text: str) -> None:
    """Lists and bare values are no codebook."""
    with pytest.raises(SurveyDataError, match="mapping of keys to values"):
        read(tmp_path, text)


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    """Codebooks are UTF-8."""
    path = tmp_path / "latin.yaml"
    path.write_bytes("title: caf\xe9".encode("latin-1"))
    with pytest.raises(SurveyDataError, match=r"latin\.yaml: the file is not UTF-8"):
        list(read_documents(path))


def test_a_file_may_hold_several_documents(tmp_path: Path) -> None:
    """Documents are parted by three dashes."""
    path = tmp_path / "two.yaml"
    path.write_text("a: 1\n---\nb: 2\n")
    assert [node.content for node in read_documents(path)] == [{"a": 1}, {"b": 2}]


def test_files_of_a_folder_are_sorted(tmp_path: Path) -> None:
    """Only .yaml files count, in the order of their names."""
    for name in ("b.yaml", "a.yaml", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in codebook_files(tmp_path)] == ["a.yaml", "b.yaml"]


def test_an_empty_folder_is_missing_data(tmp_path: Path) -> None:
    """A folder without .yaml files, and a file that is not there, say what is expected."""
    with pytest.raises(MissingDataError, match=r"a \.yaml file or a folder of them"):
        codebook_files(tmp_path)
    with pytest.raises(MissingDataError):
        codebook_files(tmp_path / "none.yaml")


def test_nodes_read_what_they_are_asked_for(tmp_path: Path) -> None:
    """Typed reads give the value, or the default where there is one."""
    node = read(
        tmp_path, "t: text\nn: 3\nf: true\nl: [a, b]\nm: {1: x, -2: 3}\nd: [{id: one, k: v}]"
    )
    assert node.text("t") == "text" and node.text("n") == "3" and node.text("x", "y") == "y"
    assert node.number("n") == 3 and node.number("x", 0) == 0
    assert node.flag("f", False) is True and node.flag("x", False) is False
    assert node.texts("l") == ["a", "b"] and node.texts("x") == [] and node.numbers("x") == []
    assert node.by_code("m") == {1: "x", -2: "3"} and node.by_code("x") == {}
    assert [(item.trail, item.text("k")) for item in node.nodes("d", "id")] == [(("one",), "v")]
    assert node.under("x").content == {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda node: node.text("x"), "column a.x: this key is missing"),
        (lambda node: node.text("flag"), "column a.flag: a text is needed"),
        (lambda node: node.number("flag"), "column a.flag: a whole number is needed"),
        (lambda node: node.number("word"), "column a.word: a whole number is needed"),
        (lambda node: node.flag("word", True), "column a.word: true or false is needed"),
        (lambda node: node.texts("word"), "column a.word: a list is needed"),
        (lambda node: node.texts("numbers"), "column a.numbers: a list of texts is needed"),
        (lambda node: node.numbers("words"), "column a.words: a list of whole numbers"),
        (lambda node: node.under("word"), "column a.word: a mapping"),
        (lambda node: node.by_code("map"), "column a.map.k: a code"),
        (lambda node: node.nodes("words", "id"), "column a.words: a mapping"),
        (lambda node: node.only(["words", "numbers"]), "unknown key (did you mean words?)"),
    ],
)
def test_nodes_say_where_and_what(call: object, message: str) -> None:
    """A value of the wrong type is refused with its file, its trail and its key."""
    content = {"word": "w", "flag": True, "words": ["w"], "numbers": [1], "map": {"k": "v"}}
    node = Node(Path("file.yaml"), ("a",), content)
    with pytest.raises(SurveyDataError) as caught:
        call(node)  # type: ignore[operator]
    assert str(caught.value).startswith("file.yaml, column a")
    assert message in str(caught.value)


def test_near_matches_are_offered_only_when_near() -> None:
    """A hint names the nearest word, or says nothing."""
    assert near("topik", ["topic", "scale"]) == " (did you mean topic?)"
    assert near("zzz", ["topic", "scale"]) == ""
