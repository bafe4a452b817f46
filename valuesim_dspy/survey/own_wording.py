"""The official wording of questions in place of this project's, from a file of one's own.

The wording of a survey often has a licence of its own. It stays in the user's file: it is never
part of a codebook here, and saved programs hold it only where a demo shows a question.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.survey.codebook_yaml import Node, near, read_documents
from valuesim_dspy.survey.question import Question
from valuesim_dspy.survey.scales import Option
from valuesim_dspy.survey.wording import placeholders, stray_brace

CSV_COLUMNS = ("question", "code", "text")
_MAX_BYTES = 16 * 1024**2

Texts = dict[str, dict[int | None, str]]  # by question and code; under None what is asked


def open_codebook(source: str | Path = "wvs7", wording: str | Path | None = None) -> Codebook:
    """Load a codebook and put a wording of one's own in force.

    Args:
        source: As for `load_codebook`.
        wording: The file of the wording; None for the codebook's own.

    Raises:
        MissingDataError: There is no such codebook or no such file.
        SurveyDataError: A file is malformed.
    """
    codebook = load_codebook(source)
    return codebook if wording is None else with_wording(codebook, wording)


def with_wording(codebook: Codebook, path: str | Path) -> Codebook:
    """The same codebook, asking as a file says; its facts stay as they are.

    Args:
        codebook: The questions.
        path: A CSV file with the columns question, code (empty for what is asked, else the
            option whose label it is) and text; or a YAML file of `Q57: text` or
            `Q57: {text: .., options: {1: ..}}`. A text may hold {country}.

    Returns:
        A codebook of the same id and version, and of another digest.

    Raises:
        MissingDataError: There is no such file.
        SurveyDataError: The file is malformed, or a question or a code is unknown.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingDataError(f"no wording file {path}", "give a .csv or a .yaml file")
    if path.stat().st_size > _MAX_BYTES:
        raise SurveyDataError("is too large to be a wording file", path=path)
    texts = _read_yaml(path) if path.suffix.lower() in (".yaml", ".yml") else _read_csv(path)
    questions = dict(codebook.questions)
    for id, said in texts.items():
        if id not in questions:
            hint = near(id, questions)
            message = f"codebook {codebook.id} has no such question{hint}"
            raise SurveyDataError(message, path=path, column=id)
        questions[id] = _reworded(questions[id], said, path)
    content = [[id, [[code, text] for code, text in said.items()]] for id, said in texts.items()]
    digest = hashlib.sha256(json.dumps(sorted(content)).encode()).hexdigest()[:16]
    return replace(codebook, questions=questions, wording=digest)


def _reworded(question: Question, said: Mapping[int | None, str], path: Path) -> Question:
    for code, text in said.items():
        where = question.id if code is None else f"{question.id}.{code}"
        if code is not None and code not in question.codes:
            message = f"no such code; codes: {list(question.codes)}"
            raise SurveyDataError(message, path=path, column=where)
        known = {"country"} if code is None else set()
        if stray_brace(text) or placeholders(text) - known:
            message = "braces stand for placeholders, and only {country} is known, in questions"
            raise SurveyDataError(message, path=path, column=where, value=text)
    wording = replace(question.wording, ask=said.get(None, question.wording.ask))
    labels = {option.code: said.get(option.code, option.label) for option in question.options}
    try:
        return question.reworded(wording, [Option(code, labels[code]) for code in labels])
    except SurveyDataError as error:
        raise SurveyDataError(str(error), path=path, column=question.id) from None


def _read_yaml(path: Path) -> Texts:
    texts: Texts = {}
    for document in read_documents(path):
        for key, value in document.content.items():
            id = str(key)
            if id in texts:
                document.refuse("this question is there twice", id)
            if not isinstance(value, dict):
                texts[id] = {None: document.text(key)}
                continue
            node = Node(path, (id,), value)
            node.only(("text", "options"))
            texts[id] = {None: node.text("text")} if node.has("text") else {}
            for code, label in node.by_code("options").items():
                texts[id][code] = label
    return texts


def _read_csv(path: Path) -> Texts:
    texts: Texts = {}
    for row, cells in _rows(path):
        id, written, text = (cells[column] for column in CSV_COLUMNS)
        code = None if not written else _code(written, path, row)
        if not id or not text:
            message = "question and text must be given"
            raise SurveyDataError(message, path=path, row=row)
        if code in texts.setdefault(id, {}):
            raise SurveyDataError("this text is there twice", path=path, row=row, column=id)
        texts[id][code] = text
    return texts


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row that is not empty, with the line it ends on; commas or semicolons."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            delimiter = ";" if ";" in stream.readline() else ","
            stream.seek(0)
            rows = csv.DictReader(stream, delimiter=delimiter, restval="", strict=True)
            if tuple(sorted(rows.fieldnames or ())) != tuple(sorted(CSV_COLUMNS)):
                message = f"the columns must be {', '.join(CSV_COLUMNS)}"
                raise SurveyDataError(message, path=path, row=1)
            for cells in rows:
                if None in cells:
                    message = "more cells than columns: put texts with commas in quotes"
                    raise SurveyDataError(message, path=path, row=rows.line_num)
                trimmed = {name: cell.strip() for name, cell in cells.items()}
                if any(trimmed.values()):
                    yield rows.line_num, trimmed
    except UnicodeDecodeError as error:
        raise SurveyDataError("the file is not UTF-8 text", path=path) from error
    except csv.Error as error:
        raise SurveyDataError(f"not readable as CSV: {error}", path=path) from error


def _code(written: str, path: Path, row: int) -> int:
    try:
        return int(written)
    except ValueError:
        message = "a code is a whole number; leave it empty for what is asked"
        raise SurveyDataError(message, path=path, row=row, value=written) from None
