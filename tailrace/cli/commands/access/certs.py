"""``tailrace certs``: certificates for a first start with TLS."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli import exit_codes
from tailrace.cli.errors import CommandError
from tailrace.cli.show import output

if TYPE_CHECKING:
    from tailrace.cli.certificates import Authority

app = typer.Typer(help="Certificates for a first start with TLS.", no_args_is_help=True)

_ALWAYS = ("localhost", "127.0.0.1", "::1")
"""Hosts of each server certificate, for health checks and commands on the same machine."""

_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-fA-F:]+")


@app.command("init")
def init(
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="HOST",
            help="Name or address by which clients and workers reach the server; repeatable.",
        ),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--folder", "-o", metavar="FOLDER", help="Folder for the files.")
    ] = Path("certs"),
    days: Annotated[
        int,
        typer.Option("--days", metavar="N", min=1, max=3650, help="Days until they expire."),
    ] = 365,
    renew: Annotated[
        bool, typer.Option("--renew", help="Replace the certificates of an earlier call.")
    ] = False,
) -> None:
    """Make an authority and certificates for a server and its workers.

    Writes ca.crt, server.crt, server.key, worker.crt, worker.key and ca.key. Keep ca.key away from
    servers: its holder can make certificates. With --renew the authority stays, so that no client
    needs another ca.crt; servers and workers take up the new files while they run.
    """
    if importlib.util.find_spec("cryptography") is None:
        raise CommandError('a package is missing: pip install "tailrace[tls]"')
    from tailrace.cli.certificates import write_pair

    hosts = list(dict.fromkeys((*(host or []), *_ALWAYS)))
    for name in hosts:
        if not _HOST.fullmatch(name):
            raise CommandError(f"--host {name!r} is not a host name or address, without a port")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    existing = [name for name in ("server", "worker") if (folder / f"{name}.crt").exists()]
    if existing and not renew:
        raise CommandError(
            f"{folder} has certificates already: give --renew to replace them, or another --folder",
            exit_codes.CONFLICT,
        )
    authority = _authority(folder)
    write_pair(folder, "server", authority.issue("tailrace-server", hosts, days))
    write_pair(folder, "worker", authority.issue("tailrace-worker", (), days))
    output.print_fields(
        [
            ("server", f"TAILRACE_TLS_CERT_FILE={folder / 'server.crt'}"),
            ("", f"TAILRACE_TLS_KEY_FILE={folder / 'server.key'}"),
            ("", f"TAILRACE_WORKER_CA_FILE={folder / 'ca.crt'} (with TAILRACE_WORKER_BIND)"),
            ("workers", f"TAILRACE_CA_FILE={folder / 'ca.crt'}"),
            ("", f"TAILRACE_CERT_FILE={folder / 'worker.crt'}"),
            ("", f"TAILRACE_KEY_FILE={folder / 'worker.key'}"),
            ("clients", f"TAILRACE_CA_FILE={folder / 'ca.crt'}"),
            ("hosts", ", ".join(hosts)),
        ]
    )


def _authority(folder: Path) -> Authority:
    """Return the folder's authority, which is made if there is none."""
    from tailrace.cli.certificates import Authority, write_pair

    certificate, key = folder / "ca.crt", folder / "ca.key"
    if certificate.exists() or key.exists():
        try:
            return Authority.load(certificate, key)
        except ValueError as error:
            raise CommandError(f"{folder} has no usable authority: {error}") from error
    authority = Authority.create()
    write_pair(folder, "ca", authority.pem())
    return authority
