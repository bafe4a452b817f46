"""Whatever ends a simulation, the same command goes on: no answer lost, none twice, little paid."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import pytest
from killing import ASKING, SIMULATION, Model, Nursery
from loopback import LoopbackServer
from simulating import QUESTIONS as ASKED
from simulating import Scripted, examples, remote

from valuesim_dspy.case import Case
from valuesim_dspy.journal import Journal
from valuesim_dspy.lm import MeteredLM
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.panel import spare_threads
from valuesim_dspy.simulate import simulate
from valuesim_dspy.survey.synthetic import write_synthetic

pytestmark = pytest.mark.slow
KILLS, MOST = 20, 5
IN_FLIGHT = 2
UNKEPT = 2 * spare_threads(IN_FLIGHT)
"""Calls that may be paid and not kept when a process dies: two are on the wire, and each thread,
of cases and of perspectives, may be about to keep a reply."""
QUESTIONS, PEOPLE = "Q57,Q69,Q70,Q182", 6
ROWS = 4 * PEOPLE
OUT = "answers.parquet"


@dataclass(frozen=True, eq=False)
class World:
    """Where simulations are run: a survey, a server, and what comes out undisturbed."""

    nursery: Nursery
    model: Model
    url: str
    folder: Path

    def home(self, name: str) -> Path:
        """Return a new home."""
        home = self.folder / name
        home.mkdir()
        return home

    def simulate(self, home: Path, *more: str, **ending: int) -> int:
        """Run the command, with what ends it; return its status."""
        arguments = [
            "simulate", "--survey", str(self.folder / "people.csv"), "--questions", QUESTIONS,
            "--sample", str(PEOPLE), "--model", "openai/test", "--api-base", self.url,
            "--in-flight", str(IN_FLIGHT), "--out", OUT, *more,
        ]  # fmt: skip
        return self.nursery.run(home, arguments, self.model, **ending)

    @cached_property
    def calm(self) -> tuple[pd.DataFrame, int, int]:
        """The output of an undisturbed run, its requests, and its events."""
        home, before = self.home("calm"), self.model.asked
        assert self.simulate(home) == 0, (home / "err").read_text()
        table = output(home)
        assert len(table) == ROWS and set(table["status"]) == {"answered"}
        return table, self.model.asked - before, int((home / "events").read_text())

    def halfway(self, name: str, end: int = signal.SIGKILL) -> Path:
        """Return the new home of a run that a signal ended at half of its requests."""
        requests, home = self.calm[1], self.home(name)
        self.model.asked, self.model.signal = 0, end
        status = self.simulate(home, request=requests // 2)
        self.model.signal = signal.SIGKILL
        assert status == (128 + end if end in ASKING else -end), (home / "err").read_text()
        return home

    def goes_on(self, home: Path) -> None:
        """Assert that the same command now ends as if undisturbed."""
        assert self.simulate(home) == 0, (home / "err").read_text()
        pd.testing.assert_frame_equal(output(home), self.calm[0])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One nursery and one server for all tests."""
    folder, model = tmp_path_factory.mktemp("world"), Model()
    write_synthetic(folder / "people.csv", 40, seed=3)
    with LoopbackServer(model) as server, Nursery(SIMULATION) as nursery:
        yield World(nursery, model, server.url, folder)


def output(home: Path) -> pd.DataFrame:
    """Return what was written, without what depends on the clock and on who paid."""
    table = pd.read_parquet(home / OUT)
    assert not table.duplicated(["respondent", "question"]).any()
    return table.drop(columns=["seconds", "paid", "paid_tokens"])


def kept(home: Path, copy: Path) -> dict[int, Outcome]:
    """Return what a killed process had kept, from a copy: looking mends nothing."""
    copy.mkdir()
    for file in home.glob(f"{OUT}.journal*"):
        shutil.copy(file, copy)
    path = copy / f"{OUT}.journal"
    if not path.exists() or not path.stat().st_size:
        return {}
    with Journal(path) as journal:
        return dict(journal.outcomes())


def test_killed_at_twenty_random_moments_it_ends_as_if_undisturbed(
    world: World, tmp_path: Path
) -> None:
    """Amid calls and amid writing, up to five times in a run; what was kept stays as it is."""
    _, requests, events = world.calm
    rng, kills, runs, most = random.Random("kills of simulate"), 0, 0, 0
    while kills < KILLS:
        home, known = world.home(f"killed-{runs}"), dict[int, Outcome]()
        world.model.asked, begun, left = 0, kills, requests
        while kills < KILLS and kills - begun < MOST:
            at = rng.randint(1, max(1, left)) if kills % 2 else 0
            status = world.simulate(home, request=at, event=0 if at else rng.randint(1, events))
            if status == 0:
                break
            assert status == -signal.SIGKILL, (home / "err").read_text()
            kills, left = kills + 1, requests - world.model.asked
            now = kept(home, tmp_path / f"copy-{kills}")
            assert known.items() <= now.items()
            known, most = now, max(most, len(now))
        world.goes_on(home)
        assert requests <= world.model.asked <= requests + (kills - begun) * UNKEPT
        with Journal(home / f"{OUT}.journal") as journal:
            assert known.items() <= dict(journal.outcomes()).items()
        runs += 1
    assert runs >= KILLS // MOST and most > ROWS // 2


def line_of(home: Path, file: str = "err") -> str:
    """Return what was said, which is one line."""
    text = (home / file).read_text()
    assert text.count("\n") == 1, text
    return text


def test_a_crash_is_like_a_kill(world: World) -> None:
    """It goes on, and what is asked again was in flight."""
    requests, home = world.calm[1], world.halfway("crash", signal.SIGSEGV)
    world.goes_on(home)
    assert requests <= world.model.asked <= requests + UNKEPT


def test_kept_rows_are_not_asked_again_though_the_responses_are_gone(
    world: World, tmp_path: Path
) -> None:
    """The journal alone knows what is done: each row's three perspectives are asked no more."""
    requests = world.calm[1]
    home, world.model.asked = world.home("alone"), 0
    assert world.simulate(home, request=requests - 5) == -signal.SIGKILL
    known, world.model.asked = kept(home, tmp_path / "copy"), 0
    shutil.rmtree(home / "xdg_cache_home")
    world.goes_on(home)
    assert len(known) > ROWS // 2 and world.model.asked <= requests - 3 * len(known)


@pytest.mark.parametrize("asking", ASKING)
def test_told_to_end_it_says_what_is_kept_and_goes_on(world: World, asking: int) -> None:
    """By Ctrl-C or by a scheduler: one line, no traceback; what was in flight is kept."""
    requests, home = world.calm[1], world.halfway(f"told-{asking}", asking)
    assert "rows are left, the others are kept in" in line_of(home)
    assert not (home / OUT).exists() and world.model.asked < requests
    world.goes_on(home)
    assert world.model.asked == requests


class Crashing:
    """Answers questions, and raises an error once."""

    def __init__(self, error: BaseException) -> None:
        self.asked: list[str] = []
        self.error: BaseException | None = error

    def __call__(self, case: Case) -> int:
        """Answer, or raise at the fourth question."""
        self.asked.append(case.question.id)
        if self.error is not None and len(self.asked) == 4:
            error, self.error = self.error, None
            raise error
        return 2

    def run(self, journal: Path, lm: MeteredLM) -> pd.DataFrame:
        """Put one person's questions to it, two at a time."""
        return simulate(Scripted(self), examples(), lm=lm, threads=2, journal=journal)


def test_a_worker_thread_that_ends_loses_nothing(tmp_path: Path) -> None:
    """It ends the run, and the next one asks what is left and nothing else."""
    worker, journal = Crashing(SystemExit(1)), tmp_path / "journal"
    with remote() as (lm, _):
        with pytest.raises(SystemExit):
            worker.run(journal, lm)
        with Journal(journal) as opened:
            done = {outcome.question for _, outcome in opened.outcomes()}
        assert len(done) >= 2 and worker.asked[3] not in done
        worker.asked.clear()
        table = worker.run(journal, lm)
    assert sorted(worker.asked) == sorted(set(ASKED) - done)
    assert list(table["question"]) == list(ASKED) and set(table["status"]) == {"answered"}


def test_a_worker_thread_without_memory_fails_one_row(tmp_path: Path) -> None:
    """The others are answered, and its own says why it is not."""
    with remote() as (lm, _):
        table = Crashing(MemoryError()).run(tmp_path / "journal", lm)
    assert list(table["status"]).count("answered") == len(ASKED) - 1
    (failed,) = table["reason"][table["status"] == "failed"]
    assert failed.startswith("MemoryError")


def test_on_a_full_disk_it_stops_and_goes_on_when_there_is_room(
    world: World, tmp_path: Path
) -> None:
    """Status 2 and a line that says what to do; what was kept is not asked again."""
    home = world.home("full")
    assert world.simulate(home, largest=90_000) == 2
    (said,) = [line for line in (home / "err").read_text().splitlines() if "make room" in line]
    assert "Traceback" not in (home / "err").read_text()
    assert f"{OUT}.journal: no more answers can be kept" in said
    known = kept(home, tmp_path / "copy")
    assert 0 < len(known) < ROWS and not (home / OUT).exists()
    world.goes_on(home)
    with Journal(home / f"{OUT}.journal") as journal:
        assert known.items() <= dict(journal.outcomes()).items()


def test_other_arguments_are_refused_with_what_differs(world: World) -> None:
    """Nothing is asked and nothing changed; with the first ones it goes on."""
    home = world.halfway("other")
    before = world.model.asked
    assert world.simulate(home, "--seed", "7", "--hide", "battery") == 2
    said = line_of(home)
    assert "seed (kept 42, given 7)" in said and "hide (kept question, given battery)" in said
    assert world.model.asked == before
    world.goes_on(home)


def test_a_second_process_is_refused_at_once(world: World) -> None:
    """While one works on a journal another stops in one line, and the first loses nothing."""
    home = world.halfway("second")
    before = world.model.asked
    with Journal(home / f"{OUT}.journal") as journal:
        count = journal.count
        assert world.simulate(home) == 2
        assert "another process works on it" in line_of(home)
        assert list(dict(journal.outcomes())) and journal.count == count
    assert world.model.asked == before
    world.goes_on(home)


def test_parts_of_which_one_was_killed_are_merged_into_the_same(world: World) -> None:
    """A merge refuses what is not done, and then writes what an undisturbed run wrote."""
    calm, requests, _ = world.calm
    home = world.home("parts")
    merge = ("merge", "--out", OUT)
    assert world.simulate(home, "--shard", "1/2") == 0
    assert world.nursery.run(home, merge, world.model) == 2
    assert "1 of 2 parts of answers.parquet have no journal: 2" in line_of(home)
    assert world.simulate(home, "--shard", "2/2", request=requests // 4) == -signal.SIGKILL
    assert world.nursery.run(home, merge, world.model) == 2
    assert "rows are not done: 2/2 (" in line_of(home)
    assert world.simulate(home, "--shard", "2/2") == 0
    assert world.nursery.run(home, merge, world.model) == 0
    pd.testing.assert_frame_equal(output(home), calm)
