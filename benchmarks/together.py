"""Several questions in a call: what it saves, and what it costs, beside one question a call.

Run by hand: `python benchmarks/together.py [people]`. Synthetic people are asked the test
questions of a fold by batteries: one a call, a battery at once, and 2 to 20 at a time. Calls and
tokens are those that the answers need from a cold cache, each request counted once. Fresh is what
of the prompts does not repeat the beginning of an earlier one: what is left to be read where the
server keeps prefixes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
if str(_ROOT) not in sys.path:
    sys.path.insert(0, str(_ROOT))
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy  # noqa: E402
import pandas as pd  # noqa: E402
from dspy.lm15 import Request, Response  # noqa: E402

from benchmarks.prefix_share import CHARACTERS_PER_TOKEN, repeated_lengths  # noqa: E402
from evals.intervals import Interval, clustered_interval, paired_difference  # noqa: E402
from evals.metrics import score_frame  # noqa: E402
from valuesim_dspy.cache import ResponseCache  # noqa: E402
from valuesim_dspy.case import make_cases  # noqa: E402
from valuesim_dspy.lexical.engine import LexicalEngine  # noqa: E402
from valuesim_dspy.lexical.parsing import request_text  # noqa: E402
from valuesim_dspy.lm import MeteredLM  # noqa: E402
from valuesim_dspy.loop import answer_cases  # noqa: E402
from valuesim_dspy.program import ValueSim  # noqa: E402
from valuesim_dspy.roles import LMRole  # noqa: E402
from valuesim_dspy.survey.codebook import load_codebook  # noqa: E402
from valuesim_dspy.survey.folds import PROTOCOL_KINDS, make_fold  # noqa: E402
from valuesim_dspy.survey.synthetic import synthesize  # noqa: E402
from valuesim_dspy.together import Together  # noqa: E402
from valuesim_dspy.usage import Usage  # noqa: E402

PEOPLE = 30
AT_A_TIME = (2, 5, 10, 20)
SINGLE = "one a call"
MACHINERY = (
    "The embedded model answers for synthetic people, and takes the questions of a call one by\n"
    "one: accuracy is that of the machinery on invented people. What a language model loses when\n"
    "it is asked several at once can only be seen with that model. It writes less than one, too:\n"
    "what is read is the part to look at. Where the server keeps prefixes, only what is fresh is\n"
    "read anew: there, calls are saved and hardly a token."
)


@dataclass(frozen=True, eq=False)
class Arm:
    """What asking in one way needed, and how often it was right.

    Attributes:
        frame: One row a case, as `evals.metrics.score_frame` makes it.
        needed: Calls and tokens, each request counted once.
        row_calls: The same by row, where every row counts the whole request that serves it.
        fresh_tokens: Prompt tokens that do not repeat how an earlier prompt begins.
    """

    frame: pd.DataFrame
    needed: Usage
    row_calls: int
    fresh_tokens: int

    @property
    def answers(self) -> int:
        """Cases that were answered."""
        return int((self.frame["status"] == "answered").sum())

    @property
    def accuracy(self) -> Interval:
        """Top-1, failures counted as wrong, by respondent."""
        correct, people = self.frame["correct"].to_numpy(), self.frame["respondent"].to_numpy()
        return clustered_interval(correct, people, seed=0)

    def per_answer(self, amount: int) -> float:
        """Return an amount by answer."""
        return amount / self.answers


class Watched(LexicalEngine):
    """The embedded model, and what it was asked."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def complete(self, request: Request) -> Response:
        """Return the reply to one request."""
        self.texts.append(request_text(request))
        return super().complete(request)

    @property
    def fresh_tokens(self) -> int:
        """Prompt tokens that do not repeat how an earlier prompt begins."""
        repeated = sum(repeated_lengths(self.texts))
        return (sum(map(len, self.texts)) - repeated) // CHARACTERS_PER_TOKEN


def examples(people: int, *, seed: int = 1, questions: int | None = None) -> list[dspy.Example]:
    """Return the cases of synthetic people: the test questions of the first battery fold.

    Args:
        people: How many people.
        seed: Of people and fold.
        questions: At most so many a person.
    """
    respondents = synthesize(people, seed=seed)
    fold = make_fold(load_codebook(), seed=seed, kinds=PROTOCOL_KINDS)
    return make_cases(respondents, range(people), fold, "test", max_targets=questions)


def programs(cases: Sequence[dspy.Example]) -> dict[str, dspy.Module]:
    """Return the ways of asking by name; the list is what anybody is asked, in its order."""
    place = {question.id: at for at, question in enumerate(load_codebook())}
    asked = {ex.case.question.id: ex.case.question for ex in cases}
    listed = [asked[name] for name in sorted(asked, key=place.__getitem__)]
    many: dict[str, dspy.Module] = {f"{n} at a time": Together(n, listed) for n in AT_A_TIME}
    return {SINGLE: ValueSim("single"), "a battery": Together("battery", listed)} | many


def measure(program: dspy.Module, cases: Sequence[dspy.Example]) -> Arm:
    """Put the cases to a program with the embedded model and a cache of its own."""
    engine = Watched()
    with ResponseCache().installed():
        lm = MeteredLM(LMRole(), name="task_lm", engine=engine)
        outcomes = answer_cases(program, cases, lm=lm)
    frame, rows = score_frame(outcomes, load_codebook()), sum(each.calls for each in outcomes)
    return Arm(frame, lm.meter.needed, rows, engine.fresh_tokens)


def lines(arms: Mapping[str, Arm]) -> list[str]:
    """Return the table, one way of asking a line, the first one the reference."""
    base = arms[SINGLE]
    head = f"{'':<14}{'calls':>7}{'read':>8}{'fresh':>8}{'written':>9}{'tokens':>9}"
    table = [f"{head}  {'accuracy % [95 %]':<20}{f'minus {SINGLE}':<22}{'failed':>6}"]
    whole = base.per_answer(base.needed.tokens)
    for name, arm in arms.items():
        used, found = arm.needed, arm.accuracy
        gap = paired_difference(arm.frame, base.frame, seed=0)
        minus = f"{100 * gap.estimate:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"
        cells = [
            f"{name:<14}{arm.per_answer(used.calls):>7.3f}",
            f"{arm.per_answer(used.prompt_tokens):>8,.0f}",
            f"{arm.per_answer(arm.fresh_tokens):>8,.0f}",
            f"{arm.per_answer(used.completion_tokens):>9,.0f}",
            f"{arm.per_answer(used.tokens) / whole:>8.1%}",
            f"   {f'{100 * found.estimate:.1f} [{_ends(found)}]':<20}",
            f"{'' if arm is base else minus:<22}{len(arm.frame) - arm.answers:>6}",
        ]
        table.append("".join(cells))
    return table


def _ends(found: Interval) -> str:
    return f"{100 * found.low:.1f}, {100 * found.high:.1f}"


def main(people: str = str(PEOPLE)) -> None:
    """Measure, and print the table."""
    cases = examples(int(people))
    asked = len({ex.case.question.id for ex in cases})
    print(
        f"{len(cases):,} answers: {people} synthetic people, {asked} questions, offline/lexical-1"
    )
    print("calls and tokens are by answer; tokens in % of one question a call\n")
    print("\n".join(lines({name: measure(one, cases) for name, one in programs(cases).items()})))
    print(f"\n{MACHINERY}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
