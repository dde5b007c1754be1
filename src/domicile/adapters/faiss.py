"""Vectors in FAISS: exact inner product over half-precision codes, memory-mapped and read-only once written, and over
many of them an inverted file of short codes that proposes candidates (``docs/adr/0004`` and ``docs/adr/0011``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domicile.errors import IndexDamaged
from domicile.files import write_refused
from domicile.ports import Vectors

MAX_BYTES = 64 << 30
"""No array in an index file may claim more than this; a forged length then cannot exhaust the memory."""
_LARGEST = 2.0
"""A coordinate of a vector of unit length is at most 1; half precision ends at 65,504."""
SAMPLE_PER_LIST = 39
"""Vectors that each centroid is learnt from, at most; measured, more change nothing."""
_ROUNDS = 6
_SEED = 20_260_101


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
        if vectors.ndim != 2 or vectors.shape[1] != self._index.d or not (np.abs(vectors) <= _LARGEST).all():
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

        self._index = _read(path, faiss.IO_FLAG_MMAP_IFC)
        if (self._index.ntotal, self._index.d) != (rows, dimensions):
            raise IndexDamaged(f"{path}: holds {self._index.ntotal} x {self._index.d}, expected {rows} x {dimensions}")

    def search(
        self, vector: Vectors, k: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best ``k`` allowed rows and their cosines, best first, ties by row.

        The filter acts inside the scan, so a forbidden row can neither be returned nor push another one out.
        """
        import faiss

        faiss.omp_set_num_threads(1)  # the setting is per thread; requests are the parallelism
        selector = Selector(allowed)
        parameters = None if allowed is None else faiss.SearchParameters(sel=selector.faiss)
        query = np.ascontiguousarray(vector[None], dtype=np.float32)
        depth = k
        while True:
            # FAISS keeps any of those that share the last place: look until a worse one, so that the lowest rows win
            depth = 4 * depth if depth > k else k + 1
            scores, rows = (array[0] for array in self._index.search(query, depth, params=parameters))
            if rows[-1] < 0 or scores[-1] < scores[k - 1]:
                break
        found = int((rows >= 0).sum())  # what is missing is at the end
        order = np.lexsort((rows[:found], -scores[:found]))[:k]
        return rows[order], scores[order]

    def rows(self, numbers: Sequence[int] | NDArray[np.int64]) -> Vectors:
        """The stored vectors of these rows, decoded to float32."""
        import faiss

        size = self._index.codes.size()
        codes = faiss.rev_swig_ptr(self._index.codes.data(), size).reshape(-1, self._index.code_size)  # no copy
        decoded: Vectors = self._index.sa_decode(np.ascontiguousarray(codes[np.asarray(numbers, dtype=np.int64)]))
        return decoded


class Selector:
    """Rows that a search may return, as FAISS wants them; FAISS reads the bits, so they live as long as this does."""

    def __init__(self, allowed: NDArray[np.bool_] | None) -> None:
        import faiss

        self._bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        self.faiss: Any = None if self._bits is None else faiss.IDSelectorBitmap(self._bits)


class ApproximateWriter:
    """An inverted file of 4-bit product codes, 48 bytes for a vector of 384 dimensions.

    Its centroids and codebooks are learnt once and stay with it, so that rows can be appended to a written file.
    Sources: Jegou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011; Andre, Kermarrec and
    Le Scouarnec, "Quicker ADC", TPAMI 2019.
    """

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def train(cls, sample: Vectors, lists: int) -> ApproximateWriter:
        """Learn from a sample, float32 of shape (rows, dimensions); the same sample gives the same file."""
        import faiss

        faiss.omp_set_num_threads(1)  # sums of floats depend on how they are shared out
        dimensions = sample.shape[1]
        clusters = faiss.Kmeans(
            dimensions, lists, niter=_ROUNDS, spherical=True, seed=_SEED, max_points_per_centroid=SAMPLE_PER_LIST,
            min_points_per_centroid=1,
        )  # fmt: skip
        clusters.train(sample)
        name = f"IVF{lists},PQ{_subspaces(dimensions)}x4fs"
        index = faiss.index_factory(dimensions, name, faiss.METRIC_INNER_PRODUCT)
        index.quantizer.add(clusters.centroids)
        index.train(sample)
        return cls(index)

    @classmethod
    def continued(cls, path: Path) -> ApproximateWriter:
        """Go on from a written file, whose bytes were verified; it stays as it is."""
        return cls(_read(path, 0))

    def add(self, vectors: Vectors) -> None:
        """Append rows."""
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    @property
    def rows(self) -> int:
        return int(self._index.ntotal)

    @property
    def lists(self) -> int:
        return int(self._index.nlist)

    def write(self, path: Path) -> None:
        import faiss

        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as error:
            raise write_refused(path, error) from error


class ApproximateFile:
    """A written inverted file. FAISS copies its lists into memory, which is why the codes are short.

    Raises:
        IndexDamaged: not such an index of this many rows.
    """

    def __init__(self, path: Path, rows: int) -> None:
        import faiss

        self._index = _read(path, faiss.IO_FLAG_MMAP_IFC)
        if not isinstance(self._index, faiss.IndexIVFPQFastScan) or self._index.ntotal != rows:
            raise IndexDamaged(f"{path}: is not an inverted file of {rows} rows")

    @property
    def lists(self) -> int:
        return int(self._index.nlist)

    def candidates(self, vector: Vectors, depth: int, probes: int, selector: Selector) -> NDArray[np.int64]:
        """The allowed rows among the nearest ``probes`` lists whose codes look nearest, at most ``depth``."""
        import faiss

        faiss.omp_set_num_threads(1)
        parameters = faiss.SearchParametersIVF(nprobe=probes, sel=selector.faiss)
        query = np.ascontiguousarray(vector[None], dtype=np.float32)
        rows: NDArray[np.int64] = self._index.search(query, depth, params=parameters)[1][0]
        return rows[rows >= 0]


def _read(path: Path, flags: int) -> Any:
    import faiss

    faiss.set_deserialization_vector_byte_limit(MAX_BYTES)
    try:
        return faiss.read_index(str(path), flags)
    except RuntimeError as error:
        raise IndexDamaged(f"{path}: {error}") from error


def _subspaces(dimensions: int) -> int:
    """Of four dimensions each where that goes without remainder: product codes cut a vector evenly."""
    return next(dimensions // width for width in (4, 2, 1) if dimensions % width == 0)
