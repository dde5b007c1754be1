"""The hosted generator against a provider that misbehaves in every way: what comes out, what left, and what is told to nobody."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract.provider_contract import QUESTION, REPLY
from provider import Fault, RecordingProvider, declared, recording_provider

from domicile.adapters.hosted import HostedProvider
from domicile.domain import Usage
from domicile.errors import (
    AuditUnavailable,
    ConfigError,
    DomicileError,
    EgressDenied,
    ProviderBusy,
    ProviderDown,
    ProviderMalformed,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnready,
)

CANARY = "sk-0123456789-canary"


@pytest.fixture
def server() -> Iterator[RecordingProvider]:
    with recording_provider(REPLY) as server:
        yield server


@pytest.fixture
def hosted(server: RecordingProvider) -> Iterator[HostedProvider]:
    hosted = HostedProvider(declared(server.url), lambda: CANARY)
    yield hosted
    hosted.close()


def say(
    hosted: HostedProvider,
    seconds: float = 20.0,
    authorize: Callable[[bytes], None] = lambda body: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[str | Usage]:
    return list(hosted.generate(QUESTION, max_tokens=50, seconds=seconds, cancelled=cancelled, authorize=authorize))


def text(items: list[str | Usage]) -> str:
    return "".join(item for item in items if isinstance(item, str))


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """The first call takes seconds, and here deadlines are tested."""
    with recording_provider(script=["ok", "rejected"]) as server:
        hosted = HostedProvider(declared(server.url), lambda: CANARY)
        say(hosted, 120)
        with pytest.raises(ProviderRejected):
            say(hosted, 120)
        hosted.close()


FAULTS: list[tuple[Fault, type[DomicileError], int]] = [
    ("whole", ProviderMalformed, 1),
    ("hang", ProviderTimeout, 1),
    ("slow_headers", ProviderTimeout, 1),
    ("trickle", ProviderTimeout, 1),
    ("stall", ProviderTimeout, 1),
    ("busy", ProviderBusy, 1),
    ("busy_now", ProviderBusy, 2),
    ("busy_long", ProviderBusy, 1),
    ("error", ProviderDown, 2),
    ("rejected", ProviderRejected, 1),
    ("unauthorized", ProviderRejected, 1),
    ("reset", ProviderDown, 2),
    ("reset_midway", ProviderDown, 1),
    ("cut", ProviderMalformed, 1),
    ("redirect", ProviderRejected, 1),
    ("html", ProviderMalformed, 1),
    ("no_choice", ProviderMalformed, 1),
    ("empty", ProviderMalformed, 1),
    ("huge", ProviderMalformed, 1),
    ("garbage", ProviderMalformed, 1),
    ("failing", ProviderDown, 1),
    ("compressed", ProviderMalformed, 1),
]
"""What each fault becomes, and how many requests it is worth."""


@pytest.mark.parametrize(("fault", "error", "requests"), FAULTS, ids=[fault for fault, *_ in FAULTS])
def test_a_fault_becomes_a_typed_error_and_the_next_call_works(
    server: RecordingProvider,
    hosted: HostedProvider,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    error: type[DomicileError],
    requests: int,
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script = (fault,)
    authorized: list[bytes] = []
    waits = error is ProviderTimeout
    began = time.monotonic()
    with pytest.raises(error) as caught:
        say(hosted, 0.6 if waits else 20.0, authorized.append)
    took = time.monotonic() - began
    assert not waits or 0.5 < took < 3.0
    assert server.landed == {fault: requests}
    assert server.bodies == authorized
    assert len(authorized) == requests
    untold(caught.value, caplog)

    server.script = ("ok",)
    *_, usage = said = say(hosted, authorize=authorized.append)
    assert text(said) == REPLY
    assert usage == Usage(13, 6)
    assert server.bodies == authorized


def untold(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """No log, and nothing that hangs on an error, has the secret or what the provider wrote."""
    assert error.__context__ is None
    assert error.__cause__ is None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if "tests" not in frame.f_code.co_filename]
    assert frames
    shown = "".join(repr(frame.f_locals) for frame in frames)
    logged = "".join(record.getMessage() + str(record.exc_info) for record in caplog.records)
    for told in (shown, logged, str(error)):
        assert CANARY not in told
        assert "Welcome" not in told
    assert "parental leave" not in logged + str(error)


@pytest.mark.parametrize("fault", ["no_usage", "wrong_usage", "huge_usage"])
def test_a_usage_that_cannot_be_true_is_none(server: RecordingProvider, hosted: HostedProvider, fault: Fault) -> None:
    server.script = (fault,)
    said = say(hosted)
    assert text(said) == REPLY
    assert said[-1] == Usage()
    assert server.landed == {fault: 1}


def test_characters_split_between_pieces_of_the_stream(server: RecordingProvider, hosted: HostedProvider) -> None:
    server.script, server.answer = ("split",), "Größe: 5 µm – 日本 🙂."
    assert text(say(hosted)) == server.answer
    assert server.landed == {"split": 1}


@pytest.mark.parametrize("fault", ["error", "reset", "busy_now"])
def test_what_is_over_in_a_moment_is_tried_again_and_authorized_again(
    server: RecordingProvider, hosted: HostedProvider, fault: Fault
) -> None:
    server.script = (fault, "ok")
    authorized: list[bytes] = []
    assert text(say(hosted, authorize=authorized.append)) == REPLY
    assert server.landed == {fault: 1, "ok": 1}
    assert server.bodies == authorized
    assert len(authorized) == 2


def test_a_retry_that_is_not_authorized_does_not_leave(server: RecordingProvider, hosted: HostedProvider) -> None:
    server.script = ("error", "ok")
    denied = EgressDenied("acme-eu", ("expired",))

    def once(body: bytes) -> None:
        if server.received:
            raise denied

    with pytest.raises(EgressDenied) as caught:
        say(hosted, authorize=once)
    assert caught.value is denied
    assert server.landed == {"error": 1}


def test_an_address_where_nobody_listens() -> None:
    with recording_provider() as gone:
        url = gone.url
    authorized: list[bytes] = []
    with pytest.raises(ProviderDown, match="acme-eu cannot be reached"):
        say(HostedProvider(declared(url), lambda: CANARY), authorize=authorized.append)
    assert len(authorized) == 2


@pytest.mark.parametrize("fault", ["hang", "slow_headers", "trickle", "stall"])
def test_a_caller_who_goes_away_is_let_go_and_so_is_the_connection(
    server: RecordingProvider, hosted: HostedProvider, fault: Fault
) -> None:
    server.script = (fault,)
    gone = threading.Event()
    timer = threading.Timer(0.3, gone.set)
    timer.start()
    began = time.monotonic()
    assert say(hosted, cancelled=gone.is_set)[-1] == Usage()
    assert 0.25 < time.monotonic() - began < 2.0
    timer.join()
    assert server.landed == {fault: 1}
    until(lambda: server.left == 1)


def test_a_closed_iterator_frees_the_connection(server: RecordingProvider, hosted: HostedProvider) -> None:
    server.script = ("stall",)
    pieces = hosted.generate(QUESTION, max_tokens=50, seconds=20, cancelled=lambda: False, authorize=lambda body: None)
    assert next(pieces) == "Parental "
    assert server.left == 0
    pieces.close()  # type: ignore[attr-defined]
    until(lambda: server.left == 1)


def test_answers_share_a_connection(server: RecordingProvider, hosted: HostedProvider) -> None:
    for _ in range(5):
        say(hosted)
    assert len(server.received) == 5
    assert server.connections == 1


def test_calls_at_once_keep_apart(server: RecordingProvider, hosted: HostedProvider) -> None:
    server.answer = lambda received: "echo " + str(received.json["max_tokens"])
    results: dict[int, str] = {}

    def one(number: int) -> None:
        authorized: list[bytes] = []
        items = hosted.generate(
            QUESTION, max_tokens=number, seconds=20, cancelled=lambda: False, authorize=authorized.append
        )
        results[number] = text(list(items))
        assert b'"max_tokens":%d,' % number in authorized[0]

    threads = [threading.Thread(target=one, args=(100 + number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: f"echo {number}" for number in range(100, 112)}


class TestCircuit:
    def test_it_opens_after_failures_in_a_row_and_closes_after_a_success(self, server: RecordingProvider) -> None:
        server.script = ("error",)
        hosted = HostedProvider(declared(server.url), lambda: CANARY, failures=3, rest_seconds=1.0)
        for _ in range(3):
            assert hosted.state == "ready"
            with pytest.raises(ProviderDown):
                say(hosted)
        assert hosted.state == "open_circuit"
        asked = len(server.received)
        with pytest.raises(ProviderUnready, match="failed too often"):
            say(hosted)
        assert len(server.received) == asked
        time.sleep(1.0)
        with pytest.raises(ProviderDown):  # the one that tries again
            say(hosted)
        assert hosted.state == "open_circuit"
        server.script = ("ok",)
        time.sleep(1.0)
        assert text(say(hosted)) == REPLY
        server.script = ("error",)
        with pytest.raises(ProviderDown):
            say(hosted)
        assert hosted.state == "ready"  # it counts from the beginning
        hosted.close()

    def test_what_is_not_the_providers_trouble_does_not_open_it(self, server: RecordingProvider) -> None:
        hosted = HostedProvider(declared(server.url), lambda: CANARY, failures=1)
        server.script = ("rejected",)
        with pytest.raises(ProviderRejected):
            say(hosted)

        def refuse(body: bytes) -> None:
            raise AuditUnavailable("no space left")

        with pytest.raises(AuditUnavailable):
            say(hosted, authorize=refuse)
        server.script = ("hang",)
        began = time.monotonic()
        say(hosted, cancelled=lambda: time.monotonic() - began > 0.2)
        assert server.landed == {"rejected": 1, "hang": 1}
        assert hosted.state == "ready"
        with pytest.raises(ProviderTimeout):
            say(hosted, 0.2)
        assert hosted.state == "open_circuit"
        hosted.close()


def test_without_a_secret_nothing_is_called(server: RecordingProvider) -> None:
    secret: list[str] = []
    hosted = HostedProvider(declared(server.url), lambda: secret[0] if secret else None)
    assert hosted.state == "no_secret"
    with pytest.raises(ProviderUnready, match="no secret"):
        say(hosted)
    assert server.connections == 0
    secret.append(CANARY)
    assert hosted.state == "ready"
    assert text(say(hosted)) == REPLY
    hosted.close()


@pytest.mark.parametrize("model", ["anthropic/claude", "gpt-x", "openai/", "azure/openai/gpt-x"])
def test_other_families_are_refused(model: str) -> None:
    with pytest.raises(ConfigError, match=r"acme-eu.*openai/NAME"):
        HostedProvider(declared("http://127.0.0.1:1/v1", model=model), lambda: CANARY)


@pytest.mark.parametrize("model", ["openai/gpt-5-pro", "openai/responses/gpt-x", "openai/o1", "openai/gpt-5"])
def test_a_model_that_litellm_calls_otherwise_goes_through_the_broker_too(
    server: RecordingProvider, model: str
) -> None:
    hosted = HostedProvider(declared(server.url, model=model), lambda: CANARY)
    authorized: list[bytes] = []
    assert text(say(hosted, authorize=authorized.append)) == REPLY
    assert server.bodies == authorized
    assert {received.path for received in server.received} == {"/v1/chat/completions"}
    hosted.close()


@pytest.mark.parametrize("where", ["success_callback", "callbacks", "input_callback", "model_fallbacks", "cache"])
def test_what_other_code_put_into_litellm_is_refused(
    server: RecordingProvider, hosted: HostedProvider, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    import litellm

    monkeypatch.setattr(litellm, where, [print])
    with pytest.raises(ProviderUnready, match=f"litellm.{where}"):
        say(hosted)
    assert server.connections == 0
    monkeypatch.undo()
    assert text(say(hosted)) == REPLY


def test_the_environment_changes_nothing(
    server: RecordingProvider, hosted: HostedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(hosted)
    with recording_provider("trapped") as trap:
        address = trap.url.removesuffix("/v1")
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, address)
        for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "LITELLM_PROXY_API_BASE"):
            monkeypatch.setenv(name, trap.url)
        for name in (
            "OPENAI_API_KEY",
            "LITELLM_PROXY_API_KEY",
            "OPENAI_ORGANIZATION",
            "OPENAI_ORG_ID",
            "OPENAI_PROJECT_ID",
        ):
            monkeypatch.setenv(name, "sk-of-the-environment")
        monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
        monkeypatch.setenv("OPENAI_LOG", "debug")
        for name in (
            "USE_LITELLM_PROXY", "EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER", "LITELLM_ROUTE_ALL_CHAT_OPENAI_TO_RESPONSES",
        ):  # fmt: skip
            monkeypatch.setenv(name, "true")
        fresh = HostedProvider(declared(server.url), lambda: CANARY)
        assert text(say(fresh)) == REPLY
        fresh.close()
        assert trap.connections == 0
    without, within = server.received
    assert within == without
    assert within.headers == {
        "host": f"127.0.0.1:{server.port}",
        "authorization": f"Bearer {CANARY}",
        "content-type": "application/json",
        "content-length": str(len(within.body)),
        "accept": "text/event-stream, application/json",
        "accept-encoding": "identity",
        "user-agent": "domicile",
    }


def test_litellm_keeps_neither_client_nor_key(server: RecordingProvider, hosted: HostedProvider) -> None:
    import gc

    import litellm
    import openai

    from domicile.adapters.egress import Exchange

    def exchanges() -> set[int]:
        gc.collect()
        return {id(thing) for thing in gc.get_objects() if type(thing) is Exchange}

    before = exchanges()  # of other tests, whose failures are kept
    other = HostedProvider(declared(server.url, "acme-us"), lambda: "sk-other")
    for provider in (hosted, other, hosted):
        say(provider)
    keys = [received.headers["authorization"] for received in server.received]
    assert keys == [f"Bearer {CANARY}", "Bearer sk-other", f"Bearer {CANARY}"]
    kept = litellm.in_memory_llm_clients_cache.cache_dict.values()
    assert not [client for client in kept if isinstance(client, openai.OpenAI)]
    assert exchanges() <= before
    other.close()


def test_warming_up_sends_nothing(server: RecordingProvider, hosted: HostedProvider) -> None:
    before = threading.active_count()
    hosted.warm_up()
    until(lambda: threading.active_count() == before, 60.0)
    assert server.connections == 0
    assert hosted.state == "ready"


def test_a_process_does_not_end_while_it_is_warming_up() -> None:
    """litellm's clean-up at the end of the interpreter waits for ever for a thread that was stopped while it imports."""
    code = (
        "import atexit, sys, threading; sys.path.insert(0, 'tests');"
        "from provider import declared; from domicile.adapters.hosted import HostedProvider;"
        "HostedProvider(declared('http://127.0.0.1:1/v1'), lambda: 'k').warm_up();"
        "atexit.register(lambda: print([t.name for t in threading.enumerate() if t.name.startswith('warm up')]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2]
    )
    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for what another thread brings about.

    Raises:
        TimeoutError: it did not come about.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come about")
        time.sleep(0.01)
