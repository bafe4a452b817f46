"""The ablation: its grid, its folds, its tables, the same results however it is run."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jobs import small_job

from evals import ablation
from evals.ablation import ablation_parts, run_ablation
from evals.ablation_table import factor_rows, factor_table
from evals.arms import build_arm
from evals.baselines import BASELINES
from evals.benchmark import Result, run_benchmark
from evals.factors import COMPILED, FACTORS, SHUFFLED, grid_arms
from evals.past_runs import arms_of, run_summary
from evals.study import open_study
from evals.tracking import Tracker
from valuesim_dspy.config import BudgetConfig, JobConfig
from valuesim_dspy.errors import BudgetExceededError, ConfigError
from valuesim_dspy.usage import Usage
from valuesim_dspy.variants import VARIANTS

pytestmark = pytest.mark.slow

ARMS = ["full", "vote", "rag"]
CHEAP = ["vote", "mean", "rag"]
"""Measured with what it differs from, which is `full`."""


def tiny(tmp_path: Path, **known: Any) -> JobConfig:
    """Return a job of a few people, in a store of its own."""
    protocol = {"train": 8, "val": 3, "dev": 4, "test": 4, "targets": 2}
    return small_job(protocol=protocol, store=str(tmp_path / "store"), **known)


def bare(name: str) -> str:
    """Return the arm without what says that it is compiled."""
    return name.removesuffix(COMPILED).removesuffix(SHUFFLED)


def measured(tmp_path: Path, *arms: str) -> dict[str, Result]:
    """Measure arms on a small devset."""
    with open_study(tiny(tmp_path)) as study:
        return {name: run_benchmark(study, name, build_arm(study, name), "dev") for name in arms}


def job_of(config: JobConfig) -> tuple[Tracker, str]:
    """Return the tracker of a job's store, and its only job."""
    tracker = Tracker(config.store)
    (job,) = tracker.find({"valuesim.level": "job"})
    return tracker, job


def arms_in(tracker: Tracker, job: str) -> list[dict[str, Any]]:
    """Return what is known of each arm's run."""
    return [run_summary(tracker, run) for run in arms_of(tracker, job)]


def test_every_arm_of_the_grid_is_registered() -> None:
    """A factor names variants and baselines, and no arm is its own base."""
    for factor in FACTORS:
        assert factor.base not in factor.arms
        assert all(bare(arm) in VARIANTS or bare(arm) in BASELINES for arm in factor.arms)
    assert len(grid_arms()) == len(set(grid_arms()))


def test_no_variant_is_left_out_of_the_grid() -> None:
    """Whoever adds a variant says which factor it belongs to."""
    assert set(VARIANTS) <= {bare(arm) for arm in grid_arms()}


def test_some_arms_bring_their_bases() -> None:
    """An arm is measured beside what it differs from."""
    assert grid_arms(("vote",)) == ["full", "vote"]
    assert set(grid_arms(("rag-10", "mode"))) == {"rag", "rag-10", "country-mode", "mode"}


def test_folds_of_each_strength_are_drawn(tmp_path: Path) -> None:
    """One fold each by default, all five on demand; the published folds stay by themselves."""
    config = tiny(tmp_path)
    assert [part.name for part in ablation_parts(config, full=False)] == [
        "question 1",
        "battery 1",
        "topic 1",
    ]
    assert len(ablation_parts(config, full=True)) == 15
    whole = config.model_copy(
        update={"protocol": config.protocol.model_copy(update={"targets": None})}
    )
    assert {p.config.protocol.targets for p in ablation_parts(whole, full=False)} == {12}
    assert {p.config.protocol.targets for p in ablation_parts(whole, full=True)} == {None}
    paper = config.protocol.model_copy(update={"folds": "paper", "split": "paper"})
    parts = ablation_parts(config.model_copy(update={"protocol": paper}), full=True)
    assert [part.name for part in parts] == [f"paper {fold}" for fold in range(1, 6)]


def test_an_unknown_arm_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """The error names what there is."""
    with pytest.raises(ConfigError, match="no arm of the grid"):
        run_ablation(tiny(tmp_path), ["fulll"], "dev")


def test_processes_change_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process or in several: the same cases, answers and needed calls."""
    part = ablation_parts(tiny(tmp_path), full=False)[1]
    monkeypatch.setattr(ablation, "LEAST_CASES", 0)
    with open_study(part.config) as study:
        several = list(ablation._in_order(study, part, ARMS, "dev", build_arm))
        monkeypatch.setattr(ablation, "PROCESSES", 1)
        one = list(ablation._in_order(study, part, ARMS, "dev", build_arm))
    assert [name for name, *_ in several] == [name for name, *_ in one] == ARMS
    for (_, left, *_), (_, right, *_) in zip(several, one, strict=True):
        same = ["respondent", "question", "truth", "answer", "status"]
        assert left.frame[same].equals(right.frame[same])
        assert left.needed.calls == right.needed.calls


def test_an_ablation_leaves_one_run_with_a_child_for_each_fold_and_arm(tmp_path: Path) -> None:
    """Started again it continues the run and pays nothing; the tables are the same."""
    config = tiny(tmp_path)
    first = run_ablation(config, ["vote"], "dev")
    again = run_ablation(config, ["vote"], "dev")
    names = {arm["name"] for arm in arms_in(*job_of(config))}
    folds = ("question 1", "battery 1", "topic 1")
    assert names == {f"{fold}: {arm}" for fold in folds for arm in ("full", "vote")}
    assert "| who decides | vote |" in first
    assert _without_costs(first) == _without_costs(again)


def _without_costs(text: str) -> list[str]:
    """Return the factor tables, which hold neither seconds nor what was paid."""
    return [line for line in text.splitlines() if line.startswith(("| who", "|  |"))]


def test_differences_are_to_the_base_and_intervals_are_counted(tmp_path: Path) -> None:
    """Each row holds its arm minus the factor's base on the same cases."""
    results = measured(tmp_path, "full", "vote", "rag", "rag-10", "country-mode", "mode")
    rows = factor_rows(results)
    assert [(row["base"], row["arm"]) for row in rows] == [
        ("full", "vote"),
        ("rag", "rag-10"),
        ("country-mode", "mode"),
    ]
    for row in rows:
        arm, base = (results[str(row[key])].metrics["accuracy"] for key in ("arm", "base"))
        assert row["difference"] == pytest.approx(arm - base)
        assert float(row["low"]) <= float(row["difference"]) <= float(row["high"])
    assert "of 3 intervals leave out 0" in factor_table(results)
    assert factor_table({}) == ""


def test_cold_is_not_subtracted_from_warm(tmp_path: Path) -> None:
    """A factor whose arms know different things shows no difference."""
    found = measured(tmp_path, "rag", "mode")
    results = {"rag": found["rag"], "rag-10": found["mode"]}
    (row,) = factor_rows(results)
    assert row["difference"] != row["difference"]
    assert "not compared" in factor_table(results)


def spend(config: JobConfig, arms: list[str], *, after: int, role: str = "dev") -> None:
    """Run an ablation whose budget is spent after so many arms."""
    done: list[str] = []

    def measure(study: Any, arm: str, *given: Any, **known: Any) -> Result:
        if len(done) == after:
            raise BudgetExceededError("calls", 5, 5)
        done.append(arm)
        return run_benchmark(study, arm, *given, **known)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(BudgetExceededError):
        patch.setattr(ablation, "run_benchmark", measure)
        run_ablation(config, arms, role)


def test_a_spent_budget_keeps_every_arm_that_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """RAG first, each in a run with its metrics; the job is killed, marked, and has a table."""
    config = tiny(tmp_path)
    spend(config, CHEAP, after=2)
    tracker, job = job_of(config)
    summary = run_summary(tracker, job)
    assert summary["status"] == "KILLED" and summary["tags"]["stopped"] == "budget"
    arms = arms_in(tracker, job)
    assert {arm["name"] for arm in arms} == {"question 1: rag", "question 1: full"}
    assert all("accuracy_minus_rag" in arm["metrics"] for arm in arms)
    table = tracker.read_text(job, "table.md")
    assert "| full " in table and "| rag " in table and "| vote " not in table
    assert "stopped: the budget of 5 calls is spent" in " ".join(table.split())
    assert table in capsys.readouterr().out


def test_a_budget_spent_before_the_first_arm_leaves_no_table(tmp_path: Path) -> None:
    """There is nothing to show; the run is marked all the same."""
    config = tiny(tmp_path)
    spend(config, CHEAP, after=0)
    tracker, job = job_of(config)
    assert run_summary(tracker, job)["tags"]["stopped"] == "budget"
    assert tracker.find({"valuesim.level": "arm"}) == []


def only_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the first fold alone."""
    parts = ablation_parts
    monkeypatch.setattr(ablation, "ablation_parts", lambda *a, **k: parts(*a, **k)[:1])


def test_tables_keep_the_order_of_the_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RAG is measured first, and stands where it was asked for; the run says it was not stopped."""
    only_first(monkeypatch)
    config = tiny(tmp_path)
    order: list[str] = []

    def measure(study: Any, arm: str, *given: Any, **known: Any) -> Result:
        order.append(arm)
        return run_benchmark(study, arm, *given, **known)

    monkeypatch.setattr(ablation, "run_benchmark", measure)
    text = run_ablation(config, ["vote", "rag"], "dev")
    assert order[0] == "rag"
    first = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    named = [name for name in first if name in grid_arms(("vote", "rag"))]
    assert named == grid_arms(("vote", "rag")) and named[0] != "rag"
    summary = run_summary(*job_of(config))
    assert (summary["status"], summary["tags"]["stopped"]) == ("FINISHED", "no")


def test_a_reading_of_the_testset_is_counted_when_the_job_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was read, by however few arms; the next is the second."""
    only_first(monkeypatch)
    config = tiny(tmp_path)
    spend(config, ["vote"], after=1, role="test")
    text = run_ablation(config, ["vote"], "test")
    assert re.findall(r"reading (\d+) of this testset", text) == ["2"]
    assert "of this testset" not in run_ablation(config, ["vote"], "dev")


def test_arms_that_are_compiled_name_their_teleprompter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shuffled control is compiled as well; what is not has none."""
    only_first(monkeypatch)
    config = tiny(tmp_path)
    names = [f"weighted-vote{end}" for end in ("", COMPILED, SHUFFLED)]
    run_ablation(config, names, "dev", make=lambda study, name: build_arm(study, bare(name)))
    arms = arms_in(*job_of(config))
    found = {arm["name"].split(": ")[1]: arm["params"]["teleprompter"] for arm in arms}
    used = config.compile.teleprompter
    assert [found[name] for name in names] == ["none", used, used] and used != "none"


def test_an_arm_that_answered_too_little_has_no_score(tmp_path: Path) -> None:
    """Neither accuracy nor nMAE nor a difference; what it cost is told."""
    results = measured(tmp_path, "full", "vote")
    arm = results["vote"]
    frame = arm.frame.copy()
    frame.loc[frame.index[0], ["status", "answered"]] = ["failed", False]
    short = replace(arm, frame=frame)
    assert not short.is_valid and short.metrics["nmae"] == short.metrics["nmae"]
    (row,) = factor_rows({**results, "vote": short})
    assert all(row[name] != row[name] for name in ("accuracy", "difference", "nmae"))
    assert float(row["tokens"]) > 0
    (valid,) = factor_rows(results)
    assert valid["nmae"] == arm.metrics["nmae"]


def test_one_strength_can_be_chosen(tmp_path: Path) -> None:
    """`--folds battery` measures battery folds alone."""
    parts = ablation_parts(tiny(tmp_path), ("battery",), full=True)
    assert [part.name for part in parts] == [f"battery {fold}" for fold in range(1, 6)]


def test_only_what_learns_can_be_shuffled(tmp_path: Path) -> None:
    """RAG has no records."""
    with pytest.raises(ConfigError, match="rag learns no records"):
        run_ablation(tiny(tmp_path), ["rag shuffled"], "dev")


def test_one_budget_holds_over_all_folds() -> None:
    """What a fold paid is not there for the next one; what has no limit stays without."""
    left = ablation._left(BudgetConfig(calls=10, usd=1.0), Usage(7, 100, 50, 0.25))
    assert (left.calls, left.tokens, left.usd) == (3, None, 0.75)
    assert ablation._left(BudgetConfig(calls=10), Usage(12)).calls == 0
