"""What a run did, or would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domicile.ports import Commit
from domicile_ingest.sources import Failure

COUNTS = ("added", "changed", "unchanged", "deleted", "failed")


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did; ``to_json`` is the contract's object.

    Attributes:
        embedded, reused: passages whose vectors were computed, and were known from before.
    """

    collection: str
    commit: Commit
    counts: Mapping[str, int]
    failures: tuple[Failure, ...]
    warnings: tuple[str, ...]
    embedded: int
    reused: int
    seconds: float

    def to_json(self) -> dict[str, object]:
        return {
            "collection": self.collection,
            "generation": self.commit.generation,
            "previous": self.commit.previous,
            "documents": dict(self.counts),
            "failures": failures_to_json(self.failures),
            "warnings": list(self.warnings),
            "chunks": self.commit.chunks,
            "embedded": self.embedded,
            "reused": self.reused,
            "seconds": round(self.seconds, 3),
        }


def failures_to_json(failures: Sequence[Failure]) -> list[dict[str, str]]:
    return [{"document": f.document, "kind": f.kind, "reason": f.reason} for f in failures]
