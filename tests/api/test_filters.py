"""Filters over HTTP: what they find, what they must not tell, and what is refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from services import LEAVE, Served, home_with, served, service_over

from domicile.answering import ABSTAINED, Limits
from domicile.bootstrap import Home

DOCUMENTS = {
    "leave.md": f"---\nyear: 2024\nsource: handbook\n---\n# Leave\n\n{LEAVE}\n",
    "old.md": "---\nyear: 2019\nsource: archive\n---\n# Leave\n\nParental leave lasts 14 weeks and is unpaid.\n",
    "hr/pay.md": "---\nsecret_score: 7\ndomicile: {label: {groups: [hr]}}\n---\n# Pay\n\nParental leave pay is 71000 euros.\n",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return home_with(tmp_path_factory.mktemp("filters"), DOCUMENTS)


@pytest.fixture(scope="module")
def service(home: Home) -> Iterator[Served]:
    limits = Limits(evidence_threshold=0.0)  # whether evidence is enough is another matter
    with served(service_over(home, limits=limits)) as running:
        yield running


def search(service: Served, filters: Any, mode: str = "hybrid", key: str | None = None) -> httpx.Response:
    body = {"collection": "handbook", "query": "parental leave", "mode": mode, "filters": filters}
    with service.client(key) as client:
        return client.post("/v1/search", content=json.dumps(body), headers={"Content-Type": "application/json"})


def found(reply: httpx.Response) -> set[str]:
    assert reply.status_code == 200, reply.text
    return {hit["document"] for hit in reply.json()["hits"]}


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (None, {"leave.md", "old.md", "hr/pay.md"}),
        ({}, {"leave.md", "old.md", "hr/pay.md"}),
        ({"year": {"gte": 2020}}, {"leave.md"}),
        ({"year": {"lte": 2019}}, {"old.md"}),
        ({"source": {"in": ["archive", "handbook"]}, "year": {"eq": 2019}}, {"old.md"}),
        ({"metadata.source": {"prefix": "arch"}}, {"old.md"}),
        ({"source": {"eq": "' OR 1=1 --"}}, set()),
        ({"source": {"prefix": "%"}}, set()),
        ({"document": {"prefix": "hr/"}}, {"hr/pay.md"}),
        ({"title": {"eq": "Leave"}}, {"leave.md", "old.md"}),
        ({"label.groups": {"eq": "hr"}}, {"hr/pay.md"}),
    ],
)
def test_every_mode_finds_only_what_the_filters_allow(
    service: Served, mode: str, filters: Any, expected: set[str]
) -> None:
    assert found(search(service, filters, mode)) == expected


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ([], "filters"),
        ("year", "filters"),
        ({"page": {"eq": 1}}, "filters.page"),
        ({"year": 2020}, "filters.year"),
        ({"year": {"gt": 2020}}, "filters.year.gt"),
        ({"year": {"gte": None}}, "filters.year.gte"),
        ({"year": {"gte": "2020"}}, "filters.year.gte"),
        ({"year": {"in": 2020}}, "filters.year.in"),
        ({"year": {"eq": float("nan")}}, "filters.year.eq"),
        ({"year": {"eq": float("inf")}}, "filters.year.eq"),
        ({"year": {"eq": 10**300 * 10**300}}, "filters.year.eq"),
        ({"source": {"prefix": 5}}, "filters.source.prefix"),
        ({"label.regions": {"eq": "mars"}}, "filters.label.regions.eq"),
        ({f"f{number}": {"eq": 1} for number in range(40)}, "filters"),
    ],
)
def test_bad_filters_are_problems_that_name_the_field(service: Served, filters: Any, field: str) -> None:
    reply = search(service, filters)
    assert (reply.status_code, reply.headers["content-type"]) == (400, "application/problem+json")
    assert (reply.json()["code"], reply.json()["field"]) == ("InvalidRequest", field)


def test_numbers_and_nesting_beyond_reason_are_refused(service: Served) -> None:
    for value in ("9" * 10_000, "[" * 50_000):
        body = f'{{"collection": "handbook", "query": "x", "filters": {{"year": {{"eq": {value}}}}}}}'
        with service.client() as client:
            reply = client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
        assert reply.status_code == 400


def test_a_key_learns_of_no_field_that_it_may_not_read(tmp_path: Path) -> None:
    home = home_with(tmp_path, DOCUMENTS)
    hr, staff = (home.keys().create("default", frozenset({group}), None).key for group in ("hr", "staff"))
    with served(service_over(home)) as service:
        assert found(search(service, {"secret_score": {"gte": 1}}, key=hr)) == {"hr/pay.md"}
        hidden = search(service, {"secret_score": {"gte": 1}}, key=staff)
        absent = search(service, {"secret_scare": {"gte": 1}}, key=staff)
        assert (hidden.status_code, hidden.json()["field"]) == (400, "filters.secret_score")
        assert hidden.json()["detail"].replace("score", "scare") == absent.json()["detail"]
        assert "known are source, year, document," in hidden.json()["detail"]
        assert found(search(service, {"label.groups": {"eq": "hr"}}, key=staff)) == set()


def test_a_document_tells_its_metadata(service: Served) -> None:
    with service.client() as client:
        given = client.get("/v1/collections/handbook/documents/leave.md").json()
    assert given["metadata"] == {"year": [2024], "source": ["handbook"]}


def test_answers_come_from_what_the_filters_allow(service: Served) -> None:
    def ask(filters: Any) -> httpx.Response:
        message = {"role": "user", "content": "How long does parental leave last?"}
        flags = {"mode": "extractive", "filters": filters}
        with service.client() as client:
            return client.post(
                "/v1/chat/completions", json={"model": "handbook", "messages": [message], "domicile": flags}
            )

    assert "26 weeks" in ask({"year": {"gte": 2020}}).json()["domicile"]["answer"]
    old = ask({"year": {"lte": 2019}}).json()["domicile"]
    assert {citation["document"] for citation in old["citations"]} == {"old.md"}
    assert "26 weeks" not in old["answer"]
    nothing = ask({"document": {"eq": "no such"}}).json()["domicile"]
    assert (nothing["abstained"], nothing["answer"]) == (True, ABSTAINED)
    refused = ask({"page": {"eq": 1}})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "filters.page")
