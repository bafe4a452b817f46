"""The codebook: every question of a survey, its options, their order and its wording."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.survey.codebook_header import read_places, read_scales
from valuesim_dspy.survey.codebook_items import Context, read_section
from valuesim_dspy.survey.codebook_yaml import Node, codebook_files, near, read_documents
from valuesim_dspy.survey.columns import Columns, read_columns
from valuesim_dspy.survey.missing import read_missing
from valuesim_dspy.survey.question import KINDS, Question
from valuesim_dspy.survey.scales import SCALE_KINDS, Option, Scale
from valuesim_dspy.survey.wording import Country, Places

__all__ = [
    "KINDS",
    "SCALE_KINDS",
    "Codebook",
    "Country",
    "Option",
    "Question",
    "Scale",
    "UnknownQuestionError",
    "load_codebook",
]

_PACKAGED = Path(__file__).parent / "codebooks"
_HEADER_KEYS = frozenset(
    ["id", "version", "title", "citation", "missing", "twins", "countries", "sections"]
    + ["columns", "country_codes", "country"]
)
_SECTION_KEYS = frozenset(["section", "title", "batteries"])
_OWN_SECTION = "questions"  # the section of a header that holds batteries itself


class UnknownQuestionError(SurveyDataError, KeyError):
    """A question that the codebook does not have; also a KeyError, as of any mapping."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the message's repr


@dataclass(frozen=True, repr=False)
class Codebook:
    """All questions of a survey: sections in file order, each in order of number.

    Args:
        id: The codebook's name, as saved programs know it.
        version: Goes up when a question's codes, order or wording change.
        title: The survey in words.
        citation: How the survey asks to be cited.
        questions: The questions by id.
        missing: Kind of missing by code, as its files have them.
        countries: The countries by alpha-3 code.
        section_titles: What each section is called in words.
        columns: The columns of its files that are no answers.
        wording: 16 hex digits of the local wording that is in force; "" for none.
    """

    id: str
    version: int
    title: str
    citation: str
    questions: Mapping[str, Question]
    missing: Mapping[int, str]
    countries: Mapping[str, Country]
    section_titles: Mapping[str, str] = field(default_factory=dict)
    columns: Columns = field(default_factory=Columns)
    wording: str = ""

    def __getitem__(self, id: str) -> Question:
        try:
            return self.questions[id]
        except KeyError:
            hint = near(id, self.questions)
            raise UnknownQuestionError(
                f"codebook {self.id} has no question {id}{hint}", column=id
            ) from None

    def __contains__(self, id: object) -> bool:
        return id in self.questions

    def __len__(self) -> int:
        return len(self.questions)

    def __iter__(self) -> Iterator[Question]:
        return iter(self.questions.values())

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Codebook) and self.digest == other.digest

    def __copy__(self) -> Codebook:
        return self

    def __deepcopy__(self, memo: object) -> Codebook:
        return self  # it is frozen

    def __repr__(self) -> str:
        return f"Codebook({self.id} {self.version}, {len(self)} questions, {self.digest})"

    @cached_property
    def batteries(self) -> Mapping[str, tuple[str, ...]]:
        """Ids of questions by battery, in codebook order."""
        return _grouped((question.battery, question.id) for question in self)

    @cached_property
    def sections(self) -> Mapping[str, tuple[str, ...]]:
        """Ids of questions by section, in codebook order."""
        return _grouped((question.section, question.id) for question in self)

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the sha256 of all that the codebook says, countries included."""
        content = [self.id, self.version, [asdict(place) for place in self.countries.values()]]
        content += [*self.columns.content(), *(question.content() for question in self)]
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def _places(self) -> Places:
        return Places(self.countries.values())

    def country(self, alpha: str) -> Country:
        """The country of an alpha-3 code, or of another code that data files use for it.

        Raises:
            SurveyDataError: The codebook has no country of this alpha-3 code.
        """
        country = self._places.find(alpha)
        if country is None:
            hint = near(alpha.upper(), self.countries)
            raise SurveyDataError(f"codebook {self.id} has no country {alpha!r}{hint}")
        return country

    def country_name(self, alpha: str) -> str:
        """The country's name as it reads in a sentence: "the United States".

        Raises:
            SurveyDataError: The codebook has no country of this alpha-3 code.
        """
        return self.country(alpha).name

    def country_alpha(self, numeric: int) -> str:
        """The alpha-3 code of a numeric country code.

        Raises:
            SurveyDataError: The codebook has no country of this numeric code.
        """
        country = self._places.numbered(numeric)
        if country is None:
            raise SurveyDataError(f"codebook {self.id} has no country of number {numeric}")
        return country.alpha


def packaged_codebooks() -> list[str]:
    """The names of the codebooks that come with the package."""
    return sorted(folder.name for folder in _PACKAGED.iterdir() if folder.is_dir())


def load_codebook(source: str | Path = "wvs7") -> Codebook:
    """Load a codebook; once a process, and again where its files have changed.

    Args:
        source: The name of a packaged codebook, a .yaml file or a folder of them.

    Returns:
        The codebook, every text of it checked.

    Raises:
        MissingDataError: There is no such codebook.
        SurveyDataError: A file is malformed; names the file, the item and the key.
    """
    packaged = packaged_codebooks()
    if isinstance(source, str) and source in packaged:
        return _load(_PACKAGED / source)
    path = Path(source).expanduser()
    if not path.exists():
        raise MissingDataError(
            f"no codebook {str(source)!r}",
            f"give a packaged name ({', '.join(packaged)}), a .yaml file or a folder of them",
        )
    stats = [file.stat() for file in codebook_files(path)]
    return _load(path.resolve(), tuple((stat.st_mtime_ns, stat.st_size) for stat in stats))


@lru_cache(maxsize=16)
def _load(path: Path, stamps: object = ()) -> Codebook:
    documents = [node for file in codebook_files(path) for node in read_documents(file)]
    header = _header(documents, path)
    context = Context(missing=read_missing(header), places=read_places(header))
    context.twins = _twins(header)
    titles: dict[str, str] = {}
    for document in documents:
        read_scales(document, context.scales)
    questions = []
    for document in documents:
        section = _section(document, header, titles)
        if section:
            questions += _as_asked(read_section(document, section, context))
    _check_whole(header, titles, {question.id for question in questions})
    by_id = {question.id: question for question in questions}
    return Codebook(
        id=header.text("id"),
        version=header.number("version"),
        title=header.text("title"),
        citation=header.text("citation", "none given"),
        questions=by_id,
        missing=context.missing,
        countries=context.places.countries,
        section_titles=titles,
        columns=read_columns(header, by_id, context.places),
    )


def _header(documents: Iterable[Node], path: Path) -> Node:
    headers = [document for document in documents if document.has("id")]
    if not headers:
        raise SurveyDataError("no file here has the codebook's id; write a header", path=path)
    if len(headers) > 1:
        headers[1].refuse(f"{headers[0].path.name} is the header already", "id")
    id = headers[0].text("id")
    if id in packaged_codebooks() and path != _PACKAGED / id:
        # saved programs know a codebook by its id
        headers[0].refuse("the packaged codebook has this id: give yours another", "id", id)
    return headers[0]


def _section(document: Node, header: Node, titles: dict[str, str]) -> str | None:
    """Check a document's keys and return its section; None for a header without items."""
    if document is header:
        document.only(_HEADER_KEYS | {"scales", "section", "batteries"})
        if not document.has("batteries"):
            return None
    else:
        document.only(_SECTION_KEYS | {"scales"})
    section = document.text("section", _OWN_SECTION if document is header else None)
    listed = header.texts("sections")
    if listed and section not in listed:
        document.refuse(f"the header lists no such section{near(section, listed)}", "section")
    if section in titles:
        document.refuse("another file has this section already", "section", section)
    titles[section] = document.text("title")
    return section


def _as_asked(questions: list[Question]) -> list[Question]:
    """In order of number where ids are a letter and a number: batteries may interleave."""
    parts = {q.id: re.fullmatch(r"([A-Za-z]+)([0-9]+)", q.id) for q in questions}
    numbers = {id: int(part[2]) for id, part in parts.items() if part}
    letters = {part[1] for part in parts.values() if part}
    if len(numbers) < len(parts) or len(letters) > 1:
        return questions
    return sorted(questions, key=lambda question: numbers[question.id])


def _twins(header: Node) -> dict[str, tuple[str, ...]]:
    """For each question the others of the sets that it is declared in."""
    twins: dict[str, dict[str, None]] = {}
    for declared in header.items("twins"):
        if not isinstance(declared, list) or len(set(map(str, declared))) < 2:
            header.refuse("a set of twins is a list of two or more ids", "twins", declared)
        for id in declared:
            others = twins.setdefault(str(id), {})
            others.update(dict.fromkeys(str(other) for other in declared if other != id))
    return {id: tuple(others) for id, others in twins.items()}


def _check_whole(header: Node, titles: Mapping[str, str], ids: set[str]) -> None:
    """Twins must exist, unless a section that the header lists is not there (yet)."""
    if not ids:
        header.refuse("the codebook has no questions: no file has batteries")
    if any(section not in titles for section in header.texts("sections")):
        return
    for declared in header.items("twins"):
        for id in declared:
            if id not in ids:
                header.refuse(f"no such question{near(str(id), ids)}", "twins", id)


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for group, id in pairs:
        groups.setdefault(group, []).append(id)
    return {group: tuple(ids) for group, ids in groups.items()}
