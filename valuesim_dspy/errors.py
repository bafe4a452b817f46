"""The errors of ValueSim.

ValueSimError
├── ConfigError           a config file, a flag or an argument is wrong
├── MissingDataError      a file or a binding that is needed is absent
├── SurveyDataError       a codebook or a survey row is malformed
├── PredictionError       one prediction failed; benchmarks count it
│   └── InvalidAnswerError   the answer is not an option
├── BudgetExceededError   the budget given is spent; what was done is kept
└── ProgramStateError     a saved program does not fit this code

Every message is one line: what is wrong, where, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class ValueSimError(Exception):
    """Base of everything this package raises on purpose."""


class ConfigError(ValueSimError):
    """A config file, a flag or an argument is wrong.

    Args:
        message: What is wrong and what to do.
        key: The key or flag, dotted from the top of the file.
        value: What was given; never a secret.
        allowed: What would have been accepted.
    """

    def __init__(
        self,
        message: str,
        *,
        key: str | None = None,
        value: object = None,
        allowed: Iterable[object] | None = None,
    ) -> None:
        self.key, self.value = key, value
        self.allowed = tuple(allowed) if allowed is not None else None
        parts = [f"{key}: {message}" if key else message]
        if self.allowed is not None:
            parts.append(f"allowed: {', '.join(str(item) for item in self.allowed)}")
        super().__init__("; ".join(parts))


class MissingDataError(ValueSimError):
    """A file or a binding that is needed is absent.

    Args:
        what: What is absent.
        how: How to get it.
    """

    def __init__(self, what: str, how: str) -> None:
        self.what, self.how = what, how
        super().__init__(f"{what}; {how}")


class SurveyDataError(ValueSimError):
    """A codebook or a survey row is malformed.

    Args:
        message: What is wrong and what to do.
        path: The file.
        row: The line of the file, counted from 1, where there is one.
        column: The column, question or key.
        value: The offending value, shortened.
    """

    def __init__(
        self,
        message: str,
        *,
        path: Path | str | None = None,
        row: int | None = None,
        column: str | None = None,
        value: object = None,
    ) -> None:
        self.path, self.row, self.column, self.value = path, row, column, value
        where = [str(path)] if path is not None else []
        where += [f"line {row}"] if row is not None else []
        where += [f"column {column}"] if column is not None else []
        shown = f" (value {str(value)[:40]!r})" if value is not None else ""
        super().__init__(f"{', '.join(where)}: {message}{shown}" if where else message + shown)


class PredictionError(ValueSimError):
    """One prediction failed; benchmarks count it as a failure and go on."""


class InvalidAnswerError(PredictionError):
    """The answer is not an option of the question.

    Args:
        question: The question's id.
        answer: What came back, shortened.
        codes: The codes that were offered.
    """

    def __init__(self, question: str, answer: object, codes: Iterable[int]) -> None:
        self.question, self.answer, self.codes = question, answer, tuple(codes)
        offered = ", ".join(str(code) for code in self.codes)
        shown = str(answer)[:80]
        super().__init__(f"{question}: {shown!r} is not one of the codes offered ({offered})")


class BudgetExceededError(ValueSimError):
    """The budget given is spent; what was done is kept.

    Args:
        what: Which budget: calls, tokens or usd.
        limit: The limit given.
        spent: What was paid when the limit was met.
        advice: What is kept, and how to go on.
    """

    def __init__(
        self,
        what: str,
        limit: float,
        spent: float,
        advice: str = "what was done is kept: run the same command again with a larger budget "
        "to go on",
    ) -> None:
        self.what, self.limit, self.spent = what, limit, spent
        super().__init__(f"the budget of {limit:g} {what} is spent ({spent:g}); {advice}")


class ProgramStateError(ValueSimError):
    """A saved program does not fit this code.

    Args:
        message: What does not fit and what to do.
        path: The program folder.
        expected: What this code expects.
        found: What the folder holds.
    """

    def __init__(
        self,
        message: str,
        *,
        path: Path | str | None = None,
        expected: object = None,
        found: object = None,
    ) -> None:
        self.path, self.expected, self.found = path, expected, found
        where = f"{path}: " if path is not None else ""
        told = f" (expected {shown(expected)}, found {shown(found)})"
        super().__init__(f"{where}{message}{told if expected is not None else ''}")


def shown(value: object) -> str:
    """Return what a file may say as it may stand in a message: printable, one line, short."""
    line = "".join(c if c.isprintable() else " " for c in str(value)[:400])
    return line if len(line) <= 200 else f"{line[:197]}..."
