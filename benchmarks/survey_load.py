"""How fast, and in how much memory, a survey of the official shape is read: ratios in one run.

Run by hand: `python benchmarks/survey_load.py`. A synthetic file of 97,220 rows and 613 columns is
made in a temporary folder. Every measurement runs in a process of its own, several times in turn;
the best counts. Beside each stands its floor: what the disk, the digest or Arrow's tokenizer alone
take for the same bytes, so that one can see how far it is from the limit of what is possible.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROWS, ROUNDS, PEOPLE, LOOKED_UP = 97_220, 5, 1000, 20
Result = dict[str, float]


def timed(work: Callable[[], object]) -> tuple[float, Any]:
    """Return the seconds that something took, and what it gave."""
    start = time.perf_counter()
    given = work()
    return time.perf_counter() - start, given


def needed() -> list[str]:
    """Return the columns that reading needs."""
    from valuesim_dspy.survey.codebook import load_codebook
    from valuesim_dspy.survey.csv_rows import ATTRIBUTES

    return [*(question.id for question in load_codebook()), *ATTRIBUTES]


def make(path: Path) -> Result:
    """Write the file."""
    from valuesim_dspy.survey.synthetic import write_synthetic

    seconds, _ = timed(lambda: write_synthetic(path, ROWS, seed=42, official_shape=True))
    return {"seconds": seconds}


def read_dicts(path: Path) -> Result:
    """Read it as the published code does."""
    import csv

    def read() -> int:
        with path.open(encoding="utf-8", newline="") as lines:
            return len(list(csv.DictReader(lines)))

    return {"seconds": timed(read)[0]}


def read_arrow(path: Path) -> Result:
    """Read the needed columns with pyarrow, as it comes."""
    from pyarrow import csv

    options = csv.ConvertOptions(include_columns=needed())
    return {"seconds": timed(lambda: csv.read_csv(path, convert_options=options))[0]}


def tokenize(path: Path) -> Result:
    """Let pyarrow split the whole file and convert one column of it."""
    from pyarrow import csv

    options = csv.ConvertOptions(include_columns=["Q1"])
    return {"seconds": timed(lambda: csv.read_csv(path, convert_options=options))[0]}


def read_bytes(path: Path) -> Result:
    """Read the bytes, and take their digest."""
    import hashlib

    seconds, content = timed(path.read_bytes)
    return {"seconds": seconds, "sha256": timed(lambda: hashlib.sha256(content).digest())[0]}


def read_first(path: Path) -> Result:
    """Read it with checks and digest, and write the cache."""
    import pyarrow  # noqa: F401 - the others have it, too, before their time is taken

    from valuesim_dspy.survey.cache_folder import cache_folder
    from valuesim_dspy.survey.codebook import load_codebook
    from valuesim_dspy.survey.respondents import read_respondents

    load_codebook()
    for kept in cache_folder().glob("*"):
        kept.unlink()
    seconds, people = timed(lambda: read_respondents(path))
    assert len(people) == ROWS and len(list(cache_folder().glob("*.parquet"))) == 1
    return {"seconds": seconds}


def read_cached(path: Path) -> Result:
    """Read it from the cache."""
    import pyarrow  # noqa: F401 - as above

    from valuesim_dspy.survey.codebook import load_codebook
    from valuesim_dspy.survey.respondents import read_respondents

    load_codebook()
    seconds, people = timed(lambda: read_respondents(path))
    assert len(people) == ROWS
    return {"seconds": seconds}


def read_table(path: Path) -> Result:
    """Let pyarrow read the cache's file, and one group of its rows."""
    from pyarrow import parquet

    from valuesim_dspy.survey.cache_folder import cache_folder

    (kept,) = cache_folder().glob("*.parquet")
    seconds, _ = timed(lambda: parquet.ParquetFile(kept).read())
    group, _ = timed(lambda: parquet.ParquetFile(kept).read_row_group(10))
    return {"seconds": seconds, "group": group}


def look_up(path: Path) -> Result:
    """Read one respondent by id from the cache, then facts of many."""
    from valuesim_dspy.survey.codebook import load_codebook
    from valuesim_dspy.survey.facts import make_facts
    from valuesim_dspy.survey.respondents import read_respondent, read_respondents

    codebook = load_codebook()
    people = read_respondents(path)
    ids = people.ids[:: len(people) // LOOKED_UP][:LOOKED_UP]
    times = sorted(timed(lambda id=id: read_respondent(path, id))[0] for id in ids)
    chosen = people.take(range(0, len(people), len(people) // PEOPLE))[:PEOPLE]

    def facts() -> int:
        return sum(len(make_facts(p.answers, codebook, country=p.country)) for p in chosen)

    seconds, count = timed(facts)
    return {"one": times[len(times) // 2], "facts": seconds, "sentences": count}


PARTS: Mapping[str, Callable[[Path], Result]] = {
    "first": read_first,
    "arrow": read_arrow,
    "dicts": read_dicts,
    "tokenizer": tokenize,
    "bytes": read_bytes,
    "cached": read_cached,
    "table": read_table,
    "lookup": look_up,
}


def run(part: str, path: Path) -> Result:
    """Run one part in a process of its own; return its best figures and its peak memory in MB."""
    command = [sys.executable, __file__, "--part", part, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: Result = json.loads(done.stdout)
    return result


def best(results: Sequence[Result]) -> Result:
    """Return the least of each figure."""
    return {key: min(result[key] for result in results) for key in results[0]}


def line(what: str, figure: float, limit: float, unit: str, floor: str) -> None:
    """Print one figure, its limit, whether it holds, and its floor."""
    verdict = "ok" if figure <= limit else "MISSED"
    print(f"{what:<46}{figure:>8.2f} {unit:<4} limit {limit:>7.2f}  {verdict:<7}{floor}")


def report(found: Mapping[str, Result]) -> None:
    """Print the figures that are asked for."""
    first, arrow, dicts, cached = (found[part] for part in ("first", "arrow", "dicts", "cached"))
    disk, sha = found["bytes"]["seconds"], found["bytes"]["sha256"]
    split, table = found["tokenizer"]["seconds"], found["table"]
    one, facts = found["lookup"]["one"], found["lookup"]["facts"]
    for part, result in found.items():
        figures = ", ".join(f"{key} {value:.3f}" for key, value in result.items() if key != "mb")
        print(f"  {part:<10} {result['mb']:>6.0f} MB at its peak; seconds: {figures}")
    floor = split + sha
    print(f"\nfloor of a first read: tokenizer and digest {floor:.2f} s (bytes alone {disk:.2f} s)")
    at = f"{first['seconds'] / floor:.1f} x its floor"
    line("first read / pyarrow's read", first["seconds"] / arrow["seconds"], 3.0, "x", at)
    line("first read / DictReader", first["seconds"] / dicts["seconds"], 1 / 6, "x", at)
    line("peak of the first read / DictReader's", first["mb"] / dicts["mb"], 1 / 8, "x", "")
    at = f"{cached['seconds'] / table['seconds']:.1f} x its floor: Arrow's read of the cache"
    line("cached read / first read", cached["seconds"] / first["seconds"], 0.25, "x", at)
    line("peak of the cached read", cached["mb"], 300.0, "MB", "")
    at = f"{one / table['group']:.1f} x its floor: Arrow's read of the group"
    line("one respondent by id", 1000 * one, 50.0, "ms", at)
    at = f"{1e6 * facts / found['lookup']['sentences']:.1f} microseconds a fact"
    line(f"facts for {PEOPLE} respondents", facts, 1.0, "s", at)


def main() -> None:
    """Measure everything, or one part in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=[*PARTS, "make"])
    parser.add_argument("file", nargs="?", type=Path)
    args = parser.parse_args()
    if args.part:
        result = {**PARTS, "make": make}[args.part](args.file)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(result | {"mb": peak / (1e6 if sys.platform == "darwin" else 1e3)}))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        path = Path(folder) / "official.csv"
        made, size = run("make", path), path.stat().st_size / 1e6
        print(f"{ROWS} rows, {size:.0f} MB, {os.cpu_count()} cores; best of {ROUNDS} rounds")
        print(f"  made in {made['seconds']:.1f} s with {made['mb']:.0f} MB at its peak")
        quick = [part for part in PARTS if part != "dicts"]
        rounds = [{part: run(part, path) for part in quick} for _ in range(ROUNDS)]
        found = {part: best([results[part] for results in rounds]) for part in quick}
        report({**found, "dicts": best([run("dicts", path) for _ in range(2)])})


if __name__ == "__main__":
    main()
