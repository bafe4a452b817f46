"""What a search will need, before it starts, and consent to it."""

from __future__ import annotations

from itertools import product

from evals.estimate import Cost, benchmark_cost, cost_lines, prices
from evals.study import Study, build_arm
from optimize.planning import PROMPT_COST
from optimize.search_plan import OPTIONS, TELEPROMPTER, UNCOMPILED, VARIANT, Plan
from optimize.teleprompters import TELEPROMPTERS
from optimize.teleprompters.choosing import chosen_predictors
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.lm import preflight

REFERENCE = "rag"


def agree(plan: Plan, study: Study, *, is_agreed: bool) -> None:
    """Print what the search will need, and see that its models can be reached.

    Raises:
        ConfigError: It is above what the job lets pass without consent, or a price is missing
            that an objective needs.
    """
    role = plan.job.task_lm
    if "cost" in plan.search.objectives and plan.search.cost == "usd" and prices(role) is None:
        raise ConfigError(
            "the price of the task LM is unknown; give usd_per_million_input and "
            "usd_per_million_output, or count tokens or calls",
            key="search.cost",
        )
    phases = estimate(plan, study)
    count = plan.search.trials
    print(f"estimate, nothing of it cached ({study.task_lm.model}):", flush=True)  # noqa: T201
    print("\n".join(cost_lines(phases, prices(role))), flush=True)  # noqa: T201
    most = sum(phases.values(), Cost()).calls[1]
    if not study.offline and not is_agreed and most > plan.job.confirm_calls:
        raise ConfigError(
            f"up to {most:,} calls may be needed for {count} trials, more than "
            f"{plan.job.confirm_calls:,}; pass --yes to agree, or make the search smaller",
            key="confirm_calls",
        )
    for lm in study.lms.values():
        if not lm.in_process:
            preflight(lm)


def estimate(plan: Plan, study: Study) -> dict[str, Cost]:
    """Return the cost of all trials and of the devset at the end, at least and at most.

    A trial costs what the cheapest and the dearest of the arms and teleprompters of the space
    cost; one that is pruned, or has the values of an earlier one, costs less.
    """
    jobs = [
        plan.job_of({VARIANT: variant, TELEPROMPTER: teleprompter, **options})
        for variant, teleprompter in product(plan.variants(), plan.teleprompters())
        for options in _ends(plan, teleprompter)
    ]
    trials = [trial_cost(study, job) for job in jobs]
    arms = [benchmark_cost(build_arm(study, v), study.examples("dev")) for v in plan.variants()]
    devset = benchmark_cost(build_arm(study, REFERENCE), study.examples("dev"))
    least, most = _span(trials), _span(arms)
    count, finalists = plan.search.trials, plan.search.finalists
    # Pruned after the first part at best; every finalist is measured beside its uncompiled arm.
    share = plan.search.subsets[0] if len(plan.search.objectives) == 1 else 1.0
    return {
        f"{count} trials": least.scaled(count * share, count),
        "the devset at the end": most.scaled(1, 2 * finalists) + devset,
    }


def trial_cost(study: Study, job: JobConfig) -> Cost:
    """Return the cost of compiling a job's arm and of measuring it on the whole valset."""
    program = build_arm(study, job.variant)
    train, val = study.examples("train"), study.examples("val")
    cost = benchmark_cost(program, val)
    if job.compile.teleprompter == UNCOMPILED or not program.predictors():
        return cost
    teleprompter = TELEPROMPTERS[job.compile.teleprompter]
    options = teleprompter.parse(job.compile.options)
    count = len(chosen_predictors(program, getattr(options, "predictors", "all")))
    sizes = (len(train), len(val))
    one_run = benchmark_cost(program, train[:1])
    cost += one_run.scaled(*teleprompter.runs(options, *sizes, count))
    return cost + PROMPT_COST.scaled(*teleprompter.prompts(options, *sizes, count))


def _ends(plan: Plan, teleprompter: str) -> list[dict[str, object]]:
    """Return the options at their first and at their last values: the ends of what it costs."""
    known = {TELEPROMPTER: teleprompter}
    keys = [key for key in plan.search.space if key.startswith(OPTIONS)]
    keys = [key for key in keys if plan.applies(key, {**known, **_wanted(plan, key)})]
    ends = [{key: plan.search.space[key].extremes[end] for key in keys} for end in (0, -1)]
    return ends if keys else [{}]


def _wanted(plan: Plan, key: str) -> dict[str, object]:
    """Return values under which a conditional key is sampled, teleprompters left aside."""
    when = plan.search.space[key].when
    return {other: values[0] for other, values in when.items() if other != TELEPROMPTER}


def _span(costs: list[Cost]) -> Cost:
    """Return the least and the most of several costs."""
    ends = {
        name: (
            min(getattr(cost, name)[0] for cost in costs),
            max(getattr(cost, name)[1] for cost in costs),
        )
        for name in ("calls", "prompt", "completion")
    }
    return Cost(**ends)
