"""The pages in docs/ are promises too: every block in them is run here, in the page's order."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from labelled import write_ess
from test_readme import BLOCK, ROOT, environment

from optimize.search_plan import load_search
from valuesim_dspy.config import load_job
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.own import read_person

PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
RUN = ("bash", "python")
FILES = ("csv", "yaml", "toml")  # such a block is the file of its kind that was last named
SHOWN = ("text", "json", "console")  # such a block is what something looks like
COMPILE_CALLS = ROOT / "benchmarks" / "compile_calls.py"
TINY = (
    "--set variant=facts-only --set data.respondents=300 --set protocol.train=3 "
    "--set protocol.val=3 --set protocol.dev=4 --set protocol.test=4 --set protocol.targets=2"
)
# What a test cannot have, by page: what is said there, and what is run in its place.
DECLARED: Mapping[str, Mapping[str, str]] = {
    # The minutes that all teleprompters take: one of them, and a tiny job.
    "teleprompters.md": {
        "python benchmarks/compile_calls.py\n": f"python {COMPILE_CALLS} bootstrap\n",
        "teleprompters optimize/jobs/demo.toml": (
            f"teleprompters {ROOT}/optimize/jobs/demo.toml {TINY} --only bootstrap copro"
        ),
    },
    # Two people asked everything: one of them.
    "scale.md": {
        "python benchmarks/scale.py\n": f"python {ROOT}/benchmarks/scale.py --people 1\n",
    },
    # The minutes of the whole grid: three arms of it, on few people.
    "arms.md": {
        "optimize/jobs/ablation.toml": f"{ROOT}/optimize/jobs/ablation.toml vote rag-10 {TINY}",
    },
    # The minutes of twenty trials: two of them.
    "search.md": {
        "optimize/jobs/search.toml": f"{ROOT}/optimize/jobs/search.toml {TINY} "
        "--set search.trials=2 --set search.finalists=1",
    },
}
# What the reader of a page brings along.
BROUGHT: Mapping[str, Callable[[Path], object]] = {
    "your-own-survey.md": lambda folder: write_ess(folder / "panel.sav", 80),
}


def steps(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield language, file name ("" for none) and body of every block of a page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        language, body = block.groups()
        before = re.findall(rf"`([\w.-]+\.{language})`", text[: block.start()])
        yield language, before[-1] if language in FILES and before else "", body


def declared(page: str, script: str) -> str:
    """Return a block with the page's substitutions made."""
    for said, run in DECLARED.get(page, {}).items():
        script = script.replace(said, run)
    return script


def run(page: str, folder: Path, *command: str) -> None:
    """Run a block as a new user with this checkout on the path; show what it said on failure."""
    shims = folder / "bin"
    path = {"PATH": f"{shims}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment(folder, **path), capture_output=True, timeout=600
    )
    said = f"{done.stdout.decode()[-2000:]}\n{done.stderr.decode()[-2000:]}"
    assert done.returncode == 0, f"{page}: {command[-1]}\n{said}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `valuesim` and `python` on the path."""
    shims = tmp_path / "work" / "bin"
    shims.mkdir(parents=True)
    for name, module in (("valuesim", "-m valuesim_dspy "), ("python", "")):
        (shims / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module}"$@"\n')
        (shims / name).chmod(0o755)
    return shims.parent


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs(page: str, folder: Path) -> None:
    """Commands succeed, Python runs on from block to block, files are what they are said to be."""
    if page in BROUGHT:
        BROUGHT[page](folder)
    python = ""
    for language, file, body in steps(page):
        script = declared(page, body)
        if file:
            (folder / file).write_text(script, encoding="utf-8")
        if language == "bash":
            run(page, folder, "bash", "-euo", "pipefail", "-c", script)
        elif language == "python":
            python += script
            run(page, folder, sys.executable, "-c", python)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_known_kind(page: str) -> None:
    """A block that is not run says so by its language; a file has a name before it."""
    for language, file, body in steps(page):
        assert language in (*RUN, *FILES, *SHOWN), (page, language)
        assert language not in FILES or file, f"{page}: which file is this?\n{body[:80]}"


@pytest.mark.parametrize("page", PAGES)
def test_every_toml_block_is_a_job_or_a_person(page: str, tmp_path: Path) -> None:
    """Each key of it is known, each value fits."""
    for language, file, body in steps(page):
        if language == "toml":
            path = tmp_path / file
            path.write_text(declared(page, body), encoding="utf-8")
            try:
                load_search(path) if "[search]" in body else load_job(path)
            except ConfigError:
                read_person(path)


def test_every_declared_substitution_is_used() -> None:
    """A substitution that matches nothing would hide a block that is not run as written."""
    for page, substitutions in DECLARED.items():
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert [said for said in substitutions if said not in text] == []
    assert set(BROUGHT) <= set(PAGES)


def test_the_codebook_in_the_docs_is_about_ten_lines() -> None:
    """What a reader must write for a table of their own stays small."""
    (body,) = (body for language, _, body in steps("your-own-survey.md") if language == "yaml")
    assert len(body.splitlines()) <= 11
