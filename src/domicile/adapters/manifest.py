"""The manifest of a generation: what it consists of, with the hash of every file and of itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator, model_validator

from domicile.domain import EvidenceCurve, FusionWeights, Tuning
from domicile.errors import IndexDamaged
from domicile.ports import GateReport

_Strict = ConfigDict(extra="forbid", frozen=True)

PARTS = 100
"""Segments that one commit may write, at most."""


def segment_id(generation: int, part: int) -> str:
    """The name of a segment: the generation that wrote it, and which of its parts it is."""
    return f"{generation:06d}" if part == 0 else f"{generation:06d}-{part:02d}"


def segment_number(name: str) -> int:
    """The number of a segment in the references of its chunks."""
    generation, _, part = name.partition("-")
    return int(generation) * PARTS + int(part or 0)


class FileEntry(BaseModel):
    model_config = _Strict
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class SegmentEntry(BaseModel):
    """A sealed segment. ``dead`` rows are struck out by ``tombstones``, a little-endian bitmap over its rows."""

    model_config = _Strict
    id: str = Field(pattern=r"^[0-9]{6}(-[0-9]{2})?$")
    rows: int = Field(ge=1)
    tombstones: str | None = Field(default=None, pattern=r"^tombstones/[0-9]{6}-[0-9]{6}(-[0-9]{2})?\.bits$")
    dead: int = Field(default=0, ge=0)

    @property
    def number(self) -> int:
        return segment_number(self.id)

    @property
    def folder(self) -> str:
        return f"segments/{self.id}"

    @property
    def vectors(self) -> str:
        return f"{self.folder}/vectors.faiss"

    @property
    def chunks(self) -> str:
        return f"{self.folder}/chunks.sqlite"

    @property
    def files(self) -> tuple[str, ...]:
        """Every file of the segment in this generation."""
        return (self.vectors, self.chunks, *([self.tombstones] if self.tombstones else []))


class EmbedderEntry(BaseModel):
    model_config = _Strict
    name: str
    fingerprint: str
    dimensions: int = Field(ge=1)


class Counts(BaseModel):
    model_config = _Strict
    documents: int = Field(ge=0)
    chunks: int = Field(ge=0)


class CoveredSegment(BaseModel):
    model_config = _Strict
    id: str = Field(pattern=r"^[0-9]{6}(-[0-9]{2})?$")
    rows: int = Field(ge=1)

    @property
    def number(self) -> int:
        return segment_number(self.id)


class ApproximateEntry(BaseModel):
    """The inverted file over most vectors of a generation; what it does not cover is searched exactly.

    Attributes:
        file: ``None`` where one was made and did not reach the target: all is searched exactly.
        trained: living rows when its centroids were learnt.
        target: the recall@10 that was asked for.
        segments: whose rows it holds, in this order; one that is no part of the generation any more is passed over.
        probes: lists that a search looks into.
        recall: the recall@10 that was measured so.
        filtered: the least that was measured under a filter, with all lists.
        near: cosine of the nearest row; a question that finds none so near is searched widely.
    """

    model_config = _Strict
    file: str | None = Field(pattern=r"^dense/[0-9]{6}\.faiss$")
    trained: int = Field(ge=1)
    target: float
    segments: tuple[CoveredSegment, ...]
    probes: int = Field(ge=0)
    recall: float = Field(ge=0, le=1)
    filtered: float = Field(ge=0, le=1)
    near: float = Field(ge=-1, le=1.001)

    @property
    def rows(self) -> int:
        return sum(segment.rows for segment in self.segments)


class TuningEntry(BaseModel):
    """What ``eval tune`` fitted; ``None`` stands for the shipped numbers."""

    model_config = _Strict
    dense: float | None = Field(default=None, ge=0, le=1)
    evidence: tuple[FiniteFloat, ...] | None = None
    curve: tuple[tuple[float, float, float], ...] = ()

    @classmethod
    def of(cls, tuning: Tuning) -> Self:
        fusion, evidence = tuning.fusion, tuning.evidence
        return cls(
            dense=None if fusion is None else fusion.dense,
            evidence=None if evidence is None else evidence.coefficients,
            curve=() if evidence is None else evidence.curve,
        )

    @property
    def tuning(self) -> Tuning:
        return Tuning(
            None if self.dense is None else FusionWeights(self.dense),
            None if self.evidence is None else EvidenceCurve(self.evidence, self.curve),
        )


class Manifest(BaseModel):
    """One generation. Paths are relative to the collection's folder.

    Attributes:
        floor: no generation below this one may ever serve again: an erasure withdrew them.
        erased: sha256 of the URIs that were erased and may not come back unasked.
        gate: what an evaluation said of it before it served; ``None`` where none was asked.
    """

    model_config = _Strict
    format: Literal[3] = 3
    collection: str
    generation: int = Field(ge=1)
    parent: int | None
    parent_sha256: str | None
    created: str
    embedder: EmbedderEntry
    language: str
    segments: tuple[SegmentEntry, ...]
    approximate: ApproximateEntry | None = None
    lexical: str = Field(pattern="^lexical/[0-9]{6}$")
    counts: Counts
    floor: int = Field(default=1, ge=1)
    erased: tuple[str, ...] = ()
    tuning: TuningEntry = TuningEntry()
    gate: GateReport | None = None
    files: dict[str, FileEntry]

    @field_validator("files")
    @classmethod
    def _inside(cls, value: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in value:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or str(path) != name:
                raise ValueError(f"{name!r} is not a plain relative path")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """What is opened must be hashed, and ancestors come before."""
        opened = {name for segment in self.segments for name in segment.files} | {f"{self.lexical}/meta.json"}
        if self.approximate is not None and self.approximate.file is not None:
            opened.add(self.approximate.file)
        if unhashed := sorted(opened - self.files.keys()):
            raise ValueError(f"{unhashed[0]!r} has no hash")
        if self.parent is not None and self.parent >= self.generation:
            raise ValueError("its parent is not older")
        return self

    def encode(self) -> bytes:
        """The bytes of the manifest file; its last key is the sha256 of all that stands before it."""
        body = self.model_dump(mode="json")
        return json.dumps(body | {"sha256": _own_hash(body)}, indent=1).encode()

    @classmethod
    def decode(cls, data: bytes, name: str) -> Self:
        """Read a manifest file.

        Raises:
            IndexDamaged: torn, edited, or of another format.
        """
        try:
            body = json.loads(data)
            claimed = body.pop("sha256")
            if body["format"] in (1, 2):
                raise IndexDamaged(
                    f"{name}: was written by an earlier version: remove {PurePosixPath(name).parent.parent} and ingest again"
                )
            manifest = cls.model_validate(body)
        except (ValueError, KeyError, AttributeError, ValidationError) as error:
            raise IndexDamaged(f"{name}: not a readable manifest ({type(error).__name__})") from None
        if claimed != _own_hash(body):
            raise IndexDamaged(f"{name}: does not match its own hash")
        return manifest


def _own_hash(body: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
