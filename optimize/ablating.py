"""Arms of an ablation that are compiled first."""

from __future__ import annotations

from typing import Any

import dspy

from evals.arms import build_arm
from evals.factors import COMPILED, SHUFFLED
from evals.study import Study
from optimize.arm_compiling import compile_arm
from optimize.planning import find_teleprompter
from optimize.synthetic_demos import synthetic_cases
from valuesim_dspy.state import parts_of
from valuesim_dspy.trust import shuffled


def build_or_compile(study: Study, name: str) -> dspy.Module:
    """Return an arm by name; one that ends in `COMPILED` or `SHUFFLED` compiled by the job.

    The program is what the teleprompter returns: an ablation asks what compiling does, not
    what the valset would rather keep.
    """
    bare = name.removesuffix(COMPILED).removesuffix(SHUFFLED)
    student = build_arm(study, bare)
    if bare == name:
        return student
    teleprompter = find_teleprompter(study.config)
    options = teleprompter.parse(study.config.compile.options)
    meter = study.meter.child(f"compiling {bare}")
    lms = {role: lm.with_meter(meter) for role, lm in study.lms.items()}
    compiled = compile_arm(
        study,
        bare,
        student,
        teleprompter,
        options,
        lms=lms,
        log=None,
        demo_cases=synthetic_cases(study),
    )
    program: Any = compiled.program
    if name.endswith(SHUFFLED):
        for part in parts_of(program):
            part.learned = shuffled(part.learned, study.config.seed)
    made: dspy.Module = program
    return made
