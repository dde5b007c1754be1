"""What is odd about declarations and labels before anybody asks anything. Pure.

An ``error`` keeps ``serve`` and ``ask`` from starting; a ``warning`` is most likely not what was meant; an ``info`` is
worth knowing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from domicile import labels, policy
from domicile.domain import Collection, Label, Sensitivity
from domicile.explanation import clash
from domicile.labels import LOCAL, PartialLabel, Regions
from domicile.policy import Sink
from domicile.routing import PURPOSE, TenantPolicy

Severity = Literal["error", "warning", "info"]
SOON = timedelta(days=30)
LISTED = 10
"""Documents that a finding names, at most; all are counted."""
_NOT_SENT_YET = ("traces", "metrics", "vectors")
Census = Mapping[Label, tuple[int, Sequence[str]]]
"""How many documents have each label, and the URIs of the first of them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd.

    Attributes:
        code: a stable word for scripts.
        subject: the sink, tenant or collection.
        documents: the first of them, at most ``LISTED``.
        count: of all of them.
    """

    severity: Severity
    code: str
    subject: str
    message: str
    documents: tuple[str, ...] = ()
    count: int = 0


def of_sinks(
    sinks: Sequence[Sink], orders: Sequence[Sequence[str]], without_secret: AbstractSet[str], today: date
) -> Iterator[Finding]:
    """
    Args:
        orders: the routes of all tenants.
        without_secret: sinks whose secret cannot be read.
    """
    if not sinks:
        yield Finding("info", "no_sinks", "sinks", "none is declared: every answer is made here")
    routed = {name for order in orders for name in order}
    for sink in sinks:
        for severity, code, message in _about(sink, today):
            yield Finding(severity, code, sink.name, message)
        if sink.name in without_secret:
            yield Finding("warning", "no_secret", sink.name, "its api_key cannot be read: it is not used until it can")
        if sink.kind == "llm" and sink.name not in routed:
            yield Finding("info", "in_no_order", sink.name, "stands in no order: it is never asked")


def _about(sink: Sink, today: date) -> Iterator[tuple[Severity, str, str]]:
    if sink.valid_until is not None and sink.valid_until < today:
        yield "error", "expired", f"its declaration ended on {sink.valid_until}: renew or remove it, or nothing starts"
    elif sink.valid_until is not None and sink.valid_until - today <= SOON:
        yield "warning", "expires_soon", f"its declaration ends on {sink.valid_until}; after it `serve` does not start"
    if sink.valid_from is not None and today < sink.valid_from:
        yield "warning", "not_yet_valid", f"its declaration begins on {sink.valid_from}: nothing is sent before"
    if sink.training:
        yield "warning", "training", "training = true: nothing is ever sent there"
    needed = {"llm": PURPOSE, "judge": "eval"}.get(sink.kind)
    if needed is not None and needed not in sink.purposes:
        yield "warning", "purpose", f"purposes has no `{needed}`: nothing is ever sent there"
    if sink.human_review and sink.max_sensitivity.rank > Sensitivity.INTERNAL.rank:
        yield "info", "human_review", "human_review = true: nothing above internal is sent there, whatever it covers"
    if sink.kind in _NOT_SENT_YET:
        yield "info", "nothing_sent", f"nothing is sent yet to a sink of kind {sink.kind}"


def of_tenants(
    tenants: Mapping[str, TenantPolicy],
    known: AbstractSet[str],
    sinks: Mapping[str, Sink],
    regions: Regions,
    now: datetime,
) -> Iterator[Finding]:
    """Ceilings that no sink of their order can ever satisfy, and tenants that nothing belongs to.

    Args:
        known: the tenants of collections.
    """
    for name, tenant in tenants.items():
        if name not in known:
            yield Finding("warning", "no_such_tenant", name, "no collection is this tenant's, so nothing of it holds")
        asked = [sinks[sink] for sink in tenant.order if sink != LOCAL]
        if not asked:
            continue
        loosest = labels.narrow(_loosest(regions, asked), tenant.ceiling)
        if not any(policy.decide(loosest, sink, PURPOSE, now).allowed for sink in asked):
            why = _why(loosest, asked, regions, now)
            yield Finding("warning", "ceiling", name, f"its ceiling allows no sink of its order: {why}")


@dataclass(frozen=True, slots=True)
class Reach:
    """One label of a collection.

    Attributes:
        sinks: those of the tenant's order that may have a text with this label, under the tenant's ceiling.
    """

    label: Label
    documents: int
    sinks: tuple[str, ...]


def reaches(census: Census, tenant: TenantPolicy, sinks: Mapping[str, Sink], now: datetime) -> tuple[Reach, ...]:
    """Where the documents of each label may go, the most frequent label first."""
    order = [sinks[name] for name in tenant.order if name != LOCAL]
    found = [
        Reach(
            label,
            count,
            tuple(
                s.name for s in order if policy.decide(labels.narrow(label, tenant.ceiling), s, PURPOSE, now).allowed
            ),
        )
        for label, (count, _) in census.items()
    ]
    return tuple(sorted(found, key=lambda reach: (-reach.documents, sorted(reach.label.regions))))


def of_collection(
    collection: Collection, census: Census, sinks: Sequence[Sink], regions: Regions, now: datetime
) -> Iterator[Finding]:
    """Labels that say nothing, contradict themselves, or that no declared sink can satisfy."""
    asked = [sink for sink in sinks if sink.kind == "llm"]
    for label, (count, documents) in census.items():
        for severity, code, message in (*_odd(label, collection), *_unreachable(label, asked, regions, now)):
            yield Finding(severity, code, collection.name, message, tuple(documents[:LISTED]), count)


def _odd(label: Label, collection: Collection) -> Iterator[tuple[Severity, str, str]]:
    if label == labels.complete(PartialLabel(), collection.groups):
        yield "warning", "unlabelled", "no source labels them, so they are local only, restricted and not for providers"
        return
    if label.groups == frozenset():
        yield (
            "warning",
            "owner_only",
            "nobody but the owner may read them: their sources have no group in common, or one is malformed",
        )
    if not label.regions:
        yield "warning", "no_region", "their sources have no region in common, so no sink can have them"
    elif label.hosted and label.regions <= {LOCAL}:
        yield "warning", "hosted_but_local", "hosted = true, and regions has nothing but local: no provider is there"
    if PURPOSE not in label.purposes:
        yield "warning", "purpose", f"purposes has no `{PURPOSE}`: answers about them are always made here"


def _unreachable(
    label: Label, sinks: Sequence[Sink], regions: Regions, now: datetime
) -> Iterator[tuple[Severity, str, str]]:
    """Of labels that are meant for a provider."""
    if not sinks or not label.hosted or label.regions <= {LOCAL} or PURPOSE not in label.purposes:
        return
    if uncovered := label.categories - frozenset().union(*(sink.categories for sink in sinks)):
        yield "warning", "category", f"no sink is declared for {', '.join(sorted(uncovered))}"
    if not any(policy.decide(label, sink, PURPOSE, now).allowed for sink in sinks):
        yield "warning", "no_sink", f"no sink can have them: {_why(label, sinks, regions, now)}"


def _why(label: Label, sinks: Sequence[Sink], regions: Regions, now: datetime) -> str:
    """What keeps the label from each sink, the nearest one first."""
    against = sorted(
        ((policy.decide(label, sink, PURPOSE, now).reasons, sink) for sink in sinks), key=lambda pair: len(pair[0])
    )
    return "; ".join(
        ", ".join(f"{reason} ({clash(reason, label, sink, PURPOSE, regions)})" for reason in reasons)
        for reasons, sink in against
    )


def _loosest(regions: Regions, sinks: Sequence[Sink]) -> Label:
    """What a text could be labelled at best."""
    return Label(
        regions=regions.places,
        sensitivity=Sensitivity.PUBLIC,
        hosted=True,
        retention_days=max(sink.retention_days for sink in sinks),
        categories=frozenset(),
        purposes=frozenset({PURPOSE}),
        groups=None,
    )
