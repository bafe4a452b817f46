"""Language models for tests: one that asks a loopback server, one with an engine of the test."""

from __future__ import annotations

from typing import Any

from dspy.lm15 import Message, Request, Response, TextPart
from dspy.lm15 import Usage as EngineUsage
from loopback import LoopbackServer

from valuesim_dspy.config import LMRole
from valuesim_dspy.lm import MeteredLM, make_lm


class Echo:
    """An engine that answers with its last message and counts how often it is asked."""

    def __init__(self, *, usage: bool = True) -> None:
        self.asked = 0
        self.usage = usage

    def complete(self, request: Request) -> Response:
        """Return the last message."""
        self.asked += 1
        text = request.messages[-1].parts[0].text
        usage = EngineUsage(input_tokens=10, output_tokens=2) if self.usage else EngineUsage()
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant([TextPart(text)]),
            finish_reason="stop",
            usage=usage,
        )


def remote(server: LoopbackServer, **settings: Any) -> MeteredLM:
    """Make an LM that asks a loopback server."""
    meter = settings.pop("meter", None)
    role = LMRole(**{"model": "openai/test", "api_base": server.url, "num_retries": 0, **settings})
    return make_lm(role, name="task_lm", meter=meter)


def scripted(engine: Any, **settings: Any) -> MeteredLM:
    """Make an LM with an engine of a test."""
    role = LMRole(model="offline/scripted", **settings)
    return make_lm(role, name="task_lm", engine=engine)
