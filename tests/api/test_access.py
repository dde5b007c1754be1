"""Who may see what: keys, tenants and groups, on every route."""

from __future__ import annotations

from pathlib import Path

import httpx
from services import DOCUMENTS, SALARY, Served, home_with, served, service_over

from domicile.bootstrap import Home

SETTINGS = '[collections.handbook]\ntenant = "acme"\n'


def keys_of(home: Home) -> dict[str, str]:
    make = home.keys().create
    return {
        "hr": make("acme", frozenset({"hr"}), None).key,
        "staff": make("acme", frozenset(), None).key,
        "stranger": make("other", frozenset({"hr"}), None).key,
    }


def get(service: Served, path: str, key: str | None) -> httpx.Response:
    with service.client(key) as client:
        return client.get(path)


def search(service: Served, key: str | None, query: str = "salary band of a senior engineer") -> httpx.Response:
    with service.client(key) as client:
        return client.post("/v1/search", json={"collection": "handbook", "query": query})


def test_once_a_key_exists_every_route_but_health_needs_one(tmp_path: Path) -> None:
    home = home_with(tmp_path, settings=SETTINGS)
    with served(service_over(home)) as service:
        assert get(service, "/v1/models", None).status_code == 200  # control: without keys, loopback is the owner
        key = keys_of(home)["hr"]
        for bad in (None, "x", key[:-1], key + "x", "dk_" + "0" * 12 + "_x"):
            reply = get(service, "/v1/models", bad)
            assert reply.status_code == 401
            assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert get(service, "/v1/models", key).status_code == 200
        assert [get(service, path, None).status_code for path in ("/livez", "/readyz", "/metrics")] == [200, 200, 200]
        assert get(service, "/openapi.json", None).status_code == 404


def test_a_revoked_key_ends_at_once(tmp_path: Path) -> None:
    home = home_with(tmp_path)
    made = home.keys().create("default", frozenset(), None)
    with served(service_over(home)) as service:
        assert get(service, "/v1/models", made.key).status_code == 200
        home.keys().revoke(made.id)
        assert get(service, "/v1/models", made.key).status_code == 401


def test_without_keys_another_host_name_is_refused(tmp_path: Path) -> None:
    with served(service_over(home_with(tmp_path))) as service, service.client() as client:
        assert client.get("/v1/models", headers={"Host": "localhost"}).status_code == 200
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1@evil.example", "\xe9vil.example", ""):
            assert client.get("/v1/models", headers={"Host": host.encode("latin-1")}).status_code == 403


def test_without_keys_the_page_of_a_stranger_is_refused(tmp_path: Path) -> None:
    """A browser sends such a request without asking, since it has no body and no header of its own."""
    with served(service_over(home_with(tmp_path))) as service, service.client() as client:
        for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
            assert client.post("/v1/ingestions/0/cancel", headers={"Origin": origin}).status_code == 403
        for origin in ("http://localhost:3000", f"{client.base_url}"):  # control: it is looked for, and not there
            assert client.post("/v1/ingestions/0/cancel", headers={"Origin": origin}).status_code == 404


def test_another_tenant_sees_no_collection(tmp_path: Path) -> None:
    home = home_with(tmp_path, settings=SETTINGS)
    keys = keys_of(home)
    with served(service_over(home)) as service:
        assert get(service, "/v1/models", keys["stranger"]).json()["data"] == []
        assert [model["id"] for model in get(service, "/v1/models", keys["staff"]).json()["data"]] == ["handbook"]
        assert get(service, "/v1/models/handbook", keys["staff"]).json()["id"] == "handbook"
        hidden, missing = (get(service, f"/v1/models/{name}", keys["stranger"]) for name in ("handbook", "absent"))
        assert (hidden.status_code, hidden.text.replace("handbook", "absent")) == (404, missing.text)
        forbidden, absent = search(service, keys["stranger"]), None
        with service.client(keys["stranger"]) as client:
            absent = client.post("/v1/search", json={"collection": "nowhere", "query": "x"})
        assert forbidden.status_code == absent.status_code == 404
        assert forbidden.text.replace("handbook", "nowhere") == absent.text


def test_a_frontends_side_request_tells_no_more_than_others(tmp_path: Path) -> None:
    home = home_with(tmp_path, settings=SETTINGS)
    member = home.keys().create("default", frozenset(), None).key  # of the tenant that unconfigured collections have
    body = {"model": "handbook", "messages": [{"role": "user", "content": "### Task: a title"}]}
    with served(service_over(home)) as service:
        with service.client(keys_of(home)["staff"]) as client:
            assert client.post("/v1/chat/completions", json=body).status_code == 200
        with service.client(member) as client:
            forbidden = client.post("/v1/chat/completions", json=body)
            absent = client.post("/v1/chat/completions", json=body | {"model": "nowhere"})
    assert forbidden.status_code == absent.status_code == 404
    assert forbidden.text.replace("handbook", "nowhere") == absent.text


def test_groups_decide_what_is_found_quoted_and_opened(tmp_path: Path) -> None:
    home = home_with(tmp_path, settings=SETTINGS)
    keys = keys_of(home)
    place = "/v1/collections/handbook/documents/hr/salaries.md"
    with served(service_over(home)) as service:
        assert "hr/salaries.md" in {hit["document"] for hit in search(service, keys["hr"]).json()["hits"]}
        staff = search(service, keys["staff"]).json()["hits"]
        assert "hr/salaries.md" not in {hit["document"] for hit in staff}
        assert len(staff) == len(DOCUMENTS) - 1
        assert SALARY in get(service, place, keys["hr"]).json()["text"]
        forbidden = get(service, place, keys["staff"])
        absent = get(service, place.replace("salaries", "nothing"), keys["staff"])
        assert forbidden.status_code == absent.status_code == 404
        assert forbidden.text.replace("salaries", "nothing") == absent.text
        body = {
            "model": "handbook",
            "messages": [{"role": "user", "content": "Where does the salary band of a senior engineer begin?"}],
            "domicile": {"mode": "extractive"},
        }
        for key, knows in (("hr", True), ("staff", False)):
            with service.client(keys[key]) as client:
                assert ("71000" in client.post("/v1/chat/completions", json=body).text) is knows


def test_citation_urls_open_the_document_at_the_quote(tmp_path: Path) -> None:
    with served(service_over(home_with(tmp_path))) as service, service.client() as client:
        body = {
            "model": "handbook",
            "messages": [{"role": "user", "content": "How often must pump P-40 be checked?"}],
            "domicile": {"mode": "extractive"},
        }
        message = client.post("/v1/chat/completions", json=body).json()
        citation = message["domicile"]["citations"][0]
        url = message["choices"][0]["message"]["annotations"][0]["url_citation"]["url"]
        assert citation["document"] == "pumps & valves.md"
        plain = client.get(url).json()
        assert plain["text"][citation["start"] : citation["end"]] == citation["quote"]
        page = client.get(url, headers={"Accept": "text/html"})
        assert "every 12 weeks" in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_a_documents_markup_is_shown_and_never_run(tmp_path: Path) -> None:
    home = home_with(tmp_path, {"x.txt": "<script>alert(1)</script> the valve opens at noon"})
    with served(service_over(home)) as service, service.client() as client:
        page = client.get("/v1/collections/handbook/documents/x.txt", headers={"Accept": "text/html"}).text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
