"""LM calls of each teleprompter, with answered requests reused and with every request paid.

Run by hand: `python benchmarks/compile_calls.py [teleprompter ...]`. The same compilation is run
twice: once with our response cache, which answers a request that comes again (a person's
backstory, the answer of a predictor that a candidate left as it was), and once without any cache,
where each request is a call, as candidates that rewrite backstories would make them. Both must
try the same candidates and leave the same program. Nothing was cached before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
if str(_ROOT) not in sys.path:
    sys.path.insert(0, str(_ROOT))
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from evals.study import Study, build_arm, open_study  # noqa: E402
from optimize.arm_compiling import compile_arm  # noqa: E402
from optimize.mechanics import found_by, small_options  # noqa: E402
from optimize.teleprompters import TELEPROMPTERS, Compiled  # noqa: E402
from valuesim_dspy.cache import ResponseCache  # noqa: E402
from valuesim_dspy.config import JobConfig, load_job  # noqa: E402
from valuesim_dspy.usage import Meter  # noqa: E402

JOB = _ROOT / "optimize" / "jobs" / "demo.toml"
VARIANT = "full"
WRITERS = ("writer.backstory", "WriteBackstory")
"""What meters call the predictor of backstories; the latter where it is frozen."""
CHOICES: Mapping[str, tuple[str, ...]] = {
    "one perspective": ("panel.cognitive",),
    "all perspectives": ("panel",),
}
"""What is compiled: one perspective, or all three; the rest keeps its state."""
HALF = 0.5
HEAD = f"{'teleprompter':<26}{'without':>9}{'stories':>9}{'with':>9}{'stories':>9}{'ratio':>8}"


@dataclass(frozen=True)
class Calls:
    """The calls of one compilation.

    Attributes:
        all: All of them.
        stories: Those that wrote a backstory.
    """

    all: int
    stories: int


@dataclass(frozen=True)
class Reuse:
    """The calls of one teleprompter, with and without reuse; the candidates are the same.

    Attributes:
        teleprompter: Its name.
        reused: With our response cache.
        plain: With every request paid.
        people: People of trainset and valset: as many different backstories as can be asked for.
    """

    teleprompter: str
    reused: Calls
    plain: Calls
    people: int

    @property
    def ratio(self) -> float:
        """Calls with reuse by calls without, in (0, 1]; NaN where none are made."""
        return self.reused.all / self.plain.all if self.plain.all else float("nan")


def compare(study: Study, name: str, predictors: Sequence[str]) -> Reuse:
    """Compile with one teleprompter with and without reuse.

    Raises:
        RuntimeError: The two did not try the same candidates or left other programs, so that
            their calls cannot be compared.
    """
    reused, with_reuse = _compile(study, name, predictors, reuse=True)
    plain, without = _compile(study, name, predictors, reuse=False)
    if found_by(with_reuse) != found_by(without):
        raise RuntimeError(f"{name} left another program without reuse")
    examples = study.examples("train") + study.examples("val")
    people = len({example.case.profile for example in examples})
    return Reuse(name, reused, plain, people)


def _compile(
    study: Study, name: str, predictors: Sequence[str], *, reuse: bool
) -> tuple[Calls, Compiled]:
    teleprompter, meter = TELEPROMPTERS[name], Meter(name)
    options = {**small_options(teleprompter)}
    if "predictors" in teleprompter.options.model_fields:
        options["predictors"] = list(predictors)
    lms: dict[str, Any] = {role: lm.with_meter(meter) for role, lm in study.lms.items()}
    if not reuse:
        # Such a call asks no cache: it is needed, and paid, each time that it is made.
        lms = {role: lm.copy(cache=False) for role, lm in lms.items()}
    student = build_arm(study, VARIANT)
    parsed = teleprompter.parse(options)
    with ResponseCache().installed():
        compiled = compile_arm(study, VARIANT, student, teleprompter, parsed, lms=lms, log=None)
    used = meter.by_predictor
    stories = sum(used[writer].calls for writer in WRITERS if writer in used)
    return Calls(meter.paid.calls, stories), compiled


def config(*overrides: str) -> JobConfig:
    """Return the demonstration's job with settings laid over it."""
    return load_job(JOB, overrides)


def line(row: Reuse) -> str:
    """Return a line of the table under `HEAD`."""
    ratio = f"{row.ratio:.2f}" if row.plain.all else "-"
    verdict = "at most half" if row.ratio <= HALF else ""
    return (
        f"{row.teleprompter:<26}{row.plain.all:>9,}{row.plain.stories:>9,}"
        f"{row.reused.all:>9,}{row.reused.stories:>9,}{ratio:>8}  {verdict}"
    ).rstrip()


def main(names: Sequence[str] = ()) -> None:
    """Measure, and print calls and ratios."""
    with open_study(config(), cache=ResponseCache()) as study:
        sizes = {role: len(study.examples(role)) for role in ("train", "val")}
        print(f"{VARIANT}; {sizes['train']} training cases, {sizes['val']} of the valset")
        for told, predictors in CHOICES.items():
            print(f"\ncompiled: {told}\n{HEAD}")
            for name in names or TELEPROMPTERS:
                print(line(compare(study, name, predictors)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
