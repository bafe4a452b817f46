"""What a job is told: data, protocol, roles, compilation and limits, read from one TOML file."""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.limits import Limits
from valuesim_dspy.roles import EmbedderConfig, LMRole, Settings, is_secret_name, refuse_secrets
from valuesim_dspy.toml_files import read_toml

Kind = Literal[
    "value", "attitude", "behaviour", "perception", "experience", "knowledge", "demographic"
]
Item = TypeVar("Item")
Listed = Annotated[
    tuple[Item, ...], BeforeValidator(lambda x: tuple(x) if isinstance(x, list) else x)
]
"""A tuple that a file gives as a list."""
Switchable = Annotated[Item | None, BeforeValidator(lambda x: None if x == "none" else x)]
"""A value that a file, which knows no null, switches off with the word "none"."""

# What changes how a job runs but not what it finds; a job goes on under the same identity when
# these change.
NOT_IDENTITY = frozenset(
    {"name", "budget", "limits", "confirm_calls", "threads", "share_rows", "send_to", "store"}
)


class DataConfig(Settings):
    """Which respondents: a file of the survey, or ``synthetic`` with so many respondents.

    ``codebook`` is a packaged name, a file or a folder; ``wording`` a file of the questions'
    official wording. Paths are relative to where the job is run.
    """

    survey: str = "synthetic"
    respondents: int = Field(default=5000, ge=1)
    seed: int = 42
    codebook: str = "wvs7"
    wording: str | None = None


class ProtocolConfig(Settings):
    """Which questions are asked of whom.

    ``folds`` and ``fold`` (1 to 5) give questions their roles; ``train`` to ``test`` are numbers
    of respondents; ``targets`` is the most targets asked of one respondent (None: all).
    ``dependence`` is the bias-corrected Cramer's V on training people from which on two questions
    are as twins: on battery and topic folds the one is not known where the other is asked ("none"
    switches it off). ``split`` draws respondents at random, in proportion from each country
    ("stratified"), takes the published sample as test people ("paper"), or leaves countries out:
    ``test_countries`` and ``dev_countries`` (alpha-3 codes), or a fifth of them each, drawn.
    """

    folds: Literal["battery", "topic", "question", "paper"] = "battery"
    fold: int = Field(default=1, ge=1, le=5)
    kinds: Listed[Kind] = Field(default=("value", "attitude"), min_length=1)
    train: int = Field(default=100, ge=0)
    val: int = Field(default=50, ge=0)
    dev: int = Field(default=100, ge=0)
    test: int = Field(default=100, ge=0)
    targets: Switchable[int] = Field(default=None, ge=1)
    dependence: Switchable[float] = Field(default=0.35, gt=0, le=1)
    split: Literal["random", "stratified", "countries", "paper"] = "stratified"
    test_countries: Listed[str] | None = Field(default=None, min_length=1)
    dev_countries: Listed[str] | None = Field(default=None, min_length=1)
    seed: int = 42

    @model_validator(mode="after")
    def _countries_fit(self) -> ProtocolConfig:
        for key in ("test_countries", "dev_countries"):
            if getattr(self, key) is not None and self.split != "countries":
                raise ValueError(f'{key} needs split = "countries", and split is "{self.split}"')
        return self


class BudgetConfig(Settings):
    """Limits on what is paid: LM calls, tokens (both directions), US dollars; None is no limit."""

    calls: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    usd: float | None = Field(default=None, ge=0)


class CompileConfig(Settings):
    """How a program is compiled.

    ``options`` go to the teleprompter; ``arms`` are compiled beside the variant, by the same
    teleprompter on the same budget; ``demo_facts`` is the number of facts kept in a demo. Demos
    are made of training people (``data``), of made-up people while scores stay those of training
    people (``synthetic``), or not at all (``none``: only instructions are compiled). ``trust`` is
    how far each perspective was right on training people, for variants that read it: ``learned``,
    or ``shuffled`` between perspectives, as a control.
    """

    teleprompter: str = "bootstrap"
    options: dict[str, Any] = Field(default_factory=dict)
    arms: Listed[str] = ("rag",)
    demo_facts: int = Field(default=12, ge=0)
    demos: Literal["data", "synthetic", "none"] = "data"
    trust: Literal["learned", "shuffled"] = "learned"

    @field_validator("options")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, option in value.items():
            items = option if isinstance(option, list | tuple) else [option]
            if not all(isinstance(item, str | int | float) for item in items):
                raise ValueError(f"{name}: expected text, a number, true, false or a list of them")
        return value


class JobConfig(Settings):
    """One job, whole: the same file serves ``evals run`` and ``optimize``.

    One seed serves data and protocol where they give none of their own. ``baselines`` are
    measured beside the variant; above ``confirm_calls`` estimated calls of a model that is not
    embedded, a job wants a word of consent.
    """

    name: str = Field(default="job", pattern=r"^[\w.-]{1,100}$")
    seed: int = 42
    data: DataConfig = Field(default_factory=DataConfig)
    protocol: ProtocolConfig = Field(default_factory=ProtocolConfig)
    task_lm: LMRole = Field(default_factory=LMRole)
    prompt_lm: LMRole | None = None
    teacher_lm: LMRole | None = None
    embedder: EmbedderConfig = Field(default_factory=EmbedderConfig)
    variant: str = "full"
    baselines: Listed[str] = ("rag", "blank", "mode", "country-mode")
    compile: CompileConfig = Field(default_factory=CompileConfig)
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    limits: Limits = Field(default_factory=Limits)
    confirm_calls: int = Field(default=20_000, ge=0)
    threads: int = Field(default=8, ge=1, le=512)
    share_rows: bool = False
    send_to: Listed[str] = ()
    store: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_seed(cls, data: Any) -> Any:
        seed = data.get("seed", 42) if isinstance(data, Mapping) else None
        if type(seed) is not int:
            return data
        tables = {name: data.get(name, {}) for name in ("data", "protocol")}
        seeded = {k: {"seed": seed, **t} for k, t in tables.items() if isinstance(t, Mapping)}
        return {**data, **seeded}

    @property
    def roles(self) -> Mapping[str, LMRole]:
        """The LM roles that are filled, by name."""
        roles = {name: getattr(self, name) for name in ("task_lm", "prompt_lm", "teacher_lm")}
        return {name: role for name, role in roles.items() if role is not None}

    def resolved(self) -> dict[str, Any]:
        """Return everything as plain JSON values, defaults filled in; it holds no secrets."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """16 hex digits of what decides the results: all but the fields of `NOT_IDENTITY`."""
        kept = {key: item for key, item in self.resolved().items() if key not in NOT_IDENTITY}
        text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_job(path: str | Path, overrides: Sequence[str] = ()) -> JobConfig:
    """Read a job from a TOML file.

    Args:
        path: The file. Its stem names the job where the file gives no name.
        overrides: ``dotted.key=value`` each, applied in order; values are TOML, bare text is
            text.

    Returns:
        The validated job.

    Raises:
        MissingDataError: There is no such file.
        ConfigError: The file is no TOML, a key is unknown or a value does not fit.
    """
    tables = read_tables(path)
    tables.setdefault("name", Path(path).stem)
    for override in overrides:
        override_key(tables, override)
    return parse_job(tables)


def read_tables(path: str | Path) -> dict[str, Any]:
    """Read a TOML file as plain tables.

    Raises:
        MissingDataError: There is no such file.
        ConfigError: The file is no TOML.
    """
    return read_toml(Path(path), "give the path of a .toml file", what="job file")


def parse_job(tables: Mapping[str, Any]) -> JobConfig:
    """Validate a job given as plain tables.

    Args:
        tables: What a TOML file would hold.

    Returns:
        The job.

    Raises:
        ConfigError: Names the first dotted key that is wrong, and how many more are.
    """
    refuse_secrets(tables)
    try:
        return JobConfig.model_validate(tables, strict=True)
    except ValidationError as error:
        raise _first_error(error) from error


def override_key(tables: dict[str, Any], override: str) -> None:
    """Replace a key of tables by ``dotted.key=value``; values are TOML, bare text is text.

    Raises:
        ConfigError: It is not of that form, or leads through a value.
    """
    name, equals, text = override.partition("=")
    *path, last = (part.strip() for part in name.split("."))
    if not equals or not all((*path, last)):
        raise ConfigError(f"{override!r} is not of the form key=value", key="--set")
    table = tables
    for depth, part in enumerate(path, 1):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{'.'.join(path[:depth])} is a value, not a table", key="--set")
    table[last] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _first_error(error: ValidationError) -> ConfigError:
    details = error.errors(include_url=False)
    # An unknown key explains a missing or misread one, so it is told first.
    first = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        allowed = sorted(_model_at(path[:-1]).model_fields)
        near = difflib.get_close_matches(path[-1], allowed, n=2)
        hint = f", did you mean {' or '.join(near)}?" if near else ""
        return ConfigError(f"unknown key{hint}{more}", key=key, allowed=allowed)
    message = first["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "expected", 1).replace("valid tuple", "list")
    value = first["input"]
    if isinstance(value, Mapping) or (path and is_secret_name(path[-1])):
        return ConfigError(message + more, key=key)
    return ConfigError(f"{value!r} does not fit: {message}{more}", key=key, value=value)


def _model_at(path: Sequence[str]) -> type[BaseModel]:
    model: type[BaseModel] = JobConfig
    for part in path:
        annotation = model.model_fields[part].annotation
        choices = (annotation, *get_args(annotation))
        model = next(c for c in choices if isinstance(c, type) and issubclass(c, BaseModel))
    return model
