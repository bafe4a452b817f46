"""Compile jobs, end to end on a small synthetic study: what they leave, resume, refuse."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest
from jobs import (
    BOOTSTRAP,
    Done,
    Stopping,
    answered_by,
    lexical_server,
    living_in,
    program_bytes,
    run,
    small_job,
    survey_file,
    tracker_of,
)
from models import remote

from evals.past_runs import arms_of, load_predictions, run_summary
from evals.study import Study, build_arm, open_study, open_survey
from evals.tracked_runs import LEVEL
from evals.tracking import Tracker
from optimize.arm_compiling import check_reloaded, compile_arm
from optimize.compile import run_job
from optimize.demo_rendering import demo_counts
from optimize.instruction_scan import Finding
from valuesim_dspy.__main__ import main as valuesim_main
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    PredictionError,
    ProgramStateError,
)
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.lexical.parsing import request_text
from valuesim_dspy.loading import load_program, read_manifest, save_program

pytestmark = pytest.mark.slow

ARMS = ["rag", "country-mode", "full", "rag compiled", "full compiled"]
SEARCH = {
    "teleprompter": "bootstrap-random-search",
    "options": {"max_demos": 2, "candidates": 1},
    "arms": [],
}


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A finished job with labeled demos."""
    return run(tmp_path_factory.mktemp("labeled"), small_job())


@pytest.fixture(scope="module")
def bootstrapped(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A finished, undisturbed job with bootstrapped demos."""
    return run(tmp_path_factory.mktemp("bootstrapped"), small_job(compile=BOOTSTRAP))


@pytest.fixture(scope="module")
def tracker(labeled: Done) -> Tracker:
    """The tracker of the labeled job's store."""
    return labeled.tracker


@pytest.fixture(scope="module")
def arms(labeled: Done, tracker: Tracker) -> dict[str, dict[str, Any]]:
    """Label to run of the labeled job."""
    found = [run_summary(tracker, arm) for arm in arms_of(tracker, labeled.job.run_id)]
    return {summary["name"]: summary for summary in found}


@pytest.fixture(scope="module")
def unused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to live in whose store stays empty."""
    return tmp_path_factory.mktemp("unused")


@pytest.fixture
def study() -> Iterator[Study]:
    """A study of the small job, its cache in memory."""
    with open_study(small_job(), cache=ResponseCache()) as opened:
        yield opened


def digesting(request: Any) -> dict[str, Any]:
    """Answer so that any change of the prompt changes the analysis."""
    return {
        "backstory": "You are somebody.",
        "analysis": hashlib.sha256(request_text(request).encode()).hexdigest(),
        "answer": 1,
    }


def test_a_job_is_one_run_with_a_child_for_every_arm(
    labeled: Done, tracker: Tracker, arms: dict[str, dict[str, Any]]
) -> None:
    """Baselines, the uncompiled program and what was compiled: each once, all finished."""
    assert tracker.find({LEVEL: "job"}) == [labeled.job.run_id]
    assert sorted(arms) == sorted(ARMS)
    assert len(arms_of(tracker, labeled.job.run_id)) == len(ARMS)
    assert {arm["status"] for arm in arms.values()} == {"FINISHED"}
    assert run_summary(tracker, labeled.job.run_id)["status"] == "FINISHED"


def test_every_arm_has_the_headline_with_its_interval_and_costs(
    labeled: Done, arms: dict[str, dict[str, Any]]
) -> None:
    """The devset's accuracy is the headline, the valset's stands apart; calls are counted."""
    for result in labeled.job.results:
        metrics = arms[result.label]["metrics"]
        accuracy = result.frame["correct"].mean()
        assert metrics["accuracy"] == pytest.approx(accuracy, rel=1e-4)
        assert metrics["accuracy_low"] <= metrics["accuracy"] <= metrics["accuracy_high"]
        assert 0 <= metrics["val.accuracy"] <= 1
        assert metrics["calls_needed"] >= metrics["calls_paid"]
        assert arms[result.label]["params"]["arm"] == result.label
    # 12 cases: a call each for RAG, but for equal requests; three perspectives, and six stories,
    # for the program.
    rag = arms["rag"]["metrics"]
    assert 0 < rag["calls_paid"] <= rag["calls_needed"] <= 12
    assert arms["full"]["metrics"]["calls_needed"] >= 3 * 12 + 6
    assert arms["country-mode"]["metrics"]["calls_needed"] == 0


def test_the_difference_to_rag_is_of_the_same_cases(
    labeled: Done, arms: dict[str, dict[str, Any]]
) -> None:
    """Every cold arm but RAG itself has it, with an interval around it; no warm one has."""
    found = {result.label: result.frame["correct"].mean() for result in labeled.job.results}
    for label, arm in arms.items():
        metrics = arm["metrics"]
        if label == "rag" or arm["params"]["knows"] == "warm":
            assert "accuracy_minus_rag" not in metrics
            continue
        gap = pytest.approx(found[label] - found["rag"], abs=1e-4)
        assert metrics["accuracy_minus_rag"] == gap
        assert metrics["accuracy_minus_rag_low"] <= metrics["accuracy_minus_rag_high"]


def test_predictions_are_kept_under_salted_keys(
    labeled: Done, tracker: Tracker, arms: dict[str, dict[str, Any]]
) -> None:
    """One row a case, the same cases for every arm, and no interview number."""
    survey = open_survey(small_job().data)
    cases = set()
    for arm in arms.values():
        frame = load_predictions(tracker, arm["run_id"])
        cases.add(tuple(zip(frame["respondent"], frame["question"], frame["truth"], strict=True)))
        assert len(frame) == 12
        assert not set(frame["respondent"]) & set(survey.ids)
    assert len(cases) == 1
    keys = {respondent.key(survey.digest) for respondent in survey}
    assert {key for key, _, _ in cases.pop()} <= keys
    assert {"view_cognitive", "decision"} <= set(
        load_predictions(tracker, arms["full"]["run_id"]).columns
    )


def test_the_table_is_kept_as_it_was_printed(labeled: Done, tracker: Tracker) -> None:
    """RAG comes first, everything compiled behind it, and the warning that nothing is ranked."""
    assert tracker.read_text(labeled.job.run_id, "table.md") == labeled.job.table
    rows = [line.split("|")[1].strip() for line in labeled.job.table.splitlines() if "|" in line]
    assert [row for row in rows if row in ARMS] == [
        *("rag", "rag compiled", "full", "full compiled", "country-mode")
    ]
    assert "says nothing about people" in labeled.job.table
    assert "cold" in labeled.job.table.lower() and "warm" in labeled.job.table.lower()


def test_config_digests_and_versions_are_kept(labeled: Done, tracker: Tracker) -> None:
    """Enough to run the job again: the resolved config, fold, split, data, versions, seed."""
    run_id = labeled.job.run_id
    assert json.loads(tracker.read_text(run_id, "config.json")) == small_job().resolved()
    manifest = json.loads(tracker.read_text(run_id, "details.json"))["manifest"]
    assert manifest["fold"]["digest"] and manifest["split"]["digest"] and manifest["data"]["digest"]
    assert manifest["evidence"] == "synthetic-machinery"
    usage = json.loads(tracker.read_text(run_id, "usage.json"))
    assert usage["paid"]["calls"] == labeled.engine.answered


def test_what_failed_at_its_first_call_left_its_config(tmp_path: Path) -> None:
    """Config and digests are in the run before anything is asked."""
    engine = Stopping(1, OSError("nobody is there"))
    with pytest.raises(PredictionError, match="no case was answered"):
        run(tmp_path, small_job(task_lm={"num_retries": 0}), engine)
    assert engine.asked > 0 and engine.answered == 0
    left = tracker_of(tmp_path / "mlruns")
    (run_id,) = left.find({LEVEL: "job"})
    assert run_summary(left, run_id)["status"] == "FAILED"
    assert json.loads(left.read_text(run_id, "config.json"))["name"] == "small"
    assert "digest" in left.read_text(run_id, "details.json")
    assert run_summary(left, run_id)["tags"]["fold"] == "battery-1of5"
    measured = {
        s["name"]: s["metrics"] for s in (run_summary(left, a) for a in arms_of(left, run_id))
    }
    assert measured["rag"]["coverage"] == 0 and "accuracy" not in measured["rag"]


def test_the_program_is_an_artifact_that_answers_as_before(
    labeled: Done, tracker: Tracker, arms: dict[str, dict[str, Any]]
) -> None:
    """Loaded by its run it gives, case by case, the predictions that the table counted."""
    arm = arms["full compiled"]
    with living_in(labeled.store.parent), open_study(small_job()) as study:
        program = load_program(f"runs:/{arm['run_id']}/program")
        told = [program(case=example.case) for example in study.examples("dev")]
        assert study.meter.paid.calls == 0
    frame = load_predictions(tracker, arm["run_id"])
    assert [int(prediction.answer) for prediction in told] == frame["answer"].tolist()
    assert [prediction.decision for prediction in told] == frame["decision"].tolist()
    assert program.manifest.scores["dev accuracy"] == pytest.approx(frame["correct"].mean())


def test_files_of_a_job_are_for_their_owner_only(bootstrapped: Done, labeled: Done) -> None:
    """Programs and logs hold answers of people."""
    for done in (bootstrapped, labeled):
        for kind in ("programs", "logs"):
            folder = done.store / kind
            files = [path for path in folder.rglob("*") if path.is_file()]
            assert all(path.stat().st_mode & 0o077 == 0 for path in files)
            assert all(path.stat().st_mode & 0o077 == 0 for path in folder.glob("*"))
    assert len(list((bootstrapped.store / "logs").rglob("*.log"))) == 2


@pytest.mark.parametrize("fixture", ["labeled", "bootstrapped"])
def test_demos_are_condensed_and_hold_nobody(request: pytest.FixtureRequest, fixture: str) -> None:
    """A few facts each, no backstory, no case, no key and no id; the writer gets none."""
    done: Done = request.getfixturevalue(fixture)
    survey, program = open_survey(small_job().data), load_program(done.program)
    counts = demo_counts(program)
    assert {"panel.cognitive.answer", "panel.behavioral.answer"} <= set(counts)
    assert max(counts.values()) <= 3 and "writer.backstory" not in counts
    for _, predictor in program.named_predictors():
        for demo in predictor.demos:
            assert 1 <= len(demo["facts"].splitlines()) <= 12
            assert not {"backstory", "case"} & set(demo.keys())
            assert {type(value) for value in dict(demo).values()} <= {str, int, bool}
            assert demo["analysis"].strip() and demo["question"].strip()
    text = "".join(content.decode() for content in program_bytes(done.program).values())
    held = [*survey.ids, *(respondent.key(survey.digest) for respondent in survey)]
    assert not [name for name in held if name in text]
    assert read_manifest(done.program).demos_hold_survey_data is False


@pytest.mark.slow
def test_random_search_chooses_among_what_it_scored(tmp_path: Path) -> None:
    """The curve of candidates is in the arm's run, and the one kept has the best score."""
    done = run(tmp_path, small_job(compile=SEARCH))
    arms = {s["name"]: s for s in (run_summary(done.tracker, a) for a in _arms(done))}
    assert sorted(arms) == ["country-mode", "full", "full compiled", "rag"]
    client, run_id = done.tracker.client, arms["full compiled"]["run_id"]
    curve = [p.value for p in client.get_metric_history(run_id, "candidate_val_accuracy")]
    # Uncompiled, in the shuffled trainset's order, and one shuffle.
    assert len(curve) == 3
    assert curve[0] == pytest.approx(arms["full"]["metrics"]["val.accuracy"], rel=1e-4)
    assert arms["full compiled"]["metrics"]["val.accuracy"] == pytest.approx(max(curve), rel=1e-4)
    assert "the valset chose the candidate" in done.job.table
    assert read_manifest(done.program).teleprompter == "bootstrap-random-search"


def _arms(done: Done) -> list[str]:
    return arms_of(done.tracker, done.job.run_id)


@pytest.mark.slow
def test_the_valset_may_prefer_the_uncompiled_program(tmp_path: Path) -> None:
    """A teleprompter that selects nothing cannot make the program worse on the valset."""

    def spoiled_by_demos(request: Any) -> dict[str, Any]:
        code = 1 if len(request.messages) == 1 else 999
        return {"backstory": "You are you.", "analysis": "So it is.", "answer": code}

    with living_in(tmp_path) as store, answered_by(ScriptedEngine(spoiled_by_demos)):
        survey = survey_file(tmp_path / "s.csv")
        job = run_job(small_job(data={"survey": str(survey)}, baselines=[], compile={"arms": []}))
    done = Done(job, store, Stopping())
    assert "the valset prefers the uncompiled program, which is kept" in job.table
    assert demo_counts(load_program(done.program)) == {}
    manifest = read_manifest(done.program)
    assert manifest.evidence == "survey" and not manifest.demos_hold_survey_data
    before, after = job.results
    assert before.frame["answer"].tolist() == after.frame["answer"].tolist() == [1] * 12
    assert run_summary(done.tracker, _arms(done)[-1])["metrics"]["calls_paid"] == 0


def test_a_finished_job_run_again_pays_nothing_and_stays_one_run(
    tmp_path: Path, labeled: Done
) -> None:
    """The run and its children are continued; the program's bytes are the same."""
    before, children = program_bytes(labeled.program), sorted(_arms(labeled))
    home = Path(shutil.copytree(labeled.store.parent, tmp_path / "home"))
    again = run(home, small_job())
    assert again.engine.asked == 0
    assert again.job.run_id == labeled.job.run_id
    assert sorted(_arms(again)) == children
    assert program_bytes(again.program) == before
    assert again.program.name == labeled.program.name == "full"
    assert again.tracker.find({LEVEL: "job"}) == [labeled.job.run_id]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.01, 0.4, 0.8, 0.999])
def test_an_interrupted_job_goes_on_where_it_was(
    tmp_path: Path, bootstrapped: Done, share: float
) -> None:
    """Interrupted while measuring or compiling: the same program, run and sum of paid calls."""
    config, whole = small_job(compile=BOOTSTRAP), bootstrapped.engine.answered
    first = Stopping(1 + int(share * whole))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, config, first)
    left = tracker_of(tmp_path / "mlruns")
    (run_id,) = left.find({LEVEL: "job"})
    assert run_summary(left, run_id)["status"] == "KILLED"
    second = run(tmp_path, config)
    assert first.answered + second.engine.answered == whole
    assert second.job.run_id == run_id
    assert len(_arms(second)) == len(ARMS)
    for name, folder in bootstrapped.job.programs.items():
        assert program_bytes(second.job.programs[name]) == program_bytes(folder)
    assert _scores(second) == _scores(bootstrapped)


def _scores(done: Done) -> list[tuple[str, float, float]]:
    return [
        (result.label, result.metrics["accuracy"], result.needed.calls)
        for result in done.job.results
    ]


@pytest.mark.slow
def test_a_spent_budget_stops_and_a_larger_one_pays_the_rest(tmp_path: Path, labeled: Done) -> None:
    """Never a call above the limit; the budget is no part of what the job is."""
    whole = labeled.engine.answered
    first, second = Stopping(), Stopping()
    with pytest.raises(BudgetExceededError, match="50 calls"):
        run(tmp_path, small_job(budget={"calls": 50}), first)
    assert first.answered == 50
    done = run(tmp_path, small_job(budget={"calls": whole}), second)
    assert second.answered == whole - 50
    assert len(done.tracker.find({LEVEL: "job"})) == 1
    assert program_bytes(done.program) == program_bytes(labeled.program)


def test_a_budget_also_ends_the_compiling(tmp_path: Path, bootstrapped: Done) -> None:
    """A teleprompter, which takes every error for a failed example, cannot go on either."""
    measured = sum(
        result.needed.calls for result in bootstrapped.job.results if "compiled" not in result.label
    )
    engine = Stopping()
    config = small_job(compile=BOOTSTRAP, budget={"calls": measured + 30})
    with pytest.raises(BudgetExceededError):
        run(tmp_path, config, engine)
    assert engine.answered == measured + 30


@pytest.mark.slow
@pytest.mark.parametrize("left", ["nothing", "references", "one arm"])
def test_at_its_budget_a_job_ends_in_order(
    tmp_path: Path, bootstrapped: Done, capsys: pytest.CaptureFixture[str], left: str
) -> None:
    """The best program so far of each arm is saved, what was measured printed, the run marked."""
    needed = {result.label: result.needed.calls for result in bootstrapped.job.results}
    calls = {
        "nothing": 3,
        # The valset takes 8 calls of RAG and 3 * 8 + 4 of the program, beside what is said here.
        "references": needed["rag"] + 8 + 20,
        "one arm": bootstrapped.engine.answered - 5,
    }[left]
    with pytest.raises(BudgetExceededError):
        run(tmp_path, small_job(compile=BOOTSTRAP, budget={"calls": calls}))
    tracker = tracker_of(tmp_path / "mlruns")
    (run_id,) = tracker.find({LEVEL: "job"})
    summary = run_summary(tracker, run_id)
    assert (summary["status"], summary["tags"]["stopped"]) == ("KILLED", "budget")
    table, printed = tracker.read_text(run_id, "table.md"), capsys.readouterr().out
    assert table in printed and f"stopped: the budget of {calls} calls is spent" in table
    assert ("Nothing was measured" in table) is (left == "nothing")
    assert ("rag compiled" in _rows(table)) is (left == "one arm")
    assert "full compiled" not in _rows(table)
    folders = {folder.name: folder for folder in (tmp_path / "mlruns/programs").glob("*/*")}
    assert set(folders) == {"rag", "full"}
    assert all(f"{name}, the best so far: {folder}" in printed for name, folder in folders.items())
    assert read_manifest(folders["full"]).teleprompter == (
        "bootstrap" if left == "one arm" else "none"
    )
    assert "the best program so far is kept" in table
    costs = json.loads(tracker.read_text(run_id, "costs.json"))
    assert costs["all"]["paid"]["calls"] == calls
    # Again with as little, nothing more is paid; with enough, it is as if nothing had happened.
    again = Stopping()
    with pytest.raises(BudgetExceededError):
        run(tmp_path, small_job(compile=BOOTSTRAP, budget={"calls": calls}), again)
    assert again.answered == 0
    done = run(tmp_path, small_job(compile=BOOTSTRAP))
    assert done.job.run_id == run_id
    assert run_summary(tracker, run_id)["tags"]["stopped"] == "no"
    assert run_summary(tracker, run_id)["status"] == "FINISHED"
    assert program_bytes(done.program) == program_bytes(bootstrapped.program)


def _rows(table: str) -> list[str]:
    return [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]


def test_the_paid_calls_of_all_processes_are_told(tmp_path: Path, labeled: Done) -> None:
    """A job that is run again paid what it paid: in its runs, in its table, in its costs."""
    home = Path(shutil.copytree(labeled.store.parent, tmp_path / "home"))
    again = run(home, small_job())
    assert again.engine.asked == 0
    costs = json.loads(again.tracker.read_text(again.job.run_id, "costs.json"))
    assert costs["all"]["paid"]["calls"] == labeled.engine.answered
    for first, second in zip(labeled.job.results, again.job.results, strict=True):
        assert first.label == second.label and first.paid == second.paid
    paid = {
        s["name"]: s["metrics"]["calls_paid"]
        for s in (run_summary(again.tracker, a) for a in _arms(again))
    }
    assert paid == {result.label: result.paid.calls for result in labeled.job.results}
    assert paid["full"] > 0


def test_predicted_and_actual_costs_are_in_the_table_and_the_run(
    labeled: Done, tracker: Tracker
) -> None:
    """Every phase of the estimate, with what it took."""
    costs = json.loads(tracker.read_text(labeled.job.run_id, "costs.json"))
    rows = _rows(labeled.job.table)
    assert {"measuring rag", "compiling full", "measuring full compiled"} <= set(costs["phases"])
    for name, entry in costs["phases"].items():
        assert name in rows
        low, high = entry["predicted"]["calls"]
        assert low <= entry["needed"]["calls"] <= high
    assert "Predicted and actual cost" in labeled.job.table


def test_quotes_of_people_stay_in_the_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note names the file; neither table nor run holds a word of them."""
    quote = "you are proud of nothing at all"

    def found(*given: Any, **known: Any) -> Any:
        compiled = compile_arm(*given, **known)
        return replace(compiled, findings=(Finding("panel.cognitive.answer", "fact", 7, quote),))

    monkeypatch.setattr("optimize.job_steps.compile_arm", found)
    done = run(tmp_path, small_job(baselines=["rag"], variant="single", compile={"arms": []}))
    (file,) = (done.store / "logs").rglob("single.findings.jsonl")
    assert file.stat().st_mode & 0o077 == 0
    assert json.loads(file.read_text())["quote"] == quote
    assert "single.findings.jsonl" in done.job.table and quote not in done.job.table
    for path in (done.store / "artifacts").rglob("*"):
        assert path.is_dir() or quote not in path.read_text(errors="replace")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"variant": "nosuch"}, "variant: 'nosuch' is no variant"),
        ({"compile": {"arms": ["nosuch"]}}, "compile.arms: 'nosuch'"),
        ({"compile": {"arms": ["mode"]}}, "no predictor"),
        ({"baselines": ["nosuch"]}, "nosuch"),
        ({"compile": {"teleprompter": "nosuch"}}, "bootstrap-random-search"),
        ({"compile": {"options": {"kk": 3}}}, "training cases that become demos"),
        ({"compile": {"options": {"k": 0}}}, "compile.options.k"),
        ({"compile": {"demos": "none"}}, "compile.demos"),
        ({"protocol": {"val": 0}}, "valset is empty"),
        ({"protocol": {"dev": 0}}, "devset is empty"),
        ({"protocol": {"train": 0}}, "trainset is empty"),
        ({"protocol": {"train": 400}}, "more than the 250 people"),
        ({"task_lm": {"context": 3000, "max_tokens": 500}}, "task_lm.context"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_paid(
    unused: Path, changes: dict[str, Any], said: str
) -> None:
    """One line that names the key; no call was made and no run was begun."""
    engine = Stopping()
    with pytest.raises(ConfigError) as caught:
        run(unused, small_job(**changes), engine)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert engine.asked == 0
    assert tracker_of(unused / "mlruns").find({LEVEL: "job"}) == []


def test_a_saved_program_is_not_compiled_over(tmp_path: Path, labeled: Done) -> None:
    """A folder given as the variant is refused, and stays as it was."""
    before = program_bytes(labeled.program)
    with pytest.raises(ConfigError, match="no variant and no baseline"):
        run(tmp_path, small_job(variant=str(labeled.program)))
    assert program_bytes(labeled.program) == before


def _saved(study: Study, folder: Path, question: str = "Whom do you trust?") -> dspy.Module:
    program = build_arm(study, "single")
    demo = {"facts": "- You live in Japan.", "history": "(no later answers)", "question": question}
    demo |= {"options": "1: A\n2: B", "analysis": "Nothing says more.", "answer": 2}
    program.direct.answer.demos = [dspy.Example(**demo)]
    save_program(program, folder, study.manifest("valuesim", "single"))
    return program


def test_a_reloaded_program_is_held_against_the_original(tmp_path: Path) -> None:
    """What was saved passes; with one word of a demo changed it does not."""
    folder = tmp_path / "program"
    with (
        answered_by(ScriptedEngine(digesting)),
        open_study(small_job(), cache=ResponseCache()) as study,
    ):
        program = _saved(study, folder)
        check_reloaded(study, program, folder)
        file = folder / "program.json"
        file.write_text(file.read_text().replace("Nothing says more.", "Nothing says less."))
        with pytest.raises(ProgramStateError, match=r"answers Q.* differently"):
            check_reloaded(study, program, folder)


def test_a_job_whose_program_does_not_load_as_it_was_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written is what is checked: the job ends, and no program is in its runs."""

    def spoiled(*given: Any, **known: Any) -> Path:
        saved = save_program(*given, **known)
        file = saved / "program.json"
        file.write_text(file.read_text().replace("The option this person", "An option nobody"))
        return saved

    monkeypatch.setattr("optimize.arm_compiling.save_program", spoiled)
    config = small_job(variant="single", baselines=[], compile={"arms": []})
    with (
        living_in(tmp_path) as store,
        answered_by(ScriptedEngine(digesting)),
        pytest.raises(ProgramStateError, match="differently"),
    ):
        run_job(config)
    tracker = tracker_of(store)
    (run_id,) = tracker.find({LEVEL: "job"})
    assert run_summary(tracker, run_id)["status"] == "FAILED"
    assert not list((store / "artifacts").rglob("program.json"))


def test_a_compiled_program_is_asked_by_its_run(
    labeled: Done, arms: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """`valuesim ask` takes the run of an arm, and the folder, for the program."""
    me = labeled.store.parent / "me.toml"
    me.write_text('country = "JPN"\n[answers]\nQ46 = 1\nQ57 = 2\n')
    said = []
    with living_in(labeled.store.parent):
        for program in (f"runs:/{arms['full compiled']['run_id']}/program", labeled.program):
            words = ["--person", me, "--question", "Q69", "--program", program, "--why"]
            assert valuesim_main(["ask", *map(str, words)]) == 0
            said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "cognitive: " in said[0]


def test_an_endpoint_that_fails_now_and_then_does_not_spoil_a_save(tmp_path: Path) -> None:
    """Failures differ from one time to the next; only answers are compared."""
    asked = []

    def flaky(request: Any) -> dict[str, Any]:
        asked.append(request)
        if len(asked) % 2:
            raise dspy.LMServerError("busy", status=500)
        return digesting(request)

    config = small_job(task_lm={"num_retries": 0})
    with (
        answered_by(ScriptedEngine(flaky)),
        open_study(config, cache=ResponseCache()) as study,
    ):
        check_reloaded(study, _saved(study, tmp_path / "program"), tmp_path / "program")
    assert len(asked) > len(study.examples("dev"))


def test_compiled_here_it_answers_through_a_server(labeled: Done, study: Study) -> None:
    """A program compiled with the embedded model works with another one, demos and all."""
    program, example = load_program(labeled.program), study.examples("dev")[0]
    expected = program(case=example.case)
    with lexical_server() as server, dspy.context(lm=remote(server)):
        answered = program(case=example.case)
    assert dict(answered) == dict(expected)
    assert 4 <= len(server.requests) <= 5
    demo = program.panel.cognitive.answer.demos[0]["question"]
    prompts = [json.dumps(request["messages"]) for request in server.requests]
    assert sum(demo in prompt for prompt in prompts) >= 1
