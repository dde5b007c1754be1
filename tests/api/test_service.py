"""Search, health, metrics and the bounds of requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from services import Served, home_with, ingest, served, service_over, until


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
        ({"query": ""}, "query"),
        ({"query": "x" * 10_001}, "query"),
        ({"query": "x", "top_k": 0}, "top_k"),
        ({"query": "x", "top_k": 201}, "top_k"),
        ({"query": "x", "top_k": 10**6}, "top_k"),
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
        assert client.post("/v1/search", content=b"{").status_code == 400
        assert client.get("/v1/nothing").status_code == 404
        assert client.get("/v1/search").status_code == 405


def test_bodies_are_bounded_declared_or_not(service: Served) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(300):
            yield b"x" * 1_000

    with service.client() as client:
        assert client.post("/v1/search", content=b"x" * 200_000).status_code == 413
        assert client.post("/v1/search", content=endless()).status_code == 413


def test_ready_names_models_and_collections(service: Served) -> None:
    with service.client() as client:
        ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {
        "ready": True,
        "models": {"hash": {"kind": "embedder", "state": "ready"}, "scripted": {"kind": "llm", "state": "ready"}},
        "collections": {"handbook": {"generation": 1}},
        "sinks": {},
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
