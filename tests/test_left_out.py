"""Countries left out: which, for which role, and who may have which roles then."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.left_out import LEAVE_OUT, leave_out, pools

COUNTRIES = ("BRA", "CHN", "DEU", "EGY", "IND", "JPN", "KEN", "MEX", "NGA", "USA")
ALL: Mapping[str, float] = {"test": 0.2, "dev": 0.2, "val": 0.1, "train": 0.5}


def left(
    test: Collection[str] | None = None,
    dev: Collection[str] | None = None,
    *,
    seed: int = 42,
    countries: Collection[str] = COUNTRIES,
    kind: str = LEAVE_OUT,
    wishes: Mapping[str, float] = ALL,
) -> dict[str, tuple[str, ...]]:
    """Leave countries out for test and dev."""
    return leave_out(kind, countries, {"test": test, "dev": dev}, wishes, seed)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(COUNTRIES), min_size=3), st.integers(0, 10**6))
def test_drawn_countries_are_apart(countries: set[str], seed: int) -> None:
    """Test and dev have a fifth of the countries each, at least one, and leave some."""
    found = left(countries=countries, seed=seed)
    size = max(1, round(0.2 * len(countries)))
    assert [len(found[role]) for role in ("test", "dev")] == [size, size]
    assert not set(found["test"]) & set(found["dev"])
    assert {*found["test"], *found["dev"]} < countries
    assert found == left(countries=sorted(countries, reverse=True), seed=seed)


def test_the_seed_draws() -> None:
    """Another seed leaves other countries out, and over seeds every country is left out."""
    drawn = [left(seed=seed)["test"] for seed in range(40)]
    assert {alpha for countries in drawn for alpha in countries} == set(COUNTRIES)


def test_named_countries_are_taken_and_the_others_drawn_from_the_rest() -> None:
    """What is named for one role is never drawn for the other, each once, sorted."""
    for seed in range(30):
        found = left(["USA", "JPN", "USA"], seed=seed)
        assert found["test"] == ("JPN", "USA")
        assert not set(found["dev"]) & {"JPN", "USA"}
        assert "CHN" not in left(None, ["CHN"], seed=seed)["test"]


def test_a_role_without_people_leaves_no_country_out() -> None:
    """Where nobody is wished for, no country is lost to training; unless one is named."""
    assert list(left(wishes={**ALL, "dev": 0})) == ["test"]
    assert left(dev=["JPN"], wishes={**ALL, "dev": 0})["dev"] == ("JPN",)
    assert left(wishes={**ALL, "dev": 0, "test": 0}) == {}


def test_test_countries_do_not_depend_on_dev() -> None:
    """The tested countries are the same whether dev people are wished for or not."""
    assert left()["test"] == left(wishes={**ALL, "dev": 0})["test"]


def test_other_kinds_leave_nothing_out() -> None:
    """Only this kind of split does, and naming countries for another is a mistake."""
    assert left(kind="random") == {}
    with pytest.raises(ConfigError, match="dev_countries: no country is left out of a paper split"):
        left(dev=["JPN"], kind="paper")


@pytest.mark.parametrize(
    ("test", "dev", "message"),
    [
        (["JPX"], None, "test_countries: nobody here is of 'JPX'; allowed: BRA, CHN"),
        (None, ["FRA"], "dev_countries: nobody here is of 'FRA'"),
        (["JPN"], ["USA", "JPN"], "dev_countries: JPN is left out for test and for dev"),
        ([], None, "test_countries: name a country, or leave the key out"),
        ([""], None, "nobody here is of ''"),
        (COUNTRIES, None, "none would be left to train on"),
        (COUNTRIES[:-1], None, "none would be left to train on"),
    ],
)
def test_what_is_named_is_checked(
    test: list[str] | None, dev: list[str] | None, message: str
) -> None:
    """A mistyped, doubled or last country is told by its key."""
    with pytest.raises(ConfigError, match=message):
        left(test, dev)


@pytest.mark.parametrize("countries", [[], [""], ["JPN"], ["JPN", "USA"]])
def test_too_few_countries_are_refused(countries: list[str]) -> None:
    """One each for test and dev and one to train on is the least."""
    with pytest.raises(ConfigError, match=r"split: these people are of [012] countries"):
        left(countries=countries)


def test_pools_share_everybody_out_once() -> None:
    """Each role draws from its own countries; who is of none is in no pool."""
    alphas = ["JPN", "USA", "", "EGY", "JPN", "DEU"]
    found = pools(range(6), alphas, {"test": ("JPN",), "dev": ("USA",)})
    assert found == {("val", "train"): [3, 5], ("test",): [0, 4], ("dev",): [1]}
    assert pools([4, 3], alphas, {"test": ("JPN",)}) == {
        ("dev", "val", "train"): [3],
        ("test",): [4],
    }


def test_without_countries_left_out_there_is_one_pool() -> None:
    """Everybody may have any role then, of a known country or not."""
    assert pools([0, 1, 2], ["JPN", "", "USA"], {}) == {("test", "dev", "val", "train"): [0, 1, 2]}
