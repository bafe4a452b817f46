"""Which predictors are compiled; the others are frozen, by the mark that DSPy respects."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import dspy

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.modules import BackstoryWriter


def chosen_predictors(program: dspy.Module, choice: str | Collection[str]) -> list[str]:
    """Return the names of the predictors that are compiled.

    Args:
        program: The student.
        choice: `all`; `answerers`, all but the backstory writer's; or names of predictors or of
            modules that hold them.

    Raises:
        ConfigError: A name is none of the program's.
    """
    names = [name for name, _ in program.named_predictors()]
    if choice == "all":
        return names
    if isinstance(choice, str):
        writers = [name for name, _ in program.named_sub_modules(BackstoryWriter)]
        return [name for name in names if name.removesuffix(".backstory") not in _bare(writers)]
    for wanted in choice:
        if not any(_is_of(name, wanted) for name in names):
            raise ConfigError(
                "the program has no such predictor; arms with other predictors are compiled in a "
                "job of their own (compile.arms = [])",
                key="compile.options.predictors",
                value=wanted,
                allowed=["answerers", "all", *names],
            )
    if not choice:
        raise ConfigError("names no predictor", key="compile.options.predictors", allowed=names)
    return [name for name in names if any(_is_of(name, wanted) for wanted in choice)]


def _bare(names: Collection[str]) -> set[str]:
    return {name.removeprefix("self.") for name in names}


def _is_of(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}.")


def freeze_others(program: dspy.Module, names: Collection[str]) -> None:
    """Leave only these predictors to teleprompters; the others keep their state.

    Raises:
        ConfigError: A predictor cannot be frozen, since its module holds one that is compiled.
    """
    for name, _ in program.named_predictors():
        if name in names:
            continue
        holder, _, _ = name.rpartition(".")
        if not holder or any(_is_of(other, holder) for other in names):
            raise ConfigError(
                f"{name} stands beside a predictor that is compiled, and cannot be left out",
                key="compile.options.predictors",
            )
        _module(program, holder)._compiled = True


def release(program: dspy.Module) -> None:
    """Take all marks off a program."""
    for _, module in program.named_sub_modules(dspy.Module):
        module._compiled = False
        if isinstance(module, BackstoryWriter):
            module.traced = False


def _module(program: Any, path: str) -> Any:
    for part in path.split("."):
        program = getattr(program, part)
    return program
