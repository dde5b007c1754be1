"""BM25 in tantivy: one directory a generation, cloned from its parent by hard links.

A question is data: it is analysed into terms, never parsed as a query. The group filter is a clause of the query.
"""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
    builder.add_unsigned_field("ref", fast=True)
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

    def search(self, question: str, k: int, readers: frozenset[str] | None) -> list[tuple[int, float]]:
        """The best ``k`` (ref, BM25 score), best first, ties by ref. ``readers`` are the groups of who asks."""
        from tantivy import Query

        question = _folded(question)
        terms = self._query_words.analyze(question) or self._all_words.analyze(question)
        if not terms:
            return []
        query = self._any_of("body", list(dict.fromkeys(terms))[:MAX_TERMS], index_option="freq")
        if readers is not None:
            # a constant score of 0: the filter decides who is in, and says nothing about who is better
            allowed = self._any_of("reader", [EVERYONE, *sorted(readers)], index_option="basic")
            query = query.and_must_match(Query.const_score_query(allowed, 0.0))
        hits = self._searcher.search(query, limit=k, count=False).hits
        refs = self._searcher.fast_field_values("ref", [address for _, address in hits])
        found = [(int(ref), float(score)) for ref, (score, _) in zip(refs, hits, strict=True) if ref is not None]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))

    def _any_of(self, field: str, terms: Iterable[str], index_option: str) -> Any:
        from tantivy import Occur, Query

        clauses = [(Occur.Should, Query.term_query(self._schema, field, term, index_option)) for term in terms]
        return Query.boolean_query(clauses)
