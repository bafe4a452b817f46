"""A journal's file is its owner's alone, held by one process, and never taken for another file."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rows import ARGUMENTS, begun, changed, refused, row

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.journal import Journal
from valuesim_dspy.journal_file import APPLICATION_ID, SCHEMA

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal may be."""
    return tmp_path / "answers.parquet.journal"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_only_its_owner_can_read_it(path: Path) -> None:
    """Neither the file, nor its log, nor a folder made for it, whatever the umask."""
    path = path.parent / "new" / "journal"
    old = os.umask(0)
    try:
        with Journal.open(path, ARGUMENTS, 20) as journal:
            journal.add(1, row(1))
            files = sorted(path.parent.iterdir())
            assert [file.name for file in files] == ["journal", "journal-wal"]
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(old)
    path.chmod(0o644)
    Journal(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_closing_leaves_one_file(path: Path) -> None:
    """The log is written back, so that the file alone can be moved to another machine."""
    begun(path, 20, range(9))
    assert list(path.parent.iterdir()) == [path]


def test_a_second_one_is_refused_at_once(path: Path) -> None:
    """In the same process, reading or taking up, until the first is closed."""
    with Journal.open(path, ARGUMENTS, 20) as journal:
        for act in (lambda: Journal(path), lambda: Journal.open(path, ARGUMENTS, 20)):
            with pytest.raises(ConfigError, match="another process works on it"):
                act()
        journal.add(1, row(1))
    with Journal.open(path, ARGUMENTS, 20) as journal:
        assert journal.count == 1


LOOKING = """
import sqlite3, sys
try:
    print(sqlite3.connect(sys.argv[1], timeout=0).execute("SELECT * FROM meta").fetchall())
except sqlite3.OperationalError as error:
    print(error)
"""


def test_the_lock_holds_between_processes(path: Path) -> None:
    """The system's lock, which SQLite in any other process sees, also after one was refused."""
    with Journal.open(path, ARGUMENTS, 20):
        with pytest.raises(ConfigError):
            Journal(path)
        command = [sys.executable, "-c", LOOKING, str(path)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told == "database is locked\n"


def _other_database(path: Path) -> None:
    changed(path, "CREATE TABLE notes (text TEXT)", "PRAGMA journal_mode = DELETE")


def _other_mark(path: Path) -> None:
    changed(path, "PRAGMA application_id = 7")


def _trigger(path: Path) -> None:
    begun(path)
    changed(path, "CREATE TRIGGER t AFTER INSERT ON rows BEGIN DELETE FROM rows; END")


def _view(path: Path) -> None:
    mark = f"PRAGMA application_id = {APPLICATION_ID}"
    changed(path, mark, SCHEMA[0], "CREATE VIEW rows AS SELECT 1 AS number, 'answered' AS status")


@pytest.mark.parametrize("make", [_other_database, _other_mark, _trigger, _view])
def test_what_is_no_journal_is_left_as_it_is(path: Path, make: Callable[[Path], None]) -> None:
    """Other databases, and tables with something in them that would act by itself."""
    make(path)
    refused(path, "is left as it is: it is not a journal of finished rows; write to another file")


def test_another_programs_log_is_not_written_back(path: Path) -> None:
    """A database whose program was killed is that program's to mend."""
    other = path.with_name("other")
    with closing(sqlite3.connect(other, isolation_level=None)) as db:
        for statement in (
            "PRAGMA journal_mode = WAL", "CREATE TABLE notes (text TEXT)",
            "PRAGMA wal_checkpoint", "INSERT INTO notes VALUES ('kept')",
        ):  # fmt: skip
            db.execute(statement)
        for end in ("", "-wal"):
            path.with_name(path.name + end).write_bytes(Path(f"{other}{end}").read_bytes())
    log = path.with_name(f"{path.name}-wal")
    before = log.read_bytes()
    refused(path, "it is not a journal of finished rows")
    assert before and log.read_bytes() == before


@pytest.mark.parametrize("name", ["answers.parquet.journal", "answers.parquet.journal-wal"])
def test_links_are_not_followed(path: Path, name: str) -> None:
    """Neither as the journal nor as its log, whoever laid them there."""
    if name != path.name:
        begun(path)
    target = path.parent / "target"
    target.write_text("precious")
    (path.parent / name).symlink_to(target)
    with pytest.raises(ConfigError, match=f"{name} is not a regular file"):
        Journal.open(path, ARGUMENTS, 20)
    assert target.read_text() == "precious"


def test_a_folder_is_not_a_journal(path: Path) -> None:
    """Nor anything else that is not a plain file."""
    path.mkdir()
    refused(path, "is not a regular file")


@pytest.mark.skipif(os.name != "posix", reason="users are POSIX's")
def test_another_users_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody else laid there is not believed."""
    begun(path)
    user = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: user)
    refused(path, "belongs to another user")


def test_a_folder_that_cannot_be_made_is_said(path: Path) -> None:
    """A file stands where a folder should be."""
    path.write_text("x")
    with pytest.raises(ConfigError, match=r"it cannot be used .* check that it can be written"):
        Journal.open(path / "inside", ARGUMENTS, 20)


@pytest.mark.parametrize("size", [0, 4096])
def test_a_file_that_was_begun_and_holds_nothing_is_taken(path: Path, size: int) -> None:
    """Its process was killed before the first row could be kept: nothing is lost."""
    path.touch()
    if size:
        changed(path, "PRAGMA journal_mode = WAL")
        assert path.stat().st_size == size
    with Journal.open(path, ARGUMENTS, 20) as journal:
        assert journal.count == 0


FILLING = """
import resource, signal, sys
from rows import ARGUMENTS, row
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.journal import Journal
journal = Journal.open(sys.argv[1], ARGUMENTS, 10**6)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
try:
    for number in range(journal.count, 10**6):
        journal.add(number, row(number))
except ConfigError as error:
    journal.close()
    print(journal.count, error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the limit is POSIX's")
def test_when_the_system_gives_no_more_room_what_was_kept_is_safe(path: Path) -> None:
    """Writing fails in the middle of a row; one line says so, and later the rows are there."""
    command = [sys.executable, "-c", FILLING, str(path)]
    place = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=place)
    kept, _, line = done.stdout.partition(" ")
    assert done.stderr == "" and line.count("\n") == 1
    assert "no more answers can be kept" in line and "make room on the disk" in line
    with Journal.open(path, ARGUMENTS, 10**6) as journal:
        assert journal.count == int(kept) > 10
        assert list(journal.outcomes()) == [(number, row(number)) for number in range(int(kept))]
        journal.add(int(kept), row(1))


PEOPLE = {"people": "3 abc", "sample": None, "peers": ""}


def test_a_journal_of_another_seed_is_taken_up_where_nothing_was_drawn(tmp_path: Path) -> None:
    """Earlier versions kept it all the same; parts of either version are parts of one run."""
    path = begun(tmp_path / "j", numbers=range(3), **PEOPLE, seed=7)
    without = {name: value for name, value in ARGUMENTS.items() if name != "seed"} | PEOPLE
    for given in (without, without | {"seed": 8}):
        with Journal.open(path, given, 20) as journal:
            assert journal.count == 3 and journal.differences(given, 20, 1) == []


@pytest.mark.parametrize("drawn", [{"sample": 3}, {"peers": "abc"}])
def test_a_journal_of_another_draw_is_refused(tmp_path: Path, drawn: dict[str, Any]) -> None:
    """The seed decided who was asked, or who is similar."""
    path = begun(tmp_path / "j", numbers=range(3), **(PEOPLE | drawn), seed=7)
    with pytest.raises(ConfigError, match=r"seed \(kept 7, given 8\)"):
        Journal.open(path, ARGUMENTS | PEOPLE | drawn | {"seed": 8}, 20)
