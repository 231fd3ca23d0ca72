"""Login by a browser: authorization code flow with PKCE, state and nonce.

For a web application: :func:`begin` gives the URL to which it sends the browser, and what it must
keep until the browser returns, in a cookie that the browser cannot read or change;
:func:`complete` then checks the return and gets the tokens. The control plane checks the ID token
and its nonce in CreateSession.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from tailrace.oidc.provider import ClientApp, LoginError, Provider, TokenSet, request_tokens
from tailrace.oidc.web import Web


@dataclass(frozen=True)
class PendingLogin:
    """Secrets of a login in progress, for the browser that began it alone."""

    state: str = field(repr=False)
    """Value with which the browser must return: the login is the one that this browser began."""
    nonce: str = field(repr=False)
    """Value that the ID token must have: it was made for this login."""
    verifier: str = field(repr=False)
    """Secret that turns the code into tokens (PKCE, RFC 7636)."""
    redirect_uri: str
    """URL of the application to which the browser returns."""


def begin(
    provider: Provider, app: ClientApp, redirect_uri: str, scope: str = "openid"
) -> tuple[str, PendingLogin]:
    """Return the URL that starts a login in a browser, and what to keep until it returns.

    Args:
        provider: Provider, from :func:`tailrace.oidc.provider.discover`.
        app: Application that is registered with the provider for ``redirect_uri``.
        redirect_uri: URL of the application to which the browser returns.
        scope: Scopes of OAuth, separated by spaces; ``openid`` among them.

    Raises:
        LoginError: The provider has no authorization endpoint.
    """
    if not provider.authorization_endpoint:
        raise LoginError(f"the provider {provider.issuer} has no authorization endpoint")
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    query = {
        "response_type": "code",
        "client_id": app.client_id,
        "redirect_uri": redirect_uri,
        "scope": scope,
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
    }
    separator = "&" if "?" in provider.authorization_endpoint else "?"
    url = f"{provider.authorization_endpoint}{separator}{urllib.parse.urlencode(query)}"
    return url, PendingLogin(state, nonce, verifier, redirect_uri)


def complete(
    provider: Provider, app: ClientApp, pending: PendingLogin, query: Mapping[str, str], web: Web
) -> TokenSet:
    """Return the tokens of a login whose browser has returned.

    The ID token is not verified here: the control plane does, with ``pending.nonce``.

    Args:
        provider: The provider of :func:`begin`.
        app: The application of :func:`begin`.
        pending: Value that :func:`begin` returned to this browser; use it once.
        query: Parameters of the URL with which the browser returned.
        web: Bounds of requests to the provider.

    Raises:
        LoginError: The return is not the one of this login, the user refused, or the provider
            refuses the code or gives no ID token.
        WebError: The provider does not answer.
    """
    if not hmac.compare_digest(query.get("state", "").encode(), pending.state.encode()):
        raise LoginError("this return does not belong to a login of this browser: log in again")
    # RFC 9207: another provider's code must not be sent to this one.
    if query.get("iss", provider.issuer) != provider.issuer:
        raise LoginError("this return comes from another provider: log in again")
    if "error" in query:
        text = query.get("error_description", "")[:300]
        code = query["error"][:100]
        raise LoginError(f"the provider refuses with {code}{f': {text}' if text else ''}", code)
    if not query.get("code"):
        raise LoginError("this return has no code: log in again")
    form = {
        "grant_type": "authorization_code",
        "code": query["code"],
        "redirect_uri": pending.redirect_uri,
        "code_verifier": pending.verifier,
    }
    tokens = request_tokens(provider, app, web, form)
    if not tokens.id_token:
        raise LoginError("the provider gave no ID token: the scope must include openid")
    return tokens


def challenge(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
