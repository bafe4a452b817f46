"""Facts: a respondent's answers as sentences in the second person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from valuesim_dspy.free_text import plain_text
from valuesim_dspy.survey.answers import Answers
from valuesim_dspy.survey.codebook import Codebook, Question

COUNTRY = "COUNTRY"  # the id of the fact that names the country; no question has it
_BACKGROUND = "demographics"


@dataclass(frozen=True)
class Fact:
    """One sentence that a person may know of themselves, and where it comes from.

    Args:
        question: The question's id.
        code: The answer.
        text: The sentence.
        section: The question's section.
        battery: The question's battery.
        scale: The name of the question's scale.
    """

    question: str
    code: int
    text: str
    section: str
    battery: str
    scale: str


def make_fact(question: Question, code: int, country: str | None = None) -> Fact:
    """The fact of one answer; made once and kept.

    Args:
        question: The question; private ones too, the caller has asked for it.
        code: The answer's code.
        country: The person's country, alpha-3; None where it is not known.

    Raises:
        SurveyDataError: The question has no such code, or its answers are never facts.
    """
    # most sentences are the same everywhere: they are kept once, not once for each country
    return _fact(question, code, country if question.wording.is_local else None)


@lru_cache(maxsize=65536)
def _fact(question: Question, code: int, country: str | None) -> Fact:
    return Fact(
        question=question.id,
        code=code,
        text=plain_text(question.fact_text(code, country)),
        section=question.section,
        battery=question.battery,
        scale=question.scale,
    )


def make_facts(
    answers: Mapping[str, int],
    codebook: Codebook,
    *,
    country: str | None = None,
    include_private: bool = False,
) -> tuple[Fact, ...]:
    """The facts of a person, in codebook order.

    Negative codes, codes that are no option, private questions and questions that give no
    facts are passed over: an answer that is missing is not a fact.

    Args:
        answers: Codes by question id.
        codebook: Where the questions stand.
        country: The person's country, alpha-3; None where it is not known.
        include_private: Also tell the answers to private questions.

    Raises:
        UnknownQuestionError: An answer is to a question that the codebook does not have.
    """
    known = answers.codes() if isinstance(answers, Answers) else answers
    for id in known:
        codebook[id]
    return tuple(
        make_fact(question, known[question.id], country)
        for question in codebook
        if question.id in known
        and (include_private or not question.private)
        and _tells(question, known[question.id])
    )


def country_fact(country: str, codebook: Codebook) -> Fact:
    """The fact that names the country a person lives in, as in "You live in Japan".

    Args:
        country: Alpha-3 code.
        codebook: Whose countries are meant.

    Returns:
        A fact of the question id `COUNTRY`; its code is the country's numeric code.

    Raises:
        SurveyDataError: The codebook has no such country.
    """
    place = codebook.country(country)
    text = plain_text(f"You live in {place.name}.")
    return Fact(COUNTRY, place.numeric, text, _BACKGROUND, _BACKGROUND, "country")


def _tells(question: Question, code: int) -> bool:
    if not question.gives_facts or code < 0:
        return False
    return not question.options or question.has_code(code)
