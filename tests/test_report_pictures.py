"""The pictures: there where there is something to show, the same twice, readable in grey."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from reported import arm, frame, setting, usual

from evals import report_pictures
from evals.report_numbers import by_group, question_variances, setting_numbers
from evals.report_pictures import (
    STYLES,
    WIDTH,
    costs,
    curves,
    forest,
    groups,
    reliability,
    variances,
)

pytestmark = pytest.mark.slow

POINTS = pd.DataFrame(
    [
        (name, way, order, known, 0.3 + known / 500, 0.2, 0.5)
        for name in ("full", "rag")
        for way in ("profile", "history")
        for order in ("random", "asked")
        for known in (0, 50, 100)
    ],
    columns=["arm", "growth", "order", "known", "accuracy", "low", "high"],
)
BINS = pd.DataFrame(
    {
        "strategy": "battery",
        "arm": "full",
        "said": [0.2, 0.5, 0.9],
        "right": [0.25, 0.5, 0.8],
        "cases": [5, 40, 20],
    }
)


@pytest.fixture(scope="module")
def numbers() -> pd.DataFrame:
    """The numbers of most arms."""
    return setting_numbers(usual())


def drawings(numbers: pd.DataFrame) -> dict[str, Callable[[], bytes | None]]:
    """Return what draws each picture."""
    ratios = question_variances(usual())
    table = by_group(usual(), "section")
    return {
        "forest": lambda: forest(numbers),
        "groups": lambda: groups(table, "topic"),
        "variances": lambda: variances(ratios),
        "reliability": lambda: reliability(BINS),
        "costs": lambda: costs(numbers, ["rag", "full"]),
        "curves": lambda: curves(POINTS),
    }


def test_each_is_a_picture_of_the_width_of_a_page_and_the_same_twice(
    numbers: pd.DataFrame,
) -> None:
    """PNG without a date or a random draw in it; no words are cut off at the edge."""
    for name, draw in drawings(numbers).items():
        png = draw()
        assert png is not None, name
        assert png == draw(), name
        pixels = matplotlib.image.imread(io.BytesIO(png))
        assert pixels.shape[1] == round(WIDTH * report_pictures.DPI), name
        edge = np.concatenate([pixels[:, 0, :3], pixels[:, -1, :3]])
        assert (edge == 1).all(), name


def test_texts_can_be_read_in_print(numbers: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least 8 points on a page of 6.7 inches of text."""
    sizes: dict[str, float] = {}

    def look(figure: Figure) -> bytes:
        figure.draw_without_rendering()
        shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
        sizes[name] = min(float(text.get_fontsize()) for text in shown)
        return b""

    monkeypatch.setattr(report_pictures, "_png", look)
    for name, draw in drawings(numbers).items():  # noqa: B007
        draw()
    assert len(sizes) == 6
    assert min(sizes.values()) * 6.7 / WIDTH >= 8, sizes


def test_arms_are_told_apart_without_colours() -> None:
    """Each style has a marker of its own; the first four differ in grey or in marker and dash."""
    assert len({marker for _, marker, _ in STYLES}) == len(STYLES)
    assert len({colour for colour, _, _ in STYLES}) == len(STYLES)
    assert len({str(dash) for _, _, dash in STYLES}) == len(STYLES)
    okabe_ito = {"#000000", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7"}
    assert {colour for colour, _, _ in STYLES} == okabe_ito
    assert all(len(to_rgb(colour)) == 3 for colour, _, _ in STYLES)


def test_warm_arms_are_not_drawn_with_cold_ones(
    numbers: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither among the differences nor among the costs."""
    words: list[str] = []

    def look(figure: Figure) -> bytes:
        figure.draw_without_rendering()
        words.extend(text.get_text() for text in figure.findobj(Text))
        return b""

    monkeypatch.setattr(report_pictures, "_png", look)
    forest(numbers)
    costs(numbers, ["mode", "rag"])
    assert "full compiled" in words
    assert not {"mode", "country-mode"} & set(words)
    assert "other arms" in words


@pytest.mark.parametrize(
    "draw",
    [
        lambda: forest(setting_numbers(setting(arm("full", frame(0.5))))),
        lambda: groups(pd.DataFrame(), "topic"),
        lambda: variances(pd.DataFrame({"ratio": [float("nan")], "arm": "x", "strategy": "y"})),
        lambda: reliability(pd.DataFrame()),
        lambda: costs(setting_numbers(setting(arm("full", None, metrics={}))), []),
        lambda: curves(pd.DataFrame()),
    ],
)
def test_where_there_is_nothing_to_show_there_is_no_picture(draw: Callable[[], Any]) -> None:
    """And no empty axes."""
    assert draw() is None
