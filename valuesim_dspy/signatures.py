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
VIEWS = "what each reader foresaw, and why"
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


class DecideAnswer(Reading.insert(5, "views", dspy.InputField(desc=VIEWS), str)):  # type: ignore[misc]
    """Decide how this person answers, where readings of them disagree.

    Several readers foresaw the answer, each from one side of the person. Weigh their analyses
    against the person's own facts, story and history: which reader rests on evidence nearest to
    the question, which overlooks something, which side of the person speaks loudest in a matter
    like this one? Choose the option that this person as a whole would give. It need not be a
    compromise, nor what most of the readers say.
    """


class AnswerDirectly(Reading.delete("backstory")):  # type: ignore[misc]
    """Foresee how this person answers the question, from what is known of them.

    Find the facts that bear on the question, weigh them, and choose the option that this person
    gives: not the correct, the polite or the usual one.
    """


PERSPECTIVES: dict[str, type[dspy.Signature]] = {
    "cognitive": ReadCognitively,
    "affective": ReadAffectively,
    "behavioral": ReadBehaviorally,
}
"""Name of a perspective to the signature by which it reads a person."""
