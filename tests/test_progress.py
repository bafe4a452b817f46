import io
import sys
from collections.abc import Callable

import pytest

from valuesim_dspy.progress import PLAIN_SECONDS, Progress

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

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


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
