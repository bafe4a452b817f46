"""Records and weights of readers, fitted on what they answered for people whose answers are known.

Every number is shrunk: (n * mean + PRIOR * centre) / (n + PRIOR), which for a share is the mean of
the posterior under a beta prior worth PRIOR cases (Gelman et al. 2013, Bayesian Data Analysis,
2.4), and for the others the same pull as an estimate. The centre of a reader's margin is the mean
of all readers on the same cases; that of a topic is the reader's own margin of the kind of scale.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.metrics import rank_distance
from valuesim_dspy.survey.codebook import Question
from valuesim_dspy.trust import ALL, MIN_COUNT, cell_key, weighted_vote

PRIOR = 20.0
"""How many cases of the centre a mean is mixed with."""

RULES = ("vote", "single", "log-odds")
"""Ways to weigh votes, in the order in which a tie is decided."""

DIGITS = 4
_EDGE = 0.01  # keeps log-odds finite

Groups = Sequence[frozenset[str]]


@dataclass(frozen=True)
class Answered:
    """What the readers answered on one training case, and what the person did.

    Args:
        respondent: The person's salted key.
        question: The question.
        truth: The code the person gave.
        answers: Reader to code, in canonical order; every reader of the panel.
    """

    respondent: str
    question: Question
    truth: int
    answers: Mapping[str, int]


def fit_trust(cases: Sequence[Answered], groups: Groups, *, lm: str) -> dict[str, Any]:
    """Return the table `learned` of `valuesim_dspy.trust`: records and weights.

    Args:
        cases: What was answered; all by the same readers.
        groups: Keys of people who are held out together while a rule is chosen.
        lm: The name of the task LM.

    Returns:
        {} where fewer than `MIN_COUNT` people are left to learn from.
    """
    members = cell_members(cases)
    if not members:
        return {}
    margins = {key: found for key, found in members.items() if "/" not in key}
    rules = {key: _choose_rule(found, groups) for key, found in margins.items()}
    return {
        "records": {"lm": lm, "cells": fit_cells(members)},
        "weights": {"lm": lm, "by": rules},
    }


def people(cases: Iterable[Answered]) -> int:
    """Return the number of people that cases are of."""
    return len({case.respondent for case in cases})


def cell_members(cases: Sequence[Answered]) -> dict[str, list[Answered]]:
    """Sort cases into cells, each of at least `MIN_COUNT` people; nothing else is kept.

    Nor can anything less be had by taking cells from their margin: where the cells left out of a
    margin have fewer people together, their cases are left out of the margin too.

    Returns:
        Cell to its cases: `all`, kinds of scale, kinds and topics, each where there is one.
    """
    topics: dict[str, dict[str, list[Answered]]] = {}
    for kind, found in _by(cases, lambda case: case.question.scale_kind).items():
        topics[kind] = _by(found, lambda case: case.question.section)
    kept: dict[str, list[Answered]] = {}
    kinds: dict[str, list[Answered]] = {}
    for kind, by_topic in topics.items():
        large, kinds[kind] = _large(by_topic)
        kept |= {cell_key(kind, topic): found for topic, found in large.items()}
    large, everything = _large(kinds)
    return {ALL: everything, **large, **kept} if people(everything) >= MIN_COUNT else {}


def _by(
    cases: Iterable[Answered], key: Callable[[Answered], Hashable]
) -> dict[Any, list[Answered]]:
    found: dict[Any, list[Answered]] = defaultdict(list)
    for case in cases:
        found[key(case)].append(case)
    return {name: found[name] for name in sorted(found)}


def _large(
    groups: Mapping[str, list[Answered]],
) -> tuple[dict[str, list[Answered]], list[Answered]]:
    """Return the groups with people enough, and the cases of the margin above them.

    Where no group is kept, nothing can be taken from the margin, which is of all cases.
    """
    large = {name: found for name, found in groups.items() if people(found) >= MIN_COUNT}
    margin = [case for found in large.values() for case in found]
    rest = [case for name, found in groups.items() if name not in large for case in found]
    return large, margin + (rest if not large or people(rest) >= MIN_COUNT else [])


def fit_cells(members: Mapping[str, Sequence[Answered]]) -> dict[str, dict[str, Any]]:
    """Return reader to cell to the counts and the shrunk means of `trust_tables.Cell`."""
    readers = list(members[ALL][0].answers)
    cells: dict[str, dict[str, Any]] = {name: {} for name in readers}
    # Margins come first: topics are shrunk towards them.
    for key, found in sorted(members.items(), key=lambda item: "/" in item[0]):
        means = {name: _means(found, name) for name in readers}
        counts = {"n": len(found), "people": people(found)}
        for name in readers:
            margin = cells[name].get(key.partition("/")[0])
            shrunk = {
                part: _shrink(n, mean, margin[part] if margin else _centre(means, part))
                for part, (n, mean) in means[name].items()
            }
            cells[name][key] = counts | {part: round(v, DIGITS) for part, v in shrunk.items()}
    return cells


def _shrink(n: int, mean: float, centre: float) -> float:
    return (n * mean + PRIOR * centre) / (n + PRIOR)


def _centre(means: Mapping[str, Mapping[str, tuple[int, float]]], part: str) -> float:
    """Return the mean of a part over readers and cases."""
    found = [table[part] for table in means.values() if part in table]
    return sum(n * mean for n, mean in found) / sum(n for n, _ in found)


def _means(cases: Sequence[Answered], reader: str) -> dict[str, tuple[int, float]]:
    """Return each part of a record with its cases and mean, where people enough are behind it."""
    values: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for case in cases:
        for part, value in _errors(case.question, case.truth, case.answers[reader]).items():
            values[part].append((case.respondent, value))
    return {
        part: (len(found), sum(value for _, value in found) / len(found))
        for part, found in values.items()
        if len({person for person, _ in found}) >= MIN_COUNT
    }


def _errors(question: Question, truth: int, answer: int) -> dict[str, float]:
    """Return what one answer adds to each part of a record; see `trust_tables.Cell`."""
    parts = {"accuracy": float(answer == truth)}
    distance = rank_distance(question, truth, answer)
    if question.scale_kind != "ordinal" or distance is None:
        return parts
    given, true = question.position(answer), question.position(truth)
    assert given is not None and true is not None
    parts |= {"nmae": distance, "extremity": abs(2 * given - 1) - abs(2 * true - 1)}
    # Codes in no order along the scale are neither too high nor too low.
    return parts | ({"bias": question.direction * (given - true)} if question.direction else {})


def _choose_rule(cases: Sequence[Answered], groups: Groups) -> dict[str, Any]:
    """Fit the rules of `trust.weighted_vote` and take the one that is right most often.

    A rule is judged on people whom its weights were not fitted on; a tie goes to the plain vote.
    """
    hits = dict.fromkeys(RULES, 0)
    judged = 0
    for group in groups:
        own = [case for case in cases if case.respondent in group]
        others = [case for case in cases if case.respondent not in group]
        if own and others:
            judged += len(own)
            for rule in RULES:
                hits[rule] += _hits(rule, fit_weights(rule, others), own)
    chosen = max(RULES, key=lambda rule: hits[rule])
    return {
        "rule": chosen,
        "readers": fit_weights(chosen, cases),
        "n": len(cases),
        "people": people(cases),
        "accuracy": {rule: round(n / judged, DIGITS) for rule, n in hits.items() if judged},
    }


def _hits(rule: str, readers: Mapping[str, float], cases: Sequence[Answered]) -> int:
    learned = {"weights": {"by": {ALL: {"rule": rule, "readers": readers}}}}
    return sum(weighted_vote(learned, case.question, case.answers) == case.truth for case in cases)


def fit_weights(rule: str, cases: Sequence[Answered]) -> dict[str, float]:
    """Return the weight of each reader by one of `RULES`.

    `vote`: 1 each; `single`: 1 for the reader that is right most often, the first of these, and 0
    for the others; `log-odds`: log(p / (1 - p)) of the shrunk accuracy p.
    """
    readers = list(cases[0].answers)
    right = {name: sum(c.answers[name] == c.truth for c in cases) for name in readers}
    if rule == "vote":
        return dict.fromkeys(readers, 1.0)
    if rule == "single":
        best = max(readers, key=lambda name: right[name])
        return {name: float(name == best) for name in readers}
    centre = sum(right.values()) / (len(cases) * len(readers))
    shares = {name: _shrink(len(cases), n / len(cases), centre) for name, n in right.items()}
    inner = {name: min(max(share, _EDGE), 1 - _EDGE) for name, share in shares.items()}
    return {name: round(math.log(p / (1 - p)), DIGITS) for name, p in inner.items()}
