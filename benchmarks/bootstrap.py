"""Seconds of 2,000 crossed bootstrap draws over 100 people x 250 questions, beside a plain loop.

Run by hand: `python benchmarks/bootstrap.py`. The loop draws people and questions one draw at a
time and takes the mean of the cells drawn, as the definition reads; it does a fiftieth of the
draws and is scaled up. The two agree, and the vectorised one is to take under 2 seconds.
"""

from __future__ import annotations

import time

import numpy as np

from evals.intervals import crossed_interval

PEOPLE, QUESTIONS, DRAWS, SHARE, LIMIT = 100, 250, 2000, 50, 2.0


def looped(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Return the means of `draws` crossed draws, one after the other."""
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(draws):
        rows = rng.integers(0, PEOPLE, PEOPLE)
        columns = rng.integers(0, QUESTIONS, QUESTIONS)
        means.append(values[np.ix_(rows, columns)].mean())
    return np.array(means)


def main() -> None:
    """Print seconds, the ratio and both intervals."""
    rng = np.random.default_rng(1)
    chance = rng.uniform(0.2, 0.7, (PEOPLE, 1)) + rng.uniform(-0.2, 0.2, (1, QUESTIONS))
    values = (rng.random((PEOPLE, QUESTIONS)) < chance).astype(float)
    people, items = np.divmod(np.arange(values.size), QUESTIONS)

    start = time.perf_counter()
    found = crossed_interval(values.ravel(), people, items, draws=DRAWS, seed=2)
    fast = time.perf_counter() - start

    start = time.perf_counter()
    means = looped(values, DRAWS // SHARE, 3)
    slow = (time.perf_counter() - start) * SHARE

    low, high = np.quantile(means, [0.025, 0.975])
    print(f"vectorised  {fast:6.2f} s for {DRAWS:,} draws (limit {LIMIT:g} s)")
    print(
        f"one by one  {slow:6.2f} s, from {DRAWS // SHARE} draws; {slow / fast:.1f} times as long"
    )
    print(f"intervals   [{found.low:.3f}, {found.high:.3f}] and [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
