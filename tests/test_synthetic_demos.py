"""Demos of nobody: made-up people on the study's own questions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jobs import Stopping, run, small_job, survey_file

from evals.study import build_arm, open_study
from optimize.arm_compiling import compile_arm, save_arm
from optimize.demo_rendering import demo_counts
from optimize.instruction_scan import instructions_of
from optimize.synthetic_demos import synthetic_cases
from optimize.teleprompters import TELEPROMPTERS
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.loading import read_manifest
from valuesim_dspy.program import ValueSim

SYNTHETIC = {"demos": "synthetic", "arms": []}


def test_they_are_asked_what_training_people_are() -> None:
    """As many people, the same fold's train targets, as many of them each."""
    with open_study(small_job(compile=SYNTHETIC), cache=ResponseCache()) as study:
        cases, train = synthetic_cases(study), study.examples("train")
    people = {example.case.profile.key for example in cases}
    assert len(people) == 6 and len(cases) == 12
    # A profile is the same for all of a fold's targets, so what is one's fact is no target.
    questions = {example.case.question.id for example in cases}
    known = {fact.question for example in train for fact in example.case.profile.facts}
    assert known and not questions & known


def test_they_are_nobody_of_a_synthetic_survey_either() -> None:
    """Drawn with a seed of their own, and the same at every run."""
    with open_study(small_job(compile=SYNTHETIC), cache=ResponseCache()) as study:
        cases, again = synthetic_cases(study), synthetic_cases(study)
        everybody = {person.key(study.respondents.digest) for person in study.respondents}
    assert [e.case for e in cases] == [e.case for e in again]
    facts = {
        example.case.profile.facts_text
        for role in ("train", "val", "dev", "test")
        for example in study.examples(role)
    }
    assert not {example.case.profile.facts_text for example in cases} & facts
    assert not {example.case.profile.key for example in cases} & everybody


@pytest.mark.parametrize("demos", ["data", "none"])
def test_there_are_none_unless_asked_for(demos: str) -> None:
    """Where demos are the trainset's, or are not made."""
    changes: dict[str, Any] = {"demos": demos, "teleprompter": "copro", "options": {}}
    with open_study(small_job(compile=changes), cache=ResponseCache()) as study:
        assert synthetic_cases(study) == []


def test_another_codebook_is_refused() -> None:
    """Made-up people answer the packaged one alone."""
    study: Any = SimpleNamespace(
        config=small_job(compile=SYNTHETIC), codebook=SimpleNamespace(id="another")
    )
    with pytest.raises(ConfigError, match=r"compile\.demos"):
        synthetic_cases(study)


def test_their_program_says_that_it_holds_no_survey_data(tmp_path: Path) -> None:
    """On a survey's file: with demos of its people the manifest says the contrary."""
    survey = survey_file(tmp_path / "s.csv")
    told = {}
    for demos in ("data", "synthetic"):
        config = small_job(
            data={"survey": str(survey)}, variant="single", compile={"arms": [], "demos": demos}
        )
        with open_study(config, cache=ResponseCache()) as study:
            student = ValueSim("single")
            teleprompter = TELEPROMPTERS["labeled-few-shot"]
            compiled = compile_arm(
                study,
                "single",
                student,
                teleprompter,
                teleprompter.parse({"k": 3}),
                lms=study.lms,
                log=None,
                demo_cases=synthetic_cases(study),
            )
            folder = save_arm(
                study,
                compiled.program,
                tmp_path / demos,
                teleprompter="labeled-few-shot",
                scores={},
                defaults=instructions_of(student),
            )
        assert demo_counts(compiled.program) == {"direct.answer": 3}
        people = [example.case.profile for example in study.examples("train")]
        facts = {fact for person in people for fact in person.facts_text.split("\n")}
        shown = compiled.program.direct.answer.demos[0]["facts"].split("\n")
        told[demos] = read_manifest(folder).demos_hold_survey_data
        assert not read_manifest(folder).instructions_saw_survey_data
        assert demos == "synthetic" or set(shown) <= facts
    assert told == {"data": True, "synthetic": False}


@pytest.mark.slow
def test_a_job_scores_on_real_cases_and_shows_made_up_ones(tmp_path: Path) -> None:
    """Bootstrapped from them; measured on the study's people as always."""
    engine = Stopping()
    compiled = {"teleprompter": "bootstrap", "options": {"max_demos": 2}, **SYNTHETIC}
    done = run(tmp_path, small_job(compile=compiled), engine)
    assert {result.label for result in done.job.results} >= {"full", "full compiled"}
    assert read_manifest(done.program).demos_hold_survey_data is False


@pytest.mark.parametrize("variant", ["single-peers", "rag-peers"])
def test_what_reads_real_people_has_no_demos_of_nobody(variant: str) -> None:
    """A demo would show what training people answered, and the manifest would deny it."""
    job = small_job(variant="single-peers", compile={**SYNTHETIC, "arms": [variant]})
    with open_study(job, cache=ResponseCache()) as study:
        student = build_arm(study, variant)
        teleprompter = TELEPROMPTERS["labeled-few-shot"]
        with pytest.raises(ConfigError, match="similar training people"):
            compile_arm(
                study,
                variant,
                student,
                teleprompter,
                teleprompter.parse({}),
                lms=study.lms,
                log=None,
                demo_cases=synthetic_cases(study),
            )
