"""What the synthetic population must look like, checked: shares, batteries, constraints, gaps.

A population that passes behaves like a survey file where programs are run and tested. It says
nothing about people: the shares it is compared with are those that it was calibrated to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from valuesim_dspy.survey.codebook import Codebook
from valuesim_dspy.survey.dimensions import expand, read_population
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.survey.responses import published_shares

MAX_DIFFERENCE = 3.0
"""Points that a country's shares may differ by from the published ones, on average."""
MIN_PEOPLE = 1000
"""A country of fewer people misses its shares by chance: they are not judged."""
MIN_IN_ALL = 1000
"""With fewer people in all, correlations, variances and kinds of missing are not judged."""
CORRELATIONS = (0.2, 0.6)
"""Where the mean inter-item correlation of an attitude battery belongs."""
MIN_WITHIN = 0.9
"""The share of items on which people of one country must differ more than countries do."""
SOURCE = "the published country shares in population/wvs7_shares.yaml"

Floats = npt.NDArray[np.float64]
_OUTCOMES = {True: "ok", False: "FAILED", None: "not judged"}
_TURNED = "wvs7_questions"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        matter: What.
        found: What was found.
        wanted: What was wanted.
        passed: Whether it was found; None where too few people were looked at.
    """

    matter: str
    found: str
    wanted: str
    passed: bool | None

    @property
    def outcome(self) -> str:
        """The judgement in a word."""
        return _OUTCOMES[self.passed]


def validate_population(respondents: Respondents) -> tuple[Check, ...]:
    """Check a synthetic population.

    Args:
        respondents: Synthetic people with the questions of the packaged codebook.

    Returns:
        Every check, passed or not, in the order of the table.
    """
    return (
        *_share_checks(respondents),
        *_battery_checks(respondents),
        _variance_check(respondents),
        *_choice_checks(respondents),
        *_missing_checks(respondents),
    )


def validation_lines(checks: Sequence[Check]) -> list[str]:
    """Return the checks as a table, and a last line that counts the outcomes."""
    rows = [("check", "found", "wanted", "result")]
    rows += [(check.matter, check.found, check.wanted, check.outcome) for check in checks]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    counts = {word: sum(c.outcome == word for c in checks) for word in _OUTCOMES.values()}
    return [*lines, ", ".join(f"{count} {word}" for word, count in counts.items())]


def positions(respondents: Respondents, question: str) -> Floats:
    """Return where everyone's answer stands, 0 (least) to 1 (most); NaN where there is none."""
    item, codes = respondents.codebook[question], respondents.column(question)
    found = np.full(len(codes), np.nan)
    for code in item.order:
        found[codes == code] = item.position(code)
    return found


def _share_checks(respondents: Respondents) -> Iterator[Check]:
    alphas = np.array(respondents.alphas)
    for country, questions in sorted(published_shares().items()):
        here = alphas == country
        people = int(here.sum())
        if not people:
            continue
        gaps: list[tuple[float, str]] = []
        for question, shares in questions.items():
            codes = respondents.column(question)[here]
            answered = max(1, int((codes >= 0).sum()))
            gaps += [
                (100.0 * abs(float((codes == code).sum()) / answered - share), question)
                for code, share in shares.items()
            ]
        mean, (most, where) = float(np.mean([gap for gap, _ in gaps])), max(gaps)
        yield Check(
            f"published shares, {country}",
            f"{mean:.1f} points off on average, {most:.1f} at most ({where}); {people:,} people, "
            f"{len(questions)} questions",
            f"at most {MAX_DIFFERENCE:g} on average",
            mean <= MAX_DIFFERENCE if people >= MIN_PEOPLE else None,
        )


def attitude_batteries(codebook: Codebook) -> dict[str, tuple[str, ...]]:
    """Return batteries of values and attitudes, with their questions that have an order.

    Left out are batteries of one such question, and the list that up to five are picked from:
    picking one leaves less room for the others, so these correlate negatively by construction.
    """
    picked = set(expand(read_population(_TURNED)["picks"]["questions"]))
    found = {}
    for battery, names in codebook.batteries.items():
        graded = tuple(name for name in names if codebook[name].order)
        kinds = {codebook[name].kind for name in names}
        if len(graded) > 1 and kinds & {"value", "attitude"} and not picked & set(names):
            found[battery] = graded
    return found


def _battery_checks(respondents: Respondents) -> Iterator[Check]:
    """Each battery, its items turned to the more of what they share, by scale and by wording."""
    entries: Sequence[Mapping[str, Any]] = read_population(_TURNED)["graded"]
    turned = {name for entry in entries for name in expand(entry.get("reverse", ()))}
    alphas = np.array(respondents.alphas)
    countries = [alphas == country for country in sorted(set(alphas.tolist()))]
    (low, high), enough = CORRELATIONS, len(respondents) >= MIN_IN_ALL
    for battery, names in attitude_batteries(respondents.codebook).items():
        columns = [
            positions(respondents, name) * (-1.0 if name in turned else 1.0) for name in names
        ]
        whole = _mean_correlation(columns)
        inside = [_mean_correlation([c[here] for c in columns]) for here in countries]
        within = float(np.nanmean(inside)) if not np.isnan(inside).all() else float("nan")
        yield Check(
            f"battery {battery}",
            f"items correlate by {_told(whole)} on average, {_told(within)} within countries; "
            f"{len(names)} items",
            f"both {low:g} to {high:g}",
            low <= whole <= high and low <= within <= high if enough else None,
        )


def _mean_correlation(columns: Sequence[Floats]) -> float:
    """Mean correlation over pairs of columns, each over those who gave both; NaN where none."""
    found = []
    for one, other in combinations(columns, 2):
        both = ~np.isnan(one) & ~np.isnan(other)
        if both.sum() > 2 and np.ptp(one[both]) > 0 and np.ptp(other[both]) > 0:
            found.append(np.corrcoef(one[both], other[both])[0, 1])
    return float(np.mean(found)) if found else float("nan")


def _variance_check(respondents: Respondents) -> Check:
    """Whether people of one country differ more than countries do, on most items."""
    alphas = np.array(respondents.alphas)
    shares = []
    for question in respondents.codebook:
        if question.order and question.kind in ("value", "attitude"):
            places = positions(respondents, question.id)
            groups = [places[(alphas == name) & ~np.isnan(places)] for name in np.unique(alphas)]
            groups = [group for group in groups if len(group)]
            if not groups:
                continue
            within = float(np.mean([group.var() for group in groups]))
            between = float(np.var([group.mean() for group in groups]))
            if within + between > 0:
                shares.append(between / (within + between))
    more = sum(share < 0.5 for share in shares) / max(1, len(shares))
    middle = float(np.median(shares)) if shares else float("nan")
    return Check(
        "differences within and between countries",
        f"larger within on {more:.0%} of {len(shares)} items; {_told(middle)} of the variance is "
        "between on the median item",
        f"within on at least {MIN_WITHIN:.0%}",
        more >= MIN_WITHIN if len(respondents) >= MIN_IN_ALL else None,
    )


def _told(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.2f}"


def _choice_checks(respondents: Respondents) -> Iterator[Check]:
    """What is picked from lists: up to five, and a second choice after a first one."""
    spec = read_population(_TURNED)
    names, most = expand(spec["picks"]["questions"]), spec["picks"]["most"]
    picked = np.sum([respondents.column(name) == 1 for name in names], axis=0)
    yield Check(
        f"up to {most} of {names[0]} to {names[-1]}",
        f"{picked.max()} picked at most, {most} by {np.mean(picked == most):.0%} of people",
        f"at most {most}",
        bool(picked.max() <= most),
    )
    for first, choice in spec["choices"].items():
        if "second" in choice:
            one, two = respondents.column(first), respondents.column(choice["second"])
            same, lone = int(((one > 0) & (one == two)).sum()), int(((one < 0) & (two > 0)).sum())
            yield Check(
                f"first and second choice {first}, {choice['second']}",
                f"{same} chose the same twice, {lone} a second without a first",
                "nobody",
                same == lone == 0,
            )


def _missing_checks(respondents: Respondents) -> Iterator[Check]:
    """The kinds of missing answers: all there, and not asked means asked of nobody there."""
    report, codebook = respondents.report, respondents.codebook
    cells = report.answers + sum(report.missing.values())
    enough = len(respondents) >= MIN_IN_ALL
    for kind in dict.fromkeys([*codebook.missing.values(), *sorted(report.missing)]):
        count = report.missing.get(kind, 0)
        yield Check(
            f"missing: {kind}",
            f"{count:,} of {cells:,} answers ({count / cells:.2%})",
            "some",
            count > 0 if enough else None,
        )
    partly = sum(map(len, _asked_in_part(respondents).values()))
    yield Check(
        "not asked is of whole countries",
        f"{partly} times a question was asked of some in a country only",
        "never",
        partly == 0,
    )
    unknown = sum(sum(codes.values()) for codes in report.unknown_codes.values())
    yield Check("codes that the codebook lacks", f"{unknown}", "none", unknown == 0)


def _asked_in_part(respondents: Respondents) -> dict[str, list[str]]:
    """The countries where a question was not asked of some people only, by question."""
    missing = respondents.codebook.missing
    (not_asked,) = (code for code, kind in missing.items() if kind == "not-asked")
    alphas, found = np.array(respondents.alphas), {}
    for question in respondents.codebook:
        left = respondents.column(question.id) == not_asked
        partly = [c for c in np.unique(alphas[left]).tolist() if not left[alphas == c].all()]
        if partly:
            found[question.id] = partly
    return found
