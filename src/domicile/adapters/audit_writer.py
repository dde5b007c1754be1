"""Writing the audit log, one commit at a time: finds its end, repairs what a crash left there, appends and moves ``HEAD``.

What must be on the disk, and in this order: the lines, the name of a new file, the bytes of ``HEAD`` before they get that
name. That the renaming itself survives a power loss is not needed: an older ``HEAD`` fits a longer log.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from domicile.adapters.audit_chain import Chain, End, Stamp, Torn, damaged, stamp_of
from domicile.adapters.audit_key import LogKey, write_all
from domicile.adapters.audit_lines import (
    Entry,
    Head,
    Seal,
    body_text,
    identifier_of,
    milliseconds,
    moment_of,
    name_from,
    write_entry,
)
from domicile.errors import AuditDamaged
from domicile.files import fsync_path
from domicile.ports import Record, RecordKind


@dataclass(frozen=True, slots=True)
class _Known:
    """What this process left: the end of the log, the head, and how both files looked."""

    end: End
    head: Head
    stamp: Stamp | None
    head_stamp: Stamp | None


class AuditWriter:
    """Used by one thread at a time, which holds the lock that keeps other processes away.

    Args:
        folder: ``audit/``; made at the first commit.
        clock: the wall clock, with its time zone.
        token: makes that many random bytes, as hexadecimal.
        file_bytes: a new file is begun beyond.
    """

    def __init__(
        self, folder: Path, key: LogKey, clock: Callable[[], datetime], token: Callable[[int], str], file_bytes: int
    ) -> None:
        self._folder, self._key = folder, key
        self._clock, self._token = clock, token
        self._file_bytes = file_bytes
        self._known: _Known | None = None
        self._repairs: list[dict[str, object]] = []
        self._damage: tuple[dict[str, Stamp | None], AuditDamaged] | None = None

    def look(self) -> None:
        """Read what is not known to be intact, and change nothing.

        Raises:
            AuditUnavailable, AuditDamaged, OSError: nothing could be appended.
        """
        if self._key.reading() is not None:
            self._look(self._key.opened())

    def commit(self, wanted: Sequence[tuple[RecordKind, str]]) -> list[Record]:
        """Append these kinds and bodies; they are durable when this returns.

        Raises:
            AuditUnavailable, AuditDamaged, OSError: nothing was appended.
        """
        seal = self._key.opened()
        known, torn = self._look(seal)
        for part in torn:
            self._repairs.append(self._cut(part))
        if known.end.file and (known.end.file, known.end.size) != (known.head.file, known.head.size):
            # records, or a file, of a process that died before it flushed them: what follows must not outlive them
            fsync_path(self._folder / known.end.file)
            fsync_path(self._folder)
        repairs: list[tuple[RecordKind, str]] = [("repaired", body_text(repair)) for repair in self._repairs]
        entries = self._entries(seal, known.end, [*repairs, *wanted])
        self._write(seal, known, entries)
        self._repairs.clear()
        return [entry.record for entry in entries[len(repairs) :]]

    def _look(self, seal: Seal) -> tuple[_Known, list[Torn]]:
        """Find the end of the log, reading no more of it than what others may have changed."""
        if self._damage is not None and self._damage[0] == self._stamps():
            raise self._damage[1]
        self._damage = None
        known, chain = self._known, Chain(self._folder, seal)
        try:
            if known is not None and self._untouched(known):
                return known, []
            head = chain.head()
            if known is not None and head.seq < known.head.seq:
                raise damaged("HEAD", f"was set back from entry {known.head.seq} to {head.seq}")
            if known is not None and head.seq == known.head.seq and head != known.head:
                raise damaged("HEAD", f"does not fit entry {head.seq}")
            start = known.end if known is not None and self._only_grew(known) else chain.before(head)
            end, torn = chain.follow(start, head)
        except AuditDamaged as error:
            self._known, self._damage = None, (self._stamps(), error)
            raise
        found = _Known(end, head, self._stamp(end.file), self._stamp("HEAD"))
        self._known = None if torn else found
        return found, torn

    def _untouched(self, known: _Known) -> bool:
        return (
            known.head_stamp == self._stamp("HEAD")
            and known.stamp == self._stamp(known.end.file)
            and self._stamp(name_from(known.end.seq + 1)) is None  # begun by a process that died over it
        )

    def _only_grew(self, known: _Known) -> bool:
        """Whether the file that we left was appended to, as far as one can see, or is as it was."""
        now = self._stamp(known.end.file)
        if now is None or known.stamp is None:
            return False
        return now == known.stamp or (now[0] == known.stamp[0] and now[1] > known.stamp[1])

    def _cut(self, torn: Torn) -> dict[str, object]:
        """Take away what a crash left unfinished; what it was, for a record."""
        path = self._folder / torn.file
        with path.open("r+b") as stream:
            stream.seek(torn.offset)
            digest = hashlib.sha256()
            length = 0
            while data := stream.read(1 << 20):
                digest.update(data)
                length += len(data)
            stream.truncate(torn.offset)
            os.fsync(stream.fileno())
        return {"file": torn.file, "offset": torn.offset, "bytes": length, "sha256": digest.hexdigest()}

    def _entries(self, seal: Seal, end: End, wanted: Sequence[tuple[RecordKind, str]]) -> list[Entry]:
        entries: list[Entry] = []
        seq, prev = end.seq, end.hash
        last = milliseconds(datetime.fromisoformat(end.at)) if end.at else 0
        for kind, body in wanted:
            seq += 1
            now = milliseconds(self._clock())
            # a clock that was set back must not give all that follows one moment: `find` goes through all of a moment
            last = now if now >= last else last + 1
            identifier = identifier_of(kind, last, self._token(10))
            entries.append(write_entry(seal, seq, identifier, moment_of(last), kind, prev, body))
            prev = entries[-1].record.hash
        return entries

    def _write(self, seal: Seal, known: _Known, entries: Sequence[Entry]) -> None:
        """Append the entries, make them durable and move ``HEAD``; all or nothing, as far as the disk allows."""
        data = b"".join(entry.raw for entry in entries)
        end, last = known.end, entries[-1].record
        begin = not end.file or end.size >= self._file_bytes
        name, offset = (name_from(end.seq + 1), 0) if begin else (end.file, end.size)
        moved = Head(last.seq, last.hash, name, offset + len(data))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT | os.O_EXCL if begin else 0)
        descriptor = os.open(self._folder / name, flags, 0o600)
        self._known = None
        try:
            if os.fstat(descriptor).st_size != offset:
                raise damaged(name, "grew while nobody else should write")
            try:
                write_all(descriptor, data)
                os.fsync(descriptor)
                if begin:
                    fsync_path(self._folder)
                self._key.place("HEAD", moved.raw(seal))
            except BaseException:
                if self._taken_back(name, descriptor, None if begin else offset, moved.raw(seal)):
                    self._known = replace(known, stamp=self._stamp(end.file))
                raise
            stamp = stamp_of(os.fstat(descriptor))
        finally:
            os.close(descriptor)
        end = End(name, moved.size, last.seq, last.hash, last.at)
        self._known = _Known(end, moved, stamp, self._stamp("HEAD"))

    def _taken_back(self, name: str, descriptor: int, offset: int | None, moved: bytes) -> bool:
        """Leave nothing of an append that failed; what the disk does not let us take back, the next one deals with."""
        with suppress(OSError):
            if (self._folder / "HEAD").read_bytes() == moved:
                return False  # the disk said no, and did it
            os.ftruncate(descriptor, offset or 0)
            if offset is None:
                (self._folder / name).unlink()
            else:
                os.fsync(descriptor)
            return True
        return False

    def _stamp(self, name: str) -> Stamp | None:
        if not name:
            return None
        try:
            return stamp_of(os.stat(self._folder / name, follow_symlinks=False))
        except FileNotFoundError:
            return None

    def _stamps(self) -> dict[str, Stamp | None]:
        return {name: self._stamp(name) for name in os.listdir(self._folder)}
