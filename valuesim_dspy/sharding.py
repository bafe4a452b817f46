"""Parts of a run on several machines: who takes which respondents, and one output of all parts."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.journal import STATUSES, Journal, Shard
from valuesim_dspy.outcomes import Outcome

__all__ = [
    "Shard",
    "journal_path",
    "journals_beside",
    "merged",
    "open_all",
    "parse_shard",
    "status_lines",
]

LISTED = 8
"""Parts that a message names, before it counts the others."""
REASONS = 5
"""Reasons that are told."""


def parse_shard(text: str) -> Shard:
    """Return the part that `i/n` means: the i-th of n, counted from 1.

    Raises:
        ConfigError: It means none.
    """
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(
            f"{text[:40]!r} is no part of a run; give i/n with i from 1 to n, for example 3/16",
            key="shard",
        )
    return Shard(int(found[1]), int(found[2]))


def journal_path(out: Path, shard: Shard | None = None) -> Path:
    """Return the file of an output's journal, or of one part's."""
    part = f".{shard.index}-of-{shard.of}" if shard is not None else ""
    return out.parent / f"{out.name}{part}.journal"


def open_all(out: Path) -> list[Journal]:
    """Open all journals of an output, in the order of the parts, checked to be whole.

    Args:
        out: The output: its journals lie beside it.

    Returns:
        One journal, or one of each part; together they hold every row once.

    Raises:
        MissingDataError: There is none, or a part or rows of it are missing.
        ConfigError: They are parts of different runs, or as `Journal` raises.
    """
    opened: list[Journal] = []
    try:
        shards = _shards(out)
        for shard in shards:
            opened.append(Journal(journal_path(out, shard)))
        _check_same(opened, shards)
        _check_present(out, opened[0], shards)
        _check_finished(opened)
    except BaseException:
        for journal in opened:
            journal.close()
        raise
    return opened


def merged(journals: Sequence[Journal]) -> Iterator[tuple[int, Outcome]]:
    """Yield the rows of several journals in the order of their numbers, in flat memory."""
    return heapq.merge(*(journal.outcomes() for journal in journals), key=itemgetter(0))


def journals_beside(out: Path) -> list[Path]:
    """Return the journals of an output that there are: that of the whole run, and of parts."""
    whole = [journal_path(out)] if journal_path(out).exists() else []
    return [*whole, *(journal_path(out, part) for part in _parts(out))]


def status_lines(journals: Sequence[Journal]) -> list[str]:
    """Return how many rows are of which status, and why rows have no answer, most often first."""
    counts = {name: sum(j.counts().get(name, 0) for j in journals) for name in STATUSES}
    rows, expected = sum(counts.values()), sum(journal.expected for journal in journals)
    parts = [f"{name} {n:,} ({n / rows:.1%})" for name, n in counts.items() if n]
    reasons: Counter[tuple[str, str]] = Counter()
    for journal in journals:
        for status, why, n in journal.reasons():
            # An answer that is no option is one reason, whatever the question.
            told = why.partition(": ")[2] if status == "invalid" else why
            reasons[status, told or why] += n
    return [
        f"rows: {f'{rows:,} of {expected:,}: ' if rows < expected else ''}"
        f"{', '.join(parts) or 'none'}",
        *(f"  {n:,} {status}: {why}" for (status, why), n in reasons.most_common(REASONS)),
    ]


def left_line(journal: Journal) -> str:
    """Return how many rows are left, and how to go on."""
    rows = journal.expected - journal.count
    return (
        f"{rows:,} of {journal.expected:,} rows are left, the others are kept in {journal.path}; "
        "the same command goes on"
    )


def _parts(out: Path) -> list[Shard]:
    name = re.compile(re.escape(out.name) + r"\.([1-9][0-9]{0,5})-of-([1-9][0-9]{0,5})\.journal")
    folder = out.parent.iterdir() if out.parent.is_dir() else ()
    found = (match for path in folder if (match := name.fullmatch(path.name)))
    return sorted((Shard(int(match[1]), int(match[2])) for match in found), key=lambda s: s.index)


def check_beside(out: Path, shard: Shard | None) -> None:
    """Refuse to begin what could not be merged: journals of another division lie there.

    Args:
        out: The output.
        shard: The part that is to be run; None for all.

    Raises:
        ConfigError: A journal of the whole run beside parts, or parts of another division.
    """
    whole, counts = journal_path(out).exists(), {part.of for part in _parts(out)}
    if (whole and shard is not None) or counts - ({shard.of} if shard is not None else set()):
        told = "the whole run" if whole else f"parts of {_listed(sorted(counts))}"
        raise ConfigError(
            f"beside {out} lies a journal of {told}, which cannot be merged with this; "
            "give another name, or move it aside",
            key="--out",
        )


def _shards(out: Path) -> list[Shard | None]:
    """Return whose journals lie beside an output: those of its parts, or None for that of all."""
    parts = _parts(out)
    whole, counts = journal_path(out).exists(), sorted({shard.of for shard in parts})
    if whole and parts:
        raise ConfigError(
            f"beside {out} lie a journal of the whole run and journals of parts of it; "
            "move aside those that do not belong there"
        )
    if len(counts) > 1:
        raise ConfigError(
            f"beside {out} lie parts of different divisions, into {_listed(counts)}; "
            "move aside those that do not belong there"
        )
    if not whole and not parts:
        raise MissingDataError(f"there is no journal of {out}", "simulate with this --out first")
    return [None] if whole else [*parts]


def _check_same(journals: Sequence[Journal], shards: Sequence[Shard | None]) -> None:
    """Refuse journals of different runs, and files that were renamed to another part."""
    first = journals[0]
    for journal, shard in zip(journals, shards, strict=True):
        if journal.shard != shard:
            raise ConfigError(
                f"{journal.path} holds part {journal.shard or 'all'} of a run, not what its name "
                "says; rename it"
            )
        differ = journal.differences(first.arguments, first.total, first.width)
        if differ:
            raise ConfigError(
                f"{journal.path} and {first.path.name} are of different runs: {'; '.join(differ)}"
            )


def _check_present(out: Path, first: Journal, shards: Sequence[Shard | None]) -> None:
    """Refuse parts without a journal; one that has no respondents needs none."""
    of = first.shard.of if first.shard is not None else 0
    absent = [shard for i in range(1, of + 1) if (shard := Shard(i, of)) not in shards]
    missing = [shard.index for shard in absent if shard.size(first.total // first.width)]
    if missing:
        raise MissingDataError(
            f"{len(missing)} of {of} parts of {out} have no journal: {_listed(missing)}",
            f"run them with --shard i/{of}, or bring their journals here",
        )


def _check_finished(journals: Sequence[Journal]) -> None:
    lacking = [(j.expected - j.count, j) for j in journals if j.count < j.expected]
    if lacking:
        rows = sum(count for count, _ in lacking)
        parts = [f"{j.shard} ({n})" if j.shard else f"the run ({n})" for n, j in lacking]
        raise MissingDataError(
            f"{rows} of {journals[0].total} rows are not done: {_listed(parts)}",
            "run the same command again to finish them",
        )


def _listed(items: Sequence[object]) -> str:
    told = ", ".join(map(str, items[:LISTED]))
    return told if len(items) <= LISTED else f"{told} and {len(items) - LISTED} more"
