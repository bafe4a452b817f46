"""Pictures of a search: which keys matter, how it went, and the Pareto front; as PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import optuna

from optimize.search_ending import HIGHER, best_trials
from optimize.search_space import SearchConfig
from optimize.search_trial import Tried

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENOUGH = 10
"""Complete trials below which importances are chance."""
# Okabe and Ito's colours: told apart by colour-blind readers; each has a shape of its own too,
# and a lightness of its own in print.
BLUE, ORANGE, GREY, BLACK = "#0072B2", "#E69F00", "#8C8C8C", "#000000"
DPI = 150
NAMES = {"accuracy": "accuracy on the valset", "nmae": "nMAE on the valset", "cost": "a case"}


def draw_search(
    study: optuna.Study, search: SearchConfig, trials: Sequence[Tried]
) -> dict[str, bytes]:
    """Return the pictures of a search, file name to PNG.

    Args:
        study: Optuna's study, for the importances.
        search: Its config.
        trials: Its trials, of all processes.
    """
    pictures = {"history.png": _png(partial(_history, search=search, trials=trials))}
    for place, name in enumerate(search.objectives):
        file = "importances.png" if place == 0 else f"importances-{name}.png"
        found, why = importances(study, search, place)
        title = _title(search, name)
        pictures[file] = _png(partial(_importances, name=title, found=found, why=why))
    for name in search.objectives[1:]:
        front = partial(_front, search=search, trials=trials, other=name)
        pictures[f"front-{name}.png"] = _png(front)
    return pictures


def importances(
    study: optuna.Study, search: SearchConfig, place: int = 0
) -> tuple[dict[str, float], str]:
    """Return the share of each key in what an objective depends on, or why there is none.

    Args:
        study: Optuna's study.
        search: Its config.
        place: Of the objective among the objectives.

    Returns:
        Key to a share in [0, 1], the largest first, and ""; or nothing, and a sentence.
    """
    done = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    if len(done) < ENOUGH:
        return {}, f"Importances need {ENOUGH} complete trials; there are {len(done)}."
    if len({trial.values[place] for trial in done}) < 2:
        return {}, "All complete trials came to the same score: no key makes a difference."
    if not any(len({str(t.params.get(key)) for t in done}) > 1 for key in search.space):
        return {}, "All complete trials have the same values: there is nothing to compare."
    sign = -1 if HIGHER[search.objectives[place]] else 1
    with warnings.catch_warnings():
        # It says of every target that low values are what is looked for, as the sign sees to.
        warnings.simplefilter("ignore", UserWarning)
        found = optuna.importance.get_param_importances(
            study, target=lambda trial: sign * float(trial.values[place])
        )
    return {key: float(share) for key, share in found.items()}, ""


def _png(draw: Callable[[Figure], None]) -> bytes:
    # Not pyplot: it keeps figures, and asks for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), dpi=DPI, layout="constrained", facecolor="white")
    draw(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _axes(figure: Figure, title: str) -> Axes:
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _importances(figure: Figure, name: str, found: dict[str, float], why: str) -> None:
    axes = _axes(figure, f"What {name} depends on")
    if why:
        _say_instead(axes, why)
        return
    keys, shares = list(found), list(found.values())
    bars = axes.barh(range(len(keys)), shares, color=BLUE, height=0.62)
    axes.bar_label(bars, [f"{share:.0%}" for share in shares], padding=4, fontsize=9)
    axes.set_yticks(range(len(keys)), keys, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1e-9, *shares) * 1.15)
    axes.set_xlabel("share of the importance (PED-ANOVA, complete trials)", fontsize=9)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(visible=False, axis="y")


def _history(figure: Figure, search: SearchConfig, trials: Sequence[Tried]) -> None:
    first = search.objectives[0]
    axes = _axes(figure, f"{search.study}: {_title(search, first)}, trial by trial")
    complete = [trial for trial in trials if trial.state == "complete"]
    pruned = [trial for trial in trials if trial.state == "pruned" and trial.curve]
    failed = [trial for trial in trials if trial.state == "failed"]
    if not (complete or pruned):
        _say_instead(axes, "No trial has come to a score yet.")
        return
    if complete:
        numbers, values = [t.number for t in complete], [t.values[first] for t in complete]
        axes.scatter(numbers, values, s=42, color=BLUE, marker="o", label="complete", zorder=3)
        better: Any = max if HIGHER[first] else min
        ordered = sorted(zip(numbers, values, strict=True))
        best = [better(v for _, v in ordered[: place + 1]) for place in range(len(ordered))]
        label = "best so far"
        axes.step([n for n, _ in ordered], best, where="post", color=BLACK, lw=1.4, label=label)
    if pruned:
        last = [trial.curve[max(trial.curve)] for trial in pruned]
        label = "pruned, on a part of the valset"
        numbers = [trial.number for trial in pruned]
        axes.scatter(numbers, last, s=46, color=ORANGE, marker="x", lw=2, label=label, zorder=3)
    low = axes.get_ylim()[0]
    _percent(axes, first)
    if failed:
        numbers = [trial.number for trial in failed]
        axes.scatter(
            numbers,
            [low] * len(failed),
            s=44,
            color=GREY,
            marker="v",
            label="failed",
            clip_on=False,
        )
    axes.set_ylim(bottom=low)
    _whole_numbers(axes)
    axes.set_xlabel("trial", fontsize=9)
    axes.set_ylabel(f"{_title(search, first)} ({_direction(first)})", fontsize=9)
    _legend(figure, axes)


def _front(figure: Figure, search: SearchConfig, trials: Sequence[Tried], other: str) -> None:
    first = search.objectives[0]
    axes = _axes(figure, f"{search.study}: {_title(search, first)} against {_title(search, other)}")
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        _say_instead(axes, "No trial is complete yet.")
        return
    front = sorted(best_trials(trials, search.objectives), key=lambda t: t.values[other])
    behind = [trial for trial in complete if trial not in front]
    points = [(t.values[other], t.values[first]) for t in behind]
    axes.scatter(*_columns(points), s=36, color=GREY, marker="o", label="beaten by another")
    points = [(t.values[other], t.values[first]) for t in front]
    axes.plot(*_columns(points), color=BLUE, lw=1.2, drawstyle="steps-post", zorder=2)
    label = "Pareto front, with the trial's number"
    axes.scatter(*_columns(points), s=58, color=BLUE, marker="D", label=label, zorder=3)
    # Nothing is cheaper and better than a point of the front: there its number has room.
    up = 1 if HIGHER[first] else -1
    aside: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "fontsize": 9}
    aside |= {"xytext": (-6, 5 * up), "va": "bottom" if up > 0 else "top"}
    for trial, point in zip(front, points, strict=True):
        axes.annotate(str(trial.number), point, **aside)
    axes.margins(0.08)
    _percent(axes, first)
    axes.set_xlabel(f"{_title(search, other)} ({_direction(other)})", fontsize=9)
    axes.set_ylabel(f"{_title(search, first)} ({_direction(first)})", fontsize=9)
    _legend(figure, axes)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _title(search: SearchConfig, name: str) -> str:
    return f"{search.cost} {NAMES[name]}" if name == "cost" else NAMES[name]


def _direction(name: str) -> str:
    return "higher is better" if HIGHER[name] else "lower is better"


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _percent(axes: Axes, name: str) -> None:
    if name == "accuracy":
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9, frameon=False)


def _say_instead(axes: Axes, sentence: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, sentence, ha="center", va="center", wrap=True, fontsize=11)
