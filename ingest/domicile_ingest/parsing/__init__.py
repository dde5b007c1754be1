"""Files to text: detection, one parser a format, and the structure of what they yield."""

from domicile_ingest.parsing.parse import parse
from domicile_ingest.parsing.parsed import Attachment, Parsed, clean

__all__ = ["Attachment", "Parsed", "clean", "parse"]
