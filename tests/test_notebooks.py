"""The notebooks are promises too: they were run, run again here, and give nothing away."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_readme import BLOCK, ROOT, environment

from evals.__main__ import build_parser
from notebooks.execute import NEUTRAL, SHOWN, _joined, _kept
from valuesim_dspy.config import load_job

FOLDER = ROOT / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
LARGEST = 100_000  # bytes of a file, pictures included

# What no output and no text may hold: where, on which machine, by whom, how fast.
TELLING = {
    "an absolute path": r"(?<![\w.:/])/(?:home|root|tmp|Users|usr|var|opt|work|mnt)\b|\b[A-Z]:\\",
    "a file address": r"\bfile://|sqlite://",
    "a key": r"\bsk-\w{8,}|\b(?:Bearer|api_key=)\s*\S{8,}",
    "a run's id": r"\b[0-9a-f]{32}\b",
    "a time of day": r"\b\d{1,2}:\d{2}:\d{2}\b",
    "seconds": r"\b\d+(?:\.\d+)? ?(?:seconds?|sec|ms|s/it|it/s)\b",
    "an error": r"\bTraceback\b|\bWarning\b",
}
HOST = re.compile(r"\bhttps?://([\w.-]+)")
HOSTS = {"localhost"}  # in what a reader is told to write, nothing is fetched
# Stands in for the one name that the cells take from Jupyter.
WITHOUT_JUPYTER = """
import sys, types
whole, shown = types.ModuleType("IPython"), types.ModuleType("IPython.display")
whole.version_info = (9, 0)  # matplotlib asks
shown.Image = lambda path, width: open(path, "rb").read()[:4] == b"\\x89PNG" or 1 / 0
sys.modules.update({"IPython": whole, "IPython.display": shown})
"""


def cells(name: str, kind: str = "") -> list[dict[str, Any]]:
    """Return the cells of a notebook, of one kind or all."""
    read = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return [cell for cell in read["cells"] if kind in ("", cell["cell_type"])]


def source(cell: dict[str, Any]) -> str:
    """Return what a cell says."""
    return "".join(cell["source"])


def printed(cell: dict[str, Any]) -> str:
    """Return the text that a code cell's outputs hold."""
    texts = [output.get("text") or output["data"]["text/plain"] for output in cell["outputs"]]
    return "\n".join("".join(text) for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_cell_runs_in_order_without_jupyter(name: str, tmp_path: Path) -> None:
    """In a fresh process with a home, a store and a folder of its own; it writes only there."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    script = "\n\n".join([WITHOUT_JUPYTER, *map(source, cells(name, "code"))])
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment(folder, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert {path.name for path in folder.iterdir()} == {Path(name).stem}
    assert "embedded model" in done.stdout or "synthetic" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_was_run_from_top_to_bottom(name: str) -> None:
    """Counts are 1 to n; each cell but the one that sets up, and one that computes, has output."""
    code = cells(name, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert sum(bool(cell["outputs"]) for cell in code) >= len(code) - 2
    for output in (output for cell in code for output in cell["outputs"]):
        assert output["output_type"] != "error" and output.get("name", "stdout") == "stdout"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_tells_where_or_by_whom_it_was_run(name: str) -> None:
    """No path, host, key, time or warning; the kernel has a neutral name; no cell has metadata."""
    read = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    assert read["metadata"] == NEUTRAL
    for cell in cells(name):
        assert cell["metadata"] == {}
        text = source(cell) + (printed(cell) if cell["cell_type"] == "code" else "")
        assert set(HOST.findall(text)) <= HOSTS, source(cell)
        told = printed(cell) if cell["cell_type"] == "code" else source(cell)
        for what, pattern in TELLING.items():
            assert not re.search(pattern, told), f"{what}: {re.search(pattern, told)}"


@pytest.mark.parametrize("name", NAMES)
def test_wherever_a_number_stands_it_is_said_whose_it_is(name: str) -> None:
    """Synthetic people, and the embedded model where it answered, in the cell or in that before."""
    all_cells = cells(name)
    first = source(all_cells[0])
    assert "synthetic people" in first and "embedded model" in first and "nothing" in first.lower()
    for place, cell in enumerate(all_cells):
        if cell["cell_type"] == "markdown" or not cell["outputs"]:
            continue
        near = all_cells[max(0, place - 2) : place + 2]
        around = " ".join(source(one) for one in near if one["cell_type"] == "markdown")
        told = " ".join(f"{around} {printed(cell)}".lower().split())
        if re.search(r"\d", printed(cell)) or "image/png" in str(cell["outputs"]):
            assert "synthetic" in told, source(cell)
        if re.search(r"\[-?\d+\.\d, ", printed(cell)):  # an interval: somebody was measured
            assert "embedded model" in told, source(cell)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_small_and_are_text_or_a_picture(name: str) -> None:
    """At most two pictures; the file is quick to load and shows what changed in a diff."""
    assert (FOLDER / name).stat().st_size < LARGEST
    kept = [output for cell in cells(name, "code") for output in cell["outputs"]]
    data = [output["data"] for output in kept if "data" in output]
    assert all(set(held) <= set(SHOWN) for held in data)
    pictures = [base64.b64decode(held["image/png"]) for held in data if "image/png" in held]
    assert len(pictures) <= 2 and all(each.startswith(b"\x89PNG") for each in pictures)


@pytest.mark.parametrize("name", NAMES)
def test_lines_fit_a_screen(name: str) -> None:
    """Code and text; what is printed may be as wide as a table in a terminal."""
    for cell in cells(name):
        widest = max(source(cell).splitlines(), key=len)
        assert len(widest) <= 120, widest
        if cell["cell_type"] == "code":
            assert all(len(line) <= 140 for line in printed(cell).splitlines()), source(cell)


def test_the_two_are_there_and_named() -> None:
    """And the folder's page names each."""
    assert NAMES == ["first-study.ipynb", "paper-protocol.ipynb"]
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"({name})" not in page] == []


def test_what_the_protocol_page_says_of_neighbours_is_so() -> None:
    """Hidden neighbours cost points, beyond chance: the lower end of the difference is above 0."""
    (table,) = (text for cell in cells(NAMES[1], "code") if "neighbours" in (text := printed(cell)))
    shares = [float(re.findall(r"\d+\.\d", line)[0]) for line in table.splitlines()[1:3]]
    found = re.search(r"^difference +\+(\d+\.\d) \[\+(\d+\.\d), \+\d+\.\d\]", table, re.M)
    assert found, table
    assert float(found[2]) > 0 and abs(shares[0] - shares[1] - float(found[1])) < 0.11


def test_what_varies_is_not_kept() -> None:
    """Progress and warnings go, run ids are blanked, of several forms the plain one stays."""

    class Held(dict[str, Any]):
        __getattr__ = dict.__getitem__
        __setattr__ = dict.__setitem__

    def stream(name: str, text: str) -> Any:
        return _kept(Held(output_type="stream", name=name, text=text))

    assert stream("stderr", "10 %") is None
    assert stream("stdout", f"run {'a1' * 16} is there").text == "run RUN is there"
    table = Held(output_type="execute_result", data={"text/plain": "1", "text/html": "<b>1</b>"})
    assert _kept(table).data == {"text/plain": "1"}
    pieces = [stream("stdout", "a\n"), stream("stdout", "b\n"), table, stream("stdout", "c")]
    assert [each.get("text") for each in _joined(pieces)] == ["a\nb\n", None, "c"]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_reader_is_told_to_write_fits(name: str, tmp_path: Path) -> None:
    """Every TOML block is a part of a job, every command line one that the commands know."""
    blocks = [BLOCK.findall(source(cell)) for cell in cells(name, "markdown")]
    for language, body in (block for found in blocks for block in found):
        if language == "toml":
            (tmp_path / "job.toml").write_text(body, encoding="utf-8")
            assert load_job(tmp_path / "job.toml").task_lm.model != "offline/lexical-1"
        else:
            assert language == "text"
            lines = body.replace("\\\n", " ").splitlines()
            for line in lines:
                known = build_parser().parse_args(shlex.split(line.removeprefix("python -m evals")))
                assert known.run
            assert lines
