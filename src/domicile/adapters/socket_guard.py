"""The backstop behind the broker: an audit hook of the interpreter that stops every other connection.

``adapters/egress.py`` is the one module that opens connections, and says so here while it does; whatever else in this
process looks up a name or connects, a library or a plugin, gets an error unless it goes to this machine itself. Python
code is seen, C code that calls the system by itself is not, and a name given straight to ``socket.connect`` is
looked up before the hook sees it.
"""

from __future__ import annotations

import ipaddress
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)
_LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname"}
_REVERSE_LOOKUPS = {"socket.gethostbyaddr", "socket.getnameinfo"}
_CONNECTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_installed: list[SocketGuard] = []
_installing = threading.Lock()


class _Opening(threading.local):
    address: tuple[str, int] | None = None


_opening = _Opening()


class ConnectionStopped(PermissionError):
    """Something in this process, and not the broker, was about to leave this machine."""


class SocketGuard:
    """What the installed hook has stopped so far."""

    def __init__(self) -> None:
        self.stopped = 0

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _REVERSE_LOOKUPS:
            host = arguments[0][0] if isinstance(arguments[0], tuple) else arguments[0]
            if not _stays_here(host):
                self._stop(host)
        elif event in _LOOKUPS:
            host = arguments[0]
            if not (host is None or _stays_here(host) or _is_address(host) or _brokered(host, None)):
                self._stop(host)
        elif event in _CONNECTS:
            address = arguments[1]
            if isinstance(address, tuple) and not (_stays_here(address[0]) or _brokered(None, address[1])):
                self._stop(address[0])

    def _stop(self, host: object) -> None:
        self.stopped += 1
        if self.stopped == 1:
            _log.error("a connection to %.100s was stopped: only the egress broker may leave this machine", host)
        raise ConnectionStopped(f"domicile lets nothing but its egress broker connect to {str(host)[:100]}")


def install_socket_guard() -> SocketGuard:
    """Stop everything but the broker from now on until the process ends; an audit hook cannot be removed."""
    with _installing:
        if not _installed:
            _installed.append(SocketGuard())
            sys.addaudithook(_installed[0].hook)
        return _installed[0]


@contextmanager
def opening(host: str, port: int) -> Iterator[None]:
    """For the broker alone: this thread looks up ``host`` and connects to ``port``."""
    _opening.address = host, port
    try:
        yield
    finally:
        _opening.address = None


def is_loopback(host: str) -> bool:
    """Whether an address, or the name ``localhost``, means this machine."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def _stays_here(host: object) -> bool:
    return is_loopback(_text(host))


def _is_address(host: object) -> bool:
    """An address needs no look-up."""
    try:
        ipaddress.ip_address(_text(host))
    except ValueError:
        return False
    return True


def _brokered(host: object, port: object) -> bool:
    address = _opening.address
    return address is not None and (host is None or _text(host) == address[0]) and port in (None, address[1])


def _text(host: object) -> str:
    return host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)
