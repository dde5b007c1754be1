"""Conversations over a corpus of every label, with providers that fail in every way: who got which bytes, judged from outside.

``make residency-nightly`` runs the same with 2,000 conversations and 10,000 canaries.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from conversations import (
    CEILINGS,
    COLLECTIONS,
    KEYS,
    OWNER,
    PROVIDER_CANARY,
    SINKS,
    Conversation,
    Key,
    Table,
    Turn,
    World,
    settings,
)
from provider import Fault, Received, RecordingProvider, recording_provider
from residency import records
from residency_oracle import Evidence, Exchange, Memory, allowed, label_of, packed, payload, violations
from services import ingest, served, service_over, until

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
DOMICILE = Path(sys.executable).with_name("domicile")
FAULTS: tuple[Fault, ...] = (
    "hang", "error", "slow_headers", "busy", "html", "trickle", "reset", "empty", "reset_midway", "redirect", "stall",
    "huge", "busy_now", "cut", "rejected", "no_choice", "garbage", "failing", "split", "compressed", "no_usage",
    "wrong_usage", "whole", "unauthorized",
)  # fmt: skip
ENDS = ("acme-eu", "acme-us", "own-de", "local")
RUDE: tuple[tuple[Table, int], ...] = (
    ({"domicile": {"regions": ["EU"]}}, 400),
    ({"domicile": {"sensitivity": "Public"}}, 400),
    ({"domicile": {"mode": "hosted"}}, 400),
    ({"model": "nowhere"}, 404),
    ({"messages": [{"role": "user", "content": " "}]}, 400),
    ({"messages": "none"}, 400),
)


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
        body = {"model": talk.collection, "messages": messages, "stream": turn.stream, "domicile": turn.flags}
        response = client.post("/v1/chat/completions", json=body)
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
                service = service_over(home, ScriptedGenerator(["I would not know."]), Limits(evidence_threshold=0), routing=routing)
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
    assert {name for paper in world.papers for name in allowed(paper.tenant, [label_of(paper)])} == {*SINKS} - {"later-eu"}


def test_without_faults_every_question_goes_where_its_labels_allow(stage: Stage) -> None:
    evidence = stage.evidence(CONVERSATIONS // 3, well, threads=1, seconds=30, seed=2)
    assert list(violations(evidence, exact=True)) == []
    routes = _routes(evidence)
    assert min(routes[name] for name in (*ENDS, "cache")) >= 3, routes
    assert not any(exchange.told["degraded"] for exchange in evidence.exchanges)


def test_whatever_fails_nothing_leaves_that_may_not(stage: Stage) -> None:
    evidence = stage.evidence(CONVERSATIONS - WITH_THE_MODEL, failing)
    assert list(violations(evidence, exact=False)) == []
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
        (home.path / "domicile.toml").write_text(settings(urls, 1.5))
        for name in COLLECTIONS:
            _command(home, "ingest", "run", tmp_path / "source" / name, "--collection", name)
        with _process(home, tmp_path / "log") as url:
            speakers = Speakers(world, url, {})
            speakers.talk(world.conversations(3, WITH_THE_MODEL, (OWNER,)), 4)
            metrics = httpx.get(f"{url}/metrics", trust_env=False).content
        errors, log = b"\n".join(speakers.errors), (tmp_path / "log").read_bytes()
        seen = {"the log": log, "metrics": metrics, "an error": errors, "a temporary file": scratch.contents()}
        evidence = gathered(world, home, speakers, providers, seen)
    assert list(violations(evidence, exact=False)) == []
    assert _command(home, "audit", "verify")["ok"]
    for exchange in evidence.exchanges[:: len(evidence.exchanges) // 3]:
        assert _command(home, "receipts", "verify", exchange.told["receipt"])["ok"]
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


def _routes(evidence: Evidence) -> Counter[str]:
    decisions = [exchange.told["decision"] for exchange in evidence.exchanges]
    return Counter(decision["sink"] or decision["route"] for decision in decisions)


def _landed(providers: Mapping[str, RecordingProvider]) -> Counter[str]:
    return sum((provider.landed for provider in providers.values()), Counter())


def _command(home: Home, *arguments: str | Path) -> Table:
    done = subprocess.run(
        [DOMICILE, "--home", home.path, "--json", *arguments], check=True, capture_output=True, text=True
    )
    told: Table = json.loads(done.stdout)
    return told


@contextmanager
def _process(home: Home, log: Path) -> Iterator[str]:
    """``domicile serve`` at its address, until the block ends."""
    with log.open("wb") as stderr, subprocess.Popen(
        [DOMICILE, "--home", home.path, "serve", "--port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env={**os.environ, "SINK_KEY": PROVIDER_CANARY, "DOMICILE_ANSWERING__MAX_TOKENS": "24"},  # a sentence is enough
    ) as started:  # fmt: skip
        try:
            until(lambda: "http://" in log.read_text(), 60)
            url = log.read_text().split("http://")[1].split("/")[0]
            with httpx.Client(base_url=f"http://{url}", trust_env=False) as client:
                until(lambda: client.get("/readyz").json()["models"]["smollm2-135m"]["state"] == "ready", 60)
            yield f"http://{url}"
        finally:
            started.send_signal(signal.SIGTERM)
            assert started.wait(30) == 0
