"""What is harmed, foreign or hostile is neither saved nor loaded, and nothing of it runs."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from people import case
from saving import compiled, edit, learned, manifest

from valuesim_dspy import loading
from valuesim_dspy.errors import MissingDataError, ProgramStateError
from valuesim_dspy.loading import load_program, save_program
from valuesim_dspy.program import ValueSim


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return the folder of a compiled program."""
    return save_program(compiled(), tmp_path / "program", manifest())


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


@pytest.mark.parametrize(
    ("file", "message"), [("program.json", "is missing"), ("manifest.json", "no program at")]
)
def test_a_missing_file_is_missing_data(file: str, message: str, saved: Path) -> None:
    """Half a program says what is missing and how to get it."""
    (saved / file).unlink()
    with pytest.raises(MissingDataError, match=message):
        load_program(saved)


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
    with pytest.raises(ProgramStateError, match=r"full, .*single.*, found fulll"):
        load_program(saved)


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


def test_what_was_learned_must_be_such_a_table(saved: Path) -> None:
    """Other keys, and counts small enough to tell of a person, are refused by name."""
    few = learned()
    few["records"]["cells"]["cognitive"]["all"]["n"] = 1
    for harm, message in (({"lm": {"api_base": "x"}}, "learned.lm"), (few, r"cognitive\.all\.n")):
        edit(saved, "program.json", lambda state, harm=harm: state.update(learned=harm))
        with pytest.raises(ProgramStateError, match=message):
            load_program(saved)


def test_hostile_texts_in_the_right_places_are_mere_data(saved: Path, tmp_path: Path) -> None:
    """Where a text is allowed, it means nothing: no class, no file, no address is used."""
    canary = tmp_path / "canary"

    def change(state: dict[str, Any]) -> None:
        state["learned"] = learned() | {"__reduce__": ["os.mkdir", [str(canary)]]}
        texts_of(state)["instructions"] = f"{{__import__('os').mkdir('{canary}')}}"

    edit(saved, "program.json", change)
    with pytest.raises(ProgramStateError, match=r"learned\.__reduce__"):
        load_program(saved)
    edit(saved, "program.json", lambda state: state["learned"].pop("__reduce__"))
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
