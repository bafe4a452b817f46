"""Survey files in words: counts that add up, and no row of anybody."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from valuesim_dspy.errors import ConfigError, SurveyDataError
from valuesim_dspy.survey.describing import (
    BAR,
    answered_by_section,
    describe_question,
    distribution,
    distribution_lines,
    of_country,
    overview_lines,
    report_lines,
)
from valuesim_dspy.survey.respondents import Respondents


def people(**columns: Any) -> Respondents:
    """Return ten people: five happy, three quite, one not, one silent; two countries."""
    answers = {"Q46": np.array([1, 1, 1, 1, 1, 2, 2, 2, 3, -1])}
    attributes = {
        "D_INTERVIEW": np.array([f"id-{place}" for place in range(10)]),
        "B_COUNTRY_ALPHA": np.array(["JPN"] * 6 + ["DEU"] * 4),
        "W_WEIGHT": np.array([1.0] * 5 + [2.0] * 5),
    }
    known = {name: attributes.pop(name) for name in list(attributes) if columns.get(name) is False}
    del known
    attributes |= {k: v for k, v in columns.items() if not k.startswith("Q") and v is not False}
    answers |= {k: v for k, v in columns.items() if k.startswith("Q")}
    return Respondents.from_columns(questions=answers, attributes=attributes)


def matter(lines: list[str], name: str) -> str:
    """Return what a report says of one matter."""
    found = [line[12:] for line in lines if line.startswith(name.ljust(12))]
    assert len(found) == 1, lines
    return found[0]


def option(lines: list[str], code: int) -> list[str]:
    """Return the words of the line of an option."""
    (line,) = (line for line in lines if line.startswith(f"{code:>4}  "))
    return line.split()


def test_a_report_counts_rows_countries_and_answers() -> None:
    """The larger country first; shares of all cells."""
    lines = report_lines(people())
    assert matter(lines, "rows") == "10, of which 0 repeat an interview number"
    assert matter(lines, "countries") == "JPN 6, DEU 4"
    assert matter(lines, "answers") == "9 of 10 cells (90.0%)"
    assert matter(lines, "missing") == "dont-know 1"
    assert matter(lines, "stamp") == "survey data"
    assert len(matter(lines, "sha256")) == 64
    assert matter(lines, "set aside") == "no code is unknown to the codebook"


def test_a_report_names_what_is_not_there() -> None:
    """A dozen of the questions without a column, and how many more."""
    missing = matter(report_lines(people()), "no column")
    assert missing.startswith("Q1, Q2, Q3,") and missing.endswith("and 277 more")
    assert missing.count(",") == 11


def test_a_report_says_what_was_set_aside() -> None:
    """Codes unknown to the codebook, by question and code, are counted and no error."""
    lines = report_lines(people(Q57=np.array([1, 2, 9, 9, 7, 1, 1, 1, 1, 1])))
    told = [line[12:] for line in lines if line.startswith("set aside")]
    assert told == [
        "Q57: code 7 is unknown to the codebook (1 times)",
        "Q57: code 9 is unknown to the codebook (2 times)",
    ]


def test_a_report_tells_unknown_countries_and_repeated_people() -> None:
    """A country that the codebook lacks is unknown; the same interview number twice is counted."""
    lines = report_lines(
        people(
            B_COUNTRY_ALPHA=np.array(["JPN"] * 9 + ["XXX"]),
            D_INTERVIEW=np.array(["a", "a", *"bcdefghi"]),
        )
    )
    assert matter(lines, "countries") == "JPN 9, unknown 1"
    assert "1 repeat" in matter(lines, "rows")
    assert "B_COUNTRY_ALPHA: code XXX is unknown" in matter(lines, "set aside")


def test_synthetic_people_are_called_so() -> None:
    """In the report and above every distribution."""
    made_up = people(version=np.array(["SYNTHETIC-1"] * 10))
    assert "no evidence about anyone" in matter(report_lines(made_up), "stamp")
    assert "no evidence about anyone" in describe_question(made_up, "Q46")[1]
    assert not [line for line in describe_question(people(), "Q46") if "synthetic" in line]


def test_nobody_is_in_a_description() -> None:
    """No interview number, in a report or in a distribution."""
    text = "\n".join(report_lines(people()) + describe_question(people(), "Q46"))
    assert "id-" not in text


def test_a_distribution_counts_and_weighs() -> None:
    """Shares are of those who answered; weights change them; the bar is as long as the share."""
    lines = describe_question(people(), "Q46")
    assert lines[0].startswith("Q46: ") and lines[-1] == "9 answered, 1 did not"
    first = option(lines, 1)
    assert first[:3] == ["1", "Very", "happy"]
    assert first[3:] == ["5", "55.6%", "weighted", "38.5%", "#" * round(BAR * 5 / 9)]
    assert option(lines, 3)[-4:] == ["11.1%", "weighted", "15.4%", "###"]
    # Nobody chose the last: a line without a bar, and without blanks at its end.
    assert option(lines, 4)[-4:] == ["0", "0.0%", "weighted", "0.0%"]
    assert all(line == line.rstrip() for line in lines)
    counts = [int(option(lines, code)[-5 if code < 4 else -4]) for code in (1, 2, 3, 4)]
    assert counts == [5, 3, 1, 0]


def test_a_country_is_counted_alone() -> None:
    """Only its people, and the question in its wording."""
    lines = describe_question(people(), "Q46", country="DEU")
    assert lines[-1] == "3 answered, 1 did not"
    assert option(lines, 1)[-4:] == ["0", "0.0%", "weighted", "0.0%"]
    assert option(lines, 2)[3] == "2"


def test_a_question_without_a_column_was_answered_by_nobody() -> None:
    """Zeros, and no division by zero; the same with weights of zero."""
    lines = describe_question(people(), "Q57")
    assert lines[-1] == "0 answered, 10 did not"
    assert option(lines, 1)[-4:] == ["0", "0.0%", "weighted", "0.0%"]
    weightless = describe_question(people(W_WEIGHT=np.zeros(10)), "Q46")
    assert option(weightless, 1)[4:7] == ["55.6%", "weighted", "0.0%"]


def test_columns_of_labels_line_up() -> None:
    """Counts stand under each other, however long the labels are."""
    lines = [line for line in describe_question(people(), "Q46") if "weighted" in line]
    assert len({line.index("weighted") for line in lines}) == 1 and len(lines) == 4


@pytest.mark.parametrize(
    ("question", "country", "error", "said"),
    [
        ("Q999", None, SurveyDataError, "no question Q999"),
        ("q46", None, SurveyDataError, "did you mean Q46"),
        ("Q262", None, ConfigError, "no list of options"),
        ("Q46", "FRA", ConfigError, "allowed: DEU, JPN"),
        ("Q46", "jpn", ConfigError, "allowed: DEU, JPN"),
        ("Q46", "", ConfigError, "allowed: DEU, JPN"),
    ],
)
def test_what_cannot_be_counted_is_refused(
    question: str, country: str | None, error: type[Exception], said: str
) -> None:
    """The question or the country is named, with those that are there."""
    with pytest.raises(error, match=said):
        describe_question(people(), question, country=country)


def test_a_distribution_as_numbers() -> None:
    """Counts and weights by option, in the options' order; shares are of valid answers."""
    found = distribution(people(), "Q46")
    assert found.counts == (5, 3, 1, 0) and found.weights == (5.0, 6.0, 2.0, 0.0)
    assert (found.total, found.silent, found.synthetic) == (9, 1, False)
    assert sum(found.shares) == pytest.approx(1.0) and sum(found.weighted) == pytest.approx(1.0)
    nobody = distribution(people(), "Q57")
    assert nobody.shares == (0.0, 0.0) and nobody.weighted == (0.0, 0.0) and nobody.silent == 10
    assert describe_question(people(), "Q46") == distribution_lines(found)


def test_the_overview_goes_by_section() -> None:
    """Each question that has a column, with its most frequent option; no other section."""
    lines = overview_lines(people(Q57=np.array([2] * 6 + [1] * 4), Q262=np.arange(20, 30)))
    assert lines[0] == "10 people" and lines[1] == ""
    assert [line for line in lines if line and not line.startswith("  ")] == [
        "10 people",
        "Happiness and wellbeing (90.0% answered)",
        "Social capital, trust and membership of organisations (100.0% answered)",
        "Demographic and socioeconomic background (100.0% answered)",
    ]
    happy = next(line for line in lines if line.startswith("  Q46 "))
    assert "9 answered,  55.6% (weighted  38.5%) Very happy" in happy
    trust = next(line for line in lines if line.startswith("  Q57 "))
    assert "60.0% (weighted  46.7%) Need to be very careful" in trust
    assert next(line for line in lines if line.startswith("  Q262 ")).endswith("10 answered, open")


def test_the_overview_of_a_country() -> None:
    """Only its people; a question that none of them answered says so."""
    lines = overview_lines(people(Q57=np.array([2] * 6 + [-4] * 4)), country="DEU")
    assert lines[0] == "4 people of DEU"
    assert next(line for line in lines if line.startswith("  Q57 ")).endswith("0 answered")
    with pytest.raises(ConfigError, match="allowed: DEU, JPN"):
        overview_lines(people(), country="FRA")


def test_synthetic_people_are_called_so_in_the_overview() -> None:
    """Before anything is counted."""
    made_up = overview_lines(people(version=np.array(["SYNTHETIC-1"] * 10)))
    assert "no evidence about anyone" in made_up[1]


def test_people_of_a_country_and_sections() -> None:
    """Everyone for None; shares by section count what was answered of what has a column."""
    everyone = people()
    assert of_country(everyone, None) is everyone
    assert set(of_country(everyone, "JPN").alphas) == {"JPN"}
    assert answered_by_section(everyone) == {"wellbeing": pytest.approx(0.9)}
