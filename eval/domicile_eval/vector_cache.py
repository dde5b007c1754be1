"""An embedder that remembers what it embedded, from one run of a suite to the next."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from domicile.files import make_folders, replace_durably
from domicile.ports import Embedder, Offsets, Vectors

MAX_TEXTS = 100_000
"""150 MB for 384 dimensions; with more than that nothing more is remembered."""
PROBES: tuple[tuple[Literal["query", "document"], str], ...] = (
    ("query", "How many weeks of leave may a technician take in winter?"),
    ("document", "Leave: The pump is checked every twelve weeks, and the valve once a year."),
)
"""Texts that are embedded whenever a file is opened, and must have the vectors that are remembered."""
SAME = 1e-5
"""What a text's neighbours in a batch may change of a vector, see ``Embedder.embed``."""


class RememberingEmbedder:
    """``ports.Embedder``: another one, and the vectors that it gave before, bit by bit the same.

    An embedder that gives other vectors under its old fingerprint is a fault that an evaluation is to find. So the probes are
    embedded anew, and what is remembered is dropped where they differ.

    Args:
        path: of the file; one that cannot be read, or is of another embedder, is as if it were not there.
    """

    def __init__(self, embedder: Embedder, path: Path) -> None:
        self._embedder = embedder
        self._path = path
        self._fresh = False
        probed = {_key(role, text): embedder.embed([text], role)[0] for role, text in PROBES}
        known = _read(path, embedder)
        same = all(key in known and np.abs(known[key] - vector).max() <= SAME for key, vector in probed.items())
        self._known: dict[bytes, Vectors] = known if same else probed

    @property
    def name(self) -> str:
        return self._embedder.name

    @property
    def fingerprint(self) -> str:
        return self._embedder.fingerprint

    @property
    def dimensions(self) -> int:
        return self._embedder.dimensions

    @property
    def max_pieces(self) -> int:
        return self._embedder.max_pieces

    def pieces(self, text: str) -> Offsets:
        return self._embedder.pieces(text)

    def embed(self, texts: Sequence[str], role: Literal["query", "document"]) -> Vectors:
        keys = [_key(role, text) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        found = dict(zip(new, self._embedder.embed(list(new.values()), role), strict=True)) if new else {}
        if len(self._known) + len(found) <= MAX_TEXTS:
            self._known |= found
            self._fresh = self._fresh or bool(found)
        return np.stack([self._known[key] if key in self._known else found[key] for key in keys])

    def save(self) -> None:
        """Write what is new to the file."""
        if not self._fresh:
            return
        keys = np.frombuffer(b"".join(self._known), dtype=np.uint8).reshape(-1, 32)
        vectors = np.stack(list(self._known.values()))
        data = io.BytesIO()
        np.savez(data, keys=keys, vectors=vectors, check=_check(self.fingerprint, keys, vectors))
        make_folders(self._path.parent, mode=0o700)
        replace_durably(self._path, data.getvalue(), mode=0o600)
        self._fresh = False


def _key(role: str, text: str) -> bytes:
    return hashlib.sha256(f"{role}\0{text}".encode("utf-8", "surrogatepass")).digest()


def _check(fingerprint: str, keys: NDArray[Any], vectors: NDArray[Any]) -> NDArray[np.uint8]:
    """Of everything in the file, and of whose it is."""
    digest = hashlib.sha256(fingerprint.encode() + b"\0" + keys.tobytes() + vectors.tobytes()).digest()
    return np.frombuffer(digest, dtype=np.uint8)


def _read(path: Path, embedder: Embedder) -> dict[bytes, Vectors]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            keys, vectors, check = stored["keys"], stored["vectors"], stored["check"]
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zlib.error, BadZipFile):
        return {}
    whole = vectors.shape == (len(keys), embedder.dimensions)
    if not whole or not np.array_equal(check, _check(embedder.fingerprint, keys, vectors)):
        return {}
    return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}
