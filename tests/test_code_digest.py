"""The digest of the code: what counts, and that it is read once."""

import re
from pathlib import Path

import pytest

import evals.code_digest
from evals.code_digest import code_digest


def test_the_code_digest_covers_sources_and_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Source, codebooks and packaged programs of the three packages count; nothing else does."""
    for package in ("valuesim_dspy", "evals", "optimize"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(evals.code_digest, "__file__", str(tmp_path / "evals" / "any.py"))

    def now() -> str:
        return str(code_digest.__wrapped__())

    digests = [now()]
    for name in ("optimize/a.py", "valuesim_dspy/book.yaml", "valuesim_dspy/program.json"):
        (tmp_path / name).write_text("changed\n")
        digests.append(now())
    assert len(set(digests)) == 4
    (tmp_path / "evals" / "notes.md").write_text("no code\n")
    (tmp_path / "README.md").write_text("no code\n")
    assert now() == digests[-1]


def test_the_code_digest_is_read_once_in_a_process() -> None:
    """A source edited while a job runs does not split its results."""
    assert re.fullmatch("[0-9a-f]{16}", code_digest())
    assert code_digest() is code_digest()
