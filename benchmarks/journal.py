"""What keeping finished rows costs: SQLite's log against parquet parts with a manifest, in one run.

Run by hand: `python benchmarks/journal.py`. Each way keeps the same rows in a process of its own,
which then kills itself: what is left is opened, counted and read in another process. A group of n
is one commit, or one part, for n rows: what is not in a full group dies with its process, so only
a group of one keeps what `Journal.add` promises. The best of several rounds counts.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valuesim_dspy.journal import Journal
from valuesim_dspy.outcomes import Outcome, outcomes_frame

ROWS, ROUNDS, ARGUMENTS = 100_000, 3, {"model": "test"}


@dataclass(frozen=True)
class Way:
    """One way to keep rows.

    Args:
        kind: `sqlite` or `parquet`.
        group: Rows a commit or part.
        sync: Whether each commit waits for the disk, which a power cut needs.
        rows: Rows measured; fewer where the whole takes too long.
    """

    kind: str
    group: int = 1
    sync: bool = False
    rows: int = ROWS


WAYS = {
    "sqlite, NORMAL, each": Way("sqlite"),
    "sqlite, NORMAL, groups of 32": Way("sqlite", 32),
    "sqlite, FULL, each": Way("sqlite", 1, True, 2000),
    "sqlite, FULL, groups of 32": Way("sqlite", 32, True, 64_000),
    "parquet, each": Way("parquet", 1, False, 1000),
    "parquet, synced, each": Way("parquet", 1, True, 500),
    "parquet, groups of 32": Way("parquet", 32, False, 32_000),
    "parquet, groups of 1000": Way("parquet", 1000),
}


def outcome(number: int) -> Outcome:
    """Return a row as a run of the full program gives it."""
    views = {"career": number % 5, "family": number % 7, "community": 1}
    key = f"{number // 250 * 7919 % 16**12:012x}"
    return Outcome(
        key, f"Q{number % 250}", None, number % 5, "answered", "", "agreement", views,
        0.5 + number % 97 / 200, 4, 4, 2000 + number % 999, seconds=0.2 + number % 1009 / 997,
        country="JPN",
    )  # fmt: skip


def keep_sqlite(folder: Path, way: Way) -> None:
    """Keep the rows in a journal; all of it is in `Journal.add` but the size of a commit."""
    journal = Journal.open(folder / "journal", ARGUMENTS, way.rows)
    journal._db.execute(f"PRAGMA synchronous = {'FULL' if way.sync else 'NORMAL'}")
    for number in range(way.rows):
        if way.group > 1 and number % way.group == 0:
            journal._db.execute("BEGIN")
        journal.add(number, outcome(number))
        if way.group > 1 and number % way.group == way.group - 1:
            journal._db.execute("COMMIT")


def keep_parquet(folder: Path, way: Way) -> None:
    """Write each group into a file of its own, then name it in a manifest that is replaced."""
    parts: list[str] = []
    for start in range(0, way.rows - way.group + 1, way.group):
        frame = outcomes_frame([outcome(number) for number in range(start, start + way.group)])
        frame.insert(0, "number", range(start, start + way.group))
        part = f"{start}.parquet"
        frame.to_parquet(folder / part, index=False)
        parts.append(part)
        fresh = folder / "manifest.new"
        fresh.write_text(json.dumps({"arguments": ARGUMENTS, "parts": parts}))
        if way.sync:
            for file in (folder / part, fresh):
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        fresh.rename(folder / "manifest")


def write(folder: Path, way: Way) -> None:
    """Keep the rows, say how long it took, and die."""
    # What is imported on first use is not measured.
    outcomes_frame([outcome(0)]).to_parquet(folder.parent / "warm.parquet")
    start = time.perf_counter()
    (keep_sqlite if way.kind == "sqlite" else keep_parquet)(folder, way)
    print(json.dumps({"write": (time.perf_counter() - start) / way.rows * 1e6}), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def read(folder: Path, way: Way) -> None:
    """Open what a killed process left, and read all of it; say how long both took."""
    size = sum(file.stat().st_size for file in folder.iterdir())
    start = time.perf_counter()
    if way.kind == "sqlite":
        journal = Journal.open(folder / "journal", ARGUMENTS, way.rows)
        opened, kept = time.perf_counter() - start, journal.count
        read = sum(1 for _ in journal.outcomes())
    else:
        done = {n for table in _parts(folder, ["number"]) for n in table["number"].to_pylist()}
        opened, kept = time.perf_counter() - start, len(done)
        read = sum(len(table.to_pylist()) for table in _parts(folder, None))
    assert kept == read
    seconds = time.perf_counter() - start - opened
    times = {"open": opened / kept * 1e8, "read": seconds / kept * 1e8}
    print(json.dumps(times | {"bytes": size / kept}))


def _parts(folder: Path, columns: list[str] | None) -> Iterator[Any]:
    from pyarrow import parquet

    for part in json.loads((folder / "manifest").read_text())["parts"]:
        yield parquet.read_table(folder / part, columns=columns)


def measure(name: str) -> dict[str, float]:
    """Keep and read the rows in one way; return microseconds, bytes and milliseconds."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "kept"
        folder.mkdir()
        figures: dict[str, float] = {}
        for part in ("write", "read"):
            command = [sys.executable, __file__, part, name, str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=part == "read")
            figures |= json.loads(done.stdout)
        return figures


def report(found: dict[str, dict[str, float]]) -> None:
    """Print a line for each way, beside the one that the journal has."""
    first = found["sqlite, NORMAL, each"]
    print(
        f"{'':<30}{'us a row':>10}{'ratio':>8}{'bytes':>8}{'open':>8}{'ratio':>8}{'read':>8}"
        f"{'at risk':>9}"
    )
    for name, figures in found.items():
        ratios = [figures[key] / first[key] for key in ("write", "open")]
        print(
            f"{name:<30}{figures['write']:>10.1f}{ratios[0]:>8.1f}{figures['bytes']:>8.0f}"
            f"{figures['open']:>8.0f}{ratios[1]:>8.1f}{figures['read']:>8.0f}"
            f"{WAYS[name].group - 1:>9}"
        )
    print("open: ms until it is known which of 100,000 rows are done, after a kill; read: all;")
    print("at risk: rows that may die with their process")


def main() -> None:
    """Measure everything, or one part in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=["write", "read"])
    parser.add_argument("way", nargs="?", choices=list(WAYS))
    parser.add_argument("folder", nargs="?", type=Path)
    args = parser.parse_args()
    if args.part:
        (write if args.part == "write" else read)(args.folder, WAYS[args.way])
        return
    rounds = [{name: measure(name) for name in WAYS} for _ in range(ROUNDS)]
    keys = rounds[0][next(iter(WAYS))]
    report({name: {k: min(r[name][k] for r in rounds) for k in keys} for name in WAYS})


if __name__ == "__main__":
    main()
