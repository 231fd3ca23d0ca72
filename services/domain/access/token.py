"""API tokens: ``tr_{id}_{secret}``, of which the control plane stores a digest."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.domain.access.worker_binding import ANY_WORKER, WorkerBinding
from services.domain.caller import Identity
from services.domain.errors import InvalidInput, Unauthenticated
from services.domain.scope import Role, Scope, role_of

ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Characters of an id: 32 that are not mistaken for one another."""

ID_LENGTH = 12

ALL_PROJECTS = "-"
"""Project of tokens whose rights count in every project (AIP-159)."""

SECRET_BYTES = 32
"""Random bytes of a secret: 256 bits, so that a fast digest cannot be searched."""

_ID = f"[{ID_ALPHABET}]{{{ID_LENGTH}}}"
_TEXT = re.compile(rf"tr_({_ID})_[A-Za-z0-9_-]{{43}}")


@dataclass(frozen=True)
class Token:
    """An API token, as stored."""

    token_id: str
    """The id in ``tokens/{token}``."""
    project: str
    """Project in which the rights count; :data:`ALL_PROJECTS` for every one."""
    digest: str
    """SHA-256 of the whole text, in hex."""
    description: str
    """Holder and purpose, in the words of its creator."""
    scopes: tuple[Scope, ...]
    """Rights, sorted."""
    create_time: datetime
    """Time of creation."""
    expire_time: datetime | None = None
    """Time from which it is refused; ``None`` for never."""
    last_used_time: datetime | None = None
    """Time of a recent use; ``None`` before the first."""
    revoke_time: datetime | None = None
    """Time of its revocation; ``None`` while it is in force."""
    subject: str = ""
    """Holder of a session; empty for an API token."""
    parent_id: str = ""
    """Id of the API token for which a session stands; empty if it stands for another credential."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """Roles by project of a session."""
    worker_id: str = ""
    """Worker that holds it, of a token with the scope WORKER."""
    pools: tuple[str, ...] = ()
    """Pools that the worker may serve, sorted."""

    @property
    def name(self) -> str:
        """Resource name, ``tokens/{token}``."""
        return f"tokens/{self.token_id}"

    def is_text(self, text: str) -> bool:
        """Return True if this is the token of a text, in constant time."""
        return hmac.compare_digest(self.digest, digest(text))

    def is_in_force(self, now: datetime) -> bool:
        """Return True unless the token is revoked or has expired."""
        return self.revoke_time is None and (self.expire_time is None or now < self.expire_time)

    @property
    def is_session(self) -> bool:
        """True for a session."""
        return bool(self.subject)

    @property
    def role(self) -> Role | None:
        """Role in the project; ``None`` for a token of all projects."""
        return None if self.project == ALL_PROJECTS else role_of(self.scopes)

    def identity(self) -> Identity:
        """Return the identity of the token's holder."""
        if self.is_session:
            return Identity(
                self.subject,
                self.roles,
                frozenset(self.scopes),
                token_id=self.token_id,
                is_session=True,
            )
        subject = f"token:{self.token_id}"
        role = self.role
        if role is None:
            binding = WorkerBinding(self.worker_id, frozenset(self.pools))
            return Identity(
                subject,
                scopes=frozenset(self.scopes),
                token_id=self.token_id,
                binding=binding if self.worker_id else ANY_WORKER,
            )
        return Identity(subject, {self.project: role}, token_id=self.token_id)


def new_text() -> str:
    """Return the text of a new token."""
    token_id = "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))
    return f"tr_{token_id}_{secrets.token_urlsafe(SECRET_BYTES)}"


def id_of(text: str) -> str | None:
    """Return the id in a token's text; ``None`` if the text is not in a token's form."""
    match = _TEXT.fullmatch(text)
    return None if match is None else match[1]


def digest(text: str) -> str:
    """Return the SHA-256 of a token's text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def invalid_token() -> Unauthenticated:
    """Return the error of a token that is unknown, wrong, expired or revoked."""
    return Unauthenticated(
        "TOKEN_INVALID",
        "the token is not valid: it is unknown, has expired or was revoked; an administrator makes "
        "another with `tailrace tokens create`",
    )


def parse_session_name(name: str, field: str = "name") -> str:
    """Return the id in ``sessions/{session}``; raise :class:`InvalidInput` naming ``field``."""
    collection, _, session_id = name.partition("/")
    if collection != "sessions" or not re.fullmatch(_ID, session_id):
        raise InvalidInput.field(field, f"{name[:200]!r} is not a session's name")
    return session_id


def parse_token_name(name: str, field: str = "name") -> str:
    """Return the id in ``tokens/{token}``; raise :class:`InvalidInput` naming ``field``."""
    collection, _, token_id = name.partition("/")
    if collection != "tokens" or not re.fullmatch(_ID, token_id):
        raise InvalidInput.field(
            field, f"{name[:200]!r} is not a token's name: `tailrace tokens list` shows all"
        )
    return token_id
