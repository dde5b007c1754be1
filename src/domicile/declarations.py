"""The sections of ``domicile.toml`` that say what may leave: sinks, routes, tenants, detectors, costs.

A declaration that is half, out of date or not understood is refused here, with the key that is wrong: nothing is guessed
about where bytes may go. Secrets are named, never written.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from domicile import labels, policy
from domicile.detectors import custom
from domicile.domain import Sensitivity
from domicile.errors import ConfigError, LabelError
from domicile.labels import LOCAL

WORD = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Word = Annotated[str, Field(pattern=WORD)]
RESERVED = frozenset({LOCAL, "extractive", "cache", "hosted"})
_VISIBLE = re.compile(r"[!-~]+")
_MODEL = re.compile(r"openai/[!-~]+")
FAMILY = "openai/"
"""Of litellm's providers the one whose requests are proved to pass the egress broker."""


class Section(BaseModel):
    """A table of ``domicile.toml``: nothing unknown in it, nothing converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Secret(Section):
    """Where a secret is: the name of an environment variable, or a file. Never the secret itself."""

    env: str | None = Field(default=None, min_length=1, description="name of an environment variable")
    file: str | None = Field(default=None, min_length=1, description="path of a file that holds it")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise PydanticCustomError("secret", 'write { env = "NAME" } or { file = "PATH" }')
        return self

    def read(self, environment: Mapping[str, str]) -> str | None:
        """The secret, read anew each time, so that a rotated one is taken; ``None`` where it cannot be had."""
        try:
            given = environment.get(self.env, "") if self.env else Path(str(self.file)).expanduser().read_text("utf-8")
        except (OSError, ValueError, RuntimeError):  # not there, not text, no such user
            return None
        secret = given.strip()
        return secret if secret and _VISIBLE.fullmatch(secret) else None  # a header holds nothing else


class Price(Section):
    """Money for a million tokens, in ``costs.currency``."""

    input_per_million: float = Field(ge=0, le=1e6, description="for a million tokens of prompts")
    output_per_million: float = Field(ge=0, le=1e6, description="for a million tokens of answers")


class Sink(Section):
    """A receiver outside this process, as the contract with it says."""

    name: Word = Field(description="how it is called here")
    kind: Literal["llm", "judge", "traces", "metrics", "vectors"] = Field(
        default="llm", description="what it is sent; nothing is sent yet to the last three"
    )
    model: str = Field(
        default="", max_length=200, description="as litellm names it, `openai/…` (llm and judge: required)"
    )
    api_base: str = Field(description="the one address that is called; plain http only on loopback")
    api_key: Secret = Field(description='`{ env = "NAME" }` or `{ file = "PATH" }`')
    processing_regions: list[str] = Field(min_length=1, description="where it processes, see labels.md")
    storage_regions: list[str] = Field(min_length=1, description="where it stores what it keeps")
    retention_days: int = Field(ge=0, description="how long it keeps what it gets")
    training: bool = Field(description="whether it may train on it; nothing is sent to such a sink")
    human_review: bool = Field(description="whether people there may read it; then nothing above `internal` is sent")
    max_sensitivity: str = Field(description="the highest that the contract covers")
    categories: list[Word] = Field(description="that the contract covers, such as `pii`")
    purposes: list[Word] = Field(description="that it may be used for, such as `answer`, `eval`")
    valid_from: date | None = Field(default=None, description="first day (UTC) of the declaration")
    valid_until: date | None = Field(default=None, description="last day (UTC); once it has passed, nothing starts")
    self_hosted: bool = Field(default=False, description="run by the organisation itself, and so no hosted provider")
    redact: bool = Field(
        default=False, description="replace what the detectors find in the question before it goes there"
    )
    ca_file: str | None = Field(default=None, min_length=1, description="certificates that its address is checked with")
    price: Price | None = Field(default=None, description="for a million tokens (llm and judge: required)")

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name in RESERVED:
            raise PydanticCustomError("name", "is the name of a route: choose another")
        return name

    @field_validator("api_key", mode="before")
    @classmethod
    def _named(cls, given: object) -> object:
        if isinstance(given, str):  # what was given is not repeated: it may be the secret itself
            raise PydanticCustomError("secret", 'names a secret, never holds it: { env = "NAME" } or { file = "PATH" }')
        return given

    @field_validator("max_sensitivity")
    @classmethod
    def _known(cls, word: str) -> str:
        if word not in list(Sensitivity):
            raise PydanticCustomError("sensitivity", f"must be one of {', '.join(Sensitivity)}")
        return word

    @field_validator("api_base")
    @classmethod
    def _pinned(cls, address: str) -> str:
        try:
            parts = urlsplit(address)
            possible = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            possible = False
        if not possible or not _VISIBLE.fullmatch(address) or "/.." in address or "%" in parts.netloc:
            raise PydanticCustomError("address", "must be an address such as https://api.example.com/v1")
        if parts.username is not None or parts.query or parts.fragment:
            raise PydanticCustomError("address", "must have no user, query or fragment")
        if parts.path.rstrip("/").endswith("/chat/completions"):
            raise PydanticCustomError("address", "leave out /chat/completions: it is put behind the address")
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise PydanticCustomError("address", "must be https: plain http is for loopback only")
        return address.rstrip("/")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.valid_from and self.valid_until and self.valid_from > self.valid_until:
            raise PydanticCustomError("validity", "valid_from is after valid_until")
        if self.kind in ("llm", "judge"):
            if not _MODEL.fullmatch(self.model):
                raise PydanticCustomError("model", f"model must be `{FAMILY}…`: other providers are not supported")
            if self.price is None:
                raise PydanticCustomError(
                    "price", "price is missing: { input_per_million = …, output_per_million = … }"
                )
        return self

    def declared(self, regions: labels.Regions) -> policy.Sink:
        """What policy decides by.

        Raises:
            LabelError: an unknown region.
        """
        price = None
        if self.price is not None:
            price = policy.Price(self.price.input_per_million, self.price.output_per_million)
        return policy.Sink(
            name=self.name,
            kind=self.kind,
            model=self.model,
            api_base=self.api_base,
            processing_regions=_expanded(regions, "processing_regions", self.processing_regions),
            storage_regions=_expanded(regions, "storage_regions", self.storage_regions),
            retention_days=self.retention_days,
            training=self.training,
            human_review=self.human_review,
            max_sensitivity=Sensitivity(self.max_sensitivity),
            categories=frozenset(self.categories),
            purposes=frozenset(self.purposes),
            valid_from=self.valid_from,
            valid_until=self.valid_until,
            self_hosted=self.self_hosted,
            price=price,
        )


class Routing(Section):
    order: list[str] = Field(
        default=[LOCAL], description="which sinks are tried, in which order; `local` is the model that runs here"
    )
    provider_seconds: float = Field(default=15.0, gt=0, le=600, description="that a hosted provider has for an answer")
    max_tokens: int = Field(default=400, ge=1, le=4_096, description="tokens that a hosted provider may write")
    concurrency: int = Field(default=16, ge=1, le=512, description="hosted answers at once, where there are sinks")


class Tenant(Section):
    """What holds for one tenant."""

    label: dict[str, Any] = Field(default={}, description="the ceiling of every question, see residency.md")
    order: list[str] | None = Field(default=None, description="instead of `routing.order`")
    budget_day: float | None = Field(default=None, ge=0, le=1e9, description="for hosted answers in a day (UTC)")
    budget_month: float | None = Field(
        default=None, ge=0, le=1e9, description="for hosted answers in a calendar month (UTC)"
    )


class Detector(Section):
    """A pattern of your own that raises the label of a question."""

    name: Word = Field(description="what it finds, such as `case-number`")
    pattern: str = Field(min_length=1, max_length=1_000, description="a regular expression")
    categories: list[Word] = Field(min_length=1, description="that the question then has")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            custom("pattern", pattern, ["pattern"])
        except LabelError as error:
            raise PydanticCustomError("pattern", "{reason}", {"reason": str(error)}) from None
        return pattern


class Costs(Section):
    currency: str = Field(default="USD", pattern="^[A-Z]{3}$", description="of every price and budget (ISO 4217)")
    cpu_hour: float = Field(default=0.05, ge=0, le=1_000, description="of one core, for what runs here")


class Cache(Section):
    entries: int = Field(default=10_000, ge=0, le=10_000_000, description="answers that are kept; 0 keeps none")
    memory_entries: int = Field(default=1_000, ge=0, le=1_000_000, description="of them in memory")
    max_bytes: int = Field(default=100_000_000, ge=0, le=100_000_000_000, description="of them on disk")
    max_age_hours: float = Field(default=168, gt=0, le=87_600, description="an older one is made again")


class Audit(Section):
    store_prompts: bool = Field(
        default=False, description="write what is sent to a provider into the audit log, and not its hash alone"
    )


def check_order(where: str, order: list[str], sinks: list[Sink]) -> None:
    """An order names sinks that generate, and ``local``, each once.

    Raises:
        ConfigError: it does not.
    """
    generators = [sink.name for sink in sinks if sink.kind == "llm"]
    for name in order:
        if name != LOCAL and name not in generators:
            raise ConfigError(f"{where}: no sink {name!r} of kind llm: there are {', '.join([*generators, LOCAL])}")
    if len(set(order)) != len(order):
        raise ConfigError(f"{where}: names a sink twice")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _expanded(regions: labels.Regions, field: str, names: list[str]) -> frozenset[str]:
    try:
        if any(name != "global" and LOCAL in regions.expand([name]) for name in names):
            raise LabelError(field, "`local` is this process, which is no sink: name where the sink is")
        return regions.expand(names)
    except LabelError as error:
        raise LabelError(field, str(error).partition(": ")[2]) from None
