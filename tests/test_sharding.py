"""Parts of a run share the respondents, and only all of them together are an output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import ARGUMENTS, begun, row

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.journal import Journal
from valuesim_dspy.sharding import (
    Shard,
    journal_path,
    journals_beside,
    merged,
    open_all,
    parse_shard,
)

PARTS = st.integers(1, 40).flatmap(lambda of: st.tuples(st.integers(1, of), st.just(of)))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where an output will be."""
    return tmp_path / "answers.parquet"


def parts(out: Path, of: int, *, done: int = 24, skip: tuple[int, ...] = ()) -> None:
    """Begin the journals of eight people with three questions, rows below `done` kept."""
    for index in range(1, of + 1):
        if index not in skip:
            shard = Shard(index, of)
            begun(journal_path(out, shard), 24, range(done), shard=shard, width=3)


def closed(out: Path) -> list[tuple[int, object]]:
    """Return the rows of all journals of an output."""
    journals = open_all(out)
    try:
        return list(merged(journals))
    finally:
        for journal in journals:
            journal.close()


@given(pair=PARTS)
def test_a_part_is_written_as_it_is_read(pair: tuple[int, int]) -> None:
    """What is said of a part means that part, spaces around it included."""
    assert parse_shard(str(Shard(*pair))) == parse_shard(f" {pair[0]}/{pair[1]} ") == Shard(*pair)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "0/4",
        "5/4",
        "-1/4",
        "1/0",
        "1/4/2",
        "a/b",
        "1.5/3",
        "1 / 4",
        "\u0661/\u0664",
        "1/9999999",
    ],
)
def test_what_is_no_part_is_refused_in_one_line(text: str) -> None:
    """The message shows what was given and how a part is written."""
    with pytest.raises(
        ConfigError, match="give i/n with i from 1 to n, for example 3/16"
    ) as caught:
        parse_shard(text)
    assert repr(text) in str(caught.value) and caught.value.key == "shard"


@given(of=st.integers(1, 40), people=st.integers(0, 200))
def test_each_respondent_is_in_one_part(of: int, people: int) -> None:
    """Parts differ by at most one person, and know how many they take."""
    shards = [Shard(index, of) for index in range(1, of + 1)]
    taken = [[person for person in range(people) if shard.takes(person)] for shard in shards]
    assert sorted(person for part in taken for person in part) == list(range(people))
    assert [len(part) for part in taken] == [shard.size(people) for shard in shards]
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


def test_journals_lie_beside_their_output() -> None:
    """Under its whole name, so that two formats of one name do not meet."""
    out = Path("folder/answers.parquet")
    assert journal_path(out) == Path("folder/answers.parquet.journal")
    assert journal_path(out, Shard(3, 16)) == Path("folder/answers.parquet.3-of-16.journal")
    assert journals_beside(out) == []


def test_journals_that_are_there_are_found(out: Path) -> None:
    """That of the whole run first, parts in their order, nobody else's."""
    parts(out, 12, skip=(3,))
    (out.parent / "answers.parquet2.1-of-2.journal").touch()
    found = [path.name.split(".")[2] for path in journals_beside(out)]
    assert found == [f"{index}-of-12" for index in range(1, 13) if index != 3]
    journal_path(out).touch()
    assert journals_beside(out)[0] == journal_path(out) and len(journals_beside(out)) == 12


@pytest.mark.parametrize("of", [1, 3, 10])
def test_parts_are_merged_into_the_order_of_the_whole(out: Path, of: int) -> None:
    """Row for row what one journal of the whole run holds, also where a part has nobody."""
    whole = out.with_name("whole.parquet")
    parts(out, of)
    begun(journal_path(whole), 24, range(24), width=3)
    assert closed(out) == closed(whole) == [(number, row(number)) for number in range(24)]


def test_what_is_missing_is_counted_by_part(out: Path) -> None:
    """Rows that are not done, of which parts, and in total."""
    parts(out, 4, done=14)
    with pytest.raises(MissingDataError) as caught:
        open_all(out)
    assert "10 of 24 rows are not done: 1/4 (1), 2/4 (3), 3/4 (3), 4/4 (3)" in str(caught.value)
    # All were closed again: the same command can go on.
    begun(journal_path(out, Shard(1, 4)), 24, range(24), shard=Shard(1, 4), width=3)
    with pytest.raises(MissingDataError, match=re.escape("9 of 24 rows are not done: 2/4 (3), 3")):
        open_all(out)


def test_an_unfinished_run_without_parts_is_refused(out: Path) -> None:
    """It is one, however small what is missing."""
    begun(journal_path(out), 24, range(23))
    with pytest.raises(MissingDataError, match=re.escape("1 of 24 rows are not done: the run (1)")):
        open_all(out)


def test_missing_parts_are_named(out: Path) -> None:
    """As many as fit in a line, the others counted."""
    parts(out, 5, skip=(2, 5))
    with pytest.raises(MissingDataError, match=r"2 of 5 parts .* no journal: 2, 5; run them with"):
        open_all(out)
    path = journal_path(out.with_name("more"), Shard(1, 12))
    begun(path, 12, range(12), shard=Shard(1, 12))
    with pytest.raises(MissingDataError, match="2, 3, 4, 5, 6, 7, 8, 9 and 3 more"):
        open_all(out.with_name("more"))


def test_parts_in_which_there_is_nobody_need_no_journal(out: Path) -> None:
    """Eight people in ten parts: the last two have nothing to keep."""
    parts(out, 10, skip=(9, 10))
    assert [number for number, _ in closed(out)] == list(range(24))


def test_without_journals_the_output_is_missing(out: Path) -> None:
    """Also where the folder is not there; another output's journals are not taken."""
    parts(out.with_name("other-answers.parquet"), 2)
    begun(out.with_name("answers.parquet.1-of-2.journal.aside"))
    for path in (out, out.parent / "nowhere" / "answers.parquet"):
        with pytest.raises(MissingDataError, match="there is no journal of"):
            open_all(path)


def test_divisions_are_not_mixed(out: Path) -> None:
    """Parts of two and of four side by side: which ones are right is the user's to say."""
    parts(out, 2)
    parts(out, 4, skip=(1, 3, 4))
    with pytest.raises(ConfigError, match="parts of different divisions, into 2, 4; move aside"):
        open_all(out)


def test_a_whole_run_and_parts_are_not_mixed(out: Path) -> None:
    """Both could be meant."""
    parts(out, 2)
    begun(journal_path(out), 24, range(24), width=3)
    with pytest.raises(ConfigError, match="a journal of the whole run and journals of parts"):
        open_all(out)


def test_parts_of_different_runs_are_refused(out: Path) -> None:
    """What differs is named, with both values."""
    parts(out, 2, skip=(2,))
    path = journal_path(out, Shard(2, 2))
    begun(path, 24, range(24), shard=Shard(2, 2), width=3, seed=7)
    with pytest.raises(ConfigError, match=r"different runs: seed \(kept 7, given 42\)"):
        open_all(out)
    path.unlink()
    begun(path, 27, range(27), shard=Shard(2, 2), width=3)
    with pytest.raises(ConfigError, match=r"different runs: rows \(kept 27, given 24\)"):
        open_all(out)


@pytest.mark.parametrize("name", ["answers.parquet.1-of-2.journal", "answers.parquet.journal"])
def test_a_renamed_part_is_not_taken_for_another(out: Path, name: str) -> None:
    """The journal itself says which part it is: no row comes twice."""
    parts(out, 2)
    journal_path(out, Shard(2, 2)).rename(out.with_name("second"))
    for index in (1, 2):
        journal_path(out, Shard(index, 2)).unlink(missing_ok=True)
    out.with_name("second").rename(out.with_name(name))
    if "1-of-2" in name:
        begun(journal_path(out, Shard(2, 2)), 24, range(24), shard=Shard(2, 2), width=3)
    with pytest.raises(ConfigError, match="holds part 2/2 of a run, not what its name says"):
        open_all(out)


def test_a_part_in_work_is_said(out: Path) -> None:
    """A merge waits until every part has ended."""
    parts(out, 2)
    with (
        Journal.open(journal_path(out, Shard(2, 2)), ARGUMENTS, 24, Shard(2, 2), 3),
        pytest.raises(ConfigError, match=r"2-of-2.journal: another process works on it"),
    ):
        open_all(out)
    assert len(closed(out)) == 24
