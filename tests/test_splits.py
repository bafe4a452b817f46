"""Splits: nobody is in two roles, under no seed and under no second row."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.survey.left_out import LEAVE_OUT
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.survey.splits import SPLIT_KINDS, TARGET_ROLES, Split, make_split, paper_sample

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"


def people(
    n: int, *, ids: list[int] | None = None, countries: list[int] | None = None
) -> Respondents:
    """People of two countries, two thirds of them in the first."""
    numbers = countries or [392 if at % 3 else 840 for at in range(n)]
    return Respondents.from_columns(
        questions={"Q1": np.ones(n, dtype=int)},
        attributes={
            "B_COUNTRY": np.array(numbers),
            "D_INTERVIEW": np.array([str(id) for id in (ids or range(n))], dtype=object),
        },
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=20, max_size=120),
    st.integers(0, 10**6),
    st.sampled_from(["country", None]),
)
def test_nobody_is_in_two_roles(ids: list[int], seed: int, stratify: str | None) -> None:
    """For any seed, roles share no row and no interview number, however often that repeats."""
    everyone = people(len(ids), ids=ids)
    distinct = len(set(ids))
    split = make_split(
        everyone, seed=seed, train=distinct // 3, val=0, dev=distinct // 4, test=distinct // 4,
        stratify=stratify,
    )  # fmt: skip
    placed = [place for role in TARGET_ROLES for place in split.people(role)]
    assert len(placed) == len(set(placed)) == distinct // 3 + 2 * (distinct // 4)
    assert len({ids[place] for place in placed}) == len(placed)
    assert split.duplicates == len(ids) - distinct


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 90), min_size=40, max_size=160),
    st.integers(0, 10**6),
    st.integers(3, 8),
    st.sampled_from(["country", None]),
)
def test_countries_left_out_are_of_one_role(
    ids: list[int], seed: int, number: int, stratify: str | None
) -> None:
    """For any seed, no country of test or dev people has anybody in another role."""
    known = [392, 840, 276, 818, 156, 76, 356, 710][:number]
    # the people of one country in ten are of no country that anybody knows
    placed = [known[(id * 7 + seed) % number] if id % 10 else 999_999 for id in ids]
    everyone = people(len(ids), ids=ids, countries=placed)
    try:
        split = make_split(
            everyone, seed=seed, kind=LEAVE_OUT, stratify=stratify, train=0.5, val=0.2, dev=0.6
        )
    except ConfigError as error:
        assert "nobody" in str(error) or "none would be left" in str(error)  # too few people
        return
    of = {role: {everyone[place].country for place in split.people(role)} for role in TARGET_ROLES}
    left = dict(split.left_out)
    assert of["test"] <= set(left["test"]) and of["dev"] <= set(left["dev"])
    assert not set(left["test"]) & set(left["dev"])
    assert not (of["train"] | of["val"]) & {*left["test"], *left["dev"], None, ""}
    taken = [place for role in TARGET_ROLES for place in split.people(role)]
    assert len({ids[place] for place in taken}) == len(taken)
    assert split.of_known == 0


def test_sizes_are_numbers_or_shares() -> None:
    """Whole numbers are people, decimals are shares of them, 0 is nobody."""
    split = make_split(people(100), train=7, val=0, dev=0.25, test=0.1)
    assert [len(split.people(role)) for role in TARGET_ROLES] == [7, 0, 25, 10]
    default = make_split(people(200))
    assert [len(default.people(role)) for role in TARGET_ROLES] == [100, 20, 40, 40]


def test_every_stretch_holds_countries_in_proportion() -> None:
    """Roles, and the first people of a role, hold each country as the survey does."""
    everyone = people(900)
    split = make_split(everyone, seed=3, train=300, val=60, dev=90, test=150)
    for places in (split.train, split.val, split.dev, split.test, split.train[:30]):
        counts = Counter(everyone[place].country for place in places)
        assert abs(counts["USA"] - len(places) / 3) <= 2
    small = Counter(everyone[place].country for place in split.test[:6])
    assert min(small["USA"], small["JPN"]) >= 1


def test_without_strata_countries_fall_as_they_may() -> None:
    """`stratify=None` draws from everyone alike, and another draw than by country."""
    everyone = people(300)
    plain = make_split(everyone, stratify=None)
    assert plain.test != make_split(everyone).test
    assert "without strata" in plain.describe()


def test_a_split_is_the_same_every_time() -> None:
    """The same seed and people give the same split; another seed another."""
    everyone = people(120)
    first = make_split(everyone, seed=5)
    assert first == make_split(people(120), seed=5)
    assert hash(first) == hash(make_split(everyone, seed=5))
    assert first.digest == make_split(everyone, seed=5).digest
    assert first.digest != make_split(everyone, seed=6).digest
    assert set(first.test) != set(make_split(everyone, seed=6).test)
    assert pickle.loads(pickle.dumps(first)) == first


def test_test_people_do_not_depend_on_other_sizes() -> None:
    """A larger trainset changes no test, dev or val person; a larger testset keeps the old one."""
    everyone = people(200)
    small = make_split(everyone, train=20, val=10, dev=20, test=30)
    large = make_split(everyone, train=120, val=10, dev=20, test=30)
    assert (small.test, small.dev, small.val) == (large.test, large.dev, large.val)
    assert large.train[:20] == small.train
    assert make_split(everyone, test=40, dev=20).test[:30] == small.test


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 80, "test": 30}, "train: .*more than the 100 people there are"),
        ({"train": 1.5}, "train: 1.5 is neither a whole number"),
        ({"val": -1}, "val: -1 is neither"),
        ({"dev": True}, "dev: True is neither"),
        ({"test": 0.001}, "test: a share of 0.001 of 100 people is nobody"),
        ({"val": float("nan")}, "val: nan is neither"),
        ({"stratify": "sex"}, "stratify: not possible: 'sex'"),
        (
            {"kind": "fair"},
            "kind: not possible: 'fair'; allowed: random, leave-countries-out, paper",
        ),
    ],
)
def test_arguments_are_checked(arguments: dict[str, object], message: str) -> None:
    """A wrong argument names its key and what is wrong with it."""
    with pytest.raises(ConfigError, match=message):
        make_split(people(100), **arguments)  # type: ignore[arg-type]


def test_a_split_proves_that_roles_are_disjoint() -> None:
    """Somebody in two roles, or in one twice, is refused by place."""
    roles = (("train", (1, 2)), ("val", ()), ("dev", (3,)), ("test", (2,)))
    with pytest.raises(ConfigError, match="respondent 2 is in train and in test"):
        Split(seed=1, kind="random", roles=roles)
    twice = (("train", (1, 1)), ("val", ()), ("dev", ()), ("test", ()))
    with pytest.raises(ConfigError, match="respondent 1 is in train and in train"):
        Split(seed=1, kind="random", roles=twice)
    below = (("train", (-1,)), ("val", ()), ("dev", ()), ("test", ()))
    with pytest.raises(ConfigError, match="respondent -1 is below 0"):
        Split(seed=1, kind="random", roles=below)
    with pytest.raises(ConfigError, match="allowed: train, val, dev, test"):
        Split(seed=1, kind="random", roles=(("train", (1,)),))


def test_sets_are_checked() -> None:
    """A mistyped set is an error."""
    split = make_split(people(50))
    assert split.people("dev") == split.dev
    with pytest.raises(ConfigError, match="no such set: 'valid'"):
        split.people("valid")


def test_a_split_is_one_line() -> None:
    """The description names sizes, seed and strata, and who was left out."""
    line = make_split(
        people(60, ids=[*range(50), *range(10)]), train=20, val=5, dev=5, test=5
    ).describe()
    assert line == (
        "random split, seed 42: 20 train, 5 val, 5 dev, 5 test of 60 people, by country; 5 test "
        "people are of a country of train people; "
        "10 rows that repeat an interview number left out"
    )


def test_the_published_people_are_the_published_ones() -> None:
    """The sample is the published one: the same people, in the same ten batches of ten."""
    path = REFERENCE / "published_sample.json"
    if not path.exists():
        pytest.skip("the reference files are not beside this checkout")
    published = json.loads(path.read_text())["row_numbers"]
    drawn = paper_sample()
    # inside a batch the publication lists people as they were done
    for at in range(0, 100, 10):
        assert sorted(drawn[at : at + 10]) == sorted(published[at : at + 10])


def test_the_published_sample_is_pinned() -> None:
    """The draw is that of the publication's code, counted from 1."""
    assert paper_sample()[:3] == (83811, 14593, 3279)
    assert len(set(paper_sample())) == 100
    assert sorted(paper_sample(5, 5)) == [1, 2, 3, 4, 5]
    with pytest.raises(ConfigError, match="no 100 people among 50 rows"):
        paper_sample(50)


def test_a_paper_split_tests_the_published_people() -> None:
    """Test people are the published rows of this file; no other set has them."""
    everyone = people(400)
    split = make_split(everyone, kind="paper", train=50, val=20, dev=20)
    assert [everyone[place].row for place in split.test] == list(paper_sample(400))
    others = {*split.train, *split.val, *split.dev}
    assert len(others) == 90
    assert not others & set(split.test)
    assert split.test == make_split(everyone, kind="paper", seed=1, train=50, val=20, dev=20).test
    assert "published sample" in split.describe()
    assert set(SPLIT_KINDS) == {"random", LEAVE_OUT, "paper"}


def test_a_paper_split_needs_the_whole_file() -> None:
    """A selection that lacks published people cannot stand for the publication."""
    with pytest.raises(MissingDataError, match="take all respondents of the file"):
        make_split(people(400)[:200], kind="paper", train=5, val=5, dev=5)


def test_a_repeated_test_person_of_the_paper_is_nowhere_else() -> None:
    """Another row of a published person's interview number takes no other role."""
    n = 300
    row = paper_sample(n)[0]
    ids = list(range(n))
    for place in range(50):
        if place != row - 1:
            ids[place] = ids[row - 1]
    everyone = people(n, ids=ids)
    split = make_split(everyone, kind="paper", train=0.2, val=0, dev=0)
    same = {place for place in range(n) if ids[place] == ids[row - 1]}
    assert not same & {*split.train, *split.val, *split.dev}


def five_countries(n: int = 200) -> Respondents:
    """As many people of each of five countries."""
    return people(n, countries=[[392, 840, 276, 818, 156][at % 5] for at in range(n)])


def test_countries_are_left_out_as_named() -> None:
    """Test and dev people are of the countries named, all others of the rest."""
    everyone = five_countries()
    split = make_split(
        everyone, kind=LEAVE_OUT, test_countries=["JPN"], dev_countries=["USA", "DEU"],
        train=60, val=10, dev=30, test=20,
    )  # fmt: skip
    of = {role: {everyone[at].country for at in split.people(role)} for role in TARGET_ROLES}
    assert of == {
        "train": {"EGY", "CHN"},
        "val": {"EGY", "CHN"},
        "dev": {"DEU", "USA"},
        "test": {"JPN"},
    }
    assert [len(split.people(role)) for role in TARGET_ROLES] == [60, 10, 30, 20]
    line = split.describe()
    assert "test countries JPN; dev countries DEU, USA; 0 test people are of a country of" in line


def test_shares_are_of_the_countries_of_a_role() -> None:
    """All people of the countries left out can be tested, whatever share of all they are."""
    split = make_split(five_countries(), kind=LEAVE_OUT, train=0.5, val=0.5, dev=0.5, test=1.0)
    assert [len(split.people(role)) for role in TARGET_ROLES] == [60, 60, 20, 40]


def test_the_rest_of_a_split_moves_no_test_person_of_a_country_left_out() -> None:
    """Neither other sizes nor other dev countries change who is tested."""
    everyone = five_countries()
    one = make_split(everyone, kind=LEAVE_OUT, train=20, val=5, dev=10, test=20)
    two = make_split(everyone, kind=LEAVE_OUT, train=90, val=5, dev=30, test=20)
    assert (one.test, one.dev[:10], one.left_out) == (two.test, two.dev[:10], two.left_out)
    assert (two.train[:20], two.val) == (one.train, one.val)
    named = make_split(
        everyone, kind=LEAVE_OUT, train=20, val=5, dev=10, test=20,
        **{f"{role}_countries": countries for role, countries in one.left_out},
    )  # fmt: skip
    assert named == one
    alone = make_split(everyone, kind=LEAVE_OUT, train=20, val=5, dev=0, test=20)
    assert alone.test == one.test and dict(alone.left_out) == {"test": dict(one.left_out)["test"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test_countries": ["JPN"]}, "test_countries: no country is left out of a random split"),
        ({"dev_countries": ["JPN"]}, "dev_countries: no country is left out of a random"),
        ({"kind": LEAVE_OUT, "test": 41}, "test: test 41 are more than the 40 people of their"),
        ({"kind": LEAVE_OUT, "train": 121, "val": 0}, "train 121 are more than the 120 people of"),
    ],
)
def test_arguments_on_countries_are_checked(arguments: dict[str, object], message: str) -> None:
    """What does not fit names its key; a role's people are counted in its own countries."""
    with pytest.raises(ConfigError, match=message):
        make_split(five_countries(), **arguments)  # type: ignore[arg-type]


def test_a_split_counts_test_people_of_known_countries() -> None:
    """How many test people share a country with somebody in train, as a number."""
    everyone = people(60, countries=[392] * 58 + [840] * 2)
    split = make_split(everyone, stratify=None, seed=1, train=3, val=0, dev=0, test=57)
    known = {everyone[place].country for place in split.train}
    assert split.of_known == sum(everyone[place].country in known for place in split.test)
    assert make_split(five_countries(), train=50).of_known == 40
    assert make_split(five_countries(), train=0).of_known == 0
