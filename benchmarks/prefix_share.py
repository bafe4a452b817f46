"""The share of prompt text that repeats the beginning of an earlier prompt, by predictor.

Run by hand: `python benchmarks/prefix_share.py [variant]`. One synthetic person is asked 50
questions over HTTP; the server keeps what it was sent. Servers that cache prefixes read the shared
part once, so the rest is what a question costs beyond the person.
"""

from __future__ import annotations

import bisect
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for _folder in (
    Path(__file__).resolve().parent.parent,
    Path(__file__).resolve().parent.parent / "tests",
):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy  # noqa: E402
from dspy.lm15 import Message, Request, TextPart  # noqa: E402
from loopback import LoopbackServer, Messages  # noqa: E402

from valuesim_dspy.cache import ResponseCache  # noqa: E402
from valuesim_dspy.case import make_cases  # noqa: E402
from valuesim_dspy.lexical.engine import LEXICAL_MODEL, LexicalEngine  # noqa: E402
from valuesim_dspy.lm import make_lm  # noqa: E402
from valuesim_dspy.loop import answer_cases  # noqa: E402
from valuesim_dspy.program import ValueSim  # noqa: E402
from valuesim_dspy.roles import LMRole  # noqa: E402
from valuesim_dspy.survey.codebook import load_codebook  # noqa: E402
from valuesim_dspy.survey.folds import make_fold  # noqa: E402
from valuesim_dspy.survey.synthetic import synthesize  # noqa: E402
from valuesim_dspy.usage import text_of  # noqa: E402

QUESTIONS = 50
CHARACTERS_PER_TOKEN = 4
OVERALL = "overall"


@dataclass(frozen=True)
class Share:
    """What the prompts of one predictor share with earlier ones.

    Attributes:
        requests: How many there were.
        characters: How long they were together.
        repeated: How many of these characters repeat the beginning of an earlier request.
    """

    requests: int = 0
    characters: int = 0
    repeated: int = 0

    @property
    def share(self) -> float:
        """The repeated part, in [0, 1]; higher is cheaper."""
        return self.repeated / self.characters if self.characters else 0.0

    @property
    def fresh_tokens(self) -> float:
        """Tokens a request that no earlier one had, on average."""
        fresh = (self.characters - self.repeated) / CHARACTERS_PER_TOKEN
        return fresh / self.requests if self.requests else 0.0

    def __add__(self, other: Share) -> Share:
        return Share(
            self.requests + other.requests,
            self.characters + other.characters,
            self.repeated + other.repeated,
        )


def lexical_reply(messages: Messages) -> str:
    """Answer chat messages by the embedded model: a real second model behind the protocol."""
    told = [(message["role"], text_of(message["content"])) for message in messages]
    request = Request(
        model=LEXICAL_MODEL,
        system="\n\n".join(text for role, text in told if role in ("system", "developer")),
        messages=tuple(
            Message.assistant([TextPart(text)]) if role == "assistant" else Message.user(text)
            for role, text in told
            if role in ("user", "assistant")
        ),
    )
    return str(LexicalEngine().complete(request).message.text)


def prompt_text(messages: Messages) -> str:
    """Return all text of a request in the order in which a server reads it."""
    return "\n".join(text_of(message["content"]) for message in messages)


def shared_length(one: str, other: str) -> int:
    """Return the length of the longest common prefix, in characters."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def repeated_lengths(texts: Iterable[str]) -> list[int]:
    """Return, for each text, its longest common prefix with any earlier one, in characters."""
    earlier: list[str] = []
    lengths = []
    for text in texts:
        place = bisect.bisect(earlier, text)
        # In sorted order the nearest neighbours share the longest prefix.
        near = earlier[max(0, place - 1) : place + 1]
        lengths.append(max((shared_length(text, other) for other in near), default=0))
        earlier.insert(place, text)
    return lengths


def predictor_of(messages: Messages, program: dspy.Module) -> str:
    """Return the name of the predictor that sent a request, by its instructions."""
    told = text_of(messages[0]["content"])
    for name, predictor in program.named_predictors():
        if predictor.signature.instructions.splitlines()[0] in told:
            return str(name)
    return "unknown"


def shares(requests: Sequence[dict[str, Any]], program: dspy.Module) -> dict[str, Share]:
    """Return the shares by predictor, in the program's order, and `overall`."""
    found = {name: Share() for name, _ in program.named_predictors()}
    texts = [prompt_text(body["messages"]) for body in requests]
    for body, text, repeated in zip(requests, texts, repeated_lengths(texts), strict=True):
        name = predictor_of(body["messages"], program)
        found[name] = found.get(name, Share()) + Share(1, len(text), repeated)
    return found | {OVERALL: sum(found.values(), Share())}


def one_person(questions: int = QUESTIONS, *, seed: int = 1) -> list[dspy.Example]:
    """Return the cases of one synthetic person: so many test targets of a fold by batteries."""
    people = synthesize(8, seed=seed)
    fold = make_fold(load_codebook(), seed=seed)
    sets = (make_cases(people, [index], fold, "test") for index in range(len(people)))
    return next(found[:questions] for found in sets if len(found) >= questions)


def measure(program: dspy.Module, examples: Sequence[dspy.Example]) -> dict[str, Share]:
    """Put the cases to a program through a loopback server and measure what the server got."""
    with LoopbackServer(lexical_reply) as server, ResponseCache().installed():
        lm = make_lm(LMRole(model="openai/test", api_base=server.url), name="task_lm")
        outcomes = answer_cases(program, examples, lm=lm)
        failed = [outcome.reason for outcome in outcomes if outcome.status != "answered"]
        if failed:
            raise RuntimeError(f"{len(failed)} cases failed: {failed[0]}")
        return shares(server.requests, program)


def main(variant: str = "full") -> None:
    """Measure, and print shares and fresh tokens."""
    examples = one_person()
    found = measure(ValueSim(variant), examples)
    facts = len(examples[0].case.profile.facts)
    print(f"{variant}: {len(examples)} questions to one person of {facts} facts")
    print(f"{'predictor':<26}{'requests':>9}{'tokens':>10}{'repeated':>10}{'fresh each':>12}")
    for name, part in found.items():
        tokens = part.characters // CHARACTERS_PER_TOKEN
        print(
            f"{name:<26}{part.requests:>9}{tokens:>10,}{part.share:>10.1%}{part.fresh_tokens:>12,.0f}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:2])
