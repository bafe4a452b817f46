"""Robustness as tables and in words: one block an arm, aggregates only."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evals.benchmark import Result
from evals.intervals import Interval
from evals.perturbing import PERTURBATIONS, REPEAT
from evals.report import WIDTH
from evals.shifts import LastOption, Shift

if TYPE_CHECKING:
    import pandas as pd

AS_IS = "as is"
NONE = "-"
HEADS = (
    *("perturbation", "cases", "flips % [95 %]", "minus repeat", "accuracy change"),
    *("nMAE change", "failed"),
)
LEGEND = (
    "flips: share of cases, answered both times, whose answer is another one; minus repeat: paired "
    "with asking the same again; accuracy in points, failures count as wrong; nMAE over ordinal "
    "cases, above 0 is worse; failed: cases without an answer, as is then perturbed; intervals by "
    "respondent."
)


@dataclass(frozen=True, eq=False)
class Robustness:
    """What was found of one arm.

    Attributes:
        label: What the arm is called.
        before: The arm on all cases as they are.
        shifts: One for each perturbation that was made.
        ends: How often the option shown last is answered, by order.
        effect: How much the last place is favoured over the first; None where not measured.
        skipped: Perturbation to the reason why it was not made.
    """

    label: str
    before: Result
    shifts: tuple[Shift, ...]
    ends: tuple[LastOption, ...]
    effect: Interval | None
    skipped: Mapping[str, str]


def arm_block(found: Robustness) -> str:
    """Return the tables of an arm and what they say in a sentence."""
    before, accuracy = found.before, found.before.accuracy
    score = f"{points(accuracy.estimate)} {ends_of(accuracy)}" if before.is_valid else "invalid"
    rows = [
        (end.name, points(end.answers), points(end.truths), gap(end.excess)) for end in found.ends
    ]
    blocks = [
        f"### {found.label} ({before.knows})",
        f"As is: {len(before.frame):,} cases, accuracy % {score}, {_share(before.frame)} failed.",
        markdown(HEADS, [_row(each) for each in found.shifts]),
        markdown(("options", "last shown: answers %", "truths %", "answers minus truths"), rows),
        _place(found.effect),
        "\n".join(f"- {name}: not made; {reason}." for name, reason in found.skipped.items()),
        wrapped(in_words(found)),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _place(effect: Interval | None) -> str:
    if effect is None:
        return ""
    return (
        "Share of answers that an end option gets when shown last, less its share when shown "
        f"first: {gap(effect)} points."
    )


def legend() -> str:
    """Return what the columns mean and what each perturbation does, for all arms."""
    does = [f"- {name}: {one.what}." for name, one in PERTURBATIONS.items()]
    return "\n\n".join([wrapped(LEGEND), "\n".join(does)]) + "\n"


def wrapped(text: str) -> str:
    """Return a paragraph in lines that fit a terminal."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def in_words(found: Robustness) -> str:
    """Return what was found of an arm, in plain sentences."""
    if not found.before.is_valid:
        return f"In words: {found.label} answered too few cases for anything to be said of it."
    told = [_most(found), _moved(found), _pulled(found)]
    return f"In words: {' '.join(filter(None, told))}"


def _most(found: Robustness) -> str:
    floor = next((each for each in found.shifts if each.name == REPEAT), None)
    others = [each for each in found.shifts if each.name != REPEAT and each.after.is_valid]
    if not others:
        return f"nothing was perturbed for {found.label}."
    worst = max(others, key=lambda each: each.flips.estimate)
    said = (
        f"put otherwise, {found.label} changes at most {points(worst.flips.estimate)} % of its "
        f"answers ({worst.name}; {ends_of(worst.flips)})"
    )
    if floor is None:
        return f"{said}."
    said = f"{said}, and {points(floor.flips.estimate)} % when it is merely asked again"
    if worst.above is None or not worst.above.low > 0:
        return f"{said}; that it changes more than on repetition is not shown."
    return f"{said}."


def _moved(found: Robustness) -> str:
    """Say which perturbations move accuracy."""
    moved = [
        f"{each.name} ({points(each.accuracy.estimate, '+')} points)"
        for each in found.shifts
        if each.after.is_valid and is_apart(each.accuracy)
    ]
    if not moved:
        return "No perturbation is shown to change its accuracy."
    return f"Its accuracy changes under {', '.join(moved)}."


def _pulled(found: Robustness) -> str:
    """Say whether the place of an option is favoured."""
    if found.effect is None or found.effect.estimate != found.effect.estimate:
        return ""
    if not is_apart(found.effect):
        return "It is not shown to favour the option that stands last or the one that stands first."
    place = "last" if found.effect.estimate > 0 else "first"
    return (
        f"It favours the option that stands {place}: {points(abs(found.effect.estimate))} points "
        "between the two places, whatever the option says."
    )


def is_apart(found: Interval) -> bool:
    """Return whether an interval leaves out 0."""
    return found.low > 0 or found.high < 0


def _row(found: Shift) -> tuple[str, ...]:
    failed = f"{_share(found.before)} then {_share(found.after.frame)}"
    flips = f"{points(found.flips.estimate)} {ends_of(found.flips)}"
    above = gap(found.above) if found.above is not None else NONE
    if not found.after.is_valid:
        return (found.name, f"{len(found.before):,}", flips, above, "invalid", "invalid", failed)
    nmae = found.nmae
    error = f"{nmae.estimate:+.3f} [{nmae.low:+.3f}, {nmae.high:+.3f}]" if nmae.n else NONE
    cases = f"{len(found.before):,}"
    return (found.name, cases, flips, above, gap(found.accuracy), error, failed)


def _share(frame: pd.DataFrame) -> str:
    return f"{points(1 - float(frame['answered'].mean()))} %"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is text, the others are numbers."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def gap(found: Interval) -> str:
    """Return a difference in points with its interval."""
    if found.estimate != found.estimate:
        return NONE
    return f"{points(found.estimate, '+')} {ends_of(found, '+')}"


def ends_of(found: Interval, sign: str = "") -> str:
    """Return the ends of an interval in points."""
    if found.low != found.low:
        return "[no interval]"
    return f"[{points(found.low, sign)}, {points(found.high, sign)}]"


def points(share: float, sign: str = "") -> str:
    """Return a share in points, or a dash where there is none."""
    if share != share:
        return NONE
    # Adding 0.0 turns the -0.0 of a tiny negative share into 0.0.
    return format(round(share * 100, 1) + 0.0, f"{sign}.1f")
