"""An endpoint that embeds, without one: its config, and vectors that are counted."""

from __future__ import annotations

from valuesim_dspy.roles import EmbedderConfig

REMOTE = EmbedderConfig(model="openai/embed-1", api_base="http://127.0.0.1:9/v1")


class Fetch:
    """Count what would be paid for: a text's vector is its length and its number of spaces."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, batch: list[str]) -> list[list[float]]:
        """Return the vectors of a batch."""
        self.batches.append(batch)
        return [[float(len(text)), float(text.count(" ")), 0.1] for text in batch]
