"""The vectors of sentences that were candidates before, so that a question about the same passages embeds little."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from domicile.ports import Vectors

Place = tuple[str, int]
"""The id of a chunk and the offset of a sentence in its document: within one generation they name one text."""


class SentenceVectors:
    """Keeps the vectors that were used last, each of shape (dimensions,). Safe to call from several threads.

    Of a collection, only the generation that was asked last is kept, so nothing outlives its erasure here. No text is kept.

    Args:
        capacity: vectors, of all collections together.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._generations: dict[str, int] = {}
        self._kept: OrderedDict[tuple[str, Place], Vectors] = OrderedDict()

    def get(self, collection: str, generation: int, places: Iterable[Place]) -> dict[Place, Vectors]:
        """Those that are kept."""
        with self._lock:
            self._turn_to(collection, generation)
            found = {place: self._kept[collection, place] for place in places if (collection, place) in self._kept}
            for place in found:
                self._kept.move_to_end((collection, place))
            return found

    def put(self, collection: str, generation: int, vectors: Mapping[Place, Vectors]) -> None:
        with self._lock:
            self._turn_to(collection, generation)
            self._kept.update(((collection, place), vector) for place, vector in vectors.items())
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)

    def _turn_to(self, collection: str, generation: int) -> None:
        if self._generations.get(collection) != generation:
            self._generations[collection] = generation
            for key in [key for key in self._kept if key[0] == collection]:
                del self._kept[key]
