"""Draft a codebook from the labels of an SPSS or Stata file; every guess is marked in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from valuesim_dspy.errors import ConfigError, MissingDataError, SurveyDataError
from valuesim_dspy.survey.codebook import Codebook, load_codebook, packaged_codebooks
from valuesim_dspy.survey.columns import TRAITS
from valuesim_dspy.survey.guess_batteries import (
    BatteryGuess,
    Item,
    guess_batteries,
    is_private,
    kind_of,
    slug,
)
from valuesim_dspy.survey.guess_columns import ColumnGuess, guess_columns
from valuesim_dspy.survey.guess_missing import guess_missing
from valuesim_dspy.survey.guess_scales import ScaleGuess, guess_scale, lowered
from valuesim_dspy.survey.labelled_files import LabelledFile, read_variables

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STATA = "{-1: dont-know, -2: no-answer, -3: not-applicable, -4: not-asked, -5: missing}"
_WIDTH = 110


def draft_codebook(source: str | Path, out: str | Path, *, id: str | None = None) -> list[str]:
    """Write a codebook for a labelled file.

    Args:
        source: A .sav, .zsav or .dta file.
        out: The YAML file to write; never replaced.
        id: The codebook's name; by default that of `out`.

    Returns:
        What was drafted, in lines to print: counts, and what wants an eye.

    Raises:
        ConfigError: `out` exists or cannot be written, or the id is taken.
        MissingDataError: There is no such file, or pyreadstat is not installed.
        SurveyDataError: The file cannot be read, or no variable in it can be a question.
    """
    source, out = Path(source), Path(out)
    name = id or slug(out.stem)
    if out.exists():
        message = "is there already: move it away, or give another name"
        raise ConfigError(message, key="--out", value=out)
    if out.suffix != ".yaml":
        raise ConfigError("must end in .yaml", key="--out", value=out)
    if not name or name in packaged_codebooks():
        raise ConfigError("give the codebook a name of its own", key="--id", value=name)
    file = read_variables(source)
    places = load_codebook_places()
    columns = guess_columns(file, places)
    items, skipped = _items(file, columns)
    if not items:
        raise SurveyDataError("no variable in it can be a question", path=source)
    text = "\n".join(_lines(file, name, columns, guess_batteries(items), skipped)) + "\n"
    codebook = _write(text, out)
    return _summary(codebook, out, text, skipped)
