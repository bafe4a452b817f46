"""People as a table of Arrow and back: the layout of the cache's files, and what is checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuesim_dspy import __version__
from valuesim_dspy.survey.answers import AnswerTable, is_wide
from valuesim_dspy.survey.arrow_cells import (
    as_coded,
    as_numbers,
    find_text,
    from_numbers,
    from_texts,
)
from valuesim_dspy.survey.codebook import Codebook
from valuesim_dspy.survey.people import People, ReadReport

FORMAT = 1  # goes up when the layout changes, or what is read into it
GROUP = 5000  # rows that are packed, checked and read together
_KEY = b"valuesim"
_NUMBERS = {"weights": "double", "s018": "double", "years": "int16"}  # of each person
_PERSON = ("person:id", "person:country", *(f"person:{name}" for name in _NUMBERS))

Array = npt.NDArray[Any]


class MisfitError(Exception):
    """A file of the cache that is damaged, or is not what its name says."""


def to_table(people: People) -> Any:
    """The people as a table: int8 answers, int32 for wide questions, text by category."""
    import pyarrow as pa

    countries = from_texts(np.array(people.countries, dtype=object)).cast(pa.string())
    columns = {
        "person:id": from_texts(people.ids),
        "person:country": pa.DictionaryArray.from_arrays(from_numbers(people.country), countries),
        **{f"person:{name}": from_numbers(getattr(people, name)) for name in _NUMBERS},
    }
    narrow, wide = _turned(people.table.narrow), _turned(people.table.wide)
    for question, (is_long, at) in people.table.places.items():
        columns[question] = from_numbers((wide if is_long else narrow)[at])
    fields = [pa.field(name, column.type, nullable=False) for name, column in columns.items()]
    about = {
        "format": FORMAT,
        "program": __version__,
        "file": people.digest,
        "codebook": people.codebook.digest,
        "stamp": people.stamp,
        "report": _pack(vars(people.report)),
        "groups": list(_digests(people)),
    }
    schema = pa.schema(fields, metadata={_KEY: json.dumps(about).encode()})
    return pa.Table.from_arrays(list(columns.values()), schema=schema)


def _turned(table: Array) -> Array:
    """A table with a row for each column, turned in blocks that the processor's cache can hold."""
    turned = np.empty(table.shape[::-1], table.dtype)
    for start in range(0, len(table), 256):
        turned[:, start : start + 256] = table[start : start + 256].T
    return turned


def _digests(people: People) -> Iterator[str]:
    """sha256 of each group of rows, as they are in memory."""
    names = [people.countries[at] for at in people.country.tolist()]
    for start in range(0, len(people.ids), GROUP):
        rows = slice(start, start + GROUP)
        texts = "\0".join([*people.ids[rows].tolist(), *names[rows]])
        sha = hashlib.sha256(texts.encode("utf-8", "surrogateescape"))
        numbers = [getattr(people, name) for name in _NUMBERS]
        for array in (people.table.narrow, people.table.wide, *numbers):
            sha.update(np.ascontiguousarray(array[rows]).data)
        yield sha.hexdigest()


class CacheFile:
    """One file of the cache, open for reading.

    Args:
        kept: The file.
        digest: The sha256 that it must be of.
        codebook: The codebook that it must be of.

    Raises:
        MisfitError: It is of something else, or not whole.
    """

    def __init__(self, kept: Path, digest: str, codebook: Codebook) -> None:
        from pyarrow import parquet

        self._file = parquet.ParquetFile(kept, page_checksum_verification=True)
        self._codebook = codebook
        self._about = _about(self._file)
        told = {key: self._about.get(key) for key in ("format", "program", "file", "codebook")}
        made = {"format": FORMAT, "program": __version__, "file": digest}
        if told != {**made, "codebook": codebook.digest}:
            raise MisfitError("it is of another file, codebook or version")
        self._check_layout()
        self._report = _report(self._about)
        if self._report.rows != self._file.metadata.num_rows:
            raise MisfitError("rows are missing")

    def __enter__(self) -> CacheFile:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    def people(self, path: Path) -> People:
        """Everyone; `path` is the survey's file."""
        return self._checked(self._file.read(), 0, self._about["groups"], path)

    def person(self, path: Path, id: str) -> People | None:
        """The first person of this interview number, read with their group only; or None."""
        row = find_text(self._file.read(columns=["person:id"]).column(0), id) if id else None
        if row is None:
            return None
        group = row // GROUP
        table = self._file.read_row_group(group)
        found = self._checked(table, group * GROUP, [self._about["groups"][group]], path)
        if found.ids[row % GROUP] != id:
            raise MisfitError("rows are out of place")
        return found.take(np.array([row % GROUP]))

    def _check_layout(self) -> None:
        schema = self._file.schema_arrow
        questions = schema.names[len(_PERSON) :]
        types = ["large_string", "dictionary<values=string, indices=int16, ordered=0>"]
        types += [*_NUMBERS.values()]
        known = [question.id for question in self._codebook if question.id in set(questions)]
        if (*schema.names[: len(_PERSON)], *known) != tuple(schema.names):
            raise MisfitError("its columns are not those of the codebook")
        types += ["int32" if is_wide(self._codebook[id]) else "int8" for id in questions]
        if [str(kind) for kind in schema.types] != types or schema.names[: len(_PERSON)] != [
            *_PERSON
        ]:
            raise MisfitError("its columns are of other types")
        rows = self._file.metadata.num_rows
        sizes = [self._file.metadata.row_group(at).num_rows for at in range(-(-rows // GROUP))]
        if any(size != GROUP for size in sizes[:-1]) or sum(sizes) != rows:
            raise MisfitError("its groups are of another size")
        if len(self._about.get("groups", ())) != self._file.num_row_groups or not questions:
            raise MisfitError("its groups are not all there")

    def _checked(self, table: Any, start: int, digests: list[str], path: Path) -> People:
        """The people of some groups, if they are those that were written."""
        columns = {
            name: as_numbers(table.column(name), 0) for name in table.column_names[len(_PERSON) :]
        }
        cells, places = as_coded(table.column("person:country"))
        names = sorted({cells[at] for at in np.unique(places).tolist()})
        rank = np.array([names.index(cell) if cell in names else 0 for cell in cells])
        people = People(
            codebook=self._codebook,
            table=AnswerTable.of(columns),
            ids=np.array(table.column("person:id").to_pylist(), dtype=object),
            rows=np.arange(start + 1, start + 1 + table.num_rows),
            country=rank[places].astype(np.int16),
            countries=tuple(names),
            **{name: as_numbers(table.column(f"person:{name}"), 0) for name in _NUMBERS},
            report=self._report,
            stamp=str(self._about["stamp"]),
            digest=str(self._about["file"]),
            path=path,
        )
        if list(_digests(people)) != digests:
            raise MisfitError("its contents were changed")
        return people


def _about(file: Any) -> dict[str, Any]:
    written = (file.schema_arrow.metadata or {}).get(_KEY)
    if written is None:
        raise MisfitError("another program made it")
    about = json.loads(written)
    if not isinstance(about, dict):
        raise MisfitError("another program made it")
    return about


def _report(about: Mapping[str, Any]) -> ReadReport:
    fields = _unpack(about["report"])
    if fields.keys() != ReadReport.__dataclass_fields__.keys():
        raise MisfitError("its report is of another version")
    return ReadReport(**fields)


def _pack(value: Any) -> Any:
    """Plain values for JSON; mappings as pairs, since their keys may be codes."""
    if isinstance(value, Mapping):
        return {"pairs": [[key, _pack(content)] for key, content in value.items()]}
    return list(value) if isinstance(value, tuple | list) else value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unpack(content) for key, content in value["pairs"]}
    return tuple(value) if isinstance(value, list) else value
