"""The vectors of sentences that were candidates before, so that a question about the same passages embeds little."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from weakref import WeakKeyDictionary

from domicile.ports import Index, Vectors

Place = tuple[str, int]
"""The id of a chunk and the offset of a sentence in its document: within one generation they name one text."""


class SentenceVectors:
    """Keeps the vectors that were used last, each of shape (dimensions,). Safe to call from several threads.

    They go with the opened generation that they are of, so nothing outlives its erasure here. No text is kept.

    Args:
        capacity: vectors of each generation that is open.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._kept: WeakKeyDictionary[Index, OrderedDict[Place, Vectors]] = WeakKeyDictionary()

    def get(self, index: Index, places: Iterable[Place]) -> dict[Place, Vectors]:
        """Those that are kept."""
        with self._lock:
            kept = self._kept.get(index, OrderedDict())
            found = {place: kept[place] for place in places if place in kept}
            for place in found:
                kept.move_to_end(place)
            return found

    def put(self, index: Index, vectors: Mapping[Place, Vectors]) -> None:
        with self._lock:
            kept = self._kept.setdefault(index, OrderedDict())
            kept.update(vectors)
            while len(kept) > self._capacity:
                kept.popitem(last=False)
