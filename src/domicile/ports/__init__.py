"""The seams: what the use cases need from the world. Fakes of each are in ``domicile.testing``.

Every implementation, real or fake, passes the contract suite of its port in ``tests/contract``.
"""

from domicile.ports.index import (
    Commit,
    DocumentState,
    Gate,
    GateReport,
    Index,
    IndexChange,
    Indexes,
    IndexWriter,
    NewChunk,
)
from domicile.ports.models import (
    Embedder,
    Generator,
    Offsets,
    Reranker,
    SentenceSplitter,
    Vectors,
)
from domicile.ports.residency import (
    Account,
    AnswerCache,
    AnswerLabels,
    AuditLog,
    Booking,
    Keys,
    Ledger,
    Provider,
    ProviderState,
    Record,
    RecordKind,
    Total,
)

__all__ = [
    "Account",
    "AnswerCache",
    "AnswerLabels",
    "AuditLog",
    "Booking",
    "Commit",
    "DocumentState",
    "Embedder",
    "Gate",
    "GateReport",
    "Generator",
    "Index",
    "IndexChange",
    "IndexWriter",
    "Indexes",
    "Keys",
    "Ledger",
    "NewChunk",
    "Offsets",
    "Provider",
    "ProviderState",
    "Record",
    "RecordKind",
    "Reranker",
    "SentenceSplitter",
    "Total",
    "Vectors",
]
