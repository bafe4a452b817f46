"""What a compile job will cost, phase by phase: calls, tokens and money, at least and at most."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from evals.baselines.baseline import BaselineModule
from evals.estimate import Cost, benchmark_cost, money, prices, span
from evals.study import Study, build_arm
from optimize.demo_rendering import add_labeled_demos, draw_cases
from optimize.learning_trust import learns_trust
from optimize.teleprompters import Teleprompter
from optimize.teleprompters.choosing import chosen_predictors

PROMPT_COST = Cost((1, 1), (200, 12_000), (20, 1000))
"""One request that writes an instruction: it holds examples, a summary of them or the program."""
TRIAL_COST = Cost((1, 1), (1, 50), (1, 500))
"""One call to see whether an endpoint answers."""
TOKENS_WITHIN = 1.5
"""The factor within which tokens are known: nobody knows how long analyses will be."""
WRITTEN_TOKENS = 1000
"""By how much a written instruction may be longer than ours."""
LEAST_VALSET = 100
"""So many cases of a valset are run by whoever selects on it; `mipro-v2` may take no more."""

Prices = tuple[float, float] | None
Sets = Mapping[str, Sequence[dspy.Example]]


@dataclass(frozen=True)
class Phase:
    """One phase of a job, as predicted.

    Args:
        cost: From a cold cache; retries of answers that cannot be read come on top.
        prices: US dollars per million prompt and completion tokens; None where unknown.
    """

    cost: Cost
    prices: Prices

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens in both directions, at least and at most."""
        low, high = (self.cost.prompt[end] + self.cost.completion[end] for end in (0, 1))
        return low, high

    @property
    def usd(self) -> tuple[float, float] | None:
        """US dollars, at least and at most; None where a price is unknown."""
        return self.cost.usd(self.prices)


@dataclass(frozen=True)
class Plan:
    """What a job will cost.

    Args:
        phases: Name to phase, in the order of the job.
        least: What all of it costs at least: phases may make the same requests, which are
            needed once.
    """

    phases: Mapping[str, Phase]
    least: Cost

    @property
    def all(self) -> Cost:
        """Calls and tokens of the whole job."""
        most = sum((phase.cost for phase in self.phases.values()), Cost())
        ends = zip(vars(self.least).values(), vars(most).values(), strict=True)
        return Cost(*((low[0], high[1]) for low, high in ends))

    @property
    def usd(self) -> tuple[float, float] | None:
        """US dollars of the whole job, at least and at most; None where a price is unknown."""
        asked = [phase for phase in self.phases.values() if phase.cost.calls[1]]
        ends = [phase.usd for phase in asked]
        if any(end is None for end in ends):
            return None
        cheapest = min((phase.prices for phase in asked), default=(0.0, 0.0), key=_sum)
        least = self.least.usd(cheapest)
        return (least[0] if least else 0.0), sum(end[1] for end in ends if end is not None)

    def lines(self) -> list[str]:
        """Render the plan, one phase a line and the sum last."""
        rows = {n: (p.cost.calls, p.tokens, p.usd) for n, p in self.phases.items()}
        whole = Phase(self.all, None)
        rows["all, equal requests once"] = (whole.cost.calls, whole.tokens, self.usd)
        width = max(map(len, rows))
        return [
            f"  {name:<{width}}  {span(calls):>17} calls  {span(tokens):>23} tokens  {money(usd)}"
            for name, (calls, tokens, usd) in rows.items()
        ]


def _sum(known: Prices) -> float:
    return sum(known or ())


def references(study: Study, students: Mapping[str, Any]) -> list[str]:
    """Return the baselines that are measured and not compiled."""
    return [name for name in dict.fromkeys(study.config.baselines) if name not in students]


def make_plan(
    study: Study,
    students: Mapping[str, dspy.Module],
    teleprompter: Teleprompter,
    options: Any,
    *,
    demo_cases: Sequence[dspy.Example] = (),
) -> Plan:
    """Predict what a job costs, phase by phase; nothing is asked.

    Args:
        study: The open study.
        students: Arm to its uncompiled program.
        teleprompter: What compiles.
        options: Its options.
        demo_cases: Cases of synthetic people that become demos, where they do.
    """
    sets = {role: study.examples(role) for role in ("train", "val", "dev")}
    task, writer = (_prices(study, name) for name in ("task_lm", "prompt_lm"))
    both = _between(task, _prices(study, "teacher_lm"))
    phases: dict[str, Phase] = {}
    trials = sum(not lm.in_process for lm in study.lms.values())
    if trials:
        phases["trial calls"] = Phase(TRIAL_COST.scaled(trials, trials), task)
    least, alone, written = Cost(), [Cost()], [Cost()]
    for name in references(study, students):
        program = build_arm(study, name)
        cost = _measuring(program, sets)
        phases[f"measuring {name}"] = Phase(cost, task)
        if isinstance(program, BaselineModule):
            least += cost
        else:
            alone.append(cost)
    for name, program in students.items():
        work = _Work(program, teleprompter, options, sets, demo_cases)
        cost, compiling = _measuring(program, sets), work.compiling()
        phases[f"measuring {name}"] = Phase(cost, task)
        phases[f"compiling {name}"] = Phase(compiling, both)
        prompts = PROMPT_COST.scaled(*work.prompts())
        if prompts.calls[1]:
            phases[f"prompts for {name}"] = Phase(prompts, writer)
        phases[f"measuring {name} compiled"] = Phase(work.measuring_compiled(), task)
        # On the valset it may run what was measured; training people are others.
        own = cost + (Cost() if teleprompter.needs_valset else compiling)
        written.append(prompts)
        if isinstance(program, BaselineModule):
            least += own
        else:
            alone.append(own)
    # Variants may share all their requests, and arms what is asked of the prompt LM, so of these
    # only the dearest is sure.
    sure = (max(costs, key=lambda cost: cost.calls[0]) for costs in (alone, written))
    return Plan(phases, sum(sure, least))


@dataclass(frozen=True, eq=False)
class _Work:
    """What compiling one arm takes."""

    program: Any
    teleprompter: Teleprompter
    options: Any
    sets: Sets
    demo_cases: Sequence[dspy.Example]

    def compiling(self) -> Cost:
        """Return the least, where equal requests are needed once, and the most."""
        low, high = self._counts(self.teleprompter.runs)
        most = benchmark_cost(self._grown(), self.sets["train"][:1]).scaled(high, high)
        if learns_trust(self.program):
            # Its panel is run on the trainset before and after.
            after = self.teleprompter.width(self.options)
            most += benchmark_cost(self._grown(), self.sets["train"]).scaled(2, 1 + after)
        if self.teleprompter.needs_valset:
            cases = self.sets["val"][: min(low, LEAST_VALSET)]
        else:
            cases = _same_people(self.sets["train"])[:low]
        least = benchmark_cost(self.program, cases)
        if isinstance(self.program, BaselineModule) and not self.teleprompter.needs_valset:
            least = benchmark_cost(self.program, cases[:1])
        return _span(_loose(least), _loose(self._written(most)))

    def prompts(self) -> tuple[int, int]:
        """Return the least and the most calls in which the prompt LM writes."""
        return self._counts(self.teleprompter.prompts)

    def measuring_compiled(self) -> Cost:
        """Return the cost of measuring what comes of it, which may be the uncompiled program."""
        most = _measuring(self._grown(), self.sets)
        if not self.teleprompter.needs_valset:
            most += _loose(benchmark_cost(self._grown(), self.sets["val"]))
        most = most.scaled(1, self.teleprompter.width(self.options))
        return _span(_measuring(self.program, self.sets), self._written(most))

    def _counts(self, count: Any) -> tuple[int, int]:
        chosen = chosen_predictors(self.program, getattr(self.options, "predictors", "all"))
        sizes = {len(self.sets["train"]), len(self.demo_cases or self.sets["train"])}
        found = [count(self.options, n, len(self.sets["val"]), len(chosen)) for n in sizes]
        return min(low for low, _ in found), max(high for _, high in found)

    def _grown(self) -> Any:
        """Return the program with as many demos as it may get, for the length of its prompts."""
        most = getattr(self.options, "max_demos", getattr(self.options, "k", 0))
        grown = self.program.deepcopy()
        add_labeled_demos(grown, draw_cases(self.sets["train"], most, random.Random(0)))
        return grown

    def _written(self, cost: Cost) -> Cost:
        is_writing = self.teleprompter.can_write(dict(self.options))
        more = WRITTEN_TOKENS * cost.calls[1] if is_writing else 0
        return cost + Cost(prompt=(0, more))


def _same_people(examples: Sequence[dspy.Example]) -> list[dspy.Example]:
    """Return the examples person by person, those asked most first: the fewest backstories."""
    people: dict[str, list[dspy.Example]] = {}
    for example in examples:
        people.setdefault(example.case.profile.key, []).append(example)
    return [example for cases in sorted(people.values(), key=len)[::-1] for example in cases]


def _measuring(program: dspy.Module, sets: Sets) -> Cost:
    return _loose(benchmark_cost(program, sets["val"]) + benchmark_cost(program, sets["dev"]))


def _loose(cost: Cost) -> Cost:
    """Widen the tokens by what they may be wrong."""
    prompt, completion = (
        (int(low / TOKENS_WITHIN), int(high * TOKENS_WITHIN))
        for low, high in (cost.prompt, cost.completion)
    )
    return Cost(cost.calls, prompt, completion)


def _span(least: Cost, most: Cost) -> Cost:
    """Return a cost from the low ends of one to the high ends of another."""
    ends = zip(vars(least).values(), vars(most).values(), strict=True)
    return Cost(*((low[0], max(low[0], high[1])) for low, high in ends))


def _prices(study: Study, name: str) -> Prices:
    """Return the prices of a role; of the task LM where it is not filled."""
    return prices(study.config.roles.get(name, study.config.task_lm))


def _between(one: Prices, other: Prices) -> Prices:
    """Return the higher of two prices in each direction; None where one is unknown."""
    if one is None or other is None:
        return None
    return max(one[0], other[0]), max(one[1], other[1])
