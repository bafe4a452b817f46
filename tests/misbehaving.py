"""A loopback model server that misbehaves in every way a real one was seen to.

    with MisbehavingServer(rate=0.3, seed=1) as server:
        lm = make_lm(LMRole(model="openai/test", api_base=server.url, timeout=0.3))

What happens to a request is drawn from the seed, the request's text and how often that text came
before: the same whatever the order in which threads ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from email.utils import formatdate

from loopback import LocalServer, completion
from loopback import Messages as Messages

WORDS = {
    "out of range": "[[ ## analysis ## ]]\nclear\n\n[[ ## answer ## ]]\n99",
    "prose": "Well, it is hard to say what this person would answer, but perhaps the second one.",
    "another language": "Diese Person würde „eher wichtig“ antworten. 難しい質問です。",
    "refusal": "I'm sorry, but I can't help with predicting what a person would answer.",
}
"""Answers that arrive whole and are none."""

WIRE = (
    "429",
    "429 retry-after",
    "429 date",
    "500",
    "503",
    "timeout",
    "cut before",
    "cut in body",
    "empty",
    "truncated",
    "html",
    "large",
    "drip",
    "drip head",
)
"""Replies that are no completion, or never are one whole."""

FAULTS = (*WIRE, *WORDS)
LARGE = 10 * 1024 * 1024
GOOD = "[[ ## analysis ## ]]\nclear\n\n[[ ## answer ## ]]\n2\n\n[[ ## completed ## ]]"


class MisbehavingServer(LocalServer):
    """Answers chat completions, and fails so often.

    Args:
        answer: The text of a good answer, or a status, by the messages.
        rate: The share of requests that meet a fault.
        faults: Which faults there are; each as likely as another.
        seed: Decides which request meets which.
        after: Once so many requests came, all others meet `then`; None for never.
        then: A fault, or "good".
        pace: Seconds between two bytes of a slow drip.

    Attributes:
        seen: What happened, by kind; good answers are "good".
        requests: How many requests came.
    """

    def __init__(
        self,
        answer: Callable[[Messages], str | int] = lambda _: GOOD,
        *,
        rate: float = 1.0,
        faults: Sequence[str] = FAULTS,
        seed: int = 0,
        after: int | None = None,
        then: str = "500",
        pace: float = 0.02,
    ) -> None:
        self._answer, self._rate, self._faults, self._seed = answer, rate, tuple(faults), seed
        self._pace, self._after, self._then = pace, after, then
        self.seen: Counter[str] = Counter()
        self._times: Counter[str] = Counter()
        self.requests = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def _start(self) -> None:
        self._thread.start()
        started = asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self._server = asyncio.run_coroutine_threadsafe(started, self._loop).result(10)
        self.host = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._address = self.host

    def _stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # One more turn, in which the closed connections leave the loop.
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # The client went away, or the server stops.
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection stays open."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        body = await reader.readexactly(length)
        self.requests += 1
        kind = self._kind(body)
        self.seen[kind] += 1
        send = getattr(self, f"_{kind.replace(' ', '_').replace('-', '_')}", None)
        if send is not None:
            await send(writer)
            return False
        asked = json.loads(body)
        said = WORDS.get(kind) or self._answer(asked["messages"])
        if isinstance(said, int):
            await self._reply(writer, str(said), b"")
            return True
        await self._reply(writer, kind, json.dumps(completion(said, asked)).encode())
        return kind != "cut in body"

    def _kind(self, body: bytes) -> str:
        if self._after is not None and self.requests > self._after:
            return self._then
        text = hashlib.sha256(body).hexdigest()
        self._times[text] += 1
        drawn = random.Random(f"{self._seed} {text} {self._times[text]}")
        return drawn.choice(self._faults) if drawn.random() < self._rate else "good"

    async def _reply(self, writer: asyncio.StreamWriter, kind: str, body: bytes) -> None:
        status, content, headers = 200, "application/json", ""
        if kind[:3].isdigit():
            status = int(kind[:3])
            body = json.dumps({"error": {"message": "scripted", "type": "server_error"}}).encode()
            told = {"retry-after": "0.01", "date": formatdate(usegmt=True)}.get(kind[4:])
            headers = f"Retry-After: {told}\r\n" if told else ""
        elif kind == "empty":
            body = b""
        elif kind == "truncated":
            body = body[: len(body) // 2]
        elif kind == "html":
            content, body = "text/html", b"<html><body>Please sign in</body></html>"
        elif kind == "large":
            body = b'{"id": "' + b"x" * LARGE + b'"}'
        length = len(body) * 2 if kind == "cut in body" else len(body)
        start = f"HTTP/1.1 {status} X\r\nContent-Type: {content}\r\nContent-Length: {length}\r\n"
        writer.write(f"{start}{headers}\r\n".encode() + body)
        await writer.drain()

    async def _timeout(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async def _cut_before(self, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def _drip(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        await self._drops(writer)

    async def _drip_head(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        await self._drops(writer)

    async def _drops(self, writer: asyncio.StreamWriter) -> None:
        while not writer.transport.is_closing():
            with contextlib.suppress(ConnectionError):
                writer.write(b"x")
                await writer.drain()
            await asyncio.sleep(self._pace)
