"""From texts to unit vectors, whichever engine runs the graph: batches, threads, pooling and what is checked.

Cores are filled by running several batches at once, each on one core: measured, that is faster than one batch on
several cores, and a call of one short text wakes nobody.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from domicile.adapters.tokenizing import Pieces
from domicile.errors import DomicileError, ModelDamaged
from domicile.models.artefact import ModelFolder
from domicile.models.card import ModelCard
from domicile.ports import Offsets, Vectors

_BATCH_PIECES = 1024
"""Rows times longest row of one run at most: beyond it the activations leave the caches. Measured, see ``docs/adr``."""

_SHARE_PIECES = 128
"""A call is not cut finer than this for the sake of idle cores."""

_WASTE_PIECES = 16
"""Padding of one run at most: as many pieces more cost what another run costs."""

_KNOWN_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_INTEGERS: dict[str, type[np.integer[Any]]] = {"int64": np.int64, "int32": np.int32}
_POOLED_NAMES = ("sentence_embedding", "embedding", "embeddings")

_Batch = tuple[list[int], list[list[int]]]
"""Rows of the call, and their word pieces."""


class Graph(Protocol):
    """A graph as an engine has loaded it.

    Attributes:
        inputs: name to kind of number, such as ``int64``.
        outputs: name to number of axes, 0 where it is not known.
    """

    @property
    def inputs(self) -> Mapping[str, str]: ...

    @property
    def outputs(self) -> Mapping[str, int]: ...

    def run(self, output: str, feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """One output; called from several threads at once, each run keeps one core busy."""
        ...


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
        self._threads = threads
        self._lanes = ThreadPoolExecutor(threads, thread_name_prefix="embed")
        with self._vendor():
            self._pieces = Pieces(folder.path / "tokenizer.json", self._card.max_pieces)
            self._graph = load()
        self._inputs = self._known_inputs()
        self._output = _choose_output(self._graph.outputs, self._card)
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
        with self._vendor():
            encoded = [self._pieces.ids(prefix + text) for text in texts]
        vectors = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        batches = [
            (rows, [encoded[row] for row in rows]) for rows in batch_rows(list(map(len, encoded)), self._threads)
        ]
        for rows, found in self._run_all(batches):
            vectors[rows] = found
        return vectors

    def pieces(self, text: str) -> Offsets:
        """Offsets of the word pieces of ``text`` in code points, without specials, never truncated."""
        with self._vendor():
            return self._pieces.offsets(text)

    def _run_all(self, batches: Sequence[_Batch]) -> Iterable[tuple[list[int], Vectors]]:
        if len(batches) < 2 or self._threads < 2:
            return map(self._run, batches)
        return self._run_side_by_side(batches)

    def _run_side_by_side(self, batches: Sequence[_Batch]) -> Iterator[tuple[list[int], Vectors]]:
        # A call has few runs under way, so that a question does not wait until a whole corpus is embedded.
        waiting: deque[Future[tuple[list[int], Vectors]]] = deque()
        try:
            for batch in batches:
                waiting.append(self._lanes.submit(self._run, batch))
                if len(waiting) > self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _run(self, batch: _Batch) -> tuple[list[int], Vectors]:
        numbers, rows = batch
        longest = max(len(row) for row in rows)
        ids = np.full((len(rows), longest), self._pieces.pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feed = {name: values[name].astype(kind, copy=False) for name, kind in self._inputs.items()}
        with self._vendor():
            output = self._graph.run(self._output, feed)
        return numbers, self._unit(self._pool(np.asarray(output), mask))

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

    def _known_inputs(self) -> dict[str, type[np.integer[Any]]]:
        inputs = self._graph.inputs
        odd = [name for name, kind in inputs.items() if name not in _KNOWN_INPUTS or kind not in _INTEGERS]
        if odd or "input_ids" not in inputs:
            raise ModelDamaged(
                f"model {self.name} ({self._folder.path}) is no text encoder: it takes {sorted(inputs)}, "
                f"known are {sorted(_KNOWN_INPUTS)} as int64 or int32"
            )
        return {name: _INTEGERS[kind] for name, kind in inputs.items()}

    def _measure_dimensions(self) -> int:
        # Also the first run, which is the slowest: not a user's question but this one waits for it.
        with self._vendor():
            probe = self._pieces.ids("probe")
        found = self._run(([0], [probe]))[1].shape[1]
        if self._card.dimensions not in (None, found):
            raise ModelDamaged(
                f"model {self.name} ({self._folder.path}) gives {found} dimensions, "
                f"its card says {self._card.dimensions}"
            )
        return int(found)

    @contextlib.contextmanager
    def _vendor(self) -> Iterator[None]:
        # Engines and tokenizers raise bare Exception and a dozen unrelated classes of their own.
        try:
            yield
        except DomicileError:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise ModelDamaged(
                f"model {self._card.name} ({self._folder.path}) cannot be run: {reason[0] if reason else repr(error)}"
            ) from error


def batch_rows(lengths: Sequence[int], threads: int) -> Iterator[list[int]]:
    """Rows of each run, longest first, so that the last ones are short and all cores end together.

    A run has little padding, stays below the budget (one row always fits), and leaves a share to each thread.
    """
    budget = min(_BATCH_PIECES, max(_SHARE_PIECES, -(-sum(lengths) // threads)))
    batch: list[int] = []
    longest = padding = 0
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        padding += longest - lengths[row]
        if batch and (padding > _WASTE_PIECES or (len(batch) + 1) * longest > budget):
            yield batch
            batch = []
        if not batch:
            longest, padding = lengths[row], 0
        batch.append(row)
    if batch:
        yield batch


def _choose_output(ranks: Mapping[str, int], card: ModelCard) -> str:
    """A vector a text where the graph offers one by name, else the hidden states; never a pooler's output."""
    named = [name for name in _POOLED_NAMES if ranks.get(name) == 2]
    wanted = 2 if card.pooling == "in_graph" else 3
    fitting = [name for name, rank in ranks.items() if rank == wanted]
    return next(iter([*named, *fitting, *ranks]))
