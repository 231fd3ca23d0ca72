"""Token of a profile's login, renewed before it expires."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace

from tailrace.access import AccessError
from tailrace.oidc.provider import ClientApp, LoginError, TokenSet, discover, refresh
from tailrace.oidc.web import Web, WebError
from tailrace.profiles import Profile, Profiles

_log = logging.getLogger("tailrace")

EARLY_SECONDS = 30.0
"""Time before the expiry from which a token is renewed while calls go on with it."""

LATE_SECONDS = 5.0
"""Time before the expiry from which calls wait for the new token."""

_PAUSE_SECONDS = 10.0


class ProfileToken:
    """Function that returns the token of a profile for the next call.

    Several programs may use one profile: one of them renews the token, under a lock, and the others
    read it from the file of profiles.
    """

    def __init__(self, name: str, profile: Profile) -> None:
        self._name = name
        self._profile = profile
        self._lock = threading.Lock()
        self._next_try = 0.0

    def __call__(self) -> str:
        """Return a token that has not expired.

        Raises:
            AccessError: The login has ended, or its token cannot be renewed.
        """
        left = self._profile.expire_time - time.time()
        if left > EARLY_SECONDS:
            return self._profile.token
        if left > LATE_SECONDS:
            self._renew_in_background()
            return self._profile.token
        with self._lock:
            if self._profile.expire_time - time.time() <= LATE_SECONDS:
                self._renew()
        return self._profile.token

    def _renew_in_background(self) -> None:
        if time.monotonic() < self._next_try or not self._lock.acquire(blocking=False):
            return
        self._next_try = time.monotonic() + _PAUSE_SECONDS

        def renew() -> None:
            try:
                self._renew()
            except (AccessError, OSError) as error:
                # The next call tries again while the token lasts, and then reports the error.
                _log.warning("%s", error)
            finally:
                self._lock.release()

        # Not a daemon: a refresh token is valid once, and the new one must reach the file.
        threading.Thread(target=renew, name="tailrace-login").start()

    def _renew(self) -> None:
        with Profiles.locked():
            profiles = Profiles.load()
            stored = profiles.by_name.get(self._name)
            if stored is None or not is_same_login(stored, self._profile):
                raise AccessError(
                    f"the login of the profile {self._name!r} was replaced: start again"
                )
            if stored.expire_time - time.time() <= EARLY_SECONDS:
                stored = with_tokens(stored, self._request(stored))
                profiles.updated(self._name, stored).save()
        self._profile = stored

    def _request(self, profile: Profile) -> TokenSet:
        web = Web(loopback_http=profile.insecure)
        try:
            provider = discover(profile.issuer, web)
            return refresh(provider, ClientApp(profile.client_id), web, profile.refresh_token)
        except LoginError as error:
            raise AccessError(
                f"the login of the profile {self._name!r} has ended ({error}): `tailrace login "
                "--oidc` again"
            ) from error
        except WebError as error:
            raise AccessError(
                f"the login of the profile {self._name!r} cannot be renewed: {error}"
            ) from error


def with_tokens(profile: Profile, tokens: TokenSet) -> Profile:
    """Return a profile with the tokens of a login.

    Raises:
        AccessError: The provider gave no ID token, and the control plane asks for one.
    """
    try:
        text, expire_time = tokens.bearer(id_token=profile.sends_id_token)
    except LoginError as error:
        raise AccessError(str(error)) from error
    return replace(
        profile, token=text, refresh_token=tokens.refresh_token, expire_time=int(expire_time)
    )


def is_same_login(one: Profile, other: Profile) -> bool:
    """Return True if two profiles are of the same server, provider and application."""
    return (one.server, one.issuer, one.client_id) == (other.server, other.issuer, other.client_id)
