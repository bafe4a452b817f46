"""Checking the columns of a survey and putting them together as people."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.answers import UNKNOWN_CODE, AnswerTable, encode
from valuesim_dspy.survey.codebook import Codebook
from valuesim_dspy.survey.columns import whole_text
from valuesim_dspy.survey.csv_rows import ATTRIBUTES
from valuesim_dspy.survey.people import People, ReadReport

Array = npt.NDArray[Any]
_DTYPES = {"int32": "iu", "float64": "iuf"}
_NEEDED = {"int32": "integers", "float64": "numbers"}
UnknownCodes = dict[str, dict[int | str, int]]


def make_people(
    codebook: Codebook,
    questions: Mapping[str, Array],
    attributes: Mapping[str, Array],
    *,
    asked: Sequence[str],
    columns_unknown: int = 0,
    path: Path | None = None,
    digest: str | None = None,
) -> People:
    """Check columns and put them together.

    Args:
        codebook: What the codes are checked against.
        questions: Integer codes [n] by question.
        attributes: Columns [n] named in `ATTRIBUTES`, of the kinds given there.
        asked: The questions that should be there, in codebook order.
        columns_unknown: Columns of the file that were not read.
        path: The file, if any.
        digest: The file's sha256; None to take that of the columns.

    Raises:
        SurveyDataError: A column is unknown, or its length, type or values do not fit.
    """
    n = _check(codebook, questions, attributes, path)
    columns, unknown = _encoded(codebook, questions, asked)
    ids = _ids(attributes.get("D_INTERVIEW"), n)
    alphas = _alphas(codebook, attributes, n, unknown)
    countries = tuple(sorted(set(alphas)))
    at = {alpha: place for place, alpha in enumerate(countries)}
    weights, s018 = (_weights(attributes, name, n, path) for name in ("W_WEIGHT", "S018"))
    years = np.clip(attributes.get("A_YEAR", np.zeros(n)), 0, 9999)
    report = ReadReport(
        rows=n,
        columns_missing=tuple(name for name in asked if name not in questions),
        columns_unknown=columns_unknown,
        unknown_codes=unknown,
        duplicates=n - len(set(ids)),
        missing=_missing(codebook, columns),
        by_country=dict(sorted(Counter(alphas).items())),
        answers=sum(int((column >= 0).sum()) for column in columns.values()),
        weighted=int(np.isfinite(attributes.get("W_WEIGHT", np.zeros(0))).sum()),
    )
    return People(
        codebook=codebook,
        table=AnswerTable.of(columns),
        ids=np.array(ids, dtype=object),
        rows=np.arange(1, n + 1),
        country=np.array([at[alpha] for alpha in alphas], dtype=np.int16),
        countries=countries,
        weights=weights,
        s018=s018,
        years=years.astype(np.int16),
        report=report,
        stamp=_stamp(attributes, path),
        digest=digest or _digest({**columns, "w": weights, "ids": ids, "countries": alphas}),
        path=path,
    )


def _encoded(
    codebook: Codebook, questions: Mapping[str, Array], asked: Sequence[str]
) -> tuple[dict[str, Array], UnknownCodes]:
    """Checked codes by question, and what was set aside."""
    columns: dict[str, Array] = {}
    unknown: UnknownCodes = {}
    for name in asked:
        if name in questions:
            columns[name] = encode(codebook[name], questions[name])
            set_aside = Counter(questions[name][columns[name] == UNKNOWN_CODE].tolist())
            if set_aside:
                unknown[name] = dict(sorted(set_aside.items()))
    return columns, unknown


def _check(
    codebook: Codebook,
    questions: Mapping[str, Array],
    attributes: Mapping[str, Array],
    path: Path | None,
) -> int:
    """The number of people, if all columns agree on it."""
    if not questions:
        raise SurveyDataError("no column holds a question of the codebook", path=path)
    for name in attributes.keys() - ATTRIBUTES.keys():
        message = f"not an attribute; allowed: {', '.join(ATTRIBUTES)}"
        raise SurveyDataError(message, path=path, column=name)
    n = len(next(iter(questions.values())))
    if not n:
        raise SurveyDataError("there are no rows", path=path)
    for name in questions:
        codebook[name]  # raises on a question that does not exist
    for name, column in {**questions, **attributes}.items():
        if np.shape(column) != (n,):
            message = f"the column has shape {np.shape(column)}; ({n},) is needed"
            raise SurveyDataError(message, path=path, column=name)
        kind = "int32" if name in questions else ATTRIBUTES[name]
        if kind != "text" and column.dtype.kind not in _DTYPES[kind]:
            message = f"the column holds {column.dtype}; {_NEEDED[kind]} are needed"
            raise SurveyDataError(message, path=path, column=name)
    return n


def _ids(column: Array | None, n: int) -> list[str]:
    """Interview numbers as text; the row's number where there is none."""
    written = [""] * n if column is None else column.tolist()
    return [whole_text(id) or f"row-{row}" for row, id in enumerate(written, start=1)]


def _alphas(
    codebook: Codebook, attributes: Mapping[str, Array], n: int, unknown: UnknownCodes
) -> list[str]:
    """Each person's alpha-3 code, from the numeric one where only that is known; else ""."""
    known = _known_countries(codebook)
    alphas = [""] * n
    for name in ("B_COUNTRY_ALPHA", "B_COUNTRY"):
        written = attributes[name].tolist() if name in attributes else []
        codes = {cell: _country_code(cell) for cell in set(written)}
        set_aside: Counter[int | str] = Counter()
        for at, cell in enumerate(written):
            code = codes[cell]
            alphas[at] = alphas[at] or known.get(code, "")
            if not alphas[at] and code and code != -5:
                set_aside[code] += 1
        if set_aside:
            unknown[codebook.columns.named(name)] = dict(set_aside)
    return [alpha or codebook.columns.home for alpha in alphas]


def _known_countries(codebook: Codebook) -> dict[str | int, str]:
    """Alpha-3 codes by every code that a file may have for a country."""
    if codebook.columns.country_codes:
        return dict(codebook.columns.country_codes)
    known: dict[str | int, str] = {}
    for country in codebook.countries.values():
        codes: tuple[str | int, ...] = (country.alpha, *country.also, country.numeric)
        known |= dict.fromkeys(codes, country.alpha)
    return known


def _country_code(cell: Any) -> str | int:
    """A code as a codebook has it: capitals, or a number even where the file has text."""
    if not isinstance(cell, str):
        return int(cell)
    text = whole_text(cell).upper()
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text


def _weights(attributes: Mapping[str, Array], name: str, n: int, path: Path | None) -> Array:
    given = attributes.get(name, np.ones(n))
    weights = np.where(np.isnan(given.astype(np.float64)), 1.0, given).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if len(bad):
        row, value = int(bad[0]) + 1, weights[bad[0]]
        message = f"row {row} has a weight that is no number of 0 or more: mend it"
        raise SurveyDataError(message, path=path, column=name, value=value)
    return weights


def _missing(codebook: Codebook, columns: Mapping[str, Array]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for name, column in columns.items():
        kinds = {**codebook[name].missing, UNKNOWN_CODE: "unknown-code"}
        codes, times = np.unique(column[column < 0], return_counts=True)
        for code, count in zip(codes.tolist(), times.tolist(), strict=True):
            counts[kinds[code]] += count
    return dict(counts)


def _stamp(attributes: Mapping[str, Array], path: Path | None) -> str:
    """ "synthetic" if the version or the doi says so in every row."""
    columns = [attributes[name].tolist() for name in ("version", "doi") if name in attributes]
    marked = {
        any("synthetic" in str(cell).casefold() for cell in row)
        for row in set(zip(*columns, strict=True))
    }
    if marked == {True, False}:
        message = "some rows are synthetic and some are not: split the file"
        raise SurveyDataError(message, path=path, column="version")
    return "synthetic" if True in marked else ""


def _digest(columns: Mapping[str, Array | Iterable[str]]) -> str:
    sha = hashlib.sha256()
    for name, column in columns.items():
        content = column.tobytes() if isinstance(column, np.ndarray) else "\0".join(column).encode()
        sha.update(f"{name}\0{len(content)}\0".encode() + content)
    return sha.hexdigest()
