"""The signatures, whose docstrings and descriptions are the prompts.

All of this text reaches a language model word for word and is pinned by golden files. Inputs
stand in the order facts, backstory, history, habits, question, options, so that everything up to
the question is a prefix that all questions to one person share.
"""

from __future__ import annotations

import dspy

FACTS = "what this person answered in a survey, one fact a line, addressed to them as you"
BACKSTORY = "the person's story, written from those facts"
HISTORY = "answers that the person gave later, oldest first; the newest rules"
HABITS = "how the person answered other questions that offered the same options"
QUESTION = "the question that is now put to the person"
OPTIONS = "the options the person may choose from, each behind its code"
PEERS = (
    "what the people most like this person answered to this very question: what is usual among "
    "them, which the person's own facts may contradict"
)
VIEWS = "what each reader foresaw, and why"
FIRST_VIEWS = "what each reader foresaw at first, you among them, and why"
RECORDS = "how each reader did on questions like this one, put to people whose answers are known"
ANALYSIS = "two to four sentences: the evidence that counts, and the option it points to"
ANSWER = "the code of the option this person chooses: one of the numbers offered, nothing else"


class WriteBackstory(dspy.Signature):
    """Write the backstory of one person from the facts of their survey answers.

    Speak to the person as "you", in the present tense, and tell who they are: where they stand
    in life, what matters to them and what leaves them cold, whom they trust, what they believe,
    hope and fear, how they judge right and wrong, and how they act on it. Keep every fact, and
    keep it exactly as strong as it was given: "quite" never becomes "very", and a place on a
    scale stays at its number. Bring together what belongs together, and let tensions between
    facts stand. Invent no event, name or opinion that the facts do not carry. Write plain
    paragraphs, without headings or lists.
    """

    facts: str = dspy.InputField(desc=FACTS)
    backstory: str = dspy.OutputField(desc="the whole story, in the second person")


class Reading(dspy.Signature):
    """Foresee this person's answer."""

    facts: str = dspy.InputField(desc=FACTS)
    backstory: str = dspy.InputField(desc=BACKSTORY)
    history: str = dspy.InputField(desc=HISTORY)
    question: str = dspy.InputField(desc=QUESTION)
    options: str = dspy.InputField(desc=OPTIONS)
    analysis: str = dspy.OutputField(desc=ANALYSIS)
    answer: int = dspy.OutputField(desc=ANSWER)


class ReadCognitively(Reading):
    """Foresee this person's answer from how they understand the world.

    Look for beliefs and expectations: what the person holds to be true of people, institutions,
    society and themselves, what they think leads to what, and the principles and goals that
    their thinking serves. Find the beliefs that bear on the question, weigh how firmly each is
    held, and follow them to the option they imply. Moods and habits are read elsewhere. The
    answer sought is the one this person gives, not the correct, the polite or the usual one.
    """


class ReadAffectively(Reading):
    """Foresee this person's answer from what they feel.

    Look for feelings and attachments: what the person loves, enjoys and is proud or satisfied
    with, what they fear, worry about, resent or reject, whom they feel close to and whom they
    distrust. Sense which of these the question touches, how strongly and with what sign, and
    choose the option that feels right to them before any reasoning. Beliefs and habits are read
    elsewhere. The answer sought is the one this person gives, not the correct, the polite or
    the usual one.
    """


class ReadBehaviorally(Reading.insert(3, "habits", dspy.InputField(desc=HABITS), str)):  # type: ignore[misc]
    """Foresee this person's answer from what they do and how they answer.

    Look for choices and habits: what the person has done, does regularly or refuses to do, the
    circumstances they act in, and the way they use a scale, whether they go to its ends or keep
    to the middle, agree easily or hold back, judge harshly or mildly. Start from the nearest
    things they were asked and from how they answered questions with the same options, and carry
    that pattern over to this question. Beliefs and feelings are read elsewhere. The answer
    sought is the one this person gives, not the correct, the polite or the usual one.
    """


class ReadEncodings(Reading):
    """Foresee this person's answer from how they see things: their categories.

    Look for the terms in which the person sorts people, events and themselves: who is one of us
    and who is not, what counts as normal, sacred, political or private, how they would name what
    the question is about. Find the category under which this person files it, and follow it to
    the option that people who see it so choose. What they expect, feel, want and can do is read
    elsewhere. The answer sought is the one this person gives, not the correct, the polite or the
    usual one.
    """


class ReadExpectancies(Reading):
    """Foresee this person's answer from what they expect and believe.

    Look for what the person holds to be true of people, institutions and the world, and for what
    they expect to follow from what: whether effort pays, whether others can be trusted, whether
    those in power deliver. Find the expectations that bear on the question, weigh how firmly
    each is held, and follow them to the option they imply. How they see, feel, want and act is
    read elsewhere. The answer sought is the one this person gives, not the correct, the polite
    or the usual one.
    """


class ReadAffects(Reading):
    """Foresee this person's answer from the feelings that the question stirs.

    Look for what the person is happy, proud, afraid, worried or angry about, whom they are fond
    of and whom they recoil from. Sense which of these the question touches, how strongly and
    with what sign, and choose the option that the feeling takes them to. What they see, expect,
    want and can do is read elsewhere. The answer sought is the one this person gives, not the
    correct, the polite or the usual one.
    """


class ReadGoals(Reading):
    """Foresee this person's answer from what they want and what they hold dear.

    Look for goals and values: what the person strives for and wants for their family, their
    country and the world, what they would not give up, and which they put first where two of
    them collide. Find the goals that the question serves or threatens, and choose the option
    that serves them. What they see, expect, feel and can do is read elsewhere. The answer sought
    is the one this person gives, not the correct, the polite or the usual one.
    """


class ReadCompetencies(Reading):
    """Foresee this person's answer from what they can do and how they run their life.

    Look for means and plans: schooling, work, money, health, what the person knows and follows,
    what they have done and do regularly, how they govern themselves, and whether they take
    things into their own hands. Find what of this bears on the question, and choose the option
    that somebody who can and does these things gives. What they see, expect, feel and want is
    read elsewhere. The answer sought is the one this person gives, not the correct, the polite
    or the usual one.
    """


class ReadSpatially(Reading):
    """Foresee this person's answer from where things are in their life.

    Look for places: what is near to the person and what is far, what happens at home, in the
    neighbourhood, in the country and abroad, what is inside and what outside. Find the places
    that the question speaks of, see how the person stands to what is found there, and choose the
    option that fits. Times and things are read elsewhere. The answer sought is the one this
    person gives, not the correct, the polite or the usual one.
    """


class ReadTemporally(Reading):
    """Foresee this person's answer from when things are in their life.

    Look for times: what was before, what is now and what is to come, what is rare and what is
    frequent, what is old and what is new to the person. Find the times that the question speaks
    of, see how the person stands to what happens then, and choose the option that fits. Places
    and things are read elsewhere. The answer sought is the one this person gives, not the
    correct, the polite or the usual one.
    """


class ReadMaterially(Reading):
    """Foresee this person's answer from the things in their life.

    Look for things: what the person has and has not, what they use, make, buy or lack, what is
    made of matter and can be counted or touched. Find the things that the question speaks of,
    see how the person stands to them, and choose the option that fits. Places and times are read
    elsewhere. The answer sought is the one this person gives, not the correct, the polite or the
    usual one.
    """


class DecideAnswer(Reading.insert(5, "views", dspy.InputField(desc=VIEWS), str)):  # type: ignore[misc]
    """Decide how this person answers, where readings of them disagree.

    Several readers foresaw the answer, each from one side of the person. Weigh their analyses
    against the person's own facts, story and history: which reader rests on evidence nearest to
    the question, which overlooks something, which side of the person speaks loudest in a matter
    like this one? Choose the option that this person as a whole would give. It need not be a
    compromise, nor what most of the readers say.
    """


class DecideAmongViews(dspy.Signature):
    """Decide which answer a person gives, where readings of them disagree.

    Several readers foresaw the answer, each from one side of the person, whom you do not see.
    Weigh their analyses: which reader rests on evidence nearest to the question, which overlooks
    something? Choose the option that this person as a whole would give. It need not be a
    compromise, nor what most of the readers say.
    """

    question: str = dspy.InputField(desc=QUESTION)
    options: str = dspy.InputField(desc=OPTIONS)
    views: str = dspy.InputField(desc=VIEWS)
    analysis: str = dspy.OutputField(desc=ANALYSIS)
    answer: int = dspy.OutputField(desc=ANSWER)


class AnswerDirectly(Reading.delete("backstory")):  # type: ignore[misc]
    """Foresee how this person answers the question, from what is known of them.

    Find the facts that bear on the question, weigh them, and choose the option that this person
    gives: not the correct, the polite or the usual one.
    """


RECONSIDER = """

You are the {name} reader. You have foreseen an answer once, and so have the other readers, each
from one side of the person. Read what all of you foresaw. Keep to your side, and to your answer
where its evidence holds; change it where another reader points to evidence nearer to the
question, or to something you overlooked. To agree is not the aim."""

TRUST = """

Each reader's record says how often it was right before, and how it errs: trust a reader as far
as its record on questions like this one goes, and correct for the way it errs."""


def with_peers(signature: type[dspy.Signature]) -> type[dspy.Signature]:
    """Return the signature with the input `peers`, just before the question."""
    return _before_question(signature, "peers", PEERS)


def with_habits(signature: type[dspy.Signature]) -> type[dspy.Signature]:
    """Return the signature with the input `habits`; as it is where it has one."""
    return _before_question(signature, "habits", HABITS)


def with_records(signature: type[dspy.Signature]) -> type[dspy.Signature]:
    """Return a coordinator's signature with the input `records`, last, and what it is for."""
    place = len(signature.input_fields)
    wider = signature.insert(place, "records", dspy.InputField(desc=RECORDS), str)
    return wider.with_instructions(signature.instructions + TRUST)


def reconsidering(signature: type[dspy.Signature], name: str) -> type[dspy.Signature]:
    """Return a perspective's signature for a second reading, with all first ones as `views`."""
    place = len(signature.input_fields)
    wider = signature.insert(place, "views", dspy.InputField(desc=FIRST_VIEWS), str)
    return wider.with_instructions(signature.instructions + RECONSIDER.format(name=name))


def answering_alone(signature: type[dspy.Signature]) -> type[dspy.Signature]:
    """Return the signature without the analysis before the answer."""
    return signature.delete("analysis")


def _before_question(
    signature: type[dspy.Signature], name: str, description: str
) -> type[dspy.Signature]:
    if name in signature.input_fields:
        return signature
    place = list(signature.input_fields).index("question")
    return signature.insert(place, name, dspy.InputField(desc=description), str)


PERSPECTIVES: dict[str, type[dspy.Signature]] = {
    "cognitive": ReadCognitively,
    "affective": ReadAffectively,
    "behavioral": ReadBehaviorally,
    "encodings": ReadEncodings,
    "expectancies": ReadExpectancies,
    "affects": ReadAffects,
    "goals": ReadGoals,
    "competencies": ReadCompetencies,
    "spatial": ReadSpatially,
    "temporal": ReadTemporally,
    "material": ReadMaterially,
}
"""Name of a perspective to the signature by which it reads a person."""
