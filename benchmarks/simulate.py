"""Simulation at scale against a loopback server: scheduling, framework time, memory, calls.

Run by hand: `python benchmarks/simulate.py [--answers N] [--only a c]`. All figures of one run are
comparable with each other and not with those of another machine; the load is printed with them.

a  wall-clock time of N answers of the variant `full`, 64 calls in flight, latency 0.2 s, beside
   the ideal (calls x latency / 64)
b  answers a second beside plain `dspy.Evaluate` and beside a thread pool of the published kind
c  framework time a call at zero latency, beside a bare call of DSPy and a bare HTTP request
d  peak memory of 1,000, 10,000 and 100,000 answers
e  calls and tokens an answered question
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import dspy  # noqa: E402

from benchmarks.prefix_share import prompt_text  # noqa: E402
from benchmarks.simulate_memory import peak_kib  # noqa: E402
from benchmarks.simulate_rivals import body_of, evaluated, plain_lm, pooled, post  # noqa: E402
from benchmarks.simulate_runs import (  # noqa: E402
    LIMIT,
    QUESTIONS,
    Run,
    connected,
    measured,
    people,
    streamed,
)
from benchmarks.simulate_server import Server, serving  # noqa: E402
from valuesim_dspy.modules import chat_adapter  # noqa: E402
from valuesim_dspy.program import ValueSim  # noqa: E402

LATENCY = 0.2
PARTS = "abcde"
Figures = dict[str, float]


def run_once(
    server: Server,
    variant: str,
    cases: Sequence[Sequence[dspy.Example]],
    *,
    threads: int | None = None,
) -> Run:
    """Answer cases as a simulation does, responses cached in a file of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        connected(server, Path(folder) / "responses.db") as lm,
    ):
        act = partial(streamed, ValueSim(variant), cases, lm, threads=threads)
        return measured(server, lm, act)


def scheduling(answers: int, latency: float = LATENCY) -> Figures:
    """Part a."""
    cases = people(answers)
    with serving(latency) as server:
        run_once(server, "full", [cases[0][:2]])  # Imports and first connections are not it.
        run = run_once(server, "full", cases)
    return {
        "answers": run.answers,
        "failed": run.failed,
        "calls": run.calls,
        "peak calls in flight": run.peak,
        "wall, s": run.wall,
        "ideal, s": run.calls * latency / LIMIT,
        "of the ideal": run.efficiency(latency),
        "answers a second": run.answers / run.wall,
        "client's CPU a call, ms": run.cpu / run.calls * 1e3,
    }


def rivals(answers: int, latency: float = LATENCY) -> Figures:
    """Part b: as many answers by Evaluate as by the loop; a fiftieth by the slow pool."""
    cases = people(answers)
    flat = [example for person in cases for example in person]
    few = flat[: max(2, answers // 50)]
    with serving(latency) as server:
        ours = run_once(server, "full", cases)
        theirs = measured(server, None, lambda: evaluated(server, flat, threads=LIMIT))
        slow = measured(server, None, lambda: pooled(server, few, threads=LIMIT))
    rates = [run.answers / run.wall for run in (ours, theirs, slow)]
    return {
        "answers a second": rates[0],
        "Evaluate: answers a second": rates[1],
        "pool: answers a second": rates[2],
        "times Evaluate": rates[0] / rates[1],
        "times the pool": rates[0] / rates[2],
        "calls an answer": ours.calls / ours.answers,
        "Evaluate: calls an answer": theirs.calls / theirs.answers,
        "pool: calls an answer": slow.calls / slow.answers,
        "failed": ours.failed + theirs.failed + slow.failed,
    }


def framework_time(answers: int) -> Figures:
    """Part c: one call an answer, one after another, the same prompts each way."""
    cases = people(answers)
    signature, flat = ValueSim("single").direct.answer.signature, chain.from_iterable(cases)
    prompts = [
        prompt_text(chat_adapter().format(signature, [], ValueSim("single").inputs(each.case)))
        for each in flat
    ]

    def each_of(act: Callable[[str], object]) -> Callable[[], Counter[str]]:
        return lambda: Counter("answered" if act(prompt) else "failed" for prompt in prompts)

    with serving(0.0) as server:
        link = http.client.HTTPConnection("127.0.0.1", server.port)
        bare = measured(server, None, each_of(lambda told: post(link, body_of(told))))
        link.close()
        with plain_lm(server) as lm, dspy.context(disable_history=True):
            lm("The first call sets up what later ones share.", cache=False)
            plain = measured(server, None, each_of(lambda told: lm(told, cache=False)))
        run_once(server, "single", [cases[0][:1]], threads=1)
        run = run_once(server, "single", cases, threads=1)
    took = [each.wall / each.calls * 1e3 for each in (run, plain, bare)]
    return {
        "calls": run.calls,
        "a call, ms": took[0],
        "a bare call of DSPy, ms": took[1],
        "a bare HTTP request, ms": took[2],
        "times DSPy": took[0] / took[1],
        "times HTTP": took[0] / took[2],
        "client's CPU a call, ms": run.cpu / run.calls * 1e3,
    }


def memory(sizes: Sequence[int] = (1_000, 10_000, 100_000)) -> Figures:
    """Part d."""
    found = {size: peak_kib(size) / 1024 for size in sizes}
    told = {f"{size:,} answers, MiB": peak for size, peak in found.items()}
    return told | {"last by first": found[sizes[-1]] / found[sizes[0]]}


def costs(answers: int) -> Figures:
    """Part e."""
    cases = people(answers)
    found: Figures = {"questions a person": len(cases[0])}
    with serving(0.0) as server:
        for variant in ("full", "single"):
            run = run_once(server, variant, cases)
            found[f"{variant}: calls an answer"] = run.calls / run.answers
            found[f"{variant}: tokens an answer"] = run.tokens / run.answers
    return found


def figures(part: str, answers: int) -> Figures:
    """Return the figures of a part, of so many answers where they decide its length."""
    parts: dict[str, Callable[[], Figures]] = {
        "a": lambda: scheduling(answers),
        "b": lambda: rivals(max(4, answers // 5)),
        "c": lambda: framework_time(max(4, answers // 5)),
        "d": lambda: memory(),
        "e": lambda: costs(min(answers, 4 * QUESTIONS)),
    }
    return parts[part]()


def processor_times() -> tuple[float, float]:
    """Return how long the machine's processors were idle and in use, or zeros where unknown."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0, 0.0
    times = [float(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]]
    return times[3], sum(times) - times[3]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the figures by part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--answers", type=int, default=2_000)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    given = parser.parse_args(arguments)
    for part in given.only:
        load, began, before = os.getloadavg()[0], time.perf_counter(), processor_times()
        found = figures(part, given.answers)
        took = time.perf_counter() - began
        idle, used = (now - then for now, then in zip(processor_times(), before, strict=True))
        quiet = f"processors idle {idle / max(1.0, idle + used):.0%}"
        told = f"load before {load:.2f}, after {os.getloadavg()[0]:.2f}; {quiet}; {took:.0f} s"
        print(f"{part}  ({told})")
        for name, value in found.items():
            print(f"   {name:<28}{value:>14,.3f}")


if __name__ == "__main__":
    main()
