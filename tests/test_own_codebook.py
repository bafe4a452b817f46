"""A survey of one's own, end to end: labels, codebook, people, facts, folds, answers and jobs."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from jobs import job_file, living_in, small_job
from labelled import write_ess, write_wave6
from people import prompt_of, scripted

from evals.study import open_study, open_survey
from optimize.compile import run_job
from valuesim_dspy.__main__ import main
from valuesim_dspy.case import Case, make_cases, masked_profile
from valuesim_dspy.config import load_job
from valuesim_dspy.errors import ConfigError, ProgramStateError
from valuesim_dspy.loading import load_program, read_manifest, save_program
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.program import ValueSim
from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.survey.drafting import draft_codebook
from valuesim_dspy.survey.facts import make_facts
from valuesim_dspy.survey.own_wording import with_wording
from valuesim_dspy.survey.respondents import Respondents, read_respondents
from valuesim_dspy.survey.splits import make_fold, make_split


def drafted(survey: Path) -> Codebook:
    """The codebook that is drafted from a file's labels, unmended."""
    out = survey.with_suffix(".yaml")
    if not out.exists():
        draft_codebook(survey, out)
    return load_codebook(out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two surveys, ess.sav and wave6.sav, and the codebooks drafted from them."""
    folder = tmp_path_factory.mktemp("own")
    drafted(write_ess(folder / "ess.sav", 80))
    drafted(write_wave6(folder / "wave6.sav", 80))
    return folder


def people_of(folder: Path, name: str) -> Respondents:
    """The people of a survey."""
    survey = folder / f"{name}.sav"
    return read_respondents(survey, codebook=drafted(survey))


def job(name: str, **data: Any) -> dict[str, Any]:
    """Keys of a small job on a survey in the working directory."""
    return {
        "data": {"survey": f"{name}.sav", "codebook": f"{name}.yaml", **data},
        "protocol": {"train": 6, "val": 4, "dev": 6, "test": 4, "targets": 2},
    }


def test_people_like_the_ess_are_read(folder: Path) -> None:
    """Alpha-2 countries, ids that count anew in each, weights, years, positive missing codes."""
    people = people_of(folder, "ess")
    assert people.countries == {"GBR": 40, "NOR": 40}
    assert people.report.duplicates == 0 and people[0].id == "GB-1" and people[40].id == "NO-1"
    assert {person.year for person in people} == {2018}
    assert people[0].country_name == "Great Britain" and people[0].sex in ("male", "female")
    assert people.report.unknown_codes == {}
    assert set(people.report.missing) >= {"refusal", "dont-know", "no-answer", "missing"}
    refused = [person for person in people if person.missing("happy") == "refusal"]
    assert refused and all(person.answer("happy") is None for person in refused)
    assert people[3].age is None and people[3].missing("agea") == "missing"
    weights = people.weights
    assert people.report.weighted == 80 and weights.min() >= 0.5 and len(set(weights)) > 70


def test_people_like_wave_6_are_read(folder: Path) -> None:
    """Numbers of ISO for countries, V4 and not Q1: no new code, only a codebook."""
    people = people_of(folder, "wave6")
    assert people.countries == {"JPN": 40, "USA": 40} and people[0].id == "1"
    assert {person.year for person in people} == {2010}
    assert people.codebook.batteries["important-in-life"] == ("V4", "V5", "V6", "V7", "V8", "V9")
    assert people.codebook["V4"].direction == -1 and people.codebook["V203"].direction == 1
    assert all(person.age is not None and person.age >= 18 for person in people)
    assert set(people.report.missing) == {"dont-know", "no-answer", "not-asked", "missing"}


def test_facts_of_ones_own_survey_read_as_sentences(folder: Path) -> None:
    """In the second person, with their topic; different answers never read the same."""
    people = people_of(folder, "ess")
    person = next(person for person in people if len(person.answers) == len(people.codebook))
    facts = make_facts(person.answers, people.codebook, country=person.country)
    assert len(facts) == len(people.codebook)
    for fact in facts:
        assert "you" in fact.text.lower() and fact.text.endswith(".") and "{" not in fact.text
    code = person.answer("happy")
    assert facts[0].text == (
        f'Asked "How happy are you?", you placed yourself at {code} on a scale from 0 '
        "(extremely unhappy) to 10 (extremely happy)."
    )
    for question in people.codebook:
        told = [question.fact_text(option.code) for option in question.options]
        assert len(set(told)) == len(told)


@pytest.mark.parametrize("name", ["ess", "wave6"])
def test_ones_own_survey_is_simulated(folder: Path, name: str, offline: Any) -> None:
    """Folds, splits, cases and the program take any codebook; the embedded model answers."""
    people = people_of(folder, name)
    fold = make_fold(people.codebook, strategy="question", of=3, index=1)
    split = make_split(people, train=5, val=5, dev=5, test=6)
    examples = make_cases(people, split.test, fold, "test", max_targets=2)
    assert examples
    outcomes = answer_cases(ValueSim("full"), examples, threads=2)
    assert len(outcomes) == len(examples)
    for example, outcome in zip(examples, outcomes, strict=True):
        assert outcome.status == "answered", outcome.reason
        assert outcome.answer in example.case.question.codes


def test_a_battery_fold_keeps_batteries_together(folder: Path) -> None:
    """Batteries that were drafted are whole in every role."""
    codebook = drafted(folder / "ess.sav")
    fold = make_fold(codebook, strategy="battery", index=1, of=5)
    for members in codebook.batteries.values():
        assert len({fold.roles[id] for id in members if fold.roles[id] != "unused"}) <= 1


def test_a_job_takes_a_path_and_a_relative_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """data.codebook is a path from where the job is run."""
    monkeypatch.chdir(folder)
    config = load_job(job_file(folder / "job.toml", **job("wave6")))
    people = open_survey(config.data)
    assert people.codebook.id == "wave6" and len(people) == 80
    absolute = load_job(
        folder / "job.toml",
        [f"data.codebook={folder / 'wave6.yaml'}", f"data.survey={folder / 'wave6.sav'}"],
    )
    monkeypatch.chdir("/")
    assert open_survey(absolute.data).digest == people.digest


def test_synthetic_people_answer_the_packaged_codebook_only(folder: Path) -> None:
    """A codebook of one's own without a file is refused, by the name of its key."""
    config = small_job(data={"codebook": str(folder / "wave6.yaml")})
    with pytest.raises(ConfigError, match=r"data\.codebook: .*data\.survey"):
        open_survey(config.data)


def test_the_codebook_and_the_wording_are_part_of_a_jobs_identity(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cache: Any
) -> None:
    """What the wording file says counts, not what it is called."""
    monkeypatch.chdir(folder)
    found = []
    for text in ("Is your family important?", "Is your family important?", "How is family?"):
        (folder / "wording.csv").write_text(f'question,code,text\nV4,,"{text}"\n')
        config = small_job(**job("wave6", wording="wording.csv"), baselines=["mode"])
        with open_study(config, cache=cache) as study:
            found.append(study.identity)
            assert study.codebook["V4"].text == text
            manifest = study.manifest("valuesim", "full")
    assert found[0] == found[1] != found[2]
    assert manifest.codebook["id"] == "wave6" and len(str(manifest.codebook["wording"])) == 16


@pytest.mark.slow
def test_a_program_compiled_on_ones_own_survey_loads_anywhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """The manifest knows the codebook by its id; without it loading warns and goes on."""
    monkeypatch.chdir(folder)
    config = small_job(**job("wave6"))
    config = config.model_copy(
        update={"protocol": config.protocol.model_copy(update={"folds": "question"})}
    )
    with living_in(tmp_path):
        done = run_job(config)
    program = done.programs["full"]
    manifest = read_manifest(program)
    assert manifest.codebook["id"] == "wave6" and str(folder) not in manifest.model_dump_json()
    assert manifest.demo_questions and set(manifest.demo_questions) <= set(
        load_codebook(folder / "wave6.yaml").questions
    )
    with caplog.at_level(logging.WARNING):
        load_program(program)
    assert "wave6, which is not packaged" in caplog.text and "--codebook" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        load_program(program, codebook=load_codebook(folder / "wave6.yaml"))
    assert "codebook" not in caplog.text


def with_demo(folder: Path, codebook: Codebook) -> Path:
    """A saved program whose one demo shows V4."""
    program = ValueSim("single")
    program.direct.answer.demos = [
        {"question": codebook["V4"].text, "analysis": "It follows.", "answer": 1}
    ]
    manifest = Manifest(
        kind="valuesim",
        variant="single",
        codebook={"id": codebook.id, "version": codebook.version, "digest": codebook.digest},
    )
    return save_program(program, folder, manifest, codebook=codebook)


def test_demos_are_checked_against_the_codebook_in_use(folder: Path, tmp_path: Path) -> None:
    """Codes that changed since are refused, where the codebook is given."""
    codebook = load_codebook(folder / "wave6.yaml")
    program = with_demo(tmp_path / "program", codebook)
    assert read_manifest(program).demo_questions == {"V4": (1, 2, 3, 4)}
    load_program(program, codebook=codebook)
    text = (folder / "wave6.yaml").read_text().replace('3: "Not very important"', '5: "Hardly"')
    text = text.replace("order: descending", "order: [4, 5, 2, 1]", 1)
    (tmp_path / "changed.yaml").write_text(text)
    with pytest.raises(ProgramStateError, match="V4, whose codes have changed"):
        load_program(program, codebook=load_codebook(tmp_path / "changed.yaml"))


def test_another_codebook_or_wording_in_use_warns(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A packaged program on one's own survey, and a wording that its demos do not have."""
    own = load_codebook(folder / "wave6.yaml")
    packaged = save_program(
        ValueSim("full"),
        tmp_path / "packaged",
        Manifest(kind="valuesim", variant="full", codebook={"id": "wvs7", "version": 1}),
    )
    with caplog.at_level(logging.WARNING):
        load_program(packaged, codebook=own)
    assert "compiled with the codebook wvs7, used with wave6" in caplog.text
    caplog.clear()
    program = with_demo(tmp_path / "program", own)
    (tmp_path / "w.csv").write_text("question,code,text\nV4,,How is family?\n")
    with caplog.at_level(logging.WARNING):
        load_program(program, codebook=with_wording(own, tmp_path / "w.csv"))
    assert "another wording" in caplog.text


def test_ask_takes_a_codebook_and_a_wording(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A respondent of one's own survey is asked a question of it, in the wording given."""
    (tmp_path / "w.yaml").write_text("V10: {text: Are you happy?, options: {1: Very much so}}\n")
    survey = ["--survey", str(folder / "wave6.sav"), "--respondent", "7"]
    own = ["--codebook", str(folder / "wave6.yaml"), "--wording", str(tmp_path / "w.yaml")]
    assert main(["ask", *survey, *own, "--question", "V10"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("V10: Are you happy?\n") and "1: Very much so" in said
    assert main(["ask", *survey, "--codebook", own[1], "--question", "Q46"]) == 2
    assert "has no question Q46" in capsys.readouterr().err


def test_ones_own_person_answers_ones_own_codebook(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answers in me.toml are to the questions of the codebook given."""
    me = tmp_path / "me.toml"
    me.write_text('country = "JPN"\n[answers]\nV4 = "Very important"\nV203 = 7\n')
    own = ["--codebook", str(folder / "wave6.yaml")]
    assert main(["ask", "--person", str(me), *own, "--question", "V10"]) == 0
    assert "predicted: " in capsys.readouterr().out
    assert main(["ask", "--person", str(me), "--question", "Q46"]) == 2
    assert "answers.V4" in capsys.readouterr().err


def test_data_commands_take_a_codebook(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check and describe one's own survey."""
    own = [str(folder / "ess.sav"), "--codebook", str(folder / "ess.yaml")]
    assert main(["data", "check", *own, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["by_country"] == {"GBR": 40, "NOR": 40} and found["years"] == {"2018": 80}
    assert found["weighted"] == 1.0 and "refusal" in found["missing_by_country"]["NOR"]
    assert main(["data", "describe", *own, "--question", "happy", "--country", "NOR"]) == 0
    assert "Extremely happy" in capsys.readouterr().out
    assert main(["data", "describe", *own]) == 0
    assert "trust in the legal system" in capsys.readouterr().out


def test_nothing_of_a_wording_is_in_a_saved_program(folder: Path, tmp_path: Path) -> None:
    """Beyond what a demo shows: neither texts nor labels."""
    codebook = load_codebook(folder / "wave6.yaml")
    (tmp_path / "w.csv").write_text(
        "question,code,text\nV4,,The licensed text?\nV5,,Another licensed text?\nV4,1,Licensed\n"
    )
    worded = with_wording(codebook, tmp_path / "w.csv")
    program = with_demo(tmp_path / "program", worded)
    kept = "".join(path.read_text() for path in program.iterdir())
    assert kept.count("licensed") == 1 and "The licensed text?" in kept and "Another" not in kept


def test_predictions_read_the_wording_that_is_given(folder: Path, tmp_path: Path) -> None:
    """The model sees the official text and labels; facts are told as before."""
    (tmp_path / "w.csv").write_text("question,code,text\nV10,,In a word: happy?\nV10,1,Oh yes\n")
    plain = load_codebook(folder / "wave6.yaml")
    codebook = with_wording(plain, tmp_path / "w.csv")
    people = read_respondents(folder / "wave6.sav", codebook=codebook)
    fold = make_fold(codebook, strategy="question", of=3, index=1)
    with scripted(lambda _: {"analysis": "So.", "answer": 1, "backstory": "You are."}) as engine:
        profile = masked_profile(people[0], fold, "test", codebook=codebook, salt="s")
        ValueSim("single")(case=Case(profile, codebook["V10"]))
    asked = prompt_of(engine.requests[-1])
    assert "In a word: happy?" in asked and "1: Oh yes" in asked
    assert codebook["V10"].fact_text(1) == plain["V10"].fact_text(1)
