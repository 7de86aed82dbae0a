"""Addresses that strangers write: whatever they are, they are read in one way or refused."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import FetchError
from reflow.rag.reading.addresses import Address, is_public, parse

PARTS = [
    "http://",
    "https://",
    "HTTP:",
    "//",
    "/",
    "\\",
    "@",
    ":",
    "?",
    "#",
    "x.test",
    "127.1",
    "[::1]",
    "%2f",
    "%00",
    " ",
    "80",
]
PARTS += ["\t", "é", "。", ";", "..", "user:pass@", ":443", ":99999", "ß.test", "\u202e", "0x7f", "a" * 70 + ".test"]


def parsed(url: str) -> Address | None:
    """The address, or None where it is refused with a text."""
    try:
        return parse(url)
    except FetchError as error:
        return None if str(error) and not error.retryable else parse("")


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PARTS), max_size=8).map("".join)))
def test_an_address_is_read_in_one_way_or_refused(url: str) -> None:
    address = parsed(url)
    if address is None:
        return
    assert address.scheme in ("http", "https")
    assert address.host.isascii()
    assert address.host
    assert 0 < address.port < 65536
    assert address.target.startswith("/")
    assert address.url.isascii()
    assert not set(address.url) & set(" \t\r\n\\\0")
    # Written out and read by others, it is the same host and port.
    again = urlsplit(address.url)
    assert (again.hostname, again.port or (443 if again.scheme == "https" else 80)) == (
        address.host.lower(),
        address.port,
    )
    assert parsed(address.url) == address


@given(st.ip_addresses())
def test_public_is_never_what_python_knows_to_be_special(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_public(str(address)):
        assert address.is_global or address in ipaddress.ip_network("64:ff9b::/96")
        special = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
        assert not special


@given(st.ip_addresses(v=4))
def test_an_address_inside_of_another_is_judged_by_itself(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    assert is_public(str(ipaddress.IPv6Address((0xFFFF << 32) | number))) is is_public(str(address))
    assert is_public(str(ipaddress.IPv6Address((0x64FF9B << 96) | number))) is is_public(str(address))
    assert not is_public(str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80))))
    assert not is_public(str(ipaddress.IPv6Address(number)))
