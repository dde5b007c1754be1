"""Vectors of an unfinished change, so that the run after a crash embeds only what was not embedded yet.

What is committed needs no cache: its vectors lie in the index, under the hash of their text. This file holds the rest,
for one collection and one embedder, and is deleted with the commit: nothing outlives the documents that it came from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domicile.files import make_folders
from domicile.ports import Vectors

KEY_BYTES = 16


def text_hash(text: str) -> bytes:
    """What a vector is remembered under: 16 bytes of the sha256 of the text that was embedded."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:KEY_BYTES]


class VectorJournal:
    """Appends records of a key, a half-precision vector and a checksum; a torn or altered one is not believed.

    Written without fsync: losing it costs time only. Half precision is what the index stores, too.

    Args:
        folder: of this collection's journals; one file an embedder.
        fingerprint: of the embedder.
        dimensions: of its vectors.
    """

    def __init__(self, folder: Path, fingerprint: str, dimensions: int) -> None:
        self._folder = folder
        self._path = folder / f"{fingerprint}.bin"
        self._record = np.dtype([("key", f"V{KEY_BYTES}"), ("vector", "<f2", (dimensions,)), ("check", "<u4")])
        self._descriptor: int | None = None
        self._rows: dict[bytes, int] | None = None

    def known(self, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        """The vectors that an unfinished change left behind, float32 of shape (dimensions,)."""
        if self._rows is None:
            self._rows = self._read_keys()
        rows = {key: self._rows[key] for key in keys if key in self._rows}
        if not rows:
            return {}
        stored = np.memmap(self._path, dtype=self._record, mode="r", shape=(self._complete(),))
        found = {key: stored[row] for key, row in rows.items()}
        return {key: record["vector"].astype(np.float32) for key, record in found.items() if _intact(record)}

    def add(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Append; seen by the next process, not by this one, which has them in the index that it writes."""
        if not keys:
            return
        records = np.zeros(len(keys), dtype=self._record)
        records["key"] = np.frombuffer(b"".join(keys), dtype=f"V{KEY_BYTES}")
        records["vector"] = vectors
        records["check"] = [_checksum(record) for record in records]
        if self._descriptor is None:
            self._descriptor = self._open()
        with suppress(OSError):  # a full disk is the index's to report: this is a memory
            os.write(self._descriptor, records.tobytes())

    def _open(self) -> int:
        make_folders(self._folder)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # a record that a crash cut short would shift all that follow
        os.ftruncate(descriptor, self._complete() * self._record.itemsize)
        return descriptor

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def clear(self) -> None:
        """Forget everything of this collection, whichever embedder it is from."""
        self.close()
        self._rows = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _complete(self) -> int:
        try:
            return self._path.stat().st_size // self._record.itemsize
        except FileNotFoundError:
            return 0

    def _read_keys(self) -> dict[bytes, int]:
        count = self._complete()
        if not count:
            return {}
        stored = np.memmap(self._path, dtype=self._record, mode="r", shape=(count,))
        keys: NDArray[np.void] = np.ascontiguousarray(stored["key"])
        data = keys.tobytes()
        return {data[at : at + KEY_BYTES]: at // KEY_BYTES for at in range(0, len(data), KEY_BYTES)}


def _checksum(record: np.void) -> int:
    return zlib.crc32(record["vector"].tobytes(), zlib.crc32(record["key"].tobytes()))


def _intact(record: np.void) -> bool:
    return _checksum(record) == int(record["check"])
