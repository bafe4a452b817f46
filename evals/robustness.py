"""`evals robustness`: does an arm answer the same question alike when it is put another way?"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dspy

from evals.baselines import BASELINES
from evals.benchmark import Result, run_benchmark
from evals.estimate import agree, benchmark_cost, check_context
from evals.history import sampled
from evals.job_facts import arm_params, describe_job
from evals.past_runs import count_reading
from evals.perturbed import Perturbed
from evals.perturbing import PERTURBATIONS, REPEAT, Asking, shown_codes
from evals.recording import result_metrics
from evals.report import MACHINERY, describe_study
from evals.robustness_table import AS_IS, Robustness, arm_block, legend, wrapped
from evals.running import Arm, as_compiled, find_arms
from evals.shifts import Shift, Shown, last_option, place_effect, shift
from evals.study import Study, build_arm, open_study
from evals.tracked_runs import JobRun
from evals.tracking import Tracker
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import BudgetExceededError, ConfigError
from valuesim_dspy.lm import preflight
from valuesim_dspy.progress import Progress
from valuesim_dspy.survey.codebook import load_codebook

PEOPLE, TARGETS = 20, 6
"""How many people, and how many targets of each, where nothing else is asked for."""
WORDING = "official-wording"
REVERSED = "options-reversed"
ROWS = "predictions.json"

Examples = list[dspy.Example]


def run_robustness(
    config: JobConfig,
    arms: Sequence[str],
    role: str,
    *,
    people: int | None = PEOPLE,
    targets: int | None = TARGETS,
    is_agreed: bool = False,
) -> str:
    """Put some cases to each arm as they are and under every perturbation; return the tables.

    Args:
        config: The job; a saved program brings its own fold and split.
        arms: Arms that call a language model; by default the job's variant and RAG.
        role: `dev` or `test`; readings of the testset are counted and the count is printed.
        people: At most so many people of the set, drawn; None takes all.
        targets: At most so many targets a person, drawn; None takes all that the config allows.
        is_agreed: Whether an estimate above the config's limit needs no further consent.

    Raises:
        ConfigError: An arm is unknown or reads no words, the set is empty, or what is estimated
            needs consent.
        BudgetExceededError: The budget is spent; the arms and perturbations done are kept.
    """
    found = find_arms(dict.fromkeys(arms or (config.variant, "rag")), config.store)
    _check(found)
    config = as_compiled(config, found)
    with open_study(config) as study:
        asked = sampled(study.examples(role), people, targets, config.protocol.seed)
        if not asked:
            raise ConfigError(
                f"the {role}set is empty: no respondent of it answered a {role} target",
                key=f"protocol.{role}",
            )
        plain = load_codebook(config.data.codebook) if study.codebook.wording else None
        job = _Job(study, role, asked, Asking(config.seed, plain))
        programs = {arm.label: build_arm(study, arm.source) for arm in found}
        job.announce(programs, is_agreed=is_agreed)
        reading = count_reading(study) if role == "test" else None
        tracker = Tracker(config.store, share_rows=config.share_rows)
        drawn = [[arm.content for arm in found], role, people, targets, list(PERTURBATIONS)]
        whole = json.dumps([study.identity, "robustness", drawn])
        identity = hashlib.sha256(whole.encode()).hexdigest()[:16]
        facts = describe_job(study, command="evals", subject="robustness", identity=identity)
        with tracker.job(facts) as run:
            done: list[Robustness] = []
            try:
                for arm in found:
                    done.append(job.arm(run, arm, programs[arm.label]))
            except BudgetExceededError as error:
                if done:
                    print(job.report(run, done, reading, f"stopped: {error}"), flush=True)  # noqa: T201
                raise
            return job.report(run, done, reading)


def _check(arms: Sequence[Arm]) -> None:
    for arm in arms:
        baseline = BASELINES.get(arm.source)
        if baseline is not None and not baseline.uses_lm:
            raise ConfigError(
                f"{arm.source!r} reads codes and no words, so that no wording can move it",
                key="arm",
                value=arm.source,
            )


@dataclass(frozen=True, eq=False)
class _Job:
    """What all arms share: the cases, and how they are put otherwise."""

    study: Study
    role: str
    asked: Examples
    asking: Asking

    @property
    def shown(self) -> Shown:
        """The options of every case in the order shown where nothing is perturbed."""
        cases = (example.case for example in self.asked)
        return {(case.profile.key, case.question.id): shown_codes(case) for case in cases}

    def announce(self, programs: Mapping[str, dspy.Module], *, is_agreed: bool) -> None:
        """Check what fits a context, say what it costs, and ask for consent where it is much."""
        for program in programs.values():
            check_context(program, self.asked, self.study.config.task_lm)
        if not self.study.offline:
            times = len(PERTURBATIONS) + (0 if self.asking.plain else -1) + 1
            costs = {arm: benchmark_cost(p, self.asked) for arm, p in programs.items()}
            phases = {arm: cost.scaled(times, times) for arm, cost in costs.items()}
            agree(self.study, phases, is_agreed=is_agreed)
        if not self.study.task_lm.in_process:
            preflight(self.study.task_lm)

    def arm(self, run: JobRun, arm: Arm, program: dspy.Module) -> Robustness:
        """Measure an arm as it is and under each perturbation, and keep each in a run."""
        before = self._measure(arm, AS_IS, program, self.asked)
        self._keep(run, arm, program, AS_IS, before, result_metrics(before))
        shifts: list[Shift] = []
        skipped: dict[str, str] = {}
        floor: Result | None = None
        for name in PERTURBATIONS:
            perturbed = Perturbed(program, name, self.asking)
            reason = self._reason_to_skip(perturbed, before)
            cases = [] if reason else [ex for ex in self.asked if perturbed.applies(ex.case)]
            if not cases:
                skipped[name] = reason or "it changes none of these cases"
                continue
            after = self._measure(arm, name, perturbed, cases)
            found = shift(name, before, after, floor)
            floor = after if name == REPEAT else floor
            self._keep(run, arm, program, name, after, _numbers(found))
            shifts.append(found)
        return self._whole(arm.label, before, shifts, skipped)

    def _reason_to_skip(self, perturbed: Perturbed, before: Result) -> str:
        perturbation = PERTURBATIONS[perturbed.perturbation]
        if perturbation.name == WORDING and self.asking.plain is None:
            return "the codebook's own wording is in force; give another with data.wording"
        if perturbation.recodes and before.knows == "warm":
            return "the arm reads other people's codes, which stay as they are"
        return ""

    def _measure(self, arm: Arm, name: str, program: dspy.Module, cases: Examples) -> Result:
        label = f"{arm.label}: {name}"
        known = program.program if isinstance(program, Perturbed) else program
        kind = str(getattr(known, "kind", arm.label)) if arm.manifest else arm.source
        with Progress(f"{label}, {self.role}set", len(cases)) as progress:
            return run_benchmark(
                self.study,
                kind,
                program,
                self.role,
                label=label,
                examples=cases,
                on_outcome=progress.step,
            )

    def _keep(
        self,
        run: JobRun,
        arm: Arm,
        program: dspy.Module,
        name: str,
        result: Result,
        numbers: Mapping[str, float],
    ) -> None:
        """Keep an arm under one perturbation as a run."""
        params = arm_params(
            self.study,
            self.role,
            kind=getattr(program, "kind", arm.label),
            variant=getattr(program, "variant", arm.label),
            teleprompter=arm.teleprompter,
            knows=result.knows,
        )
        params["people"] = result.frame["respondent"].nunique()
        params["questions"] = result.frame["question"].nunique()
        with run.arm(f"{arm.label}: {name}", params) as child:
            child.log_predictions(result.frame, ROWS)
            child.log_metrics(numbers)

    def _whole(
        self, label: str, before: Result, shifts: list[Shift], skipped: Mapping[str, str]
    ) -> Robustness:
        """Put together what was found of an arm."""
        ends = [last_option(AS_IS, before.frame, self.shown)]
        effect = None
        for found in shifts:
            if found.name == REVERSED:
                turned = {case: codes[::-1] for case, codes in self.shown.items()}
                ends.append(last_option(REVERSED, found.after.frame, turned))
                effect = place_effect(found.before, found.after.frame, self.shown)
        return Robustness(label, before, tuple(shifts), tuple(ends), effect, skipped)

    def report(
        self, run: JobRun, done: Sequence[Robustness], reading: int | None, stopped: str = ""
    ) -> str:
        """Keep and return the tables of the arms that are done; `stopped` says why no more are."""
        blocks = [self.head(reading), *map(arm_block, done), legend()]
        text = "\n".join([*blocks, f"\n{stopped}\n"] if stopped else blocks)
        run.log_text(text, "table.md")
        run.note(text)
        return f"{text}\nMLflow run {run.run_id}; open it with: make ui"

    def head(self, reading: int | None) -> str:
        """Return the title, what was measured and what must be known of it."""
        study = self.study
        about = describe_study(study, date=datetime.date.today())
        people, whole = (
            len({example.case.profile.key for example in examples})
            for examples in (self.asked, study.examples(self.role))
        )
        lines = [
            f"## {study.config.name}: robustness, {self.role}set",
            wrapped("; ".join(f"{name}: {text}" for name, text in about.items())),
            f"Drawn with seed {study.config.protocol.seed}: {people} of the {self.role}set's "
            f"{whole} people, {len(self.asked):,} of its {len(study.examples(self.role)):,} cases.",
        ]
        if study.offline or study.respondents.synthetic:
            lines.append(wrapped(f"**{MACHINERY}**"))
        if study.offline:
            lines.append(
                "The embedded model gives equal replies to equal requests at temperature 0: an arm "
                "that does not sample cannot flip on repetition."
            )
        if reading is not None:
            lines.append(f"Reading {reading} of this testset.")
        return "\n\n".join(lines) + "\n"


def _numbers(found: Shift) -> dict[str, float]:
    """Return what MLflow keeps of an arm under a perturbation."""
    numbers = result_metrics(found.after)
    intervals = {"flips": found.flips}
    if found.after.is_valid:
        intervals |= {"accuracy_change": found.accuracy, "nmae_change": found.nmae}
    if found.above is not None:
        intervals["flips_above_repeat"] = found.above
    for name, each in intervals.items():
        numbers |= {name: each.estimate, f"{name}_low": each.low, f"{name}_high": each.high}
    return numbers
