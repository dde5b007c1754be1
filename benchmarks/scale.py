"""A large collection: memory and time of the first ingestion, of a run without a change, and of one with 1 % changed.

    python benchmarks/scale.py /usr/share/doc

The source is any folder of documents, such as unpacked Debian documentation packages. In the first run only a share of the
passages is really embedded (``--share``), else 200,000 of them would take hours: the other vectors are random. The run
with changes embeds for real, and its texts are embedded once more without a pipeline around, in the same process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from domicile.bootstrap import Home
from domicile.ports import Embedder, Vectors
from domicile_ingest.embedding import Tools
from domicile_ingest.labelling import Labeller
from domicile_ingest.parsing.sandbox import Sandbox
from domicile_ingest.pipeline import Options, Pipeline
from domicile_ingest.progress import Progress
from domicile_ingest.report import Report
from domicile_ingest.sources import open_source

COLLECTION = "scale"


class Sparing:
    """An embedder that embeds the first part of every call, and keeps the texts where it is told to."""

    def __init__(self, real: Embedder, share: float) -> None:
        self._real = real
        self._share = share
        self.kept: list[Sequence[str]] | None = None
        self.name, self.fingerprint = real.name, real.fingerprint
        self.dimensions, self.max_pieces, self.pieces = real.dimensions, real.max_pieces, real.pieces

    def embed(self, texts: Sequence[str], role: Literal["query", "document"]) -> Vectors:
        if self.kept is not None:
            self.kept.append(texts)
        some = max(1, round(self._share * len(texts)))
        vectors = np.concatenate([self._real.embed(texts[:some], role), *[self._random(text) for text in texts[some:]]])
        return vectors.astype(np.float32)

    def _random(self, text: str) -> Vectors:
        seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8])
        vector = np.random.default_rng(seed).standard_normal((1, self.dimensions), dtype=np.float32)
        return vector / np.linalg.norm(vector)


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("source", type=Path)
    flags.add_argument("--models", type=Path, default=Path(".domicile/models"))
    flags.add_argument("--share", type=float, default=0.02, help="of the passages that the first run really embeds")
    flags.add_argument("--files", type=int, help="take this many files, the first by name")
    flags.add_argument("--workdir", type=Path, help="where the copy of the source and the home go")
    given = flags.parse_args()
    with tempfile.TemporaryDirectory(dir=given.workdir) as temporary:
        place, home = Path(temporary) / "source", Path(temporary) / "home"
        (home).mkdir()
        (home / "models").symlink_to(given.models.resolve())
        copy(given.source, place, given.files)
        found: dict[str, Any] = {"files": sum(path.is_file() for path in place.rglob("*"))}
        for phase in (first, unchanged, changed):
            found[phase.__name__] = apart(phase, home, place, given.share)
            print(json.dumps({phase.__name__: found[phase.__name__]}), flush=True)
        print(json.dumps(found))


def copy(source: Path, target: Path, files: int | None) -> None:
    paths = sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    for path in paths[:files]:
        into = target / path.relative_to(source)
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into)


def apart(phase: Callable[..., dict[str, Any]], *arguments: object) -> dict[str, Any]:
    """Run in a process of its own, so that its peak memory is its own."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_send, args=(theirs, phase, arguments))
    process.start()
    found: dict[str, Any] = ours.recv()
    process.join()
    return found


def _send(connection: Any, phase: Callable[..., dict[str, Any]], arguments: tuple[object, ...]) -> None:
    result = phase(*arguments)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection.send(result | {"peak_rss_mb": round(kilobytes / 1024)})


def first(home: Path, source: Path, share: float) -> dict[str, Any]:
    report, stages, _ = ingest(home, source, share)
    size = sum(path.stat().st_size for path in (home / "data").rglob("*") if path.is_file())
    return summary(report, stages) | {"index_mb": round(size / 1e6)}


def unchanged(home: Path, source: Path, share: float) -> dict[str, Any]:
    report, stages, _ = ingest(home, source, share)
    checked = sum(report.counts.values())
    return summary(report, stages) | {"files_per_second": round(checked / report.seconds)}


def changed(home: Path, source: Path, share: float) -> dict[str, Any]:
    """Change words everywhere in documents that hold 1 % of the bytes, so that few of their passages stay as they are."""
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    random.Random(1).shuffle(paths)
    wanted = 0.01 * sum(path.stat().st_size for path in paths)
    for path in paths:
        data = path.read_bytes()
        path.write_bytes(data.replace(b". ", b", indeed. ").replace(b"</a>", b" (link)</a>"))
        wanted -= len(data)
        if wanted < 0:
            break
    report, stages, sparing = ingest(home, source, 1.0, keep=True)
    began = time.perf_counter()
    for texts in sparing.kept or []:
        sparing._real.embed(texts, "document")
    bare = time.perf_counter() - began
    return summary(report, stages) | {
        "bare_embedding_seconds": round(bare, 1),
        "ratio": round(report.seconds / bare, 3),
    }


def ingest(home: Path, source: Path, share: float, keep: bool = False) -> tuple[Report, dict[str, float], Sparing]:
    opened = Home.open(home, dict(os.environ))
    sparing = Sparing(opened.embedder(), share)
    sparing.kept = [] if keep else None
    collection = opened.collection(COLLECTION)
    own, rules = opened.label_sources(COLLECTION)
    stages: dict[str, float] = {}
    seen: list[tuple[str, float]] = []

    def watch(progress: Progress) -> None:
        now = time.perf_counter()
        if not seen or seen[-1][0] != progress.stage:
            seen.append((progress.stage, now))
        stages[progress.stage] = now - seen[-1][1]

    found = open_source(source, opened.settings.ingestion.max_file_bytes)
    with Sandbox() as sandbox:
        tools = Tools(sparing, opened.splitter(), sandbox.parse)
        pipeline = Pipeline(
            opened.index_writer(), tools, collection, Labeller(collection, opened.regions, own, rules, found.sidecars)
        )
        report = pipeline.run(found, Options(), watch)
    return report, stages, sparing


def summary(report: Report, stages: dict[str, float]) -> dict[str, Any]:
    return {
        "documents": dict(report.counts),
        "chunks": report.commit.chunks,
        "embedded": report.embedded,
        "seconds": round(report.seconds, 1),
        "stages": {stage: round(seconds, 2) for stage, seconds in stages.items()},
        "generation": report.commit.generation,
    }


if __name__ == "__main__":
    main()
