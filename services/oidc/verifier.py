"""Verification of the issuer's tokens, and the identity that their claims give."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import jwt

from services.domain.caller import Identity
from services.domain.errors import PermissionDenied, Unauthenticated
from services.domain.scope import Scope
from services.oidc.configuration import OidcConfiguration
from services.oidc.keys import IssuerKeys
from tailrace.oidc.provider import MAX_TOKEN_CHARACTERS

LEEWAY_SECONDS = 60
"""Tolerance for clocks that differ."""

_FORM = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)

_TYPES = ("jwt", "at+jwt", "application/at+jwt")
"""Types of tokens that are accepted: others, such as logout tokens, mean something else."""

_MAX_SUBJECT = 255

_MAX_EXPIRY = 2**33
"""Latest expiry in seconds since the epoch, in the year 2242: dates end before larger numbers."""

_LOGIN = "`tailrace login --oidc` gets a new one"

_PROBLEMS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: f"has expired: {_LOGIN}",
    jwt.ImmatureSignatureError: "is not valid yet: compare the clocks of this server and the "
    "provider",
    jwt.InvalidAudienceError: "is for another audience",
    jwt.InvalidIssuerError: "is from another issuer",
    jwt.InvalidAlgorithmError: "has a signature of an algorithm that is not accepted",
    jwt.InvalidSignatureError: "has a wrong signature",
}


def is_jwt(text: str) -> bool:
    """Return True for a text in the form of a signed token (RFC 7515)."""
    return _FORM.fullmatch(text) is not None


class Verifier:
    """Verifier of the tokens of one issuer."""

    def __init__(self, configuration: OidcConfiguration) -> None:
        self._configuration = configuration
        self._keys = IssuerKeys(configuration.issuer, configuration.web)

    async def identity(self, text: str, *, is_login: bool = False) -> Identity:
        """Return the identity of a token's holder.

        Args:
            text: The token.
            is_login: True to admit an ID token of a console's login, too.

        Raises:
            PermissionDenied: The claims give no right (NO_ROLE).
            Unauthenticated: The token is not valid here (OIDC_TOKEN_INVALID).
            Unavailable: The issuer's keys are unavailable (ISSUER_UNAVAILABLE).
        """
        audiences = [self._configuration.audience]
        if is_login:
            audiences.append(self._configuration.console_app)
        claims = await self.claims(text, audiences)
        subject = claims["sub"]
        if not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
            raise _invalid("has a subject that is not a name")
        roles, is_admin = self._configuration.rights(claims)
        if not roles and not is_admin:
            raise PermissionDenied(
                "NO_ROLE",
                f"the login of {subject!r} is valid, but its claims give no role here: an "
                "administrator maps claims to projects and roles in TAILRACE_OIDC_FILE",
            )
        nonce = claims.get("nonce", "")
        return Identity(
            f"oidc:{self._configuration.issuer}#{subject}",
            roles,
            frozenset({Scope.ADMIN} if is_admin else ()),
            expire_time=datetime.fromtimestamp(
                min(int(claims["exp"]), _MAX_EXPIRY) + LEEWAY_SECONDS, UTC
            ),
            nonce=nonce if isinstance(nonce, str) else "",
            is_id_token=self._configuration.audience not in _audiences(claims),
        )

    async def claims(self, text: str, audiences: Collection[str]) -> dict[str, Any]:
        """Return the claims of a token once its signature, issuer, audience and times are checked.

        Raises:
            Unauthenticated: The token is not valid here (OIDC_TOKEN_INVALID).
            Unavailable: The issuer's keys are unavailable (ISSUER_UNAVAILABLE).
        """
        algorithm, key_id = self._header(text)
        key = await self._keys.get(key_id)
        if key is None:
            raise _invalid(
                "is signed with a key that the issuer does not list; its list is read at most "
                "once a minute"
            )
        if algorithm not in key.algorithms:
            raise _invalid("has a signature of another algorithm than that of its key")
        try:
            claims: dict[str, Any] = jwt.decode(
                text,
                key.key,
                algorithms=[algorithm],
                audience=audiences,
                issuer=self._configuration.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.MissingRequiredClaimError as error:
            raise _invalid(f"has no claim {error.claim}") from error
        except jwt.PyJWTError as error:
            raise _invalid(_PROBLEMS.get(type(error), "is malformed")) from error
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise _invalid("is malformed") from error
        self._require_party(claims, audiences)
        return claims

    async def close(self) -> None:
        """Give up a fetch of keys."""
        await self._keys.close()

    def _header(self, text: str) -> tuple[str, str]:
        """Return the algorithm and the key id in a token's header."""
        if len(text) > MAX_TOKEN_CHARACTERS:
            raise _invalid(f"has more than {MAX_TOKEN_CHARACTERS} characters")
        try:
            header = jwt.get_unverified_header(text)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise _invalid("is malformed") from error
        if "crit" in header or str(header.get("typ", "JWT")).lower() not in _TYPES:
            raise _invalid("is of a type that is not accepted")
        if header.get("alg") not in self._configuration.algorithms:
            raise _invalid(_PROBLEMS[jwt.InvalidAlgorithmError])
        if not isinstance(header.get("kid"), str):
            raise _invalid("does not name the key of its signature")
        return header["alg"], header["kid"]

    def _require_party(self, claims: dict[str, Any], audiences: Collection[str]) -> None:
        """Check for whom a token of several audiences was issued (OpenID Connect Core, 3.1.3.7)."""
        party = claims.get("azp")
        is_id_token = self._configuration.audience not in _audiences(claims)
        if is_id_token and len(_audiences(claims)) > 1 and party not in audiences:
            raise _invalid("was issued for another application")


def _audiences(claims: dict[str, Any]) -> list[str]:
    audience = claims["aud"]
    return audience if isinstance(audience, list) else [audience]


def _invalid(problem: str) -> Unauthenticated:
    return Unauthenticated("OIDC_TOKEN_INVALID", f"the token of the identity provider {problem}")
