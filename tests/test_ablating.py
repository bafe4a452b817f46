"""Arms that an ablation compiles first: by the job's teleprompter, its demos, and the control."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from jobs import small_job

from evals.factors import COMPILED, SHUFFLED
from evals.study import Study, open_study
from optimize import ablating
from optimize.ablating import build_or_compile
from optimize.synthetic_demos import synthetic_cases
from optimize.teleprompters import Compiled
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.ensemble import Ensemble
from valuesim_dspy.program import ValueSim
from valuesim_dspy.trust import shuffled

NAMES = ("cognitive", "affective", "behavioral")


def learned(shift: int = 0) -> dict[str, Any]:
    """Return a record of each reader, which says whose it is."""
    cells = {name: {"all": [place + shift]} for place, name in enumerate(NAMES)}
    return {"records": {"cells": cells}, "weights": {"by": {}}}


def cells(program: Any) -> dict[str, Any]:
    """Return the records that a program has learned, reader by reader."""
    return dict(program.learned["records"]["cells"])


@pytest.fixture
def study() -> Iterator[Study]:
    """A small study that compiles with few demos of its training people."""
    with open_study(small_job(compile={"arms": []}), cache=ResponseCache()) as opened:
        yield opened


def compiling(monkeypatch: pytest.MonkeyPatch, program: Any) -> list[Mapping[str, Any]]:
    """Let compiling return a program; return a list of what it is given."""
    given: list[Mapping[str, Any]] = []

    def compile_arm(*_: Any, **known: Any) -> Compiled:
        given.append(known)
        return Compiled(program)

    monkeypatch.setattr(ablating, "compile_arm", compile_arm)
    return given


def test_an_arm_of_a_plain_name_is_only_built(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is compiled for it."""
    given = compiling(monkeypatch, None)
    program: Any = build_or_compile(study, "single")
    assert program.variant == "single" and not given


def test_a_compiled_arm_has_the_teleprompter_s_demos(study: Study) -> None:
    """What it returns is kept, with calls on a meter of its own."""
    program = build_or_compile(study, "single" + COMPILED)
    assert all(predictor.demos for predictor in program.predictors())
    assert not any(p.demos for p in build_or_compile(study, "single").predictors())


def test_demos_are_of_made_up_people_where_the_job_says_so() -> None:
    """An arm of a job whose demos are synthetic compiles, and is shown those people's cases."""
    config = small_job(compile={"arms": [], "demos": "synthetic"})
    with open_study(config, cache=ResponseCache()) as study:
        program = build_or_compile(study, "single" + COMPILED)
        allowed = {ex.case.profile.facts_text for ex in synthetic_cases(study)}
        known = {ex.case.profile.facts_text for ex in study.examples("train")}
    shown = [str(demo["facts"]) for p in program.predictors() for demo in p.demos]
    assert shown and not set(shown) & known
    lines = {line for text in allowed for line in text.splitlines()}
    assert all(set(text.splitlines()) <= lines for text in shown)


def test_who_compiles_is_given_synthetic_people_only_on_demand(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Demos of training people need none."""
    given = compiling(monkeypatch, ValueSim("single"))
    build_or_compile(study, "single" + COMPILED)
    assert given[0]["demo_cases"] == []


def test_the_control_gives_each_reader_another_s_record(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same records, by the draw of the job's seed; without the suffix they stay."""
    program = ValueSim("full-records")
    program.learned = learned()
    compiling(monkeypatch, program)
    made: Any = build_or_compile(study, "full-records" + COMPILED)
    assert cells(made) == learned()["records"]["cells"]
    made = build_or_compile(study, "full-records" + SHUFFLED)
    expected = shuffled(learned(), study.config.seed)["records"]["cells"]
    assert cells(made) == expected
    assert all(expected[name] != learned()["records"]["cells"][name] for name in NAMES)


def test_every_member_of_an_ensemble_is_shuffled(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each among its own readers; members' records differ and do not mix."""
    members = [ValueSim("full-records") for _ in range(2)]
    for number, member in enumerate(members):
        member.learned = learned(10 * number)
    compiling(monkeypatch, Ensemble(members))
    made: Any = build_or_compile(study, "full-records" + SHUFFLED)
    assert isinstance(made, Ensemble) and len(made.members) == 2
    for number, member in enumerate(made.members):
        before = learned(10 * number)
        assert cells(member) == shuffled(before, study.config.seed)["records"]["cells"]
        assert cells(member) != before["records"]["cells"]
