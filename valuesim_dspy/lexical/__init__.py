"""The embedded language model: it runs in the process and reads nothing but the request.

`dspy.LM(LEXICAL_MODEL, engine=LexicalEngine(), async_engine=AsyncEngine(LexicalEngine()))`
answers whatever fields an adapter asks for, from the words of the prompt. `ScriptedEngine` gives
prepared answers, for tests.
"""

from valuesim_dspy.lexical.engine import (
    LEXICAL_MODEL,
    ROLLOUT,
    SCRIPTED_MODEL,
    AsyncEngine,
    LexicalEngine,
    ScriptedEngine,
    ScriptUsedUpError,
)

__all__ = [
    "LEXICAL_MODEL",
    "ROLLOUT",
    "SCRIPTED_MODEL",
    "AsyncEngine",
    "LexicalEngine",
    "ScriptUsedUpError",
    "ScriptedEngine",
]
