"""`evals contamination`: what is asked, compared, kept and said, on a small job."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jobs import Stopping, living_in, small_job
from measuring import (  # noqa: F401
    Ran,
    living_there,
    measured,
    one_home,
    readings_of_stopped,
    unasked_estimate,
)

from evals.contamination import run_contamination
from evals.past_runs import arms_of, load_predictions
from evals.study import open_study
from evals.tracking import Tracker
from valuesim_dspy.errors import BudgetExceededError, ConfigError
from valuesim_dspy.lexical.engine import LexicalEngine, ScriptedEngine
from valuesim_dspy.lexical.parsing import read_request, request_text

pytestmark = pytest.mark.slow

LEAST = 10


def run(engine: Any = None, *, least: int = LEAST, role: str = "dev", **changes: Any) -> Ran:
    """Run contamination on a small job."""
    return measured(lambda job: run_contamination(job, role, least=least), engine, **changes)


@pytest.fixture(scope="module")
def ran(home: Path) -> Ran:
    """The job as it is."""
    with living_in(home):
        return run()


class Told(LexicalEngine):
    """An engine that gives the shares it is told to, and answers as the embedded model does."""

    def __init__(self, shares: Any) -> None:
        self.shares, self.recalled = shares, 0

    def complete(self, request: Any) -> Any:
        """Return the shares where they are asked for."""
        prompt = read_request(request)
        if [item.name for item in prompt.task.outputs] != ["shares"]:
            return super().complete(request)
        self.recalled += 1
        told = self.shares([option.code for option in prompt.options])
        return ScriptedEngine([{"shares": told}]).complete(request)


def even(codes: list[str]) -> dict[str, float]:
    """Return uniform shares."""
    return {code: 1 / len(codes) for code in codes}


def test_each_country_and_question_of_the_set_is_asked_for_once(ran: Ran) -> None:
    """Of nobody in particular; the prompts hold no fact of anybody."""
    asked = [request_text(each) for each in ran.engine.requests if "shares" in request_text(each)]
    pairs = int(re.findall(r"([\d,]+) pairs of", ran.words)[0])
    assert len(asked) == len(set(asked)) == pairs > 0
    assert not any("You " in text.split("question")[-1] for text in asked)


def test_the_text_holds_recall_countries_arms_and_limits(ran: Ran) -> None:
    """And says that it is machinery."""
    for said in (
        "| the model's |",
        "| uniform |",
        "| sampling alone |",
        "| country |",
        "**Cold arms**",
        "| single |",
        "| rag |",
        "In words: told of nobody",
        "What it does not mean",
        "says nothing about people",
    ):
        assert said in ran.words, said


def test_runs_are_kept_for_recall_and_for_each_arm(ran: Ran) -> None:
    """Shares by cell are with the job; what arms did in a cell of one person is not."""
    tracker = Tracker(None)
    found = {
        tracker.client.get_run(run_id).data.params["arm"]: run_id
        for run_id in arms_of(tracker, ran.run_id)
    }
    assert set(found) == {"recall", "single", "rag"}
    recall = tracker.client.get_run(found["recall"]).data.metrics
    assert recall["coverage"] == 1.0
    assert recall["distance_low"] <= recall["distance"] <= recall["distance_high"]
    assert recall["calls_needed"] > 0
    assert "recall_correlation" in tracker.client.get_run(found["rag"]).data.metrics
    kept = json.loads(_read(ran))
    assert {"country", "question", "distance", "modal"} <= set(kept[0])
    assert not {"single", "rag", "cases"} & set(kept[0])
    assert len(load_predictions(tracker, found["recall"])) == len(kept)


def _read(ran: Ran) -> str:
    path = Tracker(None).client.download_artifacts(ran.run_id, "recall.json")
    return Path(path).read_text(encoding="utf-8")


def test_it_is_the_same_again_and_continues_its_run(ran: Ran) -> None:
    """Bit for bit; nothing is asked anew."""
    again = run(Stopping(at=1, error=AssertionError("asked again")))
    assert again.text == ran.text


def test_only_people_outside_the_other_sets_are_counted(ran: Ran) -> None:
    """The devset's people and the testset's have no part in what recall is compared with."""
    with open_study(small_job(variant="single")) as study:
        away = {p for name in ("val", "dev", "test") for p in study.split.people(name)}
        others = study.respondents.take([p for p in range(len(study.respondents)) if p not in away])
    kept = json.loads(_read(ran))
    for cell in kept:
        answers = others.column(cell["question"])
        home = [alpha == cell["country"] for alpha in others.alphas]
        assert cell["people"] == sum(
            here and code >= 0 for here, code in zip(home, answers.tolist(), strict=True)
        )
        assert cell["people"] >= LEAST


def test_whoever_gives_uniform_shares_is_as_far_off_as_they_are(tmp_path: Path) -> None:
    """The baseline is met exactly: a difference of nothing."""
    with living_in(tmp_path):
        found = run(Told(even))
    line = next(line for line in found.text.splitlines() if line.startswith("| the model's"))
    assert "| +0.0 [+0.0, +0.0] |" in line
    assert "is not shown to be nearer than uniform shares" in found.words


def test_shares_that_are_none_are_failures_and_leave_no_score(tmp_path: Path) -> None:
    """After all retries; the arms' accuracy is reported all the same."""
    engine = Told(lambda codes: {codes[0]: 1.0})
    with living_in(tmp_path):
        found = run(engine)
    pairs = int(re.findall(r"([\d,]+) pairs of", found.words)[0])
    assert engine.recalled == 3 * pairs
    assert "| invalid | invalid | invalid | 100.0 % |" in found.text
    assert "gave shares in too few cases" in found.words
    assert re.search(r"\| rag \| \d+\.\d \[.*\] \| - \| - \|", found.text)


def test_a_large_estimate_wants_a_word_of_consent(capsys: pytest.CaptureFixture[str]) -> None:
    """Recall and both arms are in the estimate; nothing is asked."""
    lines = unasked_estimate(lambda job: run_contamination(job, "dev", least=LEAST), capsys)
    assert [line[0] for line in lines[1:]] == ["recall", "single", "rag", "all"]


def test_a_country_with_too_few_people_is_left_out() -> None:
    """Where that leaves nothing the error says what to change."""
    with pytest.raises(ConfigError, match=r"data\.respondents"):
        run(least=1000)


def test_warm_arms_have_a_table_of_their_own() -> None:
    """Cold and warm are never in one."""
    cold, warm = run(variant="single-peers").text.split("**Cold arms**")[1].split("**Warm arms**")
    assert "| rag |" in cold and "| single-peers |" not in cold
    assert "| single-peers |" in warm and "| rag |" not in warm


def test_readings_of_the_testset_are_counted() -> None:
    """A look at the testset is a look, whatever for."""
    first, second = (run(role="test").reading for _ in range(2))
    assert second == first + 1


def test_a_spent_budget_ends_the_job(tmp_path: Path) -> None:
    """What was answered is in the cache: with more, the job goes on from there."""
    with living_in(tmp_path):
        with pytest.raises(BudgetExceededError):
            run(budget={"calls": 5})
        (job,) = Tracker().runs({"valuesim.level": "job"})
        assert (job.info.status, job.data.tags["stopped"]) == ("KILLED", "budget")
        engine = Stopping()
        whole = run(engine)
        needed = int(re.findall(r"([\d,]+) pairs of", whole.words)[0])
        recalled = [r for r in engine.requests if "shares" in request_text(r)]
        assert len(recalled) == needed - 5


def test_a_spent_budget_prints_and_keeps_what_is_done(
    ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Recall, and the arms that were measured whole."""
    with living_in(tmp_path):
        with pytest.raises(BudgetExceededError):
            run(budget={"calls": ran.engine.asked - 1})
        tracker = Tracker()
        (job,) = tracker.find({"valuesim.level": "job"})
        table = tracker.read_text(job, "table.md")
    assert "| the model's |" in table and "| single |" in " ".join(table.split())
    assert "| rag " not in table and "stopped: the budget" in table
    assert table in capsys.readouterr().out


def test_a_reading_is_counted_when_the_job_stops(tmp_path: Path) -> None:
    """The testset was read, whether or not a report came of it; the devset is not counted."""
    assert readings_of_stopped(run, tmp_path) == 2
