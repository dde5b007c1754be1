"""A provider on loopback that speaks OpenAI's protocol, keeps every byte that it gets, and misbehaves as it is told.

    with recording_provider("Leave lasts 26 weeks.", script=["error", "ok"]) as provider:
        ...                                 # call provider.url
        assert provider.bodies[0] == ...    # the raw bytes of each request
        assert provider.landed == {"error": 1, "ok": 1}

A fault counts as landed when the provider acts on it, so that a test can tell that it happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from domicile.domain import Sensitivity
from domicile.policy import Price, Sink

Fault = Literal[
    "ok",  # the answer, a word an event, and its usage
    "whole",  # one JSON object, although a stream was asked for
    "hang",  # nothing ever comes
    "slow_headers",  # a byte of the headers now and then
    "trickle",  # headers, and then a byte now and then
    "stall",  # a piece of the answer, and then nothing
    "busy",  # 429
    "busy_now",  # 429, come back at once
    "busy_long",  # 429, come back in a minute
    "error",  # 500
    "rejected",  # 400, with the request in the error
    "unauthorized",  # 401, with the key in the error
    "reset",  # before the headers
    "reset_midway",  # after a piece of the answer
    "cut",  # the stream ends in the middle of the answer as if all were well
    "redirect",  # 307 to ``provider.elsewhere``
    "html",  # 200 with a page
    "no_choice",  # events without any choice
    "empty",  # a choice without a word
    "huge",  # one word of 10 MB
    "garbage",  # events that are no JSON
    "failing",  # an error as an event, after a piece of the answer
    "no_usage",
    "wrong_usage",  # of other types, and negative
    "huge_usage",
    "split",  # a byte at a time, so that no character and no event comes in one piece
    "compressed",  # gzip, unasked
]
Answer = str | Callable[["Received"], str]
Script = Sequence[Fault] | Callable[[int, "Received"], Fault]
_TRICKLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came over the wire."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass(slots=True)
class RecordingProvider:
    """What was received, connected and done so far.

    Attributes:
        script: the fault of each request in turn, the last one for all that follow; or a function of number and request.
        received: in the order of arrival, each before it is answered.
        connections: that were accepted.
        left: connections that the other side closed while a fault kept it waiting.
        elsewhere: where redirects lead.
    """

    answer: Answer
    script: Script
    scheme: str = "http"
    port: int = 0
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    landed: Counter[str] = field(default_factory=Counter)
    left: int = 0
    elsewhere: str = "http://127.0.0.1:9/v1/chat/completions"
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/v1"

    @property
    def bodies(self) -> list[bytes]:
        return [received.body for received in self.received]

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError, ssl.SSLError):
            while (received := await _request(reader)) is not None:
                self.received.append(received)
                if not await self._answered(received, reader, writer):
                    break
        writer.close()
        with contextlib.suppress(ConnectionError, TimeoutError, ssl.SSLError):
            await writer.wait_closed()

    async def _answered(self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer; whether the connection can be used again."""
        fault = self._fault(received)
        self.landed[fault] += 1  # before the other side can tell
        if fault in _STATUS:
            status, extra = _STATUS[fault]
            heading = f"{extra}Location: {self.elsewhere}\r\n" if fault == "redirect" else extra
            echo = received.headers.get("authorization", "") + received.body.decode()
            writer.write(_response(status, heading, json.dumps({"error": {"message": echo}}).encode()))
        elif fault in ("hang", "reset"):
            await self._held(fault, reader, writer)
            return False
        else:
            return await self._said(fault, received, reader, writer)
        await writer.drain()
        return True

    async def _held(self, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if fault == "reset":
            _reset(writer)
            return
        await self._until_left(reader)

    async def _said(
        self, fault: Fault, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        text = self.answer if isinstance(self.answer, str) else self.answer(received)
        asked = received.json
        usage = _usage(fault, asked, text)
        if fault == "html":
            writer.write(_response("200 OK", "", b"<html><body>Welcome</body></html>", "text/html"))
        elif fault == "compressed":
            body = gzip.compress(b"".join(_events(text, usage)))
            writer.write(_response("200 OK", "Content-Encoding: gzip\r\n", body, "text/event-stream"))
        elif fault == "whole" or not asked.get("stream"):
            writer.write(_response("200 OK", "", json.dumps(_whole(text, usage)).encode()))
        elif fault == "slow_headers":
            async with self._leaving():
                await _slowly(writer, b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000)
        else:
            return await self._streamed(fault, text, usage, reader, writer)
        await writer.drain()
        return True

    async def _streamed(
        self,
        fault: Fault,
        text: str,
        usage: dict[str, Any] | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        writer.write(_HEAD)
        events = list(_events(text, usage))
        if fault == "trickle":
            async with self._leaving():
                await _slowly(writer, b"".join(map(_chunk, [b": wait\n\n"] * 10_000)))
        elif fault in ("stall", "reset_midway", "cut"):
            writer.write(_chunk(events[0]) + _chunk(events[1]))
            await writer.drain()
            if fault == "stall":
                await self._until_left(reader)
                return False
            if fault == "reset_midway":
                await asyncio.sleep(0.05)  # a reset overtakes what the other side has not read yet
                _reset(writer)
                return False
            writer.write(_chunk(b""))
        elif fault == "split":
            for byte in b"".join(events):
                writer.write(_chunk(bytes([byte])))
            writer.write(_chunk(b""))
        else:
            writer.write(b"".join(map(_chunk, _EVENTS.get(fault, lambda normal: normal)(events))) + _chunk(b""))
        await writer.drain()
        return True

    @asynccontextmanager
    async def _leaving(self) -> AsyncIterator[None]:
        """Notice that the other side closes while it is being written to."""
        try:
            yield
        except ConnectionError:
            self.left += 1
            raise

    async def _until_left(self, reader: asyncio.StreamReader) -> None:
        """Wait until the other side closes, or the test ends."""
        closed = asyncio.ensure_future(reader.read(1))
        ended = asyncio.ensure_future(self.stopping.wait())
        done, waiting = await asyncio.wait({closed, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        if closed in done:
            self.left += 1
            closed.exception()

    def _fault(self, received: Received) -> Fault:
        number = len(self.received) - 1
        fault = (
            self.script(number, received) if callable(self.script) else self.script[min(number, len(self.script) - 1)]
        )
        assert fault in get_args(Fault), fault
        return fault


def declared(url: str, name: str = "acme-eu", model: str = "openai/gpt-x") -> Sink:
    """What an organisation might declare about it."""
    eu = frozenset({"de"})
    return Sink(
        name, "llm", model, url, eu, eu, 0, False, False, Sensitivity.INTERNAL, frozenset(), frozenset({"answer"}),
        price=Price(0.15, 0.60),
    )  # fmt: skip


@contextmanager
def recording_provider(
    answer: Answer = "Leave lasts 26 weeks [1].", script: Script = ("ok",), tls: ssl.SSLContext | None = None
) -> Iterator[RecordingProvider]:
    """Serve on a free port of 127.0.0.1 until the block ends."""
    provider = RecordingProvider(answer, script, "http" if tls is None else "https")
    listening = socket.socket(proto=socket.IPPROTO_TCP)  # by which asyncio knows that it may switch Nagle's wait off
    listening.bind(("127.0.0.1", 0))
    listening.listen(256)
    provider.port = listening.getsockname()[1]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(_serve(provider, listening, tls),))
    thread.start()
    try:
        yield provider
    finally:
        loop.call_soon_threadsafe(provider.stopping.set)
        thread.join(10)
        loop.close()


async def _serve(provider: RecordingProvider, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
    open_now: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now[writer] = asyncio.current_task()
        try:
            await provider.connected(reader, writer)
        finally:
            del open_now[writer]

    server = await asyncio.start_server(connected, sock=listening, ssl=tls, limit=1 << 22)
    await provider.stopping.wait()
    server.close()
    for writer in open_now:
        writer.transport.abort()
    await asyncio.gather(*filter(None, open_now.values()))


async def _request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    line, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(line.split(" ")[1], headers, body)


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_STATUS: dict[str, tuple[str, str]] = {
    "busy": ("429 Too Many Requests", ""),
    "busy_now": ("429 Too Many Requests", "Retry-After: 0\r\n"),
    "busy_long": ("429 Too Many Requests", "Retry-After: 60\r\n"),
    "error": ("500 Internal Server Error", ""),
    "rejected": ("400 Bad Request", ""),
    "unauthorized": ("401 Unauthorized", ""),
    "redirect": ("307 Temporary Redirect", ""),
}


def _event(data: dict[str, Any] | str) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def _part(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x", "choices": [choice]}


def _events(text: str, usage: dict[str, Any] | None) -> Iterator[bytes]:
    for number, word in enumerate(_words(text)):
        yield _event(_part({"role": "assistant", "content": word} if number == 0 else {"content": word}))
    yield _event(_part({}, "stop"))
    if usage is not None:
        yield _event(_part({}) | {"choices": [], "usage": usage})
    yield _event("[DONE]")


_EVENTS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "no_choice": lambda events: [_event(_part({}) | {"choices": []}), events[-1]],
    "empty": lambda events: [
        _event(_part({"role": "assistant", "content": ""})),
        _event(_part({}, "stop")),
        events[-1],
    ],
    "huge": lambda events: [_event(_part({"content": "x" * 10_000_000})), *events],
    "garbage": lambda events: [events[0], b'data: {"choices": [{\n\n', events[-1]],
    "failing": lambda events: [events[0], _event({"error": {"message": "out of memory", "code": 500}})],
}


def _usage(fault: Fault, asked: dict[str, Any], text: str) -> dict[str, Any] | None:
    prompt = sum(len(str(message["content"]).split()) for message in asked.get("messages", []))
    if fault == "no_usage":
        return None
    if fault == "wrong_usage":
        return {"prompt_tokens": "many", "completion_tokens": -5, "total_tokens": None}
    if fault == "huge_usage":
        return {"prompt_tokens": 10**9, "completion_tokens": 10**9, "total_tokens": 2 * 10**9}
    spent = len(_words(text))
    return {"prompt_tokens": prompt, "completion_tokens": spent, "total_tokens": prompt + spent}


def _whole(text: str, usage: dict[str, Any] | None) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-x",
        "choices": [choice],
        "usage": usage,
    }


def _words(text: str) -> list[str]:
    words = text.split(" ")
    return [word + " " for word in words[:-1]] + words[-1:]


def _response(status: str, headers: str, body: bytes, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _slowly(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(_TRICKLE_SECONDS)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of a proper end."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
