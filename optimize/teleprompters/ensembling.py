"""The teleprompter `ensemble`: one program compiled several times, and the votes of the results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import dspy
from pydantic import Field, create_model

from optimize.compilation import Candidate, Compilation, Compiled, Metric
from optimize.demo_rendering import demo_counts
from optimize.teleprompters.bootstrapping import UNCOMPILED
from optimize.teleprompters.options import CommonOptions
from optimize.teleprompters.scoring import results
from optimize.teleprompters.staging import build
from optimize.teleprompters.teleprompter import Teleprompter
from valuesim_dspy.ensemble import Ensemble, combined, vote_shares
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.manifest import MOST_MEMBERS
from valuesim_dspy.roles import Settings

NAME = "ensemble"
DEFAULT = "bootstrap-random-search"


class EnsembleOptions(CommonOptions):
    """Options of `ensemble` itself; those of the teleprompter named by `of` come on top."""

    of: str = Field(
        DEFAULT,
        description="the teleprompter that compiles each member, any but this one; all of its "
        "options are taken and given through",
    )
    size: int = Field(
        3,
        ge=2,
        le=MOST_MEMBERS,
        description="how often the program is compiled, each time with a seed of its own; the "
        "same program twice votes once",
    )


class Ensembling(Teleprompter):
    """A teleprompter whose options are its own and those of the one it lets compile."""

    def parse(self, options: Mapping[str, Any]) -> Settings:
        """Validate the options of a job.

        Raises:
            ConfigError: `of` names no teleprompter that can compile members, or an option is
                unknown to both, or does not fit.
        """
        inner = member_teleprompter(options.get("of", DEFAULT))
        whole = replace(self, options=options_with(inner.options))
        return super(Ensembling, whole).parse(options)

    def can_write(self, options: Mapping[str, Any]) -> bool:
        """Whether what compiles the members writes instructions."""
        return member_teleprompter(options.get("of", DEFAULT)).writes


@lru_cache(maxsize=64)
def options_with(inner: type[Settings]) -> type[Settings]:
    """Return the closed model of an ensemble's options and those of its members' teleprompter."""
    return create_model("WholeOptions", __base__=(EnsembleOptions, inner), __doc__=inner.__doc__)


def member_teleprompter(name: object) -> Teleprompter:
    """Return the teleprompter that compiles members.

    Raises:
        ConfigError: There is none of that name, or it is `ensemble`.
    """
    from optimize.teleprompters import TELEPROMPTERS

    if not isinstance(name, str) or name == NAME or name not in TELEPROMPTERS:
        raise ConfigError(
            f"{name!r} is no teleprompter that compiles members",
            key="compile.options.of",
            value=name,
            allowed=[known for known in TELEPROMPTERS if known != NAME],
        )
    return TELEPROMPTERS[name]


def member_options(options: Any, inner: Teleprompter) -> Settings:
    """Return the part of an ensemble's options that its members' teleprompter takes."""
    return inner.options(**{name: getattr(options, name) for name in inner.options.model_fields})


@dataclass(frozen=True, eq=False)
class _Tried:
    """One program, and what it said of the valset with the score; no answer is a failure."""

    name: str
    program: Any
    told: Sequence[tuple[dspy.Example, dspy.Prediction, float]]

    @property
    def score(self) -> float:
        return sum(score for *_, score in self.told) / len(self.told)


def ensemble(compilation: Compilation) -> Compiled:
    """Compile several times; put the votes of what came of it beside each result alone.

    The valset chooses: the ensemble where it does at least as well as its best member and as the
    uncompiled program, else the best of these, ties to the earlier. Equal results are one member.

    Raises:
        ConfigError: The student is an ensemble, or the members would be compiled by nothing.
    """
    inner = _checked(compilation)
    given = replace(compilation, score=as_votes(compilation.score))
    made = [_compiled(given, inner, number) for number in range(1, given.options.size + 1)]
    notes = [f"compilation {n}: {note}" for n, one in enumerate(made, 1) for note in one.notes]
    distinct: dict[str, Any] = {}
    for one in made:
        distinct.setdefault(_state(one.program), one.program)
    if len(distinct) < len(made):
        notes.append(
            f"{len(made)} compilations came to {len(distinct)} different programs; the same "
            "program twice votes once"
        )
    alone = _scored(given, distinct)
    tried, best = list(alone.values()), max(alone.values(), key=lambda one: one.score)
    if len(distinct) > 1:
        together = _together(given, [alone[state] for state in distinct])
        tried.append(together)
        if together.score < best.score:
            notes.append(f"the valset prefers {best.name} alone to the ensemble")
        else:
            best = together
    candidates = tuple(
        Candidate(step, one.name, one.score, sum(demo_counts(one.program).values()))
        for step, one in enumerate(tried)
    )
    return Compiled(best.program, candidates, best.name, tuple(notes))


def _checked(compilation: Compilation) -> Teleprompter:
    inner = member_teleprompter(compilation.options.of)
    if isinstance(compilation.student, Ensemble):
        raise ConfigError(
            "the student is an ensemble, which is no member of another",
            key="compile.teleprompter",
            value=NAME,
        )
    if compilation.demos == "none" and not inner.writes:
        raise ConfigError(
            f"{inner.name} compiles by demos, and none would be left",
            key="compile.options.of",
            value=inner.name,
        )
    return inner


def _compiled(given: Compilation, inner: Teleprompter, number: int) -> Compiled:
    """Compile once, with a seed that follows from the job's and is no other compilation's."""
    own = replace(
        given,
        seed=given.derived(f"member-{number}"),
        options=member_options(given.options, inner),
    )
    return build(inner, own)


def _state(program: dspy.Module) -> str:
    return json.dumps(program.dump_state(), sort_keys=True)


def _scored(given: Compilation, distinct: Mapping[str, Any]) -> dict[str, _Tried]:
    """Run the uncompiled program and every different result on the valset, each once."""
    first = given.student.deepcopy()
    programs = {_state(first): (UNCOMPILED, first)}
    for number, (state, program) in enumerate(distinct.items(), start=1):
        programs.setdefault(state, (f"member_{number}", program))
    return {
        state: _Tried(name, program, results(program, given.valset, given))
        for state, (name, program) in programs.items()
    }


def _together(given: Compilation, members: Sequence[_Tried]) -> _Tried:
    """Return the members' ensemble, scored by what they have said: nothing is run again."""
    told = [_vote(given, rows) for rows in zip(*(one.told for one in members), strict=True)]
    # One of them may be the uncompiled program, which is a candidate of its own as well.
    return _Tried(NAME, Ensemble([one.program.deepcopy() for one in members]), told)


def _vote(
    given: Compilation, rows: Sequence[tuple[dspy.Example, dspy.Prediction, float]]
) -> tuple[dspy.Example, dspy.Prediction, float]:
    example = rows[0][0]
    told = {f"member_{number}": prediction for number, (_, prediction, _) in enumerate(rows, 1)}
    if any("answer" not in prediction for prediction in told.values()):
        return example, dspy.Prediction(), 0.0
    prediction = combined(example.case.question, told)
    return example, prediction, float(given.score(example, prediction))


def as_votes(score: Metric) -> Metric:
    """Return the metric, to which a prediction without probabilities is an ensemble of one.

    So a member can be compiled by, and held against the ensemble on, a metric of distributions.
    Without a trace the prediction itself is added to: who remembers scores knows it by identity.
    With one it is copied, since it may be a step that becomes a demo.
    """

    def metric(example: Any, prediction: Any, trace: Any = None) -> float | bool:
        if "answer" in prediction and "probabilities" not in prediction:
            shares = vote_shares(example.case.question, [int(prediction.answer)])
            prediction = prediction if trace is None else dspy.Prediction(**prediction)
            prediction["probabilities"] = shares
        return score(example, prediction, trace)

    return metric


def ensemble_runs(options: Any, n_train: int, n_val: int, predictors: int = 5) -> tuple[int, int]:
    """Return the least and the most runs: of the compilations, then of each different result.

    The least is where all come to the uncompiled program, the most where all differ from it and
    from each other; the ensemble itself is scored by what its members said.
    """
    inner = member_teleprompter(options.of)
    low, high = inner.runs(member_options(options, inner), n_train, n_val, predictors)
    return options.size * low + n_val, options.size * high + (options.size + 1) * n_val


def ensemble_prompts(
    options: Any, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the least and the most calls of the prompt LM: those of each compilation."""
    inner = member_teleprompter(options.of)
    low, high = inner.prompts(member_options(options, inner), n_train, n_val, predictors)
    return options.size * low, options.size * high
