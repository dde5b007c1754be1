"""The collections of a home, each at its newest intact generation, swapped while requests go on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from domicile.adapters.generations import Generations
from domicile.adapters.snapshot import Snapshot
from domicile.domain import Collection, Principal
from domicile.errors import DomicileError, IndexDamaged, UnknownCollection
from domicile.files import HashMemory

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
"""How often ``CURRENT`` is looked at, unless a call asks for a fresh look: a new generation is seen within twice this."""

Stamp = tuple[int, int, int] | None


@dataclass(slots=True)
class _Opened:
    """A collection as it is being served."""

    snapshot: Snapshot
    trouble: str | None
    stamp: Stamp
    looked: float


class LocalIndexes:
    """Implements ``Indexes`` on the folder ``data/collections``.

    Args:
        settings: gives the settings of a collection by its name.
        clock: monotonic seconds.
        fingerprint: of the embedder of who searches. A generation of another one does not take the place of one that
            serves, as after a ``reindex``: that is for the process that is started with the new settings.
    """

    def __init__(
        self,
        root: Path,
        settings: Callable[[str], Collection],
        hashes: HashMemory,
        clock: Callable[[], float] = time.monotonic,
        fingerprint: str | None = None,
    ) -> None:
        self._fingerprint = fingerprint
        self._root = root
        self._settings = settings
        self._hashes = hashes
        self._clock = clock
        self._opened: dict[str, _Opened] = {}
        self._opening: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The collections that were ever committed to."""
        return sorted(path.parent.name for path in self._root.glob("*/generations") if any(path.glob("[0-9]*.json")))

    def pin(self, collection: str, principal: Principal, *, fresh: bool = False) -> Snapshot:
        if not self._settings(collection).open_to(principal):
            raise UnknownCollection(collection)
        return self._current(collection, fresh).snapshot

    def generation(self, collection: str) -> int:
        return self._current(collection).snapshot.generation

    def trouble(self, collection: str) -> str | None:
        return self._current(collection).trouble

    def refresh(self) -> None:
        """Look at every opened collection, so that an idle service lets go of old generations, too."""
        for name in list(self._opened):
            with suppress(DomicileError, OSError):
                self._current(name)

    def _current(self, name: str, fresh: bool = False) -> _Opened:
        """What serves now. One thread opens a new generation while the others, unless ``fresh``, go on with the old one."""
        with self._lock:
            opened = self._opened.get(name)
            opening = self._opening.setdefault(name, threading.Lock())
        if opened is not None and not fresh and self._clock() - opened.looked < LOOK_SECONDS:
            return opened
        if not opening.acquire(blocking=fresh or opened is None):
            assert opened is not None
            return opened
        try:
            return self._look(name)
        except UnknownCollection:
            with self._lock:  # names are the caller's: nothing is remembered of those that do not exist
                self._opening.pop(name, None)
                self._opened.pop(name, None)
            raise
        finally:
            opening.release()

    def _look(self, name: str) -> _Opened:
        opened = self._opened.get(name)
        stamp = self._stamp(name)
        if opened is not None and opened.stamp == stamp:
            opened.looked = self._clock()
            return opened
        try:
            fresh = self._open(name, stamp)
        except (OSError, IndexDamaged) as error:
            if opened is None:
                raise
            # what is open is whole and stays; the next look tries again
            logger.warning("collection %s goes on with generation %d: %s", name, opened.snapshot.generation, error)
            opened.trouble, opened.looked = str(error), self._clock()
            return opened
        if opened is not None and self._fingerprint not in (None, fresh.snapshot.fingerprint):
            number = fresh.snapshot.generation
            fresh.snapshot.close()
            opened.stamp, opened.looked = stamp, self._clock()
            opened.trouble = f"generation {number} is of another embedder: restart the service to serve it"
            return opened
        with self._lock:
            self._opened[name] = fresh
        # the old snapshot closes itself once the last request that pinned it lets go
        return fresh

    def _open(self, name: str, stamp: Stamp) -> _Opened:
        generations = Generations(self._root / name, self._hashes)
        if stamp is None and not generations.numbers():
            raise UnknownCollection(name)
        pinned = generations.pin()
        snapshot = Snapshot(generations.folder, pinned.manifest, self._settings(name), pinned.held)
        if pinned.trouble is not None:
            logger.warning("collection %s serves generation %d: %s", name, snapshot.generation, pinned.trouble)
        return _Opened(snapshot, pinned.trouble, stamp, self._clock())

    def _stamp(self, name: str) -> Stamp:
        """Tells one ``CURRENT`` from the next: every commit replaces the file."""
        try:
            status = (self._root / name / "CURRENT").stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns
