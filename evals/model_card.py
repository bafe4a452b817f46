"""Model cards: what a promoted program is, what it was measured on, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.registry import Registry
from evals.report import MACHINERY
from evals.report_arms import Evidence
from evals.report_page import markdown_table
from evals.tracking import Tracker
from valuesim_dspy.errors import MissingDataError, ValueSimError
from valuesim_dspy.finding import opened_program
from valuesim_dspy.loading import read_manifest
from valuesim_dspy.manifest import Manifest, shown
from valuesim_dspy.variants import VARIANTS

INTENDED = (
    "Research on survey methods: how well an answer can be told from a person's other answers.",
    "Comparison with other programs and baselines on the same folds, with their intervals.",
    "Trying out a questionnaire before people are asked; what it suggests is then asked of people.",
)
NOT_FOR = (
    "Decisions about a person: credit, work, schooling, health, asylum, policing, or any other.",
    "In place of a poll: what people think is known by asking them.",
    "Targeting: choosing whom to address, or with what, by answers that nobody gave.",
    "Speaking for a person or a group that has not been asked.",
)
_PREFIX = "models:/"


def write_model_card(source: str | Path, out: Path, *, store: str | Path | None = None) -> Path:
    """Write the card of a saved program as Markdown, readable by its owner only.

    Args:
        source: A program's folder, `runs:/<id>/program` or `models:/...`.
        out: The file.
        store: Where runs and models are looked up.

    Returns:
        The file.

    Raises:
        MissingDataError: There is no such program.
        ValueSimError: The file cannot be written.
    """
    with opened_program(source, store) as folder:
        text = model_card(read_manifest(folder), str(source))
    try:
        out.touch(mode=0o600)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueSimError(f"the card cannot be written to {out} ({error.strerror})") from None
    return out


def promoted_cards(tracker: Tracker, evidence: Evidence) -> dict[str, tuple[str, str]]:
    """Return the cards of the promoted programs among the arms of a report.

    Args:
        tracker: Where the programs are.
        evidence: What was read of the runs.

    Returns:
        Name of the card's file to what it is of and its text: the champion, where its run is
        among the arms, and every registered program that a job was given.
    """
    runs = {run["run_id"] for s in evidence.settings for arm in s.arms for run in arm.runs}
    champion = Registry(tracker).champion()
    wanted: dict[str, str] = {}
    if champion is not None and champion.run_id in runs:
        wanted[champion.uri] = "The champion"
    for job in evidence.jobs:
        for name in str(job.tags.get("variant", "")).split(", "):
            if name.startswith(_PREFIX):
                wanted.setdefault(name, "A registered program")
    cards = {}
    for source, what in wanted.items():
        try:
            with opened_program(source, tracker.uri) as folder:
                manifest = read_manifest(folder)
        except MissingDataError:
            # It was deleted since; the numbers of its run stand all the same.
            continue
        name = source.removeprefix(_PREFIX).replace("/", "-").replace("@", "-")
        cards[name] = (f"{what}, {source}, has a model card", model_card(manifest, source))
    return cards


def model_card(manifest: Manifest, source: str) -> str:
    """Return a program's card as Markdown, from its manifest alone.

    Args:
        manifest: Of the program.
        source: Where the program is from, as it is told.
    """
    blocks = [
        f"# Model card: {_safe(manifest.variant)} ({_safe(source)})",
        _what(manifest),
        "## Data and evidence",
        markdown_table(("what", "value"), _facts(manifest), 2),
        _seen(manifest),
    ]
    if manifest.evidence == "synthetic-machinery" or _offline(manifest):
        blocks.append(f"**{MACHINERY}**")
    blocks += ["## Scores", _scores(manifest), "## Limits", _bullets(_limits(manifest))]
    blocks += ["## Intended use", _bullets(INTENDED), "## Not for", _bullets(NOT_FOR)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _what(manifest: Manifest) -> str:
    known = VARIANTS.get(manifest.variant)
    about = f": {known.what}" if known else ""
    members = f"; an ensemble of {manifest.members} members" if manifest.members else ""
    how = "not compiled"
    if manifest.teleprompter != "none":
        how = f"compiled by {_safe(manifest.teleprompter)}"
    demos = (
        f", demos of {len(manifest.demo_questions)} questions" if manifest.demo_questions else ""
    )
    return (
        f"A program of kind {_safe(manifest.kind)}, variant {_safe(manifest.variant)}{about}"
        f"{members}; {how}{demos}. It answers one survey question as one respondent, from that "
        "person's other answers."
    )


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    rows = [(role, name) for role, name in manifest.lms.items()]
    rows.append(("evidence", manifest.evidence))
    rows += [("data", _pairs(manifest.data)), ("codebook", _pairs(manifest.codebook))]
    rows += [("fold", _pairs(manifest.fold)), ("split", _pairs(manifest.split))]
    rows += [("bound to", _pairs(manifest.bindings)), ("seed", str(manifest.seed))]
    rows.append(("versions", _pairs(manifest.versions)))
    return [(name, shown(text)) for name, text in rows if text]


def _pairs(values: Mapping[str, Any]) -> str:
    parts = []
    for name, value in values.items():
        text = _pairs(value) if isinstance(value, Mapping) else str(value)
        is_digest = name == "digest" and len(text) > 12
        parts.append(f"{name} {text[:12] if is_digest else text}".strip())
    return ", ".join(parts)


def _seen(manifest: Manifest) -> str:
    lines = []
    if manifest.demos_hold_survey_data:
        lines.append("Its demos hold survey data: the program is not to be passed on.")
    if manifest.instructions_saw_survey_data:
        lines.append(
            "Its instructions were written by a model that had read survey data, and may hold "
            "some of it: the program is not to be passed on."
        )
    return " ".join(lines) or "Neither its demos nor its instructions hold survey data."


def _scores(manifest: Manifest) -> str:
    if not manifest.scores:
        return "It was saved without scores."
    rows = [(shown(name), f"{value:.4g}") for name, value in manifest.scores.items()]
    return (
        f"{markdown_table(('set and score', 'value'), rows, 1)}\n\nFrom the job that saved it: the "
        "devset selected it, so that its devset scores flatter it; no intervals are kept here, see "
        "the report."
    )


def _limits(manifest: Manifest) -> list[str]:
    models = _safe(", ".join(sorted(set(manifest.lms.values())))) or "one model"
    strategy = _safe(manifest.fold.get("strategy", "some"))
    return [
        f"Measured with {models} alone; with another model it is another program.",
        f"Measured on {strategy} folds; where more is hidden of a person it answers worse.",
        "One survey, one wave, people of the countries in it; nobody was asked twice.",
        "The model may have read the survey's published tables.",
        "Answers of such programs are less varied than people's, and groups more alike.",
    ]


def _safe(text: object) -> str:
    """Return what a file says as it may stand in a sentence; tables see to themselves."""
    return shown(text).replace("<", "&lt;")


def _offline(manifest: Manifest) -> bool:
    return any(name.startswith("offline/") for name in manifest.lms.values())


def _bullets(lines: tuple[str, ...] | list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
