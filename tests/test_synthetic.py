"""The synthetic population: its file, its answers, and what it must never be taken for."""

import csv
import inspect
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.survey import synthetic
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.dimensions import expand, read_population
from valuesim_dspy.survey.respondents import read_respondents
from valuesim_dspy.survey.responses import published_shares
from valuesim_dspy.survey.synthetic import SYNTHETIC_STAMP, synthesize, write_synthetic

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"
BOOK = load_codebook()
COUNTRIES = ("CHN", "DEU", "EGY", "JPN", "USA")


@pytest.fixture(scope="module")
def people():
    """A population of 5,000."""
    return synthesize(5000, seed=1)


@pytest.fixture(scope="module")
def columns():
    """All columns of the file of a population of 5,000."""
    return synthetic._columns(5000, 1)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file of a population of 60."""
    return write_synthetic(tmp_path_factory.mktemp("synthetic") / "people.csv", 60, seed=9)


def positions(columns, question):
    """Answers from 0 (least) to 1 (most); NaN where there is none."""
    codes = columns[question]
    place = {code: BOOK[question].position(code) for code in BOOK[question].codes}
    return np.array([np.nan if place.get(code) is None else place[code] for code in codes.tolist()])


def correlation(one, other):
    """Correlation over those who answered both."""
    both = ~np.isnan(one) & ~np.isnan(other)
    return float(np.corrcoef(one[both], other[both])[0, 1])


def mode_share(codes):
    """Share of the commonest valid code."""
    counts = np.unique(codes[codes >= 0], return_counts=True)[1]
    return counts.max() / counts.sum()


def test_file_has_the_official_columns(written):
    """Technical columns come first, then all 290 questions in order, in full."""
    with written.open(encoding="utf-8") as lines:
        header = next(csv.reader(lines))
    asked = [name for name in header if name[0] == "Q" and name[1:].isdigit()]
    assert asked == [f"Q{number}" for number in range(1, 291)]
    assert header[:4] == ["version", "doi", "A_STUDY", "A_WAVE"]
    assert {"B_COUNTRY", "B_COUNTRY_ALPHA", "D_INTERVIEW", "W_WEIGHT", "S018"} <= set(header)
    assert len(header) == len(set(header))


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference files are not here")
def test_every_column_is_one_of_the_official_file(columns):
    """No column has a name that the official list of variables lacks."""
    with (REFERENCE / "wvs7_variables.csv").open(encoding="utf-8") as lines:
        official = {row["variable"] for row in csv.DictReader(lines)}
    assert set(columns) - official == set()


def test_every_row_says_that_it_is_synthetic(written):
    """The version and doi columns carry the stamp, and reading recognises it."""
    with written.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["version"] for row in rows} == {"SYNTHETIC-1"}
    assert {row["doi"] for row in rows} == {"synthetic, not survey data"}
    read = read_respondents(written)
    assert read.synthetic and read.stamp == SYNTHETIC_STAMP


def test_module_says_what_it_is_not_good_for():
    """Whoever reads the help learns that nothing about people can rest on it."""
    text = " ".join(inspect.getdoc(synthetic).split())
    assert "no statement about people" in text and "testing" in text


def test_population_in_memory_equals_its_file(written):
    """Reading the file back gives the same people, row for row, missing kinds included."""
    drawn, read = synthesize(60, seed=9), read_respondents(written)
    assert len(drawn) == len(read) == 60
    for one, other in zip(drawn, read, strict=True):
        assert (one.id, one.row, one.country, one.year) == (
            other.id,
            other.row,
            other.country,
            other.year,
        )
        assert one.weight == other.weight
        assert dict(one.answers) == dict(other.answers)
        assert [one.missing(q.id) for q in BOOK] == [other.missing(q.id) for q in BOOK]


def test_same_seed_same_bytes(written, tmp_path):
    """The file depends on size and seed only, and the seed matters."""
    again = write_synthetic(tmp_path / "again.csv", 60, seed=9)
    other = write_synthetic(tmp_path / "other.csv", 60, seed=10)
    assert again.read_bytes() == written.read_bytes()
    assert other.read_bytes() != written.read_bytes()


def test_digest_tells_populations_apart():
    """Size and seed each change the digest; the same call repeats it."""
    assert synthesize(12, seed=3).digest == synthesize(12, seed=3).digest
    drawn = {synthesize(n, seed=seed).digest for n, seed in [(12, 3), (12, 4), (13, 3)]}
    assert len(drawn) == 3


def test_global_generator_is_left_alone():
    """Drawing people does not move numpy's global state."""
    before = np.random.get_state()[1].copy()
    synthesize(10)
    assert (np.random.get_state()[1] == before).all()


def test_writing_replaces_and_leaves_nothing_else(tmp_path):
    """An old file is replaced and no partial file stays."""
    path = tmp_path / "people.csv"
    path.write_text("old")
    assert write_synthetic(path, 5, seed=0) == path
    assert [file.name for file in tmp_path.iterdir()] == ["people.csv"]
    assert len(read_respondents(path)) == 5


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (-3, 0), (5, -1)])
def test_impossible_sizes_and_seeds_are_refused(n, seed):
    """A size below 1 or a negative seed is a ConfigError that names the setting."""
    with pytest.raises(ConfigError, match="respondents" if n < 1 else "seed"):
        synthesize(n, seed=seed)


def test_missing_folder_is_named(tmp_path):
    """Writing into a folder that is not there says so."""
    with pytest.raises(MissingDataError, match="no such folder"):
        write_synthetic(tmp_path / "nowhere" / "people.csv", 5)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_tiny_populations_work(n):
    """Any size from 1 gives that many people with distinct ids."""
    drawn = synthesize(n, seed=2)
    assert len({person.id for person in drawn}) == n


def test_five_countries_of_a_thousand(people):
    """The default size has at least 1,000 people in each of five countries."""
    assert synthetic.DEFAULT_SIZE == 5000
    assert people.countries == Counter(dict.fromkeys(COUNTRIES, 1000))


def test_codes_are_those_of_the_codebook(people):
    """No answer is outside its question's codes, and no id occurs twice."""
    assert people.report.unknown_codes == {}
    assert people.report.duplicates == 0


def test_every_option_of_scorable_questions_occurs(columns):
    """Among 5,000 people hardly any option of a scored question is never chosen."""
    unused = [
        (question.id, code)
        for question in BOOK
        if question.scorable
        for code in set(question.codes) - set(columns[question.id].tolist())
    ]
    assert len(unused) <= 5, unused


def test_smaller_codebook_keeps_the_same_answers():
    """A codebook of fewer questions only hides the others."""
    kept = {question: BOOK[question] for question in ("Q57", "Q182", "Q262")}
    few = synthesize(20, seed=4, codebook=replace(BOOK, questions=kept))
    whole = synthesize(20, seed=4)
    for one, other in zip(few, whole, strict=True):
        assert dict(one.answers) == dict(other.masked(frozenset(kept)))


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference files are not here")
def test_country_shares_are_near_the_published_ones(columns):
    """On average over all published shares the difference is at most 3 points."""
    differences = []
    with (REFERENCE / "wvs7_marginals.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            codes = columns[row["question"]][columns["B_COUNTRY_ALPHA"] == row["country"]]
            share = (codes[codes >= 0] == int(row["code"])).mean()
            differences.append(abs(share - float(row["share"])))
    assert len(differences) == 461
    assert np.mean(differences) < 0.02


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference files are not here")
def test_stored_shares_are_the_published_ones():
    """The packaged shares are the reference's, made to sum to 1."""
    stored, given = published_shares(), {}
    with (REFERENCE / "wvs7_marginals.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            shares = given.setdefault((row["country"], row["question"]), {})
            shares[int(row["code"])] = float(row["share"])
    assert {(c, q) for c, rows in stored.items() for q in rows} == set(given)
    for (country, question), shares in given.items():
        whole = sum(shares.values())
        for code, share in shares.items():
            assert stored[country][question][code] == pytest.approx(share / whole, abs=1e-9)


def attitude_batteries():
    """Batteries of values and attitudes with two or more questions on a scale."""
    for battery, ids in BOOK.batteries.items():
        on_scale = [name for name in ids if BOOK[name].order]
        kinds = {BOOK[name].kind for name in ids} & {"value", "attitude"}
        if kinds and len(on_scale) > 1 and battery != "child-qualities":
            yield pytest.param(on_scale, id=battery)


@pytest.mark.parametrize("battery", attitude_batteries())
def test_items_of_an_attitude_battery_correlate(columns, battery):
    """Turned the way they lean, items correlate by 0.2 to 0.6 on average."""
    spec = read_population("wvs7_questions")
    turned = {name for group in spec["graded"] for name in expand(group.get("reverse", ()))}
    places = {name: positions(columns, name) * (-1 if name in turned else 1) for name in battery}
    pairs = [correlation(places[one], places[two]) for one, two in combinations(battery, 2)]
    assert 0.2 <= np.mean(pairs) <= 0.6


@pytest.mark.parametrize(
    ("one", "other", "sign"),
    [
        ("Q6", "Q164", 1),
        ("Q46", "Q49", 1),
        ("Q36", "Q182", 1),
        ("Q22", "Q182", -1),
        ("Q237", "Q245", 1),
        ("Q69", "Q71", 1),
        ("Q164", "Q184", -1),
        ("Q121", "Q130", -1),
        ("Q29", "Q249", -1),
        ("Q275", "Q277", 1),
        ("Q275", "Q288", 1),
    ],
)
def test_related_questions_lean_the_expected_way(columns, one, other, sign):
    """Twins and related batteries correlate with the sign that their wording asks for."""
    here = columns["B_COUNTRY_ALPHA"] == "USA"
    assert sign * correlation(positions(columns, one)[here], positions(columns, other)[here]) > 0.1


def test_siblings_inside_a_country_correlate_moderately(columns):
    """Confidence items within one country correlate by 0.15 to 0.6, each pair of them."""
    here = columns["B_COUNTRY_ALPHA"] == "DEU"
    places = [positions(columns, f"Q{number}")[here] for number in range(65, 82)]
    pairs = [correlation(one, two) for one, two in combinations(places, 2)]
    assert min(pairs) > 0.1 and max(pairs) < 0.6
    assert 0.25 < np.mean(pairs) < 0.45


def test_people_differ_more_than_countries(columns):
    """On nearly all items less than half of the variance lies between countries."""
    country = columns["B_COUNTRY_ALPHA"]
    shares = []
    for question in BOOK:
        if question.order and question.kind in ("value", "attitude"):
            values = positions(columns, question.id)
            within = [
                np.nanvar(values[country == name])
                for name in COUNTRIES
                if not np.isnan(values[country == name]).all()
            ]
            shares.append(1.0 - np.mean(within) / np.nanvar(values))
    assert np.mean(np.array(shares) < 0.5) > 0.95
    assert np.median(shares) > 0.01


def test_country_modes_are_right_about_half_the_time(columns):
    """Guessing each country's commonest answer is right 40 to 55 % of the time."""
    country = columns["B_COUNTRY_ALPHA"]
    shares = []
    for question in BOOK:
        if question.kind in ("value", "attitude") and question.scorable:
            codes = columns[question.id]
            here = [codes[country == name] for name in COUNTRIES]
            shares.append(np.mean([mode_share(part) for part in here if (part >= 0).any()]))
    assert 0.42 < np.mean(shares) < 0.55


def test_nobody_picks_more_than_five_qualities(columns):
    """Of the eleven qualities at most five are picked, by most people five."""
    picked = np.sum([columns[f"Q{number}"] == 1 for number in range(7, 18)], axis=0)
    assert picked.max() == 5
    assert np.mean(picked == 5) > 0.5


@pytest.mark.parametrize(("first", "second"), [(152, 153), (154, 155), (156, 157)])
def test_second_choice_differs_from_the_first(columns, first, second):
    """The second choice is another one, and there is none without a first."""
    one, two = columns[f"Q{first}"], columns[f"Q{second}"]
    assert not ((one > 0) & (one == two)).any()
    assert not ((one < 0) & (two > 0)).any()
    assert ((one > 0) & (two > 0)).mean() > 0.9


def test_three_point_country_gives_no_strong_answers(columns):
    """Where Q33 to Q35 have three points the outer codes do not occur, and Q33_3 folds them."""
    here = columns["B_COUNTRY_ALPHA"] == "USA"
    for question in ("Q33", "Q34", "Q35"):
        assert not np.isin(columns[question][here], (1, 5)).any()
    pairs = set(zip(columns["Q33"].tolist(), columns["Q33_3"].tolist(), strict=True))
    assert {pair for pair in pairs if pair[0] > 0} == {(1, 1), (2, 1), (3, 3), (4, 2), (5, 2)}


def test_derived_columns_follow_their_sources(columns):
    """Recoded columns group the codes as the official file does and keep missing codes."""
    age = columns["Q262"]
    assert (columns["X003R2"] == np.select([age < 30, age < 50], [1, 2], 3)).all()
    steps = columns["Q288"]
    low = (steps >= 1) & (steps <= 3)
    assert (columns["Q288R"][low] == 1).all()
    assert (columns["Q288R"][steps < 0] == steps[steps < 0]).all()
    member = columns["Q94"]
    assert (columns["Q94R"][member == 2] == 1).all() and (columns["Q94R"][member == 0] == 0).all()


def test_weights_average_to_one_and_balance_countries(columns):
    """W_WEIGHT averages 1 within each country and S018 adds up to 1,000."""
    for country in COUNTRIES:
        here = columns["B_COUNTRY_ALPHA"] == country
        assert columns["W_WEIGHT"][here].mean() == pytest.approx(1.0, abs=1e-4)
        assert columns["S018"][here].sum() == pytest.approx(1000.0, abs=0.1)


def test_response_styles_show(columns):
    """People who take extremes on one battery take them on an unrelated one."""
    ends = {}
    for name, numbers in {"science": range(158, 164), "democracy": range(241, 250)}.items():
        codes = np.array([columns[f"Q{number}"] for number in numbers])
        ends[name] = np.isin(codes, (1, 10)).mean(axis=0)
    assert np.corrcoef(ends["science"], ends["democracy"])[0, 1] > 0.15
