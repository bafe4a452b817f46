"""The engines: the lexical model, and a scripted one for tests."""

from __future__ import annotations

import contextvars
import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from dspy.lm15 import Message, Request, Response, TextPart, Usage, response_to_events

from valuesim_dspy.lexical.composing import CHARACTERS_PER_TOKEN, compose, compose_plain
from valuesim_dspy.lexical.parsing import Task, read_request, request_text

LEXICAL_MODEL = "offline/lexical-1"
"""The name of the model; its number goes up when its logic changes, since cache keys hold it."""

SCRIPTED_MODEL = "offline/scripted"
"""The name of the scripted model."""

ROLLOUT: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar("rollout", default=())
"""What tells apart two calls that ask the same: set to a new (rollout id, n) around each call.

DSPy keeps rollout ids from engines, and turns n completions into n equal requests. Completions
within one setting of this variable are counted, so that each of the n may differ.
"""

_DRAWN: contextvars.ContextVar[tuple[tuple[Any, ...], int] | None] = contextvars.ContextVar(
    "drawn", default=None
)

Answer = str | Mapping[str, Any]


class ScriptUsedUpError(AssertionError):
    """A scripted engine was asked more often than its script has answers."""


def render(values: Mapping[str, Any], task: Task) -> str:
    """Return field values in the form that a task asks for.

    Args:
        values: Field name to value.
        task: Says the form: one JSON object, or marked sections.
    """
    if task.form == "json":
        return json.dumps(dict(values), ensure_ascii=False, indent=2)
    parts = [f"[[ ## {name} ## ]]\n{_shown(value)}" for name, value in values.items()]
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _respond(request: Request, text: str, asked: str) -> Response:
    """Wrap a reply, with its usage estimated at four characters a token."""
    return Response(
        id=None,
        model=request.model,
        message=Message.assistant([TextPart(text)]),
        finish_reason="stop",
        usage=Usage(
            input_tokens=len(asked) // CHARACTERS_PER_TOKEN + 1,
            output_tokens=len(text) // CHARACTERS_PER_TOKEN + 1,
        ),
    )


def _draw() -> tuple[Any, ...]:
    """Return what tells this completion apart: the rollout, and how many came before in it."""
    rollout = ROLLOUT.get()
    if not rollout:
        return ()
    drawn = _DRAWN.get()
    count = drawn[1] + 1 if drawn is not None and drawn[0] is rollout else 0
    _DRAWN.set((rollout, count))
    return (*rollout, count)


class LexicalEngine:
    """A language model of rules about words, for `dspy.LM(LEXICAL_MODEL, engine=...)`.

    It reads nothing but the request, needs no download, key or network, and knows no prompt
    beforehand. Equal requests get equal replies; above temperature 0 they differ by `ROLLOUT`.
    """

    def complete(self, request: Request) -> Response:
        """Return the reply to one request."""
        prompt, asked = read_request(request), request_text(request)
        vary = prompt.temperature > 0
        told = (prompt.temperature, request.config.seed, *_draw()) if vary else ()
        seed = hashlib.sha256(f"{told}\n{asked}".encode()).digest()
        rng = Random(int.from_bytes(seed[:8], "big"))
        if prompt.task.form == "plain":
            return _respond(request, compose_plain(prompt, rng, vary=vary), asked)
        return _respond(request, render(compose(prompt, rng, vary=vary), prompt.task), asked)

    def stream(self, request: Request) -> Iterator[Any]:
        """Yield the reply as events, all at once."""
        return iter(response_to_events(self.complete(request)))

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class ScriptedEngine:
    """An engine that gives prepared answers, for tests of programs.

    Args:
        answers: Texts as they are, mappings of field name to value, which are rendered in the
            form that the adapter asks for, and exceptions, which are raised; in the order of
            the calls. Or a function from the request to a text or a mapping.

    Attributes:
        requests: The requests that came, in order.
    """

    def __init__(self, answers: Sequence[Answer | Exception] | Callable[[Request], Answer]) -> None:
        self.requests: list[Request] = []
        self._answer = answers if callable(answers) else None
        self._left = deque(() if callable(answers) else answers)

    def complete(self, request: Request) -> Response:
        """Return the next answer.

        Raises:
            ScriptUsedUpError: There is no next answer.
        """
        self.requests.append(request)
        given = self._answer(request) if self._answer is not None else self._next()
        if isinstance(given, Exception):
            raise given
        task = read_request(request).task
        text = given if isinstance(given, str) else render(given, task)
        return _respond(request, text, request_text(request))

    def _next(self) -> Answer | Exception:
        try:
            return self._left.popleft()
        except IndexError:
            calls = len(self.requests)
            raise ScriptUsedUpError(
                f"the script is used up: call {calls} came, and it has {calls - 1} answers; "
                "give more answers, or a function"
            ) from None

    def stream(self, request: Request) -> Iterator[Any]:
        """Yield the next answer as events, all at once."""
        return iter(response_to_events(self.complete(request)))

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class AsyncEngine:
    """The asynchronous counterpart of an engine, for `dspy.LM(..., async_engine=...)`.

    Args:
        engine: The engine that answers; it runs in the process, so nothing is awaited.
    """

    def __init__(self, engine: LexicalEngine | ScriptedEngine) -> None:
        self.engine = engine

    async def complete(self, request: Request) -> Response:
        """Return the reply to one request."""
        return self.engine.complete(request)

    async def stream(self, request: Request) -> Any:
        """Yield the reply as events, all at once."""
        for event in self.engine.stream(request):
            yield event

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""
