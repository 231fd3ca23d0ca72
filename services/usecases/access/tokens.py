"""Creating, listing and revoking API tokens."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from services.domain.errors import InvalidInput, NotFound
from services.domain.names import description_violations, id_violations
from services.domain.pages import take_fitting, text_size
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.domain.scope import Scope
from services.domain.token import Token, digest, id_of, new_text
from services.storage.engine.columns import utc_now
from services.storage.engine.database import Database
from services.storage.rows.access import tokens as store
from services.usecases.context import Context
from tailrace.formats.limits import MAX_POOLS
from tailrace.formats.schema import Violation

DEFAULT_PAGE = 100
"""Default page size."""


async def create_token(
    database: Database,
    project: str,
    *,
    description: str,
    scopes: Collection[Scope],
    expire_time: datetime | None,
    worker_id: str = "",
    pools: Collection[str] = (),
) -> tuple[Token, str]:
    """Store a new token; return it with its text, which is not stored.

    Args:
        database: The database.
        project: Project in which the rights count.
        description: Holder and purpose.
        scopes: Rights.
        expire_time: Time from which it is refused; ``None`` for never.
        worker_id: Worker that holds it, of a token with the scope WORKER.
        pools: Pools that the worker may serve.

    Raises:
        InvalidInput: A field of the token is wrong.
    """
    now = utc_now()
    violations = description_violations("token.description", description)
    if not scopes:
        violations.append(Violation("token.scopes", "must name at least one scope"))
    if Scope.WORKER in scopes and len(set(scopes)) > 1:
        violations.append(
            Violation("token.scopes", "worker must be the only scope: create a second token")
        )
    violations += _binding_violations(Scope.WORKER in scopes, worker_id, pools)
    if expire_time is not None and expire_time <= now:
        violations.append(Violation("token.expire_time", "must be in the future"))
    if violations:
        raise InvalidInput(violations)
    text = new_text()
    token = Token(
        token_id=id_of(text) or "",
        project=project,
        digest=digest(text),
        description=description,
        scopes=tuple(sorted(set(scopes))),
        create_time=now,
        expire_time=expire_time,
        worker_id=worker_id,
        pools=tuple(sorted(set(pools))),
    )
    async with database.write() as conn:
        await store.add(conn, token)
    return token, text


def _binding_violations(is_worker: bool, worker_id: str, pools: Collection[str]) -> list[Violation]:
    if not is_worker:
        names = {"token.worker": worker_id, "token.pools": pools}
        return [
            Violation(field, "needs the scope worker") for field, value in names.items() if value
        ]
    violations = id_violations("token.worker", worker_id)
    if not 1 <= len(pools) <= MAX_POOLS:
        violations.append(Violation("token.pools", f"must name 1 to {MAX_POOLS} pools"))
    for i, pool in enumerate(pools):
        violations += id_violations(f"token.pools[{i}]", pool)
    return violations


async def list_tokens(context: Context, *, size: int, token: str) -> tuple[list[Token], str]:
    """Return a page of tokens by id, and the next page's token. Raises ``InvalidInput``."""
    position = decode_page_token(token, "tokens", [str])
    limit = page_size(size, default=DEFAULT_PAGE)
    after = position[0] if position else ""
    async with context.database.read() as conn:
        rows = await store.page(conn, after=after, limit=limit + 1)
    page = take_fitting([(text_size(row.description), row) for row in rows], limit)
    more = len(page) < len(rows)
    return page, encode_page_token([page[-1].token_id], "tokens") if more else ""


async def revoke_token(context: Context, token_id: str) -> Token:
    """Revoke a token for good; repeating it changes nothing. Raises ``NotFound``."""
    async with context.database.write() as conn:
        await store.revoke(conn, token_id, utc_now())
        token = (await store.find(conn, [token_id])).get(token_id)
    if token is None:
        raise NotFound(
            "TOKEN_NOT_FOUND", f"tokens/{token_id} does not exist; `tailrace tokens list` shows all"
        )
    return token
