"""The egress broker by itself: which requests it carries, over which connections, and the backstop behind it."""

from __future__ import annotations

import ipaddress
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from provider import RecordingProvider, recording_provider

from domicile.adapters.egress import Egress
from domicile.errors import (
    ConfigError,
    EgressDenied,
    ProviderDown,
    ProviderMalformed,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnready,
)

BODY = b'{"messages": [], "stream": true}'
TESTS = Path(__file__).parents[1]


@pytest.fixture
def server() -> Iterator[RecordingProvider]:
    with recording_provider() as server:
        yield server


def send(egress: Egress, url: str | None = None, method: str = "POST", seconds: float = 10.0) -> bytes:
    """One exchange of ``BODY``; what ends it is raised here as it was."""
    exchange = egress.exchange(lambda body: None, seconds, secret=lambda: "sk-secret")
    try:
        return exchange.client().request(method, url or str(egress.url), content=BODY).content
    except httpx.TransportError:
        assert exchange.failure is not None
        raise exchange.failure from None


def test_the_declared_address_is_called(server: RecordingProvider) -> None:
    assert send(Egress("acme-eu", server.url)).endswith(b"data: [DONE]\n\n")
    assert send(Egress("acme-eu", server.url + "/")).endswith(b"data: [DONE]\n\n")
    assert server.bodies == [BODY, BODY]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_no_other_method(server: RecordingProvider, method: str) -> None:
    with pytest.raises(EgressDenied, match="method"):
        send(Egress("acme-eu", server.url), method=method)
    assert server.connections == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.replace("http:", "https:"),
        lambda url: url.replace("127.0.0.1", "127.0.0.2"),
        lambda url: url.replace("127.0.0.1", "localhost"),
        lambda url: url.replace("//127", "//user@127"),
        lambda url: url.replace("/v1/", "/v2/"),
        lambda url: url + "?key=1",
        lambda url: url.replace("/chat/completions", "/responses"),
        lambda url: url.replace("/v1/chat", "/v1/../v1/chat/"),
        lambda url: "http://127.0.0.1:1/v1/chat/completions",
    ],
)  # fmt: skip
def test_no_other_address(server: RecordingProvider, change: object) -> None:
    assert callable(change)
    egress = Egress("acme-eu", server.url)
    with pytest.raises(EgressDenied, match="address"):
        send(egress, change(str(egress.url)))
    assert server.connections == 0
    send(egress)
    assert server.connections == 1


def test_one_exchange_is_one_request(server: RecordingProvider) -> None:
    exchange = Egress("acme-eu", server.url).exchange(lambda body: None, 10.0)
    client = exchange.client()
    client.post(server.url + "/chat/completions", content=BODY)
    with pytest.raises(httpx.TransportError):
        client.post(server.url + "/chat/completions", content=BODY)
    assert isinstance(exchange.failure, EgressDenied)
    assert len(server.received) == 1


def test_a_redirect_leads_nowhere(server: RecordingProvider) -> None:
    with recording_provider() as elsewhere:
        server.elsewhere = elsewhere.url + "/chat/completions"
        server.script = ("redirect",)
        with pytest.raises(ProviderRejected, match="redirect"):
            send(Egress("acme-eu", server.url))
        assert server.landed == {"redirect": 1}
        assert elsewhere.connections == 0


def test_an_answer_has_a_largest_size(server: RecordingProvider) -> None:
    server.answer = "word " * 2_000
    size = len(send(Egress("acme-eu", server.url)))
    with pytest.raises(ProviderMalformed, match="more than 50,000 bytes"):
        send(Egress("acme-eu", server.url, max_bytes=50_000))
    assert size > 50_000


def test_a_body_larger_than_the_buffers_of_the_system_arrives(server: RecordingProvider) -> None:
    body = b'{"messages": "' + b"x" * 3_000_000 + b'"}'
    authorized: list[bytes] = []
    egress = Egress("acme-eu", server.url)
    server.script = ("rejected",)
    with pytest.raises(httpx.TransportError):
        egress.exchange(authorized.append, 10.0).client().post(str(egress.url), content=body)
    assert server.bodies == authorized == [body]


@pytest.mark.parametrize(
    "api_base",
    [
        "http://llm.example/v1",
        "http://10.0.0.1/v1",
        "http://127.0.0.1.example/v1",
        "ftp://127.0.0.1/v1",
        "https://user" + ":word@llm.example/v1",
        "https://llm.example/v1?key=1",
        "https:///v1",
        "llm.example/v1",
        "http://127.0.0.1:port/v1",
        "",
    ],
)
def test_an_address_that_may_not_be_declared(api_base: str) -> None:
    with pytest.raises(ConfigError, match="sink 'acme-eu': api_base must be"):
        Egress("acme-eu", api_base)


@pytest.mark.parametrize(
    "api_base", ["https://llm.example/v1", "http://localhost:1/v1", "http://[::1]:1/v1", "http://127.9.9.9/v1"]
)
def test_an_address_that_may_be_declared(api_base: str) -> None:
    assert str(Egress("acme-eu", api_base).url) == api_base + "/chat/completions"


class TestCertificates:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Path:
        """A certificate of this machine's own, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        (tmp_path / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (tmp_path / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return tmp_path / "ca.pem"

    @pytest.fixture
    def secure(self, authority: Path) -> Iterator[RecordingProvider]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority, authority.with_name("key.pem"))
        with recording_provider(tls=context) as server:
            yield server

    def test_those_of_the_sink_are_trusted(self, secure: RecordingProvider, authority: Path) -> None:
        egress = Egress("acme-eu", secure.url, authority)
        for _ in range(3):
            assert send(egress).endswith(b"data: [DONE]\n\n")
        assert secure.bodies == [BODY] * 3
        assert secure.connections == 1

    def test_others_are_not_whatever_the_environment_says(
        self, secure: RecordingProvider, authority: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
        with pytest.raises(ProviderDown, match=r"no certificate that is trusted here: self[- ]signed"):
            send(Egress("acme-eu", secure.url))
        with pytest.raises(ProviderDown, match=r"no certificate that is trusted here: .*localhost"):
            send(Egress("acme-eu", secure.url.replace("127.0.0.1", "localhost"), authority))
        assert secure.received == []
        send(Egress("acme-eu", secure.url, authority))
        assert len(secure.received) == 1
        assert not (tmp_path / "keys").exists()

    def test_a_stalled_answer_ends_at_the_deadline(self, secure: RecordingProvider, authority: Path) -> None:
        egress = Egress("acme-eu", secure.url, authority)
        for fault in ("hang", "stall", "trickle"):
            secure.script = (fault,)
            with pytest.raises(ProviderTimeout):
                send(egress, seconds=0.5)
        assert secure.landed == {"hang": 1, "stall": 1, "trickle": 1}

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "empty.pem").write_text("nothing")
        for name in ("absent.pem", "empty.pem"):
            with pytest.raises(ConfigError, match=f"sink 'acme-eu': ca_file .*{name} cannot be read"):
                Egress("acme-eu", "https://llm.example/v1", tmp_path / name)


def test_a_secret_that_no_header_can_hold(server: RecordingProvider) -> None:
    exchange = Egress("acme-eu", server.url).exchange(lambda body: None, 10.0, secret=lambda: "sk\r\nHost: evil")
    with pytest.raises(httpx.TransportError):
        exchange.client().post(server.url + "/chat/completions", content=BODY)
    assert isinstance(exchange.failure, ProviderUnready)
    assert server.connections == 0


PLANTED = """
import socket, sys
{guard}
from domicile.adapters.egress import Egress
from provider import recording_provider
told = []
def attempt(what):
    try:
        what()
        told.append("done")
    except OSError as error:
        told.append(type(error).__name__)
def udp(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        endpoint.sendto(b"x", address)
def tcp(address):
    with socket.socket() as endpoint:
        endpoint.settimeout(0.2)
        endpoint.connect(address)
with recording_provider() as server:
    attempt(lambda: tcp(("192.0.2.1", 443)))
    attempt(lambda: udp(("192.0.2.1", 53)))
    attempt(lambda: socket.getaddrinfo("canary.invalid", 443))
    attempt(lambda: socket.gethostbyname("canary.invalid"))
    attempt(lambda: tcp(("127.0.0.1", server.port)))
    attempt(lambda: socket.socketpair()[0].close())
    egress = Egress("acme-eu", server.url.replace("127.0.0.1", "localhost"))
    sent = egress.exchange(lambda body: None, 5.0)
    print(sent.client().post(str(egress.url), content=b'{{"stream": true}}').status_code)
    egress = Egress("acme-us", "https://192.0.2.1:1/v1")
    sent = egress.exchange(lambda body: None, 0.3)
    try:
        sent.client().post(str(egress.url), content=b"{{}}")
    except Exception:
        print(type(sent.failure).__name__)
print(*told)
print({stopped})
"""


@pytest.mark.parametrize("guarded", [True, False])
def test_the_backstop_stops_what_is_not_the_broker(guarded: bool) -> None:
    install = "from domicile.adapters.socket_guard import install_socket_guard; guard = install_socket_guard()"
    script = PLANTED.format(guard=install if guarded else "", stopped="guard.stopped" if guarded else 0)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(TESTS)}
    )
    status, beyond, told, stopped = done.stdout.splitlines()
    assert status == "200"
    assert beyond in ("ProviderTimeout", "ProviderDown")  # the broker itself may try
    kinds = told.split()
    assert kinds[4:] == ["done", "done"]
    assert (kinds[:4] == ["ConnectionStopped"] * 4) is guarded
    assert "ConnectionStopped" not in kinds[:4] or guarded
    assert stopped == ("4" if guarded else "0")
    assert done.stderr.count("was stopped") == guarded


LOOKUPS = """
import sys
seen = set()
def hook(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        seen.add(str(arguments[0]))
    elif event == "socket.connect":
        seen.add(str(arguments[1][0]))
sys.addaudithook(hook)
from contract.provider_contract import QUESTION
from provider import declared, recording_provider
from domicile.adapters.hosted import HostedProvider
with recording_provider() as server:
    hosted = HostedProvider(declared(server.url), lambda: "sk-secret")
    answer = hosted.generate(QUESTION, max_tokens=9, seconds=60, cancelled=lambda: False, authorize=lambda body: None)
    assert len(list(answer)) > 2
    hosted.close()
print(*sorted(seen))
"""


def test_a_call_looks_up_and_connects_to_its_sink_alone_and_reads_no_file_of_settings(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_BASE_URL=http://192.0.2.1/v1\nUSE_LITELLM_PROXY=true\n")
    done = subprocess.run(
        [sys.executable, "-c", LOOKUPS], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={"PYTHONPATH": str(TESTS)},
    )  # fmt: skip
    assert done.stdout.split() == ["127.0.0.1"]
    assert done.stderr == ""
