"""The pictures of a report: PNG by matplotlib, for print, in grey too, and for the colour-blind."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Style = tuple[str, str, Any]

DPI = 150
WIDTH, TEXT = 7.2, 9.0  # inches and points: 8 points and more where it is a page wide
GREY = "#555555"
# Okabe and Ito's colours, each with a shape of its own, so that a print in grey can be read.
STYLES: tuple[Style, ...] = (
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#009E73", "^", "-."),
    ("#CC79A7", "D", ":"),
    ("#000000", "v", (0, (5, 1))),
    ("#E69F00", "P", (0, (1, 1))),
)
_CLIP = 2.5
_STRIP = 0.28


def forest(numbers: pd.DataFrame) -> bytes | None:
    """Return differences in accuracy to the reference, an arm a row, a panel a strategy.

    Args:
        numbers: As `setting_numbers` gives them; cold arms alone are shown.
    """
    known = numbers[(numbers["knows"] == "cold") & numbers["accuracy_minus_low"].notna()]
    if known.empty:
        return None
    arms = list(dict.fromkeys(known["arm"]))
    strategies = list(dict.fromkeys(known["strategy"]))
    height = 1.3 + 0.26 * len(arms)
    figure, panels = _panels(len(strategies), height, sharey=True, sharex=True)
    for axes, strategy in zip(panels, strategies, strict=True):
        own = known[known["strategy"] == strategy].set_index("arm")
        axes.axvline(0, color=GREY, linewidth=1)
        for place, arm in enumerate(arms):
            if arm in own.index:
                row = own.loc[arm]
                colour, marker, _ = STYLES[0 if row["compiled"] else 1]
                _bar(axes, row, "accuracy_minus", place, colour, marker, filled=row["compiled"])
        _name(axes, f"{strategy} folds", f"points minus {own['minus'].iloc[0]}")
        axes.grid(visible=True, axis="x", color="#DDDDDD", linewidth=0.6)
    panels[0].set_yticks(range(len(arms)), arms)
    panels[0].set_ylim(len(arms) - 0.5, -0.5)
    _shapes(figure, {"compiled": (STYLES[0], True), "as is": (STYLES[1], False)})
    return _png(figure)


def groups(table: pd.DataFrame, label: str) -> bytes | None:
    """Return accuracy in each group, a row a group, a panel a strategy, a marker an arm.

    Args:
        table: As `by_group` gives it.
        label: What the groups are.
    """
    known = table.dropna(subset=["accuracy"]) if len(table) else table
    if known.empty or known["group"].nunique() < 2:
        return None
    order = sorted(set(known["group"]), key=str.casefold)
    arms, strategies = _unique(known, "arm"), _unique(known, "strategy")
    step = 0.8 / len(arms)
    figure, panels = _panels(
        len(strategies), 1.5 + len(order) * (0.16 + 0.15 * len(arms)), sharey=True, sharex=True
    )
    for axes, strategy in zip(panels, strategies, strict=True):
        for at, arm in enumerate(arms):
            own = known[(known["strategy"] == strategy) & (known["arm"] == arm)]
            colour, marker, _ = STYLES[at]
            for row in own.to_dict("records"):
                place = order.index(row["group"]) + (at - (len(arms) - 1) / 2) * step
                ends = {"_low": row["low"], "_high": row["high"]}
                _bar(axes, {"": row["accuracy"], **ends}, "", place, colour, marker)
        for edge in range(1, len(order)):
            axes.axhline(edge - 0.5, color="#E5E5E5", linewidth=0.6)
        _name(axes, f"{strategy} folds", "accuracy, %")
        axes.grid(visible=True, axis="x", color="#DDDDDD", linewidth=0.6)
    panels[0].set_yticks(range(len(order)), order)
    panels[0].set_ylim(len(order) - 0.5, -0.5)
    panels[0].set_ylabel(label, fontsize=TEXT)
    _shapes(figure, {arm: (STYLES[at], True) for at, arm in enumerate(arms)})
    return _png(figure)


def variances(ratios: pd.DataFrame) -> bytes | None:
    """Return the variance ratio of each question as a strip of points, with the median.

    Args:
        ratios: As `question_variances` gives them; above 2.5 they are drawn at the edge.
    """
    known = ratios.dropna(subset=["ratio"])
    if known.empty:
        return None
    arms, strategies = _unique(known, "arm"), _unique(known, "strategy")
    figure, panels = _panels(len(strategies), 1.4 + 0.6 * len(arms), sharey=True, sharex=True)
    rng = np.random.default_rng(0)
    for axes, strategy in zip(panels, strategies, strict=True):
        axes.axvline(1, color=GREY, linewidth=1, linestyle="--")
        for at, arm in enumerate(arms):
            own = known[(known["strategy"] == strategy) & (known["arm"] == arm)]["ratio"]
            if len(own):
                colour, marker, _ = STYLES[at]
                spread = at + rng.uniform(-_STRIP, _STRIP, len(own))
                shown = own.clip(upper=_CLIP)
                axes.scatter(shown, spread, s=16, alpha=0.6, color=colour, marker=marker)
                middle = min(float(own.median()), _CLIP)
                axes.plot([middle, middle], [at - 0.42, at + 0.42], color="black", linewidth=2)
        axes.set_xlim(-0.05, _CLIP + 0.05)
        _name(axes, f"{strategy} folds", "variance ratio")
    panels[0].set_yticks(range(len(arms)), arms)
    panels[0].set_ylim(len(arms) - 0.5, -0.5)
    return _png(figure)


def reliability(bins: pd.DataFrame) -> bytes | None:
    """Return how often answers were right over how probable they were said to be.

    Args:
        bins: `strategy`, `arm`, `said`, `right` and `cases` of each bin.
    """
    if bins.empty:
        return None
    strategies, arms = _unique(bins, "strategy"), _unique(bins, "arm")
    figure, panels = _panels(len(strategies), 3.6, sharey=True, sharex=True)
    for axes, strategy in zip(panels, strategies, strict=True):
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--")
        for at, arm in enumerate(arms):
            own = bins[(bins["strategy"] == strategy) & (bins["arm"] == arm)]
            colour, marker, dash = STYLES[at % len(STYLES)]
            size = 12 + 90 * (own["cases"] / bins["cases"].max())
            axes.plot(100 * own["said"], 100 * own["right"], color=colour, linestyle=dash)
            axes.scatter(100 * own["said"], 100 * own["right"], s=size, color=colour, marker=marker)
        _name(axes, f"{strategy} folds", "probability said, %")
        axes.set_aspect("equal")
    panels[0].set_ylabel("right, %", fontsize=TEXT)
    _shapes(
        figure, {arm: (STYLES[at % len(STYLES)], True) for at, arm in enumerate(arms)}, lined=True
    )
    return _png(figure)


def costs(numbers: pd.DataFrame, labelled: Sequence[str]) -> bytes | None:
    """Return accuracy over tokens a case, on a logarithmic axis; arms with calls alone.

    Args:
        numbers: As `setting_numbers` gives them; cold arms alone are shown.
        labelled: Arms with a marker of their own; the others are grey.
    """
    is_shown = (numbers["knows"] == "cold") & (numbers["tokens_per_case"] > 0)
    known = numbers[is_shown & numbers["accuracy"].notna()]
    if known.empty:
        return None
    strategies = _unique(known, "strategy")
    figure, panels = _panels(len(strategies), 3.8, sharey=True, sharex=True)
    for axes, strategy in zip(panels, strategies, strict=True):
        own = known[known["strategy"] == strategy].sort_values("tokens_per_case")
        for row in own.to_dict("records"):
            x, y = row["tokens_per_case"], 100 * row["accuracy"]
            if row["arm"] in labelled:
                colour, marker, _ = STYLES[labelled.index(row["arm"]) % len(STYLES)]
                ends = [[y - 100 * row["accuracy_low"]], [100 * row["accuracy_high"] - y]]
                axes.errorbar(x, y, ends, color=colour, marker=marker, capsize=2, elinewidth=0.8)
            else:
                axes.scatter(x, y, s=18, facecolor="white", edgecolor=GREY)
        axes.set_xscale("log")
        _name(axes, f"{strategy} folds", "tokens a case, needed")
        axes.grid(visible=True, color="#E5E5E5", linewidth=0.6)
        axes.set_axisbelow(True)
    panels[0].set_ylabel("accuracy, %", fontsize=TEXT)
    present = [arm for arm in labelled if arm in set(known["arm"])]
    styles = {arm: (STYLES[labelled.index(arm) % len(STYLES)], True) for arm in present}
    if set(known["arm"]) - set(present):
        styles["other arms"] = ((GREY, "o", ""), False)
    _shapes(figure, styles)
    return _png(figure)


def curves(points: pd.DataFrame) -> bytes | None:
    """Return accuracy over the number of answers known, a panel for each way to grow and order.

    Args:
        points: `arm`, `growth`, `order`, `known`, `accuracy`, `low`, `high`; of cold arms, or of
            warm ones, never of both.
    """
    known = points.dropna(subset=["accuracy"]) if len(points) else points
    if known.empty:
        return None
    panes = list(dict.fromkeys(zip(known["growth"], known["order"], strict=True)))
    ways, arms = list(dict.fromkeys(way for way, _ in panes)), _unique(known, "arm")
    orders = list(dict.fromkeys(order for _, order in panes))
    figure = _figure(1.0 + 2.6 * len(ways))
    grid = figure.subplots(len(ways), len(orders), sharey=True, sharex="row", squeeze=False)
    for line, way in zip(grid, ways, strict=True):
        for axes, order in zip(line, orders, strict=True):
            _finish(axes)
            for at, arm in enumerate(arms):
                own = known[(known["growth"] == way) & (known["order"] == order)]
                own = own[own["arm"] == arm].sort_values("known")
                colour, marker, dash = STYLES[at % len(STYLES)]
                low, high = (100 * own[end].astype(float) for end in ("low", "high"))
                axes.fill_between(own["known"], low, high, color=colour, alpha=0.12, linewidth=0)
                y = 100 * own["accuracy"]
                axes.plot(own["known"], y, color=colour, marker=marker, linestyle=dash)
            _name(axes, f"{way}, {order}", "answers known")
        line[0].set_ylabel("accuracy, %", fontsize=TEXT)
    _shapes(
        figure, {arm: (STYLES[at % len(STYLES)], True) for at, arm in enumerate(arms)}, lined=True
    )
    return _png(figure)


def _unique(frame: pd.DataFrame, column: str) -> list[str]:
    return [str(value) for value in dict.fromkeys(frame[column])]


def _bar(
    axes: Axes,
    row: Mapping[str, Any],
    name: str,
    place: float,
    colour: str,
    marker: str,
    *,
    filled: bool = True,
) -> None:
    middle, low, high = (100 * float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    if low == low:
        axes.plot([low, high], [place, place], color=colour, linewidth=1.4)
    face = colour if filled else "white"
    axes.plot([middle], [place], marker=marker, color=colour, markerfacecolor=face, markersize=6)


def _figure(height: float) -> Figure:
    # Not pyplot: it keeps figures, and asks for a screen.
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, min(height, 30.0)), dpi=DPI, layout="constrained")


def _panels(count: int, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    figure = _figure(height)
    panels = list(figure.subplots(1, count, squeeze=False, **shared)[0])
    for axes in panels:
        _finish(axes)
    return figure, panels


def _finish(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=TEXT)


def _name(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title, loc="left", fontsize=TEXT)
    axes.set_xlabel(label, fontsize=TEXT)


def _shapes(
    figure: Figure, styles: Mapping[str, tuple[Style, bool]], *, lined: bool = False
) -> None:
    """Put a legend of markers under the panels."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle=dash if lined else "", label=name)
        for name, ((colour, marker, dash), _) in styles.items()
    ]
    for handle, (_, is_filled) in zip(handles, styles.values(), strict=True):
        handle.set_markerfacecolor(handle.get_color() if is_filled else "white")
    place = {"loc": "outside lower center", "ncols": 4, "frameon": False, "fontsize": TEXT}
    figure.legend(handles=handles, **place)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
