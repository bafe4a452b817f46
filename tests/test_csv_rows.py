"""How the rows of a CSV survey file are read, and what is said of malformed ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.csv_rows import BLANK, RawSurvey, read_rows

KINDS = {
    "Q1": "int16",
    "Q2": "int16",
    "Q223": "int32",
    "D_INTERVIEW": "text",
    "W_WEIGHT": "float64",
    "A_YEAR": "int32",
}


def read(folder: Path, content: str | bytes) -> RawSurvey:
    """Read a file of this content."""
    path = folder / "survey.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_rows(path, lambda: path.open("rb"), KINDS)


def test_columns_come_in_any_order_and_others_are_left(tmp_path: Path) -> None:
    """Columns are found by name; those that were not asked for are only counted."""
    raw = read(tmp_path, "O1_LONGITUDE,Q2,X,Q1\n139.7,4,z,1\n2.3,3,y,2\n")
    assert raw.columns["Q1"].tolist() == [1, 2]
    assert raw.columns["Q2"].tolist() == [4, 3]
    assert set(raw.columns) == {"Q1", "Q2"}
    assert raw.columns_unknown == 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiter_line_end_and_byte_order_mark(
    tmp_path: Path, delimiter: str, end: str, mark: str
) -> None:
    """Commas or semicolons, any line end, with or without a byte order mark: all read alike."""
    rows = [["Q1", "D_INTERVIEW", "Q2"], ["1", "77", "2"], ["-1", "78", "4"]]
    raw = read(tmp_path, mark + end.join(delimiter.join(row) for row in rows))
    assert raw.columns["Q1"].tolist() == [1, -1]
    assert raw.columns["D_INTERVIEW"].tolist() == ["77", "78"]


def test_header_names_are_recognised_with_labels_quotes_and_spaces(tmp_path: Path) -> None:
    """A header may be quoted, padded, in another case, or carry the label after a colon."""
    raw = read(tmp_path, '"Q1: Important in life: Family", q2 ,"w_weight"\n1,2,0.5\n')
    assert raw.columns["Q1"].tolist() == [1]
    assert raw.columns["Q2"].tolist() == [2]
    assert raw.columns["W_WEIGHT"].tolist() == [0.5]


def test_a_header_over_two_lines_is_one_header(tmp_path: Path) -> None:
    """A quoted line break in the header shifts no row and no line number."""
    raw = read(tmp_path, '"a\nb",Q1\nx,3\n')
    assert raw.columns["Q1"].tolist() == [3]
    with pytest.raises(SurveyDataError, match="line 4, column Q1"):
        read(tmp_path, '"a\nb",Q1\nx,3\nx,no\n')


@pytest.mark.parametrize(
    "cell", ["1", " 1", "1 ", '"1"', '" 1"', "1.0", "1.", "+1", "1e0", '"1.0"']
)
def test_odd_spellings_of_a_number(tmp_path: Path, cell: str) -> None:
    """A whole number is read however it is written."""
    raw = read(tmp_path, f"Q1,Q2\n2,2\n{cell},3\n")
    assert raw.columns["Q1"].tolist() == [2, 1]
    assert raw.columns["Q2"].tolist() == [2, 3]


@pytest.mark.parametrize("cell", ["", '""', "NA", "NaN", ".", "#NULL!"])
@pytest.mark.parametrize("other", ["2", "2.0"])
def test_empty_cells_are_missing(tmp_path: Path, cell: str, other: str) -> None:
    """An empty cell, and what statistics programs write for it, is missing: never 0."""
    raw = read(tmp_path, f"Q1,Q2,W_WEIGHT\n{cell},{other},{cell}\n")
    assert raw.columns["Q1"].tolist() == [BLANK]
    assert np.isnan(raw.columns["W_WEIGHT"]).all()


@pytest.mark.parametrize("cell", ["yes", "1,5", "1.5", "1_0", "inf", "--1", "1 2", "\u0661"])
def test_a_cell_that_is_no_whole_number(tmp_path: Path, cell: str) -> None:
    """Text in a question's column names the line, the column and the value."""
    with pytest.raises(SurveyDataError) as error:
        read(tmp_path, f'Q2,Q1\n1,1\n2,2\n3,"{cell}"\n')
    assert (error.value.row, error.value.column, error.value.value) == (4, "Q1", cell)
    assert "leave it empty" in str(error.value)


def test_the_line_is_right_after_blank_lines_and_broken_cells(tmp_path: Path) -> None:
    """Lines are lines of the file, as an editor counts them."""
    with pytest.raises(SurveyDataError) as error:
        read(tmp_path, 'Q1,note\n1,a\n\n2,"b\nc"\nno,d\n')
    assert error.value.row == 6


def test_a_code_too_large_for_any_codebook_is_kept_as_a_code(tmp_path: Path) -> None:
    """Numbers beyond int16, or beyond int32, are read; whether they are known is not asked here."""
    raw = read(tmp_path, "Q1,Q223\n70000,360005\n99999999999,1\n")
    assert raw.columns["Q1"].tolist() == [70000, 2**31 - 1]
    assert raw.columns["Q223"].tolist() == [360005, 1]


def test_weights(tmp_path: Path) -> None:
    """Weights are decimals; with semicolons a decimal comma is one too."""
    assert read(tmp_path, "Q1,W_WEIGHT\n1,.98\n").columns["W_WEIGHT"].tolist() == [0.98]
    assert read(tmp_path, "Q1;W_WEIGHT\n1;0,98\n2;1\n").columns["W_WEIGHT"].tolist() == [0.98, 1.0]
    with pytest.raises(SurveyDataError, match="line 2, column W_WEIGHT: not a number"):
        read(tmp_path, "Q1,W_WEIGHT\n1,heavy\n")


def test_text_of_another_encoding(tmp_path: Path) -> None:
    """Latin-1 bytes neither harm a column that is not needed nor one that is."""
    raw = read(tmp_path, b"N_TOWN,Q1,D_INTERVIEW\nM\xe1laga,1,\xe9-1\nTokyo,2,2\n")
    assert raw.columns["Q1"].tolist() == [1, 2]
    assert raw.columns["D_INTERVIEW"].tolist() == ["é-1", "2"]
    assert read(tmp_path, b"Ciudad\xe9,Q1\nx,1\n").columns["Q1"].tolist() == [1]


def test_nul_bytes(tmp_path: Path) -> None:
    """NUL bytes are let be in columns that are not needed, and named in those that are."""
    assert read(tmp_path, b"N_TOWN,Q1\na\0b,1\n").columns["Q1"].tolist() == [1]
    with pytest.raises(SurveyDataError, match="line 2, column Q1"):
        read(tmp_path, b"N_TOWN,Q1\nab,1\0\n")


def test_quoted_line_breaks_in_text(tmp_path: Path) -> None:
    """A line break or a delimiter inside quotes ends neither row nor cell."""
    raw = read(tmp_path, 'N_TOWN,Q1\n"a\nb, ""c""",1\nd,2\n')
    assert raw.columns["Q1"].tolist() == [1, 2]


def test_huge_cells(tmp_path: Path) -> None:
    """A cell of a megabyte is read past; a line beyond the limit is a clear error."""
    raw = read(tmp_path, "N_TOWN,Q1\n" + "x" * 1_000_000 + ",1\n")
    assert raw.columns["Q1"].tolist() == [1]
    with pytest.raises(SurveyDataError, match=r"longer than 4 MB|too long"):
        read(tmp_path, "N_TOWN,Q1\n" + "x" * 9_000_000 + ",1\ny,2\n")


@pytest.mark.parametrize("content", ["", "\n", "  \n\n", "\ufeff"])
def test_an_empty_file(tmp_path: Path, content: str) -> None:
    """A file without text says that it is empty."""
    with pytest.raises(SurveyDataError, match=r"empty|no question"):
        read(tmp_path, content)


@pytest.mark.parametrize("content", ["Q1,Q2", "Q1,Q2\n", "Q1,Q2\n\n\n"])
def test_a_header_without_rows(tmp_path: Path, content: str) -> None:
    """A header alone is no survey."""
    with pytest.raises(SurveyDataError, match="no rows"):
        read(tmp_path, content)


@pytest.mark.parametrize("last", ["3", "3,1,4,4", '3,"1'])
def test_a_row_of_another_length(tmp_path: Path, last: str) -> None:
    """A row that is cut short, or too long, is named by its line."""
    with pytest.raises(SurveyDataError) as error:
        read(tmp_path, f"Q1,Q2,X\n1,1,1\n2,1,1\n{last}")
    assert error.value.row == 4
    assert "header has 3" in str(error.value)


def test_a_message_about_a_row_does_not_show_it(tmp_path: Path) -> None:
    """Neither the message nor its cause holds the cells of a malformed row."""
    with pytest.raises(SurveyDataError) as error:
        read(tmp_path, "Q1,N_TOWN,Q2\n1,a,1\n1,Smalltown\n")
    assert "Smalltown" not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


@pytest.mark.parametrize("header", ["Q1|Q2", "Q1\tQ2", "age,sex", "D_INTERVIEW,W_WEIGHT", "\0\0"])
def test_no_question_in_the_header(tmp_path: Path, header: str) -> None:
    """Another delimiter, or a file of something else, has no question that can be found."""
    with pytest.raises(SurveyDataError, match="separated by commas or semicolons"):
        read(tmp_path, f"{header}\n1|2\n")


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    """A needed column must be there once; others may repeat."""
    with pytest.raises(SurveyDataError) as error:
        read(tmp_path, "Q1,X,X,q1\n1,2,3,4\n")
    assert error.value.column == "Q1"
    assert "1 and 4" in str(error.value)
    assert read(tmp_path, "Q1,X,X\n1,2,3\n").columns["Q1"].tolist() == [1]


def test_utf16_is_named(tmp_path: Path) -> None:
    """A file saved as UTF-16 says how to save it."""
    with pytest.raises(SurveyDataError, match="save it as UTF-8"):
        read(tmp_path, "Q1,Q2\n1,2\n".encode("utf-16"))


@pytest.mark.parametrize("header", ['"Q1,Q2\n1,2\n', "x" * (5 * 1024**2)])
def test_a_header_without_end(tmp_path: Path, header: str) -> None:
    """A quote that is not closed, or a header without an end, is a malformed header."""
    with pytest.raises(SurveyDataError, match="header is malformed"):
        read(tmp_path, header)


many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@many
@given(st.lists(st.tuples(st.integers(-5, 99), st.integers(0, 10**6)), min_size=1), st.booleans())
def test_what_is_written_is_read(
    tmp_path: Path, rows: list[tuple[int, int]], as_decimals: bool
) -> None:
    """Any codes come back as they were written, by either pass."""
    shown = [(f"{a}.0", f"{b}.0") if as_decimals else (str(a), str(b)) for a, b in rows]
    raw = read(tmp_path, "Q1,Q223\n" + "\n".join(",".join(row) for row in shown))
    assert raw.columns["Q1"].tolist() == [a for a, _ in rows]
    assert raw.columns["Q223"].tolist() == [b for _, b in rows]


@many
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever follows a header, it is read, or refused with an error of ours."""
    try:
        raw = read(tmp_path, b"Q1,D_INTERVIEW,W_WEIGHT\n1,a,1\n" + content)
    except SurveyDataError as error:
        assert "survey.csv" in str(error)
    else:
        assert raw.columns["Q1"][0] == 1


@many
@given(st.text(alphabet='Q1,;"\n\r\t .-a\0', max_size=60))
def test_any_text_is_read_or_refused(tmp_path: Path, content: str) -> None:
    """A whole file of the characters that matter to CSV never ends in another error."""
    try:
        raw = read(tmp_path, content)
    except SurveyDataError as error:
        assert "survey.csv" in str(error)
    else:
        assert "Q1" in raw.columns
