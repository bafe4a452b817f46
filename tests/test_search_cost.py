"""What a search will need: estimated before, agreed to where it is much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jobs import Stopping, answered_by, living_in
from searching import plan

from evals.study import Study, open_study
from optimize.search_cost import agree, estimate, trial_cost
from optimize.search_plan import Plan
from optimize.search_trial import measure_trial
from valuesim_dspy.errors import ConfigError

REMOTE: dict[str, Any] = {
    "task_lm": {"model": "openai/test", "api_base": "http://127.0.0.1:9/v1"},
    "embedder": {"model": "lexical"},
}


@contextmanager
def opened(folder: Path, *sets: str, **known: Any) -> Iterator[tuple[Plan, Study]]:
    """Open the study of a small search."""
    search = known.pop("search", None)
    found = plan(folder, search, *sets, **known)
    with living_in(folder), open_study(found.job) as study:
        yield found, study


def test_the_estimate_holds_what_a_trial_needs(tmp_path: Path) -> None:
    """Least and most of one trial's calls, whatever it compiles."""
    with opened(tmp_path) as (found, study), answered_by(Stopping()):
        for chosen in (
            {"compile.teleprompter": "none", "variant": "single"},
            {"compile.teleprompter": "labeled-few-shot", "variant": "facts-only"},
        ):
            job = found.job_of(chosen)
            low, high = trial_cost(study, job).calls
            before = study.meter.needed.calls
            measure_trial(study, job, subsets=(1.0,), report=lambda *_: False, log=None)
            assert low <= study.meter.needed.calls - before <= high


def test_more_trials_cost_more(tmp_path: Path) -> None:
    """Pruned after the first part at the least, the dearest arm for all at the most."""
    with opened(tmp_path) as (found, study):
        few = estimate(found, study)["4 trials"].calls
        more = plan(tmp_path, {"trials": 8})
        many = estimate(more, study)["8 trials"].calls
        assert many[1] == 2 * few[1] and few[0] < few[1]
        front = plan(tmp_path, {"objectives": ["accuracy", "cost"]})
        # Nothing is pruned there.
        assert estimate(front, study)["4 trials"].calls[0] > few[0]


def test_a_dearer_teleprompter_is_what_it_may_cost(tmp_path: Path) -> None:
    """Options at their largest values count."""
    space = {"compile.teleprompter": ["bootstrap"], "compile.options.max_demos": [1, 4]}
    larger = {**space, "compile.options.max_rounds": [1, 5]}
    with opened(tmp_path, search={"space": space}) as (found, study):
        one = estimate(found, study)["4 trials"].calls
        more = estimate(plan(tmp_path, {"space": larger}), study)["4 trials"].calls
        assert more[1] > one[1]


def test_much_needs_consent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a real model; the estimate is on the screen before, and nothing was asked."""
    with opened(tmp_path, "confirm_calls=10", **REMOTE) as (found, study):
        with pytest.raises(ConfigError, match=r"confirm_calls: up to .* calls .*--yes"):
            agree(found, study, is_agreed=False)
        assert "4 trials" in capsys.readouterr().out
        with pytest.raises(Exception, match="cannot be reached"):
            agree(found, study, is_agreed=True)
        assert study.meter.paid.calls == 0


def test_the_embedded_model_needs_no_consent(tmp_path: Path) -> None:
    """It costs nothing."""
    with opened(tmp_path, "confirm_calls=1") as (found, study):
        agree(found, study, is_agreed=False)


def test_dollars_need_a_price(tmp_path: Path) -> None:
    """An unknown price is no zero, and no objective."""
    search = {"objectives": ["accuracy", "cost"], "cost": "usd"}
    with (
        opened(tmp_path, search=search, **REMOTE) as (found, study),
        pytest.raises(ConfigError, match=r"search\.cost: the price"),
    ):
        agree(found, study, is_agreed=True)
