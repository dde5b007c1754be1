"""Typed fakes of the ports, for tests here and in projects that build on this one. Each passes its port's contract suite."""

from domicile.testing.answers import MemoryAnswerCache, MemoryAnswerLabels, MemoryLedger
from domicile.testing.jobs import MemoryJobs, MemoryUpload
from domicile.testing.models import HashEmbedder, ScriptedGenerator, WordReranker
from domicile.testing.residency import MemoryAuditLog, ScriptedProvider

__all__ = [
    "HashEmbedder",
    "MemoryAnswerCache",
    "MemoryAnswerLabels",
    "MemoryAuditLog",
    "MemoryJobs",
    "MemoryLedger",
    "MemoryUpload",
    "ScriptedGenerator",
    "ScriptedProvider",
    "WordReranker",
]
