"""The one entry to parsing: a name and bytes in, a text out."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from domicile.errors import DocumentError
from domicile_ingest.parsing.detect import Kind, detect
from domicile_ingest.parsing.parsed import Parsed, require_text

MAX_BYTES = 100_000_000

# Imported when first needed: a folder of Markdown files should not wait for the PDF library.
_PARSERS: dict[Kind, tuple[str, str]] = {
    "md": ("markdown", "parse_markdown"),
    "html": ("html", "parse_html"),
    "txt": ("text", "parse_text"),
    "csv": ("table", "parse_csv"),
    "tsv": ("table", "parse_tsv"),
    "pdf": ("pdf", "parse_pdf"),
    "docx": ("docx", "parse_docx"),
    "xlsx": ("xlsx", "parse_xlsx"),
    "pptx": ("pptx", "parse_pptx"),
    "odt": ("odt", "parse_odt"),
    "epub": ("epub", "parse_epub"),
    "rtf": ("rtf", "parse_rtf"),
    "eml": ("eml", "parse_eml"),
    "msg": ("msg", "parse_msg"),
}


def parse(name: str, data: bytes) -> Parsed:
    """Turn a file into its text.

    Args:
        name: the file's name or path; only its suffix and stem matter.
        data: the whole file.

    Raises:
        DocumentError: this file cannot be ingested; ``kind`` is one of ``empty``, ``binary``, ``encrypted``,
            ``broken``, ``no_text``, ``too_large`` and ``unsupported``.
    """
    if len(data) > MAX_BYTES:
        raise DocumentError("too_large", f"the file has {len(data):,} bytes; {MAX_BYTES:,} are allowed: split it")
    kind = detect(name, data)
    try:
        return require_text(_parser(kind)(name, data))
    except (RecursionError, MemoryError) as error:
        raise DocumentError("broken", f"the {kind} file is nested or inflated beyond reason") from error


def _parser(kind: Kind) -> Callable[[str, bytes], Parsed]:
    module, function = _PARSERS[kind]
    parser: Callable[[str, bytes], Parsed] = getattr(import_module(f"domicile_ingest.parsing.{module}"), function)
    return parser
