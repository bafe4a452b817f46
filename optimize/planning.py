"""Before a compile job pays for anything: what it compiles, what it will cost, consent."""

from __future__ import annotations

from typing import Any

import dspy

from evals.baselines import BASELINES
from evals.estimate import Cost, benchmark_cost, cost_lines, prices
from evals.study import Study, build_arm
from optimize.teleprompters import TELEPROMPTERS, Teleprompter
from optimize.teleprompters.choosing import chosen_predictors
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.program import VARIANTS

# One request that writes an instruction: it holds examples or a summary of them.
PROMPT_COST = Cost((1, 1), (500, 4000), (50, 500))


def find_teleprompter(config: JobConfig) -> Teleprompter:
    """Return the teleprompter that a config names.

    Raises:
        ConfigError: There is none of that name, or none that works as the config wants.
    """
    name = config.compile.teleprompter
    if name not in TELEPROMPTERS:
        raise ConfigError(
            f"{name!r} is no teleprompter",
            key="compile.teleprompter",
            value=name,
            allowed=TELEPROMPTERS,
        )
    teleprompter = TELEPROMPTERS[name]
    if config.compile.demos == "none" and not teleprompter.writes:
        raise ConfigError(
            f"{name} compiles by demos, and none would be left",
            key="compile.demos",
            value="none",
            allowed=["data"],
        )
    return teleprompter


def arms_to_compile(config: JobConfig) -> list[str]:
    """Return the arms compiled beside the variant, then the variant, each once.

    Raises:
        ConfigError: One is neither a variant nor a baseline: what comes of an arm is kept under
            its name, and a saved program would be written over.
    """
    arms = [("compile.arms", name) for name in config.compile.arms]
    for key, name in (*arms, ("variant", config.variant)):
        if name not in VARIANTS and name not in BASELINES:
            raise ConfigError(
                f"{name!r} is no variant and no baseline",
                key=key,
                value=name,
                allowed=[*VARIANTS, *BASELINES],
            )
    return list(dict.fromkeys((*config.compile.arms, config.variant)))


def check_sets(study: Study) -> None:
    """Refuse a job one of whose sets is empty.

    Raises:
        ConfigError: Nobody of a set answered a target of it.
    """
    for role in ("train", "val", "dev"):
        if not study.examples(role):
            raise ConfigError(
                f"the {role}set is empty: no respondent of it answered a {role} target",
                key=f"protocol.{role}",
            )


def announce(
    study: Study,
    students: dict[str, dspy.Module],
    teleprompter: Teleprompter,
    options: Any,
    *,
    is_agreed: bool,
) -> None:
    """Print the estimate of calls, tokens and money, phase by phase.

    Raises:
        ConfigError: It is above what the config lets pass without consent.
    """
    sets = {role: study.examples(role) for role in ("train", "val", "dev")}
    phases = {}
    for name in references(study, students):
        phases[f"measuring {name}"] = _measuring(build_arm(study, name), sets)
    for name, program in students.items():
        phases[f"measuring {name}, twice"] = _measuring(program, sets).scaled(2, 2)
        one_run = benchmark_cost(program, sets["train"][:1])
        sizes = (len(sets["train"]), len(sets["val"]))
        count = len(chosen_predictors(program, getattr(options, "predictors", "all")))
        phases[f"compiling {name}"] = one_run.scaled(*teleprompter.runs(options, *sizes, count))
        written = teleprompter.prompts(options, *sizes, count)
        if written[1]:
            phases[f"prompts for {name}"] = PROMPT_COST.scaled(*written)
    model = study.task_lm.model
    print(f"estimate, nothing of it cached ({model}):", flush=True)  # noqa: T201
    print("\n".join(cost_lines(phases, prices(study.config.task_lm))), flush=True)  # noqa: T201
    most, limit = sum(phases.values(), Cost()).calls[1], study.config.confirm_calls
    if not study.offline and not is_agreed and most > limit:
        raise ConfigError(
            f"up to {most:,} calls of {model} may be needed, more than {limit:,}; pass --yes to "
            "agree, or make the job smaller",
            key="confirm_calls",
        )


def references(study: Study, students: dict[str, dspy.Module]) -> list[str]:
    """Return the baselines that are measured and not compiled."""
    return [name for name in dict.fromkeys(study.config.baselines) if name not in students]


def _measuring(program: dspy.Module, sets: dict[str, list[dspy.Example]]) -> Cost:
    return benchmark_cost(program, sets["val"]) + benchmark_cost(program, sets["dev"])
