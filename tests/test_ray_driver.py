"""What the driver does with workers that answer, die, stop or differ, on a Ray in the process."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_ray import FakeRay, cache_as_before  # noqa: F401
from simulated import journal_of, rows_of, run_here, small_plan, write_people

from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    MissingDataError,
    ProgramStateError,
    ValueSimError,
)
from valuesim_dspy.journal import Shard
from valuesim_dspy.limits import Limits
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.plan import Opened, Plan, open_plan
from valuesim_dspy.ray_engine import Parcel, Worker, divided, driver, run_on_ray
from valuesim_dspy.ray_engine.work import LIVES
from valuesim_dspy.usage import Budget, Meter, Usage

Run = Callable[..., list[tuple[int, dict[str, Any]]]]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan of two questions to eight people."""
    return small_plan(write_people(tmp_path_factory.mktemp("survey")))


@pytest.fixture(scope="module")
def opened(plan: Plan) -> Opened:
    """That plan, opened."""
    return open_plan(plan)


@pytest.fixture(scope="module")
def local(opened: Opened, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Its rows by the local engine."""
    with journal_of(opened, tmp_path_factory.mktemp("local") / "journal") as journal:
        run_here(opened, journal)
        return rows_of(journal)


@pytest.fixture
def run(
    plan: Plan, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Run the plan on a fake Ray, with a journal that is taken up; return its rows."""
    # Opened once: a worker's plan is the driver's, which other tests compare.
    monkeypatch.setattr("valuesim_dspy.ray_engine.worker._open_parcel", lambda parcel: opened)

    def act(ray: FakeRay, **known: Any) -> list[tuple[int, dict[str, Any]]]:
        monkeypatch.setattr(driver, "ray_session", ray.session)
        shard = known.pop("shard", None)
        with journal_of(opened, tmp_path / "journal", shard) as journal:
            run_on_ray(plan, opened, journal, **{"workers": 2, **known})
            return rows_of(journal)

    yield act


def dies_once(when: int, *, method: str = "answer") -> Callable[[int, str, int], bool]:
    """Return a rule by which the first worker dies after so many messages."""
    return lambda number, called, said: number == 0 and called == method and said == when


def test_rows_are_those_of_the_local_engine(run: Run, local: list[Any]) -> None:
    """Whoever answers, in whatever order; and every worker is ended."""
    ray = FakeRay()
    assert run(ray) == local
    assert ray.made == 2 and not ray.alive
    assert ray.settings["max_restarts"] == ray.settings["max_task_retries"] == 0
    assert ray.settings["scheduling_strategy"] == "SPREAD"


def test_every_outcome_is_told_once(run: Run) -> None:
    """Progress counts rows, not messages."""
    told: list[Outcome] = []
    rows = run(FakeRay(), on_outcome=told.append)
    assert sorted((o.respondent, o.question) for o in told) == sorted(
        (row["respondent"], row["question"]) for _, row in rows
    )


@pytest.mark.parametrize("when", [0, 1, 3])
def test_a_dead_workers_rows_are_asked_by_another(run: Run, local: list[Any], when: int) -> None:
    """None is lost, none is there twice, and what came before the death is not asked again."""
    ray = FakeRay(dies_once(when))
    told: list[Outcome] = []
    assert run(ray, on_outcome=told.append) == local
    assert ray.made == 3 and len(told) == len(local)
    given = Counter(at for _, people in ray.asked for at in people)
    assert set(given) == set(range(8))
    finished = when // 2
    lost = next(people for number, people in ray.asked if number == 0)
    assert all(given[at] == 1 for at in lost[:finished])
    assert all(given[at] == 2 for at in lost[finished:])


def test_a_worker_that_dies_while_it_opens_is_replaced(run: Run, local: list[Any]) -> None:
    """Nothing was given to it yet."""
    ray = FakeRay(dies_once(0, method="open"))
    assert run(ray) == local
    assert ray.made == 3


def test_an_idle_worker_takes_what_a_dead_one_leaves(run: Run, local: list[Any]) -> None:
    """The replacement may wait for a machine for ever."""
    ray = FakeRay(lambda number, method, said: number == 1 and method == "answer", slots=2)
    assert run(ray) == local
    assert 0 in dict(ray.asked) and not ray.alive


def test_a_run_ends_without_workers_that_never_start(run: Run, local: list[Any]) -> None:
    """A cluster smaller than asked for is used as it is."""
    ray = FakeRay(slots=1)
    assert run(ray, workers=4) == local
    assert {number for number, _ in ray.asked} == {0}


def test_a_person_that_ends_every_worker_fails_alone(
    run: Run, opened: Opened, local: list[Any]
) -> None:
    """Everybody else is answered; a bounded number of workers is spent on it."""
    poison, ray = 3, FakeRay()

    def deaths(number: int, method: str, said: int) -> bool:
        mine = [people for asker, people in ray.asked if asker == number]
        return method == "answer" and bool(mine) and poison in mine[-1]

    ray.deaths = deaths
    rows = run(ray)
    numbers = {poison * 2, poison * 2 + 1}
    assert [row for row in rows if row[0] not in numbers] == [
        row for row in local if row[0] not in numbers
    ]
    for number, row in rows:
        if number in numbers:
            truth = dict(local)[number]
            assert row["status"] == "failed" and "workers ended" in row["reason"]
            kept = ("respondent", "question", "truth", "country")
            assert {k: row[k] for k in kept} == {k: truth[k] for k in kept}
    assert ray.made <= 2 + LIVES + 3


def test_workers_that_only_die_end_the_run(run: Run) -> None:
    """Where nobody answers anything it is no person's fault: too little memory, no package."""
    ray = FakeRay(lambda number, method, said: True)
    with pytest.raises(
        MissingDataError, match=r"in a row ended .*the last: the actor died; .*run the same command"
    ):
        run(ray)
    assert ray.made == 2 + 2 * LIVES and not ray.alive


def test_what_is_done_is_not_asked_again(run: Run, local: list[Any]) -> None:
    """A run that was broken off goes on; one that is finished needs no Ray."""
    with pytest.raises(KeyboardInterrupt):
        run(FakeRay(), on_outcome=interrupting(after=5))
    told: list[Outcome] = []
    assert run(FakeRay(), on_outcome=told.append) == local
    assert len(told) == len(local) - 5
    unused = FakeRay()
    assert run(unused) == local and unused.made == 0


def interrupting(after: int) -> Callable[[Outcome], None]:
    """Return a callback at which the user presses Ctrl-C."""
    seen: list[Outcome] = []

    def act(outcome: Outcome) -> None:
        seen.append(outcome)
        if len(seen) == after:
            raise KeyboardInterrupt

    return act


def test_ctrl_c_ends_every_worker(run: Run) -> None:
    """Nobody goes on asking."""
    ray = FakeRay()
    with pytest.raises(KeyboardInterrupt):
        run(ray, on_outcome=interrupting(after=1))
    assert ray.made == 2 and not ray.alive


def test_a_local_run_goes_on_with_ray_and_back(
    run: Run, opened: Opened, local: list[Any], tmp_path: Path
) -> None:
    """The journal is the same."""
    with journal_of(opened, tmp_path / "journal") as journal:
        run_here(opened, journal, at=[0, 5])
    with pytest.raises(KeyboardInterrupt):
        run(FakeRay(), on_outcome=interrupting(after=3))
    with journal_of(opened, tmp_path / "journal") as journal:
        assert journal.count == 7
        run_here(opened, journal)
        assert rows_of(journal) == local


def test_a_shards_journal_gets_that_shards_rows(run: Run, local: list[Any]) -> None:
    """Other people are not asked."""
    ray = FakeRay()
    rows = run(ray, shard=Shard(2, 3))
    assert rows == [row for row in local if (row[0] // 2) % 3 == 1]
    assert {at for _, people in ray.asked for at in people} == {1, 4, 7}


@pytest.mark.parametrize(
    ("told", "kind", "text"),
    [
        (MissingDataError("the key is absent", "set it"), MissingDataError, "the key is absent; s"),
        (ConfigError("does not fit", key="task_lm"), ConfigError, "task_lm: does not fit"),
        (ProgramStateError("is older"), ProgramStateError, "is older"),
        (ValueSimError("something else"), ConfigError, "something else"),
    ],
)
@pytest.mark.parametrize("method", ["open", "answer"])
def test_an_error_of_the_run_keeps_its_own_text(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    told: ValueSimError,
    kind: type,
    text: str,
) -> None:
    """It ends the run, in one line that names the machine, without Ray's traceback."""

    def fail(*_: Any, **__: Any) -> Any:
        raise told

    name = "preflight" if method == "open" else "stream_cases"
    monkeypatch.setattr(f"valuesim_dspy.ray_engine.worker.{name}", fail)
    ray = FakeRay()
    with pytest.raises(ValueSimError, match=text) as caught:
        run(ray)
    assert type(caught.value) is kind
    assert "on the Ray worker" in str(caught.value) and "\n" not in str(caught.value)
    assert not ray.alive


def test_a_fault_of_the_code_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's traceback of the worker stays where it is, and so does what it may tell of a person."""

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("she is 42")

    monkeypatch.setattr("valuesim_dspy.ray_engine.worker.make_lm", fail)
    with pytest.raises(ConfigError, match=r"^a Ray worker failed: RuntimeError$"):
        run(FakeRay())


def test_the_budget_of_the_meter_ends_the_run(
    run: Run, opened: Opened, local: list[Any], tmp_path: Path
) -> None:
    """What workers pay is counted on the driver; nothing more is handed out."""
    counted = Meter("task_lm")
    ray = FakeRay()
    with pytest.raises(BudgetExceededError, match="10 calls"):
        run(ray, meter=Meter("task_lm", budget=Budget(calls=10)))
    assert not ray.alive
    with journal_of(opened, tmp_path / "journal") as journal:
        # A call a row here, and every row is told as soon as it is paid.
        assert journal.count == 10
    assert run(FakeRay(), meter=counted) == local
    assert counted.needed.calls == counted.paid.calls == len(local) - 10


def test_what_is_under_way_at_a_budgets_end_is_kept(
    run: Run, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every worker is told to finish; what it brings is counted and never asked again."""
    monkeypatch.setattr(Worker, "finish", lambda worker: None)
    ray, meter = FakeRay(), Meter("task_lm", budget=Budget(calls=3))
    told: list[Outcome] = []
    with pytest.raises(BudgetExceededError) as stop:
        run(ray, meter=meter, on_outcome=told.append)
    assert sorted(ray.finished) == [0, 1] and not ray.alive
    with journal_of(opened, tmp_path / "journal") as journal:
        # These workers do not listen, and end the people they have.
        asked = {at for _, people in ray.asked for at in people}
        assert journal.count == 2 * len(asked) == len(told) == meter.paid.calls > 4
        assert stop.value.spent == meter.paid.calls


def test_rows_that_come_after_a_budgets_end_may_be_the_last(
    run: Run, local: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nothing is left to do, and the run has succeeded."""
    monkeypatch.setattr(Worker, "finish", lambda worker: None)
    budget = Budget(calls=len(local) - 1)
    assert run(FakeRay(), meter=Meter("task_lm", budget=budget)) == local


def test_a_worker_that_does_not_end_is_not_waited_for(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the time is over, it is ended and that is said."""
    ray = FakeRay()
    wait, asked = ray.wait, list[float]()

    def stuck(items: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], Any]:
        if not ray.finished:
            return wait(items, num_returns, timeout)
        asked.append(timeout)
        return [], items

    monkeypatch.setattr(ray, "wait", stuck)
    with pytest.raises(BudgetExceededError):
        run(ray, meter=Meter("task_lm", budget=Budget(calls=3)))
    assert len(asked) == 1 and 0 < asked[0] <= driver.GRACE and not ray.alive
    assert "2 workers are ended in the middle of calls" in caplog.text


def test_the_trial_calls_of_workers_that_open_are_counted(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one has spent the budget by its own, the other's is paid all the same."""
    opens = Worker.open

    def tried(worker: Worker) -> Any:
        return opens(worker) | {"paid": Usage(calls=1).as_dict()}

    monkeypatch.setattr(Worker, "open", tried)
    ray, meter = FakeRay(), Meter("task_lm", budget=Budget(calls=1))
    with pytest.raises(BudgetExceededError) as stop:
        run(ray, meter=meter)
    assert meter.paid.calls == stop.value.spent == 2
    assert not ray.asked and not ray.alive


def test_a_second_ctrl_c_ends_workers_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever presses it twice does not want to wait."""
    monkeypatch.setattr(Worker, "finish", lambda worker: None)
    seen: list[Outcome] = []

    def press(outcome: Outcome) -> None:
        seen.append(outcome)
        if len(seen) in (2, 3):
            raise KeyboardInterrupt

    ray = FakeRay()
    with pytest.raises(KeyboardInterrupt):
        run(ray, on_outcome=press)
    assert len(seen) == 3 and ray.finished and not ray.alive


def test_calls_of_an_interrupted_message_are_counted(run: Run) -> None:
    """What was paid is told, whenever Ctrl-C comes."""
    meter = Meter("task_lm")
    with pytest.raises(KeyboardInterrupt):
        run(FakeRay(), on_outcome=interrupting(after=5), meter=meter)
    assert meter.paid.calls == 5


def test_a_budget_that_is_met_by_the_last_row_is_enough(run: Run, local: list[Any]) -> None:
    """A run that is finished is no run out of money."""
    budget = Budget(calls=len(local))
    assert run(FakeRay(), meter=Meter("task_lm", budget=budget)) == local


def test_the_cluster_decides_how_many_workers(run: Run, local: list[Any]) -> None:
    """One for each processor, and never more than people."""
    ray = FakeRay()
    assert run(ray, workers=0) == local and ray.made == 3
    many = FakeRay()
    run(many, workers=50, shard=None)
    assert many.made == 0


def test_more_workers_than_people_are_not_made(run: Run, local: list[Any]) -> None:
    """Each would only open the survey."""
    ray = FakeRay(cpus=64)
    assert run(ray, workers=50) == local
    assert ray.made == 8


def test_more_workers_than_processors_are_not_made(
    run: Run, local: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Those that never start would hold a part of the limits; it is said in one line."""
    ray = FakeRay()
    assert run(ray, workers=5, limits=Limits(in_flight=12)) == local
    assert ray.made == 3
    assert [sent.in_flight for sent in ray.sent if isinstance(sent, Limits)] == [4, 4, 4]
    assert [record.getMessage() for record in caplog.records] == [
        "3 workers, not 5: so many processors are there"
    ]


def test_workers_are_sent_plain_values_and_no_key(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes over the wire holds neither the driver's keys nor code."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    ray = FakeRay()
    run(ray)
    assert {type(item).__name__ for item in ray.sent} == {"Parcel", "Limits", "tuple"}
    assert b"canary" not in pickle.dumps(ray.sent)


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 64, 100])
def test_limits_are_divided(workers: int) -> None:
    """Together they are the whole; where that is less than one each, one each."""
    whole = Limits(in_flight=64, calls_per_minute=500, tokens_per_minute=90_001)
    parts = divided(whole, workers)
    assert len(parts) == workers
    for name, value in whole.model_dump().items():
        shares = [getattr(part, name) for part in parts]
        assert sum(shares) == max(value, workers)
        assert max(shares) - min(shares) <= 1


def test_limits_that_are_not_set_stay_so() -> None:
    """No bound is no bound for anybody."""
    assert divided(Limits(), 3)[0].calls_per_minute is None


def test_a_worker_knows_nothing_of_ray() -> None:
    """It is a plain class, and importing the engine imports no Ray."""
    assert Worker.__module__ == "valuesim_dspy.ray_engine.worker"
    assert not hasattr(Worker, "remote")


def unanswered(path: Path, opened: Opened) -> None:
    """Let nobody have answered yet, in a journal that is closed again."""
    with journal_of(opened, path) as journal:
        for number in range(opened.total):
            journal.add(number, Outcome(f"{number}", "Q69", None, None, "invalid", "no"))


@pytest.mark.parametrize("stops", ["session", "open"])
def test_rows_are_kept_until_a_worker_can_ask(
    run: Run,
    opened: Opened,
    tmp_path: Path,
    local: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    stops: str,
) -> None:
    """A Ray that is not there, or workers that cannot open, cost no row; then all are asked."""
    path, ray = tmp_path / "journal", FakeRay()
    unanswered(path, opened)

    def fail(*_: Any, **__: Any) -> Any:
        raise ConfigError("it is not there")

    with monkeypatch.context() as patched:
        if stops == "session":
            patched.setattr(ray, "session", fail)
        else:
            patched.setattr("valuesim_dspy.ray_engine.worker.make_lm", fail)
        with pytest.raises(ConfigError, match="it is not there"):
            run(ray, again=("failed", "invalid"))
    with journal_of(opened, path) as journal:
        assert journal.counts() == {"invalid": opened.total} and journal.retries == 0
    seen: list[Outcome] = []
    ray = FakeRay()
    assert run(ray, again=("failed", "invalid"), on_outcome=seen.append) == local
    assert len(seen) == opened.total and ray.made == 2
    with journal_of(opened, path) as journal:
        assert journal.retries == 1
    assert {sent.retries for sent in ray.sent if isinstance(sent, Parcel)} == {1}


def test_nothing_is_dropped_where_nothing_is_asked_anew(
    run: Run, opened: Opened, tmp_path: Path
) -> None:
    """Rows without an answer stay, and no worker is made for them."""
    unanswered(tmp_path / "journal", opened)
    ray = FakeRay()
    assert {row["status"] for _, row in run(ray)} == {"invalid"} and ray.made == 0
