"""What a model says of a country's answers when it is told of nobody, and what the survey found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dspy
import numpy as np
from dspy.utils.exceptions import AdapterParseError

from evals.intervals import MIN_DRAWS, Floats, Interval
from evals.metric import NAN
from valuesim_dspy.case import Case, Profile, make_example
from valuesim_dspy.errors import InvalidAnswerError
from valuesim_dspy.modules import RETRIES, RETRY_TEMPERATURE

if TYPE_CHECKING:
    import pandas as pd

    from valuesim_dspy.survey.codebook import Codebook
    from valuesim_dspy.survey.respondents import Respondents

MIN_PEOPLE = 50
"""People of a country who must have answered a question for its shares to be compared."""
TOLERANCE = 0.02
"""How far the shares that a model gives may be from 1 together: they are told rounded."""

Cell = tuple[str, str]
"""A country, alpha-3, and a question."""


class RecallMarginal(dspy.Signature):
    """Say how the people of one country answered one question of a survey.

    Give the share of the country's adults who chose each option, as the survey found it. Where
    you do not remember the figures, give your best estimate. Every option has a share, and the
    shares make 1 together.
    """

    survey: str = dspy.InputField(desc="the survey")
    country: str = dspy.InputField(desc="the country")
    question: str = dspy.InputField(desc="the question that was put")
    options: str = dspy.InputField(desc="the options that were offered, each behind its code")
    shares: dict[str, float] = dspy.OutputField(
        desc="the code of every option with the share of people who chose it, from 0 to 1"
    )


class Recaller(dspy.Module):
    """Ask for the shares of a country's answers; of the case it reads country and question alone.

    Returns a `dspy.Prediction` with `probabilities`, the shares by code, and `answer`, the code
    with the greatest; a tie goes to the lowest.
    """

    kind, variant, knows = "recall", "recall", "cold"

    def __init__(self, *, retries: int = RETRIES) -> None:
        super().__init__()
        self.shares = dspy.Predict(RecallMarginal)
        self.retries = retries

    def inputs(self, case: Case) -> dict[str, str]:
        """Return what the predictor reads."""
        codebook, country = case.profile.codebook, case.profile.country
        return {
            "survey": codebook.title,
            "country": codebook.country_name(country or ""),
            "question": case.question_text,
            "options": case.options_text,
        }

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class.

        Raises:
            InvalidAnswerError: No attempt gave a share for every option.
        """
        reply: object = ""
        adapter = dspy.settings.adapter or dspy.ChatAdapter(use_json_adapter_fallback=False)
        for attempt in range(self.retries + 1):
            again = {"rollout_id": attempt, "temperature": RETRY_TEMPERATURE} if attempt else {}
            try:
                with dspy.context(adapter=adapter):
                    reply = self.shares(**self.inputs(case), config=again).shares
            except AdapterParseError as error:
                reply = error.lm_response
                continue
            shares = read_shares(reply, case.question.codes)
            if shares:
                best = max(shares, key=lambda code: (shares[code], -code))
                return dspy.Prediction(answer=best, probabilities=shares)
        raise InvalidAnswerError(case.question.id, reply, case.question.codes)


def read_shares(told: Any, codes: Sequence[int]) -> dict[int, float]:
    """Return shares that make 1; {} where they are not shares of exactly these options.

    Args:
        told: Code, as text, to a share in [0, 1], or to a percentage where they make 100.
        codes: The codes that each need a share.
    """
    if not isinstance(told, Mapping) or set(told) != {str(code) for code in codes}:
        return {}
    values = np.array([float(told[str(code)]) for code in codes])
    total = float(values.sum())
    whole = 100 if total > 1 + TOLERANCE else 1
    if not (values >= 0).all() or not abs(total / whole - 1) <= TOLERANCE:
        return {}
    return dict(zip(codes, (values / total).tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Marginal:
    """What a survey found of one country and question.

    Attributes:
        shares: Weighted shares, float64 [options], in the order of the question's codes.
        people: How many answered.
        sampling: The distance from the shares of everybody that sampling so many alone makes one
            expect: half of that between two random halves of them, in total variation.
    """

    shares: Floats
    people: int
    sampling: float

    @property
    def top(self) -> float:
        """The share of the commonest answer."""
        return float(self.shares.max())


def marginals(
    people: Respondents, cells: Iterable[Cell], *, least: int = MIN_PEOPLE, seed: int = 0
) -> dict[Cell, Marginal]:
    """Return the survey's shares, weighted by W_WEIGHT, where enough people answered.

    Args:
        people: Who is counted.
        cells: Countries and questions.
        least: People who must have answered.
        seed: Of the halves.
    """
    home = np.array(people.alphas)
    half = np.random.default_rng(seed).permutation(len(people)) % 2 == 0
    found = {}
    for country, id in cells:
        codes = np.array(people.codebook[id].codes)
        answers = people.column(id)
        is_one = (home == country) & np.isin(answers, codes) & (people.weights > 0)
        given = answers[is_one][:, None] == codes
        weights = people.weights[is_one]
        first = half[is_one]
        if len(given) < max(2, least) or first.all() or not first.any():
            continue
        halves = (_shares(given[part], weights[part]) for part in (first, ~first))
        shares = _shares(given, weights)
        found[country, id] = Marginal(shares, len(given), total_variation(*halves) / 2)
    return found


def _shares(given: Any, weights: Floats) -> Floats:
    shares: Floats = weights @ given / weights.sum()
    return shares


def total_variation(one: Floats, other: Floats) -> float:
    """Return half the sum of absolute differences of two distributions, in [0, 1]."""
    return float(np.abs(one - other).sum() / 2)


def recall_examples(codebook: Codebook, known: Mapping[Cell, Marginal]) -> list[dspy.Example]:
    """Return one example a cell: nobody of a country, and the commonest answer there."""
    made = []
    for (country, id), marginal in known.items():
        question = codebook[id]
        nobody = Profile(f"nobody in {country}", {}, codebook, country=country)
        commonest = question.codes[int(marginal.shares.argmax())]
        made.append(make_example(Case(nobody, question), commonest))
    return made


def cell_correlation(
    cells: pd.DataFrame,
    y: str,
    *,
    x: str = "recall",
    given: str | None = None,
    draws: int = MIN_DRAWS,
    seed: int = 0,
) -> Interval:
    """Return Pearson's correlation over cells, weighted by cases, clustered by question.

    Args:
        cells: One row a cell: `question`, `cases` and the columns named; rows in which one is
            missing are left out.
        y: A column.
        x: Another.
        given: A third, held fixed: the partial correlation.
        draws: Bootstrap draws of whole questions.
        seed: Of the draws.

    Returns:
        In [-1, 1]; NaN where a column does not vary, and without ends for fewer than 3 questions.
        `n` are cells and `clusters` questions.
    """
    names = [x, y, given] if given else [x, y]
    kept = cells.dropna(subset=names)
    values, weights = kept[names].to_numpy(float), kept["cases"].to_numpy(float)
    groups, at = np.unique(kept["question"].to_numpy(str), return_inverse=True)
    size, count = len(groups), len(kept)
    if not count:
        return Interval(NAN, NAN, NAN, 0, 0)
    # Centred for the sake of precision: a correlation does not change with the origin.
    values = values - np.average(values, axis=0, weights=weights)
    products = values[:, :, None] * values[:, None, :]
    flat = np.column_stack([np.ones(count), values, products.reshape(count, -1)])
    flat *= weights[:, None]
    sums = np.stack([np.bincount(at, column, size) for column in flat.T], axis=1)
    estimate = float(_correlations(sums.sum(axis=0)[None], len(names))[0])
    low = high = NAN
    if size >= 3:
        drawn = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), draws)
        found = _correlations(drawn.astype(float) @ sums, len(names))
        found = found[~np.isnan(found)]
        low, high = np.quantile(found, [0.025, 0.975]) if len(found) else (NAN, NAN)
    return Interval(estimate, float(low), float(high), count, size)


def _correlations(sums: Floats, size: int) -> Floats:
    """Return the (partial) correlation of the first two of `size` variables for each row."""
    means = sums[:, 1 : size + 1] / sums[:, :1]
    second = (sums[:, size + 1 :] / sums[:, :1]).reshape(-1, size, size)
    spread = second - means[:, :, None] * means[:, None, :]
    scale = np.sqrt(np.einsum("dii->di", spread).clip(0))
    scale = np.where(scale > 1e-9, scale, np.nan)
    r = spread / scale[:, :, None] / scale[:, None, :]
    if size == 2:
        return np.asarray(r[:, 0, 1], dtype=float)
    held = np.sqrt((1 - r[:, 0, 2] ** 2) * (1 - r[:, 1, 2] ** 2))
    held = np.where(held > 1e-9, held, np.nan)
    return np.asarray((r[:, 0, 1] - r[:, 0, 2] * r[:, 1, 2]) / held, dtype=float)
