"""A program that is shown its cases otherwise: one wrapper of the call shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy

from evals.perturbing import PERTURBATIONS, REPEAT, Asking, PerturbedCase
from valuesim_dspy.case import Case
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.lm import MeteredLM

ROLLOUT = 1_000_000
"""Added to the rollout ids of a repetition, so that no reply of the first asking is taken."""


class Perturbed(dspy.Module):
    """A program that is shown cases otherwise than they are put; its answers are mapped back.

    Args:
        program: Anything of the call shape.
        perturbation: A key of `PERTURBATIONS`.
        asking: What draws are made by.

    Raises:
        ConfigError: There is no such perturbation.
    """

    def __init__(
        self, program: dspy.Module, perturbation: str, asking: Asking | None = None
    ) -> None:
        super().__init__()
        if perturbation not in PERTURBATIONS:
            allowed = list(PERTURBATIONS)
            raise ConfigError("no such perturbation", key=perturbation, allowed=allowed)
        self.program = program
        self.perturbation = perturbation
        self.asking = asking or Asking()

    @property
    def knows(self) -> str:
        """As the program's."""
        return str(getattr(self.program, "knows", "cold"))

    def shown(self, case: Case) -> Case:
        """Return the case as the program is shown it."""
        return PERTURBATIONS[self.perturbation].change(case, self.asking)

    def applies(self, case: Case) -> bool:
        """Whether anything is done to a case."""
        return self.perturbation == REPEAT or self.shown(case) != case

    def predict(self, case: Case) -> dspy.Prediction:
        """Answer a case; the same as calling the program."""
        return self(case=case)

    def forward(self, case: Case) -> dspy.Prediction:
        """Return the program's prediction, in the codes of the case as it was put."""
        lm = dspy.settings.lm
        if self.perturbation == REPEAT and isinstance(lm, MeteredLM):
            with dspy.context(lm=asked_again(lm)):
                return self.program(case=case)
        shown = self.shown(case)
        prediction = self.program(case=shown)
        return mapped_back(prediction, shown.codes if isinstance(shown, PerturbedCase) else {})


def mapped_back(prediction: dspy.Prediction, codes: Mapping[int, int]) -> dspy.Prediction:
    """Return a prediction with answer, views and probabilities in the original codes."""
    if not codes:
        return prediction
    views, told = prediction.get("views") or {}, prediction.get("probabilities") or {}
    back: dict[str, Any] = {"answer": codes[int(prediction.answer)]}
    back["views"] = {n: {**view, "answer": codes[int(view["answer"])]} for n, view in views.items()}
    if told:
        back["probabilities"] = {codes[int(code)]: share for code, share in told.items()}
    return dspy.Prediction(**{**dict(prediction.items()), **back})


class _AskedAgain(MeteredLM):
    """A language model whose every call is another rollout of the call it would have been."""

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        rollout = ROLLOUT + int(kwargs.get("rollout_id") or 0)
        return super().__call__(prompt, messages=messages, **{**kwargs, "rollout_id": rollout})


def asked_again(lm: MeteredLM) -> MeteredLM:
    """Return a copy of a model that answers nothing from the replies of the first asking.

    Temperature stays the role's. At 0 a server may still reply otherwise; the embedded model,
    as any that is exact, does not.
    """
    again = object.__new__(_AskedAgain)
    # DSPy would warn that rollouts have no effect at temperature 0; our cache does tell them apart.
    again.__dict__.update({**vars(lm.copy()), "_warned_zero_temp_rollout": True})
    return again
