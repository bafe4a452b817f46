"""Every teleprompter on one job: the table, the runs in the store, and what is honest in them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from jobs import living_in, small_job, tracker_of

import optimize.mechanics
from evals.past_runs import arms_of, find_runs, run_summary
from evals.tracked_runs import LEVEL, NOTE
from evals.tracking import Tracker
from optimize.mechanics import SMALL, found_by, run_mechanics, small_options, state_of
from optimize.mechanics_table import (
    COLUMNS,
    HEADING,
    LEVEL_HERE,
    MACHINERY,
    RANKS_NOTHING,
    VIEW,
    view_tag,
)
from optimize.teleprompters import TELEPROMPTERS, Compilation, Compiled, Teleprompter
from optimize.teleprompters.bootstrapping import LabeledOptions
from valuesim_dspy.errors import BudgetExceededError, ConfigError
from valuesim_dspy.program import ValueSim

pytestmark = pytest.mark.slow

TINY = {
    "variant": "facts-only",
    "protocol": {"train": 3, "val": 3, "dev": 4, "test": 2, "targets": 2},
}


class Fickle:
    """Builds another program each time that it is called, whatever the seed."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, compilation: Compilation) -> Compiled:
        """Write another instruction."""
        self.times += 1
        program = compilation.student.deepcopy()
        for predictor in program.predictors():
            text = f"Answer, for the {self.times}. time."
            predictor.signature = predictor.signature.with_instructions(text)
        return Compiled(program)


def refusing(compilation: Compilation) -> Compiled:
    """Compile nothing."""
    raise ConfigError("cannot work with these people", key="compile.options")


def same(compilation: Compilation) -> Compiled:
    """Return the student, and tell what it was given."""
    return Compiled(compilation.student.deepcopy(), notes=(f"k is {compilation.options.k}",))


def made(name: str, build: Any) -> Teleprompter:
    """Return a teleprompter that no registry knows."""
    return Teleprompter(name, "for tests", LabeledOptions, build, lambda *_: (0, 0))


@dataclass(frozen=True)
class Done:
    """The command, run: what it printed and where its runs are."""

    table: str
    store: Path

    @property
    def tracker(self) -> Tracker:
        """A tracker on its store."""
        return tracker_of(self.store)

    @property
    def job(self) -> str:
        """The id of the job's run."""
        (run_id,) = self.tracker.find({LEVEL: "job"})
        return run_id

    def row(self, name: str) -> list[str]:
        """Return the cells of a teleprompter's row."""
        (line,) = (part for part in self.table.splitlines() if part.startswith(f"| {name} "))
        return [cell.strip() for cell in line.strip("|").split("|")]

    def run(self, name: str) -> dict[str, Any]:
        """Return the run of a row."""
        runs = (run_summary(self.tracker, run_id) for run_id in arms_of(self.tracker, self.job))
        (found,) = (run for run in runs if run["name"] == name)
        return found


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The command on two real teleprompters and three made ones, of which one refuses."""
    registry = {
        **{name: TELEPROMPTERS[name] for name in ("labeled-few-shot", "bootstrap")},
        "fickle": made("fickle", Fickle()),
        "refusing": made("refusing", refusing),
        "newcomer": made("newcomer", same),
    }
    with (
        living_in(tmp_path_factory.mktemp("mechanics")) as store,
        pytest.MonkeyPatch.context() as p,
    ):
        p.setattr(optimize.mechanics, "TELEPROMPTERS", registry)
        return Done(run_mechanics(small_job(**TINY)), store)


def test_the_table_says_what_it_is_and_that_it_ranks_nothing(done: Done) -> None:
    """The heading, the sentence, and who answered stand above the rows."""
    assert f"## {HEADING}" in done.table
    told = " ".join(done.table.split())
    assert f"**{RANKS_NOTHING} {MACHINERY}**" in told
    assert told.index(RANKS_NOTHING) < told.index("| labeled-few-shot")
    assert "offline/lexical-1" in told and "date: 2" in told and "variant: facts-only" in told


def test_every_teleprompter_of_the_registry_has_a_row(done: Done) -> None:
    """One that the command does not know runs with its defaults, without a line of its own."""
    assert len(done.row("newcomer")) == len(COLUMNS)
    assert "`newcomer` with its defaults; k is 4" in done.table
    assert "`labeled-few-shot` with k = 3" in done.table
    assert small_options(made("newcomer", same)) == {}


def test_rows_tell_calls_demos_and_instructions(done: Done) -> None:
    """Labels make demos without a call; traces cost calls; an instruction that is new is told."""
    labeled, bootstrap, fickle = map(done.row, ("labeled-few-shot", "bootstrap", "fickle"))
    assert labeled[1:4] == ["0", "0", "0"]
    assert int(labeled[5]) == 9, "three demos for each of three perspectives"
    assert int(bootstrap[1].replace(",", "")) >= int(bootstrap[2].replace(",", "")) > 0
    assert (labeled[6], fickle[6]) == ("no", "yes")
    assert float(bootstrap[4]) >= 0


def test_a_program_that_comes_out_otherwise_is_not_identical(done: Done) -> None:
    """The second compilation is a compilation: it finds out who does not heed the seed."""
    assert done.row("fickle")[7] == "no"
    assert {done.row(name)[7] for name in ("labeled-few-shot", "bootstrap", "newcomer")} == {"yes"}
    assert done.run("fickle")["metrics"]["identical"] == 0
    assert done.run("fickle")["tags"]["same seed twice identical"] == "no"


def test_who_leaves_the_program_as_it_was_differs_by_nothing(done: Done) -> None:
    """The difference is to the uncompiled program on the same cases."""
    assert done.row("newcomer")[8] == "+0.0 [+0.0, +0.0]"
    metrics = done.run("newcomer")["metrics"]
    assert metrics["minus_uncompiled"] == 0
    assert metrics["dev.accuracy"] == done.run("uncompiled")["metrics"]["dev.accuracy"]


def test_who_cannot_work_here_has_a_row_that_says_so(done: Done) -> None:
    """The others are run all the same, and no run of it is left."""
    assert set(done.row("refusing")[1:]) == {"-"}
    assert "`refusing`" in done.table and "refused: " in done.table
    names = {run_summary(done.tracker, run)["name"] for run in arms_of(done.tracker, done.job)}
    assert names == {"uncompiled", "labeled-few-shot", "bootstrap", "fickle", "newcomer"}


def test_the_runs_show_the_same_numbers_as_the_table(done: Done) -> None:
    """Names of runs are those of teleprompters; words are tags, numbers metrics."""
    for name in ("labeled-few-shot", "bootstrap", "fickle"):
        run, row = done.run(name), done.row(name)
        metrics, tags = run["metrics"], run["tags"]
        assert f"{metrics['calls_compiling']:,.0f}" == row[1]
        assert f"{metrics['calls_paid_compiling']:,.0f}" == row[2]
        assert f"{metrics['tokens_compiling']:,.0f}" == row[3]
        assert f"{metrics['seconds_compiling']:,.1f}" == row[4]
        assert f"{metrics['demos']:.0f}" == row[5]
        assert tags["instructions written"] == row[6]
        assert tags["compiled - uncompiled"] == row[8]
        assert run["params"]["teleprompter"] == run["params"]["arm"] == name
        assert run["status"] == "FINISHED"


def test_no_metric_sorts_before_the_calls(done: Done) -> None:
    """The UI's charts open with the first name that all runs have: it must rank nothing."""
    shared = set(done.run("uncompiled")["metrics"]) & set(done.run("bootstrap")["metrics"])
    assert min(shared) == min(done.run("bootstrap")["metrics"]) == "calls_compiling"


def test_the_job_holds_the_table_as_its_note(done: Done) -> None:
    """Its description is the table itself, whole; its sums are of the rows that ran."""
    job = run_summary(done.tracker, done.job)
    table = done.tracker.read_text(done.job, "table.md")
    assert done.table.startswith(table) and job["tags"][NOTE] == table
    assert job["name"] == "small-teleprompters"
    assert job["tags"]["teleprompter"] == "all"
    assert job["metrics"]["teleprompters"] == 4 and job["metrics"]["identical"] == 3
    assert job["params"]["trainset"] == "6"


def test_the_runs_are_no_arms_that_others_compare(done: Done) -> None:
    """Readers of arms, and the view of arms, do not find them; a view of their own does."""
    assert find_runs(done.tracker) == []
    assert len(done.tracker.find({LEVEL: LEVEL_HERE})) == 5
    name, state = view_tag(done.job)
    assert done.tracker.experiment_tags()[name] == state
    assert done.job in json.loads(state)["searchFilter"]
    assert f"viewStateShareKey={VIEW}" in done.table


def test_the_view_shows_columns_that_runs_have(done: Done) -> None:
    """A column that no run has would stay empty without a word."""
    run = done.run("bootstrap")
    for column in json.loads(view_tag("")[1])["selectedColumns"]:
        kind, name = column.replace("`", "").split(".", 1)
        assert name in run[kind], column


def test_a_second_run_pays_nothing_less(done: Done) -> None:
    """What the user's cache holds changes no number: the command starts from an empty one."""
    registry = {"bootstrap": TELEPROMPTERS["bootstrap"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimize.mechanics, "TELEPROMPTERS", registry)
        tables = []
        for _ in range(2):
            with living_in(done.store.parent / "again"):
                tables.append(run_mechanics(small_job(**TINY)))
    rows = [Done(table, done.store).row("bootstrap") for table in tables]
    assert rows[0][:4] == rows[1][:4] == done.row("bootstrap")[:4]
    assert int(rows[0][2]) > 0


def test_the_second_compilation_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calls are not answered by the cache of the first."""
    caches = []

    def look(compilation: Compilation) -> Compiled:
        import dspy

        caches.append(dspy.cache)
        return same(compilation)

    monkeypatch.setattr(optimize.mechanics, "TELEPROMPTERS", {"look": made("look", look)})
    with living_in(tmp_path):
        run_mechanics(small_job(**TINY))
    assert len(caches) == 2 and caches[0] is not caches[1]


def test_a_spent_budget_ends_the_job_with_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows that were finished are in the run, which is marked as one that can go on."""
    names = ("labeled-few-shot", "bootstrap-random-search")
    registry = {name: TELEPROMPTERS[name] for name in names}
    monkeypatch.setattr(optimize.mechanics, "TELEPROMPTERS", registry)
    with living_in(tmp_path) as store:
        with pytest.raises(BudgetExceededError):
            run_mechanics(small_job(**TINY, budget={"calls": 70}))
        tracker = tracker_of(store)
    (job,) = tracker.find({LEVEL: "job"})
    summary = run_summary(tracker, job)
    assert summary["status"] == "KILLED" and summary["tags"]["stopped"] == "budget"
    table = tracker.read_text(job, "table.md")
    assert "| labeled-few-shot" in table and "| bootstrap-random-search" not in table


def test_a_price_that_is_unknown_is_no_refusal_of_a_teleprompter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be paid under a limit in dollars: the job ends with that, failed, with no row."""

    def unpriced(compilation: Compilation) -> Compiled:
        raise ConfigError("the model's price is unknown", key="budget.usd")

    registry = {"one": made("one", unpriced), "two": made("two", same)}
    monkeypatch.setattr(optimize.mechanics, "TELEPROMPTERS", registry)
    with living_in(tmp_path) as store:
        with pytest.raises(ConfigError, match=r"budget\.usd"):
            run_mechanics(small_job(**TINY))
        tracker = tracker_of(store)
    (job,) = tracker.find({LEVEL: "job"})
    summary = run_summary(tracker, job)
    assert summary["status"] == "FAILED" and summary["tags"]["stopped"] == "no"
    assert len(arms_of(tracker, job)) <= 1


def test_a_model_that_is_paid_wants_a_word_of_consent(tmp_path: Path) -> None:
    """Every teleprompter twice is many calls; nothing is sent before they are agreed to."""
    role = {"model": "openai/test", "api_base": "http://127.0.0.1:9/v1"}
    with living_in(tmp_path), pytest.raises(ConfigError, match="--yes"):
        run_mechanics(small_job(**TINY, task_lm=role, confirm_calls=10))


def test_a_variant_without_predictors_is_refused(tmp_path: Path) -> None:
    """A name that is no variant costs nothing."""
    with living_in(tmp_path), pytest.raises(ConfigError):
        run_mechanics(small_job(**{**TINY, "variant": "nobody"}))


def test_small_options_are_options(done: Done) -> None:
    """Each name in `SMALL` is a teleprompter, and takes what it is given."""
    for name, options in SMALL.items():
        TELEPROMPTERS[name].parse(options)


def test_a_state_is_what_saving_keeps() -> None:
    """Demos, instructions and what is learned; two new programs have the same."""
    one, other = ValueSim("facts-only"), ValueSim("facts-only")
    assert state_of(one) == state_of(other)
    other.learned = {"weights": {"cognitive": 1.0}}
    assert state_of(one) != state_of(other)
    third = ValueSim("facts-only")
    third.predictors()[0].demos = [{"question": "?", "answer": "1"}]
    assert state_of(one) != state_of(third)


def test_the_same_program_by_another_way_is_not_identical() -> None:
    """Runs and candidates are compared too: the uncompiled program alone would show little."""
    compiled = Compiled(ValueSim("facts-only"), runs=4)
    assert found_by(compiled) == found_by(replace(compiled, notes=("said otherwise",)))
    assert found_by(compiled) != found_by(replace(compiled, runs=5))
    assert found_by(compiled) != found_by(replace(compiled, chosen="uncompiled"))


@pytest.mark.slow
def test_every_registered_teleprompter_works_and_heeds_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None refuses, each has its row, and the same seed twice is identical for all."""
    small = {**SMALL, "gepa": {"auto": "explicit", "runs": 30}}
    small["simba"] = {"batch": 4, "candidates": 2, "steps": 1, "max_demos": 2}
    monkeypatch.setattr(optimize.mechanics, "SMALL", small)
    with living_in(tmp_path) as store:
        done = Done(run_mechanics(small_job(**TINY)), store)
    for name in TELEPROMPTERS:
        row = done.row(name)
        assert row[7] == "yes", row
        assert name == "labeled-few-shot" or int(row[1].replace(",", "")) > 0
    assert "refused" not in done.table
    assert len(done.tracker.find({LEVEL: LEVEL_HERE})) == len(TELEPROMPTERS) + 1
    assert len(done.tracker.read_text(done.job, "table.md")) < 5000, "a note holds no more"
