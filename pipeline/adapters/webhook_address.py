"""Which addresses webhooks may go to. Messages name scheme and host: the rest of an address is often a token.

An address is the operator's, so hosts of private networks are allowed. Where a link-local or a cloud's metadata address is
written as such it is refused, for no receiver is there, and an alert's way in must not be a way to credentials. What a name
stands for is not looked up here.
"""

import ipaddress
import re
import socket
from typing import Final
from urllib.parse import SplitResult, urlsplit

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from pipeline.errors import ConfigurationError

METADATA: Final = frozenset(ipaddress.ip_address(each) for each in ("fd00:ec2::254", "100.100.100.200"))
UNWRITABLE: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\\]")
SHAPE: Final = "write https://host/path"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_url(url: str, allow_http: bool) -> None:
    """Raise ConfigurationError unless the address is https, or http to this machine (or anywhere, with ``allow_http``)."""
    parts = _split(url)
    host = parts.hostname or ""
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"notify endpoint at {host} carries a password", "use the signature's secret instead")
    if parts.scheme == "http" and not (allow_http or _is_loopback(host)):
        fix = "use https, or set GROUNDSWELL_NOTIFY__ALLOW_HTTP=true where the network is trusted"
        raise ConfigurationError(f"notify endpoint {shown(url)} is not encrypted", fix)
    if (address := _literal(host)) is not None and (address.is_link_local or address in METADATA):
        raise ConfigurationError(f"notify endpoint {shown(url)} is a link-local or metadata address", "name the receiver's host")


def shown(url: str) -> str:
    """Return of an address what people may see: scheme and host, where it has them."""
    try:
        parts = urlsplit(url)
        return repr(f"{parts.scheme}://{parts.hostname}") if parts.scheme and parts.hostname else "without scheme or host"
    except ValueError:
        return "of an unreadable form"


def _split(url: str) -> SplitResult:
    if UNWRITABLE.search(url):
        raise ConfigurationError("a notify endpoint's address holds a space, a backslash or a control character", SHAPE)
    try:
        parts = urlsplit(url)
        port, known = parts.port, parse_url(url)
        (parts.hostname or "").encode("idna")
    except (ValueError, LocationParseError):  # with the whole address in its message
        raise ConfigurationError(f"notify endpoint {shown(url)} cannot be read, by its host or its port", SHAPE) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not known.host or port == 0:
        raise ConfigurationError(f"notify endpoint {shown(url)} is no web address", SHAPE)
    return parts


def _literal(host: str) -> Address | None:
    """Return the IP address that a host is written as, in any form that the resolver takes; None where it is a name."""
    written = host.rstrip(".").partition("%")[0]
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(written))
        except OSError:
            return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
