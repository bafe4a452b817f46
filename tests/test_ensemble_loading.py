"""Ensembles on disk: what comes back is what was kept; what does not fit is refused."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from people import case
from saving import compiled, edit, learned, manifest, state_of

from evals.baselines import RAG, build_baseline
from valuesim_dspy.ensemble import Ensemble
from valuesim_dspy.errors import ProgramStateError
from valuesim_dspy.finding import find_program
from valuesim_dspy.loading import load_program, read_manifest, save_program
from valuesim_dspy.manifest import MOST_MEMBERS, Manifest
from valuesim_dspy.program import ValueSim
from valuesim_dspy.retrieval import LexicalEmbedder, Retriever
from valuesim_dspy.survey.codebook import load_codebook


def members(variant: str = "full", count: int = 3) -> list[ValueSim]:
    """Return compiled programs that differ: each is told its number, each has fewer demos."""
    made = []
    for number in range(1, count + 1):
        program = compiled(variant)
        for predictor in program.predictors():
            predictor.demos = predictor.demos[: number % 3]
            text = f"{predictor.signature.instructions} You are copy {number}."
            predictor.signature = predictor.signature.with_instructions(text)
        made.append(program)
    return made


def as_ensemble(variant: str = "full", **known: Any) -> Manifest:
    """Return the manifest of an ensemble, as a job knows it before it is saved."""
    return manifest(variant, **{"kind": "ensemble", **known})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return the folder of a compiled ensemble."""
    return save_program(Ensemble(members()), tmp_path / "program", as_ensemble())


def told(program: Any) -> list[dict[str, Any]]:
    """Return whole predictions on a few cases."""
    return [dict(program(case=case(question))) for question in ("Q69", "Q241", "Q8")]


@pytest.mark.parametrize("variant", ["full", "single", "vote"])
def test_a_loaded_ensemble_predicts_the_same(variant: str, tmp_path: Path, offline: Any) -> None:
    """Answers, analyses, views and probabilities are identical, and so is the state."""
    program = Ensemble(members(variant))
    loaded = load_program(save_program(program, tmp_path / "p", as_ensemble(variant)))
    assert type(loaded) is Ensemble and told(loaded) == told(program)
    assert state_of(loaded) == state_of(program)
    assert loaded.variant == loaded.manifest.variant == variant


def test_an_ensemble_of_baselines_comes_back(tmp_path: Path, offline: Any) -> None:
    """With the baselines' builder, which knows nothing of ensembles; bound afterwards."""
    retriever = Retriever(LexicalEmbedder(load_codebook()))
    program = Ensemble([RAG(), RAG()]).bind(retriever, k=2)
    demo = {"facts": "- You live.", "question": "Q?", "options": "1", "answer": 1, "analysis": "A."}
    program.members[1].direct.answer.demos = [demo]
    folder = save_program(program, tmp_path / "p", as_ensemble("rag"))
    loaded = load_program(folder, build=build_baseline).bind(retriever, k=2)
    assert told(loaded) == told(program) and loaded.member_kind == "rag"
    with pytest.raises(ProgramStateError, match="holds the baseline rag"):
        load_program(folder)


def test_the_manifest_says_what_votes(saved: Path) -> None:
    """Kind and number of members are filled in; signatures are those of one member."""
    known = read_manifest(saved)
    assert (known.kind, known.variant, known.members, known.member_kind) == (
        "ensemble",
        "full",
        3,
        "valuesim",
    )
    assert "panel.cognitive.answer" in known.signatures
    assert not any(name.startswith("member") for name in known.signatures)
    assert known.demo_questions == {"Q57": (1, 2)}
    assert known.single.kind == "valuesim" and known.single.members is None
    assert manifest().single == manifest()


def test_the_state_is_a_list_of_members_states(saved: Path) -> None:
    """Each as a single program's would be."""
    state = json.loads((saved / "program.json").read_text())
    assert set(state) == {"members"} and len(state["members"]) == 3
    assert all(set(own) == {"predictors", "learned"} for own in state["members"])


def test_a_member_s_name_for_the_kind_is_mended(tmp_path: Path) -> None:
    """Who saves what came of a student names the student's kind; other kinds are refused."""
    folder = save_program(Ensemble(members()), tmp_path / "p", manifest())
    assert read_manifest(folder).kind == "ensemble"
    for program, known in (
        (Ensemble(members()), manifest("full", kind="rag")),
        (members()[0], as_ensemble()),
    ):
        with pytest.raises(ProgramStateError, match="another kind"):
            save_program(program, tmp_path / "q", known)
    assert not (tmp_path / "q").exists()


def test_a_variant_that_is_not_the_members_is_not_saved(tmp_path: Path) -> None:
    """The manifest must name the programs it lies beside."""
    with pytest.raises(ProgramStateError, match="predictors"):
        save_program(Ensemble(members("single")), tmp_path / "p", as_ensemble("full"))


def test_saving_what_was_loaded_writes_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    """Nothing is lost or added by a round trip."""
    loaded = load_program(saved)
    again = save_program(loaded, tmp_path / "again", loaded.manifest)
    for file in ("program.json", "manifest.json"):
        assert (again / file).read_bytes() == (saved / file).read_bytes()


def test_each_member_keeps_what_it_learned(tmp_path: Path) -> None:
    """Tables are members' own; a member without one has none."""
    program = Ensemble(members("vote"))
    program.members[1].learned = learned(0.7)
    loaded = load_program(save_program(program, tmp_path / "p", as_ensemble("vote")))
    assert [member.learned for member in loaded.members] == [{}, learned(0.7), {}]


HARM: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "one state": (lambda s: s.update(s.pop("members")[0]), "`members` and nothing else"),
    "more": (lambda s: s.update(learned={}), "`members` and nothing else"),
    "members is a table": (lambda s: s.update(members={}), "numbers of members"),
    "a member is gone": (lambda s: s["members"].pop(), "numbers of members"),
    "a member more": (lambda s: s["members"].append(s["members"][0]), "numbers of members"),
    "a member is a text": (lambda s: s["members"].__setitem__(2, "x"), "and nothing else"),
    "a member holds more": (lambda s: s["members"][2].update(lm={}), "and nothing else"),
    "an ensemble in an ensemble": (
        lambda s: s["members"].__setitem__(1, {"members": s["members"][:2]}),
        "and nothing else",
    ),
    "a predictor is gone": (lambda s: s["members"][2]["predictors"].popitem(), "different pred"),
    "names of the whole": (
        lambda s: s["members"][1].update(
            predictors={f"member_2.{n}": p for n, p in s["members"][1]["predictors"].items()}
        ),
        "different predictors",
    ),
    "an lm": (
        lambda s: s["members"][2]["predictors"]["coordinator.answer"].update(lm={"model": "x"}),
        "what no program saves",
    ),
    "a demo has another field": (
        lambda s: s["members"][1]["predictors"]["coordinator.answer"]["demos"][0].update(case="x"),
        "what no program saves",
    ),
    "a field less": (
        lambda s: s["members"][2]["predictors"]["writer.backstory"]["signature"]["fields"].pop(),
        "what no program saves",
    ),
    "hostile learned": (
        lambda s: s["members"][2].update(learned={"__reduce__": ["os.mkdir", ["x"]]}),
        r"learned\.__reduce__",
    ),
}


@pytest.mark.parametrize("name", HARM)
def test_a_harmed_ensemble_is_refused(name: str, saved: Path) -> None:
    """Every member is looked over as a single program is; one line names the folder."""
    change, message = HARM[name]
    if name == "a demo has another field":
        edit(saved, "program.json", lambda s: s["members"].reverse())
    edit(saved, "program.json", change)
    with pytest.raises(ProgramStateError, match=message) as caught:
        load_program(saved)
    assert "\n" not in str(caught.value) and str(saved) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": 10**12}, "members: Input should be less"),
        ({"members": MOST_MEMBERS + 1}, "members: Input should be less"),
        ({"members": 1}, "members: Input should be greater"),
        ({"members": 2}, "numbers of members"),
        ({"members": None}, "do not fit"),
        ({"member_kind": None}, "do not fit"),
        ({"member_kind": "ensemble"}, "do not fit"),
        ({"kind": "valuesim"}, "do not fit"),
        ({"member_kind": "rag", "variant": "rag"}, "holds the baseline rag"),
        ({"member_kind": "os.mkdir"}, r"baseline os\.mkdir"),
        ({"variant": "fulll"}, "no such variant"),
        ({"variant": "single"}, "predictors are not those"),
        ({"signatures": {}}, "predictors are not those"),
        ({"demo_questions": {"Q57": [1, 2, 3]}}, "whose codes have changed"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    change: dict[str, Any], message: str, saved: Path
) -> None:
    """Before members are built where their number is absurd, and always in one line."""
    edit(saved, "manifest.json", lambda m: m.update(change))
    with pytest.raises(ProgramStateError, match=message) as caught:
        load_program(saved)
    assert "\n" not in str(caught.value) and str(saved) in str(caught.value)


def test_an_ensemble_without_members_is_refused_by_a_single_state(tmp_path: Path) -> None:
    """A single program's files cannot be declared an ensemble's."""
    folder = save_program(compiled(), tmp_path / "p", manifest())
    edit(folder, "manifest.json", lambda m: m.update(kind="ensemble", members=2))
    with pytest.raises(ProgramStateError, match="do not fit"):
        load_program(folder)
    edit(folder, "manifest.json", lambda m: m.update(member_kind="valuesim"))
    with pytest.raises(ProgramStateError, match="`members` and nothing else"):
        load_program(folder)


def test_what_a_member_would_not_load_is_not_saved(saved: Path) -> None:
    """The last member is checked as the first is; the old folder stays."""
    before = (saved / "program.json").read_bytes()
    program = Ensemble(members())
    program.members[2].learned = [1]
    with pytest.raises(ProgramStateError, match="must be a table"):
        save_program(program, saved, as_ensemble())
    assert (saved / "program.json").read_bytes() == before


def test_demo_facts_come_back(tmp_path: Path) -> None:
    """A loaded program makes demos of the size it was compiled with, in all of its modules."""
    folder = save_program(ValueSim("full", demo_facts=5), tmp_path / "p", manifest())
    loaded = load_program(folder)
    assert read_manifest(folder).demo_facts == loaded.demo_facts == 5
    assert loaded.panel.cognitive.demo_facts == loaded.coordinator.demo_facts == 5
    rags = Ensemble([RAG(demo_facts=0), RAG(demo_facts=0)])
    folder = save_program(rags, tmp_path / "q", as_ensemble("rag"))
    again = load_program(folder, build=build_baseline)
    assert [member.direct.demo_facts for member in again.members] == [0, 0]
    edit(folder, "manifest.json", lambda m: m.update(demo_facts=-1))
    with pytest.raises(ProgramStateError, match="demo_facts: "):
        load_program(folder, build=build_baseline)


def test_an_older_manifest_still_loads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without the newer keys the code's defaults hold, and no warning is given."""
    folder = save_program(compiled(), tmp_path / "p", manifest())
    newer = ("members", "member_kind", "bindings", "demo_facts")
    edit(folder, "manifest.json", lambda m: [m.pop(key) for key in newer])
    with caplog.at_level(logging.WARNING):
        loaded = load_program(folder)
    assert loaded.demo_facts == ValueSim().demo_facts and caplog.text == ""
    assert loaded.manifest.bindings == {} and loaded.manifest.demo_facts is None


def test_the_packaged_program_still_loads() -> None:
    """Its manifest is older than ensembles."""
    assert "members" not in json.loads((find_program("demo") / "manifest.json").read_text())
    assert load_program("demo").kind == "valuesim"


def test_bindings_are_kept(tmp_path: Path) -> None:
    """What a job says of peers stands in the manifest; other shapes are refused."""
    peers = {"peers": {"digest": "ab12", "seed": 3, "people": 500}}
    folder = save_program(ValueSim(), tmp_path / "p", manifest(bindings=peers))
    assert load_program(folder).manifest.bindings == peers
    edit(folder, "manifest.json", lambda m: m["bindings"]["peers"].update(rows=[1]))
    with pytest.raises(ProgramStateError, match=r"bindings\.peers\.rows"):
        load_program(folder)


def test_a_program_may_tell_its_bindings_itself(tmp_path: Path) -> None:
    """Where the job says nothing, what a program says of its bindings is written."""

    class Bound(ValueSim):
        bindings = {"peers": {"digest": "cd34", "people": 9}}

    folder = save_program(Bound(), tmp_path / "p", manifest())
    assert read_manifest(folder).bindings == Bound.bindings
    folder = save_program(Ensemble([Bound(), Bound()]), tmp_path / "q", as_ensemble())
    assert read_manifest(folder).bindings == Bound.bindings
