from __future__ import annotations

import gzip

import pytest

from reflow.errors import UnreadableSource
from reflow.limits import Limits
from reflow.rag.chunking import chunk
from reflow.rag.reading import SUFFIXES, Heading, kind_of, read, read_text
from tests.support import office_files


def refused(data: bytes, name: str, content_type: str | None = None, *, limits: Limits | None = None) -> str:
    """The reason for which a source is refused; its message names it."""
    with pytest.raises(UnreadableSource) as caught:
        read(data, name, content_type, limits=limits or Limits())
    assert name in str(caught.value)
    return caught.value.reason


# What a source is


@pytest.mark.parametrize(
    ("name", "content_type", "kind"),
    [
        ("notes.txt", None, "text"),
        ("NOTES.MD", None, "markdown"),
        ("https://x.test/guide.md?plain=1#top", "text/plain; charset=utf-8", "markdown"),
        ("https://x.test/guide.md", "text/html", "html"),
        ("https://x.test/index.php", "text/html; charset=utf-8", "html"),
        ("https://x.test/", "text/html", "html"),
        ("script.py", "text/x-python", "code"),
        ("Dockerfile", None, "code"),
        ("data", "application/json", "code"),
        ("README", None, "text"),
        ("C:\\notes\\a.md", None, "markdown"),
        ("a.unheard-of", None, "text"),
    ],
)
def test_the_kind_follows_content_type_and_name(name: str, content_type: str | None, kind: str) -> None:
    assert kind_of(b"some words", name, content_type) == kind


def test_bytes_that_can_not_be_mistaken_decide_first() -> None:
    made = office_files.pdf([["Hello from a page."]])
    assert read(made, "notes.txt", "text/plain").kind == "pdf"
    assert read(office_files.docx(office_files.paragraph("Hi")), "upload", "application/octet-stream").kind == "docx"
    assert read(b"\xef\xbb\xbf  <!DOCTYPE html><p>Hi", "page").kind == "html"
    assert read(b"On the mark %PDF-1.4 and what follows it", "notes.txt").kind == "text"


def test_suffixes_name_what_can_be_read() -> None:
    assert {".txt", ".md", ".html", ".pdf", ".docx", ".py", ".ts"} <= SUFFIXES
    assert not SUFFIXES & {".doc", ".xlsx", ".zip", ".png"}


@pytest.mark.parametrize(
    ("data", "name", "content_type", "reason"),
    [
        (b"", "a.txt", None, "empty"),
        (b" \r\n\t\n", "a.md", None, "empty"),
        (b"\xef\xbb\xbf", "a.txt", None, "empty"),
        (b"\xff\xfe", "a.txt", None, "empty"),
        (b"\0" * 5000, "a.txt", None, "empty"),
        (bytes(range(256)) * 20, "a.txt", None, "binary"),
        (b"text and then\0a zero", "a.txt", None, "binary"),
        (b"\x89PNG\r\n\x1a\n....", "a.md", None, "unsupported"),
        (gzip.compress(b"text"), "a.txt", None, "unsupported"),
        (b"\x7fELF\2\1\1", "a", None, "unsupported"),
        (b"{\\rtf1 text}", "a.rtf", None, "unsupported"),
        (b"words", "a.doc", None, "unsupported"),
        (b"words", "clip", "video/mp4", "unsupported"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "a.doc", None, "unsupported"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            "a.docx",
            None,
            "encrypted",
        ),
        (b"just words", "a.pdf", None, "broken"),
        (b"just words", "page", "application/pdf", "broken"),
        (b"just words", "a.docx", None, "broken"),
        (b"PK\x03\x04 and nonsense", "a.docx", None, "broken"),
        (b"%PDF-1.7 and nonsense", "a.pdf", None, "broken"),
        (office_files.pdf([["words"] * 40] * 3)[:900], "cut.pdf", None, "broken"),
        (office_files.docx(office_files.paragraph("words"))[:700], "cut.docx", None, "broken"),
        (office_files.docx("<w:p><w:r></w:p>"), "xml.docx", None, "broken"),
        (office_files.encrypted_pdf(), "a.pdf", None, "encrypted"),
        (office_files.pdf([[], []]), "scan.pdf", None, "empty"),
        (office_files.docx(""), "a.docx", None, "empty"),
        (b"<html><script>fill()</script><div id=root></div>", "https://x.test/", "text/html", "empty"),
    ],
)
def test_what_has_no_text_is_refused_with_the_reason(
    data: bytes, name: str, content_type: str | None, reason: str
) -> None:
    assert refused(data, name, content_type) == reason


def test_too_much_is_refused_before_and_after_reading() -> None:
    small = Limits(source_bytes=100, text_chars=50, source_pages=2, source_unpacked_bytes=1 << 20)
    assert refused(b"x" * 101, "a.txt", limits=small) == "too_large"
    assert refused(b"x" * 51, "a.txt", limits=small) == "too_large"
    larger = Limits(text_chars=50, source_pages=2)
    assert refused(office_files.pdf([["a"]] * 3), "a.pdf", limits=larger) == "too_large"
    assert refused(office_files.pdf([["many words here and there"] * 9]), "b.pdf", limits=larger) == "too_large"
    assert refused(office_files.zip_bomb(2), "c.docx", limits=Limits(source_unpacked_bytes=1 << 20)) == "too_large"
    assert refused(office_files.zip_bomb(65), "d.docx") == "too_large"


def test_a_document_that_lies_about_its_sizes_is_broken() -> None:
    made = bytearray(office_files.docx(office_files.paragraph("words " * 1000)))
    at = made.rindex(b"word/document.xml") - 46
    made[at + 24 : at + 28] = (10).to_bytes(4, "little")  # the unpacked size that the directory tells
    assert refused(bytes(made), "a.docx") == "broken"


def test_entities_that_expand_are_not_expanded() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(10)
    )
    made = office_files.docx("", more={"word/document.xml": f"{bomb}]><x>&k;</x>".encode()})
    assert refused(made, "a.docx") == "broken"


# Encodings


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "Größe, naïve, 日本語"),
        ("utf-8-sig", "Größe, naïve, 日本語"),
        ("utf-16", "Größe, naïve, 日本語"),
        ("utf-16-le", "Plain words without a mark, and Größe"),
        ("utf-16-be", "Plain words without a mark, and Größe"),
        ("utf-32", "Größe, naïve, 日本語"),
        ("cp1252", "naïve café"),
        ("cp1252", "Über allen Gipfeln “ist Ruh” – spürest du…"),
        ("cp1251", "Привет, мир. Это проверка того, как читается текст в старой кодировке."),
        ("shift_jis", "日本語のテキストです。これはテストです。漢字もあります。"),
    ],
)
def test_texts_are_read_in_whatever_encoding(encoding: str, text: str) -> None:
    assert read(text.encode(encoding), "a.txt").text == text


def test_a_declared_encoding_is_believed_where_the_bytes_fit_it() -> None:
    text = "Zażółć gęślą jaźń"
    assert read(text.encode("iso8859-2"), "a.txt", "text/plain; charset=ISO-8859-2").text == text
    assert read(text.encode(), "a.txt", "text/plain; charset=utf-16").text != ""
    assert read("“quoted”".encode("cp1252"), "a.txt", "text/plain; charset=iso-8859-1").text == "“quoted”"
    page = f'<meta http-equiv=x content="text/html; charset=koi8-r"><p>{"Привет, мир"}'
    assert read(page.encode("koi8-r"), "a.html").text == "Привет, мир"


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "utf-7", "rot13", "zlib", "unicode_escape", "x" * 99, "no such"]
)
def test_no_sender_chooses_a_trap_for_an_encoding(charset: str) -> None:
    assert read(b"+AGE- plain \\x41", "a.txt", f"text/plain; charset={charset}").text == "+AGE- plain \\x41"


def test_one_broken_byte_does_not_change_the_encoding() -> None:
    data = ("Größe und Maß über alles. " * 20).encode()
    text = read(data[:100] + b"\xff" + data[100:], "a.txt")
    assert text.encoding == "utf-8"
    assert text.text.count("\ufffd") == 1
    assert "Maß über" in text.text


# Structure


def test_headings_of_markdown() -> None:
    source = """---
title: "The front"
# not a heading
---
# One *two* [three](http://x.test) ##

Under
lined
===

```
# in code
```
## C#

Plain
---

- item
---
    # code
#hashtag
### Last"""
    text = read_text(source, "a.md")
    assert text.title == "The front"
    assert [(heading.level, heading.title) for heading in text.headings] == [
        (1, "One *two* three"),
        (1, "lined"),
        (2, "C#"),
        (2, "Plain"),
        (3, "Last"),
    ]
    assert all(source[h.start :].lstrip("# ").startswith(h.title[:3]) for h in text.headings)
    assert read_text("# First\n# Second", "a.md").title == "First"


def test_definitions_of_code() -> None:
    source = "import x\n\nclass Store(Base):\n    async def put(self):\n        pass\n\ndef main() -> None:\n    pass\n"
    text = read_text(source, "store.py")
    assert text.language == "python"
    assert [(h.level, h.title) for h in text.headings] == [
        (1, "class Store(Base)"),
        (2, "async def put(self)"),
        (1, "def main() -> None"),
    ]
    assert [c.headings for c in chunk(text, max_chars=40, overlap=0)][-1] == ("def main() -> None",)
    assert read_text("export default async function load(x) {\n}\n", "a.ts").headings[0].level == 1
    assert read_text('{"def": 1}', "a.json").headings == ()


PAGE = b"""<!doctype html><title>Guide - Site</title><nav>Home | About</nav><header><p>Site</header>
<main><h1>The <em>guide</em><a class="headerlink" href="#g">\xc2\xb6</a></h1>
<p>First  words<br>and <a href="https://x.test">a link</a>, <code>x = 1</code>.</p><div hidden>secret</div>
<ul><li>one<li>two<ol><li>inner<li>more</ol></ul><h2>Data</h2>
<table><tr><th>Name<th>Size<tr><td>a | b<td>1<br>2</table>
<pre>def f():
    return "```"
</pre><blockquote><p>said</blockquote><script>evil()</script><style>p{}</style><form>search me</form>
<p style="display:none">hidden<p aria-hidden="true">icon<aside>Note: more words that are needed to be long enough.
</aside><p>And so on, until there is enough to be taken for what the page is about, which it is by now.</main>
<footer>imprint</footer>"""

MARKDOWN = """# The guide

First words
and a link, `x = 1`.

- one
- two
  1. inner
  2. more

## Data

| Name | Size |
| --- | --- |
| a \\| b | 1 2 |

````
def f():
    return "```"
````

> said

Note: more words that are needed to be long enough.

And so on, until there is enough to be taken for what the page is about, which it is by now."""


def test_a_page_becomes_markdown_without_its_frame() -> None:
    text = read(PAGE, "https://x.test/guide", "text/html")
    assert text.text == MARKDOWN
    assert text.title == "The guide"
    assert text.headings == (Heading(0, 1, "The guide"), Heading(text.text.index("## Data"), 2, "Data"))


def test_a_page_that_names_no_main_part_is_read_as_a_whole() -> None:
    page = b"<title>T</title><body><nav>menu</nav><h2>Head</h2>Text<p>More<table><tr><td>One<tr><td>Two</table>"
    text = read(page, "a.html")
    assert text.text == "## Head\n\nText\n\nMore\n\nOne\n\nTwo"
    assert text.title == "T"


def test_a_heading_is_one_line_whatever_it_is_made_of() -> None:
    text = read(
        b"<h2><div>The</div><br><div>name <code>x</code></div></h2><ul><li><h3>In a list</h3>item</ul>", "a.html"
    )
    assert text.text == "## The name `x`\n\n### In a list\n\n- item"
    assert [heading.title for heading in text.headings] == ["The name x", "In a list"]


def test_a_pdf_has_pages_paragraphs_and_the_headings_of_its_outline() -> None:
    lines = ["The first chapter", "It has a line that is rather long, so that others are short beside it, and", "ends."]
    made = office_files.pdf(
        [lines, ["Second (chapter)", "Caf\u00e9."]], [("the first Chapter", 0), ("Elsewhere", 1)], "My \\ book"
    )
    text = read(made, "book.pdf")
    assert text.text == "\n".join(lines) + "\n\nSecond (chapter)\nCaf\u00e9.\n\n"
    assert text.pages == (0, text.text.index("Second"))
    assert text.title == "My \\ book"
    assert text.headings == (Heading(0, 1, "the first Chapter"), Heading(text.pages[1], 1, "Elsewhere"))
    assert [piece.page for piece in chunk(text, max_chars=60, overlap=0)][-1] == 2


def test_a_word_document_keeps_headings_tables_and_the_new_state() -> None:
    body = (
        office_files.paragraph("The plan", "Title")
        + office_files.paragraph("First part", "heading1")
        + "<w:p><w:r><w:t xml:space='preserve'>Kept, </w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
        "<w:ins><w:r><w:t>new</w:t></w:r></w:ins></w:p>"
        + office_files.table([["Name", "Size"], ["a", "1"]])
        + office_files.paragraph("Below", "heading2")
        + office_files.paragraph("# no heading")
    )
    text = read(office_files.docx(body, title="R&amp;D"), "plan.docx")
    assert text.title == "R&D"
    assert text.text == (
        "# The plan\n\n# First part\n\nKept, new\n\n| Name | Size |\n| --- | --- |\n| a | 1 |\n\n"
        "## Below\n\n# no heading"
    )
    assert [(h.level, h.title) for h in text.headings] == [(1, "The plan"), (1, "First part"), (2, "Below")]
