"""What every teleprompter can be told: which predictors it compiles, in stages or at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from valuesim_dspy.roles import Settings

Names = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda given: tuple(given) if isinstance(given, list) else given),
]


class CommonOptions(Settings):
    """Options of every teleprompter."""

    predictors: Literal["answerers", "all"] | Names = Field(
        "answerers",
        description="what is compiled: answerers (all but the backstory writer, so that no "
        "candidate rewrites backstories), all, or names such as coordinator or panel.cognitive; "
        "the others keep their state",
    )
    staged: bool = Field(
        False,
        description="the backstory writer by fidelity, then the perspectives by their vote, then "
        "the coordinator on the cases where they differ",
    )
    metric: Literal["job", "exact", "closeness", "fidelity", "log-score"] = Field(
        "job",
        description="the score of one case; job takes the job's own, log-score needs a program "
        "whose predictions carry probabilities, as an ensemble's do",
    )


class BootstrapOptions(CommonOptions):
    """Options of `bootstrap`."""

    max_demos: int = Field(4, ge=1, le=64, description="most demos of a predictor")
    max_rounds: int = Field(
        1, ge=1, le=10, description="attempts at a training case, each after the first sampled anew"
    )
    own_answer: bool = Field(
        True,
        description="a perspective's demo must have the right answer itself; with false, as in "
        "DSPy, it is enough that the program's answer is right",
    )
