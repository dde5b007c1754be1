"""Answers of a hosted provider: litellm makes the request of one pinned deployment, the egress broker carries it.

This is the only file that knows litellm and openai. litellm takes orders from environment variables and from globals that
any library may set: callbacks that get every prompt, fallbacks to other models, a proxy, handlers that open connections
of their own. All of that is taken away or refused before each call, and an answer that did not come through the broker
is none. The secret never gets here: the broker writes it into the one header where it belongs.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domicile.domain import Message, Prompt, Usage
from domicile.errors import (
    Cancelled,
    ConfigError,
    DomicileError,
    MissingExtra,
    ProviderBusy,
    ProviderDown,
    ProviderError,
    ProviderMalformed,
    ProviderRejected,
    ProviderUnauthorized,
    ProviderUnready,
)
from domicile.policy import Sink
from domicile.ports import ProviderState

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletionChunk

    from domicile.adapters.egress import Exchange

_FAMILY = "openai/"
_ATTEMPTS = 2
_PAUSE_SECONDS = 0.2
_MOST_CHARACTERS_A_TOKEN = 64
"""The longest tokens of usual vocabularies are runs of blanks; text has four characters a token."""
_MAX_PAUSE_SECONDS = 2.0
_MISLEADING = {"USE_LITELLM_PROXY", "EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER"}
"""Environment variables beside ``LITELLM_*`` that make litellm call something else, past the client that it was given."""
_ENVIRONMENT = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
"""Else it loads the ``.env`` of the working directory, and a list of prices from the network."""
_SETTINGS: dict[str, object] = {
    "telemetry": False,
    "suppress_debug_info": True,
    "turn_off_message_logging": True,
    "disable_streaming_logging": True,
    "disable_aiohttp_transport": True,
    "route_all_chat_openai_to_responses": False,
    "set_verbose": False,
}
_UNWANTED = (
    "input_callback", "success_callback", "failure_callback", "service_callback", "audit_log_callbacks", "callbacks",
    "_async_input_callback", "_async_success_callback", "_async_failure_callback", "cache", "model_fallbacks",
    "model_alias_map", "custom_provider_map", "credential_list", "use_litellm_proxy", "network_mock", "proxy_auth",
    "num_retries",
)  # fmt: skip
"""Globals of litellm that would send a prompt elsewhere or change it; only other code in this process can have set them."""
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "litellm", "openai")
"""They log prompts at the level DEBUG, and answers of providers in errors."""

_loading = threading.Lock()


class HostedProvider:
    """``ports.Provider`` for one sink.

    Args:
        secret: the key of the sink; ``None`` makes the provider unready.
        ca_file: certificates to trust instead of the usual ones.
        failures: in a row, after which the circuit opens.
        rest_seconds: after which an open circuit lets one call try again.

    Raises:
        ConfigError: a model of a family whose requests the broker does not see, or an address that may not be called.
        MissingExtra: litellm is not installed.
    """

    def __init__(
        self,
        sink: Sink,
        secret: Callable[[], str | None],
        ca_file: Path | None = None,
        *,
        failures: int = 5,
        rest_seconds: float = 30.0,
    ) -> None:
        if not sink.model.startswith(_FAMILY) or sink.model == _FAMILY:
            raise ConfigError(
                f"sink {sink.name!r}: model {sink.model!r} cannot be called: only openai/NAME, at any address that "
                "speaks OpenAI's protocol; other families open connections of their own"
            )
        for module in ("litellm", "openai", "httpx", "pybreaker"):
            if importlib.util.find_spec(module) is None:
                raise MissingExtra("hosted", module)
        from domicile.adapters.egress import Egress

        self._sink = sink
        self._secret = secret
        self._egress = Egress(sink.name, sink.api_base, ca_file)
        self._circuit = _Circuit(failures, rest_seconds)
        self._loading: threading.Thread | None = None

    @property
    def name(self) -> str:
        return self._sink.name

    @property
    def state(self) -> ProviderState:
        if not self._secret():
            return "no_secret"
        return "open_circuit" if self._circuit.is_open() else "ready"

    def warm_up(self) -> None:
        """Load litellm in the background, which takes seconds; a call meanwhile waits for it.

        The process ends after it: a thread that is stopped while it imports would hold the lock that litellm's own clean-up
        waits for.
        """
        self._loading = threading.Thread(target=self._rehearse, name=f"warm up {self.name}")
        self._loading.start()

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._egress.close()

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int,
        seconds: float,
        cancelled: Callable[[], bool],
        authorize: Callable[[bytes], None],
    ) -> Iterator[str | Usage]:
        """Pieces of text as they come, then the usage: zeros where the provider told none that can be true.

        Nothing happens before the first item is asked for, and closing the iterator frees the connection. Where
        ``cancelled`` ends it, the usage is the last item too. A failure that may be over in a moment is tried once more
        as long as nothing was said.
        """
        self._await_loaded(seconds)
        deadline = time.monotonic() + seconds
        for attempt in range(1, _ATTEMPTS + 1):
            self._require_ready()
            exchange = self._egress.exchange(authorize, deadline - time.monotonic(), cancelled, self._secret)
            said = False
            try:
                with closing(self._answer(exchange, prompt, max_tokens)) as answer:
                    for item in answer:
                        said = True
                        yield item
                        if isinstance(item, Usage):
                            self._circuit.record(None)
                            return
                        if cancelled():
                            break
            except Cancelled:
                break
            except ProviderError as error:
                pause = _pause(error, exchange, deadline)
                if said or attempt == _ATTEMPTS or pause is None:
                    blameless = isinstance(error, ProviderRejected) and not isinstance(error, ProviderUnauthorized)
                    if exchange.body is not None and not blameless:
                        self._circuit.record(error)
                    raise
                _wait(pause, cancelled)
            else:
                break
        yield Usage()

    def _await_loaded(self, seconds: float) -> None:
        """Loading is no time of the provider's; but who asks while a service starts does not wait for ever."""
        if self._loading is not None:
            self._loading.join(seconds)
            if self._loading.is_alive():
                raise ProviderUnready(f"{self.name} was not called: what calls it is still being loaded")
        _litellm()

    def _require_ready(self) -> None:
        if self.state == "no_secret":
            raise ProviderUnready(f"{self.name} was not called: it has no secret")
        if self.state == "open_circuit":
            raise ProviderUnready(f"{self.name} was not called: it failed too often lately")

    def _answer(self, exchange: Exchange, prompt: Prompt, max_tokens: int) -> Generator[str | Usage]:
        try:
            yield from _read(self._open(exchange, prompt, max_tokens), exchange, self.name, max_tokens)
            return
        except Exception as error:
            failure = exchange.failure or self._typed(error, exchange)
        finally:
            exchange.close()
        raise failure  # out here it has no context: what litellm raised holds the prompt

    def _open(self, exchange: Exchange, prompt: Prompt, max_tokens: int) -> Iterable[ChatCompletionChunk]:
        """What the provider says, as the client of openai reads it.

        litellm's own wrapper of the stream would take about as long again, log, and make up a usage that is missing.
        """
        litellm = _litellm()
        unwanted = [name for name in _UNWANTED if getattr(litellm, name, None)]
        if unwanted:
            raise ProviderUnready(f"{self.name} was not called: other code in this process set litellm.{unwanted[0]}")
        reply = litellm.completion(
            model=self._sink.model,
            messages=[{"role": message.role, "content": message.content} for message in prompt.messages],
            client=self._client(exchange),
            api_base=self._sink.api_base,
            api_key="-",
            stream=True,
            stream_options={"include_usage": True},
            temperature=0,
            max_tokens=max_tokens,
            max_retries=0,
            timeout=exchange.left(),
            caching=False,
            drop_params=True,  # such as the temperature, of a model that does not know it
            _skip_responses_api_bridge=True,  # a model that litellm knows from there would go past the client
        )
        if exchange.body is None:
            raise ProviderMalformed(f"{self.name} was not called: litellm answered in its place")
        chunks: Iterable[ChatCompletionChunk] = reply.completion_stream
        return chunks

    def _client(self, exchange: Exchange) -> openai.OpenAI:
        import openai

        return openai.OpenAI(api_key="-", base_url=self._sink.api_base, http_client=exchange.client(), max_retries=0)

    def _typed(self, error: Exception, exchange: Exchange) -> Exception:
        """Our name for what litellm or openai raised by themselves; its words may hold the prompt or the answer."""
        import openai

        if isinstance(error, DomicileError):
            return error
        what = type(error).__name__
        if exchange.body is None:
            return ProviderRejected(f"{self.name} was not called: litellm cannot make the request ({what})")
        if isinstance(error, openai.APIError):
            return ProviderDown(f"{self.name} reported an error in its answer")
        return ProviderMalformed(f"{self.name} sent something that is no answer ({what})")

    def _rehearse(self) -> None:
        """Make a request that is never authorized, so that everything is loaded that a call needs."""

        def refuse(body: bytes) -> None:
            raise Cancelled("a rehearsal")

        exchange = self._egress.exchange(refuse, 60.0)
        with suppress(Exception):
            self._open(exchange, Prompt("", (), (Message("user", "-"),)), 1)


class _Circuit:
    """Opens after failures in a row. ``pybreaker`` keeps the states; its ``call`` would let one answer run at a time."""

    def __init__(self, failures: int, rest_seconds: float) -> None:
        import pybreaker

        self._storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        self._breaker = pybreaker.CircuitBreaker(failures, rest_seconds, state_storage=self._storage)
        self._rest = timedelta(seconds=rest_seconds)

    def is_open(self) -> bool:
        opened = self._storage.opened_at
        return self._storage.state == "open" and opened is not None and datetime.now(UTC) < opened + self._rest

    def record(self, error: Exception | None) -> None:
        """Tell how a call ended; one that was still under way when the circuit opened changes nothing."""

        def outcome() -> None:
            if error is not None:
                raise error

        with suppress(Exception):
            self._breaker.call(outcome)


def _read(
    chunks: Iterable[ChatCompletionChunk], exchange: Exchange, sink: str, max_tokens: int
) -> Iterator[str | Usage]:
    said, finished = 0, False
    usage: object = None
    for chunk in chunks:
        usage = getattr(chunk, "usage", None) or usage
        for choice in chunk.choices[:1]:
            finished = finished or bool(choice.finish_reason)
            text = choice.delta.content if choice.delta else None
            if text:
                if not isinstance(text, str):
                    raise ProviderMalformed(f"{sink} sent something that is no text")
                said += len(text)
                if said > max_tokens * _MOST_CHARACTERS_A_TOKEN:
                    raise ProviderMalformed(f"{sink} wrote more than it was asked for")
                yield text
    if not finished:
        raise ProviderMalformed(f"{sink} ended before its answer did")
    if not said:
        raise ProviderMalformed(f"{sink} answered without a word")
    yield _plausible(usage, len(exchange.body or b""), max(max_tokens, exchange.received))


def _plausible(usage: object, most_prompt: int, most_completion: int) -> Usage:
    """The usage if it can be true: a token is at least a byte."""
    prompt = _count(getattr(usage, "prompt_tokens", None), most_prompt)
    completion = _count(getattr(usage, "completion_tokens", None), most_completion)
    return Usage() if prompt is None or completion is None else Usage(prompt, completion)


def _count(value: object, most: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _pause(error: ProviderError, exchange: Exchange, deadline: float) -> float | None:
    """Seconds after which a second attempt makes sense; ``None`` where it does not."""
    if isinstance(error, ProviderBusy):
        pause = exchange.retry_after
    else:
        pause = _PAUSE_SECONDS if isinstance(error, ProviderDown) else None
    if pause is None or pause > _MAX_PAUSE_SECONDS or time.monotonic() + pause >= deadline:
        return None
    return pause


def _wait(seconds: float, cancelled: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not cancelled():
        time.sleep(min(left, 0.05))


def _litellm() -> Any:
    """The library, deaf to its environment."""
    with _loading:
        for name in list(os.environ):
            if name in _MISLEADING or (name.startswith("LITELLM_") and name not in _ENVIRONMENT):
                os.environ.pop(name, None)
        for name, value in _ENVIRONMENT.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        import litellm

        for setting, wanted in _SETTINGS.items():
            setattr(litellm, setting, wanted)
        for name in _LOGGERS:
            if logging.getLogger(name).level <= logging.CRITICAL:
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        return litellm
