"""``POST /v1/chat/completions``: OpenAI's shape, streamed or not; the model is the collection.

The order and form of the streamed chunks is the one that the usual clients all accept: role, text, annotations, finish
(with the ``domicile`` object), usage if asked for, ``[DONE]``. Every data line has ``choices``.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from domicile import filters, labels, prompts, wire
from domicile.api.auth import Caller
from domicile.api.documents import citation_url
from domicile.api.state import State, state_of
from domicile.domain import Answer, Principal, Turn
from domicile.errors import Cancelled, InvalidRequest
from domicile.inquiry import AnswerRequest
from domicile.labels import PartialLabel

T = TypeVar("T")

router = APIRouter()

SIDE_REQUEST = "### Task:"
"""How chat frontends begin the requests for titles, tags and follow-ups that they send beside a chat."""
MAX_MESSAGES = 1_000
_TEXTS = frozenset({"text", "input_text", "output_text"})
_SPEAKERS: dict[str, Literal["user", "assistant", "system", "other"]] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}


class _Open(BaseModel):
    """OpenAI's bodies grow fields; the ones we do not know are ignored."""

    model_config = ConfigDict(extra="ignore")


class Part(_Open):
    type: str
    text: str = ""


class ChatMessage(_Open):
    role: str
    content: str | list[Part] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.type in _TEXTS)
        return self.content or ""

    def turn(self) -> Turn:
        """What was said, and by whom. What somebody else said otherwise than in words is by a speaker that nobody knows."""
        speaker = _SPEAKERS.get(self.role, "other")
        spoken = isinstance(self.content, str) or (
            self.content is not None and all(part.type in _TEXTS for part in self.content)
        )
        if speaker == "other" or (speaker == "assistant" and not spoken):
            return Turn("other", self.text() or self.role)
        return Turn(speaker, self.text())


class Flags(BaseModel):
    """Residency flags of a request, which can only narrow, and its filters."""

    model_config = ConfigDict(extra="forbid", strict=True)
    regions: list[str] | None = None
    sensitivity: str | None = None
    hosted: bool | None = None
    mode: Literal["auto", "extractive", "generate"] = "auto"
    seed: int | None = None
    filters: dict[str, Any] | None = None

    def partial(self, regions: labels.Regions) -> PartialLabel:
        given = self.model_dump(include={"regions", "sensitivity", "hosted"}, exclude_none=True)
        return labels.parse(given, regions)


class StreamOptions(_Open):
    include_usage: bool | None = False


class ChatRequest(_Open):
    model: str
    messages: list[ChatMessage] = Field(max_length=MAX_MESSAGES)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    domicile: Flags = Flags()

    def question(self) -> str:
        """The last thing the user said."""
        return next((message.text() for message in reversed(self.messages) if message.role == "user"), "")

    def history(self) -> tuple[Turn, ...]:
        """All other messages: an early one may forbid a route as well as a late one."""
        last = max((i for i, message in enumerate(self.messages) if message.role == "user"), default=-1)
        return tuple(message.turn() for i, message in enumerate(self.messages) if i != last)


@router.post("/v1/chat/completions")
async def chat(request: Request, body: ChatRequest, caller: Caller) -> Response:
    """Answer the last question of a conversation from the collection that ``model`` names."""
    state = state_of(request)
    asked = _answer_request(request, body, caller, state)
    reply = _Reply(request, body)
    if body.question().lstrip().startswith(SIDE_REQUEST):
        await state.pools["searches"].run(lambda: state.service.indexes.pin(body.model, caller))
        return _side_reply(reply, body)
    events = state.pools["answers"].stream(lambda gone: state.service.answering.answer(asked, gone))
    if not body.stream:
        answer = await _unless_gone(request, _last(events))
        state.metrics.answered(answer)
        return JSONResponse(reply.whole(answer, state))
    first = await _unless_gone(request, _first(events))  # an error before the first piece still has its own status
    return StreamingResponse(
        _lines(reply, first, events, state),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


def _answer_request(request: Request, body: ChatRequest, caller: Principal, state: State) -> AnswerRequest:
    flags = [body.domicile.partial(state.service.regions)]
    for header in request.headers.getlist("x-domicile-residency"):
        flags.append(labels.parse({"regions": header.split(",")}, state.service.regions))
    if not body.question().strip():
        raise InvalidRequest("messages", "no question: the last message of role `user` is empty or missing")
    return AnswerRequest(
        body.question(),
        body.model,
        caller,
        body.domicile.mode,
        labels.join_partial(flags),
        filters.parse(body.domicile.filters, state.service.regions),
        body.history(),
    )


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work; a client that leaves meanwhile cancels it, which stops the model at the next token."""

    async def leave() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(leave())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Cancelled("the caller went away")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _last(events: AsyncIterator[str | Answer]) -> Answer:
    """The answer itself, which is the last event."""
    last: str | Answer = ""
    async for event in events:
        last = event
    assert isinstance(last, Answer)
    return last


async def _first(events: AsyncIterator[str | Answer]) -> str | Answer:
    return await anext(events)


async def _lines(
    reply: _Reply, first: str | Answer, events: AsyncIterator[str | Answer], state: State
) -> AsyncIterator[str]:
    yield reply.chunk({"role": "assistant", "content": ""})
    for line in reply.event(first, state):
        yield line
    async for event in events:
        for line in reply.event(event, state):
            yield line
    yield "data: [DONE]\n\n"


class _Reply:
    """Writes one answer in OpenAI's forms."""

    def __init__(self, request: Request, body: ChatRequest) -> None:
        self._request = request
        self._body = body
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": body.model}

    def chunk(self, delta: dict[str, Any], finish: str | None = None, **fields: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _line({**self._head, "object": "chat.completion.chunk", "choices": [choice], **fields})

    def event(self, event: str | Answer, state: State) -> Iterator[str]:
        """The data lines for one event of an answer."""
        if isinstance(event, str):
            yield self.chunk({"content": event})
            return
        state.metrics.answered(event)
        if event.citations:
            yield self.chunk({"annotations": self._annotations(event)})
        yield self.chunk({}, "stop", domicile=wire.answer(event, state.service.regions))
        if self._body.stream_options is not None and self._body.stream_options.include_usage:
            yield _line({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": wire.usage(event)})

    def whole(self, answer: Answer, state: State) -> dict[str, Any]:
        message = {"role": "assistant", "content": answer.answer, "annotations": self._annotations(answer)}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": wire.usage(answer),
            "domicile": wire.answer(answer, state.service.regions),
        }

    def plain(self, text: str) -> dict[str, Any]:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
            "logprobs": None,
        }
        nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": nothing}

    def _annotations(self, answer: Answer) -> list[dict[str, Any]]:
        """One ``url_citation`` for each citation; the indexes point at its first mark."""
        return [
            {
                "type": "url_citation",
                "url_citation": {
                    "url": citation_url(self._request, answer.collection, citation),
                    "title": citation.title or citation.document,
                    "start_index": mark,
                    "end_index": mark + len(f"[{citation.n}]"),
                },
            }
            for citation, mark in zip(answer.citations, _marks(answer), strict=True)
        ]


def _marks(answer: Answer) -> list[int]:
    """Where the first mark of each citation begins. An answer ends with its quotes, and these may hold any text, also
    such marks; before them stand only tidied sentences, which hold none but ours."""
    blocks = [prompts.quote_block(citation.quote, citation.n) for citation in answer.citations]
    end = len(answer.answer) - len("\n\n".join(blocks))
    said, marks = answer.answer[:end], []
    for citation, block in zip(answer.citations, blocks, strict=True):
        mark = f"[{citation.n}]"
        marks.append(said.find(mark) if mark in said else end + len(block) - len(mark))
        end += len(block) + len("\n\n")
    return marks


def _side_reply(reply: _Reply, body: ChatRequest) -> Response:
    """A frontend asks for a title or tags: nothing is retrieved for it, and an empty object makes it use its own default."""
    if not body.stream:
        return JSONResponse(reply.plain("{}"))
    lines = [
        reply.chunk({"role": "assistant", "content": ""}),
        reply.chunk({"content": "{}"}),
        reply.chunk({}, "stop"),
        "data: [DONE]\n\n",
    ]
    return StreamingResponse(iter(lines), media_type="text/event-stream")


def _line(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
