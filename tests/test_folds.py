"""Folds: nothing that is to be predicted is known, whatever the seed."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.codebook import Codebook, UnknownQuestionError, load_codebook
from valuesim_dspy.survey.fold_strategies import (
    FOLD_STRATEGIES,
    ROLES,
    TARGET_ROLES,
    UNUSED,
    published_folds,
)
from valuesim_dspy.survey.folds import (
    MIN_PROFILE_KEPT,
    PROTOCOL_KINDS,
    WHOLE,
    Fold,
    make_fold,
    paper_folds,
)

WVS7 = load_codebook()
strategies = st.sampled_from(sorted(FOLD_STRATEGIES))
seeds = st.integers(0, 10_000)
kinds_given = st.sampled_from([None, PROTOCOL_KINDS])


@lru_cache(maxsize=2)
def small() -> Codebook:
    """The political sections alone, as a codebook of their own."""
    kept = {
        question.id: question
        for question in WVS7
        if question.section in ("political-culture", "political-participation")
    }
    return Codebook("small", 1, "Small", "-", kept, WVS7.missing, WVS7.countries)


@settings(max_examples=80, deadline=None)
@given(strategies, st.integers(1, 5), seeds, kinds_given)
def test_nothing_asked_is_known(
    strategy: str, index: int, seed: int, kinds: tuple[str, ...] | None
) -> None:
    """For any seed, targets, profile and unused questions are disjoint and are all questions."""
    fold = make_fold(WVS7, strategy=strategy, index=index, seed=seed, kinds=kinds)
    parts = [fold.profile, fold.unused, *(fold.targets(role) for role in TARGET_ROLES)]
    assert Counter(name for part in parts for name in part) == Counter(list(WVS7.questions))
    assert all(parts[:1] + parts[2:])
    for role in TARGET_ROLES:
        assert not set(fold.targets(role)) & set(fold.profile_for(role))
        for name in fold.targets(role):
            assert WVS7[name].scorable
            assert kinds is None or WVS7[name].kind in kinds


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["battery", "topic"]), st.integers(1, 5), seeds, kinds_given)
def test_no_battery_and_no_twin_is_split(
    strategy: str, index: int, seed: int, kinds: tuple[str, ...] | None
) -> None:
    """On battery and topic folds no target has a sibling or a twin among the facts."""
    fold = make_fold(WVS7, strategy=strategy, index=index, seed=seed, kinds=kinds)
    found = fold.leakage()
    assert found["sibling_in_profile"] == found["twin_in_profile"] == 0
    groups = WVS7.batteries if strategy == "battery" else WVS7.sections
    for members in groups.values():
        assert len({fold.roles[name] for name in members} - {UNUSED}) <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), seeds)
def test_most_of_a_person_is_known(index: int, seed: int) -> None:
    """On a battery fold at least 55 % of all questions are profile, and every set is asked."""
    fold = make_fold(WVS7, index=index, seed=seed)
    assert len(fold.profile) >= 0.55 * len(WVS7)
    assert len(fold.targets("test")) >= 50
    assert min(len(fold.targets(role)) for role in TARGET_ROLES) >= 10


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["battery", "topic", "question"]), seeds, kinds_given, st.integers(2, 6))
def test_folds_together_ask_everything_once(
    strategy: str, seed: int, kinds: tuple[str, ...] | None, of: int
) -> None:
    """The folds of a seed share the eligible questions out as test targets, each once."""
    folds = [
        make_fold(WVS7, strategy=strategy, index=index, of=of, seed=seed, kinds=kinds)
        for index in range(1, of + 1)
    ]
    eligible = {
        question.id
        for question in WVS7
        if question.scorable and (kinds is None or question.kind in kinds)
    }
    asked = Counter(name for fold in folds for name in fold.targets("test"))
    assert set(asked) == eligible
    assert set(asked.values()) == {1}


def test_paper_folds_are_as_published() -> None:
    """Each asks its 58 questions less the unscorable; test people are known by the other 232."""
    for fold, published in zip(paper_folds(WVS7), published_folds(), strict=True):
        asked = {name for name in published if WVS7[name].scorable}
        assert set(fold.targets("test")) == asked
        assert set(fold.profile_for("test")) == set(WVS7.questions) - set(published)
        assert len(fold.profile_for("test")) == 232
        for role in ("train", "val", "dev"):
            assert set(fold.targets(role)) <= set(fold.profile_for("test"))
            assert fold.profile_for(role) == fold.profile
        assert set(fold.unused) == set(published) - asked
        assert "facts for test people only" in fold.describe()


def test_the_seed_moves_only_what_the_paper_left_open() -> None:
    """Another seed leaves the published test targets, and draws other train targets."""
    one, two = paper_folds(WVS7)[0], paper_folds(WVS7, seed=7)[0]
    assert one.targets("test") == two.targets("test")
    assert one.targets("train") != two.targets("train")


def test_a_fold_is_the_same_every_time() -> None:
    """The same arguments give an equal fold; any other seed, index or strategy another."""
    fold = make_fold(WVS7)
    assert fold == make_fold(WVS7)
    assert hash(fold) == hash(make_fold(WVS7))
    others = [
        make_fold(WVS7, seed=43),
        make_fold(WVS7, index=2),
        make_fold(WVS7, of=4),
        make_fold(WVS7, strategy="topic"),
        make_fold(WVS7, kinds=PROTOCOL_KINDS),
    ]
    assert len({fold.digest, *(other.digest for other in others)}) == 6
    assert len(fold.digest) == 16
    assert pickle.loads(pickle.dumps(fold)) == fold
    assert copy.deepcopy(fold) == fold


def test_a_fold_never_changes_between_releases() -> None:
    """The default fold is part of what saved programs mean: its draw is pinned."""
    fold = make_fold(WVS7, strategy="question", index=1, seed=42)
    assert fold.targets("test")[:4] == ("Q4", "Q11", "Q12", "Q20")


def test_questions_that_the_data_lack_are_unused() -> None:
    """With `asked`, nothing outside it is known or asked."""
    asked = set(WVS7.questions) - set(WVS7.batteries["confidence"])
    fold = make_fold(WVS7, asked=asked)
    assert set(WVS7.batteries["confidence"]) <= set(fold.unused)
    assert set(fold.profile) | set(fold.targets("test")) <= asked


def test_targets_are_in_codebook_order_and_sets_are_checked() -> None:
    """Targets come in codebook order; a mistyped set is an error."""
    fold = make_fold(WVS7)
    order = list(WVS7.questions)
    for names in (fold.profile, fold.targets("test"), fold.profile_for("dev")):
        assert list(names) == sorted(names, key=order.index)
    for method in (fold.targets, fold.profile_for):
        with pytest.raises(ConfigError, match="allowed: train, val, dev, test"):
            method("profile")


def test_leakage_counts_what_it_says() -> None:
    """Leaks are counted as by hand, for a question fold, where there are many."""
    fold = make_fold(WVS7, strategy="question")
    found = fold.leakage()
    known = set(fold.profile)
    siblings = [
        name
        for name in fold.targets("test")
        if known & set(WVS7.batteries[WVS7[name].battery]) - {name}
    ]
    twins = [name for name in fold.targets("test") if known & set(WVS7[name].twins)]
    assert found["test_sibling_in_profile"] == len(siblings) > 20
    assert found["test_twin_in_profile"] == len(twins) > 0
    assert found["test_sibling_share"] == len(siblings) / len(fold.targets("test"))
    assert found["sibling_in_profile"] > len(siblings)
    assert sum(found[role] for role in (*ROLES, UNUSED)) == len(WVS7)


def test_a_fold_is_one_line() -> None:
    """The description names strategy, seed, sizes and leaks in a line."""
    fold = make_fold(WVS7, index=2)
    line = fold.describe()
    assert line.startswith("battery fold 2 of 5, seed 42: ")
    assert f"{len(fold.profile)} profile questions" in line
    assert "0 have a battery sibling and 0 a twin among the facts" in line
    assert "\n" not in line


def moved(fold: Fold, **roles: str) -> Fold:
    """The same fold with other roles for some questions."""
    return Fold(
        fold.strategy, fold.index, fold.of, fold.seed, {**fold.roles, **roles}, fold.codebook
    )


def test_a_fold_proves_that_batteries_are_whole() -> None:
    """A battery or section in two roles is refused by name."""
    fold = make_fold(WVS7)
    role = fold.roles["Q64"]
    other = "profile" if role != "profile" else "test"
    with pytest.raises(ConfigError, match="battery confidence is in two roles"):
        moved(fold, Q64=other)
    topic = make_fold(WVS7, strategy="topic")
    other = "profile" if topic.roles["Q106"] != "profile" else "test"
    with pytest.raises(ConfigError, match="topic economic-values is in two roles"):
        moved(topic, Q106=other)


def test_a_fold_proves_that_twins_are_not_known() -> None:
    """A target whose twin is in the profile is refused, both named."""
    folds = [make_fold(WVS7, index=index) for index in range(1, 6)]
    fold = next(fold for fold in folds if fold.roles["Q46"] == "profile")
    with pytest.raises(ConfigError, match="Q46 is a test target, and its twin Q49 is in the prof"):
        moved(fold, Q46="test")


def test_roles_must_be_known_and_complete() -> None:
    """Unknown roles, absent or unknown questions, and empty roles are refused."""
    fold = make_fold(WVS7, strategy="question")
    with pytest.raises(ConfigError, match="Q1 has the unknown role 'demo'"):
        moved(fold, Q1="demo")
    with pytest.raises(ConfigError, match="every question of the codebook needs one role"):
        moved(fold, Q999="test")
    with pytest.raises(ConfigError, match="every question of the codebook needs one role"):
        Fold("question", 1, 5, 42, {"Q1": "test"}, WVS7)
    with pytest.raises(ConfigError, match="no question is left for val"):
        moved(fold, **dict.fromkeys(fold.targets("val"), "dev"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "random"}, "strategy: no such strategy.*battery, topic, question, paper"),
        ({"index": 0}, "index: no fold 0 of 5"),
        ({"index": 6}, "index: no fold 6 of 5"),
        ({"of": 1}, "at least 2 folds"),
        ({"kinds": ["values"]}, "kinds: no such kind"),
        ({"kinds": ["knowledge"]}, "no question is left for"),
        ({"strategy": "paper", "of": 4}, "five published folds"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, object], message: str) -> None:
    """A wrong argument names its key and what would do."""
    with pytest.raises(ConfigError, match=message):
        make_fold(WVS7, **arguments)  # type: ignore[arg-type]


def test_a_codebook_of_some_sections() -> None:
    """Folds are drawn from any codebook, twins outside it being no matter; paper needs all."""
    fold = make_fold(small(), of=3)
    assert fold.leakage()["twin_in_profile"] == 0
    assert set(fold.roles) == set(small().questions)
    assert make_fold(small(), strategy="question").targets("dev")
    with pytest.raises(ConfigError, match="need questions Q1 to Q290"):
        make_fold(small(), strategy="paper")


# --- pairs that depend on each other -------------------------------------------------------------

pairs_of_questions = st.lists(
    st.tuples(*[st.sampled_from(list(WVS7.questions))] * 2).filter(lambda pair: pair[0] != pair[1]),
    max_size=30,
)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(WHOLE), st.integers(1, 5), seeds, kinds_given, pairs_of_questions)
def test_no_dependent_question_is_known(
    strategy: str,
    index: int,
    seed: int,
    kinds: tuple[str, ...] | None,
    pairs: list[tuple[str, str]],
) -> None:
    """Whatever pairs there are, none has a target and a profile question; targets stay."""
    plain = make_fold(WVS7, strategy=strategy, index=index, seed=seed, kinds=kinds)
    fold = make_fold(WVS7, strategy=strategy, index=index, seed=seed, kinds=kinds, dependence=pairs)
    asked = {name for role in TARGET_ROLES for name in fold.targets(role)}
    for pair in pairs:
        assert not (asked & set(pair) and set(fold.profile) & set(pair)), pair
    for role in TARGET_ROLES:
        assert fold.targets(role) == plain.targets(role)
        assert not set(fold.targets(role)) & set(fold.profile_for(role))
    assert set(fold.dropped) == set(plain.profile) - set(fold.profile)
    assert set(fold.unused) == {*plain.unused, *fold.dropped}
    near = {*(one for one, _ in pairs), *(other for _, other in pairs)}
    assert set(fold.dropped) <= near
    assert fold.leakage()["sibling_in_profile"] == fold.leakage()["twin_in_profile"] == 0


def test_only_the_known_one_of_a_pair_is_dropped() -> None:
    """A pair of two targets, of two profile questions or of unused ones changes no role."""
    fold = make_fold(WVS7)
    one, two = fold.profile[:2]
    target, other = fold.targets("test")[0], fold.targets("train")[0]
    assert make_fold(WVS7, dependence=[(one, two), (target, other)]).roles == fold.roles
    for pair in ((one, target), (other, one)):
        paired = make_fold(WVS7, dependence=[pair])
        assert paired.dropped == (one,) and one in paired.unused
        assert paired.roles == {**fold.roles, one: UNUSED}


@pytest.mark.parametrize("strategy", ["question", "paper"])
def test_published_folds_leave_dependence_be(strategy: str) -> None:
    """Question and paper folds are as they were: their leaks are what they are there for."""
    plain = make_fold(WVS7, strategy=strategy)
    every = [(name, target) for name in plain.profile[:40] for target in plain.targets("test")]
    assert make_fold(WVS7, strategy=strategy, dependence=every) == plain
    assert make_fold(WVS7, strategy=strategy, dependence=every).dependence == ()


def test_the_digest_has_the_pairs() -> None:
    """Another set of pairs is another fold, even where no role changes; no pairs change nothing."""
    plain = make_fold(WVS7)
    one, two, three = plain.profile[:3]
    pair, other = (make_fold(WVS7, dependence=[p]) for p in ((one, two), (two, three)))
    assert pair.roles == other.roles == plain.roles
    assert len({plain.digest, pair.digest, other.digest}) == 3
    assert make_fold(WVS7, dependence=[]) == make_fold(WVS7, dependence=None) == plain
    assert make_fold(WVS7, dependence=[(two, one), (one, two)]) == pair
    assert pickle.loads(pickle.dumps(pair)) == pair


def test_a_fold_says_what_dependence_took() -> None:
    """The line counts the questions dropped and the pairs; without pairs it says nothing."""
    fold = make_fold(WVS7)
    pairs = [(name, fold.targets("test")[0]) for name in fold.profile[:3]]
    line = make_fold(WVS7, dependence=pairs).describe()
    assert f"{len(fold.unused) + 3} unused (3 for 3 dependent pairs);" in line
    assert "dependent" not in fold.describe()


def test_a_fold_proves_that_dependent_questions_are_not_known() -> None:
    """A fold built by hand is refused where a profile question depends on a target."""
    fold = make_fold(WVS7)
    pair = (fold.profile[0], fold.targets("val")[0])
    with pytest.raises(ConfigError, match=f"{pair[0]} is in the profile and depends on a target"):
        Fold(fold.strategy, 1, 5, 42, fold.roles, WVS7, (pair,))


def test_dependence_may_not_eat_the_profile() -> None:
    """Where pairs would take out more than half of what is known, the threshold is too low."""
    fold = make_fold(WVS7)
    target = fold.targets("test")[0]
    most = int((1 - MIN_PROFILE_KEPT) * len(fold.profile))
    kept = make_fold(WVS7, dependence=[(name, target) for name in fold.profile[:most]])
    assert len(kept.profile) == len(fold.profile) - most
    with pytest.raises(ConfigError, match="out of the profile: raise the threshold"):
        make_fold(WVS7, dependence=[(name, target) for name in fold.profile[: most + 1]])


def test_pairs_of_unknown_questions_are_refused() -> None:
    """A pair that names no question of the codebook is an error, not a pair without effect."""
    with pytest.raises(UnknownQuestionError, match="Q999"):
        make_fold(WVS7, dependence=[("Q1", "Q999")])
