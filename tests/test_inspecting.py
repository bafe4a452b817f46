"""What `valuesim data check` finds: years, weights, gaps by country, questions asked nowhere."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from valuesim_dspy.survey.inspecting import check_lines, inspect_respondents
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.survey.synthetic import synthesize


def people(**columns: Any) -> Respondents:
    """Ten people, six in Japan and four in Germany; questions and attributes may be replaced."""
    answers = {
        "Q46": np.array([1, 1, 1, 1, 1, 2, 2, 2, 3, -1]),
        "Q57": np.array([1, 2, 1, 2, -2, -2, -4, -4, -4, -4]),
    }
    attributes: dict[str, Any] = {
        "D_INTERVIEW": np.array([f"id-{place}" for place in range(10)]),
        "B_COUNTRY_ALPHA": np.array(["JPN"] * 6 + ["DEU"] * 4),
        "A_YEAR": np.array([2018] * 9 + [-5]),
        "W_WEIGHT": np.array([1.0] * 5 + [2.0] * 3 + [np.nan] * 2),
    }
    answers |= {name: codes for name, codes in columns.items() if name.startswith("Q")}
    attributes |= {name: cells for name, cells in columns.items() if not name.startswith("Q")}
    kept = {name: cells for name, cells in attributes.items() if cells is not None}
    return Respondents.from_columns(questions=answers, attributes=kept)


def test_years_and_weights_are_counted() -> None:
    """An unknown year is 0; a weight that is not given counts as 1 and against coverage."""
    found = inspect_respondents(people())
    assert found.years == {0: 1, 2018: 9}
    assert found.weighted == pytest.approx(0.8)
    assert found.weights == (1.0, pytest.approx(1.3), 2.0)
    bare = inspect_respondents(people(W_WEIGHT=None, A_YEAR=None))
    assert bare.weighted == 0.0 and bare.years == {0: 10} and bare.weights == (1.0, 1.0, 1.0)


def test_missing_answers_by_country_and_kind() -> None:
    """Shares of the country's cells, of the questions that have a column; the largest first."""
    found = inspect_respondents(people()).missing
    assert found["JPN"] == {"no-answer": pytest.approx(2 / 12)}
    assert list(found["DEU"]) == ["not-asked", "dont-know"]
    assert found["DEU"] == {"not-asked": pytest.approx(4 / 8), "dont-know": pytest.approx(1 / 8)}
    odd = inspect_respondents(people(Q46=np.array([1] * 9 + [77]))).missing
    assert odd["DEU"]["unknown-code"] == pytest.approx(1 / 8)


def test_questions_that_nobody_answered_somewhere() -> None:
    """By country; a question without a column is asked nowhere and not listed."""
    found = inspect_respondents(people())
    assert found.not_asked == {"DEU": ("Q57",)}
    everywhere = people(Q46=np.full(10, -4), Q57=np.full(10, -4))
    silent = inspect_respondents(everywhere).not_asked
    assert silent == {"DEU": ("Q46", "Q57"), "JPN": ("Q46", "Q57")}


def test_people_of_no_known_country() -> None:
    """They are a country of their own, called unknown."""
    found = inspect_respondents(people(B_COUNTRY_ALPHA=np.array(["JPN"] * 9 + ["XXX"])))
    assert set(found.missing) == {"JPN", "unknown"} and found.not_asked["unknown"] == ("Q46", "Q57")
    nowhere = inspect_respondents(people(B_COUNTRY_ALPHA=None))
    assert list(nowhere.missing) == ["unknown"] and nowhere.not_asked == {}


def test_shares_add_up_with_the_report() -> None:
    """Over all countries there are as many gaps as the report has."""
    made = synthesize(300, seed=2)
    found = inspect_respondents(made)
    sizes = made.countries
    total = sum(
        share * sizes[alpha] * 290
        for alpha, kinds in found.missing.items()
        for share in kinds.values()
    )
    assert total == pytest.approx(sum(made.report.missing.values()))
    assert sum(found.years.values()) == 300 and found.weighted == 1.0
    for alpha, ids in found.not_asked.items():
        assert ids and all(
            made[at].answer(ids[0]) is None for at in range(300) if made[at].country == alpha
        )


def test_it_is_json() -> None:
    """Plain values, all of it, and no row of anybody."""
    text = json.dumps(inspect_respondents(people()).as_dict(), allow_nan=False)
    found = json.loads(text)
    assert found["years"] == {"0": 1, "2018": 9} and found["not_asked"] == {"DEU": ["Q57"]}
    assert found["weights"]["largest"] == 2.0 and "id-" not in text


def test_the_lines_say_it_in_words() -> None:
    """After what the report says: years, weights, a table of gaps, what nobody answered."""
    lines = check_lines(people())
    assert lines[3].startswith("rows        10")
    assert "years       unknown 1, 2018 9" in lines
    assert "weights     80.0% of people have one; least 1, mean 1.3, largest 2" in lines
    table = next(at for at, line in enumerate(lines) if line.startswith("missing, % of cells"))
    assert lines[table].split()[4:] == ["dont-know", "no-answer", "not-asked"]
    assert lines[table + 1].split() == ["DEU", "12.5", "0.0", "50.0"]
    assert lines[table + 2].split() == ["JPN", "0.0", "16.7", "0.0"]
    assert len({len(line) for line in lines[table : table + 3]}) == 1
    assert lines[-1] == "DEU         1 questions: Q57" and "id-" not in "\n".join(lines)


def test_a_file_without_gaps_has_no_table() -> None:
    """Nor a list of questions that nobody answered."""
    whole = people(Q46=np.ones(10, dtype=int), Q57=np.ones(10, dtype=int))
    lines = check_lines(whole)
    assert lines[-1].startswith("weights") and not [x for x in lines if x.startswith("missing, %")]


def test_many_questions_are_shortened() -> None:
    """A dozen, and how many more."""
    many = {f"Q{n}": np.array([1] * 6 + [-4] * 4) for n in range(1, 21)}
    line = check_lines(people(**many))[-1]
    assert line.startswith("DEU         21 questions: Q1, Q2, ") and line.endswith("and 9 more")
