"""What each teleprompter took and left, as a table and as the columns of a view in the UI."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evals.intervals import Interval
from valuesim_dspy.usage import Usage

HEADING = "mechanics, calls and time"
RANKS_NOTHING = "This table ranks nothing: it shows what each teleprompter takes and that it works."
MACHINERY = "Synthetic people and/or the embedded model answered; it says nothing about people."
LEVEL_HERE = "teleprompter"
"""The level of these runs, which are not among the arms that the UI and readers compare."""
COSTS = ("calls_compiling", "calls_paid_compiling", "tokens_compiling", "seconds_compiling")
"""The metrics of what compiling takes."""
VIEW = "teleprompters"
"""The key of the view in which the UI shows them."""
WIDTH = 118
NONE = "-"

COLUMNS = (
    "teleprompter",
    "calls needed",
    "calls paid",
    "tokens needed",
    "seconds",
    "demos",
    "instructions written",
    "same seed twice identical",
    "compiled - uncompiled [95 %]",
)
_LEGEND = (
    "calls and tokens are those of compiling, not of measuring; needed: different requests, as "
    "from an empty response cache; paid: those of them that were not answered for a row above "
    "already; seconds: of a second compilation of the same seed, from an empty cache; identical: "
    "both compilations tried the same candidates and leave the same saved state; compiled - "
    "uncompiled: points of top-1 accuracy on the devset, paired, by respondent, of the program "
    "that the teleprompter returns"
)
# The run's name is the teleprompter's, so that no column repeats it; narrow, so that the last one
# is seen without scrolling.
_SHOWN = {
    "metrics.`calls_compiling`": 110,
    "metrics.`calls_paid_compiling`": 145,
    "metrics.`tokens_compiling`": 125,
    "metrics.`seconds_compiling`": 135,
    "metrics.`demos`": 65,
    "tags.`instructions written`": 140,
    "tags.`same seed twice identical`": 170,
    "tags.`compiled - uncompiled`": 160,
}


def view_tag(run_id: str) -> tuple[str, str]:
    """Return the tag of the experiment by which the UI knows the view: of the latest job only.

    Args:
        run_id: The job's run.
    """
    level = f"tags.`valuesim.level` = '{LEVEL_HERE}'"
    state = {
        "searchFilter": f"{level} and tags.`mlflow.parentRunId` = '{run_id}'",
        "selectedColumns": list(_SHOWN),
        "columnOrder": list(_SHOWN),
        "columnWidths": _SHOWN,
        "orderByKey": "attributes.`Created`",
        "orderByAsc": True,
    }
    return f"mlflow.sharedViewState.{VIEW}", json.dumps(state)


@dataclass(frozen=True)
class Mechanics:
    """What one teleprompter took and left.

    Attributes:
        name: Its key in `TELEPROMPTERS`.
        options: The options that differ from its defaults.
        refusal: Why it cannot work in this job; "" where it did.
        needed: What a cold cache has to pay for one compilation.
        paid: What was paid for the first, after those of the rows above.
        seconds: Wall clock of the second compilation, its cache empty at first.
        demos: Demos over all predictors.
        has_written: Whether an instruction differs from the uncompiled program's.
        identical: Whether both compilations left the same state.
        gap: Accuracy on the devset, compiled minus uncompiled; None where it is not compared.
        notes: What the compilation said of itself.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    refusal: str = ""
    needed: Usage = field(default_factory=Usage)
    paid: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    demos: int = 0
    has_written: bool = False
    identical: bool = False
    gap: Interval | None = None
    notes: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Return the row's numbers by the names they have in MLflow."""
        took = (self.needed.calls, self.paid.calls, self.needed.tokens, round(self.seconds, 1))
        numbers = {
            **dict(zip(COSTS, map(float, took), strict=True)),
            "demos": float(self.demos),
            "instructions_written": float(self.has_written),
            "identical": float(self.identical),
        }
        if self.gap is not None:
            numbers |= {
                "minus_uncompiled": self.gap.estimate,
                "minus_uncompiled_low": self.gap.low,
                "minus_uncompiled_high": self.gap.high,
            }
        return numbers

    def tags(self) -> dict[str, str]:
        """Return what the UI shows in words."""
        return {
            "instructions written": _yes(self.has_written),
            "same seed twice identical": _yes(self.identical),
            "compiled - uncompiled": _difference(self.gap),
            "options": self.told_options,
        }

    @property
    def told_options(self) -> str:
        """The options in words, such as `k = 3`."""
        told = [f"{name} = {json.dumps(value)}" for name, value in self.options.items()]
        return ", ".join(told) or "its defaults"

    @property
    def told(self) -> list[str]:
        """What else must be known: why it was refused, or what it said of itself."""
        return [f"refused: {self.refusal}"] if self.refusal else list(self.notes)

    def cells(self) -> list[str]:
        """Return the row's cells, one for each of `COLUMNS`."""
        if self.refusal:
            return [self.name, *[NONE] * (len(COLUMNS) - 1)]
        return [
            self.name,
            f"{self.needed.calls:,}",
            f"{self.paid.calls:,}",
            f"{'~' if self.needed.estimated_calls else ''}{self.needed.tokens:,}",
            f"{self.seconds:,.1f}",
            f"{self.demos:,}",
            _yes(self.has_written),
            _yes(self.identical),
            _difference(self.gap),
        ]


def mechanics_table(rows: Sequence[Mechanics], *, about: Mapping[str, str], machinery: bool) -> str:
    """Return the rows side by side, what they mean, and the options they were run with.

    Args:
        rows: What each teleprompter took and left.
        about: Name to value of what the header says, as from `describe_study`.
        machinery: Whether the people are synthetic or the embedded model answered.
    """
    sentence = f"**{RANKS_NOTHING}{f' {MACHINERY}' if machinery else ''}**"
    lines = [
        f"`{row.name}` with {row.told_options}{''.join(f'; {note}' for note in row.told)}"
        for row in rows
    ]
    # The UI folds a long note away but for its first lines: what must be read comes first.
    blocks = [
        f"## {HEADING}",
        _wrap(sentence),
        _aligned([list(COLUMNS), *(row.cells() for row in rows)]),
        _wrap("; ".join(f"{name}: {text}" for name, text in about.items())),
        _wrap(f"{_LEGEND}."),
        _bullets(lines),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _difference(gap: Interval | None) -> str:
    if gap is None:
        return NONE
    # Adding 0.0 turns the -0.0 of a tiny negative share into 0.0.
    middle, low, high = (round(100 * end, 1) + 0.0 for end in (gap.estimate, gap.low, gap.high))
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Line up cells: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    lined = [
        [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        for row in (rows[0], rule, *rows[1:])
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lined)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(
        textwrap.fill(f"- {line}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        for line in lines
    )


def _wrap(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
