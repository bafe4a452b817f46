"""Which files can be read, and what a zip file must be."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.survey import file_limits, reading
from valuesim_dspy.survey.csv_rows import RawSurvey
from valuesim_dspy.survey.reading import NEVER_READ, READERS, read_table

QUESTIONS = {"Q1": "int16", "Q2": "int16"}
CSV = "Q1,Q2,D_INTERVIEW\n1,2,a\n3,-1,b\n"


def zipped(
    path: Path, members: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED
) -> Path:
    """A zip file of these members."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def written(path: Path, content: str = CSV) -> Path:
    """A file of this content."""
    path.write_text(content)
    return path


@pytest.mark.parametrize("name", ["survey.csv", "SURVEY.CSV"])
def test_a_csv_file(tmp_path: Path, name: str) -> None:
    """The suffix chooses the reader, in any case."""
    raw = read_table(written(tmp_path / name), QUESTIONS)
    assert raw.columns["Q1"].tolist() == [1, 3]
    assert raw.columns["D_INTERVIEW"].tolist() == ["a", "b"]


def test_a_zip_file_reads_like_the_file_in_it(tmp_path: Path) -> None:
    """A zip file of one CSV gives the same columns; the digest is that of the zip file."""
    plain = read_table(written(tmp_path / "survey.csv"), QUESTIONS)
    packed = read_table(zipped(tmp_path / "survey.zip", {"a/WVS.csv": CSV}), QUESTIONS)
    assert packed.columns["Q2"].tolist() == plain.columns["Q2"].tolist()
    assert packed.digest != plain.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["survey.csv", "survey.zip"]


def test_other_files_in_a_zip_are_left(tmp_path: Path) -> None:
    """A codebook or a Mac's shadow files beside the CSV do no harm."""
    members = {"readme.pdf": "x", "__MACOSX/._survey.csv": "y", "survey.csv": CSV}
    assert read_table(zipped(tmp_path / "s.zip", members), QUESTIONS).columns["Q1"].tolist() == [
        1,
        3,
    ]


@pytest.mark.parametrize(
    "members", [{}, {"a.csv": CSV, "b.csv": CSV}, {"a.txt": CSV}, {"inner.zip": "PK"}]
)
def test_a_zip_holds_exactly_one_csv(tmp_path: Path, members: dict[str, str | bytes]) -> None:
    """No CSV, two CSVs, or a zip in a zip are refused."""
    with pytest.raises(SurveyDataError, match=r"exactly one \.csv"):
        read_table(zipped(tmp_path / "s.zip", members), QUESTIONS)


@pytest.mark.parametrize(
    "name", ["../a.csv", "/etc/a.csv", "x/../../a.csv", "C:\\a.csv", "..\\a.csv"]
)
def test_a_zip_names_no_file_outside_itself(tmp_path: Path, name: str) -> None:
    """Names that lead out of the zip file are refused, whatever they hold."""
    members: dict[str, str | bytes] = {"survey.csv": CSV, name: CSV}
    with pytest.raises(SurveyDataError, match="outside itself"):
        read_table(zipped(tmp_path / "s.zip", members), QUESTIONS)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that would unpack to far more than its size, or to too much, is refused."""
    bomb = zipped(tmp_path / "s.zip", {"survey.csv": CSV + "1,2,a\n" * 4_000_000})
    with pytest.raises(SurveyDataError, match="no survey file"):
        read_table(bomb, QUESTIONS)
    small = zipped(tmp_path / "t.zip", {"survey.csv": CSV})
    monkeypatch.setattr(reading, "MAX_BYTES", len(CSV) - 1)
    with pytest.raises(SurveyDataError, match="no survey file"):
        read_table(small, QUESTIONS)


def test_an_encrypted_zip_says_what_to_do(tmp_path: Path) -> None:
    """An encrypted member is named before it is opened."""
    path = zipped(tmp_path / "s.zip", {"survey.csv": CSV})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(SurveyDataError, match="encrypted: unpack it"):
        read_table(path, QUESTIONS)


def test_an_unusual_packing_says_what_to_do(tmp_path: Path) -> None:
    """Only the two common ways of packing are read."""
    path = zipped(tmp_path / "s.zip", {"survey.csv": CSV}, zipfile.ZIP_BZIP2)
    with pytest.raises(SurveyDataError, match="unpack it and give the CSV"):
        read_table(path, QUESTIONS)


def test_a_malformed_csv_in_a_zip_is_named_by_line(tmp_path: Path) -> None:
    """Messages about rows are the same inside a zip file."""
    path = zipped(tmp_path / "s.zip", {"survey.csv": CSV + "x,1,c\n"})
    with pytest.raises(SurveyDataError) as error:
        read_table(path, QUESTIONS)
    assert (error.value.path, error.value.row, error.value.column) == (path, 4, "Q1")


def test_a_damaged_zip_is_refused_whatever_the_damage(tmp_path: Path) -> None:
    """Any changed byte leaves a file that reads as before or is refused with our error."""
    body = "".join(f"{n % 4},{n % 7},{n}\n" for n in range(500))
    whole = zipped(tmp_path / "s.zip", {"survey.csv": CSV + body}).read_bytes()
    before = read_table(tmp_path / "s.zip", QUESTIONS).columns["Q1"].tolist()
    rng = random.Random(7)
    refused = 0
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path = tmp_path / "damaged.zip"
        path.write_bytes(content)
        try:
            assert read_table(path, QUESTIONS).columns["Q1"].tolist() == before
        except SurveyDataError:
            refused += 1
    assert refused > 200
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SurveyDataError, match="damaged: download it again"):
        read_table(tmp_path / "cut.zip", QUESTIONS)


@pytest.mark.parametrize("name", ["no.csv", "no.zip", "no.sav"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    """A path where no file is says what to give."""
    with pytest.raises(MissingDataError, match="give the path of the survey's CSV file"):
        read_table(tmp_path / name, QUESTIONS)
    with pytest.raises(MissingDataError):
        read_table(tmp_path, QUESTIONS)


@pytest.mark.parametrize("suffix", [".txt", ".json", ""])
def test_other_formats_say_to_export(tmp_path: Path, suffix: str) -> None:
    """A format that nobody knows says which ones are read."""
    with pytest.raises(SurveyDataError, match=r"export it to CSV: only \.csv, \.zip, \.sav"):
        read_table(written(tmp_path / f"survey{suffix}"), QUESTIONS)


@pytest.mark.parametrize(
    ("suffix", "conversion"),
    [
        (".rdata", "haven::write_sav"),
        (".RDA", "haven::write_sav"),
        (".rds", "haven::write_sav"),
        (".xlsx", "Save As, CSV"),
        (".xls", "Save As, CSV"),
        (".sas7bdat", "haven::read_sas"),
    ],
)
def test_formats_that_are_not_read_say_how_to_convert_them(
    tmp_path: Path, suffix: str, conversion: str
) -> None:
    """R, spreadsheets and SAS are refused with the one line that converts them."""
    with pytest.raises(SurveyDataError) as error:
        read_table(written(tmp_path / f"survey{suffix}"), QUESTIONS)
    assert conversion in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_too_large_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of more bytes than any survey has is refused by its size."""
    monkeypatch.setattr(file_limits, "MAX_BYTES", len(CSV) - 1)
    with pytest.raises(SurveyDataError, match="split it"):
        read_table(written(tmp_path / "s.csv"), QUESTIONS)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_too_many_rows_are_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows than any survey has are refused, whatever the format."""
    path = written(tmp_path / "s.csv")
    if suffix == ".parquet":
        path = tmp_path / "s.parquet"
        parquet.write_table(pa.table({"Q1": [1, 2]}), path)
    monkeypatch.setattr(file_limits, "MAX_ROWS", 1)
    with pytest.raises(SurveyDataError, match="has 2 rows, and up to 1 are read"):
        read_table(path, QUESTIONS)


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    """The digest is what sha256sum says of the file, or what the caller knows it to be."""
    raw = read_table(written(tmp_path / "s.csv"), QUESTIONS)
    assert raw.digest == hashlib.sha256(CSV.encode()).hexdigest()
    other = read_table(written(tmp_path / "s.csv", CSV + "1,1,c\n"), QUESTIONS)
    assert other.digest != raw.digest
    assert read_table(tmp_path / "s.csv", QUESTIONS, digest=lambda: "known").digest == "known"


def test_a_zip_by_another_name(tmp_path: Path) -> None:
    """A zip file that is called CSV is refused, and so is a CSV that is called zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("survey.csv", CSV)
    (tmp_path / "s.csv").write_bytes(buffer.getvalue())
    with pytest.raises(SurveyDataError):
        read_table(tmp_path / "s.csv", QUESTIONS)
    with pytest.raises(SurveyDataError, match="damaged"):
        read_table(written(tmp_path / "s.zip"), QUESTIONS)


def test_where_people_live_is_never_read(tmp_path: Path) -> None:
    """Coordinates, town and sampling unit are not read even when asked for."""
    header = ",".join(["Q1", *sorted(NEVER_READ)])
    path = written(tmp_path / "s.csv", f"{header}\n1,2,3,4,5\n")
    raw = read_table(path, {"Q1": "int16", **dict.fromkeys(NEVER_READ, "int16")})
    assert set(raw.columns) == {"Q1"}
    assert frozenset({"O1_LONGITUDE", "O2_LATITUDE", "N_TOWN", "I_PSU"}) == NEVER_READ


def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system does not let us open is an error of ours."""

    def refuse(path: Path, kinds: object) -> RawSurvey:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reading, "READERS", {**READERS, ".csv": refuse})
    with pytest.raises(SurveyDataError, match="cannot be opened: Permission denied"):
        read_table(written(tmp_path / "s.csv"), QUESTIONS)
