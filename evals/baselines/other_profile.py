"""Somebody else's profile: how much of an answer is the person's own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import dspy

from evals.baselines.baseline import BaselineModule, result
from valuesim_dspy.case import Case, Profile
from valuesim_dspy.errors import MissingDataError
from valuesim_dspy.modules import DEMO_FACTS, Answerer
from valuesim_dspy.signatures import AnswerDirectly

if TYPE_CHECKING:
    from evals.study import Study


class OtherProfile(BaselineModule):
    """Answer from all facts of somebody else, in one call.

    The program's `single` with the wrong person: what it gets right is owed to the question and
    to people in general. Everybody has one other person, drawn from the trainset, whatever the
    question; nothing of the person asked is read, neither country nor history. Cold: that
    person's answers to target questions are not in their profile.

    Args:
        demo_facts: See `Answerer`.
    """

    kind = "other-profile"

    def __init__(self, *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__()
        self.direct = Answerer(AnswerDirectly, demo_facts=demo_facts)
        self._others: tuple[Profile, ...] = ()
        self._seed = 0

    def bind_to(self, study: Study) -> Self:
        """Bind the profiles of the study's trainset."""
        examples = study.examples("train")
        others = dict.fromkeys(example.case.profile for example in examples)
        return self.bind(tuple(others), seed=study.config.seed)

    def bind(self, others: Sequence[Profile], *, seed: int = 0) -> Self:
        """Bind the people to draw from, whom no saved state holds.

        Args:
            others: Profiles of at least two people.
            seed: Seed of the draws.

        Returns:
            The module itself.
        """
        self._others, self._seed = tuple(others), seed
        return self

    def other(self, profile: Profile) -> Profile:
        """Return the other person that stands in for this one, always the same.

        Raises:
            MissingDataError: The module is bound to nobody else.
        """
        others = [other for other in self._others if other.key != profile.key]
        if not others:
            raise MissingDataError(
                "there is nobody else whose profile could be taken",
                "call bind(others) with the profiles of at least two people",
            )
        return random.Random(f"{self._seed}:{profile.key}").choice(others)

    def inputs(self, case: Case) -> dict[str, str]:
        """What the predictor reads of a case: what it would read if the other were asked.

        Raises:
            MissingDataError: See `other`.
        """
        return Case(self.other(case.profile), case.question).inputs()

    def most_inputs(self, case: Case) -> dict[str, str]:
        """The inputs, were the other the one of most facts: what must fit a context."""
        others = (self.other(case.profile), *self._others)
        longest = max(others, key=lambda other: len(other.facts_text))
        return Case(longest, case.question).inputs()

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class."""
        return result(self.direct(case=case, inputs=self.inputs(case)))
