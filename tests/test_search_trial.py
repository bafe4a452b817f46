"""One trial on an open study: parts of the valset, costs, coverage, what is shared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from jobs import Stopping, answered_by, living_in, survey_file
from searching import plan

from evals.study import Study, open_study
from optimize.search_trial import (
    Measured,
    built,
    costs,
    in_parts,
    measure_trial,
    study_of,
    tried_of,
)
from valuesim_dspy.errors import BudgetExceededError, ConfigError, PredictionError
from valuesim_dspy.usage import Usage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the study of this module lives."""
    return tmp_path_factory.mktemp("trial")


@pytest.fixture
def study(folder: Path) -> Iterator[Study]:
    """A small study, open; its cache is kept from test to test."""
    with living_in(folder), open_study(plan(folder).job) as opened:
        yield opened


def example(person: int, question: int = 0) -> Any:
    """Return what parts are cut by."""
    profile = SimpleNamespace(key=f"r{person}")
    return SimpleNamespace(case=SimpleNamespace(profile=profile, question=question))


def run(study: Study, chosen: dict[str, Any], folder: Path, report: Any = None) -> Measured:
    """Run a trial with some values."""
    config = plan(folder).job_of(chosen)
    report = report or (lambda cases, metrics: False)
    return measure_trial(study, config, subsets=(0.5, 1.0), report=report, log=None)


@pytest.mark.parametrize("subsets", [(1.0,), (0.25, 0.5, 1.0), (0.1, 0.2, 1.0), (0.34, 1.0)])
def test_parts_add_up_to_the_set(subsets: tuple[float, ...]) -> None:
    """Every case once; a person's cases in one part; nobody is left over."""
    examples = [example(person, question) for person in range(7) for question in range(3)]
    parts = in_parts(examples, subsets, seed=1)
    assert sorted(id(ex) for part in parts for ex in part) == sorted(map(id, examples))
    people = [{ex.case.profile.key for ex in part} for part in parts]
    assert sum(map(len, people)) == len(set().union(*people)) == 7
    assert all(parts)


def test_parts_grow_by_shares_of_people() -> None:
    """A share of people, rounded up."""
    parts = in_parts([example(person) for person in range(10)], (0.25, 0.5, 1.0), seed=1)
    assert [len(part) for part in parts] == [3, 2, 5]
    assert [len(part) for part in in_parts([example(0)], (0.25, 0.5, 1.0), seed=1)] == [1]


def test_parts_are_the_same_for_all_trials_and_drawn_by_the_seed() -> None:
    """Else trials would be pruned by other people's answers."""
    examples = [example(person) for person in range(20)]
    one, same, other = (in_parts(examples, (0.25, 1.0), seed=seed) for seed in (1, 1, 2))
    assert one == same and one != other


def test_costs_are_by_case_and_unknown_prices_are_no_zero() -> None:
    """Tokens in both directions."""
    found = costs(Usage(calls=6, prompt_tokens=80, completion_tokens=10, usd=3.0), 3)
    assert found == {"cost.tokens": 30.0, "cost.calls": 2.0, "cost.usd": 1.0}
    assert "cost.usd" not in costs(Usage(calls=6, usd=None), 3)


def test_a_trial_is_measured_part_by_part(study: Study, folder: Path) -> None:
    """Reports are of all cases so far; at the end all of the valset was asked, once."""
    seen: list[tuple[int, float]] = []

    def report(cases: int, metrics: dict[str, float]) -> bool:
        seen.append((cases, metrics["accuracy"]))
        return False

    done = run(study, {"variant": "single", "compile.teleprompter": "none"}, folder, report)
    valset = study.examples("val")
    assert [cases for cases, _ in seen] == [len(valset) // 2, len(valset)]
    assert done.metrics["accuracy"] == seen[-1][1] and done.cases == len(valset)
    assert not done.is_pruned and done.arm.compiling.calls == 0
    assert done.metrics["cost.calls"] == 1.0 and done.metrics["cost.tokens"] > 1000


def test_a_pruned_trial_asks_no_further(study: Study, folder: Path) -> None:
    """After the last part there is nothing left to prune."""
    none = {"compile.teleprompter": "none"}
    done = run(study, none, folder, lambda cases, metrics: True)
    assert done.is_pruned and done.cases == len(study.examples("val")) // 2
    whole = len(study.examples("val"))
    done = run(study, none, folder, lambda cases, metrics: cases == whole)
    assert not done.is_pruned and done.cases == whole


def test_data_and_cache_are_shared_and_the_budget_is_one(study: Study, folder: Path) -> None:
    """A trial has its own config; respondents, sets, meter and unchanged models are the study's."""
    own = study_of(study, plan(folder).job_of({"variant": "facts-only", "embedder.k": 5}))
    assert own.respondents is study.respondents and own.examples("val") is study.examples("val")
    assert own.meter is study.meter and own.lms["task_lm"] is study.lms["task_lm"]
    assert own.retriever is study.retriever and own.config.variant == "facts-only"
    warmer = study_of(study, plan(folder).job_of({"task_lm.temperature": 0.7}))
    assert warmer.lms["task_lm"] is not study.lms["task_lm"]
    assert warmer.lms["task_lm"].meter is study.meter


def test_what_a_trial_asks_elsewhere_needs_consent(tmp_path: Path) -> None:
    """A model of another host is sent no answer of real people before that was agreed to."""
    survey = str(survey_file(tmp_path / "survey.csv"))
    found = plan(tmp_path, None, data={"survey": survey})
    elsewhere = {
        "task_lm.model": "openai/test",
        "task_lm.api_base": "http://api.example.org/v1",
        "embedder.model": "lexical",
    }
    with living_in(tmp_path), open_study(found.job) as opened:
        with pytest.raises(ConfigError, match=r"will be sent to api\.example\.org"):
            study_of(opened, found.job_of(elsewhere))
        agreed = plan(tmp_path, None, 'send_to=["api.example.org"]', data={"survey": survey})
        own = study_of(opened, agreed.job_of(elsewhere))
        assert own.lms["task_lm"].model == "openai/test" and opened.task_lm.in_process


def test_a_compiled_trial_says_what_compiling_needed(study: Study, folder: Path) -> None:
    """Apart from what its cases need."""
    bare, taught = (
        study_of(study, plan(folder).job_of({"compile.teleprompter": name}))
        for name in ("none", "labeled-few-shot")
    )
    assert not any(p.demos for p in built(bare, log=None).program.predictors())
    found = built(taught, log=None)
    assert any(p.demos for p in found.program.predictors()) and found.compiling.calls == 0


def test_a_context_that_is_too_small_fails_before_a_call(study: Study, folder: Path) -> None:
    """The config of the trial is what is checked."""
    before = study.meter.needed.calls
    with pytest.raises(ConfigError, match=r"task_lm\.context"):
        run(study, {"task_lm.context": 1200}, folder)
    assert study.meter.needed.calls == before


class Mute(Stopping):
    """A model that fails every call."""

    def complete(self, request: Any) -> Any:
        """Raise."""
        self.asked += 1
        raise ValueError("nothing")


def test_a_trial_without_answers_has_no_score(tmp_path: Path) -> None:
    """It ends as soon as the coverage is out of reach: after the first part, not the last."""
    with (
        living_in(tmp_path),
        answered_by(Mute()) as engine,
        open_study(plan(tmp_path).job) as opened,
        pytest.raises(PredictionError, match=r"\d of \d+ cases were not answered"),
    ):
        half = len(opened.examples("val")) // 2
        run(opened, {"compile.teleprompter": "none"}, tmp_path)
    assert engine.asked <= 3 * half


def test_a_spent_budget_ends_a_trial(tmp_path: Path) -> None:
    """The job's, which all trials share."""
    job = plan(tmp_path, None, "budget.calls=3").job
    with (
        living_in(tmp_path),
        open_study(job) as opened,
        pytest.raises(BudgetExceededError),
    ):
        config = plan(tmp_path, None, "budget.calls=3").job_of({"compile.teleprompter": "none"})
        measure_trial(opened, config, subsets=(1.0,), report=lambda *_: False, log=None)
    assert opened.meter.paid.calls == 3


def test_optunas_record_is_read(study: Study) -> None:
    """The number a trial was begun with, its state in a word, values by objective."""

    def record(state: str, **known: Any) -> Any:
        fields = {"number": 9, "params": {"variant": "full"}, "values": None, "user_attrs": {}}
        fields |= {"intermediate_values": {1: 0.4}, **known}
        return SimpleNamespace(state=SimpleNamespace(name=state), **fields)

    done = tried_of(record("COMPLETE", values=[0.5, 100.0]), ("accuracy", "cost"))
    assert done.values == {"accuracy": 0.5, "cost": 100.0} and done.number == 9 and done.is_done
    pruned = tried_of(record("PRUNED", values=[0.4], user_attrs={"root": 3}), ("accuracy",))
    assert (pruned.state, pruned.number, pruned.values) == ("pruned", 3, {})
    assert pruned.curve == {1: 0.4}
    failed = tried_of(record("FAIL", user_attrs={"reason": "why"}), ("accuracy",))
    assert (failed.state, failed.reason) == ("failed", "why")
    assert not tried_of(record("RUNNING"), ("accuracy",)).is_done


def test_frames_of_parts_are_one_frame(study: Study, folder: Path) -> None:
    """Metrics of the parts together are those of the whole valset at once."""
    whole = measure_trial(
        study,
        plan(folder).job_of({"compile.teleprompter": "none"}),
        subsets=(1.0,),
        report=lambda cases, metrics: False,
        log=None,
    )
    parts = run(study, {"compile.teleprompter": "none"}, folder)
    assert pd.Series(whole.metrics).equals(pd.Series(parts.metrics))
