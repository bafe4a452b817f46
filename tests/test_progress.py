import io
import math
import os
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from valuesim_dspy.progress import PLAIN_SECONDS, Progress, traffic_of

Clock = Callable[[float], None]


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return what lets time pass, in seconds."""
    now = [100.0]
    monkeypatch.setattr("valuesim_dspy.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr("valuesim_dspy.progress.BEAT", 3600.0)

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


def comes(seen: Callable[[], bool]) -> bool:
    """Whether something that another thread does comes within a minute."""
    pause = threading.Event()
    return any(seen() or pause.wait(0.01) for _ in range(6000))


@pytest.mark.usefixtures("wait")
def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """In a log, work that is soon done leaves no line."""
    with Progress("full, devset", 3) as progress:
        for _ in range(3):
            progress.step()
    assert progress.done == 3
    assert capsys.readouterr() == ("", "")


def test_long_work_says_now_and_then_how_far_it_is(
    wait: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """One plain line whenever the time is up, on stderr, so that results stay clean."""
    with Progress("full, devset", 60) as progress:
        for _ in range(60):
            wait(1.0)
            progress.step()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [f"full, devset: {done} of 60" for done in (15, 30, 45, 60)]
    assert PLAIN_SECONDS == 15.0


def test_a_pause_is_followed_by_one_line(wait: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """A slow step is told once, not once for every line it held up."""
    with Progress("rag, valset", 9) as progress:
        wait(100.0)
        progress.step()
        progress.step()
    assert capsys.readouterr().err.splitlines() == ["rag, valset: 1 of 9"]


def test_a_step_serves_as_a_callback(wait: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is handed on is ignored, and never shown."""
    with Progress("full, devset", 2) as progress:
        wait(PLAIN_SECONDS)
        progress.step("a person's answer", 42)
    shown = capsys.readouterr().err
    assert "1 of 2" in shown
    assert "answer" not in shown


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar shows label and count and leaves the line empty, also where the work fails."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with pytest.raises(KeyError), Progress("full, devset", 4) as progress:
        progress.step()
        raise KeyError("stop")
    shown = screen.getvalue()
    assert "full, devset" in shown
    assert "/4" in shown
    assert "1 of 4" not in shown
    assert shown.split("\r")[-1].strip() == ""


def test_a_bar_moves_on_while_nothing_gets_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what else is known of the work."""
    screen, told = Terminal(), threading.Event()

    def status() -> str:
        told.set()
        return "3 calls answered"

    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("valuesim_dspy.progress.BEAT", 0.001)
    with Progress("full, devset", 4, status):
        assert told.wait(60)
        assert comes(lambda: "3 calls answered" in screen.getvalue())
    assert "0/4" in screen.getvalue()


def test_a_log_says_that_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line comes though no step was done."""
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr("valuesim_dspy.progress.BEAT", 0.001)
    monkeypatch.setattr("valuesim_dspy.progress.PLAIN_SECONDS", 0.0)
    with Progress("full, devset", 4, lambda: "2 under way") as progress:
        assert comes(lambda: bool(log.getvalue()))
        progress.step()
    first, *_, last = log.getvalue().splitlines()
    assert first == "full, devset: 0 of 4; 2 under way"
    assert last == "full, devset: 1 of 4; 2 under way"
    assert "progress" not in [thread.name for thread in threading.enumerate()]


def test_a_terminal_without_columns_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """There a bar would be drawn in no width: nobody could see it."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as screen, os.fdopen(leader, "rb") as seen:
        monkeypatch.setattr(sys, "stderr", screen)
        monkeypatch.setattr("valuesim_dspy.progress.PLAIN_SECONDS", 0.0)
        with Progress("full, devset", 4) as progress:
            progress.step()
        screen.flush()
        assert seen.readline().strip() == b"full, devset: 1 of 4"


def test_what_becomes_of_calls_is_told() -> None:
    """Answered, under way, and how long the server asked to wait where nothing else is done."""
    lm: Any = SimpleNamespace(
        throttle=SimpleNamespace(answers=1200, under_way=7, delay=lambda: math.inf)
    )
    assert traffic_of(lm) == "1,200 calls answered, 7 under way"
    lm.throttle = SimpleNamespace(answers=3, under_way=0, delay=lambda: 41.2)
    assert traffic_of(lm) == "3 calls answered, 0 under way, the next in 41 s"
    lm.throttle.delay = lambda: 0.2
    assert traffic_of(lm) == "3 calls answered, 0 under way"
    lm.throttle = None
    assert traffic_of(lm) == traffic_of(None) == ""
