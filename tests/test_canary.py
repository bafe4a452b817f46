"""Keys and interview numbers stay out of everything that is written, printed, logged or sent."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from csv import DictReader, DictWriter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import pyarrow.parquet as pq
import pytest
from jobs import BOOTSTRAP, job_file, lexical_server, living_in, survey_file
from labelled import write_ess
from loopback import LoopbackServer, Messages, Reply
from searching import search_file

from evals.__main__ import main as evals_main
from optimize.__main__ import main as optimize_main
from valuesim_dspy.__main__ import main as valuesim_main
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.lm import make_lm
from valuesim_dspy.loading import load_program, read_manifest
from valuesim_dspy.roles import LMRole

# Of no shape that a key has, and written otherwise in an address: only knowing it keeps it out.
KEY, WRONG_KEY = "quiet+heron/wades", "loud+heron/wades"
ID = "zqperson"
PERSON = f"{ID}0003"
FEW = ("--people", "2", "--targets", "2")
DONE = (
    *("check", "json", "describe", "question", "folds", "export", "codebook", "ask", "compile"),
    *("evals", "ablate", "history", "robustness", "contamination", "compare", "report"),
    *("search", "seeds", "teleprompters", "promote", "show"),
    *("interview", "auto", "kept", "simulate", "first", "second", "merge"),
)
REFUSED = ("nobody", "refused", "keyless", "unkeyed", "dead")


def disguises(secret: str) -> set[str]:
    """Return a secret as it is, and as it may be written: in base64, in hex, in an address."""
    found = {secret, quote(secret, safe=""), quote_plus(secret), secret.encode().hex()}
    found.add(json.dumps(secret)[1:-1])
    for shift in range(3):
        # What stands before it moves its bits; the letters that share some with others go.
        coded = base64.b64encode(b"x" * shift + secret.encode()).decode()
        whole = coded[(0, 2, 3)[shift] : len(coded.rstrip("=")) - 1]
        found |= {whole, whole.replace("+", "-").replace("/", "_")}
    return {text.lower() for text in found}


@dataclass(frozen=True, eq=False)
class Traces:
    """What the commands left: their home, what they printed and logged, and what was sent."""

    home: Path
    statuses: dict[str, int]
    printed: str
    logged: str
    sent: str
    keys: set[str]
    read: dict[Path, list[str]] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        """The store of runs."""
        return self.home / "mlruns"

    def files(self) -> Iterator[tuple[Path, list[str]]]:
        """Yield every file with its text; databases and tables as that of their rows, too."""
        for path in sorted(self.home.rglob("*")):
            if path.is_file() and path not in self.read:
                content = path.read_bytes()
                texts = [content.decode("latin-1").lower()]
                if content.startswith(b"SQLite format 3\0"):
                    with closing(sqlite3.connect(path)) as db:
                        texts.append("\n".join(db.iterdump()).lower())
                if content.startswith(b"PAR1"):
                    table = pq.read_table(path)
                    texts.append(f"{table.to_pydict()} {table.schema.metadata}".lower())
                self.read[path] = texts
        yield from self.read.items()

    def holding(self, text: str) -> list[str]:
        """Return where a text stands, whatever its case and however it is written."""
        wanted = disguises(text)
        found = [
            str(path.relative_to(self.home))
            for path, texts in self.files()
            if any(each in content for each in wanted for content in (*texts, str(path).lower()))
        ]
        streams = {"printed": self.printed, "logged": self.logged, "sent": self.sent}
        return found + [
            name for name, said in streams.items() if any(each in said.lower() for each in wanted)
        ]


def echoing_server() -> LoopbackServer:
    """Return a server that asks for the key and repeats it in the headers of each answer."""
    lexical = lexical_server()
    coded = base64.b64encode(KEY.encode()).decode()
    headers = {"X-Authorization": f"Bearer {KEY}", "Set-Cookie": f"k={quote(KEY)}", "X-K": coded}

    def answer(messages: Messages) -> Reply:
        said = lexical._answer
        assert callable(said)
        return Reply(body=str(said(messages)), headers=headers)

    return LoopbackServer(answer, key=KEY)


def in_one_country(survey: Path) -> None:
    """Let everyone live in Japan: some commands compare people of a country."""
    with survey.open(newline="") as stream:
        rows = [row | {"B_COUNTRY": "392", "B_COUNTRY_ALPHA": "JPN"} for row in DictReader(stream)]
    with survey.open("w", newline="") as stream:
        writer = DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@contextlib.contextmanager
def typed(text: str) -> Iterator[None]:
    """Let a person type lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO(text))
        yield


def survey_commands(survey: Path, out: Path) -> dict[str, Callable[[], int]]:
    """Return the commands that ask no model."""
    labelled = write_ess(survey.with_name("ess.sav"))
    data: Mapping[str, list[object]] = {
        "check": ["check", survey],
        "json": ["check", "--json", survey],
        "describe": ["describe", survey, "--country", "JPN"],
        "question": ["describe", survey, "--question", "Q57", "--plot", out / "q57.png"],
        "folds": ["folds", survey, "--dependence", "none"],
        "export": ["export", survey, "--out", out / "answers.csv", "--questions", "Q57-Q63"],
        "codebook": ["codebook", labelled, "--out", out / "mine.yaml"],
    }
    return {
        name: lambda words=words: valuesim_main(["data", *map(str, words)])  # type: ignore[misc]
        for name, words in data.items()
    }


def asking_commands(survey: Path, out: Path, url: str) -> dict[str, Callable[[], int]]:
    """Return the commands of `valuesim` that ask a model."""
    model = ["--model", "openai/test", "--api-base", url]
    keyed = [*model, "--api-key-env", "RIGHT_VAR"]
    who = ["ask", "--survey", str(survey), "--respondent", PERSON, "--question", "Q69", "--why"]
    single = ["--program", "single", *keyed]
    people = ["interview", "--people", str(out / "people.db"), "--yes"]
    asked = ["--questions", "Q57-Q58", "--revise", *single]
    many = ["simulate", "--survey", str(survey), "--sample", "4", "--questions", "Q57-Q58"]
    kept = str(out / "kept.json")

    def interview(*words: str) -> int:
        with typed("1\n1\n1\n"):
            return valuesim_main([*people, *words])

    def simulate(name: str, *words: str) -> int:
        return valuesim_main([*many, "--out", str(out / name), *words])

    return {
        "nobody": lambda: valuesim_main([*who[:4], f"{ID}9999", *who[5:]]),
        "ask": lambda: valuesim_main([*who, *keyed]),
        "refused": lambda: valuesim_main([*who, *model, "--api-key-env", "WRONG_VAR"]),
        "keyless": lambda: valuesim_main([*who, *model]),
        "interview": lambda: interview("--person", "me", *asked),
        "auto": lambda: interview("--person", PERSON, "--survey", str(survey), "--auto", *asked),
        "kept": lambda: interview("--person", "me", "--export", kept),
        "simulate": lambda: simulate("all.parquet", *single),
        "first": lambda: simulate("two.csv", *single, "--shard", "1/2"),
        "second": lambda: simulate("two.csv", *single, "--shard", "2/2"),
        "merge": lambda: valuesim_main(["merge", "--out", str(out / "two.csv")]),
        "dead": lambda: simulate("dead.parquet", *model, "--api-key-env", "WRONG_VAR"),
    }


def job_commands(survey: Path, out: Path, url: str) -> dict[str, Callable[[], int]]:
    """Return the commands that run jobs: the runs of some are read by those that follow."""
    lm = {"model": "openai/test", "api_base": url, "api_key_env": "RIGHT_VAR"}
    known = {"data": {"survey": str(survey)}, "task_lm": lm, "embedder": {"model": "lexical"}}
    full = str(job_file(survey.with_name("job.toml"), **known, compile=BOOTSTRAP))
    small = job_file(
        survey.with_name("small.toml"),
        **known,
        variant="single",
        baselines=["rag"],
        compile={"teleprompter": "labeled-few-shot", "arms": [], "options": {"k": 1}},
    )
    job = str(small)
    plan = {"study": "canary", "trials": 2, "startup": 1, "space": {"variant": ["single"]}}
    search = str(search_file(survey.with_name("search.toml"), plan, **known))
    runs: list[str] = []

    def ran(main: Callable[[list[str]], int], *words: str) -> int:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            status = main([*words])
        runs.extend(re.findall(r"MLflow run (\w{32})", said.getvalue()))
        print(said.getvalue())
        return status

    def later(main: Callable[[list[str]], int], *words: str) -> Callable[[], int]:
        return lambda: ran(main, *words)

    return {
        "compile": later(optimize_main, "compile", full),
        "evals": later(evals_main, "run", "single", "--config", full),
        "stopped": later(
            optimize_main, "compile", full, "--set", "seed=9", "--set", "budget.calls=3"
        ),
        "unkeyed": later(optimize_main, "compile", full, "--set", "task_lm.api_key_env=WRONG_VAR"),
        "ablate": later(evals_main, "ablate", job, "single", "rag"),
        "history": later(evals_main, "history", job, *FEW, "--set", "protocol.train=12"),
        "robustness": later(evals_main, "robustness", job, "single", *FEW),
        "contamination": later(evals_main, "contamination", job, *FEW),
        "search": later(optimize_main, "search", search),
        "seeds": later(optimize_main, "seeds", job, "--seeds", "1", "2"),
        "teleprompters": later(optimize_main, "teleprompters", job, "--only", "labeled-few-shot"),
        "compare": lambda: evals_main(["compare", *runs[:2]]),
        "report": lambda: evals_main(["report", runs[1], "--out", str(out / "report")]),
        "promote": lambda: optimize_main(["promote", runs[0], "--force"]),
        "show": lambda: optimize_main(["show", "models:/valuesim@champion"]),
    }


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traces]:
    """Every command, run in this process against a server that asks for the key."""
    home, survey = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("survey") / "s.csv"
    in_one_country(survey_file(survey, ids=ID))
    out = home / "out"
    out.mkdir(mode=0o700)
    printed, logged, statuses = io.StringIO(), io.StringIO(), {}
    handler = logging.StreamHandler(logged)
    root = logging.getLogger()
    level = root.level
    with (
        pytest.MonkeyPatch.context() as patch,
        living_in(home),
        echoing_server() as server,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        patch.setenv("RIGHT_VAR", KEY)
        patch.setenv("WRONG_VAR", WRONG_KEY)
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            commands = survey_commands(survey, out) | asking_commands(survey, out, server.url)
            commands |= job_commands(survey, out, server.url)
            statuses = {name: command() for name, command in commands.items()}
            sent = "\n".join(json.dumps(request) for request in server.requests)
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
    yield Traces(home, statuses, printed.getvalue(), logged.getvalue(), sent, set(server.keys))


@pytest.mark.slow
def test_the_commands_did_what_is_searched(traces: Traces) -> None:
    """The search finds what is there: else it would prove nothing."""
    failed = {name: status for name, status in traces.statuses.items() if status}
    assert failed == dict.fromkeys(REFUSED, 2) | {"stopped": 3}, traces.printed[-4000:]
    assert set(traces.statuses) == {*DONE, *REFUSED, "stopped"}
    assert traces.keys == {KEY, WRONG_KEY, "none"}
    found = traces.holding("openai/test")
    assert "mlruns/mlflow.db" in found and any(name.endswith("config.json") for name in found)
    assert any(name.endswith("responses.db") for name in traces.holding("You live in"))
    assert any(name.endswith(".log") for name in map(str, traces.store.rglob("*.log")))
    assert "sent" in traces.holding("You live in")
    assert "printed" in traces.holding("refused the key")
    assert "RIGHT_VAR" in "".join(path.read_text() for path in traces.store.rglob("config.json"))
    for name in ("all.parquet", "two.csv", "people.db", "mine.yaml"):
        assert (traces.home / "out" / name).is_file(), name
    assert any((traces.home / "out" / "report").glob("*.html"))
    assert any(".journal" in name for name in traces.holding("answered"))
    assert "out/all.parquet" in traces.holding("answered")


def test_a_disguised_secret_is_found() -> None:
    """In a text as clients, servers and proxies write it."""
    for text in (
        f"Bearer {KEY}",
        base64.b64encode(f"Bearer {KEY}".encode()).decode(),
        base64.b64encode(f"user:{KEY}".encode()).decode(),
        base64.urlsafe_b64encode(f"k={KEY}&x=1".encode()).decode(),
        f"http://h/?key={quote_plus(KEY)}",
        KEY.encode().hex(),
        KEY.upper(),
    ):
        assert any(each in text.lower() for each in disguises(KEY)), text
    assert not any(
        each in base64.b64encode(WRONG_KEY.encode()).decode().lower()
        for each in disguises(KEY) - disguises(WRONG_KEY)
    )


def test_a_key_is_no_part_of_what_a_response_is_kept_under(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two keys give one cache key, and what is kept under one is found under the other."""
    cache = ResponseCache(tmp_path / "c.db")
    server, digests = echoing_server(), set()
    with server, cache.installed():
        for key in (KEY, WRONG_KEY):
            monkeypatch.setenv("RIGHT_VAR", key)
            role = LMRole(model="openai/test", api_base=server.url, api_key_env="RIGHT_VAR")
            lm = make_lm(role, name="task_lm")
            assert lm(messages=[{"role": "user", "content": "What is 1 + 1?"}])
            secret = {"api_key": key, "headers": {"Authorization": key}, "token": key}
            digests.add(cache.key({"model": "m", "messages": [], **secret}))
            digests.add(
                cache.key(
                    {
                        "model": "m",
                        "messages": [],
                        "extra_headers": {"X-Api-Key": key},
                        "headers": {},
                    }
                )
                or ""
            )
    assert server.keys == [KEY] and cache.count == 1
    assert len(digests) == 2
    cache.close()


@pytest.mark.slow
@pytest.mark.parametrize("key", [KEY, WRONG_KEY])
def test_a_key_is_nowhere(traces: Traces, key: str) -> None:
    """Not in a run, a program, a log, the cache or the output, though the server repeats it."""
    assert traces.holding(key) == []


@pytest.mark.slow
def test_an_interview_number_is_nowhere(traces: Traces) -> None:
    """Not in predictions, programs, logs of teleprompters, the cache, the output or a prompt.

    But for the private copy of the survey file itself, by whose numbers respondents are found,
    and for what is exported from it.
    """
    copies = [path for path, _ in traces.files() if path.parent.name == "surveys"]
    assert copies and all(path.stat().st_mode & 0o077 == 0 for path in copies)
    found = set(traces.holding(ID)) - {str(path.relative_to(traces.home)) for path in copies}
    # An export is for whoever asked for it, under the numbers of the file; nobody else reads it.
    assert found == {"out/answers.csv"}
    assert (traces.home / "out" / "answers.csv").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_program_of_real_answers_says_so(traces: Traces) -> None:
    """Its demos come from people: manifests and runs are marked."""
    folders = [path.parent for path in (traces.store / "programs").rglob("manifest.json")]
    assert len(folders) >= 4
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
        if "matplotlib" in path.parts:  # its list of fonts
            continue
        inside = [path, *(p for p in path.parents if traces.home in p.parents)]
        # Of a database that was read, the log goes when its last connection is collected.
        with contextlib.suppress(FileNotFoundError):
            assert any(p.stat().st_mode & 0o077 == 0 for p in inside), path


@pytest.mark.slow
def test_answers_of_people_are_private_wherever_they_are_put(traces: Traces) -> None:
    """Whatever the folder: exports, simulated answers, journals, what is kept of a person."""
    out = traces.home / "out"
    journals = [path for path in out.iterdir() if ".journal" in path.name]
    names = ("answers.csv", "all.parquet", "two.csv", "people.db", "kept.json")
    for path in [*journals, *(out / name for name in names)]:
        assert path.stat().st_mode & 0o077 == 0, path
    assert journals


@pytest.mark.slow
def test_dspy_keeps_nothing_of_its_own(traces: Traces) -> None:
    """Neither its cache of pickles nor its history."""
    names = {path.name for path, _ in traces.files()}
    assert not [name for name in names if name.endswith((".pkl", ".pickle"))]
    assert not list(traces.home.rglob(".dspy_cache*"))
