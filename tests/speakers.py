"""Clients that hold the conversations of ``conversations`` with a service, over HTTP, and note everything that came back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import httpx
from conversations import COLLECTIONS, Conversation, Key, Table, Turn, World
from residency_oracle import Exchange, Memory, packed, payload

RUDE: tuple[tuple[Table, int], ...] = (
    ({"domicile": {"regions": ["EU"]}}, 400),
    ({"domicile": {"sensitivity": "Public"}}, 400),
    ({"domicile": {"mode": "hosted"}}, 400),
    ({"model": "nowhere"}, 404),
    ({"messages": [{"role": "user", "content": " "}]}, 400),
    ({"messages": "none"}, 400),
)


@dataclass(slots=True)
class Speakers:
    """Clients of one service.

    Attributes:
        keys: as they are sent; without one the service takes a client for the owner.
        errors: bodies of everything that was refused.
    """

    world: World
    url: str
    keys: Mapping[str, str]
    memory: Memory = field(default_factory=Memory)
    exchanges: list[Exchange] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)

    def talk(self, conversations: Sequence[Conversation], threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(self._talk, number, each) for number, each in enumerate(conversations)]:
                done.result()

    def _talk(self, number: int, conversation: Conversation) -> None:
        with self.client(conversation.key) as client:
            said: list[dict[str, str]] = []
            for turn in conversation.turns:
                before = _as_remembered(turn, said)
                told = self._ask(client, conversation, turn, before)
                said = [*before, {"role": "user", "content": turn.question}, {"role": "assistant", "content": told}]
            self._ask(client, conversation, replace(conversation.turns[0], past="none"), [])
            self._be_rude(client, conversation, *RUDE[number % len(RUDE)])
            if conversation.collection == "southern":
                self._be_rude(client, conversation, {"domicile": {"regions": ["global"]}}, 400)
            if conversation.key.tenant == "north":
                self._be_rude(client, conversation, {"model": "handbook"}, 404)

    def client(self, key: Key) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.keys[key.name]}"} if key.name in self.keys else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False)

    def _ask(self, client: httpx.Client, talk: Conversation, turn: Turn, before: list[dict[str, str]]) -> str:
        tenant = str(COLLECTIONS[talk.collection]["tenant"])
        messages = [*before, {"role": "user", "content": turn.question}]
        behind = self.memory.behind(tenant, messages)
        body = {"model": talk.collection, "messages": messages, "stream": turn.stream}
        if turn.stream and turn.flags.keys() == {"regions"}:
            flags = {"X-Domicile-Residency": ",".join(turn.flags["regions"])}
            response = client.post("/v1/chat/completions", json=body, headers=flags)
        else:
            response = client.post("/v1/chat/completions", json={**body, "domicile": turn.flags})
        assert response.status_code == 200, response.text
        told = _streamed(response.text) if turn.stream else response.json()["domicile"]
        receipt = client.get(f"/v1/receipts/{told['receipt']}").json()["record"]
        exchange = Exchange(talk, turn, messages, behind, told, receipt, response.content)
        if not told["abstained"] and not told["cached"]:
            documents = packed(self.world, talk.collection, receipt)
            self.memory.heard(tenant, told["answer"], payload(exchange, documents))
        self.exchanges.append(exchange)
        answer: str = told["answer"]
        return answer

    def _be_rude(self, client: httpx.Client, talk: Conversation, wrong: Table, status: int) -> None:
        body = {"model": talk.collection, "messages": [{"role": "user", "content": talk.turns[0].question}]}
        refused = client.post("/v1/chat/completions", json=body | wrong)
        assert refused.status_code == status, refused.text
        self.errors.append(refused.content)


def _as_remembered(turn: Turn, said: list[dict[str, str]]) -> list[dict[str, str]]:
    """What the client makes of the conversation so far."""
    if turn.past == "none":
        return []
    *earlier, last = said
    if turn.past == "trimmed":
        return [*earlier, {**last, "content": "  " + last["content"].replace("\n\n", "\n") + "\n"}]
    if turn.past == "altered":
        return [*earlier, {**last, "content": last["content"] + " I think."}]
    return said


def _streamed(text: str) -> Table:
    """The ``domicile`` object of a stream, whose pieces are its answer."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    events = [json.loads(line) for line in lines]
    [told] = [event["domicile"] for event in events if "domicile" in event]
    pieces = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
    assert "".join(pieces) == told["answer"]
    assert lines
    result: Table = told
    return result
