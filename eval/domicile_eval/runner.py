"""Runs a suite through the production use cases, and judges what they did."""

from __future__ import annotations

import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import NamedTuple

from domicile import labels
from domicile.conversation import standalone
from domicile.domain import OWNER, Answer, Chunk, Hit, Mode, Note
from domicile.errors import DomicileError, InvalidRequest, LabelError, MissingExtra, UsageError
from domicile.inquiry import AnswerRequest
from domicile.labels import PartialLabel, Regions
from domicile.ports import Index, SentenceSplitter
from domicile.retrieval import Retriever
from domicile_eval.answer_metrics import is_silent, score_answer
from domicile_eval.comparison import wrong
from domicile_eval.items import Item
from domicile_eval.leaks import LeakCheck
from domicile_eval.metrics import AMOUNTS, BY_SPAN, HELD, MEASURES, SPAN_MEASURES, per_question
from domicile_eval.ragas_suite import score_without_llm
from domicile_eval.results import Observation, Result
from domicile_eval.spans import Passage, Texts, as_ranking, locate
from domicile_eval.stage import Stage
from domicile_eval.suites import Suite, choose

TOP_K = 100
SHOWN, SHOWN_CHARACTERS = 3, 400
"""Retrieved passages that a report shows of an item, and how much of each."""
IDENTITY_TOP = 10
"""Chunks of a ranking that are compared where nothing should have changed."""


SILENT = "the language model did not write the answer that it was asked for"
"""The note that counts such answers."""


class Ranked(NamedTuple):
    """What a suite found.

    Attributes:
        generation: that was searched.
        rankings: the ranked documents of every question.
        chunks: see ``identities``, of each.
        notes: how many searches had to do without something.
    """

    generation: int
    rankings: dict[str, list[str]]
    notes: Counter[Note]
    chunks: dict[str, tuple[str, ...]]


def rank_documents(retriever: Retriever, collection: str, items: Sequence[Item], mode: Mode) -> Ranked:
    """Search for every question of the suite, as the owner of the home."""
    rankings: dict[str, list[str]] = {}
    chunks: dict[str, tuple[str, ...]] = {}
    notes: Counter[Note] = Counter()
    generation = 0
    for item in items:
        result = retriever.search(item.question, collection, OWNER, mode, TOP_K)
        rankings[item.id] = documents_of(result.hits)
        chunks[item.id] = identities(result.hits)
        generation = result.generation
        notes.update(result.notes)
    return Ranked(generation, rankings, notes, chunks)


def documents_of(hits: Sequence[Hit]) -> list[str]:
    """The documents of ranked chunks; a document's rank is its first occurrence."""
    return list(dict.fromkeys(hit.chunk.document for hit in hits))


def identities(hits: Sequence[Hit]) -> tuple[str, ...]:
    """The first chunks of a ranking, each by its id and the hash of its text."""
    return tuple(
        f"{hit.chunk.id}@{sha256(hit.chunk.text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
        for hit in hits[:IDENTITY_TOP]
    )


class Scored(NamedTuple):
    """Judged items, and what had to be done without, with counts."""

    results: tuple[Result, ...]
    notes: Counter[str]


def search_only(
    retriever: Retriever,
    collection: str,
    items: Sequence[Item],
    mode: Mode,
    advance: Callable[[int], None] = lambda questions: None,
) -> Scored:
    """Search for every item as the owner of the home, and score the ranked documents."""
    rankings: dict[str, list[str]] = {}
    chunks: dict[str, tuple[str, ...]] = {}
    failures: dict[str, str] = {}
    notes: Counter[str] = Counter()
    for item in items:
        try:
            ranked = rank_documents(retriever, collection, [item], mode)
        except Exception as error:
            failures[item.id] = why(error)
        else:
            rankings |= ranked.rankings
            chunks |= ranked.chunks
            notes.update(str(note) for note in ranked.notes.elements())
        advance(1)
    values: dict[str, dict[str, float]] = {item.id: {} for item in items}
    judged = [item for item in items if item.gold]
    for name, found in per_question(judged, rankings, MEASURES).items():
        for item, value in zip(judged, found, strict=True):
            values[item.id][name.lower()] = value
    results = tuple(
        Result(
            item.id,
            item.question,
            tuple(item.kinds),
            item.split,
            values[item.id],
            ranking=chunks.get(item.id, ()),
            documents=tuple(rankings.get(item.id, ())[:IDENTITY_TOP]),
            gold=tuple(item.relevant),
            failure=failures.get(item.id),
        )
        for item in items
    )
    return Scored(results, notes)


def why(error: Exception) -> str:
    """What an item that failed tells. Of an error that nobody foresaw it is type and place: its message may quote a document.

    Raises:
        MemoryError, MissingExtra: the same, since no question is to blame.
    """
    if isinstance(error, MemoryError | MissingExtra):
        raise error
    if isinstance(error, DomicileError):
        return f"{type(error).__name__}: {error}"
    where = traceback.extract_tb(error.__traceback__)[-1]
    system = f": {os.strerror(error.errno)}" if isinstance(error, OSError) and error.errno else ""
    return f"{type(error).__name__} in {Path(where.filename).name}, line {where.lineno}{system}"


def observe(
    stage: Stage, suite: Suite, regions: Regions, *, full: bool, advance: Callable[[int], None] = lambda items: None
) -> list[Observation]:
    """Ask every item of the suite.

    Args:
        full: whether the language model writes every answer, and not only ``suite.generated`` of them.
    """
    spoken = frozenset(item.id for item in suite.items) if full else _spoken(suite)
    places: dict[str, Chunk] = {}
    found = []
    for item in suite.items:
        seen = _observe(stage, suite, item, regions, generated=item.id in spoken)
        found.append(replace(seen, hits=lightened(seen, places)))
        advance(1)
    return found


def lightened(seen: Observation, places: dict[str, Chunk]) -> tuple[Hit, ...]:
    """The hits as they are kept until all is judged: of what is neither at the top nor of a document that is cited, the
    place is enough. A place that many questions find is kept once."""
    cited = {citation.document for citation in seen.answer.citations} if seen.answer is not None else set()
    return tuple(
        hit
        if hit.rank <= IDENTITY_TOP or hit.chunk.document in cited
        else replace(hit, chunk=places.setdefault(hit.chunk.id, _place(hit.chunk)))
        for hit in seen.hits
    )


def _place(chunk: Chunk) -> Chunk:
    return replace(chunk, title="", heading=(), text="", context="", metadata=())


def _spoken(suite: Suite) -> frozenset[str]:
    """The items whose words are judged: some that have an answer here and no provider to give it."""
    return choose(tuple(item for item in suite.items if item.gold and item.route != "hosted"), suite.generated)


def _observe(stage: Stage, suite: Suite, item: Item, regions: Regions, *, generated: bool) -> Observation:
    try:
        flags = labels.parse(dict(item.flags), regions)
    except LabelError as error:
        raise UsageError(f"{item.line or item.id}: flags: {error}") from None
    hits: tuple[Hit, ...] = ()
    stage.received.clear()
    try:
        hits = _search(stage, suite, item)
        began = perf_counter()
        answer = _answer(stage, suite, item, flags, generated=generated)
    except Exception as error:
        return Observation(item, hits, generated=generated, sent=tuple(stage.received), failure=why(error))
    seconds, sent = perf_counter() - began, tuple(stage.received)
    failure = "the answer has no receipt" if answer.receipt is None else None
    return Observation(item, hits, answer, answer.confidence, generated, seconds, sent, failure)


def _search(stage: Stage, suite: Suite, item: Item) -> tuple[Hit, ...]:
    """The search of production; of a follow-up as the answer would search for it."""
    said = tuple(turn.text for turn in item.history if turn.role == "user")
    made = standalone(item.question, said, stage.index.collection.language)
    principal, name = suite.principal(item), stage.index.collection.name
    try:
        return stage.retriever.search(made.text, name, principal, "hybrid", TOP_K).hits
    except InvalidRequest:
        if not made.turns:
            raise
        return stage.retriever.search(item.question, name, principal, "hybrid", TOP_K).hits


def _answer(stage: Stage, suite: Suite, item: Item, flags: PartialLabel, *, generated: bool) -> Answer:
    answering = stage.answering(staged="residency" in item.kinds, generated=generated)
    request = AnswerRequest(
        item.question,
        stage.index.collection.name,
        suite.principal(item),
        flags=flags,
        history=item.history,
    )
    *_, last = answering.answer(request)
    assert isinstance(last, Answer)
    return last


class _Judged(NamedTuple):
    """An observation with what it is worth, but for its search; ``seen`` says so where that could not be worked out."""

    seen: Observation
    passages: tuple[Passage, ...]
    values: dict[str, float]
    notes: Counter[str]


def score(suite: Suite, index: Index, seen: Sequence[Observation], splitter: SentenceSplitter) -> Scored:
    """Every observation with the values of its metrics."""
    texts = _texts(index)
    leaks = LeakCheck(suite.documents, texts) if suite.documents else None
    judged = [_judged(suite, one, texts, leaks, splitter) for one in seen]
    values = _retrieval(judged)
    notes: Counter[str] = Counter()
    for one in judged:
        item, own = one.seen.item, values[one.seen.item.id]
        own |= one.values
        notes.update(one.notes)
        if one.seen.failure is not None:
            own |= {name: wrong(name) for name in (*own, *_missed(item)) if name not in AMOUNTS}
    return Scored(tuple(_result(one.seen, values[one.seen.item.id]) for one in judged), notes)


def _judged(
    suite: Suite, seen: Observation, texts: Texts, leaks: LeakCheck | None, splitter: SentenceSplitter
) -> _Judged:
    """What cannot be judged is a failure, and is judged again without any text: that names all metrics that it is wrong in."""
    try:
        return _valued(suite, seen, texts, leaks, splitter)
    except Exception as error:
        lost = replace(seen, hits=(), answer=None, sent=(), failure=why(error))
        return _valued(suite, lost, lambda uri: None, leaks, splitter)


def _valued(
    suite: Suite, seen: Observation, texts: Texts, leaks: LeakCheck | None, splitter: SentenceSplitter
) -> _Judged:
    passages = locate(seen.item.gold, texts)
    compared = score_without_llm(seen, splitter)
    values = dict(compared.values)
    notes = Counter(f"{metric}: {reason}" for metric, reason in compared.failures.items())
    if seen.answer is not None:
        notes.update(seen.answer.notes)
    if is_silent(seen):
        notes[SILENT] += 1
    if seen.item.gold:
        values[HELD] = fmean(texts(uri) is not None for uri in seen.item.relevant)
    values |= score_answer(seen, passages, texts)
    if leaks is not None:
        values["no_leak"] = float(not any(leaks.found(seen, suite.principal(seen.item))))
    return _Judged(seen, passages, values, notes)


def _missed(item: Item) -> Iterator[str]:
    """What an answer to the item would have been judged by, beside what every item of its kind is."""
    if item.gold:
        yield from ("quote_validity", "citation_precision", "citation_document_precision")
    if item.route is not None:
        yield "route"
    if item.outdated:
        yield "current"


def _texts(index: Index) -> Texts:
    @lru_cache(maxsize=256)
    def text(uri: str) -> str | None:
        found = index.document(uri, None)
        return None if found is None else found.text

    return text


def _retrieval(judged: Sequence[_Judged]) -> dict[str, dict[str, float]]:
    """What the search is worth, of the items that have something to find."""
    values: dict[str, dict[str, float]] = {one.seen.item.id: {} for one in judged}
    searched = [one for one in judged if one.seen.item.gold]
    items = [one.seen.item for one in searched]
    rankings = {one.seen.item.id: documents_of(one.seen.hits) for one in searched}
    for name, found in per_question(items, rankings, MEASURES).items():
        for item, value in zip(items, found, strict=True):
            values[item.id][name.lower()] = value
    by_span = [one for one in searched if any(gold.span for gold in one.seen.item.gold)]
    named = [Item.judged(one.seen.item.id, "", {str(n): 1 for n in range(len(one.passages))}) for one in by_span]
    rankings = {one.seen.item.id: as_ranking(one.passages, one.seen.hits) for one in by_span}
    for name, found in zip(BY_SPAN, per_question(named, rankings, SPAN_MEASURES).values(), strict=True):
        for item, value in zip(named, found, strict=True):
            values[item.id][name] = value
    return values


def _result(seen: Observation, values: dict[str, float]) -> Result:
    item, answer = seen.item, seen.answer
    return Result(
        id=item.id,
        question=item.question,
        kinds=tuple(item.kinds),
        split=item.split,
        values=values,
        ranking=identities(seen.hits),
        documents=tuple(documents_of(seen.hits))[:IDENTITY_TOP],
        answer=None if answer is None else answer.answer,
        reference=item.answer,
        gold=tuple(dict.fromkeys(gold.document for gold in item.gold)),
        passages=tuple(hit.chunk.text[:SHOWN_CHARACTERS] for hit in seen.hits[:SHOWN]),
        cited=() if answer is None else tuple(citation.document for citation in answer.citations),
        quotes=() if answer is None else tuple(citation.quote for citation in answer.citations),
        route=None if answer is None else answer.decision.route,
        sink=None if answer is None else answer.decision.sink,
        abstained=None if answer is None else answer.abstained,
        confidence=seen.confidence,
        generated=seen.generated,
        failure=seen.failure,
    )
