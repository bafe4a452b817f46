"""A damaged journal, or one that nobody could have written, is refused in one line and kept."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from rows import ARGUMENTS, begun, changed, refused, row

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.journal import Journal
from valuesim_dspy.journal_file import checksum


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal may be."""
    return tmp_path / "answers.parquet.journal"


@pytest.mark.parametrize("cut", [100, 4096, 5000, 9000])
def test_a_cut_file_is_damaged(path: Path, cut: int) -> None:
    """Part of a journal is no journal; it is not begun anew."""
    begun(path, 1000, range(200))
    path.write_bytes(path.read_bytes()[:cut])
    refused(path, "it is damaged .* move it aside")


def test_text_is_damaged(path: Path) -> None:
    """A file of another kind is not overwritten."""
    path.write_text("respondent,answer\n" * 500)
    refused(path, r"it is damaged \(file is not a database\)")


def test_flipped_bytes_never_change_an_answer(path: Path) -> None:
    """Whatever is flipped is refused in one line, or costs rows; none that comes back is wrong."""
    begun(path, 400, range(400))
    whole, rng, wrong = path.read_bytes(), random.Random(6), 0
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(rng.choice((1, 40))):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        try:
            with Journal.open(path, ARGUMENTS, 400) as journal:
                assert all(outcome == row(number) for number, outcome in journal.outcomes())
        except ConfigError as error:
            wrong += 1
            assert "\n" not in str(error)
    assert wrong > 100


META = {
    "format": 1, "fields": ["respondent"], "arguments": ARGUMENTS, "total": 20, "width": 1,
    "shard": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (json.dumps(META | {"format": 2}), "another version of this program wrote it"),
        (json.dumps(META | {"fields": ["mood"]}), "another version of this program wrote it"),
        (json.dumps(META | {"shard": [0, 0]}), "what it says of itself cannot be read"),
        (json.dumps(META | {"total": 10**15}), "what it says of itself cannot be read"),
        (json.dumps(META | {"width": 7}), "what it says of itself cannot be read"),
        (json.dumps(META | {"extra": 1}), "what it says of itself cannot be read"),
        ("[" * 100_000, "what it says of itself cannot be read"),
        ("{}", "what it says of itself cannot be read"),
        (None, "what it says of itself cannot be read"),
        (b"\xff", "what it says of itself cannot be read"),
    ],
)
def test_what_it_says_of_itself_is_checked(path: Path, text: Any, match: str) -> None:
    """Newer formats and nonsense are refused; nothing is made as large as a file says."""
    begun(path)
    changed(path, "UPDATE meta SET value = ?", values=(text,))
    refused(path, match)


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("INSERT INTO meta VALUES ('{}')", "what it says of itself"),
        ("INSERT INTO rows VALUES (20, 'answered', '', '', 0)", "it cannot have a row 20"),
        ("INSERT INTO rows VALUES (-1, 'answered', '', '', 0)", "it cannot have a row -1"),
        ("INSERT INTO rows VALUES (5, 'lost', '', '', 0)", "it cannot have a row 5"),
        ("INSERT INTO rows VALUES (5, x'ff', '', '', 0)", "it cannot have a row 5"),
        ("INSERT INTO rows VALUES (5, CAST(x'ff' AS TEXT), '', '', 0)", "it is damaged"),
    ],
)
def test_rows_that_cannot_be_are_damage(path: Path, statement: str, match: str) -> None:
    """They are not counted as done."""
    begun(path)
    changed(path, statement)
    refused(path, match)


@pytest.mark.parametrize(
    "change",
    [
        "kept = replace(kept, ',2,', ',3,')",
        "status = 'failed'",
        "reason = '[['",
        "kept = NULL",
        "digest = digest + 1",
    ],
)
def test_a_row_that_was_changed_is_found_before_anything_is_asked(path: Path, change: str) -> None:
    """In its answer, its status, its reason or its checksum: when the journal is opened."""
    begun(path, 20, range(3))
    changed(path, f"UPDATE rows SET {change} WHERE number = 2")
    refused(path, r"damaged \(row 2 is not as it was written")


def test_a_row_that_is_changed_while_it_is_open_is_found_when_it_is_read(path: Path) -> None:
    """Nothing that is not as it was written is written out."""
    begun(path, 20, range(3))
    with Journal(path) as journal:
        journal._db.execute("UPDATE rows SET reason = '[[', status = 'failed' WHERE number = 1")
        with pytest.raises(ConfigError, match=r"damaged \(row 1 is not as it was written"):
            list(journal.outcomes())
        with pytest.raises(ConfigError, match="a reason cannot be read"):
            journal.reasons()


def test_rows_of_an_older_version_lack_what_is_newer(path: Path) -> None:
    """Fields that were added since have their default."""
    begun(path)
    fields = list(META["fields"]) + ["question", "truth", "answer"]  # type: ignore[call-overload]
    changed(path, "UPDATE meta SET value = ?", values=(json.dumps(META | {"fields": fields}),))
    with Journal(path) as journal:
        kept = ("answered", '""', '["a","Q1",2,3]')
        found = journal._read(1, *kept, checksum(1, *kept))
    assert (found.respondent, found.answer, found.calls) == ("a", 3, 0)
