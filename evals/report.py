"""Results in words and tables: Markdown that lines up in a terminal, aggregates only."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from evals.intervals import Interval, paired_difference, same_cases
from evals.metrics import MIN_COVERAGE, skill
from valuesim_dspy.errors import ConfigError

if TYPE_CHECKING:
    import datetime

    from evals.benchmark import Result
    from evals.study import Study

MACHINERY = (
    "Synthetic people and/or the embedded model: this table shows that the machinery works and "
    "says nothing about people; it ranks nothing."
)
KNOWS = {
    "cold": "nothing fitted has seen these people or anybody's answers to these questions",
    "warm": "fitted on other people's answers to these questions",
}
COUNTRY_MODE = "country-mode"
EXPECTED_DISAGREEMENT = (0.05, 0.60)  # of the embedded model, whose lenses are built to differ
SEED = 0
WIDTH = 118
NONE = "-"


def comparison_table(
    results: Sequence[Result],
    *,
    reference: str | None,
    title: str,
    about: Mapping[str, str] | None = None,
    notes: Iterable[str] = (),
    offline: bool = False,
) -> str:
    """Return the results side by side, one table for each set and for cold and warm arms.

    Args:
        results: Of one study; those of one set are on the same cases.
        reference: The label or arm that differences are taken to; None for no differences. Warm
            tables, where a cold reference has no place, take the country mode instead.
        title: The heading.
        about: Name to value of what the header says, as from `describe_study`.
        notes: Sentences put under the tables, such as on a weak baseline; empty ones are left out.
        offline: Whether the embedded model answered.

    Raises:
        ConfigError: No results, no result of that reference, or other cases in one set.
    """
    _check(results, reference)
    evidence = sorted({result.evidence for result in results})
    header = {"evidence": ", ".join(evidence), **(about or {})}
    blocks = [f"## {title}", _wrap("; ".join(f"{name}: {text}" for name, text in header.items()))]
    if offline or "synthetic-machinery" in evidence:
        blocks.append(_wrap(f"**{MACHINERY}**"))
    legend: dict[str, str] = {}
    lines: list[str] = []
    for role in dict.fromkeys(result.role for result in results):
        peers = [result for result in results if result.role == role]
        lines += _warnings(peers, reference, offline)
        country = _find(peers, COUNTRY_MODE)
        for knows in KNOWS:
            group = [result for result in peers if result.knows == knows]
            if group:
                columns = _columns(group, _reference(group, reference, knows), country)
                legend |= {key: _LEGEND[key] for key in columns if key in _LEGEND}
                blocks += [_caption(group[0]), _markdown(list(columns.values()))]
    blocks.append(_wrap("; ".join(f"{name}: {text}" for name, text in legend.items())))
    bullets = dict.fromkeys(filter(None, [*lines, *notes]))
    blocks.append("\n".join(f"- {line}" for line in bullets))
    return "\n\n".join(filter(None, blocks)) + "\n"


def difference_sentence(result: Result, reference: Result, *, crossed: bool = False) -> str:
    """Return the difference in accuracy with its interval, as a sentence without a full stop.

    Args:
        result: What is compared.
        reference: What it is compared with, on the same cases.
        crossed: Draw questions as well as respondents, for claims about unasked questions.

    Raises:
        ConfigError: The two are not on the same cases.
    """
    names = [_name(result, reference), _name(reference, result)]
    for one, name in zip((result, reference), names, strict=True):
        if not one.is_valid:
            return f"{names[0]} and {names[1]} are not compared: {name} is {_invalid(one)}"
    gap = paired_difference(result.frame, reference.frame, seed=SEED, crossed=crossed)
    drawn = f"clustered by {gap.clusters} respondents"
    if crossed:
        drawn = f"crossed by {gap.clusters} respondents and {gap.items} questions"
    return (
        f"{names[0]} minus {names[1]}: {_points(gap.estimate, '+')} points of accuracy "
        f"{_ends(gap)}, {gap.level * 100:g} % interval, paired, {drawn}"
    )


def describe_study(study: Study, *, date: datetime.date) -> dict[str, str]:
    """Return what a table's header says of a study; no path, host or person."""
    fold, split, people = study.fold, study.split, study.respondents
    sizes = ", ".join(f"{role} {len(split.people(role))}" for role, _ in split.roles)
    return {
        "data": f"{people.stamp or 'survey'} {people.digest[:12]}, {len(people):,} respondents",
        "fold": f"{fold.strategy} {fold.index} of {fold.of}, seed {fold.seed}",
        "split": f"{split.kind}, {sizes}, seed {split.seed}",
        "leakage": study.leakage.phrase(),
        "task LM": study.task_lm.model,
        "embedder": study.retriever.embedder.name,
        "date": date.isoformat(),
    }


_LEGEND = {
    "accuracy": "top-1, failures count as wrong",
    "minus": "paired difference in points; intervals by respondent",
    "skill": "share of the way from the warm country mode to 1",
    "nMAE": "error in ranks over the scale's length, 0 is best (n: the ordinal cases it is over)",
    "fail+inv": "% of cases failed + invalid",
    "disagree": "% of cases whose perspectives differ",
    "fidelity": "share of facts the backstory keeps",
    "calls": "needed / paid; tokens (per case, ~ where estimated) and usd are of those needed",
    "sec": "wall clock, cache hits included",
}


def _columns(
    group: Sequence[Result], reference: Result | None, country: Result | None
) -> dict[str, tuple[str, list[str]]]:
    """Make head and cells of every column that says something in this table."""
    name = reference.label if reference else ""
    makers: dict[str, tuple[str, Callable[[Result], str]]] = {
        "arm": ("arm", lambda result: result.label),
        "accuracy": ("accuracy % [95 %]", _accuracy),
        "minus": (f"minus {name} [95 %]", lambda result: _difference(result, reference)),
        "skill": ("skill", lambda result: _skill(result, country)),
        "nMAE": ("nMAE (n)", _nmae),
        "fail+inv": ("fail+inv", lambda r: f"{_rate(r, 'failed_rate')}+{_rate(r, 'invalid_rate')}"),
        "disagree": ("disagree", lambda result: _rate(result, "disagreement")),
        "fidelity": ("fidelity", lambda r: _number(r.metrics["fidelity"], ".3f")),
        "calls": ("calls", _calls),
        "tokens": ("tokens", _tokens),
        "usd": ("usd", _usd),
        "sec": ("sec", lambda result: f"{result.seconds:,.0f}"),
    }
    cells = {key: (head, [make(r) for r in group]) for key, (head, make) in makers.items()}
    said = ("reference", NONE)  # a column with nothing else is left out
    return {key: pair for key, pair in cells.items() if not set(pair[1]) <= set(said)}


def _accuracy(result: Result) -> str:
    if not result.is_valid:
        return _invalid(result)
    return f"{_points(result.accuracy.estimate)} {_ends(result.accuracy)}"


def _difference(result: Result, reference: Result | None) -> str:
    if result is reference:
        return "reference"
    if reference is None or not (result.is_valid and reference.is_valid):
        return NONE
    gap = paired_difference(result.frame, reference.frame, seed=SEED)
    return f"{_points(gap.estimate, '+')} {_ends(gap)}"


def _skill(result: Result, country: Result | None) -> str:
    if country is None or not (result.is_valid and country.is_valid):
        return NONE
    return _number(skill(result.frame, country.frame), "+.2f")


def _nmae(result: Result) -> str:
    cases = result.metrics["nmae_cases"]
    if not (cases and result.is_valid):
        return NONE
    return f"{result.metrics['nmae']:.3f} ({cases:,.0f})"


def _calls(result: Result) -> str:
    return f"{result.needed.calls:,} / {result.paid.calls:,}" if result.needed.calls else NONE


def _tokens(result: Result) -> str:
    if not result.needed.calls:
        return NONE
    sign = "~" if result.needed.estimated_calls else ""
    return f"{sign}{result.needed.tokens / len(result.frame):,.0f}"


def _usd(result: Result) -> str:
    usd = result.needed.usd
    if not result.needed.calls:
        return NONE
    if usd is None:
        return "unknown"
    return "<0.01" if 0 < usd < 0.005 else f"{usd:,.2f}"


def _rate(result: Result, metric: str) -> str:
    return _number(result.metrics[metric] * 100, ".1f")


def _number(value: float, form: str) -> str:
    return NONE if value != value else format(value, form)


def _points(share: float, sign: str = "") -> str:
    # Adding 0.0 turns the -0.0 of a tiny negative share into 0.0.
    return format(round(share * 100, 1) + 0.0, f"{sign}.1f")


def _ends(found: Interval) -> str:
    if found.low != found.low:
        return "[no interval]"
    return f"[{_points(found.low)}, {_points(found.high)}]"


def _invalid(result: Result) -> str:
    # Never rounded up to the limit that it is below.
    coverage = min(round(result.metrics["coverage"], 2), MIN_COVERAGE - 0.01)
    return f"invalid: coverage {coverage:.2f}"


def _name(result: Result, other: Result) -> str:
    return result.label if result.knows == other.knows else f"{result.label} ({result.knows})"


def _check(results: Sequence[Result], reference: str | None) -> None:
    if not results:
        raise ConfigError("there are no results to compare")
    if reference is not None and _find(results, reference) is None:
        labels = dict.fromkeys(result.label for result in results)
        raise ConfigError("no result of this arm", key="reference", value=reference, allowed=labels)
    first: dict[str, Result] = {}
    for result in results:
        same_cases(first.setdefault(result.role, result).frame, result.frame)


def _find(results: Sequence[Result], name: str | None) -> Result | None:
    """Find by label first: "rag" is not "rag compiled", whose arm is "rag" too."""
    matches = [r for r in results if r.label == name] + [r for r in results if r.arm == name]
    return matches[0] if matches else None


def _reference(group: Sequence[Result], name: str | None, knows: str) -> Result | None:
    found = _find(group, name)
    return _find(group, COUNTRY_MODE) if name and found is None and knows == "warm" else found


def _caption(result: Result) -> str:
    frame = result.frame
    people, asked = frame["respondent"].nunique(), frame["question"].nunique()
    return _wrap(
        f"**{result.knows.capitalize()} arms, {result.role}set** ({people:,} people, {asked:,} "
        f"questions, {len(frame):,} cases): {KNOWS[result.knows]}."
    )


def _warnings(results: Sequence[Result], reference: str | None, offline: bool) -> list[str]:
    lines = []
    low, high = EXPECTED_DISAGREEMENT
    named = _find(results, reference)
    for result in results:
        name = f"{result.label} ({result.role}set)"
        rate = result.metrics["disagreement"]
        if offline and rate == rate and not low <= rate <= high:
            lines.append(
                f"Warning: the perspectives of {name} disagree in {rate:.1%} of cases; with the "
                f"embedded model {low:.0%} to {high:.0%} are expected."
            )
        if result is named and not result.is_valid:
            lines.append(f"Warning: {name} is {_invalid(result)}: nothing is compared with it.")
        if result.failed_calls:
            lines.append(f"{name}: {result.failed_calls:,} calls ended in an endpoint's error.")
        lines += [f"{name}: {note}" for note in result.notes]
    return lines


def _markdown(columns: Sequence[tuple[str, list[str]]]) -> str:
    """Line up columns of text: the first to the left, the others to the right."""
    texts = [[text.replace("|", "\\|") for text in (head, *cells)] for head, cells in columns]
    widths = [max(3, *map(len, column)) for column in texts]
    rule = [f"{'-' * (width - 1)}:" for width in widths]
    rule[0] = "-" * widths[0]
    rows = []
    for row in zip(*texts, strict=True):
        lined = [text.rjust(width) for text, width in zip(row, widths, strict=True)]
        rows.append([row[0].ljust(widths[0]), *lined[1:]])
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def _wrap(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
