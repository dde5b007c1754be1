"""Conversations over a corpus of every label, with providers that fail in every way: who got which bytes, judged from outside.

``make residency-nightly`` runs the same with 2,000 conversations and 10,000 canaries.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from canaries import found_in
from conversations import COLLECTIONS, KEYS, OWNER, PROVIDER_CANARY, SINKS, World, settings
from processes import command, serving
from provider import Fault, Received, RecordingProvider, recording_provider
from reference_policy import NARROWEST
from residency import records
from residency_oracle import Evidence, Exchange, allowed, label_of, may_read, rightly_quoted, violations
from services import ingest, served, service_over, until
from speakers import Speakers

from domicile.answering import Limits
from domicile.audit_verifier import verify
from domicile.bootstrap import Home
from domicile.domain import Prompt, Sensitivity, Usage
from domicile.ports import Provider, ProviderState
from domicile.routing import Routing
from domicile.testing import ScriptedGenerator

CONVERSATIONS = int(os.environ.get("DOMICILE_CONVERSATIONS", "100"))
CANARIES = int(os.environ.get("DOMICILE_CANARIES", "500"))
WITH_THE_MODEL = CONVERSATIONS // 5
FAULTS: tuple[Fault, ...] = (
    "hang", "error", "slow_headers", "busy", "html", "trickle", "reset", "empty", "reset_midway", "redirect", "stall",
    "huge", "busy_now", "cut", "rejected", "no_choice", "garbage", "failing", "split", "compressed", "no_usage",
    "wrong_usage", "whole", "unauthorized",
)  # fmt: skip
ENDS = ("acme-eu", "acme-us", "own-de", "local")


def failing(number: int, received: Received) -> Fault:
    """Every second request fails, each time in another way, so that no circuit opens for long."""
    return FAULTS[number // 2 % len(FAULTS)] if number % 2 else "ok"


def well(number: int, received: Received) -> Fault:
    return "ok"


def reader(received: Received) -> str:
    """Answers with the sentence of the sources that has most words of the question."""
    system, question = (message["content"] for message in received.json["messages"])
    asked = set(question.lower().rstrip("?").split())
    sentences = system.split("<sources>\n")[1].replace("\n", " ").split(". ")
    return max(sentences, key=lambda sentence: len(asked & set(sentence.lower().split()))).strip() + ". [1]"


@dataclass(slots=True)
class Scratch:
    """A folder for temporary files, and everything that was ever met in it."""

    folder: Path
    met: dict[Path, bytes] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self._look()
        self._look()

    def _look(self) -> None:
        with suppress(OSError):  # gone meanwhile; the next look meets what is beside it
            for path in self.folder.rglob("*"):
                if path.is_file():
                    self.met[path] = path.read_bytes()

    def contents(self) -> bytes:
        return b"\n".join(str(path).encode() + b"\n" + data for path, data in self.met.items())


@contextmanager
def sinks(script: Callable[[int, Received], Fault]) -> Iterator[dict[str, RecordingProvider]]:
    """A recording provider for each sink, and one under ``stray``, which nobody declared and where redirects lead."""
    with ExitStack() as stack:
        stray = stack.enter_context(recording_provider())
        made = {name: stack.enter_context(recording_provider(reader, script)) for name in SINKS}
        for provider in made.values():
            provider.elsewhere = f"{stray.url}/chat/completions"
        yield {**made, "stray": stray}


@pytest.fixture(scope="module")
def world() -> World:
    return World.generated(5, CANARIES * 2 // 7)


@pytest.fixture(scope="module")
def corpus(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that holds the documents of the world."""
    path = tmp_path_factory.mktemp("corpus")
    world.write(path / "source")
    (path / "home").mkdir()
    (path / "home" / "domicile.toml").write_text(settings(dict.fromkeys(SINKS, "http://127.0.0.1:9/v1"), 1.0))
    home = Home.open(path / "home", {})
    for name in COLLECTIONS:
        ingest(home, path / "source" / name, name)
    return path / "home"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scratch]:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    found = Scratch(folder)
    with found.watched():
        yield found


@dataclass(slots=True)
class Stage:
    """A service with fakes for the models, over real HTTP, and everything that it leaves behind."""

    world: World
    corpus: Path
    path: Path
    scratch: Scratch
    log: pytest.LogCaptureFixture
    providers: Mapping[str, RecordingProvider] = field(default_factory=dict)

    def evidence(
        self,
        conversations: int,
        script: Callable[[int, Received], Fault],
        *,
        threads: int = 8,
        seconds: float = 0.7,
        seed: int = 1,
        tamper: Callable[[Routing], None] = lambda routing: None,
    ) -> Evidence:
        self.log.set_level(logging.DEBUG)
        shutil.copytree(self.corpus, self.path / "home")
        with sinks(script) as self.providers:
            urls = {name: provider.url for name, provider in self.providers.items()}
            (self.path / "home" / "domicile.toml").write_text(settings(urls, seconds))
            home = Home.open(self.path / "home", {"SINK_KEY": PROVIDER_CANARY})
            keys = {key.name: home.keys().create(str(key.tenant), key.groups or frozenset(), None).key for key in KEYS}
            with closing(home.routing()) as routing:
                tamper(routing)
                routing.warm_up()
                until(lambda: not any(thread.name.startswith("warm up") for thread in threading.enumerate()), 60)
                service = service_over(
                    home, ScriptedGenerator(["I would not know."]), Limits(evidence_threshold=0), routing=routing
                )
                with served(replace(service, answers=(threads, 2 * threads))) as at:
                    speakers = Speakers(self.world, at.url, keys)
                    speakers.talk(self.world.conversations(seed, conversations), threads)
                    with at.client() as client:
                        metrics = client.get("/metrics").content
        seen = {
            "the log": self.log.text.encode(),
            "metrics": metrics,
            "an error": b"\n".join(speakers.errors),
            "a temporary file": self.scratch.contents(),
        }
        return gathered(self.world, home, speakers, self.providers, seen)


def gathered(
    world: World,
    home: Home,
    speakers: Speakers,
    providers: Mapping[str, RecordingProvider],
    seen: Mapping[str, bytes],
) -> Evidence:
    received = {name: tuple(provider.received) for name, provider in providers.items()}
    answers = {record["id"]: record for record in records(home, "answer")}
    return Evidence(world, home.path, tuple(speakers.exchanges), received, records(home, "egress"), answers, seen)


@pytest.fixture
def stage(world: World, corpus: Path, tmp_path: Path, scratch: Scratch, caplog: pytest.LogCaptureFixture) -> Stage:
    return Stage(world, corpus, tmp_path, scratch, caplog)


def test_the_corpus_is_what_it_says(world: World) -> None:
    nowhere = [paper for paper in world.papers if not allowed(paper.tenant, [label_of(paper)])]
    assert sum(len(paper.canaries) for paper in nowhere) >= CANARIES
    assert {name for paper in world.papers for name in allowed(paper.tenant, [label_of(paper)])} == {*SINKS} - {
        "later-eu"
    }


WORD = "Vörulanemi"  # as a canary may be


@pytest.mark.parametrize(
    "written",
    [
        WORD.encode(),
        WORD.upper().encode(),
        b"Vorulanemi",
        f"x_{WORD}ssen7".encode(),
        quote(WORD).encode(),
        json.dumps({"a": WORD}).encode(),
        base64.b64encode(WORD.encode()),
        base64.b64encode(f"1{WORD} and so on".encode()),
        base64.urlsafe_b64encode(f"22{WORD}".encode()),
        WORD.encode().hex().encode(),
    ],
)
def test_a_canary_is_found_however_it_is_written(written: bytes) -> None:
    assert found_in(b"before \xff " + written + b" after", [WORD, "Tarimupola"]) == {WORD}
    assert found_in(written, ["Tarimupola"]) == set()


def test_without_faults_every_question_goes_where_its_labels_allow(stage: Stage) -> None:
    evidence = stage.evidence(CONVERSATIONS // 3, well, threads=1, seconds=30, seed=2)
    assert list(violations(evidence, exact=True)) == []
    assert rightly_quoted(evidence) > 0.95  # the fake embedder knows no better
    routes = _routes(evidence)
    assert min(routes[name] for name in (*ENDS, "cache")) >= 3, routes
    assert not any(exchange.told["degraded"] for exchange in evidence.exchanges)


def test_whatever_fails_nothing_leaves_that_may_not(stage: Stage) -> None:
    evidence = stage.evidence(CONVERSATIONS - WITH_THE_MODEL, failing)
    assert list(violations(evidence, exact=False)) == []
    assert rightly_quoted(evidence) > 0.95
    assert verify(evidence.home / "audit").ok
    routes, landed = _routes(evidence), _landed(stage.providers)
    assert min(routes[name] for name in (*ENDS, "cache")) >= 3, routes
    assert landed.keys() >= set(FAULTS), landed
    assert any(exchange.told["degraded"] == "provider" for exchange in evidence.exchanges)
    assert stage.providers["stray"].connections == stage.providers["later-eu"].connections == 0


def test_the_same_with_the_real_models_as_a_process(tmp_path: Path, models_dir: Path, scratch: Scratch) -> None:
    """As the owner, who may read everything."""
    world = World.generated(6, 60)
    world.write(tmp_path / "source")
    home = Home.open(tmp_path / "home", {})
    home.path.mkdir()
    home.models_dir.symlink_to(models_dir)
    with sinks(failing) as providers:
        urls = {name: provider.url for name, provider in providers.items()}
        (home.path / "domicile.toml").write_text(settings(urls, 2.5))
        for name in COLLECTIONS:
            command(home.path, "ingest", "run", tmp_path / "source" / name, "--collection", name)
        told = {"SINK_KEY": PROVIDER_CANARY, "DOMICILE_ANSWERING__MAX_TOKENS": "24"}  # a sentence is enough
        with serving(home.path, tmp_path / "log", told) as url:
            speakers = Speakers(world, url, {})
            speakers.talk(world.conversations(3, WITH_THE_MODEL, (OWNER,)), 4)
            metrics = httpx.get(f"{url}/metrics", trust_env=False).content
        errors, log = b"\n".join(speakers.errors), (tmp_path / "log").read_bytes()
        seen = {"the log": log, "metrics": metrics, "an error": errors, "a temporary file": scratch.contents()}
        evidence = gathered(world, home, speakers, providers, seen)
    assert list(violations(evidence, exact=False)) == []
    assert rightly_quoted(evidence) == 1
    assert command(home.path, "audit", "verify")["ok"]
    for exchange in evidence.exchanges[:: len(evidence.exchanges) // 3]:
        assert command(home.path, "receipts", "verify", exchange.told["receipt"])["ok"]
    routes, landed = _routes(evidence), _landed(providers)
    assert min(routes[name] for name in ("acme-eu", "own-de", "local", "cache")) >= 1, routes
    assert len(landed.keys() & set(FAULTS)) >= 5, landed
    written = [each for each in evidence.exchanges if each.told["decision"]["model"] == "smollm2-135m"]
    assert any(exchange.told["grounded"] == "kept" for exchange in written)


class Careless:
    """A provider behind which something else reads along, or changes what is sent."""

    def __init__(self, inner: Provider) -> None:
        self._inner = inner
        self.name, self.warm_up, self.close = inner.name, inner.warm_up, inner.close

    @property
    def state(self) -> ProviderState:
        return self._inner.state

    def generate(self, prompt: Prompt, **call: Any) -> Iterator[str | Usage]:
        logging.getLogger("careless").debug("%s", prompt.messages[0].content)
        with tempfile.NamedTemporaryFile("w", delete=False) as file:
            file.write(prompt.messages[0].content)
        authorize = call.pop("authorize")
        yield from self._inner.generate(prompt, **call, authorize=lambda body: authorize(body + b" "))


def _read_along(routing: Routing) -> None:
    routing.providers = {name: Careless(provider) for name, provider in routing.providers.items()}


def _declare_too_much(routing: Routing) -> None:
    """As if the provider in the US had said that it is this machine."""
    here = frozenset({"local"})
    us = replace(
        routing.declared.sinks["acme-us"],
        processing_regions=here,
        storage_regions=here,
        retention_days=0,
        max_sensitivity=Sensitivity.RESTRICTED,
        human_review=False,
        self_hosted=True,
    )
    routing.declared = replace(routing.declared, sinks={**routing.declared.sinks, us.name: us})


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (_read_along, {"leak: the log has", "leak: a temporary file has", "books: acme-eu:"}),
        (_declare_too_much, {"leak: acme-us got", "route: acme-us answered", "answer: hosted answered"}),
    ],
)
def test_what_is_planted_is_found(stage: Stage, tamper: Callable[[Routing], None], found: set[str]) -> None:
    evidence = stage.evidence(20, well, seconds=30, tamper=tamper)
    told = "\n".join(violations(evidence, exact=False))
    assert {what for what in found if what not in told} == set(), told[:2_000]


def test_each_kind_of_violation_is_seen(stage: Stage) -> None:
    """A run that was in order, with one thing in it changed."""
    honest = stage.evidence(20, well, seconds=30)
    assert list(violations(honest, exact=False)) == []
    left = stage.path / "left"
    (left / "state").mkdir(parents=True)
    honest = replace(honest, seen={}, home=left)  # what was looked through is not looked through again
    hosted = next(each for each in honest.exchanges if each.told["decision"]["route"] == "hosted")
    sink = hosted.told["decision"]["sink"]
    (first, *rest), clerk = (
        honest.received[sink],
        next(each for each in honest.exchanges if not each.conversation.key.groups),
    )
    hidden = next(paper for paper in honest.world.papers if not may_read(clerk.conversation.key, paper))
    secret = next(paper for paper in honest.world.papers if sink not in allowed(paper.tenant, [label_of(paper)]))

    def told(change: Evidence) -> str:
        return "\n".join(violations(change, exact=False))

    def with_exchange(changed: Exchange, old: Exchange) -> Evidence:
        return replace(honest, exchanges=[changed if each is old else each for each in honest.exchanges])

    def with_first(body: bytes) -> Evidence:
        return replace(honest, received={**honest.received, sink: [replace(first, body=body), *rest]})

    assert f"books: {sink}: 1 bodies arrived" in told(with_first(first.body + b" "))
    assert f"books: {sink}: 1 bodies are" in told(replace(honest, received={**honest.received, sink: rest}))
    assert f"leak: {sink} got the heading" in told(with_first(first.body + secret.canaries["heading"].lower().encode()))
    assert "leak: an error has the path" in told(
        replace(honest, seen={"an error": base64.b64encode(secret.canaries["path"].encode())})
    )
    assert "leak: metrics has the secret" in told(replace(honest, seen={"metrics": PROVIDER_CANARY.encode()}))
    assert "access: " in told(with_exchange(replace(clerk, raw=hidden.canaries["table"].encode()), clerk))
    assert f"route: {sink} answered" in told(with_exchange(replace(hosted, behind=(NARROWEST,)), hosted))
    assert "receipt: " in told(with_exchange(replace(hosted, receipt={**hosted.receipt, "egress": []}), hosted))
    assert "receipt: " in told(replace(honest, answers={}))
    (left / "state" / "spool").write_text(hidden.canaries["metadata"])
    assert "at rest: state/spool has the metadata" in told(honest)


def _routes(evidence: Evidence) -> Counter[str]:
    decisions = [exchange.told["decision"] for exchange in evidence.exchanges]
    return Counter(decision["sink"] or decision["route"] for decision in decisions)


def _landed(providers: Mapping[str, RecordingProvider]) -> Counter[str]:
    return sum((provider.landed for provider in providers.values()), Counter())
