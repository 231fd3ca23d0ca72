"""Sessions: tokens that last for hours and have the rights of another credential."""

from __future__ import annotations

import hmac
from dataclasses import replace
from datetime import timedelta

from services.domain.access.token import ALL_PROJECTS, Token, digest, id_of, invalid_token, new_text
from services.domain.caller import Caller, Identity
from services.domain.errors import (
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from services.domain.scope import Scope
from services.storage.engine.columns import utc_now
from services.storage.rows.access import audit
from services.storage.rows.access import tokens as store
from services.usecases.context import Context

LIFETIME = timedelta(hours=12)
"""Lifetime of a session."""

MAX_SESSIONS = 100
"""Maximum number of sessions of one holder; one more ends the oldest."""

KEPT = timedelta(days=7)
"""Time for which the row of a session is kept after its expiry."""


async def create_session(
    context: Context, caller: Caller, identity: Identity, nonce: str
) -> tuple[Token, str]:
    """Store a session with the rights of an identity; return it with its text, which is not stored.

    Args:
        context: Context of use cases.
        caller: Who calls.
        identity: Holder of the credential that the session stands for.
        nonce: Nonce of the login that the credential must be from; empty for none.

    Raises:
        PermissionDenied: The credential is a session (IS_SESSION).
        Unauthenticated: There is no credential (TOKEN_MISSING), it is not from this login
            (NONCE_MISMATCH), or it was revoked meanwhile (TOKEN_INVALID).
    """
    if identity.is_session:
        raise PermissionDenied(
            "IS_SESSION", "a session cannot make another one: log in again with a token"
        )
    if identity.is_anonymous:
        raise Unauthenticated(
            "TOKEN_MISSING", "a session stands for a credential, and the call carried none"
        )
    is_nonce = hmac.compare_digest(identity.nonce.encode(), nonce.encode())
    if not is_nonce or (identity.is_id_token and not nonce):
        raise Unauthenticated(
            "NONCE_MISMATCH", "the ID token does not belong to this login: log in again"
        )
    now = utc_now()
    text = new_text()
    session = Token(
        token_id=id_of(text) or "",
        project=ALL_PROJECTS,
        digest=digest(text),
        description="",
        scopes=tuple(sorted(identity.scopes)),
        create_time=now,
        expire_time=now + LIFETIME,
        subject=identity.subject,
        parent_id=identity.token_id,
        roles=dict(identity.roles),
    )
    async with context.database.write() as conn:
        if identity.token_id:
            # This replica may not know of a revocation yet, and one that follows waits here.
            parent = await store.lock(conn, identity.token_id)
            if parent is None or not parent.is_in_force(now):
                raise invalid_token()
            if parent.expire_time is not None:
                session = replace(session, expire_time=min(now + LIFETIME, parent.expire_time))
        await store.add(conn, session)
        await store.delete_oldest_sessions(conn, session.subject, MAX_SESSIONS)
        await audit.record(conn, caller, f"sessions/{session.token_id}", project=ALL_PROJECTS)
    return session, text


async def end_session(
    context: Context, caller: Caller, identity: Identity, session_id: str
) -> Token:
    """End a session for good; repeating it changes nothing.

    Args:
        context: Context of use cases.
        caller: Who calls.
        identity: Holder of the credential of the call.
        session_id: Session to end; empty for the one that is the credential.

    Raises:
        FailedPrecondition: No session is named, and the credential is none (NOT_A_SESSION).
        NotFound: There is no such session, or it is another's and the holder is not an admin.
    """
    if not session_id and not identity.is_session:
        raise FailedPrecondition(
            "NOT_A_SESSION", "the credential of this call is not a session: name the one to end"
        )
    chosen = session_id or identity.token_id
    async with context.database.write() as conn:
        session = (await store.find(conn, [chosen])).get(chosen)
        is_own = session is not None and session.subject == identity.subject
        if session is None or not session.is_session or not (is_own or _is_admin(identity)):
            raise NotFound(
                "SESSION_NOT_FOUND", f"sessions/{chosen} does not exist, or it is another's"
            )
        if await store.revoke(conn, chosen, utc_now()):
            await audit.record(conn, caller, f"sessions/{chosen}", project=ALL_PROJECTS)
        return (await store.find(conn, [chosen]))[chosen]


async def delete_old_sessions(context: Context) -> int:
    """Delete the sessions that expired long ago; return their number."""
    async with context.database.write() as conn:
        return await store.delete_sessions(conn, utc_now() - KEPT)


def _is_admin(identity: Identity) -> bool:
    return Scope.ADMIN in identity.scopes
