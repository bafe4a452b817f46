"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valuesim_dspy.metered import MeteredLM

PLAIN_SECONDS = 15.0
"""Seconds between plain lines, at least."""
BEAT = 1.0
"""Seconds after which a bar moves on though no step was done."""


class Progress:
    """Show how far a piece of work is, on stderr; also while no step gets done.

    Args:
        label: What is being done.
        total: How many steps there are.
        status: Says what else is known of the work; called from another thread.
    """

    def __init__(self, label: str, total: int, status: Callable[[], str] = str) -> None:
        self.label, self.total, self.done, self.status = label, total, 0, status
        self._bar: Any = None
        self._last = time.monotonic()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._beats = threading.Thread(target=self._beat, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        if _is_screen():
            from tqdm import tqdm

            self._bar = tqdm(total=self.total, desc=self.label, leave=False)
        self._beats.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._beats.join()
        if self._bar is not None:
            self._bar.close()

    def step(self, *_: object) -> None:
        """Count one step; whatever is given is ignored, so that it can serve as a callback."""
        self.done += 1
        if self._bar is not None:
            self._bar.update(1)
        else:
            self._line()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            if self._bar is not None:
                self._bar.set_postfix_str(self.status())
            else:
                self._line()

    def _line(self) -> None:
        with self._lock:
            if time.monotonic() - self._last < PLAIN_SECONDS:
                return
            self._last = time.monotonic()
            told = "; ".join(filter(None, (f"{self.done} of {self.total}", self.status())))
            print(f"{self.label}: {told}", file=sys.stderr)  # noqa: T201


def traffic_of(lm: MeteredLM | None) -> str:
    """Say what becomes of the calls of a language model: how many were answered, and what waits."""
    throttle = None if lm is None else lm.throttle
    if throttle is None:
        return ""
    told = f"{throttle.answers:,} calls answered, {throttle.under_way:,} under way"
    if not throttle.under_way and 1 <= (seconds := throttle.delay()) < inf:
        told += f", the next in {seconds:,.0f} s"
    return told


def _is_screen() -> bool:
    """Whether stderr is a terminal that has a width: on one of no columns a bar is invisible."""
    if not sys.stderr.isatty():
        return False
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):
        return True
