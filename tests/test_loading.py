"""Saving and loading: what comes back is what was kept, and nothing hostile gets in or runs."""

import json
import logging
import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from people import case, example

from valuesim_dspy import loading
from valuesim_dspy.case import make_cases
from valuesim_dspy.errors import MissingDataError, ProgramStateError
from valuesim_dspy.loading import find_program, load_program, read_manifest, save_program
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.program import VARIANTS, ValueSim
from valuesim_dspy.survey.codebook import load_codebook

CODEBOOK = load_codebook()
CODES = {"id": "wvs7", "version": CODEBOOK.version, "digest": CODEBOOK.digest}
KEY = "sk-canary-0123456789abcdef"


def manifest(variant: str = "full", **known: Any) -> Manifest:
    """Return the manifest of a program of this variant."""
    return Manifest(**{"kind": "valuesim", "variant": variant, "codebook": dict(CODES), **known})


def compiled(variant: str = "full") -> ValueSim:
    """Return a program as a teleprompter leaves it: demos and instructions of its own."""
    program = ValueSim(variant)
    shown = example("Q57").case.inputs()
    for name, predictor in program.named_predictors():
        fields = predictor.signature.input_fields
        demo = {key: text for key, text in shown.items() if key in fields}
        if "answer" in predictor.signature.output_fields:
            demo |= {"analysis": "«Trust» is «low».", "answer": 2, "augmented": True}
        else:
            demo |= {"backstory": "You live in Japan, by the sea."}
        # Teleprompters leave Examples, our own builder dictionaries.
        predictor.demos = [dspy.Example(**demo), dict(demo)]
        told = f"{predictor.signature.instructions}\nSay it the way {name} would."
        predictor.signature = predictor.signature.with_instructions(told)
    return program


def told(program: Any) -> list[tuple[Any, ...]]:
    """Return all that a program says of a few cases."""
    found = [program(case=case(question)) for question in ("Q69", "Q241", "Q8")]
    return [(p.answer, p.analysis, p.backstory, p.views, p.decision) for p in found]


def state_of(program: Any) -> dict[str, Any]:
    """Return demos and texts of every predictor."""
    return {
        name: ([dict(demo) for demo in p.demos], p.signature.dump_state())
        for name, p in program.named_predictors()
    }


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return the folder of a compiled program."""
    return save_program(compiled(), tmp_path / "program", manifest())


def edit(folder: Path, file: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change one of the two files in place."""
    content = json.loads((folder / file).read_text())
    change(content)
    (folder / file).write_text(json.dumps(content))


@pytest.mark.parametrize("make", [ValueSim, compiled])
@pytest.mark.parametrize("variant", VARIANTS)
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
    program.learned = {"records": {"cognitive": [30, 50]}}
    loaded = load_program(save_program(program, tmp_path / "p", manifest("vote")))
    assert loaded.learned == {"records": {"cognitive": [30, 50]}}
    assert not hasattr(
        load_program(save_program(ValueSim(), tmp_path / "q", manifest())), "learned"
    )


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


def demo_of(program: Any) -> dict[str, Any]:
    """Return a demo of the program that may be changed."""
    demo: dict[str, Any] = program.panel.cognitive.answer.demos[1]
    return demo


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: demo_of(p).update(analysis=float("nan")), "no plain JSON"),
        (lambda p: demo_of(p).update(analysis=case()), "no plain JSON"),
        (lambda p: demo_of(p).update(analysis="\ud800"), "no plain JSON"),
        (lambda p: demo_of(p).update(case="Case(1, Q1)"), "what no program saves"),
        (lambda p: demo_of(p).update(analysis=["a"]), "what no program saves"),
        (lambda p: setattr(p, "learned", [1]), "must be a table"),
    ],
)
def test_what_would_not_load_is_not_saved(
    harm: Callable[[Any], None], message: str, saved: Path
) -> None:
    """A state that loading would refuse is refused when it is saved, and the old one stays."""
    before = (saved / "program.json").read_bytes()
    program = compiled()
    harm(program)
    with pytest.raises(ProgramStateError, match=message):
        save_program(program, saved, manifest())
    assert (saved / "program.json").read_bytes() == before


def test_a_program_of_another_variant_than_its_manifest_is_not_saved(tmp_path: Path) -> None:
    """The manifest must name the program it lies beside."""
    with pytest.raises(ProgramStateError, match="predictors"):
        save_program(ValueSim("single"), tmp_path / "p", manifest("full"))
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize(
    ("file", "message"), [("program.json", "is missing"), ("manifest.json", "no program at")]
)
def test_a_missing_file_is_missing_data(file: str, message: str, saved: Path) -> None:
    """Half a program says what is missing and how to get it."""
    (saved / file).unlink()
    with pytest.raises(MissingDataError, match=message):
        load_program(saved)


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


def first_predictor(state: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of one predictor of a saved state."""
    entry: dict[str, Any] = state["predictors"]["panel.cognitive.answer"]
    return entry


def texts_of(state: dict[str, Any]) -> dict[str, Any]:
    """Return the saved signature of one predictor."""
    texts: dict[str, Any] = first_predictor(state)["signature"]
    return texts


HARM: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no learned": (lambda s: s.pop("learned"), "and nothing else"),
    "more": (lambda s: s.update(metadata={}), "and nothing else"),
    "learned is no table": (lambda s: s.update(learned="x"), "must be a table"),
    "predictors is a list": (lambda s: s.update(predictors=[]), "different predictors"),
    "a predictor is gone": (lambda s: s["predictors"].popitem(), "different predictors"),
    "a predictor is renamed": (
        lambda s: s["predictors"].update(x=s["predictors"].pop("coordinator.answer")),
        "different predictors",
    ),
    "an lm": (
        lambda s: first_predictor(s).update(lm={"model": "x", "api_base": "http://evil"}),
        "what no program saves",
    ),
    "traces": (lambda s: first_predictor(s).update(traces=[{"a": 1}]), "what no program saves"),
    "train": (lambda s: first_predictor(s).update(train=[{"a": 1}]), "what no program saves"),
    "an unknown key": (lambda s: first_predictor(s).update(fields={}), "what no program saves"),
    "a text for a state": (
        lambda s: s["predictors"].update({"panel.cognitive.answer": "x"}),
        "what no program saves",
    ),
    "no demos": (lambda s: first_predictor(s).pop("demos"), "what no program saves"),
    "demos are null": (lambda s: first_predictor(s).update(demos=None), "what no program saves"),
    "a demo is a text": (lambda s: first_predictor(s).update(demos=["x"]), "what no program saves"),
    "a demo has another field": (
        lambda s: first_predictor(s)["demos"][0].update(case="x"),
        "what no program saves",
    ),
    "a demo is nested": (
        lambda s: first_predictor(s)["demos"][0].update(facts={"a": 1}),
        "what no program saves",
    ),
    "a demo's value is null": (
        lambda s: first_predictor(s)["demos"][0].update(facts=None),
        "what no program saves",
    ),
    "no signature": (lambda s: first_predictor(s).pop("signature"), "what no program saves"),
    "a field less": (lambda s: texts_of(s)["fields"].pop(), "what no program saves"),
    "a field more": (
        lambda s: texts_of(s)["fields"].append({"prefix": "a", "description": "b"}),
        "what no program saves",
    ),
    "instructions are a number": (lambda s: texts_of(s).update(instructions=1), "what no program"),
    "a prefix is a table": (
        lambda s: texts_of(s)["fields"][0].update(prefix={"a": 1}),
        "what no program saves",
    ),
    "fields are a table": (lambda s: texts_of(s).update(fields={}), "what no program saves"),
}


@pytest.mark.parametrize("name", HARM)
def test_a_harmed_program_is_refused(name: str, saved: Path) -> None:
    """Whatever does not fit is refused in one line that names the folder."""
    change, message = HARM[name]
    edit(saved, "program.json", change)
    with pytest.raises(ProgramStateError, match=message) as caught:
        load_program(saved)
    assert "\n" not in str(caught.value) and str(saved) in str(caught.value)


@pytest.mark.parametrize("file", ["program.json", "manifest.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"a":' * 100_000, "is no JSON"),
        (b'{"predictors": {}, "learned": {"a": NaN}}', "no finite number"),
        (b'{"format": 1, "scores": {"a": -Infinity}}', "no finite number"),
        (b'{"format": 1, "scores": {"a": 1e999}}', "no finite number"),
    ],
    ids=["empty", "cut", "bytes", "deep list", "deep table", "nan", "infinity", "overflow"],
)
def test_what_is_no_json_is_refused(file: str, content: bytes, message: str, saved: Path) -> None:
    """Neither file is read unless it is strict JSON."""
    (saved / file).write_bytes(content)
    with pytest.raises(ProgramStateError, match=message) as caught:
        load_program(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "1", '"x"', "null", "{}"])
def test_json_of_another_shape_is_refused(content: str, saved: Path) -> None:
    """A list or a number is no program and no manifest."""
    for file, message in (("program.json", "and nothing else"), ("manifest.json", "format")):
        (saved / file).write_text(content)
        with pytest.raises(ProgramStateError, match=message):
            load_program(saved)


def test_a_file_that_is_too_large_is_not_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on size comes before any parsing."""
    monkeypatch.setattr(loading, "MAX_BYTES", (saved / "program.json").stat().st_size - 1)
    with pytest.raises(ProgramStateError, match="is larger than"):
        load_program(saved)
    monkeypatch.setattr(loading, "MAX_BYTES", (saved / "program.json").stat().st_size)
    assert load_program(saved).variant == "full"


def test_what_is_no_regular_file_is_refused(saved: Path) -> None:
    """A pipe, a device or a folder in place of a file is refused and never waited for."""
    target = saved / "program.json"
    target.unlink()
    os.mkfifo(target)
    with pytest.raises(ProgramStateError, match="is no file"):
        load_program(saved)
    target.unlink()
    target.symlink_to("/dev/zero")
    with pytest.raises(ProgramStateError, match="is no file"):
        load_program(saved)
    target.unlink()
    target.mkdir()
    with pytest.raises(ProgramStateError, match="is no file"):
        load_program(saved)


def test_a_baseline_is_refused_unless_it_is_built(saved: Path) -> None:
    """`load_program` gives ValueSim programs; baselines need their own builder."""
    edit(saved, "manifest.json", lambda m: m.update(kind="rag", variant="rag"))
    with pytest.raises(ProgramStateError, match=r"holds the baseline rag.*evals run"):
        load_program(saved)


def test_an_unknown_variant_is_refused(saved: Path) -> None:
    """The message names the variants there are."""
    edit(saved, "manifest.json", lambda m: m.update(variant="fulll"))
    with pytest.raises(ProgramStateError, match=r"single, found fulll"):
        load_program(saved)


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


class _Bomb:
    """Makes a canary file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.canary),))


def hostile_states(canary: Path) -> dict[str, bytes]:
    """Return contents that would run something if anything but JSON were read."""
    call = {"__reduce__": ["os.mkdir", [str(canary)]], "__class__": "os.mkdir"}
    tagged = {"py/object": "os.mkdir", "py/reduce": [{"py/function": "os.mkdir"}, [str(canary)]]}
    good = json.loads(json.dumps({"predictors": {}, "learned": {}}))
    return {
        "pickle": pickle.dumps(_Bomb(canary)),
        "pickle, protocol 0": pickle.dumps(_Bomb(canary), protocol=0),
        "yaml": f"!!python/object/apply:os.mkdir ['{canary}']".encode(),
        "python": f"__import__('os').mkdir('{canary}')".encode(),
        "reduce": json.dumps(good | {"learned": call}).encode(),
        "tagged": json.dumps(good | {"predictors": tagged}).encode(),
        "class": json.dumps(call | tagged | {"_target_": "os.mkdir", "lc": 1}).encode(),
    }


@pytest.mark.parametrize("kind", hostile_states(Path("x")))
@pytest.mark.parametrize("file", ["program.json", "manifest.json"])
def test_a_hostile_folder_runs_nothing(kind: str, file: str, saved: Path, tmp_path: Path) -> None:
    """Pickles, tags and dictionaries that name callables are refused and never run."""
    canary = tmp_path / "canary"
    (saved / file).write_bytes(hostile_states(canary)[kind])
    for name in ("program.pkl", "metadata.json", "__init__.py"):
        (saved / name).write_bytes(hostile_states(canary)["pickle"])
    with pytest.raises(ProgramStateError):
        load_program(saved)
    assert not canary.exists()


def test_the_bomb_works(tmp_path: Path) -> None:
    """The test above can fail: reading the pickle as a pickle makes the canary."""
    canary = tmp_path / "canary"
    pickle.loads(hostile_states(canary)["pickle"])
    assert canary.exists()


def test_hostile_dictionaries_in_the_right_places_are_mere_data(
    saved: Path, tmp_path: Path
) -> None:
    """Where a table is allowed, its keys mean nothing: no class, no file, no address is used."""
    canary = tmp_path / "canary"

    def change(state: dict[str, Any]) -> None:
        state["learned"] = {"__reduce__": ["os.mkdir", [str(canary)]], "lm": {"api_base": "x"}}
        texts_of(state)["instructions"] = f"{{__import__('os').mkdir('{canary}')}}"

    edit(saved, "program.json", change)
    loaded = load_program(saved)
    assert loaded.panel.cognitive.answer.lm is None and not canary.exists()


def test_a_codebook_is_never_read_from_a_path_that_a_program_names(
    saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A codebook that is not packaged is not looked for; the warning says what is not checked."""
    evil = tmp_path / "evil.yaml"
    evil.write_text(f"!!python/object/apply:os.mkdir ['{tmp_path / 'canary'}']")
    edit(saved, "manifest.json", lambda m: m.update(codebook={"id": str(evil)}))
    assert load_program(saved).variant == "full"
    assert "not packaged" in caplog.text and not (tmp_path / "canary").exists()


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
