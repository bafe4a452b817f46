"""Reading replies: of what a reply says, that which the model answers and not what it quotes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, cast

import dspy
from dspy.utils.exceptions import AdapterParseError

_HEADER = re.compile(r"\[\[ ## (\w+) ## \]\]")
_NAMED = re.compile(r"\"answer\"\s*:|(?i:^\W*answer\W*:)", re.MULTILINE)
_INTEGER = re.compile(r"(?<![\w.,-])-?\d+(?![\w,]|\.\d)")

Signature = type[dspy.Signature]


class ReplyAdapter(dspy.ChatAdapter):
    """DSPy's chat adapter, save that a field that a reply has twice is not read the first time.

    Its own reading takes the first, so that a marker quoted in an analysis would answer in place
    of the model. Without the silent second call through JSON, so that calls are known.
    """

    def __init__(self) -> None:
        super().__init__(use_json_adapter_fallback=False)

    def parse(self, signature: Signature, completion: str) -> dict[str, Any]:
        """Return the output fields.

        Raises:
            AdapterParseError: They are not there, do not fit, or cannot be told from quotations.
        """
        fields: dict[str, Any] = super().parse(signature, settled(completion, signature))
        return fields

    def format_system_message(self, signature: Signature) -> str:
        """Return what the signature says; see `dspy.ChatAdapter`."""
        return _fixed(cast(Any, signature), signature.instructions)[0]

    def format_user_message_content(
        self,
        signature: Signature,
        inputs: dict[str, Any],
        prefix: str = "",
        suffix: str = "",
        main_request: bool = False,
    ) -> str:
        """Return the inputs; see `dspy.ChatAdapter`."""
        if any(type(value) is not str for value in inputs.values()):
            written: str = super().format_user_message_content(
                signature, inputs, prefix, suffix, main_request
            )
            return written
        given = [name for name in signature.input_fields if name in inputs]
        parts = [prefix, *(f"[[ ## {name} ## ]]\n{inputs[name]}" for name in given)]
        if main_request:
            parts.append(_fixed(cast(Any, signature), signature.instructions)[1])
        return "\n\n".join([*parts, suffix]).strip()


@lru_cache(maxsize=256)
def _fixed(signature: Any, instructions: str) -> tuple[str, str]:
    """Return the system message and the reminder of the outputs; instructions may be replaced."""
    plain = dspy.ChatAdapter()
    return (
        plain.format_system_message(signature),
        plain.user_message_output_requirements(signature),
    )


@lru_cache(maxsize=1)
def chat_adapter() -> ReplyAdapter:
    """Return the adapter that is used where none is configured."""
    return ReplyAdapter()


def settled(reply: str, signature: Signature) -> str:
    """Return a reply in which each output field stands once; as it is where it does already.

    The last field is the one that decides: it is reasoned before, and whatever stands earlier
    was said on the way. A reply that goes on after its end, as if asked again, is no help.

    Raises:
        AdapterParseError: It goes on after its end, and with another answer.
    """
    names = list(signature.output_fields)
    found = _sections(reply)
    heads = [name for name, _ in found]
    places = [at for at, name in enumerate(heads) if name == names[-1]]
    if len(names) == 1 and signature.output_fields[names[0]].annotation is str:
        return reply
    ended = heads.index("completed") if "completed" in heads else len(heads)
    if len({found[at][1] for at in places}) < 2 and not (len(places) == 1 and ended < places[0]):
        return reply
    again = {*signature.input_fields, *names[:-1]}
    if any(name in again for name in heads[ended:]):
        raise AdapterParseError(adapter_name="ReplyAdapter", signature=signature, lm_response=reply)
    answer, before = found[places[-1]][1], [text for _, text in found[: places[-1]] if text]
    parts = [f"[[ ## {names[0]} ## ]]", *before] if len(names) > 1 else []
    return "\n".join([*parts, f"[[ ## {names[-1]} ## ]]", answer])


def _sections(reply: str) -> list[tuple[str | None, str]]:
    """Split a reply as DSPy's adapter does: a header stands at the beginning of a line."""
    found: list[tuple[str | None, list[str]]] = [(None, [])]
    for line in reply.splitlines():
        if header := _HEADER.match(line.strip()):
            found.append((header[1], [line.strip()[header.end() :].strip()]))
        else:
            found[-1][1].append(line)
    return [(name, "\n".join(lines).strip()) for name, lines in found]


def field_of(reply: str, name: str) -> str:
    """Return what a reply that could not be parsed says in a field, as it stands last.

    A reply without any field is returned whole: it may hold nothing else.
    """
    found = _sections(reply)
    if all(head is None for head, _ in found):
        return reply
    return next((text for head, text in reversed(found) if head == name), "")


def salvaged(reply: str, codes: tuple[int, ...], signature: Signature) -> dspy.Prediction | None:
    """Read a reply that names exactly one option in its answer field, such as "Option 2".

    Args:
        reply: What could not be parsed.
        codes: The codes of the question's options.
        signature: What was asked for; its output fields are `answer` and perhaps `analysis`.
    """
    try:
        analysis, tail = _last_answer(settled(reply, signature))
    except AdapterParseError:
        return None
    named = {int(text) for text in _INTEGER.findall(tail)}
    if len(named) != 1 or not named <= set(codes):
        return None
    if "analysis" not in signature.output_fields:
        return dspy.Prediction(answer=named.pop())
    return dspy.Prediction(analysis=analysis, answer=named.pop())


def _last_answer(reply: str) -> tuple[str, str]:
    """Return what stands before the answer, and the answer; "" twice where there is none."""
    found = _sections(reply)
    places = [at for at, (name, _) in enumerate(found) if name == "answer"]
    if places:
        before = "\n".join(text for _, text in found[: places[-1]] if text)
        return before, found[places[-1]][1].split("[[ ##")[0]
    named = list(_NAMED.finditer(reply))
    if not named:
        return "", ""
    answer, _, rest = reply[named[-1].end() :].strip().partition("\n")
    # More words behind it: it was no answer, or it was not the end of what there is to say.
    rest = _HEADER.sub("", rest)
    quoted = any(name is not None for name, _ in found) and named[-1][0].startswith('"')
    if quoted or re.search(r"\w", rest):
        return "", ""
    return _HEADER.sub("", reply[: named[-1].start()]).strip(), answer.split("[[ ##")[0]
