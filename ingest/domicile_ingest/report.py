"""What a run did, or would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import TypeAdapter

from domicile.errors import GateFailed
from domicile.ports import Commit, GateReport
from domicile_ingest.narrowing import Said
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
        told = {} if self.commit.gate is None else {"gate": gate_to_json(self.commit.gate)}
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
            **told,
        }


class Refused(GateFailed):
    """A run whose generation did not pass its gate, and was not published.

    Attributes:
        serving: the generation that serves on; 0 where there is none.
        gate: what was said of the other.
        failures: documents that failed besides, which may be why.
        said: what is said now of documents that it would have replaced.
        narrowed: whether ``serving`` was made since, with what is narrower of this and nothing else.
    """

    def __init__(
        self,
        collection: str,
        serving: int,
        gate: GateReport,
        failures: tuple[Failure, ...],
        said: Mapping[str, Said] = MappingProxyType({}),
    ) -> None:
        super().__init__(f"{collection}: the new generation, asked {gate.suite},", gate.findings)
        self.collection = collection
        self.serving = serving
        self.gate = gate
        self.failures = failures
        self.said = said
        self.narrowed = False

    def to_json(self) -> dict[str, object]:
        return {
            "collection": self.collection,
            "generation": self.serving,
            "gate": gate_to_json(self.gate),
            "failures": failures_to_json(self.failures),
            **({"narrowed": True} if self.narrowed else {}),
        }


def failures_to_json(failures: Sequence[Failure]) -> list[dict[str, str]]:
    return [{"document": f.document, "kind": f.kind, "reason": f.reason} for f in failures]


def gate_to_json(report: GateReport) -> dict[str, object]:
    written: dict[str, object] = TypeAdapter(GateReport).dump_python(report, mode="json")
    return written
