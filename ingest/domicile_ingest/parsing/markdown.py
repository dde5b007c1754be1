"""Markdown files: the source is the text; the front matter is not part of it. The only home of ``yaml``."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from domicile.metadata import read
from domicile_ingest.parsing.parsed import Parsed, clean, one_line, stem
from domicile_ingest.parsing.structure import heading_words
from domicile_ingest.parsing.text import decode

_MAX_FRONT_MATTER = 65_536
_NAMES_DOMICILE = re.compile(r"domicile", re.IGNORECASE)
_CLAIMS_DOMICILE = re.compile(r"^[ \t{,\[]*[\"']?domicile[\"']?[ \t]*[:=.\]]", re.IGNORECASE | re.MULTILINE)
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_ATX = re.compile(r" {0,3}#[ \t]+(.*?)(?:[ \t]+#+)?$")
_SETEXT = re.compile(r" {0,3}=+$")


class _Unreadable(Exception):
    """A front matter that is no plain YAML mapping."""


def parse_markdown(name: str, data: bytes) -> Parsed:
    """A Markdown file, with title, label and metadata from its front matter."""
    return markdown(stem(name), clean(decode(data)))


def markdown(fallback: str, text: str) -> Parsed:
    """Parse cleaned Markdown; ``fallback`` is the title where it gives none."""
    front, body = _split(text)
    if front is None:
        # Such a block is text, but its author meant a label: fail closed.
        claims = text.startswith(("---\n", "+++\n")) and _CLAIMS_DOMICILE.search(text)
        reason = "the front matter is not closed, too long, or not YAML"
        label: Mapping[str, object] | None = _malformed(reason) if claims else None
        return Parsed(first_heading(text) or fallback, text, markdown=True, label=label)
    try:
        values = _load(front)
    except _Unreadable as error:
        label = _malformed(str(error)) if _NAMES_DOMICILE.search(front) else None
        return Parsed(first_heading(body) or fallback, text, markdown=True, label=label)
    declared = values.get("title")
    given = one_line(str(declared)) if isinstance(declared, str | int | float) else ""
    body = clean(body)
    metadata = read({key: value for key, value in values.items() if key != "title" and not _claims(key)})
    title = given or first_heading(body) or fallback
    return Parsed(title, body, markdown=True, label=_label(values), metadata=metadata)


def first_heading(text: str) -> str | None:
    """The first heading of level 1 outside code, without its marks."""
    fence = ""
    previous = ""
    for line in text.split("\n"):
        if match := _FENCE.match(line):
            mark = match[1]
            if not fence:
                fence = mark
            elif mark.startswith(fence) and not line.strip().strip(mark[0]):
                fence = ""
        elif not fence:
            if match := _ATX.match(line[:1000]):
                return one_line(heading_words(match[1])) or None
            if _SETEXT.match(line) and previous.strip():
                return one_line(heading_words(previous)) or None
        previous = line
    return None


def _split(text: str) -> tuple[str | None, str]:
    """The front matter, if there is one that ends within bounds, and what follows it."""
    if not text.startswith("---\n"):
        return None, text
    end = re.compile(r"^(?:---|\.\.\.)$", re.MULTILINE).search(text, 4, _MAX_FRONT_MATTER)
    if end is None:
        return None, text
    return text[4 : end.start()], text[end.end() :]


def _malformed(reason: str) -> Mapping[str, object]:
    return {"malformed": reason}


def _label(values: Mapping[Any, object]) -> Mapping[str, object] | None:
    """The declared label. Whatever names ``domicile`` and is not exactly a label is malformed, never ignored."""
    claims = [key for key in values if _claims(key)]
    if not claims:
        return None
    block = values[claims[0]]
    if claims != ["domicile"] or not isinstance(block, dict) or set(block) != {"label"}:
        return _malformed("domicile: exactly one table named label is allowed")
    label = block["label"]
    if not isinstance(label, dict) or not all(isinstance(key, str) for key in label):
        return _malformed("domicile.label: a table is needed")
    return label


def _claims(key: object) -> bool:
    return isinstance(key, str) and key.strip().casefold().partition(".")[0].strip() == "domicile"


def _load(front: str) -> Mapping[Any, object]:
    import yaml

    try:
        values = yaml.load(front, Loader=_loader())
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        problem = getattr(error, "problem", None)
        raise _Unreadable(f"the front matter is no valid YAML: {problem or type(error).__name__}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise _Unreadable("the front matter is no table")
    return values


@functools.cache
def _loader() -> type:
    """YAML's safe loader without aliases (bombs), without repeated keys (which wins?), and where ``no`` is Norway."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012 - the shape that PyYAML prescribes
            first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:bool"]
            for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise yaml.YAMLError("aliases are not allowed")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(keys) != len(set(keys)):
                raise yaml.YAMLError("a key is repeated")
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
    )
    return Loader
