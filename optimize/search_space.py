"""The table `[search]`: by which objectives, how often, and over which keys of a job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from valuesim_dspy.config import Listed
from valuesim_dspy.roles import Settings, has_credentials, refuse_secrets

Value = Any  # a value as TOML has it


class Parameter(Settings):
    """What one key may be: `choices`, or whole or real numbers from `low` to `high`.

    ``step`` is the distance of two values, ``log`` spreads them over orders of magnitude.
    ``when`` gives other keys and their values: the key is sampled only in trials that have them.
    """

    choices: Listed[Any] | None = Field(default=None, min_length=1)
    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = Field(default=None, gt=0)
    log: bool = False
    when: dict[str, Listed[Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind(self) -> Parameter:
        if self.choices is not None:
            labels = [label(choice) for choice in self.choices]
            if len(set(map(repr, labels))) < len(labels):
                raise ValueError("a choice is there twice")
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("give choices, or low and high")
            return self
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError("expected choices, or low and a larger high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0 and no step")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether a range is of whole numbers."""
        return all(isinstance(n, int) for n in (self.low, self.high, self.step or 1))

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Every choice, or both ends of the range."""
        return self.choices if self.choices is not None else (self.low, self.high)

    def value_of(self, kept: Value) -> Value:
        """Return a value as a job has it, from how `label` made Optuna keep it."""
        if self.choices is None:
            return kept
        return self.choices[[label(choice) for choice in self.choices].index(kept)]


class SearchConfig(Settings):
    """The table `[search]` of a search file.

    ``trials`` is the number over all processes; ``subsets`` are growing shares of the valset's
    people, after each of which a trial may be pruned (with one objective only); ``cost`` is what
    a case needs with a cold cache; ``finalists`` is how many of the best trials are put to the
    devset at the end; ``storage`` is an address of a database, ``journal:PATH``, or ``env:NAME``
    for a variable that holds one; by default `optuna.db` beside the runs.
    """

    study: str = Field(default="search", pattern=r"^[\w.-]{1,100}$")
    job: str | None = None
    trials: int = Field(default=30, ge=1)
    seed: int = Field(default=42, ge=0)
    objectives: Listed[Literal["accuracy", "nmae", "cost"]] = Field(
        default=("accuracy",), min_length=1
    )
    cost: Literal["tokens", "calls", "usd"] = "tokens"
    pruning: Literal["median", "successive-halving", "none"] = "median"
    subsets: Listed[float] = Field(default=(0.25, 0.5, 1.0), min_length=1)
    startup: int = Field(default=8, ge=1)
    finalists: int = Field(default=3, ge=1, le=20)
    storage: str | None = None
    space: dict[str, Parameter] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            # The storage's address has its own way out of the file, and its own message.
            refuse_secrets({k: v for k, v in data.items() if k != "storage"}, "search")
        if not isinstance(data, Mapping) or not isinstance(data.get("space"), Mapping):
            return data
        return {**data, "space": dict(_flat(data["space"]))}

    @field_validator("objectives")
    @classmethod
    def _not_cost_alone(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value[0] == "cost" or len(set(value)) < len(value):
            raise ValueError("accuracy or nmae comes first, and each once")
        return value

    @field_validator("subsets")
    @classmethod
    def _growing(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value[-1] != 1 or value[0] <= 0 or any(a >= b for a, b in pairwise(value)):
            raise ValueError("expected growing shares that end in 1.0")
        return value

    @field_validator("storage")
    @classmethod
    def _no_credentials(cls, value: str | None) -> str | None:
        if value and has_credentials(value):
            raise ValueError(
                "the address holds a name or a password; put it in an environment variable and "
                'give storage = "env:NAME"'
            )
        return value


def suggest(trial: Any, key: str, parameter: Parameter) -> Value:
    """Sample a key in an Optuna trial and return its value as a job has it."""
    if parameter.choices is not None:
        labels = [label(choice) for choice in parameter.choices]
        return parameter.choices[labels.index(trial.suggest_categorical(key, labels))]
    low, high, step = parameter.low or 0, parameter.high or 0, parameter.step
    if parameter.is_whole:
        return trial.suggest_int(key, low, high, step=step or 1, log=parameter.log)
    return trial.suggest_float(key, float(low), float(high), step=step, log=parameter.log)


def label(value: Value) -> Value:
    """Return a choice as Optuna keeps it: a plain value as it is, a list as JSON."""
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)


def _flat(tables: Mapping[str, Any], lead: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and their parameters: quoted keys and nested tables mean the same."""
    for name, item in tables.items():
        if isinstance(item, Mapping) and not {"low", "high", "choices"} & set(item):
            yield from _flat(item, f"{lead}{name}.")
        else:
            yield f"{lead}{name}", {"choices": item} if isinstance(item, list) else item
