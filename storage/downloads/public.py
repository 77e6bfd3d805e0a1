"""HTTP to public addresses only: neither a redirect nor a name may lead to this machine, its network or its metadata.

A name is resolved once, all it means is looked at, and the connection goes to an address that was looked at: a name
that means another address a moment later changes nothing. Through a proxy the proxy resolves; addresses that are spelt
out are refused there too. A person allows hosts of a network of their own by name (ALLOW).
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import urllib.parse
import urllib.request
from typing import Any

ALLOW = "CVBENCH_ALLOW_HOSTS"
"""Variable of hosts that may have any address, with commas between them."""

_EMBEDDING = ipaddress.ip_network("64:ff9b::/96")
"""Addresses that stand for one of IPv4, their last 32 bits (RFC 6052)."""


class RefusedError(Exception):
    """A place that is not asked."""


def opener(*, downgraded: bool) -> urllib.request.OpenerDirector:
    """An opener of http and https URLs; it raises RefusedError for a place that is not asked.

    Args:
        downgraded: Whether https may redirect to http: where a checksum vouches for what comes.
    """
    return urllib.request.build_opener(_Http, _Https, _Redirects(downgraded))


def is_public(address: str) -> bool:
    """Whether an address, as the system spells it, is one of the internet's.

    >>> [is_public(a) for a in ("8.8.8.8", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "fe80::1%eth0")]
    [True, False, False, False, False]
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _EMBEDDING:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            found = inner
    return found.is_global and not found.is_multicast


def connect(host: str, port: int, timeout: float | None) -> socket.socket:
    """A connection to a host, at an address that was looked at.

    Raises:
        RefusedError: One of the host's addresses is not public.
        OSError: It has none, or none answers.
    """
    addresses = [entry[4] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    _refuse(host, [str(address[0]) for address in addresses])
    failed: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection((str(address[0]), port), timeout)
        except OSError as error:
            failed = error
    raise failed or OSError(f"{host} has no address")


def _refuse(host: str, addresses: list[str]) -> None:
    if host.lower() in os.environ.get(ALLOW, "").lower().split(","):
        return
    if private := next((address for address in addresses if not is_public(address)), None):
        raise RefusedError(f"{host} is {private}, which is no public address; {ALLOW}={host} allows it")


def _spelt(host: str) -> list[str]:
    """The address that a host spells, in any form that the system takes (2130706433, 0x7f.1); none of a name."""
    try:
        return [str(ipaddress.ip_address(host.strip("[]")))]
    except ValueError:
        pass
    try:
        return [socket.inet_ntoa(socket.inet_aton(host))]
    except OSError:
        return []


class _HttpConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = connect(self.host, self.port, self.timeout)


class _HttpsConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        plain = connect(self.host, self.port, self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)


def _through_proxy(request: urllib.request.Request) -> bool:
    host = urllib.parse.urlsplit(request.full_url).hostname or ""
    proxied = request.has_proxy() or getattr(request, "_tunnel_host", None) is not None
    if proxied:
        _refuse(host, _spelt(host))
    return proxied


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(http.client.HTTPConnection if _through_proxy(req) else _HttpConnection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(http.client.HTTPSConnection if _through_proxy(req) else _HttpsConnection, req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https only."""

    def __init__(self, downgraded: bool) -> None:
        self._downgraded = downgraded

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https"):
            raise RefusedError(f"the server redirects to {newurl}")
        if scheme == "http" and req.type == "https" and not self._downgraded:
            raise RefusedError(f"the server redirects from https to {newurl}, and no checksum is published")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
