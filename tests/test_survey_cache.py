"""The cache of surveys: what it keeps, who can read it, and that it is never trusted."""

from __future__ import annotations

import json
import logging
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.survey import cached_table, respondents, survey_cache
from valuesim_dspy.survey.cache_folder import cache_folder, prepare_folder
from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.survey.people import People, ReadReport
from valuesim_dspy.survey.respondents import Respondents, read_respondent, read_respondents
from valuesim_dspy.survey.survey_cache import cache_path
from valuesim_dspy.survey.synthetic import write_synthetic

BOOK = load_codebook()


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 130 people: with groups of 50, three groups of rows."""
    return write_synthetic(tmp_path_factory.mktemp("survey") / "people.csv", 130, seed=5)


@pytest.fixture(autouse=True)
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Count reads of the survey's own file, and make groups of rows small."""
    seen: list[Path] = []
    read_table = respondents.read_table

    def spy(path: Path, *args: Any, **options: Any) -> Any:
        seen.append(path)
        return read_table(path, *args, **options)

    monkeypatch.setattr(respondents, "read_table", spy)
    for module in (cached_table, survey_cache):
        monkeypatch.setattr(module, "GROUP", 50)
    yield seen


def content(people: Respondents) -> list[Any]:
    """All that is known of people."""
    held = people._people
    arrays = [held.table.narrow, held.table.wide, held.weights, held.s018, held.years, held.rows]
    known = [people.ids, people.alphas, people.stamp, people.report, people.digest, people.path]
    types = [array.dtype for array in (*arrays, held.country)]
    return [*known, dict(held.table.places), types, *(array.tolist() for array in arrays)]


def kept() -> Path:
    """The one file in the cache."""
    (path,) = cache_folder().glob("*.parquet")
    return path


def test_a_second_read_gives_the_same_without_the_file(survey: Path, reads: list[Path]) -> None:
    """What comes from the cache equals what was read, types and report included."""
    first = content(read_respondents(survey))
    assert content(read_respondents(survey)) == first
    assert reads == [survey]
    assert content(read_respondents(survey, cache=False)) == first
    assert len(reads) == 2


def test_every_field_of_people_and_report_is_kept() -> None:
    """A field that is added to either must be added to the cache's layout, too."""
    assert set(People.__dataclass_fields__) == {
        *("codebook", "table", "ids", "rows", "country", "countries", "report", "stamp"),
        *("digest", "path", *cached_table._NUMBERS),
    }
    packed = cached_table._pack({1: {"a": (1, "b")}, "x": None})
    assert cached_table._unpack(json.loads(json.dumps(packed))) == {1: {"a": (1, "b")}, "x": None}


def test_the_file_is_typed_and_holds_no_more_than_needed(survey: Path) -> None:
    """Answers take a byte, countries are categories; no other column of the survey is there."""
    read_respondents(survey)
    file = parquet.ParquetFile(kept())
    kinds = {field.name: str(field.type) for field in file.schema_arrow}
    assert (kinds["Q57"], kinds["Q261"], kinds["person:weights"]) == ("int8", "int32", "double")
    assert kinds["person:country"].startswith("dictionary<values=string")
    assert set(kinds) == {*BOOK.questions, *cached_table._PERSON}
    assert [file.metadata.row_group(at).num_rows for at in range(3)] == [50, 50, 30]
    assert b"pandas" not in kept().read_bytes()


def test_it_is_readable_by_its_owner_only(survey: Path) -> None:
    """The folder has mode 0700 and its files 0600, whatever the umask."""
    before = os.umask(0)
    try:
        read_respondents(survey)
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700
    modes = {stat.S_IMODE(path.stat().st_mode) for path in cache_folder().iterdir()}
    assert modes == {0o600}
    assert not list(cache_folder().glob("*.part"))


def test_another_file_or_codebook_has_a_file_of_its_own(survey: Path, tmp_path: Path) -> None:
    """The key is the file's bytes and the codebook's content, not the path."""
    one = read_respondents(survey)
    (tmp_path / "copy.csv").write_bytes(survey.read_bytes())
    copy = read_respondents(tmp_path / "copy.csv")
    assert len(list(cache_folder().glob("*.parquet"))) == 1
    assert (copy.digest, copy.path) == (one.digest, tmp_path / "copy.csv")
    write_synthetic(tmp_path / "other.csv", 5, seed=1)
    read_respondents(tmp_path / "other.csv")
    other = Codebook(**{**vars_of(BOOK), "version": BOOK.version + 1})
    read_respondents(survey, codebook=other)
    assert len(list(cache_folder().glob("*.parquet"))) == 3


def vars_of(book: Codebook) -> dict[str, Any]:
    """The fields of a codebook."""
    return {name: getattr(book, name) for name in Codebook.__dataclass_fields__}


def test_a_changed_file_is_read_again(survey: Path, tmp_path: Path, reads: list[Path]) -> None:
    """One cell changed, with the same size and the same modification time, is another survey."""
    path = tmp_path / "people.csv"
    path.write_bytes(survey.read_bytes())
    first = read_respondents(path)
    text, times = path.read_text(), path.stat()
    end = text.rindex("\n", 0, -1)
    path.write_text(text[:end] + text[end:].replace(",1,", ",2,", 1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    assert content(read_respondents(path)) != content(first)
    assert len(reads) == 2


def test_parts_of_the_columns_are_not_kept(survey: Path, reads: list[Path]) -> None:
    """A read of some questions neither writes the cache nor takes from it."""
    assert read_respondents(survey, columns=["Q57"]).report.answers > 0
    assert not cache_folder().exists()
    read_respondents(survey)
    assert set(read_respondents(survey, columns=["Q57"])[0].answers) <= {
        "Q57",
        *("Q260", "Q262", "Q275"),
    }
    assert len(reads) == 3


def test_a_file_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    """A malformed survey is not kept, and is refused each time."""
    path = tmp_path / "bad.csv"
    path.write_text("Q1\n1\nno\n")
    for _ in range(2):
        with pytest.raises(SurveyDataError, match="line 3"):
            read_respondents(path)
    assert not list(cache_folder().glob("*.parquet"))


def damage(way: str, path: Path) -> None:
    """Spoil a file of the cache."""
    whole = path.read_bytes()
    table = parquet.read_table(path)
    about = json.loads(table.schema.metadata[b"valuesim"])
    if way == "empty":
        path.write_bytes(b"")
    elif way == "half":
        path.write_bytes(whole[: len(whole) // 2])
    elif way == "foreign":
        parquet.write_table(pa.table({"Q1": [1, 2]}), path)
    elif way == "text":
        path.write_text("not parquet")
    else:
        if way == "cell":
            codes = table.column("Q57").to_numpy().copy()
            codes[77] = 1 if codes[77] != 1 else 2
            at = table.schema.get_field_index("Q57")
            table = table.set_column(at, table.schema.field(at), pa.array(codes))
        elif way == "rows":
            table = table.slice(1)
        elif way == "column":
            table = table.drop_columns(["Q57"])
        elif way == "order":
            table = table.take(np.arange(len(table))[::-1])
        elif way == "type":
            at = table.schema.get_field_index("Q57")
            table = table.set_column(at, "Q57", table.column("Q57").cast(pa.int32()))
        elif way == "report":
            del about["report"]["pairs"][0]
        elif way in about:
            about[way] = "other"
        elif way == "no groups":
            about["groups"] = []
        metadata = {b"valuesim": json.dumps(about).encode()}
        size = 60 if way == "size" else 50
        parquet.write_table(table.replace_schema_metadata(metadata), path, row_group_size=size)


WAYS = ["empty", "half", "foreign", "text", "cell", "rows", "column", "order", "type", "report"]
WAYS += ["format", "program", "file", "codebook", "groups", "no groups", "size"]


@pytest.mark.parametrize("way", WAYS)
def test_a_spoiled_file_is_made_again_with_a_warning(
    survey: Path, way: str, reads: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Half-written, foreign, changed or stale: it is rebuilt from the survey, never believed."""
    first = content(read_respondents(survey))
    damage(way, kept())
    with caplog.at_level(logging.WARNING):
        assert content(read_respondents(survey)) == first
    assert "will be made again" in caplog.text
    assert len(reads) == 2
    assert content(read_respondents(survey)) == first
    assert len(reads) == 2


@pytest.mark.parametrize("way", WAYS)
def test_looking_one_person_up_believes_no_spoiled_file(survey: Path, way: str) -> None:
    """One person, too, comes as the survey has them, whatever happened to the cache."""
    people = read_respondents(survey)
    damage(way, kept())
    person = read_respondent(survey, people.ids[77])
    assert (person.id, person.row) == (people.ids[77], 78)
    assert dict(person.answers) == dict(people[77].answers)


def test_bytes_changed_at_random(survey: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Any changed byte leaves a file that reads as before, or one that is made again."""
    first = content(read_respondents(survey))
    whole, rng = kept().read_bytes(), random.Random(3)
    for _ in range(40):
        spoiled = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            spoiled[rng.randrange(len(spoiled))] = rng.randrange(256)
        kept().write_bytes(spoiled)
        assert content(read_respondents(survey)) == first
    assert caplog.text.count("will be made again") > 20


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files here")
def test_a_file_that_others_can_write_is_not_used(survey: Path, reads: list[Path]) -> None:
    """If its mode lets others write it, it is made again."""
    read_respondents(survey)
    kept().chmod(0o666)
    read_respondents(survey)
    assert len(reads) == 2
    assert stat.S_IMODE(kept().stat().st_mode) == 0o600


def test_a_cache_that_cannot_be_written_is_no_error(
    survey: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full or read-only disk costs time, not the read."""
    cache_folder().parent.mkdir(parents=True)
    cache_folder().write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert len(read_respondents(survey)) == 130
    assert "cannot be kept" in caplog.text


def test_a_write_that_breaks_off_leaves_no_file(
    survey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file appears whole or not at all; what a killed process left is cleared away."""

    def broken(path: Path, people: People) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(survey_cache, "_write", broken)
    with pytest.raises(KeyboardInterrupt):
        read_respondents(survey)
    assert not list(cache_folder().glob("*.parquet*"))
    (cache_folder() / "old.part").write_text("left")
    os.utime(cache_folder() / "old.part", (0, 0))
    (cache_folder() / "new.part").write_text("still written")
    prepare_folder(cache_folder())
    assert {path.name for path in cache_folder().glob("*.part")} == {"new.part"}


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read may not be what the digest says: it is used, not kept."""
    path = tmp_path / "people.csv"
    path.write_bytes(survey.read_bytes())
    read_table = respondents.read_table

    def slow(*args: Any, **options: Any) -> Any:
        raw = read_table(*args, **options)
        path.write_bytes(survey.read_bytes() + b"\n")
        return raw

    monkeypatch.setattr(respondents, "read_table", slow)
    assert len(read_respondents(path)) == 130
    assert not list(cache_folder().glob("*.parquet"))


@pytest.mark.parametrize("at", [0, 49, 50, 129])
def test_one_person_is_read_alone(survey: Path, at: int, reads: list[Path]) -> None:
    """A person of any group is as in the whole, with the whole file's report and digest."""
    people = read_respondents(survey)
    before = len(reads)
    person, same = read_respondent(survey, people.ids[at]), people[at]
    assert len(reads) == before
    assert dict(person.answers) == dict(same.answers)
    assert [person.missing(q.id) for q in BOOK] == [same.missing(q.id) for q in BOOK]
    for name in ("id", "row", "country", "age", "sex", "education", "weight", "year"):
        assert getattr(person, name) == getattr(same, name)
    assert person._people.report == people.report
    assert person.key(people.digest) == same.key(people.digest)


def test_one_person_without_a_cache(survey: Path, reads: list[Path]) -> None:
    """Where the cache does not hold the file it is read, and then held."""
    id = read_respondents(survey, cache=False).ids[3]
    assert read_respondent(survey, id).row == 4
    assert read_respondent(survey, id).row == 4
    assert len(reads) == 2


@pytest.mark.parametrize("id", ["nobody", "", "84007000"])
def test_nobody_of_that_id(survey: Path, id: str) -> None:
    """An id that nobody has, or a part of one, is an error that does not list the others'."""
    read_respondents(survey)
    with pytest.raises(MissingDataError, match="nobody among 130 respondents"):
        read_respondent(survey, id)
    with pytest.raises(MissingDataError, match="no such file"):
        read_respondent(survey.with_name("absent.csv"), id)


def test_the_first_of_two_people_with_one_id(tmp_path: Path) -> None:
    """Where an id is there twice, the first row is meant, as by `by_id`."""
    path = tmp_path / "s.csv"
    path.write_text("D_INTERVIEW,Q1\n11,1\n1,2\n1,3\n")
    assert read_respondents(path).by_id("1").row == 2
    assert read_respondent(path, "1").row == 2
    assert isinstance(read_respondents(path).report, ReadReport)


def test_the_path_of_the_cache(survey: Path) -> None:
    """The file's name holds both digests and nothing of the survey's path."""
    people = read_respondents(survey)
    assert kept() == cache_path(people.digest, BOOK)
    assert kept().name == f"{people.digest[:32]}-{BOOK.digest}.parquet"
