"""Certificates for tests: one authority a session, each pair made once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from tailrace.cli.certificates import Authority, write_pair
from tailrace.tls_files import TlsFiles

LOCAL = ("localhost", "127.0.0.1")


_authority = functools.cache(lambda _number: Authority.create())
_pair = functools.cache(
    lambda name, hosts, days, ca, pools: authority(ca).issue(name, hosts, days, pools)
)


def authority(number: int = 0) -> Authority:
    """An authority; other numbers are others, of the same name."""
    found: Authority = _authority(number)
    return found


def pair(
    name: str,
    hosts: Sequence[str] = LOCAL,
    days: int = 30,
    ca: int = 0,
    pools: Sequence[str] = (),
) -> tuple[bytes, bytes]:
    """A certificate and its key; with ``days=0`` it has expired."""
    made: tuple[bytes, bytes] = _pair(name, hosts, days, ca, pools)
    return made


def write_tls(
    folder: Path,
    name: str,
    hosts: Sequence[str] = LOCAL,
    days: int = 30,
    ca: int = 0,
    pools: Sequence[str] = (),
) -> TlsFiles:
    """Write a pair and its authority's certificate; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.crt").write_bytes(authority(ca).pem()[0])
    write_pair(folder, name, pair(name, hosts, days, ca, pools))
    return TlsFiles(folder / "ca.crt", folder / f"{name}.crt", folder / f"{name}.key")


def replace_pair(files: TlsFiles, content: tuple[bytes, bytes]) -> None:
    """Put another pair in place of a pair's files."""
    assert files.certificate is not None
    write_pair(files.certificate.parent, files.certificate.stem, content)
