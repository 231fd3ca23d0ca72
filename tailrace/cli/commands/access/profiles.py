"""``tailrace login`` and ``tailrace profiles``: servers with the access to them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.commands.access.device_login import log_in
from tailrace.cli.errors import CommandError
from tailrace.cli.options import ONE_TRY, Json, Server, address
from tailrace.cli.show import output
from tailrace.client.blocking import Client
from tailrace.environment import profile_access, read_token
from tailrace.profiles import Profile, Profiles, file_path

app = typer.Typer(help="Profiles: servers with the access to them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="PROFILE", help="Name of the profile.")]


def login(
    server: Server = None,
    name: Annotated[
        str, typer.Option("--name", metavar="PROFILE", help="Name of the profile.")
    ] = "default",
    tls: Annotated[
        bool, typer.Option("--tls", help="Use TLS with a certificate of a public authority.")
    ] = False,
    ca_file: Annotated[
        Path | None,
        typer.Option("--ca", metavar="FILE", help="Use TLS with this authority's certificate."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="File with the token, mode 0600 (default: typed, or read from standard input).",
        ),
    ] = None,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Store no token: the server asks for none.")
    ] = False,
    oidc: Annotated[
        bool,
        typer.Option(
            "--oidc", help="Log in with the server's OpenID provider, in a browser on any device."
        ),
    ] = False,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Send the token in plaintext to another machine, too."),
    ] = False,
    project: Annotated[
        str,
        typer.Option(
            "--project", metavar="PROJECT", help="Project of the calls (default: the token's)."
        ),
    ] = "",
) -> None:
    """Store a server, its TLS settings and a token as the current profile.

    The server is asked first. Commands and the SDK then use the profile, unless --server or a
    variable names another server. With --oidc the token is that of a login, and is renewed
    before it expires. The file of profiles is readable by its owner alone.
    """
    if oidc and (no_token or token_file is not None):
        raise CommandError("--oidc takes neither --token-file nor --no-token")
    profile = Profile(
        server=address(server),
        tls=tls or ca_file is not None,
        ca_file="" if ca_file is None else str(ca_file.absolute()),
        token="" if no_token or oidc else _token(token_file),
        insecure=insecure,
        project=project,
    )
    if oidc:
        profile = log_in(profile)
    with Client(profile.server, access=profile_access(profile), retry=ONE_TRY) as client:
        client.list_pools()
    Profiles.load().with_profile(name, profile).save()
    typer.echo(f"logged in to {profile.server}; the profile {name} is stored in {file_path()}")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the profiles; the current one is marked."""
    profiles = Profiles.load()
    rows = [
        {
            "name": name,
            "server": profile.server,
            "tls": profile.tls,
            "has_token": bool(profile.token),
            "project": profile.project,
            "current": name == profiles.current,
        }
        for name, profile in sorted(profiles.by_name.items())
    ]
    if as_json:
        output.print_json(rows)
        return
    output.print_table(
        ["PROFILE", "SERVER", "TLS", "TOKEN", "PROJECT", "CURRENT"],
        [
            (
                row["name"],
                row["server"],
                "yes" if row["tls"] else "no",
                "yes" if row["has_token"] else "no",
                row["project"],
                "*" if row["current"] else "",
            )
            for row in rows
        ],
    )


@app.command("use")
def use(profile: Name) -> None:
    """Make a profile the current one."""
    Profiles.load().using(profile).save()


@app.command("remove")
def remove(profile: Name) -> None:
    """Remove a profile with its token from this machine; the token stays valid."""
    Profiles.load().without(profile).save()


def _token(file: Path | None) -> str:
    """Return the token from a file, the terminal or standard input; never from an argument."""
    if file is not None:
        return read_token(file)
    if sys.stdin.isatty():
        text = str(typer.prompt("Token", hide_input=True))
    else:
        text = sys.stdin.readline()
    if not text.strip():
        raise CommandError("there is no token: type it, or give --token-file or --no-token")
    return text.strip()
