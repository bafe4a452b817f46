"""What the driver keeps and counts of what workers tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fake_ray import cache_as_before  # noqa: F401
from simulated import journal_of, small_plan, write_people

from valuesim_dspy.errors import BudgetExceededError, ConfigError
from valuesim_dspy.journal import Journal
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.plan import Opened, open_plan
from valuesim_dspy.ray_engine.keeping import Kept, Traffic
from valuesim_dspy.ray_engine.worker import stop_of
from valuesim_dspy.usage import Budget, Meter, Usage


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A plan of two questions to two people."""
    return open_plan(small_plan(write_people(tmp_path_factory.mktemp("survey")), sample=2))


@pytest.fixture
def journal(opened: Opened, tmp_path: Path) -> Iterator[Journal]:
    """Its journal, empty."""
    with journal_of(opened, tmp_path / "journal") as made:
        yield made


def message(*numbers: int, calls: int = 1, **counted: int) -> dict[str, Any]:
    """Return what a worker tells of some rows."""
    rows = [(n, asdict(Outcome(f"person {n // 2}", "Q69", None, 1, "answered"))) for n in numbers]
    usage = {"paid": Usage(calls=calls).as_dict(), "cached": Usage(calls=2).as_dict()}
    return {"rows": rows, **usage, "counted": counted}


def test_a_message_is_kept_counted_and_told(journal: Journal) -> None:
    """Rows go to the journal and the caller, calls to the meter, the rest to the traffic."""
    told, meter, traffic = list[Outcome](), Meter(), Traffic()
    kept = Kept(journal, told.append, meter, traffic)
    kept.take(message(0, 1, calls=3, characters=200, repeated=50, cached_tokens=7, retries=2))
    kept.take(message(2, calls=4, characters=200, repeated=150, retries=1, refusals=1))
    assert journal.count == len(told) == 3 and not kept.is_complete
    assert (meter.paid.calls, meter.needed.calls) == (7, 7 + 4)
    assert (traffic.prefixes.share, traffic.prefixes.cached_tokens) == (0.5, 7)
    assert (traffic.throttle.retries, traffic.throttle.refusals) == (3, 1)


def test_a_row_that_comes_twice_is_kept_once(journal: Journal) -> None:
    """The first stays; what both took was paid."""
    told, meter = list[Outcome](), Meter()
    kept = Kept(journal, told.append, meter, None)
    kept.take(message(0))
    kept.take(message(0))
    assert journal.count == len(told) == 1 and meter.paid.calls == 2


def test_an_error_comes_with_what_was_paid_before(journal: Journal) -> None:
    """A case may have paid for its backstory and never come to its answer."""
    meter = Meter()
    kept = Kept(journal, None, meter, None)
    told = message(0, calls=5) | stop_of(ConfigError("the endpoint is gone"))
    with pytest.raises(ConfigError, match="the endpoint is gone"):
        kept.take(told)
    assert (journal.count, meter.paid.calls) == (1, 5)
    kept.keep(told)
    assert meter.paid.calls == 10


def test_an_error_before_anything_was_paid_is_enough(journal: Journal) -> None:
    """A worker that cannot open the plan has no numbers."""
    with pytest.raises(ConfigError, match="no such plan"):
        Kept(journal, None, None, None).take(stop_of(ConfigError("no such plan")))


def test_a_budget_is_held_while_rows_are_left(journal: Journal) -> None:
    """What is under way is kept beyond it; a run that is complete is within."""
    kept = Kept(journal, None, Meter(budget=Budget(calls=2)), None)
    kept.take(message(0))
    with pytest.raises(BudgetExceededError, match="2 calls"):
        kept.take(message(1))
    kept.keep(message(2))
    with pytest.raises(BudgetExceededError) as again:
        kept.check()
    assert (journal.count, again.value.spent) == (3, 3)
    kept.take(message(3))
    assert kept.is_complete
