"""What a job has paid, phase by phase, over all its processes: a line a paid call."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from evals.remote_embedder import RemoteEmbedder
from evals.study import Study
from valuesim_dspy.usage import Meter, Usage


@dataclass(frozen=True)
class Spent:
    """What a phase took.

    Args:
        needed: From a cold cache.
        paid: By all processes of the job.
    """

    needed: Usage
    paid: Usage


class Ledger:
    """The paid calls of a job in a file, each written as it is answered.

    MLflow hears of an arm when it is measured; what a process paid before it died is known from
    here alone. The file holds counts and no text of any call.

    Args:
        path: The file, for its owner only; made with the first paid call.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._earlier: dict[tuple[str, str], Usage] = {}
        kept = path.read_bytes() if path.exists() else b""
        if kept and not kept.endswith(b"\n"):
            # Else the next line would be lost with the one that was cut.
            self._append(b"\n")
        for line in kept.splitlines():
            try:
                phase, part, *counts = json.loads(line)
                usage = Usage(*counts)
            except (ValueError, TypeError):
                continue  # cut short by a process that died at it
            key = (phase, part)
            self._earlier[key] = self._earlier.get(key, Usage()) + usage

    def earlier(self, phase: str | None = None, part: str | None = None) -> Usage:
        """Return what earlier processes paid: for a part of a phase, for a phase, or in all."""
        found = (
            usage
            for (name, piece), usage in self._earlier.items()
            if phase in (None, name) and part in (None, piece)
        )
        return sum(found, Usage())

    def writer(self, phase: str, part: str) -> Callable[[Usage], None]:
        """Return what keeps a paid call of a part of a phase."""

        def write(usage: Usage) -> None:
            # In one write, a whole line, so that processes and deaths leave no mixed lines.
            self._append(json.dumps([phase, part, *vars(usage).values()]).encode() + b"\n")

        return write

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


class PhaseMeters:
    """The meters of a job's phases, under the job's budget, which holds over all its processes.

    Args:
        study: The open study.
        ledger: What was paid earlier, and where it is written on.
    """

    def __init__(self, study: Study, ledger: Ledger) -> None:
        self._study, self._ledger = study, ledger
        self._meters: dict[str, Meter] = {}
        self._parts: dict[tuple[str, str], Meter] = {}
        study.meter.earlier = ledger.earlier()
        embedder = study.retriever.embedder
        if isinstance(embedder, RemoteEmbedder):
            embedder.meter.on_paid = ledger.writer("embedding", "")

    def meter(self, phase: str, part: str = "") -> Meter:
        """Return the meter of a part of a phase."""
        if phase not in self._meters:
            self._meters[phase] = self._study.meter.child(phase)
        if (phase, part) not in self._parts:
            self._parts[phase, part] = self._meters[phase].child(
                part, on_paid=self._ledger.writer(phase, part)
            )
        return self._parts[phase, part]

    def study(self, phase: str, part: str) -> Study:
        """Return the study, its calls counted for a part of a phase."""
        view = replace(self._study, meter=self.meter(phase, part))
        # What the study has worked out already, such as an index of similar people, comes along.
        vars(view).update({k: v for k, v in vars(self._study).items() if k not in vars(view)})
        return view

    def paid_earlier(self, phase: str, part: str) -> Usage:
        """Return what other processes of this job paid for a part of a phase."""
        return self._ledger.earlier(phase, part)

    def spent(self) -> dict[str, Spent]:
        """Return what was needed and paid by phase, in the order in which phases began."""
        return {
            name: Spent(meter.needed, self._ledger.earlier(name) + meter.paid)
            for name, meter in self._meters.items()
        }

    def whole(self) -> Spent:
        """Return what the job took."""
        meter = self._study.meter
        return Spent(meter.needed, meter.earlier + meter.paid)
