"""People and models for tests: small, made by hand, the same every time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dspy

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case, Profile
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.lm import MeteredLM
from valuesim_dspy.own import own_profile
from valuesim_dspy.roles import LMRole
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.usage import Meter

ANSWERS = {"Q1": 1, "Q6": 4, "Q46": 2, "Q57": 2, "Q58": 1, "Q64": 4, "Q65": 3, "Q182": 9}


def person(answers: dict[str, int | str] | None = None, **known: Any) -> Profile:
    """Return a profile of a person in Japan with a handful of answers."""
    return own_profile(answers or dict(ANSWERS), country="JPN", **known)


def case(question: str = "Q69", **known: Any) -> Case:
    """Return a case: that person, one question."""
    return Case(person(**known), load_codebook()[question])


def example(question: str = "Q69", answer: int = 2, **known: Any) -> dspy.Example:
    """Return an example: that case, and the code the person gave."""
    return dspy.Example(case=case(question, **known), answer=answer).with_inputs("case")


@contextmanager
def scripted(answers: Any, *, meter: Meter | None = None) -> Iterator[ScriptedEngine]:
    """Put a scripted model in force, with a cache in memory; yield its engine."""
    engine = ScriptedEngine(answers)
    lm = scripted_lm(engine, meter=meter)
    with ResponseCache().installed(), dspy.context(lm=lm):
        yield engine


def scripted_lm(engine: Any, *, meter: Meter | None = None, **role: Any) -> MeteredLM:
    """Return a metered LM that an engine of the test answers."""
    spec = LMRole(model="offline/scripted", **role)
    return MeteredLM(spec, name="task_lm", engine=engine, meter=meter)


def reply(answer: int, analysis: str = "Because the facts say so.") -> dict[str, Any]:
    """Return the fields of one answer."""
    return {"analysis": analysis, "answer": answer}


def prompt_of(request: Any) -> str:
    """Return everything a request says, as one text."""
    parts = [request.system or ""] if isinstance(request.system, str) else []
    for message in request.messages:
        parts += [part.text for part in message.parts if hasattr(part, "text")]
    return "\n".join(parts)
