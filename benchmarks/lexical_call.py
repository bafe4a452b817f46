"""Milliseconds a call of the lexical engine, beside the framework's own cost of the same call.

Run by hand: `python benchmarks/lexical_call.py`. One person with 230 facts is asked many
questions, as a benchmark does: memoised is the time from the second question on, cold the time
of a first question with every table of the engine empty. The framework's cost is that of the
same call with an engine that answers a constant.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import dspy

from valuesim_dspy.lexical import (
    LEXICAL_MODEL,
    LexicalEngine,
    ScriptedEngine,
    lens,
    parsing,
    scales,
    text,
)
from valuesim_dspy.lexical.text import word_set

FACTS, CALLS, COLD_CALLS, ROUNDS = 230, 300, 15, 3
LABELS = ("Very important", "Rather important", "Not very important", "Not at all important")
KINDS = word_set("local foreign public private modern rural national religious")
THINGS = word_set(
    "schools police courts unions banks parties charities festivals customs newspapers hospitals "
    "farms families councils armies churches games songs laws taxes"
)
MATTERS = tuple(f"{kind} {thing}" for kind in sorted(KINDS) for thing in sorted(THINGS))


class AnswerQuestion(dspy.Signature):
    """Foresee how this person answers: find the facts that bear on the question, and weigh them."""

    facts: str = dspy.InputField(desc="what is known of the person")
    question: str = dspy.InputField()
    options: str = dspy.InputField(desc="one a line, behind its code")
    analysis: str = dspy.OutputField(desc="two sentences")
    answer: int = dspy.OutputField(desc="the code of the option")


def facts() -> str:
    """Return 230 facts of the length of survey facts, half of them on a ten-point scale."""
    lines = []
    for index in range(FACTS):
        matter = MATTERS[index % len(MATTERS)]
        if index % 2:
            lines.append(
                f"- On whether spending more of the budget on {matter} can be justified, you stand "
                f"at {index % 10 + 1} on a scale from 1 (never justifiable) to 10 (always "
                "justifiable)."
            )
        else:
            lines.append(f"- Having good {matter} nearby is {LABELS[index % 4].lower()} to you.")
    return "\n".join(lines)


def milliseconds(engine: object, calls: int, prepare: Callable[[], None] = lambda: None) -> float:
    """Return the best of several rounds of calls through DSPy, in milliseconds a call."""
    known = facts()
    options = "\n".join(f"{code}: {label}" for code, label in enumerate(LABELS, start=1))
    predict = dspy.Predict(AnswerQuestion)
    rounds = []
    lm = dspy.LM(LEXICAL_MODEL, engine=engine, cache=False)
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        predict(facts=known, question="How important is rain?", options=options)
        for _ in range(ROUNDS):
            spent = 0.0
            for call in range(calls):
                prepare()
                question = f"How important are {MATTERS[-call % len(MATTERS)]} in your life?"
                start = time.perf_counter()
                predict(facts=known, question=question, options=options)
                spent += time.perf_counter() - start
            rounds.append(1000 * spent / calls)
    return min(rounds)


def forget() -> None:
    """Empty every table of the engine."""
    for module in (text, parsing, scales, lens):
        for function in vars(module).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()


def main() -> None:
    """Measure, and print milliseconds and ratios."""
    trivial = ScriptedEngine(
        lambda _: "[[ ## analysis ## ]]\nNone.\n\n[[ ## answer ## ]]\n1\n\n[[ ## completed ## ]]"
    )
    framework = milliseconds(Constant(trivial), CALLS)
    memoised = milliseconds(LexicalEngine(), CALLS)
    cold = milliseconds(LexicalEngine(), COLD_CALLS, forget)
    print(f"framework alone      {framework:7.2f} ms a call")
    for name, total in (("memoised", memoised), ("cold", cold)):
        engine = total - framework
        print(f"engine, {name:<12} {engine:7.2f} ms a call, {engine / framework:6.1f} x framework")


class Constant:
    """An engine that gives the same reply without reading the request."""

    def __init__(self, engine: ScriptedEngine) -> None:
        from dspy.lm15 import Message, Request

        self.reply = engine.complete(Request("constant", (Message.user("?"),)))

    def complete(self, request: object) -> object:
        """Return the reply."""
        return self.reply


if __name__ == "__main__":
    main()
