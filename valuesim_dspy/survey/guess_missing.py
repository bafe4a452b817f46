"""Guess which codes of a variable are no answers, by what they are called and where they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from valuesim_dspy.survey.labelled_files import Variable
from valuesim_dspy.survey.missing import KINDS, MISSING

_SAID: Mapping[str, str] = {
    "refusal": r"refus\w*|prefer not|rather not (say|answer)|declined?\b|unwilling",
    "dont-know": r"do(es)?n.?t (know|remember)|do(es)? not (know|remember)|dk\b|d/k|"
    r"can.?(t|not) (choose|say|decide)|unable to (say|choose)",
    "not-applicable": r"not applicable|n/?a$|n\.a\.|ina?p\b|iap\b|inapplicable|"
    r"do(es)?(n.?t| not) apply|not relevant|no further",
    "not-asked": r"(question )?(was )?not (asked|included|fielded|surveyed)|not in (the )?"
    r"(survey|questionnaire)|skipped|filtered",
    "no-answer": r"no (answer|response)|not (answered|stated|ascertained)|non.?response|left blank",
    MISSING: r"(system |other )?missing|invalid|not available|unknown$",
}
_UNSURE = (
    r"not sure|unsure|uncertain|no opinion|undecided|(hard|difficult) to say|"
    r"haven.?t (heard|thought)"
)
_BY_DIGIT = {6: "not-applicable", 7: "refusal", 8: "dont-know", 9: "no-answer"}
_NEGATIVE = {code: kind for kind, code in KINDS.items() if code >= -5}


@dataclass(frozen=True)
class MissingCodes:
    """The codes of a variable that are no answers.

    Args:
        kinds: Kind by code.
        guessed: Why, where the file does not say it plainly.
        unclear: Negative codes that are called like answers.
    """

    kinds: Mapping[int, str] = field(default_factory=dict)
    guessed: tuple[str, ...] = ()
    unclear: tuple[int, ...] = ()


def guess_missing(variable: Variable) -> MissingCodes:
    """Find the codes that are no answers."""
    called = {code: plain_label(code, label) for code, label in variable.labels.items()}
    kinds: dict[int, str] = {}
    why: dict[str, list[int]] = {}
    for code in sorted({*called, *variable.codes}):
        said = kind_said(called.get(code, ""))
        if code in variable.declared:
            kinds[code] = said or _usual(code)
            if not said:
                why.setdefault("declared missing, of which kind is a guess", []).append(code)
        elif said:
            kinds[code] = said
        elif code < 0 and code not in called:
            kinds[code] = _usual(code)
            why.setdefault("no label", []).append(code)
    _outside(kinds, called, why)
    _by_convention(variable, kinds, called, why)
    unclear = [code for code in called if code < 0 and code not in kinds]
    notes = [f"{', '.join(map(str, codes))}: {reason}" for reason, codes in why.items()]
    return MissingCodes(kinds, tuple(notes), tuple(unclear))


def plain_label(code: int, label: str) -> str:
    """A label without its own code before it and without brackets around it."""
    written = label.replace("{", "(").replace("}", ")").strip()
    text = re.sub(rf"^\(?{code}(\s*[=:)]+\s*|\.\s+|\s+[-\u2013]\s+)(?=\S)", "", written)
    inner = re.fullmatch(r"[\[(<]([^()\[\]<>]*)[\])>]", text)
    return (inner[1] if inner else text).strip() or written or str(code)


def kind_said(label: str) -> str | None:
    """The kind of missing that a label names; None where it names none."""
    text = label.lower().strip(" *-.")
    for kind, pattern in _SAID.items():
        if re.match(f"(?:{pattern})", text) and len(text.split()) <= 8:
            return kind
    return None


def _outside(kinds: dict[int, str], called: Mapping[int, str], why: dict[str, list[int]]) -> None:
    """Tell that "not sure" is no answer beside the scale, and one in the middle of it."""
    answers = [
        code for code in called if code not in kinds and not re.match(_UNSURE, called[code].lower())
    ]
    for code in called:
        beside = answers and not min(answers) < code < max(answers)
        if code not in kinds and code not in answers and beside:
            kinds[code] = "dont-know"
            why.setdefault("could be an answer", []).append(code)


def _by_convention(
    variable: Variable,
    kinds: dict[int, str],
    called: Mapping[int, str],
    why: dict[str, list[int]],
) -> None:
    """Codes without a label that stand apart from the answers: 8 behind 1 to 4, 99, 999."""
    labelled = [code for code in called if code not in kinds]
    bare = [code for code in variable.codes if code not in called and code not in kinds]
    usual = [code for code in bare if _is_usual(code) and (labelled or code >= 777)]
    answers = [*labelled, *(code for code in bare if code not in usual)]
    for code in usual:
        # numbers without any label must end well before: 777 minutes may be an answer
        top = max(answers, default=code) * (1 if labelled else 2)
        if code - top >= 2:
            kinds[code] = _usual(code)
            why.setdefault("no label, read by convention", []).append(code)
        else:
            answers.append(code)


def _is_usual(code: int) -> bool:
    return not set(str(code)[:-1]) - set("6789") and code % 10 in _BY_DIGIT


def _usual(code: int) -> str:
    if code < 0:
        return _NEGATIVE.get(code, MISSING)
    return _BY_DIGIT.get(code % 10, MISSING)
