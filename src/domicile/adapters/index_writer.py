"""Opening a change of a collection: the writer's lock, what it starts from, and what is collected after it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from domicile.adapters.change import Change, Policies, Start
from domicile.adapters.generations import Generations
from domicile.adapters.manifest import EmbedderEntry
from domicile.adapters.snapshot import Snapshot
from domicile.adapters.vector_journal import VectorJournal
from domicile.domain import Collection
from domicile.errors import EmbedderMismatch, UnknownCollection
from domicile.files import HashMemory, make_folders, writer_lock
from domicile.ports import Embedder

logger = logging.getLogger(__name__)

RELEASE_SECONDS = 10.0
"""How long an erasure waits for readers to let go of older generations."""


DEFAULT = Policies()


class LocalIndexWriter:
    """Writes the collections of one home.

    Args:
        root: ``data/collections`` of the home.
        cache: where the vectors of unfinished changes lie.
        keep: generations that are retained.
    """

    def __init__(
        self,
        root: Path,
        hashes: HashMemory,
        cache: Path,
        keep: int = 10,
        policies: Policies = DEFAULT,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._root = root
        self._cache = cache
        self._hashes = hashes
        self._keep = keep
        self._policies = policies
        self._now = now

    @contextmanager
    def change(self, collection: Collection, embedder: Embedder | None, *, rebuild: bool = False) -> Iterator[Change]:
        folder = self._root / collection.name
        if (embedder is None or rebuild) and not Generations(folder, self._hashes).numbers():
            raise UnknownCollection(collection.name)
        make_folders(folder)
        with writer_lock(folder / "lock", f"collection {collection.name!r}"):
            generations = Generations(folder, self._hashes)
            generations.prepare()
            generations.sweep()
            with _parent(generations, collection) as parent:
                entry = _embedder_of(parent, embedder, collection, rebuild)
                journal = VectorJournal(self._cache / collection.name, entry.fingerprint, entry.dimensions)
                change = Change(
                    Start(generations, parent, collection, entry, rebuild), journal, self._policies, self._now
                )
                try:
                    yield change
                finally:
                    change.abandon()
            self._collect(generations)

    def collect(self, collection: Collection, keep: int | None = None) -> tuple[list[int], list[int]]:
        """Remove the generations beyond the newest ``keep``, and those that an erasure withdrew and could not remove.

        Returns:
            What was removed, and what was in use and stayed.

        Raises:
            UnknownCollection, WriterBusy: there is none, or somebody writes it.
        """
        folder = self._root / collection.name
        generations = Generations(folder, self._hashes)
        if not generations.numbers():
            raise UnknownCollection(collection.name)
        with writer_lock(folder / "lock", f"collection {collection.name!r}"):
            generations.sweep()
            superfluous = sorted({*generations.withdrawn(), *generations.superfluous(keep or self._keep)})
            removed = generations.collect(superfluous)
        return removed, [number for number in superfluous if number not in removed]

    def _collect(self, generations: Generations) -> None:
        """What retention says; and what an erasure withdrew, which must go, also while somebody holds it."""
        try:
            generations.collect(generations.superfluous(self._keep))
        except OSError as error:  # the change itself is done and durable
            logger.warning("old generations of %s stay for now: %s", generations.folder.name, error)
        until = time.monotonic() + RELEASE_SECONDS
        while withdrawn := generations.withdrawn():
            if len(generations.collect(withdrawn, force=time.monotonic() > until)) < len(withdrawn):
                time.sleep(0.1)


@contextmanager
def _parent(generations: Generations, collection: Collection) -> Iterator[Snapshot | None]:
    """What serves now: the next generation starts from the newest intact one, and so heals what is damaged."""
    if not generations.numbers():
        yield None
        return
    manifest, _ = generations.newest_intact()
    snapshot = Snapshot(generations.folder, manifest, collection)
    try:
        yield snapshot
    finally:
        snapshot.close()


def _embedder_of(
    parent: Snapshot | None, embedder: Embedder | None, collection: Collection, rebuild: bool
) -> EmbedderEntry:
    """Whose vectors the change will hold."""
    if embedder is None:
        if parent is None:
            raise UnknownCollection(collection.name)
        return parent.manifest.embedder
    if parent is not None and parent.fingerprint != embedder.fingerprint and not rebuild:
        raise EmbedderMismatch(
            f"collection {collection.name!r} was embedded by {parent.manifest.embedder.name} "
            f"({parent.fingerprint}), not by {embedder.name} ({embedder.fingerprint}): "
            f"`domicile ingest reindex --collection {collection.name}` embeds it anew while it serves, "
            "or set models.embedder and models.engine back"
        )
    return EmbedderEntry(name=embedder.name, fingerprint=embedder.fingerprint, dimensions=embedder.dimensions)
