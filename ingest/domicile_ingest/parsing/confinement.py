"""What a parsing process may do: compute, read libraries, and answer. Nothing of it can be undone.

Several walls, because no machine has all of them: containers refuse namespaces, older kernels have no Landlock. What
is refused is reported by name, and the others hold. Sources: prctl(2), setrlimit(2), unshare(2), network_namespaces(7),
and the audit events table of Python.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from domicile_ingest.parsing.sandbox_landlock import read_only
from domicile_ingest.parsing.sandbox_seccomp import allow_only_parsing

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_MAX_DESCRIPTORS = 32
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN = ("socket.", "subprocess.", "os.", "pty.", "shutil.", "tempfile.", "urllib.", "webbrowser.")
_PERMITTED = frozenset({"os.listdir", "os.scandir"})  # imports look into their folders


def confine(memory: int, parent: int) -> dict[str, str | None]:
    """Confine this process, which must have one thread.

    Args:
        memory: bytes of address space.
        parent: the process without which this one ends.

    Returns:
        Each wall, and why it could not be had here; ``None`` where it stands.
    """
    readable = [*(os.path.abspath(path) for path in sys.path), str(Path(sys.base_prefix, "lib")), *_LIBRARIES]
    walls: dict[str, Callable[[], None]] = {
        "resource limits": lambda: _limit_resources(memory),
        "no new privileges": lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1),
        "network namespace": _leave_network,
        "Landlock": lambda: read_only(readable),
        # After the namespace: a change of credentials forgets this signal.
        "death with the parent": lambda: _die_with(parent),
        "audit hook": lambda: _guard(readable),
        # Last: it does not allow the calls above.
        "seccomp": allow_only_parsing,
    }
    return {name: _attempt(wall) for name, wall in walls.items()}


def _attempt(wall: Callable[[], None]) -> str | None:
    try:
        wall()
    except (OSError, ValueError, AttributeError) as error:  # another system may lack the very names
        return (error.strerror if isinstance(error, OSError) else None) or str(error)
    return None


def allow_cpu(seconds: int) -> None:
    """Give this process that many more seconds of CPU; then SIGXCPU ends it."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    until = int(spent.ru_utime + spent.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _limit_resources(memory: int) -> None:
    for kind, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MAX_DESCRIPTORS),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(kind, (value, value))


def _leave_network() -> None:
    """A network of one's own, without any interface that is up.

    First with the privilege that root has, because in a user namespace root loses the right to read other people's
    files, its own installation among them; everybody else needs the user namespace.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0 and libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _die_with(parent: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before
        raise SystemExit(0)


def _prctl(option: int, value: int) -> None:
    arguments = [ctypes.c_ulong(argument) for argument in (value, 0, 0, 0)]
    if ctypes.CDLL(None, use_errno=True).prctl(option, *arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _guard(readable: Sequence[str]) -> None:
    """Refuse in Python what the kernel should refuse as well; native code does not pass here."""
    inside = tuple(os.path.join(path, "") for path in readable)

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, int) and (
                (isinstance(flags, int) and flags & _WRITING)
                or not os.path.abspath(os.fsdecode(path)).startswith(inside)  # type: ignore[arg-type]
            ):
                raise PermissionError(errno.EPERM, "a parser opens no files")
        elif event.startswith(_FORBIDDEN) and event not in _PERMITTED:
            raise PermissionError(errno.EPERM, f"a parser may not do this: {event}")

    sys.addaudithook(refuse)
