"""Programs and models for the tests of the loop over cases."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dspy
from loopback import LoopbackServer
from people import example, scripted_lm

from benchmarks.prefix_share import lexical_reply
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case, Profile
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.lm import MeteredLM, make_lm
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.own import own_profile
from valuesim_dspy.roles import LMRole
from valuesim_dspy.usage import Meter

QUESTIONS = ("Q69", "Q70", "Q71", "Q72", "Q73", "Q74", "Q241", "Q8")


class Scripted(dspy.Module):
    """A program of the call shape that does what a test says, without a language model."""

    def __init__(self, act: Callable[[Case], Any]) -> None:
        super().__init__()
        self.act = act

    def forward(self, case: Case) -> dspy.Prediction:
        """Answer, or raise."""
        answer = self.act(case)
        return dspy.Prediction(answer=answer, analysis="", backstory="", views={})


def examples(questions: tuple[str, ...] = QUESTIONS) -> list[dspy.Example]:
    """Return one example a question, all of one person."""
    return [example(question, 2) for question in questions]


@contextmanager
def remote(
    answer: Any = lexical_reply, *, meter: Meter | None = None, **server: Any
) -> Iterator[tuple[MeteredLM, LoopbackServer]]:
    """Yield an LM behind a loopback server that computes its answers, and the server."""
    with LoopbackServer(answer, **server) as running, ResponseCache().installed():
        role = LMRole(model="openai/test", api_base=running.url, num_retries=0)
        yield make_lm(role, name="task_lm", meter=meter), running


def local(answers: Any, **known: Any) -> MeteredLM:
    """Return an LM in the process with prepared answers."""
    return scripted_lm(ScriptedEngine(answers), **known)


def plain(outcome: Outcome) -> dict[str, Any]:
    """Return what does not depend on the clock or on who paid first."""
    fields = dataclasses.asdict(outcome)
    return {name: fields[name] for name in fields if name not in ("seconds", "paid", "paid_tokens")}


def other() -> Profile:
    """Return another person than `people.person`."""
    return own_profile({"Q1": 3, "Q57": 1, "Q64": 1, "Q65": 1, "Q182": 2}, country="DEU")
