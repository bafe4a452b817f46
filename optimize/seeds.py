"""One job over several seeds: what compiling does, on the testset, pooled and seed by seed."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from evals.benchmark import Result
from evals.intervals import Interval, paired_difference
from evals.past_runs import count_test_read
from evals.recording import measure
from evals.study import build_arm, open_study
from optimize.compile import run_job
from optimize.planning import arms_to_compile
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import ConfigError

REFERENCE = "rag"


@dataclass(frozen=True, eq=False)
class SeedResult:
    """The testset results of one seed: label to result, and the candidates that were chosen."""

    seed: int
    results: dict[str, Result]
    reads: int


def run_seeds(configs: Sequence[JobConfig], *, is_agreed: bool = False) -> str:
    """Compile once a seed, measure on the testset, and return the table.

    Each seed draws its own synthetic people, split and order of the trainset; the seeds are to
    be fixed before the first of them is run.

    Args:
        configs: The same job, seed by seed.
        is_agreed: Whether large estimates need no further consent.

    Raises:
        ConfigError: A seed is there twice, or nobody is in the testset; nothing was paid.
    """
    _check(configs)
    done = [_one_seed(config, is_agreed=is_agreed) for config in configs]
    return seeds_table(configs[0], done)


def _check(configs: Sequence[JobConfig]) -> None:
    seeds = [config.seed for config in configs]
    if len(set(seeds)) < len(seeds):
        # Pooled, the same people twice would narrow every interval.
        raise ConfigError("give each seed once", key="--seeds", value=seeds)
    if any(config.protocol.test < 1 for config in configs):
        raise ConfigError("the testset is empty; take respondents into it", key="protocol.test")


def _one_seed(config: JobConfig, *, is_agreed: bool) -> SeedResult:
    job = run_job(config, is_agreed=is_agreed)
    results = {}
    with open_study(config) as study:
        key = f"{study.respondents.digest[:16]}-{study.fold.digest}-{study.split.digest}"
        reads = count_test_read(config.store, key)
        for arm in dict.fromkeys((REFERENCE, *arms_to_compile(config))):
            results[arm] = measure(study, arm, build_arm(study, arm), "test")
            if arm in job.programs:
                program = build_arm(study, str(job.programs[arm]))
                label = f"{arm} compiled"
                results[label] = measure(study, arm, program, "test", label=label)
    return SeedResult(config.seed, results, reads)


def seeds_table(config: JobConfig, done: Sequence[SeedResult]) -> str:
    """Return one row a seed and one pooled, one column a difference in points of accuracy."""
    arms = arms_to_compile(config)
    pairs = [(f"{arm} compiled", arm) for arm in arms]
    pairs += [
        (f"{config.variant} compiled", REFERENCE),
        (f"{config.variant} compiled", f"{REFERENCE} compiled"),
    ]
    pairs = [pair for pair in dict.fromkeys(pairs) if set(pair) <= set(done[0].results)]
    head = ["seed", *(f"{one} - {other}" for one, other in pairs)]
    rows = [[str(found.seed), *(_cell(_gap([found], pair)) for pair in pairs)] for found in done]
    rows.append(["all", *(_cell(_gap(done, pair)) for pair in pairs)])
    first = next(iter(done[0].results.values()))
    lines = [
        f"## {config.name}: {config.compile.teleprompter} over {len(done)} seeds, testset",
        "",
        f"evidence: {first.evidence}; task LM: {config.task_lm.model}; differences in points of "
        f"top-1 accuracy with 95 % intervals, paired, by respondent; "
        f"{len(first.frame)} cases a seed; testset readings {max(f.reads for f in done)}; "
        f"date: {datetime.date.today().isoformat()}",
    ]
    if first.evidence != "survey" or config.task_lm.offline:
        lines += [
            "",
            "The machinery on synthetic people and/or the embedded model: no word about people.",
        ]
    lines += ["", _row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _gap(done: Sequence[SeedResult], pair: tuple[str, str]) -> Interval:
    """Pool the seeds: respondents of different seeds are different clusters."""
    one, other = (
        pd.concat(
            [
                found.results[label].frame.assign(
                    respondent=found.results[label].frame["respondent"] + f"@{found.seed}"
                )
                for found in done
            ],
            ignore_index=True,
        )
        for label in pair
    )
    return paired_difference(one, other, seed=0)


def _cell(gap: Interval) -> str:
    points = [
        format(round(100 * value, 1) + 0.0, "+.1f") for value in (gap.estimate, gap.low, gap.high)
    ]
    return f"{points[0]} [{points[1]}, {points[2]}]"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
