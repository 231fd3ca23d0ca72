"""Login with an OpenID provider on the terminal: the user confirms it in a browser."""

from __future__ import annotations

from dataclasses import replace

import typer

from tailrace.access import AccessError
from tailrace.cli.errors import CommandError
from tailrace.cli.options import ONE_TRY
from tailrace.cli.show.output import one_line
from tailrace.client.blocking import Client
from tailrace.environment import profile_access
from tailrace.oidc import device_flow
from tailrace.oidc.profile_token import with_tokens
from tailrace.oidc.provider import ClientApp, LoginError, discover
from tailrace.oidc.web import Web, WebError
from tailrace.profiles import Profile


def log_in(profile: Profile) -> Profile:
    """Return a profile with the tokens of a new login.

    Raises:
        CommandError: The provider does not answer, or the user does not log in.
    """
    with Client(profile.server, access=profile_access(profile), retry=ONE_TRY) as client:
        options = client.get_login_options()
    web = Web(loopback_http=profile.insecure)
    app = ClientApp(options.client_id)
    try:
        provider = discover(options.issuer, web)
        login = device_flow.begin(provider, app, " ".join(options.scopes), web)
        _show(login, options.issuer)
        tokens = device_flow.wait(provider, app, login, web)
        if not tokens.refresh_token:
            typer.echo("the provider gave no refresh token: log in again when this one expires")
        return with_tokens(
            replace(
                profile,
                issuer=options.issuer,
                client_id=options.client_id,
                sends_id_token=options.sends_id_token,
            ),
            tokens,
        )
    except (LoginError, WebError, AccessError) as error:
        raise CommandError(f"no login: {one_line(str(error))}") from error


def _show(login: device_flow.DeviceLogin, issuer: str) -> None:
    typer.echo(one_line(f"log in to {issuer} in a browser, on this machine or another one:"))
    typer.echo(one_line(f"  open  {login.verification_uri}"))
    typer.echo(one_line(f"  code  {login.user_code}"))
    if login.complete_uri:
        typer.echo(one_line(f"  or    {login.complete_uri}"))
