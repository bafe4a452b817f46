"""Pictures of a search: they are drawn from few trials and many, and say why where they cannot."""

from __future__ import annotations

import struct
from typing import Any

import optuna
import pytest
from searching import tried

from optimize.search_pictures import ENOUGH, draw_search, importances
from optimize.search_space import SearchConfig

pytestmark = pytest.mark.slow

PNG = b"\x89PNG\r\n\x1a\n"


def config(**known: Any) -> SearchConfig:
    """Return a search over two keys."""
    space = {"variant": ["full", "single"], "embedder.k": {"low": 1, "high": 8}}
    return SearchConfig.model_validate({"space": space, **known}, strict=True)


def study(count: int, worth: Any = None, directions: tuple[str, ...] = ("maximize",)) -> Any:
    """Return an Optuna study of complete trials; only `variant` makes a difference."""
    made = optuna.create_study(directions=directions)
    space = {
        "variant": optuna.distributions.CategoricalDistribution(["full", "single"]),
        "embedder.k": optuna.distributions.IntDistribution(1, 8),
    }
    for number in range(count):
        params = {"variant": ["full", "single"][number % 2], "embedder.k": 1 + number * 5 % 8}
        values = worth(params) if worth else [0.6 if params["variant"] == "full" else 0.4]
        made.add_trial(optuna.trial.create_trial(params=params, distributions=space, values=values))
    return made


def history(count: int, **known: Any) -> list[Any]:
    """Return trials of all kinds."""
    made = [
        tried(n, accuracy=0.3 + 0.01 * (n * 7 % 5), cost=500.0 - n, **known) for n in range(count)
    ]
    made.append(tried(count, "pruned", curve={1: 0.2, 2: 0.25}))
    made.append(tried(count + 1, "failed", reason="coverage"))
    return made


def size(png: bytes) -> tuple[int, int]:
    """Return width and height in pixels."""
    assert png.startswith(PNG)
    width, height = struct.unpack(">II", png[16:24])
    return int(width), int(height)


def test_one_objective_has_a_history_and_importances() -> None:
    """Large enough to be printed."""
    pictures = draw_search(study(12), config(), history(12))
    assert set(pictures) == {"history.png", "importances.png"}
    assert all(min(size(png)) >= 600 for png in pictures.values())


def test_several_objectives_have_a_front_each() -> None:
    """And importances for each: what makes a program cheap need not make it good."""
    search = config(objectives=["accuracy", "nmae", "cost"])
    directions = ("maximize", "minimize", "minimize")
    made = study(12, lambda params: [0.5, 0.2, float(params["embedder.k"])], directions)
    trials = [tried(n, accuracy=0.4 + n / 100, nmae=0.3, cost=100.0 + n) for n in range(12)]
    pictures = draw_search(made, search, trials)
    assert set(pictures) == {
        *("history.png", "importances.png", "importances-nmae.png", "importances-cost.png"),
        *("front-nmae.png", "front-cost.png"),
    }
    assert all(png.startswith(PNG) for png in pictures.values())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_trials_are_no_error(count: int) -> None:
    """Before anything is known the picture says so."""
    trials = history(count) if count else []
    search = config(objectives=["accuracy", "cost"])
    made = study(count, lambda _: [0.5, 1.0], ("maximize", "minimize"))
    pictures = draw_search(made, search, trials)
    assert len(pictures) == 4 and all(size(png) for png in pictures.values())


def test_the_same_trials_give_the_same_picture() -> None:
    """Byte for byte: a search that is told again keeps what it had."""
    one, other = (draw_search(study(12), config(), history(12)) for _ in range(2))
    assert one == other
    assert draw_search(study(12), config(), history(11))["history.png"] != one["history.png"]


def test_importances_name_the_key_that_matters() -> None:
    """Shares of one whole, the largest first."""
    found, why = importances(study(20), config())
    assert why == "" and next(iter(found)) == "variant"
    assert sum(found.values()) == pytest.approx(1.0) and found["variant"] > 0.6


def test_importances_are_of_what_is_better(recwarn: pytest.WarningsRecorder) -> None:
    """Of cost, low is better: the key that makes it low is named; nothing is said on stderr."""
    search = config(objectives=["accuracy", "cost"])

    def worth(params: Any) -> list[float]:
        return [0.6 if params["variant"] == "full" else 0.4, float(params["embedder.k"])]

    made = study(24, worth, ("maximize", "minimize"))
    assert next(iter(importances(made, search, 0)[0])) == "variant"
    assert next(iter(importances(made, search, 1)[0])) == "embedder.k"
    # What earlier tests left open is collected at any moment, and each such piece is told.
    assert not [each for each in recwarn.list if each.category is not ResourceWarning]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: study(0), "there are 0"),
        (lambda: study(ENOUGH - 1), f"there are {ENOUGH - 1}"),
        (lambda: study(ENOUGH, lambda _: [0.5]), "same score"),
    ],
)
def test_importances_that_would_be_chance_are_not_given(made: Any, said: str) -> None:
    """A sentence instead."""
    found, why = importances(made(), config())
    assert found == {} and said in why


def test_trials_that_never_differ_have_no_importances() -> None:
    """Nothing was varied, so nothing can matter."""
    made = optuna.create_study(direction="maximize")
    space = {"variant": optuna.distributions.CategoricalDistribution(["full"])}
    for value in range(ENOUGH):
        made.add_trial(
            optuna.trial.create_trial(
                params={"variant": "full"}, distributions=space, value=float(value)
            )
        )
    search = SearchConfig.model_validate({"space": {"variant": ["full"]}}, strict=True)
    found, why = importances(made, search)
    assert found == {} and "same values" in why


def test_no_screen_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn without pyplot, which keeps every figure."""
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    assert draw_search(study(2), config(), history(2))
