"""The report as a whole: its files, what is in none of them, where they go."""

import csv
import io
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from jobs import living_in, small_job
from reported import PEOPLE, frame, full_job, key, log_arm, start, store

from evals.intervals import paired_difference
from evals.past_runs import load_predictions, run_summary
from evals.reporting import check_folder, write_files, write_report
from evals.running import run_arms
from evals.tracking import Tracker
from valuesim_dspy.errors import ConfigError, MissingDataError, ValueSimError

pytestmark = pytest.mark.slow

TEXTS = (".html", ".md", ".csv", ".tex", ".txt")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the module's store and reports."""
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def tracker(home: Path) -> Tracker:
    """The module's store."""
    return store(home / "mlruns")


@pytest.fixture(autouse=True)
def _in_that_store(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every report be of that store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)


@pytest.fixture(scope="module")
def written(home: Path, tracker: Tracker) -> Iterator[tuple[Path, str, str]]:
    """A report of a whole job: its folder, what was printed, and the job's run."""
    run = full_job(tracker)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
        said = write_report([run], home / "report")
    yield home / "report", said, run


def files(folder: Path) -> list[str]:
    """Return the files of a folder, by path in it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def table(folder: Path, name: str) -> pd.DataFrame:
    """Read a table back."""
    return pd.read_csv(folder / "tables" / f"{name}.csv")


def test_every_table_is_there_as_csv_and_latex(written: tuple[Path, str, str]) -> None:
    """With the page, the same as text, and the pictures that it shows."""
    folder, _, _ = written
    found = files(folder)
    assert {"report.html", "report.md", "files.txt"} <= set(found)
    for name in (
        "first-table",
        "cold-arms",
        "warm-arms",
        "by-section",
        "by-kind",
        "by-sex",
        "variance",
        "calibration",
        "failures",
        "prompts",
    ):
        assert f"tables/{name}.csv" in found
        assert f"latex/{name}.tex" in found
    shown = re.findall(r"\]\((pictures/[\w-]+\.png)\)", (folder / "report.md").read_text())
    assert set(shown) == {name for name in found if name.startswith("pictures/")}
    assert {"pictures/differences.png", "pictures/cost.png"} <= set(shown)
    assert (folder / "files.txt").read_text().split() == found


def test_the_csv_holds_the_metrics_of_the_runs(
    written: tuple[Path, str, str], tracker: Tracker
) -> None:
    """Accuracy and nMAE as they were logged, differences as the predictions give them."""
    folder, _, _ = written
    numbers = table(folder, "cold-arms").set_index("arm")
    runs = {run_summary(tracker, run)["name"]: run for run in tracker.find({"job": "demo"})}
    for name in ("rag", "single", "full", "full compiled"):
        metrics = run_summary(tracker, runs[name])["metrics"]
        for metric in ("accuracy", "nmae", "nmae_cases", "failed_rate"):
            assert numbers.loc[name, metric] == pytest.approx(metrics[metric], rel=1e-4)
    rag, full = (load_predictions(tracker, runs[name]) for name in ("rag", "full compiled"))
    gap = paired_difference(full, rag, seed=0)
    row = numbers.loc["full compiled"]
    assert row["accuracy_minus"] == pytest.approx(gap.estimate)
    assert row["accuracy_minus_low"] == pytest.approx(gap.low)
    first = table(folder, "first-table")
    assert set(first["state"]) == {"measured", "missing"}
    same = first[first["arm"] == "full compiled"].iloc[0]
    assert same["accuracy"] == pytest.approx(row["accuracy"])


def test_no_file_holds_anything_of_a_respondent(written: tuple[Path, str, str]) -> None:
    """No salted key, no row of a case, no reason that names one; in no text of the report."""
    folder, said, _ = written
    whole = said
    for path in folder.rglob("*"):
        if path.suffix in TEXTS:
            whole += re.sub(r"base64,[\w+/=]+", "", path.read_text(encoding="utf-8"))
    assert "deadbeef" not in whole
    assert not [key(person) for person in range(PEOPLE) if key(person) in whole]
    assert not re.search(r"\b[0-9a-f]{4}deadbeef", whole)
    for name in files(folder):
        if name.endswith(".csv"):
            rows = list(csv.reader(io.StringIO((folder / name).read_text())))
            assert not {"respondent", "truth", "answer"} & set(rows[0]), name
    reasons = table(folder, "failures")
    assert "#: no answer ... of #" in set(reasons["reason"])


def test_pictures_carry_no_words_of_their_own(written: tuple[Path, str, str]) -> None:
    """No text chunk in a PNG, so neither a date nor a path."""
    folder, _, _ = written
    for path in (folder / "pictures").iterdir():
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert b"tEXt" not in content
        assert b"iTXt" not in content


def test_the_page_fetches_nothing(written: tuple[Path, str, str]) -> None:
    """No address but of data and of its own parts."""
    page = (written[0] / "report.html").read_text(encoding="utf-8")
    addresses = re.findall(r'(?:src|href|srcset|action|data)="([^"]*)"', page)
    assert addresses
    assert all(a.startswith(("data:image/png;base64,", "#part-")) for a in addresses)
    assert "http" not in re.sub(r"base64,[\w+/=]+", "", page)
    assert "<script" not in page


def test_captions_say_what_the_numbers_are_of(written: tuple[Path, str, str]) -> None:
    """People, questions, folds, cold or warm, model, prompts and date."""
    caption = (written[0] / "latex" / "warm-arms.tex").read_text().replace("\\_", "_")
    for part in ("24 people, 6 questions", "battery-1of5", "warm arms", "some-model-2026"):
        assert part in caption
    assert re.search(r"prompts [0-9a-f]{12}; written on \d{4}-\d\d-\d\d", caption)


def test_what_is_printed_is_the_first_table_and_where_the_files_are(
    written: tuple[Path, str, str],
) -> None:
    """Short: the table, the page, the run."""
    folder, said, run = written
    assert "| battery" in said
    assert "missing" in said
    assert str(folder / "report.html") in said
    assert run in said
    assert len(said.splitlines()) < 25


def test_files_are_their_owners_only(written: tuple[Path, str, str]) -> None:
    """Folders 0700, files 0600."""
    folder, _, _ = written
    for path in (folder, *folder.rglob("*")):
        mode = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == mode, path


def test_the_report_is_logged_to_the_first_run(
    written: tuple[Path, str, str], tracker: Tracker
) -> None:
    """Every file of it and no other."""
    folder, _, run = written
    assert tracker.read_text(run, "report/report.md") == (folder / "report.md").read_text()
    listed = tracker.read_text(run, "report/files.txt").split()
    assert listed == files(folder)
    assert tracker.read_text(run, "report/tables/failures.csv")


def test_a_second_report_replaces_the_first(home: Path, tracker: Tracker) -> None:
    """Its files go, those of others stay; what is not listed is not removed."""
    with start(tracker, identity="many") as job:
        log_arm(job, "rag", frame(0.4))
        one = log_arm(job, "full", frame(0.5, people=5))
    folder = home / "again"
    write_report([job.run_id], folder)
    assert (folder / "tables" / "by-country.csv").exists()
    (folder / "tables" / "mine.csv").write_text("a,b\n")
    write_report([one], folder)
    assert not (folder / "tables" / "by-country.csv").exists()
    assert (folder / "tables" / "mine.csv").exists()
    logged = tracker.read_text(one, "report/files.txt")
    assert "mine.csv" not in logged
    assert "tables/first-table.csv" in logged


def test_a_folder_of_something_else_is_left_alone(home: Path, tmp_path: Path) -> None:
    """Nothing is written where there is no report, and no run is read before that is known."""
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="holds no report"):
        write_report(["0" * 32], tmp_path)
    assert files(tmp_path) == ["thesis.tex"]
    with pytest.raises(ConfigError, match="a file, not a folder"):
        check_folder(tmp_path / "thesis.tex")
    check_folder(tmp_path / "new")


def test_a_listing_from_elsewhere_removes_nothing_outside(tmp_path: Path) -> None:
    """Only files in the report's own folders are ever removed."""
    folder = tmp_path / "out"
    (folder / "tables").mkdir(parents=True)
    for name in ("keep.txt", "out/report.md", "out/tables/old.csv"):
        (tmp_path / name).write_text("x")
    listing = "../keep.txt\ntables/old.csv\ntables/..\nreport.md\n/etc/hostname\ntables/a/b\n"
    (folder / "files.txt").write_text(listing)
    write_files(folder, {"report.html": b"new"})
    assert (tmp_path / "keep.txt").exists()
    assert not (folder / "tables" / "old.csv").exists()
    assert (folder / "report.md").exists()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """In one line."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueSimError, match="cannot be written"):
        write_files(tmp_path / "file" / "out", {"report.html": b""})


def test_missing_predictions_are_said(home: Path, tracker: Tracker) -> None:
    """The arm stands in the report with its run's numbers."""
    metrics = {"accuracy": 0.55, "accuracy_low": 0.5, "accuracy_high": 0.6, "coverage": 1.0}
    with start(tracker, identity="kept back") as job:
        log_arm(job, "rag", frame(0.4))
        log_arm(job, "full", None, metrics=metrics)
    said = write_report([job.run_id], home / "missing")
    text = " ".join((home / "missing" / "report.md").read_text().split())
    assert "55.0 [50.0, 60.0] (from the run)" in said
    assert "No predictions are kept of full" in text


def test_a_learning_curve_alone_has_a_report(home: Path, tracker: Tracker) -> None:
    """Without a first table, and without an error."""
    with start(tracker, subject="history") as job:
        log_arm(job, "full, random", frame(0.4))
        point = {"arm": "full", "knows": "cold", "growth": "profile", "order": "random"}
        point |= {"known": 3.0, "accuracy": 0.5, "low": 0.4, "high": 0.6}
        job.log_json({"points": [point, {**point, "known": 9.0}], "differences": []}, "curve.json")
    said = write_report([job.run_id], home / "curve")
    assert "| battery" not in said
    assert "pictures/learning-curve-cold.png" in files(home / "curve")
    assert "no rival was measured" in (home / "curve" / "report.md").read_text()


def test_no_runs_and_unknown_runs_are_refused(home: Path) -> None:
    """Nothing is written."""
    with pytest.raises(ConfigError, match="give the runs"):
        write_report([], home / "none")
    with pytest.raises(MissingDataError, match="there is no run"):
        write_report(["0" * 32], home / "none")
    assert not (home / "none").exists()


def test_the_same_runs_give_the_same_report(home: Path, written: tuple[Path, str, str]) -> None:
    """Byte for byte, pictures too."""
    folder, _, run = written
    write_report([run], home / "twice")
    for name in files(folder):
        assert (folder / name).read_bytes() == (home / "twice" / name).read_bytes(), name


@pytest.mark.slow
def test_a_real_run_has_a_report(tmp_path: Path) -> None:
    """Arms of `evals run` with the embedded model: machinery, said at the head of the page."""
    with living_in(tmp_path):
        run, _ = run_arms(small_job(), ["full", "single", "country-mode"], "test")
        said = write_report([run], tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index("says nothing about people") < page.index("First table")
    assert "had been read once by then" in page
    known = table(tmp_path / "out", "first-table")
    measured: Any = known[known["state"] == "measured"]
    assert list(measured["arm"]) == ["rag", "single", "full"]
    assert "RAG (lexical" in said
    assert set(table(tmp_path / "out", "warm-arms")["arm"]) == {"country-mode"}
