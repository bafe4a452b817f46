"""The README is a promise: every block in it is run here, word for word but for `DECLARED`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import LoopbackServer

from valuesim_dspy.lexical.engine import LexicalEngine

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
SMALL = (
    "--set data.respondents=300 --set protocol.train=4 --set protocol.val=3 --set protocol.dev=4 "
    "--set protocol.test=4 --set protocol.targets=2 --set compile.options.candidates=1"
)
# What a test cannot have: the address of the repository, the suite inside the suite, a key, a
# survey file, and the minutes that five seeds take.
DECLARED = {
    "git clone <this repository> valuesim && cd valuesim": "true",
    "make test\n": "make -n test\n",
    "MODEL=openai/gpt-4o-mini": "MODEL=openai/gpt-4o-mini API_BASE=$LOOPBACK",
    "SURVEY=WVS_Cross-National_Wave_7_csv_v6_0.csv": f'SURVEY=survey.csv SET="{SMALL}"',
    "optimize/jobs/demo.toml --set protocol.dev=60": f"optimize/jobs/demo.toml {SMALL}",
    "optimize/jobs/demo.toml --seeds 1 2 3 4 5": f"optimize/jobs/demo.toml {SMALL} --seeds 1 2",
    '"full compiled" --split test': f'"full compiled" --split test {SMALL}',
    "optimize/jobs/demo.toml --dry-run": f"optimize/jobs/demo.toml {SMALL} --dry-run",
    "full rag country-mode --config optimize/jobs/demo.toml": (
        f"full rag country-mode --config optimize/jobs/demo.toml {SMALL}"
    ),
}


def blocks(page: str, *languages: str) -> list[str]:
    """Return the fenced blocks of a page in these languages, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [body for language, body in BLOCK.findall(text) if language in languages]


def declared(script: str) -> str:
    """Return a block with the declared substitutions made."""
    for said, run in DECLARED.items():
        script = script.replace(said, run)
    return script


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of what is tracked here, with this environment as its .venv."""
    if not Path(sys.prefix, "bin", "valuesim").exists():
        pytest.skip("run by make test-all, in the environment that the Makefile makes")
    folder = tmp_path_factory.mktemp("clone") / "valuesim"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    Path(sys.prefix, ".installed").touch()
    return folder


def environment(clone: Path, **more: str) -> dict[str, str]:
    """Return the environment of a new user: no store, no cache, nothing configured."""
    kept = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    return {**kept, "HOME": str(clone.parent), "XDG_CACHE_HOME": str(clone.parent / "c"), **more}


def run(script: str, clone: Path, **more: str) -> str:
    """Run a block in the clone; show what it said where it fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", declared(script)],
        cwd=clone,
        env=environment(clone, **more),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    """A server on loopback that the embedded model answers for."""
    with LoopbackServer(_answer) as running:
        yield running


def _answer(messages: list[dict[str, Any]]) -> str:
    from dspy.lm15 import request_from_openai_chat

    request = request_from_openai_chat({"model": "served", "messages": messages})
    return "".join(part.text for part in LexicalEngine().complete(request).message.parts)


def test_every_declared_substitution_is_used() -> None:
    """A substitution that matches nothing would hide a block that is not run as written."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [said for said in DECLARED if said not in page] == []


@pytest.mark.slow
def test_the_two_commands_of_a_newcomer(clone: Path) -> None:
    """`make demo` prints the table, with RAG and ValueSim, uncompiled and compiled."""
    (start,) = (block for block in blocks("README.md", "bash") if "make demo\n" in block)
    said = run(start, clone)
    for arm in ("rag", "rag compiled", "full", "full compiled"):
        assert re.search(rf"^\| {arm} +\|", said, re.M), arm
    assert "says nothing about people" in " ".join(said.split())
    assert "pytest" in said


@pytest.mark.slow
def test_a_model_and_a_survey_of_ones_own(clone: Path, server: LoopbackServer) -> None:
    """The same job runs on a served model and on a file, which is read in the official format."""
    made = f"{sys.executable} -m valuesim_dspy data synth --respondents 300 --out survey.csv"
    run(made, clone)
    (block,) = (block for block in blocks("README.md", "bash") if "MODEL=" in block)
    said = run(block, clone, LOOPBACK=server.url)
    assert re.search(r"^\| full compiled +\|", said, re.M) and server.requests


@pytest.mark.slow
def test_the_other_commands(clone: Path) -> None:
    """Every other command runs; a person's file is the README's own."""
    (toml,) = blocks("README.md", "toml")
    (clone / "me.toml").write_text(toml, encoding="utf-8")
    skipped = ("make demo", "make ui")
    for block in blocks("README.md", "bash"):
        if not any(word in block for word in skipped):
            assert run(block, clone)


@pytest.mark.slow
def test_the_python_blocks(clone: Path) -> None:
    """The Python blocks run in order in one process, as a reader would type them."""
    script = "\n".join(blocks("README.md", "python"))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=clone,
        env=environment(clone),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.match(r"[12] \w+ ", done.stdout)


@pytest.mark.slow
def test_the_ui_comes_up(clone: Path) -> None:
    """`make ui` answers on this machine, without a network, and ends with Ctrl-C."""
    (block,) = (block for block in blocks("README.md", "bash") if "make ui" in block)
    process = subprocess.Popen(
        ["bash", "-c", block],
        cwd=clone,
        env=environment(clone, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        address = next(
            found[0]
            for line in process.stdout
            if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
        )
        with urllib.request.urlopen(f"{address}/health", timeout=30) as answer:
            assert answer.status == 200
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)


def test_the_contributing_example_registers_a_teleprompter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The example of CONTRIBUTING adds a teleprompter with one builder and one line."""
    from optimize import teleprompters

    monkeypatch.setattr(teleprompters, "TELEPROMPTERS", dict(teleprompters.TELEPROMPTERS))
    (example,) = blocks("CONTRIBUTING.md", "python")
    exec(compile(example, "CONTRIBUTING.md", "exec"), {})
    assert teleprompters.TELEPROMPTERS["forgetful"].runs(None, 3, 3) == (0, 0)
