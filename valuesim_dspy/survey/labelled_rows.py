"""SPSS (.sav) and Stata (.dta) files, read in a guarded process: rows, and what variables are."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.survey.csv_rows import RawSurvey
from valuesim_dspy.survey.file_limits import MAX_ROWS, damaged

WORKER = "valuesim_dspy.survey.labelled_worker"
SECONDS, PER_MEGABYTE = 120.0, 1.0  # how long a read may take, and more for each MB of the file
_DTYPES = frozenset({"int16", "int32", "float64"})

Array = npt.NDArray[Any]


def read_labelled(path: Path, kinds: Mapping[str, str]) -> RawSurvey:
    """Read a .sav or .dta file.

    Args:
        path: The file.
        kinds: The columns wanted: "int16", "int32", "float64" or "text" by canonical name.

    Raises:
        MissingDataError: The library that reads such files is not installed.
        SurveyDataError: The file is damaged or too large, or a cell does not fit its column.
    """
    with LabelledReader() as reader:
        return reader.read(path, kinds)


class LabelledReader:
    """A process that reads such files, one after the other, and may die of a damaged one.

    Args:
        seconds: How long a small file may take.

    Raises:
        MissingDataError: The library that reads such files is not installed.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        if importlib.util.find_spec("pyreadstat") is None:
            how = "pip install 'valuesim-dspy[survey]', or export the file to CSV"
            raise MissingDataError("pyreadstat, which reads .sav and .dta, is not installed", how)
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LabelledReader:
        return self

    def __exit__(self, *raised: object) -> None:
        self._end()

    def read(self, path: Path, kinds: Mapping[str, str]) -> RawSurvey:
        """Read one file; see `read_labelled`."""
        survey: RawSurvey = self._asked(path, {"kinds": dict(kinds)}, _rows)
        return survey

    def tell(self, path: Path, request: Mapping[str, Any]) -> Any:
        """Return what is said of a file's variables; see `labelled_worker.serve`.

        Raises:
            SurveyDataError: The file is damaged.
        """
        return self._asked(path, request, lambda stream, answer: answer["told"])

    def _asked(
        self, path: Path, request: Mapping[str, Any], take: Callable[[Any, Mapping[str, Any]], Any]
    ) -> Any:
        if self._process is None:
            self._process = _start()
        request = {"path": str(path.resolve()), **request}
        limit = self._seconds + PER_MEGABYTE * path.stat().st_size / 1e6
        watch = threading.Timer(limit, self._process.kill)
        watch.start()
        try:
            answer = _ask(self._process, path, request)
            return take(self._process.stdout, answer)
        except (OSError, EOFError, ValueError, LookupError, TypeError):
            # The process has ended, or it no longer says what it should.
            self._end()
            raise damaged(path, path.suffix.lower()) from None
        finally:
            watch.cancel()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _start() -> subprocess.Popen[bytes]:
    known = [str(Path(folder or ".").resolve()) for folder in sys.path]
    # One thread: each would set aside memory that counts against the limit.
    single = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **single, "PYTHONPATH": os.pathsep.join(known)},
    )


def _ask(process: subprocess.Popen[bytes], path: Path, request: Mapping[str, Any]) -> Any:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise EOFError
    answer = json.loads(line)
    if "error" in answer:
        told = answer["error"]
        where = {key: told.get(key) for key in ("row", "column", "value")}
        raise SurveyDataError(told["message"], path=path, **where)
    return answer


def _rows(stream: Any, answer: Mapping[str, Any]) -> RawSurvey:
    columns = {about["name"]: _column(stream, about) for about in answer["columns"]}
    return RawSurvey(columns, "", int(answer["unknown"]))


def _column(stream: Any, about: Mapping[str, Any]) -> Array:
    if about["dtype"] not in _DTYPES or not 0 < about["count"] <= 2 * MAX_ROWS:
        raise ValueError
    dtype = np.dtype(about["dtype"])
    content = stream.read(about["count"] * dtype.itemsize)
    values: Array = np.frombuffer(content, dtype, about["count"])
    if not about["texts"]:
        return values
    return np.array(about["texts"], dtype=object)[values]
