"""``domicile policy``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from domicile import explanation, inspection, labels
from domicile.bootstrap import Home
from domicile.console import Console, parser, run, subparser
from domicile.domain import OWNER
from domicile.errors import Damaged
from domicile.inspection import Finding, Reach
from domicile.routing import Declared


def main(argv: Sequence[str]) -> int:
    flags = parser("domicile policy", "Where bytes may go, and why they went there.")
    actions = flags.add_subparsers(required=True, metavar="check|explain")
    check = subparser(
        actions,
        "check",
        _check,
        "find what is odd about sinks, ceilings and labels; nothing is loaded and nothing is sent; exit 2 on an error",
        "  domicile policy check\n  domicile policy check --collection handbook --json",
    )
    check.add_argument(
        "--collection", action="append", default=[], metavar="C", help="only this one; repeatable (default: all)"
    )
    explain = subparser(
        actions,
        "explain",
        _explain,
        "tell from its record alone who received a payload, and every reason against each other sink",
        "  domicile policy explain --receipt r_… --json",
    )
    explain.add_argument(
        "--receipt", required=True, metavar="ID", help="of an answer (r_…), or of a record of what was sent (e_…)"
    )
    return run(flags.parse_args(argv))


def _explain(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    told = explanation.explain(home.audit().find(parsed.receipt))
    console.result(told)
    console.say(f"{told['id']}, entry {told['seq']} of {told['at']}, policy {told['policy']}")
    console.say(told["outcome"][:1].upper() + told["outcome"][1:] + ".")
    if told["narrowed"]:
        console.say("\nThe label of the payload, and where it comes from:")
    for field in told["narrowed"]:
        by = ", ".join(field["by"]) or "nobody says, so the most restrictive"
        console.say(f"  {field['field']:<15} {_written(field['value']):<24} {by}")
    for sink in told["sinks"]:
        console.say(f"\n{sink['sink']}: {'received it' if sink['received'] else 'did not receive it'}")
        for reason in sink["reasons"]:
            console.say(f"  {reason['says']}")
    console.say()
    console.say(_DECIDED_AGAIN[told["consistent"]])
    return 0


_DECIDED_AGAIN = {
    None: "Decided again from the record as far as it goes: it has not the label that each sink was decided by.",
    True: "Decided again from the record: the same reasons.",
    False: "Decided again from the record: NOT the same reasons. Either the record is of another version, or it is wrong.",
}


def _written(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value).lower()


def _check(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    now = datetime.now(UTC)
    declared, sinks = home.settings.declared(home.regions), home.sinks()
    missing = {sink.name for sink in home.settings.sinks if sink.api_key.read(home.environment) is None}
    orders = [policy.order for policy in (declared.others, *declared.tenants.values())]
    found = list(inspection.of_sinks(sinks, orders, missing, now.date()))
    tenants = {home.collection(name).tenant for name in {*home.settings.collections, *home.indexes().names()}}
    found += inspection.of_tenants(declared.tenants, tenants, declared.sinks, home.regions, now)
    collections: dict[str, Any] = {}
    indexes = home.indexes()
    for name in dict.fromkeys(parsed.collection) or indexes.names():
        try:
            snapshot = indexes.pin(name, OWNER)
        except Damaged as error:
            if parsed.collection:
                raise
            found.append(Finding("warning", "damaged", name, str(error)))
            continue
        census = snapshot.census(inspection.LISTED)
        found += inspection.of_collection(snapshot.collection, census, sinks, home.regions, now)
        reached = inspection.reaches(census, declared.of(snapshot.collection.tenant), declared.sinks, now)
        collections[name] = _row(snapshot.generation, snapshot.collection.tenant, reached, home)
    console.result(
        {
            "ok": not any(finding.severity == "error" for finding in found),
            "policy": declared.version,
            "findings": [asdict(finding) for finding in found],
            "collections": collections,
        }
    )
    _show(found, collections, declared, console)
    return 2 if any(finding.severity == "error" for finding in found) else 0


def _row(generation: int, tenant: str, reached: Sequence[Reach], home: Home) -> dict[str, Any]:
    return {
        "generation": generation,
        "tenant": tenant,
        "labels": [
            {
                "documents": reach.documents,
                "label": labels.to_json(reach.label, home.regions),
                "sinks": list(reach.sinks),
            }
            for reach in reached
        ],
    }


def _show(found: Sequence[Finding], collections: Mapping[str, Any], declared: Declared, console: Console) -> None:
    console.say(f"policy {declared.version}: {len(declared.sinks)} sinks that answer")
    for name, row in collections.items():
        console.say(f"\n{name} (generation {row['generation']}, tenant {row['tenant']})")
        for each in row["labels"]:
            told = "  ".join(f"{field} {_written(value)}" for field, value in each["label"].items() if value != [])
            console.say(f"  {each['documents']:>7,}  {told}")
            console.say(f"           → {', '.join((*each['sinks'], labels.LOCAL))}")
    console.say()
    for finding in sorted(found, key=lambda finding: ("error", "warning", "info").index(finding.severity)):
        console.say(f"{finding.severity:<8} {finding.subject}: {finding.message} [{finding.code}]")
        if finding.documents:
            more = f" and {finding.count - len(finding.documents):,} more" * (finding.count > len(finding.documents))
            console.say(f"         {', '.join(finding.documents)}{more}")
    if not found:
        console.say("nothing odd")
