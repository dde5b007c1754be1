"""From texts to unit vectors, whichever engine runs the graph: pooling, and what is checked of the vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domicile.adapters.graph import Graph, GraphRunner, Row, vendor_errors
from domicile.adapters.tokenizing import Pieces
from domicile.errors import ModelDamaged
from domicile.models.artefact import ModelFolder
from domicile.models.card import ModelCard
from domicile.ports import Offsets, Vectors

_POOLED_NAMES = ("sentence_embedding", "embedding", "embeddings")


class GraphEmbedder:
    """``ports.Embedder`` on a verified folder. Safe to call from several threads.

    Args:
        folder: an embedder; its card says how to pool and where to cut.
        load: loads its graph into the engine.
        threads: cores that all calls together may use; a call that makes only one run stays in the caller's thread.
        fingerprint: of the card with the engine and the precision that ``load`` chose.

    Raises:
        ModelDamaged: the engine cannot use the graph or the tokenizer; names the folder.
    """

    def __init__(self, folder: ModelFolder, load: Callable[[], Graph], threads: int, fingerprint: str) -> None:
        self._folder = folder
        self._card = folder.card
        self._fingerprint = fingerprint
        with vendor_errors(folder):
            self._pieces = Pieces(folder.path / "tokenizer.json", self._card.max_pieces)
        self._runner = GraphRunner(folder, load, self._pieces.pad, threads)
        self._output = _choose_output(self._runner.outputs, self._card)
        self._dimensions = self._measure_dimensions()

    @property
    def name(self) -> str:
        return self._card.name

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @property
    def max_pieces(self) -> int:
        return self._card.max_pieces

    def embed(self, texts: Sequence[str], role: Literal["query", "document"]) -> Vectors:
        """Unit vectors, float32 of shape (len(texts), dimensions), in the order of the texts.

        Raises:
            ModelDamaged: the engine failed, or gave something that is not a number.
        """
        prefix = getattr(self._card.prefixes, role)
        with vendor_errors(self._folder):
            rows = [Row(self._pieces.ids(prefix + text)) for text in texts]
        vectors = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        for positions, found in self._runner.run(self._output, rows, self._finish):
            vectors[positions] = found
        return vectors

    def pieces(self, text: str) -> Offsets:
        """Offsets of the word pieces of ``text`` in code points, without specials, never truncated."""
        with vendor_errors(self._folder):
            return self._pieces.offsets(text)

    def _finish(self, output: NDArray[Any], mask: NDArray[np.int64]) -> Vectors:
        return self._unit(self._pool(output, mask))

    def _pool(self, output: NDArray[Any], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        if output.ndim == 2:
            return output.astype(np.float32, copy=False)
        if output.ndim != 3 or self._card.pooling == "in_graph":
            raise ModelDamaged(
                f"model {self.name} ({self._folder.path}): its graph gives {output.ndim}-D output, "
                f"which does not go with pooling {self._card.pooling!r}"
            )
        hidden = output.astype(np.float32, copy=False)
        if self._card.pooling == "cls":
            return hidden[:, 0]
        keep = mask[:, :, None].astype(np.float32)
        pooled: NDArray[np.float32] = (hidden * keep).sum(axis=1) / np.maximum(keep.sum(axis=1), 1.0)
        return pooled

    def _unit(self, vectors: NDArray[np.float32]) -> Vectors:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(vectors).all() or not lengths.all():
            raise ModelDamaged(
                f"model {self.name} ({self._folder.path}) gives vectors that are zero or not numbers: "
                "run `domicile models verify`"
            )
        unit: Vectors = vectors / lengths
        return unit

    def _measure_dimensions(self) -> int:
        # Also the first run, which is the slowest: not a user's question but this one waits for it.
        with vendor_errors(self._folder):
            probe = Row(self._pieces.ids("probe"))
        [(_, vectors)] = self._runner.run(self._output, [probe], self._finish)
        found = vectors.shape[1]
        if self._card.dimensions not in (None, found):
            raise ModelDamaged(
                f"model {self.name} ({self._folder.path}) gives {found} dimensions, "
                f"its card says {self._card.dimensions}"
            )
        return int(found)


def _choose_output(ranks: Mapping[str, int], card: ModelCard) -> str:
    """A vector a text where the graph offers one by name, else the hidden states; never a pooler's output."""
    named = [name for name in _POOLED_NAMES if ranks.get(name) == 2]
    wanted = 2 if card.pooling == "in_graph" else 3
    fitting = [name for name, rank in ranks.items() if rank == wanted]
    return next(iter([*named, *fitting, *ranks]))
