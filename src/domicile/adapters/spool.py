"""Uploaded documents as files until a worker has ingested them, named by their job and never by the document."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from domicile.files import fsync_path, make_folders, storage_errors

ABANDONED_SECONDS = 3_600.0
"""A file that no job names and that nobody wrote to for so long is what a killed service left."""


class SpoolFile:
    """One upload.

    Attributes:
        name: of the file, and of the job that takes it.
        size: bytes so far.
        kept: set once a job has taken it.
    """

    def __init__(self, path: Path, stream: FileIO) -> None:
        self.name = path.name
        self.size = 0
        self.kept = False
        self._path = path
        self._stream = stream

    def write(self, data: bytes) -> None:
        """
        Raises:
            StorageError: the disk refused.
        """
        left = memoryview(data)
        with storage_errors("the upload"):
            while left:
                left = left[self._stream.write(left) :]
        self.size += len(data)

    def settle(self) -> None:
        """Make it durable, its name included.

        Raises:
            StorageError: the disk refused.
        """
        with storage_errors("the upload"):
            os.fsync(self._stream.fileno())
            fsync_path(self._path.parent)


class Spool:
    """The folder of uploads, for its owner only."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    @contextmanager
    def receive(self, name: str) -> Iterator[SpoolFile]:
        """A new file, which is gone after the block unless it was marked ``kept``.

        Raises:
            StorageError: the disk refused.
        """
        path = self._folder / name
        with storage_errors("the upload"):
            make_folders(self._folder, mode=0o700)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # unbuffered: what the disk refuses must be refused in write(), not when the file is closed
        with os.fdopen(descriptor, "wb", buffering=0) as stream:
            file = SpoolFile(path, stream)
            try:
                yield file
            finally:
                if not file.kept:
                    self.remove([name])

    def read(self, name: str) -> bytes:
        """
        Raises:
            FileNotFoundError: it is not kept any more.
        """
        return (self._folder / name).read_bytes()

    def remove(self, names: Collection[str]) -> None:
        for name in names:
            with suppress(OSError):  # what stays behind is swept later
                (self._folder / name).unlink(missing_ok=True)

    def sweep(self, wanted: Collection[str]) -> None:
        """Remove what no job names, except what may just be coming in."""
        with suppress(FileNotFoundError):
            for entry in os.scandir(self._folder):
                with suppress(OSError):
                    if entry.name not in wanted and self._clock() - entry.stat().st_mtime > ABANDONED_SECONDS:
                        os.unlink(entry)
