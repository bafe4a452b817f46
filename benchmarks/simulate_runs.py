"""What `benchmarks/simulate.py` runs: the cases, and one run over them, measured."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy  # noqa: E402

from benchmarks.simulate_server import Server  # noqa: E402
from valuesim_dspy.cache import ResponseCache  # noqa: E402
from valuesim_dspy.case import make_cases  # noqa: E402
from valuesim_dspy.lm import MeteredLM, make_lm  # noqa: E402
from valuesim_dspy.loop import staggered, stream_cases, threads_for  # noqa: E402
from valuesim_dspy.roles import LMRole  # noqa: E402
from valuesim_dspy.survey.folds import make_fold  # noqa: E402
from valuesim_dspy.survey.synthetic import synthesize  # noqa: E402
from valuesim_dspy.usage import Meter  # noqa: E402

LIMIT = 64
QUESTIONS = 50
RECENT = 50_000


@dataclass(frozen=True)
class Run:
    """One run over cases, measured.

    Attributes:
        answers: Cases answered.
        failed: Cases that were not.
        calls: Requests the server answered.
        tokens: Prompt and completion tokens paid.
        wall: Seconds.
        cpu: Seconds of processor time of the client.
        peak: The most requests under way at the server.
        connections: Made to the server.
    """

    answers: int
    failed: int
    calls: int
    tokens: int
    wall: float
    cpu: float
    peak: int
    connections: int

    def efficiency(self, latency: float, limit: int = LIMIT) -> float:
        """The ideal time, calls x latency / limit, by the wall-clock time: at most 1."""
        return self.calls * latency / limit / self.wall


def people(answers: int, questions: int = QUESTIONS, *, seed: int = 1) -> list[list[dspy.Example]]:
    """Return the cases of so many answers by person, the first `questions` of each."""
    survey = synthesize(-(-answers // questions) * 2, seed=seed)
    fold = make_fold(survey.codebook, strategy="battery", seed=seed)
    found: list[list[dspy.Example]] = []
    for index in range(len(survey)):
        wanted = min(questions, answers - sum(map(len, found)))
        if wanted:
            found.append(make_cases(survey, [index], fold, "test")[:wanted])
    return found


def ahead_for(questions: int, limit: int = LIMIT) -> int:
    """Return how many people's first questions come early."""
    return -(-limit // questions) + 1


@contextmanager
def connected(server: Server, cache: Path | None = None) -> Iterator[MeteredLM]:
    """Yield an LM behind the server, its responses cached in a file or in memory."""
    with ResponseCache(cache).installed():
        role = LMRole(model="openai/test", api_base=server.url)
        yield make_lm(role, meter=Meter("benchmark", recent=RECENT))


def measured(server: Server, lm: MeteredLM | None, act: Callable[[], Counter[str]]) -> Run:
    """Run something that answers cases, and return what it took."""
    before, wall, cpu = server.seen(), time.perf_counter(), time.process_time()
    told = act()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = server.seen()
    return Run(
        answers=told["answered"],
        failed=told.total() - told["answered"],
        calls=after.requests - before.requests,
        tokens=lm.meter.paid.tokens if lm is not None else 0,
        wall=wall,
        cpu=cpu,
        peak=after.peak,
        connections=after.connections - before.connections,
    )


def streamed(
    program: dspy.Module,
    cases: Sequence[Sequence[dspy.Example]],
    lm: MeteredLM,
    *,
    threads: int | None = None,
    ahead: int | None = None,
) -> Counter[str]:
    """Answer all cases through `stream_cases`, in the order of a simulation."""
    ahead = ahead_for(len(cases[0])) if ahead is None else ahead
    threads = threads or threads_for(lm)
    # As a simulation does it: see `valuesim_dspy.asked`.
    rows = enumerate(staggered(cases, ahead, begin=threads // 2))
    with dspy.context(disable_history=True):
        stream = stream_cases(program, rows, lm=lm, threads=threads)
        return Counter(outcome.status for _, outcome in stream)
