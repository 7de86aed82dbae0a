"""Bytes to characters, where nobody says for sure which encoding it is."""

from __future__ import annotations

import codecs
import re

from reflow.errors import MissingExtra, UnreadableSource

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Encodings a sender may declare. Python knows more; some of those (punycode, idna, utf-7) are traps.
_DECLARABLE = re.compile(
    r"ascii|utf-8|utf-8-sig|utf-16(-[lb]e)?|utf-32(-[lb]e)?|cp125\d|cp(437|850|852|866|874|932|949|950)|iso8859-\d+"
    r"|latin-1|koi8-[ru]|mac-(roman|cyrillic)|shift_jis|euc_(jp|kr)|iso2022_(jp|kr)|gb2312|gbk|gb18030|big5|tis-620"
)
_SAMPLE = 1 << 16
# What Western texts hold beyond ASCII. Guessing works by frequencies, which a few accents in a text do not have.
_WESTERN = frozenset("àáâãäåæçèéêëìíîïñòóôõöøœùúûüÿßÀÁÂÄÅÆÇÈÉÊËÍÎÑÓÔÖØŒÙÚÛÜ‘’“”„‚«»‹›–—…•·°§©®€£¥¡¿²½×\xa0")
_CONTROLS = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1b") + b"\x7f"


def decode(data: bytes, name: str, declared: str | None = None) -> tuple[str, str]:
    """The text of bytes and the encoding they were taken for.

    A byte order mark decides, then the encoding that was declared with them if they fit it, then whether they are
    UTF-8 or UTF-16; what remains is guessed from the bytes. Raises UnreadableSource for bytes that are no text, and
    MissingExtra where a guess needs `reflow[documents]`.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace"), encoding
    codec = _codec(declared)
    if codec is not None and codec != "utf-8":
        try:
            return data.decode(codec), codec
        except UnicodeDecodeError:
            pass  # declared wrongly, as happens: the bytes themselves are asked
    wide = _wide(data)
    if wide is not None:
        return data.decode(wide, "replace"), wide
    _refuse_binary(data, name)
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return _guessed(data, name)


def _codec(declared: str | None) -> str | None:
    """Python's name of a declared encoding; None for one that is unknown or not to be trusted."""
    if not declared:
        return None
    try:
        found = codecs.lookup(declared.strip().strip("\"'")).name
    except (LookupError, ValueError):
        return None
    if not _DECLARABLE.fullmatch(found):
        return None
    # The web means Windows' Latin 1 by all of these names (WHATWG, Encoding Standard, 4.2).
    return "cp1252" if found in ("iso8859-1", "latin-1", "ascii") else found.removesuffix("-sig")


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: at least a fifth of one half of its bytes are zero, and hardly any of the other."""
    sample = data[: _SAMPLE & ~1]
    if len(sample) < 4 or len(data) % 2:
        return None
    half = len(sample) // 2
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if odd * 5 >= half and even * 50 <= half:
        return "utf-16-le"
    if even * 5 >= half and odd * 50 <= half:
        return "utf-16-be"
    return None


def _refuse_binary(data: bytes, name: str) -> None:
    sample = data[:_SAMPLE]
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    if b"\0" in data or controls * 50 > len(sample):
        raise UnreadableSource("binary", f"{name} holds no text: it is a binary file, or it is damaged")


def _guessed(data: bytes, name: str) -> tuple[str, str]:
    """Text that is not UTF-8: a damaged one all the same, or of an older encoding."""
    mended = data.decode("utf-8", "replace")
    damaged = mended.count("\ufffd")
    foreign = sum(1 for _ in re.finditer(r"[^\x00-\x7f]", mended)) - damaged
    if damaged * 10 <= foreign:
        return mended, "utf-8"
    try:
        from charset_normalizer import from_bytes
    except ImportError as error:
        raise MissingExtra(
            f"{name} is not UTF-8; telling its encoding needs the package charset-normalizer: install"
            " `reflow[documents]`, or save the file as UTF-8"
        ) from error
    first = re.search(rb"[\x80-\xff]", data)
    lower = max(0, (first.start() if first else 0) - _SAMPLE // 4)
    sample = data[lower : lower + _SAMPLE]
    best = None if _is_western(sample) else from_bytes(sample).best()
    if best is not None and not best.encoding.startswith(("utf_16", "utf_32")):
        try:
            return data.decode(best.encoding), best.encoding.replace("_", "-")
        except UnicodeDecodeError:
            pass  # right for the sample, wrong further on
    return data.decode("cp1252", "replace"), "cp1252"


def _is_western(sample: bytes) -> bool:
    beyond = re.sub(r"[\x00-\x7f]+", "", sample.decode("cp1252", "replace"))
    return len(beyond) * 4 <= len(sample) and _WESTERN.issuperset(beyond)
