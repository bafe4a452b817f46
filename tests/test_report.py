"""Results in words and tables."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from evals.benchmark import Result
from evals.metrics import score_frame
from evals.report import MACHINERY, comparison_table, describe_study, difference_sentence
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.leakage import Leakage
from valuesim_dspy.usage import Usage

CODEBOOK = load_codebook()
ASKED = ["Q1", "Q2", "Q3", "Q4", "Q111"]  # four ordinal questions and a nominal one
PEOPLE = [f"person-{n:02}-4f3a" for n in range(20)]
STATUSES = {"f": "failed", "i": "invalid"}


def outcomes(pattern: str, asked: Sequence[str] = ASKED, **known: Any) -> list[Outcome]:
    """Make 100 cases: a person's five in each part of the pattern, repeated over the people.

    1 is right, 0 the opposite end, f failed, i invalid.
    """
    rows = []
    for place, person in enumerate(PEOPLE):
        own = pattern.split()[place % len(pattern.split())]
        for question, mark in zip(asked, own, strict=True):
            answer = {"1": 1, "0": CODEBOOK[question].codes[-1]}.get(mark)
            status = STATUSES.get(mark, "answered")
            rows.append(Outcome(person, question, 1, answer, status, **known))
    return rows


def result(arm: str, pattern: str = "11100", label: str | None = None, **given: Any) -> Result:
    """Make a result of 100 cases."""
    known = given.pop("known", {})
    frame = score_frame(outcomes(pattern, given.pop("asked", ASKED), **known), CODEBOOK)
    defaults = {
        "role": "dev",
        "knows": "cold",
        "needed": Usage(100, 51_200, 8_800, 1.234),
        "paid": Usage(40, 20_000, 4_000, 0.5),
        "failed_calls": 0,
        "seconds": 12.4,
        "evidence": "survey",
        "notes": (),
    }
    return Result(arm=arm, label=label or arm, frame=frame, **{**defaults, **given})


def rag(**given: Any) -> Result:
    """Make the reference: 50 of 100 right."""
    return result("rag", "11000 11100", **given)


def valuesim(**given: Any) -> Result:
    """Make an arm with views and a backstory: 60 of 100 right."""
    known = {"views": {"cognitive": 1, "affective": 2}, "fidelity": 0.9}
    return result("valuesim", "11100", **{"known": known, **given})


def country_mode(**given: Any) -> Result:
    """Make the warm baseline without an LM: 40 of 100 right."""
    free = {"needed": Usage(), "paid": Usage(), "knows": "warm"}
    return result("country-mode", "11000", **{**free, **given})


def render(*results: Result, reference: str | None = "rag", **given: Any) -> str:
    """Render a comparison."""
    return comparison_table(results, reference=reference, title="Arms", **given)


def tables(text: str) -> list[dict[str, dict[str, str]]]:
    """Parse every Markdown table of a text: arm to head to cell."""
    found = []
    for block in text.split("\n\n"):
        if block.startswith("| "):
            rows = [
                [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
                for line in block.strip().splitlines()
            ]
            assert all(set(cell) <= set("-:") and len(cell) >= 3 for cell in rows[1])
            found.append({row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]})
    return found


def test_a_row_shows_every_number_of_its_arm() -> None:
    """Each cell of the table is the number that the cases above give."""
    (table,) = tables(render(rag(), valuesim()))
    row = table["valuesim"]
    assert row.pop("accuracy % [95 %]") == "60.0 [60.0, 60.0]"  # all alike: no spread
    assert re.fullmatch(r"\+10\.0 \[\d+\.\d, \d+\.\d\]", row.pop("minus rag [95 %]"))
    assert row == {
        "arm": "valuesim",
        "nMAE (n)": "0.250 (80)",  # one of four ordinal answers at the other end
        "fail+inv": "0.0+0.0",
        "disagree": "100.0",
        "fidelity": "0.900",
        "calls": "100 / 40",
        "tokens": "600",
        "usd": "1.23",
        "sec": "12",
    }
    assert table["rag"]["minus rag [95 %]"] == "reference"
    assert table["rag"]["accuracy % [95 %]"].startswith("50.0 [4")
    assert table["rag"]["disagree"] == table["rag"]["fidelity"] == "-"


def test_the_difference_is_paired_by_case() -> None:
    """Ten points more, right in half of the people: the interval is that of the gaps."""
    (table,) = tables(render(rag(), valuesim()))
    low, high = re.findall(r"\d+\.\d(?=[,\]])", table["valuesim"]["minus rag [95 %]"])
    # Half of 20 people gain a fifth: standard error 0.1 / sqrt(20), or 2.2 points.
    assert float(low) == pytest.approx(10 - 1.96 * 2.24, abs=0.7)
    assert float(high) == pytest.approx(10 + 1.96 * 2.24, abs=0.7)


def test_failures_are_wrong_and_shown_as_rates_of_their_own() -> None:
    """Failed and invalid cases lower accuracy, and nMAE leaves them out."""
    few = result("blank", " ".join(["11111"] * 18 + ["f1111", "i1111"]))
    (table,) = tables(render(rag(), few))
    assert table["blank"]["accuracy % [95 %]"].startswith("98.0")
    assert table["blank"]["fail+inv"] == "1.0+1.0"
    assert table["blank"]["nMAE (n)"] == "0.000 (78)"


def test_below_the_coverage_limit_a_row_has_no_score() -> None:
    """An arm that answered too little is invalid, not merely worse."""
    low = result("blank", "1111f 11111")  # 90 of 100 answered
    row = tables(render(rag(), valuesim(), low, country_mode()))[0]["blank"]
    assert row["accuracy % [95 %]"] == "invalid: coverage 0.90"
    assert row["minus rag [95 %]"] == row["skill"] == row["nMAE (n)"] == "-"
    assert row["fail+inv"] == "10.0+0.0"
    assert row["calls"] == "100 / 40"


def test_a_coverage_just_below_the_limit_is_not_rounded_up_to_it() -> None:
    """0.947 is below 0.95, and reads so."""
    asked = ["Q1", "Q2", "Q3"]
    pattern = " ".join(["111"] * 17 + ["11f"] * 3)  # 57 of 60: just enough
    enough = result("blank", pattern, asked=asked)
    assert enough.is_valid
    frame = enough.frame.drop(index=range(3))  # 54 of 57: 0.947
    short = replace(enough, frame=frame)
    assert not short.is_valid
    assert "invalid: coverage 0.94" in render(short, reference=None)


def test_nothing_is_compared_with_an_invalid_reference() -> None:
    """Differences to a reference without a score are withheld, and the reader is told."""
    broken = result("rag", "11fff")
    text = render(broken, valuesim())
    assert not any("minus" in head for head in tables(text)[0]["valuesim"])
    assert "Warning: rag (devset) is invalid: coverage 0.40: nothing is compared" in text


def test_an_invalid_compiled_reference_does_not_stop_the_comparison_with_the_plain_one() -> None:
    """ "rag" names the result labelled so, not "rag compiled", whose arm is rag too."""
    text = render(result("rag", "11fff", "rag compiled"), rag(), valuesim())
    assert tables(text)[0]["valuesim"]["minus rag [95 %]"].startswith("+10.0")
    assert "nothing is compared" not in text


def test_cold_and_warm_arms_never_share_a_table() -> None:
    """Each table says what its arms knew, and a warm one never refers to a cold arm."""
    mode = result("mode", "10000", knows="warm", needed=Usage(), paid=Usage())
    text = render(country_mode(), rag(), mode, valuesim())
    cold, warm = tables(text)
    assert (list(cold), list(warm)) == (["rag", "valuesim"], ["country-mode", "mode"])
    assert warm["mode"]["minus country-mode [95 %]"] == "-20.0 [-20.0, -20.0]"
    assert "minus rag [95 %]" not in warm["mode"]
    assert text.index("**Cold arms, devset**") < text.index("**Warm arms, devset**")


def test_skill_stands_in_both_tables() -> None:
    """From the country mode's 40 % to 60 % is a third of the way; its own skill is 0."""
    cold, warm = tables(render(rag(), valuesim(), country_mode()))
    assert cold["valuesim"]["skill"] == "+0.33"
    assert warm["country-mode"]["skill"] == "+0.00"


def test_sets_never_share_a_table() -> None:
    """Devset and testset results stand apart, each with its own reference."""
    text = render(rag(), rag(role="test"), valuesim(role="test"))
    dev, test = tables(text)
    assert (list(dev), list(test)) == (["rag"], ["rag", "valuesim"])
    assert "Cold arms, devset" in text
    assert "Cold arms, testset" in text
    assert test["valuesim"]["minus rag [95 %]"].startswith("+10.0")


def test_a_column_that_says_nothing_is_left_out() -> None:
    """Baselines without an LM show no calls, tokens, money, views or backstory."""
    (table,) = tables(render(country_mode(), reference=None))
    heads = ["arm", "accuracy % [95 %]", "skill", "nMAE (n)", "fail+inv", "sec"]
    assert list(table["country-mode"]) == heads


@pytest.mark.parametrize(
    ("needed", "tokens", "usd"),
    [
        (Usage(100, 1_000, 234, None, unpriced_calls=1), "12", "unknown"),
        (Usage(100, 1_000, 234, 0.0), "12", "0.00"),
        (Usage(100, 1_000, 234, 0.001), "12", "<0.01"),
        (Usage(100, 500_000, 67_800, 1234.5, estimated_calls=1), "~5,678", "1,234.50"),
    ],
)
def test_money_and_tokens_say_what_is_unknown_or_estimated(
    needed: Usage, tokens: str, usd: str
) -> None:
    """An unknown price is not zero, and estimated tokens are marked."""
    (table,) = tables(render(rag(needed=needed)))
    assert (table["rag"]["tokens"], table["rag"]["usd"]) == (tokens, usd)


def test_the_header_says_what_was_measured() -> None:
    """Evidence, what the study was, and for each set people, questions and cases."""
    text = render(rag(), about={"fold": "battery 1 of 5", "task LM": "lab/model"})
    assert text.startswith("## Arms\n\nevidence: survey; fold: battery 1 of 5; task LM: lab/model")
    assert "(20 people, 5 questions, 100 cases)" in text


def test_synthetic_people_or_an_offline_model_rank_nothing() -> None:
    """Either is enough for the sentence; a survey and a real model need none."""

    def says(text: str) -> bool:
        return MACHINERY in " ".join(text.split())

    assert says(render(rag(evidence="synthetic-machinery")))
    assert says(render(rag(), offline=True))
    assert not says(render(rag()))


@pytest.mark.parametrize(("apart", "is_warned"), [(20, True), (10, False), (1, False), (0, True)])
def test_unlikely_disagreement_of_the_embedded_model_is_warned_of(
    apart: int, is_warned: bool
) -> None:
    """Outside 5 to 60 % the embedded lenses are broken; with a real model it is a finding."""
    rows = []
    for place, person in enumerate(PEOPLE):
        given = {"cognitive": 1, "affective": 2 if place < apart else 1}
        rows += [Outcome(person, "Q1", 1, 1, "answered", views=given)]
    one = replace(rag(), frame=score_frame(rows, CODEBOOK))
    warned = "Warning: the perspectives of rag (devset) disagree"
    assert (warned in render(one, offline=True)) is is_warned
    assert warned not in render(one)


def test_notes_stand_under_the_tables_once() -> None:
    """The caller's notes, the arms' and failed calls are listed; empty notes are not."""
    text = render(rag(notes=("bound to x",), failed_calls=3), notes=["weak", "", "weak"])
    notes = [line for line in text.splitlines() if line.startswith("- ")]
    assert notes == [
        "- rag (devset): 3 calls ended in an endpoint's error.",
        "- rag (devset): bound to x",
        "- weak",
    ]


def test_the_table_lines_up_and_fits_a_terminal() -> None:
    """All lines of a table are equally long, at most 160; prose is at most 118."""
    text = render(rag(), valuesim(label="valuesim compiled"), country_mode(), offline=True)
    for block in text.split("\n\n"):
        lengths = {len(line) for line in block.splitlines()}
        if block.startswith("| "):
            assert len(lengths) == 1
            assert max(lengths) <= 160
        elif not block.startswith("- "):
            assert max(lengths) <= 118
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_a_label_with_a_pipe_does_not_break_the_table() -> None:
    """A pipe in a label is escaped, so every row has as many cells as the head."""
    (table,) = tables(render(rag(label="rag|odd"), reference=None))
    assert list(table) == ["rag\\|odd"]


def test_no_respondent_is_in_the_report() -> None:
    """Not an id, salted or not, and no question by name: aggregates only."""
    text = render(rag(), valuesim(), country_mode(), offline=True)
    text += difference_sentence(valuesim(), rag())
    for hidden in (*PEOPLE, "person", "4f3a", *ASKED):
        assert hidden not in text, hidden


def test_the_same_results_give_the_same_text() -> None:
    """Nothing in a report depends on time or chance."""
    assert render(rag(), valuesim()) == render(rag(), valuesim())


def test_the_legend_explains_the_columns_shown() -> None:
    """A column's meaning is under the tables if, and only if, the column is there."""
    assert "disagree: % of cases" in render(rag(), valuesim())
    assert "disagree:" not in render(rag())


def test_what_cannot_be_compared_is_refused() -> None:
    """No results, an unknown reference and other cases are errors that say what to do."""
    with pytest.raises(ConfigError, match="no results"):
        render()
    with pytest.raises(ConfigError, match="allowed: rag, valuesim"):
        render(rag(), valuesim(), reference="ragg")
    with pytest.raises(ConfigError, match="not on the same cases"):
        render(rag(), valuesim(asked=["Q1", "Q2", "Q3", "Q4", "Q5"]), reference=None)


def test_a_difference_in_a_sentence() -> None:
    """Names, points with a sign, interval, level and what was drawn."""
    sentence = difference_sentence(valuesim(label="ValueSim compiled"), rag(label="RAG"))
    assert re.fullmatch(
        r"ValueSim compiled minus RAG: \+10\.0 points of accuracy \[\d\.\d, 1\d\.\d\], 95 % "
        r"interval, paired, clustered by 20 respondents",
        sentence,
    )
    back = difference_sentence(rag(), valuesim())
    assert re.search(r"rag minus valuesim: -10\.0 points of accuracy \[-1\d\.\d, -\d\.\d\]", back)


def test_a_sentence_on_unasked_questions_draws_questions_too() -> None:
    """Crossed, the sentence says so and the interval is another."""
    plain, crossed = (difference_sentence(valuesim(), rag(), crossed=c) for c in (False, True))
    assert crossed.endswith("paired, crossed by 20 respondents and 5 questions")
    assert crossed.split("[")[1].split("]")[0] != plain.split("[")[1].split("]")[0]


def test_a_sentence_says_when_one_side_is_warm() -> None:
    """A cold arm beside a warm one is never passed off as a fair match."""
    sentence = difference_sentence(valuesim(), country_mode())
    assert sentence.startswith("valuesim (cold) minus country-mode (warm): +20.0 points")


def test_an_invalid_result_gives_no_difference() -> None:
    """The sentence says which side is invalid in place of a number."""
    low = result("blank", "1111f")
    expected = "rag and blank are not compared: blank is invalid: coverage 0.80"
    assert difference_sentence(rag(), low) == expected


def test_one_respondent_has_no_interval() -> None:
    """A single person shows no spread, and the table does not pretend otherwise."""
    one = rag()
    own = replace(one, frame=one.frame.iloc[:5])
    (table,) = tables(render(own))
    assert table["rag"]["accuracy % [95 %]"] == "40.0 [no interval]"


def test_tiny_negative_differences_are_not_minus_zero() -> None:
    """A difference that rounds to nothing is 0.0."""
    whole = rag(label="again")
    less = replace(rag(), frame=whole.frame.assign(correct=whole.frame["correct"] - 1e-5))
    sentence = difference_sentence(less, whole)
    assert "rag minus again: +0.0 points of accuracy [0.0, 0.0]" in sentence


def test_a_study_is_described_without_paths_or_hosts() -> None:
    """Data, fold, split, model, embedder and date, and not where the file lies."""

    class People(list[int]):
        stamp, digest, path = "", "0123456789abcdef", "/home/somebody/wvs.csv"

    sets = {"train": (1, 2), "val": (3,), "dev": (4, 5), "test": (6,)}
    study: Any = SimpleNamespace(
        respondents=People(range(1500)),
        fold=SimpleNamespace(strategy="battery", index=1, of=5, seed=42),
        split=SimpleNamespace(
            kind="random", seed=7, roles=tuple(sets.items()), people=sets.__getitem__
        ),
        task_lm=SimpleNamespace(model="openai/a-model", api_base="http://host:1"),
        retriever=SimpleNamespace(embedder=SimpleNamespace(name="lexical")),
        leakage=Leakage(2, 0, 0, ()),
    )
    assert describe_study(study, date=datetime.date(2026, 1, 2)) == {
        "data": "survey 0123456789ab, 1,500 respondents",
        "fold": "battery 1 of 5, seed 42",
        "split": "random, train 2, val 1, dev 2, test 1, seed 7",
        "leakage": "nearest profile question: not measured on 2 training people",
        "task LM": "openai/a-model",
        "embedder": "lexical",
        "date": "2026-01-02",
    }
