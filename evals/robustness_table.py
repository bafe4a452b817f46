"""Robustness as tables and in words: one block an arm, aggregates only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.benchmark import Result
from evals.intervals import Interval
from evals.perturbing import PERTURBATIONS, REPEAT
from evals.shifts import LastOption, Shift

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
    before = found.before
    accuracy = before.accuracy
    score = f"{_points(accuracy.estimate)} {_ends(accuracy)}" if before.is_valid else "invalid"
    blocks = [
        f"### {found.label} ({before.knows})",
        f"As is: {len(before.frame):,} cases, accuracy % {score}, {_failed(before)} failed.",
        markdown(HEADS, [_row(each) for each in found.shifts]),
        LEGEND,
        markdown(
            ("options", "last shown: answers %", "truths %", "answers minus truths"),
            [
                (end.name, _points(end.answers), _points(end.truths), _gap(end.excess))
                for end in found.ends
            ],
        ),
    ]
    if found.effect is not None:
        blocks.append(
            f"An end option shown last is answered {_gap(found.effect)} points more often than "
            "shown first."
        )
    for each in found.shifts:
        blocks.append(f"- {each.name}: {PERTURBATIONS[each.name].what}.")
    blocks += [f"- {name}: not made; {reason}." for name, reason in found.skipped.items()]
    return "\n\n".join([*blocks[:4], *blocks[4:6], _listed(blocks[6:]), in_words(found)]) + "\n"


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(lines)


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
        f"put otherwise, {found.label} changes at most {_points(worst.flips.estimate)} % of its "
        f"answers ({worst.name}; {_ends(worst.flips)})"
    )
    if floor is None:
        return f"{said}."
    return f"{said}, and {_points(floor.flips.estimate)} % when it is merely asked again."


def _moved(found: Robustness) -> str:
    """Say which perturbations move accuracy."""
    moved = [
        f"{each.name} ({_points(each.accuracy.estimate, '+')} points)"
        for each in found.shifts
        if each.after.is_valid and _is_apart(each.accuracy)
    ]
    if not moved:
        return "No perturbation is shown to change its accuracy."
    return f"Its accuracy changes under {', '.join(moved)}."


def _pulled(found: Robustness) -> str:
    """Say whether the place of an option is favoured."""
    if found.effect is None or found.effect.estimate != found.effect.estimate:
        return ""
    if not _is_apart(found.effect):
        return "It is not shown to favour the option that stands last or the one that stands first."
    place = "last" if found.effect.estimate > 0 else "first"
    return (
        f"It favours the option that stands {place}: {_points(abs(found.effect.estimate))} points "
        "between the two places, whatever the option says."
    )


def _is_apart(found: Interval) -> bool:
    return found.low > 0 or found.high < 0


def _row(found: Shift) -> tuple[str, ...]:
    failed = f"{_share(found.before)} then {_failed(found.after)}"
    flips = f"{_points(found.flips.estimate)} {_ends(found.flips)}"
    above = _gap(found.above) if found.above is not None else NONE
    if not found.after.is_valid:
        return (found.name, f"{len(found.before):,}", flips, above, "invalid", "invalid", failed)
    nmae = found.nmae
    error = f"{nmae.estimate:+.3f} [{nmae.low:+.3f}, {nmae.high:+.3f}]" if nmae.n else NONE
    cases = f"{len(found.before):,}"
    return (found.name, cases, flips, above, _gap(found.accuracy), error, failed)


def _failed(result: Result) -> str:
    return _share(result.frame)


def _share(frame: object) -> str:
    return f"{_points(1 - float(frame['answered'].mean()))} %"  # type: ignore[index]


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is text, the others are numbers."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def _gap(found: Interval) -> str:
    if found.estimate != found.estimate:
        return NONE
    return f"{_points(found.estimate, '+')} {_ends(found, '+')}"


def _ends(found: Interval, sign: str = "") -> str:
    if found.low != found.low:
        return "[no interval]"
    return f"[{_points(found.low, sign)}, {_points(found.high, sign)}]"


def _points(share: float, sign: str = "") -> str:
    if share != share:
        return NONE
    # Adding 0.0 turns the -0.0 of a tiny negative share into 0.0.
    return format(round(share * 100, 1) + 0.0, f"{sign}.1f")
