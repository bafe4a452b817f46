"""The people of a survey: their columns, a light view of one of them, and what was found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuesim_dspy.survey.answers import NOT_IN_FILE, UNKNOWN_CODE, Answers, AnswerTable
from valuesim_dspy.survey.codebook import Codebook

_SEXES = {"male": "male", "man": "male", "female": "female", "woman": "female"}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ReadReport:
    """What was found in a file.

    Args:
        rows: People.
        columns_missing: Questions that were asked for and have no column.
        columns_unknown: Columns that were not asked for, and so not read.
        unknown_codes: How often each code that the codebook does not know was set aside, by
            question (or B_COUNTRY_ALPHA, B_COUNTRY).
        duplicates: Rows whose D_INTERVIEW an earlier row has.
        missing: Answers that are no answer, by kind of missing.
        by_country: People by alpha-3 code; "" for an unknown country.
        answers: Valid answers.
        weighted: People whose weight is given; the others weigh 1.0.
    """

    rows: int
    columns_missing: tuple[str, ...]
    columns_unknown: int
    unknown_codes: Mapping[str, Mapping[int | str, int]]
    duplicates: int
    missing: Mapping[str, int]
    by_country: Mapping[str, int]
    answers: int
    weighted: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return asdict(self) | {"columns_missing": list(self.columns_missing)}

    def describe(self) -> str:
        """One line: rows, shares of missing answers, what was set aside."""
        cells = self.answers + sum(self.missing.values())
        kinds = ", ".join(
            f"{count / cells:.1%} {kind}"
            for kind, count in sorted(self.missing.items(), key=lambda item: -item[1])
        )
        parts = [f"{self.rows} rows read", f"missing answers: {kinds or 'none'}"]
        if self.columns_missing:
            parts.append(f"{len(self.columns_missing)} questions have no column")
        if self.unknown_codes:
            parts.append(f"codes unknown to the codebook in {', '.join(self.unknown_codes)}")
        if self.duplicates:
            parts.append(f"{self.duplicates} rows repeat an interview number")
        return "; ".join(parts)


@dataclass(frozen=True, eq=False, repr=False)
class People:
    """The columns that respondents are views of; arrays of length n, read-only.

    Args:
        codebook: What the codes were checked against.
        table: The answers.
        ids: D_INTERVIEW as text (str objects).
        rows: Row numbers in the file, counted from 1.
        country: Places in `countries`.
        countries: Alpha-3 codes, "" for unknown.
        weights: W_WEIGHT, 0 or more.
        s018: S018, 0 or more.
        years: Year of the interview, 0 for unknown.
        report: What was found in the file.
        stamp: "synthetic", or "".
        digest: sha256 of the file's bytes, or of the columns where there is no file.
        path: The file, if any.
    """

    codebook: Codebook
    table: AnswerTable
    ids: Array
    rows: Array
    country: Array
    countries: tuple[str, ...]
    weights: Array
    s018: Array
    years: Array
    report: ReadReport
    stamp: str
    digest: str
    path: Path | None

    def __deepcopy__(self, memo: object) -> People:
        return self  # read-only: copies share it

    def take(self, places: Array) -> People:
        """These people only, with a table of their own."""
        arrays = {name: getattr(self, name)[places] for name in _PER_PERSON}
        return replace(self, table=self.table.take(places), **arrays)


_PER_PERSON = ("ids", "rows", "country", "weights", "s018", "years")


class Respondent:
    """One person of the survey: a light view, made when asked for.

    Args:
        people: Everyone.
        at: This person's place among them.
    """

    __slots__ = ("_at", "_people")

    def __init__(self, people: People, at: int) -> None:
        self._people, self._at = people, at

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Respondent):
            return NotImplemented
        return self._people is other._people and self._at == other._at

    def __hash__(self) -> int:
        return hash((id(self._people), self._at))

    def __repr__(self) -> str:
        return f"Respondent({self.key('')[:4]}..)"

    def __reduce__(self) -> tuple[type[Respondent], tuple[People, int]]:
        return Respondent, (self._people.take(np.array([self._at])), 0)

    def __deepcopy__(self, memo: object) -> Respondent:
        return self

    @property
    def id(self) -> str:
        """The survey's interview number as text; "row-7" where the file has none."""
        return str(self._people.ids[self._at])

    @property
    def survey_digest(self) -> str:
        """sha256 of the survey file's bytes, 64 hex digits."""
        return self._people.digest

    @property
    def synthetic(self) -> bool:
        """Whether the file says that nobody in it exists."""
        return self._people.stamp == "synthetic"

    @property
    def row(self) -> int:
        """The row of the file, counted from 1, the header not counted."""
        return int(self._people.rows[self._at])

    @property
    def country(self) -> str:
        """ISO 3166-1 alpha-3 code; "" where the file does not say or nobody knows it."""
        return self._people.countries[self._people.country[self._at]]

    @property
    def country_name(self) -> str:
        """The country as it reads in a sentence; "" where unknown."""
        return self._people.codebook.country_name(self.country) if self.country else ""

    @property
    def age(self) -> int | None:
        """Years."""
        return self._trait(self._people.codebook.columns.age)

    @property
    def sex(self) -> str | None:
        """ "male" or "female"; None where not told or told otherwise."""
        codebook = self._people.codebook
        question, code = codebook.columns.sex, self._trait(codebook.columns.sex)
        if question is None or code is None:
            return None
        return _SEXES.get(codebook[question].label(code).strip().lower())

    @property
    def education(self) -> int | None:
        """Highest level reached: ISCED 2011, 0 to 8, in wave 7; else the survey's own code."""
        return self._trait(self._people.codebook.columns.education)

    @property
    def weight(self) -> float:
        """The weight within the country (W_WEIGHT); 1.0 where the file has none."""
        return float(self._people.weights[self._at])

    @property
    def year(self) -> int | None:
        """The year of the interview."""
        return int(self._people.years[self._at]) or None

    @property
    def answers(self) -> Answers:
        """All valid answers, in codebook order."""
        return Answers(self._people.table, self._at)

    def masked(self, questions: Iterable[str]) -> Answers:
        """The valid answers to these questions, and no way to any other."""
        return self.answers.masked(questions)

    def answer(self, question: str) -> int | None:
        """The code of a valid answer; None where there is none (see `missing`).

        Raises:
            UnknownQuestionError: The codebook has no such question.
        """
        return self._valid(self._people.codebook[question].id)

    def _trait(self, question: str | None) -> int | None:
        return None if question is None else self._valid(question)

    def _valid(self, question: str) -> int | None:
        code = self._people.table.code(self._at, question)
        return code if code >= 0 else None

    def missing(self, question: str) -> str | None:
        """Why there is no valid answer; None where there is one.

        Returns:
            A kind of missing of the codebook ("not-asked", ..), "unknown-code" for a code that
            was set aside, or "not-in-file".
        """
        asked = self._people.codebook[question]
        code = self._people.table.code(self._at, question)
        if code >= 0:
            return None
        kinds = {UNKNOWN_CODE: "unknown-code", NOT_IN_FILE: "not-in-file"}
        return kinds.get(code) or asked.missing[code]

    def key(self, salt: str) -> str:
        """The only identity that may leave the store: 12 hex digits of sha256(salt, id).

        Where rows of the file repeat an interview number the row counts too: they may be others.
        """
        row = f"\0{self.row}" if self._people.report.duplicates else ""
        return hashlib.sha256(f"{salt}\0{self.id}{row}".encode()).hexdigest()[:12]
