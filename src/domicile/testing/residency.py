"""Fakes of what residency needs: an audit log and providers."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from domicile.domain import Prompt, Usage
from domicile.errors import (
    AuditUnavailable,
    DomicileError,
    ProviderUnready,
    UnknownReceipt,
)
from domicile.ports import ProviderState, Record, RecordKind


class MemoryAuditLog:
    """An audit log that remembers; ``broken`` says why it cannot be written, until it is ``None`` again."""

    def __init__(self, clock: Callable[[], datetime], token: Callable[[int], str]) -> None:
        self.records: list[Record] = []
        self.broken: str | None = None
        self._clock, self._token, self._lock = clock, token, threading.Lock()

    def append(self, kind: RecordKind, body: Mapping[str, object]) -> Record:
        text = json.dumps(body, sort_keys=True, allow_nan=False)
        if taken := body.keys() & {"seq", "id", "at", "kind", "prev"}:
            raise ValueError(f"the log itself sets {', '.join(sorted(taken))}")
        with self._lock:
            if self.broken is not None:
                raise AuditUnavailable(self.broken)
            before = self.records[-1] if self.records else None
            at = max(self._clock().isoformat(timespec="milliseconds"), before.at if before else "")
            identifier = f"{ {'answer': 'r', 'egress': 'e'}.get(kind, 's') }_{self._token(15)}0"
            digest = hashlib.sha256(f"{before and before.hash}{identifier}{at}{text}".encode()).hexdigest()
            record = Record(identifier, len(self.records) + 1, at, kind, json.loads(text), digest, "0" * 128)
            self.records.append(record)
            return record

    def find(self, identifier: str) -> Record:
        found = next((record for record in self.records if record.id == identifier), None)
        if found is None:
            raise UnknownReceipt(identifier)
        return found

    def receipt(self, identifier: str) -> dict[str, object]:
        found = self.find(identifier)
        shown = {name: getattr(found, name) for name in ("id", "at", "seq", "kind", "hash", "signature")}
        return shown | {"key": "0" * 64, "record": dict(found.body), "line": ""}

    def trouble(self) -> str | None:
        return self.broken


@dataclass(slots=True)
class ScriptedProvider:
    """Says what it was told to say, a word at a time, and remembers the bytes that it was sent.

    Attributes:
        replies: texts or errors, one for each request; the last one repeats.
        usage: that it tells; ``None`` counts words.
        before_word: called before each word, for tests that must act in the middle of an answer.
    """

    replies: list[str | DomicileError] = field(default_factory=lambda: [""])
    name: str = "acme-eu"
    model: str = "openai/gpt-x"
    state: ProviderState = "ready"
    usage: Usage | None = None
    before_word: Callable[[], None] = lambda: None
    bodies: list[bytes] = field(default_factory=list)

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int,
        seconds: float,
        cancelled: Callable[[], bool],
        authorize: Callable[[bytes], None],
    ) -> Iterator[str | Usage]:
        if self.state != "ready":
            raise ProviderUnready(f"{self.name} was not called: {self.state}")
        if cancelled():
            yield Usage()
            return
        messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
        body = json.dumps({"model": self.model, "messages": messages, "max_tokens": max_tokens}).encode()
        authorize(body)
        self.bodies.append(body)
        reply = self.replies[min(len(self.bodies), len(self.replies)) - 1]
        if isinstance(reply, DomicileError):
            raise reply
        words = re.findall(r"\S+\s*", reply)[:max_tokens]
        for word in words:
            self.before_word()
            yield word
            if cancelled():
                yield Usage()
                return
        asked = sum(len(message.content.split()) for message in prompt.messages)
        yield self.usage or Usage(asked, len(words))
