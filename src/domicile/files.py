"""Durable files: hashing, atomic replacement and the writer's lock. Standard library only.

The order write, fsync file, rename, fsync directory is what makes a rename survive a power loss; see ``docs/adr/0003``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from domicile.errors import StorageError, WriterBusy

MAX_REMEMBERED = 4096
"""Hashes kept; beyond it the oldest are computed again."""
_REMEMBERED = re.compile("([0-9:]+) ([0-9a-f]{64})")


def sha256_of(path: Path) -> str:
    """The hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class HashMemory:
    """sha256 of files, remembered per device, inode, size and change times, so that a restart need not hash again.

    A write changes ``mtime`` and ``ctime``, so a remembered hash is of the bytes that are there unless the
    clock itself was set back while somebody wrote. ``verify`` commands pass ``trust=False`` and read every byte.

    The processes of a home share one file of lines, which each of them appends to and reads on from where it was.

    Args:
        path: where the memory lives; losing it costs time only, so it is written without fsync.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}
        self._read = 0
        self._read_on()

    def sha256(self, path: Path, *, trust: bool = True) -> str:
        """The file's sha256, from memory where ``trust`` and unchanged.

        Raises:
            OSError: the file is absent or unreadable.
        """
        status = path.stat()
        key = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
        if trust:
            with self._lock:
                if key not in self._known:
                    self._read_on()
                if (known := self._known.get(key)) is not None:
                    return known
        digest = sha256_of(path)
        with self._lock:
            if self._known.get(key) != digest:
                self._known[key] = digest
                self._append([f"{key} {digest}\n"])
        return digest

    def _read_on(self) -> None:
        """Take in what was appended since the last look; a torn line is no memory."""
        with contextlib.suppress(OSError), self._path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size < self._read:
                self._read = 0  # another process began it anew
            stream.seek(self._read)
            data = stream.read()
            self._read += len(data)
            for line in data.decode("ascii", "replace").splitlines():
                if remembered := _REMEMBERED.fullmatch(line):
                    self._known[remembered[1]] = remembered[2]
        if len(self._known) > MAX_REMEMBERED:
            self._known = dict(list(self._known.items())[-MAX_REMEMBERED // 2 :])
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._append([f"{key} {digest}\n" for key, digest in self._known.items()])

    def _append(self, lines: list[str]) -> None:
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # one write to a file opened for appending, so that lines of two processes do not mix
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                os.write(descriptor, "".join(lines).encode("ascii"))
            finally:
                os.close(descriptor)


def fsync_path(path: Path) -> None:
    """Flush a file or a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(path: Path, *, mode: int = 0o777) -> None:
    """Make a folder and what is missing above it, so that a power loss takes none of them away again."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=mode, exist_ok=True)
        fsync_path(folder.parent)


def replace_durably(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Give ``path`` these bytes, all or nothing, also across a power loss."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        fsync_path(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def writer_lock(path: Path, what: str) -> Iterator[None]:
    """Hold the kernel's lock on ``path`` for this process; it dies with the process, so no stale lock can exist.

    Raises:
        WriterBusy: another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WriterBusy(f"another process is writing {what}: wait for it, or stop it") from None
        yield
    finally:
        os.close(descriptor)


class FileInUse(Exception):
    """Somebody holds the file."""


def hold(path: Path) -> int:
    """Open a file so that ``retire`` leaves it alone; the hold ends when the descriptor is closed or the process dies.

    Raises:
        OSError: it is absent, unreadable, or being retired.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "was removed", str(path))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def retire(path: Path) -> None:
    """Remove a file that nobody holds.

    Raises:
        FileInUse: somebody does.
        FileNotFoundError: it is not there.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileInUse(str(path)) from None
        path.unlink()
    finally:
        os.close(descriptor)


def write_refused(path: Path, error: Exception) -> StorageError:
    """What a library that hides the error number says of a disk that refuses, as one line."""
    return StorageError(f"cannot write {path}: {' '.join(str(error).split())}: free some space and run again")


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn what the disk says into one line that tells what to do."""
    advice = {
        errno.ENOSPC: "the disk is full: free some space and run again",
        errno.EDQUOT: "the disk quota is used up: free some space and run again",
        errno.EFBIG: "the file would be larger than this process may write (ulimit -f): raise the limit and run again",
        errno.EROFS: "the file system is read-only: choose another --home",
        errno.EACCES: "permission denied: choose a --home that this user may write",
        errno.EPERM: "permission denied: choose a --home that this user may write",
        errno.ENOTDIR: "not a directory: choose another --home",
        errno.EIO: "the disk reports an I/O error: check it before you run again",
    }
    try:
        yield
    except OSError as error:
        if error.errno not in advice:
            raise
        raise StorageError(
            f"cannot write {what}: {advice[error.errno]} ({error.filename or error.strerror})"
        ) from error
