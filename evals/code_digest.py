"""The digest of the code: part of the identity of every study."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return 16 hex digits of the source of program, evals and optimize, prompts included."""
    root = Path(__file__).resolve().parent.parent
    whole = hashlib.sha256()
    for package in ("valuesim_dspy", "evals", "optimize"):
        for path in sorted((root / package).rglob("*")):
            if path.suffix in (".py", ".yaml", ".json"):
                whole.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return whole.hexdigest()[:16]
