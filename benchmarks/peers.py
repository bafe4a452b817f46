"""Milliseconds a query for similar people, beside plain numpy over the same answers.

Run by hand: `python benchmarks/peers.py`. 97,220 people of 64 countries answer at random. People
with 250 known answers are asked other questions: cold is a person's first question, warm each
further one; at home their own country has peers enough, everyone is the worst case, a person of
unknown country who is compared with all. Of several rounds the best counts for each person. Plain
numpy takes the mean distance of the answers that two people share, over the whole table of codes,
and sorts. All in one thread and one process.
"""

from __future__ import annotations

import os
import pickle
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt

from valuesim_dspy.case import Case, Profile
from valuesim_dspy.peers import PEERS, PeerIndex
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.respondents import Respondents

PEOPLE, COUNTRIES, KNOWN, LIMIT = 97_220, 64, 250, 20.0
ROUNDS = 5
ASKED = 40  # more than an index remembers, so that every round begins cold
MISSING = 0.05

Array = npt.NDArray[Any]


def population(seed: int = 0) -> Respondents:
    """Return people who answer every question with options at random, some not at all."""
    rng = np.random.default_rng(seed)
    codebook = load_codebook()
    columns = {}
    for question in codebook:
        if question.options:
            given = rng.choice(question.codes, PEOPLE)
            columns[question.id] = np.where(rng.random(PEOPLE) < MISSING, -1, given)
    homes = rng.choice(list(codebook.countries)[:COUNTRIES], PEOPLE)
    return Respondents.from_columns(questions=columns, attributes={"B_COUNTRY_ALPHA": homes})


def cases(people: Respondents, *, at_home: bool) -> list[tuple[Case, Case]]:
    """Return two questions to each of some people of whom 250 answers are known."""
    questions = [q for q in people.codebook if q.options and not q.private]
    known = frozenset(question.id for question in questions[:KNOWN])
    found = []
    for at in np.random.default_rng(1).choice(PEOPLE, ASKED, replace=False):
        person = people[int(at)]
        country = person.country if at_home else None
        key = person.key(people.digest)
        profile = Profile(key, person.masked(known), people.codebook, country)
        found.append((Case(profile, questions[KNOWN]), Case(profile, questions[KNOWN + 1])))
    return found


def milliseconds(work: Callable[[], object]) -> float:
    """Return how long something took."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def plain(codes: Array, widths: Array, places: Sequence[int], row: int, target: int) -> Array:
    """Return the people nearest to one of them who answered a question, by plain numpy."""
    own = codes[row, places]
    others = codes[:, places]
    shared = (own >= 0) & (others >= 0)
    distance = np.abs(others - own, dtype=np.float32) / widths[places]
    near = 1.0 - np.where(shared, distance, 0.0).sum(axis=1) / np.maximum(1, shared.sum(axis=1))
    near[codes[:, target] < 0] = -1.0
    near[row] = -1.0
    return np.argsort(-near, kind="stable")[:PEERS]


def measure_plain(people: Respondents) -> float:
    """Return the median of some full comparisons by plain numpy, in milliseconds."""
    questions = [q for q in people.codebook if q.options and not q.private]
    codes = np.stack([people.column(q.id) for q in questions], axis=1).astype(np.int8)
    widths = np.array([max(q.codes) - min(q.codes) for q in questions], dtype=np.float32)
    places = list(range(KNOWN))
    rows = range(ROUNDS)
    return min(milliseconds(partial(plain, codes, widths, places, row, KNOWN)) for row in rows)


def measure(
    index: PeerIndex, asked: Sequence[tuple[Case, Case]]
) -> tuple[list[float], list[float]]:
    """Return each person's best cold and best warm query, in milliseconds."""
    rounds = [
        [[milliseconds(partial(index.nearest, case)) for case in pair] for pair in asked]
        for _ in range(ROUNDS)
    ]
    cold, warm = np.array(rounds).min(axis=0).T.tolist()
    return cold, warm


def line(what: str, times: Sequence[float], reference: float) -> None:
    """Print a median, the greatest, the limit, whether it holds, and the ratio."""
    middle = statistics.median(times)
    verdict = "ok" if middle <= LIMIT else "MISSED"
    print(
        f"{what:<16}{middle:>8.2f} ms a query (at most {max(times):6.2f})   limit {LIMIT:.0f}  "
        f"{verdict:<7}{reference / middle:>7.1f} x as fast as plain numpy"
    )


def main() -> None:
    """Measure, and print milliseconds and ratios."""
    people = population()
    start = time.perf_counter()
    index = PeerIndex.of(people, range(PEOPLE), salt=people.digest)
    built = time.perf_counter() - start
    size = len(pickle.dumps(index)) / 1e6
    print(f"{PEOPLE:,} people, {KNOWN} known answers; built in {built:.1f} s, {size:.0f} MB")
    reference = measure_plain(people)
    print(f"plain numpy     {reference:>8.2f} ms a query")
    for name, at_home in (("at home", True), ("everyone", False)):
        cold, warm = measure(index, cases(people, at_home=at_home))
        line(f"{name}, cold", cold, reference)
        line(f"{name}, warm", warm, reference)


if __name__ == "__main__":
    main()
