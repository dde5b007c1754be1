"""Vectors in FAISS: exact inner product over half-precision codes, memory-mapped and read-only once written.

Half precision costs .0015 of recall@10 against float32 and halves what a scan reads; see ``docs/adr/0004``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domicile.errors import IndexDamaged
from domicile.files import write_refused
from domicile.ports import Vectors

MAX_BYTES = 64 << 30
"""No array in an index file may claim more than this; a forged length then cannot exhaust the memory."""


class VectorFileWriter:
    """Collects rows and writes one file.

    Args:
        dimensions: of each row.
    """

    def __init__(self, dimensions: int) -> None:
        import faiss

        self._index = faiss.IndexScalarQuantizer(dimensions, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)

    def add(self, vectors: Vectors) -> None:
        """Append rows; float32 of shape (rows, dimensions)."""
        if vectors.ndim != 2 or vectors.shape[1] != self._index.d or not np.isfinite(vectors).all():
            raise ValueError(f"expected finite vectors of shape (rows, {self._index.d}), got {vectors.shape}")
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    @property
    def rows(self) -> int:
        return int(self._index.ntotal)

    def write(self, path: Path) -> None:
        import faiss

        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as error:
            raise write_refused(path, error) from error


class VectorFile:
    """A written file, mapped. Its bytes must have been verified before: a FAISS file is code-like input.

    Raises:
        IndexDamaged: not an index of this many rows and dimensions.
    """

    def __init__(self, path: Path, rows: int, dimensions: int) -> None:
        import faiss

        faiss.set_deserialization_vector_byte_limit(MAX_BYTES)
        try:
            self._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise IndexDamaged(f"{path}: {error}") from error
        if (self._index.ntotal, self._index.d) != (rows, dimensions):
            raise IndexDamaged(f"{path}: holds {self._index.ntotal} x {self._index.d}, expected {rows} x {dimensions}")

    def search(self, vector: Vectors, k: int, allowed: NDArray[np.bool_] | None) -> list[tuple[int, float]]:
        """The best ``k`` (row, cosine) among the allowed rows, best first, ties by row.

        The filter acts inside the scan, so a forbidden row can neither be returned nor push another one out.
        """
        import faiss

        faiss.omp_set_num_threads(1)  # the setting is per thread; requests are the parallelism
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        selector = None if bits is None else faiss.IDSelectorBitmap(bits)
        parameters = None if selector is None else faiss.SearchParameters(sel=selector)
        query = np.ascontiguousarray(vector[None], dtype=np.float32)
        depth = k
        while True:
            # FAISS keeps any of those that share the last place: look until a worse one, so that the lowest rows win
            depth = 4 * depth if depth > k else k + 1
            scores, rows = (array[0] for array in self._index.search(query, depth, params=parameters))
            if rows[-1] < 0 or scores[-1] < scores[k - 1]:
                break
        found = [(int(row), float(score)) for row, score in zip(rows, scores, strict=True) if row >= 0]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k]

    def rows(self, numbers: Iterable[int]) -> Vectors:
        """The stored vectors of these rows, decoded to float32."""
        wanted = list(numbers)
        decoded = np.empty((len(wanted), self._index.d), dtype=np.float32)
        for position, row in enumerate(wanted):
            decoded[position] = self._index.reconstruct(row)
        return decoded
