"""How far a run is: true numbers, counted where the work is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["scanning", "embedding", "committing", "asking"]
"""``asking``: of a gate, which is asked while the change is committed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one instant.

    Attributes:
        documents, documents_total: done and to do in this stage: looked at while scanning, then those that changed; while
            asking, questions.
        bytes, bytes_total: of their sources; 0 while scanning, where only the number counts.
        embedded, reused: passages whose vectors were computed, and were known.
        failed: documents so far.
        seconds: since the run began.
        eta_seconds: until the end of this stage at the rate of it so far; ``None`` while nobody can tell.
    """

    stage: Stage
    documents: int
    documents_total: int
    bytes: int
    bytes_total: int
    embedded: int
    reused: int
    failed: int
    seconds: float
    eta_seconds: float | None

    def to_json(self) -> dict[str, object]:
        return {
            "stage": self.stage,
            "documents": self.documents,
            "documents_total": self.documents_total,
            "bytes": self.bytes,
            "bytes_total": self.bytes_total,
            "embedded": self.embedded,
            "reused": self.reused,
            "failed": self.failed,
            "seconds": round(self.seconds, 1),
            "eta_seconds": None if self.eta_seconds is None else round(self.eta_seconds),
        }


Watch = Callable[[Progress], None]
"""Is told often how far a run is. May raise ``Cancelled``, which abandons the run and leaves the old generation."""


def unwatched(progress: Progress) -> None:
    """For who does not want to know."""


class Meter:
    """Counts for one run and tells the watch.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, watch: Watch, clock: Callable[[], float] = time.monotonic) -> None:
        self._watch = watch
        self._clock = clock
        self._began = self._stage_began = clock()
        self._stage: Stage = "scanning"
        self._documents = self._documents_total = self._bytes = self._bytes_total = 0
        self.embedded = 0
        self.reused = 0
        self.failed = 0

    def begin(self, stage: Stage, documents: int, size: int = 0) -> None:
        """Begin a stage of this many documents and bytes."""
        self._stage, self._stage_began = stage, self._clock()
        self._documents = self._bytes = 0
        self._documents_total, self._bytes_total = documents, size
        self.tell()

    def add(self, documents: int, size: int) -> None:
        """Count without telling, as several are done at once."""
        self._documents += documents
        self._bytes += size

    def done(self, documents: int = 1, size: int = 0) -> None:
        self.add(documents, size)
        self.tell()

    def tell(self) -> None:
        now = self._clock()
        # a stage is as far as its bytes are, where they are known: documents differ in size
        done, total = (
            (self._bytes, self._bytes_total) if self._bytes_total else (self._documents, self._documents_total)
        )
        eta = (now - self._stage_began) * (total - done) / done if 0 < done <= total else None
        self._watch(
            Progress(
                self._stage,
                self._documents,
                self._documents_total,
                self._bytes,
                self._bytes_total,
                self.embedded,
                self.reused,
                self.failed,
                now - self._began,
                eta,
            )
        )

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return self._clock() - self._began
