"""ValueSim: a DSPy program that answers one survey question as one respondent.

The names in `EXPORTS` can be imported from here; each is loaded when it is first asked for, so
that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

EXPORTS = {
    "Case": "valuesim_dspy.case",
    "Question": "valuesim_dspy.survey.codebook",
    "ValueSim": "valuesim_dspy.program",
    "load_program": "valuesim_dspy.loading",
    "make_lm": "valuesim_dspy.lm",
    "own_profile": "valuesim_dspy.own",
    "read_respondents": "valuesim_dspy.survey.respondents",
    "save_program": "valuesim_dspy.loading",
}
"""Public name to the module that defines it."""

__all__ = ["EXPORTS", "__version__", *EXPORTS]


def __getattr__(name: str) -> Any:
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(EXPORTS[name]), name)
