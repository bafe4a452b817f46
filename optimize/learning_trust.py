"""Learn whom to believe: run a panel on training cases, keep each reader's record, cross-fitted."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from evals.study import Study
from optimize.trust_fitting import Answered, Groups, fit_trust, people
from valuesim_dspy.case import Case
from valuesim_dspy.ensemble import Ensemble
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.program import ValueSim, as_prediction
from valuesim_dspy.trust import ALL, MIN_COUNT, CrossFitted
from valuesim_dspy.voting import vote

GROUPS = 5
"""Groups of people, each of which is left out in turn."""


@dataclass(frozen=True)
class LearnedTrust:
    """What was learned of a panel.

    Args:
        cross_fitted: What each training person may know; its `whole` is what is saved.
        cases: Training cases that the panel was run on.
        failed: Those of them that failed: in no record, but failures of the run.
        shown: Training cases left out because a demo of the program may show them.
        notes: What a reader of the results must know.
    """

    cross_fitted: CrossFitted
    cases: int
    failed: int
    shown: int
    notes: tuple[str, ...]

    @property
    def learned(self) -> dict[str, Any]:
        """What is saved: from all training people."""
        return dict(self.cross_fitted.whole)


def learns_trust(program: Any) -> bool:
    """Whether a program reads records or weights, and so has use for them."""
    if isinstance(program, Ensemble):
        return learns_trust(program.members[0])
    return bool(getattr(getattr(program, "spec", None), "learns", False))


def trust_cases(study: Study, program: Any, *, cases: int | None = None) -> int:
    """Return how many training cases the panel is run on: for estimates, before a call is made."""
    if not learns_trust(program):
        return 0
    size = len(study.examples("train"))
    return size if cases is None else min(size, cases)


def with_trust(
    study: Study,
    program: Any,
    *,
    lm: Any = None,
    training: bool = False,
    shuffle: bool = False,
    cases: int | None = None,
    seed: int | None = None,
) -> list[str]:
    """Learn whom to believe and give it to the program; return notes.

    Before a program is compiled, call it with `training`: while training cases are answered,
    each person's own answers are in no record that their cases are shown. After compiling, call
    it without, on what will be saved: other demos and instructions make other readers.

    Args:
        study: The open study.
        program: Changed in place; left alone where its variant reads no record and no weight.
        lm: The metered task LM; by default the study's, on a meter named `learning trust`.
        training: Bind what was learned cross-fitted, to be used until the next call.
        shuffle: Give each reader another's record: the control, by the same draw at every call.
        cases: At most so many training cases, drawn by the seed; by default all.
        seed: By default the job's.

    Raises:
        BudgetExceededError: The budget is spent; what was answered is in the response cache.
    """
    if not learns_trust(program):
        return []
    if isinstance(program, Ensemble):
        known = {"training": training, "shuffle": shuffle, "cases": cases, "seed": seed}
        return [
            f"{name}: {note}"
            for name, member in program.named_members.items()
            for note in with_trust(study, member, lm=lm, **known)  # type: ignore[arg-type]
        ]
    found = learn_trust(study, program, lm=lm, cases=cases, seed=seed)
    fitted, notes = found.cross_fitted, list(found.notes)
    if shuffle:
        fitted = fitted.shuffled(study.config.seed if seed is None else seed)
        notes.append("trust: control: records and weights are shuffled between readers")
    program.learned = dict(fitted.whole)
    program.unbind_learned()
    if training:
        program.bind(learned=fitted)
    return notes


def learn_trust(
    study: Study,
    program: Any,
    *,
    lm: Any = None,
    seed: int | None = None,
    threads: int | None = None,
    cases: int | None = None,
) -> LearnedTrust:
    """Run a program's panel on training cases and learn how far each reader is to be believed.

    The coordinator is not asked. Cases that a demo of the program may show are left out, for on
    these its readers would look better than they are.

    Args:
        study: The open study.
        program: The program whose perspectives read; not changed.
        lm: The metered task LM; by default the study's, on a meter named `learning trust`.
        seed: Draws cases and groups; by default the job's.
        threads: Cases in flight; by default the study's.
        cases: At most so many training cases; by default all.

    Raises:
        BudgetExceededError: The budget is spent; what was answered is in the response cache.
    """
    seed = study.config.seed if seed is None else seed
    if lm is None:
        lm = study.task_lm.with_meter(study.meter.child("learning trust"))
    known = study.examples("train")
    demos = [demo for predictor in program.predictors() for demo in predictor.demos]
    unseen = [example for example in known if not is_shown(demos, example.case)]
    asked = _drawn(unseen, cases, seed)
    reading = _panel_only(program)
    outcomes = answer_cases(reading, asked, lm=lm, threads=threads or study.config.threads)
    answered = _answered(asked, outcomes)
    groups = make_groups({case.respondent for case in answered}, seed=seed)
    fitted = cross_fit(answered, groups, lm=study.task_lm.model)
    counts = len(asked), len(asked) - len(answered), len(known) - len(unseen)
    return LearnedTrust(fitted, *counts, notes=tuple(_notes(fitted.whole, answered, *counts)))


class _PanelOnly:
    """Asks the perspectives alone: who decides learns from their record and makes none."""

    read: Callable[[Case], tuple[dict[str, str], dict[str, dspy.Prediction]]]

    def forward(self, case: Case) -> dspy.Prediction:
        _, views = self.read(case)
        answers = {name: int(view.answer) for name, view in views.items()}
        reply = dspy.Prediction(answer=vote(case.question, answers))
        return as_prediction(reply, decision="vote", views=views)


def _panel_only(program: ValueSim) -> ValueSim:
    """Return a view of a program whose predictors keep their names within it."""
    view = copy.copy(program)
    view.__class__ = type("PanelOnly", (_PanelOnly, type(program)), {})
    return view


def is_shown(demos: Sequence[Mapping[str, Any]], case: Case) -> bool:
    """Whether one of the demos may show a case: its question, and no fact that it lacks.

    Demos name nobody. They keep some of the facts, in any order; where a variant shows none, its
    demos may be of any case of their question.
    """
    question, facts = case.question_text, set(case.profile.facts_text.splitlines())
    return any(
        demo.get("question") == question and set(str(demo.get("facts", "")).splitlines()) <= facts
        for demo in demos
    )


def _drawn(examples: Sequence[dspy.Example], cases: int | None, seed: int) -> list[dspy.Example]:
    if cases is None or cases >= len(examples):
        return list(examples)
    places = random.Random(f"{seed}:cases of trust").sample(range(len(examples)), cases)
    return [examples[place] for place in sorted(places)]


def _answered(examples: Sequence[dspy.Example], outcomes: Sequence[Outcome]) -> list[Answered]:
    return [
        Answered(out.respondent, example.case.question, int(example.answer), out.views)
        for example, out in zip(examples, outcomes, strict=True)
        if out.status == "answered"
    ]


def make_groups(keys: set[str], *, seed: int, count: int = GROUPS) -> tuple[frozenset[str], ...]:
    """Deal people into groups as equal as can be; nobody is in two.

    Args:
        keys: Salted keys of the people.
        seed: Of the deal.
        count: How many groups; fewer where there are fewer people.
    """
    order = sorted(keys)
    random.Random(f"{seed}:groups of trust").shuffle(order)
    return tuple(frozenset(order[start::count]) for start in range(min(count, len(order))))


def cross_fit(cases: Sequence[Answered], groups: Groups, *, lm: str) -> CrossFitted:
    """Learn from everybody, and once more for each group from the other groups alone.

    Args:
        cases: What the readers answered.
        groups: As `make_groups` returns them, over all people of the cases.
        lm: The name of the task LM.
    """
    parts = []
    for group in groups:
        others = [case for case in cases if case.respondent not in group]
        parts.append(fit_trust(others, [other for other in groups if other != group], lm=lm))
    place = {key: number for number, group in enumerate(groups) for key in group}
    return CrossFitted(fit_trust(cases, groups, lm=lm), tuple(parts), place)


def _notes(
    learned: Mapping[str, Any], cases: Sequence[Answered], asked: int, failed: int, shown: int
) -> list[str]:
    """Say what was learned from how many, and what is missing."""
    left = f", {failed} failed and are in no record" if failed else ""
    left += f", {shown} more that demos may show were not asked" if shown else ""
    told = f"trust: {asked} training cases of {people(cases)} people{left}"
    if not learned:
        return [f"{told}; nothing is learned from fewer than {MIN_COUNT} people"]
    records = learned["records"]["cells"]
    keys = list(next(iter(records.values())))
    topics = sum("/" in key for key in keys)
    notes = [f"{told}; records of {len(records)} readers in {len(keys)} cells"]
    if not topics:
        notes.append(
            f"trust: no topic has {MIN_COUNT} people, so records are by kind of scale alone"
        )
    return notes + [_weighing(key, rule) for key, rule in learned["weights"]["by"].items()]


def _weighing(key: str, rule: Mapping[str, Any]) -> str:
    scale = "all questions" if key == ALL else f"{key} questions"
    name = rule["rule"]
    if name == "single":
        best = max(rule["readers"], key=lambda reader: rule["readers"][reader])
        name = f"single ({best})"
    tried = ", ".join(f"{other} {share:.3f}" for other, share in rule["accuracy"].items())
    return f"trust: votes on {scale}: {name}; cross-fitted accuracy {tried or 'unknown'}"
