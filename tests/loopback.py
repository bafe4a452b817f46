"""A small loopback server that speaks the chat-completions protocol, scripted by tests.

    with LoopbackServer(answer="hello") as server:
        lm = make_lm(LMRole(model="openai/test", api_base=server.url), name="task_lm")

Nothing here sleeps: a test that needs requests to overlap holds them with an event.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Messages = list[dict[str, Any]]


class LocalServer:
    """A model server on this machine, for as long as a `with` block lasts.

    Attributes:
        host: Host and port.
    """

    host: str

    @property
    def url(self) -> str:
        """The base address for clients."""
        return f"http://{self.host}/v1"

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Reply:
    """One reply as it goes over the wire.

    Attributes:
        status: The HTTP status.
        body: Text for an answer (at 200) or an error's message; bytes are sent as they are.
        headers: Additional headers.
        delay: Seconds the server waits first; the wait ends when the server stops.
    """

    status: int = 200
    body: str | bytes = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


Scripted = Reply | int | str | bytes
"""A reply, a status with an error body, the text of an answer, or a garbage body."""


class LoopbackServer(LocalServer):
    """Answers chat completions and embeddings at ``url`` and records what came.

    Args:
        answer: The text of every answer, or a function from the messages to it; a function may
            also return a `Reply`, a status or bytes.
        script: Replies used up one by one before ``answer`` is asked.
        embed: The vector of a text.
        usage: Whether answers report their tokens (four characters each).
        key: The key asked for; others get 401. None takes any.
        model: The only model known; others get 404. None takes any.

    Attributes:
        requests: The bodies of the requests, in order of arrival.
        paths: Their paths.
        keys: The keys they carried, "" for none.
        peak: The most requests that were under way at once.
        hold: Requests wait until it is set; it is set from the start.
    """

    def __init__(
        self,
        answer: str | Callable[[Messages], Scripted] = "ok",
        *,
        script: Iterable[Scripted] = (),
        embed: Callable[[str], list[float]] = lambda text: [float(len(text)), 1.0],
        usage: bool = True,
        key: str | None = None,
        model: str | None = None,
    ) -> None:
        self._answer, self._script, self._embed = answer, deque(script), embed
        self._usage, self._key, self._model = usage, key, model
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str] = []
        self.peak = 0
        self.hold = threading.Event()
        self.hold.set()
        self._under_way = 0
        self._lock = threading.Condition()
        self._stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def _start(self) -> None:
        self._thread.start()

    def _stop(self) -> None:
        self._stopped.set()
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait_for(self, count: int, timeout: float = 30.0) -> bool:
        """Wait until so many requests have come; False when they did not."""
        with self._lock:
            return self._lock.wait_for(lambda: len(self.requests) >= count, timeout)

    def serve(self, path: str, body: dict[str, Any], key: str) -> Reply:
        """Record a request and return the reply to it."""
        with self._lock:
            self.requests.append(body)
            self.paths.append(path)
            self.keys.append(key)
            self._under_way += 1
            self.peak = max(self.peak, self._under_way)
            self._lock.notify_all()
        try:
            self.hold.wait()
            reply = self._reply(path, body, key)
            if reply.delay:
                self._stopped.wait(reply.delay)
            return reply
        finally:
            with self._lock:
                self._under_way -= 1

    def _reply(self, path: str, body: dict[str, Any], key: str) -> Reply:
        if self._key is not None and key != self._key:
            return _error(401, f"Incorrect API key provided: {key}")
        if self._model is not None and body.get("model") != self._model:
            return _error(404, f"The model {body.get('model')} does not exist", "model_not_found")
        if path.endswith("/embeddings"):
            return _json(200, self._embeddings(body))
        if not path.endswith("/chat/completions"):
            return _error(404, f"there is nothing at {path}")
        with self._lock:
            scripted = self._script.popleft() if self._script else None
        if scripted is None:
            answer = self._answer
            scripted = answer if isinstance(answer, str) else answer(body["messages"])
        return self._chat(scripted, body)

    def _chat(self, scripted: Scripted, body: dict[str, Any]) -> Reply:
        if isinstance(scripted, int):
            return _error(scripted, f"scripted status {scripted}")
        if isinstance(scripted, bytes):
            return Reply(body=scripted)
        reply = scripted if isinstance(scripted, Reply) else Reply(body=scripted)
        if isinstance(reply.body, bytes):
            return reply
        made = (
            _json(200, completion(reply.body, body, usage=self._usage))
            if reply.status == 200
            else _error(reply.status, reply.body)
        )
        return Reply(reply.status, made.body, {**made.headers, **reply.headers}, reply.delay)

    def _embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [
            {"object": "embedding", "index": index, "embedding": self._embed(text)}
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return {"object": "list", "data": data, "model": body.get("model"), "usage": usage}


def completion(text: str, asked: dict[str, Any], *, usage: bool = True) -> dict[str, Any]:
    """Return the body of a whole answer, which counts four characters a token.

    Args:
        text: What is answered, in each of the choices asked for.
        asked: The body of the request.
        usage: Whether it reports its tokens.
    """
    count = asked.get("n") or 1
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if asked.get("logprobs"):
        token = {"token": text, "logprob": -0.5, "bytes": None, "top_logprobs": []}
        choice["logprobs"] = {"content": [token]}
    made: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": asked.get("model", "test"),
        "choices": [{"index": index, **choice} for index in range(count)],
    }
    if usage:
        prompt = sum(len(str(message["content"])) for message in asked["messages"]) // 4 + 1
        answer = count * (len(text) // 4 + 1)
        made["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
        }
    return made


def _json(status: int, value: dict[str, Any]) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _error(status: int, message: str, code: str | None = None) -> Reply:
    kind = {401: "authentication_error", 404: "invalid_request_error", 429: "rate_limit_error"}
    error = {"message": message, "type": kind.get(status, "server_error"), "code": code}
    made = _json(status, {"error": error})
    # Clients wait as long as they are told: not at all.
    headers = {**made.headers, "Retry-After": "0"}
    return Reply(status, made.body, headers)


def _handler(owner: LoopbackServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each reply waits 40 ms for an acknowledgement

        def do_POST(self) -> None:
            """Answer one request."""
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            reply = owner.serve(self.path, json.loads(raw), key)
            body = reply.body if isinstance(reply.body, bytes) else reply.body.encode()
            try:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # The client did not wait.

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
