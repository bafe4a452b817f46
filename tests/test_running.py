import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from jobs import Stopping, answered_by, lexical_server, living_in, small_job

from evals.baselines import BASELINES
from evals.benchmark import run_benchmark
from evals.past_runs import arms_of, load_predictions, run_summary
from evals.running import compare_runs, run_arms
from evals.study import build_arm, open_study
from evals.tracking import Tracker
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    MissingDataError,
    ProgramStateError,
)
from valuesim_dspy.lexical.engine import LexicalEngine
from valuesim_dspy.lexical.parsing import request_text
from valuesim_dspy.loading import save_program
from valuesim_dspy.program import ValueSim
from valuesim_dspy.survey.synthetic import SYNTHETIC_DOI, SYNTHETIC_VERSION, write_synthetic

pytestmark = pytest.mark.slow

ARMS = ["full", "single", "country-mode"]
RUNNING = ["seconds", "paid", "paid_tokens"]  # columns that tell of this run and not of the arm


@dataclass(frozen=True, eq=False)
class Ran:
    """A run of arms: what it returned, the engine that answered, the table that it kept."""

    run_id: str
    table: str
    engine: Stopping
    kept: str = ""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds store and cache for the whole module."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def ran(home: Path) -> Ran:
    """Three arms and RAG, measured on the devset."""
    with living_in(home):
        made = go(small_job(), ARMS)
        # Read before other tests run the job again.
        return replace(made, kept=Tracker().read_text(made.run_id, "table.md"))


@pytest.fixture(autouse=True)
def store(home: Path, ran: Ran) -> Iterator[Path]:
    """Keep everything a test runs in that folder, where `ran` came first and paid for all of it."""
    with living_in(home) as folder:
        yield folder


@pytest.fixture
def tracker() -> Tracker:
    """A tracker on the module's store."""
    return Tracker()


def go(config: JobConfig, arms: list[str], role: str = "dev", **known: Any) -> Ran:
    """Run arms with the embedded model, whose calls are counted."""
    engine = known.pop("engine", None) or Stopping()
    with answered_by(engine):
        return Ran(*run_arms(config, arms, role, **known), engine)


def rows(table: str) -> dict[str, dict[str, str]]:
    """Read the tables: label to the head of each column to the cell."""
    found: dict[str, dict[str, str]] = {}
    heads: list[str] = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and cells[0] == "arm":
            heads = cells
        elif cells and not cells[0].startswith("---"):
            found[cells[0]] = dict(zip(heads, cells, strict=True))
    return found


def children(tracker: Tracker, run_id: str) -> dict[str, dict[str, Any]]:
    """Return the arms of a job by name."""
    return {s["name"]: s for s in (run_summary(tracker, arm) for arm in arms_of(tracker, run_id))}


def saved(
    folder: Path, variant: str = "single", *, config: JobConfig | None = None, **known: Any
) -> str:
    """Save an uncompiled program as one that comes from the study of a config."""
    with open_study(config or small_job(), cache=ResponseCache()) as study:
        manifest = study.manifest("valuesim", variant).model_copy(update=known)
    return str(save_program(ValueSim(variant), folder, manifest))


def fresh(folder: Path) -> Any:
    """Use another folder for store and cache."""
    return living_in(folder)


# --- what a run leaves --------------------------------------------------------------------------


def test_a_run_has_one_child_for_each_arm(ran: Ran, tracker: Tracker) -> None:
    """RAG is added, the job and its arms are finished, and each has its own numbers."""
    found = children(tracker, ran.run_id)
    assert list(found) == ["rag", *ARMS]
    assert {summary["status"] for summary in found.values()} == {"FINISHED"}
    assert run_summary(tracker, ran.run_id)["status"] == "FINISHED"
    assert {s["params"]["knows"] for s in found.values()} == {"cold", "warm"}
    assert found["full"]["params"]["split"].startswith("dev ")
    with open_study(small_job(), cache=ResponseCache()) as study:
        for name, summary in found.items():
            result = run_benchmark(study, name, build_arm(study, name), "dev")
            metrics = summary["metrics"]
            assert metrics["accuracy"] == pytest.approx(result.metrics["accuracy"], abs=1e-4)
            assert metrics["calls_needed"] == result.needed.calls
            if name == "rag" or result.knows == "warm":
                assert "accuracy_minus_rag" not in metrics
                continue
            gap = result.metrics["accuracy"] - found["rag"]["metrics"]["accuracy"]
            assert metrics["accuracy_minus_rag"] == pytest.approx(gap, abs=1e-4)


def test_the_table_is_kept_with_the_run(ran: Ran) -> None:
    """What was printed can be read again."""
    assert ran.kept == ran.table
    assert "devset" in ran.table
    assert "shows that the machinery works" in " ".join(ran.table.split())


def test_cold_and_warm_arms_stand_in_tables_of_their_own(ran: Ran) -> None:
    """Nothing that saw others' answers is lined up with what did not."""
    blocks = ran.table.split("**Warm arms")
    assert len(blocks) == 2
    assert list(rows(blocks[0])) == ["rag", "full", "single"]
    assert list(rows(blocks[1])) == ["country-mode"]


def test_run_again_it_goes_on_without_doubling_and_pays_nothing(ran: Ran, tracker: Tracker) -> None:
    """The same run, the same children, the same numbers, and not one call."""
    assert ran.engine.asked > 0
    before = children(tracker, ran.run_id)
    again = go(small_job(), ARMS)
    assert again.run_id == ran.run_id
    assert again.engine.asked == 0
    after = children(tracker, ran.run_id)
    assert {name: s["run_id"] for name, s in after.items()} == {
        name: s["run_id"] for name, s in before.items()
    }
    for name in ("rag", *ARMS):
        old, new = rows(ran.table)[name], rows(again.table)[name]
        changing = {"calls", "sec"}
        assert {k: v for k, v in new.items() if k not in changing} == {
            k: v for k, v in old.items() if k not in changing
        }
        frames = [load_predictions(tracker, s[name]["run_id"]) for s in (before, after)]
        assert len(frames[0]) == len(frames[1]) == 12
    assert rows(again.table)["full"]["calls"].endswith("/ 0")


def test_name_and_threads_make_no_new_run_and_set_and_arms_do(ran: Ran) -> None:
    """A run is one of config, data, code, set and arms."""
    first = go(small_job(), ["mode"]).run_id
    assert go(small_job(name="renamed", threads=2), ["mode"]).run_id == first
    others = [
        go(small_job(), ["mode", "country-mode"]),
        go(small_job(), ["mode"], "test"),
        go(small_job(protocol={"targets": 1}), ["mode"]),
    ]
    assert len({first, ran.run_id, *(other.run_id for other in others)}) == 5


def test_an_arm_named_twice_is_measured_once(tracker: Tracker) -> None:
    """RAG too, which is there anyway and always the reference."""
    found = go(small_job(), ["mode", "rag", "mode"])
    assert list(children(tracker, found.run_id)) == ["rag", "mode"]
    assert rows(found.table)["rag"]["accuracy % [95 %]"]


def test_predictions_hold_salted_keys_and_no_ids(ran: Ran, tracker: Tracker) -> None:
    """Neither the table nor the predictions name a row of the survey."""
    with open_study(small_job(), cache=ResponseCache()) as study:
        ids = {str(study.respondents[place].id) for place in study.split.dev}
        keys = {example.case.profile.key for example in study.examples("dev")}
    frame = load_predictions(tracker, children(tracker, ran.run_id)["full"]["run_id"])
    assert set(frame["respondent"]) == keys
    assert ids.isdisjoint(frame.astype(str).to_numpy().ravel())
    assert ids.isdisjoint(re.findall(r"\d{6,}", ran.table))


def test_readings_of_the_testset_are_counted_and_told(tmp_path: Path) -> None:
    """Every look counts, also one that costs nothing; another split has a count of its own."""
    with fresh(tmp_path):
        told = [go(small_job(), ["mode"], "test").table for _ in range(2)]
        told.append(go(small_job(seed=1), ["mode"], "test").table)
        dev = go(small_job(), ["mode"]).table
    assert [re.findall(r"reading (\d+) of this testset", text) for text in told] == [
        ["1"],
        ["2"],
        ["1"],
    ]
    assert "testset" not in dev


# --- saved programs -----------------------------------------------------------------------------


def test_a_saved_program_brings_its_fold_and_split(tmp_path: Path, tracker: Tracker) -> None:
    """Whatever the config says, it is measured on the questions it was kept from."""
    folder = saved(tmp_path / "p")
    other = small_job(protocol={"fold": 3, "dev": 3, "folds": "topic", "kinds": ["value"]})
    found = go(other, [folder])
    assert "fold: battery 1 of 5" in found.table
    assert "dev 6" in found.table
    own = load_predictions(tracker, children(tracker, found.run_id)["single saved"]["run_id"])
    with open_study(small_job(), cache=ResponseCache()) as study:
        plain = run_benchmark(study, "single", build_arm(study, "single"), "dev")
    left = [*RUNNING, "respondent"]
    pd.testing.assert_frame_equal(
        own[list(plain.frame)].drop(columns=left), plain.frame.drop(columns=left), check_dtype=False
    )
    assert "Warning" not in found.table


def test_programs_of_different_folds_are_refused(tmp_path: Path) -> None:
    """Before any call: one of them would be measured on what it was fitted on."""
    one = saved(tmp_path / "one")
    two = saved(tmp_path / "two", "full", config=small_job(protocol={"fold": 2}))
    engine = Stopping(at=1, error=RuntimeError("asked"))
    with pytest.raises(ConfigError, match="different folds or splits"):
        go(small_job(), [one, two], engine=engine)
    other_people = saved(tmp_path / "three", config=small_job(protocol={"test": 5}))
    with pytest.raises(ConfigError, match="different folds or splits"):
        go(small_job(), [one, other_people], engine=engine)
    assert engine.asked == 0


def test_a_program_that_was_fitted_on_other_people_is_marked(tmp_path: Path) -> None:
    """On other data, or another draw of them, its train people may be in the set."""
    for name, change in (("data", {"data": {"digest": "0" * 64}}), ("split", {"split": {}})):
        folder = saved(tmp_path / name, **change)
        note = " ".join(go(small_job(), [folder]).table.split())
        assert f"Warning: single saved was compiled on another draw ({name})" in note


def test_made_up_people_are_not_in_a_survey(tmp_path: Path) -> None:
    """A program that was compiled on the others is measured without a warning."""
    folder = saved(tmp_path / "p", evidence="survey", data={"digest": "0" * 64})
    assert "Warning" not in go(small_job(), [folder]).table


def test_a_program_without_a_fold_is_measured_on_the_configs(tmp_path: Path) -> None:
    """It was fitted on nobody, and says so by naming none."""
    folder = saved(tmp_path / "p", fold={}, split={})
    found = go(small_job(protocol={"fold": 2}), [folder])
    assert "fold: battery 2 of 5" in found.table
    assert "Warning" not in found.table


@pytest.mark.parametrize(
    "fold",
    [{"strategy": "battery"}, {"strategy": "none", "index": 1, "seed": 1, "kinds": "value"}],
    ids=["incomplete", "unknown"],
)
def test_a_manifest_with_an_impossible_fold_is_refused(
    tmp_path: Path, fold: dict[str, Any]
) -> None:
    """One clear line with the folder, instead of a guess."""
    folder = saved(tmp_path / "p", fold=fold)
    with pytest.raises(ProgramStateError, match=r"p: its manifest does not say on which fold"):
        go(small_job(), [folder])


def test_programs_of_one_variant_can_be_told_apart(tmp_path: Path, tracker: Tracker) -> None:
    """Each has a row and a run of its own, whatever their folders are called."""
    one = saved(tmp_path / "one", teleprompter="bootstrap")
    two = saved(tmp_path / "two", teleprompter="labeled-few-shot")
    found = go(small_job(), [one, two, "single"])
    labels = list(children(tracker, found.run_id))
    assert labels[0] == "rag" and labels[3] == "single"
    assert all(re.fullmatch("single compiled [0-9a-f]{6}", label) for label in labels[1:3])
    assert len(set(labels)) == 4
    assert list(rows(found.table)) == labels
    told = [s["params"]["teleprompter"] for s in children(tracker, found.run_id).values()]
    assert told == ["none", "bootstrap", "labeled-few-shot", "none"]


def test_a_saved_rag_stands_beside_the_reference(tmp_path: Path, tracker: Tracker) -> None:
    """It is bound for the measurement, and differences are still to RAG as it is."""
    with open_study(small_job(), cache=ResponseCache()) as study:
        manifest = study.manifest("rag", "rag", teleprompter="bootstrap")
        folder = save_program(build_arm(study, "rag"), tmp_path / "p", manifest)
    found = go(small_job(), [str(folder)])
    assert list(rows(found.table)) == ["rag", "rag compiled"]
    assert rows(found.table)["rag"]["minus rag [95 %]"] == "reference"
    assert rows(found.table)["rag compiled"]["minus rag [95 %]"] == "+0.0 [0.0, 0.0]"
    assert children(tracker, found.run_id)["rag compiled"]["params"]["kind"] == "rag"


def test_a_program_kept_in_a_run_is_measured_by_its_address(
    tmp_path: Path, ran: Ran, tracker: Tracker
) -> None:
    """`runs:/<id>/program` is the same arm as the folder it was made from."""
    folder = saved(tmp_path / "p")
    run_id = children(tracker, ran.run_id)["single"]["run_id"]
    tracker.log_folder(run_id, Path(folder), "program")
    found = go(small_job(), [f"runs:/{run_id}/program"])
    assert found.run_id == go(small_job(), [folder]).run_id
    assert list(rows(found.table)) == ["rag", "single saved"]


# --- what stops a run ---------------------------------------------------------------------------


def test_an_unknown_arm_is_told_before_the_data_are_read() -> None:
    """The names that would do are listed."""
    config = small_job(data={"survey": "/none/such.csv"})
    with pytest.raises(ConfigError, match=r"arm: 'nope' is no variant.*full.*rag"):
        go(config, ["full", "nope"])


def test_an_empty_set_is_told_before_anything_is_kept(tracker: Tracker) -> None:
    """No run is begun, and no reading of the testset is counted."""
    config = small_job(name="empty", protocol={"test": 0})
    with pytest.raises(ConfigError, match=r"^protocol\.test: the testset is empty"):
        go(config, ["full"], "test")
    assert tracker.runs({"job": "empty"}) == []


def test_what_does_not_fit_is_refused_before_the_first_call(tracker: Tracker) -> None:
    """A prompt is never truncated; the key to change is named."""
    config = small_job(name="tight", task_lm={"context": 3000, "max_tokens": 500})
    engine = Stopping(at=1, error=RuntimeError("asked"))
    with pytest.raises(ConfigError, match=r"^task_lm\.context: .*takes 3000"):
        go(config, ["full"], engine=engine)
    assert engine.asked == 0
    assert tracker.runs({"job": "tight"}) == []


def test_real_answers_want_consent_before_a_run_begins(tmp_path: Path, tracker: Tracker) -> None:
    """The host is named; nothing is kept."""
    path = write_synthetic(tmp_path / "people.csv", 60, seed=3)
    text = path.read_text().replace(SYNTHETIC_VERSION, "6-0-0").replace(SYNTHETIC_DOI, "none")
    path.write_text(text)
    lm = {"model": "openai/some", "api_base": "https://models.example.org/v1"}
    config = small_job(name="real", data={"survey": str(path)}, task_lm=lm)
    with pytest.raises(ConfigError, match=r"--send-to models\.example\.org to agree"):
        run_arms(config, ["full"], "dev", is_agreed=True)
    assert tracker.runs({"job": "real"}) == []


def test_a_large_estimate_wants_a_word_of_consent(capsys: pytest.CaptureFixture[str]) -> None:
    """The estimate is shown and nothing is asked; agreed, the run goes on after one trial call."""
    with lexical_server() as server:
        lm = {"model": "openai/test", "api_base": server.url}
        config = small_job(task_lm=lm, confirm_calls=5, protocol={"dev": 2})
        with pytest.raises(ConfigError, match=r"^confirm_calls: up to [\d,]+ calls .*--yes"):
            run_arms(config, ["single"], "dev")
        assert server.requests == []
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "estimate, nothing of it cached:"
        assert [line.split()[0] for line in lines[1:]] == ["rag", "single", "all"]
        assert lines[-1].endswith("price unknown")
        _, table = run_arms(config, ["single"], "dev", is_agreed=True)
        needed = [int(row["calls"].split()[0]) for row in rows(table).values()]
        assert len(server.requests) == sum(needed) + 1
    assert rows(table)["single"]["usd"] == "unknown"


@pytest.mark.slow
def test_what_embedding_took_is_in_the_table(tmp_path: Path) -> None:
    """Shared by all arms and in no arm's calls; the second time it is needed and not paid."""
    with lexical_server() as server:
        reached = {"model": "openai/test", "api_base": server.url}
        config: dict[str, Any] = {"task_lm": reached, "protocol": {"dev": 2}}
        config["embedder"] = {"model": "openai/embed-1", "api_base": server.url}
        with fresh(tmp_path):
            tables = [
                run_arms(small_job(**config), ["single"], "dev", is_agreed=True)[1]
                for _ in range(2)
            ]
        asked = [path for path in server.paths if path.endswith("/embeddings")]
    told = [
        re.findall(r"embedding by openai/embed-1, .*?: (\d+) / (\d+) calls", table)
        for table in tables
    ]
    assert told[0] == [(str(len(asked)), str(len(asked)))] and len(asked) > 0
    ((needed, paid),) = told[1]
    assert int(needed) > 0 and paid == "0"
    assert rows(tables[0])["single"]["calls"].split()[0] == "4"


def test_a_spent_budget_ends_the_run_which_goes_on(tmp_path: Path) -> None:
    """What was paid is kept; with a larger budget only the rest is paid, and nothing doubles."""
    with fresh(tmp_path):
        engine = Stopping()
        with pytest.raises(BudgetExceededError):
            go(small_job(budget={"calls": 20}), ["full"], engine=engine)
        assert engine.answered == 20
        tracker = Tracker()
        (job,) = tracker.find({"valuesim.level": "job"})
        summary = run_summary(tracker, job)
        assert (summary["status"], summary["tags"]["stopped"]) == ("KILLED", "budget")
        assert list(children(tracker, job)) == ["rag"]
        found = go(small_job(budget={"calls": 1000}), ["full"])
        assert found.run_id == job
        whole = sum(int(row["calls"].split()[0]) for row in rows(found.table).values())
        assert found.engine.answered == whole - 20
        assert run_summary(tracker, job)["status"] == "FINISHED"
        assert list(children(tracker, job)) == ["rag", "full"]
        assert len(tracker.runs({})) == 3


def test_an_interrupted_run_is_killed_and_goes_on(tmp_path: Path, ran: Ran) -> None:
    """Ctrl-C keeps what was answered; the numbers are those of an undisturbed run."""
    with fresh(tmp_path):
        with pytest.raises(KeyboardInterrupt):
            go(small_job(), ARMS, engine=Stopping(at=30))
        tracker = Tracker()
        (job,) = tracker.find({"valuesim.level": "job"})
        assert run_summary(tracker, job)["status"] == "KILLED"
        found = go(small_job(), ARMS)
        assert found.run_id == job
        assert found.engine.asked == ran.engine.asked - 29
    for name, row in rows(ran.table).items():
        kept = {k: v for k, v in row.items() if k not in ("calls", "sec")}
        assert rows(found.table)[name] | kept == rows(found.table)[name]


def test_too_few_answers_are_no_score_anywhere(tmp_path: Path) -> None:
    """The table says invalid in place of a score, and the arm's run has no accuracy."""

    class Silent(LexicalEngine):
        def complete(self, request: Any) -> Any:
            if "affective" in request_text(request) or "feel" in request_text(request):
                raise RuntimeError("out of order")
            return super().complete(request)

    with fresh(tmp_path):
        found = go(small_job(), ["facts-only"], engine=Silent())
        metrics = children(Tracker(), found.run_id)["facts-only"]["metrics"]
    row = rows(found.table)["facts-only"]
    assert row["accuracy % [95 %]"].startswith("invalid: coverage 0.")
    assert row.get("minus rag [95 %]", "-") == "-"
    assert not [name for name in metrics if name.startswith("accuracy")]
    assert metrics["failed_rate"] > 0.05
    assert metrics["failed_calls"] > 0
    assert "calls ended in an endpoint's error" in " ".join(found.table.split())


# --- comparing runs -----------------------------------------------------------------------------


def test_compared_runs_give_the_numbers_of_their_own_table(ran: Ran) -> None:
    """Accuracy, differences and intervals are computed again from the predictions kept."""
    again = go(small_job(), ARMS)  # so that paid calls and seconds are those of the store
    table = compare_runs(None, [ran.run_id])
    assert rows(table) == rows(again.table)
    assert "and/or the embedded model: this table" in " ".join(table.split())
    assert list(rows(table)) == ["rag", *ARMS]
    assert "shows that the machinery works" in " ".join(table.split())


def test_arms_can_be_compared_one_by_one(ran: Ran, tracker: Tracker) -> None:
    """An arm's run stands for itself, and any of them is the reference."""
    arms = children(tracker, ran.run_id)
    chosen = [arms[name]["run_id"] for name in ("single", "full")]
    found = rows(compare_runs(None, chosen, reference="single"))
    assert list(found) == ["single", "full"]
    with open_study(small_job(), cache=ResponseCache()) as study:
        one, other = (
            run_benchmark(study, name, build_arm(study, name), "dev").metrics["accuracy"]
            for name in ("full", "single")
        )
    assert found["full"]["minus single [95 %]"].startswith(f"{(one - other) * 100:+.1f} ")
    without = rows(compare_runs(None, chosen))
    assert not [head for head in without["full"] if head.startswith("minus")]


def test_a_run_named_twice_is_one_row(ran: Ran, tracker: Tracker) -> None:
    """A job and one of its arms overlap."""
    arm = children(tracker, ran.run_id)["full"]["run_id"]
    assert list(rows(compare_runs(None, [ran.run_id, arm]))) == ["rag", *ARMS]


def test_runs_with_different_models_are_told_apart(ran: Ran, tracker: Tracker) -> None:
    """Arms of one name say which model answered; differences are to the first job's RAG."""
    with lexical_server() as server:
        lm = {"model": "openai/test", "api_base": server.url}
        other, _ = run_arms(small_job(task_lm=lm), ["single"], "dev")
    table = compare_runs(None, [ran.run_id, other])
    found = rows(table)
    assert set(found) == {
        "rag (offline/lexical-1)",
        "full",
        "single (offline/lexical-1)",
        "country-mode",
        "rag (openai/test)",
        "single (openai/test)",
    }
    assert "task_lm: offline/lexical-1, openai/test" in " ".join(table.split())
    column = "minus rag (offline/lexical-1) [95 %]"
    assert found["rag (offline/lexical-1)"][column] == "reference"
    # The server answers as the embedded model does.
    assert found["rag (openai/test)"][column] == "+0.0 [0.0, 0.0]"
    assert found["single (openai/test)"][column] == found["single (offline/lexical-1)"][column]


def test_jobs_that_differ_in_nothing_shown_are_told_by_their_runs(ran: Ran) -> None:
    """Two jobs with the same arms and models are still two."""
    other = go(small_job(compile={"demo_facts": 3}), ["single"])
    found = rows(compare_runs(None, [ran.run_id, other.run_id]))
    twins = [label for label in found if label.startswith("single")]
    assert len(twins) == 2
    assert all(re.fullmatch(r"single \([0-9a-f]{8}\)", label) for label in twins)


def test_devset_and_testset_are_compared_in_tables_of_their_own(ran: Ran) -> None:
    """One name in two sets needs no mark."""
    test = go(small_job(), ["single"], "test")
    table = compare_runs(None, [ran.run_id, test.run_id])
    assert table.count("**Cold arms, devset**") == table.count("**Cold arms, testset**") == 1
    assert set(rows(table)) == {"rag", *ARMS}


def test_runs_on_different_cases_are_not_compared(ran: Ran) -> None:
    """Another fold asks other questions; the message says how many cases differ."""
    other = go(small_job(protocol={"fold": 2}), ["single"])
    with pytest.raises(ConfigError, match=r"not on the same cases \(\d+ only in the first"):
        compare_runs(None, [ran.run_id, other.run_id])


def test_an_unknown_run_is_missing_data() -> None:
    """The message names it."""
    with pytest.raises(MissingDataError, match="there is no run 0123abcd"):
        compare_runs(None, ["0123abcd"])


def test_every_baseline_can_be_run() -> None:
    """All in one job, but for what the embedded model has not; warm ones are not beside cold."""
    arms = [name for name in BASELINES if name != "single-logprobs"]
    table = go(small_job(protocol={"dev": 3}), arms).table
    found = rows(table.split("## Answers as distributions")[0])
    assert set(found) == set(arms)
    assert found["country-mode"].keys() != found["blank"].keys()


def test_the_study_is_the_configs_own(ran: Ran, tracker: Tracker) -> None:
    """The run keeps the resolved config, so that it can be run again from the store."""
    text = tracker.read_text(ran.run_id, "config.json")
    assert JobConfig.model_validate_json(text) == small_job()
