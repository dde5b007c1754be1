"""The audit log: what an append costs alone, with 8 threads, and beside another process; how fast it is found in and verified.

    python benchmarks/audit.py FOLDER

The folder has to lie on the disk that is to be measured; a home is made in it and left. Bodies are of the size of an answer's
record. `fsyncs_ms` are the parts of an append: lines, head, and the folder's, which an append does not need.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from domicile.adapters.audit import FileAuditLog
from domicile.audit_verifier import verify

Figures = dict[str, float]


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("folder", type=Path)
    flags.add_argument("--records", type=int, default=5_000, help="of each figure")
    given = flags.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="audit-", dir=given.folder))
    log, count = opened(home), given.records
    log.append("start", {"version": "benchmark"})
    found: dict[str, object] = {"body_bytes": len(json.dumps(body())), "fsyncs_ms": flushes(home, 300)}
    found["alone_ms"] = spread(appends(log, count))
    found["8_threads_ms"], found["8_threads_records_s"] = at_once(log, 8, count)
    found["beside_another_process_ms"] = beside(home, log, count // 2)
    ids = [log.append("answer", body()).id for _ in range(200)]
    found["find_ms"] = spread([timed(lambda one=one: log.find(one)) for one in random.Random(1).sample(ids, 200)])
    began = time.perf_counter()
    verdict = verify(home / "audit")
    assert verdict.ok, verdict
    found["entries"] = verdict.entries
    found["verify_entries_s"] = round(verdict.entries / (time.perf_counter() - began))
    found["open_ms"] = spread([timed(opened(home).trouble) for _ in range(10)])
    print(json.dumps(found))


def opened(home: Path) -> FileAuditLog:
    return FileAuditLog(home / "audit", home / "state", lambda: datetime.now(UTC), secrets.token_hex)


def body() -> dict[str, object]:
    """As much as the record of an answer with three quotes and one refused sink."""
    digest = hashlib.sha256(os.urandom(8)).hexdigest()
    label = {"regions": ["eu", "local"], "sensitivity": "internal", "hosted": True, "retention_days": 0}
    return {
        "tenant": "default", "collection": "handbook", "generation": 2, "question_sha256": digest, "answer_sha256": digest,
        "citations": [{"document": f"hr/{n}.md", "start": 9, "end": 99, "quote_sha256": digest} for n in range(3)],
        "label": label, "parts": [{"kind": "document", "name": f"hr/{n}.md", "label": label} for n in range(5)],
        "decision": {"route": "local", "sink": "local", "denied": [{"sink": "acme-us", "reasons": ["region"]}]},
    }  # fmt: skip


def appends(log: FileAuditLog, count: int) -> list[float]:
    return [timed(lambda: log.append("answer", body())) for _ in range(count)]


def at_once(log: FileAuditLog, threads: int, count: int) -> tuple[Figures, int]:
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        times = list(pool.map(lambda _: appends(log, count // threads), range(threads)))
    seconds = time.perf_counter() - began
    return spread([one for some in times for one in some]), round(count / seconds)


def beside(home: Path, log: FileAuditLog, count: int) -> Figures:
    other = multiprocessing.get_context("spawn").Process(target=disturb, args=(home,), daemon=True)
    other.start()
    before = size(home)
    while size(home) == before:
        time.sleep(0.01)
    try:
        return spread(appends(log, count))
    finally:
        other.kill()
        other.join()


def size(home: Path) -> int:
    return sum(path.stat().st_size for path in (home / "audit").iterdir())


def disturb(home: Path) -> None:
    """Append a hundred times a second, as a busy service would beside a command."""
    log = opened(home)
    while True:
        log.append("answer", body())
        time.sleep(0.01)


def flushes(home: Path, count: int) -> dict[str, Figures]:
    parts: dict[str, list[float]] = {"lines": [], "head": [], "folder": []}
    log = os.open(home / "lines", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    folder = os.open(home, os.O_RDONLY)
    for _ in range(count):
        os.write(log, bytes(1_500))
        parts["lines"].append(timed(lambda: os.fsync(log)))
        fresh = os.open(home / "new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(fresh, bytes(400))
        parts["head"].append(timed(lambda fresh=fresh: os.fsync(fresh)))
        os.close(fresh)
        (home / "new").rename(home / "head")
        parts["folder"].append(timed(lambda: os.fsync(folder)))
    return {name: spread(times) for name, times in parts.items()}


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def spread(times: Sequence[float]) -> Figures:
    return {f"p{share}": round(float(np.percentile(times, share)), 2) for share in (50, 99)}


if __name__ == "__main__":
    main()
