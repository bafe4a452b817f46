"""Several questions in one field: each is taken out and answered for itself."""

from __future__ import annotations

import re
from dataclasses import replace

from valuesim_dspy.lexical.parsing import Prompt, find_options
from valuesim_dspy.lexical.scoring import choose
from valuesim_dspy.lexical.text import word_set

ANSWERS = word_set("answers codes choices")
_BLOCK = re.compile(r"^\[(\w+)\][ \t]+(?=\S)", re.MULTILINE)


def read_several(prompt: Prompt) -> dict[str, Prompt]:
    """Return the questions of a field that numbers them in brackets, each as its own prompt.

    Args:
        prompt: A request, read.

    Returns:
        Number as written to the prompt of that question alone; empty where no field holds such
        questions with options below them.
    """
    for name, text in prompt.values.items():
        found = list(_BLOCK.finditer(text))
        ends = [*(match.start() for match in found[1:]), len(text)]
        others = tuple(pair for pair in prompt.statements if pair[0] != name)
        asked = {}
        for match, end in zip(found, ends, strict=False):
            question, _, listed = text[match.end() : end].strip().partition("\n")
            options, _, _ = find_options({"options": listed}, prompt.task.outputs)
            if options:
                asked[match[1]] = replace(
                    prompt, question=question, options=options, statements=others
                )
        if asked:
            return asked
    return {}


def answer_several(prompt: Prompt) -> str:
    """Return a line for each question of a field, its number and the code chosen; "" for none."""
    asked = read_several(prompt)
    return "\n".join(f"{name}: {choose(each).option.code}" for name, each in asked.items())
