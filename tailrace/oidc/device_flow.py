"""Login on another device: the device authorization flow (RFC 8628)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tailrace.oidc.provider import (
    ClientApp,
    LoginError,
    Provider,
    TokenSet,
    refusal,
    request_tokens,
)
from tailrace.oidc.web import Web, WebError

_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_INTERVAL = 5.0
_SLOWER = 5.0
"""Seconds that ``slow_down`` adds to the interval (RFC 8628, section 3.5)."""
_LONGEST_INTERVAL = 60.0
_PAUSE = 2.0
"""Shortest wait after a question that the provider did not answer, also with an interval of 0."""
_LONGEST_LOGIN = 3600.0


@dataclass(frozen=True)
class DeviceLogin:
    """Login that waits for its user."""

    user_code: str
    """Code that the user types at the URL."""
    verification_uri: str
    """URL to open on any device."""
    complete_uri: str
    """URL that contains the code; empty if the provider has none."""
    device_code: str = field(repr=False)
    """Secret with which this program asks for the tokens."""
    interval: float
    """Seconds between two questions."""
    lifetime: float
    """Seconds after which the code is not valid any more."""


def begin(provider: Provider, app: ClientApp, scope: str, web: Web) -> DeviceLogin:
    """Start a login and return what to show to the user.

    Raises:
        LoginError: The provider has no device flow or refuses.
        WebError: The provider does not answer, or sends the user to a URL without TLS.
    """
    if not provider.device_authorization_endpoint:
        raise LoginError(f"the provider {provider.issuer} offers no device login: use an API token")
    identity, headers = app.credentials()
    reply = web.post(provider.device_authorization_endpoint, {"scope": scope, **identity}, headers)
    if reply.status != 200:
        raise refusal(reply)
    body = reply.body
    login = DeviceLogin(
        user_code=_text(body, "user_code"),
        verification_uri=_text(body, "verification_uri"),
        complete_uri=_text(body, "verification_uri_complete", default=""),
        device_code=_text(body, "device_code"),
        interval=min(_seconds(body, "interval", _INTERVAL), _LONGEST_INTERVAL),
        lifetime=min(_seconds(body, "expires_in", 0.0), _LONGEST_LOGIN),
    )
    web.check(login.verification_uri)
    if login.complete_uri:
        web.check(login.complete_uri)
    return login


def wait(
    provider: Provider,
    app: ClientApp,
    login: DeviceLogin,
    web: Web,
    sleep: Callable[[float], None] = time.sleep,
) -> TokenSet:
    """Return the tokens once the user has logged in.

    Raises:
        LoginError: The user refused, or did not log in in time.
        WebError: The provider stays unavailable until the code has expired.
    """
    deadline = time.monotonic() + login.lifetime
    interval = login.interval
    form = {"grant_type": _GRANT, "device_code": login.device_code}
    while True:
        if time.monotonic() + interval > deadline:
            raise LoginError("the code expired before a login", "expired_token")
        sleep(interval)
        try:
            return request_tokens(provider, app, web, form)
        except LoginError as error:
            if error.code == "slow_down":
                interval = min(interval + _SLOWER, _LONGEST_INTERVAL)
            elif error.code != "authorization_pending":
                raise
        except WebError:
            # RFC 8628, section 3.5: ask less often while the provider is away.
            interval = min(max(2 * interval, _PAUSE), _LONGEST_INTERVAL)
            if time.monotonic() + interval > deadline:
                raise


def _text(body: Mapping[str, object], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > 2000 or not value.isprintable():
        raise LoginError(f"the provider's {name} is not a text")
    return value


def _seconds(body: Mapping[str, object], name: str, default: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise LoginError(f"the provider's {name} is not a number of seconds")
    return float(value)
