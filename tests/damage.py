"""Damaged survey files, the same for the same number: what `test_fuzz_survey.py` reads.

Run as a script it reads many of them in one process, under limits, and prints what came of it.
"""

from __future__ import annotations

import faulthandler
import io
import json
import random
import resource
import struct
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SUFFIXES = (*("csv",) * 4, *("zip",) * 2, *("parquet",) * 2, "sav", "dta")
SECONDS = 60.0  # a read that takes longer hangs
MEMORY = 1024**3
QUESTIONS = tuple(f"Q{number}" for number in (1, 2, 3, 46, 57, 106, 164, 223, 260, 262, 275, 288))
CODES = {"Q106": 10, "Q164": 10, "Q288": 10, "Q275": 8, "Q262": 80, "Q46": 4, "Q223": 9}
ODD_CELLS = ("", "NA", "yes", "1.5", "1e400", "-", "99999999999999999999", "\u0663", "inf", "=1+1")
INTS = (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x80")


def columns(rng: random.Random, rows: int = 30) -> dict[str, list[Any]]:
    """A sound survey of a few questions."""
    found: dict[str, list[Any]] = {
        "D_INTERVIEW": [840070001 + row for row in range(rows)],
        "B_COUNTRY_ALPHA": [rng.choice(["USA", "JPN", "DEU"]) for _ in range(rows)],
        "A_YEAR": [2018] * rows,
        "W_WEIGHT": [round(rng.uniform(0.2, 3.0), 6) for _ in range(rows)],
        "N_TOWN": ["Town, of \u00e9lan"] * rows,
    }
    for question in QUESTIONS:
        most = CODES.get(question, 2)
        found[question] = [rng.choice([-5, -4, -2, -1, *range(1, most + 1)]) for _ in range(rows)]
    return found


def flipped(rng: random.Random, content: bytes) -> bytes:
    """Bytes cut short, changed, taken out or put in, here and there."""
    damaged, way = bytearray(content), rng.randrange(5)
    place = rng.randrange(len(damaged)) if damaged else 0
    if way == 0:
        return bytes(damaged[:place])
    if way == 1:
        for _ in range(rng.randint(1, 20)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    elif way == 2:
        damaged[place : place + rng.randint(1, 64)] = rng.randbytes(rng.randint(0, 64))
    elif way == 3:  # in the head, where sizes stand
        place = rng.randrange(min(len(damaged), 600))
        damaged[place : place + 4] = rng.choice(INTS)
    else:  # in the tail, where parquet and zip keep theirs
        place = len(damaged) - rng.randint(1, min(len(damaged), 600))
        damaged[place : place + 4] = rng.choice(INTS)
    return bytes(damaged)


def as_csv(rng: random.Random) -> bytes:
    """A CSV file with one thing wrong with it, or with none."""
    cells = columns(rng)
    names, rows = (
        list(cells),
        [[str(cell) for cell in row] for row in zip(*cells.values(), strict=True)],
    )
    rows = [[f'"{cell}"' if "," in cell else cell for cell in row] for row in rows]
    row, column, way = rng.choice(rows), rng.randrange(len(names)), rng.randrange(13)
    if way == 0:
        names[column] = rng.choice(names)  # doubled, or one lost
    elif way == 1:
        row[column] = rng.choice(ODD_CELLS)
    elif way == 2:
        for other in rows:  # numbers as text, text as numbers
            other[column] = rng.choice(['"{}"', "{}.0", " {}", "{}e0", "'{}'"]).format(
                other[column]
            )
    elif way == 3:
        row[column] = rng.choice(['"', '"open', 'a"b', '""', '"a\nb"', '"a""b'])
    elif way == 4:
        del row[column:]
    elif way == 5:
        row[column] += ",1" * rng.randint(1, 40)
    elif way == 6:
        row[column] = rng.choice("x\0,9") * rng.choice([200, 70_000, 5_000_000])
    elif way == 7:
        rng.shuffle(names)
    end, mark = rng.choice(["\n", "\r\n", "\r"]), rng.choice([*"," * 9, ";", "\t", "|"])
    text = end.join(mark.join(line) for line in [names, *rows])
    content = text.encode(rng.choice(["utf-8", "utf-8-sig", "latin-1", "cp1252"]), "replace")
    if way == 8:
        content = text.encode(rng.choice(["utf-16", "utf-32", "utf-16-le"]))
    if way == 9:
        place = rng.randrange(len(content))
        content = content[:place] + b"\0" * rng.randint(1, 2000) + content[place:]
    return flipped(rng, content) if way >= 11 else content


def as_zip(rng: random.Random) -> bytes:
    """A zip file that is damaged, that lies, that holds the wrong thing, or a sound one."""
    way = rng.randrange(9)
    members: dict[str, bytes] = {"WVS/survey.csv": as_csv(rng)}
    if way == 0:
        members[rng.choice(["../a.csv", "/etc/a.csv", "C:\\a.csv", "a/../../b.csv"])] = b"Q1\n1\n"
    elif way == 1:  # nested
        members = {rng.choice(["inner.zip", "inner.csv"]): packed(members, rng)}
    elif way == 2:  # a bomb
        members = {"survey.csv": b"Q1,Q2\n" + b"1,2\n" * rng.choice([10, 6_000_000])}
    elif way == 3:
        members = {f"{n}.csv": as_csv(rng) for n in range(rng.choice([0, 2, 3]))}
    content = bytearray(packed(members, rng))
    if way == 4:  # sizes and flags that lie, in both places where they stand
        for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            place = content.find(mark) + at - rng.choice([0, 4, 8, 16])
            content[place : place + 4] = struct.pack("<I", rng.choice([0, 5, 2**31 - 1, 2**32 - 1]))
    return flipped(rng, bytes(content)) if way >= 6 else bytes(content)


def packed(members: dict[str, bytes], rng: random.Random) -> bytes:
    """A zip file of these members."""
    buffer = io.BytesIO()
    small = max(map(len, members.values()), default=0) < 100_000
    method = rng.choice([zipfile.ZIP_DEFLATED, *((0, zipfile.ZIP_BZIP2) if small else ())])
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def mistyped(rng: random.Random, cells: dict[str, list[Any]]) -> dict[str, Any]:
    """The columns as arrays, one of them of a type that it should not have."""
    arrays: dict[str, Any] = {name: np.array(column) for name, column in cells.items()}
    name, n = rng.choice(list(cells)), len(cells["Q1"])
    odd = [
        lambda: np.array([rng.choice(ODD_CELLS) for _ in range(n)]),
        lambda: np.array([str(code) for code in range(n)]),
        lambda: np.array([rng.choice([1.0, np.nan, 2.5, np.inf, 1e300]) for _ in range(n)]),
        lambda: np.arange(n) * 10.0**9,
        lambda: arrays[name].astype(str).astype("U10"),
        lambda: np.arange(n) % 2 == 0,
    ]
    return {**arrays, name: rng.choice(odd)()} if rng.random() < 0.6 else arrays


def as_parquet(rng: random.Random) -> bytes:
    """A parquet file with odd types, or damaged, or a sound one."""
    import pyarrow as pa
    from pyarrow import parquet

    fields = {name: pa.array(column) for name, column in mistyped(rng, columns(rng)).items()}
    names, arrays, way = list(fields), list(fields.values()), rng.randrange(8)
    place, n = rng.randrange(len(names)), len(arrays[0])
    if way == 0:
        names[place] = rng.choice(names)
    elif way == 1:
        kinds = [pa.list_(pa.int8()), pa.struct([("Q1", pa.int8())]), pa.binary(), pa.null()]
        kinds += [pa.timestamp("us"), pa.decimal128(20, 2), pa.bool_(), pa.float16(), pa.date32()]
        arrays[place] = pa.nulls(n, rng.choice(kinds))
    elif way == 2:
        arrays[place] = arrays[place].cast(pa.string()).dictionary_encode()
    buffer = io.BytesIO()
    options = {"compression": rng.choice(["none", "snappy", "zstd"])}
    parquet.write_table(pa.table(arrays, names=names), buffer, row_group_size=7, **options)
    return flipped(rng, buffer.getvalue()) if way >= 4 else buffer.getvalue()


def labelled(folder: Path, suffix: str) -> Callable[[random.Random], bytes]:
    """Makes .sav or .dta files with odd types, or damaged, or sound ones."""
    import pandas as pd
    import pyreadstat

    rng, sound = random.Random(suffix), []
    for at in range(12):
        frame = pd.DataFrame(mistyped(rng, columns(rng)))
        labels = {question: {1: "yes", 2: "no", -1: "don't know"} for question in ("Q1", "Q2")}
        options: dict[str, Any] = {"variable_value_labels": labels if frame.Q1.dtype == int else {}}
        write: Any = pyreadstat.write_dta
        if suffix == "sav":
            write = pyreadstat.write_sav
            options |= [{}, {"row_compress": True}, {"compress": True}][at % 3]
        else:
            options |= {"version": [8, 10, 12, 13, 14, 15][at % 6]}
        path = folder / f"sound.{suffix}"
        try:
            write(frame.drop(columns="N_TOWN"), str(path), **options)
        except pyreadstat.ReadstatError:  # a number that the format cannot hold
            continue
        sound.append(path.read_bytes())

    def make(rng: random.Random) -> bytes:
        content = rng.choice(sound)
        for _ in range(rng.randrange(3)):
            content = flipped(rng, content)
        return content

    return make


def _own_peak() -> int:
    """Return the most kB of this process; what rusage tells holds that of who started it, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def main(cases: int, folder: Path) -> dict[str, Any]:
    """Read that many damaged files; return what came of them."""
    from valuesim_dspy.errors import MissingDataError, SurveyDataError
    from valuesim_dspy.survey import reading
    from valuesim_dspy.survey.labelled_rows import LabelledReader
    from valuesim_dspy.survey.respondents import read_respondents

    make = {"csv": as_csv, "zip": as_zip, "parquet": as_parquet}
    make |= {suffix: labelled(folder, suffix) for suffix in ("sav", "dta")}
    loaded: list[str] = []
    sys.addaudithook(
        lambda event, _: loaded.append(event) if event == "pickle.find_class" else None
    )
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    came: Counter[str] = Counter()
    wrong: list[str] = []
    with LabelledReader() as reader:
        same = dict.fromkeys((".sav", ".dta"), reader.read)  # one process for all, not one for each
        reading.READERS = {**reading.READERS, **same}
        for case in range(cases):
            suffix = SUFFIXES[case % len(SUFFIXES)]
            path = folder / f"damaged.{suffix}"
            path.write_bytes(make[suffix](random.Random(case)))
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            try:
                came[
                    f"{suffix} {'read' if len(read_respondents(path, cache=False)) else 'empty'}"
                ] += 1
            except (SurveyDataError, MissingDataError) as error:
                came[f"{suffix} refused"] += 1
                if len(str(error).splitlines()) != 1 or path.name not in str(error):
                    wrong.append(f"case {case}: {error!r}")
            except Exception as error:  # noqa: BLE001 - what must never happen
                wrong.append(f"case {case}: {type(error).__name__}: {str(error)[:200]}")
            faulthandler.cancel_dump_traceback_later()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak = max(_own_peak(), children) / 1e3
    return {"came": came, "wrong": wrong, "unpickled": loaded, "peak": peak}


if __name__ == "__main__":
    start = time.perf_counter()
    found = main(int(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps(found | {"seconds": time.perf_counter() - start}))
