"""Compiling a program at once or in stages: writer, perspectives, coordinator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy

from optimize.compilation import Candidate, Compilation, Compiled
from optimize.compile_metrics import COMPILE_METRICS
from optimize.teleprompters.choosing import chosen_predictors, freeze_others, release
from optimize.teleprompters.scoring import results
from optimize.teleprompters.teleprompter import Count, Teleprompter
from valuesim_dspy.program import as_prediction
from valuesim_dspy.voting import vote

WRITER, PERSPECTIVES, COORDINATOR = "writer", "panel", "coordinator"
INTERACTION = "interaction"


@dataclass(frozen=True)
class Stage:
    """One stage.

    Args:
        name: The module whose predictors are compiled.
        only: What of the program runs meanwhile; None runs all of it.
    """

    name: str
    only: Callable[..., dspy.Prediction] | None = None


def story_only(program: Any, case: Any) -> dspy.Prediction:
    """Write the backstory and answer nothing."""
    return dspy.Prediction(backstory=program.writer(profile=case.profile), views={})


def vote_only(program: Any, case: Any) -> dspy.Prediction:
    """Let the perspectives vote, and tell whether they differ; the coordinator is not asked."""
    inputs, read = program.read(case)
    answers = {name: int(view.answer) for name, view in read.items()}
    differ = len(set(answers.values())) > 1
    reply = dspy.Prediction(answer=vote(case.question, answers), analysis="")
    decision = "vote" if differ else "agreement"
    return as_prediction(reply, decision=decision, backstory=inputs["backstory"], views=read)


STAGES = (
    Stage(WRITER, story_only),
    Stage(PERSPECTIVES, vote_only),
    Stage(INTERACTION, vote_only),
    Stage(COORDINATOR),
)


def build(teleprompter: Teleprompter, given: Compilation) -> Compiled:
    """Compile the predictors that the options choose, in stages where they say so.

    A teleprompter that takes the whole program sees to that itself. A program that has none of
    the stages' modules is compiled at once.

    Raises:
        ConfigError: The options name a predictor that the program lacks.
    """
    if teleprompter.whole:
        return teleprompter.build(given)
    choice = getattr(given.options, "predictors", "all")
    is_staged = getattr(given.options, "staged", False)
    # All stages are meant where nobody chose; a choice keeps what it leaves out frozen.
    names = chosen_predictors(
        given.student, "all" if is_staged and choice == "answerers" else choice
    )
    stages = [s for s in STAGES if any(n.startswith(f"{s.name}.") for n in names)]
    if is_staged and stages:
        return _staged(teleprompter, given, stages, names)
    return _compile(teleprompter, given, names)


def _compile(teleprompter: Teleprompter, given: Compilation, names: list[str]) -> Compiled:
    student = given.student.deepcopy()
    freeze_others(student, names)
    compiled = teleprompter.build(replace(given, student=student))
    release(compiled.program)
    return compiled


def _staged(
    teleprompter: Teleprompter, given: Compilation, stages: Sequence[Stage], names: list[str]
) -> Compiled:
    program, notes = given.student, []
    candidates: list[Candidate] = []
    chosen = []
    for stage in stages:
        part = [name for name in names if name.startswith(f"{stage.name}.")]
        staged, why = _stage(teleprompter, replace(given, student=program), stage)
        if why:
            notes.append(f"the stage {stage.name} was left out: {why}")
            continue
        done = _compile(teleprompter, staged, part)
        program = done.program
        program._stage = None
        notes += [f"{stage.name}: {note}" for note in done.notes]
        first = len(candidates)
        candidates += [
            replace(c, step=first + c.step, name=f"{stage.name} {c.name}") for c in done.candidates
        ]
        chosen += [f"{stage.name} {done.chosen}"] if done.chosen else []
    return Compiled(program, tuple(candidates), ", ".join(chosen), tuple(notes))


def _stage(teleprompter: Teleprompter, given: Compilation, stage: Stage) -> tuple[Compilation, str]:
    """Return what a stage is given, and why it cannot be, or ""."""
    student = given.student.deepcopy()
    student._stage = stage.only
    given = replace(given, student=student)
    if stage.name == WRITER:
        if not teleprompter.writes:
            return given, f"{teleprompter.name} writes no instructions, and stories become no demos"
        trainset, valset = _people(given.trainset), _people(given.valset)
        score = COMPILE_METRICS["fidelity"]
        return replace(given, score=score, demos="none", trainset=trainset, valset=valset), ""
    if stage.name == COORDINATOR:
        given = _where_they_differ(given)
        if not given.trainset:
            return given, "the perspectives differ on no training case"
        if teleprompter.needs_valset and not given.valset:
            return given, "the perspectives differ on no case of the valset"
    return given, ""


def _people(examples: Sequence[dspy.Example]) -> list[dspy.Example]:
    """Return one example of each person: a backstory is the same for all questions."""
    first: dict[Any, dspy.Example] = {}
    for example in examples:
        first.setdefault(example.case.profile, example)
    return list(first.values())


def _where_they_differ(given: Compilation) -> Compilation:
    voting = given.student.deepcopy()
    voting._stage = vote_only

    def differing(examples: Sequence[dspy.Example]) -> list[dspy.Example]:
        scored = results(voting, examples, given) if examples else []
        return [example for example, told, _ in scored if told.get("decision") == "vote"]

    return replace(
        given,
        trainset=differing(given.trainset),
        valset=differing(given.valset),
        demo_cases=differing(given.demo_cases),
    )


def in_stages(count: Count, *, looks: bool) -> Count:
    """Return a count that knows of stages: each costs at most what all predictors at once cost.

    Args:
        count: The count for predictors compiled at once.
        looks: Whether looking for the cases on which perspectives differ is counted too.
    """

    def counted(options: Any, n_train: int, n_val: int, predictors: int = 5) -> tuple[int, int]:
        low, high = count(options, n_train, n_val, predictors)
        if not getattr(options, "staged", False):
            return low, high
        cases = n_train + n_val
        return (min(low, cases), 4 * high + cases) if looks else (0, 4 * high)

    return counted
