"""BM25 in tantivy: one directory a generation, cloned from its parent by hard links.

A question is data: it is analysed into terms, never parsed as a query. The group filter is a clause of the query.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domicile.adapters.scoped_bm25 import K1, Allowed, Postings, rank, recovered
from domicile.errors import ConfigError, IndexDamaged
from domicile.files import write_refused

STEMMERS = {
    "ar": "arabic", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish", "fi": "finnish",
    "fr": "french", "hu": "hungarian", "it": "italian", "nl": "dutch", "no": "norwegian", "pt": "portuguese",
    "ro": "romanian", "ru": "russian", "sv": "swedish", "ta": "tamil", "tr": "turkish",
}  # fmt: skip
STOP_WORDS = {"da", "de", "en", "es", "fi", "fr", "hu", "it", "nl", "no", "pt", "ru", "sv"}
EVERYONE = "*"
HEAP_BYTES = 64_000_000
MAX_LISTED = 256
"""Chunks that a filter always names one by one."""
MAX_LISTABLE = 100_000
"""Chunks that a filter may name: 12 ms for 1,000 of them, 54 ms for 50,000."""
MAX_DEEPENED = 50_000
"""Hits that are looked through for those that a filter lets through: 13 ms. More cost more than naming these."""
_MARGIN = 1.5
REMEMBERED_WORDS = 16_384
"""Words of which is known whether some readers see them: to find out costs half a millisecond for 100,000 chunks."""
_TIES = 16
"""Times as many hits as are wanted, at most, for the sake of those that share the last place."""
REMEMBERED_POSTINGS = 2_000_000
"""Places of words that are kept, 32 MB: to read a word with 50,000 of them costs some 50 ms."""
MAX_TERMS = 256
"""Terms of one question that are searched; a longer one is cut, so that no question can cost more than this."""


def analyzer(language: str, *, stop_words: bool) -> Any:
    """Words, folded to lower case without accents and stemmed in the collection's language.

    Raises:
        ConfigError: there is no stemmer for the language.
    """
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    if language not in STEMMERS:
        raise ConfigError(f"language {language!r}: allowed are {', '.join(sorted(STEMMERS))}")
    builder = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(64)).filter(Filter.lowercase())
    if stop_words and language in STOP_WORDS:
        builder = builder.filter(Filter.stopword(STEMMERS[language]))
    return builder.filter(Filter.ascii_fold()).filter(Filter.stemmer(STEMMERS[language])).build()


def _schema() -> Any:
    from tantivy import SchemaBuilder

    builder = SchemaBuilder()
    builder.add_unsigned_field("ref", fast=True, indexed=True)
    # raw text, because tantivy deletes nothing, silently, by the term of an unsigned field
    builder.add_text_field("document", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("reader", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("body", tokenizer_name="body", index_option="freq")
    return builder.build()


class LexicalWriter:
    """One commit into a directory of its own.

    Args:
        folder: where the new generation's directory goes; must not exist.
        parent: the directory to start from; its files are shared by hard links and never changed.

    Raises:
        StorageError: the disk refused.
    """

    def __init__(self, folder: Path, parent: Path | None, language: str) -> None:
        import tantivy

        words = analyzer(language, stop_words=False)
        self._folder = folder
        self._draft = folder.with_suffix(".draft")
        self._draft.mkdir()
        if parent is not None:
            _clone(parent, self._draft)
        with self._writing():
            self._index = tantivy.Index(_schema(), path=str(self._draft), reuse=True)
            self._index.config_reader(reload_policy="manual")
            self._index.register_tokenizer("body", words)
            # one indexing thread, so that the same input gives the same order of documents
            self._writer = self._index.writer(heap_size=HEAP_BYTES, num_threads=1)

    def add(self, ref: int, document: str, readers: frozenset[str] | None, body: str) -> None:
        """Add one chunk; ``readers`` as the groups of a label."""
        from tantivy import Document

        entry = Document()
        entry.add_unsigned("ref", ref)
        entry.add_text("document", document)
        for reader in (EVERYONE,) if readers is None else sorted(readers):
            entry.add_text("reader", reader)
        entry.add_text("body", _folded(body))
        with self._writing():
            self._writer.add_document(entry)

    def delete(self, document: str) -> None:
        """Delete every chunk of a document that an earlier generation added."""
        with self._writing():
            self._writer.delete_documents_by_term("document", document)

    def commit(self, expected: int) -> None:
        """Commit, wait for the merges, and compare the number of chunks.

        Raises:
            IndexDamaged: the count is not the expected one; nothing may then name this directory.
        """
        with self._writing():
            self._writer.commit()
            self._writer.wait_merging_threads()
            self._index.reload()
        if (found := int(self._index.searcher().num_docs)) != expected:
            raise IndexDamaged(f"{self._folder}: {found} chunks after the commit, expected {expected}")
        # tantivy's threads leave lock files in the draft, even after this; the directory that is sealed has none
        self._folder.mkdir()
        for file in self._draft.iterdir():
            if file.suffix != ".lock":
                file.rename(self._folder / file.name)
        shutil.rmtree(self._draft, ignore_errors=True)

    def abandon(self) -> None:
        """Stop the indexing threads, which write into the directory until then."""
        del self._writer, self._index

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:  # all that tantivy raises
            raise write_refused(self._folder, error) from error


def _clone(source: Path, target: Path) -> None:
    """Share the immutable segment files; copy the two small files that a commit replaces."""
    for file in source.iterdir():
        if file.suffix == ".json":
            shutil.copy2(file, target / file.name)
        else:
            os.link(file, target / file.name)


def _folded(text: str) -> str:
    """Compatible forms of a letter made one (ligatures, full width, decomposed accents), as documents mix them.

    Half a surrogate pair, which is no text to tantivy, becomes a question mark.
    """
    return unicodedata.normalize("NFKC", text).encode("utf-8", "replace").decode("utf-8")


class LexicalFolder:
    """A committed directory, mapped and read-only.

    Raises:
        IndexDamaged: tantivy cannot open it.
    """

    def __init__(self, folder: Path, language: str) -> None:
        import tantivy

        self._schema = _schema()
        self._query_words = analyzer(language, stop_words=True)
        self._all_words = analyzer(language, stop_words=False)
        # tantivy leaves lock files in whatever folder it opens, so it gets one of links: the sealed one stays as it was
        # hashed, and may be read-only. All files are mapped once there is a searcher, and the links are needed no more.
        with TemporaryDirectory(prefix="domicile-", ignore_cleanup_errors=True) as links:
            for file in folder.iterdir():
                os.symlink(file.absolute(), Path(links, file.name))
            try:
                index = tantivy.Index.open(links)
                index.config_reader(reload_policy="manual")
                index.register_tokenizer("body", self._all_words)
                self._searcher = index.searcher()
            except ValueError as error:
                raise IndexDamaged(f"{folder}: {error}") from error
        self._seen: dict[tuple[str, frozenset[str]], bool] = {}
        self._postings: dict[str, Postings] = {}

    @property
    def chunks(self) -> int:
        return int(self._searcher.num_docs)

    def refs(self) -> list[int]:
        """The reference of every chunk that can be found."""
        from tantivy import Query

        if not self.chunks:
            return []
        hits = self._searcher.search(Query.all_query(), limit=self.chunks, count=False).hits
        refs = self._searcher.fast_field_values("ref", [address for _, address in hits])
        return [int(ref) for ref in refs if ref is not None]

    def search(
        self, question: str, k: int, readers: frozenset[str] | None, allowed: Allowed | None = None
    ) -> list[tuple[int, float]]:
        """The best ``k`` (ref, score), best first, ties by ref.

        A score is BM25 as a share of what the words of the question could reach at most, so it is from 0 to 1 and can be
        compared between questions.

        Args:
            readers: the groups of who asks.
            allowed: which chunks may be found beside that; ``None`` is all of them.
        """
        if self._open_to_all:
            readers = None
        terms = self._terms(question)
        if not terms or (allowed is not None and not allowed.count):
            return []
        query = self._query(terms, readers)
        refs, scores = self._best(query, k) if allowed is None else self._filtered(query, k, allowed)
        order = np.lexsort((refs, -scores))[:k]
        shares = np.minimum(scores[order] / self._ceiling(terms, readers), 1.0)
        return list(zip(refs[order].tolist(), shares.tolist(), strict=True))

    def search_within(self, question: str, k: int, allowed: Allowed) -> list[tuple[int, float]]:
        """As ``search``, but nothing outside of what is allowed has a part in any score: as if there were nothing else."""
        terms = self._terms(question)
        return rank([self._places(term) for term in terms], allowed, k) if terms and allowed.count else []

    def _places(self, term: str) -> Postings:
        """Where a word stands. The library tells scores alone, and of one hit how it came by its score."""
        if (known := self._postings.get(term)) is not None:
            return known
        from tantivy import Query

        often, once = (Query.term_query(self._schema, "body", term, option) for option in ("freq", "basic"))
        found = int(self._searcher.doc_freq("body", term))
        hits = self._searcher.search(once, limit=1, count=False).hits if found else []
        said = dict(_said(json.loads(once.explain(self._searcher, hits[0][1]).to_json()))) if hits else {}
        if not said.get("idf"):  # of a word in all of ten million chunks it is 0 in single precision
            return Postings(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int32))
        refs, scores = _by_ref(*self._hits(often, found))
        _, scores_once = _by_ref(*self._hits(once, found))
        places = recovered(refs, scores, scores_once, said["idf"], said["avgdl"])
        if sum(len(word.refs) for word in list(self._postings.values())) + len(refs) > REMEMBERED_POSTINGS:
            self._postings.clear()
        self._postings[term] = places
        return places

    def _filtered(self, query: Any, k: int, allowed: Allowed) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The best ``k`` that are allowed, with the scores that they have anyway.

        A list that is deepened until it holds ``k`` of them is the cheapest way to that where many are allowed; naming
        them in the query is, where they are few, or where the words stand nearly only in others.
        """
        limit = min(self.chunks, math.ceil(_MARGIN * k * self.chunks / allowed.count))
        while allowed.count > MAX_LISTED and (limit <= MAX_DEEPENED or allowed.count > MAX_LISTABLE):
            refs, scores = self._hits(query, limit)
            kept = allowed.holds(refs)
            if kept.sum() >= k or len(refs) < limit or limit == self.chunks:
                return refs[kept], scores[kept]
            limit = min(self.chunks, 4 * limit)
        return self._hits(self._among(query, allowed.refs()), k)

    def _terms(self, question: str) -> list[str]:
        """The words of the question as they are indexed, each once; the stop words only where there is nothing else."""
        folded = _folded(question)
        terms = self._query_words.analyze(folded) or self._all_words.analyze(folded)
        return list(dict.fromkeys(terms))[:MAX_TERMS]

    def _ceiling(self, terms: Sequence[str], readers: frozenset[str] | None) -> float:
        """The BM25 score that no chunk can exceed.

        A word that stands only in what the readers may not see counts as one that nothing holds: no score tells of it.
        """
        chunks, ceiling = self.chunks, 0.0
        for term in terms:
            seen = readers is None or self._is_seen(term, readers)
            holding = min(int(self._searcher.doc_freq("body", term)), chunks) if seen else 0  # it counts deleted ones
            ceiling += (K1 + 1) * math.log(1 + (chunks - holding + 0.5) / (holding + 0.5))
        return ceiling

    def _is_seen(self, term: str, readers: frozenset[str]) -> bool:
        seen = self._seen.get((term, readers))
        if seen is None:
            seen = len(self._hits(self._query([term], readers), 1)[0]) > 0
            if len(self._seen) >= REMEMBERED_WORDS:
                self._seen.clear()
            self._seen[term, readers] = seen
        return seen

    @cached_property
    def _open_to_all(self) -> bool:
        """Whether there is no chunk that some may not read: the readers then make no difference."""
        query = self._any_of("reader", [EVERYONE], index_option="basic")
        found: Any = self._searcher.search(query, limit=1, count=True)
        return int(found.count) == self.chunks

    def _query(self, terms: Sequence[str], readers: frozenset[str] | None) -> Any:
        """Any of the terms, among what the readers may see."""
        from tantivy import Query

        query = self._any_of("body", terms, index_option="freq")
        if readers is not None:
            # a constant score of 0: the filter decides who is in, and says nothing about who is better
            allowed = self._any_of("reader", [EVERYONE, *sorted(readers)], index_option="basic")
            query = query.and_must_match(Query.const_score_query(allowed, 0.0))
        return query

    def _among(self, query: Any, refs: NDArray[np.int64]) -> Any:
        from tantivy import Query

        listed = Query.term_set_query(self._schema, "ref", refs.tolist())
        return query.and_must_match(Query.const_score_query(listed, 0.0))

    def _best(self, query: Any, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The best ``k`` and those that share the last place, so that it is not the layout of the files that decides."""
        depth = k + 1
        while True:
            refs, scores = self._hits(query, depth)
            if len(refs) < depth or scores[-1] < scores[k - 1] or depth > _TIES * k:
                return refs, scores
            depth *= 4

    def _hits(self, query: Any, limit: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        hits = self._searcher.search(query, limit=limit, count=False).hits
        refs = self._searcher.fast_field_values("ref", [address for _, address in hits])
        return np.array(refs, dtype=np.int64), np.array([score for score, _ in hits], dtype=np.float64)

    def _any_of(self, field: str, terms: Iterable[str], index_option: str) -> Any:
        from tantivy import Occur, Query

        clauses = [(Occur.Should, Query.term_query(self._schema, field, term, index_option)) for term in terms]
        return Query.boolean_query(clauses)


def _said(explanation: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of an explanation with the first word of what each is."""
    yield str(explanation["description"]).split(",")[0], float(explanation["value"])
    for part in explanation.get("details") or ():
        yield from _said(part)


def _by_ref(refs: NDArray[np.int64], scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    order = np.argsort(refs)
    return refs[order], scores[order]
