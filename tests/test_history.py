"""`evals history`: what it prints, keeps and continues, and whom it asks what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dspy
import pytest
from jobs import Stopping, answered_by, lexical_server, living_in, small_job
from people import example as made_example

from evals.benchmark import run_benchmark
from evals.growing import GROWTHS, ORDERS, SHARES
from evals.history import DATA, PICTURE, ROWS, run_history, sampled
from evals.past_runs import arms_of, count_reading, load_predictions, run_summary
from evals.study import build_arm, open_study
from evals.tracking import Tracker
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import BudgetExceededError, ConfigError, MissingDataError

pytestmark = pytest.mark.slow

PEOPLE, TARGETS = 2, 1
ARMS = ("single", "rag", "nearest-respondents")


@dataclass(frozen=True, eq=False)
class Ran:
    """A run: its text, the engine that answered and the report that was kept."""

    text: str
    engine: Stopping
    report: str = ""


def job(**changes: Any) -> JobConfig:
    """Return a small job with enough training people to learn an order from."""
    protocol = {"train": 12, "val": 2, "dev": 3, "test": 3, "targets": 2}
    return small_job(**{"variant": "single", "protocol": protocol, **changes})


def go(config: JobConfig, role: str = "dev", **known: Any) -> Ran:
    """Run it with the embedded model, whose calls are counted."""
    engine = known.pop("engine", None) or Stopping()
    with answered_by(engine):
        return Ran(run_history(config, role, people=PEOPLE, targets=TARGETS, **known), engine)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds store and cache for the whole module."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def store(home: Path) -> Iterator[Path]:
    """Keep everything a test runs in that folder."""
    with living_in(home) as folder:
        yield folder


@pytest.fixture(scope="module")
def ran(home: Path) -> Ran:
    """The curves of a small devset."""
    with living_in(home):
        made, tracker = go(job()), Tracker()
        # Read before other tests run the job again.
        return replace(made, report=tracker.read_text(the_job(tracker), "table.md"))


def the_job(tracker: Tracker) -> str:
    """Return the id of the store's only job."""
    (found,) = tracker.find({"valuesim.level": "job"})
    return found


def children(tracker: Tracker) -> dict[str, dict[str, Any]]:
    """Return the runs of arms of the store's only job by name."""
    found = arms_of(tracker, the_job(tracker))
    return {s["name"]: s for s in (run_summary(tracker, arm) for arm in found)}


def points(tracker: Tracker, run_id: str, metric: str) -> dict[int, float]:
    """Return a logged curve: step to value."""
    return {p.step: p.value for p in tracker.client.get_metric_history(run_id, metric)}


def tables(text: str) -> list[list[list[str]]]:
    """Return the Markdown tables of a text, cells stripped, rules left out."""
    found: list[list[list[str]]] = []
    before = ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            if not line.startswith("| ---"):
                found[-1].append([cell.strip() for cell in line.split("|")[1:-1]])
        before = line
    return found


@pytest.mark.slow
def test_the_report_has_tables_for_each_way_to_grow_cold_and_warm(ran: Ran) -> None:
    """Every arm, order and point is there, and cold and warm never meet in a table."""
    found = tables(ran.text)
    assert len(found) == 2 * len(GROWTHS) * 2
    accuracy = [table for table in found if table[0][2].endswith("known")]
    assert [{row[0] for row in table[1:]} for table in accuracy] == [
        {"single", "rag"},
        {"nearest-respondents"},
    ] * len(GROWTHS)
    for table in accuracy:
        assert len(table[0]) == 2 + len(SHARES)
        assert {row[1] for row in table[1:]} == set(ORDERS)
    slopes = [table for table in found if table not in accuracy]
    assert ["single minus it" in table[0] for table in slopes] == [True, False] * len(GROWTHS)
    assert "all orders" in {row[1] for row in slopes[0]}


@pytest.mark.slow
def test_the_report_says_what_it_is_and_what_was_drawn(ran: Ran) -> None:
    """That it is machinery, whether something is learned, who was asked, and what it cost."""
    text = " ".join(ran.text.split())
    assert "this table shows that the machinery works" in text
    assert "Where the profile grows, the slope of single minus that of RAG is" in text
    assert "Where the profile is fixed at 40 answers and the history grows, single" in text
    assert "2 of the devset's 3 people, 2 of its 6 cases" in text
    assert "Warning: with 2 people the intervals are too narrow" in text
    assert "rag: " in text
    assert "calls needed" in text
    assert "minus that of nearest" not in text


@pytest.mark.slow
def test_each_arm_and_order_is_a_run_whose_curve_has_steps(ran: Ran) -> None:
    """The steps are the answers known; the first and the last are the same in all orders."""
    assert ran.text
    tracker = Tracker()
    found = children(tracker)
    assert set(found) == {f"{arm}, {order}" for arm in ARMS for order in ORDERS}
    assert {summary["status"] for summary in found.values()} == {"FINISHED"}
    ends = set()
    for order in ORDERS:
        summary = found[f"rag, {order}"]
        curve = points(tracker, summary["run_id"], "profile.accuracy")
        assert len(curve) == len(SHARES)
        assert min(curve) == 0
        assert max(curve) > 150
        ends.add((curve[min(curve)], curve[max(curve)]))
        later = points(tracker, summary["run_id"], "history.accuracy")
        assert min(later) == 40
        assert summary["metrics"]["profile.coverage"] == 1.0
        assert summary["params"]["people"] == "2"
    assert len(ends) == 1
    assert found["nearest-respondents, asked"]["params"]["knows"] == "warm"


@pytest.mark.slow
def test_the_last_point_is_the_ordinary_benchmark(ran: Ran) -> None:
    """With all known, the answers are those of `evals run` on the same cases."""
    assert ran.text
    tracker = Tracker()
    kept = load_predictions(tracker, children(tracker)["rag, asked"]["run_id"])
    with open_study(job(), cache=ResponseCache()) as study:
        asked = sampled(study.examples("dev"), PEOPLE, TARGETS, 42)
        result = run_benchmark(study, "rag", build_arm(study, "rag"), "dev", examples=asked)
    columns = ["respondent", "question", "truth", "answer", "correct"]
    assert kept[columns].values.tolist() == result.frame[columns].values.tolist()


@pytest.mark.slow
def test_all_rows_of_a_curve_are_kept_for_whoever_wants_another_slope(ran: Ran) -> None:
    """One row for each case and point."""
    assert ran.text
    tracker = Tracker()
    run_id = children(tracker)["single, random"]["run_id"]
    rows = load_predictions(tracker, run_id, ROWS)
    assert len(rows) == PEOPLE * TARGETS * len(SHARES) * len(GROWTHS)
    assert set(rows["growth"]) == set(GROWTHS)
    assert sorted(set(rows["share"])) == list(SHARES)


@pytest.mark.slow
def test_the_job_keeps_report_numbers_and_picture(ran: Ran, store: Path) -> None:
    """Aggregates only: no key of a person is in them."""
    tracker = Tracker()
    run_id = the_job(tracker)
    assert len(ran.report) > 1000 and ran.text.startswith(ran.report)
    data = json.loads(tracker.read_text(run_id, DATA))
    assert len(data["points"]) == len(ARMS) * len(ORDERS) * len(GROWTHS) * len(SHARES)
    assert {gap["rival"] for gap in data["differences"]} == {"rag"}
    (picture,) = store.glob(f"**/{PICTURE}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    logged = run_summary(tracker, run_id)["metrics"]
    gaps = {gap["growth"]: gap["difference"] for gap in data["differences"]}
    for growth in GROWTHS:
        assert logged[f"{growth}.slope_minus_rag"] == pytest.approx(gaps[growth], abs=1e-4)
    with open_study(job(), cache=ResponseCache()) as study:
        keys = {ex.case.profile.key for ex in study.examples("dev")}
    assert not any(key in text for key in keys for text in (ran.report, json.dumps(data)))


@pytest.mark.slow
def test_no_request_ever_tells_the_answer_to_what_is_asked(ran: Ran) -> None:
    """Of the question that is put, no fact and no later answer is in the prompt."""
    with open_study(job(), cache=ResponseCache()) as study:
        targets = {ex.case.question for ex in study.examples("dev")}
        told = [q.fact_text(code, None) for q in targets for code in q.codes]
        people = sampled(study.examples("dev"), PEOPLE, TARGETS, 42)
        facts = [fact.text for ex in people for fact in ex.case.profile.facts[1:]]
    asked = [str(request.messages) for request in ran.engine.requests]
    assert len(asked) > 50
    assert all(any(fact in prompt for prompt in asked) for fact in facts)
    assert not [text for text in told for prompt in asked if text in prompt]


@pytest.mark.slow
def test_the_same_job_again_gives_the_same_report_and_pays_nothing(ran: Ran) -> None:
    """It is continued: no run doubles, and no call is made that a cache can answer."""
    tracker = Tracker()
    before = len(tracker.runs({}))
    again = go(job())
    assert again.engine.asked == 0
    assert len(tracker.runs({})) == before
    assert _plain(again.text) == _plain(ran.text)


@pytest.mark.slow
def test_a_job_that_was_stopped_goes_on(ran: Ran, tmp_path: Path) -> None:
    """What was answered is not asked again, and the report is that of an undisturbed run."""
    with living_in(tmp_path):
        with pytest.raises(KeyboardInterrupt):
            go(job(), engine=Stopping(at=60))
        tracker = Tracker()
        stopped = the_job(tracker)
        assert run_summary(tracker, stopped)["status"] == "KILLED"
        assert set(children(tracker)) < {f"{arm}, {order}" for arm in ARMS for order in ORDERS}
        done = go(job())
        assert the_job(tracker) == stopped
        assert done.engine.asked == ran.engine.asked - 59
        assert _plain(done.text) == _plain(ran.text)


@pytest.mark.slow
def test_a_spent_budget_keeps_the_curves_that_are_done(
    ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run says so, whole arms are printed and kept, and a larger budget goes on."""
    with living_in(tmp_path):
        with pytest.raises(BudgetExceededError):
            go(job(budget={"calls": ran.engine.asked - 5}))
        tracker = Tracker()
        summary = run_summary(tracker, the_job(tracker))
        assert (summary["status"], summary["tags"]["stopped"]) == ("KILLED", "budget")
        table = tracker.read_text(the_job(tracker), "table.md")
        assert "| single " in table and "| rag " not in table and "stopped: the budget" in table
        assert table in capsys.readouterr().out
        assert {"single, random", "single, informative"} <= set(children(tracker))
        done = go(job(budget={"calls": 10_000}))
        assert run_summary(tracker, the_job(tracker))["tags"]["stopped"] == "no"
        assert done.engine.asked == 5
        assert _plain(done.text) == _plain(ran.text)


def _plain(text: str) -> list[str]:
    """Return the lines that do not tell of the run itself: its id, and what was paid."""
    return [line for line in text.splitlines() if "MLflow run" not in line and " paid" not in line]


@pytest.mark.slow
def test_an_estimate_comes_before_the_first_call(capsys: pytest.CaptureFixture[str]) -> None:
    """Above the limit a word of consent is wanted, and nothing was asked."""
    with lexical_server() as server:
        lm = {"model": "openai/test", "api_base": server.url}
        with pytest.raises(ConfigError, match="pass --yes"):
            run_history(job(task_lm=lm, confirm_calls=10), "dev", people=1, targets=1)
        assert server.requests == []
    said = capsys.readouterr().out
    assert "estimate, nothing of it cached" in said
    assert "nearest-respondents" in said


def test_two_points_of_one_order_are_a_whole_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least there can be: tables, sentences, a run for each arm, a picture."""
    monkeypatch.setattr("evals.history.SHARES", (0.0, 1.0))
    monkeypatch.setattr("evals.history.ORDERS", {"asked": ""})
    monkeypatch.setattr("evals.history.RIVALS", ("rag",))
    with living_in(tmp_path) as folder:
        text = go(job()).text
        assert "the slope of single minus that of RAG is" in " ".join(text.split())
        assert [len(table) for table in tables(text)] == [3, 5] * len(GROWTHS)
        assert set(children(Tracker())) == {"single, asked", "rag, asked"}
        assert len(list(folder.glob(f"**/{PICTURE}"))) == 1


def test_what_does_not_fit_is_refused_before_the_first_call() -> None:
    """The largest prompt is that of all that is known."""
    engine = Stopping(at=1, error=RuntimeError("asked"))
    with pytest.raises(ConfigError, match=r"task_lm\.context"):
        go(job(task_lm={"context": 3000, "max_tokens": 500}), engine=engine)
    assert engine.asked == 0


def test_an_empty_set_and_too_few_training_people_are_named() -> None:
    """Before anything is asked."""
    protocol = {"train": 12, "val": 2, "dev": 0, "test": 2, "targets": 1}
    with pytest.raises(ConfigError, match="the devset is empty"):
        go(job(protocol=protocol))
    with pytest.raises(MissingDataError, match="training people are too few"):
        go(job(protocol={**protocol, "train": 5, "dev": 2}))


@pytest.mark.slow
def test_readings_of_the_testset_are_counted(tmp_path: Path) -> None:
    """The count is printed."""
    with living_in(tmp_path):
        assert "reading 1 of this testset" in go(job(), "test").text
        assert "reading 2 of this testset" in go(job(), "test").text


def test_a_reading_is_counted_when_the_job_stops(tmp_path: Path) -> None:
    """The testset was read, whether or not a report came of it; the devset is not counted."""
    with living_in(tmp_path):
        for role in ("dev", "test"):
            with pytest.raises(KeyboardInterrupt):
                go(job(), role, engine=Stopping(at=1))
        with open_study(job()) as study:
            assert count_reading(study) == 2


def test_no_reading_is_counted_without_consent(tmp_path: Path) -> None:
    """Whoever does not agree to the estimate has read nothing."""
    config = job(task_lm={"model": "openai/test", "api_base": "http://127.0.0.1:9/v1"})
    with living_in(tmp_path):
        with pytest.raises(ConfigError, match="pass --yes"):
            go(config.model_copy(update={"confirm_calls": 1}), "test")
        with open_study(config) as study:
            assert count_reading(study) == 1


def cases(*counts: int) -> list[dspy.Example]:
    """Return examples of several people, so many of each."""
    found = []
    for at, count in enumerate(counts):
        answers: dict[str, int | str] = {"Q1": 1 + at, "Q57": 2}
        found += [made_example(f"Q{65 + n}", answers=answers) for n in range(count)]
    return found


def test_a_sample_is_of_some_people_and_some_of_each() -> None:
    """In the order given, the same each time, another with another seed."""
    whole = cases(5, 4, 3, 2)
    part = sampled(whole, 3, 2, seed=1)
    keys = [ex.case.profile.key for ex in part]
    assert len(set(keys)) == 3
    assert all(keys.count(key) == 2 for key in keys)
    assert part == [ex for ex in whole if any(ex is one for one in part)]
    assert [ex.case for ex in sampled(whole, 3, 2, seed=1)] == [ex.case for ex in part]
    draws = {tuple(ex.case for ex in sampled(whole, 2, 2, seed=seed)) for seed in range(8)}
    assert len(draws) > 2


def test_a_sample_of_more_than_there_are_is_everything() -> None:
    """So is one without limits; a person's targets do not depend on who else is there."""
    whole = cases(5, 4, 3)
    assert sampled(whole, None, None, seed=1) == whole
    assert sampled(whole, 10, 10, seed=1) == whole
    alone = sampled(cases(5), None, 2, seed=1)
    first = alone[0].case.profile.key
    together = [ex for ex in sampled(whole, None, 2, seed=1) if ex.case.profile.key == first]
    assert [ex.case for ex in alone] == [ex.case for ex in together]
