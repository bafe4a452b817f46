"""Demos: rendered from training cases without a call, and looked over before they are saved."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import dspy

from valuesim_dspy.case import Case, plain_text
from valuesim_dspy.errors import ProgramStateError
from valuesim_dspy.modules import Answerer, condense
from valuesim_dspy.retrieval import nearest_lines

LEFT_OUT = frozenset({"backstory"})
"""Inputs that no demo holds: in full it would be as long as the case it is to illustrate."""


def draw_cases(trainset: Sequence[dspy.Example], k: int, rng: random.Random) -> list[dspy.Example]:
    """Draw k examples, spread over respondents and batteries as evenly as there are any.

    Args:
        trainset: Examples with `case` and `answer`.
        k: How many; all of them where there are no more.
        rng: The generator that draws.
    """
    left = rng.sample(list(trainset), len(trainset))
    used: Counter[tuple[str, str]] = Counter()
    drawn: list[dspy.Example] = []
    while left and len(drawn) < k:
        best = min(left, key=lambda example: sum(used[part] for part in _parts(example.case)))
        left.remove(best)
        used.update(_parts(best.case))
        drawn.append(best)
    return drawn


def _parts(case: Case) -> tuple[tuple[str, str], tuple[str, str]]:
    question = case.question
    return ("respondent", case.profile.key), ("battery", question.battery or question.id)


def add_labeled_demos(program: dspy.Module, examples: Sequence[dspy.Example]) -> int:
    """Give every predictor that answers a case from the case alone a demo of each example.

    The coordinator reads views, which are not to be had without calls, and the writer has no
    true output: both get none.

    Args:
        program: Changed in place.
        examples: Training cases with the codes their respondents gave.

    Returns:
        How many predictors got demos.
    """
    given = 0
    for _, answerer in program.named_sub_modules(Answerer):
        if answerer._compiled:
            continue
        needed = set(answerer.answer.signature.input_fields) - LEFT_OUT
        rows = [(_inputs(program, ex.case), ex.case, int(ex.answer)) for ex in examples]
        if all(needed <= set(inputs) for inputs, _, _ in rows):
            answerer.answer.demos = [_labeled_demo(answerer, *row) for row in rows]
            given += 1
    return given


def _inputs(program: dspy.Module, case: Case) -> Mapping[str, str]:
    """What the program's predictors read: its own `inputs(case)`, where it chooses them."""
    chooses = getattr(program, "inputs", None)
    inputs: Mapping[str, str] = chooses(case) if chooses is not None else case.inputs()
    return inputs


def _labeled_demo(
    answerer: Answerer, inputs: Mapping[str, str], case: Case, answer: int
) -> dspy.Example:
    read = {name: inputs[name] for name in answerer.answer.signature.input_fields if name in inputs}
    shown = condense(read, answerer.demo_facts)
    if "analysis" in answerer.answer.signature.output_fields:
        shown["analysis"] = _analysis(shown, case, answer)
    return dspy.Example(**shown, answer=answer)


def _analysis(shown: Mapping[str, str], case: Case, answer: int) -> str:
    """Write the analysis of a demo: the evidence nearest to the question, and the true option.

    Adapters render an output that a demo lacks as "Not supplied for this particular example" and
    mark the whole demo as incomplete; a model imitates that reply and stops to analyse. Nothing
    is claimed here that the respondent did not answer.
    """
    query = f"{shown['question']} {shown['options']}"
    evidence = [
        line.removeprefix("- ")
        for line in nearest_lines(shown.get("facts", "").split("\n"), query, 1)
    ]
    evidence.append(shown.get("habits", ""))
    # What is not known stands in brackets wherever a case says so.
    told = [f'"{line}"' for line in evidence if line and not line.startswith("(")]
    label = plain_text(case.question.label(answer))
    named = f"{answer} ({label})" if label != str(answer) else label
    nearest = f"Nearest to the question stands {' and '.join(told)} " if told else ""
    return f"{nearest}The option this person chooses is {named}."


def demo_counts(program: dspy.Module) -> dict[str, int]:
    """Return the number of demos by predictor, predictors without any left out."""
    return {name: len(p.demos) for name, p in program.named_predictors() if p.demos}


def check_demos(program: dspy.Module, *, keys: Collection[str] = ()) -> None:
    """Make sure that demos hold a predictor's own fields, as text and codes, and nobody's id.

    Args:
        program: A compiled program.
        keys: Keys of respondents, none of which may stand in any text.

    Raises:
        ProgramStateError: A demo holds a case, another field, another type or a key.
    """
    for name, predictor in program.named_predictors():
        fields = set(predictor.signature.fields)
        for demo in predictor.demos:
            for field, value in demo.items():
                flaw = _flaw(field, value, fields, keys)
                if flaw:
                    raise ProgramStateError(
                        f"a demo of {name} holds {flaw}; the teleprompter must render what the "
                        "predictor reads, condensed, before it becomes a demo"
                    )


def _flaw(field: str, value: object, fields: Collection[str], keys: Collection[str]) -> str:
    """Say what is wrong with one value, without showing it; "" where nothing is."""
    if field == "augmented":
        return "" if isinstance(value, bool) else "a mark that is no truth value"
    if field not in fields:
        return f"the field {field!r}, which is not the predictor's"
    if type(value) not in (str, int):
        return f"a {type(value).__name__} in the field {field!r}"
    if any(key in str(value) for key in keys):
        return f"the key of a respondent in the field {field!r}"
    return ""
