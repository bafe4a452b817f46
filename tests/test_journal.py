"""Finished rows are kept when `add` returns, once each, and come back as they were."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import ARGUMENTS, OUTCOMES, begun, row

import valuesim_dspy.journal
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.journal import Journal, Shard
from valuesim_dspy.outcomes import Outcome

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal may be."""
    return tmp_path / "answers.parquet.journal"


@settings(max_examples=15, deadline=None)
@given(rows=st.dictionaries(st.integers(0, 99), OUTCOMES, max_size=8))
def test_rows_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[int, Outcome]
) -> None:
    """Whatever text and numbers they hold, in the order of their numbers, from a file."""
    path = tmp_path_factory.mktemp("journal") / "journal"
    with Journal.open(path, ARGUMENTS, 100) as journal:
        for number, outcome in rows.items():
            journal.add(number, outcome)
    with Journal(path) as journal:
        assert list(journal.outcomes()) == sorted(rows.items())


@settings(max_examples=15, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 30), OUTCOMES)
        | st.sets(st.sampled_from(["failed", "invalid"]))
        | st.none(),
        max_size=25,
    )
)
def test_a_journal_is_a_dictionary_whose_first_value_stays(
    tmp_path_factory: pytest.TempPathFactory, steps: list[object]
) -> None:
    """Adding, dropping and opening again, in any order, tell of the same rows at each step."""
    path, known = tmp_path_factory.mktemp("journal") / "journal", dict[int, Outcome]()
    journal = Journal.open(path, ARGUMENTS, 31)
    for step in steps:
        if step is None:
            journal.close()
            journal = Journal.open(path, ARGUMENTS, 31)
        elif isinstance(step, tuple):
            journal.add(*step)
            known.setdefault(*step)
        elif isinstance(step, set):
            gone = [number for number in known if known[number].status in step]
            assert journal.drop(step) == len(gone)
            known = {number: known[number] for number in known if number not in gone}
        assert [n for n in range(31) if journal.is_done(n)] == sorted(known)
        statuses = [outcome.status for outcome in known.values()]
        assert journal.counts() == {name: statuses.count(name) for name in set(statuses)}
        assert journal.count == len(known)
    assert list(journal.outcomes()) == sorted(known.items())
    journal.close()


def test_threads_keep_each_row_once(path: Path) -> None:
    """Eight threads that add the same rows at once leave one of each, readable meanwhile."""
    with Journal.open(path, ARGUMENTS, 200) as journal:
        begin = threading.Barrier(8)

        def work(start: int) -> None:
            begin.wait()
            for step in range(200):
                number = (start + step) % 200
                journal.add(number, row(number))
                if step % 50 == 0:
                    assert all(row(n) == outcome for n, outcome in journal.outcomes())

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(work, 25 * start) for start in range(8)]:
                done.result()
        assert list(journal.outcomes()) == [(number, row(number)) for number in range(200)]
        assert journal.count == journal.expected == 200


KEEPING = """
import itertools, sys
from rows import ARGUMENTS, row
from valuesim_dspy.journal import Journal
journal = Journal.open(sys.argv[1], ARGUMENTS, 10**6)
for number in itertools.count(journal.count):
    journal.add(number, row(number))
    print(number, flush=True)
"""


def test_a_row_outlives_a_kill_as_soon_as_add_returns(path: Path) -> None:
    """Twice killed amid keeping, the file has every row that was said to be kept, in whole."""
    told = -1
    for lines in (300, 40):
        command = [sys.executable, "-c", KEEPING, str(path)]
        place = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=place, text=True) as process:
            assert process.stdout is not None
            for _ in range(lines):
                told = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
        with Journal.open(path, ARGUMENTS, 10**6) as journal:
            assert journal.count > told
            assert list(journal.outcomes()) == [(n, row(n)) for n in range(journal.count)]


def test_a_full_file_says_so_and_goes_on_later(path: Path) -> None:
    """One line tells what to do, what was kept is kept, and with room the same journal goes on."""
    with Journal.open(path, ARGUMENTS, 1000) as journal:
        (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
        journal._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(ConfigError, match=r"make room on the disk and run the same") as caught:
            for number in range(1000):
                journal.add(number, row(number))
        assert "\n" not in str(caught.value)
        kept = journal.count
        assert 0 < kept < 1000 and not journal.is_done(kept)
        journal._db.execute("PRAGMA max_page_count = 100000")
        journal.add(kept, row(kept))
    with Journal(path) as journal:
        assert list(journal.outcomes()) == [(number, row(number)) for number in range(kept + 1)]


def test_memory_is_flat_while_rows_are_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the rows take no more memory: they are read a page at a time."""
    monkeypatch.setattr(valuesim_dspy.journal, "PAGE", 50)
    with Journal.open(path, ARGUMENTS, 2000) as journal:
        peaks = []
        for total in (200, 2000):
            for number in range(total):
                journal.add(number, row(number))
            tracemalloc.start()
            assert sum(1 for _ in journal.outcomes()) == total
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_a_survey_of_the_whole_world_takes_three_megabytes(path: Path) -> None:
    """Which of 97,220 x 250 rows are done is a bit for each, the last of them included."""
    total = 97_220 * 250
    with Journal.open(path, ARGUMENTS, total, width=250) as journal:
        journal.add(total - 1, row(7))
        assert journal.is_done(total - 1) and not journal.is_done(total - 2)
        assert sys.getsizeof(journal._done) < 3.1e6


def test_other_arguments_are_named_with_both_values(path: Path) -> None:
    """Changed, new and absent ones, of lists what differs, shortened; the file stays as it was."""
    begun(path, 20, range(5))
    before = path.read_bytes()
    given_now = {"model": "x" * 1000, "questions": ["Q2", "Q7"], "seed": 42, "hide": "topic"}
    with pytest.raises(ConfigError) as caught:
        Journal.open(path, given_now, 10, Shard(1, 2), 5)
    text = str(caught.value)
    for part in (
        "model (kept test, given xxx",
        "questions (only kept ['Q1'], only given ['Q7'])",
        "hide (kept None, given topic)",
        "rows (kept 20, given 10)",
        "rows a respondent (kept 1, given 5)",
        "shard (kept none, given 1/2)",
    ):
        assert part in text
    assert "seed" not in text and "\n" not in text and len(text) < 900
    assert path.read_bytes() == before
    with Journal(path) as journal:
        assert journal.count == 5


def test_while_nothing_is_kept_any_arguments_may_be_given(path: Path) -> None:
    """A run that was refused before its first row leaves nothing that could be lost."""
    begun(path, 20)
    with Journal.open(path, {"seed": 7}, 24, Shard(2, 2), 3) as journal:
        assert (journal.arguments, journal.total, journal.width) == ({"seed": 7}, 24, 3)
        assert (journal.shard, journal.expected) == (Shard(2, 2), 12)
        journal.add(3, row(3))
    with pytest.raises(ConfigError, match=r"seed \(kept 7, given 42\)"):
        Journal.open(path, ARGUMENTS, 20)
    with Journal.open(path, {"seed": 7}, 24, Shard(2, 2), 3) as journal:
        assert list(journal.outcomes()) == [(3, row(3))]


def test_lists_in_another_order_differ(path: Path) -> None:
    """The order of questions decides the numbers of rows."""
    begun(path, 20, range(1))
    with pytest.raises(ConfigError, match=r"questions \(kept \['Q1', 'Q2'\], given \['Q2', 'Q1'"):
        Journal.open(path, ARGUMENTS | {"questions": ["Q2", "Q1"]}, 20)


def test_plain_values_are_the_same_however_they_are_given(path: Path) -> None:
    """Tuples are lists and numpy's integers are integers, in arguments and in rows."""
    numbers = {"questions": ("Q1", "Q2"), "seed": np.int64(42)}
    with Journal.open(path, ARGUMENTS | numbers, 20) as journal:
        journal.add(3, Outcome("a", "Q1", np.int64(2), np.int64(2), "answered"))  # type: ignore[arg-type]
    with Journal.open(path, ARGUMENTS, 20) as journal:
        assert list(journal.outcomes()) == [(3, Outcome("a", "Q1", 2, 2, "answered"))]


@pytest.mark.parametrize("number", [-1, 20, 10**30])
def test_rows_beyond_the_run_are_refused(path: Path, number: int) -> None:
    """A number that is none of the run's is a mistake, not a row."""
    with Journal.open(path, ARGUMENTS, 20) as journal:
        with pytest.raises(ConfigError, match=f"keeps no row {number} "):
            journal.add(number, row(1))
        assert journal.count == 0


def test_an_unknown_status_is_refused(path: Path) -> None:
    """What a later reader could not count is not kept."""
    with (
        Journal.open(path, ARGUMENTS, 20) as journal,
        pytest.raises(ConfigError, match="no row 1 that is lost"),
    ):
        journal.add(1, row(1, "lost"))


def test_a_part_keeps_its_own_respondents_rows(path: Path) -> None:
    """Of seven people with three questions, the second of three parts has two people."""
    with Journal.open(path, ARGUMENTS, 21, Shard(2, 3), 3) as journal:
        own = [number for number in range(21) if journal.takes(number)]
        assert own == [3, 4, 5, 12, 13, 14] and journal.expected == 6
        for number in own:
            journal.add(number, row(number))
        with pytest.raises(ConfigError, match="no row 6 "):
            journal.add(6, row(6))
    with Journal(path) as journal:
        assert (journal.shard, journal.total, journal.width) == (Shard(2, 3), 21, 3)
        assert journal.count == journal.expected


def test_reasons_come_with_the_most_frequent_first(path: Path) -> None:
    """Each with its status and its rows, as many as asked for, in whatever text they are."""
    kinds = [
        ("failed", "timed out"),
        ("skipped", "no facts"),
        ("failed", "«\ud800»"),
        ("answered", ""),
    ]
    with Journal.open(path, ARGUMENTS, 20) as journal:
        for number, kind in enumerate([0, 0, 1, 3, 3, 3, 3, 1, 0, 2]):
            journal.add(number, row(number, *kinds[kind]))
        found = [("failed", "timed out", 3), ("skipped", "no facts", 2), ("failed", "«\ud800»", 1)]
        assert journal.reasons() == found
        assert journal.reasons(1) == found[:1]


def test_dropped_rows_are_asked_again(path: Path) -> None:
    """They are gone from the file too, others take their numbers, and how often is kept."""
    with Journal.open(path, ARGUMENTS, 20) as journal:
        for number, status in enumerate(["answered", "failed", "invalid", "skipped"]):
            journal.add(number, row(number, status))
        assert journal.numbers(["failed", "invalid"]) == {1, 2} and journal.numbers([]) == set()
        assert journal.retries == 0
        assert journal.drop(["failed", "invalid"]) == 2
        assert journal.retries == 1 and journal.numbers(["failed", "invalid"]) == set()
    with Journal.open(path, ARGUMENTS, 20) as journal:
        assert journal.retries == 1
        assert [journal.is_done(number) for number in range(4)] == [True, False, False, True]
        journal.add(1, row(1))
        assert dict(journal.outcomes())[1] == row(1)


def test_a_journal_that_is_not_there_is_missed(path: Path) -> None:
    """Reading begins none."""
    with pytest.raises(MissingDataError, match="there is no journal"):
        Journal(path)
    assert not path.exists()
