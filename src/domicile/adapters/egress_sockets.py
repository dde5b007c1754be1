"""The sockets of the egress broker: whoever waits on one notices the deadline, and that the caller went away.

A pool of connections outlives the exchanges, so a socket asks its thread for which of them it works.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

import httpcore

from domicile.adapters.socket_guard import is_loopback, opening

_CONNECT_SECONDS = 5.0
_SLICE_SECONDS = 0.1
"""How soon a reader that waits notices that it is not wanted any more."""
_PIECE_BYTES = 16_384
_SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class Bounds(Protocol):
    """Of an exchange; both raise when it is over."""

    def left(self) -> float:
        """Seconds until the deadline."""
        ...

    def count(self, size: int) -> None:
        """Bytes came."""
        ...


class BrokerSockets(httpcore.SyncBackend):
    """Opens them for the pool of one sink.

    Args:
        local_only: to this machine and nowhere else, whatever a name is looked up to.
    """

    def __init__(self, local_only: bool) -> None:
        self._local_only = local_only
        self._serving = threading.local()

    def serves(self, exchange: Bounds | None) -> None:
        """Tell for which exchange this thread works from now on."""
        self._serving.exchange = exchange

    @property
    def exchange(self) -> Bounds:
        exchange: Bounds = self._serving.exchange
        return exchange

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[_SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        trouble: Exception = httpcore.ConnectError("no address")
        with opening(host, port):
            for address in self._addresses(host, port):
                seconds = min(self.exchange.left(), _CONNECT_SECONDS)
                try:
                    return _Stream(self, super().connect_tcp(address, port, seconds, local_address, socket_options))
                except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                    trouble = error
        raise trouble

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError("no address") from error
        addresses = [str(address[0]) for *_, address in found]
        return [address for address in addresses if is_loopback(address) or not self._local_only]


class _Stream(httpcore.NetworkStream):
    def __init__(self, sockets: BrokerSockets, inner: httpcore.NetworkStream) -> None:
        self._sockets = sockets
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        exchange = self._sockets.exchange
        while True:
            seconds = min(exchange.left(), _SLICE_SECONDS)
            with suppress(httpcore.ReadTimeout):
                data = self._inner.read(max_bytes, seconds)
                exchange.count(len(data))
                return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE_BYTES):
            self._inner.write(buffer[start : start + _PIECE_BYTES], self._sockets.exchange.left())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = min(self._sockets.exchange.left(), _CONNECT_SECONDS)
        return _Stream(self._sockets, self._inner.start_tls(ssl_context, server_hostname, seconds))

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)
