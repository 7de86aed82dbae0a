"""Telling what a source is: by its first bytes, then by the content type that came with it, then by its name.

The bytes decide first because they can't be mistaken: a PDF that is called "notes.txt" is a PDF. A content type says
more than a name does (an address that ends with ".md" or ".php" often shows a page), except for the two types that
servers give to what they don't know, "text/plain" and "application/octet-stream".
"""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePosixPath

from reflow.errors import UnreadableSource
from reflow.rag.reading.text import Kind

DOCX_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

KINDS: dict[str, Kind] = {
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd", ".mdx", ".qmd", ".rmd"), "markdown"),
    **dict.fromkeys((".html", ".htm", ".xhtml", ".shtml"), "html"),
    **dict.fromkeys((".txt", ".text", ".log", ".csv", ".tsv", ".rst", ".adoc", ".asciidoc", ".org", ".tex"), "text"),
    **dict.fromkeys((".srt", ".vtt", ".bib", ".po"), "text"),
    ".pdf": "pdf",
    ".docx": "docx",
}
"""What a file is by its suffix, code apart."""

LANGUAGES: dict[str, str] = {
    **dict.fromkeys((".py", ".pyi", ".pyw"), "python"),
    **dict.fromkeys((".js", ".mjs", ".cjs", ".jsx"), "javascript"),
    **dict.fromkeys((".ts", ".mts", ".cts", ".tsx"), "typescript"),
    **dict.fromkeys((".c", ".h"), "c"),
    **dict.fromkeys((".cc", ".cpp", ".cxx", ".hh", ".hpp"), "cpp"),
    **dict.fromkeys((".sh", ".bash", ".zsh"), "shell"),
    **dict.fromkeys((".yaml", ".yml"), "yaml"),
    **dict.fromkeys((".xml", ".xsd", ".xsl", ".svg"), "xml"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson", ".json5", ".ipynb"), "json"),
    **dict.fromkeys((".ini", ".cfg", ".conf", ".properties"), "ini"),
    **dict.fromkeys((".css", ".scss", ".less"), "css"),
    **dict.fromkeys((".kt", ".kts"), "kotlin"),
    **dict.fromkeys((".ex", ".exs"), "elixir"),
    **dict.fromkeys((".vue", ".svelte"), "html"),
    ".go": "go",
    ".rs": "rust",
    ".java": "java",
    ".cs": "csharp",
    ".rb": "ruby",
    ".php": "php",
    ".swift": "swift",
    ".scala": "scala",
    ".clj": "clojure",
    ".hs": "haskell",
    ".ml": "ocaml",
    ".lua": "lua",
    ".pl": "perl",
    ".r": "r",
    ".jl": "julia",
    ".dart": "dart",
    ".zig": "zig",
    ".sql": "sql",
    ".toml": "toml",
    ".proto": "protobuf",
    ".graphql": "graphql",
    ".tf": "terraform",
    ".bat": "batch",
    ".ps1": "powershell",
}
"""The language of code by the suffix of its file."""

_FILE_NAMES = {"makefile": "make", "dockerfile": "docker", "justfile": "make", "cmakelists.txt": "cmake"}

TEXT_NAMES = frozenset((*_FILE_NAMES, "readme", "license", "changelog", "copying", "authors", "notice"))
"""Names, in small letters, of files that are known to be text without a suffix."""

SUFFIXES = frozenset((*KINDS, *LANGUAGES))
"""Suffixes of the files that can be read."""

_BY_TYPE: dict[str, Kind] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "application/pdf": "pdf",
    "application/x-pdf": "pdf",
    DOCX_TYPE: "docx",
}
_UNKNOWING_TYPES = {"", "text/plain", "application/octet-stream", "binary/octet-stream", "application/download"}

_REFUSED_SUFFIXES = {
    ".doc": "an old Word document: save it as .docx",
    ".rtf": "a rich text document: save it as .docx",
    ".odt": "an OpenDocument text: save it as .docx",
    ".pages": "a Pages document: export it as .docx or PDF",
    ".epub": "an e-book: convert it to HTML or PDF",
    ".ppt": "a presentation: export it as PDF",
    ".pptx": "a presentation: export it as PDF",
    ".xls": "a spreadsheet: export it as CSV",
    ".xlsx": "a spreadsheet: export it as CSV",
    ".eml": "a mail: save its text",
    ".msg": "a mail: save its text",
}

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"II*\0", "an image"),
    (b"MM\0*", "an image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\0", "a database"),
    (b"\0asm", "a program"),
    (b"{\\rtf", "a rich text document: save it as .docx"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
_HEAD = 1024


def suffix_of(name: str) -> str:
    """The suffix of a file's name or of an address's path, in small letters: ".md" of "https://x/y.MD?z#a"."""
    if "://" in name:
        name = name.split("#", 1)[0].split("?", 1)[0].split("://", 1)[1].partition("/")[2]
    return PurePosixPath(name.replace("\\", "/")).suffix.lower()


def language_of(name: str) -> str | None:
    """The language of code by the name of its file; None where that is no file of code."""
    base = PurePosixPath(name.replace("\\", "/")).name.lower()
    return _FILE_NAMES.get(base) or LANGUAGES.get(suffix_of(name))


def media_type(content_type: str | None) -> str:
    """The type of a Content-Type header in small letters, without its parameters."""
    return (content_type or "").split(";", 1)[0].strip().lower()


def kind_of(data: bytes, name: str, content_type: str | None = None) -> Kind:
    """What a source is. Raises UnreadableSource for what is known to be none that can be read."""
    by_bytes = _kind_of_bytes(data, name)
    if by_bytes is not None:
        return by_bytes
    kind = _kind_said(data, name, media_type(content_type))
    if kind in ("pdf", "docx"):
        what = "PDF" if kind == "pdf" else "Word document"
        raise UnreadableSource("broken", f"{name} is said to be a {what} and is none: was it cut off or mixed up?")
    return kind


def refuse_type(name: str, said: str) -> None:
    """Raises UnreadableSource for a media type that has no text."""
    if said.startswith(("image/", "audio/", "video/", "font/")) and said != "image/svg+xml":
        raise UnreadableSource("unsupported", f"{name} is of type {said}, which has no text to read")


def _kind_of_bytes(data: bytes, name: str) -> Kind | None:
    """What the bytes can't but be: a PDF or a Word document; None where they may be text."""
    head = data[:_HEAD]
    # Readers of PDF accept up to 1,024 bytes before the mark; so early in a text, only a text on PDF has it.
    if head.startswith(b"%PDF-") or (b"%PDF-" in head and suffix_of(name) == ".pdf"):
        return "pdf"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_archive(data, name)
    if head.startswith(_OLE):
        if _ENCRYPTED_STREAM in data:
            raise UnreadableSource("encrypted", f"{name} is protected by a password: save it without")
        raise UnreadableSource("unsupported", f"{name} is an old Office document: save it as .docx or PDF")
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise UnreadableSource("unsupported", f"{name} is {what}, which has no text to read")
    return None


def _kind_of_archive(data: bytes, name: str) -> Kind:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError) as error:
        raise UnreadableSource("broken", f"{name} is an archive that can't be opened ({error})") from None
    if "[Content_Types].xml" in names and any(entry.startswith("word/") for entry in names):
        return "docx"
    what = _REFUSED_SUFFIXES.get(suffix_of(name), "an archive: add the files in it")
    raise UnreadableSource("unsupported", f"{name} is {what}")


def _kind_said(data: bytes, name: str, said: str) -> Kind:
    """What a source is by its content type and name, if it is text at all."""
    if said in _BY_TYPE:
        return _BY_TYPE[said]
    refuse_type(name, said)
    suffix = suffix_of(name)
    if suffix in _REFUSED_SUFFIXES:
        raise UnreadableSource("unsupported", f"{name} is {_REFUSED_SUFFIXES[suffix]}")
    if language_of(name) is not None:
        return "code"
    if suffix in KINDS:
        return KINDS[suffix]
    if said in _UNKNOWING_TYPES and data[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(
        (b"<!doctype html", b"<html")
    ):
        return "html"
    if said.endswith(("json", "xml", "javascript", "yaml")):
        return "code"
    return "text"
