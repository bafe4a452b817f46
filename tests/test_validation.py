"""The checks of the synthetic population: it passes them, and what is wrong fails them."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuesim_dspy.__main__ import main
from valuesim_dspy.survey import synthetic, validation
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.survey.responses import published_shares
from valuesim_dspy.survey.synthetic import synthesize
from valuesim_dspy.survey.validation import (
    MAX_DIFFERENCE,
    MIN_IN_ALL,
    Check,
    attitude_batteries,
    positions,
    validate_population,
    validation_lines,
)

pytestmark = pytest.mark.slow

BOOK = load_codebook()
REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "wvs7_marginals.csv"
DATASHEET = Path(__file__).resolve().parent.parent / "docs" / "synthetic-population.md"
DEFAULT = 5000


@lru_cache(maxsize=1)
def columns() -> dict[str, Any]:
    """All columns of the default population, not to be changed."""
    return synthetic._columns(DEFAULT, 42)


def people(**changed: Any) -> Respondents:
    """The default population with other answers to some questions."""
    whole = {**columns(), **changed}
    return Respondents.from_columns(
        questions={name: whole[name] for name in BOOK.questions},
        attributes={name: whole[name] for name in ("B_COUNTRY_ALPHA", "version", "doi")},
        codebook=BOOK,
    )


@lru_cache(maxsize=1)
def checked() -> dict[str, Check]:
    """The checks of the default population by what they are on."""
    return {check.matter: check for check in validate_population(people())}


def failures(**changed: Any) -> set[str]:
    """What fails where some answers are others."""
    return {c.matter for c in validate_population(people(**changed)) if c.passed is False}


def test_the_population_passes() -> None:
    """Every check of the default size is judged, and passed."""
    assert {check.outcome for check in checked().values()} == {"ok"}
    assert len(checked()) >= 35


def test_every_country_with_published_shares_is_compared() -> None:
    """A line for each such country, none for one without; the numbers are those of a count."""
    named = {matter.split(", ")[1] for matter in checked() if matter.startswith("published")}
    assert named == set(published_shares()) == {"CHN", "EGY", "JPN", "USA"}
    here = columns()["B_COUNTRY_ALPHA"] == "JPN"
    gaps = []
    for question, shares in published_shares()["JPN"].items():
        codes = columns()[question][here]
        valid = codes[codes >= 0]
        gaps += [100 * abs((valid == code).mean() - share) for code, share in shares.items()]
    found = checked()["published shares, JPN"].found
    assert found.startswith(f"{np.mean(gaps):.1f} points off on average, {max(gaps):.1f} at most")
    assert found.endswith("1,000 people, 19 questions")


@pytest.mark.skipif(not REFERENCE.is_file(), reason="the reference files are not here")
def test_the_stored_shares_are_those_of_the_reference() -> None:
    """What the table compares with is what was published, code by code."""
    stored, listed = published_shares(), set()
    with REFERENCE.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    whole: dict[tuple[str, str], float] = {}
    for row in rows:
        key = (row["country"], row["question"])
        whole[key] = whole.get(key, 0.0) + float(row["share"])
    for row in rows:
        key = (row["country"], row["question"])
        share = stored[key[0]][key[1]][int(row["code"])]
        assert share == pytest.approx(float(row["share"]) / whole[key], abs=1e-9), key
        listed.add(key)
    assert listed == {(country, name) for country in stored for name in stored[country]}


def test_shares_of_other_people_fail() -> None:
    """A country that answers as another one does is more than three points off."""
    country = columns()["B_COUNTRY_ALPHA"]
    egypt = {
        name: np.where(country == "EGY", np.roll(columns()[name], -1000), columns()[name])
        for name in published_shares()["EGY"]
    }
    assert "published shares, EGY" in failures(**egypt)
    assert "published shares, JPN" not in failures(**egypt)


def test_the_limit_is_that_of_the_population() -> None:
    """Three points on average, as the project demands."""
    assert MAX_DIFFERENCE == 3.0
    assert checked()["published shares, USA"].wanted == "at most 3 on average"


def test_batteries_of_values_and_attitudes_are_judged() -> None:
    """All with two graded items or more, but for the list of which up to five are picked."""
    found = attitude_batteries(BOOK)
    assert {"confidence", "justifiable", "democracy-essentials"} <= set(found)
    assert "child-qualities" not in found
    for names in found.values():
        assert len(names) > 1 and all(BOOK[name].order for name in names)
    assert {f"battery {name}" for name in found} <= set(checked())


def test_items_are_turned_by_scale_and_wording() -> None:
    """Positions follow the codebook's order, whichever way the codes run."""
    assert BOOK["Q46"].direction == -1
    codes, places = columns()["Q46"], positions(people(), "Q46")
    assert set(places[codes == 1]) == {1.0} and set(places[codes == 4]) == {0.0}
    assert np.isnan(places[codes < 0]).all()


def test_answers_at_random_fail_their_battery_only() -> None:
    """A battery whose items are dealt out anew does not hang together any more."""
    rng = np.random.default_rng(0)
    dealt = {name: rng.permutation(columns()[name]) for name in ("Q142", "Q143", "Q146", "Q147")}
    dealt["Q148"] = rng.permutation(columns()["Q148"])
    assert (
        "battery worries"
        in failures(**dealt)
        <= {
            "battery worries",
            "not asked is of whole countries",
        }
    )


def test_one_answer_to_all_fails_its_battery() -> None:
    """Items that repeat each other correlate by more than 0.6."""
    same = dict.fromkeys(("Q142", "Q143", "Q146", "Q147", "Q148"), columns()["Q142"])
    assert "battery worries" in failures(**same)


def test_items_that_only_countries_tie_together_fail() -> None:
    """A battery that hangs together over countries, and not inside any, is no battery."""
    rng, place = np.random.default_rng(1), np.arange(DEFAULT) // 1000
    answers = {}
    for name in ("Q142", "Q143", "Q146", "Q147", "Q148"):
        by_country = np.where(place % 2, 1, 4)
        answers[name] = np.where(rng.random(DEFAULT) < 0.6, by_country, rng.integers(1, 5, DEFAULT))
    found = {check.matter: check for check in validate_population(people(**answers))}
    battery = found["battery worries"]
    whole, within = (float(text) for text in battery.found.split() if text[:2] in ("0.", "-0"))
    assert 0.2 <= whole <= 0.6 and within < 0.1
    assert battery.passed is False


def test_countries_that_think_alike_inside_fail() -> None:
    """Where everybody answers with the country, differences lie between countries."""
    place = np.unique(columns()["B_COUNTRY_ALPHA"], return_inverse=True)[1]
    alike = {
        question.id: np.array(sorted(question.order))[place % len(question.order)]
        for question in BOOK
        if question.order and question.kind in ("value", "attitude")
    }
    assert "differences within and between countries" in failures(**alike)


def test_a_sixth_quality_fails() -> None:
    """Nobody may pick more than five of eleven."""
    many = {f"Q{number}": columns()[f"Q{number}"].copy() for number in range(7, 13)}
    for codes in many.values():
        codes[17] = 1
    assert failures(**many) == {"up to 5 of Q7 to Q17"}


def test_the_same_choice_twice_fails() -> None:
    """A second choice is another one, and follows a first."""
    second = columns()["Q153"].copy()
    place = np.flatnonzero(second > 0)[0]
    second[place] = columns()["Q152"][place]
    assert failures(Q153=second) == {"first and second choice Q152, Q153"}
    first = columns()["Q154"].copy()
    first[np.flatnonzero(columns()["Q155"] > 0)[0]] = -1
    assert failures(Q154=first) == {"first and second choice Q154, Q155"}


def test_a_kind_of_missing_that_never_occurs_fails() -> None:
    """Each kind of the codebook must occur; not asked must be of whole countries."""
    asked = {
        name: np.where(columns()[name] == -4, -2, columns()[name])
        for name in BOOK.questions
        if (columns()[name] == -4).any()
    }
    assert failures(**asked) == {"missing: not-asked"}
    partly = columns()["Q57"].copy()
    partly[5] = -4
    assert failures(Q57=partly) == {"not asked is of whole countries"}


def test_an_unknown_code_fails() -> None:
    """A code that the codebook does not have is a fault of the population."""
    codes = columns()["Q57"].copy()
    codes[0] = 77
    assert failures(Q57=codes) == {"codes that the codebook lacks"}


@pytest.mark.parametrize(("n", "judged"), [(1, False), (60, False), (MIN_IN_ALL, True)])
def test_too_few_people_are_not_judged(n: int, judged: bool) -> None:
    """What chance moves in a small population is shown and neither passed nor failed."""
    found = {check.matter: check for check in validate_population(synthesize(n, seed=3))}
    assert not [check for check in found.values() if check.passed is False]
    assert found["battery confidence"].passed is (True if judged else None)
    shares = [check for matter, check in found.items() if matter.startswith("published")]
    assert {check.outcome for check in shares} == {"not judged"}


def test_the_table_lines_up_and_counts() -> None:
    """A head, a rule, a line for each check, and how many passed."""
    lines = validation_lines(
        [Check("one", "2", "1", False), Check("another", "1", "1", True), Check("x", "", "", None)]
    )
    assert lines == [
        "check    found  wanted  result",
        "-------  -----  ------  ----------",
        "one      2      1       FAILED",
        "another  1      1       ok",
        "x                       not judged",
        "1 ok, 1 FAILED, 1 not judged",
    ]


def test_the_command_validates(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`data synth --validate` prints the table, writes nothing and ends with status 0."""
    assert main(["data", "synth", "--validate"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:-1] == validation_lines(list(checked().values()))[:-1]
    assert said[-1] == f"{len(checked())} ok, 0 FAILED, 0 not judged"
    assert main(["data", "synth", "--validate", "--respondents", "10", "--seed", "1"]) == 0
    assert "not judged" in capsys.readouterr().out


def test_the_datasheet_prints_what_the_command_finds() -> None:
    """The table in the datasheet is the command's own, row for row."""
    page = DATASHEET.read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    found = [f"| {c.matter} | {c.found} | {c.wanted} | {c.outcome} |" for c in checked().values()]
    assert rows == found
    assert f"{len(found)} ok, 0 FAILED, 0 not judged." in page


def test_a_check_that_fails_is_the_commands_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, and the table says which."""
    monkeypatch.setattr(validation, "MAX_DIFFERENCE", 0.5)
    assert main(["data", "synth", "--validate"]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.endswith("FAILED")]
    assert [line.split()[2] for line in failed] == ["CHN", "EGY", "JPN", "USA"]
