"""Who runs a trial, and whether they still live: processes on one machine or many."""

from __future__ import annotations

import hashlib
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BEAT_SECONDS = 15.0
GRACE_SECONDS = 300.0
"""How long a trial of another machine may be silent before it is held to be dead."""
PLACE, PROCESS, BEAT = "place", "process", "beat"


@dataclass(frozen=True)
class Worker:
    """A process.

    Args:
        place: Digest of what tells machines and containers apart: processes that see each other
            have the same.
        process: Its number there, and when it began.
    """

    place: str
    process: str

    @classmethod
    def here(cls) -> Worker:
        """Return this process."""
        return cls(_place(), _process(os.getpid()))

    def attributes(self) -> dict[str, str]:
        """Return what a trial of this worker carries."""
        return {PLACE: self.place, PROCESS: self.process}


def is_lost(attributes: Mapping[str, Any], *, begun: float, now: float | None = None) -> bool:
    """Whether a trial that is under way has nobody who runs it any more.

    On one machine it is known whether a process lives. Of another's, which cannot be seen, it is
    known when it was last heard of, by the clock there.

    Args:
        attributes: The trial's.
        begun: When the trial began, in seconds since the epoch.
        now: The time; by default of this machine's clock.
    """
    # One that has just begun may have written its place and not yet its process.
    if attributes.get(PLACE) == _place() and PROCESS in attributes:
        process = str(attributes[PROCESS])
        number = process.partition(":")[0]
        return not number.isdigit() or _process(int(number)) != process
    heard = float(attributes.get(BEAT, begun))
    return (time.time() if now is None else now) - heard > GRACE_SECONDS


class Heartbeat:
    """Say every so often that a trial is still being worked at, for as long as the context lasts.

    Args:
        say: Takes the time in seconds since the epoch; called from a thread of its own, so it
            must be safe to call beside whatever else uses the storage.
        seconds: Between two times.
    """

    def __init__(self, say: Callable[[float], object], seconds: float = BEAT_SECONDS) -> None:
        self._say, self._seconds, self._over = say, seconds, threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._say(time.time())
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            self._say(time.time())


@lru_cache(maxsize=1)
def _place() -> str:
    if os.name != "posix":
        # Elsewhere a process cannot be looked for without the risk of ending it.
        return uuid.uuid4().hex[:16]
    space = Path("/proc/self/ns/pid")
    seen = str(space.readlink()) if space.is_symlink() else ""
    return hashlib.sha256(f"{platform.node()} {uuid.getnode()} {seen}".encode()).hexdigest()[:16]


def _process(number: int) -> str:
    """Return a process's number and when it began; "" where there is none of that number."""
    try:
        if os.name == "posix":
            os.kill(number, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass  # it lives, and is another user's
    try:
        # The 22nd field; the second, a name in brackets, may hold blanks.
        began = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return f"{number}:"
    # A zombie has ended, whoever has still to hear of it.
    return "" if began[0] == "Z" else f"{number}:{began[19]}"
