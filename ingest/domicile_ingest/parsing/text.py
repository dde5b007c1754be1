"""Bytes to text in any common encoding, and plain text files. The only home of ``charset_normalizer``."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter

from domicile.errors import DocumentError
from domicile_ingest.parsing.parsed import Parsed, clean, stem

# UTF-32 before UTF-16: the mark of one begins with the mark of the other.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_LEGACY = (
    "cp1252 cp1250 cp1251 koi8_r cp1253 cp1254 cp1255 cp1256 cp1257 cp874 iso8859_2 iso8859_5 iso8859_8 "
    "cp932 euc_jp iso2022_jp gb18030 big5 cp949 euc_kr mac_roman cp866"
).split()
# Python knows them; punycode takes quadratic time.
_NOT_FOR_FILES = {"punycode", "idna", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"}
_LATIN = {"cp1252", "cp1250", "cp1254", "cp1257", "iso8859_2", "mac_roman", "cp866", "big5", "gb18030", "cp949"}
_SAMPLE = 65_536
_MAX_CONTROLS = 0.005
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\x0b\x0c\r\x1b"))


def parse_text(name: str, data: bytes) -> Parsed:
    """A plain text file, as it is."""
    return Parsed(title=stem(name), text=clean(decode(data)), markdown=False)


def decode(data: bytes, declared: str | None = None) -> str:
    """The text behind the bytes.

    Args:
        data: the whole file.
        declared: an encoding that the file itself claims, tried after UTF-8.

    Raises:
        DocumentError: the bytes are no text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _readable(data[len(mark) :].decode(encoding, errors="replace"))
    if b"\x00" in data[:_SAMPLE]:
        return _decode_wide(data)
    _refuse_controls(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _readable(_decode_narrow(data, declared))


def _decode_wide(data: bytes) -> str:
    """UTF-16 or UTF-32 without a mark: the reading that looks most like writing, if any does."""
    best, best_share = "", 0.0
    for encoding in _WIDE:
        share = _writing_share(data[: _SAMPLE // 16 * 16].decode(encoding, errors="replace")[:4096])
        if share > best_share:
            best, best_share = encoding, share
    if best_share < 0.9:
        raise DocumentError("binary", "the file is binary data, not text")
    return _readable(data.decode(best, errors="replace"))


def _writing_share(text: str) -> float:
    """The share of characters that occur in writing; scripts that hardly ever meet in one text count against it."""
    if not text:
        return 0.0
    categories = Counter(unicodedata.category(character) for character in text)
    good = sum(number for name, number in categories.items() if name[0] in "LMNPSZ" and name != "So")
    good += text.count("\n") + text.count("\r") + text.count("\t") - text.count("\ufffd")
    blanks = sum(text.count(character) for character in " \n\u3000\u3002")
    # The wrong byte order turns every blank and line end into a rare letter, so a text without any is suspicious.
    # Of two readings that are both writing, the one in Latin letters is the right one: Latin text turns into rare Han.
    latin = 0.05 * sum(character.isascii() for character in text)
    return (good + latin) / len(text) - (0.2 if not blanks and len(text) > 20 else 0.0)


def _refuse_controls(data: bytes) -> None:
    sample = data[:_SAMPLE]
    controls = len(sample) - len(sample.translate(None, _CONTROL_BYTES))
    if controls > max(1, len(sample) * _MAX_CONTROLS):
        raise DocumentError("binary", "the file is binary data, not text")


def _decode_narrow(data: bytes, declared: str | None) -> str:
    """One byte a character, an East Asian encoding, or UTF-8 with some damage."""
    mended = data.decode("utf-8", errors="replace")
    wrong = mended.count("\ufffd")
    right = len(re.findall("[^\x00-\x7f\ufffd]", mended))
    if right > 4 * wrong:
        return mended
    for encoding in (declared, _guess(data)):
        if encoding is not None and (text := decode_as(data, encoding)) is not None:
            return text
    return data.decode("cp1252", errors="replace")


def decode_as(data: bytes, encoding: str) -> str | None:
    """The text in an encoding that a file claims; None where it is unknown, no encoding of files, or wrong."""
    try:
        name = codecs.lookup(encoding).name
        # "Latin 1" on a file means the encoding of Windows, as in browsers.
        return None if name in _NOT_FOR_FILES else data.decode("cp1252" if name == "iso8859-1" else name)
    except (LookupError, ValueError):
        return None


def _guess(data: bytes) -> str | None:
    """An encoding by the look of its letters; Western European wherever the evidence is thin."""
    high = len(re.findall(b"[\x80-\xff]", data[:_SAMPLE]))
    letters = len(re.findall(b"[A-Za-z]", data[:_SAMPLE]))
    if high < 40 and letters > 3 * high:
        return "cp1252"
    from charset_normalizer import from_bytes

    match = from_bytes(data[:_SAMPLE], cp_isolation=list(_LEGACY), steps=5, chunk_size=512).best()
    if match is None:
        return None
    # Texts in Latin letters with a few accents look alike in these; Western European is by far the most frequent.
    if match.encoding in _LATIN and letters > 5 * high and _is_western(data[:_SAMPLE]):
        return "cp1252"
    return match.encoding


def _is_western(sample: bytes) -> bool:
    """Whether nearly all high bytes are the accented letters and quotation marks of Western European writing."""
    high = sample.decode("cp1252", errors="replace").translate({code: None for code in range(128)})
    letters = "äöüßÄÖÜéèêëàâáãåæçíìîïñóòôõøœúùûÿýÉÈÀÂÁÃÅÆÇÍÎÑÓÔÕØÚ"
    usual = letters + "«»“”„\u2018\u2019\u201a\u2013—…•·°§©®€£\xb4¡¿\xa0ªº½\xd7"
    return sum(high.count(character) for character in usual) >= 0.97 * len(high)


def _readable(text: str) -> str:
    """The text, unless it is mostly what no writer writes."""
    sample = text[:_SAMPLE]
    odd = sum(sample.count(chr(code)) for code in (*range(9), *range(14, 32), 0xFFFD))
    if odd > max(2, len(sample) * 0.05):
        raise DocumentError("binary", "the file is binary data, not text")
    return text
