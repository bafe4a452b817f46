"""How a command is told to end: Ctrl-C, the SIGTERM of a scheduler, and either of them again."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valuesim_dspy.lm import MeteredLM

logger = logging.getLogger(__name__)

INTERRUPTED, TERMINATED = 130, 143
PATIENCE = 2.0
"""Seconds after which a run that was told to end says what it waits for."""
DEFAULTS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


_PASSING: set[Path] = set()


@contextmanager
def passing_folder(prefix: str, *, within: str | None = None) -> Iterator[Path]:
    """Yield a private folder that is gone when the block ends, or a second signal the process.

    Args:
        prefix: How its name begins.
        within: The folder that it is made in; by default that of temporary files.
    """
    folder = Path(within or tempfile.gettempdir()) / f"{prefix}{secrets.token_hex(4)}"
    # Noted before it is made: a signal may come between any two lines.
    _PASSING.add(folder)
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _PASSING.discard(folder)


def _remove_passing() -> None:
    for folder in list(_PASSING):
        # Renamed first: processes that outlive this one can then make nothing anew in it.
        aside = folder.with_name(f"{folder.name}-ended")
        with suppress(OSError):
            folder.rename(aside)
        for path in (aside, folder):
            shutil.rmtree(path, ignore_errors=True)


class TerminatedError(KeyboardInterrupt):
    """The process was told to end by a scheduler or a service manager: by SIGTERM."""


def status_of(error: KeyboardInterrupt) -> int:
    """Return the exit status of a command that was told to end: 130, or 143 by SIGTERM."""
    return TERMINATED if isinstance(error, TerminatedError) else INTERRUPTED


@contextmanager
def told_to_end(*, is_process: bool) -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, and the second signal end it at once.

    The first one is raised as an error, so that what is under way is waited for and kept. Signals
    that are ignored or handled otherwise stay so, and in other threads than the main one nothing
    is changed.

    Args:
        is_process: Whether the command is all that the process does: only then the second signal
            ends the process.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        TerminatedError: SIGTERM.
    """
    is_told = False

    def handle(number: int, _: Any) -> None:
        nonlocal is_told
        if is_told and is_process:
            with suppress(OSError):
                os.write(2, b"\nended at once: what was under way is lost, all else is kept\n")
            _remove_passing()
            os._exit(128 + number)
        is_told = True
        raise TerminatedError if number == signal.SIGTERM else KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    taken = [n for n, usual in DEFAULTS.items() if is_main and signal.getsignal(n) == usual]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, DEFAULTS[number])


class Patience:
    """Says what a run that ends early still waits for, where that takes a while.

    Args:
        lm: Whose calls are under way.
    """

    def __init__(self, lm: MeteredLM | None) -> None:
        self._lm, self._timer = lm, threading.Timer(PATIENCE, self._tell)
        self._timer.daemon = True
        self._is_begun, self._hint = False, ""

    def __enter__(self) -> Patience:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def begin(self, error: BaseException) -> None:
        """Begin to wait, because of an error; from then on seconds are counted."""
        if isinstance(error, KeyboardInterrupt):
            self._hint = "; once more ends at once, and they are lost"
        if not self._is_begun:
            self._is_begun = True
            self._timer.start()

    def _tell(self) -> None:
        if self._lm is None or self._lm.throttle is None or not self._lm.throttle.under_way:
            return
        calls, seconds = self._lm.throttle.under_way, self._lm.seconds or self._lm.role.timeout
        told = "waiting for what is under way (%s calls), at most %.0f s%s"
        logger.warning(told, f"{calls:,}", seconds, self._hint)
