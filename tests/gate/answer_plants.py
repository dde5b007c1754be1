"""Faults of answers: who may see what, who may get what, when nothing is said, and what is quoted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from gate.healthy import Healthy, Put, Variant
from gate.plants import PROBE, OtherIndex, plant

from domicile import conversation, editions, grounding, policy, prompts
from domicile.domain import Candidate, Citation, Document, Evidence, Message, Scope, Sensitivity
from domicile.evidence import EvidenceSelector, Selection
from domicile.ports import Vectors
from domicile.routing import Dispatch
from domicile_eval import runner
from domicile_eval.judges import Exhibit

STRANGER: frozenset[str] = frozenset()


class OtherReaders(OtherIndex):
    """Searches for other readers than those who ask."""

    readers: frozenset[str] | None = None

    def dense(self, vector: Vectors, k: int, scope: Scope) -> list[Candidate]:
        return self.whole.dense(vector, k, replace(scope, readers=self.readers))

    def lexical(self, question: str, k: int, scope: Scope) -> list[Candidate]:
        return self.whole.lexical(question, k, replace(scope, readers=self.readers))

    def document(self, uri: str, readers: frozenset[str] | None) -> Document | None:
        return self.whole.document(uri, None if readers is None else self.readers)


class NoGroups(OtherReaders):
    readers = STRANGER


@plant("guarded")
def groups_not_asked_for(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """Everybody finds what is for some."""
    changed, stranger = OtherReaders(healthy.index), Scope(STRANGER)
    assert len(changed.lexical(PROBE, 999, stranger)) > len(healthy.index.lexical(PROBE, 999, stranger))
    return replace(healthy.variant, index=changed)


@plant("guarded")
def groups_that_never_match(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """What is for some is for nobody but the owner."""
    changed, some = NoGroups(healthy.index), Scope(frozenset({"board"}))
    assert len(changed.lexical(PROBE, 999, some)) < len(healthy.index.lexical(PROBE, 999, some))
    return replace(healthy.variant, index=changed)


@plant("guarded")
def sidecars_not_read(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """Documents that some may read are ingested as if everybody might."""
    puts = healthy.puts()
    wide = [_labelled(put, groups=None) for put in puts]
    assert sum(a.document.label != b.document.label for a, b in zip(wide, puts, strict=True)) > 3
    return replace(healthy.variant, candidate=wide)


@plant("guarded")
def labels_that_allow_every_sink(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """Readers stay; regions, sensitivity and the rest become what the laxest document has."""
    lax = {
        "regions": healthy.home.regions.expand(["global"]),
        "sensitivity": Sensitivity.PUBLIC,
        "hosted": True,
        "retention_days": 365,
        "categories": frozenset(),
    }
    puts = healthy.puts()
    assert any(put.document.label.sensitivity is Sensitivity.RESTRICTED for put in puts)
    return replace(healthy.variant, candidate=[_labelled(put, **lax) for put in puts])


def _labelled(put: Put, **changes: Any) -> Put:
    return replace(put, document=replace(put.document, label=replace(put.document.label, **changes)))


@plant("guarded")
def policy_that_always_allows(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    patch.setattr(policy, "decide", lambda label, sink, purpose, now: policy.Verdict(sink.name))
    return healthy.variant


@plant("guarded")
def order_of_sinks_ignored(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """The model that runs here answers all."""
    patch.setattr(Dispatch, "order", lambda dispatch: iter([None]))
    return healthy.variant


def _threshold(healthy: Healthy, value: float) -> Variant:
    settings = healthy.home.settings.staged({"answering": {"evidence_threshold": value}}, Path("domicile.toml"))
    assert settings.answering != healthy.home.settings.answering
    return replace(healthy.variant, home=replace(healthy.home, settings=settings))


@plant("answered")
def everything_is_answered(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    return _threshold(healthy, 0.0)


@plant("answered")
def everything_is_declined(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    return _threshold(healthy, 1.0)


def _shifted(put: Put) -> Put:
    """Chunks that say they stand one character further on."""
    chunks = [replace(chunk, start=chunk.start + 1, end=chunk.end + 1) for chunk in put.chunks]
    return replace(put, chunks=chunks)


@plant("answered")
def offsets_off_by_one_and_nothing_verified(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    real = grounding.cite

    def trusting(evidence: Evidence, document: Document | None) -> Citation:
        return replace(real(evidence, document), verified=True)

    patch.setattr(grounding, "cite", trusting)
    shifted = [_shifted(put) for put in healthy.puts()]
    assert shifted[0].document.text[shifted[0].chunks[0].start :][:20] != shifted[0].chunks[0].text[:20]
    return replace(healthy.variant, candidate=shifted)


@plant("answered")
def second_best_sentence_quoted(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    real = EvidenceSelector.select

    def worse(*given: Any) -> Selection:
        found = real(*given)
        return replace(found, evidence=found.evidence[1:] or found.evidence)

    patch.setattr(EvidenceSelector, "select", worse)
    return healthy.variant


@plant("answered")
def outdated_editions_quoted(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    patch.setattr(editions, "preferences", lambda said, chunks: [])
    return healthy.variant


@plant("answered", figures=False)
def follow_ups_asked_as_they_are(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    real = conversation.standalone

    def alone(question: str, said: Sequence[str], language: str) -> Any:
        return real(question, (), language)

    patch.setattr(conversation, "standalone", alone)
    patch.setattr(runner, "standalone", alone)
    return healthy.variant


@plant("spoken")
def prompt_without_its_fact(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    patch.setattr(prompts, "MAX_FACT_CHARACTERS", 0)
    return healthy.variant


@dataclass(frozen=True, slots=True)
class OtherJudge:
    """A judge that is never asked, since the language model writes nothing here; the run names it all the same."""

    version: str
    name: str = "judge"
    at_once: int = 1

    def ask(self, messages: Sequence[Message], shown: Exhibit) -> str:
        raise AssertionError("nothing was generated")
