"""`evals contamination`: how much of a survey a model recalls, and does accuracy follow that?"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import dspy
import numpy as np
import pandas as pd

from evals.benchmark import Result, run_benchmark
from evals.contamination_table import (
    MEANS,
    arm_table,
    country_table,
    follows,
    in_words,
    is_recalled,
    recall_numbers,
    recall_table,
    spread,
)
from evals.estimate import agree, benchmark_cost, check_context
from evals.history import sampled
from evals.job_facts import arm_params, describe_job, usage_metrics
from evals.metrics import score_frame
from evals.past_runs import count_reading
from evals.recall import (
    MIN_PEOPLE,
    Cell,
    Marginal,
    Recaller,
    marginals,
    recall_examples,
    total_variation,
)
from evals.recording import result_metrics
from evals.report import KNOWS, MACHINERY, describe_study
from evals.robustness_table import wrapped
from evals.study import Study, build_arm, open_study
from evals.tracked_runs import JobRun
from evals.tracking import Tracker
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import BudgetExceededError, ConfigError
from valuesim_dspy.lm import preflight
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.progress import Progress

PEOPLE, TARGETS = 40, 8
"""How many people, and how many targets of each, where nothing else is asked for."""
RECALL, ROWS = "recall", "recall.json"


def run_contamination(
    config: JobConfig,
    role: str,
    *,
    people: int | None = PEOPLE,
    targets: int | None = TARGETS,
    least: int = MIN_PEOPLE,
    is_agreed: bool = False,
) -> str:
    """Ask for the shares of answers by country with no facts, and relate them to accuracy.

    The survey's shares are those of everybody who is in neither valset, devset nor testset: the
    training people alone are too few in a country.

    Args:
        config: The job; accuracy is that of its variant and of RAG.
        role: `dev` or `test`; readings of the testset are counted and the count is printed.
        people: At most so many people of the set, drawn; None takes all.
        targets: At most so many targets a person, drawn; None takes all that the config allows.
        least: People of a country who must have answered a question.
        is_agreed: Whether an estimate above the config's limit needs no further consent.

    Raises:
        ConfigError: No country has enough people, or what is estimated needs consent.
        BudgetExceededError: The budget is spent; what was done is kept.
    """
    arms = tuple(dict.fromkeys((config.variant, "rag")))
    with open_study(config) as study:
        job = _drawn(study, role, people, targets, least)
        programs = {arm: build_arm(study, arm) for arm in arms}
        job.announce(programs, is_agreed=is_agreed)
        reading = count_reading(study) if role == "test" else None
        tracker = Tracker(config.store, share_rows=config.share_rows)
        whole = json.dumps([study.identity, "contamination", arms, role, people, targets, least])
        identity = hashlib.sha256(whole.encode()).hexdigest()[:16]
        facts = describe_job(study, command="evals", subject="contamination", identity=identity)
        with tracker.job(facts) as run:
            cells = job.recalled(run)
            try:
                for arm, program in programs.items():
                    job.answered(run, arm, program, cells)
            except BudgetExceededError as error:
                print(job.keep(run, cells, reading, f"stopped: {error}"), flush=True)  # noqa: T201
                raise
            return job.keep(run, cells, reading)


def _drawn(study: Study, role: str, people: int | None, targets: int | None, least: int) -> _Job:
    """Draw the cases that are asked, of countries and questions with enough people."""
    asked = sampled(study.examples(role), people, targets, study.config.protocol.seed)
    away = {place for name in ("val", "dev", "test") for place in study.split.people(name)}
    places = [place for place in range(len(study.respondents)) if place not in away]
    others = study.respondents.take(np.array(places, dtype=int))
    known = marginals(others, sorted({_cell(ex) for ex in asked}), least=least)
    if not known:
        raise ConfigError(
            f"no country of the {role}set has {least} other people who answered one question",
            key="data.respondents",
            value=len(study.respondents),
        )
    return _Job(study, role, [ex for ex in asked if _cell(ex) in known], len(asked), known, least)


def _cell(example: dspy.Example) -> Cell:
    return example.case.profile.country or "", example.case.question.id


@dataclass(eq=False)
class _Cells:
    """One row a country and question, to which arms add their accuracy, and what arms did."""

    frame: pd.DataFrame
    results: dict[str, Result]


@dataclass(frozen=True, eq=False)
class _Job:
    study: Study
    role: str
    asked: list[dspy.Example]
    before: int
    known: Mapping[Cell, Marginal]
    least: int

    @property
    def _cells(self) -> list[dspy.Example]:
        return recall_examples(self.study.codebook, self.known)

    def announce(self, programs: Mapping[str, dspy.Module], *, is_agreed: bool) -> None:
        """Check what fits a context, say what it costs, and ask for consent where it is much."""
        phases = {}
        for name, program in {RECALL: Recaller(), **programs}.items():
            cases = self._cells if name == RECALL else self.asked
            check_context(program, cases, self.study.config.task_lm)
            if not self.study.offline:
                phases[name] = benchmark_cost(program, cases)
        agree(self.study, phases, is_agreed=is_agreed)
        if not self.study.task_lm.in_process:
            preflight(self.study.task_lm)

    def recalled(self, run: JobRun) -> _Cells:
        """Ask for every country's shares and set them beside the survey's."""
        study, examples = self.study, self._cells
        meter = study.meter.child(RECALL)
        with Progress(f"{RECALL}, {self.role}set", len(examples)) as progress:
            outcomes = answer_cases(
                Recaller(),
                examples,
                lm=study.task_lm.with_meter(meter),
                threads=study.config.threads,
                on_outcome=progress.step,
            )
        frame = score_frame(outcomes, study.codebook)
        rows = []
        for outcome, ((country, id), found) in zip(outcomes, self.known.items(), strict=True):
            codes = study.codebook[id].codes
            told = np.array([outcome.probabilities.get(code, np.nan) for code in codes])
            even = np.full(len(codes), 1 / len(codes))
            distance = total_variation(told, found.shares)
            rows.append(
                {
                    **{"country": country, "question": id, "people": found.people},
                    **{"status": outcome.status, "distance": distance, "recall": 1 - distance},
                    "top": float(outcome.answer == outcome.truth),
                    **{"uniform": total_variation(even, found.shares), "even": 1 / len(codes)},
                    **{"sampling": found.sampling, "modal": found.top},
                }
            )
        cells = pd.DataFrame(rows)
        cases = pd.Series([_cell(example) for example in self.asked]).value_counts()
        cells["cases"] = [int(cases[cell]) for cell in self.known]
        params = {"kind": RECALL, "variant": RECALL, "teleprompter": "none", "knows": "cold"}
        with run.arm(RECALL, self._described(params)) as child:
            child.log_metrics(recall_numbers(cells) | usage_metrics(meter.needed, meter.paid))
            child.log_predictions(frame)
        return _Cells(cells, {})

    def _described(self, params: Mapping[str, str]) -> dict[str, object]:
        found = arm_params(self.study, self.role, **params)
        cases = [example.case for example in self.asked]
        found["people"] = len({case.profile.key for case in cases})
        found["questions"] = len({case.question.id for case in cases})
        return found

    def answered(self, run: JobRun, arm: str, program: dspy.Module, cells: _Cells) -> None:
        """Measure an arm on the same countries and questions, and keep it in a run."""
        with Progress(f"{arm}, {self.role}set", len(self.asked)) as progress:
            result = run_benchmark(
                self.study, arm, program, self.role, examples=self.asked, on_outcome=progress.step
            )
        right = result.frame.groupby(["country", "question"])["correct"].mean()
        cells.frame[arm] = [float(right[cell]) for cell in self.known]
        cells.results[arm] = result
        kind, variant = (str(getattr(program, name, arm)) for name in ("kind", "variant"))
        params = {"kind": kind, "variant": variant, "teleprompter": "none", "knows": result.knows}
        with run.arm(arm, self._described(params)) as child:
            child.log_predictions(result.frame)
            child.log_metrics(result_metrics(result))
            if result.is_valid and is_recalled(cells.frame):
                for name, given in (("recall_correlation", None), ("recall_partial", "modal")):
                    child.log_metrics(spread(name, follows(cells.frame, arm, given)))

    def keep(self, run: JobRun, cells: _Cells, reading: int | None, stopped: str = "") -> str:
        """Keep and return the report; `stopped` says why arms are missing."""
        report = self.report(cells, reading) + (f"\n{stopped}\n" if stopped else "")
        run.log_text(report, "table.md")
        # A cell may be one person: what arms did there stays with their predictions.
        shown = cells.frame.drop(columns=["cases", *cells.results])
        run.log_json(json.loads(shown.to_json(orient="records")), ROWS)
        run.note(report)
        return f"{report}\nMLflow run {run.run_id}: {ROWS} is with it; open it with: make ui"

    def report(self, cells: _Cells, reading: int | None) -> str:
        """Return the tables and what they say."""
        study, frame = self.study, cells.frame
        about = describe_study(study, date=datetime.date.today())
        drawn = (
            f"Drawn with seed {study.config.protocol.seed}: {self.before:,} cases, of which "
            f"{len(self.asked):,} are of a country in which at least {self.least} other people "
            f"answered the question: {len(frame):,} pairs of {frame['country'].nunique()} "
            f"countries and {frame['question'].nunique()} questions, asked of nobody in "
            "particular. The survey's shares are those of everybody outside valset, devset and "
            "testset, weighted by W_WEIGHT."
        )
        blocks = [
            f"## {study.config.name}: contamination, {self.role}set",
            wrapped("; ".join(f"{name}: {text}" for name, text in about.items())),
            wrapped(drawn),
        ]
        if study.offline or study.respondents.synthetic:
            blocks.append(wrapped(f"**{MACHINERY}**"))
        blocks += [recall_table(frame), country_table(frame)]
        for knows, meaning in KNOWS.items():
            results = [each for each in cells.results.values() if each.knows == knows]
            if results:
                blocks.append(f"**{knows.capitalize()} arms**: {meaning}.")
                blocks.append(arm_table(frame, results))
        blocks += [wrapped(in_words(frame, list(cells.results.values()))), wrapped(MEANS)]
        if reading is not None:
            blocks.append(f"Reading {reading} of this testset.")
        return "\n\n".join(blocks) + "\n"
