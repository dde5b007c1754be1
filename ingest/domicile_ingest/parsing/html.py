"""HTML to Markdown: what a reader of the page reads, without navigation. The home of ``selectolax``.

A walker of our own, because markdownify took 45-125 ms for a 40 kB page of Python's manual and kept link targets.
Words stand in the text as a browser shows them (no emphasis marks, no link targets), so that quotes read well.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domicile.errors import DocumentError
from domicile_ingest.parsing.html_hidden import drop_hidden
from domicile_ingest.parsing.markdown_table import Grid, fence, table
from domicile_ingest.parsing.parsed import Parsed, clean, hidden_text, one_line, stem
from domicile_ingest.parsing.text import decode

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_CHARSET = re.compile(rb"<(?:meta|\?xml)[^>]{0,500}?(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
# HTML knows no declarations inside a doctype, as XHTML has them, and takes their end for text.
_SUBSET = re.compile(
    r"(\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--.{0,2000}?-->\s*)?<!doctype\s[^<>\[]{0,1000})\[[^\]]{0,50000}\](?=\s*>)",
    re.IGNORECASE | re.DOTALL,
)
_TAG = re.compile(r"<(/?)([a-zA-Z]+)")
_MAX_DEPTH = 4000
# Beyond this depth the text is kept and its structure given up, so that no page exhausts the stack.
_MAX_WALK = 150

_SKIP = frozenset(
    "script style template noscript svg math head title nav aside iframe object embed canvas audio video button select "
    "datalist textarea input dialog menu -comment link meta".split()
)
_CODE = frozenset({"script", "style", "template", "-comment"})
_BLOCKS = frozenset(
    "address article blockquote body center details dd div dl dt fieldset figcaption figure footer form h1 h2 h3 "
    "h4 h5 h6 header hgroup hr html legend li main ol p pre search section summary table tbody td tfoot th thead tr ul "
    "caption".split()
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_CHROME = ", ".join((
    "[role=navigation]", "[role=search]", "[role=banner]", "[role=contentinfo]", "[role=complementary]",
    "i[aria-hidden=true]", "a[aria-hidden=true]", "a.headerlink", "a.anchor-link", "a.skip-link", "a.skiplink",
    "div.related", "div.sphinxsidebar", "div.navheader",
    "div.navfooter", "td.linenos", "span.linenos", "div.mobile-nav", "div.navbar", "div.breadcrumbs",
    "ul.breadcrumb", "ol.breadcrumb", "div.mw-jump-link", "span.mw-editsection", "div.printfooter", "#mw-navigation",
    "#toc", "#footer", "#cookie-banner",
))  # fmt: skip
_LINE_BREAK = "\x0b"
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"), None)


@dataclass(frozen=True, slots=True)
class WebPage:
    """What a page says of itself and its text as Markdown; any of them may be empty.

    Attributes:
        hidden: characters that its reader does not see; they are not in the text.
    """

    title: str
    heading: str
    text: str
    hidden: int = 0


def parse_html(name: str, data: bytes) -> Parsed:
    """A page without its navigation, as Markdown.

    Raises:
        DocumentError: ``empty``, all of it is hidden; see ``read_page``.
    """
    page = read_page(source_of(data))
    if page.hidden and not page.text:
        raise DocumentError("empty", f"its reader sees none of its {page.hidden:,} characters: they are hidden")
    text = clean(f"# {page.title}\n\n{page.text}") if page.title and page.text and not page.heading else page.text
    return Parsed(page.heading or page.title or stem(name), text, markdown=True, metadata=hidden_text(page.hidden))


def source_of(data: bytes, declared: str | None = None) -> str:
    """The source behind the bytes; what the page declares about itself goes before ``declared``."""
    match = _CHARSET.search(data[:4096])
    return decode(data, match[1].decode("ascii", "replace") if match else declared)


def read_page(source: str) -> WebPage:
    """The words of a page.

    Raises:
        DocumentError: ``broken``, it is nested beyond reason; ``too_large``.
    """
    from selectolax.lexbor import LexborHTMLParser

    source = source.replace("\x00", " ")
    if subset := _SUBSET.match(source):
        source = subset[1] + source[subset.end() :]
    _refuse_depth(source)
    tree = LexborHTMLParser(source)
    title = _title_of(tree.css_first("title"))
    _drop_chrome(tree)
    walker, body = _Walker(_SKIP), tree.body
    hidden = drop_hidden(tree, _SKIP, walker.words)
    text = clean("\n\n".join(walker.blocks(_content(tree, body), 0))) if body is not None else ""
    if not text and body is not None:  # a page that is nothing but navigation: better all of it than none
        walker = _Walker(_CODE)
        hidden += drop_hidden(tree, _CODE, walker.words)
        text = clean("\n\n".join(walker.blocks(body, 0)))
    heading = _title_of(tree.css_first("h1"))
    return WebPage(title, heading if any(map(str.isalpha, heading)) else "", text, hidden)


def _title_of(node: LexborNode | None) -> str:
    return one_line(node.text(deep=True)[:2000].translate(_INVISIBLE).rstrip("¶ \n")) if node is not None else ""


def _refuse_depth(source: str) -> None:
    """The tree builder takes quadratic time on deep nesting: half a megabyte of ``<div>`` costs half a minute."""
    if source.count("<") <= _MAX_DEPTH:
        return
    depth = 0
    for closing, tag in _TAG.findall(source):
        if tag.lower() in _OPTIONAL_END:
            continue
        depth = max(0, depth - 1) if closing else depth + 1
        if depth > _MAX_DEPTH:
            raise DocumentError("broken", f"the page nests more than {_MAX_DEPTH} elements")


_OPTIONAL_END = frozenset(
    "p li dt dd tr td th thead tbody tfoot option optgroup colgroup area base br col embed hr img input link meta "
    "param source track wbr html head body rp rt a b i font".split()
)


def _drop_chrome(tree: LexborHTMLParser) -> None:
    for node in tree.css(_CHROME):
        node.decompose()
    # What heads an article or a section of one is content, and so is the source under a quotation.
    kept = {node.mem_id for node in tree.css("main header, article header, section header, blockquote footer")}
    for node in tree.css("header, footer"):
        if node.mem_id not in kept and (node.tag == "footer" or node.css_first("h1") is None):
            node.decompose()


def _content(tree: LexborHTMLParser, body: LexborNode) -> LexborNode:
    """The page's declared main part, where there is exactly one and it holds most of the words."""
    mains = tree.css("main, [role=main]")
    if len(mains) == 1 and 2 * len(mains[0].text(deep=True)) >= len(body.text(deep=True)):
        return mains[0]
    return body


class _Walker:
    """Renders nodes as a list of Markdown blocks."""

    def __init__(self, skip: frozenset[str]) -> None:
        self._skip = skip

    def blocks(self, node: LexborNode, depth: int) -> list[str]:
        """The blocks inside a node; loose words between them are paragraphs."""
        done: list[str] = []
        words: list[str] = []
        for child in node.iter(include_text=True):
            tag = child.tag or ""
            if tag == "-text":
                words.append(child.text_content or "")
            elif tag in self._skip:
                continue
            elif tag in _BLOCKS or self._holds_blocks(child, tag, depth):
                _flush(words, done)
                self._block(child, tag, depth + 1, done)
            else:
                self._inline(child, words, depth + 1)
        _flush(words, done)
        return done

    def _holds_blocks(self, node: LexborNode, tag: str, depth: int) -> bool:
        """Whether an inline or unknown element wraps blocks, as ``<a><div>`` and custom elements do."""
        first = node.first_child
        return (
            depth < _MAX_WALK
            and first is not None
            and tag not in _PHRASES
            and any((child.tag or "") in _BLOCKS for child in node.iter(include_text=False))
        )

    def _block(self, node: LexborNode, tag: str, depth: int, done: list[str]) -> None:
        if depth > _MAX_WALK:
            _flush([node.text(deep=True, separator=" ")], done)
        elif tag in _HEADINGS:
            text = " ".join(self.words(node, depth).split())
            if text:
                done.append(f"{'#' * _HEADINGS[tag]} {text}")
        elif tag == "pre":
            done.extend(fence(node.text(deep=True), _language(node)))
        elif tag in _COMPOUNDS:
            _COMPOUNDS[tag](self, node, depth, done)
        elif tag == "blockquote":
            inner = "\n\n".join(self.blocks(node, depth))
            if inner:
                done.append("\n".join(f"> {line}".rstrip() for line in inner.split("\n")))
        elif tag != "hr":
            done.extend(self.blocks(node, depth))

    def _list(self, node: LexborNode, depth: int, done: list[str]) -> None:
        items: list[str] = []
        tag = node.tag
        number = _integer(node, "start", 1) if tag == "ol" else 0
        for child in node.iter(include_text=False):
            if child.tag in self._skip:
                continue
            inner = self.blocks(child, depth)
            if inner:
                mark = f"{number}. " if tag == "ol" else "- "
                items.append(_item(mark, inner))
            number += 1
        if items:
            done.append("\n".join(items))

    def _definitions(self, node: LexborNode, depth: int, done: list[str]) -> None:
        """A term and the start of its definition share a paragraph, so that no cut comes between them."""
        terms: list[str] = []
        for child in node.iter(include_text=False):
            if child.tag == "dt":
                terms.append(" ".join(self.words(child, depth).split()))
            elif child.tag == "dd":
                inner = self.blocks(child, depth)
                head = "\n".join(term for term in terms if term)
                if inner and head and not _is_marked(inner[0]):
                    done.append(f"{head}\n{inner[0]}")
                    done.extend(inner[1:])
                else:
                    done.extend(part for part in (head, *inner) if part)
                terms = []
            elif child.tag == "div":  # groups of dt and dd
                if depth < _MAX_WALK:
                    self._definitions(child, depth + 1, done)
        done.extend(term for term in terms if term)

    def _table(self, node: LexborNode, depth: int, done: list[str]) -> None:
        grid = Grid()
        rows = [row for row in node.css("tr") if _own_table(row, node)] if depth < _MAX_WALK else []
        nested = any(inner.mem_id != node.mem_id for inner in node.css("table"))
        cells = [[cell for cell in row.iter(include_text=False) if cell.tag in ("td", "th")] for row in rows]
        caption = node.css_first("caption")
        if caption is not None:
            _flush([self.words(caption, depth)], done)
        if nested or max(map(len, cells), default=0) < 2:  # a table for layout: its cells are blocks of the page
            for row in cells:
                for cell in row:
                    done.extend(self.blocks(cell, depth + 1))
            return
        for row in cells:
            for cell in row:
                text = " ".join(self.words(cell, depth + 1).split())
                grid.add(text, _integer(cell, "colspan", 1), _integer(cell, "rowspan", 1))
            grid.end_row()
        done.extend(table(grid.rows()))

    def words(self, node: LexborNode, depth: int = 0) -> str:
        """All words inside a node as one run, blocks kept apart by blanks."""
        words: list[str] = []
        self._inline(node, words, depth)
        return "".join(words).translate(_INVISIBLE).replace(_LINE_BREAK, " ")

    def _inline(self, node: LexborNode, words: list[str], depth: int) -> None:
        if depth > _MAX_WALK:
            words.append(node.text(deep=True))
            return
        if node.tag == "br":
            words.append(_LINE_BREAK)
        elif node.tag == "q":
            words.append("“")
        for child in node.iter(include_text=True):
            tag = child.tag or ""
            if tag == "-text":
                words.append(child.text_content or "")
            elif tag not in self._skip:
                apart = " " if tag in _BLOCKS else ""
                words.append(apart)
                self._inline(child, words, depth + 1)
                words.append(apart)
        if node.tag == "q":
            words.append("”")


_COMPOUNDS: dict[str, Callable[[_Walker, LexborNode, int, list[str]], None]] = {
    "ul": _Walker._list,
    "ol": _Walker._list,
    "dl": _Walker._definitions,
    "table": _Walker._table,
}
_PHRASES = frozenset("b i em strong span code tt br sub sup img small u s kbd samp var abbr cite wbr mark time".split())


def _flush(words: list[str], done: list[str]) -> None:
    """Close a paragraph of loose words."""
    if words:
        lines = (" ".join(line.split()) for line in "".join(words).translate(_INVISIBLE).split(_LINE_BREAK))
        text = "\n".join(line for line in lines if line)
        if text:
            done.append(text)
        words.clear()


def _item(mark: str, inner: list[str]) -> str:
    """A list item; a list right under its first line stays tight."""
    text = inner[0]
    for block in inner[1:]:
        text += ("\n" if re.match(r"(?:- |\d+\. )", block) else "\n\n") + block
    return mark + text.replace("\n", "\n" + " " * len(mark))


def _is_marked(block: str) -> bool:
    """Whether a block begins with a mark that must stay at the start of a paragraph."""
    return block.startswith(("#", "|", "```", "- ", "> ")) or re.match(r"\d+\. ", block) is not None


def _own_table(row: LexborNode, node: LexborNode) -> bool:
    parent = row.parent
    while parent is not None and parent.tag != "table":
        parent = parent.parent
    return parent is not None and parent.mem_id == node.mem_id


def _integer(node: LexborNode, attribute: str, default: int) -> int:
    value = node.attributes.get(attribute) or ""
    return int(value) if re.fullmatch(r"[0-9]{1,6}", value) else default


def _language(node: LexborNode) -> str:
    """The language that a highlighter noted on the code or right above it."""
    child = node.css_first("code")
    for owner in (child, node, node.parent, node.parent.parent if node.parent is not None else None):
        names = (owner.attributes.get("class") or "") if owner is not None else ""
        if match := re.search(r"\b(?:language|lang|highlight)-([A-Za-z0-9+#]{1,20})", names):
            return "" if match[1] in ("default", "none", "text") else match[1]
    return ""
