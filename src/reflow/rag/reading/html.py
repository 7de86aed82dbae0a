"""HTML to Markdown: what a reader of a page would call its text, with headings, lists, tables and code.

The page is parsed as browsers do (HTML Living Standard, by Lexbor), and walked without recursion, so that no nesting
is too deep. What frames the content is left out: navigation, footers, forms, scripts, and what is hidden. Links keep
their words, not their addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from reflow.errors import MissingExtra, UnreadableSource
from reflow.rag.reading.markdown import shortened
from reflow.rag.reading.text import Heading

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s{0,9}=\s{0,9}[\"']?\s{0,9}([\w-]{1,40})", re.IGNORECASE)
_HEAD = 2048

_DROPPED = frozenset(
    "script style noscript template svg math iframe object embed canvas audio video nav footer form button select input"
    " textarea dialog menu head link meta".split()
)
_DROPPED_ROLES = frozenset(("navigation", "banner", "contentinfo", "search", "dialog", "alertdialog", "menu"))
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_BLOCKS = frozenset(
    "address article aside body caption center dd details div dl dt fieldset figcaption figure header hgroup hr html"
    " main p section summary".split()
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_ANCHORS = frozenset("¶#§🔗")
_WHOLE_PAGE_CHARS = 200
"""A main part with less text than this is taken for one that its scripts would fill."""

_Event = tuple[Literal["open", "close", "text"], "LexborNode"]


def charset_of(data: bytes) -> str | None:
    """The encoding that a page declares for itself."""
    match = _META_CHARSET.search(data[:_HEAD])
    return match[1].decode("ascii", "replace") if match else None


def read_html(page: str, name: str, *, whole: bool = False) -> tuple[str, tuple[Heading, ...], str | None]:
    """The text of a page as Markdown, its headings (offsets in that text) and its title.

    Only its main part is read where it has one; all of it if `whole`.
    """
    try:
        from selectolax.lexbor import LexborHTMLParser, SelectolaxError
    except ImportError as error:
        raise MissingExtra("reading HTML needs the package selectolax: install `reflow[documents]`") from error
    try:
        tree = LexborHTMLParser(page)
    except SelectolaxError as error:
        raise UnreadableSource("broken", f"{name} can't be parsed, or needs too much memory ({error})") from None
    root = tree.body
    if root is None:
        return "", (), None
    main = None if whole else _main_part(tree.css("main, [role=main]"), tree.css("article"))
    writer = _Writer()
    for kind, node in _events(main or root, aside=whole or main is not None):
        writer.take(kind, node)
    writer.flush()
    named = tree.css_first("title")
    title = shortened(named.text()) if named is not None else ""
    first = next((heading.title for heading in writer.headings if heading.level == 1), None)
    return "".join(writer.written), tuple(writer.headings), first or title or None


def _main_part(named: list[LexborNode], articles: list[LexborNode]) -> LexborNode | None:
    """The element that holds the content, where the page says which."""
    candidates = named or (articles if len(articles) == 1 else [])
    return next((node for node in candidates if len(node.text(strip=True)) >= _WHOLE_PAGE_CHARS), None)


def _events(root: LexborNode, *, aside: bool) -> Iterator[_Event]:
    """Elements as they open and close, and the text between, without what is no content."""
    node, depth = root, 0
    while True:
        if node.is_text_node:
            yield "text", node
        elif node.is_element_node and not (depth and _is_dropped(node, aside)):
            yield "open", node
            child = node.first_child
            if child is not None:
                node, depth = child, depth + 1
                continue
            yield "close", node
        while depth and node.next is None:
            parent = node.parent
            if parent is None:
                return
            node, depth = parent, depth - 1
            yield "close", node
        following = node.next
        if not depth or following is None:
            return
        node = following


def _is_dropped(node: LexborNode, aside: bool) -> bool:
    tag = node.tag
    if tag in _DROPPED or (tag == "aside" and not aside):
        return True
    attributes = node.attributes
    if not attributes:
        return False
    if "hidden" in attributes or attributes.get("aria-hidden") == "true":
        return True
    if attributes.get("role") in _DROPPED_ROLES or _HIDDEN.search(attributes.get("style") or ""):
        return True
    return tag == "a" and ("headerlink" in (attributes.get("class") or "") or node.text(strip=True) in _ANCHORS)


class _Writer:
    """Turns the events of a page into Markdown, block by block."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.headings: list[Heading] = []
        self._length = 0
        self._line: list[str] = []
        self._level = 0  # of the heading that is open
        self._lists: list[int | None] = []  # the next number of each open list, None in those without
        self._item = ""  # the mark of a list's item whose text has not begun
        self._tight = False  # whether the last block is of a list
        self._quotes = 0
        self._verbatim = 0
        self._tables = 0
        self._rows: list[list[str]] = []

    def take(self, kind: Literal["open", "close", "text"], node: LexborNode) -> None:
        """The next event."""
        if kind == "text":
            self._line.append(node.text_content or "")
        elif self._tables:
            self._in_table(kind, node)
        elif kind == "open":
            self._open(node)
        else:
            self._close(node)

    def flush(self) -> None:
        """Ends a block."""
        raw = "".join(self._line)
        self._line.clear()
        text = "\n".join(filter(None, (" ".join(line.split()) for line in raw.split("\v"))))
        if not text:
            return
        if self._level:
            title = text.replace("\n", " ")
            self._put(f"{'#' * self._level} {title}", Heading(0, self._level, shortened(title)))
        elif self._lists:
            margin = "  " * (len(self._lists) - 1)
            mark = self._item or " " * len("- ")
            self._put(margin + mark + text.replace("\n", f"\n{margin}  "), tight=True)
            self._item = ""
        else:
            self._put(text)

    def _put(self, block: str, heading: Heading | None = None, *, tight: bool = False) -> None:
        if self._quotes:
            block = "\n".join(f"> {line}" for line in block.split("\n"))
        if self.written:
            gap = "\n" if tight and self._tight else "\n\n"
            self.written.append(gap)
            self._length += len(gap)
        self._tight = tight
        if heading is not None:
            self.headings.append(Heading(self._length, heading.level, heading.title))
        self.written.append(block)
        self._length += len(block)

    def _open(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if self._verbatim:
            if tag == "br":
                self._line.append("\n")
            self._verbatim += tag == "pre"
        elif tag == "br":
            self._line.append("\v")
        elif tag == "code":
            self._line.append("`")
        elif tag in _HEADINGS:
            self.flush()
            self._level = _HEADINGS[tag]
        elif tag in ("ul", "ol"):
            self.flush()
            self._lists.append(1 if tag == "ol" else None)
        elif tag == "li":
            self.flush()
            self._item = self._mark()
        elif tag == "pre":
            self.flush()
            self._verbatim = 1
        elif tag == "table":
            self.flush()
            self._tables = 1
        elif self._level and tag in _BLOCKS:
            self._line.append(" ")  # a heading is one line
        elif tag in _BLOCKS or tag == "blockquote":
            self.flush()
            self._quotes += tag == "blockquote"

    def _mark(self) -> str:
        if not self._lists or self._lists[-1] is None:
            return "- "
        number = self._lists[-1]
        self._lists[-1] = number + 1
        return f"{number}. "

    def _close(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if self._verbatim:
            self._verbatim -= tag == "pre"
            if not self._verbatim:
                self._put_code()
        elif tag == "code":
            self._line.append("`")
        elif tag in _HEADINGS:
            self.flush()
            self._level = 0
        elif tag in ("ul", "ol"):
            self.flush()
            del self._lists[-1:]
            self._tight = self._tight and bool(self._lists)
        elif self._level and tag in _BLOCKS:
            self._line.append(" ")
        elif tag == "li" or tag in _BLOCKS or tag == "blockquote":
            self.flush()
            self._quotes -= tag == "blockquote"

    def _put_code(self) -> None:
        code = "".join(self._line).replace("\v", "\n").strip("\n")
        self._line.clear()
        if code.strip():
            runs = re.findall(r"`{3,}", code)
            fence = "`" * (max(map(len, runs), default=2) + 1)
            self._put(f"{fence}\n{code}\n{fence}")

    # Tables

    def _in_table(self, kind: Literal["open", "close", "text"], node: LexborNode) -> None:
        """Cells end up in one line each; a table inside of a cell is part of that line."""
        tag = node.tag or ""
        if tag == "table":
            self._tables += 1 if kind == "open" else -1
            if not self._tables:
                self._put_table()
        elif self._tables > 1 or tag not in ("tr", "td", "th"):
            if tag in _BLOCKS or tag in ("br", "li", "td", "th", "tr", "pre", "blockquote") or tag in _HEADINGS:
                self._line.append(" ")
        elif kind == "open" and tag == "tr":
            self._line.clear()
            self._rows.append([])
        elif kind == "close" and tag != "tr" and self._rows:
            self._rows[-1].append(" ".join("".join(self._line).replace("\v", " ").split()))
            self._line.clear()
        elif kind == "open":
            self._line.clear()

    def _put_table(self) -> None:
        rows = [row for row in self._rows if any(row)]
        self._rows = []
        self._line.clear()
        width = max(map(len, rows), default=0)
        if width == 1:  # a frame for layout
            for (cell,) in rows:
                self._put(cell)
        elif rows:
            lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
            lines.insert(1, "|" + " --- |" * width)
            self._put("\n".join(lines))
