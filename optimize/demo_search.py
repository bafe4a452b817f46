"""A seeded search over sets of demos: which set each predictor gets, all predictors at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STARTUP = 8
"""Combinations drawn at random before TPE has something to learn from."""

Sets = Mapping[str, Sequence[Sequence[Any]]]


@dataclass(frozen=True)
class Tried:
    """One combination of sets that was scored.

    Args:
        choice: Predictor to the place of its set among its sets.
        score: In [0, 1]; higher is better.
    """

    choice: dict[str, int]
    score: float

    def demos(self, sets: Sets) -> int:
        """Return the number of demos over all predictors."""
        return sum(len(sets[name][place]) for name, place in self.choice.items())


def demo_sets(
    demos: Sequence[Any], count: int, most: int, rng: random.Random
) -> list[tuple[Any, ...]]:
    """Return different sets of demos: none, the first ones, then drawn ones of any size.

    Args:
        demos: What there is to draw from.
        count: How many sets; fewer where there are not so many different ones.
        most: Most demos of a set.
        rng: The generator that draws.
    """
    most = min(most, len(demos))
    places: list[tuple[int, ...]] = [(), tuple(range(most))] if most else [()]
    for _ in range(20 * count):
        if len(places) >= count:
            break
        drawn = tuple(rng.sample(range(len(demos)), rng.randint(1, most))) if most else ()
        # The order in a prompt is that of the pool, so that equal sets are equal prompts.
        drawn = tuple(sorted(drawn))
        if drawn not in places:
            places.append(drawn)
    return [tuple(demos[place] for place in chosen) for chosen in places]


def search_sets(
    sets: Sets, score: Callable[[dict[str, int]], float], trials: int, seed: int
) -> list[Tried]:
    """Try combinations: no demos, everyone's first set, then what a seeded TPE proposes.

    Args:
        sets: Predictor to its sets, the empty one first.
        score: Scores a choice; asked once for each combination.
        trials: How many are proposed; one that comes again costs nothing.
        seed: Of the sampler.

    Returns:
        Each combination once, in the order of trying.
    """
    import optuna

    scores: dict[tuple[int, ...], Tried] = {}

    def objective(trial: optuna.Trial) -> float:
        choice = {
            name: int(trial.suggest_categorical(name, list(range(len(sets[name])))))
            for name in sets
        }
        place = tuple(choice.values())
        if place not in scores:
            scores[place] = Tried(choice, score(choice))
        return scores[place].score

    if not sets:
        return [Tried({}, score({}))]
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(STARTUP, trials))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for place in (0, 1):
        study.enqueue_trial({name: min(place, len(found) - 1) for name, found in sets.items()})
    study.optimize(objective, n_trials=trials)
    return list(scores.values())
