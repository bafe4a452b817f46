"""A program as a registry loads it, the tables it is given, and what its task LM is asked.

    from registering import loaded_model, recorded_prompts  # noqa: F401

makes the fixtures `model` and `prompts`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from champions import program
from compiling import Recording
from people import scripted_lm

from valuesim_dspy import registered
from valuesim_dspy.registered import RegisteredProgram, _load_pyfunc
from valuesim_dspy.survey.codebook import load_codebook

CODEBOOK = load_codebook()
ROW: dict[str, Any] = {"question": "Q69", "Q1": 1, "Q57": 2, "Q58": 1, "Q64": 4, "Q69": 2}


@pytest.fixture(name="model")
def loaded_model(tmp_path: Path) -> RegisteredProgram:
    """A program as MLflow loads it."""
    return _load_pyfunc(str(program(tmp_path / "program")))


@pytest.fixture(name="prompts")
def recorded_prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the task LM is asked."""
    engine = Recording()
    monkeypatch.setattr(registered, "make_lm", lambda role, name: scripted_lm(engine))
    return engine.prompts


def table(*rows: dict[str, Any], **everywhere: Any) -> pd.DataFrame:
    """Return a table of rows that differ from `ROW` as given."""
    return pd.DataFrame([{**ROW, "B_COUNTRY_ALPHA": "JPN", **everywhere, **row} for row in rows])


def fact(question: str, code: int) -> str:
    """Return the sentence that tells an answer."""
    return CODEBOOK[question].fact_text(code, "JPN")
