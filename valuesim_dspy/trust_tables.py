"""The tables of what a program has learned of its readers, checked when they are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from valuesim_dspy.errors import ProgramStateError

MIN_COUNT = 10
"""The least number of people behind any number that is saved, and so of cases."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Signed = Annotated[float, Field(ge=-1, le=1)]
_Count = Annotated[int, Field(ge=MIN_COUNT)]


class Cell(_Table):
    """How one reader did on the cases of one cell; all but the counts is shrunk.

    Attributes:
        n: Cases.
        people: Respondents among them.
        accuracy: Share answered with the code the respondent gave.
        nmae: Mean error in ranks over the scale's length; ordinal questions only.
        bias: Mean signed error, as a share of the scale, along the codes: positive where the
            codes given are too high.
        extremity: Mean of how much nearer to the ends than the truth it answers, where the
            middle of the scale is 0 and its ends are 1: negative where too near the middle.
    """

    n: _Count
    people: _Count
    accuracy: _Share
    nmae: _Share | None = None
    bias: _Signed | None = None
    extremity: _Signed | None = None


class Rule(_Table):
    """How the votes on one kind of scale are weighed.

    Attributes:
        rule: `vote`, `log-odds` or `single`; see `weighted_vote`.
        readers: Reader to weight.
        n: Training cases behind the choice.
        people: Respondents among them.
        accuracy: Rule to its cross-fitted accuracy, by which the rule was chosen.
    """

    rule: Literal["vote", "log-odds", "single"]
    readers: dict[_Name, Annotated[float, Field(ge=-10, le=10)]]
    n: _Count
    people: _Count
    accuracy: dict[Literal["vote", "log-odds", "single"], _Share]


class Records(_Table):
    """The records of all readers, and the model they were made with."""

    lm: _Name
    cells: dict[_Name, dict[_Name, Cell]]


class Weights(_Table):
    """The weights by kind of scale, and the model they were fitted with."""

    lm: _Name
    by: dict[_Name, Rule]


class _Whole(_Table):
    # Absent or a table, never null: readers ask `get` for a table.
    records: Records = Field(default=None)  # type: ignore[assignment]
    weights: Weights = Field(default=None)  # type: ignore[assignment]


def check_learned(learned: object, *, path: Path | str | None = None) -> dict[str, Any]:
    """Return what was loaded as `learned`, after making sure that it is such a table.

    Args:
        learned: What the file holds; an empty table where nothing was learned.
        path: The program's folder, for messages.

    Raises:
        ProgramStateError: It holds another key or type, a number that is not finite or out of
            range, or a count below `MIN_COUNT`.
    """
    try:
        _Whole.model_validate(learned)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # Keys come from the file: printable and short before they stand in a message.
        key = ".".join(["learned", *(ascii(part)[1:-1][:60] for part in first["loc"])])
        raise ProgramStateError(f"{key[:200]}: {first['msg']}", path=path) from None
    return dict(learned)  # type: ignore[call-overload]
