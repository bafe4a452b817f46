"""A chat-completions server on loopback in a process of its own, for `benchmarks/simulate.py`.

Raw HTTP/1.1 with connections kept alive, in one thread: what it costs is not the client's. Replies
are of the form of the program's predictors; in a known share of cases one perspective disagrees,
so that the coordinator is asked.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

ODD_READER = "what they do"
"""Words of the one perspective that disagrees."""

ODD_ONE_IN = 10
"""It disagrees on one case in so many."""

CHARACTERS_PER_TOKEN = 4
STATS = "/stats"
STORY = b"[[ ## backstory ## ]]"

_CODE = re.compile(r"^(-?\d+): ", re.MULTILINE)
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass
class Seen:
    """What the server saw: requests answered, the most under way at once, connections made."""

    requests: int = 0
    under_way: int = 0
    peak: int = 0
    connections: int = 0


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        port: Its port.
        latency: How long it waits before it answers, in seconds.
        story: How long it waits before it tells a backstory, in seconds.
    """

    port: int
    latency: float
    story: float

    @property
    def url(self) -> str:
        """The base address for clients."""
        return f"http://127.0.0.1:{self.port}/v1"

    def seen(self) -> Seen:
        """Return what it saw so far, this question left out."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        link.request("GET", STATS)
        told = json.loads(link.getresponse().read())
        link.close()
        return Seen(**told)


@contextmanager
def serving(latency: float, story: float | None = None) -> Iterator[Server]:
    """Start a server in a process of its own; it ends with the block.

    Args:
        latency: Seconds until it answers.
        story: Seconds until it tells a backstory, which is long; the same by default.
    """
    story = latency if story is None else story
    command = [sys.executable, __file__, str(latency), str(story)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()), latency, story)
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def answer_text(messages: list[dict[str, Any]]) -> str:
    """Return the reply to a prompt: a backstory, or an option of the last question in it."""
    told = str(messages[-1]["content"])
    if "[[ ## options ## ]]" not in told:
        if "[[ ## facts ## ]]" not in told:
            return "ok"
        return "[[ ## backstory ## ]]\nYou live by the sea and care for your family.\n\n" + _END
    options = told.rpartition("[[ ## options ## ]]")[2].partition("[[ ##")[0]
    codes = _CODE.findall(options)
    odd = ODD_READER in str(messages[0]["content"]) and disagrees(told)
    code = codes[-1] if odd else codes[0]
    return f"[[ ## analysis ## ]]\nThe facts point there.\n\n[[ ## answer ## ]]\n{code}\n\n" + _END


_END = "[[ ## completed ## ]]"


def disagrees(told: str) -> bool:
    """Whether the odd reader disagrees on a case: the same for equal prompts."""
    return zlib.crc32(told.encode()) % ODD_ONE_IN == 0


def completion(body: bytes) -> bytes:
    """Return the reply to a request, both as JSON."""
    messages = json.loads(body)["messages"]
    text = answer_text(messages)
    read = sum(len(str(message["content"])) for message in messages) // CHARACTERS_PER_TOKEN
    written = len(text) // CHARACTERS_PER_TOKEN
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    made = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "test",
        "choices": [{**choice, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        },
    }
    return json.dumps(made).encode()


class _Link(asyncio.Protocol):
    """One connection: a request at a time, answered so long after its last byte came.

    Replies are made while they wait: of requests that come together none waits for another's.
    """

    def __init__(self, seen: Seen, latency: float, story: float) -> None:
        self._seen, self._latency, self._story = seen, latency, story
        self._loop, self._came = asyncio.get_running_loop(), bytearray()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._seen.connections += 1

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, found, rest = self._came.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or len(rest) < (int(length[1]) if length else 0):
            return
        came, self._came = self._loop.time(), bytearray()
        if STATS.encode() in head.split(b"\r\n", 1)[0]:
            self._seen.connections -= 1
            self._write(json.dumps(vars(self._seen)).encode())
            return
        self._seen.requests += 1
        self._seen.under_way += 1
        self._seen.peak = max(self._seen.peak, self._seen.under_way)
        self._loop.call_soon(self._prepare, bytes(rest), came)

    def _prepare(self, body: bytes, came: float) -> None:
        reply = completion(body)
        wait = self._story if STORY in reply else self._latency
        self._loop.call_at(came + wait, self._answer, reply)

    def _answer(self, reply: bytes) -> None:
        self._seen.under_way -= 1
        self._write(reply)

    def _write(self, reply: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % len(reply) + reply)


async def _serve(latency: float, story: float) -> None:
    seen = Seen()

    def link() -> _Link:
        return _Link(seen, latency, story)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(link, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]), float(sys.argv[2])))
