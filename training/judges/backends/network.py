"""Network access of judges: public addresses, and the places that the operator lists.

A name is resolved once per connection. All its addresses are checked and the connection uses one of
them, so that a name server cannot give another answer the second time (DNS rebinding). The
certificate must still be for the name.
"""

from __future__ import annotations

import ipaddress
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator

import httpcore2

from tailrace.formats.endpoint_access import PLACES_VARIABLE, EndpointAccess, EndpointUrl

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
_IPV4_SUFFIXED = [
    ipaddress.IPv6Network(prefix)
    for prefix in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
]
"""IPv4 addresses written as IPv6: compatible, mapped, translated and NAT64 (RFC 4291, 6052)."""

_NOT_PUBLIC = [
    ipaddress.ip_network(block)
    for block in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "3fff::/20")
]
"""Blocks that at least one Python release counts as global: protocol assignments (with a cloud's
metadata server), 6to4 relays, Azure's platform server, documentation."""

_ISATAP = {0x00005EFE, 0x02005EFE}
_MAX_TUNNEL_RESPONSE = 16_384


class PlaceRefusedError(Exception):
    """A place that a judge may not reach; the message names it and the way out."""


def is_public(text: str) -> bool:
    """Return whether an address belongs to the public internet.

    IPv4 addresses within IPv6 addresses are checked as IPv4.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    inner = list(_inner_addresses(address))
    if inner:
        return all(is_public(str(ipv4)) for ipv4 in inner)
    if isinstance(address, ipaddress.IPv6Address) and address not in _PUBLIC_IPV6:
        return False
    if any(address in block for block in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner_addresses(address: _Address) -> Iterator[_Address]:
    """Yield the IPv4 addresses that packets to an IPv6 address may reach."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if any(address in network for network in _IPV4_SUFFIXED):
        yield last
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        yield last


class JudgeNetwork(httpcore2.NetworkBackend):
    """A network with connections only to places that an :class:`EndpointAccess` allows."""

    def __init__(self, access: EndpointAccess) -> None:
        self._access = access
        self._sockets = httpcore2.SyncBackend()
        self.deadline = Deadline()
        """Deadline of the calling thread's request."""

    def require_allowed(self, url: EndpointUrl) -> None:
        """Check a place before any request.

        A name that cannot be resolved yet is checked when a connection is made.

        Raises:
            PlaceRefusedError: Judges may not reach the place.
        """
        if url.place in self._access.allowed:
            return
        if url.scheme != "https":
            raise PlaceRefusedError(f"{url.place} is asked over http, not https; {_way_out(url)}")
        try:
            self._addresses(url.host, url.port)
        except OSError:
            return

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to a checked address, through the proxy if there is one."""
        try:
            addresses = self._addresses(host, port)
        except OSError as error:
            raise httpcore2.ConnectError(f"{host} has no address: {error.strerror}") from error
        place = EndpointUrl("https", host, port, "").place
        if self._access.proxy is None or place in self._access.allowed:
            return self._connect(addresses, port, timeout)
        return self._tunnel(self._access.proxy, addresses[0], port, timeout)

    def _addresses(self, host: str, port: int) -> list[str]:
        """Resolve a name once and check its addresses.

        Raises:
            OSError: The name cannot be resolved.
            PlaceRefusedError: An address is not public, and the place is not listed.
        """
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
        url = EndpointUrl("https", host, port, "")
        if url.place not in self._access.allowed and not all(map(is_public, addresses)):
            raise PlaceRefusedError(f"{url.place} is not at a public address; {_way_out(url)}")
        return addresses

    def _connect(
        self, addresses: Iterable[str], port: int, timeout: float | None
    ) -> httpcore2.NetworkStream:
        """Connect to the first address that answers."""
        failure: Exception = httpcore2.ConnectError("the name has no address")
        for address in addresses:
            left = self.deadline.left(timeout, httpcore2.ConnectTimeout)
            try:
                return _TimedStream(self._sockets.connect_tcp(address, port, left), self.deadline)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    def _tunnel(
        self, proxy: str, address: str, port: int, timeout: float | None
    ) -> httpcore2.NetworkStream:
        """Connect through the proxy, which is given the checked address instead of the name."""
        host, _, proxy_port = proxy.rpartition(":")
        stream = self._connect([host.strip("[]")], int(proxy_port), timeout)
        place = EndpointUrl("https", address, port, "").place
        stream.write(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode(), timeout)
        response = b""
        while b"\r\n\r\n" not in response and len(response) < _MAX_TUNNEL_RESPONSE:
            # One byte at a time: any bytes after the response belong to the tunnel.
            byte = stream.read(1, timeout)
            if not byte:
                break
            response += byte
        status = response.split(b" ", 2)[1:2]
        if status != [b"200"]:
            stream.close()
            raise httpcore2.ConnectError("the proxy refuses a tunnel to the server")
        return stream


class Deadline(threading.local):
    """The deadline of a thread's request, however slowly its server responds."""

    at = math.inf
    """Deadline in seconds of the monotonic clock."""

    def left(self, timeout: float | None, late: type[httpcore2.TimeoutException]) -> float:
        """Return the seconds left, at most ``timeout``; raise ``late`` after the deadline."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise late("no complete answer in time")
        return min(left, math.inf if timeout is None else timeout)


class _TimedStream(httpcore2.NetworkStream):
    """A connection whose operations end by the calling thread's deadline."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read up to ``max_bytes``."""
        left = self._deadline.left(timeout, httpcore2.ReadTimeout)
        return self._stream.read(max_bytes, left)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of ``buffer``."""
        self._stream.write(buffer, self._deadline.left(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        """Start TLS with a server whose certificate is for ``server_hostname``."""
        left = self._deadline.left(timeout, httpcore2.ConnectTimeout)
        stream = self._stream.start_tls(ssl_context, server_hostname, left)
        return _TimedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> object:
        """Return a property of the connection, such as its TLS object."""
        return self._stream.get_extra_info(info)


def _way_out(url: EndpointUrl) -> str:
    return (
        "judges reach public servers over https; the worker's operator can list this one in "
        f"{PLACES_VARIABLE} (tailrace up --allow-endpoint {url.place}), and "
        f"`python -m training.judge` takes --allow-endpoint {url.place}"
    )
