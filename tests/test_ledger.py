"""What a job has paid over all its processes, phase by phase."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from jobs import small_job

from evals.study import Study, open_study
from optimize.ledger import Ledger, PhaseMeters
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import BudgetExceededError
from valuesim_dspy.usage import Usage

CALL = Usage(1, 100, 10, 0.5)


@pytest.fixture
def study() -> Iterator[Study]:
    """A study with a budget of five calls."""
    with open_study(small_job(budget={"calls": 5}), cache=ResponseCache()) as opened:
        yield opened


def test_what_one_process_writes_the_next_one_reads(tmp_path: Path) -> None:
    """By part, by phase and in all; nothing is known before the first call."""
    path = tmp_path / "paid.jsonl"
    assert Ledger(path).earlier() == Usage() and not path.exists()
    ledger = Ledger(path)
    for phase, part in (("measuring rag", "val"), ("measuring rag", "dev"), ("compiling rag", "")):
        ledger.writer(phase, part)(CALL)
    # What this process paid is on its meters; the ledger is of the earlier ones.
    assert ledger.earlier() == Usage()
    read = Ledger(path)
    assert read.earlier("measuring rag", "val") == CALL
    assert read.earlier("measuring rag") == CALL + CALL
    assert read.earlier().calls == 3 and read.earlier().usd == 1.5
    assert read.earlier("measuring full") == Usage()


def test_only_its_owner_reads_it_and_it_holds_counts(tmp_path: Path) -> None:
    """Numbers and names of phases."""
    path = tmp_path / "paid.jsonl"
    Ledger(path).writer("measuring rag", "val")(CALL)
    assert path.stat().st_mode & 0o077 == 0
    assert path.read_text() == '["measuring rag", "val", 1, 100, 10, 0.5, 0, 0]\n'


@pytest.mark.parametrize(
    "torn", ['["measuring rag", "va', "[]", '["a"]', "7", '["a", "b", 1, 2, 3,']
)
def test_a_line_cut_short_by_a_death_is_passed_over(tmp_path: Path, torn: str) -> None:
    """The lines before and after it count."""
    path = tmp_path / "paid.jsonl"
    ledger = Ledger(path)
    ledger.writer("p", "")(CALL)
    with path.open("a") as file:
        file.write(torn + "\n")
    ledger.writer("p", "")(CALL)
    assert Ledger(path).earlier().calls == 2


def test_unknown_prices_stay_unknown(tmp_path: Path) -> None:
    """Never zero, in the sum of several processes either."""
    path = tmp_path / "paid.jsonl"
    Ledger(path).writer("p", "")(CALL)
    Ledger(path).writer("p", "")(Usage(1, 1, 1, None, 1))
    assert Ledger(path).earlier().usd is None
    assert Ledger(path).earlier().unpriced_calls == 1


def test_phases_add_up_and_are_written_down(tmp_path: Path, study: Study) -> None:
    """Each on its meter, all on the study's; equal requests of a phase are needed once."""
    path = tmp_path / "paid.jsonl"
    meters = PhaseMeters(study, Ledger(path))
    meters.meter("one", "val").record(CALL, paid=True, key="a")
    meters.meter("one", "dev").record(CALL, paid=False, key="a")
    meters.study("two", "").meter.record(CALL, paid=True, key="b")
    spent = meters.spent()
    assert list(spent) == ["one", "two"]
    assert spent["one"].needed == spent["one"].paid == CALL
    assert meters.whole().needed.calls == meters.whole().paid.calls == study.meter.paid.calls == 2
    assert Ledger(path).earlier().calls == 2


def test_a_phases_study_knows_what_the_study_has_worked_out(tmp_path: Path, study: Study) -> None:
    """Its examples, and what takes long to make; it differs in its meter alone."""
    train, leakage = study.examples("train"), study.leakage
    view = PhaseMeters(study, Ledger(tmp_path / "paid.jsonl")).study("one", "val")
    assert view.examples("train") is train and view.leakage is leakage
    assert view.identity == study.identity and view.meter is not study.meter


def test_the_budget_holds_over_all_processes(tmp_path: Path, study: Study) -> None:
    """What others paid for the job counts against it, and into what the job paid."""
    path = tmp_path / "paid.jsonl"
    for _ in range(3):
        Ledger(path).writer("one", "val")(CALL)
    meters = PhaseMeters(study, Ledger(path))
    meter = meters.meter("one", "val")
    for _ in range(2):
        meter.reserve(CALL)
        meter.record(CALL, paid=True, planned=CALL)
    with pytest.raises(BudgetExceededError, match="5 calls"):
        meter.reserve(CALL)
    assert meters.paid_earlier("one", "val").calls == 3
    assert meters.spent()["one"].paid.calls == meters.whole().paid.calls == 5
    assert meter.paid.calls == 2


def test_a_cut_line_takes_no_other_with_it(tmp_path: Path) -> None:
    """What the next process pays begins a line of its own."""
    path = tmp_path / "paid.jsonl"
    Ledger(path).writer("p", "")(CALL)
    with path.open("a") as file:
        file.write('["p", "", 1, 1')
    Ledger(path).writer("p", "")(CALL)
    assert Ledger(path).earlier() == CALL + CALL
