"""Parts of a run on several machines: who takes which respondents, and one output of all parts."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.journal import Journal, Shard
from valuesim_dspy.outcomes import Outcome

__all__ = ["Shard", "journal_path", "merged", "open_all", "parse_shard"]

LISTED = 8
"""Parts that a message names, before it counts the others."""


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
    return out.with_name(f"{out.name}{part}.journal")


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
        for path in _paths(out):
            opened.append(Journal(path))
        _check_same(opened)
        _check_finished(opened)
    except BaseException:
        for journal in opened:
            journal.close()
        raise
    return opened


def merged(journals: Sequence[Journal]) -> Iterator[tuple[int, Outcome]]:
    """Yield the rows of several journals in the order of their numbers, in flat memory."""
    return heapq.merge(*(journal.outcomes() for journal in journals), key=itemgetter(0))


def _paths(out: Path) -> list[Path]:
    """Return the journals of an output; there is one, or one of each part."""
    name = re.compile(re.escape(out.name) + r"\.([0-9]{1,6})-of-([0-9]{1,6})\.journal")
    folder = out.parent.iterdir() if out.parent.is_dir() else ()
    found = (match for path in folder if (match := name.fullmatch(path.name)))
    parts = sorted((int(match[2]), int(match[1])) for match in found)
    whole, counts = journal_path(out), sorted({of for of, _ in parts})
    if whole.exists() and parts:
        raise ConfigError(
            f"beside {out} lie a journal of the whole run and journals of parts of it; "
            "move aside those that do not belong there"
        )
    if whole.exists():
        return [whole]
    if not parts:
        raise MissingDataError(f"there is no journal of {out}", "simulate with this --out first")
    if len(counts) > 1:
        raise ConfigError(
            f"beside {out} lie parts of different divisions, into {_listed(counts)}; "
            "move aside those that do not belong there"
        )
    of, present = counts[0], {index for _, index in parts}
    missing = [index for index in range(1, of + 1) if index not in present]
    if missing:
        raise MissingDataError(
            f"{len(missing)} of {of} parts of {out} have no journal: {_listed(missing)}",
            f"run them with --shard i/{of}, or bring their journals here",
        )
    return [journal_path(out, Shard(index, of)) for index in range(1, of + 1)]


def _check_same(journals: Sequence[Journal]) -> None:
    """Refuse journals of different runs, and files that were renamed to another part."""
    first, whole = journals[0], len(journals) == 1
    for index, journal in enumerate(journals, 1):
        named = None if whole and journal.shard is None else Shard(index, len(journals))
        if journal.shard != named:
            raise ConfigError(
                f"{journal.path} holds part {journal.shard or 'all'} of a run, not what its name "
                "says; rename it"
            )
        differ = journal.differences(first.arguments, first.total, first.width)
        if differ:
            raise ConfigError(
                f"{journal.path} and {first.path.name} are of different runs: {'; '.join(differ)}"
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
