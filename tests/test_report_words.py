"""The words of a report come from the config, and its limits from what was run."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from reported import CONFIG, DETAILS, SURVEY, arm, frame, full_job, log_arm, setting, start, store

from evals.report import MACHINERY
from evals.report_arms import Arm, Job
from evals.report_reading import read_evidence
from evals.report_words import (
    NO_PROMPT,
    NOT_KEPT,
    is_machinery,
    limits,
    methods,
    prompt_digests,
    prompts_digest,
)
from evals.tracking import Tracker

pytestmark = pytest.mark.slow


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    """A new store."""
    return store(tmp_path / "mlruns")


def told(*arms: Arm, role: str = "dev") -> str:
    """Return the methods of some arms as one text."""
    return " ".join(methods(setting(*arms, role=role)))


def test_methods_are_written_from_the_config() -> None:
    """Data and digest, split, folds, seeds, kinds, targets, models, embedder, teleprompter."""
    said = told(arm("rag", frame(0.4)), arm("full compiled", frame(0.5)))
    for part in (
        *("survey 6-0", "4,321 respondents", "sha256 abababababab", "codebook wvs7 version 1"),
        *("Random split, seed 7: 20 train, 24 dev of 4321 people.", "battery-1of5", "value"),
        *("at most 6 targets a person", "Seed of folds and split: 7", "whole batteries"),
        *("task_lm openai/some-model-2026", "sentence-transformers/mini", "bootstrap"),
        *("max_demos 2", "Failures count as wrong", "2,000 draws", "demo (ffffffff)", "seed 42"),
        "the devset",
    ):
        assert part in said, part
    assert "topic folds" not in said
    assert "no arm is compiled" not in said


def test_what_is_not_known_is_said() -> None:
    """A job that kept nothing has no data to tell of, and no options are made up."""
    bare = Job("f" * 32, "bare")
    said = told(arm("rag", frame(0.4), job=bare))
    assert "What data the runs are of is not in the store." in said
    assert "no arm is compiled" in said
    assert "all targets of a person" in said
    assert "seed unknown" in said


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("- reading 4 of this testset", "had been read 4 times by then"),
        ("nothing", "How often the testset had been read is not in these runs"),
    ],
)
def test_readings_of_the_testset_are_told(table: str, sentence: str) -> None:
    """On the testset alone."""
    job = Job("f" * 32, "demo", config=CONFIG, details=DETAILS, table=table)
    known = arm("rag", frame(0.4), job=job)
    assert sentence in told(known, role="test")
    assert "had been read" not in told(known, role="dev")


def test_a_wording_of_ones_own_is_told() -> None:
    """In the methods and in the limits."""
    book = {"id": "wvs7", "version": 1, "wording": "0a1b2c"}
    manifest = {**DETAILS["manifest"], "codebook": book}
    job = Job("f" * 32, "demo", config=CONFIG, details={**DETAILS, "manifest": manifest})
    known = setting(arm("rag", frame(0.4), job=job))
    assert "wording 0a1b2c" in " ".join(methods(known))
    assert any("a file of one's own" in line for line in limits(known))


def test_machinery_is_called_so() -> None:
    """Synthetic people or the embedded model, and not a survey with a real model."""
    plain = arm("rag", frame(0.4))
    assert not is_machinery(setting(plain))
    assert MACHINERY not in limits(setting(plain))
    embedded = arm("rag", frame(0.4), task_lm="offline/lexical-1")
    assert is_machinery(setting(embedded))
    runs = ({**plain.runs[0], "tags": {**SURVEY, "evidence": "synthetic-machinery"}},)
    synthetic = replace(plain, runs=runs)
    assert is_machinery(setting(synthetic))
    assert limits(setting(synthetic))[0] == MACHINERY


def test_limits_fit_what_was_run() -> None:
    """The devset, few people and a lexical RAG are said where they are, contamination always."""
    many = {"people": "200", "split": "test 0123abcd"}
    good = " ".join(limits(setting(arm("rag", frame(0.4), **many), role="test")))
    weak = " ".join(limits(setting(arm("rag", frame(0.4), embedder="lexical"))))
    assert "evals contamination" in good
    assert "no decision about a person" in good
    assert "One wave" in good
    for words in ("flatter", "people are few", "weak baseline"):
        assert words in weak
        assert words not in good


def test_prompts_are_told_by_digest(tracker: Tracker) -> None:
    """Variants by their signatures; arms without a language model have none."""
    evidence = read_evidence(tracker, [full_job(tracker)])
    digests = prompt_digests(tracker, evidence.settings[0].arms)
    assert digests["battery", "rag compiled"] == NOT_KEPT
    assert digests["battery", "country-mode"] == NO_PROMPT
    rag, single, full = (digests["battery", name] for name in ("rag", "single", "full"))
    # The two differ in the facts that they are given, not in what is asked of them.
    assert rag == single != full
    assert len(rag) == len(full) == 12
    assert len(prompts_digest(digests)) == 12
    changed = digests | {("battery", "rag"): "0" * 12}
    assert prompts_digest(changed) != prompts_digest(digests)
    assert prompts_digest(dict(reversed(digests.items()))) == prompts_digest(digests)


def test_a_program_that_was_kept_is_known_by_its_file(tracker: Tracker) -> None:
    """Its demos and instructions are in the digest."""
    with start(tracker) as job:
        run = log_arm(job, "full compiled", frame(0.5))
        tracker.log_text(run, '{"predictors": {}}', "program/program.json")
    (known,) = read_evidence(tracker, [job.run_id]).settings[0].arms
    digest = hashlib.sha256(b'{"predictors": {}}').hexdigest()[:12]
    assert prompt_digests(tracker, [known]) == {("battery", "full compiled"): digest}
