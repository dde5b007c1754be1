"""Vectors for the passages of ``passages.py``: real ones for the first, blends of real ones for as many more as are asked for.

    python benchmarks/passage_vectors.py embed passages/passages.jsonl --count 200000
    python benchmarks/passage_vectors.py blend passages/passages.jsonl --count 1000000

``embed`` writes ``vectors.f16.npy`` beside the passages: what the home's embedder makes of title and text, as ingestion does. It
goes on where it was stopped. ``blend`` writes ``blended.f16.npy``, one row for each passage beyond those, and is deterministic.

What is real: all texts, and the first vectors. A blended vector has nothing to do with the text at its place: it lies
between a real vector and one of its near neighbours, moved along the difference of two other real vectors, so that its noise
has the shape of real text, not of a ball. It stands for more documents on the same subjects. ``blend`` prints how near
to their nearest neighbour real and blended vectors are.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domicile.bootstrap import Home

WINDOW = 4_096  # passages of one call, which the embedder sorts by length
CELLS = 512
KEPT = np.float32(0.55)  # of the real vector; the rest is its neighbour's
MOVED = np.float32(0.55)
TINY = np.float32(1e-6)  # a vector may meet itself
SEED = 20_240_601

Halves = NDArray[np.float16]
Singles = NDArray[np.float32]


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("what", choices=("embed", "blend"))
    flags.add_argument("passages", type=Path)
    flags.add_argument("--count", type=int, default=200_000, help="of passages that have a vector afterwards")
    flags.add_argument("--home", type=Path, default=Path(".domicile"), help="whose embedder")
    given = flags.parse_args()
    began = time.perf_counter()
    found = (
        embed(given.passages, given.count, given.home)
        if given.what == "embed"
        else blend(given.passages.parent, given.count)
    )
    print(json.dumps(found | {"seconds": round(time.perf_counter() - began, 1)}))


def indexed(row: dict[str, Any]) -> str:
    """What is embedded and searched of a passage, in the form that ingestion gives it."""
    return f"{row['title']}\n{row['text']}"


def load(folder: Path, count: int) -> Halves:
    """The first vectors, the real ones before the blended ones."""
    real = np.load(folder / "vectors.f16.npy", mmap_mode="r")
    if count <= len(real):
        return real[:count]
    return np.concatenate([real, np.load(folder / "blended.f16.npy", mmap_mode="r")[: count - len(real)]])


def embed(passages: Path, count: int, home: Path) -> dict[str, Any]:
    embedder = Home.open(home, dict(os.environ)).embedder()
    target, note = passages.with_name("vectors.f16.npy"), passages.with_name("vectors.json")
    done = 0
    if note.exists() and (known := json.loads(note.read_text()))["fingerprint"] == embedder.fingerprint:
        done = min(known["done"], count)
        if known["count"] != count:
            resize(target, done, count)
            write_note(note, done, count, embedder.fingerprint)
    vectors = np.lib.format.open_memmap(
        target, "r+" if done else "w+", dtype=np.float16, shape=(count, embedder.dimensions)
    )
    for texts in windows(passages, done, count):
        vectors[done : done + len(texts)] = embedder.embed(texts, "document")
        vectors.flush()
        done += len(texts)
        write_note(note, done, count, embedder.fingerprint)
        print(time.strftime("%H:%M:%S"), done, flush=True)
    return {"embedded": done}


def write_note(path: Path, done: int, count: int, fingerprint: str) -> None:
    path.write_text(json.dumps({"done": done, "count": count, "fingerprint": fingerprint}))


def resize(path: Path, kept: int, count: int) -> None:
    rows = np.load(path, mmap_mode="r")[:kept]
    fresh = np.lib.format.open_memmap(path.with_suffix(".new"), "w+", dtype=np.float16, shape=(count, rows.shape[1]))
    fresh[:kept] = rows
    fresh.flush()
    path.with_suffix(".new").replace(path)


def windows(passages: Path, start: int, stop: int) -> Iterator[list[str]]:
    with passages.open(encoding="utf-8") as lines:
        rows = islice(lines, start, stop)
        while texts := [indexed(json.loads(line)) for line in islice(rows, WINDOW)]:
            yield texts


def blend(folder: Path, count: int) -> dict[str, Any]:
    real: Singles = np.load(folder / "vectors.f16.npy").astype(np.float32)
    chance = np.random.default_rng(SEED)
    beside = neighbours(real, chance)
    wanted = count - len(real)
    blended = np.lib.format.open_memmap(
        folder / "blended.f16.npy", "w+", dtype=np.float16, shape=(wanted, real.shape[1])
    )
    for start in range(0, wanted, 65_536):
        rows = np.arange(start, min(start + 65_536, wanted)) % len(real)
        partners = real[beside[rows, chance.integers(0, beside.shape[1], len(rows))]]
        some, others = chance.integers(0, len(real), (2, len(rows)))
        mixed = KEPT * real[rows] + (1 - KEPT) * partners + MOVED * unit(real[some] - real[others] + TINY)
        blended[start : start + len(rows)] = unit(mixed)
    blended.flush()
    everything = np.concatenate([real, blended])
    sample = chance.choice(len(real), 200, replace=False)
    return {
        "real": len(real),
        "blended": wanted,
        "median_cosine_of_nearest": {
            "real_to_real": nearest(real[sample], real),
            "real_to_all": nearest(real[sample], everything),
            "blended_to_all": nearest(blended[sample].astype(np.float32), everything),
        },
    }


def neighbours(vectors: Singles, chance: np.random.Generator) -> NDArray[np.intp]:
    """Four near neighbours of each vector: the nearest of those that share its cell around a random vector."""
    found = np.zeros((len(vectors), 4), dtype=np.intp)
    centres = vectors[chance.choice(len(vectors), min(CELLS, len(vectors)), replace=False)]
    cells = np.concatenate([np.argmax(part @ centres.T, axis=1) for part in np.array_split(vectors, 50)])
    for cell in range(len(centres)):
        members = np.flatnonzero(cells == cell)
        if len(members) <= 5:
            found[members] = members[:1] if len(members) else 0
            continue
        for part in np.array_split(members, len(members) // 1_000 + 1):
            cosines = vectors[part] @ vectors[members].T
            cosines[part[:, None] == members] = -1
            found[part] = members[np.argpartition(-cosines, 4, axis=1)[:, :4]]
    return found


def nearest(some: Singles, others: NDArray[Any]) -> float:
    """The median cosine of the nearest other vector."""
    best = [np.sort(some @ part.astype(np.float32).T, axis=1)[:, -2:] for part in np.array_split(others, 20)]
    return round(float(np.median(np.sort(np.concatenate(best, axis=1), axis=1)[:, -2])), 3)


def unit(vectors: Singles) -> Singles:
    found: Singles = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


if __name__ == "__main__":
    main()
