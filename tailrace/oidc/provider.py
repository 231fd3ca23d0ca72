"""An OpenID provider's endpoints, and the tokens that it issues."""

from __future__ import annotations

import base64
import json
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from tailrace.oidc.web import Reply, Web, WebError

DISCOVERY_PATH = "/.well-known/openid-configuration"
"""Path of the discovery document, after the issuer (OpenID Connect Discovery 1.0)."""

MAX_TOKEN_CHARACTERS = 16 * 1024
"""Longest token that is accepted from a provider or in a call."""

_DEFAULT_LIFETIME = 300

_LONGEST_LIFETIME = 10 * 366 * 86_400


class LoginError(Exception):
    """Refusal of a login by the provider, or a response that is not the one of this login."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code
        """Error code of OAuth (RFC 6749), such as ``access_denied``; empty for other errors."""


@dataclass(frozen=True)
class Provider:
    """Endpoints of a provider; empty for one that it does not have."""

    issuer: str
    """Identifier, an https URL."""
    jwks_uri: str
    """URL of its public keys."""
    authorization_endpoint: str = ""
    """URL to which a browser is sent to log in."""
    token_endpoint: str = ""
    """URL that exchanges a code or a refresh token for tokens."""
    device_authorization_endpoint: str = ""
    """URL that starts a login on another device (RFC 8628)."""


@dataclass(frozen=True)
class ClientApp:
    """Application that is registered with a provider."""

    client_id: str
    """Identifier of the application."""
    client_secret: str = field(default="", repr=False)
    """Secret of an application that can keep one; empty for a public application."""

    def credentials(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the form fields and the headers that identify the application."""
        if not self.client_secret:
            return {"client_id": self.client_id}, {}
        # RFC 6749, section 2.3.1: both parts are form-encoded first.
        pair = ":".join(map(urllib.parse.quote_plus, (self.client_id, self.client_secret)))
        return {}, {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


@dataclass(frozen=True)
class TokenSet:
    """Tokens of one login."""

    access_token: str = field(repr=False)
    """Token for calls."""
    id_token: str = field(default="", repr=False)
    """Statement about the user (OpenID Connect Core 1.0); empty without the scope ``openid``."""
    refresh_token: str = field(default="", repr=False)
    """Token that gets new tokens; empty if the provider gave none."""
    expire_time: float = 0.0
    """Time at which the access token expires, in seconds since the epoch."""

    def bearer(self, *, id_token: bool) -> tuple[str, float]:
        """Return the token that calls carry, and the time of its expiry.

        Raises:
            LoginError: The ID token is asked for, and there is none.
        """
        if not id_token:
            return self.access_token, self.expire_time
        try:
            payload = self.id_token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            return self.id_token, float(int(claims["exp"]))
        except (
            IndexError, KeyError, TypeError, ValueError, OverflowError, RecursionError
        ) as error:  # fmt: skip
            raise LoginError("the provider gave no ID token") from error


def discover(issuer: str, web: Web) -> Provider:
    """Return the endpoints of an issuer.

    Raises:
        WebError: The discovery document is unavailable, is that of another issuer, or names an
            endpoint that may not be requested.
    """
    url = issuer.rstrip("/") + DISCOVERY_PATH
    document = web.get(url).body
    if document.get("issuer") != issuer:
        raise WebError(f"{url!r} is not the document of the issuer {issuer!r}")
    endpoints = {}
    for name in Provider.__dataclass_fields__:
        value = document.get(name, "")
        if not isinstance(value, str):
            raise WebError(f"{url!r}: {name} must be a text")
        if value:
            web.check(value)
        endpoints[name] = value
    if not endpoints["jwks_uri"]:
        raise WebError(f"{url!r} names no jwks_uri")
    return Provider(**endpoints)


def request_tokens(
    provider: Provider, app: ClientApp, web: Web, form: Mapping[str, str]
) -> TokenSet:
    """Return the tokens that the token endpoint gives for a grant.

    Raises:
        LoginError: The provider refuses, or its response has no access token.
        WebError: The provider does not answer.
    """
    if not provider.token_endpoint:
        raise LoginError(f"the provider {provider.issuer} has no token endpoint")
    identity, headers = app.credentials()
    return _tokens(web.post(provider.token_endpoint, {**form, **identity}, headers))


def refresh(provider: Provider, app: ClientApp, web: Web, refresh_token: str) -> TokenSet:
    """Return new tokens for a refresh token, which may be replaced with them; see above."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    tokens = request_tokens(provider, app, web, form)
    if tokens.refresh_token:
        return tokens
    return TokenSet(tokens.access_token, tokens.id_token, refresh_token, tokens.expire_time)


def refusal(reply: Reply) -> LoginError:
    """Return the error that a response of the provider describes."""
    code, text = reply.body.get("error"), reply.body.get("error_description")
    name = code[:100] if isinstance(code, str) else ""
    detail = f": {text[:300]}" if isinstance(text, str) and text else ""
    return LoginError(
        f"the provider refuses with {name or f'status {reply.status}'}{detail}", code=name
    )


def _tokens(reply: Reply) -> TokenSet:
    if reply.status != 200:
        raise refusal(reply)
    texts = {}
    for name in ("access_token", "id_token", "refresh_token"):
        value = reply.body.get(name, "")
        if not isinstance(value, str) or len(value) > MAX_TOKEN_CHARACTERS:
            raise LoginError(f"the provider's {name} is not a token")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise LoginError(f"the provider's {name} is not a token")
        texts[name] = value
    if not texts["access_token"]:
        raise LoginError("the provider's response has no access_token")
    lifetime = reply.body.get("expires_in", _DEFAULT_LIFETIME)
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float):
        raise LoginError("the provider's expires_in is not a number")
    if not 0 <= lifetime <= _LONGEST_LIFETIME:
        raise LoginError(f"the provider's expires_in must be from 0 to {_LONGEST_LIFETIME} seconds")
    return TokenSet(**texts, expire_time=time.time() + lifetime)
