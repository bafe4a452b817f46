"""A model card says what a program is, what it was measured on, and what it is not for."""

import stat
from pathlib import Path

import pytest
from reported import frame, full_job, log_arm, start, store

from evals.model_card import INTENDED, NOT_FOR, model_card, promoted_cards, write_model_card
from evals.registry import Registry
from evals.report import MACHINERY
from evals.report_reading import read_evidence
from evals.tracking import Tracker
from valuesim_dspy.errors import MissingDataError, ValueSimError
from valuesim_dspy.loading import save_program
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.program import ValueSim

pytestmark = pytest.mark.slow


def manifest(**changes: object) -> Manifest:
    """Return the manifest of a compiled program."""
    known: dict[str, object] = {
        "kind": "valuesim",
        "variant": "facts-only",
        "teleprompter": "bootstrap",
        "lms": {"task_lm": "openai/some-model-2026"},
        "seed": 42,
        "fold": {"strategy": "battery", "index": 1, "of": 5, "digest": "0123456789abcdef"},
        "split": {"seed": 7, "sizes": {"train": 30, "val": 20}},
        "data": {"digest": "ab" * 32, "rows": 4321, "stamp": "survey 6-0"},
        "scores": {"dev accuracy": 0.51234567},
        "demo_questions": {"Q1": (1, 2), "Q2": (1, 2)},
        "demos_hold_survey_data": True,
    }
    return Manifest(**(known | changes))  # type: ignore[arg-type]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A saved program."""
    return save_program(ValueSim("facts-only"), tmp_path / "program", manifest(scores={}))


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """A new store, which is the one that programs are looked up in."""
    made = store(tmp_path / "mlruns")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    return made


def test_a_card_says_what_the_manifest_knows() -> None:
    """Variant and what it is, teleprompter, demos, model, data, fold, split, scores."""
    card = model_card(manifest(), "models:/valuesim/3")
    for part in (
        *("facts-only", "three perspectives on the facts", "compiled by bootstrap"),
        *("demos of 2 questions", "openai/some-model-2026", "4321", "abababababab"),
        *("strategy battery", "sizes train 30, val 20", "dev accuracy", "0.5123"),
        *("models:/valuesim/3", "Its demos hold survey data"),
    ):
        assert part in card, part
    assert "abababababababab" not in card
    assert MACHINERY not in card


def test_a_card_says_what_the_program_is_for_and_not_for() -> None:
    """Decisions, polls, targeting: in every card."""
    card = model_card(manifest(), "x")
    assert all(f"- {line}" in card for line in (*INTENDED, *NOT_FOR))
    assert card.index("## Intended use") < card.index("## Not for")


@pytest.mark.parametrize(
    "changes",
    [{"evidence": "synthetic-machinery"}, {"lms": {"task_lm": "offline/lexical-1"}}],
)
def test_machinery_is_called_so(changes: dict[str, object]) -> None:
    """Synthetic people, or the embedded model."""
    assert MACHINERY in model_card(manifest(**changes), "x")


def test_what_a_manifest_says_is_no_markup() -> None:
    """A file from elsewhere writes neither tags nor lines of its own into the card."""
    evil = manifest(variant="x\n# Owned", lms={"task_lm": "<img src=x>|"})
    card = model_card(evil, "a\nb")
    assert "\n# Owned" not in card
    assert "<img" not in card
    assert "\nb" not in card


def test_no_scores_and_no_demos_are_said() -> None:
    """So that nothing is taken for good that was not measured."""
    card = model_card(manifest(scores={}, demos_hold_survey_data=False), "x")
    assert "saved without scores" in card
    assert "Neither its demos nor its instructions hold survey data." in card
    written = model_card(manifest(instructions_saw_survey_data=True), "x")
    assert "instructions were written by a model that had read survey data" in written


def test_a_card_is_written_for_its_owner_only(program: Path, tmp_path: Path) -> None:
    """From the program's folder."""
    out = write_model_card(program, tmp_path / "card.md")
    assert "facts-only" in out.read_text()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with pytest.raises(ValueSimError, match="cannot be written"):
        write_model_card(program, tmp_path / "absent" / "card.md")
    with pytest.raises(MissingDataError):
        write_model_card(tmp_path / "absent", tmp_path / "card.md")


@pytest.mark.slow
def test_the_champion_among_the_arms_has_a_card(tracker: Tracker, program: Path) -> None:
    """And no program that is not; a store without a champion has no cards."""
    run = full_job(tracker)
    evidence = read_evidence(tracker, [run])
    assert promoted_cards(tracker, evidence) == {}
    registry = Registry(tracker)
    arm = evidence.settings[0].arms[4].runs[0]["run_id"]
    version = registry.register(program, arm, tags={})
    registry.crown(version)
    ((name, (what, card)),) = promoted_cards(tracker, evidence).items()
    assert name == "valuesim-1"
    assert what.startswith("The champion, models:/valuesim/1")
    assert "compiled by bootstrap" in card
    with start(tracker, identity="other") as job:
        log_arm(job, "rag", frame(0.4))
    assert promoted_cards(tracker, read_evidence(tracker, [job.run_id])) == {}


def test_a_registered_program_that_a_job_was_given_has_a_card(
    tracker: Tracker, program: Path
) -> None:
    """By the name it was given by; one that is gone since has none."""
    subject = "full, models:/valuesim/1, models:/valuesim/9"
    with start(tracker, subject=subject) as job:
        run = log_arm(job, "rag", frame(0.4))
    Registry(tracker).register(program, run, tags={})
    cards = promoted_cards(tracker, read_evidence(tracker, [job.run_id]))
    assert list(cards) == ["valuesim-1"]
    assert cards["valuesim-1"][0].startswith("A registered program")
