"""The columns of a survey file that are no answers: who was asked, where, when, at what weight."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from valuesim_dspy.survey.codebook_yaml import Node, near
from valuesim_dspy.survey.wording import Places

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

ATTRIBUTES: Mapping[str, str] = {
    "D_INTERVIEW": "text",
    "B_COUNTRY_ALPHA": "text",
    "B_COUNTRY": "int32",
    "A_YEAR": "int32",
    "W_WEIGHT": "float64",
    "S018": "float64",
    "version": "text",
    "doi": "text",
}
"""What the official wave-7 file calls these columns, and what each is read as."""

ROLES: Mapping[str, str] = {
    "id": "D_INTERVIEW",
    "country": "B_COUNTRY_ALPHA",
    "year": "A_YEAR",
    "weight": "W_WEIGHT",
    "pooled_weight": "S018",
}
"""What a codebook calls such a column, and what the official wave-7 file calls it."""

TRAITS = ("sex", "age", "education")
_STAMPS = ("version", "doi")  # a synthetic file says so here, whatever its codebook


@dataclass(frozen=True)
class Columns:
    """Which columns say what of a person.

    Args:
        attributes: For each of `ATTRIBUTES` the columns of the file that make it; more than one
            for a number that counts anew in each country.
        sex: The question that tells male from female by its labels; None where none does.
        age: The question that gives years.
        education: The question that gives the level reached.
        country_codes: Alpha-3 code by the file's own code; empty for ISO codes of any form.
        home: The alpha-3 code of everyone's country, "" where a column says.
    """

    attributes: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {name: (name,) for name in ATTRIBUTES}
    )
    sex: str | None = "Q260"
    age: str | None = "Q262"
    education: str | None = "Q275"
    country_codes: Mapping[int | str, str] = field(default_factory=dict)
    home: str = ""

    @property
    def traits(self) -> frozenset[str]:
        """The questions that give sex, age and education."""
        return frozenset(id for id in (self.sex, self.age, self.education) if id)

    @property
    def kinds(self) -> dict[str, str]:
        """The columns to read, and what to read each as; text where one serves two ends."""
        kinds: dict[str, str] = {}
        for name, columns in self.attributes.items():
            for column in columns:
                own = "text" if len(columns) > 1 else ATTRIBUTES[name]
                kinds[column] = own if kinds.get(column, own) == own else "text"
        return kinds

    def named(self, attribute: str) -> str:
        """The column that an attribute comes from, as the file names it."""
        return "+".join(self.attributes.get(attribute, (attribute,)))

    def part(self, columns: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Part what was read into answers and attributes.

        Args:
            columns: Columns by the file's name, of the kinds of `kinds`.

        Returns:
            The answers by question, and attributes by name in `ATTRIBUTES`; one that needs a
            column that is not there is left out.
        """
        attributes = {
            name: _made([columns[part] for part in parts], ATTRIBUTES[name])
            for name, parts in self.attributes.items()
            if all(part in columns for part in parts)
        }
        mine = {part for parts in self.attributes.values() for part in parts}
        return {name: columns[name] for name in columns if name not in mine}, attributes

    def content(self) -> list[object]:
        """All it says, as plain values; nothing where it says what the official file has."""
        if self == Columns():
            return []
        codes = {str(code): alpha for code, alpha in self.country_codes.items()}
        return [dict(self.attributes), self.sex, self.age, self.education, codes, self.home]


def _made(parts: list[Array], kind: str) -> Array:
    import numpy as np

    if len(parts) > 1:
        texts = [[whole_text(cell) for cell in part.tolist()] for part in parts]
        return np.array(["-".join(cells) for cells in zip(*texts, strict=True)], dtype=object)
    if kind == "text" or parts[0].dtype.kind != "O":
        return parts[0]
    written, places = np.unique(parts[0].astype(str), return_inverse=True)
    numbers = np.array([_number(text) for text in written.tolist()], dtype=np.float64)
    return np.asarray((numbers if kind == "float64" else numbers.astype(np.int32))[places])


def whole_text(cell: object) -> str:
    """A cell as text; a whole number that was written as 12.0 as 12."""
    text = str(cell).strip()
    return re.sub(r"(?<=\d)\.0+$", "", text) if "." in text else text


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0  # an unknown year
    return number if math.isfinite(number) else 0.0


def read_columns(header: Node, questions: Mapping[str, object], places: Places) -> Columns:
    """The header's `columns`, `country_codes` and `country`.

    Args:
        header: The codebook's header.
        questions: The codebook's questions by id.
        places: The codebook's countries.
    """
    node = header.under("columns")
    node.only((*ROLES, *TRAITS))
    attributes: dict[str, tuple[str, ...]] = {name: (name,) for name in ATTRIBUTES}
    traits: dict[str, str | None] = {"sex": "Q260", "age": "Q262", "education": "Q275"}
    if header.has("columns"):
        attributes = {ROLES[role]: _names(node, role) for role in ROLES if node.has(role)}
        asked = {id.casefold() for id in questions}
        attributes |= {name: (name,) for name in _STAMPS if name not in asked}
        traits = {trait: node.text(trait) if node.has(trait) else None for trait in TRAITS}
        _check(node, attributes, traits, questions)
    codes = header.under("country_codes")
    return Columns(
        attributes,
        **traits,
        country_codes={_key(codes, key): _alpha(codes, key, places) for key in codes.content},
        home=_alpha(header, "country", places) if header.has("country") else "",
    )


def _alpha(node: Node, key: Any, places: Places) -> str:
    place = places.find(node.text(key))
    if place is None:
        hint = near(node.text(key), places.countries) or "; countries: iso lists them all"
        node.refuse(f"no such country in the codebook{hint}", key, node.text(key))
    return place.alpha


def _names(node: Node, role: str) -> tuple[str, ...]:
    if role != "id" or isinstance(node.content[role], str | int):
        return (node.text(role),)
    names = tuple(node.texts(role))
    if not names:
        node.refuse("a column, or a list of columns that together tell people apart", role)
    return names


def _check(
    node: Node,
    attributes: Mapping[str, tuple[str, ...]],
    traits: Mapping[str, str | None],
    questions: Mapping[str, object],
) -> None:
    for role, name in ROLES.items():
        for column in attributes.get(name, ()):
            if column in questions:
                node.refuse("a question of the codebook: drop it there", role, column)
    for trait, id in traits.items():
        if id is not None and id not in questions:
            node.refuse(f"no such question of the codebook{near(id, questions)}", trait, id)


def _key(node: Node, key: object) -> int | str:
    if isinstance(key, bool) or not isinstance(key, int | str):
        node.refuse("a code of the file is needed as the key", key)
    return key.strip().upper() if isinstance(key, str) else key
