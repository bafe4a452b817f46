"""Two other ways to ask the same, for `benchmarks/simulate.py` to stand beside."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import dspy

from benchmarks.simulate_server import Server
from valuesim_dspy.case import Case
from valuesim_dspy.program import ValueSim
from valuesim_dspy.variants import CAPS

PAUSE = 0.2
"""Seconds that the published kind sleeps for each call it submits."""

ANSWER = "[[ ## answer ## ]]\n"


@contextmanager
def plain_lm(server: Server) -> Iterator[dspy.LM]:
    """Yield DSPy's own LM, with DSPy's own cache in memory in force."""
    before = vars(dspy).get("cache")
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    lm = dspy.LM("openai/test", api_base=server.url, api_key="none")
    # A panel asks one perspective after another where it is told that threads do not help.
    lm.in_process = True
    try:
        yield lm
    finally:
        vars(dspy).pop("cache")
        if before is not None:
            dspy.cache = before


def evaluated(server: Server, cases: Sequence[dspy.Example], *, threads: int) -> Counter[str]:
    """Answer cases by plain `dspy.Evaluate`: threads over cases, sequential inside."""

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        return float(prediction.answer == example.answer)

    run = dspy.Evaluate(
        devset=list(cases), metric=metric, num_threads=threads, max_errors=len(cases)
    )
    with plain_lm(server) as lm, dspy.context(lm=lm, disable_history=True):
        found = run(ValueSim("full")).results
    return Counter(
        "answered" if prediction.get("status") == "answered" else "failed"
        for _, prediction, _ in found
    )


def pooled(server: Server, cases: Sequence[dspy.Example], *, threads: int) -> Counter[str]:
    """Answer cases as a plain pool does: a client for each call, and a sleep for each.

    Calls of a case are submitted one after another, all without a cache: three readings, and a
    decision where they differ. Only the backstory is written once.
    """
    stories: dict[str, str] = {}
    with ThreadPoolExecutor(threads) as pool:

        def submitted(case: Case, told: str) -> Future[str]:
            future = pool.submit(_ask, server, _prompt(case, stories[case.profile.key], told))
            time.sleep(PAUSE)
            return future

        for example in cases:
            profile = example.case.profile
            if profile.key not in stories:
                facts = f"[[ ## facts ## ]]\n{profile.facts_text}"
                stories[profile.key] = pool.submit(_ask, server, facts).result()
                time.sleep(PAUSE)
        read = [[submitted(one.case, name) for name in CAPS] for one in cases]
        views = [[future.result() for future in waiting] for waiting in read]
        decided = [
            submitted(one.case, "\n".join(told)) if len(set(told)) > 1 else None
            for one, told in zip(cases, views, strict=True)
        ]
        replies = [
            told[0] if future is None else future.result()
            for told, future in zip(views, decided, strict=True)
        ]
    return Counter("answered" if ANSWER in reply else "failed" for reply in replies)


def _prompt(case: Case, story: str, told: str) -> str:
    inputs = {**case.inputs(), "backstory": story, "told": told}
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in inputs.items())


def body_of(prompt: str) -> bytes:
    """Return a request of the chat-completions protocol."""
    message = {"role": "user", "content": prompt}
    return json.dumps({"model": "test", "messages": [message]}).encode()


def post(link: http.client.HTTPConnection, body: bytes) -> str:
    """Send a request over a connection, and return the reply's text."""
    link.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    told = json.loads(link.getresponse().read())
    return str(told["choices"][0]["message"]["content"])


def _ask(server: Server, prompt: str) -> str:
    link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        return post(link, body_of(prompt))
    finally:
        link.close()
