"""Reading a survey file: which formats there are, and what holds the rows."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.survey.csv_rows import ATTRIBUTES, RawSurvey, read_rows
from valuesim_dspy.survey.file_limits import MAX_BYTES, check_bytes, sha256_of
from valuesim_dspy.survey.labelled_rows import read_labelled
from valuesim_dspy.survey.parquet_rows import read_parquet

NEVER_READ = frozenset({"O1_LONGITUDE", "O2_LATITUDE", "N_TOWN", "I_PSU"})
MAX_RATIO, RATIO_FROM = 200, 16 * 1024**2  # a file this small is harmless at any ratio

_FROM_R = 'in R: haven::write_sav(data, "survey.sav"), and give that file'
_FROM_EXCEL = "in Excel or LibreOffice: Save As, CSV UTF-8, and give that file"
_FROM_SAS = 'in R: haven::write_sav(haven::read_sas("FILE"), "survey.sav"), and give that file'
CONVERSIONS: Mapping[str, str] = {
    **dict.fromkeys((".rdata", ".rda", ".rds"), f"R's own format is not read; {_FROM_R}"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), f"no spreadsheets are read; {_FROM_EXCEL}"),
    **dict.fromkeys((".sas7bdat", ".xpt"), f"no SAS files are read; {_FROM_SAS}"),
}
"""What to do with the formats that users hold and that are not read, by suffix."""


def read_table(
    path: str | Path,
    questions: Mapping[str, str],
    attributes: Mapping[str, str] = ATTRIBUTES,
    *,
    digest: Callable[[], str] | None = None,
) -> RawSurvey:
    """Read the questions asked for, and the attributes, from a survey file.

    Args:
        path: The file; its suffix chooses the reader in `READERS`.
        questions: The number type to read each question as: "int16" or "int32".
        attributes: What to read each column as that is no question.
        digest: Gives the file's sha256, where it is known or being taken already.

    Raises:
        MissingDataError: There is no such file.
        SurveyDataError: The file cannot be read, or a value is not what its column holds.
    """
    path = existing(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = f"export it to CSV: only {', '.join(READERS)} are read"
        raise SurveyDataError(CONVERSIONS.get(path.suffix.lower(), known), path=path)
    kinds = {**questions, **attributes}
    try:
        check_bytes(path)
        raw = reader(path, {name: kinds[name] for name in kinds if name not in NEVER_READ})
        return replace(raw, digest=digest() if digest else sha256_of(path))
    except OSError as error:
        raise SurveyDataError(f"cannot be opened: {error.strerror or error}", path=path) from error


def existing(path: str | Path) -> Path:
    """The path of a survey file that is there.

    Raises:
        MissingDataError: There is no such file.
    """
    path = Path(path)
    if not path.is_file():
        how = "give the path of the survey's CSV file, or of the zip file that holds it"
        raise MissingDataError(f"{path}: there is no such file", how)
    return path


def read_csv(path: Path, kinds: Mapping[str, str]) -> RawSurvey:
    """Read an official CSV file."""
    return read_rows(path, lambda: path.open("rb"), kinds)


def read_zip(path: Path, kinds: Mapping[str, str]) -> RawSurvey:
    """Read the one CSV file inside a zip file, without unpacking it to disk."""

    @contextmanager
    def member() -> Iterator[IO[bytes]]:
        with zipfile.ZipFile(path) as archive, archive.open(_only_csv(archive, path)) as stream:
            yield stream

    try:
        return read_rows(path, member, kinds)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        UnicodeDecodeError,
        NotImplementedError,
    ) as error:
        raise SurveyDataError("the zip file is damaged: download it again", path=path) from error


READERS: Mapping[str, Callable[[Path, Mapping[str, str]], RawSurvey]] = {
    ".csv": read_csv,
    ".zip": read_zip,
    ".sav": read_labelled,
    ".zsav": read_labelled,
    ".dta": read_labelled,
    ".parquet": read_parquet,
}


def _only_csv(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    members = [item for item in archive.infolist() if not item.filename.endswith("/")]
    for item in members:
        parts = item.filename.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or ":" in parts[0]:
            message = "the zip file names a file outside itself: do not use it"
            raise SurveyDataError(message, path=path, value=item.filename)
    csvs = [
        item
        for item in members
        if item.filename.lower().endswith(".csv") and not item.filename.startswith("__MACOSX/")
    ]
    if len(csvs) != 1:
        message = f"the zip file must hold exactly one .csv file, and holds {len(csvs)}"
        if any(Path(item.filename).suffix.lower() in READERS for item in members) and not csvs:
            message += ": unpack it, and give the file inside"
        raise SurveyDataError(message, path=path)
    if csvs[0].flag_bits & 1:
        raise SurveyDataError("the zip file is encrypted: unpack it and give the CSV", path=path)
    if csvs[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        message = "the zip file is packed in an unusual way: unpack it and give the CSV"
        raise SurveyDataError(message, path=path)
    size = csvs[0].file_size
    if size > MAX_BYTES or (size > RATIO_FROM and size > MAX_RATIO * csvs[0].compress_size):
        message = f"the file inside would unpack to {size / 1e6:.0f} MB: this is no survey file"
        raise SurveyDataError(message, path=path, value=csvs[0].filename)
    return csvs[0]
