"""HTTP proxies that the environment names, and the servers that are reached without one.

gRPC reads ``grpc_proxy``, ``https_proxy`` and ``http_proxy``, and as exceptions ``no_grpc_proxy``
and ``no_proxy``, in lower case only and without an exception for this machine. Here a server on
this machine is never reached through a proxy, and ``NO_PROXY`` counts in upper case, too.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from urllib.parse import urlsplit

_PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTION_VARIABLES = ("no_grpc_proxy", "no_proxy", "NO_PROXY")
_LOCAL_SCHEMES = ("unix:", "unix-abstract:", "vsock:")


def proxy_of(server: str) -> str | None:
    """Return ``host:port`` of the proxy for ``server``; ``None`` for a direct connection.

    Credentials in the proxy's URL are left out.
    """
    url = next((os.environ[name] for name in _PROXY_VARIABLES if os.environ.get(name)), "")
    # gRPC ignores every other kind of proxy.
    if not url.startswith("http://") or server.startswith(_LOCAL_SCHEMES):
        return None
    host = _host(server)
    if _is_this_machine(host) or any(_covers(entry, host) for entry in _exceptions()):
        return None
    return urlsplit(url).netloc.rpartition("@")[2]


def _host(server: str) -> str:
    """Return the host of a gRPC target such as ``plane:7443``, ``[::1]:7443``, ``dns:///plane``."""
    address = re.sub(r"^(dns|ipv4|ipv6):(//[^/]*/)?", "", server)
    bracketed = re.match(r"\[([^]]*)\]", address)
    if bracketed:
        return bracketed[1].lower()
    return (address if address.count(":") > 1 else address.partition(":")[0]).lower()


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _ip_address(host)
    if address is None:
        return False
    if address.is_loopback or address.is_unspecified:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Only an address of this machine can be bound.
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _exceptions() -> list[str]:
    entries = ",".join(os.environ.get(name, "") for name in _EXCEPTION_VARIABLES)
    return [entry.strip().lower() for entry in entries.split(",") if entry.strip()]


def _covers(entry: str, host: str) -> bool:
    """Return True if an entry of NO_PROXY names the host: itself, a domain, a network, or ``*``."""
    entry = entry.rpartition(":")[0] if re.fullmatch(r"[^:]+:\d+", entry) else entry
    address = _ip_address(host)
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    domain = entry.removeprefix("*").lstrip(".").strip("[]")
    return entry == "*" or host == domain or (bool(domain) and host.endswith(f".{domain}"))


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
