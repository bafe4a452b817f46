"""`evals history`: does an arm answer better the more it knows, and learn faster than others?"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dspy
import pandas as pd

from evals.arms import build_arm
from evals.benchmark import Result, run_benchmark
from evals.curve_picture import draw_curves
from evals.embedders import retrieval_notes
from evals.estimate import Cost, agree, benchmark_cost, check_context
from evals.growing import FIXED, GROWTHS, ORDERS, SHARES, Growing, Point, told
from evals.history_table import curve_data, history_report, rival_slopes
from evals.intervals import Interval
from evals.job_facts import arm_params, describe_job
from evals.past_runs import count_reading
from evals.slopes import Curve, area, slope
from evals.study import Study, open_study
from evals.tracked_runs import PICTURES, JobRun
from evals.tracking import Tracker
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import BudgetExceededError, ConfigError
from valuesim_dspy.lm import preflight
from valuesim_dspy.progress import Progress

PEOPLE, TARGETS = 20, 8
"""How many people, and how many targets of each, where nothing else is asked for."""
RIVALS = ("rag", "single", "nearest-respondents")
PICTURE, DATA, ROWS = "learning-curve.png", "curve.json", "curve_predictions.json"
_KEPT = ("respondent", "question", "truth", "answer", "status", "correct")

Examples = list[dspy.Example]


def run_history(
    config: JobConfig,
    role: str,
    *,
    people: int | None = PEOPLE,
    targets: int | None = TARGETS,
    is_agreed: bool = False,
) -> str:
    """Measure the learning curves of the variant and its rivals and return the report.

    Args:
        config: The job; its variant is compared with RAG, with all facts in one prompt and, in a
            table of its own, with nearest respondents.
        role: `dev` or `test`; readings of the testset are counted and the count is printed.
        people: At most so many people of the set, drawn; None takes all.
        targets: At most so many targets a person, drawn; None takes all that the config allows.
        is_agreed: Whether an estimate above the config's limit needs no further consent.

    Raises:
        ConfigError: The set is empty, or what is estimated needs consent.
        MissingDataError: There are too few training people to learn an order from.
        BudgetExceededError: The budget is spent; the curves that were finished are kept.
    """
    arms = tuple(dict.fromkeys((config.variant, *RIVALS)))
    with open_study(config) as study:
        asked = sampled(study.examples(role), people, targets, config.protocol.seed)
        if not asked:
            raise ConfigError(
                f"the {role}set is empty: no respondent of it answered a {role} target",
                key=f"protocol.{role}",
            )
        job = _Job(study, role, asked, Growing.of(study, role))
        programs = {arm: build_arm(study, arm) for arm in arms}
        job.announce(programs, is_agreed=is_agreed)
        reading = count_reading(study) if role == "test" else None
        tracker = Tracker(config.store, share_rows=config.share_rows)
        drawn = [arms, role, people, targets, SHARES, FIXED, *ORDERS]
        whole = json.dumps([study.identity, "history", drawn])
        identity = hashlib.sha256(whole.encode()).hexdigest()[:16]
        facts = describe_job(study, command="evals", subject="history", identity=identity)
        with tracker.job(facts) as run:
            curves: list[Curve] = []
            try:
                for arm, program in programs.items():
                    curves += [*job.arm(run, arm, program)]
            except BudgetExceededError as error:
                if curves:
                    print(job.finish(run, curves, reading, f"stopped: {error}"), flush=True)  # noqa: T201
                raise
            return job.finish(run, curves, reading)


def sampled(
    examples: Sequence[dspy.Example], people: int | None, targets: int | None, seed: int
) -> Examples:
    """Return the examples of some people, and some of each, in their order.

    Args:
        examples: Of a set.
        people: At most so many people; None for all.
        targets: At most so many examples of each; None for all.
        seed: Of both draws; each person's does not depend on who else is there.
    """
    by_person: dict[str, Examples] = {}
    for example in examples:
        by_person.setdefault(example.case.profile.key, []).append(example)
    keys = sorted(by_person)
    rng = random.Random(f"people:{seed}")
    taken = keys if people is None else rng.sample(keys, min(people, len(keys)))
    kept: set[int] = set()
    for key in taken:
        own = by_person[key]
        count = len(own) if targets is None else min(targets, len(own))
        kept |= {id(example) for example in random.Random(f"{key}:{seed}").sample(own, count)}
    return [example for example in examples if id(example) in kept]


@dataclass(frozen=True, eq=False)
class _Job:
    """What all curves share: who is asked what, and what comes to be known when."""

    study: Study
    role: str
    asked: Examples
    growing: Growing
    _made: dict[Point, Examples] = field(default_factory=dict)
    _used: dict[str, list[Result]] = field(default_factory=dict)

    def at(self, point: Point) -> Examples:
        """Return the cases as they stand at a point."""
        if point not in self._made:
            self._made[point] = self.growing.examples(self.asked, point)
        return self._made[point]

    def known(self, point: Point) -> float:
        """Return how many answers are known of a person at a point, as a mean over people."""
        cases = {example.case.profile: example.case for example in self.at(point)}
        return sum(len(told(c.profile)) + len(c.history) for c in cases.values()) / len(cases)

    def different(self) -> dict[tuple[object, ...], Examples]:
        """Return the cases of all points, those that are equal once."""
        points = [Point(g, o, s) for o in ORDERS for g in GROWTHS for s in SHARES]
        return {_cases(self.at(point)): self.at(point) for point in points}

    def announce(self, programs: Mapping[str, dspy.Module], *, is_agreed: bool) -> None:
        """Check what fits a context, say what it costs, and ask for consent where it is much."""
        sets = list(self.different().values())
        fullest = [ex for g in GROWTHS for o in ORDERS for ex in self.at(Point(g, o, SHARES[-1]))]
        for program in programs.values():
            check_context(program, fullest, self.study.config.task_lm)
        if not self.study.offline:
            phases = {
                arm: sum((benchmark_cost(program, one) for one in sets), Cost())
                for arm, program in programs.items()
            }
            agree(self.study, phases, is_agreed=is_agreed)
        if not self.study.task_lm.in_process:
            preflight(self.study.task_lm)

    def arm(self, run: JobRun, arm: str, program: dspy.Module) -> Iterator[Curve]:
        """Measure the curves of an arm and keep those of an order as soon as they are done."""
        done: dict[tuple[object, ...], Result] = {}
        total = sum(map(len, self.different().values()))
        with Progress(f"{arm}, {self.role}set", total) as progress:
            for order in ORDERS:
                curves = [self._curve(arm, program, g, order, done, progress) for g in GROWTHS]
                self._keep(run, program, curves)
                yield from curves
        self._used[arm] = list(done.values())

    def _curve(
        self,
        arm: str,
        program: dspy.Module,
        growth: str,
        order: str,
        done: dict[tuple[object, ...], Result],
        progress: Progress,
    ) -> Curve:
        points = [Point(growth, order, share) for share in SHARES]
        for point in points:
            examples = self.at(point)
            # With nothing and with all known, every order stands at the same point.
            if _cases(examples) not in done:
                done[_cases(examples)] = run_benchmark(
                    self.study,
                    arm,
                    program,
                    self.role,
                    examples=examples,
                    on_outcome=progress.step,
                )
        results = tuple(done[_cases(self.at(point))] for point in points)
        known = tuple(self.known(point) for point in points)
        return Curve(arm, results[0].knows, growth, order, SHARES, known, results)

    def _keep(self, run: JobRun, program: dspy.Module, curves: Sequence[Curve]) -> None:
        """Keep the curves of one arm and order as a run: each point is a step."""
        first = curves[0]
        params = arm_params(
            self.study,
            self.role,
            kind=getattr(program, "kind", first.arm),
            variant=getattr(program, "variant", first.arm),
            teleprompter="none",
            knows=first.knows,
        )
        cases = [example.case for example in self.asked]
        params["people"] = len({case.profile.key for case in cases})
        params["questions"] = len({case.question.id for case in cases})
        with run.arm(first.name, params) as child:
            # With all of the profile known: what `evals run` has on these cases.
            child.log_predictions(first.results[-1].frame)
            child.log_predictions(_rows(curves), ROWS)
            # All at once: each call reads back what is logged already.
            child.tracker.log_points(child.run_id, [p for curve in curves for p in _steps(curve)])

    def finish(
        self, run: JobRun, curves: Sequence[Curve], reading: int | None, stopped: str = ""
    ) -> str:
        """Keep and return the report of all curves of the arms that are done.

        Args:
            run: The job's.
            curves: The variant's first.
            reading: The testset's, if it is that.
            stopped: Why there are no more arms; "" where all are done.
        """
        study = self.study
        for rival, growth, gap in rival_slopes(curves, study.config.variant):
            run.log_metrics(_spread(f"slope_minus_{rival}", gap), prefix=growth)
        notes = [self._drawn(), *retrieval_notes(study.retriever.embedder, study.offline)]
        notes += [*(self._calls(arm) for arm in self._used), stopped]
        if reading is not None:
            notes.append(f"reading {reading} of this testset")
        report = history_report(study, curves, self.role, notes)
        run.log_text(report, "table.md")
        run.log_json(curve_data(curves, study.config.variant), DATA)
        title = f"{study.config.name}: accuracy on the {self.role}set"
        run.log_pictures({PICTURE: draw_curves(curves, title, evidence=study.evidence)})
        run.note(report)
        where = f"{DATA} and {PICTURES}/{PICTURE} are with it; open it with: make ui"
        return f"{report}\nMLflow run {run.run_id}: {where}"

    def _drawn(self) -> str:
        asked = self.study.examples(self.role)
        people, whole = ({ex.case.profile.key for ex in exs} for exs in (self.asked, asked))
        return (
            f"Drawn with seed {self.study.config.protocol.seed}: {len(people)} of the "
            f"{self.role}set's {len(whole)} people, {len(self.asked):,} of its {len(asked):,} "
            "cases; every point, order and arm is on these same cases."
        )

    def _calls(self, arm: str) -> str:
        results = self._used[arm]
        needed, paid = (sum(getattr(r, kind).calls for r in results) for kind in ("needed", "paid"))
        if not needed:
            return ""
        tokens = sum(result.needed.tokens for result in results)
        return f"{arm}: {needed:,} calls needed, {paid:,} paid, {tokens:,} tokens needed."


def _cases(examples: Examples) -> tuple[object, ...]:
    return tuple(example.case for example in examples)


def _spread(name: str, found: Interval) -> dict[str, float]:
    return {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}


def _steps(curve: Curve) -> Iterator[tuple[str, float, int]]:
    """Yield metric, value and step: the answers known of a point, 0 of the whole curve."""
    numbers: list[tuple[int, dict[str, float]]] = []
    for known, found, result in zip(curve.known, curve.accuracies, curve.results, strict=True):
        needed = {"calls_needed": float(result.needed.calls)}
        numbers.append((round(known), _spread("accuracy", found) | needed))
    numbers.append((0, {"coverage": curve.coverage}))
    if curve.is_valid:
        whole = {"area": area([curve]).estimate} | _spread("slope", slope([curve]))
        numbers.append((0, whole))
    for step, metrics in numbers:
        for name, value in metrics.items():
            if math.isfinite(value):
                yield f"{curve.growth}.{name}", round(value, 5), step


def _rows(curves: Sequence[Curve]) -> pd.DataFrame:
    """Return one row for each case and point."""
    parts = [
        result.frame[list(_KEPT)].assign(growth=curve.growth, share=share, known=known)
        for curve in curves
        for share, known, result in zip(curve.shares, curve.known, curve.results, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)
