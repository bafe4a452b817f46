"""The protocols by name: what a measurement takes over from the published experiment, or mends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KINDS = ("value", "attitude", "behaviour", "perception", "experience", "knowledge", "demographic")


@dataclass(frozen=True)
class Protocol:
    """One protocol.

    Args:
        name: The key in `PROTOCOLS`.
        what: One line for help and headers.
        sets: Keys of a job's config to their values, in place of the job's own.
    """

    name: str
    what: str
    sets: Mapping[str, Any]


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "fair",
            "values and attitudes, whole batteries unseen, everybody's sets apart",
            {},
        ),
        Protocol(
            "paper",
            "as published: its 100 people and five folds of single questions, all kinds; "
            "failures still count as wrong, and the parser is ours",
            {
                "protocol.folds": "paper",
                "protocol.split": "paper",
                "protocol.kinds": KINDS,
                "protocol.test": 100,
                "protocol.targets": "none",
                "protocol.dependence": "none",
            },
        ),
    )
}
"""Name of a protocol, as typed, to what it is."""


def protocol_overrides(
    protocol: str | None = None, folds: str | None = None, fold: int | None = None
) -> list[str]:
    """Return the overrides of a job's config, as `valuesim_dspy.config.load_job` takes them.

    Args:
        protocol: A key of `PROTOCOLS`; None for the job's own.
        folds: Which questions are unseen: question, battery, topic or paper.
        fold: Which of the five.
    """
    sets: dict[str, Any] = dict(PROTOCOLS[protocol].sets) if protocol else {}
    sets |= {"protocol.folds": folds} if folds else {}
    sets |= {"protocol.fold": fold} if fold else {}
    return [f"{key}={_toml(value)}" for key, value in sets.items()]


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return str(value)
