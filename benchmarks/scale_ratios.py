"""What one answer takes, measured: calls, tokens read, repeated and written, and bytes kept."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy  # noqa: E402
from dspy.lm15 import Request, Response  # noqa: E402

from valuesim_dspy.answers_file import write_answers  # noqa: E402
from valuesim_dspy.cache import ResponseCache  # noqa: E402
from valuesim_dspy.journal import Journal  # noqa: E402
from valuesim_dspy.lexical.engine import LexicalEngine  # noqa: E402
from valuesim_dspy.lexical.parsing import request_text  # noqa: E402
from valuesim_dspy.lm import make_lm  # noqa: E402
from valuesim_dspy.outcomes import Outcome  # noqa: E402
from valuesim_dspy.plan import Plan, choose_questions, open_plan  # noqa: E402
from valuesim_dspy.prefixes import Prefixes  # noqa: E402
from valuesim_dspy.roles import LMRole  # noqa: E402
from valuesim_dspy.simulate import run_rows  # noqa: E402
from valuesim_dspy.survey.codebook import load_codebook  # noqa: E402
from valuesim_dspy.survey.synthetic import write_synthetic  # noqa: E402
from valuesim_dspy.usage import estimate_tokens  # noqa: E402

PARTS, SEED = 5, 42
COORDINATOR = "coordinator"
WAYS: Mapping[str, Mapping[str, str | int]] = {
    "full": {"program": "full"},
    "single": {"program": "single"},
    "a battery a call": {"program": "together", "together": "battery"},
    "10 a call": {"program": "together", "together": 10},
}
"""The programs measured: all calls one question each, one call a question, several a call."""


@dataclass(frozen=True)
class Part:
    """What one predictor, or a whole program, takes; adds up with ``+``.

    Attributes:
        calls: Requests from a cold cache.
        read: Prompt tokens, at four bytes a token.
        repeated: Those of them with which an earlier prompt began.
        written: Completion tokens.
    """

    calls: float = 0.0
    read: float = 0.0
    repeated: float = 0.0
    written: float = 0.0

    def __add__(self, other: Part) -> Part:
        return Part(*(a + b for a, b in zip(_values(self), _values(other), strict=True)))

    def times(self, factor: float) -> Part:
        """Return as much of everything."""
        return Part(*(value * factor for value in _values(self)))


def _values(part: Part) -> tuple[float, float, float, float]:
    return part.calls, part.read, part.repeated, part.written


@dataclass(frozen=True)
class Ratios:
    """What an answer of one program takes.

    Attributes:
        answers: On how many answers it was measured.
        parts: Predictor's name to what it takes an answer.
        response: Bytes of the response cache a call.
        row: Bytes of the journal an answer.
        output: Bytes of the parquet file an answer.
    """

    answers: int
    parts: Mapping[str, Part]
    response: float = 0.0
    row: float = 0.0
    output: float = 0.0

    @property
    def disagreement(self) -> float:
        """The share of answers for which the coordinator was asked, in [0, 1]."""
        return sum(part.calls for name, part in self.parts.items() if _may_rest(name))

    def an_answer(self, disagreement: float | None = None) -> Part:
        """Return what an answer takes where so many perspectives disagree; None as measured.

        Args:
            disagreement: The share of answers for which the coordinator is asked, in [0, 1].
        """
        asked = sum((p for name, p in self.parts.items() if _may_rest(name)), Part())
        sure = sum((p for name, p in self.parts.items() if not _may_rest(name)), Part())
        if disagreement is None or not asked.calls:
            return sure + asked
        return sure + asked.times(disagreement / asked.calls)


def _may_rest(predictor: str) -> bool:
    return predictor.startswith(COORDINATOR)


@dataclass
class Watched:
    """What was asked, by the predictor that asked, in the order in which a server would read it."""

    program: dspy.Module
    prefixes: Prefixes = field(default_factory=Prefixes)
    parts: dict[str, Part] = field(default_factory=dict)

    def count(self, request: Request, reply: str) -> None:
        """Count one request."""
        prompt, before = request_text(request), self.prefixes.repeated
        self.prefixes.sent(prompt)
        # As many tokens of the repeated characters as of the whole prompt.
        share = (self.prefixes.repeated - before) / max(1, len(prompt))
        read = estimate_tokens(prompt)
        name = self._predictor(prompt)
        took = Part(1, read, share * read, estimate_tokens(reply))
        self.parts[name] = self.parts.get(name, Part()) + took

    def _predictor(self, prompt: str) -> str:
        for name, predictor in self.program.named_predictors():
            if predictor.signature.instructions.splitlines()[0] in prompt:
                return str(name)
        return "unknown"


class WatchedEngine(LexicalEngine):
    """The embedded model, whose requests are counted."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched

    def complete(self, request: Request) -> Response:
        """Return the reply to one request."""
        reply = super().complete(request)
        self.watched.count(request, str(reply.message.text))
        return reply


def measure(way: str, people: int, *, survey: Path) -> Ratios:
    """Ask synthetic people everything there is to ask, by the embedded model, from a cold cache.

    Args:
        way: A key of `WAYS`.
        people: How many are asked.
        survey: Their file.
    """
    questions = tuple(choose_questions(load_codebook(), "all"))
    plan = Plan.model_validate(
        {**WAYS[way], "survey": str(survey), "questions": questions, "parts": PARTS}
        | {"sample": people, "seed": SEED}
    )
    opened = open_plan(plan)
    watched = Watched(opened.program)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = ResponseCache(folder / "responses.db")
        lm = make_lm(LMRole(), name="task_lm", engine=WatchedEngine(watched))
        journal = Journal.open(folder / "journal", opened.arguments(), opened.total)
        statuses: Counter[str] = Counter()

        def told(outcome: Outcome) -> None:
            statuses[outcome.status] += 1

        with cache.installed(), journal:
            run_rows(opened, journal, lm=lm, on_outcome=told)
            size = _size(write_answers([journal], folder / "answers.parquet"))
        cache.close()
        calls, answers = sum(part.calls for part in watched.parts.values()), statuses["answered"]
        return Ratios(
            answers,
            {name: part.times(1 / answers) for name, part in watched.parts.items()},
            response=_size(folder / "responses.db") / calls,
            row=_size(folder / "journal") / statuses.total(),
            output=size / statuses.total(),
        )


def _size(path: Path) -> int:
    """Return the bytes of a file and of what SQLite keeps beside it."""
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


def measure_all(people: int) -> dict[str, Ratios]:
    """Return every way's ratios by name, all on the same people."""
    with tempfile.TemporaryDirectory() as folder:
        survey = write_synthetic(Path(folder) / "people.csv", max(40, people), seed=SEED)
        return {way: measure(way, people, survey=survey) for way in WAYS}
