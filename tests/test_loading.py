"""Saving and loading: what comes back is what was kept, and nothing hostile gets in or runs."""

import json
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from people import case
from saving import CODEBOOK, compiled, edit, learned, manifest, state_of

from valuesim_dspy import loading
from valuesim_dspy.case import make_cases
from valuesim_dspy.errors import MissingDataError, ProgramStateError
from valuesim_dspy.finding import find_program
from valuesim_dspy.loading import load_program, read_manifest, save_program
from valuesim_dspy.program import VARIANTS, ValueSim

KEY = "sk-canary-0123456789abcdef"


def told(program: Any) -> list[tuple[Any, ...]]:
    """Return all that a program says of a few cases."""
    found = [program(case=case(question)) for question in ("Q69", "Q241", "Q8")]
    return [(p.answer, p.analysis, p.backstory, p.views, p.decision) for p in found]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return the folder of a compiled program."""
    return save_program(compiled(), tmp_path / "program", manifest())


@pytest.mark.parametrize("make", [ValueSim, compiled])
@pytest.mark.parametrize("variant", [name for name, spec in VARIANTS.items() if not spec.peers])
def test_a_loaded_program_predicts_the_same(
    variant: str, make: Callable[[str], ValueSim], tmp_path: Path, offline: Any
) -> None:
    """Answer, analysis, backstory and views are identical, compiled or not, in every variant."""
    program = make(variant)
    loaded = load_program(save_program(program, tmp_path / "p", manifest(variant)))
    assert told(loaded) == told(program)
    assert state_of(loaded) == state_of(program)
    assert loaded.manifest.variant == loaded.variant == variant


def test_what_a_teleprompter_changed_reaches_the_prompt(saved: Path, offline: Any) -> None:
    """Loaded demos and instructions are sent, not only held."""
    seen: list[str] = []
    complete = offline.engine.complete

    def record(request: Any) -> Any:
        seen.append(str(request))
        return complete(request)

    offline.engine.complete = record
    load_program(saved)(case=case())
    assert any("the way panel.cognitive.answer would" in text for text in seen)
    assert any("«Trust» is «low»." in text for text in seen)


def test_saving_what_was_loaded_writes_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    """Nothing is lost or added by a round trip."""
    loaded = load_program(saved)
    again = save_program(loaded, tmp_path / "again", loaded.manifest)
    for file in ("program.json", "manifest.json"):
        assert (again / file).read_bytes() == (saved / file).read_bytes()


def test_learned_aggregates_come_back(tmp_path: Path) -> None:
    """What was learned beside the predictors is kept; without it nothing is invented."""
    program = compiled("vote")
    program.learned = learned()
    loaded = load_program(save_program(program, tmp_path / "p", manifest("vote")))
    assert loaded.learned == learned()
    assert load_program(save_program(ValueSim(), tmp_path / "q", manifest())).learned == {}


def test_saving_leaves_the_program_as_it_was(tmp_path: Path) -> None:
    """Demos and instructions of the program in memory are untouched."""
    program = compiled()
    before = state_of(program)
    save_program(program, tmp_path / "p", manifest())
    assert state_of(program) == before


def test_a_program_is_two_private_json_files(saved: Path) -> None:
    """A folder for its owner only, two files for their owner only, both plain JSON."""
    assert {entry.name for entry in saved.iterdir()} == {"program.json", "manifest.json"}
    assert stat.S_IMODE(saved.stat().st_mode) == 0o700
    for entry in saved.iterdir():
        assert stat.S_IMODE(entry.stat().st_mode) == 0o600
        assert isinstance(json.loads(entry.read_text("utf-8")), dict)
    assert [entry.name for entry in saved.parent.iterdir()] == ["program"]


def test_compiled_instructions_are_not_taken_for_the_defaults(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A program with instructions of its own loads without a warning that the code changed."""
    with caplog.at_level(logging.WARNING):
        load_program(saved)
    assert caplog.records == []


@pytest.mark.parametrize("failing", ["second file", "rename"])
def test_a_failing_write_leaves_the_old_program(
    failing: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever step fails, the folder is as it was and no half of another one stays."""
    before = {entry.name: entry.read_bytes() for entry in saved.iterdir()}
    real_open, real_rename = os.open, Path.rename

    def no_open(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith("manifest.json"):
            raise OSError(28, "No space left on device")
        return real_open(path, *args, **kwargs)

    def no_rename(self: Path, target: Path) -> Path:
        if target == saved and not self.name.endswith("-old"):
            raise OSError(28, "No space left on device")
        return real_rename(self, target)

    if failing == "rename":
        monkeypatch.setattr(Path, "rename", no_rename)
    else:
        monkeypatch.setattr("valuesim_dspy.loading.os.open", no_open)
    with pytest.raises(ProgramStateError, match="No space left"):
        save_program(ValueSim(), saved, manifest())
    assert {entry.name: entry.read_bytes() for entry in saved.iterdir()} == before
    assert [entry.name for entry in saved.parent.iterdir()] == ["program"]


def test_only_a_programs_folder_is_replaced(tmp_path: Path) -> None:
    """An empty folder is taken, a folder with other things or a file is not."""
    (tmp_path / "empty").mkdir()
    assert load_program(save_program(ValueSim(), tmp_path / "empty", manifest()))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("years of work")
    for name in ("thesis", "file"):
        with pytest.raises(ProgramStateError, match="other files"):
            save_program(ValueSim(), tmp_path / name, manifest())
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "years of work"


def test_links_are_followed(saved: Path, tmp_path: Path) -> None:
    """A link to a folder, or links to the files, load; saving through a link keeps the link."""
    link = tmp_path / "link"
    link.symlink_to(saved)
    assert state_of(load_program(link)) == state_of(compiled())
    save_program(ValueSim(), link, manifest())
    assert link.is_symlink() and state_of(load_program(saved)) == state_of(ValueSim())
    (tmp_path / "linked").mkdir()
    for file in ("program.json", "manifest.json"):
        (tmp_path / "linked" / file).symlink_to(saved / file)
    assert load_program(tmp_path / "linked").variant == "full"


def test_a_packaged_program_is_found_by_name(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare name means a program of the package; a path never does."""
    (tmp_path / "package" / "programs").mkdir(parents=True)
    saved.rename(tmp_path / "package" / "programs" / "seed")
    codebooks = tmp_path / "package" / "survey" / "codebooks" / "wvs7"
    codebooks.mkdir(parents=True)
    monkeypatch.setattr("importlib.resources.files", lambda name: tmp_path / "package")
    assert load_program("seed").variant == "full"
    for name in ("other", "./seed", "..", ""):
        with pytest.raises(MissingDataError, match="there is no program at"):
            load_program(name)


def test_every_packaged_program_loads_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """What ships fits the code it ships with, and holds nothing of a survey."""
    folder = Path(loading.__file__).parent / "programs"
    names = sorted(path.parent.name for path in folder.glob("*/manifest.json"))
    for name in names:
        program = load_program(name)
        assert not program.manifest.demos_hold_survey_data, name
        assert not program.manifest.instructions_saw_survey_data, name
    assert caplog.records == []


def test_a_run_that_mlflow_lacks_is_missing_data() -> None:
    """A wrong run id is one line that says where to look."""
    for uri in ("runs:/0123456789abcdef0123456789abcdef/program", "runs:/", "models:/none/1"):
        with pytest.raises(MissingDataError, match="MLflow has no program at") as caught:
            load_program(uri)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_program_of_a_run_is_loaded(saved: Path, tmp_path: Path) -> None:
    """`runs:/<id>/program` gives the program; a run without one is missing data."""
    import mlflow

    from valuesim_dspy.store import tracking_uri

    mlflow.set_tracking_uri(tracking_uri())
    place = (tmp_path / "artifacts").as_uri()
    experiment = mlflow.create_experiment("x", artifact_location=place)
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_artifacts(str(saved), "program")
    assert state_of(load_program(f"runs:/{run.info.run_id}/program")) == state_of(compiled())
    with pytest.raises(MissingDataError):
        load_program(f"runs:/{run.info.run_id}/other")


def test_warnings_are_logged_and_the_program_loads(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Changed default instructions and another codebook version warn; the saved ones rule."""

    def change(content: dict[str, Any]) -> None:
        content["signatures"]["coordinator.answer"]["instructions"] = "0" * 16
        content["codebook"]["version"] = CODEBOOK.version + 1

    edit(saved, "manifest.json", change)
    with caplog.at_level(logging.WARNING):
        loaded = load_program(saved)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "coordinator.answer" in messages[0] and "have changed" in messages[0]
    assert f"version {CODEBOOK.version + 1}" in messages[1]
    assert state_of(loaded) == state_of(compiled())


def test_a_saved_program_holds_no_ids_no_keys_and_no_addresses(
    tmp_path: Path, offline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Demos are what a prompt shows: not who said it, and nothing of the connection."""
    from valuesim_dspy.survey.folds import make_fold
    from valuesim_dspy.survey.synthetic import synthesize

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    people = synthesize(3, seed=4)
    examples = make_cases(people, range(3), make_fold(CODEBOOK), "train", max_targets=2)
    program = ValueSim()
    with dspy.context(trace=[]):
        for each in examples:
            program(case=each.case)
        steps = list(dspy.settings.trace)
    for predictor, inputs, prediction in steps:
        predictor.demos.append(dspy.Example(augmented=True, **inputs, **prediction.toDict()))
        predictor.traces.append(str(examples[0].case))
        predictor.train.append(dict(examples[0].toDict(), case=examples[0].case.profile.key))
        predictor.lm = dspy.LM("openai/x", api_key=KEY, api_base="http://127.0.0.1:9/v1")
    folder = save_program(program, tmp_path / "p", manifest(lms={"task_lm": "openai/x"}))
    text = "".join(path.read_text() for path in folder.iterdir())
    assert sum(len(p.demos) for _, p in load_program(folder).named_predictors()) == len(steps) > 0
    for respondent in people.ids:
        assert respondent and respondent not in text
    for each in examples:
        assert each.case.profile.key not in text
    for secret in (KEY, "127.0.0.1", "api_key", "api_base", "D_INTERVIEW"):
        assert secret not in text


def test_the_questions_of_demos_are_kept_with_their_codes(saved: Path) -> None:
    """The manifest lists every question that a demo shows, whatever the country's wording."""
    assert read_manifest(saved).demo_questions == {"Q57": CODEBOOK["Q57"].codes}


def test_a_program_is_found_where_it_is(saved: Path) -> None:
    """A folder is found as a path and as text."""
    assert find_program(saved) == find_program(str(saved)) == saved
