"""`evals run` and `evals compare`: arms on the devset or the testset, kept and put side by side."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from evals.benchmark import Result
from evals.embedders import weak_baseline_note
from evals.estimate import Cost, benchmark_cost, check_context, cost_lines, prices
from evals.job_facts import describe_job
from evals.past_runs import arms_of, count_test_read, load_predictions, run_summary
from evals.recording import arm_run, measure, result_metrics
from evals.report import comparison_table, describe_study
from evals.study import Study, build_arm, open_study
from evals.tracking import Tracker
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.lm import preflight
from valuesim_dspy.loading import find_program, read_manifest
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
    config = _as_compiled(config, arms)
    with open_study(config) as study:
        names = list(dict.fromkeys((REFERENCE, *arms)))
        programs = {name: build_arm(study, name) for name in names}
        phases = {}
        for name, program in programs.items():
            check_context(program, study.examples(role), config.task_lm)
            phases[name] = benchmark_cost(program, study.examples(role))
        _agree(study, phases, is_agreed=is_agreed)
        if not study.task_lm.in_process:
            preflight(study.task_lm)
        tracker = Tracker(config.store, share_rows=config.share_rows)
        identity = hashlib.sha256(
            json.dumps([study.identity, role, [_content(name) for name in names]]).encode()
        ).hexdigest()[:16]
        facts = describe_job(study, command="evals", subject=", ".join(arms), identity=identity)
        notes = [weak_baseline_note(study.retriever.embedder, study.offline)]
        if role == "test":
            key = f"{study.respondents.digest[:16]}-{study.fold.digest}-{study.split.digest}"
            notes.append(f"reading {count_test_read(config.store, key)} of this testset")
        results: list[Result] = []
        with tracker.job(facts) as run:
            for name, program in programs.items():
                result = measure(study, _arm(name, program), program, role, label=_label(name))
                reference = results[0] if results else None
                teleprompter = _manifest(name).teleprompter if _is_saved(name) else "none"
                with arm_run(run, study, result, program, teleprompter=teleprompter) as child:
                    child.log_metrics(result_metrics(result, reference=reference))
                results.append(result)
            table = comparison_table(
                results,
                reference=REFERENCE,
                title=f"{config.name}: {role}set",
                about=describe_study(study, date=datetime.date.today()),
                notes=notes,
                offline=study.offline,
            )
            run.log_text(table, "table.md")
            run.note(table)
        return run.run_id, table


def _agree(study: Study, phases: dict[str, Cost], *, is_agreed: bool) -> None:
    most, limit = sum(phases.values(), Cost()).calls[1], study.config.confirm_calls
    if study.offline:
        return
    lines = cost_lines(phases, prices(study.config.task_lm))
    print("\n".join(["estimate, nothing of it cached:", *lines]), flush=True)  # noqa: T201
    if not is_agreed and most > limit:
        raise ConfigError(
            f"up to {most:,} calls may be needed, more than {limit:,}; pass --yes to agree",
            key="confirm_calls",
        )


def _is_saved(name: str) -> bool:
    return name.startswith("runs:/") or (Path(name) / "manifest.json").is_file()


def _manifest(name: str) -> Manifest:
    return read_manifest(find_program(name))


def _arm(name: str, program: object) -> str:
    return str(getattr(program, "kind", name)) if _is_saved(name) else name


def _label(name: str) -> str:
    if not _is_saved(name):
        return name
    manifest = _manifest(name)
    return f"{manifest.variant} {'compiled' if manifest.teleprompter != 'none' else 'saved'}"


def _content(name: str) -> str:
    """Return what identifies an arm: its name, or the bytes of a saved program."""
    if not _is_saved(name):
        return name
    folder = find_program(name)
    whole = b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())
    return hashlib.sha256(whole).hexdigest()


def _as_compiled(config: JobConfig, arms: Sequence[str]) -> JobConfig:
    """Take fold and split from the manifests of saved programs, which must agree."""
    drawn = {}
    for name in filter(_is_saved, arms):
        manifest = _manifest(name)
        fold, split = manifest.fold, manifest.split
        sizes = split.get("sizes", {})
        drawn[name] = {
            "folds": fold["strategy"],
            "fold": fold["index"],
            "seed": fold["seed"],
            "kinds": tuple(str(fold["kinds"]).split(",")),
            **(dict(sizes) if isinstance(sizes, dict) else {}),
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
    protocol = config.protocol.model_copy(update=first)
    return config.model_copy(update={"protocol": protocol})


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
    results = [
        _past_result(run_summary(tracker, arm), load_predictions(tracker, arm)) for arm in found
    ]
    if not results:
        raise MissingDataError("these runs hold no arms", "name runs of `optimize` or `evals`")
    summary = run_summary(tracker, next(iter(found)))
    about = {name: summary["params"][name] for name in ("fold", "split", "task_lm", "embedder")}
    labels = [result.label for result in results]
    return comparison_table(
        results,
        reference=reference if reference in labels else None,
        title=f"{len(results)} arms",
        about=about,
        offline=summary["params"]["task_lm"].startswith("offline/"),
    )


def _past_result(summary: dict[str, object], frame: pd.DataFrame) -> Result:
    params, metrics, tags = summary["params"], summary["metrics"], summary["tags"]
    assert isinstance(params, dict) and isinstance(metrics, dict) and isinstance(tags, dict)

    def usage(kind: str) -> Usage:
        calls, tokens = metrics.get(f"calls_{kind}", 0), metrics.get(f"tokens_{kind}", 0)
        return Usage(int(calls), int(tokens), 0, metrics.get(f"usd_{kind}"))

    return Result(
        arm=str(summary["name"]).removesuffix(" compiled"),
        label=str(summary["name"]),
        role=str(params["split"]).split()[0],
        knows=str(params["knows"]),
        frame=frame,
        needed=usage("needed"),
        paid=usage("paid"),
        failed_calls=int(metrics.get("failed_calls", 0)),
        seconds=float(metrics.get("seconds", 0.0)),
        evidence=str(tags["evidence"]),
    )
