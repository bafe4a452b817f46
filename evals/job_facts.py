"""What is known of a job before its first LM call, and how its arms are described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evals.study import Study
    from valuesim_dspy.usage import Usage

ARM_PARAMS = (
    *("arm", "kind", "variant", "teleprompter", "task_lm", "embedder"),
    *("fold", "split", "knows", "people", "questions"),
)
"""What every arm is described by: the same few on each, so that they line up when compared."""


@dataclass(frozen=True)
class DataFacts:
    """Which data a run used: its name, digest and number of rows; never the rows."""

    name: str
    digest: str
    rows: int
    context: str = "survey"


@dataclass(frozen=True)
class JobFacts:
    """What is known of a job before its first LM call.

    Attributes:
        identity: Digest of config, data and code; a job of the same identity is continued.
        name: The run's name.
        command: What runs it: `evals` or `optimize`.
        config: The resolved config, as plain JSON values.
        params: A few values to show beside the runs.
        tags: What runs are grouped by; every arm carries them too.
        data: The survey.
        details: Digests, versions and what else belongs to the record.
    """

    identity: str
    name: str
    command: str
    config: Mapping[str, Any]
    data: DataFacts
    params: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


def describe_job(
    study: Study, *, command: str, subject: str, identity: str | None = None, **details: Any
) -> JobFacts:
    """Return the facts of a job on a study.

    Args:
        study: The open study.
        command: `evals` or `optimize`.
        subject: What the job is about: a variant, a baseline or a program.
        identity: By default the study's; a job that does less than the whole config (one arm,
            another set) adds that to it.
        details: What else belongs to the record.
    """
    config, people, compiles = study.config, study.respondents, command == "optimize"
    kind = "synthetic" if people.synthetic else people.codebook.id
    tags = {
        "evidence": study.evidence,
        "task_lm": study.task_lm.model,
        "teleprompter": config.compile.teleprompter if compiles else "none",
        "variant": config.variant if compiles else subject,
        "fold": fold_label(study),
        "stamp": people.stamp,
    }
    return JobFacts(
        identity=identity or study.identity,
        name=config.name,
        command=command,
        config=config.resolved(),
        data=DataFacts(kind, people.digest[:16], len(people)),
        tags=tags,
        details={
            "manifest": study.manifest("job", subject).model_dump(mode="json"),
            "drawn": {
                "fold": study.fold.describe(),
                "split": study.split.describe(),
                "leakage": study.leakage.as_dict(),
            },
            **details,
        },
    )


def arm_params(
    study: Study, role: str, *, kind: str, variant: str, teleprompter: str, knows: str
) -> dict[str, object]:
    """Return the params of an arm measured on a set of a study, for `JobRun.arm`."""
    examples = study.examples(role)
    return {
        "kind": kind,
        "variant": variant,
        "teleprompter": teleprompter,
        "task_lm": study.task_lm.model,
        "embedder": study.retriever.embedder.name,
        "fold": fold_label(study),
        "split": f"{role} {study.split.digest[:8]}",
        "knows": knows,
        "people": len({example.case.profile.key for example in examples}),
        "questions": len({example.case.question.id for example in examples}),
    }


def fold_label(study: Study) -> str:
    """Return the fold in a word, such as `battery-1of5`."""
    return f"{study.fold.strategy}-{study.fold.index}of{study.fold.of}"


def usage_metrics(needed: Usage, paid: Usage) -> dict[str, float]:
    """Return calls, tokens and US dollars needed and paid; dollars only where they are known."""
    metrics: dict[str, float] = {}
    for name, usage in (("needed", needed), ("paid", paid)):
        metrics |= {f"calls_{name}": usage.calls, f"tokens_{name}": usage.tokens}
        if usage.usd is not None:
            metrics[f"usd_{name}"] = usage.usd
    return metrics
