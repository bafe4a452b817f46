"""One teleprompter, as jobs know it: its options, what it costs, what builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from optimize.compilation import Compilation, Compiled
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.roles import Settings

Count = Callable[..., tuple[int, int]]


def no_prompts(options: Any, n_train: int, n_val: int, predictors: int = 1) -> tuple[int, int]:
    """Return the calls of the prompt LM of a teleprompter that makes none."""
    return 0, 0


def one_run(options: Any) -> int:
    """Return 1: what is compiled runs as the student does."""
    return 1


@dataclass(frozen=True)
class Teleprompter:
    """One teleprompter, as jobs know it.

    Args:
        name: The key in `TELEPROMPTERS`.
        what: One line for tables and help.
        options: The model of its options: frozen, closed, every field described.
        build: Compiles.
        runs: From options, size of the trainset and of the valset, and where it matters the
            number of predictors that are compiled, to the least and the most runs of a program
            that it makes.
        needs_valset: Whether it selects among candidates by the valset itself.
        prompts: The same for the calls in which the prompt LM writes.
        writes: Whether it writes instructions, so that it has something to do without demos.
        whole: Whether `build` is given the whole program, whatever the options choose of it or
            in which stages: it hands that on to other teleprompters.
        width: From options, how many runs of the student one run of what comes of it is at most.
    """

    name: str
    what: str
    options: type[Settings]
    build: Callable[[Compilation], Compiled]
    runs: Count
    needs_valset: bool = False
    prompts: Count = no_prompts
    writes: bool = False
    whole: bool = False
    width: Callable[[Any], int] = one_run

    def parse(self, options: Mapping[str, Any]) -> Settings:
        """Validate the options of a job.

        Raises:
            ConfigError: An option is unknown or does not fit.
        """
        try:
            return self.options.model_validate(dict(options), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            fields = self.options.model_fields
            raise ConfigError(
                f"{first['msg']}, for the teleprompter {self.name}",
                key=f"compile.options.{name}".rstrip("."),
                value=options.get(name),
                allowed=[f"{key} ({field.description})" for key, field in fields.items()],
            ) from None

    def can_write(self, options: Mapping[str, Any]) -> bool:
        """Whether it writes instructions with these options, validated or not yet."""
        return self.writes

    def estimate(
        self,
        options: Any,
        n_train: int,
        n_val: int,
        calls_per_case: float | tuple[float, float],
    ) -> tuple[int, int]:
        """Return the least and the most LM calls needed, retries and a warm cache left aside.

        Args:
            options: As `parse` returns them.
            n_train: Size of the trainset.
            n_val: Size of the valset.
            calls_per_case: LM calls of one run of the program, or the least and the most.
        """
        low, high = self.runs(options, n_train, n_val)
        first, last = self.prompts(options, n_train, n_val)
        least, most = calls_per_case if isinstance(calls_per_case, tuple) else (calls_per_case,) * 2
        return round(low * least) + first, round(high * most) + last
