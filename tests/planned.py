"""Small surveys and plans for tests of simulations, and programs that answer them at once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import dspy
import numpy as np

from valuesim_dspy.asked import Asked
from valuesim_dspy.case import Case
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.plan import Plan
from valuesim_dspy.survey.codebook import Question, load_codebook
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.survey.synthetic import synthesize, write_synthetic

PEOPLE = 24
QUESTIONS = ("Q27", "Q57", "Q58", "Q59")
MOVE = Question("Would you move to a bigger city?", ["Yes", "No"], id="own-1")


class First(dspy.Module):
    """A program of the call shape that gives the first option, or fails where it is told to."""

    def __init__(self, fails: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.fails, self.seen = fails, []  # type: tuple[str, ...], list[Case]

    def forward(self, case: Case) -> dspy.Prediction:
        """Answer."""
        self.seen.append(case)
        if case.question.id in self.fails:
            raise ValueError("out of order")
        return dspy.Prediction(answer=case.question.codes[0], backstory="", views={})


@lru_cache(maxsize=1)
def people() -> Respondents:
    """Synthetic people, in memory."""
    return synthesize(PEOPLE, seed=5)


def survey_file(folder: Path) -> Path:
    """Write synthetic people as a file."""
    return write_synthetic(folder / "people.csv", PEOPLE, seed=5)


def few(**columns: list[int]) -> Respondents:
    """Return people who were asked a few questions only."""
    return Respondents.from_columns(
        questions={id: np.array(codes, dtype=np.int32) for id, codes in columns.items()}
    )


def questions(*ids: str) -> list[Question]:
    """Return questions of the packaged codebook."""
    return [load_codebook()[id] for id in ids or QUESTIONS]


def asked(program: Any = None, survey: Respondents | None = None, **known: Any) -> Asked:
    """Return what is asked: a few people, four questions, unless something else is given."""
    survey = survey or people()
    known = {"positions": range(3), "questions": questions(), **known}
    return Asked(
        program or First(), survey, known.pop("positions"), known.pop("questions"), **known
    )


def plan(survey: Path, **known: Any) -> Plan:
    """Return a plan of four people and four questions."""
    return Plan(**{"survey": str(survey), "questions": QUESTIONS, "sample": 4, **known})


def plain(outcomes: list[tuple[int, Outcome]]) -> list[tuple[Any, ...]]:
    """Return what of rows does not depend on the clock or on who paid first."""
    return [
        (number, o.respondent, o.question, o.truth, o.answer, o.status, o.reason, o.decision)
        for number, o in outcomes
    ]
