from __future__ import annotations

import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from valuesim_dspy.cache_file import APPLICATION_ID, CacheFile
from valuesim_dspy.errors import ConfigError

INSERT = "INSERT OR REPLACE INTO responses VALUES (?, ?, 0)"
SELECT = "SELECT value FROM responses WHERE key = ?"

posix = pytest.mark.skipif(os.name != "posix", reason="modes and owners are POSIX matters")


def mode(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


@posix
def test_folder_and_files_are_private_under_a_lax_umask(tmp_path: Path) -> None:
    """Only the owner can enter the folder or read the file and its companions."""
    before = os.umask(0o022)
    try:
        file = CacheFile(tmp_path / "deep" / "responses" / "r.db")
        file.run(INSERT, ("k", "v"))
    finally:
        os.umask(before)
    folder = tmp_path / "deep" / "responses"
    assert mode(folder) == 0o700
    names = sorted(entry.name for entry in folder.iterdir())
    assert names == ["r.db", "r.db-shm", "r.db-wal"]
    assert {mode(entry) for entry in folder.iterdir()} == {0o600}


@posix
def test_an_open_file_and_an_empty_folder_are_closed_to_others(tmp_path: Path) -> None:
    """What was made readable for others before is closed when the cache opens it."""
    folder = tmp_path / "responses"
    folder.mkdir(mode=0o755)
    CacheFile(folder / "r.db").close()
    folder.chmod(0o755)
    (folder / "r.db").chmod(0o644)
    CacheFile(folder / "r.db").close()
    assert (mode(folder), mode(folder / "r.db")) == (0o700, 0o600)


@posix
def test_a_folder_with_other_things_keeps_its_mode(tmp_path: Path) -> None:
    """A folder that is not the cache's alone is not closed to others; the file is."""
    tmp_path.chmod(0o755)
    (tmp_path / "notes.txt").write_text("mine")
    CacheFile(tmp_path / "r.db").close()
    assert (mode(tmp_path), mode(tmp_path / "r.db")) == (0o755, 0o600)


def test_rows_are_there_for_the_next_opening(tmp_path: Path) -> None:
    """What one opening wrote, another one reads, and nothing is moved aside."""
    CacheFile(tmp_path / "r.db").run(INSERT, ("k", "v"))
    assert CacheFile(tmp_path / "r.db").run(SELECT, ("k",)) == [("v",)]
    assert not list(tmp_path.glob("*.aside-*"))


def test_without_a_path_everything_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No path, no file; and two tables in memory know nothing of each other."""
    monkeypatch.chdir(tmp_path)
    file = CacheFile(None)
    file.run(INSERT, ("k", "v"))
    assert file.run(SELECT, ("k",)) == [("v",)]
    assert CacheFile(None).run(SELECT, ("k",)) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"\x80\x04\x95 a pickle", b"SQLite format 3\x00 broken" * 50])
def test_a_foreign_file_is_moved_aside_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """A file that is no database is kept under another name and never read as responses."""
    path = tmp_path / "r.db"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        file = CacheFile(path)
    assert file.run(SELECT, ("k",)) == []
    assert (tmp_path / "r.db.aside-1").read_bytes() == content
    assert "moved to r.db.aside-1" in caplog.text


def test_another_programs_database_is_moved_aside(tmp_path: Path) -> None:
    """A sound database without our mark is not trusted, even with a table of our name."""
    path = tmp_path / "r.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE responses (key TEXT PRIMARY KEY, value TEXT, created REAL)")
        db.execute("INSERT INTO responses VALUES ('k', 'planted', 0)")
    db.close()
    assert CacheFile(path).run(SELECT, ("k",)) == []
    assert (tmp_path / "r.db.aside-1").exists()


def test_a_marked_database_of_another_shape_is_moved_aside(tmp_path: Path) -> None:
    """Our mark on a table of other columns means another version: it is not used."""
    path = tmp_path / "r.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE responses (key TEXT, pickle BLOB)")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.close()
    CacheFile(path).run(INSERT, ("k", "v"))
    assert (tmp_path / "r.db.aside-1").exists()


def test_names_aside_are_not_overwritten(tmp_path: Path) -> None:
    """A second foreign file gets a name of its own."""
    for _ in range(2):
        (tmp_path / "r.db").write_bytes(b"not a database at all")
        CacheFile(tmp_path / "r.db").close()
    assert {p.name for p in tmp_path.glob("*.aside-?")} == {"r.db.aside-1", "r.db.aside-2"}


@posix
def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A link in place of the file is moved aside and what it points to stays as it was."""
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    target.chmod(0o644)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "r.db").symlink_to(target)
    CacheFile(tmp_path / "c" / "r.db").run(INSERT, ("k", "v"))
    assert target.read_bytes() == b"precious"
    assert mode(target) == 0o644
    assert (tmp_path / "c" / "r.db.aside-1").is_symlink()


@posix
def test_a_file_of_another_user_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file planted by another user is moved aside before anything is read from it."""
    CacheFile(tmp_path / "r.db").run(INSERT, ("k", "planted"))
    mine = os.getuid()
    owners = iter([mine + 1])
    monkeypatch.setattr(os, "getuid", lambda: next(owners, mine))
    assert CacheFile(tmp_path / "r.db").run(SELECT, ("k",)) == []
    assert (tmp_path / "r.db.aside-1").exists()


def test_damage_found_in_use_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that turns out damaged gives no rows, is moved aside, and writing goes on."""
    path = tmp_path / "r.db"
    first = CacheFile(path)
    for number in range(400):
        first.run(INSERT, (f"key {number:04}", "v" * 200))
    first.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    file = CacheFile(path)
    with caplog.at_level(logging.WARNING):
        assert file.run(SELECT, ("key 0001",)) == []
    assert (tmp_path / "r.db.aside-1").exists()
    assert "starting anew" in caplog.text
    file.run(INSERT, ("k", "v"))
    assert file.run(SELECT, ("k",)) == [("v",)]


def test_a_file_that_cannot_be_written_now_does_not_stop_a_job(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When writing fails, a warning is given and the statement has no rows; nothing is raised."""
    file = CacheFile(tmp_path / "r.db")
    file.run("PRAGMA query_only = ON")
    with caplog.at_level(logging.WARNING):
        assert file.run(INSERT, ("k", "v")) == []
    assert "cannot be used now" in caplog.text
    assert file.run(SELECT, ("k",)) == []
    assert not list(tmp_path.glob("*.aside-*"))


def test_a_place_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    """A file where a folder should be is told in one line, with what to do."""
    (tmp_path / "blocked").write_text("a file")
    with pytest.raises(ConfigError, match="XDG_CACHE_HOME"):
        CacheFile(tmp_path / "blocked" / "r.db")


def test_many_threads_share_one_file(tmp_path: Path) -> None:
    """Threads that write and read at once lose nothing."""
    file = CacheFile(tmp_path / "r.db")

    def write(thread: int) -> None:
        for number in range(50):
            file.run(INSERT, (f"{thread}-{number}", "v"))
            assert file.run(SELECT, (f"{thread}-{number}",)) == [("v",)]

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.run("SELECT count(*) FROM responses") == [(400,)]


WRITER = """
import os, sys
from pathlib import Path
from valuesim_dspy.cache_file import CacheFile
file = CacheFile(Path(sys.argv[1]))
for number in range(20):
    file.run("INSERT OR REPLACE INTO responses VALUES (?, 'v', 0)", (f"{sys.argv[2]}-{number}",))
print("written", flush=True)
if sys.argv[3] == "die":
    os._exit(9)
"""


def start_writer(path: Path, name: str, end: str) -> subprocess.Popen[str]:
    """Start a process that writes 20 rows, and then ends as told."""
    root = str(Path(__file__).resolve().parent.parent)
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, end],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_was_written_outlives_a_killed_process(tmp_path: Path) -> None:
    """A process that dies without closing anything leaves every committed row."""
    path = tmp_path / "r.db"
    dead = start_writer(path, "a", "die")
    assert "written" in dead.communicate()[0]
    assert dead.returncode == 9
    file = CacheFile(path)
    assert file.run("SELECT count(*) FROM responses") == [(20,)]
    assert not list(tmp_path.glob("*.aside-*"))


def test_processes_may_begin_the_same_file_at_once(tmp_path: Path) -> None:
    """Four processes that make one file together all keep what they wrote."""
    path = tmp_path / "new" / "r.db"
    writers = [start_writer(path, str(number), "live") for number in range(4)]
    errors = [writer.communicate()[1] for writer in writers]
    assert errors == [""] * 4
    assert CacheFile(path).run("SELECT count(*) FROM responses") == [(80,)]


@posix
def test_a_forked_process_opens_the_file_itself(tmp_path: Path) -> None:
    """After a fork the child uses a connection of its own and both see all rows."""
    file = CacheFile(tmp_path / "r.db")
    file.run(INSERT, ("parent", "v"))
    child = os.fork()
    if child == 0:
        file.run(INSERT, ("child", "v"))
        os._exit(0 if file.run(SELECT, ("parent",)) == [("v",)] else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert file.run(SELECT, ("child",)) == [("v",)]
