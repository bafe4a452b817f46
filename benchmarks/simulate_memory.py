"""The most memory that so many answers take, for `benchmarks/simulate.py`: `N` in, KiB out."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import dspy  # noqa: E402

from valuesim_dspy.case import Case, masked_profile  # noqa: E402
from valuesim_dspy.lm import make_lm  # noqa: E402
from valuesim_dspy.loop import staggered, stream_cases, threads_for  # noqa: E402
from valuesim_dspy.roles import LMRole  # noqa: E402
from valuesim_dspy.survey.folds import make_fold  # noqa: E402
from valuesim_dspy.survey.synthetic import synthesize  # noqa: E402
from valuesim_dspy.usage import Meter, Usage  # noqa: E402

PEOPLE = 500
QUESTIONS = 20
RECENT = 500
STORY = "You live by the sea and care for your family."


class Light(dspy.Module):
    """Answers at once, and counts and tells what a program with a language model would."""

    def forward(self, case: Case) -> dspy.Prediction:
        """Answer with the first option; every case is a request of its own to the meter."""
        meter = dspy.settings.lm.meter
        meter.record(Usage(1, 1000, 50), paid=True, predictor="light", key=repr(case))
        return dspy.Prediction(answer=case.question.codes[0], backstory=STORY)


def rows(answers: int) -> Iterator[tuple[int, dspy.Example]]:
    """Yield numbered cases of ever new people, made as they are read."""
    survey = synthesize(PEOPLE, seed=1)
    fold = make_fold(survey.codebook, strategy="battery", seed=1)
    asked = [survey.codebook[qid] for qid in fold.targets("test")][:QUESTIONS]

    def person(at: int) -> list[dspy.Example]:
        place, salt = at % PEOPLE, f"visit {at // PEOPLE}"
        profile = masked_profile(survey[place], fold, "test", codebook=survey.codebook, salt=salt)
        return [dspy.Example(case=Case(profile, each)).with_inputs("case") for each in asked]

    yield from enumerate(staggered(map(person, range(-(-answers // len(asked)))), 2))


def main(answers: int) -> None:
    """Answer so many, and print the most memory that this process took."""
    role = LMRole(model="openai/test", api_base="http://127.0.0.1:1/v1")
    lm = make_lm(role, meter=Meter("memory", recent=RECENT))
    found = 0
    for _, outcome in stream_cases(Light(), rows(answers), lm=lm, threads=threads_for(lm)):
        assert outcome.status == "answered", outcome.reason
        found += 1
    assert found >= answers
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def peak_kib(answers: int) -> int:
    """Return the most memory that so many answers take, in KiB, in a process of their own."""
    command = [sys.executable, __file__, str(answers)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]))
