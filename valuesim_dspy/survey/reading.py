"""Reading a survey file: which formats there are, and what holds the rows."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.survey.csv_rows import ATTRIBUTES, RawSurvey, read_rows

NEVER_READ = frozenset({"O1_LONGITUDE", "O2_LATITUDE", "N_TOWN", "I_PSU"})
MAX_BYTES = 2 * 1024**3
MAX_RATIO, RATIO_FROM = 200, 16 * 1024**2  # a file this small is harmless at any ratio


def read_table(path: str | Path, questions: Mapping[str, str]) -> RawSurvey:
    """Read the questions asked for, and the attributes, from a survey file.

    Args:
        path: The file; its suffix chooses the reader in `READERS`.
        questions: The number type to read each question as: "int16" or "int32".

    Raises:
        MissingDataError: There is no such file.
        SurveyDataError: The file cannot be read, or a value is not what its column holds.
    """
    path = Path(path)
    if not path.is_file():
        how = "give the path of the survey's CSV file, or of the zip file that holds it"
        raise MissingDataError(f"{path}: there is no such file", how)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = " or ".join(READERS)
        raise SurveyDataError(f"export it to CSV: only {known} files can be read", path=path)
    kinds = {**questions, **ATTRIBUTES}
    try:
        return reader(path, {name: kinds[name] for name in kinds if name not in NEVER_READ})
    except OSError as error:
        raise SurveyDataError(f"cannot be opened: {error.strerror or error}", path=path) from error


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
