"""PDF files: lines with their place and size, page by page. The only home of ``pypdfium2``."""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from domicile.domain import Page
from domicile.errors import DocumentError
from domicile_ingest.parsing.markdown import first_heading
from domicile_ingest.parsing.parsed import MAX_CHARACTERS, Parsed, clean, one_line, stem
from domicile_ingest.parsing.pdf_layout import HYPHEN, Cell, Line, lay_out
from domicile_ingest.parsing.properties import pdf_date, said

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

_MAX_PAGES = 5000
_WRONG_PASSWORD = 4  # FPDF_ERR_PASSWORD
_WORD = re.compile(r"\S+")
# Blanks wider than this part of a line's height divide cells of a table.
_CELL_GAP = 1.1
# What PDFium gives for a hyphen that divides a word at the end of a line, and the soft hyphen itself.
_DIVIDED = re.compile("[\x02\ufffe\u00ad]+")
_LIGATURES = {ord(ligature): unicodedata.normalize("NFKC", ligature) for ligature in "ﬀﬁﬂﬃﬄﬅﬆ"}
_BOLD_NAMES = (b"bold", b"black", b"heavy", b"cmbx", b"sfbx", b"-demi", b"-medi")
# In a right-to-left run PDFium turns the letters of this ligature round; the two then share one box.
_LAM_ALEF = re.compile("[اأإآ]ل")
# Where scripts meet, PDFium puts the blank before the Latin words instead of behind them, and accents before letters.
_MISPLACED_BLANK = re.compile(r"(?<=[\u0590-\u08ff]) ([A-Za-z](?:[!-~]| (?=[!-~])){0,80}?)(?=[\u0590-\u08ff])")
_MISPLACED_ACCENT = re.compile(r" ([\u064b-\u0652])([\u0621-\u064a])")
_LEADER = re.compile(r"(?:\s?[.·]){6,}")
_JUNK_TITLE = re.compile(r"microsoft word|untitled|\.(?:docx?|pdf|tex|indd|qxd|pptx?)$", re.IGNORECASE)


def parse_pdf(name: str, data: bytes) -> Parsed:
    """The text layer of a PDF as Markdown, with its pages.

    Raises:
        DocumentError: ``encrypted``, ``broken``, ``too_large``, or ``no_text`` for a scan.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _WRONG_PASSWORD or "password" in str(error).lower():
            raise DocumentError("encrypted", "the PDF is protected by a password") from error
        raise DocumentError("broken", "the PDF is damaged and cannot be opened") from error
    try:
        count = len(document)
        if count > _MAX_PAGES:
            raise DocumentError("too_large", f"the PDF has {count:,} pages; {_MAX_PAGES:,} are allowed: split it")
        pages = [lines for lines in _pages(document, count)]
        declared, author, created, modified = (
            one_line(str(document.get_metadata_value(key) or ""))
            for key in ("Title", "Author", "CreationDate", "ModDate")
        )
    except pypdfium2.PdfiumError as error:
        raise DocumentError("broken", f"the PDF is damaged: {error}") from error
    finally:
        document.close()
    if not any(pages):
        raise DocumentError(
            "no_text", f"the PDF has {count} page(s) and no text layer, as scans do: run OCR on it first"
        )
    text, ranges = lay_out(pages)
    metadata = said(author, pdf_date(created), pdf_date(modified))
    title = _title(text, ranges[0], declared) or stem(name)
    return Parsed(title, text, markdown=True, pages=ranges, metadata=metadata)


def _title(text: str, cover: Page, declared: str) -> str:
    """The first heading, if it is on the first page and not that of a numbered chapter; else the declared title."""
    printed = first_heading(text[: cover.end])
    if printed and not printed[0].isdigit():
        return printed
    return ("" if _JUNK_TITLE.search(declared) else declared) or printed or first_heading(text) or ""


def _pages(document: PdfDocument, count: int) -> Iterator[list[Line]]:
    """The lines of each page; a page that cannot be loaded is an empty one, unless that holds for all."""
    import pypdfium2

    characters = failed = 0
    for number in range(count):
        try:
            page = document[number]
            text_page = page.get_textpage()
        except pypdfium2.PdfiumError:
            failed += 1
            if failed == count:
                raise
            yield []
            continue
        try:
            lines = _Reader(text_page).lines()
        finally:
            text_page.close()
            page.close()
        characters += sum(len(line.text) for line in lines)
        if characters > MAX_CHARACTERS:
            raise DocumentError("too_large", f"the PDF has more than {MAX_CHARACTERS:,} characters: split it")
        yield lines


class _Reader:
    """Reads one page through PDFium's C interface, whose indices count characters exactly."""

    def __init__(self, text_page: Any) -> None:
        from pypdfium2 import raw

        self._raw = raw
        self._page = text_page
        self._box = raw.FS_RECTF()
        self._name = ctypes.create_string_buffer(256)
        self._flags = ctypes.c_int()

    def lines(self) -> list[Line]:
        get = self._raw.FPDFText_GetUnicode
        # Half of a surrogate pair or a zero is no character; one blank keeps the indices in step.
        codes = (get(self._page, index) for index in range(self._page.count_chars()))
        text = "".join(chr(code) if 0 < code < 0xD800 or 0xDFFF < code < 0x110000 else " " for code in codes)
        text = _LAM_ALEF.sub(self._righted, text)
        found: list[Line] = []
        for match in re.compile(r"[^\r\n]*\S[^\r\n]*").finditer(text):
            line = self._line(text, match.start(), match.end())
            if line is not None:
                found.append(line)
        return found

    def _line(self, text: str, start: int, end: int) -> Line | None:
        words = [(match.start(), match.end()) for match in _WORD.finditer(text, start, end)]
        middle = words[len(words) // 2][0]
        first_box, last_box = self._place(words[0][0]), self._place(words[-1][1] - 1)
        left, right = min(first_box[0], last_box[0]), max(first_box[1], last_box[1])
        _, _, top, bottom = self._place(middle)
        height = abs(top - bottom)
        cells: list[Cell] = []
        first, x0, previous_end, previous_right = words[0][0], left, words[0][1], 0.0
        for word_start, word_end in words[1:]:
            previous_right = self._place(previous_end - 1)[1]
            next_left = self._place(word_start)[0]
            if next_left - previous_right > _CELL_GAP * height > 0:
                cells.append(Cell(_tidy(text[first:previous_end]), x0, previous_right))
                first, x0 = word_start, next_left
            previous_end = word_end
        cells.append(Cell(_tidy(text[first:previous_end]), x0, right))
        cells = [cell for cell in cells if cell.text]
        if not cells:
            return None
        return Line(tuple(cells), top, bottom, self._is_bold(middle))

    def _righted(self, match: re.Match[str]) -> str:
        letters = match[0]
        together = self._place(match.start())[:2] == self._place(match.start() + 1)[:2]
        return letters[::-1] if together else letters

    def _place(self, index: int) -> tuple[float, float, float, float]:
        """Left, right, top, bottom; the loose box has the height of the font, whatever the letter."""
        self._raw.FPDFText_GetLooseCharBox(self._page, index, ctypes.byref(self._box))
        return self._box.left, self._box.right, self._box.top, self._box.bottom

    def _is_bold(self, index: int) -> bool:
        length = self._raw.FPDFText_GetFontInfo(
            self._page, index, self._name, len(self._name), ctypes.byref(self._flags)
        )
        name = self._name.raw[: max(0, min(length, len(self._name)) - 1)].lower()
        return any(word in name for word in _BOLD_NAMES)


def _tidy(text: str) -> str:
    """Words as they are written: ligatures taken apart, accents composed, dividing hyphens marked at the end only."""
    text = clean(unicodedata.normalize("NFC", _DIVIDED.sub(HYPHEN, text).translate(_LIGATURES)))
    text = " ".join(_LEADER.sub(" … ", text).split())
    text = _MISPLACED_ACCENT.sub(r"\2\1", _MISPLACED_BLANK.sub(r"\1 ", text))
    return text[:-1].replace(HYPHEN, "") + text[-1:]
