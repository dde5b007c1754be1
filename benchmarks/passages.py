"""Real passages for the scale benchmarks, cut from unpacked Debian documentation packages.

    apt-get download postgresql-doc-15 linux-doc-6.1 rust-doc ...
    for deb in *.deb; do dpkg-deb -x $deb debs/${deb%%_*}; done
    python benchmarks/passages.py debs passages/passages.jsonl --words 64 --count 1000000

Every folder in FOLDER is one package. Its HTML, text, reStructuredText, Markdown and POD files are parsed with the product's
own parsers and cut into runs of whole sentences (or list items, table rows) of about ``--words`` words, a word being six
characters at most. Left out are other languages than English, alphabetical indexes, sources of pages that the package also
holds as HTML, passages of less than 15 words, and passages that occurred before, word for word. What is kept of a document,
joined by blank lines, is its text here.

Documents are taken in a fixed pseudo-random order, always from the package that has given the fewest passages so far: the
first N lines are a fair mix for every N, until small packages run out. A line is
``{"uri", "title", "ordinal", "start", "end", "text"}``, and the lines of a document follow each other.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import heapq
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domicile.adapters.sentencex import SentencexSplitter
from domicile.errors import DocumentError
from domicile_ingest.parsing import Parsed, parse

SUFFIXES = {".html", ".htm", ".txt", ".rst", ".md", ".pod"}
LEAST_WORDS = 15
LETTERS = 6  # to a word, where a line of code or of a table has hardly any blanks
MOST_BYTES = 5_000_000
SOURCES = ("_sources", "sources", "src")
_FOREIGN = re.compile(
    r"/(?:ar|ca|cs|da|de|el|es|fa|fr|hr|hu|id|it|ja|ko|nb|nl|pl|pt|ro|ru|sk|sv|tr|uk|vi|zh)(?:-[A-Z]{2})?/"
)
_INDEX = re.compile(
    r"^(?:genindex|index-all|index-\d+|contentsx|searchindex|changelog|copyright|license)", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z]{2,}")
_BLANK_LINE = re.compile(r"\n\s*\n")

Row = dict[str, Any]


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("folder", type=Path)
    flags.add_argument("out", type=Path)
    flags.add_argument("--words", type=int, default=64, help="of a passage, about")
    flags.add_argument("--count", type=int, default=1_000_000)
    given = flags.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    packages: Counter[str] = Counter()
    documents = words = 0
    with given.out.open("w", encoding="utf-8") as out:
        for row in mixed(given.folder, given.words, given.count):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            packages[row["uri"].partition("/")[0]] += 1
            documents += row["ordinal"] == 0
            words += len(row["text"].split())
    found = {"passages": packages.total(), "documents": documents, "mean_words": round(words / packages.total(), 1)}
    print(json.dumps(found | {"packages": dict(packages.most_common())}))


def mixed(folder: Path, words: int, count: int) -> Iterator[Row]:
    """The passages of all packages, the poorest package first."""
    seen: set[bytes] = set()
    packages = {path.name: documents(path, words, seen) for path in sorted(folder.iterdir()) if path.is_dir()}
    queue = [(0, name) for name in packages]
    written = 0
    while queue and written < count:
        given, name = heapq.heappop(queue)
        rows = next(packages[name], None)
        if rows is not None:
            yield from rows[: count - written]
            written += len(rows)
            heapq.heappush(queue, (given + len(rows), name))


def documents(package: Path, words: int, seen: set[bytes]) -> Iterator[list[Row]]:
    """The passages of each document of a package that has any."""
    splitter = SentencexSplitter()
    for path in readable(package):
        data = path.read_bytes()
        name = path.name
        try:
            if name.endswith(".gz"):
                name, data = name.removesuffix(".gz"), gzip.decompress(data)
            parsed = parse(name if Path(name).suffix in {".html", ".htm", ".md"} else f"{name}.txt", data)
        except (DocumentError, OSError, EOFError, zlib.error):
            continue
        uri = f"{package.name}/{path.relative_to(package).as_posix().removeprefix('usr/share/')}"
        rows = passages(uri, parsed, splitter, words, seen)
        if rows:
            yield rows


def readable(package: Path) -> list[Path]:
    """The files of a package that are documents, in an order that depends on their names alone."""
    found = {}
    for path in sorted(package.rglob("*")):
        plain = path.with_suffix("") if path.suffix == ".gz" else path
        relative = path.relative_to(package).as_posix()
        if (
            plain.suffix in SUFFIXES
            and not path.is_symlink()
            and path.is_file()
            and path.stat().st_size <= MOST_BYTES
            and not _FOREIGN.search(relative)
            and not _INDEX.match(path.name)
            and not set(path.parts).intersection(SOURCES)
        ):
            page = (plain.parent.name, plain.stem)  # a page and its source lie in different trees under one name
            if page not in found or (plain.suffix == ".html" and found[page].suffix != ".html"):
                found[page] = path
    return sorted(found.values(), key=lambda path: hashlib.sha256(str(path.relative_to(package)).encode()).digest())


def passages(uri: str, parsed: Parsed, splitter: SentencexSplitter, words: int, seen: set[bytes]) -> list[Row]:
    rows: list[Row] = []
    start = 0
    for text in cut(parsed.text, splitter, words):
        digest = hashlib.sha256(" ".join(text.split()).encode("utf-8", "replace")).digest()[:12]
        if digest in seen or len(_WORD.findall(text)) < LEAST_WORDS:
            continue
        seen.add(digest)
        end = start + len(text)
        rows.append({"uri": uri, "title": parsed.title, "ordinal": len(rows), "start": start, "end": end, "text": text})
        start = end + len("\n\n")
    return rows


def cut(text: str, splitter: SentencexSplitter, words: int) -> Iterator[str]:
    """Runs of whole sentences: cut where the size is reached, a little before it where a paragraph ends."""
    first = last = size = 0
    for start, end in splitter.split(text):
        more = max(len(text[start:end].split()), (end - start) // LETTERS)
        paragraph = _BLANK_LINE.search(text, last, start) is not None
        if size and (size + more > 1.25 * words or size >= words or (paragraph and size >= 0.6 * words)):
            yield text[first:last]
            size = 0
        if not size:
            first = start
        last, size = end, size + more
    if size:
        yield text[first:last]


if __name__ == "__main__":
    main()
