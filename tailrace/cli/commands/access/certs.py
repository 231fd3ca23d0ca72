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
from tailrace.formats.spec.run_spec import RESOURCE_ID

if TYPE_CHECKING:
    from tailrace.cli.certificates import Authority

app = typer.Typer(help="Certificates for a first start with TLS.", no_args_is_help=True)

_ALWAYS = ("localhost", "127.0.0.1", "::1")
"""Hosts of each server certificate, for health checks and commands on the same machine."""

_RESERVED = ("ca", "server")
"""Names of the other pairs in the folder."""

_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-fA-F:]+")


Folder = Annotated[
    Path, typer.Option("--folder", "-o", metavar="FOLDER", help="Folder for the files.")
]
Days = Annotated[
    int,
    typer.Option("--days", metavar="N", min=1, max=3650, help="Days until it expires."),
]
Renew = Annotated[bool, typer.Option("--renew", help="Replace the certificate of an earlier call.")]


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
    folder: Folder = Path("certs"),
    days: Days = 365,
    renew: Renew = False,
) -> None:
    """Make an authority and a certificate for a server.

    Writes ca.crt, server.crt, server.key and ca.key. Keep ca.key away from servers: its holder can
    make certificates. With --renew the authority stays, so that no client needs another ca.crt; the
    server takes up the new files while it runs.
    """
    _require_package()
    hosts = list(dict.fromkeys((*(host or []), *_ALWAYS)))
    for name in hosts:
        if not _HOST.fullmatch(name):
            raise CommandError(f"--host {name!r} is not a host name or address, without a port")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _require_new(folder, "server", renew)
    _write(folder, "server", _authority(folder).issue("tailrace-server", hosts, days))
    output.print_fields(
        [
            ("server", f"TAILRACE_TLS_CERT_FILE={folder / 'server.crt'}"),
            ("", f"TAILRACE_TLS_KEY_FILE={folder / 'server.key'}"),
            ("", f"TAILRACE_WORKER_CA_FILE={folder / 'ca.crt'} (with TAILRACE_WORKER_BIND)"),
            ("clients", f"TAILRACE_CA_FILE={folder / 'ca.crt'}"),
            ("hosts", ", ".join(hosts)),
        ]
    )


@app.command("worker")
def worker(
    name: Annotated[str, typer.Argument(metavar="WORKER", help="Name of the worker.")],
    pool: Annotated[
        list[str] | None,
        typer.Option(
            "--pool",
            metavar="POOL",
            help="Pool that the worker may serve; repeatable (default: every pool).",
        ),
    ] = None,
    folder: Folder = Path("certs"),
    days: Days = 365,
    renew: Renew = False,
) -> None:
    """Make a worker's certificate, by the authority of `tailrace certs init`.

    Writes WORKER.crt and WORKER.key. The control plane admits its holder under this name and for
    these pools alone. A worker takes up renewed files while it runs.
    """
    _require_package()
    for text in (name, *(pool or [])):
        if not re.fullmatch(RESOURCE_ID, text):
            raise CommandError(f"{text!r} must be 1-63 of a-z, 0-9, '-', a letter first")
    if name in _RESERVED:
        raise CommandError(f"{name} is the name of another file in the folder")
    if not (folder / "ca.key").exists():
        raise CommandError(f"{folder} has no authority: `tailrace certs init` makes one")
    _require_new(folder, name, renew)
    _write(folder, name, _authority(folder).issue(name, (), days, pool or []))
    output.print_fields(
        [
            ("worker", f"TAILRACE_WORKER_NAME={name}"),
            *([("", f"TAILRACE_POOLS={','.join(pool)}")] if pool else []),
            ("", f"TAILRACE_CA_FILE={folder / 'ca.crt'}"),
            ("", f"TAILRACE_CERT_FILE={folder / f'{name}.crt'}"),
            ("", f"TAILRACE_KEY_FILE={folder / f'{name}.key'}"),
        ]
    )


def _require_package() -> None:
    if importlib.util.find_spec("cryptography") is None:
        raise CommandError('a package is missing: pip install "tailrace[tls]"')


def _require_new(folder: Path, name: str, renew: bool) -> None:
    if (folder / f"{name}.crt").exists() and not renew:
        raise CommandError(
            f"{folder} has {name}.crt already: give --renew to replace it, or another --folder",
            exit_codes.CONFLICT,
        )


def _write(folder: Path, name: str, pair: tuple[bytes, bytes]) -> None:
    from tailrace.cli.certificates import write_pair

    write_pair(folder, name, pair)


def _authority(folder: Path) -> Authority:
    """Return the folder's authority, which is made if there is none."""
    from tailrace.cli.certificates import Authority

    certificate, key = folder / "ca.crt", folder / "ca.key"
    if certificate.exists() or key.exists():
        try:
            return Authority.load(certificate, key)
        except ValueError as error:
            raise CommandError(f"{folder} has no usable authority: {error}") from error
    authority = Authority.create()
    _write(folder, "ca", authority.pem())
    return authority
