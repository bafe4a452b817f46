"""`evals robustness`: what is measured, kept and said, on a small job."""

from collections.abc import Iterator
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

from evals.past_runs import arms_of, load_predictions
from evals.perturbing import PERTURBATIONS
from evals.robustness import WORDING, run_robustness
from evals.robustness_table import AS_IS
from evals.study import open_study
from evals.tracking import Tracker
from valuesim_dspy.errors import BudgetExceededError, ConfigError, MissingDataError
from valuesim_dspy.lexical.engine import LexicalEngine, ScriptedEngine
from valuesim_dspy.lexical.parsing import read_request
from valuesim_dspy.loading import save_program
from valuesim_dspy.program import ValueSim

pytestmark = pytest.mark.slow

MADE = [name for name in PERTURBATIONS if name != WORDING]
LIMITS: dict[str, Any] = {"people": 4, "targets": 2}


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Path]:
    """Keep an engine's replies where no other engine's are remembered."""
    with living_in(tmp_path) as folder:
        yield folder


def run(engine: Any = None, arms: tuple[str, ...] = ("single",), **changes: Any) -> Ran:
    """Run robustness on a few cases of a small job."""
    limits = LIMITS | {key: changes.pop(key) for key in ("people", "targets") if key in changes}
    role = changes.pop("role", "dev")
    return measured(lambda job: run_robustness(job, arms, role, **limits), engine, **changes)


@pytest.fixture(scope="module")
def ran(home: Path) -> Ran:
    """The default arms: the job's variant and RAG."""
    with living_in(home):
        return run(arms=())


def constant(place: int) -> ScriptedEngine:
    """Return an engine that answers with the option at a place of the list."""

    def answer(request: Any) -> dict[str, Any]:
        options = read_request(request).options
        return {"analysis": "It stands there.", "answer": int(options[place].code)}

    return ScriptedEngine(answer)


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of each line of the first arm's tables by the line's name."""
    first = text.split("\n### ")[1]
    lines = [line.strip("|").split(" | ") for line in first.splitlines() if line.startswith("| ")]
    # `as is` and `options-reversed` stand in the second table again: the first is kept.
    return {cells[0].strip(): [cell.strip() for cell in cells] for cells in reversed(lines)}


def test_the_variant_and_rag_are_measured_under_every_perturbation(ran: Ran) -> None:
    """A block for each arm, a line for each perturbation, and why one was not made."""
    assert "### single (cold)" in ran.text and "### rag (cold)" in ran.text
    assert set(MADE) <= set(rows(ran.text))
    assert ran.text.count("official-wording: not made") == 2
    assert ran.text.count("In words:") == 2


def test_the_header_says_what_was_drawn_and_that_it_is_machinery(ran: Ran) -> None:
    """Nobody takes a part of synthetic people for the survey."""
    assert "4 of the devset's 6 people, 8 of its 12 cases" in ran.words
    assert "says nothing about people" in ran.words
    assert "cannot flip on repetition" in ran.words


def test_a_run_for_each_arm_and_perturbation_is_kept(ran: Ran) -> None:
    """With its numbers and its cases, so that nothing has to be measured again."""
    tracker = Tracker(None)
    labels = {}
    for run_id in arms_of(tracker, ran.run_id):
        found = tracker.client.get_run(run_id)
        labels[found.data.params["arm"]] = (run_id, found.data.metrics)
    assert set(labels) == {f"{arm}: {name}" for arm in ("single", "rag") for name in (AS_IS, *MADE)}
    _, metrics = labels["single: options-shuffled"]
    assert {"flips", "flips_low", "flips_above_repeat", "accuracy_change"} <= set(metrics)
    assert labels["single: repeat"][1]["flips"] == 0
    frame = load_predictions(tracker, labels["rag: labels-for-numbers"][0])
    assert len(frame) == 8
    assert list(frame["truth"]) == list(load_predictions(tracker, labels["rag: as is"][0])["truth"])


def test_it_is_the_same_again_and_continues_its_run(ran: Ran) -> None:
    """Bit for bit with the same seed; replies come from the cache, into the same run."""
    again = run(Stopping(at=1, error=AssertionError("asked again")), arms=())
    assert again.text == ran.text


def test_the_embedded_model_does_not_flip_on_repetition_but_is_asked(ran: Ran) -> None:
    """The floor is measured, not assumed."""
    assert rows(ran.text)["repeat"][2] == "0.0 [0.0, 0.0]"
    assert len({str(request) for request in ran.engine.requests}) < len(ran.engine.requests)


@pytest.mark.parametrize(
    ("place", "side", "effect"), [(0, "first", "-100.0"), (-1, "last", "+100.0")]
)
def test_whoever_answers_by_place_is_found_out(
    apart: Path, place: int, side: str, effect: str
) -> None:
    """All answers flip under reversal, and the pull of the place is whole."""
    told = run(constant(place))
    found = rows(told.text)
    assert found["options-reversed"][2] == "100.0 [100.0, 100.0]"
    assert found["options-reversed"][3] == "+100.0 [+100.0, +100.0]"
    assert found["paraphrased"][2] == "0.0 [0.0, 0.0]"
    assert f"{effect} [{effect}, {effect}] points" in told.text
    assert f"It favours the option that stands {side}" in told.words


class Random(LexicalEngine):
    """An engine whose every reply is another one, as of a server that is not exact."""

    def __init__(self) -> None:
        self.asked = 0

    def complete(self, request: Any) -> Any:
        """Return the embedded model's reply to the options in turn."""
        self.asked += 1
        scripted = constant(self.asked % len(read_request(request).options))
        return scripted.complete(request)


def test_flips_on_plain_repetition_are_the_floor(apart: Path) -> None:
    """What flips anyhow is not held against a perturbation."""
    told = run(Random(), people=6)
    floor = float(rows(told.text)["repeat"][2].split()[0])
    assert floor > 20
    assert f"{floor} % when it is merely asked again" in told.words


def test_failures_are_counted_and_end_nothing(apart: Path) -> None:
    """Replies that are no answer make an arm invalid under the perturbation that brings them."""

    def answer(request: Any) -> dict[str, Any]:
        prompt = read_request(request)
        codes = [int(option.code) for option in prompt.options]
        lost = codes != sorted(codes)
        return {"analysis": "Well.", "answer": 99 if lost else codes[0]}

    text = run(ScriptedEngine(answer)).text
    found = rows(text)
    assert found["options-reversed"][4:] == ["invalid", "invalid", "0.0 % then 100.0 %"]
    assert found["paraphrased"][6] == "0.0 % then 0.0 %"


def test_a_wording_of_ones_own_is_compared_with_the_codebooks(tmp_path: Path) -> None:
    """Only questions that it words differently are put both ways."""
    file = tmp_path / "wording.yaml"
    asked = Tracker(None)
    first = arms_of(asked, run().run_id)[0]
    one = load_predictions(asked, first)["question"].iloc[0]
    file.write_text(f"{one}: How do you see this, all in all?\n", encoding="utf-8")
    text = run(name="worded", data={"wording": str(file)}).text
    found = rows(text)
    count = int((load_predictions(asked, first)["question"] == one).sum())
    assert found[WORDING][1] == str(count)
    assert "official-wording: not made" not in text


def test_arms_that_read_other_peoples_codes_keep_the_codes() -> None:
    """A warm arm is told what others answered by code and label: new codes would mislead it."""
    text = run(arms=("single-peers",), name="warm").text
    assert "### single-peers (warm)" in text
    assert "labels-for-numbers: not made; the arm reads other people's codes" in text
    assert "options-shuffled" in rows(text)


def test_arms_without_words_are_refused() -> None:
    """Nothing is measured where nothing could move."""
    with pytest.raises(ConfigError, match="reads codes and no words"):
        run(arms=("single", "country-mode"))
    with pytest.raises(ConfigError, match="no variant, no baseline"):
        run(arms=("sngle",))


def test_a_large_estimate_wants_a_word_of_consent(capsys: pytest.CaptureFixture[str]) -> None:
    """The estimate covers the cases as they are and every perturbation; nothing is asked."""
    lines = unasked_estimate(
        lambda job: run_robustness(job, ("single",), "dev", people=2, targets=1), capsys
    )
    (line,) = (line for line in lines if "single" in " ".join(line))
    assert line[1] == str(2 * (1 + len(MADE)))


def test_an_empty_set_is_refused() -> None:
    """The error names the key."""
    with pytest.raises(ConfigError, match=r"protocol\.dev"):
        run(protocol={"dev": 0})


def test_readings_of_the_testset_are_counted() -> None:
    """A look at the testset is a look, whatever for."""
    limits: dict[str, Any] = {"arms": ("blank",), "people": 1, "targets": 1}
    first, second = (run(role="test", **limits).reading for _ in range(2))
    assert second == first + 1


def test_a_saved_program_is_put_otherwise_too(tmp_path: Path) -> None:
    """It is measured under its own name; a folder that holds none is refused."""
    folder = tmp_path / "saved"
    config = small_job(variant="single")
    with open_study(config) as study:
        save_program(ValueSim("single"), folder, study.manifest("valuesim", "single"))
    text = run(arms=(str(folder),), name="saved").text
    assert "### single saved (cold)" in text
    with pytest.raises((ConfigError, MissingDataError)):
        run(arms=(str(tmp_path),))


def test_a_spent_budget_keeps_what_was_done(home: Path) -> None:
    """The job says so, and goes on from there with more."""
    with pytest.raises(BudgetExceededError):
        run(name="poor", seed=7, budget={"calls": 20})
    tracker = Tracker()
    (poor,) = tracker.runs({"valuesim.level": "job", "job": "poor"})
    assert (poor.info.status, poor.data.tags["stopped"]) == ("KILLED", "budget")
    engine = Stopping()
    run(engine, name="poor", seed=7)
    needed = Stopping()
    with living_in(home / "elsewhere"):
        run(needed, name="poor", seed=7)
    assert engine.asked == needed.asked - 20


def test_a_spent_budget_prints_and_keeps_the_arms_that_are_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole arms only; the table says what stopped it."""
    limits: dict[str, Any] = {"people": 2, "targets": 1}
    with living_in(tmp_path):
        one = run(**limits).engine.asked
    with living_in(tmp_path / "poor"):
        with pytest.raises(BudgetExceededError):
            run(arms=("single", "rag"), budget={"calls": one + 2}, **limits)
        tracker = Tracker()
        table = tracker.read_text(tracker.find({"valuesim.level": "job"})[0], "table.md")
    assert "### single (cold)" in table and "### rag" not in table
    assert f"stopped: the budget of {one + 2} calls is spent" in table
    assert table in capsys.readouterr().out


def test_a_reading_is_counted_when_the_job_stops(tmp_path: Path) -> None:
    """The testset was read, whether or not a report came of it; the devset is not counted."""
    assert readings_of_stopped(run, tmp_path) == 2
