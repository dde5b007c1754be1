"""Settings: ``domicile.toml`` in the home, then ``DOMICILE_SECTION__KEY`` from the environment. No global instance.

Unknown keys are refused, numbers are bounded, and there is no place to write a secret.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from domicile import labels, policy
from domicile.declarations import Audit, Cache, Costs, Detector, Routing, Section, Sink, Tenant, Word, check_order
from domicile.detectors import DETECTORS, custom
from domicile.domain import Collection
from domicile.errors import ConfigError, InvalidRequest, LabelError
from domicile.routing import Declared, TenantPolicy


class Models(Section):
    """Each a folder below ``models/`` of the home, or the path of your own folder."""

    embedder: str = Field(default="all-minilm-l6-v2", description="a folder below `models/`, or the path of your own")
    llm: str = Field(default="smollm2-135m", description="a folder below `models/`, or the path of your own")
    reranker: str = Field(
        default="", description="a folder below `models/`, or the path of your own; empty is none, see models.md"
    )
    rerank_depth: int = Field(
        default=20, ge=1, le=200, description="of the best passages of a hybrid search, how many the reranker reads"
    )
    rerank_budget_ms: int = Field(
        default=1_000, ge=1, le=60_000, description="that a search gives the reranker; what does not fit is not read"
    )
    engine: Literal["onnxruntime", "openvino"] = Field(
        default="onnxruntime", description="runs the embedder; another one needs `ingest reindex`"
    )
    precision: Literal["f32", "bf16"] = Field(
        default="f32", description="of the embedder's computation; bf16 needs openvino and a CPU that has it"
    )
    threads: int = Field(default=0, ge=0, le=256, description="CPU threads for each model; 0 is every core")

    @field_validator("precision")
    @classmethod
    def _possible(cls, precision: str, given: ValidationInfo) -> str:
        if precision == "bf16" and given.data.get("engine") == "onnxruntime":
            raise PydanticCustomError("precision", 'onnxruntime computes in f32: bf16 needs models.engine = "openvino"')
        return precision


class Rule(Section):
    """A label for the documents whose URI matches a glob such as ``hr/**``."""

    path: str = Field(min_length=1, description="a glob such as `hr/**` over the path below the source")
    label: dict[str, Any] = Field(description="the fields of a label, see labels.md")


class CollectionSettings(Section):
    tenant: Word = Field(default="default", description="whose keys may reach it")
    groups: list[Word] = Field(
        default=[], description="which of them: empty is all, else those that share one of these"
    )
    mode: Literal["escalate", "cleared"] = Field(
        default="escalate",
        description="escalate: an uncleared passage sends the question to the local model; cleared: see residency.md",
    )
    language: str = Field(default="en", pattern="^[a-z]{2}$", description="of its words, for stemming and stop words")
    recall: float = Field(
        default=0.98,
        ge=0.5,
        le=1,
        description="of the ten nearest passages, the share that vector search must find in a large collection; 1 is exact",
    )
    gate: str = Field(
        default="",
        description="a suite, by its name or absolute path, that every new generation must pass before it serves; "
        "empty is none, see ingestion.md",
    )
    roots: list[str] = Field(default=[], description="instead of `ingestion.roots`, for this collection")
    label: dict[str, Any] = Field(default={}, description="a label for every document of it, see labels.md")
    rules: list[Rule] = Field(default=[], description="labels for the documents whose path matches")

    @field_validator("gate")
    @classmethod
    def _found_from_anywhere(cls, gate: str) -> str:
        if "/" in gate and not gate.startswith("/"):
            raise PydanticCustomError("gate", "a suite's name or an absolute path: a worker may run in another folder")
        return gate


class Answering(Section):
    deadline_seconds: float = Field(default=30.0, gt=0, le=600, description="after it, the extractive answer is given")
    max_tokens: int = Field(default=48, ge=1, le=1024, description="tokens that the language model may write")
    evidence_threshold: float = Field(default=0.4, ge=0, le=1, description="below it, the answer abstains")
    queue: int = Field(default=8, ge=1, le=1024, description="generations that may wait for the language model")


class Server(Section):
    max_body_bytes: int = Field(
        default=1_000_000, ge=1_000, le=100_000_000, description="of a request; a larger one gets 413"
    )
    concurrency: int = Field(default=4, ge=1, le=64, description="threads that search and answer")
    queue: int = Field(default=64, ge=1, le=10_000, description="requests that may wait for a thread; more get 503")


class Ingestion(Section):
    roots: list[str] = Field(
        default=[], description="folders that a key may name as a source of an ingestion, or folders below these"
    )
    queue: int = Field(default=1_000, ge=1, le=100_000, description="jobs that may wait for a worker; more get 503")
    keep_jobs: int = Field(default=1_000, ge=1, le=100_000, description="ended jobs that are remembered")
    attempts: int = Field(default=5, ge=1, le=100, description="of a job, before it is a dead letter")
    lease_seconds: float = Field(
        default=15, ge=3, le=600, description="until a silent worker's job is given to another"
    )
    max_upload_bytes: int = Field(default=50_000_000, ge=1, le=2_000_000_000, description="of a document put by HTTP")
    max_spool_bytes: int = Field(default=5_000_000_000, ge=1, description="of all such documents that wait or failed")
    keep_generations: int = Field(
        default=10, ge=2, le=1_000, description="that are retained for `generations rollback`"
    )
    max_file_bytes: int = Field(default=200_000_000, ge=1, le=10_000_000_000, description="a larger file fails unread")


class Settings(Section):
    models: Models = Models()
    answering: Answering = Answering()
    server: Server = Server()
    ingestion: Ingestion = Ingestion()
    collections: dict[str, CollectionSettings] = Field(default={})
    regions: dict[str, list[str]] = Field(default={})
    sinks: list[Sink] = Field(default=[])
    routing: Routing = Routing()
    tenants: dict[Word, Tenant] = Field(default={})
    detectors: list[Detector] = Field(default=[])
    costs: Costs = Costs()
    cache: Cache = Cache()
    audit: Audit = Audit()

    def region_table(self) -> labels.Regions:
        """The known regions.

        Raises:
            ConfigError: a ``[regions]`` entry is wrong.
        """
        from iso3166 import countries_by_alpha2

        try:
            return labels.Regions.known((code.lower() for code in countries_by_alpha2), self.regions)
        except LabelError as error:
            raise ConfigError(f"domicile.toml: {error}") from None

    def collection(self, name: str) -> Collection:
        """The settings of one collection, or the defaults where it has none."""
        found = self.collections.get(name, CollectionSettings())
        return Collection(name, found.tenant, frozenset(found.groups) or None, found.mode, found.language, found.recall)

    def gate(self, name: str) -> str | None:
        """The suite that every new generation of a collection must pass, if there is one."""
        return self.collections.get(name, CollectionSettings()).gate or None

    def label_sources(
        self, name: str, regions: labels.Regions
    ) -> tuple[labels.PartialLabel, tuple[tuple[str, labels.PartialLabel], ...]]:
        """The collection's own label and its rules as (glob, label).

        Raises:
            ConfigError: a label is malformed; in the configuration that is refused, in a document it is not.
        """
        found = self.collections.get(name, CollectionSettings())
        where = f"collections.{name}"
        own = _config_label(f"{where}.label", found.label, regions)
        rules = [
            (rule.path, _config_label(f"{where}.rules[{i}].label", rule.label, regions))
            for i, rule in enumerate(found.rules)
        ]
        return own, tuple(rules)

    def declared_sinks(self, regions: labels.Regions) -> tuple[policy.Sink, ...]:
        """The sinks as policy decides by them.

        Raises:
            ConfigError: a name stands twice, or a region is unknown.
        """
        found: dict[str, policy.Sink] = {}
        for i, sink in enumerate(self.sinks):
            if sink.name in found:
                raise ConfigError(f"domicile.toml: sinks.{i}.name: there is a sink {sink.name!r} already")
            try:
                found[sink.name] = sink.declared(regions)
            except LabelError as error:
                raise ConfigError(f"domicile.toml: sinks.{i}.{error}") from None
        return tuple(found.values())

    def ceiling(self, tenant: str, regions: labels.Regions) -> labels.PartialLabel:
        """The label that every question of a tenant starts from; it says nothing where none is declared.

        Raises:
            ConfigError: it is malformed.
        """
        found = self.tenants.get(tenant, Tenant())
        return _config_label(f"tenants.{tenant}.label", found.label, regions)

    def declared(self, regions: labels.Regions, kind: policy.Kind = "llm") -> Declared:
        """All that decides where bytes may go.

        Args:
            kind: of the sinks that they may go to.

        Raises:
            ConfigError: a name stands twice, or a word is unknown.
        """
        order = tuple(self.routing.order)
        tenants = {
            name: TenantPolicy(
                order if tenant.order is None else tuple(tenant.order),
                self.ceiling(name, regions),
                tenant.budget_day,
                tenant.budget_month,
            )
            for name, tenant in self.tenants.items()
        }
        return Declared(
            regions=regions,
            sinks={sink.name: sink for sink in self.declared_sinks(regions) if sink.kind == kind},
            tenants=tenants,
            others=TenantPolicy(order),
            detectors=(*DETECTORS, *(custom(own.name, own.pattern, own.categories) for own in self.detectors)),
            redacting=frozenset(sink.name for sink in self.sinks if sink.redact),
            store_prompts=self.audit.store_prompts,
            version=self.policy_version(),
        )

    def refuse_expired(self, today: date) -> None:
        """
        Raises:
            ConfigError: the declaration of a sink has run out; names it.
        """
        for i, sink in enumerate(self.sinks):
            if sink.valid_until is not None and sink.valid_until < today:
                raise ConfigError(
                    f"domicile.toml: sinks.{i}.valid_until: {sink.valid_until} has passed: "
                    f"renew the declaration of {sink.name}, or remove it"
                )

    def policy_version(self) -> str:
        """Hash of everything that a decision depends on: two settings that decide alike in all cases may still differ."""
        decisive = {"sinks", "routing", "tenants", "detectors", "regions", "collections"}
        written = json.dumps(self.model_dump(mode="json", include=decisive), sort_keys=True)
        return hashlib.sha256(f"{policy.VERSION} {written}".encode()).hexdigest()[:16]

    @classmethod
    def load(cls, home: Path, environment: Mapping[str, str]) -> Self:
        """Read the home's settings; a missing file is the defaults.

        Raises:
            ConfigError: one line that names the key and what is allowed.
        """
        path = home / "domicile.toml"
        try:
            data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            data = {}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from None
        for key, value in _overrides(environment):
            _put(data, key, value)
        return cls.checked(data, path)

    def staged(self, data: Mapping[str, Any], path: Path) -> Self:
        """These settings with the sections of ``data`` instead of their own.

        Raises:
            ConfigError: as ``load``; ``path`` is where they stand.
        """
        return self.checked(self.model_dump(mode="json", exclude_unset=True) | dict(data), path)

    @classmethod
    def checked(cls, data: Mapping[str, Any], path: Path) -> Self:
        """Settings that agree with themselves.

        Raises:
            ConfigError: one line that names the key and what is allowed.
        """
        try:
            settings = cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(f"{path}: {_first(error)}") from None
        regions = settings.region_table()
        for name in settings.collections:
            try:
                settings.collection(name)
            except InvalidRequest as error:
                raise ConfigError(f"{path}: collections.{name}: {error}") from None
            settings.label_sources(name, regions)
        settings.declared_sinks(regions)
        check_order("domicile.toml: routing.order", settings.routing.order, settings.sinks)
        for name, tenant in settings.tenants.items():
            settings.ceiling(name, regions)
            check_order(f"domicile.toml: tenants.{name}.order", tenant.order or [], settings.sinks)
        return settings


def _config_label(where: str, raw: dict[str, Any], regions: labels.Regions) -> labels.PartialLabel:
    try:
        return labels.parse(raw, regions)
    except LabelError as error:
        raise ConfigError(f"domicile.toml: {where}.{error}") from None


def _overrides(environment: Mapping[str, str]) -> list[tuple[list[str], str]]:
    prefix = "DOMICILE_"
    return [
        (key.removeprefix(prefix).lower().split("__"), value)
        for key, value in sorted(environment.items())
        if key.startswith(prefix) and "__" in key
    ]


def _put(data: dict[str, Any], key: list[str], value: str) -> None:
    """Set a nested value from the environment: read as JSON where it is JSON, else as text."""
    try:
        parsed: Any = json.loads(value)
    except ValueError:
        parsed = value
    table = data
    for part in key[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"DOMICILE_{'__'.join(key).upper()}: {part} is not a section")
    table[key[-1]] = parsed


def _first(error: ValidationError) -> str:
    """One line: the key, what is wrong, and what is allowed. A misspelt key comes first: it explains a missing one."""
    problems = error.errors(include_url=False, include_input=False)
    problem = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        if "api_key" in problem["loc"]:  # it may be the secret itself, in the wrong place
            key = f"{key.partition('.api_key')[0]}.api_key.…"
        return f"unknown key {key!r}: allowed here are {', '.join(_allowed(problem['loc'][:-1]))}"
    return f"{key}: {problem['msg']}"


def _allowed(location: tuple[int | str, ...]) -> list[str]:
    """The keys of the section at this place of the settings."""
    section: type[BaseModel] = Settings
    parts = iter(location)
    for part in parts:
        annotation = section.model_fields[str(part)].annotation
        arguments = getattr(annotation, "__args__", ())
        section = next(a for a in (annotation, *arguments) if isinstance(a, type) and issubclass(a, BaseModel))
        if arguments:
            next(parts)  # the name or the position in a table or list of sections
    return sorted(section.model_fields)
