"""The evidence pack of a period: records as they stand in the log, the policies that held, counts, samples, a verifier."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from domicile import audit_verifier
from domicile.errors import AuditUnavailable
from domicile.ports import Record

if TYPE_CHECKING:
    from domicile.adapters.audit import FileAuditLog
    from domicile.adapters.audit_lines import Entry, Head

SAMPLES = 3
"""Receipts of each kind of thing that happened."""
MAX_SAMPLES = 200

README = """\
Evidence of the records from {first} to {last} (UTC, both days included)

audit/              the records exactly as they stand in the log, with the public key and a signed head of this part
summary.json        how many there are, by kind, route, sink, sensitivity and reason of denial; where the part lies in the log
policy.json         the policies that held, as signed records, and the settings at the time of export (secrets are only named)
samples/            single receipts
audit_verifier.py   verifies audit/; it needs Python 3.11 and the package cryptography, and nothing of this product

The records hold hashes of questions and answers, names of documents and labels; prompts only where audit.store_prompts was on.

To verify, on any machine:

    pip install cryptography
    python audit_verifier.py audit --part --key {key}

Compare the key with the one that you noted down when the log began, and the verifier with the published one, rather than
trust the ones in this folder. That nothing is missing before or after this part shows in the log itself: `prev` of the first
record and `head` in summary.json must be in it (`domicile audit verify --head HASH`).
"""


@dataclass(frozen=True, slots=True)
class Period:
    """Days in UTC, both included."""

    first: date
    last: date

    def before(self, record: Record) -> bool:
        return record.at < self.first.isoformat()

    def after(self, record: Record) -> bool:
        return record.at >= (self.last + timedelta(days=1)).isoformat()


@dataclass(slots=True)
class Counts:
    """What happened, in numbers, and a few records of each thing that did."""

    kinds: Counter[str] = field(default_factory=Counter)
    routes: Counter[str] = field(default_factory=Counter)
    sinks: Counter[str] = field(default_factory=Counter)
    egress_sinks: Counter[str] = field(default_factory=Counter)
    sensitivities: Counter[str] = field(default_factory=Counter)
    egress_sensitivities: Counter[str] = field(default_factory=Counter)
    denials: Counter[str] = field(default_factory=Counter)
    degraded: Counter[str] = field(default_factory=Counter)
    egress_bytes: int = 0
    _seen: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def add(self, record: Record) -> bool:
        """Count a record; whether it is worth a sample."""
        body = record.body
        self.kinds[record.kind] += 1
        thing: tuple[str, ...] = (record.kind,)
        sensitivity = _word(_table(body.get("label")), "sensitivity")
        if record.kind == "answer":
            decision = _table(body.get("decision"))
            thing += (_word(decision, "route"), _word(decision, "sink"))
            self.routes[thing[1]] += 1
            self.sinks[thing[2]] += 1
            self.sensitivities[sensitivity] += 1
            self.degraded[_word(body, "degraded")] += 1
            denied = decision.get("denied")
            for refused in denied if isinstance(denied, list) else []:
                reasons = _table(refused).get("reasons")
                self.denials.update(map(str, reasons if isinstance(reasons, list) else []))
        elif record.kind == "egress":
            thing += (_word(body, "sink"),)
            self.egress_sinks[thing[1]] += 1
            self.egress_sensitivities[sensitivity] += 1
            size = body.get("body_bytes")
            self.egress_bytes += size if isinstance(size, int) else 0
        self._seen[thing] += 1
        return self._seen[thing] <= SAMPLES

    def to_json(self) -> dict[str, object]:
        return {
            "kind": dict(self.kinds),
            "answers": {
                "route": dict(self.routes),
                "sink": dict(self.sinks),
                "sensitivity": dict(self.sensitivities),
                "denied": dict(self.denials),
                "degraded": dict(self.degraded),
            },
            "egress": {
                "sink": dict(self.egress_sinks),
                "sensitivity": dict(self.egress_sensitivities),
                "bytes": self.egress_bytes,
            },
        }


def write_pack(
    out: Path, log: FileAuditLog, period: Period, settings: Mapping[str, object], head: str
) -> dict[str, object]:
    """Write the folder, whole or not at all; its summary.

    Args:
        head: the hash of the newest record of the whole log, which was verified.

    Raises:
        AuditUnavailable: the private key that signs the part's head is missing, or there is no log.
        AuditDamaged: a record was changed.
        OSError: the disk refused.
    """
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for folder in (unfinished, unfinished / "audit", unfinished / "samples"):
            folder.mkdir(parents=True, mode=0o700)
        summary = _write(unfinished, log, period, settings, head)
        unfinished.rename(out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return summary


def _write(
    out: Path, log: FileAuditLog, period: Period, settings: Mapping[str, object], head: str
) -> dict[str, object]:
    chain = log.chain()
    if chain is None or chain.seal.private is None:
        raise AuditUnavailable("there is no audit log to export, or its private key, which signs the pack, is missing")
    part, counts, samples = _Part(out / "audit"), Counts(), 0
    policies: dict[str, Entry] = {}
    try:
        for name, entry in chain.entries():
            if period.after(entry.record):
                break
            if entry.record.kind == "start":
                version = json.dumps(entry.record.body.get("policy"), sort_keys=True)
                policies = {} if period.before(entry.record) else policies
                policies.setdefault(version, entry)
            if period.before(entry.record):
                continue
            part.add(name, entry)
            if counts.add(entry.record) and samples < MAX_SAMPLES:
                samples += 1
                _write_json(out / "samples" / f"{entry.record.id}.json", entry.receipt(chain.seal.key))
    finally:
        part.close()
    (out / "audit" / "HEAD").write_bytes(part.head().raw(chain.seal))
    (out / "audit" / "key.pub").write_text(f"{chain.seal.key}\n", encoding="ascii")
    summary: dict[str, object] = {
        "from": period.first.isoformat(),
        "to": period.last.isoformat(),
        "entries": sum(counts.kinds.values()),
        "first": part.edge(part.first),
        "last": part.edge(part.last),
        "head": head,
        "key": chain.seal.key,
        "counts": counts.to_json(),
    }
    held = [entry.receipt(chain.seal.key) for entry in policies.values()]
    _write_json(out / "summary.json", summary)
    _write_json(out / "policy.json", {"held": held, "settings_at_export": settings})
    (out / "audit_verifier.py").write_bytes(Path(audit_verifier.__file__).read_bytes())
    text = README.format(first=period.first, last=period.last, key=chain.seal.key)
    (out / "README.txt").write_text(text, encoding="utf-8")
    return summary


class _Part:
    """The lines of the period, in files named like those of the log: by the first entry in each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._source = self._name = ""
        self._stream: BinaryIO | None = None
        self._size = 0
        self.first: Entry | None = None
        self.last: Entry | None = None

    def add(self, source: str, entry: Entry) -> None:
        from domicile.adapters.audit_lines import name_from

        if self._stream is None or source != self._source:
            self.close()
            self._source, self._name, self._size = source, name_from(entry.record.seq), 0
            self._stream = (self._folder / self._name).open("xb")
        self._stream.write(entry.raw)
        self._size += len(entry.raw)
        self.first, self.last = self.first or entry, entry

    def head(self) -> Head:
        from domicile.adapters.audit_lines import Head

        if self.last is None:
            return Head()
        return Head(self.last.record.seq, self.last.record.hash, self._name, self._size)

    @staticmethod
    def edge(entry: Entry | None) -> dict[str, object] | None:
        if entry is None:
            return None
        return {"seq": entry.record.seq, "at": entry.record.at, "hash": entry.record.hash, "prev": entry.prev}

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _word(table: Mapping[str, object], name: str) -> str:
    return str(table.get(name) or "none")


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
