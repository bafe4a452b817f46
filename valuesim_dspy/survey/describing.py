"""Survey files in words: what was found in one, and how a question was answered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.respondents import Respondents

BAR = 30
SYNTHETIC_NOTE = "synthetic people: good for running and testing, no evidence about anyone"


def report_lines(respondents: Respondents) -> list[str]:
    """Return what was found in a file, one matter a line: counts only, no row."""
    report = respondents.report
    cells = report.answers + sum(report.missing.values())
    lines = [
        f"file        {respondents.path}",
        f"sha256      {respondents.digest}",
        f"stamp       {SYNTHETIC_NOTE if respondents.synthetic else 'survey data'}",
        f"rows        {report.rows}, of which {report.duplicates} repeat an interview number",
        f"countries   {_counts(report.by_country)}",
        f"answers     {report.answers} of {cells} cells ({report.answers / max(1, cells):.1%})",
        f"missing     {_counts(report.missing)}",
        f"no column   {_names(report.columns_missing)}",
        f"not read    {report.columns_unknown} columns that are no questions of the codebook",
    ]
    if not report.unknown_codes:
        return [*lines, "set aside   no code is unknown to the codebook"]
    lines += [
        f"set aside   {column}: code {code} is unknown to the codebook ({count} times)"
        for column, codes in report.unknown_codes.items()
        for code, count in codes.items()
    ]
    return lines


def _counts(counts: Mapping[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name or 'unknown'} {count}" for name, count in ranked) or "none"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if names[12:] else "") or "none"


def describe_question(
    respondents: Respondents, question_id: str, *, country: str | None = None
) -> list[str]:
    """Return how a question was answered: counts, shares in percent, weighted shares, bars.

    Args:
        respondents: The survey.
        question_id: A question with options.
        country: ISO alpha-3 code; everyone by default.

    Raises:
        ConfigError: The question has no options, or nobody here is from the country.
        UnknownQuestionError: There is no such question.
    """
    question = respondents.codebook[question_id]
    if not question.options:
        raise ConfigError("has no list of options to count", key=question_id)
    if country is not None:
        places = [i for i, person in enumerate(respondents) if person.country == country]
        if not places:
            raise ConfigError(
                "nobody in the file is from there",
                key="--country",
                value=country,
                allowed=sorted(filter(None, respondents.countries)),
            )
        respondents = respondents.take(places)
    codes, weights = respondents.column(question.id), respondents.weights
    valid = np.isin(codes, question.codes)
    total, mass = int(valid.sum()), float(weights[valid].sum())
    lines = [f"{question.id}: {question.text_for(country)}"]
    lines += [SYNTHETIC_NOTE] if respondents.synthetic else []
    width = max(len(option.label) for option in question.options)
    for option in question.options:
        chosen = codes == option.code
        share = chosen.sum() / max(1, total)
        weighted = weights[chosen].sum() / mass if mass else 0.0
        lines.append(
            f"{option.code:>4}  {option.label:<{width}}  {int(chosen.sum()):>7}  {share:>6.1%}  "
            f"weighted {weighted:>6.1%}  {'#' * round(BAR * share)}".rstrip()
        )
    return [*lines, f"{total} answered, {len(respondents) - total} did not"]
