"""The picture of learning curves: it is one, large enough, and every arm can be told apart."""

from __future__ import annotations

import struct

import pytest
from curves import curve

from evals.curve_picture import MADE_UP, STYLES, WARM, draw_curves
from evals.growing import GROWTHS, ORDERS
from evals.slopes import Curve

pytestmark = pytest.mark.slow

SCORES = [[0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0]]


def curves(*arms: tuple[str, str]) -> list[Curve]:
    """Return all curves of some arms."""
    return [
        curve(SCORES, arm=arm, knows=knows, growth=growth, order=order, shares=(0.0, 0.5, 1.0))
        for arm, knows in arms
        for growth in GROWTHS
        for order in ORDERS
    ]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The figures that are drawn."""
    from matplotlib.figure import Figure

    kept: list[object] = []
    save = Figure.savefig

    def keep(self: Figure, *args: object, **options: object) -> None:
        kept.append(self)
        save(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept


def test_it_is_a_picture_that_can_be_printed() -> None:
    """PNG, at least 1,500 pixels wide, without names of software in it."""
    png = draw_curves(curves(("full", "cold"), ("rag", "cold")), "demo")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24])[0] >= 1500
    assert b"Software" not in png


def test_it_has_a_panel_for_each_way_to_grow_and_order(drawn: list[object]) -> None:
    """Each says what it shows, and each has every arm."""
    draw_curves(curves(("full", "cold"), ("rag", "cold"), ("near", "warm")), "demo")
    (figure,) = drawn
    panels = figure.axes  # type: ignore[attr-defined]
    assert len(panels) == len(GROWTHS) * len(ORDERS)
    assert len({axes.get_title(loc="left") for axes in panels}) == len(panels)
    assert all(len(axes.containers) == 3 for axes in panels)
    middles = panels[0].containers[0].lines[0].get_ydata()
    assert middles.tolist() == [0.25, 0.5, 0.75]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]  # type: ignore[attr-defined]
    assert legend == ["full (cold)", "rag (cold)", "near (warm)"]


def test_it_says_that_warm_is_apart_and_people_are_made_up(drawn: list[object]) -> None:
    """Only where it is so."""
    draw_curves(curves(("full", "cold"), ("near", "warm")), "demo", evidence="synthetic-machinery")
    draw_curves(curves(("full", "cold")), "demo", evidence="survey")
    first, second = (figure.get_suptitle() for figure in drawn)  # type: ignore[attr-defined]
    assert WARM in first
    assert MADE_UP in first
    assert WARM not in second
    assert MADE_UP not in second
    words = drawn[0]._suptitle.get_window_extent()  # type: ignore[attr-defined]
    assert words.x1 < drawn[0].bbox.x1  # type: ignore[attr-defined]


def test_every_arm_has_a_colour_a_shape_and_a_dash_of_its_own() -> None:
    """So that it is told apart in grey and by the colour-blind."""
    for key in ("color", "marker", "linestyle"):
        assert len({style[key] for style in STYLES}) == len(STYLES)


def test_a_point_without_a_score_is_left_out() -> None:
    """Nothing fails where too few were answered."""
    answered = [[True] * 4, [False] * 4, [True] * 4]
    made = [
        curve(SCORES, growth=g, order=o, shares=(0.0, 0.5, 1.0), answered=answered)
        for g in GROWTHS
        for o in ORDERS
    ]
    assert draw_curves(made, "demo").startswith(b"\x89PNG")
