"""Before a compile job pays for anything: what it compiles, with what, and consent."""

from __future__ import annotations

from evals.baselines import BASELINES
from evals.study import Study
from optimize.predicting import PROMPT_COST, Plan, make_plan, references
from optimize.teleprompters import TELEPROMPTERS, Teleprompter
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.program import VARIANTS

__all__ = [
    "PROMPT_COST",
    "Plan",
    "announce",
    "arms_to_compile",
    "check_sets",
    "find_teleprompter",
    "make_plan",
    "references",
]


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
    if config.compile.demos == "none" and not teleprompter.can_write(config.compile.options):
        raise ConfigError(
            f"{name} compiles by demos, and none would be left",
            key="compile.demos",
            value="none",
            allowed=["data", "synthetic"],
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


def announce(study: Study, plan: Plan, *, is_agreed: bool) -> None:
    """Print the plan.

    Raises:
        ConfigError: It is above what the config lets pass without consent.
    """
    model = study.task_lm.model
    print(f"estimate, nothing of it cached ({model}):", flush=True)  # noqa: T201
    print("\n".join(plan.lines()), flush=True)  # noqa: T201
    most, limit = plan.all.calls[1], study.config.confirm_calls
    if not study.offline and not is_agreed and most > limit:
        raise ConfigError(
            f"up to {most:,} calls of {model} may be needed, more than {limit:,}; pass --yes to "
            "agree, or make the job smaller",
            key="confirm_calls",
        )
