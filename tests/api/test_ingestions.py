"""Jobs over HTTP: who may submit what, how a job is followed, and documents put and deleted one by one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from services import Served, home_with, served, service_over, until

from domicile.api import ingestions
from domicile.api.app import MAX_WATCHERS
from domicile.bootstrap import Home
from domicile.errors import UsageError
from domicile.jobs import Job, Order
from domicile_ingest.progress import Progress, Watch
from domicile_ingest.worker import Worker

SETTINGS = """
[ingestion]
roots = ["{root}"]
queue = 5
[collections.handbook]
tenant = "acme"
[collections.board]
tenant = "acme"
groups = ["board"]
[collections.ruled]
tenant = "acme"
rules = [{{ path = "hr/**", label = {{ groups = ["hr"] }} }}]
"""
HERE = "/v1/collections/handbook/documents"


@dataclass(slots=True)
class Scene:
    """A service, its home, and a worker whose work a test decides."""

    service: Served
    home: Home
    root: Path
    done: list[tuple[str, bytes]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)

    def key(self, *groups: str, tenant: str = "acme", may_ingest: bool = True) -> str:
        return self.home.keys().create(tenant, frozenset(groups), None, may_ingest=may_ingest).key

    def ask(self, key: str | None, method: str, path: str, **parts: Any) -> httpx.Response:
        with self.service.client(key) as client:
            return client.request(method, path, **parts)

    def submit(self, key: str | None = None, **body: Any) -> httpx.Response:
        whole = {"collection": "handbook", "source": str(self.root), **body}
        headers = {"Content-Type": "application/json"}  # httpx itself sends no half of a surrogate pair
        return self.ask(key, "POST", "/v1/ingestions", content=json.dumps(whole), headers=headers)

    def work(self, job: Job, watch: Watch) -> Mapping[str, Any]:
        """Remember the job, and answer with what the test wants."""
        upload = self.home.jobs().upload(job.id) if job.order.kind == "put" else b""
        self.done.append((job.order.document or "", upload))
        documents = {"added": 1, "changed": 0, "unchanged": 0, "deleted": 0, "failed": 0}
        return {"generation": 1, "documents": documents, "failures": [], "warnings": [], "embedded": 1, **self.report}

    @contextmanager
    def working(self, work: Any = None) -> Iterator[None]:
        stop = threading.Event()
        worker = Worker(
            self.home.jobs(),
            work or self.work,
            stop,
            lambda event, **fields: None,
            beat_seconds=0.05,
            poll_seconds=0.05,
        )
        thread = threading.Thread(target=worker.run, kwargs={"once": False})
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(10)


@contextmanager
def scene_at(place: Path) -> Iterator[Scene]:
    root = place / "docs"
    (root / "hr").mkdir(parents=True)
    home = home_with(place, settings=SETTINGS.format(root=root))
    with served(service_over(home)) as service:
        yield Scene(service, home, root)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_at(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One for all that is refused and must leave nothing behind."""
    with scene_at(tmp_path_factory.mktemp("quiet")) as made:
        yield made
        assert made.home.jobs().newest(1) == []
        assert list((made.home.path / "state" / "spool").iterdir()) == []


# --- rights


def test_a_key_without_the_right_may_read_and_nothing_else(scene: Scene) -> None:
    reader, writer = scene.key(may_ingest=False), scene.key()
    asked = [
        ("POST", "/v1/ingestions", {"json": {"collection": "handbook", "source": str(scene.root)}}),
        ("GET", "/v1/ingestions", {}),
        ("PUT", f"{HERE}/a.md", {"content": b"# A"}),
        ("DELETE", f"{HERE}/leave.md", {}),
    ]
    for method, path, parts in asked:
        refused = scene.ask(reader, method, path, **parts)
        assert (refused.status_code, refused.json()["code"]) == (403, "Forbidden"), path
        assert "--ingest" in refused.json()["detail"]
        assert scene.ask(None, method, path, **parts).status_code == 401
    assert scene.home.jobs().newest(9) == []
    assert scene.ask(reader, "GET", f"{HERE}/leave.md").status_code == 200
    assert [scene.ask(writer, m, p, **parts).status_code for m, p, parts in asked] == [202, 200, 202, 202]


def test_a_key_from_before_the_right_existed_has_none(scene: Scene) -> None:
    key = scene.key()
    file = scene.home.path / "state" / "keys.json"
    entries = json.loads(file.read_text())
    for entry in entries.values():
        assert entry.pop("may_ingest") is True
    file.write_text(json.dumps(entries))
    assert scene.submit(key).status_code == 403
    assert scene.ask(key, "GET", f"{HERE}/leave.md").status_code == 200


@pytest.mark.parametrize("name", ["board", "nowhere", "handbook"])
def test_what_is_not_open_to_a_key_looks_like_what_is_not_there(scene: Scene, name: str) -> None:
    stranger = scene.key(tenant="acme" if name != "handbook" else "other")
    refused, absent = scene.submit(stranger, collection=name), scene.submit(stranger, collection="absent")
    assert (refused.status_code, refused.text.replace(name, "absent")) == (404, absent.text)
    for method, parts in (("PUT", {"content": b"x"}), ("DELETE", {})):
        place = f"/v1/collections/{name}/documents/leave.md"
        refused = scene.ask(stranger, method, place, **parts)
        absent = scene.ask(stranger, method, place.replace(name, "absent"), **parts)
        assert (refused.status_code, refused.text.replace(name, "absent")) == (404, absent.text)
    assert scene.submit(scene.key("board"), collection="board").status_code == 202  # control


def test_jobs_of_closed_collections_look_like_none(scene: Scene) -> None:
    member, other = scene.key("board"), scene.key()
    job = scene.submit(member, collection="board").json()["id"]
    assert scene.ask(member, "GET", f"/v1/ingestions/{job}").status_code == 200
    for method, end in (("GET", ""), ("POST", "/cancel"), ("POST", "/retry"), ("GET", "/events")):
        refused = scene.ask(other, method, f"/v1/ingestions/{job}{end}")
        absent = scene.ask(other, method, f"/v1/ingestions/{'0' * 16}{end}")
        assert (refused.status_code, refused.text.replace(job, "0" * 16)) == (404, absent.text)
    assert scene.ask(other, "GET", "/v1/ingestions").json() == {"jobs": []}
    assert [row["id"] for row in scene.ask(member, "GET", "/v1/ingestions").json()["jobs"]] == [job]


def test_names_of_documents_are_for_who_asked(scene: Scene) -> None:
    mine, other = scene.key(), scene.key()
    scene.report = {
        "failures": [{"document": "secret.pdf", "kind": "broken", "reason": "?"}],
        "warnings": ["secret.pdf"],
    }
    with scene.working():
        put = scene.ask(mine, "PUT", f"{HERE}/secret.pdf?wait=10", content=b"x")
        run = scene.submit(mine).json()["id"]
        until(lambda: scene.ask(mine, "GET", f"/v1/ingestions/{run}").json()["state"] == "done")
    assert put.status_code == 422
    for job in (put.json()["job"], run):
        assert "secret" in scene.ask(mine, "GET", f"/v1/ingestions/{job}").text
        seen = scene.ask(other, "GET", f"/v1/ingestions/{job}")
        assert seen.status_code == 200
        assert "secret" not in seen.text
        assert str(scene.root) not in seen.text
        assert scene.ask(other, "POST", f"/v1/ingestions/{job}/retry").status_code == 403


# --- sources


def test_the_owner_may_name_any_source_but_only_as_json(scene: Scene) -> None:
    assert scene.submit(source="/anywhere/at/all").status_code == 202
    body = json.dumps({"collection": "handbook", "source": "/anywhere"})
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ):  # what a page may send unasked
        refused = scene.ask(None, "POST", "/v1/ingestions", content=body, headers={"Content-Type": kind})
        assert refused.status_code == 400, kind
    assert scene.ask(None, "POST", "/v1/ingestions", content=body).status_code == 400
    assert len(scene.home.jobs().newest(9)) == 1


def test_a_key_names_a_source_below_a_root(scene: Scene, tmp_path: Path) -> None:
    key = scene.key()
    (scene.root / "out").symlink_to(tmp_path)
    (scene.root / "loop").symlink_to("loop")
    (tmp_path / "docs-of-others").mkdir()
    assert scene.submit(key).status_code == 202
    assert scene.submit(key, source=f"{scene.root}/hr/../hr").json()["source"] == f"{scene.root}/hr"
    for source in (
        "/etc", str(tmp_path), f"{scene.root}/..", f"{scene.root}/out", f"{scene.root}/out/home", f"{scene.root}-of-others",
    ):  # fmt: skip
        refused = scene.submit(key, source=source)
        assert refused.status_code == 403, source
        assert "ingestion.roots" in refused.json()["detail"]


def test_where_labels_have_rules_a_source_is_a_whole_root(scene: Scene) -> None:
    key = scene.key()
    assert scene.submit(key, collection="ruled", source=f"{scene.root}/hr").status_code == 403  # outside of hr/**
    assert scene.submit(key, collection="ruled").status_code == 202


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"source": "docs"}, "source"),
        ({"source": ""}, "source"),
        ({"source": "/a\0b"}, "source"),
        ({"source": "/\ud800"}, "source"),
        ({"source": "/" + "x" * 5_000}, "source"),
        ({"collection": "No Name"}, "collection"),
        ({"colour": 1}, "colour"),
        ({"no_delete": "yes"}, "no_delete"),
    ],
)
def test_bad_submissions_name_the_field(quiet: Scene, body: dict[str, Any], field: str) -> None:
    refused = quiet.submit(**body)
    assert (refused.status_code, refused.json()["field"]) == (400, field)


# --- jobs


def test_a_job_is_submitted_listed_and_seen_to_its_end(scene: Scene) -> None:
    first = scene.submit(no_delete=True)
    assert first.status_code == 202
    job = first.json()
    assert first.headers["Location"] == f"/v1/ingestions/{job['id']}"
    assert (job["state"], job["kind"], job["attempts"], job["queue"]["position"]) == ("queued", "run", 0, 1)
    assert job["queue"]["age_seconds"] >= 0
    second = scene.submit().json()
    listed = scene.ask(None, "GET", "/v1/ingestions?limit=1").json()["jobs"]
    assert [row["id"] for row in listed] == [second["id"]]
    assert scene.ask(None, "GET", "/v1/ingestions?limit=1000").status_code == 400
    with scene.working():
        until(lambda: scene.ask(None, "GET", first.headers["Location"]).json()["state"] == "done")
    ended = scene.ask(None, "GET", first.headers["Location"]).json()
    assert ended["report"]["generation"] == 1
    assert ended["queue"] is None
    assert ended["started"] <= ended["finished"]


def test_cancel_and_retry(scene: Scene) -> None:
    job = scene.submit().json()["id"]
    assert scene.ask(None, "POST", f"/v1/ingestions/{job}/cancel").json()["state"] == "cancelled"
    assert scene.ask(None, "POST", f"/v1/ingestions/{job}/cancel").status_code == 400
    assert scene.ask(None, "POST", f"/v1/ingestions/{job}/retry").json()["state"] == "queued"
    assert scene.ask(None, "POST", f"/v1/ingestions/{job}/retry").status_code == 400


def test_a_full_queue_is_503_with_a_time_to_come_back(scene: Scene) -> None:
    assert [scene.submit().status_code for _ in range(5)] == [202] * 5
    refused = scene.submit()
    assert (refused.status_code, refused.json()["code"]) == (503, "Overloaded")
    assert int(refused.headers["Retry-After"]) > 0
    assert scene.ask(None, "PUT", f"{HERE}/a.md", content=b"x").status_code == 503
    assert list((scene.home.path / "state").glob("spool/*")) == []


def test_events_tell_the_progress_and_the_end(scene: Scene) -> None:
    job, go = scene.submit().json()["id"], threading.Event()

    def work(job: Job, watch: Watch) -> Mapping[str, Any]:
        for done in range(3):
            watch(Progress("embedding", done, 3, 0, 0, 0, 0, 0, 1.0, None))
            assert go.wait(10)
            go.clear()
        return scene.work(job, watch)

    seen: list[tuple[str, dict[str, Any]]] = []
    with scene.working(work), scene.service.client() as client:
        with client.stream("GET", f"/v1/ingestions/{job}/events") as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            name = ""
            for line in reply.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    seen.append((name, json.loads(line.removeprefix("data: "))))
                    if (seen[-1][1]["progress"] or {}).get("stage"):
                        go.set()
    assert [name for name, _ in seen[:-1]] == ["progress"] * (len(seen) - 1)
    assert (seen[-1][0], seen[-1][1]["state"]) == ("end", "done")
    told = [data["progress"]["documents"] for _, data in seen if data["progress"]]
    assert told == sorted(told)
    assert {0, 1, 2} <= set(told)


def test_a_stream_that_has_nothing_to_say_says_so(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestions, "HEARTBEAT_SECONDS", 0.3)
    job = scene.submit().json()["id"]
    with scene.service.client() as client, client.stream("GET", f"/v1/ingestions/{job}/events") as reply:
        assert next(line for line in reply.iter_lines() if line.startswith(":")) == ": still here"


def test_streams_are_bounded_and_given_back_when_the_client_goes(scene: Scene) -> None:
    job = scene.submit().json()["id"]
    place = f"/v1/ingestions/{job}/events"
    with httpx.Client(base_url=scene.service.url, trust_env=False, limits=httpx.Limits(max_connections=None)) as client:
        streams = [client.send(client.build_request("GET", place), stream=True) for _ in range(MAX_WATCHERS)]
        assert {stream.status_code for stream in streams} == {200}
        assert client.get(place).status_code == 503
        put = client.put(f"{HERE}/a.md?wait=30", content=b"x")  # accepted is accepted: it only cannot wait
        assert put.status_code == 202
        for stream in streams:
            stream.close()
        until(lambda: 'domicile_workers_busy{pool="watchers"} 0.0' in client.get("/metrics").text)


def test_a_service_that_stops_ends_its_streams(tmp_path: Path) -> None:
    home, stopping = home_with(tmp_path), threading.Event()
    job = home.jobs().submit(Order("run", "handbook", None, "owner", {}))
    with served(replace(service_over(home), stopping=stopping.is_set)) as service, service.client() as client:
        with client.stream("GET", f"/v1/ingestions/{job.id}/events") as reply:
            lines = reply.iter_lines()
            assert next(lines) == "event: progress"
            stopping.set()
            assert [line for line in lines if line.startswith("event")] == []
        started = time.monotonic()
        assert client.put(f"{HERE}/a.md?wait=30", content=b"x").status_code == 202
        assert time.monotonic() - started < 5


def test_metrics_and_readiness_tell_of_the_queue(scene: Scene) -> None:
    scene.report = {"documents": {"added": 0, "failed": 4}}
    with scene.working():
        scene.submit()
        until(lambda: scene.home.jobs().figures().jobs.get("done") == 1)
    scene.submit()
    text = scene.ask(None, "GET", "/metrics").text
    for expected in (
        'domicile_ingestion_jobs{state="queued"} 1.0', 'domicile_ingestion_jobs{state="done"} 1.0',
        'domicile_ingestion_jobs{state="dead"} 0.0', "domicile_ingestion_documents_failed 4.0",
        "domicile_ingestion_oldest_queued_seconds 0.",
    ):  # fmt: skip
        assert expected in text
    assert scene.ask(None, "GET", "/readyz").json()["ingestion"] == {"queued": 1, "running": 0, "dead": 0}


def test_a_damaged_queue_leaves_answers_and_readiness_alone(scene: Scene) -> None:
    (scene.home.path / "state").mkdir(exist_ok=True)
    (scene.home.path / "state" / "jobs.sqlite").write_bytes(b"not a database at all" * 100)
    ready = scene.ask(None, "GET", "/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert "jobs.sqlite" in ready.json()["ingestion"]["trouble"]
    assert scene.ask(None, "GET", "/metrics").status_code == 200
    assert scene.ask(None, "GET", f"{HERE}/leave.md").status_code == 200
    assert scene.submit().status_code == 503


# --- single documents


def test_a_file_is_put_as_it_is(scene: Scene) -> None:
    data = bytes(range(256)) * 1_000  # more than another body may have
    label, metadata = {"sensitivity": "internal"}, {"source": "wiki", "tags": ["ä"]}
    with scene.working():
        reply = scene.ask(
            None,
            "PUT",
            f"{HERE}/a%20folder/b.pdf?wait=10",
            content=data,
            headers={"X-Domicile-Label": json.dumps(label), "X-Domicile-Metadata": json.dumps(metadata)},
        )
    assert reply.status_code == 201
    job = scene.home.jobs().get(reply.json()["id"])
    assert scene.done == [("a folder/b.pdf", data)]
    assert job.order.payload == {"label": label, "metadata": metadata, "groups": None}
    assert list((scene.home.path / "state" / "spool").iterdir()) == []


def test_text_is_put_like_a_row(scene: Scene) -> None:
    body = {
        "title": "Pumps",
        "text": "The pump hums. \N{SNOWMAN}",
        "metadata": {"label": {"groups": ["hr"]}, "other": 1},
    }
    with scene.working():
        reply = scene.ask(None, "PUT", f"{HERE}/pumps", json=body, headers={"Prefer": "respond-async, wait=10"})
    assert reply.status_code == 201
    assert scene.done == [("pumps", "The pump hums. \N{SNOWMAN}".encode())]
    payload = scene.home.jobs().get(reply.json()["id"]).order.payload
    assert payload == {
        "plain": True,
        "title": "Pumps",
        "label": {"groups": ["hr"]},
        "metadata": {"other": 1},
        "groups": None,
    }


def test_without_waiting_a_put_is_accepted(scene: Scene) -> None:
    started = time.monotonic()
    reply = scene.ask(None, "PUT", f"{HERE}/a.md", content=b"# A")
    assert (reply.status_code, reply.json()["state"], reply.json()["document"]) == (202, "queued", "a.md")
    waited = scene.ask(None, "PUT", f"{HERE}/a.md?wait=1", content=b"# A")  # nobody works
    assert waited.status_code == 202
    assert 1 <= time.monotonic() - started < 5
    assert scene.ask(None, "PUT", f"{HERE}/a.md?wait=61", content=b"# A").status_code == 400


def test_how_a_put_failed_is_told(scene: Scene) -> None:
    scene.report = {"failures": [{"document": "a.pdf", "kind": "encrypted", "reason": "it needs a password"}]}
    with scene.working():
        reply = scene.ask(None, "PUT", f"{HERE}/a.pdf?wait=10", content=b"%PDF")
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    told = reply.json()
    assert (told["code"], told["kind"], told["detail"]) == ("DocumentError", "encrypted", "it needs a password")
    assert scene.home.jobs().get(told["job"]).state == "failed"

    def refuse(job: Job, watch: Watch) -> None:
        raise UsageError("a document of a run has this URI")

    with scene.working(refuse):
        reply = scene.ask(None, "PUT", f"{HERE}/b.pdf?wait=10", content=b"%PDF")
    assert (reply.status_code, reply.json()["detail"]) == (422, "a document of a run has this URI")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b"{}", "text"),
        (b'{"text": 1}', "text"),
        (b'{"text": "x", "colour": 1}', "colour"),
        (b'{"text": "\\ud800"}', "body"),
        (b'{"text": "x", "metadata": []}', "metadata"),
        (b'{"text": "x", "metadata": {"label": {"regions": ["EU"]}}}', "regions"),
        (b'{"text": "x", "metadata": {"label": 1}}', "label"),
        (b'{"text": "x", "metadata": {"a": "' + b"x" * 32_000 + b'"}}', "metadata"),
    ],
)
def test_bad_text_names_the_field(quiet: Scene, body: bytes, field: str) -> None:
    reply = quiet.ask(None, "PUT", f"{HERE}/a", content=body, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["field"]) == (400, field)


@pytest.mark.parametrize("header", ["x", "[" * 5_000, '{"sensitivity": "Internal"}', '{"colour": 1}', "1"])
def test_a_malformed_label_beside_a_file_is_refused(quiet: Scene, header: str) -> None:
    reply = quiet.ask(None, "PUT", f"{HERE}/a.md", content=b"x", headers={"X-Domicile-Label": header})
    assert reply.status_code == 400


@pytest.mark.parametrize("header", ["x", "[" * 5_000, "[]", "1", '{"label": {}}', json.dumps({"a": "x" * 32_000})])
def test_malformed_metadata_beside_a_file_is_refused(quiet: Scene, header: str) -> None:
    reply = quiet.ask(None, "PUT", f"{HERE}/a.md", content=b"x", headers={"X-Domicile-Metadata": header})
    assert (reply.status_code, reply.json()["field"]) == (400, "X-Domicile-Metadata")


def test_uploads_have_a_bound_of_their_own(scene: Scene) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(400):
            yield b"x" * 1_000

    declared = scene.ask(None, "PUT", f"{HERE}/a", content=b"x" * 300_001)
    undeclared = scene.ask(None, "PUT", f"{HERE}/a", content=endless())
    as_json = scene.ask(None, "PUT", f"{HERE}/a", json={"text": "x" * 200_000})
    elsewhere = scene.ask(None, "POST", "/v1/search", content=b"x" * 200_000)
    assert [r.status_code for r in (declared, undeclared, as_json, elsewhere)] == [413] * 4
    assert "ingestion.max_upload_bytes" in declared.json()["detail"]
    assert "server.max_body_bytes" in as_json.json()["detail"]
    assert list((scene.home.path / "state" / "spool").iterdir()) == []
    assert scene.ask(None, "PUT", f"{HERE}/a", content=b"x" * 300_000).status_code == 202


def test_half_an_upload_leaves_nothing(scene: Scene) -> None:
    def half() -> Iterator[bytes]:
        yield b"x" * 100_000
        until(lambda: list((scene.home.path / "state").glob("spool/*")))
        raise KeyError  # the client goes away

    with pytest.raises(KeyError):
        scene.ask(None, "PUT", f"{HERE}/a", content=half())
    until(lambda: not list((scene.home.path / "state" / "spool").iterdir()))
    assert scene.home.jobs().newest(1) == []


def test_what_a_key_may_not_read_it_may_not_replace_or_delete(scene: Scene) -> None:
    staff, hr = scene.key(), scene.key("hr")
    hidden = f"{HERE}/hr/salaries.md"
    refused = scene.ask(staff, "PUT", hidden, content=b"mine now")
    assert (refused.status_code, refused.json()["code"]) == (403, "Forbidden")
    gone, absent = scene.ask(staff, "DELETE", hidden), scene.ask(staff, "DELETE", f"{HERE}/hr/nothing.md")
    assert (gone.status_code, gone.text.replace("salaries", "nothing")) == (404, absent.text)
    assert scene.home.jobs().newest(1) == []
    assert [scene.ask(hr, "PUT", hidden, content=b"x").status_code, scene.ask(hr, "DELETE", hidden).status_code] == [
        202
    ] * 2
    payloads = [job.order.payload for job in scene.home.jobs().newest(2)]
    assert [payload["groups"] for payload in payloads] == [["hr"]] * 2  # the worker looks again, with these


def test_what_is_on_its_way_from_another_key_looks_like_what_is_not_there(scene: Scene) -> None:
    hr, staff = scene.key("hr"), scene.key()
    assert scene.ask(hr, "PUT", f"{HERE}/new.md", content=b"x").status_code == 202
    guessed, absent = scene.ask(staff, "DELETE", f"{HERE}/new.md"), scene.ask(staff, "DELETE", f"{HERE}/nil.md")
    assert (guessed.status_code, guessed.text.replace("new", "nil")) == (404, absent.text)
    assert scene.ask(hr, "DELETE", f"{HERE}/new.md").status_code == 202


def test_two_content_types_are_one_for_every_bound(scene: Scene) -> None:
    """A body taken for a file by one part and for JSON by another would come into memory whole."""
    types = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]
    large = json.dumps({"text": "x" * 250_000}).encode()
    assert scene.ask(None, "PUT", f"{HERE}/a", content=large, headers=types).status_code == 413
    assert scene.ask(None, "PUT", f"{HERE}/a", content=large, headers=types[1:]).status_code == 202  # control: a file


def test_a_stream_ends_with_its_key(scene: Scene) -> None:
    made = scene.home.keys().create("acme", frozenset(), None, may_ingest=True)
    job = scene.ask(made.key, "PUT", f"{HERE}/a", content=b"x").json()["id"]
    with scene.service.client(made.key) as client, client.stream("GET", f"/v1/ingestions/{job}/events") as reply:
        lines = reply.iter_lines()
        assert next(lines) == "event: progress"
        scene.home.keys().revoke(made.id)
        assert not [line for line in lines if line.startswith("event:")]


def test_what_is_on_its_way_may_be_deleted(scene: Scene) -> None:
    assert scene.ask(None, "DELETE", f"{HERE}/new.md").status_code == 404
    scene.ask(None, "PUT", f"{HERE}/new.md", content=b"x")
    assert scene.ask(None, "DELETE", f"{HERE}/new.md").status_code == 202
    with scene.working():
        until(lambda: [name for name, _ in scene.done] == ["new.md", "new.md"])  # in this order


def test_uris_are_bounded(quiet: Scene) -> None:
    assert quiet.ask(None, "PUT", f"{HERE}/" + "x" * 1_025, content=b"x").status_code == 400
    assert quiet.ask(None, "PUT", f"{HERE}/", content=b"x").status_code == 400
    for method in ("PUT", "DELETE"):  # both would be one document, of the name U+FFFD
        assert quiet.ask(None, method, f"{HERE}/%FF").json()["field"] == "uri"
    control = quiet.ask(None, "PUT", f"{HERE}/%C3%BF", content=b"x", headers={"X-Domicile-Label": "{"})
    assert control.json()["field"] == "X-Domicile-Label"
