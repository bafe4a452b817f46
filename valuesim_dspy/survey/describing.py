"""Survey files in words: what was found in one, and how a question was answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.question import Question
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


@dataclass(frozen=True)
class Distribution:
    """How a question was answered.

    Args:
        question: The question.
        country: Alpha-3 code of those counted; None for everyone.
        counts: People by option, in the options' order.
        weights: The sum of their weights, likewise.
        silent: People without a valid answer.
        synthetic: Whether nobody of them exists.
    """

    question: Question
    country: str | None
    counts: tuple[int, ...]
    weights: tuple[float, ...]
    silent: int
    synthetic: bool

    @property
    def total(self) -> int:
        """People with a valid answer."""
        return sum(self.counts)

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of the valid answers, in [0, 1]; 0 where there is none."""
        return tuple(count / max(1, self.total) for count in self.counts)

    @property
    def weighted(self) -> tuple[float, ...]:
        """Weighted shares, in [0, 1]; 0 where no weight is."""
        mass = sum(self.weights)
        return tuple(weight / mass if mass else 0.0 for weight in self.weights)


def distribution(
    respondents: Respondents, question_id: str, *, country: str | None = None
) -> Distribution:
    """Count how a question was answered.

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
    respondents = of_country(respondents, country)
    codes, weights = respondents.column(question.id), respondents.weights
    chosen = [codes == code for code in question.codes]
    counts = tuple(int(people.sum()) for people in chosen)
    return Distribution(
        question=question,
        country=country,
        counts=counts,
        weights=tuple(float(weights[people].sum()) for people in chosen),
        silent=len(respondents) - sum(counts),
        synthetic=respondents.synthetic,
    )


def of_country(respondents: Respondents, country: str | None) -> Respondents:
    """The people of a country; everyone for None.

    Raises:
        ConfigError: Nobody here is from there.
    """
    if country is None:
        return respondents
    places = np.flatnonzero(np.array(respondents.alphas) == country)
    if not country or not len(places):
        raise ConfigError(
            "nobody in the file is from there",
            key="--country",
            value=country,
            allowed=sorted(filter(None, respondents.countries)),
        )
    return respondents.take(places)


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
    return distribution_lines(distribution(respondents, question_id, country=country))


def distribution_lines(found: Distribution) -> list[str]:
    """Return a distribution in words: a line an option."""
    question = found.question
    lines = [f"{question.id}: {question.text_for(found.country)}"]
    lines += [SYNTHETIC_NOTE] if found.synthetic else []
    width = max(len(option.label) for option in question.options)
    each = zip(question.options, found.counts, found.shares, found.weighted, strict=True)
    for option, count, share, weighted in each:
        lines.append(
            f"{option.code:>4}  {option.label:<{width}}  {count:>7}  {share:>6.1%}  "
            f"weighted {weighted:>6.1%}  {'#' * round(BAR * share)}".rstrip()
        )
    return [*lines, f"{found.total} answered, {found.silent} did not"]


def overview_lines(respondents: Respondents, *, country: str | None = None) -> list[str]:
    """Return an overview by section: each question's answers, and its most frequent option.

    Args:
        respondents: The survey.
        country: ISO alpha-3 code; everyone by default.

    Raises:
        ConfigError: Nobody here is from the country.
    """
    people, codebook = of_country(respondents, country), respondents.codebook
    lines = [f"{len(people)} people{f' of {country}' if country else ''}"]
    lines += [SYNTHETIC_NOTE] if people.synthetic else []
    for section, share in answered_by_section(people).items():
        title = codebook.section_titles.get(section, section)
        lines += ["", f"{title} ({share:.1%} answered)"]
        lines += [
            _summary(people, codebook[id])
            for id in codebook.sections[section]
            if id not in people.report.columns_missing
        ]
    return lines


def answered_by_section(respondents: Respondents) -> dict[str, float]:
    """The share of valid answers in each section that has a column, in [0, 1]."""
    absent, shares = set(respondents.report.columns_missing), {}
    for section, ids in respondents.codebook.sections.items():
        there = [respondents.column(id) >= 0 for id in ids if id not in absent]
        if there:
            shares[section] = float(np.mean(there))
    return shares


def _summary(people: Respondents, question: Question) -> str:
    line = f"  {question.id:<10} {question.topic[:44]:<44} "
    if not question.options:
        return f"{line}{int((people.column(question.id) >= 0).sum()):>7} answered, open"
    found = distribution(people, question.id)
    if not found.total:
        return f"{line}{0:>7} answered"
    top = max(range(len(found.counts)), key=lambda at: found.counts[at])
    return (
        f"{line}{found.total:>7} answered, {found.shares[top]:>6.1%} "
        f"(weighted {found.weighted[top]:>6.1%}) {question.options[top].label}"
    )
