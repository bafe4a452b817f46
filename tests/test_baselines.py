"""The registry of baselines: every line gives an arm of one call shape, and LM arms are saved."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from jobs import small_job
from people import case, example, prompt_of, reply, scripted

from evals.baselines import (
    BASELINES,
    RAG,
    SAVED,
    Baseline,
    CountryMode,
    Guesser,
    OtherProfile,
    build_baseline,
)
from evals.study import Study, build_arm, open_study
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case
from valuesim_dspy.config import parse_job
from valuesim_dspy.errors import MissingDataError, ProgramStateError
from valuesim_dspy.loading import load_program, save_program
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.retrieval import LexicalEmbedder, Retriever
from valuesim_dspy.survey.codebook import load_codebook

SHAPE = {"answer", "analysis", "backstory", "views", "decision", "status"}
COLD = {
    *("rag", "rag-10", "rag-30", "rag-query", "self-consistency", "demographics"),
    *("other-profile", "blank", "uniform", "battery-mean", "embedding-transfer"),
    *("single-samples", "single-verbalised", "single-logprobs"),
    "single-battery",
}
WITHOUT_TOKENS = "single-logprobs"
"""The arm that the embedded model cannot answer; see test_distribution_arms."""
WARM = {
    *("mode", "country-mode", "weighted-median", "nearest-respondents", "rag-peers"),
    *("peers-mode", "low-rank", "gradient-boosting"),
}


@pytest.fixture(scope="module")
def study() -> Iterator[Study]:
    """A small study of synthetic people, its cache in memory."""
    with open_study(small_job(), cache=ResponseCache()) as opened:
        yield opened


def test_every_arm_is_tagged(study: Study) -> None:
    """What has seen others' answers to a target is warm; all else is cold."""
    assert {name for name, baseline in BASELINES.items() if baseline.knows == "cold"} == COLD
    assert {name for name, baseline in BASELINES.items() if baseline.knows == "warm"} == WARM


@pytest.mark.parametrize("name", sorted({*BASELINES} - {WITHOUT_TOKENS}))
def test_every_baseline_gives_the_shape_of_the_program(study: Study, name: str) -> None:
    """Names agree with kinds, predictions have the program's fields, answers are codes."""
    baseline, module = BASELINES[name], build_arm(study, name)
    assert (baseline.name, module.kind, module.variant) == (name, name, name)
    assert baseline.uses_lm == bool(module.named_predictors()) == (name in SAVED)
    assert isinstance(module, Guesser) != baseline.uses_lm
    asked = study.examples("dev")[0].case
    found, again = module.predict(asked), module(case=asked)
    shape = SHAPE | ({"probabilities"} if getattr(module, "gives_probabilities", False) else set())
    assert set(found.keys()) == shape and found.answer == again.answer
    assert type(found.answer) is int and found.answer in asked.question.codes
    assert found.views == {} and found.backstory == "" and found.analysis


@pytest.mark.parametrize("name", sorted({name for name in BASELINES if name not in SAVED}))
def test_arms_without_a_model_are_the_same_again(study: Study, name: str) -> None:
    """Built twice, an arm answers a whole set alike: nothing depends on the clock or on order."""
    cases = [example.case for example in study.examples("dev")]
    first, second = BASELINES[name].build(study), BASELINES[name].build(study)
    forwards = [first.predict(case).answer for case in cases]
    backwards = [second.predict(case).answer for case in reversed(cases)]
    assert forwards == backwards[::-1]


def test_fitted_arms_are_fitted_on_the_trainset_only(study: Study) -> None:
    """The modes are those of the split's training people and of nobody else."""
    made = BASELINES["country-mode"].build(study)
    assert isinstance(made, CountryMode)
    train = study.respondents.take(study.split.train)
    assert {home for _, home in made.modes.by_country} == {*train.alphas}
    codes = [code for code in train.column("Q57").tolist() if code > 0]
    assert made.modes.overall["Q57"] == min({*codes}, key=lambda c: (-codes.count(c), c))


def test_the_other_person_s_profile_holds_no_target(study: Study) -> None:
    """Others come from the trainset as the fold masks them, so that the arm is cold."""
    arm = BASELINES["other-profile"].build(study)
    assert isinstance(arm, OtherProfile)
    train = {study.respondents[at].key(study.respondents.digest) for at in study.split.train}
    assert {other.key for other in arm._others} <= train and len(arm._others) > 1
    for other in arm._others:
        assert other.answers and set(other.answers) <= set(study.fold.profile)


def test_rag_is_built_as_the_config_says() -> None:
    """Number of facts and length of demos come from the job, the retriever from the study."""
    job = parse_job({"embedder": {"k": 7}, "compile": {"demo_facts": 2}})
    retriever = Retriever(LexicalEmbedder(load_codebook()))
    given: Any = SimpleNamespace(config=job, retriever=retriever)
    made: Any = BASELINES["rag"].build(given)
    assert made.binding == {"embedder": "lexical", "k": 7} and made.direct.demo_facts == 2


def test_a_new_baseline_is_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else has to know of it."""

    class First(Guesser):
        """Answer the first code."""

        kind, why = "first", "It comes first."

        def code(self, case: Case) -> int:
            """Return the first code."""
            return case.question.codes[0]

    line = Baseline("first", "the first code", "cold", False, lambda study: First())
    monkeypatch.setitem(BASELINES, "first", line)
    assert answer_cases(BASELINES["first"].build(None), [example("Q57", 1)])[0].answer == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", SAVED)
def test_saved_baselines_load_again_and_are_bound(study: Study, kind: str, tmp_path: Path) -> None:
    """Demos and instructions come back; bindings are never saved, and the study gives them."""
    program: Any = SAVED[kind]() if kind == WITHOUT_TOKENS else build_arm(study, kind)
    demo = dspy.Example(facts="- You rest.", history="", question="Q?", options="1: a")
    predictor = program.direct.predictors()[0]
    output = list(predictor.signature.output_fields)[-1]
    told = {"answer": 1, "answers": "1: 1", "probabilities": '{"1": 100}'}
    inputs = {k: v for k, v in demo.items() if k in predictor.signature.input_fields}
    predictor.demos = [dspy.Example(**inputs, **{output: told[output]})]
    folder = save_program(program, tmp_path / "saved", study.manifest(kind, kind))
    assert "lexical" not in (folder / "program.json").read_text()
    loaded = load_program(folder, build=build_baseline)
    assert type(loaded) is type(program) and loaded.manifest.kind == kind
    assert loaded.direct.predictors()[0].dump_state() == predictor.dump_state()
    if kind == WITHOUT_TOKENS:
        return
    asked = study.examples("dev")[1].case
    if isinstance(loaded, RAG | OtherProfile):
        with pytest.raises(MissingDataError):
            loaded.inputs(asked)
    bound: Any = build_arm(study, str(folder))
    assert bound(case=asked).answer == program(case=asked).answer
    if hasattr(program, "inputs"):
        assert bound.inputs(asked) == program.inputs(asked)


def test_a_compiled_arm_shows_its_demos_to_the_model(study: Study) -> None:
    """Each LM arm sends the demos of its predictor `direct.answer` along."""
    for kind in sorted({*SAVED} - {WITHOUT_TOKENS, "single-verbalised", "single-battery"}):
        program: Any = build_arm(study, kind)
        program.direct.answer.demos = [
            {**program.direct.answer.signature.input_fields.fromkeys(
                program.direct.answer.signature.input_fields, "told in a demo"), "answer": 1}
        ]  # fmt: skip
        with scripted(lambda request: reply(1) | {"queries": "family"}) as engine:
            program(case=study.examples("dev")[0].case)
        assert "told in a demo" in prompt_of(engine.requests[-1]), kind


@pytest.mark.parametrize("kind", ["valuesim", "mode", "nonsense"])
def test_what_is_no_saved_baseline_is_refused(kind: str) -> None:
    """The message names what was found and what is possible."""
    with pytest.raises(ProgramStateError, match=f"rag, rag-10.*blank.*{kind}"):
        build_baseline(Manifest(kind=kind, variant=kind))


def test_the_kind_that_a_file_names_cannot_colour_a_message() -> None:
    """The kind comes from the program's file."""
    kind = "\x1b[2J\nevil" * 200
    with pytest.raises(ProgramStateError, match="evil") as caught:
        build_baseline(Manifest(kind=kind, variant=kind))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def test_a_guesser_says_its_sentence_and_asks_nobody() -> None:
    """Without a model in force a guess is given all the same, with its reason."""
    with scripted([]) as engine:
        found = BASELINES["uniform"].build(SimpleNamespace(config=parse_job({})))(case=case())  # type: ignore[arg-type]
    assert found.analysis == "Drawn at random." and not engine.requests
