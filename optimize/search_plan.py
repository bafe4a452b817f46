"""A search file as read: the search, the job it varies, and what is refused at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evals.baselines import BASELINES
from optimize.planning import find_teleprompter
from optimize.search_space import Parameter, SearchConfig, Value
from optimize.teleprompters import TELEPROMPTERS
from valuesim_dspy.config import JobConfig, override_key, parse_job, read_tables
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.program import VARIANTS

TELEPROMPTER, VARIANT, OPTIONS = "compile.teleprompter", "variant", "compile.options."
UNCOMPILED = "none"
"""As a teleprompter of a search: the variant as it is."""
SEARCHABLE = (VARIANT, "compile", "task_lm", "prompt_lm", "teacher_lm", "embedder")
"""Where a key of the space begins; the rest of a job decides who is asked what, or how it runs."""


@dataclass(frozen=True)
class Plan:
    """A search file that was read: the search, and the job whose keys it varies."""

    search: SearchConfig
    job: JobConfig

    @property
    def ordered(self) -> dict[str, Parameter]:
        """The space in the order of sampling: what others depend on comes first."""
        rank = {TELEPROMPTER: 0}
        keys = sorted(
            self.search.space,
            key=lambda key: (bool(self.search.space[key].when), rank.get(key, 1), key),
        )
        return {key: self.search.space[key] for key in keys}

    def applies(self, key: str, chosen: Mapping[str, Value]) -> bool:
        """Whether a key is sampled, given what the trial has so far.

        An option is sampled for the teleprompters that have it.
        """
        wanted = self.search.space[key].when
        if any(chosen.get(other) not in values for other, values in wanted.items()):
            return False
        if not key.startswith(OPTIONS):
            return True
        name = str(chosen.get(TELEPROMPTER, self.job.compile.teleprompter))
        return key.removeprefix(OPTIONS) in options_of(name)

    def job_of(self, chosen: Mapping[str, Value]) -> JobConfig:
        """Return the job of a trial; options that its teleprompter does not have are left out.

        Raises:
            ConfigError: The values do not go together.
        """
        tables = self.job.model_dump()
        for key, value in chosen.items():
            set_key(tables, key, value)
        compiling = tables["compile"]
        known = options_of(compiling["teleprompter"])
        compiling["options"] = {k: v for k, v in compiling["options"].items() if k in known}
        return parse_job(tables)

    def teleprompters(self) -> tuple[str, ...]:
        """Return the names of the teleprompters that trials may have."""
        return self._values(TELEPROMPTER, self.job.compile.teleprompter)

    def variants(self) -> tuple[str, ...]:
        """Return the names of the arms that trials may have."""
        return self._values(VARIANT, self.job.variant)

    def _values(self, key: str, own: str) -> tuple[str, ...]:
        return self.search.space[key].extremes if key in self.search.space else (own,)

    def check(self) -> None:
        """Refuse what cannot work before anything is paid.

        Raises:
            ConfigError: Names the key, and what is allowed.
        """
        for key, parameter in self.search.space.items():
            _check_key(key)
            for other in parameter.when:
                if other not in self.search.space or self.search.space[other].when:
                    raise ConfigError(
                        f"{other} of `when` is no unconditional key of the space",
                        key=f"search.space.{key}.when",
                        allowed=[k for k, p in self.search.space.items() if not p.when],
                    )
        _check_names(VARIANT, self.variants(), [*VARIANTS, *BASELINES])
        _check_names(TELEPROMPTER, self.teleprompters(), [UNCOMPILED, *TELEPROMPTERS])
        if len({knows(name) for name in self.variants()}) > 1:
            shown = ", ".join(f"{name} ({knows(name)})" for name in self.variants())
            raise ConfigError(
                f"cold and warm are never compared ({shown}); search them one after the other",
                key=f"search.space.{VARIANT}",
            )
        self._check_options()
        for key, parameter in self.search.space.items():
            for value in parameter.extremes if not key.startswith(OPTIONS) else ():
                self.job_of({key: value})

    def _check_options(self) -> None:
        """Try every option with every teleprompter that has it, and demos with all of them."""
        names = self.teleprompters()
        known = {option for name in names for option in options_of(name)}
        own = [f"{OPTIONS}{name}" for name in self.job.compile.options]
        for key in (*own, *(key for key in self.search.space if key.startswith(OPTIONS))):
            if key.removeprefix(OPTIONS) not in known:
                message = f"no option of {', '.join(names)}"
                raise ConfigError(message, key=key, allowed=sorted(known) or ["none"])
        demos = self._values("compile.demos", self.job.compile.demos)
        for name, how in product(names, demos):
            if name == UNCOMPILED:
                continue
            job = self.job_of({TELEPROMPTER: name, "compile.demos": how})
            find_teleprompter(job).parse(job.compile.options)
            for key, parameter in self.search.space.items():
                if key.startswith(OPTIONS) and key.removeprefix(OPTIONS) in options_of(name):
                    for value in parameter.extremes:
                        options = {**job.compile.options, key.removeprefix(OPTIONS): value}
                        TELEPROMPTERS[name].parse(options)


def load_search(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """Read a search file and the job that it varies.

    Args:
        path: TOML: a table `[search]`, and the tables of a job, laid over those of the file
            that `search.job` names (relative to this one).
        overrides: ``dotted.key=value`` each; keys that begin with ``search.`` are the search's.

    Raises:
        MissingDataError: There is no such file.
        ConfigError: The file is no TOML, a key is unknown or a value does not fit.
    """
    file = Path(path)
    own = read_tables(file)
    for override in overrides:
        override_key(own, override)
    if not isinstance(own.get("search"), Mapping):
        raise ConfigError(f"{file} has no table [search]", key="search")
    tables = own.pop("search")
    try:
        search = SearchConfig.model_validate(tables, strict=True)
    except ValidationError as error:
        raise _first_error(error, tables) from None
    base = read_tables(file.parent / search.job) if search.job else {}
    plan = Plan(search, parse_job(_laid_over(base, {"name": search.study, **own})))
    plan.check()
    return plan


def options_of(teleprompter: str) -> frozenset[str]:
    """Return the names of a teleprompter's options; none for `none` or an unknown one."""
    found = TELEPROMPTERS.get(teleprompter)
    return frozenset(found.options.model_fields) if found else frozenset()


def knows(name: str) -> str:
    """Return whether an arm is cold or warm."""
    return str((BASELINES.get(name) or VARIANTS[name]).knows)


def set_key(tables: dict[str, Any], key: str, value: Value) -> None:
    """Set a dotted key in nested tables.

    Raises:
        ConfigError: A part of the key is a value and no table.
    """
    *path, last = (part.strip() for part in key.split("."))
    for depth, part in enumerate(path, 1):
        # What a job leaves open is none, and no table yet.
        table = tables.get(part)
        tables[part] = {} if table is None else table
        tables = tables[part]
        if not isinstance(tables, dict):
            raise ConfigError(f"{'.'.join(path[:depth])} is a value, not a table", key=key)
    tables[last] = value


def _check_key(key: str) -> None:
    if key.split(".")[0] in SEARCHABLE and key != "compile.arms":
        return
    raise ConfigError(
        "it decides who is asked what, or how the job is run, and not what a trial is",
        key=f"search.space.{key}",
        allowed=[VARIANT, *(f"{name}.*" for name in SEARCHABLE if name != VARIANT)],
    )


def _check_names(key: str, names: Sequence[str], allowed: Sequence[str]) -> None:
    for name in names:
        if name not in allowed:
            raise ConfigError(f"{name!r} is unknown", key=key, value=name, allowed=allowed)


def _laid_over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = _laid_over(below, value) if both and below is not None else value
    return merged


def _first_error(error: ValidationError, tables: Mapping[str, Any]) -> ConfigError:
    details = error.errors(include_url=False)
    first = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
    key = ".".join(["search", *(str(part) for part in first["loc"])])
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected", 1)
    if first["type"] != "extra_forbidden":
        return ConfigError(message, key=key)
    model = Parameter if first["loc"][0] == "space" else SearchConfig
    return ConfigError("unknown key", key=key, allowed=sorted(model.model_fields))
