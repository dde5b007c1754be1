"""The egress broker: the one module that opens outbound connections.

A sink has one ``Egress`` with its pinned address, and a call has one ``Exchange``: a single request, which leaves after
``authorize`` saw its exact bytes, and a bounded answer. Nothing comes from the environment: no proxy, no certificates
(``SSL_CERT_FILE``), no key log. Redirects are refused, answers are never decompressed, and what a provider wrote beside
an answer is not read at all.
"""

from __future__ import annotations

import ssl
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import certifi
import httpcore
import httpx

from domicile.adapters.egress_sockets import BrokerSockets
from domicile.adapters.socket_guard import is_loopback
from domicile.errors import (
    Cancelled,
    ConfigError,
    EgressDenied,
    ProviderBusy,
    ProviderDown,
    ProviderError,
    ProviderMalformed,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnauthorized,
    ProviderUnready,
)

MAX_BYTES = 4_000_000
"""Of everything that a provider may send for one answer."""
_PATH = "/chat/completions"
_DRAIN_SECONDS = 0.05


class Egress:
    """Connections to one pinned address. Safe to use from several threads.

    Args:
        sink: its name, for messages.
        api_base: such as ``https://llm.example/v1``; plain http only to this machine.
        ca_file: certificates to trust instead of the usual ones.
        max_bytes: of one answer, headers and all.

    Raises:
        ConfigError: the address is none that may be called, or ``ca_file`` cannot be read.
    """

    def __init__(self, sink: str, api_base: str, ca_file: Path | None = None, max_bytes: int = MAX_BYTES) -> None:
        self.sink = sink
        self.max_bytes = max_bytes
        self.url = _pinned(sink, api_base)
        self.sockets = BrokerSockets(local_only=self.url.scheme == "http")
        self.pool = httpcore.ConnectionPool(
            ssl_context=_tls(sink, ca_file) if self.url.scheme == "https" else None,
            max_connections=64,
            max_keepalive_connections=8,
            keepalive_expiry=30.0,
            network_backend=self.sockets,
        )
        self.close = weakref.finalize(self, self.pool.close)
        """Close the connections that are kept open; it happens by itself with the end of this object."""

    def exchange(
        self,
        authorize: Callable[[bytes], None],
        seconds: float,
        cancelled: Callable[[], bool] = lambda: False,
        secret: Callable[[], str | None] = lambda: None,
    ) -> Exchange:
        """A transport for one request.

        Args:
            authorize: gets the exact body; what it raises keeps it here.
            seconds: from now, for everything.
            cancelled: ends whatever is under way.
            secret: of the sink; asked for when the request leaves, so that no client above ever holds it.
        """
        return Exchange(self, authorize, time.monotonic() + seconds, cancelled, secret)


class Exchange(httpx.BaseTransport):
    """One request and its answer.

    Attributes:
        failure: what ended it first; clients wrap what a transport raises, so here is the original.
        body: what was authorized, and nothing else left; ``None`` before that.
        received: bytes that came back.
        retry_after: seconds after which the provider asked to come back.
    """

    def __init__(
        self,
        egress: Egress,
        authorize: Callable[[bytes], None],
        deadline: float,
        cancelled: Callable[[], bool],
        secret: Callable[[], str | None],
    ) -> None:
        self.failure: Exception | None = None
        self.body: bytes | None = None
        self.received = 0
        self.retry_after: float | None = None
        self._egress = egress
        self._authorize = authorize
        self._deadline = deadline
        self._cancelled = cancelled
        self._secret = secret
        self._used = False
        self._content: _Content | None = None

    def client(self) -> httpx.Client:
        """A client that can do nothing else than this exchange."""
        return httpx.Client(transport=self, trust_env=False, follow_redirects=False, timeout=None)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self.ended():
            return self._handle(request)

    def close(self) -> None:
        """Free the connection; an answer that was read to its end leaves it open for the next exchange."""
        if self._content is not None:
            self._content.close()

    def left(self) -> float:
        """Seconds until the deadline.

        Raises:
            ProviderTimeout: none.
            Cancelled: nobody wants the answer any more.
        """
        if self._cancelled():
            raise Cancelled("the caller went away")
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise ProviderTimeout(f"{self._egress.sink} did not answer in time")
        return left

    def hurry(self, seconds: float) -> None:
        """Bring the deadline nearer."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)

    def count(self, size: int) -> None:
        self.received += size
        if self.received > self._egress.max_bytes:
            raise ProviderMalformed(f"{self._egress.sink} sent more than {self._egress.max_bytes:,} bytes")

    @contextmanager
    def bound(self) -> Iterator[None]:
        """What this thread reads and writes meanwhile, it does for this exchange."""
        self._egress.sockets.serves(self)
        try:
            yield
        finally:
            self._egress.sockets.serves(None)

    @contextmanager
    def ended(self) -> Iterator[None]:
        """Keep what ends the exchange, and give the client above an error that holds nothing."""
        try:
            with self.bound():
                yield
            return
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            failure: Exception = self._typed(error)
        except (ProviderError, Cancelled) as error:
            failure = error.with_traceback(None)  # its frames hold the request with its secret
        except Exception as error:
            failure = error
        self.failure = self.failure or failure
        raise httpx.TransportError(type(failure).__name__)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self._check(request)
        self._used = True
        body = request.read()
        prepared = self._rebuilt(body)
        self._authorize(body)
        self.body = body
        response = self._egress.pool.handle_request(prepared)
        self._content = _Content(self, response)
        try:
            return self._judged(response, self._content)
        except BaseException:
            self._content.close()
            raise

    def _check(self, request: httpx.Request) -> None:
        """Whether this is the one request that the sink's declaration allows."""
        pinned, url = self._egress.url, request.url
        if self._used:
            raise EgressDenied(self._egress.sink, ("second request",))
        if request.method != "POST":
            raise EgressDenied(self._egress.sink, ("method",))
        if (url.scheme, url.host, url.port, url.raw_path, url.userinfo) != (
            pinned.scheme, pinned.host, pinned.port, pinned.raw_path, b"",
        ):  # fmt: skip
            raise EgressDenied(self._egress.sink, ("address",))

    def _rebuilt(self, body: bytes) -> httpcore.Request:
        """The request, with these headers alone: clients add some that tell about this machine."""
        url = self._egress.url
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Accept": "text/event-stream, application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "domicile",
            **self._authorization(),
        }
        left = self.left()
        return httpcore.Request(
            b"POST",
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=[(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()],
            content=body,
            extensions={"timeout": {"pool": left, "connect": left, "read": left, "write": left}},
        )

    def _authorization(self) -> dict[str, str]:
        secret = self._secret()
        if secret and not (secret.isascii() and secret.isprintable()):
            raise ProviderUnready(
                f"{self._egress.sink} was not called: its secret has characters that no header can hold"
            )
        return {"Authorization": f"Bearer {secret}"} if secret else {}

    def _judged(self, response: httpcore.Response, content: _Content) -> httpx.Response:
        headers = httpx.Headers(response.headers)
        if response.status != 200:
            self.retry_after = _seconds(headers.get("retry-after"))
            raise _refusal(self._egress.sink, response.status)
        if headers.get("content-encoding", "identity") != "identity":
            raise ProviderMalformed(f"{self._egress.sink} compressed its answer, which was not asked for")
        return httpx.Response(200, headers={"content-type": headers.get("content-type", "")}, stream=content)

    def _typed(self, error: Exception) -> ProviderError:
        sink = self._egress.sink
        if isinstance(error, httpcore.TimeoutException):
            return ProviderTimeout(f"{sink} did not answer in time")
        if isinstance(error.__context__, ssl.SSLCertVerificationError):
            return ProviderDown(f"{sink} has no certificate that is trusted here: {error.__context__.verify_message}")
        if isinstance(error, httpcore.ConnectError):
            return ProviderDown(f"{sink} cannot be reached")
        return ProviderDown(f"the connection to {sink} broke")


class _Content(httpx.SyncByteStream):
    """The body of an answer as it comes."""

    def __init__(self, exchange: Exchange, response: httpcore.Response) -> None:
        self._exchange = exchange
        self._response = response
        self._pieces = response.iter_stream()
        self._tail = b""
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._exchange.ended():
                piece = next(self._pieces, None)
            if piece is None:
                return
            self._tail = (self._tail + piece)[-16:]
            yield piece

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._tail.rstrip().endswith(b"[DONE]"):
            self._drain()
        self._response.close()

    def _drain(self) -> None:
        """Read the end that follows the last event, without which the connection could not be used again."""
        self._exchange.hurry(_DRAIN_SECONDS)
        with suppress(Exception), self._exchange.bound():
            for _ in self._pieces:
                pass


def _pinned(sink: str, api_base: str) -> httpx.URL:
    try:
        url = httpx.URL(api_base.rstrip("/") + _PATH)
    except httpx.InvalidURL:
        raise ConfigError(f"sink {sink!r}: api_base must be an address such as https://llm.example/v1") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise ConfigError(f"sink {sink!r}: api_base must be an address such as https://llm.example/v1")
    if url.scheme == "http" and not is_loopback(url.host):
        raise ConfigError(f"sink {sink!r}: api_base must be https: plain http is for this machine alone (127.0.0.1)")
    return url


def _tls(sink: str, ca_file: Path | None) -> ssl.SSLContext:
    """Verifies certificates and names; ``ssl.create_default_context`` would take a key log from the environment."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=certifi.where() if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"sink {sink!r}: ca_file {ca_file} cannot be read: {error.strerror or error}") from None
    return context


def _refusal(sink: str, status: int) -> ProviderError:
    if status == 429:
        return ProviderBusy(f"{sink} is busy, or its quota is spent (429)")
    if status >= 500:
        return ProviderDown(f"{sink} failed ({status})")
    if 300 <= status < 400:
        return ProviderRejected(f"{sink} answered with a redirect ({status}), which is never followed")
    if status in (401, 403):
        return ProviderUnauthorized(f"{sink} does not accept the secret ({status})")
    return ProviderRejected(f"{sink} rejected the request ({status})")


def _seconds(header: str | None) -> float | None:
    """Of a ``Retry-After`` in seconds; a date is as if it were not there."""
    return float(header) if header and header.isascii() and header.isdigit() and len(header) < 10 else None
