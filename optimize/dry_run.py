"""What a compile job would do and cost, without doing it: no call, no run, no consent needed."""

from __future__ import annotations

import json
import os
from typing import Any

from evals.study import Study, build_arm, open_study
from optimize.planning import Plan, arms_to_compile, check_sets, find_teleprompter, make_plan
from optimize.synthetic_demos import synthetic_cases
from optimize.teleprompters import Teleprompter
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.config import JobConfig
from valuesim_dspy.roles import EmbedderConfig

UNITS = {"calls": "calls", "tokens": "tokens", "usd": "US dollars"}


def dry_run(config: JobConfig) -> str:
    """Return what a job resolves to: config, destinations, sets, options and predicted costs.

    Args:
        config: The job; consent to send answers need not be given yet.

    Raises:
        ConfigError: The job could not be run as it is.
        MissingDataError: The survey file is absent.
    """
    teleprompter = find_teleprompter(config)
    options = teleprompter.parse(config.compile.options)
    with open_study(_looking(config), cache=ResponseCache()) as study:
        check_sets(study)
        students = {name: build_arm(study, name) for name in arms_to_compile(config)}
        demo_cases = synthetic_cases(study)
        plan = make_plan(study, students, teleprompter, options, demo_cases=demo_cases)
        sections = {
            "Config, resolved": [_config(config)],
            "Where answers would be sent": _destinations(config, study),
            "Sets": _sets(study, len(demo_cases)),
            f"Teleprompter {teleprompter.name}": _teleprompter(teleprompter, options),
            "Predicted cost, nothing of it cached": [*plan.lines(), *_limits(config, study, plan)],
        }
    text = "\n\n".join("\n".join([f"## {head}", *lines]) for head, lines in sections.items())
    return f"{text}\n\nNothing was asked, and no run was begun."


def _looking(config: JobConfig) -> JobConfig:
    """Return the config without what only asking needs: consent, keys, an embedder elsewhere."""
    hosts = tuple(role.host for role in config.roles.values())
    roles = {n: role.model_copy(update={"api_key_env": None}) for n, role in config.roles.items()}
    embedder = EmbedderConfig(model="lexical", k=config.embedder.k)
    return config.model_copy(update={**roles, "embedder": embedder, "send_to": hosts})


def _config(config: JobConfig) -> str:
    """Render the config as JSON; keys are named by their environment variables alone."""
    return json.dumps(config.resolved(), indent=1, ensure_ascii=False)


def _destinations(config: JobConfig, study: Study) -> list[str]:
    people = len(study.respondents)
    kind = "synthetic people" if study.respondents.synthetic else "respondents"
    lines = []
    for name, role in {**config.roles, "embedder": config.embedder}.items():
        if role.local:
            lines.append(f"{name}: {role.model}, on this machine")
            continue
        line = f"{name}: {role.model}, answers of {people:,} {kind} to {role.host}"
        if role.api_key_env:
            is_set = "" if os.environ.get(role.api_key_env) else ", which is not set"
            line += f", key from {role.api_key_env}{is_set}"
        if not study.respondents.synthetic and role.host not in config.send_to:
            line += f"; needs your consent: --send-to {role.host}"
        lines.append(line)
    return lines


def _sets(study: Study, demo_cases: int) -> list[str]:
    lines = []
    for role in ("train", "val", "dev", "test"):
        examples = study.examples(role)
        asked = len({example.case.question.id for example in examples})
        people = len({example.case.profile.key for example in examples})
        unread = ", not read by this job" if role == "test" else ""
        lines.append(
            f"{role}set: {len(examples):,} cases, {people:,} people, {asked:,} questions{unread}"
        )
    if demo_cases:
        lines.append(f"demos: from {demo_cases:,} cases of made-up people")
    return lines


def _teleprompter(teleprompter: Teleprompter, options: Any) -> list[str]:
    lines = [teleprompter.what]
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        shown = "not given" if value is None else json.dumps(value)
        lines.append(f"  {name} = {shown}  ({field.description})")
    return lines


def _limits(config: JobConfig, study: Study, plan: Plan) -> list[str]:
    """Say which limits hold, and which consent the job will ask for."""
    most = plan.all.calls[1]
    limits = {k: v for k, v in config.budget.model_dump().items() if v is not None}
    lines = [f"budget: at most {limit:,} {UNITS[name]}" for name, limit in limits.items()]
    if not limits:
        lines.append("budget: none")
    if plan.usd is None:
        lines.append(
            "a price is unknown: give usd_per_million_input and usd_per_million_output of the role"
        )
    if not study.offline and most > config.confirm_calls:
        lines.append(
            f"needs your consent: up to {most:,} calls are more than confirm_calls = "
            f"{config.confirm_calls:,}; pass --yes"
        )
    return lines
