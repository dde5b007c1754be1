"""Every receipt that a service writes explains itself: decided again from the record alone, it gives the same reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from provider import Script, recording_provider
from residency import ASK_CANTEEN, ASK_PARKING, ASK_REACTOR, CANTEEN, DOCUMENTS, KEYS, records, routed, sink
from services import home_with, service_over

from domicile import explanation
from domicile.answering import Answering, Limits
from domicile.bootstrap import Home
from domicile.domain import OWNER, Answer, AnswerMode
from domicile.inquiry import AnswerRequest

PERSONAL = "When does the canteen open, ada@example.org?"


def ask(answering: Answering, question: str, mode: AnswerMode = "auto") -> Answer:
    (given,) = (
        item for item in answering.answer(AnswerRequest(question, "handbook", OWNER, mode)) if isinstance(item, Answer)
    )
    return given


def explained(home: Home, given: Answer) -> dict[str, Any]:
    assert given.receipt is not None
    return explanation.explain(home.audit().find(given.receipt))


def sink_reasons(told: dict[str, Any]) -> set[str]:
    return {reason["reason"] for sink in told["sinks"] for reason in sink["reasons"]}


@pytest.mark.parametrize("mode", ["escalate", "cleared"])
def test_every_receipt_is_consistent(tmp_path: Path, mode: str) -> None:
    with recording_provider(CANTEEN) as provider:
        sinks = sink("acme-us", provider.url, processing_regions='["us"]') + sink("acme-eu", provider.url)
        settings = f'[collections.handbook]\nmode = "{mode}"\n' + sinks + routed("acme-us", "acme-eu", "local")
        home = home_with(tmp_path, DOCUMENTS, settings=settings, environment=KEYS)
        answering = service_over(home).answering
        asked = [ASK_CANTEEN, ASK_CANTEEN, ASK_REACTOR, ASK_PARKING, PERSONAL, "Who painted the Mona Lisa?"]
        found = [ask(answering, question) for question in asked]
        found.append(ask(answering, ASK_REACTOR, "extractive"))
    told = [explained(home, given) for given in found]
    withheld = [any(reason in sink_reasons(each) for reason in ("evidence", "region")) for each in told]
    unsure = [mode == "cleared" and one for one in withheld]  # decided by each label of the collection for itself
    assert [each["consistent"] for each in told] == [None if one else True for one in unsure]
    assert [each["route"] for each in told[:2]] == ["hosted", "cache"]
    assert told[2]["route"] == "local"
    assert len(provider.bodies) == len(records(home, "egress")) > 0
    sent = [explanation.explain(home.audit().find(record["id"])) for record in records(home, "egress")]
    assert [(each["received_by"], each["consistent"]) for each in sent] == [("acme-eu", True)] * len(sent)


@pytest.mark.parametrize(
    ("script", "reason"),
    [(["error"], "down"), (["busy"], "busy"), (["html"], "malformed"), (["redirect"], "rejected")],
)
def test_a_failed_provider_is_named_with_what_it_did(tmp_path: Path, script: Script, reason: str) -> None:
    with recording_provider(CANTEEN, script) as provider:
        home = home_with(
            tmp_path, DOCUMENTS, settings=sink("acme-eu", provider.url) + routed("acme-eu"), environment=KEYS
        )
        told = explained(home, ask(service_over(home).answering, ASK_CANTEEN))
    assert set(provider.landed) == set(script)
    assert told["route"] == "local"
    assert [each["reason"] for each in told["sinks"][0]["reasons"]] == [reason]
    assert told["egress"]
    assert told["consistent"] is True


def test_a_sink_that_redacts_is_decided_by_what_it_would_get(tmp_path: Path) -> None:
    with recording_provider(CANTEEN) as provider:
        sinks = sink("plain", provider.url) + sink("redacting", provider.url, redact="true")
        home = home_with(tmp_path, DOCUMENTS, settings=sinks + routed("plain", "redacting"), environment=KEYS)
        given = ask(service_over(home, limits=Limits(evidence_threshold=0.0)).answering, PERSONAL)
    assert given.decision.sink == "redacting"
    assert given.decision.denied == (("plain", ("categories",)),)
    assert b"ada@example.org" not in provider.bodies[0]
    assert explained(home, given)["consistent"] is True
