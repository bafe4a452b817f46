"""Hostile files: each ends in one line or is set aside, in bounded time, and nothing of it runs."""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import random
import re
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import dspy
import pytest
from damage import flipped
from labelled import write_ess
from people import case, reply, scripted_lm
from saving import compiled, edit, manifest

from optimize.search_storage import opened_alone
from valuesim_dspy.__main__ import build_parser
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.cache_file import APPLICATION_ID
from valuesim_dspy.config import load_job
from valuesim_dspy.errors import ValueSimError
from valuesim_dspy.finding import find_program
from valuesim_dspy.journal import Journal
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.loading import load_program, save_program
from valuesim_dspy.own import read_person
from valuesim_dspy.people import People
from valuesim_dspy.program import ValueSim
from valuesim_dspy.sqlite_files import check_tables
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.labelled_rows import LabelledReader
from valuesim_dspy.survey.own_wording import open_codebook
from valuesim_dspy.survey.respondents import read_respondents
from valuesim_dspy.ui import is_loopback

SECONDS = 60.0
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x"
DEEP = "[" * 100_000
DIGITS = "9" * 100_000


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """End the whole run if a test hangs, even inside a library written in C."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A path that nothing may make."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


class Bomb:
    """Makes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.canary),))


def refused(act: Callable[[], Any]) -> str:
    """Return the one clear line with which something is refused."""
    with pytest.raises(ValueSimError) as caught:
        act()
    said = str(caught.value)
    assert said and "\n" not in said and len(said) < 6000
    return said


# Programs.

NAMES = (
    *("program.pkl", "program.pickle", "program.pt", "program.pth", "program.joblib", "model.bin"),
    *("metadata.json", "program.json.pkl", "python_model.pkl", "program.dill", "state.npy"),
    *("__init__.py", "__main__.py", "sitecustomize.py", "conftest.py", "setup.py", "program.so"),
)


def test_what_lies_beside_a_program_is_not_looked_at(tmp_path: Path, canary: Path) -> None:
    """Pickles and modules under every name that a loader might know."""
    folder = save_program(compiled(), tmp_path / "program", manifest())
    script = f"import os; os.mkdir({str(canary)!r})"
    for name in NAMES:
        harm = script.encode() if name.endswith(".py") else pickle.dumps(Bomb(canary))
        (folder / name).write_bytes(harm)
    (folder / "MLmodel").write_text("flavors: {python_function: {loader_module: evil}}")
    assert load_program(folder).variant == "full"
    for name in ("program.json", "manifest.json"):
        (folder / name).unlink()
        refused(lambda: load_program(folder))


STATES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a class": lambda s: s.update(__class__="os.system"),
    "a field of every object": lambda s: first(s)["demos"][0].update(__class__="x"),
    "a dictionary of every object": lambda s: first(s)["demos"][0].update(__dict__="x"),
    "names of modules": lambda s: s["predictors"].update({"__init__": first(s)}),
    "a way out": lambda s: s["predictors"].update({"../../x": first(s)}),
    "a deep demo": lambda s: first(s)["demos"][0].update(facts=[[[["x"]]]]),
    "a true value for a code": lambda s: first(s)["demos"][0].update(answer=1.5),
}


def first(state: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of one predictor of a saved state."""
    entry: dict[str, Any] = state["predictors"]["panel.cognitive.answer"]
    return entry


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_reaches_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """Names of attributes, of modules and of paths are names of nothing."""
    folder = save_program(compiled(), tmp_path / "program", manifest())
    edit(folder, "program.json", STATES[name])
    assert str(folder) in refused(lambda: load_program(folder))


@pytest.mark.parametrize("file", ["program.json", "manifest.json"])
@pytest.mark.parametrize(
    "content",
    [f'{{"format": {DIGITS}}}', f'{{"format": -{DIGITS}e9}}', '{"format": 1, "format": 2}', '"x"'],
    ids=["digits", "exponent", "twice", "text"],
)
def test_numbers_and_keys_that_are_too_many_are_refused(
    tmp_path: Path, file: str, content: str
) -> None:
    """A number that takes long to read, a key that stands twice, a text for a table."""
    folder = save_program(compiled(), tmp_path / "program", manifest())
    (folder / file).write_text(content)
    refused(lambda: load_program(folder))


def test_format_strings_and_markers_in_a_demo_are_text(tmp_path: Path, canary: Path) -> None:
    """A program may say what it likes in its demos: nothing is looked up, and they are shown."""
    folder = save_program(compiled("single"), tmp_path / "program", manifest("single"))
    evil = "{0.__class__.__init__.__globals__} %(os)s ${HOME} `id` $(id)"

    def change(state: dict[str, Any]) -> None:
        state["predictors"]["direct.answer"]["demos"][0].update(question=evil, facts=evil)
        state["predictors"]["direct.answer"]["signature"]["instructions"] = evil

    edit(folder, "program.json", change)
    program, engine = load_program(folder), ScriptedEngine(lambda request: reply(2))
    with ResponseCache().installed(), dspy.context(lm=scripted_lm(engine)):
        assert program(case=case()).answer == 2
    assert evil in str(engine.requests[0].messages[0].parts[0].text)


@pytest.mark.parametrize("target", ["/etc/passwd", "/dev/zero", "/proc/self/environ", "."])
@pytest.mark.parametrize("file", ["program.json", "manifest.json"])
def test_a_link_out_of_a_program_shows_nothing(tmp_path: Path, file: str, target: str) -> None:
    """What it leads to is no program, and none of it stands in the message."""
    folder = save_program(compiled(), tmp_path / "program", manifest())
    (folder / file).unlink()
    (folder / file).symlink_to(target)
    said = refused(lambda: load_program(folder))
    assert "root:" not in said and "PATH=" not in said


@pytest.mark.parametrize(
    "source",
    [
        *("", ".", "..", "../../etc", "/etc", "\0", "a" * 5000, "demo\n", "../programs/demo"),
        *("file:///etc/passwd", "http://127.0.0.1:9/x", "s3://x/y", "models:/../../x@y"),
        *("runs:/../../x/program", "models:/x/../..", "runs:/" + "a" * 5000),
    ],
)
def test_a_source_that_is_none_is_refused(tmp_path: Path, source: str) -> None:
    """Paths out of the store, addresses, names that no file can have."""
    refused(lambda: find_program(source, tmp_path / "mlruns"))
    refused(lambda: load_program(source, store=tmp_path / "mlruns"))


# Files of tables: jobs, persons, codebooks, wordings.

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
TABLES = {
    "deep": (f"a = {DEEP}", f"id: {DEEP}"),
    "deep tables": ("a" + ".a" * 20_000 + " = 1", "a: " + "{a: " * 50_000),
    "deep blocks": ("a = " + "{a = " * 50_000, "- " * 50_000 + "x"),
    "digits": (f"seed = {DIGITS}", f"id: x\nversion: {DIGITS}"),
    "bytes": ("a = '\udcff'", "a: '\udcff'"),
    "nul": ("a = 1\0", "a: 1\0"),
    "keys": ("\n".join(f"k{n} = 1" for n in range(20_000)), ""),
    "huge": ("#" * 9_000_000, "#" * 9_000_000),
    "python": ("!!python/object/apply:os.mkdir", "!!python/object/apply:os.mkdir ['CANARY']"),
    "python module": ("__import__('os')", "a: !!python/module:antigravity"),
    "python name": ("{}", "a: !!python/name:os.system"),
    "repetition": ("a = 1\na = 2", f"{BOMB}id: *a11"),
    "repetition elsewhere": ("[a]\n[a]", f"id: x\nversion: 1\n{BOMB}"),
    "a circle": ("=", "id: &a [*a]"),
    "a list": ("[[a]]\n[a]", "- a\n- b"),
    "odd keys": ('"\\u001b[31m" = 1', "? [a, b]\n: c"),
}


def written(path: Path, text: str, canary: Path) -> Path:
    """Write a file, byte by byte where it is no text."""
    path.write_bytes(text.replace("CANARY", str(canary)).encode(errors="surrogateescape"))
    return path


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_are_none_are_refused(tmp_path: Path, canary: Path, name: str) -> None:
    """Jobs, persons, codebooks and wordings: too deep, too long, repeating, or of commands."""
    toml, yaml = TABLES[name]
    path = written(tmp_path / "x.toml", toml, canary)
    refused(lambda: load_job(path))
    refused(lambda: read_person(path))
    path = written(tmp_path / "x.yaml", yaml, canary)
    refused(lambda: load_codebook(path))
    if yaml:
        refused(lambda: open_codebook("wvs7", path))


def test_what_would_be_waited_for_is_not_read(tmp_path: Path) -> None:
    """Pipes and devices in the place of files, alone or in a folder of them."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "codebook").mkdir()
    (tmp_path / "codebook" / "a.yaml").write_text("id: x\nversion: 1\ntitle: t\n")
    (tmp_path / "codebook" / "b.yaml").symlink_to(pipe)
    refused(lambda: load_codebook(tmp_path / "codebook"))
    for path in (pipe, Path("/dev/zero")):
        for read in (load_job, read_person, load_codebook, read_respondents):
            refused(partial(read, path))
        refused(partial(open_codebook, "wvs7", path))


# Databases.


def database(path: Path, *statements: str, mark: int = 0) -> Path:
    """Write a database that was made by somebody else."""
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {mark}")
        db.commit()
    return path


CACHE = "CREATE TABLE responses (key TEXT PRIMARY KEY, value TEXT, created REAL)"
CACHES = {
    "a view": (f"CREATE VIEW responses AS {ENDLESS} AS key, x AS value, x AS created FROM c",),
    "a trigger": (
        CACHE,
        "CREATE TRIGGER t AFTER INSERT ON responses BEGIN INSERT INTO responses "
        f"SELECT x, x, x FROM ({ENDLESS} FROM c); END",
    ),
    "a view beside it": (CACHE, f"CREATE VIEW v AS {ENDLESS} FROM c"),
    "other columns": ("CREATE TABLE responses (key TEXT, value BLOB)",),
    "nothing": (),
}


@pytest.mark.parametrize("name", CACHES)
def test_a_cache_of_somebody_elses_is_set_aside(tmp_path: Path, name: str) -> None:
    """Nothing of it is used; the new one works."""
    path = database(tmp_path / "c.db", *CACHES[name], mark=APPLICATION_ID)
    cache = ResponseCache(path)
    assert cache.get({"model": "m"}) is None
    cache.put({"model": "m"}, {"_valuesim_format": "json", "value": 1})
    assert cache.count == 1 and (tmp_path / "c.db.aside-1").is_file()
    cache.close()


GOOD = '{"_dspy_format": 1, "responses": [], "outputs": [], "usage": {}, "cost": null, '
RECORDS = (
    DEEP,
    f'{{"_valuesim_format": "json", "value": {DEEP}}}',
    f'{{"_valuesim_format": "json", "value": {DIGITS}}}',
    "null",
    "5",
    '{"_valuesim_format": "pickle", "value": "gASVAAAA"}',
    '{"_dspy_format": 1}',
    f'{GOOD}"raw": null, "response_model": null, "usage": 5}}',
    f'{GOOD}"raw": null, "response_model": null, "outputs": 5}}',
    f'{GOOD}"raw": null, "response_model": null, "responses": [5], "outputs": ["x"]}}',
    f'{GOOD}"raw": null, "response_model": null, "responses": 5}}',
    f'{GOOD}"raw": null, "response_model": null, "cost": "x"}}',
    '{"_valuesim_format": "litellm", "raw": {"usage": 5, "choices": []}}',
    '{"_valuesim_format": "litellm", "raw": {"choices": 5}}',
    '{"_valuesim_format": "litellm", "raw": {"choices": ["x"]}}',
    '{"_valuesim_format": "litellm", "raw": 5}',
)


@pytest.mark.parametrize("record", RECORDS, ids=range(len(RECORDS)))
def test_a_response_that_none_has_given_is_asked_for_again(tmp_path: Path, record: str) -> None:
    """What lies in the cache under a request's key is data: of the wrong form, it is dropped."""
    cache = ResponseCache(tmp_path / "c.db")
    engine = ScriptedEngine(lambda request: reply(2))
    for _ in range(2):
        with cache.installed(), dspy.context(lm=scripted_lm(engine)):
            assert ValueSim("single")(case=case()).answer == 2
        cache._file.run("UPDATE responses SET value = ?", (record,))
    assert len(engine.requests) == 2
    cache.close()


STORES = {
    "not JSON": "UPDATE people SET statements = '[1'",
    "deep": f"UPDATE people SET statements = '{DEEP}'",
    "a table": "UPDATE people SET statements = '{\"a\": 1}'",
    "a number": "UPDATE people SET statements = '5'",
    "numbers": "UPDATE people SET statements = '[5]'",
    "bytes": "UPDATE people SET story = x'00ff'",
    "half a question": "INSERT INTO questions SELECT key, 'own-1', '{\"text\": \"a\"}' FROM people",
    "no question": "INSERT INTO questions SELECT key, 'own-1', '[' FROM people",
    "a view": f"DROP TABLE guesses; CREATE VIEW guesses AS {ENDLESS} AS number, x AS person FROM c",
    "a view of marks": "DROP TABLE marks; CREATE VIEW marks AS "
    f"{ENDLESS} AS name, 1 AS value FROM c",
    "a trigger": "CREATE TRIGGER t AFTER UPDATE ON people BEGIN DELETE FROM people; END",
    "no salt": "DELETE FROM marks WHERE name = 'salt'",
}


@pytest.mark.parametrize("name", STORES)
def test_a_store_of_people_that_was_tampered_with_is_refused(tmp_path: Path, name: str) -> None:
    """In one line; what is sound of it is not lost by that."""
    path = tmp_path / "people.db"
    with closing(sqlite3.connect(tmp_path / "made.db")) as _:
        People(path).add("x")
    with closing(sqlite3.connect(path)) as db:
        db.executescript(STORES[name])

    def use() -> None:
        kept = People(path).person("x")
        kept.case("Q69").inputs()
        kept.export()

    before = path.read_bytes()
    refused(use)
    assert path.read_bytes()[:16] == before[:16] and path.is_file()


def test_a_store_of_people_that_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe, a device, a link to what is no database, noise."""
    os.mkfifo(tmp_path / "pipe.db")
    (tmp_path / "link.db").symlink_to("/etc/hostname")
    (tmp_path / "noise.db").write_bytes(b"SQLite format 3\0" + random.Random(1).randbytes(5000))
    for name in ("pipe.db", "link.db", "noise.db"):
        refused(partial(People, tmp_path / name))
    refused(lambda: People("/dev/zero"))


def test_a_journal_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    """Views, triggers, other tables, noise: refused, and not a byte is changed."""
    begun = Journal.open(tmp_path / "sound", {"a": 1}, 4)
    begun.close()
    for name, statement in {
        "view": f"CREATE VIEW v AS {ENDLESS} FROM c",
        "trigger": "CREATE TRIGGER t AFTER INSERT ON rows BEGIN DELETE FROM rows; END",
        "replaced": f"DROP TABLE rows; CREATE VIEW rows AS {ENDLESS} AS number FROM c",
        "deep": f"UPDATE meta SET value = '{DEEP}'",
        "odd": 'UPDATE meta SET value = \'{"total": "x"}\'',
    }.items():
        path = tmp_path / name
        path.write_bytes((tmp_path / "sound").read_bytes())
        with closing(sqlite3.connect(path)) as db:
            db.executescript(statement)
        before = path.read_bytes()
        refused(partial(Journal.open, path, {"a": 1}, 4))
        assert path.read_bytes() == before, name


def open_trials(address: str) -> None:
    """Open a storage of trials as a search does."""
    with opened_alone(address):
        pass


def test_trials_of_somebody_elses_are_refused(tmp_path: Path) -> None:
    """A database of trials with a view in a table's place is not opened; noise is no database."""
    view = f"CREATE VIEW studies AS {ENDLESS} AS study_id, x AS study_name FROM c"
    path = database(tmp_path / "optuna.db", view)
    assert "views or triggers" in refused(lambda: check_tables(path, "the file of trials"))
    assert "views or triggers" in refused(partial(open_trials, f"sqlite:///{path}"))
    sound = database(tmp_path / "sound.db", "CREATE TABLE a (b)", "CREATE INDEX i ON a (b)")
    check_tables(sound, "it")
    (tmp_path / "noise.db").write_bytes(b"noise" * 999)
    check_tables(tmp_path / "noise.db", "it")


# Surveys.


def test_a_survey_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    """A megabyte of zip that is a gigabyte of file, and a zip of zips."""
    bomb = tmp_path / "s.zip"
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("s.csv", "w", force_zip64=True) as member,
    ):
        member.write(b"Q1,Q2\n")
        for _ in range(64):
            member.write(b"1,2\n" * 2**18)
    refused(lambda: read_respondents(bomb, cache=False))
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.write(bomb, "s.zip")
    refused(lambda: read_respondents(tmp_path / "t.zip", cache=False))


@pytest.mark.parametrize("suffix", ["sav", "dta"])
def test_a_damaged_labelled_file_ends_no_process_but_its_own(tmp_path: Path, suffix: str) -> None:
    """Its labels are read in a process apart, as its rows are: told, or refused in one line."""
    sound = write_ess(tmp_path / f"sound.{suffix}").read_bytes()
    came = {"read": 0, "refused": 0}
    with LabelledReader(seconds=20.0) as reader:
        for number in range(60):
            path, rng = tmp_path / f"harmed.{suffix}", random.Random(f"{suffix}{number}")
            path.write_bytes(flipped(rng, flipped(rng, sound)))
            try:
                told = reader.tell(path, {})
                assert json.dumps(told) and isinstance(told["variables"], list)
                came["read"] += 1
            except ValueSimError as error:
                assert path.name in str(error) and "\n" not in str(error)
                came["refused"] += 1
    assert min(came.values()) > 5


# Servers.


def test_nothing_listens_to_others_unless_it_is_told_to() -> None:
    """The command's default is loopback, and no page tells anyone to listen everywhere."""
    assert is_loopback(build_parser().parse_args(["ui"]).host)
    root = Path(__file__).parent.parent
    for page in (root / "README.md", *(root / "docs").glob("*.md")):
        assert not re.search(r"0\.0\.0\.0|--host +(?!127\.0\.0\.1)", page.read_text()), page
