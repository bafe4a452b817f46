"""The teleprompter `ensemble`: members, what the valset chooses, what it costs, what is refused."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import dspy
import pytest
from compiling import Compiling, compiled, instructions, likes_change, small_study, state
from jobs import small_job
from people import case, example, reply

from evals.baselines import RAG, build_baseline
from evals.estimate import benchmark_cost, check_context
from evals.metrics import SCORES
from evals.study import open_study
from optimize.compile_metrics import COMPILE_METRICS
from optimize.demo_rendering import check_demos, demo_counts
from optimize.instruction_scan import instructions_of
from optimize.learning_trust import learns_trust, with_trust
from optimize.planning import find_teleprompter
from optimize.teleprompters import (
    TELEPROMPTERS,
    Compilation,
    Compiled,
    Teleprompter,
    as_metric,
    compile_program,
)
from optimize.teleprompters.ensembling import as_votes, member_options, member_teleprompter
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.ensemble import Ensemble, vote_shares
from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    PredictionError,
    ProgramStateError,
)
from valuesim_dspy.loading import load_program, save_program
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.program import ValueSim
from valuesim_dspy.retrieval import LexicalEmbedder, Retriever
from valuesim_dspy.roles import LMRole, Settings
from valuesim_dspy.survey.codebook import load_codebook

pytestmark = pytest.mark.slow

TWO = {"of": "bootstrap", "size": 2}


class Told(dspy.Module):
    """A program of another kind: answers what its demos' first line says, or a default."""

    kind = variant = "told"

    def __init__(self, answer: int = 1) -> None:
        super().__init__()
        self.step = dspy.Predict("question -> answer: int")
        self.default = answer

    def forward(self, case: Any) -> dspy.Prediction:
        """Answer without a model."""
        said = {
            int(question): int(demo["answer"])
            for demo in self.step.demos
            for question in demo["question"].split()
        }
        answer = said.get(int(case.question.id[1:]), self.default)
        if answer == 0:
            raise PredictionError("there is no answer")
        return dspy.Prediction(answer=answer, analysis="So told.", backstory="", views={})


def toy(name: str = "toy", *, states: list[list[dict[str, Any]]], writes: bool = False) -> Any:
    """Return a teleprompter whose n-th compilation leaves the n-th demos; it makes no run."""
    turn = itertools.count()

    def build(given: Compilation) -> Compiled:
        program = given.student.reset_copy()
        demos = states[next(turn) % len(states)]
        for predictor in program.predictors():
            predictor.demos = list(demos)
        return Compiled(program, notes=("made",) if writes else ())

    return Teleprompter(name, "toy", Settings, build, lambda o, t, v, p=1: (0, 0), writes=writes)


def right(*questions: int) -> list[dict[str, Any]]:
    """Return a demo after which these questions are answered rightly."""
    return [{"question": " ".join(map(str, questions)), "answer": 2}]


def made_by(
    monkeypatch: pytest.MonkeyPatch,
    states: list[list[dict[str, Any]]],
    *,
    student: Any = None,
    valset: tuple[str, ...] = ("Q69", "Q70", "Q71"),
    **known: Any,
) -> Compiled:
    """Compile an ensemble of toys; the truth is always 2, what nobody is told of is answered 1."""
    monkeypatch.setitem(TELEPROMPTERS, "toy", toy(states=states, writes=known.pop("writes", False)))
    options = TELEPROMPTERS["ensemble"].parse({"of": "toy", "size": len(states)})
    given = Compilation(
        **{
            "student": student or Told(),
            "trainset": [example("Q65")],
            "valset": [example(question) for question in valset],
            "score": as_metric(SCORES["exact"]),
            "seed": 1,
            "task_lm": Compiling("ensemble").given.task_lm,
            "options": options,
            **known,
        }
    )
    return compile_program(TELEPROMPTERS["ensemble"], given)


def scores(made: Compiled) -> dict[str, float]:
    """Return the candidates' valset scores by name."""
    assert [candidate.step for candidate in made.candidates] == list(range(len(made.candidates)))
    return {candidate.name: round(candidate.score, 3) for candidate in made.candidates}


def test_an_ensemble_that_is_better_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each member misses another question, and the vote misses none."""
    made = made_by(monkeypatch, [right(69, 70), right(70, 71), right(69, 71)])
    assert type(made.program) is Ensemble and made.program.size == 3
    assert made.chosen == "ensemble" and made.notes == ()
    assert scores(made) == {
        "uncompiled": 0.0,
        "member_1": 0.667,
        "member_2": 0.667,
        "member_3": 0.667,
        "ensemble": 1.0,
    }
    answers = [made.program(case=case(q)).answer for q in ("Q69", "Q70", "Q71", "Q72")]
    assert answers == [2, 2, 2, 1]


def test_a_better_member_is_returned_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a note; the program is of the student's class and holds nothing of the search."""
    made = made_by(monkeypatch, [right(69), right(69, 70, 71), right(70)])
    assert type(made.program) is Told and made.chosen == "member_2"
    assert made.notes == ("the valset prefers member_2 alone to the ensemble",)
    assert scores(made)["member_2"] == 1.0 and scores(made)["ensemble"] < 1.0
    assert made.program.step.demos == right(69, 70, 71)


def test_the_uncompiled_program_is_returned_where_it_is_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compiling made it worse, each time."""
    worse = [[{"question": "69 70", "answer": 1}], [{"question": "70 71", "answer": 1}]]
    made = made_by(monkeypatch, worse, student=Told(2))
    assert type(made.program) is Told and made.chosen == "uncompiled"
    assert made.program.step.demos == [] and scores(made)["uncompiled"] == 1.0
    assert "the valset prefers uncompiled alone to the ensemble" in made.notes


def test_a_tie_goes_to_the_ensemble(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least as good as its best member is enough."""
    made = made_by(monkeypatch, [right(69, 70), right(69, 71), right(69, 70, 72)])
    assert scores(made)["ensemble"] == scores(made)["member_1"] == 0.667
    assert type(made.program) is Ensemble


def test_equal_results_vote_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three compilations come to the same: the ensemble has two members, and says so."""
    made = made_by(monkeypatch, [right(69, 70), right(69, 70), right(69, 70, 72)])
    assert made.program.size == 2
    assert [note for note in made.notes if "3 compilations came to 2 different" in note]


def test_one_result_is_no_ensemble(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is returned alone where it is better than the uncompiled, which a tie goes to."""
    made = made_by(monkeypatch, [right(69), right(69)])
    assert type(made.program) is Told and made.chosen == "member_1"
    assert set(scores(made)) == {"uncompiled", "member_1"}
    made = made_by(monkeypatch, [right(72), right(72)])
    assert made.chosen == "uncompiled"


def test_the_uncompiled_program_may_be_a_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a compilation came to it; it is run on the valset once."""
    made = made_by(monkeypatch, [right(69, 70, 71), []], student=Told(2))
    assert type(made.program) is Ensemble and scores(made)["ensemble"] == 1.0
    assert set(scores(made)) == {"uncompiled", "member_1", "ensemble"}
    assert [member.step.demos for member in made.program.members] == [right(69, 70, 71), []]
    assert made.runs == 2 * 3


def test_a_member_that_fails_a_case_fails_the_ensemble_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it would when it is used: the case scores 0, though two of three are right."""
    fails = [{"question": "69", "answer": 0}, *right(70, 71)]
    made = made_by(monkeypatch, [right(69, 70, 71), right(69, 70, 71, 72), fails])
    assert scores(made)["ensemble"] == 0.667 and made.chosen == "member_1"


def test_members_compile_with_seeds_of_their_own() -> None:
    """Different from each other and from the job's, the same every time."""
    seeds: list[int] = []

    def build(given: Compilation) -> Compiled:
        seeds.append(given.seed)
        return Compiled(given.student.reset_copy())

    line = Teleprompter("seeing", "", Settings, build, lambda o, t, v, p=1: (0, 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TELEPROMPTERS, "seeing", line)
        for _ in range(2):
            compiled("ensemble", {"of": "seeing", "size": 4})
    assert seeds[:4] == seeds[4:] and len({*seeds, 1}) == 5


@pytest.mark.parametrize("of", ["labeled-few-shot", "bootstrap"])
def test_equal_seeds_give_equal_ensembles(of: str) -> None:
    """Offline and deterministic; another seed gives another one."""
    options = {"of": of, "size": 2}
    made = [compiled("ensemble", options, score=likes_change, seed=seed) for seed in (1, 1, 2)]
    assert state(made[0].program) == state(made[1].program) != state(made[2].program)
    assert made[0].candidates == made[1].candidates


@pytest.mark.parametrize("variant", ["single", "full", "rag"])
def test_it_works_for_every_kind_of_program(variant: str, tmp_path: Path) -> None:
    """Members differ, keep bindings, pass the checks, and load again as they were."""
    retriever = Retriever(LexicalEmbedder(load_codebook()))
    known: dict[str, Any] = {"student": RAG().bind(retriever)} if variant == "rag" else {}
    known |= {} if known else {"variant": variant}
    made = compiled("ensemble", {"of": "labeled-few-shot", "size": 2, "k": 3}, **known)
    program = made.program
    assert type(program) is Ensemble and program.variant == variant
    assert all(type(member) in (ValueSim, RAG) for member in program.members)
    assert len({state(member) for member in program.members}) == 2
    wanted = {"panel.cognitive.answer" if variant == "full" else "direct.answer"}
    assert {f"member_{n}.{name}" for n in (1, 2) for name in wanted} <= set(demo_counts(program))
    for module in (program, *program.members):
        assert not {"_watch", "_stage", "candidate_programs"} & set(vars(module))
        assert module._compiled is False
    manifest = Manifest(kind=program.kind, variant=program.variant, codebook={"id": "wvs7"})
    build: dict[str, Any] = {"build": build_baseline} if variant == "rag" else {}
    loaded = load_program(save_program(program, tmp_path / "p", manifest), **build)
    assert state(loaded) == state(program)
    if variant == "rag":
        assert program.binding["k"] == 3 and program.members[1].binding == program.binding


def test_the_student_is_left_as_it_was() -> None:
    """Its class, its demos and its instructions; members are copies."""
    student = ValueSim("facts-only")
    before = state(student)
    made = compiled("ensemble", {**TWO, "of": "labeled-few-shot"}, student=student)
    assert type(student) is ValueSim and state(student) == before
    assert student not in made.program.members


@pytest.mark.parametrize(
    ("of", "options", "predictors"),
    [
        ("labeled-few-shot", {}, 4),
        ("bootstrap", {"max_demos": 2}, 4),
        ("bootstrap-random-search", {"candidates": 1}, 4),
        ("bootstrap-optuna", {"trials": 3, "pool": 4}, 4),
        ("copro", {"breadth": 2, "depth": 1}, 4),
        ("infer-rules", {"candidates": 1}, 4),
        ("bootstrap", {"max_demos": 2, "staged": True}, 4),
    ],
)
def test_no_more_is_run_than_estimated(of: str, options: dict[str, Any], predictors: int) -> None:
    """Runs and prompts lie within what is said, and that follows from the member's."""
    job = Compiling("ensemble", {"of": of, "size": 2, **options}, score=likes_change)
    made = job.run()
    low, high = job.runs(predictors)
    assert low <= made.runs <= high
    first, last = job.prompts(predictors)
    assert first <= len(job.prompt.prompts) <= last
    alone = Compiling(of, options)
    assert (low, high) == (
        2 * alone.runs(predictors)[0] + 12,
        2 * alone.runs(predictors)[1] + 3 * 12,
    )
    assert (first, last) == tuple(2 * end for end in alone.prompts(predictors))


def test_the_ends_of_the_estimate_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the uncompiled program: one pass of the valset; all different: one more each."""
    teleprompter = TELEPROMPTERS["ensemble"]
    least = made_by(monkeypatch, [[], [], []])
    options = teleprompter.parse({"of": "toy", "size": 3})
    most = made_by(monkeypatch, [right(69), right(70), right(71)])
    assert (least.runs, most.runs) == teleprompter.runs(options, 1, 3, 1) == (3, 12)
    assert teleprompter.width(options) == 3
    assert TELEPROMPTERS["bootstrap"].width(options) == 1


def test_notes_of_members_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What each compilation had to say, with its number."""
    made = made_by(monkeypatch, [right(69, 70), right(69, 71)], writes=True)
    assert made.notes[:2] == ("compilation 1: made", "compilation 2: made")


def test_options_of_the_member_s_teleprompter_are_given_through() -> None:
    """Each goes where it belongs; what stays unsaid has the member's default."""
    options: Any = TELEPROMPTERS["ensemble"].parse({"of": "mipro-v2", "size": 4, "minibatch": 7})
    inner = member_teleprompter("mipro-v2")
    assert (options.of, options.size) == ("mipro-v2", 4)
    assert member_options(options, inner) == inner.parse({"minibatch": 7})
    default: Any = TELEPROMPTERS["ensemble"].parse({})
    assert (default.of, default.size) == ("bootstrap-random-search", 3)
    assert default == TELEPROMPTERS["ensemble"].parse({"size": 3})
    for name, teleprompter in TELEPROMPTERS.items():
        if name != "ensemble":
            assert not {"of", "size"} & set(teleprompter.options.model_fields)


@pytest.mark.parametrize(
    ("options", "key", "allowed"),
    [
        ({"of": "bootstrap", "candidates": 3}, "candidates", "max_demos"),
        ({"candidates": 0}, "candidates", "shuffled candidates"),
        ({"of": "labeled-few-shot", "k": True}, "k", "size"),
        ({"size": 1}, "size", "how often"),
        ({"size": 65}, "size", "how often"),
        ({"of": "ensemble"}, "of", "bootstrap"),
        ({"of": "bootstrapp"}, "of", "bootstrap"),
        ({"of": 3}, "of", "bootstrap"),
        ({"of": ["bootstrap"]}, "of", "bootstrap"),
    ],
)
def test_options_stay_closed(options: dict[str, Any], key: str, allowed: str) -> None:
    """What neither knows, and what does not fit, is refused with what there is."""
    with pytest.raises(ConfigError) as caught:
        TELEPROMPTERS["ensemble"].parse(options)
    assert caught.value.key == f"compile.options.{key}"
    assert any(allowed in str(item) for item in caught.value.allowed or ())
    if key == "of":
        assert "ensemble" not in (caught.value.allowed or ())


def test_without_demos_members_need_something_that_writes() -> None:
    """Refused before anything is run; a teleprompter that writes goes on."""
    job = Compiling("ensemble", TWO, demos="none")
    with pytest.raises(ConfigError, match="compiles by demos") as caught:
        job.run()
    assert caught.value.key == "compile.options.of" and job.task.prompts == []
    options = {"of": "copro", "size": 2, "breadth": 2, "depth": 1}
    made = compiled("ensemble", options, demos="none", score=likes_change)
    assert made.demos == {}
    line = TELEPROMPTERS["ensemble"]
    assert line.can_write(options) and not line.can_write(TWO) and not line.can_write({})
    for of, key in (("bootstrap", "compile.demos"), ("ensemble", "compile.options.of")):
        wanted = {"teleprompter": "ensemble", "demos": "none", "options": {"of": of}}
        with pytest.raises(ConfigError) as refused:
            find_teleprompter(small_job(compile=wanted))
        assert refused.value.key == key


def test_an_ensemble_is_no_student_of_it() -> None:
    """Ensembles are not nested."""
    with pytest.raises(ConfigError, match="no member of another"):
        compiled("ensemble", TWO, student=Ensemble([ValueSim("single"), ValueSim("single")]))


def test_an_ensemble_can_be_the_student_of_others() -> None:
    """Demos for each member, and the result is an ensemble again."""
    student = Ensemble([ValueSim("single"), ValueSim("single")])
    made = compiled("labeled-few-shot", {"k": 2}, student=student)
    assert type(made.program) is Ensemble and made.instructions_written is False
    assert made.demos == {"member_1.direct.answer": 2, "member_2.direct.answer": 2}


def test_a_spent_budget_ends_it() -> None:
    """Within a member, as within any teleprompter."""
    with pytest.raises(BudgetExceededError):
        compiled("ensemble", TWO, budget=20)


def test_written_instructions_are_seen() -> None:
    """Those of members differ from the student's; without any the flag is down."""
    options = {"of": "copro", "size": 2, "breadth": 2, "depth": 1}
    made = compiled("ensemble", options, score=likes_change)
    assert type(made.program) is Ensemble and made.instructions_written
    plain = compiled("ensemble", {**TWO, "of": "labeled-few-shot"})
    assert type(plain.program) is Ensemble and not plain.instructions_written
    assert instructions_of(plain.program) == instructions(ValueSim("facts-only"))


def test_a_quote_in_one_member_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scan reads every member's instructions and names the member's predictor."""
    fact = max((f.text for f in example("Q65").case.profile.facts), key=len)
    turn = itertools.count()

    def build(given: Compilation) -> Compiled:
        program = given.student.reset_copy()
        told = f"Answer. {fact}" if next(turn) else "Answer well."
        program.step.signature = program.step.signature.with_instructions(told)
        return Compiled(program)

    line = Teleprompter("quoting", "", Settings, build, lambda o, t, v, p=1: (0, 0), writes=True)
    monkeypatch.setitem(TELEPROMPTERS, "quoting", line)
    options = TELEPROMPTERS["ensemble"].parse({"of": "quoting", "size": 2})
    given = Compilation(
        Told(),
        [example("Q65")],
        [example("Q69", answer=1)],
        as_metric(SCORES["exact"]),
        1,
        Compiling("ensemble").given.task_lm,
        options,
    )
    made = compile_program(TELEPROMPTERS["ensemble"], given)
    assert {finding.predictor for finding in made.findings} == {"member_2.step"}
    assert made.instructions_written


def test_a_demo_that_leaks_is_found_in_any_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked in each: another field in the last member's demo is refused."""
    leak = [{"question": "69", "answer": 2, "case": "x"}]
    with pytest.raises(ProgramStateError, match=r"demo of member_2\.step holds the field 'case'"):
        made_by(monkeypatch, [right(69, 70), leak])
    program = Ensemble([Told(), Told()])
    program.members[1].step.demos = leak
    with pytest.raises(ProgramStateError, match=r"member_2\.step"):
        check_demos(program)


def test_one_answer_is_an_ensemble_of_one() -> None:
    """Under the log score, so that members can be compiled by it; nothing else is changed."""
    metric, asked = as_votes(COMPILE_METRICS["log-score"]), example("Q164", 5)
    told = dspy.Prediction(answer=5)
    shares = vote_shares(asked.case.question, [5])
    expected = COMPILE_METRICS["log-score"](asked, dspy.Prediction(answer=5, probabilities=shares))
    assert metric(asked, told) == expected
    step = dspy.Prediction(**reply(5))
    assert metric(asked, step, []) is True and "probabilities" not in step
    own = dspy.Prediction(answer=5, probabilities={5: 0.0, 6: 1.0})
    assert metric(asked, own) == 0.0


def test_the_log_score_compiles_an_ensemble() -> None:
    """Members by their single votes, the ensemble by the shares of all."""
    made = compiled("ensemble", {"of": "labeled-few-shot", "size": 3, "metric": "log-score"})
    assert {c.name for c in made.candidates} >= {"uncompiled", "member_1", "ensemble"}
    assert all(0 < candidate.score < 1 for candidate in made.candidates)
    with pytest.raises(ConfigError, match="no probabilities"):
        compiled("bootstrap", {"metric": "log-score"})


def test_the_result_s_score_is_what_running_it_gives() -> None:
    """The ensemble is scored by what its members said; run as a program it scores the same."""
    job = Compiling("ensemble", {"of": "labeled-few-shot", "size": 3})
    made = job.run()
    together = next(c for c in made.candidates if c.name == "ensemble")
    with job.cache.installed(), dspy.context(lm=job.given.task_lm):
        told = [made.program(case=ex.case).answer == ex.answer for ex in small_study()["val"]]
    assert together.score == pytest.approx(sum(told) / len(told))


def test_names_of_the_ensemble_s_line_agree() -> None:
    """The registry's own line: it sees to choice and stages itself, and needs a valset."""
    line = TELEPROMPTERS["ensemble"]
    assert line.name == "ensemble" and line.whole and line.needs_valset and line.writes
    assert dataclasses.replace(line) == line
    assert not any(other.whole for name, other in TELEPROMPTERS.items() if name != "ensemble")


def test_whom_to_believe_is_learned_member_by_member() -> None:
    """Each member's readers have a record of their own; while training it is cross-fitted."""
    config = small_job(protocol={"train": 12, "targets": 1})
    with open_study(config, cache=ResponseCache()) as study:
        alone, program = ValueSim("weighted-vote"), Ensemble(pair())
        notes = with_trust(study, alone)
        assert learns_trust(program) and not learns_trust(Ensemble([RAG(), RAG()]))
        told = with_trust(study, program)
        assert told == [f"member_{n}: {note}" for n in (1, 2) for note in notes]
        assert [member.learned for member in program.members] == [alone.learned] * 2 != [{}, {}]
        with_trust(study, program, training=True)
        assert all(member._learned is not None for member in program.members)
        program.unbind_learned()
        assert all(member._learned is None for member in program.members)


def pair(variant: str = "weighted-vote") -> list[ValueSim]:
    """Return two programs of a variant."""
    return [ValueSim(variant), ValueSim(variant)]


def test_measuring_an_ensemble_is_estimated_member_by_member() -> None:
    """At least one member's requests, since they may be equal; at most those of all."""
    cases = small_study()["val"]
    one, two = (
        benchmark_cost(ValueSim("full"), cases),
        benchmark_cost(Ensemble(pair("full")), cases),
    )
    for ends, both in zip(vars(one).values(), vars(two).values(), strict=True):
        assert both == (ends[0], 2 * ends[1])
    retriever = Retriever(LexicalEmbedder(load_codebook()))
    few = benchmark_cost(Ensemble([RAG(), RAG()]).bind(retriever), cases)
    assert few.prompt[1] < benchmark_cost(Ensemble(pair("single")), cases).prompt[1]


def test_members_that_do_not_fit_the_context_are_refused() -> None:
    """Whichever member it is; the cases may come from a generator."""
    ensemble, role = Ensemble(pair("single")), LMRole(context=6000, max_tokens=500)
    cases = small_study()["val"][:3]
    check_context(ensemble, iter(cases), role)
    ensemble.members[1].direct.answer.demos = [dspy.Example(facts="word " * 9000, answer=1)]
    with pytest.raises(ConfigError, match=r"direct\.answer needs about"):
        check_context(ensemble, iter(cases), role)
