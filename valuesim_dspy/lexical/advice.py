"""Instructions made better by advice: what a prompt for a prompt is answered with."""

from __future__ import annotations

import json
import re
from random import Random

from valuesim_dspy.lexical.parsing import Prompt

MOST_ADDED = 4
"""So many pieces of advice an instruction may hold; a further one takes the place of the last."""

ADVICE = (
    "Look for the evidence that is nearest to the question, and let it decide.",
    "Weigh what is said in the same words as the question above everything else.",
    "Consider the choices made in the past before opinions that were only voiced.",
    "Notice the style of answering: does it go to the ends of the scale or keep to the middle?",
    "Prefer the moderate option when the evidence is thin or divided.",
    "Do not shrink from an extreme option when several statements point to it.",
    "Attend to feelings first: what is loved, feared, trusted or resented.",
    "Start from beliefs about right and wrong, and follow them to the option they imply.",
    "Read how similar questions on the same scale were answered, and carry the pattern over.",
    "Ask what a person in these circumstances would habitually do, and answer from that.",
    "Give more weight to statements that are specific than to those that are general.",
    "Where two statements disagree, trust the one that is stated more strongly.",
    "Consider trust in people and institutions, and whether the question touches on it.",
    "Consider how important religion, family and work are before settling the answer.",
    "Think about what the person values most, and choose the option that serves it.",
    "Read every option before deciding, and rule out those that contradict a statement.",
    "Pay attention to how often something is done, not only to what is thought of it.",
    "Quote the two or three statements that decide, then name the option they support.",
    "Answer as this person would, not as most people do and not as would be correct.",
    "Keep to what is known, and let unknown matters follow the general tendency.",
    "Consider satisfaction, health and security, since contentment colours other answers.",
    "Begin with the statement that shares most words with the question, then look for others.",
    "Use the examples to see how the scale is used, then return to the person at hand.",
    "Treat age, schooling and circumstances as background, and beliefs as the foreground.",
)
PREFIXES = ("Answer:", "The answer is:", "Chosen:", "My answer:", "Decision:", "Therefore:")
CONNECTIVES = ("Also,", "Besides,", "Beyond that,", "At the same time,", "Then again,")

_ITEM = re.compile(
    r"^(?:\[\d+\] )?«?[ ]*Instruction[^:\n]*:\s*(.*?)»?$(?=\s*(?:\[\d+\] )?«?[ ]*Prefix|\s*\Z)",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)


def instruction_of(prompt: Prompt) -> str:
    """Return the instruction that a prompt gives to be made better, or "" where there is none.

    Of several fields that speak of instructions the last with one single instruction rules;
    of a list of attempts the last, which by custom is the best.
    """
    names = [
        f.name for f in prompt.task.inputs if "instruction" in f.name and f.name in prompt.values
    ]
    for name in sorted(names, key=lambda name: (name.endswith("s"), -names.index(name))):
        text = prompt.values[name].strip()
        attempts = _ITEM.findall(text)
        if attempts:
            return str(attempts[-1]).strip().strip("«»").strip()
        if text and text not in ("N/A", "None"):
            return text.split(" | Score:")[0].strip()
    return ""


def improve(instruction: str, rng: Random) -> str:
    """Return an instruction with one sentence of advice added, or exchanged for its last one."""
    text = _unquoted(instruction.strip())
    held = [item for item in ADVICE if item in text]
    if len(held) >= MOST_ADDED:
        last = max(held, key=text.rindex)
        text = text.replace(last, "").strip()
    added = rng.choice([item for item in ADVICE if item not in held])
    return f"{text}\n{added}" if text else added


def advise(rng: Random) -> str:
    """Return three pieces of advice, one a line."""
    return "\n".join(f"- {item}" for item in rng.sample(ADVICE, 3))


def _unquoted(text: str) -> str:
    if text.startswith('"') and text.endswith('"'):
        try:
            loaded = json.loads(text)
        except json.JSONDecodeError:
            return text.strip('"')
        return loaded if isinstance(loaded, str) else text
    return text
