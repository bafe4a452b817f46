"""What is written appears whole, for its owner only, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from valuesim_dspy.private_files import private_draft


def test_it_takes_the_place_of_a_file_that_others_could_read(tmp_path: Path) -> None:
    """Content and mode are the new one's, and no draft is left; one of a killed process goes."""
    path = tmp_path / "kept.json"
    path.write_text("old")
    path.chmod(0o644)
    (tmp_path / ".kept.json.draft").write_text("of a killed process")
    with private_draft(path) as draft:
        assert draft.read_text() == "" and draft.stat().st_mode & 0o777 == 0o600
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    """Half of a file replaces nothing, and does not stay."""
    path = tmp_path / "kept.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), private_draft(path) as draft:
        draft.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Nothing is made on the way."""
    with pytest.raises(FileNotFoundError), private_draft(tmp_path / "none" / "kept.json"):
        pytest.fail("there is no draft")
    assert not list(tmp_path.iterdir())
