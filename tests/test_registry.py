import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from champions import program
from stores import new_tracker

from evals import tracking
from evals.registry import ALIAS, MODEL, Registry, Version, requirements, write_model
from evals.tracking import Tracker
from valuesim_dspy.errors import ConfigError, MissingDataError, ValueSimError
from valuesim_dspy.finding import find_program
from valuesim_dspy.loading import load_program

FILES = {
    *("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"),
    *("data/program/manifest.json", "data/program/program.json"),
}


@pytest.fixture(autouse=True)
def _no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    """A tracker on a store of its own."""
    return new_tracker(tmp_path / "store")


@pytest.fixture
def registry(tracker: Tracker) -> Registry:
    """The registry of that store."""
    return Registry(tracker)


@pytest.fixture
def register(registry: Registry, tmp_path: Path) -> Callable[[int], Version]:
    """Registers a program that its seed tells from others."""

    def one(seed: int) -> Version:
        run_id = registry.tracker.begin(f"arm {seed}", {})
        folder = program(tmp_path / f"program-{seed}", seed=seed)
        return registry.register(folder, run_id, tags={"seed": str(seed)}, note="better")

    return one


def files_in(folder: Path) -> set[str]:
    """Return the files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_model_is_texts_and_the_two_files(tmp_path: Path) -> None:
    """No pickle, nothing but what names the loader and the program; bytes as they were."""
    folder = program(tmp_path / "program")
    model = write_model(folder, tmp_path / "model")
    assert files_in(model) == FILES
    for name in ("manifest.json", "program.json"):
        assert (model / "data" / "program" / name).read_bytes() == (folder / name).read_bytes()
    told = (model / "MLmodel").read_text()
    assert "loader_module: valuesim_dspy.registered" in told
    assert re.search(r"data: data/program$", told, re.M)
    assert "python_model" not in told and "cloudpickle" not in told


def test_nothing_is_inferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow looks at no imports and asks no package index; a lock file nearby stays there."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("requirements were inferred")

    import mlflow.models

    monkeypatch.setattr(mlflow.models, "infer_pip_requirements", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    for name in ("uv.lock", "pyproject.toml"):
        (tmp_path / name).write_text("version = 1\n")
    monkeypatch.chdir(tmp_path)
    model = write_model(program(tmp_path / "program"), tmp_path / "model")
    assert files_in(model) == FILES
    needed = (model / "requirements.txt").read_text().splitlines()
    assert set(requirements()) <= set(needed)
    assert any(line.startswith("valuesim-dspy") for line in needed)
    assert any(line.startswith("dspy==") for line in needed)


def test_the_signature_has_the_params_and_no_column(tmp_path: Path) -> None:
    """MLflow would repeat the rows of a table that does not fit a list of columns."""
    from mlflow.models import get_model_info

    info = get_model_info(str(write_model(program(tmp_path / "program"), tmp_path / "model")))
    assert info.signature is not None and info.signature.inputs is None
    names = {param.name for param in info.signature.params}
    assert names == {"model", "threads"}


def test_versions_are_counted_and_one_bears_the_alias(
    registry: Registry, register: Callable[[int], Version]
) -> None:
    """Nobody is champion before the first is crowned; the alias moves and names the run."""
    assert registry.champion() is None
    first, second = register(1), register(2)
    assert (first.number, second.number) == (1, 2)
    assert registry.champion() is None
    for version in (first, second, first):
        registry.crown(version)
        holder = registry.champion()
        assert holder is not None
        assert (holder.number, holder.run_id) == (version.number, version.run_id)
        assert holder.tags["seed"] == version.tags["seed"]
        assert holder.uri == f"models:/valuesim/{version.number}"


def test_the_ui_links_version_and_run(
    registry: Registry, register: Callable[[int], Version]
) -> None:
    """A version knows its run and what was found; its files are the run's."""
    version = register(1)
    found = registry.tracker.client.get_model_version(MODEL, str(version.number))
    assert (found.run_id, found.description) == (version.run_id, "better")
    listed = registry.tracker.client.list_artifacts(version.run_id, "model")
    assert {file.path for file in listed} >= {"model/MLmodel", "model/data"}


def test_a_champion_is_found_by_its_alias_and_by_its_number(
    registry: Registry, register: Callable[[int], Version], tmp_path: Path
) -> None:
    """`load_program` takes both, from a store that is named and not in the environment."""
    registry.crown(register(1))
    register(2)
    store = tmp_path / "store"
    for uri, seed in (("@champion", 1), ("/2", 2), ("/1", 1), ("/latest", 2)):
        folder = find_program(f"models:/valuesim{uri}", store=store)
        assert {path.name for path in folder.iterdir()} == {"manifest.json", "program.json"}
        assert load_program(folder).manifest.seed == seed
    inner = find_program("models:/valuesim@champion/data/program", store=store)
    assert load_program(inner).manifest.seed == 1


def test_what_is_fetched_is_a_private_copy(
    registry: Registry, register: Callable[[int], Version], tmp_path: Path
) -> None:
    """Nobody else may read it, and the store is left as it was."""
    registry.crown(register(1))
    before = files_in(tmp_path / "store" / "artifacts")
    folder = find_program("models:/valuesim@champion", store=tmp_path / "store")
    outer = next(path for path in folder.parents if path.name.startswith("valuesim-program-"))
    assert outer.stat().st_mode & 0o077 == 0
    assert files_in(tmp_path / "store" / "artifacts") == before


def test_finding_leaves_the_process_store_alone(
    registry: Registry, register: Callable[[int], Version], tmp_path: Path
) -> None:
    """The tracking URI that a script has set is still set afterwards."""
    import mlflow

    registry.crown(register(1))
    before = mlflow.get_tracking_uri()
    find_program("models:/valuesim@champion", store=tmp_path / "store")
    assert mlflow.get_tracking_uri() == before


def test_what_is_not_registered_is_missing_data(
    registry: Registry, register: Callable[[int], Version], tmp_path: Path
) -> None:
    """No such alias, version, model or store; a model that is none of ours."""
    register(1)
    store = tmp_path / "store"
    for uri in ("models:/valuesim@champion", "models:/valuesim/9", "models:/other@champion"):
        with pytest.raises(MissingDataError, match=f"no program at {re.escape(uri)}"):
            find_program(uri, store=store)
    with pytest.raises(MissingDataError, match="there is no store"):
        find_program("models:/valuesim@champion", store=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "MLmodel").write_text("flavors: {}\n")
    run_id = registry.tracker.begin("foreign", {})
    registry.tracker.log_folder(run_id, other, "model")
    with pytest.raises(MissingDataError, match="holds no program of ValueSim"):
        find_program(f"runs:/{run_id}/model", store=store)


def test_a_store_that_moved_keeps_its_champion(
    registry: Registry, register: Callable[[int], Version], tmp_path: Path
) -> None:
    """Versions name their run, not a path."""
    registry.crown(register(1))
    shutil.move(tmp_path / "store", tmp_path / "moved")
    Tracker(tmp_path / "moved")
    folder = find_program("models:/valuesim@champion", store=tmp_path / "moved")
    assert load_program(folder).manifest.seed == 1


def test_looks_are_counted_by_devset(registry: Registry) -> None:
    """Each devset has its count; reading the count is no look."""
    assert registry.looks("a") == 0
    assert [registry.count_look("a") for _ in range(3)] == [1, 2, 3]
    assert registry.count_look("b") == 1
    assert (registry.looks("a"), registry.looks("b")) == (3, 1)


def test_looks_taken_at_once_are_all_counted(tmp_path: Path) -> None:
    """Promotions on a local store wait for each other."""
    registries = [Registry(new_tracker(tmp_path / "store")) for _ in range(3)]

    def take(registry: Registry) -> list[int]:
        counts = []
        for _ in range(4):
            with registry.alone():
                counts.append(registry.count_look("a"))
        return counts

    with ThreadPoolExecutor(3) as pool:
        counts = [count for taken in pool.map(take, registries) for count in taken]
    assert sorted(counts) == list(range(1, 13))


@pytest.mark.parametrize("flag", ["demos_hold_survey_data", "instructions_saw_survey_data"])
def test_rows_of_people_stay_off_a_remote_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    """A program that may hold answers is not registered there unless rows may be shared."""
    monkeypatch.setattr(tracking, "is_remote", lambda uri: True)
    folder = program(tmp_path / "program", **{flag: True})
    registry = Registry(new_tracker(tmp_path / "store"))
    run_id = registry.tracker.begin("arm", {})
    with pytest.raises(ConfigError, match="--share-rows"):
        registry.register(folder, run_id, tags={})
    assert registry.tracker.client.list_artifacts(run_id) == []
    assert registry.tracker.client.search_registered_models() == []
    allowed = Registry(new_tracker(tmp_path / "store", share_rows=True))
    assert allowed.register(folder, run_id, tags={}).number == 1


def test_a_program_without_rows_may_go_to_a_remote_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Demos of synthetic people are nobody's answers."""
    monkeypatch.setattr(tracking, "is_remote", lambda uri: True)
    registry = Registry(new_tracker(tmp_path / "store"))
    run_id = registry.tracker.begin("arm", {})
    assert registry.register(program(tmp_path / "program"), run_id, tags={}).number == 1


def test_a_store_that_cannot_be_used_is_one_line(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What MLflow raises becomes the store's error, without a trace of its own."""
    from mlflow.exceptions import MlflowException

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise MlflowException("the server is away\nand more")

    for name in ("get_model_version_by_alias", "get_registered_model", "create_registered_model"):
        monkeypatch.setattr(registry.tracker.client, name, fail)
    for call in (registry.champion, lambda: registry.looks("a"), lambda: registry.count_look("a")):
        with pytest.raises(ValueSimError, match=r"cannot be used \(the server is away\)"):
            call()


@pytest.mark.slow
def test_mlflow_loads_and_asks_the_champion_in_a_process_of_its_own(
    registry: Registry, register: Callable[[int], Version], tmp_path: Path
) -> None:
    """`mlflow.pyfunc.load_model(...).predict(table)` needs nothing but the tracking URI."""
    registry.crown(register(1))
    script = (
        "import json, mlflow, pandas as pd\n"
        f"model = mlflow.pyfunc.load_model('models:/{MODEL}@{ALIAS}')\n"
        "table = pd.DataFrame({'question': ['Q57', 'Q0'], 'Q1': [1, 2], 'Q57': [1, 2]})\n"
        "plain = model.predict(table)\n"
        "asked = model.predict(table, params={'model': 'offline/lexical-1', 'threads': 2})\n"
        "print(json.dumps([list(plain.status), list(asked.status), list(plain.question)]))\n"
    )
    root = Path(__file__).resolve().parent.parent
    known = {"MLFLOW_TRACKING_URI": registry.tracker.uri, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **known},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    statuses = ["answered", "failed"]
    assert json.loads(done.stdout.splitlines()[-1]) == [statuses, statuses, ["Q57", "Q0"]]
