"""Where the bytes of an answer go: over real HTTP to a recording provider, with the audit log beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from provider import Fault, Received, RecordingProvider, recording_provider
from residency import (
    ASK_CANTEEN,
    ASK_PARKING,
    ASK_REACTOR,
    ASK_WARRANTY,
    CANTEEN,
    DOCUMENTS,
    KEYS,
    REACTOR,
    hashes,
    records,
    routed,
    sink,
)
from services import home_with, ingest, served, service_over, until

from domicile.adapters.indexes import LocalIndexes
from domicile.answering import Limits
from domicile.bootstrap import Home
from domicile.testing import ScriptedGenerator


@dataclass(frozen=True, slots=True)
class Scene:
    """A served collection with one recorded provider behind it."""

    home: Home
    provider: RecordingProvider
    client: httpx.Client
    indexes: LocalIndexes

    def ask(self, question: str, history: list[dict[str, str]] | None = None, **fields: Any) -> dict[str, Any]:
        response = self.post(question, history, **fields)
        assert response.status_code == 200, response.text
        told: dict[str, Any] = response.json()["domicile"]
        return told

    def post(self, question: str, history: list[dict[str, str]] | None = None, **fields: Any) -> httpx.Response:
        messages = [*(history or []), {"role": "user", "content": question}]
        return self.client.post("/v1/chat/completions", json={"model": "handbook", "messages": messages, **fields})

    def everything_sent_was_written_down(self) -> None:
        assert hashes(self.provider.bodies) == [record["body_sha256"] for record in records(self.home, "egress")]


def echo(received: Received) -> str:
    """The first passage of the sources, as a model that keeps to them would answer."""
    system = received.json["messages"][0]["content"]
    passage = system.split("<sources>\n")[1].split("\n")[1]
    return f"{passage.split(': ', 1)[-1]} [1]"


@contextmanager
def scene(
    path: Path,
    script: list[Fault] | None = None,
    settings: Callable[[str], str] = lambda url: sink("acme-eu", url) + routed("acme-eu", "local"),
    documents: dict[str, str] = DOCUMENTS,
    threshold: float = 0.05,
) -> Iterator[Scene]:
    with recording_provider(echo, script=script or ["ok"]) as provider:
        home = home_with(path, documents, settings=settings(provider.url), environment=KEYS)
        llm, routing = ScriptedGenerator(["I would not know."]), home.routing()
        parts = service_over(home, llm, Limits(evidence_threshold=threshold), routing=routing)
        assert isinstance(parts.indexes, LocalIndexes)
        with closing(routing), served(parts) as service, service.client() as client:
            yield Scene(home, provider, client, parts.indexes)


def test_what_is_cleared_goes_to_the_provider_and_is_paid_for(tmp_path: Path) -> None:
    with scene(tmp_path) as at:
        told = at.ask(ASK_CANTEEN)
        assert (told["decision"]["route"], told["decision"]["sink"], told["decision"]["region"]) == (
            "hosted",
            "acme-eu",
            "de",
        )
        assert told["grounded"] == "kept"
        assert told["answer"].startswith(f"{CANTEEN} [1]")
        assert told["decision"]["denied"] == []
        assert told["degraded"] is None
        usage = told["usage"]
        paid = (usage["prompt_tokens"] * 0.15 + usage["completion_tokens"] * 0.60) / 1e6
        assert usage["completion_tokens"] > 0
        assert told["cost"] == {"currency": "USD", "amount": pytest.approx(paid, abs=1e-9)}
        [receipt] = records(at.home, "answer")
        assert receipt["id"] == told["receipt"]
        assert receipt["egress"] == [record["id"] for record in records(at.home, "egress")]
        at.everything_sent_was_written_down()


@pytest.mark.parametrize(
    ("question", "reasons"),
    [
        (ASK_REACTOR, ["region", "storage", "sensitivity", "hosted"]),
        (ASK_PARKING, ["region", "storage", "sensitivity", "hosted"]),  # unlabelled is the most restrictive
        (f"{ASK_CANTEEN} joe@example.com", ["categories"]),
    ],
)
def test_what_is_not_cleared_is_answered_here(tmp_path: Path, question: str, reasons: list[str]) -> None:
    with scene(tmp_path, threshold=0.0) as at:
        told = at.ask(question)
        assert told["decision"]["route"] == "local"
        assert told["decision"]["denied"] == [{"sink": "acme-eu", "reasons": reasons}]
        assert told["degraded"] is None
        assert at.provider.connections == 0
        assert told["receipt"].startswith("r_")


@pytest.mark.parametrize(
    "flags",
    [{"regions": ["us"]}, {"regions": ["local"]}, {"sensitivity": "confidential"}, {"hosted": False}],
)
def test_a_flag_narrows(tmp_path: Path, flags: dict[str, Any]) -> None:
    with scene(tmp_path) as at:
        assert at.ask(ASK_WARRANTY, domicile=flags)["decision"]["route"] == "local"
        assert at.provider.connections == 0
        assert at.ask(ASK_WARRANTY, domicile={"regions": ["eu"]})["decision"]["route"] == "hosted"


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        ({"regions": ["us"]}, "regions"),
        ({"regions": ["eu", "us"]}, "regions"),
        ({"sensitivity": "public"}, "sensitivity"),
        ({"hosted": True}, "hosted"),
        ({"regions": []}, "regions"),
        ({"regions": ["EU"]}, "regions"),
        ({"sensitivity": "Internal"}, "sensitivity"),
    ],
)
def test_a_flag_beyond_the_ceiling_is_refused(tmp_path: Path, flags: dict[str, Any], field: str) -> None:
    ceiling = '[tenants.default.label]\nregions = ["eu"]\nsensitivity = "internal"\nhosted = false\n'
    with scene(tmp_path, settings=lambda url: sink("acme-eu", url) + routed("acme-eu") + ceiling) as at:
        refused = at.post(ASK_WARRANTY, domicile=flags)
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == field
        assert at.ask(ASK_WARRANTY, domicile={"regions": ["eu", "local"]})["decision"]["route"] == "local"
        assert at.provider.connections == 0


def test_an_answer_carries_its_label_into_the_next_turn(tmp_path: Path) -> None:
    with scene(tmp_path) as at:
        secret, cleared = at.ask(ASK_REACTOR), at.ask(ASK_CANTEEN)
        assert REACTOR in secret["answer"]

        def sent(*history: tuple[str, str], question: str = ASK_WARRANTY) -> bool:
            """Whether a new question after this history goes to the provider."""
            before = len(at.provider.bodies)
            at.ask(question, [{"role": role, "content": text} for role, text in history])
            return len(at.provider.bodies) > before

        asked = iter(f"{ASK_WARRANTY}{' ?' * n}" for n in range(100))  # none of them is in the cache
        assert sent(("user", "So?"), ("assistant", cleared["answer"]), question=next(asked))
        assert sent(("assistant", f"  {cleared['answer']}\n"), question=next(asked))  # clients trim
        assert sent(("assistant", ""), question=next(asked))
        assert sent(("system", "Be brief."), question=next(asked))
        assert not sent(("assistant", secret["answer"]), question=next(asked))
        assert not sent(("assistant", secret["answer"]), ("user", "Well?"), ("assistant", cleared["answer"]))
        assert not sent(("assistant", "I made this up."), question=next(asked))
        assert not sent(("tool", "rows"), question=next(asked))
        assert not sent(("user", "Mail joe@example.com"), question=next(asked))
        assert not sent(("user", secret["answer"]), question=next(asked))  # pasted by a person, or by a client
        flat = f"User: name? Assistant: > {REACTOR} [1] User: {ASK_WARRANTY}"
        assert not sent(question=flat)
        assert sent(("user", f"> {CANTEEN} [1]"), question=f"{ASK_WARRANTY} Please.")
        assert REACTOR.encode() not in b"".join(at.provider.bodies)


@pytest.mark.parametrize("fault", ["error", "busy", "reset", "html", "empty", "garbage", "redirect", "rejected"])
def test_a_provider_that_fails_leaves_the_question_here(tmp_path: Path, fault: Fault) -> None:
    with scene(tmp_path, [fault]) as at:
        told = at.ask(ASK_CANTEEN)
        assert told["decision"]["route"] == "local"
        assert told["degraded"] == "provider"
        assert [denied["sink"] for denied in told["decision"]["denied"]] == ["acme-eu"]
        until(lambda: at.provider.landed[fault] >= 1)
        assert CANTEEN in told["answer"]
        at.everything_sent_was_written_down()


def test_the_next_sink_gets_only_what_it_may(tmp_path: Path) -> None:
    """A provider in the EU fails: the one in the US is next, for what may go there and for nothing else."""

    with recording_provider(echo) as american:

        def settings(url: str) -> str:
            us = sink("acme-us", american.url, processing_regions='["us"]', storage_regions='["us"]')
            return sink("acme-eu", url) + us + routed("acme-eu", "acme-us", "local")

        with scene(tmp_path, ["error"], settings) as at:
            told = at.ask(ASK_CANTEEN)
            assert (told["decision"]["route"], american.connections) == ("local", 0)
            assert [denied["reasons"] for denied in told["decision"]["denied"]] == [["down"], ["region", "storage"]]
            told = at.ask(ASK_WARRANTY)
            assert (told["decision"]["route"], told["decision"]["sink"]) == ("hosted", "acme-us")
            assert told["decision"]["denied"] == [{"sink": "acme-eu", "reasons": ["down"]}]
            sent = hashes(at.provider.bodies + american.bodies)
            assert sorted(sent) == sorted(record["body_sha256"] for record in records(at.home, "egress"))


def test_a_repeated_question_is_answered_from_the_cache(tmp_path: Path) -> None:
    with scene(tmp_path) as at:
        first, again = at.ask(ASK_CANTEEN), at.ask(f"  {ASK_CANTEEN} ")
        assert (again["cached"], again["decision"]["route"]) == (True, "cache")
        assert (again["answer"], again["citations"]) == (first["answer"], first["citations"])
        assert again["cost"]["amount"] == 0
        assert again["receipt"] not in (None, first["receipt"])
        assert records(at.home, "answer")[1]["cached_from"] == first["receipt"]
        narrowed = at.ask(ASK_CANTEEN, domicile={"hosted": False})
        assert (narrowed["cached"], narrowed["decision"]["route"]) == (False, "local")
        assert len(at.provider.bodies) == 1


def test_a_spent_budget_keeps_the_question_here(tmp_path: Path) -> None:
    budget = "[tenants.default]\nbudget_day = 0.41\n"
    price = {"price": "{ input_per_million = 0.15, output_per_million = 1000 }"}  # at most 400 tokens: 0.40
    with scene(tmp_path, settings=lambda url: sink("acme-eu", url, **price) + routed("acme-eu") + budget) as at:
        assert at.ask(ASK_CANTEEN)["decision"]["route"] == "hosted"
        told = at.ask(ASK_WARRANTY)
        assert told["decision"]["route"] == "local"
        assert told["degraded"] == "budget"
        assert told["decision"]["denied"] == [{"sink": "acme-eu", "reasons": ["budget"]}]
        assert len(at.provider.bodies) == 1


def test_without_an_audit_log_nothing_leaves(tmp_path: Path) -> None:
    with scene(tmp_path) as at:
        assert at.ask(ASK_WARRANTY)["decision"]["route"] == "hosted"
        [log] = (at.home.path / "audit").glob("*.log")
        log.write_bytes(log.read_bytes().replace(b'"hosted"', b'"Hosted"', 1))
        told = at.ask(ASK_CANTEEN)
        assert (told["decision"]["route"], told["receipt"], told["degraded"]) == ("local", None, "audit")
        assert told["decision"]["denied"] == [{"sink": "acme-eu", "reasons": ["audit"]}]
        assert len(at.provider.bodies) == 1
        assert "trouble" in at.client.get("/readyz").json()["audit"]


def test_without_its_secret_a_sink_is_not_there(tmp_path: Path) -> None:
    unset = {"api_key": '{ env = "NOBODY_SET_THIS" }'}
    with scene(tmp_path, settings=lambda url: sink("acme-eu", url, **unset) + routed("acme-eu")) as at:
        assert at.client.get("/readyz").json()["sinks"] == {"acme-eu": {"state": "no_secret"}}
        told = at.ask(ASK_CANTEEN)
        assert (told["decision"]["route"], told["degraded"]) == ("local", "provider")
        assert told["decision"]["denied"] == [{"sink": "acme-eu", "reasons": ["no_secret"]}]


def test_a_redacting_sink_gets_the_question_without_what_was_found(tmp_path: Path) -> None:
    redact = {"redact": "true"}
    with scene(tmp_path, settings=lambda url: sink("acme-eu", url, **redact) + routed("acme-eu"), threshold=0.0) as at:
        told = at.ask(f"{ASK_CANTEEN} joe@example.com")
        assert told["decision"]["route"] == "hosted"
        assert "pii" not in told["decision"]["label"]["categories"]
        [body] = at.provider.bodies
        assert b"joe@" not in body
        assert b"[EMAIL]" in body


def test_a_receipt_is_for_who_asked(tmp_path: Path) -> None:
    with scene(tmp_path) as at:
        keys = at.home.keys()
        own, other = keys.create("default", frozenset(), None), keys.create("default", frozenset(), None)
        headers = {"Authorization": f"Bearer {own.key}"}
        body = {"model": "handbook", "messages": [{"role": "user", "content": ASK_CANTEEN}]}
        receipt = at.client.post("/v1/chat/completions", json=body, headers=headers).json()["domicile"]["receipt"]
        shown = at.client.get(f"/v1/receipts/{receipt}", headers=headers)
        assert shown.json()["record"]["decision"]["sink"] == "acme-eu"
        assert CANTEEN not in json.dumps(shown.json())
        refused = at.client.get(f"/v1/receipts/{receipt}", headers={"Authorization": f"Bearer {other.key}"})
        absent = at.client.get("/v1/receipts/r_0", headers=headers)
        assert (refused.status_code, absent.status_code) == (404, 404)


def test_in_a_cleared_collection_a_hosted_answer_is_made_of_cleared_text(tmp_path: Path) -> None:
    documents = {
        **DOCUMENTS,
        "canteen-secret.md": "# Canteen\n\nThe canteen opens at eleven thirty, and its back door code is 7741.\n",
    }
    cleared = '[collections.handbook]\nmode = "cleared"\n'
    with scene(
        tmp_path, settings=lambda url: sink("acme-eu", url) + routed("acme-eu") + cleared, documents=documents
    ) as at:
        told = at.ask(ASK_CANTEEN)
        assert told["decision"]["route"] == "hosted"
        assert {citation["document"] for citation in told["citations"]} == {"canteen.md"}
        assert b"7741" not in b"".join(at.provider.bodies)
        secret = at.ask(ASK_REACTOR)
        assert secret["decision"]["route"] == "local"
        assert REACTOR in secret["answer"]
        assert b"Bluebird" not in b"".join(at.provider.bodies)


def test_what_is_read_is_what_is_sent(tmp_path: Path) -> None:
    """A number and the word that makes it personal stand in two lines, or in two turns, and are sent in one."""
    with scene(tmp_path, threshold=0.0) as at:
        assert at.ask(f"my ssn:\n078 05 1120 {ASK_CANTEEN}")["decision"]["denied"][0]["reasons"] == ["categories"]
        told = at.ask("And is it his ssn?", [{"role": "user", "content": "What about 078 05 1120?"}])
        assert told["asked"] == "And is it his ssn? (078 05 1120)"
        assert told["decision"]["route"] == "local"
        assert at.provider.bodies == []


def test_a_turn_in_another_form_than_words_is_unknown(tmp_path: Path) -> None:
    with scene(tmp_path) as at:
        cleared = at.ask(ASK_CANTEEN)["answer"]
        before = len(at.provider.bodies)
        told = [{"type": "output_text", "text": cleared}]
        forms: list[dict[str, Any]] = [
            {"role": "assistant", "content": [*told, {"type": "image_url", "image_url": {"url": "data:,"}}]},
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "function", "content": ""},
        ]
        for form in forms:
            assert at.ask(ASK_WARRANTY, [form])["decision"]["route"] in ("local", "cache")
        assert len(at.provider.bodies) == before
        at.ask(ASK_WARRANTY, [{"role": "assistant", "content": told}])
        assert len(at.provider.bodies) == before + 1


def test_a_retry_obeys_a_label_that_changed_meanwhile(tmp_path: Path) -> None:
    with scene(tmp_path, ["busy_now", "ok"]) as at:
        source = tmp_path / "source"

        def narrowed(number: int, received: Received) -> Fault:
            if number == 0:
                text = DOCUMENTS["canteen.md"].replace("hosted: true", "hosted: false")
                (source / "canteen.md").write_text(text, encoding="utf-8")
                at.indexes._opened["handbook"].looked = math.inf  # the next usual look at CURRENT is never due
                ingest(at.home, source)
                return "busy_now"
            return "ok"

        at.provider.script = narrowed
        told = at.ask(ASK_CANTEEN)
        assert told["decision"]["denied"] == [{"sink": "acme-eu", "reasons": ["hosted"]}]
        assert (told["decision"]["route"], len(at.provider.bodies)) == ("local", 1)
        at.everything_sent_was_written_down()


@pytest.mark.parametrize("junk", ["a", "[", "<", "a://", "*"])
def test_an_endless_word_costs_nothing(tmp_path: Path, junk: str) -> None:
    with recording_provider(f"{CANTEEN} [1] " + junk * (300_000 // len(junk))) as provider:
        home = home_with(
            tmp_path, settings=sink("acme-eu", provider.url) + routed("acme-eu"), environment=KEYS, documents=DOCUMENTS
        )
        with (
            closing(home.routing()) as routing,
            served(service_over(home, routing=routing)) as at,
            at.client() as client,
        ):
            body = {"model": "handbook", "messages": [{"role": "user", "content": ASK_CANTEEN}]}
            told = client.post("/v1/chat/completions", json=body).json()["domicile"]
    assert told["decision"]["route"] == "hosted"
    assert told["answer"].startswith(f"{CANTEEN} [1]")
    assert told["timings_ms"]["generate"] < 8_000


def test_redaction_does_not_hide_where_a_sentence_comes_from(tmp_path: Path) -> None:
    documents = {**DOCUMENTS, "guard.md": "# Guard\n\nThe reactor guard joe@example.com has the word Bluebird.\n"}
    redact = {"redact": "true"}
    with scene(
        tmp_path,
        settings=lambda url: sink("acme-eu", url, **redact) + routed("acme-eu"),
        documents=documents,
        threshold=0.0,
    ) as at:
        secret = at.ask("Which word has the reactor guard?")
        assert "joe@example.com has the word Bluebird" in secret["answer"]
        told = at.ask(f"{secret['citations'][0]['quote']} {ASK_CANTEEN}")
        assert told["decision"]["route"] == "local"
        assert b"Bluebird" not in b"".join(at.provider.bodies)
