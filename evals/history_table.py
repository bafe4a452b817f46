"""What learning curves say: tables by way to grow, slopes, and one sentence for each rival."""

from __future__ import annotations

import datetime
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from evals.growing import GROWTHS, ORDERS
from evals.intervals import Interval
from evals.metrics import MIN_COVERAGE
from evals.report import KNOWS, MACHINERY, WIDTH, describe_study
from evals.slopes import Curve, area, slope, slope_difference

if TYPE_CHECKING:
    from evals.study import Study

ALL = "all orders"
COMPARED = ("rag", "single")
"""The arms whose slopes are taken from the variant's."""
SAID = {"rag": "RAG", "single": "all facts in one prompt"}
FEW_PEOPLE = 20
_LEGEND = (
    "slope: points of accuracy from the first point to the last, by the least-squares line through "
    "all points; intervals by respondent, 95 %, the line fitted again in each of 2,000 draws; per "
    "10: the same for ten answers; along the way: mean accuracy over the whole curve, by which "
    "orders are told apart, as they begin and end alike; minus: differences of slopes, paired"
)


def history_report(
    study: Study, curves: Sequence[Curve], role: str, notes: Iterable[str] = ()
) -> str:
    """Return the report of a learning curve as Markdown.

    Args:
        study: What was measured on.
        curves: Of all arms, orders and ways to grow, on the same cases.
        role: The set.
        notes: Sentences put under the tables; empty ones are left out.
    """
    about = describe_study(study, date=datetime.date.today())
    head = f"evidence: {study.evidence}; " + "; ".join(f"{k}: {v}" for k, v in about.items())
    variant = study.config.variant
    blocks = [f"## {study.config.name}: does it learn a person? {role}set", _wrap(head)]
    if study.offline or study.respondents.synthetic:
        blocks.append(_wrap(f"**{MACHINERY}**"))
    blocks.append(_bullets(sentences(curves, variant)))
    for growth, what in GROWTHS.items():
        blocks.append(f"### {what.capitalize()}")
        for knows in KNOWS:
            group = [c for c in curves if c.growth == growth and c.knows == knows]
            if group:
                blocks += [_caption(group[0]), accuracy_table(group), slope_table(group, variant)]
    blocks.append(_wrap(_LEGEND))
    orders = [f"Order {name}: {what}." for name, what in ORDERS.items()]
    blocks.append(_bullets([*orders, *_warnings(curves), *notes]))
    return "\n\n".join(blocks) + "\n"


def accuracy_table(curves: Sequence[Curve]) -> str:
    """Return accuracy in per cent at each point, one row for each arm and order."""
    heads = ["arm", "order", *(f"{known:.0f} known" for known in curves[0].known)]
    rows = [
        [curve.arm, curve.order, *(_interval(found) for found in curve.accuracies)]
        for curve in curves
    ]
    return _markdown([heads, *rows])


def slope_table(curves: Sequence[Curve], variant: str) -> str:
    """Return the slopes, one row for each arm and order and one for all orders of an arm.

    Args:
        curves: Of one way to grow and of arms that may be compared.
        variant: The arm whose differences to the others are shown.
    """
    arms = dict.fromkeys(curve.arm for curve in curves)
    rivals = [arm for arm in arms if arm in COMPARED and arm != variant and variant in arms]
    heads = ["arm", "order", "slope", "per 10", "along the way"]
    rows = [[*heads, *(f"{variant} minus it" for _ in rivals[:1])]]
    for arm in arms:
        own = [curve for curve in curves if curve.arm == arm]
        for order, part in [*((c.order, [c]) for c in own), (ALL, own)]:
            row = [arm, order, *_slope_cells(part)]
            if rivals:
                base = [
                    c for c in curves if c.arm == variant and c.order in {p.order for p in part}
                ]
                row.append(_gap(base, part) if arm in rivals else "-")
            rows.append(row)
    return _markdown(rows)


def sentences(curves: Sequence[Curve], variant: str) -> list[str]:
    """Return in words whether the variant learns, and whether faster than its rivals."""
    found = []
    for growth, what in GROWTHS.items():
        own = [c for c in curves if c.arm == variant and c.growth == growth]
        if own and all(c.is_valid for c in own):
            gain = slope(own)
            way = "gains" if gain.estimate >= 0 else "loses"
            lead = f"{variant} {way} {_size(gain)} from the first point to the last"
            end = "so it learns" if gain.low > 0 else "so that it learns is not shown"
            found.append(f"Where {what}, {lead} ({_ends(gain)}), {end}.")
    for rival, growth, gap in rival_slopes(curves, variant):
        way = "faster" if gap.estimate >= 0 else "more slowly"
        is_shown = gap.low > 0 or gap.high < 0
        end = f"so it learns {way}" if is_shown else "so no difference is shown"
        lead = f"the slope of {variant} minus that of {SAID[rival]} is"
        size = f"{'-' if gap.estimate < 0 else '+'}{_size(gap)}"
        found.append(f"Where {GROWTHS[growth]}, {lead} {size} ({_ends(gap)}), {end}.")
    return found or [f"Nothing is said of {variant}: it has no valid curve."]


def _size(found: Interval) -> str:
    return f"{_points(abs(found.estimate))} points of accuracy"


def _ends(found: Interval) -> str:
    ends = (
        f"{found.level * 100:g} % interval {_points(found.low, '+')} to {_points(found.high, '+')}"
    )
    return f"{ends} by {found.clusters} respondents, {ALL}"


def rival_slopes(curves: Sequence[Curve], variant: str) -> Iterator[tuple[str, str, Interval]]:
    """Yield rival, way to grow and the variant's slope minus the rival's, over all orders.

    Arms that are invalid are left out, and so is what knows of others what the variant does not.
    """
    for growth in GROWTHS:
        own = [c for c in curves if c.arm == variant and c.growth == growth]
        for rival in COMPARED:
            others = [c for c in curves if c.arm == rival and c.growth == growth]
            if rival != variant and own and others and _comparable(own, others):
                yield rival, growth, slope_difference(own, others)


def curve_data(curves: Sequence[Curve], variant: str) -> dict[str, Any]:
    """Return everything of the report as plain values: aggregates, no rows of people.

    Returns:
        `points`: for each arm, way to grow, order and point `share`, `known` (answers, a mean),
        `accuracy`, `low`, `high`, `cases`, `people`; `slopes`: for each curve, and for all orders
        of an arm, `slope`, `low`, `high`, `area`; `differences`: `rival`, `growth`, `difference`,
        `low`, `high`.
    """
    points = [
        _who(c) | {"share": share, "known": known} | _plain("accuracy", found, counts=True)
        for c in curves
        for share, known, found in zip(c.shares, c.known, c.accuracies, strict=True)
    ]
    slopes = []
    for arm, growth in dict.fromkeys((c.arm, c.growth) for c in curves):
        own = [c for c in curves if (c.arm, c.growth) == (arm, growth)]
        for order, part in [*((c.order, [c]) for c in own), (ALL, own)]:
            if all(c.is_valid for c in part):
                known = _who(part[0]) | {"order": order, "area": area(part).estimate}
                slopes.append(known | _plain("slope", slope(part)))
    gaps = [
        {"variant": variant, "rival": rival, "growth": growth} | _plain("difference", gap)
        for rival, growth, gap in rival_slopes(curves, variant)
    ]
    return {"points": points, "slopes": slopes, "differences": gaps}


def _who(curve: Curve) -> dict[str, Any]:
    return {"arm": curve.arm, "knows": curve.knows, "growth": curve.growth, "order": curve.order}


def _plain(name: str, found: Interval, *, counts: bool = False) -> dict[str, Any]:
    # JSON knows no NaN.
    ends = {name: found.estimate, "low": found.low, "high": found.high}
    values: dict[str, Any] = {key: None if end != end else end for key, end in ends.items()}
    return values | ({"cases": found.n, "people": found.clusters} if counts else {})


def _comparable(own: Sequence[Curve], others: Sequence[Curve]) -> bool:
    knows = {curve.knows for curve in (*own, *others)}
    return len(knows) == 1 and all(curve.is_valid for curve in (*own, *others))


def _slope_cells(part: Sequence[Curve]) -> list[str]:
    if not all(curve.is_valid for curve in part):
        return ["invalid", "-", "-"]
    found = slope(part)
    learned = part[0].known[-1] - part[0].known[0]
    ten = f"{1000 * found.estimate / learned:+.2f}" if learned > 0 else "-"
    return [_interval(found, "+"), ten, _interval(area(part))]


def _gap(base: Sequence[Curve], part: Sequence[Curve]) -> str:
    return _interval(slope_difference(base, part), "+") if _comparable(base, part) else "-"


def _warnings(curves: Sequence[Curve]) -> Iterator[str]:
    for curve in curves:
        if not curve.is_valid:
            yield (
                f"Warning: {curve.name} ({curve.growth}) is invalid: at one point coverage is "
                f"{curve.coverage:.2f}, below {MIN_COVERAGE}; it has no slope."
            )
    people = len(set(curves[0].people.tolist()))
    if people < FEW_PEOPLE:
        yield f"Warning: with {people} people the intervals are too narrow; take at least 20."


def _caption(curve: Curve) -> str:
    frame = curve.results[0].frame
    people, asked = frame["respondent"].nunique(), frame["question"].nunique()
    return _wrap(
        f"**{curve.knows.capitalize()} arms** ({people:,} people, {asked:,} questions, "
        f"{len(frame):,} cases a point): {KNOWS[curve.knows]}. Accuracy % [95 %] and slopes in "
        "points [95 %] by the number of answers known."
    )


def _interval(found: Interval, sign: str = "") -> str:
    if found.estimate != found.estimate:
        return "invalid"
    middle = _points(found.estimate, sign)
    if found.low != found.low:
        return f"{middle} [no interval]"
    return f"{middle} [{_points(found.low)}, {_points(found.high)}]"


def _points(share: float, sign: str = "") -> str:
    # Adding 0.0 turns the -0.0 of a tiny negative share into 0.0.
    return format(round(100 * share, 1) + 0.0, f"{sign}.1f")


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in dict.fromkeys(filter(None, lines)))


def _wrap(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """Line up rows of text, the first of which is the head; names to the left."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    names = 2
    rule = ["-" * w if at < names else f"{'-' * (w - 1)}:" for at, w in enumerate(widths)]
    lined = [
        [
            t.ljust(w) if at < names else t.rjust(w)
            for at, (t, w) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (lined[0], rule, *lined[1:]))
