"""The output of a simulation: finished rows as one private parquet or CSV file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.private_files import private_draft
from valuesim_dspy.sharding import journals_beside, merged
from valuesim_dspy.survey.codebook import Codebook, load_codebook, packaged_codebooks
from valuesim_dspy.survey.exporting import SIMULATED_NOTE

if TYPE_CHECKING:
    from valuesim_dspy.journal import Journal
    from valuesim_dspy.outcomes import Outcome

SUFFIXES = (".parquet", ".csv")
ROWS = 10_000
"""Rows of a row group: what is in memory at once."""
COLUMNS = {
    "respondent": "string",
    "interview": "string",
    "country": "string",
    "question": "string",
    "answer": "int64",
    "answer_label": "string",
    "probabilities": "string",
    "truth": "int64",
    "status": "string",
    "reason": "string",
    "decision": "string",
    "views": "string",
    "calls": "int64",
    "paid": "int64",
    "tokens": "int64",
    "paid_tokens": "int64",
    "fidelity": "float64",
    "seconds": "float64",
}
"""Name of a column of the output to its type; `interview` is there only where it is asked for."""

MARKS = {b"valuesim.note", b"valuesim.arguments"}
"""What the metadata of a parquet file of ours holds."""
HEADER_BYTES = 1000
"""More than a header of ours takes: of a file without lines no more is read."""


def check_output(out: Path, journal: Path | None = None) -> Path:
    """Return where answers will be written.

    Args:
        out: The file.
        journal: Whose output it may be, if it is there; None where that is not to be checked.

    Raises:
        ConfigError: The suffix is neither .parquet nor .csv, it is a folder, or it is there and
            of another run or no simulation's.
        MissingDataError: The folder it would be in is not there.
    """
    if out.suffix.lower() not in SUFFIXES or out.is_dir():
        raise ConfigError(f"{out} names no output file", key="--out", allowed=SUFFIXES)
    if not out.parent.is_dir():
        raise MissingDataError(f"there is no folder {out.parent}", "make it first")
    if journal is not None and out.exists() and not journal.exists():
        others = journals_beside(out)
        why = f"is that of {others[0].name}" if others else "no simulation wrote it"
        raise ConfigError(f"{out} is there already and {why}; give another name", key="--out")
    if out.exists() and not (out.is_file() and _is_ours(out)):
        told = "is there and no simulation wrote it; move it aside, or give another name"
        raise ConfigError(f"{out} {told}", key="--out")
    return out


def _is_ours(out: Path) -> bool:
    """Whether a file begins with a header of ours, or has our marks in its metadata."""
    try:
        with out.open("rb") as file:
            if out.suffix.lower() == ".csv":
                line = file.readline(HEADER_BYTES).rstrip(b"\r\n")
                return line in [",".join(_header(known)).encode() for known in (False, True)]
            import pyarrow.parquet as pq

            return set(pq.read_schema(file).metadata or {}) >= MARKS
    except (ValueError, NotImplementedError, OSError):
        return False


def _header(with_interview: bool, /) -> list[str]:
    return [name for name in COLUMNS if with_interview or name != "interview"]


def write_answers(
    journals: Sequence[Journal],
    out: Path,
    *,
    codebook: Codebook | None = None,
    interview: Callable[[int], str] | None = None,
) -> Path:
    """Write finished rows in the order of their numbers, a row group at a time.

    The file appears whole or not at all, readable by its owner only.

    Args:
        journals: One journal, or those of all parts of a run.
        out: The file: .parquet or .csv.
        codebook: Where the options' labels stand; by default the packaged one that the run was
            made with. Where neither is there, the labels of its questions are left out.
        interview: From a row's number to the survey's own number of its interview, to be
            written beside the salted key.

    Raises:
        ConfigError: The suffix is of no format, the file is there and no simulation wrote it, the
            codebook is not that of the run, or the disk is full.
    """
    check_output(out)
    arguments = journals[0].arguments
    names = _header(interview is not None)
    label = _labels(arguments, codebook)
    rows = (
        [_cell(name, number, outcome, label, interview) for name in names]
        for number, outcome in merged(journals)
    )
    write = _write_csv if out.suffix.lower() == ".csv" else _write_parquet
    try:
        with private_draft(out) as draft:
            write(draft, names, rows, arguments)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror or error}") from None
    return out


def _cell(
    name: str,
    number: int,
    outcome: Outcome,
    label: Callable[[str, int | None], str | None],
    interview: Callable[[int], str] | None,
) -> Any:
    if name == "interview" and interview is not None:
        return interview(number)
    if name == "answer_label":
        return label(outcome.question, outcome.answer)
    value = getattr(outcome, name)
    if isinstance(value, str):
        # A server's words may hold what no file can.
        return value.encode("utf-8", "replace").decode()
    if not isinstance(value, Mapping):
        return value
    return json.dumps({str(key): item for key, item in value.items()}) if value else ""


def unlabelled(arguments: Mapping[str, Any], codebook: Codebook | None = None) -> list[str]:
    """Return the ids of questions asked whose options' labels cannot be found.

    Args:
        arguments: Those of the run's journal.
        codebook: As for `write_answers`.
    """
    known = _known_labels(arguments, codebook)
    return [id for id in str(arguments.get("questions", "")).split(",") if id and id not in known]


def _labels(
    arguments: Mapping[str, Any], codebook: Codebook | None
) -> Callable[[str, int | None], str | None]:
    """Return what finds the label of a code, of the codebook's questions and of one's own."""
    known = _known_labels(arguments, codebook)

    def label(question: str, code: int | None) -> str | None:
        return known.get(question, {}).get(str(code))

    return label


def _known_labels(
    arguments: Mapping[str, Any], codebook: Codebook | None
) -> dict[str, dict[str, str]]:
    own = json.loads(arguments.get("own") or "{}")
    id, _, digest = str(arguments.get("codebook", "")).partition(" ")
    if codebook is None and id in packaged_codebooks() and load_codebook(id).digest == digest:
        codebook = load_codebook(id)
    if codebook is not None and codebook.digest != digest:
        raise ConfigError(
            f"the run was made with the codebook {id}, and this is another one or another version; "
            "give the one it was made with",
            key="--codebook",
        )
    known = {
        question.id: {str(option.code): option.label for option in question.options}
        for question in codebook or ()
    }
    # One's own last: it may have the id of a question of the codebook.
    return known | {id: question["options"] for id, question in own.items()}


def _batches(rows: Iterator[list[Any]]) -> Iterator[list[list[Any]]]:
    while batch := list(islice(rows, ROWS)):
        yield batch


def _write_parquet(
    path: Path, names: list[str], rows: Iterator[list[Any]], arguments: Mapping[str, Any]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    told = {"note": SIMULATED_NOTE, "arguments": json.dumps(arguments, ensure_ascii=False)}
    types = [(name, pa.type_for_alias(COLUMNS[name])) for name in names]
    schema = pa.schema(types, metadata={f"valuesim.{key}": text for key, text in told.items()})
    with pq.ParquetWriter(path, schema) as writer:
        for batch in _batches(rows):
            columns = (
                pa.array(column, type=kind)
                for column, (_, kind) in zip(zip(*batch, strict=True), types, strict=True)
            )
            writer.write_table(pa.Table.from_arrays(list(columns), schema=schema))


def _write_csv(
    path: Path, names: list[str], rows: Iterable[list[Any]], arguments: Mapping[str, Any]
) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)
