"""A case: what may be known of one respondent, and the question to be answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from valuesim_dspy.free_text import OWN_WORDS, plain_lines, quoted
from valuesim_dspy.free_text import plain_text as plain_text
from valuesim_dspy.survey.answers import Answers
from valuesim_dspy.survey.codebook import Codebook, Option, Question
from valuesim_dspy.survey.facts import Fact, country_fact, make_fact, make_facts

if TYPE_CHECKING:
    import dspy

    from valuesim_dspy.survey.respondents import Respondent, Respondents
    from valuesim_dspy.survey.splits import Fold

NOTHING_KNOWN = "(nothing is known)"
STATEMENT = "statement"
"""The question's id of a fact that is told in free text."""


@dataclass(frozen=True, eq=False)
class Profile:
    """What may be known of one person: the facts from which a backstory is written.

    Profiles are equal where all of this is. Answers that are no survey's lazy view are copied, so
    that editing them later changes nothing.

    Args:
        key: A salted hash that stands for the person; never an id of the survey.
        answers: Question id to code; a lazy view for survey respondents.
        codebook: What the codes mean.
        country: ISO 3166 alpha-3 code, or None when unknown.
        known: What distinguishes this view from other views of the same person, such as the
            digest of the fold that masked it.
        statements: Further facts in the second person, as free text.
        story: A backstory that the person wrote, used in place of a generated one.
        synthetic: Whether the survey says that nobody in it exists.
    """

    key: str
    answers: Mapping[str, int]
    codebook: Codebook
    country: str | None = None
    known: str = ""
    statements: tuple[str, ...] = ()
    story: str | None = None
    synthetic: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.answers, Answers):
            object.__setattr__(self, "answers", MappingProxyType(dict(self.answers)))
        object.__setattr__(self, "statements", tuple(self.statements))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __deepcopy__(self, memo: dict[int, Any]) -> Profile:
        return self

    def __reduce__(self) -> tuple[type[Profile], tuple[Any, ...]]:
        given = [getattr(self, field.name) for field in fields(self)]
        return Profile, tuple(dict(v) if isinstance(v, MappingProxyType) else v for v in given)

    def __repr__(self) -> str:
        return f"Profile({self.key})"

    @cached_property
    def _identity(self) -> tuple[str, str, str, str]:
        codes = self.answers.codes() if isinstance(self.answers, Answers) else self.answers
        known = {id: codes[id] for id in sorted(codes)}
        told = (known, self.country, self.statements, self.story, self.synthetic)
        digest = sha256(repr(told).encode("utf-8", "backslashreplace")).hexdigest()
        return (self.key, self.known, self.codebook.digest, digest)

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The person's facts: country first, then in the codebook's order, then statements."""
        return _profile_facts(self)

    @property
    def facts_text(self) -> str:
        """The facts as a prompt shows them: one a line, each behind a dash."""
        return facts_text(self.facts)


def facts_text(facts: Iterable[Fact]) -> str:
    """Render facts one a line behind a dash; say so when there are none.

    Free text among them stands in quotation marks, and a last line says what it is.
    """
    lines, own = [], False
    for fact in facts:
        is_free = fact.question == STATEMENT
        own = own or is_free
        lines.append(f"- {quoted(fact.text) if is_free else fact.text}")
    return "\n".join([*lines, *([OWN_WORDS] if own else [])]) or NOTHING_KNOWN


def story_text(profile: Profile, story: str) -> str:
    """Render a backstory as a prompt shows it: one that was given in quotation marks."""
    if profile.story is not None:
        return f"{quoted(story)}\n{OWN_WORDS}"
    return plain_lines(story)


@lru_cache(maxsize=256)
def _profile_facts(profile: Profile) -> tuple[Fact, ...]:
    facts = make_facts(profile.answers, profile.codebook, country=profile.country)
    home = (country_fact(profile.country, profile.codebook),) if profile.country else ()
    own = (Fact(STATEMENT, 0, plain_text(text), "", "", "") for text in profile.statements)
    return (*home, *facts, *(fact for fact in own if fact.text))


@dataclass(frozen=True)
class HistoryItem:
    """An answer learned after the profile was drawn: question, code and time (ISO 8601)."""

    question: Question
    code: int
    time: str = ""


@dataclass(frozen=True, eq=False)
class Case:
    """One question put to one person.

    Frozen and hashable. Its repr shows the salted key and the question's id and nothing else,
    so that it may stand in a log.
    """

    profile: Profile
    question: Question
    history: tuple[HistoryItem, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Case) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __deepcopy__(self, memo: dict[int, Any]) -> Case:
        return self

    def __repr__(self) -> str:
        return f"Case({self.profile.key}, {self.question.id})"

    @property
    def _identity(self) -> tuple[object, ...]:
        return (self.profile, self.question, tuple(self.history))

    @property
    def history_text(self) -> str:
        """Later answers, oldest first, one a line; says so when there are none."""
        lines = [
            f"- {f'({plain_text(item.time)}) ' if item.time else ''}"
            f"{make_fact(item.question, item.code, self.profile.country).text}"
            for item in self.history
        ]
        return "\n".join(lines) or "(no later answers)"

    @property
    def question_text(self) -> str:
        """The question as put to this person."""
        return plain_text(self.question.text_for(self.profile.country))

    @property
    def options_text(self) -> str:
        """The options, one a line, each behind its code."""
        options = self.question.options
        return "\n".join(f"{option.code}: {plain_text(option.label)}" for option in options)

    @property
    def habits_text(self) -> str:
        """How this person answered the other questions with the same options, as counts."""
        return habits_text(self)

    def inputs(self) -> dict[str, str]:
        """All that a predictor may read, as strings, except the backstory."""
        return {
            "facts": self.profile.facts_text,
            "history": self.history_text,
            "habits": self.habits_text,
            "question": self.question_text,
            "options": self.options_text,
        }


def habits_text(case: Case) -> str:
    """Describe a person's answers to other questions of the same form.

    Response style (extremes or the middle, agreeing or critical) shows here and in no single
    fact. Counts the profile and the history, never the question itself.
    """
    question, answers = case.question, case.profile.answers
    same = _with_options(case.profile.codebook, question.options)
    others = [other for other in same if other != question.id]
    codes = [code for other in others if (code := answers.get(other)) is not None]
    codes += [
        item.code
        for item in case.history
        if item.question.id != question.id and item.question.options == question.options
    ]
    offered = frozenset(question.codes)
    counts = Counter(code for code in codes if code in offered)
    if not counts:
        return "(no other answer on these options is known)"
    shares = "; ".join(
        f'{count} times "{plain_text(question.label(code))}"'
        if count > 1
        else f'once "{plain_text(question.label(code))}"'
        for code, count in sorted(counts.items())
    )
    return f"Asked {counts.total()} other questions with these same options, you answered {shares}."


@lru_cache(maxsize=512)
def _with_options(codebook: Codebook, options: tuple[Option, ...]) -> tuple[str, ...]:
    """Ids of the questions that offer these options; looked up once, not for every case."""
    return tuple(question.id for question in codebook if question.options == options)


def masked_profile(
    respondent: Respondent, fold: Fold, role: str, *, codebook: Codebook, salt: str
) -> Profile:
    """Return the view of a survey respondent that a fold allows: its profile questions only.

    The profile is the same whatever the set, but for the fold `paper`, where other sets'
    targets are facts for test persons.
    """
    known = fold.profile_for(role)
    return Profile(
        key=respondent.key(salt),
        answers=respondent.masked(frozenset(known)),
        codebook=codebook,
        country=respondent.country or None,
        known=fold.digest if known == fold.profile else f"{fold.digest}:{role}",
        synthetic=respondent.synthetic,
    )


def make_cases(
    respondents: Respondents,
    indices: Iterable[int],
    fold: Fold,
    role: str,
    *,
    max_targets: int | None = None,
    seed: int = 0,
) -> list[dspy.Example]:
    """Return the examples of a set: respondents outside, their target questions inside.

    Args:
        respondents: The survey.
        indices: Positions of the set's respondents.
        fold: Which questions are profile and which are targets.
        role: The set: train, val, dev or test.
        max_targets: At most so many targets a respondent, drawn with a generator seeded by
            `seed` and the respondent's position; None takes all.
        seed: The seed of that draw.

    Returns:
        One `dspy.Example(case, answer)` for each target that the respondent answered.
    """
    import random

    targets = fold.targets(role)
    examples = []
    for index in indices:
        respondent = respondents[index]
        profile = masked_profile(
            respondent, fold, role, codebook=respondents.codebook, salt=respondents.digest
        )
        asked = [qid for qid in targets if respondent.answer(qid) is not None]
        if max_targets is not None and len(asked) > max_targets:
            chosen = set(random.Random(f"{seed}:{index}:{role}").sample(asked, max_targets))
            asked = [qid for qid in asked if qid in chosen]
        for qid in asked:
            answer = respondent.answer(qid)
            assert answer is not None
            examples.append(make_example(Case(profile, respondents.codebook[qid]), answer))
    return examples


def make_example(case: Case, answer: int) -> dspy.Example:
    """Pair a case with the code that the respondent gave."""
    import dspy

    return dspy.Example(case=case, answer=int(answer)).with_inputs("case")
