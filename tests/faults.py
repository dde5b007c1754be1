"""Seeing, and refusing, what Python code does to the files of one folder. For processes that end with the test.

An audit hook cannot be taken away again, so ``intercept`` belongs into a victim (see ``victims``), never into the tests'
own process. Native libraries are not heard: what they write is seen between two operations, and limited otherwise.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from domicile.adapters.faiss import VectorFile
from domicile.adapters.sqlite import ChunkStore
from domicile.adapters.tantivy import LexicalFolder

SCALE = int(os.environ.get("DOMICILE_FAULTS", "1"))
"""How many times the faults of a run in CI are tried; ``make crash-nightly`` asks for more."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
PATHS = {
    "os.mkdir": ((0, 2),), "os.rmdir": ((0, 1),), "os.remove": ((0, 1),), "os.truncate": ((0, None),),
    "os.symlink": ((1, 2),), "os.link": ((0, 2), (1, 3)), "os.rename": ((0, 2), (1, 3)), "open": ((0, None),),
}  # fmt: skip
"""Which arguments of an audit event are paths, each with that of the folder they are relative to, if any."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call that changes the folder or makes it durable; ``path`` is the last one that it names."""

    name: str
    path: Path


MEMORY = "/dev/shm"
"""Where files cost no disk, if it is there: for tests that do not ask the disk to be slow, only to be right."""


def in_memory(otherwise: str | Path) -> str:
    return MEMORY if os.access(MEMORY, os.W_OK) else str(otherwise)


@contextmanager
def scratch(otherwise: Path) -> Iterator[Path]:
    """A folder in memory where that can be; what the product writes into the system's folder goes there, too."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(dir=in_memory(otherwise)) as folder:
        try:
            tempfile.tempdir = in_memory(otherwise)
            yield Path(folder)
        finally:
            tempfile.tempdir = before


def intercept(tree: Path, before: Callable[[Operation], None], after_sync: Callable[[int], None] | None = None) -> None:
    """Call ``before`` each operation on files below ``tree``; what it raises is what the operation raises.

    Args:
        after_sync: called with the descriptor after each ``fsync`` below ``tree``.
    """
    tree = tree.resolve()
    inside = threading.local()
    fsync = os.fsync

    def tell(operation: Operation) -> None:
        if not operation.path.is_relative_to(tree) or getattr(inside, "telling", False):
            return
        inside.telling = True
        try:
            before(operation)
        finally:
            inside.telling = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in PATHS or (event == "open" and not (arguments[2] or 0) & WRITING):
            return
        for path, folder in PATHS[event]:
            if isinstance(arguments[path], str | bytes | os.PathLike):
                tell(Operation(event, _absolute(arguments[path], -1 if folder is None else arguments[folder])))

    def heard_fsync(descriptor: int) -> None:
        tell(Operation("fsync", _absolute("", descriptor)))
        fsync(descriptor)
        if after_sync is not None and _absolute("", descriptor).is_relative_to(tree):
            after_sync(descriptor)

    os.fsync = heard_fsync  # type: ignore[assignment]
    sys.addaudithook(hook)


def _absolute(path: str | bytes | os.PathLike[str], folder: int) -> Path:
    base = os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 else os.getcwd()
    return Path(base, os.fsdecode(path))


@contextmanager
def native_opens() -> Iterator[list[Path]]:
    """What this thread hands to FAISS, SQLite and tantivy to be opened. Looks on from outside and replaces nothing."""
    opened: list[Path] = []
    openers = {VectorFile.__init__.__code__: "path", ChunkStore.__init__.__code__: "path",
               LexicalFolder.__init__.__code__: "folder"}  # fmt: skip

    def notice(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in openers:
            opened.append(frame.f_locals[openers[frame.f_code]])

    before = sys.getprofile()
    sys.setprofile(notice)
    try:
        yield opened
    finally:
        sys.setprofile(before)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes: what a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
