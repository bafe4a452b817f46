"""`evals run` and `evals compare`: arms on the devset or the testset, kept and put side by side."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from pydantic import ValidationError

from evals.benchmark import Result
from evals.distribution_table import calibrated_metrics, calibrations, distribution_table
from evals.embedders import retrieval_notes
from evals.estimate import agree, benchmark_cost, check_context
from evals.job_facts import describe_job
from evals.past_runs import arms_of, count_reading, load_predictions, run_summary
from evals.recording import arm_run, measure, result_metrics
from evals.report import comparison_table, describe_study
from evals.study import Study, build_arm, find_arm, open_study
from evals.tracked_runs import JobRun
from evals.tracking import Tracker
from valuesim_dspy.config import JobConfig, ProtocolConfig
from valuesim_dspy.errors import ConfigError, ProgramStateError
from valuesim_dspy.lm import preflight
from valuesim_dspy.loading import read_manifest
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.usage import Usage

REFERENCE = "rag"


def run_arms(
    config: JobConfig, arms: Sequence[str], role: str, *, is_agreed: bool = False
) -> tuple[str, str]:
    """Measure arms on one set and keep each in a run; return the MLflow run's id and the table.

    Args:
        config: The job whose data, protocol and models are used; a saved program brings its own
            fold and split.
        arms: Variants, baselines, program folders or `runs:/<id>/program`; RAG is added.
        role: `dev` or `test`; readings of the testset are counted and the count is printed.
        is_agreed: Whether an estimate above the config's limit needs no further consent.

    Raises:
        ConfigError: An arm is unknown, or saved programs were compiled on different folds.
    """
    found = find_arms(dict.fromkeys((REFERENCE, *arms)), config.store)
    config = as_compiled(config, found)
    with open_study(config) as study:
        examples = study.examples(role)
        if not examples:
            raise ConfigError(
                f"the {role}set is empty: no respondent of it answered a {role} target",
                key=f"protocol.{role}",
            )
        programs = {arm.label: build_arm(study, arm.source) for arm in found}
        for program in programs.values():
            check_context(program, examples, config.task_lm)
        phases = {label: benchmark_cost(program, examples) for label, program in programs.items()}
        phases |= {
            f"{label}, valset": benchmark_cost(program, study.examples("val"))
            for label, program in programs.items()
            if getattr(program, "gives_probabilities", False)
        }
        agree(study, phases, is_agreed=is_agreed)
        if not study.task_lm.in_process:
            preflight(study.task_lm)
        tracker = Tracker(config.store, share_rows=config.share_rows)
        identity = hashlib.sha256(
            json.dumps([study.identity, role, [arm.content for arm in found]]).encode()
        ).hexdigest()[:16]
        facts = describe_job(study, command="evals", subject=", ".join(arms), identity=identity)
        notes = [_other_draw(study, arm) for arm in found]
        if role == "test":
            notes.append(f"reading {count_reading(study)} of this testset")
        with tracker.job(facts) as run:
            results, val_results = _measured(study, run, found, programs, role)
            table = comparison_table(
                results,
                reference=REFERENCE,
                title=f"{config.name}: {role}set",
                about=describe_study(study, date=datetime.date.today()),
                notes=[*retrieval_notes(study.retriever.embedder, study.offline), *notes],
                offline=study.offline,
            )
            spread = distribution_table(results, val_results)
            table = f"{table}\n{spread}" if spread else table
            run.log_text(table, "table.md")
            run.note(table)
        return run.run_id, table


@dataclass(frozen=True)
class Arm:
    """An arm as it was found: what to build it from, and what it is called and identified by."""

    source: str
    label: str
    content: str
    manifest: Manifest | None = None

    @property
    def teleprompter(self) -> str:
        """What compiled it, "none" for what is uncompiled."""
        return self.manifest.teleprompter if self.manifest else "none"


def find_arms(names: Iterable[str], store: str | None) -> list[Arm]:
    """Fetch saved programs, each once, and give every arm a label of its own."""
    arms = []
    for name in names:
        folder = find_arm(name, store)
        if folder is None:
            arms.append(Arm(name, name, name))
            continue
        manifest = read_manifest(folder)
        label = f"{manifest.variant} {'compiled' if manifest.teleprompter != 'none' else 'saved'}"
        whole = b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())
        # As a whole path: the folder may bear the name of a variant.
        source = str(folder.resolve())
        arms.append(Arm(source, label, hashlib.sha256(whole).hexdigest(), manifest))
    arms = list({arm.content: arm for arm in arms}.values())
    taken = Counter(arm.label for arm in arms)
    return [
        replace(arm, label=f"{arm.label} {arm.content[:6]}") if taken[arm.label] > 1 else arm
        for arm in arms
    ]


def _measured(
    study: Study, run: JobRun, arms: Sequence[Arm], programs: Mapping[str, Any], role: str
) -> tuple[list[Result], list[Result]]:
    """Measure one arm after the other, the reference first, and keep each as soon as it is done.

    Arms that give probabilities are measured on the valset too, for their temperature.
    """
    results: list[Result] = []
    val_results: list[Result] = []
    for arm in arms:
        program = programs[arm.label]
        name = program.kind if arm.manifest else arm.label
        result = measure(study, name, program, role, label=arm.label)
        reference = results[0] if results else None
        with arm_run(run, study, result, program, teleprompter=arm.teleprompter) as child:
            child.log_metrics(result_metrics(result, reference=reference))
            if getattr(program, "gives_probabilities", False) and study.examples("val"):
                val_results.append(measure(study, name, program, "val", label=arm.label))
                for fitted in calibrations(val_results[-1:]).values():
                    child.log_metrics(calibrated_metrics(result, fitted))
        results.append(result)
    return results, val_results


def _other_draw(study: Study, arm: Arm) -> str:
    """Return the sentence a table needs where who is measured may have been fitted on."""
    known = arm.manifest
    if known is None or not known.fold or known.evidence != study.evidence:
        return ""
    pairs: dict[str, tuple[Mapping[str, object], str]] = {
        "data": (known.data, study.respondents.digest),
        "fold": (known.fold, study.fold.digest),
        "split": (known.split, study.split.digest),
    }
    other = [name for name, (drawn, digest) in pairs.items() if drawn.get("digest") != digest]
    if not other:
        return ""
    return (
        f"Warning: {arm.label} was compiled on another draw ({', '.join(other)}); people and "
        "questions that it was fitted on may be among those measured."
    )


def as_compiled(config: JobConfig, arms: Sequence[Arm]) -> JobConfig:
    """Take fold and split from the manifests of saved programs, which must agree.

    A program whose manifest names no fold was fitted on nobody; the config's serve it.
    """
    drawn = {
        arm.label: _protocol(config, arm.source, arm.manifest)
        for arm in arms
        if arm.manifest and arm.manifest.fold
    }
    if not drawn:
        return config
    first, *others = drawn.values()
    if any(other != first for other in others):
        raise ConfigError(
            "these programs were compiled on different folds or splits; measure them one by one",
            key="arms",
            value=", ".join(drawn),
        )
    return config.model_copy(update={"protocol": first})


def _protocol(config: JobConfig, source: str, manifest: Manifest) -> ProtocolConfig:
    fold, sizes = manifest.fold, manifest.split.get("sizes", {})
    known = {"folds": "strategy", "fold": "index", "seed": "seed", "kinds": "kinds"}
    drawn: dict[str, object] = {key: fold.get(name) for key, name in known.items()}
    drawn |= {"kinds": tuple(str(fold.get("kinds")).split(","))}
    drawn |= dict(sizes) if isinstance(sizes, dict) else {}
    # programs of before there was a choice were compiled without dependence, by country
    drawn |= {"dependence": fold.get("dependence", "none")}
    drawn |= {"split": manifest.split.get("kind", "stratified")}
    for key in ("test_countries", "dev_countries"):
        named = manifest.split.get(key)
        drawn[key] = tuple(str(named).split(",")) if named else None
    try:
        return ProtocolConfig.model_validate(config.protocol.model_dump() | drawn)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ProgramStateError(
            f"its manifest does not say on which fold and split it was compiled ({where})",
            path=source,
        ) from None


def compare_runs(store: str | None, run_ids: Sequence[str], *, reference: str = REFERENCE) -> str:
    """Return the table of runs that are in the store, with paired differences.

    Args:
        store: As in a job's config.
        run_ids: Runs of jobs, which stand for all their arms, or runs of arms.
        reference: The label that differences are taken to; where it is missing there are none.

    Raises:
        MissingDataError: There is no such run, or it has no predictions.
        ConfigError: The runs are on different cases.
    """
    tracker = Tracker(store)
    found = dict.fromkeys(arm for run_id in run_ids for arm in arms_of(tracker, run_id))
    frames = {run_id: load_predictions(tracker, run_id) for run_id in found}
    summaries = [run_summary(tracker, run_id) for run_id in found]
    labels = _labels(summaries)
    results = [
        _past_result(summary, label, frames[summary["run_id"]])
        for summary, label in zip(summaries, labels, strict=True)
    ]
    about = {name: _values(summaries, name) for name in ("fold", "split", "task_lm", "embedder")}
    names = {name for result in results for name in (result.label, result.arm)}
    return comparison_table(
        results,
        reference=reference if reference in names else None,
        title=f"{len(results)} arms",
        about={name: ", ".join(values) for name, values in about.items()},
        offline=any(model.startswith("offline/") for model in about["task_lm"]),
    )


def _values(summaries: Sequence[dict[str, Any]], param: str) -> list[str]:
    return list(dict.fromkeys(summary["params"][param] for summary in summaries))


def _labels(summaries: Sequence[dict[str, Any]]) -> list[str]:
    """Name arms of several jobs so that they can be told apart: by what differs, else by run."""
    labels = []
    for summary in summaries:
        name, role = summary["name"], summary["params"]["split"]
        alike = [o for o in summaries if (o["name"], o["params"]["split"]) == (name, role)]
        differ = [p for p in ("task_lm", "embedder", "teleprompter") if len(_values(alike, p)) > 1]
        mark = ", ".join(summary["params"][param] for param in differ)
        if sum(all(o["params"][p] == summary["params"][p] for p in differ) for o in alike) > 1:
            mark = f"{mark}, {summary['run_id'][:8]}".lstrip(", ")
        labels.append(f"{name} ({mark})" if mark else name)
    return labels


def _past_result(summary: dict[str, Any], label: str, frame: pd.DataFrame) -> Result:
    params, metrics = summary["params"], summary["metrics"]

    def usage(kind: str) -> Usage:
        calls, tokens = metrics.get(f"calls_{kind}", 0), metrics.get(f"tokens_{kind}", 0)
        estimated = int(metrics.get("calls_estimated", 0))
        usd = metrics.get(f"usd_{kind}")
        return Usage(int(calls), int(tokens), 0, usd, estimated_calls=estimated)

    return Result(
        arm=params["variant"],
        label=label,
        role=params["split"].split()[0],
        knows=params["knows"],
        frame=frame,
        needed=usage("needed"),
        paid=usage("paid"),
        failed_calls=int(metrics.get("failed_calls", 0)),
        seconds=float(metrics.get("seconds", 0.0)),
        evidence=summary["tags"]["evidence"],
    )
