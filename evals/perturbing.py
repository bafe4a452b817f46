"""The same question put another way: perturbations of a case."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from valuesim_dspy.case import Case, Profile, habits_text
from valuesim_dspy.survey.codebook import Codebook, Option, Question
from valuesim_dspy.survey.facts import Fact
from valuesim_dspy.survey.wording import capitalised

REPEAT = "repeat"
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
WRAPPERS = (
    "Please answer this question. {ask}",
    "{ask} Which of the options comes closest?",
    "The next question is this one: {ask}",
)
REWRITES = (
    (r"How much confidence do you have in (.+)\?", r"In \1, how much confidence do you have?"),
    (
        r"How far do you agree or disagree that (.+?)((?:, on a scale .+)?)\?",
        r"Take the statement that \1. How far do you agree or disagree with it\2?",
    ),
    (r"How much do you (.+)\?", r"To what extent do you \1?"),
    (r"How often do you (.+)\?", r"What would you say: how often do you \1?"),
    (r"Do you believe in (.+)\?", r"Is \1 something that you believe in?"),
    (r"Do you think (.+) can be justified\?(.*)", r"As you see it, can \1 be justified?\2"),
    (r"When (.+?), how often is it the case that (.+)\?", r"How often is it that \2 when \1?"),
)
"""Rewrites of this project's own wording: the whole question as a pattern, and what it becomes.

A question takes one of its rewrites or of `WRAPPERS`, drawn for each person and question.
"""

_NUMBER = re.compile(r"\b\d+\b")
_END = re.compile(r"\b(\d+)(?= \()")
Item = TypeVar("Item")


# Without a repr of their own: that of what they stand for may be seen in a log, a history not.
@dataclass(frozen=True, eq=False, repr=False)
class PerturbedCase(Case):
    """A case as it is shown in place of another.

    Args:
        original: The case that it stands for.
        how: The perturbation's name.
        codes: Code shown to the original's code; {} where codes stay.
    """

    original: Case | None = None
    how: str = ""
    codes: Mapping[int, int] = field(default_factory=dict)

    @property
    def _identity(self) -> tuple[object, ...]:
        return (*super()._identity, self.how, self.options_text)

    @property
    def habits_text(self) -> str:
        """As the original's: how options are coded or listed here changes no past answer."""
        return habits_text(replace(self.original, history=self.history) if self.original else self)


@dataclass(frozen=True, eq=False, repr=False)
class ShuffledProfile(Profile):
    """A profile whose facts stand in another order, the same for all of a person's questions."""

    seed: int = 0

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The facts in an order drawn for this person."""
        return tuple(reordered(super().facts, random.Random(f"facts:{self.seed}:{self.key}")))


@dataclass(frozen=True)
class Asking:
    """What perturbations are drawn by.

    Args:
        seed: Of all draws.
        plain: The codebook in its own words, where a wording of the user's is in force.
    """

    seed: int = 0
    plain: Codebook | None = None

    def rng(self, case: Case, name: str) -> random.Random:
        """Return a generator of its own for each perturbation, person and question."""
        return random.Random(f"{name}:{self.seed}:{case.profile.key}:{case.question.id}")


@dataclass(frozen=True)
class Perturbation:
    """One way to put a case otherwise.

    Args:
        name: The key in `PERTURBATIONS`.
        what: What it does to a case, in a line.
        change: Returns the case as it is shown; the same case where there is nothing to change.
        recodes: Whether codes change their meaning, which arms that read codes cannot follow.
    """

    name: str
    what: str
    change: Callable[[Case, Asking], Case]
    recodes: bool = False


def reordered(items: Sequence[Item], rng: random.Random) -> list[Item]:
    """Return the items in another order than theirs, wherever there are two or more."""
    places = list(range(len(items)))
    while len(places) > 1 and places == sorted(places):
        rng.shuffle(places)
    return [items[place] for place in places]


def shown_codes(case: Case) -> tuple[int, ...]:
    """Return the original codes of the options in the order in which they are shown."""
    codes = case.codes if isinstance(case, PerturbedCase) else {}
    return tuple(codes.get(option.code, option.code) for option in case.question.options)


def _shown(
    case: Case, how: str, question: Question, codes: Mapping[int, int] | None = None
) -> PerturbedCase:
    return PerturbedCase(case.profile, question, case.history, case, how, codes or {})


def _with(question: Question, **changed: Any) -> Question:
    """Return the question with fields changed that its own constructor would put in order."""
    made = object.__new__(Question)
    vars(made).update({**vars(question), **changed})
    return made


def _reversed(case: Case, asking: Asking) -> Case:
    options = case.question.options[::-1]
    return _shown(case, "options-reversed", _with(case.question, options=options))


def _shuffled(case: Case, asking: Asking) -> Case:
    name = "options-shuffled"
    options = tuple(reordered(case.question.options, asking.rng(case, name)))
    return _shown(case, name, _with(case.question, options=options))


def _recoded(case: Case, asking: Asking) -> Case:
    """Deal out the codes anew; labels keep their places, and their numbers are spelled."""
    question, name = case.question, "labels-for-numbers"
    shown = dict(
        zip(question.codes, reordered(question.codes, asking.rng(case, name)), strict=True)
    )
    options = [Option(shown[o.code], _NUMBER.sub(_spelled, o.label)) for o in question.options]
    ask = _END.sub(_spelled, question.wording.ask)
    recoded = _with(
        question,
        options=tuple(options),
        order=tuple(shown[code] for code in question.order),
        text=_END.sub(_spelled, question.text),
        wording=replace(question.wording, ask=ask),
    )
    return _shown(case, name, recoded, {new: old for old, new in shown.items()})


def _spelled(number: re.Match[str]) -> str:
    value = int(number[0])
    return NUMBERS[value] if value < len(NUMBERS) else number[0]


def _facts_shuffled(case: Case, asking: Asking) -> Case:
    if len(case.profile.facts) < 2:
        return case
    profile = case.profile
    known = {name: getattr(profile, name) for name in Profile.__dataclass_fields__}
    known["known"] = f"{profile.known}:shuffled {asking.seed}"
    return replace(case, profile=ShuffledProfile(**known, seed=asking.seed))


def _paraphrased(case: Case, asking: Asking) -> Case:
    ask, name = case.question.wording.ask, "paraphrased"
    ways = [re.sub(pattern, said, ask) for pattern, said in REWRITES if re.fullmatch(pattern, ask)]
    ways += [wrapper.replace("{ask}", ask) for wrapper in WRAPPERS]
    new = capitalised(asking.rng(case, name).choice(ways))
    wording = replace(case.question.wording, ask=new)
    return _shown(case, name, case.question.reworded(wording, case.question.options))


def _worded(case: Case, asking: Asking) -> Case:
    own = asking.plain[case.question.id] if asking.plain is not None else case.question
    same = (own.wording.ask, own.options) == (case.question.wording.ask, case.question.options)
    return case if same else _shown(case, "official-wording", own)


PERTURBATIONS: Mapping[str, Perturbation] = {
    one.name: one
    for one in (
        Perturbation(
            REPEAT, "the same request again, with another rollout", lambda case, asking: case
        ),
        Perturbation("options-reversed", "the options listed the other way round", _reversed),
        Perturbation(
            "options-shuffled", "the options in an order drawn by person and question", _shuffled
        ),
        Perturbation(
            "labels-for-numbers",
            "codes dealt out anew and numbers in labels spelled, so that only labels have meaning",
            _recoded,
            recodes=True,
        ),
        Perturbation("facts-shuffled", "the facts in an order drawn by person", _facts_shuffled),
        Perturbation("paraphrased", "the question reworded by templates", _paraphrased),
        Perturbation(
            "official-wording",
            "the codebook's own wording in place of the one in force (data.wording)",
            _worded,
        ),
    )
}
"""The perturbations by name; `repeat` is the floor that the others are read against."""
