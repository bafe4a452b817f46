"""The picture of learning curves: one panel for each way to grow and each order."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evals.growing import ASKED, GROWTHS, HISTORY, INFORMATIVE, ORDERS, PROFILE, RANDOM
from evals.slopes import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 150
# Okabe and Ito's colours: told apart by colour-blind readers; each has a shape and a dash of its
# own too, so that a print in grey can be read.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#7F7F7F", "marker": "D", "linestyle": ":"},
)
TITLES = {
    PROFILE: "the profile grows",
    HISTORY: "the history grows",
    RANDOM: "random order",
    ASKED: "as asked",
    INFORMATIVE: "most informative first",
}
STEP = 0.018
"""How far the arms' points stand apart, as a share of the axis, so that their bars can be seen."""

WARM = "warm arms saw others' answers to the targets and are no rivals of cold ones"
MADE_UP = "nobody here exists"


def draw_curves(curves: Sequence[Curve], title: str, *, evidence: str = "") -> bytes:
    """Return the picture as PNG: accuracy over the number of answers known, bars 95 % by person.

    Args:
        curves: Of all arms, orders and ways to grow.
        title: What it shows.
        evidence: What the people are, put below where they are synthetic.
    """
    # Not pyplot: it keeps figures, and asks for a screen.
    from matplotlib.figure import Figure

    arms = list(dict.fromkeys(curve.arm for curve in curves))
    figure = Figure(figsize=(10.5, 6.6), dpi=DPI, layout="constrained", facecolor="white")
    panels = figure.subplots(len(GROWTHS), len(ORDERS), sharey=True, sharex="row", squeeze=False)
    for row, growth in zip(panels, GROWTHS, strict=True):
        for axes, order in zip(row, ORDERS, strict=True):
            shown = [c for c in curves if c.growth == growth and c.order == order]
            _panel(axes, shown, arms)
            axes.set_title(f"{TITLES[growth]}, {TITLES[order]}", loc="left", fontsize=10)
        row[0].set_ylabel("accuracy (higher is better)", fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("answers known of a person (mean)", fontsize=9)
    parts = ["bars: 95 % interval by respondent", WARM if _is_mixed(curves) else ""]
    parts.append(MADE_UP if evidence.startswith("synthetic") else "")
    figure.suptitle(f"{title}\n{'; '.join(filter(None, parts))}", x=0.01, ha="left", fontsize=9)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _is_mixed(curves: Sequence[Curve]) -> bool:
    return len({curve.knows for curve in curves}) > 1


def _panel(axes: Axes, curves: Sequence[Curve], arms: Sequence[str]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
    for curve in curves:
        at = arms.index(curve.arm)
        width = curve.known[-1] - curve.known[0]
        moved = [known + (at - (len(arms) - 1) / 2) * STEP * width for known in curve.known]
        found = curve.accuracies
        middle = [point.estimate for point in found]
        below = [max(0.0, point.estimate - point.low) for point in found]
        above = [max(0.0, point.high - point.estimate) for point in found]
        axes.errorbar(
            moved,
            middle,
            yerr=[below, above],
            label=f"{curve.arm} ({curve.knows})",
            linewidth=1.6,
            markersize=5,
            elinewidth=0.8,
            capsize=2,
            **STYLES[at % len(STYLES)],
        )
