"""When a file's digest is remembered, and when its bytes are read again."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey import digests
from valuesim_dspy.survey.cache_folder import cache_folder
from valuesim_dspy.survey.digests import (
    MEMORY,
    digest_of,
    known_digest,
    remember,
    remembered_digest,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="nothing is remembered there")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose bytes were read; every file counts as written long ago."""
    seen: list[Path] = []
    whole = digests.digest_of

    def spy(path: Path) -> str:
        seen.append(path)
        return whole(path)

    monkeypatch.setattr(digests, "digest_of", spy)
    monkeypatch.setattr(digests, "_SETTLED", -1.0)
    return seen


def file(folder: Path, content: bytes = b"Q1\n1\n", name: str = "s.csv") -> Path:
    """A file of this content."""
    path = folder / name
    path.write_bytes(content)
    return path


def later(path: Path) -> None:
    """Wait until what changes now has another change time: many systems count in milliseconds."""
    probe = path.with_name("probe")
    while True:
        probe.write_bytes(b"")
        if probe.stat().st_ctime_ns > path.stat().st_ctime_ns:
            return


def test_a_file_as_it_was_is_not_read_again(tmp_path: Path, read: list[Path]) -> None:
    """The second time, the digest is remembered."""
    path = file(tmp_path)
    assert known_digest(path) == hashlib.sha256(b"Q1\n1\n").hexdigest()
    assert known_digest(path) == hashlib.sha256(b"Q1\n1\n").hexdigest()
    assert read == [path]
    assert remembered_digest(path) == known_digest(path)
    assert remembered_digest(file(tmp_path, name="other.csv")) is None


def test_a_file_of_the_same_size_and_times_is_read(tmp_path: Path, read: list[Path]) -> None:
    """A file whose modification time was set back gives itself away by its change time."""
    path = file(tmp_path)
    before, times = known_digest(path), path.stat()
    later(path)
    file(tmp_path, b"Q1\n2\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    assert known_digest(path) != before
    assert len(read) == 2


def test_another_file_put_in_its_place_is_read(tmp_path: Path, read: list[Path]) -> None:
    """A rename over the path is another file, whatever its times."""
    path = file(tmp_path)
    before = known_digest(path)
    file(tmp_path, b"Q1\n2\n", "other.csv").replace(path)
    assert known_digest(path) != before


def test_a_file_just_written_is_not_remembered(tmp_path: Path) -> None:
    """Within a few seconds of a change another could look the same: the bytes are read."""
    path = file(tmp_path)
    known_digest(path)
    assert not (cache_folder() / MEMORY).exists()
    long_ago = 1_000_000_000
    os.utime(path, (long_ago, long_ago))  # its change time is still that of this moment
    known_digest(path)
    assert not (cache_folder() / MEMORY).exists()


@pytest.mark.parametrize("content", ["", "not json", "[]", '{"x": 1}', "\0"])
def test_a_damaged_memory_is_forgotten(tmp_path: Path, read: list[Path], content: str) -> None:
    """Whatever stands in its file, the digest is right."""
    path = file(tmp_path)
    right = known_digest(path)
    (cache_folder() / MEMORY).write_text(content)
    assert known_digest(path) == right
    assert len(read) == 2


def test_an_entry_of_another_form_is_not_believed(tmp_path: Path, read: list[Path]) -> None:
    """An entry that lacks its times is as good as none."""
    path = file(tmp_path)
    right = known_digest(path)
    memory = json.loads((cache_folder() / MEMORY).read_text())
    (name,) = memory
    for entry in ("a" * 64, [["x"], "a" * 64], [], None):
        (cache_folder() / MEMORY).write_text(json.dumps({name: entry}))
        assert known_digest(path) == right


def test_the_memory_is_private_and_names_no_file(tmp_path: Path, read: list[Path]) -> None:
    """Only its owner reads it, and paths are not in it."""
    known_digest(file(tmp_path))
    memory = cache_folder() / MEMORY
    assert stat.S_IMODE(memory.stat().st_mode) == 0o600
    assert "s.csv" not in memory.read_text()


def test_the_memory_stays_small(
    tmp_path: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest entries are dropped, the newest kept."""
    monkeypatch.setattr(digests, "_MOST", 3)
    paths = [file(tmp_path, name=f"{at}.csv") for at in range(5)]
    for path in paths:
        remember(path, digest_of(path))
    assert len(json.loads((cache_folder() / MEMORY).read_text())) == 3
    known_digest(paths[-1])
    assert read == []
    known_digest(paths[0])
    assert read == [paths[0]]


def test_a_memory_that_cannot_be_written_costs_time_only(tmp_path: Path, read: list[Path]) -> None:
    """Where the folder cannot be made, the bytes are read each time."""
    cache_folder().parent.mkdir(parents=True)
    cache_folder().write_text("in the way")
    path = file(tmp_path)
    assert known_digest(path) == known_digest(path)
    assert len(read) == 2


def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system does not let us read is an error of ours."""

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(digests, "sha256_of", refuse)
    with pytest.raises(SurveyDataError, match="cannot be opened: Permission denied"):
        digest_of(file(tmp_path))
