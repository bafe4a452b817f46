"""What leaks in a fold, as numbers: each is what a count by hand gives."""

from __future__ import annotations

import json
from functools import lru_cache
from statistics import mean, median

import numpy as np
import pytest

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.dependence import cramers_v, dependent_pairs, measure_dependence
from valuesim_dspy.survey.folds import PROTOCOL_KINDS, WHOLE, Fold, make_fold
from valuesim_dspy.survey.leakage import TELLING_PEOPLE, Leakage, fold_leakage, fold_lines
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.survey.splits import make_split
from valuesim_dspy.survey.synthetic import synthesize

BOOK = load_codebook()


@lru_cache(maxsize=1)
def everyone() -> Respondents:
    """Synthetic people."""
    return synthesize(2000, seed=8)


@lru_cache(maxsize=1)
def train() -> tuple[int, ...]:
    """Places of training people."""
    return make_split(everyone(), train=800, val=0, dev=0, test=0).train


@lru_cache(maxsize=4)
def leakage(strategy: str, *, apart: bool = False) -> tuple[Fold, Leakage]:
    """A fold of values and attitudes, its dependent pairs kept apart or not, and what leaks."""
    pairs = dependent_pairs(everyone(), train()) if apart else None
    fold = make_fold(BOOK, strategy=strategy, kinds=PROTOCOL_KINDS, dependence=pairs)
    return fold, fold_leakage(everyone(), train(), fold)


def test_the_numbers_are_those_of_a_count_by_hand() -> None:
    """For each set: mean, median and largest V between a target and its nearest known question."""
    fold, found = leakage("battery")
    people, whole = everyone().take(list(train())), measure_dependence(everyone(), train())
    known = [name for name in fold.profile if not BOOK[name].private]
    for near in found.sets:
        nearest = {t: whole.nearest(t, known) or ("", 0.0) for t in fold.targets(near.role)}
        values = [v for _, v in nearest.values()]
        assert near.mean == pytest.approx(mean(values))
        assert near.median == pytest.approx(median(values))
        assert near.most == max(values) == whole.between(*near.pair)
        assert near.measured == near.targets == len(values)
    target = found.sets[-1].pair[0]
    alone = {}
    for name in known:
        both = np.column_stack([people.column(target), people.column(name)])
        alone[name] = float(cramers_v(both)[0][0, 1])
    assert max(alone, key=lambda name: alone[name]) == found.sets[-1].pair[1]
    assert max(alone.values()) == pytest.approx(found.sets[-1].most)


def test_a_fold_that_keeps_pairs_apart_leaks_less() -> None:
    """With pairs as twins no target has a question of V at the threshold among the facts."""
    plain, apart = (leakage("battery", apart=apart)[1] for apart in (False, True))
    assert apart.dropped == len(leakage("battery", apart=True)[0].dropped) > 0
    assert plain.dropped == plain.pairs == 0
    for before, after in zip(plain.sets, apart.sets, strict=True):
        assert after.mean <= before.mean and after.most < 0.35
    assert max(near.most for near in plain.sets) > 0.35


def test_single_questions_leak_most() -> None:
    """Where siblings are known, the nearest known question is nearer than on battery folds."""
    for role in range(4):
        question, battery = (
            leakage(strategy)[1].sets[role] for strategy in ("question", "battery")
        )
        assert question.role == battery.role
    means = {s: mean(near.mean for near in leakage(s)[1].sets) for s in ("question", *WHOLE)}
    assert means["question"] > max(means[s] for s in WHOLE) + 0.05


def test_people_of_a_paper_fold_are_known_by_more() -> None:
    """Test targets of a paper fold are measured against all 232 other questions."""
    fold, found = leakage("paper")
    near = found.sets[-1]
    assert near.role == "test"
    others = [name for name in fold.profile_for("test") if not BOOK[name].private]
    assert set(others) > {name for name in fold.profile if not BOOK[name].private}
    whole = measure_dependence(everyone(), train())
    values = [(whole.nearest(t, others) or ("", 0.0))[1] for t in fold.targets("test")]
    assert near.most == max(values) and near.mean == pytest.approx(mean(values))


def test_chance_says_what_the_numbers_are_worth() -> None:
    """Few people make large V by chance: it is told, and grows as people become fewer."""
    fold = leakage("battery")[0]
    few = fold_leakage(everyone(), train()[:60], fold)
    many = leakage("battery")[1]
    for small, large in zip(few.sets, many.sets, strict=True):
        assert small.chance > 2 * large.chance
        assert large.mean > large.chance + 0.02
    assert few.people == 60


def test_private_questions_are_not_measured() -> None:
    """The country of birth is no fact unless asked for, so it leaks nothing."""
    found = [
        near.pair[1] for strategy in ("question", *WHOLE) for near in leakage(strategy)[1].sets
    ]
    assert not [name for name in found if BOOK[name].private]


def test_a_phrase_for_a_header() -> None:
    """Average, chance and most for the test targets, in a few words."""
    near = leakage("battery")[1].sets[-1]
    assert leakage("battery")[1].phrase() == (
        f"nearest profile question: V {near.mean:.2f} on average ({near.chance:.2f} by chance), "
        f"{near.most:.2f} at most"
    )


def test_a_phrase_names_no_number_that_is_chance() -> None:
    """On few training people the nearest of many questions is as near by chance."""
    fold = leakage("battery")[0]
    few = fold_leakage(everyone(), train()[: TELLING_PEOPLE - 1], fold)
    assert few.sets and "V 0" not in few.phrase()
    assert f"cannot be told from chance on {TELLING_PEOPLE - 1} training people" in few.phrase()
    enough = fold_leakage(everyone(), train()[:TELLING_PEOPLE], fold)
    assert "by chance)" in enough.phrase() and enough.people == TELLING_PEOPLE


def test_lines_name_every_set_and_its_nearest_pair() -> None:
    """Four lines, the test targets first, with the pair."""
    found = leakage("battery")[1]
    lines = found.lines()
    assert [line.split(":")[0].strip() for line in lines] == ["test", "dev", "val", "train"]
    for line, near in zip(lines, reversed(found.sets), strict=True):
        assert f"({near.pair[0]}, {near.pair[1]})" in line
        assert f"{near.measured} of {near.targets} targets" in line


@pytest.mark.parametrize("n", [0, 1, 19])
def test_too_few_people_are_said_to_be_too_few(n: int) -> None:
    """No number is made up where nothing can be measured."""
    found = fold_leakage(everyone(), train()[:n], leakage("battery")[0])
    assert found.sets == ()
    assert found.phrase() == f"nearest profile question: not measured on {n} training people"
    (line,) = found.lines()
    assert f"on {n} training people" in line


def test_leakage_is_plain_values() -> None:
    """It goes into a JSON record: aggregates by set, no row and no person."""
    found = leakage("battery", apart=True)[1]
    record = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert list(record["sets"]) == ["train", "val", "dev", "test"]
    assert record["sets"]["test"]["mean"] == found.sets[-1].mean
    assert (record["people"], record["dropped"]) == (800, found.dropped)


@pytest.mark.parametrize("strategy", ["battery", "question"])
def test_all_folds_in_lines(strategy: str) -> None:
    """Five folds, each with its description and its four sets; pairs only where they count."""
    lines = list(fold_lines(everyone(), strategy=strategy, seed=3))
    heads = [line for line in lines if line.startswith(f"{strategy} fold ")]
    assert [line.split(",")[0] for line in heads] == [
        f"{strategy} fold {n} of 5" for n in range(1, 6)
    ]
    assert len(lines) == 5 * 5 + (strategy in WHOLE)
    assert lines[0].endswith("on 1000 training people (at most 4000)") is (strategy in WHOLE)
    assert ("dependent pairs" in heads[0]) is (strategy in WHOLE)


def test_dependence_can_be_left_out_of_the_lines() -> None:
    """Without a threshold the folds are those of the named twins."""
    lines = list(fold_lines(everyone(), threshold=None))
    assert lines[0] == make_fold(BOOK, kinds=PROTOCOL_KINDS).describe()


def test_nobody_to_measure_on_is_an_error() -> None:
    """One person has no half."""
    with pytest.raises(ConfigError, match=r"file: .*take 2 or more"):
        list(fold_lines(everyone()[:1]))
