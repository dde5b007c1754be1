"""Which vector index: exact, inverted files with several codes, and HNSW over the same vectors, in one process and one thread.

Vectors: ``passage_vectors.py`` made them. Questions are the vectors of passages that are not in the index.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

K = 10
CANDIDATES = 400


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("vectors", type=Path, help=".npy of unit rows")
    flags.add_argument("--rows", type=int, default=100_000)
    flags.add_argument("--questions", type=int, default=500)
    flags.add_argument("--hnsw", action="store_true", help="also HNSW, which takes minutes to build")
    given = flags.parse_args()
    faiss.omp_set_num_threads(1)
    stored = np.load(given.vectors, mmap_mode="r")
    chosen = np.random.default_rng(0).permutation(len(stored))[: given.rows + given.questions]
    vectors = np.ascontiguousarray(stored[np.sort(chosen[: given.rows])], dtype=np.float32)
    questions = np.ascontiguousarray(stored[np.sort(chosen[given.rows :])], dtype=np.float32)
    lists = 1 << round(np.log2(1.8 * np.sqrt(given.rows)))
    truth = faiss.knn(questions, vectors, K, metric=faiss.METRIC_INNER_PRODUCT)[1]
    flat = built("SQfp16", vectors)[0]
    rows: list[dict[str, Any]] = []
    for name in ("Flat", "SQfp16", "SQ8"):
        index, seconds = built(name, vectors)
        rows.append(measured(name, index, seconds, questions, truth, lambda q, i=index: i.search(q, K)[1][0]))
    for name in (f"IVF{lists},SQfp16", f"IVF{lists},SQ8", f"IVF{lists},PQ96x4fs", f"IVF{lists},RaBitQfs"):
        index, seconds = built(name, vectors)
        for probes in (lists // 32, lists // 16, lists // 8, lists // 4):
            index.nprobe = probes
            short = "PQ" in name or "RaBitQ" in name
            search = refined(index, flat) if short else lambda q, i=index: i.search(q, K)[1][0]
            label = f"{name}{' + exact' if short else ''}, {probes} lists"
            rows.append(measured(label, index, seconds, questions, truth, search))
    if given.hnsw:
        index, seconds = built("HNSW32,SQ8", vectors)
        for breadth in (64, 256):
            index.hnsw.efSearch = breadth
            search = lambda q, i=index: i.search(q, K)[1][0]  # noqa: E731
            rows.append(measured(f"HNSW32,SQ8, breadth {breadth}", index, seconds, questions, truth, search))
    print(json.dumps({"rows": given.rows, "questions": given.questions, "indexes": rows}, indent=1))


def built(name: str, vectors: NDArray[np.float32]) -> tuple[Any, float]:
    began = time.process_time()
    index = faiss.index_factory(vectors.shape[1], name, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        index.train(vectors[:: max(1, len(vectors) // 50_000)])
    index.add(vectors)
    return index, time.process_time() - began


def refined(index: Any, flat: Any) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
    """Candidates by their codes, then by their exact cosines, as the product does it."""
    codes = faiss.rev_swig_ptr(flat.codes.data(), flat.codes.size()).reshape(flat.ntotal, -1)

    def search(question: NDArray[np.float32]) -> NDArray[np.int64]:
        rows = index.search(question, CANDIDATES)[1][0]
        rows = rows[rows >= 0]
        best: NDArray[np.int64] = rows[
            np.argsort(-(flat.sa_decode(np.ascontiguousarray(codes[rows])) @ question[0]))[:K]
        ]
        return best

    return search


def measured(
    name: str,
    index: Any,
    seconds: float,
    questions: NDArray[np.float32],
    truth: NDArray[np.int64],
    search: Callable[[NDArray[np.float32]], NDArray[np.int64]],
) -> dict[str, Any]:
    times, hits = [], 0
    for question, right in zip(questions, truth, strict=True):
        began = time.process_time()
        found = search(question[None])
        times.append(time.process_time() - began)
        hits += len(np.intersect1d(found, right))
    with tempfile.NamedTemporaryFile() as file:
        faiss.write_index(index, file.name)
        size = Path(file.name).stat().st_size
    return {
        "index": name,
        "recall@10": round(hits / truth.size, 4),
        "cpu_ms": round(statistics.median(times) * 1e3, 2),
        "megabytes": round(size / 1e6, 1),
        "build_cpu_s": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
