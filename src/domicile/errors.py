"""Every error that domicile raises on purpose.

    DomicileError                     exit  meaning
    ├── UsageError                       2  the caller asked for something that cannot be
    │   ├── ConfigError                  2  domicile.toml or the environment is wrong; names the key
    │   ├── InvalidRequest               2  a question or parameter out of bounds; names the field
    │   ├── UnknownCollection            2
    │   ├── UnknownDocument              2
    │   ├── UnknownGeneration            2
    │   ├── UnknownJob                   2
    │   ├── UnknownReceipt               2
    │   └── FlagWidens                   2  a residency flag of a request allows more than its tenant's ceiling
    ├── Unauthenticated                  4  no key, or not a valid one
    ├── Forbidden                        4  a valid key that may not do this
    ├── TenantsMixed                     4  a payload would hold the text of two tenants
    ├── EgressDenied                     4  policy lets these bytes not go to this sink; carries the reasons
    ├── GateFailed                       5  an evaluation found a candidate worse than what serves
    ├── Damaged                          6  bytes on disk are not the bytes that were written
    │   ├── AuditDamaged                 6
    │   ├── ModelDamaged                 6
    │   └── IndexDamaged                 6
    │       └── NoIntactGeneration       6
    ├── ModelMissing                     2  a model that was never built
    ├── ModelSlow                        1  a model that missed the deadline of its request
    ├── ProviderError                    1  a hosted provider did not answer; carries ``reason``, a word for records
    │   ├── ProviderTimeout              1
    │   ├── ProviderBusy                 1  429: too many requests, or the quota is spent
    │   ├── ProviderRejected             1  any other refusal (4xx), or a redirect, which is never followed
    │   │   └── ProviderUnauthorized     1  401 or 403: the secret is not accepted
    │   ├── ProviderDown                 1  5xx, or no connection
    │   ├── ProviderMalformed            1  an answer that is none: HTML, no choice, too large
    │   └── ProviderUnready              1  no secret, or its circuit is open
    ├── AuditUnavailable                 1  the audit log cannot be written
    ├── EmbedderMismatch                 2  an index made by another embedder or another chunking
    ├── WriterBusy                      75  another process writes this collection
    ├── Overloaded                       1  a bounded queue is full; carries ``retry_after`` in seconds
    ├── Cancelled                        1  the caller went away
    ├── MissingExtra                     2  an optional dependency is not installed; names the extra
    ├── LabelError                       2  a malformed residency label; names the field
    ├── StorageError                     1  the disk refused (full, read-only, permission)
    ├── SandboxUnavailable               1  no process can be started to parse documents in
    └── DocumentError                    3  one document cannot be ingested; carries ``kind``

The exit codes are part of the command line's contract. The mapping to HTTP is in ``domicile.api.problems``.
"""

from __future__ import annotations

from typing import ClassVar


class DomicileError(Exception):
    """The root. ``str(error)`` is one line that says what is wrong and what to do."""

    exit_code: ClassVar[int] = 1


class UsageError(DomicileError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting or a flag is wrong; names it and what is allowed."""


class InvalidRequest(UsageError):
    """A parameter out of bounds.

    Args:
        field: the parameter as the caller wrote it.
        message: what is allowed.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class UnknownCollection(UsageError):
    """Absent, or not open to the caller."""

    def __init__(self, collection: str) -> None:
        super().__init__(
            f"there is no collection {collection!r}: ingest one with `domicile ingest run SOURCE --collection NAME`"
        )
        self.collection = collection


class UnknownDocument(UsageError):
    """Raised alike for an absent document and for one that the caller may not see."""

    def __init__(self, collection: str, uri: str) -> None:
        super().__init__(f"collection {collection!r} has no document {uri!r}")


class UnknownGeneration(UsageError):
    """No such generation is retained."""


class UnknownJob(UsageError):
    """Raised alike for an absent job and for one of a collection that is not open to the caller."""

    def __init__(self, job: str) -> None:
        super().__init__(f"there is no job {job!r}: `domicile ingest status` lists them")


class UnknownReceipt(UsageError):
    """Raised alike for an absent receipt and for one of an answer to somebody else."""

    def __init__(self, receipt: str) -> None:
        super().__init__(f"there is no receipt {receipt!r}")


class FlagWidens(UsageError):
    """A residency flag of a request allows more than the ceiling of its tenant; flags only narrow.

    Args:
        field: of the label.
        message: what the ceiling is.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class Unauthenticated(DomicileError):
    """No key, or not a valid one."""

    exit_code = 4


class Forbidden(DomicileError):
    """The caller is known and may not do this."""

    exit_code = 4


class TenantsMixed(DomicileError):
    """A payload would hold the text of two tenants."""

    exit_code = 4


class EgressDenied(DomicileError):
    """Bytes may not go to a sink.

    Args:
        sink: its name.
        reasons: all of them, as ``policy.decide`` gives them.
    """

    exit_code = 4

    def __init__(self, sink: str, reasons: tuple[str, ...]) -> None:
        super().__init__(f"nothing was sent to {sink}: {', '.join(reasons)}")
        self.sink = sink
        self.reasons = reasons


class GateFailed(DomicileError):
    """An evaluation found a candidate worse than what serves; nothing was published.

    Attributes:
        findings: what fell and by how much, a line each.
    """

    exit_code = 5

    def __init__(self, what: str, findings: tuple[str, ...]) -> None:
        self.findings = findings
        super().__init__(f"{what} did not pass: {'; '.join(findings)}")


class Damaged(DomicileError):
    """Bytes on disk are not the bytes that were written."""

    exit_code = 6


class ModelDamaged(Damaged):
    """A file of a model was changed, or the model fails to run; names the file."""


class AuditDamaged(Damaged):
    """A byte of the audit log was changed; names the first bad entry."""


class IndexDamaged(Damaged):
    """A file of a generation was changed; names the file."""


class NoIntactGeneration(IndexDamaged):
    """Every retained generation is damaged."""


class ModelMissing(DomicileError):
    """A model was never built, or is still loading."""

    exit_code = 2


class ModelSlow(DomicileError):
    """The language model missed the deadline of a request."""


class ProviderError(DomicileError):
    """A hosted provider did not answer. The message never holds a secret, nor what the provider wrote."""

    reason: ClassVar[str] = "failed"


class ProviderTimeout(ProviderError):
    """It did not answer in time, or the answer came in drops."""

    reason = "timeout"


class ProviderBusy(ProviderError):
    """429: too many requests, or the quota is spent."""

    reason = "busy"


class ProviderRejected(ProviderError):
    """Any other refusal (4xx), or a redirect."""

    reason = "rejected"


class ProviderUnauthorized(ProviderRejected):
    """401 or 403: the secret is not accepted."""


class ProviderDown(ProviderError):
    """5xx, or the connection failed or broke."""

    reason = "down"


class ProviderMalformed(ProviderError):
    """What came is no answer: HTML, no choice, more bytes than an answer can have."""

    reason = "malformed"


class ProviderUnready(ProviderError):
    """Nothing was sent: there is no secret, or the circuit is open after failures."""

    reason = "unready"


class AuditUnavailable(DomicileError):
    """The audit log cannot be written: nothing may leave."""


class EmbedderMismatch(DomicileError):
    """The index was made by another embedder."""

    exit_code = 2


class WriterBusy(DomicileError):
    """Another process is writing the collection."""

    exit_code = 75


class Overloaded(DomicileError):
    """A bounded queue is full.

    Args:
        what: the queue.
        retry_after: seconds after which a retry is likely to be accepted.
    """

    def __init__(self, what: str, retry_after: int) -> None:
        super().__init__(f"{what} is busy: try again in {retry_after} s")
        self.retry_after = retry_after


class Cancelled(DomicileError):
    """The caller went away."""


class MissingExtra(DomicileError):
    """An optional dependency is not installed; names the extra."""

    exit_code = 2

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(f"{module} is not installed: pip install 'domicile[{extra}]'")
        self.extra = extra


class LabelError(DomicileError):
    """A malformed label.

    Args:
        field: the field of the label, such as ``regions``.
        message: what is allowed.
    """

    exit_code = 2

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class StorageError(DomicileError):
    """The disk refused: full, read-only or not permitted."""


class SandboxUnavailable(DomicileError):
    """No process can be started to parse documents in: trouble of this machine, and not of a document."""


class DocumentError(DomicileError):
    """One document cannot be ingested; the others can.

    Args:
        kind: a stable word for scripts: ``empty``, ``encrypted``, ``broken``, ``binary``, ``too_large``, ...
        reason: one sentence for people.
    """

    exit_code = 3

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
