"""Taking answers out, of people and simulated, so that work goes on in R, SPSS or Stata."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from valuesim_dspy.errors import ConfigError, SurveyDataError
from valuesim_dspy.survey.answers import UNKNOWN_CODE
from valuesim_dspy.survey.cells import BLANK
from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.survey.labelled_table import (
    LabelledTable,
    Labels,
    question_labels,
    write_labelled,
)
from valuesim_dspy.survey.respondents import Respondents

if TYPE_CHECKING:
    import pandas as pd

SIMULATED_NOTE = "simulated answers of ValueSim, not survey data"
_SYNTHETIC = {"version": "SYNTHETIC", "doi": "synthetic, not survey data"}
_UNKNOWN = {UNKNOWN_CODE: "a code that the codebook does not know"}


def export_respondents(
    respondents: Respondents, path: str | Path, *, questions: Sequence[str] | None = None
) -> list[Path]:
    """Write the answers of people as .sav, .dta or CSV with labels; reading gives them back.

    Missing answers keep their negative codes, as in the official files. SPSS and R's haven leave
    them out by the range that is declared; in Stata do so with `mvdecode _all, mv(-128/-1)`.

    Args:
        respondents: The people, in order.
        path: The file, made readable by its owner only; its suffix chooses the format.
        questions: Their ids; all that have a column by default.

    Returns:
        The files written.

    Raises:
        ConfigError: The suffix is of no format, or there is no answer to export.
        MissingDataError: The folder is not there, or the library that writes the format.
        UnknownQuestionError: The codebook has no such question.
    """
    codebook = respondents.codebook
    absent = set(respondents.report.columns_missing)
    asked = list(codebook.questions) if questions is None else list(dict.fromkeys(questions))
    held = [codebook[id] for id in asked if codebook[id].id not in absent]
    if not held or not len(respondents):
        raise ConfigError("none of these questions has a column in the file", key="questions")
    columns: dict[str, Any] = {
        "D_INTERVIEW": np.array(respondents.ids, dtype=object),
        "B_COUNTRY_ALPHA": np.array(respondents.alphas, dtype=object),
        "A_YEAR": np.array([person.year or 0 for person in respondents], dtype=np.int16),
        "W_WEIGHT": respondents.weights,
        "S018": respondents.s018,
    }
    labels = {
        "D_INTERVIEW": Labels("Interview number"),
        "B_COUNTRY_ALPHA": Labels("Country, ISO 3166-1 alpha-3", measure="nominal"),
        "A_YEAR": Labels("Year of the interview, 0 for unknown"),
        "W_WEIGHT": Labels("Weight within the country"),
        "S018": Labels("Weight that gives each country 1,000 people"),
    }
    if respondents.synthetic:
        stamps = {name: [text] * len(respondents) for name, text in _SYNTHETIC.items()}
        columns = {name: np.array(cells, dtype=object) for name, cells in stamps.items()} | columns
    for question in held:
        codes = respondents.column(question.id)
        columns[question.id] = _small(codes)
        told = question_labels(question)
        unknown = _UNKNOWN if (codes == UNKNOWN_CODE).any() else {}
        labels[question.id] = Labels(
            told.label, told.options, {**told.missing, **unknown}, told.measure
        )
    note = "synthetic people, no survey data" if respondents.synthetic else codebook.title
    return write_labelled(LabelledTable(columns, labels, note), path)


def export_answers(
    answers: pd.DataFrame,
    path: str | Path,
    *,
    codebook: Codebook | None = None,
    truth: bool = False,
) -> list[Path]:
    """Write simulated answers as .sav, .dta or CSV with labels: a row for each respondent.

    Args:
        answers: One row for each case, as of `outcomes.outcomes_frame`: `respondent`, `question`
            and `answer` (a code, or missing where the case failed), and perhaps `truth`.
        path: The file, made readable by its owner only; its suffix chooses the format.
        codebook: Where the questions stand; by default the packaged one.
        truth: Whether to add what each respondent really answered, as `Q57_true`.

    Returns:
        The files written.

    Raises:
        ConfigError: The suffix is of no format, or a column of the table is not there.
        MissingDataError: The folder is not there, or the library that writes the format.
        SurveyDataError: A respondent was asked a question twice, or it is not in the codebook.
    """
    codebook = load_codebook() if codebook is None else codebook
    needed = ["respondent", "question", "answer", *(["truth"] if truth else [])]
    for name in needed:
        if name not in answers.columns:
            raise ConfigError("the table has no such column", key=name, allowed=answers.columns)
    if not len(answers):
        raise ConfigError("there are no simulated answers to export", key="answers")
    twice = answers.duplicated(["respondent", "question"])
    if twice.any():
        message = "a respondent was asked a question twice: export one run at a time"
        raise SurveyDataError(message, column=str(answers["question"][twice].iloc[0]))
    known = {str(id): codebook[str(id)] for id in answers["question"].unique()}
    people = answers["respondent"].astype(str).unique()
    columns: dict[str, Any] = {"respondent": np.array(people, dtype=object)}
    labels = {"respondent": Labels("Respondent, as a salted key")}
    for id in (id for id in codebook.questions if id in known):
        asked = answers[answers["question"] == id].set_index("respondent")
        told = question_labels(known[id], prefix="Simulated: ")
        columns[id], labels[id] = _codes(asked["answer"], people), told
        if truth:
            columns[f"{id}_true"] = _codes(asked["truth"], people)
            labels[f"{id}_true"] = question_labels(known[id], prefix="Answered: ")
    return write_labelled(LabelledTable(columns, labels, SIMULATED_NOTE), path)


def select_questions(codebook: Codebook, text: str) -> list[str]:
    """The ids that "Q1,Q57-Q63" means, in codebook order.

    Args:
        codebook: Where the questions stand; a range is one of its order.
        text: Ids and ranges of ids, separated by commas.

    Raises:
        ConfigError: A range runs backwards, or nothing is named.
        UnknownQuestionError: The codebook has no such question.
    """
    order = list(codebook.questions)
    chosen: set[str] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        # "Q57-63" means what it says.
        last = first.rstrip("0123456789") + last if last.isdigit() else last
        if part in codebook or not dash:
            chosen.add(codebook[part].id)
            continue
        start, end = (order.index(codebook[id.strip()].id) for id in (first, last))
        if start > end:
            raise ConfigError("the range runs backwards", key="questions", value=part)
        chosen |= set(order[start : end + 1])
    if not chosen:
        raise ConfigError("name questions, such as Q1,Q57-Q63", key="questions", value=text)
    return [id for id in order if id in chosen]


def _codes(column: pd.Series, people: Any) -> Any:
    codes = column.astype("Float64").reindex(people).fillna(BLANK)
    return _small(codes.to_numpy(dtype=np.float64).astype(np.int32))


def _small(codes: Any) -> Any:
    small = codes.min() >= -32000 and codes.max() <= 32000  # of what Stata's types can hold
    return codes.astype(np.int16 if small else np.int32)
