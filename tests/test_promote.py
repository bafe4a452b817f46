from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from champions import RIGHT, WRONG, compiled, frame, half, measured
from jobs import run, small_job
from stores import new_tracker

from evals.registry import MODEL, Registry
from evals.tracking import Tracker
from optimize.__main__ import main
from optimize.promote import promote_run
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.loading import load_program

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    """A tracker on a store of its own."""
    return new_tracker(tmp_path / "store")


@pytest.fixture
def store(tracker: Tracker, tmp_path: Path) -> Path:
    """The folder of that store."""
    return tmp_path / "store"


def versions(tracker: Tracker) -> list[Any]:
    """Return all registered versions, the first one first."""
    found = tracker.client.search_model_versions(f"name = '{MODEL}'")
    return sorted(found, key=lambda version: int(version.version))


def looks(tracker: Tracker) -> int:
    """Return how often promotions have read a devset."""
    tags = tracker.client.get_registered_model(MODEL).tags
    return sum(int(count) for name, count in tags.items() if name.startswith("valuesim.looks."))


def champion(tracker: Tracker) -> Any:
    """Return the champion, which there must be."""
    found = Registry(tracker).champion()
    assert found is not None
    return found


def test_the_first_one_becomes_champion_and_says_against_what_it_stands(
    tracker: Tracker, store: Path, tmp_path: Path
) -> None:
    """With nobody to beat it is promoted; the text tells its difference to RAG and the look."""
    job, arm = compiled(tracker, tmp_path, RIGHT, rag=half())
    told = promote_run(job, store=store)
    assert "no champion yet" in told
    assert "minus RAG as is: +50.0 points" in told
    assert "look 1 at this devset" in told
    assert "it ranks nothing" in told
    holder = champion(tracker)
    assert (holder.number, holder.run_id) == (1, arm)
    assert {"variant": "facts-only", "teleprompter": "bootstrap", "looks": "1"}.items() <= (
        holder.tags.items()
    )
    assert "forced" not in holder.tags


def test_without_a_rag_arm_the_first_one_is_compared_with_none(
    tracker: Tracker, store: Path, tmp_path: Path
) -> None:
    """A job may have measured no RAG."""
    job, _ = compiled(tracker, tmp_path, RIGHT)
    told = promote_run(job, store=store)
    assert "RAG" not in told
    assert champion(tracker).number == 1


def test_a_better_one_takes_the_alias(tracker: Tracker, store: Path, tmp_path: Path) -> None:
    """The lower bound of the paired interval is above 0: the alias moves."""
    promote_run(compiled(tracker, tmp_path, half(), seed=1)[0], store=store)
    told = promote_run(compiled(tracker, tmp_path, RIGHT, seed=2)[1], store=store)
    assert "difference: +50.0 points of accuracy [" in told
    assert "clustered by 30 respondents" in told
    assert "too narrow" not in told
    assert "champion: models:/valuesim/2" in told and "before it models:/valuesim/1" in told
    assert champion(tracker).number == 2


def test_an_interval_from_few_people_is_doubted(
    tracker: Tracker, store: Path, tmp_path: Path
) -> None:
    """The rule is the same; that the interval is too narrow is said."""
    few = half()[:19]
    promote_run(compiled(tracker, tmp_path, few, seed=1)[0], store=store)
    told = promote_run(compiled(tracker, tmp_path, RIGHT[:19], seed=2)[0], store=store)
    assert "fewer than 20 respondents: such an interval is too narrow" in told
    assert champion(tracker).number == 2


@pytest.mark.parametrize("right", [half(), half(1), (*half()[:-1], True), WRONG])
def test_one_that_is_not_shown_better_is_not_registered(
    tracker: Tracker, store: Path, tmp_path: Path, right: tuple[bool, ...]
) -> None:
    """As good, another half, a hair better, worse: the alias stays, the look is counted."""
    promote_run(compiled(tracker, tmp_path, half(), seed=1)[0], store=store)
    told = promote_run(compiled(tracker, tmp_path, right, seed=2)[0], store=store)
    assert "lower bound is not above 0" in told
    assert "not promoted; the champion stays models:/valuesim/1" in told
    assert [version.version for version in versions(tracker)] in (["1"], [1])
    assert looks(tracker) == 2
    assert champion(tracker).number == 1


def test_force_is_said_and_kept(tracker: Tracker, store: Path, tmp_path: Path) -> None:
    """A forced promotion carries a tag, says so, and still tells what the comparison found."""
    promote_run(compiled(tracker, tmp_path, RIGHT, seed=1)[0], store=store)
    told = promote_run(compiled(tracker, tmp_path, WRONG, seed=2)[0], store=store, force=True)
    assert "difference: -100.0 points" in told
    assert "forced: promoted without regard to the comparison" in told
    holder = champion(tracker)
    assert (holder.number, holder.tags["forced"]) == (2, "yes")


def test_looks_are_counted_and_printed(tracker: Tracker, store: Path, tmp_path: Path) -> None:
    """Each attempt that reads the devset counts; with more of them the text warns."""
    promote_run(compiled(tracker, tmp_path, half(), seed=1)[0], store=store)
    told = [
        promote_run(compiled(tracker, tmp_path, WRONG, seed=seed)[0], store=store)
        for seed in (2, 3)
    ]
    assert "look 2 at this devset" in told[0]
    assert "look 3 at this devset: with every look one is likelier to win by chance" in told[1]


def test_of_two_at_once_the_second_meets_the_first(
    tracker: Tracker, store: Path, tmp_path: Path
) -> None:
    """Equal programs promoted at the same time: one becomes champion, both looks are counted."""
    jobs = [compiled(tracker, tmp_path, RIGHT, seed=seed)[0] for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda job: promote_run(job, store=store), jobs))
    assert sorted("not promoted" in text for text in told) == [False, True]
    assert len(versions(tracker)) == 1
    assert looks(tracker) == 2


def test_the_champion_itself_is_no_look(tracker: Tracker, store: Path, tmp_path: Path) -> None:
    """The same program is not compared with itself, registered twice or counted."""
    job, arm = compiled(tracker, tmp_path, RIGHT)
    promote_run(job, store=store)
    assert "is the champion already: models:/valuesim/1" in promote_run(
        arm, store=store, force=True
    )
    assert len(versions(tracker)) == looks(tracker) == 1


def test_the_testset_never_selects(tracker: Tracker, store: Path, tmp_path: Path) -> None:
    """A run measured on the testset is refused, forced or not."""
    params = {"split": "test 0123abcd"}
    job, _ = compiled(tracker, tmp_path, RIGHT, params=params)
    for force in (False, True):
        with pytest.raises(ConfigError, match="testset, which reports and never selects"):
            promote_run(job, store=store, force=force)
    assert versions(tracker) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"evidence": "survey"}, "evidence is survey, the champion's is synthetic-machinery"),
        ({"params": {"knows": "warm"}}, "knows is warm, the champion's is cold"),
    ],
)
def test_unlike_things_are_not_compared(
    tracker: Tracker, store: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    """Synthetic people against a survey's, cold against warm: only by force, and then said."""
    promote_run(compiled(tracker, tmp_path, half(), seed=1)[0], store=store)
    job, _ = compiled(tracker, tmp_path, RIGHT, seed=2, **changes)
    with pytest.raises(ConfigError, match=said):
        promote_run(job, store=store)
    assert looks(tracker) == 1
    told = promote_run(job, store=store, force=True)
    assert f"not compared: {said}" in told.replace("run: ", "")
    assert champion(tracker).tags["forced"] == "yes"


def test_a_champion_that_has_not_met_these_cases_must_be_measured(
    tracker: Tracker, store: Path, tmp_path: Path
) -> None:
    """Other cases of the same devset: the message names the command whose run then serves."""
    promote_run(compiled(tracker, tmp_path, half(), seed=1)[0], store=store)
    job, _ = compiled(tracker, tmp_path, RIGHT, seed=2, table=frame(RIGHT, question="Q58"))
    with pytest.raises(
        MissingDataError, match=r"python -m evals run models:/valuesim/1 --config JOB\.toml$"
    ):
        promote_run(job, store=store)
    measured(tracker, "models:/valuesim/1", frame(half(), question="Q58"))
    assert "difference: +50.0 points" in promote_run(job, store=store)
    assert champion(tracker).number == 2


def test_predictions_of_another_version_do_not_stand_for_the_champion(
    tracker: Tracker, store: Path, tmp_path: Path
) -> None:
    """What `evals run` measured of version 7 says nothing of version 1."""
    promote_run(compiled(tracker, tmp_path, half(), seed=1)[0], store=store)
    job, _ = compiled(tracker, tmp_path, RIGHT, seed=2, table=frame(RIGHT, question="Q58"))
    measured(tracker, "models:/valuesim/7", frame(half(), question="Q58"))
    with pytest.raises(MissingDataError, match="has no predictions on the cases"):
        promote_run(job, store=store)


def test_a_champion_of_another_draw_is_not_measured_on_this_devset(
    tracker: Tracker, store: Path, tmp_path: Path
) -> None:
    """It may have been fitted on these people: the candidate goes to its fold, not it here."""
    other = {"fold": {"strategy": "topic", "digest": "0" * 16}}
    promote_run(compiled(tracker, tmp_path, half(), seed=1, **other)[0], store=store)
    table = frame(RIGHT, question="Q58")
    job, _ = compiled(tracker, tmp_path, RIGHT, seed=2, table=table)
    with pytest.raises(MissingDataError, match="compile the candidate on the champion's"):
        promote_run(job, store=store)


def test_the_same_task_lm_is_compared_where_both_have_answered(
    tracker: Tracker, store: Path, tmp_path: Path
) -> None:
    """Programs are compared, not models; where only another model answered, it is said."""
    promote_run(compiled(tracker, tmp_path, half(), seed=1)[0], store=store)
    params = {"task_lm": "openai/other"}
    job, _ = compiled(tracker, tmp_path, (*half()[:-1], True), seed=2, params=params)
    told = promote_run(job, store=store)
    assert "other task LMs answered: openai/other and offline/lexical-1" in told
    measured(tracker, "models:/valuesim/1", frame(WRONG), task_lm="openai/other")
    told = promote_run(job, store=store)
    assert "other task LMs" not in told
    assert champion(tracker).number == 2


@pytest.mark.parametrize("right", [(*RIGHT,), (*half(),)])
def test_a_result_that_is_invalid_is_not_promoted(
    tracker: Tracker, store: Path, tmp_path: Path, right: tuple[bool, ...]
) -> None:
    """Too few cases answered, with no champion to beat and with a worse one."""
    table = frame(right, failed=3)
    told = promote_run(compiled(tracker, tmp_path, right, seed=1, table=table)[0], store=store)
    assert "answered 90.0% of the cases, fewer than 95%: invalid" in told
    assert "the champion stays none" in told
    assert versions(tracker) == []


@pytest.mark.slow
def test_a_compile_job_is_promoted_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the job to `load_program("models:/valuesim@champion")`, which answers as compiled."""
    done = run(tmp_path, small_job(compile={"arms": []}))
    arguments = ["promote", done.job.run_id, "--store", str(done.store)]
    assert main(arguments) == 0
    assert "champion: models:/valuesim/1" in capsys.readouterr().out
    monkeypatch.setenv("MLFLOW_TRACKING_URI", done.tracker.uri)
    champion = load_program("models:/valuesim@champion")
    compiled = load_program(done.program)
    assert champion.dump_state() == compiled.dump_state()
    assert champion.manifest == compiled.manifest
    assert main(["show", "models:/valuesim@champion"]) == 0
    assert "teleprompter: labeled-few-shot" in capsys.readouterr().out
