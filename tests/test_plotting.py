"""Pictures of distributions: what is drawn, for whom it can be read, and where it goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuesim_dspy.__main__ import main
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.survey import plotting
from valuesim_dspy.survey.describing import Distribution, distribution
from valuesim_dspy.survey.plotting import MAX_OPTIONS, plot_distribution, plot_overview
from valuesim_dspy.survey.question import Question
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.survey.synthetic import synthesize, write_synthetic

ROOT = Path(__file__).resolve().parent.parent


def ten() -> Respondents:
    """Ten people of two countries, whose weights differ."""
    return Respondents.from_columns(
        questions={"Q46": np.array([1, 1, 1, 1, 1, 2, 2, 2, 3, -1])},
        attributes={
            "B_COUNTRY_ALPHA": np.array(["JPN"] * 6 + ["DEU"] * 4),
            "W_WEIGHT": np.array([1.0] * 5 + [2.0] * 5),
        },
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were written, kept to be looked at."""
    figures: list[Any] = []
    write = plotting._write

    def keep(figure: Any, *told: Any) -> Path:
        figures.append(figure)
        return write(figure, *told)

    monkeypatch.setattr(plotting, "_write", keep)
    return figures


def texts(figure: Any) -> list[str]:
    """Every text in a figure."""
    from matplotlib.text import Text

    return [found.get_text() for found in figure.findobj(Text) if found.get_text()]


def test_both_shares_are_drawn_for_each_option(tmp_path: Path, drawn: list[Any]) -> None:
    """As bars as long as they are large, first option on top, with their value beside them."""
    path = plot_distribution(distribution(ten(), "Q46"), tmp_path / "q46.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000
    (axes,) = drawn[0].axes
    weighted, plain = axes.containers
    assert [bar.get_width() for bar in weighted] == pytest.approx(
        [100 * x / 13 for x in (5, 6, 2, 0)]
    )
    assert [bar.get_width() for bar in plain] == pytest.approx([100 * x / 9 for x in (5, 3, 1, 0)])
    assert axes.yaxis_inverted()
    said = texts(drawn[0])
    assert "1: Very happy" in said and "38.5" in said and "55.6" in said
    assert any(text.startswith("Q46: ") for text in said)
    assert "all countries: 9 answered, 1 did not" in said


def test_the_two_are_told_apart_without_colour(tmp_path: Path, drawn: list[Any]) -> None:
    """One is hatched, both have an edge, and their greys differ: for print, for every eye."""
    from matplotlib.colors import to_rgb

    plot_distribution(distribution(ten(), "Q46"), tmp_path / "q46.png")
    bars = [container[0] for container in drawn[0].axes[0].containers]
    assert [bool(bar.get_hatch()) for bar in bars] == [False, True]
    greys = [np.dot(to_rgb(bar.get_facecolor()), (0.299, 0.587, 0.114)) for bar in bars]
    assert abs(greys[0] - greys[1]) > 0.25
    assert all(bar.get_linewidth() > 0 for bar in bars)
    assert {"weighted", "unweighted"} <= set(texts(drawn[0]))


def test_a_country_is_drawn_alone(tmp_path: Path, drawn: list[Any]) -> None:
    """And named below the picture."""
    plot_distribution(distribution(ten(), "Q46", country="DEU"), tmp_path / "q46.svg")
    assert "DEU: 3 answered, 1 did not" in texts(drawn[0])


def test_numbers_are_not_said_twice(tmp_path: Path, drawn: list[Any]) -> None:
    """A step without a label is its number; its ends have their words, on several lines."""
    plot_distribution(distribution(synthesize(40, seed=1), "Q164"), tmp_path / "q164.png")
    said = texts(drawn[0])
    assert "5" in said and "5: 5" not in said and "10: Very important" in said
    assert any("no evidence about anyone" in text for text in said)


def test_long_lists_show_the_most_frequent(tmp_path: Path, drawn: list[Any]) -> None:
    """In the order of their codes, and how many are left out; a dollar starts no formula."""
    size = MAX_OPTIONS + 10
    question = Question("What $a$ of it?", {n: f"Option ${n}$" for n in range(1, size + 1)}, id="L")
    counts = tuple(range(size))
    found = Distribution(question, None, counts, tuple(map(float, counts)), 3, False)
    plot_distribution(found, tmp_path / "long.png")
    labels = [text.get_text() for text in drawn[0].axes[0].get_yticklabels()]
    assert len(labels) == MAX_OPTIONS and labels[0].startswith("11: ")
    assert any("10 rarer options are not shown" in text for text in texts(drawn[0]))


def test_the_overview_shows_every_section(tmp_path: Path, drawn: list[Any]) -> None:
    """How much of it was answered, by its title; of everyone or of a country."""
    made = synthesize(60, seed=1)
    plot_overview(made, tmp_path / "all.png")
    plot_overview(made, tmp_path / "jpn.pdf", country="JPN")
    assert len(drawn[0].axes[0].containers[0]) == len(made.codebook.sections)
    assert "all countries: 60 people" in "\n".join(texts(drawn[0]))
    assert "JPN: 12 people" in "\n".join(texts(drawn[1]))
    assert (tmp_path / "jpn.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("name", ["q.jpg", "q", "q.png.txt"])
def test_other_kinds_of_pictures_are_refused(tmp_path: Path, name: str) -> None:
    """Those that can be written are named."""
    with pytest.raises(ConfigError, match=r"--plot: is no kind of picture; allowed: \.png, \.pdf"):
        plot_distribution(distribution(ten(), "Q46"), tmp_path / name)


def test_where_it_cannot_be_written_is_told(tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(ConfigError, match="--plot: the picture cannot be written: No such file"):
        plot_distribution(distribution(ten(), "Q46"), tmp_path / "nowhere" / "q.png")


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else needs it."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDataError, match="pip install matplotlib"):
        plot_distribution(distribution(ten(), "Q46"), tmp_path / "q.png")


def test_matplotlib_is_loaded_only_to_draw() -> None:
    """Neither the command nor the module loads it; drawing opens no window system."""
    script = (
        "import sys, valuesim_dspy.__main__, valuesim_dspy.survey.plotting;"
        "print([name for name in sys.modules if name.startswith('matplotlib')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_the_command_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A question or the overview, beside its table."""
    people = str(write_synthetic(tmp_path / "people.csv", 60, seed=1))
    one, all_of_it = tmp_path / "one.png", tmp_path / "all.svg"
    assert main(["data", "describe", people, "--question", "Q57", "--plot", str(one)]) == 0
    assert f"drawn: {one}" in capsys.readouterr().out and one.stat().st_size > 0
    assert main(["data", "describe", people, "--plot", str(all_of_it)]) == 0
    said = capsys.readouterr().out
    assert "Happiness and wellbeing (" in said and f"drawn: {all_of_it}" in said
    assert main(["data", "describe", people, "--plot", "x.gif"]) == 2
    assert "--plot" in capsys.readouterr().err
