"""Run the notebooks anew and keep what they print: `python notebooks/execute.py [NAME.ipynb ...]`.

Each runs in an empty folder with a home of its own, so that nothing of this machine gets in. What
differs from run to run, and what only a browser needs, is left out of the file.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHOWN = ("text/plain", "image/png")
SECONDS = 300
NEUTRAL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_RUN = re.compile(r"\b[0-9a-f]{32}\b")
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$|^MLFLOW_TRACKING_|_PROXY$", re.I)


def execute(path: Path, folder: Path) -> None:
    """Run a notebook in an empty folder and write it back with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed; the file stays as it was.
    """
    import nbformat as formats
    from nbclient import NotebookClient

    nbformat: Any = formats  # its functions have no types
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=resources).execute()
    notebook.metadata = nbformat.from_dict(NEUTRAL)
    for number, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = nbformat.from_dict({}), f"cell-{number}"
        if cell.cell_type == "code":
            cell.outputs = _joined(kept for output in cell.outputs if (kept := _kept(output)))
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def _kept(output: Any) -> Any:
    """Return an output without what varies; None for progress and warnings."""
    if output.output_type == "stream":
        output.text = _RUN.sub("RUN", output.text)
        return output if output.name == "stdout" else None
    for kind in [kind for kind in output.data if kind not in SHOWN]:
        del output.data[kind]
    return output


def _joined(outputs: Iterable[Any]) -> list[Any]:
    """Join what was printed in several pieces, as a reader sees it."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def settle(home: Path) -> None:
    """Give this process, and so the kernels, a home of their own and no keys."""
    for name in [name for name in os.environ if _SECRET.search(name)]:
        del os.environ[name]
    names = ("HOME", "USERPROFILE", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    os.environ.update(dict.fromkeys(names, str(home)), PYTHONPATH=str(HERE.parent))


def main(names: list[str]) -> None:
    """Run those named, or all."""
    for path in [Path(name) for name in names] or sorted(HERE.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
            settle(Path(home))
            execute(path, Path(folder))
            print(f"{path.name}: {path.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
