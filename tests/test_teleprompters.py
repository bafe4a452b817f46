"""Teleprompters: what each one makes, what it costs, what ends it and where its output goes."""

import dataclasses
import json
import logging
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from compiling import SMALL
from people import ANSWERS, person, prompt_of, reply, scripted_lm
from pydantic import Field

from evals.baselines import RAG, build_baseline
from evals.metrics import SCORES
from optimize.teleprompters import (
    TELEPROMPTERS,
    Compilation,
    Compiled,
    Teleprompter,
    as_metric,
    compile_program,
)
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case, make_example
from valuesim_dspy.config import JobConfig
from valuesim_dspy.ensemble import Ensemble
from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    PredictionError,
    ProgramStateError,
)
from valuesim_dspy.lexical.engine import LexicalEngine, ScriptedEngine
from valuesim_dspy.lexical.parsing import read_request
from valuesim_dspy.lm import MeteredLM
from valuesim_dspy.loading import load_program, save_program
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.program import ValueSim
from valuesim_dspy.retrieval import LexicalEmbedder, Retriever
from valuesim_dspy.roles import Settings
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.usage import Budget, Meter

TRAIN_QUESTIONS, VAL_QUESTIONS = ("Q69", "Q70", "Q121"), ("Q106", "Q164")
BOOTSTRAPS = ("bootstrap", "bootstrap-random-search")
FULL_ANSWERERS = {f"panel.{name}.answer" for name in ("cognitive", "affective", "behavioral")}


def examples(questions: tuple[str, ...], people: int, truth: int = 2, first: int = 0) -> list[Any]:
    """Return examples: each person, each question, one true code for all."""
    profiles = [
        person({**ANSWERS, "Q2": 1 + n % 4, "Q3": 1 + n // 4}) for n in range(first, first + people)
    ]
    return [make_example(Case(p, load_codebook()[q]), truth) for p in profiles for q in questions]


class Elsewhere(MeteredLM):
    """A model that seems to be on another machine, so that threads are used."""

    in_process = False


def always(code: int) -> ScriptedEngine:
    """Return an engine that gives one code whatever is asked, and a story where one is wanted."""

    def answer(request: Any) -> dict[str, Any]:
        names = {field.name for field in read_request(request).task.outputs}
        if "backstory" in names:
            return {"backstory": "You live by the sea."}
        return reply(code) if "answer" in names else written(request)

    return ScriptedEngine(answer)


def written(request: Any) -> str:
    """Return what the embedded model writes where no answer is asked for."""
    return str(LexicalEngine().complete(request).message.parts[0].text)


def compilation(engine: Any, student: Any = None, **known: Any) -> Compilation:
    """Return a small compilation: 12 training cases, 4 for selection, exact scores."""
    budget = known.pop("budget", None)
    return Compilation(
        **{
            "student": student or ValueSim("single"),
            "trainset": examples(TRAIN_QUESTIONS, 4),
            "valset": examples(VAL_QUESTIONS, 2, first=8),
            "score": as_metric(SCORES["exact"]),
            "seed": 1,
            "task_lm": scripted_lm(engine, meter=Meter("test", budget=budget)),
            "options": None,
            **known,
        }
    )


def run(name: str, engine: Any, options: dict[str, Any] | None = None, **known: Any) -> Compiled:
    """Compile by name."""
    teleprompter = TELEPROMPTERS[name]
    made = compilation(engine, options=teleprompter.parse(options or {}), **known)
    return compile_program(teleprompter, made)


def state(program: Any) -> str:
    """Return all that would be saved of a program."""
    return json.dumps(program.dump_state(), sort_keys=True)


def rag() -> RAG:
    """Return a bound RAG."""
    return RAG().bind(Retriever(LexicalEmbedder(load_codebook())))


def test_names_agree_and_the_default_job_has_one() -> None:
    """What is typed, saved and logged is one name, and a job without one compiles."""
    assert all(name == teleprompter.name for name, teleprompter in TELEPROMPTERS.items())
    assert JobConfig().compile.teleprompter in TELEPROMPTERS


def test_every_option_is_described_and_closed() -> None:
    """Options are documented where they are declared; others are refused with what there is."""
    for teleprompter in TELEPROMPTERS.values():
        assert all(field.description for field in teleprompter.options.model_fields.values())
        with pytest.raises(ConfigError, match=r"compile\.options\.tempo.*allowed: ") as caught:
            teleprompter.parse({"tempo": 1})
        assert all(name in str(caught.value) for name in teleprompter.options.model_fields)


@pytest.mark.parametrize("value", [0, -1, 1.5, "4", True])
def test_an_option_that_does_not_fit_is_named(value: Any) -> None:
    """Numbers are not guessed from text, and have bounds."""
    with pytest.raises(ConfigError, match=r"compile\.options\.k"):
        TELEPROMPTERS["labeled-few-shot"].parse({"k": value})
    assert TELEPROMPTERS["labeled-few-shot"].parse({"k": 7}).k == 7  # type: ignore[attr-defined]


def test_the_metric_is_a_score_without_and_a_bool_with_a_trace() -> None:
    """A near miss has a score and makes no demo."""
    ten = make_example(Case(person(), load_codebook()["Q164"]), 5)
    near = dspy.Prediction(answer=6)
    metric = as_metric(SCORES["closeness"])
    assert metric(ten, near) == pytest.approx(8 / 9) and metric(ten, near, []) is False
    assert metric(ten, dspy.Prediction(answer=5), []) is True
    assert as_metric(SCORES["closeness"], threshold=0.8)(ten, near, []) is True


@pytest.mark.parametrize("variant", ["single", "full"])
def test_labeled_demos_need_no_call(variant: str) -> None:
    """Demos of k training cases in every predictor that answers from a case."""
    engine = always(2)
    made = run("labeled-few-shot", engine, {"k": 3}, student=ValueSim(variant), valset=[])
    wanted = FULL_ANSWERERS if variant == "full" else {"direct.answer"}
    assert made.demos == dict.fromkeys(made.demos, 3) and set(made.demos) == wanted
    assert engine.requests == [] and made.runs == 0 and made.notes == ()


def test_bootstrapped_demos_are_condensed_traces() -> None:
    """What the predictor read, shortened, and what the model said of it."""
    student = ValueSim("single", demo_facts=3)
    made = run("bootstrap", always(2), {"max_demos": 2}, student=student, valset=[])
    demos = made.program.direct.answer.demos
    assert made.demos == {"direct.answer": 2} and made.candidates == () and made.chosen == ""
    for demo in demos:
        assert set(demo.keys()) == {"augmented", *made.program.direct.answer.signature.fields}
        assert len(demo.facts.splitlines()) == 3 and demo.answer == 2
        assert demo.analysis == reply(2)["analysis"]


def test_the_writer_never_gets_demos() -> None:
    """Nor does a backstory stand in any demo."""
    made = run("bootstrap", always(2), student=ValueSim("full"))
    assert set(made.demos) == FULL_ANSWERERS
    demos = [demo for _, p in made.program.named_predictors() for demo in p.demos]
    assert demos and not any("backstory" in demo for demo in demos)


def test_a_demo_has_the_right_answer_itself() -> None:
    """Two perspectives are right and one is wrong: the wrong one is no example to follow."""

    def split(request: Any) -> dict[str, Any]:
        if "backstory" in {field.name for field in read_request(request).task.outputs}:
            return {"backstory": "You live by the sea."}
        return reply(1 if "what they feel" in prompt_of(request) else 2)

    made = run("bootstrap", ScriptedEngine(split), student=ValueSim("vote"))
    assert set(made.demos) == FULL_ANSWERERS - {"panel.affective.answer"}
    as_dspy = {"own_answer": False}
    made = run("bootstrap", ScriptedEngine(split), as_dspy, student=ValueSim("vote"))
    assert set(made.demos) == FULL_ANSWERERS


def test_the_student_is_left_as_it_was() -> None:
    """A job measures it again as the uncompiled program; the result is of its own class."""
    for name in TELEPROMPTERS:
        student = rag()
        before = state(student)
        made = run(name, always(2), SMALL.get(name), student=student)
        assert state(student) == before and type(student) is RAG
        assert type(made.program) is (Ensemble if name == "ensemble" else RAG)
        assert made.program is not student
        assert made.program.binding == student.binding, "bindings survive"
        assert not {"candidate_programs", "_watch"} & set(vars(made.program))


@pytest.mark.parametrize("name", BOOTSTRAPS)
@pytest.mark.parametrize(("code", "end"), [(2, 0), (1, 1)])
@pytest.mark.parametrize("rounds", [1, 2])
def test_the_estimate_is_what_is_called(name: str, code: int, end: int, rounds: int) -> None:
    """Where every case is answered right the least is needed, where none is the most."""
    teleprompter = TELEPROMPTERS[name]
    options = {"max_demos": 3, "max_rounds": rounds}
    options |= {"candidates": 3} if name == "bootstrap-random-search" else {}
    engine = always(code)
    made = run(name, engine, options)
    expected = teleprompter.estimate(teleprompter.parse(options), 12, 4, 1)
    assert len(engine.requests) == expected[end] == made.runs
    assert expected[0] < expected[1]


def test_the_estimate_counts_calls_of_a_run() -> None:
    """Backstory and three perspectives that agree are four calls; more where they may differ."""
    teleprompter = TELEPROMPTERS["bootstrap"]
    engine, options = always(2), teleprompter.parse({"max_demos": 3})
    run("bootstrap", engine, {"max_demos": 3}, student=ValueSim("full"))
    assert teleprompter.estimate(options, 12, 0, (4, 5)) == (len(engine.requests), 60)
    labeled = TELEPROMPTERS["labeled-few-shot"]
    assert labeled.estimate(labeled.parse({}), 12, 4, 5.0) == (0, 0)


def test_more_demos_than_cases_cost_no_more_than_the_trainset() -> None:
    """The least is bounded by the trainset."""
    teleprompter = TELEPROMPTERS["bootstrap"]
    assert teleprompter.runs(teleprompter.parse({"max_demos": 64}), 12, 4) == (12, 12)


def test_nothing_bootstrapped_is_said() -> None:
    """A student that is never right comes back as it was, with a note."""
    made = run("bootstrap", always(1))
    assert made.demos == {} and state(made.program) == state(ValueSim("single"))
    assert made.notes == ("no demos: the program is the uncompiled one",)
    searched = run("bootstrap-random-search", always(1), {"candidates": 2})
    assert searched.chosen == "uncompiled" and searched.notes == made.notes


def test_random_search_gives_a_curve_of_candidates() -> None:
    """Each candidate with its step, its valset score and its demos; the best is the program."""

    def better_with_demos(request: Any) -> dict[str, Any]:
        count = len(read_request(request).demos)
        is_train = "police" in read_request(request).values["question"]
        return reply(2 if count >= 2 or is_train else 1)

    valset = examples(VAL_QUESTIONS, 2, first=8)
    made = run(
        "bootstrap-random-search",
        ScriptedEngine(better_with_demos),
        {"candidates": 5, "max_demos": 3},
        trainset=examples(("Q69",), 12),
        valset=valset,
    )
    assert [c.step for c in made.candidates] == list(range(7))
    names = [c.name for c in made.candidates]
    assert names == ["uncompiled", "in-order", *(f"shuffle-{n}" for n in range(5))]
    assert made.candidates[0].score == 0.0 and made.candidates[0].demos == 0
    for candidate in made.candidates[1:]:
        assert candidate.score == (1.0 if candidate.demos >= 2 else 0.0)
    assert made.chosen == "in-order" and made.demos == {"direct.answer": 3}


def test_a_tie_goes_to_the_earlier_candidate() -> None:
    """Where demos change nothing, the uncompiled program is kept."""
    made = run("bootstrap-random-search", always(2), {"candidates": 2})
    assert {c.score for c in made.candidates} == {1.0} and made.chosen == "uncompiled"
    assert made.demos == {}


@pytest.mark.parametrize(
    "name", ["labeled-few-shot", "bootstrap", "bootstrap-random-search", "bootstrap-optuna"]
)
def test_the_seed_decides_the_result(name: str) -> None:
    """Equal seeds give equal states, other seeds other ones."""

    def needs_demos(request: Any) -> dict[str, Any]:
        asked = read_request(request)
        is_val = asked.values["question"] in {ex.case.question_text for ex in valset}
        return reply(1 if is_val and not asked.demos else 2)

    valset = examples(VAL_QUESTIONS, 2, first=8)
    states = []
    for seed in (1, 1, 2, 3):
        made = run(name, ScriptedEngine(needs_demos), SMALL.get(name), seed=seed, valset=valset)
        assert made.demos
        states.append(state(made.program))
    assert states[0] == states[1] and len(set(states)) == 3


def test_threads_give_the_same_program() -> None:
    """The search runs cases side by side where the model is elsewhere."""

    class Tracking(LexicalEngine):
        def complete(self, request: Any) -> Any:
            where[-1].add(threading.current_thread() is threading.main_thread())
            return super().complete(request)

    where: list[set[bool]] = []

    def search(threads: int) -> Compiled:
        where.append(set())
        made = compilation(Tracking(), threads=threads)
        lm = made.task_lm
        if threads > 1:
            lm.__class__ = Elsewhere
        teleprompter = TELEPROMPTERS["bootstrap-random-search"]
        options = teleprompter.parse({"candidates": 2})
        return compile_program(teleprompter, dataclasses.replace(made, options=options))

    one, many = search(1), search(4)
    assert state(one.program) == state(many.program) and one.candidates == many.candidates
    assert where[0] == {True} and False in where[1], "the second search did use threads"


def test_the_teacher_answers_where_one_is_given() -> None:
    """Demos come from the teacher's replies; selection runs on the task LM."""
    student_engine, teacher_engine = always(1), always(2)
    made = run(
        "bootstrap-random-search",
        student_engine,
        {"candidates": 1, "max_demos": 1},
        teacher_lm=scripted_lm(teacher_engine),
    )
    assert len(teacher_engine.requests) == 2 and len(student_engine.requests) == 3 * 4
    assert [c.demos for c in made.candidates] == [0, 1, 1]


def test_failures_are_counted_and_never_abort() -> None:
    """Half of the runs fail, more than DSPy lets pass by default: the rest makes demos."""

    def half(request: Any) -> dict[str, Any]:
        if "police" in prompt_of(request).rpartition("[[ ## question ## ]]")[2]:
            return reply(99)
        return reply(2)

    train = examples(("Q69",), 12) + examples(("Q70",), 4)
    made = run("bootstrap", ScriptedEngine(half), {"max_demos": 8}, trainset=train)
    assert made.demos == {"direct.answer": 4}
    assert (made.runs, made.failed_runs) == (16, 12)
    assert made.notes == ("12 of 16 runs of the program failed while compiling",)


@pytest.mark.parametrize("name", BOOTSTRAPS)
def test_where_every_run_fails_there_is_no_result(name: str, tmp_path: Path) -> None:
    """The uncompiled program is not passed off as compiled; the message names the log."""
    with pytest.raises(PredictionError, match=r"all \d+ runs of the program failed.*out\.log"):
        run(name, always(99), log=tmp_path / "out.log")


@pytest.mark.parametrize("name", BOOTSTRAPS)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_spent_budget_ends_the_job(name: str, threads: int) -> None:
    """DSPy counts it as a failed example and goes on; here it comes out as it is."""
    engine = always(1)
    with pytest.raises(BudgetExceededError):
        run(name, engine, budget=Budget(calls=5), threads=threads)
    assert len(engine.requests) == 5


def test_a_spent_budget_ends_a_threaded_job(capfd: pytest.CaptureFixture[str]) -> None:
    """The runs that are queued behind it make no call."""

    engine = always(1)
    made = compilation(engine, threads=3, budget=Budget(calls=14))
    made.task_lm.__class__ = Elsewhere
    teleprompter = TELEPROMPTERS["bootstrap-random-search"]
    with pytest.raises(BudgetExceededError):
        compile_program(teleprompter, dataclasses.replace(made, options=teleprompter.parse({})))
    assert len(engine.requests) == 14
    assert capfd.readouterr() == ("", "")


def test_a_metric_that_is_no_bool_with_a_trace_is_refused() -> None:
    """DSPy would make a demo of a score of 0.01."""
    with pytest.raises(ConfigError, match="bool when a trace is given"):
        run("bootstrap", always(1), score=lambda example, prediction, trace=None: 0.01)


@pytest.mark.parametrize("name", TELEPROMPTERS)
def test_empty_sets_are_refused(name: str) -> None:
    """No trainset is ever taken for a valset."""
    with pytest.raises(ConfigError, match="trainset is empty"):
        run(name, always(2), trainset=[])
    if TELEPROMPTERS[name].needs_valset:
        with pytest.raises(ConfigError, match="valset is empty"):
            run(name, always(2), valset=[])


def test_output_goes_to_a_private_file_only(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Prints, progress bars and DSPy's log lines: in the file, readable by its owner."""
    log = tmp_path / "logs" / "teleprompter.log"
    stdout, level = sys.stdout, logging.getLogger("dspy").level
    engine = ScriptedEngine(lambda request: reply(2 if "police" in prompt_of(request) else 99))
    run("bootstrap-random-search", engine, {"candidates": 1}, log=log)
    run("bootstrap", always(2), log=log)
    text = log.read_text()
    assert text.count("Bootstrapped") == 3 and "Failed to run" in text
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert capfd.readouterr() == ("", "") and caplog.text == ""
    assert sys.stdout is stdout and logging.getLogger("dspy").level == level


@pytest.mark.slow
def test_no_saved_program_holds_a_row_or_a_key(tmp_path: Path) -> None:
    """Searched for respondents' keys, cases and raw answers; and it loads again as it was."""
    for name, student in ((n, s) for n in TELEPROMPTERS for s in (ValueSim("full"), rag())):
        lm = scripted_lm(LexicalEngine())
        made = run(name, LexicalEngine(), SMALL.get(name), student=student, task_lm=lm)
        manifest = Manifest(
            kind=student.kind, variant=student.variant, codebook={"id": "wvs7", "version": 1}
        )
        build: dict[str, Any] = {"build": build_baseline} if student.kind == "rag" else {}
        folder = save_program(made.program, tmp_path / name / student.kind, manifest)
        text = (folder / "program.json").read_text()
        for ex in examples(TRAIN_QUESTIONS, 4) + examples(VAL_QUESTIONS, 2, first=8):
            assert ex.case.profile.key not in text
        assert '"case"' not in text and "Case(" not in text
        assert state(load_program(folder, **build)) == state(made.program)


def test_compiled_programs_show_their_demos() -> None:
    """The prompts of a compiled program hold each demo's question and true answer."""
    made = run("labeled-few-shot", always(2), {"k": 2})
    engine = always(3)
    asked = examples(VAL_QUESTIONS, 1, first=9)[0]
    with ResponseCache().installed(), dspy.context(lm=scripted_lm(engine)):
        assert made.program(case=asked.case).answer == 3
    demos = read_request(engine.requests[0]).demos
    assert len(demos) == 2 and all(demo.outputs["answer"] == "2" for demo in demos)
    assert {demo.inputs["question"] for demo in demos} <= {
        ex.case.question_text for ex in examples(TRAIN_QUESTIONS, 4)
    }


def test_a_compiled_program_can_be_a_student_again() -> None:
    """Nothing DSPy left on it hides its predictors."""
    first = run("bootstrap", always(2)).program
    again = run("bootstrap", always(2), student=first)
    assert again.demos == {"direct.answer": 4}


def test_a_new_teleprompter_is_a_builder_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options, checks, counts, stops and private output come with the registry."""

    class ToyOptions(Settings):
        """Options of the toy."""

        word: str = Field("kindly", description="what is added to the instructions")

    def toy(given: Compilation) -> Compiled:
        program = given.student.reset_copy()
        print("a private word")
        program(case=given.trainset[0].case)
        for _, predictor in program.named_predictors():
            added = f"{predictor.signature.instructions} Do it {given.options.word}."
            predictor.signature = predictor.signature.with_instructions(added)
        return Compiled(program)

    line = Teleprompter("toy", "adds a word", ToyOptions, toy, lambda o, n_train, n_val: (1, 1))
    monkeypatch.setitem(TELEPROMPTERS, "toy", line)
    made = run("toy", always(2), {"word": "slowly"})
    assert made.runs == 1 and type(made.program) is ValueSim
    assert made.program.direct.answer.signature.instructions.endswith("Do it slowly.")
    with pytest.raises(BudgetExceededError):
        run("toy", always(2), budget=Budget(calls=0))


def quoting(given: Compilation) -> Compiled:
    """Write a fact of somebody into the instruction."""
    program = given.student.reset_copy()
    program(case=given.trainset[0].case)
    answer = program.direct.answer
    fact = max((f.text for f in given.trainset[0].case.profile.facts), key=len)
    told = f"{answer.signature.instructions} Remember: {fact}"
    answer.signature = answer.signature.with_instructions(told)
    return Compiled(program)


def test_an_instruction_that_quotes_somebody_is_found() -> None:
    """The findings hold the quote; the notes, which are printed, only say where to look."""
    line = Teleprompter("q", "quotes", Settings, quoting, lambda o, n_train, n_val: (1, 1))
    given = compilation(always(2))
    made = compile_program(line, given)
    assert made.instructions_written
    (found,) = made.findings
    assert found.predictor == "direct.answer" and found.source == "fact"
    (note,) = made.notes
    assert "direct.answer" in note and found.quote not in note.lower()
    plain = compile_program(TELEPROMPTERS["bootstrap"], replace_options(given))
    assert not plain.instructions_written and plain.findings == ()


def replace_options(given: Compilation) -> Compilation:
    """Return the compilation with the options of `bootstrap`."""
    return dataclasses.replace(given, options=TELEPROMPTERS["bootstrap"].parse({}))


@pytest.mark.parametrize("name", ["mipro-v2", "copro", "gepa", "infer-rules"])
def test_a_prompt_lm_that_is_away_ends_the_job(name: str) -> None:
    """In one line: the user pays for no search that has nothing to try."""

    def away(request: Any) -> Any:
        raise dspy.LMTransportError("no route", model="m", provider="p")

    prompt_lm = scripted_lm(ScriptedEngine(away), num_retries=0)
    with pytest.raises(PredictionError, match="prompt LM"):
        run(name, always(2 if name != "gepa" else 1), SMALL[name], prompt_lm=prompt_lm)


@pytest.mark.parametrize("name", ["mipro-v2", "copro", "gepa"])
def test_a_prompt_lm_on_a_spent_budget_ends_the_job(name: str) -> None:
    """Though DSPy would go on without an instruction."""
    meter = Meter("prompts", budget=Budget(calls=0))
    prompt_lm = scripted_lm(LexicalEngine(), meter=meter)
    with pytest.raises(BudgetExceededError):
        run(name, always(1), SMALL[name], prompt_lm=prompt_lm)


def test_a_teleprompter_that_leaks_a_case_is_caught() -> None:
    """DSPy's own labeled demos are whole examples: compiling with them is refused."""

    def leaky(given: Compilation) -> Compiled:
        program = given.student.reset_copy()
        program.direct.answer.demos = list(given.trainset[:1])
        return Compiled(program)

    leak: Callable[..., Any] = lambda options, n_train, n_val: (0, 0)  # noqa: E731
    line = Teleprompter("leaky", "leaks", Settings, leaky, leak)
    with pytest.raises(ProgramStateError, match="the field 'case'"):
        compile_program(line, compilation(always(2)))
