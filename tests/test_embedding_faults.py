"""What the embedder of an endpoint tells of a failure, and what it does after a stop."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest
from loopback import LoopbackServer, Reply

from evals.remote_embedder import BATCH, RemoteEmbedder
from valuesim_dspy.callscope import stopped_by
from valuesim_dspy.errors import BudgetExceededError, ConfigError, PredictionError, ValueSimError
from valuesim_dspy.roles import EmbedderConfig
from valuesim_dspy.usage import Budget, Meter

FACTS = ["You live in Japan.", "You are 52.", "\u65e5\u672c\u306b\u4f4f\u3080", "You are 52."]


class Echoing(LoopbackServer):
    """Refuses to embed, and repeats what it was to embed.

    Args:
        status: What it answers with.
        told: What it says of the texts.
    """

    def __init__(self, status: int, told: Callable[[list[str]], str]) -> None:
        super().__init__()
        self._status, self._told = status, told

    def serve(self, path: str, body: dict[str, object], key: str) -> Reply:
        """Return the refusal."""
        texts = body["input"]
        assert isinstance(texts, list)
        told = {"error": {"message": self._told(texts), "type": "x", "code": None}}
        made = json.dumps(told).encode()
        return Reply(self._status, made, {"Content-Type": "application/json", "Retry-After": "0"})


def failure(status: int, told: Callable[[list[str]], str], texts: list[str]) -> ValueSimError:
    """Return what a server's refusal becomes."""
    with Echoing(status, told) as server:
        embedder = RemoteEmbedder(EmbedderConfig(model="openai/e", api_base=server.url), None)
        with pytest.raises(ValueSimError) as caught:
            embedder(texts)
    assert embedder.meter.paid.calls == 0 and embedder.meter.failed == 1
    return caught.value


@pytest.mark.slow
@pytest.mark.parametrize("text", sorted(set(FACTS)))
@pytest.mark.parametrize("status", [400, 422, 403])
def test_what_a_server_repeats_is_told_to_nobody(status: int, text: str) -> None:
    """Neither the error nor what led to it holds a text that was to be embedded."""
    error: BaseException | None = failure(status, lambda texts: f"too long: {text!r}", FACTS)
    assert "its text repeats" in str(error)
    while error is not None:
        assert text.rstrip(".") not in str(error)
        error = error.__cause__


@pytest.mark.slow
def test_a_part_of_a_text_is_told_to_nobody_either() -> None:
    """Some words in a row of a longer text are enough."""
    long = "You say that family is very important in life."
    error = failure(500, lambda texts: "cannot read: that family is very important", [long])
    assert "its text repeats" in str(error) and "family" not in str(error)
    assert "family" not in str(error.__cause__)


@pytest.mark.slow
def test_a_message_of_the_servers_own_stays() -> None:
    """What it says by itself helps, and all of it can be written."""
    error = failure(400, lambda texts: "no such model \ud83d here", FACTS)
    assert isinstance(error, ConfigError)
    assert "no such model" in str(error)
    str(error).encode()


def test_nothing_is_paid_after_a_stop() -> None:
    """The batch under way ends; the next one is not begun, and nothing is left reserved."""
    event, asked = threading.Event(), 0

    def fetch(batch: list[str]) -> list[list[float]]:
        nonlocal asked
        asked += 1
        event.set()
        return [[1.0, 2.0] for _ in batch]

    config = EmbedderConfig(model="openai/e", api_base="http://127.0.0.1:9/v1")
    embedder = RemoteEmbedder(config, None, fetch=fetch)
    texts = [f"text {number}" for number in range(2 * BATCH + 1)]
    with stopped_by(event), pytest.raises(ConfigError, match="the run was stopped"):
        embedder(texts)
    assert (asked, embedder.meter.paid.calls, embedder.meter._under_way.calls) == (1, 1, 0)
    with stopped_by(event):
        assert embedder(texts[:BATCH]).shape == (BATCH, 2)
    assert asked == 1
    assert embedder(texts).shape == (len(texts), 2)
    assert asked == 3


@pytest.mark.parametrize(
    ("budget", "error"),
    [(Budget(calls=1), BudgetExceededError), (Budget(usd=1.0), ConfigError)],
)
def test_budgets_are_asked_before_a_batch(budget: Budget, error: type[Exception]) -> None:
    """A limit in dollars takes no model without a price; one of calls ends with the last."""
    asked: list[int] = []

    def fetch(batch: list[str]) -> list[list[float]]:
        asked.append(len(batch))
        return [[1.0] for _ in batch]

    config = EmbedderConfig(model="openai/e", api_base="http://127.0.0.1:9/v1")
    embedder = RemoteEmbedder(config, None, fetch=fetch, meter=Meter(budget=budget))
    with pytest.raises(error):
        embedder([f"text {number}" for number in range(2 * BATCH)])
    assert sum(asked) == (BATCH if budget.calls else 0)
    assert embedder.meter.paid.calls == len(asked)


def test_unusable_vectors_are_paid() -> None:
    """What came is counted, whatever becomes of it."""
    config = EmbedderConfig(model="openai/e", api_base="http://127.0.0.1:9/v1")
    embedder = RemoteEmbedder(config, None, fetch=lambda batch: [[]])
    with pytest.raises(PredictionError):
        embedder(["one"])
    assert embedder.meter.paid.calls == 1
