"""A folder for what an evaluation writes of its own, gone when it ends, and when it is killed gone at the next one."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from domicile.files import make_folders

_PREFIX = "evaluation-"


@contextmanager
def scratch_folder(cache: Path) -> Iterator[Path]:
    """Make one below this folder, for this user alone.

    Each is held by the kernel's lock of the process that made it, so one that nobody holds was left by a process that died.

    Raises:
        OSError: the disk refuses.
    """
    make_folders(cache, mode=0o700)
    with ExitStack() as stack:
        with _flock(cache, fcntl.LOCK_EX):  # else another evaluation takes the new folder for one that was left
            for left in cache.glob(f"{_PREFIX}*"):
                _remove_if_left(left)
            made = Path(stack.enter_context(TemporaryDirectory(prefix=_PREFIX, dir=cache)))
            stack.enter_context(_flock(made, fcntl.LOCK_SH))
        yield made


def _remove_if_left(folder: Path) -> None:
    try:
        with _flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(folder)
    except OSError:
        return  # it is in use, or somebody else removes it


@contextmanager
def _flock(folder: Path, kind: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
