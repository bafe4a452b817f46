"""Who runs a trial, and whether they still live."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import optimize.search_workers
from optimize.search_workers import BEAT, GRACE_SECONDS, PLACE, Heartbeat, Worker, is_lost

NOW = 1_000_000.0


def test_a_process_that_lives_is_not_lost() -> None:
    """However long nothing was heard of it: it can be seen."""
    assert not is_lost(Worker.here().attributes(), begun=0.0, now=NOW)


def test_a_process_that_ended_is_lost_at_once() -> None:
    """Also while its parent has not yet heard of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", "print('here', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    began = optimize.search_workers._process(process.pid)
    here = {**Worker.here().attributes(), "process": began}
    assert began.startswith(f"{process.pid}:")
    assert not is_lost(here, begun=NOW, now=NOW)
    process.kill()
    if Path(f"/proc/{process.pid}").exists():
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_lost(here, begun=NOW, now=NOW)
    process.communicate()
    assert is_lost(here, begun=NOW, now=NOW)


def test_a_number_that_another_process_got_is_not_it() -> None:
    """Numbers are used again; when a process began tells them apart."""
    here = Worker.here()
    number = here.process.partition(":")[0]
    other = {**here.attributes(), "process": f"{number}:1"}
    if here.process.endswith(":"):
        pytest.skip("this system does not say when a process began")
    assert is_lost(other, begun=NOW, now=NOW)


def test_who_has_told_their_place_and_not_their_process_is_not_lost() -> None:
    """The two are written one after the other: whoever looks in between waits."""
    attributes = {PLACE: Worker.here().place}
    assert not is_lost(attributes, begun=NOW, now=NOW + 1)
    assert is_lost(attributes, begun=NOW, now=NOW + GRACE_SECONDS + 1)


@pytest.mark.parametrize("process", ["", "none", "999999999:1"])
def test_what_is_no_process_here_is_lost(process: str) -> None:
    """Nobody of that number lives."""
    attributes = {**Worker.here().attributes(), "process": process}
    assert is_lost(attributes, begun=NOW, now=NOW)


@pytest.mark.parametrize(
    ("silent", "lost"), [(0.0, False), (GRACE_SECONDS - 1, False), (GRACE_SECONDS + 1, True)]
)
def test_elsewhere_silence_is_what_is_known(silent: float, lost: bool) -> None:
    """A process of another machine is lost when it was not heard of for minutes."""
    elsewhere = {"place": "0" * 16, "process": Worker.here().process, BEAT: NOW - silent}
    assert is_lost(elsewhere, begun=0.0, now=NOW) is lost


def test_before_the_first_beat_the_beginning_counts() -> None:
    """A trial that has just been begun is not taken from who began it."""
    assert not is_lost({}, begun=NOW - 1, now=NOW)
    assert is_lost({}, begun=NOW - GRACE_SECONDS - 1, now=NOW)
    assert is_lost({}, begun=0.0)


def test_a_place_is_the_same_for_processes_that_see_each_other() -> None:
    """And says nothing of the machine's name."""
    script = "from optimize.search_workers import Worker; print(Worker.here().place)"
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == Worker.here().place
    assert len(Worker.here().place) == 16
    assert Worker.here().process.startswith(f"{os.getpid()}:")


def test_a_heart_beats_until_the_trial_ends() -> None:
    """At once, again and again, and not once more after the end."""
    times: list[float] = []
    enough = threading.Event()

    def say(now: float) -> None:
        times.append(now)
        if len(times) >= 4:
            enough.set()

    with Heartbeat(say, seconds=0.001):
        assert times and enough.wait(30)
    count = len(times)
    assert count >= 4 and times == sorted(times)
    assert not [t for t in threading.enumerate() if t.name == "heartbeat"]
    assert len(times) == count


def test_a_heart_stops_where_the_trial_is_interrupted() -> None:
    """The error is not swallowed."""
    times: list[float] = []
    with pytest.raises(KeyboardInterrupt), Heartbeat(times.append, seconds=60):
        raise KeyboardInterrupt
    assert len(times) == 1
    assert not [t for t in threading.enumerate() if t.name == "heartbeat"]
