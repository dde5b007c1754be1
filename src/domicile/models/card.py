"""The card of a model, ``model.json``: what the folder holds and how to run it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from domicile.errors import ModelDamaged

CARD_NAME = "model.json"

Kind = Literal["embedder", "llm", "reranker"]
Pooling = Literal["in_graph", "mean", "cls"]
Engine = Literal["onnxruntime", "openvino"]
Precision = Literal["f32", "bf16"]

_EMBEDDER_ONLY = {"dimensions", "pooling", "normalize", "prefixes", "parity"}
_ENCODER_ONLY = {"max_pieces", "graph"}
_LLM_ONLY = {"context_length"}
_FOREIGN = {
    "embedder": _LLM_ONLY,
    "reranker": _LLM_ONLY | _EMBEDDER_ONLY,
    "llm": _EMBEDDER_ONLY | _ENCODER_ONLY,
}
_TEXT = {".json", ".txt", ".md", ".jinja", ".py", ".onnx"}


def _inside(name: str) -> str:
    """A relative path with ``/`` that stays in its folder, else ValueError."""
    path = PurePosixPath(name)
    plain = name.isprintable() and "\\" not in name and str(path) == name
    if not plain or path.is_absolute() or not path.parts or ".." in path.parts:
        raise ValueError(f"{name!r} is not a path inside the model folder")
    return name


class _Frozen(BaseModel):
    # A newer domicile may write more: unknown keys are no reason to refuse a model that verifies.
    model_config = ConfigDict(frozen=True, extra="ignore")


class FileEntry(_Frozen):
    """One file of the folder; ``size`` in bytes."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class Prefixes(_Frozen):
    """What is put before a text, by its role."""

    query: str = ""
    document: str = ""


class ModelCard(_Frozen):
    """What ``model.json`` says.

    Attributes:
        files: every file that is read, by its path in the folder, with ``/``.
        graph: the ONNX file of an embedder or a reranker.
        dimensions: of an embedder's vectors; ``None`` where only running the graph tells.
        max_pieces: word pieces of one text, or of a reranker's question and passage together; specials included.
        context_length: tokens of prompt and answer together, of an llm.
        parity: how near an embedder's vectors came to the reference implementation.
    """

    name: str = Field(min_length=1)
    kind: Kind
    files: dict[Annotated[str, AfterValidator(_inside)], FileEntry] = Field(min_length=1)
    source: str = ""
    licence: str = ""
    engine: str
    precision: str
    graph: Annotated[str, AfterValidator(_inside)] = "model.onnx"
    dimensions: int | None = Field(default=None, gt=0)
    max_pieces: int = Field(default=256, gt=2)
    pooling: Pooling = "mean"
    normalize: bool = True
    prefixes: Prefixes = Prefixes()
    parity: dict[str, float] | None = None
    context_length: int | None = Field(default=None, gt=0)

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(entry.size for entry in self.files.values())

    def to_json(self) -> str:
        """The text of ``model.json``, without the keys that only other kinds have."""
        shown = self.model_dump(exclude=_FOREIGN[self.kind], exclude_none=True)
        return json.dumps(shown, indent=1, sort_keys=True) + "\n"


def read_card(path: Path) -> ModelCard:
    """Parse a card.

    Raises:
        ModelDamaged: it cannot be read, is not JSON, or says something impossible; names the file and the key.
    """
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "content"
        raise ModelDamaged(f"{path}: {where}: {first['msg']}") from error
    except OSError as error:
        raise ModelDamaged(f"{path} cannot be read: {error.strerror}") from error


def fingerprint(card: ModelCard, *, engine: str | None = None, precision: str | None = None) -> str:
    """What an index remembers of its embedder: 16 hexadecimal digits.

    Two embedders with the same fingerprint give the same vectors: same weights, tokenizer, pooling, prefixes,
    length, engine and precision. Files that only people read do not count, and neither do other graphs that lie
    beside the one that is run.

    Args:
        card: of the embedder.
        engine, precision: where a setting overrides what the card says.
    """
    folder = PurePosixPath(card.graph).parent
    weights = sorted(
        entry.sha256
        for name, entry in card.files.items()
        if name == card.graph or (PurePosixPath(name).parent == folder and PurePosixPath(name).suffix not in _TEXT)
    )
    tokenizer = card.files.get("tokenizer.json")
    identity = {
        "weights": weights,
        "tokenizer": tokenizer.sha256 if tokenizer else None,
        "pooling": card.pooling,
        "prefixes": card.prefixes.model_dump(),
        "max_pieces": card.max_pieces,
        "engine": engine or card.engine,
        "precision": precision or card.precision,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
