"""A command that is told to end: once, again, and by whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from simulating import remote

import valuesim_dspy.ending
from valuesim_dspy.ending import (
    Patience,
    TerminatedError,
    passing_folder,
    status_of,
    told_to_end,
)

ROOT = Path(__file__).resolve().parent.parent

# A command that says when it has begun, and what it heard; then it is busy with what is left.
COMMAND = """
import argparse, sys, threading
from valuesim_dspy.__main__ import run_command

def run(args):
    try:
        print("begun", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt as error:
        print(type(error).__name__, flush=True)
        if sys.argv[1:]:
            threading.Event().wait()
        raise

parser = argparse.ArgumentParser()
parser.set_defaults(run=run)
parser.add_argument("more", nargs="*")
sys.exit(run_command(parser, None))
"""


@pytest.fixture
def usual() -> Iterator[None]:
    """Whoever runs the tests may handle signals: for a test nobody does."""
    before = {number: signal.getsignal(number) for number in valuesim_dspy.ending.DEFAULTS}
    for number, handler in valuesim_dspy.ending.DEFAULTS.items():
        signal.signal(number, handler)
    yield
    for number, known in before.items():
        signal.signal(number, known)


def begun(*arguments: str, code: str = COMMAND) -> subprocess.Popen[str]:
    """Start the command; return it when it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize(
    ("number", "name", "status"),
    [(signal.SIGINT, "KeyboardInterrupt", 130), (signal.SIGTERM, "TerminatedError", 143)],
)
def test_the_first_signal_lets_a_command_tidy_up(number: int, name: str, status: int) -> None:
    """What is under way can be kept; the status says by whom it was ended."""
    process = begun()
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (out, err) == (f"{name}\n", "interrupted; what was done is kept\n")
    assert process.returncode == status


@pytest.mark.parametrize(("second", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_it_at_once(second: int, status: int) -> None:
    """A command that waits for replies is left, with one line and without a traceback."""
    process = begun("waits")
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "KeyboardInterrupt\n"
    process.send_signal(second)
    _, err = process.communicate(timeout=120)
    assert process.returncode == status
    assert err == "\nended at once: what was under way is lost, all else is kept\n"


@pytest.mark.usefixtures("usual")
def test_within_a_process_of_others_no_signal_ends_it() -> None:
    """In a notebook the second Ctrl-C is raised like the first; then all is as before."""
    with told_to_end(is_process=False):
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        with pytest.raises(TerminatedError) as raised:
            signal.raise_signal(signal.SIGTERM)
    assert status_of(raised.value) == 143 and status_of(KeyboardInterrupt()) == 130
    for number, handler in valuesim_dspy.ending.DEFAULTS.items():
        assert signal.getsignal(number) == handler


@pytest.mark.usefixtures("usual")
def test_what_is_ignored_stays_so() -> None:
    """A command behind `nohup`, or in the background of a script, hears no Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with told_to_end(is_process=False):
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL


def test_other_threads_change_nothing() -> None:
    """Signals belong to the main thread."""
    before = [signal.getsignal(number) for number in valuesim_dspy.ending.DEFAULTS]
    seen: list[Any] = []

    def command() -> None:
        with told_to_end(is_process=True):
            seen.extend(signal.getsignal(number) for number in valuesim_dspy.ending.DEFAULTS)

    thread = threading.Thread(target=command)
    thread.start()
    thread.join()
    assert seen == before


def test_what_is_waited_for_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many calls, how long at most, and what another Ctrl-C does; not where none is left."""
    monkeypatch.setattr(valuesim_dspy.ending, "PATIENCE", 0.0)
    with remote() as (lm, _):
        assert lm.throttle is not None
        for calls, error in ((3, KeyboardInterrupt()), (0, KeyboardInterrupt()), (2, OSError())):
            lm.throttle.under_way = calls
            with Patience(lm) as patience:
                patience.begin(error)
                patience.begin(error)
                patience._timer.join()
        lm.throttle.under_way = 0
    first, second = [record.getMessage() for record in caplog.records]
    assert first == (
        "waiting for what is under way (3 calls), at most 120 s; once more ends at once, and they "
        "are lost"
    )
    assert second == "waiting for what is under way (2 calls), at most 120 s"


def test_a_short_wait_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said where all came before, and no thread stays."""
    lm: Any = SimpleNamespace(throttle=SimpleNamespace(under_way=1), seconds=1.0)
    with Patience(lm) as patience:
        patience.begin(KeyboardInterrupt())
    patience._timer.join()
    with Patience(None) as idle:
        pass
    assert not caplog.records and not idle._timer.is_alive()


HOLDING = COMMAND.replace(
    "    try:\n",
    """    from pathlib import Path
    from valuesim_dspy.ending import passing_folder
    folder = passing_folder("valuesim-test-", within=sys.argv[1])
    (folder.__enter__() / "demos.json").write_text("answers of people")
    try:
""",
)


def test_the_second_signal_leaves_no_folder_behind(tmp_path: Path) -> None:
    """No block is left and nothing registered is run, yet what it held of people is gone."""
    process = begun(str(tmp_path), code=HOLDING)
    assert [path.name for path in tmp_path.glob("*/*")] == ["demos.json"]
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "KeyboardInterrupt\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130 and list(tmp_path.iterdir()) == []


def test_a_passing_folder_is_private_and_goes_with_its_block(tmp_path: Path) -> None:
    """However the block ends; two are never the same."""
    with (
        passing_folder("a-", within=str(tmp_path)) as one,
        passing_folder("a-", within=str(tmp_path)) as other,
    ):
        assert one != other and {path.stat().st_mode & 0o777 for path in (one, other)} == {0o700}
        (one / "demos.json").write_text("answers of people")
    with pytest.raises(OSError, match="full"), passing_folder("a-", within=str(tmp_path)):
        raise OSError("full")
    assert list(tmp_path.iterdir()) == [] and not valuesim_dspy.ending._PASSING
