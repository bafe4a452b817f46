"""Arms that give probabilities: point answers beside draws, and scores before and after."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from evals.calibration import Calibration, apply, calibrate
from evals.distributional import (
    alpha_deviation,
    entropy_deviation,
    inter_item_deviation,
    variance_ratio,
    wasserstein,
)
from evals.populations import draw_population
from evals.probabilistic import brier, ece, log_loss, with_probabilities

if TYPE_CHECKING:
    import pandas as pd

    from evals.benchmark import Result

DRAWS = 5
"""Populations that are drawn; their metrics are averaged."""

WIDTH = 118
INVALID = "invalid"
POPULATIONS = {"independent draws": False, "one draw a person": True}
COLUMNS: Mapping[str, tuple[Callable[[pd.DataFrame], float], str]] = {
    "variance ratio": (variance_ratio, ".2f"),
    "entropy": (entropy_deviation, "+.3f"),
    "W1": (wasserstein, ".3f"),
    "inter-item": (inter_item_deviation, ".3f"),
    "alpha": (alpha_deviation, "+.2f"),
}
SCORES: Mapping[str, Callable[[pd.DataFrame], float]] = {
    "log-loss": log_loss,
    "Brier": brier,
    "ECE": ece,
}
LEGEND = (
    "variance ratio: 1 is as varied as people are; entropy: 0 is as spread, below 0 too "
    "concentrated; W1: distance of the marginals in lengths of the scale, 0 is best; inter-item: "
    "mean absolute difference of correlations between questions, 0 is best; alpha: Cronbach's of "
    "the batteries less people's, 0 is as coherent"
)


def gives_probabilities(result: Result) -> bool:
    """Whether an arm's cases carry probabilities."""
    return not with_probabilities(result.frame).empty


def calibrations(val_results: Sequence[Result]) -> dict[str, Calibration]:
    """Return the calibration of each arm that gives probabilities on the valset, by label.

    An arm that answered too few of it has none: its temperature would be of the easy cases.
    """
    return {
        result.label: calibrate(result.frame)
        for result in val_results
        if gives_probabilities(result) and result.is_valid
    }


def distribution_table(
    results: Sequence[Result], val_results: Sequence[Result], *, seed: int = 0
) -> str:
    """Return what probabilities do, as Markdown; "" where no arm gives any.

    Point answers, independent draws and one draw a person are compared on variance, entropy,
    marginals, correlations and alphas, all on the same cases; draws are from calibrated
    probabilities where there are any. Then log-loss, Brier score and calibration error, before
    and after temperature scaling. Cold and warm arms stand in tables of their own.

    Args:
        results: Of one set.
        val_results: Of the same arms, by label, on the valset: what temperatures are fitted on.
        seed: Of the populations drawn.
    """
    found = [result for result in results if gives_probabilities(result)]
    fitted = calibrations(val_results)
    blocks = []
    for knows in dict.fromkeys(result.knows for result in found):
        group = [result for result in found if result.knows == knows]
        title = f"## Answers as distributions: {knows} arms, {group[0].role}set"
        populations = [row for r in group for row in population_rows(r, fitted.get(r.label), seed)]
        scores = [score_row(result, fitted.get(result.label)) for result in group]
        blocks += [title, _markdown(("arm", "answers", *COLUMNS), populations)]
        heads = ("arm", "cases", *SCORES, "temperature", *(f"{name} after" for name in SCORES))
        blocks.append(_markdown(heads, scores))
    if not blocks:
        return ""
    note = f"{LEGEND}. Draws: the mean of {DRAWS} populations, from calibrated probabilities; "
    note += "temperatures are fitted on the valset. Independent draws bind a person's answers to "
    note += "each other as little as the probabilities allow, one draw as tightly as they allow; "
    note += "people lie between. Log-loss in nats; Brier score from 0 to 2."
    return "\n\n".join([*blocks, textwrap.fill(note, WIDTH)]) + "\n"


def population_rows(result: Result, calibration: Calibration | None, seed: int) -> list[list[str]]:
    """Return one row for point answers and for each way of drawing, as text."""
    if not result.is_valid:
        ways, unknown = ("point", *POPULATIONS), [INVALID] * len(COLUMNS)
        return [["" if at else result.label, way, *unknown] for at, way in enumerate(ways)]
    points = with_probabilities(result.frame)
    drawn_from = points if calibration is None else apply(points, calibration)
    rows = [[result.label, "point", *_numbers([points])]]
    for name, one_draw in POPULATIONS.items():
        drawn = [
            draw_population(drawn_from, seed + number, one_draw=one_draw) for number in range(DRAWS)
        ]
        rows.append(["", name, *_numbers(drawn)])
    return rows


def score_row(result: Result, calibration: Calibration | None) -> list[str]:
    """Return an arm's scores before and after calibration, as text."""
    frame = result.frame
    count = f"{len(with_probabilities(frame)):,}"
    if not result.is_valid:
        return [result.label, count, *[INVALID] * len(SCORES), "-", *("-" for _ in SCORES)]
    before = [_shown(score(frame), ".3f") for score in SCORES.values()]
    row = [result.label, count, *before]
    if calibration is None:
        return [*row, "-", *("-" for _ in SCORES)]
    after = apply(frame, calibration)
    told = [_shown(score(after), ".3f") for score in SCORES.values()]
    return [*row, _shown(calibration.temperature, ".2f"), *told]


def calibrated_metrics(result: Result, calibration: Calibration) -> dict[str, float]:
    """Return the numbers for an arm's run in MLflow: temperature and scores after it.

    Scores are NaN, which a run leaves out, where too few cases were answered for any.
    """
    if not result.is_valid:
        unknown = ("log_loss_calibrated", "brier_calibrated", "ece_calibrated")
        return {"temperature": calibration.temperature} | dict.fromkeys(unknown, float("nan"))
    after = apply(result.frame, calibration)
    return {
        "temperature": calibration.temperature,
        "log_loss_calibrated": log_loss(after),
        "brier_calibrated": brier(after),
        "ece_calibrated": ece(after),
    }


def _numbers(frames: Sequence[pd.DataFrame]) -> list[str]:
    return [
        _shown(float(np.mean([compute(frame) for frame in frames])), form)
        for compute, form in COLUMNS.values()
    ]


def _shown(value: float, form: str) -> str:
    return "-" if value != value else format(value + 0.0, form)


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Line up columns of text: the first to the left, the others to the right."""
    table = [list(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    widths = [max(3, *(len(row[at]) for row in table)) for at in range(len(heads))]
    rule = [f"{'-' * (w - 1)}{'-' if at < 1 else ':'}" for at, w in enumerate(widths)]
    lined = []
    for row in table:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lined.append([row[0].ljust(widths[0]), *cells[1:]])
    return "\n".join(f"| {' | '.join(row)} |" for row in (lined[0], rule, *lined[1:]))
