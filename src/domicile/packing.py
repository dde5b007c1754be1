"""From a question to what a prompt may hold: retrieve, choose the sentences, and check each against the stored text."""

from __future__ import annotations

from dataclasses import dataclass

from domicile import conversation, grounding, prompts
from domicile.domain import Citation, Evidence, Note, Scope
from domicile.errors import InvalidRequest
from domicile.evidence import EvidenceSelector
from domicile.ports import Index
from domicile.retrieval import Question, Retriever, Stopwatch

TOP_K = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was understood.

    Attributes:
        question: what is asked of the index.
        wanted: what a sentence must speak of to answer it.
        rewritten: the text of ``question`` where it is not what the user wrote.
    """

    question: Question
    wanted: Question
    rewritten: str | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """What was found in one scope.

    Attributes:
        evidence: that a prompt is made of, best first; empty where nothing answers the question.
        around: further sentences of the same passages, which an answer may rest on as well.
        confidence: 0 to 1, that what was found answers the question; see ``domicile.confidence``.
    """

    evidence: tuple[Evidence, ...]
    around: tuple[Evidence, ...]
    confidence: float
    notes: tuple[Note, ...] = ()


class Packer:
    """Safe to call from several threads."""

    def __init__(self, retriever: Retriever, selector: EvidenceSelector) -> None:
        self._retriever = retriever
        self._selector = selector

    def ask(self, question: str, history: tuple[str, ...], index: Index) -> Asked:
        """Make a question self-contained, and embed it.

        Args:
            history: what the user said before, oldest first.

        Raises:
            InvalidRequest: empty or too long.
        """
        made = conversation.standalone(question, history, index.collection.language)
        if made.turns:
            try:
                asked = self._retriever.ask(made.text)
                return Asked(asked, self._retriever.ask(made.wanted), asked.text)
            except InvalidRequest:
                pass  # with words of an earlier turn it is too long, and alone it may not be
        alone = self._retriever.ask(question, "messages")
        return Asked(alone, alone)

    def pack(
        self, asked: Asked, said: str, index: Index, scope: Scope, watch: Stopwatch, deadline: float, threshold: float
    ) -> Packed:
        """The evidence of one scope, verified against the documents as they are stored.

        Args:
            said: the question as the user wrote it.
            threshold: the confidence below which nothing is packed.
        """
        ranking = self._retriever.rank(asked.question, index, scope, "hybrid", TOP_K, watch, deadline)
        selection = self._selector.select(asked.wanted, ranking, index, (said, asked.question.text))
        watch.lap("evidence")
        if not selection.confidence >= threshold:
            return Packed((), (), selection.confidence, ranking.notes)
        verified = _verified(index, scope, selection.evidence)
        evidence = prompts.best_quotes(verified) if verified else ()
        chunks = {item.chunk.id for item in evidence}
        around = tuple(item for item in selection.evidence if item.chunk.id in chunks and item not in evidence)
        return Packed(evidence, around, selection.confidence, ranking.notes)


def _verified(index: Index, scope: Scope, evidence: tuple[Evidence, ...]) -> tuple[Evidence, ...]:
    """The first pieces of evidence that stand verbatim in their document."""
    found: list[Evidence] = []
    for item in evidence:
        if len(found) == prompts.MAX_QUOTES:
            break
        if citation_of(item, index, scope) is not None:
            found.append(item)
    return tuple(found)


def citation_of(item: Evidence, index: Index, scope: Scope) -> Citation | None:
    """The citation of a piece of evidence; ``None`` where it does not stand in the document as it is stored."""
    citation = grounding.cite(item, index.document(item.chunk.document, scope.readers))
    return citation if citation.verified else None
