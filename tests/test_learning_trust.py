"""Learning whom to believe: readers of known accuracy, and whom a record leaves out."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dspy
import pytest
from jobs import small_job

from evals.study import Study, build_arm, open_study
from optimize.learning_trust import (
    cross_fit,
    is_shown,
    learn_trust,
    learns_trust,
    make_groups,
    trust_cases,
    with_trust,
)
from optimize.trust_fitting import Answered, fit_trust
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case
from valuesim_dspy.errors import BudgetExceededError, PredictionError
from valuesim_dspy.loading import load_program, save_program
from valuesim_dspy.modules import condense
from valuesim_dspy.program import ValueSim
from valuesim_dspy.trust import shuffled

NAMES = ("cognitive", "affective", "behavioral")


@pytest.fixture(scope="module")
def study() -> Iterator[Study]:
    """Open a study of 30 training people with two targets each."""
    config = small_job(
        protocol={"train": 30, "val": 4, "dev": 4, "test": 4, "targets": 2}, baselines=["rag"]
    )
    with open_study(config, cache=ResponseCache()) as opened:
        yield opened


class Readers(ValueSim):
    """A panel whose behavioral reader is always right and whose others agree on a wrong code.

    Args:
        study: Where truths are looked up.
        failing: Cases in which reading fails.
    """

    def __init__(self, study: Study, variant: str = "weighted-vote", failing: Any = ()) -> None:
        super().__init__(variant)
        self.truths = {ex.case: int(ex.answer) for ex in study.examples("train")}
        self.failing = set(failing)
        self.asked: list[Case] = []

    def __deepcopy__(self, memo: object) -> "Readers":
        return self

    def read(self, case: Case) -> tuple[dict[str, str], dict[str, dspy.Prediction]]:
        """Answer without a call."""
        self.asked.append(case)
        if case in self.failing:
            raise PredictionError("no reply")
        truth = self.truths[case]
        wrong = next(code for code in case.question.codes if code != truth)
        codes = (wrong, wrong, truth)
        views = {
            name: dspy.Prediction(answer=code, analysis="Because.")
            for name, code in zip(NAMES, codes, strict=True)
        }
        return {"backstory": ""}, views


def demo_of(example: dspy.Example, m: int = 3) -> dspy.Example:
    """Render a training case as its demo: m facts, question, options, answer."""
    shown = condense(example.case.inputs(), m)
    return dspy.Example(**shown, analysis="Because.", answer=int(example.answer))


def cell_of(learned: Any, reader: str, key: str = "all") -> Any:
    """Return one cell of a record."""
    return learned["records"]["cells"][reader][key]


def test_the_reader_that_is_right_gets_the_weight(study: Study) -> None:
    """Accuracies 0, 0, 1 over n cases, centre 1/3: (20/3) / (n + 20) and (n + 20/3) / (n + 20)."""
    found = learn_trust(study, Readers(study))
    accuracies = {name: cell_of(found.learned, name)["accuracy"] for name in NAMES}
    assert (found.cases, found.failed, found.shown) == (60, 0, 0)
    n = cell_of(found.learned, "cognitive")["n"]
    low, high = round(20 / 3 / (n + 20), 4), round((n + 20 / 3) / (n + 20), 4)
    assert accuracies == {"cognitive": low, "affective": low, "behavioral": high}
    assert n > 40
    rule = found.learned["weights"]["by"]["all"]
    assert rule["rule"] == "single"
    assert rule["readers"]["behavioral"] == 1.0


def test_a_program_decides_by_what_was_learned(study: Study) -> None:
    """After `with_trust` two wrong readers no longer outvote the one that is right."""
    program = Readers(study)
    example = study.examples("train")[0]
    assert program(case=example.case).answer != example.answer
    notes = with_trust(study, program)
    assert all(program(case=ex.case).answer == ex.answer for ex in study.examples("train"))
    assert notes[0].startswith("trust: 60 training cases of 30 people; records of 3 readers in ")
    assert any("single (behavioral); cross-fitted accuracy vote 0.000" in note for note in notes)


def test_a_persons_own_cases_are_never_in_their_record(study: Study) -> None:
    """What a training person may know is learned from the other groups alone, person by person."""
    answered = [
        Answered(ex.case.profile.key, ex.case.question, int(ex.answer), {"a": int(ex.answer)})
        for ex in study.examples("train")
    ]
    groups = make_groups({case.respondent for case in answered}, seed=1)
    fitted = cross_fit(answered, groups, lm="m")
    for example in study.examples("train"):
        own = next(group for group in groups if example.case.profile.key in group)
        others = [case for case in answered if case.respondent not in own]
        rest = [group for group in groups if group != own]
        assert fitted.of(example.case) == fit_trust(others, rest, lm="m")
        assert cell_of(fitted.of(example.case), "a")["n"] <= len(others) < len(answered)


def test_a_persons_answers_do_not_change_what_they_are_shown(study: Study) -> None:
    """Readers that fail one person entirely leave no trace in that person's own record."""
    examples = study.examples("train")
    person = examples[0].case.profile.key
    answered = [
        Answered(ex.case.profile.key, ex.case.question, int(ex.answer), {"a": int(ex.answer)})
        for ex in examples
    ]
    changed = [
        Answered(one.respondent, one.question, one.question.codes[0], {"a": one.question.codes[-1]})
        if one.respondent == person
        else one
        for one in answered
    ]
    groups = make_groups({case.respondent for case in answered}, seed=1)
    before, after = (cross_fit(cases, groups, lm="m") for cases in (answered, changed))
    assert after.of(examples[0].case) == before.of(examples[0].case)
    assert after.whole != before.whole
    other = next(
        ex.case for ex in examples if before.group[ex.case.profile.key] != before.group[person]
    )
    assert after.of(other) != before.of(other)


def test_people_outside_the_trainset_get_the_whole(study: Study) -> None:
    """Val and dev people are in no record, so that nothing has to be left out."""
    fitted = learn_trust(study, Readers(study)).cross_fitted
    assert fitted.of(study.examples("dev")[0].case) is fitted.whole


def test_groups_are_of_people_and_cover_everybody() -> None:
    """Five groups of nearly equal size, nobody in two, the same at every call with a seed."""
    keys = {f"p{n}" for n in range(23)}
    groups = make_groups(keys, seed=4)
    assert sorted(key for group in groups for key in group) == sorted(keys)
    assert sorted(map(len, groups)) == [4, 4, 5, 5, 5]
    assert groups == make_groups(set(keys), seed=4)
    assert groups != make_groups(keys, seed=5)
    assert len(make_groups({"p1", "p2"}, seed=1)) == 2
    assert make_groups(set(), seed=1) == ()


def test_the_same_seed_teaches_the_same(study: Study) -> None:
    """Records and weights depend on nothing but data and seed; JSON keeps them whole."""
    one, two = (learn_trust(study, Readers(study), seed=7, cases=40) for _ in range(2))
    assert json.dumps(one.learned) == json.dumps(two.learned)
    assert one.notes == two.notes


def test_nothing_of_a_person_is_saved(study: Study) -> None:
    """No key, no id, no text of a fact; every count is of ten people or more."""
    learned = learn_trust(study, Readers(study)).learned
    text = json.dumps(learned)
    for example in study.examples("train"):
        assert example.case.profile.key not in text
    cells = [cell for by in learned["records"]["cells"].values() for cell in by.values()]
    rules = list(learned["weights"]["by"].values())
    assert min(table["people"] for table in cells + rules) >= 10
    assert all(table["n"] >= table["people"] for table in cells + rules)


def test_failed_cases_are_counted_and_in_no_record(study: Study) -> None:
    """The two cases of one person fail: nobody's record has them, and the number is reported."""
    failing = [example.case for example in study.examples("train")[:2]]
    found = learn_trust(study, Readers(study, failing=failing))
    assert (found.cases, found.failed) == (60, 2)
    assert failing[0].profile.key not in found.cross_fitted.group
    assert len(found.cross_fitted.group) == 29
    assert "60 training cases of 29 people, 2 failed and are in no record" in found.notes[0]


def test_where_everything_fails_nothing_is_learned(study: Study) -> None:
    """An empty table, and a note that says so."""
    failing = [example.case for example in study.examples("train")]
    found = learn_trust(study, Readers(study, failing=failing))
    assert found.learned == {}
    assert found.notes[0].endswith("nothing is learned from fewer than 10 people")


def test_a_case_that_a_demo_shows_is_not_asked(study: Study) -> None:
    """Its readers have seen the answer; the number left out is reported."""
    examples = study.examples("train")
    program = Readers(study)
    program.panel.cognitive.answer.demos = [demo_of(examples[3]), demo_of(examples[8])]
    found = learn_trust(study, program)
    assert (found.shown, found.cases) == (2, 58)
    assert examples[3].case not in program.asked
    assert examples[8].case not in program.asked
    assert "2 more that demos may show were not asked" in found.notes[0]


def test_a_demo_is_recognised_by_its_question_and_facts(study: Study) -> None:
    """In any order and number of facts; not with another question, nor with a fact it lacks."""
    first, *others = study.examples("train")
    demo = demo_of(first)
    facts = demo.facts.splitlines()
    assert len(facts) == 3
    assert is_shown([dspy.Example(**(dict(demo) | {"facts": "\n".join(facts[::-1])}))], first.case)
    assert not is_shown([dspy.Example(**(dict(demo) | {"question": "Other?"}))], first.case)
    foreign = "\n".join([*facts, "- You live on the moon."])
    assert not is_shown([dspy.Example(**(dict(demo) | {"facts": foreign}))], first.case)
    same = [ex for ex in others if ex.case.profile.key == first.case.profile.key]
    assert same
    assert not any(is_shown([demo], ex.case) for ex in same)
    assert not is_shown([], first.case)


def test_a_demo_without_facts_may_be_of_anybody(study: Study) -> None:
    """Where a variant reads no facts, all cases of the demo's question are left out."""
    asked = study.examples("train")
    ((text, count),) = Counter(ex.case.question_text for ex in asked).most_common(1)
    demo = {"question": text, "options": "", "analysis": "", "answer": 1}
    shown = [ex for ex in asked if is_shown([demo], ex.case)]
    assert {ex.case.question_text for ex in shown} == {text}
    assert len(shown) == count > 1


def test_at_most_so_many_cases_are_drawn(study: Study) -> None:
    """A limit draws by the seed and keeps the order; the estimate knows the number."""
    program = Readers(study)
    assert learn_trust(study, program, cases=25, seed=1).cases == 25
    first, program.asked = list(program.asked), []
    learn_trust(study, program, cases=25, seed=1)
    order = [example.case for example in study.examples("train")]
    assert program.asked == first == sorted(first, key=order.index)
    program.asked = []
    learn_trust(study, program, cases=25, seed=2)
    assert program.asked != first
    assert [trust_cases(study, program, cases=limit) for limit in (None, 25, 999)] == [60, 25, 60]


def test_no_topic_with_people_enough_is_said(study: Study) -> None:
    """Where only margins are left, a note says so."""
    program = Readers(study)
    by_topic: dict[str, list[Case]] = {}
    for example in study.examples("train"):
        by_topic.setdefault(example.case.question.section, []).append(example.case)
    program.failing = {case for cases in by_topic.values() for case in cases[6:]}
    found = learn_trust(study, program)
    assert len(by_topic) > 1
    keys = list(found.learned["records"]["cells"]["cognitive"]) if found.learned else []
    assert not any("/" in key for key in keys)
    assert bool(keys) == any("no topic has 10 people" in note for note in found.notes)


def test_a_variant_that_reads_no_record_is_left_alone(study: Study) -> None:
    """No call, no note, nothing learned; a baseline is no panel at all."""
    program = Readers(study, "full")
    assert with_trust(study, program) == []
    assert (program.learned, program.asked, trust_cases(study, program)) == ({}, [], 0)
    assert with_trust(study, build_arm(study, "rag")) == []
    assert [learns_trust(ValueSim(name)) for name in ("full", "full-records", "weighted-vote")] == [
        False,
        True,
        True,
    ]


def test_in_training_each_person_is_answered_without_themself(study: Study) -> None:
    """Bound while compiling, for copies too; unbound by the next call."""
    program = ValueSim("weighted-vote")
    readers = Readers(study)
    program.read = readers.read  # type: ignore[method-assign]
    with_trust(study, program, training=True)
    bound = program._learned
    assert bound is not None
    copied = program.deepcopy()
    assert copied._learned is bound
    case = study.examples("train")[0].case
    assert bound.of(case) != program.learned
    with_trust(study, program)
    assert program._learned is None


def test_the_control_gives_each_reader_anothers_record(study: Study) -> None:
    """The same table, shuffled, for what is saved and for what is bound; and it is said."""
    plain, control = Readers(study), Readers(study)
    with_trust(study, plain)
    notes = with_trust(study, control, shuffle=True, training=True)
    seed = study.config.seed
    assert control.learned == shuffled(plain.learned, seed) != plain.learned
    assert control._learned is not None
    example = study.examples("dev")[0]
    assert control._learned.of(example.case) == control.learned
    assert notes[-1] == "trust: control: records and weights are shuffled between readers"


def test_the_embedded_model_is_asked_for_views_alone(study: Study) -> None:
    """Three calls a case; the coordinator, which will read the record, is not asked."""
    program = build_arm(study, "full-records")
    meter = study.meter.child("trust test")
    lm = study.task_lm.with_meter(meter)
    found = learn_trust(study, program, lm=lm, cases=30)
    assert not any("coordinator" in name for name in meter.by_predictor)
    assert sum(u.calls for n, u in meter.by_predictor.items() if "panel" in n) == 90
    assert found.learned["records"]["lm"] == study.task_lm.model == "offline/lexical-1"
    assert set(found.learned["records"]["cells"]) == set(NAMES)


def test_a_learned_program_is_saved_and_loaded(study: Study, tmp_path: Any) -> None:
    """Records and weights come back as they were, without what was bound for training."""
    program = ValueSim("weighted-vote")
    program.learned = learn_trust(study, Readers(study)).learned
    manifest = study.manifest("valuesim", "weighted-vote")
    loaded = load_program(save_program(program, tmp_path / "p", manifest))
    assert loaded.learned == program.learned
    assert loaded._learned is None


def test_a_spent_budget_ends_the_learning(study: Study) -> None:
    """It is no failure of a case."""
    program = Readers(study)

    def spent(case: Case) -> Any:
        raise BudgetExceededError("calls", 1, 1)

    program.read = spent  # type: ignore[method-assign]
    with pytest.raises(BudgetExceededError):
        with_trust(study, program)
    assert program.learned == {}
