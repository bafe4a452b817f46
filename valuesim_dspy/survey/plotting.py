"""Pictures of how a survey was answered, for the screen, for print and for the colour-blind."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.survey.describing import (
    SYNTHETIC_NOTE,
    Distribution,
    answered_by_section,
    of_country,
)
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.survey.scales import Option

SUFFIXES = (".png", ".pdf", ".svg")
MAX_OPTIONS = 25
_BLUE, _ORANGE, _INK = "#0072B2", "#E69F00", "#333333"  # of Okabe and Ito: apart for every eye
_WIDTH, _ROW, _DPI = 8.0, 0.42, 150


def plot_distribution(found: Distribution, path: Path) -> Path:
    """Draw the shares of a question's options, weighted and not.

    Args:
        found: The distribution; of more than `MAX_OPTIONS` options the most frequent are shown.
        path: A .png, .pdf or .svg file, which is replaced.

    Raises:
        ConfigError: The file cannot be written there, or is of another kind.
        MissingDataError: Matplotlib is not installed.
    """
    question = found.question
    ranked = sorted(range(len(found.counts)), key=lambda at: -found.counts[at])
    shown = sorted(ranked[:MAX_OPTIONS])
    hidden = len(ranked) - len(shown)
    figure, axes = _figure(len(shown), path)
    # two bars an option, first option on top; the hatch tells them apart without colour
    for shares, name, shift, colour, hatch in (
        (found.weighted, "weighted", -0.2, _BLUE, ""),
        (found.shares, "unweighted", 0.2, _ORANGE, "////"),
    ):
        places = [row + shift for row in range(len(shown))]
        values = [100 * shares[at] for at in shown]
        _bars(axes, places, values, height=0.38, color=colour, hatch=hatch, label=name)
    _label_rows(axes, [_option(question.options[at]) for at in shown])
    axes.set_xlabel("% of those who answered")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    where = found.country or "all countries"
    notes = [f"{where}: {found.total} answered, {found.silent} did not"]
    notes += [f"{hidden} rarer options are not shown"] if hidden else []
    title = f"{question.id}: {question.text_for(found.country)}"
    return _write(figure, path, title, notes, found.synthetic)


def plot_overview(respondents: Respondents, path: Path, *, country: str | None = None) -> Path:
    """Draw how much of each section was answered.

    Args:
        respondents: The survey.
        path: A .png, .pdf or .svg file, which is replaced.
        country: ISO alpha-3 code; everyone by default.

    Raises:
        ConfigError: The file cannot be written there, or nobody is from the country.
        MissingDataError: Matplotlib is not installed.
    """
    people = of_country(respondents, country)
    shares = answered_by_section(people)
    figure, axes = _figure(len(shares), path)
    values = [100 * share for share in shares.values()]
    _bars(axes, list(range(len(values))), values, height=0.6, color=_BLUE)
    _label_rows(axes, [people.codebook.section_titles.get(name, name) for name in shares])
    axes.set_xlabel("% of the section's questions answered")
    notes = [f"{country or 'all countries'}: {len(people)} people"]
    return _write(figure, path, people.codebook.title, notes, people.synthetic)


def _figure(rows: int, path: Path) -> tuple[Any, Any]:
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError("is no kind of picture", key="--plot", value=path, allowed=SUFFIXES)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDataError("pictures need matplotlib", "pip install matplotlib") from None
    # a figure of its own, without pyplot: no global state, no window system (Agg draws it)
    size = (_WIDTH, 1.9 + _ROW * max(2, rows))
    figure: Any = Figure(figsize=size, dpi=_DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _bars(axes: Any, places: Sequence[float], values: Sequence[float], **look: Any) -> None:
    bars = axes.barh(places, values, edgecolor=_INK, linewidth=0.6, **look)
    axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8, color=_INK)


def _option(option: Option) -> str:
    code = str(option.code)
    return code if option.label == code else f"{code}: {option.label}"


def _label_rows(axes: Any, labels: Sequence[str]) -> None:
    wrapped = [textwrap.fill(_plain(label), 34) for label in labels]
    axes.set_yticks(range(len(labels)), wrapped, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.1)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # a dollar would start a formula


def _write(figure: Any, path: Path, title: str, notes: Sequence[str], synthetic: bool) -> Path:
    figure.suptitle(textwrap.fill(_plain(title), 76), fontsize=11, x=0.02, ha="left")
    told = [*notes, *([SYNTHETIC_NOTE] if synthetic else [])]
    figure.supxlabel("\n".join(map(_plain, told)), fontsize=8, color=_INK, x=0.02, ha="left")
    try:
        figure.savefig(path)
    except OSError as error:
        message = f"the picture cannot be written: {error.strerror or error}"
        raise ConfigError(message, key="--plot", value=path) from None
    return path
