"""The ensemble: several compiled copies of one program that answer a case and vote."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from valuesim_dspy.case import Case
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.codebook import Question
from valuesim_dspy.voting import vote, vote_shares

__all__ = ["Ensemble", "combined", "vote_shares", "without_member"]

_MEMBER = re.compile(r"member_\d+\.")


class Ensemble(dspy.Module):
    """Answer as the plurality of several copies of one program, compiled differently.

    Called as every program is. `views` maps a member's name (`member_1`, ...) to its `answer` and
    `analysis`; `decision` is `agreement` or `vote`; the analysis is that of the first member that
    gave the answer, the backstory the first that a member has. `probabilities` maps each code of
    the question to its smoothed share of the votes, see `vote_shares`. A member that fails fails
    the case.

    Members answer one after another: each may use the pool of leaf calls itself, and a task of
    that pool that waits for another would block it.

    Args:
        members: At least two programs of one kind and variant, no two the same object.

    Raises:
        ConfigError: They are fewer, differ, repeat one object, or are ensembles themselves.
    """

    kind = "ensemble"
    gives_probabilities = True

    def __init__(self, members: Sequence[Any]) -> None:
        super().__init__()
        programs = sorted({f"{member.kind} {member.variant}" for member in members})
        if len({id(member) for member in members}) < max(2, len(members)):
            raise ConfigError("needs two different members at least", key="ensemble")
        if len(programs) > 1:
            raise ConfigError(
                f"members are copies of one program, not of {', '.join(programs)}", key="ensemble"
            )
        if any(isinstance(member, Ensemble) for member in members):
            raise ConfigError("an ensemble is no member of another", key="ensemble")
        self.size = len(members)
        for number, member in enumerate(members, start=1):
            setattr(self, f"member_{number}", member)

    @property
    def named_members(self) -> dict[str, Any]:
        """Name of a member, as in `views`, to the member."""
        names = [f"member_{number}" for number in range(1, self.size + 1)]
        return {name: getattr(self, name) for name in names}

    @property
    def members(self) -> tuple[Any, ...]:
        """The members, in order."""
        return tuple(self.named_members.values())

    @property
    def variant(self) -> str:
        """The members' variant."""
        return str(self.members[0].variant)

    @property
    def member_kind(self) -> str:
        """The members' kind: `valuesim`, or a baseline's name."""
        return str(self.members[0].kind)

    def require_model(self, model: str) -> None:
        """Refuse a model that a member's records were not learned for."""
        for member in self.members:
            if hasattr(member, "require_model"):
                member.require_model(model)

    @property
    def knows(self) -> str:
        """What members know: `cold`, or `warm` where they read others' answers to the target."""
        return str(getattr(self.members[0], "knows", "cold"))

    @property
    def inputs(self) -> Any:
        """What a member reads of a case, where members choose it; else there is no attribute."""
        return self.members[0].inputs

    @property
    def binding(self) -> Any:
        """What members are bound to, where they say it; else there is no attribute."""
        return self.members[0].binding

    @property
    def bindings(self) -> Any:
        """The same for programs with several bindings."""
        return self.members[0].bindings

    def bind(self, *bound: Any, **named: Any) -> Ensemble:
        """Bind every member to the same things; return the ensemble itself."""
        for member in self.members:
            member.bind(*bound, **named)
        return self

    def unbind_learned(self) -> None:
        """Let every member go back to its `learned`, which is what a saved program has."""
        for member in self.members:
            member.unbind_learned()

    def bind_to(self, study: Any) -> Ensemble:
        """Bind every member to what a study has for it; return the ensemble itself."""
        for member in self.members:
            member.bind_to(study)
        return self

    def predict(self, case: Case) -> dspy.Prediction:
        """Answer a case; the same as calling the ensemble.

        Raises:
            PredictionError: A member gave no usable answer.
        """
        return self(case=case)

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class."""
        told = {name: member(case=case) for name, member in self.named_members.items()}
        return combined(case.question, told)


def combined(question: Question, told: Mapping[str, dspy.Prediction]) -> dspy.Prediction:
    """Return the prediction of an ensemble from its members'.

    Args:
        question: The question they answered.
        told: Member to prediction, in order.
    """
    answers = {name: int(prediction.answer) for name, prediction in told.items()}
    chosen = vote(question, answers)
    spoken = next(told[name] for name, answer in answers.items() if answer == chosen)
    stories = (str(prediction.backstory) for prediction in told.values())
    return dspy.Prediction(
        answer=chosen,
        analysis=str(spoken.analysis),
        backstory=next(filter(None, stories), ""),
        views={
            name: {"answer": answers[name], "analysis": str(prediction.analysis)}
            for name, prediction in told.items()
        },
        decision="vote" if len(set(answers.values())) > 1 else "agreement",
        status="answered",
        probabilities=vote_shares(question, answers.values()),
    )


def without_member(name: str) -> str:
    """Return the name that an ensemble's predictor has in the member alone."""
    return _MEMBER.sub("", name, count=1) if _MEMBER.match(name) else name
