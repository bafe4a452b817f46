"""Arms by name: what a job compares, made and bound for its study."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy

from evals.baselines import BASELINES, build_baseline
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.finding import find_program
from valuesim_dspy.loading import load_program, read_manifest
from valuesim_dspy.program import VARIANTS, ValueSim

if TYPE_CHECKING:
    from evals.study import Study
    from valuesim_dspy.manifest import Manifest

log = logging.getLogger(__name__)


def build_arm(study: Study, name: str) -> dspy.Module:
    """Return an arm by name: a variant, a baseline, or a saved program.

    Args:
        study: Supplies what baselines are bound to.
        name: A key of `VARIANTS` or `BASELINES`, a folder, a packaged name or
            `runs:/<id>/program`; a folder that bears a key's name is given as `./full`.

    Raises:
        ConfigError: It is none of these.
    """
    folder = find_arm(name, study.config.store)
    if name in VARIANTS:
        program = ValueSim(name, demo_facts=study.config.compile.demo_facts)
        return program.bind(peers=study.peers) if program.spec.peers else program
    if folder is None:
        return BASELINES[name].build(study)
    manifest = read_manifest(folder)
    if manifest.single.kind != ValueSim.kind:
        program = load_program(folder, build=build_baseline, codebook=study.codebook)
        return _as_bound(program.bind_to(study), manifest)
    program = load_program(folder, codebook=study.codebook)
    if VARIANTS[manifest.single.variant].peers:
        program.bind(peers=study.peers)
    return _as_bound(program, manifest)


def _as_bound(program: Any, manifest: Manifest) -> dspy.Module:
    """Return a loaded program; say so where other people stand behind it than when saved."""
    before = manifest.bindings.get("peers")
    if before and before != getattr(program, "bindings", {}).get("peers"):
        log.warning(
            "%s was saved with other similar people (%s) than this study's", manifest.kind, before
        )
    bound: dspy.Module = program
    return bound


def find_arm(name: str, store: Path | str | None = None) -> Path | None:
    """Return the folder of a saved program; None for a variant or a baseline.

    Args:
        name: As for `build_arm`.
        store: Where runs and registered models are looked up, as in a job's config.

    Raises:
        ConfigError: It is none of these.
        MissingDataError: The folder or the run holds no program.
    """
    if name in VARIANTS or name in BASELINES:
        return None
    try:
        return find_program(name, store)
    except MissingDataError:
        if name.startswith(("runs:/", "models:/")) or Path(name).exists():
            raise
    raise ConfigError(
        f"{name!r} is no variant, no baseline and no saved program",
        key="arm",
        allowed=[*VARIANTS, *BASELINES],
    )
