"""Reading the audit log: following its chain from a known place to its end, and finding one record. Changes nothing."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from domicile.adapters.audit_lines import (
    GENESIS,
    LOG_NAME,
    MAX_LINE,
    BadLine,
    Entry,
    Head,
    Seal,
    moment_in,
    name_from,
    read_entry,
)
from domicile.errors import AuditDamaged, UnknownReceipt

Stamp = tuple[int, int, int]
"""inode, size and change time: another one of any of them, and somebody else wrote."""


def stamp_of(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_size, status.st_ctime_ns


def damaged(file: str, what: str) -> AuditDamaged:
    return AuditDamaged(
        f"audit/{file}: {what}: run `domicile audit verify`, keep a copy of audit/ as it is, then restore it"
    )


@dataclass(frozen=True, slots=True)
class End:
    """Up to where a log was read and found intact: ``size`` bytes of ``file``; no file before the first record."""

    file: str = ""
    size: int = 0
    seq: int = 0
    hash: str = GENESIS
    at: str = ""


@dataclass(frozen=True, slots=True)
class Torn:
    """What follows the last complete record of a file, and was never acknowledged."""

    file: str
    offset: int


@dataclass(frozen=True, slots=True)
class Chain:
    """The files of a log.

    Args:
        folder: ``audit/`` of a home.
    """

    folder: Path
    seal: Seal

    def names(self) -> list[str]:
        return sorted(name for name in os.listdir(self.folder) if LOG_NAME.fullmatch(name))

    def head(self) -> Head:
        """
        Raises:
            AuditDamaged: it is missing, or not what was written.
        """
        try:
            return Head.read(self.seal, (self.folder / "HEAD").read_bytes())
        except FileNotFoundError:
            raise damaged("HEAD", "is missing") from None
        except BadLine as error:
            raise damaged("HEAD", str(error)) from None

    def before(self, head: Head) -> End:
        """The end of the file before that of the head, from which the head's own file can be read whole.

        Raises:
            AuditDamaged: the head's file is missing, or the last record before it was changed.
        """
        if not head.seq:
            return End()
        names = self.names()
        if head.file not in names:
            raise damaged(head.file, "is missing")
        if not (place := names.index(head.file)):
            return End()
        name = names[place - 1]
        last = self._last(name)
        return End(name, (self.folder / name).stat().st_size, last.record.seq, last.record.hash, last.record.at)

    def follow(self, end: End, head: Head) -> tuple[End, list[Torn]]:
        """Go on from ``end``, checking each record, over the head to the end of the log.

        Returns:
            The end, and what was left unfinished beyond the head.

        Raises:
            AuditDamaged: up to the head something is not what was written; names the first bad entry.
        """
        torn: list[Torn] = []
        reached = end.seq >= head.seq
        while True:
            if end.file:
                end, reached = self._through(end, head, reached)
                if (self.folder / end.file).stat().st_size > end.size:
                    torn.append(Torn(end.file, end.size))
            following = name_from(end.seq + 1)
            if following == end.file or not (self.folder / following).exists():
                break
            end = replace(end, file=following, size=0)
        if not reached:
            raise damaged(head.file, f"ends before entry {head.seq}: entries are missing")
        return end, torn

    def _through(self, end: End, head: Head, reached: bool) -> tuple[End, bool]:
        """Read a file from ``end`` on; stops where something unfinished begins."""
        with self._open(end.file) as stream:
            stream.seek(end.size)
            while raw := stream.readline(MAX_LINE + 1):
                try:
                    entry = read_entry(self.seal, raw)
                    if (entry.record.seq, entry.prev) != (end.seq + 1, end.hash):
                        raise BadLine("does not follow the entry before it")
                except BadLine as error:
                    if reached:
                        break
                    raise damaged(end.file, f"entry {end.seq + 1} {error}") from None
                end = End(end.file, end.size + len(raw), entry.record.seq, entry.record.hash, entry.record.at)
                if end.seq == head.seq:
                    if (end.hash, end.file, end.size) != (head.hash, head.file, head.size):
                        raise damaged("HEAD", f"does not fit entry {head.seq}")
                    reached = True
        return end, reached

    def find(self, identifier: str) -> Entry:
        """The record of this id, by bisection: an id says when its record was made.

        Raises:
            UnknownReceipt: there is none.
            AuditDamaged: a record that had to be read for it was changed.
        """
        at = moment_in(identifier)
        if at is None or not self.folder.is_dir():
            raise UnknownReceipt(identifier)
        names = [name for name in self.names() if (self.folder / name).stat().st_size]
        place = max(bisect_left(names, at, key=self._first_moment) - 1, 0)
        for name in names[place:]:
            for entry in self._from(name, at):
                if entry.record.id == identifier:
                    return entry
                if entry.record.at > at:
                    raise UnknownReceipt(identifier)
        raise UnknownReceipt(identifier)

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Every record with the name of its file, in order; each is checked by itself.

        Raises:
            AuditDamaged: one was changed.
        """
        for name in self.names():
            for entry in self._from(name, ""):
                yield name, entry

    def _from(self, name: str, at: str) -> Iterator[Entry]:
        """The entries of a file from this moment on."""
        with self._open(name) as stream:
            low, high = 0, os.fstat(stream.fileno()).st_size if at else 0
            while low < high:  # the first line that begins at or after `low` may be the one; none before it is
                middle = (low + high) // 2
                entry = self._at(stream, name, middle)
                if entry is None or entry.record.at >= at:
                    high = middle
                else:
                    low = middle + 1
            self._to_line(stream, low)
            while (entry := self._next(stream, name)) is not None:
                yield entry

    def _first_moment(self, name: str) -> str:
        with self._open(name) as stream:
            entry = self._next(stream, name)
            return "" if entry is None else entry.record.at

    def _last(self, name: str) -> Entry:
        with self._open(name) as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(size - MAX_LINE - 1, 0))
            lines = stream.read(MAX_LINE + 1).splitlines(keepends=True)
        try:
            return read_entry(self.seal, lines[-1] if lines else b"")
        except BadLine as error:
            raise damaged(name, f"its last entry {error}") from None

    def _at(self, stream: BinaryIO, name: str, offset: int) -> Entry | None:
        self._to_line(stream, offset)
        return self._next(stream, name)

    @staticmethod
    def _to_line(stream: BinaryIO, offset: int) -> None:
        """Go to the first line that begins at or after the offset."""
        stream.seek(max(offset - 1, 0))
        if offset:
            stream.readline(MAX_LINE + 1)

    def _next(self, stream: BinaryIO, name: str) -> Entry | None:
        """The entry that begins here; ``None`` at the end, also where one is being written."""
        offset = stream.tell()
        raw = stream.readline(MAX_LINE + 1)
        try:
            unfinished = len(raw) <= MAX_LINE and not raw.endswith(b"\n")
            return None if unfinished else read_entry(self.seal, raw)
        except BadLine as error:
            raise damaged(name, f"the entry at byte {offset} {error}") from None

    def _open(self, name: str) -> BinaryIO:
        descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        return os.fdopen(descriptor, "rb")
