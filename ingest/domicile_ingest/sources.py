"""Where documents come from: a folder, a single file, or the rows of a JSONL file.

Names are data. A name is never turned into a path again, and nothing outside the source is read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import stat
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

from domicile.errors import DocumentError, UsageError
from domicile.metadata import read, without_label
from domicile.uris import containers, file_of_row, holds_rows
from domicile_ingest.parsing.parsed import Parsed, clean, one_line, require_text

SIDECAR = ".label.toml"
MAX_ROW_BYTES = 64_000_000
MAX_EXPANSION = 100
"""How many times its own size a compressed file of rows may hold: text shrinks to a tenth."""
SMALL_EXPANSION = 16_000_000
"""Bytes that any compressed file may hold."""
MAX_URI_CHARACTERS = 1_024
# Controls, line ends, marks that reorder what a reader sees, and bytes that are no text (surrogate escapes).
_UNSPEAKABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


Parser = Callable[[str, bytes], Parsed]
"""Turns a file's name and bytes into its text; raises ``DocumentError``."""


@dataclass(frozen=True, slots=True)
class Item:
    """One document of a source, read but not parsed.

    Attributes:
        uri: its identity within the collection.
        file: the path of the file that holds it, relative to the source, with ``/``; label rules match this.
        digest: sha256 of its bytes.
        size: of these.
        parse: gives the text, by the parser of files that it is given; raises ``DocumentError``.
    """

    uri: str
    file: str
    digest: str
    size: int
    parse: Callable[[Parser], Parsed]


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that could not be read or parsed.

    Attributes:
        hides: where a whole file or folder could not be read, the beginning of the URIs that may lie in it, so that
            nobody takes them for deleted; ``None`` where only this one document is concerned.
    """

    document: str
    kind: str
    reason: str
    hides: str | None = None


class Hidden:
    """The URIs that lie in what could not be read, so that nobody knows whether they are gone."""

    def __init__(self, failures: Iterable[Failure]) -> None:
        self._beginnings = {failure.hides for failure in failures if failure.hides is not None}

    def __contains__(self, uri: str) -> bool:
        # a beginning ends where something can lie in something: one look at each such place, however many failed
        ends = (at for at, sign in enumerate(uri, 1) if sign in "/#")
        return bool(self._beginnings) and ("" in self._beginnings or any(uri[:at] in self._beginnings for at in ends))


@dataclass(frozen=True)
class Source:
    """A place that holds documents now.

    Attributes:
        root: the folder that relative paths start from.
        files: paths relative to the root, sorted.
        sidecars: label files by the relative path of the file that they speak of.
        unreadable: folders that could not be listed.
        single: whether the source is itself a file; the rows of a JSONL file are then known by their ``_id`` alone.
        max_bytes: larger files are refused unread.
    """

    root: Path
    files: tuple[str, ...]
    sidecars: Mapping[str, Path]
    unreadable: tuple[Failure, ...]
    single: bool
    max_bytes: int

    @property
    def place(self) -> Path:
        """The folder or file that the source is."""
        return self.root / self.files[0] if self.single else self.root

    def __len__(self) -> int:
        """How many documents there are, roughly: rows are counted by their lines."""
        return sum(self._documents(file) for file in self.files)

    def __iter__(self) -> Iterator[Item | Failure]:
        """Every document, or why it could not be read. Two documents with one URI: the second is a failure."""
        yield from self.unreadable
        yield from self._unique(self.files)

    def read(self, wanted: Mapping[str, object]) -> Iterator[Item | Failure]:
        """Only these documents, in the order of the source; no other file is opened."""
        holding = {place for uri in wanted for place in containers(uri)}
        for found in self._unique(file for file in self.files if (wanted if self.single else file in holding)):
            if isinstance(found, Failure) or found.uri in wanted:
                yield found

    def _unique(self, files: Iterable[str]) -> Iterator[Item | Failure]:
        seen: set[str] = set()
        for file in files:
            for found in self._read(file):
                if isinstance(found, Item) and found.uri in seen:
                    yield Failure(
                        found.uri, "duplicate", "another document of this source has the same URI: rename one"
                    )
                elif isinstance(found, Item):
                    seen.add(found.uri)
                    yield found
                else:
                    yield found

    def _documents(self, file: str) -> int:
        try:
            return _lines(self._regular_file(file)) if holds_rows(file) else 1
        except (DocumentError, OSError, EOFError, zlib.error):
            return 1

    def file_of(self, uri: str, stored: Container[str]) -> str:
        """The file that holds, or held, a document of this source.

        Args:
            stored: URIs of documents: of a file that is not listed any more, only its documents know.
        """
        if self.single:
            return self.files[0]
        listed = (place for place in containers(uri) if place in self.known)
        kept = (place for place in reversed([*containers(uri)]) if place in stored)
        return next(listed, None) or file_of_row(uri) or next(kept, uri)

    @cached_property
    def known(self) -> frozenset[str]:
        """The files, for who looks one up."""
        return frozenset(self.files)

    def _read(self, file: str) -> Iterator[Item | Failure]:
        try:
            check_name(file)
            if (mail := next((place for place in [*containers(file)][1:] if place in self.known), None)) is not None:
                raise DocumentError("duplicate", f"is named like something that lies in {mail}: rename one of them")
            path = self._regular_file(file)
            if holds_rows(file):
                yield from _rows(path, file, prefix="" if self.single else f"{file}#")
            else:
                data = _read_stable(path)
                yield Item(file, file, hashlib.sha256(data).hexdigest(), len(data), partial(_parse_file, file, data))
        except DocumentError as error:
            yield Failure(printable(file), error.kind, error.reason, self._hidden(file))
        except OSError as error:
            yield Failure(printable(file), "unreadable", f"cannot be read: {error.strerror}", self._hidden(file))

    def _hidden(self, file: str) -> str | None:
        """The beginning of the URIs that a file may hold, where it holds several."""
        if holds_rows(file):
            return "" if self.single else f"{file}#"
        return f"{file}/" if os.path.isdir(self.root / file) else f"{file}!/"

    def _regular_file(self, file: str) -> Path:
        """The file, if it is one, lies inside the source and is not too large. Not opened: a pipe would block."""
        path = self.root / file
        if not self.single and path.is_symlink() and not path.resolve().is_relative_to(self.root.resolve()):
            raise DocumentError("symlink", "a link that leads out of the source is not followed")
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DocumentError("unreadable", "not a regular file")
        if status.st_size > self.max_bytes:
            raise DocumentError(
                "too_large", f"{status.st_size:,} bytes: at most {self.max_bytes:,} (ingestion.max_file_bytes)"
            )
        return path


def open_source(place: Path, max_bytes: int) -> Source:
    """Look at a source.

    Raises:
        UsageError: it is not there, or not a file or folder.
    """
    try:
        mode = place.stat().st_mode
    except OSError as error:
        raise UsageError(f"SOURCE {place}: {error.strerror}") from None
    if stat.S_ISREG(mode):
        sidecar = place.with_name(place.name + SIDECAR)
        sidecars = {place.name: sidecar} if os.path.lexists(sidecar) else {}
        return Source(place.parent, (place.name,), sidecars, (), True, max_bytes)
    if not stat.S_ISDIR(mode):
        raise UsageError(f"SOURCE {place}: neither a file nor a folder")
    unreadable: list[OSError] = []
    names = sorted(_walk(place, unreadable.append))
    failures = tuple(_unlisted(place, error) for error in unreadable)
    files = tuple(name for name in names if not name.endswith(SIDECAR))
    sidecars = {name.removesuffix(SIDECAR): place / name for name in names if name.endswith(SIDECAR)}
    return Source(place, files, sidecars, failures, False, max_bytes)


def _unlisted(root: Path, error: OSError) -> Failure:
    folder = Path(error.filename).relative_to(root).as_posix()
    return Failure(
        printable(folder),
        "unreadable",
        f"the folder cannot be listed: {error.strerror}",
        "" if folder == "." else f"{folder}/",
    )


def _walk(root: Path, unlisted: Callable[[OSError], None]) -> Iterator[str]:
    """Files and links below a folder, hidden ones left out; links to folders are not entered."""
    for folder, names, files in os.walk(root, onerror=unlisted):
        names[:] = [name for name in names if not name.startswith(".")]
        for name in files + [name for name in names if os.path.islink(os.path.join(folder, name))]:
            if not name.startswith("."):
                yield Path(folder, name).relative_to(root).as_posix()


def check_name(name: str) -> None:
    """Refuse names that cannot be a URI.

    Raises:
        DocumentError: control characters, undecodable bytes, ``..`` or too long.
    """
    if _UNSPEAKABLE.search(name) or ".." in name.split("/") or len(name) > MAX_URI_CHARACTERS:
        raise DocumentError(
            "name", "the name holds control or undecodable characters or '..', or is too long: rename it"
        )


def printable(name: str) -> str:
    """A name that may be shown: what a URI must not hold is replaced."""
    return _UNSPEAKABLE.sub("\N{REPLACEMENT CHARACTER}", name)[:MAX_URI_CHARACTERS]


def _read_stable(path: Path) -> bytes:
    """The bytes of a file that did not change while it was read.

    Raises:
        DocumentError: it did, twice.
    """
    for _ in range(2):
        before = path.stat()
        data = path.read_bytes()
        after = path.stat()
        if _version(before) == _version(after) and len(data) == after.st_size:
            return data
    raise DocumentError("changing", "the file changed while it was read: run again")


def _version(status: os.stat_result) -> tuple[int, int, int]:
    """Tells whether a file was written or replaced between two looks."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def _open_rows(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _most(path: Path) -> int:
    """The bytes that a file of rows may hold once it is expanded; a bomb would hold a thousand times its size."""
    return max(MAX_EXPANSION * path.stat().st_size, SMALL_EXPANSION)


def _lines(path: Path) -> int:
    count, left = 0, _most(path)
    with _open_rows(path) as stream:
        while left > 0 and (block := stream.read(1 << 20)):
            count, left = count + block.count(b"\n"), left - len(block)
    return count


def _rows(path: Path, file: str, prefix: str) -> Iterator[Item | Failure]:
    """The rows of a JSONL file. A broken row is a failure and the next one goes on; a broken file ends it."""
    number, left = 0, _most(path)
    before = path.stat()
    try:
        with _open_rows(path) as stream:
            while line := stream.readline(MAX_ROW_BYTES + 1):
                number, left = number + 1, left - len(line)
                if left < 0:
                    raise DocumentError("too_large", f"expands to more than {MAX_EXPANSION} times its size: unpack it")
                if len(line) > MAX_ROW_BYTES:
                    raise DocumentError("too_large", f"line {number}: longer than {MAX_ROW_BYTES:,} bytes")
                if line.strip():
                    yield _row(line, file, prefix, number)
    except (OSError, EOFError, zlib.error) as error:
        raise DocumentError("broken", f"line {number + 1}: {error}") from error
    if _version(path.stat()) != _version(before):
        raise DocumentError("changing", "the file changed while it was read: run again")


def _row(line: bytes, file: str, prefix: str, number: int) -> Item | Failure:
    where = f"{file}:{number}"
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Failure(where, "malformed", f"line {number}: not JSON ({error})", prefix)
    if not isinstance(row, dict) or not _is_id(row.get("_id")) or not isinstance(row.get("text"), str):
        return Failure(where, "malformed", f'line {number}: a row needs "_id" and a "text" that is a string', prefix)
    uri = f"{prefix}{row['_id']}"
    try:
        check_name(str(row["_id"]))
        check_name(uri)
    except DocumentError as error:
        return Failure(where, error.kind, f"line {number}: {error.reason}", prefix)
    return Item(uri, file, hashlib.sha256(line.strip()).hexdigest(), len(line), partial(_parse_row, row))


def _is_id(value: object) -> bool:
    return (isinstance(value, str) and value != "") or (isinstance(value, int) and not isinstance(value, bool))


def _parse_file(name: str, data: bytes, parser: Parser) -> Parsed:
    return parser(name, data)


def _parse_row(row: Mapping[str, Any], parser: Parser) -> Parsed:
    """The text of a row is its ``text``; the title stays apart. ``metadata.label`` is its label."""
    given = row.get("metadata")
    label = given.get("label") if isinstance(given, dict) else None
    metadata = read(without_label(given) if isinstance(given, dict) else given)
    if label is not None and not isinstance(label, dict):
        label = {"malformed": "label is not a table"}
    title = row.get("title")
    title = one_line(title) if isinstance(title, str) else ""
    return require_text(Parsed(title, clean(row["text"]), markdown=False, label=label, metadata=metadata))
