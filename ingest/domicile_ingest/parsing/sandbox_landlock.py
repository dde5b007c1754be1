"""The files of a parsing process: libraries to read, and nothing else, by the kernel's Landlock.

Sources: landlock(7), ``include/uapi/linux/landlock.h``.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Sequence

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""Rights over files by the version that brought them."""
_TCP = 0b11  # bind, connect
_SCOPES = 0b11  # abstract Unix sockets, signals


def read_only(readable: Sequence[str]) -> None:
    """Take every other right over files from this thread, for good; ``PR_SET_NO_NEW_PRIVS`` must be set.

    TCP, abstract Unix sockets and signals to other processes go with them where the kernel knows how.

    Args:
        readable: folders, with what is below them, and files; what does not exist is left out.

    Raises:
        OSError: this kernel has no Landlock, or it is turned off.
    """
    version = _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    attributes = struct.pack(
        "=QQQ",
        sum(rights for since, rights in _RIGHTS.items() if since <= version),
        _TCP if version >= 4 else 0,
        _SCOPES if version >= 6 else 0,
    )[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in readable:
            _allow(ruleset, path)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = _READ_FILE | (_READ_DIR if stat.S_ISDIR(os.fstat(opened).st_mode) else 0)
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, opened), 0)
    finally:
        os.close(opened)


def _call(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *wide))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
