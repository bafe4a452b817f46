"""Keys and interview numbers stay out of everything that is written, printed, logged or sent."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from jobs import BOOTSTRAP, job_file, lexical_server, living_in, survey_file

from evals.__main__ import main as evals_main
from optimize.__main__ import main as optimize_main
from valuesim_dspy.__main__ import main as valuesim_main
from valuesim_dspy.loading import load_program, read_manifest

# Of no shape that a key has: nothing but knowing it can keep it out.
KEY, WRONG_KEY = "quietheron", "loudheron"
ID = "zqperson"


@dataclass(frozen=True, eq=False)
class Traces:
    """What the commands left: their home, what they printed and logged, and what was sent."""

    home: Path
    statuses: dict[str, int]
    printed: str
    logged: str
    sent: str
    keys: set[str]

    @property
    def store(self) -> Path:
        """The store of runs."""
        return self.home / "mlruns"

    def files(self) -> Iterator[tuple[Path, bytes]]:
        """Yield every file with its bytes; databases as the text of their rows, too."""
        for path in sorted(self.home.rglob("*")):
            if path.is_file():
                yield path, path.read_bytes()
            if path.is_file() and path.suffix == ".db":
                with closing(sqlite3.connect(path)) as db:
                    yield path, "\n".join(db.iterdump()).encode()

    def holding(self, text: str) -> list[str]:
        """Return where a text stands, whatever its case."""
        wanted = text.lower()
        found = [
            str(path.relative_to(self.home))
            for path, content in self.files()
            if wanted.encode() in content.lower() or wanted in str(path).lower()
        ]
        streams = {"printed": self.printed, "logged": self.logged, "sent": self.sent}
        return found + [name for name, said in streams.items() if wanted in said.lower()]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traces]:
    """Every command, run in this process against a server that asks for the key."""
    home, survey = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("survey") / "s.csv"
    survey_file(survey, ids=ID)
    printed, logged, statuses = io.StringIO(), io.StringIO(), {}
    handler = logging.StreamHandler(logged)
    root = logging.getLogger()
    level = root.level
    with (
        pytest.MonkeyPatch.context() as patch,
        living_in(home),
        lexical_server(key=KEY) as server,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        patch.setenv("RIGHT_VAR", KEY)
        patch.setenv("WRONG_VAR", WRONG_KEY)
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        lm = {"model": "openai/test", "api_base": server.url, "api_key_env": "RIGHT_VAR"}
        job = job_file(
            survey.with_name("job.toml"),
            data={"survey": str(survey)},
            task_lm=lm,
            embedder={"model": "lexical"},
            compile=BOOTSTRAP,
        )
        who = ["--survey", str(survey), "--respondent", f"{ID}0003", "--question", "Q69", "--why"]
        asked = ["ask", *who, "--model", "openai/test", "--api-base", server.url]
        nobody = ["ask", *who[:3], f"{ID}9999", *who[4:]]
        try:
            statuses = {
                "check": valuesim_main(["data", "check", str(survey)]),
                "json": valuesim_main(["data", "check", "--json", str(survey)]),
                "describe": valuesim_main(["data", "describe", str(survey)]),
                "nobody": valuesim_main(nobody),
                "ask": valuesim_main([*asked, "--api-key-env", "RIGHT_VAR"]),
                "refused": valuesim_main([*asked, "--api-key-env", "WRONG_VAR"]),
                "keyless": valuesim_main(asked),
                "compile": optimize_main(["compile", str(job)]),
                "evals": evals_main(["run", "single", "--config", str(job)]),
                "stopped": optimize_main(
                    ["compile", str(job), "--set", "seed=9", "--set", "budget.calls=3"]
                ),
                "unkeyed": optimize_main(
                    ["compile", str(job), "--set", "task_lm.api_key_env=WRONG_VAR"]
                ),
            }
            sent = "\n".join(json.dumps(request) for request in server.requests)
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
    yield Traces(home, statuses, printed.getvalue(), logged.getvalue(), sent, set(server.keys))


@pytest.mark.slow
def test_the_commands_did_what_is_searched(traces: Traces) -> None:
    """The search finds what is there: else it would prove nothing."""
    done = dict.fromkeys(("check", "json", "describe", "ask", "compile", "evals"), 0)
    failed = dict.fromkeys(("nobody", "refused", "keyless", "unkeyed"), 2)
    assert traces.statuses == done | failed | {"stopped": 3}
    assert traces.keys == {KEY, WRONG_KEY, "none"}
    found = traces.holding("openai/test")
    assert "mlruns/mlflow.db" in found and any(name.endswith("config.json") for name in found)
    assert any(name.endswith("responses.db") for name in traces.holding("You live in"))
    assert any(name.endswith(".log") for name in map(str, traces.store.rglob("*.log")))
    assert "sent" in traces.holding("You live in")
    assert "printed" in traces.holding("refused the key")
    assert "RIGHT_VAR" in "".join(path.read_text() for path in traces.store.rglob("config.json"))


@pytest.mark.slow
@pytest.mark.parametrize("key", [KEY, WRONG_KEY])
def test_a_key_is_nowhere(traces: Traces, key: str) -> None:
    """Not in a run, a program, a log, the cache or the output, though the server repeats it."""
    assert traces.holding(key) == []


@pytest.mark.slow
def test_an_interview_number_is_nowhere(traces: Traces) -> None:
    """Not in predictions, programs, logs of teleprompters, the cache, the output or a prompt.

    But for the private copy of the survey file itself, by whose numbers respondents are found.
    """
    copies = [path for path, _ in traces.files() if path.suffix == ".parquet"]
    for path in copies:
        assert path.parent.name == "surveys" and path.stat().st_mode & 0o077 == 0
    found = set(traces.holding(ID)) - {str(path.relative_to(traces.home)) for path in copies}
    assert found == set()


@pytest.mark.slow
def test_a_program_of_real_answers_says_so(traces: Traces) -> None:
    """Its demos come from people: manifests and runs are marked."""
    folders = [path.parent for path in (traces.store / "programs").rglob("manifest.json")]
    # Of the finished job two arms, and what the stopped one had of each.
    assert len(folders) == 4
    for folder in folders:
        manifest = read_manifest(folder)
        assert manifest.evidence == "survey" and not manifest.instructions_saw_survey_data
        has_demos = '"question"' in (folder / "program.json").read_text()
        assert manifest.demos_hold_survey_data is has_demos
    assert any(read_manifest(folder).demos_hold_survey_data for folder in folders)
    full = next(folder for folder in folders if folder.name == "full")
    assert load_program(full).manifest.lms == {"task_lm": "openai/test"}


@pytest.mark.slow
def test_what_is_left_is_for_its_owner_only(traces: Traces) -> None:
    """Each file is private, or a folder on the way to it is."""
    for path, _ in traces.files():
        inside = [path, *(p for p in path.parents if traces.home in p.parents)]
        assert any(p.stat().st_mode & 0o077 == 0 for p in inside), path


@pytest.mark.slow
def test_dspy_keeps_nothing_of_its_own(traces: Traces) -> None:
    """Neither its cache of pickles nor its history."""
    names = {path.name for path, _ in traces.files()}
    assert not [name for name in names if name.endswith((".pkl", ".pickle"))]
    assert not list(traces.home.rglob(".dspy_cache*"))
