"""A student under a teleprompter: its runs counted, a stop let through, all output kept private."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy

from optimize.best_so_far import BestSoFar
from valuesim_dspy.ensemble import Ensemble
from valuesim_dspy.loop import STOPS

_ATTACHED = (
    "_watch",
    "_stage",
    "candidate_programs",
    "mb_candidate_programs",
    "trial_logs",
    "score",
    "prompt_model_total_calls",
    "total_calls",
    "simba_idx",
    "detailed_results",
)


class StopCompilingError(BaseException):
    """An error that ends the whole job, on its way past DSPy.

    DSPy's teleprompters catch every `Exception`, count it as a failed example and go on, a spent
    budget too; this one they cannot catch.

    Args:
        error: One of `STOPS`.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(str(error))


class Watch:
    """Counts the runs of a student and of all its copies; safe to use from many threads.

    Args:
        best: Remembers the candidates' scores.
        on_run: Called at each run, for progress.
    """

    def __init__(
        self, best: BestSoFar | None = None, on_run: Callable[[], object] | None = None
    ) -> None:
        self.best = best or BestSoFar()
        self._on_run = on_run
        self._lock = threading.Lock()
        self._stop: StopCompilingError | None = None
        self.runs = self.answered = 0
        self.stories: dict[str, None] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Watch:
        return self

    @property
    def failed(self) -> int:
        """Runs that ended in an error."""
        return self.runs - self.answered

    def start(self) -> None:
        """Count a run; refuse it once the job is to end, since others are still queued."""
        with self._lock:
            if self._stop is not None:
                raise StopCompilingError(self._stop.error)
            self.runs += 1
            if self._on_run is not None:
                self._on_run()

    def end(self, story: str = "") -> None:
        """Count an answer, and keep the backstory it came from, each once and in order."""
        with self._lock:
            self.answered += 1
            if story:
                self.stories[story] = None

    def stop(self, error: Exception) -> StopCompilingError:
        """End the job: return what is to be raised here, and raise it in every later run."""
        with self._lock:
            self._stop = StopCompilingError(error)
            return self._stop


class _Watching:
    """Put before a program's class."""

    _watch: Watch
    _stage: Callable[..., Any] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self._watch.start()
        try:
            if self._stage is not None:
                prediction = self._stage(self, *args, **kwargs)
            else:
                prediction = super().forward(*args, **kwargs)  # type: ignore[misc]
        except STOPS as error:
            raise self._watch.stop(error) from error
        except Exception:
            self._watch.best.ran(self, kwargs.get("case"), None)
            raise
        self._watch.end(str(getattr(prediction, "backstory", "")))
        self._watch.best.ran(self, kwargs.get("case"), prediction)
        return prediction


class _StoppingLM:
    """Put before an LM's class."""

    _watch: Watch

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        except STOPS as error:
            raise self._watch.stop(error) from error


def watched(program: dspy.Module, watch: Watch) -> Any:
    """Return a copy of a program whose runs, and those of its copies, are watched.

    A subclass and no wrapper: predictors keep their names, and the program its other methods.
    """
    copy = program.deepcopy()
    kind = type(program)
    # Teleprompters that write instructions read the source of the program's class.
    known = ("__module__", "__qualname__", "__firstlineno__")
    same = {name: getattr(kind, name) for name in known if hasattr(kind, name)}
    copy.__class__ = type(kind.__name__, (_Watching, kind), same)
    copy._watch = watch
    return copy


def stopping(lm: Any, watch: Watch) -> Any:
    """Return a copy of an LM whose spent budget ends the job too, whoever asks it.

    Teleprompters ask the LM that writes instructions outside of any program, and go on without
    an instruction where that fails.
    """
    copy = lm.copy()
    copy.__class__ = type(type(lm).__name__, (_StoppingLM, type(lm)), {})
    copy._watch = watch
    return copy


def unwatched(program: dspy.Module, kind: type[dspy.Module]) -> Any:
    """Return a program to its class, without what DSPy's teleprompters attach to it.

    Args:
        program: A watched program, or an ensemble of watched ones.
        kind: The class of the program that was watched.
    """
    if isinstance(program, Ensemble) and not issubclass(kind, Ensemble):
        for member in program.members:
            unwatched(member, kind)
        kind = Ensemble
    program.__class__ = kind
    # With candidate programs every one tried, and its predictions, would be kept in memory;
    # with the mark of a compiled module its predictors would be hidden from modules around it.
    for name in _ATTACHED:
        vars(program).pop(name, None)
    program._compiled = False
    return program


@contextlib.contextmanager
def private_output(path: Path | None) -> Iterator[None]:
    """Send standard output, standard error and DSPy's log into a file for its owner only.

    It holds for the whole process, and so for other threads too: run one compilation at a time.

    Args:
        path: The file, continued where it exists; None throws everything away.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    target = os.devnull if path is None else path
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace") as file:
        if path is not None:
            path.chmod(0o600)
        handler = logging.StreamHandler(file)
        with (
            _only_handler(logging.getLogger("dspy"), handler),
            _only_handler(logging.getLogger("optuna"), handler),
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
        ):
            yield


@contextlib.contextmanager
def _only_handler(logger: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    """Let a logger's lines, which name cases and their true answers, reach one handler only."""
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate
