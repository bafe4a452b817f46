"""The baselines: what each one knows, that all are called alike, and that bindings stay out."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dspy
import numpy as np
import pytest
from people import case, example, person, prompt_of, reply, scripted

from evals.baselines import (
    BASELINES,
    RAG,
    Baseline,
    Blank,
    CountryMode,
    Mode,
    Modes,
    build_baseline,
)
from valuesim_dspy.case import NOTHING_KNOWN, Case, HistoryItem
from valuesim_dspy.config import parse_job
from valuesim_dspy.errors import MissingDataError, PredictionError, ProgramStateError
from valuesim_dspy.loading import load_program, save_program
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.own import own_profile
from valuesim_dspy.program import ValueSim
from valuesim_dspy.retrieval import LexicalEmbedder, Retriever
from valuesim_dspy.simulate import simulate
from valuesim_dspy.survey.codebook import Question, load_codebook
from valuesim_dspy.survey.respondents import Respondents

SHAPE = {"answer", "analysis", "backstory", "views", "decision", "status"}


class FirstWords:
    """An embedder for tests: a text is near to those with the same topic word."""

    name, semantic = "first-words", True

    def __call__(self, texts: Any) -> Any:
        """Return one row for each text."""
        words = ("police", "family", "religion", "Japan")
        rows = [[float(word in text) for word in words] + [0.01] for text in texts]
        return np.asarray(rows, dtype=np.float32)


@pytest.fixture
def retriever() -> Retriever:
    """A retriever by shared words."""
    return Retriever(LexicalEmbedder(load_codebook()))


@pytest.fixture
def people() -> Respondents:
    """Five people: three in Japan, two in Brazil; Q57 is a tie of 1 and 2 over all."""
    return Respondents.from_columns(
        questions={
            "Q57": np.array([2, 2, 1, 1, -2]),
            "Q1": np.array([4, 4, -1, 1, 1]),
            "Q2": np.array([-1, -2, -4, -5, -1]),
        },
        attributes={
            "D_INTERVIEW": np.array(["1", "2", "3", "4", "5"]),
            "B_COUNTRY_ALPHA": np.array(["JPN", "JPN", "JPN", "BRA", "BRA"]),
        },
    )


def study(people: Respondents, retriever: Retriever, **job: Any) -> Any:
    """Return what baselines read of a study."""
    return SimpleNamespace(
        config=parse_job(job),
        respondents=people,
        split=SimpleNamespace(train=(0, 1, 3, 4)),
        retriever=retriever,
    )


def test_rag_asks_once_with_the_nearest_facts_only(retriever: Retriever) -> None:
    """One call, k facts, no backstory; question and options are the program's."""
    rag = RAG(k=3).bind(retriever)
    with scripted([reply(2)]) as engine:
        found = rag(case=case("Q69"))
    prompt = prompt_of(engine.requests[0])
    facts = rag.inputs(case("Q69"))["facts"].splitlines()
    assert len(engine.requests) == 1 and found.answer == 2 and set(found.keys()) == SHAPE
    assert len(facts) == 3 and all(line in prompt for line in facts)
    left_out = [f.text for f in person().facts if f"- {f.text}" not in facts]
    assert left_out and not any(text in prompt for text in left_out)
    assert case("Q69").question_text in prompt and case("Q69").options_text in prompt


def test_rag_ranks_by_similarity_to_question_and_options() -> None:
    """The nearest fact comes first, and the country is a fact like any other."""
    rag = RAG(k=1).bind(Retriever(FirstWords()))
    abroad = Case(
        person({"Q1": 1, "Q65": 3}), Question(text="Is Japan home?", options=["Yes", "No"])
    )
    assert rag.inputs(abroad)["facts"] == "- You live in Japan."
    family = Case(person(), Question(text="Where to?", options=["to my family", "away"]))
    assert "amily" in rag.inputs(family)["facts"], "options count as part of the query"


def test_rag_reads_the_history_as_the_program_does(retriever: Retriever) -> None:
    """Later answers reach RAG directly, with the same text."""
    past = (HistoryItem(load_codebook()["Q70"], 1, "2024-01-01"),)
    asked = Case(person(), load_codebook()["Q69"], past)
    with scripted([reply(1)]) as engine:
        RAG().bind(retriever)(case=asked)
    assert asked.history_text in prompt_of(engine.requests[0])
    inputs = RAG().bind(retriever).inputs(asked)
    assert inputs | {"facts": ""} == asked.inputs() | {"facts": ""}


def test_rag_shares_signature_and_retries_with_the_single_answer(retriever: Retriever) -> None:
    """An invalid code is asked for again, by the same rule and the same signature."""
    with scripted([reply(77), reply(3)]) as engine:
        assert RAG().bind(retriever)(case=case()).answer == 3
    assert len(engine.requests) == 2
    single = ValueSim("single").direct.answer.signature
    assert RAG().direct.answer.signature.equals(single)


def test_a_person_without_facts_is_nothing_known(retriever: Retriever) -> None:
    """RAG over no facts says so in place of an empty field."""
    asked = Case(own_profile({}), load_codebook()["Q69"])
    assert RAG().bind(retriever).inputs(asked)["facts"] == NOTHING_KNOWN


def test_unbound_rag_says_what_to_do() -> None:
    """Calling it, or asking what it is bound to, names the call that is missing."""
    with scripted([]), pytest.raises(MissingDataError, match=r"rag\.bind\(retriever\)"):
        RAG()(case=case())
    with pytest.raises(MissingDataError):
        _ = RAG().binding


def test_a_binding_survives_copies_and_never_reaches_state(retriever: Retriever) -> None:
    """Teleprompters copy programs; the copies share the index, and state holds none of it."""
    rag = RAG(k=2)
    assert rag.bind(retriever) is rag and rag.binding == {"embedder": "lexical", "k": 2}
    for twin in (copy.deepcopy(rag), rag.deepcopy(), rag.reset_copy()):
        assert twin is not rag and twin._retriever is retriever and twin.binding == rag.binding
        assert twin.direct.answer is not rag.direct.answer
    assert list(rag.dump_state()) == ["direct.answer"]
    assert "lexical" not in json.dumps(rag.dump_state())
    assert rag.bind(retriever, k=5).binding["k"] == 5


def test_blank_knows_nothing_and_asks_everybody_the_same() -> None:
    """No facts, no history, no country: two people's requests are one and the same."""
    past = (HistoryItem(load_codebook()["Q70"], 1),)
    for question in ("Q69", "Q82", "Q254"):
        first = Blank().inputs(Case(person(), load_codebook()[question], past))
        second = Blank().inputs(Case(person({"Q1": 4}), load_codebook()[question]))
        assert first == second and first["facts"] == NOTHING_KNOWN
    with scripted([reply(2)]) as engine:
        found = Blank()(case=case("Q254"))
    prompt = prompt_of(engine.requests[0])
    assert found.answer == 2 and "Japan" not in prompt and NOTHING_KNOWN in prompt


def test_mode_is_the_commonest_answer_ties_to_the_lowest(people: Respondents) -> None:
    """Kinds of missing are no answers; 1 and 2 twice each give 1."""
    modes = Modes.of(people)
    assert modes.overall["Q57"] == 1
    assert modes.overall["Q1"] == 1
    assert "Q2" not in modes.overall
    assert Mode(modes)(case=case("Q57")).answer == 1


def test_country_mode_goes_by_country_and_falls_back(people: Respondents) -> None:
    """Japan answers 2; a country without answers, and no country, get the mode of all."""
    country_mode = CountryMode(Modes.of(people))
    assert country_mode(case=case("Q57")).answer == 2
    assert country_mode(case=case("Q1")).answer == 4
    for home in ("DEU", None):
        asked = Case(own_profile({}, country=home), load_codebook()["Q57"])
        assert country_mode(case=asked).answer == 1


def test_modes_equal_a_count_by_hand() -> None:
    """Over drawn answers of several countries every mode is what a plain count gives."""
    rng = np.random.default_rng(3)
    codes, homes = rng.integers(-2, 5, 400), rng.choice(["JPN", "BRA", "DEU", ""], 400)
    drawn = Respondents.from_columns(
        questions={"Q57": np.where(codes > 2, -1, codes), "Q1": codes},
        attributes={"B_COUNTRY_ALPHA": homes},
    )
    modes = Modes.of(drawn)
    for home in ("JPN", "BRA", "DEU"):
        for question in ("Q57", "Q1"):
            given = [r.answer(question) for r in drawn if r.country == home]
            counts = {code: given.count(code) for code in sorted({*given} - {None})}
            assert modes.by_country[question, home] == max(counts, key=counts.__getitem__)


def test_no_answer_to_count_is_a_failed_prediction(people: Respondents) -> None:
    """A question that nobody answered fails its case and no other."""
    mode = Mode(Modes.of(people))
    with pytest.raises(PredictionError, match="Q2"):
        mode(case=case("Q2"))
    with pytest.raises(PredictionError):
        CountryMode(mode.modes)(case=case("Q2"))
    outcomes = simulate(mode, [example("Q2", 1), example("Q57", 1)])
    assert [outcome.status for outcome in outcomes] == ["failed", "answered"]


def test_modes_are_fitted_on_the_trainset_only(people: Respondents, retriever: Retriever) -> None:
    """Respondent 2 is of no trainset: without them Japan has no 1 on Q57."""
    made = BASELINES["country-mode"].build(study(people, retriever))
    assert made.modes.by_country == {
        ("Q57", "JPN"): 2,
        ("Q57", "BRA"): 1,
        ("Q1", "JPN"): 4,
        ("Q1", "BRA"): 1,
    }


def test_every_baseline_gives_the_shape_of_the_program(
    people: Respondents, retriever: Retriever
) -> None:
    """Names agree with kinds, and predictions have the program's fields."""
    for name, baseline in BASELINES.items():
        module = baseline.build(study(people, retriever))
        assert (baseline.name, module.kind, module.variant) == (name, name, name)
        assert baseline.uses_lm == bool(module.named_predictors())
        assert baseline.knows == ("cold" if baseline.uses_lm else "warm")
        with scripted([reply(1), reply(1)]):
            found, again = module.predict(case("Q57")), module(case=case("Q57"))
        assert set(found.keys()) == SHAPE and found.answer == again.answer
        assert type(found.answer) is int and found.views == {} and found.backstory == ""


def test_rag_is_built_as_the_config_says(people: Respondents, retriever: Retriever) -> None:
    """Number of facts and length of demos come from the job, the retriever from the study."""
    job = {"embedder": {"k": 7}, "compile": {"demo_facts": 2}}
    made = BASELINES["rag"].build(study(people, retriever, **job))
    assert made.binding == {"embedder": "lexical", "k": 7} and made.direct.demo_facts == 2


def test_a_new_baseline_is_a_class_and_a_line(
    people: Respondents, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else has to know of it."""

    class First(Mode):
        """Answer the first code."""

        kind = "first"

        def _code(self, asked: Case) -> int:
            return asked.question.codes[0]

    line = Baseline("first", "the first code", "cold", False, lambda study: First(Modes({}, {})))
    monkeypatch.setitem(BASELINES, "first", line)
    assert simulate(BASELINES["first"].build(None), [example("Q57", 1)])[0].answer == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("made", [RAG(), Blank()])
def test_saved_baselines_load_again(made: Any, tmp_path: Path, retriever: Retriever) -> None:
    """Demos and instructions come back; a RAG comes back unbound and is bound again."""
    demo = dspy.Example(facts="- You rest.", history="", question="Q?", options="1: a", answer=1)
    program = made.bind(retriever).reset_copy() if isinstance(made, RAG) else made.reset_copy()
    program.direct.answer.demos = [demo]
    manifest = Manifest(kind=made.kind, variant=made.variant, codebook={"id": "wvs7", "version": 1})
    folder = save_program(program, tmp_path / "saved", manifest)
    assert "retriever" not in "".join(path.read_text() for path in folder.iterdir())
    loaded = load_program(folder, build=build_baseline)
    assert type(loaded) is type(made) and loaded.manifest.kind == made.kind
    assert loaded.direct.answer.dump_state() == program.direct.answer.dump_state()
    if isinstance(loaded, RAG):
        with pytest.raises(MissingDataError):
            loaded.inputs(case())
        loaded.bind(retriever)
    assert loaded.inputs(case()) == program.inputs(case())


@pytest.mark.parametrize("kind", ["valuesim", "mode", "nonsense"])
def test_what_is_no_saved_baseline_is_refused(kind: str) -> None:
    """The message names what was found and what is possible."""
    with pytest.raises(ProgramStateError, match=f"rag, blank.*{kind}"):
        build_baseline(Manifest(kind=kind, variant=kind))
