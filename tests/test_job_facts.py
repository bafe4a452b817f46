import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evals.job_facts import ARM_PARAMS, arm_params, describe_job, fold_label, usage_metrics
from evals.study import Study, open_study
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.config import parse_job
from valuesim_dspy.survey.synthetic import SYNTHETIC_DOI, SYNTHETIC_VERSION, write_synthetic
from valuesim_dspy.usage import Usage

JOB: dict[str, Any] = {
    "name": "small",
    "data": {"respondents": 60},
    "protocol": {"train": 4, "val": 4, "dev": 5, "test": 4, "targets": 3},
    "compile": {"teleprompter": "labeled-few-shot"},
}


@pytest.fixture(scope="module")
def study() -> Iterator[Study]:
    """A small study of synthetic people."""
    with open_study(parse_job(JOB), cache=ResponseCache()) as opened:
        yield opened


def test_a_compile_job_is_tagged_with_what_it_compiles(study: Study) -> None:
    """Runs group by evidence, LM, teleprompter, variant, fold and stamp."""
    facts = describe_job(study, command="optimize", subject="full")
    assert facts.tags == {
        "evidence": "synthetic-machinery",
        "task_lm": "offline/lexical-1",
        "teleprompter": "labeled-few-shot",
        "variant": "full",
        "fold": "battery-1of5",
        "stamp": "synthetic",
    }
    assert (facts.name, facts.identity) == ("small", study.identity)


def test_a_benchmark_compiles_nothing(study: Study) -> None:
    """Its subject is what was measured, and its identity may be narrower than the study's."""
    facts = describe_job(study, command="evals", subject="rag", identity="narrow", split="dev")
    assert (facts.tags["teleprompter"], facts.tags["variant"]) == ("none", "rag")
    assert (facts.identity, facts.details["split"]) == ("narrow", "dev")


def test_the_record_holds_digests_and_versions_and_no_rows(study: Study) -> None:
    """The data are known by name, digest and size."""
    facts = describe_job(study, command="evals", subject="rag")
    assert (facts.data.name, facts.data.rows) == ("synthetic", 60)
    assert study.respondents.digest.startswith(facts.data.digest)
    manifest = facts.details["manifest"]
    assert manifest["fold"]["digest"] == study.fold.digest
    assert manifest["split"]["digest"] == study.split.digest
    assert facts.config == study.config.resolved()


def test_the_record_says_what_leaks(study: Study) -> None:
    """Fold, split and leakage stand in the record in words and numbers, as JSON can hold them."""
    drawn = describe_job(study, command="evals", subject="rag").details["drawn"]
    assert drawn["fold"] == study.fold.describe()
    assert drawn["split"] == study.split.describe()
    assert json.loads(json.dumps(drawn["leakage"]))["people"] == len(study.split.train) == 4
    assert drawn["leakage"]["sets"] == {}  # four training people measure nothing


def test_an_arms_params_are_those_every_arm_has(study: Study) -> None:
    """Together with its name they are the whole set; people and questions are counted."""
    params = arm_params(study, "dev", kind="rag", variant="rag", teleprompter="none", knows="cold")
    assert {"arm", *params} == set(ARM_PARAMS)
    assert params["people"] == 5
    assert 1 <= int(str(params["questions"])) <= 15
    assert str(params["split"]).startswith("dev ")
    assert params["embedder"] == "lexical"


def test_unknown_money_is_not_logged_as_zero() -> None:
    """Dollars appear where every price is known, needed and paid apart."""
    needed = Usage(calls=10, prompt_tokens=100, completion_tokens=5, usd=None, unpriced_calls=10)
    metrics = usage_metrics(needed, Usage())
    assert metrics == {
        "calls_needed": 10,
        "tokens_needed": 105,
        "calls_paid": 0,
        "tokens_paid": 0,
        "usd_paid": 0.0,
    }


def test_needed_and_paid_are_kept_apart() -> None:
    """What a cache answered is needed and not paid."""
    needed, paid = Usage(3, 20, 4, 0.5), Usage(1, 5, 1, 0.125)
    metrics = usage_metrics(needed, paid)
    assert (metrics["calls_needed"], metrics["calls_paid"]) == (3, 1)
    assert (metrics["tokens_needed"], metrics["tokens_paid"]) == (24, 6)
    assert (metrics["usd_needed"], metrics["usd_paid"]) == (0.5, 0.125)


def test_a_survey_is_named_by_its_codebook(tmp_path: Path) -> None:
    """Never by the path of its file, which may tell of its owner."""
    people = write_synthetic(tmp_path / "private.csv", 60, seed=3)
    text = people.read_text().replace(SYNTHETIC_VERSION, "6-0-0").replace(SYNTHETIC_DOI, "none")
    people.write_text(text)
    config = parse_job({**JOB, "data": {"survey": str(people)}})
    with open_study(config, cache=ResponseCache()) as opened:
        facts = describe_job(opened, command="evals", subject="rag")
    assert (facts.data.name, facts.data.rows) == ("wvs7", 60)
    assert facts.tags["evidence"] == "survey"
    assert "private" not in json.dumps([vars(facts.data), facts.tags, facts.details])


def test_the_record_is_plain_json_without_rows(study: Study) -> None:
    """It can be written as it is, and no id or answer of a respondent is in it."""
    facts = describe_job(study, command="evals", subject="rag")
    text = json.dumps([facts.config, facts.details, facts.tags])
    words = set(re.findall(r"\w+", text))
    assert words.isdisjoint(str(respondent.id) for respondent in study.respondents)
    assert words.isdisjoint(example.case.profile.key for example in study.examples("dev"))


@pytest.mark.parametrize(
    ("protocol", "label"),
    [
        ({"folds": "battery", "fold": 2}, "battery-2of5"),
        ({"folds": "topic", "fold": 5}, "topic-5of5"),
        ({"folds": "question"}, "question-1of5"),
    ],
)
def test_a_fold_is_told_in_a_word(protocol: dict[str, object], label: str) -> None:
    """Strategy, index and how many there are."""
    config = parse_job({**JOB, "protocol": {**JOB["protocol"], **protocol}})
    with open_study(config, cache=ResponseCache()) as opened:
        assert fold_label(opened) == label
        assert describe_job(opened, command="evals", subject="rag").tags["fold"] == label
