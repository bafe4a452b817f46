"""Whatever a survey file holds, it ends in respondents or in one clear error."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import damage
import pytest

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.respondents import read_respondents

CASES = 5000
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of 5,000 damaged files, read in one process of at most 1 GB."""
    pytest.importorskip("pyreadstat")
    folder = tmp_path_factory.mktemp("damaged")
    # One thread of each pool, one arena: else what they set aside counts against the limit.
    single = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    env = {**os.environ, **single, "ARROW_DEFAULT_MEMORY_POOL": "system", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "damage.py"), str(CASES), str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_every_damaged_file_is_read_or_refused(came: dict[str, Any]) -> None:
    """No other error, no hang, no end of the process; every error is one line with the path."""
    assert came["wrong"] == []
    assert sum(came["came"].values()) == CASES


@pytest.mark.slow
def test_the_damage_is_neither_too_much_nor_too_little(came: dict[str, Any]) -> None:
    """Of every format some files are still read, and many are refused."""
    for suffix in set(damage.SUFFIXES):
        assert came["came"][f"{suffix} read"] >= CASES / 100
        assert came["came"][f"{suffix} refused"] >= CASES / 100


@pytest.mark.slow
def test_no_file_takes_a_gigabyte_and_none_is_unpickled(came: dict[str, Any]) -> None:
    """Memory stays far below the limit in both processes, and nothing loads a pickle."""
    assert 50 < came["peak"] < 1000
    assert came["unpickled"] == []


@pytest.mark.parametrize("make", [damage.as_csv, damage.as_zip, damage.as_parquet])
def test_the_damage_is_the_same_each_time(make: Any) -> None:
    """A case that fails can be looked at by its number."""
    assert make(random.Random(11)) == make(random.Random(11))
    assert len({make(random.Random(case)) for case in range(12)}) > 6


@pytest.mark.parametrize("suffix", ["csv", "zip", "parquet"])
def test_a_few_damaged_files(tmp_path: Path, suffix: str) -> None:
    """The quick part of the fuzz: some are read, some refused, and nothing else happens."""
    make = {"csv": damage.as_csv, "zip": damage.as_zip, "parquet": damage.as_parquet}[suffix]
    path, read = tmp_path / f"damaged.{suffix}", 0
    for case in range(40):
        path.write_bytes(make(random.Random(case)))
        try:
            read += len(read_respondents(path, cache=False)) > 0
        except SurveyDataError as error:
            assert path.name in str(error)
    assert 0 < read < 40
