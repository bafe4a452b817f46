"""The trials of a search, shared by processes; and whole searches, the same every time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from jobs import Stopping, answered_by, living_in, tracker_of
from searching import plan, search_file

import optimize.search
from evals.past_runs import arms_of, run_summary
from evals.tracked_runs import LEVEL, PARENT
from evals.trial_runs import STATE, TRIAL
from optimize.__main__ import main
from optimize.search import Board, SeededByTrial, counted, open_board, rank, run_search
from optimize.search_workers import Worker
from valuesim_dspy.errors import ConfigError, PredictionError, ValueSimError

ROOT = Path(__file__).resolve().parent.parent
SAME: dict[str, str] = {"job": "0" * 16}
NUMBERS: dict[str, Any] = {
    "task_lm.temperature": {"low": 0.0, "high": 1.0},
    "embedder.k": {"low": 1, "high": 64, "log": True},
}
NUMBERS_AND_ARMS: dict[str, Any] = {
    "variant": ["single", "facts-only"],
    "compile.demo_facts": {"low": 1, "high": 1000},
}
GONE = {"place": Worker.here().place, "process": "999999999:1"}


@contextlib.contextmanager
def board(
    folder: Path, search: Mapping[str, Any] | None = None, identity: Mapping[str, str] = SAME
) -> Iterator[Board]:
    """Open the trials of a small search; in a journal, which opens faster than a database."""
    kept = {"storage": f"journal:{folder}/trials.log", **(search or {})}
    with open_board(plan(folder, kept), identity) as opened:
        yield opened


def run_all(opened: Board, worth: Any = lambda chosen: chosen["task_lm.temperature"]) -> list[Any]:
    """Run all trials of a board by a function of their values; return the values."""
    chosen = []
    while (asked := opened.ask()) is not None:
        chosen.append(asked.chosen)
        opened.complete(asked, [worth(asked.chosen)])
    return chosen


def test_the_number_of_trials_is_that_of_all_processes(tmp_path: Path) -> None:
    """Whoever opens the board again finds what was done, and does what is left."""
    with board(tmp_path, {"trials": 3, "space": NUMBERS}) as first:
        asked = first.ask()
        assert asked is not None
        first.complete(asked, [0.5])
    with board(tmp_path, {"trials": 3, "space": NUMBERS}) as second:
        assert len(run_all(second)) == 2 and second.ask() is None
        assert [trial.number for trial in second.trials()] == [0, 1, 2]
        assert second.trials()[0].values == {"accuracy": 0.5}


def test_the_same_seed_samples_the_same_values(tmp_path: Path) -> None:
    """Whoever runs them, and after however many interruptions."""
    whole = tmp_path / "whole"
    pieces = tmp_path / "pieces"
    other = tmp_path / "other"
    for folder in (whole, pieces, other):
        folder.mkdir()
    search = {"trials": 8, "startup": 3, "space": NUMBERS}
    with board(whole, search) as opened:
        calm = run_all(opened)
    disturbed = []
    for _ in range(8):
        with board(pieces, search) as opened:
            lost = opened.ask()
            assert lost is not None
            opened.give_back(lost.number, "interrupted")
        with board(pieces, search) as opened:
            asked = opened.ask()
            assert asked is not None and asked.root == lost.root
            assert asked.chosen == lost.chosen
            opened.complete(asked, [asked.chosen["task_lm.temperature"]])
            disturbed.append(asked.chosen)
    assert disturbed == calm
    with board(other, {**search, "seed": 43}) as opened:
        assert run_all(opened) != calm


def test_processes_side_by_side_sample_other_values(tmp_path: Path) -> None:
    """Also before anything is known, where each sampler draws at random."""
    search = {"trials": 6, "startup": 6, "space": NUMBERS}
    with board(tmp_path, search) as one, board(tmp_path, search) as other:
        asked = [one.ask(), other.ask(), one.ask(), other.ask()]
        chosen = [json.dumps(trial.chosen) for trial in asked if trial is not None]
        assert len(set(chosen)) == 4


def test_the_last_trial_is_begun_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two processes that ask at the same moment, one is one too many, which is not counted."""
    search = {"trials": 2, "space": NUMBERS}
    with board(tmp_path, search) as one, board(tmp_path, search) as other:
        assert one.ask() is not None
        assert one.ask() is not None
        # The other looked before either was there.
        monkeypatch.setattr(optimize.search, "counted", lambda study: [])
        monkeypatch.setattr(optimize.search, "rank", lambda study, number: number)
        assert other.ask() is None
        monkeypatch.undo()
        assert len(one.trials()) == 2
        assert len(one.study.trials) == 3


def test_a_trial_that_has_just_begun_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by who looks while it is being written who runs it."""
    search, mark = {"trials": 3, "space": NUMBERS}, Board.mark
    with board(tmp_path, search) as one, board(tmp_path, search) as other:

        def watched(self: Board, number: int, name: str, value: object) -> None:
            mark(self, number, name, value)
            if self is one:
                other._give_back_lost()

        monkeypatch.setattr(Board, "mark", watched)
        assert one.ask() is not None
        assert {trial.number: trial.state for trial in other.trials()} == {0: "running"}


def test_a_trial_of_a_dead_process_is_run_again(tmp_path: Path) -> None:
    """With its values and under its number; what lives is left alone."""
    search = {"trials": 3, "space": NUMBERS}
    with board(tmp_path, search) as opened:
        alive, dead = opened.ask(), opened.ask()
        assert alive is not None and dead is not None
        for name, value in GONE.items():
            opened.mark(dead.number, name, value)
        again = opened.ask()
        assert again is not None and again.chosen == dead.chosen
        assert (again.number, again.root) == (2, dead.number)
        opened.complete(again, [0.5])
        states = {trial.number: trial.state for trial in opened.trials()}
        assert states == {0: "running", 1: "complete"}
        last = opened.ask()
        assert last is not None and last.chosen != dead.chosen
        assert opened.ask() is None


def test_a_trial_that_ends_its_process_three_times_is_given_up(tmp_path: Path) -> None:
    """Its reason is told; the search goes on with the next."""
    with board(tmp_path, {"trials": 1, "space": NUMBERS}) as opened:
        for _ in range(3):
            asked = opened.ask()
            assert asked is not None
            for name, value in GONE.items():
                opened.mark(asked.number, name, value)
        assert opened.ask() is None
        (trial,) = opened.trials()
        assert trial.state == "failed" and trial.reason == "its process ended, 3 times"


def test_an_interruption_by_hand_is_never_held_against_a_trial(tmp_path: Path) -> None:
    """However often."""
    with board(tmp_path, {"trials": 1, "space": NUMBERS}) as opened:
        for _ in range(5):
            asked = opened.ask()
            assert asked is not None and asked.root == 0
            opened.give_back(asked.number, "interrupted")
        assert [trial.state for trial in opened.trials()] == ["waiting"]


def test_two_that_find_the_same_dead_trial_begin_it_once(tmp_path: Path) -> None:
    """Only one of them is the first to end it."""
    search = {"trials": 2, "space": NUMBERS}
    with board(tmp_path, search) as one, board(tmp_path, search) as other:
        asked = one.ask()
        assert asked is not None
        one.give_back(asked.number, "its process ended", is_lost=True)
        other.give_back(asked.number, "its process ended", is_lost=True)
        waiting = [trial for trial in one.trials() if trial.state == "waiting"]
        assert len(waiting) == 1


def test_a_failed_trial_keeps_its_reason(tmp_path: Path) -> None:
    """It has no value, and is counted."""
    with board(tmp_path, {"trials": 1, "space": NUMBERS}) as opened:
        asked = opened.ask()
        assert asked is not None
        opened.fail(asked, "coverage")
        (trial,) = opened.trials()
        assert (trial.state, trial.reason, trial.values) == ("failed", "coverage", {})
        assert opened.ask() is None


def test_conditional_keys_are_sampled_where_they_apply(tmp_path: Path) -> None:
    """`k` for the teleprompter that has it, and a list of names as it was written."""
    space = {
        "compile.teleprompter": ["none", "labeled-few-shot"],
        "compile.options.k": {"low": 1, "high": 3},
        "compile.options.predictors": ["all", ["answer"]],
    }
    with board(tmp_path, {"trials": 24, "startup": 24, "space": space}) as opened:
        chosen = run_all(opened, lambda chosen: 0.5)
    names = [one["compile.teleprompter"] for one in chosen]
    assert set(names) == {"none", "labeled-few-shot"}
    for one, name in zip(chosen, names, strict=True):
        assert ("compile.options.k" in one) is (name != "none")
    asked = [one["compile.options.predictors"] for one in chosen if len(one) > 1]
    assert ["answer"] in asked and "all" in asked


def test_a_trial_that_is_worse_than_most_is_pruned(tmp_path: Path) -> None:
    """The median pruner: worse than half of the others at the same part of the valset."""
    search = {"trials": 9, "startup": 3, "space": NUMBERS}
    with board(tmp_path, search) as opened:
        for value in (0.5, 0.6, 0.7, 0.8):
            asked = opened.ask()
            assert asked is not None
            assert not opened.report(asked, value, 1)
            opened.complete(asked, [value])
        good, bad = opened.ask(), opened.ask()
        assert good is not None and bad is not None
        assert not opened.report(good, 0.9, 1)
        assert opened.report(bad, 0.1, 1)
        opened.complete(bad, None)
        (pruned,) = (trial for trial in opened.trials() if trial.state == "pruned")
        assert pruned.curve == {1: 0.1} and pruned.values == {}


@pytest.mark.parametrize(
    ("pruning", "is_pruned"), [("none", False), ("successive-halving", True), ("median", True)]
)
def test_pruning_is_a_choice(tmp_path: Path, pruning: str, is_pruned: bool) -> None:
    """Each as it is called in Optuna."""
    search = {"trials": 9, "startup": 3, "pruning": pruning, "space": NUMBERS}
    with board(tmp_path, search) as opened:
        for value in (0.9, 0.8, 0.7, 0.6, 0.5):
            asked = opened.ask()
            assert asked is not None
            opened.report(asked, value, 1)
            opened.complete(asked, [value])
        bad = opened.ask()
        assert bad is not None
        assert opened.report(bad, 0.1, 1) is is_pruned


def test_with_several_objectives_nothing_is_pruned(tmp_path: Path) -> None:
    """Optuna cannot; each goes its own way: accuracy up, cost down."""
    search = {"objectives": ["accuracy", "cost"], "trials": 2, "space": NUMBERS}
    with board(tmp_path, search) as opened:
        asked = opened.ask()
        assert asked is not None
        assert not opened.report(asked, 0.0, 1)
        opened.complete(asked, [0.5, 100.0])
        assert opened.trials()[0].values == {"accuracy": 0.5, "cost": 100.0}
        directions = [direction.name for direction in opened.study.directions]
        assert directions == ["MAXIMIZE", "MINIMIZE"]


def test_trials_of_another_search_are_refused(tmp_path: Path) -> None:
    """What differs is named; another name begins another search beside it."""
    with board(tmp_path, {"space": NUMBERS}) as opened:
        assert opened.ask() is not None
    with (
        pytest.raises(ConfigError, match=r"search\.study.*\(job differ\).*--set"),
        board(tmp_path, {"space": NUMBERS}, {"job": "1" * 16}),
    ):
        pass
    with board(tmp_path, {"space": NUMBERS, "study": "next"}, {"job": "1" * 16}) as opened:
        assert opened.trials() == []


def test_a_database_that_is_none_gets_one_line(tmp_path: Path) -> None:
    """The file is named, and what to do."""
    (tmp_path / "trials.db").write_bytes(b"not a database at all" * 100)
    with (
        pytest.raises(ValueSimError, match=r"trials\.db cannot be used.*damaged"),
        board(tmp_path, {"storage": f"sqlite:///{tmp_path}/trials.db"}),
    ):
        pass


def test_a_missing_driver_is_told(tmp_path: Path) -> None:
    """Which one, and where it was asked for."""
    pytest.importorskip("sqlalchemy")
    with (
        pytest.raises(ConfigError, match=r"search\.storage.*driver"),
        board(tmp_path, {"storage": "mysql+pymysql://127.0.0.1:9/none"}),
    ):
        pass


def test_the_files_of_a_search_are_their_owners(tmp_path: Path) -> None:
    """Database and journal."""
    for storage in ("sqlite:///{}/trials.db", "journal:{}/trials.log"):
        with board(tmp_path, {"storage": storage.format(tmp_path / "own")}):
            file = tmp_path / "own" / storage.rpartition("/")[2]
            assert file.stat().st_mode & 0o077 == file.parent.stat().st_mode & 0o077 == 0


def test_a_journal_file_holds_the_same(tmp_path: Path) -> None:
    """The same values as in a database, and they are found again."""
    search = {"trials": 5, "startup": 2, "space": NUMBERS}
    database = {**search, "storage": f"sqlite:///{tmp_path}/trials.db"}
    with board(tmp_path, database) as opened:
        calm = run_all(opened)
    with board(tmp_path, search) as opened:
        assert run_all(opened) == calm
    with board(tmp_path, search) as opened:
        assert len(opened.trials()) == 5 and opened.ask() is None


def test_optuna_says_nothing_and_is_left_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its messages would be written between the lines of a search."""
    before = optuna.logging.get_verbosity()
    with board(tmp_path, {"trials": 1, "space": NUMBERS}) as opened:
        run_all(opened)
    assert optuna.logging.get_verbosity() == before
    said = capsys.readouterr()
    assert said.out + said.err == ""


def test_trials_given_back_take_no_place() -> None:
    """Neither in the count nor in what seeds are made of."""
    study = optuna.create_study(sampler=SeededByTrial(1, 2))
    for marks in ({}, {"left_out": "interrupted"}, {}):
        study.add_trial(
            optuna.trial.create_trial(value=1.0, user_attrs=marks, params={}, distributions={})
        )
    assert [trial.number for trial in counted(study)] == [0, 2]
    assert rank(study, 2) == 1 and rank(study, 3) == 2


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """A store, ready, that searches find in their environment."""
    with living_in(tmp_path) as found:
        yield found


def results(text: str) -> list[str]:
    """Return the lines of the tables, without what was paid and how long it took."""
    lines = [line for line in text.splitlines() if line.startswith("|") and "--" not in line]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [", ".join(re.sub(r" / [\d,]+$", "", cell) for cell in row[:-1]) for row in cells]


@pytest.mark.slow
def test_a_search_runs_keeps_and_tells_everything(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run for the search, a child for each trial, arms of the devset, pictures, the text."""
    file = search_file(tmp_path / "tiny.toml", {"trials": 5, "finalists": 1})
    text = run_search(file)
    said = capsys.readouterr().out
    assert "5 trials" in said and "estimate" in said and said.count("\ntrial ") == 5
    assert "## tiny: 5 of 5 trials (5 complete, 0 pruned, 0 failed)" in text
    assert "says nothing about people" in text and "look 1 at this devset" in text
    tracker = tracker_of(store)
    (run_id,) = tracker.find({LEVEL: "search"})
    assert run_id in text
    trials = [run_summary(tracker, found) for found in tracker.find({LEVEL: "trial"})]
    assert sorted(run["tags"][TRIAL] for run in trials) == list("01234")
    assert {run["tags"][PARENT] for run in trials} == {run_id}
    assert {run["tags"][STATE] for run in trials} == {"complete"}
    assert {run["status"] for run in trials} == {"FINISHED"}
    assert all("compile.teleprompter" in run["params"] for run in trials)
    assert all(0 <= run["metrics"]["val.accuracy"] <= 1 for run in trials)
    arms = [run_summary(tracker, found) for found in tracker.find({LEVEL: "arm"})]
    labels = {run["name"] for run in arms}
    assert "rag" in labels and any(label.startswith("trial ") for label in labels)
    assert tracker.read_text(run_id, "search.md") == text
    folder = store / "artifacts" / run_id / "artifacts" / "pictures"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["history.png", "importances.png"]
    assert (store / "optuna.db").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_two_searches_of_one_seed_are_the_same(tmp_path: Path) -> None:
    """In stores and with caches of their own: the same trials, tables and winners."""
    texts = []
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        with living_in(folder):
            texts.append(run_search(search_file(folder / "tiny.toml", {"trials": 4})))
    assert results(texts[0]) == results(texts[1])
    assert len(results(texts[0])) > 4


@pytest.mark.slow
def test_a_search_that_is_done_is_told_again_without_a_call(tmp_path: Path, store: Path) -> None:
    """The same text from the cache, in the same runs; the devset is not looked at anew."""
    file = search_file(tmp_path / "tiny.toml", {"trials": 3})
    first = run_search(file)
    count = len(tracker_of(store).find({}))
    with answered_by(Stopping()) as engine:
        second = run_search(file)
    assert engine.asked == 0
    assert results(first) == results(second) and "look 1 at this devset" in second
    assert len(tracker_of(store).find({})) == count


@pytest.mark.slow
def test_trials_of_a_process_may_be_limited(tmp_path: Path, store: Path) -> None:
    """What is left is told, and the devset is not read before all are done."""
    file = search_file(tmp_path / "tiny.toml", {"trials": 3})
    text = run_search(file, trials=2)
    assert "2 of 3 trials" in text and "The devset is read once all 3 trials" in text
    assert tracker_of(store).find({LEVEL: "arm"}) == []
    assert "3 of 3 trials" in run_search(file)
    with pytest.raises(ConfigError, match="--trials"):
        run_search(file, trials=0)


@pytest.mark.slow
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Ctrl-C amid a trial: the same table as of an undisturbed search, nothing paid twice."""
    calm, home = tmp_path / "calm", tmp_path / "home"
    search = {"trials": 4, "storage": None}
    texts: dict[Path, str] = {}
    whole = Stopping()
    for folder in (calm, home):
        folder.mkdir()
    with living_in(calm), answered_by(whole):
        texts[calm] = run_search(search_file(calm / "tiny.toml", search))
    answered = 0
    with living_in(home) as store:
        file = search_file(home / "tiny.toml", search)
        for at in (3, 9, 14):
            with answered_by(Stopping(at)) as engine, pytest.raises(KeyboardInterrupt):
                run_search(file)
            answered += engine.answered
        tracker = tracker_of(store)
        (run_id,) = tracker.find({LEVEL: "search"})
        assert run_summary(tracker, run_id)["status"] == "KILLED"
        with answered_by(Stopping()) as engine:
            texts[home] = run_search(file)
        assert answered + engine.answered == whole.answered
        assert tracker.find({LEVEL: "search"}) == [run_id]
        trials = [run_summary(tracker, found) for found in tracker.find({LEVEL: "trial"})]
        assert [run["status"] for run in trials] == ["FINISHED"] * 4
    assert results(texts[calm]) == results(texts[home])


@pytest.mark.slow
def test_a_spent_budget_ends_it_in_order(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 3, the best so far on the screen; a larger budget pays for the rest alone."""
    file = str(search_file(tmp_path / "tiny.toml", {"trials": 4}))
    with answered_by(Stopping()) as first:
        assert main(["search", file, "--set", "budget.calls=20"]) == 3
    said = capsys.readouterr()
    assert first.answered == 20
    assert "budget of 20 calls" in said.err and "of 4 trials" in said.out
    tracker = tracker_of(store)
    (run_id,) = tracker.find({LEVEL: "search"})
    found = run_summary(tracker, run_id)
    assert found["status"] == "KILLED" and found["tags"]["stopped"] == "budget"
    # What was paid earlier counts: the same budget again pays nothing.
    with answered_by(Stopping()) as again:
        assert main(["search", file, "--set", "budget.calls=20"]) == 3
    assert again.answered == 0
    with answered_by(Stopping()) as rest:
        assert main(["search", file, "--set", "budget.calls=10000"]) == 0
    assert rest.answered > 0
    found = run_summary(tracker, run_id)
    assert found["status"] == "FINISHED" and found["tags"]["stopped"] == "no"
    assert "4 of 4 trials" in capsys.readouterr().out


class Mute(Stopping):
    """The embedded model, which says nothing that could be read."""

    def complete(self, request: Any) -> Any:
        """Fail every call."""
        self.asked += 1
        raise ValueError("no answer today")


def test_trials_without_answers_fail_and_soon_end_the_search(tmp_path: Path, store: Path) -> None:
    """A dead endpoint must not use up all trials; the first part of the valset shows it."""
    file = search_file(tmp_path / "tiny.toml", {"trials": 9})
    with answered_by(Mute()), pytest.raises(PredictionError, match="3 trials in a row"):
        run_search(file)
    tracker = tracker_of(store)
    trials = [run_summary(tracker, found) for found in tracker.find({LEVEL: "trial"})]
    assert [run["status"] for run in trials] == ["FAILED"] * 3
    assert {run["tags"][STATE] for run in trials} == {"failed"}
    assert all("not answered" in run["tags"]["reason"] for run in trials)


@pytest.mark.slow
def test_values_that_do_not_go_together_fail_their_trial_alone(tmp_path: Path, store: Path) -> None:
    """With the reason in text and run; the others go on."""
    space = {"task_lm.context": [900, 32768], "variant": ["single"]}
    sets = ["task_lm.max_tokens=800"]
    text = run_search(search_file(tmp_path / "tiny.toml", {"trials": 8, "space": space}), sets)
    assert re.search(r"Trial \d failed: task_lm\.context: ", text)
    assert re.search(r"[1-7] complete, 0 pruned, [1-7] failed", text)
    tracker = tracker_of(store)
    reasons = [
        run_summary(tracker, found)["tags"].get("reason", "")
        for found in tracker.find({LEVEL: "trial", STATE: "failed"})
    ]
    assert reasons and all("task_lm.context" in reason for reason in reasons)


@pytest.mark.slow
def test_a_front_of_accuracy_and_cost(tmp_path: Path, store: Path) -> None:
    """Several objectives: no pruning, which is said; the front as a picture."""
    search = {"trials": 4, "objectives": ["accuracy", "cost"], "finalists": 2}
    text = run_search(search_file(tmp_path / "tiny.toml", search))
    assert "The Pareto front" in text and "tokens a case" in text and "does not prune" in text
    (run_id,) = tracker_of(store).find({LEVEL: "search"})
    folder = store / "artifacts" / run_id / "artifacts" / "pictures"
    names = {path.name for path in folder.iterdir()}
    assert names == {"history.png", "importances.png", "importances-cost.png", "front-cost.png"}


@pytest.mark.slow
def test_a_winner_can_be_loaded_from_its_run(tmp_path: Path, store: Path) -> None:
    """What was compiled is kept with its arm's run, as after a job."""
    space = {"compile.teleprompter": ["labeled-few-shot"], "compile.options.k": [1, 2]}
    search = {"trials": 2, "finalists": 1, "space": space}
    text = run_search(search_file(tmp_path / "tiny.toml", search))
    tracker = tracker_of(store)
    (run_id,) = tracker.find({LEVEL: "search"})
    arms = [run_summary(tracker, found) for found in arms_of(tracker, run_id)]
    assert arms
    winners = tracker.find({LEVEL: "arm", "teleprompter": "labeled-few-shot"})
    assert len(winners) == 1 and f"optimize promote {winners[0]}" in text
    from valuesim_dspy.loading import load_program

    program = load_program(f"runs:/{winners[0]}/program")
    assert sum(len(predictor.demos) for predictor in program.predictors()) in (1, 2)


# Run by a process of its own: one process of a search, which says how many calls it made, and may
# be killed at one of them; or says when it makes the first, and waits until it may.
PROCESS = """
import os, signal, sys
from optimize.__main__ import main
from valuesim_dspy.lexical.engine import LexicalEngine

at, answers, waits, *arguments = sys.argv[1:]
left = [int(at)]
complete = LexicalEngine.complete

def counted(self, request):
    if waits and left[0] == int(at):
        print("first call", file=sys.__stdout__, flush=True)
        sys.stdin.readline()
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    reply = complete(self, request)
    with open(answers, "ab", buffering=0) as file:
        file.write(b".")
    return reply

LexicalEngine.complete = counted
sys.exit(main(arguments))
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code: a search whose code changes meanwhile would be another search."""
    folder = tmp_path_factory.mktemp("code")
    for package in ("valuesim_dspy", "evals", "optimize"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    (folder / "process.py").write_text(PROCESS)
    return folder


def start(
    code: Path, home: Path, file: Path, at: int = 10**9, *, waits: bool = False
) -> subprocess.Popen[str]:
    """Start a process of a search, to be killed at a call, or to wait at the first."""
    own = [str(at), str(home / "answers"), "waits" if waits else ""]
    with living_in(home):
        return subprocess.Popen(
            [sys.executable, str(code / "process.py"), *own, "search", str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(code)},
        )


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for a process and return what it said; it must have ended in order."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


@pytest.mark.slow
@pytest.mark.parametrize("storage", [None, "journal:trials.log"])
def test_two_processes_work_on_one_search(tmp_path: Path, code: Path, storage: str | None) -> None:
    """Through a database and through a journal: each trial once, the devset read by the last."""
    search = {"trials": 10, "startup": 10, "storage": storage, "space": NUMBERS_AND_ARMS}
    file = search_file(tmp_path / "tiny.toml", search, protocol={"val": 8, "targets": 4})
    processes = [start(code, tmp_path, file, waits=True) for _ in range(2)]
    # Who starts late would find nothing left to do.
    for process in processes:
        assert process.stdout is not None
        assert "first call\n" in iter(process.stdout.readline, "")
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go on\n")
        process.stdin.flush()
    texts = [ended(process) for process in processes]
    begun = [re.findall(r"^trial (\d+) complete", text, re.M) for text in texts]
    assert all(begun)
    assert sorted(int(number) for numbers in begun for number in numbers) == list(range(10))
    assert any("10 of 10 trials" in text and "look 1 at" in text for text in texts)
    tracker = tracker_of(tmp_path / "mlruns")
    (run_id,) = tracker.find({LEVEL: "search"})
    trials = [
        run_summary(tracker, found) for found in tracker.find({PARENT: run_id, LEVEL: "trial"})
    ]
    assert sorted(int(run["tags"][TRIAL]) for run in trials) == list(range(10))
    assert {run["status"] for run in trials} == {"FINISHED"}
    values = [tuple(sorted(run["params"].items())) for run in trials]
    assert len(set(values)) == len(values)


@pytest.mark.slow
def test_killed_at_any_call_a_search_goes_on(tmp_path: Path, code: Path) -> None:
    """Killed outright, three times: the same table as undisturbed, and nothing is paid twice."""
    texts = {}
    for name, deaths in (("calm", ()), ("home", (5, 35, 9))):
        home = tmp_path / name
        home.mkdir()
        file = search_file(home / "tiny.toml", {"trials": 4, "finalists": 1})
        for at in deaths:
            process = start(code, home, file, at)
            process.communicate(timeout=300)
            assert process.returncode == -signal.SIGKILL
        texts[name] = ended(start(code, home, file))
    assert results(texts["home"]) == results(texts["calm"])
    paid = {name: (tmp_path / name / "answers").stat().st_size for name in texts}
    assert paid["calm"] <= paid["home"] <= paid["calm"] + 3
    tracker = tracker_of(tmp_path / "home" / "mlruns")
    assert len(tracker.find({LEVEL: "search"})) == 1
    trials = [run_summary(tracker, found) for found in tracker.find({LEVEL: "trial"})]
    assert sorted(run["tags"][TRIAL] for run in trials) == list("0123")
    assert {run["status"] for run in trials} == {"FINISHED"}
