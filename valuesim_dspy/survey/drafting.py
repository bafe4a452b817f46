"""Draft a codebook from the labels of an SPSS or Stata file; every guess is marked in it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from valuesim_dspy.errors import ConfigError, SurveyDataError
from valuesim_dspy.survey.codebook import Codebook, load_codebook, packaged_codebooks
from valuesim_dspy.survey.codebook_header import iso_places
from valuesim_dspy.survey.codebook_writing import GUESS, codebook_lines
from valuesim_dspy.survey.columns import ROLES, TRAITS
from valuesim_dspy.survey.guess_batteries import Item, guess_batteries, slug
from valuesim_dspy.survey.guess_columns import ColumnGuess, guess_columns
from valuesim_dspy.survey.guess_missing import guess_missing
from valuesim_dspy.survey.guess_scales import guess_scale
from valuesim_dspy.survey.labelled_files import LabelledFile, read_variables


def draft_codebook(source: str | Path, out: str | Path, *, id: str | None = None) -> list[str]:
    """Write a codebook for a labelled file.

    Args:
        source: A .sav, .zsav or .dta file.
        out: The YAML file to write; never one that is there already.
        id: The codebook's name; by default that of `out`.

    Returns:
        What was drafted, in lines to print.

    Raises:
        ConfigError: `out` exists or cannot be written, or the id is taken.
        MissingDataError: There is no such file, or pyreadstat is not installed.
        SurveyDataError: The file cannot be read, or no variable in it can be a question.
    """
    source, out = Path(source), Path(out)
    name = slug(id or out.stem)
    if out.suffix != ".yaml":
        raise ConfigError("must end in .yaml", key="--out", value=out)
    if out.exists():
        message = "is there already: move it away, or give another name"
        raise ConfigError(message, key="--out", value=out)
    if not name or name in packaged_codebooks():
        raise ConfigError("give the codebook a name of its own", key="--id", value=name)
    file = read_variables(source)
    columns = guess_columns(file, iso_places())
    items, skipped = _items(file, columns)
    if not items:
        raise SurveyDataError("no variable in it can be a question", path=source)
    lines = codebook_lines(file, name, columns, guess_batteries(items), skipped)
    codebook = _write("\n".join(lines) + "\n", out)
    return [
        f"{out}: {len(codebook)} questions in {len(codebook.batteries)} batteries; "
        f"{len(skipped)} variables left out, listed at its end",
        *_columns(codebook),
        f"{sum(GUESS in line for line in lines)} guesses are marked with `{GUESS.strip()}`: "
        "read each, mend it, delete the mark",
        f"then: valuesim data check {source} --codebook {out}",
    ]


def _items(file: LabelledFile, columns: ColumnGuess) -> tuple[list[Item], dict[str, str]]:
    """The variables that can be questions, and why the others cannot."""
    roles = {columns.columns[role][0]: role for role in TRAITS if role in columns.columns}
    taken = {name for names in columns.columns.values() for name in names} - roles.keys()
    items: list[Item] = []
    skipped: dict[str, str] = {}
    for variable in file.variables:
        if variable.name in taken:
            continue
        if variable.name in columns.dropped:
            skipped[variable.name] = columns.dropped[variable.name]
            continue
        missing = guess_missing(variable)
        scale = guess_scale(variable, missing)
        if isinstance(scale, str):
            skipped[variable.name] = scale
        else:
            items.append(Item(variable, scale, missing, roles.get(variable.name, "")))
    return items, skipped


def _write(text: str, out: Path) -> Codebook:
    """Write a codebook that loads; one that would not is never written."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / out.name
        draft.write_text(text, encoding="utf-8")
        codebook = load_codebook(draft)
    try:
        with out.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        message = f"cannot be written: {error.strerror or error}"
        raise ConfigError(message, key="--out", value=out) from None
    return codebook


def _columns(codebook: Codebook) -> list[str]:
    columns = codebook.columns
    found: dict[str, str | None] = {
        role: columns.named(name) if name in columns.attributes else None
        for role, name in ROLES.items()
    }
    found |= {trait: getattr(columns, trait) for trait in TRAITS}
    return ["columns: " + ", ".join(f"{role} {name or '-'}" for role, name in found.items())]
