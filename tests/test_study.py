import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from jobs import small_job, tables

import evals.study
from evals.running import _protocol
from evals.study import (
    SETS,
    SPLITS,
    Study,
    draw,
    open_study,
    open_survey,
)
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.config import JobConfig, parse_job
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.store import cache_location
from valuesim_dspy.survey.dependence import dependent_pairs
from valuesim_dspy.survey.synthetic import SYNTHETIC_DOI, SYNTHETIC_VERSION, write_synthetic

HOSTED = {"model": "openai/gpt-4o-mini", "api_base": "https://models.example.org:8443/v1"}
LOOPBACK = {"model": "openai/some", "api_base": "http://127.0.0.1:9/v1"}


@pytest.fixture(scope="module")
def study() -> Iterator[Study]:
    """A small study of synthetic people, its cache in memory."""
    with open_study(small_job(), cache=ResponseCache()) as opened:
        yield opened


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that says it is a survey of people (its rows are made up all the same)."""
    path = write_synthetic(tmp_path_factory.mktemp("survey") / "people.csv", 120, seed=3)
    text = path.read_text(encoding="utf-8")
    marked = text.replace(SYNTHETIC_VERSION, "6-0-0").replace(SYNTHETIC_DOI, "10.0000/none")
    path.write_text(marked, encoding="utf-8")
    return path


@pytest.fixture
def nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a language model or an embedder is made."""

    def made(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a model was made before consent")

    monkeypatch.setattr(evals.study, "make_lm", made)
    monkeypatch.setattr(evals.study, "make_embedder", made)


def opened(config: JobConfig) -> Any:
    """Open a study with its cache in memory."""
    return open_study(config, cache=ResponseCache())


def told(study: Study, role: str) -> list[tuple[str, str, int]]:
    """Return a set's cases as plain values."""
    return [(e.case.profile.key, e.case.question.id, e.answer) for e in study.examples(role)]


# --- what is the same, and what is another study ------------------------------------------------


def test_the_same_config_gives_the_same_study(study: Study) -> None:
    """People, roles, cases and identity are a function of the config."""
    with opened(small_job()) as again:
        assert again.identity == study.identity
        assert again.fold.digest == study.fold.digest
        assert again.split.digest == study.split.digest
        for role in SETS:
            assert told(again, role) == told(study, role)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"threads": 3},
        {"budget": {"calls": 7}},
        {"store": "elsewhere"},
        {"confirm_calls": 1},
        {"share_rows": True},
        {"send_to": ["models.example.org"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_identity_is_blind_to_how_a_job_runs(study: Study, change: dict[str, Any]) -> None:
    """A job goes on under the same identity with another name, pace, budget or store."""
    with opened(small_job(**change)) as other:
        assert other.identity == study.identity


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"data": {"respondents": 251}},
        {"data": {"seed": 1}},
        {"protocol": {"fold": 2}},
        {"protocol": {"dev": 7}},
        {"protocol": {"targets": 3}},
        {"task_lm": {"temperature": 0.5}},
        {"embedder": {"k": 4}},
        {"variant": "single"},
        {"compile": {"demo_facts": 3}},
    ],
    ids=lambda change: json.dumps(change),
)
def test_identity_follows_what_decides_results(study: Study, change: dict[str, Any]) -> None:
    """Data, protocol, models and variant each make another study."""
    with opened(small_job(**change)) as other:
        assert other.identity != study.identity
    assert re.fullmatch("[0-9a-f]{16}", study.identity)


def test_identity_follows_the_bytes_of_the_data(survey: Path, tmp_path: Path) -> None:
    """The same path with another row is another study; the config alone does not decide."""
    copy = tmp_path / "people.csv"
    copy.write_bytes(survey.read_bytes())
    config = small_job(data={"survey": str(copy)})
    with opened(config) as before:
        pass
    lines = copy.read_text(encoding="utf-8").splitlines(keepends=True)
    copy.write_text("".join(lines[:-1]), encoding="utf-8")
    with opened(config) as after:
        assert after.identity != before.identity
        assert len(after.respondents) == len(before.respondents) - 1


def test_identity_follows_the_code(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of the code is another study."""
    before = study.identity
    monkeypatch.setattr(evals.study, "code_digest", lambda: "0" * 16)
    assert study.identity != before


# --- the sets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", ["battery", "topic", "question", "paper"])
def test_no_set_has_a_person_or_a_target_of_another(folds: str) -> None:
    """Whatever the fold, what is fitted has seen neither these people nor these questions."""
    with opened(small_job(protocol={"folds": folds, "targets": 4})) as study:
        people = {role: {key for key, _, _ in told(study, role)} for role in SETS}
        asked = {role: {qid for _, qid, _ in told(study, role)} for role in SETS}
    for index, role in enumerate(SETS):
        assert people[role] and asked[role]
        for other in SETS[index + 1 :]:
            assert people[role].isdisjoint(people[other])
            assert asked[role].isdisjoint(asked[other])
        assert asked[role] <= set(study.fold.targets(role))


@pytest.mark.parametrize("role", SETS)
def test_a_profile_never_holds_a_target_of_any_set(study: Study, role: str) -> None:
    """What is known of a person is profile questions only, and never the question asked."""
    targets = {qid for other in SETS for qid in study.fold.targets(other)}
    for example in study.examples(role):
        assert targets.isdisjoint(example.case.profile.answers)
        assert set(example.case.profile.answers) <= set(study.fold.profile)


def test_the_published_fold_hides_test_targets_from_test_people() -> None:
    """Train, val and dev targets are facts for test persons; test targets are for nobody."""
    with opened(small_job(protocol={"folds": "paper"})) as study:
        hidden = set(study.fold.targets("test"))
        for role in SETS:
            for example in study.examples(role):
                assert hidden.isdisjoint(example.case.profile.answers)
                assert example.case.question.id not in example.case.profile.answers


def test_a_set_has_the_people_and_targets_that_were_asked_for(study: Study) -> None:
    """Sizes are numbers of respondents; `targets` bounds the cases of each."""
    sizes = {"train": 6, "val": 4, "dev": 6, "test": 4}
    for role, size in sizes.items():
        keys = [key for key, _, _ in told(study, role)]
        assert len(set(keys)) == size
        assert max(keys.count(key) for key in keys) == 2


def test_answers_are_those_of_the_survey(study: Study) -> None:
    """Every example carries the code that its respondent gave."""
    salt = study.respondents.digest
    people = {study.respondents[i].key(salt): study.respondents[i] for i in study.split.dev}
    for key, qid, answer in told(study, "dev"):
        assert people[key].answer(qid) == answer
        assert answer in study.codebook[qid].codes


def test_examples_are_made_once(study: Study) -> None:
    """The arms of a study share its cases."""
    assert study.examples("dev") is study.examples("dev")


def test_a_case_shows_a_salted_key_and_no_id(study: Study) -> None:
    """What may stand in a log does not lead back to a row."""
    ids = {str(study.respondents[place].id) for place in study.split.dev}
    for example in study.examples("dev"):
        shown = re.findall(r"\w+", repr(example.case))
        assert ids.isdisjoint(shown)


def test_more_people_than_there_are_is_a_config_error() -> None:
    """The message names the sizes asked for and how many people there are."""
    with (
        pytest.raises(ConfigError, match=r"train.*train 900.*250 people"),
        opened(small_job(protocol={"train": 900})),
    ):
        pass


# --- consent ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nobody_asked")
@pytest.mark.parametrize("role", ["task_lm", "prompt_lm", "teacher_lm", "embedder"])
def test_real_answers_go_to_no_host_without_consent(survey: Path, role: str) -> None:
    """The host and the number of people are named before any model is made."""
    config = small_job(data={"survey": str(survey)}, **{role: HOSTED})
    with pytest.raises(ConfigError) as caught, opened(config):
        pass
    said = str(caught.value)
    assert "answers of 120 respondents" in said
    assert "--send-to models.example.org:8443" in said


@pytest.mark.usefixtures("nobody_asked")
def test_a_provider_without_an_address_is_named_itself(survey: Path) -> None:
    """Without an address the host is the provider."""
    config = small_job(data={"survey": str(survey)}, task_lm={"model": "anthropic/some"})
    with pytest.raises(ConfigError, match="--send-to anthropic to agree"), opened(config):
        pass


@pytest.mark.usefixtures("nobody_asked")
def test_consent_to_one_host_is_none_to_another(survey: Path) -> None:
    """Every host is agreed to by name."""
    teacher = {**HOSTED, "api_base": "https://teacher.example.org/v1"}
    send_to = ["models.example.org:8443"]
    config = small_job(
        data={"survey": str(survey)}, task_lm=HOSTED, teacher_lm=teacher, send_to=send_to
    )
    with pytest.raises(ConfigError, match=r"teacher\.example\.org"), opened(config):
        pass


def test_send_to_is_consent(survey: Path) -> None:
    """With the host agreed to, the study opens."""
    send_to = ["models.example.org:8443"]
    config = small_job(data={"survey": str(survey)}, task_lm=HOSTED, send_to=send_to)
    with opened(config) as study:
        assert study.task_lm.role.host == "models.example.org:8443"
        assert not study.offline


def test_a_server_on_this_machine_needs_no_consent(survey: Path) -> None:
    """Nothing leaves the machine for a loopback address, nor for the embedded model."""
    for lm in (LOOPBACK, {}):
        with opened(small_job(data={"survey": str(survey)}, task_lm=lm)) as study:
            assert study.evidence == "survey"


def test_made_up_people_need_no_consent() -> None:
    """There is nobody to protect."""
    with opened(small_job(task_lm=HOSTED)) as study:
        assert study.respondents.synthetic


# --- what a study holds -------------------------------------------------------------------------


def test_all_roles_count_on_the_studys_meter_under_its_budget() -> None:
    """One budget covers every model of the job."""
    with opened(small_job(teacher_lm={"model": "offline/lexical-1"}, budget={"calls": 3})) as study:
        assert set(study.lms) == {"task_lm", "teacher_lm"}
        assert all(lm.meter is study.meter for lm in study.lms.values())
        assert study.meter.budget is not None and study.meter.budget.calls == 3


def test_an_open_study_answers_from_its_cache_and_leaves_nothing_behind() -> None:
    """Cache and LM are in force while it is open, and no prompt is kept in memory."""
    before, lm_before = vars(dspy).get("cache"), dspy.settings.lm
    with opened(small_job()) as study:
        assert dspy.cache is study.cache
        assert dspy.settings.lm is study.task_lm
        dspy.Predict("word -> reply")(word="ready")
        assert study.task_lm.history == []
        assert study.cache.count == 1
    assert vars(dspy).get("cache") is before
    assert dspy.settings.lm is lm_before


def test_without_a_cache_the_users_is_opened() -> None:
    """Answers are kept from one job to the next, in a private file."""
    with open_study(small_job()) as study:
        assert study.cache.path == cache_location()
        dspy.Predict("word -> reply")(word="ready")
    with open_study(small_job()) as again:
        assert again.cache.count == 1
    assert cache_location().stat().st_mode & 0o077 == 0


def test_a_manifest_tells_how_to_draw_fold_and_split_again(study: Study) -> None:
    """Loaded elsewhere, a program gets the very questions and people it was kept from."""
    manifest = study.manifest("valuesim", "full", scores={"dev accuracy": 0.5})
    fold, sizes = manifest.fold, manifest.split["sizes"]
    protocol = {
        "folds": fold["strategy"],
        "fold": fold["index"],
        "seed": fold["seed"],
        "kinds": str(fold["kinds"]).split(","),
        **sizes,  # type: ignore[dict-item]
    }
    again = draw(parse_job({**tables(), "protocol": protocol}), study.respondents)
    assert again[0].digest == fold["digest"] == study.fold.digest
    assert again[1].digest == manifest.split["digest"] == study.split.digest
    assert manifest.scores == {"dev accuracy": 0.5}


def test_a_manifest_says_whose_answers_it_may_hold(study: Study, survey: Path) -> None:
    """Demos of real people are marked; those of made-up ones are not."""
    made_up = study.manifest("valuesim", "full")
    assert (made_up.evidence, made_up.demos_hold_survey_data) == ("synthetic-machinery", False)
    with opened(small_job(data={"survey": str(survey)})) as real:
        found = real.manifest("valuesim", "full")
        assert (found.evidence, found.demos_hold_survey_data) == ("survey", True)
        assert found.data["rows"] == 120
        assert real.manifest("valuesim", "full", demos_hold_survey_data=False) != found


def test_a_manifest_holds_names_of_models_and_no_address() -> None:
    """Where a model is, and with which key, stays with its user."""
    with opened(small_job(task_lm=LOOPBACK)) as study:
        text = study.manifest("valuesim", "full").model_dump_json()
        assert "openai/some" in text
        assert "127.0.0.1" not in text


def test_open_survey_reads_a_file_or_makes_people(survey: Path) -> None:
    """`synthetic` is a population, anything else a file; an absent file is missing data."""
    assert open_survey(small_job().data).synthetic
    read = open_survey(small_job(data={"survey": str(survey)}).data)
    assert (len(read), read.synthetic) == (120, False)
    with pytest.raises(MissingDataError):
        open_survey(small_job(data={"survey": str(survey.with_name("none.csv"))}).data)


# --- dependence and splits ----------------------------------------------------------------------

LARGER = {"data": {"respondents": 600}, "protocol": {"train": 200, "test": 20, "dev": 20}}


def drawn_with(**protocol: Any) -> tuple[Any, Any]:
    """Draw fold and split of 600 synthetic people under a protocol."""
    base = {**LARGER, "protocol": {**LARGER["protocol"], **protocol}}
    config = small_job(**base)
    return draw(config, open_survey(config.data))


def test_dependence_is_estimated_on_the_train_people_of_the_split() -> None:
    """The fold's pairs are those of the split's train people, and of nobody else."""
    fold, split = drawn_with()
    people = open_survey(small_job(**LARGER).data)
    assert fold.dependence == dependent_pairs(people, split.train, 0.35) != ()
    assert fold.dependence != dependent_pairs(people, [*split.test, *split.dev, *range(100)], 0.35)
    assert fold.dropped and not set(fold.dropped) & set(fold.profile)


def test_dependence_is_part_of_the_folds_identity() -> None:
    """Another threshold, or none, is another fold on the same split."""
    default, none, low = (
        drawn_with(**p) for p in ({}, {"dependence": "none"}, {"dependence": 0.9})
    )
    assert len({fold.digest for fold, _ in (default, none, low)}) == 3
    assert none[0].dependence == none[0].dropped == ()
    assert default[1] == none[1] == low[1]


@pytest.mark.parametrize("folds", ["question", "paper"])
def test_published_folds_know_no_dependence(folds: str) -> None:
    """Question and paper folds leak as published, whatever the threshold."""
    assert drawn_with(folds=folds)[0] == drawn_with(folds=folds, dependence="none")[0]


def test_a_split_is_drawn_as_the_config_says() -> None:
    """At random, by country, with whole countries left out, or with the published sample."""
    kinds = {name: drawn_with(split=name)[1] for name in SPLITS}
    assert kinds["paper"].kind == "paper"
    assert (kinds["random"].kind, kinds["random"].stratify) == ("random", None)
    assert (kinds["stratified"].kind, kinds["stratified"].stratify) == ("random", "country")
    assert kinds["countries"].kind == "leave-countries-out"
    assert len({split.digest for split in kinds.values()}) == 4
    named = drawn_with(split="countries", test_countries=["JPN"], dev_countries=["EGY"])[1]
    assert named.left_out == (("test", ("JPN",)), ("dev", ("EGY",)))


def test_a_country_that_nobody_is_of_is_a_config_error() -> None:
    """The countries there are, are listed."""
    with pytest.raises(ConfigError, match="test_countries: nobody here is of 'FRA'; allowed: CHN"):
        drawn_with(split="countries", test_countries=["FRA"])


@pytest.mark.parametrize(
    "protocol",
    [{}, {"dependence": "none", "split": "random"}, {"dependence": 0.5, "split": "countries"}],
)
def test_a_manifest_draws_the_same_again(protocol: dict[str, Any]) -> None:
    """A saved program is measured on the fold and split it was compiled on, whatever the config."""
    config = small_job(**{**LARGER, "protocol": {**LARGER["protocol"], **protocol}})
    with opened(config) as study:
        manifest = study.manifest("valuesim", "full")
        other = small_job(data=LARGER["data"], seed=3)
        again = config.model_copy(update={"protocol": _protocol(other, "-", manifest)})
        fold, split = draw(again, study.respondents)
        assert (fold, split) == (study.fold, study.split)
        assert fold.digest == manifest.fold["digest"]


def test_a_manifest_of_before_dependence_is_read_as_it_was_made(study: Study) -> None:
    """Without a word on them, a program was compiled without dependence and by country."""
    manifest = study.manifest("valuesim", "full")
    fold = {key: item for key, item in manifest.fold.items() if key != "dependence"}
    split = {key: item for key, item in manifest.split.items() if key != "kind"}
    old = manifest.model_copy(update={"fold": fold, "split": split})
    protocol = _protocol(small_job(protocol={"split": "random"}), "-", old)
    assert (protocol.dependence, protocol.split) == (None, "stratified")


def test_a_study_measures_its_own_leakage(study: Study) -> None:
    """On its train people and its fold, once."""
    assert study.leakage is study.leakage
    assert study.leakage.people == len(study.split.train)
