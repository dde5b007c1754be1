"""Search, health, metrics and the bounds of requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
from services import Served, home_with, ingest, served, service_over, until
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from domicile.api.middleware import BodyLimit
from domicile.ports import Vectors
from domicile.retrieval import Retriever
from domicile.testing import HashEmbedder


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Served]:
    with served(service_over(home_with(tmp_path))) as running:
        yield running


def test_search_has_the_contracts_shape(service: Served) -> None:
    with service.client() as client:
        found = client.post(
            "/v1/search", json={"collection": "handbook", "query": "parental leave", "mode": "hybrid", "top_k": 2}
        ).json()
    assert {"collection", "generation", "mode", "hits", "timings_ms"} <= found.keys()
    assert [hit["rank"] for hit in found["hits"]] == [1, 2]
    first = found["hits"][0]
    assert {
        "rank",
        "score",
        "document",
        "chunk",
        "title",
        "heading",
        "page",
        "start",
        "end",
        "text",
        "label",
    } <= first.keys()
    assert first["document"] == "leave.md"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": "x", "filters": {"page": {"eq": 1}}}, "filters.page"),
        ({"query": ""}, "query"),
        ({"query": "x" * 10_001}, "query"),
        ({"query": "x", "top_k": 0}, "top_k"),
        ({"query": "x", "top_k": 201}, "top_k"),
        ({"query": "x", "top_k": 10**6}, "top_k"),
        ({"query": "x", "top_k": True}, "top_k"),
        ({"query": "x", "top_k": "5"}, "top_k"),
        ({"query": "x", "mode": "magic"}, "mode"),
        ({"query": "x", "colour": 1}, "colour"),
        ({"query": 7}, "query"),
    ],
)
def test_bad_searches_are_problems_that_name_the_field(service: Served, body: dict[str, object], field: str) -> None:
    with service.client() as client:
        reply = client.post("/v1/search", json={"collection": "handbook", **body})
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["field"] == field


@pytest.mark.parametrize(
    "query",
    [
        '"',
        "AND OR NOT",
        "title:(x",
        "a\x00b",
        "[1 TO 5]",
        "{}",
        "日本語の質問",
        "\u202e\u0301",
        "-pump +leave",
        "'; DROP TABLE chunks; --",
    ],
)
def test_query_syntax_in_a_question_is_data(service: Served, query: str) -> None:
    with service.client() as client:
        for mode in ("hybrid", "lexical", "dense"):
            reply = client.post("/v1/search", json={"collection": "handbook", "query": query, "mode": mode})
            assert reply.status_code == 200, reply.text


def test_broken_json_and_unknown_routes_are_problems(service: Served) -> None:
    with service.client() as client:
        broken = client.post("/v1/search", content=b"{", headers={"Content-Type": "application/json"})
        assert (broken.status_code, broken.json()["field"]) == (400, "body")
        untyped = client.post("/v1/search", content=b"{}")
        assert untyped.status_code == 400
        assert "application/json" in untyped.json()["detail"]
        assert client.get("/v1/nothing").status_code == 404
        wrong = client.get("/v1/search")
        assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")


def test_probes_may_ask_with_head(service: Served) -> None:
    with service.client() as client:
        assert [client.head(path).status_code for path in ("/livez", "/readyz")] == [200, 200]


@dataclass(frozen=True)
class WaitingEmbedder(HashEmbedder):
    """Embeds once it is released."""

    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go: threading.Event = field(default_factory=threading.Event)

    def embed(self, texts: Sequence[str], role: Literal["query", "document"]) -> Vectors:
        self.asked.release()
        assert self.go.wait(20)
        return super().embed(texts, role)


def test_a_service_that_has_much_to_do_is_ready_all_the_same(tmp_path: Path) -> None:
    service, embedder = service_over(home_with(tmp_path)), WaitingEmbedder()
    service = replace(service, retriever=Retriever(service.indexes, embedder), searches=(1, 0))
    body = {"collection": "handbook", "query": "leave"}
    with served(service) as running, running.client() as client, ThreadPoolExecutor(1) as other:
        searching = other.submit(client.post, "/v1/search", json=body)
        assert embedder.asked.acquire(timeout=10)
        with running.client() as second:
            assert second.post("/v1/search", json=body).status_code == 503  # the pool is full
            ready = second.get("/readyz")
        embedder.go.set()
        assert searching.result().status_code == 200
    assert (ready.status_code, ready.json()["ready"]) == (200, True)


def test_bodies_are_bounded_declared_or_not(service: Served) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(300):
            yield b"x" * 1_000

    with service.client() as client:
        assert client.post("/v1/search", content=b"x" * 200_000).status_code == 413
        assert client.post("/v1/search", content=endless()).status_code == 413
        for content in (b"x" * 200_000, endless()):  # in the form of the route, whoever notices
            refused = client.post("/v1/chat/completions", content=content)
            assert (refused.status_code, refused.json()["error"]["type"]) == (413, "invalid_request_error")


def test_half_a_body_is_waited_for_no_longer_than_allowed() -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        with pytest.raises(HTTPException) as refused:
            await receive()
        seen.append(refused.value.status_code)

    async def talk(*messages: Message) -> None:
        coming = iter(messages)

        async def receive() -> Message:
            await asyncio.sleep(0 if (message := next(coming, None)) else 20)
            return message or {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            seen.append(message)

        await BodyLimit(app, 100, idle_seconds=0.05)({"type": "http", "headers": []}, receive, send)

    half: Message = {"type": "http.request", "body": b"{", "more_body": True}
    asyncio.run(talk(half))
    assert seen == [half, 408]


def test_a_body_may_not_come_in_drops() -> None:
    received = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal received
        while True:
            received += len((await receive())["body"])

    async def talk(drop: bytes) -> None:
        async def receive() -> Message:
            await asyncio.sleep(0.02)
            return {"type": "http.request", "body": drop, "more_body": received < 2_000}

        async def send(message: Message) -> None: ...

        limit = BodyLimit(app, 1_000_000, idle_seconds=0.1, slowest=1_000)
        async with asyncio.timeout(5):
            await limit({"type": "http", "headers": []}, receive, send)

    with pytest.raises(HTTPException) as refused:
        asyncio.run(talk(b"x"))
    assert refused.value.status_code == 408
    assert 0 < received < 50
    received = 0
    with pytest.raises(TimeoutError):  # control: the application here never ends, and is not cut off
        asyncio.run(talk(b"x" * 100))
    assert received >= 2_000


def test_ready_names_models_and_collections(service: Served) -> None:
    with service.client() as client:
        ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {
        "ready": True,
        "models": {"hash": {"kind": "embedder", "state": "ready"}, "scripted": {"kind": "llm", "state": "ready"}},
        "collections": {"handbook": {"generation": 1}},
        "sinks": {},
        "ingestion": {"queued": 0, "running": 0, "dead": 0},
    }


def test_a_damaged_generation_is_named_and_an_older_one_serves(tmp_path: Path) -> None:
    home = home_with(tmp_path)
    (tmp_path / "source" / "new.md").write_text("The boiler hums at night.", encoding="utf-8")
    ingest(home, tmp_path / "source")
    damaged = home.collections_dir / "handbook" / "segments" / "000002" / "vectors.faiss"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with served(service_over(home)) as service, service.client() as client:
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["collections"]["handbook"]["generation"] == 1
        assert "vectors.faiss" in ready.json()["collections"]["handbook"]["trouble"]
        assert client.post("/v1/search", json={"collection": "handbook", "query": "leave"}).json()["generation"] == 1


def test_no_intact_generation_is_not_ready(tmp_path: Path) -> None:
    home = home_with(tmp_path)
    for file in (home.collections_dir / "handbook" / "segments").rglob("chunks.sqlite"):
        file.write_bytes(b"x")
    with served(service_over(home)) as service, service.client() as client:
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
        assert client.post("/v1/search", json={"collection": "handbook", "query": "leave"}).status_code == 503


def test_a_running_service_sees_a_new_generation_within_two_seconds(tmp_path: Path) -> None:
    home = home_with(tmp_path)
    with served(service_over(home)) as service, service.client() as client:

        def generation() -> int:
            return int(
                client.post("/v1/search", json={"collection": "handbook", "query": "boiler"}).json()["generation"]
            )

        assert generation() == 1
        (tmp_path / "source" / "new.md").write_text("The boiler hums at night.", encoding="utf-8")
        ingest(home, tmp_path / "source")
        until(lambda: generation() == 2, seconds=2.0)


def test_metrics_show_the_golden_signals_and_no_content(service: Served) -> None:
    with service.client() as client:
        client.post("/v1/search", json={"collection": "handbook", "query": "zanzibar"})
        client.post("/v1/search", json={"collection": "zanzibar", "query": "x"})
        client.get("/v1/collections/handbook/documents/zanzibar")
        text = client.get("/metrics").text
    assert 'domicile_requests_total{method="POST",route="/v1/search",status="200"} 1.0' in text
    assert 'domicile_requests_total{method="POST",route="/v1/search",status="404"} 1.0' in text
    for signal in (
        "domicile_request_seconds_bucket",
        "domicile_requests_in_flight",
        "domicile_workers_busy",
        "domicile_stage_seconds_bucket",
    ):
        assert signal in text
    assert "zanzibar" not in text
