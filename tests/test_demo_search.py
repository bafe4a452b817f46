"""The search over sets of demos: seeded, each combination once, none and the first tried first."""

import random
from typing import Any

import pytest

from optimize.demo_search import Tried, demo_sets, search_sets

SETS: dict[str, list[tuple[str, ...]]] = {
    "cognitive": [(), ("a", "b"), ("a",), ("b", "c")],
    "affective": [(), ("x",), ("y", "z")],
}


def target(choice: dict[str, int]) -> float:
    """Score the one best combination 1, others by how much of it they have."""
    return (choice["cognitive"] == 3) * 0.5 + (choice["affective"] == 2) * 0.5


def test_sets_begin_with_none_and_with_the_first() -> None:
    """Then come different ones of at most so many, in the order of the pool."""
    sets = demo_sets("abcdef", 8, 3, random.Random(1))
    assert sets[0] == () and sets[1] == ("a", "b", "c")
    assert len(sets) == len(set(sets)) == 8
    assert all(1 <= len(each) <= 3 and list(each) == sorted(each) for each in sets[1:])


@pytest.mark.parametrize(("demos", "expected"), [("", [()]), ("a", [(), ("a",)])])
def test_few_demos_give_few_sets(demos: str, expected: list[Any]) -> None:
    """There are no more different sets, and the draw ends all the same."""
    assert demo_sets(demos, 8, 4, random.Random(1)) == expected


def test_the_seed_draws_the_sets() -> None:
    """Equal seeds draw the same."""
    one, same, other = (demo_sets("abcdefgh", 6, 4, random.Random(s)) for s in (1, 1, 2))
    assert one == same and one != other


def test_none_and_the_first_are_tried_first_and_nothing_twice() -> None:
    """A combination that comes again is not scored again."""
    asked = []

    def score(choice: dict[str, int]) -> float:
        asked.append(tuple(choice.values()))
        return target(choice)

    tried = search_sets(SETS, score, 40, seed=3)
    assert asked[:2] == [(0, 0), (1, 1)]
    assert len(asked) == len(set(asked)) == len(tried) <= 12
    assert max(trial.score for trial in tried) == 1.0


def test_the_seed_decides_the_search() -> None:
    """The same trials in the same order; another seed tries others."""
    one, same, other = (search_sets(SETS, target, 8, seed=s) for s in (1, 1, 2))
    assert one == same and one != other


def test_without_sets_the_program_is_scored_once() -> None:
    """Where no predictor got a demo there is nothing to search."""
    assert search_sets({}, lambda choice: 0.25, 10, seed=1) == [Tried({}, 0.25)]


def test_a_predictor_without_demos_has_one_set() -> None:
    """It takes part with the empty one, also in the combination of first sets."""
    sets = {**SETS, "coordinator": [()]}
    tried = search_sets(sets, target, 6, seed=1)
    assert tried[1].choice == {"cognitive": 1, "affective": 1, "coordinator": 0}
    assert tried[1].demos(sets) == 3 and tried[0].demos(sets) == 0


def test_a_stop_ends_the_search() -> None:
    """Optuna lets through what is no ordinary exception, and raises what is one."""

    class StopError(BaseException):
        pass

    def stop(choice: dict[str, int]) -> float:
        raise StopError

    with pytest.raises(StopError):
        search_sets(SETS, stop, 5, seed=1)
