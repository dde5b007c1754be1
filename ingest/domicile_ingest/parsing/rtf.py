"""Rich text files: headings by their styles, list items, tables. The only home of ``striprtf``.

striprtf knows groups, encodings and what is not shown. It yields plain text, so the few words of structure that matter
are turned into marks before it reads them: letters of the private use area, which no 8-bit file can contain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from domicile.errors import DocumentError
from domicile_ingest.parsing.markdown import first_heading
from domicile_ingest.parsing.markdown_table import table
from domicile_ingest.parsing.parsed import Parsed, clean, one_line, stem

_MAX_CHARACTERS = 20_000_000
"""Of source without its pictures: reading takes a microsecond for each."""

_CELL, _ROW, _TABLE, _LABEL, _BREAK = "\ue001", "\ue002", "\ue003", "\ue004", "\ue005"
_HEADING, _LEVEL = 0xE010, 0xE020
_MARKS = re.compile("[\ue000-\ue02f]")
_HEADING_MARK, _LEVEL_MARK = re.compile("[\ue010-\ue018]"), re.compile("[\ue020-\ue028]")
_WORDS = re.compile(
    r"\\(?:[\\{}]|(nestcell|cell|row|trowd|line|listtext|pntext|fldinst|outlinelevel|ilvl|s)(-?[0-9]{1,4})?(?![a-z0-9]) ?)"
)
_SIMPLE = {
    "cell": _CELL, "row": _ROW, "trowd": _TABLE, "line": _BREAK, "listtext": _LABEL, "pntext": _LABEL, "nestcell": " ",
    "fldinst": r"\* ",  # what a field is computed from is not shown, and striprtf looks for links in quadratic time
}  # fmt: skip
_STYLE = re.compile(r"\{\\s([0-9]{1,4})(?![0-9])([^{}]{0,2000})\}")
_STYLE_NAME = re.compile(r"[ ;](?:heading ([1-9])|(title));$", re.IGNORECASE)
_STYLE_LEVEL = re.compile(r"\\outlinelevel([0-8])(?![0-9])")
_HEX = re.compile(r"[0-9a-fA-F\r\n]{256,}+")
_TITLE = re.compile(r"\{\\title ([^{}]{1,500})\}")
_NUMBER = re.compile(r"\(?([0-9]{1,4})[.)]?")


def parse_rtf(name: str, data: bytes) -> Parsed:
    """A rich text file as Markdown; headers, footers, notes and comments are left out."""
    text = clean(rtf_text(data))
    title = _TITLE.search(data[:200_000].decode("latin-1"))
    declared = one_line(_plain(f"{{\\rtf1\\ansi {title[1]}}}")) if title is not None else ""
    return Parsed(first_heading(text) or declared or stem(name), text, markdown=True)


def rtf_text(data: bytes) -> str:
    """The Markdown behind rich text.

    Raises:
        DocumentError: ``broken``, ``too_large``.
    """
    source = _HEX.sub("", data.decode("latin-1"))
    if len(source) > _MAX_CHARACTERS:
        raise DocumentError("too_large", f"the rich text has more than {_MAX_CHARACTERS:,} characters: split it")
    headings = _heading_styles(source)
    plain = _plain(_WORDS.sub(lambda match: _mark(match, headings), source))
    return "\n\n".join(_blocks(plain))


def _plain(source: str) -> str:
    from striprtf.striprtf import font_table_group, rtf_to_text

    fonts = font_table_group(source)
    if fonts:
        source = source.replace(fonts, _font_table(fonts), 1)
    try:
        text: str = rtf_to_text(source, errors="replace")
    except MemoryError:
        raise
    except Exception as error:  # striprtf lets out what numbers and codecs raise
        raise DocumentError("broken", f"the rich text cannot be read: {type(error).__name__}") from error
    # Letters beyond the first plane are written as two halves.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _font_table(table: str) -> str:
    """The fonts that name a charset; striprtf gives that of the next one to a font without, in quadratic time."""
    entries = re.split(r"\\f([0-9]{1,5})(?![0-9])", table)
    charsets = (
        (number, charset[1])
        for number, entry in zip(entries[1::2], entries[2::2], strict=True)
        if (charset := re.search(r"\\fcharset([0-9]{1,3})(?![0-9])", entry))
    )
    return "{\\fonttbl" + "".join(f"{{\\f{number}\\fcharset{charset} x;}}" for number, charset in charsets) + "}"


def _heading_styles(source: str) -> Mapping[str, int]:
    """The levels of the paragraph styles that are headings, by number of style."""
    levels: dict[str, int] = {}
    start = source.find("{\\stylesheet")
    for number, definition in _STYLE.findall(source[start : start + 500_000]) if start >= 0 else ():
        name, outline = _STYLE_NAME.search(definition), _STYLE_LEVEL.search(definition)
        if name is not None:
            levels[number] = int(name[1] or 1)
        elif outline is not None:
            levels[number] = int(outline[1]) + 1
    return levels


def _mark(match: re.Match[str], headings: Mapping[str, int]) -> str:
    word, number = match[1], match[2] or ""
    if word is None:  # an escaped letter
        return match[0]
    if word in _SIMPLE:
        return _SIMPLE[word]
    if word == "ilvl" and number in tuple("012345678"):
        return chr(_LEVEL + int(number))
    if word == "outlinelevel" and number in tuple("012345678"):
        return chr(_HEADING + int(number))
    if word == "s" and number in headings:
        return chr(_HEADING + headings[number] - 1)
    return match[0]


def _blocks(text: str) -> list[str]:
    done: list[str] = []
    rows: list[list[str]] = []
    pieces = text.split(_ROW)
    for number, piece in enumerate(pieces):
        before, cells = _row(piece) if number + 1 < len(pieces) else (piece, [])
        paragraphs = _paragraphs(before)
        if paragraphs:
            done.extend(table(rows))
            rows = []
            done.extend(paragraphs)
        if cells:
            rows.append(cells)
        if number + 1 == len(pieces):
            done.extend(table(rows))
    return done


def _row(piece: str) -> tuple[str, list[str]]:
    """What stands before a row of a table, and its cells."""
    first = piece.find(_CELL)
    if first < 0:
        return piece, []
    start = piece.rfind(_TABLE, 0, first)
    if start < 0:
        start = piece.rfind("\n", 0, first)
    cells = [" ".join(_MARKS.sub(" ", cell).split()) for cell in piece[start + 1 :].split(_CELL)[:-1]]
    return piece[: start + 1], cells


def _paragraphs(text: str) -> list[str]:
    """Headings, paragraphs, and runs of list items as one block each."""
    done: list[str] = []
    items: list[str] = []
    for line in text.split("\n"):
        before, labelled, rest = line.partition(_LABEL)
        label, words = rest.split("\t", 1) if labelled and "\t" in rest else ("", before + rest)
        words = "\n".join(filter(None, (" ".join(_MARKS.sub(" ", part).split()) for part in words.split(_BREAK))))
        heading, level = _HEADING_MARK.search(line), _LEVEL_MARK.search(line)
        if not words:
            continue
        if labelled and heading is None:
            # Markdown nests one level at a time.
            depth = min(ord(level[0]) - _LEVEL if level is not None else 0, _depth(items[-1]) + 1 if items else 0)
            items.append("    " * depth + _list_mark(label) + words.replace("\n", " "))
            continue
        if items:
            done.append("\n".join(items))
            items = []
        marks = "#" * min(6, ord(heading[0]) - _HEADING + 1) + " " if heading is not None else ""
        done.append(marks + (words.replace("\n", " ") if marks else words))
    return [*done, "\n".join(items)] if items else done


def _depth(item: str) -> int:
    return (len(item) - len(item.lstrip(" "))) // 4


def _list_mark(label: str) -> str:
    """The mark of an item; letters that count it stay readable behind a bullet."""
    label = " ".join(_MARKS.sub(" ", label).split())
    if match := _NUMBER.fullmatch(label):
        return f"{match[1]}. "
    return f"- {label} " if any(map(str.isalnum, label)) and len(label) > 1 else "- "
