"""Connections to an endpoint that end: a time and a size that no reply goes beyond.

DSPy's own client waits so long for the next byte, for as many bytes as there are. What goes
through LiteLLM does so still: there the time limit is that of connecting and of each read, a slow
drip goes on, a reply of any size is read, and ``retry-after`` is not seen.
"""

from __future__ import annotations

import asyncio
import select
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dspy._vendor.lm15.transports import (
    ReadError,
    ReadTimeout,
    StdlibAsyncTransport,
    StdlibTransport,
)
from dspy._vendor.lm15.transports._sync import _SyncConnection

from valuesim_dspy.callscope import current_call

LATE = "no whole answer within"

SECONDS = 120.0
REPLY = 4 * 1024 * 1024
"""The most bytes of one reply, its head included; a thousand tokens are about four thousand."""


class BoundedTransport(StdlibTransport):
    """DSPy's HTTP client with a time limit for the whole attempt and a size limit for the reply.

    The call under way may bring a shorter time (`CallScope.seconds`). What goes beyond ends as an
    error of the transport, and its connection is closed.

    Args:
        seconds: The most time one attempt takes, from the connection to the last byte.
        size: The most bytes of a reply.
        known: What `StdlibTransport` takes.
    """

    def __init__(self, *, seconds: float = SECONDS, size: int = REPLY, **known: Any) -> None:
        timeouts = {
            "connect_timeout": min(10.0, seconds),
            "read_timeout": seconds,
            "write_timeout": seconds,
        }
        super().__init__(**{**timeouts, **known})
        self._seconds, self._size = seconds, size
        self._attempt = threading.local()

    def stream(self, request: Any) -> Any:
        """Send a request; its time starts now."""
        self._attempt.seconds = allowed(self._seconds)
        self._attempt.due = time.monotonic() + self._attempt.seconds
        return super().stream(request)

    def _open(self, *args: Any, **known: Any) -> Any:
        opened = super()._open(*args, **known)
        return _Connection(opened.origin, _BoundedSocket(opened.sock, self._size))

    def _send_request(self, conn: Any, *args: Any, **known: Any) -> None:
        conn.sock.begin(self._attempt.due, self._attempt.seconds)
        super()._send_request(conn, *args, **known)


class _Connection(_SyncConnection):
    """A connection that can be used again also where a thousand files are open."""

    __slots__ = ()

    def is_stale(self) -> bool:
        # DSPy's client asks select(), which knows the first 1024 files only.
        if self.closed or not hasattr(select, "poll"):
            return bool(super().is_stale())
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))


class _BoundedSocket:
    """What the client uses of a socket."""

    def __init__(self, sock: socket.socket, size: int) -> None:
        self._sock, self._size = sock, size
        self._due, self._seconds, self._read = 0.0, 0.0, 0
        self.fileno, self.close = sock.fileno, sock.close

    def begin(self, due: float, seconds: float) -> None:
        self._due, self._seconds, self._read = due, seconds, 0

    def settimeout(self, seconds: float) -> None:
        self._sock.settimeout(max(0.001, min(seconds, self._due - time.monotonic())))

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(data)

    def recv(self, size: int) -> bytes:
        left = self._due - time.monotonic()
        if left <= 0:
            raise ReadTimeout(late(self._seconds))
        self._sock.settimeout(left)
        try:
            data = self._sock.recv(size)
        except TimeoutError as error:
            raise ReadTimeout(late(self._seconds)) from error
        self._read += len(data)
        if self._read > self._size:
            raise ReadError(large(self._size))
        return data


class BoundedAsyncTransport(StdlibAsyncTransport):
    """The same size limit on an event loop; its time limit is `within`.

    Args:
        size: The most bytes of a reply.
        known: What `StdlibAsyncTransport` takes.
    """

    def __init__(self, *, size: int = REPLY, **known: Any) -> None:
        super().__init__(**known)
        self._size = size

    async def _open(self, *args: Any, **known: Any) -> Any:
        connection = await super()._open(*args, **known)
        connection.reader = _BoundedReader(connection.reader, self._size)
        return connection

    async def _send_request(self, conn: Any, *args: Any, **known: Any) -> None:
        conn.reader.begin()
        await super()._send_request(conn, *args, **known)


class _BoundedReader:
    def __init__(self, reader: asyncio.StreamReader, size: int) -> None:
        self._reader, self._size, self._read = reader, size, 0

    def begin(self) -> None:
        self._read = 0

    async def read(self, size: int) -> bytes:
        data = await self._reader.read(size)
        self._read += len(data)
        if self._read > self._size:
            raise ReadError(large(self._size))
        return data


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """End an awaited attempt after so many seconds.

    Raises:
        ReadTimeout: It took longer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise ReadTimeout(late(seconds)) from error


def allowed(seconds: float) -> float:
    """Return the seconds the call under way may take in one attempt."""
    scope = current_call()
    return scope.seconds if scope is not None and scope.seconds is not None else seconds


def late(seconds: float) -> str:
    """Say that an attempt took too long."""
    return f"{LATE} {seconds:g} s; give a longer timeout if the model needs it"


def large(size: int) -> str:
    """Say that a reply is too large to be an answer."""
    return f"the reply is larger than {size // 1024} KB, which no answer is"
