"""What GEPA is told of one prediction: the question, what was answered, what was true, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dspy import Prediction

from optimize.compilation import Metric
from valuesim_dspy.case import Case, plain_text
from valuesim_dspy.fidelity import backstory_fidelity
from valuesim_dspy.retrieval import nearest_lines

FACTS = 4
"""How many facts are named that bear on a question, or that a backstory lost."""

Feedback = Callable[..., Any]


def make_feedback(score: Metric) -> Feedback:
    """Return the metric that GEPA calls: a score, and for a predictor its feedback too.

    Args:
        score: Of one prediction, in [0, 1].
    """

    def metric(
        gold: Any,
        pred: Any,
        trace: Any = None,
        pred_name: str | None = None,
        pred_trace: Any = None,
    ) -> Any:
        value = float(score(gold, pred))
        if pred_name is None:
            return value
        own = pred_trace[0][2] if pred_trace else pred
        return Prediction(score=value, feedback=feedback(gold, pred, pred_name, own))

    return metric


def feedback(example: Any, prediction: Any, pred_name: str, own: Any) -> str:
    """Tell one predictor how it did on one case.

    Args:
        example: The case and the code that the respondent gave.
        prediction: What the program made of it.
        pred_name: The predictor's name.
        own: What the predictor itself gave.
    """
    case, truth = example.case, int(example.answer)
    if "answer" not in own:
        return "\n".join(_story(case, str(getattr(prediction, "backstory", ""))))
    lines = [f"Question: {case.question_text}", f"Scale: {_scale(case)}"]
    answered, given = int(own["answer"]), prediction.get("answer", own["answer"])
    verdict = _verdict(answered, truth)
    lines.append(
        f"Answered: {_option(case, answered)}, which is {verdict}{_off(case, answered, truth)}."
    )
    lines.append(f"True: {_option(case, truth)}.")
    if given != answered:
        lines.append(f"The program as a whole answered {_option(case, int(given))}.")
    views = prediction.get("views") or {}
    votes = [
        f"{name} {_option(case, int(view['answer']))} ({_verdict(int(view['answer']), truth)})"
        for name, view in views.items()
    ]
    lines += [f"Votes of the perspectives: {'; '.join(votes)}."] if votes else []
    return "\n".join([*lines, *_bearing(case)])


def _verdict(answer: int, truth: int) -> str:
    return "right" if answer == truth else "wrong"


def _scale(case: Case) -> str:
    question = case.question
    order = [plain_text(question.label(code)) for code in question.order]
    if question.scale_kind == "ordinal" and len(order) > 1:
        return f"ordinal, {len(order)} steps from {order[0]!r} to {order[-1]!r}"
    return f"{question.scale_kind}, {len(question.options)} options"


def _option(case: Case, code: int) -> str:
    label = plain_text(case.question.label(code)) if code in case.question.codes else "no option"
    return f"{code} ({label})" if label != str(code) else label


def _off(case: Case, answered: int, truth: int) -> str:
    """Say how far off an answer is, on a scale that has an order."""
    order = case.question.order
    if answered == truth or answered not in order or truth not in order:
        return ""
    steps = order.index(answered) - order.index(truth)
    end = plain_text(case.question.label(order[-1 if steps > 0 else 0]))
    return f", {abs(steps)} of {len(order) - 1} steps too near {end!r}"


def _bearing(case: Case) -> list[str]:
    query = f"{case.question_text} {case.options_text}"
    found = nearest_lines([fact.text for fact in case.profile.facts], query, FACTS)
    return [f"Facts that bear on it: {' '.join(found)}"] if found else []


def _story(case: Case, story: str) -> list[str]:
    """Tell the writer what its backstory keeps and what it lost."""
    facts = case.profile.facts
    if not story or not facts:
        return ["No backstory was written."]
    share = backstory_fidelity(facts, story)
    lost = [fact.text for fact in facts if not backstory_fidelity([fact], story)][:FACTS]
    lines = [f"The backstory keeps {share:.0%} of {len(facts)} facts, each as strong as given."]
    return lines + (
        [f"Lost or changed in strength, among others: {' '.join(lost)}"] if lost else []
    )
