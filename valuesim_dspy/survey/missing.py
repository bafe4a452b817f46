"""Why an answer is missing: the codes a file has for it, and the codes it is kept under.

Inside, every missing answer is a negative code. Files of other surveys have positive ones as well
(77 refusal, 88 don't know): a question says under which negative code each of them is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from valuesim_dspy.survey.codebook_yaml import Node

MISSING = "missing"
KINDS: Mapping[str, int] = {
    "dont-know": -1,
    "no-answer": -2,
    "not-applicable": -3,
    "not-asked": -4,
    MISSING: -5,
    "refusal": -6,
}
"""The usual kinds, and the code each is kept under where the file's own code cannot be kept."""

_KEPT = range(-126, 0)  # int8 without what answers.py keeps for itself


def read_missing(node: Node) -> dict[int, str]:
    """Kinds of missing by code, as a file of the survey has them."""
    return node.by_code("missing")


def inherited(header: Mapping[int, str], codes: Iterable[int]) -> dict[int, str]:
    """What a header says of missing answers, as far as it holds for one question.

    Args:
        header: Kinds by code.
        codes: The question's options; none for an open question.

    Returns:
        The negative codes, and the others where the question has options and this is none of
        them: 77 is a refusal among ten options, and an age among ages.
    """
    taken = set(codes)
    return {
        code: kind for code, kind in header.items() if code < 0 or (taken and code not in taken)
    }


def kept(declared: Mapping[int, str]) -> tuple[dict[int, str], dict[int, int]]:
    """Find the codes that missing answers are kept under.

    Args:
        declared: Kinds by code of the file.

    Returns:
        Kinds by negative code, with one for empty cells; and the negative code of every code of
        the file that cannot be kept as it is.
    """
    kinds = {code: kind for code, kind in declared.items() if code in _KEPT}
    recode: dict[int, int] = {}
    for code, kind in declared.items():
        if code not in _KEPT:
            recode[code] = _code_for(kind, kinds)
            kinds[recode[code]] = kind
    kinds.setdefault(KINDS[MISSING], MISSING)
    return kinds, recode


def _code_for(kind: str, kinds: Mapping[int, str]) -> int:
    same = [code for code, other in kinds.items() if other == kind]
    usual = [KINDS[kind]] if KINDS.get(kind, 0) not in kinds and kind in KINDS else []
    free = [code for code in reversed(_KEPT) if code not in {*kinds, *KINDS.values()}]
    return [*same, *usual, *free][0]
