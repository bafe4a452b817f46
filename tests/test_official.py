"""The synthetic file in the shape of the official one."""

from __future__ import annotations

import csv
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from valuesim_dspy.__main__ import main
from valuesim_dspy.survey import synthetic
from valuesim_dspy.survey.official import FILLER, official, official_names
from valuesim_dspy.survey.reading import NEVER_READ
from valuesim_dspy.survey.respondents import read_respondents
from valuesim_dspy.survey.synthetic import synthesize, write_synthetic

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "wvs7_variables.csv"


def header(path: Path) -> list[str]:
    """The names of a file's columns."""
    with path.open(encoding="utf-8", newline="") as lines:
        return next(csv.reader(lines))


def test_there_are_as_many_columns_as_in_the_official_file() -> None:
    """377 have names of their own, and all 613 have different ones."""
    names = official_names()
    assert len(names) == len(set(names)) == 613
    assert names[376] == "Q290"
    assert [name for name in names if name.startswith("FILLER_")] == list(names[377:])
    assert {f"Q{number}" for number in range(1, 291)} <= set(names)
    assert set(names) >= NEVER_READ


@pytest.mark.skipif(not REFERENCE.is_file(), reason="the reference files are not here")
def test_the_names_are_the_official_ones() -> None:
    """The packaged list is that of the official list of variables, in its order."""
    with REFERENCE.open(encoding="utf-8") as lines:
        assert list(official_names()[:377]) == [row["variable"] for row in csv.DictReader(lines)]


def test_columns_are_put_in_order_and_the_others_filled() -> None:
    """What is given stays as it is; the rest is a constant of the same length."""
    columns = official({"Q2": np.array([3, 4]), "version": np.array(["a", "b"])})
    assert list(columns) == list(official_names())
    assert columns["Q2"].tolist() == [3, 4]
    assert columns["N_TOWN"].tolist() == [FILLER, FILLER]


def test_the_people_are_the_same_in_either_shape(tmp_path: Path) -> None:
    """The shape changes what is not read, and nothing of what is."""
    plain = read_respondents(write_synthetic(tmp_path / "plain.csv", 60, seed=9))
    path = write_synthetic(tmp_path / "full.csv", 60, seed=9, official_shape=True)
    full = read_respondents(path)
    assert header(path) == list(official_names())
    assert (full.ids, full.weights.tolist()) == (plain.ids, plain.weights.tolist())
    assert all(dict(a.answers) == dict(b.answers) for a, b in zip(full, plain, strict=True))
    assert full.report.columns_unknown > plain.report.columns_unknown
    assert full.synthetic


@pytest.mark.parametrize("official_shape", [False, True])
def test_blocks_make_one_population(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official_shape: bool
) -> None:
    """Drawn a country at a time, ids are distinct and weights are right within each country."""
    monkeypatch.setattr(synthetic, "BLOCK", 20)
    path = tmp_path / "people.csv"
    write_synthetic(path, 101, seed=3, official_shape=official_shape)
    people, drawn = read_respondents(path), synthesize(101, seed=3)
    assert len(set(people.ids)) == 101
    assert people.ids == drawn.ids
    assert [dict(p.answers) for p in people] == [dict(p.answers) for p in drawn]
    sums = dict.fromkeys(people.countries, 0.0)
    for person in people:
        sums[person.country] += person.weight
    assert sums == pytest.approx(dict(people.countries), rel=1e-4)
    assert list(tmp_path.iterdir()) == [path]


def test_the_first_block_is_a_population_that_fits_in_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How many are drawn together changes nothing for those who come first."""
    whole = synthesize(50, seed=3)
    monkeypatch.setattr(synthetic, "BLOCK", 20)
    parts = synthesize(50, seed=3)
    assert len(parts) == len(whole)
    assert parts.alphas == whole.alphas
    assert len(list(synthetic._blocks(50, 3))) == 3


def test_memory_does_not_grow_with_the_number_of_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of five blocks takes less than twice the memory of one."""
    monkeypatch.setattr(synthetic, "BLOCK", 200)
    write_synthetic(tmp_path / "warm.csv", 10)
    peaks = []
    for n in (200, 1000):
        tracemalloc.start()
        write_synthetic(tmp_path / "people.csv", n, official_shape=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


def test_the_command(tmp_path: Path) -> None:
    """`--official-shape` writes all columns; without it only those with content are there."""
    out = tmp_path / "people.csv"
    words = ["data", "synth", "--respondents", "10", "--seed", "1", "--out", str(out)]
    assert main(words) == 0
    assert len(header(out)) < 377
    assert main([*words, "--official-shape"]) == 0
    assert len(header(out)) == 613
