"""What is known, growing: parts are nested, targets never among them, orders do what they say."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import dspy
import pytest
from jobs import small_job

from evals.growing import (
    ASKED,
    FIXED,
    GROWTHS,
    HISTORY,
    INFORMATIVE,
    ORDERS,
    PROFILE,
    RANDOM,
    SHARES,
    Growing,
    Point,
    masked,
    told,
)
from evals.study import Study, open_study
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case, Profile
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.own import own_profile

EVERY = [(growth, order) for growth in GROWTHS for order in ORDERS]


def job(**protocol: Any) -> JobConfig:
    """Return a job with enough training people to learn an order from."""
    return small_job(
        protocol={"train": 20, "val": 2, "dev": 3, "test": 3, "targets": 2, **protocol}
    )


@pytest.fixture(scope="module")
def study() -> Iterator[Study]:
    """An open study."""
    with open_study(job(), cache=ResponseCache()) as opened:
        yield opened


@pytest.fixture(scope="module")
def growing(study: Study) -> Growing:
    """What grows in it."""
    return Growing.of(study, "dev")


def profiles(study: Study, role: str = "dev") -> list[Profile]:
    """Return everybody of a set once."""
    return list(dict.fromkeys(example.case.profile for example in study.examples(role)))


def known(case: Case) -> dict[str, int]:
    """Return everything that a case tells of a person."""
    later = {item.question.id: item.code for item in case.history}
    return dict(case.profile.answers) | later


def at(growing: Growing, study: Study, *point: Any) -> list[dspy.Example]:
    """Return the devset's cases as they stand at a point."""
    return growing.examples(study.examples("dev"), Point(*point))


@pytest.mark.parametrize(("growth", "order"), EVERY)
def test_each_part_holds_the_one_before(
    study: Study, growing: Growing, growth: str, order: str
) -> None:
    """Of every person, nothing is forgotten, and more is known at each point."""
    curves = [at(growing, study, growth, order, share) for share in SHARES]
    for cases in zip(*curves, strict=True):
        parts = [known(example.case) for example in cases]
        for less, more in pairwise(parts):
            assert less.items() < more.items()


@pytest.mark.parametrize(("growth", "order"), EVERY)
def test_no_target_is_ever_known(study: Study, growing: Growing, growth: str, order: str) -> None:
    """Neither the question asked nor any other target of any set, and the truth stays."""
    targets = {q for role in ("train", "val", "dev", "test") for q in study.fold.targets(role)}
    for before, example in zip(
        study.examples("dev"), at(growing, study, growth, order, 1.0), strict=True
    ):
        assert not targets & known(example.case).keys()
        assert example.case.question is before.case.question
        assert example.answer == before.answer
        assert known(example.case).items() <= dict(before.case.profile.answers).items()


@pytest.mark.parametrize("order", ORDERS)
def test_a_profile_grows_from_nothing_to_itself(study: Study, growing: Growing, order: str) -> None:
    """First the country alone, at last the very profile of every other job, in equal steps."""
    for profile in profiles(study):
        steps = [growing.known(profile, Point(PROFILE, order, share)) for share in SHARES]
        assert not any(history for _, history in steps)
        counts = [len(told(part)) for part, _ in steps]
        whole = len(told(profile))
        assert counts == [0, *(round(share * whole) for share in SHARES[1:-1]), whole]
        assert steps[0][0].country == profile.country
        assert steps[-1][0] is profile


@pytest.mark.parametrize("order", ORDERS)
def test_a_history_grows_beside_a_fixed_profile(study: Study, growing: Growing, order: str) -> None:
    """Forty answers stay the same in all orders; at last all others are in the history."""
    for profile in profiles(study):
        steps = [growing.known(profile, Point(HISTORY, order, share)) for share in SHARES]
        (fixed,) = {part for part, _ in steps}
        assert set(fixed.answers) == set(growing.fixed(profile))
        assert len(fixed.answers) == FIXED
        assert not steps[0][1]
        later = [item.question.id for item in steps[-1][1]]
        assert len(later) == len(set(later))
        assert {*later, *fixed.answers} == set(told(profile))


def test_a_history_is_a_prefix_of_the_longer_one(study: Study, growing: Growing) -> None:
    """What was learned first stays first."""
    for order in ORDERS:
        profile = profiles(study)[0]
        _, some = growing.known(profile, Point(HISTORY, order, 0.5))
        _, whole = growing.known(profile, Point(HISTORY, order, 1.0))
        assert whole[: len(some)] == some


def test_views_of_one_person_are_told_apart(study: Study, growing: Growing) -> None:
    """Each part has an identity of its own, so no cache mistakes one for another."""
    profile = profiles(study)[0]
    points = [Point(PROFILE, order, share) for order in ORDERS for share in (0.25, 0.5, 0.75)]
    views = [growing.known(profile, point)[0] for point in points]
    assert len(set(views)) == len({tuple(view.answers) for view in views}) == len(points)
    again = growing.known(profile, points[0])[0]
    assert again == views[0]
    assert {view.key for view in views} == {profile.key}


def test_as_asked_is_the_order_of_the_codebook(study: Study, growing: Growing) -> None:
    """The first quarter is the first quarter of what the person answered."""
    profile = profiles(study)[0]
    part, _ = growing.known(profile, Point(PROFILE, ASKED, 0.25))
    assert told(part) == told(profile)[: round(len(told(profile)) / 4)]


def test_random_orders_differ_by_person_and_seed(study: Study, growing: Growing) -> None:
    """And are the same each time."""

    def order(seed: int, profile: Profile) -> tuple[str, ...]:
        other = Growing(seed, growing.informative)
        items = other.known(profile, Point(HISTORY, RANDOM, 1.0))[1]
        return tuple(item.question.id for item in items)

    one, other = profiles(study)[:2]
    assert order(1, one) == order(1, one)
    assert order(1, one) != order(2, one)
    shared = set(order(1, one)) & set(order(1, other))
    assert [q for q in order(1, one) if q in shared] != [q for q in order(1, other) if q in shared]


def test_the_informative_order_knows_what_is_fixed(study: Study, growing: Growing) -> None:
    """A history goes on from the forty answers that are known before it."""
    profile = profiles(study)[0]
    fixed = growing.fixed(profile)
    _, items = growing.known(profile, Point(HISTORY, INFORMATIVE, 1.0))
    rest = [name for name in told(profile) if name not in fixed]
    assert [i.question.id for i in items] == list(growing.informative.order(rest, asked=fixed))


def test_the_informative_order_never_uses_the_persons_answers(
    study: Study, growing: Growing
) -> None:
    """Somebody who answered the same questions otherwise is asked in the same order."""
    profile = own_profile({"Q1": 1, "Q57": 2, "Q46": 2, "Q65": 3}, country="JPN")
    twin = own_profile({"Q1": 4, "Q57": 1, "Q46": 4, "Q65": 1}, country="JPN")
    for share in SHARES:
        parts = [growing.known(p, Point(PROFILE, INFORMATIVE, share))[0] for p in (profile, twin)]
        assert set(parts[0].answers) == set(parts[1].answers)


def test_only_training_people_teach_the_order(study: Study, growing: Growing) -> None:
    """As many as the split names, and no devset or testset target is an aim: it is cold."""
    assert growing.informative.people == len(study.split.train)
    aims = set(growing.informative.aims)
    assert aims <= set(study.fold.targets("train"))
    assert not aims & {*study.fold.targets("dev"), *study.fold.targets("test")}


def test_few_answers_are_halved() -> None:
    """Where there are fewer than twice forty answers, half of them are fixed."""
    with open_study(job(), cache=ResponseCache()) as study:
        growing = Growing.of(study, "dev")
    profile = own_profile({"Q1": 1, "Q57": 2, "Q46": 2, "Q65": 3, "Q64": 2}, country="JPN")
    fixed, history = growing.known(profile, Point(HISTORY, RANDOM, 1.0))
    assert len(fixed.answers) == 2
    assert len(history) == 3


def test_a_paper_fold_counts_questions_as_published() -> None:
    """58, 116, 174 and 232 of the profile's questions, answered or not."""
    config = job(folds="paper", fold=5)
    with open_study(config, cache=ResponseCache()) as study:
        growing = Growing.of(study, "test")
        asked = study.fold.profile_for("test")
        assert len(asked) == 232
        for profile in profiles(study, "test"):
            drawn = random.Random(f"order:{growing.seed}:{profile.key}").sample(list(asked), 232)
            for share, count in zip(SHARES, (0, 58, 116, 174, 232), strict=True):
                part, _ = growing.known(profile, Point(PROFILE, RANDOM, share))
                assert set(told(part)) == set(drawn[:count]) & set(told(profile))
            assert part is profile
            fixed, history = growing.known(profile, Point(HISTORY, ASKED, 1.0))
            later = [item.question.id for item in history]
            assert {*later, *fixed.answers} == set(told(profile))
            assert later == [name for name in told(profile) if name not in fixed.answers]
            assert Case(fixed, profile.codebook["Q57"], history).history_text.count("\n- ") > 50


def test_a_mask_hides_and_never_copies_more() -> None:
    """What is not kept cannot be read, and a mask over a mask shows no more."""
    profile = own_profile({"Q1": 1, "Q57": 2, "Q46": 2}, country="JPN")
    part = masked(profile, ["Q1", "Q57"])
    assert dict(part.answers) == {"Q1": 1, "Q57": 2}
    assert dict(masked(part, ["Q57", "Q46"]).answers) == {"Q57": 2}
    assert len(part.facts) == len(profile.facts) - 1
    assert "Q46" not in {fact.question for fact in part.facts}


def test_unknown_points_are_named(study: Study, growing: Growing) -> None:
    """Orders and ways to grow that do not exist, and too few training people."""
    profile = profiles(study)[0]
    with pytest.raises(ConfigError, match="no such order"):
        growing.known(profile, Point(PROFILE, "alphabetical", 0.5))
    with pytest.raises(ConfigError, match="no such way to grow"):
        growing.known(profile, Point("facts", RANDOM, 0.5))
    with (
        open_study(job(train=4), cache=ResponseCache()) as small,
        pytest.raises(MissingDataError, match="4 training people are too few"),
    ):
        Growing.of(small, "dev")
