"""What moves as a whole when a fold is drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.survey.fold_strategies import (
    FOLD_STRATEGIES,
    ROLES,
    TARGET_ROLES,
    TARGET_SHARES,
    UNUSED,
    Draw,
    in_order,
    joined_by_twins,
    near_targets,
    published_folds,
)

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"


@pytest.fixture(scope="module")
def wvs7() -> Codebook:
    """The packaged codebook."""
    return load_codebook()


def draw(codebook: Codebook, index: int = 1, seed: int = 42, of: int = 5) -> Draw:
    """A draw where every scorable question may be a target."""
    eligible = frozenset(question.id for question in codebook if question.scorable)
    return Draw(codebook, index, of, seed, eligible)


def test_batteries_that_share_twins_are_one_group(wvs7: Codebook) -> None:
    """Groups are whole batteries, hold all twins of their questions, and miss no question."""
    groups = joined_by_twins(wvs7)
    assert sorted(name for group in groups for name in group) == sorted(wvs7.questions)
    for group in groups:
        for name in group:
            assert set(wvs7.batteries[wvs7[name].battery]) <= set(group)
            assert set(wvs7[name].twins) <= set(group)


def test_twins_of_twins_are_joined(wvs7: Codebook) -> None:
    """Neighbours, jobs, justifiable and migration hang together through Q22, Q36, Q182, Q34."""
    group = next(group for group in joined_by_twins(wvs7) if "Q22" in group)
    assert {"Q18", "Q33", "Q34", "Q121", "Q129", "Q177", "Q195"} <= set(group)
    assert "Q64" not in group
    assert len(group) < 58


def test_groups_are_no_larger_than_needed(wvs7: Codebook) -> None:
    """A battery without twins elsewhere stands alone."""
    assert tuple(wvs7.batteries["confidence"]) in joined_by_twins(wvs7)


@pytest.mark.parametrize("strategy", FOLD_STRATEGIES)
def test_every_question_gets_one_role(wvs7: Codebook, strategy: str) -> None:
    """Strategies name a role for every question, and unused only beside targets."""
    roles = FOLD_STRATEGIES[strategy](draw(wvs7))
    assert set(roles) == set(wvs7.questions)
    assert set(roles.values()) <= {*ROLES, UNUSED}
    assert all(role in TARGET_ROLES or not role for role in TARGET_SHARES)


@pytest.mark.parametrize("strategy", FOLD_STRATEGIES)
def test_only_eligible_questions_are_targets(wvs7: Codebook, strategy: str) -> None:
    """An unscorable question is never a target."""
    plan = draw(wvs7, index=3)
    roles = FOLD_STRATEGIES[strategy](plan)
    assert {name for name, role in roles.items() if role in TARGET_ROLES} <= plan.eligible


@pytest.mark.parametrize("strategy", ["battery", "topic"])
def test_siblings_of_targets_that_are_no_targets_are_unused(wvs7: Codebook, strategy: str) -> None:
    """Where only values may be targets, what stands beside them is not in the profile either."""
    eligible = frozenset(question.id for question in wvs7 if question.kind == "value")
    groups = wvs7.batteries if strategy == "battery" else wvs7.sections
    left_out = 0
    for index in range(1, 6):
        roles = FOLD_STRATEGIES[strategy](Draw(wvs7, index, 5, 42, eligible))
        for members in groups.values():
            found = {roles[name] for name in members}
            if found & set(TARGET_ROLES):
                assert "profile" not in found
                left_out += sum(roles[name] == UNUSED for name in members)
    assert left_out > 0


def test_topic_leaves_twins_elsewhere_out(wvs7: Codebook) -> None:
    """On a topic fold a target's twin in another section is unused, its section is not."""
    for index in range(1, 6):
        roles = FOLD_STRATEGIES["topic"](draw(wvs7, index))
        if roles["Q164"] == "test":
            assert roles["Q6"] in (UNUSED, *TARGET_ROLES)
            break
    else:
        pytest.fail("no fold asks Q164")


def test_single_questions_are_drawn_one_by_one(wvs7: Codebook) -> None:
    """A question fold cuts batteries: that is what it is for."""
    roles = FOLD_STRATEGIES["question"](draw(wvs7))
    assert len({roles[name] for name in wvs7.batteries["confidence"]}) > 2


def test_each_purpose_has_its_own_generator(wvs7: Codebook) -> None:
    """Generators are local, repeatable, and differ by purpose and seed."""
    first = draw(wvs7).rng("a").random()
    assert first == draw(wvs7).rng("a").random()
    assert first != draw(wvs7).rng("b").random()
    assert first != draw(wvs7, seed=43).rng("a").random()


def test_published_folds_share_out_all_questions() -> None:
    """The five published folds hold each of Q1 to Q290 once, 58 a fold."""
    folds = published_folds()
    assert [len(fold) for fold in folds] == [58] * 5
    assert {name for fold in folds for name in fold} == {f"Q{n}" for n in range(1, 291)}
    assert folds[0][:3] == ("Q282", "Q62", "Q197")


def test_published_folds_are_the_published_ones() -> None:
    """They equal those that the paper's code wrote, in order."""
    path = REFERENCE / "published_folds.json"
    if not path.exists():
        pytest.skip("the reference files are not beside this checkout")
    published = json.loads(path.read_text())
    assert {str(n): list(fold) for n, fold in enumerate(published_folds(), 1)} == published


def test_pairs_are_put_in_order(wvs7: Codebook) -> None:
    """Each pair once, the earlier question first, in the order of the codebook and not of text."""
    pairs = [("Q10", "Q9"), ("Q9", "Q10"), ("Q200", "Q3"), ("Q3", "Q21")]
    assert in_order(pairs, wvs7) == (("Q3", "Q21"), ("Q3", "Q200"), ("Q9", "Q10"))
    assert in_order([], wvs7) == ()


def test_only_what_is_known_is_near_a_target() -> None:
    """Of a pair the profile question is near, if the other is a target of any set."""
    roles = {"A": "profile", "B": "test", "C": "profile", "D": UNUSED, "E": "train", "F": "profile"}
    assert near_targets(roles, [("B", "C"), ("A", "E"), ("C", "E")]) == ("A", "C")
    assert near_targets(roles, [("A", "C"), ("B", "E"), ("D", "F"), ("D", "B")]) == ()
    assert near_targets(roles, [("A", "G"), ("G", "B")]) == ()
