"""The people of a survey: read from its file, seen one at a time, never copied."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.survey.answers import number_type
from valuesim_dspy.survey.checking import make_people
from valuesim_dspy.survey.codebook import Codebook, Question, load_codebook
from valuesim_dspy.survey.people import People, ReadReport, Respondent
from valuesim_dspy.survey.reading import NEVER_READ, READERS, existing, read_table
from valuesim_dspy.survey.survey_cache import cached_people, cached_person

__all__ = ["ReadReport", "Respondent", "Respondents", "read_respondent", "read_respondents"]

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]


class Respondents(Sequence[Respondent]):
    """People of one file, in its order; slices and selections share its table.

    Args:
        people: Everyone of the file.
        places: Which of them, int [n]; None for all.
    """

    def __init__(self, people: People, places: Array | None = None) -> None:
        self._people = people
        self._places = np.arange(len(people.ids)) if places is None else places

    @classmethod
    def from_columns(
        cls,
        *,
        questions: Mapping[str, Array],
        attributes: Mapping[str, Array] | None = None,
        codebook: Codebook | None = None,
    ) -> Respondents:
        """Make people from columns in memory, by the same rules as from a file.

        Args:
            questions: Integer codes [n] by question; negative ones are kinds of missing.
            attributes: Any of D_INTERVIEW, B_COUNTRY_ALPHA, version, doi (text [n]), B_COUNTRY,
                A_YEAR (integers [n]), W_WEIGHT, S018 (floats of 0 or more [n], NaN for 1.0).
            codebook: By default the packaged one.

        Returns:
            The people; `digest` is the sha256 of the columns, `path` is None.

        Raises:
            SurveyDataError: A column is unknown, or its length, type or values do not fit.
        """
        codebook = load_codebook() if codebook is None else codebook
        asked = [question.id for question in codebook]
        columns = {name: np.asarray(column) for name, column in questions.items()}
        others = {name: np.asarray(column) for name, column in (attributes or {}).items()}
        return cls(make_people(codebook, columns, others, asked=asked))

    @property
    def codebook(self) -> Codebook:
        """The codebook that the codes were checked against."""
        return self._people.codebook

    @property
    def path(self) -> Path | None:
        """The file that was read; None for people made in memory."""
        return self._people.path

    @property
    def digest(self) -> str:
        """sha256 of the file's bytes, 64 hex digits; the same for every selection of it."""
        return self._people.digest

    @property
    def stamp(self) -> str:
        """What the file says it is: "synthetic", or "" for a survey of people."""
        return self._people.stamp

    @property
    def synthetic(self) -> bool:
        """Whether the file says that nobody in it exists."""
        return self.stamp == "synthetic"

    @property
    def report(self) -> ReadReport:
        """What was found in the whole file."""
        return self._people.report

    @property
    def ids(self) -> list[str]:
        """Interview numbers, [n]."""
        ids: list[str] = self._people.ids[self._places].tolist()
        return ids

    @property
    def rows(self) -> Array:
        """Row numbers in the file, counted from 1, int [n]."""
        return self._people.rows[self._places]

    @property
    def alphas(self) -> list[str]:
        """Alpha-3 codes, "" for an unknown country, [n]."""
        return [self._people.countries[at] for at in self._people.country[self._places]]

    @property
    def weights(self) -> Array:
        """Weights within the country (W_WEIGHT), float64 [n], 0 or more."""
        return self._people.weights[self._places]

    @property
    def s018(self) -> Array:
        """Weights that give each country 1,000 people, float64 [n], 0 or more; 1.0 if absent."""
        return self._people.s018[self._places]

    @property
    def years(self) -> Array:
        """Years of the interviews, int [n]; 0 for an unknown one."""
        return self._people.years[self._places]

    @cached_property
    def countries(self) -> Counter[str]:
        """Number of people by alpha-3 code; "" for an unknown country."""
        counts = np.bincount(self._people.country[self._places])
        return Counter(
            {self._people.countries[at]: int(count) for at, count in enumerate(counts) if count}
        )

    @property
    def everyone(self) -> Respondents:
        """All people of the file that these were selected from; after unpickling only these."""
        return Respondents(self._people)

    @cached_property
    def _by_id(self) -> dict[str, int]:
        return {id: at for at, id in reversed(list(enumerate(self.ids)))}

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> Respondent: ...
    @overload
    def __getitem__(self, at: slice) -> Respondents: ...
    def __getitem__(self, at: int | slice) -> Respondent | Respondents:
        if isinstance(at, slice):
            return Respondents(self._people, self._places[at])
        return Respondent(self._people, int(self._places[at]))

    def __repr__(self) -> str:
        kind = "synthetic, " if self.synthetic else ""
        return f"Respondents({len(self)} people, {kind}{self.digest[:12]})"

    def __reduce__(self) -> tuple[type[Respondents], tuple[People]]:
        return Respondents, (self._people.take(self._places),)

    def __deepcopy__(self, memo: object) -> Respondents:
        return self

    def take(self, indices: Sequence[int] | Array) -> Respondents:
        """The people at these places of this sequence, in this order.

        Raises:
            ConfigError: The places are not whole numbers; a mask needs `np.flatnonzero`.
        """
        places = np.asarray(indices)
        if places.size and not np.issubdtype(places.dtype, np.integer):
            raise ConfigError("places must be whole numbers", key="indices", value=places.dtype)
        return Respondents(self._people, self._places[places.astype(np.intp)])

    def by_id(self, id: str) -> Respondent:
        """The person of an interview number; where several rows have it, the first: it is said.

        Raises:
            MissingDataError: Nobody here has it.
        """
        if id not in self._by_id:
            how = "give a D_INTERVIEW of this file, and of this selection of it"
            raise MissingDataError(
                f"nobody among {len(self)} respondents has the id asked for", how
            )
        person = self[self._by_id[id]]
        if self.report.duplicates and (count := self.ids.count(id)) > 1:
            what = "%d rows have the interview number asked for: the person of row %d is meant"
            log.warning(what, count, person.row)
        return person

    def column(self, question: str) -> Array:
        """The codes of everyone here, int32 [n]; negative ones are kinds of missing.

        Raises:
            UnknownQuestionError: The codebook has no such question.
        """
        return self._people.table.column(self._places, self.codebook[question].id)

    def describe(self) -> str:
        """One line on who is here."""
        kind = "synthetic people" if self.synthetic else "people"
        known = len([alpha for alpha in self.countries if alpha])
        return f"{len(self)} {kind} of {known} countries; {self.report.describe()}"


def read_respondents(
    path: str | Path,
    *,
    codebook: Codebook | None = None,
    columns: Collection[str] | None = None,
    cache: bool = True,
) -> Respondents:
    """Read the people of a survey file.

    Args:
        path: The official file as CSV, a zip file that holds the CSV, SPSS .sav, Stata .dta or
            parquet; any order and any subset of its columns.
        codebook: By default the packaged one.
        columns: The questions to read (sex, age and education come along); None for all.
        cache: Whether to keep what was read, for its owner only, in the user's cache folder and
            to take it from there the next time, if the file is still the same one (how that is
            told: `valuesim_dspy.survey.digests`). Reads of some `columns` are never kept.

    Raises:
        ConfigError: `columns` names something that the codebook does not have.
        MissingDataError: There is no such file.
        SurveyDataError: The file is malformed; names the line, the column and the value.
    """
    codebook = load_codebook() if codebook is None else codebook
    traits = codebook.columns.traits
    wanted = set(codebook.questions) if columns is None else {*columns, *traits}
    unknown = sorted(wanted - set(codebook.questions) - traits)
    if unknown:
        message = f"not a question of codebook {codebook.id}"
        raise ConfigError(message, key="columns", value=unknown[0])
    path = existing(path)
    asked = [question for question in codebook if question.id in wanted - NEVER_READ]
    if not cache or columns is not None or path.suffix.lower() not in READERS:
        return Respondents(_read(path, codebook, asked))
    return Respondents(cached_people(path, codebook, partial(_read, path, codebook, asked)))


def read_respondent(path: str | Path, id: str, *, codebook: Codebook | None = None) -> Respondent:
    """Read one person of a survey file, from the cache without reading the others.

    Args:
        path: A file as for `read_respondents`, which is called if the cache does not hold it.
        id: The D_INTERVIEW; where several rows have it, the first is meant, and that is said.
        codebook: By default the packaged one.

    Raises:
        MissingDataError: There is no such file, or nobody in it has the id.
        SurveyDataError: The file is malformed.
    """
    codebook = load_codebook() if codebook is None else codebook
    path = existing(path)
    person = cached_person(path, id, codebook)
    if person is not None and not person.report.duplicates:
        return Respondent(person, 0)
    return read_respondents(path, codebook=codebook).by_id(id)


def _read(
    path: Path,
    codebook: Codebook,
    asked: Sequence[Question],
    digest: Callable[[], str] | None = None,
) -> People:
    kinds = {question.id: number_type(question) for question in asked}
    raw = read_table(path, kinds, codebook.columns.kinds, digest=digest)
    questions, attributes = codebook.columns.part(raw.columns)
    return make_people(
        codebook,
        questions,
        attributes,
        asked=[question.id for question in asked],
        columns_unknown=raw.columns_unknown,
        path=path,
        digest=raw.digest,
    )
