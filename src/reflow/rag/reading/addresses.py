"""Which addresses may be fetched for others: a user must not reach through this program what it alone can reach.

Machines of a private network, this machine and the services of a cloud that give out keys trust who asks them. So only
addresses of the public internet are asked, judged by number after resolving, in whatever form they were written.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from reflow.errors import FetchError
from reflow.limits import DEFAULT

_WEB_PORTS = frozenset((80, 443))
_FIRST_FREE_PORT = 1024
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_KEPT = "%/:=&?~+!$,;'@()*[]-._"

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# IANA's registries of special-purpose addresses, as far as no version of Python knows all of them; and ways of writing
# IPv4 as IPv6 for tunnels, which no public host needs.
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        "192.0.0.0/24 192.88.99.0/24 64:ff9b:1::/48 ::/96 ::ffff:0:0:0/96 100::/64 2001::/23 2002::/16 3fff::/20"
        " 5f00::/16 fec0::/10".split(),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address of the web, taken apart once so that nobody can read it in two ways."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def default_port(self) -> bool:
        """Whether its port goes without saying."""
        return self.port == (443 if self.scheme == "https" else 80)

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.default_port else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole of it."""
        return f"{self.scheme}://{self.authority}{self.target}"


def parse(url: str, *, any_port: bool = False) -> Address:
    """An address to fetch. Raises FetchError for what is none, or none of the web.

    Ports below 1024 other than 80 and 443 belong to services that are no web servers; `any_port` allows them.
    """
    if len(url) > DEFAULT.address_length:
        raise _refusal(url[:80] + "…", f"it is longer than limits.address_length = {DEFAULT.address_length}")
    if _UNSAFE.search(url):
        raise _refusal(url, "it has spaces, control characters or backslashes in it")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError):
        raise _refusal(url, "its host or port can't be read") from None
    if parts.scheme not in ("http", "https"):
        raise _refusal(url, "only http:// and https:// addresses are fetched")
    if not host:
        raise _refusal(url, "it names no host")
    if "@" in parts.netloc:
        raise _refusal(parts.scheme + "://…@" + host, "it holds a user name or password: leave them out")
    port = port or (443 if parts.scheme == "https" else 80)
    if port not in _WEB_PORTS and port < _FIRST_FREE_PORT and not any_port:
        raise _refusal(url, f"port {port} is not for the web")
    query = f"?{parts.query}" if parts.query else ""
    return Address(scheme=parts.scheme, host=host, port=port, target=quote((parts.path or "/") + query, safe=_KEPT))


def _refusal(url: str, why: str) -> FetchError:
    return FetchError(f"{url} can't be fetched: {why}", retryable=False)


def is_public(number: str) -> bool:
    """Whether an IP address is one of the public internet, through all its ways of being written."""
    try:
        address = ipaddress.ip_address(number.split("%", 1)[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        if address in _NAT64:  # what DNS64 makes of public IPv4 addresses in networks without IPv4
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
    if any(address.version == network.version and address in network for network in _SPECIAL):
        return False
    special = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    return address.is_global and not (special or address.is_reserved or address.is_unspecified)
