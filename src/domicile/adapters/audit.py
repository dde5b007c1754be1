"""The audit log: one chain of signed lines in ``audit/``, which several threads and processes append to.

``HEAD`` is replaced after each append and before it is acknowledged, so that a shortened log is told from a whole one. What
lies beyond it was never acknowledged: whole records stay, the rest is cut off by the next writer, which says so in a
``repaired`` record.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from domicile.adapters.audit_chain import Chain
from domicile.adapters.audit_key import LogKey
from domicile.adapters.audit_lines import MAX_BODY, Entry, body_text
from domicile.adapters.audit_writer import AuditWriter
from domicile.errors import AuditDamaged, AuditUnavailable, StorageError, UnknownReceipt
from domicile.files import make_folders, storage_errors
from domicile.ports import Record, RecordKind

FILE_BYTES = 4 << 20
"""A new file is begun beyond. A process that begins reads the newest whole, which takes a quarter of a second."""
LOCK_SECONDS = 5.0
_POLL_SECONDS = 0.002
_INTERRUPTED = "the audit log was interrupted: ask again"


@dataclass(slots=True)
class _Waiting:
    """An append on its way: what became of it, once it is known."""

    kind: RecordKind
    body: str
    record: Record | None = None
    failure: str | None = None

    @property
    def done(self) -> bool:
        return self.record is not None or self.failure is not None


@dataclass(slots=True)
class _Commits:
    """Who waits for the next commit, and whether one is under way."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    waiting: list[_Waiting] = field(default_factory=list)
    running: bool = False


class FileAuditLog:
    """The audit log of a home. Making one reads and writes nothing.

    Args:
        folder: ``audit/``; made at the first append.
        state: ``state/`` of the home, on the same file system: the private key, the lock and what is not yet ``HEAD``.
        clock: the wall clock, with its time zone.
        token: makes that many random bytes, as hexadecimal.
        file_bytes: see ``FILE_BYTES``.
        lock_seconds: how long another process may keep the log to itself.
    """

    def __init__(
        self,
        folder: Path,
        state: Path,
        clock: Callable[[], datetime],
        token: Callable[[int], str],
        *,
        file_bytes: int = FILE_BYTES,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self._folder, self._state, self._lock_seconds = folder, state, lock_seconds
        self._key = LogKey(folder, state)
        self._writer = AuditWriter(folder, self._key, clock, token, file_bytes)
        self._commits = _Commits()
        self._alone = threading.Lock()
        self._looked = False
        self._trouble: str | None = None

    def append(self, kind: RecordKind, body: Mapping[str, object]) -> Record:
        """See ``ports.AuditLog``. What several threads append at once is one commit.

        Raises:
            AuditUnavailable: it cannot be written, or what was written before is damaged. Nothing is appended then.
            ValueError, TypeError: the body is no JSON, or has a field that the log sets.
        """
        mine = _Waiting(kind, body_text(body))
        if len(mine.body) > MAX_BODY:
            raise AuditUnavailable(f"a record of more than {MAX_BODY:,} bytes: nothing is recorded")
        commits, batch = self._commits, list[_Waiting]()
        with commits.changed:
            commits.waiting.append(mine)
            while commits.running and not mine.done:
                commits.changed.wait()
            if not mine.done:
                commits.running, batch, commits.waiting = True, commits.waiting, []
        if batch:
            self._lead(batch)
        if mine.record is None:
            raise AuditUnavailable(mine.failure or _INTERRUPTED)
        return mine.record

    def find(self, identifier: str) -> Record:
        """See ``ports.AuditLog``.

        Raises:
            UnknownReceipt, AuditDamaged: there is none, or its bytes were changed.
            AuditUnavailable: the log cannot be read.
        """
        return self.entry(identifier).record

    def entry(self, identifier: str) -> Entry:
        """The record of this id as it stands in the log; raises what ``find`` does."""
        with _unavailable():
            if (chain := self.chain()) is None:
                raise UnknownReceipt(identifier)
            return chain.find(identifier)

    def receipt(self, identifier: str) -> dict[str, object]:
        """See ``ports.AuditLog``."""
        with _unavailable():
            if (chain := self.chain()) is None:
                raise UnknownReceipt(identifier)
            return chain.find(identifier).receipt(chain.seal.key)

    def chain(self) -> Chain | None:
        """The files, to be read; ``None`` where there is no log.

        Raises:
            AuditUnavailable, AuditDamaged: a key cannot be read.
        """
        seal = self._key.reading()
        return None if seal is None else Chain(self._folder, seal)

    def own_key(self) -> str | None:
        """The public half of this home's private key; ``None`` where there is none.

        Raises:
            AuditUnavailable: the private key cannot be read.
        """
        with _unavailable():
            return self._key.own()

    def trouble(self) -> str | None:
        """See ``ports.AuditLog``. The first call reads the newest file."""
        with self._alone:
            if not self._looked and self._state.exists():
                self._trouble = self._tried(self._writer.look)
            return self._trouble

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Nobody appends meanwhile, for whoever takes down the head and the sizes of the files.

        On a disk that nobody can write to, such as a snapshot, that is so without the lock.

        Raises:
            AuditUnavailable: another process keeps the log to itself for too long.
        """
        with self._alone, ExitStack() as locked:
            with _unavailable():
                try:
                    locked.enter_context(self._locked())
                except OSError as error:
                    if error.errno not in (errno.EROFS, errno.EACCES):
                        raise
            yield  # what the caller meets there is its own affair

    def _lead(self, batch: Sequence[_Waiting]) -> None:
        """Commit what others wait for, too."""
        failure: str | None = _INTERRUPTED
        try:
            with self._alone:
                failure = self._trouble = self._tried(lambda: self._commit(batch))
        finally:
            with self._commits.changed:
                for waiting in batch:
                    waiting.failure = failure
                self._commits.running = False
                self._commits.changed.notify_all()

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        records = self._writer.commit([(waiting.kind, waiting.body) for waiting in batch])
        for waiting, record in zip(batch, records, strict=True):
            waiting.record = record

    def _tried(self, work: Callable[[], None]) -> str | None:
        """Do it under the lock; what is wrong where it cannot be done."""
        try:
            with _unavailable(), self._locked():
                work()
        except (AuditUnavailable, AuditDamaged) as error:
            return str(error)
        finally:
            self._looked = True
        return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes away; the kernel lets go of it when this one dies, and no child inherits it."""
        make_folders(self._state, mode=0o700)
        descriptor = os.open(self._state / "audit.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + self._lock_seconds
            while not _taken(descriptor):
                if time.monotonic() > until:
                    raise AuditUnavailable(
                        f"another process has kept the audit log to itself for {self._lock_seconds:g} s: stop it"
                    )
                time.sleep(_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _unavailable() -> Iterator[None]:
    """Whatever the disk says: the log cannot be used."""
    try:
        with storage_errors("the audit log"):
            yield
    except StorageError as error:
        raise AuditUnavailable(str(error)) from error
    except OSError as error:
        raise AuditUnavailable(
            f"cannot use the audit log: {error.strerror} ({error.filename}): check the disk"
        ) from error
