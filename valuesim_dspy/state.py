"""The state of a program as plain JSON: taken out of it, and put back where it fits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dspy

from valuesim_dspy.ensemble import Ensemble
from valuesim_dspy.errors import MissingDataError, ProgramStateError
from valuesim_dspy.finding import MANIFEST_FILE
from valuesim_dspy.hiding import digest_of
from valuesim_dspy.lm import MeteredLM
from valuesim_dspy.roles import LMRole, is_secret_name
from valuesim_dspy.trust import check_learned

PROGRAM_FILE = "program.json"
_STATE_KEYS = {"traces", "train", "demos", "signature", "lm"}
_FIELD_KEYS = {"prefix", "description"}
ADDRESSES = ("api_base", "base_url")
"""Settings of a language model that say where it is."""


def parts_of(program: Any) -> tuple[Any, ...]:
    """Return what is saved with a state of its own: an ensemble's members, else the program."""
    return program.members if isinstance(program, Ensemble) else (program,)


def state_of(program: dspy.Module) -> dict[str, Any]:
    """Return what `program.json` holds: a program's own state, or a list of members' states."""
    states = [_state_of(part) for part in parts_of(program)]
    return {"members": states} if isinstance(program, Ensemble) else states[0]


def _state_of(program: dspy.Module) -> dict[str, Any]:
    predictors = {name: _state(predictor) for name, predictor in program.named_predictors()}
    return {"predictors": predictors, "learned": getattr(program, "learned", {})}


def _state(predictor: Any) -> dict[str, Any]:
    """Return DSPy's state of a predictor without what may hold rows or an address."""
    return predictor.dump_state() | {"traces": [], "train": [], "lm": None}


def program_digest(program: dspy.Module) -> str:
    """Return 16 hex digits of what decides a program's answers.

    Its classes, variant, state and bindings, and of it and its modules the public attributes that
    are numbers, texts or tuples of these. Other attributes (lists, objects) may change as it runs.
    """
    modules = sorted(program.named_sub_modules(), key=lambda item: item[0])
    told = [[name, _kind(module), _settings(module)] for name, module in modules]
    kinds = [_kind(part) for part in parts_of(program)]
    bound = _plain_in(_bound_to(program))
    return digest_of([kinds, getattr(program, "variant", ""), told, bound, state_of(program)])


def model_arguments(role: LMRole) -> dict[str, Any]:
    """Return what decides a model's answers: its name and how it samples.

    Not its address: on a cluster a server comes back at another one, and nodes have their own. Nor
    its context: a larger one leaves answers as they are, but for replies that a small one cut
    short (backstories, several answers together).
    """
    return {
        "model": role.model,
        "temperature": role.temperature,
        "max_tokens": role.max_tokens,
        "enforce_choices": role.enforce_choices,
        "extra": digest_of(role.extra) if role.extra else "",
    }


def model_of(lm: Any) -> Mapping[str, Any]:
    """Return what decides the answers of a language model of any kind, without what is secret."""
    if isinstance(lm, MeteredLM):
        return model_arguments(lm.role)
    given = getattr(lm, "kwargs", {}).items()
    settings = {k: v for k, v in given if not is_secret_name(k) and k not in ADDRESSES}
    return {"model": str(getattr(lm, "model", "")), "settings": digest_of(settings)}


def own_arguments(program: dspy.Module) -> dict[str, str]:
    """Return what else decides answers where it was set: models of predictors, an adapter."""
    own = {name: each.lm for name, each in program.named_predictors() if each.lm is not None}
    told = [
        f"{name} {getattr(lm, 'model', '')} {digest_of(model_of(lm))}" for name, lm in own.items()
    ]
    models = ", ".join(told)
    adapter = dspy.settings.adapter
    return {
        **({"own_models": models} if models else {}),
        **({"adapter": _kind(adapter)} if adapter is not None else {}),
    }


def _kind(module: Any) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _settings(module: Any) -> dict[str, Any]:
    """Return a module's plain attributes; of a predictor its config: its `stage` is drawn."""
    own = module.config if isinstance(module, dspy.Predict) else vars(module)
    return {
        name: value
        for name, value in own.items()
        if not name.startswith("_") and name != "lm" and _is_plain(value)
    }


def _bound_to(program: Any) -> Any:
    try:
        return getattr(program, "bindings", {}) or getattr(program, "binding", {})
    except MissingDataError:
        return {}  # it is bound to nothing yet


def _plain_in(value: Any) -> Any:
    """Return nested tables with what is not plain as the name of its kind, never an address."""
    if isinstance(value, dict):
        return {str(key): _plain_in(inner) for key, inner in value.items()}
    return value if _is_plain(value) else _kind(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float)


def apply_state(program: dspy.Module, state: Any, folder: Path) -> None:
    """Put a saved state into a program, member by member into an ensemble.

    Raises:
        ProgramStateError: It is not that of such a program; the folder is named.
    """
    if not isinstance(program, Ensemble):
        _apply_one(program, state, folder)
        return
    if not isinstance(state, dict) or set(state) != {"members"}:
        raise ProgramStateError(
            f"{PROGRAM_FILE} of an ensemble must hold `members` and nothing else", path=folder
        )
    states = state["members"]
    if not isinstance(states, list) or len(states) != program.size:
        raise ProgramStateError(
            f"{PROGRAM_FILE} and {MANIFEST_FILE} tell of different numbers of members", path=folder
        )
    for member, own in zip(program.members, states, strict=True):
        _apply_one(member, own, folder)


def _apply_one(program: dspy.Module, state: Any, folder: Path) -> None:
    """Put saved demos and instructions into the predictors; nothing else is taken over."""
    if not isinstance(state, dict) or set(state) != {"predictors", "learned"}:
        raise ProgramStateError(
            f"{PROGRAM_FILE} must hold `predictors` and `learned` and nothing else", path=folder
        )
    predictors = dict(program.named_predictors())
    saved, learned = state["predictors"], state["learned"]
    if not isinstance(saved, dict) or set(saved) != set(predictors):
        raise ProgramStateError(
            f"{PROGRAM_FILE} and {MANIFEST_FILE} name different predictors", path=folder
        )
    for name, predictor in predictors.items():
        if not _is_state(saved[name], predictor.signature):
            raise ProgramStateError(f"predictor {name} holds what no program saves", path=folder)
        predictor.demos = saved[name]["demos"]
        predictor.signature = predictor.signature.load_state(saved[name]["signature"])
    if not isinstance(learned, dict):
        raise ProgramStateError("`learned` must be a table", path=folder)
    if learned:
        program.learned = check_learned(learned, path=folder / PROGRAM_FILE)


def _is_state(saved: object, signature: type[dspy.Signature]) -> bool:
    """Whether a predictor's entry is demos and texts that fit its signature, and no more."""
    if not isinstance(saved, dict) or not {"demos", "signature"} <= set(saved) <= _STATE_KEYS:
        return False
    texts, demos = saved["signature"], saved["demos"]
    if any(saved.get(key) for key in ("traces", "train", "lm")) or not isinstance(demos, list):
        return False
    if not isinstance(texts, dict) or set(texts) != {"instructions", "fields"}:
        return False
    fields, allowed = texts["fields"], {*signature.fields, "augmented"}
    return (
        isinstance(texts["instructions"], str)
        and isinstance(fields, list)
        and len(fields) == len(signature.fields)
        and all(_is_flat(field, str) and set(field) == _FIELD_KEYS for field in fields)
        and all(_is_flat(demo, str | int) and set(demo) <= allowed for demo in demos)
    )


def _is_flat(table: object, kind: Any) -> bool:
    return isinstance(table, dict) and all(isinstance(value, kind) for value in table.values())
